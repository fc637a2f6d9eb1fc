// SPDX-License-Identifier: MIT
// asyncoro for C: coroutines that send each other messages, in this thread, another process or on
// another computer. This header brings in one header for each floor of the library;
// docs/TUTORIAL.md tells the story and every function is documented where it is declared.
//
// Of the environment it reads, each told of in its header: AC_DEBUG, AC_TRACE and AC_POLLER
// (debug.h); ASYNCORO_KEY_FILE, ASYNCORO_DISCOVERY_PORT, ASYNCORO_PEERS, ASYNCORO_PEERS_FILE,
// ASYNCORO_ADVERTISE and ASYNCORO_INTRODUCES (remote.h), which are read where the options of
// ac_network_start say nothing; AC_SCHEDULER (cluster.h); SSLKEYLOGFILE (tls.h). The key lies in
// $XDG_CONFIG_HOME/asyncoro, else in $HOME/.config/asyncoro; what nodes keep in
// $XDG_CACHE_HOME/asyncoro, else in $HOME/.cache/asyncoro, else in $TMPDIR.
#ifndef ASYNCORO_H
#define ASYNCORO_H

#include <asyncoro/base.h>
#include <asyncoro/cluster.h>
#include <asyncoro/coro.h>
#include <asyncoro/debug.h>
#include <asyncoro/file.h>
#include <asyncoro/io.h>
#include <asyncoro/message.h>
#include <asyncoro/process.h>
#include <asyncoro/remote.h>
#include <asyncoro/sync.h>
#include <asyncoro/tls.h>
#include <asyncoro/transfer.h>
#include <asyncoro/value.h>

#endif
