#include "replication/partition_internal.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "protocol/base/check.h"
#include "replication/partition_clean.h"

static void partition_flushed(struct flusher_entry *e, struct status result);

struct partition *partition_create(struct partition_env *env, struct str topic,
                                   struct uuid topic_id, int32_t index)
{
    struct partition *p = calloc(1, sizeof *p + topic.size + 1);
    char *name;

    if (!p)
        return NULL;
    name = (char *)(p + 1);
    memcpy(name, topic.data, topic.size);
    p->env = env;
    p->topic = (struct str){name, topic.size};
    p->topic_id = topic_id;
    p->index = index;
    p->leader_id = -1;
    p->leader_epoch = -1;
    p->fetching.topic_id = topic_id;
    p->fetching.index = index;
    p->state = PARTITION_OPENING;
    return p;
}

/* ---- those who wait ---- */

int64_t partition_watermark(const struct partition *p)
{
    return p->state == PARTITION_LEADING ? p->isr.high_watermark : p->high_watermark;
}

static void wake(struct partition_watcher *list)
{
    struct partition_watcher *w, *next;

    DL_FOREACH_SAFE(list, w, next)
    w->changed(w);
}

void partition_wake_end_watchers(struct partition *p)
{
    wake(p->end_watchers);
}

void partition_wake_watchers(struct partition *p)
{
    wake(p->watchers);
    wake(p->end_watchers);
}

static void fail_all(struct watermark_waiter **list, enum kerr code)
{
    struct watermark_waiter *w;

    while ((w = *list)) {
        DL_DELETE(*list, w);
        w->reached(w, code);
    }
}

void partition_fail_waiters(struct partition *p, enum kerr code)
{
    fail_all(&p->waiters, code);
    fail_all(&p->low_waiters, code);
}

/* In order of offset. Appends arrive so; who sends a batch again waits for where it is. */
bool partition_wait(struct partition *p, struct watermark_waiter *w)
{
    struct watermark_waiter *at = p->waiters ? p->waiters->prev : NULL;

    if (partition_watermark(p) >= w->offset)
        return true;
    while (at && at->offset > w->offset)
        at = at == p->waiters ? NULL : at->prev;
    if (at)
        DL_APPEND_ELEM(p->waiters, at, w);
    else
        DL_PREPEND(p->waiters, w);
    return false;
}

void partition_unwait(struct partition *p, struct watermark_waiter *w)
{
    DL_DELETE(p->waiters, w);
}

void partition_watch(struct partition *p, struct partition_watcher *w)
{
    w->partition = p;
    if (w->log_end)
        DL_APPEND(p->end_watchers, w);
    else
        DL_APPEND(p->watchers, w);
}

void partition_unwatch(struct partition_watcher *w)
{
    if (!w->partition)
        return;
    if (w->log_end)
        DL_DELETE(w->partition->end_watchers, w);
    else
        DL_DELETE(w->partition->watchers, w);
    w->partition = NULL;
}

/* ---- states ---- */

void partition_went_offline(struct partition *p, struct status why)
{
    if (p->state == PARTITION_OFFLINE)
        return;
    logger_event(p->env->logger, LOGGER_ERROR, "partition_offline",
                 "topic=\"%s\" partition=%d where=\"%s\" errno=%d reason=\"%s\"", p->topic.data,
                 p->index, why.where ? why.where : "", why.sys_errno, kerr_name(why.code));
    partition_leave_leading(p, PARTITION_OFFLINE);
    partition_clean_abort(p);
    partition_fail_waiters(p, KERR_KAFKA_STORAGE_ERROR);
    partition_wake_watchers(p);
    p->env->storage_failed(p->env->arg, p, why);
}

void partition_opened(struct partition *p, struct log *log, struct status result,
                      int64_t high_watermark, struct flusher *flusher)
{
    CHECK(p->state == PARTITION_OPENING);
    p->flusher = flusher;
    if (status_failed(result)) {
        partition_went_offline(p, result);
        return;
    }
    p->log = log;
    p->flush_entry.log = log;
    p->flush_entry.flushed = partition_flushed;
    if (high_watermark > log_end_offset(log))
        high_watermark = log_end_offset(log);
    if (high_watermark < log_start_offset(log))
        high_watermark = log_start_offset(log);
    p->high_watermark = high_watermark;
    p->state = PARTITION_FOLLOWING;
}

