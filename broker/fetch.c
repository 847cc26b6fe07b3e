#include "broker/fetch.h"

#include <stdlib.h>
#include <utlist.h>

#include "broker/closest_replica.h"
#include "broker/request.h"
#include "broker/shard.h"

/* Ranges this small are copied: one read says whether they are in the page cache and has them, and
 * they leave with the head of the answer, where a probe and a sendfile would be three calls
 * more. */
#define COPY_BYTES_MAX    ((size_t)32 << 10)
#define COPY_BYTES_ANSWER ((size_t)64 << 10) /* in all of one answer: memory, not file ranges */

/* A replica whose high watermark is old hears of the new one after so long at most, with the next
 * records most of the time: its own readers (KIP-392) wait for it, and a round trip for each append
 * would cost more than it gives. Apache Kafka lets it wait for replica.fetch.wait.max.ms. */
#define NEWS_WAIT_US 5000

#define READ_BYTES_MIN 1 /* a partition's share of a spent budget: nothing but what min_one gives */

/* The entries of one call that belong to one shard. Posted to its owner and back by `task`. While
 * the owner watches, home may post `stop`, and then waits for it to come back too: both may be
 * under way at once. */
struct fetch_part {
    struct task task;
    struct task stop;
    struct fetch_call *call;
    struct shard *owner;
    struct fetch_entry *first, *last;
    size_t budget_bytes;
    struct arena *arena; /* of what is found besides records; no other shard's */
    /* the owner's, while it is away */
    size_t found_bytes;
    bool has_answer; /* an entry has one that is no records: an error, say */
    bool has_news, news_told;
    bool seen;     /* read once: what a replica's offsets say is taken then, and is old later */
    bool watching; /* watchers are in place, it will report when something moves */
    bool ready;    /* in the owner's fetch_ready */
    bool stopped;  /* `stop` ended the watching: there is no report to come */
    struct fetch_part *prev, *next;
    /* home's */
    bool away;
    size_t told_bytes; /* found, as of its last report */
};

static void part_report(struct fetch_part *part);
static void part_stopped(struct task *t);
static void call_deliver(struct fetch_call *call);

static bool call_bytes_suffice(const struct fetch_call *call, size_t found)
{
    return found >= (size_t)(call->min_bytes > 0 ? call->min_bytes : 0);
}

static void entry_drop_payload(struct fetch_entry *e)
{
    if (e->payload.slice.segment)
        log_slice_release(&e->payload.slice);
    free(e->payload.memory);
    e->payload = (struct payload){0};
}

/* What it adds to the answer; a cold one, not located yet, counts as what it may be at most. */
static size_t entry_size(const struct fetch_entry *e)
{
    return e->payload.slice.cold ? e->payload.slice.max_bytes : e->payload.slice.size;
}

/* ---- on the owner ---- */

/* KIP-595's truncation check says where the asker's last epoch ends here, when that is before its
 * offset.
 *
 * A replica that ends at our log start may have other records below it than were committed. Most
 * often we remember enough to tell; when we do not, it is to begin there with none, or they would
 * come back with a crash that makes it forget its log start. Once it has raised its own, a leader
 * has told that they are the right ones. One that ends above our log start, where compaction took
 * what we had, goes on, as in Apache Kafka: it is in our range, and cannot begin anew. */
static enum kerr entry_check_history(struct fetch_entry *e, const struct partition *p)
{
    bool remembered = true;
    int32_t epoch;
    int64_t end;

    if (e->part->call->replica_id >= 0)
        remembered = log_end_of_past_epoch(p->log, e->last_fetched_epoch, &epoch, &end);
    else
        log_end_of_epoch(p->log, e->last_fetched_epoch, &epoch, &end);
    if (epoch < 0) /* nothing here can tell */
        return KERR_OFFSET_OUT_OF_RANGE;
    if (epoch < e->last_fetched_epoch || end < e->offset) {
        e->diverging_epoch = epoch;
        e->diverging_end_offset = end;
        return KERR_NONE;
    }
    if (remembered || e->offset > log_start_offset(p->log) ||
        e->replica_log_start_offset >= e->offset)
        return KERR_NONE;
    return KERR_OFFSET_OUT_OF_RANGE;
}

