/* Going through the stored groups of a coordinator, bit by bit in the pool:
 *
 *   after taking over: every group that has members is loaded, so that their sessions run every
 *   offsets.retention.check.interval.ms: groups some of whose offsets look expired are looked at
 *   closely after a topic was deleted, and after taking over: groups that have offsets of a topic
 *   that is no more lose these
 *
 * A few names come back at a time; the next ones follow when their gates are open again. */

#include <stdlib.h>

#include "broker/coordinator/coordinator_internal.h"
#include "broker/shard.h"

#define SCAN_NAMES 64 /* groups loaded at once */

struct coordinator_scan {
    struct job job;
    struct coordinators *all;
    struct coordinator *c; /* NULL: its core is gone */
    struct state_store *store;
    int32_t partition;
    enum coordinator_scan_kind kind;
    int64_t expired_before_ms;          /* commits from before then look expired */
    int64_t now_ms;                     /* wall clock */
    const struct metadata_image *image; /* a reference; SCAN_DELETED: what topics there are */
    struct state_position position;
    struct arena arena;
    struct str names[SCAN_NAMES];
    size_t count;
    struct status result;
    bool in_pool;
    size_t gates; /* not yet open again */
};

static void scan_free(struct coordinator_scan *s)
{
    state_position_free(&s->position);
    arena_free(&s->arena);
    metadata_image_release(s->image);
    free(s);
}

static struct status scan_read(struct coordinator_scan *s)
{
    switch (s->kind) {
    case SCAN_MEMBERS:
        break;
    case SCAN_EXPIRED:
        return coordinator_store_expired(s->store, s->partition, s->expired_before_ms, s->now_ms,
                                         &s->position, &s->arena, s->names, SCAN_NAMES, &s->count);
    case SCAN_DELETED:
        return coordinator_store_deleted(s->store, s->partition, s->image, &s->position, &s->arena,
                                         s->names, SCAN_NAMES, &s->count);
    }
    return coordinator_store_members(s->store, s->partition, &s->position, &s->arena, s->names,
                                     SCAN_NAMES, &s->count);
}

static void scan_job_run(struct job *j)
{
    struct coordinator_scan *s = CONTAINER_OF(j, struct coordinator_scan, job);

    arena_reset(&s->arena);
    s->count = 0;
    s->result = scan_read(s);
}

static void scan_go_on(struct coordinator_scan *s);
static void scan_gate_open(struct coordinator *c);

/* A gate may open before we are told that it stands, and take the core along, and with it the
 * scan. */
static void scan_start_gates(struct coordinator_scan *s)
{
    struct coordinator *c = s->c;

    s->gates = 1; /* ours, while we are at it */
    for (size_t i = 0; c->scan == s && i < s->count; i++) {
        s->gates++;
        if (coordinator_gate_scan(c, s->names[i], s->kind, scan_gate_open) || c->scan != s)
            continue;
        s->gates--;
        if (s->kind == SCAN_DELETED) /* it must not be missed */
            coordinator_scan_topics_deleted(c);
    }
    if (c->scan == s)
        scan_gate_open(c);
}

static void scan_job_done(struct task *t)
{
    struct coordinator_scan *s = CONTAINER_OF(t, struct coordinator_scan, job.done);
    struct coordinators *all = s->all;
    struct coordinator *c = s->c;

    s->in_pool = false;
    if (!c) {
        scan_free(s);
    } else if (status_failed(s->result)) {
        c->scan = NULL;
        scan_free(s);
        coordinators_store_failed(all);
    } else {
        scan_start_gates(s);
    }
    coordinators_job_ended(all);
}

static void scan_gate_open(struct coordinator *c)
{
    struct coordinator_scan *s = c->scan;

    if (!s || --s->gates > 0)
        return;
    if (!s->position.done) {
        scan_go_on(s);
        return;
    }
    c->scan = NULL;
    scan_free(s);
}

static void scan_go_on(struct coordinator_scan *s)
{
    s->in_pool = true;
    s->job =
        (struct job){.home = s->all->loop, .run = scan_job_run, .done = {.run = scan_job_done}};
    coordinators_job_started(s->all);
    pool_submit(s->all->shard->node->env.pool, &s->job);
}

static struct coordinator_scan *scan_new(struct coordinator *c, enum coordinator_scan_kind kind)
{
    struct coordinator_scan *s = calloc(1, sizeof *s);

    if (!s)
        return NULL;
    s->all = c->all;
    s->c = c;
    s->store = c->all->store;
    s->partition = c->id.index;
    s->kind = kind;
    arena_init(&s->arena, (size_t)1 << 20);
    c->scan = s;
    return s;
}

void coordinator_scan_members(struct coordinator *c)
{
    struct coordinator_scan *s = scan_new(c, SCAN_MEMBERS);

    if (s)
        scan_go_on(s);
}

void coordinator_scan_expiry(struct coordinator *c, int64_t now_us)
{
    struct coordinator_scan *s;

    if (now_us < c->expiry_us || c->scan)
        return;
    c->expiry_us = now_us + c->all->options->retention_check_ms * 1000;
    s = scan_new(c, SCAN_EXPIRED);
    if (!s)
        return;
    s->now_ms = clock_wall_ms(c->all->loop->clock);
    s->expired_before_ms = s->now_ms - c->all->options->settings.offsets_retention_ms;
    scan_go_on(s);
}

void coordinator_scan_topics_deleted(struct coordinator *c)
{
    c->topics_deleted = true;
    c->topics_deleted_write = c->open_write;
}

void coordinator_scan_deleted(struct coordinator *c)
{
    struct coordinator_scan *s;

    if (!c->topics_deleted || c->scan || c->committed_write < c->topics_deleted_write)
        return;
    s = scan_new(c, SCAN_DELETED);
    if (!s)
        return;
    c->topics_deleted = false;
    s->image = metadata_image_acquire(c->all->shard->image);
    scan_go_on(s);
}

void coordinator_scan_drop(struct coordinator *c)
{
    struct coordinator_scan *s = c->scan;

    c->scan = NULL;
    if (!s)
        return;
    s->c = NULL;
    if (!s->in_pool)
        scan_free(s);
}
