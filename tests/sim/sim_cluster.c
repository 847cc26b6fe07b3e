/* A seed of a cluster: several machines with a whole node each, voters of one metadata quorum, on
 * one network.
 *
 *   all start -> work under faults -> everything heals, all start that do not run -> live again ->
 *   proof -> clean end
 *
 * Under faults any number of machines are killed, lose their page cache, are stopped, stand still,
 * are cut off one way or both, have a slow, full or failing disk, or a clock that jumps; messages
 * are late or lost. */

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

#include "broker/control.h"
#include "broker/shard.h"
#include "protocol/base/check.h"
#include "replication/metadata_image.h"
#include "replication/raft_node.h"
#include "tests/sim/sim_world.h"

#define SECONDS_DEFAULT 12
/* once nothing is wrong any more, all is well within this */
#define LIVE_US           (30 * 1000 * 1000)
#define READ_US           (60 * 1000 * 1000)
#define PROOF_US          (30 * 1000 * 1000)
#define AFTERMATH_US      (3 * 1000 * 1000) /* what was lost before is given up by then */
#define CALM_US           (5 * 1000 * 1000)
#define STOP_US           (60 * 1000 * 1000)
#define LINGER_US         (2 * 1000 * 1000)
#define DRAIN_US          (20 * 1000 * 1000)
#define FAREWELL_US       50000
#define SLICE_US          20000
#define OFF_US_MAX        (4 * 1000 * 1000)
#define PAUSE_US_MAX      (4 * 1000 * 1000)
#define DELAY_US_MAX      (400 * 1000)
#define LOSS_PERMILLE_MAX 150

/* ---- processes ---- */

static void set_phase(struct sim_machine *m, enum sim_phase phase)
{
    m->phase = phase;
    m->phase_us = m->world->sched.now_us;
}

static void free_ghost(struct sim_machine *m)
{
    if (m->ghost)
        sim_node_free(m->ghost);
    m->ghost = NULL;
}

/* The process is gone, or the machine with it; it starts again some time later. Where
 * acknowledgements do not wait for the disk, machines stand: nothing is promised to outlive one. */
static void die(struct sim_machine *m, bool with_machine)
{
    struct sim_world *w = m->world;

    with_machine = with_machine && w->checker.flush_before_ack;
    free_ghost(m);
    sim_node_died(m->node);
    with_machine = sim_machine_lose(m, with_machine);
    sim_trace_say(&w->trace, "-- %s %u dies", with_machine ? "machine" : "process", m->index);
    m->ghost = m->node;
    m->ghost_until_us = w->sched.now_us + FAREWELL_US;
    m->node = NULL;
    set_phase(m, SIM_OFF);
    m->phase_us += (int64_t)sim_random_below(&w->random, OFF_US_MAX);
    if (with_machine && sim_random_chance(&w->random, 50))
        w->net.powerless[m->index] = true;
}

/* May die within; then it is `run` that goes on. */
static void start(struct sim_machine *m)
{
    struct sim_world *w = m->world;
    struct sim_life life = sim_machine_next_life(m, &w->random);
    struct status st;

    free_ghost(m);
    life.sets = m->sets;
    life.set_count = m->set_count;
    sim_trace_say(&w->trace,
                  "-- machine %u starts a process: boot %llu, %zu shards, %zu threads in the pool",
                  m->index, (unsigned long long)life.boot, life.shard_count, life.pool_threads);
    w->net.powerless[m->index] = false;
    m->node = sim_node_new(m, &life);
    set_phase(m, SIM_STARTING);
    st = sim_node_begin(m->node, &life);
    if (!status_failed(st))
        return;
    if (!m->hurt)
        sim_world_fail(w, "machine %u: a start failed: %s, %s, errno %d", m->index, st.where,
                       kerr_name(st.code), st.sys_errno);
    die(m, false);
}

static void on_stopped(void *arg)
{
    ((struct sim_node *)arg)->stopped = true;
}