/* Whether the asked offset lies in our log, and on its history. */
static enum kerr entry_check_offset(const struct shard *s, struct fetch_entry *e,
                                    const struct partition *p)
{
    if (e->offset < log_start_offset(p->log))
        return KERR_OFFSET_OUT_OF_RANGE; /* whether or not the epochs part */
    if (e->last_fetched_epoch >= 0) {
        const enum kerr code = entry_check_history(e, p);

        if (code || e->diverging_epoch >= 0)
            return code;
    }
    if (e->offset <= log_end_offset(p->log))
        return KERR_NONE;
    /* The log of whoever leads may be longer than ours. A consumer without leader epochs, told by a
     * broker that has not yet heard of its successor, may take us for the leader: it is to ask who
     * leads, not to begin anew. */
    return p->state == PARTITION_LEADING && !shard_in_doubt(s, e->topic_id, e->index)
               ? KERR_OFFSET_OUT_OF_RANGE
               : KERR_NOT_LEADER_OR_FOLLOWER;
}

/* Whether the fetch is of an earlier run of the replica's broker. */
static bool part_replica_is_stale(const struct fetch_part *part)
{
    const struct fetch_call *call = part->call;
    const struct metadata_broker *b = metadata_image_broker(part->owner->image, call->replica_id);

    return call->replica_epoch >= 0 && b && b->epoch > call->replica_epoch;
}

static enum kerr entry_check(const struct fetch_part *part, const struct fetch_entry *e,
                             const struct partition *p)
{
    int32_t replica_id = part->call->replica_id;
    enum kerr code;

    if (!p)
        return KERR_NOT_LEADER_OR_FOLLOWER;
    code = part->call->any_replica ? partition_check_replica(p, e->current_leader_epoch)
                                   : partition_check_leader(p, e->current_leader_epoch);
    if (code || replica_id < 0 || partition_has_replica(p, replica_id))
        return code;
    /* It may have heard of an assignment that is still on its way to us: it tries again. */
    return e->current_leader_epoch >= 0 ? KERR_UNKNOWN_LEADER_EPOCH : KERR_NOT_LEADER_OR_FOLLOWER;
}

/* What a replica's fetch tells of itself, once. */
static enum kerr entry_take_position(const struct fetch_part *part, const struct fetch_entry *e,
                                     struct partition *p)
{
    struct replica_fetch f = {.replica_id = part->call->replica_id,
                              .broker_epoch = part->call->replica_epoch,
                              .offset = e->offset,
                              .log_start_offset = e->replica_log_start_offset,
                              .wait_ms = part->call->max_wait_ms};

    if (f.replica_id < 0 || part->seen)
        return KERR_NONE;
    if (part_replica_is_stale(part))
        return KERR_NOT_LEADER_OR_FOLLOWER;
    partition_replica_fetched(p, &f);
    return KERR_NONE;
}

/* KIP-392: whether the consumer is to read elsewhere. */
static bool entry_is_nearer_elsewhere(const struct fetch_part *part, struct fetch_entry *e,
                                      const struct partition *p)
{
    const struct fetch_call *call = part->call;

    if (!call->any_replica || call->rack.size == 0 || p->state != PARTITION_LEADING ||
        part->owner->node->options->replica_selector != SELECT_BY_RACK)
        return false;
    e->preferred_replica =
        closest_replica(part->owner, p, e->offset, call->rack, call->rq->listener);
    return e->preferred_replica >= 0;
}

/* KIP-73: whether a replica that is not in sync has to wait for its next bytes. */
static bool entry_is_held_back(const struct fetch_part *part, struct fetch_entry *e,
                               const struct partition *p)
{
    const struct shard *s = part->owner;
    const struct metadata_topic *topic;

    if (part->call->replica_id < 0 || !replica_throttle_is_on(&s->node->leader_throttle))
        return false;
    topic = metadata_image_topic_by_id(s->image, e->topic_id);
    e->throttled = topic && throttled_replicas_name(
                                config_set_find(topic->config->overrides,
                                                STR("leader.replication.throttled.replicas")),
                                e->index, s->node->options->node_id);
    return e->throttled && !isr_contains(&p->isr, part->call->replica_id) &&
           replica_throttle_exceeded(&s->node->leader_throttle, clock_monotonic_us(s->loop->clock));
}

static int64_t entry_end_offset(const struct fetch_entry *e, const struct partition *p)
{
    const struct fetch_call *call = e->part->call;

    if (call->replica_id >= 0)
        return log_end_offset(p->log);
    return call->read_committed ? e->last_stable_offset : e->high_watermark;
}

