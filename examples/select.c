// SPDX-License-Identifier: MIT
// Choosing among messages. A dispatcher gets orders, numbers, and an urgent word in between. First
// it takes the word, past all that came before; then it sorts its mailbox by category and empties
// one category after the other.
#include <asyncoro.h>

enum { ODD, EVEN };

static bool is_text(ac_value message, void *context) { return ac_kind_of(message) == AC_TEXT; }

static int64_t parity(ac_value message, void *context) {
    return ac_int_of(message) % 2 ? ODD : EVEN;
}

static ac_value dispatcher(ac_value unused) {
    ac_value message;
    int err = ac_receive_if(&message, is_text, NULL, AC_FOREVER);
    if (err < 0)
        return ac_result(err);
    ac_print("urgent: %v, while %d wait\n", message, (int)ac_mailbox_count());
    ac_drop(message);
    err = ac_mailbox_sort(parity, NULL);
    while (err == 0 && (err = ac_receive_category(&message, EVEN, ac_after(0.1))) == 0)
        ac_print("even: %v\n", message);
    // No even one came for a while: the rest, in the order in which it came.
    while (err == -ETIMEDOUT && ac_receive(&message, AC_NOW) == 0)
        ac_print("odd: %v\n", message);
    return ac_result(err == -ETIMEDOUT ? 0 : err);
}

int main(void) {
    ac_ref to = ac_spawn(dispatcher, ac_nil);
    for (int i = 1; i <= 4; i++)
        ac_send(to, i);
    ac_send(to, "stop the press");
    for (int i = 5; i <= 6; i++)
        ac_send(to, i);
    return ac_run();
}
