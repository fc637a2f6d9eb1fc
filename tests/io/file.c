// SPDX-License-Identifier: MIT
// Tests of src/io/file.c. The calls that read and write a file are taken over (see the list in
// tests/meson.build), so that a thread can be held up in one, and every file system and kernel is
// met: one that can tell what it has in memory, one that has nothing there, one that cannot tell.
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "io/connect.h"

#include "io/io.h"

#include <asyncoro/file.h>

// ---- the system, as it shall be ----

enum memory { IS_THERE, IS_NOT_THERE, CANNOT_TELL, GIVES_NOTHING };

static struct {
    struct sys_mutex *mutex;
    struct sys_condition *changed;
    bool held;  // threads wait before they read or write
    int inside; // so many do
    int reads;  // tried at once, or made by a thread
    enum memory memory;
} the;

static void pass_gate(void) {
    sys_mutex_lock(the.mutex);
    the.reads++;
    the.inside++;
    while (the.held)
        sys_condition_wait(the.changed, the.mutex, AC_FOREVER);
    the.inside--;
    sys_mutex_unlock(the.mutex);
}

static void hold_gate(bool held) {
    sys_mutex_lock(the.mutex);
    the.held = held;
    sys_condition_signal_all(the.changed);
    sys_mutex_unlock(the.mutex);
}

static int count_inside(void) {
    sys_mutex_lock(the.mutex);
    int inside = the.inside;
    sys_mutex_unlock(the.mutex);
    return inside;
}

ssize_t __real_pread64(int fd, void *to, size_t bytes, off_t at);
ssize_t __wrap_pread64(int fd, void *to, size_t bytes, off_t at);
ssize_t __wrap_pread64(int fd, void *to, size_t bytes, off_t at) {
    pass_gate();
    return __real_pread64(fd, to, bytes, at);
}

ssize_t __real_pwrite64(int fd, const void *from, size_t bytes, off_t at);
ssize_t __wrap_pwrite64(int fd, const void *from, size_t bytes, off_t at);
ssize_t __wrap_pwrite64(int fd, const void *from, size_t bytes, off_t at) {
    pass_gate();
    return __real_pwrite64(fd, from, bytes, at);
}

// 0 if the call is to be made.
static int refuse(void) {
    errno = the.memory == IS_NOT_THERE ? EAGAIN : EOPNOTSUPP;
    return the.memory == IS_THERE || the.memory == GIVES_NOTHING ? 0 : -1;
}

ssize_t __wrap_preadv64v2(int fd, const struct iovec *parts, int count, off_t at, int flags);
ssize_t __wrap_preadv64v2(int fd, const struct iovec *parts, int count, off_t at, int flags) {
    ck_assert_int_eq(count, 1);
    ck_assert_int_eq(flags, RWF_NOWAIT);
    if (the.memory == GIVES_NOTHING)
        return 0;
    if (refuse() < 0)
        return -1;
    the.reads++;
    return __real_pread64(fd, parts->iov_base, parts->iov_len, at);
}

ssize_t __wrap_pwritev64v2(int fd, const struct iovec *parts, int count, off_t at, int flags);
ssize_t __wrap_pwritev64v2(int fd, const struct iovec *parts, int count, off_t at, int flags) {
    ck_assert_int_eq(count, 1);
    ck_assert_int_eq(flags, RWF_NOWAIT);
    return refuse() < 0 ? -1 : __real_pwrite64(fd, parts->iov_base, parts->iov_len, at);
}

// ---- a folder of the test's own, in which it works ----

static char folder[TEST_TEMPLATE_BYTES];

static void begin(void) {
    the.mutex = sys_mutex_create();
    the.changed = sys_condition_create();
    test_template(folder);
    ck_assert_ptr_nonnull(mkdtemp(folder));
    ck_assert_int_eq(chdir(folder), 0);
}

static void end(void) {
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    ck_assert_int_eq(system(command), 0);
    sys_condition_destroy(the.changed);
    sys_mutex_destroy(the.mutex);
}

