#include "replication/controller.h"

#include <stdlib.h>

#include "replication/broker_watch.h"
#include "replication/memory.h"
#include "replication/metadata_loader.h"

#define SUSPECTS_MAX        64 /* looked at in one go */
#define SIGHTING_ARENA_BYTES 4096

struct controller {
    struct controller_args args;
    struct str cluster_id; /* owned */
    struct raft_node *raft;
    struct metadata_loader *loader;
    const struct metadata_image *image; /* newest published; a reference. NULL before the first */
    int64_t delivered_end;              /* everything below it was delivered */
    bool failed;
    bool stopped;

    /* as the active controller */
    struct controller_core *core; /* NULL: we are not */
    int32_t epoch;
    struct broker_watch *watch; /* NULL: no transport */
    struct timer tick;
    int64_t tick_at_ms; /* when it fires; INT64_MAX: it does not */
    /* Requests that wait for their offset to be committed, in order; then those that have their
     * answer. */
    struct controller_request *waiting, **waiting_end;
    struct controller_request *answered, **answered_end;
    struct task answer_task;
    bool answer_posted;
    bool retiring;
    void (*retired)(void *arg); /* NULL: nobody waits for it, or it was told */
    void *retired_arg;

    /* snapshots */
    struct raft_snapshot_id loading; /* the one that is being delivered */
    int64_t loading_timestamp_ms;
    int64_t bytes_since_snapshot;
    int64_t snapshot_ms;        /* when the last one was begun */
    struct metadata_dump *dump; /* NULL: none is being written */
};

static int64_t now_ms(const struct controller *c)
{
    return clock_monotonic_us(c->args.clock) / 1000;
}

/* ---- answers ---- */

static void list_add(struct controller_request ***end, struct controller_request *r)
{
    r->next = NULL;
    **end = r;
    *end = &r->next;
}

static struct controller_request *list_take(struct controller_request **first,
                                            struct controller_request ***end)
{
    struct controller_request *r = *first;

    *first = r->next;
    if (!*first)
        *end = first;
    return r;
}

static void deliver_answers(struct controller *c)
{
    while (c->answered) {
        struct controller_request *r = list_take(&c->answered, &c->answered_end);

        r->done(r, r->answer);
    }
}

static void maybe_retired(struct controller *c)
{
    void (*retired)(void *arg) = c->retired;

    if (!retired || c->waiting)
        return;
    c->retired = NULL;
    retired(c->retired_arg);
}

static void answer_run(struct task *t)
{
    struct controller *c = CONTAINER_OF(t, struct controller, answer_task);

    c->answer_posted = false;
    deliver_answers(c);
}

/* Answers later: the caller of controller_submit is not to be called back from within it. */
static void answer(struct controller *c, struct controller_request *r,
                   struct controller_result result)
{
    r->answer = result;
    list_add(&c->answered_end, r);
    if (c->answer_posted)
        return;
    c->answer_posted = true;
    loop_post(c->args.loop, &c->answer_task);
}

static void answer_committed(struct controller *c)
{
    while (c->waiting && c->waiting->wait_offset < c->delivered_end) {
        struct controller_request *r = list_take(&c->waiting, &c->waiting_end);

        list_add(&c->answered_end, r);
    }
    deliver_answers(c);
}

/* ---- leadership ---- */

/* The caller reads the results of a request only when it was carried out. */
static void drop_results(struct controller_request *r)
{
    if (r->operation != CONTROLLER_CREATE_TOPICS || r->answer.code != KERR_NONE)
        return;
    for (size_t i = 0; i < r->create.count; i++) {
        config_set_release(r->create.results[i].configs);
        r->create.results[i].configs = NULL;
    }
}

static void stop_leading(struct controller *c)
{
    static const struct controller_result not_controller = {
        KERR_NOT_CONTROLLER, "This node is not the active controller."};

    if (!c->core)
        return;
    controller_core_free(c->core);
    c->core = NULL;
    if (c->watch)
        broker_watch_stop(c->watch);
    c->tick_at_ms = INT64_MAX;
    timer_stop(c->args.loop, &c->tick);
    while (c->waiting) {
        struct controller_request *r = list_take(&c->waiting, &c->waiting_end);

        drop_results(r);
        answer(c, r, not_controller);
    }
}

static void fail(struct controller *c, struct status why)
{
    stop_leading(c);
    if (c->failed)
        return;
    c->failed = true;
    c->args.on_failed(c->args.arg, why);
}

