// SPDX-License-Identifier: MIT
// A user's smallest program, compiled as C and as C++ against the installed library.
#include <asyncoro.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

// Names that the library has inside as well: a program may use them for itself.
int heap_init(void);
int map_get(void);
int buffer_init(void);

#ifdef __cplusplus
}
#endif

int heap_init(void) { return 0; }

int map_get(void) { return 0; }

int buffer_init(void) { return 0; }

int main(void) {
    printf("asyncoro %s: %s\n", ac_version(), ac_strerror(-ETIMEDOUT));
    return strcmp(ac_version(), AC_VERSION) == 0 ? 0 : 1;
}
