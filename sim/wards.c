// SPDX-License-Identifier: MIT
// Clusters in simulated processes: what a node asks of its computer, and what a program asks of its
// own. The linker puts these functions in the place of those whose names they carry, as in wrap.c.
//
// A ward is a simulated process that runs worker_run with the start-up record that its node wrote
// into a pipe; who kills it, and when, is as with wardens: a moment after it was asked for, and
// when the node has ended. A soft end is one by SIGTERM, which a frozen process takes when it goes
// on. What a worker marks lies in memory that outlives both.
//
// A cargo is a number of bytes, of which a node has some already by chance: no program is shipped,
// as all processes run this one, but the messages of shipping go their way.
//
// A node or scheduler is asked to end by process->stop, where a real one gets a signal.
#include "cluster.h"

#include <stdio.h>
#include <stdlib.h>

#define REPLACES __attribute__((used))
#define WRAPPED(result_, name_, ...)                                                               \
    result_ __wrap_##name_(__VA_ARGS__);                                                           \
    result_ __real_##name_(__VA_ARGS__)

WRAPPED(int, sys_pipe, int ends[2]);
WRAPPED(int, sys_fd_copy, int fd);
WRAPPED(int, sys_fd_write, int fd, const void *from, size_t count);
WRAPPED(int, sys_pipe_take, int fd, void *to, size_t count);
WRAPPED(int, sys_memory_create, const char *name, bool executable);
WRAPPED(int, sys_file_read_at, int fd, uint64_t offset, void *to, size_t count);
WRAPPED(int, sys_file_write_at, int fd, uint64_t offset, const void *from, size_t count);
WRAPPED(int, cell_start, struct cells *cells, struct sys_ward *ward,
        const struct sys_process_options *how, char problem[SYS_WARD_PROBLEM_BYTES]);
WRAPPED(void, sys_ward_end, const struct sys_ward *ward, bool hard);
WRAPPED(int, sys_ward_reap, struct sys_ward *ward, struct sys_ward_end *end);
WRAPPED(void, sys_ward_abandon, struct sys_ward *ward);
WRAPPED(int, sys_ward_clear, struct sys_ward *ward);
WRAPPED(int, cells_open, struct cells *cells, const struct node_options *options, char text[256]);
WRAPPED(void, cells_close, struct cells *cells);
WRAPPED(void, contents_open, struct contents *contents, const char *folder, uint64_t bytes_max);
WRAPPED(void, contents_close, struct contents *contents);
WRAPPED(void, elf_place_here, struct elf_place *place);
WRAPPED(void, place_here, struct place *place);
WRAPPED(int, intake_open, struct intake *it, struct contents *contents,
        const struct elf_place *place, ac_value told, char problem[PROBLEM_BYTES]);
WRAPPED(ac_value, intake_wanted, const struct intake *it);
WRAPPED(void, intake_again, struct intake *it);
WRAPPED(int, intake_add, struct intake *it, uint32_t item, uint64_t offset, ac_span piece,
        char problem[PROBLEM_BYTES]);
WRAPPED(int, intake_end, struct intake *it, char problem[PROBLEM_BYTES]);
WRAPPED(int, intake_program, const struct intake *it);
WRAPPED(const char *, intake_folder, const struct intake *it, char path[600]);
WRAPPED(char **, intake_environment, const struct intake *it);
WRAPPED(void, intake_close, struct intake *it);
WRAPPED(int, cargo_open, struct cargo *cargo, const struct ac_computation_options *options);
WRAPPED(void, cargo_close, struct cargo *cargo);
WRAPPED(ac_value, cargo_next, const struct cargo *cargo, struct cargo_sending *sending, bool *over);
WRAPPED(int, outside_open, struct outside *outside, struct life *life, char text[256]);
WRAPPED(void, outside_close, struct outside *outside);
WRAPPED(int, outside_watch, struct outside *outside, bool input);
WRAPPED(void, outside_say_ready, void);
WRAPPED(void, outside_say_state, const struct life *life);
WRAPPED(int, remote_start, struct loop *loop, const struct ac_network_options *options,
        const struct key_ring *keys);
