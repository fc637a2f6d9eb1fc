// SPDX-License-Identifier: MIT
// Mappings: one function over many arguments. Neighbouring arguments travel as a *chunk*, a job
// whose argument is
//
//     [function's name, name of the reducing function or nil, argument, ...]
//
// and whose result tells of the first `count` of them, one at least:
//
//     [count, result, ...]                                          without a reducing function
//     [count, anything reduced?, reduction, offset, error, ...]     with one
//
// The worker stops when the chunk has taken its time or its results are large; what is left becomes
// another chunk. A chunk is made as large as is likely to take CHUNK_NS, the time for which a
// worker also tells of several short jobs at once (worker.c): so a worker that crashes takes no
// more along than it does where the jobs are submitted one by one. If jobs may run again, the
// arguments of a lost chunk do so each in a chunk of its own, which a worker also tells of alone:
// the one that ends workers is found by that, and the others have their results.
#include "cluster/client_private.h"

enum {
    CHUNK_NS = 200 * 1000,
    STOP_NS = 1000 * 1000, // a worker stops a chunk that turns out longer
    CHUNK_ITEMS_MAX = 1024,
    CHUNK_BYTES = 16 << 10,  // of arguments, after which no more are added
    RESULT_BYTES = 32 << 10, // after which a worker stops
    BESIDE_BYTES = 64 << 10, // may stand beside a result: others, their offsets, a last error
    CHUNKS_LEAST = 64,       // on their way or not yet taken, before no more are made,
    CHUNKS_A_WORKER = 16,    // and more for each worker
    MEAN_OF = 4              // chunks: how quickly the mean forgets
};

// On its way it is a job; once it has ended it holds the results.
struct chunk {
    struct list link; // in mapping.out or mapping.ended
    struct ac_mapping *mapping;
    struct client_job *job; // while it is on its way
    uint64_t first;         // index of its first argument
    uint32_t count;
    uint32_t retries;   // that are left
    bool again;         // its argument was in one that is lost
    ac_value arguments; // what the job got
    // Once it has ended:
    ac_value results;    // as the worker told them, of the first `listed`
    uint32_t listed;     // arguments
    uint32_t told;       // to who takes the results
    size_t cursor;       // in the results
    struct ac_exit rest; // what became of all the others
};

// One who waits for a result.
struct mapping_wait {
    struct coro *coro;
    bool woken;                 // and has not run since
    struct ac_mapping *mapping; // NULL: it is closed
};

struct ac_mapping {
    struct list link; // in computation.mappings
    struct ac_computation *computation;
    const struct ac_job_entry *entry, *reduce;
    uint32_t class, class_again; // of chunks; of those that a lost one was made into
    uint32_t retries;
    bool in_order;
    bool alone; // each argument is a chunk
    const ac_value *items;
    uint64_t count;
    ac_mapping_source source;
    void *user;
    bool exhausted; // there are no more arguments: `source_err` if that is an error
    int source_err;
    uint64_t given;       // arguments that are in chunks
    double item_ns;       // what an argument takes, lately; 0: not known
    struct list out;      // chunks that have not ended
    struct list ended;    // those whose results were not all taken; in order if wanted
    uint32_t chunk_count; // of both
    uint64_t next;        // in order: the index that is due
    struct chunk *open;   // whose results are being taken
    ac_value reduced;
    bool any_reduced;
    bool reduction_told;
    struct mapping_wait *wait; // NULL: nobody
    int refused; // why the argument given last cannot travel, which is still to be told
    bool busy;   // somebody is in ac_mapping_next, and what he calls may wait;
    bool doomed; // meanwhile it was closed
    ac_value given_room[CHUNK_ITEMS_MAX + 2]; // for a list of them
    ac_value again_room[CHUNK_ITEMS_MAX + 2];
};

static bool abandon_wait(struct coro *coro);

static const struct wait_kind taking = {.name = "result of a mapping", .abandon = abandon_wait};

// ---- at the worker ----

static size_t bytes_of(ac_value it) {
    uint8_t scratch[16];
    return value_encoded(it, scratch).bytes;
}

