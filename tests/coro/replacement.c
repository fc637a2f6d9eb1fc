// SPDX-License-Identifier: MIT
// The new version of a function in a shared object, for tests/coro/replace.c.
#include <asyncoro/coro.h>
#include <asyncoro/message.h>

ac_value replacement(ac_value state);

// Goes on counting where the old version stopped, in tens; tells the count to whoever asks. Ends on
// nil.
ac_value replacement(ac_value state) {
    int64_t count = ac_int_of(state);
    ac_value message;
    while (ac_receive(&message, AC_FOREVER) == 0 && !ac_is_nil(message)) {
        count += 10;
        (void)ac_send(ac_ref_of(message), count);
        ac_drop(message);
    }
    return ac_of(count);
}
