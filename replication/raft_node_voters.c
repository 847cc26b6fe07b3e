/* Who votes, as the log says: the newest KRAFT_VOTERS record counts, committed or not (KIP-853). */

#include <errno.h>
#include <string.h>

#include "protocol/base/check.h"
#include "replication/control_records.h"
#include "replication/raft_node_internal.h"

#define EPOCH_START_BYTES_MAX (1024 * 1024) /* of the arena for its control records */

const struct voters_at *raft_node_newest_voters(const struct raft_node *n)
{
    CHECK(n->voter_history_count > 0);
    return &n->voter_history[n->voter_history_count - 1];
}

bool raft_node_was_voter(const struct raft_node *n)
{
    const struct raft_voter *v;

    if (n->voter_history_count < 2)
        return false;
    v = voter_set_find(n->voter_history[n->voter_history_count - 2].voters, n->self.id);
    return v && (uuid_is_zero(v->key.directory_id) ||
                 uuid_equal(v->key.directory_id, n->self.directory_id));
}

void raft_node_note_voters(struct raft_node *n, int64_t offset, int16_t kraft_version,
                           struct voter_set *voters)
{
    if (n->voter_history_count == VOTER_HISTORY_MAX) {
        voter_set_free(n->voter_history[0].voters);
        memmove(n->voter_history, n->voter_history + 1,
                (VOTER_HISTORY_MAX - 1) * sizeof n->voter_history[0]);
        n->voter_history_count--;
    }
    n->voter_history[n->voter_history_count++] = (struct voters_at){offset, kraft_version, voters};
}

void raft_node_add_voters(struct raft_node *n, int64_t offset, int16_t kraft_version,
                          struct voter_set *voters)
{
    raft_node_note_voters(n, offset, kraft_version, voters);
    if (n->state == NODE_RUNNING)
        raft_node_tell_voters(n);
}

void raft_node_tell_voters(struct raft_node *n)
{
    const struct voters_at *newest = raft_node_newest_voters(n);
    struct raft_event ev = {.type = RAFT_VOTERS,
                            .voters = {.set = newest->voters,
                                       .offset = newest->offset,
                                       .kraft_version = newest->kraft_version,
                                       .was_voter = raft_node_was_voter(n)}};

    logger_event(n->logger, LOGGER_INFO, "raft_voters", "count=%zu offset=%lld",
                 voter_set_count(newest->voters), (long long)newest->offset);
    raft_node_step(n, &ev);
}

bool raft_node_forget_voters(struct raft_node *n, int64_t offset)
{
    size_t before = n->voter_history_count;

    while (n->voter_history_count > 1 &&
           n->voter_history[n->voter_history_count - 1].offset >= offset)
        voter_set_free(n->voter_history[--n->voter_history_count].voters);
    return n->voter_history_count < before;
}

static struct status note_control_batch(struct raft_node *n, struct bytes batch)
{
    int16_t kraft_version = n->voter_history_count ? raft_node_newest_voters(n)->kraft_version : 0;
    struct record_iter it;
    struct record r;
    struct voter_set *voters;
    struct status st = record_iter_open(&it, batch, n->scratch, RAFT_BATCH_BYTES_MAX);

    while (!status_failed(st) && record_iter_next(&it, &r)) {
        switch (control_record_type(&r)) {
        case CONTROL_KRAFT_VERSION:
            st = control_read_kraft_version(r.value, &kraft_version);
            break;
        case CONTROL_KRAFT_VOTERS:
            st = control_read_voters(r.value, &voters);
            if (!status_failed(st))
                raft_node_add_voters(n, r.offset, kraft_version, voters);
            break;
        case CONTROL_LEADER_CHANGE: /* who led is of no consequence for us */
            break;
        default:
            st = status_error(KERR_UNSUPPORTED_VERSION,
                              "unknown control record in the metadata log");
        }
    }
    return status_failed(st) ? st : it.status;
}

struct status raft_node_note_control(struct raft_node *n, struct bytes batches,
                                     int64_t *next_offset)
{
    struct record_batches it = record_batches(batches);
    int64_t before = *next_offset;
    struct status st = STATUS_OK;
    struct bytes batch;

    while (!status_failed(st) && record_batches_next(&it, &batch)) {
        int64_t last = record_batch_last_offset(batch.data);

        st = record_batch_check(batch);
        if (status_failed(st) || last < *next_offset)
            continue;
        *next_offset = last + 1;
        if (record_batch_is_control(batch.data))
            st = note_control_batch(n, batch);
    }
    if (!status_failed(st))
        st = it.status;
    if (!status_failed(st) && *next_offset == before)
        st = status_error(KERR_CORRUPT_MESSAGE, "metadata log: no whole batch where one should be");
    return st;
}

