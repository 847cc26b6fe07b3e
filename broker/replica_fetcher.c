#include "broker/replica_fetcher.h"

#include <stdlib.h>
#include <utlist.h>

#include "broker/hosting.h"
#include "broker/replica_throttle.h"
#include "protocol/base/check.h"
#include "protocol/messages/fetch.h"
#include "protocol/messages/list_offsets.h"
#include "replication/partition_follow.h"
#include "replication/transport.h"

/* what Apache Kafka 4.0 speaks: 18 brings nothing for partitions of topics */
#define FETCH_VERSION        17
#define LIST_OFFSETS_VERSION 7
#define REQUEST_BYTES_MAX    ((size_t)64 << 20)
/* of structs; their number is bounded by the answer's bytes */
#define ANSWER_ARENA_BYTES ((size_t)64 << 20)

#define TIMESTAMP_LATEST   (-1)
#define TIMESTAMP_EARLIEST (-2)

/* Fetches from one leader. */
struct replica_fetcher {
    struct replica_fetcher *prev, *next;
    struct replica_fetchers *all;
    struct fetcher core;
    int64_t leader_broker_epoch;      /* of its registration; -1: not known yet */
    bool lost;                        /* the metadata has no address of it, and that was said */
    struct transport_request request; /* the fetch in flight */
    struct offset_question *questions;
    struct timer timer;
};

struct replica_fetchers {
    struct shard *shard;
    struct transport *transport; /* NULL: this node knows no others */
    struct str listener;         /* of other brokers */
    int32_t wait_ms, bytes_min, bytes_max, partition_bytes_max;
    int64_t backoff_ms, timeout_us;
    int64_t own_broker_epoch;
    bool own_fenced;
    struct replica_fetcher *list;
    struct task look; /* at all of them, once in a turn of the loop */
    bool look_posted;
};

/* Where does the leader's log end, and start? For a partition whose offset is out of its range. */
struct offset_question {
    struct offset_question *prev, *next;
    struct replica_fetcher *fetcher;
    struct transport_request request;
    struct uuid topic_id;
    int32_t index;
    int32_t leader_epoch;
    int64_t timestamp; /* of what is asked now */
    int64_t leader_end_offset;
};

static int64_t now_ms(const struct replica_fetchers *all)
{
    return clock_monotonic_us(all->shard->loop->clock) / 1000;
}

static void look_later(struct replica_fetchers *all)
{
    if (all->look_posted)
        return;
    all->look_posted = true;
    loop_post(all->shard->loop, &all->look);
}

/* ---- the leader's address ---- */

static bool broker_fenced(const struct replica_fetchers *all, int32_t id)
{
    const struct metadata_broker *b = metadata_image_broker(all->shard->image, id);

    return !b || b->fenced;
}

static int64_t broker_epoch(const struct replica_fetchers *all, int32_t id)
{
    const struct metadata_broker *b = metadata_image_broker(all->shard->image, id);

    return b ? b->epoch : -1;
}

static bool leader_address(const struct replica_fetcher *f, struct transport_node *out)
{
    const struct metadata_broker *b =
        metadata_image_broker(f->all->shard->image, f->core.leader_id);
    const struct metadata_listener *l = b ? metadata_broker_listener(b, f->all->listener) : NULL;

    if (!l)
        return false;
    *out = (struct transport_node){.id = b->id, .host = l->host, .port = l->port};
    return true;
}

/* ---- a fetch ---- */

static void fetch_answered(struct transport_request *r, struct status result, struct bytes body);

static size_t count_changed(const struct fetcher *f)
{
    const struct fetcher_partition *p;
    size_t count = 0;

    DL_COUNT(f->lists[FETCHER_CHANGED], p, count);
    return count;
}

/* Neighbours of one topic share its entry. */
static void fill_topics(const struct replica_fetcher *f, struct fetch_request *m,
                        struct fetch_request_partition *out)
{
    const struct fetcher_partition *p, *last = NULL;

