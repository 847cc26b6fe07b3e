/* A follower whose log ends before the leader's begins gets a snapshot, piece by piece
 * (FetchSnapshot, KIP-630), and restarts its log behind it. One at a time; another role or epoch
 * ends it. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"
#include "protocol/messages/fetch_snapshot.h"
#include "replication/raft_node_internal.h"

#define VERSION            1
#define PIECE_BYTES        (1024 * 1024)
#define ANSWER_ARENA_BYTES (256 * 1024)
#define REQUEST_BYTES_MAX  (16 * 1024)

static void ask_piece(struct raft_node *n);

static bool wanted(const struct raft_node *n)
{
    const struct snapshot_fetch *f = &n->snapshot_fetch;

    return n->state == NODE_RUNNING && n->core.snapshot_in_flight &&
           n->core.role == RAFT_FOLLOWER && n->core.election.epoch == f->epoch &&
           n->core.election.leader_id == f->leader_id;
}

static void tell_core(struct raft_node *n, const struct raft_answer_head *head)
{
    raft_node_step(
        n, &(struct raft_event){.type = RAFT_SNAPSHOT_ANSWER, .snapshot_answer = {.head = *head}});
}

/* The leader is asked anew, after a while, unless someone else leads by now. */
static void give_up(struct raft_node *n)
{
    struct snapshot_fetch *f = &n->snapshot_fetch;
    bool still = wanted(n);

    CHECK(!f->reader);
    f->busy = false;
    if (still)
        tell_core(n, &(struct raft_answer_head){.from = f->leader_id, .failed = true});
}

/* ---- in the pool ---- */

/* Opens the part with the first piece, closes it with the last; the whole snapshot is opened for
 * delivery. */
static struct status take_piece(struct raft_node *n)
{
    struct snapshot_fetch *f = &n->snapshot_fetch;
    struct status st = STATUS_OK;

    if (f->dropped) {
        snapshot_part_abort(f->part);
        f->part = NULL;
        return STATUS_OK;
    }
    if (!f->part)
        st = snapshot_part_open(n->files, n->directory, f->id, &f->part);
    if (!status_failed(st)) {
        st = snapshot_part_append(f->part, (struct bytes){f->piece.data, f->piece.size});
        f->position += (int64_t)f->piece.size;
    }
    if (!status_failed(st) && f->position < f->size)
        return STATUS_OK;
    if (!status_failed(st))
        st = snapshot_part_finish(f->part);
    else
        snapshot_part_abort(f->part);
    f->part = NULL;
    return status_failed(st) ? st : snapshot_reader_open(n->files, n->directory, f->id, &f->opened);
}

static void run_piece(struct job *j)
{
    struct raft_node *n = CONTAINER_OF(j, struct raft_node, snapshot_fetch.job);

    n->snapshot_fetch.result = take_piece(n);
}

static void piece_done(struct task *t)
{
    struct raft_node *n =
        CONTAINER_OF(CONTAINER_OF(t, struct job, done), struct raft_node, snapshot_fetch.job);
    struct snapshot_fetch *f = &n->snapshot_fetch;

    free(f->piece.data);
    f->piece = (struct bytes_mut){NULL, 0};
    f->reader = f->opened;
    f->opened = NULL;
    if (status_failed(f->result)) {
        logger_event(n->logger, LOGGER_ERROR, "snapshot_not_fetched",
                     "leader=%d at=\"%s\" errno=%d", f->leader_id,
                     f->result.where ? f->result.where : "", f->result.sys_errno);
        if (f->result.code == KERR_KAFKA_STORAGE_ERROR)
            raft_node_fail(n, f->result);
        give_up(n);
    } else if (f->dropped) {
        give_up(n);
    } else if (f->reader) {
        raft_node_deliver_soon(n); /* it is put in place between two deliveries */
    } else {
        ask_piece(n);
    }
    raft_node_idle(n);
}

static void submit(struct raft_node *n)
{
    raft_node_submit(n, &n->snapshot_fetch.job, run_piece, piece_done);
}

