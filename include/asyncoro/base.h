// SPDX-License-Identifier: MIT
// What every floor shares: error codes, time, and how the library is linked.
//
// Errors. A function that can fail returns 0 or more when all went well and a negative errno value
// (`-ETIMEDOUT`) when it did not; nothing is left in `errno`. Four results can never be mistaken
// for one another: time was up (-ETIMEDOUT), the caller was cancelled (-ECANCELED), its function is
// to be replaced (-ERESTART, from every call that can wait, but only where ac_set_replaceable has
// allowed it), the end of a stream (0).
//
// Time. A call that can wait takes an absolute deadline on the monotonic clock: `ac_after(1.5)`,
// AC_NOW (try, never wait) or AC_FOREVER. Such calls are marked "Can wait." and fail with -EPERM,
// waiting for nothing, when they are called outside a coroutine.
//
// C++. With gcc and clang all of this can be used from C++17 on. Options that follow by name stand
// in the order in which their struct declares them, as C++ wants it, and -Wextra complains of those
// that are left out: -Wno-missing-field-initializers. A list such as AC_FILES(...) lives there
// until the call is over in which it stands, and is not to be kept in a variable.
#ifndef ASYNCORO_BASE_H
#define ASYNCORO_BASE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// How options that follow by name, and lists, become what is passed to a function. That C++ has
// them by name since C++20 alone is nothing that gcc and clang are to warn of.
#ifdef __cplusplus
#define AC_OPTIONS_(name) ac_address_{} & __extension__ name
#define AC_ARRAY_(type, ...) ac_array_<type>({__VA_ARGS__})
struct ac_address_ {};
template <typename Type> inline const Type *operator&(ac_address_, const Type &it) { return &it; }
template <typename Type, size_t count> inline const Type *ac_array_(const Type (&it)[count]) {
    return it;
}
#else
#define AC_OPTIONS_(name) &(struct name)
#define AC_ARRAY_(type, ...) ((type[]){__VA_ARGS__})
#endif

#ifdef __cplusplus
extern "C" {
#endif

// What a function is declared with: AC_API, the library promises it; AC_CHECKED, the compiler warns
// if what it returns is not looked at.
#define AC_API __attribute__((visibility("default")))
#define AC_CHECKED __attribute__((warn_unused_result))

// The version of these headers; ac_version tells that of the library.
#define AC_VERSION "0.1.0"

// A moment on the monotonic clock, in nanoseconds.
typedef int64_t ac_time;

// Deadlines: over already, so that a call only tries; and never.
#define AC_NOW ((ac_time)0)
#define AC_FOREVER ((ac_time)INT64_MAX)

// The present moment. Never fails.
AC_API ac_time ac_now(void);

// The moment that lies `seconds` from now: what deadlines are made of. Zero, a negative number and
// a NaN give a moment that is over; a number too large for the clock gives AC_FOREVER.
AC_API ac_time ac_after(double seconds);

// What the error means, in a short English sentence without a full stop. Takes the negative value
// that a call returned (or its positive form); the text is constant and is never NULL.
AC_API const char *ac_strerror(int err);

// The version of the library that is linked, which may differ from AC_VERSION, the one compiled
// against.
AC_API const char *ac_version(void);

// A random real number, evenly spread over low <= x < high, from the generator of the loop of this
// thread, or from the operating system's where there is no loop. Not for secrets. Returns low when
// high is not above it.
AC_API double ac_random_real(double low, double high);

// A random integer, evenly spread over low <= x <= high. Returns low when high is not above it.
AC_API int64_t ac_random_int(int64_t low, int64_t high);

#ifdef __cplusplus
}
#endif

#endif
