// SPDX-License-Identifier: MIT
// The face of io/: streams and listeners for users, over the operations of sys/.
//
//   object.c   what streams and listeners share: their users, closing, the end of the loop
//   stream.c   what streams are: making, closing, what lies below reading and writing
//   read.c     reading
//   write.c    writing
//   send.c     sending files
//   frame.c    messages in a stream, each with its length before it
//   socket.c   listening and accepting; options
//   connect.c  connecting
//   datagram.c datagrams
//   name.c     from the text of an address to addresses
//   standard.c standard input, output and error
//   file.c     regular files, pipes
//   process.c  starting programs, their ends
//   communicate.c  feeding a process and reading its outputs
//   signal.c   receivers of signals
//   path.c     what is done with files by their names
//   secure.c   TLS streams
//   crypto.h   TLS and digests, over bytes in memory
//
// An object is closed by its owner while others may still be inside a call on it. So each call
// counts as a user from its first line to its last; closing ends their waits, and the last one out
// frees the memory:
//
//      OPEN --ac_close, nobody inside--------------------------> freed
//        \----ac_close--> CLOSED (waits end with -EBADF) --last user leaves--> freed
//
// The handle itself is closed at once, unless the poller still holds an operation on it: then by
// the last user too. What is open when its loop ends is closed then, and its memory stays with its
// owner until ac_close.
#ifndef IO_IO_H
#define IO_IO_H

#include "coro/coro.h"

#include <asyncoro/io.h>
#include <asyncoro/tls.h>

#include "io/crypto.h"

enum { IO_ADDRESSES_MAX = 16 }; // of one name, that are tried

// ---- object.c ----

// What a call does with its object. At most one coroutine is on each side at a time.
enum io_side {
    IO_BESIDE = 0, // neither: any number may
    IO_READS = 1,  // reads or accepts
    IO_WRITES = 2  // writes or connects
};

struct io_object {
    struct sys_handle handle; // handle.sys is NULL when it is closed; fd is -1 if the poller has
                              // nothing to do with the object
    struct list link;         // among the open objects of the loop
    uint32_t users;           // coroutines inside a call on it
    uint8_t taken;            // which sides have a coroutine inside (enum io_side)
    bool closed;              // its owner has closed it
    // Called once, as soon as its owner closes it or its loop ends: wakes with -EBADF who waits
    // inside for something else than the handle, and lets go of what is not memory. Waits for
    // nothing. NULL: there is nothing of the kind.
    void (*closing)(struct io_object *object);
    void (*release)(struct io_object *object); // frees it
};

// Takes an object into the books of the loop, which is needed before it gets a handle. 0 or
// -ENOMEM.
int io_prepare(struct loop *loop, struct io_object *object,
               void (*release)(struct io_object *object));
// First and last thing in a call that waits: takes the side for it, counts the user, and frees what
// was closed meanwhile. io_enter: 0; -EPERM outside coroutines; -ECANCELED; -EBADF; -EBUSY if
// another coroutine is on that side; -ENOTSUP on another loop than the one that opened it; then
// io_leave is not to be called.
int io_enter(struct io_object *object, enum io_side side);
void io_leave(struct io_object *object, enum io_side side);
// Carries out an operation on the object, waiting for it if need be. Between io_enter and io_leave.
// As coro_operate; -EBADF if the object was closed.
int64_t io_operate(struct io_object *object, struct sys_op *op, ac_time deadline);
// Closes it for its owner.
void io_close(struct io_object *object);

// What the floor keeps in a loop.
struct io {
    struct list open;              // io_object.link
    struct ac_stream *standard[3]; // input, output, error; NULL: not asked for yet
    ac_tls *tls;                   // for TLS streams that name no settings, or NULL
};
// NULL if there is no memory.
struct io *io_of(struct loop *loop);

// ---- standard.c ----

// Whether an object is one of the three, which nobody but the loop frees.
bool standard_is(const struct io *io, const struct io_object *object);
// A stream is closed by its user: should it be one of them, it can be had anew.
void standard_closed(struct io *io, const struct ac_stream *stream);

// ---- stream.c ----

// How a stream moves its bytes where that is not done by operations on its own handle (TLS, regular
// files). The functions are called by one coroutine at a time for each side, inside io_enter.
struct stream_kind {
    size_t ahead_bytes; // who asks for less has so many read ahead; 0: nobody
    // Reads at least one byte and at most `bytes`, waiting if need be; as ac_read.
    int64_t (*read)(struct ac_stream *stream, void *to, size_t bytes, ac_time deadline);
    // Writes at least one byte and at most `bytes`, waiting if need be. How many; or an error of
    // ac_write_all.
    int64_t (*write)(struct ac_stream *stream, const void *from, size_t bytes, ac_time deadline);
    // Called on the writing side when a call has no more to write, also if it had nothing: sends
    // what `write` has kept back, waiting if need be. 0 or an error of ac_write_all. NULL: `write`
    // keeps nothing back.
    int (*flush)(struct ac_stream *stream, ac_time deadline);
    // Says that nothing more will be written; as ac_shutdown.
    int (*shut)(struct ac_stream *stream);
    // The owner closes the stream, whose handle is still open; others may be inside, and no
    // coroutine may run. May send what goes without waiting. NULL: nothing is to be done.
    void (*close)(struct ac_stream *stream);
    // Frees what the kind has in `own`. Waits for nothing; the handle is closed by then.
    void (*release)(struct ac_stream *stream);
};

