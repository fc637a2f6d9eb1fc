// SPDX-License-Identifier: MIT
// Values: data that can travel, in a message, an argument or a result.
//
// A value is 16 bytes and is passed by value. Nil, booleans, integers, reals and errors without a
// text need no memory of their own. Text, bytes, lists, maps, references and errors with a text
// point to one flat, immutable, reference-counted buffer that is already the encoded form (CBOR,
// RFC 8949).
//
// Ownership. Whoever holds a value drops it once, with ac_drop or by giving it to a call that takes
// it. ac_hold makes a second holder. Calls that take a value take it also when they fail. A value
// that could not be made (no memory, too large) is of kind AC_INVALID and carries the error; it may
// be passed to any call that takes values, which then returns that error, so that one check at the
// end is enough.
//
// Limits: AC_VALUE_BYTES_MAX encoded bytes, AC_VALUE_DEPTH_MAX lists and maps in each other,
// 1,048,576 items with all that is inside. A value beyond them is AC_INVALID with -EMSGSIZE.
#ifndef ASYNCORO_VALUE_H
#define ASYNCORO_VALUE_H

#include <stdio.h>

#include <asyncoro/base.h>

#ifdef __cplusplus
extern "C" {
#endif

// The limits on a value: encoded bytes, and lists and maps in each other.
#define AC_VALUE_BYTES_MAX ((size_t)256 << 20)
#define AC_VALUE_DEPTH_MAX 32

// A reference: the name, by value, of a coroutine, a channel or a remote function; the same near
// and far, never reused. The fields are private; compare with ac_ref_equal.
typedef struct ac_ref {
    uint64_t peer; // the process it lives in; 0: no reference
    uint64_t id;   // what it names there; without a process: the error that kept it from being made
} ac_ref;

static const ac_ref ac_no_ref = {0, 0};

// What a value is.
enum ac_kind {
    AC_NIL,
    AC_BOOL,
    AC_INT,
    AC_REAL,
    AC_TEXT,
    AC_BYTES,
    AC_LIST,
    AC_MAP,
    AC_REF,
    AC_ERROR,   // an error code with an optional text
    AC_NOTICE,  // made by the runtime alone: an exit notice, a status message (see ac_exit_of)
    AC_POINTER, // a local pointer: travels within this process only
    AC_INVALID  // a value that could not be made; carries the error
};

struct ac_flat;

// The fields are private: read values with the functions below.
typedef struct ac_value {
    uint8_t kind;    // enum ac_kind
    uint8_t form;    // in the record itself, or in a flat buffer
    uint16_t unused; // zero
    uint32_t offset; // where in the flat buffer the encoded item starts
    union {
        bool boolean;
        int64_t integer; // also the code of an error
        double real;
        void *pointer;
        struct ac_flat *flat; // one hold on it belongs to the value
    } as;
} ac_value;

#ifdef __cplusplus
static const ac_value ac_nil = {};
#else
static const ac_value ac_nil = {0};
#endif

// Text or bytes seen in place: not terminated by a NUL, valid while the value it came from is held.
typedef struct ac_span {
    const void *at;
    size_t bytes;
} ac_span;

// ---- making ----

// Makes a value of what it is given, to be dropped by the caller, as those that follow do; ac_of
// chooses by the type.
AC_API ac_value ac_of_bool(bool it);
AC_API ac_value ac_of_int(int64_t it);
AC_API ac_value ac_of_real(double it);
// An unsigned number above INT64_MAX gives AC_INVALID with -ERANGE.
AC_API ac_value ac_of_unsigned(uint64_t it);
// Copies the text, which must be UTF-8: a text, or AC_INVALID with -EILSEQ. NULL gives nil.
AC_API ac_value ac_of_text(const char *text);
// Copies text without a NUL at its end, which must be UTF-8 (-EILSEQ), or bytes. NULL gives
// AC_INVALID with -EINVAL, unless there are no bytes.
AC_API ac_value ac_of_text_span(const char *text, size_t bytes);
AC_API ac_value ac_of_bytes(const void *data, size_t bytes);
// ac_no_ref gives nil; a reference that carries an error gives AC_INVALID with that error.
AC_API ac_value ac_of_ref(ac_ref ref);
// An error: `code` is a negative errno value, `text` says more and may be NULL. Where the text is
// not UTF-8 its foreign bytes become '?', and without memory there is no text: the code is kept in
// any case.
AC_API ac_value ac_of_error(int code, const char *text);
// A pointer, for receivers in this process only: sending it far fails with -ENOTSUP.
AC_API ac_value ac_of_pointer(void *pointer);
static inline ac_value ac_of_value(ac_value it) { return it; }

// The result of a coroutine that ends with `err`: nil for 0 or more, else the error as a value.
AC_API ac_value ac_result(int err);

// A list of `count` items, which it takes. `items` may be NULL when count is 0; else, as for a map,
// that is AC_INVALID with -EINVAL.
AC_API ac_value ac_list_of(const ac_value *items, size_t count);

// A map of `count` entries from `items`, a key and a value in turn (2 x count items), which it
// takes. Keys are text or integers (else AC_INVALID with -EINVAL); a key that comes twice gives
// -EEXIST. Entries are kept in the order of their encoded keys, so that equal maps have equal
// encodings.
AC_API ac_value ac_map_of(const ac_value *items, size_t count);

// ---- owning ----

// Another hold on the same value.
AC_API ac_value ac_hold(ac_value it);
// Ends a hold. Nil and small values may be dropped as well.
AC_API void ac_drop(ac_value it);

// ---- reading: none of these takes the value ----

// What a value is, and whether it is nil.
static inline enum ac_kind ac_kind_of(ac_value it) { return (enum ac_kind)it.kind; }
static inline bool ac_is_nil(ac_value it) { return it.kind == AC_NIL; }
// The word for a kind: "list", "notice". Constant text.
AC_API const char *ac_kind_name(enum ac_kind kind);

// The number as such; 0 for anything else than an integer. ac_real_of converts integers.
AC_API int64_t ac_int_of(ac_value it);
AC_API double ac_real_of(ac_value it);
// True for the boolean and for the integer 1, as `true` is an int in C11 and ac_of(true) makes an
// integer; else false.
AC_API bool ac_bool_of(ac_value it);
// {NULL, 0} for anything else than text or bytes; of an error, its text.
AC_API ac_span ac_span_of(ac_value it);
// The text ended by a NUL, valid while the value is held; NULL for anything else, for text with a
// NUL in it, and when there is no memory.
AC_API const char *ac_text_of(ac_value it);
// ac_no_ref for anything else than a reference.
AC_API ac_ref ac_ref_of(ac_value it);
// The negative code of an error or of an AC_INVALID; 0 for anything else.
AC_API int ac_error_of(ac_value it);
// NULL for anything else than a pointer.
AC_API void *ac_pointer_of(ac_value it);

// Items of a list or entries of a map; 0 for anything else.
AC_API size_t ac_count(ac_value it);
// Item `i` of a list, to be dropped by the caller; AC_INVALID with -ERANGE where there is none.
// Walks the list: to visit all items use ac_next.
AC_API ac_value ac_at(ac_value list, size_t i);
// The value under a key, to be dropped by the caller; AC_INVALID with -ENOENT where there is none.
AC_API ac_value ac_get(ac_value map, const char *key);
// Visits items in order: `*cursor` starts at 0. Stores the next item (or, of a map, first a key and
// then its value in turn), to be dropped by the caller, and returns true; returns false after the
// last, and if either pointer is NULL.
AC_API bool ac_next(ac_value of, size_t *cursor, ac_value *item);

// Of the same kind and with the same encoding: 1 and 1.0 differ, as do 0.0 and -0.0; a NaN equals
// itself.
AC_API bool ac_equal(ac_value a, ac_value b);
static inline bool ac_ref_equal(ac_ref a, ac_ref b) { return a.peer == b.peer && a.id == b.id; }
static inline bool ac_ref_is(ac_ref ref) { return ref.peer != 0; }
// Returns the process it lives in, a number as in struct ac_peer_info; 0 for no reference.
static inline uint64_t ac_ref_peer(ac_ref ref) { return ref.peer; }
// Why a call that returns a reference returned none: a negative errno value; 0 for a reference and
// ac_no_ref.
static inline int ac_ref_error(ac_ref ref) { return ref.peer == 0 ? -(int)ref.id : 0; }

// ---- unpacking ----

// As what an item of a list is to be stored.
enum ac_want {
    AC_WANT_BOOL, // the integers 0 and 1 are taken too, as `true` is one in C11
    AC_WANT_INT,
    AC_WANT_UNSIGNED,
    AC_WANT_LONG,
    AC_WANT_LONG_LONG,
    AC_WANT_UNSIGNED_LONG,
    AC_WANT_UNSIGNED_LONG_LONG,
    AC_WANT_REAL,  // an integer is converted
    AC_WANT_FLOAT, // likewise
    AC_WANT_TEXT,  // const char *, ended by a NUL, valid while the value is held; nil gives NULL
    AC_WANT_SPAN,  // text or bytes in place
    AC_WANT_REF,   // nil gives ac_no_ref
    AC_WANT_VALUE, // any item: a hold of its own, to be dropped
    AC_WANT_POINTER
};

// A variable for an item of a list.
typedef struct ac_target {
    enum ac_want want;
    void *to;
} ac_target;

// Takes a list apart: item i is stored through targets[i]. The list must have `count` items
// exactly. A value that is no list counts as a list of one, so that a single argument needs none.
// Does not take the value. 0; -EMSGSIZE when the number of items differs; -EINVAL when an item is
// of another kind, or where a pointer is NULL; -ERANGE when a number does not fit; -EILSEQ for a
// text with a NUL in it; -ENOMEM. On failure nothing is held.
AC_API int ac_unpack_to(ac_value it, const ac_target *targets, size_t count) AC_CHECKED;

// ---- text forms ----

// As fprintf to standard output (with the conversions of printf but no `n$`, %n and %m), and "%v"
// prints an ac_value, "%r" an ac_ref, without width and precision. The line is written in one
// piece. Does not take values. Returns the bytes written, or a negative errno value.
AC_API int ac_print(const char *format, ...);
AC_API int ac_print_to(FILE *file, const char *format, ...);
// The same into memory, as snprintf: at most `bytes` with the closing NUL; returns the length that
// the whole text has, or a negative errno value.
AC_API int ac_format(char *text, size_t bytes, const char *format, ...);

// ---- encoded form ----

// The CBOR encoding of the value. `*encoded` is to be freed by the caller with free(). 0; -ENOMEM;
// -ENOTSUP for a value with a local pointer in it; -EINVAL if either pointer is NULL.
AC_API int ac_encode(ac_value it, void **encoded, size_t *bytes) AC_CHECKED;
// The value that the bytes encode, checked: definite lengths, shortest forms, UTF-8, limits on
// depth and size, nothing after the end. AC_INVALID with -EBADMSG where they do not, -EMSGSIZE over
// a limit, -ENOMEM.
AC_API ac_value ac_decode(const void *encoded, size_t bytes);

// ---- what the compiler may put in place of a call ----

// The functions above that do next to nothing, once more: a message of one number is made and read
// without a call. The library has them, too, for other languages and for who takes their address:
// it defines AC_IN_PLACE_ as nothing in one of its files.
#ifndef AC_IN_PLACE_
#define AC_IN_PLACE_ extern inline __attribute__((gnu_inline))
#endif

AC_IN_PLACE_ ac_value ac_of_bool(bool it) {
    ac_value value = {AC_BOOL, 0, 0, 0, {it}};
    return value;
}
AC_IN_PLACE_ ac_value ac_of_int(int64_t it) {
    ac_value value = {AC_INT, 0, 0, 0, {false}};
    value.as.integer = it;
    return value;
}
AC_IN_PLACE_ ac_value ac_of_real(double it) {
    ac_value value = {AC_REAL, 0, 0, 0, {false}};
    value.as.real = it;
    return value;
}
AC_IN_PLACE_ ac_value ac_of_pointer(void *pointer) {
    ac_value value = {AC_POINTER, 0, 0, 0, {false}};
    value.as.pointer = pointer;
    return value;
}
AC_IN_PLACE_ int64_t ac_int_of(ac_value it) { return it.kind == AC_INT ? it.as.integer : 0; }
AC_IN_PLACE_ double ac_real_of(ac_value it) {
    return it.kind == AC_REAL ? it.as.real : (double)ac_int_of(it);
}
AC_IN_PLACE_ bool ac_bool_of(ac_value it) {
    return it.kind == AC_BOOL ? it.as.boolean : it.kind == AC_INT && it.as.integer == 1;
}
AC_IN_PLACE_ void *ac_pointer_of(ac_value it) {
    return it.kind == AC_POINTER ? it.as.pointer : NULL;
}

#ifdef __cplusplus
} // extern "C"
#endif