static struct status entry_read_log(struct fetch_entry *e, struct partition *p, size_t max_bytes,
                                    bool min_one)
{
    const struct fetch_call *call = e->part->call;
    struct log_read_args args = {
        .offset = e->offset,
        .end_offset = entry_end_offset(e, p),
        .max_bytes = max_bytes,
        .min_one = min_one,
    };
    struct status st = log_read(p->log, &args, &e->payload.slice);

    if (status_failed(st) || !call->read_committed || !e->payload.slice.segment)
        return st;
    return log_aborted_transactions(p->log, e->offset, args.end_offset, e->part->arena,
                                    &e->aborted, &e->aborted_count);
}

/* Whether nothing was found so far that is an answer without records. */
static bool entry_is_read(const struct fetch_entry *e)
{
    return e->code == KERR_NONE && e->diverging_epoch < 0 && e->preferred_replica < 0;
}

/* Fills the entry's answer. Adds to the part's bytes. */
static void entry_read(struct fetch_part *part, struct fetch_entry *e)
{
    struct partition *p = shard_partition(part->owner, e->topic_id, e->index);
    size_t left =
        part->budget_bytes > part->found_bytes ? part->budget_bytes - part->found_bytes : 0;
    size_t max_bytes = e->max_bytes > 0 ? (size_t)e->max_bytes : 0;
    bool min_one = part->found_bytes == 0;
    struct status st;

    entry_drop_payload(e);
    e->code = entry_check(part, e, p);
    if (p) {
        e->leader_id = p->leader_id;
        e->leader_epoch = p->leader_epoch;
    }
    if (e->code)
        return;
    e->log_start_offset = log_start_offset(p->log);
    if (!entry_is_nearer_elsewhere(part, e, p))
        e->code = entry_check_offset(part->owner, e, p);
    if (entry_is_read(e))
        e->code = entry_take_position(part, e, p);
    e->high_watermark = partition_high_watermark(p);
    e->last_stable_offset = partition_last_stable_offset(p);
    if (!entry_is_read(e))
        return;
    if (max_bytes > left)
        max_bytes = left;
    if ((max_bytes == 0 && !min_one) || entry_is_held_back(part, e, p))
        return;
    st = entry_read_log(e, p, max_bytes ? max_bytes : READ_BYTES_MIN, min_one);
    e->code = st.code;
    if (!status_failed(st))
        part->found_bytes += entry_size(e);
}

static bool entry_has_news(const struct fetch_entry *e)
{
    return e->known_high_watermark != INT64_MAX &&
           (e->high_watermark != e->known_high_watermark ||
            e->log_start_offset != e->known_log_start_offset);
}

/* all: else only those that changed while they were watched, which of a replica's many are few. */
static void part_read(struct fetch_part *part, bool all)
{
    part->found_bytes = 0;
    part->has_answer = part->has_news = false;
    for (struct fetch_entry *e = part->first; e; e = e->next) {
        if (all || e->changed)
            entry_read(part, e);
        else
            part->found_bytes += entry_size(e);
        e->changed = false;
        part->has_answer = part->has_answer || !entry_is_read(e);
        part->has_news = part->has_news || entry_has_news(e);
    }
    part->seen = true;
}

static void part_unwatch(struct fetch_part *part)
{
    if (!part->watching)
        return;
    for (struct fetch_entry *e = part->first; e; e = e->next)
        partition_unwatch(&e->watcher);
    part->watching = false;
}

static void entry_changed(struct partition_watcher *w)
{
    struct fetch_entry *e = CONTAINER_OF(w, struct fetch_entry, watcher);
    struct fetch_part *part = e->part;
    struct shard *s = part->owner;

    e->changed = true;
    if (part->ready)
        return;
    part->ready = true;
    DL_APPEND(s->fetch_ready, part);
    if (!s->fetch_ready_posted) {
        s->fetch_ready_posted = true;
        loop_post(s->loop, &s->fetch_ready_task);
    }
}

static void part_watch(struct fetch_part *part)
{
    part->watching = true;
    for (struct fetch_entry *e = part->first; e; e = e->next) {
        struct partition *p = shard_partition(part->owner, e->topic_id, e->index);

        e->watcher.changed = entry_changed;
        e->watcher.log_end = part->call->replica_id >= 0;
        if (p)
            partition_watch(p, &e->watcher);
    }
}

