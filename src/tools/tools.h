// SPDX-License-Identifier: MIT
// The face of tools/: the subcommands of the program `asyncoro`. A subcommand is a function in a
// file of its own and one line in the table of main.c.
#ifndef TOOLS_TOOLS_H
#define TOOLS_TOOLS_H

#include "cluster/cluster.h"

enum { EXIT_GOOD = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

struct tool {
    const char *name;
    // Runs it: `arguments` are those behind the name of the subcommand, `count` of them. Returns an
    // exit code; has said what is wrong on standard error if that is not EXIT_GOOD.
    int (*run)(int count, char **arguments);
    const char *help;  // one line
    const char *usage; // the options, ended by a newline; "" if there are none
};

// What a subcommand takes: "--port 7" or "--port=7".
struct tool_option {
    const char *name;  // "--port"
    const char **text; // where its value goes; NULL
    uint32_t *number;  // or this one, which is checked to lie within 1..number_max; NULL
    uint32_t number_max;
    bool *flag; // or this one, for an option without a value; NULL
};

// Reads the options of a subcommand, and at most one argument that is none, into *word (which may
// be NULL). EXIT_GOOD or EXIT_USAGE, having said what is wrong.
int tool_read_options(const char *tool, int count, char **arguments,
                      const struct tool_option *options, size_t option_count, const char **word);

int tool_node(int count, char **arguments);
int tool_key(int count, char **arguments);
int tool_peers(int count, char **arguments);
int tool_version(int count, char **arguments);

#endif
