// SPDX-License-Identifier: MIT
// What a computation brings with it, its *cargo*, and how nodes keep it.
//
//   content.c  a node's store of contents: bytes that are known by their SHA-256
//   cargo.c    the client's side: which contents there are, what they are for, sending them
//   folder.c   the folder of a computation on a node
//   compile.c  making the program of its source on a node
//   intake.c   the node's side: choosing, taking in what is missing, putting it in its place
//
// A *content* is a file without a name. A cargo is a list of contents, its *items*, and what they
// are for: executables of which a node runs one (*variants*), files, and the source of the program,
// which a node compiles where none of these runs.
#ifndef CLUSTER_CARGO_H
#define CLUSTER_CARGO_H

#include "cluster/cluster.h"
#include "io/io.h"

enum {
    PROGRAM_BYTES_MAX = 1 << 30, // of an executable
    PIECE_BYTES = 48 << 10,      // of an upload in one message: fits into one frame
    CARGO_ITEMS_MAX = 256,
    CARGO_VARIANTS_MAX = 16,
    NAME_BYTES_MAX = 1024, // of a file that travels along
    SOURCE_FLAGS_MAX = 1024
};

// ---- content.c ----

struct content {
    uint8_t digest[DIGEST_BYTES];
    uint64_t bytes;
};

// The store of one node.
struct contents {
    char folder[512];       // "": none, everything that arrives lies in memory
    char work[512];         // for the folders of computations, on the same disk; where there is no
                            // folder one of our own in $TMPDIR or /tmp; "": cannot be made either
    int kept;               // the descriptor by which we keep `work` where there is no folder; -1
    uint32_t user, group;   // as whom workers run; 0: as we do
    struct cells *cells;    // in which compilers run; NULL: they are not confined
    uint64_t bytes_max;     // of all that lies in the folder and that nobody uses
    double compile_seconds; // for each compilation: 120
    struct map checked;     // digest -> struct sys_file_stamp: what this process has checked
};

// Opens the store beneath a folder, or the user's cache folder (NULL); `bytes_max` 0: 4 GiB. Where
// there can be no such folder, or others may write there, there is none. Waits for the disk only.
void contents_open(struct contents *contents, const char *folder, uint64_t bytes_max);
void contents_close(struct contents *contents);

// The digest of an open file of that size, on a helper thread if it is large. Can wait. 0 or an
// error.
int content_digest(int fd, uint64_t bytes, uint8_t digest[DIGEST_BYTES]);

// Copies an open file of that size into another one, on a helper thread if it is large. Can wait. 0
// or an error.
int content_copy(int fd, uint64_t bytes, int to);

// Looks for a content. Can wait (for its check). 1: it is there, whole, and open in *fd for
// reading; it stays as long as the descriptor is open. 0: it is not.
int content_find(struct contents *contents, const struct content *content, int *fd);

// A content that arrives.
struct upload {
    struct contents *contents;
    struct content content; // as it was announced
    int fd;                 // what is written; -1: none
    uint64_t received;
    struct digest *digest; // of what was received
    char path[640];        // the name that it will have; "": it lies in memory
    char temporary[680];   // the one that it has until then; "": none
};

// Makes room for one. 0; -EFBIG over PROGRAM_BYTES_MAX; or an error.
int upload_begin(struct upload *upload, struct contents *contents, const struct content *content);
// The next piece. 0; -EPROTO if it is not the next one or too large; or the error of writing.
int upload_add(struct upload *upload, uint64_t offset, const void *piece, size_t count);
// All has come: compares size and digest, gives the file its name and opens it for reading and
// running, as content_find does. 0; -EPROTO, and `problem` says why; or another error.
int upload_end(struct upload *upload, int *fd, char problem[PROBLEM_BYTES]);
// Frees it, and removes what is incomplete. May be called again.
void upload_close(struct upload *upload);

// ---- folder.c ----

struct folder {
    int work;    // the folder around it; -1: there is none
    int fd;      // kept
    bool shares; // its workers are another user, who cannot change what is ours
    char name[32];
    char path[560];
};

// Whether a file may travel under that name: a path of at most 1024 bytes and 32 parts, none of
// them empty, "." or ".." or longer than 255 bytes.
bool folder_name_is_good(const char *name);
// Makes the folder of a computation. 0; -ENOENT where there is no place for it; or an error.
int folder_make(struct folder *folder, const struct contents *contents);
// Puts a content into it, beneath "files" or "libraries". Can wait. 0; -EEXIST; -EINVAL for a bad
// name; or an error.
int folder_put(struct folder *folder, const char *below, const char *name, int content,
               uint64_t bytes, bool writable);
