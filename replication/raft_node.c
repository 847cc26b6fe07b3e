/* Start, stop and the public calls of the Raft node. What follows from a step of the core is in
 * raft_node_effects.c, delivery in raft_node_deliver.c, voters in raft_node_voters.c. */

#include "replication/raft_node.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"
#include "replication/control_records.h"
#include "replication/memory.h"
#include "replication/quorum_state.h"
#include "replication/raft_node_internal.h"

#define SCAN_BYTES ((size_t)1024 * 1024)

int64_t raft_node_now_ms(const struct raft_node *n)
{
    return clock_monotonic_us(n->loop->clock) / 1000;
}

void raft_node_fail(struct raft_node *n, struct status why)
{
    if (n->state != NODE_RUNNING)
        return;
    n->state = NODE_FAILED;
    n->failure = why;
    timer_stop(n->loop, &n->timer);
    logger_event(n->logger, LOGGER_ERROR, "metadata_log_failed", "at=\"%s\" code=%s errno=%d",
                 why.where ? why.where : "", kerr_name(why.code), why.sys_errno);
    raft_node_deliver_soon(n);
}

void raft_node_idle(struct raft_node *n)
{
    CHECK(n->busy > 0);
    n->busy--;
    if (n->busy == 0 && n->state == NODE_STOPPING)
        n->stopped(n->stopped_arg); /* may free n */
}

void raft_node_submit(struct raft_node *n, struct job *j, void (*run)(struct job *),
                      void (*done)(struct task *))
{
    n->busy++;
    j->run = run;
    j->done.run = done;
    j->home = n->loop;
    pool_submit(n->pool, j);
}

/* ---- opening ---- */

#define WEEK_MS ((int64_t)7 * 24 * 3600 * 1000)

static int64_t or_default(int64_t value, int64_t initial)
{
    return value == 0 ? initial : value;
}

static struct log_config metadata_log_config(const struct raft_node_args *args)
{
    return (struct log_config){
        .retention_ms = -1, /* only snapshots let go of the log */
        .retention_bytes = -1,
        .segment_ms = or_default(args->segment_ms, WEEK_MS),
        .segment_bytes = (int32_t)or_default(args->segment_bytes, 1024 * 1024 * 1024),
        .segment_index_bytes = 10 * 1024 * 1024,
        .index_interval_bytes = 4096,
        .max_message_bytes = INT32_MAX,
        .max_decompressed_message_bytes = INT32_MAX,
        .flush_messages = INT64_MAX,
        .flush_ms = INT64_MAX,
        .message_timestamp_before_max_ms = INT64_MAX,
        .message_timestamp_after_max_ms = INT64_MAX,
        .cleanup_delete = true,
        .compression_type = LOG_COMPRESSION_PRODUCER,
    };
}

static struct raft_node *node_new(const struct raft_node_args *args)
{
    struct raft_node *n = calloc(1, sizeof *n);

    if (!n)
        return NULL;
    n->loop = args->loop;
    n->pool = args->pool;
    n->files = args->files;
    n->logger = args->logger;
    n->transport = args->transport;
    n->listener = args->listener;
    n->self = args->self;
    n->retention_bytes = or_default(args->retention_bytes, 100 * 1024 * 1024);
    n->retention_ms = or_default(args->retention_ms, WEEK_MS);
    n->log_config = metadata_log_config(args);
    n->told_epoch = -1;
    n->told_leader = RAFT_NO_NODE;
    record_batch_builder_init(&n->builder);
    n->cluster_id = memory_str(args->cluster_id);
    if (args->static_voters) {
        n->static_voters = voter_set_copy(args->static_voters);
        CHECK(n->static_voters && "out of memory for voters");
    }
    n->directory = strdup(args->directory);
    if (asprintf(&n->quorum_state_path, "%s/" QUORUM_STATE_FILE, args->directory) < 0)
        n->quorum_state_path = NULL;
    n->scratch = compression_scratch_new();
    if (args->endpoint_count > 0) {
        struct raft_voter self = {.key = args->self,
                                  .endpoints = args->endpoints,
                                  .endpoint_count = args->endpoint_count};

        n->own_endpoints = voter_set_create(&self, 1);
    }
    n->auto_join = args->auto_join;
    n->bootstrap = memory_zalloc(args->bootstrap_count, sizeof *n->bootstrap);
    for (; n->bootstrap_count < args->bootstrap_count; n->bootstrap_count++)
        n->bootstrap[n->bootstrap_count] =
            (struct raft_place){memory_str(args->bootstrap[n->bootstrap_count].host),
                                args->bootstrap[n->bootstrap_count].port};
    return n;
}