static void stop(struct sim_machine *m)
{
    struct sim_heap *before;

    sim_trace_say(&m->world->trace, "-- node %u is stopped", m->index);
    set_phase(m, SIM_STOPPING);
    before = sim_heap_switch(&m->node->heap);
    node_stop(m->node->node, on_stopped, m->node);
    sim_heap_switch(before);
}

static void end(struct sim_machine *m)
{
    sim_node_end(m->node);
    sim_machine_lose(m, false);
    sim_node_free(m->node);
    m->node = NULL;
    sim_trace_say(&m->world->trace, "-- node %u has stopped", m->index);
    set_phase(m, SIM_OFF);
    m->phase_us += (int64_t)sim_random_below(&m->world->random, OFF_US_MAX);
}

/* The first machine founds the quorum as one of its own, and is started anew: from then on it asks
 * all, as the others do. */
static void know_all(struct sim_machine *m)
{
    int size;

    m->founds = false;
    size = snprintf(m->set_text[m->bootstrap], sizeof m->set_text[0],
                    "controller.quorum.bootstrap.servers=");
    for (unsigned i = 0; i < m->world->machine_count; i++)
        size += snprintf(m->set_text[m->bootstrap] + size, sizeof m->set_text[0] - (size_t)size,
                         "%sn%u:%d", i ? "," : "", i, SIM_CONTROLLER_PORT);
}

static void look_after(struct sim_machine *m)
{
    struct sim_world *w = m->world;
    const int64_t since_us = w->sched.now_us - m->phase_us;

    if (m->ghost && w->sched.now_us >= m->ghost_until_us)
        free_ghost(m);
    if (!m->node) {
        if (since_us >= 0 && !w->ending)
            start(m);
        return;
    }
    if (m->node->failed) {
        if (!m->hurt)
            sim_world_fail(w, "node %u failed by itself", m->index);
        die(m, false);
    } else if (m->phase == SIM_STARTING && m->node->ready) {
        set_phase(m, SIM_UP);
        if (m->founds) {
            know_all(m);
            stop(m);
        }
    } else if (m->phase == SIM_STOPPING && m->node->stopped) {
        set_phase(m, SIM_LINGERING);
    } else if (m->phase == SIM_STOPPING && since_us > STOP_US && !m->hurt) {
        sim_world_fail(w, "node %u did not stop within %d s", m->index, STOP_US / 1000000);
    } else if (m->phase == SIM_LINGERING && since_us > LINGER_US) {
        if (sim_node_idle(m->node))
            end(m);
        else if (since_us > LINGER_US + DRAIN_US)
            sim_world_fail(w, "node %u has stopped, and still does something", m->index);
    }
}

/* ---- letting time pass ---- */

/* A process died within a call of its disk. */
static void bury(struct sim_world *w)
{
    w->sched.source = 0;
    for (unsigned i = 0; i < w->machine_count; i++) {
        struct sim_machine *m = &w->machines[i];

        if (!m->drive.died)
            continue;
        m->drive.died = false;
        die(m, sim_random_chance(&w->random, 50));
    }
}

/* The last step was one of this machine's, perhaps. */
static void check(struct sim_machine *m)
{
    struct sim_world *w = m->world;
    const struct sim_runner *ran = w->sched.ran;

    if (!m->node)
        return;
    if (ran == &m->node->control_loop->runner)
        sim_quorum_look(&w->quorum, m);
    for (size_t i = 0; i < m->node->shard_count; i++) {
        if (ran != &m->node->shard_loops[i]->runner)
            continue;
        sim_quorum_look(&w->quorum, m);
        sim_replicas_look(&w->replicas, m, i);
        sim_node_look(m->node);
    }
}

