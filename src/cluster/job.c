// SPDX-License-Identifier: MIT
// Jobs as their owner sees them: submitting, running at a worker, cancelling, asking why; and the
// notices of their ends.
#include "cluster/client_private.h"

#include <stdio.h>

enum { CLASS_ITEMS = 11, TOLD_AT_ONCE = 2048 };

// What jobs of a class have in common: all bytes are set, so that it may be compared as such.
struct class_key {
    const struct ac_job_entry *entry;
    const struct ac_job_entry *mapped; // by chunks, for which `entry` stands; NULL
    uint64_t memory;
    double seconds_max;
    uint32_t cpus;
    uint8_t retries;
    bool copies, wait_for_nodes, quiet;
    char tags[256], node[64], architecture[16];
};

// One who waits until fewer jobs have not ended.
struct submitter {
    struct list link;
    struct coro *coro;
};

static bool abandon_submit(struct coro *coro);
static bool abandon_run(struct coro *coro);

static const struct wait_kind submitting = {.name = "room for a job", .abandon = abandon_submit};
static const struct wait_kind starting = {.name = "start of a job", .abandon = abandon_run};

// What is wrong with a call that wants to run a function; 0 if nothing is.
static int check_call(const struct ac_computation *it, ac_function function, ac_value argument,
                      const struct ac_job_entry **entry) {
    struct coro *self = coro_here();
    if (!self)
        return -EPERM;
    if (argument.kind == AC_INVALID)
        return ac_error_of(argument);
    if (self->cancelled)
        return coro_may_wait(self, AC_FOREVER);
    if (it->closer || it->closed || it->desk_gone)
        return -ECANCELED;
    if (value_is_local(argument))
        return -ENOTSUP;
    int err = batch_fits(argument);
    if (err)
        return err;
    *entry = job_entry_of(function);
    if (!*entry)
        trace(TRACE_CLUSTER, "a function is to be run that is not declared: declare it with "
                             "AC_JOB(function)");
    return *entry ? 0 : -ENOSYS;
}

// ---- classes ----

static bool copy_text(char *to, size_t bytes, const char *text) {
    return !text || snprintf(to, bytes, "%s", text) < (int)bytes;
}

static int make_key(struct class_key *key, const struct ac_job_entry *entry,
                    const struct ac_job_options *options) {
    memset(key, 0, sizeof *key);
    key->entry = entry;
    if (!options)
        return 0;
    key->cpus = options->cpus;
    key->memory = options->memory;
    key->seconds_max = options->seconds_max;
    key->retries = options->retries > UINT8_MAX ? UINT8_MAX : (uint8_t)options->retries;
    key->copies = options->copies;
    key->wait_for_nodes = options->wait_for_nodes;
    key->quiet = options->quiet;
    bool good = options->seconds_max >= 0 &&
                copy_text(key->tags, sizeof key->tags, options->tags) &&
                copy_text(key->node, sizeof key->node, options->node) &&
                copy_text(key->architecture, sizeof key->architecture, options->architecture);
    return good ? 0 : -EINVAL;
}

static int tell_class(struct batch *batch, const struct class_key *key) {
    return batch_add(batch, THING_CLASS, ac_of(key->entry->name), ac_of(key->cpus),
                     ac_of(key->memory), ac_of(key->tags), ac_of(key->node),
                     ac_of(key->architecture), ac_of((int)key->retries), ac_of_bool(key->copies),
                     ac_of_bool(key->wait_for_nodes), ac_of(key->seconds_max),
                     ac_of_bool(key->quiet));
}

static int add_class(struct ac_computation *it, const struct class_key *key, uint32_t *number) {
    if (it->class_count == JOB_CLASSES_MAX)
        return -E2BIG;
    int err = tell_class(&it->wants, key);
    if (!err && computation_keeps(it))
        err = tell_class(&it->kept_classes, key);
    if (err)
        return err;
    *number = it->class_count++;
    // Without the memory to know it again the next job of this kind makes one more.
    (void)map_put(&it->classes, key, sizeof *key, (void *)(uintptr_t)(*number + 1));
    return 0;
}

static int find_class(struct ac_computation *it, const struct class_key *key, uint32_t *number) {
    uintptr_t known = (uintptr_t)map_get(&it->classes, key, sizeof *key);
    if (!known)
        return add_class(it, key, number);
    *number = (uint32_t)(known - 1);
    return 0;
}

