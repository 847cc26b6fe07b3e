#include "tests/unit/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/files_sim.h"
#include "tests/unit/storage/compaction_world.h"

void compaction_begin(struct compaction_world *c)
{
    *c = (struct compaction_world){.step_bytes = 700, .next_value = 1};
    world_begin(&c->w);
    c->w.config.cleanup_compact = true;
    c->w.config.cleanup_delete = false;
    c->w.config.min_cleanable_dirty_ratio = 0.5;
    c->w.config.max_compaction_lag_ms = INT64_MAX;
    c->w.config.delete_retention_ms = 10000;
    c->w.config.segment_bytes = 4096;
    c->args = (struct log_compaction_args){
        .map_bytes_max = 1 << 20, .map_load = 0.9, .buffer_bytes = 900};
}

void compaction_end(struct compaction_world *c)
{
    free(c->memory.records);
    world_end(&c->w);
}

/* ---- writing ---- */

/* Told by key and value alone, so that a mixed-up record shows. */
static size_t make_value(int key, uint32_t value, char out[600])
{
    size_t size = (size_t)snprintf(out, 600, "%d=%u;", key, value);

    for (; size < 20 + value % 97; size++)
        out[size] = (char)('a' + (value + size) % 26);
    return size;
}

static void remember(struct memory *m, int64_t offset, struct memory_record r)
{
    if (offset >= m->capacity) {
        m->capacity = 2 * offset + 100;
        m->records = realloc(m->records, (size_t)m->capacity * sizeof m->records[0]);
        assert_non_null(m->records);
    }
    m->records[offset] = r;
    m->count = offset + 1;
}

struct status keyed_append(struct compaction_world *c, const struct keyed *records, int count,
                           const struct record_batch_head *head)
{
    static const struct record_header header = {{"h", 1}, {(const uint8_t *)"x", 1}};
    struct log_world *w = &c->w;
    struct bytes_mut batch;
    struct log_appended out;
    struct status st;

    record_batch_builder_begin(&w->builder, head);
    for (int i = 0; i < count; i++) {
        char key[16], value[600];
        const size_t size = make_value(records[i].key, records[i].value, value);

        assert_in_range(records[i].key, 0, WORLD_KEYS - 1);
        snprintf(key, sizeof key, "key-%d", records[i].key);
        record_batch_builder_append(
            &w->builder,
            &(struct record_content){.timestamp_ms = w->now_ms + i,
                                     .key = {(const uint8_t *)key, strlen(key)},
                                     .value = {records[i].value ? (const uint8_t *)value : NULL,
                                               records[i].value ? size : 0},
                                     .headers = &header,
                                     .header_count = (size_t)(records[i].key % 2)});
    }
    assert_false(status_failed(record_batch_builder_finish(&w->builder, w->scratch, &batch)));
    st = world_try_append(w, batch, &out);
    for (int i = 0; i < count && !status_failed(st); i++)
        remember(&c->memory, out.base_offset + i,
                 (struct memory_record){
                     .key = records[i].key,
                     .timestamp_ms = w->now_ms + i,
                     .value = records[i].value,
                     .producer = head->attributes & RECORD_BATCH_TRANSACTIONAL
                                     ? (int16_t)head->producer_id
                                     : -1,
                     .marker = -1,
                 });
    return st;
}

void keyed_put(struct compaction_world *c, int key, uint32_t value)
{
    const struct status st =
        keyed_append(c, &(struct keyed){key, value}, 1, &RECORD_BATCH_HEAD_PLAIN);

    if (status_failed(st))
        print_error("append: %s %s errno %d\n", kerr_name(st.code), st.where, st.sys_errno);
    assert_false(status_failed(st));
}

struct status marker_append(struct compaction_world *c, int64_t producer_id, int16_t epoch,
                            bool abort)
{
    struct log_appended out;
    const struct status st =
        world_try_append(&c->w, world_marker(&c->w, producer_id, epoch, abort), &out);

    if (status_failed(st))
        return st;
    remember(&c->memory, out.base_offset,
             (struct memory_record){
                 .key = -1, .timestamp_ms = c->w.now_ms, .producer = -1, .marker = -1});
    for (int64_t i = 0; i < out.base_offset; i++) {
        struct memory_record *m = &c->memory.records[i];

        if (m->producer != producer_id || m->marker >= 0)
            continue;
        m->aborted = abort;
        m->marker = out.base_offset;
    }
    return st;
}

