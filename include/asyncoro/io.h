// SPDX-License-Identifier: MIT
// Streams: TCP connections and standard input, read and written by coroutines that wait for nothing
// but their own data.
//
// Addresses are text: "127.0.0.1:8010", "[::1]:8010", "localhost:http", ":8010" (to listen: every
// address of this computer, IPv6 and IPv4; to connect: this computer), "host:0" to let the system
// choose a port to listen on.
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

#define AC_ADDRESS_TEXT_BYTES 64 // room for any address as text, with the closing NUL

// Listens on a numeric address (names are not looked up). Does not wait. 0; -EINVAL for an address
// that cannot be understood; -EADDRINUSE, -EACCES and the like from the system; -ENOMEM.
AC_API int ac_listen(ac_listener **listener, const char *address) AC_CHECKED;

// Waits for the next connection. Can wait. 0; -ETIMEDOUT; -ECANCELED; -EPERM; -EBUSY if another
// coroutine accepts here; -EBADF when it was closed meanwhile; -ENOMEM; -EMFILE, -ENFILE when
// descriptors have run out.
AC_API int ac_accept(ac_listener *listener, ac_stream **stream, ac_time deadline) AC_CHECKED;

// Stores the address it listens on, with the port that the system chose. 0; -EINVAL for NULL;
// -EBADF if it is closed; or the system's error.
AC_API int ac_listener_address(const ac_listener *listener, char text[AC_ADDRESS_TEXT_BYTES]);

// Closes it; one that waits in ac_accept gets -EBADF at once. NULL is ignored.
AC_API void ac_listener_close(ac_listener *listener);

// Connects to an address. A name is looked up on a helper thread, and its addresses are tried one
// after the other. Can wait. 0; -ETIMEDOUT; -ECANCELED; -EPERM; -EINVAL for an address that cannot
// be understood; -ENOENT for a name that nobody knows; -EAGAIN if the name service does not answer;
// -ECONNREFUSED and the like from the system.
AC_API int ac_connect(ac_stream **stream, const char *address, ac_time deadline) AC_CHECKED;

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
// gone. `*put`, if not NULL, tells in each case how many bytes were handed to the system.
AC_API long ac_write_all(ac_stream *stream, const void *from, size_t bytes, ac_time deadline,
                         size_t *put) AC_CHECKED;

// Says that nothing more will be written: the other side reads the end of the stream. 0 or an error
// of the system.
AC_API int ac_shutdown(ac_stream *stream);

// Addresses of both ends as text. 0; -ENOTSUP if the stream is no connection.
AC_API int ac_stream_local(const ac_stream *stream, char text[AC_ADDRESS_TEXT_BYTES]);
AC_API int ac_stream_remote(const ac_stream *stream, char text[AC_ADDRESS_TEXT_BYTES]);

// Closes the stream; coroutines that wait on it get -EBADF at once. NULL is ignored.
AC_API void ac_close(ac_stream *stream);

// Standard input as a stream to read; the same one for every call in this loop, closed with the
// loop. Its mode (blocking or not), which other programs may share, is not changed. NULL if there
// is no memory.
AC_API ac_stream *ac_input(void);

#ifdef __cplusplus
}
#endif

#endif
