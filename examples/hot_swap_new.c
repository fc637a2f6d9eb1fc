// SPDX-License-Identifier: MIT
// The new version of the server of hot_swap.c, built as a shared object. It finds the library in
// the program that loads it.
#include <asyncoro.h>

ac_value serve(ac_value state);

ac_value serve(ac_value state) {
    int64_t total = ac_int_of(state);
    ac_set_replaceable(true); // by a third version
    ac_value request;
    while (ac_receive(&request, AC_FOREVER) == 0) {
        ac_ref client;
        int number;
        if (ac_unpack(request, &client, &number) == 0) {
            total += number;
            ac_send(client, ac_list(2, total));
        }
        ac_drop(request);
    }
    return ac_of(total);
}
