/* The parts of the state store that do not depend on how it is kept: marks, positions, checks of
 * keys. */

#include "storage/state_store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base/byteorder.h"
#include "protocol/base/check.h"
#include "storage/state_store_internal.h"

/* A mark: topic id, offset, leader epoch. Its key: the partition and one byte for the topic. */
#define MARK_KEY_BYTES     (STATE_PARTITION_BYTES + 1)
#define MARK_AT_OFFSET     16
#define MARK_AT_EPOCH      24
#define MARK_BYTES         28
#define POSITION_BYTES_MIN 64
#define PREFIX_BYTES_USUAL 256
#define PARTITION_KEY_BIT  0x80 /* never set in a key's first byte: partitions are not negative */

/* ---- what implementations share ---- */

void state_store_init(struct state_store *s, const struct state_store_ops *ops)
{
    s->ops = ops;
    atomic_init(&s->generation, 1);
    atomic_init(&s->damaged, false);
    CHECK(pthread_mutex_init(&s->problem_lock, NULL) == 0);
    s->problem[0] = '\0';
}

void state_store_destroy(struct state_store *s)
{
    pthread_mutex_destroy(&s->problem_lock);
}

void state_store_note(struct state_store *s, const char *text)
{
    pthread_mutex_lock(&s->problem_lock);
    snprintf(s->problem, sizeof s->problem, "%s", text);
    pthread_mutex_unlock(&s->problem_lock);
}

size_t state_prefix_end(struct bytes prefix, uint8_t *out)
{
    size_t size = prefix.size;

    while (size > 0 && prefix.data[size - 1] == 0xff)
        size--;
    if (size == 0)
        return 0;
    memcpy(out, prefix.data, size);
    out[size - 1]++;
    return size;
}

static void check_key(enum state_family family, struct bytes key)
{
    CHECK((unsigned)family < STATE_FAMILY_COUNT);
    CHECK(key.size >= STATE_PARTITION_BYTES);
    CHECK((key.data[0] & PARTITION_KEY_BIT) == 0);
}

/* ---- batches: the operations back to back, each behind a head ---- */

#define OPERATION_AT_FAMILY     1
#define OPERATION_AT_KEY_SIZE   2
#define OPERATION_AT_VALUE_SIZE 6
#define OPERATION_HEAD_BYTES    10

struct state_batch *state_batch_new(struct state_store *s)
{
    struct state_batch *b = calloc(1, sizeof *b);

    if (b) {
        b->store = s;
        b->generation = atomic_load(&s->generation);
        writer_init(&b->operations, STATE_BATCH_BYTES_MAX);
    }
    return b;
}

void state_batch_free(struct state_batch *b)
{
    if (b)
        writer_free(&b->operations);
    free(b);
}

void state_batch_clear(struct state_batch *b)
{
    writer_reset(&b->operations);
    b->count = 0;
}

static void add_operation(struct state_batch *b, const struct state_operation *o)
{
    uint8_t *at = write_reserve(&b->operations, OPERATION_HEAD_BYTES + o->key.size + o->value.size);

    check_key(o->family, o->key);
    b->count++;
    if (!at)
        return;
    at[0] = (uint8_t)o->type;
    at[OPERATION_AT_FAMILY] = (uint8_t)o->family;
    store_be32(at + OPERATION_AT_KEY_SIZE, (uint32_t)o->key.size);
    store_be32(at + OPERATION_AT_VALUE_SIZE, (uint32_t)o->value.size);
    memcpy(at + OPERATION_HEAD_BYTES, o->key.data, o->key.size);
    if (o->value.size)
        memcpy(at + OPERATION_HEAD_BYTES + o->key.size, o->value.data, o->value.size);
}

