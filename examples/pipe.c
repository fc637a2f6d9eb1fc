// SPDX-License-Identifier: MIT
// Runs programs: one is fed and read a line at a time, a chain of two is asked all at once, and one
// that takes too long is stopped. A clock ticks meanwhile, since nobody else waits for them.
#include <asyncoro.h>

#include <string.h>

static ac_value clock_ticks(ac_value unused) {
    while (ac_sleep(0.1) == 0)
        ac_print("tick\n");
    return ac_nil;
}

// Sums by the calculator of the shell, one after the other in the same process.
static int calculate(void) {
    static const char *const sums[] = {"6 * 7\n", "1 + 2 + 3\n"};
    static const char *const script = "while read sum; do echo $(($sum)); done";
    ac_process *process;
    int err = ac_process_start(&process, AC_ARGUMENTS("sh", "-c", script), AC_FOREVER,
                               .input = AC_PIPE, .output = AC_PIPE);
    for (int i = 0; i < 2 && err >= 0; i++) {
        char line[64];
        long done = ac_write_all(ac_process_input(process), sums[i], strlen(sums[i]), AC_FOREVER,
                                 NULL);
        if (done >= 0)
            done = ac_read_line(ac_process_output(process), line, sizeof line, AC_FOREVER);
        if (done > 0)
            ac_print("%.*s = %s\n", (int)strcspn(sums[i], "\n"), sums[i], line);
        err = done > 0 ? 0 : done < 0 ? (int)done : -EPIPE; // 0: it has ended
    }
    ac_process_close(process);
    return err;
}

// sort | uniq -c
static int count_words(void) {
    static const char words[] = "to\nbe\nor\nnot\nto\nbe\n";
    ac_process *sort = NULL, *count = NULL;
    struct ac_process_answer answer = {.output = ac_nil};
    int err = ac_process_start(&sort, AC_ARGUMENTS("sort"), AC_FOREVER, .input = AC_PIPE,
                               .output = AC_PIPE);
    if (!err)
        err = ac_process_start(&count, AC_ARGUMENTS("uniq", "-c"), AC_FOREVER, .input_from = sort,
                               .output = AC_PIPE);
    long put = err ? err
                   : ac_write_all(ac_process_input(sort), words, strlen(words), AC_FOREVER, NULL);
    if (put >= 0) {
        ac_shutdown(ac_process_input(sort));
        err = ac_process_communicate(count, &answer, ac_after(10), .input = NULL);
    }
    if (!err)
        ac_print("%s", ac_text_of(answer.output));
    ac_drop(answer.output);
    ac_process_close(sort);
    ac_process_close(count);
    return put < 0 ? (int)put : err;
}

static int stop_what_takes_too_long(void) {
    ac_process *process;
    struct ac_process_end end;
    char text[64];
    int err = ac_process_start(&process, AC_ARGUMENTS("sleep", "1000"), AC_FOREVER,
                               .input = AC_NOTHING);
    if (!err && (err = ac_process_wait(process, &end, ac_after(0.25))) == -ETIMEDOUT)
        err = ac_process_stop(process, &end, ac_after(5));
    if (!err) {
        ac_process_end_text(&end, text, sizeof text);
        ac_print("sleep: %s\n", text);
    }
    ac_process_close(process);
    return err;
}

static ac_value run_all(ac_value unused) {
    int err = calculate();
    if (!err)
        err = count_words();
    if (!err)
        err = stop_what_takes_too_long();
    return ac_result(err);
}

int main(void) {
    ac_spawn(clock_ticks, ac_nil, .daemon = true);
    ac_spawn(run_all, ac_nil);
    return ac_run() == 0 ? 0 : 1;
}
