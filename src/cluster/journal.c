// SPDX-License-Identifier: MIT
// What journal.h promises. The file:
//
//     "acjrnl01"   8 bytes
//     id           8 bytes, random, drawn when the file is made
//     frames       each what one journal_flush had to write:
//
//         length of the body      4 bytes, the lowest first; 1 to FRAME_BYTES_MAX
//         digest of the body      the first 8 bytes of its SHA-256
//         digest of these 12      the first 4 bytes of their SHA-256
//         body                    records, one after the other
//
// A record is one byte, enum record, and its items: numbers, 7 bits a byte, the lowest first, the
// top bit set in all but the last; words of 8 bytes, the lowest first; a text as a number and so
// many bytes.
//
//     LAST         number                                of the last computation that there was
//     COMPUTATION  number, token (16 bytes), name (text)
//     CLOSED       computation
//     WORKER       computation, id, host (2 words), number, worker (2 words), highest place so far
//     GONE         worker's id
//     JOB          computation, job, attempts, lost starts
//     GIVEN        worker's id, job, attempt, place
//     OVER         computation, job, attempt, whether that counts (1 or 0)
//     FORGET       computation, job
//
// A frame that the file ends within was being written when the process ended: it is cut off. One
// that is whole and wrong is damage. The file is rewritten, under another name that then takes its
// place, when it is opened and when it is far larger than what it has to say.
#include "cluster/journal.h"

#include <stdio.h>

enum {
    MAGIC_BYTES = 8,
    HEAD_BYTES = MAGIC_BYTES + JOURNAL_ID_BYTES, // of the file
    FRAME_HEAD_BYTES = 16,
    FRAME_BYTES = 64 << 10, // when a frame is written though nobody asks for it
    FRAME_BYTES_MAX = 1 << 20,
    RECORD_BYTES_MAX = 128,
    FILE_BYTES_MAX = 1 << 30,
    SLACK_BYTES = 1 << 20, // that a file may have beyond GARBAGE times what lives
    GARBAGE = 4,
    // About what they take in a rewritten file.
    COMPUTATION_BYTES = 64,
    WORKER_BYTES = 56,
    JOB_BYTES = 8,
    FLIGHT_BYTES = 10
};

static const char magic[MAGIC_BYTES] = {'a', 'c', 'j', 'r', 'n', 'l', '0', '1'};

enum record { LAST = 1, COMPUTATION, CLOSED, WORKER, GONE, JOB, GIVEN, OVER, FORGET };

// A file that frames are added to.
struct output {
    int fd;
    uint64_t bytes;     // of the file
    struct buffer body; // of the next frame
    int err;            // why no more is added
};

struct journal {
    char *path, *path_new;
    struct output out;
    uint64_t rewrite_at; // bytes
    uint8_t id[JOURNAL_ID_BYTES];
    struct list computations;
    struct map by_number; // these
    struct map by_id;     // struct journal_worker
    uint64_t last_number, last_id;
    uint64_t live; // bytes, about
    void (*given_up)(void *up);
    void *up;
};

// ---- what is known ----

static struct journal_computation *put_computation(struct journal *it, uint64_t number,
                                                   const uint8_t *token, const char *name) {
    struct journal_computation *computation = memory_allocate_zeroed(sizeof *computation);
    if (!computation || map_put_id(&it->by_number, number, computation) < 0) {
        memory_release(computation);
        return NULL;
    }
    computation->journal = it;
    computation->number = number;
    memcpy(computation->token, token, JOURNAL_TOKEN_BYTES);
    snprintf(computation->name, sizeof computation->name, "%s", name);
    map_init(&computation->jobs);
    list_init(&computation->workers);
    list_init(&computation->link);
    list_append(&it->computations, &computation->link);
    it->last_number = number > it->last_number ? number : it->last_number;
    it->live += COMPUTATION_BYTES;
    return computation;
}

static struct journal_worker *put_worker(struct journal_computation *computation, uint64_t id) {
    struct journal *it = computation->journal;
    struct journal_worker *worker = memory_allocate_zeroed(sizeof *worker);
    if (!worker || map_put_id(&it->by_id, id, worker) < 0) {
        memory_release(worker);
        return NULL;
    }
    worker->computation = computation;
    worker->id = id;
    list_init(&worker->flights);
    list_init(&worker->link);
    list_append(&computation->workers, &worker->link);
    it->last_id = id > it->last_id ? id : it->last_id;
    it->live += WORKER_BYTES;
    return worker;
}

