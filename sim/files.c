// SPDX-License-Identifier: MIT
// The story of processes that talk: files that they send one another, and delete, and what the
// oracle knows of them.
//
// A file to be sent is a *gift*: a name at a place, and bytes that follow from its number, so that
// two gifts never have the same ones. It is sent until that succeeds or cannot, now and then by
// two at once, or changes while it is sent. What is in the folder of a place is seen on its disk
// (disk.c), when it happens. A name there is a *shelf*.
//
// Checked: what has a name is whole, is what somebody sends there now, and has come there no more
// often than it was sent; a call that succeeds has had its file named, one that is refused has not;
// each error has a cause; nobody who lives is lost while connections are only cut; what is there of
// a file is neither written again nor removed without a cause, and is where the next one begins;
// nothing lies in the folder that nobody sends, and not more than it may hold.
#include "story.h"

#include <stdio.h>
#include <stdlib.h>

#include "disk.h"
#include "remote/store.h"

enum {
    SENDERS = 2,
    CROWD = 30,
    ATTEMPTS_MAX = 5,
    LARGE_BYTES = 1200 << 10,
    PING_BYTES = 150 << 10,
    GIFTS_LATEST = 8,
    BLOCK_BYTES = 4096,
    SOURCE_OF_OUTSIDER = 0
};

#define STRETCH_NS (5 * SIM_S)

struct gift {
    uint32_t number; // from 1
    uint32_t place;  // where it is to go
    char name[64];
    bool is_new;      // it must not replace another one
    bool changed;     // a second version has taken the place of the first
    uint64_t seed[2]; // of both versions
    uint64_t bytes[2];
    uint32_t maybe; // attempts under way, and those of which nobody knows whether they have done it
    uint32_t sent;  // that have
    uint32_t named; // how often it has got its name
    uint32_t lost;  // how often what was there of it was removed
    bool visible;   // has it now
    ac_time visible_until;
    struct inode *part; // what is there of it; NULL: nothing
};

struct shelf {
    struct shelf *next;
    char name[DISK_PATH_BYTES];
    struct inode *now;                // what has the name
    ac_time missing_at;               // until when nothing had it, last
    uint32_t removed, deleted, maybe; // as of a gift
    const struct inode *writing;      // the part of this name that was written last
    const struct opened *writer;
    const struct gift *told; // what it had before the power went
};

struct place {
    struct shelf *shelves;
    struct ac_transfer_limits limits;
    uint64_t capacity;
    uint64_t peak[2]; // bytes that have been there, in the last stretch of time and in this one
    int64_t stretch;
    uint64_t last; // how many there were
    uint64_t due;  // bytes of gifts that are under way to it
    uint32_t refusals;
    uint32_t power_losses;
    uint32_t failures; // to write
};

static struct {
    struct gift **gifts; // by number - 1
    uint32_t count;
    struct place *places;
    bool lies; // the next name is not looked at where it is sent
} files;

static const char *const names[] = {"a", "d/a", "d/b", "d/e/c", "f", "f/g", "h/a", "h/b"};
static const char *const bad_names[] = {"..",  "../a", "d/../../a", "/a",         "d//a",
                                        "d/.", "",     "a/",        ".asyncoro/a"};

bool __wrap_store_name_is_good(const char *name, size_t bytes);
bool __real_store_name_is_good(const char *name, size_t bytes);

// Who sends may say anything: it is looked at where it arrives.
__attribute__((used)) bool __wrap_store_name_is_good(const char *name, size_t bytes) {
    bool lies = files.lies;
    files.lies = false;
    return lies || __real_store_name_is_good(name, bytes);
}

static void *need(void *it) {
    if (!it)
        abort();
    return it;
}

// ---- bytes ----

static uint64_t word_at(uint64_t seed, uint64_t i) {
    uint64_t state = seed + i * 0x9e3779b97f4a7c15;
    return random_step(&state);
}

