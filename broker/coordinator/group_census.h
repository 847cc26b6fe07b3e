#ifndef BROKER_COORDINATOR_GROUP_CENSUS_H
#define BROKER_COORDINATOR_GROUP_CENSUS_H

/* Asks every coordinator of this node for its groups: those in memory from the core, all others
 * from the state store.
 *
 *   home -> each shard: one coordinator after the other (in the pool, then on the shard) -> home
 *
 * All is in the request's memory. */

#include <stdbool.h>
#include <stddef.h>

#include "broker/coordinator/group_core.h"

struct group_census;
struct request;

#define GROUP_CENSUS_PAGE 64

struct group_census_page {
    struct group_census_page *next;
    size_t count;
    struct group_listed groups[GROUP_CENSUS_PAGE];
};

struct group_census_part {
    struct group_census_page *pages; /* text and all in an arena of the request */
};

struct group_census {
    struct request *rq;
    /* On any thread; looks at the request only. */
    bool (*wants)(const struct group_census *c, const struct group_listed *g);
    void (*finished)(struct group_census *c); /* at home */
    /* the answer */
    enum kerr code; /* COORDINATOR_LOAD_IN_PROGRESS: one of them is not ready */
    size_t count;
    struct group_census_part *parts;
    size_t part_count;
    size_t away;
};

/* False: the request's arena is spent, nothing done. */
bool group_census_start(struct group_census *c);

#endif