static int class_of(struct ac_computation *it, const struct ac_job_entry *entry,
                    const struct ac_job_options *options, uint32_t *number) {
    static const struct ac_job_options none = {.size = sizeof none};
    bool plain = !options ||
                 (options->size == sizeof none && memcmp(options, &none, sizeof none) == 0);
    if (plain && it->last_entry == entry) {
        *number = it->last_class;
        return 0;
    }
    struct class_key key;
    int err = make_key(&key, entry, options);
    if (!err)
        err = find_class(it, &key, number);
    if (plain && !err) {
        it->last_entry = entry;
        it->last_class = *number;
    }
    return err;
}

int job_class_of_chunks(struct ac_computation *it, const struct ac_job_entry *entry,
                        const struct ac_job_entry *mapped, const struct ac_job_options *options,
                        uint32_t *number) {
    struct class_key key;
    int err = make_key(&key, entry, options);
    key.mapped = mapped;
    return err ? err : find_class(it, &key, number);
}

// ---- submitting ----

static bool abandon_submit(struct coro *coro) {
    struct submitter *it = coro->wait_for;
    list_remove(&it->link);
    return true;
}

static void let_submit(struct ac_computation *it) {
    struct list *link = map_count(&it->jobs) < JOBS_MAX ? list_take(&it->submitters) : NULL;
    if (link)
        coro_wake(container_of(link, struct submitter, link)->coro, 0);
}

void job_end_waits(struct ac_computation *it, int err) {
    for (struct list *link; (link = list_take(&it->submitters)) != NULL;)
        coro_wake(container_of(link, struct submitter, link)->coro, err);
}

int job_wait_for_room(struct ac_computation *it, ac_time deadline) {
    struct coro *self = coro_here();
    while (map_count(&it->jobs) >= JOBS_MAX) {
        int err = coro_may_wait(self, deadline);
        if (err)
            return err;
        struct submitter waits = {.coro = self};
        list_init(&waits.link);
        list_append(&it->submitters, &waits.link);
        self->wait_for = &waits;
        err = (int)coro_wait(self, &submitting, deadline);
        if (err)
            return err;
    }
    return 0;
}

// Does not take the values, but holds them where jobs are kept.
static struct client_job *create_job(const struct ac_computation *it, uint32_t class, ac_value at,
                                     ac_value argument) {
    if (!computation_keeps(it))
        return memory_allocate_zeroed(sizeof(struct client_job));
    struct kept_job *kept = memory_allocate(sizeof *kept);
    if (!kept)
        return NULL;
    *kept = (struct kept_job){
        .job.kept = true, .class = class, .at = ac_hold(at), .argument = ac_hold(argument)};
    return &kept->job;
}

static void drop_kept(struct client_job *job) {
    if (!job->kept)
        return;
    struct kept_job *kept = container_of(job, struct kept_job, job);
    ac_drop(kept->at);
    ac_drop(kept->argument);
    kept->at = kept->argument = ac_nil;
}

// NULL is ignored.
static void job_release(struct client_job *job) {
    if (job)
        drop_kept(job);
    memory_release(job);
}

// A job with the next number. Takes the argument.
static struct client_job *add_job(struct ac_computation *it, uint32_t class, ac_value at,
                                  ac_value argument) {
    struct client_job *job = create_job(it, class, at, argument);
    int err = job ? map_put_id(&it->jobs, it->last_number + 1, job) : -ENOMEM;
    if (err) {
        job_release(job);
        ac_drop(at);
        ac_drop(argument);
        return NULL;
    }
    job->number = ++it->last_number;
    err = batch_add(&it->wants, THING_JOB, ac_of(job->number), ac_of(class), at, argument);
    if (err) {
        (void)map_take_id(&it->jobs, job->number);
        job_release(job);
        return NULL;
    }
    computation_wants(it, 0);
    return job;
}

struct client_job *job_submit_chunk(struct ac_computation *it, uint32_t class, ac_value argument,
                                    struct chunk *chunk) {
    struct client_job *job = add_job(it, class, ac_nil, argument);
    if (job)
        job->chunk = chunk;
    return job;
}

static void cancel(struct ac_computation *it, struct client_job *job) {
    job->unwanted = true;
    computation_want(it, THING_DROP, ac_of(job->number));
}

void job_give_up(struct ac_computation *it, struct client_job *job) {
    job->silent = true;
    cancel(it, job);
}

