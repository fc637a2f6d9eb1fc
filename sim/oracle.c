// SPDX-License-Identifier: MIT
// The oracle: sees all processes at once and knows what may happen.
//
// A talker sends numbered messages to the inbox of a node: a *pair*. The numbers that the node gets
// only grow. A number that is left out was refused, or is of unknown fate, or one of the two sides
// has been told that the other is lost. What was said to be delivered is left out never, what was
// said to be refused does not come. Each side watches the other (ac_monitor): each watch gets one
// notice, behind all messages of the one whose end it tells; that a process is gone is said of no
// living one; and nobody is lost without a cause. Who watches the peers is told of each in turn
// that it has come and that it has gone, and in the end takes nobody for present who has ended.
#include "story.h"

#include <stdlib.h>

struct pair {
    uint8_t *fates; // by number: enum fate, and RECEIVED
    uint64_t count, capacity;
    uint64_t next;       // the lowest number that may come
    bool watched;        // the node watches the talker
    bool watches;        // the talker watches the inbox
    bool told;           // the node has been told that the talker is lost, and heard nothing since
    bool unexplained;    // something was left out before the node watched
    bool over;           // the node has been told of the talker's end
    bool gone;           // or that its process is gone
    unsigned lost_there; // how often the node has been told of a loss
    unsigned lost_here;  // and the talker
};

enum { RECEIVED = 0x80, OVERTAKEN_MAX = 200 };

struct talker {
    uint64_t id;
    struct node *node;
    ac_ref self;
    bool ended;
    ac_time ended_at;
    struct pair **pairs; // by number of the node
    uint32_t pair_count;
};

// What the watchman of a node knows of another node.
struct view {
    bool asked;    // to watch it
    bool watched;  // it does
    unsigned lost; // how often it was told of a loss
    bool present;  // as the one who watches peers was told
};

static struct {
    struct talker **talkers;
    uint64_t count;
    uint64_t received;
} oracle;

void oracle_begin(void) { memset(&oracle, 0, sizeof oracle); }

void oracle_end(void) {
    for (uint64_t i = 0; i < oracle.count; i++) {
        struct talker *talker = oracle.talkers[i];
        for (uint32_t n = 0; n < talker->pair_count; n++) {
            if (talker->pairs[n])
                free(talker->pairs[n]->fates);
            free(talker->pairs[n]);
        }
        free(talker->pairs);
        free(talker);
    }
    free(oracle.talkers);
}

uint64_t oracle_count(void) { return oracle.received; }

static void *need(void *it) {
    if (!it)
        abort();
    return it;
}

// ---- talkers and pairs ----

struct talker *oracle_talker(struct node *node) {
    struct talker *talker = need(calloc(1, sizeof *talker));
    oracle.talkers = need(realloc(oracle.talkers, (oracle.count + 1) * sizeof(struct talker *)));
    oracle.talkers[oracle.count++] = talker;
    talker->id = oracle.count;
    talker->node = node;
    node->speakers++;
    return talker;
}

uint64_t oracle_id(const struct talker *talker) { return talker->id; }
void oracle_is(struct talker *talker, ac_ref self) { talker->self = self; }

void oracle_ends(struct talker *talker) {
    talker->ended = true;
    talker->ended_at = sim.now;
    talker->node->speakers--;
}

static struct pair *pair_of(struct talker *talker, const struct node *node) {
    if (node->number >= talker->pair_count) {
        uint32_t count = story.node_count + 8;
        talker->pairs = need(realloc(talker->pairs, count * sizeof(struct pair *)));
        memset(talker->pairs + talker->pair_count, 0,
               (count - talker->pair_count) * sizeof(struct pair *));
        talker->pair_count = count;
    }
    struct pair **pair = &talker->pairs[node->number];
    if (!*pair)
        *pair = need(calloc(1, sizeof **pair));
    return *pair;
}

static struct talker *talker_of(uint64_t id) {
    sim_check(id > 0 && id <= oracle.count, "a message of nobody: talker %llu",
              (unsigned long long)id);
    return oracle.talkers[id - 1];
}

// ---- messages ----