    DL_FOREACH(f->core.lists[FETCHER_CHANGED], p)
    {
        struct fetch_request_topic *topic;

        if (!last || !uuid_equal(last->topic_id, p->topic_id)) {
            topic = &m->topics[m->topics_count++];
            fetch_request_topic_init(topic);
            topic->topic_id = p->topic_id;
            topic->partitions = out;
        }
        last = p;
        topic = &m->topics[m->topics_count - 1];
        topic->partitions_count++;
        fetch_request_partition_init(out);
        out->partition = p->index;
        out->current_leader_epoch = p->leader_epoch;
        out->fetch_offset = p->at.end_offset;
        out->last_fetched_epoch = p->at.last_epoch;
        out->log_start_offset = p->at.start_offset;
        out->partition_max_bytes = f->all->partition_bytes_max;
        out++;
    }
}

static void fill_forgotten(const struct fetcher *core, struct fetch_request *m, int32_t *indexes)
{
    for (size_t i = 0; i < core->forgotten_count; i++) {
        const struct fetcher_forgotten *gone = &core->forgotten[i];
        struct fetch_request_forgotten_topic *topic = &m->forgotten_topics_data[i];

        fetch_request_forgotten_topic_init(topic);
        topic->topic_id = gone->topic_id;
        topic->partitions = &indexes[i];
        topic->partitions_count = 1;
        indexes[i] = gone->index;
    }
    m->forgotten_topics_data_count = core->forgotten_count;
}

static bool fetch_encode(const struct replica_fetcher *f, struct arena *a, struct bytes_mut *out)
{
    const struct replica_fetchers *all = f->all;
    const size_t count = count_changed(&f->core), forgotten = f->core.forgotten_count;
    struct fetch_request_partition *partitions =
        arena_array(a, struct fetch_request_partition, count);
    int32_t *indexes = arena_array(a, int32_t, forgotten);
    struct fetch_request m;
    struct writer w;

    fetch_request_init(&m);
    m.topics = arena_array(a, struct fetch_request_topic, count);
    m.forgotten_topics_data = arena_array(a, struct fetch_request_forgotten_topic, forgotten);
    if (!partitions || !indexes || !m.topics || !m.forgotten_topics_data)
        return false;
    m.replica_state.replica_id = all->shard->node->options->node_id;
    m.replica_state.replica_epoch = all->own_broker_epoch;
    m.max_wait_ms = all->wait_ms;
    m.min_bytes = all->bytes_min;
    m.max_bytes = all->bytes_max;
    m.session_id = f->core.session_id;
    m.session_epoch = f->core.session_epoch;
    fill_topics(f, &m, partitions);
    fill_forgotten(&f->core, &m, indexes);
    writer_init(&w, REQUEST_BYTES_MAX);
    if (!fetch_request_encode(&m, &w, FETCH_VERSION)) {
        writer_free(&w);
        return false;
    }
    *out = writer_take(&w);
    return true;
}

/* KIP-73: whether a replica of ours that is not in sync is to fetch slowly. */
static bool is_throttled(const struct replica_fetchers *all, const struct fetcher_partition *fp)
{
    const struct shard *s = all->shard;
    const struct metadata_topic *topic = metadata_image_topic_by_id(s->image, fp->topic_id);
    const struct metadata_partition *mp = metadata_topic_partition(topic, fp->index);
    const int32_t id = s->node->options->node_id;

    return mp && !id_list_contains(mp->isr, id) &&
           throttled_replicas_name(config_set_find(topic->config->overrides,
                                                   STR("follower.replication.throttled.replicas")),
                                   fp->index, id);
}

static void record_throttled(const struct replica_fetchers *all, const struct fetcher_partition *fp,
                             size_t bytes)
{
    struct replica_throttle *throttle = &all->shard->node->follower_throttle;

    if (replica_throttle_is_on(throttle) && is_throttled(all, fp))
        replica_throttle_record(throttle, bytes, clock_monotonic_us(all->shard->loop->clock));
}

/* Leaves out of the next fetch what has to wait. */
static void hold_throttled(struct replica_fetcher *f)
{
    const struct replica_throttle *throttle = &f->all->shard->node->follower_throttle;
    const int64_t now_us = clock_monotonic_us(f->all->shard->loop->clock);
    struct fetcher_partition *p, *next;

    if (!replica_throttle_exceeded(throttle, now_us))
        return;
    DL_FOREACH_SAFE(f->core.lists[FETCHER_CHANGED], p, next)
    if (is_throttled(f->all, p))
        fetcher_hold(p, replica_throttle_until_us(throttle, now_us) / 1000 + 1);
}

