// SPDX-License-Identifier: MIT
// The network between simulated computers, with IPv4 alone: connections as TCP has them, datagrams
// as UDP has them, and what befalls them.
//
// A connection is two sockets, each with what is on its way to it: segments in order, each with the
// moment from which it can be read. The sender may have `capacity` bytes on their way or unread;
// beyond that it waits, as for a full buffer. Reads and writes are now and then shorter than asked.
//
// A blocked direction (a partition, or half of one) loses what is in flight; the kernel sends it
// again once the direction is healed, so it is *stalled* until then. A cut connection is dead: what
// is written goes nowhere, and each side learns of it at a time of its own, one maybe not for a
// minute. When a process ends, its kernel ends its connections, as TCP does: with a reset where
// something was not read. When a computer loses its power, nobody says anything.
//
// Beside the network there is what processes of one computer share: pipes, which are streams that
// nothing befalls, watches of the end of a process, and words of memory.
#include "sim.h"

#include <stdlib.h>

enum {
    SOCKETS_MAX = 1 << 20,
    HOSTS_MAX = 512,
    BACKLOG = 128,
    DATAGRAMS_MAX = 128,
    SHORT_PER_MILLE = 100,   // reads and writes that are cut short
    PIPE_WHOLE_BYTES = 4096, // PIPE_BUF: so much is written as a whole
    EPHEMERAL = 32768
};

struct segment {
    struct list link;
    ac_time at; // AC_FOREVER: stalled
    size_t begin, count;
    uint8_t bytes[];
};

struct word {
    struct list link;
    uint64_t words[NET_WORDS];
};

struct datagram {
    struct list link;
    struct sys_address from;
    int to; // which socket, while it is on its way
    uint64_t generation;
    size_t count;
    uint8_t bytes[];
};

static struct {
    struct socket **sockets;
    int count;               // of places, taken or free
    int first_free;          // or before all that are
    struct list unconnected; // struct socket.queue: listeners and those of datagrams
    struct list words;
    uint64_t generation;
    uint8_t blocked[HOSTS_MAX][HOSTS_MAX];
    unsigned loss;
    ac_time delay, jitter;
    ac_time more[HOSTS_MAX][HOSTS_MAX]; // delay between two of them
    uint32_t hosts, range;              // see net_set_range; 0: everybody hears everybody
    uint16_t ephemeral[HOSTS_MAX];
    bool down[HOSTS_MAX]; // without power
    uint32_t open;
} net;

static size_t read_segments(struct socket *it, uint8_t *to, size_t count);
static void append(struct socket *to, const uint8_t *bytes, size_t count, uint32_t from);
static void connected(uint64_t fd, uint64_t generation);
static void try_connect(uint64_t fd, uint64_t generation);

void net_begin(void) {
    memset(&net, 0, sizeof net);
    list_init(&net.unconnected);
    list_init(&net.words);
    net.first_free = 3; // those below are of every process
    net.delay = SIM_MS / 10;
    net.jitter = SIM_MS / 10;
}

struct socket *net_socket(int fd) {
    assert(fd >= 0 && fd < net.count && net.sockets[fd]);
    return net.sockets[fd];
}

static struct socket *find(uint64_t fd, uint64_t generation) {
    struct socket *it = net.sockets[fd];
    return it && it->generation == generation ? it : NULL;
}

uint32_t net_sockets_open(void) { return net.open; }

struct sys_address net_host_address(uint32_t host) {
    return (struct sys_address){.family = 4,
                                .ip = {10, 0, (uint8_t)(host >> 8), (uint8_t)(host & 255)}};
}

static bool is_loopback(const struct sys_address *it) { return it->ip[0] == 127; }

// The computer that has an address, as seen from one.
static uint32_t host_of(const struct sys_address *it, uint32_t from) {
    return is_loopback(it) ? from : (uint32_t)it->ip[2] << 8 | it->ip[3];
}

// ---- time on the way ----

void net_set_loss(unsigned per_mille) { net.loss = per_mille; }

