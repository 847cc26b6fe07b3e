#ifndef BROKER_COORDINATOR_GROUP_CORE_INTERNAL_H
#define BROKER_COORDINATOR_GROUP_CORE_INTERNAL_H

/* What the files of the group core share: the table of groups, the step under way, deadlines,
 * memory, and where the two types of group meet.
 *
 *   group_core.c       the table, steps, deadlines, dispatch by type
 *   group_offsets.c    commits, deletion, expiry
 *   group_classic*.c   classic groups (group_classic.h)
 *   group_consumer*.c  KIP-848 groups
 *   group_upgrade.c    a classic group becomes a consumer group
 *   group_downgrade.c  the other way
 *   group_convert.c    classic requests that meet a consumer group
 *   group_embedded.c   bytes of classic consumers
 *
 * A step is: group_step_begin, group_step_on(the one group it is about), decisions, group_step_end.
 * In between, records and answers collect in c->fx. An answer leaves after the newest write of the
 * step's group, so that nobody hears of a state that a crash could take back; the core need not say
 * so at each answer.
 *
 * Out of memory half-way: whoever notices calls group_fail and returns with all pointers in order;
 * the core is then thrown away by the driver, so that what the step left half done is never acted
 * upon. */

/* A table that cannot grow leaves hh.tbl of the new element NULL (group_fail), instead of ending
 * the process. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "broker/coordinator/group_core.h"
#include "protocol/group_record.h"

struct classic_group;  /* group_classic.h */
struct consumer_group; /* group_consumer.h */

struct group {
    UT_hash_handle hh;
    enum group_type type; /* GROUP_UNLOADED until group_core_loaded */
    bool loaded;          /* group_core_loaded was called; else only its records so far are here */
    bool has_offsets;     /* committed ones, or appended ones */
    int64_t last_write;   /* the newest write that touched it */
    int64_t touched_ms;   /* somebody asked for it */
    int64_t deadline_ms; /* at or before the earliest thing that is due in it; INT64_MAX: nothing */
    size_t heap_index;   /* in c->heap; GROUP_NOT_IN_HEAP: has no deadline */
    union {
        struct classic_group *classic;   /* type GROUP_CLASSIC */
        struct consumer_group *consumer; /* type GROUP_CONSUMER */
    };
    struct str id; /* points behind the struct */
};

#define GROUP_NOT_IN_HEAP SIZE_MAX

struct group_core {
    struct group_core_args args;
    const struct metadata_image *image;
    int64_t topics_offset;  /* of the image since which topics are the same: none came, none went */
    int64_t commits_offset; /* of the newest metadata that a commit was checked against */
    int64_t wall_offset_ms; /* wall clock minus now_ms; of group_core_set_wall_clock */
    bool wall_known;
    int32_t heartbeat_interval_ms; /* of group_core_set_heartbeat_interval; 0: each group's own */
    struct group *groups;          /* by id, in the order of loading */
    struct group *evict_next;      /* where group_core_evict goes on */
    struct group **heap;           /* by deadline_ms, the earliest first */
    size_t heap_count, heap_capacity;
    int64_t last_write, committed_write;
    bool failed; /* out of memory once: every step from then on says overloaded */
    /* The step under way; fx is NULL outside of one. */
    struct group_effects *fx;
    int64_t now_ms;
    struct group *on;
    struct str on_id;             /* its id, in fx->arena */
    struct group_record *records; /* in fx->arena */
    size_t record_capacity;
    struct group_record unseen; /* where records go that did not find room */
    struct group_regex_wanted *regexes;
    size_t regex_capacity;
    struct group_caller **answered_end;
};

/* ---- groups ---- */

/* NULL: not here. Loaded or not. */
struct group *group_find(const struct group_core *c, struct str id);
/* A group that a request is for: loaded. The driver's promise, so a CHECK. */
struct group *group_find_loaded(const struct group_core *c, struct str id);
/* Ends what the group was (members, targets; nobody may wait in it any more) and makes it `type`,
 * with part (a struct classic_group or consumer_group, owned from now on; NULL for GROUP_NONE). Its
 * deadline goes. Writes nothing. */
void group_become(struct group_core *c, struct group *g, enum group_type type, void *part);
/* Nothing is known of it: neither members, nor records, nor offsets. To a client it does not
 * exist. */
bool group_is_nothing(const struct group *g);

/* ---- the step under way ---- */

/* Empties fx. Every public function that takes fx begins and ends so. */
void group_step_begin(struct group_core *c, struct group_effects *fx, int64_t now_ms);
/* The group that the step is about: its newest write is what answers wait for. NULL: none. */
void group_step_on(struct group_core *c, struct group *g);
void group_step_end(struct group_core *c);

/* Adds a record of the step's group to its batch. The struct is copied; what it points to must live
 * in fx->arena (group_fx_*) or be a literal. A group_record_init'ed record has all defaults. */
void group_emit(struct group_core *c, const struct group_record *r);
/* A record of this type and of the step's group, with defaults and the key's group set, added to
 * the batch; to be filled by the caller before anything else is emitted. Never NULL: after a
 * failure it is a record that nobody sees. */
struct group_record *group_emit_new(struct group_core *c, enum group_record_type type);

/* Copies for records, in fx->arena: null stays null. After group_fail they are empty. */
struct str group_fx_str(struct group_core *c, struct str s);
struct bytes group_fx_bytes(struct group_core *c, struct bytes b);
/* count zeroed elements; NULL after a failure (group_fail was called), else never. */
void *group_fx_array(struct group_core *c, size_t count, size_t size);
/* A copy of all of it; NULL as above. */
struct group_protocol *group_fx_protocols(struct group_core *c,
                                          const struct group_protocol *protocols, size_t count);

