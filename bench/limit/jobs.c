// SPDX-License-Identifier: MIT
// The limits of the figures of jobs: processes that talk over bare TCP on loopback.
//
//      client ---- relay ---- two workers       jobs of 64 bytes, and results as large
//
// One message a job: a write of its own for each, on every leg, with what is there read at once and
// JOBS_AHEAD under way. As a map: pieces of PIECE_JOBS jobs, as they are. First result: a client
// connects to a node and sends its executable, which that runs from memory; the connection is then
// the worker's. Nobody looks what it is, or whether it has come as it was; where it is cached only
// the job is sent.
#define _GNU_SOURCE
#include "../measure.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum {
    WORKERS = 2,
    JOB_BYTES = 64,
    JOBS_AHEAD = 64,
    PIECE_JOBS = 64,
    PIECES_AHEAD = 64,
    ROOM = PIECE_JOBS * JOB_BYTES,
    LATENCIES = 2000,
    LATENCIES_WARM = 200,
    SAMPLES = 9
};

static bool pieces; // what is read is written as it is
static char room[ROOM];

static void must(bool good, const char *what) {
    if (good)
        return;
    perror(what);
    exit(1);
}

static void put(int fd, const void *bytes, size_t count) {
    for (const char *at = bytes; count > 0;) {
        ssize_t done = write(fd, at, count);
        if (done <= 0)
            exit(1);
        at += done;
        count -= (size_t)done;
    }
}

static void get(int fd, void *to, size_t count) {
    for (char *at = to; count > 0;) {
        ssize_t done = read(fd, at, count);
        if (done <= 0)
            exit(1);
        at += done;
        count -= (size_t)done;
    }
}

// Whole jobs: as many as are there, one at the least.
static size_t get_jobs(int fd) {
    ssize_t got = read(fd, room, sizeof room);
    if (got <= 0)
        exit(0);
    size_t over = (size_t)got % JOB_BYTES;
    if (over > 0)
        get(fd, room + got, JOB_BYTES - over);
    return ((size_t)got + JOB_BYTES - 1) / JOB_BYTES;
}

static void put_jobs(int fd, size_t count) {
    if (pieces)
        put(fd, room, count * JOB_BYTES);
    else
        for (size_t i = 0; i < count; i++)
            put(fd, room + i * JOB_BYTES, JOB_BYTES);
}

// ---- connections ----

static int listener;
static struct sockaddr_in address;

static void start_listening(void) {
    socklen_t bytes = sizeof address;
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(listener >= 0 && bind(listener, (struct sockaddr *)&address, bytes) == 0 &&
             listen(listener, 8) == 0 &&
             getsockname(listener, (struct sockaddr *)&address, &bytes) == 0,
         "listen");
}

static int at_once(int fd) {
    int on = 1;
    must(fd >= 0 && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0, "connect");
    return fd;
}

static int join(void) {
    int fd = at_once(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    must(connect(fd, (struct sockaddr *)&address, sizeof address) == 0, "connect");
    return fd;
}

static void start(void (*process)(void)) {
    pid_t parent = getpid();
    pid_t child = fork();
    must(child >= 0, "fork");
    if (child > 0)
        return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() == parent)
        process();
    exit(1);
}

// ---- the relay ----

static void work(void) {
    int fd = join();
    for (;;) {
        size_t count = get_jobs(fd);
        for (size_t i = 0; i < count; i++)
            room[i * JOB_BYTES]++;
        put_jobs(fd, count);
    }
}

// The client comes last.
static void relay(void) {
    struct pollfd ends[WORKERS + 1];
    for (int i = 0; i <= WORKERS; i++)
        ends[i] = (struct pollfd){.fd = at_once(accept(listener, NULL, NULL)), .events = POLLIN};
    for (unsigned next = 0;;) {
        must(poll(ends, WORKERS + 1, -1) > 0, "poll");
        for (int i = 0; i < WORKERS; i++)
            if (ends[i].revents)
                put_jobs(ends[WORKERS].fd, get_jobs(ends[i].fd));
        if (!ends[WORKERS].revents)
            continue;
        size_t count = get_jobs(ends[WORKERS].fd);
        if (pieces)
            put_jobs(ends[next++ % WORKERS].fd, count);
        else
            for (size_t i = 0; i < count; i++)
                put(ends[next++ % WORKERS].fd, room + i * JOB_BYTES, JOB_BYTES);
    }
}