struct ac_stream {
    struct io_object object;
    const struct stream_kind *kind; // NULL: operations on the handle
    void *own;                      // of the kind
    struct buffer ahead;            // what was read beyond what was asked for
    size_t ahead_taken;             // of these, how many bytes were given out
    int broken;                     // the error with which the connection broke, or 0
    bool of_process;                // ac_process_close closes it
    struct sys_address remote;      // family 0: it is no connection
};

// A stream without a handle. NULL if there is no memory.
struct ac_stream *stream_create(struct loop *loop);
// Carries out an operation on the handle. As io_operate; -ECONNABORTED when the system gave the
// connection up; a connection that broke never reads as a stream that ended.
int64_t stream_operate(struct ac_stream *stream, struct sys_op *op, ac_time deadline);

// ---- read.c, write.c ----

// Read and write by operations on the handle, below any kind. As in struct stream_kind.
int64_t stream_read_handle(struct ac_stream *stream, void *to, size_t bytes, ac_time deadline);
int64_t stream_write_handle(struct ac_stream *stream, const void *from, size_t bytes,
                            ac_time deadline);
// Whether bytes reach the handle as they are, also if the stream has a kind.
bool stream_is_written_by_handle(const struct ac_stream *stream);
// Writes all bytes, which are counted in *put, too. 0 or an error of ac_write_all.
int64_t stream_write_whole(struct ac_stream *stream, const void *from, size_t bytes,
                           ac_time deadline, size_t *put);
// Last thing in a call that has written: what a kind has kept back goes. 0 or an error of
// ac_write_all.
int64_t stream_flush(struct ac_stream *stream, ac_time deadline);
// Reads ahead until at least `least` bytes lie there. How many do: fewer if the stream ends there;
// the errors of ac_read, after which all of it stays there.
int64_t stream_fill(struct ac_stream *stream, size_t least, ac_time deadline);
// What lies ahead; valid until something is read.
const uint8_t *stream_next(const struct ac_stream *stream);
// Takes so many bytes of it away, or out into `to`. No more than lie there.
void stream_skip(struct ac_stream *stream, size_t bytes);
void stream_take(struct ac_stream *stream, void *to, size_t bytes);

// ---- file.c ----

struct file;
// Keeps what is behind a stream of a regular file, its descriptor open, until file_drop. 0;
// -ENOTSUP for other streams; -EBADF if it is closed.
int file_hold(struct ac_stream *stream, struct file **held);
void file_drop(struct file *held);
// How many bytes from `offset` on, at most `count`, are there and lie in memory, as far as that can
// be told from the first and the last of them; 0: do not try. *fd: from where the system may read
// them.
size_t file_in_memory(struct file *held, uint64_t offset, size_t count, int *fd);

// A new pipe: a stream for one end, and a descriptor for the other, which is blocking and is the
// caller's. 0 or an error.
int pipe_open(struct loop *loop, bool reads, struct ac_stream **ours, int *theirs);
// Lends what a stream reads or writes to a process that is being started: a descriptor, which is
// the caller's, made as a program expects it. Nobody else can use the stream until stream_return,
// which gives it back to its owner or, if it is `taken`, closes it. Or the errors of io_enter;
// -EBUSY if it has read ahead; -ENOTSUP if it has no descriptor of its own.
int stream_lend(struct ac_stream *stream);
void stream_return(struct ac_stream *stream, bool taken);

// ---- socket.c ----

// The file of a Unix socket, which goes with it.
struct io_socket_file {
    struct sys_unix name;
    struct sys_socket_file is; // number 0: there is none
};

// An address of any family.
struct io_address {
    struct sys_address ip; // or, of the family SYS_UNIX, none: then it is the name
    struct sys_unix name;
};

// Puts options, which may be NULL, into how a socket is opened; `*local` is the address to connect
// from, or NULL. 0 or -EINVAL.
int io_options_read(const struct ac_socket_options *options, struct sys_open *how,
                    const char **local);
// Opens a socket at a numeric address, or at every one (":80"). The errors of ac_listen.
int io_open_at(struct loop *loop, struct sys_handle *handle, const char *text, struct sys_open *how,
               struct io_socket_file *file);
// The local address of an object as text. 0; -EBADF if it is closed; or the system's error.
int io_local_text(const struct io_object *object, char text[AC_ADDRESS_TEXT_BYTES]);

// ---- connect.c ----

// From where and how to connect, besides where to.
struct connect_how {
    struct sys_open open;    // without an address
    struct sys_address from; // family 0: any
};

// Puts the addresses of a name into the order in which they are tried: those of the first one's
// family and those of others in turn.
void connect_order(struct sys_address *addresses, size_t count);
// Connects to the first of several addresses that answers, trying them side by side in this order.
// Can wait. As ac_connect.
int connect_side_by_side(struct ac_stream **stream, const struct sys_address *addresses,
                         size_t count, const struct connect_how *how, ac_time deadline);

// ---- name.c ----

// A text that needs no looking up. 0; -EINVAL; -ENAMETOOLONG.
int io_address_parse(const char *text, struct io_address *address);
void io_address_text(const struct io_address *address, char text[AC_ADDRESS_TEXT_BYTES]);

// The addresses behind a text, for connecting: numeric ones at once, names through a helper thread.
// Can wait. Returns how many were stored (at least one); the errors of ac_connect.
int io_resolve(const char *text, struct sys_address *found, size_t found_max, ac_time deadline);

#endif
