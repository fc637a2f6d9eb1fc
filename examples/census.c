// SPDX-License-Identifier: MIT
// Counts the words of all files below a folder, by all nodes of this computer: ships itself to
// them, and each job counts a batch of files. Prints the most frequent words, and checks the sum
// against a count in one process.
//
// usage: census [FOLDER]     (default: the system's C headers). Start `asyncoro node` first;
// examples/demo.sh does.
//
// A word is a run of letters, digits and underscores (ASCII), as it stands; of a very long one its
// first WORD_BYTES_MAX bytes count. Symbolic links are not followed. Jobs get paths, not contents,
// so census talks to nodes of this computer only. A file that cannot be read (any more) is skipped
// and said.
#include <asyncoro.h>

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    WORD_BYTES_MAX = 63,
    TOP = 20,
    BATCH_FILES_MAX = 10000,
    BATCH_BYTES_MIN = 4 << 20,
    BATCHES_MIN = 16,
    WORKERS_MAX = 64,
    PATIENCE_S = 30, // so long without any news is too long
    BAR = 30
};

// ---- counting: a hash table from words to numbers, and the words one behind the other ----

struct count {
    uint64_t hash;
    size_t at; // of the word in the text; 0: a free place
    long number;
};

struct counts {
    struct count *places;
    size_t place_count; // a power of two, or 0
    size_t used;
    char *text; // each word with a zero behind it, from 1 on
    size_t text_bytes, text_room;
    long words;
};

static uint64_t hash_of(const char *word, size_t bytes) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ (unsigned char)word[i]) * 0x100000001b3u;
    return hash;
}

static struct count *place_of(const struct counts *counts, uint64_t hash, const char *word,
                              size_t bytes) {
    size_t at = hash & (counts->place_count - 1);
    for (;; at = (at + 1) & (counts->place_count - 1)) {
        struct count *it = &counts->places[at];
        if (it->at == 0)
            return it;
        const char *text = counts->text + it->at;
        if (it->hash == hash && memcmp(text, word, bytes) == 0 && !text[bytes])
            return it;
    }
}

static void *must(void *memory) {
    if (!memory) {
        ac_print_to(stderr, "census: there is no memory left\n");
        exit(1);
    }
    return memory;
}

static void grow(struct counts *counts) {
    size_t old_count = counts->place_count;
    struct count *old = counts->places;
    counts->place_count = old_count ? old_count * 2 : 4096;
    counts->places = must(calloc(counts->place_count, sizeof *counts->places));
    for (size_t i = 0; i < old_count; i++) {
        size_t at = old[i].hash & (counts->place_count - 1);
        while (old[i].at && counts->places[at].at)
            at = (at + 1) & (counts->place_count - 1);
        if (old[i].at)
            counts->places[at] = old[i];
    }
    free(old);
}

// There is always room for one more of the longest words, so that comparing with one never leaves
// the text.
static size_t keep_word(struct counts *counts, const char *word, size_t bytes) {
    size_t at = counts->text_bytes ? counts->text_bytes : 1;
    if (at + 2 * (WORD_BYTES_MAX + 1) > counts->text_room)
        counts->text = must(realloc(counts->text, counts->text_room = at * 2 + 65536));
    counts->text[0] = 0;
    memcpy(counts->text + at, word, bytes);
    memset(counts->text + at + bytes, 0, WORD_BYTES_MAX + 1);
    counts->text_bytes = at + bytes + 1;
    return at;
}

static void add(struct counts *counts, const char *word, size_t bytes, long number) {
    if (counts->used * 2 >= counts->place_count)
        grow(counts);
    bytes = bytes < WORD_BYTES_MAX ? bytes : WORD_BYTES_MAX;
    uint64_t hash = hash_of(word, bytes);
    struct count *it = place_of(counts, hash, word, bytes);
    if (it->at == 0) {
        *it = (struct count){.hash = hash, .at = keep_word(counts, word, bytes)};
        counts->used++;
    }
    it->number += number;
    counts->words += number;
}