int __wrap_ac_print(const char *format, ...);

// ---- descriptors ----

REPLACES int __wrap_sys_pipe(int ends[2]) {
    net_pipe(sim.running, ends);
    return 0;
}

// Of what runs here only watches, pipes and files are copied, and the standard error of a node,
// which it does not have.
REPLACES int __wrap_sys_fd_copy(int fd) {
    if (fd >= DISK_FD)
        return disk_copy(fd);
    if (fd >= 3 && net_socket(fd)->pipe)
        return net_pipe_copy(fd);
    if (fd < 3 || net_socket(fd)->sort != SOCKET_WATCH)
        return -EBADF;
    return net_watch(sim.running, net_socket(fd)->watched);
}

REPLACES int __wrap_sys_fd_write(int fd, const void *from, size_t count) {
    net_pipe_put(fd, from, count);
    return 0;
}

REPLACES int __wrap_sys_pipe_take(int fd, void *to, size_t count) {
    return net_pipe_take(fd, to, count) == count ? 0 : -ENODATA;
}

_Static_assert(sizeof(struct worker_marks) <= NET_WORDS * sizeof(uint64_t), "marks are words");

REPLACES int __wrap_sys_memory_create(const char *name, bool executable) {
    (void)name, (void)executable;
    return net_words(sim.running);
}

REPLACES int __wrap_sys_file_read_at(int fd, uint64_t offset, void *to, size_t count) {
    if (fd >= DISK_FD)
        return disk_read(fd, offset, to, count);
    assert(offset == 0 && count == sizeof(struct worker_marks));
    memcpy(to, net_socket(fd)->words, count);
    return 0;
}

REPLACES int __wrap_sys_file_write_at(int fd, uint64_t offset, const void *from, size_t count) {
    if (fd >= DISK_FD)
        return disk_write(fd, offset, from, count);
    assert(offset == 0 && count == sizeof(struct worker_marks));
    memcpy(net_socket(fd)->words, from, count);
    return 0;
}

// ---- wards ----

// What a worker process has from its node.
struct inheritance {
    int record, output;
    uint32_t ground;
    struct worker_marks *marks;
};

static void run_worker_process(struct process *process) {
    struct inheritance *has = process->of;
    struct worker_start start;
    ac_value held;
    char problem[PROBLEM_BYTES];
    sim_check(worker_start_read(has->record, &start, &held), "worker process %u has no record",
              process->number);
    places_worker(has->ground);
    (void)worker_run(&start, has->record, has->marks, problem);
    if (sim.talks)
        printf("#     worker process %u left: %s\n", process->number, problem);
    ac_drop(held);
    // The loop does not wait for a job behind a shield; what that has goes with the process.
    if (jobs_run_here()) {
        process->dies_in = 1;
        process_counts(process);
    }
    net_close(has->output);
}

REPLACES int __wrap_cell_start(struct cells *cells, struct sys_ward *ward,
                               const struct sys_process_options *how,
                               char problem[SYS_WARD_PROBLEM_BYTES]) {
    (void)cells;
    if (sim_chance(cluster.start_fails)) {
        snprintf(problem, SYS_WARD_PROBLEM_BYTES, "it fails by chance");
        return -EAGAIN;
    }
    // It is not of the memory of the node, which may be gone before the worker reads it.
    struct inheritance *has = cluster_keep(sizeof *has);
    struct process *node = sim.running;
    struct process *process = process_start(node->host, run_worker_process, has);
    process->keeper = node->number;
    has->record = net_pipe_give(how->extra, process);
    has->output = net_pipe_give(how->output, process);
    has->marks = (struct worker_marks *)net_socket(how->more)->words;
    sim_check(sscanf(how->folder, "/%u", &has->ground) == 1, "a worker is started in %s",
              how->folder);
    *ward = (struct sys_ward){.id = (int)process->number, .line = -1};
    ward->warden.handle = net_watch(node, process->number);
    jobs_worker_made(process, &has->marks->begun);
    return 0;
}

