#ifndef BROKER_COORDINATOR_GROUP_CONSUMER_H
#define BROKER_COORDINATOR_GROUP_CONSUMER_H

/* Consumer groups of KIP-848 inside the core.
 *
 *   subscriptions and topics  --any change-->                            a group epoch
 *   group epoch               --assignor, once per assignment interval--> targets, assignment epoch
 *   targets                   --each member's heartbeats--> partitions of members, member epochs
 *
 *   member:  STABLE ------------------------------------> its target is all it has, and free
 *              | has what is not in its target
 *              v                   gave it back
 *            UNREVOKED ---------------------------------> STABLE; or UNRELEASED while some of its
 *              | rebalance timeout                        target is others'
 *              v
 *            gone
 *
 * A partition is in at most one member's `assigned` and `revoking` together: `owners` says whose.
 * That is how two members never have it at once: it is given only when it is free there.
 *
 * Every change is a record: it is emitted, and applied by the code that also loads it
 * (consumer_group_apply), so that what is rebuilt from the log is what was. Decisions come before
 * the first record of a step: a refused request leaves nothing behind.
 *
 * Memory: members by group.consumer.max.size and CONSUMER_GROUP_BYTES_MAX, one member's
 * subscription by CONSUMER_MEMBER_BYTES_MAX; the topics of its regular expressions by
 * CONSUMER_REGEX_BYTES_MAX: an expression that goes beyond finds none; partitions of groups by
 * those of the cluster. */

#include "broker/coordinator/group_core_internal.h"

enum {
    CONSUMER_MEMBER_BYTES_MAX = 256 * 1024,      /* strings of one member */
    CONSUMER_GROUP_BYTES_MAX = 16 * 1024 * 1024, /* strings of all of a group's members */
    CONSUMER_REGEX_BYTES_MAX = 16 * 1024 * 1024, /* names that all of a group's expressions found */
    CONSUMER_TARGET_BYTES_MAX = 512 * 1024, /* records of targets that one step writes, about */
};

#define MEMBER_EPOCH_JOIN         0
#define MEMBER_EPOCH_LEAVE        (-1)
#define MEMBER_EPOCH_LEAVE_STATIC (-2)

/* ---- sets of partitions ---- */

struct held {
    struct uuid topic;
    int32_t partition;
    int32_t epoch; /* since when it is the member's (KIP-1251); 0 in targets */
};

/* Rising by topic and partition, without doubles. */
struct held_set {
    struct held *items;
    size_t count;
};

/* NULL: not in it. */
struct held *held_find(const struct held_set *s, struct uuid topic, int32_t partition);
/* Same partitions, and same epochs. */
bool held_equal(const struct held_set *a, const struct held_set *b);
/* Puts items in order and drops doubles. */
void held_sort(struct held_set *s);
/* An empty set with room for `count`, in fx->arena. False: out of memory (group_fail). */
bool held_room(struct group_core *c, struct held_set *s, size_t count);
/* By topic, for answers: from the caller's arena, names from the image where it has them. False:
 * spent, and the caller is marked. */
bool held_answer(struct group_core *c, struct group_caller *who, const struct held_set *s,
                 struct group_assignment *out);
/* What a request says a member has; NULL stays NULL. */
bool held_from_request(struct group_core *c, const struct group_assignment *owned,
                       struct held_set *out);

/* ---- members ---- */

enum consumer_member_state {
    MEMBER_STABLE = 0,
    MEMBER_UNREVOKED = 1,
    MEMBER_UNRELEASED = 2,
    MEMBER_UNKNOWN = 127, /* written by a broker newer than us */
};

/* What a member says of itself: the content of its metadata record. */
struct member_fields {
    struct str instance_id, rack_id, assignor; /* may be null */
    struct str client_id, client_host;
    struct str regex;         /* empty: none */
    const struct str *topics; /* rising, no doubles */
    size_t topic_count;
    int32_t rebalance_timeout_ms;
    bool classic;                           /* speaks the classic protocol */
    int32_t session_timeout_ms;             /* classic */
    const struct group_protocol *protocols; /* classic: the first one is used */
    size_t protocol_count;
};

