/* The frame of the controller: its life, its output, and the table of operations. */

#include "replication/controller_core.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "replication/controller_core_internal.h"
#include "replication/feature_levels.h"
#include "replication/metadata_loader.h"

#define SCRATCH_BYTES (64 * 1024 * 1024) /* far above any one topic */
#define MESSAGE_CHARS 512

/* ---- output ---- */

/* The image for changing: a copy when someone else has it too. */
static struct metadata_image *own_image(struct controller_core *c)
{
    struct metadata_image *shared = c->image;

    if (atomic_load_explicit(&shared->references, memory_order_acquire) == 1)
        return shared;
    c->image = metadata_image_copy(shared);
    metadata_image_release(shared);
    return c->image;
}

int64_t core_next_offset(const struct controller_core *c)
{
    return c->at.next_offset + (int64_t)c->count;
}

static void note_value(struct controller_core *c)
{
    if (c->count == c->room) {
        c->room = c->room ? c->room * 2 : 64;
        c->ends = memory_resize(c->ends, c->room, sizeof *c->ends);
        c->values = memory_resize(c->values, c->room, sizeof *c->values);
    }
    c->ends[c->count++] = c->writer.size;
}

void core_emit(struct controller_core *c, const struct metadata_record *r)
{
    size_t start = c->writer.size;
    struct metadata_image *img;
    struct bytes frame;

    CHECK(!c->dry_run);
    CHECK(metadata_record_encode(&c->writer, r));
    note_value(c);
    frame = (struct bytes){c->writer.data + start, c->writer.size - start};
    img = own_image(c);
    CHECK(!status_failed(metadata_image_apply(img, r, frame)));
    img->offset = core_next_offset(c) - 1;
}

static void begin(struct controller_core *c, struct controller_moment at)
{
    c->at = at;
    c->count = 0;
    c->atomic = true;
    c->dry_run = false;
    writer_reset(&c->writer);
    arena_reset(&c->scratch);
}

static void emit_mark(struct controller_core *c, int16_t type)
{
    struct metadata_record r;

    metadata_record_init(&r, type, 0);
    core_emit(c, &r);
}

/* What is too much for one batch becomes a metadata transaction. Its first record goes to the
 * front, which moves the offsets of the others up by one: operations that tell somebody an offset
 * are not atomic. */
static void wrap_in_transaction(struct controller_core *c, struct controller_output *out)
{
    size_t end = c->writer.size;
    size_t begin_bytes, end_bytes;
    uint8_t *marks;

    emit_mark(c, BEGIN_TRANSACTION_RECORD_KEY);
    begin_bytes = c->writer.size - end;
    emit_mark(c, END_TRANSACTION_RECORD_KEY);
    end_bytes = c->writer.size - end - begin_bytes;
    marks = c->writer.data + end;
    for (size_t i = 0, start = 0; i < c->count - 2; i++) {
        c->values[i + 1] = (struct bytes){c->writer.data + start, c->ends[i] - start};
        start = c->ends[i];
    }
    c->values[0] = (struct bytes){marks, begin_bytes};
    c->values[c->count - 1] = (struct bytes){marks + begin_bytes, end_bytes};
    *out = (struct controller_output){c->values, c->count, false};
}

static void finish(struct controller_core *c, struct controller_output *out)
{
    bool too_much =
        c->count > CONTROLLER_BATCH_RECORDS_MAX || c->writer.size > CONTROLLER_BATCH_BYTES_MAX;

    if (c->count > 0)
        c->last_append_ms = c->at.now_ms;
    if (c->atomic && too_much && core_metadata_version(c) >= METADATA_VERSION_TRANSACTIONS) {
        wrap_in_transaction(c, out);
        return;
    }
    for (size_t i = 0, start = 0; i < c->count; i++) {
        c->values[i] = (struct bytes){c->writer.data + start, c->ends[i] - start};
        start = c->ends[i];
    }
    *out = (struct controller_output){c->values, c->count, c->atomic && !too_much};
}

struct controller_result core_refuse(struct arena *a, enum kerr code, const char *format, ...)
{
    char text[MESSAGE_CHARS];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return (struct controller_result){code, arena_strdup(a, str_from(text))};
}

static int compare_keys(const void *a, const void *b)
{
    const struct core_key *x = a, *y = b;
    int order = str_compare(x->name, y->name);

    if (order == 0)
        order = memcmp(&x->id, &y->id, sizeof x->id);
    return order ? order : (x->type > y->type) - (x->type < y->type);
}

