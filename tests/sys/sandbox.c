// SPDX-License-Identifier: MIT
// Tests of src/sys/sandbox.c: what a confined process may not do, and what it still may. What the
// kernel here lacks is said.
#include "sys/ward.h"

static void is_refused(const struct sys_sandbox *sandbox, const char *line, const char *with) {
    struct sys_ward_end end = ward_run(sandbox, line);
    ck_assert_msg(end.process.by_signal || end.process.code != 0, "%s: %s", line, ward_text);
    ck_assert_msg(strstr(ward_text, with) != NULL, "%s: %s", line, ward_text);
}

static void is_allowed(const struct sys_sandbox *sandbox, const char *line) {
    struct sys_ward_end end = ward_run(sandbox, line);
    ck_assert_msg(!end.process.by_signal && end.process.code == 0, "%s: %s", line, ward_text);
}

static bool has(bool it, const char *what) {
    if (!it)
        fprintf(stderr, "# this kernel has no %s: not tested\n", what);
    return it;
}

TEST(it_writes_in_its_folder_and_nowhere_else) {
    char line[128], other[TEST_TEMPLATE_BYTES];
    ward_begin();
    test_template(other);
    ck_assert_ptr_nonnull(mkdtemp(other));
    chmod(other, 0777);
    for (int level = SYS_SANDBOX_DEFAULT; level <= SYS_SANDBOX_STRICT; level++) {
        struct sys_sandbox sandbox = ward_sandbox((enum sys_sandbox_level)level);
        is_allowed(&sandbox,
                   "mkdir -p a && echo x >a/b && mv a/b a/c && rm -r a && echo >/dev/null");
        if (!has(ward_parts.landlock, "Landlock"))
            break;
        snprintf(line, sizeof line, "echo x >%s/file", other);
        is_refused(&sandbox, line, level == SYS_SANDBOX_STRICT ? "" : "Permission denied");
        is_refused(&sandbox, "echo x >/etc/asyncoro-test", "");
        sandbox.writable = other;
        is_allowed(&sandbox, line);
    }
    ward_remove(other);
    ward_clean();
}

TEST(it_reads_where_programs_live_and_what_it_was_given) {
    char line[128], other[TEST_TEMPLATE_BYTES];
    ward_begin();
    test_template(other);
    ck_assert_ptr_nonnull(mkdtemp(other));
    snprintf(line, sizeof line, "echo secret >%s/file", other);
    ck_assert_int_eq(system(line), 0);
    struct sys_sandbox sandbox = ward_sandbox(SYS_SANDBOX_DEFAULT);
    is_allowed(&sandbox, "cat /etc/passwd >/dev/null && ls /usr/lib >/dev/null");
    snprintf(line, sizeof line, "cat %s/file", other);
    if (has(ward_parts.landlock, "Landlock"))
        is_refused(&sandbox, line, "Permission denied");
    char both[128];
    snprintf(both, sizeof both, "/no/such:%s", other);
    sandbox.readable = both;
    is_allowed(&sandbox, line);
    ward_remove(other);
    ward_clean();
}

TEST(without_a_sandbox_it_does_what_its_user_may) {
    ward_begin();
    struct sys_sandbox sandbox = ward_sandbox(SYS_SANDBOX_NONE);
    is_allowed(&sandbox, "echo x >../asyncoro-none.$$ && rm ../asyncoro-none.$$");
    ward_clean();
}

TEST(it_has_no_capabilities_and_gains_no_rights) {
    ward_begin();
    for (int level = SYS_SANDBOX_DEFAULT; level <= SYS_SANDBOX_STRICT; level++) {
        struct sys_sandbox sandbox = ward_sandbox((enum sys_sandbox_level)level);
        is_allowed(&sandbox, "grep -q 'NoNewPrivs:.*1' /proc/self/status && "
                             "grep -q 'CapEff:.*0000000000000000' /proc/self/status && "
                             "grep -q 'CapPrm:.*0000000000000000' /proc/self/status");
    }
    ward_clean();
}

