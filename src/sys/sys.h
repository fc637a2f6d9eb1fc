// SPDX-License-Identifier: MIT
// The face of sys/: THE CONTRACT with the operating system. Nothing above includes a header of the
// system.
//
//   poller.c    the poller: operations that finish later; which one there is
//   epoll.c     the poller over edge-triggered epoll; uring.c over io_uring
//   address.c   addresses as bytes and text
//   net.c       sockets and their options; the network interfaces; names
//   clock.c     time and randomness
//   stack.c     stacks from slabs with guards; overflow.c names the one that overflowed
//   table.c     memory that grows and never moves
//   switch_*.S  the context switch
//   thread.c    threads, mutexes, conditions
//   process.c   starting, watching and ending processes
//   sandbox.h   confining them, and all that they start
//   file.c      small blocking calls on files, for start-up and helper threads
//   beneath.c   the same for files beneath a folder, out of which nothing leads
//   program.c   the same for executables and what is sent as one
//   signal.c    the signals that ask a program to end; the bell that SIGQUIT rings
//
// Completion. An operation (accept, connect, read, write, ...) is started and finishes later:
// sys_start returns true if it finished at once, and otherwise its `finished` is called once, from
// inside a later sys_poll. From the start until it has finished, the operation, its handle and its
// memory belong to the poller. sys_cancel asks for an early finish; the operation then still
// finishes, with -ECANCELED or with the result that was quicker: bytes that were read are never
// lost. epoll (try at once, then wait for readiness), io_uring and the simulator (an operation
// finishes when a seeded network says so) all fit below this contract: a driver is a table.
//
// A poller belongs to one loop. All its calls are made by the thread that drives this loop, but for
// sys_wake.
#ifndef SYS_SYS_H
#define SYS_SYS_H

#include "base/base.h"

// Which sanitizers watch: gcc before 14 tells by __SANITIZE_*, clang by __has_feature.
#if defined(__SANITIZE_ADDRESS__)
#define SYS_ASAN 1
#elif defined(__SANITIZE_THREAD__)
#define SYS_TSAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SYS_ASAN 1
#elif __has_feature(thread_sanitizer)
#define SYS_TSAN 1
#endif
#endif
#if defined(SYS_ASAN) || defined(SYS_TSAN)
#define SYS_SANITIZED 1
#endif

// ---- context switch (switch_x86_64.S, switch_aarch64.S) ----

struct sys_context {
    void *sp;      // where its registers lie on its stack; NULL: it has no stack yet
    int result;    // what sys_switch returns in this context when it goes on: set by its waker
    uint32_t mark; // whatever its owner likes
#ifdef SYS_ASAN
    void *fake_stack;
    const void *bottom; // of the stack
    size_t bytes;
#endif
#ifdef SYS_TSAN
    void *fiber;
#endif
};

// ---- tables (table.c) ----

// Memory that grows and never moves: address space for all of it is taken at the beginning. What is
// far from the beginning is asked for in huge pages, if the system has them to give: a page of
// 4 KiB costs 2 us when it is first touched, and one of 2 MiB not many times that.
struct sys_table {
    void *at;
    size_t bytes;     // that can be used, all zero at first
    size_t bytes_max; // address space
    void *raw;        // private: where that begins
};

// A table with nothing in it. If address space is limited (RLIMIT_AS) it is smaller, by half and by
// half again down to bytes_min: a sixteenth of the limit at the most. 0 or -ENOMEM.
int sys_table_init(struct sys_table *table, size_t bytes_max, size_t bytes_min);
// At least so many bytes, at most bytes_max, can be used afterwards. 0 or -ENOMEM.
int sys_table_grow(struct sys_table *table, size_t bytes);
void sys_table_done(struct sys_table *table);

// ---- stacks (stack.c) ----

// Every stack has one of these sizes, and a guard page besides, but for the small ones.
enum { SYS_STACK_CLASSES = 6 }; // 2, 16, 64, 256 KiB, 1, 8 MiB
// Of those without a guard page, which only who asks for 2 KiB gets.
enum { SYS_STACK_SMALL = 0 };
// The class of stacks whose size nobody asked for: 64 KiB.
#ifdef SYS_SANITIZED
enum { SYS_STACK_DEFAULT = 3 }; // frames of sanitized code are several times larger
#else
enum { SYS_STACK_DEFAULT = 2 };
#endif

struct sys_slab; // private: 64 MiB of address space, aligned to its size, cut into stacks of one
                 // size

struct sys_stacks {
    void *free[SYS_STACK_CLASSES]; // tops of stacks to use again, the latest given back first
    struct sys_slab *slabs;        // the latest first
    struct sys_slab *latest[SYS_STACK_CLASSES]; // of each class: the one that may have room
    uint8_t checks; // enum sys_stack_check: what to ask when a stack is left
};

enum sys_stack_check {
    SYS_STACK_CANARIES = 1, // some stack has a canary in place of a guard page: sys_stack_intact
    SYS_STACK_MEASURED = 2  // the owner of the pool wants to know how much was used
};

// How overflow of a stack is noticed on this machine.
enum sys_guard {
    SYS_GUARD_MARKER,   // MADV_GUARD_INSTALL (Linux 6.13): a fault; costs no memory mapping
    SYS_GUARD_MPROTECT, // a fault; costs mappings, so only a quarter of vm.max_map_count
    SYS_GUARD_CANARY    // a word at the low end, checked by sys_stack_intact
};

