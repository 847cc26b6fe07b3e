/* What each record of the metadata log does to an image: one function a type, one table. */

#include <stdio.h>
#include <stdlib.h>

#include "protocol/writer.h"
#include "replication/memory.h"
#include "replication/metadata_image_internal.h"

/* No broker holds that many; a larger index is damage, and must not size anything. */
#define PARTITION_INDEX_MAX 10000000

static struct status contradiction(const char *what)
{
    return status_error(KERR_CORRUPT_MESSAGE, what);
}

/* ---- topics and partitions ---- */

static void put_name(struct metadata_image *img, struct str name, struct uuid id)
{
    struct topic_name *n = memory_zalloc(1, sizeof *n);

    atomic_init(&n->value.references, 1);
    n->name = memory_str(name);
    n->id = id;
    map_put(&img->names, &n->value);
}

static struct status apply_topic(struct metadata_image *img, const struct metadata_record *r)
{
    const struct topic_record *t = &r->topic;
    const struct config_set *overrides;
    const struct metadata_topic_config *config;

    if (map_find(&img->topics, &t->topic_id))
        return contradiction("TopicRecord: the id is there already");
    if (map_find(&img->names, &t->name))
        return contradiction("TopicRecord: the name is there already");
    put_name(img, t->name, t->topic_id);
    overrides = metadata_image_configs(img, CONFIG_RESOURCE_TOPIC, t->name);
    if (!overrides) {
        map_put(&img->topics,
                &metadata_topic_create(t->topic_id, t->name, img->default_config)->value);
        return STATUS_OK;
    }
    config = metadata_topic_config_create(img, config_set_acquire(overrides));
    map_put(&img->topics, &metadata_topic_create(t->topic_id, t->name, config)->value);
    metadata_topic_config_release(config); /* the topic has its own reference */
    return STATUS_OK;
}

static size_t count_holes(const struct metadata_topic *t)
{
    size_t holes = 0;

    for (size_t i = 0; i < t->partition_count; i++)
        holes += t->partitions[i] == NULL;
    return holes;
}

static struct status apply_remove_topic(struct metadata_image *img, const struct metadata_record *r)
{
    const struct metadata_topic *t = metadata_image_topic_by_id(img, r->remove_topic.topic_id);
    struct resource_key key;
    size_t holes;

    if (!t)
        return contradiction("RemoveTopicRecord: no such topic");
    holes = count_holes(t);
    img->hole_count -= holes;
    img->partition_count -= t->partition_count - holes;
    key = (struct resource_key){CONFIG_RESOURCE_TOPIC, t->name};
    map_remove(&img->configs, &key);
    map_remove(&img->names, &t->name);
    map_remove(&img->topics, &r->remove_topic.topic_id);
    return STATUS_OK;
}

static struct metadata_topic *edit_topic(struct metadata_image *img, struct uuid id)
{
    return (struct metadata_topic *)(void *)map_edit(&img->topics, &id);
}

/* Puts p in place of what was there; takes over the reference. */
static void set_partition(struct metadata_topic *t, size_t index,
                          const struct metadata_partition *p)
{
    metadata_partition_release(t->partitions[index]);
    t->partitions[index] = p;
}

static struct id_list ids(const int32_t *items, size_t count)
{
    return (struct id_list){items, count};
}

/* Directories of replicas of whom the record says nothing: as they were, else to be found out. */
static struct uuid *carry_directories(const struct metadata_partition *before,
                                      struct id_list replicas)
{
    struct uuid *out = memory_zalloc(replicas.count, sizeof *out);

    for (size_t i = 0; i < replicas.count; i++) {
        out[i] = DIRECTORY_MIGRATING;
        for (size_t j = 0; before && j < before->replicas.count; j++)
            if (before->replicas.ids[j] == replicas.ids[i])
                out[i] = before->directories[j];
    }
    return out;
}

/* `p` is complete but for directories that the record may have left out. */
static struct status place_partition(struct metadata_topic *t, size_t index,
                                     struct metadata_partition *p, size_t directory_count)
{
    const struct metadata_partition *before = t->partitions[index];
    struct uuid *carried = NULL;

    if (directory_count == 0 && p->replicas.count > 0)
        p->directories = carried = carry_directories(before, p->replicas);
    else if (directory_count != p->replicas.count)
        return contradiction("a partition's directories are not as many as its replicas");
    set_partition(t, index, metadata_partition_create(p));
    free(carried);
    return STATUS_OK;
}

