// SPDX-License-Identifier: MIT
// What simulated processes have one another do, and the account of it: calls that are answered,
// functions that run elsewhere, coroutines that are cancelled and joined from elsewhere.
//
// A *favour* is one call or one *labour*, the run of a remote function. Its number travels with it,
// so that it is known at both ends. It is begun at most once, and never if it was refused. A call
// that is over has one answer, its own, which is never found in a mailbox. A labour sends words to
// the one who has asked for it; these come in order, and behind the last of them one notice of how
// it has ended, which is how it did end. Nobody is cancelled unless somebody has asked for that,
// and then he is. What is not lost comes to an end.
#include "story.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    WORDS_MAX = 20,
    WORD_BYTES_MAX = 3000,
    RESULT_BYTES_MAX = 90 * 1024, // more than a frame
    WORD = 3
};

enum manner {
    AT_ONCE,
    LATER,
    TWICE, // the second answer is of no use
    NEVER, // is answered
    FAILS,
    WAITS // until it is cancelled
};

struct favour {
    uint64_t number;
    struct node *by, *at;
    enum manner manner;
    enum fate fate;         // FATE_SENT: done, or under way
    unsigned begun;         // how often
    unsigned answered;      // of a call
    ac_ref who;             // of a labour, as its invoker knows it
    uint64_t offered, said; // words: before and after each was sent
    uint64_t heard;         // words that have come
    bool watched;           // a notice is due
    bool gone;              // its process was said to be gone
    bool cancelled;         // somebody has asked for that, and it was sent
    ac_time cancelled_at;
    bool ended;
    enum ac_end how;
    ac_time ended_at;
};

static struct {
    struct favour **all; // by number - 1
    uint64_t count;
} favours;

// ---- the account ----

void favours_begin(void) { memset(&favours, 0, sizeof favours); }

void favours_end(void) {
    for (uint64_t i = 0; i < favours.count; i++)
        free(favours.all[i]);
    free(favours.all);
}

static struct favour *favour_new(struct node *by, struct node *at, enum manner manner) {
    struct favour *it = calloc(1, sizeof *it);
    favours.all = realloc(favours.all, (favours.count + 1) * sizeof(struct favour *));
    if (!it || !favours.all)
        abort();
    favours.all[favours.count++] = it;
    *it = (struct favour){.number = favours.count, .by = by, .at = at, .manner = manner};
    return it;
}

static struct favour *favour_of(uint64_t number) {
    sim_check(number > 0 && number <= favours.count, "nobody has asked for favour %llu",
              (unsigned long long)number);
    return favours.all[number - 1];
}

static bool is_there(const struct node *node) {
    return process_lives(node->process) && !node->stopping;
}

static void begins(struct favour *it, const struct node *at) {
    sim_note("favour", it->number, at->number, it->manner);
    sim_check(at == it->at, "favour %llu of node %u is begun at node %u",
              (unsigned long long)it->number, it->at->number, at->number);
    sim_check(it->fate != FATE_FAILED, "favour %llu was refused, and node %u begins it",
              (unsigned long long)it->number, at->number);
    sim_check(it->begun++ == 0, "node %u begins favour %llu a second time", at->number,
              (unsigned long long)it->number);
}

static void settle(struct favour *it, int err) {
    bool unknown = err == -ETIMEDOUT || err == -ECONNRESET || err == -ECANCELED || err == -ESRCH;
    it->fate = err == 0 ? FATE_SENT : unknown ? FATE_UNKNOWN : FATE_FAILED;
    sim_note("settled", it->number, (uint64_t)(int64_t)err, it->begun);
    sim_check(it->fate != FATE_FAILED || it->begun == 0,
              "favour %llu was refused (%s), and node %u has begun it",
              (unsigned long long)it->number, ac_strerror(err), it->at->number);
    sim_check(err != -EACCES, "node %u may not ask node %u", it->by->number, it->at->number);
    sim_check(err != -ESRCH || !is_there(it->at) || it->by->stopping,
              "node %u was told that nobody is there at node %u for favour %llu", it->by->number,
              it->at->number, (unsigned long long)it->number);
    if (err == -ECONNRESET)
        oracle_lost(it->by, it->at, -ENOTCONN);
}

void favours_check_all(void) {
    for (uint64_t i = 0; i < favours.count; i++) {
        const struct favour *it = favours.all[i];
        if (!is_there(it->by))
            continue;
        sim_check(it->fate != FATE_PENDING, "node %u is never told what became of favour %llu",
                  it->by->number, (unsigned long long)it->number);
        sim_check(!it->watched, "node %u is never told of the end of labour %llu", it->by->number,
                  (unsigned long long)it->number);
    }
}

// ---- calls ----

