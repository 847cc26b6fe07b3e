/* DeleteRecords: raises the log start of partitions led here, and waits until the replicas that are
 * alive have followed. */

#include "protocol/messages/delete_records.h"
#include "broker/internal_topics.h"
#include "broker/request.h"
#include "broker/scatter.h"
#include "broker/shard.h"

struct delete_entry {
    struct scatter_entry scatter; /* first */
    int64_t offset;
    int64_t low_watermark;
    enum kerr code;
    /* while it waits, on the owning shard */
    struct partition *waiting_on;
    struct watermark_waiter waiter;
    struct timer timeout;
};

struct delete_call {
    struct scatter scatter; /* first */
    const struct delete_records_request *message;
    struct delete_entry *entries;
};

static void entry_end(struct delete_entry *e, enum kerr code)
{
    timer_free(e->waiting_on->env->loop, &e->timeout);
    e->waiting_on = NULL;
    e->code = code;
    scatter_let_go(&e->scatter);
}

static void on_reached(struct watermark_waiter *w, enum kerr code)
{
    struct delete_entry *e = CONTAINER_OF(w, struct delete_entry, waiter);

    e->low_watermark = code == KERR_NONE ? partition_low_watermark(e->waiting_on) : -1;
    entry_end(e, code);
}

/* It is deleted here all the same, and will be elsewhere. */
static void on_timeout(struct timer *t)
{
    struct delete_entry *e = CONTAINER_OF(t, struct delete_entry, timeout);

    partition_unwait_low(e->waiting_on, &e->waiter);
    e->low_watermark = partition_low_watermark(e->waiting_on);
    entry_end(e, KERR_REQUEST_TIMED_OUT);
}

static void delete_run(struct scatter *s, struct scatter_entry *entry, struct partition *p)
{
    struct delete_entry *e = (struct delete_entry *)entry;
    int32_t timeout_ms = ((struct delete_call *)s)->message->timeout_ms;

    e->code = p ? partition_delete_records(p, &e->offset).code : KERR_NOT_LEADER_OR_FOLLOWER;
    if (e->code != KERR_NONE)
        return;
    e->waiter.offset = e->offset;
    e->waiter.reached = on_reached;
    if (partition_wait_low(p, &e->waiter)) {
        e->low_watermark = partition_low_watermark(p);
        return;
    }
    e->waiting_on = p;
    scatter_hold(&e->scatter);
    timer_init(p->env->loop, &e->timeout, on_timeout);
    timer_start(p->env->loop, &e->timeout, timeout_ms > 0 ? (int64_t)timeout_ms * 1000 : 0);
}

static void delete_finished(struct scatter *s)
{
    struct delete_call *call = (struct delete_call *)s;
    struct request *rq = s->rq;
    const struct delete_records_request *m = call->message;
    struct delete_records_response_partition_result *results =
        arena_array(&rq->arena, struct delete_records_response_partition_result, s->count);
    struct delete_records_response response;
    const struct delete_entry *e = call->entries;

    delete_records_response_init(&response);
    response.topics =
        arena_array(&rq->arena, struct delete_records_response_topic_result, m->topics_count);
    if (!response.topics || !results) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    response.topics_count = m->topics_count;
    for (size_t i = 0; i < m->topics_count; i++) {
        response.topics[i] = (struct delete_records_response_topic_result){
            m->topics[i].name, results, m->topics[i].partitions_count};
        for (size_t j = 0; j < m->topics[i].partitions_count; j++, e++)
            *results++ = (struct delete_records_response_partition_result){
                m->topics[i].partitions[j].partition_index, e->low_watermark, (int16_t)e->code};
    }
    request_answer(rq, &response);
}

static void fill_entries(struct delete_call *call)
{
    struct delete_entry *e = call->entries;

    for (size_t i = 0; i < call->message->topics_count; i++) {
        const struct delete_records_request_topic *t = &call->message->topics[i];
        const struct metadata_topic *topic =
            metadata_image_topic(call->scatter.rq->shard->image, t->name);

        for (size_t j = 0; j < t->partitions_count; j++, e++) {
            const struct delete_records_request_partition *p = &t->partitions[j];

            *e = (struct delete_entry){
                .scatter = {.index = p->partition_index}, .offset = p->offset, .low_watermark = -1};
            if (!metadata_topic_partition(topic, p->partition_index))
                e->code = KERR_UNKNOWN_TOPIC_OR_PARTITION;
            else if (internal_topic_is(topic->name))
                e->code = KERR_INVALID_TOPIC_EXCEPTION;
            else
                e->scatter.topic_id = topic->id;
            e->scatter.skip = e->code != KERR_NONE;
        }
    }
}

void handle_delete_records(struct request *rq)
{
    static const struct scatter_kind kind = {
        sizeof(struct delete_call), sizeof(struct delete_entry), delete_run, delete_finished};
    const struct delete_records_request *m = rq->message;
    struct delete_call *call;
    size_t count = 0;

    for (size_t i = 0; i < m->topics_count; i++)
        count += m->topics[i].partitions_count;
    call = scatter_create(rq, &kind, count);
    if (!call)
        return;
    call->message = m;
    call->entries = call->scatter.entries;
    fill_entries(call);
    scatter_send(&call->scatter);
}
