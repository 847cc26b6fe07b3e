/* Leading: appends, the high watermark over the replicas, those who wait for it. */

#include "replication/partition_internal.h"

#include <stdio.h>
#include <utlist.h>

#include "protocol/base/check.h"

/* ---- the high watermark ---- */

static void partition_watermark_moved(struct partition *p)
{
    int64_t watermark = partition_watermark(p);
    struct watermark_waiter *w, *next;

    log_high_watermark_moved(p->log, watermark);
    DL_FOREACH_SAFE(p->waiters, w, next)
    {
        if (w->offset > watermark)
            break;
        DL_DELETE(p->waiters, w);
        w->reached(w, KERR_NONE); /* never with too few replicas: then the watermark stands still
                                   * (KIP-966) */
    }
    partition_wake_watchers(p);
}

/* What counts as this replica's end for the high watermark. */
static int64_t partition_own_end(const struct partition *p)
{
    return p->env->flush_before_ack ? log_flushed_end_offset(p->log) : log_end_offset(p->log);
}

static int64_t partition_now_ms(const struct partition *p)
{
    return clock_monotonic_us(p->env->clock) / 1000;
}

#define IDS_TEXT_BYTES 256

/* "1,2,3", cut where it is too long. */
static void print_proposal(const struct isr *isr, char out[IDS_TEXT_BYTES])
{
    size_t at = 0;

    out[0] = '\0';
    for (size_t i = 0; i < isr->replica_count && at + 16 < IDS_TEXT_BYTES; i++)
        if (isr->replicas[i].in_proposal)
            at += (size_t)snprintf(out + at, IDS_TEXT_BYTES - at, "%s%d", at ? "," : "",
                                   isr->replicas[i].id);
}

static void partition_propose(struct partition *p)
{
    char ids[IDS_TEXT_BYTES];

    print_proposal(&p->isr, ids);
    logger_event(p->env->logger, LOGGER_INFO, "isr_proposed",
                 "topic=\"%s\" partition=%d isr=%s epoch=%d", p->topic.data, p->index, ids,
                 p->isr.partition_epoch);
    p->env->propose_isr(p->env->arg, p);
}

static void partition_low_maybe_moved(struct partition *p);

static void partition_do(struct partition *p, const struct isr_effects *fx)
{
    if (fx->propose)
        partition_propose(p);
    if (fx->tick_soon && !p->tick_soon)
        p->env->isr_tick_soon(p->env->arg, p);
    if (fx->high_watermark_moved)
        partition_watermark_moved(p); /* last: those who waited may do anything */
}

void partition_own_end_moved(struct partition *p)
{
    struct isr_effects fx;

    if (p->state != PARTITION_LEADING)
        return;
    isr_flushed(&p->isr, partition_own_end(p), partition_now_ms(p), &fx);
    partition_do(p, &fx);
}

