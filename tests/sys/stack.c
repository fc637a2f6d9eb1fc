// SPDX-License-Identifier: MIT
// Tests of src/sys/stack.c: sizes, reuse, colours, and the three ways to guard a stack. What this
// kernel has the tests take away from it with a filter of system calls.
#include "sys/stack_private.h"
#include "sys/sys.h"
#include "test.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct sys_stacks stacks;

static size_t page(void) { return (size_t)sysconf(_SC_PAGESIZE); }

// Lets madvise(MADV_GUARD_INSTALL) fail with EINVAL, as before Linux 6.13, and mprotect(PROT_NONE)
// too if `all`. False if this computer forbids such filters.
static bool take_guards_away(bool all) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 2),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 102, 4, 3),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, all ? SYS_mprotect : 0xffffffff, 0, 2),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PROT_NONE, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
    };
    struct sock_fprog filter = {.len = countof(code), .filter = code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) == 0;
}

// The signal that ends a process which writes there; 0 if it may.
static int signal_of_writing(char *at) {
    pid_t child = fork();
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL); // not the sanitizer's
        *(volatile char *)at = 1;
        _exit(0);
    }
    int status = 0;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

enum { KIB_16 = 1, KIB_64, KIB_256, MIB_1, MIB_8 }; // classes

// ---- sizes ----

TEST(a_class_is_the_smallest_size_that_holds_the_bytes) {
    const size_t sizes[] = {2 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 8 << 20};
#ifdef SYS_SANITIZED
    int least = KIB_256;
    ck_assert_int_eq(sys_stack_class(2 << 10), least);
#else
    int least = KIB_16;
    ck_assert_int_eq(sys_stack_class(2 << 10), SYS_STACK_SMALL);
    ck_assert_int_eq(sys_stack_class(0), KIB_64);
#endif
    ck_assert_uint_eq(sys_stack_bytes(SYS_STACK_SMALL), sizes[0]);
    for (int class = KIB_16; class < SYS_STACK_CLASSES; class ++) {
        ck_assert_uint_eq(sys_stack_bytes(class), sizes[class]);
        int expected = class < least ? least : class;
        ck_assert_int_eq(sys_stack_class(sizes[class]), expected);
        ck_assert_int_eq(sys_stack_class(sizes[class] - 1), expected);
        if (class < SYS_STACK_CLASSES - 1)
            ck_assert_int_eq(sys_stack_class(sizes[class] + 1),
                             class + 1 < least ? least : class + 1);
    }
    // Nobody gets a small one who did not ask for just that.
    ck_assert_int_eq(sys_stack_class(1), least);
    ck_assert_int_eq(sys_stack_class((2 << 10) - 1), least);
    ck_assert_int_eq(sys_stack_class((2 << 10) + 1), least);
    ck_assert_int_eq(sys_stack_class((8 << 20) + 1), -EINVAL);
    ck_assert_int_eq(sys_stack_class(SIZE_MAX), -EINVAL);
}

TEST(a_stack_of_each_class_can_be_used_from_top_to_guard) {
    sys_stacks_init(&stacks);
    for (int class = KIB_16; class < SYS_STACK_CLASSES; class ++) {
        char *top = sys_stack_take(&stacks, class);
        ck_assert_ptr_nonnull(top);
        ck_assert_uint_eq((uintptr_t)top % 16, 0);
        char *low = sys_stack_low(top, class);
        char *bottom = low + page();
        ck_assert_uint_eq((uintptr_t)low % page(), 0);
        ck_assert_uint_le((size_t)(bottom + sys_stack_bytes(class) - top), 16 + 31 * 64);
        sys_stack_own(top, &stacks);
        memset(bottom, 7, (size_t)(top - bottom));
        ck_assert_ptr_eq(*(void **)top, &stacks);
        ck_assert_int_eq(signal_of_writing(bottom), 0);
        if (sys_stack_guard() != SYS_GUARD_CANARY) {
            ck_assert_int_eq(signal_of_writing(bottom - 1), SIGSEGV);
            ck_assert_int_eq(signal_of_writing(low), SIGSEGV);
        }
        ck_assert(sys_stack_intact(top, class));
        sys_stack_give(&stacks, class, top);
    }
    sys_stacks_done(&stacks);
}