TEST(it_sends_no_signals_outside) {
    char line[64];
    ward_begin();
    struct sys_sandbox sandbox = ward_sandbox(SYS_SANDBOX_DEFAULT);
    snprintf(line, sizeof line, "kill -0 %d", (int)getpid());
    if (has(ward_parts.landlock >= 6, "scopes of Landlock"))
        is_refused(&sandbox, line, "ermitted");
    is_allowed(&sandbox, "sleep 100 & kill $!");
    ward_clean();
}

TEST(it_makes_no_namespaces) {
    ward_begin();
    struct sys_sandbox sandbox = ward_sandbox(SYS_SANDBOX_DEFAULT);
    if (has(ward_parts.filter, "filters of system calls"))
        is_refused(&sandbox, "unshare --user true", "ermitted");
    ward_clean();
}

TEST(limits_hold) {
    char text[128];
    ward_begin();
    struct sys_sandbox sandbox = ward_sandbox(SYS_SANDBOX_DEFAULT);
    sandbox.file_bytes_max = 4096;
    is_refused(&sandbox, "trap '' XFSZ; head -c 100000 /dev/zero >file", "");
    sandbox.file_bytes_max = 0;
    sandbox.files_max = 20;
    is_allowed(&sandbox, "test $(ulimit -n) = 20 && test $(ulimit -c) = 0");
    sandbox.files_max = 0;
    sandbox.seconds_max = 1;
    struct sys_ward_end end = ward_run(&sandbox, "while :; do :; done");
    sys_ward_end_text(&end, text, sizeof text);
    ck_assert_ptr_nonnull(strstr(text, "CPU time limit exceeded"));
    ward_clean();
}

TEST(root_runs_it_as_another_user) {
    ward_begin();
    struct sys_sandbox sandbox = ward_sandbox(SYS_SANDBOX_DEFAULT);
    sandbox.user = sandbox.group = 65534;
    if (!ward_parts.root) {
        ward_clean();
        TEST_SKIP("only root can run processes as others");
    }
    ck_assert_int_eq(chown(ward_folder, 65534, 65534), 0);
    for (int level = SYS_SANDBOX_DEFAULT; level <= SYS_SANDBOX_STRICT; level++) {
        sandbox.level = (enum sys_sandbox_level)level;
        is_allowed(&sandbox, "test $(id -u) = 65534 && test \"$(id -G)\" = 65534 && echo >file");
        is_refused(&sandbox, "cat /etc/shadow", "Permission denied");
        is_refused(&sandbox, "grep -q 'CapEff:.*[1-9a-f]' /proc/self/status", "");
    }
    ward_clean();
}

TEST(a_strict_one_sees_its_own_processes_and_a_tmp_of_its_own) {
    ward_begin();
    struct sys_sandbox sandbox = ward_sandbox(SYS_SANDBOX_STRICT);
    if (has(ward_parts.namespaces, "namespaces")) {
        char line[128];
        snprintf(line, sizeof line, "test $$ -lt 10 && test $(pwd) = %s && echo x >$PWD/file",
                 ward_folder);
        is_allowed(&sandbox, line);
        // But for the way to its folder, if that leads there.
        is_refused(&sandbox, "ls /tmp; exit 1", "");
        char *end = strchr(ward_text, '\n');
        if (end) {
            *end = 0;
            ck_assert_ptr_nonnull(strstr(ward_folder, ward_text));
            ck_assert_str_eq(end + 1, "");
        }
        is_allowed(&sandbox, "echo x >/tmp/x && cat /tmp/x");
        is_refused(&sandbox, "echo x >/usr/asyncoro-test", "");
    }
    ward_clean();
}

