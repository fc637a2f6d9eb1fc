// SPDX-License-Identifier: MIT
// The program `asyncoro`: a table of subcommands.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/tools.h"

static int tool_help(int count, char **arguments);

static const struct tool tools[] = {
    {"run", tool_run_program, "run a program, and what it needs to compute if that is not there",
     "usage: asyncoro run [OPTIONS] -- PROGRAM ARGUMENTS...\n"
     "  --scheduler WHERE    look for this one: HOST:PORT, \"any\", or \"here\": look for none\n"
     "                       (default: the variable AC_SCHEDULER, else any)\n"
     "  --seconds N          how long to look for it (default: 1)\n"
     "  --loopback           look on this computer only\n"
     "  --discovery-port P   UDP port of the beacons (default: 51350)\n"
     "  --key-file FILE      the key (default: key in the configuration folder; if there is none,\n"
     "                       one that is made for this run and goes with it)\n"
     "  --workers N, --memory BYTES, --tags TAGS, --sandbox LEVEL, --read PATHS, --write PATHS\n"
     "                       as of `node`, for the one that is started here\n"
     "  --progress           tell how far it is, also where standard error is no terminal\n"
     "  --every N            seconds between two lines there (default: 5)\n"
     "  --quiet              tell nothing of it\n"
     "PROGRAM runs with AC_SCHEDULER naming the scheduler that was found. If none is, one is\n"
     "started with a node on this computer, for PROGRAM alone and as long as it runs. Signals are\n"
     "passed on. On a terminal its last line shows how many jobs are done, failed, running and\n"
     "waiting, how many end in a second, the time left and the time so far.\n"
     "Exits as PROGRAM does, with 128 and the signal's number if one has killed it; 127: there is\n"
     "no such program, 126: it cannot be run, 125: something else failed before it ran.\n"
     "If the node that was started here ends, another one is; if that fails, or each of\n"
     "several ends within a minute, the program is ended, and the code is 125.\n"},
    {"node", tool_node, "let programs of your key run their functions on this computer",
     "  --workers N          worker processes for each computation (default: one a processor)\n"
     "  --memory BYTES       what jobs may use, as 16G (default: what computer and cgroup leave)\n"
     "  --tags TAGS          what is special here, as gpu=a100,disk=ssd\n"
     "  --name NAME          what people read (default: the name of this computer)\n"
     "  --hours HOURS        when it serves, in local time, as 22:00-06:00,sat,sun 08:00-12:00\n"
     "  --idle TIME          end after so long without a computation, as 5m\n"
     "  --grace TIME         what running jobs are left when it drains (default: 20s)\n"
     "  --die-with-stdin     stop when standard input ends, as that of ssh does\n"
     "  --scheduler WHERE    connect to HOST:PORT, or to those in a file, whose path has a '/'\n"
     "  --slurm              take processors, memory, name and time left from Slurm\n"
     "  --loopback           talk to programs on this computer only\n"
     "  --port P             TCP port (default: 51350 if it is free)\n"
     "  --no-discovery       neither send nor hear beacons: who has the address finds it\n"
     "  --discovery-port P   UDP port of the beacons (default: 51350)\n"
     "  --key-file FILE      the key (default: key in the configuration folder)\n"
     "  --key-stdin          the key is read from standard input, up to its end or an empty line\n"
     "  --sandbox LEVEL      how workers are confined: default, strict (namespaces too), or none\n"
     "  --folder DIR         of this node alone, for its store and the folders of its jobs\n"
     "                       (default: the cache folder, with the user's other nodes)\n"
     "  --user NAME          as whom workers run, where the node is root; he must be able to get\n"
     "                       to the folder that --folder names (default: as the node, which\n"
     "                       root is warned of, but not if it says \"root\")\n"
     "  --read PATHS         what workers may read besides programs: whole paths, with ':'\n"
     "  --write PATHS        what they may write besides their own folder, likewise\n"
     "  --no-unix-sockets    workers may make none, so that no service of this computer that\n"
     "                       listens at a path can be reached\n"
     "  --worker-memory M    bytes that a worker may use in all, as 512M (default: no limit)\n"
     "  --worker-processes N how many it may have (default: 1024)\n"
     "  --worker-seconds S   of processor that each of its processes may use (default: no limit)\n"
     "  --worker-file M      bytes of each file that it writes (default: no limit)\n"
     "The first SIGTERM, SIGINT or SIGHUP drains it: it takes no computation in any more, and\n"
     "ends when those that run have ended, after the grace at the latest. The second one stops\n"
     "it, and its workers with it. With --slurm it drains by itself before the time limit.\n"},
    {"scheduler", tool_scheduler, "give the jobs of several programs of your key to the nodes",
     "  --computations N     take so many at once at the most (default: 1024)\n"
     "  --name NAME          what people read (default: the name of this computer)\n"
     "  --idle TIME          end after so long without a computation, as 5m\n"
     "  --grace TIME         what computations are left when it drains (default: 20s)\n"
     "  --journal FILE       write down there what another one needs that takes its place when it\n"
     "                       is killed; one scheduler has a file (default: none)\n"
     "  --return TIME        how long programs and the next scheduler with the journal wait for\n"
     "                       each other (default: 60s)\n"
     "  --die-with-stdin     stop when standard input ends, as that of ssh does\n"
     "  --loopback           talk to programs on this computer only\n"
     "  --port P             TCP port (default: 51350 if it is free)\n"
     "  --no-discovery       neither send nor hear beacons: who has the address finds it\n"
     "  --discovery-port P   UDP port of the beacons (default: 51350)\n"
     "  --key-file FILE      the key (default: key in the configuration folder)\n"
     "  --key-stdin          the key is read from standard input, up to its end or an empty line\n"
     "Programs use it whose variable AC_SCHEDULER names it, as HOST:PORT, or is \"any\". They\n"
     "share nodes by the weights of their computations. It prints one line when it is ready.\n"
     "The first SIGTERM, SIGINT or SIGHUP drains it: it takes no computation in any more, and\n"
     "ends when those that it has are closed, after the grace at the latest. The second one\n"
     "stops it: it closes its computations, whose clean-ups have the time that they were given,\n"
     "and their jobs are lost. One more does not let it wait for these.\n"},
    {"status", tool_status, "tell what computations the schedulers have, and their jobs",
     TOOL_LOOK_USAGE
     "  --seconds N          how long to look (default: 1)\n"
     "  --json               one JSON object a scheduler, one a line\n"
     "Tells of each scheduler its state and nodes, and of each computation its number, name,\n"
     "client, workers and jobs; with --peer, of that scheduler alone. Jobs are counted by state:\n"
     "those that have not ended wait or are at workers, where some of them run; those that have\n"
     "finished, failed, were cancelled or lost, since the scheduler began. Exits with 1 when none\n"
     "was found.\n"},
    {"jobs", tool_jobs, "list the jobs that have not ended, of all or of one COMPUTATION",
     TOOL_LOOK_USAGE
     "  --seconds N          how long to look (default: 1)\n"
     "  --limit N            list so many at the most (default: 100), and say how many more\n"
     "  --json               one JSON object a job, one a line; {\"more\": N} if there are more\n"
     "Tells of each its number as 3.17 for `why` and `cancel`, its function, whether it is\n"
     "waiting, placed at a worker or running there, for how long so far, which attempt it is, and\n"
     "where. With COMPUTATION, --peer has to say which of several schedulers is meant. Exits with\n"
     "1 when no scheduler was found, or it has no such computation.\n"},
    {"why", tool_why, "tell where the job COMPUTATION.JOB is, or why it waits",
     TOOL_LOOK_USAGE
     "  --seconds N          how long to look (default: 1)\n"
     "  --json               one JSON object\n"
     "COMPUTATION is its number as of `status`, JOB what ac_submit has returned, as in 3.17. Of\n"
     "several schedulers --peer has to say which one is meant. Exits with 1 when there is no such\n"
     "job.\n"},
    {"cancel", tool_cancel, "cancel the job COMPUTATION.JOB, or all that COMPUTATION has now",
     TOOL_LOOK_USAGE
     "  --seconds N          how long to look (default: 1)\n"
     "  --json               one JSON object\n"
     "As for `why`. Returns at once. Exits with 1 when there is no such computation.\n"},
    {"nodes", tool_nodes, "list the nodes that are found, or say of one NODE what it does",
     TOOL_LOOK_USAGE
     "  --seconds N          how long to look (default: 1)\n"
     "  --json               one JSON object a node, one a line\n"
     "NODE is an address or a name. Tells of each what it calls itself, where it is, its state\n"
     "(serving, resting, draining, stopping), workers, memory, computations, sandbox and tags.\n"
     "Exits with 1 when none was found.\n"},
    {"drain", tool_drain, "have NODE take no computation in any more, and end when it has none",
     TOOL_LOOK_USAGE
     "  --seconds N          how long to look (default: 1)\n"
     "  --grace TIME         what running jobs are left (default: what the node was told)\n"
     "  --json               one JSON object a node, one a line\n"
     "NODE is an address or a name; all nodes of that name drain. Returns at once: the command\n"
     "`nodes` tells how far it is. Exits with 1 when there is none, or one does not let us.\n"},
    {"doctor", tool_doctor, "tell which nodes could run the executable FILE, and what others lack",
     TOOL_LOOK_USAGE
     "  --seconds N          how long to look, and then to wait for answers (default: 1)\n"
     "  --json               one JSON object for FILE and one for each node, one a line\n"
     "With --peer it ends when that node has answered.\n"
     "Nothing is sent there but what FILE needs: architecture, C library, shared libraries.\n"
     "Exits with 0 when all nodes that were found could run it, with 3 when some could, and\n"
     "with 1 when none could, none was found or FILE is no program.\n"},
    {"key", tool_key, "show where the key is and its fingerprint, or change it",
     "Without a word: make a key if there is none. Else one of\n"
     "  path                 tell where the key is, or would be\n"
     "  make                 make it; fails if there is one\n"
     "  show                 tell where it is and its fingerprint\n"
     "  show --secret        tell the key itself, to a terminal or a pipe, for `key import`\n"
     "  import               take it from standard input; one that is here stays valid beside it\n"
     "  import --replace     the same, and end those that are here\n"
     "  rotate               make a newer one; both are valid until `retire`\n"
     "  retire               end the older one\n"
     "Programs that run take up what has changed within two seconds. Workers of a computation\n"
     "keep the keys with which they were started: retire a key when those have ended.\n"
     "  --key-file FILE      another file than key in the configuration folder\n"},
    {"peers", tool_peers, "list the programs of your key that are found",
     TOOL_LOOK_USAGE "  --seconds N          how long to look (default: 1)\n"
                     "  --json               one JSON object a program, one a line\n"
                     "Tells where each listens, the round trip to it and what it calls itself.\n"
                     "Exits with 1 when nobody was found.\n"},
    {"names", tool_names, "list the names that programs have given, of all or of one PEER",
     TOOL_LOOK_USAGE
     "  --seconds N          how long to look (default: 1)\n"
     "  --json               one JSON object a name, one a line\n"
     "PEER is an address, or what the program calls itself. Tells of each name its kind\n"
     "(coroutine, channel, function), where it is and the reference that stands behind it.\n"
     "Exits with 1 when nobody was found, or one of those found does not tell its names.\n"},
    {"send", tool_send, "send VALUE, which is JSON, to the holder of NAME",
     TOOL_LOOK_USAGE
     "  --seconds N          how long to look, and then to wait (default: 10)\n"
     "  --wait               as a call: wait for the answer and print it as JSON\n"
     "  --deliver            print how many have got it\n"
     "VALUE \"-\" is read from standard input. What JSON has not is written as\n"
     "{\"$bytes\": \"00ff\"}, {\"$real\": \"nan\"}, {\"$ref\": \"1a2b:17\"},\n"
     "{\"$error\": [\"ENOENT\", \"text\"]} and\n"
     "{\"$map\": [[1, \"one\"]]}, a map with keys that are no texts.\n"
     "Exits with 1 when nobody has the name, nobody got the value, or no answer came in time.\n"},
    {"top", tool_top, "watch what programs do: their messages, queues, round trips and losses",
     TOOL_LOOK_USAGE
     "  --seconds N          how long to look at first (default: 1)\n"
     "  --every N            seconds between two looks (default: 1)\n"
     "  --times N            end after so many (default: go on until Ctrl-C)\n"
     "  --once               the same as --times 1\n"
     "  --links              also each link between two of them\n"
     "  --json               each look as one line of JSON\n"
     "On a terminal the table is drawn anew each time; elsewhere one follows the other.\n"
     "Exits with 1 when nobody was found.\n"},
    {"version", tool_version, "show the version", ""},
    {"help", tool_help, "show this, or `help COMMAND` its options", ""},
};

