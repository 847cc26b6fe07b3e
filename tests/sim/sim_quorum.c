#include "tests/sim/sim_quorum.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "broker/control.h"
#include "broker/shard.h"
#include "protocol/base/check.h"
#include "protocol/base/crc32c.h"
#include "protocol/messages/vote.h"
#include "replication/metadata_image.h"
#include "replication/metadata_loader.h"
#include "replication/raft_node_internal.h"
#include "tests/sim/sim_world.h"

#define ARENA_BYTES ((size_t)1 << 16)

/* Room for one more. */
static void *grown(void *items, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity)
        return items;
    *capacity = *capacity ? 2 * *capacity : 64;
    items = realloc(items, *capacity * size);
    CHECK(items != NULL);
    return items;
}

/* ---- leaders and votes ---- */

static void saw_leader(struct sim_quorum *q, int32_t epoch, int32_t leader)
{
    for (size_t i = q->leader_count; i-- > 0;) {
        if (q->leaders[i].epoch != epoch)
            continue;
        if (q->leaders[i].leader != leader)
            sim_world_fail(q->world, "epoch %d is led by %d and by %d", epoch, q->leaders[i].leader,
                           leader);
        return;
    }
    q->leaders = grown(q->leaders, q->leader_count, &q->leader_capacity, sizeof q->leaders[0]);
    q->leaders[q->leader_count++] = (struct sim_epoch_leader){epoch, leader};
}

static void saw_vote(struct sim_quorum *q, struct sim_vote v)
{
    struct sim_heap *before;

    for (size_t i = q->vote_count; i-- > 0;) {
        if (q->votes[i].voter != v.voter || q->votes[i].epoch != v.epoch)
            continue;
        if (q->votes[i].candidate != v.candidate)
            sim_world_fail(q->world, "%d voted for %d and for %d in epoch %d", v.voter,
                           q->votes[i].candidate, v.candidate, v.epoch);
        return;
    }
    before = sim_heap_switch(NULL);
    q->votes = grown(q->votes, q->vote_count, &q->vote_capacity, sizeof q->votes[0]);
    sim_heap_switch(before);
    q->votes[q->vote_count++] = v;
}

/* The one partition of a Vote request; NULL: a question before an election, which binds nobody. */
static const struct vote_request_partition_data *
candidacy(struct bytes body, int16_t version, struct arena *arena, struct vote_request *m)
{
    struct reader r = reader_of(body.data, body.size);
    const struct vote_request_partition_data *p;

    CHECK(vote_request_decode(m, &r, arena, version));
    CHECK(m->topics_count == 1);
    CHECK(m->topics[0].partitions_count == 1);
    p = &m->topics[0].partitions[0];
    return p->pre_vote ? NULL : p;
}

/* A candidate has voted for itself before it asks others. */
void sim_quorum_sees_request(struct sim_world *w, const struct sim_message *m)
{
    const struct vote_request_partition_data *p;
    struct vote_request request;
    struct arena arena;

    if (m->key != VOTE_REQUEST_KEY)
        return;
    arena_init(&arena, ARENA_BYTES);
    p = candidacy(m->request, m->version, &arena, &request);
    if (p)
        saw_vote(&w->quorum, (struct sim_vote){p->replica_id, p->replica_epoch, p->replica_id});
    arena_free(&arena);
}

void sim_quorum_sees_answer(struct sim_world *w, const struct sim_message *m)
{
    struct reader r = reader_of(m->answer.data, m->answer.size);
    const struct vote_request_partition_data *p;
    struct vote_request request;
    struct vote_response response;
    struct arena arena;

    if (m->key != VOTE_REQUEST_KEY)
        return;
    arena_init(&arena, ARENA_BYTES);
    p = candidacy(m->request, m->version, &arena, &request);
    CHECK(vote_response_decode(&response, &r, &arena, m->version));
    if (p && response.topics_count == 1 && response.topics[0].partitions[0].vote_granted)
        saw_vote(&w->quorum,
                 (struct sim_vote){(int32_t)m->answerer + 1, p->replica_epoch, p->replica_id});
    arena_free(&arena);
}

/* ---- images ---- */

/* Of all records that make it up, whatever their order. */
static uint64_t image_hash(const struct metadata_image *img)
{
    struct metadata_dump *d = metadata_dump_create(img);
    const struct bytes *values;
    uint64_t hash = 0;
    size_t count;

    CHECK(d != NULL);
    for (metadata_dump_next(d, &values, &count); count > 0; metadata_dump_next(d, &values, &count))
        for (size_t i = 0; i < count; i++) {
            struct sim_trace t = {.hash = values[i].size};

            sim_trace_mix_bytes(&t, values[i].data, values[i].size);
            hash += t.hash;
        }
    metadata_dump_free(d);
    return hash;
}