// Empties it, but keeps its memory.
static void clear(struct counts *counts) {
    if (counts->places)
        memset(counts->places, 0, counts->place_count * sizeof *counts->places);
    counts->used = counts->text_bytes = 0;
    counts->words = 0;
}

static void forget(struct counts *counts) {
    free(counts->places);
    free(counts->text);
    *counts = (struct counts){0};
}

static bool is_letter(char it) {
    return (it >= 'a' && it <= 'z') || (it >= 'A' && it <= 'Z') || (it >= '0' && it <= '9') ||
           it == '_';
}

static void count_text(struct counts *counts, const char *text, size_t bytes) {
    for (size_t i = 0; i < bytes;) {
        size_t from = i;
        while (i < bytes && is_letter(text[i]))
            i++;
        if (i > from)
            add(counts, text + from, i - from, 1);
        else
            i++;
    }
}

// Counts the words of a file. Their number, or -1 if it cannot be read; *bytes is its size.
static long count_file(struct counts *counts, const char *path, long *bytes) {
    FILE *file = fopen(path, "rb");
    long before = counts->words;
    char *text = NULL;
    size_t room = 0, length = 0, got = 1;
    while (file && got > 0) {
        if (room - length < 65536)
            text = must(realloc(text, room = room * 2 + 131072));
        got = fread(text + length, 1, room - length, file);
        length += got;
    }
    bool good = file && !ferror(file);
    if (file)
        fclose(file);
    if (good)
        count_text(counts, text, length);
    free(text);
    *bytes = (long)length;
    return good ? counts->words - before : -1;
}

// ---- the job: [path, ...] -> [[words of each file, bytes of each file, ...], counts] ----

// Each word with a zero and its number behind it, as this computer writes numbers: one item, where
// a list would have two for each word.
static ac_value bytes_of_counts(const struct counts *counts) {
    uint32_t number;
    char *bytes = must(malloc(counts->text_bytes + counts->used * sizeof number + 1)), *end = bytes;
    for (size_t i = 0; i < counts->place_count; i++)
        if (counts->places[i].at) {
            number = (uint32_t)counts->places[i].number;
            end = stpcpy(end, counts->text + counts->places[i].at) + 1;
            memcpy(end, &number, sizeof number);
            end += sizeof number;
        }
    ac_value value = ac_of_bytes(bytes, (size_t)(end - bytes));
    free(bytes);
    return value;
}

static ac_value count_batch(ac_value paths) {
    static struct counts counts; // for one batch after the other
    size_t n = 0, cursor = 0;
    ac_value *files = must(malloc((ac_count(paths) * 2 + 1) * sizeof *files));
    ac_value path;
    clear(&counts);
    while (ac_next(paths, &cursor, &path)) {
        ac_span span = ac_span_of(path);
        char *name = must(strndup(span.at, span.bytes));
        long bytes;
        files[n++] = ac_of(count_file(&counts, name, &bytes));
        files[n++] = ac_of(bytes);
        free(name);
        ac_drop(path);
    }
    ac_value result = ac_list(ac_list_of(files, n), bytes_of_counts(&counts));
    free(files);
    return result;
}
AC_JOB(count_batch)

// ---- the files ----

struct file {
    char *path;
    long bytes;
    long words; // as a job has counted; -1: skipped
};

struct batch {
    size_t first, count;
    int64_t job;
};

struct census {
    const char *folder;
    struct file *files;
    size_t file_count;
    struct batch *batches;
    size_t batch_count;
    struct counts counts;
    long bytes, bytes_done, skipped;
    size_t files_done, batches_done, unreadable_folders;
    struct {
        ac_ref worker;
        char location[64];
        long jobs;
    } workers[WORKERS_MAX];
    size_t worker_count;
    ac_time began;
    bool done;
    int status; // the exit code
};

static void add_file(struct census *it, const char *path, long bytes) {
    if ((it->file_count & (it->file_count - 1)) == 0)
        it->files = must(realloc(it->files, (it->file_count * 2 + 1) * sizeof *it->files));
    it->files[it->file_count++] = (struct file){must(strdup(path)), bytes, -1};
    it->bytes += bytes;
}