static int client;

static void start_relay(void) {
    start_listening();
    for (int i = 0; i < WORKERS; i++)
        start(work);
    // Workers connect before the client does.
    struct pollfd it = {.fd = listener, .events = POLLIN};
    must(poll(&it, 1, -1) == 1 && usleep(100000) == 0, "poll");
    start(relay);
    client = join();
}

static uint64_t work_jobs(uint64_t n) {
    uint64_t ahead = pieces ? PIECES_AHEAD * PIECE_JOBS : JOBS_AHEAD, sent = 0, done = 0;
    n = pieces ? (n / PIECE_JOBS + 1) * PIECE_JOBS : n;
    while (done < n) {
        while (sent < n && sent - done < ahead) {
            put(client, room, pieces ? ROOM : JOB_BYTES);
            sent += pieces ? PIECE_JOBS : 1;
        }
        done += get_jobs(client);
    }
    return n;
}

static double jobs_single(void) {
    start_relay();
    return 1e9 / measure(work_jobs);
}

static double jobs_map(void) {
    pieces = true;
    return jobs_single();
}

static double job_latency(void) {
    static double us[LATENCIES];
    start_relay();
    for (int i = -LATENCIES_WARM; i < LATENCIES; i++) {
        double begun = measure_now();
        put(client, room, JOB_BYTES);
        get(client, room, JOB_BYTES);
        if (i >= 0)
            us[i] = (measure_now() - begun) / 1e3;
    }
    return measure_median(us, LATENCIES);
}

// ---- first results ----

static char worker_word[] = "--worker";

// The connection is its standard input.
static int be_worker(void) {
    get(STDIN_FILENO, room, JOB_BYTES);
    room[0]++;
    put(STDIN_FILENO, room, JOB_BYTES);
    return 0;
}

// A program is its size, or 0 where it is here already, and its bytes.
static void serve_programs(void) {
    static int program = -1;
    signal(SIGCHLD, SIG_IGN);
    for (;;) {
        int fd = at_once(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
        uint64_t bytes;
        get(fd, &bytes, sizeof bytes);
        if (bytes > 0) {
            close(program);
            program = memfd_create("program", MFD_CLOEXEC);
            static char piece[64 << 10];
            for (size_t count; bytes > 0; bytes -= count) {
                count = bytes < sizeof piece ? bytes : sizeof piece;
                get(fd, piece, count);
                put(program, piece, count);
            }
        }
        if (vfork() == 0) {
            char *const arguments[] = {worker_word, worker_word, NULL};
            dup2(fd, STDIN_FILENO);
            fexecve(program, arguments, environ);
            _exit(1);
        }
        close(fd);
    }
}

static double result_ms(bool cached) {
    double begun = measure_now();
    int program = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), fd = join();
    struct stat facts;
    must(program >= 0 && fstat(program, &facts) == 0, "executable");
    uint64_t bytes = cached ? 0 : (uint64_t)facts.st_size;
    put(fd, &bytes, sizeof bytes);
    while (bytes > 0) {
        ssize_t done = sendfile(fd, program, NULL, bytes);
        must(done > 0, "sendfile");
        bytes -= (uint64_t)done;
    }
    put(fd, room, JOB_BYTES);
    get(fd, room, JOB_BYTES);
    close(fd);
    close(program);
    return (measure_now() - begun) / 1e6;
}

static double first_result(bool cached) {
    double ms[SAMPLES];
    start_listening();
    start(serve_programs);
    (void)result_ms(false);
    for (int i = 0; i < SAMPLES; i++) {
        usleep(20000);
        ms[i] = result_ms(cached);
    }
    return measure_median(ms, SAMPLES);
}

static double first_result_cold(void) { return first_result(false); }
static double first_result_cached(void) { return first_result(true); }

int main(int argc, char **argv) {
    static const struct measure_figure figures[] = {
        {"jobs-single", NULL, NULL, jobs_single},
        {"jobs-map", NULL, NULL, jobs_map},
        {"job-latency", NULL, NULL, job_latency},
        {"first-result", NULL, NULL, first_result_cold},
        {"first-result-cached", NULL, NULL, first_result_cached},
        {NULL, NULL, NULL, NULL},
    };
    signal(SIGPIPE, SIG_IGN);
    if (argc == 2 && strcmp(argv[1], worker_word) == 0)
        return be_worker();
    return measure_main(argc, argv, figures);
}