// A case in that folder, as a coroutine; after the loop has ended no descriptor may be left.
#define FILE_TEST(name_)                                                                           \
    static void name_##_body(void);                                                                \
    static ac_value name_##_coro(ac_value unused) {                                                \
        (void)unused;                                                                              \
        name_##_body();                                                                            \
        return ac_nil;                                                                             \
    }                                                                                              \
    TEST(name_) {                                                                                  \
        begin();                                                                                   \
        int before = count_descriptors();                                                          \
        run(name_##_coro);                                                                         \
        ck_assert_int_eq(count_descriptors(), before);                                             \
        end();                                                                                     \
    }                                                                                              \
    static void name_##_body(void)

static int count_descriptors(void) {
    int count = 0;
    DIR *all = opendir("/proc/self/fd");
    while (readdir(all))
        count++;
    closedir(all);
    return count;
}

static void write_file(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    fclose(file);
}

static void check_file(const char *path, const char *text) {
    struct buffer found;
    buffer_init(&found);
    ck_assert_int_eq(sys_file_read(path, &found, 1 << 20), 0);
    ck_assert_int_eq(buffer_append(&found, "", 1), 0);
    ck_assert_str_eq((char *)found.bytes, text);
    buffer_done(&found);
}

static ac_stream *open_file(const char *path, const char *mode) {
    ac_stream *file;
    ck_assert_int_eq(ac_file_open(&file, path, mode, AC_FOREVER), 0);
    return file;
}

static void check_line(ac_stream *file, const char *line) {
    char text[64];
    ck_assert_int_eq(ac_read_line(file, text, sizeof text, AC_FOREVER), (long)strlen(line) + 1);
    ck_assert_str_eq(text, line);
}

static void check_end(ac_stream *file) {
    char byte;
    ck_assert_int_eq(ac_read(file, &byte, 1, AC_FOREVER), 0);
}

// ---- reading and writing ----

static void write_and_read(void) {
    ac_stream *file = open_file("it", "w");
    write_text(file, "one\ntwo");
    write_text(file, "\r\nthree");
    check_file("it", "one\ntwo\r\nthree");                              // at once, also for others
    ck_assert_int_eq(ac_read(file, &(char){0}, 1, AC_FOREVER), -EBADF); // it is for writing
    ac_close(file);
    file = open_file("it", "r");
    check_line(file, "one");
    check_line(file, "two");
    check_line(file, "three");
    check_end(file);
    ck_assert_int_eq(ac_write_all(file, "x", 1, AC_FOREVER, NULL), -EBADF);
    ac_close(file);
}

FILE_TEST(what_is_written_is_read) { write_and_read(); }

FILE_TEST(the_same_where_nothing_lies_in_memory) {
    the.memory = IS_NOT_THERE;
    write_and_read();
}

FILE_TEST(the_same_where_the_file_system_cannot_tell) {
    the.memory = CANNOT_TELL;
    write_and_read();
}

FILE_TEST(the_same_where_the_kernel_gives_nothing_before_the_end) {
    the.memory = GIVES_NOTHING;
    write_file("it", "one\ntwo");
    ac_stream *file = open_file("it", "r");
    check_line(file, "one");
    check_line(file, "two");
    check_end(file);
    ac_close(file);
}

FILE_TEST(modes_are_those_of_fopen) {
    ac_stream *file;
    static const char *const wrong[] = {"", "x", "q", "rx", "r+q", "+", "wr"};
    for (size_t i = 0; i < countof(wrong); i++)
        ck_assert_int_eq(ac_file_open(&file, "it", wrong[i], AC_FOREVER), -EINVAL);
    ck_assert_int_eq(ac_file_open(&file, "it", NULL, AC_FOREVER), -EINVAL);
    ck_assert_int_eq(ac_file_open(&file, NULL, "r", AC_FOREVER), -EINVAL);
    ck_assert_int_eq(ac_file_open(NULL, "it", "r", AC_FOREVER), -EINVAL);
    ck_assert_int_eq(ac_file_open(&file, "it", "r", AC_FOREVER), -ENOENT);
    ck_assert_int_eq(ac_file_open(&file, "it", "r+", AC_FOREVER), -ENOENT);
    ck_assert_ptr_null(file);
    ck_assert_int_eq(ac_file_open(&file, "no/it", "w", AC_FOREVER), -ENOENT);
    ck_assert_int_eq(ac_file_open(&file, ".", "r", AC_FOREVER), -EISDIR);
    ck_assert_int_eq(ac_file_open(&file, "it", "wx", AC_NOW), -ETIMEDOUT);
    ac_close(open_file("it", "wbx"));
    ck_assert_int_eq(ac_file_open(&file, "it", "w+x", AC_FOREVER), -EEXIST);
    write_file("it", "old");
    file = open_file("it", "w+");
    check_file("it", "");
    write_text(file, "new");
    ck_assert_int_eq(ac_file_seek(file, 0, AC_FILE_START, AC_FOREVER), 0);
    check_line(file, "new");
    ac_close(file);
}

FILE_TEST(permissions_are_as_asked_for) {
    ac_stream *file;
    struct stat facts;
    umask(022);
    ac_close(open_file("usual", "w"));
    ck_assert_int_eq(ac_file_open(&file, "secret", "w", AC_FOREVER, .permissions = 0600), 0);
    ac_close(file);
    ck_assert_int_eq(stat("usual", &facts), 0);
    ck_assert_int_eq(facts.st_mode & 0777, 0644);
    ck_assert_int_eq(stat("secret", &facts), 0);
    ck_assert_int_eq(facts.st_mode & 0777, 0600);
}

FILE_TEST(who_appends_writes_to_the_end_whoever_else_writes) {
    write_file("it", "0");
    ac_stream *one = open_file("it", "a"), *two = open_file("it", "a+");
    write_text(one, "1");
    write_text(two, "2");
    write_text(one, "3");
    check_file("it", "0123");
    check_line(two, "0123"); // reads from the beginning
    ck_assert_int_eq(ac_file_write_at(one, "x", 1, 0, AC_FOREVER), -ENOTSUP);
    ac_close(one);
    ac_close(two);
}

FILE_TEST(writing_goes_on_where_the_reader_is) {
    write_file("it", "one\ntwo\nsix\n");
    ac_stream *file = open_file("it", "r+");
    check_line(file, "one");
    ck_assert_int_eq(ac_file_seek(file, 0, AC_FILE_CURRENT, AC_FOREVER), 4);
    write_text(file, "TWO");
    check_line(file, "");
    check_line(file, "six");
    check_end(file);
    write_text(file, "end");
    check_file("it", "one\nTWO\nsix\nend");
    ac_close(file);
}

FILE_TEST(what_comes_later_is_read_later) {
    ac_stream *log = open_file("it", "a"), *file = open_file("it", "r");
    for (int i = 0; i < 3; i++) {
        check_end(file);
        write_text(log, "more\n");
        check_line(file, "more");
    }
    ac_close(log);
    ac_close(file);
}

enum { LINES = 30000 };

static void read_lines(void) {
    ac_stream *file = open_file("lines", "r");
    char text[64];
    long long sum = 0;
    int count = 0;
    while (ac_read_line(file, text, sizeof text, AC_FOREVER) > 0) {
        sum += strtoll(text, NULL, 10);
        count++;
    }
    ck_assert_int_eq(count, LINES);
    ck_assert_int_eq(sum, (long long)LINES * (LINES - 1) / 2);
    ck_assert_int_eq(ac_file_seek(file, 0, AC_FILE_START, AC_FOREVER), 0);
    the.reads = 0;
    for (int i = 0; i < 1000; i++)
        ck_assert_int_eq(ac_read(file, text, 1, AC_FOREVER), 1);
    ck_assert_int_le(the.reads, 2); // small reads do not go to the system
    ac_close(file);
}

FILE_TEST(many_lines_are_read_ahead) {
    FILE *lines = fopen("lines", "w");
    for (int i = 0; i < LINES; i++)
        fprintf(lines, "%d of many\n", i);
    fclose(lines);
    for (the.memory = IS_THERE; the.memory <= CANNOT_TELL; the.memory++)
        read_lines();
}

FILE_TEST(much_at_once_goes_in_pieces) {
    enum { BYTES = 1000000 };
    static char out[BYTES], in[BYTES];
    for (size_t i = 0; i < BYTES; i++)
        out[i] = (char)(i * 7919 >> 3);
    for (the.memory = IS_THERE; the.memory <= CANNOT_TELL; the.memory++) {
        size_t put, got;
        ac_stream *file = open_file("it", "w+");
        ck_assert_int_eq(ac_write_all(file, out, BYTES, AC_FOREVER, &put), BYTES);
        ck_assert_int_eq(ac_file_seek(file, 0, AC_FILE_START, AC_FOREVER), 0);
        memset(in, 0, BYTES);
        ck_assert_int_eq(ac_read_exactly(file, in, BYTES, AC_FOREVER, &got), BYTES);
        ck_assert_mem_eq(in, out, BYTES);
        ck_assert_int_eq(ac_read_exactly(file, in, 1, AC_FOREVER, &got), 0);
        ac_close(file);
    }
}

static int ticks;

static ac_value tick(ac_value unused) {
    (void)unused;
    while (ac_sleep(0) == 0)
        ticks++;
    return ac_nil;
}

FILE_TEST(who_never_has_to_wait_lets_others_run) {
    static char bytes[1 << 17];
    write_file("it", "");
    ck_assert_int_eq(truncate("it", sizeof bytes), 0);
    ac_ref ticker = ac_spawn(tick, ac_nil, .daemon = true);
    ac_stream *file = open_file("it", "r");
    for (ticks = 0; ticks < 3;) {
        ck_assert_int_eq(ac_read(file, bytes, sizeof bytes, AC_FOREVER), sizeof bytes);
        ck_assert_int_eq(ac_file_seek(file, 0, AC_FILE_START, AC_FOREVER), 0);
    }
    ac_close(file);
    ck_assert_int_eq(ac_cancel(ticker), 0);
}

// ---- at a place ----

static ac_stream *shared;

static ac_value use_place(ac_value number) {
    char text[8], found[8];
    uint64_t at = (uint64_t)ac_int_of(number) * 7;
    snprintf(text, sizeof text, "%06d;", (int)ac_int_of(number));
    ck_assert_int_eq(ac_file_write_at(shared, text, 7, at, AC_FOREVER), 7);
    ck_assert_int_eq(ac_file_read_at(shared, found, 7, at, AC_FOREVER), 7);
    ck_assert_mem_eq(text, found, 7);
    return ac_nil;
}

FILE_TEST(many_read_and_write_at_their_places_at_once) {
    enum { MANY = 300 };
    the.memory = IS_NOT_THERE;
    shared = open_file("it", "w+");
    ac_ref all[MANY];
    for (int i = 0; i < MANY; i++)
        all[i] = ac_spawn(use_place, i, .joinable = true);
    for (int i = 0; i < MANY; i++)
        ck_assert_int_eq(ac_join(all[i], NULL, AC_FOREVER), 0);
    ck_assert_int_eq(ac_file_size(shared, AC_FOREVER), 7 * MANY);
    char text[16];
    ck_assert_int_eq(ac_file_read_at(shared, text, 16, 7 * MANY - 7, AC_FOREVER), 7);
    ck_assert_int_eq(ac_file_read_at(shared, text, 16, 7 * MANY, AC_FOREVER), 0);
    ck_assert_int_eq(ac_file_read_at(shared, text, 0, 0, AC_FOREVER), 0);
    ck_assert_int_eq(ac_file_read_at(shared, text, 2, INT64_MAX, AC_FOREVER), -EINVAL);
    ck_assert_int_eq(ac_file_seek(shared, 0, AC_FILE_CURRENT, AC_FOREVER), 0); // where it was
    ck_assert_int_eq(ac_read(shared, text, 7, AC_FOREVER), 7);
    ck_assert_int_eq(ac_file_write_at(shared, "NEW", 3, 7, AC_FOREVER), 3);
    ck_assert_int_eq(ac_read(shared, text, 3, AC_FOREVER), 3);
    ck_assert_mem_eq(text, "NEW", 3); // and not what was read ahead
    ac_close(shared);
}

FILE_TEST(position_and_size_can_be_changed) {
    write_file("it", "0123456789");
    ac_stream *file = open_file("it", "r+");
    ck_assert_int_eq(ac_file_size(file, AC_FOREVER), 10);
    ck_assert_int_eq(ac_file_seek(file, -4, AC_FILE_END, AC_FOREVER), 6);
    check_line(file, "6789");
    ck_assert_int_eq(ac_file_seek(file, -2, AC_FILE_CURRENT, AC_FOREVER), 8);
    check_line(file, "89");
    ck_assert_int_eq(ac_file_seek(file, -1, AC_FILE_START, AC_FOREVER), -EINVAL);
    ck_assert_int_eq(ac_file_seek(file, INT64_MAX, AC_FILE_CURRENT, AC_FOREVER), -EINVAL);
    ck_assert_int_eq(ac_file_seek(file, 0, (enum ac_file_origin)3, AC_FOREVER), -EINVAL);
    ck_assert_int_eq(ac_file_seek(file, 0, AC_FILE_CURRENT, AC_FOREVER), 10);
    ck_assert_int_eq(ac_file_truncate(file, 3, AC_FOREVER), 0);
    check_file("it", "012");
    check_end(file);
    ck_assert_int_eq(ac_file_seek(file, 1, AC_FILE_START, AC_FOREVER), 1);
    check_line(file, "12");
    ck_assert_int_eq(ac_file_sync(file, AC_FOREVER), 0);
    ck_assert_int_eq(ac_file_truncate(file, UINT64_MAX, AC_FOREVER), -EINVAL);
    ck_assert_int_eq(ac_file_truncate(file, 5, AC_FOREVER), 0);
    ck_assert_int_eq(ac_file_size(file, AC_FOREVER), 5);
    ck_assert_int_eq(ac_shutdown(file), -ENOTSUP);
    ac_close(file);
}

FILE_TEST(what_is_no_regular_file_has_no_places) {
    char text[4];
    ac_stream *reader, *writer;
    ck_assert_int_eq(ac_pipe(&reader, &writer), 0);
    ck_assert_int_eq(ac_file_read_at(reader, text, 1, 0, AC_FOREVER), -ENOTSUP);
    ck_assert_int_eq(ac_file_write_at(writer, text, 1, 0, AC_FOREVER), -ENOTSUP);
    ck_assert_int_eq(ac_file_size(reader, AC_FOREVER), -ENOTSUP);
    ck_assert_int_eq(ac_file_seek(reader, 0, AC_FILE_START, AC_FOREVER), -ENOTSUP);
    ck_assert_int_eq(ac_file_truncate(writer, 0, AC_FOREVER), -ENOTSUP);
    ck_assert_int_eq(ac_file_sync(writer, AC_FOREVER), -ENOTSUP);
    ac_close(reader);
    ac_close(writer);
    ac_stream *zeros = open_file("/dev/zero", "r"), *nothing = open_file("/dev/null", "r+");
    ck_assert_int_eq(ac_read(zeros, text, 4, AC_FOREVER), 4);
    ck_assert_int_eq(ac_file_size(zeros, AC_FOREVER), -ENOTSUP);
    write_text(nothing, "gone");
    check_end(nothing);
    ac_close(zeros);
    ac_close(nothing);
}

TEST(outside_coroutines_nothing_is_opened) {
    ac_stream *file;
    ck_assert_int_eq(ac_file_open(&file, "/dev/null", "r", AC_FOREVER), -EPERM);
    ck_assert_ptr_null(file);
}

// ---- calls that end early, while a thread is at it ----

static ac_ref other;
static long result;

static ac_value read_one(ac_value unused) {
    (void)unused;
    char text[4];
    result = ac_read(shared, text, 1, AC_FOREVER);
    return ac_nil;
}

static ac_value write_some(ac_value unused) {
    (void)unused;
    result = ac_write_all(shared, "abc", 3, AC_FOREVER, NULL);
    return ac_nil;
}

// Spawns who will be held up, and waits until he is.
static void hold_up(ac_function function) {
    the.memory = IS_NOT_THERE;
    hold_gate(true);
    result = 77;
    other = ac_spawn(function, ac_nil);
    while (count_inside() == 0)
        ck_assert_int_eq(ac_sleep(0.001), 0);
}

// Until no thread is at a file.
static void let_go(void) {
    hold_gate(false);
    while (count_inside() > 0)
        ck_assert_int_eq(ac_sleep(0.001), 0);
}

FILE_TEST(a_read_that_is_given_up_has_no_effect) {
    char text[4];
    write_file("it", "0123");
    the.memory = IS_NOT_THERE;
    shared = open_file("it", "r");
    hold_gate(true);
    ck_assert_int_eq(ac_read(shared, text, 1, ac_after(0.02)), -ETIMEDOUT);
    ck_assert_int_eq(ac_read(shared, text, 1, AC_NOW), -ETIMEDOUT);
    let_go();
    hold_up(read_one);
    ck_assert_int_eq(ac_read(shared, text, 1, AC_FOREVER), -EBUSY); // a second reader
    ck_assert_int_eq(ac_file_seek(shared, 0, AC_FILE_START, AC_FOREVER), -EBUSY);
    ck_assert_int_eq(ac_cancel(other), 0);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(result, -ECANCELED);
    let_go();
    check_line(shared, "0123");
    ac_close(shared);
}

FILE_TEST(a_write_that_is_given_up_keeps_the_position_until_it_is_over) {
    char text[4];
    shared = open_file("it", "w+");
    hold_up(write_some);
    ck_assert_int_eq(ac_cancel(other), 0);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(result, -ECANCELED);
    ck_assert_int_eq(ac_write_all(shared, "d", 1, AC_FOREVER, NULL), -EBUSY);
    ck_assert_int_eq(ac_read(shared, text, 1, AC_FOREVER), -EBUSY);
    ck_assert_int_eq(ac_file_truncate(shared, 0, AC_FOREVER), -EBUSY);
    let_go();
    int64_t at;
    while ((at = ac_file_seek(shared, 0, AC_FILE_CURRENT, AC_FOREVER)) == -EBUSY)
        ck_assert_int_eq(ac_sleep(0.001), 0);
    ck_assert_int_eq(at, 3);
    write_text(shared, "d");
    check_file("it", "abcd");
    ac_close(shared);
}

static ac_value write_late(ac_value unused) {
    (void)unused;
    result = ac_file_write_at(shared, "x", 1, 0, AC_FOREVER);
    return ac_nil;
}

FILE_TEST(a_write_that_no_thread_has_begun_is_not_made) {
    enum { THREADS = 4 };
    char text[4];
    write_file("it", "0123");
    shared = open_file("it", "r+");
    the.memory = IS_NOT_THERE;
    hold_gate(true);
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(ac_file_read_at(shared, text, 1, 0, ac_after(0.01)), -ETIMEDOUT);
    while (count_inside() < THREADS)
        ck_assert_int_eq(ac_file_read_at(shared, text, 1, 0, ac_after(0.01)), -ETIMEDOUT);
    ck_assert_int_eq(ac_write_all(shared, "x", 1, ac_after(0.01), NULL), -ETIMEDOUT);
    ck_assert_int_eq(ac_file_seek(shared, 0, AC_FILE_CURRENT, AC_FOREVER), 0); // not in use
    other = ac_spawn(write_late, ac_nil);
    ck_assert_int_eq(ac_yield(), 0);
    ac_close(shared);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(result, -EBADF);
    let_go();
    check_file("it", "0123");
}

FILE_TEST(closing_ends_every_wait_and_waits_for_nothing) {
    write_file("it", "0123");
    int before = count_descriptors();
    shared = open_file("it", "r+");
    hold_up(read_one);
    ac_close(shared);
    ck_assert_int_eq(result, 77);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(result, -EBADF);
    ck_assert_int_eq(count_inside(), 1); // the thread is still at it
    let_go();
    while (count_descriptors() > before)
        ck_assert_int_eq(ac_sleep(0.001), 0);
}

static ac_value leave_reading(ac_value unused) {
    (void)unused;
    shared = open_file("it", "r");
    hold_up(read_one);
    ck_assert_int_eq(ac_cancel(other), 0);
    return ac_nil;
}

TEST(the_loop_may_end_while_a_thread_is_at_it) {
    begin();
    write_file("it", "0123");
    int before = count_descriptors();
    run(leave_reading);
    ck_assert_int_eq(result, -ECANCELED);
    ac_close(shared);
    hold_gate(false);
    while (count_inside() > 0 || count_descriptors() > before)
        continue;
    end();
}

// ---- named pipes ----

static ac_value write_to_pipe(ac_value unused) {
    (void)unused;
    ac_stream *writer = open_file("pipe", "w");
    write_text(writer, "hello\n");
    ac_close(writer);
    return ac_nil;
}

FILE_TEST(a_named_pipe_makes_nobody_else_wait) {
    char text[8];
    ac_stream *file;
    ck_assert_int_eq(mkfifo("pipe", 0600), 0);
    ck_assert_int_eq(ac_file_open(&file, "pipe", "w", ac_after(0.01)), -ETIMEDOUT);
    ck_assert_ptr_null(file);
    ck_assert_int_eq(symlink("pipe", "link"), 0);
    ck_assert_int_eq(ac_file_open(&file, "link", "w", ac_after(0.01)), -ETIMEDOUT);
    ac_ref writer = ac_spawn(write_to_pipe, ac_nil); // waits until somebody reads
    ck_assert_int_eq(ac_sleep(0.01), 0);
    file = open_file("pipe", "r");
    check_line(file, "hello");
    check_end(file);
    ac_close(file);
    ck_assert_int_eq(ac_join(writer, NULL, AC_FOREVER), -ESRCH);
    file = open_file("pipe", "r");
    ck_assert_int_eq(ac_read(file, text, 1, ac_after(0.01)), -ETIMEDOUT); // nobody writes yet
    int fd = open("pipe", O_WRONLY);
    ck_assert_int_eq(write(fd, "x", 1), 1);
    ck_assert_int_eq(ac_read(file, text, 1, AC_FOREVER), 1);
    close(fd);
    ac_close(file);
}

static ac_value type_two_lines(ac_value master) {
    const char text[] = "one\ntwo\n";
    ck_assert_int_eq(write((int)ac_int_of(master), text, sizeof text - 1), sizeof text - 1);
    return ac_nil;
}

FILE_TEST(a_terminal_gives_all_lines_that_came_at_once) {
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    ck_assert_int_ge(master, 0);
    ck_assert_int_eq(grantpt(master), 0);
    ck_assert_int_eq(unlockpt(master), 0);
    ac_stream *file = open_file(ptsname(master), "r");
    ac_spawn(type_two_lines, master); // when the first line is waited for
    check_line(file, "one");
    check_line(file, "two");
    ac_close(file);
    close(master);
}

// ---- pipes ----

enum { MUCH = 3 << 20 };
static char much[MUCH];
static ac_stream *reader, *writer;

static ac_value fill(ac_value unused) {
    (void)unused;
    for (size_t i = 0; i < MUCH; i++)
        much[i] = (char)(i * 31 >> 2);
    ck_assert_int_eq(ac_write_all(writer, much, MUCH, AC_FOREVER, NULL), MUCH);
    ck_assert_int_eq(ac_shutdown(writer), 0);
    ck_assert_int_eq(ac_shutdown(writer), -EBADF);
    ck_assert_int_eq(ac_write_all(writer, much, 1, AC_FOREVER, NULL), -EBADF);
    return ac_nil;
}

FILE_TEST(what_goes_into_a_pipe_comes_out) {
    char byte;
    char *found = malloc(MUCH);
    size_t got;
    ck_assert_int_eq(ac_pipe(&reader, &writer), 0);
    ck_assert_int_eq(ac_read(reader, &byte, 1, ac_after(0.01)), -ETIMEDOUT);
    ac_spawn(fill, ac_nil);
    ck_assert_int_eq(ac_read_exactly(reader, found, MUCH, AC_FOREVER, &got), MUCH);
    ck_assert_mem_eq(found, much, MUCH);
    check_end(reader);
    ac_close(reader);
    ac_close(writer);
    free(found);
    ck_assert_int_eq(ac_pipe(&reader, NULL), -EINVAL);
    ck_assert_int_eq(ac_pipe(&reader, &writer), 0);
    ac_close(reader);
    ck_assert_int_eq(ac_write_all(writer, "x", 1, AC_FOREVER, NULL), -EPIPE); // and no SIGPIPE
    ac_close(writer);
}

// ---- when things fail ----

static int use_all(void) {
    char text[16];
    ac_stream *file;
    int err = ac_file_open(&file, "it", "r+", AC_FOREVER);
    long got = err ? err : ac_write_all(file, "one\ntwo\n", 8, AC_FOREVER, NULL);
    if (got >= 0)
        got = ac_file_seek(file, 0, AC_FILE_START, AC_FOREVER);
    if (got >= 0)
        got = ac_read_line(file, text, sizeof text, AC_FOREVER);
    if (got >= 0)
        got = ac_file_read_at(file, text, 3, 4, AC_FOREVER);
    if (got >= 0)
        got = ac_file_size(file, AC_FOREVER);
    ac_close(file);
    if (got >= 0)
        got = ac_pipe(&reader, &writer);
    if (got >= 0) {
        ac_close(reader);
        ac_close(writer);
    }
    return got < 0 ? (int)got : 0;
}

FILE_TEST(lack_of_memory_is_an_error) {
    write_file("it", "");
    the.memory = IS_NOT_THERE;
    int before = 0, n = 0, err = -ENOMEM;
    ck_assert_int_eq(use_all(), 0); // makes the threads
    before = count_descriptors();
    while (err) {
        memory_fail_nth(++n);
        err = use_all();
        bool failed = memory_has_failed();
        memory_fail_nth(0);
        ck_assert_int_eq(err, failed ? -ENOMEM : 0);
        while (count_descriptors() > before) // a thread may have to let go
            ck_assert_int_eq(ac_sleep(0.001), 0);
    }
    ck_assert_int_gt(n, 6);
}

static ac_value use_elsewhere(ac_value unused) {
    (void)unused;
    char byte;
    ck_assert_int_eq(ac_read(shared, &byte, 1, AC_FOREVER), -ENOTSUP);
    ck_assert_int_eq(ac_file_read_at(shared, &byte, 1, 0, AC_FOREVER), -ENOTSUP);
    return ac_nil;
}

static void run_elsewhere(void *unused) {
    (void)unused;
    run(use_elsewhere);
}

FILE_TEST(a_file_belongs_to_its_loop) {
    struct sys_thread *thread;
    write_file("it", "0");
    shared = open_file("it", "r");
    ck_assert_int_eq(sys_thread_start(&thread, run_elsewhere, NULL, 256 << 10, "other"), 0);
    sys_thread_join(thread);
    check_line(shared, "0");
    ac_close(shared);
}