void sys_stacks_init(struct sys_stacks *stacks);
// Unmaps all. No stack may be in use.
void sys_stacks_done(struct sys_stacks *stacks);
// The class of the smallest size that holds `bytes`; -EINVAL over the largest. 0 bytes: the
// default, 64 KiB.
int sys_stack_class(size_t bytes);
size_t sys_stack_bytes(int class);
// For sys_stack_take alone: a stack that was never used.
void *sys_stack_cut(struct sys_stacks *stacks, int class);
// A stack: its top (the highest usable address, 16-byte aligned; the word there is the stack's
// own). NULL if there is no memory.
static inline void *sys_stack_take(struct sys_stacks *stacks, int class) {
    void **top = stacks->free[class];
    if (unlikely(top == NULL))
        return sys_stack_cut(stacks, class);
    stacks->free[class] = *top;
    return top;
}
// Names the owner, for sys_overflow_watch.
static inline void sys_stack_own(void *top, const void *owner) { *(const void **)top = owner; }
#ifdef SYS_SANITIZED
// Frames that never returned have left red zones behind.
void sys_stack_clean(void *top, int class);
#else
static inline void sys_stack_clean(void *top, int class) { (void)top, (void)class; }
#endif
// The latest given back is the first taken again. Never gives memory back to the system.
static inline void sys_stack_give(struct sys_stacks *stacks, int class, void *top) {
    sys_stack_clean(top, class);
    *(void **)top = stacks->free[class];
    stacks->free[class] = top;
}
// False if the canary of a stack without a guard page was overwritten.
bool sys_stack_intact(const void *top, int class);
// Gives the memory below the frame of the caller, who runs on that stack, back to the system.
void sys_stack_trim(const void *top, int class);
// Measuring. Paints a stack from its guard up to `to`, where it is used: what has memory, that is.
// One's own stack is painted up to the frame of this call at the most.
void sys_stack_paint(void *top, int class, const void *to);
// The same for all that lie in the pool.
void sys_stacks_paint_free(struct sys_stacks *stacks);
// How many bytes of a stack that was painted before, or never used, have been used, counted from
// its top. What was used for the first time and filled with zeros only may be missed, up to a page.
size_t sys_stack_used(const void *top, int class);
// How many stacks were cut, and their address space.
void sys_stacks_count(const struct sys_stacks *stacks, uint64_t *count, uint64_t *bytes);
// How stacks that were cut last are guarded.
enum sys_guard sys_stack_guard(void);

// Installs the handler for stack overflows in this process (once) and an alternative signal stack
// for this thread. `describe` writes "coroutine 'name' ..." for an owner given to sys_stack_take;
// it runs in a signal handler.
int sys_overflow_watch(size_t (*describe)(const void *owner, char *text, size_t bytes));
// The canary of a stack is gone: names its owner on standard error and ends the process (SIGABRT).
_Noreturn void sys_stack_overflowed(const void *owner);
// Gives the thread's alternative signal stack back.
void sys_overflow_unwatch(void);

// Lays out a new context: the first switch to it calls entry(argument), which never returns.
void sys_context_prepare(struct sys_context *context, void *top, int class, void (*entry)(void *),
                         void *argument);

// Parks the running context in `from`, goes on with `to`, and when back returns from->result.
int sys_context_switch(struct sys_context *from, struct sys_context *to);
// The same for who always parks at one place: the processor guesses more easily where a jump of its
// own leads (a quarter of the time of a short coroutine), and a register says as who it goes on.
struct sys_turn {
    uint64_t result;        // its lower half is that of the other function
    struct sys_context *as; // `to` of the one who switched here: `from`, or what took it over
};
struct sys_turn sys_context_switch_apart(struct sys_context *from, struct sys_context *to);

#ifdef SYS_SANITIZED
// The same, telling the sanitizers.
int sys_switch(struct sys_context *from, struct sys_context *to);
struct sys_turn sys_switch_apart(struct sys_context *from, struct sys_context *to);
// First thing on a new stack.
void sys_entered(void);
// A context that begins in a call on a stack that is in use already.
void sys_context_inherit(struct sys_context *context, void *top, int class);
// `to` goes on where `from` was parked.
static inline void sys_context_take_over(struct sys_context *to, const struct sys_context *from) {
    *to = *from;
}
// The context of a thread's own stack: learns its bounds.
void sys_context_of_thread(struct sys_context *context);
// A context that is parked and never goes on.
void sys_context_done(struct sys_context *context);
#else
static inline int sys_switch(struct sys_context *from, struct sys_context *to) {
    return sys_context_switch(from, to);
}
static inline struct sys_turn sys_switch_apart(struct sys_context *from, struct sys_context *to) {
    return sys_context_switch_apart(from, to);
}
static inline void sys_entered(void) {}
static inline void sys_context_inherit(struct sys_context *context, void *top, int class) {
    (void)context, (void)top, (void)class;
}
static inline void sys_context_take_over(struct sys_context *to, const struct sys_context *from) {
    to->sp = from->sp;
}
static inline void sys_context_of_thread(struct sys_context *context) { (void)context; }
static inline void sys_context_done(struct sys_context *context) { (void)context; }
#endif

// ---- addresses (address.c) ----

enum { SYS_UNIX = 1 }; // the family whose addresses are names

struct sys_address {
    uint8_t family; // 4, 6, SYS_UNIX (the name stands in a struct sys_unix beside it) or 0 for none
    uint8_t unused;
    uint16_t port;  // in host order
    uint32_t scope; // of an IPv6 link-local address: the interface
    uint8_t ip[16]; // network order; an IPv4 address in the first four
};