bool transaction_open(const struct compaction_world *c, int64_t producer_id)
{
    for (int64_t i = log_start_offset(c->w.log); i < c->memory.count; i++)
        if (c->memory.records[i].producer == producer_id && c->memory.records[i].marker < 0)
            return true;
    return false;
}

void keyed_roll(struct compaction_world *c, int key)
{
    const int64_t segment_ms = c->w.config.segment_ms;

    c->w.now_ms += 100;
    c->w.config.segment_ms = 50;
    keyed_put(c, key, c->next_value++);
    c->w.config.segment_ms = segment_ms;
    world_flush(&c->w);
    log_high_watermark_moved(c->w.log, log_end_offset(c->w.log));
}

/* ---- compacting ---- */

bool compact(struct compaction_world *c, struct status *result)
{
    struct log *l = c->w.log;
    enum log_compaction_next next = LOG_COMPACTION_RUN;
    struct log_compaction *x;

    log_high_watermark_moved(l, log_flushed_end_offset(l));
    c->args.now_ms = c->w.now_ms;
    c->args.stable_end_offset = log_first_unstable_offset(l);
    if (c->args.stable_end_offset > log_flushed_end_offset(l))
        c->args.stable_end_offset = log_flushed_end_offset(l);
    *result = STATUS_OK;
    x = log_compaction_begin(l, &c->args);
    if (!x)
        return false;
    while (next != LOG_COMPACTION_DONE) {
        *result = log_compaction_run(x, c->step_bytes, &next);
        if (next == LOG_COMPACTION_ADOPT)
            log_compaction_adopt(x);
    }
    log_compaction_stats(x, &c->stats);
    log_compaction_end(l, x, *result);
    return true;
}

void compact_all(struct compaction_world *c)
{
    struct status st;

    assert_true(compact(c, &st));
    if (status_failed(st))
        print_error("compact: %s %s errno %d\n", kerr_name(st.code), st.where, st.sys_errno);
    assert_false(status_failed(st));
}

/* ---- reading ---- */

typedef void visit_batch(void *arg, struct bytes batch);

static void each_batch(struct compaction_world *c, visit_batch *visit, void *arg)
{
    const int64_t end = log_end_offset(c->w.log);
    int64_t offset = log_start_offset(c->w.log);

    while (offset < end) {
        struct log_slice slice = world_read(&c->w, offset, INT64_MAX, 5000, true);
        struct record_batches it;
        struct bytes batch;
        uint8_t *bytes;

        if (slice.size == 0) {
            log_slice_release(&slice);
            break;
        }
        bytes = malloc(slice.size);
        assert_false(status_failed(log_slice_read(&slice, 0, bytes, slice.size, NULL)));
        it = record_batches((struct bytes){bytes, slice.size});
        while (record_batches_next(&it, &batch)) {
            assert_false(status_failed(record_batch_check(batch)));
            assert_true(record_batch_last_offset(batch.data) >= offset);
            offset = record_batch_last_offset(batch.data) + 1;
            visit(arg, batch);
        }
        assert_int_equal(it.rest.size, 0);
        free(bytes);
        log_slice_release(&slice);
    }
}

struct lost {
    struct compaction_world *c;
    int64_t next;
};

static void forget_until(struct lost *lost, int64_t end)
{
    for (; lost->next < end; lost->next++) {
        struct memory_record *m = &lost->c->memory.records[lost->next];

        for (int64_t i = 0; i < lost->next && m->key < 0; i++)
            if (lost->c->memory.records[i].marker == lost->next)
                lost->c->memory.records[i].marker = -1, lost->c->memory.records[i].aborted = false;
        *m = (struct memory_record){.key = -1, .producer = -1, .marker = -1};
    }
}

