// SPDX-License-Identifier: MIT
// The cargo of one computation at a node: what the client tells of it is read, the first variant
// that runs here is chosen, and what the store lacks is asked for and taken in. The formats stand
// at the head of cargo.c.
//
// Nothing that a client tells is believed: numbers are checked against the list of items, contents
// by their digests, and what a program needs is read once more from what has come.
#include "cluster/cluster_private.h"

#include <stdio.h>

static int read_items(struct intake *it, ac_value items, char *problem);
static int choose(struct intake *it, ac_value variants, char *problem);
static int find_items(struct intake *it, char *problem);

static int refuse(char *problem, const char *why) {
    snprintf(problem, PROBLEM_BYTES, "%s", why);
    return -EPROTO;
}

static int fail(char *problem, int err, const char *what) {
    if (!problem[0])
        snprintf(problem, PROBLEM_BYTES, "%s: %s", what, ac_strerror(err));
    return err;
}

// ---- what is told ----

int intake_open(struct intake *it, struct contents *contents, const struct elf_place *place,
                ac_value told, char problem[PROBLEM_BYTES]) {
    ac_value items, variants;
    *it = (struct intake){.contents = contents, .place = place, .upload.fd = -1};
    problem[0] = 0;
    if (ac_unpack(told, &items, &variants) != 0)
        return refuse(problem, "what the computation brings along is not understood here");
    int err = read_items(it, items, problem);
    if (!err)
        err = choose(it, variants, problem);
    ac_drop(items);
    ac_drop(variants);
    return err ? err : find_items(it, problem);
}

static bool read_item(struct intake_item *item, ac_value told) {
    ac_span digest;
    item->fd = -1;
    if (ac_unpack(told, &digest, &item->content.bytes) != 0 || digest.bytes != DIGEST_BYTES)
        return false;
    memcpy(item->content.digest, digest.at, DIGEST_BYTES);
    return true;
}

static int read_items(struct intake *it, ac_value items, char *problem) {
    size_t count = ac_count(items), cursor = 0;
    ac_value told;
    bool good = true;
    if (count == 0 || count > CARGO_ITEMS_MAX)
        return refuse(problem, "the computation brings nothing along, or too much");
    it->items = memory_allocate_zeroed(count * sizeof *it->items);
    if (!it->items)
        return fail(problem, -ENOMEM, "the program cannot be taken in");
    while (good && ac_next(items, &cursor, &told)) {
        struct intake_item *item = &it->items[it->count++];
        good = read_item(item, told);
        ac_drop(told);
        if (good && item->content.bytes > PROGRAM_BYTES_MAX)
            return refuse(problem, "a program or file of more than 1 GiB");
    }
    return good ? 0 : refuse(problem, "what the computation brings along is not understood here");
}

// ---- choosing ----

// Whether a variant runs here: 0, and *item is its item; or an error, and `why` says why not.
static int try_variant(const struct intake *it, ac_value variant, uint32_t *item, const char **name,
                       char *why) {
    ac_value needs;
    struct elf_facts facts;
    if (ac_unpack(variant, item, &needs, name) != 0)
        return refuse(why, "a variant that is not understood here");
    bool known = elf_of_value(needs, &facts) && *item < it->count;
    ac_drop(needs);
    if (!known || it->items[*item].content.bytes == 0)
        return refuse(why, "not a program");
    return elf_check(&facts, it->place, why);
}

// Appends "NAME: why", as far as there is room.
static void add_reason(char *problem, const char *name, const char *why) {
    size_t length = strlen(problem);
    snprintf(problem + length, PROBLEM_BYTES - length, "%s%s: %s", length ? "; " : "",
             name ? name : "", why);
}

