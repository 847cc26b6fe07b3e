#ifndef TESTS_UNIT_BROKER_COORDINATOR_GROUP_WORLD_H
#define TESTS_UNIT_BROKER_COORDINATOR_GROUP_WORLD_H

/* A group core in a world of its own: clients with names, a log that commits when it is told to, a
 * state store that is the log's newest records, time that stands still unless it is asked to pass.
 *
 * The world is the driver: it loads groups when somebody asks for one, keeps records of steps in
 * order, holds answers back until their write is committed, and stops with an error (world_fail)
 * when the core breaks its contract: a caller answered twice, an answer of a later write, an
 * invariant of world_check. */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "broker/coordinator/group_core_internal.h"
#include "tests/unit/broker/coordinator/image_world.h"

struct group_world;
struct world_client;

/* One request under way or answered. */
struct world_call {
    struct group_caller caller; /* first: the core gives this back */
    struct arena arena;
    struct world_client *client; /* NULL: nobody in particular */
    char group[64];
    const char *what;
    int64_t asked_ms;
    bool answered;  /* the core gave it back */
    bool delivered; /* and its write is committed, or the world crashed */
    struct group_commit_partition partitions[8];
    size_t partition_count;
    struct world_call *next;
};

enum { WORLD_MEMBERS_MAX = 64, WORLD_ID_BYTES = 160 };

/* What a client of the classic protocol knows and is configured to; tests set fields as they
 * like. */
struct world_client {
    char name[32];
    char group[64];
    char instance[32];   /* "": a dynamic member */
    char type[32];       /* protocol type */
    char protocols[256]; /* "range:topic+topic,sticky:topic"; other types: metadata */
    char assignor[64];   /* what a leader hands out; "": "<generation>:<member>" */
    int32_t session_ms, rebalance_ms;
    bool old;     /* JoinGroup before version 4: a member id is given at once */
    bool no_skip; /* JoinGroup before version 9 */
    bool raw;     /* the text of protocols is the metadata, as with other types than "consumer" */
    char sync_protocol[32]; /* the protocol's name that SyncGroup says; "": none */
    /* learnt */
    char id[WORLD_ID_BYTES];
    int32_t generation;
    bool leader;
    char members[WORLD_MEMBERS_MAX][WORLD_ID_BYTES]; /* the leader's, as it was told */
    size_t member_count;
    char assignment[256];       /* the last one, as text */
    struct world_call *waiting; /* its request under way; NULL: none */
    struct world_call *last;    /* the last one delivered */
    struct world_client *next;
};

/* One record: in the store by key, or in the queue. */
struct world_kv {
    UT_hash_handle hh;
    struct world_kv *next;
    int64_t write_id;
    char group[64];
    bool has_value;
    size_t key_size, value_size;
    uint8_t *value; /* behind key */
    uint8_t key[];
};

/* A regular expression that the core wants resolved. */
struct world_regex {
    struct world_regex *next;
    char group[64], regex[256];
};

/* What the world remembers of a group, whether it is loaded or not. */
struct world_state {
    UT_hash_handle hh;
    char group[64];
    char told[2048];    /* the state that the story told last */
    int32_t generation; /* the highest seen; it only grows, until the group is deleted or the
                         * core lost its tail */
};