uint64_t oracle_sends(struct talker *talker, struct node *to) {
    struct pair *pair = pair_of(talker, to);
    if (pair->count == pair->capacity) {
        pair->capacity = pair->capacity ? 2 * pair->capacity : 64;
        pair->fates = need(realloc(pair->fates, pair->capacity));
    }
    pair->fates[pair->count] = FATE_PENDING;
    return pair->count++;
}

void oracle_sent(struct talker *talker, struct node *to, uint64_t number, enum fate fate) {
    struct pair *pair = pair_of(talker, to);
    bool received = pair->fates[number] & RECEIVED;
    sim_check(fate != FATE_FAILED || !received,
              "talker %llu was told that message %llu does not arrive, but it has",
              (unsigned long long)talker->id, (unsigned long long)number);
    // What has been overtaken in the mailbox itself cannot be in it.
    sim_check(fate != FATE_DELIVERED || received || pair->next <= number ||
                  !process_lives(to->process),
              "talker %llu was told that message %llu is delivered, but later ones came before it",
              (unsigned long long)talker->id, (unsigned long long)number);
    pair->fates[number] = (uint8_t)fate | (received ? RECEIVED : 0);
}

void oracle_waits(struct node *node, struct waiting *it, struct node *to) {
    *it = (struct waiting){.next = node->waiting, .to = to};
    node->waiting = it;
}

// Those behind it in the list have been begun before.
void oracle_waited(struct node *node, struct waiting *it, bool sent) {
    struct waiting **at = &node->waiting;
    while (*at != it)
        at = &(*at)->next;
    *at = it->next;
    for (struct waiting *other = it->next; sent && other; other = other->next) {
        if (other->to == it->to && ++other->overtaken > story.overtaken_most)
            story.overtaken_most = other->overtaken;
        sim_check(other->overtaken <= OVERTAKEN_MAX,
                  "a message of node %u to node %u waits, and %llu have overtaken it", node->number,
                  it->to->number, (unsigned long long)other->overtaken);
    }
}

static void left_out(struct talker *talker, struct node *at, struct pair *pair, uint64_t number) {
    enum fate fate = pair->fates[number] & ~RECEIVED;
    if (fate == FATE_FAILED || fate == FATE_UNKNOWN)
        return;
    sim_check(fate != FATE_DELIVERED,
              "talker %llu was told that message %llu is delivered, but node %u got a later one",
              (unsigned long long)talker->id, (unsigned long long)number, at->number);
    if (pair->told)
        return;
    sim_check(!pair->watched, "message %llu of talker %llu was lost on the way to node %u",
              (unsigned long long)number, (unsigned long long)talker->id, at->number);
    pair->unexplained = true;
}

bool oracle_received(struct node *at, uint64_t id, uint64_t number) {
    struct talker *talker = talker_of(id);
    struct pair *pair = pair_of(talker, at);
    sim_note("got", at->number, id, number);
    oracle.received++;
    sim_check(number < pair->count, "node %u got message %llu of talker %llu, which was never sent",
              at->number, (unsigned long long)number, (unsigned long long)id);
    sim_check(number >= pair->next,
              "node %u got message %llu of talker %llu again or late: it has had %llu", at->number,
              (unsigned long long)number, (unsigned long long)id,
              (unsigned long long)pair->next - 1);
    sim_check(!pair->over, "node %u got a message of talker %llu after the notice of its end",
              at->number, (unsigned long long)id);
    sim_check(!pair->gone,
              "node %u got a message of talker %llu, whose process was said to be gone", at->number,
              (unsigned long long)id);
    sim_check((pair->fates[number] & ~RECEIVED) != FATE_FAILED,
              "node %u got message %llu of talker %llu, which was refused", at->number,
              (unsigned long long)number, (unsigned long long)id);
    for (uint64_t n = pair->next; n < number; n++)
        left_out(talker, at, pair, n);
    pair->fates[number] |= RECEIVED;
    pair->next = number + 1;
    pair->told = false;
    return !pair->watched;
}

// ---- watches ----

void oracle_watches_talker(struct node *at, uint64_t id) {
    pair_of(talker_of(id), at)->watched = true;
}

