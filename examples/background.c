// SPDX-License-Identifier: MIT
// A program with a main and threads of its own, and coroutines in the background: three tellers,
// who are ordinary threads, send what they take in to the coroutine that keeps the book. No lock is
// needed, and no teller waits for another.
#include <asyncoro.h>

#include <errno.h>
#include <pthread.h>

enum { TELLERS = 3, PAYMENTS = 1000 };

static ac_value keep_book(ac_value unused) {
    long count[TELLERS] = {0}, sum[TELLERS] = {0}, total = 0;
    ac_value message;
    int err;
    // A message that is no payment closes the book.
    while ((err = ac_receive(&message, AC_FOREVER)) == 0) {
        long teller, amount;
        bool payment = ac_unpack(message, &teller, &amount) == 0;
        ac_drop(message);
        if (!payment)
            break;
        count[teller]++;
        sum[teller] += amount;
    }
    for (int i = 0; i < TELLERS; i++) {
        ac_print("teller %d: %ld payments, %ld in all\n", i, count[i], sum[i]);
        total += sum[i];
    }
    ac_print("the book is closed at %ld\n", total);
    return ac_result(err);
}

struct teller {
    pthread_t thread;
    long number;
    ac_ref book;
    int err;
};

static void *take_in(void *argument) {
    struct teller *it = argument;
    for (long i = 1; i <= PAYMENTS && it->err == 0; i++)
        it->err = ac_send(it->book, ac_list(it->number, i * (it->number + 1)));
    return NULL;
}

int main(void) {
    int err = ac_start(.loops = 2);
    if (err < 0)
        return -err;
    ac_ref book = ac_spawn(keep_book, ac_nil, .loop = 2);
    struct teller tellers[TELLERS];
    int begun = 0;
    for (; begun < TELLERS && err == 0; begun += err == 0) {
        tellers[begun] = (struct teller){.number = begun, .book = book};
        err = -pthread_create(&tellers[begun].thread, NULL, take_in, &tellers[begun]);
    }
    for (int i = 0; i < begun; i++) {
        pthread_join(tellers[i].thread, NULL);
        err = err ? err : tellers[i].err;
    }
    // Behind all payments: these have been sent before.
    int last = ac_send(book, "close");
    err = err ? err : last;
    last = ac_finish(); // waits for the book
    return -(err ? err : last);
}
