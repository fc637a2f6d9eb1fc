// SPDX-License-Identifier: MIT
// Talking to a process: a coroutine for each of its streams, in a group that ends with the first
// that fails. None of them waits for another, so no order in which the process reads and writes can
// make all of them stand still.
#include "io/io.h"

#include <asyncoro/process.h>

enum { BYTES_MAX_DEFAULT = 16 << 20, READ_BYTES = 32 << 10 };

// What is heard of one output.
struct ear {
    ac_stream *stream; // NULL: no pipe
    size_t bytes_max;
    ac_time deadline;
    struct buffer heard;
};

struct mouth {
    ac_stream *stream;
    const void *bytes;
    size_t count;
    ac_time deadline;
};

static ac_value speak(ac_value argument) {
    const struct mouth *mouth = ac_pointer_of(argument);
    long put = ac_write_all(mouth->stream, mouth->bytes, mouth->count, mouth->deadline, NULL);
    if (put == -EPIPE) // it has read what it wanted
        put = 0;
    if (put >= 0)
        (void)ac_shutdown(mouth->stream);
    return ac_result(put < 0 ? (int)put : 0);
}

static ac_value listen_to(ac_value argument) {
    struct ear *ear = ac_pointer_of(argument);
    struct buffer *heard = &ear->heard;
    for (;;) {
        int err = buffer_reserve(heard, READ_BYTES);
        if (err)
            return ac_result(err);
        long got = ac_read(ear->stream, heard->bytes + heard->length,
                           heard->capacity - heard->length, ear->deadline);
        if (got <= 0)
            return ac_result((int)got);
        heard->length += (size_t)got;
        if (heard->length > ear->bytes_max) {
            heard->length = ear->bytes_max;
            return ac_result(-EMSGSIZE);
        }
    }
}

static int spawn_into(ac_group *group, ac_function function, void *argument, const char *name) {
    return ac_ref_error(
        ac_spawn_with(function, ac_of_pointer(argument),
                      &(struct ac_spawn_options){
                          .size = sizeof(struct ac_spawn_options), .name = name, .group = group}));
}

// 0 or an error.
static int talk_to(struct mouth *mouth, struct ear *output, struct ear *error) {
    ac_group *group;
    int err = ac_group_open(&group);
    if (err)
        return err;
    if (mouth->stream)
        err = spawn_into(group, speak, mouth, "process input");
    if (!err && output->stream)
        err = spawn_into(group, listen_to, output, "process output");
    if (!err && error->stream)
        err = spawn_into(group, listen_to, error, "process error");
    if (!err)
        err = ac_group_join(group, AC_FOREVER); // each has the deadline
    int later = ac_group_close(group);
    return err ? err : later;
}

static ac_value value_of(const struct ear *ear) {
    const char *text = (const char *)ear->heard.bytes;
    if (!ear->stream)
        return ac_nil;
    ac_value value = ac_of_text_span(text ? text : "", ear->heard.length);
    return ac_error_of(value) == -EILSEQ ? ac_of_bytes(text, ear->heard.length) : value;
}

int ac_process_communicate_with(ac_process *process, struct ac_process_answer *answer,
                                ac_time deadline, const struct ac_process_talk *talk) {
    static const struct ac_process_talk silence = {.size = sizeof silence};
    if (!talk)
        talk = &silence;
    if (answer)
        *answer = (struct ac_process_answer){.output = ac_nil, .error = ac_nil};
    if (!process || !answer || talk->size < sizeof *talk || (!talk->input && talk->input_bytes > 0))
        return -EINVAL;
    struct mouth mouth = {ac_process_input(process), talk->input, talk->input_bytes, deadline};
    struct ear ears[] = {
        {.stream = ac_process_output(process), .bytes_max = talk->output_bytes_max},
        {.stream = ac_process_error(process), .bytes_max = talk->error_bytes_max}};
    ac_value *values[] = {&answer->output, &answer->error};
    for (size_t i = 0; i < countof(ears); i++) {
        ears[i].deadline = deadline;
        if (ears[i].bytes_max == 0)
            ears[i].bytes_max = BYTES_MAX_DEFAULT;
    }
    int err = talk_to(&mouth, &ears[0], &ears[1]);
    for (size_t i = 0; i < countof(ears); i++) {
        ac_value value = value_of(&ears[i]);
        if (ac_kind_of(value) == AC_INVALID)
            err = err ? err : -ENOMEM;
        else
            *values[i] = value;
        buffer_done(&ears[i].heard);
    }
    return err ? err : ac_process_wait(process, &answer->end, deadline);
}
