// SPDX-License-Identifier: MIT
// Coroutines: functions with a stack of their own that can wait.
//
// A loop runs the coroutines of one thread. It is made by the first ac_spawn of the thread and
// ended by ac_run. Nothing preempts a coroutine: between two waits it has its loop for itself, so
// data shared by the coroutines of one loop needs no lock. Ready coroutines run first come, first
// served.
//
// A program may have several loops, one for each core: ac_run(.loops = 4). A coroutine stays on its
// loop for life. What goes between loops is what goes between processes: references, messages,
// channels, monitors, joining, names, cancellation. What is not shared between loops: values (a
// message that is sent is copied where it is shared), streams, locks, groups, and whatever else
// belongs to the coroutines of one loop. Memory of your own that two loops touch needs atomics or
// is constant.
//
// The floating-point control modes (rounding, traps) belong to the thread, not to the coroutine: a
// coroutine that changes them sets them back before it waits. A coroutine must not wait while it
// holds a lock of the C library or of pthreads.
//
// In C++ an exception must be caught in the coroutine that throws it, and a coroutine must not wait
// inside a catch block or while an exception unwinds its stack: the language keeps what is being
// handled for the thread, not for the coroutine.
//
// After fork the child must leave the loop alone and call exec or _exit: it shares the poller of
// its parent, so that what it closes is deaf in the parent too.
#ifndef ASYNCORO_CORO_H
#define ASYNCORO_CORO_H

#include <asyncoro/base.h>
#include <asyncoro/value.h>

