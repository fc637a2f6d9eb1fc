// SPDX-License-Identifier: MIT
// The supplier of a computation, at its client: sees to it that nodes get what they lack of its
// cargo. It sends much to a few of them itself; those pass it on to others, so that what many nodes
// need crosses the client's line a few times only. The messages are specified at the head of
// host.c.
//
//      WAITS --somebody is free--> FED --"have"--> HAS: may pass it on
//        ^                          |
//        +--- "need" once more: who passed it on is gone, or cannot; then the client sends it
//
// A node decides by itself whether what comes is what it should be, whoever sends it.
//
// Everybody who has the key of the cluster can send to the supplier. It listens to none but the
// hosts of its computation, each of which has been told a secret by the scheduler: the first 16
// bytes of HMAC-SHA-256, under the key of the computation, of the number of the node's process (8
// bytes, the lowest first). Second in each message is the host that speaks, third its secret, and
// nothing else is looked at before that is found to be right. So no node speaks for another one.
#include "cluster/client_private.h"

enum {
    OWN_MAX = 2,          // large deliveries of ours at a time; the others wait for those
    LARGE_BYTES = 1 << 20 // less is sent at once: a link between two nodes costs more
};

// A host gives up after minutes in which it hears nothing.
static const ac_time WAIT_NS = 30 * 1000 * 1000 * 1000ll;

// A node that has asked.
struct taker {
    struct list link; // in supplier.takers
    ac_ref host;
    ac_value wanted; // numbers of items
    uint64_t round;  // of its questions
    enum { WAITS, FED, HAS } state;
    bool large;
    bool direct;          // one that passed it on could not: only we send to it
    bool by_us;           // FED by ourselves
    struct taker *source; // FED by this one; NULL: by us, or by one that is gone
    bool feeding;         // it passes on to another
    bool poor;            // one that it passed on to has asked once more: it passes on no more
};

struct supplier {
    struct ac_computation *computation;
    struct list takers;
    uint32_t own; // large ones that we send to
};

// What one node lacks, on its way.
struct delivery {
    struct list link; // in computation.deliveries
    struct ac_computation *computation;
    struct coro *coro; // NULL until it runs
    ac_ref host;
    bool unwanted;
    struct cargo_sending sending;
};

// ---- deliveries of ours ----

// Sends one node what it lacks, until that has it or has ended its interest.
static ac_value run_delivery(ac_value argument) {
    struct delivery *delivery = ac_pointer_of(argument);
    struct ac_computation *it = delivery->computation;
    delivery->coro = coro_here();
    int err = ac_monitor(delivery->host);
    bool over = false;
    while (!err && !over && ac_mailbox_count() == 0 && !it->closer && !delivery->unwanted) {
        err = ac_send(delivery->host, cargo_next(&it->cargo, &delivery->sending, &over));
        // The node has something to do while the next piece is read.
        if (!err)
            err = loop_await_turn();
    }
    trace(TRACE_CLUSTER, "%s: sent to a node: %s", it->name,
          err    ? ac_strerror(err)
          : over ? "all"
                 : "no longer wanted");
    list_remove(&delivery->link);
    cargo_send_end(&delivery->sending);
    memory_release(delivery);
    computation_helper_ended(it);
    return ac_nil;
}

// A node that takes nothing in holds up nobody.
static void end_deliveries(struct ac_computation *it, const ac_ref *host) {
    list_each (link, &it->deliveries) {
        struct delivery *delivery = container_of(link, struct delivery, link);
        if (host && !ac_ref_equal(delivery->host, *host))
            continue;
        delivery->unwanted = true;
        if (delivery->coro)
            coro_cancel(delivery->coro);
    }
}

void supplier_end_deliveries(struct ac_computation *it) { end_deliveries(it, NULL); }

static bool send_ourselves(struct supplier *it, const struct taker *taker) {
    struct delivery *delivery = memory_allocate_zeroed(sizeof *delivery);
    if (!delivery)
        return false;
    *delivery = (struct delivery){.computation = it->computation, .host = taker->host};
    list_init(&delivery->link);
    cargo_send(&delivery->sending, ac_hold(taker->wanted), taker->round);
    if (computation_helper(it->computation, run_delivery, delivery, "delivery to a node")) {
        list_append(&it->computation->deliveries, &delivery->link);
        return true;
    }
    cargo_send_end(&delivery->sending);
    memory_release(delivery);
    return false;
}

// ---- who sends to whom ----

static bool is_among(ac_value number, ac_value list) {
    size_t cursor = 0;
    bool found = false;
    for (ac_value each; !found && ac_next(list, &cursor, &each); ac_drop(each))
        found = ac_int_of(each) == ac_int_of(number);
    return found;
}

