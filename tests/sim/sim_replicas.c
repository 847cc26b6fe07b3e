#include "tests/sim/sim_replicas.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/hosting.h"
#include "broker/shard.h"
#include "protocol/base/check.h"
#include "replication/metadata_image.h"
#include "replication/partition.h"
#include "tests/sim/sim_world.h"

/* ---- the partitions there are ---- */

/* Some order; the first half of an id is rarely that of another. */
static int compare(const struct sim_replicated *p, struct uuid topic_id, int32_t index)
{
    uint64_t one[2], other[2];

    memcpy(one, p->topic_id.bytes, sizeof one);
    memcpy(other, topic_id.bytes, sizeof other);
    if (one[0] != other[0])
        return one[0] < other[0] ? -1 : 1;
    if (one[1] != other[1])
        return one[1] < other[1] ? -1 : 1;
    return (p->index > index) - (p->index < index);
}

static struct sim_replicated *find(struct sim_replicas *r, struct uuid topic_id, int32_t index)
{
    size_t low = 0, high = r->count;
    struct sim_replicated *p;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (compare(r->partitions[middle], topic_id, index) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < r->count && compare(r->partitions[low], topic_id, index) == 0)
        return r->partitions[low];
    if (r->count == r->capacity) {
        r->capacity = r->capacity ? 2 * r->capacity : 64;
        r->partitions = realloc(r->partitions, r->capacity * sizeof r->partitions[0]);
        CHECK(r->partitions != NULL);
    }
    p = calloc(1, sizeof *p);
    CHECK(p != NULL);
    *p = (struct sim_replicated){.topic_id = topic_id, .index = index, .leader_epoch = -1};
    memmove(&r->partitions[low + 1], &r->partitions[low],
            (r->count - low) * sizeof r->partitions[0]);
    r->partitions[low] = p;
    r->count++;
    return p;
}

/* ---- after each step ---- */

static void look_at_leader(struct sim_replicas *r, const struct sim_machine *m,
                           const struct partition *p, struct sim_replicated *known)
{
    if (p->leader_epoch < known->leader_epoch)
        return; /* deposed, and has not heard of it */
    if (p->leader_epoch == known->leader_epoch && known->leader != m->index)
        sim_world_fail(r->world, "%.*s-%d is led by machines %u and %u in epoch %d",
                       STR_ARG(p->topic), p->index, known->leader, m->index, p->leader_epoch);
    if (p->leader_epoch > known->leader_epoch)
        sim_trace_say(&r->world->trace,
                      "machine %u leads %.*s-%d in epoch %d from offset %" PRId64
                      ", high watermark %" PRId64,
                      m->index, STR_ARG(p->topic), p->index, p->leader_epoch,
                      log_end_offset(p->log), partition_high_watermark(p));
    known->leader_epoch = p->leader_epoch;
    known->leader = m->index;
    if (log_end_offset(p->log) < sim_ledger_end(&known->committed))
        sim_world_fail(r->world,
                       "%.*s-%d: machine %u leads in epoch %d and ends at %" PRId64 ", but %" PRId64
                       " is committed",
                       STR_ARG(p->topic), p->index, m->index, p->leader_epoch,
                       log_end_offset(p->log), sim_ledger_end(&known->committed));
}

/* For those who read along: why the watermark could move. */
static void tell_watermark(struct sim_replicas *r, const struct sim_machine *m,
                           const struct partition *p)
{
    char replicas[200] = "";

    if (!r->world->trace.verbose)
        return;
    if (p->state != PARTITION_LEADING) {
        sim_trace_say(&r->world->trace, "machine %u hears that %.*s-%d is committed up to %" PRId64,
                      m->index, STR_ARG(p->topic), p->index, partition_high_watermark(p));
        return;
    }
    for (size_t i = 0; i < p->isr.replica_count; i++) {
        const struct isr_replica *replica = &p->isr.replicas[i];
        const size_t size = strlen(replicas);

        snprintf(replicas + size, sizeof replicas - size, " %d%s@%" PRId64, replica->id,
                 replica->in_isr           ? " in sync"
                 : replica->in_maximal_isr ? " proposed"
                                           : "",
                 replica->flushed_end_offset);
    }
    sim_trace_say(&r->world->trace,
                  "machine %u commits %.*s-%d up to %" PRId64 ":%s (partition epoch %d)", m->index,
                  STR_ARG(p->topic), p->index, partition_high_watermark(p), replicas,
                  p->isr.partition_epoch);
}

