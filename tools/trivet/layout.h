#ifndef TOOLS_TRIVET_LAYOUT_H
#define TOOLS_TRIVET_LAYOUT_H

/* Who has what: brokers with their zones, and partitions with their replicas, as the cluster tells
 * it now. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/arena.h"
#include "protocol/base/span.h"
#include "replication/metadata_image.h"
#include "tools/trivet/cluster.h"

struct layout_broker {
    int32_t id;
    struct str host;
    int32_t port;
    struct str zone; /* broker.rack; empty: none */
    bool fenced;
    /* of its partitions */
    size_t leads, replicas, in_sync;
    /* of its log directories; -1: not told */
    int64_t log_bytes, usable_bytes;
};

struct layout_partition {
    struct str topic;
    int32_t index;
    int32_t leader; /* -1: none */
    int32_t leader_epoch;
    struct id_list replicas, isr, elr;
    int64_t *ends;      /* of each replica: its log end; -1: not told */
    int64_t size_bytes; /* of the leader's log; -1: not told */
};

struct layout {
    struct str cluster_id;
    struct layout_broker *brokers; /* by id */
    size_t broker_count;
    struct layout_partition *partitions; /* by topic and index */
    size_t partition_count;
};

enum layout_detail {
    LAYOUT_PLACES, /* who has what */
    LAYOUT_LOGS,   /* and what each broker says of its log directories and logs */
};

/* Asks for it; all lives in the arena. False, with a sentence on stderr. A broker that cannot be
 * asked for its directories is no failure. */
bool layout_load(struct cluster *c, enum layout_detail detail, struct arena *a, struct layout *out);

/* How far the log of the i-th replica ends before its leader's; -1: one of them was not told. */
int64_t layout_lag(const struct layout_partition *p, size_t i);

/* NULL: no such broker. */
const struct layout_broker *layout_broker(const struct layout *l, int32_t id);

/* "1/az-1,2/az-2" on standard output; "-" for none. */
void layout_print_ids(const struct layout *l, struct id_list ids);

#endif
