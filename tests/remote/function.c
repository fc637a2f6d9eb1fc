// SPDX-License-Identifier: MIT
// Tests of src/remote/function.c: what can be called, from where, what the caller learns of it, and
// what else happens to calls.
#include "remote/remote_private.h"
#include "world.h"

static struct child peer;

// ---- functions ----

static ac_value doubles(ac_value argument) { return ac_of_int(2 * ac_int_of(argument)); }

static ac_value fails(ac_value argument) {
    return ac_of_error(ac_int_of(argument), "as asked for");
}

static ac_value echoes(ac_value argument) { return ac_hold(argument); }

// Takes orders: sends back what it is sent, until that is nil.
static ac_value converses(ac_value argument) {
    ac_ref to = ac_ref_of(argument);
    ac_value message;
    must_be(ac_send(to, "here"), 0);
    while (ac_receive(&message, AC_FOREVER) == 0 && !ac_is_nil(message))
        must_be(ac_send(to, message), 0);
    return ac_of_int(3);
}

static ac_ref open_named(ac_function function, const char *name) {
    ac_ref it = ac_function_open(function, .name = name, .stack_bytes = TEST_STACK);
    must(ac_ref_is(it));
    must_be(ac_register(it, name), 0);
    return it;
}

static ac_value get_exit(struct ac_exit *exit) {
    ac_value message = next_message();
    must(ac_exit_of(message, exit));
    ac_drop(message);
    return exit->value;
}

// One call that ends at once, watched from its birth.
static int64_t call_for_int(ac_ref function, int argument) {
    ac_ref it;
    struct ac_exit exit;
    must_be(ac_invoke(function, argument, &it, ac_after(PATIENCE_S), .monitor = true), 0);
    int64_t result = ac_int_of(get_exit(&exit));
    must(ac_ref_equal(exit.who, it));
    must_be(exit.how, AC_FINISHED);
    must_be(ac_mailbox_count(), 0);
    return result;
}

static void call_and_fail(ac_ref function) {
    struct ac_exit exit;
    must_be(ac_invoke(function, -EDOM, NULL, ac_after(PATIENCE_S), .monitor = true), 0);
    must_be(ac_error_of(get_exit(&exit)), -EDOM);
    must_be(exit.how, AC_FAILED);
    must_be(exit.reason, -EDOM);
    ac_drop(exit.value);
}

// What one that lives is good for: messages in order, both ways, and its end.
static void talk_with(ac_ref function) {
    ac_ref it;
    struct ac_exit exit;
    must_be(ac_invoke(function, ac_self(), &it, ac_after(PATIENCE_S), .monitor = true), 0);
    ac_drop(next_message());
    for (int i = 0; i < 100; i++)
        must_be(ac_send(it, i), 0);
    for (int i = 0; i < 100; i++)
        must_be(ac_int_of(next_message()), i);
    must_be(ac_send(it, ac_nil), 0);
    must_be(ac_int_of(get_exit(&exit)), 3);
    must(ac_ref_equal(exit.who, it));
}

// ---- here ----

static void alone(ac_function function) { run_with(function, NULL); }

static ac_value call_here(ac_value unused) {
    ac_ref function = open_named(doubles, "doubles"), it;
    must_be(call_for_int(find("doubles"), 21), 42);
    must_be(call_for_int(function, 4), 8);
    must_be(ac_invoke(function, 1, NULL, AC_NOW), 0); // nobody watches it
    call_and_fail(open_named(fails, "fails"));
    must_be(ac_invoke(find("fails"), -EDOM, NULL, AC_FOREVER), 0); // ac_run does not tell
    talk_with(open_named(converses, "converses"));
    must_be(ac_send(function, 1), -ENOTSUP);
    must_be(ac_monitor(function), -ENOTSUP);
    must_be(ac_invoke(ac_self(), 1, &it, AC_FOREVER), -ENOTSUP);
    must_be(ac_invoke(ac_no_ref, 1, &it, AC_FOREVER), -ENOTSUP);
    const struct ac_invoke_options odd = {.size = sizeof odd + 1};
    must_be(ac_invoke_with(function, ac_of_int(1), &it, AC_FOREVER, &odd), -EINVAL);
    must_be(ac_invoke_with(function, ac_of_int(1), &it, AC_FOREVER, NULL), 0);
    must_be(ac_function_close(function), 0);
    must_be(ac_function_close(function), -ESRCH);
    must_be(ac_function_close(ac_self()), -ENOTSUP);
    must_be(ac_invoke(function, 1, &it, AC_FOREVER), -ESRCH);
    must_be(ac_register(function, "again"), -ESRCH);
    must_be(ac_locate("doubles", &it, AC_NOW), -ETIMEDOUT);
    must_be(ac_register(ac_self(), "doubles"), 0); // its name is free
    return unused;
}