static struct status apply_partition(struct metadata_image *img, const struct metadata_record *r)
{
    const struct partition_record *rec = &r->partition;
    struct metadata_topic *t = edit_topic(img, rec->topic_id);
    size_t index = (size_t)rec->partition_id;
    struct metadata_partition p = {
        .leader = rec->leader,
        .leader_epoch = rec->leader_epoch,
        .partition_epoch = rec->partition_epoch,
        .leader_recovery_state = rec->leader_recovery_state,
        .replicas = ids(rec->replicas, rec->replicas_count),
        .isr = ids(rec->isr, rec->isr_count),
        .elr = ids(rec->eligible_leader_replicas, rec->eligible_leader_replicas_count),
        .last_known_elr = ids(rec->last_known_elr, rec->last_known_elr_count),
        .adding = ids(rec->adding_replicas, rec->adding_replicas_count),
        .removing = ids(rec->removing_replicas, rec->removing_replicas_count),
        .directories = rec->directories,
    };

    if (!t)
        return contradiction("PartitionRecord: no such topic");
    if (rec->partition_id < 0 || rec->partition_id > PARTITION_INDEX_MAX)
        return contradiction("PartitionRecord: an impossible index");
    if (index >= t->partition_count) {
        img->hole_count += index - t->partition_count;
        img->partition_count++;
        metadata_topic_grow(t, index + 1);
    } else if (!t->partitions[index]) {
        img->hole_count--;
        img->partition_count++;
    }
    return place_partition(t, index, &p, r->version >= 1 ? rec->directories_count : 0);
}

static struct status apply_partition_change(struct metadata_image *img,
                                            const struct metadata_record *r)
{
    const struct partition_change_record *rec = &r->partition_change;
    struct metadata_topic *t = edit_topic(img, rec->topic_id);
    const struct metadata_partition *before = metadata_topic_partition(t, rec->partition_id);
    struct metadata_partition p;
    size_t directory_count;

    if (!before)
        return contradiction("PartitionChangeRecord: no such partition");
    memory_copy_counted(&p, before, sizeof p);
    directory_count = p.replicas.count;
    p.partition_epoch++;
    if (rec->leader != -2) { /* -2: stays. A leader that is named again gets a new epoch too */
        p.leader = rec->leader;
        p.leader_epoch++;
    }
    if (rec->leader_recovery_state != -1)
        p.leader_recovery_state = rec->leader_recovery_state;
    if (rec->isr)
        p.isr = ids(rec->isr, rec->isr_count);
    if (rec->replicas) {
        p.replicas = ids(rec->replicas, rec->replicas_count);
        directory_count = 0;
    }
    if (rec->removing_replicas)
        p.removing = ids(rec->removing_replicas, rec->removing_replicas_count);
    if (rec->adding_replicas)
        p.adding = ids(rec->adding_replicas, rec->adding_replicas_count);
    if (rec->eligible_leader_replicas)
        p.elr = ids(rec->eligible_leader_replicas, rec->eligible_leader_replicas_count);
    if (rec->last_known_elr)
        p.last_known_elr = ids(rec->last_known_elr, rec->last_known_elr_count);
    if (rec->directories) {
        p.directories = rec->directories;
        directory_count = rec->directories_count;
    }
    return place_partition(t, (size_t)rec->partition_id, &p, directory_count);
}

static void clear_elr_of(struct metadata_image *img, struct uuid id)
{
    const struct metadata_topic *seen = metadata_image_topic_by_id(img, id);
    struct metadata_topic *t = NULL; /* edited only if there is something to clear */

    for (size_t i = 0; i < seen->partition_count; i++) {
        struct metadata_partition p;

        if (!seen->partitions[i] ||
            (seen->partitions[i]->elr.count == 0 && seen->partitions[i]->last_known_elr.count == 0))
            continue;
        if (!t)
            seen = t = edit_topic(img, id);
        memory_copy_counted(&p, t->partitions[i], sizeof p);
        p.elr.count = 0;
        p.last_known_elr.count = 0;
        set_partition(t, i, metadata_partition_create(&p));
    }
}

