// SPDX-License-Identifier: MIT
// Finds the words that have the same letters. The list of words travels to the nodes as a file.
// There it is sorted once on each node, by its set-up, and read into memory once in each worker, by
// that one's; jobs find it there. When a worker ends it tells how much it was asked.
//
//     anagrams WORDS.TXT WORD...
#include <asyncoro.h>

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LETTERS_MAX = 31, WORDS_MAX = 500000, ANSWER_BYTES = 1000 };

struct entry {
    char key[LETTERS_MAX + 1]; // the letters of the word in their order
    char word[LETTERS_MAX + 1];
};

// In each worker its own: a worker is a process.
static struct entry *entries;
static size_t entry_count;
static int questions;

static int by_letter(const void *a, const void *b) { return *(const char *)a - *(const char *)b; }

static int by_key(const void *a, const void *b) {
    return strcmp(((const struct entry *)a)->key, ((const struct entry *)b)->key);
}

static int by_key_and_word(const void *a, const void *b) {
    int it = by_key(a, b);
    return it ? it : strcmp(((const struct entry *)a)->word, ((const struct entry *)b)->word);
}

static void sort_letters(const char *word, char key[LETTERS_MAX + 1]) {
    size_t count = 0;
    for (; *word && count < LETTERS_MAX; word++)
        key[count++] = (char)tolower((unsigned char)*word);
    qsort(key, count, 1, by_letter);
    key[count] = 0;
}

// ---- on each node once ----

static ac_value sort_words(ac_value client) {
    FILE *words = fopen("words.txt", "r"), *index = fopen("index", "wb");
    struct entry *all = calloc(WORDS_MAX, sizeof *all);
    size_t count = 0;
    int err = !words ? -ENOENT : !index ? -EACCES : !all ? -ENOMEM : 0;
    while (!err && count < WORDS_MAX && fscanf(words, "%31s", all[count].word) == 1) {
        sort_letters(all[count].word, all[count].key);
        count++;
    }
    if (!err && count == 0)
        err = -ENODATA;
    if (!err) {
        qsort(all, count, sizeof *all, by_key_and_word);
        err = fwrite(all, sizeof *all, count, index) == count ? 0 : -EIO;
    }
    free(all);
    if (words)
        fclose(words);
    if (index && fclose(index) != 0 && !err)
        err = -EIO;
    return ac_result(err ? err : ac_send(ac_ref_of(client), ac_list("sorted", count)));
}
AC_JOB(sort_words)

// ---- in each worker once ----

static ac_value read_index(ac_value unused) {
    FILE *index = fopen("index", "rb");
    if (!index)
        return ac_result(-errno);
    entries = calloc(WORDS_MAX, sizeof *entries);
    entry_count = entries ? fread(entries, sizeof *entries, WORDS_MAX, index) : 0;
    fclose(index);
    return ac_result(entry_count > 0 ? 0 : -ENODATA);
}
AC_JOB(read_index)

static ac_value tell_questions(ac_value client) {
    return ac_result(ac_send(ac_ref_of(client), ac_list("asked", questions)));
}
AC_JOB(tell_questions)

// ---- as many jobs as are wanted ----

static ac_value anagrams(ac_value word) {
    struct entry wanted = {.key = ""};
    char answer[ANSWER_BYTES] = "";
    size_t length = 0;
    questions++;
    sort_letters(ac_text_of(word), wanted.key);
    const struct entry *at = bsearch(&wanted, entries, entry_count, sizeof *entries, by_key);
    while (at && at > entries && by_key(at - 1, &wanted) == 0)
        at--;
    for (; at && at < entries + entry_count && by_key(at, &wanted) == 0; at++)
        if (strcmp(at->word, ac_text_of(word)) != 0 && length + LETTERS_MAX + 2 < sizeof answer)
            length += (size_t)sprintf(answer + length, " %s", at->word);
    return ac_of((const char *)answer);
}
AC_JOB(anagrams)

// ---- the client ----

static char **arguments;
static bool failed;

static int next_word(void *user, ac_value *word) {
    char ***at = user;
    if (!**at)
        return 0;
    *word = ac_of((const char *)*(*at)++);
    return 1;
}

static int ask(ac_computation *computation) {
    ac_mapping *map;
    struct ac_mapped one;
    char **at = arguments + 1;
    int err = ac_mapping_open(&map, computation, anagrams, .source = next_word, .user = &at,
                              .in_order = true);
    if (err)
        return err;
    while ((err = ac_mapping_next(map, &one, ac_after(10))) > 0 || err == -ETIMEDOUT) {
        if (err < 0) {
            ac_print_to(stderr, "no answer yet: does a node run, with the same key?\n");
            continue;
        }
        if (one.how == AC_FINISHED)
            ac_print("%s:%s\n", arguments[1 + one.index], ac_text_of(one.value));
        else
            ac_print("%s: %v\n", arguments[1 + one.index], one.value);
        failed |= one.how != AC_FINISHED;
        ac_drop(one.value);
    }
    ac_mapping_close(map);
    return err;
}

// What nodes and workers have told until the end.
static void print_told(void) {
    int nodes = 0, workers = 0, asked = 0;
    ac_value message;
    while (ac_receive(&message, AC_NOW) == 0) {
        const char *word;
        int64_t number;
        struct ac_status status;
        if (ac_status_of(message, &status)) {
            if (status.kind == AC_NODE_REFUSED)
                ac_print("not used: %s\n", status.text);
        } else if (ac_unpack(message, &word, &number) == 0) {
            nodes += strcmp(word, "sorted") == 0;
            workers += strcmp(word, "asked") == 0;
            asked += strcmp(word, "asked") == 0 ? (int)number : 0;
        }
        ac_drop(message);
    }
    ac_print("sorted on nodes: %d; read by workers: %d; asked for words: %d\n", nodes, workers,
             asked);
}

static ac_value client(ac_value unused) {
    ac_computation *computation;
    int err = ac_computation_open(
        &computation, .files = AC_FILES({.path = arguments[0], .name = "words.txt"}),
        .node_setup = sort_words, .worker_setup = read_index, .worker_cleanup = tell_questions,
        .setup_argument = ac_of(ac_self()), .setup_seconds_max = 60);
    if (!err) {
        err = ask(computation);
        int closed = ac_computation_close(computation, AC_FOREVER);
        err = err ? err : closed;
        print_told();
    }
    if (err)
        ac_print_to(stderr, "cannot compute: %s\n", ac_strerror(err));
    failed |= err != 0;
    return ac_result(err);
}

int main(int argc, char **argv) {
    ac_cluster_init(argc, argv);
    if (argc < 2) {
        fprintf(stderr, "usage: anagrams WORDS.TXT WORD...\n");
        return 2;
    }
    arguments = argv + 1;
    ac_spawn(client, ac_nil);
    return ac_run() == 0 && !failed ? 0 : 1;
}
