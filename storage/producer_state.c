/* Producers of one log; see producer_state.h. */

#include "storage/producer_state.h"

#include <stdlib.h>

#include <uthash.h>
#include <utlist.h>

#include "protocol/base/byteorder.h"
#include "protocol/base/check.h"
#include "protocol/base/crc32c.h"

struct kept_batch {
    int64_t last_offset;
    int64_t timestamp_ms;
    int32_t last_sequence;
    int32_t offset_delta;
};

struct producer_entry {
    int64_t producer_id;
    int64_t last_timestamp_ms;
    int64_t transaction_first_offset; /* PRODUCER_NO_OFFSET: none open */
    int32_t coordinator_epoch;
    int16_t producer_epoch;
    uint8_t batch_count;
    struct kept_batch batches[PRODUCER_BATCHES_KEPT]; /* oldest first */
    UT_hash_handle hh;
};

struct producer_transaction {
    struct producer_transaction *prev, *next;
    int64_t producer_id;
    int64_t first_offset;
    int64_t last_offset; /* of the marker; PRODUCER_NO_OFFSET while open */
};

/* ---- producers ---- */

static struct producer_entry *find(const struct producer_state *s, int64_t producer_id)
{
    struct producer_entry *p = NULL;

    HASH_FIND(hh, s->producers, &producer_id, sizeof producer_id, p);
    return p;
}

static struct producer_entry *find_or_add(struct producer_state *s, int64_t producer_id)
{
    struct producer_entry *p = find(s, producer_id);

    if (p)
        return p;
    p = calloc(1, sizeof *p);
    CHECK(p != NULL);
    p->producer_id = producer_id;
    p->last_timestamp_ms = -1;
    p->transaction_first_offset = PRODUCER_NO_OFFSET;
    p->coordinator_epoch = -1;
    p->producer_epoch = PRODUCER_NO_EPOCH;
    HASH_ADD(hh, s->producers, producer_id, sizeof p->producer_id, p);
    return p;
}

static const struct kept_batch *last_batch(const struct producer_entry *p)
{
    return p->batch_count ? &p->batches[p->batch_count - 1] : NULL;
}

static void keep_batch(struct producer_entry *p, struct kept_batch b)
{
    if (p->batch_count == PRODUCER_BATCHES_KEPT) {
        memmove(p->batches, p->batches + 1, sizeof p->batches - sizeof p->batches[0]);
        p->batch_count--;
    }
    p->batches[p->batch_count++] = b;
}

static void set_epoch(struct producer_entry *p, int16_t epoch)
{
    if (p->producer_epoch == epoch)
        return;
    p->producer_epoch = epoch;
    p->batch_count = 0; /* sequences begin anew */
}

/* ---- sequences: 0 follows 2^31-1 ---- */

static int32_t sequence_add(int32_t sequence, int32_t delta)
{
    int64_t sum = (int64_t)sequence + delta;

    if (sequence == PRODUCER_NO_SEQUENCE)
        return PRODUCER_NO_SEQUENCE;
    return (int32_t)(sum & INT32_MAX);
}

static int32_t sequence_subtract(int32_t sequence, int32_t delta)
{
    int64_t difference = (int64_t)sequence - delta;

    return (int32_t)(difference < 0 ? difference + INT32_MAX + 1 : difference);
}

static bool follows(int32_t last, int32_t next)
{
    return (int64_t)next == (int64_t)last + 1 || (next == 0 && last == INT32_MAX);
}

/* ---- transactions ---- */

static void list_insert(struct producer_transaction **list, struct producer_transaction *t)
{
    struct producer_transaction *before = *list ? (*list)->prev : NULL; /* the last */

    /* New ones are nearly always the newest: look from the end. */
    while (before && before->first_offset > t->first_offset)
        before = before == *list ? NULL : before->prev;
    if (before)
        DL_APPEND_ELEM(*list, before, t);
    else
        DL_PREPEND(*list, t);
}

static void list_free(struct producer_transaction **list)
{
    struct producer_transaction *t, *next;

    DL_FOREACH_SAFE(*list, t, next)
    free(t);
    *list = NULL;
}