void partition_fail(struct partition *p, struct status why)
{
    if (p->state == PARTITION_OPENING || p->state == PARTITION_OFFLINE)
        return;
    if (p->state == PARTITION_TRUNCATING) {
        partition_truncation_fail(p, why);
        return;
    }
    log_fail(p->log, why);
    partition_went_offline(p, why);
}

void partition_assign(struct partition *p, const struct partition_assignment *a)
{
    bool lead = a->leader_id == p->env->node_id;
    bool new_epoch = a->leader_epoch != p->leader_epoch;

    if (p->state == PARTITION_TRUNCATING) { /* the log is the pool's */
        p->config = a->config;
        return;
    }
    p->leader_id = a->leader_id;
    p->leader_epoch = a->leader_epoch;
    p->partition_epoch = a->partition_epoch;
    p->config = a->config;
    if (p->log)
        log_set_config(p->log, a->config);
    if (p->state == PARTITION_OPENING || p->state == PARTITION_OFFLINE)
        return;
    if (p->state == PARTITION_LEADING && lead && !new_epoch) {
        partition_set_membership(p, &a->membership);
        return;
    }
    if (p->state == PARTITION_LEADING) {
        partition_leave_leading(p, PARTITION_FOLLOWING);
        if (!lead)
            partition_fail_waiters(p, KERR_NOT_LEADER_OR_FOLLOWER);
    }
    if (lead)
        partition_start_leading(p, a);
    partition_wake_watchers(p);
}

static void partition_maybe_stopped(struct partition *p)
{
    if (p->cleaning || p->truncation)
        return; /* its end comes back to it */
    if (p->log && !flusher_remove(p->flusher, &p->flush_entry))
        return; /* partition_flushed comes back to it */
    p->stopping = false;
    p->env->stopped(p->env->arg, p);
}

void partition_settled(struct partition *p)
{
    if (p->truncation)
        partition_truncation_step(p);
    else if (p->stopping)
        partition_maybe_stopped(p);
}

void partition_stop(struct partition *p, enum kerr code)
{
    CHECK(p->state != PARTITION_OPENING);
    if (p->state == PARTITION_LEADING)
        partition_leave_leading(p, PARTITION_FOLLOWING);
    p->leader_id = -1;
    partition_fail_waiters(p, code);
    partition_wake_watchers(p);
    p->stopping = true;
    partition_clean_abort(p);
    partition_maybe_stopped(p);
}

/* Retention has asked the disk how old segments are. */
struct ages_job {
    struct job job;
    struct partition *partition; /* NULL: gone meanwhile */
    struct log_ages *ages;
    struct status result;
};

void partition_leave_ages(struct partition *p)
{
    if (p->ages)
        p->ages->partition = NULL;
    p->ages = NULL;
}

void partition_keep_config(struct partition *p, const struct log_config *config)
{
    p->config = config;
    if (p->log && p->state != PARTITION_TRUNCATING)
        log_set_config(p->log, config);
}

struct log *partition_free(struct partition *p)
{
    struct log *log = p->log;

    CHECK(p->state != PARTITION_LEADING);
    CHECK(!p->truncation);
    CHECK(!p->fetching.fetcher);
    CHECK(!p->waiters);
    CHECK(!p->low_waiters);
    while (p->watchers)
        partition_unwatch(p->watchers);
    while (p->end_watchers)
        partition_unwatch(p->end_watchers);
    partition_leave_ages(p);
    free(p);
    return log;
}

/* ---- service ---- */

enum kerr partition_check_replica(const struct partition *p, int32_t epoch)
{
    if (p->state == PARTITION_OFFLINE)
        return KERR_KAFKA_STORAGE_ERROR;
    if (epoch >= 0 && epoch < p->leader_epoch)
        return KERR_FENCED_LEADER_EPOCH;
    if (epoch > p->leader_epoch)
        return KERR_UNKNOWN_LEADER_EPOCH;
    if (p->state != PARTITION_LEADING && p->state != PARTITION_FOLLOWING)
        return KERR_NOT_LEADER_OR_FOLLOWER; /* its log is opened, or cut, in the pool */
    return p->stopping ? KERR_NOT_LEADER_OR_FOLLOWER : KERR_NONE;
}

enum kerr partition_check_leader(const struct partition *p, int32_t epoch)
{
    enum kerr code = partition_check_replica(p, epoch);

    return code || p->state == PARTITION_LEADING ? code : KERR_NOT_LEADER_OR_FOLLOWER;
}

