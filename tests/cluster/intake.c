// SPDX-License-Identifier: MIT
// The cargo of a computation at a node: which variant is taken, what is asked for, what is refused.
#include <fcntl.h>

#include "cluster/world.h"

static struct contents contents;
static struct elf_place place;
static struct intake intake;
static struct cargo cargo; // this very program
static struct elf_facts here;
static char problem[PROBLEM_BYTES];

static ac_value item(const char *text) {
    uint8_t digest[DIGEST_BYTES];
    ck_assert_int_eq(digest_of(text, strlen(text), digest), 0);
    return ac_list(ac_of_bytes(digest, sizeof digest), strlen(text));
}

static ac_value program(void) {
    return ac_list(ac_of_bytes(cargo.items[0].content.digest, DIGEST_BYTES),
                   cargo.items[0].content.bytes);
}

static struct elf_facts foreign(void) {
    struct elf_facts it = here;
    it.machine = here.machine == 183 ? 62 : 183;
    return it;
}

static struct elf_facts lacking(const char *library) {
    struct elf_facts it = here;
    strcat(it.libraries, library);
    return it;
}

// A cargo without files.
static ac_value told_of(ac_value items, ac_value variants) {
    return ac_list(items, variants, ac_nil, ac_nil, false);
}

static int open_told(ac_value told) {
    intake_close(&intake);
    int err = intake_open(&intake, &contents, &place, told, problem);
    ac_drop(told);
    return err;
}

static ac_value variant(int number, struct elf_facts facts, const char *name) {
    return ac_list(number, elf_to_value(&facts), name, ac_nil);
}

static void begin(void) {
    char folder[96];
    snprintf(folder, sizeof folder, "%s/store", world_folder);
    contents_open(&contents, folder, 0);
    elf_place_here(&place);
    ck_assert_int_eq(cargo_open(&cargo, NULL), 0);
    ck_assert_int_eq(elf_read(cargo.items[0].fd, &here, problem), 0);
}

static void end(void) {
    intake_close(&intake);
    cargo_close(&cargo);
    elf_place_done(&place);
    contents_close(&contents);
}

// Sends a whole item in pieces.
static int send_item(uint32_t number, const struct cargo_item *from) {
    static uint8_t piece[PIECE_BYTES];
    int err = 0;
    for (uint64_t at = 0; !err && at < from->content.bytes;) {
        uint64_t left = from->content.bytes - at;
        size_t count = left < sizeof piece ? (size_t)left : sizeof piece;
        ck_assert_int_eq(sys_file_read_at(from->fd, at, piece, count), 0);
        err = intake_add(&intake, number, at, (ac_span){piece, count}, problem);
        at += count;
    }
    return err;
}

#define ck_says(word) ck_assert_msg(strstr(problem, word) != NULL, "it says: %s", problem)

static ac_value choose(ac_value unused) {
    (void)unused;
    begin();
    // The second one runs here; the first is not asked for.
    ck_assert_int_eq(open_told(told_of(
                         ac_list(item("other"), program()),
                         ac_list(variant(0, foreign(), "demo.foreign"), variant(1, here, "demo")))),
                     1);
    ck_assert_uint_eq(intake.variant, 1);
    ac_value wanted = intake_wanted(&intake);
    ck_assert_uint_eq(ac_count(wanted), 1);
    ac_value number = ac_at(wanted, 0);
    ck_assert_int_eq(ac_int_of(number), 1);
    ac_drop(wanted);
    ck_assert_int_eq(intake_program(&intake), -1);
    ck_assert_int_eq(send_item(1, &cargo.items[0]), 0);
    ck_assert_int_eq(intake_end(&intake, problem), 0);
    ck_assert_int_ge(intake_program(&intake), 0);
    ck_assert_int_eq(sys_file_bytes(intake_program(&intake)),
                     (int64_t)cargo.items[0].content.bytes);

    // Of two that run the first; and now it is here.
    ck_assert_int_eq(open_told(told_of(ac_list(program(), item("other")),
                                       ac_list(variant(0, here, "one"), variant(1, here, "two")))),
                     0);
    ck_assert_uint_eq(intake.variant, 0);
    ck_assert_int_ge(intake_program(&intake), 0);
    ck_assert_int_eq(intake_end(&intake, problem), 0);

    // None fits: alone, and each with its reason.
    ck_assert_int_eq(open_told(told_of(ac_list(program()), ac_list(variant(0, foreign(), "demo")))),
                     -ENOEXEC);
    ck_assert(strncmp(problem, "built for ", 10) == 0);
    ck_assert_int_eq(
        open_told(told_of(ac_list(program(), item("other")),
                          ac_list(variant(0, foreign(), "demo"),
                                  variant(1, lacking("libnowhere.so.4\n"), "second")))),
        -ENOEXEC);
    ck_says("demo: built for ");
    ck_says("; second: needs shared libraries that this node lacks: libnowhere.so.4");
    end();
    return ac_nil;
}

