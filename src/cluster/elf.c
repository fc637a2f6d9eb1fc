// SPDX-License-Identifier: MIT
// What an executable needs, and whether a computer has it: asked before a program is sent, so that
// a person reads a sentence and not what the kernel or the loader would say, and asked again of
// what has arrived.
//
// Read are the header (machine, class), the program headers (that no segment lies past the end; the
// interpreter) and the dynamic section (DT_NEEDED, DT_RUNPATH, the versions of glibc in
// DT_VERNEED). All numbers from the file are checked before they are used; whatever lies outside
// the file is "truncated".
//
// A library counts as present if the loader's cache names it, or if it lies in a standard folder,
// in one that LD_LIBRARY_PATH names or in one that the program itself names (but for $ORIGIN, which
// is another one at the node).
#include "cluster/cluster_private.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    MACHINE_386 = 3,
    MACHINE_ARM = 40,
    MACHINE_X86_64 = 62,
    MACHINE_AARCH64 = 183,
    MACHINE_RISCV = 243,
    TYPE_EXECUTABLE = 2,
    TYPE_SHARED = 3, // also what PIE executables are
    SEGMENT_LOAD = 1,
    SEGMENT_DYNAMIC = 2,
    SEGMENT_INTERPRETER = 3,
    TAG_NEEDED = 1,
    TAG_TEXTS = 5,
    TAG_RPATH = 15,
    TAG_RUNPATH = 29,
    TAG_VERSIONS = 0x6ffffffe,
    TAG_VERSION_COUNT = 0x6fffffff,
    SEGMENTS_MAX = 128,
    TAGS_MAX = 1024,
    VERSIONS_MAX = 1024, // records read of a table of versions
    CACHE_BYTES_MAX = 16 << 20,
    WINDOW_BYTES = 8 << 10, // of the file that are read at once: names are short, and lie together
    WINDOW_STEP = 4 << 10
};

struct header {
    uint8_t ident[16];
    uint16_t type, machine;
    uint32_t version;
    uint64_t entry, segments_at, sections_at;
    uint32_t flags;
    uint16_t header_bytes, segment_bytes, segment_count, section_bytes, section_count, names;
};
struct segment {
    uint32_t type, flags;
    uint64_t offset, address, physical, file_bytes, memory_bytes, alignment;
};
struct tag {
    uint64_t tag, value;
};
struct needed_version { // of one library
    uint16_t version, count;
    uint32_t file, first, next;
};
struct version_name {
    uint32_t hash;
    uint16_t flags, other;
    uint32_t name, next;
};
static_assert(sizeof(struct header) == 64 && sizeof(struct segment) == 56, "as in the file");
static_assert(sizeof(struct needed_version) == 16 && sizeof(struct version_name) == 16,
              "as in the file");

struct reading {
    int fd;
    uint64_t bytes;
    struct header header;
    struct segment segments[SEGMENTS_MAX];
    struct elf_facts *facts;
    char *problem;
    uint64_t window_at; // where in the file it begins
    size_t window_bytes;
    uint8_t window[WINDOW_BYTES];
};

static int read_header(struct reading *it);
static int read_segments(struct reading *it);
static int read_dynamic(struct reading *it, const struct segment *dynamic);
static int read_versions(struct reading *it, uint64_t texts, uint64_t at, uint64_t count);

#define refuse(problem, ...) (snprintf((problem), PROBLEM_BYTES, __VA_ARGS__), -ENOEXEC)

static const char *machine_name(int machine) {
    switch (machine) {
    case MACHINE_386: return "x86 (32 bit)";
    case MACHINE_ARM: return "arm (32 bit)";
    case MACHINE_X86_64: return "x86_64";
    case MACHINE_AARCH64: return "aarch64";
    case MACHINE_RISCV: return "riscv";
    default: return NULL;
    }
}

const char *elf_machine(int machine) {
    const char *name = machine_name(machine);
    return name ? name : "an unknown machine";
}

// ---- reading ----

