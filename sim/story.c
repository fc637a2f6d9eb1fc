// SPDX-License-Identifier: MIT
// The program that every simulated process runs, written as a user writes his, and the play in
// which they meet.
//
// Each process has an inbox, which is registered under a name; talkers, which locate inboxes of
// others and send them numbered messages, small and large, by ac_send and ac_deliver; a channel
// with a publisher; and subscribers to channels of others. Talkers and subscribers end now and then
// and others begin. What they have one another do is in favours.c, files are in files.c.
//
// The play: processes are started; faults happen; all is mended; after the time in which links must
// be usable again, everybody delivers a message to everybody he has to do with; all fall silent;
// the oracle looks at what is left; the processes are asked to end, and must leave nothing.
#include "story.h"

#include <stdio.h>
#include <stdlib.h>

#include "remote/remote.h"

enum {
    TALKERS = 3,
    CROWD = 30,
    SUBSCRIBERS = 1,
    TALK = 1,
    PUBLISHED = 2,
    LARGE_BYTES = 300 * 1024,
    ALONE = 2, // a place that has a computer of its own
    BURST = 50,
    BURST_BYTES = 50 * 1024
};

struct story story;

static const struct key_ring keys = {{"of all simulated programs, 32 by"}, 1};

void story_name(char text[32], const char *what, uint32_t place) {
    snprintf(text, 32, "%s-%u", what, place);
}

static bool is_over(const struct node *node) {
    return node->stopping || story.phase == PHASE_QUIET;
}

// A place with which this one has to do.
uint32_t story_other_place(const struct node *node) {
    uint32_t way = 1 + (uint32_t)ac_random_int(0, story.neighbours - 1);
    return (node->place + way) % story.places;
}

uint64_t story_number_at(ac_value list, size_t i) {
    ac_value item = ac_at(list, i);
    uint64_t number = (uint64_t)ac_int_of(item);
    ac_drop(item);
    return number;
}

struct node *story_find(struct node *node, uint32_t place, const char *what, size_t which,
                        ac_time deadline, ac_ref *found) {
    char name[32];
    story_name(name, what, place);
    return ac_locate(name, found, deadline) == 0 ? oracle_located(node, place, *found, which)
                                                 : NULL;
}

// ---- the inbox ----

static void take_letter(struct node *node, ac_value message) {
    struct ac_exit exit;
    if (ac_exit_of(message, &exit)) {
        oracle_notice_of_talker(node, &exit);
        ac_drop(exit.value);
        return;
    }
    uint64_t talker = story_number_at(message, 1), number = story_number_at(message, 2);
    sim_check(story_number_at(message, 0) == TALK && ac_count(message) == 5,
              "node %u got a message that nobody has sent", node->number);
    ac_value from = ac_at(message, 3);
    if (oracle_received(node, talker, number) && ac_monitor(ac_ref_of(from)) == 0)
        oracle_watches_talker(node, talker);
    ac_drop(from);
}

static ac_value keep_inbox(ac_value argument) {
    struct node *node = ac_pointer_of(argument);
    char name[32];
    ac_value message;
    story_name(name, "inbox", node->place);
    node->inbox = ac_self();
    sim_check(ac_register(ac_self(), name) == 0, "a name is not free");
    int err;
    while ((err = ac_receive(&message, AC_FOREVER)) == 0) {
        take_letter(node, message);
        ac_drop(message);
    }
    sim_check(node->process->stop, "the inbox of node %u has ended: %s", node->number,
              ac_strerror(err));
    return ac_nil;
}

// Outlives the talkers: is told also of what befalls messages of those that have ended.
static ac_value keep_watch(ac_value argument) {
    struct node *node = ac_pointer_of(argument);
    ac_value message;
    while (ac_receive(&message, AC_FOREVER) == 0) {
        struct ac_exit exit;
        if (ac_exit_of(message, &exit)) {
            oracle_notice_of_node(node, &exit);
            ac_drop(exit.value);
        } else {
            struct node *of = oracle_located(node, UINT32_MAX, ac_ref_of(message), 0);
            oracle_keeps_watch(node, of, ac_monitor(ac_ref_of(message)));
        }
        ac_drop(message);
    }
    return ac_nil;
}

