/* Requests of other nodes: what the core says to them, what the log has for them, and when they are
 * told. A vote is told when it is durable. A fetch without news waits in `waiting`, where the log's
 * growth, the high watermark, the end of leadership or its time end the wait. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "protocol/base/check.h"
#include "replication/memory.h"
#include "replication/raft_node_internal.h"

#define FETCH_BYTES_MAX ((size_t)8 * 1024 * 1024) /* whatever a request asks for */

static int64_t now_us(const struct raft_node *n)
{
    return clock_monotonic_us(n->loop->clock);
}

/* ---- answering ---- */

static void finish(struct raft_request *r)
{
    r->done(r);
}

/* When what the core has decided on is durable. */
void raft_node_finish_durable(struct raft_node *n, struct raft_request *r)
{
    if (n->persist_busy)
        DL_APPEND(n->undurable, r);
    else
        finish(r);
}

void raft_node_answer_durable(struct raft_node *n)
{
    struct raft_request *r, *next, *list = n->undurable;

    n->undurable = NULL;
    DL_FOREACH_SAFE(list, r, next)
    {
        DL_DELETE(list, r);
        finish(r);
    }
}

static void name_leader(struct raft_node *n, struct raft_request *r)
{
    struct transport_node leader;

    r->leader_host = STR_NULL;
    if (r->leader_id < 0 || !raft_node_address(n, r->leader_id, &leader) ||
        leader.host.size >= sizeof r->leader_host_bytes)
        return;
    if (leader.host.size)
        memcpy(r->leader_host_bytes, leader.host.data, leader.host.size);
    r->leader_host = (struct str){r->leader_host_bytes, leader.host.size};
    r->leader_port = leader.port;
}

static void take_answer(struct raft_node *n, struct raft_request *r, const struct raft_answer *a)
{
    r->error = a->error;
    r->leader_epoch = a->epoch;
    r->leader_id = a->leader_id;
    name_leader(n, r);
}

/* As the core would say it, without a step. */
void raft_node_take_view(struct raft_node *n, struct raft_request *r, enum kerr error)
{
    struct raft_answer a = {
        .error = error, .epoch = n->core.election.epoch, .leader_id = n->core.election.leader_id};

    take_answer(n, r, &a);
}

/* ---- elections ---- */

static void ask_vote(struct raft_node *n, struct raft_request *r)
{
    struct raft_event ev = {.type = RAFT_VOTE_REQUEST,
                            .vote_request = {.candidate = r->sender,
                                             .voter = r->voter,
                                             .epoch = r->epoch,
                                             .last_epoch = r->last_epoch,
                                             .last_offset = r->offset,
                                             .pre_vote = r->pre_vote}};
    struct raft_answer a = raft_node_step(n, &ev);

    take_answer(n, r, &a);
    r->granted = a.error == KERR_NONE && a.granted;
    raft_node_finish_durable(n, r);
}

static void ask_begin(struct raft_node *n, struct raft_request *r)
{
    struct raft_event ev = {
        .type = RAFT_BEGIN_REQUEST,
        .begin_request = {.voter = r->voter, .leader_id = r->sender.id, .epoch = r->epoch}};
    const struct raft_endpoint *e = raft_node_endpoint(n, r->endpoints, r->endpoint_count);
    struct raft_answer a;

    if (e)
        raft_node_note_leader(n, r->sender.id, r->epoch, e->host, e->port);
    a = raft_node_step(n, &ev);
    take_answer(n, r, &a);
    raft_node_finish_durable(n, r);
}

static void ask_end(struct raft_node *n, struct raft_request *r)
{
    struct raft_event ev = {.type = RAFT_END_REQUEST,
                            .end_request = {.leader_id = r->sender.id,
                                            .epoch = r->epoch,
                                            .candidates = r->candidates,
                                            .candidate_count = r->candidate_count}};
    struct raft_answer a = raft_node_step(n, &ev);

    take_answer(n, r, &a);
    raft_node_finish_durable(n, r);
}

/* ---- fetches ---- */

static struct status read_records(struct raft_request *r)
{
    struct status st = r->slice.cold ? log_slice_locate(&r->slice) : STATUS_OK;

    if (status_failed(st) || r->slice.size == 0)
        return st;
    r->records = malloc(r->slice.size);
    if (!r->records)
        return status_errno(ENOMEM, "answer a fetch of metadata");
    r->record_bytes = r->slice.size;
    return log_slice_read(&r->slice, 0, r->records, r->slice.size, NULL);
}

/* What a fetch brings is of this epoch, and a sole voter leads before its vote for itself is on the
 * disk. Should a crash of the machine undo both the vote and the end of the log, it would lead in
 * the same epoch again, with other batches than those that it gave away. */
