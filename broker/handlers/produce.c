/* Produce: finds the partitions, hands the batches to their shards, answers when they are back. */

#include "broker/produce.h"

#include "broker/handlers/leaders_told.h"
#include "broker/internal_topics.h"
#include "broker/request.h"
#include "broker/shard.h"
#include "protocol/messages/produce.h"
#include "protocol/record_batch_validate.h"

/* What the answer needs beside the call: which entry belongs to which place in the request. */
struct produce_answer {
    struct produce_call call; /* first */
    const struct produce_request *message;
    struct leaders_told leaders;
};

static size_t count_partitions(const struct produce_request *m)
{
    size_t count = 0;

    for (size_t i = 0; i < m->topic_data_count; i++)
        count += m->topic_data[i].partition_data_count;
    return count;
}

static const struct metadata_topic *find_topic(const struct request *rq,
                                               const struct produce_request_topic_produce_data *t)
{
    if (rq->version >= 13)
        return metadata_image_topic_by_id(rq->shard->image, t->topic_id);
    return metadata_image_topic(rq->shard->image, t->name);
}

/* KERR_NONE: the batch may go to its shard. */
static enum kerr check_partition(const struct request *rq, const struct metadata_topic *topic,
                                 const struct produce_request_partition_produce_data *p,
                                 struct record_refusal *refusal)
{
    struct bytes records = {p->records.data, p->records.size};

    if (!topic)
        return rq->version >= 13 ? KERR_UNKNOWN_TOPIC_ID : KERR_UNKNOWN_TOPIC_OR_PARTITION;
    if (internal_topic_is(topic->name)) /* its records are a coordinator's, not any client's */
        return KERR_INVALID_TOPIC_EXCEPTION;
    if (p->index < 0 || (size_t)p->index >= topic->partition_count)
        return KERR_UNKNOWN_TOPIC_OR_PARTITION;
    return record_batch_check_produce(records, rq->version, refusal).code;
}

static void fill_entries(struct produce_answer *a)
{
    const struct request *rq = a->call.rq;
    struct produce_entry *e = a->call.entries;

    for (size_t i = 0; i < a->message->topic_data_count; i++) {
        const struct produce_request_topic_produce_data *t = &a->message->topic_data[i];
        const struct metadata_topic *topic = find_topic(rq, t);

        for (size_t j = 0; j < t->partition_data_count; j++, e++) {
            const struct produce_request_partition_produce_data *p = &t->partition_data[j];

            e->index = p->index;
            e->records = records_mutable(p->records);
            e->leader_id = e->leader_epoch = -1;
            e->code = check_partition(rq, topic, p, &e->refusal);
            if (topic)
                e->topic_id = topic->id;
        }
    }
}

/* No coordinator of transactions runs here, so none is under way that a batch could belong to, and
 * nobody would end one that it begins: the last stable offset would stay before it for ever. The
 * errors are those of Apache Kafka for who names no transaction, and for who names one when its
 * coordinator cannot be asked. */
static void refuse_transactions(struct produce_answer *a)
{
    struct produce_entry *entries = a->call.entries;
    bool any = false;

    for (size_t i = 0; i < a->call.entry_count; i++) {
        if (entries[i].code != KERR_NONE || !record_batch_is_transactional(entries[i].records.data))
            continue;
        entries[i].code = KERR_NOT_ENOUGH_REPLICAS;
        any = true;
    }
    if (!any || a->message->transactional_id.data)
        return;
    for (size_t i = 0; i < a->call.entry_count; i++) {
        entries[i].code = KERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
        entries[i].refusal = (struct record_refusal){0};
    }
}

static bool fill_record_errors(struct produce_response_partition_produce_response *out,
                               const struct record_refusal *refusal, struct arena *arena)
{
    struct produce_response_batch_index_and_error_message *errors;

    if (refusal->message)
        out->error_message = str_from(refusal->message);
    if (refusal->error_count == 0)
        return true;
    errors = arena_array(arena, struct produce_response_batch_index_and_error_message,
                         refusal->error_count);
    if (!errors)
        return false;
    for (size_t i = 0; i < refusal->error_count; i++) {
        errors[i].batch_index = refusal->errors[i].index;
        errors[i].batch_index_error_message = str_from(refusal->errors[i].message);
    }
    out->record_errors = errors;
    out->record_errors_count = refusal->error_count;
    return true;
}

static bool fill_partition(struct produce_answer *a,
                           struct produce_response_partition_produce_response *out,
                           struct produce_entry *e)
{
    struct request *rq = a->call.rq;