/* Whether home wants to hear of what was read, when it knows of `told_bytes`. Any growth is news to
 * it, as only home knows what the other shards found; where there are none, what is less than
 * min.bytes is not. */
static bool part_is_due(const struct fetch_part *part, size_t told_bytes)
{
    const struct fetch_call *call = part->call;

    if (part->has_answer || part->has_news > part->news_told)
        return true;
    return call->alone ? call_bytes_suffice(call, part->found_bytes)
                       : part->found_bytes > told_bytes;
}

static void part_read_again(struct fetch_part *part, bool all)
{
    size_t before = part->found_bytes;

    part_read(part, all);
    if (!part_is_due(part, before))
        return;
    part_unwatch(part);
    part_report(part);
}

/* What moved in this turn of the loop, each part once. */
static void fetch_ready_run(struct task *t)
{
    struct shard *s = CONTAINER_OF(t, struct shard, fetch_ready_task);
    struct fetch_part *part;

    s->fetch_ready_posted = false;
    while ((part = s->fetch_ready)) {
        DL_DELETE(s->fetch_ready, part);
        part->ready = false;
        part_read_again(part, false);
    }
}

static void part_run(struct task *t)
{
    struct fetch_part *part = CONTAINER_OF(t, struct fetch_part, task);

    part_read(part, true);
    if (part->call->alone && !part_is_due(part, 0))
        part_watch(part); /* home would only send it back */
    else
        part_report(part);
}

/* Home was not content: watch, unless something came while the question was on its way. */
static void part_wait(struct task *t)
{
    struct fetch_part *part = CONTAINER_OF(t, struct fetch_part, task);

    part_watch(part);
    part_read_again(part, true);
}

static void part_stop(struct task *t)
{
    struct fetch_part *part = CONTAINER_OF(t, struct fetch_part, stop);
    struct shard *home = part->call->rq->shard;

    if (part->ready)
        DL_DELETE(part->owner->fetch_ready, part);
    part->ready = false;
    part->stopped = part->watching; /* else its report is on the way */
    part_unwatch(part);
    part->stop.run = part_stopped;
    if (part->owner == home)
        part_stopped(&part->stop);
    else
        loop_post(home->loop, &part->stop);
}

void fetch_init(struct shard *s)
{
    s->fetch_ready_task.run = fetch_ready_run;
}

/* ---- at home ---- */

static void part_send(struct fetch_part *part, void (*run)(struct task *t))
{
    part->away = true;
    part->call->away++;
    part->task.run = run;
    if (part->owner == part->call->rq->shard)
        run(&part->task);
    else
        loop_post(part->owner->loop, &part->task);
}

static size_t part_count(const struct fetch_call *call)
{
    return call->rq->shard->node->shard_count;
}

static bool call_content(const struct fetch_call *call)
{
    size_t found = 0;

    if (call->wait_over)
        return true;
    for (size_t i = 0; i < part_count(call); i++) {
        if (!call->parts[i].away && call->parts[i].has_answer)
            return true;
        found += call->parts[i].told_bytes; /* one that watches again may know of more, and will
                                             * report it */
    }
    return call_bytes_suffice(call, found);
}

/* Calls the watching owners back. */
static void call_stop(struct fetch_call *call)
{
    call->finishing = true;
    call->away++; /* ours: the last one back must not finish while we are at it */
    for (size_t i = 0; i < part_count(call); i++) {
        struct fetch_part *part = &call->parts[i];

        if (!part->away)
            continue;
        call->away++;
        part->stop.run = part_stop;
        if (part->owner == call->rq->shard)
            part_stop(&part->stop);
        else
            loop_post(part->owner->loop, &part->stop);
    }
    call->away--;
}

/* From here on owners watch, for so long at most. */
static void call_begin_wait(struct fetch_call *call)
{
    call->waiting = true;
    timer_start(call->rq->shard->loop, &call->wait, (int64_t)call->max_wait_ms * 1000);
}

/* Sends those parts that are home out to watch. */
static void call_wait(struct fetch_call *call)
{
    if (!call->waiting)
        call_begin_wait(call);
    if (call->news && !call->hasten && (int64_t)call->max_wait_ms * 1000 > NEWS_WAIT_US) {
        call->hasten = true;
        timer_start(call->rq->shard->loop, &call->wait, NEWS_WAIT_US);
    }
    for (size_t i = 0; i < part_count(call) && !call->finishing; i++)
        if (call->parts[i].first && !call->parts[i].away)
            part_send(&call->parts[i], part_wait);
}

