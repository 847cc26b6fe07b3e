#include "broker/parting.h"

#include <utlist.h>

#include "broker/shard.h"

struct parting {
    struct parting *prev, *next;
    struct request *rq;
    void (*answer)(void *arg);
    void *arg;
};

static void part_with(struct shard *s, struct parting *p)
{
    DL_DELETE(s->partings, p);
    p->rq->hurry = NULL;
    p->answer(p->arg); /* p is in the request's arena */
}

static void on_client_gone(void *arg)
{
    struct parting *p = arg;

    part_with(p->rq->shard, p);
}

bool parting_hold(struct request *rq, void (*answer)(void *arg), void *arg)
{
    struct shard *s = rq->shard;
    struct parting *p;

    if (!rq->client || s->closing || !atomic_load_explicit(&s->node->leaving, memory_order_relaxed))
        return false;
    p = arena_array(&rq->arena, struct parting, 1);
    if (!p)
        return false;
    *p = (struct parting){.rq = rq, .answer = answer, .arg = arg};
    rq->hurry = on_client_gone;
    rq->hurry_arg = p;
    DL_APPEND(s->partings, p);
    return true;
}

void parting_stop(struct shard *s)
{
    while (s->partings)
        part_with(s, s->partings);
}
