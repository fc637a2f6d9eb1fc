// SPDX-License-Identifier: MIT
// Where no variant of a program runs on a node, the node compiles it from the source that travels
// along, if there is one, with its own C compiler:
//
//     cc -o program FILE... FLAGS... `pkg-config --cflags --libs asyncoro`
//
// FILE are the names of the source but for headers (.h), in a folder of its own where all of them
// lie; FLAGS are the client's, split at blanks: no shell sees them. Where pkg-config knows nothing
// of asyncoro nothing is added.
// The compiler is confined as the program will be: flags and source can have it read files and run
// programs. So are it and pkg-config when they are asked what they are, in a folder of their own.
//
// What comes of it is a content of the store like others. By which digest it is known is kept
// beside it in a small file, "KEY-made", KEY being the SHA-256 of all that it depends on: the first
// line of what the compiler says of its version, the flags, and names and digests of the source.
// So a source is compiled once on each node, and as long as that is so, not sent again.
#include "cluster/cluster_private.h"

#include <stdio.h>

#include <asyncoro/process.h>

enum {
    ANSWER_BYTES_MAX = 1 << 20, // of what the compiler says
    WORDS_MAX = 512,            // of its command line
    ASK_SECONDS = 20            // for a version
};

static int fail(char *problem, const char *what) {
    size_t length = strlen(problem);
    snprintf(problem + length, PROBLEM_BYTES - length, "%scompiled here: %s", length ? "; " : "",
             what);
    return -ENOEXEC;
}

// ---- running programs ----

// Runs a program to its end, unconfined. Its exit code, or an error; *said is to be released.
static int run_open(const char *const *words, const char *folder, double seconds, char **said) {
    ac_process *process;
    struct ac_process_answer answer = {0};
    *said = NULL;
    int err = ac_process_start(&process, words, ac_after(seconds), .folder = folder,
                               .output = AC_PIPE, .error = AC_TO_OUTPUT, .own_session = true);
    if (err)
        return err;
    err = ac_process_communicate(process, &answer, ac_after(seconds),
                                 .output_bytes_max = ANSWER_BYTES_MAX);
    ac_process_close(process);
    ac_span span = ac_span_of(answer.output);
    *said = memory_allocate_zeroed(span.bytes + 1);
    if (*said && span.bytes)
        memcpy(*said, span.at, span.bytes);
    ac_drop(answer.output);
    ac_drop(answer.error);
    if (err)
        return err;
    return answer.end.by_signal ? 128 + answer.end.code : answer.end.code;
}

// The same in the files of a folder, confined where there are cells.
static int run(const struct intake *it, const char *const *words, struct folder *folder,
               double seconds, char **said) {
    const struct contents *contents = it->contents;
    char path[700];
    *said = NULL;
    snprintf(path, sizeof path, "%s/files", folder->path);
    int err = folder_open_to(folder, contents->user, contents->group);
    if (err)
        return err;
    if (contents->cells)
        return cell_run(contents->cells, words, path, seconds, ANSWER_BYTES_MAX, said);
    return run_open(words, path, seconds, said);
}

// What a program says, up to the end of its first line; false if it fails.
static bool ask(const struct intake *it, const char *const *words, struct folder *folder,
                char *line, size_t bytes) {
    char *said;
    int code = run(it, words, folder, ASK_SECONDS, &said);
    bool good = code == 0 && said;
    if (good)
        snprintf(line, bytes, "%.*s", (int)strcspn(said, "\n"), said);
    memory_release(said);
    return good;
}

// ---- what it depends on ----

struct job_of_compiler {
    char version[256];
    char ours[1024]; // flags for the library
    uint8_t key[DIGEST_BYTES];
};

static int add_text(struct digest *digest, const char *text) {
    return digest_add(digest, text, strlen(text) + 1);
}

static int make_key(const struct intake *it, struct job_of_compiler *job) {
    struct digest *digest = digest_create();
    if (!digest)
        return -ENOMEM;
    int err = add_text(digest, job->version);
    if (!err)
        err = add_text(digest, it->flags);
    if (!err)
        err = add_text(digest, job->ours);
    for (uint32_t i = 0; !err && i < it->file_count; i++) {
        const struct intake_file *file = &it->files[i];
        if (file->use != FILE_SOURCE)
            continue;
        err = add_text(digest, file->name);
        if (!err)
            err = digest_add(digest, it->items[file->item].content.digest, DIGEST_BYTES);
    }
    if (!err)
        err = digest_end(digest, job->key);
    digest_destroy(digest);
    return err;
}

static int look_around(const struct intake *it, struct job_of_compiler *job, char *problem) {
    struct folder folder;
    int err = folder_make(&folder, it->contents);
    if (err)
        return fail(problem, "there is no folder for that");
    bool there = ask(it, AC_ARGUMENTS("cc", "--version"), &folder, job->version,
                     sizeof job->version);
    if (there && !ask(it, AC_ARGUMENTS("pkg-config", "--cflags", "--libs", "asyncoro"), &folder,
                      job->ours, sizeof job->ours))
        job->ours[0] = 0;
    folder_remove(&folder);
    if (!there)
        return fail(problem, "there is no C compiler (cc)");
    err = make_key(it, job);
    return err ? fail(problem, ac_strerror(err)) : 0;
}

// ---- what was made before ----

static void path_of_note(const struct contents *contents, const uint8_t *key, char path[640]) {
    char *at = path + snprintf(path, 640, "%s/", contents->folder);
    for (int i = 0; i < DIGEST_BYTES; i++, at += 2)
        snprintf(at, 3, "%02x", key[i]);
    snprintf(at, 8, "-made");
}