static void fetch_send(struct replica_fetcher *f)
{
    struct replica_fetchers *all = f->all;
    struct transport_node leader;
    struct bytes_mut body;
    struct arena a;
    bool encoded;

    if (!leader_address(f, &leader)) { /* the metadata will have it */
        if (!f->lost)
            logger_event(all->shard->logger, LOGGER_WARN, "replica_leader_unknown",
                         "leader=%d listener=%.*s", f->core.leader_id, STR_ARG(all->listener));
        f->lost = true;
        return;
    }
    f->lost = false;
    fetcher_prepare(&f->core);
    arena_init(&a, REQUEST_BYTES_MAX);
    encoded = fetch_encode(f, &a, &body);
    arena_free(&a);
    if (!encoded) {
        fetcher_failed(&f->core, now_ms(all));
        return;
    }
    f->request = (struct transport_request){
        .answered = fetch_answered, .api_key = FETCH_REQUEST_KEY, .api_version = FETCH_VERSION};
    fetcher_sent(&f->core);
    transport_send(all->transport, &leader, &f->request, body, all->timeout_us);
}

/* Sends the next fetch if it is time for it. */
static void fetcher_go(struct replica_fetcher *f)
{
    struct replica_fetchers *all = f->all;
    int64_t wake_ms;
    bool due = fetcher_due(&f->core, now_ms(all), &wake_ms);

    if (fetcher_hurried(&f->core)) {
        transport_cancel(all->transport, &f->request);
        fetcher_give_up(&f->core);
        due = fetcher_due(&f->core, now_ms(all), &wake_ms);
    }
    if (due) {
        hold_throttled(f);
        due = fetcher_due(&f->core, now_ms(all), &wake_ms);
    }
    if (due) {
        fetch_send(f);
        (void)fetcher_due(&f->core, now_ms(all), &wake_ms);
    }
    if (wake_ms >= 0) {
        int64_t delay_ms = wake_ms - now_ms(all);

        timer_start(all->shard->loop, &f->timer, delay_ms > 0 ? delay_ms * 1000 : 0);
    }
}

static void on_timer(struct timer *t)
{
    fetcher_go(CONTAINER_OF(t, struct replica_fetcher, timer));
}

/* ---- answers ---- */

static void tell_refused(const struct replica_fetcher *f, const struct partition *p, enum kerr code,
                         const char *why)
{
    /* A new leader that is behind the metadata by a message is no news. */
    bool news = p->fetching.failures == 3 || p->fetching.failures % 100 == 99 ||
                code == KERR_CORRUPT_MESSAGE;

    logger_event(
        f->all->shard->logger, news ? LOGGER_WARN : LOGGER_DEBUG, "replica_fetch_refused",
        "topic=\"%s\" partition=%d leader=%d leader_epoch=%d offset=%lld error=%s reason=\"%s\"",
        p->topic.data, p->index, f->core.leader_id, p->fetching.leader_epoch,
        (long long)p->fetching.at.end_offset, kerr_name(code), why);
}

static void partition_delay(struct replica_fetcher *f, struct partition *p, struct status why)
{
    fetcher_delay(&p->fetching, now_ms(f->all));
    tell_refused(f, p, why.code, why.where ? why.where : "");
}

/* After a start the metadata may be old, and the leader that it names deposed and cut off: its word
 * does not count against records of a newer epoch, which may be committed. The metadata to come
 * names another one. */
static bool leader_is_outdated(const struct partition *p)
{
    return log_latest_epoch(p->log) > p->leader_epoch;
}

static void partition_cut(struct replica_fetcher *f, struct partition *p,
                          const struct fetcher_cut *cut)
{
    if (leader_is_outdated(p))
        partition_delay(
            f, p,
            status_error(KERR_FENCED_LEADER_EPOCH, "our log is of a newer epoch than its leader"));
    else if (cut->offset < 0)
        partition_delay(
            f, p,
            status_error(KERR_UNKNOWN_SERVER_ERROR, "the leader's log parts from ours nowhere"));
    else if (!partition_truncate(p, cut))
        partition_delay(f, p, status_error(KERR_UNKNOWN_SERVER_ERROR, "no memory to truncate"));
}

