/* The state store as sorted arrays in memory, with the old value of everything that was written
 * since the last flush. */

#include "storage/state_store_sim.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"
#include "protocol/reader.h"
#include "storage/state_store_internal.h"

/* The real one writes files by itself when its buffers are full. */
#define BATCHES_UNFLUSHED_MAX 4096

/* Key and value in one allocation. */
struct entry {
    uint32_t key_size;
    uint32_t value_size;
    uint8_t bytes[];
};

struct map {
    struct entry **entries; /* by key */
    size_t count;
    size_t capacity;
};

/* One key before a batch. */
struct undo {
    enum state_family family;
    struct entry *before; /* owned; value_size NO_VALUE: the key was not there */
};
#define NO_VALUE UINT32_MAX

struct undo_log {
    struct undo *undos; /* oldest first */
    size_t count;
    size_t capacity;
    size_t *ends; /* of each batch, in undos */
    size_t batch_count;
    size_t batch_capacity;
};

struct sim {
    struct state_store base;
    struct map maps[STATE_FAMILY_COUNT];
    struct undo_log log;
    uint64_t random;
    unsigned would_block_per_mille;
    bool failing; /* a failure is to come, or has */
    uint64_t fail_after;
    bool fail_damages;
    void (*closing)(void *arg, struct state_store *s);
    void *closing_arg;
};

static struct sim *sim_of(struct state_store *s)
{
    return (struct sim *)s;
}

static uint64_t next_random(struct sim *s) /* xorshift64 */
{
    s->random ^= s->random << 13;
    s->random ^= s->random >> 7;
    s->random ^= s->random << 17;
    return s->random;
}

/* A simulation has no way on without memory. */
static void *grown(void *array, size_t count, size_t *capacity, size_t element)
{
    if (count < *capacity)
        return array;
    *capacity = *capacity ? *capacity * 2 : 16;
    array = realloc(array, *capacity * element);
    CHECK(array);
    return array;
}

/* ---- entries and maps ---- */

static struct bytes key_of(const struct entry *e)
{
    return (struct bytes){e->bytes, e->key_size};
}

static struct bytes value_of(const struct entry *e)
{
    return (struct bytes){e->bytes + e->key_size, e->value_size};
}

static struct entry *entry_new(struct bytes key, struct bytes value)
{
    struct entry *e = malloc(sizeof *e + key.size + value.size);

    CHECK(e);
    e->key_size = (uint32_t)key.size;
    e->value_size = (uint32_t)value.size;
    memcpy(e->bytes, key.data, key.size);
    if (value.size)
        memcpy(e->bytes + key.size, value.data, value.size);
    return e;
}

static struct entry *entry_without_value(struct bytes key)
{
    struct entry *e = entry_new(key, (struct bytes){NULL, 0});

    e->value_size = NO_VALUE;
    return e;
}

static int compare(struct bytes a, struct bytes b)
{
    return str_compare((struct str){(const char *)a.data, a.size},
                       (struct str){(const char *)b.data, b.size});
}