void oracle_watches_inbox(struct talker *talker, struct node *of) {
    pair_of(talker, of)->watches = true;
}

bool oracle_is_watching(const struct talker *talker, const struct node *of) {
    return of->number < talker->pair_count && talker->pairs[of->number] &&
           talker->pairs[of->number]->watches;
}

ac_time oracle_patience(void) { return (ac_time)((story.heartbeat_s + story.grace_s + 8) * 1e9); }

void oracle_lost(const struct node *at, const struct node *of, int reason) {
    bool alive = process_lives(of->process) && !of->stopping;
    if (!alive || at->stopping)
        return;
    sim_check(reason != -ECONNRESET, "node %u was told that the living process of node %u is gone",
              at->number, of->number);
    sim_check(sim.now - story.fault_at < oracle_patience(),
              "node %u has lost node %u without a cause: %s", at->number, of->number,
              ac_strerror(reason));
    sim_check(story.weather & ~(unsigned)(WEATHER_CUTS | WEATHER_FLOOD),
              "node %u has lost node %u though connections were only cut: %s", at->number,
              of->number, ac_strerror(reason));
}

static bool is_same(ac_ref a, ac_ref b) { return a.peer == b.peer && a.id == b.id; }

void oracle_notice_of_talker(struct node *at, const struct ac_exit *exit) {
    struct talker *talker = NULL;
    for (uint64_t i = 0; i < oracle.count && !talker; i++)
        if (is_same(oracle.talkers[i]->self, exit->who))
            talker = oracle.talkers[i];
    sim_check(talker, "node %u got a notice of nobody", at->number);
    struct pair *pair = pair_of(talker, at);
    sim_note("notice", at->number, talker->id, exit->how);
    sim_check(pair->watched, "node %u got a second notice of talker %llu", at->number,
              (unsigned long long)talker->id);
    pair->watched = false;
    if (exit->how == AC_LOST && exit->reason != -ESRCH) {
        pair->told = true;
        pair->lost_there++;
        pair->gone = exit->reason == -ECONNRESET;
        oracle_lost(at, talker->node, exit->reason);
        return;
    }
    sim_check(talker->ended || talker->node->stopping,
              "node %u was told of the end of talker %llu, which lives", at->number,
              (unsigned long long)talker->id);
    pair->watched = !pair->told; // for what was left out, told or not
    for (uint64_t n = pair->next; n < pair->count; n++)
        left_out(talker, at, pair, n);
    pair->watched = false;
    pair->over = true;
}

static struct node *node_of_inbox(ac_ref inbox) {
    for (uint32_t i = 0; i < story.node_count; i++)
        if (is_same(story.nodes[i]->inbox, inbox))
            return story.nodes[i];
    sim_fail("somebody got a notice of nobody");
}

static struct view *view_of(struct node *at, const struct node *of) {
    if (of->number >= at->view_count) {
        uint32_t count = story.node_count + 8;
        at->views = need(realloc(at->views, count * sizeof *at->views));
        memset(at->views + at->view_count, 0, (count - at->view_count) * sizeof *at->views);
        at->view_count = count;
    }
    return &at->views[of->number];
}

bool oracle_is_to_watch(struct node *at, const struct node *of) {
    bool asked = view_of(at, of)->asked;
    view_of(at, of)->asked = true;
    return !asked;
}

bool oracle_has_in_view(struct node *at, const struct node *of) {
    return view_of(at, of)->watched || view_of(at, of)->present;
}

void oracle_peer_change(struct node *at, const struct ac_peer_change *change) {
    struct node *of = NULL;
    for (uint32_t i = 0; i < story.node_count && !of; i++)
        if (story.nodes[i]->inbox.peer == change->peer.id)
            of = story.nodes[i];
    if (!of) // the outsider
        return;
    struct view *view = view_of(at, of);
    sim_note("peer", at->number, of->number, change->came);
    sim_check(view->present != change->came, "node %u was told twice that node %u has %s",
              at->number, of->number, change->came ? "come" : "gone");
    view->present = change->came;
    sim_check(change->came || change->reason != -ECONNRESET || !process_lives(of->process) ||
                  of->stopping || at->stopping,
              "node %u was told that the living process of node %u is gone", at->number,
              of->number);
}