static void look_at_watermark(struct sim_replicas *r, struct sim_machine *m,
                              const struct partition *p, struct sim_replicated *known)
{
    const struct sim_place place = {&m->drive, &m->node->heap, p->log};
    const int64_t high_watermark = partition_high_watermark(p);
    int64_t *seen = &known->seen[m->index].high_watermark;
    char why[200];

    if (known->seen[m->index].life != m->attempts) {
        known->seen[m->index].life = m->attempts;
        known->seen[m->index].led_epoch = -1;
        *seen = 0;
    }
    if (high_watermark == *seen)
        return;
    if (high_watermark < *seen && p->state == PARTITION_LEADING &&
        known->seen[m->index].led_epoch < p->leader_epoch)
        *seen = high_watermark;
    if (high_watermark < *seen || high_watermark > log_end_offset(p->log)) {
        sim_world_fail(r->world,
                       "%.*s-%d: the high watermark of machine %u went from %" PRId64 " to %" PRId64
                       ", its log ends at %" PRId64,
                       STR_ARG(p->topic), p->index, m->index, *seen, high_watermark,
                       log_end_offset(p->log));
        return;
    }
    tell_watermark(r, m, p);
    switch (sim_ledger_compare(&known->committed, &place, *seen, high_watermark, why, sizeof why)) {
    case SIM_SAME:
        *seen = high_watermark;
        break;
    case SIM_UNREADABLE:
        if (!m->hurt)
            sim_world_fail(r->world, "%.*s-%d of machine %u: %s", STR_ARG(p->topic), p->index,
                           m->index, why);
        break;
    case SIM_OTHER:
        sim_world_fail(r->world, "%.*s-%d of machine %u: %s", STR_ARG(p->topic), p->index, m->index,
                       why);
        break;
    }
}

static bool is_internal(struct str topic)
{
    return topic.size > 2 && memcmp(topic.data, "__", 2) == 0;
}

static bool is_readable(const struct partition *p)
{
    return p->log && !p->stopping && p->state != PARTITION_OPENING &&
           p->state != PARTITION_OFFLINE && p->state != PARTITION_TRUNCATING;
}

static void push(struct sim_hosting *h, struct sim_hosted e)
{
    if (h->count == h->capacity) {
        h->capacity = h->capacity ? 2 * h->capacity : 64;
        h->entries = realloc(h->entries, h->capacity * sizeof h->entries[0]);
        CHECK(h->entries != NULL);
    }
    h->entries[h->count++] = e;
}

/* Almost always the partitions of a shard are those of its last step, in the same order. NULL: it
 * is not looked at. */
static struct sim_replicated *recognize(struct sim_replicas *r, const struct partition *p,
                                        unsigned machine)
{
    struct sim_hosted e = {.topic_id = p->topic_id, .index = p->index};

    if (!r->differs && r->same < r->hosting->count) {
        const struct sim_hosted *last = &r->hosting->entries[r->same];

        if (last->index == p->index && uuid_equal(last->topic_id, p->topic_id)) {
            r->same++;
            return last->known;
        }
    }
    r->differs = true;
    if (!is_internal(p->topic)) {
        e.known = find(r, p->topic_id, p->index);
        e.known->seen[machine].look = r->looks;
    }
    push(&r->others, e);
    return e.known;
}

static void visit(struct partition *p)
{
    struct sim_node *n = CONTAINER_OF(p->env->logger, struct sim_node, logger);
    struct sim_replicas *r = &n->world->replicas;
    struct sim_replicated *known;

    if (n->world->failed || p->stopping)
        return;
    known = recognize(r, p, n->machine->index);
    if (!known || !is_readable(p))
        return;
    look_at_watermark(r, n->machine, p, known);
    if (p->state != PARTITION_LEADING)
        return;
    known->seen[n->machine->index].led_epoch = p->leader_epoch;
    look_at_leader(r, n->machine, p, known);
}

