// SPDX-License-Identifier: MIT
// Keeps a program running: starts it again when it fails, and when it is itself asked to end, asks
// the program, and kills it if it has not ended after two seconds.
// usage: keeper PROGRAM [ARGUMENT...]
#include <asyncoro.h>

#include <signal.h>

static const char *const *arguments;
static ac_signals *signals;
static ac_ref keeper;

static ac_value await_signal(ac_value unused) {
    int number = ac_signals_wait(signals, AC_FOREVER);
    if (number > 0) {
        ac_print("signal %d\n", number);
        ac_cancel(keeper);
    }
    return ac_nil;
}

// Runs the program once. 0 if it is to be started again.
static int run_once(void) {
    ac_process *process;
    struct ac_process_end end;
    char text[64];
    int err = ac_process_start(&process, arguments, AC_FOREVER, .own_session = true);
    if (err)
        return err;
    ac_print("process %d runs\n", ac_process_id(process));
    err = ac_process_wait(process, &end, AC_FOREVER);
    if (err == -ECANCELED) {
        ac_shield_begin(); // the waits of a cancelled coroutine would end at once
        int stopped = ac_process_stop(process, &end, ac_after(2));
        ac_shield_end();
        err = stopped ? stopped : err;
    }
    if (!err || err == -ECANCELED) {
        ac_process_end_text(&end, text, sizeof text);
        ac_print("process ended: %s\n", text);
    }
    ac_process_close(process);
    bool is_done = !err && !end.by_signal && end.code == 0;
    return is_done ? -ECANCELED : err;
}

static ac_value keep(ac_value unused) {
    int err;
    while ((err = run_once()) == 0 && (err = ac_sleep(0.1)) == 0)
        continue;
    return ac_result(err == -ECANCELED ? 0 : err);
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0); // each line at once, also into a file
    arguments = (const char *const *)argv + 1;
    int err = argc < 2 ? -EINVAL : ac_signals_open(&signals, SIGTERM, SIGINT);
    if (err) {
        ac_print_to(stderr, "usage: keeper PROGRAM [ARGUMENT...]: %s\n", ac_strerror(err));
        return 1;
    }
    keeper = ac_spawn(keep, ac_nil);
    ac_spawn(await_signal, ac_nil, .daemon = true);
    err = ac_run();
    ac_signals_close(signals);
    if (err)
        ac_print_to(stderr, "%s\n", ac_strerror(err));
    return err ? 1 : 0;
}
