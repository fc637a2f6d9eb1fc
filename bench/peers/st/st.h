// SPDX-License-Identifier: MIT
// What the programs of State Threads share.
#ifndef BENCH_PEERS_ST_H
#define BENCH_PEERS_ST_H

#include "../../measure.h"

#include <st.h>

enum { STACK_BYTES = 64 * 1024 };

// echo.c: serves for ever.
double echo_serve(void);

#endif
