// SPDX-License-Identifier: MIT
// A model of reading, to compare every kind of stream with: all that the stream will give is known,
// and how far it has been read; so what each call may give is known, however the bytes are cut on
// their way and wherever time is up.
#ifndef TESTS_IO_MODEL_H
#define TESTS_IO_MODEL_H

#include <stdlib.h>

#include "io/connect.h"

#include "io/io.h"

struct model {
    uint64_t seed;  // of all that is random here; a failure names the first one
    uint64_t first; // the seed at the beginning
    uint8_t *bytes; // all that the stream gives
    size_t count;
    size_t at; // how far it has been read
};

enum { MODEL_BYTES_MAX = 20000 };

// A random number below `limit`.
static inline size_t model_random(struct model *model, size_t limit) {
    model->seed ^= model->seed << 13;
    model->seed ^= model->seed >> 7;
    model->seed ^= model->seed << 17;
    return (size_t)(model->seed >> 11) % limit;
}

// How long one thing is: short ones and long ones are as frequent.
static inline size_t model_length(struct model *model, size_t limit) {
    static const size_t limits[] = {2, 10, 100, 5000, MODEL_BYTES_MAX};
    size_t most = limits[model_random(model, 5)];
    return model_random(model, most < limit ? most : limit);
}

// Few different bytes, so that ends of lines, delimiters and beginnings of them are frequent, and
// in one of three texts also short frames.
static inline void model_init(struct model *model, uint64_t seed) {
    *model = (struct model){.seed = seed * 0x9e3779b97f4a7c15 + 1, .first = seed};
    model->count = model_length(model, MODEL_BYTES_MAX);
    model->bytes = malloc(model->count + 1);
    static const char letters[][16] = {"aab\r\naab\r\naab\r\n", "aaaaaaaaaaaaaab",
                                       "\0\0\0\0\0\0\0\0\0\0\0\1\n"};
    const char *few = letters[model_random(model, 3)];
    for (size_t i = 0; i < model->count; i++)
        model->bytes[i] = (uint8_t)few[model_random(model, 16)];
}

static inline void model_done(struct model *model) { free(model->bytes); }

static inline size_t model_left(const struct model *model) { return model->count - model->at; }

// ---- what a call gave is what it may give; -ETIMEDOUT is looked at by the caller ----

#define model_assert(condition_)                                                                   \
    ck_assert_msg(condition_, "seed %llu, at %zu of %zu: result %ld",                              \
                  (unsigned long long)model->first, model->at, model->count, result)

// `count` bytes in `to` are those that come next.
static inline void model_compare(struct model *model, const void *to, size_t count, long result) {
    model_assert(count <= model_left(model));
    model_assert(memcmp(to, model->bytes + model->at, count) == 0);
}

static inline long model_read(struct model *model, ac_stream *stream, uint8_t *to, ac_time until) {
    size_t bytes = 1 + model_length(model, MODEL_BYTES_MAX);
    long result = ac_read(stream, to, bytes, until);
    if (result == -ETIMEDOUT)
        return result;
    model_assert(result >= 0 && (size_t)result <= bytes);
    model_assert(result > 0 || model_left(model) == 0);
    model_compare(model, to, (size_t)result, result);
    model->at += (size_t)result;
    return result;
}

static inline long model_read_exactly(struct model *model, ac_stream *stream, uint8_t *to,
                                      ac_time until) {
    size_t bytes = 1 + model_length(model, MODEL_BYTES_MAX), got;
    long result = ac_read_exactly(stream, to, bytes, until, &got);
    model_compare(model, to, got, result);
    model_assert(result == (got == bytes ? (long)bytes : 0) || result == -ETIMEDOUT);
    model_assert(result != 0 || got == model_left(model));
    model->at += got;
    return result;
}

static inline long model_read_line(struct model *model, ac_stream *stream, uint8_t *to,
                                   ac_time until) {
    size_t bytes = 1 + model_length(model, MODEL_BYTES_MAX);
    long result = ac_read_line(stream, (char *)to, bytes, until);
    if (result == -ETIMEDOUT)
        return result;
    size_t left = model_left(model);
    const uint8_t *start = model->bytes + model->at;
    const uint8_t *end = memchr(start, '\n', left);
    size_t text = end ? (size_t)(end - start) : left;
    size_t taken = text + (end != NULL);
    if (end && text > 0 && start[text - 1] == '\r')
        text--;
    if (left == 0 || text >= bytes) {
        model_assert(result == (left == 0 ? 0 : -EMSGSIZE));
        return result;
    }
    model_assert(result == (long)text + 1);
    model_compare(model, to, text, result);
    model_assert(to[text] == 0);
    model->at += taken;
    return result;
}

