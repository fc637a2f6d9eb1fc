// SPDX-License-Identifier: MIT
// What the files that start and confine processes share. What is marked IN_CHILD runs between a
// fork and the program, or in a warden, and may do what a handler of signals may.
#ifndef SYS_SANDBOX_PRIVATE_H
#define SYS_SANDBOX_PRIVATE_H

#include "sys/sys.h"

#define IN_CHILD __attribute__((no_sanitize_address, no_sanitize_thread, no_sanitize_undefined))

enum {
    PROCESS_STACK_BYTES = 64 << 10,
    WITHOUT_CLOSE_RANGE = 4096 // descriptors gone through where the system cannot do it at once
};

// process.c: starts a process on a stack of that size, confined if `sandbox` is not NULL. May be
// called in a warden. 0 or an error, and *what is what failed, a constant.
int process_spawn(char *stack, const struct sys_process_options *how,
                  const struct sys_sandbox *sandbox, struct sys_process *process,
                  const char **what);

// Sees to it that a process that is about to end is reaped. May block until then where there is no
// memory.
void process_mourn(struct sys_process *process);

// sandbox.c: confines this process, in whose `executable` the program is open (-1: it has a path).
// 0 or an error, and *what.
int sandbox_enter(const struct sys_sandbox *it, int executable, const char **what);
// Makes the mounts of a strict sandbox in a namespace that is this process's own; `user` and
// `group` are who it was outside, where it has a namespace of users; `is_root`: it has none.
int sandbox_mount(const struct sys_sandbox *it, uint32_t user, uint32_t group, const char **what);

// filter.c: whether there are filters; and setting ours. 0 or an error.
bool filter_is_there(void);
int filter_set(bool no_unix_sockets);

// cgroup.c
void group_probe(struct sys_sandbox_parts *parts);
void group_leave(struct sys_sandbox_parts *parts);
// Makes a group for a ward with its limits: its path. 0 or an error.
int group_make(const struct sys_sandbox *sandbox, char path[288]);
void group_remove(const char *path);
// The same without waiting: 0, -EBUSY, or another error.
int group_try_remove(const char *path);
// A number of a file of a group, behind `key` if that is not NULL; 0: not there.
uint64_t group_number(const char *path, const char *file, const char *key);

#endif