static void bytes_at(uint64_t seed, uint64_t offset, uint8_t *to, size_t count) {
    while (count > 0) {
        uint64_t word = word_at(seed, offset / 8);
        size_t from = offset % 8, some = 8 - from < count ? 8 - from : count;
        memcpy(to, (const uint8_t *)&word + from, some);
        to += some;
        offset += some;
        count -= some;
    }
}

static bool is_beginning_of(const struct inode *it, uint64_t seed, uint64_t bytes) {
    uint8_t some[4096];
    for (uint64_t at = 0; at < it->length; at += sizeof some) {
        uint64_t left = it->length - at;
        size_t count = left < sizeof some ? (size_t)left : sizeof some;
        bytes_at(seed, at, some, count);
        if (memcmp(it->bytes + at, some, count) != 0)
            return false;
    }
    return it->length <= bytes;
}

static uint64_t source_bytes(uint32_t source) {
    if (source == SOURCE_OF_OUTSIDER)
        return BLOCK_BYTES;
    const struct gift *gift = files.gifts[source - 1];
    return gift->bytes[gift->changed];
}

static int source_read(uint32_t source, uint64_t offset, void *to, size_t count) {
    uint64_t bytes = source_bytes(source), seed = 0;
    if (source != SOURCE_OF_OUTSIDER) {
        const struct gift *gift = files.gifts[source - 1];
        seed = gift->seed[gift->changed];
    }
    if (offset > bytes || count > bytes - offset)
        return -ENODATA;
    bytes_at(seed, offset, to, count);
    return 0;
}

// ---- what the disks tell ----

static struct shelf *shelf_of(uint32_t place, const char *name) {
    struct shelf **at = &files.places[place].shelves;
    while (*at && strcmp((*at)->name, name) != 0)
        at = &(*at)->next;
    if (*at)
        return *at;
    *at = need(calloc(1, sizeof **at));
    (*at)->missing_at = sim.now;
    strcpy((*at)->name, name);
    return *at;
}

static struct shelf *shelf_at(const struct inode *it) {
    char path[DISK_PATH_BYTES];
    disk_path(it, path);
    return shelf_of(it->disk, path);
}

static bool fits(const struct gift *gift, const struct inode *it, unsigned version) {
    uint64_t word = word_at(gift->seed[version], 0);
    return it->length >= sizeof word ? memcmp(it->bytes, &word, sizeof word) == 0
                                     : it->length == 0 && gift->bytes[version] == 0;
}

// The gift of which this is something. A name: NULL if any will do.
static struct gift *gift_of(const struct inode *it, const char *name) {
    for (uint32_t i = files.count; i-- > 0;) {
        struct gift *gift = files.gifts[i];
        if (gift->place == it->disk && (!name || strcmp(gift->name, name) == 0) &&
            (fits(gift, it, 0) || fits(gift, it, 1)))
            return gift;
    }
    return NULL;
}

static void check_room(const struct place *place, uint32_t disk) {
    uint64_t most = place->limits.all_bytes_max, all = disk_bytes(disk, false);
    if (most == 0 || all <= most)
        return;
    for (const struct shelf *it = place->shelves; it; it = it->next)
        if (it->writing && it->now) // which will be replaced
            most += it->now->length > BLOCK_BYTES ? it->now->length : BLOCK_BYTES;
    sim_check(all <= most, "place %u has %llu bytes of the %llu that it may", disk,
              (unsigned long long)all, (unsigned long long)most);
}

static void note_bytes(uint32_t disk) {
    struct place *place = &files.places[disk];
    uint64_t all = disk_bytes(disk, true) + place->due;
    int64_t stretch = sim.now / STRETCH_NS;
    if (stretch != place->stretch)
        place->peak[0] = stretch == place->stretch + 1 ? place->peak[1] : place->last;
    if (stretch != place->stretch)
        place->peak[1] = place->last;
    place->stretch = stretch;
    place->last = all;
    place->peak[1] = all > place->peak[1] ? all : place->peak[1];
    check_room(place, disk);
}

