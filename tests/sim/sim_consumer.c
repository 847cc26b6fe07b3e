/* A consumer: reads some partitions from their starts on, by fetch sessions, and judges all it is
 * given. */

#include <inttypes.h>

#include "protocol/base/check.h"
#include "protocol/base/kerr.h"
#include "protocol/messages/fetch.h"
#include "protocol/record_batch.h"
#include "tests/sim/sim_world.h"

#define TICK_US_MAX    5000
#define RETRY_US       15000
#define WAIT_MS_MAX    300
#define PART_BYTES_MAX 6000
#define VERSION_BY_ID  13
#define VERSION_MAX    17
#define ANSWER_US_MAX  (3 * 1000 * 1000)

static struct sim_checker *checker(struct sim_consumer *c)
{
    return &c->world->checker;
}

static struct sim_topic *topic_of(struct sim_consumer *c, const struct sim_consumed *part)
{
    return &checker(c)->topics[part->topic];
}

/* ---- what to read ---- */

static bool has_part(const struct sim_consumer *c, size_t topic, int32_t partition)
{
    for (size_t i = 0; i < c->part_count; i++)
        if (c->parts[i].topic == topic && c->parts[i].partition == partition)
            return true;
    return false;
}

/* Partitions of a new session. Names are only good for topics that are never deleted. */
static void choose_parts(struct sim_consumer *c)
{
    struct sim_checker *k = checker(c);

    c->part_count = 0;
    c->by_name = sim_random_chance(&c->random, 25);
    c->version = c->by_name ? VERSION_BY_ID - 1
                            : (int16_t)sim_random_between(&c->random, VERSION_BY_ID, VERSION_MAX);
    for (size_t tries = 0;
         tries < 2 * SIM_CONSUMED_MAX && c->part_count < SIM_CONSUMED_MAX && k->topic_count;
         tries++) {
        size_t topic = sim_random_below(&c->random, k->topic_count);
        int32_t partition =
            (int32_t)sim_random_below(&c->random, (uint64_t)k->topics[topic].partition_count);

        if (!sim_checker_topic_usable(&k->topics[topic]) ||
            (c->by_name && !k->topics[topic].lasting) || has_part(c, topic, partition))
            continue;
        c->parts[c->part_count++] = (struct sim_consumed){
            .topic = topic,
            .partition = partition,
            .offset = k->topics[topic].partitions[partition].log_start,
        };
    }
    c->session_id = c->session_epoch = 0;
}

/* ---- what comes back ---- */

static struct sim_consumed *find_part(struct sim_consumer *c,
                                      const struct fetch_response_fetchable_topic_response *t,
                                      int32_t partition)
{
    for (size_t i = 0; i < c->part_count; i++) {
        const struct sim_topic *topic = topic_of(c, &c->parts[i]);

        if (c->parts[i].partition == partition &&
            (c->by_name ? str_equal(str_from(topic->name), t->topic)
                        : uuid_equal(topic->id, t->topic_id)))
            return &c->parts[i];
    }
    return NULL;
}

static void read_batches(struct sim_consumer *c, struct sim_consumed *part,
                         const struct fetch_response_partition_data *r)
{
    struct record_batches it = record_batches((struct bytes){r->records.data, r->records.size});
    struct bytes batch;

    while (record_batches_next(&it, &batch)) {
        if (!sim_checker_read(checker(c), topic_of(c, part), part->partition, batch, part->offset,
                              r->high_watermark, &part->offset))
            return;
        part->changed = true;
    }
    if (it.rest.size > 0 && !topic_of(c, part)->partitions[part->partition].damaged)
        sim_world_fail(c->world, "%s-%d: %zu bytes at the end of a fetch are no whole batch",
                       topic_of(c, part)->name, part->partition, it.rest.size);
}

/* Allowed when the log start has passed us by, or after a loss that was no breach of promise. */
static void out_of_range(struct sim_consumer *c, struct sim_consumed *part)
{
    const struct sim_topic *t = topic_of(c, part);
    const struct sim_partition *p = &t->partitions[part->partition];

    if (part->offset >= p->deleted_to && !t->retention && part->offset <= p->ends[SIM_DURABLE] &&
        part->offset >= p->log_start && !sim_checker_may_lose(checker(c)))
        sim_world_fail(c->world, "%s-%d: offset %" PRId64 " is told to be out of range", t->name,
                       part->partition, part->offset);
}

static bool is_damaged(struct sim_consumer *c, const struct sim_consumed *part)
{
    return topic_of(c, part)->partitions[part->partition].damaged;
}

static bool is_expected(struct sim_consumer *c, struct sim_consumed *part, enum kerr code)
{
    switch (code) {
    case KERR_OFFSET_OUT_OF_RANGE:
        out_of_range(c, part);
        return true;
    case KERR_UNKNOWN_TOPIC_OR_PARTITION:
    case KERR_UNKNOWN_TOPIC_ID:
    case KERR_NOT_LEADER_OR_FOLLOWER:
        return true;
    case KERR_KAFKA_STORAGE_ERROR:
        return !sim_world_is_calm(c->world);
    default:
        return false;
    }
}

