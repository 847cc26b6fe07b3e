/* Fetch: the session says which partitions, the shards find their bytes, the session says which to
 * tell. */

#include "broker/fetch.h"

#include "broker/fetch_session_core.h"
#include "broker/handlers/leaders_told.h"
#include "broker/request.h"
#include "broker/shard.h"
#include "protocol/messages/fetch.h"

struct fetch_answer {
    struct fetch_call call; /* first */
    struct fetch_context context;
    struct fetch_cached **cached; /* of an incremental fetch, by entry */
    struct leaders_told leaders;
};

static void fetch_fail(struct request *rq, enum kerr code)
{
    struct fetch_response response;

    fetch_response_init(&response);
    response.error_code = (int16_t)code;
    request_answer(rq, &response);
}

/* ---- what is asked ---- */

static size_t count_asks(const struct fetch_request *m)
{
    size_t count = 0;

    for (size_t i = 0; i < m->topics_count; i++)
        count += m->topics[i].partitions_count;
    return count;
}

static struct fetch_ask *collect_asks(struct request *rq, const struct fetch_request *m,
                                      size_t count)
{
    struct fetch_ask *asks = arena_array(&rq->arena, struct fetch_ask, count);
    struct fetch_ask *ask = asks;

    if (!asks)
        return NULL;
    for (size_t i = 0; i < m->topics_count; i++)
        for (size_t j = 0; j < m->topics[i].partitions_count; j++, ask++) {
            const struct fetch_request_partition *p = &m->topics[i].partitions[j];

            *ask = (struct fetch_ask){
                .topic_id = m->topics[i].topic_id,
                .topic = rq->version >= 13 ? STR_NULL : m->topics[i].topic,
                .index = p->partition,
                .offset = p->fetch_offset,
                .max_bytes = p->partition_max_bytes,
                .current_leader_epoch = p->current_leader_epoch,
                .last_fetched_epoch = p->last_fetched_epoch,
                .log_start_offset = p->log_start_offset,
            };
        }
    return asks;
}

static struct fetch_forget *collect_forgets(struct request *rq, const struct fetch_request *m,
                                            size_t *count)
{
    struct fetch_forget *forgets, *f;

    *count = 0;
    for (size_t i = 0; i < m->forgotten_topics_data_count; i++)
        *count += m->forgotten_topics_data[i].partitions_count;
    forgets = f = arena_array(&rq->arena, struct fetch_forget, *count);
    for (size_t i = 0; forgets && i < m->forgotten_topics_data_count; i++)
        for (size_t j = 0; j < m->forgotten_topics_data[i].partitions_count; j++)
            *f++ = (struct fetch_forget){
                .topic_id = m->forgotten_topics_data[i].topic_id,
                .topic = rq->version >= 13 ? STR_NULL : m->forgotten_topics_data[i].topic,
                .index = m->forgotten_topics_data[i].partitions[j],
            };
    return forgets;
}

/* Whether the partition exists, in the newest image of this shard; its shard says who leads. */
static void fill_entry(const struct request *rq, struct fetch_entry *e, const struct fetch_ask *ask)
{
    bool by_id = rq->version >= 13;
    const struct metadata_topic *topic =
        by_id ? metadata_image_topic_by_id(rq->shard->image, ask->topic_id)
              : metadata_image_topic(rq->shard->image, ask->topic);

    *e = (struct fetch_entry){
        .topic_id = by_id || !topic ? ask->topic_id : topic->id,
        .topic = ask->topic,
        .index = ask->index,
        .offset = ask->offset,
        .max_bytes = ask->max_bytes,
        .current_leader_epoch = ask->current_leader_epoch,
        .last_fetched_epoch = ask->last_fetched_epoch,
        .replica_log_start_offset = ask->log_start_offset,
        .known_high_watermark = INT64_MAX,
        .high_watermark = -1,
        .last_stable_offset = -1,
        .log_start_offset = -1,
        .leader_id = -1,
        .leader_epoch = -1,
        .diverging_epoch = -1,
    };
    if (!topic)
        e->code = by_id ? KERR_UNKNOWN_TOPIC_ID : KERR_UNKNOWN_TOPIC_OR_PARTITION;
    else if (ask->index < 0 || (size_t)ask->index >= topic->partition_count)
        e->code = KERR_UNKNOWN_TOPIC_OR_PARTITION;
}

