// SPDX-License-Identifier: MIT
// asyncoro for C: coroutines that send each other messages, in this thread, another process or on
// another computer. This header brings in one header for each floor of the library;
// docs/TUTORIAL.md tells the story and every function is documented where it is declared.
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
