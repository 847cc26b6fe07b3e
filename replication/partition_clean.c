#include "replication/partition_clean.h"

#include <errno.h>
#include <stdlib.h>

#include "protocol/base/check.h"
#include "replication/partition_internal.h"

#define STEP_BYTES       (1 << 20)
#define STEP_BYTES_LEAST (64 << 10) /* when little is allowed in a second */
#define STEPS_A_SECOND   4          /* at least, then */

struct partition_cleaning {
    struct partition *partition;
    struct log_compaction *compaction; /* NULL: only the disk is asked for timestamps */
    struct log_times *times;
    struct partition_clean_args args;
    struct job job;
    struct timer pause;
    bool pausing;
    int64_t step_bytes;
    /* the step's */
    enum log_compaction_next next;
    struct status result;
    int64_t bytes; /* read and written, before it */
    int64_t took_us;
};

static int64_t bytes_done(const struct log_compaction *c)
{
    struct log_compaction_stats s;

    log_compaction_stats(c, &s);
    return s.bytes_mapped + s.bytes_read + s.bytes_written;
}

static void step_run(struct job *j)
{
    struct partition_cleaning *c = CONTAINER_OF(j, struct partition_cleaning, job);
    struct clock *clock = c->partition->env->clock;
    const int64_t started_us = clock_monotonic_us(clock);

    c->result = log_compaction_run(c->compaction, c->step_bytes, &c->next);
    c->took_us = clock_monotonic_us(clock) - started_us;
}

static void step(struct partition_cleaning *c)
{
    c->pausing = false;
    c->bytes = bytes_done(c->compaction);
    pool_submit(c->partition->env->pool, &c->job);
}

static void on_pause_over(struct timer *t)
{
    step(CONTAINER_OF(t, struct partition_cleaning, pause));
}

/* What the step moved may take so long; it took took_us already. */
static int64_t pause_us(const struct partition_cleaning *c)
{
    const double bytes = (double)(bytes_done(c->compaction) - c->bytes);
    const double wanted_us = bytes / c->args.bytes_per_second_max * 1e6;

    if (wanted_us <= (double)c->took_us || log_compaction_aborted(c->compaction))
        return 0;
    return wanted_us > 3600e6 ? INT64_C(3600000000) : (int64_t)wanted_us - c->took_us;
}

/* ---- the end ---- */

static void tell_failure(const struct partition *p, struct status why)
{
    logger_event(p->env->logger, LOGGER_ERROR, "log_cleaning_failed",
                 "topic=\"%s\" partition=%d reason=%s where=\"%s\" errno=%d uncleanable=%d",
                 p->topic.data, p->index, kerr_name(why.code), why.where ? why.where : "",
                 why.sys_errno, p->uncleanable);
}

static void tell(const struct partition_cleaning *c)
{
    const struct partition *p = c->partition;
    struct logger *logger = p->env->logger;
    struct log_compaction_stats s;

    log_compaction_stats(c->compaction, &s);
    if (status_failed(c->result))
        tell_failure(p, c->result);
    else if (!log_compaction_aborted(c->compaction))
        logger_event(logger, LOGGER_INFO, "log_cleaned",
                     "topic=\"%s\" partition=%d dirty_from=%lld clean_to=%lld bytes_read=%lld "
                     "bytes_written=%lld "
                     "records_read=%lld records_written=%lld",
                     p->topic.data, p->index, (long long)s.start_offset, (long long)s.end_offset,
                     (long long)s.bytes_read, (long long)s.bytes_written, (long long)s.records_read,
                     (long long)s.records_written);
}

static void finish(struct partition_cleaning *c)
{
    struct partition *p = c->partition;
    const struct partition_clean_args args = c->args;
    const struct status result = c->result;
    const bool broke = log_compaction_broke_log(c->compaction);
    const bool went_well = !status_failed(result) && !log_compaction_aborted(c->compaction);

    /* A full disk may have room again. */
    p->uncleanable = status_failed(result) && result.sys_errno != ENOSPC;
    tell(c);
    log_compaction_end(p->log, c->compaction, result);
    timer_free(p->env->loop, &c->pause);
    p->cleaning = NULL;
    free(c);
    if (broke)
        partition_fail(p, result);
    args.done(args.arg, went_well);
    partition_settled(p);
}