static void finish_fetch(struct raft_request *r)
{
    struct raft_node *n = r->node;

    if (n->durable_epoch < n->core.election.epoch)
        raft_node_finish_durable(n, r);
    else
        finish(r);
}

static void end_read(struct raft_request *r)
{
    log_slice_release(&r->slice);
    if (status_failed(r->result)) {
        free(r->records);
        r->records = NULL;
        r->record_bytes = 0;
        r->error = KERR_UNKNOWN_SERVER_ERROR;
    }
    finish_fetch(r);
}

static void run_read(struct job *j)
{
    struct raft_request *r = CONTAINER_OF(j, struct raft_request, job);

    r->result = read_records(r);
}

static void read_done(struct task *t)
{
    struct raft_request *r =
        CONTAINER_OF(CONTAINER_OF(t, struct job, done), struct raft_request, job);
    struct raft_node *n = r->node;

    end_read(r);
    raft_node_idle(n);
}

/* A fetch is answered with what the log has from its offset on: the batches there are, sent as they
 * lie in the file. */
static void answer_fetch(struct raft_node *n, struct raft_request *r)
{
    struct log_read_args args = {.offset = r->offset,
                                 .end_offset = log_end_offset(n->log),
                                 .max_bytes = r->max_bytes < FETCH_BYTES_MAX ? r->max_bytes
                                                                             : FETCH_BYTES_MAX,
                                 .min_one = true};

    raft_node_take_view(n, r, KERR_NONE);
    r->leader_high_watermark = n->core.high_watermark;
    r->log_start_offset = log_start_offset(n->log);
    if (r->diverging || r->want_snapshot || r->offset == args.end_offset) {
        finish_fetch(r);
        return;
    }
    r->slice = (struct log_slice){0};
    r->result = log_read(n->log, &args, &r->slice);
    /* the log was cut at its start meanwhile: asked again, it names the snapshot */
    if (status_failed(r->result)) {
        r->error = r->result.code;
        finish_fetch(r);
    } else if (!r->slice.cold && log_slice_is_warm(&r->slice)) {
        r->result = read_records(r);
        end_read(r);
    } else {
        raft_node_submit(n, &r->job, run_read, read_done);
    }
}

static bool fetch_has_news(const struct raft_node *n, const struct raft_request *r)
{
    return r->diverging || r->want_snapshot || r->offset < log_end_offset(n->log) ||
           r->high_watermark < n->core.high_watermark;
}

static void wait_timer(struct raft_node *n);

static void fetch_timed_out(struct timer *t)
{
    struct raft_node *n = CONTAINER_OF(t, struct raft_node, wait_timer);
    struct raft_request *r, *next;
    int64_t now = now_us(n);

    DL_FOREACH_SAFE(n->waiting, r, next)
    if (r->give_up_us <= now) {
        DL_DELETE(n->waiting, r);
        answer_fetch(n, r);
    }
    wait_timer(n);
}

static void wait_timer(struct raft_node *n)
{
    int64_t first = INT64_MAX;
    const struct raft_request *r;

    DL_FOREACH(n->waiting, r)
    if (r->give_up_us < first)
        first = r->give_up_us;
    if (first == INT64_MAX)
        timer_stop(n->loop, &n->wait_timer);
    else
        timer_start(n->loop, &n->wait_timer, first > now_us(n) ? first - now_us(n) : 0);
}

void raft_node_waiting_init(struct raft_node *n)
{
    timer_init(n->loop, &n->wait_timer, fetch_timed_out);
}

void raft_node_wake_fetches(struct raft_node *n)
{
    struct raft_request *r, *next;

    DL_FOREACH_SAFE(n->waiting, r, next)
    {
        bool leads = n->core.role == RAFT_LEADER && n->core.election.epoch == r->epoch;

        if (leads && !fetch_has_news(n, r))
            continue;
        DL_DELETE(n->waiting, r);
        if (leads) {
            answer_fetch(n, r);
        } else { /* it hears of the new epoch, or asks anew who leads */
            raft_node_take_view(n, r, KERR_NOT_LEADER_OR_FOLLOWER);
            raft_node_finish_durable(n, r);
        }
    }
}

