// SPDX-License-Identifier: MIT
// The face of fabric/: THE CONTRACT for moving frames between peers. It knows bytes and peers, no
// coroutines of the user, no values and no names.
//
//   fabric.c     the functions below; peers, the ticker, the end
//   frame.c      the frame on the wire; the greeting
//   link.c       one link: what was sent and not yet taken, what came, sequence numbers, resuming
//   connection.c one TCP connection under TLS: its reader and its writer
//   tcp.c        listening, connecting, the greeting, one link per pair of peers
//   show.c       AC_TRACE=frame: each frame as a line
//   stranger.c   what those may cost who have not proved who they are
//   discovery.c  beacons; changes of the interfaces
//   hint.c       whether it is true where a peer is said to listen
//   introduce.c  peers that are told of each other
//   permit.c     with which networks this process has to do
//   key.c        the key: finding it, making it at first use, what is derived from it
//   identity.c   by what this process is let in and lets in; taking up what has changed of it
//
// A fabric runs in a guest loop (coro/guest.c): in turn on the thread of the host and on the
// guardian thread, under the guest's lock. All functions below must be called inside the guest:
// between guest_enter and guest_leave, or in a call of the door.
//
// A peer is a process, named by 64 random bits that it draws when it starts. It is *known* once a
// beacon, a link or another peer told its address; a link to it is opened on first need. A link
// that breaks is mended within the grace time and loses and repeats nothing; after that the peer is
// *lost*: what was queued for it is dropped, the door is told once, nothing of that link is handed
// up any more. The two may meet again later, over a new link.
//
// Frames of one link arrive in the order in which they were sent, but that urgent ones go ahead of
// those that are still waiting here. Bytes in flight are bounded by a window: fabric_send says
// -EAGAIN, and the door's `room` tells when to try again. The other side takes frames out of the
// window by fabric_taken, so what it has not yet handed to its receivers counts as in flight.
#ifndef FABRIC_FABRIC_H
#define FABRIC_FABRIC_H

#include "coro/coro.h"
#include "io/io.h"

enum {
    KEY_BYTES = 32,
    KEYS_MAX = 2,                       // that are good at once
    FRAME_PAYLOAD_MAX = 64 * 1024 - 64, // bytes of payload in a frame
    FABRIC_PORT = 51350, // UDP: beacons; TCP: the first program of a computer listens here
    FABRIC_WINDOW_BYTES = 1024 * 1024, // in flight on a link
    FABRIC_PEERS_MAX = 1024
};

struct fabric;

// Keys that are good at once, the newest first.
struct key_ring {
    uint8_t keys[KEYS_MAX][KEY_BYTES];
    size_t count;
};

// Where frames and news of peers go: declared here, filled by remote/. Called inside the guest, on
// whichever thread drives it; must not wait, and may call the functions below but fabric_close.
struct fabric_door {
    // A frame has arrived. `payload` is valid during the call. The receiver calls fabric_taken, now
    // or later, with `bytes`.
    void (*frame)(void *up, uint64_t peer, unsigned type, const uint8_t *payload, size_t bytes);
    // A peer became known, which was not, or not any more. It may have no link yet.
    void (*met)(void *up, uint64_t peer);
    // The link to a peer is up for the first time since it was met or lost.
    void (*linked)(void *up, uint64_t peer);
    // A peer that was met, or to which frames were queued, is lost: -ECONNRESET its process is
    // gone, -ENOTCONN the connection is gone, -ETIMEDOUT it hangs, or without a link its beacons
    // have ceased. It is forgotten but for its address.
    void (*lost)(void *up, uint64_t peer, int reason);
    // The window of a link that had refused a frame has room.
    void (*room)(void *up, uint64_t peer);
    // The answer to fabric_reach: `peer` is linked, or `err` is negative and says why not.
    void (*reached)(void *up, void *token, uint64_t peer, int err);
    // Called only while AC_TRACE names frame, for each frame that goes up, in both directions: the
    // name of its type, constant; and what it says to the peer `to` that receives it, in one line
    // of less than `max` bytes ended by a NUL. May be NULL.
    const char *(*describe)(uint64_t to, unsigned type, const uint8_t *payload, size_t bytes,
                            char *text, size_t max);
};

