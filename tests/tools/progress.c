// SPDX-License-Identifier: MIT
// x
#include "tools/tool.h"
TEST(x) {}