static void answer(struct favour *it, ac_ref to) {
    it->answered++;
    (void)ac_send(to, ac_list((int64_t)it->number));
}

static ac_value answer_later(ac_value argument) {
    ac_value to = ac_at(argument, 1);
    if (ac_sleep(ac_random_real(0, 1)) == 0)
        answer(favour_of(story_number_at(argument, 0)), ac_ref_of(to));
    ac_drop(to);
    return ac_nil;
}

static void take_request(struct node *node, ac_value message) {
    ac_value to = ac_at(message, 0), body = ac_at(message, 1);
    struct favour *it = favour_of(story_number_at(body, 0));
    begins(it, node);
    if (it->manner == AT_ONCE || it->manner == TWICE)
        answer(it, ac_ref_of(to));
    if (it->manner == TWICE)
        answer(it, ac_ref_of(to));
    if (it->manner == LATER)
        (void)ac_spawn(answer_later, ac_list((int64_t)it->number, ac_ref_of(to)), .daemon = true);
    ac_drop(to);
    ac_drop(body);
}

static ac_value serve(ac_value argument) {
    struct node *node = ac_pointer_of(argument);
    char name[32];
    ac_value message;
    story_name(name, "service", node->place);
    node->service = ac_self();
    sim_check(ac_register(ac_self(), name) == 0, "a name is not free");
    sim_check(ac_register(ac_self(), "everybody") == 0, "a name is not free");
    while (ac_receive(&message, AC_FOREVER) == 0) {
        take_request(node, message);
        ac_drop(message);
    }
    return ac_nil;
}

static int ask(struct node *node, struct node *of, ac_ref service, enum manner manner,
               ac_time deadline) {
    struct favour *it = favour_new(node, of, manner);
    ac_value answer = ac_nil;
    int err = ac_call(service, ac_list((int64_t)it->number), &answer, deadline);
    settle(it, err);
    if (err < 0)
        return err;
    sim_check(story_number_at(answer, 0) == it->number,
              "node %u got the answer to another call than %llu", node->number,
              (unsigned long long)it->number);
    sim_check(it->begun == 1 && it->answered > 0, "call %llu was answered by nobody",
              (unsigned long long)it->number);
    ac_drop(answer);
    return 0;
}

static void expect_silence(const struct node *node) {
    ac_value message;
    sim_check(ac_receive(&message, ac_after(0.02)) < 0,
              "node %u found an answer among its messages", node->number);
}

static ac_value ask_some(ac_value argument) {
    struct node *node = ac_pointer_of(argument);
    uint32_t place = story_other_place(node);
    ac_ref service;
    struct node *of = story_find(node, place, "service", SIM_SERVICE, ac_after(2), &service);
    for (int64_t count = ac_random_int(1, 12); of && count > 0; count--) {
        enum manner manner = (enum manner)ac_random_int(AT_ONCE, NEVER);
        bool patient = manner != NEVER && ac_random_int(0, 1);
        if (ask(node, of, service, manner, patient ? AC_FOREVER : ac_after(ac_random_real(0, 3))) ==
            -EHOSTUNREACH)
            break;
        expect_silence(node);
    }
    (void)ac_sleep(0.05);
    node->askers--;
    return ac_nil;
}

// ---- labours: there ----

static int say_words(struct favour *it, ac_ref to, uint64_t words) {
    static uint8_t padding[WORD_BYTES_MAX];
    int err = 0;
    while (err == 0 && it->said < words) {
        size_t bytes = ac_random_int(0, 3) ? 0 : (size_t)ac_random_int(0, WORD_BYTES_MAX);
        it->offered = it->said + 1;
        err = ac_send(to, ac_list((int64_t)WORD, (int64_t)it->number, (int64_t)it->said,
                                  ac_of_bytes(padding, bytes)));
        if (err == 0)
            it->said++;
        if (err == 0 && ac_random_int(0, 4) == 0)
            err = ac_sleep(ac_random_real(0, 0.1));
    }
    return err;
}

static int toil(struct favour *it, ac_ref to, uint64_t words) {
    int err = say_words(it, to, words);
    if (it->manner == LATER && err != -ECANCELED)
        err = ac_sleep(ac_random_real(0, 2));
    while (it->manner == WAITS && err != -ECANCELED && story.phase != PHASE_QUIET)
        err = ac_sleep(1);
    return err;
}

static ac_value labour(ac_value argument) {
    static uint8_t padding[RESULT_BYTES_MAX];
    struct favour *it = favour_of(story_number_at(argument, 0));
    ac_value to = ac_at(argument, 1);
    begins(it, sim.running->of);
    int err = toil(it, ac_ref_of(to), story_number_at(argument, 2));
    ac_drop(to);
    it->ended = true;
    it->ended_at = sim.now;
    it->how = err == -ECANCELED ? AC_CANCELLED : it->manner == FAILS ? AC_FAILED : AC_FINISHED;
    sim_note("labour", it->number, it->how, it->said);
    if (it->how == AC_FAILED)
        return ac_of_error(-ERANGE, "as it was to");
    size_t bytes = ac_random_int(0, 3) ? 0 : (size_t)ac_random_int(0, RESULT_BYTES_MAX);
    return ac_list((int64_t)it->number, ac_of_bytes(padding, bytes));
}