void net_set_delay(ac_time delay, ac_time jitter) {
    net.delay = delay;
    net.jitter = jitter;
}

void net_set_more_delay(uint32_t a, uint32_t b, ac_time delay) {
    net.more[a][b] = net.more[b][a] = delay;
}

void net_set_range(uint32_t hosts, uint32_t range) {
    net.hosts = hosts;
    net.range = range;
}

bool net_hears(uint32_t a, uint32_t b) {
    uint32_t apart = a < b ? b - a : a - b;
    if (net.range == 0 || a > net.hosts || b > net.hosts)
        return true;
    return (apart < net.hosts - apart ? apart : net.hosts - apart) <= net.range;
}

static ac_time present(void) { return sim.now + (sim.running ? sim.running->spent : 0); }

static ac_time delay(uint32_t from, uint32_t to) {
    if (from == to)
        return 5000 + (ac_time)sim_below(20000);
    return net.delay + net.more[from][to] + (ac_time)sim_below((uint64_t)net.jitter + 1);
}

bool net_is_blocked(uint32_t from, uint32_t to) { return net.blocked[from][to]; }

// ---- kicks ----

static void kick(uint64_t fd, uint64_t generation) {
    struct socket *it = find(fd, generation);
    if (it)
        driver_kick(it, true, true);
}

static void kick_at(struct socket *it, ac_time when) {
    sim_at(when, kick, (uint64_t)it->fd, it->generation);
}

// ---- sockets ----

static struct socket *socket_new(uint32_t host, struct process *process) {
    int fd = net.first_free;
    while (fd < net.count && net.sockets[fd])
        fd++;
    net.first_free = fd + 1;
    if (fd >= net.count) {
        net.sockets = realloc(net.sockets, (size_t)(net.count + 64) * sizeof(struct socket *));
        if (!net.sockets)
            abort();
        memset(net.sockets + net.count, 0, 64 * sizeof(struct socket *));
        net.count += 64;
    }
    struct socket *it = calloc(1, sizeof *it);
    if (!it)
        abort();
    it->fd = fd;
    it->generation = ++net.generation;
    it->host = host;
    it->process = process;
    if (process)
        process->sockets++;
    it->end_at = it->reset_at = AC_FOREVER;
    list_init(&it->in);
    list_init(&it->accepts);
    list_init(&it->queue);
    list_init(&it->datagrams);
    net.sockets[fd] = it;
    net.open++;
    return it;
}

static void free_all(struct list *list) {
    for (struct list *link; (link = list_take(list));)
        free(link); // it is the first member of all that is listed so
}
_Static_assert(offsetof(struct segment, link) == 0 && offsetof(struct datagram, link) == 0 &&
                   offsetof(struct word, link) == 0,
               "as free_all wants it");

static void socket_free(struct socket *it) {
    if (it->process)
        it->process->sockets--;
    net.sockets[it->fd] = NULL;
    if (it->fd < net.first_free)
        net.first_free = it->fd;
    net.open--;
    list_remove(&it->queue);
    free_all(&it->in);
    free_all(&it->datagrams);
    free(it);
}

static bool covers(const struct sys_address *bound, const struct sys_address *to) {
    static const uint8_t any[4];
    return bound->port == to->port &&
           (memcmp(bound->ip, any, 4) == 0 || memcmp(bound->ip, to->ip, 4) == 0);
}

static struct socket *listener_at(uint32_t host, const struct sys_address *address) {
    list_each (link, &net.unconnected) {
        struct socket *it = container_of(link, struct socket, queue);
        if (it->sort == SOCKET_LISTENER && it->host == host && covers(&it->local, address))
            return it;
    }
    return NULL;
}

static uint16_t draw_port(uint32_t host) {
    struct sys_address address = {.family = 4};
    do
        address.port = (uint16_t)(EPHEMERAL + net.ephemeral[host]++ % 28000);
    while (listener_at(host, &address));
    return address.port;
}

