/* An image back into records, in the order of Apache Kafka's snapshots: features, brokers and
 * controllers, topics, settings, producer ids, and what is kept for others. Record versions are
 * those that the cluster's metadata.version allows. */

#include <stdlib.h>

#include "protocol/writer.h"
#include "replication/memory.h"
#include "replication/metadata_encode.h"
#include "replication/metadata_image_internal.h"
#include "replication/metadata_loader.h"

#define CHUNK_RECORDS 1000

enum stage {
    STAGE_FEATURES,
    STAGE_BROKERS,
    STAGE_CONTROLLERS,
    STAGE_TOPICS,
    STAGE_CONFIGS,
    STAGE_PRODUCER_IDS,
    STAGE_OTHERS,
    STAGE_DONE,
};

struct metadata_dump {
    const struct metadata_image *img;
    int16_t metadata_version;
    enum stage stage;
    size_t at; /* within brokers, controllers, features; partition of `topic`; entry of `config` */
    struct map_cursor cursor;
    const struct metadata_topic *topic;
    const struct resource_config *config;
    struct arena arena; /* of one record */
    struct writer writer;
    size_t ends[CHUNK_RECORDS]; /* of each record in the writer */
    struct bytes values[CHUNK_RECORDS];
    size_t count;
};

struct metadata_dump *metadata_dump_create(const struct metadata_image *img)
{
    struct metadata_dump *d = memory_zalloc(1, sizeof *d);

    d->img = metadata_image_acquire(img);
    d->metadata_version = metadata_image_feature_level(img, METADATA_VERSION_FEATURE);
    arena_init(&d->arena, SIZE_MAX);
    writer_init(&d->writer, SIZE_MAX);
    return d;
}

void metadata_dump_free(struct metadata_dump *d)
{
    if (!d)
        return;
    metadata_image_release(d->img);
    arena_free(&d->arena);
    writer_free(&d->writer);
    free(d);
}

static void put(struct metadata_dump *d, const struct metadata_record *r)
{
    CHECK(metadata_record_encode(&d->writer, r));
    d->ends[d->count++] = d->writer.size;
}

static void put_frame(struct metadata_dump *d, struct bytes frame)
{
    write_raw(&d->writer, frame.data, frame.size);
    CHECK(writer_ok(&d->writer));
    d->ends[d->count++] = d->writer.size;
}

/* Moves on; maps are walked from their start. */
static void next_stage(struct metadata_dump *d)
{
    d->stage++;
    d->at = 0;
    if (d->stage == STAGE_TOPICS)
        map_cursor_init(&d->cursor, &d->img->topics);
    else if (d->stage == STAGE_CONFIGS)
        map_cursor_init(&d->cursor, &d->img->configs);
    else if (d->stage == STAGE_OTHERS)
        map_cursor_init(&d->cursor, &d->img->others);
}

/* metadata.version comes first, since it decides how the rest is to be read. */
static void dump_feature(struct metadata_dump *d)
{
    size_t count = metadata_image_feature_count(d->img);
    struct metadata_record r;

    metadata_record_init(&r, FEATURE_LEVEL_RECORD_KEY, 0);
    if (d->at == 0 && d->metadata_version > 0) {
        r.feature_level.name = METADATA_VERSION_FEATURE;
        r.feature_level.feature_level = d->metadata_version;
        put(d, &r);
    }
    if (d->at >= count) {
        next_stage(d);
        return;
    }
    r.feature_level.name = d->img->features->features[d->at].name;
    r.feature_level.feature_level = d->img->features->features[d->at].level;
    if (!str_equal(r.feature_level.name, METADATA_VERSION_FEATURE))
        put(d, &r);
    d->at++;
}

static void dump_broker(struct metadata_dump *d)
{
    struct metadata_record r;

    if (d->at >= metadata_image_broker_count(d->img)) {
        next_stage(d);
        return;
    }
    arena_reset(&d->arena);
    record_of_broker(&r, metadata_image_broker_at(d->img, d->at++), d->metadata_version, &d->arena);
    put(d, &r);
}

static void dump_controller(struct metadata_dump *d)
{
    struct metadata_record r;

    if (d->at >= metadata_image_controller_count(d->img)) {
        next_stage(d);
        return;
    }
    arena_reset(&d->arena);
    record_of_controller(&r, metadata_image_controller_at(d->img, d->at++), &d->arena);
    put(d, &r);
}

/* The topic, then its partitions. */
static void dump_topic(struct metadata_dump *d)
{
    struct metadata_record r;

    if (!d->topic) {
        d->topic = (const struct metadata_topic *)(const void *)map_cursor_next(&d->cursor);
        d->at = 0;
        if (!d->topic) {
            next_stage(d);
            return;
        }
        metadata_record_init(&r, TOPIC_RECORD_KEY, 0);
        r.topic.name = d->topic->name;
        r.topic.topic_id = d->topic->id;
    } else if (d->at < d->topic->partition_count) {
        record_of_partition(&r, d->topic->id, (int32_t)d->at, d->topic->partitions[d->at],
                            d->metadata_version);
        d->at++;
    } else {
        d->topic = NULL;
        return;
    }
    put(d, &r);
}

static void dump_config(struct metadata_dump *d)
{
    struct metadata_record r;

    if (!d->config) {
        d->config = (const struct resource_config *)(const void *)map_cursor_next(&d->cursor);
        d->at = 0;
        if (!d->config)
            next_stage(d);
        return;
    }
    if (d->at >= d->config->set->count) {
        d->config = NULL;
        return;
    }
    metadata_record_init(&r, CONFIG_RECORD_KEY, 0);
    r.config.resource_type = (int8_t)d->config->key.type;
    r.config.resource_name = d->config->key.name;
    r.config.name = d->config->set->entries[d->at].name;
    r.config.value = d->config->set->entries[d->at].value;
    d->at++;
    put(d, &r);
}

static void dump_producer_ids(struct metadata_dump *d)
{
    struct metadata_record r;

    if (d->img->next_producer_id > 0) {
        metadata_record_init(&r, PRODUCER_IDS_RECORD_KEY, 0);
        r.producer_ids.broker_id = -1; /* to whom they went is not kept, as in Apache Kafka */
        r.producer_ids.next_producer_id = d->img->next_producer_id;
        put(d, &r);
    }
    next_stage(d);
}

static void dump_other(struct metadata_dump *d)
{
    const struct other_record *o = (const void *)map_cursor_next(&d->cursor);

    if (o)
        put_frame(d, o->frame);
    else
        next_stage(d);
}

/* Each puts at most two records, or moves on. */
static void (*const dump_stage[])(struct metadata_dump *d) = {
    [STAGE_FEATURES] = dump_feature,       [STAGE_BROKERS] = dump_broker,
    [STAGE_CONTROLLERS] = dump_controller, [STAGE_TOPICS] = dump_topic,
    [STAGE_CONFIGS] = dump_config,         [STAGE_PRODUCER_IDS] = dump_producer_ids,
    [STAGE_OTHERS] = dump_other,
};

void metadata_dump_next(struct metadata_dump *d, const struct bytes **values, size_t *count)
{
    size_t start = 0;

    writer_reset(&d->writer);
    d->count = 0;
    while (d->stage != STAGE_DONE && d->count + 2 <= CHUNK_RECORDS)
        dump_stage[d->stage](d);
    for (size_t i = 0; i < d->count; i++) {
        d->values[i] = (struct bytes){d->writer.data + start, d->ends[i] - start};
        start = d->ends[i];
    }
    *values = d->values;
    *count = d->count;
}
