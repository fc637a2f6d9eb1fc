// SPDX-License-Identifier: MIT
// Tests of src/remote/send.c: what arrives and in which order, what deliver knows, windows, and
// receivers that compute, stand still or die.
#include "world.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>

static struct child peer;

static void with_server(ac_function client) {
    world_begin();
    peer = child(serving);
    hear(peer);
    run(client);
    child_end(peer);
    world_end();
}

// For tests that end the server themselves.
static void with_mortal_server(ac_function client) {
    world_begin();
    peer = child(serving);
    hear(peer);
    run(client);
    world_end();
}

// ---- what arrives ----

static ac_value of_size(size_t bytes) {
    uint8_t *data = malloc(bytes);
    for (size_t i = 0; i < bytes; i++)
        data[i] = (uint8_t)(i * 2654435761u >> 13);
    ac_value it = ac_of_bytes(data, bytes);
    free(data);
    return it;
}

static void echo(ac_ref server_, ac_value it) {
    must(ac_kind_of(it) != AC_INVALID);
    must_be(ac_send(server_, ac_list("echo", ac_self(), ac_hold(it))), 0);
    ac_value back = next_message();
    must_be(ac_kind_of(back), ac_kind_of(it));
    must(ac_equal(back, it));
    ac_drop(back);
    ac_drop(it);
}

static ac_value send_all_kinds(ac_value unused) {
    ac_ref to = find("server");
    echo(to, ac_nil);
    echo(to, ac_of_bool(true));
    const int64_t numbers[] = {0, 23, 24, -1, 255, 65536, INT32_MIN, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        echo(to, ac_of_int(numbers[i]));
    const double reals[] = {0.0, -0.0, 0.1, 1e308, -1.0 / 0.0, 0.0 / 0.0};
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++)
        echo(to, ac_of_real(reals[i]));
    echo(to, ac_of_text(""));
    echo(to, ac_of_text("caf\xc3\xa9"));
    echo(to, ac_of_text_span("a\0b\0", 4));
    echo(to, ac_of_bytes("\0\xff\0", 3));
    echo(to, ac_of_bytes(NULL, 0));
    echo(to, ac_list(1, ac_list(2, ac_list(3, ac_nil)), "three"));
    echo(to, ac_map("a", ac_map(1, ac_list(ac_nil, 2.5)), "b", ac_self()));
    echo(to, ac_of_ref(to));
    echo(to, ac_of_error(-ENOENT, NULL));
    echo(to, ac_of_error(-EIO, "the disk is wet"));
    return unused;
}

TEST(values_of_every_kind_arrive_as_they_were_sent) { with_server(send_all_kinds); }

static ac_value send_all_sizes(ac_value unused) {
    ac_ref to = find("server");
    // Around what fits into one frame and what makes one piece.
    for (size_t bytes = FRAME_PAYLOAD_MAX - 100; bytes < FRAME_PAYLOAD_MAX + 20; bytes += 7)
        echo(to, of_size(bytes));
    for (size_t bytes = 2 * 49152 - 60; bytes < 2 * 49152 + 20; bytes += 7)
        echo(to, of_size(bytes));
    echo(to, of_size(1 << 20));
    echo(to, of_size(5 << 20));
    return unused;
}

TEST(values_of_every_size_arrive_as_they_were_sent) { with_server(send_all_sizes); }

static ac_value send_too_deep(ac_value unused) {
    ac_ref to = find("server");
    ac_value it = ac_of_int(1);
    for (int i = 0; i < AC_VALUE_DEPTH_MAX; i++)
        it = ac_list_of(&it, 1);
    must_be(ac_deliver(to, it, ac_after(PATIENCE_S)), 1);
    must_be(server_count(to), -1); // it is there, and was no number
    return unused;
}

TEST(the_deepest_value_arrives) { with_server(send_too_deep); }

