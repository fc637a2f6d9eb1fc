// SPDX-License-Identifier: MIT
// The load of the figures of sockets, the same for every server.
//
//      load [-n REQUESTS] FIGURE SERVER [ARGUMENT...]
//
// Starts the server, gives it one core and takes the other. The server writes the port on which it
// listens at 127.0.0.1, on a line, to its standard output, and sends back whatever it reads. Here
// is a closed loop over epoll: each busy connection sends a request of 64 bytes, waits for all of
// the answer, and sends the next. Idle ones have had one answer before. Where connections are what
// is measured, each is opened, gets one answer, is closed from here, and the next is opened.
//
// It prints the figure, and on the standard error all that it knows. With -n it does so many
// requests without a warm-up, so that somebody else (strace) can count what they cost the server.
#include "cores.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    REQUEST_BYTES = 64,
    MANY = 10000,  // idle connections
    AT_ONCE = 100, // of these, so many are opened together
    EVENTS = 256,
    REQUESTS_MAX = 4000 * 1000,
    CONNECTIONS_MAX = 10000, // in a run: the system keeps what was closed for a minute
    RESERVE = 64             // descriptors beside those of the connections
};

static const double WARM_NS = 100e6, RUN_NS = 500e6;

struct outcome {
    double rate; // answers a second
    double p50_us;
    double p99_us;
    double cpu_us; // of the server for an answer
    double bytes;  // of the server for a connection
};

struct plan {
    const char *name; // of the figure
    int busy;         // connections that send requests
    int idle;         // connections that do not
    bool opens;       // each request has a connection of its own
    size_t what;      // is printed: where it stands in struct outcome
};

static const struct plan plans[] = {
    {"echo-1", .busy = 1, .what = offsetof(struct outcome, rate)},
    {"echo-50", .busy = 50, .what = offsetof(struct outcome, rate)},
    {"echo-1000", .busy = 1000, .what = offsetof(struct outcome, rate)},
    {"echo-50-p99", .busy = 50, .what = offsetof(struct outcome, p99_us)},
    {"echo-1-polling", .busy = 1, .what = offsetof(struct outcome, rate)},
    {"echo-idle-10k", .busy = 50, .idle = MANY, .what = offsetof(struct outcome, rate)},
    {"conn-bytes", .idle = MANY, .what = offsetof(struct outcome, bytes)},
    {"connect", .busy = 50, .opens = true, .what = offsetof(struct outcome, rate)},
    {NULL},
};

struct connection {
    int fd;
    int got;      // bytes of the answer
    double begun; // when its request was sent, or its connection opened
    bool asked;   // the request has been sent
};

static struct {
    int fd;    // of epoll
    pid_t pid; // of the server, which leads a process group
    struct sockaddr_in address;
    long most;   // requests to be done
    long begun;  // of these
    long done;   // of these
    float *took; // by each that was done, in nanoseconds
} load;

static void fail(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1); // the server goes with it
}

// ---- the server ----

static void run_server(char **command, int output, pid_t parent) {
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(1);
    cores_pin(1);
    dup2(output, STDOUT_FILENO);
    execvp(command[0], command);
    fprintf(stderr, "load: %s: %s\n", command[0], strerror(errno));
    _exit(1);
}

// The server has said no port; that it cannot be measured here it says by its status.
static void give_up(void) {
    int status;
    waitpid(load.pid, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == MEASURE_CANNOT)
        exit(MEASURE_CANNOT);
    fprintf(stderr, "load: the server does not say on which port it listens\n");
    exit(1);
}