// The name of a Unix socket: apart from the address, which lies in many tables that never hold one.
struct sys_unix {
    uint8_t bytes;  // of its text; 0: it has no name
    char text[108]; // a path, without a closing NUL; or a NUL and a name that is in no folder
};

enum { SYS_ADDRESS_TEXT_BYTES = 64, SYS_UNIX_TEXT_BYTES = 128 };

// "127.0.0.1:80", "[::1]:80", "[fe80::1%eth0]:80". False if the text is not a numeric address with
// a port.
bool sys_address_parse(const char *text, struct sys_address *address);
void sys_address_text(const struct sys_address *address, char text[SYS_ADDRESS_TEXT_BYTES]);
bool sys_address_equal(const struct sys_address *a, const struct sys_address *b);
bool sys_address_is_loopback(const struct sys_address *address);

// All addresses that begin with the same bits.
struct sys_network {
    struct sys_address address; // port and scope 0, and all bits behind the first ones
    unsigned bits;
};
// "192.168.7.0/24", "fd00::/8", or one address. False if it is none, or has bits behind those.
bool sys_network_parse(const char *text, struct sys_network *network);
bool sys_network_holds(const struct sys_network *network, const struct sys_address *address);
// An interface by its name or number; 0 if there is none of that name.
uint32_t sys_interface_index(const char *text);
// "unix:/run/it", "unix:@it"; "unix:@" is no name, for which the system chooses one when a socket
// is bound to it. 0; -EINVAL for any other text; -ENAMETOOLONG.
int sys_unix_parse(const char *text, struct sys_unix *name);
// "unix:" for no name. A NUL inside is shown as "@".
void sys_unix_text(const struct sys_unix *name, char text[SYS_UNIX_TEXT_BYTES]);

// ---- names and interfaces (net.c) ----

// Looks a name up and BLOCKS: for helper threads. Returns how many addresses were stored, or
// -ENOENT, -EAGAIN, -ENOMEM.
int sys_lookup(const char *host, const char *service, struct sys_address *found, size_t found_max);

struct sys_interface {
    unsigned index;
    bool is_loopback;
    struct sys_address address;   // IPv4 or IPv6, port 0
    struct sys_address broadcast; // of an IPv4 interface that can; 127.255.255.255 on loopback
    char name[16];
};
// The addresses of the interfaces that are up. Returns how many were stored, or a negative error.
int sys_interfaces(struct sys_interface *found, size_t found_max);
// This computer's name, cut to `bytes`.
void sys_host_name(char *name, size_t bytes);

// ---- poller ----

struct sys;

// What can be read or written: embedded in the object of its owner, who leaves it alone between
// open and close.
struct sys_handle {
    struct sys *sys;       // the poller; NULL: not open
    int fd;                // of the system, or of the simulator
    uint8_t readable;      // an attempt to read may succeed
    uint8_t writable;      // an attempt to write may succeed
    uint8_t hung_up;       // the other side has closed: reading never waits again
    uint8_t registered;    // the poller watches it
    uint8_t shared;        // its mode may not be changed: wait for readiness before each attempt
    uint8_t always_ready;  // a regular file
    uint8_t socket;        // known to be a socket
    uint8_t no_socket;     // found not to be one: it is read by another call
    struct sys_op *reader; // the operation that waits to read or accept
    struct sys_op *writer; // the operation that waits to write or connect
};

enum sys_verb {
    SYS_ACCEPT,  // result: a descriptor for sys_adopt_accepted; address: of the other side
    SYS_CONNECT, // address: where to; result 0
    SYS_READ,    // result: bytes, 0 at the end of the stream
    SYS_WRITE,   // result: bytes, maybe fewer than asked
    SYS_RECEIVE, // a datagram; result: its bytes, also those for which `count` left no room;
                 // address: from where
    SYS_SEND,    // a datagram; address: where to, or of family 0 where the socket is connected to;
                 // `interface` != 0: through that interface
    SYS_SEND_FILE, // bytes of a regular file are written; result: how many, 0 where the file has
                   // ended; -EINVAL if the system cannot do it from there to here
    SYS_WATCH      // result 0 as soon as the descriptor can be read: process handles and the like
};

// A part of what is written; laid out as the system's struct iovec.
struct sys_part {
    const void *bytes;
    size_t count; // not 0
};

enum { SYS_PARTS_MAX = 1024 }; // of one operation

struct sys_op {
    enum sys_verb verb;
    bool eager; // the caller is not going to wait: try, also if nothing was heard of the handle
                // since the last attempt
    unsigned interface;
    struct sys_handle *handle;
    void *bytes; // of SYS_WRITE and SYS_SEND they are only read
    size_t count;
    const struct sys_part *parts; // of SYS_WRITE: written one after the other, in place of `bytes`;
                                  // NULL: there are none
    size_t parts_count;
    int file;        // of SYS_SEND_FILE: the descriptor of the file, and where `count` bytes of it
    uint64_t offset; // begin
    struct sys_address address;
    struct sys_unix *name; // of Unix sockets: where to; or room for where from, may be NULL
    int64_t result;        // 0 or more, or a negative errno value
    // Called once, inside sys_poll or sys_feed, when it has finished and had not at once. May
    // start no operation and free nothing: it notes the result and makes its waiter ready.
    void (*finished)(struct sys_op *op);
    void *owner; // for `finished`
    // Of the driver.
    struct list link;
    uint8_t stage;
    bool cancelled; // sys_cancel has been called
};

