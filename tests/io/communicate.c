// SPDX-License-Identifier: MIT
// Tests of src/io/communicate.c, with real programs.
#include <signal.h>
#include <stdlib.h>

#include "io/connect.h"

#include "base/base.h"

#include <asyncoro/process.h>

#define START(process_, ...)                                                                       \
    ck_assert_int_eq(ac_process_start(&(process_), __VA_ARGS__, .input = AC_PIPE,                  \
                                      .output = AC_PIPE, .error = AC_PIPE),                        \
                     0)
#define SHELL(line_) AC_ARGUMENTS("sh", "-c", line_), AC_FOREVER

static void drop(struct ac_process_answer *answer) {
    ac_drop(answer->output);
    ac_drop(answer->error);
}

enum { MUCH = 5 << 20 };
static char much[MUCH];

CORO_TEST(however_much_goes_either_way_nobody_stands_still) {
    for (size_t i = 0; i < MUCH; i++)
        much[i] = (char)(i * 7919 >> 5);
    ac_process *process;
    struct ac_process_answer answer;
    START(process, SHELL("tee /dev/stderr"));
    ck_assert_int_eq(
        ac_process_communicate(process, &answer, AC_FOREVER, .input = much, .input_bytes = MUCH),
        0);
    ac_span spans[] = {ac_span_of(answer.output), ac_span_of(answer.error)};
    for (int i = 0; i < 2; i++) {
        ck_assert_uint_eq(spans[i].bytes, MUCH);
        ck_assert(memcmp(spans[i].at, much, MUCH) == 0);
    }
    ck_assert(!answer.end.by_signal);
    ck_assert_int_eq(answer.end.code, 0);
    drop(&answer);
    ac_process_close(process);
}

CORO_TEST(text_is_text_and_the_end_is_told) {
    ac_process *process;
    struct ac_process_answer answer;
    START(process, SHELL("cat; echo no >&2; exit 9"));
    ck_assert_int_eq(
        ac_process_communicate(process, &answer, AC_FOREVER, .input = "yes", .input_bytes = 3), 0);
    ck_assert_str_eq(ac_text_of(answer.output), "yes");
    ck_assert_str_eq(ac_text_of(answer.error), "no\n");
    ck_assert_int_eq(answer.end.code, 9);
    drop(&answer);
    ac_process_close(process);
    START(process, SHELL("printf '\\377'"));
    ck_assert_int_eq(ac_process_communicate(process, &answer, AC_FOREVER, .input = NULL), 0);
    ck_assert_int_eq(ac_kind_of(answer.output), AC_BYTES);
    ck_assert_str_eq(ac_text_of(answer.error), "");
    drop(&answer);
    ac_process_close(process);
}

CORO_TEST(without_pipes_there_is_only_the_end) {
    ac_process *process;
    struct ac_process_answer answer;
    ck_assert_int_eq(
        ac_process_start(&process, AC_ARGUMENTS("false"), AC_FOREVER, .output = AC_NOTHING), 0);
    ck_assert_int_eq(ac_process_communicate(process, &answer, AC_FOREVER, .input = NULL), 0);
    ck_assert(ac_is_nil(answer.output) && ac_is_nil(answer.error));
    ck_assert_int_eq(answer.end.code, 1);
    ac_process_close(process);
}

CORO_TEST(what_it_does_not_want_to_read_it_need_not) {
    ac_process *process;
    struct ac_process_answer answer;
    START(process, SHELL("head -c 2; exec <&-; echo"));
    ck_assert_int_eq(
        ac_process_communicate(process, &answer, AC_FOREVER, .input = much, .input_bytes = MUCH),
        0);
    ck_assert_uint_eq(ac_span_of(answer.output).bytes, 3);
    drop(&answer);
    ac_process_close(process);
}

CORO_TEST(who_says_more_than_it_may_is_told_of) {
    ac_process *process;
    struct ac_process_answer answer;
    START(process, SHELL("echo hello; exec yes"));
    ck_assert_int_eq(ac_process_communicate(process, &answer, AC_FOREVER, .output_bytes_max = 8),
                     -EMSGSIZE);
    ck_assert_str_eq(ac_text_of(answer.output), "hello\ny\n");
    drop(&answer);
    ac_process_close(process);
    START(process, SHELL("echo hello >&2"));
    ck_assert_int_eq(ac_process_communicate(process, &answer, AC_FOREVER, .error_bytes_max = 5),
                     -EMSGSIZE);
    drop(&answer);
    ac_process_close(process);
    START(process, SHELL("echo hello >&2"));
    ck_assert_int_eq(ac_process_communicate(process, &answer, AC_FOREVER, .error_bytes_max = 6), 0);
    drop(&answer);
    ac_process_close(process);
}

CORO_TEST(what_came_before_the_deadline_is_handed_over) {
    ac_process *process;
    struct ac_process_answer answer;
    START(process, SHELL("echo hello; exec sleep 100"));
    ck_assert_int_eq(ac_process_communicate(process, &answer, ac_after(0.3), .input = NULL),
                     -ETIMEDOUT);
    ck_assert_str_eq(ac_text_of(answer.output), "hello\n");
    drop(&answer);
    ac_process_close(process);
}

static ac_process *talks;
static int result;

static ac_value talk(ac_value unused) {
    (void)unused;
    struct ac_process_answer answer;
    result = ac_process_communicate(talks, &answer, AC_FOREVER, .input = much, .input_bytes = MUCH);
    drop(&answer);
    return ac_nil;
}

CORO_TEST(it_can_be_cancelled_and_closed) {
    START(talks, SHELL("exec sleep 100"));
    ac_ref talker = ac_spawn(talk, ac_nil, .joinable = true);
    ck_assert_int_eq(ac_sleep(0.01), 0);
    struct ac_process_answer answer;
    ck_assert_int_eq(ac_process_communicate(talks, &answer, AC_FOREVER, .input = NULL), -EBUSY);
    drop(&answer);
    ck_assert_int_eq(ac_cancel(talker), 0);
    ck_assert_int_eq(ac_join(talker, NULL, AC_FOREVER), 0);
    ck_assert_int_eq(result, -ECANCELED);
    talker = ac_spawn(talk, ac_nil, .joinable = true);
    ck_assert_int_eq(ac_sleep(0.01), 0);
    ac_process_close(talks);
    ck_assert_int_eq(ac_join(talker, NULL, AC_FOREVER), 0);
    ck_assert_int_eq(result, -EBADF);
}

CORO_TEST(wrong_arguments_are_refused) {
    ac_process *process;
    struct ac_process_answer answer;
    START(process, SHELL("true"));
    ck_assert_int_eq(ac_process_communicate(NULL, &answer, AC_FOREVER, .input = NULL), -EINVAL);
    ck_assert_int_eq(ac_process_communicate(process, NULL, AC_FOREVER, .input = NULL), -EINVAL);
    ck_assert_int_eq(ac_process_communicate(process, &answer, AC_FOREVER, .input_bytes = 1),
                     -EINVAL);
    ac_process_close(process);
}

CORO_TEST(lack_of_memory_is_an_error) {
    int err = -ENOMEM;
    for (int n = 1; err; n++) {
        ac_process *process;
        struct ac_process_answer answer;
        START(process, SHELL("cat; echo no >&2"));
        memory_fail_nth(n);
        err = ac_process_communicate(process, &answer, AC_FOREVER, .input = "yes",
                                     .input_bytes = 3);
        bool failed = memory_has_failed();
        memory_fail_nth(0);
        ck_assert_int_eq(err, failed ? -ENOMEM : 0);
        drop(&answer);
        ac_process_close(process);
    }
}
