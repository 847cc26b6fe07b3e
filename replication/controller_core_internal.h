#ifndef REPLICATION_CONTROLLER_CORE_INTERNAL_H
#define REPLICATION_CONTROLLER_CORE_INTERNAL_H

/* What the controller_*.c files share. */

#include <uthash.h>

#include "protocol/writer.h"
#include "replication/controller_core.h"
#include "replication/memory.h"
#include "replication/metadata_encode.h"
#include "replication/metadata_image_internal.h"
#include "replication/partition_change.h"

/* What the controller knows of a registered broker beyond the records. */
struct broker_session {
    UT_hash_handle hh;
    int32_t id;
    int64_t last_contact_ms;
    int64_t unheard_ms; /* how long it may stay so, while this controller has not heard of it; 0:
                         * it has */
    int64_t look_ms;    /* when its silence becomes a reason to look at its listener */
    int64_t window_start_ms;
    int64_t window_ms; /* how long this window is to be */
    int32_t window_beats;
    int64_t longest_now_ms;      /* time between heartbeats in this window */
    int64_t second_now_ms;       /* the second longest in it */
    int64_t pace_before_ms;      /* the second longest in the window before; 0: there was none with
                             * enough of them */
    bool overdue;                /* this window began with a heartbeat after the session's end */
    int64_t metadata_offset;     /* that the broker acts on; -1: unknown */
    int64_t registration_offset; /* of its latest RegisterBrokerRecord, or of the record that
                                  * fenced it: what it must have seen before it is unfenced */
    int64_t shutdown_offset;     /* what others must have seen before it may go; -1: it stays */
};

/* A topic name with '.' as '_': two topics whose names differ only in these would share metric
 * names. */
struct collision {
    UT_hash_handle hh;
    struct str name; /* of the topic */
    char unified[];
};

struct controller_core {
    int32_t node_id;
    struct str cluster_id; /* owned */
    const struct config_values *given;
    struct random *random;
    bool transaction_open;
    struct metadata_image *image; /* the newest state; changed only while nobody shares it */
    struct broker_session *sessions;
    struct collision *collisions;
    int64_t last_append_ms;
    int64_t balance_ms; /* when leaders are next given back to the preferred replicas; INT64_MAX:
                         * never */
    int64_t unclean_ms; /* when partitions without leader are next looked at */
    struct controller_moment at; /* of the call under way */

    /* output of the call under way */
    struct writer writer;
    size_t *ends; /* of each record in the writer */
    struct bytes *values;
    size_t count;
    size_t room;
    bool atomic;
    bool dry_run;         /* validate only: nothing is emitted */
    struct arena scratch; /* of one record or one element of a request */
};

static inline int16_t core_metadata_version(const struct controller_core *c)
{
    return metadata_image_feature_level(c->image, METADATA_VERSION_FEATURE);
}

static inline bool core_elr_enabled(const struct controller_core *c)
{
    return metadata_image_feature_level(c->image, STR("eligible.leader.replicas.version")) > 0;
}

/* Puts a record out and applies it to the image: pointers into the image may be stale
 * afterwards. */
void core_emit(struct controller_core *c, const struct metadata_record *r);
/* The offset that the next emitted record gets. */
int64_t core_next_offset(const struct controller_core *c);