static void ask_fetch(struct raft_node *n, struct raft_request *r)
{
    struct raft_event ev = {.type = RAFT_FETCH_REQUEST,
                            .fetch_request = {.replica = r->sender,
                                              .epoch = r->epoch,
                                              .offset = r->offset,
                                              .last_epoch = r->last_epoch}};
    struct raft_answer a;

    log_end_of_epoch(n->log, r->last_epoch, &ev.fetch_request.epoch_end.epoch,
                     &ev.fetch_request.epoch_end.end_offset);
    raft_node_note_observer(n, r);
    raft_node_membership_fetched(n, r->sender);
    a = raft_node_step(n, &ev);
    take_answer(n, r, &a);
    r->leader_high_watermark = a.high_watermark;
    if (a.error != KERR_NONE) {
        raft_node_finish_durable(n, r);
        return;
    }
    r->diverging = a.outcome == RAFT_FETCH_DIVERGING;
    r->want_snapshot = a.outcome == RAFT_FETCH_SNAPSHOT;
    r->at = a.at;
    if (fetch_has_news(n, r) || r->wait_us <= 0) {
        answer_fetch(n, r);
        return;
    }
    r->give_up_us = now_us(n) + r->wait_us;
    DL_APPEND(n->waiting, r);
    wait_timer(n);
}

/* ---- snapshots ---- */

static struct status read_snapshot_piece(struct raft_request *r)
{
    struct snapshot_piece piece = {.position = r->position, .size_max = r->max_bytes};
    struct status st = snapshot_read_piece(r->node->files, r->node->directory, r->snapshot, &piece);

    r->snapshot_size = piece.snapshot_size;
    r->records = piece.data;
    r->record_bytes = piece.size;
    return st;
}

static void run_piece(struct job *j)
{
    struct raft_request *r = CONTAINER_OF(j, struct raft_request, job);

    r->result = read_snapshot_piece(r);
}

static void piece_done(struct task *t)
{
    struct raft_request *r =
        CONTAINER_OF(CONTAINER_OF(t, struct job, done), struct raft_request, job);
    struct raft_node *n = r->node;

    if (status_failed(r->result))
        r->error = r->result.sys_errno == ENOENT ? KERR_SNAPSHOT_NOT_FOUND : r->result.code;
    finish(r);
    raft_node_idle(n);
}

static void ask_snapshot(struct raft_node *n, struct raft_request *r)
{
    struct raft_event ev = {.type = RAFT_SNAPSHOT_REQUEST,
                            .snapshot_request = {.replica = r->sender, .epoch = r->epoch}};
    struct raft_answer a = raft_node_step(n, &ev);
    bool known = false;

    take_answer(n, r, &a);
    if (r->error != KERR_NONE) {
        raft_node_finish_durable(n, r);
        return;
    }
    for (size_t i = 0; i < n->snapshot_count; i++)
        known |= n->snapshots[i].id.end_offset == r->snapshot.end_offset &&
                 n->snapshots[i].id.epoch == r->snapshot.epoch;
    /* What a node was formatted with is its own. */
    if (!known || r->snapshot.end_offset == 0) {
        r->error = KERR_SNAPSHOT_NOT_FOUND;
        finish(r);
        return;
    }
    if (r->max_bytes > FETCH_BYTES_MAX)
        r->max_bytes = FETCH_BYTES_MAX;
    raft_node_submit(n, &r->job, run_piece, piece_done);
}

/* ---- DescribeQuorum ---- */

/* A voter's id on another disk is another replica. */
static bool votes(const struct raft_node *n, struct raft_replica_key key)
{
    const struct raft_voter *v = voter_set_find(raft_node_newest_voters(n)->voters, key.id);

    return v && (uuid_is_zero(v->key.directory_id) || uuid_is_zero(key.directory_id) ||
                 uuid_equal(v->key.directory_id, key.directory_id));
}

int64_t raft_node_observer_caught_up_ms(const struct raft_node *n, struct raft_replica_key key)
{
    for (size_t i = 0; i < n->observer_count; i++)
        if (raft_replica_key_equal(n->observers[i].key, key))
            return n->observers[i].last_caught_up_ms;
    return -1;
}

/* Replicas that are no voters, for DescribeQuorum: the one that was heard of longest ago makes
 * room. */
void raft_node_note_observer(struct raft_node *n, const struct raft_request *r)
{
    int64_t now_ms = raft_node_now_ms(n);
    struct raft_observer *o = NULL;

    if (n->core.role != RAFT_LEADER || r->sender.id < 0 || votes(n, r->sender))
        return;
    for (size_t i = 0; i < n->observer_count && !o; i++)
        if (raft_replica_key_equal(n->observers[i].key, r->sender))
            o = &n->observers[i];
    if (!o && n->observer_count < RAFT_OBSERVERS_MAX) {
        o = &n->observers[n->observer_count++];
        *o = (struct raft_observer){.last_caught_up_ms = -1};
    }
    for (size_t i = 0; i < n->observer_count && !o; i++)
        if (n->observers[i].last_fetch_ms + OBSERVER_FORGOTTEN_MS < now_ms)
            o = &n->observers[i];
    if (!o)
        return;
    o->key = r->sender;
    o->end_offset = r->offset;
    o->last_fetch_ms = now_ms;
    if (r->offset >= n->core.log_end_offset)
        o->last_caught_up_ms = now_ms;
}