// When all has been put into it: makes it ready for workers that run as that user (0: as we do). 0
// or an error.
int folder_open_to(struct folder *folder, uint32_t user, uint32_t group);
// Removes it with all that is in it, as far as that goes. May be called again. Can wait.
void folder_remove(struct folder *folder);
// Removes what nodes that were killed have left.
void folder_sweep(const struct contents *contents);

// ---- compile.c ----

struct intake;
// Looks for what was made of the source before: 1, and intake->made is it; 0: it was not; or
// -ENOEXEC, and what is wrong is added to `problem`. Can wait.
int compile_find(struct intake *intake, char problem[PROBLEM_BYTES]);
// Compiles the source: 0, and intake->made is the executable; or -ENOEXEC likewise. Can wait.
int compile_source(struct intake *intake, char problem[PROBLEM_BYTES]);
// The name under which it is made.
#define COMPILE_RESULT ".made"

// ---- cargo.c ----

struct cargo_item {
    struct content content;
    int fd; // open for reading
};

struct cargo {
    struct cargo_item items[CARGO_ITEMS_MAX];
    uint32_t count;
    ac_value told; // as nodes are told, see cargo.c
};

// Opens what the options name, this process's own executable first, and reads it for the digests.
// Can wait. 0; or an error of reading, -ENOEXEC for a variant that is no program, -E2BIG for too
// many; then trace(TRACE_CLUSTER) has said what is wrong with which.
int cargo_open(struct cargo *cargo, const struct ac_computation_options *options);
void cargo_close(struct cargo *cargo);

// How far one node has been sent what it wants.
struct cargo_sending {
    ac_value wanted; // numbers of items, as the node has told; held
    uint64_t round;  // which of the node's questions this answers
    uint32_t next;
    uint64_t offset;
};
// Begins: takes `wanted`.
void cargo_send(struct cargo_sending *sending, ac_value wanted, uint64_t round);
// The next message for the node: a piece, or ["done"] and *over is true. An error as a value
// (AC_INVALID) if the file cannot be read any more. To be dropped or sent.
ac_value cargo_next(const struct cargo *cargo, struct cargo_sending *sending, bool *over);
void cargo_send_end(struct cargo_sending *sending);

// ---- intake.c ----

struct elf_place;

struct intake_item {
    struct content content;
    int fd; // -1: not here
    bool wanted;
};

// A file that travels along.
struct intake_file {
    char name[NAME_BYTES_MAX + 1];
    uint32_t item;
    enum { FILE_PLAIN, FILE_LIBRARY, FILE_SOURCE } use;
    bool writable;
};

struct intake {
    struct contents *contents;
    const struct elf_place *place;
    struct intake_item *items;
    uint32_t count;
    struct intake_file *files; // that go into the folder; of libraries only those of the variant
    uint32_t file_count;
    struct folder folder; // of the computation
    uint32_t variant;     // which of them runs here, from 0
    uint32_t program;     // its item
    int made;             // or what was compiled here, the program then; -1: no
    bool compiles;        // no variant runs here, so the source is compiled once all of it has come
    char flags[SOURCE_FLAGS_MAX]; // of the source
    char why[PROBLEM_BYTES];      // no variant runs here
    bool output;                  // the client wants what its workers write
    uint32_t next;                // the item that arrives, or that arrives next
    struct upload upload;
    bool uploading; // `upload` is in use
};

// Reads what a client has told of its cargo, which it does not take, chooses the variant and looks
// for what is here already. Can wait. 0: all is here; 1: something is wanted; an error, and
// `problem` says to people why it cannot be. intake_close is to be called in any case.
int intake_open(struct intake *intake, struct contents *contents, const struct elf_place *place,
                ac_value told, char problem[PROBLEM_BYTES]);
// The items that are wanted, as a list of their numbers.
ac_value intake_wanted(const struct intake *intake);
// The next piece: of the wanted items one after the other, each from its beginning. 0 or an error,
// with `problem`. Can wait.
int intake_add(struct intake *intake, uint32_t item, uint64_t offset, ac_span piece,
               char problem[PROBLEM_BYTES]);
// What has arrived of an item that is not whole is thrown away: the items that are wanted now begin
// once more.
void intake_again(struct intake *intake);
// Copies of what is here of the items that are wanted, as a cargo, to be closed by cargo_close. 0
// or an error.
int intake_cargo(const struct intake *intake, struct cargo *cargo);
// Nothing more comes: whether all is here, and the program is what it was said to be. 0 or an
// error, with `problem`.
int intake_end(struct intake *intake, char problem[PROBLEM_BYTES]);
// The executable, open for running; it belongs to the intake.
int intake_program(const struct intake *intake);
// Where its workers start.
const char *intake_folder(const struct intake *intake, char path[600]);
// The environment for its workers, to be released with memory_release; NULL: the node's own.
char **intake_environment(const struct intake *intake);
void intake_close(struct intake *intake);

#endif
