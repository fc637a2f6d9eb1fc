// SPDX-License-Identifier: MIT
// Guests: loops that others drive. A part of the face coro/coro.h, which includes it at its end.
#ifndef CORO_GUEST_H
#define CORO_GUEST_H

// Gives `host` a guest: a second loop with a poller of its own that `host` drives each time it
// polls, and that a guardian thread drives while the host has not polled for 10 ms. So its
// coroutines run in turn on two threads, never at once: the guest's lock is held meanwhile. NULL
// and *err.
struct guest *guest_create(struct loop *host, const struct sys_driver *driver, int *err);
// Ends the guardian and the guest loop, whose coroutines must have ended.
void guest_destroy(struct guest *guest);
struct loop *guest_loop(struct guest *guest);
// Between these two calls the caller, on the host's thread and outside the guest, may touch what
// belongs to the guest: wake and create its coroutines. Not to be nested; must not wait in between.
// Another loop of the team may come in for a look, and changes nothing.
void guest_enter(struct guest *guest);
void guest_leave(struct guest *guest);
// Drives the guest if it has something to do. Called by the host at home.
int guest_drive(struct guest *guest);
// Runs the guest's coroutines that are ready. Called by the host before it asks its poller: what is
// sent in a turn is on its way when the host falls asleep, and neither poller is asked twice.
void guest_run_ready(struct guest *guest);
// Whether the host drives the guest and has got something to do by it.
bool guest_host_is_awaited(const struct guest *guest);
// Whether the guest need not ask its poller, because the host has just asked for both. Private to
// coro/.
bool guest_is_fed(const struct guest *guest);
// When the host has to drive it next.
ac_time guest_due(struct guest *guest);
// The host has left its poller, in which it had waited. Private to coro/.
void guest_host_awake(struct guest *guest);
// From any thread: the guest has got a post. Private to coro/.
void guest_poke(struct guest *guest);
bool guest_is_poked(struct guest *guest);
// True while the guardian thread, not the host, runs the guest. Call from inside the guest.
bool guest_is_guarded(struct guest *guest);

#endif
