// SPDX-License-Identifier: MIT
// The head of an HTTP request, as http_server understands it: strictly, as what two programs
// understand differently is what attackers live on. Nothing here waits.
#ifndef HTTP_REQUEST_H
#define HTTP_REQUEST_H

#include "http_folder.h"

enum {
    HEAD_BYTES_MAX = 8192,
    FIELDS_MAX = 64,
    PATH_BYTES_MAX = 1024,
};

struct field {
    const char *name, *value;
};

// Its texts lie in `head`.
struct request {
    const char *method, *target;
    bool is_old;  // HTTP/1.0
    bool is_head; // nothing but the head of the answer is wanted
    size_t count; // of fields
    struct field fields[FIELDS_MAX];
    char head[HEAD_BYTES_MAX + 1];
};

// Takes the head apart, which has so many bytes and ends with an empty line: 200, or the status to
// answer with.
int request_parse(struct request *it, size_t bytes);

// Whether another request may follow on the connection.
bool request_keeps(const struct request *it);

// Whether a body follows the head. No request that is served has one, and nobody looks where it
// ends.
bool request_has_body(const struct request *it);

// From the target to a path beneath the folder: 200, or the status to answer with. What begins with
// a dot is hidden, "." and ".." among it.
int request_path(const struct request *it, char path[PATH_BYTES_MAX]);

// Whether the client says that it has this version of the file.
bool request_has(const struct request *it, const struct file *file);

// Which part of the file is wanted: 206 and the part, 200 for all of it, 416 if it has no such
// part. Of several parts, or of another version, all of it is sent, which is always right.
int request_range(const struct request *it, const struct file *file, uint64_t *first,
                  uint64_t *bytes);

#endif
