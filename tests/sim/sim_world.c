#include "tests/sim/sim_world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

#include "protocol/base/check.h"
#include "tests/sim/sim_decay.h"

#define READY_US    (20 * 1000 * 1000) /* a start without faults takes no longer */
#define STOP_US     (40 * 1000 * 1000)
#define READ_US     (60 * 1000 * 1000)
#define DRAIN_US    (20 * 1000 * 1000) /* until what clients sent is answered */
#define LINGER_US   (2 * 1000 * 1000)  /* parked requests of a stopped node end */
#define DOOMED_US   (3 * 1000 * 1000)
#define FAREWELL_US 50000  /* clients hear of a death */
#define LOOK_US     100000 /* how often late answers are looked for */
#define SLICE_US    20000

static struct sim_machine *machine(struct sim_world *w)
{
    return &w->machines[0];
}

enum outcome {
    OUTCOME_TIME, /* the time is over */
    OUTCOME_DONE, /* what was waited for came */
    OUTCOME_DIED, /* the process ended by itself: within a call, or because it failed */
};

void sim_world_fail(struct sim_world *w, const char *format, ...)
{
    va_list args;

    if (w->failed)
        return;
    w->failed = true;
    va_start(args, format);
    vsnprintf(w->failure, sizeof w->failure, format, args);
    va_end(args);
    sim_trace_say(&w->trace, "FAILED: %s", w->failure);
}

struct clock *sim_world_clock(struct sim_world *w)
{
    return &w->machines[0].clock.base;
}

bool sim_world_is_calm(const struct sim_world *w)
{
    return !w->disturbed;
}

struct sim_connection *sim_world_connect(struct sim_world *w, struct sim_random *random)
{
    return w->serving ? sim_connection_open(machine(w)->node, sim_random_next(random)) : NULL;
}

/* ---- letting time pass ---- */

/* Answers that are overdue, though nothing disturbs the node any more. */
static void look_for_late_answers(struct sim_world *w)
{
    const struct sim_connection *c;

    if (!machine(w)->node || w->smooth_since_us == SIM_NEVER)
        return;
    DL_FOREACH(machine(w)->node->connections, c)
    {
        const struct sim_request *rq = c->waiting;
        int64_t since_us =
            rq && rq->sent_us > w->smooth_since_us ? rq->sent_us : w->smooth_since_us;

        if (rq && c->up && w->sched.now_us > since_us + (rq->due_us - rq->sent_us))
            sim_world_fail(w, "connection %u: no answer to api %d v%d, sent %.3f s ago", c->number,
                           rq->key, rq->version, (double)(w->sched.now_us - rq->sent_us) / 1e6);
    }
}

static enum outcome run(struct sim_world *w, int64_t us, bool (*done)(struct sim_world *w))
{
    const int64_t end_us = w->sched.now_us + us;
    volatile int64_t look_us = w->sched.now_us;

    if (setjmp(w->death)) {
        w->sched.source = 0;
        sim_trace_say(&w->trace, "-- died within a call");
        return OUTCOME_DIED;
    }
    while (!w->failed) {
        if (done && done(w))
            return OUTCOME_DONE;
        if (machine(w)->node->failed)
            return OUTCOME_DIED;
        if (!sim_sched_step(&w->sched, end_us) || w->sched.now_us >= end_us)
            return OUTCOME_TIME;
        sim_node_look(machine(w)->node);
        if (w->sched.now_us < look_us)
            continue;
        look_for_late_answers(w);
        look_us = w->sched.now_us + LOOK_US;
    }
    return OUTCOME_TIME;
}

/* ---- disturbances ---- */

static void heal(struct sim_world *w)
{
    sim_machine_heal(machine(w));
    if (w->smooth_since_us == SIM_NEVER)
        w->smooth_since_us = w->sched.now_us;
}

/* Something happens to the machine; how bad it may be is the life's. */
static void disturb(struct sim_world *w, bool may_fail)
{
    enum sim_harm harm;

    if (sim_random_chance(&w->random, 40)) {
        heal(w);
        return;
    }
    harm = sim_machine_disturb(machine(w), &w->random, may_fail);
    if (harm != SIM_HARM_NONE)
        w->smooth_since_us = SIM_NEVER;
    w->disturbed = w->disturbed || harm == SIM_HARM_FAILS;
}

