// SPDX-License-Identifier: MIT
// What the files of fabric/ share and nobody else sees.
//
// Who holds whom: a fabric has peers; a peer has a link, and a connection while the link is up; a
// connection has a reader and a writer. The link outlives its connections. All of it lives in the
// guest loop and is touched under its lock.
#ifndef FABRIC_FABRIC_PRIVATE_H
#define FABRIC_FABRIC_PRIVATE_H

#include "fabric/fabric.h"

#define NS_PER_MS ((ac_time)1000000)
#define NS_PER_S ((ac_time)1000000000)
#define GREETING_NS (5 * NS_PER_S) // for the handshake and the greeting
#define LOOK_NS (2 * NS_PER_S)     // how often it is looked whether files of keys have changed
#define CHECK_NS (600 * NS_PER_S)  // and whether certificates have expired
#define SILENT_NS (60 * NS_PER_S)  // for which a peer without a link is known with no beacon heard

enum {
    NAME_BYTES_MAX = 63,
    URGENT_BYTES_MAX = 16 * 1024 * 1024,  // of frames that the window does not hold back
    TELL_BYTES = FABRIC_WINDOW_BYTES / 4, // after so many bytes the other side is told at once
    TELL_NS = 20 * 1000 * 1000,           // and after so long in any case
    BATCH_BYTES = 64 * 1024,              // given to a connection at once
    PLAIN_BYTES = 16 * 1024,              // decrypted at once,
    PLAIN_BYTES_FIRST = 4 * 1024,         // where less comes at a time
    STRANGER_BYTES_MAX = 16 * 1024,       // read from one who is not known yet
    STRANGERS_MAX = 64,
    STRANGERS_PER_ADDRESS_MAX = 8, // but for loopback
    ACCEPTS_PER_S = 5000,
    ADDRESS_ACCEPTS_PER_S = 50, // but for loopback
    HANDSHAKES_PER_S = 200,
    ANSWERS_BYTES_MAX = 4 * 1024, // of TLS, to a peer that does not take them
    PAYLOAD_OVERDUE_MAX = FABRIC_WINDOW_BYTES + URGENT_BYTES_MAX + FRAME_PAYLOAD_MAX
};

// ---- frame.c ----

enum {
    FRAME_HEADER_BYTES = 16,
    FRAME_BYTES_MAX = FRAME_HEADER_BYTES + FRAME_PAYLOAD_MAX,
    WIRE_VERSION = 1,
    GREETING_BYTES_MAX = 512,
    REFUSAL_TEXT_BYTES = 200,
    TAKEN_BYTES = 16,
    HEARTBEAT_BYTES = 9, // of one that asks, or answers
    INTRODUCTION_BYTES_MAX = 32
};

enum heartbeat { HEARTBEAT_ASKS = 1, HEARTBEAT_ANSWERS };

enum frame_type {
    FRAME_HELLO = 1,
    FRAME_WELCOME,
    FRAME_REFUSE,
    FRAME_TAKEN,
    FRAME_HEARTBEAT,
    FRAME_GOODBYE,
    FRAME_INTRODUCE,
    FRAME_PART,
    FRAME_UP = 16 // this and the higher ones go up
};

enum refusal {
    REFUSE_VERSION = 1, // the wire has another version here
    REFUSE_SELF,        // you are talking to yourself
    REFUSE_OTHER,       // this is another process than the one you look for
    REFUSE_CROSSING,    // our own connection to you is under way: wait for it, or try again
    REFUSE_GONE,        // the link you want to resume was given up here
    REFUSE_CLOSING,     // this process is saying goodbye
    REFUSE_FULL,        // too many peers
    REFUSE_PARTED       // this process has parted from you
};

struct frame {
    uint64_t sequence; // 0: of the fabric's own, not numbered
    uint32_t bytes;    // of payload
    uint8_t type;
};

struct greeting {
    uint64_t peer;     // who speaks
    uint64_t to;       // who is meant; 0: whoever listens here
    uint64_t link;     // which link; 0: none is wanted, only an introduction
    bool resuming;     // the link has been up before
    uint64_t received; // last sequence number that has come over this link
    uint64_t taken;    // bytes of payload taken from it
    uint64_t heartbeat_ms;
    uint16_t port;  // where the speaker listens
    uint8_t ip[16]; // the address of this connection as the speaker sees it; not as it is here: a
                    // translator is between
    uint8_t ip_bytes;
    char name[NAME_BYTES_MAX + 1];
    struct sys_address advertised; // where the speaker wants to be sought from elsewhere; family 0:
                                   // nowhere in particular
    enum refusal refusal;          // of FRAME_REFUSE, with the text for people
    char text[REFUSAL_TEXT_BYTES + 1];
};