void core_find_duplicates(struct core_key *keys, size_t count, bool *twice)
{
    if (count > 1)
        qsort(keys, count, sizeof *keys, compare_keys);
    for (size_t i = 0; i < count; i++)
        twice[keys[i].index] = (i > 0 && compare_keys(&keys[i - 1], &keys[i]) == 0) ||
                               (i + 1 < count && compare_keys(&keys[i], &keys[i + 1]) == 0);
}

/* ---- names that collide ---- */

static bool may_collide(struct str name)
{
    return name.size > 0 &&
           (memchr(name.data, '.', name.size) || memchr(name.data, '_', name.size));
}

static struct collision *collision_create(struct str name)
{
    struct collision *e = memory_zalloc(1, sizeof *e + name.size);

    for (size_t i = 0; i < name.size; i++)
        e->unified[i] = name.data[i] == '.' ? '_' : name.data[i];
    return e;
}

void core_collision_add(struct controller_core *c, struct str name)
{
    struct collision *e;

    if (!may_collide(name) || core_collision_find(c, name).data)
        return;
    e = collision_create(name);
    e->name = memory_str(name);
    HASH_ADD(hh, c->collisions, unified[0], name.size, e);
}

static struct collision *collision_find(struct controller_core *c, struct str name)
{
    struct collision *key = collision_create(name), *found;

    HASH_FIND(hh, c->collisions, key->unified, name.size, found);
    free(key);
    return found;
}

struct str core_collision_find(struct controller_core *c, struct str name)
{
    struct collision *found = may_collide(name) ? collision_find(c, name) : NULL;

    return found ? found->name : STR_NULL;
}

static void collision_free(struct controller_core *c, struct collision *e)
{
    HASH_DELETE(hh, c->collisions, e);
    free((void *)(uintptr_t)e->name.data);
    free(e);
}

void core_collision_remove(struct controller_core *c, struct str name)
{
    struct collision *found = may_collide(name) ? collision_find(c, name) : NULL;

    if (found && str_equal(found->name, name))
        collision_free(c, found);
}

/* ---- life ---- */

struct controller_core *controller_core_create(const struct controller_core_args *args,
                                               const struct metadata_image *committed,
                                               int64_t now_ms)
{
    struct controller_core *c = memory_zalloc(1, sizeof *c);
    struct metadata_topic_cursor cursor;
    const struct metadata_topic *t;

    c->node_id = args->node_id;
    c->cluster_id = memory_str(args->cluster_id);
    c->given = args->given;
    c->random = args->random;
    c->transaction_open = args->transaction_open;
    c->image = (struct metadata_image *)(uintptr_t)metadata_image_acquire(committed);
    c->last_append_ms = now_ms;
    c->at.now_ms = now_ms;
    writer_init(&c->writer, SIZE_MAX);
    arena_init(&c->scratch, SCRATCH_BYTES);
    core_sessions_init(c, args->deposed);
    core_elections_init(c);
    metadata_topics_begin(&cursor, c->image);
    while ((t = metadata_topics_next(&cursor)))
        core_collision_add(c, t->name);
    return c;
}

void controller_core_free(struct controller_core *c)
{
    struct collision *e, *next;

    if (!c)
        return;
    HASH_ITER(hh, c->collisions, e, next)
    collision_free(c, e);
    core_sessions_free(c);
    metadata_image_release(c->image);
    writer_free(&c->writer);
    arena_free(&c->scratch);
    free(c->ends);
    free(c->values);
    free((void *)(uintptr_t)c->cluster_id.data);
    free(c);
}

void controller_core_rebase(struct controller_core *c, const struct metadata_image *committed)
{
    metadata_image_acquire(committed);
    metadata_image_release(c->image);
    c->image = (struct metadata_image *)(uintptr_t)committed;
}

const struct metadata_image *controller_core_image(const struct controller_core *c)
{
    return c->image;
}

/* ---- activation ---- */

static void emit_features(struct controller_core *c)
{
    size_t count;
    const struct feature_default *defaults = feature_defaults(&count);
    struct metadata_record r;

    for (size_t i = 0; i < count; i++) {
        metadata_record_init(&r, FEATURE_LEVEL_RECORD_KEY, 0);
        r.feature_level.name = str_from(defaults[i].name);
        r.feature_level.feature_level = defaults[i].level;
        core_emit(c, &r);
    }
}

