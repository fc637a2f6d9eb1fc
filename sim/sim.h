// SPDX-License-Identifier: MIT
// The face of sim/: whole worlds of computers, networks and programs in one thread of one process,
// on a clock, a random source, a network and a table of processes that hang from one seed. The
// library's own code runs in each simulated process, unchanged, from ac_run down to the driver.
//
//   main.c     the program: seeds from the command line, one child each; what to run to repeat one
//   world.c    the clock and its events; chance; the hash of the trace; processes
//   driver.c   the poller of a simulated process: struct sys_driver
//   net.c      connections and datagrams between simulated computers, and what befalls them; pipes
//   wrap.c     what the library asks of the system beside its poller: memory, clock
//   threads.c  helper threads, mutexes, conditions
//   disk.c     the disks to which files are sent, and on which journals are (disk.h)
//   plain.c    a transport in the place of TLS
//   oracle.c   who may have what, seen from outside: each promise, checked as things happen
//   story.c    the program that all simulated processes run, and what they do to one another
//   favours.c  what they have one another do: calls, remote functions, cancelling, joining
//   files.c    files that they send one another, and its oracle
//   outsider.c a process that may do nothing, and tries
//   fault.c    cuts, partitions, kills, freezes, slowness
//
// and, for the story of a cluster, the files that cluster.h names.
//
// How a process runs: on a stack of its own, until its poller is asked; then the simulator goes on
// with what comes next, in the order of time and, at one time, of asking. Each look at the clock
// costs the process a moment, so that a process that computes is late for what happens meanwhile.
//
// How a process is put in: sys_choose gives the poller; the linker gives the rest (--wrap, see
// meson.build): what the library means by memory_allocate, sys_thread_start and the like is what is
// here. So nothing in src/ knows that there is a simulator.
#ifndef SIM_SIM_H
#define SIM_SIM_H

#include "coro/coro.h"

#define SIM_MS ((ac_time)1000000)
#define SIM_S ((ac_time)1000000000)

enum { SIM_PORT = 51350, SIM_DELAYS = 8 };

struct socket;
struct sim_sys;

enum process_state {
    PROCESS_RUNS,
    PROCESS_FROZEN, // as by SIGSTOP: its kernel goes on
    PROCESS_ENDED,  // its main function has returned
    PROCESS_KILLED
};

struct process {
    uint32_t number; // never given twice
    uint32_t keeper; // number of the process with which it ends; 0: none
    uint32_t host;   // the computer on which it runs
    enum process_state state;
    struct sys_context context; // where it goes on
    void *stack;
    struct loop *loop;              // what loop_here is for it
    void (*main)(struct process *); // what it runs
    void *of;                       // for that function
    struct sim_sys *outer;          // the poller of its host loop; NULL: none yet
    struct loop *made[4];           // its loops
    struct list loops;              // struct sim_sys of all
    struct list memory;             // what it has allocated: struct chunk (wrap.c)
    struct list threads;            // its helpers: struct sys_thread (threads.c)
    size_t bytes, bytes_most;       // of that
    uint32_t sockets;               // that are open
    uint64_t random;                // state of its random source
    ac_time began;
    ac_time spent; // since it was last given the processor
    ac_time busy_until;
    ac_time wake_at;  // the event for which it waits; AC_FOREVER: none
    ac_time offset;   // of its clock
    int64_t ppm;      // how much faster that runs, in millionths
    ac_time cost;     // of a look at the clock
    ac_time lag;      // up to so much passes until it is given the processor
    uint64_t dies_in; // operations; 0: not by itself
    bool stop;        // it has been asked to end
    ac_time ended;    // when it ended or was killed
};

// Everything else that a run has.
struct sim {
    uint64_t seed;
    uint64_t random;    // of the world: faults, delays
    ac_time now;        // of no process's clock
    uint64_t hash;      // of all that has happened
    uint64_t events;    // that have happened
    ac_time second;     // when the present second began
    uint64_t in_second; // events since
    bool talks;         // tells on standard output what happens
    bool tls;           // real TLS in the place of plain.c
    bool has_threads;   // processes may have helper threads
    struct process *running;
    struct process **processes; // by number - 1
    uint32_t process_count;
    struct sys_context home;
    struct sys_stacks stacks; // of processes
    struct list memory;       // allocated while no process runs
};
extern struct sim sim;