static ac_value watch_peers(ac_value argument) {
    struct node *node = ac_pointer_of(argument);
    ac_value message;
    sim_check(ac_peers_watch() == 0, "node %u cannot watch its peers", node->number);
    while (ac_receive(&message, AC_FOREVER) == 0) {
        struct ac_peer_change change;
        sim_check(ac_peer_change_of(message, &change), "who watches the peers got a message");
        oracle_peer_change(node, &change);
        ac_drop(message);
    }
    return ac_nil;
}

// ---- talkers ----

static void hear_notices(struct talker *talker, double seconds) {
    ac_value message;
    ac_time until = ac_after(seconds);
    while (ac_receive(&message, until) == 0) {
        struct ac_exit exit;
        sim_check(ac_exit_of(message, &exit), "a talker got a message");
        (void)oracle_notice_of_inbox(talker, &exit);
        ac_drop(exit.value);
        ac_drop(message);
    }
}

static size_t draw_size(void) {
    int64_t sort = ac_random_int(0, 99);
    if (sort < 3)
        return (size_t)ac_random_int(0, LARGE_BYTES);
    if (sort < 20 || story.weather & WEATHER_FLOOD)
        return (size_t)ac_random_int(0, 32 * 1024);
    return (size_t)ac_random_int(0, 100);
}

static enum fate fate_of_delivery(int err) {
    if (err > 0)
        return FATE_DELIVERED;
    return err == 0 || err == -ECONNRESET || err == -ECANCELED ? FATE_UNKNOWN : FATE_FAILED;
}

// Sends one message. False if it did not go.
static bool say_one(struct node *node, struct talker *talker, struct node *to, ac_ref inbox,
                    bool ping) {
    static uint8_t padding[LARGE_BYTES];
    uint64_t number = oracle_sends(talker, to);
    ac_value message = ac_list((int64_t)TALK, (int64_t)oracle_id(talker), (int64_t)number,
                               ac_self(), ac_of_bytes(padding, ping ? 0 : draw_size()));
    if (ping || ac_random_int(0, 9) == 0) {
        int err = ac_deliver(inbox, message, ac_after(ping ? 20 : ac_random_real(0, 5)));
        oracle_sent(talker, to, number, fate_of_delivery(err));
        return err > 0;
    }
    struct waiting waiting;
    oracle_waits(node, &waiting, to);
    int err = ac_send(inbox, message);
    oracle_waited(node, &waiting, err == 0);
    oracle_sent(talker, to, number, err == 0 ? FATE_SENT : FATE_FAILED);
    return err == 0;
}

// Finds the inbox of a place and watches it.
static struct node *find_inbox(struct node *node, struct talker *talker, uint32_t place,
                               double seconds, ac_ref *inbox) {
    struct node *to = story_find(node, place, "inbox", SIM_INBOX, ac_after(seconds), inbox);
    if (!to)
        return NULL;
    if (!oracle_is_watching(talker, to) && ac_monitor(*inbox) == 0)
        oracle_watches_inbox(talker, to);
    if (oracle_is_to_watch(node, to))
        (void)ac_send(node->watchman, *inbox);
    return oracle_is_watching(talker, to) ? to : NULL;
}

static void talk_to(struct node *node, struct talker *talker, uint32_t place) {
    ac_ref inbox;
    struct node *to = find_inbox(node, talker, place, ac_random_real(0.1, 3), &inbox);
    int64_t count = ac_random_int(1, story.weather & WEATHER_FLOOD ? 200 : 30);
    while (to && count-- > 0 && oracle_is_watching(talker, to)) {
        if (!say_one(node, talker, to, inbox, false))
            return;
        if (ac_random_int(0, 3) == 0)
            hear_notices(talker, story.weather & WEATHER_FLOOD ? 0 : ac_random_real(0, 0.02));
    }
}