struct consumer_member {
    UT_hash_handle hh; /* of consumer_group.members, by id */
    UT_hash_handle
        by_instance; /* of consumer_group.statics, by fields.instance_id, if `is_static` */
    bool is_static;
    struct member_fields fields;
    void *block; /* what fields points to */
    size_t bytes;
    int32_t epoch, previous_epoch;
    enum consumer_member_state state;
    struct held_set assigned, revoking, target; /* heap */
    bool has_target;                            /* a target was written for it, if an empty one */
    int64_t session_deadline_ms;
    int64_t rebalance_deadline_ms; /* UNREVOKED: must have given back; INT64_MAX: nothing to */
    int64_t join_deadline_ms,
        sync_deadline_ms; /* classic: must have joined, synced; INT64_MAX: need not */
    struct str id;        /* behind the struct */
};

/* How often a topic is subscribed. */
struct subscribed_topic {
    UT_hash_handle hh; /* of consumer_group.topics, by name */
    size_t by_name, by_regex;
    uint64_t hash;       /* of its metadata, as of the image at hash_offset */
    int64_t hash_offset; /* -1: never computed */
    uint32_t index; /* among the topics of the assignment being made; UINT32_MAX: the topic does not
                       exist */
    struct str name; /* behind the struct */
};

/* A regular expression that members subscribe, or that was resolved. */
struct subscribed_regex {
    UT_hash_handle hh; /* of consumer_group.regexes, by pattern */
    size_t members;
    bool resolved;
    struct str *topics; /* rising; one heap block */
    size_t topic_count;
    size_t bytes;         /* of their names */
    int64_t version;      /* offset of the image */
    int64_t timestamp_ms; /* wall clock */
    struct str pattern;   /* behind the struct */
};

struct partition_owner {
    UT_hash_handle hh; /* of consumer_group.owners */
    struct partition_key {
        struct uuid topic;
        int32_t partition;
    } key;
    struct consumer_member *member;
};

struct consumer_group {
    int32_t epoch, assignment_epoch;
    int64_t assignment_wall_ms; /* 0: the next assignment need not wait */
    uint64_t metadata_hash;
    bool has_partition_metadata;     /* a record of brokers before 4.1, to be tombstoned */
    struct consumer_member *members; /* in the order they came */
    struct consumer_member *statics;
    struct subscribed_topic *topics;
    struct subscribed_regex *regexes;
    struct partition_owner *owners;
    size_t classic_count;
    size_t bytes;           /* of members */
    size_t regex_bytes;     /* of what regular expressions found */
    int64_t checked_offset; /* of the image that metadata_hash was last compared with; -1: none */
    /* Of the regular expressions: when they were last asked about. A resolution under way is given
     * up after a while. */
    bool resolving;
    int64_t resolving_since_ms;
};

/* A group without members; NULL: out of memory (group_fail). */
struct consumer_group *consumer_group_create(struct group_core *c);
/* NULL: not there. */
struct consumer_member *consumer_member_find(const struct consumer_group *cg, struct str id);
struct consumer_member *consumer_static_member(const struct consumer_group *cg,
                                               struct str instance_id);
struct subscribed_regex *consumer_regex_find(const struct consumer_group *cg, struct str pattern);
/* Who has it; NULL: nobody. */
struct consumer_member *consumer_owner(const struct consumer_group *cg, struct uuid topic,
                                       int32_t partition);
/* Does the member subscribe it, by name or by an expression as last resolved? */
bool consumer_member_subscribes(const struct consumer_group *cg, const struct consumer_member *m,
                                struct str topic);
/* The topic is in the image, and the member subscribes it. */
bool consumer_member_subscribes_id(const struct group_core *c, const struct consumer_group *cg,
                                   const struct consumer_member *m, struct uuid topic);
size_t consumer_group_size(const struct consumer_group *cg);

/* ---- records: emitted, then applied ---- */

/* Applies a record of the group to what is in memory. False: out of memory (group_fail). */
bool consumer_group_apply(struct group_core *c, struct group *g, const struct group_record *r);

void consumer_emit_epoch(struct group_core *c, struct group *g, int32_t epoch,
                         uint64_t metadata_hash);
/* Everything in f is copied. */
void consumer_emit_member(struct group_core *c, struct group *g, struct str id,
                          const struct member_fields *f);
void consumer_emit_target_epoch(struct group_core *c, struct group *g, int32_t epoch,
                                int64_t wall_ms);
