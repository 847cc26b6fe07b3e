/* Carries out what the Raft core wishes, in the order that raft_node.h gives. */

#include "protocol/base/check.h"
#include "replication/quorum_state.h"
#include "replication/raft_node_internal.h"

/* ---- quorum-state ---- */

static void run_persist(struct job *j)
{
    struct raft_node *n = CONTAINER_OF(j, struct raft_node, persist_job);

    n->persist_result = quorum_state_write(n->files, n->quorum_state_path, &n->persisting);
}

static void feed_flushed(struct raft_node *n)
{
    struct raft_event ev = {.type = RAFT_FLUSHED,
                            .log = {.end_offset = log_flushed_end_offset(n->log)}};

    if (!n->persist_busy && n->state == NODE_RUNNING &&
        ev.log.end_offset > n->core.flushed_end_offset)
        raft_node_step(n, &ev);
}

static void persist(struct raft_node *n);

static void persist_done(struct task *t)
{
    struct raft_node *n =
        CONTAINER_OF(CONTAINER_OF(t, struct job, done), struct raft_node, persist_job);

    n->persist_busy = false;
    if (status_failed(n->persist_result))
        raft_node_fail(n, n->persist_result);
    else
        n->durable_epoch = n->persisting.epoch;
    if (n->persist_again && n->state == NODE_RUNNING)
        persist(n);
    if (!n->persist_busy && n->state == NODE_RUNNING) {
        raft_node_answer_durable(n);
        raft_node_release_held(n);
    }
    feed_flushed(n);
    raft_node_idle(n);
}

/* Writes the newest election; one write at a time, so several changes may share one. */
static void persist(struct raft_node *n)
{
    n->persist_again = n->persist_busy;
    if (n->persist_busy)
        return;
    n->persist_busy = true;
    n->persisting = n->core.election;
    raft_node_submit(n, &n->persist_job, run_persist, persist_done);
}

/* ---- the log ---- */

static void run_flush(struct job *j)
{
    struct raft_node *n = CONTAINER_OF(j, struct raft_node, flush_job);

    n->flush_result = log_flush_run(&n->flush);
}

static void flush_done(struct task *t)
{
    struct raft_node *n =
        CONTAINER_OF(CONTAINER_OF(t, struct job, done), struct raft_node, flush_job);

    n->flush_busy = false;
    log_flush_end(n->log, &n->flush, n->flush_result);
    if (status_failed(n->flush_result))
        raft_node_fail(n, n->flush_result);
    feed_flushed(n);
    if (n->snapshot_fetch.reader)
        raft_node_deliver_soon(n); /* it may have waited to be put in place */
    raft_node_flush(n);
    raft_node_idle(n);
}

/* Group commit: what is appended while one flush runs shares the next. */
void raft_node_flush(struct raft_node *n)
{
    if (n->flush_busy || n->state != NODE_RUNNING)
        return;
    n->flush = (struct log_flush){0};
    if (!log_flush_begin(n->log, &n->flush))
        return;
    n->flush_busy = true;
    raft_node_submit(n, &n->flush_job, run_flush, flush_done);
}

struct status raft_node_append_batch(struct raft_node *n, struct bytes_mut batch, int32_t epoch)
{
    struct log_appended appended;
    struct status st = log_append_as_leader(n->log, batch, epoch, LOG_ORIGIN_RAFT, &appended, NULL);

    if (status_failed(st))
        raft_node_fail(n, st); /* our own batch: whatever it is, we cannot lead with this log */
    return st;
}

static void feed_appended(struct raft_node *n, int32_t epoch)
{
    struct raft_event ev = {.type = RAFT_APPENDED,
                            .log = {.end_offset = log_end_offset(n->log), .last_epoch = epoch}};

    raft_node_step(n, &ev);
}

static void start_epoch(struct raft_node *n)
{
    int32_t epoch = n->core.election.epoch;
    int64_t offset = log_end_offset(n->log);
    struct voter_set *voters = NULL;
    struct bytes_mut batch;
    struct status st = log_start_epoch(n->log, epoch);

    if (!status_failed(st))
        st = raft_node_build_leader_change(n, &batch, &voters);
    if (status_failed(st)) {
        raft_node_fail(n, st);
        return;
    }
    st = raft_node_append_batch(n, batch, epoch);
    if (status_failed(st)) {
        voter_set_free(voters);
        return;
    }
    logger_event(n->logger, LOGGER_INFO, "raft_leader", "epoch=%d offset=%lld", epoch,
                 (long long)offset);
    feed_appended(n, epoch);
    raft_node_wake_fetches(n);
    if (voters)
        raft_node_add_voters(n, log_end_offset(n->log) - 1, 1, voters);
    raft_node_flush(n);
}

