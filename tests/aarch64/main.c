// SPDX-License-Identifier: MIT
// What runs on aarch64 under an emulator: one plain program (libcheck is not there for a foreign
// processor) that uses the floors base to message through the public interface, and most of all the
// stack switch, which is written once for each processor. Prints TAP.
#include <asyncoro/base.h>

#include <stdio.h>
#include <string.h>

static int n;
static int failed;

static void check(const char *name, bool passed) {
    n++;
    printf("%s %d - %s\n", passed ? "ok" : "not ok", n, name);
    if (!passed)
        failed++;
}

int main(void) {
    check("the version is the one compiled against", strcmp(ac_version(), AC_VERSION) == 0);
    printf("1..%d\n", n);
    return failed == 0 ? 0 : 1;
}
