// SPDX-License-Identifier: MIT
// Our bare switch between two stacks, through the inside of the library: it has no public name.
#include "measure.h"

#include "sys/sys.h"
#include <stdlib.h>

enum { CLASS = 1 }; // 64 KiB, see sys/sys.h

static struct sys_stacks stacks;
static struct sys_context main_context, other;

static void switch_back(void *unused) {
    (void)unused;
    sys_entered();
    for (;;)
        sys_switch(&other, &main_context);
}

static void switch_prepare(void) {
    sys_stacks_init(&stacks);
    void *top = sys_stack_take(&stacks, CLASS);
    if (!top) {
        fprintf(stderr, "no memory for a stack\n");
        exit(1);
    }
    sys_context_of_thread(&main_context);
    sys_context_prepare(&other, top, CLASS, switch_back, NULL);
}

static uint64_t switch_work(uint64_t n) {
    uint64_t done;
    for (done = 0; done < n; done += 2)
        sys_switch(&main_context, &other);
    return done;
}

int main(int argc, char **argv) {
    static const struct measure_figure figures[] = {
        {"switch", switch_prepare, switch_work},
        {NULL, NULL, NULL},
    };
    return measure_main(argc, argv, figures);
}