static ac_value refuse_all(ac_value unused) {
    ac_ref to = find("server");
    int here;
    must_be(ac_send(to, (void *)&here), -ENOTSUP);
    must_be(ac_try_send(to, ac_list(1, (void *)&here)), -ENOTSUP);
    must_be(ac_deliver(to, ac_map("at", (void *)&here), ac_after(1)), -ENOTSUP);
    must_be(ac_send(to, value_notice(ac_list("exit", 1))), -ENOTSUP);
    must_be(ac_send(to, value_invalid(-ENAMETOOLONG)), -ENAMETOOLONG);
    must_be(ac_deliver(to, value_invalid(-ENAMETOOLONG), AC_NOW), -ENAMETOOLONG);
    ac_ref nowhere = {.peer = to.peer ^ 1, .id = to.id};
    must_be(ac_send(nowhere, 1), -EHOSTUNREACH);
    must_be(ac_try_send(nowhere, of_size(100000)), -EHOSTUNREACH);
    must_be(ac_deliver(nowhere, 1, AC_FOREVER), -EHOSTUNREACH);
    must_be(server_count(to), 0);
    return unused;
}

TEST(what_cannot_travel_is_refused) { with_server(refuse_all); }

static ac_value send_without(ac_value unused) {
    ac_ref nowhere = {.peer = 77, .id = 256};
    must_be(ac_send(nowhere, "text"), -EHOSTUNREACH);
    must_be(ac_try_send(nowhere, "text"), -EHOSTUNREACH);
    must_be(ac_deliver(nowhere, "text", AC_FOREVER), -EHOSTUNREACH);
    must_be(ac_register(ac_self(), "name"), 0); // makes the state, and still no network
    must_be(ac_send(nowhere, "text"), -EHOSTUNREACH);
    return unused;
}

TEST(without_network_nobody_elsewhere_is_reached) { run_with(send_without, NULL); }

// ---- order ----

static ac_value send_mixed(ac_value unused) {
    ac_ref to = find("server");
    enum { ROUNDS = 12 };
    for (int i = 0; i < ROUNDS; i++) {
        size_t bytes = i % 2 ? 10 : (size_t)i << 18;
        must_be(ac_send(to, ac_list("echo", ac_self(), ac_list(i, of_size(bytes)))), 0);
        must_be(ac_send(to, ac_list("echo", ac_self(), i)), 0);
    }
    for (int i = 0; i < 2 * ROUNDS; i++) {
        ac_value message = next_message();
        int is = -1;
        ac_value bytes = ac_nil;
        must_be(i % 2 ? ac_unpack(message, &is) : ac_unpack(message, &is, &bytes), 0);
        must_be(is, i / 2);
        ac_drop(bytes);
        ac_drop(message);
    }
    return unused;
}

TEST(a_small_message_never_overtakes_a_large_one_of_the_same_sender) { with_server(send_mixed); }

static bool large_is_sent;

static ac_value send_large(ac_value to) {
    must_be(ac_send(ac_ref_of(to), of_size(48 << 20)), 0);
    large_is_sent = true;
    return ac_nil;
}

// As large as a frame may be: it finds no place that pieces have left over.
static ac_value send_beside(ac_value unused) {
    ac_ref to = find("server");
    ac_spawn(send_large, to, .stack_bytes = TEST_STACK);
    must_be(ac_yield(), 0);
    int delivered = 0;
    while (!large_is_sent) {
        must_be(ac_deliver(to, of_size(FRAME_PAYLOAD_MAX - 64), ac_after(PATIENCE_S)), 1);
        delivered++;
    }
    must(delivered > 5);
    return unused;
}

TEST(others_get_through_while_a_large_message_travels) { with_server(send_beside); }

static int senders_done;

static ac_value count_large(ac_value to) {
    ac_value message;
    long count = 0;
    while (ac_receive(&message, AC_FOREVER) == 0) {
        if (ac_kind_of(message) == AC_BYTES)
            count++;
        else
            must_be(ac_send(ac_ref_of(to), count), 0);
        ac_drop(message);
    }
    return ac_nil;
}

enum { SENDERS = 150 };

static ac_value send_large_of_many(ac_value to) {
    must_be(ac_send(ac_ref_of(to), of_size(200 << 10)), 0);
    senders_done++;
    return ac_nil;
}

