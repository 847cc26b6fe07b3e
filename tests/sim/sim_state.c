#include "tests/sim/sim_state.h"

#include <stdlib.h>

#include "protocol/base/check.h"
#include "storage/state_store_sim.h"
#include "tests/sim/sim_world.h"

#define WOULD_BLOCK_PERMILLE 100
#define EMPTIED_PERCENT      10
#define CALLS_MAX            2000

static void keep(struct sim_state *s)
{
    struct sim_heap *process = sim_heap_switch(NULL);

    free(s->kept.data);
    s->kept = state_store_sim_save(s->open);
    s->open = NULL;
    sim_heap_switch(process);
}

/* A close flushes, unless the disk fails. */
static void on_closing(void *arg, struct state_store *store)
{
    struct sim_state *s = arg;

    if (state_store_damaged(store))
        state_store_sim_lose(store);
    else if (status_failed(state_store_flush(store)))
        state_store_sim_crash(store);
    keep(s);
}

struct status sim_state_open(struct sim_node *n, struct state_store_report *report,
                             struct state_store **out)
{
    struct sim_state *s = &n->machine->state;

    *report = (struct state_store_report){.created = s->kept.size == 0};
    *out = state_store_sim_create(&(struct state_store_sim_options){
        .seed = sim_random_next(&n->chance),
        .would_block_per_mille = WOULD_BLOCK_PERMILLE,
        .closing = on_closing,
        .arg = s,
    });
    CHECK(*out != NULL);
    state_store_sim_load(*out, (struct bytes){s->kept.data, s->kept.size});
    s->open = *out;
    return STATUS_OK;
}

void sim_state_died(struct sim_node *n)
{
    struct sim_state *s = &n->machine->state;
    struct sim_heap *before;

    if (!s->open)
        return;
    before = sim_heap_switch(&n->heap);
    if (state_store_damaged(s->open) || sim_random_chance(&n->chance, EMPTIED_PERCENT))
        state_store_sim_lose(s->open);
    else
        state_store_sim_crash(s->open);
    keep(s);
    sim_heap_switch(before);
}

bool sim_state_fail(struct sim_state *s, struct sim_random *random)
{
    if (!s->open)
        return false;
    state_store_sim_fail_after(s->open, sim_random_below(random, CALLS_MAX),
                               sim_random_chance(random, 50));
    return true;
}

void sim_state_heal(struct sim_state *s)
{
    if (s->open)
        state_store_sim_fail_after(s->open, UINT64_MAX, false);
}

void sim_state_free(struct sim_state *s)
{
    free(s->kept.data);
}