/* The records that the directory was formatted with, now as part of the log. */
static void emit_formatted(struct controller_core *c, const struct metadata_image *formatted)
{
    struct metadata_dump *dump = metadata_dump_create(formatted);
    const struct bytes *values;
    size_t count;

    for (metadata_dump_next(dump, &values, &count); count > 0;
         metadata_dump_next(dump, &values, &count))
        for (size_t i = 0; i < count; i++) {
            struct metadata_record r;

            arena_reset(&c->scratch);
            CHECK(!status_failed(metadata_record_decode(values[i], &c->scratch, &r)));
            core_emit(c, &r);
        }
    metadata_dump_free(dump);
}

/* Once in a cluster's life: what it was formatted with becomes records, as one metadata
 * transaction. */
static void emit_bootstrap(struct controller_core *c)
{
    const struct metadata_image *formatted = metadata_image_acquire(c->image);
    struct metadata_record r;

    metadata_record_init(&r, BEGIN_TRANSACTION_RECORD_KEY, 0);
    r.begin_transaction.name = STR("Bootstrap records");
    core_emit(c, &r);
    if (metadata_image_feature_count(formatted) > 0)
        emit_formatted(c, formatted);
    else
        emit_features(c);
    core_emit_default_min_isr(c);
    emit_mark(c, END_TRANSACTION_RECORD_KEY);
    metadata_image_release(formatted);
}

static bool registered_as(const struct controller_core *c, const struct register_controller *self)
{
    const struct metadata_controller *known = metadata_image_controller(c->image, self->id);

    return known && uuid_equal(known->incarnation, self->incarnation);
}

static void emit_controller(struct controller_core *c, const struct register_controller *self)
{
    struct metadata_controller mc = {
        .id = self->id,
        .zk_migration_ready = self->zk_migration_ready,
        .incarnation = self->incarnation,
        .listeners = self->listeners,
        .listener_count = self->listener_count,
        .features = self->features,
        .feature_count = self->feature_count,
    };
    struct metadata_record r;

    record_of_controller(&r, &mc, &c->scratch);
    core_emit(c, &r);
}

void controller_core_activate(struct controller_core *c, const struct register_controller *self,
                              struct controller_moment at, struct controller_output *out)
{
    bool empty = c->image->offset < 0;

    begin(c, at);
    if (c->transaction_open) {
        struct metadata_record r;

        metadata_record_init(&r, ABORT_TRANSACTION_RECORD_KEY, 0);
        r.abort_transaction.reason = STR("Controller failover");
        core_emit(c, &r);
        c->transaction_open = false;
    }
    if (empty)
        emit_bootstrap(c);
    if (self && !registered_as(c, self) && core_metadata_version(c) >= METADATA_VERSION_CONTROLLERS)
        emit_controller(c, self);
    c->atomic = false; /* it has its own transaction */
    finish(c, out);
}

struct controller_result core_register_controller(struct controller_core *c,
                                                  struct controller_request *r)
{
    if (core_metadata_version(c) < METADATA_VERSION_CONTROLLERS)
        return core_refuse(
            r->arena, KERR_UNSUPPORTED_VERSION,
            "The current metadata.version is too old to support controller registrations.");
    if (!core_registration_fits(r->controller.listeners, r->controller.listener_count,
                                r->controller.features, r->controller.feature_count))
        return core_refuse(r->arena, KERR_INVALID_REQUEST,
                           "Too many listeners or features in request");
    emit_controller(c, &r->controller);
    return CORE_OK;
}

struct controller_result core_unregister_controller(struct controller_core *c,
                                                    struct controller_request *r)
{
    int32_t id = r->controller_unregistration.controller_id;
    struct metadata_record rec;

    if (id == c->node_id)
        return core_refuse(r->arena, KERR_INVALID_REQUEST,
                           "Controller cannot unregister itself while it is active.");
    if (core_metadata_version(c) < METADATA_VERSION_CONTROLLERS_GO)
        return core_refuse(
            r->arena, KERR_UNSUPPORTED_VERSION,
            "The current MetadataVersion is too old to support controller unregistration.");
    if (!metadata_image_controller(c->image, id))
        return core_refuse(r->arena, KERR_CONTROLLER_ID_NOT_REGISTERED,
                           "Controller ID %d is not currently registered.", id);
    metadata_record_init(&rec, UNREGISTER_CONTROLLER_RECORD_KEY, 0);
    rec.unregister_controller.controller_id = id;
    core_emit(c, &rec);
    return CORE_OK;
}

/* ---- producer ids ---- */

#define PRODUCER_ID_BLOCK 1000

struct controller_result core_allocate_producer_ids(struct controller_core *c,
                                                    struct controller_request *r)
{
    int64_t first = c->image->next_producer_id;
    struct metadata_record rec;

