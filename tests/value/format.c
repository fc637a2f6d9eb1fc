// SPDX-License-Identifier: MIT
// ac_print, ac_print_to and ac_format.
#include "test.h"

#include <float.h>
#include <limits.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <wchar.h>

#include "value/value.h"

static char text[4096];

// What ac_format makes of the format; what it returns must be its length.
#define FORMAT(...) formatted(ac_format(text, sizeof text, __VA_ARGS__))
static const char *formatted(int length) {
    ck_assert_int_eq(length, (int)strlen(text));
    return text;
}

// The same for one value, which is dropped.
static const char *shown(ac_value it) {
    ck_assert_int_ge(ac_format(text, sizeof text, "%v", it), 0);
    ac_drop(it);
    return text;
}

TEST(the_conversions_of_printf_are_those_of_printf) {
    char expected[512];
    int thing;
// The same arguments to both.
#define SAME(...)                                                                                  \
    do {                                                                                           \
        snprintf(expected, sizeof expected, __VA_ARGS__);                                          \
        ck_assert_str_eq(FORMAT(__VA_ARGS__), expected);                                           \
    } while (0)
    SAME("plain");
    SAME("100 %% of %s", "it");
    SAME("%d %i %u %x %X %o %c", -5, 6, 7u, 255u, 255u, 8u, 'c');
    SAME("%hhd %hd %ld %lld %jd %zd %td", (signed char)-1, (short)-2, -3L, -4LL, (intmax_t)-5,
         (ssize_t)-6, (ptrdiff_t)-7);
    SAME("%hhu %hu %lu %llx %ju %zu", (unsigned char)1, (unsigned short)2, 3UL, 4ULL, (uintmax_t)5,
         (size_t)6);
    SAME("%+d|% d|%05d|%-5d|%5d|%.3d|%+08d|%#x|%#o", 1, 2, 3, 4, 5, 6, 7, 255u, 8u);
    SAME("%f %e %g %a %F %E %G %A", 1.5, 2.5, 3.5, 4.5, 1.5, 2.5, 3.5, 4.5);
    SAME("%.0f|%10.3f|%-10.1e|%#.3g|%Lf|%lf", 1.5, 2.5, 3.5, 4.5, 5.5L, 6.5);
    SAME("%s|%10s|%-10s|%.2s|%5.1s|", "abc", "def", "ghi", "jkl", "mno");
    SAME("%p %p", (void *)&thing, NULL);
    SAME("%*d|%-*d|%.*f|%*.*s|%*d", 5, 1, 5, 2, 2, 3.14159, 6, 2, "abc", -4, 7);
    SAME("%lc %ls", (wint_t)L'w', L"wide");
    SAME("%f", DBL_MAX);
    SAME("%d %lld %llu", INT_MIN, LLONG_MIN, ULLONG_MAX);
}

TEST(what_is_no_conversion_is_refused) {
    static const char *const wrong[] = {"%",   "%5",  "%y",  "%n",  "%m",   "%1$d", "%hhs",
                                        "%lv", "%zf", "%lp", "%5%", "%Ld",  "%hv",  "%lr",
                                        "%-",  "%.",  "%ll", "x%",  "%hhc", "%-%",  "%qd"};
    for (size_t i = 0; i < countof(wrong); i++) {
        strcpy(text, "old");
        ck_assert_int_eq(ac_format(text, sizeof text, wrong[i], 1, 2), -EINVAL);
        ck_assert_str_eq(text, "");
    }
    ck_assert_int_eq(ac_format(text, sizeof text, "%99999999999d", 1), -EOVERFLOW);
    ck_assert_int_eq(ac_format(text, sizeof text, "%.99999999999d", 1), -EOVERFLOW);
    ck_assert_int_eq(ac_format(text, sizeof text, NULL), -EINVAL);
    ck_assert_int_eq(ac_format(NULL, 5, "x"), -EINVAL);
    ck_assert_int_eq(ac_print_to(NULL, "x"), -EINVAL);
}

TEST(plain_values_read_well) {
    ck_assert_str_eq(shown(ac_nil), "nil");
    ck_assert_str_eq(shown(ac_of_bool(true)), "true");
    ck_assert_str_eq(shown(ac_of_bool(false)), "false");
    ck_assert_str_eq(shown(ac_of(42)), "42");
    ck_assert_str_eq(shown(ac_of(INT64_MIN)), "-9223372036854775808");
    ck_assert_str_eq(shown(ac_of("as it \"stands\"\n")), "as it \"stands\"\n");
    ck_assert_str_eq(shown(ac_of_bytes("\0\xff", 2)), "b'00ff'");
    ck_assert_str_eq(shown(ac_of_bytes("", 0)), "b''");
    ck_assert_str_eq(shown(ac_of_pointer((void *)0x1234)), "<pointer 0x1234>");
}