TEST(guards_made_ahead_are_there) {
    sys_stacks_init(&stacks);
    for (int i = 0; i < 300; i++) {
        char *top = sys_stack_take(&stacks, KIB_16);
        ck_assert_ptr_nonnull(top);
        if (sys_stack_guard() == SYS_GUARD_MARKER && i % 50 == 49)
            ck_assert_int_eq(signal_of_writing(sys_stack_low(top, KIB_16) + page() - 1), SIGSEGV);
    }
    sys_stacks_done(&stacks);
}

// The first stack of a slab has the others guarded if there is a full one before it.
TEST(no_more_guards_are_made_ahead_than_there_are_stacks) {
    sys_stacks_init(&stacks);
    const struct sys_slab *first = NULL, *slab = NULL;
    for (size_t taken = 1; !slab || slab == first; taken++) {
        slab = sys_slab_find(sys_stack_take(&stacks, KIB_256));
        ck_assert_ptr_nonnull(slab);
        first = first ? first : slab;
        ck_assert_uint_le(slab->guarded, slab->cut + taken - 1);
    }
    ck_assert_uint_eq(slab->cut, 1);
    if (sys_stack_guard() == SYS_GUARD_MARKER)
        ck_assert_uint_eq(slab->guarded, slab->count);
    sys_stacks_done(&stacks);
}

TEST(small_stacks_share_a_page_and_have_canaries) {
    sys_stacks_init(&stacks);
    char *tops[8];
    for (int i = 0; i < 8; i++) {
        tops[i] = sys_stack_take(&stacks, SYS_STACK_SMALL);
        ck_assert_ptr_nonnull(tops[i]);
        ck_assert_uint_eq((uintptr_t)tops[i] % 16, 0);
        ck_assert_uint_ge((size_t)(tops[i] - sys_stack_low(tops[i], SYS_STACK_SMALL)), 1800);
    }
    ck_assert_uint_lt((size_t)(tops[7] - tops[0]), 8 * 2048);
    for (int i = 0; i < 8; i++) {
        char *low = sys_stack_low(tops[i], SYS_STACK_SMALL);
        memset(low + sizeof(uint64_t), 7, (size_t)(tops[i] - low) - sizeof(uint64_t));
    }
    for (int i = 0; i < 8; i++)
        ck_assert(sys_stack_intact(tops[i], SYS_STACK_SMALL));
    *(sys_stack_low(tops[3], SYS_STACK_SMALL) + 2) ^= 1;
    ck_assert(!sys_stack_intact(tops[3], SYS_STACK_SMALL));
    // They do not make others be checked.
    ck_assert_uint_eq(stacks.checks, 0);
    sys_stacks_done(&stacks);
}

// ---- reuse ----

TEST(the_latest_given_back_is_the_first_taken_again) {
    sys_stacks_init(&stacks);
    void *tops[5];
    for (int i = 0; i < 5; i++)
        tops[i] = sys_stack_take(&stacks, KIB_64);
    void *large = sys_stack_take(&stacks, MIB_1);
    for (int i = 0; i < 5; i++)
        sys_stack_give(&stacks, KIB_64, tops[i]);
    sys_stack_give(&stacks, MIB_1, large);
    for (int i = 4; i >= 0; i--)
        ck_assert_ptr_eq(sys_stack_take(&stacks, KIB_64), tops[i]);
    ck_assert_ptr_eq(sys_stack_take(&stacks, MIB_1), large);
    sys_stacks_done(&stacks);
}