static void open_transaction(struct producer_state *s, struct producer_entry *p,
                             int64_t first_offset)
{
    struct producer_transaction *t = calloc(1, sizeof *t);

    CHECK(t != NULL);
    *t = (struct producer_transaction){
        .producer_id = p->producer_id,
        .first_offset = first_offset,
        .last_offset = PRODUCER_NO_OFFSET,
    };
    p->transaction_first_offset = first_offset;
    list_insert(&s->ongoing, t);
}

static struct producer_transaction *find_open(const struct producer_state *s,
                                              const struct producer_entry *p)
{
    struct producer_transaction *t;

    DL_FOREACH(s->ongoing, t)
    if (t->producer_id == p->producer_id && t->first_offset == p->transaction_first_offset)
        break;
    CHECK(t != NULL);
    return t;
}

void producer_state_high_watermark(struct producer_state *s, int64_t high_watermark)
{
    struct producer_transaction *t, *next;

    DL_FOREACH_SAFE(s->unreplicated, t, next)
    {
        if (t->last_offset >= high_watermark)
            continue;
        DL_DELETE(s->unreplicated, t);
        free(t);
    }
}

void producer_state_raise_start(struct producer_state *s, int64_t log_start_offset)
{
    producer_state_high_watermark(s, log_start_offset);
}

int64_t producer_state_first_undecided_offset(const struct producer_state *s)
{
    return s->ongoing ? s->ongoing->first_offset : PRODUCER_NO_OFFSET;
}

int64_t producer_state_first_unstable_offset(const struct producer_state *s)
{
    int64_t undecided = producer_state_first_undecided_offset(s);

    if (!s->unreplicated)
        return undecided;
    if (undecided == PRODUCER_NO_OFFSET || s->unreplicated->first_offset < undecided)
        return s->unreplicated->first_offset;
    return undecided;
}

int64_t producer_state_open_transaction(const struct producer_state *s, int64_t producer_id,
                                        int16_t producer_epoch)
{
    const struct producer_entry *p = find(s, producer_id);

    if (!p || (producer_epoch >= 0 && p->producer_epoch != producer_epoch))
        return PRODUCER_NO_OFFSET;
    return p->transaction_first_offset;
}

/* ---- checks: change nothing ---- */

static bool find_duplicate(const struct producer_entry *p, const struct producer_batch *b,
                           struct producer_duplicate *out)
{
    int32_t last = sequence_add(b->first_sequence, b->last_offset_delta);

    if (p->producer_epoch != b->producer_epoch)
        return false;
    for (unsigned i = 0; i < p->batch_count; i++) {
        const struct kept_batch *k = &p->batches[i];

        if (k->last_sequence != last ||
            sequence_subtract(k->last_sequence, k->offset_delta) != b->first_sequence)
            continue;
        *out = (struct producer_duplicate){true, k->last_offset - k->offset_delta, k->last_offset,
                                           k->timestamp_ms};
        return true;
    }
    return false;
}

static bool sequence_fits(const struct producer_entry *p, const struct producer_batch *b)
{
    const struct kept_batch *last = last_batch(p);

    if (p->producer_epoch == PRODUCER_NO_EPOCH)
        return true;
    if (p->producer_epoch != b->producer_epoch)
        return b->first_sequence == 0;
    return follows(last ? last->last_sequence : PRODUCER_NO_SEQUENCE, b->first_sequence);
}

struct status producer_state_check_batch(const struct producer_state *s,
                                         const struct producer_batch *b,
                                         enum producer_origin origin,
                                         struct producer_duplicate *duplicate)
{
    const struct producer_entry *p = find(s, b->producer_id);

    *duplicate = (struct producer_duplicate){0};
    if (!p || b->producer_id == PRODUCER_NO_ID)
        return STATUS_OK; /* a producer this log does not know may start anywhere */
    if (origin == PRODUCER_ORIGIN_CLIENT && find_duplicate(p, b, duplicate))
        return STATUS_OK;
    if (b->producer_epoch < p->producer_epoch)
        return status_error(KERR_INVALID_PRODUCER_EPOCH, "producer epoch below the newest");
    if (origin == PRODUCER_ORIGIN_CLIENT && !sequence_fits(p, b))
        return status_error(KERR_OUT_OF_ORDER_SEQUENCE_NUMBER, "sequence does not follow the last");
    if (p->transaction_first_offset != PRODUCER_NO_OFFSET && !b->transactional)
        return status_error(KERR_INVALID_TXN_STATE,
                            "not transactional while a transaction is open");
    return STATUS_OK;
}