int64_t ac_submit_with(ac_computation *it, ac_function function, ac_value argument,
                       const struct ac_job_options *options) {
    const struct ac_job_entry *entry;
    uint32_t class = 0;
    int err = it ? check_call(it, function, argument, &entry) : -EINVAL;
    if (!err)
        err = job_wait_for_room(it, AC_FOREVER);
    if (!err)
        err = class_of(it, entry, options, &class);
    if (err) {
        ac_drop(argument);
        return err;
    }
    struct client_job *job = add_job(it, class, ac_nil, argument);
    return job ? (int64_t)job->number : -ENOMEM;
}

// Cancelled before the job began: nobody will hear of it.
static bool abandon_run(struct coro *coro) {
    struct run_wait *wait = coro->wait_for;
    struct client_job *job = wait->job;
    wait->job = NULL;
    job->wait = NULL;
    job->silent = true;
    cancel(wait->computation, job);
    return true;
}

ac_ref ac_run_at_with(ac_computation *it, ac_ref worker, ac_function function, ac_value argument) {
    const struct ac_job_entry *entry;
    uint32_t class = 0;
    int err = it ? check_call(it, function, argument, &entry) : -EINVAL;
    if (!err && !map_get(&it->spots, &worker, sizeof worker))
        err = -EHOSTUNREACH;
    if (!err)
        err = class_of(it, entry, NULL, &class);
    if (err) {
        ac_drop(argument);
        return ref_none(err);
    }
    struct client_job *job = add_job(it, class, ac_of(worker), argument);
    if (!job)
        return ref_none(-ENOMEM);
    struct run_wait wait = {.coro = coro_here(), .computation = it, .job = job};
    job->at = true;
    job->wait = &wait;
    wait.coro->wait_for = &wait;
    err = (int)coro_wait(wait.coro, &starting, AC_FOREVER);
    return err < 0 ? ref_none(err) : wait.result;
}

int ac_job_cancel(ac_computation *it, int64_t number) {
    if (!coro_here())
        return -EPERM;
    if (!it || number <= 0)
        return -EINVAL;
    struct client_job *job = map_get_id(&it->jobs, (uint64_t)number);
    if (!job || job->at || job->chunk)
        return -ESRCH;
    cancel(it, job);
    return 0;
}

int ac_job_why(ac_computation *it, int64_t number, char *text, size_t bytes, ac_time deadline) {
    if (!coro_here())
        return -EPERM;
    if (!it || number <= 0 || !text || bytes == 0)
        return -EINVAL;
    text[0] = 0;
    if (!map_get_id(&it->jobs, (uint64_t)number))
        return -ESRCH;
    if (it->where[0] && !ac_ref_is(it->desk)) {
        snprintf(text, bytes, "waits: %s", *it->why ? it->why : "the scheduler is being sought");
        return 0;
    }
    if (!ac_ref_is(it->desk) || it->telling || !batch_empty(&it->wants)) {
        snprintf(text, bytes, "is on its way to the scheduler");
        return 0;
    }
    ac_value answer;
    int err = ac_call(it->desk, ac_list("why", number), &answer, deadline);
    if (err)
        return err;
    if (ac_text_of(answer))
        snprintf(text, bytes, "%s", ac_text_of(answer));
    else
        err = -ESRCH;
    ac_drop(answer);
    return err;
}

// ---- news ----

void job_started(struct ac_computation *it, const ac_value *items) {
    struct client_job *job = map_get_id(&it->jobs, (uint64_t)ac_int_of(items[0]));
    if (!job || ac_ref_equal(job->coroutine, ac_ref_of(items[2])))
        return;
    job->coroutine = ac_ref_of(items[2]);
    if (job->wait) {
        struct run_wait *wait = job->wait;
        job->wait = NULL;
        wait->job = NULL;
        wait->result = job->coroutine;
        coro_wake(wait->coro, 0);
    }
    if (job->silent)
        return;
    struct ac_status status = {.kind = AC_JOB_STARTED,
                               .worker = ac_ref_of(items[1]),
                               .coroutine = job->coroutine,
                               .job = job->at ? 0 : (int64_t)job->number};
    spot_describe(it, status.worker, &status);
    computation_tell(it, status_notice(&status));
}

