// SPDX-License-Identifier: MIT
// What jobs write, brought to their client: the nodes send it to the supplier as it comes, and it
// goes into files, one a worker, or to standard error, line by line, each with its worker before
// it.
#include "cluster/client_private.h"

#include <stdio.h>

enum {
    LINE_BYTES = 1024,
    LABEL_BYTES = 96,
    STREAMS_MAX = 256 // open at a time: workers that were lost with their node tell no end
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

static void make_label(char label[LABEL_BYTES], const char *node, int64_t number) {
    snprintf(label, LABEL_BYTES, "%.63s.%lld", node, (long long)number);
    text_mend(label);
    text_clean(label, strlen(label)); // it is shown at a terminal, and
    for (char *at = label; *at; at++) // is the name of a file
        if ((unsigned char)*at <= ' ' || *at == '/' || *at == 127 || (at == label && *at == '.'))
            *at = '_';
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
    if (!it->wanted ||
        ac_unpack(message, &word, &host, &secret, &node, &number, &bytes) != 0 || !node)
        return;
    make_label(label, node, number);
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
    memory_release(it->where);
    output_init(it);
}
