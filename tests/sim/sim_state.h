#ifndef TESTS_SIM_SIM_STATE_H
#define TESTS_SIM_SIM_STATE_H

/* What a machine keeps of the coordinators' state: storage/state_store_sim, which a process opens
 * and takes with it when it dies, and what is then left of it on the disk.
 *
 * A process that ends cleanly leaves all of it; one that dies leaves what it was after some whole
 * batch since the last flush, or sometimes nothing, as when somebody emptied the folder. */

#include "storage/state_store.h"

struct sim_node;
struct sim_random;

struct sim_state {
    struct state_store *open; /* of the process that runs, in its memory; NULL: none */
    struct bytes_mut kept;    /* owned: what the next process finds */
};

/* As node_env.open_state: n is the machine's process. */
struct status sim_state_open(struct sim_node *n, struct state_store_report *report,
                             struct state_store **out);

/* The process is about to lose its memory. */
void sim_state_died(struct sim_node *n);

/* Calls begin to fail, some time from now, until the store is reset or healed; it may turn out
 * damaged. False: it is not open. */
bool sim_state_fail(struct sim_state *s, struct sim_random *random);
void sim_state_heal(struct sim_state *s);

void sim_state_free(struct sim_state *s);

#endif