int net_open_socket(struct process *process, const struct sys_open *how) {
    uint8_t family = how->bind ? how->bind->family : how->family;
    if (family != 4)
        return -EAFNOSUPPORT;
    bool stream = how->transport == SYS_STREAM;
    if (stream && how->listen && how->bind->port && listener_at(process->host, how->bind))
        return -EADDRINUSE;
    struct socket *it = socket_new(process->host, process);
    it->sort = !stream ? SOCKET_DATAGRAMS : how->listen ? SOCKET_LISTENER : SOCKET_STREAM;
    it->local = (struct sys_address){.family = 4};
    if (it->sort != SOCKET_STREAM)
        list_append(&net.unconnected, &it->queue);
    if (how->bind)
        it->local = *how->bind;
    if (it->local.port == 0)
        it->local.port = draw_port(process->host);
    return it->fd;
}

// ---- a connection that ends ----

static void stall_or(struct socket *to, uint32_t from, ac_time *at, bool *stalled, ac_time when) {
    *stalled = net.blocked[from][to->host];
    *at = *stalled ? AC_FOREVER : when;
    if (!*stalled)
        kick_at(to, when);
}

// `to` will be told by the other side's kernel that there is no such connection.
static void reset(struct socket *to, uint32_t from) {
    if (to->reset_at != AC_FOREVER || to->reset_stalled)
        return;
    ac_time when = present() + delay(from, to->host);
    to->reset_error = -ECONNRESET;
    to->purges = sim_chance(500);
    stall_or(to, from, &to->reset_at, &to->reset_stalled, when);
}

static void send_end(struct socket *to, uint32_t from) {
    if (to->end_at != AC_FOREVER || to->end_stalled)
        return;
    ac_time when = present() + delay(from, to->host);
    if (when < to->last_arrival)
        when = to->last_arrival;
    stall_or(to, from, &to->end_at, &to->end_stalled, when);
}

int net_shut(struct socket *it) {
    it->shut = true;
    if (it->peer && !it->dead)
        send_end(it->peer, it->host);
    return 0;
}

static void close_stream(struct socket *it) {
    struct socket *peer = it->peer;
    if (!peer)
        return;
    peer->peer = NULL;
    if (it->dead)
        peer->dead = true;
    else if (it->queued > 0 && !it->pipe)
        reset(peer, it->host);
    else
        send_end(peer, it->host);
}

void net_close(int fd) {
    struct socket *it = net_socket(fd);
    close_stream(it);
    for (struct list *link; (link = list_take(&it->accepts));) {
        struct socket *waits = container_of(link, struct socket, queue);
        if (waits->peer)
            reset(waits->peer, it->host);
        if (waits->peer)
            waits->peer->peer = NULL;
        socket_free(waits);
    }
    socket_free(it);
}

void net_process_gone(struct process *process, bool power) {
    net.down[process->host] |= power;
    for (int i = 0; i < net.count; i++) {
        struct socket *it = net.sockets[i];
        if (!it || it->process != process)
            continue;
        if (power && it->peer && !it->pipe) {
            // Whoever sends finds out when the computer runs again, or gives up.
            it->dead = it->peer->dead = true;
            it->peer->reset_error = -ETIMEDOUT;
            it->peer->reset_at = sim.now + 5 * SIM_S + (ac_time)sim_below(40 * (uint64_t)SIM_S);
            kick_at(it->peer, it->peer->reset_at);
        }
        it->handle = NULL;
        net_close(i);
    }
}

void net_end(void) {
    for (int i = 0; i < net.count; i++)
        if (net.sockets[i]) {
            net.sockets[i]->process = NULL;
            socket_free(net.sockets[i]);
        }
    free(net.sockets);
    net.sockets = NULL;
    free_all(&net.words);
}

// ---- what processes of one computer share ----

void net_pipe(struct process *process, int ends[2]) {
    struct socket *both[2];
    for (int i = 0; i < 2; i++) {
        both[i] = socket_new(process->host, process);
        both[i]->sort = SOCKET_STREAM;
        both[i]->pipe = both[i]->connected = true;
        both[i]->peer_host = process->host;
        both[i]->capacity = 65536;
        ends[i] = both[i]->fd;
    }
    both[0]->peer = both[1];
    both[1]->peer = both[0];
}

