#ifndef TOOLS_TRIVET_GROUP_H
#define TOOLS_TRIVET_GROUP_H

/* What the files of `trivet group` share: a group as its coordinator and the leaders of its
 * partitions see it. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/arena.h"
#include "protocol/base/span.h"
#include "tools/trivet/cluster.h"

struct group_member_view {
    struct str id, instance, client_id, host, protocol; /* protocol: "classic" or "consumer" */
    size_t partition_count;
};

/* A partition that the group has committed to, or that one of its members owns. */
struct group_offset_view {
    struct str topic;
    int32_t partition;
    int64_t committed; /* -1: never */
    int64_t start;     /* log start; -1: not known */
    int64_t end;       /* high watermark; -1: not known */
    struct str metadata;
    const struct group_member_view *owner; /* NULL: nobody */
};

struct group_view {
    struct str group, state, type, assignor;
    int32_t coordinator;
    int32_t epoch; /* generation, or group epoch; -1: not told */
    struct group_member_view *members;
    size_t member_count;
    struct group_offset_view *offsets; /* by topic and partition */
    size_t offset_count;
};

/* Asks for everything about a group; all of *out lives in the arena. False, with a sentence on
 * stderr. may_be_new: a group that is not there is no failure, but one without members and
 * offsets. */
bool group_view_load(struct cluster *c, struct str group, struct arena *a, bool may_be_new,
                     struct group_view *out);

/* Sends a request about a group to its coordinator, again while that one is not ready. code() finds
 * the answer's error. False, with a sentence on stderr; an error that stays is told by the caller,
 * from response. */
bool group_call(struct cluster *c, struct str group, int16_t key, int16_t version_max,
                const void *request, void *response, int16_t (*code)(const void *response));

/* trivet group reset-offsets */
enum reset_to {
    RESET_NOWHERE,
    RESET_EARLIEST,
    RESET_LATEST,
    RESET_TIME,
    RESET_OFFSET,
    RESET_SHIFT
};

#define RESET_TOPICS_MAX 64

struct reset_arguments {
    enum reset_to to;
    int64_t value; /* ms since 1970, offset, or by how much */
    const char *
        topics[RESET_TOPICS_MAX]; /* "topic" or "topic:0,2,5"; none: all that it has committed to */
    size_t topic_count;
    bool execute; /* else only shows what would be done */
};

/* The exit status. */
int group_reset(struct cluster *c, struct str group, const struct reset_arguments *r);

#endif
