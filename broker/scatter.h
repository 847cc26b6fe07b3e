#ifndef BROKER_SCATTER_H
#define BROKER_SCATTER_H

/* Asks the owners of partitions something: each entry goes to its shard, run() fills in the answer
 * there, finished() is called at home when all are back. What cannot be answered at once is held,
 * and let go when it is. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/uuid.h"
#include "replication/partition.h"

struct request;
struct scatter_part;

/* First member of what a handler asks of one partition. */
struct scatter_entry {
    struct uuid topic_id;
    int32_t index;
    bool skip; /* answered already: not sent */
    struct scatter_entry *next;
    struct scatter_part *part;
};

struct scatter {
    struct request *rq;
    void *entries; /* count of them, `stride` bytes apart, each beginning with a scatter_entry */
    size_t count;
    size_t stride;
    /* On the owning shard. p NULL: it does not host the partition. */
    void (*run)(struct scatter *s, struct scatter_entry *e, struct partition *p);
    void (*finished)(struct scatter *s); /* at home, maybe within scatter_start */
    struct scatter_part *parts;
    size_t away;
};

/* On the owning shard, from within run(): the entry's answer comes later. Followed by one
 * scatter_let_go, on that shard too, maybe within run(). */
void scatter_hold(struct scatter_entry *e);
void scatter_let_go(struct scatter_entry *e);

/* How large a handler's call is, which begins with its scatter, and each of its entries; and what
 * it does. */
struct scatter_kind {
    size_t call_size;
    size_t entry_size;
    void (*run)(struct scatter *s, struct scatter_entry *e, struct partition *p);
    void (*finished)(struct scatter *s);
};

/* A call with room for `count` entries, all zeroed but the scatter, in the request's arena. NULL:
 * the request is refused. */
void *scatter_create(struct request *rq, const struct scatter_kind *kind, size_t count);

/* False: the arena's budget is spent, nothing done. */
bool scatter_start(struct scatter *s);
/* The same; then the request is refused. */
void scatter_send(struct scatter *s);

#endif