static void partition_diverges(struct replica_fetcher *f, struct partition *p,
                               const struct fetch_response_epoch_end_offset *leader)
{
    struct fetcher_divergence d = {
        .leader_epoch = leader->epoch,
        .leader_end_offset = leader->end_offset,
        .own_end_offset = log_end_offset(p->log),
    };
    struct fetcher_cut cut = {0};

    (void)log_end_of_past_epoch(p->log, leader->epoch, &d.own_epoch, &d.own_epoch_end);
    cut.offset = fetcher_truncation(&d);
    partition_cut(f, p, &cut);
}

/* A partition that goes offline in here is taken out of its fetcher: replica_fetcher_forget. */
static void partition_take(struct replica_fetcher *f, struct partition *p,
                           const struct fetch_response_partition_data *d)
{
    struct fetcher_position at;
    struct status st = STATUS_OK;

    if (d->records.size > 0)
        st = partition_follow_append(p, records_mutable(d->records));
    if (!p->fetching.fetcher)
        return;
    if (status_failed(st)) {
        partition_delay(f, p, st);
        return;
    }
    record_throttled(f->all, &p->fetching, d->records.size);
    partition_follow_offsets(p, d->high_watermark, d->log_start_offset);
    if (!p->fetching.fetcher)
        return;
    at = partition_follow_position(p);
    fetcher_appended(&p->fetching, &at, partition_follow_flushed(p));
}

static void ask_offsets(struct replica_fetcher *f, struct partition *p);

static void partition_answered(struct replica_fetcher *f, struct partition *p,
                               const struct fetch_response_partition_data *d)
{
    const enum kerr code = (enum kerr)d->error_code;
    const bool diverging = d->diverging_epoch.epoch >= 0;

    switch (fetcher_partition_answered(&p->fetching, code, diverging, now_ms(f->all))) {
    case FETCHER_IGNORE:
        break;
    case FETCHER_TAKE:
        partition_take(f, p, d);
        break;
    case FETCHER_TRUNCATE:
        partition_diverges(f, p, &d->diverging_epoch);
        break;
    case FETCHER_ASK:
        ask_offsets(f, p);
        break;
    case FETCHER_REFUSED:
        tell_refused(f, p, code, "the leader's answer");
        break;
    }
}

/* All that one answer brings is one group commit. */
static void hold_flushes(const struct shard *s, bool hold)
{
    for (size_t i = 0; i < s->node->dir_count; i++)
        if (hold)
            flusher_hold(s->flushers[i]);
        else
            flusher_release(s->flushers[i]);
}

static void response_take(struct replica_fetcher *f, const struct fetch_response *m)
{
    struct shard *s = f->all->shard;

    hold_flushes(s, true);
    for (size_t i = 0; i < m->responses_count; i++) {
        const struct fetch_response_fetchable_topic_response *topic = &m->responses[i];

        for (size_t j = 0; j < topic->partitions_count; j++) {
            struct partition *p =
                shard_partition(s, topic->topic_id, topic->partitions[j].partition_index);

            if (p && p->fetching.fetcher == &f->core)
                partition_answered(f, p, &topic->partitions[j]);
        }
    }
    hold_flushes(s, false);
}

static void tell_failed(const struct replica_fetcher *f, struct status why)
{
    logger_event(f->all->shard->logger, f->core.failures == 1 ? LOGGER_WARN : LOGGER_DEBUG,
                 "replica_fetch_failed", "leader=%d error=%s where=\"%s\" errno=%d",
                 f->core.leader_id, kerr_name(why.code), why.where ? why.where : "", why.sys_errno);
}