static void note_batch(void *arg, struct bytes batch)
{
    struct lost *lost = arg;

    if (record_batch_last_offset(batch.data) < lost->next)
        return;
    forget_until(lost, record_batch_base_offset(batch.data));
    lost->next = record_batch_last_offset(batch.data) + 1;
}

void forget_lost(struct compaction_world *c, int64_t from)
{
    struct lost lost = {c, from};

    each_batch(c, note_batch, &lost);
    forget_until(&lost, c->memory.count);
    if (c->memory.count > log_end_offset(c->w.log))
        c->memory.count = log_end_offset(c->w.log);
}

static void check_record(struct compaction_world *c, const struct record *r)
{
    const struct memory_record *m = &c->memory.records[r->offset];
    char key[16], value[600];
    const size_t size = make_value(m->key, m->value, value);

    assert_true(r->offset < c->memory.count);
    snprintf(key, sizeof key, "key-%d", m->key);
    assert_int_equal(r->key.size, strlen(key));
    assert_memory_equal(r->key.data, key, r->key.size);
    assert_int_equal(r->timestamp_ms, m->timestamp_ms);
    assert_int_equal(r->header_count, m->key % 2);
    assert_true((r->value.data != NULL) == (m->value != 0));
    if (m->value) {
        assert_int_equal(r->value.size, size);
        assert_memory_equal(r->value.data, value, size);
    }
}

/* What a read_committed reader does. */
struct reader {
    struct compaction_world *c;
    struct log_aborted *aborted;
    size_t aborted_count;
    size_t aborted_next;
    int64_t open[64]; /* producers whose aborted transaction is open here */
    size_t open_count;
    int64_t last[WORLD_KEYS]; /* offset of the last record of each key; -1 */
    uint32_t value[WORLD_KEYS];
    int64_t counted[WORLD_KEYS];
    int64_t wanted_offset;
    int64_t wanted_value;
    struct bytes_mut batch;
    struct compression_scratch *scratch;
};

static bool is_open(struct reader *r, int64_t producer_id, bool remove)
{
    for (size_t i = 0; i < r->open_count; i++)
        if (r->open[i] == producer_id) {
            if (remove)
                r->open[i] = r->open[--r->open_count];
            return true;
        }
    return false;
}

static void read_batch(void *arg, struct bytes batch)
{
    struct reader *reader = arg;
    const int64_t producer_id = record_batch_producer_id(batch.data);
    struct record_iter it;
    struct record r;

    if (record_batch_last_offset(batch.data) >= reader->wanted_offset && !reader->batch.data) {
        reader->batch = (struct bytes_mut){malloc(batch.size), batch.size};
        memcpy(reader->batch.data, batch.data, batch.size);
    }
    while (reader->aborted_next < reader->aborted_count &&
           reader->aborted[reader->aborted_next].first_offset <=
               record_batch_last_offset(batch.data))
        reader->open[reader->open_count++] = reader->aborted[reader->aborted_next++].producer_id;
    assert_false(status_failed(record_iter_open(&it, batch, reader->scratch, 1 << 20)));
    while (record_iter_next(&it, &r)) {
        int key;

        if (record_batch_is_control(batch.data)) {
            assert_int_equal(reader->c->memory.records[r.offset].key, -1);
            assert_int_equal(reader->c->memory.records[r.offset].timestamp_ms, r.timestamp_ms);
            if (control_record_type(&r) == CONTROL_ABORT)
                is_open(reader, producer_id, true);
            continue;
        }
        check_record(reader->c, &r);
        if (r.offset < log_start_offset(reader->c->w.log))
            continue;
        if (record_batch_is_transactional(batch.data) && is_open(reader, producer_id, false))
            continue;
        key = reader->c->memory.records[r.offset].key;
        reader->last[key] = r.offset;
        reader->value[key] = reader->c->memory.records[r.offset].value;
        reader->counted[key]++;
        if (r.offset == reader->wanted_offset)
            reader->wanted_value = reader->value[key];
    }
    assert_false(status_failed(it.status));
}

