/* Reads every partition of every topic from its start to its end, once, while nothing is
 * written. */

#include "protocol/base/check.h"
#include "protocol/base/kerr.h"
#include "protocol/messages/fetch.h"
#include "protocol/messages/list_offsets.h"
#include "protocol/record_batch.h"
#include "tests/sim/sim_world.h"

#define STEP_US               200
#define RETRY_US              5000
#define LIST_VERSION          7
#define FETCH_VERSION         13
#define BYTES_A_FETCH         100000
#define ANSWER_US_MAX         (2 * 1000 * 1000)
#define TIMESTAMP_LATEST      (-1)
#define TIMESTAMP_EARLIEST    (-2)
#define NO_OFFSET             (-1)
#define REFUSALS_OF_A_DAMAGED 10 /* a partition that is only not led yet has time enough for that */

static void again(struct sim_reader *r, int64_t delay_us)
{
    timer_start(&r->world->loop->base, &r->timer, delay_us);
}

static struct sim_topic *topic_of(struct sim_reader *r)
{
    return &r->world->checker.topics[r->topic];
}

static void next_partition(struct sim_reader *r)
{
    r->partition++;
    r->refusals = 0;
    r->start = r->end = NO_OFFSET;
}

static bool is_damaged(struct sim_reader *r)
{
    return topic_of(r)->partitions[r->partition].damaged;
}

/* Nothing more is to be had from a damaged partition. */
static void give_up(struct sim_reader *r)
{
    next_partition(r);
    again(r, STEP_US);
}

/* The partition answers with an error. Right after a start its shard may not have heard all yet. */
static void refused(struct sim_reader *r, enum kerr code)
{
    if (is_damaged(r) && ++r->refusals >= REFUSALS_OF_A_DAMAGED) {
        give_up(r);
        return;
    }
    if (!is_damaged(r) && code != KERR_OFFSET_NOT_AVAILABLE &&
        code != KERR_NOT_LEADER_OR_FOLLOWER && code != KERR_UNKNOWN_TOPIC_OR_PARTITION &&
        code != KERR_UNKNOWN_TOPIC_ID)
        sim_world_fail(r->world, "%s-%d: the reader was answered with %s", topic_of(r)->name,
                       r->partition, kerr_name(code));
    r->start = r->end = NO_OFFSET;
    again(r, RETRY_US);
}

/* ---- where it starts and ends ---- */

static void on_listed(struct sim_answer *a)
{
    const struct list_offsets_response *m = a->message;
    struct sim_reader *r = a->context;
    const struct list_offsets_response_partition_response *p;

    r->waiting = false;
    if (!m) {
        again(r, RETRY_US);
        return;
    }
    p = &m->topics[0].partitions[0];
    if (p->error_code != KERR_NONE) {
        refused(r, (enum kerr)p->error_code);
        return;
    }
    if (r->start == NO_OFFSET)
        r->start = r->offset = p->offset;
    else
        r->end = p->offset;
    again(r, STEP_US);
}

static void list(struct sim_reader *r)
{
    struct list_offsets_request_partition partition;
    struct list_offsets_request_topic topic;
    struct list_offsets_request m;

    list_offsets_request_init(&m);
    list_offsets_request_topic_init(&topic);
    list_offsets_request_partition_init(&partition);
    partition.partition_index = r->partition;
    partition.timestamp = r->start == NO_OFFSET ? TIMESTAMP_EARLIEST : TIMESTAMP_LATEST;
    topic.name = str_from(topic_of(r)->name);
    topic.partitions = &partition;
    topic.partitions_count = 1;
    m.replica_id = -1;
    m.topics = &topic;
    m.topics_count = 1;
    r->waiting = true;
    sim_connection_send(r->connection, API_LIST_OFFSETS, LIST_VERSION, &m, on_listed, r,
                        ANSWER_US_MAX);
}

/* ---- what is in between ---- */