static const struct tool *find(const char *name) {
    for (size_t i = 0; i < countof(tools); i++)
        if (strcmp(tools[i].name, name) == 0)
            return &tools[i];
    return NULL;
}

static void print_help(void) {
    printf("asyncoro %s: concurrent, network and distributed programs in C\n\n"
           "usage: asyncoro COMMAND [OPTIONS]\n\n",
           ac_version());
    for (size_t i = 0; i < countof(tools); i++)
        printf("  %-9s %s\n", tools[i].name, tools[i].help);
    printf(
        "\n`asyncoro help COMMAND` tells the options of a command.\n"
        "Exit codes: 0 done, 1 failed, 2 called in a wrong way; those of `run` are its program's.\n"
        "ASYNCORO_KEY_FILE and ASYNCORO_DISCOVERY_PORT go before the defaults of --key-file and "
        "--discovery-port.\n"
        "AC_TRACE=cluster,remote,fabric shows on standard error what the library does, "
        "AC_TRACE=frame each frame.\n");
}

static int print_tool(const struct tool *tool) {
    printf("asyncoro %s: %s\n%s", tool->name, tool->help, tool->usage);
    return EXIT_GOOD;
}

static int unknown(const char *name) {
    fprintf(stderr, "asyncoro: there is no command '%s'; see: asyncoro help\n", name);
    return EXIT_USAGE;
}

