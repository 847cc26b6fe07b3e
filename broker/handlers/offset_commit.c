/* OffsetCommit: where a group's members, or a consumer on its own, have got to. */

#include "protocol/messages/offset_commit.h"
#include "broker/coordinator/group_scatter.h"
#include "broker/dispatch.h"
#include "broker/request.h"
#include "broker/shard.h"

struct commit_call {
    struct group_scatter scatter; /* first */
    struct group_entry entry;
    struct group_commit commit;
};

static void commit_run(struct group_entry *e, struct group_core *core, int64_t now_ms,
                       const struct offset_list *offsets, struct group_effects *fx)
{
    (void)offsets;
    group_core_commit(core, &e->caller, &((struct commit_call *)e->scatter)->commit, now_ms, fx);
}

/* ---- the answer ---- */

static void commit_finished(struct group_scatter *g)
{
    struct commit_call *call = (struct commit_call *)g;
    struct request *rq = g->rq;
    const struct offset_commit_request *m = rq->message;
    const struct group_commit_partition *p = call->commit.partitions;
    struct offset_commit_response_partition *results = arena_array(
        &rq->arena, struct offset_commit_response_partition, call->commit.partition_count);
    struct offset_commit_response response;

    offset_commit_response_init(&response);
    response.topics = arena_array(&rq->arena, struct offset_commit_response_topic, m->topics_count);
    if (!results || !response.topics) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    response.topics_count = m->topics_count;
    for (size_t i = 0; i < m->topics_count; i++) {
        response.topics[i] = (struct offset_commit_response_topic){
            m->topics[i].name, m->topics[i].topic_id, results, m->topics[i].partitions_count};
        for (size_t j = 0; j < m->topics[i].partitions_count; j++, p++) {
            enum kerr code = call->entry.caller.code;

            /* What was refused for itself keeps its own error. */
            if (code == KERR_NONE || p->code == KERR_UNKNOWN_TOPIC_OR_PARTITION ||
                p->code == KERR_UNKNOWN_TOPIC_ID)
                code = p->code;
            *results++ = (struct offset_commit_response_partition){p->partition, (int16_t)code};
        }
    }
    request_answer(rq, &response);
}

/* ---- the request ---- */

static const struct metadata_topic *find_topic(const struct request *rq,
                                               const struct offset_commit_request_topic *t)
{
    return rq->version >= 10 ? metadata_image_topic_by_id(rq->shard->image, t->topic_id)
                             : metadata_image_topic(rq->shard->image, t->name);
}

static enum kerr missing_code(const struct request *rq, const struct metadata_topic *topic)
{
    return rq->version >= 10 && !topic ? KERR_UNKNOWN_TOPIC_ID : KERR_UNKNOWN_TOPIC_OR_PARTITION;
}

/* Fills the partitions; false when none of them exists, so that there is nothing to ask a
 * coordinator. */
static bool fill_partitions(struct commit_call *call)
{
    const struct request *rq = call->scatter.rq;
    const struct offset_commit_request *m = rq->message;
    struct group_commit_partition *p = call->commit.partitions;
    bool any = false;

    for (size_t i = 0; i < m->topics_count; i++) {
        const struct metadata_topic *topic = find_topic(rq, &m->topics[i]);

        for (size_t j = 0; j < m->topics[i].partitions_count; j++, p++) {
            const struct offset_commit_request_partition *asked = &m->topics[i].partitions[j];

            /* A name of the request stays as long as the request; one of the image is copied
             * below. */
            *p = (struct group_commit_partition){
                .topic = rq->version >= 10 && topic ? topic->name : m->topics[i].name,
                .partition = asked->partition_index,
                .offset = asked->committed_offset,
                .leader_epoch = asked->committed_leader_epoch,
                .metadata = asked->committed_metadata};
            if (!metadata_topic_partition(topic, asked->partition_index)) {
                p->code = missing_code(rq, topic);
                continue;
            }
            p->topic_id = topic->id;
            any = true;
        }
    }
    return any;
}

/* The image may be gone before the coordinator reads the names that came from it. */
static bool copy_names(struct commit_call *call)
{
    const struct request *rq = call->scatter.rq;
    struct str from = STR_NULL, to = STR_NULL;

    for (size_t i = 0; rq->version >= 10 && i < call->commit.partition_count; i++) {
        struct group_commit_partition *p = &call->commit.partitions[i];

        if (p->code != KERR_NONE)
            continue;
        if (p->topic.data != from.data) {
            from = p->topic;
            to = (struct str){arena_strdup(&call->scatter.rq->arena, from), from.size};
            if (!to.data)
                return false;
        }
        p->topic = to;
    }
    return true;
}

void handle_offset_commit(struct request *rq)
{
    const struct offset_commit_request *m = rq->message;
    struct commit_call *call = arena_array(&rq->arena, struct commit_call, 1);
    size_t count = 0;

    for (size_t i = 0; i < m->topics_count; i++)
        count += m->topics[i].partitions_count;
    if (call)
        call->commit.partitions = arena_array(&rq->arena, struct group_commit_partition, count);
    if (!call || !call->commit.partitions) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    call->commit.group = m->group_id;
    call->commit.member_id = m->member_id;
    call->commit.instance_id = m->group_instance_id;
    call->commit.generation_or_epoch = m->generation_id_or_member_epoch;
    call->commit.retention_ms = m->retention_time_ms;
    call->commit.timestamp_ms = clock_wall_ms(rq->shard->node->env.clock);
    call->commit.partition_count = count;
    call->commit.version = rq->version;
    call->commit.image_offset = metadata_image_offset(rq->shard->image);
    call->entry.group = m->group_id;
    call->scatter = (struct group_scatter){.rq = rq,
                                           .entries = &call->entry,
                                           .count = 1,
                                           .stride = sizeof call->entry,
                                           .call = GROUP_COMMIT,
                                           .run = commit_run,
                                           .finished = commit_finished};
    call->entry.skip = !fill_partitions(call);
    if (!copy_names(call) || !group_scatter_start(&call->scatter))
        request_refuse(rq, REQUEST_OVER_BUDGET);
}
