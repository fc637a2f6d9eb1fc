// SPDX-License-Identifier: MIT
// Which nodes could run an executable, asked of them without sending it.
//
//     ["can", who asks, needs]           could this run here?             anybody -> node
//     ["could", node, node's name, why]  why not; nil: yes                node -> who asks
//
// A node answers as it would answer the computation (intake.c): from the needs alone.
#include "cluster/cluster_private.h"

#include <stdio.h>

// What elf_read finds and what is said of it.
struct look {
    struct elf_facts facts;
    char problem[PROBLEM_BYTES];
};

// ---- at the node ----

void doctor_answer(const struct node *node, ac_value question) {
    const char *word;
    ac_ref asker;
    ac_value needs;
    struct elf_facts facts;
    char why[PROBLEM_BYTES] = "not a program";
    if (ac_unpack(question, &word, &asker, &needs) != 0)
        return;
    int err = elf_of_value(needs, &facts) ? elf_check(&facts, &node->place, why) : -ENOEXEC;
    ac_drop(needs);
    text_mend(why);
    int told = ac_try_send(asker, ac_list("could", ac_self(), (const char *)node->name,
                                          err ? ac_of_text(why) : ac_nil));
    if (told < 0)
        trace(TRACE_CLUSTER, "who asked what runs here was not told: %s", ac_strerror(told));
}

// ---- at who asks ----

static int read_facts(const char *path, struct look *look, char text[PROBLEM_BYTES]) {
    struct sys_file_facts found;
    int fd = sys_file_open_as(path, SYS_FILE_READ, 0, &found);
    int err = fd < 0 ? fd : elf_read(fd, &look->facts, look->problem);
    sys_fd_close(fd);
    if (err)
        snprintf(text, PROBLEM_BYTES, "%s",
                 look->problem[0] && fd >= 0 ? look->problem : ac_strerror(err));
    return err;
}

// "a, b" of "a\nb\n".
static void join_names(const char *names, char *text, size_t bytes) {
    size_t length = 0;
    for (; *names && length + 3 < bytes; names++) {
        text[length++] = *names == '\n' ? ',' : *names;
        if (*names == '\n')
            text[length++] = ' ';
    }
    text[length] = 0;
    while (length > 0 && (text[length - 1] == ' ' || text[length - 1] == ','))
        text[--length] = 0;
}

static void describe(const struct elf_facts *facts, struct doctor_report *report) {
    snprintf(report->machine, sizeof report->machine, "%s", elf_machine(facts->machine));
    if (facts->libc_major)
        snprintf(report->libc, sizeof report->libc, "GLIBC_%d.%d", facts->libc_major,
                 facts->libc_minor);
    snprintf(report->loader, sizeof report->loader, "%s", facts->interpreter);
    join_names(facts->libraries, report->libraries, sizeof report->libraries);
    text_mend(report->loader);
    text_mend(report->libraries);
}

static struct doctor_node *find_node(struct doctor_report *report, ac_ref node) {
    for (size_t i = 0; i < report->count; i++)
        if (ac_ref_equal(report->nodes[i].node, node))
            return &report->nodes[i];
    return NULL;
}

static void ask(struct doctor_report *report, const struct elf_facts *facts, ac_ref node) {
    if (report->count == DOCTOR_NODES_MAX || find_node(report, node))
        return;
    struct doctor_node *it = &report->nodes[report->count++];
    *it = (struct doctor_node){.node = node};
    location_of(loop_here, node, it->location);
    int err = remote_lets_us(loop_here, node.peer, AC_MAY_SHIP) ? 0 : -EACCES;
    if (!err)
        err = ac_send(node, ac_list("can", ac_self(), elf_to_value(facts)));
    snprintf(it->why, sizeof it->why, "%s", err ? ac_strerror(err) : "it did not answer");
}

static void take_answer(struct doctor_report *report, ac_value message) {
    const char *word, *name, *why;
    ac_ref node;
    if (ac_unpack(message, &word, &node, &name, &why) != 0)
        return;
    struct doctor_node *it = find_node(report, node);
    if (!it)
        return;
    snprintf(it->name, sizeof it->name, "%s", name ? name : "");
    snprintf(it->why, sizeof it->why, "%s", why ? why : "");
    text_mend(it->name);
    text_mend(it->why);
    it->runs = why == NULL;
    it->answered = true;
}

static size_t count_answers(const struct doctor_report *report) {
    size_t count = 0;
    for (size_t i = 0; i < report->count; i++)
        count += report->nodes[i].answered;
    return count;
}

static bool is_over(const struct doctor_report *report, ac_time until, size_t enough) {
    size_t answers = count_answers(report);
    return (enough > 0 && answers >= enough) || (ac_now() >= until && answers == report->count);
}

// Nodes are sought until `until`, answers then waited for as long again.
static int gather(struct doctor_report *report, const struct elf_facts *facts, double seconds,
                  size_t enough) {
    ac_time until = ac_after(seconds), last = ac_after(2 * seconds);
    int err = remote_follow(NODE_NAME);
    while (!err && !is_over(report, until, enough)) {
        ac_value message;
        ac_ref node;
        err = ac_receive(&message, ac_now() < until ? until : last);
        if (err == -ETIMEDOUT && ac_now() < last) {
            err = 0;
            continue;
        }
        if (err)
            break;
        if (remote_holder_of(message, &node))
            ask(report, facts, node);
        else if (message_is(message, "could"))
            take_answer(report, message);
        ac_drop(message);
    }
    return err == -ETIMEDOUT ? 0 : err;
}

int doctor_ask(const char *path, double seconds, size_t enough, struct doctor_report *report,
               char text[PROBLEM_BYTES]) {
    struct look *look = memory_allocate_zeroed(sizeof *look);
    report->count = 0;
    text[0] = 0;
    if (!look)
        return -ENOMEM;
    int err = read_facts(path, look, text);
    if (!err) {
        describe(&look->facts, report);
        err = gather(report, &look->facts, seconds, enough);
    }
    if (err && !text[0])
        snprintf(text, PROBLEM_BYTES, "%s", ac_strerror(err));
    memory_release(look);
    return err;
}