// No more are written at once than may be.
static void check_at_once(const struct place *place, uint32_t disk) {
    uint32_t count = 0;
    for (const struct shelf *it = place->shelves; it; it = it->next)
        count += it->writing && it->writing->keeper == it->writer;
    sim_check(count <= place->limits.at_once, "place %u writes %u files at once", disk, count);
}

static void wrote(struct inode *it, const struct opened *by) {
    struct gift *gift = it->of ? it->of : gift_of(it, NULL);
    sim_check(gift, "place %u writes what nobody sends", it->disk);
    it->of = gift;
    gift->part = it;
    struct shelf *shelf = shelf_of(it->disk, gift->name);
    sim_check(!shelf->writing || shelf->writing == it || shelf->writing->keeper != shelf->writer,
              "two files that are to be %s at place %u are written at once", gift->name, it->disk);
    shelf->writing = it;
    shelf->writer = by;
    check_at_once(&files.places[it->disk], it->disk);
    note_bytes(it->disk);
}

static void becomes(struct shelf *shelf, struct inode *it) {
    struct gift *old = shelf->now ? shelf->now->of : NULL;
    if (old && shelf->now != it) {
        old->visible = false;
        old->visible_until = sim.now;
    }
    if (it && !shelf->now)
        shelf->missing_at = sim.now;
    shelf->now = it;
}

// What has a name is whole.
static struct gift *check_whole(struct inode *it, struct shelf *shelf) {
    struct gift *gift = gift_of(it, shelf->name);
    sim_check(gift, "what is %s at place %u was never sent", shelf->name, it->disk);
    bool whole = false;
    for (unsigned i = 0; i < 2; i++)
        whole |= it->length == gift->bytes[i] && is_beginning_of(it, gift->seed[i], gift->bytes[i]);
    sim_check(whole, "%s of place %u has its name and is not whole", shelf->name, it->disk);
    sim_check(it->permissions == 0644, "%s of place %u may be used by others", shelf->name,
              it->disk);
    return gift;
}

static void named(struct inode *it) {
    struct node *node = sim.running->of;
    struct shelf *shelf = shelf_at(it);
    sim_note("named", node->number, it->disk, it->length);
    sim_check(node->place == it->disk, "node %u writes at place %u", node->number, it->disk);
    struct gift *gift = check_whole(it, shelf);
    sim_check(it->length == 0 || gift->named < gift->sent + gift->maybe,
              "gift %u has got its name more often than it was sent", gift->number);
    sim_check(!gift->is_new || !shelf->now || it->length == 0,
              "gift %u was to be new and has replaced another", gift->number);
    it->of = gift;
    becomes(shelf, it);
    gift->named++;
    gift->visible = true;
    gift->part = NULL;
    shelf->writing = NULL;
    node->files_named++;
    note_bytes(it->disk);
}

// Names that cannot be had while another one is: a file stands where a folder is to be.
static bool is_in_the_way(const char *name) { return name[0] == 'f'; }

static void removed_part(const struct inode *it) {
    struct gift *gift = it->of;
    const struct place *place = &files.places[it->disk];
    if (it->length == 0 || !gift)
        return;
    gift->lost++;
    gift->part = NULL;
    if (it->damaged)
        return;
    double age = (double)(sim.now - it->modified) * 1e-9;
    sim_check(gift->changed || gift->is_new || is_in_the_way(gift->name) ||
                  age > place->limits.keep_s,
              "place %u has removed what is there of gift %u", it->disk, gift->number);
}

static void removed(struct inode *it) {
    struct node *node = sim.running->of;
    sim_check(node->place == it->disk, "node %u removes at place %u", node->number, it->disk);
    if (!disk_is_public(it)) {
        removed_part(it);
        return;
    }
    struct shelf *shelf = shelf_at(it);
    sim_note("removed", node->number, it->disk, it->length);
    sim_check(shelf->removed < shelf->deleted + shelf->maybe, "nobody has deleted %s of place %u",
              shelf->name, it->disk);
    shelf->removed++;
    becomes(shelf, NULL);
}