int elf_read(int fd, struct elf_facts *facts, char problem[PROBLEM_BYTES]) {
    *facts = (struct elf_facts){0};
    int64_t bytes = sys_file_bytes(fd);
    if (bytes < 0)
        return (int)bytes;
    struct reading *it = memory_allocate_zeroed(sizeof *it);
    if (!it)
        return -ENOMEM;
    it->fd = fd;
    it->bytes = (uint64_t)bytes;
    it->facts = facts;
    it->problem = problem;
    int err = read_header(it);
    if (!err && facts->bits == 64)
        err = read_segments(it);
    memory_release(it);
    return err;
}

static bool lies_inside(const struct reading *it, uint64_t offset, uint64_t count) {
    return offset <= it->bytes && count <= it->bytes - offset;
}

// Of what lies inside the file.
static int read_bytes(struct reading *it, uint64_t offset, void *to, size_t count) {
    uint64_t from = offset - offset % WINDOW_STEP;
    if (count > WINDOW_BYTES - WINDOW_STEP)
        return sys_file_read_at(it->fd, offset, to, count);
    if (offset < it->window_at || offset + count > it->window_at + it->window_bytes) {
        uint64_t there = it->bytes - from;
        it->window_at = from;
        it->window_bytes = there < WINDOW_BYTES ? (size_t)there : WINDOW_BYTES;
        int err = sys_file_read_at(it->fd, from, it->window, it->window_bytes);
        if (err) {
            it->window_bytes = 0;
            return err;
        }
    }
    memcpy(to, it->window + (offset - it->window_at), count);
    return 0;
}

static int read_at(struct reading *it, uint64_t offset, void *to, size_t count) {
    if (!lies_inside(it, offset, count))
        return refuse(it->problem, "truncated ELF file: something it names lies past its end");
    return read_bytes(it, offset, to, count);
}

static int read_header(struct reading *it) {
    uint8_t *ident = it->header.ident;
    uint64_t there = it->bytes < sizeof it->header ? it->bytes : sizeof it->header;
    int err = read_bytes(it, 0, &it->header, there);
    if (err)
        return err;
    if (there >= 2 && ident[0] == '#' && ident[1] == '!')
        return refuse(it->problem, "a script, not a compiled program");
    if (there < 4 || memcmp(ident, "\177ELF", 4) != 0)
        return refuse(it->problem, "not an ELF file");
    if (there < 20)
        return refuse(it->problem, "truncated ELF file: its header is incomplete");
    bool big = ident[5] == 2;
    int machine = it->header.machine, type = it->header.type;
    it->facts->machine = big ? (machine >> 8 | (machine & 255) << 8) : machine;
    type = big ? (type >> 8 | (type & 255) << 8) : type;
    it->facts->bits = ident[4] == 1 ? 32 : 64;
    if (type != TYPE_EXECUTABLE && type != TYPE_SHARED)
        return refuse(it->problem, "an object file or core dump, not a program");
    if (it->facts->bits == 32)
        return 0;
    if (there < sizeof it->header)
        return refuse(it->problem, "truncated ELF file: its header is incomplete");
    if (big)
        it->facts->bits = 0; // for another machine in any case: the rest is not looked at
    return 0;
}

// The place in the file of what will lie at an address; UINT64_MAX if nothing of the file does.
static uint64_t place_of(const struct reading *it, uint64_t address) {
    for (unsigned i = 0; i < it->header.segment_count; i++) {
        const struct segment *segment = &it->segments[i];
        if (segment->type == SEGMENT_LOAD && address >= segment->address &&
            address - segment->address < segment->file_bytes)
            return segment->offset + (address - segment->address);
    }
    return UINT64_MAX;
}

// A text that ends by a NUL.
static int read_text(struct reading *it, uint64_t offset, char *to, size_t bytes) {
    if (offset >= it->bytes)
        return refuse(it->problem, "truncated ELF file: a name lies past its end");
    size_t count = it->bytes - offset < bytes ? (size_t)(it->bytes - offset) : bytes;
    int err = read_bytes(it, offset, to, count);
    if (err)
        return err;
    const char *end = memchr(to, 0, count);
    if (!end)
        return refuse(it->problem, "damaged ELF file: a name in it has no end");
    memset(to + (end - to), 0, bytes - (size_t)(end - to));
    return 0;
}

