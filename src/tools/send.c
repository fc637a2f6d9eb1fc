// SPDX-License-Identifier: MIT
// `asyncoro send NAME VALUE`: a message to the holder of a name, from the command line.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/tools.h"

enum { INPUT_BYTES_MAX = 64 << 20 };

static struct tool_network look = {.seconds = 10};
static bool waits, delivers;
static const char *words[2]; // NAME and VALUE
static ac_value value;       // what is sent

static int call(ac_ref to) {
    ac_value answer;
    int err = ac_call(to, ac_hold(value), &answer, ac_after(look.seconds));
    if (err)
        tool_complain("send", err == -ETIMEDOUT ? "no answer came" : words[0], err);
    else if (!tool_print_json(answer))
        err = -EIO;
    return err;
}

static int deliver(ac_ref to) {
    int count = ac_deliver(to, ac_hold(value), ac_after(look.seconds));
    if (count >= 0)
        printf("%d\n", count);
    else
        tool_complain("send", words[0], count);
    return count > 0 ? 0 : count < 0 ? count : -ENOENT;
}

static ac_value run_send(ac_value argument) {
    ac_ref to;
    int err = tool_reach("send", &look);
    (void)argument;
    if (err)
        return ac_result(err);
    err = ac_locate(words[0], &to, ac_after(look.seconds));
    if (err == -ETIMEDOUT)
        fprintf(stderr, "asyncoro send: nobody has the name '%s'\n", words[0]);
    else if (err)
        tool_complain("send", words[0], err);
    else if (waits)
        err = call(to);
    else if (delivers)
        err = deliver(to);
    else if ((err = ac_send(to, ac_hold(value))))
        tool_complain("send", words[0], err);
    ac_drop(value);
    return ac_result(err);
}

// All of standard input. NULL, having said why.
static char *read_input(size_t *bytes) {
    struct buffer all = {0};
    int err = 0;
    size_t got = 1;
    while (got > 0 && !err) {
        err = all.length < INPUT_BYTES_MAX ? buffer_reserve(&all, 65536) : -EFBIG;
        got = err ? 0 : fread(all.bytes + all.length, 1, 65536, stdin);
        all.length += got;
    }
    if (err || ferror(stdin)) {
        tool_complain("send", "standard input", err ? err : -EIO);
        buffer_done(&all);
        return NULL;
    }
    *bytes = all.length;
    return (char *)all.bytes;
}

static int read_value(const char *text) {
    char why[CONVERT_WHY_BYTES];
    bool piped = strcmp(text, "-") == 0;
    size_t bytes = strlen(text);
    char *input = piped ? read_input(&bytes) : NULL;
    if (piped && !input)
        return EXIT_FAILED;
    value = convert_from_json(piped ? input : text, bytes, why);
    memory_release(input);
    if (ac_kind_of(value) != AC_INVALID)
        return EXIT_GOOD;
    fprintf(stderr, "asyncoro send: VALUE is not understood: %s%s\n", why,
            piped || (*text && strchr("\"[{", *text)) ? "" : "; a text is written '\"so\"'");
    return EXIT_USAGE;
}

int tool_send(int count, char **arguments) {
    struct tool_option options[2 + TOOL_LOOK_OPTIONS] = {{.name = "--wait", .flag = &waits},
                                                         {.name = "--deliver", .flag = &delivers}};
    size_t known = tool_look_options(&look, options, 2);
    int err = tool_read_words("send", count, arguments, options, known, words, 2);
    if (err)
        return err;
    if (!words[1] || (waits && delivers)) {
        fprintf(stderr, "asyncoro send: %s; see: asyncoro help send\n",
                words[1] ? "--wait and --deliver are two ways, take one"
                         : "it takes a NAME and a VALUE");
        return EXIT_USAGE;
    }
    err = read_value(words[1]);
    return err ? err : tool_run("send", &look, run_send);
}