// Takes the value of the exit.
static void end_job(struct ac_computation *it, struct client_job *job, const struct ac_exit *exit,
                    ac_ref worker, double seconds) {
    (void)map_take_id(&it->jobs, job->number);
    bool unstarted = job->wait != NULL;
    if (unstarted) { // in ac_run_at, where the error is the answer
        struct run_wait *wait = job->wait;
        wait->job = NULL;
        coro_wake(wait->coro, exit->reason < 0 ? exit->reason : -EHOSTUNREACH);
    }
    if (job->chunk) {
        mapping_chunk_ended(job->chunk, exit, seconds);
        ac_drop(exit->value);
    } else if (unstarted || job->silent) {
        ac_drop(exit->value);
    } else {
        struct ac_job_exit end = {.exit = *exit,
                                  .job = job->at ? 0 : (int64_t)job->number,
                                  .worker = worker,
                                  .seconds = seconds};
        end.exit.who = job->coroutine;
        struct ac_status spot = {0};
        spot_describe(it, worker, &spot);
        memcpy(end.location, spot.location, sizeof end.location);
        computation_tell(it, job_exit_notice(&end));
    }
    job_release(job);
    let_submit(it);
    if (map_count(&it->jobs) == 0)
        computation_changed(it);
}

void job_done(struct ac_computation *it, const ac_value *items) {
    struct client_job *job = map_get_id(&it->jobs, (uint64_t)ac_int_of(items[0]));
    int64_t how = ac_int_of(items[1]);
    if (!job || how < AC_FINISHED || how > AC_LOST)
        return;
    struct ac_exit exit = {
        .how = (enum ac_end)how, .reason = (int)ac_int_of(items[2]), .value = ac_hold(items[3])};
    end_job(it, job, &exit, ac_ref_of(items[4]), ac_real_of(items[5]));
}

void job_end_all(struct ac_computation *it, enum ac_end how, int err, const char *why) {
    uint64_t cursor = 0;
    for (struct client_job *job; (job = map_next(&it->jobs, &cursor, NULL, NULL)) != NULL;) {
        struct ac_exit exit = {.how = how, .reason = err, .value = ac_of_error(err, why)};
        end_job(it, job, &exit, ac_no_ref, 0);
    }
}

// ---- a scheduler that keeps a journal ----

void job_keep_none(struct ac_computation *it) {
    uint64_t cursor = 0;
    for (struct client_job *job; (job = map_next(&it->jobs, &cursor, NULL, NULL)) != NULL;)
        drop_kept(job);
    batch_done(&it->kept_classes);
}

static int send_all(struct ac_computation *it, struct batch *batch) {
    int err = 0;
    while (!err && !batch_empty(batch)) {
        ac_value message = batch_take(batch, "want");
        err = message.kind == AC_INVALID ? ac_error_of(message) : ac_send(it->desk, message);
    }
    return err;
}

static int tell_classes(struct ac_computation *it, struct batch *batch) {
    const struct batch *classes = &it->kept_classes;
    int err = 0;
    for (size_t at = 0; !err && at < classes->count; at += CLASS_ITEMS + 1) {
        ac_value items[CLASS_ITEMS];
        for (size_t i = 0; i < CLASS_ITEMS; i++)
            items[i] = ac_hold(classes->items[at + 1 + i]);
        err = batch_add_items(batch, THING_CLASS, items, CLASS_ITEMS);
    }
    return err;
}

static int tell_job(const struct client_job *job, struct batch *batch) {
    const struct kept_job *kept = container_of(job, struct kept_job, job);
    int err = batch_add(batch, THING_JOB, ac_of(job->number), ac_of(kept->class), ac_hold(kept->at),
                        ac_hold(kept->argument));
    if (!err && job->unwanted)
        err = batch_add(batch, THING_DROP, ac_of(job->number));
    return err;
}

// All is on record but that all jobs are unwanted; what is added while this waits follows after it.
int job_tell_again(struct ac_computation *it) {
    struct batch batch = {0};
    uint64_t cursor = 0, told = 0, last = it->last_number;
    batch_done(&it->wants);
    int err = tell_classes(it, &batch);
    // A map is visited in the order of insertion, which is that of their numbers.
    for (struct client_job *job;
         !err && (job = map_next(&it->jobs, &cursor, NULL, NULL)) != NULL;) {
        if (job->number > last)
            break;
        told++;
        err = tell_job(job, &batch);
        if (!err && batch.count > TOLD_AT_ONCE)
            err = send_all(it, &batch);
    }
    if (!err && it->all_unwanted)
        err = batch_add(&batch, THING_DROP, ac_of(0));
    if (!err)
        err = batch_add(&batch, THING_ALL, ac_of(told));
    if (!err)
        err = send_all(it, &batch);
    batch_done(&batch);
    return err;
}

void job_free_all(struct ac_computation *it) {
    uint64_t cursor = 0;
    for (struct client_job *job; (job = map_next(&it->jobs, &cursor, NULL, NULL)) != NULL;) {
        (void)map_take_id(&it->jobs, job->number);
        job_release(job);
    }
    map_done(&it->jobs);
    map_done(&it->classes);
}
