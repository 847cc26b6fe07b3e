#include "tests/sim/sim_tail.h"

#include "protocol/base/check.h"
#include "protocol/base/kerr.h"
#include "protocol/messages/fetch.h"
#include "protocol/messages/list_offsets.h"
#include "protocol/record_batch.h"
#include "tests/sim/sim_world.h"

#define RETRY_US           20000
#define TICK_US_MAX        60000
#define READ_TICK_US       500
#define PATIENCE_US        (5 * 1000 * 1000)
#define WAIT_MS            200
#define BYTES_A_FETCH      20000
#define FETCHES_MAX        60
#define FETCH_VERSION      13
#define LIST_VERSION       7
#define TIMESTAMP_LATEST   (-1)
#define TIMESTAMP_EARLIEST (-2)
#define NO_OFFSET          (-1)
#define ANYWHERE_ONE_IN    8 /* asks a node that may not lead */

static struct sim_topic *topic_of(const struct sim_tail *c)
{
    return &c->world->checker.topics[c->topic];
}

static bool is_expected(const struct sim_tail *c, enum kerr code)
{
    switch (code) {
    case KERR_NOT_LEADER_OR_FOLLOWER:
    case KERR_UNKNOWN_TOPIC_ID:
    case KERR_UNKNOWN_TOPIC_OR_PARTITION:
    case KERR_OFFSET_NOT_AVAILABLE:
    case KERR_FENCED_LEADER_EPOCH:
    case KERR_UNKNOWN_LEADER_EPOCH:
        return true;
    case KERR_OFFSET_OUT_OF_RANGE: /* of a replica that is behind, or does not lead any more; or
                                    * retention was faster */
        return c->task == SIM_TAIL_FOLLOW || topic_of(c)->retention;
    case KERR_KAFKA_STORAGE_ERROR:
        return c->world->may_fail;
    default:
        return false;
    }
}

static void refused(struct sim_tail *c, enum kerr code)
{
    if (!is_expected(c, code))
        sim_world_fail(c->world, "%s-%d: a consumer at offset %lld was answered with %s",
                       topic_of(c)->name, c->partition, (long long)c->offset, kerr_name(code));
    if (code == KERR_OFFSET_OUT_OF_RANGE)
        c->used = false; /* from its start again, if that is still the one */
    sim_connection_close(c->connection);
}

/* ---- start and end ---- */

static void on_listed(struct sim_answer *a)
{
    const struct list_offsets_response *m = a->message;
    struct sim_tail *c = a->context;
    const struct list_offsets_response_partition_response *p;

    c->waiting = false;
    if (!m)
        return;
    p = &m->topics[0].partitions[0];
    if (p->error_code != KERR_NONE) {
        refused(c, (enum kerr)p->error_code);
    } else if (c->start == NO_OFFSET) {
        c->start = c->offset = p->offset;
    } else {
        c->end = p->offset;
        sim_checker_saw(&c->world->checker, topic_of(c), c->partition, p->offset, 0, -1, -1);
    }
}

static void list(struct sim_tail *c)
{
    struct list_offsets_request_partition partition;
    struct list_offsets_request_topic topic;
    struct list_offsets_request m;

    list_offsets_request_init(&m);
    list_offsets_request_topic_init(&topic);
    list_offsets_request_partition_init(&partition);
    partition.partition_index = c->partition;
    partition.timestamp = c->start == NO_OFFSET ? TIMESTAMP_EARLIEST : TIMESTAMP_LATEST;
    topic.name = str_from(topic_of(c)->name);
    topic.partitions = &partition;
    topic.partitions_count = 1;
    m.replica_id = -1;
    m.topics = &topic;
    m.topics_count = 1;
    sim_connection_send(c->connection, API_LIST_OFFSETS, LIST_VERSION, &m, on_listed, c,
                        PATIENCE_US);
}

/* ---- in between ---- */

static void on_fetched(struct sim_answer *a)
{
    const struct fetch_response *m = a->message;
    struct sim_tail *c = a->context;
    struct sim_checker *k = &c->world->checker;
    const struct fetch_response_partition_data *p;
    struct record_batches it;
    struct bytes batch;

    c->waiting = false;
    if (!m)
        return;
    if (m->error_code != KERR_NONE || m->responses_count != 1 ||
        m->responses[0].partitions_count != 1) {
        sim_world_fail(c->world, "%s-%d: no answer in an answer, error %s", topic_of(c)->name,
                       c->partition, kerr_name((enum kerr)m->error_code));
        return;
    }
    p = &m->responses[0].partitions[0];
    if (p->error_code != KERR_NONE) {
        refused(c, (enum kerr)p->error_code);
        return;
    }
    sim_checker_saw(k, topic_of(c), c->partition, p->high_watermark, 0, p->log_start_offset, 0);
    it = record_batches((struct bytes){p->records.data, p->records.size});
    while (record_batches_next(&it, &batch))
        if (!sim_checker_read(k, topic_of(c), c->partition, batch, c->offset, p->high_watermark,
                              &c->offset))
            return;
    if (c->left > 0)
        c->left--;
}

