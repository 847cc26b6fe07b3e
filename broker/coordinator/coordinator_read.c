/* Answers that come out of the state store: read on the shard from memory, or in the pool. */

#include <stdlib.h>

#include "broker/coordinator/coordinator_internal.h"
#include "broker/shard.h"

/* The coordinator may be gone when the job is back: it is not looked at any more. */
struct store_read {
    struct job job;
    struct coordinators *all;
    struct state_store *store;
    struct group_entry *entry;
    struct status result;
};

static void read_over(struct coordinators *all, struct group_entry *e, struct status result)
{
    if (result.code == KERR_KAFKA_STORAGE_ERROR) {
        coordinators_store_failed(all);
        result.code = KERR_NOT_COORDINATOR;
    }
    coordinator_answer(e, result.code);
}

static void read_run(struct job *j)
{
    struct store_read *r = (struct store_read *)j;

    r->result = r->entry->scatter->read(r->entry, r->store, NULL);
}

static void read_done(struct task *t)
{
    struct store_read *r = CONTAINER_OF(t, struct store_read, job.done);
    struct coordinators *all = r->all;

    read_over(all, r->entry, r->result);
    free(r);
    coordinators_job_ended(all);
}

void coordinator_read(struct coordinator *c, struct group_entry *e)
{
    enum kerr code = e->scatter->check ? e->scatter->check(e, c->core) : KERR_NONE;
    struct coordinators *all = c->all;
    bool would_block = false;
    struct store_read *r;
    struct status st;

    if (code != KERR_NONE) {
        coordinator_answer(e, code);
        return;
    }
    st = e->scatter->read(e, all->store, &would_block);
    if (!would_block) {
        read_over(all, e, st);
        return;
    }
    r = malloc(sizeof *r);
    if (!r) {
        coordinator_answer(e, KERR_COORDINATOR_LOAD_IN_PROGRESS);
        return;
    }
    *r =
        (struct store_read){.job = {.home = all->loop, .run = read_run, .done = {.run = read_done}},
                            .all = all,
                            .store = all->store,
                            .entry = e};
    coordinators_job_started(all);
    pool_submit(all->shard->node->env.pool, &r->job);
}
