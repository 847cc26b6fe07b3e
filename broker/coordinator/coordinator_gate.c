/* While a group is being loaded, or one of its requests needs it settled, a gate stands before it:
 * its other requests wait there, in order.
 *
 *   loading: its records are read from the store (on the shard, or in the pool) and replayed
 *   settling: all that it wrote is to be committed;   reading: then all of its offsets are read
 *
 * Requests that wait are bounded over all groups of a coordinator; past the bound they are told to
 * come again. */

#include <stdlib.h>
#include <utlist.h>

#include "broker/coordinator/coordinator_internal.h"
#include "broker/shard.h"
#include "protocol/base/check.h"

#define GATED_MAX 10000
/* of a group with everything in it; given back at once */
#define GATE_ARENA_BYTES ((size_t)1 << 30)

enum gate_stage { GATE_LOADING, GATE_SETTLING, GATE_READING };

struct kept_record {
    struct kept_record *next;
    struct bytes key, value;
};

struct group_gate {
    UT_hash_handle hh;
    struct coordinators *all;
    struct coordinator *c; /* NULL: its core is gone, only a job is still to come back */
    enum gate_stage stage;
    struct group_entry *subject;     /* what it stands there for, once the group is loaded; NULL:
                                  * nobody asked */
    enum coordinator_scan_kind kind; /* nobody asked: what it is done for */
    void (*done)(struct coordinator *c);
    struct group_entry *queue;
    int64_t deadline_us; /* settling for a subject */
    bool in_pool;
    struct job job;
    struct state_store *store;
    int32_t partition;
    struct status result;
    struct arena arena;
    struct state_position position;       /* in the group's records */
    struct kept_record *kept, **kept_end; /* read in the pool, to be replayed on the shard */
    bool has_offsets;
    struct offset_list offsets;
    struct str group; /* behind the struct */
};

static struct group_gate *gate_find(const struct coordinator *c, struct str group)
{
    struct group_gate *g;

    HASH_FIND(hh, c->gates, group.data, group.size, g);
    return g;
}

static struct group_gate *gate_new(struct coordinator *c, struct str group)
{
    struct group_gate *g = calloc(1, sizeof *g + group.size + 1);

    if (!g)
        return NULL;
    g->all = c->all;
    g->c = c;
    g->store = c->all->store;
    g->partition = c->id.index;
    g->group = (struct str){(char *)(g + 1), group.size};
    memcpy(g + 1, group.data, group.size);
    arena_init(&g->arena, GATE_ARENA_BYTES);
    HASH_ADD_KEYPTR(hh, c->gates, g->group.data, g->group.size, g);
    return g;
}

static void gate_free(struct group_gate *g)
{
    state_position_free(&g->position);
    arena_free(&g->arena);
    free(g);
}

/* The gate is gone before those who waited go on: one of them may need the next one. */
static void gate_open(struct group_gate *g)
{
    struct coordinator *c = g->c;
    void (*done)(struct coordinator * c) = g->done;
    struct group_entry *queue = g->queue;

    HASH_DEL(c->gates, g);
    gate_free(g);
    while (queue) {
        struct group_entry *e = queue;

        DL_DELETE(queue, e);
        c->gated--;
        coordinator_admit(c, e);
    }
    if (done && c->state == COORDINATOR_ACTIVE)
        done(c);
}

/* The store cannot be read now: those who wait come again. */
static void gate_failed(struct group_gate *g)
{
    struct coordinator *c = g->c;

    logger_event(c->all->shard->logger, LOGGER_WARN, "group_not_read",
                 "partition=%d group=\"%.*s\" where=\"%s\"", c->id.index, STR_ARG(g->group),
                 g->result.where ? g->result.where : "");
    if (g->result.code == KERR_KAFKA_STORAGE_ERROR) {
        coordinators_store_failed(c->all);
        coordinator_restart(c, KERR_NOT_COORDINATOR); /* takes this gate along */
        return;
    }
    /* Too large for the memory that a group may take. What was replayed of it stays where no
     * request finds it. */
    if (g->subject)
        coordinator_answer(g->subject, KERR_UNKNOWN_SERVER_ERROR);
    g->subject = NULL;
    while (g->queue) {
        struct group_entry *e = g->queue;

        DL_DELETE(g->queue, e);
        c->gated--;
        coordinator_answer(e, KERR_UNKNOWN_SERVER_ERROR);
    }
    gate_open(g);
}

/* ---- reading ---- */

static bool replay(void *arg, const struct group_record *r)
{
    struct group_gate *g = arg;
    enum kerr code = group_core_load_record(g->c->core, r);

    if (code != KERR_NONE)
        logger_event(g->all->shard->logger, LOGGER_WARN, "group_record_ignored",
                     "partition=%d group=\"%.*s\" type=%s reason=%s", g->partition,
                     STR_ARG(g->group), group_record_type_name((int)r->type), kerr_name(code));
    return true;
}

