#include "tests/sim/sim_plant.h"

#include "broker/coordinator/group_classic.h"
#include "broker/coordinator/group_consumer.h"
#include "protocol/base/check.h"
#include "replication/partition_follow.h"
#include "replication/quorum_state.h"
#include "replication/raft_core.h"
#include "replication/reassignment.h"
#include "storage/log.h"
#include "storage/state_store_sim.h"

#define MARKS_MAX 16 /* more than a node of the simulator has internal partitions */

const char *const sim_plant_names[SIM_PLANT_COUNT] = {
    [SIM_PLANT_NONE] = "none",
    [SIM_PLANT_TRUNCATION] = "truncation",
    [SIM_PLANT_EARLY_ACK] = "early-ack",
    [SIM_PLANT_VOTE] = "second-vote",
    [SIM_PLANT_VOTES] = "double-vote",
    [SIM_PLANT_FSYNC] = "fsync",
    [SIM_PLANT_ISR] = "removed-in-isr",
    [SIM_PLANT_STATE] = "torn-state",
    [SIM_PLANT_GENERATION] = "generation",
    [SIM_PLANT_OWNER] = "two-owners",
};

static enum sim_plant planted;

void sim_plant(enum sim_plant plant)
{
    planted = plant;
}

struct fetcher_position __real_partition_follow_position(const struct partition *p);
bool __real_partition_truncate(struct partition *p, const struct fetcher_cut *cut);
bool __real_partition_wait(struct partition *p, struct watermark_waiter *w);
struct status __real_quorum_state_write(struct files *fs, const char *path,
                                        const struct raft_election *election);
void __real_raft_core_step(struct raft_core *c, const struct raft_event *ev, int64_t now_ms,
                           struct raft_effects *fx);
struct status __real_log_flush_run(struct log_flush *f);
bool __real_reassignment_complete(struct reassignment *r, struct id_list *isr, struct arena *a);
size_t __real_state_store_sim_crash(struct state_store *s);
void __real_classic_group_loaded(struct group_core *c, struct group *g);
struct consumer_member *__real_consumer_owner(const struct consumer_group *cg, struct uuid topic,
                                              int32_t partition);

struct fetcher_position __wrap_partition_follow_position(const struct partition *p);
bool __wrap_partition_truncate(struct partition *p, const struct fetcher_cut *cut);
bool __wrap_partition_wait(struct partition *p, struct watermark_waiter *w);
struct status __wrap_quorum_state_write(struct files *fs, const char *path,
                                        const struct raft_election *election);
void __wrap_raft_core_step(struct raft_core *c, const struct raft_event *ev, int64_t now_ms,
                           struct raft_effects *fx);
struct status __wrap_log_flush_run(struct log_flush *f);
bool __wrap_reassignment_complete(struct reassignment *r, struct id_list *isr, struct arena *a);
size_t __wrap_state_store_sim_crash(struct state_store *s);
void __wrap_classic_group_loaded(struct group_core *c, struct group *g);
struct consumer_member *__wrap_consumer_owner(const struct consumer_group *cg, struct uuid topic,
                                              int32_t partition);

/* It does not say which epoch its log ends with … */
struct fetcher_position __wrap_partition_follow_position(const struct partition *p)
{
    struct fetcher_position at = __real_partition_follow_position(p);

    if (planted == SIM_PLANT_TRUNCATION)
        at.last_epoch = -1;
    return at;
}

/* … and cuts nothing. */
bool __wrap_partition_truncate(struct partition *p, const struct fetcher_cut *cut)
{
    const struct fetcher_cut none = {.offset = log_end_offset(p->log)};

    return __real_partition_truncate(p, planted == SIM_PLANT_TRUNCATION ? &none : cut);
}

bool __wrap_partition_wait(struct partition *p, struct watermark_waiter *w)
{
    return planted == SIM_PLANT_EARLY_ACK || __real_partition_wait(p, w);
}

struct status __wrap_quorum_state_write(struct files *fs, const char *path,
                                        const struct raft_election *election)
{
    struct raft_election written = *election;

    if (planted == SIM_PLANT_VOTE)
        written.voted.id = RAFT_NO_NODE;
    return __real_quorum_state_write(fs, path, &written);
}

void __wrap_raft_core_step(struct raft_core *c, const struct raft_event *ev, int64_t now_ms,
                           struct raft_effects *fx)
{
    if (planted == SIM_PLANT_VOTES && ev->type == RAFT_VOTE_REQUEST && !ev->vote_request.pre_vote &&
        ev->vote_request.epoch == c->election.epoch && c->role != RAFT_LEADER &&
        c->role != RAFT_FOLLOWER) {
        c->election.voted.id = RAFT_NO_NODE;
        c->role = RAFT_UNATTACHED;
    }
    __real_raft_core_step(c, ev, now_ms, fx);
}

struct status __wrap_log_flush_run(struct log_flush *f)
{
    bool placed;
    struct status st;

    if (planted != SIM_PLANT_FSYNC)
        return __real_log_flush_run(f);
    st = log_flush_write(f);
    return status_failed(st) ? st : log_flush_place(f, true, &placed);
}

bool __wrap_reassignment_complete(struct reassignment *r, struct id_list *isr, struct arena *a)
{
    const struct id_list before = *isr;
    bool complete = __real_reassignment_complete(r, isr, a);

    if (planted == SIM_PLANT_ISR)
        *isr = before;
    return complete;
}

struct marks {
    struct state_partition partitions[MARKS_MAX];
    struct state_mark marks[MARKS_MAX];
    size_t count;
};

static bool take_mark(void *arg, struct state_partition p, const struct state_mark *mark)
{
    struct marks *m = arg;

    m->partitions[m->count] = p;
    m->marks[m->count++] = *mark;
    return m->count < MARKS_MAX;
}

/* The marks outlive the crash, what they stand for does not: families that are not flushed as
 * one. */
size_t __wrap_state_store_sim_crash(struct state_store *s)
{
    struct marks m = {.count = 0};
    struct state_batch *b;
    size_t left;

    if (planted != SIM_PLANT_STATE)
        return __real_state_store_sim_crash(s);
    (void)state_store_list_marks(s, take_mark, &m);
    left = __real_state_store_sim_crash(s);
    b = state_batch_new(s);
    CHECK(b != NULL);
    for (size_t i = 0; i < m.count; i++)
        state_batch_set_mark(b, m.partitions[i], &m.marks[i]);
    (void)state_batch_commit(b, NULL);
    state_batch_free(b);
    return left;
}

void __wrap_classic_group_loaded(struct group_core *c, struct group *g)
{
    if (planted == SIM_PLANT_GENERATION)
        g->classic->generation = 0;
    __real_classic_group_loaded(c, g);
}

struct consumer_member *__wrap_consumer_owner(const struct consumer_group *cg, struct uuid topic,
                                              int32_t partition)
{
    return planted == SIM_PLANT_OWNER ? NULL : __real_consumer_owner(cg, topic, partition);
}
