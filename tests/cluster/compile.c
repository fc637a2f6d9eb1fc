// SPDX-License-Identifier: MIT
// Programs that a node makes of their source: what comes of it, what is kept, what the compiler
// says against it, and one that takes too long.
#include <fcntl.h>
#include <sys/stat.h>

#include "cluster/world.h"

static struct contents contents;
static struct elf_place place;
static struct intake intake;
static char problem[PROBLEM_BYTES];
static const char *const names[] = {"src/main.c", "src/answer.h"};
static const char *texts[2];

static ac_value item(const char *text) {
    uint8_t digest[DIGEST_BYTES];
    ck_assert_int_eq(digest_of(text, strlen(text), digest), 0);
    return ac_list(ac_of_bytes(digest, sizeof digest), strlen(text));
}

// A program for another computer, and its source.
static int open_source(const char *flags) {
    struct elf_facts facts = {.machine = 99, .bits = 64};
    ac_value source = ac_list(flags, ac_list(ac_list(1, names[0]), ac_list(2, names[1])));
    ac_value told = ac_list(ac_list(item("program"), item(texts[0]), item(texts[1])),
                            ac_list(ac_list(0, elf_to_value(&facts), "demo", ac_nil)), ac_nil,
                            source, false);
    intake_close(&intake);
    int err = intake_open(&intake, &contents, &place, told, problem);
    ac_drop(told);
    return err;
}

static void send_source(void) {
    for (uint32_t i = 0; i < 2; i++)
        if (intake.items[i + 1].fd < 0)
            ck_assert_int_eq(
                intake_add(&intake, i + 1, 0, (ac_span){texts[i], strlen(texts[i])}, problem), 0);
}

// Runs what was made.
static int run_it(void) {
    struct sys_process process;
    struct sys_process_end end;
    char *const arguments[] = {(char *)"made", NULL};
    const struct sys_process_options how = {.executable = intake_program(&intake),
                                            .arguments = arguments,
                                            .input = -1,
                                            .output = -1,
                                            .error = -1,
                                            .extra = -1,
                                            .dies_with_us = true};
    ck_assert_int_eq(sys_process_start(&process, &how), 0);
    ck_assert(world_ends(process.handle, 20));
    ck_assert_int_eq(sys_process_reap(&process, &end), 0);
    ck_assert(!end.by_signal);
    return end.code;
}

#define ck_says(word) ck_assert_msg(strstr(problem, word) != NULL, "it says: %s", problem)

static void begin(void) {
    char base[96];
    snprintf(base, sizeof base, "%s/node", world_folder);
    contents_open(&contents, base, 0);
    elf_place_here(&place);
    texts[0] = "#include \"answer.h\"\nint main(void) { return ANSWER + MORE; }\n";
    texts[1] = "#define ANSWER 7\n";
}

static void end(void) {
    intake_close(&intake);
    elf_place_done(&place);
    contents_close(&contents);
}

static ac_value make_it(ac_value unused) {
    (void)unused;
    begin();
    ck_assert_int_eq(open_source("-DMORE=1"), 1);
    ac_value wanted = intake_wanted(&intake);
    ck_assert_uint_eq(ac_count(wanted), 2); // and not the program
    ac_drop(wanted);
    send_source();
    ck_assert_msg(intake_end(&intake, problem) == 0, "it says: %s", problem);
    ck_assert_int_eq(run_it(), 8);

    // It was made before: nothing is wanted, and nothing compiled, as there is no time to.
    contents.compile_seconds = 0;
    ck_assert_int_eq(open_source("-DMORE=1"), 0);
    ck_assert_int_eq(intake_end(&intake, problem), 0);
    ck_assert_int_eq(run_it(), 8);
    contents.compile_seconds = 60;

    // Other flags or another file make another one; what is here of the source is not sent again.
    ck_assert_int_eq(open_source(" -DMORE=2 \n -O1"), 0);
    ck_assert_int_eq(intake_end(&intake, problem), 0);
    ck_assert_int_eq(run_it(), 9);
    texts[1] = "#define ANSWER 17\n";
    ck_assert_int_eq(open_source("-DMORE=2"), 1);
    send_source();
    ck_assert_int_eq(intake_end(&intake, problem), 0);
    ck_assert_int_eq(run_it(), 19);
    end();
    return ac_nil;
}

// A compiler that says that it is none where it can read the secret.
static void put_suspicious_compiler(const char *folder, const char *secret) {
    char path[128];
    snprintf(path, sizeof path, "%s/cc", folder);
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fprintf(file, "#!/bin/sh\ncat %s >/dev/null 2>&1 && exit 1\nexec /usr/bin/cc \"$@\"\n", secret);
    fclose(file);
    ck_assert_int_eq(chmod(path, 0755), 0);
}

