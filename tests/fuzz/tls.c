// SPDX-License-Identifier: MIT
// Fuzz target: the bytes of a connection before anybody has proved anything. The first byte chooses
// who we are, server or client, and into which pieces the others fall. Without the key no handshake
// is ever done and nothing is decrypted.
#include "fuzz.h"

#include "io/crypto.h"

static struct tls_context *context;

static int begin(void) {
    static const uint8_t secret[32] = "a secret that no stranger knows";
    int err;
    context = tls_context_create(secret, "asyncoro/1/0123456789abcdef", &err);
    return context ? 0 : err;
}

static int hear(struct tls *tls, const uint8_t *bytes, size_t count) {
    size_t room;
    uint8_t *to = tls_room(tls, &room);
    REQUIRE(to && room > 0);
    count = count < room ? count : room;
    memcpy(to, bytes, count);
    tls_came(tls, count);
    return (int)count;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
    uint8_t plain[64];
    struct buffer out;
    if (count == 0 || (!context && begin() < 0))
        return 0;
    struct fuzz_input input = {bytes, count};
    uint8_t how = fuzz_byte(&input);
    size_t piece = how / 2 ? how / 2 : 4096;
    struct tls *tls = tls_create(context, how % 2 == 0);
    REQUIRE(tls);
    buffer_init(&out);
    int done = tls_handshake(tls);
    while (done == -EAGAIN && input.left > 0) {
        const uint8_t *at;
        size_t got = fuzz_bytes(&input, piece, &at);
        size_t taken = (size_t)hear(tls, at, got);
        input.at -= got - taken;
        input.left += got - taken;
        done = tls_handshake(tls);
        REQUIRE(done < 0);
        REQUIRE(tls_output_bytes(tls) < 64 * 1024);
        tls_output(tls, &out);
        out.length = 0;
    }
    REQUIRE(tls_problem(tls) != NULL);
    REQUIRE(tls_read(tls, plain, sizeof plain) <= 0);
    buffer_done(&out);
    tls_destroy(tls);
    return 0;
}