TEST(reals_show_their_kind_and_all_their_digits) {
    ck_assert_str_eq(shown(ac_of(2.5)), "2.5");
    ck_assert_str_eq(shown(ac_of(42.0)), "42.0");
    ck_assert_str_eq(shown(ac_of(-0.0)), "-0.0");
    ck_assert_str_eq(shown(ac_of(0.1)), "0.1");
    ck_assert_str_eq(shown(ac_of(0.1 + 0.2)), "0.30000000000000004");
    ck_assert_str_eq(shown(ac_of(1e300)), "1e+300");
    ck_assert_str_eq(shown(ac_of(5e-324)), "4.94065645841247e-324");
    ck_assert_str_eq(shown(ac_of(123456789012345.0)), "123456789012345.0");
    ck_assert_str_eq(shown(ac_of(NAN)), "nan");
    ck_assert_str_eq(shown(ac_of(INFINITY)), "inf");
    ck_assert_str_eq(shown(ac_of(-INFINITY)), "-inf");
    srand(25);
    for (int i = 0; i < 10000; i++) {
        double real = ldexp(rand(), rand() % 2000 - 1000) + rand();
        ck_assert(strtod(shown(ac_of(real)), NULL) == real);
    }
}

TEST(a_comma_of_the_users_language_is_a_point) {
    static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "de_DE"};
    for (size_t i = 0; i < countof(names); i++)
        if (setlocale(LC_NUMERIC, names[i]))
            break;
    ck_assert_str_eq(shown(ac_list(2.5, 3.0)), "[2.5, 3.0]");
}

TEST(lists_and_maps_show_their_items) {
    ck_assert_str_eq(shown(ac_list_of(NULL, 0)), "[]");
    ck_assert_str_eq(shown(ac_map_of(NULL, 0)), "{}");
    ck_assert_str_eq(shown(ac_list(1, "a", ac_nil, 2.0, ac_of_bool(true))),
                     "[1, \"a\", nil, 2.0, true]");
    ck_assert_str_eq(shown(ac_map("k", 1, 5, ac_list("x"), "empty", ac_map_of(NULL, 0))),
                     "{5: [\"x\"], \"k\": 1, \"empty\": {}}");
}

TEST(text_inside_is_quoted) {
    ck_assert_str_eq(shown(ac_list("a\"b\\c\nd\te\rf\x01g\x7fh\xc3\xa9")),
                     "[\"a\\\"b\\\\c\\nd\\te\\rf\\u0001g\\u007fh\xc3\xa9\"]");
    ck_assert_str_eq(shown(ac_list(ac_of_text_span("a\0b", 3))), "[\"a\\u0000b\"]");
    ck_assert_str_eq(shown(ac_list("")), "[\"\"]");
}

TEST(errors_show_text_and_name) {
    ck_assert_str_eq(shown(ac_of_error(-ENOENT, "no pump")), "error: no pump (ENOENT)");
    ck_assert_str_eq(shown(ac_of_error(-ETIMEDOUT, NULL)), "error: time was up (ETIMEDOUT)");
    ck_assert_str_eq(shown(ac_of_error(-99999, "odd")), "error: odd (-99999)");
    ck_assert_str_eq(shown(value_invalid(-ENOMEM)), "invalid: there is no memory left (ENOMEM)");
    ck_assert_str_eq(shown(ac_list(ac_of_error(-EIO, "x"))), "[<error: x (EIO)>]");
}

TEST(references_and_notices_stand_in_brackets) {
    ac_ref ref = {0x1a2b, 0x17};
    ck_assert_str_eq(shown(ac_of(ref)), "<reference 1a2b:17>");
    ck_assert_str_eq(FORMAT("%r", ref), "<reference 1a2b:17>");
    ck_assert_str_eq(FORMAT("%r", ac_no_ref), "<no reference>");
    ck_assert_str_eq(FORMAT("%r", ((ac_ref){0, EPERM})),
                     "<no reference, invalid: called outside a coroutine, or not allowed (EPERM)>");
    ck_assert_str_eq(shown(value_notice(ac_list("ended", ref))),
                     "<notice [\"ended\", <reference 1a2b:17>]>");
}

TEST(values_mix_with_other_conversions) {
    ac_value list = ac_list(1, "x");
    ck_assert_str_eq(FORMAT("%d %v %s %r %.1f %v%%", 1, list, "two", ((ac_ref){3, 4}), 5.0, list),
                     "1 [1, \"x\"] two <reference 3:4> 5.0 [1, \"x\"]%");
    ac_drop(list);
}