size_t net_pipe_take(int fd, void *to, size_t count) {
    struct socket *it = net_socket(fd);
    list_each (link, &it->in)
        container_of(link, struct segment, link)->at = 0;
    return read_segments(it, to, count);
}

void net_pipe_put(int fd, const void *from, size_t count) {
    struct socket *it = net_socket(fd);
    if (it->peer)
        append(it->peer, from, count, it->host);
}

int net_pipe_give(int fd, struct process *to) {
    struct socket *old = net_socket(fd), *it = socket_new(to->host, to);
    assert(old->pipe && !old->handle);
    it->sort = SOCKET_STREAM;
    it->pipe = it->connected = true;
    it->peer_host = to->host;
    it->capacity = old->capacity;
    it->last_arrival = old->last_arrival;
    it->end_at = old->end_at;
    it->queued = old->queued;
    for (struct list *link; (link = list_take(&old->in));)
        list_append(&it->in, link);
    it->peer = old->peer;
    if (it->peer)
        it->peer->peer = it;
    old->peer = NULL;
    old->queued = 0;
    return it->fd;
}

int net_watch(struct process *by, uint32_t number) {
    struct socket *it = socket_new(by->host, by);
    it->sort = SOCKET_WATCH;
    it->watched = number;
    return it->fd;
}

int net_words(struct process *process) {
    struct word *word = calloc(1, sizeof *word);
    if (!word)
        abort();
    list_append(&net.words, &word->link);
    struct socket *it = socket_new(process->host, process);
    it->sort = SOCKET_WORD;
    it->words = word->words;
    return it->fd;
}

int net_pipe_copy(int fd) {
    const struct socket *original = net_socket(fd);
    struct socket *it = socket_new(original->host, original->process);
    it->sort = SOCKET_COPY;
    it->original = fd;
    it->original_generation = original->generation;
    return it->fd;
}

void net_process_ended(const struct process *process) {
    for (int i = 0; i < net.count; i++) {
        struct socket *it = net.sockets[i];
        if (it && it->sort == SOCKET_WATCH && it->watched == process->number)
            driver_kick(it, true, false);
    }
}

// ---- connecting ----

static void answer_connect(struct socket *it, int result, ac_time when) {
    it->connecting = false;
    it->connected = result == 0;
    it->connect_result = result;
    it->ready_at = when;
    kick_at(it, when);
}

// Nobody has answered: the kernel tries a few times.
static void try_later(struct socket *it) {
    static const uint8_t again_s[] = {1, 2, 4, 8, 16, 32};
    ac_time now = present();
    if (it->tries < countof(again_s))
        sim_at(now + again_s[it->tries++] * SIM_S, try_connect, (uint64_t)it->fd, it->generation);
    else
        answer_connect(it, -ETIMEDOUT, now);
}

static void send_syn(struct socket *it) {
    uint32_t to = host_of(&it->remote, it->host);
    bool lost = to >= HOSTS_MAX || net.down[to] || net.blocked[it->host][to] ||
                net.blocked[to][it->host] || (to != it->host && sim_chance(net.loss));
    if (lost)
        try_later(it);
    else
        sim_at(present() + delay(it->host, to), connected, (uint64_t)it->fd, it->generation);
}

static void try_connect(uint64_t fd, uint64_t generation) {
    struct socket *it = find(fd, generation);
    if (it && it->connecting)
        send_syn(it);
}

void net_host_down(uint32_t host) { net.down[host] = true; }
void net_host_up(uint32_t host) { net.down[host] = false; }