static void write_note(const struct contents *contents, const uint8_t *key,
                       const struct content *made) {
    char path[640];
    if (!contents->folder[0])
        return;
    path_of_note(contents, key, path);
    int err = sys_file_replace_secret(path, made, sizeof *made);
    if (err)
        trace(TRACE_CLUSTER, "%s cannot be written: %s", path, ac_strerror(err));
}

static bool find_made(struct intake *it, const uint8_t *key) {
    char path[640];
    struct content made;
    struct buffer note;
    if (!it->contents->folder[0])
        return false;
    path_of_note(it->contents, key, path);
    buffer_init(&note);
    bool found = sys_file_read_secret(path, &note, sizeof made) == 0 && note.length == sizeof made;
    if (found)
        memcpy(&made, note.bytes, sizeof made);
    buffer_done(&note);
    return found && content_find(it->contents, &made, &it->made) > 0;
}

int compile_find(struct intake *it, char problem[PROBLEM_BYTES]) {
    struct job_of_compiler job;
    int err = look_around(it, &job, problem);
    return err ? err : find_made(it, job.key);
}

// ---- compiling ----

static bool is_header(const char *name) {
    size_t bytes = strlen(name);
    return bytes > 2 && strcmp(name + bytes - 2, ".h") == 0;
}

// Appends the words of a text, which is cut into them.
static size_t add_words(const char **words, size_t count, char *text) {
    char *rest = text, *word;
    while (count < WORDS_MAX && (word = strsep(&rest, " \t\n")) != NULL)
        if (*word)
            words[count++] = word;
    return count;
}

static int put_source(struct intake *it, struct folder *folder, const char **words, size_t *count) {
    int err = 0;
    for (uint32_t i = 0; !err && i < it->file_count; i++) {
        const struct intake_file *file = &it->files[i];
        if (file->use != FILE_SOURCE)
            continue;
        const struct intake_item *item = &it->items[file->item];
        err = folder_put(folder, "files", file->name, item->fd, item->content.bytes, false);
        if (!is_header(file->name))
            words[(*count)++] = file->name;
    }
    return err;
}

// The first line that has an error in it, and what follows, in one line.
static int fail_as_said(char *problem, char *said) {
    char *error = said ? strstr(said, "error") : NULL, text[300];
    if (!error)
        return fail(problem, said && *said ? said : "the compiler fails and says nothing");
    while (error > said && error[-1] != '\n')
        error--;
    snprintf(text, sizeof text, "%s", error);
    for (char *at = text; *at; at++)
        if (*at == '\n')
            *at = '|';
    return fail(problem, text);
}

// What was made becomes a content of the store.
static int keep(struct intake *it, const struct folder *folder, const uint8_t *key) {
    char problem[PROBLEM_BYTES];
    struct content made;
    struct upload upload;
    struct sys_file_facts facts;
    int files = sys_beneath_walk(folder->fd, "files", false);
    int fd = files < 0 ? files : sys_beneath_read(files, COMPILE_RESULT, &facts);
    sys_fd_close(files);
    int64_t bytes = fd < 0 ? fd : sys_file_bytes(fd);
    made.bytes = (uint64_t)bytes;
    int err = bytes < 0 ? (int)bytes : bytes > PROGRAM_BYTES_MAX ? -EFBIG : 0;
    if (!err)
        err = content_digest(fd, made.bytes, made.digest);
    if (!err)
        err = upload_begin(&upload, it->contents, &made);
    if (err) {
        sys_fd_close(fd);
        return err;
    }
    uint8_t *piece = memory_allocate(PIECE_BYTES);
    err = piece ? 0 : -ENOMEM;
    for (uint64_t at = 0; !err && at < made.bytes; at += PIECE_BYTES) {
        size_t count = made.bytes - at < PIECE_BYTES ? (size_t)(made.bytes - at) : PIECE_BYTES;
        err = sys_file_read_at(fd, at, piece, count);
        if (!err)
            err = upload_add(&upload, at, piece, count);
    }
    if (!err)
        err = upload_end(&upload, &it->made, problem);
    upload_close(&upload);
    memory_release(piece);
    sys_fd_close(fd);
    if (!err)
        write_note(it->contents, key, &made);
    return err;
}

static int compile_in(struct intake *it, struct job_of_compiler *job, struct folder *folder,
                      char *problem) {
    const char *words[WORDS_MAX + CARGO_ITEMS_MAX + 4] = {"cc", "-o", COMPILE_RESULT};
    char flags[sizeof it->flags], *said;
    size_t count = 3;
    int err = put_source(it, folder, words, &count);
    if (err)
        return fail(problem, ac_strerror(err));
    memcpy(flags, it->flags, sizeof flags);
    count = add_words(words, count, flags);
    count = add_words(words, count, job->ours);
    words[count] = NULL;
    int code = run(it, words, folder, it->contents->compile_seconds, &said);
    if (code == -ETIMEDOUT)
        err = fail(problem, "it took too long");
    else if (code < 0)
        err = fail(problem, ac_strerror(code));
    else if (code > 0)
        err = fail_as_said(problem, said);
    memory_release(said);
    if (err)
        return err;
    err = keep(it, folder, job->key);
    return err ? fail(problem, ac_strerror(err)) : 0;
}

int compile_source(struct intake *it, char problem[PROBLEM_BYTES]) {
    struct job_of_compiler job;
    struct folder folder;
    int err = look_around(it, &job, problem);
    if (err)
        return err;
    err = folder_make(&folder, it->contents);
    if (err)
        return fail(problem, "there is no folder for that");
    err = compile_in(it, &job, &folder, problem);
    folder_remove(&folder);
    return err;
}