// ---- world.c ----

void sim_begin(uint64_t seed);
// Frees all; all processes have ended or were killed.
void sim_end(void);

// Ends the run: something is not as promised. Says what and how to repeat it.
_Noreturn void sim_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
#define sim_check(condition_, ...)                                                                 \
    do {                                                                                           \
        if (!(condition_))                                                                         \
            sim_fail(__VA_ARGS__);                                                                 \
    } while (0)

// Something has happened: it goes into the hash and, if the run talks, to standard output.
void sim_note(const char *what, uint64_t a, uint64_t b, uint64_t c);

// Chance, from the seed of the world.
uint64_t sim_random(void);
uint64_t sim_below(uint64_t limit); // 0 to limit - 1; 0 for a limit of 0
bool sim_chance(unsigned per_mille);
uint64_t random_step(uint64_t *state); // of any source

// Has `run` called at a time, with what belongs to it.
void sim_at(ac_time when, void (*run)(uint64_t a, uint64_t b), uint64_t a, uint64_t b);
// Lets events happen until a time.
void sim_until(ac_time when);

struct process *process_start(uint32_t host, void (*run)(struct process *), void *of);
// As by SIGKILL: nothing of it runs any more; what it held is gone. With `power` its computer goes
// silent with it: nobody is told that its connections have ended.
void process_kill(struct process *process, bool power);
void process_freeze(struct process *process);
void process_continue(struct process *process);
static inline bool process_lives(const struct process *process) {
    return process->state <= PROCESS_FROZEN;
}
// Its time, and when that comes.
ac_time process_clock(const struct process *process);
ac_time process_clock_at(const struct process *process, ac_time when);
ac_time process_when(const struct process *process, ac_time clock);
// It has something to do then.
void process_wake(struct process *process, ac_time when);
// It waits until it is woken. For the process itself, on whatever of its stacks.
void process_wait(struct process *process);
// It has come to one operation more; does not return if it dies of that.
void process_counts(struct process *process);

// ---- driver.c ----

// From now on pollers are simulated.
void driver_begin(void);
// Something may have happened to the socket: its operations are tried again.
void driver_kick(struct socket *socket, bool reader, bool writer);
// The pollers of a process are gone with its memory.
void driver_forget(struct process *process);

// ---- net.c ----

struct socket {
    int fd; // its place in the table
    uint64_t generation;
    enum {
        SOCKET_LISTENER,
        SOCKET_STREAM,
        SOCKET_DATAGRAMS,
        SOCKET_WATCH, // of the end of a process
        SOCKET_WORD,  // memory that outlives processes
        SOCKET_COPY   // of another, of the same process, to write with
    } sort;
    struct process *process; // NULL: in the queue of a listener, whose process will have it
    uint32_t host;
    struct sys_handle *handle; // where operations wait; NULL: none has
    struct sys_address local, remote;
    // of a stream
    struct socket *peer; // NULL: closed, or not connected yet
    uint32_t peer_host;
    struct list in; // struct segment: what comes, in order
    size_t queued;  // bytes of that
    size_t capacity;
    ac_time last_arrival; // of what is in `in`
    ac_time end_at;       // when the end of the stream comes; AC_FOREVER: not yet
    bool end_stalled;     // it cannot come before the partition is healed
    ac_time reset_at;     // when it learns that the connection is gone
    int reset_error;
    bool reset_stalled;
    bool purges;     // what was not read is gone with the connection
    bool dead;       // cut: what is written goes nowhere
    bool connecting; // a connect waits for its answer
    bool connected;
    int connect_result; // when neither
    unsigned tries;
    bool shut;
    bool asks_nobody; // something was written after the other side had closed
    // of a listener
    struct list accepts; // struct socket.queue
    struct list queue;   // of a stream: in a listener's `accepts`; of others: net.c's list of them
    ac_time ready_at;
    uint32_t accept_count;
    // of datagrams
    struct list datagrams; // struct datagram
    uint32_t datagram_count;
    bool pipe;        // a stream that is an end of a pipe
    uint32_t watched; // of a watch: number of the process
    uint64_t *words;  // of memory: it stays until the end of the run
    int original;     // of a copy
    uint64_t original_generation;
};

