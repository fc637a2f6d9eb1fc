// SPDX-License-Identifier: MIT
// Counts lines, words and bytes of files, all at once, as wc does one after the other; with -f it
// then tells what is added to them, until it is ended.
// usage: files [-f] FILE...
#include <asyncoro.h>

#include <ctype.h>
#include <string.h>

static bool follow;

static int count(const char *path, ac_stream *file) {
    static char bytes[64 << 10]; // shared: nobody else runs between a read and the next wait
    long lines = 0, words = 0, all = 0, got;
    bool in_word = false;
    while ((got = ac_read(file, bytes, sizeof bytes, AC_FOREVER)) > 0) {
        for (long i = 0; i < got; i++) {
            bool space = isspace((unsigned char)bytes[i]);
            lines += bytes[i] == '\n';
            words += !space && !in_word;
            in_word = !space;
        }
        all += got;
    }
    if (got == 0)
        ac_print("%d lines, %d words, %d bytes in %s\n", lines, words, all, path);
    return (int)got;
}

static int tell_more(const char *path, ac_stream *file) {
    char line[1024];
    for (;;) {
        long got = ac_read_line(file, line, sizeof line, AC_FOREVER);
        if (got < 0)
            return (int)got;
        if (got > 0)
            ac_print("%s: %s\n", path, line);
        else if (ac_sleep(0.1) < 0)
            return 0;
    }
}

static ac_value look_at(ac_value path) {
    const char *name = ac_text_of(path);
    ac_stream *file;
    int err = ac_file_open(&file, name, "r", AC_FOREVER);
    if (!err)
        err = count(name, file);
    if (!err && follow)
        err = tell_more(name, file);
    if (err)
        ac_print_to(stderr, "%s: %s\n", name, ac_strerror(err));
    ac_close(file);
    return ac_result(err);
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0); // each line at once, also into a file
    int first = 1;
    if (argc > 1 && strcmp(argv[1], "-f") == 0) {
        follow = true;
        first = 2;
    }
    for (int i = first; i < argc; i++)
        ac_spawn(look_at, (const char *)argv[i]);
    return ac_run() == 0 ? 0 : 1;
}
