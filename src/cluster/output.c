// SPDX-License-Identifier: MIT
// What jobs write, brought to their client: the nodes send it to the supplier as it comes, and it
// goes into files, one a worker, or to standard error, line by line, each with its worker before
// it: "NODE.NUMBER". Nodes may have the same name, and one that is started again counts its workers
// from 1 again: of those, the second one that is heard of is called NODE-2 here, and so on.
#include "cluster/client_private.h"

#include <stdio.h>

enum {
    LINE_BYTES = 1024,
    NAME_BYTES = 80, // of a node
    LABEL_BYTES = NAME_BYTES + 24,
    STREAMS_MAX = 256 // open at a time: workers that were lost with their node tell no end
};

struct name {
    char text[NAME_BYTES];
};

// What one worker writes.
struct stream {
    struct list link;          // in output.recent
    FILE *file;                // NULL: it goes to standard error
    char label[LABEL_BYTES];   // "NODE.NUMBER"
    char line[LINE_BYTES + 1]; // of standard error: what has no end yet
    size_t bytes;
};

void output_init(struct output *it) {
    *it = (struct output){.where = NULL};
    map_init(&it->nodes);
    map_init(&it->names);
    map_init(&it->streams);
    list_init(&it->recent);
}

int output_open(struct output *it, const char *where) {
    if (!where)
        return 0;
    it->where = memory_copy_text(where);
    if (!it->where)
        return -ENOMEM;
    it->wanted = true;
    it->here = strcmp(where, "-") == 0;
    return it->here ? 0 : *where ? sys_folder_make_with(where, 0777) : -EINVAL;
}

// A line, or as much of one as is kept.
static void write_line(struct stream *it) {
    if (it->bytes == 0)
        return;
    if (it->line[it->bytes - 1] == '\n')
        it->bytes--;
    text_clean(it->line, it->bytes);
    fprintf(stderr, "%s: %.*s\n", it->label, (int)it->bytes, it->line);
    it->bytes = 0;
}

static void write_lines(struct stream *it, const char *at, size_t count) {
    for (size_t i = 0; i < count; i++) {
        it->line[it->bytes++] = at[i];
        if (at[i] == '\n' || it->bytes == LINE_BYTES)
            write_line(it);
    }
}

static void close_stream(struct stream *it) {
    write_line(it);
    list_remove(&it->link);
    if (it->file && fclose(it->file) != 0)
        trace(TRACE_CLUSTER, "what %s has written is not all in its file", it->label);
    memory_release(it);
}

static void clean_name(char *name) {
    text_mend(name);
    text_clean(name, strlen(name));  // it is shown at a terminal, and
    for (char *at = name; *at; at++) // is the name of a file
        if ((unsigned char)*at <= ' ' || *at == '/' || *at == 127 || (at == name && *at == '.'))
            *at = '_';
}

// One that no other node has. NULL: no memory.
static const char *name_node(struct output *it, uint64_t peer, const char *node) {
    char own[NAME_BYTES - 12];
    struct name *name = memory_allocate_zeroed(sizeof *name);
    if (!name)
        return NULL;
    snprintf(own, sizeof own, "%.63s", node);
    clean_name(own);
    snprintf(name->text, sizeof name->text, "%s", own[0] ? own : "_");
    for (unsigned n = 2; map_get(&it->names, name->text, strlen(name->text)); n++)
        snprintf(name->text, sizeof name->text, "%s-%u", own, n);
    int err = map_put_id(&it->nodes, peer, name);
    if (!err && map_put(&it->names, name->text, strlen(name->text), name) < 0) {
        (void)map_take_id(&it->nodes, peer);
        err = -ENOMEM;
    }
    if (err)
        memory_release(name);
    return err ? NULL : name->text;
}

static const char *name_of(struct output *it, uint64_t peer, const char *node) {
    const struct name *known = map_get_id(&it->nodes, peer);
    return known ? known->text : name_node(it, peer, node);
}

static void end_stream(struct output *it, struct stream *stream) {
    (void)map_take(&it->streams, stream->label, strlen(stream->label));
    close_stream(stream);
}

static struct stream *open_stream(struct output *it, const char *label) {
    if (map_count(&it->streams) >= STREAMS_MAX) // its file is opened again when more comes
        end_stream(it, container_of(list_first(&it->recent), struct stream, link));
    struct stream *stream = memory_allocate_zeroed(sizeof *stream);
    if (!stream)
        return NULL;
    memcpy(stream->label, label, LABEL_BYTES);
    list_init(&stream->link);
    if (!it->here) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", it->where, label);
        stream->file = fopen(path, "ae");
        if (!stream->file)
            fprintf(stderr, "asyncoro: %s: %s: what worker %s writes is not kept\n", path,
                    ac_strerror(-errno), label);
    }
    if (map_put(&it->streams, label, strlen(label), stream) < 0) {
        close_stream(stream);
        return NULL;
    }
    return stream;
}

void output_take(struct output *it, ac_value message) {
    const char *word, *node;
    ac_ref host;
    int64_t number;
    ac_span secret, bytes;
    char label[LABEL_BYTES];
    if (!it->wanted || ac_unpack(message, &word, &host, &secret, &node, &number, &bytes) != 0 ||
        !node)
        return;
    const char *name = name_of(it, host.peer, node);
    if (!name)
        return;
    snprintf(label, sizeof label, "%s.%lld", name, (long long)number);
    struct stream *stream = map_get(&it->streams, label, strlen(label));
    if (!stream)
        stream = open_stream(it, label);
    if (!stream)
        return;
    list_remove(&stream->link);
    list_append(&it->recent, &stream->link);
    if (it->here)
        write_lines(stream, bytes.at, bytes.bytes);
    else if (stream->file && fwrite(bytes.at, 1, bytes.bytes, stream->file) == bytes.bytes)
        (void)fflush(stream->file); // who looks at it sees how far the job is
    if (bytes.bytes == 0)           // its end
        end_stream(it, stream);
}

void output_close(struct output *it) {
    uint64_t cursor = 0;
    for (struct stream *each; (each = map_next(&it->streams, &cursor, NULL, NULL)) != NULL;)
        close_stream(each);
    map_done(&it->streams);
    cursor = 0;
    for (struct name *each; (each = map_next(&it->names, &cursor, NULL, NULL)) != NULL;)
        memory_release(each);
    map_done(&it->names);
    map_done(&it->nodes);
    memory_release(it->where);
    output_init(it);
}