TEST(a_strict_one_finds_what_it_was_given_in_hidden_places) {
    char line[512], other[TEST_TEMPLATE_BYTES], both[256];
    ward_begin();
    test_template(other);
    ck_assert_ptr_nonnull(mkdtemp(other));
    snprintf(line, sizeof line,
             "mkdir %s/read %s/write; echo x | tee %s/read/x %s/write/x %s/one >/dev/null", other,
             other, other, other, other);
    ck_assert_int_eq(system(line), 0);
    struct sys_sandbox sandbox = ward_sandbox(SYS_SANDBOX_STRICT);
    snprintf(both, sizeof both, ":/no/such:%s/read::%s/one", other, other);
    if (has(ward_parts.namespaces, "namespaces")) {
        snprintf(line, sizeof line, "cat %s/read/x && cat %s/one", other, other);
        is_refused(&sandbox, line, "No such file");
        sandbox.readable = both;
        is_allowed(&sandbox, line);
        snprintf(line, sizeof line, "echo y >%s/read/x", other);
        is_refused(&sandbox, line, "");
        snprintf(line, sizeof line, "echo y >%s/one", other);
        is_refused(&sandbox, line, "");
        sandbox.readable = NULL;
        sandbox.libraries = both;
        snprintf(line, sizeof line, "cat %s/read/x", other);
        is_allowed(&sandbox, line);
        snprintf(both, sizeof both, "%s/write:%s/one", other, other);
        sandbox.libraries = NULL;
        sandbox.writable = both;
        snprintf(line, sizeof line, "cat %s/write/x && echo y >%s/write/y && echo y >%s/one", other,
                 other, other);
        is_allowed(&sandbox, line);
        snprintf(line, sizeof line, "grep y %s/write/y %s/one >/dev/null", other, other);
        ck_assert_int_eq(system(line), 0);
    }
    ward_remove(other);
    ward_clean();
}

TEST(a_strict_one_has_bounded_room_of_its_own) {
    ward_begin();
    struct sys_sandbox sandbox = ward_sandbox(SYS_SANDBOX_STRICT);
    if (has(ward_parts.namespaces, "namespaces")) {
        const char *line =
            "for i in /tmp /var/tmp /dev/shm; do"
            "  test -d $i && df -k $i | tail -n 1 | grep -v \"tmpfs *$KIB \" && exit 1;"
            "done; exit 0";
        setenv("KIB", "1048576", 1);
        is_allowed(&sandbox, line);
        sandbox.memory_bytes_max = 64 << 20;
        setenv("KIB", "65536", 1);
        is_allowed(&sandbox, line);
    }
    ward_clean();
}

// Services listen there; names are looked up with what lies in one folder of it.
TEST(a_strict_one_sees_no_services) {
    ward_begin();
    struct sys_sandbox sandbox = ward_sandbox(SYS_SANDBOX_STRICT);
    if (has(ward_parts.namespaces, "namespaces")) {
        is_allowed(&sandbox, "grep -q 'tmpfs /run tmpfs' /proc/mounts");
        if (access("/run/systemd/resolve", F_OK) == 0)
            is_allowed(&sandbox, "ls /run/systemd/resolve");
    }
    ward_clean();
}

TEST(what_there_is_and_what_not_is_told) {
    char text[512];
    struct sys_sandbox_parts parts = {.landlock = 7, .filter = true, .children = true};
    sys_sandbox_text(&parts, SYS_SANDBOX_DEFAULT, text, sizeof text);
    ck_assert_str_eq(text, "default: limits, no capabilities, no new rights, filter of system "
                           "calls, Landlock, lists of children, truncation in Landlock, scopes of "
                           "Landlock; this system has no cgroup v2 (wardens alone see to it that "
                           "nothing is left), no memory controller (wardens look at what is used), "
                           "no pids controller (wardens count)");
    parts.landlock = 2;
    sys_sandbox_text(&parts, SYS_SANDBOX_DEFAULT, text, sizeof text);
    ck_assert_ptr_nonnull(strstr(text, "no truncation in Landlock (jobs may empty files that their "
                                       "user may write), no scopes of Landlock (jobs may"));
    parts = (struct sys_sandbox_parts){.group = true, .group_memory = true, .group_pids = true};
    sys_sandbox_text(&parts, SYS_SANDBOX_NONE, text, sizeof text);
    ck_assert_str_eq(text, "none: limits, no new rights, cgroup v2, memory controller, pids "
                           "controller; this system has no lists of children (wardens neither "
                           "look nor count)");
    sys_sandbox_text(&parts, SYS_SANDBOX_STRICT, text, sizeof text);
    ck_assert_ptr_nonnull(
        strstr(text, "no Landlock (jobs may read and write wherever their user may)"));
    ck_assert_ptr_nonnull(strstr(text, "no namespaces"));
    ck_assert_ptr_null(strstr(text, "of Landlock")); // of nothing, nothing is there
    ck_assert_ptr_null(strstr(text, "in Landlock"));
}