TEST(a_function_is_called_here_as_elsewhere) { alone(call_here); }

static ac_value few_at_once(ac_value unused) {
    ac_ref function = ac_function_open(converses, .at_once_max = 2), first, second;
    must_be(ac_invoke(function, ac_self(), &first, AC_NOW), 0);
    must_be(ac_invoke(function, ac_self(), &second, AC_NOW, .monitor = true), 0);
    must_be(ac_invoke(function, ac_self(), NULL, AC_NOW), -EAGAIN);
    ac_drop(next_message());
    ac_drop(next_message());
    must_be(ac_function_close(function), 0); // those that run go on
    must_be(ac_send(first, ac_nil), 0);
    must_be(ac_send(second, 1), 0);
    must_be(ac_int_of(next_message()), 1);
    must_be(ac_send(second, ac_nil), 0);
    must_be(next_exit().how, AC_FINISHED);
    must(!ac_ref_is(ac_function_open(NULL)));
    must_be(ac_ref_error(ac_function_open(echoes, .stack_bytes = 1 << 30)), -EINVAL);
    const struct ac_function_options odd = {.size = 0};
    must_be(ac_ref_error(ac_function_open_with(echoes, &odd)), -EINVAL);
    return unused;
}

TEST(so_many_calls_run_at_once_and_no_more) { alone(few_at_once); }

TEST(outside_coroutines_functions_are_opened_and_not_called) {
    ac_ref function = ac_function_open(echoes);
    ck_assert(ac_ref_is(function));
    ck_assert_int_eq(ac_register(function, "echoes"), 0);
    ck_assert_int_eq(ac_invoke(function, 1, NULL, AC_NOW), -EPERM);
    ck_assert_int_eq(ac_run(), 0);
}

static ac_value call_without_memory(ac_value unused) {
    bool failed = true;
    for (int n = 1; failed; n++) {
        memory_fail_nth(n);
        ac_ref function = ac_function_open(doubles), it;
        int err = ac_ref_is(function) ? ac_invoke(function, 2, &it, AC_NOW, .monitor = true)
                                      : ac_ref_error(function);
        failed = memory_has_failed();
        memory_fail_nth(0);
        must_be(err, failed ? -ENOMEM : 0);
        if (ac_ref_is(function))
            must_be(ac_function_close(function), 0);
        if (err == 0)
            must_be(next_exit().how, AC_FINISHED);
    }
    must_be(ac_yield(), 0);
    must_be(ac_mailbox_count(), 0);
    return unused;
}

TEST(without_memory_nothing_is_called) { alone(call_without_memory); }

// ---- in another process ----

enum { LARGE = 3 << 20 };

static ac_value opens_all(ac_value unused) {
    open_named(doubles, "doubles");
    open_named(fails, "fails");
    open_named(echoes, "echoes");
    open_named(converses, "converses");
    ac_ref few = ac_function_open(converses, .at_once_max = 1, .daemon = true);
    must_be(ac_register(few, "few"), 0);
    ac_spawn(server, ac_nil, .daemon = true, .stack_bytes = TEST_STACK);
    return until_the_end(unused);
}

static void with_functions(ac_function client) {
    world_begin();
    peer = child(opens_all);
    hear(peer);
    run(client);
    child_end(peer);
    world_end();
}

