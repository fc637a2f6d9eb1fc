// SPDX-License-Identifier: MIT
// The folder that http_server serves: which file a path names, and what is kept of files that were
// asked for.
//
// A path is found beneath the folder or not at all: neither ".." nor a symbolic link leads out of
// it, whoever may change it meanwhile, as the system itself resolves the whole path and stops at
// the border (openat2). Whatever may wait for a disk is done by a helper thread.
//
// Small files are kept whole, of others a stream from which they can be read. What is kept is
// looked at again after a second, and a file of which there is another version meanwhile is opened
// anew; who is still sending the old one goes on with it. A folder belongs to one loop.
#ifndef HTTP_FOLDER_H
#define HTTP_FOLDER_H

#include <asyncoro.h>

enum {
    FILES_KEPT = 256,             // at most, and so many descriptors and
    CONTENT_BYTES_MAX = 64 << 10, // times so much memory
    FIELDS_BYTES = 384,           // of the text in struct file
    DATE_BYTES = sizeof "Sun, 06 Nov 1994 08:49:37 GMT",
    TAG_BYTES = 40,
};

// A version of a file. Held by the folder that keeps it and by those who send it.
struct file {
    unsigned holders;
    ac_time looked;          // when it was last seen to be up to date
    uint64_t device, number; // with the times below: which file it is, and which version
    int64_t modified_ns, changed_ns;
    bool settled; // it was opened so long after its last change that the times tell
    uint64_t bytes;
    char *content;             // all of it, owned; NULL if it is not kept
    ac_stream *stream;         // to read it from otherwise, owned
    const char *type;          // for Content-Type
    char modified[DATE_BYTES]; // for Last-Modified
    char tag[TAG_BYTES];       // for ETag
    size_t fields_bytes;
    char fields[FIELDS_BYTES]; // header fields that tell of the whole file
    char path[];
};

struct folder {
    int descriptor;
    struct file *kept[FILES_KEPT]; // each where the hash of its path says, in place of another
};

// Opens a folder. Blocks meanwhile. 0, or a negative error: -ENOTDIR, -ENOENT and the like; -ENOSYS
// if the system cannot keep paths beneath it.
int folder_open(struct folder *folder, const char *path);
void folder_close(struct folder *folder);

// Finds a file by its path in the folder ("pages/index.html"), to be dropped with folder_let_go.
// Can wait. 0; -ENOENT, -EACCES and the like; -EISDIR for a folder; -EXDEV for what leads out of
// ours; -EPERM for what is no regular file.
int folder_find(struct folder *folder, const char *path, struct file **file);
void folder_let_go(struct file *file);

// Writes a time as HTTP does. `seconds` since 1970, UTC.
void date_format(char text[DATE_BYTES], int64_t seconds);

#endif