TEST(width_and_precision_hold_for_values) {
    ac_value list = ac_list(1, 2), word = ac_of("h\xc3\xa9llo");
    ck_assert_str_eq(FORMAT("|%10v|%-10v|%3v|%*v|", list, list, list, 8, list),
                     "|    [1, 2]|[1, 2]    |[1, 2]|  [1, 2]|");
    ck_assert_str_eq(FORMAT("|%.3v|%6.3v|%-6.3v|%.0v|%.100v|", list, list, list, list, list),
                     "|[1,|   [1,|[1,   ||[1, 2]|");
    ck_assert_str_eq(FORMAT("|%.2v|%.3v|", word, word), "|h|h\xc3\xa9|"); // whole characters
    ck_assert_str_eq(FORMAT("|%25r|", ((ac_ref){1, 2})), "|          <reference 1:2>|");
    ac_drop(list);
    ac_drop(word);
}

TEST(a_short_buffer_gets_the_beginning) {
    char small[6] = "?????";
    ck_assert_int_eq(ac_format(small, sizeof small, "%s", "123456789"), 9);
    ck_assert_str_eq(small, "12345");
    ck_assert_int_eq(ac_format(small, 1, "abc"), 3);
    ck_assert_str_eq(small, "");
    ck_assert_int_eq(ac_format(NULL, 0, "%d", 1234), 4);
    ck_assert_int_eq(ac_format(small, sizeof small, ""), 0);
    ck_assert_str_eq(small, "");
}

TEST(nothing_is_cut_off) {
    enum { BYTES = 1 << 20 };
    char *data = malloc(BYTES + 1), *out = malloc(BYTES + 100);
    memset(data, 'x', BYTES);
    data[BYTES] = 0;
    ck_assert_int_eq(ac_format(out, BYTES + 100, "<%s>", data), BYTES + 2);
    ck_assert_int_eq(out[BYTES + 1], '>');
    ac_value it = ac_list(ac_of_text_span(data, BYTES));
    ck_assert_int_eq(ac_format(out, BYTES + 100, "%v", it), BYTES + 4);
    ck_assert_str_eq(out + BYTES + 2, "\"]");
    ck_assert_int_eq(ac_format(out, BYTES + 100, "%1000000d|", 7), 1000001);
    ac_drop(it);
    free(data);
    free(out);
}

TEST(the_deepest_value_is_shown) {
    ac_value it = ac_of(1);
    for (int i = 0; i < AC_VALUE_DEPTH_MAX; i++)
        it = ac_list(it);
    ck_assert_uint_eq(strlen(shown(it)), 2 * AC_VALUE_DEPTH_MAX + 1);
}

TEST(a_line_reaches_its_file_in_one_piece) {
    char *written;
    size_t bytes;
    FILE *file = open_memstream(&written, &bytes);
    ck_assert_int_eq(ac_print_to(file, "%s is %v\n", "it", ac_of(5)), 8);
    ck_assert_int_eq(ac_print_to(file, "%v\n", ac_nil), 4);
    ck_assert_int_eq(ac_print_to(file, "lost %y"), -EINVAL); // and nothing of it is written
    fclose(file);
    ck_assert_str_eq(written, "it is 5\nnil\n");
    free(written);
}

TEST(print_goes_to_standard_output) {
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_ge(dup2(ends[1], STDOUT_FILENO), 0);
    ck_assert_int_eq(ac_print("%v %d\n", ac_of(2.5), 3), 6);
    fflush(stdout);
    ck_assert_int_eq(read(ends[0], text, sizeof text), 6);
    ck_assert_mem_eq(text, "2.5 3\n", 6);
}

TEST(a_file_that_takes_nothing_gives_its_error) {
    FILE *full = fopen("/dev/full", "w");
    if (!full)
        return;
    setvbuf(full, NULL, _IONBF, 0);
    ck_assert_int_eq(ac_print_to(full, "line\n"), -ENOSPC);
    fclose(full);
    FILE *read_only = fopen("/dev/null", "r");
    ck_assert_int_eq(ac_print_to(read_only, "line\n"), -EBADF);
    fclose(read_only);
}

TEST(without_memory_nothing_is_printed) {
    char out[1000];
    ac_value it = ac_map("key", ac_list(1, 2.5, "a\nb", ac_of_bytes("xyz", 3)), "more", "text");
    for (long n = 1;; n++) {
        memory_fail_nth(n);
        int result = ac_format(out, sizeof out, "%100d %v %r", 1, it, ((ac_ref){1, 2}));
        bool failed = memory_has_failed();
        memory_fail_nth(0);
        if (!failed) {
            ck_assert_int_gt(result, 0);
            break;
        }
        ck_assert_int_eq(result, -ENOMEM);
        ck_assert_str_eq(out, "");
    }
    ac_drop(it);
}
