// SPDX-License-Identifier: MIT
// The disks of simulated computers (disk.c), and what files.c is told of them.
#ifndef SIM_DISK_H
#define SIM_DISK_H

#include "sim.h"

enum { DISK_PATH_BYTES = 1200 };

struct opened;

struct inode {
    uint32_t holders; // names, durable ones too, and open descriptors
    uint32_t disk;
    struct inode *folder; // where it was named last; NULL: of the folder of a disk
    enum sys_file_sort sort;
    unsigned permissions;
    struct list entries; // of a folder
    uint8_t *bytes;
    uint64_t length, capacity;
    uint64_t synced; // of the bytes, so many survive the loss of power
    ac_time modified;
    struct opened *keeper; // who has locked it; NULL: nobody
    bool damaged;          // the power has gone, and some bytes are not what was written
    bool removed;
    bool journal; // who keeps it writes to it where it lies, and no loss of power befalls it
    void *of;     // for files.c
    char name[SYS_PART_BYTES_MAX + 1];
};

// What files.c knows or is to know.
struct disk_watch {
    uint64_t (*source_bytes)(uint32_t source);
    int (*source_read)(uint32_t source, uint64_t offset, void *to, size_t count);
    uint64_t (*capacity)(uint32_t disk);
    bool (*fails)(uint32_t disk); // a piece cannot be written, by chance
    void (*wrote)(struct inode *it, const struct opened *by); // a piece of a part
    void (*named)(struct inode *it);   // it has come out of the folder of parts
    void (*removed)(struct inode *it); // a file or a part, which still has its name
    void (*gone)(struct inode *it);    // nothing knows it any more
    void (*power_lost)(uint32_t disk);
};
extern const struct disk_watch disk_watch;

bool disk_is_public(const struct inode *it); // it does not lie in the folder of parts
void disk_path(const struct inode *it, char path[DISK_PATH_BYTES]);
void disk_each(struct inode *folder, void (*see)(struct inode *it)); // file beneath it
struct inode *disk_root(uint32_t disk);                              // NULL: nobody has used it
// All that lies there, each file counting 4 KiB at least.
uint64_t disk_bytes(uint32_t disk, bool with_folders);

#endif