static void node_free(struct raft_node *n)
{
    raft_node_deliver_free(n);
    raft_node_fetch_snapshot_free(n);
    for (size_t i = 0; i < n->bootstrap_count; i++)
        free((void *)(uintptr_t)n->bootstrap[i].host.data);
    free(n->bootstrap);
    free((void *)(uintptr_t)n->leader_place.host.data);
    voter_set_free(n->static_voters);
    free((void *)(uintptr_t)n->cluster_id.data);
    for (size_t i = 0; i < n->voter_history_count; i++)
        voter_set_free(n->voter_history[i].voters);
    voter_set_free(n->own_endpoints);
    record_batch_builder_free(&n->builder);
    if (n->scratch)
        compression_scratch_free(n->scratch);
    free(n->directory);
    free(n->quorum_state_path);
    free(n);
}

/* Opens the newest snapshot and takes its voters. Its records are read after the start. */
static struct status open_snapshot(struct raft_node *n)
{
    struct status st = raft_node_find_snapshots(n);
    const struct snapshot_head *head;
    struct raft_snapshot_id id;
    struct voter_set *voters;

    if (status_failed(st) || n->snapshot_count == 0)
        return st;
    id = raft_node_latest_snapshot(n);
    st = snapshot_reader_open(n->files, n->directory, id, &n->loading);
    if (status_failed(st))
        return st;
    n->next_offset = id.end_offset;
    head = snapshot_reader_head(n->loading);
    if (!head->voters)
        return STATUS_OK; /* kraft.version 0 */
    voters = voter_set_copy(head->voters);
    if (!voters)
        return status_errno(ENOMEM, "open snapshot");
    raft_node_add_voters(n, id.end_offset - 1, head->kraft_version, voters);
    return STATUS_OK;
}

/* A snapshot was fetched, and the log not yet restarted at it when the node died: it does not reach
 * the snapshot's end, or did so under leaders before the one that wrote what the snapshot holds. */
static bool must_begin_anew(const struct raft_node *n)
{
    int32_t epoch = log_latest_epoch(n->log);

    return log_end_offset(n->log) < n->next_offset ||
           (epoch >= 0 && epoch < raft_node_latest_snapshot(n).epoch);
}

static struct status open_log(struct raft_node *n, const struct raft_node_args *args,
                              struct log_recovery_report *report)
{
    struct log_args log_args = {
        .files = n->files,
        .clock = n->loop->clock,
        .directory = n->directory,
        .topic_id = uuid_from_number(1),
        .config = &n->log_config,
        .producer_id_expiration_ms = INT64_MAX,
        .scratch = n->scratch,
        .logger = n->logger,
        .recovery_point = args->recovery_point,
        .log_start_offset = raft_node_oldest_snapshot(n).end_offset,
        .trust = args->trust,
    };
    struct status st;

    if (log_args.log_start_offset < 0)
        log_args.log_start_offset = 0;
    st = log_open(&log_args, &n->log, report);
    if (status_failed(st))
        return st;
    if (must_begin_anew(n))
        st = log_truncate_fully(n->log, n->next_offset);
    return status_failed(st) ? st : raft_node_drop_stale_snapshots(n);
}

/* Under kraft.version 0 the voters are in the settings; a set in the log or in a snapshot takes
 * their place. */
static struct status take_static_voters(struct raft_node *n)
{
    struct voter_set *voters;

    if (n->voter_history_count > 0 || (!n->static_voters && n->bootstrap_count == 0))
        return STATUS_OK;
    /* A node that does not vote learns of those who do from the log. */
    voters = n->static_voters ? voter_set_copy(n->static_voters) : voter_set_create_empty();
    if (!voters)
        return status_errno(ENOMEM, "static voters");
    raft_node_add_voters(n, -1, 0, voters);
    return STATUS_OK;
}

/* Control records past the snapshot: the newest voters count even before they are committed. */
static struct status scan_log(struct raft_node *n)
{
    struct log_read_args args = {.offset = n->next_offset,
                                 .end_offset = log_end_offset(n->log),
                                 .max_bytes = SCAN_BYTES,
                                 .min_one = true};
    struct status st = STATUS_OK;

    while (!status_failed(st) && args.offset < args.end_offset) {
        struct log_slice slice = {0};

        st = log_read(n->log, &args, &slice);
        if (status_failed(st))
            return st;
        st = raft_node_read_slice(n, &slice);
        log_slice_release(&slice);
        if (!status_failed(st))
            st = raft_node_note_control(n, (struct bytes){n->read_buffer, n->read_size},
                                        &args.offset);
    }
    return st;
}

static struct status init_core(struct raft_node *n, const struct raft_node_args *args)
{
    struct raft_core_args core = {
        .self = n->self,
        .timeouts = args->timeouts,
        .log_start_offset = log_start_offset(n->log),
        .log_end_offset = log_end_offset(n->log),
        .flushed_end_offset = log_flushed_end_offset(n->log),
        .last_epoch = log_latest_epoch(n->log),
        .oldest_snapshot = raft_node_oldest_snapshot(n),
        .latest_snapshot = raft_node_latest_snapshot(n),
    };
    struct status st = quorum_state_read(n->files, n->quorum_state_path, &core.election);

