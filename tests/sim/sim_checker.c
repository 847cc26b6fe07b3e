#include "tests/sim/sim_checker.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"
#include "protocol/record_batch.h"
#include "tests/sim/sim_world.h"

#define DECOMPRESSED_MAX ((size_t)16 << 20)

/* Room for one more element of a growing array. */
static void *grown(void *items, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity)
        return items;
    *capacity = *capacity ? 2 * *capacity : 64;
    items = realloc(items, *capacity * size);
    CHECK(items != NULL);
    return items;
}

void sim_checker_init(struct sim_checker *c, struct sim_world *w, bool flush_before_ack)
{
    *c = (struct sim_checker){
        .world = w, .flush_before_ack = flush_before_ack, .scratch = compression_scratch_new()};
    CHECK(c->scratch != NULL);
}

void sim_checker_free(struct sim_checker *c)
{
    for (size_t i = 0; i < c->topic_count; i++)
        for (size_t p = 0; p < SIM_PARTITIONS_MAX; p++)
            free(c->topics[i].partitions[p].entries);
    free(c->topics);
    free(c->batches);
    free(c->producer_ids);
    compression_scratch_free(c->scratch);
}

/* ---- topics ---- */

struct sim_topic *sim_checker_add_topic(struct sim_checker *c, const char *name, struct uuid id,
                                        int32_t partitions)
{
    struct sim_topic *t;

    if (sim_checker_topic(c, id))
        sim_world_fail(c->world, "topic %s was given an id that another one has or had", name);
    c->topics = grown(c->topics, c->topic_count, &c->topic_capacity, sizeof *c->topics);
    t = &c->topics[c->topic_count];
    *t = (struct sim_topic){
        .id = id, .partition_count = partitions, .partition_count_max = partitions};
    CHECK(strlen(name) < sizeof t->name);
    strcpy(t->name, name);
    c->topic_count++;
    return t;
}

struct sim_topic *sim_checker_topic(struct sim_checker *c, struct uuid id)
{
    for (size_t i = c->topic_count; i-- > 0;)
        if (uuid_equal(c->topics[i].id, id))
            return &c->topics[i];
    return NULL;
}

struct sim_topic *sim_checker_topic_named(struct sim_checker *c, struct str name)
{
    for (size_t i = c->topic_count; i-- > 0;)
        if (c->topics[i].state != SIM_TOPIC_GONE && str_equal(str_from(c->topics[i].name), name))
            return &c->topics[i];
    return NULL;
}

bool sim_checker_topic_usable(const struct sim_topic *t)
{
    return t->state == SIM_TOPIC_THERE;
}

/* ---- batches ---- */

size_t sim_checker_new_batch(struct sim_checker *c, const struct sim_batch *b)
{
    c->batches = grown(c->batches, c->batch_count, &c->batch_capacity, sizeof *c->batches);
    c->batches[c->batch_count] = *b;
    c->batches[c->batch_count].base_offset = -1;
    c->batches[c->batch_count].life = c->world->machines[0].attempts;
    return c->batch_count++;
}

void sim_checker_fill_value(uint8_t *out, size_t size, size_t batch, int32_t index)
{
    CHECK(size >= SIM_VALUE_BYTES_MIN);
    store_be64(out, (uint64_t)batch);
    store_be32(out + 8, (uint32_t)index);
    for (size_t i = SIM_VALUE_BYTES_MIN; i < size; i++)
        out[i] = (uint8_t)(batch * 31 + (size_t)index * 7 + i / 3);
}

static bool value_is_right(struct bytes value, size_t batch, int32_t index)
{
    if (value.size < SIM_VALUE_BYTES_MIN || load_be64(value.data) != batch ||
        load_be32(value.data + 8) != (uint32_t)index)
        return false;
    for (size_t i = SIM_VALUE_BYTES_MIN; i < value.size; i++)
        if (value.data[i] != (uint8_t)(batch * 31 + (size_t)index * 7 + i / 3))
            return false;
    return true;
}

/* ---- entries ---- */

