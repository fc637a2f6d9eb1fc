// SPDX-License-Identifier: MIT
// Our figures of jobs: this program ships itself to a real `asyncoro node` on loopback, with keys
// and whatever else is the default there. Node, key, cache and discovery port are its own.
//
// usage: jobs FIGURE ASYNCORO      ASYNCORO: the program of that name
//
// The figures of first results have a client, and where it must not know the program yet a node,
// for each sample.
#define _GNU_SOURCE
#include "ours.h"

#include <arpa/inet.h>
#include <ftw.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum {
    WINDOW = 10000,    // jobs that have not ended, of jobs-single
    WARM_JOBS = 20000, // through two workers, before anything is measured
    YIELD_JOBS = 1000, // are submitted before others get their turn
    LATENCIES = 2000,
    MESSAGE_BYTES = 64,
    LATENCIES_WARM = 200,
    SAMPLES = 9, // of first results
    SECONDS_MAX = 50,
    FEW = 1000, // jobs that wait, of job-cost-flat,
    MANY = 1000000,
    FLAT_JOBS = 300000, // and that end meanwhile
    BYTES_FROM = 200000 // jobs that wait, of job-bytes, to MANY
};

static const double PATIENCE_S = 30;
static const double CALM_S = 0.2; // until the node has forgotten the client before

static void check(bool good, const char *what) {
    if (good)
        return;
    fprintf(stderr, "%s failed\n", what);
    exit(1);
}

// ---- a world of its own ----

static const char *tool; // the program `asyncoro`
static char folder[64];
static pid_t owner; // of the folder
static struct daemon {
    pid_t process;
    char address[64];
} node, scheduler;

static int remove_one(const char *path, const struct stat *facts, int type, struct FTW *at) {
    (void)facts, (void)type, (void)at;
    return remove(path);
}

static void stop(struct daemon *it) {
    if (it->process > 0) {
        kill(it->process, SIGTERM);
        waitpid(it->process, NULL, 0);
    }
    it->process = 0;
}

static void remove_world(void) {
    if (getpid() != owner || !folder[0])
        return;
    stop(&scheduler);
    stop(&node);
    nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    folder[0] = 0;
}

// Nobody else's when it was asked for; and if it is later, their key is another.
static int free_port(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof at;
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    check(fd >= 0 && bind(fd, (struct sockaddr *)&at, bytes) == 0 &&
              getsockname(fd, (struct sockaddr *)&at, &bytes) == 0,
          "a port");
    close(fd);
    return ntohs(at.sin_port);
}

static void make_world(void) {
    char text[96];
    snprintf(folder, sizeof folder, "/tmp/asyncoro-bench.XXXXXX");
    check(mkdtemp(folder) != NULL, "folder");
    owner = getpid();
    atexit(remove_world);
    snprintf(text, sizeof text, "%s/key", folder);
    setenv("ASYNCORO_KEY_FILE", text, 1);
    setenv("XDG_CACHE_HOME", folder, 1);
    snprintf(text, sizeof text, "%d", free_port());
    setenv("ASYNCORO_DISCOVERY_PORT", text, 1);
}

// When it says that it is ready it also says where it listens.
static void start_daemon(struct daemon *it, char *const arguments[]) {
    int ends[2];
    char line[256];
    check(pipe(ends) == 0, "pipe");
    it->process = fork();
    if (it->process == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        execv(tool, arguments);
        perror(tool);
        _exit(1);
    }
    close(ends[1]);
    FILE *said = fdopen(ends[0], "r");
    check(said && fgets(line, sizeof line, said) && strstr(line, "ready") &&
              sscanf(line, "%*s %*s at %63s", it->address) == 1,
          arguments[1]);
    fclose(said);
    it->address[strlen(it->address) - 1] = 0; // the colon
}

static void start_all(const char *workers, bool apart) {
    start_daemon(&node, (char *[]){"asyncoro", "node", "--workers", (char *)workers, "--loopback",
                                   "--grace", "0s", geteuid() == 0 ? "--user=root" : NULL, NULL});
    if (!apart)
        return;
    start_daemon(&scheduler,
                 (char *[]){"asyncoro", "scheduler", "--loopback", "--grace", "0s", NULL});
    setenv("AC_SCHEDULER", scheduler.address, 1);
}