    if (status_failed(st))
        return st;
    if (n->voter_history_count == 0)
        return status_error(KERR_INCONSISTENT_VOTER_SET, "metadata directory is not formatted");
    core.voters = raft_node_newest_voters(n)->voters;
    core.voters_offset = raft_node_newest_voters(n)->offset;
    core.kraft_version = raft_node_newest_voters(n)->kraft_version;
    core.was_voter = raft_node_was_voter(n);
    core.bootstrap_count = n->bootstrap_count;
    if (core.last_epoch < 0)
        core.last_epoch = core.latest_snapshot.end_offset >= 0 ? core.latest_snapshot.epoch : 0;
    if (core.election.epoch > RAFT_EPOCH_MAX || core.last_epoch > RAFT_EPOCH_MAX)
        return status_error(KERR_CORRUPT_MESSAGE,
                            "metadata log or quorum-state: an impossible epoch");
    random_fill(args->random, &core.random_seed, sizeof core.random_seed);
    n->durable_epoch = core.election.epoch;
    raft_core_init(&n->core, &core, raft_node_now_ms(n));
    return STATUS_OK;
}

/* A kill may have left a vote or a snapshot under its name in the page cache only: what is built
 * upon either from now on would outlive it. */
static struct status sync_names(const struct raft_node *n)
{
    const struct status st = n->files->ops->sync_directory(n->files, n->directory);

    return st.sys_errno == ENOENT ? STATUS_OK : st;
}

struct status raft_node_open(const struct raft_node_args *args, struct raft_node **out,
                             struct log_recovery_report *report)
{
    struct raft_node *n = node_new(args);
    struct status st = STATUS_OK;

    *report = (struct log_recovery_report){0};
    if (!n || !n->directory || !n->quorum_state_path || !n->scratch ||
        (args->endpoint_count > 0 && !n->own_endpoints))
        st = status_errno(ENOMEM, "open metadata log");
    /* who joins a quorum may have nothing yet */
    if (!status_failed(st) && args->bootstrap_count > 0)
        st = files_make_directories(n->files, n->directory);
    if (!status_failed(st))
        st = sync_names(n);
    if (!status_failed(st))
        st = open_snapshot(n);
    if (!status_failed(st))
        st = open_log(n, args, report);
    if (!status_failed(st))
        st = take_static_voters(n);
    if (!status_failed(st))
        st = scan_log(n);
    if (!status_failed(st))
        st = init_core(n, args);
    if (status_failed(st)) {
        if (n && n->log)
            log_close(n->log, false);
        if (n)
            node_free(n);
        return st;
    }
    *out = n;
    return STATUS_OK;
}

/* ---- running ---- */

static void on_timer(struct timer *t)
{
    struct raft_node *n = CONTAINER_OF(t, struct raft_node, timer);

    if (n->state == NODE_RUNNING)
        raft_node_step(n, &(struct raft_event){.type = RAFT_TICK});
}

void raft_node_start(struct raft_node *n)
{
    CHECK(n->state == NODE_OPEN);
    n->state = NODE_RUNNING;
    timer_init(n->loop, &n->timer, on_timer);
    raft_node_waiting_init(n);
    raft_node_membership_start(n);
    raft_node_step(n, &(struct raft_event){.type = RAFT_TICK});
    raft_node_flush(n); /* what the run before had not */
    raft_node_deliver_soon(n);
}

void raft_node_stop(struct raft_node *n, void (*stopped)(void *arg), void *arg)
{
    CHECK(n->state == NODE_RUNNING || n->state == NODE_FAILED);
    n->state = NODE_STOPPING;
    n->stopped = stopped;
    n->stopped_arg = arg;
    timer_stop(n->loop, &n->timer);
    timer_stop(n->loop, &n->wait_timer);
    raft_node_cancel_calls(n);
    raft_node_fetch_snapshot_cancel(n);
    raft_node_membership_stop(n);
    raft_node_refuse_requests(n);
    raft_node_deliver_soon(n); /* the last of the busy ones calls stopped(), never this call */
}

struct status raft_node_close(struct raft_node *n, bool clean)
{
    struct status st;

    CHECK(n->busy == 0);
    if (n->state != NODE_OPEN) {
        timer_free(n->loop, &n->timer);
        timer_free(n->loop, &n->wait_timer);
        raft_node_cancel_calls(n); /* closed without a stop */
        raft_node_membership_free(n);
    }
    st = log_close(n->log, clean && n->state != NODE_FAILED);
    node_free(n);
    return st;
}

/* ---- appending ---- */