/* The first entry that ends at or after offset. */
static size_t find(const struct sim_partition *p, int64_t offset)
{
    size_t low = 0, high = p->count;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (p->entries[middle].last_offset < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The batch is not there, unless it is known to stand elsewhere by now. */
static void forget(struct sim_checker *c, const struct sim_entry *e)
{
    struct sim_batch *b = &c->batches[e->batch];

    if (b->base_offset == e->base_offset)
        b->base_offset = -1;
}

static void remove_from(struct sim_checker *c, struct sim_partition *p, size_t first)
{
    for (size_t i = first; i < p->count; i++)
        forget(c, &p->entries[i]);
    p->count = first;
}

/* Drops loose entries that reach past offset; false when one that is promised does. */
static bool make_room(struct sim_checker *c, struct sim_partition *p, int64_t offset)
{
    size_t first = find(p, offset);

    for (size_t i = first; i < p->count; i++)
        if (p->entries[i].promise != SIM_LOOSE)
            return false;
    remove_from(c, p, first);
    return true;
}

/* Drops loose entries within [base, last], where another one is; false when one that is promised is
 * there. */
static bool make_way(struct sim_checker *c, struct sim_partition *p, int64_t base, int64_t last)
{
    const size_t first = find(p, base);
    size_t end = first;

    for (; end < p->count && p->entries[end].base_offset <= last; end++)
        if (p->entries[end].promise != SIM_LOOSE)
            return false;
    for (size_t i = first; i < end; i++)
        forget(c, &p->entries[i]);
    memmove(&p->entries[first], &p->entries[end], (p->count - end) * sizeof p->entries[0]);
    p->count -= end - first;
    return true;
}

static void promise(struct sim_partition *p, struct sim_entry *e, enum sim_promise firmness)
{
    if (e->promise < firmness)
        e->promise = firmness;
    if (p->ends[firmness] <= e->last_offset)
        p->ends[firmness] = e->last_offset + 1;
}

/* The batch stands at base_offset, somebody says. */
static struct sim_entry *place(struct sim_checker *c, struct sim_topic *t, size_t batch,
                               int64_t base_offset)
{
    struct sim_batch *b = &c->batches[batch];
    struct sim_partition *p = &t->partitions[b->partition];
    const int64_t last_offset = base_offset + b->count - 1;
    size_t i = find(p, base_offset);
    struct sim_entry *e = i < p->count ? &p->entries[i] : NULL;

    if (e && e->base_offset == base_offset && e->batch == batch)
        return e;
    /* A replica that begins at its leader's log start does not know who wrote what is deleted, and
     * would take it again. */
    if (b->base_offset >= 0 && b->base_offset + b->count > p->log_start) {
        sim_world_fail(c->world, "%s-%d: batch %zu is at offset %" PRId64 " and again at %" PRId64,
                       t->name, b->partition, batch, b->base_offset, base_offset);
        return NULL;
    }
    if (e && e->base_offset <= last_offset) {
        size_t other = e->batch;
        int64_t other_offset = e->base_offset;

        if (!make_way(c, p, base_offset, last_offset)) {
            sim_world_fail(
                c->world, "%s-%d: batch %zu at offset %" PRId64 ", where batch %zu was at %" PRId64,
                t->name, b->partition, batch, base_offset, other, other_offset);
            return NULL;
        }
        i = find(p, base_offset);
    }
    p->entries = grown(p->entries, p->count, &p->capacity, sizeof *p->entries);
    e = &p->entries[i];
    memmove(e + 1, e, (p->count - i) * sizeof *e);
    p->count++;
    *e = (struct sim_entry){.base_offset = base_offset, .last_offset = last_offset, .batch = batch};
    b->base_offset = base_offset;
    return e;
}

/* Whether another batch was promised to be somewhere in there. */
static bool taken(const struct sim_partition *p, size_t batch, int64_t base_offset,
                  int64_t last_offset)
{
    for (size_t i = find(p, base_offset); i < p->count && p->entries[i].base_offset <= last_offset;
         i++)
        if (p->entries[i].batch != batch && p->entries[i].promise != SIM_LOOSE)
            return true;
    return false;
}

void sim_checker_acknowledged(struct sim_checker *c, size_t batch, int64_t base_offset, bool by_all)
{
    struct sim_batch *b = &c->batches[batch];
    struct sim_topic *t = &c->topics[b->topic];
    struct sim_entry *e;

    c->acknowledged++;
    if (base_offset < 0) {
        sim_world_fail(c->world, "%s-%d: batch %zu was acknowledged at offset %" PRId64, t->name,
                       b->partition, batch, base_offset);
        return;
    }
    /* acks=1 from a leader that does not know yet that it was deposed, and what it has there is
     * lost: so it may be. */
    if (!by_all && c->world->machine_count > 1 &&
        taken(&t->partitions[b->partition], batch, base_offset, base_offset + b->count - 1))
        return;
    e = place(c, t, batch, base_offset);
    if (e && (by_all || c->world->machine_count == 1)) /* in a cluster the next leader need not
                                                        * have it */
        promise(&t->partitions[b->partition], e,
                by_all && c->flush_before_ack ? SIM_DURABLE : SIM_CACHED);
}

void sim_checker_producer_id(struct sim_checker *c, int64_t producer_id)
{
    for (size_t i = 0; i < c->producer_id_count; i++)
        if (c->producer_ids[i] == producer_id)
            sim_world_fail(c->world, "producer id %" PRId64 " was given out twice", producer_id);
    c->producer_ids = grown(c->producer_ids, c->producer_id_count, &c->producer_id_capacity,
                            sizeof *c->producer_ids);
    c->producer_ids[c->producer_id_count++] = producer_id;
}

/* ---- reading ---- */

/* Which batch this is, by what its records say; SIZE_MAX: none of ours. */
static size_t identify(struct sim_checker *c, struct bytes bytes)
{
    struct record_iter it;
    struct record r;
    size_t batch = SIZE_MAX;
    int32_t index = 0;

    if (status_failed(record_iter_open(&it, bytes, c->scratch, DECOMPRESSED_MAX)))
        return SIZE_MAX;
    for (; record_iter_next(&it, &r); index++) {
        if (index == 0 && r.value.size >= SIM_VALUE_BYTES_MIN)
            batch = (size_t)load_be64(r.value.data);
        if (!value_is_right(r.value, batch, index))
            return SIZE_MAX;
    }
    if (status_failed(it.status) || batch >= c->batch_count || c->batches[batch].count != index)
        return SIZE_MAX;
    return batch;
}

static bool belongs(const struct sim_checker *c, const struct sim_topic *t, int32_t partition,
                    struct bytes bytes, size_t batch)
{
    const struct sim_batch *b = &c->batches[batch];

    return &c->topics[b->topic] == t && b->partition == partition &&
           (t->log_append_time || record_batch_crc(bytes.data) == b->crc) &&
           record_batch_producer_id(bytes.data) == b->producer_id &&
           record_batch_base_sequence(bytes.data) == b->base_sequence;
}

/* Bits were flipped on its disk. A CRC that is right vouches for what it covers; base offset and
 * leader epoch are not among that. */
static bool read_damaged(struct sim_checker *c, struct sim_topic *t, int32_t partition,
                         struct bytes batch, int64_t offset, int64_t *next)
{
    const int64_t last = record_batch_last_offset(batch.data);
    size_t number;

    if (!status_failed(record_batch_check(batch))) {
        number = identify(c, batch);
        if (number == SIZE_MAX || !belongs(c, t, partition, batch, number))
            sim_world_fail(
                c->world,
                "%s-%d: a batch of a damaged log is not as it was sent, and its CRC is right",
                t->name, partition);
    }
    *next = last + 1;
    return last >= offset;
}

bool sim_checker_read(struct sim_checker *c, struct sim_topic *t, int32_t partition,
                      struct bytes batch, int64_t offset, int64_t high_watermark, int64_t *next)
{
    struct sim_partition *p = &t->partitions[partition];
    const int64_t base = record_batch_base_offset(batch.data),
                  last = record_batch_last_offset(batch.data);
    struct sim_entry *e;
    size_t number;

    c->read_batches++;
    if (p->damaged)
        return read_damaged(c, t, partition, batch, offset, next);
    if (base > offset || last < offset) {
        sim_world_fail(
            c->world, "%s-%d: asked for offset %" PRId64 ", got a batch of %" PRId64 " to %" PRId64,
            t->name, partition, offset, base, last);
        return false;
    }
    if (last >= high_watermark) {
        sim_world_fail(c->world,
                       "%s-%d: a batch up to offset %" PRId64 " above the high watermark %" PRId64,
                       t->name, partition, last, high_watermark);
        return false;
    }
    *next = last + 1;
    if (status_failed(record_batch_check(batch)) || (number = identify(c, batch)) == SIZE_MAX) {
        sim_world_fail(c->world, "%s-%d: a damaged batch at offset %" PRId64, t->name, partition,
                       base);
        return false;
    }
    if (!belongs(c, t, partition, batch, number)) {
        sim_world_fail(c->world,
                       "%s-%d: batch %zu at offset %" PRId64
                       " is not as it was sent, or to elsewhere",
                       t->name, partition, number, base);
        return false;
    }
    e = place(c, t, number, base);
    if (!e)
        return false;
    e->size_bytes = batch.size;
    e->max_timestamp_ms = record_batch_max_timestamp(batch.data);
    promise(p, e, c->flush_before_ack ? SIM_DURABLE : SIM_CACHED);
    return true;
}

bool sim_checker_may_lose(const struct sim_checker *c)
{
    return !c->flush_before_ack && c->world->machines[0].memory_lost;
}

void sim_checker_saw_log_start(struct sim_checker *c, struct sim_topic *t, int32_t partition,
                               int64_t log_start, int64_t floor)
{
    struct sim_partition *p = &t->partitions[partition];

    if (p->damaged)
        return;
    if (log_start < floor)
        sim_world_fail(c->world, "%s-%d: the log start went from %" PRId64 " to %" PRId64, t->name,
                       partition, floor, log_start);
    if (log_start > p->deleted_to && !t->retention && !sim_checker_may_lose(c))
        sim_world_fail(c->world,
                       "%s-%d: the log starts at %" PRId64
                       ", though nobody deleted more than up to %" PRId64,
                       t->name, partition, log_start, p->deleted_to);
    if (log_start > p->log_start)
        p->log_start = log_start;
}

void sim_checker_saw(struct sim_checker *c, struct sim_topic *t, int32_t partition,
                     int64_t high_watermark, int64_t watermark_floor, int64_t log_start,
                     int64_t log_start_floor)
{
    struct sim_partition *p = &t->partitions[partition];
    enum sim_promise firmness = c->flush_before_ack ? SIM_DURABLE : SIM_CACHED;

    if (p->damaged)
        return;
    if (high_watermark < watermark_floor)
        sim_world_fail(c->world, "%s-%d: the high watermark went from %" PRId64 " to %" PRId64,
                       t->name, partition, watermark_floor, high_watermark);
    if (high_watermark > p->high_watermark)
        p->high_watermark = high_watermark;
    if (high_watermark > p->ends[firmness])
        p->ends[firmness] = high_watermark;
    if (log_start >= 0)
        sim_checker_saw_log_start(c, t, partition, log_start, log_start_floor);
}

int64_t sim_checker_end(const struct sim_partition *p)
{
    return p->ends[SIM_CACHED] > p->ends[SIM_DURABLE] ? p->ends[SIM_CACHED] : p->ends[SIM_DURABLE];
}

/* What nobody promised and nobody found. */
static void drop_loose(struct sim_checker *c, struct sim_partition *p)
{
    size_t kept = 0;

    for (size_t i = 0; i < p->count; i++)
        if (p->entries[i].promise == SIM_LOOSE)
            forget(c, &p->entries[i]);
        else
            p->entries[kept++] = p->entries[i];
    p->count = kept;
}

/* Batches of a stream, and of an idempotent producer, in their order. Streams of a producer id have
 * no gaps. */
static void check_order(struct sim_checker *c, struct sim_topic *t, int32_t partition, int64_t from)
{
    const struct sim_partition *p = &t->partitions[partition];
    int64_t *last = calloc(c->stream_count ? c->stream_count : 1, sizeof *last);

    CHECK(last != NULL);
    for (size_t i = find(p, from); i < p->count; i++) {
        const struct sim_batch *b = &c->batches[p->entries[i].batch];
        int64_t before = last[b->stream];

        if (before > 0 && (b->number < before || (b->producer_id >= 0 && b->number != before + 1)))
            sim_world_fail(c->world,
                           "%s-%d: batch %zu, number %" PRId64
                           " of its stream, follows number %" PRId64,
                           t->name, partition, p->entries[i].batch, b->number, before);
        last[b->stream] = b->number;
    }
    free(last);
}

void sim_checker_read_all(struct sim_checker *c, struct sim_topic *t, int32_t partition,
                          int64_t from, int64_t end)
{
    struct sim_partition *p = &t->partitions[partition];

    if (p->damaged)
        return;
    if (end < sim_checker_end(p))
        sim_world_fail(c->world, "%s-%d: ends at offset %" PRId64 ", but %" PRId64 " was promised",
                       t->name, partition, end, sim_checker_end(p));
    else if (!make_room(c, p, end))
        sim_world_fail(c->world, "%s-%d: a promised batch lies behind the end %" PRId64, t->name,
                       partition, end);
    drop_loose(c, p);
    check_order(c, t, partition, from);
}

/* ---- lives ---- */

static void partition_life_over(struct sim_checker *c, struct sim_partition *p, bool memory_lost,
                                bool clean)
{
    p->kept_log_start = clean ? p->log_start : 0;
    p->log_start = p->kept_log_start;
    p->high_watermark = 0;
    if (!memory_lost)
        return;
    p->ends[SIM_CACHED] = 0;
    for (size_t i = 0; i < p->count; i++)
        if (p->entries[i].promise == SIM_CACHED)
            p->entries[i].promise = SIM_LOOSE;
    (void)c;
}

void sim_checker_life_over(struct sim_checker *c, bool memory_lost, bool clean)
{
    for (size_t i = 0; i < c->topic_count; i++)
        for (size_t p = 0; p < SIM_PARTITIONS_MAX; p++)
            partition_life_over(c, &c->topics[i].partitions[p], memory_lost, clean);
}