static struct bytes kept_bytes(struct group_gate *g, const struct writer *w)
{
    uint8_t *data = arena_alloc(&g->arena, w->size);

    if (data && w->size)
        memcpy(data, w->data, w->size);
    return (struct bytes){data, w->size};
}

/* The core is the shard's: what the pool reads is kept as the log has it. */
static bool keep(void *arg, const struct group_record *r)
{
    struct group_gate *g = arg;
    struct kept_record *k = arena_array(&g->arena, struct kept_record, 1);
    struct writer key, value;

    writer_init(&key, GATE_ARENA_BYTES);
    writer_init(&value, GATE_ARENA_BYTES);
    if (k && group_record_encode(r, &key, &value)) {
        k->key = kept_bytes(g, &key);
        k->value = kept_bytes(g, &value);
    }
    writer_free(&key);
    writer_free(&value);
    if (!k || !k->key.data || !k->value.data) {
        g->result = status_error(KERR_INVALID_REQUEST, "a group takes more memory than it may");
        return false;
    }
    *g->kept_end = k;
    g->kept_end = &k->next;
    return true;
}

static void replay_kept(struct group_gate *g)
{
    struct arena decoded;

    arena_init(&decoded, GATE_ARENA_BYTES);
    for (const struct kept_record *k = g->kept; k; k = k->next) {
        struct group_record r;

        arena_reset(&decoded);
        if (group_record_decode(&r, k->key, k->value, &decoded) == KERR_NONE)
            replay(g, &r);
    }
    arena_free(&decoded);
}

static struct status gate_read(struct group_gate *g, bool *would_block)
{
    struct status st;

    if (g->stage == GATE_READING)
        return coordinator_store_offsets(g->store, g->partition, g->group, &g->arena, &g->offsets,
                                         would_block);
    st = group_state_load(g->store, g->partition, g->group, &g->position,
                          would_block ? replay : keep, g, would_block);
    if (status_failed(st) || (would_block && *would_block))
        return st;
    return group_state_has_offsets(g->store, g->partition, g->group, &g->has_offsets, would_block);
}

static void gate_job_run(struct job *j)
{
    struct group_gate *g = CONTAINER_OF(j, struct group_gate, job);

    struct status st;

    g->result = STATUS_OK;
    st = gate_read(g, NULL);
    if (!status_failed(g->result))
        g->result = st;
}

static void gate_was_read(struct group_gate *g);

static void gate_job_done(struct task *t)
{
    struct group_gate *g = CONTAINER_OF(t, struct group_gate, job.done);
    struct coordinators *all = g->all;

    g->in_pool = false;
    if (g->c)
        gate_was_read(g);
    else
        gate_free(g);
    coordinators_job_ended(all);
}

static void gate_start_read(struct group_gate *g, enum gate_stage stage)
{
    bool would_block = false;

    g->stage = stage;
    g->result = gate_read(g, &would_block);
    if (!would_block) {
        gate_was_read(g);
        return;
    }
    arena_reset(&g->arena);
    g->kept_end = &g->kept;
    g->in_pool = true;
    g->job =
        (struct job){.home = g->all->loop, .run = gate_job_run, .done = {.run = gate_job_done}};
    coordinators_job_started(g->all);
    pool_submit(g->all->shard->node->env.pool, &g->job);
}

/* ---- what follows ---- */

static void gate_replay(struct group_gate *g)
{
    struct coordinator *c = g->c;

    replay_kept(g);
    group_core_loaded(c->core, g->group, g->has_offsets, coordinators_now_ms(c->all), &c->fx);
    arena_free(&g->arena);
    coordinator_carry_out(c);
}

static void gate_try_settled(struct group_gate *g)
{
    if (!group_core_settled(g->c->core, g->group)) {
        g->stage = GATE_SETTLING;
        return;
    }
    if (g->subject && g->subject->scatter->need == GROUP_NEED_SETTLED_STORE) {
        struct group_entry *e = g->subject;
        struct coordinator *c = g->c;

        gate_open(g);
        if (c->state == COORDINATOR_ACTIVE)
            coordinator_read(c, e);
        else
            coordinator_answer(e, KERR_NOT_COORDINATOR);
        return;
    }
    gate_start_read(g, GATE_READING);
}

static void gate_act(struct group_gate *g)
{
    struct coordinator *c = g->c;
    struct group_entry *e = g->subject;

    g->subject = NULL; /* the core's now */
    if (e) {
        coordinator_run(c, e, &g->offsets);
        return;
    }
    if (g->kind == SCAN_EXPIRED)
        group_core_expire(c->core, g->group, g->offsets.offsets, g->offsets.count,
                          clock_wall_ms(c->all->loop->clock), &c->fx);
    else if (!group_core_topics_deleted(c->core, g->group, g->offsets.offsets, g->offsets.count,
                                        &c->fx))
        coordinator_scan_topics_deleted(c); /* another time */
    coordinator_carry_out(c);
}

