#include "tests/sim/sim_ledger.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "protocol/base/check.h"
#include "protocol/record_batch.h"
#include "tests/sim/sim_heap.h"

#define READ_BYTES ((size_t)1 << 20)

void sim_ledger_free(struct sim_ledger *l)
{
    free(l->batches);
    *l = (struct sim_ledger){0};
}

int64_t sim_ledger_end(const struct sim_ledger *l)
{
    return l->count ? l->batches[l->count - 1].last_offset + 1 : 0;
}

/* The first one that ends at or after offset. */
static size_t find(const struct sim_ledger *l, int64_t offset)
{
    size_t low = 0, high = l->count;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (l->batches[middle].last_offset < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool compare_batch(struct sim_ledger *l, struct bytes b, char *why, size_t why_size)
{
    const struct sim_committed c = {record_batch_base_offset(b.data),
                                    record_batch_last_offset(b.data),
                                    record_batch_leader_epoch(b.data), record_batch_crc(b.data)};
    size_t i = find(l, c.base_offset);
    const struct sim_committed *known = i < l->count ? &l->batches[i] : NULL;

    if (known && known->base_offset <= c.last_offset) {
        if (known->base_offset == c.base_offset && known->last_offset == c.last_offset &&
            known->epoch == c.epoch && known->crc == c.crc)
            return true;
        snprintf(why, why_size,
                 "batch %" PRId64 " to %" PRId64 " of epoch %d (crc %08x), where %" PRId64
                 " to %" PRId64 " of epoch %d (crc %08x) is committed",
                 c.base_offset, c.last_offset, c.epoch, c.crc, known->base_offset,
                 known->last_offset, known->epoch, known->crc);
        return false;
    }
    if (l->count == l->capacity) {
        struct sim_heap *before = sim_heap_switch(NULL);

        l->capacity = l->capacity ? 2 * l->capacity : 64;
        l->batches = realloc(l->batches, l->capacity * sizeof l->batches[0]);
        CHECK(l->batches != NULL);
        sim_heap_switch(before);
    }
    for (size_t j = l->count++; j > i; j--)
        l->batches[j] = l->batches[j - 1];
    l->batches[i] = c;
    return true;
}

/* Moves *at past the batches of one piece. */
static enum sim_verdict compare_piece(struct sim_ledger *l, const struct sim_place *place,
                                      int64_t *at, int64_t to, char *why, size_t why_size)
{
    struct log_read_args args = {
        .offset = *at, .end_offset = to, .max_bytes = READ_BYTES, .min_one = true};
    struct log_slice slice;
    struct record_batches it;
    struct bytes batch;
    struct status st = log_read(place->log, &args, &slice);
    enum sim_verdict verdict = SIM_SAME;
    uint8_t *bytes;

    snprintf(why, why_size, "offset %" PRId64 ", below %" PRId64 ", cannot be read: %s", *at, to,
             status_failed(st) ? kerr_name(st.code) : "nothing is there");
    if (status_failed(st))
        return SIM_UNREADABLE;
    if (slice.cold)
        st = log_slice_locate(&slice);
    bytes = malloc(slice.size + 1);
    CHECK(bytes != NULL);
    if (status_failed(st) || slice.size == 0 ||
        status_failed(log_slice_read(&slice, 0, bytes, slice.size, NULL)))
        verdict = SIM_UNREADABLE;
    it = record_batches((struct bytes){bytes, slice.size});
    while (verdict == SIM_SAME && record_batches_next(&it, &batch)) {
        if (!compare_batch(l, batch, why, why_size))
            verdict = SIM_OTHER;
        *at = record_batch_last_offset(batch.data) + 1;
    }
    free(bytes);
    log_slice_release(&slice);
    return verdict;
}

enum sim_verdict sim_ledger_compare(struct sim_ledger *l, const struct sim_place *place,
                                    int64_t from, int64_t to, char *why, size_t why_size)
{
    struct sim_heap *before = sim_heap_switch(place->heap);
    int64_t at = from > log_start_offset(place->log) ? from : log_start_offset(place->log);
    enum sim_verdict verdict = SIM_SAME;

    place->drive->observed = true;
    while (verdict == SIM_SAME && at < to)
        verdict = compare_piece(l, place, &at, to, why, why_size);
    place->drive->observed = false;
    sim_heap_switch(before);
    return verdict;
}