// The first packet of a connection has come.
static void connected(uint64_t fd, uint64_t generation) {
    static const size_t capacities[] = {2048, 16384, 65536, 262144, 1048576};
    struct socket *it = find(fd, generation);
    if (!it || !it->connecting)
        return;
    uint32_t to = host_of(&it->remote, it->host);
    struct socket *listener = listener_at(to, &it->remote);
    ac_time back = sim.now + delay(to, it->host);
    if (!listener && !net.down[to]) {
        answer_connect(it, -ECONNREFUSED, back);
        return;
    }
    if (!listener || listener->accept_count >= BACKLOG) {
        try_later(it);
        return;
    }
    struct socket *other = socket_new(to, NULL);
    other->sort = SOCKET_STREAM;
    other->local = it->remote;
    other->remote = it->local;
    other->connected = true;
    other->peer = it;
    other->peer_host = it->host;
    it->peer = other;
    it->peer_host = to;
    it->capacity = capacities[sim_below(countof(capacities))];
    other->capacity = capacities[sim_below(countof(capacities))];
    list_append(&listener->accepts, &other->queue);
    listener->accept_count++;
    driver_kick(listener, true, false);
    answer_connect(it, 0, back);
}

static bool attempt_connect(struct sys_op *op, struct socket *it) {
    if (!it->connecting && !it->connected && it->connect_result == 0) {
        it->connecting = true;
        it->remote = op->address;
        it->local = is_loopback(&op->address) ? op->address : net_host_address(it->host);
        it->local.port = draw_port(it->host);
        send_syn(it);
        return false;
    }
    if (it->connecting || it->ready_at > present())
        return false;
    op->result = it->connect_result;
    return true;
}

static bool attempt_accept(struct sys_op *op, struct socket *listener) {
    struct list *link = list_take(&listener->accepts);
    if (!link)
        return false;
    struct socket *it = container_of(link, struct socket, queue);
    listener->accept_count--;
    it->process = listener->process;
    it->process->sockets++;
    op->address = it->remote;
    op->result = it->fd;
    return true;
}

// ---- bytes ----

// Whether it knows now that the connection is gone.
static bool is_reset(struct socket *it, struct sys_op *op) {
    if (it->reset_at > present())
        return false;
    op->result = it->reset_error;
    return true;
}

static size_t cut_short(size_t count) {
    return count > 1 && sim_chance(SHORT_PER_MILLE) ? 1 + sim_below(count - 1) : count;
}

static size_t read_segments(struct socket *it, uint8_t *to, size_t count) {
    size_t done = 0;
    while (done < count && !list_empty(&it->in)) {
        struct segment *first = container_of(list_first(&it->in), struct segment, link);
        if (first->at > present())
            break;
        size_t some = first->count - first->begin;
        some = some < count - done ? some : count - done;
        memcpy(to + done, first->bytes + first->begin, some);
        first->begin += some;
        done += some;
        if (first->begin == first->count) {
            list_remove(&first->link);
            free(first);
        }
    }
    it->queued -= done;
    return done;
}

static bool attempt_read(struct sys_op *op, struct socket *it) {
    if (it->purges && is_reset(it, op))
        return true;
    size_t done = read_segments(it, op->bytes, cut_short(op->count));
    if (done > 0) {
        op->result = (int64_t)done;
        if (it->peer) // its sender learns of the room
            kick_at(it->peer, present() + delay(it->host, it->peer_host));
        return true;
    }
    if (is_reset(it, op))
        return true;
    op->result = 0;
    return list_empty(&it->in) && it->end_at <= present();
}

static void append(struct socket *to, const uint8_t *bytes, size_t count, uint32_t from) {
    struct segment *it = malloc(sizeof *it + count);
    if (!it)
        abort();
    it->begin = 0;
    it->count = count;
    memcpy(it->bytes, bytes, count);
    it->at = AC_FOREVER;
    list_append(&to->in, &it->link);
    to->queued += count;
    if (net.blocked[from][to->host] || to->last_arrival == AC_FOREVER) {
        to->last_arrival = AC_FOREVER;
        return;
    }
    it->at = present() + delay(from, to->host);
    if (it->at < to->last_arrival)
        it->at = to->last_arrival;
    to->last_arrival = it->at;
    kick_at(to, it->at);
}

// What is written to a side that has closed makes its kernel say that it knows of no such
// connection.
static void ask_nobody(struct socket *it) {
    uint32_t to = it->peer_host;
    it->asks_nobody = true;
    if (!net.down[to] && !net.blocked[it->host][to] && !net.blocked[to][it->host])
        reset(it, to);
}

