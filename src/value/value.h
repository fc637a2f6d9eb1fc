// SPDX-License-Identifier: MIT
// The face of value/ for the floors above: what values are made of, and CBOR for frames and
// messages.
//
//   value.c    making, owning and reading values; the flat buffer
//   codec.c    the CBOR writer and the strict reader; the check of what came from outside
//   unpack.c   ac_unpack_to
//   format.c   ac_print, ac_format and friends
//
// A value is plain data and belongs to one thread at a time: its count of holders is not atomic. A
// value that goes to another thread is moved there whole (value_detach makes sure that it has no
// other holder).
//
// Tags: 39000 a reference (byte string of 16: peer, id, both big-endian), 39001 an error [code,
// text or null], 39002 a local pointer (unsigned; never leaves the process), 39003 a notice of the
// runtime (a list).
#ifndef VALUE_VALUE_H
#define VALUE_VALUE_H

#include "base/base.h"

#include <asyncoro/value.h>

// A value that carries why it could not be made. `err` is negative.
ac_value value_invalid(int err);

// ac_hold and ac_drop, without a call for a value that lies in its record.
// Whether it is valid and has no memory of its own, so that a copy of its 16 bytes is all of it.
static inline bool value_is_plain(ac_value it) { return it.form == 0 && it.kind != AC_INVALID; }
static inline ac_value value_hold(ac_value it) { return it.form != 0 ? ac_hold(it) : it; }
static inline void value_drop(ac_value it) {
    if (it.form != 0)
        ac_drop(it);
}

// A notice: kind AC_NOTICE around a list, which it takes. Peers cannot make one inside a message.
ac_value value_notice(ac_value list);
// The list inside a notice, to be dropped by the caller; AC_INVALID for any other value. Does not
// take the value.
ac_value value_notice_list(ac_value notice);

// True if the value has a local pointer in it and therefore cannot leave the process.
bool value_is_local(ac_value it);

// The same value with no other holder, so that it may be handed to another thread: itself, or a
// copy if its buffer is shared. Takes the value. AC_INVALID with -ENOMEM.
ac_value value_detach(ac_value it);

// The encoded form as it stands in memory or, for values without a flat buffer, written into
// `scratch`. The bytes are valid while the value is held. Not for AC_INVALID.
ac_span value_encoded(ac_value it, uint8_t scratch[16]);

// ---- codec.c: writing. `to` has room for what the size function told ----

// The head of an item: major type 0..7 in shortest form; returns the bytes written, 9 at the most.
size_t cbor_put_head(uint8_t *to, unsigned major, uint64_t argument);

// ---- codec.c: reading what came from outside ----

// A position in encoded bytes. After an error `err` is negative and all further reads give 0, NULL
// or AC_INVALID.
struct cbor_reader {
    const uint8_t *at;
    const uint8_t *end;
    int err;
};

void cbor_reader_init(struct cbor_reader *reader, const void *bytes, size_t count);
uint64_t cbor_read_unsigned(struct cbor_reader *reader);
int64_t cbor_read_int(struct cbor_reader *reader);
bool cbor_read_bool(struct cbor_reader *reader);
// Text or bytes in place; {NULL, 0} on error. An empty one has a pointer that is not NULL.
ac_span cbor_read_span(struct cbor_reader *reader);
ac_ref cbor_read_ref(struct cbor_reader *reader);
// The next whole item as a value of its own (copied), fully checked. Local pointers are refused;
// notices too, unless `notices` says that this place may hold one.
ac_value cbor_read_value(struct cbor_reader *reader, bool notices);
// True when all bytes are read and no error happened.
bool cbor_read_end(const struct cbor_reader *reader);

#endif