// Whether a value may stand in the list that is to be a job's argument or result, with so many
// bytes of others beside it.
static int check_item(ac_value it, size_t beside) {
    if (it.kind == AC_INVALID)
        return ac_error_of(it);
    if (value_is_local(it))
        return -ENOTSUP;
    if (bytes_of(it) + beside > BATCH_ITEM_BYTES_MAX)
        return -EMSGSIZE;
    if (it.kind != AC_LIST && it.kind != AC_MAP && it.kind != AC_ERROR)
        return 0;
    ac_value probe = ac_list_of((ac_value[]){ac_hold(it)}, 1);
    int err = batch_fits(probe);
    ac_drop(probe);
    return err;
}

// Takes both.
static ac_value reduce_two(ac_function reduce, ac_value one, ac_value other) {
    ac_value two = ac_list_of((ac_value[]){one, other}, 2);
    ac_value result = two.kind == AC_INVALID ? ac_result(ac_error_of(two)) : reduce(two);
    ac_drop(two);
    return result.kind == AC_INVALID ? ac_result(ac_error_of(result)) : result;
}

// What a chunk has so far, at the worker.
struct yield {
    ac_function reduce; // NULL: none
    ac_value *items;    // of the list that it returns
    size_t count;       // of those
    int64_t done;       // arguments
    size_t bytes;
};

static void add_result(struct yield *yield, ac_value result) {
    int err = check_item(result, BESIDE_BYTES);
    if (err) {
        ac_drop(result);
        result = ac_of_error(err, "the result of the job cannot travel");
    }
    bool failed = result.kind == AC_ERROR;
    if (yield->reduce && failed)
        yield->items[yield->count++] = ac_of(yield->done);
    if (yield->reduce && !failed && ac_error_of(yield->items[2]) < 0) {
        ac_drop(result); // once the reduction is an error it stays that
    } else if (yield->reduce && !failed) {
        bool any = ac_bool_of(yield->items[1]);
        yield->items[1] = ac_of_bool(true);
        yield->items[2] = any ? reduce_two(yield->reduce, yield->items[2], result) : result;
    } else {
        yield->items[yield->count++] = result;
        yield->bytes += bytes_of(result);
    }
    yield->done++;
}

static ac_value run_items(struct yield *yield, ac_function function, ac_value argument,
                          size_t cursor) {
    struct coro *self = coro_here();
    ac_time until = ac_now() + STOP_NS;
    ac_value item;
    yield->count = yield->reduce ? 3 : 1;
    while (ac_next(argument, &cursor, &item)) {
        add_result(yield, function(item));
        ac_drop(item);
        // Who is cancelled and sees it here ends as one that is.
        if (self->cancelled && coro_may_wait(self, AC_FOREVER) < 0)
            break;
        if (yield->bytes > RESULT_BYTES || ac_now() > until)
            break;
    }
    // A reduction that cannot travel is an error that can.
    int err = yield->reduce ? check_item(yield->items[2], BESIDE_BYTES) : 0;
    if (err) {
        ac_drop(yield->items[2]);
        yield->items[2] = ac_of_error(err, "the reduction cannot travel");
    }
    yield->items[0] = ac_of(yield->done);
    return ac_list_of(yield->items, yield->count);
}

static ac_value run_chunk(ac_value argument) {
    size_t cursor = 0;
    ac_value name = ac_nil, reducer = ac_nil;
    (void)(ac_next(argument, &cursor, &name) && ac_next(argument, &cursor, &reducer));
    const struct ac_job_entry *entry = ac_text_of(name) ? job_entry_named(ac_text_of(name)) : NULL;
    const struct ac_job_entry *reduce = ac_text_of(reducer) ? job_entry_named(ac_text_of(reducer))
                                                            : NULL;
    bool known = entry && (reduce || ac_is_nil(reducer)) && ac_count(argument) > 2;
    ac_drop(name);
    ac_drop(reducer);
    if (!known)
        return ac_of_error(-ENOSYS, "a function of a mapping is not declared in this program");
    // An argument gives up to two items, where its offset and its error are told.
    struct yield yield = {.reduce = reduce ? reduce->function : NULL};
    yield.items = memory_allocate_zeroed((2 * ac_count(argument) + 1) * sizeof *yield.items);
    if (!yield.items)
        return ac_result(-ENOMEM);
    ac_value result = run_items(&yield, entry->function, argument, cursor);
    memory_release(yield.items);
    return result;
}

const struct ac_job_entry mapping_entry = {"a chunk of a mapping", run_chunk};
const struct ac_job_entry mapping_again_entry = {"an argument of a mapping, again", run_chunk};

