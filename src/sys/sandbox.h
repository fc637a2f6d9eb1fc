// SPDX-License-Identifier: MIT
// Wards: processes that are confined and leave nothing behind. A part of the face sys/sys.h.
//
//   sandbox.c   what this kernel can confine a process with, and confining one
//   filter.c    the system calls that are refused
//   cgroup.c    groups of processes with limits of their own
//   warden.c    the process that stands between us and a ward
//
// A *ward* is a process with all that it starts. Between it and us stands its *warden*, a process
// of ours without a program of its own, which adopts whatever the ward leaves behind (a daemon,
// too: it is a subreaper, or the first process of a pid namespace) and ends when nothing of it
// lives any more:
//
//      we end, however  -> the line breaks: the warden kills all that is left and ends
//      the ward ends    -> the same, and its end is told
//      the warden dies  -> the ward gets SIGKILL from the system; what it left behind stays, but
//                          for cgroups and pid namespaces, in which all is killed
#ifndef SYS_SANDBOX_H
#define SYS_SANDBOX_H

#include "base/base.h"

enum sys_sandbox_level {
    SYS_SANDBOX_DEFAULT,
    SYS_SANDBOX_STRICT, // namespaces besides
    SYS_SANDBOX_NONE    // limits that were asked for, and nothing else
};

// What this system has for us.
struct sys_sandbox_parts {
    int landlock;                  // its ABI; 0: none
    bool filter;                   // seccomp filters
    bool namespaces;               // of pids and mounts, with one of users where we are not root
    bool group;                    // a cgroup v2 in which we may make others
    bool group_memory, group_pids; // and its controllers
    bool children;                 // the system tells the children of a process
    bool root;                     // we are root
    uint32_t tasks;                // of this user, now
    char path[256];                // of our cgroup, in which groups are made; "": none
    int group_lock;                // by which we keep it; -1: none
    bool group_moved;              // we have moved, for the sake of controllers
};

// Finds it out. If groups are wished, our cgroup is made where that may be, and those that others
// of us left there when they were killed are emptied and removed. Processes are started to try
// namespaces. Blocks for a few ms.
void sys_sandbox_probe(struct sys_sandbox_parts *parts, bool groups);
// Kills what is in our cgroup and removes it.
void sys_sandbox_leave(struct sys_sandbox_parts *parts);
// "default: no new rights, ..., Landlock 7; not here: memory controller of cgroup v2 (...)".
void sys_sandbox_text(const struct sys_sandbox_parts *parts, enum sys_sandbox_level level,
                      char *text, size_t bytes);

struct sys_sandbox;
// Whether what lies at a path, or would, is beneath what Landlock lets all wards of this sandbox
// read. False where there is no Landlock, or no sandbox: then nothing but its user holds a ward
// back.
bool sys_sandbox_reads(const struct sys_sandbox *sandbox, const char *path);

// How a ward is confined. All that it points to lives until the call ends.
struct sys_sandbox {
    enum sys_sandbox_level level;
    const struct sys_sandbox_parts *parts;
    const char *folder;    // where it starts and may write
    const char *readable;  // more that it may read, paths separated by ':'; NULL: none
    const char *libraries; // likewise
    const char *writable;  // more that it may write, likewise
    bool no_unix_sockets;  // it may make none but pairs; only with parts->filter
    // Limits; 0: none.
    uint64_t memory_bytes_max; // of all its processes
    uint32_t processes_max;    // likewise
    uint64_t seconds_max;      // of processor, of each process
    uint64_t file_bytes_max;   // of each file
    uint32_t files_max;        // open, of each process
    uint32_t user, group;      // to run as, where we are root; 0: as we do
};

enum { SYS_WARD_PROBLEM_BYTES = 160 };

struct sys_ward {
    struct sys_process warden; // its handle becomes readable when nothing of the ward lives
    int id;                    // of the ward, as the system and people name it
    int line;                  // to the warden
    char group[288];           // of the ward; "": none
};

// How a ward ended.
struct sys_ward_end {
    struct sys_process_end process; // memory_bytes_max is that of all where a cgroup tells
    uint64_t memory_limit;          // it went beyond this and was ended; 0: it did not
    uint32_t processes_limit;       // likewise
};

// Starts a ward in a session of its own: `how` without own_session, dies_with_us and folder, which
// go without saying. Blocks until it runs its program. 0, or an error; then `problem` says what
// failed on what.
int sys_ward_start(struct sys_ward *ward, const struct sys_process_options *how,
                   const struct sys_sandbox *sandbox, char problem[SYS_WARD_PROBLEM_BYTES]);
// Asks all of it to end (SIGTERM) or kills it, and whatever it has started.
void sys_ward_end(const struct sys_ward *ward, bool hard);
// Takes its end once the warden's handle was readable. 0; -EAGAIN if it still lives; -EIO if the
// warden was killed. Then its group is to be removed:
int sys_ward_reap(struct sys_ward *ward, struct sys_ward_end *end);
// Tries that. 0; -EBUSY if what was killed is in it still, as it may be for a moment: try again
// soon. What nobody removes goes with us.
int sys_ward_clear(struct sys_ward *ward);
// Kills all of it, and sees to it that the warden is reaped: nobody wants to know its end.
void sys_ward_abandon(struct sys_ward *ward);
// "killed by signal 9 (Killed): it used more than the 64 MiB of memory that it may".
void sys_ward_end_text(const struct sys_ward_end *end, char *text, size_t bytes);

// The numbers of a user by name. 0 or -ENOENT.
int sys_user_find(const char *name, uint32_t *user, uint32_t *group);
// Whether we are root, who can run processes as others.
bool sys_user_is_root(void);

#endif
