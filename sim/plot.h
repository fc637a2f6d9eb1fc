// SPDX-License-Identifier: MIT
// What a run is about: which of two stories it plays, and what befalls it. The story of processes
// that talk is in story.c (story.h), that of a cluster in cluster.c (cluster.h).
#ifndef SIM_PLOT_H
#define SIM_PLOT_H

#include "sim.h"

#include <asyncoro.h>

// What befalls a run.
enum weather {
    WEATHER_CUTS = 1,   // connections break; one end learns of it soon
    WEATHER_SILENT = 2, // and some of which no end learns
    WEATHER_PARTITIONS = 4,
    WEATHER_KILLS = 8,
    WEATHER_POWER = 16, // computers go silent
    WEATHER_FREEZES = 32,
    WEATHER_SLOW = 64,   // processes get the processor late; the network is slow and loses
    WEATHER_FLOOD = 128, // large messages without a pause
    WEATHER_ALL = 255
};

// Up to so many places everybody knows everybody; in larger worlds each knows those around it.
enum { STORY_MESH_MAX = 100, STORY_RANGE = 5 };

struct node;

enum phase { PHASE_TALK, PHASE_PING, PHASE_QUIET };

struct story {
    unsigned weather;
    uint32_t places;
    uint32_t neighbours; // with how many others each place has to do
    bool bursts;         // of news, more than a window takes
    double seconds;      // of faults
    bool keeps;          // of a cluster: its scheduler keeps a journal, and is killed often
    double heartbeat_s, grace_s;
    enum phase phase;
    struct node **nodes; // by number
    uint32_t node_count;
    struct node **at;        // by place: the latest
    struct node *outsider;   // who has no place, and is not among the nodes
    ac_time fault_at;        // the last one so far
    size_t bytes_most;       // that a process had
    uint64_t overtaken_most; // how many messages overtook one that waited
};
extern struct story story;

// They play a whole run and check it. They free all.
void story_play(void);
void cluster_play(void);
// Messages received, and jobs submitted, in all.
uint64_t oracle_count(void);
uint64_t jobs_count(void);

void story_name(char text[32], const char *what, uint32_t place);
uint64_t story_number_at(ac_value list, size_t i);

#endif