// ---- the client ----

static ac_computation *computation;
static ac_ref first_worker;

static ac_value add_one(ac_value x) { return ac_of(ac_int_of(x) + 1); }
AC_JOB(add_one)

static ac_value tell_process(ac_value unused) {
    (void)unused;
    return ac_of((int64_t)getpid());
}
AC_JOB(tell_process)

static ac_value answer(ac_value unused) {
    ac_value request, body;
    ac_ref to;
    (void)unused;
    while (ac_receive(&request, AC_FOREVER) == 0) {
        must(ac_unpack(request, &to, &body), "ac_unpack");
        must(ac_send(to, body), "ac_send");
        ac_drop(request);
    }
    return ac_nil;
}
AC_JOB(answer)

static void start_network(void) {
    int err = ac_network_start(.loopback_only = true);
    if (err < 0)
        fprintf(stderr, "%s\n", ac_network_error());
    must(err, "ac_network_start");
}

// Joins and knows the node.
static void join_node(void) {
    start_network();
    must(ac_peer(node.address, ac_after(PATIENCE_S)), "ac_peer");
}

// The result of the job that ends next.
static int64_t await_job(void) {
    for (;;) {
        ac_value message;
        struct ac_job_exit end;
        struct ac_status status;
        must(ac_receive(&message, ac_after(PATIENCE_S)), "a job");
        bool is = ac_job_exit_of(message, &end);
        if (ac_status_of(message, &status) && status.kind == AC_NODE_REFUSED)
            fprintf(stderr, "%s\n", status.text);
        ac_drop(message);
        if (!is)
            continue;
        int64_t result = ac_int_of(end.exit.value);
        check(end.exit.how == AC_FINISHED, "a job");
        ac_drop(end.exit.value);
        return result;
    }
}

static void submit(int64_t argument) {
    int64_t job = ac_submit(computation, add_one, argument, .quiet = true);
    must(job < 0 ? (int)job : 0, "ac_submit");
}

static uint64_t submitted, ended; // of all jobs

static void submit_until(uint64_t end) {
    while (submitted < end) {
        submit((int64_t)submitted++);
        if (submitted % YIELD_JOBS == 0)
            must(ac_yield(), "ac_yield");
    }
}

// So many jobs end, and `window` have been submitted that have not.
static void run_jobs(uint64_t n, uint64_t window) {
    for (uint64_t until = ended + n; ended < until;) {
        submit_until(ended + window);
        do {
            (void)await_job();
            ended++;
        } while (ac_mailbox_count() > 0 && ended < until);
    }
}

static void open_with_workers(int count) {
    join_node();
    must(ac_computation_open(&computation), "ac_computation_open");
    while (count > 0) {
        ac_value message;
        struct ac_status status;
        must(ac_receive(&message, ac_after(PATIENCE_S)), "a worker");
        if (ac_status_of(message, &status) && status.kind == AC_NODE_REFUSED)
            fprintf(stderr, "%s\n", status.text);
        if (ac_status_of(message, &status) && status.kind == AC_WORKER_READY) {
            first_worker = status.worker;
            count--;
        }
        ac_drop(message);
    }
}

// ---- figures ----

static uint64_t single_work(uint64_t n) {
    run_jobs(n, WINDOW);
    return n;
}

static double jobs_single(void) {
    open_with_workers(2);
    run_jobs(WARM_JOBS, WINDOW);
    return 1e9 / measure(single_work);
}

static uint64_t map_work(uint64_t n) {
    ac_mapping *map;
    struct ac_mapped one;
    uint64_t count = 0;
    int err;
    must(ac_mapping_open(&map, computation, add_one, .count = n), "ac_mapping_open");
    while ((err = ac_mapping_next(map, &one, ac_after(PATIENCE_S))) > 0) {
        check(one.how == AC_FINISHED && ac_int_of(one.value) == one.index + 1, "a job");
        ac_drop(one.value);
        count++;
    }
    must(err, "ac_mapping_next");
    check(count == n, "the mapping");
    ac_mapping_close(map);
    return n;
}

static double jobs_map(void) {
    open_with_workers(2);
    run_jobs(WARM_JOBS, WINDOW);
    return 1e9 / measure(map_work);
}