// ---- the short forms: ac_of(x), ac_list(...), ac_map(...), ac_unpack(v, &a, &b) ----

#ifdef __cplusplus
// Overloads and templates do in C++ what _Generic does in C.
static inline ac_value ac_of(bool it) { return ac_of_bool(it); }
static inline ac_value ac_of(char it) { return ac_of_int(it); }
static inline ac_value ac_of(int it) { return ac_of_int(it); }
static inline ac_value ac_of(unsigned it) { return ac_of_int(it); }
static inline ac_value ac_of(long it) { return ac_of_int(it); }
static inline ac_value ac_of(unsigned long it) { return ac_of_unsigned(it); }
static inline ac_value ac_of(long long it) { return ac_of_int(it); }
static inline ac_value ac_of(unsigned long long it) { return ac_of_unsigned(it); }
static inline ac_value ac_of(double it) { return ac_of_real(it); }
static inline ac_value ac_of(const char *it) { return ac_of_text(it); }
// Without this one a pointer would quietly become a bool.
static inline ac_value ac_of(void *it) { return ac_of_pointer(it); }
static inline ac_value ac_of(const void *it) = delete; // as in C: cast the const away
static inline ac_value ac_of(ac_ref it) { return ac_of_ref(it); }
static inline ac_value ac_of(ac_value it) { return it; }
template <typename... Items> ac_value ac_list(Items... items) {
    const ac_value all[] = {ac_nil, ac_of(items)...};
    return ac_list_of(all + 1, sizeof...(items));
}
template <typename... Items> ac_value ac_map(Items... items) {
    static_assert(sizeof...(items) % 2 == 0, "a map is made of keys and values in turn");
    const ac_value all[] = {ac_nil, ac_of(items)...};
    return ac_map_of(all + 1, sizeof...(items) / 2);
}
static inline ac_target ac_target_of(bool *to) { return ac_target{AC_WANT_BOOL, to}; }
static inline ac_target ac_target_of(int *to) { return ac_target{AC_WANT_INT, to}; }
static inline ac_target ac_target_of(unsigned *to) { return ac_target{AC_WANT_UNSIGNED, to}; }
static inline ac_target ac_target_of(long *to) { return ac_target{AC_WANT_LONG, to}; }
static inline ac_target ac_target_of(long long *to) { return ac_target{AC_WANT_LONG_LONG, to}; }
static inline ac_target ac_target_of(unsigned long *to) {
    return ac_target{AC_WANT_UNSIGNED_LONG, to};
}
static inline ac_target ac_target_of(unsigned long long *to) {
    return ac_target{AC_WANT_UNSIGNED_LONG_LONG, to};
}
static inline ac_target ac_target_of(double *to) { return ac_target{AC_WANT_REAL, to}; }
static inline ac_target ac_target_of(float *to) { return ac_target{AC_WANT_FLOAT, to}; }
static inline ac_target ac_target_of(const char **to) { return ac_target{AC_WANT_TEXT, to}; }
static inline ac_target ac_target_of(ac_span *to) { return ac_target{AC_WANT_SPAN, to}; }
static inline ac_target ac_target_of(ac_ref *to) { return ac_target{AC_WANT_REF, to}; }
static inline ac_target ac_target_of(ac_value *to) { return ac_target{AC_WANT_VALUE, to}; }
static inline ac_target ac_target_of(void **to) { return ac_target{AC_WANT_POINTER, to}; }
template <typename... Targets> int ac_unpack(ac_value it, Targets... targets) {
    const ac_target all[] = {ac_target_of(targets)...};
    return ac_unpack_to(it, all, sizeof...(targets));
}
#else

