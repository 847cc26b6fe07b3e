#ifndef TESTS_SIM_SIM_MACHINE_H
#define TESTS_SIM_SIM_MACHINE_H

/* A machine: a clock, a disk, and the process of a node on it, of which it sees several. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/sim/sim_drive.h"
#include "tests/sim/sim_node.h"
#include "tests/sim/sim_random.h"
#include "tests/sim/sim_sched.h"
#include "tests/sim/sim_state.h"

struct sim_world;

#define SIM_MACHINE_SETS_MAX 32

/* Of the process of a cluster's machine (sim_cluster.c); a world of one node has its own order. */
enum sim_phase {
    SIM_OFF,      /* none */
    SIM_STARTING, /* not ready yet */
    SIM_UP,
    SIM_STOPPING,
    SIM_LINGERING, /* has stopped; what was parked with it ends */
};

struct sim_machine {
    struct sim_world *world;
    unsigned index;
    struct sim_clock clock;
    struct sim_drive drive;
    struct sim_state state;
    struct sim_node *node; /* NULL: no process */
    uint64_t boot;
    bool memory_lost;  /* some process took with it what was in memory only */
    uint64_t attempts; /* to start a process */
    /* of a cluster */
    enum sim_phase phase;
    int64_t phase_us; /* since then; SIM_OFF: until then */
    bool hurt;        /* its disk was made to fail: it is to start anew before all can be well */
    struct sim_node *ghost; /* the process before, until its clients have heard of its death */
    int64_t ghost_until_us;
    char set_text[SIM_MACHINE_SETS_MAX][160];
    const char *sets[SIM_MACHINE_SETS_MAX];
    size_t set_count;
    size_t bootstrap; /* the setting that names who is asked for the voters */
    bool founds;      /* asks nobody: it makes the quorum */
};

/* What a disturbance may lead to. */
enum sim_harm {
    SIM_HARM_NONE,  /* it goes on as it is: the clock jumped, the page cache is empty */
    SIM_HARM_SLOW,  /* until it is healed */
    SIM_HARM_FAILS, /* calls fail until it is healed */
};

void sim_machine_init(struct sim_machine *m, struct sim_world *w, unsigned index);
void sim_machine_free(struct sim_machine *m); /* its process too */

/* A life of its own for the next process: chance, and which boot it is. */
struct sim_life sim_machine_next_life(struct sim_machine *m, struct sim_random *random);

/* The disk is as it should be again. */
void sim_machine_heal(struct sim_machine *m);

/* Something happens to it, from the world's chance. */
enum sim_harm sim_machine_disturb(struct sim_machine *m, struct sim_random *random, bool may_fail);
/* Calls fail. */
void sim_machine_fail_calls(struct sim_machine *m, struct sim_random *random);

/* What is left after a process has gone. The machine goes too when a sync failed and there was no
 * time for the mark by which the next start on this boot would distrust the page cache
 * (storage/NOTES-recovery.md). Whether anything was lost that was in memory only: with the machine,
 * or since the disk had refused it. */
bool sim_machine_lose(struct sim_machine *m, bool with_machine);

#endif