TEST(stacks_of_several_slabs_are_distinct_and_found_again) {
    sys_stacks_init(&stacks);
    enum { COUNT = 300 }; // 256 fit a slab
    char *tops[COUNT];
    char *small = sys_stack_take(&stacks, KIB_64);
    for (int i = 0; i < COUNT; i++) {
        tops[i] = sys_stack_take(&stacks, KIB_256);
        ck_assert_ptr_nonnull(tops[i]);
        *(int *)(tops[i] - 8) = i;
        struct sys_slab *slab = sys_slab_find(tops[i]);
        size_t index = (size_t)(tops[i] - slab->base) / sys_stack_span(KIB_256);
        ck_assert_ptr_eq(sys_stack_top_at(slab, index), tops[i]);
    }
    for (int i = 0; i < COUNT; i++)
        ck_assert_int_eq(*(int *)(tops[i] - 8), i);
    ck_assert_ptr_ne(sys_slab_find(tops[0]), sys_slab_find(tops[COUNT - 1]));
    ck_assert_int_eq(sys_slab_find(small)->class, KIB_64);
    ck_assert_ptr_null(sys_slab_find(&stacks));
    ck_assert_ptr_null(sys_slab_find(NULL));
    sys_stacks_done(&stacks);
    ck_assert_ptr_null(sys_slab_find(tops[0]));
}

// Processor time for finding the slab of a stack many times.
static clock_t finding(const void *top) {
    clock_t start = clock();
    for (int i = 0; i < 20000; i++)
        ck_assert_ptr_nonnull(sys_slab_find(top));
    return clock() - start;
}

// More slabs than the table has places. The oldest is found as fast as the latest, give or take
// what may come between on a busy machine.
TEST(one_of_many_slabs_is_found_at_once, .seconds_max = 60) {
    enum { SLABS = 1100 };
    static char *tops[SLABS];
    sys_stacks_init(&stacks);
    int class = sys_stack_class(8 << 20);
    for (int i = 0; i < SLABS; i++) {
        tops[i] = sys_stack_take(&stacks, class);
        ck_assert_ptr_nonnull(tops[i]);
        while (stacks.latest[class]->cut < stacks.latest[class]->count)
            ck_assert_ptr_nonnull(sys_stack_take(&stacks, class)); // the next is in another slab
    }
    for (int i = 0; i < SLABS; i++) {
        struct sys_slab *slab = sys_slab_find(tops[i]);
        ck_assert_ptr_nonnull(slab);
        ck_assert(tops[i] > slab->base && tops[i] < slab->base + SLAB_BYTES);
    }
    clock_t latest = finding(tops[SLABS - 1]), oldest = finding(tops[0]);
    ck_assert_int_lt(oldest, 20 * latest + 1000);
    sys_stacks_done(&stacks);
    for (int i = 0; i < SLABS; i++)
        ck_assert_ptr_null(sys_slab_find(tops[i]));
}

TEST(tops_do_not_fall_into_the_same_cache_sets) {
    sys_stacks_init(&stacks);
    bool seen[64] = {false};
    int different = 0;
    for (int i = 0; i < 64; i++) {
        size_t set = (uintptr_t)sys_stack_take(&stacks, KIB_64) / 64 % 64;
        different += !seen[set];
        seen[set] = true;
    }
    ck_assert_int_ge(different, 32);
    sys_stacks_done(&stacks);
}

TEST(two_pools_share_nothing) {
    struct sys_stacks other;
    sys_stacks_init(&stacks);
    sys_stacks_init(&other);
    char *mine = sys_stack_take(&stacks, KIB_64);
    char *its = sys_stack_take(&other, 1);
    ck_assert_ptr_ne(sys_slab_find(mine), sys_slab_find(its));
    sys_stacks_done(&stacks);
    its[-1] = 1;
    ck_assert_ptr_nonnull(sys_slab_find(its));
    sys_stacks_done(&other);
}

TEST(memory_that_runs_out_gives_no_stack) {
    sys_stacks_init(&stacks);
    memory_fail_nth(1);
    ck_assert_ptr_null(sys_stack_take(&stacks, KIB_64));
    ck_assert(memory_has_failed());
    void *top = sys_stack_take(&stacks, KIB_64);
    ck_assert_ptr_nonnull(top);
    sys_stacks_done(&stacks);
}

// ---- guards ----

TEST(an_untouched_stack_takes_no_memory) {
    sys_stacks_init(&stacks);
    char *top = sys_stack_take(&stacks, MIB_8);
    unsigned char resident[2048];
    char *low = sys_stack_low(top, MIB_8);
    top[-1] = 1;
    ck_assert_int_eq(mincore(low, 8 << 20, resident), 0);
    int pages = 0;
    for (size_t i = 0; i < (8 << 20) / page(); i++)
        pages += resident[i] & 1;
    ck_assert_int_le(pages, 2);
    sys_stacks_done(&stacks);
}

