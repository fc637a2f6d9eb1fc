// SPDX-License-Identifier: MIT
// What there is for a node: processors and memory as the computer and its cgroups leave them, what
// a batch system has given, and the tags that somebody has given to the place.
//
// Of cgroups this reads version 2: `cpu.max`, "QUOTA PERIOD" or "max PERIOD", and `memory.max`, in
// bytes or "max", in the group of this process and all above it, as far as they can be seen. A
// quota of one and a half processors counts as two: the last worker then has half of one, where the
// other way half a processor would never be used.
#include "cluster/cluster_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { FILE_BYTES_MAX = 64 << 10, PATH_BYTES = 4096, TAGS_MAX = 64 };

// ---- this computer ----

// A small file as a text, in `text`, which is given back. NULL if it cannot be read.
static const char *read_text(const char *path, struct buffer *text) {
    int err = sys_file_read(path, text, FILE_BYTES_MAX);
    if (err == 0)
        err = buffer_append(text, "", 1);
    return err < 0 ? NULL : (const char *)text->bytes;
}

static void limit_processors(struct place *place, const char *text) {
    uint64_t quota, period;
    if (sscanf(text, "%" SCNu64 " %" SCNu64, &quota, &period) != 2 || period == 0)
        return;
    uint64_t count = (quota + period - 1) / period;
    count = count > 0 ? count : 1;
    if (count < place->processors)
        place->processors = (uint32_t)count;
}

static void limit_memory(struct place *place, const char *text) {
    uint64_t bytes;
    if (sscanf(text, "%" SCNu64, &bytes) == 1 &&
        (place->memory_bytes == 0 || bytes < place->memory_bytes))
        place->memory_bytes = bytes;
}

static void limit_by(struct place *place, const char *folder, const char *name,
                     void (*limit)(struct place *place, const char *text)) {
    char path[PATH_BYTES + 32];
    struct buffer buffer;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    buffer_init(&buffer);
    const char *text = read_text(path, &buffer);
    if (text)
        limit(place, text);
    buffer_done(&buffer);
}

void place_of_groups(struct place *place, const char *own, const char *top) {
    char folder[PATH_BYTES];
    const char *line = strncmp(own, "0::/", 4) == 0 ? own : strstr(own, "\n0::/");
    if (!line)
        return;
    line = strchr(line, '/');
    int length = snprintf(folder, sizeof folder, "%s%.*s", top, (int)strcspn(line, "\n"), line);
    if (length < 0 || (size_t)length >= sizeof folder)
        return;
    for (char *end = folder + length; end && (size_t)(end - folder) >= strlen(top);) {
        *end = 0;
        limit_by(place, folder, "cpu.max", limit_processors);
        limit_by(place, folder, "memory.max", limit_memory);
        end = strrchr(folder, '/');
    }
}

void place_here(struct place *place) {
    struct buffer buffer;
    uint64_t kib;
    *place = (struct place){.processors = (uint32_t)sys_processors()};
    buffer_init(&buffer);
    const char *text = read_text("/proc/meminfo", &buffer);
    const char *total = text ? strstr(text, "MemTotal:") : NULL;
    if (total && sscanf(total, "MemTotal: %" SCNu64, &kib) == 1)
        place->memory_bytes = kib << 10;
    buffer_done(&buffer);
    buffer_init(&buffer);
    text = read_text("/proc/self/cgroup", &buffer);
    if (text)
        place_of_groups(place, text, "/sys/fs/cgroup");
    buffer_done(&buffer);
}

// ---- Slurm ----

// A number above 0 in the environment; 0.
static uint64_t number_of(const char *variable) {
    const char *text = getenv(variable);
    char *end;
    long long number = text && *text ? strtoll(text, &end, 10) : 0;
    return number > 0 && (*end == 0 || *end == '(') ? (uint64_t)number : 0;
}