static int tool_help(int count, char **arguments) {
    if (count > 0) {
        const struct tool *tool = find(arguments[0]);
        return tool ? print_tool(tool) : unknown(arguments[0]);
    }
    print_help();
    return EXIT_GOOD;
}

// A number of so much of a unit, such as "15m". False if it is none, or more than 2^62.
static bool read_scaled(const char *value, const char *units, const uint64_t *sizes,
                        uint64_t *result) {
    char *end;
    unsigned long number = strtoul(value, &end, 10);
    const char *unit = *end ? strchr(units, *end) : units;
    if (*value < '0' || *value > '9' || !unit || (*end && end[1]))
        return false;
    uint64_t size = sizes[unit - units];
    if (number > ((uint64_t)1 << 62) / size)
        return false;
    *result = number * size;
    return true;
}

static int read_duration(const char *tool, const struct tool_option *option, const char *value) {
    static const uint64_t second = 1000 * 1000 * 1000;
    static const uint64_t sizes[] = {second, 60 * second, 3600 * second, 86400 * second};
    uint64_t result;
    if (!read_scaled(value, "smhd", sizes, &result)) {
        fprintf(stderr, "asyncoro %s: %s takes a time such as 90s, 15m or 2h, not '%s'\n", tool,
                option->name, value);
        return EXIT_USAGE;
    }
    *option->duration = (ac_time)result;
    return EXIT_GOOD;
}