static ac_value talk(ac_value argument) {
    struct node *node = ac_pointer_of(argument);
    struct talker *talker = oracle_talker(node);
    oracle_is(talker, ac_self());
    for (int64_t turns = ac_random_int(1, 15); turns > 0 && story.phase == PHASE_TALK; turns--) {
        talk_to(node, talker, story_other_place(node));
        hear_notices(talker, ac_random_real(0, story.places > CROWD ? 4 : 0.2));
        if (ac_yield() < 0)
            break;
    }
    oracle_ends(talker);
    return ac_of_int((int64_t)oracle_id(talker));
}

// After the mending: everybody reaches everybody he has to do with.
static ac_value ping_all(ac_value argument) {
    struct node *node = ac_pointer_of(argument);
    struct talker *talker = oracle_talker(node);
    oracle_is(talker, ac_self());
    for (uint32_t way = 1; way <= story.neighbours; way++) {
        ac_ref inbox;
        uint32_t place = (node->place + way) % story.places;
        struct node *to = find_inbox(node, talker, place, 20, &inbox);
        sim_check(to, "node %u does not find place %u though all is well", node->number, place);
        sim_check(to == story.at[place], "node %u finds the node that was at place %u before",
                  node->number, place);
        sim_check(say_one(node, talker, to, inbox, true),
                  "node %u cannot deliver to node %u though all is well", node->number, to->number);
        node->pings_due--;
    }
    hear_notices(talker, 1);
    oracle_ends(talker);
    return ac_nil;
}

// At once, before any peer is known: they are asked as they appear.
static ac_value find_early(ac_value argument) {
    struct node *node = ac_pointer_of(argument);
    ac_ref inbox;
    uint32_t place = story_other_place(node);
    if (story_find(node, place, "inbox", SIM_INBOX, AC_FOREVER, &inbox))
        node->found_early = true;
    return ac_nil;
}

// A name that is given while somebody waits for it.
static ac_value give_late(ac_value argument) {
    struct node *node = ac_pointer_of(argument);
    char name[32];
    story_name(name, "late", node->place);
    if (ac_sleep(ac_random_real(2, 4)) == 0)
        sim_check(ac_register(node->service, name) == 0, "a name is not free");
    return ac_nil;
}

static ac_value find_late(ac_value argument) {
    struct node *node = ac_pointer_of(argument);
    uint32_t place = story_other_place(node);
    ac_ref found;
    sim_check(story_find(node, place, "late", SIM_SERVICE, ac_after(20), &found),
              "node %u does not find a name that place %u has given meanwhile", node->number,
              place);
    node->pings_due--;
    return ac_nil;
}

static long everybody(const struct node *node) {
    long count = 0;
    for (uint32_t place = 0; place < story.places; place++)
        count += net_hears(node->process->host, story_host(place));
    return count;
}

static ac_value ping_favours(ac_value argument) {
    struct node *node = ac_pointer_of(argument);
    favours_ping(node, story_other_place(node));
    files_ping(node, story_other_place(node));
    ac_time until = ac_after(20);
    long count = 0;
    while (count != everybody(node) && ac_now() < until && ac_sleep(0.2) == 0)
        count = favours_count_all(node, until);
    sim_check(count == everybody(node), "node %u locates %ld of the %ld that are everybody",
              node->number, count, everybody(node));
    node->pings_due--;
    return ac_nil;
}

static void ping(struct node *node) {
    static const ac_function all[] = {ping_all, give_late, find_late, ping_favours};
    for (size_t i = 0; i < countof(all); i++)
        (void)ac_spawn_with(
            all[i], ac_of_pointer(node),
            &(struct ac_spawn_options){.size = sizeof(struct ac_spawn_options), .daemon = true});
}

// ---- channels ----

