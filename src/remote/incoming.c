// SPDX-License-Identifier: MIT
// The frames that arrive, on the guest side: each is taken apart and becomes an arrival for the
// host, or is answered at once. What is not as remote_private.h says is dropped. Large messages are
// put together from their pieces.
#include "remote/remote_private.h"

// The record of one that was lost goes on when the peer comes again before the host knows of that.
static struct remote_peer *peer_begin(struct remote *remote, struct remote_peer *peer,
                                      uint64_t id) {
    struct arrival *loss = memory_allocate_zeroed(sizeof *loss);
    bool is_new = peer == NULL;
    if (is_new)
        peer = loss ? memory_allocate_zeroed(sizeof *peer) : NULL;
    if (!peer || !loss || (is_new && map_put_id(&remote->peers, id, peer) < 0))
        goto release;
    peer->id = id;
    peer->loss = loss;
    peer->may = rights_decide(remote, id);
    map_init(&peer->streams);
    map_init(&peer->follows);
    return peer;
release:
    if (is_new)
        memory_release(peer);
    memory_release(loss);
    return NULL;
}

struct remote_peer *remote_peer_need(struct remote *remote, uint64_t id) {
    struct remote_peer *peer = remote_peer_record(remote, id);
    return likely(peer && peer->loss) ? peer : peer_begin(remote, peer, id);
}

void incoming_answer(struct incoming *in, uint64_t number, int64_t result) {
    struct head head = {0};
    head_put(&head, number);
    head_put_signed(&head, result);
    remote_tell(in->remote, in->peer->id, FRAME_ANSWER, &head, FABRIC_URGENT);
}

// The bytes of the frame count as taken when the host has handled its arrival.
static void hold_back(struct incoming *in, struct arrival *arrival) {
    arrival->bytes = in->bytes;
    arrival->whole = in->whole;
    in->peer->whole_bytes += in->whole;
    in->bytes = 0;
}

// What is small and not held back by the window, and tells something that must not get lost. Such
// things fill the window, too, when many of them wait. NULL: it is not as it should be, or the link
// is given up.
static struct arrival *note(struct incoming *in, enum arrival_kind kind) {
    bool good = cbor_read_end(&in->reader);
    if (!good && in->reader.err != -ENOMEM)
        return NULL;
    struct arrival *arrival = good ? remote_arrival(in->remote, kind, in->peer->id) : NULL;
    if (!arrival)
        remote_give_up(in->remote, in->peer->id);
    else if (in->peer->arrivals > FEW_ARRIVALS && in->whole == 0)
        hold_back(in, arrival);
    return arrival;
}

// A message that cannot be kept. `number` is that of a DELIVER, or 0.
static void lose_message(struct incoming *in, uint64_t number, int err) {
    if (number != 0)
        incoming_answer(in, number, err);
    if (err != -ENOMEM)
        return;
    in->remote->lost++;
    remote_call_host(in->remote);
}

// What the sender of a DELIVER can be told at once: that the receiver has ended, or that he has the
// message, as it is on its way to his mailbox ahead of all that can happen to him from here on. 0
// if the host alone knows: for what may be full, and for channels and answers.
static int foresee(const struct remote *remote, uint64_t id) {
    if (ref_sort(id) != REF_COROUTINE)
        return 0;
    const struct loop *at = team_loop(remote->host, ref_loop(id));
    const struct coro *receiver = at ? coro_peek(at, id) : NULL;
    if (!receiver)
        return -ESRCH;
    return mailbox_is_limited(receiver) ? 0 : 1;
}

static void got_message(struct incoming *in, bool deliver) {
    uint64_t number = deliver ? cbor_read_unsigned(&in->reader) : 0;
    uint64_t id = cbor_read_unsigned(&in->reader);
    if (in->reader.err == 0 && !rights_check_message(in->remote, in->peer, id)) {
        lose_message(in, number, -EACCES);
        return;
    }
    ac_value value = cbor_read_value(&in->reader, false);
    if (!cbor_read_end(&in->reader) || value.kind == AC_INVALID) {
        lose_message(in, number, value.kind == AC_INVALID ? ac_error_of(value) : -EBADMSG);
        ac_drop(value);
        return;
    }
    struct arrival *arrival = remote_arrival(in->remote, ARRIVED_MESSAGE, in->peer->id);
    if (!arrival) {
        ac_drop(value);
        lose_message(in, number, -ENOMEM);
        return;
    }
    arrival->to = (ac_ref){in->remote->host->peer, id};
    arrival->value = value;
    hold_back(in, arrival);
    int known = deliver ? foresee(in->remote, id) : 0;
    if (known != 0)
        incoming_answer(in, number, known);
    else
        arrival->number = number;
    arrival->result = known > 0;
}

