#ifndef REPLICATION_METADATA_IMAGE_H
#define REPLICATION_METADATA_IMAGE_H

/* The cluster at one offset of the metadata log: topics, brokers, settings. Immutable once
 * published; any thread may read it, acquire and release it. Successive images share all that did
 * not change.
 *
 * Everything found in an image is borrowed from it: valid as long as a reference to it is held.
 * What did not change between two images is the very same object in both, so a shard that holds the
 * newer one may go on using pointers that it took from the older one for topics that metadata_delta
 * does not name. */

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/span.h"
#include "protocol/base/uuid.h"
#include "replication/config_defs.h"
#include "replication/config_set.h"
#include "replication/persistent_map.h"

/* Reserved directory ids. */
#define DIRECTORY_UNASSIGNED uuid_from_number(0)
#define DIRECTORY_LOST       uuid_from_number(1)
#define DIRECTORY_MIGRATING  uuid_from_number(2)

#define NO_LEADER (-1)

struct id_list {
    const int32_t *ids;
    size_t count;
};

static inline bool id_list_contains(struct id_list l, int32_t id)
{
    for (size_t i = 0; i < l.count; i++)
        if (l.ids[i] == id)
            return true;
    return false;
}

enum leader_recovery_state { LEADER_RECOVERED = 0, LEADER_RECOVERING = 1 };

struct metadata_partition {
    atomic_int references;
    int32_t leader; /* NO_LEADER: none */
    int32_t leader_epoch;
    int32_t partition_epoch;
    int8_t leader_recovery_state;
    struct id_list replicas; /* the first one is the preferred leader */
    struct id_list isr;
    struct id_list elr; /* eligible leader replicas (KIP-966) */
    struct id_list last_known_elr;
    struct id_list adding;
    struct id_list removing;
    const struct uuid *directories; /* one a replica, in the order of `replicas` */
};

/* A topic's settings: what was set, and what that and the brokers' settings come to. */
struct metadata_topic_config {
    atomic_int references;
    const struct config_set *overrides; /* never NULL; empty for most */
    struct topic_settings settings;
};

struct metadata_topic {
    struct map_value value;
    struct uuid id;
    struct str name; /* NUL-terminated as well */
    size_t partition_count;
    const struct metadata_partition **partitions; /* by index; none is NULL */
    const struct metadata_topic_config *config;
};

/* Security protocols as the records number them: PLAINTEXT 0, SSL 1, SASL_PLAINTEXT 2, SASL_SSL
 * 3. */
struct metadata_listener {
    struct str name;
    struct str host;
    uint16_t port;
    int16_t security_protocol;
};

struct metadata_feature_range {
    struct str name;
    int16_t min;
    int16_t max;
};

struct metadata_broker {
    atomic_int references;
    int32_t id;
    bool fenced;
    bool in_controlled_shutdown;
    int64_t epoch;
    struct uuid incarnation;
    struct str rack; /* NULL data: none */
    const struct metadata_listener *listeners;
    size_t listener_count;
    const struct uuid *log_dirs; /* rising */
    size_t log_dir_count;
    const struct uuid *cordoned_log_dirs;
    size_t cordoned_log_dir_count;
    const struct metadata_feature_range *features;
    size_t feature_count;
};

struct metadata_controller {
    atomic_int references;
    int32_t id;
    bool zk_migration_ready;
    struct uuid incarnation;
    const struct metadata_listener *listeners;
    size_t listener_count;
    const struct metadata_feature_range *features;
    size_t feature_count;
};

struct metadata_feature {
    struct str name;
    int16_t level; /* finalised; above 0 */
};

struct metadata_image;

const struct metadata_image *metadata_image_acquire(const struct metadata_image *img);
void metadata_image_release(const struct metadata_image *img); /* NULL is fine */

/* Of the last record in it; -1, 0 and -1 of the empty image. */
int64_t metadata_image_offset(const struct metadata_image *img);
int32_t metadata_image_epoch(const struct metadata_image *img);
int64_t metadata_image_timestamp_ms(const struct metadata_image *img);

/* ---- topics ---- */

/* NULL when there is none. */
const struct metadata_topic *metadata_image_topic(const struct metadata_image *img,
                                                  struct str name);
const struct metadata_topic *metadata_image_topic_by_id(const struct metadata_image *img,
                                                        struct uuid id);