static void publish_one(struct node *node, size_t bytes) {
    static uint8_t padding[BURST_BYTES];
    int err = ac_send(node->channel,
                      ac_list((int64_t)PUBLISHED, (int64_t)node->number, (int64_t)++node->published,
                              ac_of_bytes(padding, bytes)));
    sim_check(err == 0, "node %u cannot publish: %s", node->number, ac_strerror(err));
}

// No more is on its way to a peer than a window, but for small frames that it does not hold back.
static void check_windows(const struct node *node) {
    enum { PEERS = 16, WINDOW = 1 << 20, SMALL = 1 << 18 };
    struct ac_peer_info peers[PEERS];
    long count = ac_peers(peers, PEERS);
    for (long i = 0; i < count && i < PEERS; i++)
        sim_check(peers[i].queued_bytes <= WINDOW + SMALL, "node %u has %zu bytes on their way",
                  node->number, (size_t)peers[i].queued_bytes);
}

// Now and then more at once than fits into a window.
static ac_value publish(ac_value argument) {
    struct node *node = ac_pointer_of(argument);
    char name[32];
    node->channel = ac_channel_open("news");
    node->publisher = ac_self();
    story_name(name, "publisher", node->place);
    sim_check(ac_register(ac_self(), name) == 0, "a name is not free");
    story_name(name, "channel", node->place);
    sim_check(ac_register(node->channel, name) == 0, "a name is not free");
    ac_time next_burst = ac_after(ac_random_real(1, 10));
    while (ac_sleep(ac_random_real(0.01, 0.3)) == 0) {
        if (story.phase == PHASE_QUIET)
            continue;
        bool burst = story.bursts && story.phase == PHASE_TALK && ac_now() >= next_burst;
        for (int i = 0; i < (burst ? BURST : 1); i++)
            publish_one(node, burst ? (size_t)ac_random_int(0, BURST_BYTES) : 0);
        if (burst) {
            check_windows(node);
            next_burst = ac_after(ac_random_real(5, 15));
        }
    }
    (void)ac_channel_close(node->channel);
    return ac_nil;
}

// Reads the news until the publisher is lost or it has had enough.
static void read_news(struct node *node, struct node *of, int64_t count) {
    uint64_t last = 0;
    ac_value message;
    while (!is_over(node) || last < of->published) {
        int err = ac_receive(&message, ac_after(1));
        if (err == -ETIMEDOUT && !is_over(node))
            continue;
        sim_check(err != -ETIMEDOUT || last == 0 || !process_lives(of->process) || of->stopping ||
                      node->stopping,
                  "node %u has not got the last news of node %u", node->number, of->number);
        if (err < 0)
            return;
        struct ac_exit exit;
        bool ended = ac_exit_of(message, &exit);
        if (ended && exit.how == AC_LOST)
            oracle_lost(node, of, exit.reason);
        uint64_t number = ended ? 0 : story_number_at(message, 2);
        sim_note("news", node->number, of->number, number);
        ac_drop(ended ? exit.value : ac_nil);
        ac_drop(message);
        if (ended)
            return;
        sim_check(last == 0 || number == last + 1,
                  "node %u got news %llu of node %u after news %llu", node->number,
                  (unsigned long long)number, of->number, (unsigned long long)last);
        last = number;
        if (count-- == 0)
            return;
    }
}

static ac_value subscribe(ac_value argument) {
    struct node *node = ac_pointer_of(argument);
    uint32_t place = story_other_place(node);
    ac_ref publisher, channel;
    struct node *of = story_find(node, place, "publisher", SIM_PUBLISHER, ac_after(2), &publisher);
    if (of && ac_monitor(publisher) == 0 &&
        story_find(node, place, "channel", SIM_CHANNEL, ac_after(2), &channel) == of &&
        ac_channel_subscribe(channel, ac_self()) == 0)
        read_news(node, of, ac_random_int(1, 100));
    (void)ac_sleep(0.05);
    node->readers--;
    return ac_nil;
}

