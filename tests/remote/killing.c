// SPDX-License-Identifier: MIT
// Tests of all that remote/ promises while processes are killed and stopped at random.
//
// Some processes, *lives*, talk to each other as fast as they can: each has a coroutine, the
// *talker*, for every other life, which monitors that one's *receiver* and sends, delivers and
// calls; each has a channel, to which the receivers of all others are subscribed. The driver kills
// lives and puts new ones in their place, stops some, and wakes them up again before or after the
// limit for a hanging process. One is never killed, so that what is left behind can be seen in it.
//
// Each life writes what it does and how that went into a log in memory that it shares with the
// driver, where it outlives it. After the last kill the living end in order, and a checker who
// knows nothing but the logs holds the promises against them:
//
//   - of one sender a receiver gets each message at most once, and in order; nothing that nobody
//     sent, and nothing of which the sender was told that it never arrives;
//   - between two notices of a loss nothing is missing; an answer says that the message was there;
//   - every monitor has given exactly one notice, and a right one;
//   - of a channel, nothing twice and nothing missing while subscribed;
//   - whatever was asked has been answered, and everybody ends.
//
// KILLS=500 SEED=7 build/tests/test-remote_killing does it 500 times; `make kills` as well.
#include "remote/world.h"

#include <limits.h>
#include <stdatomic.h>
#include <sys/mman.h>

enum {
    SLOTS = 5, // lives at once; the first one of slot 0 is never killed
    LIVES_MAX = 2048,
    RECORDS_MAX = 1 << 17,       // of a life
    RECORDS_MAX_FIRST = 1 << 23, // of the one that is never killed
    BATCH = 8,                   // messages sent in a row
    GROWTH_KIB_MAX = 32 * 1024,  // of the memory of the one that is never killed
    PENDING = INT_MIN            // an outcome that is not known yet
};
#define LIMIT_S 4.0 // a process not heard of for so long hangs

enum phase { RUN, QUIET, END, LEAVE, LEAVE_LAST };

enum verb {
    SENT = 1,   // `number` to `with`: what ac_send gave
    DELIVERED,  // ac_deliver
    CALLED,     // ac_call
    WATCHED,    // ac_monitor: the beginning of a session with `with`
    TOLD,       // the notice: `how`, and the reason as its outcome
    SUBSCRIBED, // to the channel of `with`
    GOT,        // `number` from `with`
    HEARD       // `number` of the channel of `with`
};

struct record {
    uint8_t verb;
    uint8_t how;
    uint16_t with; // a life
    int32_t outcome;
    uint32_t number;
    uint32_t session;
};

struct life {
    struct record *records;
    uint32_t records_max;
    _Atomic uint32_t count; // of records
    pid_t pid;
    _Atomic bool killed, stopped_long;
    _Atomic bool ready, quiet, done;
};

static struct shared {
    _Atomic uint32_t lives;
    _Atomic int phase;
    struct life life[LIVES_MAX];
} * shared;

static void *share(size_t bytes) {
    void *it = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE,
                    -1, 0);
    must(it != MAP_FAILED);
    return it;
}

// ---- a life ----

static uint32_t me;
static unsigned talkers, talkers_quiet; // that live; of these, who send no more
static bool published;                  // the last message of our channel
static ac_ref receiver_ref;

static struct record *note_that(enum verb verb, uint32_t with, uint32_t session, uint32_t number,
                                int outcome) {
    struct life *life = &shared->life[me];
    must(life->count < life->records_max);
    struct record *it = &life->records[life->count];
    *it = (struct record){.verb = (uint8_t)verb,
                          .with = (uint16_t)with,
                          .outcome = outcome,
                          .number = number,
                          .session = session};
    life->count++; // who is killed before has done nothing yet
    return it;
}

static void got(ac_value message) {
    int is_channel;
    unsigned from, session, number;
    ac_ref answer = ac_no_ref;
    ac_value body = ac_nil;
    if (ac_exit_of(message, NULL))
        return; // a channel was closed
    bool is_call = ac_unpack(message, &answer, &body) == 0;
    must_be(ac_unpack(is_call ? body : message, &is_channel, &from, &session, &number), 0);
    note_that(is_channel ? HEARD : GOT, from, session, number, 0);
    if (is_call)
        (void)!ac_send(answer, number);
    ac_drop(body);
}

