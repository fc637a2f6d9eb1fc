// SPDX-License-Identifier: MIT
// Peers: other asyncoro processes, on this computer and on others, with which messages are
// exchanged as at home.
//
// ac_network_start makes this process a peer. Programs of one user on one computer and on one local
// network find each other with nothing configured: they share a key, 256 bits, made at first use in
// the user's configuration folder (~/.config/asyncoro/key) and copied to other computers by the
// user. Every connection is TLS 1.3 with that key; whoever lacks it gets nothing. Ports: UDP 51350
// for beacons; TCP 51350 for the first program of a computer, a port chosen by the system for the
// others. A process knows at most 1024 peers at once; more are not met.
//
// The key can be rotated while programs run (`asyncoro key rotate`, then `retire`): with two keys
// in its file a process takes both, and a process that runs takes up what has changed in the file
// within two seconds. Connections are made anew where their key has gone, and lose nothing by it.
//
// Certificates are the other way to prove who one is (.certificate, .authority): each side of a
// connection shows one that an authority has signed, for the use as client and as server if it says
// for which, and with a name: a DNS name, or the common name where there is none. It is not revoked
// (.revoked), its name is among .peer_names, and it is listed with the peer (ac_peers). The rights
// of peers can go by it. These files, too, are looked at while the process runs: who is revoked, or
// whose certificate has expired, is cut off. There are no beacons then, so peers are reached by
// ac_peer or through peers; with .key_file as well they are signed with that key, which opens
// nothing. Who holds a key and who holds a certificate do not come together, and computations
// (cluster.h) go with keys alone. Whoever connects can see our certificate.
//
// A connection that breaks between two living processes is mended within the grace time and loses
// and repeats nothing. After that the peer is lost: every monitor fires once, and nothing of that
// connection arrives any more. The two may meet again.
//
// In a program of several loops the first one has the network, and starts it. The coroutines of all
// others do everything else as well, but for ac_try_send; ac_register and ac_unregister can wait
// there. What lists and describes (ac_peers, ac_location, ac_network_address) is told at once on
// each of them, however busy the first one is.
//
// A coroutine that computes for a long time without waiting does not make its process look dead:
// heartbeats, answers to deliver and to locate go on.
#ifndef ASYNCORO_REMOTE_H
#define ASYNCORO_REMOTE_H

#include <asyncoro/base.h>
#include <asyncoro/coro.h>
#include <asyncoro/value.h>

