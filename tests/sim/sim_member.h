#ifndef TESTS_SIM_SIM_MEMBER_H
#define TESTS_SIM_SIM_MEMBER_H

/* A member of a group (sim_group.h): looks for the coordinator, joins, is assigned partitions,
 * reads what is committed for those it gained, and commits ever higher offsets for them; leaves,
 * dies without a word, is silent for a while and goes on as if nothing had been; comes back as
 * another one. At an error it does what real clients do. sim_member_classic.c and
 * sim_member_consumer.c have what the two protocols add. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/kerr.h"
#include "storage/executor.h"
#include "tests/sim/sim_checker.h"
#include "tests/sim/sim_connection.h"
#include "tests/sim/sim_random.h"

#define SIM_MEMBER_ID_CHARS 64
#define SIM_MEMBER_PEERS    12

struct sim_group;
struct sim_member;
struct sim_world;

enum sim_member_task {
    SIM_MEMBER_REST,
    SIM_MEMBER_WORK,
    SIM_MEMBER_SETTLE, /* comes and stays, commits nothing */
    SIM_MEMBER_PROVE,  /* reads again what is committed; no loss and no election is under way */
    SIM_MEMBER_GO,     /* goes for good */
};

struct sim_protocol {
    /* The next request of a member that knows its coordinator; none is under way. */
    void (*act)(struct sim_member *m);
    /* Takes its leave; m->id is not empty. */
    void (*leave)(struct sim_member *m);
    /* Asks for the state of the group; sim_member_saw_state gets it. */
    void (*describe)(struct sim_member *m);
    bool by_member; /* each member has an epoch of its own, and partitions move one by one */
};

extern const struct sim_protocol sim_classic_protocol, sim_consumer_protocol;

struct sim_member {
    struct sim_world *world;
    struct sim_group *group;
    const struct sim_protocol *protocol;
    struct sim_random random;
    struct timer timer;
    struct sim_connection *connection;
    enum sim_member_task task;
    bool present; /* runs */
    bool leaving;
    uint64_t life;         /* each time it comes it is another one */
    int64_t turn_us;       /* then it comes or goes */
    int64_t not_before_us; /* silent, or patient */
    int32_t coordinator;   /* node id; -1: to be looked for */
    char id[SIM_MEMBER_ID_CHARS];
    int32_t generation;
    bool joined, assigned;
    uint64_t topic_turn; /* of the group when it joined */
    bool owns[SIM_PARTITIONS_MAX];
    bool fetched[SIM_PARTITIONS_MAX]; /* what is committed is known since it was gained */
    int64_t heartbeat_us, commit_us;  /* due */
    /* the leader of a classic group */
    char peers[SIM_MEMBER_PEERS][SIM_MEMBER_ID_CHARS];
    size_t peer_count; /* 0: it does not lead */
    int32_t assigned_count;
    /* the request under way */
    bool waiting;
    int64_t asked_us, patience_us;
    int32_t asked_in_epoch;                    /* of the coordinator; -1: it has none */
    int32_t asked_generation;                  /* of the group, then */
    int64_t asked_offsets[SIM_PARTITIONS_MAX]; /* a commit's; or what was acknowledged, then */
};

void sim_member_init(struct sim_member *m, struct sim_group *g, const struct sim_protocol *protocol,
                     size_t number);
void sim_member_set(struct sim_member *m, enum sim_member_task task);
void sim_member_free(struct sim_member *m);

/* ---- for protocols ---- */

/* Sends a request to the coordinator; *m remembers what was known then. */
void sim_member_ask(struct sim_member *m, int16_t key, int16_t version, const void *message,
                    sim_answered *answered);
/* It was answered. False: the connection broke instead. */
bool sim_member_answered(struct sim_member *m, const struct sim_answer *a);
/* The coordinator that answered leads by the newest metadata, now as when it was asked. */
bool sim_member_in_office(const struct sim_member *m);
/* An error: does what clients do. */
void sim_member_refused(struct sim_member *m, const char *what, enum kerr code);
/* Nothing is its own any more. */
void sim_member_lose_all(struct sim_member *m);
/* It has gone. */
void sim_member_gone(struct sim_member *m);
/* Whether partitions were gained whose offsets are to be read first; then asks for them. */
bool sim_member_fetches(struct sim_member *m);
/* Likewise whether it is time to commit. */
bool sim_member_commits(struct sim_member *m);
void sim_member_saw_state(struct sim_member *m, struct str state);

#endif