static void fetch_answered(struct transport_request *r, struct status result, struct bytes body)
{
    struct replica_fetcher *f = CONTAINER_OF(r, struct replica_fetcher, request);
    struct reader reader = reader_of(body.data, body.size);
    struct fetch_response m;
    struct arena a;

    arena_init(&a, ANSWER_ARENA_BYTES);
    if (!status_failed(result) && !fetch_response_decode(&m, &reader, &a, FETCH_VERSION))
        result = status_error(KERR_CORRUPT_MESSAGE, "the answer makes no sense");
    if (status_failed(result)) {
        fetcher_failed(&f->core, now_ms(f->all));
        tell_failed(f, result);
    } else if (fetcher_answered(&f->core, (enum kerr)m.error_code, m.session_id, now_ms(f->all))) {
        response_take(f, &m);
    } else {
        tell_failed(f, status_error((enum kerr)m.error_code, "the fetch session"));
    }
    arena_free(&a);
    fetcher_go(f);
}

/* ---- out of range ---- */

static void question_answered(struct transport_request *r, struct status result, struct bytes body);

static void question_free(struct offset_question *q)
{
    DL_DELETE(q->fetcher->questions, q);
    free(q);
}

static bool question_encode(const struct offset_question *q, struct str topic,
                            struct bytes_mut *out)
{
    struct list_offsets_request_partition partition = {.partition_index = q->index,
                                                       .current_leader_epoch = q->leader_epoch,
                                                       .timestamp = q->timestamp};
    struct list_offsets_request_topic t = {
        .name = topic, .partitions = &partition, .partitions_count = 1};
    struct list_offsets_request m;
    struct writer w;

    list_offsets_request_init(&m);
    m.replica_id = q->fetcher->all->shard->node->options->node_id;
    m.topics = &t;
    m.topics_count = 1;
    writer_init(&w, REQUEST_BYTES_MAX);
    if (!list_offsets_request_encode(&m, &w, LIST_OFFSETS_VERSION)) {
        writer_free(&w);
        return false;
    }
    *out = writer_take(&w);
    return true;
}

/* False: it could not be sent, and the question is gone. */
static bool question_send(struct offset_question *q, const struct partition *p, int64_t timestamp)
{
    struct replica_fetcher *f = q->fetcher;
    struct transport_node leader;
    struct bytes_mut body;

    q->timestamp = timestamp;
    if (!leader_address(f, &leader) || !question_encode(q, p->topic, &body)) {
        question_free(q);
        return false;
    }
    q->request = (struct transport_request){.answered = question_answered,
                                            .api_key = LIST_OFFSETS_REQUEST_KEY,
                                            .api_version = LIST_OFFSETS_VERSION};
    transport_send(f->all->transport, &leader, &q->request, body, f->all->timeout_us);
    return true;
}

static void ask_offsets(struct replica_fetcher *f, struct partition *p)
{
    struct offset_question *q = calloc(1, sizeof *q);

    if (q) {
        q->fetcher = f;
        q->topic_id = p->topic_id;
        q->index = p->index;
        q->leader_epoch = p->fetching.leader_epoch;
        DL_APPEND(f->questions, q);
    }
    if (!q || !question_send(q, p, TIMESTAMP_LATEST))
        partition_delay(
            f, p,
            status_error(KERR_OFFSET_OUT_OF_RANGE, "the leader cannot be asked for its offsets"));
}

/* The offset; negative on any error, and when no log can have it. */
static int64_t question_read(const struct offset_question *q, struct status result,
                             struct bytes body)
{
    struct reader reader = reader_of(body.data, body.size);
    struct list_offsets_response m;
    int64_t offset = -1;
    struct arena a;

    arena_init(&a, ANSWER_ARENA_BYTES);
    if (!status_failed(result) &&
        list_offsets_response_decode(&m, &reader, &a, LIST_OFFSETS_VERSION) &&
        m.topics_count == 1 && m.topics[0].partitions_count == 1 &&
        m.topics[0].partitions[0].partition_index == q->index &&
        m.topics[0].partitions[0].error_code == KERR_NONE)
        offset = m.topics[0].partitions[0].offset;
    arena_free(&a);
    return offset > LOG_OFFSET_MAX ? -1 : offset;
}

/* Both offsets are known, or the second one does not matter: an end beyond the leader's is cut to
 * it. */