#ifdef __cplusplus
extern "C" {
#endif

// What a coroutine runs. The argument belongs to the runtime, which drops it when the function
// returns: hold what shall live longer. The result is given to those who join or monitor; one of
// kind AC_ERROR means that the coroutine failed (see ac_result).
typedef ac_value (*ac_function)(ac_value argument);

// Stacks have a guard page: who goes beyond ends the process, with a message that names him. For
// code that waits and calls little more than this library there are small ones, two to a page and
// without a guard: AC_STACK_BYTES_SMALL exactly. A word at their end is looked at whenever the
// coroutine waits or ends, and that it has changed ends the process likewise, but by then the data
// of another may be damaged. printf, for one, needs more; so does a function of a library that is
// called for the first time, unless the program is linked with -z now, as pkg-config says. (Under
// sanitizers, and with AC_TRACE, they are not small.)
#define AC_STACK_BYTES_SMALL ((size_t)2 << 10)

// The smallest stack, the one that a coroutine gets by default, and the largest, in bytes.
#define AC_STACK_BYTES_MIN ((size_t)16 << 10)
#define AC_STACK_BYTES_DEFAULT ((size_t)64 << 10)
#define AC_STACK_BYTES_MAX ((size_t)8 << 20)

// How to spawn. Zero means the default everywhere.
struct ac_spawn_options {
    size_t size;        // sizeof(struct ac_spawn_options); set by the macro
    const char *where;  // "file.c:12", set by the macro; shown with the name
    const char *name;   // shown in messages for people; not copied, so a constant text as a rule
    size_t stack_bytes; // of the stack, rounded up to 16, 64, 256 KiB, 1 or 8 MiB; or small
    bool daemon;        // does not keep ac_run from returning
    bool joinable;      // its end is kept until somebody joins it, or the loop ends
    struct ac_group *group; // it is spawned into this group (see below)
    int loop; // on which loop: 0 this one, 1 to ac_loops(), or AC_SPREAD: on each in turn. Before
              // ac_run there is one loop, and a reference says for life on which its coroutine is:
              // what is spawned then is on the first
};

#define AC_SPREAD (-1)

// Schedules a new coroutine that runs `function` with `argument` (anything that ac_of
// takes): it is ready, after all that were ready before; its body does not run inside this call.
// Takes the argument. Options follow by name: ac_spawn(serve, 7, .name = "server", .daemon = true).
// Does not wait. Returns its reference, or none, and ac_ref_error tells: -EINVAL for a NULL
// function, a stack size above the maximum, a loop that there is not or options without their size,
// -EXDEV for a group of another loop, -ENOMEM, -EAGAIN when there are 2^24 coroutines already
// (fewer under a limit of address space), -EPERM on a helper thread of ac_work where there is no
// background (see ac_start), or the error of an argument that could not be made. The stack is taken
// when the coroutine first runs; if there is no memory then, it fails with -ENOMEM.
#define ac_spawn(...)                                                                              \
    AC_SPAWN_PICK_(__VA_ARGS__, AC_SPAWN_WITH_, AC_SPAWN_WITH_, AC_SPAWN_WITH_, AC_SPAWN_WITH_,    \
                   AC_SPAWN_WITH_, AC_SPAWN_WITH_, AC_SPAWN_WITH_, AC_SPAWN_WITH_,                 \
                   AC_SPAWN_PLAIN_, )                                                              \
    (__VA_ARGS__)
#define AC_SPAWN_PICK_(f, a, o1, o2, o3, o4, o5, o6, o7, o8, it, ...) it
#define AC_SPAWN_PLAIN_(function, argument) ac_spawn_plain((function), ac_of(argument), AC_WHERE_)
#define AC_SPAWN_WITH_(function, argument, ...)                                                    \
    ac_spawn_with((function), ac_of(argument),                                                     \
                  AC_OPTIONS_(ac_spawn_options){                                                   \
                      .size = sizeof(struct ac_spawn_options), .where = AC_WHERE_, __VA_ARGS__})
#define AC_WHERE_ __FILE__ ":" AC_TEXT_(__LINE__)
#define AC_TEXT_(it) AC_TEXT_AGAIN_(it)
#define AC_TEXT_AGAIN_(it) #it

// The function under ac_spawn with options. `options` may be NULL.
AC_API ac_ref ac_spawn_with(ac_function function, ac_value argument,
                            const struct ac_spawn_options *options);
// The function under ac_spawn without options, since to write them down and to read that there are
// none would be a quarter of the time of a short coroutine. `where` is kept, not copied, and may be
// NULL. Returns the same as ac_spawn. Does not wait.
AC_API ac_ref ac_spawn_plain(ac_function function, ac_value argument, const char *where);

// How to run. Zero means the default everywhere.
struct ac_run_options {
    size_t size;      // sizeof(struct ac_run_options); set by the macro
    uint32_t loops;   // how many loops run, at most AC_LOOPS_MAX: this thread's and others, each on
                      // a thread of its own; default: this thread's alone
    uint32_t poll_us; // for how many microseconds each loop that has nothing to do goes on asking
                      // the system before it sleeps; default: none. What comes meanwhile, from
                      // sockets or other threads, is served sooner by the time that a core takes to
                      // wake up, at the price of a core that is kept busy
};

// How many loops a program may have at the most.
#define AC_LOOPS_MAX 63u

// Runs the loop of this thread until only daemons are left; then cancels these, lets them clean up
// (one that goes on for another second is abandoned) and ends the loop with all that belongs to it.
// References made before are stale afterwards. To be called outside coroutines; blocks meanwhile.
// 0, also when there was nothing to run; -EPERM inside a coroutine; -ENOMEM or the error of the
// operating system's poller, after which the loop has ended likewise; else the error of the first
// coroutine that failed and that nobody joined or monitored (AC_TRACE=coro tells which), so that
// `return ac_run();` in main tells the one who started the program. With several loops it returns
// when only daemons are left on all of them, or when one has lost its poller; -EINVAL for too many,
// -EAGAIN if there is no thread.
#define ac_run(...)                                                                                \
    ac_run_with(AC_OPTIONS_(ac_run_options){.size = sizeof(struct ac_run_options), __VA_ARGS__})

// The function under ac_run. `options` may be NULL.
AC_API int ac_run_with(const struct ac_run_options *options);

// How many loops the program runs, and on which of them, from 1, the caller is; 0 where there is no
// loop. Before ac_run, and in a program that asks for no more, there is one.
AC_API uint32_t ac_loops(void);
AC_API uint32_t ac_loop(void);

// ---- in the background ----

// Runs loops on threads of their own, in a program whose main thread does something else, until
// ac_finish. Meanwhile threads without a loop may spawn (the coroutine belongs to the first of
// these loops, or to the one that `.loop` says), send, and cancel. When the loops end before, for
// an error of the operating system, a spawn gives -ESRCH, and ac_finish the error. Options as for
// ac_run. Blocks until the loops run. 0; -EALREADY if that has been done; -EPERM inside a
// coroutine; else as ac_run.
#define ac_start(...)                                                                              \
    ac_start_with(AC_OPTIONS_(ac_run_options){.size = sizeof(struct ac_run_options), __VA_ARGS__})
AC_API int ac_start_with(const struct ac_run_options *options);

// Blocks until only daemons are left in the background, ends them and the loops, and returns what
// ac_run would. 0 also if nothing was started; -EPERM inside a coroutine.
AC_API int ac_finish(void);

// The running coroutine; ac_no_ref outside coroutines.
AC_API ac_ref ac_self(void);

// The name given when the coroutine was spawned, "" if none or if it has ended. Valid while it
// lives.
AC_API const char *ac_name_of(ac_ref coroutine);

// Whether the running coroutine keeps ac_run from returning. 0; -EPERM outside coroutines.
AC_API int ac_set_daemon(bool daemon);

// Lets the others that are ready run first. Can wait. 0; -ECANCELED; -EPERM.
AC_API int ac_yield(void);

// Waits for `seconds`, never less. Zero or less yields. Can wait. 0; -ECANCELED; -EPERM; -EINVAL
// for a NaN.
AC_API int ac_sleep(double seconds);

// Waits until the moment `until`. Can wait. 0; -ECANCELED; -EPERM.
AC_API int ac_sleep_until(ac_time until);

// Waits until somebody calls ac_resume for this coroutine, and stores the value given there, which
// the caller then owns; `update` may be NULL, then the value is dropped. Can wait. 0; -ETIMEDOUT;
// -ECANCELED; -EPERM.
AC_API int ac_suspend(ac_value *update, ac_time deadline);

// Makes a suspended coroutine ready, with `update` as the value that its ac_suspend gives. Takes
// the value. Does not wait, but for a coroutine of another loop of the program: that loop must
// answer, so it can wait, gives -EPERM outside coroutines and -ENOMEM, and it is unknown after
// -ECANCELED what has become of it. 0; -ESRCH if it has ended; -EAGAIN if it is not suspended, and
// then nothing is remembered; -ENOTSUP for a reference to another process or to something else.
#define ac_resume(coroutine, update) ac_resume_with((coroutine), ac_of(update))
AC_API int ac_resume_with(ac_ref coroutine, ac_value update);

// How a coroutine ended.
enum ac_end {
    AC_FINISHED = 1, // it returned; `value` is the result
    AC_FAILED,       // it returned an error: `value`, and its code in `reason`
    AC_CANCELLED,    // it was cancelled and learned of it; `value` is what it returned all the same
    AC_LOST          // nothing is known of its end; `reason` says why
};

struct ac_exit {
    ac_ref who;
    enum ac_end how;
    int reason; // 0; the code of an error; for AC_LOST: -ESRCH it had ended before and nothing was
                // kept, -ECONNRESET its process is gone, -ENOTCONN the connection is gone,
                // -ETIMEDOUT it hangs
    ac_value value; // owned by whoever holds the record: drop it
};

// "finished", "failed", "cancelled", "lost". Constant text.
AC_API const char *ac_end_name(enum ac_end how);

// Waits until a coroutine has ended, on whatever loop and in whatever process, and stores how; the
// caller drops exit->value. `exit` may be NULL. One that was spawned .joinable and has ended is
// found and forgotten; any number may join one that lives. Can wait, and of another loop nothing is
// known without waiting. 0, also if its process is lost: then exit->how is AC_LOST and exit->reason
// says why; -ESRCH if it has ended and nothing is kept; -EDEADLK for oneself; -ETIMEDOUT;
// -ECANCELED (the caller's); -EPERM; -ENOMEM (of another loop; a kept end stays kept); for another
// process also -EHOSTUNREACH if it is not known here or is lost, -EACCES, and -ENOTSUP without
// network.
AC_API int ac_join(ac_ref coroutine, struct ac_exit *exit, ac_time deadline) AC_CHECKED;

// Asks a coroutine to end, also one of another process: its present wait and all later ones return
// -ECANCELED (but for a yield, and for a wait that was answered already). One that has not run yet
// never will. It is asked behind what the caller has sent it before. Does not wait. 0, also for one
// cancelled before, and far also for one that has ended, of which nothing is known here (monitor
// it); -ESRCH if it has ended; -ENOTSUP for a reference to something else, or to another process
// without network; -ENOMEM (to another loop or process); -EHOSTUNREACH if its process is not known
// here or is lost, and -EACCES if that process lets us cancel nothing: both only on the first loop.
AC_API int ac_cancel(ac_ref coroutine);

// ---- shielding ----

// Between these two calls the waits of the running coroutine are neither cancelled nor ended by a
// replacement of its function (see ac_replace), so that a cleanup can wait: what was asked before
// or meanwhile is told by the first wait behind the last ac_shield_end. They nest. 0; -EPERM
// outside coroutines, or where no shield was begun; -EOVERFLOW after 255. The end of the loop does
// not wait longer than its second for a shielded coroutine.
AC_API int ac_shield_begin(void);
AC_API int ac_shield_end(void);

// ---- groups: coroutines that end together ----

// Owned by the coroutine that opened it, until ac_group_close. If that ends first, the group is
// closed for it, and nobody waits.
typedef struct ac_group ac_group;

struct ac_group_options {
    size_t size;     // sizeof(struct ac_group_options); set by the macro
    bool keep_going; // when one of the group fails the others go on; default: they are cancelled
};

// Opens a group, into which coroutines are spawned by the option `.group`. Does not wait. 0, else
// *group is NULL: -EPERM outside coroutines; -ENOMEM.
#define ac_group_open(group, ...)                                                                  \
    ac_group_open_with((group), AC_OPTIONS_(ac_group_options){                                     \
                                    .size = sizeof(struct ac_group_options), __VA_ARGS__})
AC_API int ac_group_open_with(ac_group **group, const struct ac_group_options *options) AC_CHECKED;

// How many of the group have not ended. NULL counts none.
AC_API uint32_t ac_group_count(const ac_group *group);

// Cancels all in the group. Does not wait. From now on, as also after a failure that cancelled the
// others, a spawn into the group gives a coroutine that is cancelled before it runs. NULL is
// ignored.
AC_API void ac_group_cancel(ac_group *group);

// Waits until all in the group have ended; more may be spawned into it meanwhile and afterwards.
// One that was cancelled has not failed. Can wait. 0; the error of the first that failed since the
// group was opened (failures in a group count as observed); -ETIMEDOUT; -ECANCELED (the caller's);
// -EPERM for another coroutine than the owner; -EINVAL for NULL.
AC_API int ac_group_join(ac_group *group, ac_time deadline) AC_CHECKED;

// Cancels all that are left, waits until they have ended, and forgets the group. It waits also when
// the caller is cancelled (as if shielded), so that nothing of the group is left when it returns.
// Can wait. 0; the error of the first that failed; -EPERM for another coroutine than the owner.
// NULL is ignored.
AC_API int ac_group_close(ac_group *group);

// ---- replacing a function while it runs ----

// Whether the function of the running coroutine can be replaced; not so at first. A replacement
// that was accepted before comes about all the same. 0; -EPERM outside coroutines.
AC_API int ac_set_replaceable(bool replaceable);

// Has a coroutine of this loop go on with another function, maybe one of a shared object that was
// loaded meanwhile. It keeps its reference, name, mailbox, subscriptions and monitors. The old
// function learns of it by its present wait and the next ones, which return -ERESTART: it cleans up
// and returns (a yield, and a wait that was answered already, end as usual). Then `function` starts
// with `argument`; if that is nil, with what the old one returned, so that it can hand over its
// state; an error that the old function returns is no end, but handed over likewise. A later
// replacement goes before one that has not come about; a cancellation goes before both: the new
// function then never runs, and the coroutine ends as cancelled. A function is not replaceable
// until it says so, and begins without shields. Takes the argument. Does not wait. 0; -EACCES if it
// is not replaceable; -EINVAL for a NULL function; the error of an argument that could not be made;
// -ESRCH if it has ended; -ENOMEM; -ENOTSUP for a reference to another loop or process or to
// something else.
#define ac_replace(coroutine, function, argument)                                                  \
    ac_replace_with((coroutine), (function), ac_of(argument))
AC_API int ac_replace_with(ac_ref coroutine, ac_function function, ac_value argument);

// ---- blocking work ----

// Runs `function` on a helper thread with a stack of 1 MiB, where it may block (a database, a large
// computation, DNS), while the other coroutines go on. It has no loop there and cannot make one,
// which nobody would run: calls that wait give -EPERM, and so do those that make a loop elsewhere
// (ac_channel_open, ac_listen, ...; ac_spawn unless there is a background, to which the coroutine
// then belongs). It may send to what is of this process, as any thread may; -ESRCH once that loop
// has ended. Takes the argument, which is dropped when the function returns; values on their way
// between threads are copied where they are shared. Stores what it returns, which the caller then
// owns; `result` may be NULL. Can wait. 0; -ETIMEDOUT, -ECANCELED: the function, if it has begun,
// goes on, even beyond the end of the loop, and its result is dropped; -EPERM outside coroutines;
// -EINVAL for a NULL function; -EAGAIN when 1024 wait already or no thread can be made; -ENOMEM;
// the error of an argument that could not be made. An error that the function returns is its
// result.
#define ac_work(function, argument, result, deadline)                                              \
    ac_work_with((function), ac_of(argument), (result), (deadline))
AC_API int ac_work_with(ac_function function, ac_value argument, ac_value *result,
                        ac_time deadline) AC_CHECKED;

// How many threads ac_work uses at the most in this loop, 1 to 1024; at first 8. They are started
// when they are needed; one that has had nothing to do for 10 s ends, and so do those that are too
// many as soon as they have done what they are at. May be called before there are coroutines. 0;
// -EINVAL; -ENOMEM; the error of a loop that could not be made.
AC_API int ac_set_work_threads(uint32_t threads);

#ifdef __cplusplus
}
#endif

#endif