struct status producer_state_check_marker(const struct producer_state *s,
                                          const struct producer_marker *m)
{
    const struct producer_entry *p = find(s, m->producer_id);

    if (!p)
        return STATUS_OK;
    if (m->producer_epoch < p->producer_epoch)
        return status_error(KERR_INVALID_PRODUCER_EPOCH, "marker epoch below the newest");
    if (m->transaction_version >= 2 && m->producer_epoch == p->producer_epoch &&
        p->transaction_first_offset != PRODUCER_NO_OFFSET)
        return status_error(KERR_INVALID_PRODUCER_EPOCH, "marker of an earlier transaction");
    if (m->coordinator_epoch < p->coordinator_epoch)
        return status_error(KERR_TRANSACTION_COORDINATOR_FENCED, "marker of an older coordinator");
    return STATUS_OK;
}

/* ---- what is in the log ---- */

static struct kept_batch kept_of(const struct producer_batch *b)
{
    return (struct kept_batch){
        .last_offset = b->last_offset,
        .timestamp_ms = b->max_timestamp_ms,
        .last_sequence = sequence_add(b->first_sequence, b->last_offset_delta),
        .offset_delta = (int32_t)(b->last_offset - b->first_offset),
    };
}

void producer_state_apply_batch(struct producer_state *s, const struct producer_batch *b)
{
    struct producer_entry *p;

    if (b->producer_id == PRODUCER_NO_ID)
        return;
    p = find_or_add(s, b->producer_id);
    set_epoch(p, b->producer_epoch);
    keep_batch(p, kept_of(b));
    p->last_timestamp_ms = b->max_timestamp_ms;
    if (b->transactional && p->transaction_first_offset == PRODUCER_NO_OFFSET)
        open_transaction(s, p, b->first_offset);
}

void producer_state_remember_batch(struct producer_state *s, const struct producer_batch *b)
{
    struct producer_entry *p = find(s, b->producer_id);
    struct kept_batch last;

    if (!p || !p->batch_count || p->producer_epoch != b->producer_epoch ||
        b->first_sequence == PRODUCER_NO_SEQUENCE)
        return;
    last = *last_batch(p);
    if (b->last_offset >= last.last_offset)
        return;
    p->batch_count--; /* the newest goes behind it again */
    keep_batch(p, kept_of(b));
    keep_batch(p, last);
}

/* The last stable offset once t has ended: where the first transaction of another producer
 * begins. */
static int64_t last_stable_after(const struct producer_state *s,
                                 const struct producer_transaction *ended, int64_t marker_offset)
{
    const struct producer_transaction *t;

    DL_FOREACH(s->ongoing, t)
    if (t->producer_id != ended->producer_id)
        return t->first_offset;
    return marker_offset + 1;
}

void producer_state_apply_marker(struct producer_state *s, const struct producer_marker *m,
                                 struct producer_completed *out)
{
    struct producer_entry *p = find_or_add(s, m->producer_id);

    *out = (struct producer_completed){
        .producer_id = m->producer_id, .last_offset = m->offset, .aborted = m->abort};
    if (p->transaction_first_offset != PRODUCER_NO_OFFSET) {
        struct producer_transaction *t = find_open(s, p);

        out->had_transaction = true;
        out->first_offset = t->first_offset;
        out->last_stable_offset = last_stable_after(s, t, m->offset);
        DL_DELETE(s->ongoing, t);
        t->last_offset = m->offset;
        list_insert(&s->unreplicated, t);
        p->transaction_first_offset = PRODUCER_NO_OFFSET;
    }
    set_epoch(p, m->producer_epoch);
    p->coordinator_epoch = m->coordinator_epoch;
    p->last_timestamp_ms = m->timestamp_ms;
}

/* ---- forgetting ---- */