// ---- chunks on their way ----

static bool is_over(const struct ac_computation *it) {
    return it->closer || it->closed || it->desk_gone;
}

// A chunk that is not on its way yet. NULL: no memory.
static struct chunk *make_chunk(struct ac_mapping *it, uint64_t first, uint32_t retries) {
    struct chunk *chunk = memory_allocate_zeroed(sizeof *chunk);
    if (!chunk)
        return NULL;
    *chunk = (struct chunk){.mapping = it, .first = first, .count = 1, .retries = retries};
    list_init(&chunk->link);
    it->chunk_count++;
    return chunk;
}

static void chunk_free(struct chunk *chunk) {
    list_remove(&chunk->link);
    chunk->mapping->chunk_count--;
    if (chunk->job)
        chunk->job->chunk = NULL;
    ac_drop(chunk->arguments);
    ac_drop(chunk->results);
    ac_drop(chunk->rest.value);
    memory_release(chunk);
}

static void set_rest(struct chunk *chunk, enum ac_end how, int err, const char *text) {
    ac_drop(chunk->rest.value);
    chunk->rest = (struct ac_exit){.how = how, .reason = err, .value = ac_of_error(err, text)};
}

// Puts it among those whose results are to be taken, where it belongs.
static void keep_ended(struct chunk *chunk) {
    struct ac_mapping *it = chunk->mapping;
    struct list *before = &it->ended;
    list_remove(&chunk->link);
    if (it->in_order)
        while (before->prev != &it->ended &&
               container_of(before->prev, struct chunk, link)->first > chunk->first)
            before = before->prev;
    list_append(before, &chunk->link);
}

// Makes a job of the arguments, which stand behind two free places and are taken. Where that cannot
// be, the chunk has ended.
static void send_chunk(struct chunk *chunk, ac_value *items, uint32_t count) {
    struct ac_mapping *it = chunk->mapping;
    struct ac_computation *computation = it->computation;
    items[0] = ac_of(it->entry->name);
    items[1] = it->reduce ? ac_of(it->reduce->name) : ac_nil;
    ac_value list = ac_list_of(items, count + 2);
    chunk->count = count;
    if (list.kind == AC_INVALID) {
        set_rest(chunk, AC_FAILED, ac_error_of(list), "it could not be submitted");
        keep_ended(chunk);
        return;
    }
    chunk->arguments = list;
    if (!is_over(computation))
        chunk->job = job_submit_chunk(computation, chunk->again ? it->class_again : it->class,
                                      ac_hold(list), chunk);
    if (chunk->job) {
        list_append(&it->out, &chunk->link);
    } else if (is_over(computation)) {
        set_rest(chunk, AC_CANCELLED, -ECANCELED, "the computation is being closed");
        keep_ended(chunk);
    } else {
        set_rest(chunk, AC_FAILED, -ENOMEM, "it could not be submitted");
        keep_ended(chunk);
    }
}

// Sends its arguments from `from` on again, all in one chunk or one by one. Those that cannot be
// sent stay with this chunk: their offset is returned, or its count.
static uint32_t send_again(struct chunk *chunk, uint32_t from, bool one_by_one, uint32_t retries) {
    struct ac_mapping *it = chunk->mapping;
    ac_value *items = it->again_room;
    uint32_t sent = from, count = 0, at = 0;
    size_t cursor = 0;
    for (ac_value item; sent < chunk->count && ac_next(chunk->arguments, &cursor, &item); at++) {
        if (at < from + 2) {
            ac_drop(item);
            continue;
        }
        items[2 + count++] = item;
        if (!one_by_one && sent + count < chunk->count)
            continue;
        struct chunk *other = make_chunk(it, chunk->first + sent, retries);
        if (!other) {
            while (count > 0)
                ac_drop(items[2 + --count]);
            return sent;
        }
        other->again = one_by_one;
        send_chunk(other, items, count);
        sent += count;
        count = 0;
    }
    return sent;
}

// ---- their ends ----

static void wake_taker(struct ac_mapping *it) {
    struct mapping_wait *wait = it->wait;
    if (!wait || wait->woken)
        return;
    wait->woken = true;
    coro_wake(wait->coro, 0);
}

