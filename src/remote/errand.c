// SPDX-License-Identifier: MIT
// What coroutines of other loops ask of the network, which is the first loop's: names and peers.
// (Messages and monitors for other processes go there by message/cross.c.)
#include "remote/remote_private.h"

enum { TEXT_BYTES_MAX = 767 };

struct wish {
    struct errand errand;
    enum remote_verb verb;
    ac_ref ref;
    ac_time deadline;
    int result;
    char text[TEXT_BYTES_MAX + 1];
};

static void locate_at(struct wish *it) {
    char *name = strchr(it->text, '\n');
    *name++ = '\0';
    it->result = ac_locate_at(name, it->text, &it->ref, it->deadline);
}

static void fulfil(struct errand *errand) {
    struct wish *it = container_of(errand, struct wish, errand);
    struct remote *remote = remote_linked(loop_here);
    switch (it->verb) {
    case REMOTE_REGISTER: it->result = names_register(it->ref, it->text); break;
    case REMOTE_UNREGISTER: it->result = ac_unregister(it->text); break;
    case REMOTE_LOCATE: it->result = ac_locate(it->text, &it->ref, it->deadline); break;
    case REMOTE_LOCATE_AT: locate_at(it); break;
    case REMOTE_PEER: it->result = ac_peer(it->text, it->deadline); break;
    case REMOTE_WATCH: it->result = remote ? presence_watch(remote, it->ref) : -ENOTCONN; break;
    case REMOTE_CLOSE: it->result = ac_peer_close(it->ref.peer); break;
    case REMOTE_UNWATCH: it->result = remote ? presence_unwatch(remote, it->ref) : -ENOTCONN; break;
    }
}

static void forget(struct errand *errand) {
    memory_release(container_of(errand, struct wish, errand));
}

int remote_ask_first(struct loop *loop, enum remote_verb verb, const char *text, ac_ref *ref,
                     ac_time deadline) {
    size_t bytes = text ? strnlen(text, TEXT_BYTES_MAX + 1) : 0;
    if (bytes == 0 || bytes > TEXT_BYTES_MAX)
        return verb == REMOTE_UNREGISTER ? -ENOENT : -EINVAL;
    struct wish *it = memory_allocate_zeroed(sizeof *it);
    if (!it)
        return -ENOMEM;
    it->errand = (struct errand){.run = fulfil,
                                 .orphaned = forget,
                                 .waits = verb != REMOTE_REGISTER && verb != REMOTE_UNREGISTER};
    it->verb = verb;
    it->deadline = deadline;
    if (ref)
        it->ref = *ref;
    memcpy(it->text, text, bytes);
    int err = errand_do(team_loop(loop, 0), &it->errand, deadline);
    if (err < 0 && err != -ENOMEM)
        return err; // it is forgotten there
    err = err < 0 ? err : it->result;
    if (err == 0 && (verb == REMOTE_LOCATE || verb == REMOTE_LOCATE_AT))
        *ref = it->ref;
    memory_release(it);
    return err;
}
