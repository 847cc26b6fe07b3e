/* Hands committed records up: the newest snapshot first, then the log from its end to the high
 * watermark, then who leads. One posted task does it, so that the listener is never called from
 * within a call into the node. What is in the page cache is read on the loop; the rest in the
 * pool. */

#include <errno.h>
#include <stdlib.h>

#include "protocol/base/check.h"
#include "replication/raft_node_internal.h"

#define ROUND_BYTES ((size_t)1024 * 1024) /* of log, before the loop gets its turn again */

static void deliver(struct raft_node *n);

static void run_deliver(struct task *t)
{
    struct raft_node *n = CONTAINER_OF(t, struct raft_node, deliver_task);

    n->deliver_posted = false;
    deliver(n);
    raft_node_idle(n);
}

void raft_node_deliver_soon(struct raft_node *n)
{
    if (n->deliver_posted)
        return;
    n->deliver_posted = true;
    n->busy++;
    n->deliver_task.run = run_deliver;
    loop_post(n->loop, &n->deliver_task);
}

void raft_node_deliver_free(struct raft_node *n)
{
    snapshot_reader_close(n->loading);
    free(n->read_buffer);
    free(n->values);
}

/* ---- leadership ---- */

static void tell_leadership(struct raft_node *n)
{
    const struct raft_core *c = &n->core;
    bool leads = c->role == RAFT_LEADER && c->high_watermark > c->epoch_start_offset &&
                 n->next_offset > c->epoch_start_offset;
    int32_t leader = c->role == RAFT_LEADER && !leads ? RAFT_NO_NODE : c->election.leader_id;

    if (c->role == RAFT_RESIGNED)
        leader = RAFT_NO_NODE;
    if (c->election.epoch == n->told_epoch && leader == n->told_leader && leads == n->told_we_lead)
        return;
    n->told_epoch = c->election.epoch;
    n->told_leader = leader;
    n->told_we_lead = leads;
    n->listener.leader_change(n->listener.arg, n->told_epoch, leader, leads);
}

/* ---- the snapshot ---- */

static void run_load(struct job *j)
{
    struct raft_node *n = CONTAINER_OF(j, struct raft_node, read_job);

    n->read_result = snapshot_reader_next(n->loading, &n->loaded_values, &n->loaded_count);
}

static void load_done(struct task *t)
{
    struct raft_node *n =
        CONTAINER_OF(CONTAINER_OF(t, struct job, done), struct raft_node, read_job);

    n->read_busy = false;
    if (status_failed(n->read_result)) {
        raft_node_fail(n, n->read_result);
    } else if (n->state == NODE_RUNNING) {
        if (n->loaded_count > 0) {
            n->listener.snapshot_records(n->listener.arg, n->loaded_values, n->loaded_count);
        } else {
            snapshot_reader_close(n->loading);
            n->loading = NULL;
            n->listener.snapshot_end(n->listener.arg);
            n->listener.caught_up(n->listener.arg, n->next_offset);
        }
        deliver(n);
    }
    raft_node_idle(n);
}

static void load_snapshot(struct raft_node *n)
{
    if (!n->loading_begun) {
        n->loading_begun = true;
        n->listener.snapshot_begin(n->listener.arg, raft_node_latest_snapshot(n),
                                   snapshot_reader_head(n->loading)->last_contained_timestamp_ms);
    }
    n->read_busy = true;
    raft_node_submit(n, &n->read_job, run_load, load_done);
}

/* ---- the log ---- */

static struct status collect_values(struct raft_node *n, struct bytes batch, size_t *count)
{
    struct record_iter it;
    struct record r;
    struct status st = record_iter_open(&it, batch, n->scratch, 4 * (size_t)RAFT_BATCH_BYTES_MAX);
    size_t n_values = 0;

    if (status_failed(st))
        return st;
    while (record_iter_next(&it, &r)) {
        if (n_values == n->value_capacity) {
            size_t capacity = n_values ? 2 * n_values : 64;
            struct bytes *grown = realloc(n->values, capacity * sizeof *grown);

            if (!grown)
                return status_errno(ENOMEM, "deliver metadata records");
            n->values = grown;
            n->value_capacity = capacity;
        }
        n->values[n_values++] = r.value;
    }
    *count = n_values;
    return it.status;
}

static struct status deliver_batch(struct raft_node *n, struct bytes batch)
{
    int64_t base = record_batch_base_offset(batch.data);
    int64_t last = record_batch_last_offset(batch.data);
    struct raft_commit commit = {.base_offset = base,
                                 .last_offset = last,
                                 .epoch = record_batch_leader_epoch(batch.data),
                                 .append_timestamp_ms = record_batch_max_timestamp(batch.data)};
    struct status st;

