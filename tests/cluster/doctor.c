// SPDX-License-Identifier: MIT
// Asking nodes what they could run: many nodes, nodes that do not answer, questions that are none.
#include "cluster/world.h"

static struct doctor_report report;
static char text[PROBLEM_BYTES];

// Asks until so many have answered: within as long as the test may take.
static void ask(const char *path, size_t enough) {
    ck_assert_int_eq(doctor_ask(path, 25, enough, &report, text), 0);
    ck_assert_uint_ge(report.count, enough);
}

static ac_value ask_two(ac_value unused) {
    (void)unused;
    ask("/proc/self/exe", 2);
    ck_assert_uint_eq(report.count, 2);
    ck_assert_str_ne(report.machine, "");
    ck_assert_ptr_nonnull(strstr(report.libraries, "libc.so.6"));
    ck_assert_ptr_null(strchr(report.libraries, '\n'));
    unsigned seen = 0;
    for (size_t i = 0; i < 2; i++) {
        ck_assert(report.nodes[i].answered && report.nodes[i].runs);
        ck_assert_str_eq(report.nodes[i].why, "");
        ck_assert_ptr_nonnull(strstr(report.nodes[i].location, "127.0.0.1:"));
        seen |= strcmp(report.nodes[i].name, "here") == 0 ? 1 : 2;
    }
    ck_assert_uint_eq(seen, 3);
    return ac_nil;
}

TEST(each_node_answers_for_itself) {
    world_begin("1");
    struct sys_process here = world_node;
    world_node_name = "there";
    world_start_node("1");
    world_run(ask_two);
    world_stop_node();
    world_node = here;
    world_end();
}

static ac_value ask_mute(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_register(ac_self(), NODE_NAME), 0); // finds itself, and does not answer
    ck_assert_int_eq(doctor_ask("/proc/self/exe", 0.2, 0, &report, text), 0);
    ck_assert_uint_eq(report.count, 1);
    ck_assert(!report.nodes[0].answered && !report.nodes[0].runs);
    ck_assert_str_eq(report.nodes[0].why, "it did not answer");
    ck_assert_int_eq(doctor_ask("/nowhere", 1, 0, &report, text), -ENOENT);
    ck_assert_str_eq(text, ac_strerror(-ENOENT));
    ck_assert_int_eq(doctor_ask("/etc/passwd", 1, 0, &report, text), -ENOEXEC);
    ck_assert_str_eq(text, "not an ELF file");
    return ac_nil;
}

TEST(who_does_not_answer_is_told) {
    world_make();
    world_run(ask_mute);
    world_clean();
}

static ac_value ask_nonsense(ac_value unused) {
    (void)unused;
    ac_value message;
    ac_ref node = ac_no_ref;
    ck_assert_int_eq(remote_follow(NODE_NAME), 0);
    while (!ac_ref_is(node)) {
        ck_assert_int_eq(ac_receive(&message, ac_after(20)), 0);
        (void)remote_holder_of(message, &node);
        ac_drop(message);
    }
    ck_assert_int_eq(ac_send(node, ac_list("can", 1, 2)), 0);
    ck_assert_int_eq(ac_send(node, ac_list("can", ac_self(), ac_list(1, 2))), 0);
    const char *word, *name, *why;
    ck_assert_int_eq(ac_receive(&message, ac_after(20)), 0);
    ck_assert_int_eq(ac_unpack(message, &word, &node, &name, &why), 0);
    ck_assert_str_eq(word, "could");
    ck_assert_str_eq(why, "not a program");
    ac_drop(message);
    return ac_nil;
}

TEST(a_question_that_is_none_is_no_harm) {
    world_begin("1");
    world_run(ask_nonsense);
    world_end();
}