bool state_batch_next(const struct state_batch *b, size_t *at, struct state_operation *out)
{
    const uint8_t *head = b->operations.data + *at;
    uint32_t key_size, value_size;

    if (*at == b->operations.size)
        return false;
    key_size = load_be32(head + OPERATION_AT_KEY_SIZE);
    value_size = load_be32(head + OPERATION_AT_VALUE_SIZE);
    out->type = (enum state_operation_type)head[0];
    out->family = (enum state_family)head[OPERATION_AT_FAMILY];
    out->key = (struct bytes){head + OPERATION_HEAD_BYTES, key_size};
    out->value = (struct bytes){out->key.data + key_size, value_size};
    *at += OPERATION_HEAD_BYTES + (size_t)key_size + value_size;
    return true;
}

struct status state_batch_check(const struct state_batch *b)
{
    if (!writer_ok(&b->operations))
        return status_error(b->operations.failure,
                            "state store: the batch is too large, or there is no memory for it");
    if (b->generation != atomic_load(&b->store->generation))
        return status_error(KERR_KAFKA_STORAGE_ERROR,
                            "state store: it was reset since the batch was made");
    return STATUS_OK;
}

void state_batch_put(struct state_batch *b, enum state_family family, struct bytes key,
                     struct bytes value)
{
    CHECK(family != STATE_MARKS);
    add_operation(b, &(struct state_operation){STATE_PUT, family, key, value});
}

void state_batch_delete(struct state_batch *b, enum state_family family, struct bytes key)
{
    add_operation(b, &(struct state_operation){STATE_DELETE, family, key, {NULL, 0}});
}

void state_batch_delete_prefix(struct state_batch *b, enum state_family family, struct bytes prefix)
{
    uint8_t end[STATE_DELETED_PREFIX_BYTES_MAX];

    CHECK(prefix.size <= sizeof end);
    check_key(family, prefix); /* so that it has an end: its first byte is not 0xff */
    add_operation(b, &(struct state_operation){
                         STATE_DELETE_RANGE, family, prefix, {end, state_prefix_end(prefix, end)}});
}

size_t state_batch_count(const struct state_batch *b)
{
    return b->count;
}

size_t state_batch_bytes(const struct state_batch *b)
{
    return b->operations.size;
}

static void begin(bool *would_block)
{
    if (would_block)
        *would_block = false;
}

struct status state_batch_commit(struct state_batch *b, bool *would_block)
{
    struct status st = state_batch_check(b);

    begin(would_block);
    if (status_failed(st) || b->count == 0)
        return st;
    return b->store->ops->commit(b, would_block);
}

/* ---- marks ---- */

static struct bytes mark_key(struct state_partition p, uint8_t out[MARK_KEY_BYTES])
{
    CHECK(p.partition >= 0);
    CHECK((unsigned)p.topic < STATE_TOPIC_COUNT);
    store_be32(out, (uint32_t)p.partition);
    out[STATE_PARTITION_BYTES] = (uint8_t)p.topic;
    return (struct bytes){out, MARK_KEY_BYTES};
}

void state_batch_set_mark(struct state_batch *b, struct state_partition p,
                          const struct state_mark *mark)
{
    uint8_t key[MARK_KEY_BYTES];
    uint8_t value[MARK_BYTES];

    memcpy(value, mark->topic_id.bytes, sizeof mark->topic_id.bytes);
    store_be64(value + MARK_AT_OFFSET, (uint64_t)mark->offset);
    store_be32(value + MARK_AT_EPOCH, (uint32_t)mark->leader_epoch);
    add_operation(b, &(struct state_operation){
                         STATE_PUT, STATE_MARKS, mark_key(p, key), {value, sizeof value}});
}

void state_batch_drop_partition(struct state_batch *b, struct state_partition p)
{
    static const struct {
        enum state_family families[2];
        size_t count;
    } kept[STATE_TOPIC_COUNT] = {
        [STATE_TOPIC_CONSUMER_OFFSETS] = {{STATE_OFFSETS, STATE_GROUPS}, 2},
        [STATE_TOPIC_TRANSACTION_STATE] = {{STATE_TRANSACTIONS}, 1},
        [STATE_TOPIC_SHARE_GROUP_STATE] = {{STATE_SHARE}, 1},
    };
    uint8_t key[MARK_KEY_BYTES];
    struct bytes mark = mark_key(p, key);

    for (size_t i = 0; i < kept[p.topic].count; i++)
        state_batch_delete_prefix(b, kept[p.topic].families[i],
                                  (struct bytes){key, STATE_PARTITION_BYTES});
    state_batch_delete(b, STATE_MARKS, mark);
}