void net_begin(void);
void net_end(void);
int net_open_socket(struct process *process, const struct sys_open *how);
struct socket *net_socket(int fd);
void net_close(int fd);
// Carries an operation out if it need not wait.
bool net_attempt(struct sys_op *op, struct socket *socket);
int net_shut(struct socket *socket);
// A pipe: reads from ends[0] what is written to ends[1]. Nothing of the network befalls it.
void net_pipe(struct process *process, int ends[2]);
// What lies in a pipe, without waiting: how many bytes.
size_t net_pipe_take(int fd, void *to, size_t count);
void net_pipe_put(int fd, const void *from, size_t count);
// Another process has that end of a pipe now, under a number of its own, which is returned; under
// the old one nothing is left but what is to be closed.
int net_pipe_give(int fd, struct process *to);
// SYS_WATCH finishes when the process has ended.
int net_watch(struct process *by, uint32_t number);
enum { NET_WORDS = 4 };
// Memory of so many words.
int net_words(struct process *process);
// A copy of an end of a pipe.
int net_pipe_copy(int fd);
// A process has ended: those who watch it learn that.
void net_process_ended(const struct process *process);
// The kernel closes what a process had open.
void net_process_gone(struct process *process, bool power);
struct sys_address net_host_address(uint32_t host);
// Nothing answers there any more; its power is back.
void net_host_down(uint32_t host);
void net_host_up(uint32_t host);
// Faults.
void net_block(uint32_t from, uint32_t to, bool blocked);
bool net_is_blocked(uint32_t from, uint32_t to);
void net_heal_all(void);
// Cuts some of the connections that there are, about so many of a thousand. One end at least learns
// of it within two seconds; if `silent`, maybe none for a minute.
void net_cut(unsigned per_mille, bool silent);
void net_set_loss(unsigned per_mille); // of datagrams and of first attempts to connect
void net_set_delay(ac_time delay, ac_time jitter);
void net_set_more_delay(uint32_t a, uint32_t b, ac_time delay); // between two computers
// Not a fault, but how large worlds are: computers 1 to `hosts` stand in a ring, and datagrams
// reach those alone that are at most `range` apart, as if each had other neighbours on its
// networks. Other computers hear all, and are heard.
void net_set_range(uint32_t hosts, uint32_t range);
bool net_hears(uint32_t a, uint32_t b);
uint32_t net_sockets_open(void);

// ---- threads.c ----

// The thread that runs waits for so long; what is no thread goes on at once.
void thread_rest(ac_time ns);
// The threads of a process that was frozen go on; those of one that is gone are, too.
void threads_continue(struct process *process);
void threads_forget(struct process *process);
void threads_end(void);

// ---- disk.c ----

enum { DISK_FD = 1 << 20 }; // the first descriptor of a file: those below are net.c's

int disk_read(int fd, uint64_t offset, void *to, size_t count);
int disk_write(int fd, uint64_t offset, const void *from, size_t count);
int disk_copy(int fd);
void disk_close(int fd);
uint32_t disk_open_count(const struct process *process);
// A process is gone; with the power, what was not synced may be lost.
void disk_forget(const struct process *process, bool power);
void disk_end(void);

// ---- wrap.c ----

// Frees what a process has allocated.
void wrap_forget(struct list *memory);
// Tells what there is of it, and who has allocated it.
void wrap_list(const struct list *memory);
// Digests that it has made.
void wrap_forget_digests(const struct process *process);
// What its loops have mapped.
void wrap_forget_loops(struct process *process);

#endif