static int read_bytes(const char *tool, const struct tool_option *option, const char *value) {
    static const uint64_t sizes[] = {1, 1 << 10, 1 << 20, 1 << 30, (uint64_t)1 << 40};
    if (!read_scaled(value, "BKMGT", sizes, option->bytes) || *option->bytes == 0) {
        fprintf(stderr, "asyncoro %s: %s takes bytes such as 500M or 16G, not '%s'\n", tool,
                option->name, value);
        return EXIT_USAGE;
    }
    return EXIT_GOOD;
}

static int read_value(const char *tool, const struct tool_option *option, const char *value) {
    if (option->text) {
        *option->text = value;
        return EXIT_GOOD;
    }
    if (option->duration)
        return read_duration(tool, option, value);
    if (option->bytes)
        return read_bytes(tool, option, value);
    char *end;
    unsigned long number = strtoul(value, &end, 10);
    if (*value < '0' || *value > '9' || *end || number == 0 || number > option->number_max) {
        fprintf(stderr, "asyncoro %s: %s takes a number from 1 to %u, not '%s'\n", tool,
                option->name, option->number_max, value);
        return EXIT_USAGE;
    }
    *option->number = (uint32_t)number;
    return EXIT_GOOD;
}

// The option that an argument names: "--port", or "--port=7" and then *value points behind the '='.
static const struct tool_option *option_of(const char *argument, const struct tool_option *options,
                                           size_t count, const char **value) {
    size_t bytes = strcspn(argument, "=");
    *value = argument[bytes] ? argument + bytes + 1 : NULL;
    for (size_t i = 0; i < count; i++)
        if (strlen(options[i].name) == bytes && memcmp(options[i].name, argument, bytes) == 0)
            return &options[i];
    return NULL;
}

