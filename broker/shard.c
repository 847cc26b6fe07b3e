#include "broker/shard.h"

#include <stdlib.h>
#include <utlist.h>

#include "broker/connection.h"
#include "broker/coordinator/coordinators.h"
#include "broker/fetch.h"
#include "broker/fetch_session_core.h"
#include "broker/hosting.h"
#include "broker/isr_changes.h"
#include "broker/live_settings.h"
#include "broker/parting.h"
#include "broker/produce.h"
#include "broker/replica_fetcher.h"
#include "broker/storage_dirs.h"
#include "broker/topic_creation.h"
#include "broker/unsure.h"
#include "broker/verify.h"

#define CONNECTION_TICK_US (1000 * 1000)
/* min.incremental.fetch.session.eviction.ms of Kafka, a constant there */
#define SESSION_EVICTION_MS 120000
/* Of the node's fetch sessions: some 300,000 partitions. Without a bound whoever asks for many, and
 * there need not be any, would take memory for as long as the cache has slots. */
#define SESSION_BYTES_MAX ((size_t)64 << 20)
/* with log.flush.before.ack=false nobody waits for a flush */
#define LAZY_FLUSH_DELAY_US (1000 * 1000)

/* ---- the node's budget ---- */

void shard_charge_bytes(struct shard *s, size_t size)
{
    atomic_fetch_add_explicit(&s->node->request_bytes, size, memory_order_relaxed);
}

bool shard_over_budget(const struct shard *s)
{
    return atomic_load_explicit(&s->node->request_bytes, memory_order_relaxed) >
           s->node->request_bytes_max;
}

void shard_count_stall(struct shard *s)
{
    atomic_store(&s->stalled, true);
    atomic_fetch_add(&s->node->stalled_shards, 1);
}

/* Wakes the shards whose connections wait, once there is room again. */
void shard_release_bytes(struct shard *s, size_t size)
{
    struct node *n = s->node;

    atomic_fetch_sub_explicit(&n->request_bytes, size, memory_order_relaxed);
    if (atomic_load_explicit(&n->stalled_shards, memory_order_relaxed) == 0 || shard_over_budget(s))
        return;
    for (size_t i = 0; i < n->shard_count; i++)
        if (atomic_exchange(&n->shards[i]->stalled, false))
            loop_post(n->shards[i]->loop, &n->shards[i]->resume);
}

static void on_resume(struct task *t)
{
    struct shard *s = CONTAINER_OF(t, struct shard, resume);

    connections_resume(s);
}

/* ---- connections ---- */

void shard_connection_opened(struct shard *s, struct connection *c)
{
    connection_link(s, c);
}

void shard_connection_closed(struct shard *s, struct connection *c)
{
    if (c)
        connection_unlink(s, c);
    atomic_fetch_sub(&s->connection_count, 1);
}

static void on_connection_timer(struct timer *t)
{
    struct shard *s = CONTAINER_OF(t, struct shard, connection_timer);

    connections_tick(s, clock_monotonic_us(s->loop->clock));
    frames_trim(&s->frames);
    timer_start(s->loop, &s->connection_timer, CONNECTION_TICK_US);
}

/* ---- upkeep ---- */

static void on_upkeep(struct timer *t)
{
    struct shard *s = CONTAINER_OF(t, struct shard, upkeep);

    hosting_maintain(s);
    timer_start(s->loop, &s->upkeep, s->node->options->retention_check_ms * 1000);
}

void shard_image_changed(struct shard *s, const struct metadata_image *image,
                         const struct metadata_delta *delta)
{
    const struct metadata_image *old = s->image;

    if (s->closing)
        return;
    s->image = metadata_image_acquire(image);
    if (s->index == 0 && (delta->configs_changed || delta->snapshot || !old)) {
        replica_throttle_set_rate(&s->node->leader_throttle,
                                  live_integer(s, "leader.replication.throttled.rate"));
        replica_throttle_set_rate(&s->node->follower_throttle,
                                  live_integer(s, "follower.replication.throttled.rate"));
    }
    hosting_image_changed(s, delta);
    replica_fetchers_image_changed(s, delta);
    coordinators_image_changed(s, delta);
    topic_creation_image_changed(s);
    if (delta->brokers_changed || delta->snapshot)
        unsure_brokers_changed(s);
    metadata_image_release(old);
}

