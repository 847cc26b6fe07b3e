#ifndef TESTS_UNIT_BROKER_COORDINATOR_GROUP_MEMBERS_H
#define TESTS_UNIT_BROKER_COORDINATOR_GROUP_MEMBERS_H

/* Members of the new protocol (KIP-848) in a group world, and what must hold of consumer groups. */

#include "tests/unit/broker/coordinator/group_world.h"

enum { MEMBER_PARTITIONS_MAX = 256, GROUP_MEMBERS_MAX = 64 };

struct member_part {
    struct uuid topic;
    int32_t partition;
};

struct member_parts {
    struct member_part items[MEMBER_PARTITIONS_MAX];
    size_t count;
};

/* What a client knows and is configured to; tests set fields as they like. */
struct group_member {
    char name[32];
    char group[64];
    char id[64];       /* of its own making, as clients make them */
    char instance[32]; /* "": dynamic */
    char topics[128];  /* "t+u"; "": an empty list; "-": null */
    char regex[64];    /* "-": null */
    char assignor[32]; /* "": null */
    char rack[32];     /* "": null */
    int32_t rebalance_ms;
    bool lazy;         /* gives partitions back only when told to (member_gives_back) */
    bool silent_owned; /* does not say what it has */
    bool old;          /* version 0: the coordinator makes the id */
    /* learnt */
    int32_t epoch;                /* to be sent next */
    struct member_parts owned;    /* what it works on */
    struct member_parts assigned; /* what it was told to */
    bool full;                    /* tells everything next */
    bool waiting;
    enum kerr code; /* of the last answer */
    char message[256];
    int32_t interval_ms;
    bool got_assignment;     /* the last answer had one */
    struct world_call *call; /* under way */
};

/* How classic leaders assign: all partitions of what their first protocol says, in turn. `twice`:
 * each to everybody; `user_data`: with some. */
struct classic_assignor {
    bool twice, user_data;
};

struct group_members {
    struct group_world *w;
    struct group_member all[GROUP_MEMBERS_MAX];
    size_t count;
    bool lose; /* answers get lost */
    struct classic_assignor classic;
    struct client_parts {
        const struct world_client *client;
        char has[512];
    } clients[GROUP_MEMBERS_MAX];
    size_t client_count;
};

/* One a world: the world's hooks are taken. */
void group_members_init(struct group_members *all, struct group_world *w);
/* Made when new, in group "g", subscribed to "t". */
struct group_member *group_member(struct group_members *all, const char *name);
/* Joins, goes on, or (leaving) goes: -1 for good, -2 for a while. */
void member_heartbeat(struct group_members *all, struct group_member *m);
void member_leaves(struct group_members *all, struct group_member *m, int32_t epoch);
/* It stops working on what it no longer has. */
void member_gives_back(struct group_member *m);
/* A commit with the epoch it has, and version 9. */
enum kerr member_commits(struct group_members *all, struct group_member *m, int32_t epoch,
                         const char *topic, int32_t partition);
/* "t-0 t-1": rising; static buffer. */
const char *member_has(const struct group_members *all, const struct group_member *m);

/* Classic leaders hand out real assignments from now on. */
void classic_assigns(struct group_members *all, struct classic_assignor how);
/* What the last SyncGroup answer of the client gave it, as member_has says it; static buffer. */
const char *client_has(struct group_members *all, const struct world_client *c);

/* New metadata reach the core. */
void world_new_image(struct group_world *w);
/* The expressions that the core wanted are resolved, if any; the answer comes in a step of its
 * own. */
bool world_resolve_regex(struct group_members *all);

/* All that must hold of a consumer group inside the core. */
void check_consumer_group(const struct group_world *w, const struct group *g);
/* "consumer Stable epoch 3 members a@3 t-0 t-1; …": a member's epoch, what it has, (gives back),
 * [is to have but has not]. */
void text_of_consumer_group(const struct group_world *w, const struct group *g, char *out,
                            size_t size);
/* That what `live` is and what was loaded from its records are the same. */
void same_consumer_group(const struct group_world *w, const struct group *live,
                         const struct group *loaded);

#endif