static void start_server(char **command) {
    int ends[2];
    if (pipe(ends) < 0)
        fail("pipe");
    pid_t self = getpid();
    load.pid = fork();
    if (load.pid < 0)
        fail("fork");
    if (load.pid == 0)
        run_server(command, ends[1], self);
    close(ends[1]);
    FILE *output = fdopen(ends[0], "r");
    unsigned port = 0;
    if (!output || fscanf(output, "%u", &port) != 1 || port == 0 || port > UINT16_MAX)
        give_up();
    load.address = (struct sockaddr_in){.sin_family = AF_INET,
                                        .sin_port = htons((uint16_t)port),
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    cores_pin(0);
}

static void end_server(void) {
    kill(-load.pid, SIGTERM);
    while (waitpid(load.pid, NULL, 0) < 0 && errno == EINTR)
        continue;
}

// ---- connections ----

static int open_socket(int flags) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    int on = 1;
    if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0)
        fail("socket");
    const struct sockaddr *to = (const struct sockaddr *)&load.address;
    if (connect(fd, to, sizeof load.address) < 0 && errno != EINPROGRESS)
        fail("connect");
    return fd;
}

static void watch(struct connection *it) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = it};
    if (epoll_ctl(load.fd, EPOLL_CTL_ADD, it->fd, &event) < 0)
        fail("epoll_ctl");
}

static void send_request(int fd) {
    static const char request[REQUEST_BYTES] = "a request";
    if (send(fd, request, sizeof request, MSG_NOSIGNAL) != sizeof request)
        fail("send");
}

// What has come of the answer. A connection that is lost ends the program.
static int receive(int fd, int flags) {
    char bytes[2 * REQUEST_BYTES];
    ssize_t got = recv(fd, bytes, sizeof bytes, flags);
    if (got == 0)
        errno = ECONNRESET;
    if (got == 0 || (got < 0 && errno != EAGAIN))
        fail("receive");
    return got < 0 ? 0 : (int)got;
}