/* ---- the ends of a life ---- */

/* Without a clean end: with the machine, or only the process. */
static void die(struct sim_world *w, bool with_machine)
{
    bool lost;

    sim_trace_say(&w->trace, "-- the %s dies", with_machine ? "machine" : "process");
    w->serving = false;
    sim_node_died(machine(w)->node);
    heal(w);
    lost = sim_machine_lose(machine(w), with_machine);
    run(w, FAREWELL_US, NULL); /* what was acknowledged on the way out counts */
    sim_checker_life_over(&w->checker, lost, false);
    sim_node_free(machine(w)->node);
    machine(w)->node = NULL;
}

static void on_stopped(void *arg)
{
    ((struct sim_node *)arg)->stopped = true;
}

static bool is_stopped(struct sim_world *w)
{
    return machine(w)->node->stopped;
}

static bool is_idle(struct sim_world *w)
{
    return sim_node_idle(machine(w)->node);
}

/* As main ends a node; it may take its process down on the way. */
static void stop(struct sim_world *w)
{
    enum outcome outcome;
    struct sim_heap *before = sim_heap_switch(&machine(w)->node->heap);

    sim_trace_say(&w->trace, "-- the node is stopped");
    node_stop(machine(w)->node->node, on_stopped, machine(w)->node);
    sim_heap_switch(before);
    outcome = run(w, STOP_US, is_stopped);
    if (outcome == OUTCOME_DIED) {
        if (sim_world_is_calm(w))
            sim_world_fail(w, "the node failed while it was stopped");
        die(w, sim_random_chance(&w->random, 30));
        return;
    }
    if (outcome == OUTCOME_TIME)
        sim_world_fail(w, "the node did not stop within %d s", STOP_US / 1000000);
    w->serving = false;
    run(w, LINGER_US, NULL);
    if (!w->failed && run(w, DRAIN_US, is_idle) != OUTCOME_DONE)
        sim_world_fail(w, "a stopped node still does something");
    if (w->failed)
        return;
    sim_node_end(machine(w)->node);
    sim_checker_life_over(&w->checker, sim_machine_lose(machine(w), false), sim_world_is_calm(w));
    sim_node_free(machine(w)->node);
    machine(w)->node = NULL;
    sim_trace_say(&w->trace, "-- stopped");
}

/* ---- starting ---- */

static bool is_ready(struct sim_world *w)
{
    return machine(w)->node->ready;
}

static enum outcome begin(struct sim_world *w, const struct sim_life *life, struct status *st)
{
    if (setjmp(w->death)) {
        sim_trace_say(&w->trace, "-- died within a call");
        return OUTCOME_DIED;
    }
    *st = sim_node_begin(machine(w)->node, life);
    return status_failed(*st) ? OUTCOME_DIED : OUTCOME_DONE;
}

static enum outcome start(struct sim_world *w, int64_t us, struct status *st)
{
    struct sim_life life = sim_machine_next_life(machine(w), &w->random);
    enum outcome outcome;

    life.sets = w->sets;
    life.set_count = w->set_count;
    sim_trace_say(&w->trace, "-- start %llu: boot %llu, %zu shards, %zu threads in the pool",
                  (unsigned long long)machine(w)->attempts, (unsigned long long)machine(w)->boot,
                  life.shard_count, life.pool_threads);
    *st = STATUS_OK;
    machine(w)->node = sim_node_new(machine(w), &life);
    outcome = begin(w, &life, st);
    return outcome == OUTCOME_DONE ? run(w, us, is_ready) : outcome;
}

/* A start in which something fails, or that ends before it is through. */
static void start_doomed(struct sim_world *w)
{
    struct status st;

    w->disturbed = true;
    w->smooth_since_us = SIM_NEVER;
    if (sim_random_chance(&w->random, 50))
        machine(w)->drive.dies_after = 1 + sim_random_below(&w->random, 300);
    else
        sim_machine_fail_calls(machine(w), &w->random);
    (void)start(w, (int64_t)sim_random_below(&w->random, DOOMED_US), &st);
    if (!w->failed)
        die(w, sim_random_chance(&w->random, 50));
}