/* What there is of it goes. */
static void drop(struct raft_node *n)
{
    n->snapshot_fetch.dropped = true;
    if (n->snapshot_fetch.part)
        submit(n);
    else
        give_up(n);
}

/* ---- with the leader ---- */

/* False: no piece that could be the next one. */
static bool keep_piece(struct snapshot_fetch *f,
                       const struct fetch_snapshot_response_partition_snapshot *p)
{
    const struct records *bytes = &p->unaligned_records;

    if (p->snapshot_id.end_offset != f->id.end_offset || p->snapshot_id.epoch != f->id.epoch ||
        p->position != f->position || bytes->size == 0 ||
        p->size < f->position + (int64_t)bytes->size || (f->position > 0 && p->size != f->size))
        return false;
    f->piece.data = malloc(bytes->size);
    if (!f->piece.data)
        return false;
    memcpy(f->piece.data, bytes->data, bytes->size);
    f->piece.size = bytes->size;
    f->size = p->size;
    return true;
}

static void answered(struct transport_request *r, struct status result, struct bytes body)
{
    struct raft_node *n = CONTAINER_OF(r, struct raft_node, snapshot_fetch.request);
    struct snapshot_fetch *f = &n->snapshot_fetch;
    struct raft_answer_head head = {.from = f->leader_id, .failed = true};
    struct reader reader = reader_of(body.data, body.size);
    struct fetch_snapshot_response m;
    bool kept = false;
    struct arena a;

    f->asking = false;
    arena_init(&a, ANSWER_ARENA_BYTES);
    if (wanted(n) && !status_failed(result) &&
        fetch_snapshot_response_decode(&m, &reader, &a, VERSION) && m.error_code == 0 &&
        m.topics_count == 1 && m.topics[0].partitions_count == 1) {
        const struct fetch_snapshot_response_partition_snapshot *p = &m.topics[0].partitions[0];

        head.error = (enum kerr)p->error_code;
        head.epoch = p->current_leader.leader_epoch;
        head.leader_id =
            p->current_leader.leader_id < 0 ? RAFT_NO_NODE : p->current_leader.leader_id;
        kept = head.error == KERR_NONE && keep_piece(f, p);
        head.failed = head.epoch < 0 || (head.error == KERR_NONE && !kept);
    }
    arena_free(&a);
    if (wanted(n))
        tell_core(n, &head);
    if (kept && wanted(n)) {
        submit(n);
        return;
    }
    free(f->piece.data);
    f->piece = (struct bytes_mut){NULL, 0};
    drop(n);
}

static void ask_piece(struct raft_node *n)
{
    struct snapshot_fetch *f = &n->snapshot_fetch;
    struct fetch_snapshot_request_partition_snapshot partition = {
        .current_leader_epoch = f->epoch,
        .snapshot_id = {f->id.end_offset, f->id.epoch},
        .position = f->position,
        .replica_directory_id = n->self.directory_id,
    };
    struct fetch_snapshot_request_topic_snapshot topic = {STR(RAFT_TOPIC), &partition, 1};
    struct fetch_snapshot_request m = {.cluster_id = n->cluster_id,
                                       .replica_id = n->self.id,
                                       .max_bytes = PIECE_BYTES,
                                       .topics = &topic,
                                       .topics_count = 1};
    struct transport_node to;
    struct writer w;

    if (!wanted(n)) {
        drop(n);
        return;
    }
    raft_node_address(n, f->leader_id, &to);
    writer_init(&w, REQUEST_BYTES_MAX);
    fetch_snapshot_request_encode(&m, &w, VERSION);
    CHECK(writer_ok(&w));
    f->asking = true;
    f->request = (struct transport_request){
        .answered = answered, .api_key = FETCH_SNAPSHOT_REQUEST_KEY, .api_version = VERSION};
    transport_send(n->transport, &to, &f->request, writer_take(&w),
                   n->core.timeouts.request_ms * 1000);
}

