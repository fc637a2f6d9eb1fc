// SPDX-License-Identifier: MIT
// A mirror: keeps a folder on another computer equal to one here. What changes here is sent, what
// goes here is deleted there; what breaks off goes on where it was. Links are left out.
// usage: mirror to FOLDER            there: receives into the folder
//        mirror from FOLDER [once]   here: sends what is in it, and from then on what changes
#include <asyncoro.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { FILES_MAX = 10000, PATH_BYTES = 2048 };

static const char *folder;
static bool once;
static bool terminal; // somebody watches: progress is one line that changes

// ---- what is in a folder ----

struct found {
    size_t count;
    ac_value items[2 * FILES_MAX]; // a name, and what is known of the file
};

// Looks into a folder within the folder; `within` is "" or ends with "/".
static int look_into(struct found *found, const char *within) {
    char name[PATH_BYTES], path[PATH_BYTES];
    ac_value names, item;
    struct ac_file_facts facts;
    size_t cursor = 0;
    ac_format(path, sizeof path, "%s/%s", folder, within);
    int err = ac_folder_list(path, &names, AC_FOREVER);
    while (!err && ac_next(names, &cursor, &item)) {
        const char *text = ac_text_of(item); // none for a name that is not UTF-8
        ac_format(name, sizeof name, "%s%s", within, text ? text : "");
        ac_format(path, sizeof path, "%s/%s", folder, name);
        bool known = text && ac_file_look(path, &facts, AC_FOREVER) == 0;
        if (known && facts.sort == AC_FILE_REGULAR && found->count < FILES_MAX) {
            found->items[2 * found->count] = ac_of_text(name);
            found->items[2 * found->count++ + 1] = ac_list(facts.bytes, facts.modified_ns,
                                                           facts.permissions);
        } else if (known && facts.sort == AC_FILE_FOLDER && strcmp(name, ".asyncoro") != 0) {
            strncat(name, "/", sizeof name - strlen(name) - 1);
            err = look_into(found, name);
        }
        ac_drop(item);
    }
    ac_drop(names);
    // It went meanwhile; but that the whole is not there is not that it is empty.
    return err == -ENOENT && *within ? 0 : err;
}

// A map from the names of all files to what is known of each.
static ac_value all_files(void) {
    static struct found found; // shared: look_into waits, but nobody else looks
    found.count = 0;
    int err = look_into(&found, "");
    ac_value all = ac_map_of(found.items, found.count);
    if (err && ac_kind_of(all) != AC_INVALID) {
        ac_drop(all);
        all = ac_of_error(err, NULL);
    }
    return all;
}

// ---- there ----

static ac_value receive(ac_value unused) {
    ac_value message, body;
    ac_ref answer;
    const char *what, *name;
    long bytes;
    int err = ac_folder_make(folder, 0777, AC_FOREVER);
    if (!err)
        err = ac_transfer_accept(folder, .told = ac_self());
    if (!err)
        err = ac_register(ac_self(), "mirror");
    if (err)
        ac_print_to(stderr, "%s: %s\n", folder, ac_strerror(err));
    while (!err && ac_receive(&message, AC_FOREVER) == 0) {
        if (ac_unpack(message, &what, &name, &bytes) == 0)
            ac_print("%s %s\n", what, name);
        else if (ac_unpack(message, &answer, &body) == 0) // what is here?
            ac_send(answer, all_files());
        ac_drop(message);
    }
    return ac_result(err);
}

// ---- here ----

// The argument: peer, path, name, and who is told how far it has come.
static ac_value send_file(ac_value argument) {
    ac_ref peer, watcher;
    const char *path, *name;
    int err = ac_unpack(argument, &peer, &path, &name, &watcher);
    if (!err)
        err = ac_transfer_send(ac_ref_peer(peer), path, name, AC_FOREVER, .told = watcher);
    return err < 0 ? ac_result(err) : ac_of_int(err);
}

static void show_progress(ac_value message) {
    const char *name;
    double there, all;
    if (terminal && ac_unpack(message, &name, &there, &all) == 0 && all > 0)
        ac_print_to(stderr, "\r%s: %.0f %%\033[K", name, 100 * there / all);
}