static void take_worker(struct journal_worker *worker) {
    struct journal *it = worker->computation->journal;
    (void)map_take_id(&it->by_id, worker->id);
    list_remove(&worker->link);
    it->live -= WORKER_BYTES;
    memory_release(worker);
}

static struct journal_job *put_job(struct journal_computation *computation, uint64_t number) {
    struct journal_job *job = map_get_id(&computation->jobs, number);
    if (job)
        return job;
    job = memory_allocate_zeroed(sizeof *job);
    if (!job || map_put_id(&computation->jobs, number, job) < 0) {
        memory_release(job);
        return NULL;
    }
    job->computation = computation;
    job->number = number;
    computation->journal->live += JOB_BYTES;
    return job;
}

static bool put_flight(struct journal_worker *worker, uint64_t number, uint32_t attempt,
                       uint64_t place) {
    struct journal_flight *flight = memory_allocate(sizeof *flight);
    struct journal_job *job = flight ? put_job(worker->computation, number) : NULL;
    if (!job) {
        memory_release(flight);
        return false;
    }
    *flight = (struct journal_flight){
        .job = job, .worker = worker, .other = job->flight, .place = place, .attempt = attempt};
    job->flight = flight;
    job->attempts = attempt > job->attempts ? attempt : job->attempts;
    worker->given = place > worker->given ? place : worker->given;
    list_init(&flight->link);
    list_append(&worker->flights, &flight->link);
    worker->computation->journal->live += FLIGHT_BYTES;
    return true;
}

static void take_flight(struct journal_flight **at) {
    struct journal_flight *flight = *at;
    struct journal_worker *worker = flight->worker;
    *at = flight->other;
    list_remove(&flight->link);
    worker->computation->journal->live -= FLIGHT_BYTES;
    memory_release(flight);
    if (worker->gone && list_empty(&worker->flights))
        take_worker(worker);
}

static bool end_flight(struct journal_job *job, uint32_t attempt, bool counts) {
    struct journal_flight **at = &job->flight;
    while (*at && (*at)->attempt != attempt)
        at = &(*at)->other;
    if (!*at)
        return false;
    take_flight(at);
    job->starts_lost += counts && job->starts_lost < UINT8_MAX;
    return true;
}

static void take_job(struct journal_job *job) {
    while (job->flight)
        take_flight(&job->flight);
    (void)map_take_id(&job->computation->jobs, job->number);
    job->computation->journal->live -= JOB_BYTES;
    memory_release(job);
}

static void end_worker(struct journal_worker *worker) {
    worker->gone = true;
    if (list_empty(&worker->flights))
        take_worker(worker);
}

static void take_computation(struct journal_computation *computation) {
    uint64_t cursor = 0;
    for (struct journal_job *job; (job = map_next(&computation->jobs, &cursor, NULL, NULL));)
        take_job(job);
    for (struct list *link; (link = list_first(&computation->workers)) != NULL;)
        take_worker(container_of(link, struct journal_worker, link));
    map_done(&computation->jobs);
    list_remove(&computation->link);
    computation->journal->live -= COMPUTATION_BYTES;
    (void)map_take_id(&computation->journal->by_number, computation->number);
    memory_release(computation);
}

// ---- writing ----

// For all that put_record has made room for.
static void put_bytes(struct output *out, const void *bytes, size_t count) {
    if (out->err)
        return;
    memcpy(out->body.bytes + out->body.length, bytes, count);
    out->body.length += count;
}

static void put_number(struct output *out, uint64_t number) {
    uint8_t bytes[10];
    size_t count = 0;
    do {
        bytes[count] = (uint8_t)(number & 0x7f);
        number >>= 7;
        bytes[count++] |= number ? 0x80 : 0;
    } while (number);
    put_bytes(out, bytes, count);
}

static void put_word(struct output *out, uint64_t word) {
    uint8_t bytes[8];
    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(word >> 8 * i);
    put_bytes(out, bytes, sizeof bytes);
}

static void put_ref(struct output *out, ac_ref ref) {
    put_word(out, ref.peer);
    put_word(out, ref.id);
}