void raft_node_fetch_snapshot(struct raft_node *n, struct raft_snapshot_id id)
{
    struct snapshot_fetch *f = &n->snapshot_fetch;

    if (f->busy) { /* with what a leader before had: it ends at its next step */
        tell_core(n,
                  &(struct raft_answer_head){.from = n->core.election.leader_id, .failed = true});
        return;
    }
    *f = (struct snapshot_fetch){.busy = true,
                                 .id = id,
                                 .epoch = n->core.election.epoch,
                                 .leader_id = n->core.election.leader_id};
    logger_event(n->logger, LOGGER_INFO, "snapshot_fetch", "leader=%d end_offset=%lld epoch=%d",
                 f->leader_id, (long long)id.end_offset, id.epoch);
    ask_piece(n);
}

void raft_node_fetch_snapshot_cancel(struct raft_node *n)
{
    struct snapshot_fetch *f = &n->snapshot_fetch;

    if (f->asking) {
        transport_cancel(n->transport, &f->request);
        f->asking = false;
        drop(n);
    }
}

void raft_node_fetch_snapshot_free(struct raft_node *n)
{
    snapshot_part_abort(n->snapshot_fetch.part);
    snapshot_reader_close(n->snapshot_fetch.reader);
}

/* ---- in place ---- */

static void forget_all(struct raft_node *n)
{
    while (n->voter_history_count > 0)
        voter_set_free(n->voter_history[--n->voter_history_count].voters);
    snapshot_reader_close(n->loading);
}

/* The log does not begin anew under a flush, which would bring back the leader epochs of the old
 * one. That flush is the last: while we want a snapshot nothing is appended. Without want there may
 * be no end of them. */
bool raft_node_snapshot_fetched(const struct raft_node *n)
{
    return n->snapshot_fetch.reader && !n->snapshot_busy && !(n->flush_busy && wanted(n));
}

/* The log begins anew behind the snapshot, and the listener hears it from its beginning. */
static struct status install(struct raft_node *n, struct snapshot_reader *reader)
{
    struct raft_snapshot_id id = n->snapshot_fetch.id;
    const struct snapshot_head *head = snapshot_reader_head(reader);
    const struct voter_set *voters = head->voters ? head->voters : n->static_voters;
    struct voter_set *copy = voters ? voter_set_copy(voters) : voter_set_create_empty();
    struct status st;

    CHECK(!n->flush_busy);
    st = log_truncate_fully(n->log, id.end_offset);
    if (!copy) {
        snapshot_reader_close(reader);
        return status_errno(ENOMEM, "voters of a fetched snapshot");
    }
    forget_all(n);
    n->loading = reader;
    n->loading_begun = false;
    n->next_offset = id.end_offset;
    raft_node_note_voters(n, id.end_offset - 1, head->kraft_version, copy);
    /* There may be a newer one, that was fetched whole when its leader was gone (below). Of what is
     * committed it says more, but the log does not reach it. */
    return status_failed(st) ? st : raft_node_keep_only_snapshot(n, id);
}

void raft_node_install_snapshot(struct raft_node *n)
{
    struct snapshot_fetch *f = &n->snapshot_fetch;
    struct snapshot_reader *reader = f->reader;
    struct raft_event ev = {.type = RAFT_SNAPSHOT};
    struct status st;

    f->reader = NULL;
    /* It stays: nothing in it was not committed. The next start begins with it, if no other one is
     * put in place before. */
    if (!wanted(n)) {
        snapshot_reader_close(reader);
        give_up(n);
        return;
    }
    f->busy = false;
    st = install(n, reader);
    if (status_failed(st)) {
        raft_node_fail(n, st);
        return;
    }
    ev.snapshot.log_start_offset = log_start_offset(n->log);
    ev.snapshot.log_end_offset = log_end_offset(n->log);
    ev.snapshot.last_epoch = f->id.epoch;
    ev.snapshot.oldest = raft_node_oldest_snapshot(n);
    ev.snapshot.latest = raft_node_latest_snapshot(n);
    ev.snapshot.fetched = true;
    raft_node_step(n, &ev);
    /* Only now: told of voters the core may stand, and must not do so with a log that is gone. */
    if (n->state == NODE_RUNNING)
        raft_node_tell_voters(n);
}