static bool attempt_write(struct sys_op *op, struct socket *it) {
    if (is_reset(it, op))
        return true;
    op->result = -EPIPE;
    if (it->shut)
        return true;
    bool whole = it->pipe && op->count <= PIPE_WHOLE_BYTES;
    size_t count = whole ? op->count : cut_short(op->count);
    if (it->pipe && !it->peer)
        return true;
    if (it->dead || !it->peer) {
        if (!it->dead)
            ask_nobody(it);
        op->result = (int64_t)count;
        it->capacity -= it->capacity < count ? it->capacity : count;
        return it->capacity > 0;
    }
    struct socket *to = it->peer;
    if (to->queued >= it->capacity || (whole && count > it->capacity - to->queued))
        return false;
    if (count > it->capacity - to->queued)
        count = it->capacity - to->queued;
    append(to, op->bytes, count, it->host);
    op->result = (int64_t)count;
    return true;
}

// ---- datagrams ----

static void arrive(uint64_t pointer, uint64_t unused) {
    struct datagram *it = (struct datagram *)(uintptr_t)pointer;
    struct socket *to = find((uint64_t)it->to, it->generation);
    (void)unused;
    if (!to || to->datagram_count >= DATAGRAMS_MAX) {
        free(it);
        return;
    }
    list_append(&to->datagrams, &it->link);
    to->datagram_count++;
    driver_kick(to, true, false);
}

static void send_datagram(const struct sys_op *op, const struct socket *from, struct socket *to,
                          bool loopback) {
    if (net.blocked[from->host][to->host] || !net_hears(from->host, to->host) ||
        (!loopback && sim_chance(net.loss)))
        return;
    struct datagram *it = malloc(sizeof *it + op->count);
    if (!it)
        abort();
    list_init(&it->link);
    it->from = loopback ? (struct sys_address){.family = 4, .ip = {127, 0, 0, 1}}
                        : net_host_address(from->host);
    it->from.port = from->local.port;
    it->to = to->fd;
    it->generation = to->generation;
    it->count = op->count;
    memcpy(it->bytes, op->bytes, op->count);
    ac_time way = delay(from->host, to->host);
    sim_at(present() + (sim_chance(100) ? 4 * way : way), arrive, (uintptr_t)it, 0);
}

// To a broadcast address: everybody's of that network.
static bool attempt_send(struct sys_op *op, struct socket *from) {
    bool loopback = is_loopback(&op->address);
    bool all = op->address.ip[3] == 255 && op->address.ip[1] == 255;
    list_each (link, &net.unconnected) {
        struct socket *to = container_of(link, struct socket, queue);
        if (to->sort != SOCKET_DATAGRAMS || to->local.port != op->address.port ||
            (loopback && to->host != from->host) ||
            (!all && to->host != host_of(&op->address, from->host)))
            continue;
        send_datagram(op, from, to, loopback);
    }
    op->result = (int64_t)op->count;
    return true;
}

static bool attempt_receive(struct sys_op *op, struct socket *it) {
    struct list *link = list_take(&it->datagrams);
    if (!link)
        return false;
    struct datagram *datagram = container_of(link, struct datagram, link);
    it->datagram_count--;
    memcpy(op->bytes, datagram->bytes, datagram->count < op->count ? datagram->count : op->count);
    op->address = datagram->from;
    op->result = (int64_t)datagram->count;
    free(datagram);
    return true;
}

// What a copy is of is not closed while it is written to.
static struct socket *original_of(const struct socket *copy) {
    struct socket *it = net_socket(copy->original);
    sim_check(it->generation == copy->original_generation, "a pipe is written to that is closed");
    return it;
}

// A dispatch over the verbs.
bool net_attempt(struct sys_op *op, struct socket *it) {
    switch (op->verb) {
    case SYS_ACCEPT: return attempt_accept(op, it);
    case SYS_CONNECT: return attempt_connect(op, it);
    case SYS_READ: return attempt_read(op, it);
    case SYS_WRITE: return attempt_write(op, it->sort == SOCKET_COPY ? original_of(it) : it);
    case SYS_RECEIVE: return attempt_receive(op, it);
    case SYS_SEND: return attempt_send(op, it);
    case SYS_WATCH: op->result = 0; return !process_lives(sim.processes[it->watched - 1]);
    default: op->result = -EINVAL; return true;
    }
}

