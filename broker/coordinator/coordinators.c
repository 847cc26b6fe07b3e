/* The coordinators of a shard: which partitions they are for, their timers, what they tell the
 * node. */

#include "broker/coordinator/coordinators.h"

#include <stdlib.h>

#include "broker/coordinator/coordinator_internal.h"
#include "broker/coordinator/heartbeat_pace.h"
#include "broker/coordinator/state_home.h"
#include "broker/hosting.h"
#include "broker/internal_topics.h"
#include "broker/shard.h"

#define SWEEP_US       (200 * 1000)  /* how late a commit's time-out may come */
#define PACE_US        (1000 * 1000) /* heartbeats are counted over so long */
#define TICKS_A_TURN   256           /* groups handled before others get their turn */
#define EVICT_AFTER_MS 60000         /* without members, and nobody asked */
#define EVICT_LOOKS    64            /* of each coordinator, in each sweep */

int64_t coordinators_now_ms(const struct coordinators *all)
{
    return clock_monotonic_us(all->loop->clock) / 1000;
}

int64_t coordinators_wall_offset_ms(const struct coordinators *all)
{
    return clock_wall_ms(all->loop->clock) - coordinators_now_ms(all);
}

/* ---- jobs in the pool ---- */

void coordinators_job_started(struct coordinators *all)
{
    all->jobs++;
}

void coordinators_job_ended(struct coordinators *all)
{
    all->jobs--;
    hosting_maybe_emptied(all->shard);
}

bool coordinators_idle(const struct coordinators *all)
{
    return all->jobs == 0;
}

/* ---- the cores' deadlines ---- */

void coordinators_schedule(struct coordinators *all, int64_t at_ms)
{
    int64_t delay_ms;

    if (at_ms >= all->tick_at_ms)
        return;
    all->tick_at_ms = at_ms;
    delay_ms = at_ms - coordinators_now_ms(all);
    timer_start(all->loop, &all->tick_timer, delay_ms > 0 ? delay_ms * 1000 : 0);
}

/* False: there is more to do. */
static bool coordinator_tick(struct coordinator *c, int64_t now_ms)
{
    for (int i = 0; c->state == COORDINATOR_ACTIVE && group_core_next_deadline(c->core) <= now_ms;
         i++) {
        if (i == TICKS_A_TURN)
            return false;
        group_core_tick(c->core, now_ms, &c->fx);
        coordinator_carry_out(c);
    }
    return true;
}

static void on_tick(struct timer *t)
{
    struct coordinators *all = CONTAINER_OF(t, struct coordinators, tick_timer);
    int64_t now_ms = coordinators_now_ms(all);
    struct coordinator *c, *next;

    all->tick_at_ms = INT64_MAX;
    HASH_ITER(hh, all->all, c, next)
    {
        if (!coordinator_tick(c, now_ms))
            coordinators_schedule(all, now_ms);
        else if (c->state == COORDINATOR_ACTIVE)
            coordinators_schedule(all, group_core_next_deadline(c->core));
    }
}

/* ---- heartbeats ---- */

void coordinators_count_heartbeat(struct coordinators *all)
{
    atomic_fetch_add_explicit(&all->shard->node->consumer_heartbeats, 1, memory_order_relaxed);
}

/* One shard looks at the load of the node; all of them follow. */
static void coordinators_pace(struct coordinators *all, int64_t now_us)
{
    struct node *n = all->shard->node;
    int64_t elapsed_ms = (now_us - all->paced_us) / 1000;
    int64_t heartbeats;

    if (all->shard->index != 0 || now_us - all->paced_us < PACE_US)
        return;
    all->paced_us = now_us;
    heartbeats = atomic_exchange(&n->consumer_heartbeats, 0);
    atomic_store(&n->heartbeat_interval_ms,
                 heartbeat_pace(heartbeats, elapsed_ms, atomic_load(&n->heartbeat_interval_ms),
                                all->options->group.consumer_heartbeat_interval_ms));
}

static void coordinators_follow_pace(struct coordinators *all)
{
    int32_t interval_ms = atomic_load(&all->shard->node->heartbeat_interval_ms);
    struct coordinator *c, *next;

    if (interval_ms == all->heartbeat_interval_ms)
        return;
    all->heartbeat_interval_ms = interval_ms;
    HASH_ITER(hh, all->all, c, next)
    if (c->state == COORDINATOR_ACTIVE)
        group_core_set_heartbeat_interval(c->core, interval_ms);
}