static bool is_read(struct sim_world *w)
{
    return w->workload.reader.done;
}

/* Everything that was promised is there. Nothing is written meanwhile. */
static void verify(struct sim_world *w)
{
    enum outcome outcome;

    sim_trace_say(&w->trace, "-- everything is read");
    sim_reader_begin(&w->workload.reader);
    outcome = run(w, READ_US, is_read);
    sim_reader_stop(&w->workload.reader);
    if (outcome == OUTCOME_DIED)
        sim_world_fail(w, "the node failed while it was read");
    else if (outcome == OUTCOME_TIME)
        sim_world_fail(w, "the reader stands still at %s-%d",
                       w->checker.topics ? w->checker.topics[w->workload.reader.topic].name : "",
                       w->workload.reader.partition);
}

static void start_well(struct sim_world *w)
{
    struct status st;
    enum outcome outcome;

    heal(w);
    sim_workload_set_mode(&w->workload, SIM_REST);
    w->disturbed = false;
    w->smooth_since_us = w->sched.now_us;
    outcome = start(w, READY_US, &st);
    if (w->failed)
        return;
    if (outcome == OUTCOME_DIED)
        sim_world_fail(w, "a start failed: %s, %s, errno %d", st.where ? st.where : "while running",
                       kerr_name(st.code), st.sys_errno);
    else if (outcome == OUTCOME_TIME)
        sim_world_fail(w, "a node was not ready within %d s", READY_US / 1000000);
    else
        w->serving = true;
}

/* ---- a life ---- */

static bool is_drained(struct sim_world *w)
{
    for (size_t i = 0; i < SIM_PRODUCERS; i++)
        if (!sim_producer_idle(&w->workload.producers[i]))
            return false;
    return !w->workload.admin.waiting && w->workload.admin.knows;
}

/* Clients finish what they are at, and all is read. */
static void settle(struct sim_world *w)
{
    heal(w);
    w->sched.pauses = false;
    sim_workload_set_mode(&w->workload, SIM_FINISH);
    if (!sim_world_is_calm(w)) {
        (void)run(w, LINGER_US, NULL); /* a log directory may be offline: some things are never
                                        * acknowledged */
        return;
    }
    if (run(w, DRAIN_US, is_drained) != OUTCOME_DONE && !w->failed)
        sim_world_fail(w, "clients did not come to rest within %d s", DRAIN_US / 1000000);
    if (!w->failed)
        (void)run(w, LINGER_US, NULL); /* what asks for no answer arrives */
    if (!w->failed)
        verify(w);
}

static void live(struct sim_world *w)
{
    const bool may_fail = sim_random_chance(&w->random, 50);
    const int64_t end_us = w->sched.now_us + sim_random_between(&w->random, 200000, 2500000);
    enum outcome outcome = OUTCOME_TIME;

    sim_workload_set_mode(&w->workload, SIM_WORK);
    if (sim_random_chance(&w->random, 25))
        machine(w)->drive.dies_after = 1 + sim_random_below(&w->random, 6000);
    while (!w->failed && outcome == OUTCOME_TIME && w->sched.now_us < end_us) {
        outcome = run(w, sim_random_between(&w->random, SLICE_US, 10 * SLICE_US), NULL);
        if (outcome == OUTCOME_TIME && sim_random_chance(&w->random, 40))
            disturb(w, may_fail);
    }
    if (outcome == OUTCOME_DIED && machine(w)->node->failed && sim_world_is_calm(w))
        sim_world_fail(w, "the node failed by itself");
    if (w->failed)
        return;
    if (outcome == OUTCOME_DIED || sim_random_chance(&w->random, 60)) {
        die(w, sim_random_chance(&w->random, 50));
        return;
    }
    settle(w);
    if (!w->failed && machine(w)->node->failed)
        die(w, false);
    else if (!w->failed)
        stop(w);
}

/* ---- a seed ---- */