static ac_value send_from_many(ac_value unused) {
    ac_ref counter = start_job(find("server"), 0);
    for (int i = 0; i < SENDERS; i++)
        ac_spawn(send_large_of_many, counter, .stack_bytes = TEST_STACK);
    double until = seconds() + PATIENCE_S;
    while (senders_done < SENDERS && seconds() < until)
        must_be(ac_sleep(0.005), 0);
    must_be(senders_done, SENDERS);
    must_be(ac_send(counter, "how many?"), 0);
    ac_value answer = next_message();
    must_be(ac_int_of(answer), SENDERS);
    return unused;
}

TEST(any_number_of_large_messages_may_travel_at_once) {
    server_jobs[0] = count_large;
    with_server(send_from_many);
}

// ---- sends that do not wait ----

static ac_value try_large(ac_value unused) {
    ac_ref to = find("server");
    must_be(ac_try_send(to, ac_list("echo", ac_self(), of_size(300 << 10))), 0);
    must_be(ac_try_send(to, ac_list("echo", ac_self(), 7)), 0);
    ac_value first = next_message(), second = next_message();
    must_be(ac_kind_of(first), AC_BYTES);
    must_be(ac_int_of(second), 7);
    ac_drop(first);
    must_be(ac_try_send(to, of_size(FABRIC_WINDOW_BYTES + 1)), -EMSGSIZE);
    return unused;
}

TEST(a_large_message_can_be_sent_without_waiting) { with_server(try_large); }

// ---- deliver ----

static ac_value end_when_told(ac_value unused) {
    ac_value message;
    (void)unused;
    if (ac_receive(&message, AC_FOREVER) == 0)
        ac_drop(message);
    return ac_nil;
}

static ac_value deliver_all(ac_value unused) {
    ac_ref to = find("server");
    for (int i = 0; i < 100; i++)
        must_be(ac_deliver(to, i, ac_after(PATIENCE_S)), 1);
    must_be(server_count(to), 100);
    ac_ref mortal = start_job(to, 0);
    must_be(ac_monitor(mortal), 0);
    must_be(ac_deliver(mortal, "end", ac_after(PATIENCE_S)), 1);
    must_be(next_exit().how, AC_FINISHED);
    must_be(ac_deliver(mortal, "too late", ac_after(PATIENCE_S)), -ESRCH);
    must_be(ac_send(mortal, "too late"), 0); // which is not known here
    must_be(ac_deliver(to, of_size(2 << 20), ac_after(PATIENCE_S)), 1);
    must_be(ac_deliver(to, 1, AC_NOW), 0); // nobody can have answered
    return unused;
}

TEST(deliver_tells_whether_the_receiver_has_it) {
    server_jobs[0] = end_when_told;
    with_server(deliver_all);
}

static ac_value deliver_frozen(ac_value unused) {
    ac_ref to = find("server");
    child_freeze(peer);
    double begin = seconds();
    must_be(ac_deliver(to, 1, ac_after(1)), 0);
    must(seconds() - begin >= 1);
    child_thaw(peer);
    must_be(ac_deliver(to, 2, ac_after(PATIENCE_S)), 1);
    return unused;
}

TEST(deliver_to_a_frozen_process_knows_nothing_when_time_is_up) { with_server(deliver_frozen); }

static int deliver_result;
static bool deliver_begun;

static ac_value deliver_for_ever(ac_value to) {
    deliver_begun = true;
    deliver_result = ac_deliver(ac_ref_of(to), 1, AC_FOREVER);
    return ac_nil;
}

static ac_value deliver_killed(ac_value unused) {
    ac_ref to = find("server");
    child_freeze(peer);
    ac_ref other = ac_spawn(deliver_for_ever, to, .stack_bytes = TEST_STACK);
    while (!deliver_begun)
        must_be(ac_yield(), 0);
    child_kill(peer);
    must_be(ac_join(other, NULL, ac_after(PATIENCE_S)), 0);
    must_be(deliver_result, -ECONNRESET);
    must_be(ac_send(to, 1), -EHOSTUNREACH);
    return unused;
}

TEST(deliver_to_a_process_that_dies_says_so) { with_mortal_server(deliver_killed); }

