// SPDX-License-Identifier: MIT
// A baker is faster than who packs. The packer's mailbox takes two loaves, and the baker who sends
// one more waits until there is room, so that both go at the pace of the slower.
#include <asyncoro.h>

enum { LOAVES = 5, PLACES = 2 };

static ac_value pack(ac_value unused) {
    ac_value loaf;
    int err = ac_mailbox_limit(PLACES, AC_SENDER_WAITS);
    for (int i = 0; i < LOAVES && err == 0; i++) {
        for (int pause = 0; pause < 10; pause++)
            ac_yield(); // stands for the work
        err = ac_receive(&loaf, AC_FOREVER);
        if (err == 0)
            ac_print("packed %v\n", loaf);
    }
    return ac_result(err);
}

static ac_value bake(ac_value unused) {
    ac_ref packer = ac_spawn(pack, ac_nil);
    int err = ac_yield(); // now the limit is set
    for (int i = 1; i <= LOAVES && err == 0; i++) {
        if (ac_try_send(packer, i) == -EAGAIN) {
            ac_print("no room for %d\n", i);
            err = ac_send(packer, i);
        }
        if (err == 0)
            ac_print("baked %d\n", i);
    }
    return ac_result(err);
}

int main(void) {
    ac_spawn(bake, ac_nil);
    return ac_run();
}