bool place_of_slurm(struct slurm_place *it) {
    const char *job = getenv("SLURM_JOB_ID"), *node = getenv("SLURMD_NODENAME");
    *it = (struct slurm_place){0};
    if (!job || strlen(job) >= sizeof it->job || strspn(job, "0123456789") != strlen(job) || !*job)
        return false;
    strcpy(it->job, job);
    snprintf(it->node, sizeof it->node, "%s", node ? node : "");
    uint64_t processors = number_of("SLURM_CPUS_PER_TASK");
    processors = processors ? processors : number_of("SLURM_CPUS_ON_NODE");
    it->processors = processors < WORKERS_MAX ? (uint32_t)processors : WORKERS_MAX;
    it->memory_bytes = number_of("SLURM_MEM_PER_NODE") << 20;
    if (it->memory_bytes == 0)
        it->memory_bytes = (number_of("SLURM_MEM_PER_CPU") << 20) * it->processors;
    it->end_s = (int64_t)number_of("SLURM_JOB_END_TIME");
    return true;
}

int64_t slurm_time_left(const char *text) {
    int64_t parts[3] = {0}, days = 0;
    int count = 0;
    if (strncmp(text, "UNLIMITED", 9) == 0)
        return INT64_MAX;
    for (bool more = true; more; text++) {
        char *end;
        if (*text < '0' || *text > '9' || count == 3)
            return -1;
        int64_t number = strtoll(text, &end, 10);
        if (number > 1000 * 1000)
            return -1;
        if (*end == '-' && count == 0 && days == 0)
            days = number;
        else
            parts[count++] = number;
        more = *end == ':' || (*end == '-' && count == 0);
        text = end;
    }
    text--;
    if (*text && *text != '\n')
        return -1;
    int64_t seconds = 0;
    for (int i = 0; i < count; i++)
        seconds = seconds * 60 + parts[i];
    return count < 2 ? -1 : days * 24 * 60 * 60 + seconds;
}

// ---- tags ----

static bool is_key(const char *at, size_t bytes) {
    static const char others[] = "_.-/";
    for (size_t i = 0; i < bytes; i++) {
        char it = at[i];
        bool plain = (it >= '0' && it <= '9') || ((it | 32) >= 'a' && (it | 32) <= 'z');
        if (!plain && !memchr(others, it, sizeof others - 1))
            return false;
    }
    return bytes > 0;
}

bool tags_read(const char *text, ac_value *tags) {
    ac_value items[2 * TAGS_MAX];
    size_t count = 0;
    bool good = true;
    while (good && *text) {
        size_t all = strcspn(text, ","), key = strcspn(text, "=,");
        good = key < all && is_key(text, key) && count < TAGS_MAX;
        if (!good)
            break;
        items[2 * count] = ac_of_text_span(text, key);
        items[2 * count + 1] = ac_of_text_span(text + key + 1, all - key - 1);
        count++;
        text += all + (text[all] == ',' && text[all + 1]);
        good = *text != ',';
    }
    ac_value map = ac_map_of(items, count);
    *tags = ac_nil;
    if (!good || map.kind == AC_INVALID) {
        ac_drop(map);
        return false;
    }
    *tags = map;
    return true;
}

void tags_write(ac_value tags, char *text, size_t bytes) {
    size_t cursor = 0, length = 0;
    ac_value key, value;
    text[0] = 0;
    while (ac_next(tags, &cursor, &key) && ac_next(tags, &cursor, &value)) {
        char word[256];
        const char *name = ac_text_of(key), *what = ac_text_of(value);
        int count = snprintf(word, sizeof word, "%s%s%s%s", length ? " " : "", name ? name : "",
                             what && *what ? "=" : "", what ? what : "");
        if (count > 0 && (size_t)count < sizeof word && length + (size_t)count < bytes) {
            memcpy(text + length, word, (size_t)count + 1);
            length += (size_t)count;
        }
        ac_drop(key);
        ac_drop(value);
    }
}