static int by_first(const void *a, const void *b)
{
    const int64_t x = ((const struct log_aborted *)a)->first_offset;
    const int64_t y = ((const struct log_aborted *)b)->first_offset;

    return (x > y) - (x < y);
}

static void read_log(struct compaction_world *c, struct reader *r, int64_t wanted_offset)
{
    struct arena a;

    *r = (struct reader){
        .c = c, .wanted_offset = wanted_offset, .wanted_value = -1, .scratch = c->w.scratch};
    for (int i = 0; i < WORLD_KEYS; i++)
        r->last[i] = -1;
    arena_init(&a, 1 << 20);
    assert_false(status_failed(log_aborted_transactions(
        c->w.log, log_start_offset(c->w.log), INT64_MAX, &a, &r->aborted, &r->aborted_count)));
    if (r->aborted_count)
        qsort(r->aborted, r->aborted_count, sizeof r->aborted[0], by_first);
    each_batch(c, read_batch, r);
    arena_free(&a);
}

int count_key(struct compaction_world *c, int key)
{
    struct reader r;

    read_log(c, &r, INT64_MAX);
    return (int)r.counted[key];
}

int64_t value_at(struct compaction_world *c, int64_t offset)
{
    struct reader r;

    read_log(c, &r, offset);
    free(r.batch.data);
    return r.wanted_value;
}

struct bytes_mut batch_at(struct compaction_world *c, int64_t offset)
{
    struct reader r;

    read_log(c, &r, offset);
    return r.batch;
}

/* ---- what must be ---- */

/* No two segments hold the same offsets: a replaced one did not stay or come back. */
struct names {
    int64_t bases[256];
    size_t count;
};

static void add_name(void *arg, const char *name, bool is_directory)
{
    struct names *n = arg;
    const char *suffix = strchr(name, '.');

    (void)is_directory;
    if (!suffix || strcmp(suffix, ".log") != 0)
        return;
    assert_true(n->count < 256);
    n->bases[n->count++] = atoll(name);
}

static int by_offset(const void *a, const void *b)
{
    return (*(const int64_t *)a > *(const int64_t *)b) -
           (*(const int64_t *)a < *(const int64_t *)b);
}

static void check_segments(struct compaction_world *c)
{
    struct names names = {.count = 0};
    int64_t next = 0;

    if (status_failed(c->w.files->ops->list(c->w.files, LOG_DIRECTORY, add_name, &names)))
        return; /* never written */
    qsort(names.bases, names.count, sizeof names.bases[0], by_offset);
    for (size_t i = 0; i < names.count; i++) {
        char name[40];
        int64_t size;
        struct record_batches it;
        struct bytes batch;
        uint8_t *bytes;

        snprintf(name, sizeof name, "%020lld.log", (long long)names.bases[i]);
        bytes = world_file(&c->w, name, &size);
        assert_true(names.bases[i] >= next);
        it = record_batches((struct bytes){bytes, (size_t)size});
        while (record_batches_next(&it, &batch)) {
            assert_true(record_batch_base_offset(batch.data) >= next);
            next = record_batch_last_offset(batch.data) + 1;
        }
        free(bytes);
    }
}

void check_log(struct compaction_world *c)
{
    struct reader r;
    int64_t last[WORLD_KEYS];
    const int64_t end = log_end_offset(c->w.log);

    check_segments(c);
    read_log(c, &r, INT64_MAX);
    for (int i = 0; i < WORLD_KEYS; i++)
        last[i] = -1;
    assert_true(end <= c->memory.count);
    for (int64_t offset = log_start_offset(c->w.log); offset < end; offset++) {
        const struct memory_record *m = &c->memory.records[offset];

        if (m->key >= 0 && !m->aborted)
            last[m->key] = offset;
    }
    for (int key = 0; key < WORLD_KEYS; key++) {
        if (last[key] == r.last[key])
            continue;
        /* A tombstone may be gone, with all that came before it. */
        if (last[key] >= 0 && c->memory.records[last[key]].value == 0 && r.last[key] < 0)
            continue;
        fail_msg("key %d: the last record is at %lld, and was written at %lld", key,
                 (long long)r.last[key], (long long)last[key]);
    }
}
