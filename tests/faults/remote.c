// SPDX-License-Identifier: MIT
// Faults under the network: of two programs that are linked over loopback one has the faults. It
// finds a coroutine of the other by its name, sends to it, has messages delivered, monitors it.
// What was sent is answered, or somebody is told: by an error, or by the one notice.
#include "faults.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MESSAGES = 8 };
static const double SLICE_S = 0.05;

// Of both processes.
static struct {
    char address[64];
    int ready; // atomic: the address is there
} * shared;

static struct {
    char folder[TEST_TEMPLATE_BYTES];
    char key_file[80];
    int sent;
    int got;
    int dead;
    int notices;
    int done;
} far;

// Before anything can fail.
__attribute__((constructor)) static void share(void) {
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

static int start_network(void) {
    return ac_network_start(.loopback_only = true, .no_discovery = true, .key_file = far.key_file,
                            .grace_s = 0.3);
}

// ---- the other process, which has no faults ----

static ac_value echo(ac_value unused) {
    (void)unused;
    ac_value message;
    while (ac_receive(&message, AC_FOREVER) == 0) {
        ac_ref to;
        ac_value body;
        if (ac_is_nil(message))
            break;
        if (ac_unpack(message, &to, &body) == 0)
            (void)ac_send(to, body);
        ac_drop(message);
    }
    return ac_of_int(7);
}

static ac_value serve(ac_value unused) {
    (void)unused;
    ac_ref ref = ac_spawn(echo, ac_nil);
    if (ac_register(ref, "echo") < 0 || ac_network_address(shared->address) < 0)
        _exit(1);
    __atomic_store_n(&shared->ready, 1, __ATOMIC_SEQ_CST);
    (void)ac_sleep(1000); // it is killed
    return ac_nil;
}

static pid_t start_other(void) {
    pid_t parent = getpid();
    __atomic_store_n(&shared->ready, 0, __ATOMIC_SEQ_CST);
    pid_t id = fork();
    if (id == 0) {
        faults_disarm();
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent || start_network() < 0)
            _exit(1);
        ac_spawn(serve, ac_nil);
        _exit(ac_run() < 0);
    }
    while (id > 0 && !__atomic_load_n(&shared->ready, __ATOMIC_SEQ_CST))
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    return id;
}

// ---- this one ----

// As in loops.c: not for long, once there was a fault.
static bool has_patience(int *waits) {
    enum { WAITS = 400, WAITS_AFTER_FAULT = 4 };
    *waits += faults_excuse() ? WAITS / WAITS_AFTER_FAULT : 1;
    return *waits <= WAITS;
}

static int receive(ac_value *message) {
    int err = -ETIMEDOUT;
    for (int waits = 0; err == -ETIMEDOUT && has_patience(&waits);)
        err = ac_receive(message, ac_after(SLICE_S));
    return note(err);
}

static int link_up(void) {
    int err = -ETIMEDOUT;
    for (int waits = 0; err == -ETIMEDOUT && has_patience(&waits);)
        err = ac_peer(shared->address, ac_after(10 * SLICE_S));
    return note(err);
}

static int locate(ac_ref *other) {
    int err = -ETIMEDOUT;
    for (int waits = 0; err == -ETIMEDOUT && has_patience(&waits);)
        err = ac_locate("echo", other, ac_after(SLICE_S));
    return note(err);
}

// Takes what comes until the notice does.
static void take_all(void) {
    ac_value message;
    while (far.notices == 0 && receive(&message) == 0) {
        struct ac_exit exit;
        bool notice = ac_kind_of(message) == AC_NOTICE;
        far.notices += notice;
        far.got += !notice;
        if (ac_exit_of(message, &exit)) {
            if (exit.how != AC_FINISHED)
                note(exit.reason);
            ac_drop(exit.value);
        }
        ac_drop(message);
    }
    REQUIRE(ac_mailbox_count() == 0 || faults_errors() > 0);
}

static ac_value talk(ac_value unused) {
    (void)unused;
    ac_ref other;
    if (link_up() < 0 || locate(&other) < 0)
        return ac_nil;
    bool monitored = note(ac_monitor(other)) == 0;
    for (int i = 0; i < MESSAGES; i++)
        far.sent += note(ac_send(other, ac_list(ac_self(), "a text of more than 16 bytes"))) == 0;
    far.sent += note(ac_deliver(other, ac_list(ac_self(), 1), ac_after(5))) == 1;
    note(ac_send(other, ac_nil));
    if (monitored)
        take_all();
    far.dead = (int)(ac_dead_letters(AC_DEAD_NO_MEMORY) + ac_dead_letters(AC_DEAD_UNREAD));
    far.done = 1;
    return ac_nil;
}

static void use_network(ac_function function) {
    memset(&far, 0, sizeof far);
    test_template(far.folder);
    if (!mkdtemp(far.folder))
        return;
    snprintf(far.key_file, sizeof far.key_file, "%s/key", far.folder);
    pid_t other = start_other(); // before there is a loop here
    if (note(start_network()) == 0)
        note_ref(ac_spawn(function, ac_nil, .name = "main"));
    note(ac_run());
    if (other > 0) {
        kill(other, SIGKILL);
        waitpid(other, NULL, 0);
    }
    unlink(far.key_file);
    REQUIRE(rmdir(far.folder) == 0);
}

SCENARIO(two_programs_send_to_each_other) {
    use_network(talk);
    REQUIRE(far.done == 1 || faults_errors() > 0);
    REQUIRE(far.got + far.dead >= far.sent || faults_errors() > 0);
    REQUIRE(far.notices == 1 || faults_errors() > 0);
}
