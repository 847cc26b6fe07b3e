#include "tests/unit/broker/coordinator/image_world.h"

#include <string.h>

#include "protocol/base/check.h"
#include "replication/metadata_image_internal.h"

void image_world_init(struct image_world *w)
{
    w->given = config_values_create();
    w->image = metadata_image_create(1, w->given);
}

void image_world_free(struct image_world *w)
{
    metadata_image_release(w->image);
    config_values_free(w->given);
}

static void apply(struct image_world *w, const struct metadata_record *r)
{
    struct metadata_image *next = metadata_image_copy(w->image);

    CHECK(!status_failed(metadata_image_apply(next, r, (struct bytes){0})));
    next->offset++;
    metadata_image_release(w->image);
    w->image = next;
}

void image_world_add_broker(struct image_world *w, int32_t id, const char *rack)
{
    struct metadata_record r;

    metadata_record_init(&r, REGISTER_BROKER_RECORD_KEY, 3);
    r.register_broker.broker_id = id;
    r.register_broker.rack = str_from(rack);
    apply(w, &r);
}

void image_world_add_topic(struct image_world *w, const char *name, struct uuid id)
{
    struct metadata_record r;

    metadata_record_init(&r, TOPIC_RECORD_KEY, 0);
    r.topic.name = str_from(name);
    r.topic.topic_id = id;
    apply(w, &r);
}

void image_world_add_partition(struct image_world *w, struct uuid topic, const int32_t *replicas,
                               size_t count)
{
    struct metadata_record r;
    int32_t ids[8];
    struct uuid directories[8] = {0};

    CHECK(count > 0 && count <= 8);
    memcpy(ids, replicas, count * sizeof *ids);
    metadata_record_init(&r, PARTITION_RECORD_KEY, 1);
    r.partition.topic_id = topic;
    r.partition.partition_id =
        (int32_t)metadata_image_topic_by_id(w->image, topic)->partition_count;
    r.partition.replicas = ids;
    r.partition.replicas_count = count;
    r.partition.isr = ids;
    r.partition.isr_count = count;
    r.partition.leader = ids[0];
    r.partition.directories = directories;
    r.partition.directories_count = count;
    apply(w, &r);
}

void image_world_grow(struct image_world *w, const char *name, int32_t partitions)
{
    const struct metadata_topic *topic = metadata_image_topic(w->image, str_from(name));
    struct uuid id = topic->id;

    for (size_t i = topic->partition_count; i < (size_t)partitions; i++)
        image_world_add_partition(w, id, (int32_t[]){1}, 1);
}

struct uuid image_world_topic(struct image_world *w, const char *name, int32_t partitions)
{
    struct uuid id = {{0}};
    int64_t offset = metadata_image_offset(w->image);

    memcpy(id.bytes + 4, &offset, sizeof offset);
    strncpy((char *)id.bytes, name, 4);
    id.bytes[15] = 1;
    image_world_add_topic(w, name, id);
    image_world_grow(w, name, partitions);
    return id;
}

void image_world_remove_topic(struct image_world *w, const char *name)
{
    struct metadata_record r;

    metadata_record_init(&r, REMOVE_TOPIC_RECORD_KEY, 0);
    r.remove_topic.topic_id = metadata_image_topic(w->image, str_from(name))->id;
    apply(w, &r);
}
