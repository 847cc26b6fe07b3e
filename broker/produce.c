#include "broker/produce.h"

#include <utlist.h>

#include "broker/request.h"
#include "broker/shard.h"

#define DEADLINE_GRAIN_US 20000 /* how late a time-out may come */

/* The entries of one call that belong to one shard. */
struct produce_part {
    struct task task;
    struct produce_call *call;
    struct shard *owner;
    struct produce_entry *first, *last;
    size_t waiting; /* entries that wait for the high watermark */
    int64_t deadline_us;
    bool queued; /* in the owner's produce_waits */
    struct produce_part *prev, *next;
};

static void part_return(struct produce_part *part);

/* ---- on the owner ---- */

/* KIP-951: the client is told who leads. */
static void entry_name_leader(struct produce_entry *e, const struct partition *p)
{
    e->leader_id = p->leader_id;
    e->leader_epoch = p->leader_epoch;
}

static void entry_reached(struct watermark_waiter *w, enum kerr code)
{
    struct produce_entry *e = CONTAINER_OF(w, struct produce_entry, waiter);
    struct produce_part *part = e->part;

    entry_name_leader(e, e->waiting_on); /* it may be another one by now */
    e->waiting_on = NULL;
    e->code = code;
    if (--part->waiting == 0)
        part_return(part);
}

/* A sequence that does not follow may follow what another leader has. */
static enum kerr entry_verdict(const struct produce_part *part, const struct produce_entry *e,
                               enum kerr code)
{
    if (code == KERR_OUT_OF_ORDER_SEQUENCE_NUMBER &&
        shard_in_doubt(part->owner, e->topic_id, e->index))
        return KERR_NOT_LEADER_OR_FOLLOWER;
    return code;
}

static void entry_append(struct produce_part *part, struct produce_entry *e)
{
    struct partition *p = shard_partition(part->owner, e->topic_id, e->index);
    bool acks_all = part->call->acks == -1;
    struct status st;

    if (!p) {
        e->code = KERR_NOT_LEADER_OR_FOLLOWER;
        return;
    }
    st = partition_append(p, e->records, acks_all, &e->appended, &e->refusal);
    e->code = entry_verdict(part, e, st.code);
    entry_name_leader(e, p);
    if (status_failed(st) || !acks_all)
        return;
    e->waiter.offset = e->appended.last_offset + 1;
    e->waiter.reached = entry_reached;
    if (partition_wait(p, &e->waiter))
        return;
    e->waiting_on = p;
    part->waiting++;
}

static void part_time_out(struct produce_part *part, enum kerr code)
{
    for (struct produce_entry *e = part->first; e; e = e->next) {
        if (!e->waiting_on)
            continue;
        partition_unwait(e->waiting_on, &e->waiter);
        e->waiting_on = NULL;
        e->code = code;
    }
    part->waiting = 0;
    part_return(part);
}

static void on_produce_timer(struct timer *t)
{
    struct shard *s = CONTAINER_OF(t, struct shard, produce_timer);
    int64_t now = clock_monotonic_us(s->loop->clock);
    struct produce_part *part, *next;

    DL_FOREACH_SAFE(s->produce_waits, part, next)
    if (part->deadline_us <= now)
        part_time_out(part, KERR_REQUEST_TIMED_OUT);
    if (s->produce_waits)
        timer_start(s->loop, &s->produce_timer, DEADLINE_GRAIN_US);
}

void produce_init(struct shard *s)
{
    timer_init(s->loop, &s->produce_timer, on_produce_timer);
}

void produce_abort_all(struct shard *s, enum kerr code)
{
    while (s->produce_waits)
        part_time_out(s->produce_waits, code);
}

static void part_park(struct produce_part *part)
{
    struct shard *s = part->owner;
    int64_t timeout_us = (int64_t)part->call->timeout_ms * 1000;

    part->deadline_us = clock_monotonic_us(s->loop->clock) + (timeout_us > 0 ? timeout_us : 0);
    part->queued = true;
    if (!s->produce_waits)
        timer_start(s->loop, &s->produce_timer, DEADLINE_GRAIN_US);
    DL_APPEND(s->produce_waits, part);
}

static void part_run(struct task *t)
{
    struct produce_part *part = (struct produce_part *)t;

    part->waiting = 1; /* ours: a waiter must not send the part home while we are at it */
    for (struct produce_entry *e = part->first; e; e = e->next)
        entry_append(part, e);
    if (--part->waiting == 0)
        part_return(part);
    else
        part_park(part);
}

/* ---- at home ---- */

static void part_returned(struct task *t)
{
    struct produce_part *part = (struct produce_part *)t;
    struct produce_call *call = part->call;

    if (--call->parts_left == 0)
        call->finished(call);
}

/* From the owner's thread: the owner is done with the part. */
static void part_return(struct produce_part *part)
{
    struct shard *home = part->call->rq->shard;

    if (part->queued)
        DL_DELETE(part->owner->produce_waits, part);
    part->queued = false;
    part->task.run = part_returned;
    if (part->owner == home)
        part_returned(&part->task);
    else
        loop_post(home->loop, &part->task);
}

static void call_split(struct produce_call *call)
{
    struct node *node = call->rq->shard->node;

    for (size_t i = 0; i < call->entry_count; i++) {
        struct produce_entry *e = &call->entries[i];
        struct produce_part *part;

        if (e->code != KERR_NONE)
            continue;
        part = &call->parts[node_shard_of(node, e->topic_id, e->index)];
        e->part = part;
        if (part->last)
            part->last->next = e;
        else
            part->first = e;
        part->last = e;
    }
}

bool produce_start(struct produce_call *call)
{
    struct shard *home = call->rq->shard;
    struct node *node = home->node;

    call->parts = arena_array(&call->rq->arena, struct produce_part, node->shard_count);
    if (!call->parts)
        return false;
    call_split(call);
    call->parts_left = 1; /* ours, until all are on their way */
    for (size_t i = 0; i < node->shard_count; i++) {
        struct produce_part *part = &call->parts[i];

        part->call = call;
        part->owner = node->shards[i];
        part->task.run = part_run;
        call->parts_left += part->first != NULL;
    }
    for (size_t i = 0; i < node->shard_count; i++) {
        struct produce_part *part = &call->parts[i];

        if (!part->first)
            continue;
        if (part->owner == home)
            part_run(&part->task);
        else
            loop_post(part->owner->loop, &part->task);
    }
    if (--call->parts_left == 0)
        call->finished(call);
    return true;
}