static ac_value ask_it_confined(ac_value unused) {
    char text[256], secret[96], bin[96], paths[512];
    struct cells cells;
    snprintf(secret, sizeof secret, "%s/secret", world_folder);
    snprintf(bin, sizeof bin, "%s/bin", world_folder);
    ck_assert_int_eq(mkdir(bin, 0755), 0);
    put_suspicious_compiler(bin, secret);
    snprintf(paths, sizeof paths, "%s:%.300s", bin, getenv("PATH"));
    setenv("PATH", paths, 1);
    FILE *file = fopen(secret, "w");
    fputs("the secret", file);
    fclose(file);
    begin();
    ck_assert_int_eq(cells_open(&cells, &(struct node_options){.readable = bin}, text), 0);
    contents.cells = &cells;
    if (cells.parts.landlock)
        ck_assert_msg(open_source("-DMORE=1") == 1, "it says: %s", problem);
    end();
    cells_close(&cells);
    return unused;
}

TEST(a_compiler_is_confined_when_it_is_asked_for_its_version, .seconds_max = 120) {
    world_make();
    world_run(ask_it_confined);
    world_clean();
}

// What the client says can have a compiler read any file and run any program.
static void make_confined(const struct node_options *options) {
    char text[256], secret[96], with[128];
    struct cells cells;
    begin();
    ck_assert_msg(cells_open(&cells, options, text) == 0, "it says: %s", text);
    contents.cells = &cells;
    contents.user = cells.sandbox.user;
    contents.group = cells.sandbox.group;
    ck_assert_int_eq(open_source("-DMORE=1"), 1);
    send_source();
    ck_assert_msg(intake_end(&intake, problem) == 0, "it says: %s", problem);
    ck_assert_int_eq(run_it(), 8);
    if (cells.parts.landlock) {
        snprintf(secret, sizeof secret, "%s/secret", world_folder);
        FILE *file = fopen(secret, "w");
        fputs("the secret", file);
        fclose(file);
        snprintf(with, sizeof with, "-DMORE=1 -include %s", secret);
        ck_assert_int_eq(open_source(with), 0);
        ck_assert_int_lt(intake_end(&intake, problem), 0);
        ck_says("Permission denied");
    }
    contents.compile_seconds = 0;
    ck_assert_int_eq(open_source("-DMORE=3"), 0);
    ck_assert_int_lt(intake_end(&intake, problem), 0);
    ck_says("it took too long");
    end();
    cells_close(&cells);
}

static ac_value confine_it(ac_value unused) {
    make_confined(&(struct node_options){.workers = 1});
    return unused;
}

TEST(a_compiler_is_confined, .seconds_max = 120) {
    world_make();
    world_run(confine_it);
    world_clean();
}

static ac_value confine_it_as_another(ac_value unused) {
    char base[96];
    snprintf(base, sizeof base, "%s/node", world_folder);
    make_confined(&(struct node_options){.workers = 1, .user = "nobody", .folder = base});
    return unused;
}

TEST(a_compiler_runs_as_whom_workers_run, .seconds_max = 120) {
    if (geteuid() != 0)
        TEST_SKIP("only root can run it as somebody else");
    world_make();
    ck_assert_int_eq(chmod(world_folder, 0711), 0);
    world_run(confine_it_as_another);
    world_clean();
}

TEST(a_source_is_compiled_once, .seconds_max = 120) {
    world_make();
    world_run(make_it);
    world_clean();
}

static ac_value fail_it(ac_value unused) {
    (void)unused;
    char flags[160], fifo[96];
    begin();
    // Without MORE: what the compiler says comes behind why no variant runs.
    ck_assert_int_eq(open_source(""), 1);
    send_source();
    ck_assert_int_lt(intake_end(&intake, problem), 0);
    ck_says("machine 99");
    ck_says("compiled here: ");
    ck_says("MORE");
    ck_assert_int_eq(intake_program(&intake), -1);

    // It reads from a pipe into which nobody writes.
    snprintf(fifo, sizeof fifo, "%s/fifo", world_folder);
    ck_assert_int_eq(mkfifo(fifo, 0600), 0);
    snprintf(flags, sizeof flags, "-DMORE=1 -include %s", fifo);
    contents.compile_seconds = 0.5;
    ck_assert_int_eq(open_source(flags), 0);
    ck_assert_int_lt(intake_end(&intake, problem), 0);
    ck_says("it took too long");
    setenv("PATH", "/nowhere", 1);
    ck_assert_int_lt(open_source("-DMORE=1"), 0);
    ck_says("there is no C compiler");
    end();
    return ac_nil;
}

TEST(what_the_compiler_says_is_told, .seconds_max = 120) {
    world_make();
    world_run(fail_it);
    world_clean();
}