static void set(struct sim_world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void set(struct sim_world *w, const char *format, ...)
{
    va_list args;

    CHECK(w->set_count < SIM_SETS_MAX);
    va_start(args, format);
    vsnprintf(w->set_text[w->set_count], sizeof w->set_text[0], format, args);
    va_end(args);
    w->sets[w->set_count] = w->set_text[w->set_count];
    w->set_count++;
}

static void choose_settings(struct sim_world *w, bool flush_before_ack)
{
    static const char *const dirs[] = {"/d0", "/d0,/d1", "/d0,/d1,/d2"};

    w->dir_count = 1 + sim_random_below(&w->random, 3);
    set(w, "log.dirs=%s", dirs[w->dir_count - 1]);
    set(w, "log.flush.before.ack=%s", flush_before_ack ? "true" : "false");
    set(w, "auto.create.topics.enable=false");
    set(w, "replica.high.watermark.checkpoint.interval.ms=%d",
        (int)sim_random_between(&w->random, 100, 3000));
    set(w, "log.retention.check.interval.ms=%d", (int)sim_random_between(&w->random, 50, 1000));
    set(w, "log.retention.ms=-1");
    /* A start begins with the metadata of a while ago. */
    set(w, "metadata.log.max.record.bytes.between.snapshots=%d",
        (int)sim_random_between(&w->random, 500, 40000));
}

static void world_init(struct sim_world *w, const struct sim_options *o)
{
    bool flush_before_ack;

    w->seed = o->seed;
    w->trace = (struct sim_trace){.verbose = o->verbose, .now_us = &w->sched.now_us};
    w->random = sim_random_split(o->seed, 0);
    sim_sched_init(&w->sched, o->seed, &w->trace);
    w->machine_count = 1;
    sim_net_init(&w->net, w);
    sim_machine_init(machine(w), w, 0);
    machine(w)->drive.lie = o->lie;
    machine(w)->drive.dies_to = &w->death;
    w->loop = sim_loop_create(&w->sched, sim_world_clock(w), NULL, 0);
    flush_before_ack = o->lie != SIM_LIE_NONE || sim_random_chance(&w->random, 85);
    sim_checker_init(&w->checker, w, flush_before_ack);
    choose_settings(w, flush_before_ack);
    sim_workload_init(&w->workload, w);
}

static void world_free(struct sim_world *w)
{
    struct sim_connection *c, *next;

    sim_machine_free(machine(w));
    sim_net_free(&w->net);
    sim_workload_free(&w->workload);
    DL_FOREACH_SAFE(w->retired, c, next)
    free(c);
    sim_checker_free(&w->checker);
    sim_loop_free(w->loop);
    sim_heap_end();
}

static void run_lives(struct sim_world *w)
{
    const unsigned lives = 2 + (unsigned)sim_random_below(&w->random, 3);

    for (w->lives = 0; w->lives < lives && !w->failed; w->lives++) {
        while (!w->failed && sim_random_chance(&w->random, 25))
            start_doomed(w);
        if (!w->failed)
            start_well(w);
        if (!w->failed)
            verify(w);
        if (!w->failed)
            live(w);
    }
    if (!w->failed)
        start_well(w);
    if (!w->failed)
        verify(w);
}

static void end_last(struct sim_world *w)
{
    if (sim_random_chance(&w->random, 50))
        stop(w);
    else
        die(w, sim_random_chance(&w->random, 50));
}

/* The disk decays while nobody looks: one more start, everything read, and a clean end. */
static void run_decay(struct sim_world *w)
{
    if (!w->failed)
        sim_decay(machine(w), &w->random);
    if (!w->failed)
        start_well(w);
    if (!w->failed)
        verify(w);
    if (!w->failed)
        stop(w);
}

void sim_world_run(const struct sim_options *o, struct sim_result *out)
{
    struct sim_world *w = calloc(1, sizeof *w);

    CHECK(w != NULL);
    world_init(w, o);
    run_lives(w);
    if (!w->failed)
        end_last(w);
    if (!w->failed && w->machines[0].drive.lie == SIM_LIE_NONE)
        run_decay(w);
    *out = (struct sim_result){
        .failed = w->failed,
        .trace_hash = w->trace.hash,
        .steps = w->sched.steps,
        .virtual_us = w->sched.now_us,
        .acknowledged = w->checker.acknowledged,
        .read_batches = w->checker.read_batches,
        .lives = w->lives,
    };
    snprintf(out->failure, sizeof out->failure, "%s", w->failure);
    world_free(w);
    free(w);
}