// Goes through a folder and those below. False if it cannot be read.
static bool walk(struct census *it, const char *folder) {
    DIR *all = opendir(folder);
    if (!all)
        return false;
    for (struct dirent *at; (at = readdir(all));) {
        struct stat facts;
        size_t bytes = strlen(folder) + strlen(at->d_name) + 2;
        char *path = must(malloc(bytes));
        ac_format(path, bytes, "%s/%s", folder, at->d_name);
        bool known = strcmp(at->d_name, ".") != 0 && strcmp(at->d_name, "..") != 0 &&
                     lstat(path, &facts) == 0;
        if (known && S_ISREG(facts.st_mode))
            add_file(it, path, (long)facts.st_size);
        else if (known && S_ISDIR(facts.st_mode) && !walk(it, path))
            it->unreadable_folders++;
        free(path);
    }
    closedir(all);
    return true;
}

static int by_path(const void *a, const void *b) {
    return strcmp(((const struct file *)a)->path, ((const struct file *)b)->path);
}

// Cuts the files into batches, in the order of their names. The first ones are large, because what
// jobs find is the less to add up the fewer they are; the last ones are small, so that no worker
// has to wait long for another; and where there is little to do all have something.
static void make_batches(struct census *it) {
    qsort(it->files, it->file_count, sizeof *it->files, by_path);
    it->batches = must(calloc(it->file_count + 1, sizeof *it->batches));
    long left = it->bytes, bytes = 0, bytes_max = 0, few = it->bytes / BATCHES_MIN + 1;
    long parts = 2 * sysconf(_SC_NPROCESSORS_ONLN); // of what is left is in one
    size_t files_max = it->file_count / BATCHES_MIN + 1;
    files_max = files_max < BATCH_FILES_MAX ? files_max : BATCH_FILES_MAX;
    few = few < BATCH_BYTES_MIN ? few : BATCH_BYTES_MIN;
    for (size_t i = 0; i < it->file_count; i++) {
        struct batch *last = it->batch_count ? &it->batches[it->batch_count - 1] : NULL;
        if (!last || last->count == files_max || bytes >= bytes_max) {
            last = &it->batches[it->batch_count++];
            last->first = i;
            left -= bytes;
            bytes = 0;
            bytes_max = left / parts > few ? left / parts : few;
        }
        last->count++;
        bytes += it->files[i].bytes;
    }
}

static int64_t submit(struct census *it, ac_computation *computation, struct batch *batch) {
    ac_value *paths = must(malloc(batch->count * sizeof *paths));
    for (size_t i = 0; i < batch->count; i++) {
        const char *path = it->files[batch->first + i].path;
        paths[i] = ac_of_bytes(path, strlen(path)); // not every name is UTF-8
    }
    batch->job = ac_submit(computation, count_batch, ac_list_of(paths, batch->count));
    free(paths);
    return batch->job;
}

// ---- progress ----

static void show(const struct census *it, bool bar) {
    double seconds = (double)(ac_now() - it->began) * 1e-9;
    double part = it->bytes ? (double)it->bytes_done / (double)it->bytes : 1;
    double rate = seconds > 0 ? (double)it->bytes_done / seconds : 0;
    double left = rate > 0 ? (double)(it->bytes - it->bytes_done) / rate : 0;
    if (bar) {
        static const char full[] = "##############################",
                          empty[] = "..............................";
        int n = (int)(part * BAR);
        fprintf(stderr, "\r[%.*s%.*s] %3.0f %%  %6.1f MB/s  %3.0f s left ", n, full, BAR - n, empty,
                part * 100, rate * 1e-6, left);
    } else if (it->batches_done == 0) {
        fprintf(stderr, "  0 %%, 0 of %zu files, no result yet\n", it->file_count);
    } else {
        fprintf(stderr, "%3.0f %%, %zu of %zu files, %.1f MB/s, %.0f s left\n", part * 100,
                it->files_done, it->file_count, rate * 1e-6, left);
    }
}

static ac_value show_progress(ac_value argument) {
    const struct census *it = ac_pointer_of(argument);
    bool bar = isatty(STDERR_FILENO);
    while (ac_sleep(bar ? 0.1 : 1) == 0 && !it->done)
        show(it, bar);
    return ac_nil;
}

