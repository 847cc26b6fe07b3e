#include "storage/log_compaction_txns.h"

#include <errno.h>
#include <stdlib.h>

#include <uthash.h>

#include "protocol/record_batch.h"

struct compaction_txn {
    int64_t producer_id;
    bool aborted; /* and `entry` says which */
    bool met;     /* batches of it */
    struct txn_index_entry entry;
    UT_hash_handle hh;
};

void compaction_txns_init(struct compaction_txns *t, const struct txn_index_entry *aborted,
                          size_t count)
{
    *t = (struct compaction_txns){.aborted = aborted, .aborted_count = count};
}

void compaction_txns_free(struct compaction_txns *t)
{
    struct compaction_txn *x, *next;

    HASH_ITER(hh, t->open, x, next)
    {
        HASH_DEL(t->open, x);
        free(x);
    }
}

static struct compaction_txn *find(struct compaction_txns *t, int64_t producer_id)
{
    struct compaction_txn *x;

    HASH_FIND(hh, t->open, &producer_id, sizeof producer_id, x);
    return x;
}

static struct compaction_txn *add(struct compaction_txns *t, int64_t producer_id)
{
    struct compaction_txn *x = calloc(1, sizeof *x);

    if (!x)
        return NULL;
    x->producer_id = producer_id;
    HASH_ADD(hh, t->open, producer_id, sizeof x->producer_id, x);
    return x;
}

/* Opens the aborted transactions that begin up to `last_offset`. One whose marker is behind the
 * walk already is of no interest: the walk began after it. */
static struct status open_aborted(struct compaction_txns *t, int64_t base_offset,
                                  int64_t last_offset)
{
    for (; t->next < t->aborted_count && t->aborted[t->next].first_offset <= last_offset;
         t->next++) {
        const struct txn_index_entry *e = &t->aborted[t->next];
        struct compaction_txn *x;

        if (e->last_offset < base_offset)
            continue;
        x = find(t, e->producer_id);
        if (!x)
            x = add(t, e->producer_id);
        if (!x)
            return status_errno(ENOMEM, "transactions of a compaction");
        if (!x->aborted)
            *x = (struct compaction_txn){
                .producer_id = e->producer_id, .aborted = true, .entry = *e, .hh = x->hh};
    }
    return STATUS_OK;
}

struct status compaction_txns_data(struct compaction_txns *t, const uint8_t *head, bool *discard)
{
    struct status st =
        open_aborted(t, record_batch_base_offset(head), record_batch_last_offset(head));
    struct compaction_txn *x;

    *discard = false;
    if (status_failed(st) || !record_batch_is_transactional(head))
        return st;
    x = find(t, record_batch_producer_id(head));
    if (!x)
        x = add(t, record_batch_producer_id(head));
    if (!x)
        return status_errno(ENOMEM, "transactions of a compaction");
    if (x->aborted && x->entry.last_offset < record_batch_base_offset(head))
        x->aborted = false; /* its marker is gone: this is the producer's next transaction */
    x->met = true;
    *discard = x->aborted;
    return STATUS_OK;
}

/* An enum control_type; -1: the batch has no record any more; -2: another kind. */
static int marker_type(struct bytes batch)
{
    struct record_iter it;
    struct record r;

    if (record_batch_record_count(batch.data) == 0)
        return -1;
    if (status_failed(record_iter_open(&it, batch, NULL, 0)) || !record_iter_next(&it, &r))
        return -2;
    return control_record_type(&r);
}

struct status compaction_txns_control(struct compaction_txns *t, struct bytes batch, bool *discard,
                                      bool *keep_aborted, struct txn_index_entry *entry)
{
    struct status st =
        open_aborted(t, record_batch_base_offset(batch.data), record_batch_last_offset(batch.data));
    const int type = marker_type(batch);
    struct compaction_txn *x;

    *keep_aborted = false;
    *discard = type == -1;
    if (status_failed(st) || (type != CONTROL_ABORT && type != CONTROL_COMMIT))
        return st;
    x = find(t, record_batch_producer_id(batch.data));
    *discard = !x || !x->met;
    if (!x)
        return STATUS_OK;
    if (type == CONTROL_ABORT && x->aborted && x->met) {
        *keep_aborted = true;
        *entry = x->entry;
    }
    HASH_DEL(t->open, x);
    free(x);
    return STATUS_OK;
}
