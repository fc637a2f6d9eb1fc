// SPDX-License-Identifier: MIT
// Tests of src/remote/watch.c: one notice for each monitor, whatever happens to the observed, to
// its process or to the one who wants to know.
#include "remote/remote_private.h"
#include "world.h"

static struct child peer;

enum {
    JOB_FINISHES,
    JOB_FAILS,
    JOB_CANCELLED,
    JOB_TALKS,
    JOB_POINTS,
    JOB_DEEP,
    JOB_LARGE,
    JOB_LIVES
};

static ac_value wait_for_go(void) {
    ac_value message = ac_nil;
    (void)!ac_receive(&message, AC_FOREVER);
    return message;
}

static ac_value finishes(ac_value unused) {
    (void)unused;
    ac_drop(wait_for_go());
    return ac_list("result", 7);
}

static ac_value fails(ac_value unused) {
    (void)unused;
    ac_drop(wait_for_go());
    return ac_of_error(-EDOM, "out of range");
}

static ac_value is_cancelled(ac_value unused) {
    (void)unused;
    ac_drop(wait_for_go());
    (void)ac_cancel(ac_self());
    (void)ac_sleep(1);
    return ac_of_int(3);
}

enum { TALK = 500 };

static ac_value talks(ac_value to) {
    ac_drop(wait_for_go());
    for (int i = 0; i < TALK; i++)
        must_be(ac_send(ac_ref_of(to), i), 0);
    return ac_nil;
}

static ac_value points(ac_value unused) {
    (void)unused;
    ac_drop(wait_for_go());
    return ac_of_pointer(&peer);
}

static ac_value nest(int depth) {
    ac_value it = ac_of_int(1);
    for (int i = 0; i < depth; i++)
        it = ac_list_of(&it, 1);
    return it;
}

static ac_value returns_deep(ac_value unused) {
    (void)unused;
    ac_drop(wait_for_go());
    return nest(AC_VALUE_DEPTH_MAX);
}

enum { LARGE = 3 << 20 };

static ac_value large_value(void) {
    uint8_t *bytes = calloc(1, LARGE);
    ac_value it = ac_of_bytes(bytes, LARGE);
    free(bytes);
    return it;
}

static ac_value returns_large(ac_value unused) {
    (void)unused;
    ac_drop(wait_for_go());
    return large_value();
}

static ac_value lives(ac_value unused) {
    (void)unused;
    ac_value message;
    while (ac_receive(&message, AC_FOREVER) == 0)
        ac_drop(message);
    return ac_nil;
}

static void set_jobs(void) {
    static const ac_function jobs[] = {finishes, fails,        is_cancelled,  talks,
                                       points,   returns_deep, returns_large, lives};
    memcpy(server_jobs, jobs, sizeof jobs);
}

static void with_server(ac_function client) {
    world_begin();
    set_jobs();
    peer = child(serving);
    hear(peer);
    run(client);
    child_end(peer);
    world_end();
}

static ac_ref watched_job(ac_ref at, int index) {
    ac_ref job = start_job(at, index);
    must_be(ac_monitor(job), 0);
    must_be(ac_send(job, "go"), 0);
    return job;
}

static struct ac_exit exit_of_job(ac_ref at, int index) {
    ac_ref job = watched_job(at, index);
    struct ac_exit exit;
    ac_value message = next_message();
    must(ac_exit_of(message, &exit));
    must(ac_ref_equal(exit.who, job));
    ac_drop(message);
    return exit;
}

// ---- ends ----

