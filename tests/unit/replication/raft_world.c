#include "tests/unit/replication/raft_world.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"

#define ELECTION_MS 500
#define FETCH_MS    1000
#define REQUEST_MS  200
#define PARK_MS     100
#define HOP_MS      2

uint64_t world_random(struct world *w)
{
    uint64_t z = w->random += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static struct raft_replica_key key_of(int id)
{
    return (struct raft_replica_key){.id = id,
                                     .directory_id = uuid_from_number((uint8_t)(100 + id))};
}

static int32_t epoch_at(const struct world_node *n, int64_t end)
{
    return end > 0 ? n->log[end - 1].epoch : 0;
}

/* Largest epoch <= epoch in the log, and where it ends. */
static struct raft_snapshot_id end_of_epoch(const struct world_node *n, int32_t epoch)
{
    for (int64_t i = n->log_end; i > 0; i--)
        if (n->log[i - 1].epoch <= epoch)
            return (struct raft_snapshot_id){i, n->log[i - 1].epoch};
    return (struct raft_snapshot_id){-1, -1};
}

/* ---- voters: the newest "V" of the log, else those of the beginning ---- */

/* In the log below `end`. Its offset, or -1. ids: which nodes vote. */
static int64_t find_voters_below(const struct world *w, const struct world_node *n, int64_t end,
                                 char ids[WORLD_NODES_MAX + 1])
{
    int count = 0;

    for (int64_t i = end; i > 0; i--)
        if (n->log[i - 1].name[0] == 'V') {
            snprintf(ids, WORLD_NODES_MAX + 1, "%s", n->log[i - 1].name + 1);
            return i - 1;
        }
    for (int id = 1; id <= w->first_voters && n->core.self.id <= w->first_voters; id++)
        ids[count++] = (char)('0' + id);
    ids[count] = '\0';
    return -1;
}

static int64_t find_voters(const struct world *w, const struct world_node *n,
                           char ids[WORLD_NODES_MAX + 1])
{
    return find_voters_below(w, n, n->log_end, ids);
}

/* Whether a node is in the set before the newest. */
static bool was_voter(const struct world *w, const struct world_node *n)
{
    char ids[WORLD_NODES_MAX + 1];
    int64_t newest = find_voters(w, n, ids);

    if (newest < 0)
        return false;
    find_voters_below(w, n, newest, ids);
    return strchr(ids, '0' + n->core.self.id) != NULL;
}

static struct voter_set *make_voters(const char *ids)
{
    struct raft_voter voters[WORLD_NODES_MAX] = {0};
    size_t count = strlen(ids);
    struct voter_set *vs;

    for (size_t i = 0; i < count; i++)
        voters[i].key = key_of(ids[i] - '0');
    vs = count ? voter_set_create(voters, count) : voter_set_create_empty();
    CHECK(vs != NULL);
    return vs;
}

static void feed_voters(struct world *w, int id)
{
    char ids[WORLD_NODES_MAX + 1];
    struct raft_event ev = {.type = RAFT_VOTERS};
    struct voter_set *vs;

    ev.voters.offset = find_voters(w, &w->nodes[id], ids);
    ev.voters.kraft_version = 1;
    ev.voters.was_voter = was_voter(w, &w->nodes[id]);
    ev.voters.set = vs = make_voters(ids);
    world_step(w, id, &ev);
    voter_set_free(vs);
}

/* ---- safety ---- */

static void check_world(struct world *w, int id)
{
    struct world_node *n = &w->nodes[id];
    int32_t epoch = n->core.election.epoch;

    if (n->core.role == RAFT_LEADER) { /* one leader an epoch */
        CHECK(w->leader_of_epoch[epoch] == 0 || w->leader_of_epoch[epoch] == id);
        w->leader_of_epoch[epoch] = id;
    }
    CHECK(n->core.high_watermark <= n->log_end);
    for (int64_t i = 0; i < n->core.high_watermark; i++) { /* what is committed stays */
        if (i >= w->committed_end) {
            w->committed[i] = n->log[i];
            w->committed_end = i + 1;
        }
        CHECK(w->committed[i].epoch == n->log[i].epoch);
        CHECK(strcmp(w->committed[i].name, n->log[i].name) == 0);
    }
}

/* ---- the network ---- */

static struct world_wire *put_wire(struct world *w, int from, int to)
{
    struct world_wire *wire;

    CHECK(w->wire_count < WORLD_WIRES_MAX);
    wire = &w->wires[w->wire_count++];
    memset(wire, 0, sizeof *wire);
    wire->from = from;
    wire->to = to;
    wire->at_ms = w->now_ms + HOP_MS + (int64_t)(world_random(w) % HOP_MS);
    return wire;
}

static void send_message(struct world *w, int from, const struct raft_message *m)
{
    struct world_wire *wire = put_wire(
        w, from, RAFT_IS_BOOTSTRAP(m->to.id) ? (int)RAFT_BOOTSTRAP_INDEX(m->to.id) + 1 : m->to.id);
    struct raft_event *ev = &wire->event;

    wire->message = *m;
    switch (m->type) {
    case RAFT_SEND_VOTE:
        ev->type = RAFT_VOTE_REQUEST;
        ev->vote_request.candidate = key_of(from);
        ev->vote_request.voter = m->to;
        ev->vote_request.epoch = m->epoch;
        ev->vote_request.last_epoch = m->last_epoch;
        ev->vote_request.last_offset = m->offset;
        ev->vote_request.pre_vote = m->pre_vote;
        break;
    case RAFT_SEND_BEGIN:
        ev->type = RAFT_BEGIN_REQUEST;
        ev->begin_request.voter = m->to;
        ev->begin_request.leader_id = from;
        ev->begin_request.epoch = m->epoch;
        break;
    case RAFT_SEND_END:
        ev->type = RAFT_END_REQUEST;
        ev->end_request.leader_id = from;
        ev->end_request.epoch = m->epoch;
        ev->end_request.candidate_count =
            raft_core_successors(&w->nodes[from].core, wire->candidates);
        break;
    case RAFT_SEND_FETCH:
        ev->type = RAFT_FETCH_REQUEST;
        ev->fetch_request.replica = key_of(from);
        ev->fetch_request.epoch = m->epoch;
        ev->fetch_request.offset = m->offset;
        ev->fetch_request.last_epoch = m->last_epoch;
        wire->give_up_ms = w->now_ms + PARK_MS;
        break;
    }
}

static struct world_wire *put_answer(struct world *w, const struct world_wire *request, bool failed,
                                     const struct raft_answer *a)
{
    struct world_wire *wire = put_wire(w, request->to, request->from);
    struct raft_answer_head head = {.from = request->message.to.id, .failed = failed};
    const struct raft_message *m = &request->message;

    if (!failed) {
        head.error = a->error;
        head.epoch = a->epoch;
        head.leader_id = a->leader_id;
    }
    wire->answer = true;
    wire->message = *m;
    switch (m->type) {
    case RAFT_SEND_VOTE:
        wire->event.type = RAFT_VOTE_ANSWER;
        wire->event.vote_answer.head = head;
        wire->event.vote_answer.request_epoch = m->epoch;
        wire->event.vote_answer.pre_vote = m->pre_vote;
        wire->event.vote_answer.granted = a->granted;
        break;
    case RAFT_SEND_BEGIN:
        wire->event.type = RAFT_BEGIN_ANSWER;
        wire->event.begin_answer.head = head;
        wire->event.begin_answer.request_epoch = m->epoch;
        break;
    case RAFT_SEND_END: /* nobody waits for it */
        w->wire_count--;
        break;
    case RAFT_SEND_FETCH:
        wire->event.type = RAFT_FETCH_ANSWER;
        wire->event.fetch_answer.head = head;
        wire->event.fetch_answer.fetch_id = m->fetch_id;
        wire->event.fetch_answer.outcome = a->outcome;
        wire->event.fetch_answer.at = a->at;
        wire->event.fetch_answer.high_watermark = a->high_watermark;
        break;
    }
    return wire;
}

static void fill_records(struct world *w, int leader, struct world_wire *answer, int64_t offset)
{
    const struct world_node *n = &w->nodes[leader];

    for (; offset < n->log_end && answer->entry_count < WORLD_FETCH_MAX; offset++)
        answer->entries[answer->entry_count++] = n->log[offset];
    answer->event.fetch_answer.has_records = answer->entry_count > 0;
}

/* ---- a node ---- */

static void carry_out(struct world *w, int id, const struct raft_effects *fx,
                      const struct world_wire *cause);

static void step_with(struct world *w, int id, const struct raft_event *ev,
                      const struct world_wire *cause, struct raft_answer *answer)
{
    struct world_node *n = &w->nodes[id];
    struct raft_effects fx;

    raft_core_step(&n->core, ev, w->now_ms, &fx);
    if (answer)
        *answer = fx.answer;
    carry_out(w, id, &fx, cause);
    check_world(w, id);
}

void world_step(struct world *w, int id, const struct raft_event *ev)
{
    step_with(w, id, ev, NULL, NULL);
}

static void add_entry(struct world_node *n, const char *name, int32_t epoch)
{
    CHECK(n->log_end < WORLD_ENTRIES_MAX);
    snprintf(n->log[n->log_end].name, sizeof n->log[0].name, "%s", name);
    n->log[n->log_end++].epoch = epoch;
}

static void feed_appended(struct world *w, int id)
{
    struct world_node *n = &w->nodes[id];
    struct raft_event ev = {
        .type = RAFT_APPENDED,
        .log = {.end_offset = n->log_end, .last_epoch = epoch_at(n, n->log_end)}};

    world_step(w, id, &ev);
}

static void feed_flushed(struct world *w, int id)
{
    struct world_node *n = &w->nodes[id];

    if (n->up && !n->disk_stuck && n->flushed < n->log_end) {
        n->flushed = n->log_end;
        world_step(w, id,
                   &(struct raft_event){.type = RAFT_FLUSHED, .log = {.end_offset = n->flushed}});
    }
}

static void truncate_log(struct world *w, int id, int64_t to)
{
    struct world_node *n = &w->nodes[id];
    struct raft_event ev = {.type = RAFT_TRUNCATED};

    for (int64_t i = to; i < n->log_end; i++) {
        char entry[24];

        snprintf(entry, sizeof entry, " %.7s@%d", n->log[i].name, n->log[i].epoch);
        strncat(n->dropped, entry, sizeof n->dropped - strlen(n->dropped) - 1);
    }
    n->log_end = to;
    if (n->flushed > to)
        n->flushed = to;
    ev.log.end_offset = to;
    ev.log.last_epoch = epoch_at(n, to);
    world_step(w, id, &ev);
    if (strstr(n->dropped, " V"))
        feed_voters(w, id);
}

static void carry_out(struct world *w, int id, const struct raft_effects *fx,
                      const struct world_wire *cause)
{
    struct world_node *n = &w->nodes[id];

    CHECK(fx->broken == NULL);
    n->deadline_ms = fx->deadline_ms;
    if (fx->persist)
        n->durable = n->core.election;
    for (size_t i = 0; i < fx->message_count; i++)
        send_message(w, id, &fx->messages[i]);
    if (fx->truncate_to >= 0)
        truncate_log(w, id, fx->truncate_to);
    if (fx->append_fetched) {
        for (size_t i = 0; i < cause->entry_count; i++)
            add_entry(n, cause->entries[i].name, cause->entries[i].epoch);
        feed_appended(w, id);
        for (size_t i = 0; i < cause->entry_count; i++)
            if (cause->entries[i].name[0] == 'V')
                feed_voters(w, id);
    }
    if (fx->start_epoch) {
        add_entry(n, "L", n->core.election.epoch);
        feed_appended(w, id);
    }
}

/* ---- time ---- */

static bool must_park(const struct world *w, const struct world_wire *wire)
{
    const struct world_node *n = &w->nodes[wire->to];

    return wire->event.type == RAFT_FETCH_REQUEST && w->now_ms < wire->give_up_ms &&
           n->core.role == RAFT_LEADER && wire->message.epoch == n->core.election.epoch &&
           wire->message.offset == n->log_end &&
           wire->message.high_watermark >= n->core.high_watermark;
}

static void deliver(struct world *w, struct world_wire *wire)
{
    struct world_node *n = &w->nodes[wire->to];
    struct world_wire *answer;
    struct raft_answer a = {0};
    bool lost =
        w->cut[wire->from][wire->to] || !n->up || (int)(world_random(w) % 100) < w->drop_percent;

    if (wire->answer) {
        struct raft_event failed = wire->event;

        if (!n->up)
            return;
        /* it gives up after a while; as the head is common to all answers, one place does */
        if (lost) {
            if (wire->give_up_ms == 0) {
                struct world_wire *late =
                    put_answer(w,
                               &(struct world_wire){
                                   .from = wire->to, .to = wire->from, .message = wire->message},
                               true, &a);
                late->at_ms = w->now_ms + REQUEST_MS;
                late->give_up_ms = 1;
                return;
            }
        }
        if (failed.type == RAFT_FETCH_ANSWER)
            failed.fetch_answer.epoch_end = end_of_epoch(n, failed.fetch_answer.at.epoch);
        step_with(w, wire->to, &failed, wire, NULL);
        return;
    }
    if (lost) {
        if (wire->message.type != RAFT_SEND_END) {
            answer = put_answer(w, wire, true, &a);
            answer->at_ms = w->now_ms + REQUEST_MS;
            answer->give_up_ms = 1;
        }
        return;
    }
    if (wire->event.type == RAFT_END_REQUEST)
        wire->event.end_request.candidates = wire->candidates;
    if (wire->event.type == RAFT_FETCH_REQUEST)
        wire->event.fetch_request.epoch_end = end_of_epoch(n, wire->event.fetch_request.last_epoch);
    step_with(w, wire->to, &wire->event, NULL, &a);
    if (wire->message.type == RAFT_SEND_END)
        return;
    answer = put_answer(w, wire, false, &a);
    if (wire->event.type == RAFT_FETCH_REQUEST && a.error == KERR_NONE &&
        a.outcome == RAFT_FETCH_RECORDS)
        fill_records(w, wire->to, answer, wire->message.offset);
}

static void run_ms(struct world *w)
{
    w->now_ms++;
    for (size_t i = 0; i < w->wire_count;) {
        struct world_wire wire = w->wires[i];

        if (wire.at_ms > w->now_ms || must_park(w, &wire)) {
            i++;
            continue;
        }
        w->wires[i] = w->wires[--w->wire_count];
        deliver(w, &wire);
    }
    for (int id = 1; id <= w->count; id++) {
        feed_flushed(w, id);
        if (w->nodes[id].up && w->now_ms >= w->nodes[id].deadline_ms)
            world_step(w, id, &(struct raft_event){.type = RAFT_TICK});
    }
}

void world_run(struct world *w, int64_t ms)
{
    for (int64_t end = w->now_ms + ms; w->now_ms < end;)
        run_ms(w);
}

/* ---- what happens to it ---- */

void world_start(struct world *w, int id)
{
    struct world_node *n = &w->nodes[id];
    char ids[WORLD_NODES_MAX + 1];
    int64_t voters_offset;
    struct voter_set *vs;
    struct raft_core_args args = {
        .self = key_of(id),
        .timeouts = {.election_ms = ELECTION_MS,
                     .fetch_ms = FETCH_MS,
                     .request_ms = REQUEST_MS,
                     .retry_backoff_ms = 20},
        .random_seed = world_random(w),
        .election = n->durable,
        .kraft_version = 1,
        .bootstrap_count = (size_t)w->count,
        .log_end_offset = n->log_end,
        .flushed_end_offset = n->flushed,
        .last_epoch = epoch_at(n, n->log_end),
        .oldest_snapshot = {0, 0},
        .latest_snapshot = {0, 0},
    };

    n->core.self = args.self;
    voters_offset = find_voters(w, n, ids);
    vs = make_voters(ids);
    args.voters = vs;
    args.voters_offset = voters_offset;
    args.was_voter = was_voter(w, n);
    n->up = true;
    raft_core_init(&n->core, &args, w->now_ms);
    voter_set_free(vs);
    world_step(w, id, &(struct raft_event){.type = RAFT_TICK});
}

void world_crash(struct world *w, int id, bool losing)
{
    struct world_node *n = &w->nodes[id];

    n->up = false;
    if (losing && n->flushed < n->log_end)
        n->log_end = n->flushed;
    for (size_t i = 0; i < w->wire_count;) { /* answers to a dead process go nowhere */
        if (w->wires[i].answer && w->wires[i].to == id)
            w->wires[i] = w->wires[--w->wire_count];
        else
            i++;
    }
}

struct world *world_new(int nodes, uint64_t seed)
{
    return world_new_with_observers(nodes, nodes, seed);
}

enum kerr world_change_voters(struct world *w, int leader, enum raft_voter_change kind, int id)
{
    struct world_node *n = &w->nodes[leader];
    struct raft_event ev = {.type = RAFT_CHANGE_VOTERS,
                            .voter_change = {.kind = kind,
                                             .key = key_of(id),
                                             .speaks = true,
                                             .caught_up = w->nodes[id].log_end == n->log_end}};
    char ids[WORLD_NODES_MAX + 1], name[8] = "V";
    struct raft_answer answer;

    step_with(w, leader, &ev, NULL, &answer);
    if (answer.error != KERR_NONE)
        return answer.error;
    find_voters(w, n, ids);
    for (int other = 1; other <= w->count; other++)
        if (other == id ? kind == RAFT_ADD_VOTER : strchr(ids, '0' + other) != NULL)
            name[strlen(name)] = (char)('0' + other);
    add_entry(n, name, n->core.election.epoch);
    feed_appended(w, leader);
    feed_voters(w, leader);
    return KERR_NONE;
}

struct world *world_new_with_observers(int nodes, int voters, uint64_t seed)
{
    struct world *w = calloc(1, sizeof *w);

    CHECK(w != NULL);
    CHECK(nodes >= 1 && nodes <= WORLD_NODES_MAX);
    w->count = nodes;
    w->random = seed;
    w->now_ms = 1000;
    w->first_voters = voters;
    for (int id = 1; id <= nodes; id++)
        w->nodes[id].durable = (struct raft_election){0, RAFT_NO_NODE, {.id = RAFT_NO_NODE}};
    for (int id = 1; id <= nodes; id++)
        world_start(w, id);
    return w;
}

void world_free(struct world *w)
{
    free(w);
}

bool world_elect(struct world *w, int id)
{
    for (int tries = 0; tries < 10000; tries++) {
        if (w->nodes[id].core.role == RAFT_LEADER && id == world_leader(w))
            return true;
        for (int other = 1; other <= w->count; other++) {
            struct raft_core *c = &w->nodes[other].core;

            if (c->role != RAFT_FOLLOWER && c->role != RAFT_UNATTACHED)
                continue;
            c->leader_reached = false; /* as if their fetches had timed out too, a moment later */
            c->deadline_ms = other == id ? w->now_ms : w->now_ms + ELECTION_MS;
            w->nodes[other].deadline_ms = c->deadline_ms;
        }
        run_ms(w);
    }
    return false;
}

bool world_append(struct world *w, int id, const char *name)
{
    struct world_node *n = &w->nodes[id];

    if (!n->up || n->core.role != RAFT_LEADER)
        return false;
    add_entry(n, name, n->core.election.epoch);
    feed_appended(w, id);
    return true;
}

void world_cut(struct world *w, int a, int b)
{
    for (int other = 1; other <= w->count; other++)
        if (other != a && (b == 0 || other == b))
            w->cut[a][other] = w->cut[other][a] = true;
}

void world_heal(struct world *w, int id)
{
    for (int a = 1; a <= w->count; a++)
        for (int b = 1; b <= w->count; b++)
            if (id == 0 || a == id || b == id)
                w->cut[a][b] = false;
}

void world_stick_disk(struct world *w, int id, bool stuck)
{
    w->nodes[id].disk_stuck = stuck;
}

int world_leader(const struct world *w)
{
    int found = 0;

    for (int id = 1; id <= w->count; id++)
        if (w->nodes[id].up && w->nodes[id].core.role == RAFT_LEADER &&
            (found == 0 || w->nodes[id].core.election.epoch > w->nodes[found].core.election.epoch))
            found = id;
    return found;
}

void world_print(const struct world *w, FILE *out)
{
    for (int id = 1; id <= w->count; id++) {
        const struct world_node *n = &w->nodes[id];

        fprintf(out, "%d: %-8s epoch %d  hw %d  log", id,
                n->up ? raft_role_name(n->core.role) : "down", n->core.election.epoch,
                (int)n->core.high_watermark);
        for (int64_t i = 0; i < n->log_end; i++)
            fprintf(out, " %s@%d", n->log[i].name, n->log[i].epoch);
        if (n->dropped[0])
            fprintf(out, "  (dropped%s)", n->dropped);
        fprintf(out, "\n");
    }
}
