#ifndef TESTS_SIM_SIM_GROUP_H
#define TESTS_SIM_SIM_GROUP_H

/* A group whose members come and go, as all of them together know it, and what that may never be:
 *
 * - a partition of two members in one generation; by the consumer protocol, of two members at once
 *   whose sessions go on;
 * - a coordinator in office that tells of an older generation than members were assigned in, or a
 *   commit that is acknowledged in an older one. (A generation that members were only told of when
 *   they joined was never written: the next coordinator may count it again, in Apache Kafka too.)
 * - a committed offset below one that was acknowledged. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/sim/sim_checker.h"
#include "tests/sim/sim_member.h"

#define SIM_GROUP_MEMBERS    3
#define SIM_GROUP_SESSION_MS 1500 /* of the consumer protocol */

struct sim_group {
    struct sim_world *world;
    struct sim_random random;
    char name[8];
    struct sim_member members[SIM_GROUP_MEMBERS];
    bool used; /* it subscribes a topic: */
    size_t topic;
    uint64_t turn; /* one more with each other topic */
    /* of that topic's partitions */
    int64_t sent[SIM_PARTITIONS_MAX]; /* rises on, whatever the topic */
    int64_t acknowledged[SIM_PARTITIONS_MAX];
    const struct sim_member *owners[SIM_PARTITIONS_MAX]; /* in `generation`; NULL: nobody yet */
    uint64_t owner_lives[SIM_PARTITIONS_MAX];
    int64_t owned_until_us[SIM_PARTITIONS_MAX]; /* by members: no session ends before */
    int32_t generation;                         /* the newest that a member was assigned in */
    uint64_t assignments;                       /* told, for the summary */
    uint64_t commits;
    bool empty; /* its coordinator said so, when all had gone */
};

void sim_group_init(struct sim_group *g, struct sim_world *w, size_t number);
void sim_group_set(struct sim_group *g, enum sim_member_task task);
void sim_group_free(struct sim_group *g);

struct sim_topic *sim_group_topic(const struct sim_group *g);
/* Has it a topic? Turns to another one when its own is gone. */
bool sim_group_subscribes(struct sim_group *g);

/* A member was told what is its own in its generation. */
void sim_group_assigned(struct sim_group *g, const struct sim_member *m);
/* Of a group whose partitions move one by one: a coordinator in office gave the member a partition,
 * which nobody may have whose session cannot have ended; the member gave it back; its session was
 * renewed; it was told of its epoch. */
void sim_group_gained(struct sim_group *g, const struct sim_member *m, int32_t partition);
void sim_group_gave_back(struct sim_group *g, const struct sim_member *m, int32_t partition);
void sim_group_renewed(struct sim_group *g, const struct sim_member *m);
void sim_group_saw_epoch(struct sim_group *g, const struct sim_member *m);
/* A coordinator in office says that the group is in the member's generation. */
void sim_group_saw_generation(struct sim_group *g, const struct sim_member *m, const char *where);
/* The member's commit was acknowledged in its generation. */
void sim_group_committed(struct sim_group *g, const struct sim_member *m, int32_t partition,
                         int64_t offset);
/* What the partition's committed offset is said to be; must: it may not be below `floor`, which was
 * acknowledged when it was asked for. */
void sim_group_saw_offset(struct sim_group *g, int32_t partition, int64_t offset, int64_t floor,
                          bool must);

/* All members are of one generation, and each partition is some member's. False: why not. */
bool sim_group_settled(struct sim_group *g, char *why, size_t size);
/* All have read what is committed since they were told to prove it. */
bool sim_group_proved(const struct sim_group *g);
/* All have gone, and the coordinator knows it. */
bool sim_group_over(const struct sim_group *g);

#endif