static bool run(struct sim_world *w, int64_t us, bool (*done)(struct sim_world *w))
{
    const int64_t end_us = w->sched.now_us + us;

    if (setjmp(w->death))
        bury(w);
    while (!w->failed && w->sched.now_us < end_us) {
        if (done && done(w))
            return true;
        /* The machines are looked after at least that often. */
        sim_sched_step(&w->sched,
                       w->sched.now_us + SLICE_US < end_us ? w->sched.now_us + SLICE_US : end_us);
        for (unsigned i = 0; i < w->machine_count && !w->failed; i++) {
            check(&w->machines[i]);
            look_after(&w->machines[i]);
        }
    }
    return false;
}

/* ---- faults ---- */

static unsigned some_machine(struct sim_world *w)
{
    return (unsigned)sim_random_below(&w->random, w->machine_count);
}

static void heal_network(struct sim_world *w)
{
    sim_net_heal(&w->net);
    sim_trace_say(&w->trace, "-- the network heals");
}

static void cut_one_way(struct sim_world *w)
{
    unsigned from = some_machine(w), to = some_machine(w);

    w->net.cut[from][to] = from != to;
    sim_trace_say(&w->trace, "-- nothing comes from %u to %u", from, to);
}

static void cut_both_ways(struct sim_world *w)
{
    unsigned from = some_machine(w), to = some_machine(w);

    w->net.cut[from][to] = w->net.cut[to][from] = from != to;
    sim_trace_say(&w->trace, "-- %u and %u do not hear one another", from, to);
}

static void cut_off(struct sim_world *w)
{
    unsigned lone = some_machine(w);

    for (unsigned i = 0; i < w->machine_count; i++)
        w->net.cut[lone][i] = w->net.cut[i][lone] = i != lone;
    sim_trace_say(&w->trace, "-- %u is cut off", lone);
}

static void lose_messages(struct sim_world *w)
{
    w->net.loss_permille = (unsigned)sim_random_below(&w->random, LOSS_PERMILLE_MAX);
    sim_trace_say(&w->trace, "-- of 1000 messages %u are lost", w->net.loss_permille);
}

static void delay_messages(struct sim_world *w)
{
    w->net.delay_us_max = 1 + (int64_t)sim_random_below(&w->random, DELAY_US_MAX);
    sim_trace_say(&w->trace, "-- messages take up to %lld us", (long long)w->net.delay_us_max);
}

static void pause_machine(struct sim_world *w)
{
    struct sim_machine *m = &w->machines[some_machine(w)];
    int64_t us = (int64_t)sim_random_below(&w->random, PAUSE_US_MAX);

    if (!m->node)
        return;
    sim_node_pause(m->node, w->sched.now_us + us);
    sim_trace_say(&w->trace, "-- process %u stands still for %lld us", m->index, (long long)us);
}

static void kill_process(struct sim_world *w)
{
    struct sim_machine *m = &w->machines[some_machine(w)];

    if (m->node)
        die(m, false);
}

static void kill_machine(struct sim_world *w)
{
    struct sim_machine *m = &w->machines[some_machine(w)];

    if (m->node)
        die(m, true);
}

static void kill_controller(struct sim_world *w)
{
    for (unsigned i = 0; i < w->machine_count; i++) {
        struct sim_machine *m = &w->machines[i];
        const struct raft_node *raft =
            m->node && m->node->node ? control_raft(m->node->node->control) : NULL;

        if (raft && raft_node_leads(raft)) {
            die(m, sim_random_chance(&w->random, 50));
            return;
        }
    }
}

static void kill_all(struct sim_world *w)
{
    for (unsigned i = 0; i < w->machine_count; i++)
        if (w->machines[i].node)
            die(&w->machines[i], sim_random_chance(&w->random, 50));
}

static void kill_within_a_call(struct sim_world *w)
{
    w->machines[some_machine(w)].drive.dies_after = 1 + sim_random_below(&w->random, 2000);
}

static void stop_node(struct sim_world *w)
{
    struct sim_machine *m = &w->machines[some_machine(w)];

    if (m->phase == SIM_UP || m->phase == SIM_STARTING)
        stop(m);
}