static ac_value see_all_ends(ac_value unused) {
    ac_ref at = find("server");
    struct ac_exit exit = exit_of_job(at, JOB_FINISHES);
    const char *text;
    int number;
    must_be(exit.how, AC_FINISHED);
    must_be(exit.reason, 0);
    must_be(ac_unpack(exit.value, &text, &number), 0);
    must(strcmp(text, "result") == 0 && number == 7);
    ac_drop(exit.value);
    exit = exit_of_job(at, JOB_FAILS);
    must_be(exit.how, AC_FAILED);
    must_be(exit.reason, -EDOM);
    must_be(ac_error_of(exit.value), -EDOM);
    must_be(ac_span_of(exit.value).bytes, strlen("out of range"));
    ac_drop(exit.value);
    exit = exit_of_job(at, JOB_CANCELLED);
    must_be(exit.how, AC_CANCELLED);
    must_be(exit.reason, -ECANCELED);
    must_be(ac_int_of(exit.value), 3);
    ac_ref gone = exit.who;
    must_be(ac_monitor(gone), 0); // one that has ended before
    exit = next_exit();
    must_be(exit.how, AC_LOST);
    must_be(exit.reason, -ESRCH);
    must(ac_ref_equal(exit.who, gone));
    must_be(ac_mailbox_count(), 0);
    return unused;
}

TEST(the_ends_are_told_apart) { with_server(see_all_ends); }

static ac_value see_odd_results(ac_value unused) {
    ac_ref at = find("server");
    struct ac_exit exit = exit_of_job(at, JOB_POINTS); // what cannot travel
    must_be(exit.how, AC_FAILED);
    must_be(exit.reason, -ENOTSUP);
    must_be(ac_error_of(exit.value), -ENOTSUP);
    ac_drop(exit.value);
    exit = exit_of_job(at, JOB_LARGE); // what needs several frames
    must_be(exit.how, AC_FINISHED);
    must_be(ac_span_of(exit.value).bytes, LARGE);
    ac_drop(exit.value);
    exit = exit_of_job(at, JOB_DEEP); // what fits by itself but not into a notice
    must_be(exit.how, AC_FINISHED);
    must_be(exit.reason, -EMSGSIZE);
    must(ac_is_nil(exit.value));
    return unused;
}

TEST(results_that_do_not_fit_do_not_keep_the_notice_from_coming) { with_server(see_odd_results); }

static ac_value hear_out(ac_value unused) {
    ac_ref at = find("server");
    (void)watched_job(at, JOB_TALKS);
    for (int i = 0; i < TALK; i++) {
        ac_value message = next_message();
        must_be(ac_kind_of(message), AC_INT);
        must_be(ac_int_of(message), i);
    }
    must_be(next_exit().how, AC_FINISHED);
    return unused;
}

TEST(a_notice_comes_after_the_last_message) { with_server(hear_out); }

static ac_value watch_often(ac_value unused) {
    enum { TIMES = 50 };
    ac_ref job = start_job(find("server"), JOB_FINISHES);
    for (int i = 0; i < TIMES; i++)
        must_be(ac_monitor(job), 0);
    must_be(ac_send(job, "go"), 0);
    for (int i = 0; i < TIMES; i++)
        must_be(next_exit().how, AC_FINISHED);
    must_be(ac_deliver(job, "late", ac_after(PATIENCE_S)), -ESRCH);
    must_be(ac_mailbox_count(), 0);
    return unused;
}

TEST(each_monitor_gives_one_notice) { with_server(watch_often); }

static ac_value refuse_all(ac_value unused) {
    ac_ref at = find("server");
    must_be(ac_monitor((ac_ref){.peer = at.peer ^ 1, .id = at.id}), -EHOSTUNREACH);
    must_be(ac_monitor((ac_ref){.peer = at.peer, .id = at.id | REF_CHANNEL}), -ENOTSUP);
    must_be(ac_monitor(ac_no_ref), -ENOTSUP);
    must_be(ac_mailbox_count(), 0);
    return unused;
}

TEST(what_cannot_be_watched_is_refused) { with_server(refuse_all); }

// ---- those who watch and end first ----

static ac_value watch_and_leave(ac_value of) {
    must_be(ac_monitor(ac_ref_of(of)), 0);
    return ac_nil;
}

static ac_value leave_first(ac_value unused) {
    ac_ref at = find("server");
    ac_ref job = start_job(at, JOB_FINISHES);
    ac_ref early = ac_spawn(watch_and_leave, job, .stack_bytes = TEST_STACK);
    must_be(ac_join(early, NULL, ac_after(PATIENCE_S)), 0);
    must_be(ac_monitor(job), 0);
    must_be(ac_send(job, "go"), 0);
    must_be(next_exit().how, AC_FINISHED);
    return unused;
}

