#include "broker/coordinator/group_scatter.h"

#include <string.h>

#include "broker/coordinator/coordinator_internal.h"
#include "broker/internal_topics.h"
#include "broker/request.h"
#include "broker/shard.h"

/* The entries of one request that belong to one shard. */
struct group_part {
    struct task task;
    struct group_scatter *scatter;
    struct shard *owner;
    struct uuid topic_id;
    struct group_entry *first, *last; /* not yet started */
    size_t under_way;
    bool in_turn; /* one entry after the other: they share the arena, which the pool fills */
};

/* ---- on the owner ---- */

static void part_returned(struct task *t)
{
    struct group_scatter *g = ((struct group_part *)t)->scatter;

    if (--g->away == 0)
        g->finished(g);
}

/* Always by a task, also to its own shard: what an answer sets off at home must not run within a
 * coordinator. */
static void part_return(struct group_part *part)
{
    part->task.run = part_returned;
    loop_post(part->scatter->rq->shard->loop, &part->task);
}

static void entry_start(struct group_part *part, struct group_entry *e)
{
    struct coordinator_key key;
    struct coordinator *c;

    memset(&key, 0, sizeof key);
    key.topic_id = part->topic_id;
    key.index = e->partition;
    HASH_FIND(hh, part->owner->coordinators->all, &key, sizeof key, c);
    if (c)
        coordinator_admit(c, e);
    else
        coordinator_answer(e, KERR_NOT_COORDINATOR);
}

static void part_go_on(struct group_part *part)
{
    while (part->first && (part->under_way == 1 || !part->in_turn)) {
        struct group_entry *e = part->first;

        part->first = e->part_next;
        part->under_way++;
        entry_start(part, e);
    }
}

static void part_run(struct task *t)
{
    struct group_part *part = (struct group_part *)t;

    part->under_way = 1; /* ours: an entry must not send the part home while we are at it */
    part_go_on(part);
    if (--part->under_way == 0)
        part_return(part);
}

void group_entry_done(struct group_entry *e)
{
    struct group_part *part = e->part;

    if (--part->under_way > 0)
        return;
    if (!part->first) {
        part_return(part);
        return;
    }
    part->task.run = part_run;
    loop_post(part->owner->loop, &part->task);
}

/* ---- at home ---- */

/* Null when the request's arena is spent. */
static struct str client_host(struct request *rq)
{
    size_t size = strlen(rq->client->host);
    char *host = arena_alloc(&rq->arena, size + 2);

    if (!host)
        return STR_NULL;
    host[0] = '/'; /* as Java prints an address without a name */
    memcpy(host + 1, rq->client->host, size + 1);
    return (struct str){host, size + 1};
}

static void scatter_split(struct group_scatter *g, const struct metadata_topic *topic,
                          struct str host)
{
    struct request *rq = g->rq;
    struct node *node = rq->shard->node;

    for (size_t i = 0; i < g->count; i++) {
        struct group_entry *e = (struct group_entry *)((char *)g->entries + i * g->stride);
        struct group_part *part;

        if (e->skip)
            continue;
        if (!topic) {
            e->caller.code = KERR_NOT_COORDINATOR;
            continue;
        }
        e->partition = internal_topic_partition_of(e->group, topic->partition_count);
        part = &g->parts[node_shard_of(node, topic->id, e->partition)];
        part->topic_id = topic->id;
        e->scatter = g;
        e->part = part;
        e->caller.call = g->call;
        e->caller.client_id = rq->client_id.data ? rq->client_id : STR("");
        e->caller.client_host = host;
        if (part->last)
            part->last->part_next = e;
        else
            part->first = e;
        part->last = e;
    }
}

/* Answers are built on the shards: each needs an arena that no other one uses. */
static bool scatter_give_arenas(struct group_scatter *g)
{
    struct request *rq = g->rq;
    size_t parts = 0;

    for (size_t i = 0; i < rq->shard->node->shard_count; i++)
        parts += g->parts[i].first != NULL;
    if (parts > 1 && !request_split_arena(rq, parts))
        return false;
    parts = 0;
    for (size_t i = 0; i < rq->shard->node->shard_count; i++) {
        struct arena *arena = rq->part_arenas ? &rq->part_arenas[parts] : &rq->arena;

        if (!g->parts[i].first)
            continue;
        parts++;
        for (struct group_entry *e = g->parts[i].first; e; e = e->part_next)
            e->caller.arena = arena;
    }
    return true;
}

bool group_scatter_start(struct group_scatter *g)
{
    struct shard *home = g->rq->shard;
    struct node *node = home->node;
    struct str host = client_host(g->rq);

    g->parts = arena_array(&g->rq->arena, struct group_part, node->shard_count);
    if (!g->parts || !host.data)
        return false;
    scatter_split(g, metadata_image_topic(home->image, TOPIC_CONSUMER_OFFSETS), host);
    if (!scatter_give_arenas(g))
        return false;
    g->away = 1; /* ours, until all are on their way */
    for (size_t i = 0; i < node->shard_count; i++) {
        struct group_part *part = &g->parts[i];

        if (!part->first)
            continue;
        g->away++;
        part->scatter = g;
        part->owner = node->shards[i];
        part->in_turn = g->need == GROUP_NEED_STORE || g->need == GROUP_NEED_SETTLED_STORE;
        part->task.run = part_run;
        if (part->owner == home)
            part_run(&part->task);
        else
            loop_post(part->owner->loop, &part->task);
    }
    if (--g->away == 0)
        g->finished(g);
    return true;
}