static inline long model_read_until(struct model *model, ac_stream *stream, uint8_t *to,
                                    ac_time until) {
    static const char *const delimiters[] = {"b",   "\n",    "\r\n",
                                             "aab", "aaaab", "a\r\n\r\n",
                                             "bab", "ba",    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaab"};
    const char *delimiter = delimiters[model_random(model, countof(delimiters))];
    size_t bytes = 1 + model_length(model, MODEL_BYTES_MAX), length = strlen(delimiter);
    long result = ac_read_until(stream, delimiter, length, to, bytes, until);
    if (result == -ETIMEDOUT)
        return result;
    size_t left = model_left(model);
    const uint8_t *start = model->bytes + model->at;
    const uint8_t *found = memmem(start, left, delimiter, length);
    size_t right = found ? (size_t)(found - start) + length : left;
    if (found ? right > bytes : right >= bytes) {
        model_assert(result == -EMSGSIZE);
        return result;
    }
    model_assert(result == (long)right);
    model_compare(model, to, right, result);
    model->at += right;
    return result;
}

static inline long model_peek(struct model *model, ac_stream *stream, uint8_t *to, ac_time until) {
    size_t bytes = 1 + model_length(model, MODEL_BYTES_MAX);
    size_t least = 1 + model_random(model, bytes);
    long result = ac_peek(stream, to, bytes, least, until);
    if (result == -ETIMEDOUT)
        return result;
    model_assert(result >= 0 && (size_t)result <= bytes);
    model_assert((size_t)result >= least || (size_t)result == model_left(model));
    model_compare(model, to, (size_t)result, result);
    return result;
}

static inline long model_read_frame(struct model *model, ac_stream *stream, uint8_t *to,
                                    ac_time until) {
    size_t bytes_max = model_length(model, MODEL_BYTES_MAX), got;
    long result = ac_read_frame(stream, to, bytes_max, until, &got);
    if (result == -ETIMEDOUT)
        return result;
    size_t left = model_left(model), bytes = 0;
    for (size_t i = 0; i < 4 && i < left; i++)
        bytes = bytes << 8 | model->bytes[model->at + i];
    bool is_too_long = left >= 4 && bytes > bytes_max;
    if (left < 4 || is_too_long || left - 4 < bytes) {
        model_assert(result == (left == 0 ? 0 : is_too_long ? -EMSGSIZE : -EPROTO));
        model_assert(got == (is_too_long ? bytes : 0));
        return left == 0 ? 0 : result;
    }
    model_assert(result == 1 && got == bytes);
    model->at += 4;
    model_compare(model, to, bytes, result);
    model->at += bytes;
    return result;
}

// A stream of that kind, in the loop that runs. Its handle does nothing.
static inline ac_stream *open_kind(const struct stream_kind *kind, void *own) {
    int ends[2];
    ck_assert_int_eq(sys_pipe(ends), 0);
    struct ac_stream *stream = stream_create(loop_here);
    ck_assert_ptr_nonnull(stream);
    sys_adopt(loop_here->sys, &stream->object.handle, ends[0], false);
    sys_fd_close(ends[1]);
    stream->kind = kind;
    stream->own = own;
    return stream;
}

// A kind of stream that keeps what is written, and takes no more than `most` at once.
struct kept {
    uint8_t *bytes;
    size_t count;
    size_t most;
    int writes;
    int flushes;
};

static inline int64_t kept_write(struct ac_stream *stream, const void *from, size_t bytes,
                                 ac_time deadline) {
    (void)deadline;
    struct kept *kept = stream->own;
    size_t count = bytes < kept->most ? bytes : kept->most;
    memcpy(kept->bytes + kept->count, from, count);
    kept->count += count;
    kept->writes++;
    return (int64_t)count;
}

static inline int kept_flush(struct ac_stream *stream, ac_time deadline) {
    (void)deadline;
    ((struct kept *)stream->own)->flushes++;
    return 0;
}

static inline void kept_release(struct ac_stream *stream) {
    free(((struct kept *)stream->own)->bytes);
}

static const struct stream_kind kept_kind
    __attribute__((unused)) = {.write = kept_write, .flush = kept_flush, .release = kept_release};

// Reads all, in every way there is. `try_often`: every other call does not wait.
static inline void model_read_all(struct model *model, ac_stream *stream, bool try_often) {
    static long (*const ways[])(struct model *, ac_stream *, uint8_t *,
                                ac_time) = {model_read,       model_read_exactly, model_read_line,
                                            model_read_until, model_read_frame,   model_peek};
    uint8_t *to = malloc(MODEL_BYTES_MAX + 1);
    long result;
    do {
        ac_time until = try_often && model_random(model, 2) ? AC_NOW : AC_FOREVER;
        result = ways[model_random(model, countof(ways))](model, stream, to, until);
        if (result == -ETIMEDOUT)
            ck_assert_int_eq(ac_yield(), 0);
    } while (result != 0 || model_left(model) > 0);
    free(to);
}

#endif
