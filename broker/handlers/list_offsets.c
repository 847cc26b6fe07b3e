/* ListOffsets: by time, and by the times below zero that stand for an end of the log. What the
 * shard would have to wait for the disk for is looked up in the pool. */

#include <stdlib.h>

#include "broker/request.h"
#include "broker/scatter.h"
#include "broker/shard.h"
#include "protocol/messages/list_offsets.h"

enum special_timestamp {
    TIMESTAMP_LATEST = -1,
    TIMESTAMP_EARLIEST = -2,
    TIMESTAMP_MAX = -3,             /* KIP-734: the record with the largest timestamp */
    TIMESTAMP_EARLIEST_LOCAL = -4,  /* KIP-405 */
    TIMESTAMP_LATEST_TIERED = -5,   /* KIP-1005 */
    TIMESTAMP_EARLIEST_PENDING = -6 /* KIP-1023: the first that is not tiered yet */
};

/* Negative replica ids. */
#define REPLICA_CONSUMER  (-1)
#define REPLICA_DEBUGGING (-2) /* reads from any replica */

#define NOT_FOUND ((struct log_time_offset){-1, -1, -1})

struct list_entry {
    struct scatter_entry scatter; /* first */
    int32_t current_leader_epoch;
    int64_t timestamp;
    enum kerr code;
    struct log_time_offset found;
};

struct list_call {
    struct scatter scatter; /* first */
    const struct list_offsets_request *message;
    struct list_entry *entries;
};

static struct log_time_offset at_offset(const struct partition *p, int64_t offset)
{
    return (struct log_time_offset){offset, -1, log_epoch_of_offset(p->log, offset)};
}

/* Only what an earlier leader may have told is a matter of the high watermark. */
static bool depends_on_watermark(int64_t timestamp)
{
    return timestamp == TIMESTAMP_LATEST || timestamp == TIMESTAMP_MAX || timestamp >= 0;
}

/* Replicas, and consumers that debug, see all of the log. */
static bool asks_as_client(const struct list_call *call)
{
    return call->message->replica_id == REPLICA_CONSUMER;
}

/* Where readers of that isolation level end. */
static int64_t readable_end(const struct list_call *call, const struct partition *p)
{
    if (!asks_as_client(call))
        return log_end_offset(p->log);
    return call->message->isolation_level == 1 ? partition_last_stable_offset(p)
                                               : partition_high_watermark(p);
}

/* ---- by time ---- */

#define NO_MEMORY status_error(KERR_UNKNOWN_SERVER_ERROR, "no memory for a lookup")

/* A lookup on its way through the pool. */
struct cold_lookup {
    struct job job;
    struct list_entry *entry;
    struct log_lookup *lookup;
    int64_t end_offset;
    struct status result;
};

/* The largest timestamp of all may be one that this reader must not see yet. */
static void entry_found(struct list_entry *e, struct status result, int64_t end_offset)
{
    e->code = result.code;
    if (status_failed(result) || e->found.offset >= end_offset)
        e->found = NOT_FOUND;
}

static void cold_lookup_run(struct job *j)
{
    struct cold_lookup *c = (struct cold_lookup *)j;

    c->result = log_lookup_run(c->lookup, NULL, &c->entry->found);
    log_lookup_free(c->lookup);
}

static void cold_lookup_done(struct task *t)
{
    struct cold_lookup *c = CONTAINER_OF(t, struct cold_lookup, job.done);
    struct list_entry *e = c->entry;

    entry_found(e, c->result, c->end_offset);
    free(c);
    scatter_let_go(&e->scatter);
}

/* Takes over k. */
static void look_up_in_the_pool(struct list_entry *e, struct log_lookup *k, struct partition *p,
                                int64_t end_offset)
{
    struct cold_lookup *c = malloc(sizeof *c);

    if (!c) {
        log_lookup_free(k);
        entry_found(e, NO_MEMORY, end_offset);
        return;
    }
    *c = (struct cold_lookup){
        .job = {.home = p->env->loop, .run = cold_lookup_run, .done = {.run = cold_lookup_done}},
        .entry = e,
        .lookup = k,
        .end_offset = end_offset};
    scatter_hold(&e->scatter);
    pool_submit(p->env->pool, &c->job);
}

