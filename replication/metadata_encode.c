#include "replication/metadata_encode.h"

#include "protocol/base/check.h"

int16_t partition_record_version(int16_t metadata_version)
{
    if (metadata_version >= METADATA_VERSION_ELR)
        return 2;
    return metadata_version >= METADATA_VERSION_DIRECTORIES ? 1 : 0;
}

int16_t register_broker_record_version(int16_t metadata_version)
{
    if (metadata_version >= METADATA_VERSION_CORDONED_DIRS)
        return 4;
    if (metadata_version >= METADATA_VERSION_DIRECTORIES)
        return 3;
    return metadata_version >= 8 /* 3.4-IV0 */ ? 2 : 1;
}

/* Records are built from what they borrow, and never written through. */
static int32_t *borrow_ids(struct id_list l)
{
    return (int32_t *)(uintptr_t)l.ids;
}

void record_of_partition(struct metadata_record *r, struct uuid topic_id, int32_t index,
                         const struct metadata_partition *p, int16_t metadata_version)
{
    struct partition_record *rec = &r->partition;

    metadata_record_init(r, PARTITION_RECORD_KEY, partition_record_version(metadata_version));
    rec->partition_id = index;
    rec->topic_id = topic_id;
    rec->replicas = borrow_ids(p->replicas);
    rec->replicas_count = p->replicas.count;
    rec->isr = borrow_ids(p->isr);
    rec->isr_count = p->isr.count;
    rec->removing_replicas = borrow_ids(p->removing);
    rec->removing_replicas_count = p->removing.count;
    rec->adding_replicas = borrow_ids(p->adding);
    rec->adding_replicas_count = p->adding.count;
    rec->leader = p->leader;
    rec->leader_recovery_state = p->leader_recovery_state;
    rec->leader_epoch = p->leader_epoch;
    rec->partition_epoch = p->partition_epoch;
    if (r->version >= 1) {
        rec->directories = (struct uuid *)(uintptr_t)p->directories;
        rec->directories_count = p->replicas.count;
    }
    if (r->version >= 2 && p->elr.count > 0) {
        rec->eligible_leader_replicas = borrow_ids(p->elr);
        rec->eligible_leader_replicas_count = p->elr.count;
    }
    if (r->version >= 2 && p->last_known_elr.count > 0) {
        rec->last_known_elr = borrow_ids(p->last_known_elr);
        rec->last_known_elr_count = p->last_known_elr.count;
    }
}

void record_of_broker(struct metadata_record *r, const struct metadata_broker *b,
                      int16_t metadata_version, struct arena *a)
{
    struct register_broker_record *rec = &r->register_broker;

    metadata_record_init(r, REGISTER_BROKER_RECORD_KEY,
                         register_broker_record_version(metadata_version));
    rec->broker_id = b->id;
    rec->incarnation_id = b->incarnation;
    rec->broker_epoch = b->epoch;
    rec->rack = b->rack;
    rec->fenced = b->fenced;
    rec->in_controlled_shutdown = b->in_controlled_shutdown;
    rec->end_points =
        arena_array(a, struct register_broker_record_broker_endpoint, b->listener_count);
    rec->end_points_count = b->listener_count;
    rec->features = arena_array(a, struct register_broker_record_broker_feature, b->feature_count);
    rec->features_count = b->feature_count;
    CHECK(rec->end_points && rec->features);
    for (size_t i = 0; i < b->listener_count; i++)
        rec->end_points[i] = (struct register_broker_record_broker_endpoint){
            b->listeners[i].name, b->listeners[i].host, b->listeners[i].port,
            b->listeners[i].security_protocol};
    for (size_t i = 0; i < b->feature_count; i++)
        rec->features[i] = (struct register_broker_record_broker_feature){
            b->features[i].name, b->features[i].min, b->features[i].max};
    if (r->version >= 3) {
        rec->log_dirs = (struct uuid *)(uintptr_t)b->log_dirs;
        rec->log_dirs_count = b->log_dir_count;
    }
    if (r->version >= 4 && b->cordoned_log_dir_count > 0) {
        rec->cordoned_log_dirs = (struct uuid *)(uintptr_t)b->cordoned_log_dirs;
        rec->cordoned_log_dirs_count = b->cordoned_log_dir_count;
    }
}

void record_of_controller(struct metadata_record *r, const struct metadata_controller *c,
                          struct arena *a)
{
    struct register_controller_record *rec = &r->register_controller;

    metadata_record_init(r, REGISTER_CONTROLLER_RECORD_KEY, 0);
    rec->controller_id = c->id;
    rec->incarnation_id = c->incarnation;
    rec->zk_migration_ready = c->zk_migration_ready;
    rec->end_points =
        arena_array(a, struct register_controller_record_controller_endpoint, c->listener_count);
    rec->end_points_count = c->listener_count;
    rec->features =
        arena_array(a, struct register_controller_record_controller_feature, c->feature_count);
    rec->features_count = c->feature_count;
    CHECK(rec->end_points && rec->features);
    for (size_t i = 0; i < c->listener_count; i++)
        rec->end_points[i] = (struct register_controller_record_controller_endpoint){
            c->listeners[i].name, c->listeners[i].host, c->listeners[i].port,
            c->listeners[i].security_protocol};
    for (size_t i = 0; i < c->feature_count; i++)
        rec->features[i] = (struct register_controller_record_controller_feature){
            c->features[i].name, c->features[i].min, c->features[i].max};
}
