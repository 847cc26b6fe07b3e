#include "broker/scatter.h"

#include "broker/request.h"
#include "broker/shard.h"

struct scatter_part {
    struct task task;
    struct scatter *scatter;
    struct shard *owner;
    struct scatter_entry *first, *last;
    size_t held; /* the owner's, while the part is with it */
};

static void part_returned(struct task *t)
{
    struct scatter *s = ((struct scatter_part *)t)->scatter;

    if (--s->away == 0)
        s->finished(s);
}

static void part_release(struct scatter_part *part)
{
    struct shard *home = part->scatter->rq->shard;

    if (--part->held > 0)
        return;
    part->task.run = part_returned;
    if (part->owner == home)
        part_returned(&part->task);
    else
        loop_post(home->loop, &part->task);
}

void scatter_hold(struct scatter_entry *e)
{
    e->part->held++;
}

void scatter_let_go(struct scatter_entry *e)
{
    part_release(e->part);
}

static void part_run(struct task *t)
{
    struct scatter_part *part = (struct scatter_part *)t;

    part->held = 1; /* ours, until all were asked */
    for (struct scatter_entry *e = part->first; e; e = e->next)
        part->scatter->run(part->scatter, e, shard_partition(part->owner, e->topic_id, e->index));
    part_release(part);
}

static void scatter_split(struct scatter *s)
{
    struct node *node = s->rq->shard->node;

    for (size_t i = 0; i < s->count; i++) {
        struct scatter_entry *e = (struct scatter_entry *)((char *)s->entries + i * s->stride);
        struct scatter_part *part;

        if (e->skip)
            continue;
        part = &s->parts[node_shard_of(node, e->topic_id, e->index)];
        e->part = part;
        if (part->last)
            part->last->next = e;
        else
            part->first = e;
        part->last = e;
    }
}

void *scatter_create(struct request *rq, const struct scatter_kind *kind, size_t count)
{
    struct scatter *s = arena_zalloc(&rq->arena, 1, kind->call_size);
    void *entries = arena_zalloc(&rq->arena, count, kind->entry_size);

    if (!s || !entries) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return NULL;
    }
    *s = (struct scatter){.rq = rq,
                          .entries = entries,
                          .count = count,
                          .stride = kind->entry_size,
                          .run = kind->run,
                          .finished = kind->finished};
    return s;
}

void scatter_send(struct scatter *s)
{
    struct request *rq = s->rq;

    if (!scatter_start(s))
        request_refuse(rq, REQUEST_OVER_BUDGET);
}

bool scatter_start(struct scatter *s)
{
    struct shard *home = s->rq->shard;
    struct node *node = home->node;

    s->parts = arena_array(&s->rq->arena, struct scatter_part, node->shard_count);
    if (!s->parts)
        return false;
    scatter_split(s);
    s->away = 1; /* ours, until all are on their way */
    for (size_t i = 0; i < node->shard_count; i++) {
        struct scatter_part *part = &s->parts[i];

        if (!part->first)
            continue;
        s->away++;
        part->scatter = s;
        part->owner = node->shards[i];
        part->task.run = part_run;
        if (part->owner == home)
            part_run(&part->task);
        else
            loop_post(part->owner->loop, &part->task);
    }
    if (--s->away == 0)
        s->finished(s);
    return true;
}