static bool is_word(const char *argument) {
    return argument[0] != '-' || !argument[1] || (argument[1] >= '0' && argument[1] <= '9');
}

int tool_read_options(const char *tool, int count, char **arguments,
                      const struct tool_option *options, size_t option_count, const char **word) {
    return tool_read_words(tool, count, arguments, options, option_count, word, word ? 1 : 0);
}

int tool_read_words(const char *tool, int count, char **arguments,
                    const struct tool_option *options, size_t option_count, const char **words,
                    size_t word_count) {
    int err = EXIT_GOOD;
    bool all_words = false;
    size_t found = 0;
    for (int i = 0; i < count && err == EXIT_GOOD; i++) {
        const char *value;
        const struct tool_option *option = option_of(arguments[i], options, option_count, &value);
        if (!all_words && strcmp(arguments[i], "--") == 0) {
            all_words = true;
        } else if ((all_words || is_word(arguments[i])) && found < word_count) {
            words[found++] = arguments[i];
        } else if (!option || all_words || (option->flag && value)) {
            fprintf(stderr, "asyncoro %s: '%s' is not understood; see: asyncoro help %s\n", tool,
                    arguments[i], tool);
            err = EXIT_USAGE;
        } else if (option->flag) {
            *option->flag = true;
        } else if (!value && i + 1 == count) {
            fprintf(stderr, "asyncoro %s: %s takes a value\n", tool, option->name);
            err = EXIT_USAGE;
        } else {
            err = read_value(tool, option, value ? value : arguments[++i]);
        }
    }
    return err;
}

// Opens those of standard input, output and error that are closed: else what we open next would
// take their places, and be read and written as if it were they.
static void fill_standard(void) {
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

// What was not written, as on a full disk, was not told.
static int check_output(int code) {
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    fprintf(stderr, "asyncoro: not all could be written to standard output\n");
    return code == EXIT_GOOD ? EXIT_FAILED : code;
}

int main(int argc, char **argv) {
    fill_standard();
    if (argc < 2) {
        print_help();
        return check_output(EXIT_GOOD);
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        name = "help";
    if (strcmp(name, "--version") == 0)
        name = "version";
    const struct tool *tool = find(name);
    if (!tool)
        return unknown(name);
    for (int i = 2; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return check_output(print_tool(tool));
    return check_output(tool->run(argc - 2, argv + 2));
}
