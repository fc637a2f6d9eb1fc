// SPDX-License-Identifier: MIT
// `asyncoro key`: the key is made once, shown only if that is asked for, imported and rotated; and
// a bad one is told.
#include "tools/tool.h"

#include <fcntl.h>

static char path[128];

// A world without a key, whose file is path.
static void begin(void) {
    world_make();
    snprintf(path, sizeof path, "%s/key", world_folder);
}

static struct key_ring keys(void) {
    struct key_ring ring;
    char text[256] = "";
    ck_assert_msg(key_load(path, &ring, text) == 0, "%s", text);
    return ring;
}

static void said_fingerprint(const uint8_t key[KEY_BYTES]) {
    char fingerprint[KEY_FINGERPRINT_BYTES];
    ck_assert_int_eq(key_fingerprint(key, fingerprint), 0);
    ck_said(fingerprint);
}

// Runs `key import` with this on its standard input.
#define import_from(text, ...)                                                                     \
    ({                                                                                             \
        int import_ends[2];                                                                        \
        ck_assert_int_eq(sys_pipe(import_ends), 0);                                                \
        ck_assert_int_eq(sys_fd_write(import_ends[1], (text), strlen(text)), 0);                   \
        sys_fd_close(import_ends[1]);                                                              \
        tool_input = import_ends[0];                                                               \
        int import_code = run_tool("key", "import" __VA_OPT__(, ) __VA_ARGS__);                    \
        sys_fd_close(import_ends[0]);                                                              \
        tool_input = -1;                                                                           \
        import_code;                                                                               \
    })

TEST(the_key_is_made_once_and_shown_by_its_path) {
    begin();
    ck_assert_int_eq(run_tool("key", "path"), 0);
    ck_said(path);
    ck_assert(!sys_file_exists(path));
    ck_assert_int_eq(run_tool("key", "show"), 1);
    ck_assert(!sys_file_exists(path));
    ck_assert_int_eq(run_tool("key"), 0);
    ck_said(path);
    struct key_ring before = keys();
    said_fingerprint(before.keys[0]);
    ck_assert_int_eq(run_tool("key"), 0);
    struct key_ring after = keys();
    ck_assert_mem_eq(&before, &after, sizeof before);
    ck_assert_int_eq(run_tool("key", "other"), 2);
    world_clean();
}

TEST(make_makes_a_key_where_there_is_none) {
    begin();
    ck_assert_int_eq(run_tool("key", "make"), 0);
    struct key_ring before = keys();
    said_fingerprint(before.keys[0]);
    ck_assert_int_eq(run_tool("key", "make"), 1);
    ck_said("rotate");
    struct key_ring after = keys();
    ck_assert_mem_eq(&before, &after, sizeof before);
    world_clean();
}

TEST(a_file_that_holds_no_key_or_is_open_to_others_is_an_error) {
    begin();
    ck_assert_int_eq(sys_file_create_secret(path, "no key\n", 7), 0);
    ck_assert_int_eq(run_tool("key"), 1);
    ck_said("asyncoro key: ");
    ck_assert_int_eq(run_tool("key", "rotate"), 1);
    char other[128];
    snprintf(other, sizeof other, "%s/other", world_folder);
    ck_assert_int_eq(run_tool("key", "make", "--key-file", other), 0);
    ck_assert_int_eq(chmod(other, 0640), 0);
    static const char *const words[] = {"show", "rotate", "retire"};
    for (size_t i = 0; i < countof(words); i++) {
        ck_assert_int_eq(run_tool("key", words[i], "--key-file", other), 1);
        ck_said("chmod 600");
    }
    world_clean();
}

TEST(the_key_itself_is_shown_only_for_a_word_and_never_into_a_file) {
    begin();
    ck_assert_int_eq(run_tool("key"), 0);
    struct key_ring ring = keys();
    char text[KEY_TEXT_BYTES];
    key_print(&ring, text);
    text[64] = 0; // without the end of the line
    ck_assert_int_eq(run_tool("key", "show"), 0);
    said_fingerprint(ring.keys[0]);
    ck_assert_ptr_null(strstr(tool_said, text));
    ck_assert_int_eq(run_tool("key", "show", "--secret"), 0);
    ck_said(text);
    ck_assert_int_eq(run_tool("key", "rotate", "--secret"), 2);
    char copy[128];
    snprintf(copy, sizeof copy, "%s/copy", world_folder);
    tool_output = open(copy, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    ck_assert_int_ge(tool_output, 0);
    ck_assert_int_eq(run_tool("key", "show", "--secret"), 1);
    ck_assert_ptr_null(strstr(tool_said, text));
    ck_said("never into a file");
    ck_assert_int_eq(lseek(tool_output, 0, SEEK_END), 0);
    world_clean();
}

TEST(a_key_is_rotated_and_the_old_one_retired) {
    begin();
    ck_assert_int_eq(run_tool("key", "rotate"), 1);
    ck_assert_int_eq(run_tool("key"), 0);
    struct key_ring first = keys();
    ck_assert_int_eq(run_tool("key", "retire"), 1);
    ck_assert_int_eq(run_tool("key", "rotate"), 0);
    struct key_ring both = keys();
    ck_assert_uint_eq(both.count, 2);
    ck_assert_mem_eq(both.keys[1], first.keys[0], KEY_BYTES);
    said_fingerprint(both.keys[0]);
    said_fingerprint(both.keys[1]);
    ck_assert_int_eq(run_tool("key", "rotate"), 1);
    ck_said("retire");
    ck_assert_int_eq(run_tool("key", "retire"), 0);
    struct key_ring last = keys();
    ck_assert_uint_eq(last.count, 1);
    ck_assert_mem_eq(last.keys[0], both.keys[0], KEY_BYTES);
    world_clean();
}

#define ONE "1111111111111111111111111111111111111111111111111111111111111111\n"
#define TWO "2222222222222222222222222222222222222222222222222222222222222222\n"
#define THREE "3333333333333333333333333333333333333333333333333333333333333333\n"

TEST(a_key_is_imported_from_standard_input) {
    begin();
    ck_assert_int_eq(import_from("no key"), 1);
    ck_said("64 hexadecimal digits");
    ck_assert(!sys_file_exists(path));
    ck_assert_int_eq(import_from(ONE), 0);
    ck_assert_uint_eq(keys().keys[0][0], 0x11);
    ck_assert_int_eq(import_from(ONE), 0); // again does nothing
    ck_assert_uint_eq(keys().count, 1);
    ck_assert_int_eq(import_from(TWO), 0); // the one that is here stays beside it
    struct key_ring ring = keys();
    ck_assert_uint_eq(ring.count, 2);
    ck_assert_uint_eq(ring.keys[0][0], 0x22);
    ck_assert_uint_eq(ring.keys[1][0], 0x11);
    ck_assert_int_eq(import_from(THREE ONE), 1); // what would end the newest one is refused
    ck_said("--replace");
    ck_assert_uint_eq(keys().keys[0][0], 0x22);
    ck_assert_int_eq(import_from(THREE, "--replace"), 0);
    ck_assert_uint_eq(keys().count, 1);
    ck_assert_uint_eq(keys().keys[0][0], 0x33);
    ck_assert_int_eq(import_from(ONE TWO THREE), 1);
    ck_assert_int_eq(run_tool("key", "import", ONE), 2); // it is no argument
    world_clean();
}