static bool expired(int64_t transaction_first_offset, int64_t last_timestamp_ms, int64_t now_ms,
                    int64_t expiration_ms)
{
    int64_t oldest_kept;

    /* Timestamps come from clients and may be anything: no subtraction that could overflow. */
    if (transaction_first_offset != PRODUCER_NO_OFFSET ||
        __builtin_sub_overflow(now_ms, expiration_ms, &oldest_kept))
        return false;
    return last_timestamp_ms <= oldest_kept;
}

void producer_state_expire(struct producer_state *s, int64_t now_ms, int64_t expiration_ms)
{
    struct producer_entry *p, *next;

    HASH_ITER(hh, s->producers, p, next)
    {
        if (!expired(p->transaction_first_offset, p->last_timestamp_ms, now_ms, expiration_ms))
            continue;
        HASH_DEL(s->producers, p);
        free(p);
    }
}

void producer_state_clear(struct producer_state *s)
{
    struct producer_entry *p, *next;

    HASH_ITER(hh, s->producers, p, next)
    {
        HASH_DEL(s->producers, p);
        free(p);
    }
    list_free(&s->ongoing);
    list_free(&s->unreplicated);
}

void producer_state_free(struct producer_state *s)
{
    producer_state_clear(s);
}

/* ---- looking ---- */

size_t producer_state_count(const struct producer_state *s)
{
    return HASH_COUNT(s->producers);
}

static struct producer_view view_of(const struct producer_entry *p)
{
    const struct kept_batch *b = last_batch(p);

    return (struct producer_view){
        .producer_id = p->producer_id,
        .last_timestamp_ms = p->last_timestamp_ms,
        .last_offset = b ? b->last_offset : PRODUCER_NO_OFFSET,
        .transaction_first_offset = p->transaction_first_offset,
        .last_sequence = b ? b->last_sequence : PRODUCER_NO_SEQUENCE,
        .last_offset_delta = b ? b->offset_delta : 0,
        .coordinator_epoch = p->coordinator_epoch,
        .producer_epoch = p->producer_epoch,
    };
}

void producer_state_each(const struct producer_state *s, producer_visit *visit, void *arg)
{
    for (const struct producer_entry *p = s->producers; p; p = p->hh.next) {
        struct producer_view v = view_of(p);

        visit(arg, &v);
    }
}

/* ---- snapshots ----
 *
 *   int16 version = 1, uint32 CRC-32C of all that follows, int32 count, then for each producer:
 *   int64 id, int16 epoch, int32 last sequence, int64 last offset, int32 offset delta, int64
 *   timestamp, int32 coordinator epoch, int64 first offset of the open transaction or -1 */

#define SNAPSHOT_VERSION    1
#define SNAPSHOT_CRC_AT     2
#define SNAPSHOT_COUNT_AT   6
#define SNAPSHOT_ENTRIES_AT 10
#define SNAPSHOT_ENTRY_SIZE 46

void producer_snapshot_encode(const struct producer_state *s, struct bytes_mut *out)
{
    size_t count = producer_state_count(s);
    uint8_t *at;

    out->size = SNAPSHOT_ENTRIES_AT + count * SNAPSHOT_ENTRY_SIZE;
    out->data = malloc(out->size);
    CHECK(out->data != NULL);
    CHECK(count <= INT32_MAX);
    store_be16(out->data, SNAPSHOT_VERSION);
    store_be32(out->data + SNAPSHOT_COUNT_AT, (uint32_t)count);
    at = out->data + SNAPSHOT_ENTRIES_AT;
    for (const struct producer_entry *p = s->producers; p; p = p->hh.next) {
        struct producer_view v = view_of(p);

        store_be64(at, (uint64_t)v.producer_id);
        store_be16(at + 8, (uint16_t)v.producer_epoch);
        store_be32(at + 10, (uint32_t)v.last_sequence);
        store_be64(at + 14, (uint64_t)v.last_offset);
        store_be32(at + 22, (uint32_t)v.last_offset_delta);
        store_be64(at + 26, (uint64_t)v.last_timestamp_ms);
        store_be32(at + 34, (uint32_t)v.coordinator_epoch);
        store_be64(at + 38, (uint64_t)v.transaction_first_offset);
        at += SNAPSHOT_ENTRY_SIZE;
    }
    store_be32(out->data + SNAPSHOT_CRC_AT,
               crc32c(out->data + SNAPSHOT_COUNT_AT, out->size - SNAPSHOT_COUNT_AT));
}