static double median_us(void (*one)(int64_t)) {
    double us[LATENCIES];
    for (int64_t i = -LATENCIES_WARM; i < LATENCIES; i++) {
        double start = measure_now();
        one(i);
        if (i >= 0)
            us[i] = (measure_now() - start) / 1e3;
    }
    return measure_median(us, LATENCIES);
}

static void submit_one(int64_t argument) {
    submit(argument);
    check(await_job() == argument + 1, "the result");
}

static double job_latency(void) {
    open_with_workers(2);
    return median_us(submit_one);
}

static void run_one(int64_t argument) {
    must(ac_ref_error(ac_run_at(computation, first_worker, add_one, argument)), "ac_run_at");
    check(await_job() == argument + 1, "the result");
}

static double job_latency_run_at(void) {
    open_with_workers(1);
    return median_us(run_one);
}

static ac_ref answering; // a job that waits for messages

static void ask_one(int64_t unused) {
    static const char body[MESSAGE_BYTES];
    ac_value message;
    (void)unused;
    must(ac_send(answering, ac_list(ac_self(), ac_of_bytes(body, sizeof body))), "ac_send");
    must(ac_receive(&message, ac_after(PATIENCE_S)), "ac_receive");
    check(ac_span_of(message).bytes == sizeof body, "the answer");
    ac_drop(message);
}

static double job_latency_direct(void) {
    ac_value started;
    open_with_workers(1);
    answering = ac_run_at(computation, first_worker, answer, ac_nil);
    must(ac_ref_error(answering), "ac_run_at");
    must(ac_receive(&started, ac_after(PATIENCE_S)), "ac_receive");
    ac_drop(started);
    return median_us(ask_one);
}

static double first_result(void) {
    join_node();
    must(ac_sleep(CALM_S), "ac_sleep");
    double start = measure_now();
    must(ac_computation_open(&computation), "ac_computation_open");
    submit_one(1);
    return (measure_now() - start) / 1e6;
}

// So many jobs wait, and the scheduler has them.
static void have_waiting(uint64_t count) {
    static const char on_its_way[] = "is on its way";
    char why[256];
    int64_t last = 0;
    for (; submitted < count; submitted++) {
        last = ac_submit(computation, add_one, (int64_t)submitted, .node = "nobody",
                         .wait_for_nodes = true);
        must(last < 0 ? (int)last : 0, "ac_submit");
        if (submitted % YIELD_JOBS == 0)
            must(ac_yield(), "ac_yield");
    }
    do {
        must(ac_sleep(0.1), "ac_sleep");
        must(ac_job_why(computation, last, why, sizeof why, AC_FOREVER), "ac_job_why");
    } while (strncmp(why, on_its_way, sizeof on_its_way - 1) == 0);
}

static double job_bytes(void) {
    open_with_workers(1);
    have_waiting(BYTES_FROM);
    double before = measure_memory_bytes_of(scheduler.process);
    have_waiting(MANY);
    return (measure_memory_bytes_of(scheduler.process) - before) / (MANY - BYTES_FROM);
}

static double ns_of_a_job(uint64_t window) {
    run_jobs(WARM_JOBS, window);
    double start = measure_now();
    run_jobs(FLAT_JOBS, window);
    return (measure_now() - start) / FLAT_JOBS;
}

static double job_cost_flat(void) {
    open_with_workers(2);
    run_jobs(WARM_JOBS, WINDOW);
    double few = ns_of_a_job(FEW);
    return ns_of_a_job(MANY) / few;
}

static double kb_of(int process) { return measure_status_bytes(process, "VmRSS") / 1024; }

static int idle_worker(void) {
    open_with_workers(2);
    int64_t job = ac_submit(computation, tell_process, ac_nil);
    must(job < 0 ? (int)job : 0, "ac_submit");
    int process = (int)await_job();
    must(ac_sleep(1), "ac_sleep");
    return process;
}

static double worker_kb(void) { return kb_of(idle_worker()); }

// Without what it shares with other processes: what one more of them takes.
static double worker_own_kb(void) {
    char path[64], line[256];
    double kib = 0, more;
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", idle_worker());
    FILE *file = fopen(path, "r");
    check(file != NULL, path);
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "Private_%*[a-zA-Z]: %lf", &more) == 1)
            kib += more;
    fclose(file);
    return kib;
}

