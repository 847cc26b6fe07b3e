/* Committed records into images.
 *
 *   published   what was given out last
 *   working     its successor, changed as records come; NULL while there is nothing new
 *   stable      during a metadata transaction: what `working` was before its begin */

#include "replication/metadata_loader.h"

#include <stdlib.h>

#include "protocol/base/arena.h"
#include "replication/memory.h"
#include "replication/metadata_image_internal.h"

/* Of one decoded record: far above any real one; a topic's largest array is its replicas. */
#define RECORD_ARENA_BYTES (16 * 1024 * 1024)

struct metadata_loader {
    int32_t node_id;
    const struct config_values *given;
    const struct metadata_image *published; /* NULL at first */
    struct metadata_image *working;
    struct metadata_image *stable;
    struct arena arena;
    bool snapshot; /* `working` was loaded as a whole */
};

struct metadata_loader *metadata_loader_create(int32_t node_id, const struct config_values *given)
{
    struct metadata_loader *l = memory_zalloc(1, sizeof *l);

    l->node_id = node_id;
    l->given = given;
    arena_init(&l->arena, RECORD_ARENA_BYTES);
    return l;
}

void metadata_loader_free(struct metadata_loader *l)
{
    if (!l)
        return;
    metadata_image_release(l->published);
    metadata_image_release(l->working);
    metadata_image_release(l->stable);
    arena_free(&l->arena);
    free(l);
}

/* The image to change. */
static struct metadata_image *working(struct metadata_loader *l)
{
    if (l->working)
        return l->working;
    l->working = l->published ? metadata_image_copy(l->published)
                              : metadata_image_create(l->node_id, l->given);
    return l->working;
}

static struct status apply_value(struct metadata_loader *l, struct bytes value)
{
    struct metadata_record r;
    struct status st;

    arena_reset(&l->arena);
    st = metadata_record_decode(value, &l->arena, &r);
    if (status_failed(st))
        return st;
    switch (r.type) {
    case BEGIN_TRANSACTION_RECORD_KEY:
        if (l->stable)
            return status_error(KERR_CORRUPT_MESSAGE,
                                "a metadata transaction begins within another");
        l->stable = working(l);
        l->working = metadata_image_copy(l->stable);
        return STATUS_OK;
    case END_TRANSACTION_RECORD_KEY:
        if (!l->stable)
            return status_error(KERR_CORRUPT_MESSAGE,
                                "a metadata transaction ends that never began");
        metadata_image_release(l->stable);
        l->stable = NULL;
        return STATUS_OK;
    case ABORT_TRANSACTION_RECORD_KEY:
        if (!l->stable)
            return status_error(KERR_CORRUPT_MESSAGE,
                                "a metadata transaction is aborted that never began");
        metadata_image_release(l->working);
        l->working = l->stable;
        l->stable = NULL;
        return STATUS_OK;
    default:
        return metadata_image_apply(working(l), &r, value);
    }
}

void metadata_loader_begin_snapshot(struct metadata_loader *l)
{
    metadata_image_release(l->working);
    metadata_image_release(l->stable);
    l->stable = NULL;
    l->working = metadata_image_create(l->node_id, l->given);
    l->snapshot = true;
}

struct status metadata_loader_apply_snapshot(struct metadata_loader *l, const struct bytes *values,
                                             size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct status st = apply_value(l, values[i]);

        if (status_failed(st))
            return st;
    }
    return STATUS_OK;
}

struct status metadata_loader_end_snapshot(struct metadata_loader *l, struct snapshot_position at)
{
    struct metadata_image *img = working(l);

    img->offset = at.last_offset;
    img->epoch = at.epoch;
    img->timestamp_ms = at.timestamp_ms;
    if (l->stable)
        return status_error(KERR_CORRUPT_MESSAGE, "a snapshot ends within a metadata transaction");
    if (img->hole_count > 0)
        return status_error(KERR_CORRUPT_MESSAGE, "a snapshot leaves out partitions");
    return STATUS_OK;
}

struct status metadata_loader_apply(struct metadata_loader *l, const struct metadata_batch *batch)
{
    struct metadata_image *img;

    for (size_t i = 0; i < batch->count; i++) {
        struct status st = apply_value(l, batch->values[i]);

        if (status_failed(st))
            return st;
        img = working(l);
        img->offset = batch->base_offset + (int64_t)i;
        img->epoch = batch->epoch;
        img->timestamp_ms = batch->timestamp_ms;
    }
    /* Partitions of a topic come in one batch, or in one transaction. */
    if (!l->stable && l->working && l->working->hole_count > 0)
        return status_error(KERR_CORRUPT_MESSAGE, "partitions are left out");
    return STATUS_OK;
}