static bool has_all(const struct taker *taker, ac_value wanted) {
    size_t cursor = 0;
    bool all = true;
    for (ac_value each; all && ac_next(wanted, &cursor, &each); ac_drop(each))
        all = is_among(each, taker->wanted);
    return all;
}

static struct taker *free_source(struct supplier *it, const struct taker *taker) {
    list_each (link, &it->takers) {
        struct taker *source = container_of(link, struct taker, link);
        if (source->state == HAS && !source->feeding && !source->poor &&
            has_all(source, taker->wanted))
            return source;
    }
    return NULL;
}

// Has one node send to another. False if it cannot be told.
static bool have_sent(struct supplier *it, struct taker *source, const struct taker *taker) {
    char here[64], there[64];
    struct loop *loop = it->computation->loop;
    location_of(loop, source->host, here);
    location_of(loop, taker->host, there);
    return ac_try_send(taker->host,
                       ac_list("from", source->host, (const char *)here, taker->round)) == 0 &&
           ac_try_send(source->host, ac_list("give", taker->host, (const char *)there,
                                             ac_hold(taker->wanted), taker->round)) == 0;
}

static void feed(struct supplier *it, struct taker *taker) {
    struct taker *source = taker->direct || !taker->large ? NULL : free_source(it, taker);
    if (source && !have_sent(it, source, taker))
        source = NULL;
    bool by_us = !source && (taker->direct || !taker->large || it->own < OWN_MAX) &&
                 send_ourselves(it, taker);
    if (!source && !by_us)
        return;
    taker->state = FED;
    taker->source = source;
    taker->by_us = by_us;
    it->own += by_us && taker->large;
    if (source)
        source->feeding = true;
}

static void spread(struct supplier *it) {
    list_each (link, &it->takers) {
        struct taker *taker = container_of(link, struct taker, link);
        if (taker->state == WAITS)
            feed(it, taker);
    }
}

// It is no longer fed, whatever came of it.
static void let_go(struct supplier *it, struct taker *taker) {
    if (taker->source)
        taker->source->feeding = false;
    it->own -= taker->state == FED && taker->by_us && taker->large;
    taker->source = NULL;
    taker->by_us = false;
}

static void forget(struct supplier *it, struct taker *taker) {
    let_go(it, taker);
    list_remove(&taker->link);
    list_each (link, &it->takers) {
        struct taker *other = container_of(link, struct taker, link);
        if (other->source == taker)
            other->source = NULL; // it notices, and asks once more
    }
    ac_drop(taker->wanted);
    memory_release(taker);
}

// ---- messages ----

int supplier_secret(const uint8_t key[SECRET_BYTES], uint64_t peer, uint8_t secret[SECRET_BYTES]) {
    uint8_t number[8], all[DIGEST_BYTES];
    struct digest_mac *mac = digest_mac_create(key, SECRET_BYTES);
    for (int i = 0; i < 8; i++)
        number[i] = (uint8_t)(peer >> 8 * i);
    int err = mac ? digest_mac_of(mac, number, sizeof number, all) : -ENOMEM;
    if (!err)
        memcpy(secret, all, SECRET_BYTES);
    digest_wipe(all, sizeof all);
    digest_mac_destroy(mac);
    return err;
}

// Whether it is a message of a host of this computation, and of which.
static bool is_of_host(const struct supplier *it, ac_value message, ac_ref *host) {
    uint8_t expected[SECRET_BYTES];
    if (message.kind != AC_LIST || ac_count(message) < 3)
        return false;
    ac_value who = ac_at(message, 1), shown = ac_at(message, 2);
    ac_span secret = ac_span_of(shown);
    *host = ac_ref_of(who);
    bool good = who.kind == AC_REF && shown.kind == AC_BYTES && secret.bytes == sizeof expected &&
                supplier_secret(it->computation->key, host->peer, expected) == 0 &&
                digest_equal(secret.at, expected, sizeof expected);
    digest_wipe(expected, sizeof expected);
    ac_drop(who);
    ac_drop(shown);
    return good;
}

static struct taker *find(struct supplier *it, ac_ref host) {
    list_each (link, &it->takers) {
        struct taker *taker = container_of(link, struct taker, link);
        if (ac_ref_equal(taker->host, host))
            return taker;
    }
    return NULL;
}

static uint64_t bytes_of(const struct cargo *cargo, ac_value wanted) {
    size_t cursor = 0;
    uint64_t bytes = 0;
    for (ac_value each; ac_next(wanted, &cursor, &each); ac_drop(each)) {
        int64_t number = ac_int_of(each);
        bytes += number >= 0 && number < cargo->count ? cargo->items[number].content.bytes : 0;
    }
    return bytes;
}