// ---- results ----

static void note_worker(struct census *it, const struct ac_job_exit *end) {
    size_t i = 0;
    while (i < it->worker_count && !ac_ref_equal(it->workers[i].worker, end->worker))
        i++;
    if (i == WORKERS_MAX)
        return;
    if (i == it->worker_count) {
        it->workers[it->worker_count++].worker = end->worker;
        memcpy(it->workers[i].location, end->location, sizeof it->workers[i].location);
    }
    it->workers[i].jobs++;
}

// False if they are not what a job returns.
static bool add_counts(struct counts *counts, const char *word, const char *end) {
    uint32_t number;
    while (word < end) {
        size_t bytes = strnlen(word, (size_t)(end - word));
        if ((size_t)(end - word) < bytes + 1 + sizeof number)
            return false;
        memcpy(&number, word + bytes + 1, sizeof number);
        add(counts, word, bytes, number);
        word += bytes + 1 + sizeof number;
    }
    return true;
}

// Adds what a job has found. False if it is not what a job returns.
static bool take_result(struct census *it, const struct batch *batch, ac_value result) {
    ac_value files, words, item;
    if (ac_unpack(result, &files, &words) != 0)
        return false;
    size_t cursor = 0;
    bool good = ac_count(files) == batch->count * 2;
    for (size_t i = 0; good && i < batch->count; i++) {
        struct file *file = &it->files[batch->first + i];
        ac_next(files, &cursor, &item);
        file->words = ac_int_of(item);
        it->bytes_done += file->bytes;
        it->skipped += file->words < 0;
        ac_next(files, &cursor, &item);
        file->bytes = file->words < 0 ? 0 : ac_int_of(item);
    }
    ac_span span = ac_span_of(words);
    good = good && add_counts(&it->counts, span.at, span.at + span.bytes);
    it->files_done += batch->count;
    ac_drop(files);
    ac_drop(words);
    return good;
}

static void take_end(struct census *it, const struct ac_job_exit *end) {
    const struct batch *batch = NULL;
    for (size_t i = 0; i < it->batch_count; i++)
        if (it->batches[i].job == end->job)
            batch = &it->batches[i];
    it->batches_done++;
    note_worker(it, end);
    if (batch && end->exit.how == AC_FINISHED && take_result(it, batch, end->exit.value))
        return;
    ac_print_to(stderr, "census: job %d %s: %v\n", (int)end->job, ac_end_name(end->exit.how),
                end->exit.value);
    it->status = 1;
}

static const char *sorted_text;

static int by_number(const void *a, const void *b) {
    const struct count *one = a, *other = b;
    if (one->number != other->number)
        return one->number < other->number ? 1 : -1;
    return strcmp(sorted_text + one->at, sorted_text + other->at);
}

static void print_results(struct census *it, double seconds) {
    long bytes = 0;
    for (size_t i = 0; i < it->file_count; i++)
        bytes += it->files[i].words < 0 ? 0 : it->files[i].bytes;
    sorted_text = it->counts.text;
    qsort(it->counts.places, it->counts.place_count, sizeof *it->counts.places, by_number);
    for (size_t i = 0; i < TOP && i < it->counts.used; i++)
        ac_print("%9ld  %s\n", it->counts.places[i].number, sorted_text + it->counts.places[i].at);
    ac_print("%zu files, %ld bytes, %ld words, %zu different ones, in %.2f s\n",
             it->file_count - (size_t)it->skipped, bytes, it->counts.words, it->counts.used,
             seconds);
    if (it->skipped || it->unreadable_folders)
        ac_print("skipped: %ld files and %zu folders that cannot be read\n", it->skipped,
                 it->unreadable_folders);
    for (size_t i = 0; i < it->worker_count; i++)
        ac_print("worker %zu at %s: %ld jobs\n", i + 1, it->workers[i].location,
                 it->workers[i].jobs);
}