static struct status bad_snapshot(const char *where)
{
    return status_error(KERR_KAFKA_STORAGE_ERROR, where);
}

static struct producer_view read_entry(const uint8_t *at)
{
    return (struct producer_view){
        .producer_id = (int64_t)load_be64(at),
        .producer_epoch = (int16_t)load_be16(at + 8),
        .last_sequence = (int32_t)load_be32(at + 10),
        .last_offset = (int64_t)load_be64(at + 14),
        .last_offset_delta = (int32_t)load_be32(at + 22),
        .last_timestamp_ms = (int64_t)load_be64(at + 26),
        .coordinator_epoch = (int32_t)load_be32(at + 34),
        .transaction_first_offset = (int64_t)load_be64(at + 38),
    };
}

/* A CRC only says that these bytes were written; the numbers must make sense too. */
static bool entry_makes_sense(const struct producer_view *v)
{
    return v->producer_id >= 0 && v->last_sequence >= PRODUCER_NO_SEQUENCE &&
           v->last_offset_delta >= 0 &&
           (v->last_offset < 0 || v->last_offset >= v->last_offset_delta);
}

struct status producer_snapshot_visit(struct bytes snapshot, producer_visit *visit, void *arg)
{
    const uint8_t *data = snapshot.data;
    size_t count;

    if (snapshot.size < SNAPSHOT_ENTRIES_AT)
        return bad_snapshot("producer snapshot: too short");
    if (load_be16(data) != SNAPSHOT_VERSION)
        return bad_snapshot("producer snapshot: unknown version");
    if (load_be32(data + SNAPSHOT_CRC_AT) !=
        crc32c(data + SNAPSHOT_COUNT_AT, snapshot.size - SNAPSHOT_COUNT_AT))
        return bad_snapshot("producer snapshot: wrong CRC");
    count = load_be32(data + SNAPSHOT_COUNT_AT);
    if (count != (snapshot.size - SNAPSHOT_ENTRIES_AT) / SNAPSHOT_ENTRY_SIZE ||
        (snapshot.size - SNAPSHOT_ENTRIES_AT) % SNAPSHOT_ENTRY_SIZE != 0)
        return bad_snapshot("producer snapshot: count and size differ");
    for (size_t i = 0; i < count; i++) {
        struct producer_view v = read_entry(data + SNAPSHOT_ENTRIES_AT + i * SNAPSHOT_ENTRY_SIZE);

        if (!entry_makes_sense(&v))
            return bad_snapshot("producer snapshot: impossible entry");
    }
    for (size_t i = 0; i < count; i++) {
        struct producer_view v = read_entry(data + SNAPSHOT_ENTRIES_AT + i * SNAPSHOT_ENTRY_SIZE);

        visit(arg, &v);
    }
    return STATUS_OK;
}

struct load {
    struct producer_state *state;
    int64_t now_ms;
    int64_t expiration_ms;
};

static void load_entry(void *arg, const struct producer_view *v)
{
    const struct load *l = arg;
    struct producer_entry *p;

    /* Twice the same producer: the first stands, so that its transaction is opened once. */
    if (expired(v->transaction_first_offset < 0 ? PRODUCER_NO_OFFSET : v->transaction_first_offset,
                v->last_timestamp_ms, l->now_ms, l->expiration_ms) ||
        find(l->state, v->producer_id))
        return;
    p = find_or_add(l->state, v->producer_id);
    p->producer_epoch = v->producer_epoch;
    p->coordinator_epoch = v->coordinator_epoch;
    p->last_timestamp_ms = v->last_timestamp_ms;
    if (v->last_offset >= 0)
        keep_batch(p, (struct kept_batch){v->last_offset, v->last_timestamp_ms, v->last_sequence,
                                          v->last_offset_delta});
    if (v->transaction_first_offset >= 0)
        open_transaction(l->state, p, v->transaction_first_offset);
}

struct status producer_snapshot_load(struct producer_state *s, struct bytes snapshot,
                                     int64_t now_ms, int64_t expiration_ms)
{
    struct load l = {s, now_ms, expiration_ms};

    CHECK(s->producers == NULL);
    return producer_snapshot_visit(snapshot, load_entry, &l);
}
