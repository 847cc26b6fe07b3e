/* Reading an image, and the life of it and of its pieces. Records change it in metadata_apply.c. */

#include "replication/metadata_image.h"

#include <stdio.h>
#include <stdlib.h>

#include "replication/memory.h"
#include "replication/metadata_image_internal.h"

const struct metadata_image *metadata_image_acquire(const struct metadata_image *img)
{
    struct metadata_image *m = (struct metadata_image *)(uintptr_t)img;

    atomic_fetch_add_explicit(&m->references, 1, memory_order_relaxed);
    return img;
}

void metadata_image_release(const struct metadata_image *img)
{
    struct metadata_image *m = (struct metadata_image *)(uintptr_t)img;

    if (!m || atomic_fetch_sub_explicit(&m->references, 1, memory_order_acq_rel) != 1)
        return;
    map_clear(&m->topics);
    map_clear(&m->names);
    map_clear(&m->configs);
    map_clear(&m->others);
    id_table_release(m->brokers);
    id_table_release(m->controllers);
    if (m->features &&
        atomic_fetch_sub_explicit(&m->features->references, 1, memory_order_acq_rel) == 1)
        free(m->features);
    metadata_topic_config_release(m->default_config);
    free(m);
}

struct metadata_image *metadata_image_create(int32_t node_id, const struct config_values *given)
{
    struct metadata_image *m = memory_zalloc(1, sizeof *m);

    atomic_init(&m->references, 1);
    m->offset = -1;
    m->timestamp_ms = -1;
    m->node_id = node_id;
    m->given = given;
    map_init(&m->topics, &metadata_topic_map);
    map_init(&m->names, &metadata_name_map);
    map_init(&m->configs, &metadata_config_map);
    map_init(&m->others, &metadata_other_map);
    m->default_config = metadata_topic_config_create(m, config_set_create(NULL, 0));
    return m;
}

struct metadata_image *metadata_image_copy(const struct metadata_image *img)
{
    struct metadata_image *m = memory_alloc(sizeof *m);

    memory_copy_counted(m, img, sizeof *m);
    atomic_init(&m->references, 1);
    map_copy(&m->topics, &img->topics);
    map_copy(&m->names, &img->names);
    map_copy(&m->configs, &img->configs);
    map_copy(&m->others, &img->others);
    id_table_acquire(m->brokers);
    id_table_acquire(m->controllers);
    if (m->features)
        atomic_fetch_add_explicit(&m->features->references, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(
        &((struct metadata_topic_config *)(uintptr_t)m->default_config)->references, 1,
        memory_order_relaxed);
    return m;
}

int64_t metadata_image_offset(const struct metadata_image *img)
{
    return img->offset;
}

int32_t metadata_image_epoch(const struct metadata_image *img)
{
    return img->epoch;
}

int64_t metadata_image_timestamp_ms(const struct metadata_image *img)
{
    return img->timestamp_ms;
}

int64_t metadata_image_next_producer_id(const struct metadata_image *img)
{
    return img->next_producer_id;
}

/* ---- topics ---- */

const struct metadata_topic *metadata_image_topic_by_id(const struct metadata_image *img,
                                                        struct uuid id)
{
    return (const struct metadata_topic *)(const void *)map_find(&img->topics, &id);
}

const struct metadata_topic *metadata_image_topic(const struct metadata_image *img, struct str name)
{
    const struct topic_name *n = (const void *)map_find(&img->names, &name);

    return n ? metadata_image_topic_by_id(img, n->id) : NULL;
}

const struct metadata_partition *metadata_topic_partition(const struct metadata_topic *topic,
                                                          int32_t index)
{
    if (!topic || index < 0 || (size_t)index >= topic->partition_count)
        return NULL;
    return topic->partitions[index];
}

size_t metadata_image_topic_count(const struct metadata_image *img)
{
    return img->topics.count;
}

bool metadata_image_same_topics(const struct metadata_image *a, const struct metadata_image *b)
{
    return a->names.root == b->names.root;
}

size_t metadata_image_partition_count(const struct metadata_image *img)
{
    return img->partition_count;
}

void metadata_topics_begin(struct metadata_topic_cursor *c, const struct metadata_image *img)
{
    map_cursor_init(&c->cursor, &img->topics);
}

const struct metadata_topic *metadata_topics_next(struct metadata_topic_cursor *c)
{
    return (const struct metadata_topic *)(const void *)map_cursor_next(&c->cursor);
}

/* ---- brokers and controllers ---- */

size_t metadata_image_broker_count(const struct metadata_image *img)
{
    return img->brokers ? img->brokers->count : 0;
}

const struct metadata_broker *metadata_image_broker_at(const struct metadata_image *img,
                                                       size_t index)
{
    CHECK(index < metadata_image_broker_count(img));
    return (const void *)img->brokers->entries[index];
}

const struct metadata_broker *metadata_image_broker(const struct metadata_image *img, int32_t id)
{
    return (const void *)id_table_find(img->brokers, id);
}

const struct metadata_listener *metadata_broker_listener(const struct metadata_broker *b,
                                                         struct str name)
{
    for (size_t i = 0; i < b->listener_count; i++)
        if (str_equal(b->listeners[i].name, name))
            return &b->listeners[i];
    return NULL;
}

size_t metadata_image_controller_count(const struct metadata_image *img)
{
    return img->controllers ? img->controllers->count : 0;
}

const struct metadata_controller *metadata_image_controller_at(const struct metadata_image *img,
                                                               size_t index)
{
    CHECK(index < metadata_image_controller_count(img));
    return (const void *)img->controllers->entries[index];
}

const struct metadata_controller *metadata_image_controller(const struct metadata_image *img,
                                                            int32_t id)
{
    return (const void *)id_table_find(img->controllers, id);
}

/* ---- features and settings ---- */

size_t metadata_image_feature_count(const struct metadata_image *img)
{
    return img->features ? img->features->count : 0;
}

const struct metadata_feature *metadata_image_feature_at(const struct metadata_image *img,
                                                         size_t index)
{
    CHECK(index < metadata_image_feature_count(img));
    return &img->features->features[index];
}

int16_t metadata_image_feature_level(const struct metadata_image *img, struct str name)
{
    for (size_t i = 0; i < metadata_image_feature_count(img); i++)
        if (str_equal(img->features->features[i].name, name))
            return img->features->features[i].level;
    return 0;
}

const struct config_set *metadata_image_configs(const struct metadata_image *img,
                                                enum config_resource type, struct str name)
{
    struct resource_key key = {type, name};
    const struct resource_config *c = (const void *)map_find(&img->configs, &key);