static void on_partition(struct sim_consumer *c, struct sim_consumed *part,
                         const struct fetch_response_partition_data *r)
{
    if (r->error_code != KERR_NONE) {
        part->lost = true;
        if (!is_damaged(c, part) && !is_expected(c, part, (enum kerr)r->error_code))
            sim_world_fail(c->world, "%s-%d: fetch was answered with %s", topic_of(c, part)->name,
                           part->partition, kerr_name((enum kerr)r->error_code));
        return;
    }
    sim_checker_saw(checker(c), topic_of(c, part), part->partition, r->high_watermark,
                    part->watermark_floor, r->log_start_offset, part->log_start_floor);
    if (r->last_stable_offset > r->high_watermark)
        sim_world_fail(c->world, "%s-%d: last stable offset above the high watermark",
                       topic_of(c, part)->name, part->partition);
    read_batches(c, part, r);
}

static void on_topics(struct sim_consumer *c, const struct fetch_response *m)
{
    for (size_t i = 0; i < m->responses_count; i++)
        for (size_t j = 0; j < m->responses[i].partitions_count; j++) {
            const struct fetch_response_partition_data *r = &m->responses[i].partitions[j];
            struct sim_consumed *part = find_part(c, &m->responses[i], r->partition_index);

            if (part)
                on_partition(c, part, r);
            else
                sim_world_fail(c->world, "fetch: an answer for a partition that was not asked for");
        }
}

static bool any_lost(const struct sim_consumer *c)
{
    for (size_t i = 0; i < c->part_count; i++)
        if (c->parts[i].lost)
            return true;
    return false;
}

static void on_fetched(struct sim_answer *a)
{
    const struct fetch_response *m = a->message;
    struct sim_consumer *c = a->context;

    c->waiting = false;
    if (!m)
        return;
    if (m->error_code != KERR_NONE) {
        if (m->error_code != KERR_FETCH_SESSION_ID_NOT_FOUND)
            sim_world_fail(c->world, "fetch was answered with %s",
                           kerr_name((enum kerr)m->error_code));
        c->part_count = 0;
        return;
    }
    on_topics(c, m);
    c->session_id = m->session_id;
    c->session_epoch = m->session_id ? c->session_epoch + 1 : 0;
    if (any_lost(c) || sim_random_below(&c->random, 60) == 0)
        c->part_count = 0;
}

/* ---- asking ---- */

static void ask(struct sim_consumer *c)
{
    struct fetch_request_topic topics[SIM_CONSUMED_MAX];
    struct fetch_request_partition partitions[SIM_CONSUMED_MAX];
    struct fetch_request m;
    size_t count = 0;

    for (size_t i = 0; i < c->part_count; i++) {
        struct sim_consumed *part = &c->parts[i];
        const struct sim_topic *t = topic_of(c, part);
        const struct sim_partition *p = &t->partitions[part->partition];

        part->watermark_floor = p->high_watermark;
        part->log_start_floor = p->log_start;
        if (c->session_id && !part->changed)
            continue;
        part->changed = false;
        fetch_request_partition_init(&partitions[count]);
        partitions[count].partition = part->partition;
        partitions[count].fetch_offset = part->offset;
        partitions[count].partition_max_bytes =
            (int32_t)sim_random_below(&c->random, PART_BYTES_MAX);
        fetch_request_topic_init(&topics[count]);
        topics[count].topic = str_from(t->name);
        topics[count].topic_id = t->id;
        topics[count].partitions = &partitions[count];
        topics[count].partitions_count = 1;
        count++;
    }
    fetch_request_init(&m);
    m.max_wait_ms = (int32_t)sim_random_below(&c->random, WAIT_MS_MAX);
    m.min_bytes =
        sim_random_chance(&c->random, 70) ? 1 : (int32_t)sim_random_below(&c->random, 5000);
    m.max_bytes =
        sim_random_chance(&c->random, 80) ? 1 << 20 : (int32_t)sim_random_below(&c->random, 3000);
    m.isolation_level = sim_random_chance(&c->random, 30);
    m.session_id = c->session_id;
    m.session_epoch = c->session_epoch;
    m.topics = topics;
    m.topics_count = count;
    c->waiting = true;
    sim_connection_send(c->connection, API_FETCH, c->version, &m, on_fetched, c, ANSWER_US_MAX);
}

static void on_timer(struct timer *t)
{
    struct sim_consumer *c = CONTAINER_OF(t, struct sim_consumer, timer);

    if (c->connection && c->connection->up && sim_random_below(&c->random, 200) == 0)
        sim_connection_close(c->connection);
    if (!c->connection || !c->connection->up) {
        c->connection = sim_world_connect(c->world, &c->random);
        c->part_count = 0;
    }
    if (c->connection && !c->waiting) {
        if (c->part_count == 0)
            choose_parts(c);
        if (c->part_count > 0)
            ask(c);
    }
    timer_start(&c->world->loop->base, &c->timer,
                c->connection ? (int64_t)sim_random_below(&c->random, TICK_US_MAX) : RETRY_US);
}

void sim_consumer_init(struct sim_consumer *c, struct sim_world *w, uint64_t number)
{
    *c = (struct sim_consumer){.world = w, .random = sim_random_split(w->seed, 200 + number)};
    timer_init(&w->loop->base, &c->timer, on_timer);
    timer_start(&w->loop->base, &c->timer, (int64_t)sim_random_below(&c->random, RETRY_US));
}

void sim_consumer_free(struct sim_consumer *c)
{
    timer_free(&c->world->loop->base, &c->timer);
}