void frame_put_header(uint8_t to[FRAME_HEADER_BYTES], const struct frame *frame);
// 0; -EPROTO for a header that no frame can have.
int frame_read_header(const uint8_t from[FRAME_HEADER_BYTES], struct frame *frame);
// Writes a whole frame of the type HELLO, WELCOME or REFUSE; returns its bytes.
size_t frame_put_greeting(uint8_t to[FRAME_HEADER_BYTES + GREETING_BYTES_MAX], enum frame_type type,
                          const struct greeting *greeting);
// Reads its payload. 0; -EPROTONOSUPPORT for another version; -EPROTO.
int frame_read_greeting(enum frame_type type, const uint8_t *payload, size_t bytes,
                        struct greeting *greeting);
uint64_t frame_read_u64(const uint8_t from[8]);
void frame_put_u64(uint8_t to[8], uint64_t number);
// Writes a whole frame of the type INTRODUCE; returns its bytes.
size_t frame_put_introduction(uint8_t to[FRAME_HEADER_BYTES + INTRODUCTION_BYTES_MAX],
                              uint64_t peer, const struct sys_address *address);
// Reads its payload. 0 or -EPROTO.
int frame_read_introduction(const uint8_t *payload, size_t bytes, uint64_t *peer,
                            struct sys_address *address);

// ---- link.c ----

// Whole frames that come in at the end and go out at the beginning.
struct chunk;
struct fifo {
    struct chunk *first;
    struct chunk *last;
    size_t count; // of bytes
};

struct link {
    uint64_t id;        // drawn by the one who opened it; 0: none yet
    struct fifo urgent; // whole frames that wait, without a number yet
    struct fifo normal;
    struct fifo sent;           // numbered frames that the peer is not known to have received
    struct chunk *spare;        // memory for more of it, until the link rests
    uint32_t spares;            // how many of them
    size_t given;               // bytes of `sent` that the present connection has been given
    uint64_t sequence;          // of the last frame in `sent`
    uint64_t acknowledged;      // the last one that the peer has received
    uint64_t payload_out;       // bytes of payload ever queued
    uint64_t payload_out_taken; // of these, the peer's receivers have taken
    size_t urgent_bytes;        // of frames in `urgent`
    size_t refused; // the smallest payload that was refused since `room` was called; SIZE_MAX: none
    uint64_t received;                             // the last sequence number that came
    uint64_t payload_in;                           // bytes of payload that came
    uint64_t payload_taken;                        // of these, our receivers have taken
    uint64_t wire_in;                              // bytes of frames that came
    uint64_t told_received, told_taken, told_wire; // as they were when the peer was last told
    uint64_t reconnects;                           // connections that took the place of broken ones
};

void link_init(struct link *link);
// Frees what it holds and makes it a new link without an id.
void link_reset(struct link *link);
// Nothing has travelled for a while: gives back what memory is not in use.
void link_rest(struct link *link);
// Queues a frame. 0; -EAGAIN; -EMSGSIZE; -ENOMEM; -ENOBUFS for an urgent one over the limit.
int link_queue(struct link *link, unsigned type, const ac_span *parts, size_t count,
               enum fabric_way way);
// Numbers waiting frames, urgent ones first, until BATCH_BYTES are to be given to the connection or
// none waits. Whole frames lie at the pointer returned, *bytes of them, 128 KiB at the most; 0:
// there are none to be given. The caller adds what it gives to link->given.
const uint8_t *link_load(struct link *link, size_t *bytes);
// True if frames wait that have no number yet.
bool link_waits(const struct link *link);
// True if all that was queued has been received by the peer.
bool link_is_flushed(const struct link *link);
// The same, and its receivers have taken it.
bool link_is_taken(const struct link *link);
// The peer has told what it received and what was taken. 0; -EPROTO.
int link_told(struct link *link, uint64_t received, uint64_t taken);
// A new connection: what the peer has not received is given to it again. 0; -EPROTO.
int link_resume(struct link *link, uint64_t received, uint64_t taken);
// True, once, if a refused frame would fit now.
bool link_has_room(struct link *link);
// A numbered frame came. 1: hand it up; 0: it was here before; -EPROTO.
int link_arrived(struct link *link, const struct frame *frame);
// How urgently the peer is to be told: 0 not at all, 1 soon, 2 now.
int link_owes(const struct link *link);
// Writes what the peer is to be told into a whole frame of type TAKEN.
void link_tell(struct link *link, uint8_t to[FRAME_HEADER_BYTES + TAKEN_BYTES]);