static void end_hard(uint64_t number, uint64_t unused) {
    (void)unused;
    process_kill(sim.processes[number - 1], false);
}

static void end_softly(uint64_t number, uint64_t unused) {
    (void)unused;
    struct process *process = sim.processes[number - 1];
    process->stop = true;
    if (process->state == PROCESS_RUNS)
        process_kill(process, false);
}

REPLACES void __wrap_sys_ward_end(const struct sys_ward *ward, bool hard) {
    sim_note("ward-end", (uint64_t)ward->id, hard, 0);
    sim_at(sim.now + (ac_time)sim_below(20 * (uint64_t)SIM_MS), hard ? end_hard : end_softly,
           (uint64_t)ward->id, 0);
}

REPLACES int __wrap_sys_ward_reap(struct sys_ward *ward, struct sys_ward_end *end) {
    const struct process *process = sim.processes[ward->id - 1];
    if (process_lives(process))
        return -EAGAIN;
    *end = (struct sys_ward_end){.process.by_signal = process->state == PROCESS_KILLED,
                                 .process.code = process->state == PROCESS_KILLED ? 9 : 0};
    net_close(ward->warden.handle);
    return 0;
}

REPLACES int __wrap_sys_ward_clear(struct sys_ward *ward) {
    (void)ward;
    return 0;
}

REPLACES void __wrap_sys_ward_abandon(struct sys_ward *ward) {
    __wrap_sys_ward_end(ward, true);
    net_close(ward->warden.handle);
}

// ---- the computer of a node ----

REPLACES int __wrap_cells_open(struct cells *cells, const struct node_options *options,
                               char text[256]) {
    (void)options, (void)text;
    *cells = (struct cells){.lock = -1, .text = "simulated"};
    return 0;
}

REPLACES void __wrap_cells_close(struct cells *cells) { (void)cells; }

REPLACES void __wrap_contents_open(struct contents *contents, const char *folder,
                                   uint64_t bytes_max) {
    (void)folder, (void)bytes_max;
    *contents = (struct contents){.folder = ""};
}

REPLACES void __wrap_contents_close(struct contents *contents) { (void)contents; }

REPLACES void __wrap_elf_place_here(struct elf_place *place) {
    *place = (struct elf_place){.machine = 62}; // x86_64
    buffer_init(&place->cache);
}

REPLACES void __wrap_place_here(struct place *place) {
    *place = (struct place){.processors = 2, .memory_bytes = (uint64_t)1 << 30};
}

REPLACES int __wrap_outside_open(struct outside *outside, struct life *life, char text[256]) {
    (void)text;
    *outside = (struct outside){.life = life, .signals = -1};
    return 0;
}

REPLACES void __wrap_outside_close(struct outside *outside) { (void)outside; }

static ac_value wait_for_stop(ac_value argument) {
    struct outside *outside = ac_pointer_of(argument);
    struct process *process = sim.running;
    bool asked = false;
    while (ac_sleep(0.1) == 0) {
        if (!process->stop || asked)
            continue;
        asked = true;
        life_ask(outside->life, ac_now());
        (void)mailbox_put(outside->main, ac_nil);
    }
    return ac_nil;
}

REPLACES int __wrap_outside_watch(struct outside *outside, bool input) {
    (void)input;
    outside->main = coro_here();
    return outside_spawn(wait_for_stop, outside, "signals");
}

REPLACES void __wrap_outside_say_ready(void) {}
REPLACES void __wrap_outside_say_state(const struct life *life) {
    sim_note("life", sim.running->number, (uint64_t)life->state, 0);
}
REPLACES int __wrap_ac_print(const char *format, ...) {
    (void)format;
    return 0;
}

