// SPDX-License-Identifier: MIT
// A user's smallest program, compiled as C and as C++ against the installed library.
#include <asyncoro.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#ifdef __cplusplus
#pragma GCC diagnostic ignored "-Wmissing-field-initializers" // of options (base.h)
extern "C" {
#endif

// Names that the library has inside as well: a program may use them for itself.
int heap_init(void);
int map_get(void);
int buffer_init(void);

#ifdef __cplusplus
}
#endif

int heap_init(void) { return 0; }

int map_get(void) { return 0; }

int buffer_init(void) { return 0; }

// Calls whose options follow by name, with none: strict compilers allow that, too.
ac_value without_options(ac_value argument);

ac_value without_options(ac_value argument) {
    ac_listener *listener = NULL;
    ac_stream *stream = NULL;
    ac_datagrams *datagrams = NULL;
    ac_tls *tls = NULL;
    ac_process *process = NULL;
    struct ac_process_answer answer;
    ac_spawn(without_options, argument);
    int err = ac_listen(&listener, "127.0.0.1:0");
    err = err ? err : ac_connect(&stream, "127.0.0.1:0", AC_NOW);
    err = err ? err : ac_datagrams_open(&datagrams, NULL);
    err = err ? err : ac_file_open(&stream, "/", "r", AC_NOW);
    err = err ? err : ac_tls_create(&tls);
    err = err ? err : ac_process_start(&process, AC_ARGUMENTS("true"), AC_NOW);
    err = err ? err : ac_process_communicate(process, &answer, AC_NOW);
    return ac_result(err);
}

// With some, and a list.
ac_value with_options(ac_value argument);

ac_value with_options(ac_value argument) {
    ac_process *process = NULL;
    struct ac_process_answer answer;
    if (strcmp(ac_name_of(ac_self()), "with options") != 0)
        return ac_result(-EINVAL);
    int err = ac_process_start(&process, AC_ARGUMENTS("cat"), ac_after(10), .input = AC_PIPE,
                               .output = AC_PIPE);
    if (err)
        return ac_result(err);
    err = ac_process_communicate(process, &answer, ac_after(10), .input = "hello",
                                 .input_bytes = 5);
    if (!err && !ac_equal(answer.output, argument))
        err = -EBADMSG;
    ac_drop(answer.output);
    ac_drop(answer.error);
    ac_process_close(process);
    return ac_result(err);
}

int main(void) {
    printf("asyncoro %s: %s\n", ac_version(), ac_strerror(-ETIMEDOUT));
    ac_spawn(with_options, "hello", .name = "with options", .stack_bytes = 256 << 10);
    return strcmp(ac_version(), AC_VERSION) == 0 && ac_run(.loops = 1) == 0 ? 0 : 1;
}