static void gone(struct inode *it) {
    struct gift *gift = it->of;
    if (gift && gift->part == it)
        gift->part = NULL;
    for (struct shelf *at = files.places[it->disk].shelves; at; at = at->next) {
        if (at->writing == it)
            at->writing = NULL;
        if (at->now == it)
            at->now = NULL;
    }
}

static void look_again(struct inode *it) {
    if (!disk_is_public(it))
        return;
    struct shelf *shelf = shelf_at(it);
    struct gift *gift = it->of = check_whole(it, shelf);
    gift->visible = true;
    becomes(shelf, it);
}

static void power_lost(uint32_t disk) {
    files.places[disk].power_losses++;
    for (struct shelf *at = files.places[disk].shelves; at; at = at->next) {
        at->told = at->now ? at->now->of : NULL;
        if (at->told && at->told->named != at->told->sent) // somebody may not have been told
            at->told = NULL;
        becomes(at, NULL);
    }
    disk_each(disk_root(disk), look_again);
    for (const struct shelf *at = files.places[disk].shelves; at; at = at->next)
        sim_check(!at->told || (at->now && at->now->of == at->told),
                  "gift %u was sent, and is gone with the power", at->told ? at->told->number : 0);
}

static uint64_t capacity(uint32_t disk) { return files.places[disk].capacity; }

static bool fails(uint32_t disk) {
    bool it = story.weather & WEATHER_SLOW && story.phase == PHASE_TALK && sim_chance(2);
    files.places[disk].failures += it;
    return it;
}

const struct disk_watch disk_watch = {.source_bytes = source_bytes,
                                      .source_read = source_read,
                                      .capacity = capacity,
                                      .fails = fails,
                                      .wrote = wrote,
                                      .named = named,
                                      .removed = removed,
                                      .gone = gone,
                                      .power_lost = power_lost};

// ---- one attempt ----

// What was so when it began.
struct attempt {
    struct node *node, *of;
    struct gift *gift; // NULL: something is to be deleted
    struct shelf *shelf;
    ac_time began;
    ac_time deadline; // of the node's clock
    uint32_t named, lost, removed, refusals, power_losses, failures;
    uint64_t there; // bytes of it
    uint64_t bytes; // in all
};

static void attempt_begin(struct attempt *it) {
    const struct place *place = &files.places[it->of->place];
    it->began = sim.now;
    it->removed = it->shelf->removed;
    it->refusals = place->refusals;
    it->power_losses = place->power_losses;
    it->failures = place->failures;
    if (!it->gift) {
        it->shelf->maybe++;
        return;
    }
    it->named = it->gift->named;
    it->lost = it->gift->lost;
    it->there = it->gift->part ? it->gift->part->length : 0;
    it->bytes = source_bytes(it->gift->number);
    it->gift->maybe++;
    files.places[it->of->place].due += it->bytes + BLOCK_BYTES;
    note_bytes(it->of->place);
}

static bool is_maybe(int result) {
    return result == -EHOSTUNREACH || result == -ECONNRESET || result == -ETIMEDOUT ||
           result == -ECANCELED;
}

// Why somebody may be told so.
static bool has_no_room(const struct attempt *it, uint64_t most) {
    const struct place *place = &files.places[it->of->place];
    note_bytes(it->of->place);
    uint64_t peak = place->peak[0] > place->peak[1] ? place->peak[0] : place->peak[1];
    return peak >= most || it->began < (place->stretch - 1) * STRETCH_NS;
}

static bool has_cause(const struct attempt *it, int result) {
    const struct place *place = &files.places[it->of->place];
    const struct gift *gift = it->gift;
    switch (result) {
    case -ETIMEDOUT: return ac_now() >= it->deadline;
    case -ECANCELED: return it->node->stopping;
    case -EHOSTUNREACH:
    case -ECONNRESET: oracle_lost(it->node, it->of, -ETIMEDOUT); return true;
    case -EACCES: return place->refusals != it->refusals || it->of->refuses;
    case -EISDIR:
    case -ENOTDIR: return is_in_the_way(it->shelf->name);
    case -EIO: return place->failures != it->failures;
    case -ENOENT: return !gift && (!it->shelf->now || it->shelf->missing_at >= it->began);
    default: break;
    }
    if (!gift)
        return false;
    switch (result) {
    case -EFBIG: return source_bytes(gift->number) > place->limits.file_bytes_max;
    case -EDQUOT:
        return place->limits.all_bytes_max && has_no_room(it, place->limits.all_bytes_max);
    case -ENOSPC: return has_no_room(it, place->capacity - place->limits.free_bytes_min);
    case -EEXIST: return gift->is_new;
    case -EBADMSG: return gift->changed || place->power_losses > 0;
    default: return false;
    }
}

