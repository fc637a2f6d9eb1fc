// SPDX-License-Identifier: MIT
// Four transfers that end together: when one fails the others are cancelled, and each says goodbye
// to its server before it goes, for which it has to wait.
#include <asyncoro.h>
#include <errno.h>

static ac_value transfer(ac_value argument) {
    int n = (int)ac_int_of(argument);
    ac_print("transfer %d begins\n", n);
    if (n == 3) {
        int err = ac_sleep(0.1);
        return err ? ac_result(err) : ac_of_error(-EIO, "the server broke off");
    }
    int err = ac_sleep(n == 1 ? 0.05 : 60);
    if (err == -ECANCELED) {
        // This wait is not cancelled, though the coroutine is.
        ac_shield_begin();
        ac_sleep(0.05);
        ac_shield_end();
        ac_print("transfer %d has said goodbye\n", n);
    } else {
        ac_print("transfer %d is complete\n", n);
    }
    return ac_result(err);
}

static ac_value transfer_all(ac_value unused) {
    ac_group *group;
    int err = ac_group_open(&group);
    if (err)
        return ac_result(err);
    for (int n = 1; n <= 4; n++)
        ac_spawn(transfer, n, .group = group);
    err = ac_group_join(group, ac_after(30));
    ac_print("all have ended: %s\n", ac_strerror(err));
    ac_group_close(group); // whatever happened: nothing of the group is left behind this line
    return ac_nil;
}

int main(void) {
    ac_spawn(transfer_all, ac_nil);
    return ac_run();
}