static ac_value deliver_cancelled(ac_value unused) {
    ac_ref to = find("server");
    child_freeze(peer);
    ac_ref other = ac_spawn(deliver_for_ever, to, .stack_bytes = TEST_STACK);
    while (!deliver_begun)
        must_be(ac_yield(), 0);
    must_be(ac_cancel(other), 0);
    must_be(ac_join(other, NULL, ac_after(PATIENCE_S)), 0);
    must_be(deliver_result, -ECANCELED);
    child_thaw(peer);
    must_be(ac_deliver(to, 2, ac_after(PATIENCE_S)), 1); // the old answer harms nobody
    return unused;
}

TEST(a_deliver_can_be_cancelled) { with_server(deliver_cancelled); }

static ac_value deliver_until_replaced(ac_value to) {
    must_be(ac_set_replaceable(true), 0);
    deliver_begun = true;
    deliver_result = ac_deliver(ac_ref_of(to), 1, AC_FOREVER);
    return ac_hold(to);
}

static ac_value deliver_anew(ac_value to) {
    return ac_of(ac_deliver(ac_ref_of(to), 2, ac_after(PATIENCE_S)));
}

static ac_value deliver_replaced(ac_value unused) {
    ac_ref to = find("server");
    child_freeze(peer);
    ac_ref other = ac_spawn(deliver_until_replaced, to, .joinable = true,
                            .stack_bytes = TEST_STACK);
    while (!deliver_begun)
        must_be(ac_yield(), 0);
    must_be(ac_replace(other, deliver_anew, ac_nil), 0);
    must_be(ac_yield(), 0);
    must_be(deliver_result, -ERESTART);
    child_thaw(peer);
    struct ac_exit exit;
    must_be(ac_join(other, &exit, ac_after(PATIENCE_S)), 0);
    must_be(ac_int_of(exit.value), 1);
    return unused;
}

TEST(a_deliver_ends_when_its_function_is_replaced) { with_server(deliver_replaced); }

static ac_value deliver_under_shield(ac_value to) {
    must_be(ac_shield_begin(), 0);
    deliver_begun = true;
    must_be(ac_deliver(ac_ref_of(to), 1, ac_after(0.05)), 0);
    must_be(ac_shield_end(), 0);
    must_be(ac_deliver(ac_ref_of(to), 1, AC_FOREVER), -ECANCELED);
    return ac_nil;
}

static ac_value deliver_shielded(ac_value unused) {
    ac_ref to = find("server");
    child_freeze(peer);
    ac_ref other = ac_spawn(deliver_under_shield, to, .joinable = true, .stack_bytes = TEST_STACK);
    while (!deliver_begun)
        must_be(ac_yield(), 0);
    must_be(ac_cancel(other), 0);
    must_be(ac_join(other, NULL, ac_after(PATIENCE_S)), 0);
    child_thaw(peer);
    return unused;
}

TEST(a_deliver_under_a_shield_is_not_cancelled) { with_server(deliver_shielded); }

// ---- busy receivers ----

static ac_value disturb(ac_value unused) {
    ac_ref to = find("server");
    must_be(ac_send(to, ac_list("compute", ac_self(), 4.0)), 0);
    // It has begun when this, which the same coroutine would do, is not answered at once.
    ac_value message;
    must_be(ac_receive(&message, ac_after(0.3)), -ETIMEDOUT);
    ac_ref again;
    must_be(ac_deliver(to, 0, ac_after(PATIENCE_S)), 1);
    must_be(ac_locate("server", &again, ac_after(PATIENCE_S)), 0);
    must(ac_ref_equal(again, to));
    must_be(ac_receive(&message, AC_NOW), -ETIMEDOUT); // it still computes
    ac_drop(next_message());
    must_be(server_count(to), 1);
    return unused;
}

TEST(a_process_that_computes_still_answers) { with_server(disturb); }

static const struct ac_network_options hasty = {
    .size = sizeof hasty, .loopback_only = true, .heartbeat_s = 0.4};