/* NULL when topic (may be NULL) has no such partition. */
const struct metadata_partition *metadata_topic_partition(const struct metadata_topic *topic,
                                                          int32_t index);
size_t metadata_image_topic_count(const struct metadata_image *img);
/* No topic came or went between the two images. At once; may be false for images that were loaded
 * from snapshots. */
bool metadata_image_same_topics(const struct metadata_image *a, const struct metadata_image *b);
size_t metadata_image_partition_count(const struct metadata_image *img);

/* In no order that means anything. */
struct metadata_topic_cursor {
    struct map_cursor cursor;
};
void metadata_topics_begin(struct metadata_topic_cursor *c, const struct metadata_image *img);
/* NULL at the end */
const struct metadata_topic *metadata_topics_next(struct metadata_topic_cursor *c);

/* ---- brokers and controllers, in rising id order ---- */

size_t metadata_image_broker_count(const struct metadata_image *img);
const struct metadata_broker *metadata_image_broker_at(const struct metadata_image *img,
                                                       size_t index);
/* NULL when no broker of that id is registered. */
const struct metadata_broker *metadata_image_broker(const struct metadata_image *img, int32_t id);
/* NULL when it has no listener of that name. */
const struct metadata_listener *metadata_broker_listener(const struct metadata_broker *b,
                                                         struct str name);

size_t metadata_image_controller_count(const struct metadata_image *img);
const struct metadata_controller *metadata_image_controller_at(const struct metadata_image *img,
                                                               size_t index);
const struct metadata_controller *metadata_image_controller(const struct metadata_image *img,
                                                            int32_t id);

/* ---- features: finalised levels in name order; kraft.version is not among them ---- */

size_t metadata_image_feature_count(const struct metadata_image *img);
const struct metadata_feature *metadata_image_feature_at(const struct metadata_image *img,
                                                         size_t index);
/* 0 when the feature is not finalised. */
int16_t metadata_image_feature_level(const struct metadata_image *img, struct str name);

/* ---- settings ---- */

/* Resource types of ConfigRecord. */
enum config_resource {
    CONFIG_RESOURCE_TOPIC = 2,
    CONFIG_RESOURCE_BROKER = 4, /* name: the id as text, "" for all brokers */
    CONFIG_RESOURCE_BROKER_LOGGER = 8,
    CONFIG_RESOURCE_CLIENT_METRICS = 16,
    CONFIG_RESOURCE_GROUP = 32,
};

/* What is set for a resource; NULL when nothing is. */
const struct config_set *metadata_image_configs(const struct metadata_image *img,
                                                enum config_resource type, struct str name);
/* Every resource that has settings of its own, in no order that means anything. */
struct metadata_config_cursor {
    struct map_cursor cursor;
};
void metadata_configs_begin(struct metadata_config_cursor *c, const struct metadata_image *img);
/* False at the end. */
bool metadata_configs_next(struct metadata_config_cursor *c, enum config_resource *type,
                           struct str *name);
/* The layers that count for a topic, a group or a broker itself (resource then NULL) on broker
 * node_id. */
struct config_layers metadata_image_layers(const struct metadata_image *img, int32_t node_id,
                                           const struct config_values *given,
                                           const struct config_set *resource);

/* The first producer id that was not given away. */
int64_t metadata_image_next_producer_id(const struct metadata_image *img);

/* ---- what changed ---- */

struct metadata_removed_topic {
    struct uuid id;
    struct str name; /* NUL-terminated as well */
};

/* From one published image to the next. Reference counted; immutable. */
struct metadata_delta {
    atomic_int references;
    const struct uuid *changed_topics; /* new, or anything in struct metadata_topic changed; all
                                        * are in the image */
    size_t changed_topic_count;
    /* a name may be there again with another id */
    const struct metadata_removed_topic *removed_topics;
    size_t removed_topic_count;
    bool brokers_changed; /* registered, changed, gone */
    bool controllers_changed;
    bool configs_changed; /* of brokers, groups or client metrics; topics' are in changed_topics */
    bool features_changed;
    bool snapshot; /* the image was loaded as a whole: anything not named may have changed too */
};

const struct metadata_delta *metadata_delta_acquire(const struct metadata_delta *d);
void metadata_delta_release(const struct metadata_delta *d); /* NULL is fine */

#endif
