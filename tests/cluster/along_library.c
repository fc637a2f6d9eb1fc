// SPDX-License-Identifier: MIT
// A shared library that no node has: it travels with the test that needs it.
int along_answer(void);

int along_answer(void) { return 42; }