static void find_by_time(const struct list_call *call, struct list_entry *e, struct partition *p)
{
    int64_t end_offset = readable_end(call, p);
    struct log_lookup *k = e->timestamp == TIMESTAMP_MAX
                               ? log_lookup_max_timestamp(p->log)
                               : log_lookup_time(p->log, e->timestamp, end_offset);
    bool cold = false;
    struct status st = k ? log_lookup_run(k, &cold, &e->found) : NO_MEMORY;

    if (cold) {
        look_up_in_the_pool(e, k, p, end_offset);
        return;
    }
    if (k)
        log_lookup_free(k);
    entry_found(e, st, end_offset);
}

static void find(const struct list_call *call, struct list_entry *e, struct partition *p)
{
    switch (e->timestamp) {
    case TIMESTAMP_LATEST:
        e->found = at_offset(p, readable_end(call, p));
        e->found.leader_epoch = p->leader_epoch;
        break;
    case TIMESTAMP_EARLIEST:
    case TIMESTAMP_EARLIEST_LOCAL: /* all of the log is local */
    case TIMESTAMP_EARLIEST_PENDING:
        e->found = at_offset(p, log_start_offset(p->log));
        break;
    case TIMESTAMP_LATEST_TIERED:
        break;
    default: /* a time, or the largest there is */
        find_by_time(call, e, p);
        break;
    }
}

static void list_run(struct scatter *s, struct scatter_entry *entry, struct partition *p)
{
    struct list_entry *e = (struct list_entry *)entry;

    const struct list_call *call = (struct list_call *)s;

    e->code = p ? partition_check_leader(p, e->current_leader_epoch) : KERR_NOT_LEADER_OR_FOLLOWER;
    if (p && e->code == KERR_NOT_LEADER_OR_FOLLOWER &&
        call->message->replica_id == REPLICA_DEBUGGING)
        e->code = partition_check_replica(p, e->current_leader_epoch);
    if (e->code == KERR_NONE && asks_as_client(call) && depends_on_watermark(e->timestamp) &&
        !partition_caught_up(p))
        e->code = s->rq->version >= 5 ? KERR_OFFSET_NOT_AVAILABLE : KERR_LEADER_NOT_AVAILABLE;
    if (e->code == KERR_NONE)
        find(call, e, p);
}

/* Clients of versions before 4 do not know leader epochs. */
static void fill_topic(struct list_offsets_response_topic_response *out,
                       const struct list_offsets_request_topic *t, const struct list_entry *e,
                       int16_t version)
{
    out->name = t->name;
    out->partitions_count = t->partitions_count;
    for (size_t j = 0; j < t->partitions_count; j++, e++)
        out->partitions[j] = (struct list_offsets_response_partition_response){
            .partition_index = t->partitions[j].partition_index,
            .error_code = (int16_t)e->code,
            .timestamp = e->found.timestamp_ms,
            .offset = e->found.offset,
            .leader_epoch = version >= 4 ? e->found.leader_epoch : -1,
        };
}

static void list_finished(struct scatter *s)
{
    struct list_call *call = (struct list_call *)s;
    struct request *rq = s->rq;
    const struct list_offsets_request *m = call->message;
    struct list_offsets_response_partition_response *partitions =
        arena_array(&rq->arena, struct list_offsets_response_partition_response, s->count);
    struct list_offsets_response response;
    const struct list_entry *e = call->entries;

    list_offsets_response_init(&response);
    response.topics =
        arena_array(&rq->arena, struct list_offsets_response_topic_response, m->topics_count);
    if (!response.topics || !partitions) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    response.topics_count = m->topics_count;
    for (size_t i = 0; i < m->topics_count; i++) {
        response.topics[i].partitions = partitions;
        fill_topic(&response.topics[i], &m->topics[i], e, rq->version);
        partitions += m->topics[i].partitions_count;
        e += m->topics[i].partitions_count;
    }
    request_answer(rq, &response);
}