static bool mark_decode(struct bytes value, struct state_mark *out)
{
    if (value.size != MARK_BYTES)
        return false;
    memcpy(out->topic_id.bytes, value.data, sizeof out->topic_id.bytes);
    out->offset = (int64_t)load_be64(value.data + MARK_AT_OFFSET);
    out->leader_epoch = (int32_t)load_be32(value.data + MARK_AT_EPOCH);
    return out->offset >= 0;
}

struct status state_store_get_mark(struct state_store *s, struct state_partition p,
                                   struct state_mark *mark, bool *found, bool *would_block)
{
    uint8_t key[MARK_KEY_BYTES];
    struct bytes value;
    struct arena a;
    struct status st;

    *found = false;
    arena_init(&a, 4096);
    st = state_store_get(s, STATE_MARKS, mark_key(p, key), &a, &value, would_block);
    if (!status_failed(st) && !(would_block && *would_block) && value.data) {
        if (mark_decode(value, mark))
            *found = true;
        else
            st = state_store_condemn(s, "a mark that is none");
    }
    arena_free(&a);
    return st;
}

struct mark_list {
    bool (*visit)(void *arg, struct state_partition p, const struct state_mark *mark);
    void *arg;
    bool bad;
};

static enum state_next visit_mark(void *arg, struct bytes key, struct bytes value,
                                  struct bytes *seek)
{
    struct mark_list *l = arg;
    struct state_partition p;
    struct state_mark mark;

    (void)seek;
    if (key.size != MARK_KEY_BYTES || key.data[STATE_PARTITION_BYTES] >= STATE_TOPIC_COUNT ||
        !mark_decode(value, &mark)) {
        l->bad = true;
        return STATE_STOP;
    }
    p.partition = (int32_t)load_be32(key.data);
    p.topic = (enum state_topic)key.data[STATE_PARTITION_BYTES];
    return l->visit(l->arg, p, &mark) ? STATE_NEXT : STATE_STOP;
}

struct status state_store_list_marks(struct state_store *s,
                                     bool (*visit)(void *arg, struct state_partition p,
                                                   const struct state_mark *mark),
                                     void *arg)
{
    struct mark_list list = {.visit = visit, .arg = arg};
    struct status st =
        state_store_scan(s, STATE_MARKS, (struct bytes){NULL, 0}, NULL, visit_mark, &list, NULL);

    return list.bad ? state_store_condemn(s, "a mark that is none") : st;
}

/* ---- reading ---- */

struct status state_store_get(struct state_store *s, enum state_family family, struct bytes key,
                              struct arena *a, struct bytes *value, bool *would_block)
{
    check_key(family, key);
    begin(would_block);
    *value = (struct bytes){NULL, 0};
    return s->ops->get(s, family, key, a, value, would_block);
}

void state_position_free(struct state_position *p)
{
    free(p->key);
    *p = (struct state_position){0};
}

/* Room for size bytes, what is there is kept. */
static bool position_reserve(struct state_position *p, size_t size)
{
    size_t capacity = size < POSITION_BYTES_MIN ? POSITION_BYTES_MIN : size + size / 2;
    uint8_t *key;

    if (size <= p->capacity)
        return true;
    key = realloc(p->key, capacity);
    if (!key)
        return false;
    p->key = key;
    p->capacity = capacity;
    return true;
}

/* The position becomes key, and `tail` bytes of 0 after it. */
static bool position_move(struct state_position *p, struct bytes key, size_t tail)
{
    if (!position_reserve(p, key.size + tail))
        return false;
    if (key.size)
        memcpy(p->key, key.data, key.size);
    memset(p->key + key.size, 0, tail);
    p->size = key.size + tail;
    p->done = false;
    return true;
}