/* All topic ids, since a map must not change while it is walked. Freed by the caller. */
static struct uuid *all_topic_ids(const struct metadata_image *img)
{
    struct uuid *out = memory_zalloc(img->topics.count, sizeof *out);
    struct metadata_topic_cursor c;
    const struct metadata_topic *t;
    size_t n = 0;

    metadata_topics_begin(&c, img);
    while ((t = metadata_topics_next(&c)))
        out[n++] = t->id;
    return out;
}

static struct status apply_clear_elr(struct metadata_image *img, const struct metadata_record *r)
{
    struct str name = r->clear_elr.topic_name;
    const struct metadata_topic *t;
    struct uuid *all;

    if (name.size > 0) {
        t = metadata_image_topic(img, name);
        if (!t)
            return contradiction("ClearElrRecord: no such topic");
        clear_elr_of(img, t->id);
        return STATUS_OK;
    }
    all = all_topic_ids(img);
    for (size_t i = 0; i < img->topics.count; i++)
        clear_elr_of(img, all[i]);
    free(all);
    return STATUS_OK;
}

/* ---- settings ---- */

static void set_topic_config(struct metadata_image *img, struct uuid id,
                             const struct metadata_topic_config *config)
{
    struct metadata_topic *t = edit_topic(img, id);

    metadata_topic_config_release(t->config);
    t->config = config;
}

static const struct metadata_topic_config *acquire_default(struct metadata_image *img)
{
    atomic_fetch_add_explicit(
        &((struct metadata_topic_config *)(uintptr_t)img->default_config)->references, 1,
        memory_order_relaxed);
    return img->default_config;
}

/* A broker's settings changed: those of topics that lie over them are worked out again, where that
 * makes a difference. */
static void refresh_topic_configs(struct metadata_image *img)
{
    const struct metadata_topic_config *fresh =
        metadata_topic_config_create(img, config_set_create(NULL, 0));
    struct uuid *all;

    if (memcmp(&fresh->settings, &img->default_config->settings, sizeof fresh->settings) == 0) {
        metadata_topic_config_release(fresh);
        return;
    }
    metadata_topic_config_release(img->default_config);
    img->default_config = fresh;
    all = all_topic_ids(img);
    for (size_t i = 0; i < img->topics.count; i++) {
        const struct metadata_topic *t = metadata_image_topic_by_id(img, all[i]);
        const struct config_set *overrides = t->config->overrides;

        set_topic_config(img, t->id,
                         overrides->count == 0
                             ? acquire_default(img)
                             : metadata_topic_config_create(img, config_set_acquire(overrides)));
    }
    free(all);
}

/* Takes over the reference on set. */
static void put_config(struct metadata_image *img, struct resource_key key,
                       const struct config_set *set)
{
    struct resource_config *c;

    if (set->count == 0) {
        map_remove(&img->configs, &key);
        config_set_release(set);
        return;
    }
    c = memory_zalloc(1, sizeof *c);
    atomic_init(&c->value.references, 1);
    c->key = (struct resource_key){key.type, memory_str(key.name)};
    c->set = set;
    map_put(&img->configs, &c->value);
}

static bool lies_behind_topics(const struct metadata_image *img, struct resource_key key)
{
    char text[16];
    size_t size = (size_t)snprintf(text, sizeof text, "%d", img->node_id);

    return key.type == CONFIG_RESOURCE_BROKER &&
           (key.name.size == 0 || str_equal(key.name, (struct str){text, size}));
}

static struct status apply_config(struct metadata_image *img, const struct metadata_record *r)
{
    const struct config_record *rec = &r->config;
    struct resource_key key = {(enum config_resource)rec->resource_type, rec->resource_name};
    const struct config_set *set =
        config_set_with(metadata_image_configs(img, key.type, key.name), rec->name, rec->value);
    const struct metadata_topic *t;

    put_config(img, key, config_set_acquire(set));
    if (key.type == CONFIG_RESOURCE_TOPIC && (t = metadata_image_topic(img, key.name)))
        set_topic_config(img, t->id,
                         set->count == 0
                             ? acquire_default(img)
                             : metadata_topic_config_create(img, config_set_acquire(set)));
    else if (lies_behind_topics(img, key))
        refresh_topic_configs(img);
    config_set_release(set);
    return STATUS_OK;
}