static void check_success(const struct attempt *it, int result) {
    const struct gift *gift = it->gift;
    if (!gift)
        sim_check(result == 0 && it->shelf->removed > it->removed,
                  "node %u was told that %s is deleted, which it is not", it->node->number,
                  it->shelf->name);
    else if (gift->bytes[0] == 0)
        sim_check(it->shelf->now || it->shelf->removed, "nothing has come of gift %u",
                  gift->number);
    else if (result == 0)
        sim_check(gift->named > it->named, "gift %u was sent, and did not get its name",
                  gift->number);
    else
        sim_check(result == 1 && (gift->visible || gift->visible_until >= it->began),
                  "gift %u was said to be there already, and is not", gift->number);
}

static void attempt_end(const struct attempt *it, int result) {
    struct gift *gift = it->gift;
    uint64_t number = gift ? gift->number : 0;
    sim_note("file", it->node->number, number, (uint64_t)(int64_t)result);
    if (result >= 0)
        check_success(it, result);
    else
        sim_check(has_cause(it, result), "node %u %s %s at place %u and got: %s", it->node->number,
                  gift ? "sends" : "deletes", it->shelf->name, it->of->place, ac_strerror(result));
    if (gift)
        files.places[it->of->place].due -= it->bytes + BLOCK_BYTES;
    uint32_t *maybe = gift ? &gift->maybe : &it->shelf->maybe;
    uint32_t *done = gift ? &gift->sent : &it->shelf->deleted;
    if (is_maybe(result))
        return;
    --*maybe;
    *done += result == 0;
    if (gift && gift->bytes[0] > 0)
        sim_check(gift->named <= gift->sent + *maybe,
                  "gift %u was refused (%s) and has got its name", gift->number,
                  ac_strerror(result));
    else if (!gift)
        sim_check(it->shelf->removed <= *done + *maybe, "%s is not to be deleted, and was",
                  it->shelf->name);
}

// What it was told meanwhile: where it began, and that it went on.
static void hear_progress(const struct attempt *it, int result) {
    const struct place *place = &files.places[it->of->place];
    const struct gift *gift = it->gift;
    uint64_t last = 0;
    bool first = true;
    ac_value message;
    while (ac_receive(&message, AC_NOW) == 0) {
        uint64_t there = story_number_at(message, 1);
        ac_drop(message);
        if (gift->changed)
            continue;
        sim_check(!first || there >= it->there || gift->lost != it->lost ||
                      gift->named > it->named + 1 || place->power_losses != it->power_losses,
                  "gift %u is sent from %llu on though %llu bytes of it are there", gift->number,
                  (unsigned long long)there, (unsigned long long)it->there);
        sim_check(there >= last && there <= it->bytes, "gift %u goes backwards", gift->number);
        first = false;
        last = there;
    }
    sim_check(result < 0 || last == it->bytes || gift->changed || it->node->stopping,
              "gift %u was sent, and its sender knows of %llu of %llu bytes", gift->number,
              (unsigned long long)last, (unsigned long long)it->bytes);
}

static int send_once(struct node *node, struct gift *gift, struct node *of, double seconds) {
    char path[32];
    struct attempt it = {.node = node,
                         .of = of,
                         .gift = gift,
                         .shelf = shelf_of(gift->place, gift->name),
                         .deadline = ac_after(seconds)};
    snprintf(path, sizeof path, "/source/%u", gift->number);
    attempt_begin(&it);
    uint64_t peer = ac_ref_peer(of == node ? ac_self() : of->inbox);
    int result = ac_transfer_send(peer, path, gift->name, it.deadline, .is_new = gift->is_new,
                                  .told = ac_self());
    attempt_end(&it, result);
    hear_progress(&it, result);
    return result;
}

