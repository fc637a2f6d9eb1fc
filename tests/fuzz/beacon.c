// SPDX-License-Identifier: MIT
// Fuzz target: beacons. The input is datagrams of 72 bytes, each behind a byte that chooses whether
// it gets the signature of one who holds the key, and by how much it is too long or too short. A
// forged one changes nothing; genuine ones make peers known, no more than there is room for.
//
// It is compiled together with what it looks at, whose functions are all private.
#include "fuzz.h"

#include "fabric/discovery.c"

static const uint8_t key[KEY_BYTES] = "the key of all who may be known";

static void no_peer(void *up, uint64_t peer) {
    (void)up;
    REQUIRE(peer != 0);
}
static void no_loss(void *up, uint64_t peer, int reason) { (void)up, (void)peer, (void)reason; }
static void no_frame(void *up, uint64_t peer, unsigned type, const uint8_t *at, size_t bytes) {
    (void)up, (void)peer, (void)type, (void)at, (void)bytes;
    REQUIRE(!"a frame");
}
static void no_reach(void *up, void *token, uint64_t peer, int err) {
    (void)up, (void)token, (void)peer, (void)err;
}
static const struct fabric_door door = {.frame = no_frame,
                                        .met = no_peer,
                                        .linked = no_peer,
                                        .lost = no_loss,
                                        .room = no_peer,
                                        .reached = no_reach};

static struct fabric *fabric;
static struct digest_mac *mac; // of one who holds the key

// The guest is entered for good, so that nothing happens in it by itself.
static void begin(void) {
    struct fabric_options options = {
        .peer = 1, .name = "fuzz", .loopback_only = true, .no_discovery = true, .key = key};
    char text[256];
    uint8_t secret[KEY_BYTES];
    int err = 0;
    struct loop *host = loop_create(&sys_chosen, 1, &err);
    REQUIRE(host);
    struct guest *guest = guest_create(host, &sys_chosen, &err);
    REQUIRE(guest);
    REQUIRE(digest_derive(key, KEY_BYTES, "asyncoro/1", "beacon hmac", secret, KEY_BYTES) == 0);
    mac = digest_mac_create(secret, KEY_BYTES);
    REQUIRE(mac);
    guest_enter(guest);
    fabric = fabric_open(guest, &options, &door, NULL, &err, text);
    REQUIRE(fabric);
    fabric->discovery = memory_allocate_zeroed(sizeof *fabric->discovery);
    REQUIRE(fabric->discovery);
}

static void forget_all(void) {
    struct peer *peer;
    for (uint64_t cursor = 0; (peer = map_next(&fabric->peers, &cursor, NULL, NULL));) {
        REQUIRE(peer->state == LINK_NONE);
        map_take_id(&fabric->peers, peer->id);
        memory_release(peer);
    }
}

static void hear(struct fuzz_input *input) {
    uint8_t beacon[BEACON_BYTES + 1] = {0}, how = fuzz_byte(input);
    const uint8_t *bytes;
    size_t got = fuzz_bytes(input, how & 2 ? sizeof beacon : BEACON_BYTES, &bytes);
    struct sys_address from = {.family = 4, .port = 51350, .ip = {127, 0, 0, 1}};
    memcpy(beacon, bytes, got);
    if (how & 1)
        REQUIRE(digest_mac_of(mac, beacon, SIGNED_BYTES, beacon + SIGNED_BYTES) == 0);
    size_t known = fabric_peers(fabric, NULL, 0);
    bool genuine = is_genuine(fabric, beacon, got);
    REQUIRE(!genuine || (how & 1 && got == BEACON_BYTES));
    if (genuine)
        take_beacon(fabric, beacon, &from);
    size_t now_known = fabric_peers(fabric, NULL, 0);
    REQUIRE(now_known <= known + genuine && now_known <= FABRIC_PEERS_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
    struct fuzz_input input = {bytes, count};
    if (!fabric)
        begin();
    while (input.left > 0)
        hear(&input);
    forget_all();
    return 0;
}