TEST(one_who_watches_may_end_first) { with_server(leave_first); }

static ac_value count_watchers(ac_value to) {
    must_be(ac_send(ac_ref_of(to), (int)map_count(&remote_of(loop_here)->watched)), 0);
    return ac_nil;
}

static ac_value leave_nothing(ac_value unused) {
    ac_ref at = find("server");
    for (int i = 0; i < 100; i++)
        must_be(ac_join(ac_spawn(watch_and_leave, at, .joinable = true, .stack_bytes = TEST_STACK),
                        NULL, ac_after(PATIENCE_S)),
                0);
    must_be(map_count(&remote_of(loop_here)->monitors), 0);
    (void)start_job(at, JOB_FINISHES);
    ac_value count = next_message();
    must_be(ac_int_of(count), 0);
    return unused;
}

TEST(those_who_have_ended_leave_no_monitors_behind) {
    world_begin();
    server_jobs[JOB_FINISHES] = count_watchers;
    peer = child(serving);
    hear(peer);
    run(leave_nothing);
    child_end(peer);
    world_end();
}

// ---- calls ----

static ac_value answers(ac_value unused) {
    ac_value request, body;
    ac_ref to;
    (void)unused;
    while (ac_receive(&request, AC_FOREVER) == 0) {
        must_be(ac_unpack(request, &to, &body), 0);
        must_be(ac_send(to, body), 0);
        ac_drop(request);
    }
    return ac_nil;
}

static ac_value call_many(ac_value unused) {
    ac_ref at = find("server");
    for (int i = 0; i < IDLE_MONITORS_MAX + 10; i++) {
        ac_ref job = start_job(at, JOB_LIVES);
        for (int times = 0; times < 3; times++) {
            ac_value answer;
            must_be(ac_call(job, i, &answer, ac_after(PATIENCE_S)), 0);
            must_be(ac_int_of(answer), i);
        }
        must_be(map_count(&remote_of(loop_here)->monitors),
                i < IDLE_MONITORS_MAX ? i + 1 : IDLE_MONITORS_MAX);
    }
    (void)start_job(at, JOB_FINISHES);
    must_be(ac_int_of(next_message()), IDLE_MONITORS_MAX);
    return unused;
}

TEST(calls_share_monitors_of_which_few_stay) {
    world_begin();
    server_jobs[JOB_FINISHES] = count_watchers;
    server_jobs[JOB_LIVES] = answers;
    peer = child(serving);
    hear(peer);
    run(call_many);
    child_end(peer);
    world_end();
}

// Each of two who wait for one that ends is told, also when the first lets go of the second.
static ac_ref victim;

static ac_value ask_victim(ac_value first) {
    ac_value answer;
    must_be(ac_call(victim, 1, &answer, ac_after(PATIENCE_S)), -ESRCH);
    if (ac_ref_is(ac_ref_of(first)))
        (void)!ac_cancel(ac_ref_of(first));
    return ac_nil;
}

static ac_value end_the_called(ac_value unused) {
    ac_ref at = find("server");
    victim = start_job(at, JOB_TALKS);
    ac_ref one = ac_spawn(ask_victim, ac_no_ref, .joinable = true, .stack_bytes = TEST_STACK);
    ac_ref two = ac_spawn(ask_victim, one, .joinable = true, .stack_bytes = TEST_STACK);
    must_be(ac_join(one, NULL, ac_after(PATIENCE_S)), 0);
    must_be(ac_join(two, NULL, ac_after(PATIENCE_S)), 0);
    must_be(map_count(&remote_of(loop_here)->monitors), 0);
    return unused;
}

static ac_value ends_when_asked(ac_value unused) {
    (void)unused;
    ac_drop(wait_for_go());
    ac_drop(wait_for_go());
    return ac_nil;
}