static void mix_ids(struct sim_trace *t, struct id_list l)
{
    sim_trace_mix(t, l.count);
    for (size_t i = 0; i < l.count; i++)
        sim_trace_mix(t, (uint32_t)l.ids[i]);
}

static struct sim_partition_seen partition_seen(const struct metadata_partition *p)
{
    struct sim_trace t = {0}, elr = {0};

    mix_ids(&t, p->replicas);
    mix_ids(&t, p->isr);
    mix_ids(&t, p->adding);
    mix_ids(&t, p->removing);
    sim_trace_mix(&t, (uint32_t)p->leader);
    mix_ids(&elr, p->elr);
    return (struct sim_partition_seen){p->leader, p->leader_epoch, p->partition_epoch, t.hash,
                                       elr.hash};
}

static void check_partition(struct sim_quorum *q, const struct metadata_topic *topic, size_t index,
                            struct sim_partition_seen *seen)
{
    const struct metadata_partition *p = topic->partitions[index];
    const struct sim_partition_seen now = partition_seen(p);
    const char *what = NULL;

    for (size_t i = 0; i < p->isr.count; i++)
        if (!id_list_contains(p->replicas, p->isr.ids[i]))
            what = "its ISR has one that is no replica";
    for (size_t i = 0; i < p->elr.count; i++)
        if (id_list_contains(p->isr, p->elr.ids[i]))
            what = "its ELR has one of the ISR";
    if (p->leader >= 0 && !id_list_contains(p->isr, p->leader))
        what = "its leader is not in the ISR";
    if (seen->leader_epoch > now.leader_epoch || seen->partition_epoch > now.partition_epoch)
        what = "its epochs go back";
    else if (seen->leader_epoch == now.leader_epoch && seen->leader != now.leader)
        what = "another leader, the same leader epoch";
    else if (seen->partition_epoch == now.partition_epoch && seen->hash != now.hash)
        what = "it has changed, its partition epoch has not";
    else if (seen->partition_epoch == now.partition_epoch && seen->elr_hash != now.elr_hash &&
             p->elr.count > 0)
        /* a new min.insync.replicas empties it (KIP-966) */
        what = "its ELR has changed, its partition epoch has not";
    if (what)
        sim_world_fail(
            q->world, "%.*s-%zu: %s (leader %d epoch %d partition epoch %d, before: %d, %d, %d)",
            STR_ARG(topic->name), index, what, now.leader, now.leader_epoch, now.partition_epoch,
            seen->leader, seen->leader_epoch, seen->partition_epoch);
    *seen = now;
}

static struct sim_topic_seen *topic_seen(struct sim_quorum *q, struct uuid id)
{
    for (size_t i = q->topic_count; i-- > 0;)
        if (uuid_equal(q->topics[i].id, id))
            return &q->topics[i];
    q->topics = grown(q->topics, q->topic_count, &q->topic_capacity, sizeof q->topics[0]);
    q->topics[q->topic_count] = (struct sim_topic_seen){.id = id};
    return &q->topics[q->topic_count++];
}

static void check_topic(struct sim_quorum *q, const struct metadata_topic *topic)
{
    struct sim_topic_seen *seen = topic_seen(q, topic->id);

    if (seen->gone)
        sim_world_fail(q->world, "topic %.*s is back after it was deleted", STR_ARG(topic->name));
    if (topic->partition_count < seen->partition_count) {
        sim_world_fail(q->world, "topic %.*s has %zu partitions, and had %zu", STR_ARG(topic->name),
                       topic->partition_count, seen->partition_count);
        return;
    }
    seen->partitions =
        realloc(seen->partitions, topic->partition_count * sizeof seen->partitions[0]);
    CHECK(seen->partitions != NULL);
    for (; seen->partition_count < topic->partition_count; seen->partition_count++)
        seen->partitions[seen->partition_count] = (struct sim_partition_seen){-1, -1, -1, 0};
    for (size_t i = 0; i < topic->partition_count; i++)
        check_partition(q, topic, i, &seen->partitions[i]);
}

/* The newest that anybody has. */
static void check_image(struct sim_quorum *q, const struct metadata_image *img)
{
    struct metadata_topic_cursor cursor;
    const struct metadata_topic *topic;

    metadata_topics_begin(&cursor, img);
    while ((topic = metadata_topics_next(&cursor)))
        check_topic(q, topic);
    for (size_t i = 0; i < q->topic_count; i++)
        if (!metadata_image_topic_by_id(img, q->topics[i].id))
            q->topics[i].gone = true;
}

