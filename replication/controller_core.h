#ifndef REPLICATION_CONTROLLER_CORE_H
#define REPLICATION_CONTROLLER_CORE_H

/* The active controller's decisions: requests in, metadata records and answers out. Pure; time
 * comes in, and chance through the `random` it is given.
 *
 *   activate (with the committed image) --> step … step --> freed on resignation
 *
 * It decides on the newest state: the committed image plus the records of its own that are not
 * committed yet. So an answer holds only once everything appended before it is committed; the
 * driver (controller.h) keeps it until then, and answers NOT_CONTROLLER when leadership ends
 * first. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/arena.h"
#include "protocol/base/clock.h"
#include "protocol/base/span.h"
#include "protocol/base/status.h"
#include "protocol/base/uuid.h"
#include "replication/config_defs.h"
#include "replication/metadata_image.h"
#include "replication/voter_set.h"

struct controller_core;

/* ---- requests ----
 *
 * Everything in a request is borrowed until it is answered. Results are in the request's arena, one
 * for each element asked about, in that order; code NONE, or the error that a client is told with
 * `message` (NULL: none). They are written at once but mean something only when `done` says
 * NONE. */

struct controller_result {
    enum kerr code;
    const char *message;
};

struct controller_assignment {
    int32_t partition;
    struct id_list brokers;
};

struct create_topic {
    struct str name;
    int32_t partition_count;                         /* -1: num.partitions */
    int16_t replication_factor;                      /* -1: default.replication.factor */
    const struct controller_assignment *assignments; /* none: the controller places; else count
                                                      * and factor are -1 */
    size_t assignment_count;
    const struct config_entry *configs; /* a NULL value is refused */
    size_t config_count;
};

struct create_topic_result {
    struct controller_result result;
    struct uuid topic_id;
    int32_t partition_count;
    int16_t replication_factor;
    const struct config_set *configs; /* what was set for it; a reference that the caller
                                       * releases. NULL on error */
};

struct delete_topic {
    struct str name; /* NULL data: by id */
    struct uuid id;  /* zero: by name */
};

struct delete_topic_result {
    struct controller_result result;
    struct str name; /* in the arena; NULL data when unknown */
    struct uuid id;
};

struct grow_topic {
    struct str name;
    int32_t partition_count;                         /* in all, afterwards */
    const struct controller_assignment *assignments; /* of the new ones, in order; `partition` is
                                                      * not read. NULL: none */
    size_t assignment_count;
};

enum config_operation { CONFIG_SET = 0, CONFIG_DELETE = 1, CONFIG_APPEND = 2, CONFIG_SUBTRACT = 3 };

struct config_change {
    struct str name;
    int8_t operation; /* enum config_operation, unchecked */
    struct str value; /* NULL data: null */
};

struct alter_config {
    int8_t type; /* enum config_resource, unchecked */
    struct str name;
    const struct config_change *changes;
    size_t change_count;
    bool replace; /* AlterConfigs of old: all are CONFIG_SET, and what is not named goes back to
                   * its default */
};

struct register_broker {
    int32_t id;
    struct str cluster_id;
    struct uuid incarnation;
    const struct metadata_listener *listeners;
    size_t listener_count;
    const struct metadata_feature_range *features;
    size_t feature_count;
    struct str rack;
    bool zk_migrating;
    const struct uuid *log_dirs;
    size_t log_dir_count;
    int64_t previous_epoch; /* -1: unknown, or the shutdown was not clean */
};

struct broker_heartbeat {
    int32_t id;
    int64_t epoch;
    int64_t metadata_offset; /* of the newest image the broker acts on */
    bool want_fence;
    bool want_shutdown;
    const struct uuid *offline_log_dirs;
    size_t offline_log_dir_count;
    const struct uuid *cordoned_log_dirs;
    size_t cordoned_log_dir_count;
    bool cordoned_known; /* cordoned_log_dirs was sent */
};

struct broker_heartbeat_result {
    bool caught_up;
    bool fenced;
    bool should_shut_down;
};

struct alter_partition {
    struct uuid topic_id;
    int32_t partition;
    int32_t leader_epoch;
    int32_t partition_epoch;
    int8_t leader_recovery_state;
    const struct isr_member {
        int32_t id;
        int64_t epoch; /* broker epoch; -1: not checked */
    } * isr;
    size_t isr_count;
};

struct alter_partition_result {
    enum kerr code;
    int32_t leader;
    int32_t leader_epoch;
    int32_t partition_epoch;
    int8_t leader_recovery_state;
    struct id_list isr; /* in the arena */
};