/* Appends what the core decided. False: we do not lead any more, and the core is gone. */
static bool append(struct controller *c, const struct controller_output *out,
                   int64_t expected_offset)
{
    int64_t last_offset;
    struct status st;

    if (out->count == 0)
        return true;
    st = raft_node_append(c->raft, c->epoch, out->values, out->count, out->atomic, &last_offset);
    if (!status_failed(st)) {
        CHECK(last_offset == expected_offset + (int64_t)out->count - 1);
        return true;
    }
    logger_event(c->args.logger, LOGGER_WARN, "controller_append_failed",
                 "epoch=%d reason=%s where=\"%s\"", c->epoch, kerr_name(st.code),
                 st.where ? st.where : "");
    /* The core reckons with records that are not in the log. */
    stop_leading(c);
    raft_node_resign(c->raft, c->epoch);
    return false;
}

static void arm_tick(struct controller *c)
{
    int64_t at_ms = controller_core_next_tick_ms(c->core);
    int64_t delay_ms = at_ms - now_ms(c);

    if (at_ms >= c->tick_at_ms) /* it fires early enough, and then arms itself anew */
        return;
    c->tick_at_ms = at_ms;
    timer_start(c->args.loop, &c->tick, delay_ms > 0 ? delay_ms * 1000 : 0);
}

static struct controller_moment moment(const struct controller *c)
{
    return (struct controller_moment){now_ms(c), raft_node_end_offset(c->raft)};
}

/* ---- is that broker there? ---- */

/* What was seen of a broker, on its way through the core as any request. */
struct sighting {
    struct controller_request request;
    struct arena arena;
};

static void sighting_done(struct controller_request *r, struct controller_result result)
{
    struct sighting *s = CONTAINER_OF(r, struct sighting, request);

    (void)result; /* who leads next looks itself */
    arena_free(&s->arena);
    free(s);
}

static void hand_in(struct controller *c, enum controller_operation operation,
                    struct controller_sighting seen)
{
    struct sighting *s = memory_zalloc(1, sizeof *s);

    arena_init(&s->arena, SIGHTING_ARENA_BYTES);
    s->request.done = sighting_done;
    s->request.arena = &s->arena;
    s->request.operation = operation;
    s->request.sighting = seen;
    controller_submit(c, &s->request);
}

static void on_refused(void *arg, int32_t id, int64_t epoch, int64_t asked_ms)
{
    hand_in(arg, CONTROLLER_BROKER_REFUSES, (struct controller_sighting){id, epoch, asked_ms});
}

static void on_silent(void *arg, int32_t id, int64_t epoch, int64_t asked_ms)
{
    hand_in(arg, CONTROLLER_BROKER_SILENT, (struct controller_sighting){id, epoch, asked_ms});
}

static void look_at_suspects(struct controller *c)
{
    struct controller_suspect suspects[SUSPECTS_MAX];
    size_t count = controller_core_suspects(c->core, now_ms(c), suspects, SUSPECTS_MAX);

    for (size_t i = 0; i < count && c->watch; i++)
        broker_watch_look(c->watch,
                          metadata_image_broker(controller_core_image(c->core), suspects[i].id));
}

void controller_retire(struct controller *c, void (*retired)(void *arg), void *arg)
{
    c->retiring = true;
    c->retired = retired;
    c->retired_arg = arg;
    maybe_retired(c);
}

void controller_node_lost(struct controller *c, int32_t id)
{
    const struct metadata_broker *b =
        c->core && c->watch && id != c->args.node_id
            ? metadata_image_broker(controller_core_image(c->core), id)
            : NULL;

    if (b && !b->fenced)
        broker_watch_look(c->watch, b);
}

static void tick_fire(struct timer *t)
{
    struct controller *c = CONTAINER_OF(t, struct controller, tick);
    struct controller_output out;
    struct controller_moment at;

    c->tick_at_ms = INT64_MAX;
    if (!c->core)
        return;
    at = moment(c);
    controller_core_tick(c->core, at, &out);
    if (!append(c, &out, at.next_offset))
        return;
    look_at_suspects(c);
    arm_tick(c);
}

static void publish(struct controller *c);

static struct controller_deposed deposed(const struct controller *c)
{
    struct controller_deposed d = {NO_LEADER, 0};

    raft_node_last_followed(c->raft, &d.id, &d.last_contact_ms);
    return d;
}

