// SPDX-License-Identifier: MIT
// What the journal of a scheduler keeps, and what becomes of one that is cut, damaged, foreign,
// kept by another, or that cannot be written.
#include "cluster/journal.h"
#include "cluster/world.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

static char path[128];
static struct journal *journal;
static struct journal_computation *one, *other;

static void begin(void) {
    world_make();
    snprintf(path, sizeof path, "%s/journal", world_folder);
}

static void open_again(void) {
    char text[256];
    int err;
    journal_close(journal);
    journal = journal_open(path, &err, text);
    ck_assert_msg(journal, "%s", text);
    ck_assert_int_eq(err, 0);
    struct list *all = journal_computations(journal);
    one = list_empty(all) ? NULL : container_of(all->next, struct journal_computation, link);
    other = !one || one->link.next == all
                ? NULL
                : container_of(one->link.next, struct journal_computation, link);
}

static void end(void) {
    journal_close(journal);
    journal = NULL;
    world_clean();
}

static struct journal_worker *worker_at(struct journal_computation *it, unsigned index) {
    struct list *link = it->workers.next;
    while (index-- > 0)
        link = link->next;
    return link == &it->workers ? NULL : container_of(link, struct journal_worker, link);
}

static ac_ref ref_of(uint64_t peer, uint64_t id) { return (ac_ref){.peer = peer, .id = id}; }

// Two computations; of the first one: a worker with jobs 1 and 3, which has given 2 back and lost
// the first attempt of 3; one that has gone without a job; one that has gone with 4; 5 has ended.
static void record(void) {
    open_again();
    one = journal_add(journal, 7, "first");
    other = journal_add(journal, 9, "second");
    struct journal_worker *first = journal_add_worker(one, ref_of(1, 2), 1, ref_of(3, 4));
    struct journal_worker *second = journal_add_worker(one, ref_of(1, 2), 2, ref_of(5, 6));
    struct journal_worker *third = journal_add_worker(one, ref_of(1, 2), 3, ref_of(7, 1ull << 63));
    journal_given(second, 3, 1, 1);
    journal_over(one, 3, 1, true);
    journal_worker_gone(second);
    journal_given(first, 1, 1, 1);
    journal_given(first, 2, 1, 2);
    journal_over(one, 2, 1, false);
    journal_given(first, 3, 2, 3);
    journal_given(third, 4, 1, 1);
    journal_given(third, 5, 300, 2);
    journal_forget(one, 5);
    journal_worker_gone(third);
    ck_assert_int_eq(journal_flush(journal), 0);
}

static void ck_job(uint64_t number, uint32_t attempts, uint8_t lost, bool flies) {
    struct journal_job *job = journal_job(one, number);
    ck_assert_ptr_nonnull(job);
    ck_assert_uint_eq(job->attempts, attempts);
    ck_assert_uint_eq(job->starts_lost, lost);
    ck_assert_int_eq(job->flight != NULL, flies);
}

static void ck_recorded(void) {
    ck_assert_ptr_nonnull(other);
    ck_assert_uint_eq(one->number, 7);
    ck_assert_str_eq(one->name, "first");
    ck_assert_uint_eq(other->number, 9);
    ck_assert_uint_eq(map_count(&other->jobs), 0);
    ck_assert_uint_eq(journal_last_number(journal), 9);
    ck_assert_uint_eq(map_count(&one->jobs), 4);
    ck_job(1, 1, 0, true);
    ck_job(2, 1, 0, false);
    ck_job(3, 2, 1, true);
    ck_job(4, 1, 0, true);
    struct journal_worker *first = worker_at(one, 0), *third = worker_at(one, 1);
    ck_assert_ptr_null(worker_at(one, 2));
    ck_assert_int_eq(first->number, 1);
    ck_assert(ac_ref_equal(first->host, ref_of(1, 2)) && ac_ref_equal(first->ref, ref_of(3, 4)));
    ck_assert(!first->gone && third->gone);
    ck_assert(ac_ref_equal(third->ref, ref_of(7, 1ull << 63)));
    ck_assert_uint_eq(first->given, 3);
    struct journal_flight *a = container_of(first->flights.next, struct journal_flight, link);
    struct journal_flight *b = container_of(a->link.next, struct journal_flight, link);
    ck_assert(b->link.next == &first->flights);
    ck_assert(a->job->number == 1 && a->place == 1 && a->attempt == 1 && a->worker == first);
    ck_assert(b->job->number == 3 && b->place == 3 && b->attempt == 2);
}