// ---- show.c: AC_TRACE=frame ----

struct connection;

static inline bool show_is_on(void) { return unlikely(trace_on(TRACE_FRAME)); }
// A line for a frame that goes out over the connection or has come in, and is still to be looked
// at.
void show_frame(const struct connection *connection, bool out, const struct frame *frame,
                const uint8_t *payload);
// The same for whole frames that go out, one behind the other.
void show_frames(const struct connection *connection, const uint8_t *frames, size_t bytes);

// ---- key.c ----

struct key_derived {
    uint8_t tls[KEY_BYTES];
    uint8_t beacon[KEY_BYTES];
    char identity[64]; // the name under which TLS offers the key
};
// 0 or -ENOMEM.
int key_derive(const uint8_t key[KEY_BYTES], struct key_derived *derived);

// ---- identity.c ----

struct identity;

// What the options say. 0, or an error, and maybe a text.
int identity_open(struct identity **identity, const struct fabric_options *options, char text[256]);
void identity_close(struct identity *identity); // NULL is ignored
// Whether there are files, which may change.
bool identity_has_files(const struct identity *identity);
// Looks at the files. True if they have changed and what they say is taken up.
bool identity_look(struct identity *identity);
const struct key_ring *identity_keys(const struct identity *identity);
// TLS for a connection; NULL if there is no memory. *settings, if that is not NULL then, is let go
// by ac_tls_destroy after it.
struct tls *identity_tls(struct identity *identity, bool server, struct ac_tls **settings);
// The name in the certificate of the other side, after the handshake; "" with keys.
void identity_name(const struct identity *identity, const struct tls *tls,
                   char name[TRUST_NAME_BYTES]);
// How many things a client can offer one after the other, when it is refused; and has the
// connection, which was made just now, offer that one.
size_t identity_offers(const struct identity *identity);
void identity_offer(const struct identity *identity, struct tls *tls, size_t number);
// Whether a connection whose handshake is over may still be used.
bool identity_is_good(const struct identity *identity, const struct tls *tls);
// How many ways there are to sign a beacon, and the signature of one of them. 0 or -ENOMEM.
size_t identity_signatures(const struct identity *identity);
int identity_sign(const struct identity *identity, size_t number, const void *bytes, size_t count,
                  uint8_t signature[DIGEST_BYTES]);
// Whether it is one of ours.
bool identity_signed(const struct identity *identity, const void *bytes, size_t count,
                     const uint8_t signature[DIGEST_BYTES]);

// ---- tasks and bells (fabric.c): the fabric's coroutines, and how they wait for one another ----

struct task {
    struct end_watch watch;
    struct coro *coro; // NULL: it does not run
    struct fabric *fabric;
    void (*ended)(struct task *task); // called once it has ended, also if it never ran; may be NULL
};

// 0 or -ENOMEM.
int task_start(struct fabric *fabric, struct task *task, ac_function run, void *argument,
               const char *name);
// Lets its present and all later waits end with -ECANCELED. Harmless if it does not run or is the
// one that runs now.
void task_cancel(struct task *task);

// One coroutine waits for it to ring; rung while nobody waits it stays rung.
struct bell {
    struct coro *waiting;
    bool rung;
};
// 0, -ETIMEDOUT or -ECANCELED.
int bell_wait(struct bell *bell, ac_time deadline);
void bell_ring(struct bell *bell);

// ---- peers and fabric ----

enum link_state {
    LINK_NONE,    // known, or remembered; nothing is queued
    LINK_OPENING, // has never been up; frames may wait
    LINK_UP,      // has a connection
    LINK_BROKEN   // had one and may get another
};

