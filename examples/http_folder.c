// SPDX-License-Identifier: MIT
// The folder of http_server: opens files on helper threads, and keeps what was opened. What it
// promises stands in http_folder.h.
#include "http_folder.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

// What a helper thread has found at a path.
struct sight {
    int folder;
    const char *path;
    const struct file *known; // the version that is kept, if any
    bool is_known;            // it is that version: there is no other content then
    int err;
    int descriptor; // -1 if the content is here
    struct stat facts;
    bool is_settled;
    char *content;
};

// ---- on a helper thread: what may wait for a disk ----

static int open_beneath(int folder, const char *path) {
    // O_NONBLOCK: who opens a named pipe does not wait until somebody opens its other end.
    struct open_how how = {.flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    long descriptor = syscall(SYS_openat2, folder, path, &how, sizeof how);
    return descriptor < 0 ? -errno : (int)descriptor;
}

static int64_t nanoseconds(struct timespec it) { return it.tv_sec * 1000000000LL + it.tv_nsec; }

static bool is_version(const struct file *file, const struct stat *facts) {
    return file && file->settled && file->device == facts->st_dev &&
           file->number == facts->st_ino && file->bytes == (uint64_t)facts->st_size &&
           file->modified_ns == nanoseconds(facts->st_mtim) &&
           file->changed_ns == nanoseconds(facts->st_ctim);
}

// A file that changes twice within one tick of the system's clock has the same times after both.
static bool is_settled(const struct stat *facts) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return nanoseconds(now) - nanoseconds(facts->st_ctim) > 1000000000;
}

// Reads all of a small file, or gives NULL: then it is sent from its stream.
static char *read_content(int descriptor, size_t bytes) {
    char *content = bytes <= CONTENT_BYTES_MAX ? malloc(bytes + 1) : NULL;
    size_t done = 0;
    ssize_t got = content ? 1 : 0;
    while (done < bytes && got > 0) {
        got = pread(descriptor, content + done, bytes - done, (off_t)done);
        done += got > 0 ? (size_t)got : 0;
    }
    if (done == bytes)
        return content;
    free(content);
    return NULL;
}

static void look(struct sight *it) {
    it->descriptor = open_beneath(it->folder, it->path);
    it->err = it->descriptor;
    if (it->err >= 0)
        it->err = fstat(it->descriptor, &it->facts) < 0 ? -errno
                  : S_ISDIR(it->facts.st_mode)          ? -EISDIR
                  : !S_ISREG(it->facts.st_mode)         ? -EPERM
                                                        : 0;
    it->is_known = it->err == 0 && is_version(it->known, &it->facts);
    it->is_settled = it->err == 0 && is_settled(&it->facts);
    if (it->err == 0 && !it->is_known)
        it->content = read_content(it->descriptor, (size_t)it->facts.st_size);
    if (it->descriptor >= 0 && (it->err < 0 || it->is_known || it->content)) {
        close(it->descriptor);
        it->descriptor = -1;
    }
}

static ac_value look_there(ac_value sight) {
    look(ac_pointer_of(sight));
    return ac_nil;
}

// ---- what is told of a file ----

static const char *type_of(const char *path) {
    static const char *const types[][2] = {
        {".html", "text/html; charset=utf-8"},
        {".htm", "text/html; charset=utf-8"},
        {".txt", "text/plain; charset=utf-8"},
        {".md", "text/markdown; charset=utf-8"},
        {".css", "text/css; charset=utf-8"},
        {".js", "text/javascript; charset=utf-8"},
        {".json", "application/json"},
        {".xml", "application/xml"},
        {".svg", "image/svg+xml"},
        {".png", "image/png"},
        {".jpg", "image/jpeg"},
        {".jpeg", "image/jpeg"},
        {".gif", "image/gif"},
        {".webp", "image/webp"},
        {".ico", "image/x-icon"},
        {".pdf", "application/pdf"},
        {".wasm", "application/wasm"},
        {".woff2", "font/woff2"},
        {".mp3", "audio/mpeg"},
        {".mp4", "video/mp4"},
    };
    const char *ending = strrchr(path, '.');
    for (size_t i = 0; ending && i < sizeof types / sizeof *types; i++)
        if (strcasecmp(ending, types[i][0]) == 0)
            return types[i][1];
    return "application/octet-stream";
}

void date_format(char text[DATE_BYTES], int64_t seconds) {
    struct tm parts;
    time_t time = (time_t)seconds;
    if (!gmtime_r(&time, &parts) || strftime(text, DATE_BYTES, "%a, %d %b %Y %T GMT", &parts) == 0)
        memcpy(text, "Thu, 01 Jan 1970 00:00:00 GMT", DATE_BYTES); // a year of five digits
}

