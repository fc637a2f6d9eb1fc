// SPDX-License-Identifier: MIT
// A growable run of bytes. It owns its memory, at least doubles when it grows and keeps what it
// has until buffer_done.
#include "base/base.h"

enum { CAPACITY_FIRST = 64 };

void buffer_init(struct buffer *buffer) { *buffer = (struct buffer){0}; }

void buffer_done(struct buffer *buffer) {
    memory_release(buffer->bytes);
    buffer_init(buffer);
}

int buffer_reserve(struct buffer *buffer, size_t more) {
    if (more <= buffer->capacity - buffer->length)
        return 0;
    if (more > SIZE_MAX / 4 - buffer->length)
        return -ENOMEM;
    size_t capacity = buffer->capacity ? 2 * buffer->capacity : CAPACITY_FIRST;
    if (capacity < buffer->length + more)
        capacity = buffer->length + more;
    uint8_t *bytes = memory_resize(buffer->bytes, capacity);
    if (!bytes)
        return -ENOMEM;
    buffer->bytes = bytes;
    buffer->capacity = capacity;
    return 0;
}

int buffer_append(struct buffer *buffer, const void *bytes, size_t count) {
    if (count == 0) // memcpy must not see a NULL even then
        return 0;
    int err = buffer_reserve(buffer, count);
    if (err)
        return err;
    memcpy(buffer->bytes + buffer->length, bytes, count);
    buffer->length += count;
    return 0;
}

void buffer_consume(struct buffer *buffer, size_t count) {
    assert(count <= buffer->length);
    buffer->length -= count;
    if (count > 0 && buffer->length > 0)
        memmove(buffer->bytes, buffer->bytes + count, buffer->length);
}