static bool fill_from_session(struct fetch_answer *a)
{
    struct request *rq = a->call.rq;
    struct fetch_cached *p = fetch_session_first(a->context.session);
    size_t count = fetch_session_partition_count(a->context.session);

    a->call.entries = arena_array(&rq->arena, struct fetch_entry, count);
    a->cached = arena_array(&rq->arena, struct fetch_cached *, count);
    if (!a->call.entries || !a->cached)
        return false;
    for (; p; p = fetch_session_next(p)) {
        struct fetch_entry *e = &a->call.entries[a->call.entry_count];

        a->cached[a->call.entry_count++] = p;
        fill_entry(rq, e, fetch_cached_ask(p));
        if (a->call.replica_id >= 0) {
            e->known_high_watermark = fetch_cached_high_watermark(p);
            e->known_log_start_offset = fetch_cached_log_start(p);
        }
    }
    return true;
}

static bool fill_from_asks(struct fetch_answer *a, const struct fetch_ask *asks, size_t count)
{
    struct request *rq = a->call.rq;

    a->call.entries = arena_array(&rq->arena, struct fetch_entry, count);
    if (!a->call.entries)
        return false;
    for (size_t i = 0; i < count; i++)
        fill_entry(rq, &a->call.entries[i], &asks[i]);
    a->call.entry_count = count;
    return true;
}

/* ---- the answer ---- */

static struct fetch_news entry_news(const struct fetch_entry *e)
{
    return (struct fetch_news){
        .has_records = e->payload.slice.size > 0,
        .has_diverging_epoch = e->diverging_epoch >= 0,
        .code = e->code,
        .high_watermark = e->high_watermark,
        .log_start_offset = e->log_start_offset,
        .preferred_replica = e->preferred_replica,
    };
}

/* Tells the session; whether the answer holds the entry. */
static bool entry_is_told(struct fetch_answer *a, size_t i)
{
    struct fetch_news news = entry_news(&a->call.entries[i]);

    if (a->context.incremental)
        return fetch_cached_told(a->context.session, a->cached[i], &news);
    if (a->context.session)
        fetch_session_told_full(a->context.session, i, &news);
    return true;
}

static bool fill_aborted(struct fetch_response_partition_data *out, const struct fetch_entry *e,
                         struct arena *arena)
{
    struct fetch_response_aborted_transaction *aborted;

    if (e->aborted_count == 0)
        return true;
    aborted = arena_array(arena, struct fetch_response_aborted_transaction, e->aborted_count);
    if (!aborted)
        return false;
    for (size_t i = 0; i < e->aborted_count; i++) {
        aborted[i].producer_id = e->aborted[i].producer_id;
        aborted[i].first_offset = e->aborted[i].first_offset;
    }
    out->aborted_transactions = aborted;
    out->aborted_transactions_count = e->aborted_count;
    return true;
}

static bool fill_partition(struct fetch_response_partition_data *out, struct fetch_entry *e,
                           struct fetch_answer *a)
{
    fetch_response_partition_data_init(out);
    out->partition_index = e->index;
    out->error_code = (int16_t)e->code;
    out->high_watermark = e->high_watermark;
    out->last_stable_offset = e->last_stable_offset;
    out->log_start_offset = e->log_start_offset;
    out->diverging_epoch.epoch = e->diverging_epoch;
    if (e->diverging_epoch >= 0) /* asked for by a last fetched epoch: version 12 and up */
        out->diverging_epoch.end_offset = e->diverging_end_offset;
    if (a->call.rq->version >= 12 &&
        (e->code == KERR_NOT_LEADER_OR_FOLLOWER || e->code == KERR_FENCED_LEADER_EPOCH)) {
        leaders_told_add(
            &a->leaders, a->call.rq,
            &(struct leaders_of){e->topic_id, e->index, &e->leader_id, &e->leader_epoch});
        out->current_leader.leader_id = e->leader_id;
        out->current_leader.leader_epoch = e->leader_epoch;
    }
    if (a->call.rq->version >= 11)
        out->preferred_read_replica = e->preferred_replica;
    out->records = (struct records){.data = (const uint8_t *)"", .size = e->payload.slice.size};
    if (e->payload.slice.size > 0)
        out->records.splice = &e->payload;
    if (!a->call.read_committed)
        out->aborted_transactions = NULL;
    return fill_aborted(out, e, &a->call.rq->arena);
}

static bool fill_endpoints(struct fetch_answer *a, struct fetch_response *out)
{
    const struct leaders_told *l = &a->leaders;

    if (l->count == 0 || a->call.rq->version < 16)
        return true;
    out->node_endpoints =
        arena_array(&a->call.rq->arena, struct fetch_response_node_endpoint, l->count);
    if (!out->node_endpoints)
        return false;
    out->node_endpoints_count = l->count;
    for (size_t i = 0; i < l->count; i++)
        out->node_endpoints[i] =
            (struct fetch_response_node_endpoint){l->all[i].broker->id, l->all[i].listener->host,
                                                  l->all[i].listener->port, l->all[i].broker->rack};
    return true;
}