static ac_value wait_for_busy(ac_value unused) {
    ac_ref to = find("server");
    must_be(ac_monitor(to), 0);
    must_be(ac_send(to, ac_list("compute", ac_self(), 1.2)), 0);
    for (int i = 0; i < 10; i++)
        must_be(ac_send(to, i), 0);
    compute(1.2); // this one is as busy, and does not take the other for dead either
    ac_value message = next_message();
    must_be(ac_kind_of(message), AC_TEXT);
    ac_drop(message);
    must_be(server_count(to), 10);
    must_be(ac_mailbox_count(), 0); // nobody is lost
    return unused;
}

TEST(busy_is_not_dead) {
    world_begin();
    peer = child_with(serving, &hasty);
    hear(peer);
    run_with(wait_for_busy, &hasty);
    child_end(peer);
    world_end();
}

// ---- windows ----

enum { PAYLOAD = 8000 };

static long stored, cancelled;

static ac_value fill(ac_value to) {
    for (;;) {
        int err = ac_send(ac_ref_of(to), ac_list("echo", ac_no_ref, ac_nil, of_size(PAYLOAD)));
        if (err < 0) {
            must_be(err, -ECANCELED);
            cancelled++;
            return ac_nil;
        }
        stored++;
    }
}

static long resident_kib(void) {
    char line[128];
    long kib = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "VmRSS: %ld", &kib) == 1)
            break;
    fclose(file);
    return kib;
}

// Each of these travels in pieces, the last of which is tiny.
static ac_value fill_in_pieces(ac_value to) {
    ac_value large = of_size(2 * PIECE_BYTES);
    for (stored = 0; ac_send(ac_ref_of(to), ac_hold(large)) == 0; stored++)
        continue;
    ac_drop(large);
    return ac_nil;
}

static ac_value fill_a_busy_one(ac_value unused) {
    ac_ref to = find("server");
    must_be(ac_send(to, ac_list("compute", ac_self(), 3.0)), 0);
    ac_ref writer = ac_spawn(fill_in_pieces, to, .stack_bytes = TEST_STACK, .joinable = true);
    must_be(ac_sleep(0.6), 0);
    must(stored > 0 && stored < 100);
    long before = stored;
    ac_drop(next_message());
    for (double begin = seconds(); stored < before + 100 && seconds() - begin < PATIENCE_S;)
        must_be(ac_sleep(0.01), 0);
    must(stored >= before + 100); // it goes on when the other takes in what has come
    must_be(ac_cancel(writer), 0);
    must_be(ac_join(writer, NULL, ac_after(PATIENCE_S)), 0);
    return unused;
}

TEST(large_messages_do_not_pile_up_at_one_that_computes) { with_server(fill_a_busy_one); }

// Waits until nothing more can be stored.
static void until_full(void) {
    for (long before = -1; before != stored;) {
        before = stored;
        for (int i = 0; i < 100; i++)
            must_be(ac_sleep(0.001), 0);
    }
}

static ac_value overflow(ac_value unused) {
    ac_ref to = find("server");
    must_be(server_count(to), 0);
    child_freeze(peer);
    long before = resident_kib();
    ac_ref writer = ac_spawn(fill, to, .stack_bytes = TEST_STACK);
    until_full();
    must(stored > 0 && stored < 4000);
    must_be(ac_try_send(to, of_size(PAYLOAD)), -EAGAIN);
    must_be(ac_try_send(to, of_size(200 << 10)), -EAGAIN);
    must_be(ac_deliver(to, of_size(PAYLOAD), ac_after(0.1)), 0);
    must(resident_kib() - before < 48 << 10);
    // Who waits for the window can be cancelled.
    must_be(ac_cancel(writer), 0);
    must_be(ac_join(writer, NULL, ac_after(PATIENCE_S)), 0);
    must_be(cancelled, 1);
    child_thaw(peer);
    must_be(ac_send(to, 1), 0);
    must_be(server_count(to), -1);
    return unused;
}

TEST(a_full_window_holds_the_sender_up_and_bounds_memory) { with_server(overflow); }

enum { COUNTED = 300000 };

static ac_value count_up(ac_value to) {
    for (stored = 0; stored < COUNTED; stored++)
        must_be(ac_send(ac_ref_of(to), (int)stored), 0);
    return ac_nil;
}