// A value from any number, bool, text, reference, pointer or value.
#define ac_of(it)                                                                                  \
    _Generic((it),                                                                                 \
        bool: ac_of_bool,                                                                          \
        char: ac_of_int,                                                                           \
        signed char: ac_of_int,                                                                    \
        unsigned char: ac_of_int,                                                                  \
        short: ac_of_int,                                                                          \
        unsigned short: ac_of_int,                                                                 \
        int: ac_of_int,                                                                            \
        unsigned: ac_of_int,                                                                       \
        long: ac_of_int,                                                                           \
        long long: ac_of_int,                                                                      \
        unsigned long: ac_of_unsigned,                                                             \
        unsigned long long: ac_of_unsigned,                                                        \
        float: ac_of_real,                                                                         \
        double: ac_of_real,                                                                        \
        char *: ac_of_text,                                                                        \
        const char *: ac_of_text,                                                                  \
        ac_ref: ac_of_ref,                                                                         \
        ac_value: ac_of_value,                                                                     \
        void *: ac_of_pointer)(it)

// A list of up to 16 items, each as for ac_of: ac_list("done", id, 0.5).
#define ac_list(...) AC_LIST_(AC_COUNT_(__VA_ARGS__), __VA_ARGS__)
// A map of up to 8 entries, key and value in turn: ac_map("name", "pump", "litres", 3.5).
#define ac_map(...)                                                                                \
    ac_map_of((const ac_value[]){AC_EACH_(ac_of, AC_COUNT_(__VA_ARGS__), __VA_ARGS__)},            \
              AC_COUNT_(__VA_ARGS__) / 2 +                                                         \
                  0 * sizeof(char[AC_COUNT_(__VA_ARGS__) % 2 == 0 ? 1 : -1]))

