// SPDX-License-Identifier: MIT
// Says who comes and who goes: the programs of the same key on this network. Start it, then others.
#include <asyncoro.h>

static ac_value watch(ac_value unused) {
    struct ac_peer_change change;
    ac_value message;
    int err = ac_peers_watch();
    while (!err && (err = ac_receive(&message, AC_FOREVER)) == 0) {
        if (ac_peer_change_of(message, &change) && change.came)
            ac_print("%s came, at %s\n", change.peer.name, change.peer.address);
        else if (ac_peer_change_of(message, &change))
            ac_print("%s went: %s\n", change.peer.name, ac_strerror(change.reason));
        ac_drop(message);
    }
    return ac_result(err);
}

int main(void) {
    setvbuf(stdout, NULL, _IOLBF, 0); // each line at once, also into a file
    if (ac_network_start() < 0) {
        ac_print_to(stderr, "%s\n", ac_network_error());
        return 1;
    }
    ac_spawn(watch, ac_nil);
    return ac_run();
}
