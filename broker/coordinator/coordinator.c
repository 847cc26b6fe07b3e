/* One coordinator: who leads, the life of its core, carrying out what the core asks for. */

#include <stdlib.h>

#include "broker/coordinator/coordinator_internal.h"
#include "broker/shard.h"

/* of one step: the records of a group with very many members */
#define EFFECTS_BYTES_MAX ((size_t)1 << 30)

void coordinator_answer(struct group_entry *e, enum kerr code)
{
    e->caller.code = code;
    group_entry_done(e);
}

/* ---- becoming and ceasing to be active ---- */

static void group_config(void *arg, struct str group, struct group_config *out)
{
    coordinators_group_config(((struct coordinator *)arg)->all, group, out);
}

static void coordinator_activate(struct coordinator *c)
{
    const struct shard *s = c->all->shard;
    struct group_core_args args = {
        .partition = c->id.index,
        .settings = &c->all->options->settings,
        .random = s->node->env.random,
        .config = group_config,
        .arg = c,
        .image = s->image,
    };

    c->core = group_core_create(&args);
    if (!c->core)
        return; /* the next look tries again */
    group_core_set_heartbeat_interval(c->core, c->all->heartbeat_interval_ms);
    group_core_set_wall_clock(c->core, coordinators_wall_offset_ms(c->all));
    c->state = COORDINATOR_ACTIVE;
    c->expiry_us =
        clock_monotonic_us(c->all->loop->clock) + c->all->options->retention_check_ms * 1000;
    logger_event(s->logger, LOGGER_DEBUG, "coordinator_active",
                 "partition=%d epoch=%d applied=%lld", c->id.index, c->epoch,
                 (long long)applier_applied(c->applier));
    coordinator_scan_members(c);
    coordinator_scan_topics_deleted(c); /* maybe, while nobody led */
}

/* Everybody who waits is answered; the core is gone. */
static void coordinator_drop_core(struct coordinator *c, enum kerr code)
{
    struct group_caller *answered;

    if (c->state != COORDINATOR_ACTIVE)
        return;
    coordinator_scan_drop(c);
    coordinator_gate_drop(c, KERR_NOT_COORDINATOR);
    group_core_stop(c->core, KERR_NOT_COORDINATOR, &c->fx);
    answered = c->fx.answered;
    while (answered) {
        struct group_entry *e = (struct group_entry *)answered;

        answered = answered->next;
        group_entry_done(e);
    }
    coordinator_write_drop(c, code);
    group_core_free(c->core);
    c->core = NULL;
}

void coordinator_restart(struct coordinator *c, enum kerr code)
{
    coordinator_drop_core(c, code);
    c->state = COORDINATOR_LOADING;
    c->load_until = log_end_offset(c->partition->log);
    /* Not at once: we are in the middle of something of the old core's. */
    coordinator_look_later(c);
}

void coordinator_look(struct coordinator *c)
{
    const struct partition *p = c->partition;
    bool leads = p->state == PARTITION_LEADING;

    if (c->state != COORDINATOR_FOLLOWING && (!leads || p->leader_epoch != c->epoch)) {
        coordinator_drop_core(c, KERR_NOT_COORDINATOR);
        c->state = COORDINATOR_FOLLOWING;
    }
    if (!leads)
        return;
    if (c->state == COORDINATOR_FOLLOWING) {
        c->state = COORDINATOR_LOADING;
        c->epoch = p->leader_epoch;
        c->load_until = p->lead_start_offset;
    }
    if (c->state == COORDINATOR_LOADING && partition_caught_up(p) &&
        applier_applied(c->applier) >= c->load_until)
        coordinator_activate(c);
}

bool coordinator_forgotten(struct coordinator *c)
{
    if (c->partition)
        return false;
    if (!c->look_posted && !c->append_posted)
        free(c);
    return true;
}

static void on_look(struct task *t)
{
    struct coordinator *c = CONTAINER_OF(t, struct coordinator, look_task);

    c->look_posted = false;
    if (coordinator_forgotten(c))
        return;
    coordinator_look(c);
    applier_poke(c->applier);
}

void coordinator_look_later(struct coordinator *c)
{
    if (c->look_posted)
        return;
    c->look_posted = true;
    loop_post(c->all->loop, &c->look_task);
}