// The target that a pointer to a variable is, by its type.
#define ac_target_of(target)                                                                       \
    ((ac_target){_Generic((target),                                                                \
                     bool *: AC_WANT_BOOL,                                                         \
                     int *: AC_WANT_INT,                                                           \
                     unsigned *: AC_WANT_UNSIGNED,                                                 \
                     long *: AC_WANT_LONG,                                                         \
                     long long *: AC_WANT_LONG_LONG,                                               \
                     unsigned long *: AC_WANT_UNSIGNED_LONG,                                       \
                     unsigned long long *: AC_WANT_UNSIGNED_LONG_LONG,                             \
                     double *: AC_WANT_REAL,                                                       \
                     float *: AC_WANT_FLOAT,                                                       \
                     const char **: AC_WANT_TEXT,                                                  \
                     ac_span *: AC_WANT_SPAN,                                                      \
                     ac_ref *: AC_WANT_REF,                                                        \
                     ac_value *: AC_WANT_VALUE,                                                    \
                     void **: AC_WANT_POINTER),                                                    \
                 (void *)(target)})

// Takes a list of up to 16 items apart into variables: ac_unpack(message, &id, &name). Returns what
// ac_unpack_to does. Does not take the value.
#define ac_unpack(it, ...)                                                                         \
    ac_unpack_to((it),                                                                             \
                 (const ac_target[]){AC_EACH_(ac_target_of, AC_COUNT_(__VA_ARGS__), __VA_ARGS__)}, \
                 AC_COUNT_(__VA_ARGS__))