// ---- a process ----

static void spawn_missing(struct node *node) {
    if (story.phase != PHASE_TALK)
        return;
    uint32_t talkers = story.places > CROWD ? 1 : TALKERS;
    for (; node->speakers < talkers; (void)ac_sleep(0.001))
        (void)ac_spawn(talk, ac_of_pointer(node), .daemon = true);
    for (; node->readers < SUBSCRIBERS; node->readers++)
        (void)ac_spawn(subscribe, ac_of_pointer(node), .daemon = true);
    favours_spawn_missing(node);
}

static ac_value live(ac_value argument) {
    struct node *node = ac_pointer_of(argument);
    bool pinged = false;
    while (!node->process->stop) {
        spawn_missing(node);
        if (story.phase == PHASE_PING && !pinged) {
            pinged = true;
            ping(node);
        }
        (void)ac_sleep(0.05);
    }
    files_leave(node);
    return ac_nil;
}

void story_start_network(struct node *node) {
    int err = 0;
    struct loop *loop = loop_need(&err);
    const struct ac_rights_rule rule = {.from = outsider_address(), .may = AC_MAY_LOCATE};
    struct ac_network_options options = {.size = sizeof options,
                                         .name = "simulated",
                                         .discovery_port = SIM_PORT,
                                         .heartbeat_s = story.heartbeat_s,
                                         .grace_s = story.grace_s,
                                         .rights = &rule,
                                         .rights_count = 1};
    err = loop ? remote_start(loop, &options, &keys) : err;
    sim_check(err == 0, "node %u cannot start its network: %s", node->number, ac_network_error());
}

static void run_node(struct process *process) {
    struct node *node = process->of;
    story_start_network(node);
    sim_check(ac_network_address(node->address) == 0, "node %u is nowhere", node->number);
    (void)ac_spawn(keep_inbox, ac_of_pointer(node), .daemon = true);
    node->watchman = ac_spawn(keep_watch, ac_of_pointer(node), .daemon = true);
    (void)ac_spawn(publish, ac_of_pointer(node), .daemon = true);
    (void)ac_spawn(find_early, ac_of_pointer(node), .daemon = true);
    (void)ac_spawn(watch_peers, ac_of_pointer(node), .daemon = true);
    favours_start(node);
    files_start(node);
    (void)ac_spawn(live, ac_of_pointer(node));
    int err = ac_run();
    sim_check(err == 0, "node %u ended with %s", node->number, ac_strerror(err));
}

uint32_t story_host(uint32_t place) { return 1 + place * 2 / 3; } // some share a computer

struct node *story_start(uint32_t place) {
    struct node *node = calloc(1, sizeof *node);
    story.nodes = realloc(story.nodes, (story.node_count + 1) * sizeof(struct node *));
    if (!node || !story.nodes)
        abort();
    node->number = story.node_count;
    node->place = place;
    node->pings_due = story.neighbours + 2; // and favours, and a late name
    story.nodes[story.node_count++] = node;
    story.at[place] = node;
    node->process = process_start(story_host(place), run_node, node);
    return node;
}

// ---- the play ----

static void begin(void) {
    oracle_begin();
    favours_begin();
    files_begin();
    story.phase = PHASE_TALK;
    story.overtaken_most = 0;
    story.nodes = NULL;
    story.node_count = 0;
    story.at = calloc(story.places, sizeof(struct node *));
    if (!story.at)
        abort();
    story.fault_at = sim.now;
}

static ac_time after(double seconds) { return sim.now + (ac_time)(seconds * 1e9); }

static void start_place(uint64_t place, uint64_t unused) {
    (void)unused;
    (void)story_start((uint32_t)place);
}

