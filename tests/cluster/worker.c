// SPDX-License-Identifier: MIT
// Worker processes: the functions they know, how they start, messages during a job, results that
// cannot travel.
#include "cluster/world.h"

static ac_value echo(ac_value to) {
    ac_value message;
    int64_t last = 0;
    int err = ac_send(ac_ref_of(to), ac_self());
    while (!err && (err = ac_receive(&message, ac_after(20))) == 0) {
        int64_t number = ac_int_of(message);
        ac_drop(message);
        if (number != last + 1)
            return ac_of_error(-EBADMSG, "out of order");
        if (number == 100)
            return ac_of(number);
        last = number;
        err = ac_send(ac_ref_of(to), number * 2);
    }
    return ac_result(err);
}
AC_JOB(echo)

static ac_value pointer(ac_value unused) {
    (void)unused;
    return ac_of_pointer(&world_node);
}
AC_JOB(pointer)

static ac_value crash(ac_value unused) {
    (void)unused;
    fprintf(stderr, "these are\nmy last words\n");
    abort();
}
AC_JOB(crash)

static ac_value not_declared(ac_value unused) { return unused; }

JOBS_OF_THIS_TEST

TEST(declared_functions_are_found_and_others_are_not) {
    ck_assert(job_entries_known());
    ck_assert_str_eq(job_entry_of(echo)->name, "echo");
    ck_assert_ptr_eq(job_entry_named("pointer")->function, pointer);
    ck_assert_ptr_null(job_entry_of(not_declared));
    ck_assert_ptr_null(job_entry_named("not_declared"));
    ck_assert_ptr_null(job_entry_named(""));
}

TEST(the_start_up_record_comes_back_as_it_was_written) {
    struct worker_start in, out = {.agent = {7, 8},
                                   .supplier = {9, 10},
                                   .number = 3,
                                   .loopback_only = true,
                                   .node = "here"};
    ac_value held;
    int ends[2];
    out.keys.count = KEYS_MAX;
    memset(out.keys.keys, 0x5a, sizeof out.keys.keys);
    ck_assert(sys_address_parse("127.0.0.1:77", &out.scheduler));
    ck_assert(sys_address_parse("[::1]:78", &out.client));
    ck_assert_int_eq(sys_pipe(ends), 0);
    ck_assert_int_eq(worker_start_write(ends[1], &out), 0);
    ck_assert(worker_start_read(ends[0], &in, &held));
    ck_assert_uint_eq(in.keys.count, KEYS_MAX);
    ck_assert_mem_eq(in.keys.keys, out.keys.keys, sizeof in.keys.keys);
    ck_assert(ac_ref_equal(in.agent, out.agent));
    ck_assert(ac_ref_equal(in.supplier, out.supplier));
    ck_assert(sys_address_equal(&in.scheduler, &out.scheduler));
    ck_assert(sys_address_equal(&in.client, &out.client));
    ck_assert_int_eq(in.number, 3);
    ck_assert(in.loopback_only);
    ck_assert_str_eq(in.node, "here");
    ac_drop(held);
}

TEST(what_is_no_record_is_not_taken_for_one) {
    struct worker_start in;
    ac_value held;
    int ends[2];
    ck_assert(!worker_start_read(-1, &in, &held));
    ck_assert_int_eq(sys_pipe(ends), 0);
    ck_assert(!worker_start_read(ends[0], &in, &held)); // empty: does not wait either
    static const char *const junk[] = {
        "hello, worker, how are you?",
        "acworker\xff\xff\xff\xff"
        "and so on",
        "acworker\x04\x01\x01\x01"
        "four",
        "acworker\x01\x01\x01\x01\x80",
    };
    for (size_t i = 0; i < countof(junk); i++) {
        ck_assert_int_eq(sys_fd_write(ends[1], junk[i], strlen(junk[i])), 0);
        ck_assert(!worker_start_read(ends[0], &in, &held));
        while (sys_pipe_take(ends[0], &in, 1) == 0)
            continue;
    }
    // An empty list, well formed.
    ck_assert_int_eq(sys_fd_write(ends[1], "acworker\x01\0\0\0\x80", 13), 0);
    ck_assert(!worker_start_read(ends[0], &in, &held));
}

TEST(a_program_that_a_person_starts_as_a_worker_goes_on) {
    char *arguments[] = {(char *)"program", (char *)worker_mark, NULL};
    ac_cluster_init_with(2, arguments, NULL, 0);
    ck_assert_str_eq(job_program_name(), "program");
    ck_assert_ptr_null(job_entry_of(echo));
}

static ac_computation *computation;

static ac_value converse(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    ck_assert_int_eq(ac_submit(computation, echo, ac_self()), 1);
    ac_ref job = ac_no_ref;
    int64_t answers = 0;
    for (;;) {
        ac_value message;
        struct ac_job_exit end;
        ck_assert_int_eq(ac_receive(&message, ac_after(20)), 0);
        if (message.kind == AC_REF) {
            job = ac_ref_of(message);
            for (int i = 1; i <= 100; i++)
                ck_assert_int_eq(ac_send(job, i), 0);
        } else if (message.kind == AC_INT) {
            ck_assert_int_eq(ac_int_of(message), ++answers * 2);
        } else if (ac_job_exit_of(message, &end)) {
            ck_assert_int_eq(end.exit.how, AC_FINISHED);
            ck_assert(ac_ref_equal(end.exit.who, job));
            ck_assert_int_eq(ac_int_of(end.exit.value), 100);
            ac_drop(message);
            break;
        }
        ac_drop(message);
    }
    ck_assert_int_eq(answers, 99);
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(client_and_job_exchange_messages_in_order) {
    world_begin("1");
    world_run(converse);
    world_end();
}

static ac_value ask_for_pointer(ac_value unused) {
    (void)unused;
    struct ac_job_exit job;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    ck_assert_int_eq(ac_submit(computation, pointer, ac_nil), 1);
    ck_assert(world_next_exit(&job, 20));
    ck_assert_int_eq(job.exit.how, AC_FAILED);
    ck_assert_int_eq(job.exit.reason, -ENOTSUP);
    ac_drop(job.exit.value);
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(a_result_that_cannot_travel_is_a_failure_of_its_job) {
    world_begin("1");
    world_run(ask_for_pointer);
    world_end();
}

static ac_value watch_crash(ac_value unused) {
    (void)unused;
    struct ac_job_exit job;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    ck_assert_int_eq(ac_submit(computation, crash, ac_nil), 1);
    ck_assert(world_next_exit(&job, 20));
    ck_assert_int_eq(job.exit.how, AC_LOST);
    ac_drop(job.exit.value);
    struct ac_status status = world_await(AC_WORKER_GONE, 20);
    ck_assert(status.lost);
    ck_assert_ptr_nonnull(strstr(status.text, "killed by signal 6"));
    ck_assert_ptr_nonnull(strstr(status.text, "my last words"));
    ck_assert(!world_next_exit(&job, 0.1));
    // More crashes than a node bears.
    for (int i = 0; i < 20; i++)
        ck_assert_int_gt(ac_submit(computation, crash, ac_nil), 0);
    status = world_await(AC_NODE_REFUSED, 20);
    ck_assert_ptr_nonnull(strstr(status.text, "again and again"));
    return ac_result(ac_computation_close(computation, AC_NOW));
}

TEST(a_worker_that_crashes_is_reported_with_its_last_words) {
    world_begin("1");
    world_run(watch_crash);
    world_end();
}