static int read_segments(struct reading *it) {
    unsigned count = it->header.segment_count;
    if (it->header.segment_bytes != sizeof(struct segment) || count == 0 || count > SEGMENTS_MAX)
        return refuse(it->problem, "damaged ELF file: no program headers");
    int err = read_at(it, it->header.segments_at, it->segments, count * sizeof(struct segment));
    const struct segment *dynamic = NULL;
    for (unsigned i = 0; !err && i < count; i++) {
        const struct segment *segment = &it->segments[i];
        if (!lies_inside(it, segment->offset, segment->file_bytes))
            return refuse(it->problem, "truncated ELF file: segment %u lies past its end", i);
        if (segment->type == SEGMENT_INTERPRETER)
            err = read_text(it, segment->offset, it->facts->interpreter,
                            sizeof it->facts->interpreter);
        if (segment->type == SEGMENT_DYNAMIC)
            dynamic = segment;
    }
    return err || !dynamic ? err : read_dynamic(it, dynamic);
}

// Appends a name and its '\n'.
static int append_name(struct reading *it, char *list, size_t bytes, const char *name) {
    size_t length = strlen(list), more = strlen(name);
    if (length + more + 2 > bytes)
        return refuse(it->problem, "it names more libraries or folders than are looked at");
    memcpy(list + length, name, more);
    memcpy(list + length + more, "\n", 2);
    return 0;
}

static int read_named(struct reading *it, uint64_t texts, const struct tag *tag) {
    char name[512];
    struct elf_facts *facts = it->facts;
    bool library = tag->tag == TAG_NEEDED;
    if (!library && tag->tag != TAG_RPATH && tag->tag != TAG_RUNPATH)
        return 0;
    int err = texts == UINT64_MAX ? refuse(it->problem, "damaged ELF file: no table of names")
                                  : read_text(it, texts + tag->value, name, sizeof name);
    if (err)
        return err;
    if (library)
        return append_name(it, facts->libraries, sizeof facts->libraries, name);
    for (char *rest = name, *folder; (folder = strsep(&rest, ":")) != NULL && !err;)
        if (folder[0] == '/')
            err = append_name(it, facts->folders, sizeof facts->folders, folder);
    return err;
}

static int read_dynamic(struct reading *it, const struct segment *dynamic) {
    uint64_t count = dynamic->file_bytes / sizeof(struct tag);
    count = count < TAGS_MAX ? count : TAGS_MAX;
    struct tag *tags = memory_allocate(count * sizeof *tags + 1);
    if (!tags)
        return -ENOMEM;
    int err = read_at(it, dynamic->offset, tags, count * sizeof *tags);
    uint64_t texts = UINT64_MAX, versions = UINT64_MAX, version_count = 0;
    for (uint64_t i = 0; !err && i < count && tags[i].tag != 0; i++) {
        if (tags[i].tag == TAG_TEXTS)
            texts = place_of(it, tags[i].value);
        if (tags[i].tag == TAG_VERSIONS)
            versions = place_of(it, tags[i].value);
        if (tags[i].tag == TAG_VERSION_COUNT)
            version_count = tags[i].value;
    }
    for (uint64_t i = 0; !err && i < count && tags[i].tag != 0; i++)
        err = read_named(it, texts, &tags[i]);
    if (!err && versions != UINT64_MAX && texts != UINT64_MAX)
        err = read_versions(it, texts, versions, version_count);
    memory_release(tags);
    return err;
}

static void note_version_numbers(struct elf_facts *facts, int major, int minor);

// "GLIBC_2.34": the newest is kept. Others, like GLIBC_PRIVATE, tell nothing.
static void note_version(struct elf_facts *facts, const char *name) {
    int major, minor;
    if (sscanf(name, "GLIBC_%d.%d", &major, &minor) == 2)
        note_version_numbers(facts, major, minor);
}