static void step_done(struct task *t)
{
    struct job *j = CONTAINER_OF(t, struct job, done);
    struct partition_cleaning *c = CONTAINER_OF(j, struct partition_cleaning, job);
    int64_t us;

    if (c->next == LOG_COMPACTION_ADOPT)
        log_compaction_adopt(c->compaction);
    if (c->next == LOG_COMPACTION_DONE) {
        finish(c);
        return;
    }
    us = pause_us(c);
    if (us == 0) {
        step(c);
        return;
    }
    c->pausing = true;
    timer_start(c->partition->env->loop, &c->pause, us);
}

/* ---- beginning ---- */

static void times_run(struct job *j)
{
    struct partition_cleaning *c = CONTAINER_OF(j, struct partition_cleaning, job);

    c->result = log_times_run(c->times);
}

static void times_done(struct task *t)
{
    struct job *j = CONTAINER_OF(t, struct job, done);
    struct partition_cleaning *c = CONTAINER_OF(j, struct partition_cleaning, job);
    struct partition *p = c->partition;

    log_times_end(p->log, c->times);
    p->cleaning = NULL;
    p->uncleanable = status_failed(c->result);
    if (status_failed(c->result))
        tell_failure(p, c->result);
    free(c);
    partition_settled(p);
}

/* The next look knows more. */
static void ask_times(struct partition *p)
{
    struct partition_cleaning *c = calloc(1, sizeof *c);

    if (!c)
        return;
    c->times = log_times_begin(p->log);
    if (!c->times) {
        free(c);
        return;
    }
    c->partition = p;
    c->job = (struct job){.home = p->env->loop, .run = times_run, .done = {.run = times_done}};
    p->cleaning = c;
    pool_submit(p->env->pool, &c->job);
}

bool partition_clean_due(struct partition *p, struct compaction_range *out)
{
    if (!p->log || p->state == PARTITION_OFFLINE || p->state == PARTITION_TRUNCATING ||
        p->stopping || p->cleaning || p->uncleanable || !p->config || !p->config->cleanup_compact)
        return false;
    log_compaction_look(p->log, partition_last_stable_offset(p), clock_wall_ms(p->env->clock), out);
    if (out->times_unknown) {
        ask_times(p);
        return false;
    }
    return compaction_is_due(out, p->config->min_cleanable_dirty_ratio);
}

static int64_t step_bytes(double bytes_per_second)
{
    if (bytes_per_second >= (double)STEP_BYTES * STEPS_A_SECOND)
        return STEP_BYTES;
    if (bytes_per_second <= (double)STEP_BYTES_LEAST * STEPS_A_SECOND)
        return STEP_BYTES_LEAST;
    return (int64_t)(bytes_per_second / STEPS_A_SECOND);
}

bool partition_clean_begin(struct partition *p, const struct partition_clean_args *args)
{
    const struct log_compaction_args compaction = {
        .stable_end_offset =
            p->log && p->state != PARTITION_TRUNCATING ? partition_last_stable_offset(p) : 0,
        .now_ms = clock_wall_ms(p->env->clock),
        .map_bytes_max = args->map_bytes_max,
        .map_load = args->map_load,
        .buffer_bytes = args->buffer_bytes,
    };
    struct compaction_range range;
    struct partition_cleaning *c;

    if (!partition_clean_due(p, &range))
        return false;
    c = calloc(1, sizeof *c);
    if (!c)
        return false;
    c->compaction = log_compaction_begin(p->log, &compaction);
    if (!c->compaction) {
        free(c);
        return false;
    }
    c->partition = p;
    c->args = *args;
    c->step_bytes = step_bytes(args->bytes_per_second_max);
    c->job = (struct job){.home = p->env->loop, .run = step_run, .done = {.run = step_done}};
    timer_init(p->env->loop, &c->pause, on_pause_over);
    p->cleaning = c;
    step(c);
    return true;
}

void partition_clean_abort(struct partition *p)
{
    struct partition_cleaning *c = p->cleaning;

    if (!c || !c->compaction)
        return;
    log_compaction_abort(c->compaction);
    if (!c->pausing)
        return;
    timer_stop(p->env->loop, &c->pause);
    step(c);
}