void partition_start_leading(struct partition *p, const struct partition_assignment *a)
{
    int64_t end = partition_own_end(p);
    struct isr_start at;
    struct status st;

    /* What was flushed before may be less than the checkpoint of the page-cache days. */
    if (p->high_watermark > end)
        p->high_watermark = end;
    st = log_start_epoch(p->log, a->leader_epoch);
    at = (struct isr_start){.high_watermark = p->high_watermark,
                            .end_offset = log_end_offset(p->log),
                            .lag_ms_max = p->env->replica_lag_ms_max,
                            .silence_ms_max = p->env->replica_silence_ms_max,
                            .now_ms = partition_now_ms(p)};
    if (!status_failed(st) && !isr_init(&p->isr, &a->membership, &at))
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

void partition_set_membership(struct partition *p, const struct isr_membership *m)
{
    struct isr_effects fx;

    for (size_t i = 0; i < p->isr.replica_count; i++) {
        const struct isr_replica *r = &p->isr.replicas[i];

        isr_note_eligible(&p->isr, r->id,
                          p->env->replica_eligible(p->env->arg, r->id, r->broker_epoch));
    }
    /* nobody may wait any more for one that left */
    if (isr_set_membership(&p->isr, m, partition_now_ms(p), &fx)) {
        partition_low_maybe_moved(p);
        partition_do(p, &fx);
    } else {
        partition_went_offline(
            p, status_error(KERR_UNKNOWN_SERVER_ERROR, "no memory for the replicas"));
    }
}

void partition_leave_leading(struct partition *p, enum partition_state state)
{
    if (p->state == PARTITION_LEADING) {
        p->high_watermark = p->isr.high_watermark;
        isr_free(&p->isr);
    }
    p->state = state;
}

/* ---- replicas ---- */

bool partition_has_replica(const struct partition *p, int32_t id)
{
    return p->state == PARTITION_LEADING && id != p->env->node_id && isr_has_replica(&p->isr, id);
}

void partition_replica_fetched(struct partition *p, const struct replica_fetch *f)
{
    struct isr_fetch fetch = {
        .replica_id = f->replica_id,
        .offset = f->offset,
        .log_start_offset = f->log_start_offset,
        .leader_end_offset = log_end_offset(p->log),
        .broker_epoch = f->broker_epoch,
        .wait_ms = f->wait_ms,
        .eligible = p->env->replica_eligible(p->env->arg, f->replica_id, f->broker_epoch)};
    struct isr_effects fx;

    CHECK(p->state == PARTITION_LEADING);
    CHECK(f->offset <= log_end_offset(p->log));
    isr_fetched(&p->isr, &fetch, partition_now_ms(p), &fx);
    partition_low_maybe_moved(p);
    partition_do(p, &fx);
}

void partition_isr_answered(struct partition *p, int32_t leader_epoch, enum kerr code,
                            int32_t sent_epoch)
{
    struct isr_effects fx;

    if (p->state != PARTITION_LEADING || p->leader_epoch != leader_epoch)
        return;
    if (code != KERR_NONE)
        logger_event(p->env->logger, LOGGER_INFO, "isr_refused",
                     "topic=\"%s\" partition=%d epoch=%d reason=%s", p->topic.data, p->index,
                     sent_epoch, kerr_name(code));
    isr_answered(&p->isr, code, sent_epoch, partition_now_ms(p), &fx);
    partition_do(p, &fx);
}

void partition_isr_tick(struct partition *p)
{
    struct isr_effects fx;

    if (p->state != PARTITION_LEADING || p->isr.replica_count < 2)
        return;
    isr_tick(&p->isr, log_end_offset(p->log), partition_now_ms(p), &fx);
    partition_do(p, &fx);
}

void partition_brokers_changed(struct partition *p)
{
    partition_low_maybe_moved(p);
    for (size_t i = 0; p->state == PARTITION_LEADING && i < p->isr.replica_count; i++) {
        const struct isr_replica *r = &p->isr.replicas[i];
        struct isr_effects fx;

        if (r->in_isr || r->leader_end_offset < 0)
            continue; /* in, or not heard of */
        isr_set_eligible(&p->isr, r->id,
                         p->env->replica_eligible(p->env->arg, r->id, r->broker_epoch),
                         partition_now_ms(p), &fx);
        partition_do(p, &fx);
    }
}

/* ---- service ---- */

static struct status partition_append_from(struct partition *p, struct bytes_mut records,
                                           enum log_origin origin, bool acks_all,
                                           struct log_appended *out, struct record_refusal *refusal)
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
    partition_wake_end_watchers(p); /* replicas fetch what is not flushed here yet: the flushes
                                     * run side by side */
    return STATUS_OK;
}

struct status partition_append(struct partition *p, struct bytes_mut records, bool acks_all,
                               struct log_appended *out, struct record_refusal *refusal)
{
    return partition_append_from(p, records, LOG_ORIGIN_CLIENT, acks_all, out, refusal);
}

struct status partition_append_own(struct partition *p, struct bytes_mut records,
                                   struct log_appended *out)
{
    return partition_append_from(p, records, LOG_ORIGIN_COORDINATOR, true, out, NULL);
}

/* ---- the low watermark ---- */

int64_t partition_low_watermark(const struct partition *p)
{
    CHECK(p->state == PARTITION_LEADING);
    return isr_low_watermark(&p->isr, log_start_offset(p->log), p->env->broker_alive, p->env->arg);
}

bool partition_wait_low(struct partition *p, struct watermark_waiter *w)
{
    if (partition_low_watermark(p) >= w->offset)
        return true;
    DL_APPEND(p->low_waiters, w);
    return false;
}

void partition_unwait_low(struct partition *p, struct watermark_waiter *w)
{
    DL_DELETE(p->low_waiters, w);
}

/* A replica's log start rose, or one that was waited for is gone. */
static void partition_low_maybe_moved(struct partition *p)
{
    struct watermark_waiter *w, *next;
    int64_t low;

    if (!p->low_waiters || p->state != PARTITION_LEADING)
        return;
    low = partition_low_watermark(p);
    DL_FOREACH_SAFE(p->low_waiters, w, next)
    {
        if (w->offset > low)
            continue;
        DL_DELETE(p->low_waiters, w);
        w->reached(w, KERR_NONE);
    }
}

struct status partition_delete_records(struct partition *p, int64_t *offset)
{
    enum kerr code = partition_check_leader(p, -1);
    struct status st = STATUS_OK;

    if (code)
        return status_error(code, "delete records");
    if (!p->config->cleanup_delete)
        return status_error(KERR_POLICY_VIOLATION, "delete records");
    if (*offset == -1)
        *offset = partition_watermark(p);
    if (*offset < 0 || *offset > partition_watermark(p))
        return status_error(KERR_OFFSET_OUT_OF_RANGE, "delete records");
    if (*offset > log_start_offset(p->log))
        st = log_raise_start_offset(p->log, *offset);
    if (status_failed(st))
        return st;
    partition_low_maybe_moved(p);
    partition_wake_end_watchers(p); /* replicas hear of it */
    return STATUS_OK;
}