static void delete_once(struct node *node, struct node *of, const char *name) {
    struct attempt it = {.node = node,
                         .of = of,
                         .shelf = shelf_of(of->place, name),
                         .deadline = ac_after(ac_random_real(0.1, 10))};
    attempt_begin(&it);
    attempt_end(&it, ac_transfer_delete(ac_ref_peer(of->inbox), name, it.deadline));
}

static void lie_once(struct node *node, struct node *of) {
    const char *name = bad_names[ac_random_int(0, countof(bad_names) - 1)];
    ac_time deadline = ac_after(ac_random_real(0.1, 10));
    uint64_t peer = ac_ref_peer(of->inbox);
    files.lies = true;
    int err = ac_random_int(0, 1) ? ac_transfer_send(peer, "/source/0", name, deadline)
                                  : ac_transfer_delete(peer, name, deadline);
    sim_note("lie", node->number, of->number, (uint64_t)(int64_t)err);
    sim_check(err == -EINVAL || is_maybe(err) || err == -EACCES,
              "node %u sends '%s' to node %u and gets: %s", node->number, name, of->number,
              ac_strerror(err));
}

// ---- what nodes do ----

static uint64_t draw_bytes(void) {
    int64_t sort = ac_random_int(0, 99);
    if (sort < 5)
        return 0;
    return (uint64_t)ac_random_int(16, sort < 45   ? BLOCK_BYTES
                                       : sort < 75 ? 100 << 10
                                       : sort < 94 ? 600 << 10
                                                   : LARGE_BYTES);
}

static struct gift *gift_new(uint32_t place, const char *name, uint64_t bytes) {
    struct gift *it = need(calloc(1, sizeof *it));
    files.gifts = need(realloc(files.gifts, (files.count + 1) * sizeof(struct gift *)));
    files.gifts[files.count++] = it;
    *it = (struct gift){.number = files.count, .place = place, .visible_until = -1};
    snprintf(it->name, sizeof it->name, "%s", name);
    for (int i = 0; i < 2; i++) {
        it->seed[i] = sim_random();
        it->bytes[i] = bytes;
    }
    if (bytes > BLOCK_BYTES && sim_chance(500))
        it->bytes[1] -= 1 + sim_below(BLOCK_BYTES);
    return it;
}

static struct gift *draw_gift(uint32_t place) {
    for (uint32_t i = 0; i < GIFTS_LATEST && i < files.count; i++) {
        struct gift *it = files.gifts[files.count - 1 - i];
        if (it->place == place && ac_random_int(0, 3) == 0)
            return it; // of another one, who may be at it
    }
    char own[32];
    snprintf(own, sizeof own, "own/%u", files.count);
    bool is_own = ac_random_int(0, 4) == 0;
    struct gift *it = gift_new(place, is_own ? own : names[ac_random_int(0, countof(names) - 1)],
                               draw_bytes());
    it->is_new = ac_random_int(0, 9) == 0;
    return it;
}

static void change(uint64_t number, uint64_t unused) {
    (void)unused;
    files.gifts[number - 1]->changed = true;
}

// Whether it is to be tried again.
static bool try_once(struct node *node, struct gift *gift) {
    ac_ref inbox;
    struct node *of = node->place == gift->place
                          ? node
                          : story_find(node, gift->place, "inbox", SIM_INBOX, ac_after(2), &inbox);
    if (!of)
        return true;
    bool patient = ac_random_int(0, 1);
    int result = send_once(node, gift, of, patient ? 100 : ac_random_real(0, 0.5));
    return is_maybe(result) || result == -EIO || result == -EACCES;
}

