/* Partitions, brokers, controllers and tables of an image: each in one block of memory, reference
 * counted. */

#include <stdlib.h>

#include "replication/memory.h"
#include "replication/metadata_image_internal.h"

/* ---- blocks ----
 *
 * A piece with all it points to is laid out in one block: first measured, then filled. Pointers and
 * integers of 8 bytes come first, then ids of 4, then text and uuids, so nothing needs padding. */

static size_t listeners_bytes(const struct metadata_listener *l, size_t count)
{
    size_t size = count * sizeof *l;

    for (size_t i = 0; i < count; i++)
        size += l[i].name.size + l[i].host.size;
    return size;
}

static size_t features_bytes(const struct metadata_feature_range *f, size_t count)
{
    size_t size = count * sizeof *f;

    for (size_t i = 0; i < count; i++)
        size += f[i].name.size;
    return size;
}

static void *take(char **at, const void *from, size_t size)
{
    void *to = *at;

    if (size)
        memcpy(to, from, size);
    *at += size;
    return to;
}

static struct str take_str(char **at, struct str s)
{
    return s.data ? (struct str){take(at, s.data, s.size), s.size} : s;
}

static struct id_list take_ids(char **at, struct id_list l)
{
    return (struct id_list){take(at, l.ids, l.count * sizeof *l.ids), l.count};
}

static const struct uuid *take_uuids(char **at, const struct uuid *ids, size_t count)
{
    return take(at, ids, count * sizeof *ids);
}

static void take_listener_text(char **at, struct metadata_listener *l, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        l[i].name = take_str(at, l[i].name);
        l[i].host = take_str(at, l[i].host);
    }
}

static void take_feature_text(char **at, struct metadata_feature_range *f, size_t count)
{
    for (size_t i = 0; i < count; i++)
        f[i].name = take_str(at, f[i].name);
}

const struct metadata_partition *metadata_partition_create(const struct metadata_partition *from)
{
    size_t id_count = from->replicas.count + from->isr.count + from->elr.count +
                      from->last_known_elr.count + from->adding.count + from->removing.count;
    struct metadata_partition *p = memory_alloc(sizeof *p + id_count * sizeof(int32_t) +
                                                from->replicas.count * sizeof(struct uuid));
    char *at = (char *)(p + 1);

    memory_copy_counted(p, from, sizeof *p);
    atomic_init(&p->references, 1);
    p->replicas = take_ids(&at, from->replicas);
    p->isr = take_ids(&at, from->isr);
    p->elr = take_ids(&at, from->elr);
    p->last_known_elr = take_ids(&at, from->last_known_elr);
    p->adding = take_ids(&at, from->adding);
    p->removing = take_ids(&at, from->removing);
    p->directories = take_uuids(&at, from->directories, from->replicas.count);
    return p;
}

void metadata_partition_release(const struct metadata_partition *p)
{
    struct metadata_partition *m = (struct metadata_partition *)(uintptr_t)p;

    if (m && atomic_fetch_sub_explicit(&m->references, 1, memory_order_acq_rel) == 1)
        free(m);
}

struct metadata_broker *metadata_broker_create(const struct metadata_broker *from)
{
    struct metadata_broker *b =
        memory_alloc(sizeof *b + listeners_bytes(from->listeners, from->listener_count) +
                     features_bytes(from->features, from->feature_count) + from->rack.size +
                     (from->log_dir_count + from->cordoned_log_dir_count) * sizeof(struct uuid));
    char *at = (char *)(b + 1);
    struct metadata_listener *listeners;
    struct metadata_feature_range *features;

    memory_copy_counted(b, from, sizeof *b);
    atomic_init(&b->references, 1);
    listeners = take(&at, from->listeners, from->listener_count * sizeof *listeners);
    features = take(&at, from->features, from->feature_count * sizeof *features);
    take_listener_text(&at, listeners, from->listener_count);
    take_feature_text(&at, features, from->feature_count);
    b->listeners = listeners;
    b->features = features;
    b->rack = take_str(&at, from->rack);
    b->log_dirs = take_uuids(&at, from->log_dirs, from->log_dir_count);
    b->cordoned_log_dirs = take_uuids(&at, from->cordoned_log_dirs, from->cordoned_log_dir_count);
    return b;
}

struct metadata_controller *metadata_controller_create(const struct metadata_controller *from)
{
    struct metadata_controller *c =
        memory_alloc(sizeof *c + listeners_bytes(from->listeners, from->listener_count) +
                     features_bytes(from->features, from->feature_count));
    char *at = (char *)(c + 1);
    struct metadata_listener *listeners;
    struct metadata_feature_range *features;

    memory_copy_counted(c, from, sizeof *c);
    atomic_init(&c->references, 1);
    listeners = take(&at, from->listeners, from->listener_count * sizeof *listeners);
    features = take(&at, from->features, from->feature_count * sizeof *features);
    take_listener_text(&at, listeners, from->listener_count);
    take_feature_text(&at, features, from->feature_count);
    c->listeners = listeners;
    c->features = features;
    return c;
}

/* ---- topics ---- */