static void note_version_numbers(struct elf_facts *facts, int major, int minor) {
    if (major > facts->libc_major || (major == facts->libc_major && minor > facts->libc_minor)) {
        facts->libc_major = major;
        facts->libc_minor = minor;
    }
}

static int read_versions(struct reading *it, uint64_t texts, uint64_t at, uint64_t count) {
    int records = 0;
    struct needed_version library;
    for (uint64_t i = 0; i < count; i++, at += library.next) {
        int err = read_at(it, at, &library, sizeof library);
        if (err)
            return err;
        uint64_t name_at = at + library.first;
        struct version_name version;
        for (unsigned j = 0; j < library.count; j++, name_at += version.next) {
            char name[64];
            if (++records > VERSIONS_MAX)
                return 0;
            err = read_at(it, name_at, &version, sizeof version);
            if (!err && read_text(it, texts + version.name, name, sizeof name) == 0)
                note_version(it->facts, name);
            if (err)
                return err;
        }
        if (library.next == 0)
            break;
    }
    return 0;
}

// ---- libraries that travel along ----

// Where a name stands in such a list; NULL: nowhere.
static char *find_name(char *list, const char *name) {
    size_t bytes = strlen(name);
    for (char *at = list; *at; at += strcspn(at, "\n") + 1)
        if (strcspn(at, "\n") == bytes && memcmp(at, name, bytes) == 0)
            return at;
    return NULL;
}

bool elf_needs(const struct elf_facts *facts, const char *name) {
    return find_name((char *)facts->libraries, name) != NULL;
}

void elf_provide(struct elf_facts *facts, const char *name) {
    char *at = find_name(facts->libraries, name);
    if (!at)
        return;
    size_t bytes = strlen(name) + 1, rest = strlen(at + bytes) + 1;
    memmove(at, at + bytes, rest);
    memset(at + rest, 0, sizeof facts->libraries - (size_t)(at + rest - facts->libraries));
}

void elf_add_needs(struct elf_facts *facts, const struct elf_facts *library) {
    for (const char *at = library->libraries; *at; at += strcspn(at, "\n") + 1) {
        char name[256];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(at, "\n"), at);
        size_t length = strlen(facts->libraries), more = strlen(name);
        if (find_name(facts->libraries, name) || length + more + 2 > sizeof facts->libraries)
            continue;
        memcpy(facts->libraries + length, name, more);
        memcpy(facts->libraries + length + more, "\n", 2);
    }
    note_version_numbers(facts, library->libc_major, library->libc_minor);
}

// ---- this computer ----

void elf_place_here(struct elf_place *place) {
    *place = (struct elf_place){0};
#if defined(__x86_64__)
    place->machine = MACHINE_X86_64;
#elif defined(__aarch64__)
    place->machine = MACHINE_AARCH64;
#endif
    sys_libc_version(&place->libc_major, &place->libc_minor);
    buffer_init(&place->cache);
    (void)sys_file_read("/etc/ld.so.cache", &place->cache, CACHE_BYTES_MAX);
}

void elf_place_done(struct elf_place *place) { buffer_done(&place->cache); }

static bool is_in_folder(const char *folder, size_t bytes, const char *name) {
    char path[768];
    int length = snprintf(path, sizeof path, "%.*s/%s", (int)bytes, folder, name);
    return bytes > 0 && length > 0 && (size_t)length < sizeof path && sys_file_exists(path);
}

// Folders separated by `separator`.
static bool is_in_folders(const char *folders, char separator, const char *name) {
    const char stops[] = {separator, 0};
    while (folders && *folders) {
        size_t bytes = strcspn(folders, stops);
        if (is_in_folder(folders, bytes, name))
            return true;
        folders += bytes + (folders[bytes] != 0);
    }
    return false;
}

