#ifndef BROKER_COORDINATOR_COORDINATOR_INTERNAL_H
#define BROKER_COORDINATOR_COORDINATOR_INTERNAL_H

/* What the files of the coordinator's runtime share.
 *
 *   coordinators.c          the shard's coordinators, timers, where requests arrive
 *   coordinator.c           one of them: who leads, the core's life, carrying out its effects
 *   coordinator_write.c     records to batches, appends, answers that wait for them
 *   coordinator_gate.c      a group that is being loaded, settled, read: its requests wait
 *   coordinator_store.c     what the state store knows of one group
 *   coordinator_scan.c      groups that have members are loaded after taking over; offsets expire,
 *                           or lose their topic
 *   coordinator_read.c      answers out of the state store
 *   regex_job.c             subscriptions by regular expression
 *
 * One coordinator:
 *
 *   following --(we lead)--> loading --(high watermark reached the log end of then,--> active
 *       ^                      ^  |      and is applied)                                 |
 *       |                      |  |                                                      |
 *       |                      |  +--(an append failed, out of memory, the store reset)--+
 *       +---------(we no longer lead)----------------------------------------------------+
 *
 * Leaving `active` throws the core away, and answers everybody who waits. */

#include <uthash.h>

#include "broker/coordinator/applier.h"
#include "broker/coordinator/coordinator_options.h"
#include "broker/coordinator/coordinators.h"
#include "broker/coordinator/group_core.h"
#include "broker/coordinator/group_scatter.h"
#include "broker/coordinator/regex_job.h"
#include "protocol/record_batch_build.h"
#include "storage/group_state.h"

enum coordinator_state { COORDINATOR_FOLLOWING, COORDINATOR_LOADING, COORDINATOR_ACTIVE };

struct coordinator_key {
    struct uuid topic_id;
    int32_t index;
};

/* A batch in the log that is not committed and applied yet. */
struct coordinator_write {
    struct coordinator_write *next;
    int64_t write_id; /* the last one in the batch */
    int64_t end_offset;
};

struct group_gate;
struct coordinator_scan;

struct coordinator {
    UT_hash_handle hh;
    struct coordinator_key id;
    struct coordinators *all;
    struct partition *partition; /* NULL: gone, only tasks are still to come back */
    struct partition_watcher watcher;
    struct applier *applier;
    enum coordinator_state state;
    int32_t epoch;           /* of the leadership that state is about */
    int64_t load_until;      /* loading: becomes active once all below is applied */
    struct group_core *core; /* active */
    struct group_effects fx;
    struct task look_task;
    bool look_posted;
    /* coordinator_write.c */
    struct record_batch_builder builder;
    struct writer keys, values; /* of the records of a step */
    bool open;                  /* there are records in the builder */
    struct task append_task;
    bool append_posted;
    /* the last write that is, to its end, in the builder or further; in the log or further; in the
     * state store */
    int64_t open_write, appended_write, committed_write;
    struct coordinator_write *writes, *last_write;
    struct group_entry *answers; /* given back by the core, waiting for their writes; in the
                                  * order of these */
    /* coordinator_gate.c */
    struct group_gate *gates; /* by group */
    size_t gated;             /* requests that wait at gates */
    /* coordinator_scan.c */
    struct coordinator_scan *scan; /* under way; NULL: none */
    int64_t expiry_us;             /* when offsets are looked through next */
    bool topics_deleted; /* offsets may be left of topics that are gone: to be looked through */
    int64_t topics_deleted_write; /* once this write is in the store: commits from before must be
                                   * seen */
};

/* Why stored groups are gone through. */
enum coordinator_scan_kind {
    SCAN_MEMBERS, /* those with members are loaded: their sessions run */
    SCAN_EXPIRED, /* offsets that have expired are dropped, and groups of which nothing is left */
    SCAN_DELETED, /* offsets of deleted topics are dropped */
};

struct coordinators {
    struct shard *shard;
    struct loop *loop;
    struct state_store *store; /* NULL: not open */
    uint64_t generation;       /* of the store, when we were told of it */
    struct coordinator *all;
    const struct coordinator_options *options;
    struct applier_env applier_env;
    size_t jobs;             /* in the pool */
    struct timer tick_timer; /* the cores' deadlines */
    int64_t tick_at_ms;      /* INT64_MAX: not set */
    struct timer sweep_timer;
    bool sweeping;
    size_t listings; /* that look at all groups, page by page: meanwhile none is let go, or it
                      * would be in neither place */
    struct timer linger_timer;
    bool lingering;
    struct regex_queue regexes;
    int32_t heartbeat_interval_ms; /* what the cores were told last */
    int64_t paced_us;              /* shard 0: when the node's heartbeats were counted last */
    bool stopped;                  /* nothing is added any more */
};

int64_t coordinators_now_ms(const struct coordinators *all);
/* What the wall clock shows when coordinators_now_ms is 0, for the timestamps in group records. */
int64_t coordinators_wall_offset_ms(const struct coordinators *all);
/* A job of ours goes to the pool, came back. */
void coordinators_job_started(struct coordinators *all);
void coordinators_job_ended(struct coordinators *all);
/* A core wants a tick at at_ms. */
void coordinators_schedule(struct coordinators *all, int64_t at_ms);
/* The store answered with a failure. */
void coordinators_store_failed(struct coordinators *all);
/* The settings of a group: its own over the broker's. */
void coordinators_group_config(const struct coordinators *all, struct str group,
                               struct group_config *out);
/* A member of a consumer group was heard. */
void coordinators_count_heartbeat(struct coordinators *all);

/* ---- coordinator.c ---- */