struct fabric_options {
    uint64_t peer;    // this process
    const char *name; // of this program, for people: "client@host"; at most 63 bytes
    uint16_t port; // to listen on; 0: FABRIC_PORT if it is free, else one that the system chooses
    bool loopback_only;      // listen on 127.0.0.1 and ::1 only, and send beacons there only
    bool no_discovery;       // neither send nor hear beacons
    uint16_t discovery_port; // 0: FABRIC_PORT
    const char *key_path; // of the key file; NULL: the environment variable ASYNCORO_KEY_FILE, else
                          // `key` in the user's configuration folder, made if it is not there
    const uint8_t *key;   // KEY_BYTES instead of a file, or NULL
    size_t key_count;     // how many keys lie there, the newest first; 0: one
    // Instead of a key; then one that is given only signs beacons, and without one there are none.
    const char *certificate;     // file with ours, as of ac_tls_options; NULL: the key
    const char *certificate_key; // file with its secret key; NULL: the same file
    const char *authority;       // file with those whose certificates are trusted
    const char *revoked;         // file with the lists of revoked certificates; NULL: none
    const char *peer_names;      // patterns of the names that may link; NULL: all
    const char *allow;           // lists of networks (permit.c), or NULL: of links and beacons,
    const char *deny;
    const char *beacons_allow; // and of beacons alone
    const char *beacons_deny;
    const char *advertise; // where others shall seek this process, an IP address with or without a
                           // port: where a translator or a container's port is; NULL: where it is
    bool introduces;       // tells the peers that it is linked with of each other
    ac_time heartbeat;     // ns: a peer not heard of for so long hangs; 0: 10 s; at least 0.2 s
    ac_time grace;         // ns: how long a broken connection may take to come back; 0: 10 s
};

struct fabric_peer {
    uint64_t id;
    struct sys_address address; // where it listens, as it says
    struct sys_address remote;  // the other end of the connection; family 0 if there is none
    bool linked;
    double heard_seconds;      // since it was last heard of; negative: never
    double round_trip_seconds; // of a frame and its answer, a running mean; negative: not measured
    // Of the present link, or of the link that is to come:
    uint64_t frames_in;    // that go up
    uint64_t frames_out;   // likewise; also those sent that the peer has not received yet
    uint64_t bytes_in;     // of their payload
    uint64_t bytes_out;    // likewise; also what still waits here
    uint64_t queued_bytes; // of these, what the peer's receivers have not taken yet
    uint64_t reconnects;   // how often a connection broke and was mended
    char name[64];
    char certificate[TRUST_NAME_BYTES]; // the name in its certificate; "": it has shown none
};

// Starts a fabric in the guest: listens, and sends beacons. NULL and *err: -EADDRINUSE for a given
// port that is taken, -EACCES for a key file that others can read, -EINVAL for one that holds no
// key, for networks and an address to advertise that are none, -E2BIG for too many networks,
// -ENOMEM, or the system's error. `text` then says what failed, on what, and what to do.
struct fabric *fabric_open(struct guest *guest, const struct fabric_options *options,
                           const struct fabric_door *door, void *up, int *err, char text[256]);

// Says goodbye to all peers once what is queued for them has been taken, at most until the
// deadline, then ends all coroutines of the fabric. Starts only: fabric_is_closed tells when it is
// done (the guest must be driven meanwhile). The door is not called any more.
void fabric_close(struct fabric *fabric, ac_time deadline);
bool fabric_is_closed(const struct fabric *fabric);
// Frees it, after it is closed.
void fabric_free(struct fabric *fabric);

// How a frame goes.
enum fabric_way {
    FABRIC_WINDOW, // in order, held back by the window
    FABRIC_URGENT, // ahead of what waits, not held back: for answers
    FABRIC_ALWAYS  // in order, not held back: for notices that must come after what was sent before
};

// Queues a frame of one to three parts for a peer, opening a link if there is none. `type` is 16 to
// 255. Copies the bytes. 0; -EAGAIN when the window is full; -EHOSTUNREACH if the peer is not
// known; -EMSGSIZE over FRAME_PAYLOAD_MAX; -ENOMEM. A peer for which too much waits that the window
// does not hold back (URGENT_BYTES_MAX) is lost like one that hangs: that is 0 all the same.
int fabric_send(struct fabric *fabric, uint64_t peer, unsigned type, const ac_span *parts,
                size_t count, enum fabric_way way);

// `bytes` of payload that came from the peer have been handed to their receivers.
void fabric_taken(struct fabric *fabric, uint64_t peer, size_t bytes);

