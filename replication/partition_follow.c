/* Following: appends as the leader has them, the leader's offsets, and cutting what the leader does
 * not have. */

#include "replication/partition_follow.h"

#include <stdlib.h>

#include "protocol/base/check.h"
#include "protocol/record_batch.h"
#include "replication/partition_clean.h"
#include "replication/partition_internal.h"

struct fetcher_position partition_follow_position(const struct partition *p)
{
    return (struct fetcher_position){
        .last_epoch = log_latest_epoch(p->log),
        .end_offset = log_end_offset(p->log),
        .start_offset = log_start_offset(p->log),
    };
}

bool partition_follow_flushed(struct partition *p)
{
    bool flushed = log_flushed_end_offset(p->log) >= log_end_offset(p->log);

    if (!flushed)
        flusher_request(p->flusher, &p->flush_entry);
    return flushed || !p->env->flush_before_ack;
}

/* ---- what the leader sent ---- */

/* An epoch that our leader does not have yet would be taken for the truth at the next election. */
static bool epochs_fit(const struct partition *p, struct bytes records)
{
    struct record_batches it = record_batches(records);
    struct bytes batch;

    while (record_batches_next(&it, &batch))
        if (record_batch_leader_epoch(batch.data) > p->leader_epoch)
            return false;
    return true;
}

struct status partition_follow_append(struct partition *p, struct bytes_mut records)
{
    struct log_appended appended;
    struct status st;

    CHECK(p->state == PARTITION_FOLLOWING);
    if (!epochs_fit(p, (struct bytes){records.data, records.size}))
        return status_error(KERR_CORRUPT_MESSAGE, "a batch of an epoch to come");
    if (log_starts_within(p->log, (struct bytes){records.data, records.size}) &&
        (p->cleaning || !flusher_remove(p->flusher, &p->flush_entry)))
        /* the next time */
        return status_error(KERR_UNKNOWN_SERVER_ERROR,
                            "the log is to begin anew, and is being flushed");
    st = log_append_as_follower(p->log, records, LOG_ORIGIN_COORDINATOR, &appended);
    if (status_failed(st) && log_offline(p->log))
        partition_went_offline(p, st);
    return st;
}

static void follow_log_start(struct partition *p, int64_t offset)
{
    struct status st;

    if (offset > p->high_watermark)
        offset = p->high_watermark; /* no leader deletes what is not committed */
    if (offset <= log_start_offset(p->log))
        return;
    st = log_raise_start_offset(p->log, offset);
    if (status_failed(st))
        partition_went_offline(p, st);
}

void partition_follow_offsets(struct partition *p, int64_t high_watermark, int64_t start_offset)
{
    CHECK(p->state == PARTITION_FOLLOWING);
    if (high_watermark > log_end_offset(p->log))
        high_watermark = log_end_offset(p->log);
    if (high_watermark > p->high_watermark) {
        p->high_watermark = high_watermark;
        log_high_watermark_moved(p->log, high_watermark);
        partition_wake_watchers(p);
    }
    follow_log_start(p, start_offset);
}

/* ---- cutting ---- */

struct partition_truncation {
    struct job job;
    struct partition *partition;
    struct fetcher_cut cut;
    struct log_config config;         /* the log's meanwhile: the metadata's may go */
    struct partition_offsets offsets; /* for the checkpoints meanwhile */
    bool running;
    struct status result;
    struct status failure; /* found elsewhere meanwhile */
};

static void truncation_run(struct job *j)
{
    struct partition_truncation *t = (struct partition_truncation *)j;
    struct log *log = t->partition->log;

    t->result =
        t->cut.fully ? log_truncate_fully(log, t->cut.offset) : log_truncate_to(log, t->cut.offset);
}

static int64_t within(int64_t offset, int64_t least, int64_t most)
{
    if (offset > most)
        offset = most;
    return offset < least ? least : offset;
}

static void truncation_done(struct task *task)
{
    struct partition_truncation *t = CONTAINER_OF(task, struct partition_truncation, job.done);
    struct partition *p = t->partition;
    struct status st = status_failed(t->result) ? t->result : t->failure;

    p->truncation = NULL;
    free(t);
    log_set_config(p->log, p->config);
    p->high_watermark = within(p->high_watermark, log_start_offset(p->log), log_end_offset(p->log));
    p->state = PARTITION_FOLLOWING;
    if (p->stopping) {
        partition_settled(p);
        return;
    }
    if (status_failed(st)) {
        log_fail(p->log, st);
        partition_went_offline(p, st);
        return;
    }
    partition_wake_watchers(p);
    p->env->truncated(p->env->arg, p);
}

void partition_truncation_step(struct partition *p)
{
    struct partition_truncation *t = p->truncation;

    if (t->running || p->cleaning || !flusher_remove(p->flusher, &p->flush_entry))
        return;
    t->running = true;
    t->config = *p->config;
    log_set_config(p->log, &t->config);
    t->job =
        (struct job){.home = p->env->loop, .run = truncation_run, .done = {.run = truncation_done}};
    pool_submit(p->env->pool, &t->job);
}

void partition_truncation_fail(struct partition *p, struct status why)
{
    p->truncation->failure = why;
}

struct partition_offsets partition_truncation_offsets(const struct partition *p)
{
    return p->truncation->offsets;
}

/* What holds whether the cut is through or not. */
static struct partition_offsets offsets_while(const struct partition *p,
                                              const struct fetcher_cut *cut)
{
    struct partition_offsets o = partition_offsets(p);
    int64_t end = cut->fully ? 0 : cut->offset;

    o.recovery_point = within(o.recovery_point, 0, end);
    o.high_watermark = within(o.high_watermark, 0, end);
    o.log_start_offset = within(o.log_start_offset, 0, end);
    o.cleaned_offset = within(o.cleaned_offset, 0, end);
    return o;
}

bool partition_truncate(struct partition *p, const struct fetcher_cut *cut)
{
    struct partition_truncation *t = calloc(1, sizeof *t);

    CHECK(p->state == PARTITION_FOLLOWING);
    CHECK(!p->stopping);
    if (!t)
        return false;
    if (cut->offset != log_end_offset(p->log)) /* else only an epoch goes that wrote nothing */
        logger_event(
            p->env->logger, LOGGER_INFO, "log_truncated",
            "topic=\"%s\" partition=%d from=%lld to=%lld fully=%d leader=%d leader_epoch=%d",
            p->topic.data, p->index, (long long)log_end_offset(p->log), (long long)cut->offset,
            cut->fully, p->leader_id, p->leader_epoch);
    if (cut->offset < p->high_watermark || cut->fully)
        logger_event(p->env->logger, LOGGER_WARN, "log_truncated_below_high_watermark",
                     "topic=\"%s\" partition=%d high_watermark=%lld to=%lld", p->topic.data,
                     p->index, (long long)p->high_watermark, (long long)cut->offset);
    t->partition = p;
    t->cut = *cut;
    t->offsets = offsets_while(p, cut);
    p->truncation = t;
    p->state = PARTITION_TRUNCATING;
    partition_leave_ages(p);
    partition_clean_abort(p);
    partition_truncation_step(p);
    return true;
}