static ac_value call_far(ac_value unused) {
    ac_ref function = find("doubles"), it;
    for (int i = 0; i < 500; i++)
        must_be(call_for_int(function, i), 2 * i);
    must_be(map_count(&remote_of(loop_here)->monitors), 0);
    call_and_fail(find("fails"));
    talk_with(find("converses"));
    char text[64];
    must_be(ac_location(function, text), 0);
    must(strcmp(text, "here") != 0);
    must_be(ac_invoke(function, ac_of_pointer(&peer), &it, AC_FOREVER), -ENOTSUP);
    must_be(ac_invoke(function, 1, &it, AC_NOW), -ETIMEDOUT);
    must_be(ac_invoke(find("server"), 1, &it, AC_FOREVER), -ENOTSUP);
    ac_ref none = {function.peer, ref_id(REF_FUNCTION, 0, 0, 999)};
    must_be(ac_invoke(none, 1, &it, ac_after(PATIENCE_S), .monitor = true), -ESRCH);
    none.id = ref_id(REF_FUNCTION, 5, 0, 1); // of a loop that there is not
    must_be(ac_invoke(none, 1, &it, ac_after(PATIENCE_S), .monitor = true), -ESRCH);
    none.peer ^= 1;
    must_be(ac_invoke(none, 1, &it, ac_after(PATIENCE_S), .monitor = true), -EHOSTUNREACH);
    ac_ref few = find("few");
    must_be(ac_invoke(few, ac_self(), &it, ac_after(PATIENCE_S)), 0);
    ac_drop(next_message());
    must_be(ac_invoke(few, ac_self(), &it, ac_after(PATIENCE_S), .monitor = true), -EAGAIN);
    must_be(map_count(&remote_of(loop_here)->monitors), 0);
    must_be(map_count(&remote_of(loop_here)->delivers), 0);
    return unused;
}

TEST(a_peer_runs_what_it_has_opened_and_nothing_else) { with_functions(call_far); }

static ac_value pass_large(ac_value unused) {
    uint8_t *bytes = calloc(1, LARGE);
    bytes[LARGE - 1] = 7;
    struct ac_exit exit;
    must_be(ac_invoke(find("echoes"), ac_of_bytes(bytes, LARGE), NULL, ac_after(PATIENCE_S),
                      .monitor = true),
            0);
    ac_span back = ac_span_of(get_exit(&exit));
    must_be(back.bytes, LARGE);
    must(memcmp(back.at, bytes, LARGE) == 0);
    ac_drop(exit.value);
    free(bytes);
    return unused;
}

TEST(arguments_and_results_may_be_large) { with_functions(pass_large); }

// The echo function of the peer comes to us in a message.
static ac_value tell_of_function(ac_value unused) {
    must_be(ac_send(find("waits for a function"), find("doubles")), 0);
    return until_the_end(unused);
}

static ac_value get_function(ac_value unused) {
    must_be(ac_register(ac_self(), "waits for a function"), 0);
    ac_value message = next_message();
    ac_ref function = ac_ref_of(message);
    ac_drop(message);
    must_be(call_for_int(function, 5), 10);
    return unused;
}

TEST(a_function_that_came_in_a_message_is_called) {
    world_begin();
    peer = child(opens_all);
    hear(peer);
    struct child other = child(tell_of_function);
    run(get_function);
    child_end(other);
    child_end(peer);
    world_end();
}

// ---- what goes wrong ----

static ac_value call_what_is_lost(ac_value function) {
    must_be(ac_invoke(ac_ref_of(function), ac_self(), NULL, AC_FOREVER, .monitor = true),
            -ECONNRESET);
    must_be(ac_mailbox_count(), 0);
    return ac_nil;
}

static ac_value lose_it(ac_value unused) {
    ac_ref function = find("converses"), it;
    struct ac_exit exit;
    must_be(ac_invoke(function, ac_self(), &it, ac_after(PATIENCE_S), .monitor = true), 0);
    ac_drop(next_message());
    child_freeze(peer);
    // Neither of them is known to run; nobody may be told of their ends.
    must_be(ac_invoke(function, ac_self(), NULL, ac_after(0.05), .monitor = true), -ETIMEDOUT);
    must_be(map_count(&remote_of(loop_here)->monitors), 1);
    ac_ref waits = ac_spawn(call_what_is_lost, function, .joinable = true,
                            .stack_bytes = TEST_STACK);
    must_be(ac_sleep(0.01), 0);
    child_kill(peer);
    must_be(ac_join(waits, NULL, ac_after(PATIENCE_S)), 0);
    (void)get_exit(&exit);
    must_be(exit.how, AC_LOST);
    must_be(exit.reason, -ECONNRESET);
    must(ac_ref_equal(exit.who, it));
    must_be(ac_invoke(function, ac_self(), NULL, ac_after(PATIENCE_S), .monitor = true),
            -EHOSTUNREACH);
    must_be(ac_mailbox_count(), 0);
    must_be(map_count(&remote_of(loop_here)->monitors), 0);
    return unused;
}