// Links to the program that listens at an address; the door's `reached` gives the answer by the
// deadline. 0; -EACCES if the lists of networks forbid the address; -ENOMEM.
int fabric_reach(struct fabric *fabric, const struct sys_address *address, ac_time deadline,
                 void *token);

// What somebody else told: this peer listens there. Does nothing for a peer that is known, or whose
// process has just ended. As such an address may mean another computer when seen from here, a peer
// that cannot be found there is lost only after the grace time. 0; -ENOMEM; -ENOSPC over
// FABRIC_PEERS_MAX; -EACCES if the lists of networks forbid it.
int fabric_introduce(struct fabric *fabric, uint64_t peer, const struct sys_address *address);

// Parts from a peer: what was sent to it is still taken there, for the grace time at most; then the
// peer is lost at both ends, -ENOTCONN. From now on nothing can be sent to it, and what beacons and
// others tell of it is ignored, and its connections are refused, until fabric_reach finds it. It
// cannot reach us either. 0; -EHOSTUNREACH if it is not known; -EALREADY.
int fabric_part(struct fabric *fabric, uint64_t peer);

// Gives up the link to a peer, with all that is on its way: something of it was lost above that
// nobody can be told of, or the peer sends what it may not. It is lost soon, for `reason`, and may
// be met again.
void fabric_lose(struct fabric *fabric, uint64_t peer, int reason);

// The peers known, at most `max`; returns how many there are.
size_t fabric_peers(const struct fabric *fabric, struct fabric_peer *peers, size_t max);
bool fabric_peer_find(const struct fabric *fabric, uint64_t peer, struct fabric_peer *found);
// What was queued for a peer since it was lost last, also while it is not met yet; 0 if nothing is
// known of it.
uint64_t fabric_bytes_to(const struct fabric *fabric, uint64_t id);
// The name in the certificate of a peer that is or was linked, for who decides about its rights; ""
// if it has shown none, or is not known. It stays the same for as long as the peer is known: who
// has another certificate is not let in as this peer. Valid until the guest is left.
const char *fabric_certificate(const struct fabric *fabric, uint64_t peer);

// Has the round trip to each linked peer measured anew, unless that was done less than half a
// second ago. It is measured when a link comes up, too, and from then on once in the heartbeat
// limit.
void fabric_measure(struct fabric *fabric);

// Where this process listens.
struct sys_address fabric_address(const struct fabric *fabric);

// The keys in use, for handing to worker processes over a pipe. It may change whenever the guest is
// driven.
const struct key_ring *fabric_keys(const struct fabric *fabric);

// ---- key.c: the key file, for programs that look after it too. These calls block. ----

enum {
    KEY_PATH_BYTES = 4096,
    KEY_TEXT_BYTES = KEYS_MAX * (2 * KEY_BYTES + 1) + 1, // with the NUL
    KEY_FINGERPRINT_BYTES = 17                           // with the NUL
};

// Where the key file is, or will be: `given`, or what the environment says. `make_folder`: makes
// the configuration folder, if it is to lie there. 0, or an error and a text.
int key_path(const char *given, bool make_folder, char path[KEY_PATH_BYTES], char text[256]);
// The keys of a file. 0, or an error and a text: -ENOENT; -EACCES: others can read it; -EINVAL.
int key_load(const char *path, struct key_ring *ring, char text[256]);
// The same, of a file that is made if it is not there.
int key_find(const char *path, struct key_ring *ring, char text[256]);
// A new one. 0 or the system's error.
int key_draw(uint8_t key[KEY_BYTES]);
// Makes a file that must not be there. 0; -EEXIST; or an error and a text.
int key_create(const char *path, const struct key_ring *ring, char text[256]);
// Changes a file, whole or not at all. 0; -ESTALE if it does not hold `before` any more; or an
// error and a text.
int key_replace(const char *path, const struct key_ring *before, const struct key_ring *ring,
                char text[256]);
// Reads the text of a key file. 0, or -EINVAL and an empty ring.
int key_parse(const void *text, size_t bytes, struct key_ring *ring);
// Writes it; returns its bytes.
size_t key_print(const struct key_ring *ring, char text[KEY_TEXT_BYTES]);
bool key_ring_has(const struct key_ring *ring, const uint8_t key[KEY_BYTES]);
// What names a key without giving it away: 16 hexadecimal digits. 0 or -ENOMEM.
int key_fingerprint(const uint8_t key[KEY_BYTES], char text[KEY_FINGERPRINT_BYTES]);

#endif
