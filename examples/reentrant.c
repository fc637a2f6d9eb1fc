// SPDX-License-Identifier: MIT
// Two accounts of a bank. Each step takes the lock of the bank; a transfer consists of two steps
// that must stay together, so it takes the lock around them: a reentrant one, which its owner may
// take again.
#include <asyncoro.h>

static struct ac_lock bank = {.reentrant = true};
static int accounts[2] = {70, 30};

static int change(int account, int amount) {
    int err = ac_lock_acquire(&bank, AC_FOREVER);
    if (err < 0)
        return err;
    int before = accounts[account];
    err = ac_yield(); // stands for a conversation with another computer
    if (err == 0)
        accounts[account] = before + amount;
    ac_lock_release(&bank); // of a transfer: it still has the lock
    return err;
}

static ac_value transfer(ac_value amount) {
    int err = ac_lock_acquire(&bank, AC_FOREVER);
    if (err < 0)
        return ac_result(err);
    err = change(0, (int)-ac_int_of(amount));
    if (err == 0)
        err = change(1, (int)ac_int_of(amount));
    ac_lock_release(&bank);
    return ac_result(err);
}

static ac_value inspect(ac_value unused) {
    int err = 0;
    for (int i = 0; i < 2 && err == 0; i++) {
        err = ac_lock_acquire(&bank, AC_FOREVER);
        if (err < 0)
            break;
        ac_print("%d and %d: %d in all\n", accounts[0], accounts[1], accounts[0] + accounts[1]);
        ac_lock_release(&bank);
        err = ac_yield();
    }
    return ac_result(err);
}

int main(void) {
    ac_spawn(transfer, 20);
    ac_spawn(inspect, ac_nil);
    ac_spawn(transfer, 5);
    return ac_run();
}