static void disturb_machine(struct sim_world *w)
{
    struct sim_machine *m = &w->machines[some_machine(w)];

    if (sim_random_chance(&w->random, 40))
        sim_machine_heal(m);
    else if (sim_machine_disturb(m, &w->random, w->may_fail) == SIM_HARM_FAILS)
        m->hurt = w->disturbed = true;
}

/* How often each is chosen. */
static const struct fault {
    unsigned weight;
    void (*happen)(struct sim_world *w);
} faults[] = {
    {30, heal_network}, {10, cut_one_way},     {8, cut_both_ways},  {8, cut_off},
    {8, lose_messages}, {8, delay_messages},   {10, pause_machine}, {8, kill_process},
    {8, kill_machine},  {6, kill_controller},  {2, kill_all},       {8, kill_within_a_call},
    {6, stop_node},     {20, disturb_machine},
};

static void disturb(struct sim_world *w)
{
    unsigned total = 0, chosen;

    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        total += faults[i].weight;
    chosen = (unsigned)sim_random_below(&w->random, total);
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        if (chosen < faults[i].weight) {
            faults[i].happen(w);
            return;
        }
        chosen -= faults[i].weight;
    }
}

/* ---- all is well ---- */

static bool all_run(struct sim_world *w)
{
    for (unsigned i = 0; i < w->machine_count; i++)
        if (w->machines[i].phase != SIM_UP)
            return false;
    return true;
}

/* One controller, whom all know; the same metadata everywhere, in which every broker serves. A
 * change of voters that was asked for before all healed is through: it may take the leader out. */
static bool is_well(struct sim_world *w)
{
    const struct metadata_image *image;
    int32_t leader;

    if (!all_run(w) || w->electorate.waiting)
        return false;
    image = sim_quorum_image(&w->machines[0]);
    leader = control_leader_id(w->machines[0].node->node->control);
    if (leader < 0 || metadata_image_broker_count(image) != w->machine_count)
        return false;
    for (unsigned i = 0; i < w->machine_count; i++) {
        const struct sim_node *n = w->machines[i].node;

        if (control_leader_id(n->node->control) != leader ||
            metadata_image_offset(sim_quorum_image(&w->machines[i])) !=
                metadata_image_offset(image) ||
            metadata_image_broker_at(image, i)->fenced)
            return false;
    }
    return true;
}

/* What was written is acknowledged, and every replica has it. */
static bool is_whole(struct sim_world *w)
{
    for (size_t i = 0; i < SIM_WRITERS; i++)
        if (!sim_writer_idle(&w->writers[i])) {
            snprintf(w->missing, sizeof w->missing,
                     "writer %zu waits for an acknowledgement of %s-%d", i,
                     w->checker.topics[w->writers[i].topic].name, w->writers[i].partition);
            return false;
        }
    return all_run(w) && sim_replicas_are_equal(&w->replicas, w->missing, sizeof w->missing);
}

static bool is_read(struct sim_world *w)
{
    return sim_tail_done(&w->tails[0]);
}

static bool are_committed(struct sim_world *w)
{
    for (size_t i = 0; i < SIM_COMMITTERS; i++)
        if (!sim_committer_proved(&w->committers[i]))
            return false;
    return true;
}

static bool are_settled(struct sim_world *w)
{
    for (size_t i = 0; i < SIM_GROUPS; i++)
        if (!sim_group_settled(&w->groups[i], w->missing, sizeof w->missing))
            return false;
    return true;
}

static bool are_fetched(struct sim_world *w)
{
    for (size_t i = 0; i < SIM_GROUPS; i++)
        if (!sim_group_proved(&w->groups[i]))
            return false;
    return true;
}

static bool are_over(struct sim_world *w)
{
    for (size_t i = 0; i < SIM_GROUPS; i++)
        if (!sim_group_over(&w->groups[i]))
            return false;
    return true;
}

