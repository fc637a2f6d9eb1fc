// SPDX-License-Identifier: MIT
// `asyncoro version`: one line that scripts can read.
#include <stdio.h>

#include "tools/tools.h"

int tool_version(int count, char **arguments) {
    int err = tool_read_options("version", count, arguments, NULL, 0, NULL);
    if (!err)
        printf("asyncoro %s\n", ac_version());
    return err;
}