static bool call_any_home(const struct fetch_call *call)
{
    for (size_t i = 0; i < part_count(call); i++)
        if (call->parts[i].first && !call->parts[i].away)
            return true;
    return false;
}

/* Something came back. Not reentered: parts of this very shard come back from within call_wait. */
static void call_step(struct fetch_call *call)
{
    if (call->stepping)
        return;
    call->stepping = true;
    if (!call->finishing && (call->waiting || call->away == 0)) {
        while (!call_content(call) && call_any_home(call))
            call_wait(call);
        if (call_content(call))
            call_stop(call);
    }
    call->stepping = false;
    if (call->finishing && call->away == 0)
        call_deliver(call);
}

static void part_returned(struct task *t)
{
    struct fetch_part *part = CONTAINER_OF(t, struct fetch_part, task);

    part->away = false;
    part->told_bytes = part->found_bytes;
    part->call->news = part->call->news || part->has_news;
    part->call->away--;
    call_step(part->call);
}

static void part_stopped(struct task *t)
{
    struct fetch_part *part = CONTAINER_OF(t, struct fetch_part, stop);

    part->call->away--;
    if (part->stopped) {
        part->away = false;
        part->call->away--;
    }
    call_step(part->call);
}

/* From the owner's thread. */
static void part_report(struct fetch_part *part)
{
    struct shard *home = part->call->rq->shard;

    part->news_told = part->has_news;
    part->task.run = part_returned;
    if (part->owner == home)
        part_returned(&part->task);
    else
        loop_post(home->loop, &part->task);
}

static void on_wait_over(struct timer *t)
{
    struct fetch_call *call = CONTAINER_OF(t, struct fetch_call, wait);

    call->wait_over = true;
    call_step(call);
}

/* The client is gone: nobody reads what would come. */
static void fetch_hurry(void *arg)
{
    struct fetch_call *call = arg;

    call->wait_over = true;
    call_step(call);
}

/* ---- cold bytes ---- */

/* One cold payload being read into memory. */
struct cold_read {
    struct job job;
    struct fetch_call *call;
    struct fetch_entry *entry;
    struct status result;
};

static void cold_run(struct job *j)
{
    struct cold_read *c = (struct cold_read *)j;
    struct payload *payload = &c->entry->payload;

    if (payload->slice.cold)
        c->result = log_slice_locate(&payload->slice);
    if (status_failed(c->result) || payload->slice.size == 0)
        return;
    payload->memory = malloc(payload->slice.size);
    if (!payload->memory) {
        c->result = status_error(KERR_UNKNOWN_SERVER_ERROR, "no memory for a cold read");
        return;
    }
    c->result = log_slice_read(&payload->slice, 0, payload->memory, payload->slice.size, NULL);
}

static void cold_done(struct task *t)
{
    struct cold_read *c = CONTAINER_OF(t, struct cold_read, job.done);
    struct fetch_call *call = c->call;

    if (status_failed(c->result)) {
        c->entry->code = c->result.code;
        entry_drop_payload(c->entry);
    }
    free(c);
    if (--call->cold_left == 0)
        call->finished(call);
}

static void entry_read_cold(struct fetch_entry *e, struct fetch_call *call)
{
    struct shard *s = call->rq->shard;
    struct cold_read *c = calloc(1, sizeof *c);

    if (!c) {
        e->code = KERR_UNKNOWN_SERVER_ERROR;
        entry_drop_payload(e);
        return;
    }
    c->job.home = s->loop;
    c->job.run = cold_run;
    c->job.done.run = cold_done;
    c->call = call;
    c->entry = e;
    call->cold_left++;
    pool_submit(s->partition_env.pool, &c->job);
}

/* Each shard had its share of the budget, and at least one batch: in the session's order, what is
 * over the budget goes again. */
static void call_trim(struct fetch_call *call)
{
    size_t total = 0, budget = call->max_bytes > 0 ? (size_t)call->max_bytes : 0;

    for (size_t i = 0; i < call->entry_count; i++) {
        struct fetch_entry *e = &call->entries[i];

        if (!e->payload.slice.segment)
            continue;
        if (e->code || (total > 0 && total + entry_size(e) > budget))
            entry_drop_payload(e);
        else
            total += entry_size(e);
    }
}