struct coordinator *coordinator_create(struct coordinators *all, struct partition *p);
/* Answers everybody, leaves the partition. */
void coordinator_free(struct coordinator *c);
/* A request about a group arrives; it waits, or goes on to coordinator_perform. */
void coordinator_admit(struct coordinator *c, struct group_entry *e);
/* Its group is loaded and nothing is in the way. */
void coordinator_perform(struct coordinator *c, struct group_entry *e);
/* One step that a request asks for, and its effects. */
void coordinator_run(struct coordinator *c, struct group_entry *e,
                     const struct offset_list *offsets);
/* Carries out c->fx, after each step. */
void coordinator_carry_out(struct coordinator *c);
/* Throws the core away; it is made anew once everything appended so far is applied. `code` is for
 * those whose write did not get into the log; everybody else who waits gets NOT_COORDINATOR. */
void coordinator_restart(struct coordinator *c, enum kerr code);
/* Loads, resigns or becomes active, as the partition, the applier and the store are now. */
void coordinator_look(struct coordinator *c);
void coordinator_look_later(struct coordinator *c);
/* Answers an entry on this shard. */
void coordinator_answer(struct group_entry *e, enum kerr code);
/* At the begin of each task of c: true when the partition is gone, and now maybe c too. */
bool coordinator_forgotten(struct coordinator *c);

/* ---- coordinator_write.c ---- */

void coordinator_write_init(struct coordinator *c);
/* Adds the step's records to the batch that is appended next. False: the core cannot go on
 * (coordinator_restart was called). */
bool coordinator_write_records(struct coordinator *c);
/* Takes what the core gave back; it leaves once its write is committed and applied. */
void coordinator_write_answers(struct coordinator *c, struct group_caller *answered);
/* Appends the batch that is open, if any. */
void coordinator_write_append(struct coordinator *c);
/* Everything below `applied` is in the state store. */
void coordinator_write_applied(struct coordinator *c, int64_t applied);
/* Answers those who have waited longer than offsets.commit.timeout.ms. */
void coordinator_write_expire(struct coordinator *c, int64_t now_us);
/* The core goes: answers all, forgets all. */
void coordinator_write_drop(struct coordinator *c, enum kerr code);
void coordinator_write_free(struct coordinator *c);

/* ---- coordinator_store.c: what is stored of groups; names and all go into the arena.
 * INVALID_REQUEST: it is spent. ---- */

/* All offsets of a group; would_block as in state_store.h. */
struct status coordinator_store_offsets(struct state_store *s, int32_t partition, struct str group,
                                        struct arena *a, struct offset_list *out,
                                        bool *would_block);
/* [pool] The next groups, from position on, that are more than offsets: some of them have
 * members. */
struct status coordinator_store_members(struct state_store *s, int32_t partition,
                                        struct state_position *position, struct arena *a,
                                        struct str *names, size_t max, size_t *count);
/* [pool] The next groups that have an offset committed before expired_before_ms, or one whose own
 * time is over; or no offset at all. */
struct status coordinator_store_expired(struct state_store *s, int32_t partition,
                                        int64_t expired_before_ms, int64_t now_ms,
                                        struct state_position *position, struct arena *a,
                                        struct str *names, size_t max, size_t *count);
/* [pool] The next groups that have an offset of a topic that is deleted, as the image has it. */
struct status coordinator_store_deleted(struct state_store *s, int32_t partition,
                                        const struct metadata_image *image,
                                        struct state_position *position, struct arena *a,
                                        struct str *names, size_t max, size_t *count);
/* [pool] The next groups, as they would be listed. */
struct status coordinator_store_list(struct state_store *s, int32_t partition,
                                     struct state_position *position, struct arena *a,
                                     struct group_listed *groups, size_t max, size_t *count);

/* ---- coordinator_gate.c ---- */

/* Waits at the gate of its group, if there is one. */
bool coordinator_gate_queue(struct coordinator *c, struct group_entry *e);
/* The group is not loaded: e waits until it is. */
void coordinator_gate_load(struct coordinator *c, struct group_entry *e);
/* e (its group is loaded) is performed once the group is settled, and (GROUP_NEED_OFFSETS) its
 * offsets are read. */
void coordinator_gate_settle(struct coordinator *c, struct group_entry *e);
/* Loads a group for its own sake, and does what the scan is for. `done` is called when that is
 * over; not when the core goes. False: out of memory, or the group is busy: nothing done. */
bool coordinator_gate_scan(struct coordinator *c, struct str group, enum coordinator_scan_kind kind,
                           void (*done)(struct coordinator *c));
/* Writes are committed: groups may be settled now. */
void coordinator_gate_committed(struct coordinator *c);
void coordinator_gate_expire(struct coordinator *c, int64_t now_us);
void coordinator_gate_drop(struct coordinator *c, enum kerr code);

/* ---- coordinator_scan.c ---- */

/* The core is new: loads every group that has members, bit by bit. */
void coordinator_scan_members(struct coordinator *c);
/* Goes through the committed offsets if it is time. */
void coordinator_scan_expiry(struct coordinator *c, int64_t now_us);
/* Topics were deleted, or may have been while nobody led: their offsets go, as soon as what is
 * appended now is in the store. */
void coordinator_scan_topics_deleted(struct coordinator *c);
/* Goes through the committed offsets for that, if it is to be done and can be now. */
void coordinator_scan_deleted(struct coordinator *c);
void coordinator_scan_drop(struct coordinator *c);

/* ---- coordinator_read.c ---- */

/* e's answer comes from the store. */
void coordinator_read(struct coordinator *c, struct group_entry *e);

#endif