static bool is_proved(struct sim_world *w)
{
    return sim_operator_proved(&w->operator);
}

static bool all_ended(struct sim_world *w)
{
    for (unsigned i = 0; i < w->machine_count; i++)
        if (w->machines[i].node)
            return false;
    return true;
}

static int32_t raft_epoch(const struct sim_world *w)
{
    return raft_node_epoch(control_raft(w->machines[0].node->node->control));
}

/* The faults stop. What had a failing disk is started anew. */
static void heal_all(struct sim_world *w)
{
    sim_trace_say(&w->trace, "-- everything heals");
    sim_net_heal(&w->net);
    w->sched.pauses = false;
    for (unsigned i = 0; i < w->machine_count; i++) {
        struct sim_machine *m = &w->machines[i];

        sim_machine_heal(m);
        if (m->hurt && m->node)
            die(m, false);
        m->hurt = false;
        if (m->node)
            sim_node_pause(m->node, 0);
    }
    w->disturbed = false;
}

static void tell_who_is_ill(struct sim_world *w)
{
    for (unsigned i = 0; i < w->machine_count; i++) {
        const struct sim_machine *m = &w->machines[i];
        const struct metadata_image *image = sim_quorum_image(m);

        sim_trace_say(&w->trace, "machine %u: phase %d, leader %d, metadata up to %lld", i,
                      m->phase,
                      m->node && m->node->node ? control_leader_id(m->node->node->control) : -2,
                      image ? (long long)metadata_image_offset(image) : -2);
    }
}

/* Once it is well it stays well. */
static void stay_calm(struct sim_world *w)
{
    int32_t epoch = raft_epoch(w);

    (void)run(w, CALM_US, NULL);
    if (!w->failed && raft_epoch(w) != epoch)
        sim_world_fail(w, "an election, though nothing is wrong: from epoch %d to %d", epoch,
                       raft_epoch(w));
    /* a record may be on its way right now */
    if (!w->failed && !run(w, SLICE_US, is_well) && !w->failed)
        sim_world_fail(w, "it was well, and is not any more, though nothing is wrong");
}

/* ---- a seed ---- */