static struct status apply_feature_level(struct metadata_image *img,
                                         const struct metadata_record *r)
{
    feature_table_set(&img->features, r->feature_level.name, r->feature_level.feature_level);
    return STATUS_OK;
}

static struct status apply_producer_ids(struct metadata_image *img, const struct metadata_record *r)
{
    img->next_producer_id = r->producer_ids.next_producer_id;
    return STATUS_OK;
}

/* ---- brokers and controllers ---- */

static int compare_uuids(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct uuid));
}

static struct status apply_register_broker(struct metadata_image *img,
                                           const struct metadata_record *r)
{
    const struct register_broker_record *rec = &r->register_broker;
    struct metadata_listener *listeners = memory_zalloc(rec->end_points_count, sizeof *listeners);
    struct metadata_feature_range *features = memory_zalloc(rec->features_count, sizeof *features);
    struct metadata_broker b = {
        .id = rec->broker_id,
        .fenced = rec->fenced,
        .in_controlled_shutdown = rec->in_controlled_shutdown,
        .epoch = rec->broker_epoch,
        .incarnation = rec->incarnation_id,
        .rack = rec->rack,
        .listeners = listeners,
        .listener_count = rec->end_points_count,
        .log_dirs = rec->log_dirs,
        .log_dir_count = rec->log_dirs_count,
        .cordoned_log_dirs = rec->cordoned_log_dirs,
        .cordoned_log_dir_count = rec->cordoned_log_dirs_count,
        .features = features,
        .feature_count = rec->features_count,
    };

    for (size_t i = 0; i < rec->end_points_count; i++)
        listeners[i] = (struct metadata_listener){rec->end_points[i].name, rec->end_points[i].host,
                                                  rec->end_points[i].port,
                                                  rec->end_points[i].security_protocol};
    for (size_t i = 0; i < rec->features_count; i++)
        features[i] = (struct metadata_feature_range){rec->features[i].name,
                                                      rec->features[i].min_supported_version,
                                                      rec->features[i].max_supported_version};
    if (rec->log_dirs_count > 1)
        qsort(rec->log_dirs, rec->log_dirs_count, sizeof *rec->log_dirs, compare_uuids);
    id_table_put(&img->brokers, (struct id_entry *)metadata_broker_create(&b));
    free(listeners);
    free(features);
    return STATUS_OK;
}

/* The broker if it is registered with that epoch. */
static const struct metadata_broker *broker_of_epoch(const struct metadata_image *img, int32_t id,
                                                     int64_t epoch)
{
    const struct metadata_broker *b = metadata_image_broker(img, id);

    return b && b->epoch == epoch ? b : NULL;
}

static struct status apply_unregister_broker(struct metadata_image *img,
                                             const struct metadata_record *r)
{
    const struct unregister_broker_record *rec = &r->unregister_broker;

    if (!broker_of_epoch(img, rec->broker_id, rec->broker_epoch))
        return contradiction("UnregisterBrokerRecord: no broker of that id and epoch");
    id_table_remove(&img->brokers, rec->broker_id);
    return STATUS_OK;
}

static struct status set_fenced(struct metadata_image *img, int32_t id, int64_t epoch, bool fenced)
{
    const struct metadata_broker *before = broker_of_epoch(img, id, epoch);
    struct metadata_broker b;

    if (!before)
        return contradiction("FenceBrokerRecord: no broker of that id and epoch");
    memory_copy_counted(&b, before, sizeof b);
    b.fenced = fenced;
    id_table_put(&img->brokers, (struct id_entry *)metadata_broker_create(&b));
    return STATUS_OK;
}

static struct status apply_fence_broker(struct metadata_image *img, const struct metadata_record *r)
{
    return set_fenced(img, r->fence_broker.id, r->fence_broker.epoch, true);
}

static struct status apply_unfence_broker(struct metadata_image *img,
                                          const struct metadata_record *r)
{
    return set_fenced(img, r->unfence_broker.id, r->unfence_broker.epoch, false);
}

