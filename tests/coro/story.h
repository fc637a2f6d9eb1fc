// SPDX-License-Identifier: MIT
// What happened, in order: each coroutine of a test tells a letter when it comes to something.
#ifndef TESTS_CORO_STORY_H
#define TESTS_CORO_STORY_H

#include "test.h"

static char story[256];

static inline void tell(char letter) {
    size_t length = strlen(story);
    ck_assert_uint_lt(length, sizeof story - 1);
    story[length] = letter;
}

#endif