/* ---- now and then ---- */

static void coordinator_sweep(struct coordinator *c, int64_t now_us)
{
    if (c->state == COORDINATOR_LOADING)
        coordinator_look(c); /* it had no memory, maybe */
    if (c->state != COORDINATOR_ACTIVE)
        return;
    /* it may have been set */
    group_core_set_wall_clock(c->core, coordinators_wall_offset_ms(c->all));
    coordinator_write_expire(c, now_us);
    coordinator_gate_expire(c, now_us);
    coordinator_scan_expiry(c, now_us);
    coordinator_scan_deleted(c);
    if (c->state == COORDINATOR_ACTIVE && c->all->listings == 0)
        group_core_evict(c->core, now_us / 1000 - EVICT_AFTER_MS, EVICT_LOOKS);
}

static void on_sweep(struct timer *t)
{
    struct coordinators *all = CONTAINER_OF(t, struct coordinators, sweep_timer);
    int64_t now_us = clock_monotonic_us(all->loop->clock);
    struct coordinator *c, *next;

    coordinators_pace(all, now_us);
    coordinators_follow_pace(all);
    HASH_ITER(hh, all->all, c, next)
    coordinator_sweep(c, now_us);
    timer_start(all->loop, &all->sweep_timer, SWEEP_US);
}

static void on_linger(struct timer *t)
{
    struct coordinators *all = CONTAINER_OF(t, struct coordinators, linger_timer);
    struct coordinator *c, *next;

    all->lingering = false;
    HASH_ITER(hh, all->all, c, next)
    coordinator_write_append(c);
}

/* ---- settings of groups ---- */

static int32_t group_setting(const struct config_layers *layers, const char *name, int32_t fallback)
{
    const struct config_def *def = config_def_find(CONFIG_OF_GROUP, str_from(name));
    struct config_resolved resolved;
    int64_t value;

    config_resolve(CONFIG_OF_GROUP, def, layers, &resolved);
    return config_parse_integer(resolved.value, CONFIG_INT, &value) ? (int32_t)value : fallback;
}

void coordinators_group_config(const struct coordinators *all, struct str group,
                               struct group_config *out)
{
    const struct shard *s = all->shard;
    const struct config_set *set = metadata_image_configs(s->image, CONFIG_RESOURCE_GROUP, group);
    struct config_layers layers;

    *out = all->options->group;
    if (!set)
        return;
    layers =
        metadata_image_layers(s->image, s->node->options->node_id, s->node->options->config, set);
    out->consumer_session_timeout_ms =
        group_setting(&layers, "consumer.session.timeout.ms", out->consumer_session_timeout_ms);
    out->consumer_heartbeat_interval_ms = group_setting(&layers, "consumer.heartbeat.interval.ms",
                                                        out->consumer_heartbeat_interval_ms);
    out->consumer_assignment_interval_ms = group_setting(&layers, "consumer.assignment.interval.ms",
                                                         out->consumer_assignment_interval_ms);
}

/* ---- partitions ---- */

static struct coordinator *coordinators_find(const struct coordinators *all,
                                             const struct partition *p)
{
    struct coordinator_key key;
    struct coordinator *c;

    memset(&key, 0, sizeof key);
    key.topic_id = p->topic_id;
    key.index = p->index;
    HASH_FIND(hh, all->all, &key, sizeof key, c);
    return c;
}

void coordinators_add(struct shard *s, struct partition *p)
{
    struct coordinators *all = s->coordinators;
    struct coordinator *c;

    if (!str_equal(p->topic, TOPIC_CONSUMER_OFFSETS) || !p->log || all->stopped)
        return;
    c = coordinator_create(all, p);
    if (!c) {
        logger_event(s->logger, LOGGER_ERROR, "coordinator_out_of_memory", "partition=%d",
                     p->index);
        return;
    }
    HASH_ADD(hh, all->all, id, sizeof c->id, c);
    if (!all->sweeping) {
        all->sweeping = true;
        all->paced_us = clock_monotonic_us(all->loop->clock);
        timer_start(all->loop, &all->sweep_timer, SWEEP_US);
    }
    if (all->store)
        applier_store_ready(c->applier, all->store);
    else
        state_home_want(s->node->state_home);
}