static void take_list(struct chunk *chunk, const struct ac_exit *exit, double seconds) {
    struct ac_mapping *it = chunk->mapping;
    ac_value results = exit->value;
    ac_value first = ac_nil;
    (void)ac_next(results, &chunk->cursor, &first);
    int64_t listed = ac_int_of(first);
    ac_drop(first);
    if (listed < 1 || listed > chunk->count) {
        set_rest(chunk, AC_FAILED, -EPROTO, "the worker did not tell the results");
        return;
    }
    chunk->results = ac_hold(results);
    chunk->listed = (uint32_t)listed;
    double ns = seconds * 1e9 / (double)listed;
    it->item_ns += it->item_ns > 0 ? (ns - it->item_ns) / MEAN_OF : ns + 1;
    if (exit->how == AC_CANCELLED)
        set_rest(chunk, AC_CANCELLED, -ECANCELED, "it was cancelled before it began");
    else if (send_again(chunk, chunk->listed, false, chunk->retries) == chunk->count)
        chunk->count = chunk->listed;
    else
        set_rest(chunk, AC_FAILED, -ENOMEM, "it could not be submitted again");
}

void mapping_chunk_ended(struct chunk *chunk, const struct ac_exit *exit, double seconds) {
    struct ac_mapping *it = chunk->mapping;
    chunk->job = NULL;
    if (exit->value.kind == AC_LIST) {
        take_list(chunk, exit, seconds);
    } else {
        chunk->rest = *exit;
        chunk->rest.value = ac_hold(exit->value);
        if (exit->how == AC_LOST && chunk->retries > 0 && !is_over(it->computation)) {
            uint32_t sent = send_again(chunk, 0, true, chunk->retries - 1);
            chunk->first += sent;
            chunk->count -= sent;
        }
    }
    if (chunk->count == 0)
        chunk_free(chunk);
    else
        keep_ended(chunk);
    wake_taker(it);
}

// ---- giving arguments ----

// The next argument: 1; 0: there is none; or an error.
static int next_argument(struct ac_mapping *it, ac_value *item) {
    if (it->source)
        return it->source(it->user, item);
    uint64_t at = it->given;
    if (at >= it->count)
        return 0;
    *item = it->items ? ac_hold(it->items[at]) : ac_of(at);
    return 1;
}

static uint32_t chunk_size(const struct ac_mapping *it) {
    double items = it->item_ns > 0 ? CHUNK_NS / it->item_ns : 1;
    return it->alone || items < 1 ? 1 : items > CHUNK_ITEMS_MAX ? CHUNK_ITEMS_MAX : (uint32_t)items;
}

// Makes one chunk of what comes next. 0 or -ENOMEM, and then nothing was read from the source;
// -ECANCELED if it was closed meanwhile.
static int give_chunk(struct ac_mapping *it) {
    ac_value *items = it->given_room;
    uint32_t count = 0, size = chunk_size(it);
    size_t bytes = 0;
    struct chunk *chunk = make_chunk(it, it->given - (it->refused ? 1 : 0), it->retries);
    if (!chunk)
        return -ENOMEM;
    while (count < size && bytes < CHUNK_BYTES && !it->refused && !it->exhausted && !it->doomed) {
        ac_value item = ac_nil;
        int got = next_argument(it, &item);
        it->exhausted = got <= 0;
        it->source_err = it->exhausted ? got : 0;
        if (it->exhausted)
            break;
        it->given++;
        it->refused = check_item(item, 0);
        if (it->refused) {
            ac_drop(item);
        } else {
            bytes += bytes_of(item);
            items[2 + count++] = item;
        }
    }
    if (it->doomed) {
        while (count > 0)
            ac_drop(items[2 + --count]);
        chunk_free(chunk);
        return -ECANCELED;
    }
    if (count > 0) {
        send_chunk(chunk, items, count);
    } else if (it->refused) {
        set_rest(chunk, AC_FAILED, it->refused, "the argument cannot travel");
        it->refused = 0;
        keep_ended(chunk);
    } else {
        chunk_free(chunk);
    }
    return 0;
}

// True once every argument is in a chunk.
static bool is_given(const struct ac_mapping *it) { return it->exhausted && !it->refused; }

static bool is_full(const struct ac_computation *it) { return map_count(&it->jobs) >= JOBS_MAX; }