struct group_world {
    struct group_settings settings;
    struct group_config config; /* of every group */
    struct group_core *core;
    struct image_world images; /* after a change: group_core_set_image(w->core, w->images.image) */
    struct group_effects fx;
    struct random random;
    uint64_t first_seed, seed; /* as given; as it is now */
    int64_t now_ms, wall_offset_ms;
    struct world_kv *store;             /* what is committed, by key */
    struct world_kv *queue, *queue_end; /* appended, not committed; in order */
    int64_t appended, committed;
    bool hold;                /* nothing is committed until world_commit */
    struct world_call *calls; /* all that are not delivered */
    struct world_client *clients;
    size_t arena_bytes;                               /* what a caller may use */
    size_t record_count;                              /* in all */
    size_t answers[GROUP_CONSUMER_DESCRIBE + 1][256]; /* delivered, by enum group_call and error
                                                       * code */
    FILE *story;                                      /* NULL: not told */
    void (*on_record)(struct group_world *w, const struct group_record *r);
    /* More invariants: of groups that are not classic. Answers how many callers wait in them. */
    size_t (*check_more)(struct group_world *w);
    /* a consumer group, told */
    void (*text_more)(const struct group_world *w, const struct group *g, char *out, size_t size);
    void (*check_reload_more)(const struct group_world *w, const struct group *live,
                              const struct group *loaded);
    void (*on_answer)(struct group_world *w, struct world_call *call); /* delivered */
    /* What a leader hands out to its i-th member; NULL: a text. */
    struct bytes (*assign)(struct group_world *w, const struct world_client *leader, size_t i,
                           struct arena *a);
    void *more;                  /* whose hooks these are */
    struct world_regex *regexes; /* wanted, and not resolved yet */
    /* Out of memory: unless it may happen, it is a failure; else the world goes on with a new core,
     * as after a crash. */
    bool may_overload;
    size_t overloads;
    /* Told before each call of the core and after it, for tests that let allocations fail in it. */
    void (*in_core)(bool inside);
    struct world_state *states;
};

struct group_world *world_new(uint64_t seed);
void world_free(struct group_world *w);

/* Prints what and the seed, and ends the program. */
_Noreturn void world_fail(const struct group_world *w, const char *what);

uint32_t world_random(struct group_world *w, uint32_t below);

/* ---- clients ---- */

struct world_client *world_client(struct group_world *w, const char *name); /* made when new */
struct world_call *world_join(struct group_world *w, struct world_client *c);
struct world_call *world_sync(struct group_world *w, struct world_client *c);
struct world_call *world_heartbeat(struct group_world *w, struct world_client *c);
struct world_call *world_leave(struct group_world *w, struct world_client *c);
/* Commits one offset, as the member it is, or as nobody if it has no id. */
struct world_call *world_commit_offset(struct group_world *w, struct world_client *c,
                                       const char *topic, int32_t partition, int64_t offset,
                                       const char *metadata);

/* ---- others ---- */

/* Loads the group if it is not; then it may be asked for. */
void world_need(struct group_world *w, const char *group);
/* A call of nobody in particular, to be handed to the core by the test between this and
 * world_done. */
struct world_call *world_call(struct group_world *w, const char *group, enum group_call call,
                              const char *what);
/* Takes the step's effects: appends, delivers, commits unless held, checks. */
void world_done(struct group_world *w);
struct world_call *world_describe(struct group_world *w, const char *group);
struct world_call *world_delete(struct group_world *w, const char *group);
struct world_call *world_offset_delete(struct group_world *w, const char *group, const char *topic,
                                       int32_t partition);
/* An operator removes a member: by id, or by instance when id is "". */
struct world_call *world_remove(struct group_world *w, const char *group, const char *id,
                                const char *instance);
void world_expire(struct group_world *w, const char *group);
/* Offsets of topics that the core's metadata does not have are dropped; false: it is behind. */
bool world_topics_deleted(struct group_world *w, const char *group);

void world_wait(struct group_world *w, int64_t ms);
/* Commits the next `writes`; all when that is 0. */
void world_commit(struct group_world *w, int64_t writes);
/* The node loses leadership: what is not committed is gone, who waits is told, the next core starts
 * from the store. */
void world_crash(struct group_world *w);
/* The offset that is stored; -1: none. */
int64_t world_offset(struct group_world *w, const char *group, const char *topic,
                     int32_t partition);
/* Groups of the core as a client sees them. */
void world_print(struct group_world *w, FILE *out);

/* Every invariant there is; ends the program if one is broken. */
void world_check(struct group_world *w);
/* That a core which loads `group` from all records so far knows what this one knows. */
void world_check_reload(struct group_world *w, const char *group);

struct world_state *world_state_of(struct group_world *w, struct str group);
/* Loads a group's records, those of the queue too, into a core of its own. */
struct group_core *world_reload(struct group_world *w, const char *group);

/* A member id in short: of "a-1f3c89d0-…" what tells it from others. One of four static buffers. */
const char *world_name_of(struct str id);

#endif
