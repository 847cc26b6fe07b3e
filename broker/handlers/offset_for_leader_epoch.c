/* OffsetForLeaderEpoch: where an epoch ends in the log of its partition's leader. */

#include "protocol/messages/offset_for_leader_epoch.h"
#include "broker/request.h"
#include "broker/scatter.h"
#include "broker/shard.h"

struct epoch_entry {
    struct scatter_entry scatter; /* first */
    int32_t current_leader_epoch;
    int32_t wanted_epoch;
    int32_t epoch;
    int64_t end_offset;
    enum kerr code;
};

struct epoch_call {
    struct scatter scatter; /* first */
    const struct offset_for_leader_epoch_request *message;
    struct epoch_entry *entries;
};

static void epoch_run(struct scatter *s, struct scatter_entry *entry, struct partition *p)
{
    struct epoch_entry *e = (struct epoch_entry *)entry;

    (void)s;
    e->code = p ? partition_check_leader(p, e->current_leader_epoch) : KERR_NOT_LEADER_OR_FOLLOWER;
    if (e->code == KERR_NONE)
        log_end_of_epoch(p->log, e->wanted_epoch, &e->epoch, &e->end_offset);
}

static void epoch_finished(struct scatter *s)
{
    struct epoch_call *call = (struct epoch_call *)s;
    struct request *rq = s->rq;
    const struct offset_for_leader_epoch_request *m = call->message;
    struct offset_for_leader_epoch_response_epoch_end_offset *ends =
        arena_array(&rq->arena, struct offset_for_leader_epoch_response_epoch_end_offset, s->count);
    struct offset_for_leader_epoch_response response;
    const struct epoch_entry *e = call->entries;

    offset_for_leader_epoch_response_init(&response);
    response.topics = arena_array(
        &rq->arena, struct offset_for_leader_epoch_response_offset_for_leader_topic_result,
        m->topics_count);
    if (!response.topics || !ends) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    response.topics_count = m->topics_count;
    for (size_t i = 0; i < m->topics_count; i++) {
        response.topics[i] =
            (struct offset_for_leader_epoch_response_offset_for_leader_topic_result){
                m->topics[i].topic, ends, m->topics[i].partitions_count};
        for (size_t j = 0; j < m->topics[i].partitions_count; j++, e++)
            *ends++ = (struct offset_for_leader_epoch_response_epoch_end_offset){
                (int16_t)e->code, m->topics[i].partitions[j].partition, e->epoch, e->end_offset};
    }
    request_answer(rq, &response);
}

static void fill_entries(struct epoch_call *call)
{
    struct epoch_entry *e = call->entries;

    for (size_t i = 0; i < call->message->topics_count; i++) {
        const struct offset_for_leader_epoch_request_offset_for_leader_topic *t =
            &call->message->topics[i];
        const struct metadata_topic *topic =
            metadata_image_topic(call->scatter.rq->shard->image, t->topic);

        for (size_t j = 0; j < t->partitions_count; j++, e++) {
            *e = (struct epoch_entry){.scatter = {.index = t->partitions[j].partition},
                                      .current_leader_epoch = t->partitions[j].current_leader_epoch,
                                      .wanted_epoch = t->partitions[j].leader_epoch,
                                      .epoch = -1,
                                      .end_offset = -1};
            if (metadata_topic_partition(topic, t->partitions[j].partition)) {
                e->scatter.topic_id = topic->id;
                continue;
            }
            e->code = KERR_UNKNOWN_TOPIC_OR_PARTITION;
            e->scatter.skip = true;
        }
    }
}

void handle_offset_for_leader_epoch(struct request *rq)
{
    static const struct scatter_kind kind = {sizeof(struct epoch_call), sizeof(struct epoch_entry),
                                             epoch_run, epoch_finished};
    const struct offset_for_leader_epoch_request *m = rq->message;
    struct epoch_call *call;
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