/* The first entry that is not before key. */
static size_t map_find(const struct map *m, struct bytes key)
{
    size_t low = 0, high = m->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (compare(key_of(m->entries[middle]), key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool map_has_at(const struct map *m, size_t at, struct bytes key)
{
    return at < m->count && compare(key_of(m->entries[at]), key) == 0;
}

static void map_insert(struct map *m, size_t at, struct entry *e)
{
    m->entries = grown(m->entries, m->count, &m->capacity, sizeof *m->entries);
    memmove(m->entries + at + 1, m->entries + at, (m->count - at) * sizeof *m->entries);
    m->entries[at] = e;
    m->count++;
}

static struct entry *map_take(struct map *m, size_t at)
{
    struct entry *e = m->entries[at];

    m->count--;
    memmove(m->entries + at, m->entries + at + 1, (m->count - at) * sizeof *m->entries);
    return e;
}

static void map_clear(struct map *m)
{
    for (size_t i = 0; i < m->count; i++)
        free(m->entries[i]);
    free(m->entries);
    *m = (struct map){0};
}

/* ---- what can be undone ---- */

static void log_add(struct sim *s, enum state_family family, struct entry *before)
{
    struct undo_log *l = &s->log;

    l->undos = grown(l->undos, l->count, &l->capacity, sizeof *l->undos);
    l->undos[l->count++] = (struct undo){family, before};
}

/* The oldest `batches` can be undone no longer: they are in files. */
static void log_forget(struct sim *s, size_t batches)
{
    struct undo_log *l = &s->log;
    size_t gone = batches ? l->ends[batches - 1] : 0;

    for (size_t i = 0; i < gone; i++)
        free(l->undos[i].before);
    if (gone)
        memmove(l->undos, l->undos + gone, (l->count - gone) * sizeof *l->undos);
    l->count -= gone;
    l->batch_count -= batches;
    if (batches && l->batch_count)
        memmove(l->ends, l->ends + batches, l->batch_count * sizeof *l->ends);
    for (size_t i = 0; i < l->batch_count; i++)
        l->ends[i] -= gone;
}

static void log_end_batch(struct sim *s)
{
    struct undo_log *l = &s->log;

    l->ends = grown(l->ends, l->batch_count, &l->batch_capacity, sizeof *l->ends);
    l->ends[l->batch_count++] = l->count;
    if (l->batch_count > BATCHES_UNFLUSHED_MAX)
        log_forget(s, l->batch_count / 2);
}

static void undo_one(struct sim *s, struct undo *u)
{
    struct map *m = &s->maps[u->family];
    size_t at = map_find(m, key_of(u->before));

    if (map_has_at(m, at, key_of(u->before)))
        free(map_take(m, at));
    if (u->before->value_size == NO_VALUE)
        free(u->before);
    else
        map_insert(m, at, u->before);
}

static void undo_to(struct sim *s, size_t batches_left)
{
    struct undo_log *l = &s->log;
    size_t end = batches_left ? l->ends[batches_left - 1] : 0;

    while (l->count > end)
        undo_one(s, &l->undos[--l->count]);
    l->batch_count = batches_left;
}

/* ---- calls ---- */

/* What goes wrong, and whether the caller is told that it would block; true: nothing, go on. */
static bool call_begin(struct sim *s, bool *would_block, struct status *st)
{
    *st = STATUS_OK;
    if (s->failing) {
        if (s->fail_after == 0) {
            if (s->fail_damages)
                *st = state_store_condemn(&s->base, "the simulated store is damaged");
            else
                *st = status_errno(5 /* EIO */, "the simulated store failed");
            return false;
        }
        s->fail_after--;
    }
    if (would_block && next_random(s) % 1000 < s->would_block_per_mille) {
        *would_block = true;
        return false;
    }
    return true;
}

static void put(struct sim *s, const struct state_operation *o)
{
    struct map *m = &s->maps[o->family];
    size_t at = map_find(m, o->key);
    struct entry *e = entry_new(o->key, o->value);

    if (map_has_at(m, at, o->key)) {
        log_add(s, o->family, m->entries[at]);
        m->entries[at] = e;
    } else {
        log_add(s, o->family, entry_without_value(o->key));
        map_insert(m, at, e);
    }
}

static void delete_at(struct sim *s, enum state_family family, size_t at)
{
    log_add(s, family, map_take(&s->maps[family], at));
}

static void apply(struct sim *s, const struct state_operation *o)
{
    struct map *m = &s->maps[o->family];
    size_t at;

    switch (o->type) {
    case STATE_PUT:
        put(s, o);
        break;
    case STATE_DELETE:
        at = map_find(m, o->key);
        if (map_has_at(m, at, o->key))
            delete_at(s, o->family, at);
        break;
    case STATE_DELETE_RANGE:
        at = map_find(m, o->key);
        while (at < m->count && compare(key_of(m->entries[at]), o->value) < 0)
            delete_at(s, o->family, at);
        break;
    }
}

static struct status sim_commit(struct state_batch *b, bool *would_block)
{
    struct sim *s = sim_of(b->store);
    struct state_operation o;
    size_t at = 0;
    struct status st;

    if (!call_begin(s, would_block, &st))
        return st;
    while (state_batch_next(b, &at, &o))
        apply(s, &o);
    log_end_batch(s);
    return STATUS_OK;
}

static struct status sim_get(struct state_store *store, enum state_family family, struct bytes key,
                             struct arena *a, struct bytes *value, bool *would_block)
{
    struct sim *s = sim_of(store);
    const struct map *m = &s->maps[family];
    size_t at = map_find(m, key);
    struct bytes found;
    struct status st;
    uint8_t *copy;

    if (!call_begin(s, would_block, &st) || !map_has_at(m, at, key))
        return st;
    found = value_of(m->entries[at]);
    copy = arena_alloc(a, found.size);
    if (!copy)
        return status_error(KERR_INVALID_REQUEST, "state store: the arena is spent");
    memcpy(copy, found.data, found.size);
    *value = (struct bytes){copy, found.size};
    return STATUS_OK;
}

static struct status sim_scan(struct state_store *store, const struct state_scan *scan,
                              bool *would_block)
{
    struct sim *s = sim_of(store);
    const struct map *m = &s->maps[scan->family];
    size_t at = map_find(m, scan->from);
    struct status st;

    /* A scan may also come upon the disk on its way. */
    while (call_begin(s, would_block, &st) && at < m->count &&
           compare(key_of(m->entries[at]), scan->end) < 0) {
        struct bytes seek = {NULL, 0};
        enum state_next next =
            scan->visit(scan->arg, key_of(m->entries[at]), value_of(m->entries[at]), &seek);

        if (next == STATE_STOP)
            break;
        at = next == STATE_SEEK ? map_find(m, seek) : at + 1;
    }
    return st;
}

static struct status sim_flush(struct state_store *store)
{
    struct sim *s = sim_of(store);
    struct status st;

    if (call_begin(s, NULL, &st))
        log_forget(s, s->log.batch_count);
    return st;
}

static void lose_everything(struct sim *s)
{
    log_forget(s, s->log.batch_count);
    for (size_t i = 0; i < STATE_FAMILY_COUNT; i++)
        map_clear(&s->maps[i]);
}

static void start_again(struct sim *s)
{
    s->failing = false;
    atomic_fetch_add(&s->base.generation, 1);
    atomic_store(&s->base.damaged, false);
}

size_t state_store_sim_unflushed(struct state_store *store)
{
    return sim_of(store)->log.batch_count;
}

size_t state_store_sim_crash(struct state_store *store)
{
    struct sim *s = sim_of(store);
    size_t left = next_random(s) % (s->log.batch_count + 1);

    undo_to(s, left);
    log_forget(s, left); /* what a start finds, a later crash does not lose */
    start_again(s);
    return left;
}

void state_store_sim_lose(struct state_store *store)
{
    lose_everything(sim_of(store));
    start_again(sim_of(store));
}

static struct status sim_reset(struct state_store *store, struct state_store_report *report)
{
    struct sim *s = sim_of(store);

    if (state_store_damaged(store)) {
        report->rebuilt = true;
        state_store_problem(store, report->why);
        state_store_sim_lose(store);
    } else {
        undo_to(s, 0);
        start_again(s);
    }
    return STATUS_OK;
}

static void sim_stats(struct state_store *store, struct state_store_stats *out)
{
    struct sim *s = sim_of(store);

    for (size_t i = 0; i < STATE_FAMILY_COUNT; i++)
        for (size_t j = 0; j < s->maps[i].count; j++)
            out->write_bytes += s->maps[i].entries[j]->key_size + s->maps[i].entries[j]->value_size;
}

static void sim_close(struct state_store *store)
{
    struct sim *s = sim_of(store);

    if (s->closing)
        s->closing(s->closing_arg, store);
    lose_everything(s);
    free(s->log.undos);
    free(s->log.ends);
    state_store_destroy(&s->base);
    free(s);
}

/* ---- what a disk keeps: family, two sizes, key, value, for each entry ---- */

struct bytes_mut state_store_sim_save(struct state_store *store)
{
    struct sim *s = sim_of(store);
    struct writer w;

    writer_init(&w, SIZE_MAX);
    for (size_t i = 0; i < STATE_FAMILY_COUNT; i++)
        for (size_t j = 0; j < s->maps[i].count; j++) {
            const struct entry *e = s->maps[i].entries[j];

            write_int8(&w, (int8_t)i);
            write_int32(&w, (int32_t)e->key_size);
            write_int32(&w, (int32_t)e->value_size);
            write_raw(&w, e->bytes, (size_t)e->key_size + e->value_size);
        }
    CHECK(writer_ok(&w));
    return writer_take(&w);
}

void state_store_sim_load(struct state_store *store, struct bytes saved)
{
    struct sim *s = sim_of(store);
    struct reader r = reader_of(saved.data, saved.size);

    while (reader_left(&r) > 0) {
        struct map *m = &s->maps[read_int8(&r)];
        size_t key_size = (size_t)read_int32(&r);
        size_t value_size = (size_t)read_int32(&r);
        const uint8_t *key = read_raw(&r, key_size);
        const uint8_t *value = read_raw(&r, value_size);

        CHECK(reader_ok(&r));
        map_insert(m, m->count, /* they were saved in order */
                   entry_new((struct bytes){key, key_size}, (struct bytes){value, value_size}));
    }
}

/* ---- what goes wrong on demand ---- */

void state_store_sim_set_would_block(struct state_store *store, unsigned per_mille)
{
    sim_of(store)->would_block_per_mille = per_mille;
}

void state_store_sim_fail_after(struct state_store *store, uint64_t calls, bool damage)
{
    struct sim *s = sim_of(store);

    s->failing = true;
    s->fail_after = calls;
    s->fail_damages = damage;
}

bool state_store_sim_corrupt(struct state_store *store, enum state_family family, struct bytes key,
                             struct bytes value)
{
    struct map *m = &sim_of(store)->maps[family];
    size_t at = map_find(m, key);

    if (!map_has_at(m, at, key))
        return false;
    free(m->entries[at]);
    m->entries[at] = entry_new(key, value);
    return true;
}

static const struct state_store_ops sim_ops = {
    .commit = sim_commit,
    .get = sim_get,
    .scan = sim_scan,
    .flush = sim_flush,
    .reset = sim_reset,
    .stats = sim_stats,
    .close = sim_close,
};

struct state_store *state_store_sim_create(const struct state_store_sim_options *options)
{
    struct sim *s = calloc(1, sizeof *s);

    if (!s)
        return NULL;
    state_store_init(&s->base, &sim_ops);
    s->random = options->seed * 0x9e3779b97f4a7c15u | 1; /* never 0 */
    s->would_block_per_mille = options->would_block_per_mille;
    s->closing = options->closing;
    s->closing_arg = options->arg;
    return &s->base;
}