/* False: a damaged partition has no more. */
static bool read_partition(struct sim_reader *r, const struct fetch_response_partition_data *p)
{
    struct sim_checker *c = &r->world->checker;
    struct record_batches it = record_batches((struct bytes){p->records.data, p->records.size});
    struct bytes batch;

    sim_checker_saw(c, topic_of(r), r->partition, p->high_watermark, r->end, p->log_start_offset,
                    r->start);
    while (record_batches_next(&it, &batch))
        if (!sim_checker_read(c, topic_of(r), r->partition, batch, r->offset, p->high_watermark,
                              &r->offset))
            return false;
    if (p->records.size == 0 && is_damaged(r))
        return false;
    if (p->records.size == 0)
        sim_world_fail(r->world, "%s-%d: nothing to read at offset %lld, before the end %lld",
                       topic_of(r)->name, r->partition, (long long)r->offset, (long long)r->end);
    return true;
}

static void on_fetched(struct sim_answer *a)
{
    const struct fetch_response *m = a->message;
    struct sim_reader *r = a->context;
    const struct fetch_response_partition_data *p;

    r->waiting = false;
    if (!m) {
        again(r, RETRY_US);
        return;
    }
    if (m->error_code != KERR_NONE || m->responses_count != 1 ||
        m->responses[0].partitions_count != 1) {
        sim_world_fail(r->world, "%s-%d: no answer in an answer", topic_of(r)->name, r->partition);
        return;
    }
    p = &m->responses[0].partitions[0];
    if (p->error_code == KERR_OFFSET_OUT_OF_RANGE && topic_of(r)->retention && !is_damaged(r)) {
        r->start = r->end = NO_OFFSET; /* retention has overtaken us */
        again(r, STEP_US);
        return;
    }
    if (p->error_code != KERR_NONE) {
        refused(r, (enum kerr)p->error_code);
        return;
    }
    if (read_partition(r, p))
        again(r, STEP_US);
    else if (is_damaged(r))
        give_up(r);
}

static void fetch(struct sim_reader *r)
{
    struct fetch_request_partition partition;
    struct fetch_request_topic topic;
    struct fetch_request m;

    fetch_request_init(&m);
    fetch_request_topic_init(&topic);
    fetch_request_partition_init(&partition);
    partition.partition = r->partition;
    partition.fetch_offset = r->offset;
    partition.partition_max_bytes = BYTES_A_FETCH;
    topic.topic_id = topic_of(r)->id;
    topic.partitions = &partition;
    topic.partitions_count = 1;
    m.max_bytes = BYTES_A_FETCH;
    m.topics = &topic;
    m.topics_count = 1;
    r->waiting = true;
    sim_connection_send(r->connection, API_FETCH, FETCH_VERSION, &m, on_fetched, r, ANSWER_US_MAX);
}

/* ---- going on ---- */

/* The next partition there is; false: that was all. */
static bool find_partition(struct sim_reader *r)
{
    const struct sim_checker *c = &r->world->checker;

    while (r->topic < c->topic_count) {
        if (sim_checker_topic_usable(&c->topics[r->topic]) &&
            r->partition < c->topics[r->topic].partition_count)
            return true;
        r->topic++;
        r->partition = 0;
        r->start = r->end = NO_OFFSET;
    }
    return false;
}

static void on_timer(struct timer *t)
{
    struct sim_reader *r = CONTAINER_OF(t, struct sim_reader, timer);

    if (r->done || r->waiting)
        return;
    if (!r->connection || !r->connection->up)
        r->connection = sim_world_connect(r->world, &r->world->random);
    if (!r->connection) {
        again(r, RETRY_US);
        return;
    }
    if (!find_partition(r)) {
        r->done = true;
        return;
    }
    if (r->start == NO_OFFSET || r->end == NO_OFFSET) {
        list(r);
    } else if (r->offset < r->end) {
        fetch(r);
    } else {
        sim_checker_read_all(&r->world->checker, topic_of(r), r->partition, r->start, r->end);
        next_partition(r);
        again(r, STEP_US);
    }
}

void sim_reader_init(struct sim_reader *r, struct sim_world *w)
{
    *r = (struct sim_reader){.world = w, .done = true};
    timer_init(&w->loop->base, &r->timer, on_timer);
}

void sim_reader_begin(struct sim_reader *r)
{
    r->done = false;
    r->topic = 0;
    r->partition = 0;
    r->start = r->end = NO_OFFSET;
    again(r, STEP_US);
}

void sim_reader_stop(struct sim_reader *r)
{
    r->done = true;
    timer_stop(&r->world->loop->base, &r->timer);
}

void sim_reader_free(struct sim_reader *r)
{
    timer_free(&r->world->loop->base, &r->timer);
}