void oracle_keeps_watch(struct node *at, const struct node *of, int err) {
    struct view *view = view_of(at, of);
    view->watched = err == 0;
    if (err < 0) // it is lost already
        *view = (struct view){.lost = view->lost + 1, .present = view->present};
}

void oracle_notice_of_node(struct node *at, const struct ac_exit *exit) {
    struct node *of = node_of_inbox(exit->who);
    struct view *view = view_of(at, of);
    sim_check(view->watched, "the watchman of node %u got a second notice of node %u", at->number,
              of->number);
    *view = (struct view){.lost = view->lost + 1, .present = view->present};
    if (exit->how == AC_LOST && exit->reason != -ESRCH)
        oracle_lost(at, of, exit->reason);
}

struct node *oracle_notice_of_inbox(struct talker *talker, const struct ac_exit *exit) {
    struct node *of = node_of_inbox(exit->who);
    struct pair *pair = pair_of(talker, of);
    sim_note("lost", talker->id, of->number, (uint64_t)(int64_t)exit->reason);
    sim_check(pair->watches, "talker %llu got a second notice of node %u",
              (unsigned long long)talker->id, of->number);
    pair->watches = false;
    pair->lost_here++;
    if (exit->how == AC_LOST && exit->reason != -ESRCH)
        oracle_lost(talker->node, of, exit->reason);
    else
        sim_check(of->stopping || !process_lives(of->process),
                  "talker %llu was told of the end of node %u, which lives",
                  (unsigned long long)talker->id, of->number);
    return of;
}

// ---- names ----

struct node *oracle_located(struct node *by, uint32_t place, ac_ref found, size_t which) {
    struct node *of = NULL;
    for (uint32_t i = 0; i < story.node_count && !of; i++) {
        struct node *it = story.nodes[i];
        ac_ref names[] = {it->inbox, it->publisher, it->channel, it->service, it->labour};
        if ((place == UINT32_MAX || it->place == place) && is_same(names[which], found))
            of = it;
    }
    sim_check(of, "node %u located a name of place %u and got somebody else", by->number, place);
    sim_check(process_lives(of->process) || sim.now - of->process->ended < oracle_patience(),
              "node %u located a name at node %u, which ended long ago", by->number, of->number);
    return of;
}

// ---- at the end ----

static void check_pair(struct talker *talker, struct node *at, struct pair *pair) {
    bool there = process_lives(at->process), here = process_lives(talker->node->process);
    bool lost = pair->lost_here || pair->lost_there || view_of(talker->node, at)->lost;
    for (uint64_t n = 0; there && n < pair->count; n++) {
        bool received = pair->fates[n] & RECEIVED;
        enum fate fate = pair->fates[n] & ~RECEIVED;
        sim_check(fate != FATE_DELIVERED || received,
                  "message %llu of talker %llu was delivered to node %u, which does not have it",
                  (unsigned long long)n, (unsigned long long)talker->id, at->number);
        sim_check(fate != FATE_SENT || received || !here || lost,
                  "message %llu of talker %llu has not come to node %u, and nobody is lost",
                  (unsigned long long)n, (unsigned long long)talker->id, at->number);
    }
    sim_check(!there || !here || !pair->unexplained || lost,
              "node %u missed a message of talker %llu, and nobody is lost", at->number,
              (unsigned long long)talker->id);
    sim_check(!there || !pair->watched || (here && !talker->ended),
              "node %u was never told of the end of talker %llu", at->number,
              (unsigned long long)talker->id);
    sim_check(!here || talker->ended || !pair->watches || there,
              "talker %llu was never told of the end of node %u", (unsigned long long)talker->id,
              at->number);
}

void oracle_check_all(void) {
    for (uint64_t i = 0; i < oracle.count; i++)
        for (uint32_t n = 0; n < oracle.talkers[i]->pair_count; n++)
            if (oracle.talkers[i]->pairs[n])
                check_pair(oracle.talkers[i], story.nodes[n], oracle.talkers[i]->pairs[n]);
}
