// SPDX-License-Identifier: MIT
// Gearman: gearmand on a port of its own, two workers and a client, of libgearman. Jobs are in the
// foreground, for whoever submits in the background gets no result; BATCH of them are added before
// they are run together, so that they are on their way at once.
#include "../../measure.h"

#include <arpa/inet.h>
#include <libgearman/gearman.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum { WORKERS = 2, BATCH = 1000, LATENCIES = 2000, LATENCIES_WARM = 200, JOB_BYTES = 8 };

static const char function[] = "add_one";
static in_port_t port;
static pid_t server, workers[WORKERS];
static pid_t owner;
static gearman_client_st *client;

static void must(bool good, const char *what) {
    if (good)
        return;
    fprintf(stderr, "%s failed\n", what);
    exit(1);
}

static void stop(pid_t process) {
    if (process > 0 && kill(process, SIGKILL) == 0)
        waitpid(process, NULL, 0);
}

static void stop_all(void) {
    if (getpid() != owner)
        return;
    for (int i = 0; i < WORKERS; i++)
        stop(workers[i]);
    stop(server);
}

static struct sockaddr_in local(in_port_t number) {
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons(number),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static void find_port(void) {
    struct sockaddr_in at = local(0);
    socklen_t bytes = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    must(fd >= 0 && bind(fd, (struct sockaddr *)&at, bytes) == 0 &&
             getsockname(fd, (struct sockaddr *)&at, &bytes) == 0,
         "a port");
    port = ntohs(at.sin_port);
    close(fd);
}

static pid_t start(void (*process)(void)) {
    pid_t child = fork();
    must(child >= 0, "fork");
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        process();
        _exit(1);
    }
    return child;
}

static void serve(void) {
    char number[16];
    snprintf(number, sizeof number, "%u", port);
    execlp("gearmand", "gearmand", "--listen=127.0.0.1", "--port", number, "--log-file=none",
           "--verbose=FATAL", NULL);
    execl("/usr/sbin/gearmand", "gearmand", "--listen=127.0.0.1", "--port", number,
          "--log-file=none", "--verbose=FATAL", NULL);
}

static gearman_return_t add_one(gearman_job_st *job, void *unused) {
    int64_t x = 0;
    (void)unused;
    memcpy(&x, gearman_job_workload(job), sizeof x);
    x++;
    gearman_return_t err = gearman_job_send_complete(job, &x, sizeof x);
    return gearman_failed(err) ? GEARMAN_ERROR : GEARMAN_SUCCESS;
}

static void work(void) {
    gearman_worker_st *worker = gearman_worker_create(NULL);
    gearman_worker_add_server(worker, "127.0.0.1", port);
    gearman_worker_define_function(worker, function, sizeof function - 1,
                                   gearman_function_create(add_one), 0, NULL);
    while (gearman_success(gearman_worker_work(worker)))
        continue;
}

static void begin(void) {
    struct sockaddr_in at;
    owner = getpid();
    atexit(stop_all);
    find_port();
    at = local(port);
    server = start(serve);
    for (int tries = 0;; tries++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        bool there = connect(fd, (struct sockaddr *)&at, sizeof at) == 0;
        close(fd);
        if (there)
            break;
        must(tries < 500 && usleep(10000) == 0 && waitpid(server, NULL, WNOHANG) == 0, "gearmand");
    }
    for (int i = 0; i < WORKERS; i++)
        workers[i] = start(work);
    client = gearman_client_create(NULL);
    must(client && gearman_success(gearman_client_add_server(client, "127.0.0.1", port)),
         "gearman_client_add_server");
}

static uint64_t done;

static gearman_return_t count_one(gearman_task_st *task) {
    must(gearman_task_data_size(task) == JOB_BYTES, "the result");
    done++;
    return GEARMAN_SUCCESS;
}

static uint64_t run_batches(uint64_t n) {
    static int64_t arguments[BATCH];
    gearman_client_set_complete_fn(client, count_one);
    for (done = 0; done < n;) {
        uint64_t before = done;
        for (int i = 0; i < BATCH; i++) {
            gearman_return_t err;
            arguments[i] = i;
            gearman_client_add_task(client, NULL, NULL, function, NULL, &arguments[i], JOB_BYTES,
                                    &err);
            must(gearman_success(err), "gearman_client_add_task");
        }
        must(gearman_success(gearman_client_run_tasks(client)) && done == before + BATCH,
             "gearman_client_run_tasks");
        gearman_client_task_free_all(client);
    }
    return done;
}

static double jobs_single(void) { return 1e9 / measure(run_batches); }

static double job_latency(void) {
    static double us[LATENCIES];
    for (int64_t i = -LATENCIES_WARM; i < LATENCIES; i++) {
        size_t bytes;
        gearman_return_t err;
        double begun = measure_now();
        int64_t *result = gearman_client_do(client, function, NULL, &i, sizeof i, &bytes, &err);
        must(gearman_success(err) && bytes == sizeof i && *result == i + 1, "gearman_client_do");
        if (i >= 0)
            us[i] = (measure_now() - begun) / 1e3;
        free(result);
    }
    return measure_median(us, LATENCIES);
}

int main(int argc, char **argv) {
    static const struct measure_figure figures[] = {
        {"jobs-single", begin, NULL, jobs_single},
        {"job-latency", begin, NULL, job_latency},
        {NULL, NULL, NULL, NULL},
    };
    return measure_main(argc, argv, figures);
}