static size_t record_room(const struct bytes *value)
{
    struct record_content r = {.value = *value};

    return record_size_bytes_max(&r);
}

/* A batch must fit a segment, too. */
static size_t batch_bytes_max(const struct raft_node *n)
{
    return n->log_config.segment_bytes < RAFT_BATCH_BYTES_MAX ? (size_t)n->log_config.segment_bytes
                                                              : RAFT_BATCH_BYTES_MAX;
}

static struct status check_sizes(const struct raft_node *n, const struct bytes *values,
                                 size_t count, bool atomically)
{
    size_t max = batch_bytes_max(n);
    size_t total = RECORD_BATCH_HEADER_BYTES;

    for (size_t i = 0; i < count; i++) {
        size_t room = record_room(&values[i]);

        if (room > max - RECORD_BATCH_HEADER_BYTES || (atomically && room > max - total))
            return status_error(KERR_RECORD_LIST_TOO_LARGE, "append to the metadata log");
        if (atomically)
            total += room;
    }
    return STATUS_OK;
}

/* One batch of as many values as fit; answers how many. 0: failed. */
static size_t append_some(struct raft_node *n, int32_t epoch, const struct bytes *values,
                          size_t count, struct status *st)
{
    struct record_batch_head head = RECORD_BATCH_HEAD_PLAIN;
    int64_t now_ms = clock_wall_ms(n->loop->clock);
    struct bytes_mut batch;
    size_t taken = 0;

    head.base_offset = log_end_offset(n->log);
    head.leader_epoch = epoch;
    record_batch_builder_begin(&n->builder, &head);
    while (taken < count && record_batch_builder_size(&n->builder) + record_room(&values[taken]) <=
                                batch_bytes_max(n))
        record_batch_builder_append(
            &n->builder,
            &(struct record_content){.timestamp_ms = now_ms, .value = values[taken++]});
    *st = record_batch_builder_finish(&n->builder, NULL, &batch);
    if (!status_failed(*st))
        *st = raft_node_append_batch(n, batch, epoch);
    return status_failed(*st) ? 0 : taken;
}

struct status raft_node_append(struct raft_node *n, int32_t epoch, const struct bytes *values,
                               size_t count, bool atomically, int64_t *last_offset)
{
    struct raft_event ev = {.type = RAFT_APPENDED, .log = {.last_epoch = epoch}};
    struct status st;
    size_t done = 0;

    CHECK(count > 0);
    if (n->state == NODE_FAILED)
        return n->failure;
    if (!raft_node_leads(n) || epoch != n->core.election.epoch)
        return status_error(KERR_NOT_CONTROLLER, "append to the metadata log");
    st = check_sizes(n, values, count, atomically);
    if (status_failed(st))
        return st;
    while (done < count) {
        size_t taken = append_some(n, epoch, values + done, count - done, &st);

        if (taken == 0)
            return st;
        done += taken;
    }
    ev.log.end_offset = log_end_offset(n->log);
    *last_offset = ev.log.end_offset - 1;
    raft_node_step(n, &ev);
    raft_node_wake_fetches(n);
    raft_node_flush(n);
    return STATUS_OK;
}

/* ---- looking, and giving up ---- */

int64_t raft_node_high_watermark(const struct raft_node *n)
{
    return n->core.high_watermark;
}

int64_t raft_node_end_offset(const struct raft_node *n)
{
    return log_end_offset(n->log);
}

int64_t raft_node_start_offset(const struct raft_node *n)
{
    return log_start_offset(n->log);
}

int32_t raft_node_epoch(const struct raft_node *n)
{
    return n->core.election.epoch;
}

int32_t raft_node_leader_id(const struct raft_node *n)
{
    return n->told_leader;
}

bool raft_node_leads(const struct raft_node *n)
{
    return n->state == NODE_RUNNING && n->told_we_lead && n->core.role == RAFT_LEADER &&
           n->told_epoch == n->core.election.epoch;
}

void raft_node_last_followed(const struct raft_node *n, int32_t *id, int64_t *last_contact_ms)
{
    *id = n->core.followed_id;
    *last_contact_ms = n->core.followed_ms;
}

const struct voter_set *raft_node_voters(const struct raft_node *n)
{
    return raft_node_newest_voters(n)->voters;
}

bool raft_node_leader_address(const struct raft_node *n, struct transport_node *out)
{
    return raft_node_address(n, n->core.election.leader_id, out);
}

int16_t raft_node_kraft_version(const struct raft_node *n)
{
    return raft_node_newest_voters(n)->kraft_version;
}

void raft_node_resign(struct raft_node *n, int32_t epoch)
{
    if (n->state == NODE_RUNNING && n->core.role == RAFT_LEADER && n->core.election.epoch == epoch)
        raft_node_step(n, &(struct raft_event){.type = RAFT_RESIGN});
}