static bool is_here(const struct elf_facts *facts, const struct elf_place *place,
                    const char *name) {
    static const char standard[] = "/lib:/usr/lib:/lib64:/usr/lib64:/usr/local/lib"
                                   ":/lib/x86_64-linux-gnu:/usr/lib/x86_64-linux-gnu"
                                   ":/lib/aarch64-linux-gnu:/usr/lib/aarch64-linux-gnu";
    if (strchr(name, '/'))
        return sys_file_exists(name);
    // With its NUL, and behind a NUL or the '/' of a path.
    const uint8_t *cache = place->cache.bytes;
    size_t left = place->cache.length, bytes = strlen(name) + 1;
    for (const uint8_t *at; left >= bytes && (at = memmem(cache, left, name, bytes)) != NULL;) {
        if (at > place->cache.bytes && (at[-1] == 0 || at[-1] == '/'))
            return true;
        left -= (size_t)(at + 1 - cache);
        cache = at + 1;
    }
    return is_in_folders(facts->folders, '\n', name) ||
           is_in_folders(getenv("LD_LIBRARY_PATH"), ':', name) ||
           is_in_folders(standard, ':', name);
}

int elf_check(const struct elf_facts *facts, const struct elf_place *place,
              char problem[PROBLEM_BYTES]) {
    const char *here = machine_name(place->machine);
    if (facts->machine != place->machine || facts->bits != 64) {
        const char *there = machine_name(facts->machine);
        char number[32];
        snprintf(number, sizeof number, "machine %d", facts->machine);
        if (facts->machine == place->machine)
            there = "32 bit";
        return refuse(problem, "built for %s, this node is %s: build the program for %s",
                      there ? there : number, here, here);
    }
    if (facts->interpreter[0] && !sys_file_exists(facts->interpreter))
        return refuse(problem, "needs the loader %s, which this node lacks: link with -static",
                      facts->interpreter);
    if (facts->libc_major > place->libc_major ||
        (facts->libc_major == place->libc_major && facts->libc_minor > place->libc_minor))
        return refuse(problem,
                      "needs GLIBC_%d.%d, this node has glibc %d.%d: build on an older "
                      "system, or link with -static",
                      facts->libc_major, facts->libc_minor, place->libc_major, place->libc_minor);
    char missing[520] = "", name[256];
    size_t length = 0;
    for (const char *at = facts->libraries; *at;) {
        size_t bytes = strcspn(at, "\n");
        snprintf(name, sizeof name, "%.*s", (int)bytes, at);
        if (!is_here(facts, place, name) && length < 256)
            length += (size_t)sprintf(missing + length, "%s%s", length ? ", " : "", name);
        at += bytes + (at[bytes] != 0);
    }
    if (missing[0])
        return refuse(problem,
                      "needs shared libraries that this node lacks: %.256s: install them there, or "
                      "link with -static",
                      missing);
    return 0;
}

// ---- travelling ----

// Names of files are bytes.
ac_value elf_to_value(const struct elf_facts *facts) {
    return ac_list(facts->machine, facts->bits, facts->libc_major, facts->libc_minor,
                   ac_of_bytes(facts->interpreter, strlen(facts->interpreter)),
                   ac_of_bytes(facts->libraries, strlen(facts->libraries)),
                   ac_of_bytes(facts->folders, strlen(facts->folders)));
}

// False if it does not fit.
static bool copy_span(char *to, size_t bytes, ac_span from) {
    if (from.bytes >= bytes || memchr(from.at, 0, from.bytes))
        return false;
    memcpy(to, from.at, from.bytes);
    return true;
}

bool elf_of_value(ac_value value, struct elf_facts *facts) {
    ac_span interpreter, libraries, folders;
    *facts = (struct elf_facts){0};
    return ac_unpack(value, &facts->machine, &facts->bits, &facts->libc_major, &facts->libc_minor,
                     &interpreter, &libraries, &folders) == 0 &&
           copy_span(facts->interpreter, sizeof facts->interpreter, interpreter) &&
           copy_span(facts->libraries, sizeof facts->libraries, libraries) &&
           copy_span(facts->folders, sizeof facts->folders, folders);
}