// With each other process a window may be under way each way. (Measured: 1.5 MiB for each other
// one, 2 where large messages come without a pause.)
static size_t check_memory(void) {
    size_t highest = 0;
    uint32_t others = 2 * story.neighbours;
    if (others > story.places - 1)
        others = story.places - 1;
    size_t most = ((size_t)3 << 19) + others * ((size_t)9 << 18) +
                  story.places * ((size_t)1 << 16) + files_memory() +
                  (story.bursts ? 5 * BURST * BURST_BYTES / 2 : 0);
    for (uint32_t i = 0; i < story.node_count; i++) {
        const struct process *process = story.nodes[i]->process;
        sim_check(process->bytes_most <= most, "node %u had %zu bytes of memory", i,
                  process->bytes_most);
        highest = process->bytes_most > highest ? process->bytes_most : highest;
    }
    return highest;
}

// The only process of a computer ends, which takes no connection any more: who has heard its
// goodbye knows that it is gone; else nobody could tell.
static void end_one_in_silence(struct node *node) {
    net_host_down(node->process->host);
    node->stopping = node->process->stop = true;
    for (ac_time until = after(10); process_lives(node->process) && sim.now < until;)
        sim_until(sim.now + 10 * SIM_MS);
    sim_until(after(1));
    sim_check(!process_lives(node->process), "node %u does not end", node->number);
    for (uint32_t place = 0; place < story.places; place++)
        sim_check(place == node->place || !oracle_has_in_view(story.at[place], node),
                  "node %u was not told that node %u has ended, which said so", place,
                  node->number);
}

static void end_all(void) {
    if (story.places > ALONE)
        end_one_in_silence(story.at[ALONE]);
    for (uint32_t place = 0; place < story.places; place++) {
        story.at[place]->stopping = true;
        story.at[place]->process->stop = true;
        sim_until(sim.now + (ac_time)sim_below(200 * (uint64_t)SIM_MS));
    }
    story.outsider->process->stop = true;
    ac_time until = after(20);
    bool any = true;
    while (any && sim.now < until) {
        any = process_lives(story.outsider->process);
        sim_until(sim.now + 100 * SIM_MS);
        for (uint32_t place = 0; place < story.places; place++)
            any |= process_lives(story.at[place]->process);
    }
    for (uint32_t place = 0; place < story.places; place++)
        sim_check(!process_lives(story.at[place]->process), "node %u does not end",
                  story.at[place]->number);
    sim_check(!process_lives(story.outsider->process), "the outsider does not end");
    sim_check(net_sockets_open() == 0, "%u sockets are left open", net_sockets_open());
}

static void check_pings(const struct node *node) {
    sim_check(node->pings_due == 0, "node %u has not reached %u others", node->number,
              node->pings_due);
    sim_check(!node->waiting, "a message of node %u waits for ever", node->number);
    sim_check(node->found_early, "node %u has not found whom it sought from its beginning",
              node->number);
}

void story_play(void) {
    begin();
    if (story.places > STORY_MESH_MAX)
        net_set_range(story_host(story.places - 1), STORY_RANGE);
    for (uint32_t place = 0; place < story.places; place++)
        start_place(place, 0);
    story.outsider = outsider_start();
    fault_begin(after(story.seconds));
    sim_until(after(story.seconds));
    fault_mend();
    sim_until(after(story.heartbeat_s + story.grace_s + 5));
    story.phase = PHASE_PING;
    sim_until(after(25));
    for (uint32_t place = 0; place < story.places; place++)
        check_pings(story.at[place]);
    sim_check(story.outsider->pings_due == 0, "the outsider has not reached %u others",
              story.outsider->pings_due);
    story.phase = PHASE_QUIET;
    sim_until(after(5 + story.heartbeat_s)); // nothing keeps the links but heartbeats
    oracle_check_all();
    favours_check_all();
    files_check_all();
    end_all();
    story.bytes_most = check_memory();
    oracle_end();
    favours_end();
    files_end();
    for (uint32_t i = 0; i < story.node_count; i++) {
        free(story.nodes[i]->views);
        free(story.nodes[i]);
    }
    free(story.nodes);
    free(story.at);
}
