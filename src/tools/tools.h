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
    bool *flag;        // or this one, for an option without a value; NULL
    ac_time *duration; // or this one, for "90", "90s", "15m", "2h" or "1d"; NULL
    uint64_t *bytes;   // or this one, for "1000", "64K", "500M" or "16G", by 1024; NULL
};

// Reads the options of a subcommand, and at most `word_count` arguments that are none, into words
// (of which those that are missing stay as they are). What stands behind "--" is no option, nor
// what looks like a number. EXIT_GOOD or EXIT_USAGE, having said what is wrong.
int tool_read_words(const char *tool, int count, char **arguments,
                    const struct tool_option *options, size_t option_count, const char **words,
                    size_t word_count);

// The same with one word, which may be NULL.
int tool_read_options(const char *tool, int count, char **arguments,
                      const struct tool_option *options, size_t option_count, const char **word);

// ---- network.c: looking at other programs ----

enum { TOOL_PEERS_MAX = 1024, TOOL_LOOK_OPTIONS = 10 };

// How to take part in the network, and where to look, as options of the subcommand say.
struct tool_network {
    struct ac_network_options how; // but for the port of the beacons
    uint32_t discovery_port;       // --discovery-port; 0: the default
    const char *peer;              // --peer: somebody whom beacons do not reach; NULL: none
    uint32_t seconds;              // --seconds: how long to look, or to wait
};
// Appends the options that these are, TOOL_LOOK_OPTIONS, to the `count` that are there. Returns how
// many there are then.
size_t tool_look_options(struct tool_network *it, struct tool_option *options, size_t count);
// The same for their usage, but for --seconds.
#define TOOL_LOOK_USAGE                                                                            \
    "  --loopback           look on this computer only\n"                                          \
    "  --discovery-port P   UDP port of the beacons (default: 51350)\n"                            \
    "  --key-file FILE      the key (default: key in the configuration folder)\n"                  \
    "  --certificate FILE   prove by this certificate instead of the key who this is; then\n"      \
    "                       --key-file names the key that signs beacons (default: no beacons)\n"   \
    "  --certificate-key FILE  its secret key (default: in the same file)\n"                       \
    "  --authority FILE     who signs the certificates of the others\n"                            \
    "  --revoked FILE       their lists of revoked certificates\n"                                 \
    "  --peer-names NAMES   who may link, as *.example.org, build7 (default: all they sign)\n"     \
    "  --peer ADDRESS       a program that beacons do not reach\n"

// Starts the network and runs a coroutine, which says what is wrong and ends with an error if
// something was. An exit code.
int tool_run(const char *tool, const struct tool_network *it, ac_function main);
// Says on standard error what failed.
void tool_complain(const char *tool, const char *what, int err);
// Reaches the peer that the options name, if they do. 0 or an error, having said so. Can wait.
int tool_reach(const char *tool, const struct tool_network *it);
// Looks around and links with all who are there, sorted by name. 0, -ENOENT if nobody is, or
// another error, having said so. Can wait.
int tool_meet(const char *tool, const struct tool_network *it, struct ac_peer_info *peers,
              size_t *count);
// Who is known now, sorted by name.
size_t tool_peers_now(struct ac_peer_info peers[TOOL_PEERS_MAX]);
// What could do harm on a terminal becomes a question mark.
void tool_clean(char *text);
// What a map of somebody else has under a key: a text that is clean, "-" if there is none; a
// number, 0 if there is none.
const char *tool_text_in(ac_value map, const char *key, char *text, size_t bytes);
long long tool_number_in(ac_value map, const char *key);
// A text of somebody else as a value.
ac_value tool_text(const char *text);
// Prints a value, which it takes, as one line of JSON. False if it could not be written.
bool tool_print_json(ac_value value);
// Reads keys from standard input, up to its end or an empty line and not a byte more: what follows
// is not ours. An exit code, having said what is wrong.
int tool_read_keys(const char *tool, struct key_ring *keys);

// ---- convert.c: values as JSON ----

enum { CONVERT_WHY_BYTES = 256 };
// The value as JSON, to be freed with free(); NULL if there is no memory.
char *convert_to_json(ac_value it);
// What JSON says, to be dropped; AC_INVALID, and `why` says what is wrong.
ac_value convert_from_json(const char *text, size_t bytes, char why[CONVERT_WHY_BYTES]);

// ---- progress.c: how far a program has come ----

enum {
    PROGRESS_WAITING,
    PROGRESS_PLACED,
    PROGRESS_RUNNING, // of those that are placed
    PROGRESS_FINISHED,
    PROGRESS_FAILED,
    PROGRESS_CANCELLED,
    PROGRESS_LOST,
    PROGRESS_COUNTS,
    PROGRESS_PARTS_MAX = 64 // computations of a program at a scheduler that others use too
};

struct progress {
    bool drawn;     // on a terminal; else in lines
    bool own;       // all that the scheduler has is meant
    ac_ref desk;    // whom to ask
    uint64_t first; // computations with numbers above that are meant
    ac_time begun;
    ac_time asked; // last
    double rate;   // jobs that end in a second
    long long ended;
    long long counts[PROGRESS_COUNTS];
    unsigned rows; // of the terminal whose last one is set aside; 0: none is
    size_t part_count;
    struct progress_part {
        uint64_t number;
        bool open;
        long long counts[PROGRESS_COUNTS];
    } parts[PROGRESS_PARTS_MAX];
};

// Whether standard error is a terminal that can be drawn on.
bool progress_can_draw(void);
// Finds who tells of the scheduler at the address. 0 or an error. Can wait.
int progress_find(struct progress *it, const char *address, bool own);
// Asks it. 0 or an error. Can wait.
int progress_look(struct progress *it);
// Takes counts, which is what progress_look does with the answer.
void progress_count(struct progress *it, const long long counts[PROGRESS_COUNTS], ac_time now);
// As it was counted last, as one line.
void progress_print(const struct progress *it, ac_time now, char *text, size_t bytes);
// Shows that.
void progress_show(struct progress *it);
// Gives the terminal back, if anything was drawn there.
void progress_clear(struct progress *it);

int tool_doctor(int count, char **arguments);
int tool_names(int count, char **arguments);
int tool_send(int count, char **arguments);
int tool_top(int count, char **arguments);
int tool_node(int count, char **arguments);
int tool_nodes(int count, char **arguments);
int tool_drain(int count, char **arguments);
int tool_status(int count, char **arguments);
int tool_jobs(int count, char **arguments);
int tool_why(int count, char **arguments);
int tool_cancel(int count, char **arguments);
int tool_run_program(int count, char **arguments);
int tool_scheduler(int count, char **arguments);
int tool_key(int count, char **arguments);
int tool_peers(int count, char **arguments);
int tool_version(int count, char **arguments);

#endif