TEST(the_first_variant_that_runs_here_is_taken) {
    world_make();
    world_run(choose);
    world_clean();
}

static void read_back(const char *name, const char *expected, unsigned mode) {
    char folder[600], path[700], text[64] = "";
    struct stat facts;
    intake_folder(&intake, folder);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = sys_file_open(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(sys_file_read_at(fd, 0, text, strlen(expected)), 0);
    ck_assert_str_eq(text, expected);
    ck_assert_int_eq(fstat(fd, &facts), 0);
    ck_assert_uint_eq(facts.st_mode & 0777, mode);
    sys_fd_close(fd);
}

static ac_value take_files(ac_value unused) {
    (void)unused;
    char folder[600];
    begin();
    for (int round = 0; round < 2; round++) {
        ac_value told = ac_list(
            ac_list(program(), item("words"), item("")), ac_list(variant(0, here, "demo")),
            ac_list(ac_list(1, "words.txt", false), ac_list(2, "nothing", false),
                    ac_list(1, "data/below/words", true)),
            ac_nil, false);
        // The second time all of it is here.
        ck_assert_int_eq(open_told(told), round == 0);
        if (round == 0) {
            ck_assert_int_eq(send_item(0, &cargo.items[0]), 0);
            ck_assert_int_eq(intake_add(&intake, 1, 0, (ac_span){"words", 5}, problem), 0);
            ac_value wanted = intake_wanted(&intake); // nothing is sent of what is empty
            ck_assert_uint_eq(ac_count(wanted), 0);
            ac_drop(wanted);
        }
        ck_assert_msg(intake_end(&intake, problem) == 0, "it says: %s", problem);
        read_back("words.txt", "words", 0500);
        read_back("data/below/words", "words", 0700);
        read_back("nothing", "", 0500);
        ck_assert_ptr_null(intake_environment(&intake));
        intake_folder(&intake, folder);
        // What a worker does to its copy, and leaves behind, harms nobody and goes.
        char path[700];
        snprintf(path, sizeof path, "%s/data/below/words", folder);
        int fd = open(path, O_WRONLY);
        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(sys_file_write_at(fd, 0, "other", 5), 0);
        sys_fd_close(fd);
        snprintf(path, sizeof path, "%s/left/behind", folder);
        ck_assert_int_eq(sys_folder_make(path), 0);
        intake_close(&intake);
        ck_assert(!sys_file_exists(folder));
    }
    // Two with one name.
    ck_assert_int_eq(
        open_told(ac_list(ac_list(program(), item("words")), ac_list(variant(0, here, "demo")),
                          ac_list(ac_list(1, "a", false), ac_list(0, "a", false)), ac_nil, false)),
        0);
    ck_assert_int_lt(intake_end(&intake, problem), 0);
    ck_says("the file a cannot be put there");
    end();
    return ac_nil;
}

TEST(files_are_put_into_a_folder_that_goes) {
    world_make();
    world_run(take_files);
    world_clean();
}

static int open_program(void) {
    return open_told(told_of(ac_list(program()), ac_list(variant(0, here, "demo"))));
}

static ac_value disturb(ac_value unused) {
    (void)unused;
    begin();
    ac_span some = {"some", 4};
    ck_assert_int_eq(open_program(), 1);
    ck_assert_int_eq(intake_add(&intake, 1, 0, some, problem), -EPROTO); // not wanted
    ck_says("the upload cannot be stored");
    ck_assert_int_eq(open_program(), 1);
    ck_assert_int_eq(intake_add(&intake, 0, 4, some, problem), -EPROTO); // with a gap
    ck_assert_int_eq(open_program(), 1);
    ck_assert_int_eq(intake_add(&intake, 0, 0, some, problem), 0);
    ck_assert_int_lt(intake_end(&intake, problem), 0);
    ck_says("the upload ended after 4 of");
    ck_assert_int_eq(open_program(), 1);
    ck_assert_int_lt(intake_end(&intake, problem), 0);
    ck_says("the upload ended after 0 of");
    ck_assert_int_eq(open_program(), 1);
    ck_assert_int_eq(send_item(0, &cargo.items[0]), 0);
    ck_assert_int_eq(intake_add(&intake, 0, 0, some, problem), -EPROTO); // twice

    // What is no program says that it is one.
    ck_assert_int_eq(open_told(told_of(ac_list(item("text")), ac_list(variant(0, here, "demo")))),
                     1);
    ck_assert_int_eq(intake_add(&intake, 0, 0, (ac_span){"text", 4}, problem), 0);
    ck_assert_int_eq(intake_end(&intake, problem), -ENOEXEC);
    ck_says("not an ELF file");
    // And another one is what it says.
    ck_assert_int_eq(open_told(told_of(ac_list(item("text")), ac_list(variant(0, here, "demo")))),
                     0);
    ck_assert_int_eq(intake_add(&intake, 0, 0, (ac_span){"none", 4}, problem), -EPROTO);
    end();
    return ac_nil;
}

TEST(what_does_not_come_as_announced_is_refused) {
    world_make();
    world_run(disturb);
    world_clean();
}

static ac_value misunderstand(ac_value unused) {
    (void)unused;
    begin();
    struct elf_facts other = foreign();
    ac_value many[CARGO_ITEMS_MAX + 1];
    for (size_t i = 0; i < countof(many); i++)
        many[i] = item("x");
    ac_value told[] = {
        ac_nil,
        ac_list(1, 2),
        told_of(ac_list(1), ac_list(variant(0, here, "demo"))),
        told_of(ac_list(program()), ac_list(1)),
        told_of(ac_list(program()), ac_list(ac_list(0, 1, "demo", ac_nil))),
        told_of(ac_list(program()), ac_list(variant(1, here, "demo"))),
        told_of(ac_list(program()), ac_list(variant(-1, here, "demo"))),
        told_of(ac_list(item("")), ac_list(variant(0, here, "demo"))),
        told_of(ac_list(program()), ac_list_of(NULL, 0)),
        told_of(ac_list_of(NULL, 0), ac_list(variant(0, other, "demo"))),
        told_of(ac_list_of(many, countof(many)), ac_list(variant(0, here, "demo"))),
        told_of(ac_list(ac_list("short", 7)), ac_list(variant(0, here, "demo"))),
    };
    for (size_t i = 0; i < countof(told); i++) {
        ck_assert_int_lt(open_told(told[i]), 0);
        ck_assert_str_ne(problem, "");
    }
    ck_assert_int_lt(open_told(told_of(ac_list(ac_list(ac_of_bytes(here.libraries, DIGEST_BYTES),
                                                       (uint64_t)PROGRAM_BYTES_MAX + 1)),
                                       ac_list(variant(0, here, "demo")))),
                     0);
    ck_says("more than 1 GiB");
    static const char *const bad[] = {"/etc/passwd", "../words", "a/../../b", "",
                                      "a//b",        "./a",      "a/"};
    for (size_t i = 0; i < countof(bad); i++) {
        ck_assert_int_lt(open_told(ac_list(ac_list(program()), ac_list(variant(0, here, "demo")),
                                           ac_list(ac_list(0, bad[i], false)), ac_nil, false)),
                         0);
        ck_says("has a name that is none");
    }
    ck_assert_int_lt(open_told(ac_list(ac_list(program()), ac_list(variant(0, here, "demo")),
                                       ac_list(ac_list(1, "a", false)), ac_nil, false)),
                     0);
    ac_value sources[] = {ac_list(1, 2), ac_list("-O1", ac_nil),
                          ac_list("-O1", ac_list(ac_list(7, "a.c"))),
                          ac_list("-O1", ac_list(ac_list(0, "../a.c")))};
    for (size_t i = 0; i < countof(sources); i++)
        ck_assert_int_lt(open_told(ac_list(ac_list(program()), ac_list(variant(0, other, "demo")),
                                           ac_nil, sources[i], false)),
                         0);
    ac_value library = ac_list(0, elf_to_value(&here), "demo", ac_list(ac_list(0, "a/b.so")));
    ck_assert_int_lt(
        open_told(ac_list(ac_list(program()), ac_list(library), ac_nil, ac_nil, false)), 0);
    ck_says("has a name that is none");
    end();
    return ac_nil;
}

TEST(nothing_that_is_told_is_believed) {
    world_make();
    world_run(misunderstand);
    world_clean();
}