static void question_settled(struct replica_fetcher *f, struct partition *p,
                             const struct fetcher_range *range)
{
    struct fetcher_cut cut = fetcher_out_of_range(range);
    struct fetcher_position at = partition_follow_position(p);

    if (!cut.fully && cut.offset == range->own_end_offset) /* it is in range by now */
        fetcher_truncated(&p->fetching, &at, partition_follow_flushed(p), now_ms(f->all));
    else
        partition_cut(f, p, &cut);
}

static void question_answered(struct transport_request *r, struct status result, struct bytes body)
{
    struct offset_question *q = CONTAINER_OF(r, struct offset_question, request);
    struct replica_fetcher *f = q->fetcher;
    struct partition *p = shard_partition(f->all->shard, q->topic_id, q->index);
    struct fetcher_range range = {.leader_end_offset = q->leader_end_offset};
    int64_t offset = question_read(q, result, body);

    if (!p || p->fetching.fetcher != &f->core || p->fetching.state != FETCHER_ASKING ||
        p->fetching.leader_epoch != q->leader_epoch) {
        question_free(q);
        return;
    }
    range.own_end_offset = log_end_offset(p->log);
    if (offset < 0) {
        question_free(q);
        partition_delay(
            f, p, status_error(KERR_OFFSET_OUT_OF_RANGE, "the leader does not tell its offsets"));
    } else if (q->timestamp == TIMESTAMP_LATEST && offset >= range.own_end_offset) {
        q->leader_end_offset = offset;
        if (!question_send(q, p, TIMESTAMP_EARLIEST))
            partition_delay(
                f, p, status_error(KERR_OFFSET_OUT_OF_RANGE, "the leader cannot be asked again"));
    } else {
        if (q->timestamp == TIMESTAMP_LATEST)
            range.leader_end_offset = offset;
        else
            range.leader_start_offset = offset;
        question_free(q);
        question_settled(f, p, &range);
    }
    fetcher_go(f);
}

/* ---- fetchers ---- */

static struct replica_fetcher *fetcher_of(struct replica_fetchers *all, int32_t leader_id)
{
    struct replica_fetcher *f;

    DL_FOREACH(all->list, f)
    if (f->core.leader_id == leader_id)
        return f;
    f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    f->all = all;
    fetcher_init(&f->core, leader_id, all->backoff_ms);
    f->leader_broker_epoch = broker_epoch(all, leader_id);
    timer_init(all->shard->loop, &f->timer, on_timer);
    DL_APPEND(all->list, f);
    return f;
}

static void fetcher_cancel(struct replica_fetcher *f)
{
    if (f->core.in_flight)
        transport_cancel(f->all->transport, &f->request);
}

static void fetcher_destroy(struct replica_fetcher *f)
{
    struct replica_fetchers *all = f->all;

    fetcher_cancel(f);
    while (f->questions) {
        transport_cancel(all->transport, &f->questions->request);
        question_free(f->questions);
    }
    timer_free(all->shard->loop, &f->timer);
    fetcher_free(&f->core);
    DL_DELETE(all->list, f);
    free(f);
}

static void on_look(struct task *t)
{
    struct replica_fetchers *all = CONTAINER_OF(t, struct replica_fetchers, look);
    struct replica_fetcher *f, *next;

    all->look_posted = false;
    DL_FOREACH_SAFE(all->list, f, next)
    if (f->core.count == 0)
        fetcher_destroy(f);
    else
        fetcher_go(f);
}

/* ---- partitions ---- */

static bool is_to_follow(const struct replica_fetchers *all, const struct partition *p)
{
    return all->transport && p->state == PARTITION_FOLLOWING && !p->stopping && p->leader_id >= 0 &&
           p->leader_id != all->shard->node->options->node_id;
}

void replica_fetcher_forget(struct shard *s, struct partition *p)
{
    if (!p->fetching.fetcher)
        return;
    fetcher_remove(&p->fetching);
    look_later(s->replica_fetchers);
}