TEST(what_was_recorded_is_there_again) {
    uint8_t token[JOURNAL_TOKEN_BYTES];
    begin();
    record();
    memcpy(token, one->token, sizeof token);
    ck_recorded();
    for (int i = 0; i < 3; i++) { // as it was written, and as it was rewritten
        open_again();
        ck_recorded();
        ck_assert(one->restored && worker_at(one, 0)->restored);
        ck_assert_mem_eq(token, journal_id(journal), JOURNAL_ID_BYTES);
        ck_assert_ptr_eq(journal_find(journal, token, sizeof token), one);
    }
    token[JOURNAL_TOKEN_BYTES - 1] ^= 1;
    ck_assert_ptr_null(journal_find(journal, token, sizeof token));
    ck_assert_ptr_null(journal_find(journal, one->token, JOURNAL_TOKEN_BYTES - 1));
    end();
}

TEST(what_is_closed_is_gone_but_its_number) {
    begin();
    record();
    journal_remove(one);
    journal_remove(other);
    open_again();
    ck_assert_ptr_null(one);
    ck_assert_uint_eq(journal_last_number(journal), 9);
    one = journal_add(journal, 10, "next");
    ck_assert_ptr_nonnull(one);
    ck_assert(!one->restored);
    end();
}

TEST(a_worker_that_is_gone_goes_with_its_last_job) {
    begin();
    record();
    journal_forget(one, 4);
    ck_assert_ptr_null(worker_at(one, 1));
    open_again();
    ck_assert_ptr_nonnull(worker_at(one, 0));
    ck_assert_ptr_null(worker_at(one, 1));
    journal_over(one, 1, 99, true); // no such attempt
    journal_over(one, 99, 1, true); // no such job
    journal_forget(one, 99);
    ck_job(1, 1, 0, true);
    end();
}

static size_t read_all(uint8_t *bytes, size_t max) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = read(fd, bytes, max);
    close(fd);
    ck_assert(got >= 0 && (size_t)got < max);
    return (size_t)got;
}

static void write_all(const uint8_t *bytes, size_t count) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ck_assert_int_eq(write(fd, bytes, count), count);
    close(fd);
}

static int try_open(void) {
    char text[256];
    int err;
    struct journal *it = journal_open(path, &err, text);
    ck_assert_int_eq(it == NULL, err < 0);
    ck_assert_int_eq(text[0] != 0, err < 0);
    journal_close(it);
    return err;
}

// In several frames.
static size_t record_some(uint8_t *bytes, size_t max) {
    record();
    struct journal_worker *first = worker_at(one, 0);
    for (uint64_t job = 10; job < 20; job++) {
        journal_given(first, job, 1, job);
        ck_assert_int_eq(journal_flush(journal), 0);
    }
    journal_close(journal);
    journal = NULL;
    return read_all(bytes, max);
}

TEST(a_file_that_is_cut_has_all_that_came_before) {
    uint8_t bytes[4096];
    begin();
    size_t count = record_some(bytes, sizeof bytes);
    uint32_t most = 0;
    for (size_t cut = 17; cut <= count; cut++) {
        write_all(bytes, cut);
        open_again();
        uint32_t has = one ? map_count(&one->jobs) : 0;
        ck_assert_uint_ge(has, most);
        most = has;
        if (one && has) { // and it goes on
            journal_given(worker_at(one, 0), 50, 1, 50);
            ck_assert_int_eq(journal_flush(journal), 0);
            open_again();
            ck_assert_uint_eq(map_count(&one->jobs), has + 1);
        }
        journal_close(journal);
        journal = NULL;
    }
    ck_assert_uint_eq(most, 14);
    end();
}

TEST(a_file_that_is_damaged_is_an_error_and_left_alone) {
    uint8_t bytes[4096], after[4096];
    begin();
    size_t count = record_some(bytes, sizeof bytes);
    for (size_t at = 0; at < count; at++) {
        if (at >= 8 && at < 16)
            continue; // the id may be any
        bytes[at] ^= 0x10;
        write_all(bytes, count);
        ck_assert_int_eq(try_open(), -EBADMSG);
        ck_assert_uint_eq(read_all(after, sizeof after), count);
        ck_assert_mem_eq(bytes, after, count);
        bytes[at] ^= 0x10;
    }
    write_all(bytes, count);
    ck_assert_int_eq(try_open(), 0);
    end();
}