TEST(an_old_kernel_guards_by_mprotect) {
    if (!take_guards_away(false))
        TEST_SKIP("this computer forbids filters of system calls");
    sys_stacks_init(&stacks);
    for (int i = 0; i < 40; i++) {
        char *top = sys_stack_take(&stacks, KIB_64);
        ck_assert_int_eq(sys_stack_guard(), SYS_GUARD_MPROTECT);
        ck_assert_int_eq(signal_of_writing(sys_stack_low(top, KIB_64) + 8), SIGSEGV);
        ck_assert(sys_stack_intact(top, KIB_64));
    }
    ck_assert_uint_eq(stacks.checks, 0);
    sys_stacks_done(&stacks);
}

static long max_map_count(void) {
    long maps = 65530;
    FILE *file = fopen("/proc/sys/vm/max_map_count", "re");
    if (file) {
        ck_assert_int_eq(fscanf(file, "%ld", &maps), 1);
        fclose(file);
    }
    return maps;
}

TEST(guards_by_mprotect_are_limited_and_given_back) {
    long limit = max_map_count() / 8;
    if (limit > 20000)
        TEST_SKIP("more mappings are allowed here than a test should make");
    if (!take_guards_away(false))
        TEST_SKIP("this computer forbids filters of system calls");
    for (int round = 0; round < 3; round++) {
        sys_stacks_init(&stacks);
        char *top = NULL;
        for (long i = 0; i < limit; i++) {
            top = sys_stack_take(&stacks, KIB_16);
            ck_assert_ptr_nonnull(top);
        }
        ck_assert_int_eq(sys_stack_guard(), SYS_GUARD_MPROTECT);
        ck_assert_uint_eq(stacks.checks, 0);
        top = sys_stack_take(&stacks, KIB_16);
        ck_assert_int_eq(sys_stack_guard(), SYS_GUARD_CANARY);
        ck_assert_uint_eq(stacks.checks, SYS_STACK_CANARIES);
        ck_assert(sys_stack_intact(top, KIB_16));
        sys_stacks_done(&stacks);
    }
}

TEST(without_guards_a_canary_tells) {
    TEST_SKIP_SANITIZED("a sanitizer needs mprotect when it ends");
    if (!take_guards_away(true))
        TEST_SKIP("this computer forbids filters of system calls");
    sys_stacks_init(&stacks);
    char *first = sys_stack_take(&stacks, KIB_64);
    char *second = sys_stack_take(&stacks, KIB_64);
    ck_assert_int_eq(sys_stack_guard(), SYS_GUARD_CANARY);
    ck_assert_uint_eq(stacks.checks, SYS_STACK_CANARIES);
    char *low = sys_stack_low(second, KIB_64);
    memset(low + sizeof(uint64_t), 1, 1000);
    ck_assert(sys_stack_intact(first, KIB_64) && sys_stack_intact(second, KIB_64));
    low[3] ^= 1;
    ck_assert(sys_stack_intact(first, KIB_64) && !sys_stack_intact(second, KIB_64));
    low[3] ^= 1;
    sys_stack_give(&stacks, KIB_64, second);
    ck_assert_ptr_eq(sys_stack_take(&stacks, KIB_64), second);
    ck_assert(sys_stack_intact(second, KIB_64));
    sys_stacks_done(&stacks);
}

TEST(a_new_pool_knows_of_no_canaries) {
    sys_stacks_init(&stacks);
    (void)sys_stack_take(&stacks, KIB_64);
    stacks.checks = SYS_STACK_CANARIES;
    sys_stacks_done(&stacks);
    sys_stacks_init(&stacks);
    ck_assert_uint_eq(stacks.checks, 0);
}