#ifdef __cplusplus
extern "C" {
#endif

// What another process may have done here. It goes for all processes of the network alike, and for
// who has the key (or a certificate) alone: nobody else has anything done.
enum ac_right {
    AC_MAY_SEND = 1,        // send messages, subscribe to channels, monitor coroutines
    AC_MAY_LOCATE = 2,      // locate names
    AC_MAY_CALL = 4,        // call remote functions
    AC_MAY_CANCEL = 8,      // cancel coroutines
    AC_MAY_SEND_FILES = 16, // send files to a folder that the program has opened for that
    AC_MAY_SHIP = 32,       // have code run that it sends along, where there is a node
    AC_MAY_ALL = 63         // all of these
};

// What processes may have done here that are connected from certain addresses, and show
// certificates with certain names.
struct ac_rights_rule {
    const char *from;        // "192.168.7.0/24", "fd00::/8", "10.0.0.3"; NULL: from anywhere
    uint32_t may;            // of enum ac_right, together; 0: nothing
    const char *certificate; // names as in .peer_names; NULL: with any, or without one
};

// How to take part in the network. Zero means the default everywhere.
struct ac_network_options {
    size_t size;             // sizeof(struct ac_network_options); set by the macro
    const char *name;        // of this program, for people: default "PROGRAM@HOST"
    uint16_t port;           // TCP; default: 51350 if it is free, else chosen by the system
    bool loopback_only;      // talk to programs of this computer only
    bool no_discovery;       // send and hear no beacons: peers are reached by ac_peer
    uint16_t discovery_port; // UDP; default: the variable ASYNCORO_DISCOVERY_PORT, else 51350
    const char *
        key_file; // default: the variable ASYNCORO_KEY_FILE, else `key` in the configuration folder
    const char *certificate;     // instead of the key: file with ours, then those between it and an
                                 // authority, as PEM
    const char *certificate_key; // file with its secret key; default: that of .certificate. One
                                 // that everybody may read is refused
    const char *authority;       // file with those who sign the certificates of peers, as PEM
    const char *revoked;    // file with their lists of revoked certificates, as PEM; if there is
                            // one, each authority must have a current list in it
    const char *peer_names; // who may link: "*.lab.example.org, build7"; default: whoever has a
                            // certificate. "*." stands for one label, "*" for any name
    // Lists of networks: "10.0.0.0/8, fd00::/8 192.168.7.9", each as many of its first bits as
    // there are behind the "/", or one address; at most 64. With what is denied, and with what is
    // not allowed where `allow` is given, this process neither links nor exchanges beacons.
    // Loopback needs no permission, but can be denied.
    const char *allow;
    const char *deny;
    const char *beacons_allow; // the same for beacons alone, of what the others leave
    const char *beacons_deny;
    // Peers on other networks, "host", "host:port" or an address, with blanks, commas or lines
    // between: each is reached as by ac_peer, again and again until it answers, and when it is lost
    // or comes later. 256 at most, with those of the file. Default: the variable ASYNCORO_PEERS.
    const char *peers;
    // The same in a file, read again and again, in which a line may be a comment that begins with
    // "#". Default: the variable ASYNCORO_PEERS_FILE.
    const char *peers_file;
    // Where others shall seek this process, an IP address with or without a port, if that is not
    // where it is: the outside of a translator or of a container. Default: the variable
    // ASYNCORO_ADVERTISE.
    const char *advertise;
    bool introduces;    // tells the peers that it is linked with of each other: they then ask there
                        // themselves. Also on if the variable ASYNCORO_INTRODUCES is 1
    double heartbeat_s; // a peer not heard of for so many seconds hangs; default 10, at least 0.2
    double grace_s;     // how many seconds a broken connection may take to come back; default 10
    // What other processes may have done here: the first rule decides that fits the address of the
    // other end of the connection, and its certificate. Who fits none may do everything, so end
    // with {.may = 0} to refuse all others. Copied; at most 1024. Default: everybody may do
    // everything.
    const struct ac_rights_rule *rights;
    size_t rights_count;
    bool unseen; // answer no questions of tools (asyncoro top, asyncoro names); that this program
                 // is there peers see nevertheless
};

// Starts the network for the loop of this thread. May be called before ac_run or by a coroutine.
// Does not wait (a key file is read or made). 0; -EALREADY if it is started; -EACCES if the key
// file can be read by others, -EINVAL if it holds no key, a rule of rights or a list no network,
// what is to be advertised is no address, ASYNCORO_DISCOVERY_PORT no port, or there is a
// certificate without authority; -E2BIG for more than 64 networks; with a certificate the errors of
// ac_tls_create; -EADDRINUSE if a port that was asked for is taken; -ENOTSUP on another loop than
// the first; -ENOMEM; or the system's error. Says on standard error nothing; ac_network_error has
// the sentence.
#define ac_network_start(...)                                                                      \
    ac_network_start_with(                                                                         \
        AC_OPTIONS_(ac_network_options){.size = sizeof(struct ac_network_options), __VA_ARGS__})
AC_API int ac_network_start_with(const struct ac_network_options *options);

// What failed in the last ac_network_start of this thread, on what, and what to do: one sentence.
// "" if nothing did, and if there was not even a loop, or memory, to keep it in.
AC_API const char *ac_network_error(void);

// Where this process listens, "192.168.1.7:51350". Does not wait. 0; -ENOTCONN without network;
// -EINVAL for NULL.
AC_API int ac_network_address(char text[64]);

// Gives a name to a coroutine, a channel or a function of this process, by which all peers find it.
// The name goes when the holder ends. A process gives a name once. Does not wait. 0; -EEXIST if the
// name is given here; -EINVAL for an empty name or one of more than 255 bytes; -ESRCH if the holder
// has ended (a channel of another loop than the caller's gets the name even so, and the name goes
// when that loop says that it is closed); -ENOTSUP if it is not of this process; -EXDEV for a
// function that another loop has opened; -ENOMEM.
AC_API int ac_register(ac_ref holder, const char *name);

// Takes a name back. 0; -ENOENT if it is not given here.
AC_API int ac_unregister(const char *name);

// Finds the holder of a name, here or at any peer: the first "yes", and those are asked too that
// appear while it waits, and a name given later is found when it is given. A holder here goes
// before others, and one that was found is found again, without asking, until his process says that
// he has the name no more, or is lost; so of several holders elsewhere it is the one that answered
// first, and stays it as long as he has the name. Without network it is sought here alone. Can
// wait; does not if the holder is known. 0; -ETIMEDOUT if nobody has given the name by the
// deadline; -ECANCELED; -EPERM; -EINVAL; -ENOMEM.
AC_API int ac_locate(const char *name, ac_ref *holder, ac_time deadline) AC_CHECKED;

// The same at one peer alone: the process that listens at an address, as in ac_peers; as ac_peer
// makes it known if it is not. Can wait. As ac_locate and ac_peer; -EHOSTUNREACH if the peer is
// lost meanwhile; -EACCES at once if it refuses.
AC_API int ac_locate_at(const char *name, const char *address, ac_ref *holder,
                        ac_time deadline) AC_CHECKED;

// Finds all who hold the name now, here (first) and at the peers that are known, and stores at most
// `max`. Waits until each peer has answered or the deadline is over; one that has not, or is not to
// tell us, counts as if it had no holder. Can wait. Returns how many there are; -ECANCELED; -EPERM;
// -EINVAL; -ENOMEM.
AC_API long ac_locate_all(const char *name, ac_ref *holders, size_t max,
                          ac_time deadline) AC_CHECKED;

// ---- remote functions ----
//
// A program opens some of its functions for others to call, and no peer can have anything else run.
// A call starts a coroutine where the function is, and gives its reference in one round trip: to
// send messages to, to monitor, to cancel. A function is named by a reference, as a coroutine or a
// channel is: it can be registered and located, and sent in messages; whoever has it can call it,
// near and far alike.

struct ac_function_options {
    size_t size;          // sizeof(struct ac_function_options); set by the macro
    const char *name;     // of the coroutines that calls run in, for people; kept, not copied
    size_t stack_bytes;   // of these, as for ac_spawn
    bool daemon;          // likewise
    uint32_t at_once_max; // so many calls may run at once: more are refused; default: 65536
};

// Opens a function: it can be called from now on, each call a coroutine of this loop with the
// argument that was given there, which is dropped when it ends. What it returns, and whether it
// fails, is for the caller to watch; a failure is none of this program's (ac_run does not tell it).
// To have a function run on several loops, open it on each. Does not wait. Returns its reference,
// or none, and ac_ref_error tells: -EINVAL for a NULL function or options that make no sense;
// -EAGAIN when this loop has opened 65536; -ENOMEM. It is closed with its loop at the latest.
#define ac_function_open(function, ...)                                                            \
    ac_function_open_with(                                                                         \
        (function),                                                                                \
        AC_OPTIONS_(ac_function_options){.size = sizeof(struct ac_function_options), __VA_ARGS__})
AC_API ac_ref ac_function_open_with(ac_function function,
                                    const struct ac_function_options *options);

// Closes it: later calls give -ESRCH, and its names are free. Calls that run go on. 0; -ESRCH if it
// is closed; -ENOTSUP if it is no function of this loop.
AC_API int ac_function_close(ac_ref function);

struct ac_invoke_options {
    size_t size;  // sizeof(struct ac_invoke_options); set by the macro
    bool monitor; // as if ac_monitor had been called at the birth of the coroutine: the caller gets
                  // exactly one exit notice for it, with its result, also if it ends at once
};

// Calls a function, here or at a peer: starts a coroutine there that runs it with this argument
// (anything that ac_of takes; far, what can travel), and stores its reference; `coroutine` may be
// NULL. It keeps its order with messages: what the caller has sent there before is there before it
// runs. Takes the argument. Can wait, near too if the function is of another loop; on the loop of
// the function it does not. 0. Nothing was started: -ESRCH there is no such function any more;
// -EACCES this process may not call functions there; -EAGAIN too many of its calls run at once;
// -EHOSTUNREACH its process is not known here or is lost; -ENOTSUP for a reference to something
// else or an argument that cannot travel; -ENOMEM, here or there; -EPERM outside coroutines;
// -ETIMEDOUT far, if the deadline was over already; the error of an argument or a reference that
// could not be made. Unknown, it may run: -ETIMEDOUT; -ECONNRESET its process was lost meanwhile;
// -ECANCELED. After an error there is no notice, also with .monitor.
#define ac_invoke(function, argument, coroutine, deadline, ...)                                    \
    ac_invoke_with(                                                                                \
        (function), ac_of(argument), (coroutine), (deadline),                                      \
        AC_OPTIONS_(ac_invoke_options){.size = sizeof(struct ac_invoke_options), __VA_ARGS__})
AC_API int ac_invoke_with(ac_ref function, ac_value argument, ac_ref *coroutine, ac_time deadline,
                          const struct ac_invoke_options *options) AC_CHECKED;

// ---- peers ----

// Makes a process on another network known: "host", "192.168.7.1", "host:51350". Succeeds only if
// it answered. Can wait. 0; -ETIMEDOUT; -ECANCELED; -EPERM; -ENOTCONN without network; -EINVAL;
// -ENOENT for an unknown host; -EACCES if it has another key or does not trust our certificate, or
// the lists of networks forbid its address; -EKEYREJECTED if its certificate is not trusted;
// -EPROTO if it speaks another version; -ELOOP if it is this process; -ECONNABORTED if it has
// closed us (ac_peer_close), -EALREADY if we are just closing it; -ECONNREFUSED and the like.
AC_API int ac_peer(const char *address, ac_time deadline) AC_CHECKED;

struct ac_peer_info {
    uint64_t id;           // as in references; another one whenever the program is started
    char name[64];         // what it calls itself
    char address[64];      // where it listens
    bool linked;           // there is a connection
    char certificate[256]; // the name in its certificate; "": it has shown none
    // Of a round trip between the two processes, a running mean: of a few bytes from one library to
    // the other and back, whatever the coroutines do. Measured when they link, from then on about
    // once in heartbeat_s, and when a tool asks. Negative: it is not known.
    double round_trip_s;
    // Since the two linked: what went to and fro, counted in frames, which are messages (large ones
    // several), answers, notices and the like; and their bytes. What was queued here counts in
    // bytes_out at once, and in messages_out when it leaves.
    uint64_t messages_in;
    uint64_t messages_out;
    uint64_t bytes_in;
    uint64_t bytes_out;
    uint64_t queued_bytes; // of bytes_out, those that its receivers have not taken yet
    uint64_t reconnects;   // how often the connection broke and was mended since
};

// The peers known now, at most `max`. Does not wait. Returns how many there are; -ENOTCONN without
// network; -ENOMEM.
AC_API long ac_peers(struct ac_peer_info *peers, size_t max);

// From now on, until it is lost, this peer may have done here what `may` says (enum ac_right,
// together), whatever the rules of ac_network_start say. A coroutine that watches the peers come
// can so decide for each; with a last rule of {.may = 0} they have nothing done before it has
// decided. What it has begun goes on. Does not wait. 0; -EHOSTUNREACH if it is not known; -ENOTCONN
// without network; -ENOTSUP on another loop than the first; -ENOMEM.
AC_API int ac_set_peer_rights(uint64_t peer, uint32_t may);

// What this peer may have done here, enum ac_right together; -EHOSTUNREACH if it is not known;
// -ENOTCONN without network. Does not wait.
//
// What a peer may not do gives -EACCES there to who asked: ac_deliver, ac_channel_subscribe,
// ac_invoke, ac_cancel at once; ac_monitor by an exit notice, lost with -EACCES; ac_locate when its
// time is up and no other peer has the name. ac_send gives it as soon as the peer is known to
// refuse, which it says first of all on its connection; a message that was under way before that is
// refused there. Answers to what was asked from here are never refused.
AC_API long ac_peer_rights(uint64_t peer);

// Returns how often something was refused here to peers that lack this right, since the network was
// started; 0 where it was not. Does not wait.
AC_API uint64_t ac_refusals(enum ac_right right);

// Closes the connection with a peer, `id` as in references to it, and wants none. What was sent to
// it before is still taken there, for the grace time at most, and what comes from it meanwhile is
// taken here; then the peer is lost at both ends, -ENOTCONN. From the call on nothing can be sent
// to it (-EHOSTUNREACH). It stays away: its beacons and what others tell of it are ignored, and it
// cannot reach us; only ac_peer, here, brings it back. A program that is started again is another
// peer. Does not wait on the first loop; can wait on others. 0; -EHOSTUNREACH if no such peer is
// known; -EALREADY; -ENOTCONN without network; -ENOMEM; on other loops also -EPERM, -ECANCELED.
AC_API int ac_peer_close(uint64_t id);

// What a coroutine that watches the peers is told of one of them.
struct ac_peer_change {
    struct ac_peer_info peer; // as it was known at that moment; after a loss, as it was last
    bool came;                // false: it is lost
    int reason;               // of a loss, as in exit notices: -ECONNRESET its process is gone,
                              // -ENOTCONN the connection is gone, -ETIMEDOUT it is not heard any
                              // more; else 0
};

// From now on the running coroutine gets a message for each peer that comes or is lost: exactly one
// for each change, those of one peer in turn, and first one for each peer that is known already.
// Message and ac_peer_change_of go together as exit notices and ac_exit_of do. It ends with the
// coroutine or ac_peers_unwatch. Does not wait on the first loop; can wait on others. 0; -EALREADY
// if the coroutine watches them; -ENOTCONN without network; -EPERM; -ENOMEM; on other loops also
// -ECANCELED.
AC_API int ac_peers_watch(void) AC_CHECKED;

// Ends that; messages that are in the mailbox stay there. As ac_peers_watch; -ENOENT if the
// coroutine does not watch.
AC_API int ac_peers_unwatch(void);

// True if the message tells of a change among the peers: then *change is filled in. Does not take
// the message, does not wait.
AC_API bool ac_peer_change_of(ac_value message, struct ac_peer_change *change);

// Where a reference lives: "here", or the address of its process; "" if that is not known. Does not
// wait. 0; -EHOSTUNREACH; -EINVAL for NULL.
AC_API int ac_location(ac_ref ref, char text[64]);

#ifdef __cplusplus
}
#endif

#endif