// Gives as many as there is room for, once a quarter of that is free. Waits for room among the jobs
// of the computation only where none of ours would make any.
static int give(struct ac_mapping *it, ac_time deadline) {
    struct ac_computation *computation = it->computation;
    uint32_t room = CHUNKS_LEAST + CHUNKS_A_WORKER * map_count(&computation->spots);
    int err = 0;
    if (it->chunk_count > room - room / 4)
        return 0;
    while (!err && !is_given(it) && it->chunk_count < room) {
        if (it->chunk_count > 0 && is_full(computation))
            return 0;
        err = is_over(computation) ? -ECANCELED : job_wait_for_room(computation, deadline);
        if (it->doomed)
            err = -ECANCELED;
        if (!err)
            err = give_chunk(it);
    }
    return err;
}

// ---- taking results ----

// What the worker has reduced goes into what there is.
static void fold(struct ac_mapping *it, struct chunk *chunk) {
    ac_value any = ac_nil, value = ac_nil;
    (void)(ac_next(chunk->results, &chunk->cursor, &any) &&
           ac_next(chunk->results, &chunk->cursor, &value));
    bool holds = ac_bool_of(any);
    ac_drop(any);
    if (!holds || ac_error_of(it->reduced) < 0) {
        ac_drop(value);
        return;
    }
    // Once it is an error it stays that.
    if (!it->any_reduced || value.kind == AC_ERROR) {
        ac_drop(it->reduced);
        it->reduced = value;
    } else {
        ac_value before = it->reduced;
        it->reduced = ac_nil; // what is called may wait, and the mapping be closed meanwhile
        ac_value result = reduce_two(it->reduce->function, before, value);
        if (it->doomed)
            ac_drop(result);
        else
            it->reduced = result;
    }
    it->any_reduced = true;
}

static void give_out(struct ac_mapped *result, uint64_t index, enum ac_end how, ac_value value) {
    *result = (struct ac_mapped){.index = (int64_t)index, .how = how, .value = value};
}

// The next result of a chunk; false after the last.
static bool take_from(struct ac_mapping *it, struct chunk *chunk, struct ac_mapped *result) {
    ac_value item, offset;
    if (chunk->told < chunk->listed && !it->reduce) {
        if (!ac_next(chunk->results, &chunk->cursor, &item))
            item = ac_of_error(-EPROTO, "the worker did not tell the result");
        give_out(result, chunk->first + chunk->told++,
                 item.kind == AC_ERROR ? AC_FAILED : AC_FINISHED, item);
        return true;
    }
    if (chunk->told < chunk->listed && ac_next(chunk->results, &chunk->cursor, &offset)) {
        if (!ac_next(chunk->results, &chunk->cursor, &item))
            item = ac_of_error(-EPROTO, "the worker did not tell the error");
        give_out(result, chunk->first + (uint64_t)ac_int_of(offset), AC_FAILED, item);
        ac_drop(offset);
        return true;
    }
    if (chunk->told < chunk->listed)
        chunk->told = chunk->listed;
    if (chunk->told == chunk->count)
        return false;
    give_out(result, chunk->first + chunk->told++, chunk->rest.how, ac_hold(chunk->rest.value));
    return true;
}

// The chunk whose results are to be taken next; NULL: there is none yet.
static struct chunk *open_next(struct ac_mapping *it) {
    struct list *link = list_first(&it->ended);
    struct chunk *chunk = link ? container_of(link, struct chunk, link) : NULL;
    if (!chunk || (it->in_order && chunk->first != it->next))
        return NULL;
    it->next = chunk->first + chunk->count;
    if (it->reduce && chunk->listed > 0)
        fold(it, chunk);
    return it->doomed ? NULL : chunk;
}

static bool take(struct ac_mapping *it, struct ac_mapped *result) {
    while (it->open || (it->open = open_next(it)) != NULL) {
        if (take_from(it, it->open, result))
            return true;
        chunk_free(it->open);
        it->open = NULL;
    }
    return false;
}

// All is told but the reduction: 1 with that, 0 or the error of the source.
static int finish(struct ac_mapping *it, struct ac_mapped *result) {
    if (!it->reduce || it->reduction_told)
        return it->source_err;
    it->reduction_told = true;
    *result = (struct ac_mapped){
        .index = -1,
        .how = it->reduced.kind == AC_ERROR ? AC_FAILED : AC_FINISHED,
        .value = it->reduced,
    };
    it->reduced = ac_nil;
    return 1;
}