static struct status apply_broker_registration_change(struct metadata_image *img,
                                                      const struct metadata_record *r)
{
    const struct broker_registration_change_record *rec = &r->broker_registration_change;
    const struct metadata_broker *before = broker_of_epoch(img, rec->broker_id, rec->broker_epoch);
    struct metadata_broker b;

    if (!before)
        return contradiction("BrokerRegistrationChangeRecord: no broker of that id and epoch");
    memory_copy_counted(&b, before, sizeof b);
    if (rec->fenced != 0) /* 1 fences, -1 takes in, 0 leaves as it is */
        b.fenced = rec->fenced > 0;
    if (rec->in_controlled_shutdown > 0)
        b.in_controlled_shutdown = true;
    if (rec->log_dirs_count > 0) {
        qsort(rec->log_dirs, rec->log_dirs_count, sizeof *rec->log_dirs, compare_uuids);
        b.log_dirs = rec->log_dirs;
        b.log_dir_count = rec->log_dirs_count;
    }
    if (rec->cordoned_log_dirs) {
        b.cordoned_log_dirs = rec->cordoned_log_dirs;
        b.cordoned_log_dir_count = rec->cordoned_log_dirs_count;
    }
    id_table_put(&img->brokers, (struct id_entry *)metadata_broker_create(&b));
    return STATUS_OK;
}

static struct status apply_register_controller(struct metadata_image *img,
                                               const struct metadata_record *r)
{
    const struct register_controller_record *rec = &r->register_controller;
    struct metadata_listener *listeners = memory_zalloc(rec->end_points_count, sizeof *listeners);
    struct metadata_feature_range *features = memory_zalloc(rec->features_count, sizeof *features);
    struct metadata_controller c = {
        .id = rec->controller_id,
        .zk_migration_ready = rec->zk_migration_ready,
        .incarnation = rec->incarnation_id,
        .listeners = listeners,
        .listener_count = rec->end_points_count,
        .features = features,
        .feature_count = rec->features_count,
    };

    for (size_t i = 0; i < rec->end_points_count; i++)
        listeners[i] = (struct metadata_listener){rec->end_points[i].name, rec->end_points[i].host,
                                                  rec->end_points[i].port,
                                                  rec->end_points[i].security_protocol};
    for (size_t i = 0; i < rec->features_count; i++)
        features[i] = (struct metadata_feature_range){rec->features[i].name,
                                                      rec->features[i].min_supported_version,
                                                      rec->features[i].max_supported_version};
    id_table_put(&img->controllers, (struct id_entry *)metadata_controller_create(&c));
    free(listeners);
    free(features);
    return STATUS_OK;
}

static struct status apply_unregister_controller(struct metadata_image *img,
                                                 const struct metadata_record *r)
{
    if (!metadata_image_controller(img, r->unregister_controller.controller_id))
        return contradiction("UnregisterControllerRecord: no such controller");
    id_table_remove(&img->controllers, r->unregister_controller.controller_id);
    return STATUS_OK;
}

/* ---- records that are kept for others: credentials, quotas, access control, tokens ---- */

static void put_other(struct metadata_image *img, const struct writer *key, struct bytes frame)
{
    struct other_record *o = memory_zalloc(1, sizeof *o + key->size + frame.size);
    uint8_t *text = (uint8_t *)(o + 1);

    atomic_init(&o->value.references, 1);
    memcpy(text, key->data, key->size);
    memcpy(text + key->size, frame.data, frame.size);
    o->key = (struct bytes){text, key->size};
    o->frame = (struct bytes){text + key->size, frame.size};
    map_put(&img->others, &o->value);
}

static void write_quota_key(struct writer *w, const struct client_quota_record *q)
{
    for (size_t i = 0; i < q->entity_count; i++) {
        write_string(w, WIRE_FLEXIBLE, q->entity[i].entity_type);
        write_string(w, WIRE_FLEXIBLE | WIRE_NULLABLE, q->entity[i].entity_name);
    }
    write_string(w, WIRE_FLEXIBLE, q->key);
}

/* What identifies the thing a record is about: the type of the record that makes it, then its name.
 * True when the record takes the thing away. */
