#ifndef BROKER_COORDINATOR_GROUP_SCATTER_H
#define BROKER_COORDINATOR_GROUP_SCATTER_H

/* Requests about groups, on their way to the shards whose coordinators have them, and back.
 *
 *   home: split by owning shard -> owner: the group is loaded, one step of its core, (its write
 *   commits) -> home: all parts are back, answer
 *
 * All is in the request's memory; an owner touches its entries only between the two posts. A
 * connection that closes meanwhile changes nothing here. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/coordinator/group_core.h"
#include "protocol/base/status.h"

struct coordinator;
struct group_part;
struct group_scatter;
struct request;
struct state_store;

/* First member of what a handler asks about one group. */
struct group_entry {
    struct group_caller caller; /* first: the core gives it back. Its code and answer count once
                                 * the entry is home */
    struct str group;
    bool skip; /* answered already: not sent */
    /* ---- the coordinator's while it is on its way ---- */
    struct group_scatter *scatter;
    struct group_part *part;
    int32_t partition; /* of __consumer_offsets */
    struct group_entry *part_next;
    struct group_entry *prev, *next; /* in whatever it waits for */
    int64_t deadline_us;             /* while its write is under way */
};

/* How an entry is answered. */
enum group_need {
    GROUP_NEED_STEP,    /* by run(), once the group is loaded */
    GROUP_NEED_OFFSETS, /* by run(), once it is settled as well and all of its offsets were read */
    GROUP_NEED_STORE,   /* by read(), once it is loaded */
    GROUP_NEED_SETTLED_STORE, /* by read(), once it is settled as well: nothing newer is under
                               * way */
};

/* All offsets that are stored of a group. */
struct offset_list {
    const struct group_stored_offset *offsets;
    size_t count;
};

struct group_scatter {
    struct request *rq;
    void *entries; /* count of them, `stride` bytes apart, each beginning with a group_entry */
    size_t count;
    size_t stride;
    enum group_call call;
    enum group_need need;
    /* On the owning shard: one step of its core. `offsets` only with GROUP_NEED_OFFSETS. */
    void (*run)(struct group_entry *e, struct group_core *core, int64_t now_ms,
                const struct offset_list *offsets, struct group_effects *fx);
    /* On the owning shard, before read(): whether it may. Anything but NONE is the answer. */
    enum kerr (*check)(struct group_entry *e, const struct group_core *core);
    /* Fills the answer, in caller.arena: on the shard first; when that set *would_block, once more
     * from the start in the pool, with NULL. */
    struct status (*read)(struct group_entry *e, struct state_store *store, bool *would_block);
    void (*finished)(struct group_scatter *g); /* at home, maybe within group_scatter_start */
    struct group_part *parts;
    size_t away;
};

/* Sends every entry to its group's coordinator. False: the arena's budget is spent, nothing
 * done. */
bool group_scatter_start(struct group_scatter *g);

/* On the owner: the entry is answered (caller.code and the answer are filled). */
void group_entry_done(struct group_entry *e);

#endif