static ac_value receiver(ac_value unused) {
    ac_value message;
    (void)unused;
    while (shared->phase < END) {
        if (ac_receive(&message, ac_after(0.05)) < 0)
            continue;
        got(message);
        ac_drop(message);
    }
    while (ac_receive(&message, AC_NOW) == 0) {
        got(message);
        ac_drop(message);
    }
    return ac_of("done");
}

static ac_value publisher(ac_value channel_value) {
    ac_ref channel = ac_ref_of(channel_value);
    for (unsigned number = 1; shared->phase < QUIET; number++) {
        must_be(ac_send(channel, ac_list(1, me, 0, number)), 0);
        must_be(ac_sleep(ac_random_real(0.002, 0.02)), 0);
    }
    published = true;
    return ac_nil;
}

// ---- talking to another life ----

struct talk {
    uint32_t to;
    uint32_t session;
    uint32_t number; // of the last message
    ac_ref receiver;
    bool quiet;
};

static ac_value next_body(struct talk *it) { return ac_list(0, me, it->session, ++it->number); }

// Nothing may go to the new life of a link under the number of the old session: who is told of a
// loss sends no more.
static bool is_told(void) { return ac_mailbox_count() > 0; }

static void send_one(struct talk *it) {
    ac_value body = next_body(it);
    struct record *record = note_that(SENT, it->to, it->session, it->number, PENDING);
    record->outcome = ac_send(it->receiver, body);
}

static void deliver_one(struct talk *it) {
    ac_value body = next_body(it);
    struct record *record = note_that(DELIVERED, it->to, it->session, it->number, PENDING);
    record->outcome = ac_deliver(it->receiver, body, AC_FOREVER);
}

static void call_one(struct talk *it) {
    ac_value answer, body = next_body(it);
    struct record *record = note_that(CALLED, it->to, it->session, it->number, PENDING);
    int err = ac_call(it->receiver, body, &answer, AC_FOREVER);
    if (err == 0) {
        must_be(ac_int_of(answer), record->number);
        ac_drop(answer);
    }
    record->outcome = err;
}

static void talk_a_while(struct talk *it) {
    for (int i = 0; i < BATCH && !is_told(); i++)
        send_one(it);
    if (!is_told())
        deliver_one(it);
    if (!is_told() && ac_random_real(0, 1) < 0.3)
        call_one(it);
}

static void take_notice(struct talk *it, ac_value message) {
    struct ac_exit exit;
    must(ac_exit_of(message, &exit));
    must(ac_ref_equal(exit.who, it->receiver));
    must(exit.how != AC_FINISHED || strcmp(ac_text_of(exit.value), "done") == 0);
    struct record *record = note_that(TOLD, it->to, it->session, 0, exit.reason);
    record->how = (uint8_t)exit.how;
    ac_drop(exit.value);
    ac_drop(message);
}

static void be_quiet(struct talk *it) {
    if (!it->quiet)
        talkers_quiet++;
    it->quiet = true;
}

// Until the notice has come.
static void talk(struct talk *it) {
    ac_value message;
    for (;;) {
        bool last = shared->phase >= QUIET;
        if (!it->quiet)
            talk_a_while(it); // its last word is delivered, so all before it has arrived
        if (last)
            be_quiet(it);
        double pause = last ? 0.05 : ac_random_real(0, 0.01);
        if (ac_receive(&message, ac_after(pause)) == 0) {
            take_notice(it, message);
            return;
        }
    }
}

static bool subscribe(struct talk *it) {
    char name[32];
    ac_ref channel;
    snprintf(name, sizeof name, "channel-%u", it->to);
    if (ac_locate(name, &channel, ac_after(0.5)) < 0)
        return false;
    struct record *record = note_that(SUBSCRIBED, it->to, it->session, 0, PENDING);
    record->outcome = ac_channel_subscribe(channel, receiver_ref);
    return record->outcome == 0;
}