static void fetch(struct sim_tail *c)
{
    struct fetch_request_partition partition;
    struct fetch_request_topic topic;
    struct fetch_request m;

    fetch_request_init(&m);
    fetch_request_topic_init(&topic);
    fetch_request_partition_init(&partition);
    partition.partition = c->partition;
    partition.fetch_offset = c->offset;
    partition.partition_max_bytes = BYTES_A_FETCH;
    topic.topic_id = topic_of(c)->id;
    topic.partitions = &partition;
    topic.partitions_count = 1;
    m.max_wait_ms = c->task == SIM_TAIL_FOLLOW ? WAIT_MS : 0;
    m.min_bytes = 1;
    m.max_bytes = BYTES_A_FETCH;
    m.topics = &topic;
    m.topics_count = 1;
    sim_connection_send(c->connection, API_FETCH, FETCH_VERSION, &m, on_fetched, c, PATIENCE_US);
}

/* ---- which partition ---- */

static void begin(struct sim_tail *c)
{
    c->used = true;
    c->start = c->offset = c->end = NO_OFFSET;
    c->left = 1 + sim_random_below(&c->random, FETCHES_MAX);
    if (c->connection && c->connection->up)
        sim_connection_close(c->connection);
}

static void choose(struct sim_tail *c)
{
    const struct sim_checker *k = &c->world->checker;

    if (k->topic_count == 0)
        return;
    c->topic = sim_random_below(&c->random, k->topic_count);
    if (!sim_checker_topic_usable(topic_of(c)))
        return;
    c->partition = (int32_t)sim_random_below(&c->random, (uint64_t)topic_of(c)->partition_count);
    begin(c);
}

/* The next there is, from where we are; false: that was all. */
static bool find_next(struct sim_tail *c)
{
    const struct sim_checker *k = &c->world->checker;

    for (; c->topic < k->topic_count; c->topic++, c->partition = 0) {
        if (!sim_checker_topic_usable(topic_of(c)) || c->partition >= topic_of(c)->partition_count)
            continue;
        begin(c);
        return true;
    }
    return false;
}

static void connect(struct sim_tail *c)
{
    struct sim_world *w = c->world;

    if (c->task == SIM_TAIL_FOLLOW && sim_random_below(&c->random, ANYWHERE_ONE_IN) == 0)
        c->connection = sim_world_connect_to(
            w, (unsigned)sim_random_below(&c->random, w->machine_count), &c->random);
    else
        c->connection = sim_directory_connect(&w->directory, c->topic, c->partition, &c->random);
}

static void ask(struct sim_tail *c)
{
    if (!c->connection || !c->connection->up) {
        connect(c);
        if (!c->connection)
            return;
    }
    c->waiting = true;
    c->asked_us = c->world->sched.now_us;
    if (c->start == NO_OFFSET || (c->end == NO_OFFSET && c->task == SIM_TAIL_READ_ALL))
        list(c);
    else
        fetch(c);
}

static void read_on(struct sim_tail *c)
{
    if (!c->used && !find_next(c))
        return;
    if (c->end == NO_OFFSET || c->offset < c->end) {
        ask(c);
        return;
    }
    sim_checker_read_all(&c->world->checker, topic_of(c), c->partition, c->start, c->end);
    c->used = false;
    c->partition++;
}

static void follow(struct sim_tail *c)
{
    if (c->used && (!sim_checker_topic_usable(topic_of(c)) || c->left == 0))
        c->used = false;
    if (!c->used)
        choose(c);
    if (c->used)
        ask(c);
}

static void on_timer(struct timer *t)
{
    struct sim_tail *c = CONTAINER_OF(t, struct sim_tail, timer);
    int64_t delay_us = c->task == SIM_TAIL_READ_ALL
                           ? READ_TICK_US
                           : (int64_t)sim_random_below(&c->random, TICK_US_MAX);

    if (c->waiting && c->world->sched.now_us - c->asked_us > PATIENCE_US)
        sim_connection_close(c->connection);
    if (!c->waiting && c->task == SIM_TAIL_READ_ALL)
        read_on(c);
    else if (!c->waiting && c->task == SIM_TAIL_FOLLOW)
        follow(c);
    if (!c->connection || !c->connection->up)
        delay_us = RETRY_US;
    timer_start(&c->world->loop->base, &c->timer, delay_us);
}

void sim_tail_init(struct sim_tail *c, struct sim_world *w, uint64_t number)
{
    *c = (struct sim_tail){.world = w, .random = sim_random_split(w->seed, 430 + number)};
    timer_init(&w->loop->base, &c->timer, on_timer);
    timer_start(&w->loop->base, &c->timer, RETRY_US);
}

void sim_tail_set(struct sim_tail *c, enum sim_tail_task task)
{
    c->task = task;
    c->used = false;
    c->topic = 0;
    c->partition = 0;
    if (c->connection && c->connection->up)
        sim_connection_close(c->connection);
}

bool sim_tail_done(const struct sim_tail *c)
{
    return c->task == SIM_TAIL_READ_ALL && !c->used && c->topic == c->world->checker.topic_count;
}

void sim_tail_free(struct sim_tail *c)
{
    timer_free(&c->world->loop->base, &c->timer);
}