void replica_fetcher_assign(struct shard *s, struct partition *p)
{
    struct replica_fetchers *all = s->replica_fetchers;
    const struct fetcher_partition *now = &p->fetching;
    struct fetcher_position at;
    struct replica_fetcher *f;

    if (p->state == PARTITION_TRUNCATING)
        return;
    if (now->fetcher && is_to_follow(all, p) && now->fetcher->leader_id == p->leader_id &&
        now->leader_epoch == p->leader_epoch)
        return;
    replica_fetcher_forget(s, p);
    if (!is_to_follow(all, p))
        return;
    f = fetcher_of(all, p->leader_id);
    if (!f) {
        hosting_look_again(s, p->topic_id);
        return;
    }
    at = partition_follow_position(p);
    fetcher_add(&f->core, &p->fetching, p->leader_epoch, &at, partition_follow_flushed(p));
    /* Without epochs nobody can say where the logs part: what is not committed goes, as in Apache
     * Kafka. */
    if (at.last_epoch < 0 && at.end_offset > p->high_watermark) {
        const struct fetcher_cut cut = {.offset = p->high_watermark};

        fetcher_cut_first(&p->fetching);
        partition_cut(f, p, &cut);
    }
    look_later(all);
}

static struct replica_fetcher *fetcher_that_has(const struct partition *p)
{
    struct fetcher *core = p->fetching.fetcher;

    return core ? CONTAINER_OF(core, struct replica_fetcher, core) : NULL;
}

void replica_fetcher_flushed(struct shard *s, struct partition *p)
{
    struct replica_fetcher *f = fetcher_that_has(p);

    (void)s;
    if (!f || !partition_follow_flushed(p))
        return;
    fetcher_flushed(&p->fetching);
    fetcher_go(f);
}

void replica_fetcher_truncated(struct shard *s, struct partition *p)
{
    struct replica_fetcher *f = fetcher_that_has(p);
    struct fetcher_position at;

    if (!f)
        return;
    at = partition_follow_position(p);
    fetcher_truncated(&p->fetching, &at, partition_follow_flushed(p), now_ms(s->replica_fetchers));
    look_later(s->replica_fetchers);
}

/* ---- the cluster ---- */

void replica_fetchers_image_changed(struct shard *s, const struct metadata_delta *delta)
{
    struct replica_fetchers *all = s->replica_fetchers;
    int64_t own_epoch;
    bool fenced, own_changed;
    struct replica_fetcher *f;

    if (!delta->brokers_changed && !delta->snapshot)
        return;
    own_epoch = broker_epoch(all, s->node->options->node_id);
    fenced = broker_fenced(all, s->node->options->node_id);
    /* Cut off and back: what was on its way is lost, and would be missed for long. */
    own_changed = own_epoch != all->own_broker_epoch || (all->own_fenced && !fenced);
    all->own_broker_epoch = own_epoch;
    all->own_fenced = fenced;
    DL_FOREACH(all->list, f)
    {
        int64_t epoch = broker_epoch(all, f->core.leader_id);

        if (epoch == f->leader_broker_epoch && !own_changed)
            continue;
        f->leader_broker_epoch = epoch;
        fetcher_cancel(f);
        fetcher_restart(&f->core);
    }
    look_later(all);
}

/* ---- life ---- */

struct replica_fetchers *replica_fetchers_create(struct shard *s)
{
    const struct config_values *config = s->node->options->config;
    struct replica_fetchers *all = calloc(1, sizeof *all);

    if (!all)
        return NULL;
    *all = (struct replica_fetchers){
        .shard = s,
        .transport = s->node->env.shard_peers ? s->node->env.shard_peers[s->index] : NULL,
        .listener = str_from(s->node->options->inter_broker_listener),
        .wait_ms = (int32_t)config_values_integer(config, "replica.fetch.wait.max.ms"),
        .bytes_min = (int32_t)config_values_integer(config, "replica.fetch.min.bytes"),
        .bytes_max = (int32_t)config_values_integer(config, "replica.fetch.response.max.bytes"),
        .partition_bytes_max = (int32_t)config_values_integer(config, "replica.fetch.max.bytes"),
        .backoff_ms = config_values_integer(config, "replica.fetch.backoff.ms"),
        .own_broker_epoch = -1,
        .look = {.run = on_look},
    };
    all->timeout_us =
        (config_values_integer(config, "replica.socket.timeout.ms") + all->wait_ms) * 1000;
    return all;
}

void replica_fetchers_free(struct replica_fetchers *all)
{
    if (!all)
        return;
    while (all->list)
        fetcher_destroy(all->list);
    free(all);
}