static bool begin_session(struct talk *it) {
    char name[32];
    snprintf(name, sizeof name, "member-%u", it->to);
    if (ac_locate(name, &it->receiver, ac_after(0.3)) < 0)
        return false;
    struct record *record = note_that(WATCHED, it->to, ++it->session, 0, PENDING);
    record->outcome = ac_monitor(it->receiver);
    return record->outcome == 0;
}

static ac_value talker(ac_value to) {
    struct talk it = {.to = (uint32_t)ac_int_of(to)};
    ac_value message;
    while (shared->phase < QUIET && !shared->life[it.to].killed) {
        if (!begin_session(&it)) {
            must_be(ac_sleep(0.01), 0);
            continue;
        }
        if (!is_told())
            (void)subscribe(&it);
        talk(&it);
    }
    be_quiet(&it);
    while (shared->phase < END || ac_receive(&message, AC_NOW) == 0)
        if (shared->phase < END)
            must_be(ac_sleep(0.02), 0);
        else
            take_notice(&it, message); // one too many: the checker counts them
    talkers--;
    talkers_quiet--;
    return ac_nil;
}

static ac_ref named(ac_ref it, const char *kind) {
    char name[32];
    snprintf(name, sizeof name, "%s-%u", kind, me);
    must(ac_ref_is(it));
    must_be(ac_register(it, name), 0);
    return it;
}

static ac_value live(ac_value unused) {
    struct life *life = &shared->life[me];
    (void)unused;
    ac_ref channel = named(ac_channel_open("all"), "channel");
    receiver_ref = named(ac_spawn(receiver, ac_nil, .stack_bytes = TEST_STACK), "member");
    must(ac_ref_is(ac_spawn(publisher, channel, .stack_bytes = TEST_STACK)));
    life->ready = true;
    for (uint32_t known = 0; shared->phase < (me == 0 ? LEAVE_LAST : LEAVE);) {
        for (; known < shared->lives && shared->phase < QUIET; known++) {
            if (known == me || shared->life[known].killed)
                continue;
            talkers++;
            must(ac_ref_is(ac_spawn(talker, known, .stack_bytes = TEST_STACK)));
        }
        life->quiet = shared->phase >= QUIET && published && talkers_quiet == talkers;
        life->done = shared->phase >= END && talkers == 0;
        must_be(ac_sleep(0.02), 0);
    }
    return ac_nil;
}

// ---- the driver ----

static uint64_t dice;

static uint32_t draw(uint32_t below) {
    dice ^= dice >> 12;
    dice ^= dice << 25;
    dice ^= dice >> 27;
    return (uint32_t)(dice * 2685821657736338717u >> 33) % below;
}

static void pause_for(double how_long) {
    struct timespec it = {(time_t)how_long, (long)((how_long - (double)(time_t)how_long) * 1e9)};
    while (nanosleep(&it, &it) < 0)
        continue;
}

#define await(condition_, what_)                                                                   \
    for (double end_ = seconds() + 90; !(condition_); pause_for(0.01))                             \
        if (seconds() > end_)                                                                      \
    ck_abort_msg("in vain: %s", what_)

static uint32_t born(void) {
    uint32_t it = shared->lives;
    struct life *life = &shared->life[it];
    must(it < LIVES_MAX);
    life->records_max = it == 0 ? RECORDS_MAX_FIRST : RECORDS_MAX;
    life->records = share(life->records_max * sizeof *life->records);
    pid_t parent = getpid();
    fflush(NULL);
    pid_t pid = fork();
    must(pid >= 0);
    if (pid == 0) {
        static const struct ac_network_options limits = {
            .size = sizeof limits, .loopback_only = true, .heartbeat_s = LIMIT_S, .grace_s = 2};
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(EXIT_FAILURE);
        world.child = true;
        close(world.life);
        me = it;
        run_with(live, &limits);
        exit(EXIT_SUCCESS); // and so through the search for leaks
    }
    life->pid = pid;
    shared->lives++;
    return it;
}

struct slot {
    uint32_t life;
    double thaw_at; // 0: it runs
};

