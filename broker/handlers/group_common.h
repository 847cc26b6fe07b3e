#ifndef BROKER_HANDLERS_GROUP_COMMON_H
#define BROKER_HANDLERS_GROUP_COMMON_H

/* What the handlers of groups share. */

#include "broker/coordinator/group_scatter.h"
#include "broker/request.h"

/* For fields that cannot be null on the wire. */
static inline struct str group_or_empty(struct str s)
{
    return s.data ? s : STR("");
}

static inline struct bytes group_bytes_or_empty(struct bytes b)
{
    return b.data ? b : (struct bytes){(const uint8_t *)"", 0};
}

/* A scatter of plain entries, one a name, in the request's arena; call, run and finished are for
 * the caller to fill. NULL: the arena is spent. */
static inline struct group_scatter *group_scatter_of_names(struct request *rq,
                                                           const struct str *names, size_t count)
{
    struct group_scatter *g = arena_array(&rq->arena, struct group_scatter, 1);
    struct group_entry *entries = arena_array(&rq->arena, struct group_entry, count);

    if (!g || !entries)
        return NULL;
    for (size_t i = 0; i < count; i++)
        entries[i].group = names[i];
    *g = (struct group_scatter){
        .rq = rq, .entries = entries, .count = count, .stride = sizeof *entries};
    return g;
}

#endif