struct peer {
    uint64_t id;
    struct fabric *fabric;
    struct sys_address address; // where it listens
    bool doubtful;              // the address was guessed: that nobody listens there proves nothing
    struct sys_address advertised; // where it wants to be sought from elsewhere; family 0: nowhere
    struct sys_address seen;       // the other end of its latest connection; family 0: none yet
    bool met;                      // the door has been told
    bool gone; // its process has ended: kept for a while so that nobody introduces it again
    bool room_due;
    bool parting;      // it is to be parted from once it has taken what was sent
    bool parted_here;  // this process has parted from it: nothing but fabric_reach brings it back
    bool parted_there; // it has parted from this process
    ac_time part_by;   // while `parting`
    enum link_state state;
    struct link link;
    struct connection *connection; // while LINK_UP
    struct task dial;              // tries to connect while LINK_OPENING and LINK_BROKEN
    struct bell dial_bell;
    bool hello_sent;    // by the dialer, whose answer has not come
    int doom;           // the reason for which it is to be lost at the next tick; 0: none
    ac_time since;      // when it came into LINK_OPENING or LINK_BROKEN
    ac_time linked_at;  // when the link was first up
    ac_time heard;      // when anything last came from it; 0: never
    ac_time forget_at;  // when it may be forgotten, while LINK_NONE
    ac_time beat_ns;    // how often it wants to hear from us
    uint64_t beacon;    // number of its latest beacon
    ac_time beacon_at;  // when the first datagram with this number came
    ac_time round_trip; // a running mean; 0: not measured
    ac_time asked_at;   // when a heartbeat last asked for an answer; 0: never
    uint64_t question;  // its number
    bool answer_due;    // to that one
    char name[NAME_BYTES_MAX + 1];
    char certificate[TRUST_NAME_BYTES]; // the name in it, from its first link on; "": none
};

// One TCP connection, from its first byte on.
struct connection {
    struct list link; // in fabric->connections
    struct fabric *fabric;
    struct peer *peer; // NULL: not known yet, or no longer its connection
    struct sys_handle handle;
    struct sys_address remote;
    struct tls *tls;
    struct ac_tls *settings; // of `tls`; NULL: keys
    struct buffer plain;     // decrypted bytes, whose first is that of a frame
    size_t plain_more;       // how many are decrypted at once
    struct buffer out;       // encrypted bytes, being written
    struct buffer news;      // whole frames of type INTRODUCE that the writer shall send
    struct task reader;      // of an accepted connection it greets first
    struct task writer;
    struct bell work;  // rings when the writer has something to do
    unsigned users;    // tasks that use it
    bool stranger;     // accepted, and has not proved who it is
    bool peers_host;   // and comes from where a peer is known
    bool ended;        // to be released when nobody uses it any more
    bool tell;         // the writer shall send TAKEN
    bool beat;         // the writer shall send HEARTBEAT
    bool ask;          // and one that asks for an answer
    bool answer;       // and one that answers
    uint64_t question; // which
    bool goodbye;      // the writer shall send GOODBYE and then end the stream
    bool goodbye_sent;
    bool rests;            // nothing that goes up has come or been sent since it was told to rest
    bool secured;          // the TLS handshake is over
    size_t stranger_bytes; // that came while it was a stranger, or not secured
    ac_time deadline;      // for all waits until the greeting is over
    double charged;        // handshakes that it counts for, as a stranger; 0: it has not begun
    ac_time spent;         // of the processor on its handshake
    ac_time sent_at;       // when something was last written
};

// What may happen so often: it takes a token, of which so many come in a second.
struct rate {
    double tokens;
    ac_time filled;
};

struct strangers {
    unsigned count;
    uint64_t seed;
    struct rate accepts;
    struct rate handshakes;
    struct rate peers_handshakes; // from the hosts of peers
    struct rate of_address[256];
    uint64_t begun; // handshakes, and who was refused: counted for people and tests
    uint64_t refused;
};

struct reach {
    struct list link; // in fabric->reaches
    struct fabric *fabric;
    struct task task; // asks who listens there
    struct sys_address address;
    ac_time deadline;
    void *token;
    uint64_t peer; // who does; 0 while that is asked
};

// Somebody else listens where a peer was said to: it is not sought there until then.
struct rebuff {
    uint64_t who; // the peer and the address, mixed; 0: nobody
    ac_time pause;
    ac_time until;
};

struct listener {
    struct sys_handle handle;
    struct task task;
    struct fabric *fabric;
};

enum { BEACON_SOCKETS_MAX = 16 };