static void put_record(struct output *out, enum record record) {
    if (!out->err)
        out->err = buffer_reserve(&out->body, RECORD_BYTES_MAX);
    put_bytes(out, &(uint8_t){(uint8_t)record}, 1);
}

static void append(struct output *out, const void *bytes, size_t count) {
    if (!out->err)
        out->err = sys_file_write_at(out->fd, out->bytes, bytes, count);
    out->bytes += count;
}

// The head of a frame.
static int make_head(uint8_t head[FRAME_HEAD_BYTES], const uint8_t *body, size_t bytes) {
    uint8_t digest[DIGEST_BYTES];
    int err = digest_of(body, bytes, digest);
    for (int i = 0; i < 4; i++)
        head[i] = (uint8_t)(bytes >> 8 * i);
    memcpy(head + 4, digest, 8);
    if (!err)
        err = digest_of(head, 12, digest);
    memcpy(head + 12, digest, 4);
    return err;
}

// Head and body in one piece: room for the head stands before the body.
static void write_frame(struct output *out) {
    if (out->err || out->body.length <= FRAME_HEAD_BYTES)
        return;
    out->err = make_head(out->body.bytes, out->body.bytes + FRAME_HEAD_BYTES,
                         out->body.length - FRAME_HEAD_BYTES);
    append(out, out->body.bytes, out->body.length);
    out->body.length = FRAME_HEAD_BYTES;
}

static void output_begin(struct output *out, int fd, uint64_t bytes) {
    *out = (struct output){.fd = fd, .bytes = bytes};
    buffer_init(&out->body);
    out->err = buffer_append(&out->body, (uint8_t[FRAME_HEAD_BYTES]){0}, FRAME_HEAD_BYTES);
}

static void output_end(struct output *out) {
    buffer_done(&out->body);
    if (out->fd >= 0)
        sys_fd_close(out->fd);
}

static void put_computation_record(struct output *out, const struct journal_computation *it) {
    put_record(out, COMPUTATION);
    put_number(out, it->number);
    put_bytes(out, it->token, sizeof it->token);
    put_number(out, strlen(it->name));
    put_bytes(out, it->name, strlen(it->name));
}

static void put_worker_record(struct output *out, const struct journal_worker *it) {
    put_record(out, WORKER);
    put_number(out, it->computation->number);
    put_number(out, it->id);
    put_ref(out, it->host);
    put_number(out, (uint64_t)it->number);
    put_ref(out, it->ref);
    put_number(out, it->given);
}

static void put_job_record(struct output *out, const struct journal_job *it) {
    put_record(out, JOB);
    put_number(out, it->computation->number);
    put_number(out, it->number);
    put_number(out, it->attempts);
    put_number(out, it->starts_lost);
}

static void put_given(struct output *out, uint64_t id, uint64_t number, uint32_t attempt,
                      uint64_t place) {
    put_record(out, GIVEN);
    put_number(out, id);
    put_number(out, number);
    put_number(out, attempt);
    put_number(out, place);
}

// ---- rewriting ----

static void rewrite_worker(struct output *out, const struct journal_worker *worker) {
    put_worker_record(out, worker);
    list_each (link, (struct list *)&worker->flights) {
        const struct journal_flight *flight = container_of(link, struct journal_flight, link);
        put_given(out, worker->id, flight->job->number, flight->attempt, flight->place);
        if (out->body.length > FRAME_BYTES)
            write_frame(out);
    }
    if (!worker->gone)
        return;
    put_record(out, GONE);
    put_number(out, worker->id);
}

static void rewrite_computation(struct output *out, struct journal_computation *computation) {
    uint64_t cursor = 0;
    put_computation_record(out, computation);
    for (struct journal_job *job; (job = map_next(&computation->jobs, &cursor, NULL, NULL));) {
        put_job_record(out, job);
        if (out->body.length > FRAME_BYTES)
            write_frame(out);
    }
    list_each (link, &computation->workers)
        rewrite_worker(out, container_of(link, struct journal_worker, link));
}

