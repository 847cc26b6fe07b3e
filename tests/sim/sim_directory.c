#include "tests/sim/sim_directory.h"

#include <stdlib.h>

#include "protocol/base/check.h"
#include "protocol/messages/metadata.h"
#include "tests/sim/sim_world.h"

#define LOOK_US_MIN    30000
#define LOOK_US_MAX    150000
#define RETRY_US       20000
#define PATIENCE_US    (2 * 1000 * 1000)
#define ANOTHER_ONE_IN 3 /* asks another node next */

static void make_room(struct sim_directory *d)
{
    const size_t count = d->world->checker.topic_count;

    if (count <= d->topic_count)
        return;
    d->leaders = realloc(d->leaders, count * sizeof d->leaders[0]);
    CHECK(d->leaders != NULL);
    for (; d->topic_count < count; d->topic_count++)
        for (size_t i = 0; i < SIM_PARTITIONS_MAX; i++)
            d->leaders[d->topic_count][i] = -1;
}

static void take(struct sim_directory *d, const struct metadata_response_topic *m)
{
    const struct sim_topic *t = sim_checker_topic(&d->world->checker, m->topic_id);

    if (!t)
        return;
    for (size_t i = 0; i < m->partitions_count; i++)
        if (m->partitions[i].partition_index < SIM_PARTITIONS_MAX)
            d->leaders[t - d->world->checker.topics][m->partitions[i].partition_index] =
                m->partitions[i].leader_id;
}

static void on_metadata(struct sim_answer *a)
{
    const struct metadata_response *m = a->message;
    struct sim_directory *d = a->context;

    d->waiting = false;
    if (!m)
        return;
    make_room(d);
    for (size_t i = 0; i < m->topics_count; i++)
        take(d, &m->topics[i]);
    if (sim_random_below(&d->random, ANOTHER_ONE_IN) == 0)
        sim_connection_close(d->connection);
}

static void ask(struct sim_directory *d)
{
    struct metadata_request m;

    metadata_request_init(&m);
    m.topics = NULL;
    m.allow_auto_topic_creation = false;
    d->waiting = true;
    d->asked_us = d->world->sched.now_us;
    sim_connection_send(d->connection, API_METADATA, 12, &m, on_metadata, d, PATIENCE_US);
}

static void on_timer(struct timer *t)
{
    struct sim_directory *d = CONTAINER_OF(t, struct sim_directory, timer);
    int64_t delay_us = sim_random_between(&d->random, LOOK_US_MIN, LOOK_US_MAX);

    if (d->waiting && d->world->sched.now_us - d->asked_us > PATIENCE_US)
        sim_connection_close(d->connection);
    if (!d->connection || !d->connection->up) {
        d->connection = sim_world_connect_to(
            d->world, (unsigned)sim_random_below(&d->random, d->world->machine_count), &d->random);
        delay_us = RETRY_US;
    }
    if (d->connection && !d->waiting)
        ask(d);
    timer_start(&d->world->loop->base, &d->timer, delay_us);
}

struct sim_connection *sim_directory_connect(struct sim_directory *d, size_t topic,
                                             int32_t partition, struct sim_random *random)
{
    int32_t leader = topic < d->topic_count ? d->leaders[topic][partition] : -1;

    return leader > 0 ? sim_world_connect_to(d->world, (unsigned)leader - 1, random) : NULL;
}

void sim_directory_init(struct sim_directory *d, struct sim_world *w)
{
    *d = (struct sim_directory){.world = w, .random = sim_random_split(w->seed, 401)};
    timer_init(&w->loop->base, &d->timer, on_timer);
    timer_start(&w->loop->base, &d->timer, RETRY_US);
}

void sim_directory_free(struct sim_directory *d)
{
    timer_free(&d->world->loop->base, &d->timer);
    free(d->leaders);
}
