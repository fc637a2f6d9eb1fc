// SPDX-License-Identifier: MIT
// Other programs as processes of this one, and signals to this one.
//
// A process belongs to the loop on which it was started, as streams do. No zombie is left: a
// process is asked for its end as soon as it has ended, whether or not anybody waits. A process
// that is closed while it runs, or that is open when its loop ends, is killed, and a thread waits
// for its end if that is not at once. So whoever is to go on without us is not started here.
//
// A new program gets its three standard descriptors and no other one; before Linux 5.11 it also
// gets those of this program that are not marked close-on-exec. Its signals are all at their
// defaults and none is blocked. SIGCHLD is left alone. If the program ignores it, or waits for
// children that it did not start, the ends of processes are lost (-ECHILD).
#ifndef ASYNCORO_PROCESS_H
#define ASYNCORO_PROCESS_H

#include <asyncoro/base.h>
#include <asyncoro/io.h>
#include <asyncoro/value.h>

#ifdef __cplusplus
extern "C" {
#endif

// ---- processes ----

// A program that was started. Owned by whoever started it, until ac_process_close.
typedef struct ac_process ac_process;

// What a process gets as its standard input, output or error.
enum ac_process_way {
    AC_USUAL,    // nothing to read; output and error are this program's own
    AC_NOTHING,  // /dev/null
    AC_INHERIT,  // this program's own
    AC_PIPE,     // a pipe, whose other end is a stream here: ac_process_input, ...
    AC_TO_OUTPUT // of error: to where the output goes
};

// How to start a process. Zero means the default everywhere. A stream that is given to the process
// is taken: it is closed here when the process has been started, and is the caller's if not.
struct ac_process_options {
    size_t size;                    // sizeof(struct ac_process_options); set by the macro
    const char *const *environment; // "NAME=value", closed by a NULL; default: this program's own
    const char *folder;             // to start in; default: this program's own
    enum ac_process_way input;
    enum ac_process_way output;
    enum ac_process_way error;
    ac_stream *input_stream; // a pipe, a file or a socket in the place of the above
    ac_stream *output_stream;
    ac_stream *error_stream;
    ac_process *input_from; // its output, which was AC_PIPE, becomes the input: a chain of programs
    bool own_session;       // leads a session of its own, apart from this program's terminal; what
                            // signals it signals all of its process group, as long as it runs
};

// The arguments of a program, closed by a NULL: AC_ARGUMENTS("sort", "-n").
#define AC_ARGUMENTS(...) AC_ARRAY_(const char *const, __VA_ARGS__, NULL)

// Starts a program: arguments[0] is sought in the folders of PATH unless it has a "/". Options
// follow by name: ac_process_start(&process, AC_ARGUMENTS("sort"), AC_FOREVER, .input = AC_PIPE,
// .output = AC_PIPE). Everything is copied. Can wait, for a helper thread that starts it; one that
// was given up is killed. 0; -ENOENT if there is no such program or folder; -EACCES if it may not
// be run; -ENOEXEC and the like from the system; -EINVAL for no arguments, for options without
// their size, an error way as input or output, a stream of another process (see .input_from), or a
// chain from what has no pipe for its output; -EBUSY for a stream that is in use or has read ahead;
// -ENOTSUP for a stream that has no descriptor of its own, or of another loop; -E2BIG; -EMFILE,
// -ENFILE; -EAGAIN if the system has no room for a process or a thread; -ETIMEDOUT; -ECANCELED;
// -EPERM outside coroutines; -ENOMEM.
#define ac_process_start(process, arguments, ...)                                                  \
    AC_PROCESS_START_((process), (arguments), __VA_ARGS__, )
#define AC_PROCESS_START_(process, arguments, deadline, ...)                                       \
    ac_process_start_with(                                                                         \
        process, arguments, (deadline),                                                            \
        AC_OPTIONS_(ac_process_options){.size = sizeof(struct ac_process_options), __VA_ARGS__})
AC_API int ac_process_start_with(ac_process **process, const char *const *arguments,
                                 ac_time deadline,
                                 const struct ac_process_options *options) AC_CHECKED;

// The streams to its input and from its output and error. They belong to the process and are closed
// with it: never by ac_close. ac_shutdown of the input tells the program that nothing more comes.
// One that has ended, or reads no more, gives -EPIPE, and never SIGPIPE. NULL where that is no
// AC_PIPE.
AC_API ac_stream *ac_process_input(const ac_process *process);
AC_API ac_stream *ac_process_output(const ac_process *process);
AC_API ac_stream *ac_process_error(const ac_process *process);

// The number of the process, as the system and people name it; it may be another's once this one
// has ended. -EINVAL for NULL.
AC_API int ac_process_id(const ac_process *process);

// How a process has ended, and what it has used together with those of its children that it has
// waited for.
struct ac_process_end {
    bool by_signal;
    int code; // exit code, or number of the signal
    double user_seconds;
    double system_seconds;
    uint64_t memory_bytes_max;
};

// Waits for its end; any number of coroutines may, and again. `end` may be NULL. Its streams may
// have more to read afterwards. Can wait. 0; -ECHILD if somebody else has taken the end; -EINVAL
// for NULL; -EBADF when it was closed meanwhile; -ETIMEDOUT; -ECANCELED; -EPERM outside coroutines;
// -ENOTSUP on another loop.
AC_API int ac_process_wait(ac_process *process, struct ac_process_end *end,
                           ac_time deadline) AC_CHECKED;

// Writes "exit code 3" or "killed by signal 9 (Killed)", cut to `bytes`.
AC_API void ac_process_end_text(const struct ac_process_end *end, char *text, size_t bytes);

// Sends it a signal: SIGTERM, ... of <signal.h>. 0; -ESRCH if it has ended; -EINVAL for NULL and
// for a signal that there is not; -EPERM if it may not be signalled.
AC_API int ac_process_signal(ac_process *process, int signal);

// Ends it: sends SIGTERM, waits until the deadline, sends SIGKILL if it still runs, and waits for
// the end. `end` may be NULL. Can wait, shortly also beyond the deadline. 0; -ECANCELED, when it
// was killed without waiting; else the errors of ac_process_wait.
AC_API int ac_process_stop(ac_process *process, struct ac_process_end *end,
                           ac_time deadline) AC_CHECKED;

// Closes its streams and forgets it; what still runs is killed (SIGKILL). Coroutines that wait for
// it get -EBADF at once. Waits for nothing. NULL is ignored.
AC_API void ac_process_close(ac_process *process);

// ---- talking to a process ----

// What a process is told, and how much it may answer. Zero means the default everywhere.
struct ac_process_talk {
    size_t size; // sizeof(struct ac_process_talk); set by the macro
    const void *input;
    size_t input_bytes;
    size_t output_bytes_max; // default: 16 MiB, as for error
    size_t error_bytes_max;
};

// What a process has answered. Text, or bytes where it is not UTF-8 (ac_span_of reads both); nil
// where there is no pipe. The caller drops both.
struct ac_process_answer {
    struct ac_process_end end;
    ac_value output;
    ac_value error;
};

// Feeds a process, reads both its outputs and waits for their ends and its own, all at once, so
// that however much goes either way nobody stands still: ac_process_communicate(process, &answer,
// AC_FOREVER, .input = text, .input_bytes = strlen(text)). What it does not want to read it need
// not. Stores what was read in any case, and the caller drops it. Ends with the outputs: where a
// child of the process holds them open, not before that has ended. Can wait. 0; -EMSGSIZE if it
// writes more than it may, and runs on; -EBUSY if another coroutine is at its streams; else the
// errors of ac_process_wait and of ac_read; -ENOMEM.
#define ac_process_communicate(process, answer, ...)                                               \
    AC_PROCESS_COMMUNICATE_((process), (answer), __VA_ARGS__, )
#define AC_PROCESS_COMMUNICATE_(process, answer, deadline, ...)                                    \
    ac_process_communicate_with(                                                                   \
        process, answer, (deadline),                                                               \
        AC_OPTIONS_(ac_process_talk){.size = sizeof(struct ac_process_talk), __VA_ARGS__})
AC_API int ac_process_communicate_with(ac_process *process, struct ac_process_answer *answer,
                                       ac_time deadline,
                                       const struct ac_process_talk *talk) AC_CHECKED;

// ---- signals to this program ----

// A receiver of signals. Owned by whoever opened it, until ac_signals_close.
typedef struct ac_signals ac_signals;

// How many receivers a program may have at once.
#define AC_SIGNALS_MAX 64

// From now on these signals do not do to this program what they did, but are told to whoever waits:
// ac_signals_open(&signals, SIGTERM, SIGINT). Any number of receivers, on any loops, may be open
// for a signal, and each is told of it. Some thread must not have it blocked, as the main thread
// has not unless it was told to. SIGPIPE need not be received: no call of this library raises it.
// Does not wait. 0; -EINVAL for none, or one that cannot be received so: SIGKILL, SIGSTOP, and
// those that tell of faults (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT), or twice
// the same; -EAGAIN when AC_SIGNALS_MAX are open; -EMFILE, -ENFILE; -ENOMEM; the error of a loop
// that could not be made.
#define ac_signals_open(signals, ...)                                                              \
    ac_signals_open_list((signals), AC_ARRAY_(const int, __VA_ARGS__, 0))
// The function under ac_signals_open: the numbers, closed by a 0.
AC_API int ac_signals_open_list(ac_signals **signals, const int *numbers) AC_CHECKED;

// Waits for the next signal. One that has come several times since it was last told is told once;
// of several the lowest comes first. Can wait. Its number; -EBUSY if another coroutine waits here;
// -EBADF when it was closed meanwhile; -EINVAL for NULL; -ETIMEDOUT; -ECANCELED; -EPERM outside
// coroutines; -ENOTSUP on another loop.
AC_API int ac_signals_wait(ac_signals *signals, ac_time deadline) AC_CHECKED;

// Closes it; one that waits gets -EBADF at once. With the last receiver of a signal it does again
// what it did before, unless somebody else has changed that meanwhile. NULL is ignored.
AC_API void ac_signals_close(ac_signals *signals);

#ifdef __cplusplus
}
#endif

#endif