// What lives alone, in a file that takes the place of the one that is there. Where that cannot be
// made the old one goes on. 0 or an error.
static int rewrite(struct journal *it) {
    struct sys_file_facts facts;
    struct output out;
    (void)sys_file_remove(it->path_new);
    int fd = sys_file_open_as(it->path_new, SYS_FILE_WRITE | SYS_FILE_CREATE | SYS_FILE_NEW, 0600,
                              &facts);
    output_begin(&out, fd, 0);
    out.err = fd < 0 ? fd : out.err ? out.err : sys_file_hold(fd, true);
    append(&out, magic, sizeof magic);
    append(&out, it->id, sizeof it->id);
    put_record(&out, LAST);
    put_number(&out, it->last_number);
    list_each (link, &it->computations)
        rewrite_computation(&out, container_of(link, struct journal_computation, link));
    write_frame(&out);
    if (!out.err)
        out.err = sys_file_rename(it->path_new, it->path);
    if (out.err) {
        trace(TRACE_CLUSTER, "the journal cannot be rewritten: %s", ac_strerror(out.err));
        if (fd >= 0)
            (void)sys_file_remove(it->path_new);
        output_end(&out);
        it->rewrite_at = 2 * it->out.bytes + SLACK_BYTES;
        return out.err;
    }
    output_end(&it->out);
    it->out = out;
    it->rewrite_at = out.bytes + SLACK_BYTES;
    return 0;
}

// ---- reading ----

struct input {
    const uint8_t *at, *end;
    bool bad;
};

static const uint8_t *get_bytes(struct input *in, size_t count) {
    const uint8_t *at = in->at;
    if (in->bad || (size_t)(in->end - at) < count) {
        in->bad = true;
        return NULL;
    }
    in->at += count;
    return at;
}

static uint64_t get_number(struct input *in) {
    uint64_t number = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        const uint8_t *byte = get_bytes(in, 1);
        if (!byte)
            return 0;
        number |= (uint64_t)(*byte & 0x7f) << shift;
        if (!(*byte & 0x80))
            return number;
    }
    in->bad = true;
    return 0;
}

static uint64_t get_word(struct input *in) {
    const uint8_t *at = get_bytes(in, 8);
    uint64_t word = 0;
    for (int i = 0; at && i < 8; i++)
        word |= (uint64_t)at[i] << 8 * i;
    return word;
}

static ac_ref get_ref(struct input *in) {
    uint64_t peer = get_word(in);
    return (ac_ref){.peer = peer, .id = get_word(in)};
}

static struct journal_computation *get_computation(struct journal *it, struct input *in) {
    struct journal_computation *computation = map_get_id(&it->by_number, get_number(in));
    in->bad |= !computation;
    return in->bad ? NULL : computation;
}

static struct journal_worker *get_worker(struct journal *it, struct input *in) {
    struct journal_worker *worker = map_get_id(&it->by_id, get_number(in));
    in->bad |= !worker;
    return in->bad ? NULL : worker;
}

static int read_computation(struct journal *it, struct input *in) {
    char name[JOURNAL_NAME_BYTES] = "";
    uint64_t number = get_number(in);
    const uint8_t *token = get_bytes(in, JOURNAL_TOKEN_BYTES);
    uint64_t bytes = get_number(in);
    in->bad |= bytes >= sizeof name || number == 0 || map_get_id(&it->by_number, number);
    const uint8_t *text = get_bytes(in, in->bad ? 0 : bytes);
    if (in->bad)
        return 0;
    memcpy(name, text, bytes);
    struct journal_computation *computation = put_computation(it, number, token, name);
    if (!computation)
        return -ENOMEM;
    computation->restored = true;
    return 0;
}

static int read_worker(struct journal *it, struct input *in) {
    struct journal_computation *computation = get_computation(it, in);
    uint64_t id = get_number(in);
    in->bad |= map_get_id(&it->by_id, id) != NULL;
    struct journal_worker *worker = in->bad ? NULL : put_worker(computation, id);
    if (!worker)
        return in->bad ? 0 : -ENOMEM;
    worker->restored = true;
    worker->host = get_ref(in);
    worker->number = (int64_t)get_number(in);
    worker->ref = get_ref(in);
    worker->given = get_number(in);
    return 0;
}

static int read_job(struct journal *it, struct input *in) {
    struct journal_computation *computation = get_computation(it, in);
    uint64_t number = get_number(in), attempts = get_number(in), lost = get_number(in);
    in->bad |= attempts > UINT32_MAX || lost > UINT8_MAX;
    struct journal_job *job = in->bad ? NULL : put_job(computation, number);
    if (!job)
        return in->bad ? 0 : -ENOMEM;
    job->attempts = (uint32_t)attempts;
    job->starts_lost = (uint8_t)lost;
    return 0;
}

