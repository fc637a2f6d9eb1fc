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
static int read_files(struct intake *it, ac_value told, int use, char *problem);
static int choose(struct intake *it, ac_value variants, char *problem);
static int read_source(struct intake *it, ac_value source, char *problem);
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
    ac_value items, variants, files, source;
    *it = (struct intake){.contents = contents, .place = place, .upload.fd = -1};
    it->folder = (struct folder){.fd = -1, .work = -1};
    it->made = -1;
    problem[0] = 0;
    if (ac_unpack(told, &items, &variants, &files, &source, &it->output) != 0)
        return refuse(problem, "what the computation brings along is not understood here");
    int err = read_items(it, items, problem);
    if (!err)
        err = choose(it, variants, problem);
    if (err == -ENOEXEC && !ac_is_nil(source))
        err = read_source(it, source, problem);
    if (!err)
        err = read_files(it, files, FILE_PLAIN, problem);
    ac_drop(items);
    ac_drop(variants);
    ac_drop(files);
    ac_drop(source);
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

static int read_file(struct intake *it, ac_value told, int use, char *problem) {
    struct intake_file *file = &it->files[it->file_count];
    ac_span name;
    *file = (struct intake_file){0};
    file->use = use;
    int err = use == FILE_PLAIN ? ac_unpack(told, &file->item, &name, &file->writable)
                                : ac_unpack(told, &file->item, &name);
    if (err || file->item >= it->count || name.bytes > NAME_BYTES_MAX)
        return refuse(problem, "a file that travels along is not understood here");
    memcpy(file->name, name.at, name.bytes);
    if (memchr(name.at, 0, name.bytes) || !folder_name_is_good(file->name) ||
        (use == FILE_LIBRARY && strchr(file->name, '/')))
        return refuse(problem, "a file that travels along has a name that is none");
    it->items[file->item].wanted |= use != FILE_SOURCE;
    it->file_count++;
    return 0;
}

// Of the cargo, of its source, or the libraries of the variant that was chosen.
static int read_files(struct intake *it, ac_value told, int use, char *problem) {
    size_t count = ac_count(told), cursor = 0;
    ac_value file;
    int err = 0;
    if (count == 0)
        return 0;
    if (count + it->file_count > CARGO_ITEMS_MAX)
        return refuse(problem, "too many files travel along");
    if (!it->files)
        it->files = memory_allocate_zeroed(CARGO_ITEMS_MAX * sizeof *it->files);
    if (!it->files)
        return fail(problem, -ENOMEM, "the files cannot be taken in");
    while (!err && ac_next(told, &cursor, &file)) {
        err = read_file(it, file, use, problem);
        ac_drop(file);
    }
    return err;
}

// ---- choosing ----