// Counts once more in this process. What has vanished since the job cannot be compared and is left
// out on both sides.
static void check(struct census *it) {
    struct counts counts = {0};
    long expected = 0, vanished = 0, different = 0, bytes;
    ac_time began = ac_now();
    for (size_t i = 0; i < it->file_count; i++) {
        const struct file *file = &it->files[i];
        if (file->words < 0)
            continue;
        long words = count_file(&counts, file->path, &bytes);
        vanished += words < 0;
        expected += words < 0 ? 0 : file->words;
        if (words >= 0 && words != file->words && different++ == 0)
            ac_print_to(stderr, "census: %s: %ld words, but its job has found %ld\n", file->path,
                        words, file->words);
    }
    if (vanished)
        ac_print("%ld files have vanished since and are not checked\n", vanished);
    bool same = counts.words == expected && !different &&
                (vanished || (counts.used == it->counts.used && counts.words == it->counts.words));
    ac_print("check: one process counts %ld words in %.2f s: %s\n", counts.words,
             (double)(ac_now() - began) * 1e-9, same ? "the same" : "NOT the same");
    if (!same)
        it->status = 1;
    forget(&counts);
}

// ---- the client ----

static void follow(struct census *it) {
    ac_value message;
    while (it->batches_done < it->batch_count) {
        if (ac_receive(&message, ac_after(PATIENCE_S)) < 0) {
            ac_print_to(stderr,
                        "census: nothing was heard for %d s; does `asyncoro node` run on "
                        "this computer, with the same key?\n",
                        PATIENCE_S);
            it->status = 1;
            return;
        }
        struct ac_status status;
        struct ac_job_exit end;
        if (ac_job_exit_of(message, &end)) {
            take_end(it, &end);
            ac_drop(end.exit.value);
        } else if (ac_status_of(message, &status) &&
                   (status.kind == AC_NODE_REFUSED || status.kind == AC_WORKER_GONE)) {
            ac_print_to(stderr, "census: %s\n", status.text);
        }
        ac_drop(message);
    }
}

static ac_value run_census(ac_value argument) {
    struct census *it = ac_pointer_of(argument);
    ac_computation *computation;
    // Paths mean the same on this computer only.
    int err = ac_network_start(.loopback_only = true);
    if (!err)
        err = ac_computation_open(&computation);
    if (err) {
        ac_print_to(stderr, "census: %s\n",
                    *ac_network_error() ? ac_network_error() : ac_strerror(err));
        it->status = 1;
        return ac_nil;
    }
    it->began = ac_now();
    ac_spawn(show_progress, ac_of_pointer(it), .name = "progress", .daemon = true);
    for (size_t i = 0; i < it->batch_count && it->status == 0; i++)
        if (submit(it, computation, &it->batches[i]) < 0)
            it->status = 1;
    if (it->status == 0)
        follow(it);
    it->done = true;
    double seconds = (double)(ac_now() - it->began) * 1e-9;
    show(it, isatty(STDERR_FILENO));
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\n");
    err = ac_computation_close(computation, AC_NOW);
    if (err || it->status)
        it->status = 1;
    else
        print_results(it, seconds);
    return ac_nil;
}

int main(int argc, char **argv) {
    ac_cluster_init(argc, argv);
    static struct census it;
    it.folder = argc > 1 ? argv[1] : "/usr/include";
    if (argc > 2) {
        ac_print_to(stderr, "usage: census [FOLDER]\n");
        return 2;
    }
    // Workers may run in another folder.
    char *folder = realpath(it.folder, NULL);
    if (!folder || !walk(&it, folder)) {
        ac_print_to(stderr, "census: %s cannot be read: %s\n", it.folder, ac_strerror(errno));
        free(folder);
        return 1;
    }
    free(folder);
    make_batches(&it);
    ac_spawn(run_census, ac_of_pointer(&it), .name = "census", .stack_bytes = 256 << 10);
    int err = ac_run();
    if (!err && it.status == 0)
        check(&it);
    for (size_t i = 0; i < it.file_count; i++)
        free(it.files[i].path);
    free(it.files);
    free(it.batches);
    forget(&it.counts);
    return err ? 1 : it.status;
}