static bool may_spread(const struct incoming *in, const uint64_t *ids, uint32_t count) {
    bool may = true;
    if (map_count(&in->remote->guards) == 0)
        return rights_check(in->remote, in->peer, AC_MAY_SEND);
    for (uint32_t i = 0; i < count && may; i++)
        may = rights_check_message(in->remote, in->peer, ids[i]);
    return may;
}

// One copy of a message that is for many.
static void got_spread(struct incoming *in) {
    ac_span span = cbor_read_span(&in->reader);
    uint32_t count = (uint32_t)(span.bytes / sizeof(uint64_t));
    if (in->reader.err < 0 || count == 0 || span.bytes % sizeof(uint64_t) != 0 ||
        count > SPREAD_MAX)
        return;
    uint64_t *ids = memory_allocate(span.bytes);
    if (ids)
        memcpy(ids, span.at, span.bytes);
    if (ids && !may_spread(in, ids, count)) {
        memory_release(ids);
        return;
    }
    ac_value value = cbor_read_value(&in->reader, false);
    bool good = cbor_read_end(&in->reader) && value.kind != AC_INVALID;
    struct arrival *arrival = good && ids ? remote_arrival(in->remote, ARRIVED_SPREAD, in->peer->id)
                                          : NULL;
    if (!arrival) {
        lose_message(in, 0, good || !ids ? -ENOMEM : ac_error_of(value));
        ac_drop(value);
        memory_release(ids);
        return;
    }
    arrival->value = value;
    arrival->ids = ids;
    arrival->count = count;
    hold_back(in, arrival);
}

static void note_result(struct incoming *in, enum arrival_kind kind, uint64_t number,
                        int64_t result) {
    struct arrival *arrival = note(in, kind);
    if (!arrival)
        return;
    arrival->number = number;
    arrival->result = result;
}

static void got_answer(struct incoming *in) {
    uint64_t number = cbor_read_unsigned(&in->reader);
    int64_t result = cbor_read_int(&in->reader);
    note_result(in, ARRIVED_ANSWER, number, result);
}

static void refuse_monitor(struct incoming *in, uint64_t number) {
    struct head head = {0};
    head_put(&head, number);
    head_put(&head, AC_LOST);
    head_put_signed(&head, -EACCES);
    head.bytes[head.count++] = 0xf6; // CBOR nil
    remote_tell(in->remote, in->peer->id, FRAME_EXIT, &head, FABRIC_ALWAYS);
}

static void got_monitor(struct incoming *in) {
    uint64_t number = cbor_read_unsigned(&in->reader);
    uint64_t id = cbor_read_unsigned(&in->reader);
    bool joins = cbor_read_bool(&in->reader);
    if (cbor_read_end(&in->reader) && !rights_check(in->remote, in->peer, AC_MAY_SEND)) {
        refuse_monitor(in, number);
        return;
    }
    struct arrival *arrival = note(in, ARRIVED_MONITOR);
    if (!arrival)
        return;
    arrival->number = number;
    arrival->result = joins;
    arrival->to = (ac_ref){in->remote->host->peer, id};
}

static void got_cancel(struct incoming *in) {
    uint64_t id = cbor_read_unsigned(&in->reader);
    if (!cbor_read_end(&in->reader) || !rights_check(in->remote, in->peer, AC_MAY_CANCEL))
        return;
    struct arrival *arrival = note(in, ARRIVED_CANCEL);
    if (arrival)
        arrival->to = (ac_ref){in->remote->host->peer, id};
}

static void got_subscribe(struct incoming *in) {
    uint64_t number = cbor_read_unsigned(&in->reader);
    uint64_t channel = cbor_read_unsigned(&in->reader);
    uint64_t who = cbor_read_unsigned(&in->reader);
    bool on = cbor_read_bool(&in->reader);
    if (cbor_read_end(&in->reader) && !rights_check(in->remote, in->peer, AC_MAY_SEND)) {
        incoming_answer(in, number, -EACCES);
        return;
    }
    struct arrival *arrival = note(in, ARRIVED_SUBSCRIBE);
    if (!arrival)
        return;
    arrival->number = number;
    arrival->to = (ac_ref){in->remote->host->peer, channel};
    arrival->who = (ac_ref){in->peer->id, who};
    arrival->result = on;
}

