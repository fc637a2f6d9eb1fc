// SPDX-License-Identifier: MIT
// Seeing what a program does: all coroutines and what each waits for, the stack they use, who does
// not let the others run, counters.
//
// The same without a change to the program, by the environment, which is read when a loop is made:
// AC_DEBUG=quit,stack,watchdog (any of them) switches on what the functions below do, for as long
// as there is a loop. watchdog=50 sets its milliseconds, else 100; what was measured of stacks is
// written to standard error when the loop ends. AC_DEBUG=locks names there each coroutine that ends
// with a lock held. A word that is not known is told of once, on standard error.
//
// AC_POLLER=uring has loops ask io_uring, not epoll, what happens outside. That needs Linux 6.1
// and a library that was built with liburing. Where the kernel, a container or a filter of system
// calls does not allow it, and for a word that is not known, they ask epoll, and AC_TRACE=sys says
// why. AC_POLLER=epoll is the default.
//
// AC_TRACE=coro,message (any of sys, coro, message, io, fabric, remote, cluster; or all) tells
// floor by floor what the library does, a line each on standard error: coroutines that begin, end
// and are cancelled, their timers and new stacks; channels, subscriptions, monitors and messages
// that nobody reads; connections, peers and jobs. Not each message. Of words that are not known the
// first is told of.
//
// AC_TRACE=frame shows each frame that goes to a peer or comes from one: its type and number, what
// has been acknowledged, its size, and for a message the receiver and the beginning of its value;
// of handshakes nothing but that they took place. `all` does not include it.
//
// asyncoro-gdb.py, installed to share/asyncoro, shows coroutines and their backtraces in gdb, also
// from a core file. docs/DEBUGGING.md says when to use which.
#ifndef ASYNCORO_DEBUG_H
#define ASYNCORO_DEBUG_H

#include <asyncoro/base.h>
#include <asyncoro/coro.h>

#ifdef __cplusplus
extern "C" {
#endif

// What is known of a coroutine.
struct ac_coroutine_info {
    ac_ref who;
    const char *name;    // "" if none; valid until the coroutine ends
    const char *where;   // "file.c:12" of its spawn
    const char *waiting; // "receive", "sleep", ...; "ready" or "running" if it waits for nothing
    double since_s;      // for how many seconds it has waited, to the loop's last look at the clock
    ac_time deadline;    // of its wait; AC_FOREVER
    size_t mailbox;      // messages there
    size_t stack_bytes;  // address space of its stack; 0 before its first turn
    bool daemon;
    bool cancelled;
    bool internal; // the library's own
};

// Tells of every coroutine of this loop that has not ended: calls `tell` for each, in the order of
// their records, until it returns false. Those that run the network beside the loop are not told
// of, for they may run on another thread meanwhile: ac_list_coroutines shows them. `tell` must not
// wait, spawn or end coroutines. How many calls were made.
AC_API size_t ac_each_coroutine(bool (*tell)(const struct ac_coroutine_info *info, void *context),
                                void *context);

// Writes a list of all coroutines of this loop to standard error, a line each; and of what the
// library runs for it, marked as such.
AC_API void ac_list_coroutines(void);

// From now on SIGQUIT (Ctrl-\) makes every loop of the process write its list (see above) as soon
// as it polls, at once if it sleeps, instead of ending the process. A loop whose coroutine does not
// yield is told of as such after 100 ms, with its name. A thread of the library does this; the
// handler only wakes it and is safe on any stack. false: no longer, and SIGQUIT does again what it
// did before, unless the program has changed that meanwhile. 0; -ENOMEM, -EAGAIN, or the system's
// error.
AC_API int ac_list_on_quit(bool on);

// From now on the greatest use of stacks is measured for each place of spawning: new stacks are
// painted when they are first used by a coroutine and looked at when it ends, which costs about a
// microsecond a coroutine and no memory. Of stacks that are in use now only what is used from now
// on counts. Up to 4096 places are told apart; further ones are left out. false: no longer. Makes a
// loop if there is none. 0; -ENOMEM, or the error of the system's poller.
AC_API int ac_measure_stacks(bool on);

struct ac_stack_use {
    const char *where;  // "file.c:12"
    const char *name;   // of one of the coroutines spawned there
    size_t used_bytes;  // the most that one of them has used, the library's few hundred included
    size_t stack_bytes; // of the stacks they had
    uint64_t count;     // how many have ended
};

// What was measured in this loop, at most `max` places, the greatest use first. How many were
// stored. The texts are valid until the loop ends.
AC_API size_t ac_stack_uses(struct ac_stack_use *uses, size_t max);

// From now on a coroutine of this loop that has not yielded for `seconds` is named on standard
// error, once for each such stretch, by a thread that watches: not sooner, and as a rule within a
// quarter more. Less than a millisecond counts as one; time in which the process was stopped does
// not count. Zero seconds: no longer. Makes a loop if there is none. 0; -EINVAL for a negative
// number or a NaN; -ENOMEM, -EAGAIN, or the error of the system's poller.
AC_API int ac_watchdog(double seconds);

// What has happened in this loop since it began.
struct ac_counters {
    size_t size;           // sizeof(struct ac_counters): set it; newer fields are left out
    uint64_t coroutines;   // that have not ended, without the library's own
    uint64_t spawned;      // ever, the library's own included
    uint64_t turns;        // of the loop: how often it has looked at clock and poller
    uint64_t stacks;       // that have memory
    uint64_t stack_bytes;  // address space of these
    uint64_t timers;       // coroutines that wait with a deadline
    uint64_t dead_letters; // of all reasons
    uint64_t posts;        // from other threads
};

// Fills in what both know. 0; -EPERM where there is no loop; -EINVAL for a size that is none.
AC_API int ac_counters(struct ac_counters *counters);

#ifdef __cplusplus
}
#endif

#endif