enum sys_transport {
    SYS_STREAM,
    SYS_DATAGRAMS,
    SYS_INTERFACES // nothing but read: something comes whenever an interface or its addresses
                   // change
};

// Which file a Unix socket is bound to: no other has the same as long as the socket is open.
struct sys_socket_file {
    uint64_t device;
    uint64_t number; // 0: none
};

// How to open a socket. Zero is the default of each.
struct sys_open {
    enum sys_transport transport;
    const struct sys_address *bind; // NULL: not bound
    const struct sys_unix *name;    // to bind to, if the family of `bind` is SYS_UNIX
    uint8_t family;                 // 4, 6 or SYS_UNIX, when there is nothing to bind to
    bool listen;
    uint32_t backlog; // connections that wait to be accepted; 0: the most that the system allows
    bool share_port;  // several programs may bind it and each gets every broadcast
    bool spread_port; // several sockets of one user may bind it; connections, and datagrams for
                      // one, are spread over them
    bool ipv6_only;   // a socket of IPv6 takes no IPv4
    bool broadcast;
    bool no_loopback; // what it sends to a group comes to nobody on this computer
    bool delay;       // small writes may wait for others (Nagle)
    bool replace;     // a Unix socket's file with nobody behind it is removed first
    uint8_t hops;     // how many routers a datagram may pass
    uint32_t keep_alive_s;
    uint32_t send_buffer_bytes; // the system makes of these what it likes
    uint32_t receive_buffer_bytes;
    uint32_t mode;                // rights of a Unix socket's file; 0: as the process makes files
    unsigned interface;           // through which datagrams to groups leave; 0: the system chooses
    struct sys_socket_file *file; // where to note the file of a Unix socket; NULL: nowhere
};

// A poller's table. Each function is called by the thread that drives the loop, unless said
// otherwise.
struct sys_driver {
    const char *name;
    // Makes a poller; NULL and *err (negative) if it cannot. One thread drives it, the first that
    // polls; others may only make, wake and nest it.
    struct sys *(*create)(int *err);
    // Makes pollers that several threads drive, one after the other. NULL: this table does.
    const struct sys_driver *in_turn;
    // All handles are closed by now.
    void (*destroy)(struct sys *sys);
    ac_time (*now)(struct sys *sys);
    uint64_t (*random)(struct sys *sys); // 64 bits that nobody can guess (but for the simulator's)
    int (*open)(struct sys *sys, struct sys_handle *handle, const struct sys_open *how);
    void (*adopt)(struct sys *sys, struct sys_handle *handle, int fd, bool shared);
    void (*close)(struct sys_handle *handle);
    bool (*attempt)(struct sys_op *op);
    bool (*start)(struct sys_op *op);
    bool (*cancel)(struct sys_op *op);
    int (*poll)(struct sys *sys, ac_time deadline);
    void (*wake)(struct sys *sys); // from any thread
    int (*nest)(struct sys *outer, struct sys *inner);
    bool (*feed)(struct sys *outer); // NULL: false, always
    int (*local)(struct sys_handle *handle, struct sys_address *address, struct sys_unix *name);
    int (*remote)(struct sys_handle *handle, struct sys_address *address, struct sys_unix *name);
    int (*group)(struct sys_handle *handle, const struct sys_address *group, unsigned interface,
                 bool member);
    int (*shut)(struct sys_handle *handle);
};

struct sys {
    const struct sys_driver *driver;
    bool inner_due; // set by sys_poll: the nested poller has something to do
    // Set by sys_start, sys_poll and sys_feed: the next sys_poll has to tell the system of more or
    // to look for more. Until then a nested poller may not notice what happens.
    bool queued;
};

extern const struct sys_driver sys_epoll; // works everywhere
extern const struct sys_driver sys_uring; // if liburing was there when the library was built
// Makes pollers as the environment asks for: AC_POLLER=epoll or uring. Where io_uring is not to be
// had and for any other word they are epoll's, and the trace says why. Has no other functions.
extern const struct sys_driver sys_chosen;
// From now on sys_chosen makes pollers of this driver; NULL ends that. For who puts another world
// in the place of the system: before there is any loop.
void sys_choose(const struct sys_driver *driver);

// A new poller.
static inline struct sys *sys_create(const struct sys_driver *driver, int *err) {
    return driver->create(err);
}
static inline void sys_destroy(struct sys *sys) { sys->driver->destroy(sys); }

// The present moment of this poller's clock.
static inline ac_time sys_now(struct sys *sys) { return sys->driver->now(sys); }
static inline uint64_t sys_random(struct sys *sys) { return sys->driver->random(sys); }

// Opens a socket into `handle`. Does not wait. 0 or a negative error.
static inline int sys_open(struct sys *sys, struct sys_handle *handle, const struct sys_open *how) {
    return sys->driver->open(sys, handle, how);
}
// Takes over an open descriptor. `shared`: other programs use it too, so that it must stay in its
// mode.
static inline void sys_adopt(struct sys *sys, struct sys_handle *handle, int fd, bool shared) {
    sys->driver->adopt(sys, handle, fd, shared);
}
// The same for what SYS_ACCEPT has given, and nobody else has touched.
static inline void sys_adopt_accepted(struct sys *sys, struct sys_handle *handle, int fd) {
    *handle = (struct sys_handle){.sys = sys, .fd = fd};
}
// Closes the handle. No operation may be pending on it.
static inline void sys_close(struct sys_handle *handle) { handle->sys->driver->close(handle); }