/* Special times that a version does not know are refused, as is a time below all of them. */
static enum kerr check_timestamp(const struct request *rq, int64_t timestamp)
{
    if (timestamp < TIMESTAMP_EARLIEST_PENDING || (timestamp == TIMESTAMP_MAX && rq->version < 7) ||
        (timestamp == TIMESTAMP_EARLIEST_LOCAL && rq->version < 8) ||
        (timestamp == TIMESTAMP_LATEST_TIERED && rq->version < 9) ||
        (timestamp == TIMESTAMP_EARLIEST_PENDING && rq->version < 11))
        return KERR_UNSUPPORTED_VERSION;
    return KERR_NONE;
}

static void fill_entries(struct list_call *call)
{
    const struct request *rq = call->scatter.rq;
    struct list_entry *e = call->entries;

    for (size_t i = 0; i < call->message->topics_count; i++) {
        const struct list_offsets_request_topic *t = &call->message->topics[i];
        const struct metadata_topic *topic = metadata_image_topic(rq->shard->image, t->name);

        for (size_t j = 0; j < t->partitions_count; j++, e++) {
            const struct list_offsets_request_partition *p = &t->partitions[j];

            *e = (struct list_entry){.scatter = {.index = p->partition_index},
                                     .current_leader_epoch = p->current_leader_epoch,
                                     .timestamp = p->timestamp,
                                     .code = check_timestamp(rq, p->timestamp),
                                     .found = NOT_FOUND};
            if (topic)
                e->scatter.topic_id = topic->id;
            if (e->code == KERR_NONE && !metadata_topic_partition(topic, p->partition_index))
                e->code = KERR_UNKNOWN_TOPIC_OR_PARTITION;
        }
    }
}

static int by_partition(const void *a, const void *b)
{
    const struct list_entry *x = *(struct list_entry *const *)a,
                            *y = *(struct list_entry *const *)b;
    int order = memcmp(&x->scatter.topic_id, &y->scatter.topic_id, sizeof x->scatter.topic_id);

    return order ? order
                 : (x->scatter.index > y->scatter.index) - (x->scatter.index < y->scatter.index);
}

/* Who asks twice for a partition, with two timestamps maybe, could not tell the answers apart.
 * False: the arena is spent. */
static bool refuse_doubles(struct list_call *call)
{
    size_t count = call->scatter.count;
    struct list_entry **sorted = arena_array(&call->scatter.rq->arena, struct list_entry *, count);

    if (!sorted)
        return false;
    for (size_t i = 0; i < count; i++)
        sorted[i] = &call->entries[i];
    if (count > 1)
        qsort(sorted, count, sizeof(struct list_entry *), by_partition);
    for (size_t i = 1; i < count; i++)
        if (by_partition(&sorted[i - 1], &sorted[i]) == 0 &&
            sorted[i]->code != KERR_UNKNOWN_TOPIC_OR_PARTITION)
            sorted[i - 1]->code = sorted[i]->code = KERR_INVALID_REQUEST;
    for (size_t i = 0; i < count; i++)
        call->entries[i].scatter.skip = call->entries[i].code != KERR_NONE;
    return true;
}

void handle_list_offsets(struct request *rq)
{
    static const struct scatter_kind kind = {sizeof(struct list_call), sizeof(struct list_entry),
                                             list_run, list_finished};
    const struct list_offsets_request *m = rq->message;
    struct list_call *call;
    size_t count = 0;

    for (size_t i = 0; i < m->topics_count; i++)
        count += m->topics[i].partitions_count;
    call = scatter_create(rq, &kind, count);
    if (!call)
        return;
    call->message = m;
    call->entries = call->scatter.entries;
    fill_entries(call);
    if (refuse_doubles(call))
        scatter_send(&call->scatter);
    else
        request_refuse(rq, REQUEST_OVER_BUDGET);
}