static bool write_other_key(struct writer *w, const struct metadata_record *r)
{
    switch (r->type) {
    case USER_SCRAM_CREDENTIAL_RECORD_KEY:
        write_int8(w, USER_SCRAM_CREDENTIAL_RECORD_KEY);
        write_int8(w, r->user_scram_credential.mechanism);
        write_string(w, WIRE_FLEXIBLE, r->user_scram_credential.name);
        return false;
    case REMOVE_USER_SCRAM_CREDENTIAL_RECORD_KEY:
        write_int8(w, USER_SCRAM_CREDENTIAL_RECORD_KEY);
        write_int8(w, r->remove_user_scram_credential.mechanism);
        write_string(w, WIRE_FLEXIBLE, r->remove_user_scram_credential.name);
        return true;
    case DELEGATION_TOKEN_RECORD_KEY:
        write_int8(w, DELEGATION_TOKEN_RECORD_KEY);
        write_string(w, WIRE_FLEXIBLE, r->delegation_token.token_id);
        return false;
    case REMOVE_DELEGATION_TOKEN_RECORD_KEY:
        write_int8(w, DELEGATION_TOKEN_RECORD_KEY);
        write_string(w, WIRE_FLEXIBLE, r->remove_delegation_token.token_id);
        return true;
    case ACCESS_CONTROL_ENTRY_RECORD_KEY:
        write_int8(w, ACCESS_CONTROL_ENTRY_RECORD_KEY);
        write_uuid(w, r->access_control_entry.id);
        return false;
    case REMOVE_ACCESS_CONTROL_ENTRY_RECORD_KEY:
        write_int8(w, ACCESS_CONTROL_ENTRY_RECORD_KEY);
        write_uuid(w, r->remove_access_control_entry.id);
        return true;
    case CLIENT_QUOTA_RECORD_KEY:
        write_int8(w, CLIENT_QUOTA_RECORD_KEY);
        write_quota_key(w, &r->client_quota);
        return r->client_quota.remove;
    default: /* one of its type in the cluster */
        write_int8(w, (int8_t)r->type);
        return false;
    }
}

static struct status apply_other(struct metadata_image *img, const struct metadata_record *r,
                                 struct bytes frame)
{
    struct writer key;
    struct bytes k;
    bool removes;

    writer_init(&key, SIZE_MAX);
    removes = write_other_key(&key, r);
    CHECK(writer_ok(&key));
    k = (struct bytes){key.data, key.size};
    if (removes)
        map_remove(&img->others, &k);
    else
        put_other(img, &key, frame);
    writer_free(&key);
    return STATUS_OK;
}

/* ---- the table ---- */

/* Transactions are the loader's business. */
static struct status apply_nothing(struct metadata_image *img, const struct metadata_record *r)
{
    (void)img;
    (void)r;
    return STATUS_OK;
}

/* Types without a row are kept as they are. */
static struct status (*const apply_table[METADATA_RECORD_TYPE_COUNT])(
    struct metadata_image *img, const struct metadata_record *r) = {
    [REGISTER_BROKER_RECORD_KEY] = apply_register_broker,
    [UNREGISTER_BROKER_RECORD_KEY] = apply_unregister_broker,
    [TOPIC_RECORD_KEY] = apply_topic,
    [PARTITION_RECORD_KEY] = apply_partition,
    [CONFIG_RECORD_KEY] = apply_config,
    [PARTITION_CHANGE_RECORD_KEY] = apply_partition_change,
    [FENCE_BROKER_RECORD_KEY] = apply_fence_broker,
    [UNFENCE_BROKER_RECORD_KEY] = apply_unfence_broker,
    [REMOVE_TOPIC_RECORD_KEY] = apply_remove_topic,
    [FEATURE_LEVEL_RECORD_KEY] = apply_feature_level,
    [PRODUCER_IDS_RECORD_KEY] = apply_producer_ids,
    [BROKER_REGISTRATION_CHANGE_RECORD_KEY] = apply_broker_registration_change,
    [NO_OP_RECORD_KEY] = apply_nothing,
    [BEGIN_TRANSACTION_RECORD_KEY] = apply_nothing,
    [END_TRANSACTION_RECORD_KEY] = apply_nothing,
    [ABORT_TRANSACTION_RECORD_KEY] = apply_nothing,
    [REGISTER_CONTROLLER_RECORD_KEY] = apply_register_controller,
    [CLEAR_ELR_RECORD_KEY] = apply_clear_elr,
    [UNREGISTER_CONTROLLER_RECORD_KEY] = apply_unregister_controller,
};

struct status metadata_image_apply(struct metadata_image *img, const struct metadata_record *r,
                                   struct bytes frame)
{
    CHECK(r->type >= 0 && r->type < METADATA_RECORD_TYPE_COUNT);
    if (!apply_table[r->type])
        return apply_other(img, r, frame);
    return apply_table[r->type](img, r);
}