static void freeze(struct slot *slot, double how_long) {
    struct life *life = &shared->life[slot->life];
    if (slot->thaw_at > 0)
        return;
    if (how_long > LIMIT_S / 2)
        life->stopped_long = true;
    must_be(kill(life->pid, SIGSTOP), 0);
    slot->thaw_at = seconds() + how_long;
}

static void thaw(struct slot *slot) {
    must_be(kill(shared->life[slot->life].pid, SIGCONT), 0);
    slot->thaw_at = 0;
}

static void murder(struct slot *slot) {
    struct life *life = &shared->life[slot->life];
    int status;
    life->killed = true;
    must_be(kill(life->pid, SIGKILL), 0);
    must_be(waitpid(life->pid, &status, 0), life->pid);
    must(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    *slot = (struct slot){.life = born()};
}

// The one moment in which the driver does something.
static int strike(struct slot *slots, int kills, int *long_stops) {
    uint32_t what = draw(100);
    struct slot *slot = &slots[draw(SLOTS)];
    for (int i = 0; i < SLOTS; i++)
        if (slots[i].thaw_at > 0 && seconds() > slots[i].thaw_at)
            thaw(&slots[i]);
    if (*long_stops * 25 < kills && slot->thaw_at == 0) {
        freeze(slot, LIMIT_S * 1.5);
        ++*long_stops;
    } else if (what < 25) {
        freeze(slot, LIMIT_S / 50 * (1 + draw(5)));
    } else if (slot != slots) {
        murder(slot);
        return 1;
    }
    return 0;
}

// The number behind a word in /proc/PID/status.
static long status_of(pid_t pid, const char *word) {
    char path[64], line[256];
    long number = -1;
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    FILE *file = fopen(path, "r");
    must(file != NULL);
    while (fgets(line, sizeof line, file))
        if (strncmp(line, word, strlen(word)) == 0)
            number = atol(line + strlen(word));
    fclose(file);
    return number;
}

static int descriptors_of(pid_t pid) {
    char path[64];
    int count = 0;
    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    DIR *folder = opendir(path);
    must(folder != NULL);
    while (readdir(folder))
        count++;
    closedir(folder);
    return count;
}

static bool all_are(size_t flag) {
    for (uint32_t i = 0; i < shared->lives; i++) {
        const char *life = (const char *)&shared->life[i];
        if (!shared->life[i].killed && !*(const _Atomic bool *)(life + flag))
            return false;
    }
    return true;
}

static void leave(uint32_t life) {
    int status;
    must_be(waitpid(shared->life[life].pid, &status, 0), shared->life[life].pid);
    must_be(status, 0);
}

// The living end, the first one last, which must have become what it was when it was alone.
static void end_in_order(struct slot *slots, int descriptors, long kib) {
    pid_t first = shared->life[0].pid;
    for (int i = 0; i < SLOTS; i++)
        if (slots[i].thaw_at > 0)
            thaw(&slots[i]);
    await(all_are(offsetof(struct life, ready)), "all are ready");
    shared->phase = QUIET;
    await(all_are(offsetof(struct life, quiet)), "all are quiet");
    shared->phase = END;
    await(all_are(offsetof(struct life, done)), "every monitor has given its notice");
    shared->phase = LEAVE;
    for (int i = 1; i < SLOTS; i++)
        leave(slots[i].life);
    await(descriptors_of(first) <= descriptors, "descriptors are closed");
    long grown = status_of(first, "RssAnon:") - kib;
    printf("the one never killed has grown by %ld KiB\n", grown);
#if !defined(SYS_ASAN) && !defined(SYS_TSAN) // these keep what was released
    ck_assert_int_le(grown, GROWTH_KIB_MAX);
#endif
    shared->phase = LEAVE_LAST;
    leave(0);
}

// ---- the checker ----

static struct { uint64_t sent, delivered, called, got, heard, notices, losses, unknown; } sum;

// What became of the messages from one life to another, by number.
struct pair {
    const struct record **sent; // [number]
    bool *got;                  // [number]
    uint32_t count;
};

static bool is_message(const struct record *it) {
    return it->verb == SENT || it->verb == DELIVERED || it->verb == CALLED;
}

#define each_record(it_, life_)                                                                    \
    (const struct record *it_ = (life_)->records; it_ < (life_)->records + (life_)->count; it_++)

static void find_sent(struct pair *pair, const struct life *from, uint32_t to) {
    uint32_t count = 0;
    for
        each_record(it, from) count += is_message(it) && it->with == to;
    pair->count = count;
    pair->sent = calloc(count + 1, sizeof *pair->sent);
    pair->got = calloc(count + 1, sizeof *pair->got);
    count = 0;
    for
        each_record(it, from) if (is_message(it) && it->with == to) {
            must_be(it->number, ++count);
            pair->sent[count] = it;
        }
}

// The sender was told that the message is there, or will be if nobody is lost.
static bool is_certain(const struct record *it) {
    return it->verb == DELIVERED ? it->outcome == 1 : it->outcome == 0;
}

// The sender was told that it never will be.
static bool is_never(const struct record *it) {
    switch (it->outcome) {
    case 0:
    case 1:
    case PENDING:
    case -ETIMEDOUT:
    case -ECANCELED:
    case -ECONNRESET: return false;
    case -ESRCH: return it->verb != CALLED; // that may also mean that it ended without an answer
    default: return true;
    }
}

static void check_got(struct pair *pair, const struct life *to, uint32_t from) {
    uint32_t last = 0;
    for
        each_record(it, to) {
            if (it->verb != GOT || it->with != from)
                continue;
            ck_assert_msg(it->number > last, "from %u: %u after %u", from, it->number, last);
            ck_assert_msg(it->number <= pair->count, "from %u: %u was never sent", from,
                          it->number);
            ck_assert_msg(!is_never(pair->sent[it->number]), "from %u: %u came, verb %d gave %d",
                          from, it->number, pair->sent[it->number]->verb,
                          pair->sent[it->number]->outcome);
            must_be(it->session, pair->sent[it->number]->session);
            last = it->number;
            pair->got[last] = true;
            sum.got++;
        }
}

// Whether the session ended as it should, with the end of the receiver.
static bool is_whole(const struct life *from, uint32_t to, uint32_t session) {
    for
        each_record(it, from) if (it->verb == TOLD && it->with == to &&
                                  it->session == session) return it->how == AC_FINISHED;
    return false;
}

static void check_missing(const struct pair *pair, uint32_t from, uint32_t to) {
    bool alive = !shared->life[to].killed;
    uint32_t later = 0; // session of a later message that came
    uint32_t whole = UINT32_MAX, looked = UINT32_MAX;
    for (uint32_t i = pair->count; i > 0; i--) {
        const struct record *it = pair->sent[i];
        if (it->session != looked && alive) {
            looked = it->session;
            whole = is_whole(&shared->life[from], to, looked) ? looked : UINT32_MAX;
        }
        bool answered = it->verb == CALLED || (it->verb == DELIVERED && alive);
        bool due = answered || it->session == later || it->session == whole;
        if (is_certain(it) && due)
            ck_assert_msg(pair->got[i], "%u to %u: %u is missing, session %u, verb %d gave %d",
                          from, to, i, it->session, it->verb, it->outcome);
        if (pair->got[i])
            later = it->session;
        sum.unknown += !is_certain(it) && !is_never(it);
    }
}

static void check_pair(uint32_t from, uint32_t to) {
    struct pair pair;
    find_sent(&pair, &shared->life[from], to);
    check_got(&pair, &shared->life[to], from);
    check_missing(&pair, from, to);
    free(pair.sent);
    free(pair.got);
}

// Nothing of a channel comes twice, and nothing is missing but before a subscription.
static void check_channel(const struct life *life, uint32_t of) {
    uint32_t last = 0;
    bool may_skip = false;
    for
        each_record(it, life) {
            if (it->with != of)
                continue;
            may_skip |= it->verb == SUBSCRIBED;
            if (it->verb != HEARD)
                continue;
            ck_assert_msg(it->number > last, "channel %u: %u after %u", of, it->number, last);
            ck_assert_msg(may_skip || it->number == last + 1, "channel %u: between %u and %u", of,
                          last, it->number);
            last = it->number;
            may_skip = false;
            sum.heard++;
        }
}

static void check_notice(const struct record *it, uint32_t of) {
    const struct life *life = &shared->life[of], *other = &shared->life[it->with];
    sum.notices++;
    if (it->how == AC_FINISHED) {
        must(!other->killed);
        return;
    }
    sum.losses++;
    must_be(it->how, AC_LOST);
    must(it->outcome == -ECONNRESET || it->outcome == -ENOTCONN || it->outcome == -ETIMEDOUT);
    ck_assert_msg(other->killed || other->stopped_long || life->stopped_long,
                  "%u lost %u, which was well: %s", of, it->with, ac_strerror(it->outcome));
}

static void check_notices(uint32_t of, uint32_t with) {
    const struct life *life = &shared->life[of];
    uint32_t watched = 0, told = 0;
    for
        each_record(it, life) {
            if (it->with != with)
                continue;
            watched += it->verb == WATCHED && it->outcome == 0;
            if (it->verb == TOLD) {
                told++;
                check_notice(it, of);
            }
            ck_assert_msg(told <= watched, "%u was told twice of %u", of, with);
        }
    ck_assert_msg(life->killed || told == watched, "%u: %u monitors on %u, %u notices", of, watched,
                  with, told);
}

static void check_answers(const struct life *life) {
    for
        each_record(it, life) {
            sum.sent += it->verb == SENT;
            sum.delivered += it->verb == DELIVERED;
            sum.called += it->verb == CALLED;
            ck_assert_msg(life->killed || it->outcome != PENDING, "verb %d has no answer",
                          it->verb);
        }
}

static void check_all(void) {
    // Lives that never met need no look.
    static bool met[LIVES_MAX];
    for (uint32_t i = 0; i < shared->lives; i++) {
        memset(met, 0, sizeof met);
        check_answers(&shared->life[i]);
        for
            each_record(it, &shared->life[i]) met[it->with] = true;
        for (uint32_t k = 0; k < shared->lives; k++) {
            if (!met[k])
                continue;
            check_pair(i, k);
            check_channel(&shared->life[i], k);
            check_notices(i, k);
        }
    }
}

TEST(promises_are_kept_while_processes_are_killed_and_stopped, .seconds_max = 7200) {
    const char *kills_text = getenv("KILLS"), *seed_text = getenv("SEED");
    int kills = kills_text ? atoi(kills_text) : 40, done = 0, long_stops = 0;
    uint64_t seed = seed_text ? strtoull(seed_text, NULL, 0) : (uint64_t)time(NULL);
    struct slot slots[SLOTS] = {{0}};
    printf("KILLS=%d SEED=%llu\n", kills, (unsigned long long)seed);
    dice = seed * 2 + 1;
    world_begin();
    shared = share(sizeof *shared);
    slots[0].life = born();
    await(shared->life[0].ready, "the first one is ready");
    int descriptors = descriptors_of(shared->life[0].pid);
    long kib = status_of(shared->life[0].pid, "RssAnon:");
    for (int i = 1; i < SLOTS; i++)
        slots[i].life = born();
    await(all_are(offsetof(struct life, ready)), "all are ready");
    while (done < kills) {
        pause_for(0.02 + draw(150) / 1e3);
        done += strike(slots, done, &long_stops);
    }
    end_in_order(slots, descriptors, kib);
    check_all();
    printf("%d kills, %d long stops, %u lives: %llu sent, %llu delivered, %llu called, %llu got, "
           "%llu unknown; %llu of channels; %llu notices, %llu of losses\n",
           done, long_stops, (unsigned)shared->lives, (unsigned long long)sum.sent,
           (unsigned long long)sum.delivered, (unsigned long long)sum.called,
           (unsigned long long)sum.got, (unsigned long long)sum.unknown,
           (unsigned long long)sum.heard, (unsigned long long)sum.notices,
           (unsigned long long)sum.losses);
    ck_assert_uint_gt(sum.got, 50u * (unsigned)kills);
    ck_assert_uint_ge(sum.losses, (unsigned)kills);
    world_end();
}