// What it has said about itself stays as it is, but for what the seed says.
REPLACES int __wrap_remote_start(struct loop *loop, const struct ac_network_options *options,
                                 const struct key_ring *keys) {
    struct ac_network_options simulated = *options;
    simulated.discovery_port = SIM_PORT;
    simulated.heartbeat_s = story.heartbeat_s;
    simulated.grace_s = story.grace_s;
    return __real_remote_start(loop, &simulated, keys);
}

// ---- cargo ----

enum { SHIPPED_BYTES_MAX = 400 << 10 };

REPLACES int __wrap_cargo_open(struct cargo *cargo, const struct ac_computation_options *options) {
    (void)options;
    int64_t bytes = ac_random_int(1, SHIPPED_BYTES_MAX);
    cargo->count = 1;
    cargo->items[0] = (struct cargo_item){.content.bytes = (uint64_t)bytes, .fd = -1};
    cargo->told = ac_list(bytes);
    return 0;
}

REPLACES void __wrap_cargo_close(struct cargo *cargo) {
    ac_drop(cargo->told);
    cargo->told = ac_nil;
}

static uint64_t shipped_bytes(ac_value told) {
    uint64_t bytes = 0;
    sim_check(ac_unpack(told, &bytes) == 0, "a node is told of another cargo");
    return bytes;
}

REPLACES ac_value __wrap_cargo_next(const struct cargo *cargo, struct cargo_sending *sending,
                                    bool *over) {
    static const uint8_t nothing[PIECE_BYTES];
    uint64_t left = shipped_bytes(cargo->told) - sending->offset;
    size_t count = left < PIECE_BYTES ? (size_t)left : PIECE_BYTES;
    uint64_t offset = sending->offset;
    *over = left == 0;
    sending->offset += count;
    return *over
               ? ac_list("done", sending->round)
               : ac_list("piece", (int64_t)0, offset, ac_of_bytes(nothing, count), sending->round);
}

// `next` is 1 once it is open, `received` what has come of `bytes`; `variant` is the ground.
REPLACES int __wrap_intake_open(struct intake *it, struct contents *contents,
                                const struct elf_place *place, ac_value told,
                                char problem[PROBLEM_BYTES]) {
    *it = (struct intake){.contents = contents, .place = place, .next = 1, .upload.fd = -1};
    it->variant = places_ground();
    it->upload.content.bytes = shipped_bytes(told);
    problem[0] = 0;
    if (ac_random_int(0, 1) == 0)
        return 1;
    it->upload.received = it->upload.content.bytes;
    return 0;
}

REPLACES ac_value __wrap_intake_wanted(const struct intake *it) {
    const ac_value program = ac_of(0);
    return ac_list_of(&program, it->upload.received < it->upload.content.bytes);
}

REPLACES void __wrap_intake_again(struct intake *it) { it->upload.received = 0; }

REPLACES int __wrap_intake_add(struct intake *it, uint32_t item, uint64_t offset, ac_span piece,
                               char problem[PROBLEM_BYTES]) {
    problem[0] = 0;
    sim_check(item == 0 && offset == it->upload.received,
              "a node has %llu bytes of a program and gets those from %llu on",
              (unsigned long long)it->upload.received, (unsigned long long)offset);
    it->upload.received += piece.bytes;
    return 0;
}

REPLACES int __wrap_intake_end(struct intake *it, char problem[PROBLEM_BYTES]) {
    problem[0] = 0;
    sim_check(it->upload.received == it->upload.content.bytes,
              "a node has %llu of %llu bytes of a program and is told that this is all",
              (unsigned long long)it->upload.received,
              (unsigned long long)it->upload.content.bytes);
    return 0;
}

REPLACES int __wrap_intake_program(const struct intake *it) {
    (void)it;
    return 0;
}

REPLACES const char *__wrap_intake_folder(const struct intake *it, char path[600]) {
    snprintf(path, 600, "/%u", it->variant);
    return path;
}

REPLACES char **__wrap_intake_environment(const struct intake *it) {
    (void)it;
    return NULL;
}

REPLACES void __wrap_intake_close(struct intake *it) { (void)it; }