/* Entries of one topic that stand together share a topic of the answer. */
static bool same_topic(const struct fetch_entry *a, const struct fetch_entry *b)
{
    return uuid_equal(a->topic_id, b->topic_id) && str_equal(a->topic, b->topic);
}

static bool fill_response(struct fetch_answer *a, struct fetch_response *out)
{
    struct arena *arena = &a->call.rq->arena;
    size_t count = a->call.entry_count;
    struct fetch_response_fetchable_topic_response *topics =
        arena_array(arena, struct fetch_response_fetchable_topic_response, count);
    struct fetch_response_partition_data *partitions =
        arena_array(arena, struct fetch_response_partition_data, count);
    const struct fetch_entry *last = NULL;

    if (!topics || !partitions)
        return false;
    out->responses = topics;
    for (size_t i = 0; i < count; i++) {
        struct fetch_entry *e = &a->call.entries[i];
        struct fetch_response_fetchable_topic_response *topic;

        if (!entry_is_told(a, i))
            continue;
        if (!last || !same_topic(last, e)) {
            topic = &topics[out->responses_count++];
            fetch_response_fetchable_topic_response_init(topic);
            topic->topic = e->topic;
            topic->topic_id = e->topic_id;
            topic->partitions = partitions;
        }
        last = e;
        topic = &topics[out->responses_count - 1];
        topic->partitions_count++;
        if (!fill_partition(partitions++, e, a))
            return false;
    }
    return fill_endpoints(a, out);
}

static int64_t session_now_ms(const struct request *rq)
{
    return clock_monotonic_us(rq->shard->loop->clock) / 1000;
}

static void fetch_finished(struct fetch_call *call)
{
    struct fetch_answer *a = (struct fetch_answer *)call;
    struct request *rq = call->rq;
    struct fetch_response response;
    bool filled;

    fetch_response_init(&response);
    response.session_id = a->context.session_id;
    filled = fill_response(a, &response);
    if (a->context.session)
        fetch_session_end_request(a->context.session, session_now_ms(rq));
    rq->response.release = fetch_release;
    rq->response.owner = call;
    if (filled)
        request_answer(rq, &response);
    else
        request_refuse(rq, REQUEST_OVER_BUDGET);
}

static void fetch_give_up(struct fetch_answer *a)
{
    struct request *rq = a->call.rq;

    if (a->context.session)
        fetch_session_end_request(a->context.session, session_now_ms(rq));
    request_refuse(rq, REQUEST_OVER_BUDGET);
}

static struct fetch_call fetch_call_of(struct request *rq, const struct fetch_request *m)
{
    int32_t bytes_max = rq->shard->node->options->fetch_bytes_max;
    int32_t asker = rq->version >= 15 ? m->replica_state.replica_id : m->replica_id;
    int32_t replica_id = asker >= 0 ? asker : -1; /* the other negative ones read as consumers do */

    client_is_node(rq->client, replica_id);
    return (struct fetch_call){
        .rq = rq,
        .max_wait_ms = m->max_wait_ms,
        .min_bytes = m->min_bytes < bytes_max ? m->min_bytes : bytes_max,
        .max_bytes = m->max_bytes < bytes_max ? m->max_bytes : bytes_max,
        .read_committed = m->isolation_level == 1 && replica_id < 0,
        .replica_id = replica_id,
        .any_replica = replica_id < 0 && rq->version >= 11,
        .rack = m->rack_id,
        .replica_epoch = m->replica_state.replica_epoch,
        .finished = fetch_finished,
    };
}

void handle_fetch(struct request *rq)
{
    const struct fetch_request *m = rq->message;
    struct fetch_answer *a = arena_array(&rq->arena, struct fetch_answer, 1);
    struct fetch_context_args args = {
        .session_id = m->session_id,
        .epoch = m->session_epoch,
        .by_topic_id = rq->version >= 13,
        .ask_count = count_asks(m),
        .now_ms = session_now_ms(rq),
    };
    enum kerr code;

    if (rq->api_listener == API_ON_CONTROLLER) {
        handle_metadata_fetch(rq);
        return;
    }
    args.asks = collect_asks(rq, m, args.ask_count);
    args.forgets = collect_forgets(rq, m, &args.forget_count);
    if (!a || !args.asks || !args.forgets) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    a->call = fetch_call_of(rq, m);
    args.replica = a->call.replica_id >= 0;
    if (m->session_epoch == FETCH_EPOCH_INITIAL)
        random_fill(rq->shard->node->env.random, &args.random, sizeof args.random);
    code = fetch_sessions_begin(rq->shard->fetch_sessions, &args, &a->context);
    if (code) {
        fetch_fail(rq, code);
        return;
    }
    if (!(a->context.incremental ? fill_from_session(a)
                                 : fill_from_asks(a, args.asks, args.ask_count)) ||
        !fetch_start(&a->call))
        fetch_give_up(a);
}
