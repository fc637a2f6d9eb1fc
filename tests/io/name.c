// SPDX-License-Identifier: MIT
// Tests of src/io/name.c.
#include "io/connect.h"

#include "io/io.h"

static struct sys_address found[IO_ADDRESSES_MAX];

static void expect(const char *text, const char *const *shown, int count) {
    char back[SYS_ADDRESS_TEXT_BYTES];
    ck_assert_msg(io_resolve(text, found, countof(found), AC_FOREVER) == count, "%s", text);
    for (int i = 0; i < count; i++) {
        sys_address_text(&found[i], back);
        ck_assert_str_eq(back, shown[i]);
    }
}

CORO_TEST(numbers_need_no_name_service) {
    expect("1.2.3.4:5", (const char *const[]){"1.2.3.4:5"}, 1);
    expect("[::1]:80", (const char *const[]){"[::1]:80"}, 1);
    expect(":80", (const char *const[]){"127.0.0.1:80", "[::1]:80"}, 2);
    ck_assert_int_eq(io_resolve(":80", found, 1, AC_FOREVER), 1);
    ck_assert_int_eq(io_resolve("1.2.3.4:5", found, 1, AC_NOW), 1);
    ck_assert_ptr_null(coro_here()->loop->extra[LOOP_WORK].state); // no helper was asked
}

static void expect_loopback(const char *text, int port) {
    int count = io_resolve(text, found, countof(found), ac_after(20));
    ck_assert_msg(count >= 1, "%s: %d", text, count);
    for (int i = 0; i < count; i++) {
        ck_assert(sys_address_is_loopback(&found[i]));
        ck_assert_int_eq(found[i].port, port);
    }
}

CORO_TEST(names_are_looked_up) {
    expect_loopback("localhost:8010", 8010);
    expect_loopback("localhost:http", 80);
    expect_loopback("127.0.0.1:http", 80);
    expect_loopback("[::1]:http", 80);
    expect_loopback(":http", 80);
    ck_assert_int_eq(io_resolve("localhost:1", found, 1, AC_FOREVER), 1);
}

CORO_TEST(unknown_names_are_errors) {
    int result = io_resolve("no-such-host.invalid:80", found, countof(found), ac_after(30));
    ck_assert(result == -ENOENT || result == -EAGAIN || result == -ETIMEDOUT);
    ck_assert_int_eq(io_resolve("localhost:no-such-service", found, countof(found), AC_FOREVER),
                     -ENOENT);
    // Connecting says the same.
    ac_stream *stream;
    ck_assert_int_eq(ac_connect(&stream, "127.0.0.1:no-such-service", AC_FOREVER), -ENOENT);
    ck_assert_ptr_null(stream);
}

CORO_TEST(what_cannot_be_an_address_is_refused) {
    static const char *const wrong[] = {
        "",
        ":",
        "host",
        "host:",
        "1.2.3.4",
        "::1:80",
        "[::1]",
        "[::1:80",
        "::1]:80",
        "[]:80",
        "[host]:80",
        "host:65536",
        ":65536",
        "a[b]:80",
        "host:99999999999999999",
        "1.2.3.4:0000080",
    };
    char text[400];
    for (size_t i = 0; i < countof(wrong); i++)
        ck_assert_msg(io_resolve(wrong[i], found, countof(found), AC_FOREVER) == -EINVAL, "%s",
                      wrong[i]);
    memset(text, 'a', sizeof text);
    strcpy(text + 256, ":80");
    ck_assert_int_eq(io_resolve(text, found, countof(found), AC_FOREVER), -EINVAL);
    strcpy(text, "host:");
    memset(text + 5, 'a', 64);
    text[69] = 0;
    ck_assert_int_eq(io_resolve(text, found, countof(found), AC_FOREVER), -EINVAL);
}

CORO_TEST(a_name_that_nobody_waits_for_is_thrown_away) {
    for (int i = 0; i < 50; i++) {
        int result = io_resolve("localhost:1", found, countof(found), ac_after(0.00001 * i));
        ck_assert(result > 0 || result == -ETIMEDOUT || result == -EAGAIN);
    }
    ck_assert_int_eq(io_resolve("localhost:1", found, countof(found), AC_NOW), -ETIMEDOUT);
}

static int ended;

static ac_value be_cancelled(ac_value unused) {
    (void)unused;
    int result = io_resolve("localhost:1", found, countof(found), AC_FOREVER);
    ck_assert(result == -ECANCELED);
    ended++;
    return ac_nil;
}

CORO_TEST(looking_up_ends_with_its_coroutine) {
    ac_ref waiting = ac_spawn(be_cancelled, ac_nil);
    // It has no turn in between in which the answer could come: the poller is not asked.
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_cancel(waiting), 0);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ended, 1);
}

CORO_TEST(lack_of_memory_is_an_error) {
    memory_fail_nth(1);
    ck_assert_int_eq(io_resolve("localhost:1", found, countof(found), AC_FOREVER), -ENOMEM);
}

// ---- for users ----

CORO_TEST(addresses_are_told_as_text) {
    char texts[IO_ADDRESSES_MAX][AC_ADDRESS_TEXT_BYTES];
    ck_assert_int_eq(ac_resolve("1.2.3.4:5", texts, 1, AC_NOW), 1);
    ck_assert_str_eq(texts[0], "1.2.3.4:5");
    ck_assert_int_eq(ac_resolve("unix:/run/it", texts, 1, AC_NOW), 1);
    ck_assert_str_eq(texts[0], "unix:/run/it");
    ck_assert_int_eq(ac_resolve(":80", texts, countof(texts), AC_NOW), 2);
    ck_assert_str_eq(texts[0], "127.0.0.1:80");
    ck_assert_str_eq(texts[1], "[::1]:80");
    ck_assert_int_eq(ac_resolve(":80", texts, 1, AC_NOW), 1);
    int count = ac_resolve("localhost:80", texts, countof(texts), ac_after(20));
    ck_assert_int_ge(count, 1);
    for (int i = 0; i < count; i++)
        ck_assert(strcmp(texts[i], "127.0.0.1:80") == 0 || strcmp(texts[i], "[::1]:80") == 0);
}

CORO_TEST(what_cannot_be_resolved_is_an_error) {
    char texts[1][AC_ADDRESS_TEXT_BYTES], text[200] = "unix:/";
    memset(text + 6, 'a', 107);
    ck_assert_int_eq(ac_resolve("no colon", texts, 1, AC_FOREVER), -EINVAL);
    ck_assert_int_eq(ac_resolve("unix:", texts, 1, AC_FOREVER), -EINVAL);
    ck_assert_int_eq(ac_resolve(text, texts, 1, AC_FOREVER), -ENAMETOOLONG);
    ck_assert_int_eq(ac_resolve("127.0.0.1:no-such-service", texts, 1, AC_FOREVER), -ENOENT);
    ck_assert_int_eq(ac_resolve("localhost:1", texts, 1, AC_NOW), -ETIMEDOUT);
    ck_assert_int_eq(ac_resolve(NULL, texts, 1, AC_FOREVER), -EINVAL);
    ck_assert_int_eq(ac_resolve("1.2.3.4:5", NULL, 1, AC_FOREVER), -EINVAL);
    ck_assert_int_eq(ac_resolve("1.2.3.4:5", texts, 0, AC_FOREVER), -EINVAL);
}

TEST(outside_coroutines_nothing_is_resolved) {
    char texts[1][AC_ADDRESS_TEXT_BYTES];
    ck_assert_int_eq(ac_resolve("1.2.3.4:5", texts, 1, AC_FOREVER), -EPERM);
}