static int64_t as_wall_ms(const struct raft_node *n, int64_t ms)
{
    return ms < 0 ? -1 : ms + clock_wall_ms(n->loop->clock) - raft_node_now_ms(n);
}

static void ask_quorum(struct raft_node *n, struct raft_request *r)
{
    const struct raft_core *c = &n->core;
    int64_t now_ms = raft_node_now_ms(n);

    raft_node_take_view(n, r, raft_node_leads(n) ? KERR_NONE : KERR_NOT_LEADER_OR_FOLLOWER);
    r->leader_high_watermark = c->high_watermark;
    if (r->error != KERR_NONE) {
        raft_node_finish_durable(n, r);
        return;
    }
    r->replicas = memory_zalloc(c->peer_count + n->observer_count, sizeof *r->replicas);
    for (size_t i = 0; i < c->peer_count; i++) {
        const struct raft_peer *p = &c->peers[i];
        bool self = p->key.id == n->self.id;

        r->replicas[r->replica_count++] = (struct raft_replica_view){
            .key = self ? (struct raft_replica_key){p->key.id, n->self.directory_id} : p->key,
            .voter = true,
            .end_offset = self ? c->log_end_offset : p->end_offset,
            .last_fetch_ms = as_wall_ms(n, self                ? now_ms
                                           : p->end_offset < 0 ? -1
                                                               : p->last_fetch_ms),
            .last_caught_up_ms = as_wall_ms(n, self ? now_ms : p->last_caught_up_ms)};
    }
    for (size_t i = 0; i < n->observer_count; i++) {
        const struct raft_observer *o = &n->observers[i];

        if (o->last_fetch_ms + OBSERVER_FORGOTTEN_MS >= now_ms && !votes(n, o->key))
            r->replicas[r->replica_count++] = (struct raft_replica_view){
                .key = o->key,
                .end_offset = o->end_offset,
                .last_fetch_ms = as_wall_ms(n, o->last_fetch_ms),
                .last_caught_up_ms = as_wall_ms(n, o->last_caught_up_ms)};
    }
    raft_node_finish_durable(n, r);
}

/* ---- all of them ---- */

void raft_node_request(struct raft_node *n, struct raft_request *r)
{
    static void (*const askers[RAFT_REQUEST_TYPES])(struct raft_node *, struct raft_request *) = {
        [RAFT_ASKED_VOTE] = ask_vote,
        [RAFT_ASKED_BEGIN] = ask_begin,
        [RAFT_ASKED_END] = ask_end,
        [RAFT_ASKED_FETCH] = ask_fetch,
        [RAFT_ASKED_SNAPSHOT] = ask_snapshot,
        [RAFT_ASKED_QUORUM] = ask_quorum,
        [RAFT_ASKED_ADD_VOTER] = raft_node_ask_change,
        [RAFT_ASKED_REMOVE_VOTER] = raft_node_ask_change,
        [RAFT_ASKED_UPDATE_VOTER] = raft_node_ask_change,
        [RAFT_ASKED_UPGRADE] = raft_node_ask_upgrade,
    };

    CHECK((unsigned)r->type < RAFT_REQUEST_TYPES);
    r->node = n;
    if (r->cluster_id.data && !str_equal(r->cluster_id, n->cluster_id)) {
        r->whole_error = KERR_INCONSISTENT_CLUSTER_ID;
        finish(r);
    } else if (n->state != NODE_RUNNING) {
        raft_node_take_view(n, r, KERR_NOT_LEADER_OR_FOLLOWER);
        finish(r);
    } else {
        askers[r->type](n, r);
    }
}

void raft_node_refuse_requests(struct raft_node *n)
{
    struct raft_request *r, *next;
    struct raft_request *lists[] = {n->waiting, n->undurable};

    n->waiting = NULL;
    n->undurable = NULL;
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        DL_FOREACH_SAFE(lists[i], r, next)
        {
            DL_DELETE(lists[i], r);
            r->granted = false; /* it may not be durable, nor the epoch of what it was to bring */
            free(r->records);
            r->records = NULL;
            r->record_bytes = 0;
            raft_node_take_view(n, r, KERR_NOT_LEADER_OR_FOLLOWER);
            finish(r);
        }
}