TEST(all_who_call_one_that_ends_are_told) {
    world_begin();
    server_jobs[JOB_TALKS] = ends_when_asked;
    peer = child(serving);
    hear(peer);
    run(end_the_called);
    child_end(peer);
    world_end();
}

// ---- lost processes ----

static ac_value see_killed(ac_value unused) {
    ac_ref at = find("server");
    enum { TIMES = 10 };
    ac_ref job = start_job(at, JOB_LIVES);
    for (int i = 0; i < TIMES; i++)
        must_be(ac_monitor(i % 2 ? job : at), 0);
    must_be(ac_deliver(job, "are you there?", ac_after(PATIENCE_S)),
            1); // and the monitors before this
    child_kill(peer);
    for (int i = 0; i < TIMES; i++) {
        struct ac_exit exit = next_exit();
        must_be(exit.how, AC_LOST);
        must_be(exit.reason, -ECONNRESET);
        must(ac_ref_equal(exit.who, i % 2 ? job : at));
    }
    must_be(ac_sleep(0.2), 0); // nothing else may come
    must_be(ac_mailbox_count(), 0);
    must_be(ac_monitor(job), -EHOSTUNREACH);
    return unused;
}

TEST(a_killed_process_is_reported_once_for_each_monitor) {
    world_begin();
    set_jobs();
    peer = child(serving);
    hear(peer);
    run(see_killed);
    world_end();
}

static const struct ac_network_options hasty = {
    .size = sizeof hasty, .loopback_only = true, .heartbeat_s = 2};

static ac_value see_frozen(ac_value unused) {
    ac_ref at = find("server");
    must_be(ac_monitor(at), 0);
    must_be(ac_deliver(at, 0, ac_after(PATIENCE_S)), 1);
    child_freeze(peer);
    double begin = seconds();
    struct ac_exit exit = next_exit();
    double took = seconds() - begin;
    must_be(exit.how, AC_LOST);
    must_be(exit.reason, -ETIMEDOUT);
    must(took < 9); // the limit that is not asked for is 10 s
    child_thaw(peer);
    must_be(ac_sleep(0.3), 0);
    must_be(ac_mailbox_count(), 0);
    return unused;
}

TEST(a_frozen_process_is_reported_within_the_limit) {
    world_begin();
    set_jobs();
    peer = child_with(serving, &hasty);
    hear(peer);
    run_with(see_frozen, &hasty);
    child_end(peer);
    world_end();
}

// ---- many results at once ----

enum { JOBS = 400, RESULT = 60000 };

static ac_value returns_much(ac_value unused) {
    static const uint8_t much[RESULT];
    (void)unused;
    ac_drop(wait_for_go());
    return ac_of_bytes(much, sizeof much);
}

static ac_value watch_many(ac_value unused) {
    ac_ref employer = find("employer");
    must_be(ac_send(employer, ac_self()), 0);
    for (int i = 0; i < JOBS; i++) {
        ac_value job = next_message();
        must_be(ac_monitor(ac_ref_of(job)), 0);
        ac_drop(job);
    }
    must_be(ac_send(employer, "all are watched"), 0);
    for (int i = 0; i < JOBS; i++) {
        struct ac_exit exit;
        ac_value message = next_message();
        must(ac_exit_of(message, &exit));
        must_be(exit.how, AC_FINISHED);
        must_be(ac_span_of(exit.value).bytes, RESULT);
        ac_drop(exit.value);
        ac_drop(message);
    }
    must_be(ac_send(employer, "all have ended"), 0);
    return unused;
}

static ac_value employ_many(ac_value unused) {
    ac_ref jobs[JOBS];
    must_be(ac_register(ac_self(), "employer"), 0);
    ac_value watcher = next_message();
    for (int i = 0; i < JOBS; i++) {
        jobs[i] = ac_spawn(returns_much, ac_nil);
        must_be(ac_send(ac_ref_of(watcher), jobs[i]), 0);
    }
    ac_drop(watcher);
    ac_drop(next_message());
    child_freeze(peer);
    for (int i = 0; i < JOBS; i++)
        must_be(ac_send(jobs[i], "go"), 0);
    must_be(ac_sleep(0.5), 0); // more have ended than a link holds
    child_thaw(peer);
    ac_drop(next_message());
    return unused;
}