// Whether a variant runs here: 0, and *item is its item, *libraries to be dropped; or an error, and
// `why` says why not.
static int try_variant(const struct intake *it, ac_value variant, uint32_t *item, const char **name,
                       ac_value *libraries, char *why) {
    ac_value needs;
    struct elf_facts facts;
    if (ac_unpack(variant, item, &needs, name, libraries) != 0)
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
        ac_value libraries = ac_nil;
        it->variant = i;
        err = try_variant(it, variant, &it->program, &name, &libraries, why);
        if (!err)
            err = read_files(it, libraries, FILE_LIBRARY, why);
        it->file_count = err ? 0 : it->file_count;
        ac_drop(libraries);
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

// No variant runs here, and `problem` says why: the source is to be compiled, or was already.
static int read_source(struct intake *it, ac_value source, char *problem) {
    ac_value files;
    ac_span flags;
    if (ac_unpack(source, &flags, &files) != 0)
        return refuse(problem, "a source that is not understood here");
    int err = flags.bytes >= sizeof it->flags || ac_count(files) == 0
                  ? refuse(problem, "a source that is not understood here")
                  : 0;
    if (!err && flags.bytes)
        memcpy(it->flags, flags.at, flags.bytes);
    it->file_count = 0;
    if (!err)
        err = read_files(it, files, FILE_SOURCE, problem);
    ac_drop(files);
    int found = err ? err : compile_find(it, problem);
    if (found < 0)
        return found;
    it->compiles = !found;
    snprintf(it->why, sizeof it->why, "%s", problem);
    for (uint32_t i = 0; !found && i < it->file_count; i++)
        it->items[it->files[i].item].wanted = true;
    it->program = it->count; // none of the items
    return 0;
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
    if (it->upload.received < it->upload.content.bytes)
        return 0;
    err = end_item(it, problem);
    return err ? err : next_item(it, problem); // what is empty has come with it
}

void intake_again(struct intake *it) {
    if (it->uploading)
        upload_close(&it->upload);
    it->uploading = false;
    it->next = 0;
}

int intake_cargo(const struct intake *it, struct cargo *cargo) {
    int err = 0;
    cargo->told = ac_nil;
    for (cargo->count = 0; !err && cargo->count < it->count; cargo->count++) {
        const struct intake_item *item = &it->items[cargo->count];
        struct cargo_item *copy = &cargo->items[cargo->count];
        *copy = (struct cargo_item){.content = item->content, .fd = -1};
        if (item->wanted && item->fd >= 0)
            copy->fd = sys_fd_copy(item->fd);
        err = item->wanted && copy->fd < 0 ? -EMFILE : 0;
    }
    if (err)
        cargo_close(cargo);
    return err;
}

// What the program and the libraries that came along need besides each other.
static int read_needs(const struct intake *it, struct elf_facts *needs, char *problem) {
    struct elf_facts *library = memory_allocate(sizeof *library);
    int err = library ? elf_read(intake_program(it), needs, problem) : -ENOMEM;
    for (uint32_t i = 0; !err && i < it->file_count; i++)
        if (it->files[i].use == FILE_LIBRARY) {
            err = elf_read(it->items[it->files[i].item].fd, library, problem);
            if (!err)
                elf_add_needs(needs, library);
        }
    for (uint32_t i = 0; !err && i < it->file_count; i++)
        if (it->files[i].use == FILE_LIBRARY)
            elf_provide(needs, it->files[i].name);
    memory_release(library);
    return err;
}

static int fill_folder(struct intake *it, char *problem) {
    int err = folder_make(&it->folder, it->contents);
    if (err)
        return fail(problem, err, "there is no folder for its workers");
    for (uint32_t i = 0; !err && i < it->file_count; i++) {
        const struct intake_file *file = &it->files[i];
        const struct intake_item *item = &it->items[file->item];
        if (file->use == FILE_SOURCE)
            continue;
        err = folder_put(&it->folder, file->use == FILE_LIBRARY ? "libraries" : "files", file->name,
                         item->fd, item->content.bytes, file->writable);
        if (err)
            snprintf(problem, PROBLEM_BYTES, "the file %.200s cannot be put there: %s", file->name,
                     ac_strerror(err));
    }
    if (err)
        return err;
    err = folder_open_to(&it->folder, it->contents->user, it->contents->group);
    return err ? fail(problem, err, "its folder cannot be made ready for its workers") : 0;
}

int intake_end(struct intake *it, char problem[PROBLEM_BYTES]) {
    struct elf_facts needs;
    problem[0] = 0;
    int err = next_item(it, problem);
    if (!err && it->uploading)
        err = end_item(it, problem); // which is incomplete, and says so
    if (!err && it->compiles) {
        snprintf(problem, PROBLEM_BYTES, "%s", it->why);
        err = compile_source(it, problem);
        if (!err)
            problem[0] = 0;
    }
    if (!err)
        err = read_needs(it, &needs, problem);
    if (!err)
        err = elf_check(&needs, it->place, problem);
    if (err)
        return fail(problem, err, "the program cannot be read");
    return fill_folder(it, problem);
}

const char *intake_folder(const struct intake *it, char path[600]) {
    snprintf(path, 600, "%s/files", it->folder.path);
    return path;
}

// One block: the list, and behind it the variable that is ours.
char **intake_environment(const struct intake *it) {
    static const char variable[] = "LD_LIBRARY_PATH=";
    char *const *own = sys_environment();
    const char *before = "";
    size_t count = 0, kept = 0;
    bool has_libraries = false;
    for (uint32_t i = 0; i < it->file_count; i++)
        has_libraries |= it->files[i].use == FILE_LIBRARY;
    if (!has_libraries)
        return NULL;
    for (; own[count]; count++)
        if (strncmp(own[count], variable, sizeof variable - 1) == 0)
            before = own[count] + sizeof variable - 1;
    size_t bytes = sizeof variable + strlen(it->folder.path) + strlen(before) + 32;
    char **list = memory_allocate((count + 2) * sizeof *list + bytes);
    if (!list)
        return NULL;
    for (size_t i = 0; i < count; i++)
        if (strncmp(own[i], variable, sizeof variable - 1) != 0)
            list[kept++] = own[i];
    char *ours = (char *)(list + count + 2);
    snprintf(ours, bytes, "%s%s/libraries%s%s", variable, it->folder.path, *before ? ":" : "",
             before);
    list[kept++] = ours;
    list[kept] = NULL;
    return list;
}

int intake_program(const struct intake *it) {
    if (it->made >= 0)
        return it->made;
    return it->program < it->count ? it->items[it->program].fd : -1;
}

void intake_close(struct intake *it) {
    for (uint32_t i = 0; i < it->count; i++)
        sys_fd_close(it->items[i].fd);
    if (it->uploading)
        upload_close(&it->upload);
    if (it->items) { // else it was never opened, and is all zeros
        sys_fd_close(it->made);
        folder_remove(&it->folder);
    }
    memory_release(it->files);
    memory_release(it->items);
    *it = (struct intake){.upload.fd = -1, .made = -1, .folder = {.fd = -1, .work = -1}};
}
