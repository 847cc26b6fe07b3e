#include "broker/dispatch.h"

#include "broker/node.h"

static const struct {
    int16_t key;
    void (*handle)(struct request *rq);
    bool forwarded;
} handlers[] = {
    {API_PRODUCE, handle_produce},
    {API_FETCH, handle_fetch},
    {API_LIST_OFFSETS, handle_list_offsets},
    {API_METADATA, handle_metadata},
    {API_FIND_COORDINATOR, handle_find_coordinator},
    {API_OFFSET_COMMIT, handle_offset_commit},
    {API_OFFSET_FETCH, handle_offset_fetch},
    {API_JOIN_GROUP, handle_join_group},
    {API_HEARTBEAT, handle_heartbeat},
    {API_LEAVE_GROUP, handle_leave_group},
    {API_SYNC_GROUP, handle_sync_group},
    {API_DESCRIBE_GROUPS, handle_describe_groups},
    {API_LIST_GROUPS, handle_list_groups},
    {API_DELETE_GROUPS, handle_delete_groups},
    {API_OFFSET_DELETE, handle_offset_delete},
    {API_CONSUMER_GROUP_HEARTBEAT, handle_consumer_group_heartbeat},
    {API_CONSUMER_GROUP_DESCRIBE, handle_consumer_group_describe},
    {API_API_VERSIONS, handle_api_versions},
    {API_CREATE_TOPICS, handle_create_topics, true},
    {API_DELETE_TOPICS, handle_delete_topics, true},
    {API_DELETE_RECORDS, handle_delete_records},
    {API_INIT_PRODUCER_ID, handle_init_producer_id},
    {API_OFFSET_FOR_LEADER_EPOCH, handle_offset_for_leader_epoch},
    {API_DESCRIBE_CONFIGS, handle_describe_configs},
    {API_ALTER_CONFIGS, handle_alter_configs, true},
    {API_CREATE_PARTITIONS, handle_create_partitions, true},
    {API_INCREMENTAL_ALTER_CONFIGS, handle_incremental_alter_configs, true},
    {API_DESCRIBE_CLUSTER, handle_describe_cluster},
    {API_LIST_CONFIG_RESOURCES, handle_list_config_resources},
    {API_DESCRIBE_LOG_DIRS, handle_describe_log_dirs},
    {API_DESCRIBE_TOPIC_PARTITIONS, handle_describe_topic_partitions},
    {API_ELECT_LEADERS, handle_elect_leaders, true},
    {API_ALTER_PARTITION_REASSIGNMENTS, handle_alter_partition_reassignments, true},
    {API_LIST_PARTITION_REASSIGNMENTS, handle_list_partition_reassignments, true},
    {API_UPDATE_FEATURES, handle_update_features, true},
    {API_UNREGISTER_BROKER, handle_unregister_broker, true},
    {API_UNREGISTER_CONTROLLER, handle_unregister_controller, true},
    {API_ALTER_PARTITION, handle_alter_partition},
    {API_ASSIGN_REPLICAS_TO_DIRS, handle_assign_replicas_to_dirs},
    {API_CONTROLLER_REGISTRATION, handle_controller_registration},
    {API_BROKER_REGISTRATION, handle_broker_registration},
    {API_BROKER_HEARTBEAT, handle_broker_heartbeat},
    {API_ALLOCATE_PRODUCER_IDS, handle_allocate_producer_ids},
    {API_VOTE, handle_vote},
    {API_BEGIN_QUORUM_EPOCH, handle_begin_quorum_epoch},
    {API_END_QUORUM_EPOCH, handle_end_quorum_epoch},
    {API_FETCH_SNAPSHOT, handle_fetch_snapshot},
    {API_DESCRIBE_QUORUM, handle_describe_quorum, true},
    {API_ADD_RAFT_VOTER, handle_add_raft_voter, true},
    {API_REMOVE_RAFT_VOTER, handle_remove_raft_voter, true},
    {API_UPDATE_RAFT_VOTER, handle_update_raft_voter},
    {API_ENVELOPE, handle_envelope},
};

void dispatch_init(struct api_handler table[API_KEY_COUNT])
{
    for (size_t i = 0; i < sizeof handlers / sizeof handlers[0]; i++)
        table[handlers[i].key] = (struct api_handler){
            .api = api_find(handlers[i].key),
            .request = message_type_by_key(MESSAGE_REQUEST, handlers[i].key),
            .response = message_type_by_key(MESSAGE_RESPONSE, handlers[i].key),
            .handle = handlers[i].handle,
            .forwarded = handlers[i].forwarded,
        };
}

const struct api_handler *dispatch_find(const struct node *n, int16_t key)
{
    if (key < 0 || key >= API_KEY_COUNT || !n->handlers[key].api)
        return NULL;
    return &n->handlers[key];
}
