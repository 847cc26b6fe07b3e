#ifndef REPLICATION_METADATA_IMAGE_INTERNAL_H
#define REPLICATION_METADATA_IMAGE_INTERNAL_H

/* How an image is made: what metadata_image.c, metadata_apply.c, metadata_loader.c, metadata_dump.c
 * and the controller share. An image is changed only by the one who holds its only reference; what
 * it shares with others is copied first. */

#include "protocol/base/status.h"
#include "replication/metadata_image.h"
#include "replication/metadata_record.h"

/* What metadata_broker and metadata_controller begin with. */
struct id_entry {
    atomic_int references;
    int32_t id;
};

/* Few entries in rising id order; immutable while shared. */
struct id_table {
    atomic_int references;
    size_t count;
    struct id_entry *entries[];
};

/* Immutable, replaced as a whole. */
struct feature_table {
    atomic_int references;
    size_t count;
    struct metadata_feature features[]; /* in name order; the names follow them */
};

/* A value of image->names. */
struct topic_name {
    struct map_value value;
    struct uuid id;
    struct str name;
};

struct resource_key {
    enum config_resource type;
    struct str name;
};

/* A value of image->configs: what is set for one resource, topics included. */
struct resource_config {
    struct map_value value;
    struct resource_key key;
    const struct config_set *set;
};

/* A value of image->others: a record that this node keeps but does not act on, in the frame it came
 * in. The key says what it replaces: its type and what identifies it. */
struct other_record {
    struct map_value value;
    struct bytes key;
    struct bytes frame;
};

struct metadata_image {
    atomic_int references;
    int32_t epoch;
    int64_t offset;
    int64_t timestamp_ms;
    /* Whose settings lie behind those of topics. */
    int32_t node_id;
    const struct config_values *given;
    struct map topics; /* by id */
    struct map names;  /* to ids */
    size_t partition_count;
    size_t hole_count; /* partitions not there yet although one with a higher index is */
    struct id_table *brokers;
    struct id_table *controllers;
    struct feature_table *features;
    struct map configs;
    struct map others;
    int64_t next_producer_id;
    const struct metadata_topic_config *default_config; /* of topics without overrides */
};

/* The image of an empty cluster; one reference. `given` is borrowed for the life of all images. */
struct metadata_image *metadata_image_create(int32_t node_id, const struct config_values *given);
/* A copy to change, with one reference. */
struct metadata_image *metadata_image_copy(const struct metadata_image *img);

/* Applies a record that lies at `offset`. The image's own offset, epoch and timestamp are the
 * caller's to move. Transaction records change nothing here.
 * CORRUPT_MESSAGE  It contradicts the image, of which no use can be made any more. */
struct status metadata_image_apply(struct metadata_image *img, const struct metadata_record *r,
                                   struct bytes frame);

/* ---- pieces: deep copies with one reference ---- */

const struct metadata_partition *metadata_partition_create(const struct metadata_partition *from);
void metadata_partition_release(const struct metadata_partition *p);
struct metadata_broker *metadata_broker_create(const struct metadata_broker *from);
struct metadata_controller *metadata_controller_create(const struct metadata_controller *from);
/* Takes over the reference on overrides. */
const struct metadata_topic_config *
metadata_topic_config_create(const struct metadata_image *img, const struct config_set *overrides);
void metadata_topic_config_release(const struct metadata_topic_config *c);

struct metadata_topic *metadata_topic_create(struct uuid id, struct str name,
                                             const struct metadata_topic_config *config);
/* Room for partition `index`; new entries are NULL. The topic is the caller's alone. */
void metadata_topic_grow(struct metadata_topic *t, size_t count);

/* ---- tables ---- */

struct id_entry *id_table_find(const struct id_table *t, int32_t id);
/* Replace *t, taking over the entry's reference. */
void id_table_put(struct id_table **t, struct id_entry *entry);
void id_table_remove(struct id_table **t, int32_t id);
void id_table_release(struct id_table *t);
struct id_table *id_table_acquire(struct id_table *t);

/* level 0 removes. */
void feature_table_set(struct feature_table **t, struct str name, int16_t level);

extern const struct map_type metadata_topic_map;
extern const struct map_type metadata_name_map;
extern const struct map_type metadata_config_map;
extern const struct map_type metadata_other_map;

#endif