TEST(many_large_results_wait_for_a_slow_peer) {
    world_begin();
    peer = child(watch_many);
    run(employ_many);
    child_end(peer);
    world_end();
}

// The notices are of monitors that nobody asked for, which makes no difference to who computes.
static ac_value notify_a_busy_one(ac_value unused) {
    static uint8_t notice[50000];
    uint8_t *at = notice;
    ac_ref to = find("server");
    at += cbor_put_head(at, 0, 999);
    at += cbor_put_head(at, 0, AC_FINISHED);
    at += cbor_put_head(at, 0, 0);
    at += cbor_put_head(at, 2, sizeof notice - 8);
    size_t bytes = (size_t)(at - notice) + sizeof notice - 8;
    must(bytes <= sizeof notice);
    must_be(ac_send(to, ac_list("compute", ac_self(), 3.0)), 0);
    long count = 0;
    for (double begin = seconds(); seconds() - begin < 0.6;)
        if (throw_frame(to, FRAME_EXIT, notice, bytes) == 0)
            count++;
        else
            must_be(ac_sleep(0.001), 0);
    must(count > 0 && count < 100);
    ac_drop(next_message());
    for (; count < 200; count++)
        throw_frame_at_last(to, FRAME_EXIT, notice, bytes);
    must_be(ac_deliver(to, 0, ac_after(PATIENCE_S)), 1);
    return unused;
}

TEST(large_results_do_not_pile_up_at_one_that_computes) {
    world_begin();
    peer = child(serving);
    hear(peer);
    run(notify_a_busy_one);
    child_end(peer);
    world_end();
}

// ---- processes that end by themselves ----

// The job is a daemon: the end of the program cancels it, and its result still leaves the process.
static ac_value large_last_words(ac_value unused) {
    (void)unused;
    ac_value message;
    int err = ac_receive(&message, AC_FOREVER);
    must_be(err, -ECANCELED);
    return large_value();
}

static ac_value see_the_end(ac_value unused) {
    ac_ref at = find("server");
    ac_ref job = start_job(at, 0);
    must_be(ac_monitor(job), 0);
    must_be(ac_monitor(at), 0);
    must_be(ac_deliver(at, 0, ac_after(PATIENCE_S)), 1); // the monitors came before
    child_end(peer);
    bool large = false, small = false;
    for (int i = 0; i < 2; i++) {
        struct ac_exit exit;
        ac_value message = next_message();
        must(ac_exit_of(message, &exit));
        must_be(exit.how, AC_CANCELLED);
        large |= ac_ref_equal(exit.who, job) && ac_span_of(exit.value).bytes == LARGE;
        small |= ac_ref_equal(exit.who, at);
        ac_drop(exit.value);
        ac_drop(message);
    }
    must(large && small);
    must_be(ac_sleep(0.2), 0);
    must_be(ac_mailbox_count(), 0);
    return unused;
}

TEST(the_end_of_a_program_tells_how_its_coroutines_ended) {
    world_begin();
    server_jobs[0] = large_last_words;
    peer = child(serving);
    hear(peer);
    run(see_the_end);
    world_end();
}

// ---- joining and cancelling ----