// Sends a file in a coroutine of its own, and shows what is told of it until its end.
static int send_watched(ac_ref peer, const char *name) {
    char path[PATH_BYTES];
    ac_format(path, sizeof path, "%s/%s", folder, name);
    ac_ref sender = ac_spawn(send_file, ac_list(peer, (const char *)path, name, ac_self()));
    int err = ac_monitor(sender);
    ac_value message;
    struct ac_exit exit;
    bool ended = false;
    while (!err && !ended && (err = ac_receive(&message, AC_FOREVER)) == 0) {
        ended = ac_exit_of(message, &exit);
        if (!ended)
            show_progress(message);
        ac_drop(message);
    }
    if (err)
        return err;
    bool sent = exit.how == AC_FINISHED && ac_int_of(exit.value) == 0; // 1: it was there already
    ac_drop(exit.value);
    if (terminal)
        ac_print_to(stderr, "\r\033[K");
    if (sent)
        ac_print("sent %s\n", name);
    return exit.how == AC_FINISHED ? 0 : exit.reason;
}

static int deal_with(ac_ref peer, const char *name, ac_value file, ac_value other, bool deletes) {
    if (deletes ? ac_kind_of(other) != AC_INVALID : ac_equal(other, file))
        return 0;
    if (!deletes)
        return send_watched(peer, name);
    int err = ac_transfer_delete(ac_ref_peer(peer), name, AC_FOREVER);
    if (!err)
        ac_print("deleted %s\n", name);
    return err;
}

static char problem[PATH_BYTES + 256]; // the first one of a round; "": none

// Deletes there those files that are not among the others, or sends those that are not the same
// there. The first error; a file that cannot be sent does not keep the next from it.
static int deal_with_all(ac_ref peer, ac_value files, ac_value others, bool deletes) {
    ac_value name, file;
    int first = 0;
    for (size_t cursor = 0; ac_next(files, &cursor, &name) && ac_next(files, &cursor, &file);) {
        ac_value other = ac_get(others, ac_text_of(name));
        bool over = first == -ECONNRESET || first == -EHOSTUNREACH || first == -ECANCELED;
        int err = over ? first : deal_with(peer, ac_text_of(name), file, other, deletes);
        if (err && !first)
            ac_format(problem, sizeof problem, "%v: %s", name, ac_strerror(err));
        first = first ? first : err;
        ac_drop(other);
        ac_drop(name);
        ac_drop(file);
    }
    return first;
}

// Makes both equal. `before` is what was here when they were.
static int make_equal(ac_value *before) {
    ac_ref peer;
    ac_value there = ac_nil, here = all_files();
    int err = ac_error_of(here);
    if (!err)
        err = ac_locate("mirror", &peer, AC_FOREVER);
    if (!err)
        err = ac_call(peer, ac_nil, &there, ac_after(60));
    if (!err)
        err = deal_with_all(peer, there, here, true);
    if (!err)
        err = deal_with_all(peer, here, *before, false);
    ac_drop(there);
    ac_drop(err ? here : *before);
    if (!err)
        *before = here;
    return err;
}

static ac_value send_all(ac_value unused) {
    static char told[sizeof problem];
    ac_value before = ac_map_of(NULL, 0);
    int err;
    do {
        problem[0] = 0;
        err = make_equal(&before);
        if (err && !problem[0])
            ac_format(problem, sizeof problem, "%s: %s", folder, ac_strerror(err));
        if (strcmp(problem, told) != 0) { // once
            strcpy(told, problem);
            if (told[0])
                ac_print_to(stderr, "%s\n", told);
        }
    } while (!once && ac_sleep(1) == 0);
    ac_drop(before);
    return ac_result(err);
}

int main(int argc, char **argv) {
    bool to = argc == 3 && strcmp(argv[1], "to") == 0;
    once = argc == 4 && strcmp(argv[3], "once") == 0;
    if (!to && !((argc == 3 || once) && strcmp(argv[1], "from") == 0)) {
        ac_print_to(stderr, "usage: mirror to FOLDER | mirror from FOLDER [once]\n");
        return 2;
    }
    folder = argv[2];
    terminal = isatty(STDERR_FILENO);
    setvbuf(stdout, NULL, _IOLBF, 0); // each line at once, also into a file
    if (ac_network_start() < 0) {
        ac_print_to(stderr, "%s\n", ac_network_error());
        return 1;
    }
    ac_spawn(to ? receive : send_all, ac_nil, .stack_bytes = 256 << 10);
    return ac_run() < 0;
}