struct beacon_socket {
    struct fabric *fabric;
    struct sys_handle handle; // handle.sys is NULL: not open
    struct task task;
    unsigned interface; // of an IPv6 one
    bool closing;
};

struct discovery {
    struct task task;                                 // sends
    struct bell bell;                                 // rings when a beacon is to be sent earlier
    struct beacon_socket sockets[BEACON_SOCKETS_MAX]; // the first is IPv4
    uint64_t sequence;                                // of the last beacon sent
    ac_time last;                                     // when
    ac_time next;
    double tokens; // how many beacons may be looked at
    ac_time filled;
    uint16_t port;
    struct sys_handle changes;   // of the interfaces; changes.sys is NULL: not told
    struct task changes_task;    // hears of them
    bool silent;                 // no beacons: only what follows from the interfaces
    bool changed;                // the interfaces are to be read again
    struct sys_interface *found; // as they were read last, or NULL
    int found_count;             // of these
};

struct fabric {
    struct guest *guest;
    struct loop *loop;
    struct sys *sys;
    struct fabric_door door;
    void *up;
    uint64_t self;
    char name[NAME_BYTES_MAX + 1];
    struct identity *identity;
    ac_time look_at; // when it is to be looked whether that has changed
    ac_time looked;  // when it was
    ac_time checked; // when all connections were looked at, whether they may still be used
    struct sys_address address; // what others are told of where this process listens
    uint16_t port;              // where it does
    struct listener listeners[2];
    struct map peers;    // by id: struct peer
    struct peer *latest; // to which was sent last, or NULL
    struct list connections;
    struct list reaches;
    struct list hints;    // struct hint: those that wait or are looked into
    struct map hinted;    // by the id of the peer, the same
    unsigned hints_asked; // of these, are looked into
    double hint_tokens;   // how many may come
    ac_time hint_filled;
    struct rebuff rebuffs[64];
    struct permits *permits;       // NULL: all networks
    struct sys_address advertised; // where others shall seek this process; family 0: where it is
    bool introduces;               // tells each peer of the others
    struct strangers strangers;
    ac_time heartbeat;
    ac_time grace;
    struct task ticker;
    struct bell tick;
    ac_time tick_at;
    struct discovery *discovery; // NULL: neither beacons nor changes of interfaces
    bool loopback_only;
    bool closing; // fabric_close was called; the door is not called any more
    bool ending;  // all tasks have been cancelled: none may start
    struct task closer;
    struct bell closer_bell;
    ac_time close_deadline;
    unsigned tasks;           // that run
    uint64_t refused_beacons; // counted for people and tests
};

// fabric.c
ac_time fabric_now(const struct fabric *fabric);
// Has the ticker look around at this moment or before.
void fabric_tick_by(struct fabric *fabric, ac_time when);
// Somebody was refused, or we were: our keys may have changed.
void fabric_doubt_identity(struct fabric *fabric);
struct peer *peer_find(const struct fabric *fabric, uint64_t id);
// The peer of this id, remembered if it was not. NULL if there is no room or memory.
struct peer *peer_need(struct fabric *fabric, uint64_t id);
// The door learns of it, if it has not.
void peer_meet(struct peer *peer);
// Begins a link to it, if there is none.
void peer_open(struct peer *peer);
// Its connection has ended by accident.
void peer_broke(struct peer *peer);
// Its link is given up.
void peer_lose(struct peer *peer, int reason);
// The link has this connection now. `first`: it was not up before.
void peer_linked(struct peer *peer, struct connection *connection);
// Says so to a peer that is parted from, if it has taken all.
void peer_part_if_taken(struct peer *peer);
// A peer without a link is not there any more.
void peer_leave(struct peer *peer, int reason);
// Ends all tasks.
void fabric_end(struct fabric *fabric);
void reach_answer(struct reach *reach, uint64_t peer, int err);

// connection.c
// One whose remote side is known and whose handle is still to be opened; the caller counts itself
// among its users. One of a server has no TLS yet. NULL if there is no memory.
struct connection *connection_create(struct fabric *fabric, bool server,
                                     const struct sys_address *remote);