static void saw_image(struct sim_quorum *q, const struct sim_machine *m,
                      const struct metadata_image *img)
{
    const int64_t offset = metadata_image_offset(img);
    const uint64_t hash = image_hash(img);
    size_t i = q->image_count;

    while (i > 0 && q->images[i - 1].offset > offset)
        i--;
    if (i > 0 && q->images[i - 1].offset == offset) {
        if (q->images[i - 1].hash != hash)
            sim_world_fail(q->world,
                           "machine %u has another image at offset %" PRId64 " than others",
                           m->index, offset);
        return;
    }
    if (i == q->image_count)
        check_image(q, img);
    q->images = grown(q->images, q->image_count, &q->image_capacity, sizeof q->images[0]);
    memmove(&q->images[i + 1], &q->images[i], (q->image_count - i) * sizeof q->images[0]);
    q->images[i] = (struct sim_image_seen){offset, hash};
    q->image_count++;
}

const struct sim_partition_seen *sim_quorum_partition(const struct sim_quorum *q,
                                                      struct uuid topic_id, int32_t index)
{
    for (size_t i = 0; i < q->topic_count; i++)
        if (uuid_equal(q->topics[i].id, topic_id) && !q->topics[i].gone &&
            (size_t)index < q->topics[i].partition_count)
            return &q->topics[i].partitions[index];
    return NULL;
}

const struct metadata_image *sim_quorum_image(const struct sim_machine *m)
{
    return m->node && m->node->node ? m->node->node->shards[0]->image : NULL;
}

/* ---- after each step ---- */

static void look_at_log(struct sim_quorum *q, struct sim_machine *m, const struct raft_node *raft)
{
    const struct sim_place place = {&m->drive, &m->node->heap, raft->log};
    int64_t *seen = &q->seen[m->index].high_watermark;
    const int64_t high_watermark = raft_node_high_watermark(raft);
    char why[200];

    if (high_watermark == *seen)
        return;
    if (high_watermark < *seen) {
        sim_world_fail(q->world,
                       "the metadata's high watermark of machine %u went from %" PRId64
                       " to %" PRId64,
                       m->index, *seen, high_watermark);
        return;
    }
    switch (sim_ledger_compare(&q->committed, &place, *seen, high_watermark, why, sizeof why)) {
    case SIM_SAME:
        *seen = high_watermark;
        break;
    case SIM_UNREADABLE:
        if (sim_world_is_calm(q->world))
            sim_world_fail(q->world, "machine %u, metadata: %s", m->index, why);
        break;
    case SIM_OTHER:
        sim_world_fail(q->world, "machine %u, metadata: %s", m->index, why);
        break;
    }
}

/* A life begins: it knows of the last vote that left this voter, or of something later. */
static void check_memory(struct sim_quorum *q, const struct sim_machine *m,
                         const struct raft_election *now)
{
    const struct sim_vote *last = NULL;

    for (size_t i = 0; i < q->vote_count; i++)
        if (q->votes[i].voter == (int32_t)m->index + 1 &&
            (!last || q->votes[i].epoch > last->epoch))
            last = &q->votes[i];
    if (last &&
        (now->epoch < last->epoch || (now->epoch == last->epoch && now->leader_id == RAFT_NO_NODE &&
                                      now->voted.id != last->candidate)))
        sim_world_fail(
            q->world,
            "%d voted for %d in epoch %d, and does not know it any more: epoch %d, vote %d",
            last->voter, last->candidate, last->epoch, now->epoch, now->voted.id);
}

void sim_quorum_look(struct sim_quorum *q, struct sim_machine *m)
{
    const struct raft_node *raft;
    const struct metadata_image *image = sim_quorum_image(m);

    if (!m->node || !m->node->node)
        return;
    if (q->seen[m->index].life != m->attempts) {
        q->seen[m->index].life = m->attempts;
        q->seen[m->index].high_watermark = 0;
        q->seen[m->index].image_offset = -1;
    }
    if (image && metadata_image_offset(image) != q->seen[m->index].image_offset) {
        q->seen[m->index].image_offset = metadata_image_offset(image);
        saw_image(q, m, image);
    }
    raft = control_raft(m->node->node->control);
    if (!raft)
        return;
    if (q->seen[m->index].remembered != m->attempts) {
        q->seen[m->index].remembered = m->attempts;
        check_memory(q, m, &raft->core.election);
    }
    /* A sole voter leads before its disk knows; nothing of the epoch leaves it until then, and
     * after a crash somebody else may lead in it. */
    if (raft->core.role == RAFT_LEADER && raft->durable_epoch >= raft->core.election.epoch)
        saw_leader(q, raft->core.election.epoch, raft->core.self.id);
    if (raft->state == NODE_RUNNING)
        look_at_log(q, m, raft);
}

void sim_quorum_init(struct sim_quorum *q, struct sim_world *w)
{
    *q = (struct sim_quorum){.world = w};
}

void sim_quorum_free(struct sim_quorum *q)
{
    for (size_t i = 0; i < q->topic_count; i++)
        free(q->topics[i].partitions);
    free(q->topics);
    free(q->images);
    free(q->votes);
    free(q->leaders);
    sim_ledger_free(&q->committed);
}