static ac_value resume(ac_value unused) {
    ac_ref to = find("server");
    must_be(server_count(to), 0);
    child_freeze(peer);
    ac_ref writer = ac_spawn(count_up, to, .stack_bytes = TEST_STACK);
    until_full();
    must(stored < COUNTED);
    child_thaw(peer);
    must_be(ac_join(writer, NULL, ac_after(2 * PATIENCE_S)), 0);
    ac_ref counter = to;
    // Its own requests stand behind all that were sent.
    must_be(ac_deliver(counter, COUNTED, ac_after(PATIENCE_S)), 1);
    must_be(server_count(to), COUNTED + 1);
    return unused;
}

TEST(a_sender_goes_on_in_order_when_there_is_room_again) { with_server(resume); }

static ac_value large_is_cancelled(ac_value to) {
    must_be(ac_send(ac_ref_of(to), of_size(8 << 20)), -ECANCELED);
    return ac_nil;
}

static ac_value cancel_in_the_middle(ac_value unused) {
    ac_ref to = find("server");
    must_be(server_count(to), 0);
    child_freeze(peer);
    ac_ref writer = ac_spawn(large_is_cancelled, to, .stack_bytes = TEST_STACK);
    double until = seconds() + PATIENCE_S;
    while (ac_try_send(to, 0) == 0) // numbers, which count, and the window is full at last
        must(stored++ < 1000000 && seconds() < until && ac_sleep(0) == 0);
    must_be(ac_cancel(writer), 0);
    must_be(ac_join(writer, NULL, ac_after(PATIENCE_S)), 0);
    child_thaw(peer);
    must_be(ac_deliver(to, 0, ac_after(PATIENCE_S)), 1);
    // What came of it is thrown away, and nothing else is.
    echo(to, of_size(2 << 20));
    return unused;
}

TEST(a_large_message_can_be_cancelled_in_the_middle) { with_server(cancel_in_the_middle); }

// ---- the end ----

enum { LAST_WORDS = 3000 };

static ac_value last_words(ac_value unused) {
    must(told());
    ac_ref to = find("listener");
    for (int i = 0; i < LAST_WORDS; i++)
        must_be(ac_send(to, i), 0);
    must_be(ac_send(to, of_size(900 << 10)), 0);
    return unused; // and the program ends
}

static ac_value listen_to_the_last(ac_value unused) {
    must_be(ac_register(ac_self(), "listener"), 0);
    tell(peer);
    for (int i = 0; i < LAST_WORDS; i++) {
        ac_value message = next_message();
        must_be(ac_kind_of(message), AC_INT);
        must_be(ac_int_of(message), i);
    }
    ac_value message = next_message();
    must_be(ac_span_of(message).bytes, 900 << 10);
    ac_drop(message);
    return unused;
}

TEST(what_was_sent_right_before_the_end_arrives) {
    world_begin();
    peer = child(last_words);
    run(listen_to_the_last);
    child_end(peer);
    world_end();
}

// ---- questions, limits and dead letters across processes ----

static ac_value answer_requests(ac_value asker) {
    ac_value request;
    ac_ref answer;
    const char *verb;
    must_be(ac_send(ac_ref_of(asker), "ready"), 0);
    while (ac_receive(&request, AC_FOREVER) == 0) {
        must_be(ac_unpack(request, &answer, &verb), 0);
        if (strcmp(verb, "end") == 0) {
            ac_drop(request);
            return ac_nil;
        }
        if (strcmp(verb, "late") == 0)
            must_be(ac_sleep(0.05), 0);
        must_be(ac_deliver(answer, verb, ac_after(PATIENCE_S)),
                strcmp(verb, "late") == 0 ? -ESRCH : 1);
        ac_drop(request);
    }
    return ac_nil;
}

static ac_value be_full(ac_value asker) {
    must_be(ac_mailbox_limit(1, AC_SENDER_WAITS), 0);
    must_be(ac_send(ac_ref_of(asker), "ready"), 0);
    return ac_result(ac_sleep_until(AC_FOREVER) == -ECANCELED ? 0 : -EINVAL);
}

