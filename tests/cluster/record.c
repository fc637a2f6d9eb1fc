// SPDX-License-Identifier: MIT
// What nodes tell workers through the pipe that these inherit.
#include "cluster/cluster_private.h"
#include "test.h"

TEST(the_start_up_record_comes_back_as_it_was_written) {
    struct worker_start in, out = {.agent = {7, 8},
                                   .supplier = {9, 10},
                                   .number = 3,
                                   .loopback_only = true,
                                   .node = "here",
                                   .stays = true};
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
    ck_assert(in.stays);
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

static ac_value tell_of_another(ac_value unused) {
    int ends[2];
    struct sys_address scheduler, read;
    struct sys_handle handle = {0};
    ac_value next;
    ac_ref agent;
    const char *address;
    ck_assert(sys_address_parse("127.0.0.1:77", &scheduler));
    ck_assert_int_eq(sys_pipe(ends), 0);
    for (uint64_t i = 1; i <= 2; i++)
        ck_assert_int_eq(worker_return_write(ends[1], (ac_ref){i, 8}, &scheduler), 0);
    sys_adopt(loop_here->sys, &handle, ends[0], false);
    for (uint64_t i = 1; i <= 2; i++) {
        ck_assert_int_eq(worker_return_read(&handle, &next), 0);
        ck_assert_int_eq(ac_unpack(next, &agent, &address), 0);
        ck_assert(ac_ref_equal(agent, (ac_ref){i, 8}));
        ck_assert(sys_address_parse(address, &read));
        ck_assert(sys_address_equal(&read, &scheduler));
        ac_drop(next);
    }
    ck_assert_int_eq(sys_fd_write(ends[1], "and what is none", 16), 0);
    ck_assert_int_eq(worker_return_read(&handle, &next), -EBADMSG);
    sys_fd_close(ends[1]);
    sys_close(&handle);
    return unused;
}

TEST(each_scheduler_that_comes_back_is_told_of_in_turn) {
    ac_spawn(tell_of_another, ac_nil);
    ck_assert_int_eq(ac_run(), 0);
}

static ac_value read_to_the_end(ac_value unused) {
    int ends[2];
    struct sys_handle handle = {0};
    ac_value next;
    ck_assert_int_eq(sys_pipe(ends), 0);
    sys_adopt(loop_here->sys, &handle, ends[0], false);
    sys_fd_close(ends[1]);
    ck_assert_int_eq(worker_return_read(&handle, &next), -EPIPE);
    sys_close(&handle);
    return unused;
}

TEST(the_end_of_the_node_is_the_end_of_the_pipe) {
    ac_spawn(read_to_the_end, ac_nil);
    ck_assert_int_eq(ac_run(), 0);
}