static void describe(struct file *it) {
    it->type = type_of(it->path);
    date_format(it->modified, it->modified_ns / 1000000000);
    snprintf(it->tag, sizeof it->tag, "\"%llx-%llx\"", (unsigned long long)it->modified_ns,
             (unsigned long long)it->bytes);
    it->fields_bytes = (size_t)snprintf(it->fields, sizeof it->fields,
                                        "Content-Type: %s\r\nContent-Length: %llu\r\n"
                                        "Last-Modified: %s\r\nETag: %s\r\nAccept-Ranges: bytes\r\n",
                                        it->type, (unsigned long long)it->bytes, it->modified,
                                        it->tag);
}

// ---- files ----

void folder_let_go(struct file *file) {
    if (!file || --file->holders > 0)
        return;
    ac_close(file->stream);
    free(file->content);
    free(file);
}

// Makes a stream of a descriptor that has been opened beneath the folder. The name under /proc is
// that very file, whatever lies at its path by now.
static int open_stream(ac_stream **stream, int descriptor) {
    char name[32];
    snprintf(name, sizeof name, "/proc/self/fd/%d", descriptor);
    return ac_file_open(stream, name, "r", AC_FOREVER);
}

// Takes what is in the sight.
static int create(const struct sight *it, struct file **file) {
    size_t length = strlen(it->path) + 1;
    struct file *new = calloc(1, sizeof *new + length);
    int err = new ? 0 : -ENOMEM;
    if (new && it->descriptor >= 0)
        err = open_stream(&new->stream, it->descriptor);
    if (it->descriptor >= 0)
        close(it->descriptor);
    if (err < 0) {
        free(it->content);
        free(new);
        return err;
    }
    memcpy(new->path, it->path, length);
    new->holders = 1;
    new->looked = ac_now();
    new->device = it->facts.st_dev;
    new->number = it->facts.st_ino;
    new->modified_ns = nanoseconds(it->facts.st_mtim);
    new->changed_ns = nanoseconds(it->facts.st_ctim);
    new->bytes = (uint64_t)it->facts.st_size;
    new->settled = it->is_settled;
    new->content = it->content;
    describe(new);
    *file = new;
    return 0;
}

// ---- the folder ----

static struct file **place_of(struct folder *folder, const char *path) {
    uint64_t hash = 14695981039346656037u; // FNV-1a
    for (; *path; path++)
        hash = (hash ^ (unsigned char)*path) * 1099511628211u;
    return &folder->kept[(hash >> 32) % FILES_KEPT];
}

// Looks at the path and replaces what is kept in its place. To be called with a hold on `known`.
static int look_again(struct folder *folder, const char *path, struct file *known,
                      struct file **file) {
    struct sight sight = {
        .folder = folder->descriptor, .path = path, .known = known, .descriptor = -1};
    // The thread works on this coroutine's stack, which must not be left before it is done.
    ac_shield_begin();
    int err = ac_work(look_there, (void *)&sight, NULL, AC_FOREVER);
    ac_shield_end();
    if (err == 0)
        err = sight.err;
    if (err == 0 && sight.is_known) {
        known->holders++;
        *file = known;
        return 0;
    }
    if (err == 0)
        err = create(&sight, file);
    struct file **place = place_of(folder, path);
    if (*place == known || err == 0) { // nobody else has been quicker, or ours is not older
        folder_let_go(*place);
        *place = NULL;
    }
    if (err == 0) {
        *place = *file;
        (*file)->holders++;
    }
    return err;
}

int folder_find(struct folder *folder, const char *path, struct file **file) {
    struct file *known = *place_of(folder, path);
    if (known && strcmp(known->path, path) != 0)
        known = NULL;
    if (known)
        known->holders++;
    if (known && ac_now() - known->looked < 1000000000) {
        *file = known;
        return 0;
    }
    if (known)
        known->looked = ac_now(); // meanwhile the others take what is kept
    int err = look_again(folder, path, known, file);
    folder_let_go(known);
    return err;
}

int folder_open(struct folder *folder, const char *path) {
    *folder = (struct folder){.descriptor = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC)};
    if (folder->descriptor < 0)
        return -errno;
    int self = open_beneath(folder->descriptor, ".");
    if (self < 0)
        close(folder->descriptor);
    else
        close(self);
    return self < 0 ? self : 0;
}

void folder_close(struct folder *folder) {
    for (size_t i = 0; i < FILES_KEPT; i++)
        folder_let_go(folder->kept[i]);
    close(folder->descriptor);
}