static void start_leading(struct controller *c, int32_t epoch)
{
    struct controller_core_args args = {
        .node_id = c->args.node_id,
        .cluster_id = c->cluster_id,
        .given = c->args.given,
        .random = c->args.random,
        .deposed = deposed(c),
        .transaction_open = metadata_loader_in_transaction(c->loader),
    };
    struct controller_moment at = moment(c);
    struct controller_output out;

    if (!c->image) { /* a log without even a first snapshot */
        metadata_loader_begin_snapshot(c->loader);
        metadata_loader_end_snapshot(c->loader, (struct snapshot_position){-1, 0, -1});
        publish(c);
    }
    c->epoch = epoch;
    c->core = controller_core_create(&args, c->image, at.now_ms);
    controller_core_activate(c->core, &c->args.self, at, &out);
    logger_event(c->args.logger, LOGGER_INFO, "controller_active", "epoch=%d records=%zu", epoch,
                 out.count);
    if (append(c, &out, at.next_offset))
        arm_tick(c);
}

/* ---- snapshots of our own ---- */

static struct status snapshot_next(void *arg, const struct bytes **values, size_t *count)
{
    struct controller *c = arg;

    metadata_dump_next(c->dump, values, count);
    return STATUS_OK;
}

static void snapshot_done(void *arg, struct status result)
{
    struct controller *c = arg;

    if (status_failed(result))
        logger_event(c->args.logger, LOGGER_ERROR, "metadata_snapshot_failed",
                     "reason=%s where=\"%s\" errno=%d", kerr_name(result.code),
                     result.where ? result.where : "", result.sys_errno);
    metadata_dump_free(c->dump);
    c->dump = NULL;
}

static bool snapshot_due(const struct controller *c)
{
    int64_t bytes_max =
        config_values_integer(c->args.given, "metadata.log.max.record.bytes.between.snapshots");
    int64_t interval_ms =
        config_values_integer(c->args.given, "metadata.log.max.snapshot.interval.ms");

    if (c->dump || c->bytes_since_snapshot == 0)
        return false;
    return c->bytes_since_snapshot >= bytes_max ||
           (interval_ms > 0 && now_ms(c) - c->snapshot_ms >= interval_ms);
}

static void maybe_take_snapshot(struct controller *c)
{
    struct raft_snapshot_source source = {c, snapshot_next, snapshot_done};
    struct status st;

    if (!snapshot_due(c))
        return;
    c->bytes_since_snapshot = 0;
    c->snapshot_ms = now_ms(c);
    c->dump = metadata_dump_create(c->image);
    st = raft_node_take_snapshot(c->raft, metadata_image_offset(c->image) + 1,
                                 metadata_image_timestamp_ms(c->image), &source);
    if (status_failed(st)) /* one is being written, or this state has one: the next time, then */
        snapshot_done(c, STATUS_OK);
}

/* ---- what the log tells ---- */

static void publish(struct controller *c)
{
    const struct metadata_image *image;
    const struct metadata_delta *delta;

    if (!metadata_loader_publish(c->loader, &image, &delta))
        return;
    metadata_image_release(c->image);
    c->image = image;
    /* Once all that the core put out is committed, its state is this very one: let them share
     * memory. */
    if (c->core &&
        metadata_image_offset(controller_core_image(c->core)) == metadata_image_offset(image))
        controller_core_rebase(c->core, image);
    c->args.on_publish(c->args.arg, image, delta);
    metadata_delta_release(delta);
}

static void on_snapshot_begin(void *arg, struct raft_snapshot_id id,
                              int64_t last_contained_timestamp_ms)
{
    struct controller *c = arg;

    c->loading = id;
    c->loading_timestamp_ms = last_contained_timestamp_ms;
    metadata_loader_begin_snapshot(c->loader);
}

static void on_snapshot_records(void *arg, const struct bytes *values, size_t count)
{
    struct controller *c = arg;
    struct status st = metadata_loader_apply_snapshot(c->loader, values, count);

    if (status_failed(st))
        fail(c, st);
}

static void on_snapshot_end(void *arg)
{
    struct controller *c = arg;
    struct status st = metadata_loader_end_snapshot(
        c->loader, (struct snapshot_position){c->loading.end_offset - 1, c->loading.epoch,
                                              c->loading_timestamp_ms});

    if (status_failed(st))
        fail(c, st);
    c->bytes_since_snapshot = 0;
    if (c->delivered_end < c->loading.end_offset)
        c->delivered_end = c->loading.end_offset;
}