/* ---- the first batch of an epoch ---- */

static void append_control(struct raft_node *n, enum control_type type, int64_t now_ms,
                           struct bytes value)
{
    if (value.data)
        record_batch_builder_append_control(&n->builder, type, now_ms, value);
    else
        n->builder.status = status_errno(ENOMEM, "leader change");
}

static void append_leader_change(struct raft_node *n, struct arena *a, int64_t now_ms)
{
    int32_t voters[RAFT_VOTERS_MAX];
    int32_t granting[RAFT_VOTERS_MAX];
    size_t granting_count = 0;

    for (size_t i = 0; i < n->core.peer_count; i++) {
        voters[i] = n->core.peers[i].key.id;
        if (n->core.peers[i].vote == RAFT_VOTE_GRANTED)
            granting[granting_count++] = voters[i];
    }
    append_control(
        n, CONTROL_LEADER_CHANGE, now_ms,
        control_leader_change(a, n->self.id, voters, n->core.peer_count, granting, granting_count));
}

/* The voters to write, if they must be: never in the log so far (they stem from the snapshot that
 * the directory was formatted with), or our own endpoints have changed. */
static struct voter_set *voters_to_write(const struct raft_node *n)
{
    const struct voters_at *newest = raft_node_newest_voters(n);
    const struct raft_voter *self = voter_set_find(newest->voters, n->self.id);

    if (newest->kraft_version < 1 || !self)
        return NULL;
    if (n->own_endpoints)
        self = voter_set_at(n->own_endpoints, 0);
    if (newest->offset >= 0 && !voter_set_endpoints_differ(newest->voters, n->self.id,
                                                           self->endpoints, self->endpoint_count))
        return NULL;
    return voter_set_with_endpoints(newest->voters, n->self.id, self->endpoints,
                                    self->endpoint_count);
}

struct status raft_node_build_voters(struct raft_node *n, const struct voter_set *voters,
                                     int16_t kraft_version, struct bytes_mut *batch)
{
    int64_t now_ms = clock_wall_ms(n->loop->clock);
    struct record_batch_head head = RECORD_BATCH_HEAD_PLAIN;
    struct arena a;

    arena_init(&a, EPOCH_START_BYTES_MAX);
    head.base_offset = log_end_offset(n->log);
    head.leader_epoch = n->core.election.epoch;
    head.attributes = RECORD_BATCH_CONTROL;
    record_batch_builder_begin(&n->builder, &head);
    if (kraft_version >= 0)
        append_control(n, CONTROL_KRAFT_VERSION, now_ms, control_kraft_version(&a, kraft_version));
    append_control(n, CONTROL_KRAFT_VOTERS, now_ms, control_voters(&a, voters));
    arena_free(&a);
    return record_batch_builder_finish(&n->builder, NULL, batch);
}

struct status raft_node_build_leader_change(struct raft_node *n, struct bytes_mut *batch,
                                            struct voter_set **voters)
{
    struct record_batch_head head = RECORD_BATCH_HEAD_PLAIN;
    int64_t now_ms = clock_wall_ms(n->loop->clock);
    struct voter_set *changed = voters_to_write(n);
    struct status st;
    struct arena a;

    arena_init(&a, EPOCH_START_BYTES_MAX);
    head.base_offset = log_end_offset(n->log);
    head.leader_epoch = n->core.election.epoch;
    head.attributes = RECORD_BATCH_CONTROL;
    record_batch_builder_begin(&n->builder, &head);
    append_leader_change(n, &a, now_ms);
    if (changed) {
        append_control(n, CONTROL_KRAFT_VERSION, now_ms, control_kraft_version(&a, 1));
        append_control(n, CONTROL_KRAFT_VOTERS, now_ms, control_voters(&a, changed));
    }
    arena_free(&a);
    st = record_batch_builder_finish(&n->builder, NULL, batch);
    if (status_failed(st)) {
        voter_set_free(changed);
        return st;
    }
    *voters = changed;
    return STATUS_OK;
}
