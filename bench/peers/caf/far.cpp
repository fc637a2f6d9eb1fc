// SPDX-License-Identifier: MIT
// CAF: an actor at each end, bare TCP, one worker thread in each process; the multiplexer that
// reads and writes has another. The processes are not bound to cores.
#include "../../far.h"

#include <caf/all.hpp>
#include <caf/io/all.hpp>

using bytes = std::string;

struct drain_state {
    uint64_t left = 0;
    caf::actor from;
};

static caf::behavior echo(caf::event_based_actor *) {
    return {[](bytes &it) { return std::move(it); }};
}

static caf::behavior drain(caf::stateful_actor<drain_state> *self) {
    return {
        [=](uint64_t count) {
            self->state.left = count;
            self->state.from = caf::actor_cast<caf::actor>(self->current_sender());
        },
        [=](const bytes &) {
            if (--self->state.left == 0)
                self->send(self->state.from, true);
        },
    };
}

static void prepare(caf::actor_system_config &config) {
    config.load<caf::io::middleman>();
    config.set("scheduler.max-threads", 1u);
}

static void serve() {
    caf::actor_system_config config;
    prepare(config);
    caf::actor_system system(config);
    bool oneway = strncmp(far.figure, "far-oneway", 10) == 0;
    caf::actor actor = oneway ? system.spawn(drain) : system.spawn(echo);
    auto port = system.middleman().publish(actor, 0, "127.0.0.1");
    far_must(bool(port), "publish");
    far_listens(*port);
    for (;;)
        pause();
}

static caf::scoped_actor *self;
static caf::actor server;

static uint64_t roundtrip(uint64_t n) {
    for (uint64_t i = 0; i < n; i++) {
        (*self)->send(server, bytes(FAR_BYTES, 0));
        (*self)->receive([](const bytes &) {});
    }
    return n;
}

static uint64_t oneway(uint64_t n) {
    (*self)->send(server, n);
    for (uint64_t i = 0; i < n; i++)
        (*self)->send(server, bytes(far.bytes, 0));
    (*self)->receive([](bool) {});
    return n;
}

static uint64_t calls(uint64_t n) {
    uint64_t done;
    for (done = 0; done < n; done += FAR_CALLERS) {
        for (int i = 0; i < FAR_CALLERS; i++)
            (*self)->send(server, bytes(FAR_BYTES, 0));
        for (int i = 0; i < FAR_CALLERS; i++)
            (*self)->receive([](const bytes &) {});
    }
    return done;
}

int main(int argc, char **argv) {
    far_start(argc, argv, serve);
    caf::actor_system_config config;
    prepare(config);
    caf::actor_system system(config);
    caf::scoped_actor own(system);
    self = &own;
    auto found = system.middleman().remote_actor("127.0.0.1", far.port);
    far_must(bool(found), "connect");
    server = *found;
    far_ways ways = {roundtrip, oneway, calls};
    far_print(&ways);
    fflush(stdout);
    _exit(0);
}