static void got_closed(struct incoming *in) {
    uint64_t channel = cbor_read_unsigned(&in->reader);
    uint64_t id = cbor_read_unsigned(&in->reader);
    struct arrival *arrival = note(in, ARRIVED_CLOSED);
    if (!arrival)
        return;
    arrival->to = (ac_ref){in->remote->host->peer, id};
    arrival->who = (ac_ref){in->peer->id, channel};
}

static void got_unwatch(struct incoming *in) {
    uint64_t number = cbor_read_unsigned(&in->reader);
    bool has_it = cbor_read_bool(&in->reader);
    note_result(in, ARRIVED_UNWATCH, number, has_it);
}

static void got_exit(struct incoming *in) {
    uint64_t number = cbor_read_unsigned(&in->reader);
    uint64_t how = cbor_read_unsigned(&in->reader);
    int64_t reason = cbor_read_int(&in->reader);
    ac_value value = cbor_read_value(&in->reader, false);
    struct arrival *arrival = how >= AC_FINISHED && how <= AC_LOST ? note(in, ARRIVED_EXIT) : NULL;
    if (!arrival) {
        ac_drop(value);
        return;
    }
    arrival->number = number;
    arrival->how = (enum ac_end)how;
    arrival->result = reason;
    arrival->value = value;
    if (in->bytes > LIGHT_BYTES_MAX || in->whole > 0)
        hold_back(in, arrival);
}

static void got_locate(struct incoming *in) {
    uint64_t number = cbor_read_unsigned(&in->reader);
    ac_span name = cbor_read_span(&in->reader);
    uint64_t mode = cbor_read_unsigned(&in->reader);
    if (!cbor_read_end(&in->reader) || name.bytes == 0 || name.bytes > NAME_BYTES_MAX ||
        mode > LOCATE_NOW)
        return;
    if (rights_check(in->remote, in->peer, AC_MAY_LOCATE))
        names_asked(in->remote, in->peer, number, name, (enum locate_mode)mode);
    else
        names_refuse(in->remote, in->peer, number, -EACCES);
}

// A reference, nil or an error.
static void got_found(struct incoming *in) {
    uint64_t number = cbor_read_unsigned(&in->reader);
    ac_value found = cbor_read_value(&in->reader, false);
    bool leaves = cbor_read_bool(&in->reader);
    ac_ref holder = ac_ref_of(found);
    int64_t err = found.kind == AC_INT ? ac_int_of(found) : 0;
    bool good = ac_ref_is(holder) || ac_is_nil(found) || err < 0;
    ac_drop(found);
    struct arrival *arrival = good ? note(in, ARRIVED_FOUND) : NULL;
    if (!arrival)
        return;
    arrival->number = number;
    arrival->to = holder;
    arrival->result = err < 0 ? err : leaves;
}

static void got_left(struct incoming *in) {
    uint64_t number = cbor_read_unsigned(&in->reader);
    struct arrival *arrival = note(in, ARRIVED_LEFT);
    if (arrival)
        arrival->number = number;
}

static void got_forget(struct incoming *in) {
    uint64_t number = cbor_read_unsigned(&in->reader);
    if (cbor_read_end(&in->reader))
        names_forget(in->remote, in->peer, number);
}

static void got_call(struct incoming *in) {
    uint64_t number = cbor_read_unsigned(&in->reader);
    uint64_t function = cbor_read_unsigned(&in->reader);
    uint64_t watch = cbor_read_unsigned(&in->reader);
    if (in->reader.err == 0 && !rights_check(in->remote, in->peer, AC_MAY_CALL)) {
        incoming_answer(in, number, -EACCES);
        return;
    }
    ac_value value = cbor_read_value(&in->reader, false);
    bool good = cbor_read_end(&in->reader) && value.kind != AC_INVALID;
    struct arrival *arrival = good ? remote_arrival(in->remote, ARRIVED_CALL, in->peer->id) : NULL;
    if (!arrival) {
        incoming_answer(in, number,
                        good                       ? -ENOMEM
                        : value.kind == AC_INVALID ? ac_error_of(value)
                                                   : -EBADMSG);
        ac_drop(value);
        return;
    }
    arrival->number = number;
    arrival->watch = watch;
    arrival->to = (ac_ref){in->remote->host->peer, function};
    arrival->value = value;
    hold_back(in, arrival);
}

