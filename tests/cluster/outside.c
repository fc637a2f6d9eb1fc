// SPDX-License-Identifier: MIT
// What a daemon is told of the outside, in this process: signals, the end of standard input; and
// what the service manager is told. With whole nodes: tests/cluster/node.c.
#include "cluster/world.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>

static struct outside outside;
static struct life life;
static bool with_input;

static void wait_for_kick(void) {
    ac_value message;
    ck_assert_int_eq(ac_receive(&message, ac_after(TEST_PATIENCE_S)), 0);
    ck_assert(ac_is_nil(message));
}

static ac_value be_signalled(ac_value unused) {
    ck_assert_int_eq(outside_watch(&outside, with_input), 0);
    ck_assert_int_eq(kill(getpid(), SIGTERM), 0);
    wait_for_kick();
    ck_assert_int_eq(life.state, NODE_DRAINS);
    ck_assert_int_ne(life.asked, AC_NOW);
    return unused;
}

// Without memory for the kick, which then comes when there is some again.
static ac_value be_signalled_without_memory(ac_value unused) {
    ac_value message = ac_of(1);
    ck_assert_int_eq(outside_watch(&outside, with_input), 0);
    ck_assert_int_eq(ac_sleep(0.01), 0);
    memory_fail_nth(1);
    while (mailbox_put(coro_here(), ac_of(1)) == 0)
        continue; // so that none is left that was kept for messages
    memory_fail_nth(1);
    ck_assert_int_eq(kill(getpid(), SIGTERM), 0);
    while (!memory_has_failed())
        ck_assert_int_eq(ac_sleep(0.001), 0);
    memory_fail_nth(0);
    while (!ac_is_nil(message))
        ck_assert_int_eq(ac_receive(&message, ac_after(TEST_PATIENCE_S)), 0);
    return unused;
}

static ac_value lose_input(ac_value unused) {
    ck_assert_int_eq(outside_watch(&outside, with_input), 0);
    wait_for_kick();
    ck_assert_int_eq(life.state, NODE_STOPS);
    ck_assert_ptr_nonnull(strstr(life.why, "standard input"));
    return unused;
}

static void run(ac_function main) {
    char text[256];
    ck_assert_int_eq(outside_open(&outside, &life, text), 0);
    life_begin(&life, ac_now());
    ac_spawn(main, ac_nil, .stack_bytes = 256 << 10);
    ck_assert_int_eq(ac_run(), 0);
    outside_close(&outside);
}

TEST(a_signal_is_told_to_the_life_and_wakes_main) { run(be_signalled); }

TEST(a_signal_wakes_main_when_there_is_memory_again) { run(be_signalled_without_memory); }

TEST(the_end_of_standard_input_stops_who_wants_that) {
    int ends[2];
    ck_assert_int_eq(sys_pipe(ends), 0);
    ck_assert_int_eq(dup2(ends[0], STDIN_FILENO), STDIN_FILENO);
    sys_fd_close(ends[0]);
    with_input = true;
    ck_assert_int_eq(sys_fd_write(ends[1], "what is read is dropped", 23), 0);
    sys_fd_close(ends[1]);
    run(lose_input);
}

static ac_value say_all(ac_value unused) {
    outside_say_ready();
    life_stop(&life, "it was told to");
    outside_say_state(&life);
    return unused;
}

TEST(the_manager_of_services_is_told_of_readiness_and_state) {
    char text[256] = "";
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    world_make();
    snprintf(name.sun_path, sizeof name.sun_path, "%s/notify", world_folder);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&name, sizeof name), 0);
    setenv("NOTIFY_SOCKET", name.sun_path, 1);
    run(say_all);
    ck_assert_int_gt(recv(fd, text, sizeof text - 1, 0), 0);
    ck_assert_str_eq(text, "READY=1");
    memset(text, 0, sizeof text);
    ck_assert_int_gt(recv(fd, text, sizeof text - 1, 0), 0);
    ck_assert_str_eq(text, "STOPPING=1\nSTATUS=stopping: it was told to");
    sys_fd_close(fd);
    world_clean();
}