// A user has gone; the last one closes and frees it.
void connection_leave(struct connection *connection);
// Ends its tasks and has it released after them.
void connection_end(struct connection *connection);
// It can be used no more: -EBADMSG for a breach of the protocol, else by accident. What becomes of
// the link follows.
void connection_fail(struct connection *connection, int err);
// Nothing has travelled for a while: gives back what memory is not in use.
void connection_rest(struct connection *connection);
// Starts its reader or writer. 0 or -ENOMEM.
int connection_start(struct connection *connection, struct task *task, ac_function run,
                     const char *name);
ac_value connection_read_on(ac_value connection);
ac_value connection_write_all(ac_value connection);
// These four wait, for a coroutine that has the connection for itself; 0 or an error.
int connection_handshake(struct connection *connection);
int connection_flush(struct connection *connection,
                     ac_time deadline); // sends what TLS has for the wire
int connection_receive(struct connection *connection, ac_time deadline); // gives TLS some bytes
int connection_pull(struct connection *connection, ac_time deadline);    // decrypts some bytes more
// For tests: breaks the connection to the peer without any goodbye. False if there is none.
bool fabric_cut(struct fabric *fabric, uint64_t peer);

// tcp.c
int tcp_listen(struct fabric *fabric, const struct fabric_options *options, char text[256]);
// Starts the listeners that do not run, unless the fabric is ending.
void tcp_accept(struct fabric *fabric);
void tcp_stop_listening(struct fabric *fabric);
ac_value tcp_dial(ac_value peer);
ac_value tcp_reach(ac_value reach);
// Asks who listens at an address; the task of the record is the caller's. 0 and *answer.
int tcp_ask(struct reach *reach, struct greeting *answer);
// The computer has other addresses now: names the one that others are told, and gives up the
// connections from those that are gone.
void tcp_readdress(struct fabric *fabric, const struct sys_interface *found, int count);

// permit.c

// Reads the lists of the options. *permits: NULL if there are none. 0, or an error and a text.
int permits_read(const struct fabric_options *options, struct permits **permits, char text[256]);
void permits_release(struct permits *permits);
// Whether this process may be linked with that address, and hear beacons from it or send them by an
// interface that has it.
bool permits_link(const struct permits *permits, const struct sys_address *address);
bool permits_beacon(const struct permits *permits, const struct sys_address *address);

// hint.c

// A peer is said to listen at an address: who does is asked, and known if it is so. `beacon` as in
// struct hint. Dropped if there are too many.
void hint_take(struct fabric *fabric, uint64_t id, const struct sys_address *address,
               uint64_t beacon);
// It is so: whoever that is has proved that it holds the key.
void hint_holds(struct fabric *fabric, uint64_t id, const struct sys_address *address,
                const char *name, uint64_t beacon);
// What lets us in has changed: who did not answer before may answer now.
void hints_forgive(struct fabric *fabric);
void hints_start(struct fabric *fabric);
void hints_stop(struct fabric *fabric);

// introduce.c

// A peer has a connection: it is told of the others and, if it is new, they of it.
void introduce_all(struct peer *peer, bool is_new);
// An INTRODUCE has come. 0 or -EPROTO.
int introduce_take(struct fabric *fabric, const uint8_t *payload, size_t bytes);

// stranger.c
void strangers_init(struct fabric *fabric);
// Takes one of those who may come in now; AC_NOW, or when there will be one.
ac_time strangers_next(struct fabric *fabric);
// A connection for one who comes from there; NULL if he may not come in.
struct connection *stranger_enter(struct fabric *fabric, const struct sys_address *from);
// Waits until he speaks TLS and it is his turn, and begins the handshake. 0 or an error.
int stranger_begin(struct connection *connection);
// The handshake has taken so long of the processor.
void stranger_spent(struct connection *connection, ac_time ns);
// It has failed.
void stranger_failed(struct connection *connection, int err);
// He has proved who he is, and his place is free; then what he has cost is given back.
void stranger_is_known(struct connection *connection);
void stranger_is_friend(struct connection *connection);

// discovery.c

// Beacons, if there are to be any, and what follows from changes of the interfaces.
int discovery_start(struct fabric *fabric, const struct fabric_options *options, char text[256]);
// Has a beacon sent soon.
void discovery_send_soon(struct fabric *fabric);
// Starts what does not run.
void discovery_run(struct fabric *fabric);
// Has a beacon sent soon.
void discovery_send_soon(struct fabric *fabric);
void discovery_stop(struct fabric *fabric);
void discovery_free(struct fabric *fabric);

#endif