static ac_value ask_far(ac_value unused) {
    ac_ref at = find("server");
    ac_ref job = start_job(at, 10);
    ac_drop(next_message());
    ac_value answer;
    must_be(ac_call(job, "echo", &answer, ac_after(PATIENCE_S)), 0);
    must(strcmp(ac_text_of(answer), "echo") == 0);
    ac_drop(answer);
    must_be(ac_call(job, "late", &answer, ac_after(0.01)), -ETIMEDOUT);
    while (ac_dead_letters(AC_DEAD_LATE) == 0)
        must_be(ac_sleep(0.002), 0);
    must_be(ac_call(job, "end", &answer, ac_after(PATIENCE_S)), -ESRCH);
    must_be(ac_call(job, "ended", &answer, ac_after(PATIENCE_S)), -ESRCH);
    must_be(ac_mailbox_count(), 0);
    return unused;
}

TEST(a_question_far_away_is_answered_or_ends_with_who_was_asked) {
    server_jobs[10] = answer_requests;
    with_server(ask_far);
}

static ac_value ask_one_who_dies(ac_value unused) {
    ac_ref at = find("server");
    ac_ref job = start_job(at, 11);
    ac_drop(next_message());
    ac_value answer;
    must_be(ac_call(job, "no answer", &answer, ac_after(0.01)), -ETIMEDOUT);
    child_kill(peer);
    int err = ac_call(job, "nobody", &answer, ac_after(PATIENCE_S));
    must(err == -ECONNRESET || err == -EHOSTUNREACH); // the guardian may have learned of it already
    return unused;
}

TEST(a_question_ends_with_the_process_of_who_was_asked) {
    server_jobs[11] = be_full;
    with_mortal_server(ask_one_who_dies);
}

static ac_value fill_far(ac_value unused) {
    ac_ref at = find("server");
    ac_ref job = start_job(at, 11);
    ac_drop(next_message());
    must_be(ac_deliver(job, 1, ac_after(PATIENCE_S)), 1);
    must_be(ac_deliver(job, 2, ac_after(PATIENCE_S)), -ENOBUFS);
    must_be(ac_send(job, 3), 0); // and is lost there
    return unused;
}

TEST(a_full_mailbox_far_away_says_so) {
    server_jobs[11] = be_full;
    with_server(fill_far);
}

// ---- what was said last ----

enum { WORDS_SPOKEN = 10 };

// When all that this process has sent has arrived, its connections end with a reset, as those do of
// one that dies with something unread.
static void end_harshly(void) {
    for (int fd = 3, left = 0; fd < 256; fd++) {
        while (ioctl(fd, SIOCOUTQ, &left) == 0 && left > 0)
            continue;
        (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
    }
    (void)kill(getpid(), SIGKILL);
}

static ac_value speak_and_die(ac_value listener) {
    must(told());
    for (int i = 0; i < WORDS_SPOKEN; i++)
        must_be(ac_send(ac_ref_of(listener), i), 0);
    must_be(ac_sleep(0.01), 0); // given to the system before the loop is idle
    end_harshly();
    return ac_nil;
}

static ac_value hear_last_words(ac_value unused) {
    ac_ref at = find("server");
    ac_ref job = start_job(at, 1);
    int status;
    tell(peer);
    must_be(waitpid(peer.pid, &status, 0), peer.pid); // meanwhile nothing is read
    // It fails before anything is read; unless the guardian was quicker.
    int err = ac_send(job, "too late");
    must(err == 0 || err == -EHOSTUNREACH);
    for (int i = 0; i < WORDS_SPOKEN; i++) {
        ac_value word = next_message();
        must_be(ac_int_of(word), i);
        ac_drop(word);
    }
    close(peer.to);
    close(peer.from);
    return unused;
}

TEST(what_a_process_said_before_it_died_is_heard_by_who_writes_to_it) {
    server_jobs[1] = speak_and_die;
    world_begin();
    peer = child(server); // orders are for the job
    hear(peer);
    run(hear_last_words);
    world_end();
}