static int read_given(struct journal *it, struct input *in) {
    struct journal_worker *worker = get_worker(it, in);
    uint64_t number = get_number(in), attempt = get_number(in), place = get_number(in);
    in->bad |= attempt > UINT32_MAX || (worker && worker->gone);
    return in->bad || put_flight(worker, number, (uint32_t)attempt, place) ? 0 : -ENOMEM;
}

// OVER, FORGET.
static void read_end(struct journal *it, struct input *in, bool forget) {
    struct journal_computation *computation = get_computation(it, in);
    uint64_t number = get_number(in);
    uint64_t attempt = forget ? 0 : get_number(in), counts = forget ? 0 : get_number(in);
    struct journal_job *job = in->bad ? NULL : map_get_id(&computation->jobs, number);
    in->bad |= attempt > UINT32_MAX || counts > 1;
    if (job && forget)
        take_job(job);
    else if (job && !in->bad)
        (void)end_flight(job, (uint32_t)attempt, counts == 1);
}

// 0; -ENOMEM; in->bad: it is none. Dispatch.
static int read_record(struct journal *it, struct input *in) {
    const uint8_t *record = get_bytes(in, 1);
    switch (record ? *record : 0) {
    case LAST: it->last_number = get_number(in); return 0;
    case COMPUTATION: return read_computation(it, in);
    case CLOSED: {
        struct journal_computation *computation = get_computation(it, in);
        if (computation)
            take_computation(computation);
        return 0;
    }
    case WORKER: return read_worker(it, in);
    case GONE: {
        struct journal_worker *worker = get_worker(it, in);
        if (worker)
            end_worker(worker);
        return 0;
    }
    case JOB: return read_job(it, in);
    case GIVEN: return read_given(it, in);
    case OVER:
    case FORGET: read_end(it, in, *record == FORGET); return 0;
    default: in->bad = true; return 0;
    }
}

// Reads the frames. Stores where the last whole one ends, or where the bad one begins.
static int read_frames(struct journal *it, const uint8_t *bytes, size_t count, size_t *at) {
    for (*at = HEAD_BYTES; count - *at >= FRAME_HEAD_BYTES;) {
        const uint8_t *frame = bytes + *at;
        uint8_t head[FRAME_HEAD_BYTES], digest[DIGEST_BYTES];
        size_t length = frame[0] | (size_t)frame[1] << 8 | (size_t)frame[2] << 16 |
                        (size_t)frame[3] << 24;
        int err = digest_of(frame, 12, digest);
        if (!err && (memcmp(digest, frame + 12, 4) != 0 || length == 0 || length > FRAME_BYTES_MAX))
            err = -EBADMSG;
        if (!err && count - *at - FRAME_HEAD_BYTES < length)
            return 0; // cut
        const uint8_t *body = frame + FRAME_HEAD_BYTES;
        if (!err)
            err = make_head(head, body, length);
        if (!err && memcmp(head, frame, sizeof head) != 0)
            err = -EBADMSG;
        struct input in = {.at = body, .end = body + length};
        while (!err && in.at < in.end) {
            err = read_record(it, &in);
            err = !err && in.bad ? -EBADMSG : err;
        }
        if (err)
            return err;
        *at += FRAME_HEAD_BYTES + length;
    }
    return 0;
}

// ---- opening ----

// Opens and keeps the file that has the name then.
static int open_file(const char *path, char text[256]) {
    struct sys_file_facts facts;
    struct sys_file_stamp named, held;
    for (;;) {
        int fd = sys_file_open_as(path, SYS_FILE_READ | SYS_FILE_WRITE | SYS_FILE_CREATE, 0600,
                                  &facts);
        const char *what = NULL;
        int err = fd < 0 ? fd : 0;
        if (!err && facts.sort != SYS_FILE_REGULAR) {
            err = -EINVAL;
            what = "it is no regular file";
        } else if (!err && facts.permissions & 077) {
            err = -EACCES;
            what = "others than its owner may read or write it: chmod 600 it";
        } else if (!err) {
            err = sys_file_hold(fd, true);
            what = err == -EBUSY ? "another scheduler keeps it" : NULL;
        }
        if (err) {
            snprintf(text, 256, "the journal %.120s: %s", path, what ? what : ac_strerror(err));
            if (fd >= 0)
                sys_fd_close(fd);
            return err;
        }
        sys_file_stamp(path, &named);
        sys_fd_stamp(fd, &held);
        if (named.device == held.device && named.inode == held.inode)
            return fd;
        sys_fd_close(fd); // it was replaced just then
    }
}

