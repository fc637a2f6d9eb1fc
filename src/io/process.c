// SPDX-License-Identifier: MIT
// Processes: starting a program on a helper thread, the streams to it, its end.
//
// Starting takes as long as the system needs to load the program, so a thread does it, with copies
// of all that it needs (`starting`). What is given up while the thread is at it is killed.
//
// A coroutine of the library's own, the keeper, waits on each process from its start, takes its end
// at once, so that no zombie is left, and sets an event for whoever waits:
//
//      RUNS --keeper takes the end--> OVER          `over` is set, `end` and `err` tell
//        \----ac_process_close------> killed, and reaped in the background (sys_process_abandon)
#include "io/io.h"

#include <asyncoro/process.h>

static const double reap_retry_seconds = 0.01;

enum { STREAMS = 3, PATH_BYTES_MAX = 4096, INPUT = 0, OUTPUT = 1, ERROR = 2 };

struct ac_process {
    struct io_object object;    // its handle becomes readable when the process has ended
    struct sys_process process; // its handle is -1 once the end was taken
    struct end_watch keeper;    // tells of its end
    bool own_session;
    struct ac_stream *streams[STREAMS]; // owned; NULL: no pipe
    struct ac_event over;               // set when it has ended, or was closed
    int err;                            // why its end is not known; 0: `end` is
    struct sys_process_end end;
};

struct starting {
    struct work work;
    struct sys_process_options how;
    struct sys_process process; // handle -1: it has not been started
    int err;
    int owned[STREAMS]; // descriptors for the process, closed with this; -1: none
    struct ac_stream *lent[STREAMS];
    char **arguments;
    char **environment;
    char *folder;
    char *paths;
    char path[PATH_BYTES_MAX];
};

static void process_closing(struct io_object *object);
static ac_value keep(ac_value argument);
static void keeper_ended(struct end_watch *watch, const struct ac_exit *exit);

// ---- on a helper thread ----

static void run_start(struct work *work) {
    struct starting *it = container_of(work, struct starting, work);
    it->err = sys_program_find(it->arguments[0], it->paths, it->path, sizeof it->path);
    if (!it->err)
        it->err = sys_process_start(&it->process, &it->how);
    if (it->err)
        it->process.handle = -1;
}

// ---- what a start needs ----

// The texts and the list of them in one block; NULL if there is no memory.
static char **copy_texts(const char *const *from) {
    size_t count = 0, bytes = 0;
    for (; from[count]; count++)
        bytes += strlen(from[count]) + 1;
    char **copy = memory_allocate((count + 1) * sizeof *copy + bytes);
    if (!copy)
        return NULL;
    char *to = (char *)(copy + count + 1);
    for (size_t i = 0; i < count; i++) {
        copy[i] = strcpy(to, from[i]);
        to += strlen(to) + 1;
    }
    copy[count] = NULL;
    return copy;
}

static void starting_destroy(struct starting *it) {
    for (int i = 0; i < STREAMS; i++)
        sys_fd_close(it->owned[i]);
    memory_release(it->arguments);
    memory_release(it->environment);
    memory_release(it->folder);
    memory_release(it->paths);
    memory_release(it);
}

// Nobody wants the process any more.
static void orphaned(struct work *work) {
    struct starting *it = container_of(work, struct starting, work);
    sys_process_abandon(&it->process, it->how.own_session);
    starting_destroy(it);
}

static struct starting *starting_create(const char *const *arguments,
                                        const struct ac_process_options *options) {
    struct starting *it = memory_allocate_zeroed(sizeof *it);
    if (!it)
        return NULL;
    for (int i = 0; i < STREAMS; i++)
        it->owned[i] = -1;
    it->process.handle = -1;
    it->work = (struct work){.run = run_start, .orphaned = orphaned};
    it->arguments = copy_texts(arguments);
    it->paths = memory_copy_text(sys_program_paths());
    it->environment = options->environment ? copy_texts(options->environment) : NULL;
    it->folder = options->folder ? memory_copy_text(options->folder) : NULL;
    it->how = (struct sys_process_options){.path = it->path,
                                           .arguments = it->arguments,
                                           .environment = it->environment,
                                           .folder = it->folder,
                                           .input = -1,
                                           .output = -1,
                                           .error = -1,
                                           .extra = -1,
                                           .own_session = options->own_session};
    if (it->arguments && it->paths && !it->environment == !options->environment &&
        !it->folder == !options->folder)
        return it;
    starting_destroy(it);
    return NULL;
}