/* False: not in the page cache, or no memory. */
static bool entry_copy(struct fetch_entry *e)
{
    struct payload *payload = &e->payload;
    bool cold = true;

    payload->memory = malloc(payload->slice.size);
    if (payload->memory &&
        !status_failed(
            log_slice_read(&payload->slice, 0, payload->memory, payload->slice.size, &cold)) &&
        !cold)
        return true;
    free(payload->memory);
    payload->memory = NULL;
    return false;
}

/* Whether the payload of an entry can be sent as it is; small ones become memory. */
static bool entry_is_ready(struct fetch_entry *e, size_t *copied)
{
    const struct log_slice *slice = &e->payload.slice;

    if (!slice->segment || (slice->size == 0 && !slice->cold))
        return true;
    if (slice->cold)
        return false;
    if (slice->size > COPY_BYTES_MAX || *copied + slice->size > COPY_BYTES_ANSWER)
        return log_slice_is_warm(slice);
    *copied += slice->size;
    return entry_copy(e);
}

static void entry_record_throttled(const struct fetch_call *call, const struct fetch_entry *e)
{
    const struct shard *s = call->rq->shard;

    if (e->throttled && e->payload.slice.segment)
        replica_throttle_record(&s->node->leader_throttle, entry_size(e),
                                clock_monotonic_us(s->loop->clock));
}

static void call_deliver(struct fetch_call *call)
{
    size_t copied = 0;

    timer_free(call->rq->shard->loop, &call->wait);
    call->rq->hurry = NULL;
    call_trim(call);
    call->cold_left = 1; /* ours, until all are on their way */
    for (size_t i = 0; i < call->entry_count; i++) {
        struct fetch_entry *e = &call->entries[i];

        entry_record_throttled(call, e);
        if (!entry_is_ready(e, &copied))
            entry_read_cold(e, call);
    }
    if (--call->cold_left == 0)
        call->finished(call);
}

/* ---- start and end ---- */

static void call_split(struct fetch_call *call)
{
    struct node *node = call->rq->shard->node;

    for (size_t i = 0; i < call->entry_count; i++) {
        struct fetch_entry *e = &call->entries[i];
        struct fetch_part *part;

        e->diverging_epoch = e->preferred_replica = -1;
        if (e->code) {
            call->wait_over = true; /* an error is an answer */
            continue;
        }
        part = &call->parts[node_shard_of(node, e->topic_id, e->index)];
        e->part = part;
        if (part->last)
            part->last->next = e;
        else
            part->first = e;
        part->last = e;
    }
}

/* Aborted transactions are found by all owners at the same time. One alone may have the request's
 * arena: nobody uses it meanwhile. False: it is spent. */
static bool call_give_arenas(struct fetch_call *call, size_t used)
{
    struct request *rq = call->rq;
    bool split = call->read_committed && used > 1;
    size_t given = 0;

    if (split && !request_split_arena(rq, used))
        return false;
    for (size_t i = 0; i < part_count(call); i++)
        if (call->parts[i].first)
            call->parts[i].arena = split ? &rq->part_arenas[given++] : &rq->arena;
    return true;
}

bool fetch_start(struct fetch_call *call)
{
    struct shard *home = call->rq->shard;
    size_t count = part_count(call), used = 0;

    call->parts = arena_array(&call->rq->arena, struct fetch_part, count);
    if (!call->parts)
        return false;
    /* nothing can come of no partitions */
    call->wait_over = call->max_wait_ms <= 0 || call->entry_count == 0;
    call_split(call);
    for (size_t i = 0; i < count; i++)
        used += call->parts[i].first != NULL;
    if (!call_give_arenas(call, used))
        return false;
    timer_init(home->loop, &call->wait, on_wait_over);
    call->rq->hurry = fetch_hurry;
    call->rq->hurry_arg = call;
    call->alone = used == 1 && !call->wait_over;
    if (call->alone)
        call_begin_wait(call);
    call->stepping = true; /* until all are on their way */
    for (size_t i = 0; i < count; i++) {
        struct fetch_part *part = &call->parts[i];

        if (!part->first)
            continue;
        part->call = call;
        part->owner = home->node->shards[i];
        part->budget_bytes = call->max_bytes > 0 ? (size_t)call->max_bytes / used : 0;
        part_send(part, part_run);
    }
    call->stepping = false;
    call_step(call);
    return true;
}

void fetch_release(void *owner)
{
    struct fetch_call *call = owner;

    for (size_t i = 0; i < call->entry_count; i++)
        entry_drop_payload(&call->entries[i]);
}
