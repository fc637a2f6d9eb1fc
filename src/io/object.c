// SPDX-License-Identifier: MIT
// What streams and listeners have in common: the books of a loop about what is open, the count of
// users, and closing while others wait. io.h has the drawing.
#include "io/io.h"

static void end_of_loop(struct loop *loop, void *state);
static void leave(struct io_object *object);
static void begin_closing(struct io_object *object);
static void close_handle(struct io_object *object);

struct io *io_of(struct loop *loop) {
    struct io *io = loop->extra[LOOP_IO].state;
    if (io)
        return io;
    io = memory_allocate_zeroed(sizeof *io);
    if (!io)
        return NULL;
    list_init(&io->open);
    loop_extend(loop, LOOP_IO, (struct loop_extra){.state = io, .done = end_of_loop});
    return io;
}

int io_prepare(struct loop *loop, struct io_object *object,
               void (*release)(struct io_object *object)) {
    object->release = release;
    list_init(&object->link);
    struct io *io = io_of(loop);
    if (!io)
        return -ENOMEM;
    list_append(&io->open, &object->link);
    return 0;
}

int io_enter(struct io_object *object, enum io_side side) {
    struct coro *coro = coro_here();
    // Its poller would finish the operation on another thread.
    if (coro && object->handle.sys && object->handle.sys != coro->loop->sys)
        return -ENOTSUP;
    object->users++;
    // May let others run, who may close the object or take its side.
    int err = coro_may_wait(coro, AC_FOREVER);
    if (!err && !object->handle.sys)
        err = -EBADF;
    if (!err && object->taken & side)
        err = -EBUSY;
    if (err)
        leave(object);
    else
        object->taken |= side;
    return err;
}

void io_leave(struct io_object *object, enum io_side side) {
    object->taken &= (uint8_t)~side;
    leave(object);
}

static void leave(struct io_object *object) {
    object->users--;
    if (!object->closed || object->users > 0)
        return;
    close_handle(object);
    object->release(object);
}

int64_t io_operate(struct io_object *object, struct sys_op *op, ac_time deadline) {
    if (object->closed)
        return -EBADF;
    op->handle = &object->handle;
    return coro_operate(op, deadline);
}

void io_close(struct io_object *object) {
    struct sys_handle *handle = &object->handle;
    object->closed = true;
    begin_closing(object);
    // Only what is pending: one whose operation has finished is on its way out already.
    if (handle->reader)
        coro_operation_abort(handle->reader, -EBADF);
    if (handle->writer)
        coro_operation_abort(handle->writer, -EBADF);
    // At once if possible: the other side shall read the end of the stream, and the port be free.
    if (!handle->reader && !handle->writer)
        close_handle(object);
    if (object->users == 0)
        object->release(object);
}

static void begin_closing(struct io_object *object) {
    void (*closing)(struct io_object *) = object->closing;
    object->closing = NULL;
    if (closing)
        closing(object);
}

static void close_handle(struct io_object *object) {
    list_remove(&object->link);
    if (object->handle.sys && object->handle.fd >= 0)
        sys_close(&object->handle);
    object->handle.sys = NULL;
}

// No coroutine is left: one that was inside a call has been abandoned.
static void end_of_loop(struct loop *loop, void *state) {
    struct io *io = state;
    loop->extra[LOOP_IO].state = NULL;
    list_each (link, &io->open) {
        struct io_object *object = container_of(link, struct io_object, link);
        object->users = 0;
        object->taken = 0;
        begin_closing(object);
        close_handle(object);
        if (object->closed || standard_is(io, object))
            object->release(object);
    }
    ac_tls_destroy(io->tls);
    memory_release(io);
}