/* An error whose message is formatted into the request's arena. */
struct controller_result core_refuse(struct arena *a, enum kerr code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
#define CORE_OK ((struct controller_result){KERR_NONE, NULL})

/* One element of a request, by what may appear in it only once. */
struct core_key {
    struct str name;
    struct uuid id;
    int32_t type;
    size_t index; /* where its element is */
};
/* Sorts the keys and sets twice[index] for all that are there more than once. */
void core_find_duplicates(struct core_key *keys, size_t count, bool *twice);

/* ---- operations, by controller_operation ---- */
struct controller_result core_create_topics(struct controller_core *c,
                                            struct controller_request *r);
struct controller_result core_delete_topics(struct controller_core *c,
                                            struct controller_request *r);
struct controller_result core_grow_topics(struct controller_core *c, struct controller_request *r);
struct controller_result core_alter_configs(struct controller_core *c,
                                            struct controller_request *r);
struct controller_result core_register_broker(struct controller_core *c,
                                              struct controller_request *r);
struct controller_result core_unregister_broker(struct controller_core *c,
                                                struct controller_request *r);
struct controller_result core_heartbeat(struct controller_core *c, struct controller_request *r);
struct controller_result core_broker_refuses(struct controller_core *c,
                                             struct controller_request *r);
struct controller_result core_broker_silent(struct controller_core *c,
                                            struct controller_request *r);
struct controller_result core_alter_partitions(struct controller_core *c,
                                               struct controller_request *r);
struct controller_result core_assign_replicas(struct controller_core *c,
                                              struct controller_request *r);
struct controller_result core_allocate_producer_ids(struct controller_core *c,
                                                    struct controller_request *r);
struct controller_result core_register_controller(struct controller_core *c,
                                                  struct controller_request *r);
struct controller_result core_elect_leaders(struct controller_core *c,
                                            struct controller_request *r);
struct controller_result core_alter_reassignments(struct controller_core *c,
                                                  struct controller_request *r);
struct controller_result core_list_reassignments(struct controller_core *c,
                                                 struct controller_request *r);
struct controller_result core_update_features(struct controller_core *c,
                                              struct controller_request *r);
struct controller_result core_unregister_controller(struct controller_core *c,
                                                    struct controller_request *r);

/* ---- settings ---- */

/* Whether a topic could have these settings. */
struct controller_result core_check_topic_configs(struct controller_core *c, struct arena *a,
                                                  const struct config_set *set);
/* With ELR on, min.insync.replicas needs one value for all brokers: written if it is not there. */
void core_emit_default_min_isr(struct controller_core *c);

/* ---- brokers ---- */

/* The broker when it is registered with that epoch, else NULL: the answer is STALE_BROKER_EPOCH
 * then. */
const struct metadata_broker *core_broker_of_epoch(const struct controller_core *c, int32_t id,
                                                   int64_t epoch);
bool core_broker_active(const struct controller_core *c, int32_t id);
/* Whether what a broker or a controller says of itself can be kept. */
bool core_registration_fits(const struct metadata_listener *listeners, size_t listener_count,
                            const struct metadata_feature_range *features, size_t feature_count);
void core_fence_broker(struct controller_core *c, int32_t id);

/* ---- sessions ---- */

void core_sessions_init(struct controller_core *c, struct controller_deposed deposed);
void core_sessions_free(struct controller_core *c);
/* NULL: none */
struct broker_session *core_session_find(const struct controller_core *c, int32_t id);
struct broker_session *core_session_renew(struct controller_core *c, int32_t id,
                                          int64_t registration_offset);
void core_session_touch(struct controller_core *c, struct broker_session *s,
                        int64_t metadata_offset);
/* Its listener does not answer. */
void core_session_unreached(struct broker_session *s);
void core_session_end(struct controller_core *c, struct broker_session *s);
/* How long a broker may be silent. */
int64_t core_session_ms(const struct controller_core *c, const struct broker_session *s);
/* When the next session ends, or silence becomes worth a look. */
int64_t core_sessions_next_ms(const struct controller_core *c);

/* ---- partitions ---- */

/* Why partitions are looked at again. Brokers not concerned: NO_LEADER. */
struct core_reelection {
    int32_t removed_id;           /* leaves ISRs and may not lead */
    int32_t added_id;             /* may lead although it still counts as fenced */
    int32_t unclean_id;           /* lost records: leaves ISRs and ELRs, and may not lead */
    const struct uuid *directory; /* only replicas of removed_id that lie there; NULL: all */
};

/* A change of one partition that is being made up. Not to be moved. */
struct core_change {
    struct partition_change change;
    const struct controller_core *core;
    struct core_reelection why;
};

/* Everything as it is; the caller then changes what it wants. Unclean elections are allowed if the
 * topic allows them. Resets the scratch arena, which lists for the change may come from. `why`:
 * NULL: nobody comes or goes. */
void core_change_begin(struct controller_core *c, struct core_change *out,
                       const struct metadata_topic *t, int32_t index,
                       const struct core_reelection *why);
/* False: nothing changes. */
bool core_change_emit(struct controller_core *c, const struct core_change *change);

/* Goes over all partitions that this concerns and emits what changes. */
void core_reelect(struct controller_core *c, const struct core_reelection *why);
/* Elections that fall due by themselves: preferred leaders, and unclean ones for who allows
 * them. */
void core_elections_init(struct controller_core *c);
void core_elections_tick(struct controller_core *c);
int64_t core_elections_next_ms(const struct controller_core *c); /* INT64_MAX: never */
/* Unclean elections were allowed to somebody just now. */
void core_elections_hurry(struct controller_core *c);
bool core_leads_anything(const struct controller_core *c, int32_t broker_id);
/* Where a new replica on a broker goes: its only directory, or unassigned until the broker says. */
struct uuid core_default_directory(const struct controller_core *c, int32_t broker_id);

/* Whether these brokers could have replicas of one partition. */
struct controller_result core_check_replicas(const struct controller_core *c, struct arena *a,
                                             struct id_list brokers);

void core_collision_add(struct controller_core *c, struct str name);
void core_collision_remove(struct controller_core *c, struct str name);
/* The topic that `name` collides with; NULL data: none. */
struct str core_collision_find(struct controller_core *c, struct str name);

#endif