static void partition_flushed(struct flusher_entry *e, struct status result)
{
    struct partition *p = CONTAINER_OF(e, struct partition, flush_entry);

    if (status_failed(result) && !p->stopping && !p->truncation)
        partition_went_offline(p, result);
    else if (p->stopping || p->truncation)
        partition_settled(p);
    else if (p->state == PARTITION_LEADING)
        partition_own_end_moved(p);
    else if (p->state == PARTITION_FOLLOWING && p->env->flushed)
        p->env->flushed(p->env->arg, p);
}

int64_t partition_high_watermark(const struct partition *p)
{
    return partition_watermark(p);
}

int64_t partition_last_stable_offset(const struct partition *p)
{
    int64_t unstable = log_first_unstable_offset(p->log);
    int64_t watermark = partition_watermark(p);

    return unstable < watermark ? unstable : watermark;
}

bool partition_caught_up(const struct partition *p)
{
    return partition_watermark(p) >= p->lead_start_offset;
}

/* ---- upkeep ---- */

struct partition_offsets partition_offsets(const struct partition *p)
{
    if (p->state == PARTITION_TRUNCATING)
        return partition_truncation_offsets(p);
    return (struct partition_offsets){
        .recovery_point = log_recovery_point(p->log),
        .high_watermark = partition_watermark(p),
        .log_start_offset = log_start_offset(p->log),
        .cleaned_offset = log_cleaned_offset(p->log),
    };
}

struct garbage_job {
    struct job job;
    struct log_garbage *garbage;
    struct logger *logger;
    struct status result;
};

static void garbage_run(struct job *j)
{
    struct garbage_job *g = (struct garbage_job *)j;

    g->result = log_garbage_run(g->garbage);
}

static void garbage_done(struct task *t)
{
    struct garbage_job *g = CONTAINER_OF(t, struct garbage_job, job.done);

    if (status_failed(g->result))
        logger_event(g->logger, LOGGER_WARN, "segment_removal_failed", "where=\"%s\" errno=%d",
                     g->result.where ? g->result.where : "", g->result.sys_errno);
    free(g);
}

static void partition_remove_garbage(struct partition *p, int64_t now_ms)
{
    struct log_garbage *garbage;
    struct garbage_job *g;

    g = calloc(1, sizeof *g);
    if (!g)
        return; /* the next round takes it */
    garbage = log_take_garbage(p->log, now_ms);
    if (!garbage) {
        free(g);
        return;
    }
    g->job.home = p->env->loop;
    g->job.run = garbage_run;
    g->job.done.run = garbage_done;
    g->garbage = garbage;
    g->logger = p->env->logger;
    pool_submit(p->env->pool, &g->job);
}

static void ages_run(struct job *j)
{
    struct ages_job *a = (struct ages_job *)j;

    a->result = log_ages_run(a->ages);
}

static void ages_done(struct task *t)
{
    struct ages_job *a = CONTAINER_OF(t, struct ages_job, job.done);
    struct partition *p = a->partition;

    log_ages_end(p ? p->log : NULL, a->ages, a->result);
    free(a);
    if (!p)
        return;
    p->ages = NULL;
    partition_maintain(p, clock_wall_ms(p->env->clock));
}

static void partition_ask_ages(struct partition *p, int64_t now_ms)
{
    struct ages_job *a = p->ages ? NULL : calloc(1, sizeof *a);

    if (!a)
        return;
    a->ages = log_ages_begin(p->log, partition_watermark(p), now_ms);
    if (!a->ages) {
        free(a);
        return;
    }
    a->job = (struct job){.home = p->env->loop, .run = ages_run, .done = {.run = ages_done}};
    a->partition = p;
    p->ages = a;
    pool_submit(p->env->pool, &a->job);
}

void partition_maintain(struct partition *p, int64_t now_ms)
{
    if (!p->log || p->state == PARTITION_OFFLINE || p->state == PARTITION_TRUNCATING)
        return;
    log_maintain(p->log, partition_watermark(p), now_ms);
    if (log_offline(p->log)) {
        partition_went_offline(p, status_error(KERR_KAFKA_STORAGE_ERROR, "log maintenance"));
        return;
    }
    if (log_names_wanted(p->log))
        flusher_request(p->flusher, &p->flush_entry);
    partition_ask_ages(p, now_ms);
    partition_remove_garbage(p, now_ms);
}