static void send_some(struct node *node) {
    uint32_t place = ac_random_int(0, 9) ? story_other_place(node) : node->place;
    struct gift *gift = draw_gift(place);
    if (!gift->changed && ac_random_int(0, 19) == 0)
        sim_at(sim.now + (ac_time)sim_below(50 * (uint64_t)SIM_MS), change, gift->number, 0);
    for (int i = 0; i < ATTEMPTS_MAX && story.phase == PHASE_TALK && try_once(node, gift); i++)
        (void)ac_sleep(ac_random_real(0, 1));
}

static ac_value send_files(ac_value argument) {
    struct node *node = ac_pointer_of(argument);
    while (story.phase == PHASE_TALK && ac_sleep(ac_random_real(0, 1)) == 0) {
        int64_t sort = ac_random_int(0, 9);
        if (sort < 7) {
            send_some(node);
            continue;
        }
        ac_ref inbox;
        struct node *of = story_find(node, story_other_place(node), "inbox", SIM_INBOX, ac_after(2),
                                     &inbox);
        if (of && sort < 9)
            delete_once(node, of, names[ac_random_int(0, countof(names) - 1)]);
        else if (of)
            lie_once(node, of);
    }
    node->senders--;
    return ac_nil;
}

static ac_value hear_files(ac_value argument) {
    struct node *node = ac_pointer_of(argument);
    ac_value message;
    while (ac_receive(&message, AC_FOREVER) == 0) {
        ac_value what = ac_at(message, 0);
        node->files_told += strcmp(ac_text_of(what), "received") == 0;
        sim_check(node->files_told <= node->files_named,
                  "node %u was told of a file that it has"
                  " not got",
                  node->number);
        ac_drop(what);
        ac_drop(message);
    }
    return ac_nil;
}

static void accept_files(struct node *node) {
    char folder[32];
    snprintf(folder, sizeof folder, "/%u", node->place);
    struct ac_transfer_limits limits = files.places[node->place].limits;
    limits.told = node->clerk;
    int err = ac_transfer_accept_with(folder, &limits);
    sim_check(err == 0, "node %u cannot accept files: %s", node->number, ac_strerror(err));
    node->refuses = false;
}

// Now and then nobody may send any more, or all is put anew: what is under way breaks off.
static ac_value steer_files(ac_value argument) {
    struct node *node = ac_pointer_of(argument);
    while (ac_sleep(ac_random_real(2, 20)) == 0 && story.phase == PHASE_TALK) {
        files.places[node->place].refusals++;
        node->refuses = ac_random_int(0, 1);
        if (node->refuses) {
            sim_check(ac_transfer_refuse() == 0, "node %u cannot refuse files", node->number);
            (void)ac_sleep(ac_random_real(0, 0.3));
        }
        files.places[node->place].refusals++; // an answer may be on its way
        accept_files(node);
    }
    return ac_nil;
}

// In a crowd some alone send, for time.
static uint32_t senders(const struct node *node) {
    return story.places <= CROWD ? SENDERS : node->place % 8 == 0;
}

void files_start(struct node *node) {
    node->clerk = ac_spawn(hear_files, ac_of_pointer(node), .daemon = true);
    accept_files(node);
    if (story.phase != PHASE_TALK)
        return;
    (void)ac_spawn(steer_files, ac_of_pointer(node), .daemon = true);
    for (; node->senders < senders(node); node->senders++)
        (void)ac_spawn(send_files, ac_of_pointer(node), .daemon = true);
}

static ac_value send_at_last(ac_value argument) {
    struct node *node = ac_pointer_of(argument);
    uint32_t place = ac_random_int(0, 2) ? story_other_place(node) : node->place;
    const char *name = names[ac_random_int(0, countof(names) - 1)];
    uint64_t bytes = story.places > CROWD ? PING_BYTES : LARGE_BYTES;
    (void)send_once(node, gift_new(place, name, bytes), story.at[place], 10);
    return ac_nil;
}

// Its process ends in the middle of some.
void files_leave(struct node *node) {
    for (uint32_t i = 0; i < senders(node); i++)
        (void)ac_spawn(send_at_last, ac_of_pointer(node), .daemon = true);
    (void)ac_sleep(ac_random_real(0, 0.03));
}