// Below: the arithmetic of macros with a variable number of arguments.
#define AC_LIST_(count, ...)                                                                       \
    ac_list_of((const ac_value[]){AC_EACH_(ac_of, count, __VA_ARGS__)}, count)
#define AC_COUNT_(...)                                                                             \
    AC_COUNT_AT_(__VA_ARGS__, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)
#define AC_COUNT_AT_(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, count, ...) count
#define AC_EACH_(f, count, ...) AC_JOIN_(AC_EACH_, count)(f, __VA_ARGS__)
#define AC_JOIN_(a, b) AC_JOIN_AGAIN_(a, b)
#define AC_JOIN_AGAIN_(a, b) a##b
#define AC_EACH_1(f, a) f(a)
#define AC_EACH_2(f, a, ...) f(a), AC_EACH_1(f, __VA_ARGS__)
#define AC_EACH_3(f, a, ...) f(a), AC_EACH_2(f, __VA_ARGS__)
#define AC_EACH_4(f, a, ...) f(a), AC_EACH_3(f, __VA_ARGS__)
#define AC_EACH_5(f, a, ...) f(a), AC_EACH_4(f, __VA_ARGS__)
#define AC_EACH_6(f, a, ...) f(a), AC_EACH_5(f, __VA_ARGS__)
#define AC_EACH_7(f, a, ...) f(a), AC_EACH_6(f, __VA_ARGS__)
#define AC_EACH_8(f, a, ...) f(a), AC_EACH_7(f, __VA_ARGS__)
#define AC_EACH_9(f, a, ...) f(a), AC_EACH_8(f, __VA_ARGS__)
#define AC_EACH_10(f, a, ...) f(a), AC_EACH_9(f, __VA_ARGS__)
#define AC_EACH_11(f, a, ...) f(a), AC_EACH_10(f, __VA_ARGS__)
#define AC_EACH_12(f, a, ...) f(a), AC_EACH_11(f, __VA_ARGS__)
#define AC_EACH_13(f, a, ...) f(a), AC_EACH_12(f, __VA_ARGS__)
#define AC_EACH_14(f, a, ...) f(a), AC_EACH_13(f, __VA_ARGS__)
#define AC_EACH_15(f, a, ...) f(a), AC_EACH_14(f, __VA_ARGS__)
#define AC_EACH_16(f, a, ...) f(a), AC_EACH_15(f, __VA_ARGS__)
#endif

#endif
