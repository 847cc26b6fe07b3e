#include "storage/log_compaction_filter.h"

#include <stdlib.h>

#include "protocol/base/check.h"

enum retention {
    DROP,       /* without looking at its records */
    KEEP_SOME,  /* the records that stay; the batch goes when none does */
    KEEP_ALWAYS /* as above, but then an empty batch stays */
};

/* ---- the map ---- */

struct status compaction_map_batch(struct compaction_filter *f, struct bytes batch,
                                   int64_t from_offset, size_t count_max, bool *full,
                                   int64_t *end_offset)
{
    const int64_t batch_end = record_batch_last_offset(batch.data) + 1;
    struct txn_index_entry unused;
    struct record_iter it;
    struct record r;
    bool discard, keep;
    struct status st;

    *full = false;
    if (record_batch_is_control(batch.data))
        st = compaction_txns_control(&f->txns, batch, &discard, &keep, &unused);
    else
        st = compaction_txns_data(&f->txns, batch.data, &discard);
    if (status_failed(st) || discard || record_batch_is_control(batch.data)) {
        *end_offset = batch_end;
        return st;
    }
    st = record_iter_open(&it, batch, f->scratch, f->rules.decompressed_max);
    if (status_failed(st))
        return st;
    while (record_iter_next(&it, &r)) {
        if (!r.key.data || r.offset < from_offset)
            continue;
        if (compaction_map_count(f->rules.map) >= count_max) {
            *full = true;
            return STATUS_OK;
        }
        st = compaction_map_put(f->rules.map, r.key, r.offset);
        if (status_failed(st))
            return st;
        *end_offset = r.offset + 1;
    }
    *end_offset = batch_end;
    return it.status;
}

/* ---- what stays ---- */

static int by_id(const void *key, const void *element)
{
    const int64_t id = *(const int64_t *)key;
    const int64_t other = ((const struct compaction_producer *)element)->producer_id;

    return (id > other) - (id < other);
}

/* The batch that a restart takes this producer's sequence and epoch from. */
static bool is_last_of_producer(const struct compaction_rules *rules, const uint8_t *head)
{
    const int64_t id = record_batch_producer_id(head);
    const struct compaction_producer *p;

    if (id == NO_PRODUCER_ID || rules->producer_count == 0)
        return false;
    p = bsearch(&id, rules->producers, rules->producer_count, sizeof *p, by_id);
    if (!p)
        return false;
    if (p->last_offset >= 0)
        return record_batch_last_offset(head) == p->last_offset;
    return record_batch_is_control(head) && record_batch_producer_epoch(head) == p->producer_epoch;
}

static bool has_horizon(const uint8_t *head)
{
    return record_batch_attributes(head) & RECORD_BATCH_DELETE_HORIZON;
}

static bool horizon_passed(const struct compaction_rules *rules, const uint8_t *head)
{
    return has_horizon(head) && record_batch_base_timestamp(head) <= rules->now_ms;
}

static struct status keeps_record(const struct compaction_rules *rules, const uint8_t *head,
                                  const struct record *r, bool *keep)
{
    int64_t newest;
    struct status st;

    *keep = true;
    if (record_batch_is_control(head) || r->offset >= rules->map_end_offset)
        return STATUS_OK;
    *keep = false;
    if (!r->key.data)
        return STATUS_OK;
    st = compaction_map_get(rules->map, r->key, &newest);
    if (!status_failed(st))
        *keep = r->offset >= newest && (r->value.data || !horizon_passed(rules, head));
    return st;
}

/* Sorts the records; *all: every one stays. */
static struct status keep_records(struct compaction_filter *f, struct bytes batch, bool *all)
{
    struct record_iter it;
    struct record r;
    struct status st = record_iter_open(&it, batch, f->scratch, f->rules.decompressed_max);
    const uint8_t *start = it.next;

    *all = true;
    while (!status_failed(st) && record_iter_next(&it, &r)) {
        bool keep;

        st = keeps_record(&f->rules, batch.data, &r, &keep);
        f->records_met++;
        if (!status_failed(st) && keep)
            record_batch_rewrite_keep(&f->rewrite, &r, (struct bytes){start, r.size_bytes});
        *all &= keep;
        start = it.next;
    }
    return status_failed(st) ? st : it.status;
}

static struct status filter_records(struct compaction_filter *f, struct bytes batch,
                                    bool marker_of_nothing, struct bytes *out)
{
    bool all, needs_horizon;
    struct status st = keep_records(f, batch, &all);

    if (status_failed(st) || f->rewrite.count == 0)
        return st;
    f->records_kept += f->rewrite.count;
    needs_horizon = (f->rewrite.has_tombstone || marker_of_nothing) && !has_horizon(batch.data);
    if (all && !needs_horizon) {
        *out = batch;
        return STATUS_OK;
    }
    return record_batch_rewrite_finish(
        &f->rewrite, needs_horizon ? f->rules.now_ms + f->rules.delete_retention_ms : NO_TIMESTAMP,
        f->scratch, out);
}

struct status compaction_filter_batch(struct compaction_filter *f, struct bytes batch, bool last,
                                      struct compaction_kept *out)
{
    const uint8_t *head = batch.data;
    const bool control = record_batch_is_control(head);
    enum retention retention = KEEP_SOME;
    bool discard;
    struct status st;

    *out = (struct compaction_kept){0};
    if (control)
        st = compaction_txns_control(&f->txns, batch, &discard, &out->has_aborted, &out->aborted);
    else
        st = compaction_txns_data(&f->txns, head, &discard);
    if (status_failed(st))
        return st;
    record_batch_rewrite_begin(&f->rewrite, batch);
    if (last || is_last_of_producer(&f->rules, head) ||
        record_batch_last_offset(head) + 1 == f->rules.round_end_offset)
        retention = KEEP_ALWAYS;
    if (discard && (!control || horizon_passed(&f->rules, head))) {
        f->records_met += record_batch_record_count(head);
        retention = retention == KEEP_ALWAYS ? KEEP_ALWAYS : DROP;
    } else {
        st = filter_records(f, batch, discard && control, &out->batch);
    }
    if (status_failed(st) || out->batch.size || retention != KEEP_ALWAYS)
        return st;
    record_batch_write_empty(head, f->empty);
    out->batch = (struct bytes){f->empty, sizeof f->empty};
    return STATUS_OK;
}