// Starts an operation. At most one that reads and one that writes at a time on a handle; the caller
// sees to it. True if it has finished: then op->result is set and `finished` is not called.
static inline bool sys_start(struct sys_op *op) { return op->handle->sys->driver->start(op); }
// Carries an operation out if it need not wait: true, and op->result is set. False: nothing has
// happened. While none of its side is pending.
static inline bool sys_attempt(struct sys_op *op) { return op->handle->sys->driver->attempt(op); }
// Asks a pending operation to finish early. True if it has finished now: op->result is -ECANCELED,
// and `finished` is not called. False: `finished` follows, with whatever result was quicker.
static inline bool sys_cancel(struct sys_op *op) { return op->handle->sys->driver->cancel(op); }

// Lets operations finish; waits until one does, sys_wake is called, the nested poller is due or the
// deadline is over (AC_NOW: does not wait). 0 or a negative error.
static inline int sys_poll(struct sys *sys, ac_time deadline) {
    return sys->driver->poll(sys, deadline);
}
// Makes the present or the next sys_poll return. From any thread.
static inline void sys_wake(struct sys *sys) { sys->driver->wake(sys); }
// sys_poll of `outer` also returns, with inner_due set, when `inner`, a poller of any driver's
// `in_turn` on which nothing was started yet, has got something to do. NULL ends this.
int sys_nest(struct sys *outer, struct sys *inner);
// Lets operations of the nested poller finish that the last sys_poll of `outer` found ready. False:
// sys_poll of it has to look for more. While nobody else touches it.
bool sys_feed(struct sys *outer);

// Addresses of a connection or of a bound socket; `name` is for that of a Unix socket, and may be
// NULL. 0 or a negative error.
int sys_local(struct sys_handle *handle, struct sys_address *address, struct sys_unix *name);
int sys_remote(struct sys_handle *handle, struct sys_address *address, struct sys_unix *name);
// Makes a socket for datagrams a member of a multicast group on an interface (0: the one that the
// system chooses), or no longer. 0 or a negative error.
static inline int sys_group(struct sys_handle *handle, const struct sys_address *group,
                            unsigned interface, bool member) {
    return handle->sys->driver->group(handle, group, interface, member);
}
// Ends the writing half of a connection.
static inline int sys_shut(struct sys_handle *handle) { return handle->sys->driver->shut(handle); }

// ---- sockets without a poller (net.c) ----

// Removes the file of that name, if it is still that one.
void sys_socket_file_remove(const struct sys_unix *name, struct sys_socket_file file);

// Who made the other end of a Unix connection, when it was made.
struct sys_credentials {
    int process;
    uint32_t user, group;
};
// 0; -ENOTSUP if it is no connection of Unix sockets; or the system's error.
int sys_fd_credentials(int fd, struct sys_credentials *credentials);
// Whether bytes can be read from or written to it as from a stream: 0; -EBADF if it is not open;
// -EINVAL for folders, and sockets that listen or are for datagrams.
int sys_fd_is_stream(int fd);
// Whether connections can be accepted from it: 0; -EBADF if it is not open; else -EINVAL.
int sys_fd_is_listener(int fd);
// The sizes of its buffers, 0 leaving one as it is. 0 or the system's error.
int sys_fd_set_buffers(int fd, uint32_t send_bytes, uint32_t receive_bytes);

// ---- clock and randomness without a poller (clock.c) ----

ac_time sys_clock(void);
// Nanoseconds since 1970, UTC, as files have them.
int64_t sys_wall_now(void);
// The minute of the week here and now, by the local time: 0 is Monday, 0:00.
int sys_wall_minute(void);
// Unguessable bytes. 0 or a negative error.
int sys_random_bytes(void *to, size_t bytes);

// ---- threads (thread.c) ----

struct sys_thread;
struct sys_mutex;

// Starts a thread with all signals but faults blocked. 0 or -EAGAIN, -ENOMEM.
int sys_thread_start(struct sys_thread **thread, void (*run)(void *), void *argument,
                     size_t stack_bytes, const char *name);
// Waits for its end and frees it. Blocks.
void sys_thread_join(struct sys_thread *thread);
// Lets a thread whose `run` has begun go its own way: it ends alone, and nothing is to be freed
// after it.
void sys_thread_detach(struct sys_thread *thread);

struct sys_mutex *sys_mutex_create(void); // NULL if there is no memory
void sys_mutex_destroy(struct sys_mutex *mutex);
void sys_mutex_lock(struct sys_mutex *mutex);
void sys_mutex_unlock(struct sys_mutex *mutex);

// Locks of the process, for what belongs to no loop. Whoever holds one may take those that follow.
enum sys_process_lock {
    SYS_LOCK_BACKGROUND, // starting and ending the background
    SYS_LOCK_WATCHDOG,   // starting and ending the watchdog's thread
    SYS_LOCK_LOOPS,      // the list of all loops
    SYS_LOCK_SIGNALS,    // opening and closing catchers of signals
    SYS_PROCESS_LOCKS    // one above the last
};
void sys_process_lock(enum sys_process_lock which);
void sys_process_unlock(enum sys_process_lock which);