static int read_file(struct journal *it, struct buffer *file, char text[256]) {
    int64_t bytes = sys_file_bytes(it->out.fd);
    size_t at = 0, count = bytes > 0 ? (size_t)bytes : 0;
    int err = bytes < 0 ? (int)bytes : bytes > FILE_BYTES_MAX ? -EFBIG : 0;
    if (!err && count == 0)
        return sys_random_bytes(it->id, sizeof it->id); // it is new, or was given up
    if (!err)
        err = buffer_reserve(file, count);
    if (!err)
        err = sys_file_read_at(it->out.fd, 0, file->bytes, count);
    if (!err && (count < HEAD_BYTES || memcmp(file->bytes, magic, sizeof magic) != 0)) {
        snprintf(text, 256, "%.200s is no journal of a scheduler", it->path);
        return -EBADMSG;
    }
    if (!err) {
        memcpy(it->id, file->bytes + MAGIC_BYTES, sizeof it->id);
        err = read_frames(it, file->bytes, count, &at);
    }
    if (err == -EBADMSG)
        snprintf(text, 256,
                 "the journal %.120s is damaged at byte %zu: it is left as it is; put it away to "
                 "begin a new one",
                 it->path, at);
    if (!err && at < count)
        err = sys_file_resize(it->out.fd, at);
    it->out.bytes = at;
    return err;
}

static void journal_free(struct journal *it) {
    list_each (link, &it->computations)
        take_computation(container_of(link, struct journal_computation, link));
    map_done(&it->by_number);
    map_done(&it->by_id);
    output_end(&it->out);
    memory_release(it->path);
    memory_release(it->path_new);
    memory_release(it);
}

static char *path_beside(const char *path) {
    size_t bytes = strlen(path) + sizeof ".new";
    char *beside = memory_allocate(bytes);
    if (beside)
        snprintf(beside, bytes, "%s.new", path);
    return beside;
}

struct journal *journal_open(const char *path, int *err, char text[256]) {
    struct buffer file;
    text[0] = 0;
    struct journal *it = memory_allocate_zeroed(sizeof *it);
    *err = -ENOMEM;
    if (!it)
        return NULL;
    buffer_init(&file);
    list_init(&it->computations);
    map_init(&it->by_number);
    map_init(&it->by_id);
    output_begin(&it->out, -1, 0);
    it->path = memory_copy_text(path);
    it->path_new = path_beside(path);
    if (it->path && it->path_new && !it->out.err)
        *err = it->out.fd = open_file(path, text);
    if (*err >= 0)
        *err = read_file(it, &file, text);
    buffer_done(&file);
    int failed = *err ? 0 : rewrite(it);
    if (it->out.bytes == 0) // a new one gets its head so
        *err = *err ? *err : failed;
    if (*err == 0)
        return it;
    if (!text[0])
        snprintf(text, 256, "the journal %.120s: %s", path, ac_strerror(*err));
    journal_free(it);
    return NULL;
}

void journal_close(struct journal *it) {
    if (!it)
        return;
    (void)journal_flush(it);
    journal_free(it);
}

const uint8_t *journal_id(const struct journal *it) { return it->id; }
uint64_t journal_last_number(const struct journal *it) { return it->last_number; }
struct list *journal_computations(struct journal *it) {
    return &it->computations;
}
int journal_problem(const struct journal *it) { return it->out.err; }

void journal_watch(struct journal *it, void (*given_up)(void *up), void *up) {
    it->given_up = given_up;
    it->up = up;
}

// ---- recording ----

// An incomplete journal must not be taken for the truth.
static void give_up(struct journal *it, int err) {
    it->out.err = err;
    if (sys_file_resize(it->out.fd, 0) < 0)
        (void)sys_file_remove(it->path);
    trace(TRACE_CLUSTER, "the journal is given up: %s", ac_strerror(err));
    if (it->given_up)
        it->given_up(it->up);
}