bool metadata_loader_in_transaction(const struct metadata_loader *l)
{
    return l->stable != NULL;
}

/* ---- deltas ---- */

struct topic_changes {
    struct uuid *changed;
    size_t changed_count;
    size_t changed_room;
    const struct metadata_topic **removed;
    size_t removed_count;
    size_t removed_room;
    size_t name_bytes; /* of the removed ones, with NULs */
};

static void note_changed(void *arg, struct map_value *v)
{
    struct topic_changes *c = arg;

    if (c->changed_count == c->changed_room) {
        c->changed_room = c->changed_room ? c->changed_room * 2 : 16;
        c->changed = memory_resize(c->changed, c->changed_room, sizeof *c->changed);
    }
    c->changed[c->changed_count++] = ((const struct metadata_topic *)(const void *)v)->id;
}

static void note_removed(void *arg, struct map_value *v)
{
    struct topic_changes *c = arg;

    if (c->removed_count == c->removed_room) {
        c->removed_room = c->removed_room ? c->removed_room * 2 : 16;
        c->removed = memory_resize(c->removed, c->removed_room, sizeof *c->removed);
    }
    c->removed[c->removed_count++] = (const struct metadata_topic *)(const void *)v;
    c->name_bytes += c->removed[c->removed_count - 1]->name.size + 1;
}

/* A delta with the lists copied into its own block. */
static struct metadata_delta *delta_with(const struct topic_changes *c)
{
    struct metadata_delta *d =
        memory_zalloc(1, sizeof *d + c->removed_count * sizeof(struct metadata_removed_topic) +
                             c->changed_count * sizeof(struct uuid) + c->name_bytes);
    struct metadata_removed_topic *removed = (struct metadata_removed_topic *)(d + 1);
    struct uuid *changed = (struct uuid *)(removed + c->removed_count);
    char *text = (char *)(changed + c->changed_count);

    atomic_init(&d->references, 1);
    if (c->changed_count)
        memcpy(changed, c->changed, c->changed_count * sizeof *changed);
    for (size_t i = 0; i < c->removed_count; i++) {
        struct str name = c->removed[i]->name;

        memcpy(text, name.data, name.size);
        removed[i] = (struct metadata_removed_topic){c->removed[i]->id, {text, name.size}};
        text += name.size + 1;
    }
    d->changed_topics = changed;
    d->changed_topic_count = c->changed_count;
    d->removed_topics = removed;
    d->removed_topic_count = c->removed_count;
    return d;
}

static struct metadata_delta *delta_between(const struct metadata_image *before,
                                            const struct metadata_image *after)
{
    struct metadata_image nothing = {0};
    struct topic_changes c = {0};
    struct map_diff visit = {&c, note_removed, note_changed};
    struct metadata_delta *d;

    if (!before) {
        map_init(&nothing.topics, &metadata_topic_map);
        before = &nothing;
    }
    map_diff(&before->topics, &after->topics, &visit);
    d = delta_with(&c);
    d->brokers_changed = before->brokers != after->brokers;
    d->controllers_changed = before->controllers != after->controllers;
    d->features_changed = before->features != after->features;
    d->configs_changed = before->configs.root != after->configs.root;
    free(c.changed);
    free(c.removed);
    return d;
}

bool metadata_loader_publish(struct metadata_loader *l, const struct metadata_image **image,
                             const struct metadata_delta **delta)
{
    struct metadata_image *next = l->stable ? l->stable : l->working;
    struct metadata_delta *d;

    if (!next || (l->published && l->stable && l->stable->offset == l->published->offset))
        return false;
    d = delta_between(l->published, next);
    d->snapshot = l->snapshot;
    l->snapshot = false;
    metadata_image_release(l->published);
    l->published = next;
    metadata_image_acquire(next);
    if (!l->stable) {
        l->working = NULL;
    } else { /* the transaction may still be aborted, and then goes on from what is published now */
        l->stable = metadata_image_copy(next);
    }
    *image = next;
    *delta = d;
    return true;
}

const struct metadata_delta *metadata_delta_acquire(const struct metadata_delta *d)
{
    atomic_fetch_add_explicit(&((struct metadata_delta *)(uintptr_t)d)->references, 1,
                              memory_order_relaxed);
    return d;
}

void metadata_delta_release(const struct metadata_delta *d)
{
    struct metadata_delta *m = (struct metadata_delta *)(uintptr_t)d;

    if (m && atomic_fetch_sub_explicit(&m->references, 1, memory_order_acq_rel) == 1)
        free(m);
}