struct status raft_node_append_voters(struct raft_node *n, struct voter_set *voters,
                                      int16_t kraft_version)
{
    int32_t epoch = n->core.election.epoch;
    struct bytes_mut batch;
    struct status st = raft_node_build_voters(n, voters, kraft_version, &batch);

    if (!status_failed(st))
        st = raft_node_append_batch(n, batch, epoch);
    if (status_failed(st)) {
        voter_set_free(voters);
        return st;
    }
    feed_appended(n, epoch);
    if (kraft_version < 0)
        kraft_version = raft_node_newest_voters(n)->kraft_version;
    raft_node_add_voters(n, log_end_offset(n->log) - 1, kraft_version, voters);
    raft_node_wake_fetches(n);
    raft_node_flush(n);
    return STATUS_OK;
}

static void truncate_log(struct raft_node *n, int64_t to)
{
    struct raft_event ev = {.type = RAFT_TRUNCATED, .log = {.end_offset = to}};
    struct status st;

    CHECK(!n->flush_busy); /* raft_node_peers.c */
    st = log_truncate_to(n->log, to);
    if (status_failed(st)) {
        raft_node_fail(n, st);
        return;
    }
    ev.log.last_epoch =
        log_latest_epoch(n->log) < 0 ? n->core.oldest_snapshot.epoch : log_latest_epoch(n->log);
    raft_node_step(n, &ev);
    if (raft_node_forget_voters(n, to))
        raft_node_tell_voters(n);
}

/* The batches were checked when they came (raft_node_peers.c): that they do not fit is our disk's
 * fault. */
static void append_fetched(struct raft_node *n)
{
    struct bytes_mut batches = n->fetched;
    int64_t next_offset = log_end_offset(n->log);
    struct log_appended appended;
    struct status st;

    n->fetched = (struct bytes_mut){NULL, 0};
    st = log_append_as_follower(n->log, batches, LOG_ORIGIN_RAFT, &appended);
    if (!status_failed(st)) {
        feed_appended(n, log_latest_epoch(n->log));
        st = raft_node_note_control(n, (struct bytes){batches.data, batches.size}, &next_offset);
    }
    if (status_failed(st)) {
        raft_node_fail(n, st);
        return;
    }
    raft_node_flush(n);
}

static void set_timer(struct raft_node *n, int64_t deadline_ms, int64_t now_ms)
{
    if (deadline_ms == INT64_MAX)
        timer_stop(n->loop, &n->timer);
    else
        timer_start(n->loop, &n->timer, deadline_ms > now_ms ? (deadline_ms - now_ms) * 1000 : 0);
}

struct raft_answer raft_node_step(struct raft_node *n, const struct raft_event *ev)
{
    int64_t now_ms = raft_node_now_ms(n);
    struct raft_effects fx;

    raft_core_step(&n->core, ev, now_ms, &fx);
    if (fx.broken) {
        raft_node_fail(n, status_error(KERR_UNKNOWN_SERVER_ERROR, fx.broken));
        return fx.answer;
    }
    set_timer(n, fx.deadline_ms, now_ms);
    raft_node_hold(n, fx.messages, fx.message_count); /* they point into the core: before it
                                                       * takes another step */
    if (fx.truncate_to >= 0)
        truncate_log(n, fx.truncate_to);
    if (fx.high_watermark_moved)
        log_high_watermark_moved(n->log, n->core.high_watermark);
    if (fx.high_watermark_moved || fx.leadership_changed)
        raft_node_deliver_soon(n);
    if (fx.persist)
        persist(n);
    if (fx.start_epoch)
        start_epoch(n);
    if (fx.append_fetched)
        append_fetched(n);
    if (fx.fetch_snapshot)
        raft_node_fetch_snapshot(n, fx.snapshot_id);
    if (fx.high_watermark_moved || fx.leadership_changed) {
        raft_node_wake_fetches(n);
        raft_node_membership_moved(n);
    }
    raft_node_release_held(n);
    return fx.answer;
}