static bool abandon_wait(struct coro *coro) {
    struct mapping_wait *wait = coro->wait_for;
    wait->woken = true;
    return true;
}

int ac_mapping_next(ac_mapping *it, struct ac_mapped *result, ac_time deadline) {
    struct coro *self = coro_here();
    if (!self)
        return -EPERM;
    if (!it || !result)
        return -EINVAL;
    if (self->cancelled)
        return coro_may_wait(self, AC_FOREVER);
    if (it->wait || it->busy)
        return -EBUSY;
    while (true) {
        it->busy = true;
        int err = give(it, deadline);
        bool taken = !it->doomed && take(it, result);
        it->busy = false;
        if (it->doomed) {
            memory_release(it);
            return -ECANCELED;
        }
        if (taken)
            return 1;
        if (it->chunk_count == 0 && (err || is_given(it)))
            return err ? err : finish(it, result);
        if (it->chunk_count == 0)
            continue;
        err = coro_may_wait(self, deadline);
        if (err)
            return err;
        struct mapping_wait wait = {.coro = self, .mapping = it};
        it->wait = &wait;
        self->wait_for = &wait;
        err = (int)coro_wait(self, &taking, deadline);
        if (!wait.mapping)
            return err ? err : -ECANCELED;
        it->wait = NULL;
        if (err)
            return err;
    }
}

// ---- opening and closing ----

int ac_mapping_open_with(ac_mapping **mapping, ac_computation *computation, ac_function function,
                         const struct ac_mapping_options *options) {
    if (!coro_here())
        return -EPERM;
    if (!mapping || !computation || !options || options->size != sizeof *options ||
        (options->source && (options->items || options->count)))
        return -EINVAL;
    if (is_over(computation))
        return -ECANCELED;
    const struct ac_job_entry *entry = job_entry_of(function);
    const struct ac_job_entry *reduce = options->reduce ? job_entry_of(options->reduce) : NULL;
    if (!entry || (options->reduce && !reduce)) {
        trace(TRACE_CLUSTER, "a function is to be mapped or to reduce that is not declared: "
                             "declare it with AC_JOB(function)");
        return -ENOSYS;
    }
    struct ac_mapping *it = memory_allocate_zeroed(sizeof *it);
    if (!it)
        return -ENOMEM;
    struct ac_job_options job = options->job;
    job.size = sizeof job;
    job.retries = 0; // of a whole chunk: those of its arguments are counted here
    job.quiet = true;
    int err = job_class_of_chunks(computation, &mapping_entry, entry, &job, &it->class);
    if (!err)
        err = job_class_of_chunks(computation, &mapping_again_entry, entry, &job, &it->class_again);
    if (err) {
        memory_release(it);
        return err;
    }
    it->computation = computation;
    it->entry = entry;
    it->reduce = reduce;
    it->retries = options->job.retries;
    it->in_order = options->in_order;
    it->alone = computation->many_jobs || job.seconds_max > 0;
    it->items = options->items;
    it->count = options->count;
    it->source = options->source;
    it->user = options->user;
    list_init(&it->out);
    list_init(&it->ended);
    list_init(&it->link);
    list_append(&computation->mappings, &it->link);
    *mapping = it;
    return 0;
}

void ac_mapping_close(ac_mapping *it) {
    if (!it)
        return;
    list_remove(&it->link);
    for (struct list *link; (link = list_first(&it->out)) != NULL;) {
        struct chunk *chunk = container_of(link, struct chunk, link);
        job_give_up(it->computation, chunk->job);
        chunk_free(chunk);
    }
    for (struct list *link; (link = list_first(&it->ended)) != NULL;)
        chunk_free(container_of(link, struct chunk, link));
    ac_drop(it->reduced);
    if (it->wait) {
        it->wait->mapping = NULL;
        if (!it->wait->woken)
            coro_wake(it->wait->coro, -ECANCELED);
    }
    it->doomed = it->busy; // then it is released where it is being used
    if (!it->doomed)
        memory_release(it);
}

void mapping_close_all(struct ac_computation *computation) {
    for (struct list *link; (link = list_first(&computation->mappings)) != NULL;)
        ac_mapping_close(container_of(link, struct ac_mapping, link));
}