// Opens some connections, each of which gets an answer. When they are closed the system does not
// keep them for a minute, as it does by default: there are many, and one run follows the other.
static void open_answered(int *fds, int count) {
    static const struct linger at_once = {.l_onoff = 1};
    for (int i = 0; i < count; i++) {
        fds[i] = open_socket(0);
        setsockopt(fds[i], SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        send_request(fds[i]);
    }
    for (int i = 0; i < count; i++)
        for (int got = 0; got < REQUEST_BYTES;)
            got += receive(fds[i], 0);
}

static void open_idle(int count) {
    int fds[AT_ONCE];
    for (int i = 0; i < count; i += AT_ONCE)
        open_answered(fds, AT_ONCE);
}

// ---- requests ----

static void begin(const struct plan *plan, struct connection *it, double now) {
    if (load.begun == load.most)
        return;
    load.begun++;
    it->begun = now;
    it->got = 0;
    it->asked = !plan->opens;
    if (it->asked) {
        send_request(it->fd);
    } else {
        it->fd = open_socket(SOCK_NONBLOCK);
        watch(it);
    }
}

// Whether all of the answer has come.
static bool go_on(struct connection *it, uint32_t events) {
    if (!it->asked && (events & EPOLLOUT)) {
        it->asked = true;
        send_request(it->fd);
    }
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        it->got += receive(it->fd, MSG_DONTWAIT);
    return it->got >= REQUEST_BYTES;
}

static void begin_all(const struct plan *plan) {
    struct connection *all = calloc((size_t)plan->busy, sizeof *all);
    if (!all)
        fail("memory");
    for (int i = 0; i < plan->busy && !plan->opens; i++) {
        open_answered(&all[i].fd, 1);
        watch(&all[i]);
    }
    for (int i = 0; i < plan->busy; i++)
        begin(plan, &all[i], measure_now());
}

static void run(const struct plan *plan, double until) {
    struct epoll_event events[EVENTS];
    double now = 0;
    while (now < until && load.done < load.most) {
        int count = epoll_wait(load.fd, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            struct connection *it = events[i].data.ptr;
            if (!go_on(it, events[i].events))
                continue;
            now = measure_now();
            load.took[load.done++] = (float)(now - it->begun);
            if (plan->opens)
                close(it->fd);
            begin(plan, it, now);
        }
    }
}

// ---- what comes of it ----

static int compare(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

// What a thread of the server has had of the processor until now.
static double thread_cpu_ns(const char *thread) {
    char path[320];
    double ns = 0;
    snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", (int)load.pid, thread);
    FILE *file = fopen(path, "r");
    if (file && fscanf(file, "%lf", &ns) != 1)
        ns = 0;
    if (file)
        fclose(file);
    return ns;
}

static double server_cpu_ns(void) {
    char path[64];
    double ns = 0;
    snprintf(path, sizeof path, "/proc/%d/task", (int)load.pid);
    DIR *threads = opendir(path);
    for (struct dirent *it; threads && (it = readdir(threads));)
        ns += it->d_name[0] != '.' ? thread_cpu_ns(it->d_name) : 0;
    if (threads)
        closedir(threads);
    return ns;
}

static double percentile_us(long first, double part) {
    long count = load.done - first;
    return count > 0 ? (double)load.took[first + (long)((double)(count - 1) * part)] / 1e3 : 0;
}

static struct outcome measure_requests(const struct plan *plan) {
    run(plan, measure_now() + WARM_NS);
    long first = load.done;
    double cpu = server_cpu_ns(), start = measure_now();
    run(plan, start + RUN_NS);
    double ns = measure_now() - start;
    double count = (double)(load.done - first);
    cpu = server_cpu_ns() - cpu;
    qsort(load.took + first, (size_t)(load.done - first), sizeof *load.took, compare);
    return (struct outcome){.rate = count / ns * 1e9,
                            .p50_us = percentile_us(first, 0.5),
                            .p99_us = percentile_us(first, 0.99),
                            .cpu_us = cpu / count / 1e3};
}

// The server's memory is looked at before the first connection, and when all are there.
static struct outcome measure_plan(const struct plan *plan, long most) {
    double bytes = measure_memory_bytes_of(load.pid);
    open_idle(plan->idle);
    bytes = measure_memory_bytes_of(load.pid) - bytes;
    struct outcome outcome = {0};
    if (plan->busy > 0) {
        load.most = most >= 0 ? most : plan->opens ? CONNECTIONS_MAX : REQUESTS_MAX;
        load.took = malloc((size_t)load.most * sizeof *load.took + 1);
        load.fd = epoll_create1(EPOLL_CLOEXEC);
        if (!load.took || load.fd < 0)
            fail("memory");
        begin_all(plan);
        if (most >= 0)
            run(plan, INFINITY);
        else
            outcome = measure_requests(plan);
    }
    outcome.bytes = plan->idle > 0 ? bytes / plan->idle : 0;
    return outcome;
}

static void print(const struct plan *plan, const struct outcome *it) {
    fprintf(stderr, "%s: %.0f/s  p50 %.1f us  p99 %.1f us  server %.2f us a request", plan->name,
            it->rate, it->p50_us, it->p99_us, it->cpu_us);
    if (plan->idle > 0)
        fprintf(stderr, "  %.0f bytes an idle connection", it->bytes);
    fprintf(stderr, "\n");
    printf("%.3f\n", *(const double *)((const char *)it + plan->what));
}

// Room for the connections, here and in the server, which inherits it.
static void need_descriptors(rlim_t count) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < count && limit.rlim_max >= count) {
        limit.rlim_cur = count;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (limit.rlim_cur < count)
        measure_cannot("the limit of open files (ulimit -Hn) is too low");
}

int main(int argc, char **argv) {
    const char *name = argv[0];
    long most = -1;
    if (argc > 2 && strcmp(argv[1], "-n") == 0) {
        most = atol(argv[2]);
        argc -= 2, argv += 2;
    }
    const struct plan *plan = plans;
    while (argc > 2 && plan->name && strcmp(plan->name, argv[1]) != 0)
        plan++;
    if (argc < 3 || !plan->name) {
        fprintf(stderr, "usage: %s [-n REQUESTS] FIGURE SERVER [ARGUMENT...]\n", name);
        return 2;
    }
    cores_find();
    need_descriptors((rlim_t)(plan->idle + plan->busy + RESERVE));
    start_server(argv + 2);
    struct outcome outcome = measure_plan(plan, most);
    end_server();
    print(plan, &outcome);
    return 0;
}