static void on_commit(void *arg, const struct raft_commit *commit)
{
    struct controller *c = arg;
    struct metadata_batch batch = {
        .base_offset = commit->base_offset,
        .epoch = commit->epoch,
        .timestamp_ms = commit->append_timestamp_ms,
        .values = commit->values,
        .count = commit->count,
    };
    struct status st;

    if (c->failed)
        return;
    st = metadata_loader_apply(c->loader, &batch);
    if (status_failed(st)) {
        fail(c, st);
        return;
    }
    for (size_t i = 0; i < commit->count; i++)
        c->bytes_since_snapshot += (int64_t)commit->values[i].size;
    c->delivered_end = commit->last_offset + 1;
}

static void on_caught_up(void *arg, int64_t next_offset)
{
    struct controller *c = arg;

    if (c->failed || c->stopped)
        return;
    if (c->delivered_end < next_offset)
        c->delivered_end = next_offset;
    publish(c);
    answer_committed(c);
    maybe_take_snapshot(c);
    maybe_retired(c);
}

static void on_leader_change(void *arg, int32_t epoch, int32_t leader_id, bool we_lead)
{
    struct controller *c = arg;

    if (c->failed || c->stopped)
        return;
    stop_leading(c);
    if (we_lead && c->args.may_lead) {
        publish(c);
        start_leading(c, epoch);
    }
    c->args.on_leader(c->args.arg, leader_id, epoch);
    maybe_retired(c);
}

static void on_raft_failed(void *arg, struct status why)
{
    fail(arg, why);
}

struct raft_listener controller_raft_listener(struct controller *c)
{
    return (struct raft_listener){
        .arg = c,
        .snapshot_begin = on_snapshot_begin,
        .snapshot_records = on_snapshot_records,
        .snapshot_end = on_snapshot_end,
        .commit = on_commit,
        .caught_up = on_caught_up,
        .leader_change = on_leader_change,
        .failed = on_raft_failed,
    };
}

/* ---- requests ---- */

void controller_submit(struct controller *c, struct controller_request *r)
{
    struct controller_output out;
    struct controller_moment at;

    if (!c->core || c->retiring) {
        answer(c, r,
               (struct controller_result){KERR_NOT_CONTROLLER,
                                          "This node is not the active controller."});
        return;
    }
    at = moment(c);
    if (r->operation == CONTROLLER_UPDATE_FEATURES) {
        r->features.voters = raft_node_voters(c->raft);
        r->features.kraft_version = raft_node_kraft_version(c->raft);
    }
    r->answer = controller_core_step(c->core, r, at, &out);
    /* A refusal waits too: what it was decided on may not be committed yet. */
    r->wait_offset = at.next_offset + (int64_t)out.count - 1;
    list_add(&c->waiting_end, r);
    if (!append(c, &out, at.next_offset)) /* r was answered with the others */
        return;
    arm_tick(c);
    if (r->wait_offset < c->delivered_end && c->waiting == r)
        answer(c, list_take(&c->waiting, &c->waiting_end), r->answer);
}

/* ---- life ---- */

struct controller *controller_create(const struct controller_args *args)
{
    struct controller *c = memory_zalloc(1, sizeof *c);

    c->args = *args;
    c->cluster_id = memory_str(args->cluster_id);
    c->args.cluster_id = c->cluster_id;
    c->loader = metadata_loader_create(args->node_id, args->given);
    c->tick_at_ms = INT64_MAX;
    c->waiting_end = &c->waiting;
    c->answered_end = &c->answered;
    c->answer_task.run = answer_run;
    c->snapshot_ms = now_ms(c);
    timer_init(args->loop, &c->tick, tick_fire);
    if (args->transport) {
        struct broker_watch_args watch = {.loop = args->loop,
                                          .transport = args->transport,
                                          .logger = args->logger,
                                          .arg = c,
                                          .on_refused = on_refused,
                                          .on_silent = on_silent};

        c->watch = broker_watch_create(&watch);
    }
    return c;
}

void controller_set_raft(struct controller *c, struct raft_node *raft)
{
    c->raft = raft;
}

bool controller_active(const struct controller *c)
{
    return c->core != NULL;
}

const struct metadata_image *controller_image(const struct controller *c)
{
    return c->image;
}

void controller_stop(struct controller *c)
{
    stop_leading(c);
    c->stopped = true;
    deliver_answers(c);
}

void controller_free(struct controller *c)
{
    if (!c)
        return;
    stop_leading(c);
    deliver_answers(c);
    broker_watch_free(c->watch);
    timer_free(c->args.loop, &c->tick);
    metadata_dump_free(c->dump);
    metadata_image_release(c->image);
    metadata_loader_free(c->loader);
    free((void *)(uintptr_t)c->cluster_id.data);
    free(c);
}
