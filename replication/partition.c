#include "replication/partition_internal.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "protocol/base/check.h"
#include "replication/partition_clean.h"

static void partition_flushed(struct flusher_entry *e, struct status result);

struct partition *partition_create(struct partition_env *env, struct str topic, struct uuid topic_id,
                                   int32_t index)
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
    p->state = PARTITION_OPENING;
    return p;
}

/* ---- those who wait ---- */

static int64_t partition_watermark(const struct partition *p)
{
    return p->state == PARTITION_LEADING ? p->isr.high_watermark : p->high_watermark;
}

static void partition_wake_watchers(struct partition *p)
{
    struct partition_watcher *w, *next;

    DL_FOREACH_SAFE(p->watchers, w, next)
    w->changed(w);
}

static void partition_fail_waiters(struct partition *p, enum kerr code)
{
    struct watermark_waiter *w;

    while ((w = p->waiters)) {
        DL_DELETE(p->waiters, w);
        w->reached(w, code);
    }
}

static void partition_watermark_moved(struct partition *p)
{
    int64_t watermark = partition_watermark(p);
    /* KIP-966: what is durable, but no longer on as many replicas as was asked for. */
    enum kerr code = isr_enough(&p->isr) ? KERR_NONE : KERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND;
    struct watermark_waiter *w, *next;

    log_high_watermark_moved(p->log, watermark);
    /* In order of offset: appends arrive so. */
    DL_FOREACH_SAFE(p->waiters, w, next)
    {
        if (w->offset > watermark)
            break;
        DL_DELETE(p->waiters, w);
        w->reached(w, code);
    }
    partition_wake_watchers(p);
}

bool partition_wait(struct partition *p, struct watermark_waiter *w)
{
    if (partition_watermark(p) >= w->offset)
        return true;
    DL_APPEND(p->waiters, w);
    return false;
}

void partition_unwait(struct partition *p, struct watermark_waiter *w)
{
    DL_DELETE(p->waiters, w);
}

void partition_watch(struct partition *p, struct partition_watcher *w)
{
    w->partition = p;
    DL_APPEND(p->watchers, w);
}

void partition_unwatch(struct partition_watcher *w)
{
    if (!w->partition)
        return;
    DL_DELETE(w->partition->watchers, w);
    w->partition = NULL;
}

/* ---- states ---- */

static void partition_leave_leading(struct partition *p, enum partition_state state)
{
    if (p->state == PARTITION_LEADING) {
        p->high_watermark = p->isr.high_watermark;
        isr_free(&p->isr);
    }
    p->state = state;
}

static void partition_went_offline(struct partition *p, struct status why)
{
    if (p->state == PARTITION_OFFLINE)
        return;
    logger_event(p->env->logger, LOGGER_ERROR, "partition_offline",
                 "topic=\"%s\" partition=%d where=\"%s\" errno=%d reason=\"%s\"", p->topic.data, p->index,
                 why.where ? why.where : "", why.sys_errno, kerr_name(why.code));
    partition_leave_leading(p, PARTITION_OFFLINE);
    partition_clean_abort(p);
    partition_fail_waiters(p, KERR_KAFKA_STORAGE_ERROR);
    partition_wake_watchers(p);
    p->env->storage_failed(p->env->arg, p, why);
}

void partition_opened(struct partition *p, struct log *log, struct status result, int64_t high_watermark,
                      struct flusher *flusher)
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
    log_fail(p->log, why);
    partition_went_offline(p, why);
}

/* What counts as this replica's end for the high watermark. */
static int64_t partition_own_end(const struct partition *p)
{
    return p->env->flush_before_ack ? log_flushed_end_offset(p->log) : log_end_offset(p->log);
}

static void partition_own_end_moved(struct partition *p)
{
    if (p->state == PARTITION_LEADING && isr_flushed(&p->isr, p->env->node_id, partition_own_end(p)))
        partition_watermark_moved(p);
}

static void partition_start_leading(struct partition *p, const struct partition_assignment *a)
{
    int64_t end = partition_own_end(p);
    struct status st;

    /* What was flushed before may be less than the checkpoint of the page-cache days. */
    if (p->high_watermark > end)
        p->high_watermark = end;
    st = log_start_epoch(p->log, a->leader_epoch);
    if (!status_failed(st) && !isr_init(&p->isr, &a->membership, p->high_watermark))
        st = status_error(KERR_UNKNOWN_SERVER_ERROR, "no memory for the replicas");
    if (status_failed(st)) {
        partition_went_offline(p, st);
        return;
    }
    p->state = PARTITION_LEADING;
    p->lead_start_offset = log_end_offset(p->log);
    partition_own_end_moved(p);
    if (log_flushed_end_offset(p->log) < log_end_offset(p->log))
        flusher_request(p->flusher, &p->flush_entry);
}

