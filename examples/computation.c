// SPDX-License-Identifier: MIT
// Ships itself to every computer that runs `asyncoro node` and has ten jobs done there, one at a
// time by each worker. usage: computation [SCALE] (0.01 makes the jobs a hundred times shorter)
#include <asyncoro.h>

#include <stdlib.h>

// This function runs on the nodes.
static ac_value sleep_there(ac_value seconds) {
    int err = ac_sleep(ac_real_of(seconds));
    return err ? ac_result(err) : ac_hold(seconds);
}
AC_JOB(sleep_there)

// Returns how many jobs were submitted: one or none.
static int submit_job(ac_computation *computation, ac_ref worker, double seconds) {
    char location[64];
    ac_ref job = ac_run_at(computation, worker, sleep_there, seconds);
    if (!ac_ref_is(job)) {
        ac_print("a job failed: %s\n", ac_strerror(ac_ref_error(job)));
        return 0;
    }
    ac_location(worker, location);
    ac_print("%s processing %f\n", location, seconds);
    return 1;
}

static void print_end(const struct ac_job_exit *job) {
    char location[64];
    ac_location(job->worker, location);
    if (job->exit.how == AC_FINISHED)
        ac_print("%s finished with %f\n", location, ac_real_of(job->exit.value));
    else
        ac_print("%s %s: %s\n", job->location, ac_end_name(job->exit.how),
                 ac_strerror(job->exit.reason));
}

// Waits for the next message. Who waits for the first worker is told what it may be for.
static int receive(ac_value *message, bool has_workers) {
    int err = ac_receive(message, has_workers ? AC_FOREVER : ac_after(3));
    if (err != -ETIMEDOUT)
        return err;
    ac_print_to(stderr, "no worker is ready: does a node run, with the same key?\n");
    return ac_receive(message, AC_FOREVER);
}

static ac_value client(ac_value scale) {
    const int jobs = 10;
    int submitted = 0, done = 0;
    bool can_go_on = true;
    ac_computation *computation;
    ac_value message;
    int err = ac_computation_open(&computation);
    if (err) {
        ac_print_to(stderr, "cannot compute: %s\n", ac_strerror(err));
        return ac_result(err);
    }
    while (done < jobs && can_go_on && receive(&message, submitted > 0) == 0) {
        struct ac_job_exit job;
        struct ac_status status = {0};
        ac_ref idle = ac_no_ref;
        if (ac_job_exit_of(message, &job)) {
            print_end(&job);
            ac_drop(job.exit.value);
            done++;
            idle = job.worker;
        } else if (ac_status_of(message, &status) && status.kind == AC_WORKER_READY) {
            idle = status.worker;
        } else if (status.kind == AC_NODE_REFUSED) {
            ac_print_to(stderr, "no workers there: %s\n", status.text);
        } else if (status.kind == AC_SCHEDULER_GONE) { // only where it is a program of its own
            ac_print("no more jobs: %s\n", status.text);
            can_go_on = false;
        }
        if (ac_ref_is(idle) && submitted < jobs)
            submitted += submit_job(computation, idle, ac_random_real(5, 20) * ac_real_of(scale));
        ac_drop(message);
    }
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

int main(int argc, char **argv) {
    ac_cluster_init(argc, argv);
    ac_spawn(client, argc > 1 ? atof(argv[1]) : 1.0);
    return ac_run();
}