// What the process gets as its i-th descriptor: stored in *fd, and in it->owned if it is to be
// closed here. 0 or an error.
static int choose(struct starting *it, struct ac_process *process, int i, enum ac_process_way way,
                  struct ac_stream *stream, int *fd) {
    if (stream) {
        int copy = stream_lend(stream);
        if (copy < 0)
            return copy;
        it->lent[i] = stream;
        *fd = it->owned[i] = copy;
        return 0;
    }
    switch (way) {
    case AC_USUAL: *fd = i == INPUT ? -1 : i; return 0;
    case AC_NOTHING: *fd = -1; return 0;
    case AC_INHERIT: *fd = i; return 0;
    case AC_PIPE: {
        struct loop *loop = coro_here()->loop;
        int err = pipe_open(loop, i != INPUT, &process->streams[i], &it->owned[i]);
        if (err)
            return err;
        process->streams[i]->of_process = true;
        *fd = it->owned[i];
        return 0;
    }
    case AC_TO_OUTPUT: *fd = it->how.output; return i == ERROR ? 0 : -EINVAL;
    }
    return -EINVAL;
}

static bool is_of_process(const struct ac_stream *stream) { return stream && stream->of_process; }

static int choose_all(struct starting *it, struct ac_process *process,
                      const struct ac_process_options *options) {
    struct ac_stream *input = options->input_stream;
    if (options->input_from) {
        input = options->input_from->streams[OUTPUT];
        if (!input || options->input_stream)
            return -EINVAL;
    }
    if (is_of_process(options->input_stream) || is_of_process(options->output_stream) ||
        is_of_process(options->error_stream))
        return -EINVAL;
    int err = choose(it, process, INPUT, options->input, input, &it->how.input);
    if (!err)
        err = choose(it, process, OUTPUT, options->output, options->output_stream, &it->how.output);
    if (!err)
        err = choose(it, process, ERROR, options->error, options->error_stream, &it->how.error);
    return err;
}

// ---- starting ----

static void process_release(struct io_object *object) {
    memory_release(container_of(object, struct ac_process, object));
}

static struct ac_process *process_create(struct loop *loop) {
    struct ac_process *process = memory_allocate_zeroed(sizeof *process);
    if (!process)
        return NULL;
    process->process.handle = -1;
    if (io_prepare(loop, &process->object, process_release) == 0)
        return process;
    memory_release(process);
    return NULL;
}

// Takes over what was started, and has it watched. 0 or an error: then it is killed.
static int take_over(struct ac_process *process, struct starting *it) {
    struct loop *loop = coro_here()->loop;
    struct ac_spawn_options options = {.size = sizeof options,
                                       .name = "process keeper",
                                       .stack_bytes = AC_STACK_BYTES_MIN,
                                       .daemon = true};
    int err = 0;
    int copy = sys_fd_copy(it->process.handle);
    struct coro *keeper = NULL;
    if (copy < 0)
        err = copy;
    else if (!(keeper = coro_create(loop, keep, ac_of_pointer(process), &options, true, &err)))
        sys_fd_close(copy);
    if (err) {
        sys_process_abandon(&it->process, it->how.own_session);
        return err;
    }
    process->process = it->process;
    process->own_session = it->how.own_session;
    process->object.closing = process_closing;
    process->keeper.ended = keeper_ended;
    list_init(&process->keeper.link);
    coro_watch(keeper, &process->keeper);
    process->object.users++; // the keeper
    process->object.taken = IO_READS;
    sys_adopt(loop->sys, &process->object.handle, copy, true);
    trace(TRACE_IO, "process %d: %s", process->process.id, it->path);
    return 0;
}

// Gives back what was lent, or closes it.
static void return_lent(struct ac_stream *const lent[STREAMS], bool taken) {
    for (int i = 0; i < STREAMS; i++)
        if (lent[i])
            stream_return(lent[i], taken);
}

// Everything but the checks.
static int start(ac_process **process, const char *const *arguments, ac_time deadline,
                 const struct ac_process_options *options) {
    struct ac_process *new = process_create(coro_here()->loop);
    struct starting *it = starting_create(arguments, options);
    if (!new || !it) {
        if (it)
            starting_destroy(it);
        ac_process_close(new);
        return -ENOMEM;
    }
    // It stays, also if it is closed meanwhile: its output is taken from it at the end.
    ac_process *from = options->input_from;
    int err = from ? io_enter(&from->object, IO_BESIDE) : 0;
    if (err)
        from = NULL;
    else
        err = choose_all(it, new, options);
    struct ac_stream *lent[STREAMS];
    memcpy(lent, it->lent, sizeof lent);
    bool done = err == 0;
    if (done)
        err = work_do_with_files(&it->work, deadline);
    bool gone = done && !work_is_callers(err);
    if (!err)
        err = it->err;
    if (!err)
        err = take_over(new, it);
    if (!gone)
        starting_destroy(it);
    if (!err && from)
        from->streams[OUTPUT] = NULL;
    return_lent(lent, err == 0);
    if (from)
        io_leave(&from->object, IO_BESIDE);
    if (err)
        ac_process_close(new);
    else
        *process = new;
    return err;
}