bool state_position_set(struct state_position *p, struct bytes key)
{
    return position_move(p, key, 0);
}

struct scanning {
    state_visit *visit;
    void *arg;
    struct state_position *position;
    bool stopped;
    bool out_of_memory;
};

/* A visit that keeps the position: the key after this one is this one and a byte of 0. */
static enum state_next visit_and_move(void *arg, struct bytes key, struct bytes value,
                                      struct bytes *seek)
{
    struct scanning *s = arg;
    enum state_next next;

    if (s->position && !position_move(s->position, key, 1)) {
        s->out_of_memory = true;
        return STATE_STOP;
    }
    next = s->visit(s->arg, key, value, seek);
    if (next == STATE_SEEK) {
        int order = str_compare((struct str){(const char *)seek->data, seek->size},
                                (struct str){(const char *)key.data, key.size});

        CHECK(order > 0);
        if (s->position && !position_move(s->position, *seek, 0)) {
            s->out_of_memory = true;
            return STATE_STOP;
        }
    }
    s->stopped = next == STATE_STOP;
    return next;
}

struct status state_store_scan(struct state_store *s, enum state_family family, struct bytes prefix,
                               struct state_position *position, state_visit *visit, void *arg,
                               bool *would_block)
{
    static const uint8_t past_all_keys[] = {PARTITION_KEY_BIT};
    struct scanning scanning = {.visit = visit, .arg = arg, .position = position};
    struct state_scan scan = {
        .family = family, .from = prefix, .visit = visit_and_move, .arg = &scanning};
    uint8_t fixed[PREFIX_BYTES_USUAL];
    uint8_t *end = prefix.size <= sizeof fixed ? fixed : malloc(prefix.size);
    struct status st;

    CHECK((unsigned)family < STATE_FAMILY_COUNT);
    begin(would_block);
    if (!end)
        return status_error(KERR_UNKNOWN_SERVER_ERROR, "scan: out of memory");
    scan.end = (struct bytes){end, state_prefix_end(prefix, end)};
    if (scan.end.size == 0)
        scan.end = (struct bytes){past_all_keys, sizeof past_all_keys};
    if (position && position->size > 0)
        scan.from = (struct bytes){position->key, position->size};
    st = s->ops->scan(s, &scan, would_block);
    if (scanning.out_of_memory)
        st = status_error(KERR_UNKNOWN_SERVER_ERROR, "scan: out of memory");
    else if (position && !status_failed(st) && !scanning.stopped && !(would_block && *would_block))
        position->done = true;
    if (end != fixed)
        free(end);
    return st;
}

/* ---- the whole ---- */

void state_store_close(struct state_store *s)
{
    if (s)
        s->ops->close(s);
}

struct status state_store_flush(struct state_store *s)
{
    return s->ops->flush(s);
}

struct status state_store_reset(struct state_store *s, struct state_store_report *report)
{
    *report = (struct state_store_report){0};
    return s->ops->reset(s, report);
}

uint64_t state_store_generation(const struct state_store *s)
{
    return atomic_load(&s->generation);
}

struct status state_store_condemn(struct state_store *s, const char *what)
{
    atomic_store(&s->damaged, true);
    state_store_note(s, what);
    return status_error(KERR_KAFKA_STORAGE_ERROR, what);
}

bool state_store_damaged(const struct state_store *s)
{
    return atomic_load(&s->damaged);
}

void state_store_problem(struct state_store *s, char text[STATE_PROBLEM_BYTES])
{
    pthread_mutex_lock(&s->problem_lock);
    memcpy(text, s->problem, STATE_PROBLEM_BYTES);
    pthread_mutex_unlock(&s->problem_lock);
}

void state_store_stats(struct state_store *s, struct state_store_stats *out)
{
    *out = (struct state_store_stats){.generation = state_store_generation(s)};
    s->ops->stats(s, out);
}