// Whether sys_barrier works here. Asks the system for it once.
bool sys_barrier_offered(void);
// A full memory barrier in every thread of the process that is running (membarrier(2)).
void sys_barrier(void);
// The same for the calling thread alone. ThreadSanitizer knows no fences, and refuses them; its
// builds, which are for tests, do without.
static inline void sys_fence(void) {
#ifndef SYS_TSAN
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}
// What a thread does between two looks at memory that another one writes.
static inline void sys_pause(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

struct sys_condition;
struct sys_condition *sys_condition_create(void); // NULL if there is no memory
void sys_condition_destroy(struct sys_condition *condition);
// Waits with the mutex held until signalled or the deadline. False when time was up.
bool sys_condition_wait(struct sys_condition *condition, struct sys_mutex *mutex, ac_time deadline);
// Ends the wait of one thread, or of all.
void sys_condition_signal(struct sys_condition *condition);
void sys_condition_signal_all(struct sys_condition *condition);

// ---- processes (process.c) ----

struct sys_process {
    int id;     // as the system and people name it
    int handle; // becomes readable when the process has ended; closed by sys_process_reap
};

struct sys_process_options {
    const char *path;         // the executable; NULL: `executable` is an open descriptor of it
    int executable;           // used when path is NULL
    char *const *arguments;   // NULL-terminated; [0] is the name
    char *const *environment; // NULL-terminated; NULL: this process's own
    const char *folder;       // to start in; NULL: this process's own
    int input;                // descriptors for standard input, output, error; -1: /dev/null
    int output;
    int error;
    int extra;          // a descriptor that becomes number 3; -1: none
    int more;           // besides, one that becomes number 4; 0: none
    bool dies_with_us;  // gets SIGKILL when this process ends; start it from the main thread then
    bool own_session;   // leads a session of its own, so that all its children can be ended with it
    bool no_new_rights; // cannot gain rights by running set-user-id programs; makes no core files
    bool keeps_ignored; // the signals that are ignored here are there too, as with nohup
};

enum { SYS_SIGNAL_KILL = 9, SYS_SIGNAL_TERMINATE = 15 }; // the numbers of two signals

// How a process ended.
struct sys_process_end {
    bool by_signal;
    int code; // exit code, or number of the signal
    int64_t user_ns;
    int64_t system_ns;
    uint64_t memory_bytes_max;
};

// Starts a process. 0 or a negative error, also when the executable cannot be run.
int sys_process_start(struct sys_process *process, const struct sys_process_options *how);
// Sends SIGTERM or, with `hard`, SIGKILL; with `whole_session` to all processes of its session.
// Does nothing once the process was reaped: its number may be somebody else's then, so what a
// session left behind is to be ended before that.
void sys_process_end(const struct sys_process *process, bool hard, bool whole_session);
// Sends a signal; with `whole_group` to all of the process group that it leads. 0; -ESRCH, also
// once it was reaped; -EINVAL, -EPERM.
int sys_process_signal(const struct sys_process *process, int number, bool whole_group);
// Kills a process, with `whole_group` as above, of which nobody wants to know any more, and sees to
// it that it is reaped: by a thread, if it has not ended at once.
void sys_process_abandon(struct sys_process *process, bool whole_group);
// Where a program lies that is sought as shells do, in the folders of `paths`, unless its name has
// a "/". 0; -ENOENT; -EACCES if what was found may not be run; -ENAMETOOLONG.
int sys_program_find(const char *name, const char *paths, char *found, size_t bytes);
// $PATH, or what takes its place.
const char *sys_program_paths(void);
// Takes the end of a process whose handle was readable. Does not wait: -EAGAIN if it still runs;
// -ECHILD if somebody else in this program has taken it.
int sys_process_reap(struct sys_process *process, struct sys_process_end *end);
// "killed by signal 11 (Segmentation fault)", "exit code 3".
void sys_process_end_text(const struct sys_process_end *end, char *text, size_t bytes);
// A pipe: reads from ends[0] what is written to ends[1]. Both are closed when a program is run. 0
// or an error.
int sys_pipe(int ends[2]);
void sys_fd_close(int fd);
// Another descriptor for what `fd` is open for, closed when a program is run. It or an error.
int sys_fd_copy(int fd);

// ---- files (file.c): small blocking calls ----

// Reads a whole file of at most `bytes_max`. 0; -EFBIG over that; or the system's error.
int sys_file_read(const char *path, struct buffer *into, size_t bytes_max);
// As sys_file_read for a file that must belong to this user and be readable by nobody else: -EACCES
// if not, nor for a link, but those below /proc, which are descriptors of processes.
int sys_file_read_secret(const char *path, struct buffer *into, size_t bytes_max);
// The same for a file of anybody's that its group, too, may read, but not everybody.
int sys_file_read_guarded(const char *path, struct buffer *into, size_t bytes_max);
// A file to which lines are added, by several programs maybe; made with mode 0600 if it is not
// there. A descriptor or an error.
int sys_file_open_log(const char *path);
// All the bytes, in one piece if the system can. 0 or its error.
int sys_file_add(int fd, const void *bytes, size_t count);
// Makes a new file, mode 0600, with all its bytes or not at all. -EEXIST if there is one.
int sys_file_create_secret(const char *path, const void *bytes, size_t count);
// The same in the place of one that may be there.
int sys_file_replace_secret(const char *path, const void *bytes, size_t count);
// Waits until nobody else holds this lock on the regular file that has the name then. A descriptor,
// with which the lock goes, or an error.
int sys_file_lock(const char *path);

// What tells one state of a file from another: equal as long as nobody has changed or replaced it.
struct sys_file_stamp {
    uint64_t device;
    uint64_t inode;
    uint64_t bytes;
    int64_t changed_ns; // content, or who may read it
};
// All zero if it is not there, or cannot be seen.
void sys_file_stamp(const char *path, struct sys_file_stamp *stamp);
void sys_fd_stamp(int fd, struct sys_file_stamp *stamp);
// Makes a folder, mode 0700, and those above it. 0 also if it is there.
int sys_folder_make(const char *path);
// Whether a folder belongs to this user and nobody else may write into it. 0; -EACCES if not; or
// the system's error.
int sys_folder_is_private(const char *path);
// $XDG_CONFIG_HOME/asyncoro or ~/.config/asyncoro. -ENOENT if neither variable is set; -EMSGSIZE.
int sys_folder_config(char *path, size_t bytes);
// $XDG_CACHE_HOME/asyncoro or ~/.cache/asyncoro, likewise.
int sys_folder_cache(char *path, size_t bytes);
// $TMPDIR if that is an absolute path, or /tmp.
const char *sys_folder_temporary(void);

// ---- files as users have them (file.c) ----

// How a file is opened.
enum {
    SYS_FILE_READ = 1,
    SYS_FILE_WRITE = 2,
    SYS_FILE_APPEND = 4, // each write goes to the end
    SYS_FILE_CREATE = 8, // if it is not there
    SYS_FILE_EMPTY = 16, // what it holds goes
    SYS_FILE_NEW = 32    // it must not be there
};

enum sys_file_sort {
    SYS_FILE_REGULAR,
    SYS_FILE_FOLDER,
    SYS_FILE_LINK,
    SYS_FILE_PIPE,
    SYS_FILE_ELSE
};

struct sys_file_facts {
    enum sys_file_sort sort; // a block device counts as regular
    unsigned permissions;    // as chmod has them
    uint64_t bytes;
    int64_t modified_ns; // since 1970
};

// Opens without waiting for the other side of a named pipe: to write to one that nobody reads gives
// -ENXIO. A descriptor, in non-blocking mode, and what it is; or an error: -EISDIR for a folder.
int sys_file_open_as(const char *path, unsigned how, unsigned permissions,
                     struct sys_file_facts *facts);
// What lies at a path; of a link, what it is itself, or what it leads to (`follow`).
int sys_file_look(const char *path, bool follow, struct sys_file_facts *facts);
// Reads or writes at a place of a file what goes at once, from memory: how many bytes; -EAGAIN if
// it would wait for the disk; -EOPNOTSUPP if kernel or file system do not offer this. Never blocks.
int64_t sys_file_try_read(int fd, uint64_t offset, void *to, size_t count);
int64_t sys_file_try_write(int fd, uint64_t offset, const void *from, size_t count);
// The same, blocking. How many bytes, 0 at the end of the file; or an error.
int64_t sys_file_read_some(int fd, uint64_t offset, void *to, size_t count);
int64_t sys_file_write_some(int fd, uint64_t offset, const void *from, size_t count);
// Makes it shorter, or longer with zeros. 0 or an error.
int sys_file_resize(int fd, uint64_t bytes);
// What was written is on the disk afterwards. 0 or an error.
int sys_file_sync(int fd);
// Where the system's own position stands, for other programs. 0 or an error.
int sys_file_seek(int fd, uint64_t offset);
// Removes a file or an empty folder.
int sys_file_remove_any(const char *path);
// As sys_folder_make, with other permissions, from which the umask takes.
int sys_folder_make_with(const char *path, unsigned permissions);
// Appends the names in a folder, each closed by a NUL, in no order. 0 or an error.
int sys_folder_list(const char *path, struct buffer *names);
// Whether reading and writing may make its user wait: for all who share it. 0 or an error.
int sys_fd_set_blocking(int fd, bool blocking);

// ---- what lies beneath a folder (beneath.c): small blocking calls, which nothing leads out ----

enum { SYS_PART_BYTES_MAX = 255 }; // of one part of a path

// A folder, through whatever leads to it. A descriptor or an error.
int sys_beneath_open(const char *path);
// Keeps a file or folder for this descriptor, until it is closed. 0; -EBUSY if another one has it;
// or an error.
int sys_beneath_lock(int fd);
// The folder that a path leads to, "a/b", or "" for the folder itself. What is missing is made if
// so wished. A descriptor; -ELOOP for a link on the way, -ENOTDIR for a file; or the system's
// error.
int sys_beneath_walk(int folder, const char *path, bool make);
// What a name in the folder is: a link is a link. 0 or an error.
int sys_beneath_look(int folder, const char *name, struct sys_file_facts *facts);
// Opens a regular file to read it. A descriptor; -ELOOP for a link; -EISDIR for a folder; -ENOTSUP
// for what is neither; or an error.
int sys_beneath_read(int folder, const char *name, struct sys_file_facts *facts);
// Opens a regular file to read and write it, and keeps it; made with mode 0600 if it is not there.
// A descriptor; -EBUSY if it is kept; -EACCES if it has another owner or another name; or an error.
int sys_beneath_write(int folder, const char *name, struct sys_file_facts *facts);
// What is open. 0 or an error.
int sys_beneath_facts(int fd, struct sys_file_facts *facts);
// Whether two descriptors are of the same file or folder.
bool sys_beneath_is_same(int a, int b);
// Sets the permissions of a file, of which only 0777 count. 0 or an error.
int sys_beneath_permit(int fd, unsigned permissions);
// Moves a file to another folder and name; what has that name is replaced, or it is -EEXIST. 0 or
// an error.
int sys_beneath_rename(int from, const char *name, int to, const char *as, bool replace);
// Gives the open file one more name, in the folder. 0; -EEXIST; or an error where it cannot be.
int sys_beneath_link(int fd, int folder, const char *name);
// Removes a file or link, or an empty folder. 0 or an error.
int sys_beneath_remove(int folder, const char *name, bool is_folder);
// Appends the names in the folder, each closed by a NUL, in no order. 0 or an error.
int sys_beneath_list(int folder, struct buffer *names);
// How many bytes lie beneath the folder, each file and folder counting so many at the least. 0 or
// an error.
int sys_beneath_count(int folder, uint64_t each_min, uint64_t *bytes);
// Removes all that lies beneath the folder, however deep, also what its owner has closed to
// himself. 0 or the first error, having removed what could be.
int sys_beneath_clear(int folder);
// Gives the folder and all beneath it to a user, while nobody else is at work there: folders and
// files that may be written become his; others, which may have names elsewhere, may be read and run
// by all. 0 or an error.
int sys_beneath_give(int folder, uint32_t user, uint32_t group);
// How many bytes its disk has left for this user; UINT64_MAX where it does not tell. 0 or an error.
int sys_beneath_free(int folder, uint64_t *bytes);

// ---- executables and what is sent as one (program.c): small blocking calls on descriptors ----

// This process's own executable, also when its file was replaced meanwhile. A descriptor or an
// error.
int sys_program_open(void);
// Appends the paths of the shared libraries that this process has loaded, each closed by a NUL. 0
// or an error.
int sys_program_libraries(struct buffer *paths);
// The variables of this process's environment, closed by a NULL.
char *const *sys_environment(void);
// The name under which the running program was started, without its folder.
const char *sys_program_name(void);
// A file for reading; one made now, mode 0700, to read and write. A descriptor or an error.
int sys_file_open(const char *path);
int sys_file_create(const char *path);
// A nameless file in memory; one that can be run a system may refuse. A descriptor or an error.
int sys_memory_create(const char *name, bool executable);
// The first bytes of such a file as memory, which whoever has it open sees change. NULL: that
// cannot be. It stays until the process ends.
void *sys_memory_map(int fd, size_t bytes);
// Fills an empty file with what another one holds, without a copy. 0, or an error: few disks can.
int sys_file_clone(int from, int to);
// The size of a regular file; -EINVAL for anything else.
int64_t sys_file_bytes(int fd);
// All `count` bytes at a place of a file. 0; -ENODATA where the file ends before; or the system's
// error.
int sys_file_read_at(int fd, uint64_t offset, void *to, size_t count);
int sys_file_write_at(int fd, uint64_t offset, const void *from, size_t count);
bool sys_file_exists(const char *path);
int sys_file_rename(const char *from, const char *to);
int sys_file_remove(const char *path);
// Holds a file, alone or with others who share it, until the descriptor is closed. 0; -EBUSY; or an
// error where the file system knows no locks.
int sys_file_hold(int fd, bool alone);
// Removes those of the regular files in a folder that were used longest ago, until the others have
// at most `bytes_max` bytes together; but none that is held. One with a "." in its name is
// incomplete: it goes in any case if it was written last before `stale_ns`. 0 or an error.
int sys_folder_prune(const char *path, uint64_t bytes_max, int64_t stale_ns);
// Says that a file was used now, for sys_folder_prune.
void sys_file_touch(int fd);
// What lies in a pipe, `count` bytes of it, without waiting. 0; -EINVAL if `fd` is no pipe;
// -ENODATA if less lies there.
int sys_pipe_take(int fd, void *to, size_t count);
// Makes a descriptor close when a program is run.
int sys_fd_keep(int fd);
// Writes all the bytes, waiting for whoever reads them. 0 or an error.
int sys_fd_write(int fd, const void *from, size_t count);
// The version of the C library: 2, 36. Zeros where it tells none.
void sys_libc_version(int *major, int *minor);
// Processors that this process may use, at least 1.
int sys_processors(void);

// ---- signals (signal.c) ----

// From now on SIGTERM, SIGINT and SIGHUP do not end this process but are read here: a descriptor
// that becomes readable, or an error. To be called by the main thread before it starts others.
int sys_signals_open(void);
// The number of the next signal; -EAGAIN if there is none.
int sys_signals_next(int fd);
// From now on this process, which leads a process group, ends with the process that started it, and
// takes its whole group along. Uses the signal SIGRTMAX. 0 or an error.
int sys_end_with_parent(void);

// Catchers: each has some signals, which do then nothing else, and is told of each that comes.
enum { SYS_CATCHERS_MAX = 64 };
// Opens one for signals, whose numbers a 0 closes. Its number, and in *bell_fd an eventfd that the
// handler rings and that the caller closes after the catcher; -EINVAL for no signal or one that
// cannot be caught so; -EAGAIN when there are too many catchers; or the system's error. From any
// thread, as the two that follow.
int sys_catcher_open(const int *signals, int *bell_fd);
// The lowest signal that has come and was not told of yet; 0 if there is none.
int sys_catcher_next(int catcher);
// Closes one. When it returns no handler will ring its bell any more. A signal without catchers
// does again what it did before, unless somebody else has changed that meanwhile.
void sys_catcher_close(int catcher);

// Rings the bell of the process: the thread that waits for it, or the next that does, goes on. From
// any thread, also in a signal handler.
void sys_bell_ring(void);
// Waits until the bell rings or has rung since the last wait. False when time was up.
bool sys_bell_wait(ac_time deadline);
// From now on SIGQUIT does not end this process but rings the bell; false: it does what it did
// before, unless somebody else has changed that meanwhile. 0 or an error.
int sys_quit_rings(bool on);
// Whether SIGQUIT has come since this was last asked.
bool sys_quit_came(void);

#include "sys/sandbox.h"

#endif