static ac_value join_far_ones(ac_value unused) {
    ac_ref at = find("server");
    struct ac_exit exit;
    ac_ref job = start_job(at, JOB_FINISHES);
    must_be(ac_join(job, &exit, ac_after(0.02)), -ETIMEDOUT);
    must_be(ac_send(job, "go"), 0);
    must_be(ac_join(job, &exit, ac_after(PATIENCE_S)), 0);
    must(ac_ref_equal(exit.who, job) && exit.how == AC_FINISHED);
    must_be(ac_count(exit.value), 2);
    ac_drop(exit.value);
    must_be(ac_join(job, &exit, ac_after(PATIENCE_S)), -ESRCH);
    job = start_job(at, JOB_FAILS);
    must_be(ac_send(job, "go"), 0);
    must_be(ac_join(job, &exit, ac_after(PATIENCE_S)), 0);
    must(exit.how == AC_FAILED && exit.reason == -EDOM);
    ac_drop(exit.value);
    job = start_job(at, JOB_FINISHES);
    must_be(ac_send(job, "go"), 0);
    must_be(ac_join(job, NULL, ac_after(PATIENCE_S)), 0);
    must_be(ac_join((ac_ref){at.peer ^ 1, at.id}, NULL, AC_FOREVER), -EHOSTUNREACH);
    must_be(ac_mailbox_count(), 0);
    must_be(map_count(&remote_of(loop_here)->monitors), 0);
    return unused;
}

TEST(a_coroutine_elsewhere_is_joined) { with_server(join_far_ones); }

static ac_value joins_for_ever(ac_value of) {
    must_be(ac_join(ac_ref_of(of), NULL, AC_FOREVER), -ECANCELED);
    return ac_nil;
}

static ac_value kills_later(ac_value unused) {
    must_be(ac_sleep(0.05), 0);
    child_kill(peer);
    return unused;
}

static ac_value join_what_is_lost(ac_value unused) {
    ac_ref at = find("server"), job = start_job(at, JOB_FINISHES);
    ac_ref it = ac_spawn(joins_for_ever, job, .joinable = true, .stack_bytes = TEST_STACK);
    must_be(ac_sleep(0.01), 0);
    must_be(ac_cancel(it), 0);
    must_be(ac_join(it, NULL, ac_after(PATIENCE_S)), 0);
    must_be(map_count(&remote_of(loop_here)->monitors), 0);
    struct ac_exit exit;
    ac_spawn(kills_later, ac_nil, .stack_bytes = TEST_STACK);
    must_be(ac_join(job, &exit, ac_after(PATIENCE_S)), 0);
    must(ac_ref_equal(exit.who, job) && exit.how == AC_LOST && exit.reason == -ECONNRESET);
    must_be(ac_join(job, &exit, ac_after(PATIENCE_S)), -EHOSTUNREACH);
    must_be(ac_cancel(job), -EHOSTUNREACH);
    return unused;
}

TEST(the_join_of_what_is_lost_says_so) {
    world_begin();
    set_jobs();
    peer = child(serving);
    hear(peer);
    run(join_what_is_lost);
    world_end();
}

// Joins with so little time that the end, which is on its way, comes too late.
static ac_value joins_in_vain(ac_value of) {
    must_be(ac_join(ac_ref_of(of), NULL, ac_after(0.2)), -ETIMEDOUT);
    return ac_nil;
}

static ac_value begins_joinable(ac_value to) {
    ac_ref it = ac_spawn(finishes, ac_nil, .joinable = true, .daemon = true,
                         .stack_bytes = TEST_STACK);
    must_be(ac_send(ac_ref_of(to), it), 0);
    return ac_nil;
}

static ac_value give_up_a_join(ac_value unused) {
    (void)start_job(find("server"), JOB_LIVES);
    ac_value message = next_message();
    ac_ref job = ac_ref_of(message);
    ac_drop(message);
    ac_ref it = ac_spawn(joins_in_vain, job, .joinable = true, .stack_bytes = TEST_STACK);
    must_be(ac_sleep(0.02), 0);
    must_be(ac_send(job, "go"), 0);
    struct remote *remote = remote_of(loop_here);
    compute(0.5); // it ends there, and while nothing is taken in here, time is up
    must_be(ac_join(it, NULL, ac_after(PATIENCE_S)), 0);
    struct ac_exit exit;
    must_be(ac_join(job, &exit, ac_after(PATIENCE_S)), 0);
    must(ac_ref_equal(exit.who, job) && exit.how == AC_FINISHED);
    must_be(ac_count(exit.value), 2);
    ac_drop(exit.value);
    must_be(ac_join(job, &exit, ac_after(PATIENCE_S)), -ESRCH);
    must_be(map_count(&remote->monitors), 0);
    return unused;
}