static void gate_was_read(struct group_gate *g)
{
    struct coordinator *c = g->c;

    /* The store was reset, and we are about to be told: what was read may be of the past. */
    if (state_store_generation(g->store) != c->all->generation) {
        coordinator_restart(c, KERR_NOT_COORDINATOR); /* takes this gate along */
        return;
    }
    if (status_failed(g->result)) {
        gate_failed(g);
        return;
    }
    if (g->stage == GATE_LOADING) {
        gate_replay(g);
        if (c->state != COORDINATOR_ACTIVE)
            return; /* it took the gate along */
        if (g->kind != SCAN_MEMBERS)
            gate_try_settled(g);
        else
            gate_open(g);
        return;
    }
    /* A session may have ended while the offsets were read. */
    if (!group_core_settled(c->core, g->group)) {
        arena_reset(&g->arena);
        g->stage = GATE_SETTLING;
        return;
    }
    gate_act(g);
    if (c->state == COORDINATOR_ACTIVE)
        gate_open(g);
}

/* ---- from outside ---- */

static void gate_push(struct group_gate *g, struct group_entry *e)
{
    DL_APPEND(g->queue, e);
    g->c->gated++;
}

bool coordinator_gate_queue(struct coordinator *c, struct group_entry *e)
{
    struct group_gate *g = gate_find(c, e->group);

    if (!g)
        return false;
    if (c->gated >= GATED_MAX)
        coordinator_answer(e, KERR_COORDINATOR_LOAD_IN_PROGRESS);
    else
        gate_push(g, e);
    return true;
}

void coordinator_gate_load(struct coordinator *c, struct group_entry *e)
{
    struct group_gate *g = c->gated < GATED_MAX ? gate_new(c, e->group) : NULL;

    if (!g) {
        coordinator_answer(e, KERR_COORDINATOR_LOAD_IN_PROGRESS);
        return;
    }
    gate_push(g, e);
    gate_start_read(g, GATE_LOADING);
}

void coordinator_gate_settle(struct coordinator *c, struct group_entry *e)
{
    struct group_gate *g = gate_new(c, e->group);

    if (!g) {
        coordinator_answer(e, KERR_COORDINATOR_LOAD_IN_PROGRESS);
        return;
    }
    g->subject = e;
    g->deadline_us = clock_monotonic_us(c->all->loop->clock) +
                     (int64_t)c->all->options->commit_timeout_ms * 1000;
    gate_try_settled(g);
}

bool coordinator_gate_scan(struct coordinator *c, struct str group, enum coordinator_scan_kind kind,
                           void (*done)(struct coordinator *c))
{
    bool loaded = group_core_find(c->core, group) != GROUP_UNLOADED;
    struct group_gate *g;

    if (gate_find(c, group) || (loaded && kind == SCAN_MEMBERS))
        return false;
    g = gate_new(c, group);
    if (!g)
        return false;
    g->kind = kind;
    g->done = done;
    if (loaded)
        gate_try_settled(g);
    else
        gate_start_read(g, GATE_LOADING);
    return true;
}

void coordinator_gate_committed(struct coordinator *c)
{
    struct group_gate *g, *next;

    HASH_ITER(hh, c->gates, g, next)
    {
        if (g->stage == GATE_SETTLING)
            gate_try_settled(g);
        if (c->state != COORDINATOR_ACTIVE)
            return;
    }
}

void coordinator_gate_expire(struct coordinator *c, int64_t now_us)
{
    struct group_gate *g, *next;

    HASH_ITER(hh, c->gates, g, next)
    {
        struct group_entry *e = g->subject;

        if (g->stage != GATE_SETTLING || !e || g->deadline_us > now_us)
            continue;
        /* Consumers before 3.9 do not understand COORDINATOR_NOT_AVAILABLE of OffsetFetch. */
        coordinator_answer(e, e->scatter->need == GROUP_NEED_SETTLED_STORE
                                  ? KERR_NOT_COORDINATOR
                                  : KERR_COORDINATOR_NOT_AVAILABLE);
        g->subject = NULL;
        gate_open(g);
        if (c->state != COORDINATOR_ACTIVE)
            return;
    }
}

void coordinator_gate_drop(struct coordinator *c, enum kerr code)
{
    struct group_gate *g, *next;

    HASH_ITER(hh, c->gates, g, next)
    {
        HASH_DEL(c->gates, g);
        if (g->subject)
            coordinator_answer(g->subject, code);
        while (g->queue) {
            struct group_entry *e = g->queue;

            DL_DELETE(g->queue, e);
            coordinator_answer(e, code);
        }
        g->subject = NULL;
        g->c = NULL;
        if (!g->in_pool)
            gate_free(g);
    }
    c->gated = 0;
}
