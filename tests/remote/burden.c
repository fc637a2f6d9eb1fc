// SPDX-License-Identifier: MIT
// What a peer may have under way here, and what becomes of it when that is too much: its monitors,
// the notices that wait for it, its cancellations (src/remote/watch.c).
#include "remote/remote_private.h"
#include "world.h"

enum { LARGE = 3 << 20 }; // more than goes into one frame

enum { JOB_LIVES, JOB_EXCEEDS, JOB_EXCEEDS_BYTES };

static struct child peer;

static ac_value large_value(void) {
    uint8_t *bytes = calloc(1, LARGE);
    ac_value it = ac_of_bytes(bytes, LARGE);
    free(bytes);
    return it;
}

static void wait_for_go(void) {
    ac_value message = ac_nil;
    (void)!ac_receive(&message, AC_FOREVER);
    ac_drop(message);
}

static ac_value lives(ac_value unused) {
    (void)unused;
    ac_value message;
    while (ac_receive(&message, AC_FOREVER) == 0)
        ac_drop(message);
    return ac_nil;
}

// Its end is one notice too many for one who takes none.
static ac_value exceeds(ac_value to) {
    wait_for_go();
    for (int i = 0; i < NOTICES_MAX; i++)
        must(burden_add(remote_of(loop_here), ac_ref_of(to).peer, BURDEN_NOTICES));
    return large_value();
}

// Its end is a notice too large for one who has taken none so far.
static ac_value exceeds_bytes(ac_value to) {
    wait_for_go();
    must(burden_add_notice(remote_of(loop_here), ac_ref_of(to).peer, NOTICES_BYTES_MAX));
    return large_value();
}

static void set_jobs(void) {
    static const ac_function jobs[] = {lives, exceeds, exceeds_bytes};
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

static void watch_job(ac_ref at, int index) {
    ac_ref job = start_job(at, index);
    must_be(ac_monitor(job), 0);
    must_be(ac_send(job, "go"), 0);
}

static ac_value watch_too_often(ac_value unused) {
    ac_ref at = find("server");
    for (uint64_t i = 0; i < WATCHES_MAX; i++) {
        uint8_t frame[32];
        size_t count = cbor_put_head(frame, 0, ((uint64_t)1 << 40) + i);
        count += cbor_put_head(frame + count, 0, at.id);
        frame[count++] = 0xf4;
        throw_frame_at_last(at, FRAME_MONITOR, frame, count);
    }
    must_be(ac_monitor(at), 0);
    struct ac_exit exit = next_exit();
    must(exit.how == AC_LOST && exit.reason == -ENOBUFS);
    must_be(ac_join(at, NULL, ac_after(PATIENCE_S)), -ENOBUFS);
    // One less, and there is room again.
    uint8_t frame[32];
    size_t count = cbor_put_head(frame, 0, (uint64_t)1 << 40);
    frame[count++] = 0xf4;
    throw_frame_at_last(at, FRAME_UNWATCH, frame, count);
    must_be(ac_monitor(at), 0);
    must_be(server_count(at), 0);
    must_be(ac_mailbox_count(), 0);
    return unused;
}

TEST(a_peer_has_so_many_monitors_and_no_more, .seconds_max = 120) { with_server(watch_too_often); }

static ac_value watch_one_too_many(ac_value unused) {
    watch_job(find("server"), JOB_EXCEEDS);
    struct ac_exit exit = next_exit();
    must(exit.how == AC_LOST && exit.reason == -ENOTCONN);
    return unused;
}

static ac_value watch_one_too_large(ac_value unused) {
    watch_job(find("server"), JOB_EXCEEDS_BYTES);
    struct ac_exit exit = next_exit();
    must(exit.how == AC_LOST && exit.reason == -ENOTCONN);
    return unused;
}

TEST(who_takes_no_large_notices_is_lost_in_the_end) { with_server(watch_one_too_large); }

TEST(who_takes_no_notices_is_lost_in_the_end) { with_server(watch_one_too_many); }

// As if the peer asked for all of it before that loop has run again.
static ac_value be_asked_to_cancel_many(ac_value unused) {
    struct remote *remote = remote_of(loop_here);
    ac_ref at = find("server"), job = ac_spawn(lives, ac_nil, .loop = 2, .joinable = true);
    const struct arrival arrival = {.peer = at.peer, .to = job};
    for (int i = 0; i < 2 * ERRANDS_MAX; i++)
        cancel_asked(remote, &arrival);
    must_be(server_count(at), 0); // it is there still
    must_be(ac_join(job, NULL, ac_after(PATIENCE_S)), 0);
    // But for ever it may not go on.
    must_be(ac_monitor(at), 0);
    for (int i = 0; i <= CANCELS_MAX; i++)
        cancel_asked(remote, &arrival);
    struct ac_exit exit = next_exit();
    must(exit.how == AC_LOST && ac_ref_equal(exit.who, at));
    return unused;
}

TEST(who_cancels_many_at_once_keeps_the_link) {
    world_begin();
    set_jobs();
    peer = child(serving);
    must_be(ac_network_start_with(&near), 0);
    must(ac_ref_is(ac_spawn(be_asked_to_cancel_many, ac_nil, .stack_bytes = TEST_STACK)));
    must_be(ac_run(.loops = 2), 0);
    child_end(peer);
    world_end();
}