    if (last < n->next_offset) /* a read begins at an index entry */
        return STATUS_OK;
    /* A snapshot may end within a batch only if someone else wrote it so; Kafka does not. */
    if (base != n->next_offset || last < base)
        return status_error(KERR_CORRUPT_MESSAGE, "metadata log: offsets do not follow each other");
    if (!record_batch_is_control(batch.data)) {
        st = collect_values(n, batch, &commit.count);
        if (status_failed(st))
            return st;
        commit.values = n->values;
        n->listener.commit(n->listener.arg, &commit);
    }
    n->next_offset = last + 1;
    return STATUS_OK;
}

static void deliver_bytes(struct raft_node *n)
{
    struct record_batches it = record_batches((struct bytes){n->read_buffer, n->read_size});
    int64_t before = n->next_offset;
    struct bytes batch;
    struct status st = STATUS_OK;

    while (!status_failed(st) && n->state == NODE_RUNNING && record_batches_next(&it, &batch)) {
        st = record_batch_check(batch);
        if (!status_failed(st))
            st = deliver_batch(n, batch);
    }
    if (!status_failed(st))
        st = it.status;
    if (!status_failed(st) && n->next_offset == before && n->state == NODE_RUNNING)
        st = status_error(KERR_CORRUPT_MESSAGE, "metadata log: committed records cannot be read");
    if (status_failed(st))
        raft_node_fail(n, st);
    else if (n->state == NODE_RUNNING)
        n->listener.caught_up(n->listener.arg, n->next_offset);
}

struct status raft_node_read_slice(struct raft_node *n, struct log_slice *slice)
{
    struct status st = STATUS_OK;

    if (!slice->segment) /* nothing at an offset that the log says it has */
        return status_error(KERR_CORRUPT_MESSAGE, "metadata log: a gap");
    if (slice->cold)
        st = log_slice_locate(slice);
    if (status_failed(st))
        return st;
    if (slice->size > n->read_capacity) {
        uint8_t *grown = realloc(n->read_buffer, slice->size);

        if (!grown)
            return status_errno(ENOMEM, "read metadata log");
        n->read_buffer = grown;
        n->read_capacity = slice->size;
    }
    n->read_size = slice->size;
    return log_slice_read(slice, 0, n->read_buffer, slice->size, NULL);
}

static void run_read(struct job *j)
{
    struct raft_node *n = CONTAINER_OF(j, struct raft_node, read_job);

    n->read_result = raft_node_read_slice(n, &n->slice);
}

static void read_done(struct task *t)
{
    struct raft_node *n =
        CONTAINER_OF(CONTAINER_OF(t, struct job, done), struct raft_node, read_job);

    n->read_busy = false;
    log_slice_release(&n->slice);
    if (status_failed(n->read_result)) {
        raft_node_fail(n, n->read_result);
    } else if (n->state == NODE_RUNNING) {
        deliver_bytes(n);
        deliver(n);
    }
    raft_node_idle(n);
}

/* True when n->read_buffer holds the slice, read without waiting for the disk. */
static bool read_warm(struct raft_node *n)
{
    bool cold = false;

    if (!n->slice.segment || n->slice.cold || n->slice.size > n->read_capacity)
        return false;
    n->read_size = n->slice.size;
    return !status_failed(log_slice_read(&n->slice, 0, n->read_buffer, n->slice.size, &cold)) &&
           !cold;
}

static bool reserve_round(struct raft_node *n)
{
    if (n->read_capacity < ROUND_BYTES / 16) {
        uint8_t *grown = realloc(n->read_buffer, ROUND_BYTES / 16);

        if (!grown)
            return false;
        n->read_buffer = grown;
        n->read_capacity = ROUND_BYTES / 16;
    }
    return true;
}

static void deliver_log(struct raft_node *n)
{
    struct log_read_args args = {.offset = n->next_offset,
                                 .end_offset = n->core.high_watermark,
                                 .max_bytes = ROUND_BYTES,
                                 .min_one = true};
    struct status st = reserve_round(n) ? STATUS_OK : status_errno(ENOMEM, "read metadata log");

    if (!status_failed(st)) {
        n->slice = (struct log_slice){0};
        st = log_read(n->log, &args, &n->slice);
    }
    if (status_failed(st)) {
        raft_node_fail(n, st);
    } else if (read_warm(n)) {
        log_slice_release(&n->slice);
        deliver_bytes(n);
        raft_node_deliver_soon(n);
    } else {
        n->read_busy = true;
        raft_node_submit(n, &n->read_job, run_read, read_done);
    }
}

static void deliver(struct raft_node *n)
{
    if (n->state == NODE_FAILED && !n->failure_told) {
        n->failure_told = true;
        n->listener.failed(n->listener.arg, n->failure);
    }
    if (n->state != NODE_RUNNING || n->read_busy)
        return;
    if (raft_node_snapshot_fetched(n))
        raft_node_install_snapshot(n);
    if (n->state != NODE_RUNNING)
        return;
    tell_leadership(n);
    if (n->loading)
        load_snapshot(n);
    else if (n->next_offset < n->core.high_watermark)
        deliver_log(n);
}
