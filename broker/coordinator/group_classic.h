#ifndef BROKER_COORDINATOR_GROUP_CLASSIC_H
#define BROKER_COORDINATOR_GROUP_CLASSIC_H

/* Classic groups inside the core: JoinGroup, SyncGroup, Heartbeat, LeaveGroup.
 *
 *           first member joins             all joined, or time is up        leader's sync
 *     EMPTY -------------------> PREPARING ------------------------> COMPLETING ---------> STABLE
 *       ^   initial delay,       REBALANCE   a new generation;       REBALANCE               |
 *       |   longer while         ^  |        syncs are awaited           |                   |
 *       |   members come         |  |                                    | a member joins,   |
 *       +------------------------|--+ nobody is left                     | changes, leaves,  |
 *                                |                                       | is silent         |
 *                                +---------------------------------------+-------------------+
 *
 * A member's caller waits in `joining` while the group prepares, in `syncing` until the leader has
 * sent assignments; both are answered exactly once, whatever happens to the member. Memory: members
 * are bounded by group.max.size and by CLASSIC_GROUP_BYTES_MAX, pending ids by CLASSIC_PENDING_MAX,
 * assignments by GROUP_BATCH_BYTES_MAX. */

#include "broker/coordinator/group_core_internal.h"

enum classic_state {
    CLASSIC_EMPTY,
    CLASSIC_PREPARING_REBALANCE,
    CLASSIC_COMPLETING_REBALANCE,
    CLASSIC_STABLE,
};

struct classic_member {
    UT_hash_handle hh;          /* of classic_group.members, by id */
    UT_hash_handle by_instance; /* of classic_group.statics, by instance_id, when that is not
                                 * null */
    struct str id, instance_id, client_id, client_host;
    struct group_protocol *protocols; /* one heap block with all they point to; the member's
                                       * preference first */
    size_t protocol_count;
    struct bytes assignment; /* of the generation; null: none yet */
    int32_t session_timeout_ms, rebalance_timeout_ms;
    int64_t deadline_ms;          /* silent until then: removed */
    struct group_caller *joining; /* its JoinGroup under way */
    struct group_caller *syncing; /* its SyncGroup under way */
    bool is_new;       /* has not seen a generation yet: does not outlive its deadline even while it
                  * waits */
    bool pending_sync; /* was told of the generation, has not asked for its assignment */
};

/* How many members offer a protocol. */
struct classic_support {
    UT_hash_handle hh;
    size_t count;
    size_t votes;                         /* classic_group_vote's, while it runs */
    const struct classic_member *counted; /* the last one: a name twice in its list counts once */
    struct str name;                      /* behind the struct */
};

/* A member id that was handed out with MEMBER_ID_REQUIRED and has not come back. */
struct classic_pending {
    UT_hash_handle hh;
    int64_t deadline_ms;
    struct str id; /* behind the struct */
};

struct classic_group {
    enum classic_state state, previous;
    int32_t generation;
    int64_t state_wall_ms;              /* when it entered the state; -1: not known */
    struct str protocol_type, protocol; /* owned; null: none */
    struct classic_member *members;     /* in the order they joined */
    struct classic_member *statics;
    struct classic_pending *pending;
    struct classic_support *support; /* by name */
    size_t bytes;                    /* of ids and metadata of all members, and pending ids */
    struct classic_member *leader;   /* NULL: none */
    size_t joining_count;            /* members that wait in `joining` */
    size_t pending_sync_count;
    bool new_member_added;                          /* during the initial delay */
    int64_t initial_delay_ms, initial_remaining_ms; /* of the initial rebalance */
    int64_t join_deadline_ms;                       /* PREPARING: INT64_MAX else */
    int64_t sync_deadline_ms; /* until pending_sync members must have asked; INT64_MAX: nobody is
                               * awaited */
    bool topics_known;        /* all subscriptions could be read */
    struct str *topics; /* sorted, no doubles; one heap block: what members subscribe, as of the
                         * generation */
    size_t topic_count;
};

enum {
    CLASSIC_PENDING_MAX = 10000,                /* member ids handed out and not used, a group */
    CLASSIC_GROUP_BYTES_MAX = 16 * 1024 * 1024, /* ids and metadata of a group's members */
};

/* ---- requests; each answers or parks who. g is of any type but a consumer group with members
 * ---- */

void classic_group_join(struct group_core *c, struct group *g, struct group_caller *who,
                        const struct group_join *r);
void classic_group_leave(struct group_core *c, struct group *g, struct group_caller *who,
                         const struct group_leave *r);
/* g is classic. */
void classic_group_sync(struct group_core *c, struct group *g, struct group_caller *who,
                        const struct group_sync *r);
void classic_group_heartbeat(struct group_core *c, struct group *g, struct group_caller *who,
                             const struct group_heartbeat *r);

/* ---- pieces; also for where the two protocols meet ---- */

/* An empty group of generation 0; NULL: out of memory (group_fail). Give it to group_become. */
struct classic_group *classic_group_create(struct group_core *c);