struct assign_replica {
    struct uuid topic_id;
    int32_t partition;
    struct uuid directory;
};

struct topic_partition {
    struct str topic;
    int32_t partition;
};

struct elect_leader_result {
    struct str topic; /* of the request, or in the arena */
    int32_t partition;
    struct controller_result result;
};

struct reassign_partition {
    struct str topic;
    int32_t partition;
    struct id_list replicas; /* NULL ids: the reassignment under way is taken back */
};

/* A reassignment under way. In the arena. */
struct reassigning_partition {
    struct str topic;
    int32_t partition;
    struct id_list replicas;
    struct id_list adding;
    struct id_list removing;
};

struct feature_update {
    struct str name;
    int16_t level;
    int8_t upgrade_type; /* enum feature_upgrade, unchecked */
};

enum feature_upgrade {
    FEATURE_UPGRADE = 1,
    FEATURE_SAFE_DOWNGRADE = 2,
    FEATURE_UNSAFE_DOWNGRADE = 3
};

enum leader_election { ELECT_PREFERRED = 0, ELECT_UNCLEAN = 1 };

struct register_controller {
    int32_t id;
    struct uuid incarnation;
    bool zk_migration_ready;
    const struct metadata_listener *listeners;
    size_t listener_count;
    const struct metadata_feature_range *features;
    size_t feature_count;
};

/* What came of asking a broker's listener. */
struct controller_sighting {
    int32_t broker_id;
    int64_t broker_epoch;
    int64_t asked_ms;
};

enum controller_operation {
    CONTROLLER_CREATE_TOPICS,
    CONTROLLER_DELETE_TOPICS,
    CONTROLLER_GROW_TOPICS,
    CONTROLLER_ALTER_CONFIGS,
    CONTROLLER_REGISTER_BROKER,
    CONTROLLER_UNREGISTER_BROKER,
    CONTROLLER_HEARTBEAT,
    CONTROLLER_BROKER_REFUSES, /* fenced, unless it was heard of since its listener was asked */
    CONTROLLER_BROKER_SILENT,  /* not waited for as long, by a controller that never heard of it */
    CONTROLLER_ALTER_PARTITIONS,
    CONTROLLER_ASSIGN_REPLICAS,
    CONTROLLER_ALLOCATE_PRODUCER_IDS,
    CONTROLLER_REGISTER_CONTROLLER,
    CONTROLLER_UNREGISTER_CONTROLLER,
    CONTROLLER_ELECT_LEADERS,
    CONTROLLER_ALTER_REASSIGNMENTS,
    CONTROLLER_LIST_REASSIGNMENTS,
    CONTROLLER_UPDATE_FEATURES,
    CONTROLLER_OPERATION_COUNT,
};

struct controller_request {
    /* The driver's while it waits: */
    struct controller_request *next;
    int64_t wait_offset;
    struct controller_result answer;
    /* On the control loop, never from within controller_submit. `result` NONE: the results below
     * hold. Else nothing is known to have happened: NOT_CONTROLLER (it may have), or what the whole
     * request was refused with. */
    void (*done)(struct controller_request *r, struct controller_result result);
    struct arena *arena; /* the results'; a bounded one that runs out gives POLICY_VIOLATION */
    enum controller_operation operation;
    bool validate_only; /* create, grow, alter configs, update features */
    union {
        struct {
            const struct create_topic *topics;
            size_t count;
            struct create_topic_result *results;
        } create;
        struct {
            const struct delete_topic *topics;
            size_t count;
            struct delete_topic_result *results;
        } remove;
        struct {
            const struct grow_topic *topics;
            size_t count;
            struct controller_result *results;
        } grow;
        struct {
            const struct alter_config *resources;
            size_t count;
            struct controller_result *results;
        } alter;
        struct {
            struct register_broker broker;
            int64_t epoch; /* result */
        } registration;
        struct {
            int32_t broker_id;
        } unregistration;
        struct {
            struct broker_heartbeat broker;
            struct broker_heartbeat_result result;
        } heartbeat;
        struct controller_sighting sighting; /* BROKER_REFUSES, BROKER_SILENT */
        struct {
            int32_t broker_id;
            int64_t broker_epoch;
            const struct alter_partition *partitions;
            size_t count;
            struct alter_partition_result *results;
        } isr;
        struct {
            int32_t broker_id;
            int64_t broker_epoch;
            const struct assign_replica *replicas;
            size_t count;
            enum kerr *results;
        } directories;
        struct {
            int32_t broker_id;
            int64_t broker_epoch;
            int64_t first_id; /* results */
            int32_t id_count;
        } producer_ids;
        struct register_controller controller;
        struct {
            int32_t controller_id;
        } controller_unregistration;
        struct {
            int8_t type; /* enum leader_election, unchecked */
            bool all;    /* all partitions; those that have the leader they should have are not in
                       * the results */
            const struct topic_partition *partitions;
            size_t count;
            struct elect_leader_result *results;
            size_t result_count;
        } election;
        struct {
            bool keep_replication_factor;
            const struct reassign_partition *partitions;
            size_t count;
            struct controller_result *results;
        } reassign;
        struct {
            bool all;
            const struct topic_partition *partitions; /* those that do not exist are passed over */
            size_t count;
            struct reassigning_partition *results; /* grouped by topic when `all` */
            size_t result_count;
        } reassigning;
        struct {
            const struct feature_update *updates;
            size_t count;
            const struct voter_set *voters; /* the driver's: all of them must have registered.
                                             * NULL: not checked */
            int16_t kraft_version; /* the driver's: it lives in control records of the log */
        } features;                /* all or none: the answer to the whole request says */
    };
};