const struct metadata_topic_config *metadata_topic_config_create(const struct metadata_image *img,
                                                                 const struct config_set *overrides)
{
    struct metadata_topic_config *c = memory_zalloc(1, sizeof *c);
    struct config_layers layers = metadata_image_layers(img, img->node_id, img->given, overrides);

    atomic_init(&c->references, 1);
    c->overrides = overrides;
    config_topic_settings(&layers, &c->settings);
    return c;
}

void metadata_topic_config_release(const struct metadata_topic_config *c)
{
    struct metadata_topic_config *m = (struct metadata_topic_config *)(uintptr_t)c;

    if (!m || atomic_fetch_sub_explicit(&m->references, 1, memory_order_acq_rel) != 1)
        return;
    config_set_release(m->overrides);
    free(m);
}

struct metadata_topic *metadata_topic_create(struct uuid id, struct str name,
                                             const struct metadata_topic_config *config)
{
    struct metadata_topic *t = memory_zalloc(1, sizeof *t);

    atomic_init(&t->value.references, 1);
    t->id = id;
    t->name = memory_str(name);
    t->config = config;
    atomic_fetch_add_explicit(&((struct metadata_topic_config *)(uintptr_t)config)->references, 1,
                              memory_order_relaxed);
    return t;
}

/* What room there is for a count: the next power of two, so that growing one by one is linear in
 * all. */
static size_t room_for(size_t count)
{
    size_t room = 1;

    while (room < count)
        room *= 2;
    return room;
}

void metadata_topic_grow(struct metadata_topic *t, size_t count)
{
    if (!t->partitions || room_for(count) != room_for(t->partition_count))
        t->partitions = memory_resize(t->partitions, room_for(count), sizeof(void *));
    for (size_t i = t->partition_count; i < count; i++)
        t->partitions[i] = NULL;
    t->partition_count = count;
}

/* ---- tables ---- */

/* Where id is or belongs. */
static size_t id_table_place(const struct id_table *t, int32_t id)
{
    size_t low = 0, high = t ? t->count : 0;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (t->entries[mid]->id < id)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

struct id_entry *id_table_find(const struct id_table *t, int32_t id)
{
    size_t at = id_table_place(t, id);

    return t && at < t->count && t->entries[at]->id == id ? t->entries[at] : NULL;
}

static void id_entry_release(struct id_entry *e)
{
    if (atomic_fetch_sub_explicit(&e->references, 1, memory_order_acq_rel) == 1)
        free(e);
}

struct id_table *id_table_acquire(struct id_table *t)
{
    if (t)
        atomic_fetch_add_explicit(&t->references, 1, memory_order_relaxed);
    return t;
}

void id_table_release(struct id_table *t)
{
    if (!t || atomic_fetch_sub_explicit(&t->references, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < t->count; i++)
        id_entry_release(t->entries[i]);
    free(t);
}

/* A copy without the entry of that id, with room for one more and a gap of `gap` where it
 * belongs. */
static struct id_table *id_table_without(const struct id_table *t, int32_t id, size_t gap)
{
    size_t count = t ? t->count : 0;
    size_t at = id_table_place(t, id);
    size_t skip = id_table_find(t, id) ? 1 : 0;
    struct id_table *copy = memory_alloc(sizeof *copy + (count + 1) * sizeof(void *));

    atomic_init(&copy->references, 1);
    copy->count = count - skip + gap;
    for (size_t i = 0; i < at; i++)
        copy->entries[i] = t->entries[i];
    for (size_t i = at + skip; i < count; i++)
        copy->entries[i - skip + gap] = t->entries[i];
    for (size_t i = 0; i < copy->count; i++)
        if (!gap || i != at)
            atomic_fetch_add_explicit(&copy->entries[i]->references, 1, memory_order_relaxed);
    return copy;
}

void id_table_put(struct id_table **t, struct id_entry *entry)
{
    struct id_table *copy = id_table_without(*t, entry->id, 1);

    copy->entries[id_table_place(*t, entry->id)] = entry;
    id_table_release(*t);
    *t = copy;
}

void id_table_remove(struct id_table **t, int32_t id)
{
    struct id_table *copy = id_table_without(*t, id, 0);

    id_table_release(*t);
    *t = copy;
}

void feature_table_set(struct feature_table **t, struct str name, int16_t level)
{
    struct feature_table *old = *t;
    size_t count = old ? old->count : 0;
    size_t text = name.size;
    struct feature_table *copy;
    bool placed = level == 0;
    char *at;

    for (size_t i = 0; i < count; i++)
        text += old->features[i].name.size;
    copy = memory_alloc(sizeof *copy + (count + 1) * sizeof(struct metadata_feature) + text);
    at = (char *)&copy->features[count + 1];
    atomic_init(&copy->references, 1);
    copy->count = 0;
    for (size_t i = 0; i < count; i++) {
        struct metadata_feature f = old->features[i];

        if (!placed && str_compare(name, f.name) <= 0) {
            copy->features[copy->count++] = (struct metadata_feature){take_str(&at, name), level};
            placed = true;
        }
        if (str_compare(name, f.name) != 0)
            copy->features[copy->count++] =
                (struct metadata_feature){take_str(&at, f.name), f.level};
    }
    if (!placed)
        copy->features[copy->count++] = (struct metadata_feature){take_str(&at, name), level};
    if (old && atomic_fetch_sub_explicit(&old->references, 1, memory_order_acq_rel) == 1)
        free(old);
    *t = copy;
}