    produce_response_partition_produce_response_init(out);
    out->index = e->index;
    out->error_code = (int16_t)e->code;
    out->base_offset = -1;
    if (e->code == KERR_NONE) {
        out->base_offset = e->appended.base_offset;
        out->log_append_time_ms = e->appended.log_append_time_ms;
        out->log_start_offset = e->appended.log_start_offset;
        return true;
    }
    if (e->code == KERR_NOT_LEADER_OR_FOLLOWER && rq->version >= 10) { /* KIP-951: say who leads */
        leaders_told_add(
            &a->leaders, rq,
            &(struct leaders_of){e->topic_id, e->index, &e->leader_id, &e->leader_epoch});
        out->current_leader.leader_id = e->leader_id;
        out->current_leader.leader_epoch = e->leader_epoch;
    }
    return fill_record_errors(out, &e->refusal, &rq->arena);
}

static bool fill_endpoints(struct produce_answer *a, struct produce_response *out)
{
    const struct leaders_told *l = &a->leaders;

    if (l->count == 0)
        return true;
    out->node_endpoints =
        arena_array(&a->call.rq->arena, struct produce_response_node_endpoint, l->count);
    if (!out->node_endpoints)
        return false;
    out->node_endpoints_count = l->count;
    for (size_t i = 0; i < l->count; i++)
        out->node_endpoints[i] = (struct produce_response_node_endpoint){
            l->all[i].broker->id, l->all[i].listener->host, l->all[i].listener->port,
            l->all[i].broker->rack};
    return true;
}

static bool fill_response(struct produce_answer *a, struct produce_response *out)
{
    struct request *rq = a->call.rq;
    struct produce_entry *e = a->call.entries;
    struct produce_response_topic_produce_response *topics = arena_array(
        &rq->arena, struct produce_response_topic_produce_response, a->message->topic_data_count);

    produce_response_init(out);
    if (!topics)
        return false;
    for (size_t i = 0; i < a->message->topic_data_count; i++) {
        const struct produce_request_topic_produce_data *t = &a->message->topic_data[i];
        struct produce_response_partition_produce_response *partitions =
            arena_array(&rq->arena, struct produce_response_partition_produce_response,
                        t->partition_data_count);

        if (!partitions)
            return false;
        produce_response_topic_produce_response_init(&topics[i]);
        topics[i].name = t->name;
        topics[i].topic_id = t->topic_id;
        topics[i].partition_responses = partitions;
        topics[i].partition_responses_count = t->partition_data_count;
        for (size_t j = 0; j < t->partition_data_count; j++, e++)
            if (!fill_partition(a, &partitions[j], e))
                return false;
    }
    out->responses = topics;
    out->responses_count = a->message->topic_data_count;
    return fill_endpoints(a, out);
}

static bool any_failed(const struct produce_call *call)
{
    for (size_t i = 0; i < call->entry_count; i++)
        if (call->entries[i].code != KERR_NONE)
            return true;
    return false;
}

static void produce_finished(struct produce_call *call)
{
    struct produce_answer *a = (struct produce_answer *)call;
    struct produce_response response;

    if (call->acks == 0) {
        /* There is no answer to put an error in: closing makes the client look at the metadata
         * again. */
        if (any_failed(call))
            request_refuse(call->rq, "produce with acks=0 failed");
        else
            request_answer_nothing(call->rq);
        return;
    }
    if (fill_response(a, &response))
        request_answer(call->rq, &response);
    else
        request_refuse(call->rq, REQUEST_OVER_BUDGET);
}

void handle_produce(struct request *rq)
{
    const struct produce_request *m = rq->message;
    struct produce_answer *a = arena_array(&rq->arena, struct produce_answer, 1);

    if (!a) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    a->message = m;
    a->call = (struct produce_call){
        .rq = rq,
        .entry_count = count_partitions(m),
        .acks = m->acks,
        .timeout_ms = m->timeout_ms,
        .finished = produce_finished,
    };
    a->call.entries = arena_array(&rq->arena, struct produce_entry, a->call.entry_count);
    if (!a->call.entries) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    fill_entries(a);
    refuse_transactions(a);
    if (m->acks < -1 || m->acks > 1)
        for (size_t i = 0; i < a->call.entry_count; i++)
            a->call.entries[i].code = KERR_INVALID_REQUIRED_ACKS;
    if (!produce_start(&a->call))
        request_refuse(rq, REQUEST_OVER_BUDGET);
}
