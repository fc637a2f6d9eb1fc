// SPDX-License-Identifier: MIT
// Suspending and resuming: a printer that has no mailbox to look into sleeps until it is told how
// many pages to print, and a clerk who resumes it with the number when it is idle.
#include <asyncoro.h>

static ac_value print_pages(ac_value unused) {
    ac_value pages;
    int page = 0;
    // Nobody else touches `page`, and nothing preempts: no lock.
    while (ac_suspend(&pages, ac_after(60)) == 0 && ac_int_of(pages) > 0) {
        for (int64_t left = ac_int_of(pages); left > 0; left--)
            ac_print("page %d\n", ++page);
        if (ac_sleep(0.02) < 0) // warm
            break;
    }
    return ac_of(page);
}

static ac_value clerk(ac_value argument) {
    ac_ref printer = ac_ref_of(argument);
    static const int jobs[] = {2, 1, 3, 0};
    for (int i = 0; i < 4; i++) {
        // A printer that is not suspended says so, and nothing is remembered for it.
        int err;
        while ((err = ac_resume(printer, jobs[i])) == -EAGAIN)
            if ((err = ac_sleep(0.01)) < 0)
                break;
        if (err < 0)
            return ac_result(err);
    }
    struct ac_exit end;
    int err = ac_join(printer, &end, ac_after(10));
    if (err == 0)
        ac_print("%v pages in all\n", end.value);
    return ac_result(err);
}

int main(void) {
    ac_ref printer = ac_spawn(print_pages, ac_nil, .joinable = true);
    ac_spawn(clerk, printer);
    return -ac_run();
}