// ---- labours: here ----

static void hear_word(struct favour *it, ac_value message) {
    uint64_t number = story_number_at(message, 1), word = story_number_at(message, 2);
    sim_check(number == it->number, "a word of labour %llu has come to labour %llu",
              (unsigned long long)number, (unsigned long long)it->number);
    sim_check(word == it->heard && word < it->offered,
              "word %llu of labour %llu came after %llu words, and %llu were said",
              (unsigned long long)word, (unsigned long long)number, (unsigned long long)it->heard,
              (unsigned long long)it->offered);
    sim_check(!it->gone, "labour %llu goes on, and its process was said to be gone",
              (unsigned long long)number);
    it->heard++;
}

// How it has ended, as one who watches or joins was told. Not for one that is lost.
static void check_end(const struct favour *it, const struct ac_exit *exit) {
    unsigned long long number = it->number;
    bool stopping = it->at->stopping || it->by->stopping;
    if (stopping)
        return;
    if (exit->how == AC_CANCELLED)
        sim_check(it->cancelled, "labour %llu was cancelled, and nobody has asked for that",
                  number);
    sim_check(it->ended || (exit->how == AC_CANCELLED && it->begun == 0),
              "labour %llu is said to have ended, and goes on", number);
    sim_check(!it->ended || exit->how == it->how, "labour %llu has %s, and is said to have %s",
              number, ac_end_name(it->how), ac_end_name(exit->how));
    sim_check(exit->how != AC_FAILED || exit->reason == -ERANGE, "labour %llu failed with %s",
              number, ac_strerror(exit->reason));
    sim_check(!it->ended || exit->how == AC_FAILED || story_number_at(exit->value, 0) == number,
              "the result of labour %llu is of another one", number);
    sim_check(it->manner != WAITS || exit->how != AC_FINISHED || !it->cancelled ||
                  it->ended_at - it->cancelled_at < oracle_patience(),
              "labour %llu was to be cancelled, and was not", number);
}

static bool is_lost(const struct ac_exit *exit) {
    return exit->how == AC_LOST && exit->reason != -ESRCH;
}

static void hear_end(struct favour *it, const struct ac_exit *exit) {
    sim_note("end", it->number, exit->how, (uint64_t)(int64_t)exit->reason);
    sim_check(it->watched && ac_ref_equal(exit->who, it->who),
              "node %u got a second notice of labour %llu", it->by->number,
              (unsigned long long)it->number);
    it->watched = false;
    if (is_lost(exit)) {
        it->gone = exit->reason == -ECONNRESET;
        oracle_lost(it->by, it->at, exit->reason);
        return;
    }
    check_end(it, exit);
    sim_check(it->heard == it->said || it->at->stopping,
              "the notice of labour %llu came behind %llu of its %llu words",
              (unsigned long long)it->number, (unsigned long long)it->heard,
              (unsigned long long)it->said);
}

static void hear_labour(struct favour *it, ac_time until) {
    ac_value message;
    while (ac_receive(&message, until) == 0) {
        struct ac_exit exit;
        if (ac_exit_of(message, &exit)) {
            hear_end(it, &exit);
            ac_drop(exit.value);
        } else {
            hear_word(it, message);
        }
        ac_drop(message);
        if (!it->watched && until == AC_FOREVER) // somewhat more, for what must not come
            until = ac_after(0.2);
    }
}

static ac_value join_labour(ac_value argument) {
    struct favour *it = ac_pointer_of(argument);
    struct ac_exit exit = {0};
    int err = ac_join(it->who, &exit, ac_after(ac_random_real(0, 8)));
    sim_note("joined", it->number, exit.how, (uint64_t)(int64_t)err);
    sim_check(err != -EACCES, "node %u may not join", it->by->number);
    sim_check(err != -ESRCH || it->ended || !is_there(it->at) || it->cancelled || it->by->stopping,
              "labour %llu goes on, and could not be joined", (unsigned long long)it->number);
    if (err == 0 && is_lost(&exit))
        oracle_lost(it->by, it->at, exit.reason);
    else if (err == 0)
        check_end(it, &exit);
    if (err == 0)
        ac_drop(exit.value);
    return ac_nil;
}