/* What is not there any more may come back, with nothing. */
static void forget_the_gone(struct sim_replicas *r, unsigned machine)
{
    struct sim_hosting *h = r->hosting;

    for (size_t i = r->same; i < h->count; i++) {
        struct sim_replicated *known = h->entries[i].known;

        if (known && known->seen[machine].look != r->looks)
            known->seen[machine].high_watermark = 0;
    }
    h->count = r->same;
    for (size_t i = 0; i < r->others.count; i++)
        push(h, r->others.entries[i]);
}

void sim_replicas_look(struct sim_replicas *r, struct sim_machine *m, size_t shard)
{
    const struct node *n = m->node->node;

    if (!n)
        return;
    r->looks++;
    r->hosting = &r->last[m->index][shard];
    r->same = 0;
    r->differs = false;
    r->others.count = 0;
    if (r->hosting->life != m->attempts)
        r->hosting->count = 0; /* another process: partitions may be other shards' */
    r->hosting->life = m->attempts;
    hosting_each(n->shards[shard], visit);
    forget_the_gone(r, m->index);
}

/* ---- at the end ---- */

static bool replica_is_equal(struct sim_machine *m, const struct metadata_topic *topic,
                             int32_t index, int64_t *end, char *why, size_t why_size)
{
    struct shard *s = m->node->node->shards[node_shard_of(m->node->node, topic->id, index)];
    const struct partition *p = shard_partition(s, topic->id, index);
    bool equal = p && is_readable(p) && partition_high_watermark(p) == log_end_offset(p->log) &&
                 (*end < 0 || *end == log_end_offset(p->log));

    if (!equal)
        snprintf(why, why_size,
                 "%.*s-%d on machine %u: state %d, high watermark %" PRId64 ", end %" PRId64
                 " of %" PRId64,
                 STR_ARG(topic->name), index, m->index, p ? (int)p->state : -1,
                 p ? partition_high_watermark(p) : -1, p && p->log ? log_end_offset(p->log) : -1,
                 *end);
    else
        *end = log_end_offset(p->log);
    return equal;
}

static bool partition_is_equal(struct sim_replicas *r, const struct metadata_topic *topic,
                               int32_t index, char *why, size_t why_size)
{
    const struct metadata_partition *p = topic->partitions[index];
    int64_t end = -1;

    if (p->leader < 0 || p->isr.count != p->replicas.count ||
        p->adding.count + p->removing.count > 0) {
        snprintf(why, why_size,
                 "%.*s-%d: leader %d, %zu of %zu replicas in sync, %zu eligible, last led by %d, "
                 "%zu to come, %zu to go",
                 STR_ARG(topic->name), index, p->leader, p->isr.count, p->replicas.count,
                 p->elr.count, p->last_known_elr.count ? p->last_known_elr.ids[0] : -1,
                 p->adding.count, p->removing.count);
        return false;
    }
    for (size_t i = 0; i < p->replicas.count; i++)
        if (!replica_is_equal(&r->world->machines[p->replicas.ids[i] - 1], topic, index, &end, why,
                              why_size))
            return false;
    return true;
}

bool sim_replicas_are_equal(struct sim_replicas *r, char *why, size_t why_size)
{
    const struct metadata_image *image = sim_quorum_image(&r->world->machines[0]);
    struct metadata_topic_cursor cursor;
    const struct metadata_topic *topic;

    metadata_topics_begin(&cursor, image);
    while ((topic = metadata_topics_next(&cursor)))
        for (size_t i = 0; i < topic->partition_count; i++)
            if (!is_internal(topic->name) &&
                !partition_is_equal(r, topic, (int32_t)i, why, why_size))
                return false;
    return true;
}

uint64_t sim_replicas_committed(const struct sim_replicas *r)
{
    uint64_t count = 0;

    for (size_t i = 0; i < r->count; i++)
        count += r->partitions[i]->committed.count;
    return count;
}

void sim_replicas_init(struct sim_replicas *r, struct sim_world *w)
{
    *r = (struct sim_replicas){.world = w};
}

void sim_replicas_free(struct sim_replicas *r)
{
    for (size_t i = 0; i < r->count; i++) {
        sim_ledger_free(&r->partitions[i]->committed);
        free(r->partitions[i]);
    }
    free(r->partitions);
    for (size_t i = 0; i < SIM_NET_MACHINES_MAX; i++)
        for (size_t j = 0; j < SIM_SHARDS_MAX; j++)
            free(r->last[i][j].entries);
    free(r->others.entries);
}