static int choose(struct intake *it, ac_value variants, char *problem) {
    size_t count = ac_count(variants), cursor = 0;
    ac_value variant;
    int err = -ENOEXEC;
    problem[0] = 0;
    if (count == 0 || count > CARGO_VARIANTS_MAX)
        return refuse(problem, "the computation brings no program along, or too many");
    for (uint32_t i = 0; err && ac_next(variants, &cursor, &variant); i++) {
        char why[PROBLEM_BYTES] = "";
        const char *name = NULL;
        it->variant = i;
        err = try_variant(it, variant, &it->program, &name, why);
        if (err && count == 1)
            snprintf(problem, PROBLEM_BYTES, "%s", why);
        else if (err)
            add_reason(problem, name, why);
        ac_drop(variant);
    }
    if (!err)
        it->items[it->program].wanted = true;
    return err;
}

// ---- taking in ----

// What is wanted and lies in the store is opened. 1 if something is missing.
static int find_items(struct intake *it, char *problem) {
    int missing = 0;
    for (uint32_t i = 0; i < it->count; i++) {
        struct intake_item *item = &it->items[i];
        if (item->wanted)
            missing |= content_find(it->contents, &item->content, &item->fd) == 0;
    }
    problem[0] = 0;
    return missing;
}

static bool is_missing(const struct intake_item *item) { return item->wanted && item->fd < 0; }

ac_value intake_wanted(const struct intake *it) {
    ac_value numbers[CARGO_ITEMS_MAX];
    size_t count = 0;
    for (uint32_t i = 0; i < it->count; i++)
        if (is_missing(&it->items[i]))
            numbers[count++] = ac_of(i);
    return ac_list_of(numbers, count);
}

static int begin_item(struct intake *it, char *problem) {
    int err = upload_begin(&it->upload, it->contents, &it->items[it->next].content);
    it->uploading = !err;
    return err ? fail(problem, err, "the program cannot be stored here") : 0;
}

static int end_item(struct intake *it, char *problem) {
    int err = upload_end(&it->upload, &it->items[it->next].fd, problem);
    upload_close(&it->upload);
    it->uploading = false;
    return err ? fail(problem, err, "the upload cannot be stored") : 0;
}

// The next one that is missing begins. What is empty is ended at once: nothing comes for it.
static int next_item(struct intake *it, char *problem) {
    int err = 0;
    while (!err && !it->uploading) {
        while (it->next < it->count && !is_missing(&it->items[it->next]))
            it->next++;
        if (it->next == it->count)
            return 0;
        err = begin_item(it, problem);
        if (!err && it->items[it->next].content.bytes == 0)
            err = end_item(it, problem);
    }
    return err;
}

int intake_add(struct intake *it, uint32_t number, uint64_t offset, ac_span piece,
               char problem[PROBLEM_BYTES]) {
    problem[0] = 0;
    int err = next_item(it, problem);
    if (err)
        return err;
    err = !it->uploading || number != it->next
              ? -EPROTO
              : upload_add(&it->upload, offset, piece.at, piece.bytes);
    if (err)
        return fail(problem, err, "the upload cannot be stored");
    return it->upload.received == it->upload.content.bytes ? end_item(it, problem) : 0;
}

int intake_end(struct intake *it, char problem[PROBLEM_BYTES]) {
    struct elf_facts needs;
    problem[0] = 0;
    int err = next_item(it, problem);
    if (!err && it->uploading)
        err = end_item(it, problem); // which is incomplete, and says so
    if (!err)
        err = elf_read(intake_program(it), &needs, problem);
    if (!err)
        err = elf_check(&needs, it->place, problem);
    return err ? fail(problem, err, "the program cannot be read") : 0;
}

int intake_program(const struct intake *it) {
    return it->program < it->count ? it->items[it->program].fd : -1;
}

void intake_close(struct intake *it) {
    for (uint32_t i = 0; i < it->count; i++)
        sys_fd_close(it->items[i].fd);
    if (it->uploading)
        upload_close(&it->upload);
    memory_release(it->items);
    *it = (struct intake){.upload.fd = -1};
}