static void cancel(struct favour *it) {
    bool asked = it->cancelled;
    it->cancelled = true; // before, for it may be done at once
    if (ac_cancel(it->who) < 0)
        it->cancelled = asked;
    else if (!asked)
        it->cancelled_at = sim.now;
    sim_note("cancel", it->number, it->cancelled, 0);
}

static bool employ(struct node *node, struct node *of, ac_ref function, enum manner manner,
                   ac_time deadline) {
    struct favour *it = favour_new(node, of, manner);
    int64_t words = manner == AT_ONCE ? 0 : ac_random_int(0, WORDS_MAX);
    int err = ac_invoke(function, ac_list((int64_t)it->number, ac_self(), words), &it->who,
                        deadline, .monitor = true);
    it->watched = err == 0;
    settle(it, err);
    if (err < 0)
        return false;
    if (ac_random_int(0, 2) == 0)
        (void)ac_spawn(join_labour, ac_of_pointer(it), .daemon = true);
    if (manner == WAITS || ac_random_int(0, 5) == 0) {
        hear_labour(it, ac_after(ac_random_real(0, 1)));
        if (it->watched && ac_random_int(0, 9) > 0)
            cancel(it);
    }
    if (it->watched)
        hear_labour(it, AC_FOREVER);
    return true;
}

static ac_value employ_one(ac_value argument) {
    static const enum manner manners[] = {AT_ONCE, LATER, FAILS, WAITS};
    struct node *node = ac_pointer_of(argument);
    ac_ref function;
    struct node *of = story_find(node, story_other_place(node), "labour", SIM_LABOUR, ac_after(2),
                                 &function);
    if (of)
        (void)employ(node, of, function, manners[ac_random_int(0, countof(manners) - 1)],
                     ac_after(ac_random_real(0, 5)));
    (void)ac_sleep(0.05);
    node->employers--;
    return ac_nil;
}

// ---- who holds a name: all, and one at an address ----

static ac_value seek(ac_value argument) {
    struct node *node = ac_pointer_of(argument);
    while (story.phase == PHASE_TALK && ac_sleep(ac_random_real(0.1, 2)) == 0) {
        (void)favours_count_all(node, ac_after(ac_random_real(0, 2)));
        struct node *of = story.at[story_other_place(node)];
        ac_ref found;
        char name[32], address[64];
        story_name(name, "service", of->place);
        memcpy(address, of->address, sizeof address);
        if (address[0] && ac_locate_at(name, address, &found, ac_after(2)) == 0)
            sim_check(
                strcmp(oracle_located(node, of->place, found, SIM_SERVICE)->address, address) == 0,
                "node %u found %s at %s, where it is not", node->number, name, address);
    }
    return ac_nil;
}

long favours_count_all(struct node *node, ac_time deadline) {
    ac_ref *found = memory_allocate(story.places * 2 * sizeof *found);
    if (!found)
        abort();
    long count = ac_locate_all("everybody", found, story.places * 2, deadline);
    sim_check(count >= 0 || count == -ECANCELED, "node %u cannot locate all: %s", node->number,
              ac_strerror((int)count));
    for (long i = 0; i < count && i < 2 * (long)story.places; i++) {
        (void)oracle_located(node, UINT32_MAX, found[i], SIM_SERVICE);
        for (long j = 0; j < i; j++)
            sim_check(!ac_ref_equal(found[i], found[j]), "node %u located somebody twice",
                      node->number);
    }
    memory_release(found);
    return count;
}

// ---- what each node has of this ----

void favours_start(struct node *node) {
    char name[32];
    (void)ac_spawn(serve, ac_of_pointer(node), .daemon = true);
    node->labour = ac_function_open(labour, .name = "labour", .daemon = true);
    story_name(name, "labour", node->place);
    sim_check(ac_register(node->labour, name) == 0, "a name is not free");
    if (story.phase == PHASE_TALK)
        (void)ac_spawn(seek, ac_of_pointer(node), .daemon = true);
}

void favours_spawn_missing(struct node *node) {
    for (; node->askers < 1; node->askers++)
        (void)ac_spawn(ask_some, ac_of_pointer(node), .daemon = true);
    for (; node->employers < 2; node->employers++)
        (void)ac_spawn(employ_one, ac_of_pointer(node), .daemon = true);
}

void favours_ping(struct node *node, uint32_t place) {
    ac_ref service, function;
    ac_time until = ac_after(20);
    struct node *of = story_find(node, place, "service", SIM_SERVICE, until, &service);
    sim_check(of == story.at[place] && ask(node, of, service, AT_ONCE, until) == 0,
              "node %u gets no answer from place %u though all is well", node->number, place);
    of = story_find(node, place, "labour", SIM_LABOUR, until, &function);
    sim_check(of == story.at[place] && employ(node, of, function, AT_ONCE, until),
              "node %u cannot have place %u do something though all is well", node->number, place);
}
