#ifndef BROKER_DISPATCH_H
#define BROKER_DISPATCH_H

/* The table of APIs this node serves: one row each. What ApiVersions advertises comes from it, so
 * nothing is advertised that no one handles. */

#include "protocol/api.h"
#include "protocol/message_type.h"

struct node;
struct request;

struct api_handler {
    const struct api *api; /* NULL: not served */
    const struct message_type *request;
    const struct message_type *response;
    /* Answers rq, now or later; see request.h. */
    void (*handle)(struct request *rq);
    bool forwarded; /* only the active controller can: a client's is sent on to it (forward.h) */
};

/* Fills a table of API_KEY_COUNT rows. */
void dispatch_init(struct api_handler table[API_KEY_COUNT]);

/* NULL: not served. */
const struct api_handler *dispatch_find(const struct node *n, int16_t key);

/* The handlers; handlers/<family>.c. Each answers its request. */
void handle_produce(struct request *rq);
void handle_fetch(struct request *rq);
void handle_list_offsets(struct request *rq);
void handle_metadata(struct request *rq);
void handle_find_coordinator(struct request *rq);
void handle_offset_commit(struct request *rq);
void handle_offset_fetch(struct request *rq);
void handle_offset_delete(struct request *rq);
void handle_join_group(struct request *rq);
void handle_sync_group(struct request *rq);
void handle_heartbeat(struct request *rq);
void handle_leave_group(struct request *rq);
void handle_describe_groups(struct request *rq);
void handle_list_groups(struct request *rq);
void handle_delete_groups(struct request *rq);
void handle_consumer_group_heartbeat(struct request *rq);
void handle_consumer_group_describe(struct request *rq);
void handle_api_versions(struct request *rq);
void handle_create_topics(struct request *rq);
void handle_delete_topics(struct request *rq);
void handle_create_partitions(struct request *rq);
void handle_delete_records(struct request *rq);
void handle_init_producer_id(struct request *rq);
void handle_offset_for_leader_epoch(struct request *rq);
void handle_describe_configs(struct request *rq);
void handle_alter_configs(struct request *rq);
void handle_incremental_alter_configs(struct request *rq);
void handle_list_config_resources(struct request *rq);
void handle_describe_cluster(struct request *rq);
void handle_allocate_producer_ids(struct request *rq);
void handle_describe_log_dirs(struct request *rq);
void handle_describe_topic_partitions(struct request *rq);
void handle_elect_leaders(struct request *rq);
void handle_alter_partition_reassignments(struct request *rq);
void handle_list_partition_reassignments(struct request *rq);
void handle_update_features(struct request *rq);
void handle_unregister_broker(struct request *rq);
void handle_unregister_controller(struct request *rq);
void handle_alter_partition(struct request *rq);
void handle_assign_replicas_to_dirs(struct request *rq);
void handle_controller_registration(struct request *rq);
void handle_broker_registration(struct request *rq);
void handle_broker_heartbeat(struct request *rq);
void handle_vote(struct request *rq);
void handle_begin_quorum_epoch(struct request *rq);
void handle_end_quorum_epoch(struct request *rq);
void handle_metadata_fetch(struct request *rq); /* Fetch on the controller listener */
void handle_fetch_snapshot(struct request *rq);
void handle_describe_quorum(struct request *rq);
void handle_add_raft_voter(struct request *rq);
void handle_remove_raft_voter(struct request *rq);
void handle_update_raft_voter(struct request *rq);
void handle_envelope(struct request *rq);

#endif
