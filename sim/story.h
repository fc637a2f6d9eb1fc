// SPDX-License-Identifier: MIT
// The story of processes that talk: what their program (story.c), the oracle and the faults share.
#ifndef SIM_STORY_H
#define SIM_STORY_H

#include "plot.h"

// A place for a process: a name that is always held by the latest process that was started there.
// A node is one such process.
struct node {
    uint32_t number; // of all nodes there have been, from 0
    uint32_t place;
    struct process *process;
    ac_ref inbox;            // holder of "inbox-PLACE"; ac_no_ref: not yet
    ac_ref publisher;        // holder of "publisher-PLACE"
    ac_ref channel;          // holder of "channel-PLACE"
    ac_ref service;          // holder of "service-PLACE", "everybody" and, at last, of "late-PLACE"
    ac_ref labour;           // holder of "labour-PLACE", a remote function
    char address[64];        // where it listens
    ac_ref watchman;         // who watches the inboxes to which talkers of this node send
    struct waiting *waiting; // messages that are being sent: the latest first
    struct view *views;      // of other nodes, by number (oracle.c)
    uint32_t view_count;
    uint64_t published;
    uint32_t speakers;  // talkers that live
    uint32_t readers;   // subscribers that live
    uint32_t askers;    // and those who call
    uint32_t employers; // and those who have functions run
    uint32_t senders;   // and those who send files
    ac_ref clerk;       // who is told of files that come
    uint32_t files_named, files_told;
    bool refuses; // files, for now
    uint32_t pings_due;
    bool found_early; // has found whom it sought before it knew anybody
    bool stopping;
};

// What a node has that has a name.
enum { SIM_INBOX, SIM_PUBLISHER, SIM_CHANNEL, SIM_SERVICE, SIM_LABOUR };

// story.c
struct node *story_start(uint32_t place);
uint32_t story_host(uint32_t place);
uint32_t story_other_place(const struct node *node); // with which it has to do
// For a process: its network, and the holder of a name of a place, which is of the kind `which`.
// NULL: not found.
void story_start_network(struct node *node);
struct node *story_find(struct node *node, uint32_t place, const char *what, size_t which,
                        ac_time deadline, ac_ref *found);

// favours.c
void favours_begin(void);
void favours_end(void);
void favours_check_all(void);
// For a process: opens what it does for others; has others do something again; asks one place for
// everything, when all is well; counts who is called "everybody".
void favours_start(struct node *node);
void favours_spawn_missing(struct node *node);
void favours_ping(struct node *node, uint32_t place);
long favours_count_all(struct node *node, ac_time deadline);

// files.c
void files_begin(void);
void files_end(void);
void files_check_all(void);
// For a process: receives files and sends some; sends one to a place, when all is well; sends some
// while it ends.
void files_start(struct node *node);
void files_ping(struct node *node, uint32_t place);
void files_leave(struct node *node);
// Bytes that a process needs for it at the most.
size_t files_memory(void);

// outsider.c
enum { SIM_OUTSIDER_HOST = 500 };
struct node *outsider_start(void);
const char *outsider_address(void);

// fault.c
void fault_begin(ac_time until);
// All is well again: what was blocked is open, who was frozen goes on, who was killed is started.
void fault_mend(void);

// ---- oracle.c ----

// One who sends numbered messages to inboxes.
struct talker;

enum fate {        // of a message
    FATE_PENDING,  // it is being sent
    FATE_SENT,     // arrives unless the peer is lost
    FATE_FAILED,   // never will arrive
    FATE_UNKNOWN,  // may
    FATE_DELIVERED // is in the mailbox
};

void oracle_begin(void);
void oracle_end(void);
struct talker *oracle_talker(struct node *node);
uint64_t oracle_id(const struct talker *talker);
void oracle_is(struct talker *talker, ac_ref self);
void oracle_ends(struct talker *talker);
// A number for a message to the inbox of a node, and what has become of it.
uint64_t oracle_sends(struct talker *talker, struct node *to);
void oracle_sent(struct talker *talker, struct node *to, uint64_t number, enum fate fate);
// The same for who sends without a deadline, to see that nobody waits for ever while others get
// through: how often a message that was begun later has gone before this one.
struct waiting {
    struct waiting *next; // of the node
    struct node *to;
    uint64_t overtaken;
};
void oracle_waits(struct node *node, struct waiting *it, struct node *to);
void oracle_waited(struct node *node, struct waiting *it, bool sent);
// A node has got a message. True if it does not watch the talker yet.
bool oracle_received(struct node *at, uint64_t talker, uint64_t number);
// A node watches a talker now, which sends to it; or a talker the inbox of a node.
void oracle_watches_talker(struct node *at, uint64_t talker);
void oracle_watches_inbox(struct talker *talker, struct node *of);
bool oracle_is_watching(const struct talker *talker, const struct node *of);
// An exit notice, of a talker at a node, or of an inbox at a talker.
void oracle_notice_of_talker(struct node *at, const struct ac_exit *exit);
struct node *oracle_notice_of_inbox(struct talker *talker, const struct ac_exit *exit);
// The watchman of a node is to watch the inbox of another, watches it (or has
// got an error), and gets a notice.
bool oracle_is_to_watch(struct node *at, const struct node *of);
void oracle_keeps_watch(struct node *at, const struct node *of, int err);
void oracle_notice_of_node(struct node *at, const struct ac_exit *exit);
// Whether it still watches it, or takes it for present; what it was told of peers that come and go.
bool oracle_has_in_view(struct node *at, const struct node *of);
void oracle_peer_change(struct node *at, const struct ac_peer_change *change);
// Of anybody of `of` that was lost for `reason`, seen at `at`.
void oracle_lost(const struct node *at, const struct node *of, int reason);
// For how long after a fault somebody may be lost.
ac_time oracle_patience(void);
// A name was located: the node that holds it. `place`: UINT32_MAX for any.
struct node *oracle_located(struct node *by, uint32_t place, ac_ref found, size_t which);
// Nothing is under way any more, and all is well.
void oracle_check_all(void);

#endif