TEST(who_loses_the_peer_learns_what_is_known) {
    world_begin();
    peer = child(opens_all);
    hear(peer);
    run(lose_it);
    world_end();
}

// The peer is lost and met again between the call and the answer: the monitor is gone then.
static ac_value answer_without_monitor(ac_value unused) {
    ac_ref function = find("converses");
    struct remote *remote = remote_of(loop_here);
    child_freeze(peer);
    ac_ref waits = ac_spawn(call_what_is_lost, function, .joinable = true,
                            .stack_bytes = TEST_STACK);
    must_be(ac_sleep(0.01), 0);
    uint64_t monitor = remote->number; // drawn behind that of the call
    must(map_get_id(&remote->monitors, monitor) != NULL);
    watch_lost(remote, function.peer, -ECONNRESET);
    must(map_get_id(&remote->monitors, monitor) == NULL);
    function_started(remote,
                     &(struct arrival){.kind = ARRIVED_STARTED,
                                       .peer = function.peer,
                                       .number = monitor - 1,
                                       .to = {function.peer, ref_id(REF_COROUTINE, 0, 7, 1)}});
    must_be(ac_join(waits, NULL, ac_after(PATIENCE_S)), 0);
    child_kill(peer);
    return unused;
}

TEST(an_answer_to_a_call_whose_monitor_is_gone_is_a_loss) {
    world_begin();
    peer = child(opens_all);
    hear(peer);
    run(answer_without_monitor);
    world_end();
}

static ac_value give_up(ac_value function) {
    must_be(ac_invoke(ac_ref_of(function), ac_self(), NULL, AC_FOREVER, .monitor = true),
            -ECANCELED);
    must_be(map_count(&remote_of(loop_here)->monitors), 0);
    return ac_nil;
}

static ac_value cancel_caller(ac_value unused) {
    ac_ref function = find("converses");
    child_freeze(peer);
    ac_ref it = ac_spawn(give_up, function, .joinable = true, .stack_bytes = TEST_STACK);
    must_be(ac_sleep(0.01), 0);
    must_be(ac_cancel(it), 0);
    must_be(ac_join(it, NULL, ac_after(PATIENCE_S)), 0);
    child_thaw(peer);
    must_be(call_for_int(find("doubles"), 1), 2);
    child_kill(peer); // the call that was given up runs for ever
    return unused;
}

TEST(who_gives_up_a_call_is_told_nothing_more) {
    world_begin();
    peer = child(opens_all);
    hear(peer);
    run(cancel_caller);
    world_end();
}

static ac_value be_refused(ac_value unused) {
    ac_ref function = find("doubles"), it;
    must_be(ac_deliver(find("server"), 0, ac_after(PATIENCE_S)), 1);
    must_be(ac_invoke(function, 1, &it, ac_after(PATIENCE_S), .monitor = true), -EACCES);
    map_take_id(&remote_of(loop_here)->limits, function.peer); // the check is there
    must_be(ac_invoke(function, 1, &it, ac_after(PATIENCE_S), .monitor = true), -EACCES);
    must_be(map_count(&remote_of(loop_here)->monitors), 0);
    return unused;
}

TEST(who_may_not_call_is_refused) {
    static const struct ac_rights_rule rules[] = {{.may = AC_MAY_ALL & ~AC_MAY_CALL}};
    const struct ac_network_options options = {
        .size = sizeof options, .loopback_only = true, .rights = rules, .rights_count = 1};
    world_begin();
    peer = child_with(opens_all, &options);
    hear(peer);
    run(be_refused);
    child_end(peer);
    world_end();
}

static ac_value far_without_memory(ac_value unused) {
    ac_ref function = find("doubles");
    int err = -ENOMEM;
    // What the call itself needs; what its answer needs comes behind that.
    for (int n = 1; err == -ENOMEM; n++) {
        memory_fail_nth(n);
        err = ac_invoke(function, 2, NULL, ac_after(0.5), .monitor = true);
        memory_fail_nth(0);
        if (err != -ENOMEM)
            break;
        must_be(map_count(&remote_of(loop_here)->monitors), 0);
        must_be(map_count(&remote_of(loop_here)->delivers), 0);
    }
    must(err == 0 || err == -ETIMEDOUT);
    must_be(call_for_int(function, 3), 6);
    return unused;
}

TEST(a_caller_without_memory_learns_that) { with_functions(far_without_memory); }