/* ---- life ---- */

static bool shard_create_flushers(struct shard *s)
{
    const struct node *n = s->node;

    s->flushers = calloc(n->dir_count, sizeof(struct flusher *));
    if (!s->flushers)
        return false;
    for (size_t i = 0; i < n->dir_count; i++) {
        struct flusher_args args = {
            .loop = s->loop,
            .pool = n->env.pool,
            .files = n->env.files,
            .directory = storage_dirs_path(n->dirs, i),
            .delay_us = n->options->flush_before_ack ? 0 : LAZY_FLUSH_DELAY_US,
        };

        s->flushers[i] = flusher_create(&args);
        if (!s->flushers[i])
            return false;
    }
    return true;
}

static void shard_fill(struct shard *s)
{
    const struct node_options *o = s->node->options;

    s->logger = s->node->env.logger;
    s->frame_bytes_max = o->frame_bytes_max;
    s->idle_us_max = o->idle_ms_max * 1000;
    s->resume.run = on_resume;
    s->partition_env = (struct partition_env){
        .loop = s->loop,
        .pool = s->node->env.pool,
        .files = s->node->env.files,
        .clock = s->node->env.clock,
        .logger = s->logger,
        .node_id = o->node_id,
        .flush_before_ack = o->flush_before_ack,
        .producer_id_expiration_ms = o->producer_id_expiration_ms,
    };
}

struct shard *shard_create(struct node *node, size_t index, struct loop *loop,
                           struct event_base *events)
{
    struct shard *s = calloc(1, sizeof *s);
    struct fetch_sessions_args sessions = {
        .slots = (size_t)node->options->fetch_sessions_max / node->shard_count + 1,
        .bytes_max = SESSION_BYTES_MAX / node->shard_count,
        .eviction_ms = SESSION_EVICTION_MS,
        .modulus = (int32_t)node->shard_count,
        .residue = (int32_t)index,
    };

    if (!s)
        return NULL;
    s->node = node;
    s->index = index;
    s->loop = loop;
    s->events = events;
    shard_fill(s);
    hosting_init(s);
    produce_init(s);
    fetch_init(s);
    unsure_init(s);
    timer_init(loop, &s->upkeep, on_upkeep);
    timer_init(loop, &s->connection_timer, on_connection_timer);
    s->scratch = compression_scratch_new();
    s->replica_fetchers = replica_fetchers_create(s);
    s->coordinators = coordinators_create(s);
    s->fetch_sessions = fetch_sessions_create(&sessions);
    if (!s->scratch || !s->replica_fetchers || !s->coordinators || !s->fetch_sessions ||
        !shard_create_flushers(s)) {
        shard_free(s);
        return NULL;
    }
    return s;
}

void shard_start(struct shard *s)
{
    timer_start(s->loop, &s->upkeep, s->node->options->retention_check_ms * 1000);
    isr_changes_start(s);
    if (s->events)
        timer_start(s->loop, &s->connection_timer, CONNECTION_TICK_US);
}

void shard_stop(struct shard *s, bool clean)
{
    timer_stop(s->loop, &s->upkeep);
    timer_stop(s->loop, &s->connection_timer);
    if (s->events)
        connections_close_all(s, "the broker is stopping");
    produce_abort_all(s, KERR_NOT_LEADER_OR_FOLLOWER);
    topic_creation_stop(s);
    unsure_stop(s);
    parting_stop(s);
    hosting_close_all(s, clean);
}

void shard_free(struct shard *s)
{
    timer_free(s->loop, &s->upkeep);
    hosting_free(s);
    isr_changes_end(s);
    unsure_end(s);
    timer_free(s->loop, &s->connection_timer);
    timer_free(s->loop, &s->produce_timer);
    for (size_t i = 0; s->flushers && i < s->node->dir_count; i++)
        if (s->flushers[i])
            flusher_free(s->flushers[i]);
    free(s->flushers);
    verify_free(s->verify);
    if (s->fetch_sessions)
        fetch_sessions_free(s->fetch_sessions);
    frames_free_spare(&s->frames);
    coordinators_free(s->coordinators);
    replica_fetchers_free(s->replica_fetchers);
    compression_scratch_free(s->scratch);
    metadata_image_release(s->image);
    metadata_image_release(s->served_since);
    free(s);
}