    if (!core_broker_of_epoch(c, r->producer_ids.broker_id, r->producer_ids.broker_epoch))
        return core_refuse(r->arena, KERR_STALE_BROKER_EPOCH,
                           "Broker %d is not registered with epoch %lld.",
                           r->producer_ids.broker_id, (long long)r->producer_ids.broker_epoch);
    if (first > INT64_MAX - PRODUCER_ID_BLOCK)
        return core_refuse(r->arena, KERR_UNKNOWN_SERVER_ERROR,
                           "All producer ids were given away.");
    metadata_record_init(&rec, PRODUCER_IDS_RECORD_KEY, 0);
    rec.producer_ids.broker_id = r->producer_ids.broker_id;
    rec.producer_ids.broker_epoch = r->producer_ids.broker_epoch;
    rec.producer_ids.next_producer_id = first + PRODUCER_ID_BLOCK;
    core_emit(c, &rec);
    r->producer_ids.first_id = first;
    r->producer_ids.id_count = PRODUCER_ID_BLOCK;
    return CORE_OK;
}

/* ---- the table ---- */

static struct controller_result (*const operations[CONTROLLER_OPERATION_COUNT])(
    struct controller_core *c, struct controller_request *r) = {
    [CONTROLLER_CREATE_TOPICS] = core_create_topics,
    [CONTROLLER_DELETE_TOPICS] = core_delete_topics,
    [CONTROLLER_GROW_TOPICS] = core_grow_topics,
    [CONTROLLER_ALTER_CONFIGS] = core_alter_configs,
    [CONTROLLER_REGISTER_BROKER] = core_register_broker,
    [CONTROLLER_UNREGISTER_BROKER] = core_unregister_broker,
    [CONTROLLER_HEARTBEAT] = core_heartbeat,
    [CONTROLLER_BROKER_REFUSES] = core_broker_refuses,
    [CONTROLLER_BROKER_SILENT] = core_broker_silent,
    [CONTROLLER_ALTER_PARTITIONS] = core_alter_partitions,
    [CONTROLLER_ASSIGN_REPLICAS] = core_assign_replicas,
    [CONTROLLER_ALLOCATE_PRODUCER_IDS] = core_allocate_producer_ids,
    [CONTROLLER_REGISTER_CONTROLLER] = core_register_controller,
    [CONTROLLER_UNREGISTER_CONTROLLER] = core_unregister_controller,
    [CONTROLLER_ELECT_LEADERS] = core_elect_leaders,
    [CONTROLLER_ALTER_REASSIGNMENTS] = core_alter_reassignments,
    [CONTROLLER_LIST_REASSIGNMENTS] = core_list_reassignments,
    [CONTROLLER_UPDATE_FEATURES] = core_update_features,
};

struct controller_result controller_core_step(struct controller_core *c,
                                              struct controller_request *r,
                                              struct controller_moment at,
                                              struct controller_output *out)
{
    struct controller_result result;

    CHECK(r->operation < CONTROLLER_OPERATION_COUNT);
    begin(c, at);
    c->dry_run = r->validate_only;
    result = operations[r->operation](c, r);
    c->dry_run = false;
    finish(c, out);
    return result;
}

/* ---- time ---- */

/* Log offsets go on even when nothing happens, so that a lag is a lag. 0: not wanted. */
static int64_t idle_ms(const struct controller_core *c)
{
    return config_values_integer(c->given, "metadata.max.idle.interval.ms");
}

void controller_core_tick(struct controller_core *c, struct controller_moment at,
                          struct controller_output *out)
{
    struct broker_session *s, *next;

    begin(c, at);
    c->atomic = false; /* nobody waits for all of it at once */
    HASH_ITER(hh, c->sessions, s, next)
    {
        const struct metadata_broker *b = metadata_image_broker(c->image, s->id);

        if (b && !b->fenced && at.now_ms - s->last_contact_ms >= core_session_ms(c, s))
            core_fence_broker(c, s->id);
    }
    core_elections_tick(c);
    if (c->count == 0 && idle_ms(c) > 0 && at.now_ms - c->last_append_ms >= idle_ms(c))
        emit_mark(c, NO_OP_RECORD_KEY);
    finish(c, out);
}

int64_t controller_core_next_tick_ms(const struct controller_core *c)
{
    int64_t next = core_sessions_next_ms(c);

    if (core_elections_next_ms(c) < next)
        next = core_elections_next_ms(c);
    if (idle_ms(c) > 0 && c->last_append_ms + idle_ms(c) < next)
        next = c->last_append_ms + idle_ms(c);
    return next;
}
