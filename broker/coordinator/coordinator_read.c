/* Answers that come out of the state store: read on the shard from memory, or in the pool. */

#include <stdlib.h>

#include "broker/coordinator/coordinator_internal.h"
#include "broker/shard.h"

/* The coordinator may be gone when the job is back: it is not looked at any more. */
struct store_read {
    struct job job;
    struct coordinators *all;
    struct state_store *store;
    uint64_t generation; /* of the store, as the coordinator knew it */
    struct group_entry *entry;
    struct status result;
};

static void read_over(const struct store_read *r)
{
    enum kerr code = r->result.code;

    if (state_store_generation(r->store) != r->generation) {
        code = KERR_NOT_COORDINATOR; /* it was reset: what was read may be of the past */
    } else if (code == KERR_KAFKA_STORAGE_ERROR) {
        coordinators_store_failed(r->all);
        code = KERR_NOT_COORDINATOR;
    }
    coordinator_answer(r->entry, code);
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

    read_over(r);
    free(r);
    coordinators_job_ended(all);
}

void coordinator_read(struct coordinator *c, struct group_entry *e)
{
    enum kerr code = e->scatter->check ? e->scatter->check(e, c->core) : KERR_NONE;
    struct store_read read = {
        .job = {.home = c->all->loop, .run = read_run, .done = {.run = read_done}},
        .all = c->all,
        .store = c->all->store,
        .generation = c->all->generation,
        .entry = e};
    bool would_block = false;
    struct store_read *r;

    if (code != KERR_NONE) {
        coordinator_answer(e, code);
        return;
    }
    read.result = e->scatter->read(e, read.store, &would_block);
    if (!would_block) {
        read_over(&read);
        return;
    }
    r = malloc(sizeof *r);
    if (!r) {
        coordinator_answer(e, KERR_COORDINATOR_LOAD_IN_PROGRESS);
        return;
    }
    *r = read;
    coordinators_job_started(r->all);
    pool_submit(r->all->shard->node->env.pool, &r->job);
}