TEST(stacks_that_have_memory_are_counted) {
    uint64_t count, bytes;
    sys_stacks_init(&stacks);
    sys_stacks_count(&stacks, &count, &bytes);
    ck_assert_uint_eq(count, 0);
    int class = sys_stack_class(0), large = sys_stack_class(8 << 20);
    void *tops[2] = {sys_stack_take(&stacks, class), sys_stack_take(&stacks, large)};
    ck_assert_ptr_nonnull(tops[1]);
    sys_stack_give(&stacks, class, tops[0]);
    sys_stacks_count(&stacks, &count, &bytes);
    ck_assert_uint_eq(count, 2);
    ck_assert_uint_eq(bytes, sys_stack_bytes(class) + (8 << 20));
    sys_stacks_done(&stacks);
}

// ---- measuring ----

// Writes `bytes` down from the top, as if they had been a frame.
static void use(void *top, size_t bytes, int with) { memset((char *)top - bytes, with, bytes); }

TEST(what_was_used_of_a_stack_is_known_to_the_word_once_it_was_painted) {
    sys_stacks_init(&stacks);
    for (int class = KIB_16; class < SYS_STACK_CLASSES; class ++) {
        void *top = sys_stack_take(&stacks, class);
        size_t all = (size_t)((char *)top - sys_stack_low(top, class)) - page();
        ck_assert_uint_eq(sys_stack_used(top, class), 0);
        use(top, all, 1);
        ck_assert_uint_eq(sys_stack_used(top, class), all);
        for (size_t bytes = 8; bytes <= all; bytes = 3 * bytes + 8) {
            sys_stack_paint(top, class, top);
            ck_assert_uint_eq(sys_stack_used(top, class), 0);
            use(top, bytes, bytes % 3 ? 1 : 0);
            ck_assert_uint_eq(sys_stack_used(top, class), bytes);
        }
    }
    sys_stacks_done(&stacks);
}

TEST(of_a_new_stack_no_more_than_a_page_of_zeros_is_missed) {
    sys_stacks_init(&stacks);
    void *top = sys_stack_take(&stacks, SYS_STACK_CLASSES - 1);
    use(top, 100 * page() + 80, 1);
    ck_assert_uint_eq(sys_stack_used(top, SYS_STACK_CLASSES - 1), 100 * page() + 80);
    use(top, 200 * page() + 80, 0);
    size_t used = sys_stack_used(top, SYS_STACK_CLASSES - 1);
    ck_assert(used <= 201 * page() && used > 199 * page() + 80);
    sys_stacks_done(&stacks);
}

// Pages of a new stack that has been measured and painted.
TEST(measuring_takes_no_memory) {
    sys_stacks_init(&stacks);
    void *top = sys_stack_take(&stacks, SYS_STACK_CLASSES - 1);
    char *low = sys_stack_low(top, SYS_STACK_CLASSES - 1) + page();
    sys_stack_paint(top, SYS_STACK_CLASSES - 1, top);
    (void)sys_stack_used(top, SYS_STACK_CLASSES - 1);
    unsigned char there[2048];
    ck_assert_int_eq(mincore(low, (8 << 20) - page(), there), 0);
    for (size_t i = 0; i < (8 << 20) / page() - 1; i++)
        ck_assert_int_eq(there[i] & 1, 0);
    sys_stacks_done(&stacks);
}

TEST(a_stack_is_painted_up_to_what_is_in_use) {
    sys_stacks_init(&stacks);
    char *tops[3];
    for (int i = 0; i < 3; i++)
        use(tops[i] = sys_stack_take(&stacks, KIB_256), 30000, 1);
    sys_stack_paint(tops[0], 2, tops[0] - 800);
    for (int i = 1; i <= 800; i++)
        ck_assert_int_eq(tops[0][-i], 1);
    ck_assert_uint_eq(sys_stack_used(tops[0], 2), 800);
    sys_stack_give(&stacks, KIB_256, tops[1]);
    sys_stack_give(&stacks, KIB_256, tops[2]);
    sys_stacks_paint_free(&stacks);
    ck_assert_uint_eq(sys_stack_used(tops[1], 2), 0);
    ck_assert_uint_eq(sys_stack_used(tops[2], 2), 0);
    ck_assert_ptr_eq(sys_stack_take(&stacks, KIB_256), tops[2]);
    ck_assert_ptr_eq(sys_stack_take(&stacks, KIB_256), tops[1]);
    sys_stacks_done(&stacks);
}