// ---- several loops ----

enum { LOOPS = 3 };

static ac_function on_second;

static ac_value spawn_on_second(ac_value unused) {
    must(ac_ref_is(ac_spawn(on_second, ac_nil, .loop = 2, .stack_bytes = TEST_STACK)));
    return unused;
}

static void on_second_loop(ac_function client, bool network) {
    if (network)
        must_be(ac_network_start_with(&near), 0);
    on_second = client;
    must(ac_ref_is(ac_spawn(spawn_on_second, ac_nil)));
    must_be(ac_run(.loops = LOOPS), 0);
}

static ac_value call_from_third(ac_value of) {
    ac_ref function = ac_ref_of(of), it;
    must_be(ac_loop(), 3);
    for (int i = 0; i < 200; i++)
        must_be(call_for_int(function, i), 2 * i);
    must_be(ac_register(function, "mine"), -EXDEV);
    must_be(ac_function_close(function), -ENOTSUP);
    must_be(call_for_int(find("second"), 4), 8);
    call_and_fail(find("fails"));
    talk_with(find("converses"));
    must_be(ac_invoke(function, 1, NULL, AC_FOREVER), 0);
    must_be(ac_invoke(function, 1, NULL, ac_after(-1)), -ETIMEDOUT);
    it = (ac_ref){function.peer, function.id + ((uint64_t)77 << 32)};
    must_be(ac_invoke(it, 1, NULL, AC_FOREVER, .monitor = true), -ESRCH);
    return ac_nil;
}

static ac_value open_on_second(ac_value unused) {
    (void)unused;
    must_be(ac_loop(), 2);
    ac_ref function = open_named(doubles, "second"), it;
    open_named(fails, "fails");
    open_named(converses, "converses");
    ac_ref caller = ac_spawn(call_from_third, function, .loop = 3, .joinable = true,
                             .stack_bytes = TEST_STACK);
    must_be(ac_join(caller, NULL, ac_after(PATIENCE_S)), 0);
    must_be(ac_function_close(function), 0);
    must_be(ac_locate("second", &it, AC_NOW), -ETIMEDOUT);
    must_be(ac_register(ac_self(), "second"), 0);
    return ac_nil;
}

TEST(a_function_is_called_from_another_loop) { on_second_loop(open_on_second, false); }

static ac_value call_far_from_second(ac_value unused) {
    (void)unused;
    must_be(ac_loop(), 2);
    ac_ref function = find("doubles"), it;
    for (int i = 0; i < 200; i++)
        must_be(call_for_int(function, i), 2 * i);
    call_and_fail(find("fails"));
    talk_with(find("converses"));
    must_be(ac_invoke(function, ac_of_pointer(&peer), &it, AC_FOREVER), -ENOTSUP);
    must_be(ac_invoke(find("server"), 1, &it, AC_FOREVER), -ENOTSUP);
    struct ac_exit exit;
    must_be(ac_invoke(find("converses"), ac_self(), &it, AC_FOREVER, .monitor = true), 0);
    ac_drop(next_message());
    child_kill(peer);
    (void)get_exit(&exit);
    must_be(exit.how, AC_LOST);
    must(ac_ref_equal(exit.who, it));
    return ac_nil;
}

TEST(all_loops_call_functions_of_other_processes) {
    world_begin();
    peer = child(opens_all);
    hear(peer);
    on_second_loop(call_far_from_second, true);
    world_end();
}

// The child calls what the second loop of the test has opened.
static ac_value call_second_loop(ac_value unused) {
    ac_ref function = find("doubles of the second");
    for (int i = 0; i < 200; i++)
        must_be(call_for_int(function, i), 2 * i);
    call_and_fail(find("fails of the second"));
    talk_with(find("converses of the second"));
    must_be(ac_send(find("done"), 1), 0);
    return until_the_end(unused);
}

static ac_value serve_on_second(ac_value unused) {
    (void)unused;
    open_named(doubles, "doubles of the second");
    open_named(fails, "fails of the second");
    open_named(converses, "converses of the second");
    must_be(ac_register(ac_self(), "done"), 0);
    ac_drop(next_message());
    return ac_nil;
}

TEST(functions_of_all_loops_are_called_from_other_processes) {
    world_begin();
    peer = child(call_second_loop);
    on_second_loop(serve_on_second, true);
    child_end(peer);
    world_end();
}