// To one place, when all is well.
void files_ping(struct node *node, uint32_t place) {
    char name[32];
    ac_ref inbox;
    if (senders(node) == 0)
        return;
    struct node *of = story_find(node, place, "inbox", SIM_INBOX, ac_after(20), &inbox);
    sim_check(of == story.at[place], "node %u does not find place %u", node->number, place);
    while (of->refuses && ac_sleep(0.05) == 0)
        continue;
    snprintf(name, sizeof name, "ping/%u", node->number);
    int result = send_once(node, gift_new(place, name, PING_BYTES), of, 20);
    sim_check(result == 0 || result == -EDQUOT || result == -ENOSPC,
              "node %u cannot send a file to node %u though all is well: %s", node->number,
              of->number, ac_strerror(result));
}

// ---- at the end ----

static uint32_t parts;

static void check_left(struct inode *it) {
    if (disk_is_public(it)) {
        (void)check_whole(it, shelf_at(it));
        return;
    }
    const struct gift *gift = it->of;
    parts++;
    sim_check(!it->keeper, "place %u still keeps a part that nobody sends", it->disk);
    sim_check(it->length > 0 || story.node_count > story.places,
              "place %u has kept a part with nothing in it", it->disk);
    if (it->length == 0 || it->damaged)
        return;
    sim_check(gift && (is_beginning_of(it, gift->seed[0], gift->bytes[0]) ||
                       is_beginning_of(it, gift->seed[1], gift->bytes[1]) || gift->changed),
              "place %u has kept a part of nothing", it->disk);
    sim_check(gift->maybe > 0 || gift->changed || files.places[it->disk].failures > 0 ||
                  files.places[it->disk].refusals > 0,
              "place %u has kept a part of gift %u, which nobody has left", it->disk, gift->number);
}

void files_check_all(void) {
    for (uint32_t place = 0; place < story.places; place++) {
        const struct node *node = story.at[place];
        parts = 0;
        disk_each(disk_root(place), check_left);
        sim_check(parts <= STORE_PARTS_MAX, "place %u has kept %u parts", place, parts);
        sim_check(node->senders == 0, "%u senders of node %u wait for ever", node->senders,
                  node->number);
        sim_check(node->files_told == node->files_named,
                  "node %u was told of %u files and has got %u", node->number, node->files_told,
                  node->files_named);
    }
}

size_t files_memory(void) {
    enum { CHUNK = 256 << 10, WAY = 9 * TRANSFER_PIECE_BYTES, TAKES = 4 };
    return (SENDERS + 1) * CHUNK + (size_t)TAKES * (CHUNK + WAY);
}

void files_begin(void) {
    memset(&files, 0, sizeof files);
    files.places = need(calloc(story.places, sizeof *files.places));
    sim.has_threads = true;
    for (uint32_t i = 0; i < story.places; i++) {
        struct place *it = &files.places[i];
        it->capacity = (uint64_t)(sim_chance(200) ? 4 : 1000) << 20;
        it->limits = (struct ac_transfer_limits){
            .size = sizeof it->limits,
            .file_bytes_max = (uint64_t)(sim_chance(200) ? 1 : 2) << 20,
            .all_bytes_max = sim_chance(400) ? (uint64_t)(1 + sim_below(6)) << 20 : 0,
            .free_bytes_min = 1 << 20,
            .at_once = 1 + (uint32_t)sim_below(4),
            .idle_s = story.weather & WEATHER_FREEZES && sim_chance(500) ? 3 : 60,
            .keep_s = sim_chance(300) ? 5 : 3600,
            .no_sync = !(story.weather & WEATHER_POWER) && sim_chance(500)};
    }
}

void files_end(void) {
    disk_end();
    for (uint32_t i = 0; i < files.count; i++)
        free(files.gifts[i]);
    for (uint32_t i = 0; i < story.places; i++)
        for (struct shelf *it; (it = files.places[i].shelves);) {
            files.places[i].shelves = it->next;
            free(it);
        }
    free(files.gifts);
    free(files.places);
}