static void got_started(struct incoming *in) {
    uint64_t number = cbor_read_unsigned(&in->reader);
    uint64_t id = cbor_read_unsigned(&in->reader);
    struct arrival *arrival = note(in, ARRIVED_STARTED);
    if (!arrival)
        return;
    arrival->number = number;
    arrival->to = (ac_ref){in->peer->id, id};
}

static void got_file(struct incoming *in) {
    uint64_t number = cbor_read_unsigned(&in->reader);
    uint64_t verb = cbor_read_unsigned(&in->reader);
    int64_t argument = cbor_read_int(&in->reader);
    if (in->reader.err == 0 && transfer_begins(verb) &&
        !rights_check(in->remote, in->peer, AC_MAY_SEND_FILES)) {
        transfer_refuse(in, number, -EACCES);
        return;
    }
    ac_value value = cbor_read_value(&in->reader, false);
    bool good = cbor_read_end(&in->reader) && value.kind != AC_INVALID && verb <= UINT32_MAX;
    struct arrival *arrival = good ? remote_arrival(in->remote, ARRIVED_FILE, in->peer->id) : NULL;
    if (!arrival) {
        bool no_memory = good || in->reader.err == -ENOMEM;
        ac_drop(value);
        if (transfer_begins(verb)) // somebody waits for an answer
            transfer_refuse(in, number, no_memory ? -ENOMEM : -EBADMSG);
        else if (no_memory)
            remote_give_up(in->remote, in->peer->id);
        return;
    }
    arrival->number = number;
    arrival->verb = (uint32_t)verb;
    arrival->result = argument;
    arrival->value = value;
    hold_back(in, arrival);
}

static void got_rights(struct incoming *in) {
    uint64_t may = cbor_read_unsigned(&in->reader);
    struct arrival *arrival = note(in, ARRIVED_RIGHTS);
    if (arrival)
        arrival->result = (int64_t)(may & AC_MAY_ALL);
}

static void got_told(struct incoming *in) {
    uint64_t number = cbor_read_unsigned(&in->reader);
    uint64_t parts = cbor_read_unsigned(&in->reader);
    ac_value value = cbor_read_value(&in->reader, false);
    bool good = cbor_read_end(&in->reader) && parts <= UINT16_MAX;
    struct arrival *arrival = good ? remote_arrival(in->remote, ARRIVED_TOLD, in->peer->id) : NULL;
    if (!arrival) {
        ac_drop(value);
        return;
    }
    arrival->number = number;
    arrival->result = (int64_t)parts;
    arrival->value = value;
    hold_back(in, arrival);
}

static void got_piece(struct incoming *in);
static void got_abort(struct incoming *in);

// A dispatch: each type of frame has its handler.
static void handle(struct incoming *in, unsigned type) {
    switch (type) {
    case FRAME_SEND: got_message(in, false); break;
    case FRAME_DELIVER: got_message(in, true); break;
    case FRAME_SPREAD: got_spread(in); break;
    case FRAME_ANSWER: got_answer(in); break;
    case FRAME_MONITOR: got_monitor(in); break;
    case FRAME_CANCEL: got_cancel(in); break;
    case FRAME_EXIT: got_exit(in); break;
    case FRAME_LOCATE: got_locate(in); break;
    case FRAME_FOUND: got_found(in); break;
    case FRAME_LEFT: got_left(in); break;
    case FRAME_FORGET: got_forget(in); break;
    case FRAME_PIECE: got_piece(in); break;
    case FRAME_ABORT: got_abort(in); break;
    case FRAME_SUBSCRIBE: got_subscribe(in); break;
    case FRAME_CLOSED: got_closed(in); break;
    case FRAME_CALL: got_call(in); break;
    case FRAME_STARTED: got_started(in); break;
    case FRAME_RIGHTS: got_rights(in); break;
    case FRAME_FILE: got_file(in); break;
    case FRAME_ASK: ask_asked(in->remote, in->peer, &in->reader); break;
    case FRAME_TOLD: got_told(in); break;
    case FRAME_UNWATCH: got_unwatch(in); break;
    default:
        trace(TRACE_REMOTE, "a frame of unknown type %u from peer %016llx", type,
              (unsigned long long)in->peer->id);
    }
}