/* ---- the state machine ---- */

/* The leader before, as this node followed it. id NO_LEADER: none. */
struct controller_deposed {
    int32_t id;
    int64_t last_contact_ms;
};

struct controller_core_args {
    int32_t node_id;
    struct str cluster_id;             /* copied */
    const struct config_values *given; /* borrowed for the core's life */
    struct random *random;             /* for topic ids and placement; borrowed likewise */
    struct controller_deposed deposed;
    bool transaction_open; /* the log ends within a metadata transaction, which is to be aborted */
};

/* Takes over with the committed state (a reference is taken). */
struct controller_core *controller_core_create(const struct controller_core_args *args,
                                               const struct metadata_image *committed,
                                               int64_t now_ms);
void controller_core_free(struct controller_core *c); /* NULL is fine */

/* When it is, and where the next record will land. */
struct controller_moment {
    int64_t now_ms;      /* monotonic */
    int64_t next_offset; /* log end: output record i gets next_offset + i */
};

/* What to append. Points into the core; valid until its next call. */
struct controller_output {
    const struct bytes *values; /* record frames */
    size_t count;
    bool atomic; /* in one batch; a longer output brings its own metadata transaction along */
};

/* Partitions that one request may ask for: POLICY_VIOLATION beyond, before anything is sized by
 * it. */
#define CONTROLLER_REQUEST_PARTITIONS_MAX 100000

/* Records that one atomic batch may hold; more of them are wrapped in a metadata transaction. */
#define CONTROLLER_BATCH_RECORDS_MAX 10000
/* well below RAFT_BATCH_BYTES_MAX, batch heads included */
#define CONTROLLER_BATCH_BYTES_MAX (4 * 1024 * 1024)

/* The first output of a new leader: bootstrap records when the cluster has none, an abort of a
 * transaction its predecessor left open, the registration of this controller (may be NULL). */
void controller_core_activate(struct controller_core *c, const struct register_controller *self,
                              struct controller_moment at, struct controller_output *out);

/* Decides one request. Its results are filled in; the answer to the whole request is returned. The
 * output is to be appended before anything else happens; the core already reckons with it. */
struct controller_result controller_core_step(struct controller_core *c,
                                              struct controller_request *r,
                                              struct controller_moment at,
                                              struct controller_output *out);

/* Time went by: fences brokers whose session ended, writes a no-op record when the log was idle for
 * metadata.max.idle.interval.ms. */
void controller_core_tick(struct controller_core *c, struct controller_moment at,
                          struct controller_output *out);

/* When to tick next, at the latest. */
int64_t controller_core_next_tick_ms(const struct controller_core *c);

/* A broker that is silent, or that a new controller has not heard of: the caller is to ask its
 * listener, and hand in CONTROLLER_BROKER_REFUSES if nobody listens there, CONTROLLER_BROKER_SILENT
 * if no answer comes. Each is named once in a while only. Answers how many. */
struct controller_suspect {
    int32_t id;
    int64_t epoch;
};
size_t controller_core_suspects(struct controller_core *c, int64_t now_ms,
                                struct controller_suspect *out, size_t room);

/* Everything the core put out is in `committed`: it takes this image in place of its own, so that
 * the two share memory. The caller makes sure that it is so. */
void controller_core_rebase(struct controller_core *c, const struct metadata_image *committed);

/* The newest state, with what is not yet committed. Borrowed until the next call. */
const struct metadata_image *controller_core_image(const struct controller_core *c);

#endif
