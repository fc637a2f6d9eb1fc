// SPDX-License-Identifier: MIT
// Files to peers: a file is sent to another process, or deleted there, within one folder that the
// program there has opened for that.
//
// A file appears there under its name whole and checked, or not at all: until then it lies in the
// folder ".asyncoro" within that folder. It is replaced in one step; whoever has the old one open
// keeps that. It has the permissions that it has here (0777 of them: set-user-id, set-group-id and
// the sticky bit never travel). Its content is compared by its SHA-256: what is there already is
// not sent again, and what came of a transfer that was broken off is not either, should the sender
// have been started anew meanwhile.
//
// Names are paths in that folder, such as "logs/today.txt": at most 1024 bytes and 32 folders in
// each other, with "/" between them, and no part of them empty, "." or "..", or longer than 255
// bytes; ".asyncoro" is not for users. Folders that are missing are made, and removed with their
// last file when that is deleted by its name. Nothing is ever reached through a symbolic link.
//
// What several coroutines or programs do with one name happens one after the other, in the order in
// which it arrives there: the last one stays. Files travel in pieces, in turn with messages, of
// which at most half a MiB of a file is on its way.
//
// A process may also send to itself; that needs no network.
#ifndef ASYNCORO_TRANSFER_H
#define ASYNCORO_TRANSFER_H

#include <asyncoro/base.h>
#include <asyncoro/value.h>

#ifdef __cplusplus
extern "C" {
#endif

// ---- receiving ----

// What peers may do. Zero means the default everywhere.
struct ac_transfer_limits {
    size_t size;             // sizeof(struct ac_transfer_limits); set by the macro
    uint64_t file_bytes_max; // of one file; default: 4 GiB
    uint64_t all_bytes_max;  // of all that lies in the folder, each file counting 4 KiB at least,
                             // and what it replaces not; default: no limit
    uint64_t free_bytes_min; // so much stays free on the disk; default: 64 MiB
    uint32_t at_once;        // files that arrive at the same time, others wait; default: 8
    double idle_s;  // a sender of whom nothing comes for so many seconds is given up; default: 60
    double keep_s;  // what has come of a file is kept for so many seconds after the transfer broke
                    // off; default: a day
    bool no_delete; // nothing may be deleted
    bool no_sync;   // a file gets its name before it is on the disk: quicker, but after a power cut
                    // it may be there in part
    ac_ref told;    // a coroutine or channel that gets a message for each file: the list
                    // ("received", name, bytes) or ("deleted", name, 0). A message that finds no
                    // room there is lost
};

// From now on peers may send files into `folder`, which is there already and in which no other
// program receives, and delete them. A second call puts another folder, or other limits, in the
// place of the first; what is under way is broken off. Options follow by name:
// ac_transfer_accept("inbox", .file_bytes_max = 1 << 20). May be called before ac_run or by a
// coroutine. Does not wait (the folder is looked at). 0; -ENOENT, -ENOTDIR, -EACCES and the like;
// -EBUSY if another program receives there; -ENOTSUP on another loop than the first; -EINVAL;
// -ENOMEM. After an error nothing has changed.
#define ac_transfer_accept(...) AC_TRANSFER_ACCEPT_(__VA_ARGS__, )
#define AC_TRANSFER_ACCEPT_(folder, ...)                                                           \
    ac_transfer_accept_with(folder, AC_OPTIONS_(ac_transfer_limits){                               \
                                        .size = sizeof(struct ac_transfer_limits), __VA_ARGS__})
AC_API int ac_transfer_accept_with(const char *folder, const struct ac_transfer_limits *options);

// From now on nobody may. What is under way is broken off, and its senders get -EACCES. Does not
// wait. 0; -ENOENT if nobody might; -ENOTSUP on another loop than the first.
AC_API int ac_transfer_refuse(void);

// ---- sending ----

// How to send. Zero means the default everywhere.
struct ac_transfer_options {
    size_t size; // sizeof(struct ac_transfer_options); set by the macro
    bool is_new; // another file of that name is not replaced: -EEXIST
    ac_ref told; // a coroutine or channel that gets messages meanwhile, the list (name, bytes that
                 // are there, bytes in all): the first when it begins, the last when all are there,
                 // and at most ten a second in between. One that finds no room is lost
};

// Sends the regular file at `path` to `peer` (of ac_peer_info, or ac_ref_peer) as `name`. Should
// it break off, another call with the same file goes on where it was. Options follow by name:
// ac_transfer_send(peer, "a", "inbox/a", ac_after(60), .told = ac_self()). Can wait. 0; 1 if a file
// of that content is there already: then it only gets the permissions.
//
// -EACCES if the peer receives no files, or none of this program; -EFBIG over its limit for a file;
// -EDQUOT over that for all; -ENOSPC if too little is free there; -EBUSY if too many wait there
// already; -EEXIST, also for what is neither file nor folder; -EISDIR if a folder has that name
// there; -ELOOP if a link has it, or stands on the way; -ENOTDIR if a file stands on the way;
// -EINVAL for a name that is none, or NULL; -EBADMSG if what came is not what was promised, because
// the file has changed meanwhile or the disk is bad; -EIO and the like from the system there.
// -EHOSTUNREACH if the peer is not known; -ECONNRESET if it is lost meanwhile, or gave up waiting
// for us; in both cases, and with the two that follow, it may be there all the same. -ETIMEDOUT;
// -ECANCELED. Here: -ENOENT and the like from the system; -EISDIR; -ENOTSUP if it is no regular
// file; -EPERM outside coroutines; -EAGAIN if no thread can be made; -ENOMEM.
#define ac_transfer_send(peer, path, name, ...)                                                    \
    AC_TRANSFER_SEND_((peer), (path), (name), __VA_ARGS__, )
#define AC_TRANSFER_SEND_(peer, path, name, deadline, ...)                                         \
    ac_transfer_send_with(                                                                         \
        peer, path, name, (deadline),                                                              \
        AC_OPTIONS_(ac_transfer_options){.size = sizeof(struct ac_transfer_options), __VA_ARGS__})
AC_API int ac_transfer_send_with(uint64_t peer, const char *path, const char *name,
                                 ac_time deadline,
                                 const struct ac_transfer_options *options) AC_CHECKED;

// Deletes a file at a peer, and the folders that are empty then. Can wait. 0; -ENOENT if there is
// none of that name; -EACCES also if nothing may be deleted there; -ENOTSUP if it is no regular
// file; else the errors of ac_transfer_send.
AC_API int ac_transfer_delete(uint64_t peer, const char *name, ac_time deadline) AC_CHECKED;

#ifdef __cplusplus
}
#endif

#endif