int ac_process_start_with(ac_process **process, const char *const *arguments, ac_time deadline,
                          const struct ac_process_options *options) {
    static const struct ac_process_options usual = {.size = sizeof usual};
    if (!options)
        options = &usual;
    if (!process)
        return -EINVAL;
    *process = NULL;
    if (!arguments || !arguments[0] || options->size < sizeof *options)
        return -EINVAL;
    int err = coro_may_wait(coro_here(), AC_FOREVER);
    return err ? err : start(process, arguments, deadline, options);
}

// ---- the end ----

static ac_value keep(ac_value argument) {
    struct ac_process *it = ac_pointer_of(argument);
    struct sys_op op = {.verb = SYS_WATCH};
    if (io_operate(&it->object, &op, AC_FOREVER) == 0) {
        // Who traces it, as a debugger does, is told first.
        while ((it->err = sys_process_reap(&it->process, &it->end)) == -EAGAIN &&
               !it->object.closed && ac_sleep(reap_retry_seconds) == 0)
            continue;
        ac_event_set(&it->over);
    }
    return ac_nil;
}

// Perhaps it never ran, for want of memory for its stack. Then nobody will know the end.
static void keeper_ended(struct end_watch *watch, const struct ac_exit *exit) {
    struct ac_process *it = container_of(watch, struct ac_process, keeper);
    if (!ac_event_is_set(&it->over)) {
        it->err = exit->reason ? exit->reason : -ENOMEM;
        ac_event_set(&it->over);
    }
    io_leave(&it->object, IO_READS);
}

static void process_closing(struct io_object *object) {
    struct ac_process *it = container_of(object, struct ac_process, object);
    sys_process_abandon(&it->process, it->own_session);
    ac_event_set(&it->over);
}

void ac_process_close(ac_process *process) {
    if (!process)
        return;
    for (int i = 0; i < STREAMS; i++)
        ac_close(process->streams[i]);
    io_close(&process->object);
}

int ac_process_wait(ac_process *process, struct ac_process_end *end, ac_time deadline) {
    if (!process)
        return -EINVAL;
    int err = io_enter(&process->object, IO_BESIDE);
    if (err)
        return err;
    err = ac_event_wait(&process->over, deadline);
    if (!err)
        err = process->object.closed ? -EBADF : process->err;
    const struct sys_process_end *how = &process->end;
    if (!err && end)
        *end = (struct ac_process_end){.by_signal = how->by_signal,
                                       .code = how->code,
                                       .user_seconds = (double)how->user_ns / 1e9,
                                       .system_seconds = (double)how->system_ns / 1e9,
                                       .memory_bytes_max = how->memory_bytes_max};
    io_leave(&process->object, IO_BESIDE);
    return err;
}

void ac_process_end_text(const struct ac_process_end *end, char *text, size_t bytes) {
    sys_process_end_text(&(struct sys_process_end){.by_signal = end->by_signal, .code = end->code},
                         text, bytes);
}

int ac_process_signal(ac_process *process, int number) {
    if (!process || number <= 0)
        return -EINVAL;
    return sys_process_signal(&process->process, number, process->own_session);
}

int ac_process_stop(ac_process *process, struct ac_process_end *end, ac_time deadline) {
    if (!process)
        return -EINVAL;
    (void)ac_process_signal(process, SYS_SIGNAL_TERMINATE);
    int err = ac_process_wait(process, end, deadline);
    bool kills = err == -ETIMEDOUT || coro_is_interruption(err);
    if (kills)
        (void)ac_process_signal(process, SYS_SIGNAL_KILL);
    return err == -ETIMEDOUT ? ac_process_wait(process, end, AC_FOREVER) : err;
}

ac_stream *ac_process_input(const ac_process *process) {
    return process ? process->streams[INPUT] : NULL;
}
ac_stream *ac_process_output(const ac_process *process) {
    return process ? process->streams[OUTPUT] : NULL;
}
ac_stream *ac_process_error(const ac_process *process) {
    return process ? process->streams[ERROR] : NULL;
}
int ac_process_id(const ac_process *process) { return process ? process->process.id : -EINVAL; }