static void drop_stream(struct remote *remote, struct remote_peer *peer, uint64_t number,
                        struct stream *stream) {
    map_take_id(&peer->streams, number);
    peer->streams_bytes -= stream->total;
    if (remote->spare_bytes.capacity == 0 && stream->bytes.capacity <= SPARE_BYTES_MAX) {
        remote->spare_bytes = stream->bytes;
        remote->spare_bytes.length = 0;
    } else {
        buffer_done(&stream->bytes);
    }
    memory_release(stream);
}

// NULL: the peer has too many, or there is no memory; then what it sends is lost with the link.
static struct stream *stream_open(struct remote *remote, struct remote_peer *peer, uint64_t number,
                                  unsigned type, size_t total) {
    if (map_count(&peer->streams) >= STREAMS_MAX ||
        total > 2 * AC_VALUE_BYTES_MAX - peer->streams_bytes)
        return NULL;
    struct stream *stream = memory_allocate_zeroed(sizeof *stream);
    if (!stream) {
        remote_give_up(remote, peer->id);
        return NULL;
    }
    stream->type = type;
    stream->total = total;
    stream->bytes = remote->spare_bytes;
    buffer_init(&remote->spare_bytes);
    if (map_put_id(&peer->streams, number, stream) < 0) {
        buffer_done(&stream->bytes);
        memory_release(stream);
        remote_give_up(remote, peer->id);
        return NULL;
    }
    peer->streams_bytes += total;
    return stream;
}

// Pieces are taken when they come, because a message may be larger than the window. But while much
// that was put together waits for the host, the window shall fill.
static void withhold(struct incoming *in) {
    if (in->peer->whole_bytes < FABRIC_WINDOW_BYTES)
        return;
    in->peer->withheld += in->bytes;
    in->bytes = 0;
}

static void got_piece(struct incoming *in) {
    uint64_t number = cbor_read_unsigned(&in->reader);
    uint64_t type = cbor_read_unsigned(&in->reader);
    uint64_t total = cbor_read_unsigned(&in->reader);
    uint64_t before = cbor_read_unsigned(&in->reader);
    ac_span bytes = cbor_read_span(&in->reader);
    // What is said of streams travels in no stream: it would end the one that carries it.
    bool of_streams = type == FRAME_PIECE || type == FRAME_ABORT;
    if (!cbor_read_end(&in->reader) || of_streams || type > 255 ||
        total > AC_VALUE_BYTES_MAX + HEAD_BYTES_MAX + SPREAD_MAX * sizeof(uint64_t))
        return;
    struct stream *stream = map_get_id(&in->peer->streams, number);
    // What begins in the middle is the rest of a message whose beginning was lost with an earlier
    // link.
    if (!stream && before == 0)
        stream = stream_open(in->remote, in->peer, number, (unsigned)type, total);
    if (!stream)
        return;
    bool fits = before == stream->bytes.length &&
                bytes.bytes <= stream->total - stream->bytes.length;
    if (!fits || buffer_append(&stream->bytes, bytes.at, bytes.bytes) < 0) {
        if (fits)
            remote_give_up(in->remote, in->peer->id);
        drop_stream(in->remote, in->peer, number, stream);
        return;
    }
    if (stream->bytes.length < stream->total) {
        withhold(in);
        return;
    }
    struct incoming whole = {
        .remote = in->remote, .peer = in->peer, .bytes = in->bytes, .whole = stream->total};
    in->bytes = 0;
    cbor_reader_init(&whole.reader, stream->bytes.bytes, stream->bytes.length);
    handle(&whole, stream->type);
    in->bytes = whole.bytes;
    drop_stream(in->remote, in->peer, number, stream);
}

static void got_abort(struct incoming *in) {
    uint64_t number = cbor_read_unsigned(&in->reader);
    struct stream *stream = map_get_id(&in->peer->streams, number);
    if (cbor_read_end(&in->reader) && stream)
        drop_stream(in->remote, in->peer, number, stream);
}

void incoming_frame(void *up, uint64_t peer, unsigned type, const uint8_t *payload, size_t bytes) {
    struct remote *remote = up;
    struct incoming in = {
        .remote = remote, .peer = remote_peer_need(remote, peer), .bytes = (uint32_t)bytes};
    if (!in.peer)
        remote_give_up(remote, peer);
    if (in.peer && !in.peer->given_up) {
        cbor_reader_init(&in.reader, payload, bytes);
        handle(&in, type);
    }
    if (in.bytes > 0) // nobody waits for what it was
        fabric_taken(remote->fabric, peer, in.bytes);
}