void coordinators_remove(struct shard *s, struct partition *p)
{
    struct coordinators *all = s->coordinators;
    struct coordinator *c = coordinators_find(all, p);

    if (!c)
        return;
    HASH_DEL(all->all, c);
    coordinator_free(c);
}

void coordinators_image_changed(struct shard *s, const struct metadata_delta *delta)
{
    bool deleted = delta->removed_topic_count > 0 || delta->snapshot;
    struct coordinator *c, *next;

    HASH_ITER(hh, s->coordinators->all, c, next)
    {
        if (c->state != COORDINATOR_ACTIVE)
            continue;
        group_core_set_image(c->core, s->image);
        if (!deleted)
            continue;
        coordinator_scan_topics_deleted(c);
        coordinator_scan_deleted(c);
    }
}

/* ---- the state store ---- */

void coordinators_store_ready(struct shard *s, struct state_store *store)
{
    struct coordinators *all = s->coordinators;
    struct coordinator *c, *next;

    if (all->stopped)
        return;
    all->store = store;
    all->generation = state_store_generation(store);
    HASH_ITER(hh, all->all, c, next)
    {
        if (c->state == COORDINATOR_ACTIVE) /* its groups are what the store before said */
            coordinator_restart(c, KERR_NOT_COORDINATOR);
        applier_store_ready(c->applier, store);
    }
}

void coordinators_store_failed(struct coordinators *all)
{
    state_home_failed(all->shard->node->state_home, all->generation);
}

static void on_store_failed(void *arg, uint64_t generation)
{
    state_home_failed(((struct coordinators *)arg)->shard->node->state_home, generation);
}

static void on_wrote(void *arg, size_t size)
{
    state_home_applied(((struct coordinators *)arg)->shard->node->state_home, size);
}

static void on_applier_moved(void *owner, struct applier *a)
{
    struct coordinator *c = owner;
    int64_t applied = applier_applied(a);

    if (c->state == COORDINATOR_ACTIVE && applied < 0)
        coordinator_restart(c, KERR_NOT_COORDINATOR);
    else if (c->state == COORDINATOR_ACTIVE)
        coordinator_write_applied(c, applied);
    else
        coordinator_look(c);
}

static void on_job_started(void *arg)
{
    coordinators_job_started(arg);
}

static void on_job_ended(void *arg)
{
    coordinators_job_ended(arg);
}

/* ---- life ---- */

struct coordinators *coordinators_create(struct shard *s)
{
    struct coordinators *all = calloc(1, sizeof *all);

    if (!all)
        return NULL;
    all->shard = s;
    all->loop = s->loop;
    all->options = &s->node->options->coordinator;
    all->tick_at_ms = INT64_MAX;
    all->heartbeat_interval_ms = atomic_load(&s->node->heartbeat_interval_ms);
    all->applier_env = (struct applier_env){
        .loop = s->loop,
        .pool = s->node->env.pool,
        .logger = s->logger,
        .scratch = s->scratch,
        .moved = on_applier_moved,
        .store_failed = on_store_failed,
        .wrote = on_wrote,
        .job_started = on_job_started,
        .job_ended = on_job_ended,
        .arg = all,
    };
    timer_init(s->loop, &all->tick_timer, on_tick);
    timer_init(s->loop, &all->sweep_timer, on_sweep);
    timer_init(s->loop, &all->linger_timer, on_linger);
    return all;
}

void coordinators_stop(struct coordinators *all)
{
    all->stopped = true;
    timer_stop(all->loop, &all->tick_timer);
    timer_stop(all->loop, &all->sweep_timer);
    timer_stop(all->loop, &all->linger_timer);
    regex_queue_clear(&all->regexes);
}

void coordinators_free(struct coordinators *all)
{
    if (!all)
        return;
    regex_queue_clear(&all->regexes);
    timer_free(all->loop, &all->tick_timer);
    timer_free(all->loop, &all->sweep_timer);
    timer_free(all->loop, &all->linger_timer);
    free(all);
}