static struct taker *add(struct supplier *it, ac_ref host) {
    struct taker *taker = memory_allocate_zeroed(sizeof *taker);
    if (!taker)
        return NULL;
    taker->host = host;
    list_init(&taker->link);
    if (ac_monitor(host) < 0) {
        memory_release(taker);
        return NULL;
    }
    list_append(&it->takers, &taker->link);
    return taker;
}

static void take_need(struct supplier *it, ac_value message) {
    const char *word;
    ac_ref host;
    ac_span secret;
    ac_value wanted;
    uint64_t round;
    if (ac_unpack(message, &word, &host, &secret, &wanted, &round) != 0)
        return;
    bool good = ac_count(wanted) <= it->computation->cargo.count; // else nobody could look at it
    struct taker *taker = good ? find(it, host) : NULL;
    bool again = taker != NULL;
    if (good && !taker)
        taker = add(it, host);
    if (!taker) {
        ac_drop(wanted);
        return;
    }
    if (taker->source)
        taker->source->poor = true;
    let_go(it, taker);
    end_deliveries(it->computation, &host); // of an earlier round
    ac_drop(taker->wanted);
    taker->wanted = wanted;
    taker->round = round;
    taker->state = WAITS;
    taker->direct = again;
    taker->large = bytes_of(&it->computation->cargo, wanted) >= LARGE_BYTES;
}

static void take_have(struct supplier *it, ac_ref host) {
    struct taker *taker = find(it, host);
    if (!taker)
        return;
    let_go(it, taker);
    taker->state = HAS;
}

// One that was to pass it on cannot: who waits for it is told, and asks once more.
static void take_cannot(struct supplier *it, ac_value message) {
    const char *word;
    ac_ref giver, host;
    ac_span secret;
    uint64_t round;
    struct taker *taker;
    if (ac_unpack(message, &word, &giver, &secret, &host, &round) == 0 &&
        (taker = find(it, host)) != NULL && taker->state == FED && taker->source &&
        ac_ref_equal(taker->source->host, giver) && taker->round == round)
        (void)ac_send(host, ac_list("again", round));
}

static void take_message(struct supplier *it, ac_value message) {
    struct ac_exit exit;
    struct taker *taker;
    ac_ref host;
    if (ac_exit_of(message, &exit)) {
        if ((taker = find(it, exit.who)) != NULL)
            forget(it, taker);
        ac_drop(exit.value);
    } else if (!is_of_host(it, message, &host)) {
        // of nobody who has anything to say
    } else if (message_is(message, "need")) {
        take_need(it, message);
    } else if (message_is(message, "have")) {
        take_have(it, host);
    } else if (message_is(message, "cannot")) {
        take_cannot(it, message);
    } else if (message_is(message, "output")) {
        output_take(&it->computation->output, message);
    }
    spread(it);
    ac_drop(message);
}

static bool any_waits(const struct supplier *it) {
    list_each (link, (struct list *)&it->takers)
        if (container_of(link, struct taker, link)->state == WAITS)
            return true;
    return false;
}

// A host does not wait for ever for somebody who says nothing. What could not be sent for want of
// memory or room is tried once more.
static void see_to_waiting(struct supplier *it) {
    spread(it);
    list_each (link, &it->takers) {
        const struct taker *taker = container_of(link, struct taker, link);
        if (taker->state == WAITS)
            (void)ac_try_send(taker->host, ac_list("wait", taker->round));
    }
}

ac_value supplier_run(ac_value argument) {
    struct ac_computation *computation = ac_pointer_of(argument);
    struct supplier it = {.computation = computation};
    list_init(&it.takers);
    ac_value message;
    ac_time look = AC_FOREVER; // whatever else comes meanwhile
    int err = 0;
    while (!err) {
        if (!any_waits(&it))
            look = AC_FOREVER;
        else if (look == AC_FOREVER)
            look = ac_now() + (computation->wait_ns ? computation->wait_ns : WAIT_NS);
        err = ac_receive(&message, look);
        if (!err)
            take_message(&it, message);
        if (err == -ETIMEDOUT || (!err && ac_now() >= look)) {
            see_to_waiting(&it);
            look = AC_FOREVER;
            err = 0;
        }
    }
    // What workers wrote last has come, and was acknowledged.
    (void)ac_shield_begin();
    while (ac_receive(&message, AC_NOW) == 0) {
        ac_ref host;
        if (is_of_host(&it, message, &host) && message_is(message, "output"))
            output_take(&computation->output, message);
        ac_drop(message);
    }
    (void)ac_shield_end();
    list_each (link, &it.takers)
        forget(&it, container_of(link, struct taker, link));
    computation->supplier = NULL;
    computation_helper_ended(computation);
    return ac_nil;
}