void consumer_emit_target(struct group_core *c, struct group *g, struct str id,
                          const struct held_set *target);
struct member_progress {
    int32_t epoch, previous_epoch;
    enum consumer_member_state state;
    struct held_set assigned, revoking;
};
void consumer_emit_progress(struct group_core *c, struct group *g, struct str id,
                            const struct member_progress *p);
void consumer_emit_regex(struct group_core *c, struct group *g, const struct group_regex_result *r,
                         int64_t wall_ms);
void consumer_emit_regex_tombstone(struct group_core *c, struct group *g, struct str pattern);
/* The tombstones of all of the member's records, which takes it out. */
void consumer_emit_member_gone(struct group_core *c, struct group *g, struct str id);
/* An estimate of the bytes that a record of one partition set takes, with its key. */
size_t consumer_set_record_bytes(const struct group *g, struct str id, const struct held_set *s);
/* The same of the record of a member's fields, without its key. */
size_t consumer_fields_record_bytes(const struct member_fields *f);

/* ---- assignment (group_consumer_assign.c) ---- */

/* The hash of the topics that the group subscribes now. */
uint64_t consumer_group_hash(struct group_core *c, const struct consumer_group *cg);
/* The assignor that most members ask for; the first of the settings when none does. */
struct str consumer_group_assignor(const struct group_core *c, const struct consumer_group *cg);
/* Makes a new assignment when the group's epoch is past the last one's and the interval allows. */
void consumer_group_assign(struct group_core *c, struct group *g);
/* Moves m towards its target, as far as that is free now. owned: what it says it has; NULL: it did
 * not say. */
void consumer_member_reconcile(struct group_core *c, struct group *g, struct consumer_member *m,
                               const struct held_set *owned, bool subscription_changed);

/* ---- heartbeats (group_consumer.c), also for where the protocols meet ---- */

/* The group gets a new epoch if `bump`, or if the topics are no longer what they were. */
void consumer_group_update_epoch(struct group_core *c, struct group *g, bool bump);
/* Asks for expressions to be resolved that never were, or too long ago. */
void consumer_group_refresh_regexes(struct group_core *c, struct group *g);
/* Replaces the static member by one of another id that goes on with its partitions. If there is a
 * dynamic member of that id already, its own are nobody's then, and the group needs a new epoch
 * (the caller's to see to). */
struct consumer_member *consumer_member_replace(struct group_core *c, struct group *g,
                                                struct consumer_member *old, struct str id);
/* Writes what changed in m's fields (m may not be there yet) and answers what that means for the
 * group. */
struct subscription_change {
    bool topics, regex, assignor;
    bool regex_resolved; /* the group's topics changed with it */
};
struct subscription_change consumer_member_update(struct group_core *c, struct group *g,
                                                  struct str id, const struct member_fields *f);
void consumer_member_heard(struct group_core *c, struct group *g, struct consumer_member *m,
                           int32_t session_ms);
/* Takes members out; what is left gets a new epoch. The last one of the new protocol that goes may
 * leave a classic group. ids: in order, each once. */
void consumer_members_leave(struct group_core *c, struct group *g, const struct str *ids,
                            size_t count);
/* Puts names in order and drops doubles; how many are left. */
size_t consumer_names_sort(struct str *names, size_t count);
/* Takes the topics out of what was resolved for x when the group would have too many with them. */
void consumer_regex_limit(struct group_core *c, const struct consumer_group *cg,
                          const struct subscribed_regex *x, struct group_regex_result *r);
/* Rising, without doubles, in fx->arena. NULL only after group_fail. */
struct str *consumer_sort_topics(struct group_core *c, const struct str *topics, size_t count,
                                 size_t *out_count);

/* ---- conversion ---- */

#define CONSUMER_PROTOCOL STR("consumer") /* what classic consumers call their protocol type */

/* A classic group with members becomes a consumer group, or NULL and *wrong says why not
 * (group_upgrade.c). */
struct consumer_group *convert_to_consumer(struct group_core *c, struct group *g,
                                           const char **wrong);
/* When all members but those that leave (in order, each once) speak the classic protocol, the group
 * may become classic: it does, begins to rebalance if asked to, and true (group_downgrade.c). */
bool convert_to_classic(struct group_core *c, struct group *g, const struct str *leaving,
                        size_t count, bool rebalance);

#endif