static void on_partition_changed(struct partition_watcher *w)
{
    coordinator_look_later(CONTAINER_OF(w, struct coordinator, watcher));
}

/* ---- requests ---- */

void coordinator_run(struct coordinator *c, struct group_entry *e,
                     const struct offset_list *offsets)
{
    /* A handler may answer without a step: then nothing is to be done twice. */
    c->fx.record_count = c->fx.regex_count = 0;
    c->fx.answered = NULL;
    c->fx.overloaded = false;
    e->scatter->run(e, c->core, coordinators_now_ms(c->all), offsets, &c->fx);
    coordinator_carry_out(c);
}

void coordinator_perform(struct coordinator *c, struct group_entry *e)
{
    switch (e->scatter->need) {
    case GROUP_NEED_STEP:
        if (e->scatter->call == GROUP_CONSUMER_HEARTBEAT)
            coordinators_count_heartbeat(c->all);
        coordinator_run(c, e, NULL);
        break;
    case GROUP_NEED_STORE:
        coordinator_read(c, e);
        break;
    case GROUP_NEED_OFFSETS:
    case GROUP_NEED_SETTLED_STORE:
        coordinator_gate_settle(c, e);
        break;
    }
}

/* Nothing that a coordinator in doubt writes is committed before the doubt is over, and its members
 * may have gone on elsewhere. */
static bool in_doubt(const struct coordinator *c)
{
    return shard_in_doubt(c->all->shard, c->id.topic_id, c->id.index);
}

void coordinator_admit(struct coordinator *c, struct group_entry *e)
{
    if (c->state == COORDINATOR_FOLLOWING || in_doubt(c))
        coordinator_answer(e, KERR_NOT_COORDINATOR);
    else if (c->state == COORDINATOR_LOADING)
        coordinator_answer(e, KERR_COORDINATOR_LOAD_IN_PROGRESS);
    else if (coordinator_gate_queue(c, e))
        return;
    else if (group_core_find(c->core, e->group) == GROUP_UNLOADED)
        coordinator_gate_load(c, e);
    else
        coordinator_perform(c, e);
}

/* ---- effects ---- */

static void coordinator_resolve_regexes(struct coordinator *c)
{
    for (size_t i = 0; i < c->fx.regex_count; i++)
        regex_job_start(c, &c->fx.regexes[i]);
}

void coordinator_carry_out(struct coordinator *c)
{
    struct group_caller *answered = c->fx.answered;

    if (c->fx.overloaded) {
        logger_event(c->all->shard->logger, LOGGER_ERROR, "coordinator_out_of_memory",
                     "partition=%d", c->id.index);
        while (answered) {
            struct group_entry *e = (struct group_entry *)answered;

            answered = answered->next;
            coordinator_answer(e, KERR_NOT_COORDINATOR);
        }
        coordinator_restart(c, KERR_NOT_COORDINATOR);
        return;
    }
    /* First the answers: should the step's records not get into the log, they are among those who
     * hear of it. */
    coordinator_write_answers(c, answered);
    coordinator_resolve_regexes(c);
    if (coordinator_write_records(c))
        coordinators_schedule(c->all, group_core_next_deadline(c->core));
}

/* ---- life ---- */

struct coordinator *coordinator_create(struct coordinators *all, struct partition *p)
{
    struct coordinator *c = calloc(1, sizeof *c);

    if (!c)
        return NULL;
    c->all = all;
    c->id.topic_id = p->topic_id;
    c->id.index = p->index;
    c->partition = p;
    c->state = COORDINATOR_FOLLOWING;
    c->look_task.run = on_look;
    c->applier = applier_create(&all->applier_env, p, STATE_TOPIC_CONSUMER_OFFSETS, c);
    if (!c->applier) {
        free(c);
        return NULL;
    }
    arena_init(&c->fx.arena, EFFECTS_BYTES_MAX);
    coordinator_write_init(c);
    c->watcher.changed = on_partition_changed;
    partition_watch(p, &c->watcher);
    coordinator_look_later(c);
    return c;
}

void coordinator_free(struct coordinator *c)
{
    coordinator_drop_core(c, KERR_NOT_COORDINATOR);
    partition_unwatch(&c->watcher);
    applier_free(c->applier);
    coordinator_write_free(c);
    arena_free(&c->fx.arena);
    c->partition = NULL;
    (void)coordinator_forgotten(c);
}