static double idle_kb(const struct daemon *it) {
    open_with_workers(2);
    submit_one(1);
    must(ac_sleep(1), "ac_sleep");
    return kb_of(it->process);
}

static double node_kb(void) { return idle_kb(&node); }
static double scheduler_kb(void) { return idle_kb(&scheduler); }

static const struct figure {
    const char *name;
    double (*value)(void); // in a coroutine
    const char *workers;
    bool apart;     // the scheduler is a process of its own
    int samples;    // each in a process of its own
    bool new_nodes; // and with a node of its own
} figures[] = {
    {"jobs-single", jobs_single, "2", true, 1, false},
    {"jobs-single-inside", jobs_single, "2", false, 1, false},
    {"jobs-map", jobs_map, "2", true, 1, false},
    {"jobs-map-inside", jobs_map, "2", false, 1, false},
    {"job-latency", job_latency, "2", true, 1, false},
    {"job-latency-inside", job_latency, "2", false, 1, false},
    {"job-latency-direct", job_latency_direct, "1", false, 1, false},
    {"job-latency-run-at", job_latency_run_at, "1", false, 1, false},
    {"first-result", first_result, "1", false, SAMPLES, true},
    {"first-result-cached", first_result, "1", false, SAMPLES, false},
    {"job-bytes", job_bytes, "1", true, 1, false},
    {"job-cost-flat", job_cost_flat, "2", true, 1, false},
    {"worker-kb", worker_kb, "2", false, 1, false},
    {"worker-own-kb", worker_own_kb, "2", false, 1, false},
    {"node-kb", node_kb, "2", false, 1, false},
    {"scheduler-kb", scheduler_kb, "2", true, 1, false},
    {NULL, NULL, NULL, false, 0, false},
};
static const struct figure *figure = figures;

static int value_to; // where the value goes

static ac_value run(ac_value unused) {
    (void)unused;
    double value = figure->value();
    check(write(value_to, &value, sizeof value) == sizeof value, "pipe");
    _exit(0); // the workers end with it
}

// The value that a process of its own finds.
static double sample(void) {
    int ends[2], status;
    double value;
    check(pipe(ends) == 0, "pipe");
    pid_t client = fork();
    if (client == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        signal(SIGINT, SIG_DFL);
        signal(SIGTERM, SIG_DFL);
        close(ends[0]);
        value_to = ends[1];
        ac_ref it = ac_spawn(run, ac_nil, .stack_bytes = 256 << 10);
        must(ac_ref_error(it), "ac_spawn");
        must(ac_run(), "ac_run");
        _exit(1); // not reached
    }
    close(ends[1]);
    bool good = read(ends[0], &value, sizeof value) == sizeof value;
    close(ends[0]);
    waitpid(client, &status, 0);
    if (!good)
        exit(1); // it has said why
    return value;
}

// The first one for which the node is not new finds the program unknown, and does not count.
static double median_of_samples(void) {
    double values[SAMPLES];
    for (int i = figure->samples > 1 && !figure->new_nodes ? -1 : 0; i < figure->samples; i++) {
        if (!node.process) {
            make_world();
            start_all(figure->workers, figure->apart);
        }
        double value = sample();
        if (i >= 0)
            values[i] = value;
        if (figure->new_nodes)
            remove_world();
    }
    return measure_median(values, figure->samples);
}

// Of this process, which only waits.
static void end_early(int signal) {
    (void)signal;
    exit(1);
}

int main(int argc, char **argv) {
    ac_cluster_init(argc, argv);
    while (argc == 3 && figure->name && strcmp(figure->name, argv[1]) != 0)
        figure++;
    if (argc != 3 || !figure->name) {
        fprintf(stderr, "usage: %s FIGURE ASYNCORO\n", argv[0]);
        return 2;
    }
    tool = argv[2];
    signal(SIGINT, end_early);
    signal(SIGTERM, end_early);
    signal(SIGALRM, end_early);
    alarm(SECONDS_MAX);
    printf("%.3f\n", median_of_samples());
    return 0;
}