struct classic_member_args {
    struct str id, instance_id, client_id, client_host;
    const struct group_protocol *protocols; /* copied, all of it */
    size_t protocol_count;
    struct bytes assignment;
    int32_t session_timeout_ms, rebalance_timeout_ms;
};
/* Adds a member: the first one is the leader and gives the group its protocol type. NULL: out of
 * memory. Its session is not started, the state stays. */
struct classic_member *classic_group_add(struct group_core *c, struct group *g,
                                         struct str protocol_type,
                                         const struct classic_member_args *m);
struct classic_member *classic_group_member(const struct classic_group *cg, struct str id);
struct classic_member *classic_group_static_member(const struct classic_group *cg,
                                                   struct str instance_id);
/* Takes a member out; the next one is leader if it was. Nobody may wait in it. */
void classic_group_remove(struct group *g, struct classic_member *m);
/* The same; who waits in it hears UNKNOWN_MEMBER_ID. */
void classic_group_dismiss(struct group_core *c, struct group *g, struct classic_member *m);
/* A member joins with these protocols and timeouts from now on. False: out of memory, nothing
 * changed. */
bool classic_member_set_protocols(struct group_core *c, struct classic_group *cg,
                                  struct classic_member *m, const struct group_protocol *protocols,
                                  size_t count);
/* The member goes on under another id. False: out of memory. */
bool classic_member_rename(struct group_core *c, struct classic_group *cg, struct classic_member *m,
                           struct str id);
/* Whether a member with these protocols could be in the group: one of them is offered by every
 * member. */
bool classic_group_supports(const struct classic_group *cg, struct str protocol_type,
                            const struct group_protocol *protocols, size_t count);
/* Does the member still offer just these, in this order? */
bool classic_member_matches(const struct classic_member *m, const struct group_protocol *protocols,
                            size_t count);
/* What the member says for the protocol; empty when it does not know it. */
struct bytes classic_member_metadata(const struct classic_member *m, struct str protocol);
size_t classic_protocols_bytes(const struct group_protocol *protocols, size_t count);
/* False: out of memory. The id is not a member's. */
bool classic_group_add_pending(struct group_core *c, struct classic_group *cg, struct str id,
                               int64_t deadline_ms);
struct classic_pending *classic_group_find_pending(const struct classic_group *cg, struct str id);
void classic_group_remove_pending(struct classic_group *cg, struct classic_pending *p);

/* Starts m's session anew: it must be heard of within its session timeout. */
void classic_member_heard(struct group_core *c, struct group *g, struct classic_member *m);
/* The same with another time than its session timeout. */
void classic_member_due_in(struct group_core *c, struct group *g, struct classic_member *m,
                           int64_t ms);
/* Answers its JoinGroup, if it waits: `code`, and for NONE the generation that now is. */
void classic_member_answer_join(struct group_core *c, struct classic_group *cg,
                                struct classic_member *m, enum kerr code);
/* Answers its SyncGroup, if it waits; NONE: with its assignment. */
void classic_member_answer_sync(struct group_core *c, struct group *g, struct classic_member *m,
                                enum kerr code);
/* Fills a join answer with the generation that now is, for this member. */
void classic_fill_join(struct group_caller *who, const struct classic_group *cg,
                       const struct classic_member *m);
/* The protocol that most members prefer among those that all support; there are members. Borrowed
 * from a member. */
struct str classic_group_vote(const struct classic_group *cg);
/* Sets the group's protocol (copied) and, from the members' metadata for it, the topics they
 * subscribe. */
void classic_group_set_protocol(struct group_core *c, struct classic_group *cg,
                                struct str protocol);
/* The group enters `state` now. */
void classic_group_enter(struct group_core *c, struct classic_group *cg, enum classic_state state);
/* As group_classic.c's head shows it: a rebalance begins, or goes on if all have joined. */
void classic_group_rebalance_or_complete(struct group_core *c, struct group *g);
/* Goes to the next generation if nobody is waited for, unless it is the initial rebalance, which
 * takes its time. */
void classic_group_maybe_complete(struct group_core *c, struct group *g);
/* Everybody m's sync was waited for may have come: then nobody is timed out. */
void classic_group_synced(struct classic_group *cg, struct classic_member *m);
/* Members are to join again; whoever waits for an assignment hears REBALANCE_IN_PROGRESS. */
void classic_group_prepare_rebalance(struct group_core *c, struct group *g);
/* Emits the group's metadata record as the group is now; what an empty group that just came to be
 * has; or a tombstone. */
void classic_group_emit_new(struct group_core *c, const struct group *g);
void classic_group_emit(struct group_core *c, const struct group *g);
void classic_group_emit_tombstone(struct group_core *c);
/* Bytes that the group's metadata record takes in a batch of its own, at most, not counting
 * assignments. */
size_t classic_group_record_bytes(const struct group *g);
/* Do members subscribe the topic? Unknown subscriptions of the consumer protocol count as yes. */
bool classic_group_subscribes(const struct classic_group *cg, struct str topic);
bool classic_group_is_consumer_protocol(const struct classic_group *cg);
struct str classic_state_name(enum classic_state state);

#endif