    return c ? c->set : NULL;
}

void metadata_configs_begin(struct metadata_config_cursor *c, const struct metadata_image *img)
{
    map_cursor_init(&c->cursor, &img->configs);
}

bool metadata_configs_next(struct metadata_config_cursor *c, enum config_resource *type,
                           struct str *name)
{
    const struct resource_config *r = (const void *)map_cursor_next(&c->cursor);

    if (!r)
        return false;
    *type = r->key.type;
    *name = r->key.name;
    return true;
}

struct config_layers metadata_image_layers(const struct metadata_image *img, int32_t node_id,
                                           const struct config_values *given,
                                           const struct config_set *resource)
{
    char text[16];
    struct str name = {text, (size_t)snprintf(text, sizeof text, "%d", node_id)};

    return (struct config_layers){
        .resource = resource,
        .broker = metadata_image_configs(img, CONFIG_RESOURCE_BROKER, name),
        .all_brokers = metadata_image_configs(img, CONFIG_RESOURCE_BROKER, STR("")),
        .given = given,
    };
}

/* ---- maps ---- */

static uint64_t hash_uuid(const void *key)
{
    return map_hash_bytes(key, sizeof(struct uuid));
}

static bool equal_uuid(const void *a, const void *b)
{
    return uuid_equal(*(const struct uuid *)a, *(const struct uuid *)b);
}

static uint64_t hash_str(const void *key)
{
    const struct str *s = key;

    return map_hash_bytes(s->data, s->size);
}

static bool equal_str(const void *a, const void *b)
{
    return str_equal(*(const struct str *)a, *(const struct str *)b);
}

static const void *topic_key(const struct map_value *v)
{
    return &((const struct metadata_topic *)(const void *)v)->id;
}

static void topic_free(struct map_value *v)
{
    struct metadata_topic *t = (void *)v;

    for (size_t i = 0; i < t->partition_count; i++)
        metadata_partition_release(t->partitions[i]);
    free(t->partitions);
    free((void *)(uintptr_t)t->name.data);
    metadata_topic_config_release(t->config);
    free(t);
}

static struct map_value *topic_clone(const struct map_value *v)
{
    const struct metadata_topic *t = (const void *)v;
    struct metadata_topic *copy = metadata_topic_create(t->id, t->name, t->config);

    metadata_topic_grow(copy, t->partition_count);
    for (size_t i = 0; i < t->partition_count; i++) {
        struct metadata_partition *p = (struct metadata_partition *)(uintptr_t)t->partitions[i];

        if (p)
            atomic_fetch_add_explicit(&p->references, 1, memory_order_relaxed);
        copy->partitions[i] = p;
    }
    return &copy->value;
}

static const void *name_key(const struct map_value *v)
{
    return &((const struct topic_name *)(const void *)v)->name;
}

static void name_free(struct map_value *v)
{
    struct topic_name *n = (void *)v;

    free((void *)(uintptr_t)n->name.data);
    free(n);
}

static uint64_t hash_resource(const void *key)
{
    const struct resource_key *k = key;

    return map_hash_bytes(k->name.data, k->name.size) + (uint64_t)k->type * 0x9e3779b97f4a7c15u;
}

static bool equal_resource(const void *a, const void *b)
{
    const struct resource_key *x = a, *y = b;

    return x->type == y->type && str_equal(x->name, y->name);
}

static const void *config_key(const struct map_value *v)
{
    return &((const struct resource_config *)(const void *)v)->key;
}

static void config_free(struct map_value *v)
{
    struct resource_config *c = (void *)v;

    free((void *)(uintptr_t)c->key.name.data);
    config_set_release(c->set);
    free(c);
}

static uint64_t hash_bytes(const void *key)
{
    const struct bytes *b = key;

    return map_hash_bytes(b->data, b->size);
}

static bool equal_bytes(const void *a, const void *b)
{
    const struct bytes *x = a, *y = b;

    return x->size == y->size && memcmp(x->data, y->data, x->size) == 0;
}

static const void *other_key(const struct map_value *v)
{
    return &((const struct other_record *)(const void *)v)->key;
}

static void other_free(struct map_value *v)
{
    free(v); /* key and frame are of the same block */
}

/* Only topics are changed in place; the other values are small and replaced. */
const struct map_type metadata_topic_map = {hash_uuid, topic_key, equal_uuid, topic_free,
                                            topic_clone};
const struct map_type metadata_name_map = {hash_str, name_key, equal_str, name_free, NULL};
const struct map_type metadata_config_map = {hash_resource, config_key, equal_resource, config_free,
                                             NULL};
const struct map_type metadata_other_map = {hash_bytes, other_key, equal_bytes, other_free, NULL};