/* Wants a regular expression resolved; both are copied. */
void group_want_regex(struct group_core *c, struct str group, struct str regex);

/* Gives `who` back. Its answer is in it; code is set here. */
void group_answer(struct group_core *c, struct group_caller *who, enum kerr code);
/* The same for an answer that tells nothing of what is written: it leaves at once. */
void group_answer_now(struct group_core *c, struct group_caller *who, enum kerr code);
/* Copies into the caller's arena; a spent one makes the answer INVALID_REQUEST instead of what
 * group_answer is told. Null stays null. */
struct str group_answer_str(struct group_caller *who, struct str s);
struct bytes group_answer_bytes(struct group_caller *who, struct bytes b);
/* count zeroed elements; an empty array is not NULL. NULL: spent, and the caller is marked. */
void *group_answer_array(struct group_caller *who, size_t count, size_t size);

/* Out of memory: fx->overloaded, now and from now on. */
void group_fail(struct group_core *c);

/* ---- deadlines ---- */

/* Something in g is due at at_ms: the group's deadline moves there if that is earlier. Deadlines
 * are lazy: one that moved away (a heartbeat) is noticed when it is due. Any time, also while
 * loading. */
void group_due_at(struct group_core *c, struct group *g, int64_t at_ms);
/* Exactly at_ms (INT64_MAX: nothing is due): after a look at all of the group. */
void group_set_deadline(struct group_core *c, struct group *g, int64_t at_ms);

/* ---- memory that outlives steps ---- */

/* A heap copy, to be freed with group_drop_*; null stays null, an empty one is not null. False: out
 * of memory, *to is null and group_fail was called. */
bool group_keep_str(struct group_core *c, struct str *to, struct str from);
bool group_keep_bytes(struct group_core *c, struct bytes *to, struct bytes from);
void group_drop_str(struct str *s);
void group_drop_bytes(struct bytes *b);

/* The wall clock, for timestamps in records; -1: nobody said. */
int64_t group_wall_ms(const struct group_core *c);
/* 16 random bytes as a version-4 uuid. */
struct uuid group_random_uuid(struct group_core *c);

/* ---- what classic groups give the rest; all but load_record and loaded belong to the step under
 * way ---- */

enum kerr classic_group_load_record(struct group_core *c, struct group *g,
                                    const struct group_record *r);
void classic_group_loaded(struct group_core *c, struct group *g);
/* Does what is due at c->now_ms and sets the group's deadline. */
void classic_group_tick(struct group_core *c, struct group *g);
/* All who wait inside are answered with code; members stay. */
void classic_group_stop(struct group_core *c, struct group *g, enum kerr code);
void classic_group_free(struct classic_group *cg);
bool classic_group_is_empty(const struct classic_group *cg);

/* ---- what consumer groups give the rest (group_consumer*.c) ---- */

/* A record of types 3-8 and 16 of a group that is being loaded; makes the group GROUP_CONSUMER.
 * Errors as of group_core_load_record. */
enum kerr consumer_group_load_record(struct group_core *c, struct group *g,
                                     const struct group_record *r);
/* In a step: everything is replayed; sessions start at c->now_ms. */
void consumer_group_loaded(struct group_core *c, struct group *g);
void consumer_group_tick(struct group_core *c, struct group *g);
/* Consumer groups park nobody of their own protocol; classic members' calls may be. */
void consumer_group_stop(struct group_core *c, struct group *g, enum kerr code);
void consumer_group_free(struct consumer_group *cg);
bool consumer_group_is_empty(const struct group *g);
/* "Empty", "Assigning", "Reconciling", "Stable". */
struct str consumer_group_state(const struct group *g);
/* Emits the tombstones of every record that the group may have in the log but its offsets. The
 * group stays as it is: follow with group_become. */
void consumer_group_tombstones(struct group_core *c, struct group *g);

/* Any type of g (GROUP_NONE and an empty classic group become consumer groups; a classic one with
 * members is converted or refused: group_upgrade.c). Always answers who. */
void consumer_group_heartbeat(struct group_core *c, struct group *g, struct group_caller *who,
                              const struct group_consumer_heartbeat *r);
/* g is a consumer group; fills who->consumer_describe, does not answer. */
void consumer_group_describe(struct group_core *c, struct group *g, struct group_caller *who);
/* g is a consumer group: may this member, or outsider, commit? */
enum kerr consumer_group_check_commit(struct group_core *c, struct group *g,
                                      const struct group_commit *r);
/* member_id is not null. */
enum kerr consumer_group_check_offset_fetch(const struct group *g, struct str member_id,
                                            int32_t member_epoch);
bool consumer_group_subscribes(const struct group *g, struct str topic);
/* There is nothing for newer metadata: c->image is what the next heartbeat sees. */
void consumer_group_regex_resolved(struct group_core *c, struct group *g,
                                   const struct group_regex_result *r);

/* ---- classic requests at a consumer group with members (group_convert.c); each answers or parks
 * who ---- */

void convert_classic_join(struct group_core *c, struct group *g, struct group_caller *who,
                          const struct group_join *r);
void convert_classic_sync(struct group_core *c, struct group *g, struct group_caller *who,
                          const struct group_sync *r);
void convert_classic_heartbeat(struct group_core *c, struct group *g, struct group_caller *who,
                               const struct group_heartbeat *r);
void convert_classic_leave(struct group_core *c, struct group *g, struct group_caller *who,
                           const struct group_leave *r);

#endif
