// SPDX-License-Identifier: MIT
// A supervisor, after Erlang's: it monitors its workers, starts those that fail again, up to a
// number of times, and tells the four ends of a coroutine apart. One worker never comes to its end;
// it is cancelled when all others have.
#include <asyncoro.h>

enum { WORKERS = 3, STARTS_MAX = 3 };

struct worker {
    const char *name;
    ac_function run;
    ac_ref ref; // of its present coroutine
    int starts;
};

static ac_value count_to_ten(ac_value unused) { return ac_of(10); }

// Succeeds at the third attempt.
static ac_value fetch(ac_value attempt) {
    int err = ac_sleep(0.05);
    if (err == 0 && ac_int_of(attempt) < 3)
        return ac_of_error(-ECONNRESET, "the server broke off");
    return err ? ac_result(err) : ac_of("a page");
}

static ac_value listen_for_ever(ac_value unused) { return ac_result(ac_sleep_until(AC_FOREVER)); }

static int start(struct worker *worker) {
    worker->starts++;
    worker->ref = ac_spawn(worker->run, worker->starts, .name = worker->name);
    int err = ac_ref_error(worker->ref);
    return err < 0 ? err : ac_monitor(worker->ref);
}

static bool tell(const struct ac_coroutine_info *info, void *unused) {
    if (!info->internal)
        ac_print("  %s: %s\n", info->name, info->waiting);
    return true;
}

// Returns whether the worker was started again.
static bool ended(struct worker *worker, const struct ac_exit *end) {
    if (end->how == AC_FINISHED)
        ac_print("%s has finished: %v\n", worker->name, end->value);
    else
        ac_print("%s has %s: %s\n", worker->name,
                 end->how == AC_FAILED ? "failed" : "been cancelled", ac_strerror(end->reason));
    return end->how == AC_FAILED && worker->starts < STARTS_MAX && start(worker) == 0;
}

static ac_value supervise(ac_value unused) {
    struct worker workers[WORKERS] = {{.name = "counter", .run = count_to_ten},
                                      {.name = "fetcher", .run = fetch},
                                      {.name = "listener", .run = listen_for_ever}};
    int running = WORKERS;
    for (int i = 0; i < WORKERS; i++)
        if (start(&workers[i]) < 0)
            return ac_result(-ENOMEM);
    ac_value message;
    struct ac_exit end;
    while (running > 0 && ac_receive(&message, AC_FOREVER) == 0) {
        if (!ac_exit_of(message, &end)) { // something else, and nobody here sends that
            ac_drop(message);
            continue;
        }
        for (int i = 0; i < WORKERS; i++)
            if (ac_ref_equal(end.who, workers[i].ref) && !ended(&workers[i], &end)) {
                running--;
                break;
            }
        ac_drop(end.value);
        ac_drop(message);
        if (running == 1) {
            ac_print("who is left:\n");
            ac_each_coroutine(tell, NULL);
            ac_cancel(workers[WORKERS - 1].ref);
        }
    }
    return ac_nil;
}

int main(void) {
    ac_spawn(supervise, ac_nil, .name = "supervisor");
    return -ac_run();
}