TEST(an_end_that_came_too_late_is_kept_for_the_next_join) {
    world_begin();
    set_jobs();
    server_jobs[JOB_LIVES] = begins_joinable;
    peer = child(serving);
    hear(peer);
    run(give_up_a_join);
    child_end(peer);
    world_end();
}

// ---- without memory ----

// The notice of an end comes when there is none left, for itself or for its value: the peer is lost
// then, which needs none.
static bool lacks_value;

static ac_value be_told_without_memory(ac_value unused) {
    ac_ref at = find("server"), job = start_job(at, JOB_FINISHES);
    struct remote *remote = remote_of(loop_here);
    must_be(ac_monitor(job), 0);
    must_be(ac_monitor(at), 0);
    uint8_t frame[64];
    size_t count = cbor_put_head(frame, 0, remote->number - 1);
    count += cbor_put_head(frame + count, 0, AC_FINISHED);
    count += cbor_put_head(frame + count, 0, 0);
    frame[count++] = 0x81; // a list of one
    frame[count++] = 0xf6;
    remote_enter(remote);
    struct arrival *spare = remote->spare;
    uint32_t spares = remote->spares;
    remote->spare = NULL;
    remote->spares = 0;
    memory_fail_nth(lacks_value ? 1 : 2);
    incoming_frame(remote, at.peer, FRAME_EXIT, frame, count);
    must(memory_has_failed());
    memory_fail_nth(0);
    remote->spare = spare;
    remote->spares = spares;
    remote_leave(remote);
    for (int i = 0; i < 2; i++) {
        struct ac_exit exit = next_exit();
        must(exit.how == AC_LOST && exit.reason == -ENOTCONN && exit.who.peer == at.peer);
    }
    must_be(ac_mailbox_count(), 0);
    return unused;
}

TEST(a_notice_for_which_there_is_no_memory_becomes_a_loss) {
    with_server(be_told_without_memory);
    lacks_value = true;
    with_server(be_told_without_memory);
}

// ---- cancelling ----

static ac_value cancel_far_ones(ac_value unused) {
    ac_ref at = find("server"), job = start_job(at, JOB_LIVES);
    struct ac_exit exit;
    for (int i = 0; i < 5; i++)
        must_be(ac_send(job, i), 0);
    must_be(ac_monitor(job), 0);
    must_be(ac_cancel(job), 0);
    must_be(ac_cancel(job), 0);
    exit = next_exit();
    must(ac_ref_equal(exit.who, job) && exit.how == AC_CANCELLED);
    must_be(ac_cancel(job), 0); // of one that has ended nothing is known here
    must_be(ac_cancel((ac_ref){at.peer ^ 1, at.id}), -EHOSTUNREACH);
    must_be(ac_cancel((ac_ref){at.peer, ref_id(REF_CHANNEL, 0, 0, 1)}), -ENOTSUP);
    must_be(server_count(at), 0);
    return unused;
}

TEST(a_coroutine_elsewhere_is_cancelled) { with_server(cancel_far_ones); }

static ac_value cancel_in_vain(ac_value unused) {
    ac_ref at = find("server");
    must_be(ac_cancel(at), -EACCES);
    uint8_t frame[16];
    throw_frame_at_last(at, FRAME_CANCEL, frame, cbor_put_head(frame, 0, at.id));
    must_be(server_count(at), 0);
    return unused;
}

TEST(who_may_not_cancel_is_refused) {
    static const struct ac_rights_rule rules[] = {{.may = AC_MAY_ALL & ~AC_MAY_CANCEL}};
    const struct ac_network_options options = {
        .size = sizeof options, .loopback_only = true, .rights = rules, .rights_count = 1};
    world_begin();
    peer = child_with(serving, &options);
    hear(peer);
    run(cancel_in_vain);
    child_end(peer);
    world_end();
}