void partition_assign(struct partition *p, const struct partition_assignment *a)
{
    bool lead = a->leader_id == p->env->node_id;
    bool new_epoch = a->leader_epoch != p->leader_epoch;

    p->leader_id = a->leader_id;
    p->leader_epoch = a->leader_epoch;
    p->partition_epoch = a->partition_epoch;
    p->config = a->config;
    if (p->log)
        log_set_config(p->log, a->config);
    if (p->state == PARTITION_OPENING || p->state == PARTITION_OFFLINE)
        return;
    if (p->state == PARTITION_LEADING && lead && !new_epoch) {
        if (isr_set_membership(&p->isr, &a->membership))
            partition_own_end_moved(p); /* nobody may wait any more for one that left */
        else
            partition_went_offline(p, status_error(KERR_UNKNOWN_SERVER_ERROR, "no memory for the replicas"));
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

void partition_maybe_stopped(struct partition *p)
{
    if (p->cleaning)
        return; /* its end comes back to it */
    if (p->log && !flusher_remove(p->flusher, &p->flush_entry))
        return; /* partition_flushed comes back to it */
    p->stopping = false;
    p->env->stopped(p->env->arg, p);
}

void partition_stop(struct partition *p, enum kerr code)
{
    CHECK(p->state != PARTITION_OPENING);
    partition_leave_leading(p, p->state == PARTITION_OFFLINE ? PARTITION_OFFLINE : PARTITION_FOLLOWING);
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

static void partition_leave_ages(struct partition *p)
{
    if (p->ages)
        p->ages->partition = NULL;
}

struct log *partition_free(struct partition *p)
{
    struct log *log = p->log;

    CHECK(p->state != PARTITION_LEADING);
    CHECK(!p->waiters);
    while (p->watchers)
        partition_unwatch(p->watchers);
    partition_leave_ages(p);
    free(p);
    return log;
}

/* ---- service ---- */

enum kerr partition_check_leader(const struct partition *p, int32_t epoch)
{
    if (p->state == PARTITION_OFFLINE)
        return KERR_KAFKA_STORAGE_ERROR;
    if (epoch >= 0 && epoch < p->leader_epoch)
        return KERR_FENCED_LEADER_EPOCH;
    if (epoch > p->leader_epoch)
        return KERR_UNKNOWN_LEADER_EPOCH;
    return p->state == PARTITION_LEADING ? KERR_NONE : KERR_NOT_LEADER_OR_FOLLOWER;
}

static void partition_flushed(struct flusher_entry *e, struct status result)
{
    struct partition *p = CONTAINER_OF(e, struct partition, flush_entry);

    if (p->stopping)
        partition_maybe_stopped(p);
    else if (status_failed(result))
        partition_went_offline(p, result);
    else
        partition_own_end_moved(p);
}

static struct status partition_append_from(struct partition *p, struct bytes_mut records, enum log_origin origin,
                                           bool acks_all, struct log_appended *out,
                                           struct record_refusal *refusal)
{
    enum kerr code = partition_check_leader(p, -1);
    struct status st;

    if (code)
        return status_error(code, "append");
    if (acks_all && !isr_enough(&p->isr))
        return status_error(KERR_NOT_ENOUGH_REPLICAS, "append");
    st = log_append_as_leader(p->log, records, p->leader_epoch, origin, out, refusal);
    if (status_failed(st)) {
        if (log_offline(p->log))
            partition_went_offline(p, st);
        return st;
    }
    if (log_flushed_end_offset(p->log) < log_end_offset(p->log))
        flusher_request(p->flusher, &p->flush_entry);
    if (!p->env->flush_before_ack)
        partition_own_end_moved(p);
    return STATUS_OK;
}

struct status partition_append(struct partition *p, struct bytes_mut records, bool acks_all,
                               struct log_appended *out, struct record_refusal *refusal)
{
    return partition_append_from(p, records, LOG_ORIGIN_CLIENT, acks_all, out, refusal);
}

struct status partition_append_own(struct partition *p, struct bytes_mut records, struct log_appended *out)
{
    return partition_append_from(p, records, LOG_ORIGIN_COORDINATOR, true, out, NULL);
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

struct status partition_delete_records(struct partition *p, int64_t offset, int64_t *low_watermark)
{
    enum kerr code = partition_check_leader(p, -1);
    struct status st = STATUS_OK;

    if (code)
        return status_error(code, "delete records");
    if (!p->config->cleanup_delete)
        return status_error(KERR_POLICY_VIOLATION, "delete records");
    if (offset == -1)
        offset = partition_watermark(p);
    if (offset < 0 || offset > partition_watermark(p))
        return status_error(KERR_OFFSET_OUT_OF_RANGE, "delete records");
    if (offset > log_start_offset(p->log))
        st = log_raise_start_offset(p->log, offset);
    if (!status_failed(st))
        *low_watermark = log_start_offset(p->log);
    return st;
}

/* ---- upkeep ---- */

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
    if (!p->log || p->state == PARTITION_OFFLINE)
        return;
    log_maintain(p->log, partition_watermark(p), now_ms);
    if (log_offline(p->log)) {
        partition_went_offline(p, status_error(KERR_KAFKA_STORAGE_ERROR, "log maintenance"));
        return;
    }
    partition_ask_ages(p, now_ms);
    partition_remove_garbage(p, now_ms);
}
