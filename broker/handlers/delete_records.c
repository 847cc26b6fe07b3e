/* DeleteRecords: raises the log start of partitions led here. */

#include "broker/internal_topics.h"
#include "broker/request.h"
#include "broker/scatter.h"
#include "broker/shard.h"
#include "protocol/messages/delete_records.h"

struct delete_entry {
    struct scatter_entry scatter; /* first */
    int64_t offset;
    int64_t low_watermark;
    enum kerr code;
};

struct delete_call {
    struct scatter scatter; /* first */
    const struct delete_records_request *message;
    struct delete_entry *entries;
};

static void delete_run(struct scatter *s, struct scatter_entry *entry, struct partition *p)
{
    struct delete_entry *e = (struct delete_entry *)entry;

    (void)s;
    e->code = p ? partition_delete_records(p, e->offset, &e->low_watermark).code : KERR_NOT_LEADER_OR_FOLLOWER;
    if (e->code != KERR_NONE)
        e->low_watermark = -1;
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
    response.topics = arena_array(&rq->arena, struct delete_records_response_topic_result, m->topics_count);
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
        const struct metadata_topic *topic = metadata_image_topic(call->scatter.rq->shard->image, t->name);

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
    const struct delete_records_request *m = rq->message;
    struct delete_call *call = arena_array(&rq->arena, struct delete_call, 1);
    size_t count = 0;

    for (size_t i = 0; i < m->topics_count; i++)
        count += m->topics[i].partitions_count;
    if (call)
        call->entries = arena_array(&rq->arena, struct delete_entry, count);
    if (!call || !call->entries) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    call->message = m;
    call->scatter = (struct scatter){.rq = rq,
                                     .entries = call->entries,
                                     .count = count,
                                     .stride = sizeof *call->entries,
                                     .run = delete_run,
                                     .finished = delete_finished};
    fill_entries(call);
    if (!scatter_start(&call->scatter))
        request_refuse(rq, REQUEST_OVER_BUDGET);
}
