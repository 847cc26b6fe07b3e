/* Leading: appends, the high watermark over the replicas, those who wait for it. */

#include "replication/partition_internal.h"

#include <utlist.h>

#include "protocol/base/check.h"

/* ---- the high watermark ---- */

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

/* What counts as this replica's end for the high watermark. */
static int64_t partition_own_end(const struct partition *p)
{
    return p->env->flush_before_ack ? log_flushed_end_offset(p->log) : log_end_offset(p->log);
}

void partition_own_end_moved(struct partition *p)
{
    if (p->state == PARTITION_LEADING && isr_flushed(&p->isr, p->env->node_id, partition_own_end(p)))
        partition_watermark_moved(p);
}

void partition_start_leading(struct partition *p, const struct partition_assignment *a)
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
    CHECK(p->state == PARTITION_LEADING);
    CHECK(f->offset <= log_end_offset(p->log));
    if (isr_flushed(&p->isr, f->replica_id, f->offset))
        partition_watermark_moved(p);
}

/* ---- service ---- */

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
    partition_wake_end_watchers(p); /* replicas fetch what is not flushed here yet: the flushes run side by side */
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