static void set(struct sim_machine *m, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void set(struct sim_machine *m, const char *format, ...)
{
    va_list args;

    CHECK(m->set_count < SIM_MACHINE_SETS_MAX);
    va_start(args, format);
    vsnprintf(m->set_text[m->set_count], sizeof m->set_text[0], format, args);
    va_end(args);
    m->sets[m->set_count] = m->set_text[m->set_count];
    m->set_count++;
}

static void choose_settings(struct sim_world *w)
{
    static const char *const dirs[] = {"/d0", "/d0,/d1"};
    const int checkpoint_ms = (int)sim_random_between(&w->random, 100, 3000);
    const int retention_ms = (int)sim_random_between(&w->random, 50, 2000);
    const int min_isr = 1 + (int)sim_random_below(&w->random, 2);
    const int snapshot_bytes = (int)sim_random_between(&w->random, 500, 40000);
    const int segment_ms = (int)sim_random_between(&w->random, 100, 10000);
    const bool auto_join = sim_random_chance(&w->random, 30);
    char voters[128];
    int size = 0;

    w->dir_count = 1 + sim_random_below(&w->random, 2);
    for (unsigned i = 0; i < w->machine_count; i++)
        size += snprintf(voters + size, sizeof voters - (size_t)size, "%s%u@n%u:%d", i ? "," : "",
                         i + 1, i, SIM_CONTROLLER_PORT);
    for (unsigned i = 0; i < w->machine_count; i++) {
        struct sim_machine *m = &w->machines[i];

        set(m, "node.id=%u", i + 1);
        set(m, "cluster.id=c1usterc1usterc1usterc");
        if (!w->voters_change)
            set(m, "controller.quorum.voters=%s", voters);
        set(m, "listeners=PLAINTEXT://n%u:%d,CONTROLLER://n%u:%d", i, SIM_BROKER_PORT, i,
            SIM_CONTROLLER_PORT);
        set(m, "broker.rack=az-%u", i + 1);
        set(m, "log.dirs=%s", dirs[w->dir_count - 1]);
        set(m, "auto.create.topics.enable=false");
        set(m, "replica.high.watermark.checkpoint.interval.ms=%d", checkpoint_ms);
        set(m, "log.flush.before.ack=%s", w->checker.flush_before_ack ? "true" : "false");
        set(m, "log.retention.check.interval.ms=%d", retention_ms);
        set(m, "log.retention.ms=-1");
        set(m, "min.insync.replicas=%d", min_isr);
        set(m, "metadata.log.max.record.bytes.between.snapshots=%d", snapshot_bytes);
        set(m, "metadata.log.segment.ms=%d", segment_ms);
        set(m, "offsets.topic.num.partitions=3");
        set(m, "metadata.max.retention.bytes=%d", 2 * snapshot_bytes);
        set(m, "group.initial.rebalance.delay.ms=%d", 200);
        set(m, "group.min.session.timeout.ms=%d", 500);
        set(m, "group.consumer.min.session.timeout.ms=%d", 500);
        set(m, "group.consumer.session.timeout.ms=%d", SIM_GROUP_SESSION_MS);
        set(m, "group.consumer.min.heartbeat.interval.ms=%d", 100);
        set(m, "group.consumer.heartbeat.interval.ms=%d", 300);
        /* a group that is empty, and for whose topic nothing is committed, is not forgotten */
        set(m, "offsets.retention.check.interval.ms=%d", 24 * 3600 * 1000);
        if (!w->voters_change)
            continue;
        set(m, "controller.quorum.auto.join.enable=%s", auto_join ? "true" : "false");
        m->bootstrap = m->set_count;
        set(m, "controller.quorum.bootstrap.servers=n0:%d", SIM_CONTROLLER_PORT);
        m->founds = true;
        if (i > 0)
            know_all(m);
    }
}

static void world_init(struct sim_world *w, const struct sim_options *o)
{
    w->seed = o->seed;
    w->machine_count = o->machines;
    w->trace = (struct sim_trace){.verbose = o->verbose, .now_us = &w->sched.now_us};
    w->random = sim_random_split(o->seed, 0);
    sim_sched_init(&w->sched, o->seed, &w->trace);
    sim_net_init(&w->net, w);
    for (unsigned i = 0; i < w->machine_count; i++) {
        sim_machine_init(&w->machines[i], w, i);
        w->machines[i].drive.dies_to = &w->death;
        w->machines[i].phase_us = w->sched.now_us + (int64_t)sim_random_below(&w->random, 500000);
    }
    sim_checker_init(&w->checker, w, sim_random_chance(&w->random, 85));
    w->may_fail = w->checker.flush_before_ack && sim_random_chance(&w->random, 50);
    w->voters_change = sim_random_chance(&w->random, 40);
    w->loop = sim_loop_create(&w->sched, sim_world_clock(w), NULL, 0);
    choose_settings(w);
    sim_quorum_init(&w->quorum, w);
    w->net.sees_request = sim_quorum_sees_request;
    w->net.sees_answer = sim_quorum_sees_answer;
    sim_replicas_init(&w->replicas, w);
    sim_operator_init(&w->operator, w);
    sim_directory_init(&w->directory, w);
    sim_electorate_init(&w->electorate, w);
    for (size_t i = 0; i < SIM_WRITERS; i++)
        sim_writer_init(&w->writers[i], w, i);
    for (size_t i = 0; i < SIM_TAILS; i++)
        sim_tail_init(&w->tails[i], w, i);
    for (size_t i = 0; i < SIM_COMMITTERS; i++)
        sim_committer_init(&w->committers[i], w, i);
    for (size_t i = 0; i < SIM_GROUPS; i++)
        sim_group_init(&w->groups[i], w, i);
}

static void world_free(struct sim_world *w)
{
    struct sim_connection *c, *next;

    for (unsigned i = 0; i < w->machine_count; i++)
        sim_machine_free(&w->machines[i]);
    sim_net_free(&w->net);
    for (size_t i = 0; i < SIM_WRITERS; i++)
        sim_writer_free(&w->writers[i]);
    for (size_t i = 0; i < SIM_TAILS; i++)
        sim_tail_free(&w->tails[i]);
    for (size_t i = 0; i < SIM_COMMITTERS; i++)
        sim_committer_free(&w->committers[i]);
    for (size_t i = 0; i < SIM_GROUPS; i++)
        sim_group_free(&w->groups[i]);
    sim_directory_free(&w->directory);
    sim_electorate_free(&w->electorate);
    sim_operator_free(&w->operator);
    sim_replicas_free(&w->replicas);
    sim_checker_free(&w->checker);
    sim_quorum_free(&w->quorum);
    DL_FOREACH_SAFE(w->retired, c, next)
    free(c);
    sim_loop_free(w->loop);
    sim_heap_end();
}

static void set_clients(struct sim_world *w, enum sim_mode writers, enum sim_tail_task tails)
{
    for (size_t i = 0; i < SIM_WRITERS; i++)
        w->writers[i].mode = writers;
    for (size_t i = 0; i < SIM_TAILS; i++)
        sim_tail_set(&w->tails[i], tails);
}

static void set_committers(struct sim_world *w, enum sim_committer_task task)
{
    for (size_t i = 0; i < SIM_COMMITTERS; i++)
        sim_committer_set(&w->committers[i], task);
}

static void set_groups(struct sim_world *w, enum sim_member_task task)
{
    for (size_t i = 0; i < SIM_GROUPS; i++)
        sim_group_set(&w->groups[i], task);
}

static void live(struct sim_world *w, unsigned seconds)
{
    const int64_t end_us = w->sched.now_us + seconds * (int64_t)1000000;

    sim_operator_set(&w->operator, SIM_TASK_WORK);
    sim_electorate_work(&w->electorate, w->voters_change);
    set_clients(w, SIM_WORK, SIM_TAIL_FOLLOW);
    set_committers(w, SIM_COMMITTER_WORK);
    set_groups(w, SIM_MEMBER_WORK);
    while (!w->failed && w->sched.now_us < end_us) {
        (void)run(w, sim_random_between(&w->random, SLICE_US, 20 * SLICE_US), NULL);
        if (sim_random_chance(&w->random, 40))
            disturb(w);
    }
    sim_operator_set(&w->operator, SIM_TASK_REST);
    sim_electorate_work(&w->electorate, false);
    set_clients(w, SIM_FINISH, SIM_TAIL_FOLLOW);
    set_committers(w, SIM_COMMITTER_REST);
    set_groups(w, SIM_MEMBER_SETTLE);
    heal_all(w);
}

/* Groups, once all else is well: each is of one mind, knows what was committed, and knows when its
 * members have gone. */
static void prove_groups(struct sim_world *w)
{
    if (!w->failed && !run(w, LIVE_US, are_settled) && !w->failed)
        sim_world_fail(w, "not all groups are stable %d s after all was well: %s",
                       LIVE_US / 1000000, w->missing);
    set_groups(w, SIM_MEMBER_PROVE);
    if (!w->failed && !run(w, PROOF_US, are_fetched) && !w->failed)
        sim_world_fail(w, "not all members learn what is committed within %d s",
                       PROOF_US / 1000000);
    set_groups(w, SIM_MEMBER_GO);
    if (!w->failed && !run(w, PROOF_US, are_over) && !w->failed)
        sim_world_fail(w, "a group whose members have gone is not empty within %d s",
                       PROOF_US / 1000000);
    set_groups(w, SIM_MEMBER_REST);
}

static void prove(struct sim_world *w)
{
    (void)run(w, AFTERMATH_US, NULL);
    if (!w->failed && !run(w, LIVE_US, is_well) && !w->failed) {
        tell_who_is_ill(w);
        sim_world_fail(w, "the cluster is not well %d s after everything healed",
                       LIVE_US / 1000000);
    }
    if (!w->failed && !run(w, LIVE_US, is_whole) && !w->failed)
        sim_world_fail(w, "not whole %d s after everything healed: %s", 2 * LIVE_US / 1000000,
                       w->missing);
    if (!w->failed)
        stay_calm(w);
    set_clients(w, SIM_REST, SIM_TAIL_REST);
    sim_tail_set(&w->tails[0], SIM_TAIL_READ_ALL);
    if (!w->failed && !run(w, READ_US, is_read) && !w->failed)
        sim_world_fail(w, "the reader stands still at %s-%d",
                       w->checker.topics[w->tails[0].topic].name, w->tails[0].partition);
    sim_tail_set(&w->tails[0], SIM_TAIL_REST);
    set_committers(w, SIM_COMMITTER_PROVE);
    if (!w->failed && !run(w, PROOF_US, are_committed) && !w->failed)
        sim_world_fail(w, "not all groups tell what they have committed within %d s",
                       PROOF_US / 1000000);
    set_committers(w, SIM_COMMITTER_REST);
    prove_groups(w);
    sim_operator_set(&w->operator, SIM_TASK_PROVE);
    if (!w->failed && !run(w, PROOF_US, is_proved) && !w->failed)
        sim_world_fail(w, "machine %u makes no topic, or does not know of it, within %d s",
                       w->operator.machine, PROOF_US / 1000000);
    sim_operator_set(&w->operator, SIM_TASK_REST);
}

static void finish(struct sim_world *w)
{
    w->ending = true;
    for (unsigned i = 0; i < w->machine_count; i++)
        stop(&w->machines[i]);
    if (!run(w, STOP_US + LINGER_US + DRAIN_US, all_ended) && !w->failed)
        sim_world_fail(w, "not all nodes have ended");
}

struct sim_connection *sim_world_connect_to(struct sim_world *w, unsigned machine,
                                            struct sim_random *random)
{
    struct sim_node *n = w->machines[machine].node;

    return n && n->node && n->ready ? sim_connection_open(n, sim_random_next(random)) : NULL;
}

void sim_cluster_run(const struct sim_options *o, struct sim_result *out)
{
    struct sim_world *w = calloc(1, sizeof *w);
    uint64_t commits = 0, assignments = 0;

    CHECK(w != NULL);
    world_init(w, o);
    live(w, o->seconds ? o->seconds : SECONDS_DEFAULT);
    if (!w->failed)
        prove(w);
    if (!w->failed)
        finish(w);
    for (size_t i = 0; i < SIM_COMMITTERS; i++)
        commits += w->committers[i].commits;
    for (size_t i = 0; i < SIM_GROUPS; i++) {
        commits += w->groups[i].commits;
        assignments += w->groups[i].assignments;
    }
    *out = (struct sim_result){
        .commits = commits,
        .assignments = assignments,
        .failed = w->failed,
        .trace_hash = w->trace.hash,
        .steps = w->sched.steps,
        .virtual_us = w->sched.now_us,
        .operations = w->operator.done,
        .committed = (uint64_t)sim_ledger_end(&w->quorum.committed),
        .elections = w->quorum.leader_count,
        .messages = w->net.sent,
        .reforms = w->electorate.done,
        .acknowledged = w->checker.acknowledged,
        .read_batches = w->checker.read_batches,
        .replicated = sim_replicas_committed(&w->replicas),
    };
    snprintf(out->failure, sizeof out->failure, "%s", w->failure);
    world_free(w);
    free(w);
}