// After a record, which may have been none for want of memory.
static void recorded(struct journal *it) {
    if (it->out.err)
        give_up(it, it->out.err);
    else if (it->out.body.length > FRAME_BYTES)
        (void)journal_flush(it);
}

int journal_flush(struct journal *it) {
    if (it->out.err)
        return it->out.err;
    write_frame(&it->out);
    if (it->out.err)
        give_up(it, it->out.err);
    else if (it->out.bytes > it->rewrite_at && it->out.bytes > GARBAGE * it->live + SLACK_BYTES)
        (void)rewrite(it);
    return it->out.err;
}

struct journal_computation *journal_add(struct journal *it, uint64_t number, const char *name) {
    uint8_t token[JOURNAL_TOKEN_BYTES];
    char text[JOURNAL_NAME_BYTES];
    if (it->out.err)
        return NULL;
    assert(number > it->last_number);
    memcpy(token, it->id, sizeof it->id);
    snprintf(text, sizeof text, "%s", name);
    int err = sys_random_bytes(token + sizeof it->id, sizeof token - sizeof it->id);
    struct journal_computation *computation = err ? NULL : put_computation(it, number, token, text);
    if (!computation) {
        give_up(it, err ? err : -ENOMEM);
        return NULL;
    }
    put_computation_record(&it->out, computation);
    recorded(it);
    if (journal_flush(it) == 0)
        return computation;
    take_computation(computation);
    return NULL;
}

struct journal_computation *journal_find(struct journal *it, const void *token, size_t bytes) {
    list_each (link, &it->computations) {
        struct journal_computation *computation = container_of(link, struct journal_computation,
                                                               link);
        if (bytes == JOURNAL_TOKEN_BYTES && digest_equal(computation->token, token, bytes))
            return computation;
    }
    return NULL;
}

void journal_remove(struct journal_computation *computation) {
    struct journal *it = computation->journal;
    uint64_t number = computation->number;
    take_computation(computation);
    if (it->out.err)
        return;
    put_record(&it->out, CLOSED);
    put_number(&it->out, number);
    recorded(it);
    (void)journal_flush(it);
}

struct journal_worker *journal_add_worker(struct journal_computation *computation, ac_ref host,
                                          int64_t number, ac_ref ref) {
    struct journal *it = computation->journal;
    if (it->out.err)
        return NULL;
    struct journal_worker *worker = put_worker(computation, it->last_id + 1);
    if (!worker) {
        give_up(it, -ENOMEM);
        return NULL;
    }
    worker->host = host;
    worker->number = number;
    worker->ref = ref;
    put_worker_record(&it->out, worker);
    recorded(it);
    return worker;
}

void journal_worker_gone(struct journal_worker *worker) {
    struct journal *it = worker->computation->journal;
    uint64_t id = worker->id;
    end_worker(worker);
    if (it->out.err)
        return;
    put_record(&it->out, GONE);
    put_number(&it->out, id);
    recorded(it);
}

struct journal_job *journal_job(const struct journal_computation *computation, uint64_t number) {
    return map_get_id(&computation->jobs, number);
}

void journal_given(struct journal_worker *worker, uint64_t number, uint32_t attempt,
                   uint64_t place) {
    struct journal *it = worker->computation->journal;
    if (it->out.err)
        return;
    if (!put_flight(worker, number, attempt, place)) {
        give_up(it, -ENOMEM);
        return;
    }
    put_given(&it->out, worker->id, number, attempt, place);
    recorded(it);
}

void journal_over(struct journal_computation *computation, uint64_t number, uint32_t attempt,
                  bool counts) {
    struct journal *it = computation->journal;
    struct journal_job *job = journal_job(computation, number);
    if (it->out.err || !job || !end_flight(job, attempt, counts))
        return;
    put_record(&it->out, OVER);
    put_number(&it->out, computation->number);
    put_number(&it->out, number);
    put_number(&it->out, attempt);
    put_number(&it->out, counts);
    recorded(it);
}

void journal_forget(struct journal_computation *computation, uint64_t number) {
    struct journal *it = computation->journal;
    struct journal_job *job = journal_job(computation, number);
    if (it->out.err || !job)
        return;
    take_job(job);
    put_record(&it->out, FORGET);
    put_number(&it->out, computation->number);
    put_number(&it->out, number);
    recorded(it);
}