// ---- faults ----

static void stall(struct socket *it) {
    list_each (link, &it->in) {
        struct segment *segment = container_of(link, struct segment, link);
        if (segment->at > sim.now)
            segment->at = it->last_arrival = AC_FOREVER;
    }
    if (it->end_at > sim.now && it->end_at != AC_FOREVER) {
        it->end_at = AC_FOREVER;
        it->end_stalled = true;
    }
}

static void heal(struct socket *it) {
    ac_time when = sim.now + (ac_time)sim_below(800 * (uint64_t)SIM_MS);
    bool any = it->end_stalled || it->reset_stalled;
    list_each (link, &it->in) {
        struct segment *segment = container_of(link, struct segment, link);
        any |= segment->at == AC_FOREVER;
        if (segment->at == AC_FOREVER)
            segment->at = it->last_arrival = when;
    }
    if (it->end_stalled)
        it->end_at = when;
    if (it->reset_stalled)
        it->reset_at = when;
    it->end_stalled = it->reset_stalled = false;
    if (any)
        kick_at(it, when);
    if (it->peer)
        kick_at(it->peer, when);
    else if (it->asks_nobody)
        ask_nobody(it);
}

void net_block(uint32_t from, uint32_t to, bool blocked) {
    if (from == to || net.blocked[from][to] == blocked)
        return;
    net.blocked[from][to] = blocked;
    sim_note(blocked ? "block" : "heal", from, to, 0);
    for (int i = 0; i < net.count; i++) {
        struct socket *it = net.sockets[i];
        if (it && it->sort == SOCKET_STREAM && it->host == to && it->peer_host == from &&
            it->connected && !it->dead)
            (blocked ? stall : heal)(it);
    }
}

void net_heal_all(void) {
    for (uint32_t from = 0; from < HOSTS_MAX; from++)
        for (uint32_t to = 0; to < HOSTS_MAX; to++)
            net_block(from, to, false);
}

// What is in flight arrives up to some point. When one of the ends learns of the cut.
static void cut_side(struct socket *it, bool silent) {
    bool drops = false;
    it->dead = true;
    list_each (link, &it->in) {
        struct segment *segment = container_of(link, struct segment, link);
        drops |= segment->at > sim.now && sim_chance(300);
        if (!drops)
            continue;
        it->queued -= segment->count - segment->begin;
        list_remove(link);
        free(segment);
    }
    if (it->end_at > sim.now) {
        it->end_at = AC_FOREVER;
        it->end_stalled = true; // never
    }
    ac_time after = silent            ? (ac_time)(30 + sim_below(90)) * SIM_S
                    : sim_chance(400) ? (ac_time)sim_below((uint64_t)SIM_MS)
                                      : (ac_time)sim_below(2 * (uint64_t)SIM_S);
    it->reset_error = sim_chance(500) ? -ECONNRESET : -ETIMEDOUT;
    it->purges = sim_chance(500);
    it->reset_at = sim.now + after;
    kick_at(it, it->reset_at);
}

void net_cut(unsigned per_mille, bool silent) {
    for (int i = 0; i < net.count; i++) {
        struct socket *it = net.sockets[i];
        if (!it || it->sort != SOCKET_STREAM || it->pipe || !it->connected || it->dead ||
            !it->peer || it->peer->fd > it->fd || !it->process || !it->peer->process ||
            !sim_chance(per_mille))
            continue;
        sim_note("cut", (uint64_t)it->fd, (uint64_t)it->peer->fd, 0);
        bool deaf = sim_chance(500); // one end learns nothing
        cut_side(it->peer, silent ? sim_chance(700) : deaf);
        cut_side(it, silent ? sim_chance(700) : !deaf && sim_chance(500));
    }
}