TEST(a_file_that_is_another_one_is_an_error_and_left_alone) {
    uint8_t after[64];
    begin();
    write_all((const uint8_t *)"my notes\n", 9);
    ck_assert_int_eq(try_open(), -EBADMSG);
    ck_assert_uint_eq(read_all(after, sizeof after), 9);
    ck_assert_mem_eq(after, "my notes\n", 9);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    ck_assert_int_eq(try_open(), -EISDIR);
    end();
}

TEST(one_process_keeps_it_and_only_its_user_reads_it) {
    struct stat facts;
    begin();
    record();
    ck_assert_int_eq(try_open(), -EBUSY);
    ck_assert_int_eq(stat(path, &facts), 0);
    ck_assert_uint_eq(facts.st_mode & 0777, 0600);
    journal_close(journal);
    journal = NULL;
    ck_assert_int_eq(chmod(path, 0640), 0);
    ck_assert_int_eq(try_open(), -EACCES);
    ck_assert_int_eq(chmod(path, 0600), 0);
    ck_assert_int_eq(try_open(), 0);
    end();
}

TEST(what_is_over_takes_no_room_in_the_long_run, .seconds_max = 100) {
    struct stat facts;
    begin();
    record();
    struct journal_worker *first = worker_at(one, 0);
    uint64_t job = 10;
    for (int i = 0; i < 300; i++) {
        for (int k = 0; k < 1000; k++, job++) {
            journal_given(first, job, 1, job);
            if (k > 0)
                journal_forget(one, job);
        }
        ck_assert_int_eq(journal_flush(journal), 0);
        ck_assert_int_eq(stat(path, &facts), 0);
        ck_assert_int_lt(facts.st_size, 3 << 20);
    }
    ck_assert_uint_eq(map_count(&one->jobs), 304);
    open_again();
    ck_assert_uint_eq(map_count(&one->jobs), 304);
    ck_assert_uint_eq(worker_at(one, 0)->given, job - 1); // though that one is forgotten
    ck_assert_int_eq(try_open(), -EBUSY);                 // also that which was rewritten
    end();
}

static int told;
static void tell(void *up) {
    ck_assert_ptr_eq(up, &told);
    told++;
}

TEST(one_that_cannot_be_written_is_emptied_and_says_so_once) {
    struct rlimit before, limit;
    struct stat facts;
    begin();
    record();
    journal_watch(journal, tell, &told);
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
    ck_assert_int_eq(stat(path, &facts), 0);
    limit = before;
    limit.rlim_cur = (rlim_t)facts.st_size + 5;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    journal_given(worker_at(one, 0), 20, 1, 20);
    int err = journal_flush(journal);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
    ck_assert_int_eq(err, -EFBIG);
    ck_assert_int_eq(journal_problem(journal), -EFBIG);
    ck_assert_int_eq(told, 1);
    ck_assert_int_eq(stat(path, &facts), 0);
    ck_assert_int_eq(facts.st_size, 0);
    // What is known stays as long as it is used, and does nothing.
    journal_given(worker_at(one, 0), 21, 1, 21);
    journal_over(one, 1, 1, true);
    ck_assert_ptr_null(journal_add(journal, 11, "more"));
    journal_worker_gone(worker_at(one, 0));
    journal_remove(one);
    ck_assert_int_eq(journal_flush(journal), -EFBIG);
    ck_assert_int_eq(told, 1);
    open_again(); // a new one
    ck_assert_ptr_null(one);
    end();
}

TEST(each_allocation_may_fail) {
    bool failed = true;
    begin();
    for (long n = 1; failed; n++) {
        char text[256];
        int err = 0;
        unlink(path);
        memory_fail_nth(n);
        journal = journal_open(path, &err, text);
        ck_assert_int_eq(journal ? 0 : -ENOMEM, err);
        one = journal ? journal_add(journal, 1, "one") : NULL;
        struct journal_worker *worker = one ? journal_add_worker(one, ref_of(1, 1), 1, ref_of(2, 2))
                                            : NULL;
        for (uint64_t job = 1; worker && job < 100; job++)
            journal_given(worker, job, 1, job);
        int problem = journal ? journal_flush(journal) : 0;
        failed = memory_has_failed();
        memory_fail_nth(0);
        ck_assert(problem == 0 || problem == -ENOMEM);
        uint8_t bytes[4096];
        if (problem)
            ck_assert_uint_eq(read_all(bytes, sizeof bytes), 0);
        else if (journal)
            ck_assert_uint_eq(map_count(&one->jobs), 99);
        journal_close(journal);
        journal = NULL;
    }
    end();
}
