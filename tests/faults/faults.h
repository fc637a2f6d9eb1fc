// SPDX-License-Identifier: MIT
// Nothing fails silently: a scenario is a small program that is run again and again, each time with
// the next allocation or system call made to fail, until a run has had no fault. Whatever fails, it
// ends: with success, or with an error that somebody is told; never in a crash, a leak or a hang.
//
//     SCENARIO(a_message_arrives_or_its_sender_is_told) {
//         struct ledger ledger = {0};
//         note_ref(ac_spawn(receive, ac_of_pointer(&ledger)));
//         note(ac_run());
//         REQUIRE(faults_errors() > 0 || ledger.got == 1);
//     }
//
// becomes one case for each way to fail (enum fault_kind). Each run is a process of its own. `note`
// takes what each call gives: an error is right after a fault only, and only after one that the
// library cannot mend; and a scenario that was told of no error must have come to its full result.
// After the run with the fault the process runs the scenario once more without: nothing of it may
// linger. Neither may leave memory or descriptors.
//
// A scenario must not use libcheck's assertions, which allocate and write as well.
// FAULT=7 in the environment, and CK_FORK=no, runs the case with fault 7 alone, for a debugger: a
// breakpoint on faults_come shows where.
#ifndef TESTS_FAULTS_FAULTS_H
#define TESTS_FAULTS_FAULTS_H

#include "test.h"

#include <asyncoro.h>

enum fault_kind {
    FAULT_MEMORY,      // an allocation finds no memory
    FAULT_MEMORY_GONE, // nor do those after it
    FAULT_CALL,        // a call into the system fails, with the error that it has first of all
    FAULT_INTERRUPTED, // it gives EINTR: to be tried again, and nobody notices
    FAULT_WAIT,        // it gives EAGAIN, and an edge comes later: likewise
    FAULT_SHORT        // it writes one byte, and has more room later: likewise
};

#define SCENARIO(name_)                                                                            \
    static void name_(void);                                                                       \
    FAULTS_CASE_(name_, name_##_or_a_call_fails, FAULT_CALL)                                       \
    FAULTS_CASE_(name_, name_##_or_memory_fails, FAULT_MEMORY)                                     \
    FAULTS_CASE_(name_, name_##_or_memory_is_gone, FAULT_MEMORY_GONE)                              \
    FAULTS_CASE_(name_, name_##_interrupted, FAULT_INTERRUPTED)                                    \
    FAULTS_CASE_(name_, name_##_waiting, FAULT_WAIT)                                               \
    FAULTS_CASE_(name_, name_##_in_short_writes, FAULT_SHORT)                                      \
    static void name_(void)
#define FAULTS_CASE_(name_, case_, kind_)                                                          \
    TEST(case_, .seconds_max = FAULTS_SECONDS_MAX) { faults_run(#name_, name_, kind_); }

enum { FAULTS_SECONDS_MAX = 300 };

// What a call gave. An error must have its fault. Returns it.
#define note(result) faults_note((result), #result, __FILE__, __LINE__)
// The same for a reference and for a value that was made.
#define note_ref(ref_) faults_note_ref((ref_), #ref_, __FILE__, __LINE__)
#define note_value(value_) faults_note_value((value_), #value_, __FILE__, __LINE__)
// What must be true with any fault.
#define REQUIRE(what)                                                                              \
    do {                                                                                           \
        if (!(what))                                                                               \
            faults_wrong(#what, __FILE__, __LINE__);                                               \
    } while (0)

long faults_note(long result, const char *what, const char *file, int line);
ac_ref faults_note_ref(ac_ref ref, const char *what, const char *file, int line);
ac_value faults_note_value(ac_value value, const char *what, const char *file, int line);
// How many errors have been noted in this run.
int faults_errors(void);
_Noreturn void faults_wrong(const char *what, const char *file, int line);

// True once there was a fault after which calls may fail, or what is waited for may not come.
bool faults_excuse(void);
// Calls again what waits briefly, as long as that is in vain and nothing excuses it: the computer
// is slow.
#define patiently(call_)                                                                           \
    ({                                                                                             \
        int result_;                                                                               \
        ac_time end_ = ac_after(TEST_PATIENCE_S);                                                  \
        do                                                                                         \
            result_ = (int)(call_);                                                                \
        while (result_ == -ETIMEDOUT && !faults_excuse() && ac_now() < end_);                      \
        result_;                                                                                   \
    })

void faults_run(const char *name, void (*scenario)(void), enum fault_kind kind);

// ---- calls.c ----

// From now on the n-th call of the kind, in any thread, fails; 0: none does.
void faults_arm(enum fault_kind kind, long n);
// From now on nothing fails any more.
void faults_disarm(void);
// What has failed since they were armed, or NULL.
const char *faults_what(void);
// Blocks of memory that the library holds.
long faults_blocks(void);
// Where the fault comes about, for a breakpoint.
void faults_come(void);

#endif
