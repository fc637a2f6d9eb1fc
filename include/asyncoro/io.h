// SPDX-License-Identifier: MIT
// Streams: connections (TCP, Unix sockets) and standard input, read and written by coroutines that
// wait for nothing but their own data; listeners, which take connections in; and datagrams.
//
// Addresses are text: "127.0.0.1:8010", "[::1]:8010", "localhost:http", ":8010" (to listen: every
// address of this computer, IPv6 and IPv4; to connect: this computer), "host:0" to let the system
// choose a port to listen on. A Unix socket is "unix:/run/it", a path of at most 107 bytes, or
// "unix:@it", a name that is in no folder and goes with its socket; "unix:@" lets the system choose
// one to listen on. A Unix socket without a name, as those that connect have none, is "unix:".
//
// One coroutine may read a stream while another writes it. A second reader, or a second writer,
// gets -EBUSY at once.
//
// A stream or listener belongs to the loop, and so to the thread, in which it was opened: calls
// that wait for it give -ENOTSUP in a coroutine of another one, and it is closed in its own.
#ifndef ASYNCORO_IO_H
#define ASYNCORO_IO_H

#include <asyncoro/base.h>

#ifdef __cplusplus
extern "C" {
#endif

// A stream of bytes in both directions, or in one. Owned by whoever opened it, until ac_close.
typedef struct ac_stream ac_stream;

// A socket that takes connections in. Owned by whoever opened it, until ac_listener_close.
typedef struct ac_listener ac_listener;

#define AC_ADDRESS_TEXT_BYTES 128 // room for any address as text, with the closing NUL

// How to listen or to connect. Zero means the default everywhere; what has no meaning for an
// address, or for the call, is ignored. Connections that a listener accepts have its options. For
// what there is no option here, ac_stream_descriptor gives the descriptor for setsockopt.
struct ac_socket_options {
    size_t size;      // sizeof(struct ac_socket_options); set by the macro
    uint32_t backlog; // connections that wait to be accepted; default: as many as the system allows
    bool reuse_port;  // several listeners of one user may have this port, and the system spreads
                      // connections over them
    bool ipv6_only;   // on every IPv6 address, and on none of IPv4
    bool delay;       // small writes may wait to be sent with others (Nagle); default: none does
    bool replace;     // of a Unix socket: removes a file of its name that a socket has left behind
                      // and nobody listens on any more
    uint32_t mode;    // of a Unix socket: the rights of its file, such as 0600; default: as the
                      // process makes files
    uint32_t keep_alive_s; // after so many seconds of silence the other side is asked for a sign of
                           // life, and after as many more without any the connection is over: then
                           // -ECONNABORTED. So it is when the other side takes nothing of what was
                           // written for twice the time. At most 32767; default: a peer that
                           // vanishes is not noticed
    uint32_t send_buffer_bytes;    // in the system, which may give other sizes; default: its own
    uint32_t receive_buffer_bytes; // likewise
    const char *local;             // to connect: the address to connect from, numeric; port 0: any
};

// Listens on an address (names are not looked up). Options follow by name:
// ac_listen(&listener, "unix:/run/it", .mode = 0600, .replace = true). Does not wait. The file of a
// Unix socket is removed when the listener is closed, unless it is another one by then. 0; -EINVAL
// for an address that cannot be understood or an option out of range; -ENAMETOOLONG for a path that
// is; -EADDRINUSE, -EACCES and the like from the system; -ENOMEM.
#define ac_listen(listener, ...) AC_LISTEN_((listener), __VA_ARGS__, )
#define AC_LISTEN_(listener, address, ...)                                                         \
    ac_listen_with(                                                                                \
        listener, (address),                                                                       \
        AC_OPTIONS_(ac_socket_options){.size = sizeof(struct ac_socket_options), __VA_ARGS__})
// The function under ac_listen. `options` may be NULL.
AC_API int ac_listen_with(ac_listener **listener, const char *address,
                          const struct ac_socket_options *options) AC_CHECKED;

// Waits for the next connection. Can wait. 0; -ETIMEDOUT; -ECANCELED; -EPERM; -EBUSY if another
// coroutine accepts here; -EBADF when it was closed meanwhile; -ENOMEM; -EMFILE, -ENFILE when
// descriptors have run out: the connection goes on waiting, and is accepted by a later call, so
// sleep a little before that, or close something.
AC_API int ac_accept(ac_listener *listener, ac_stream **stream, ac_time deadline) AC_CHECKED;

// Stores the address it listens on, with the port that the system chose. 0; -EINVAL for NULL;
// -EBADF if it is closed; or the system's error.
AC_API int ac_listener_address(const ac_listener *listener, char text[AC_ADDRESS_TEXT_BYTES]);

// Makes a listener of a socket that listens already, such as one that was inherited from the
// program that started this one. It belongs to the listener from then on, which sets it to
// non-blocking mode, also for others who have copies of it; a file of it is not removed. Does not
// wait. 0; -EBADF if it is not open; -EINVAL if it does not listen for streams; -ENOMEM; after an
// error the descriptor is the caller's.
AC_API int ac_listener_adopt(ac_listener **listener, int descriptor) AC_CHECKED;

// The descriptor under a listener, for setsockopt and the like; it stays the listener's. -EINVAL
// for NULL; -EBADF if it is closed.
AC_API int ac_listener_descriptor(const ac_listener *listener);

// Closes it; one that waits in ac_accept gets -EBADF at once. NULL is ignored.
AC_API void ac_listener_close(ac_listener *listener);

// Connects to an address. A name is looked up on a helper thread. If it has several addresses they
// are tried side by side (RFC 8305): in the order in which the system gives them, but IPv6 and IPv4
// in turn, each 250 ms after the one before or as soon as that has failed; the first that connects
// is taken. Options as for ac_listen: ac_connect(&stream, "host:80", ac_after(5), .delay = true).
// Can wait. 0; -ETIMEDOUT, also when the system has waited in vain for minutes; -ECANCELED; -EPERM;
// -EINVAL for an address that cannot be understood or an option out of range; -ENAMETOOLONG;
// -ENOENT for a name that nobody knows, or a Unix socket that is not there; -EAGAIN if the name
// service does not answer; -EADDRNOTAVAIL if `local` is of another family; -ECONNREFUSED and the
// like from the system; -ENOMEM.
#define ac_connect(stream, address, ...) AC_CONNECT_((stream), (address), __VA_ARGS__, )
#define AC_CONNECT_(stream, address, deadline, ...)                                                \
    ac_connect_with(                                                                               \
        stream, address, (deadline),                                                               \
        AC_OPTIONS_(ac_socket_options){.size = sizeof(struct ac_socket_options), __VA_ARGS__})
// The function under ac_connect. `options` may be NULL.
AC_API int ac_connect_with(ac_stream **stream, const char *address, ac_time deadline,
                           const struct ac_socket_options *options) AC_CHECKED;

// Looks up all addresses behind a name (or whatever else ac_connect takes), in the order in which
// the system gives them, of which the first 16 count. Stores at most `found_max` as text. Can wait.
// How many were stored; else the errors of ac_connect.
AC_API int ac_resolve(const char *address, char (*found)[AC_ADDRESS_TEXT_BYTES], size_t found_max,
                      ac_time deadline) AC_CHECKED;

// Makes a stream of an open descriptor: a connected socket, a pipe, a terminal. It belongs to the
// stream from then on, which sets it to non-blocking mode, also for others who have copies of it.
// Does not wait. 0; -EBADF if it is not open; -EINVAL if nothing can be read from or written to it
// as a stream (a folder, a socket that listens or is for datagrams); -ENOMEM; after an error the
// descriptor is the caller's.
AC_API int ac_stream_adopt(ac_stream **stream, int descriptor) AC_CHECKED;

// The descriptor under a stream, for setsockopt and the like; it stays the stream's. -EINVAL for
// NULL; -EBADF if the stream is closed; -ENOTSUP if it has none.
AC_API int ac_stream_descriptor(const ac_stream *stream);

// Who is at the other end of a Unix connection, as of when it was made.
struct ac_credentials {
    int pid;
    uint32_t uid;
    uint32_t gid;
};

// Stores the credentials of the process at the other end of a Unix connection: of the one that
// connected, or that listened. 0; -ENOTSUP if it is no Unix connection; -EINVAL for NULL; -EBADF if
// the stream is closed.
AC_API int ac_stream_credentials(const ac_stream *stream, struct ac_credentials *credentials);

// Reads what is there, at least one byte and at most `bytes`; waits for it if need be. Can wait.
// The number of bytes; 0 at the end of the stream; -ETIMEDOUT; -ECANCELED; -EPERM; -EBUSY; -EBADF
// when the stream was closed meanwhile; -ECONNRESET and the like when the connection broke, and
// -ECONNABORTED when the system gave it up, which no later call takes for the end of the stream. No
// bytes are lost by a time-out or a cancellation.
AC_API long ac_read(ac_stream *stream, void *to, size_t bytes, ac_time deadline) AC_CHECKED;

// Reads exactly `bytes`. Can wait. `bytes` when all are there; 0 when the stream ended before; else
// the errors of ac_read. `*got`, if not NULL, tells in each case how many bytes lie in `to`.
AC_API long ac_read_exactly(ac_stream *stream, void *to, size_t bytes, ac_time deadline,
                            size_t *got) AC_CHECKED;

// Reads one line, without its end ("\n" or "\r\n"), and closes it with a NUL. Can wait. The length
// of the line plus one (so that an empty line gives 1); 0 at the end of the stream (a last line
// without an end is given first); -EMSGSIZE if the line does not fit into `bytes` (nothing is
// consumed); else the errors of ac_read, after which the bytes read so far are still there for the
// next call.
AC_API long ac_read_line(ac_stream *stream, char *to, size_t bytes, ac_time deadline) AC_CHECKED;

#define AC_DELIMITER_BYTES_MAX 256 // of ac_read_until

// Reads up to the next delimiter, and that too, wherever the network cuts it. Can wait. How many
// bytes lie in `to`, the delimiter among them; what remains at the end of the stream is given
// without one, and then 0; -EMSGSIZE if the next `bytes` bytes hold no delimiter (nothing is
// consumed); -EINVAL for an empty delimiter or one over AC_DELIMITER_BYTES_MAX; -ENOMEM; else the
// errors of ac_read, after which the bytes read so far are still there for the next call.
AC_API long ac_read_until(ac_stream *stream, const void *delimiter, size_t delimiter_bytes,
                          void *to, size_t bytes, ac_time deadline) AC_CHECKED;

// Copies what comes next, which stays there to be read: at least `least` bytes, for which it waits,
// and at most `bytes`. Can wait. How many bytes were copied: fewer than `least` if the stream ends
// there, 0 if nothing remains; -EINVAL if `least` is 0 or more than `bytes`; -ENOMEM; else the
// errors of ac_read, after which the bytes read so far are still there for the next call.
AC_API long ac_peek(ac_stream *stream, void *to, size_t bytes, size_t least,
                    ac_time deadline) AC_CHECKED;

// Writes all bytes. Can wait. `bytes`; else the errors of ac_read or -EPIPE when the other side is
// gone. `*put`, if not NULL, tells in each case how many bytes were handed to the system: so with
// AC_NOW this writes as much as there is room for.
AC_API long ac_write_all(ac_stream *stream, const void *from, size_t bytes, ac_time deadline,
                         size_t *put) AC_CHECKED;

// A part of what ac_write_parts writes. Its bytes belong to the caller.
typedef struct ac_part {
    const void *from;
    size_t bytes;
} ac_part;

// Writes all bytes of the parts, one part after the other: a head and a body, say, that lie in
// different places. Connections and pipes take many parts with one call of the system; for other
// streams small ones are joined in a buffer of 16 KiB. Can wait. How many bytes that were in all;
// -EINVAL if they are more than LONG_MAX; -ENOMEM; else the errors of ac_write_all. `*put`, if not
// NULL, tells in each case how many bytes of all parts were handed to the system.
AC_API long ac_write_parts(ac_stream *stream, const ac_part *parts, size_t count, ac_time deadline,
                           size_t *put) AC_CHECKED;

// Writes `count` bytes of a regular file (ac_file_open), from the one at `offset` on, whatever its
// position; fewer if it ends before, so that SIZE_MAX means the rest of it. Where the file lies in
// memory and bytes reach the stream as they are, the system moves them without a copy; else they
// are read, by a helper thread if need be, and written. Can wait. How many bytes that were;
// -EINVAL; -ENOTSUP if `file` is no regular file; -EBADF also if that is closed meanwhile; -ENOMEM;
// else the errors of ac_file_read_at and of ac_write_all. `*put`, if not NULL, tells in each case
// how many bytes were handed to the system.
AC_API long ac_send_file(ac_stream *stream, ac_stream *file, uint64_t offset, size_t count,
                         ac_time deadline, size_t *put) AC_CHECKED;

// A frame is a message in a stream: four bytes that tell its length, the highest first, and then so
// many bytes.

// Reads the next frame, of at most `bytes_max` bytes, its length apart. Can wait. 1 when it lies in
// `to` and its length in `*got`; 0 at the end of the stream; -EPROTO if the stream ends inside a
// frame; -EMSGSIZE if the frame is longer than `bytes_max`, where `*got` tells its length and
// nothing is consumed; -ENOMEM; else the errors of ac_read, after which what has come of the frame
// is still there for the next call. Memory is asked for as the frame comes, not as its length says.
AC_API int ac_read_frame(ac_stream *stream, void *to, size_t bytes_max, ac_time deadline,
                         size_t *got) AC_CHECKED;

// Writes a frame of so many bytes. Can wait. 0; -EMSGSIZE if it has more than 2^32 - 1 bytes; else
// the errors of ac_write_all. `*put`, if not NULL, tells in each case how many bytes were handed to
// the system, those of the length among them: a frame that was begun must be ended, and who will
// not write what is missing of it can only close the stream.
AC_API int ac_write_frame(ac_stream *stream, const void *from, size_t bytes, ac_time deadline,
                          size_t *put) AC_CHECKED;

// Says that nothing more will be written: the other side reads the end of the stream. 0 or an error
// of the system.
AC_API int ac_shutdown(ac_stream *stream);

// Addresses of both ends as text. 0; -ENOTSUP if the stream is no connection.
AC_API int ac_stream_local(const ac_stream *stream, char text[AC_ADDRESS_TEXT_BYTES]);
AC_API int ac_stream_remote(const ac_stream *stream, char text[AC_ADDRESS_TEXT_BYTES]);

// ---- datagrams ----

// A socket for datagrams: UDP (IPv4, IPv6, or both at once) or a Unix socket. A datagram arrives
// whole or not at all, and may be lost, doubled or overtaken; Unix datagrams are not. One coroutine
// may receive while another sends; a second on the same side gets -EBUSY. Owned by whoever opened
// it, until ac_datagrams_close; it belongs to its loop as a stream does.
typedef struct ac_datagrams ac_datagrams;

// Zero means the default everywhere; what has no meaning for an address is ignored.
struct ac_datagrams_options {
    size_t size;      // sizeof(struct ac_datagrams_options); set by the macro
    bool reuse_port;  // several sockets of one user may have this port: each gets what comes to a
                      // group or is broadcast, and what comes to one is spread over them
    bool broadcast;   // may send to broadcast addresses
    bool ipv6_only;   // on an IPv6 address, and not on IPv4 as well
    bool no_loopback; // what it sends to a group comes to nobody on this computer
    bool replace;     // of a Unix socket: as in struct ac_socket_options
    uint8_t hops;     // how many routers what it sends may pass; default: as the system says, and 1
                      // for groups
    uint32_t mode;    // of a Unix socket: as in struct ac_socket_options
    uint32_t send_buffer_bytes;    // in the system, which may give other sizes; default: its own
    uint32_t receive_buffer_bytes; // likewise; what comes while it is full is lost
    const char *interface; // through which datagrams to groups leave; default: the system chooses
};

// Opens a socket for datagrams at a numeric address: ":8010" is every address of this computer,
// IPv6 and IPv4. NULL: at none, to send by UDP and to be answered; a Unix socket that shall be
// answered needs a name, for which "unix:@" will do. Options follow by name. Does not wait. The
// file of a Unix socket is removed when it is closed, unless it is another one by then. 0; -EINVAL
// for an address that cannot be understood or an option out of range; -ENAMETOOLONG; -ENODEV for an
// interface that there is not; -EADDRINUSE, -EACCES and the like from the system; -ENOMEM.
#define ac_datagrams_open(datagrams, ...) AC_DATAGRAMS_OPEN_((datagrams), __VA_ARGS__, )
#define AC_DATAGRAMS_OPEN_(datagrams, address, ...)                                                \
    ac_datagrams_open_with(datagrams, (address),                                                   \
                           AC_OPTIONS_(ac_datagrams_options){                                      \
                               .size = sizeof(struct ac_datagrams_options), __VA_ARGS__})
// The function under ac_datagrams_open. `options` may be NULL.
AC_API int ac_datagrams_open_with(ac_datagrams **datagrams, const char *address,
                                  const struct ac_datagrams_options *options) AC_CHECKED;

// Stores the address it is at, with the port that the system chose. 0; -EINVAL for NULL; -EBADF if
// it is closed; or the system's error.
AC_API int ac_datagrams_address(const ac_datagrams *datagrams, char text[AC_ADDRESS_TEXT_BYTES]);

// Chooses one to send to and to hear from, and no others: then the errors of the other side come
// back, such as -ECONNREFUSED when nobody is there, to the next call that sends or receives. What
// others had sent before may still be received. A name is looked up, and its first address that can
// be sent to is taken. Can wait. 0; else as ac_connect.
AC_API int ac_datagrams_connect(ac_datagrams *datagrams, const char *address,
                                ac_time deadline) AC_CHECKED;

// Sends one datagram to a numeric address; NULL: to the one that was chosen. Can wait, for room in
// the system, or in the queue of a Unix socket. The number of bytes, all of them; -ETIMEDOUT;
// -ECANCELED; -EPERM; -EBUSY; -EBADF when it was closed meanwhile; -EINVAL for an address that
// cannot be understood; -ENAMETOOLONG; -EMSGSIZE for a datagram that is too large (of UDP: over
// 65507 bytes, 65487 with IPv6); -EDESTADDRREQ or -ENOTCONN for NULL if none was chosen; -EACCES to
// a broadcast address without the option; -ENOENT, -ECONNREFUSED if no Unix socket is there;
// -EAFNOSUPPORT, -ENETUNREACH and the like from the system.
AC_API long ac_datagrams_send(ac_datagrams *datagrams, const void *from, size_t bytes,
                              const char *to, ac_time deadline) AC_CHECKED;

// Waits for the next datagram. Stores it, and who sent it as text (`from` may be NULL). Can wait.
// The number of bytes, which is 0 for an empty one; -EMSGSIZE if it had more than `bytes`: the
// first of them were stored, the others are gone; -ETIMEDOUT; -ECANCELED; -EPERM; -EBUSY; -EBADF
// when it was closed meanwhile; -ECONNREFUSED and the like (see ac_datagrams_connect).
AC_API long ac_datagrams_receive(ac_datagrams *datagrams, void *to, size_t bytes,
                                 char from[AC_ADDRESS_TEXT_BYTES], ac_time deadline) AC_CHECKED;

// Becomes a member of a multicast group, such as "239.1.2.3" or "ff02::77", on the interface of
// that name or number (NULL: the one that the system chooses): what is sent to the group and to its
// port is received. Or leaves it again. Does not wait. 0; -EINVAL if it is no such group; -ENODEV
// for an interface that there is not; -EADDRINUSE if it is a member already, -EADDRNOTAVAIL if it
// is none; -EBADF if it is closed; or the system's error.
AC_API int ac_datagrams_join(ac_datagrams *datagrams, const char *group, const char *interface);
AC_API int ac_datagrams_leave(ac_datagrams *datagrams, const char *group, const char *interface);

// The descriptor under it, for setsockopt and the like; it stays the socket's. -EINVAL for NULL;
// -EBADF if it is closed.
AC_API int ac_datagrams_descriptor(const ac_datagrams *datagrams);

// Closes it; coroutines that wait on it get -EBADF at once. NULL is ignored.
AC_API void ac_datagrams_close(ac_datagrams *datagrams);

// ---- ends ----

// Closes the stream; coroutines that wait on it get -EBADF at once. NULL is ignored.
AC_API void ac_close(ac_stream *stream);

// Standard input as a stream to read; the same one for every call in this loop, closed with the
// loop. Its mode (blocking or not), which other programs may share, is not changed. NULL if there
// is no memory.
AC_API ac_stream *ac_input(void);

// Standard output and standard error as streams to write, likewise: who writes waits, and not the
// others, while a terminal or the next program does not take more. What printf and ac_print hold
// back goes out at its own time: fflush first, or use the one or the other. NULL if there is no
// memory.
AC_API ac_stream *ac_output(void);
AC_API ac_stream *ac_error_output(void);

#ifdef __cplusplus
}
#endif

#endif
