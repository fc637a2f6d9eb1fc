// SPDX-License-Identifier: MIT
// `asyncoro doctor`: asked of nodes that could run a program, of one that is for another computer,
// and of what is no program.
#include "tools/tool.h"

static char foreign[160];

// A copy of this program that says it is built for another computer.
static void write_foreign(void) {
    int fd = sys_program_open();
    size_t count = (size_t)sys_file_bytes(fd);
    uint8_t *bytes = malloc(count);
    ck_assert_int_eq(sys_file_read_at(fd, 0, bytes, count), 0);
    sys_fd_close(fd);
    bytes[18] = bytes[18] == 183 ? 62 : 183;
    snprintf(foreign, sizeof foreign, "%s/foreign", world_folder);
    fd = sys_file_create(foreign);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(sys_fd_write(fd, bytes, count), 0);
    sys_fd_close(fd);
    free(bytes);
}

TEST(without_a_node_it_tells_what_the_file_needs_and_fails) {
    char self[512];
    world_make();
    world_tool(self);
    ck_assert_int_eq(run_tool("doctor", "--loopback", self), 1);
    ck_said(": for ");
    ck_said("libc.so.6");
    ck_said("no node was found");
    ck_assert_int_eq(run_tool("doctor", "--loopback", "/nowhere/at/all"), 1);
    ck_said("/nowhere/at/all: ");
    ck_assert_int_eq(run_tool("doctor", "--loopback", "/etc/passwd"), 1);
    ck_said("not an ELF file");
    ck_assert_int_eq(run_tool("doctor"), 2);
    ck_said("which FILE?");
    ck_assert_int_eq(run_tool("help", "doctor"), 0);
    ck_said("Exits with");
    world_clean();
}

TEST(a_node_says_what_it_could_run_and_what_it_lacks) {
    char self[512];
    world_begin("1");
    write_foreign();
    world_tool(self);
    ck_assert_int_eq(
        run_tool("doctor", "--loopback", "--seconds", "20", "--peer", world_node_address, self), 0);
    ck_said("yes here\n");
    ck_assert_int_eq(run_tool("doctor", "--loopback", "--seconds", "20", "--peer",
                              world_node_address, "--json", self),
                     0);
    ck_said("\"node\":\"here\"");
    ck_said("\"runs\":true");
    ck_said("\"why\":null");
    ck_said("\"file\":");
    ck_assert_int_eq(
        run_tool("doctor", "--loopback", "--seconds", "20", "--peer", world_node_address, foreign),
        1);
    ck_said("no  here: built for ");
    ck_assert_int_eq(run_tool("doctor", "--loopback", "--seconds", "20", "--peer",
                              world_node_address, "--json", foreign),
                     1);
    ck_said("\"runs\":false");
    ck_said("\"why\":\"built for ");
    world_end();
}
