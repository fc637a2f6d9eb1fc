// SPDX-License-Identifier: MIT
// What a fuzz target needs. A target is one file of this folder, and hands bytes that a stranger
// may have sent to one decoder, with everything that the decoder promises as a REQUIRE. It knows
// no state from one input to the next, so that an input alone repeats what it has shown.
//
// Two programs are made of each: test-fuzz_X, with driver.c, for `make test`; and, with clang,
// fuzz-X, which libFuzzer drives for as long as one wants: `make fuzz`. The folder seeds/X has its
// seeds, and each input that has ever found a defect.
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define REQUIRE(condition_)                                                                        \
    do {                                                                                           \
        if (!(condition_)) {                                                                       \
            fprintf(stderr, "# %s:%d: not so: %s\n", __FILE__, __LINE__, #condition_);             \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

// Looks at one input. The name is libFuzzer's. Always 0.
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

// Bytes that a target takes from the front of its input to choose what it does.
struct fuzz_input {
    const uint8_t *at;
    size_t left;
};

static inline uint8_t fuzz_byte(struct fuzz_input *input) {
    if (input->left == 0)
        return 0;
    input->left--;
    return *input->at++;
}

// The next bytes, at most `count` of them: how many there are.
static inline size_t fuzz_bytes(struct fuzz_input *input, size_t count, const uint8_t **bytes) {
    size_t got = count < input->left ? count : input->left;
    *bytes = input->at;
    input->at += got;
    input->left -= got;
    return got;
}

#endif