// The same between loops that are not the first: the child does to coroutines of the second loop of
// the test what that does to the child's.
static void join_and_cancel(ac_ref it) {
    struct ac_exit exit;
    must_be(ac_join(it, NULL, ac_after(0.02)), -ETIMEDOUT);
    must_be(ac_cancel(it), 0);
    must_be(ac_join(it, &exit, ac_after(PATIENCE_S)), 0);
    must(ac_ref_equal(exit.who, it) && exit.how == AC_CANCELLED);
    ac_drop(exit.value);
    must_be(ac_join(it, &exit, ac_after(PATIENCE_S)), -ESRCH);
}

static ac_value do_to_second(ac_value unused) {
    must(ac_ref_is(ac_spawn(server, ac_nil, .daemon = true, .stack_bytes = TEST_STACK)));
    ac_ref here = find("victim");
    join_and_cancel(here);
    must_be(ac_send(find("second"), "done"), 0);
    return until_the_end(unused);
}

static ac_value live_on_second(ac_value unused) {
    (void)unused;
    must_be(ac_loop(), 2);
    // Nobody has joined it before: its end is kept until the child has it.
    ac_ref here = ac_spawn(lives, ac_nil, .joinable = true, .daemon = true);
    must_be(ac_register(here, "victim"), 0);
    must_be(ac_register(ac_self(), "second"), 0);
    join_and_cancel(start_job(find("server"), JOB_LIVES));
    ac_drop(next_message()); // the child has done it
    must_be(ac_join(here, NULL, AC_FOREVER), -ESRCH);
    return ac_nil;
}

static ac_value spawn_on_second(ac_value unused) {
    must(ac_ref_is(ac_spawn(live_on_second, ac_nil, .loop = 2, .stack_bytes = TEST_STACK)));
    return unused;
}

TEST(all_loops_join_and_cancel_what_is_elsewhere) {
    world_begin();
    set_jobs();
    peer = child(do_to_second);
    must_be(ac_network_start_with(&near), 0);
    must(ac_ref_is(ac_spawn(spawn_on_second, ac_nil)));
    must_be(ac_run(.loops = 3), 0);
    child_end(peer);
    world_end();
}

// ---- who stands in for a peer on another loop ----

// Sends to all that stand in here, as who guesses their references could.
static ac_value disturb_stand_ins(ac_value unused) {
    struct remote *remote = remote_of(loop_here);
    struct near_monitor *it;
    must_be(ac_register(ac_self(), "disturbs"), 0);
    ac_drop(next_message());
    int count = 0;
    for (uint64_t cursor = 0; (it = map_next(&remote->watched, &cursor, NULL, NULL));)
        if (it->stand_in) {
            must_be(ac_send(coro_ref(it->stand_in), "no notice"), 0);
            count++;
        }
    must_be(count, 1);
    must_be(ac_sleep(0.01), 0);
    must_be(ac_send(find("victim"), "go"), 0);
    return unused;
}

static ac_value finishes_on_second(ac_value unused) {
    (void)unused;
    must_be(ac_register(ac_self(), "victim"), 0);
    ac_drop(next_message());
    return ac_of_int(7);
}

static ac_value watch_second(ac_value unused) {
    ac_ref watched = find("victim"), disturbs = find("disturbs");
    must_be(ac_monitor(watched), 0);
    must_be(ac_send(disturbs, "now"), 0); // behind the MONITOR
    struct ac_exit exit = next_exit();
    must(ac_ref_equal(exit.who, watched) && exit.how == AC_FINISHED);
    return until_the_end(unused);
}

static ac_value be_watched_on_second(ac_value unused) {
    must(ac_ref_is(ac_spawn(finishes_on_second, ac_nil, .loop = 2, .stack_bytes = TEST_STACK)));
    return disturb_stand_ins(unused);
}

TEST(who_stands_in_for_a_peer_waits_for_the_notice_alone) {
    world_begin();
    peer = child(watch_second);
    must_be(ac_network_start_with(&near), 0);
    must(ac_ref_is(ac_spawn(be_watched_on_second, ac_nil, .stack_bytes = TEST_STACK)));
    must_be(ac_run(.loops = 2), 0);
    child_end(peer);
    world_end();
}
