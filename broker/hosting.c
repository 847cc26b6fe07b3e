#include "broker/hosting.h"

#include <stdio.h>
#include <stdlib.h>
#include <uthash.h>

#include "broker/assignments.h"
#include "broker/closing.h"
#include "broker/control.h"
#include "broker/coordinator/coordinators.h"
#include "broker/isr_changes.h"
#include "broker/replica_fetcher.h"
#include "broker/storage_dirs.h"
#include "broker/verify.h"
#include "protocol/base/check.h"
#include "replication/partition_clean.h"

#define LOOK_AGAIN_US 1000
/* dirty logs from which one sync of their file system is cheaper than one for each */
#define SYNC_AT_ONCE_LEAST 16
#define OPENS_A_JOB        64 /* makes posting cheap, and leaves some for all threads */

struct hosted_key {
    struct uuid topic_id;
    int32_t index;
};

/* Some of its partitions could not be hosted yet. */
struct awaited_topic {
    struct uuid id;
    UT_hash_handle hh;
};

struct hosted_partition {
    struct hosted_key key;
    UT_hash_handle hh;
    struct shard *shard;
    struct partition *partition;
    struct verify_entry verify;
    bool removed; /* the topic is gone, or moved to others: its log is deleted once it is free */
    struct log_config *config; /* then: what its settings were, since the image goes that had
                                * them */
};

struct partition *shard_partition(struct shard *s, struct uuid topic_id, int32_t index)
{
    struct hosted_key key;
    struct hosted_partition *h;

    memset(&key, 0, sizeof key);
    key.topic_id = topic_id;
    key.index = index;
    HASH_FIND(hh, s->partitions, &key, sizeof key, h);
    return h && !h->removed ? h->partition : NULL;
}

bool shard_in_doubt(const struct shard *s, struct uuid topic_id, int32_t index)
{
    const struct metadata_partition *p =
        metadata_topic_partition(metadata_image_topic_by_id(s->image, topic_id), index);

    return p && p->replicas.count > 1 &&
           node_in_doubt(s->node, clock_monotonic_us(s->loop->clock));
}

static struct hosted_partition *hosting_find(struct shard *s, struct uuid topic_id, int32_t index)
{
    struct hosted_key key;
    struct hosted_partition *h;

    memset(&key, 0, sizeof key);
    key.topic_id = topic_id;
    key.index = index;
    HASH_FIND(hh, s->partitions, &key, sizeof key, h);
    return h;
}

/* ---- what the metadata says ---- */

/* Nothing is led or followed before the metadata knows of this run of the node.
 *
 * What the last run asked for may have been granted after its end: a leader that knows only the ISR
 * from before would take for committed what a member of the new one lacks. Once we are registered
 * anew, the controller grants the last run nothing more.
 *
 * What the last run knew, this one has forgotten: a leader that it had followed another one since,
 * or had been that itself, is given what makes up its old ISR, commits it, and is cut to the log of
 * the new leader, which has it not.
 *
 * Nor is what the metadata has moved away, and is kept until the node serves (hosting_serves_now):
 * the leader may know already that it is to come back, and take for in sync what is about to go. */
static int32_t leader_of(const struct shard *s, const struct metadata_partition *mp)
{
    return s->registered && id_list_contains(mp->replicas, s->node->options->node_id) ? mp->leader
                                                                                    : NO_LEADER;
}

static struct partition_assignment assignment_of(const struct shard *s,
                                                 const struct metadata_topic *topic,
                                                 const struct metadata_partition *mp)
{
    return (struct partition_assignment){
        .leader_id = leader_of(s, mp),
        .leader_epoch = mp->leader_epoch,
        .partition_epoch = mp->partition_epoch,
        .membership =
            {
                .self_id = s->node->options->node_id,
                .replicas = mp->replicas.ids,
                .replica_count = mp->replicas.count,
                .isr = mp->isr.ids,
                .isr_count = mp->isr.count,
                .min_insync_replicas = topic->config->settings.min_insync_replicas,
                .partition_epoch = mp->partition_epoch,
            },
        .config = &topic->config->settings.log,
    };
}

static void hosted_assign(struct hosted_partition *h)
{
    struct shard *s = h->shard;
    const struct metadata_topic *topic = metadata_image_topic_by_id(s->image, h->key.topic_id);
    const struct metadata_partition *mp = metadata_topic_partition(topic, h->key.index);
    struct partition_assignment a;

    if (!mp)
        return; /* removed meanwhile: its turn comes with the delta */
    a = assignment_of(s, topic, mp);
    partition_assign(h->partition, &a);
    replica_fetcher_assign(s, h->partition);
    assignments_check(s, h->partition, mp);
}

/* ---- letting go ---- */

struct log_end_job {
    struct job job;
    struct shard *shard;
    struct log *log;
    char *topic; /* owned, when removed */
    int32_t index;
    bool remove;
    bool clean;
    bool settle; /* closed with many others, after one sync */
    size_t dir;
    struct log_config *config; /* owned, when removed: the log's */
    struct uuid unique;
    struct status result;
};

static void log_end_run(struct job *j)
{
    struct log_end_job *e = (struct log_end_job *)j;

    if (e->remove)
        e->result = log_delete(e->log, e->unique);
    else if (!e->settle)
        e->result = log_close(e->log, e->clean);
    else if (!closing_settle(e->shard->node->closing, e->log, e->dir))
        e->result = status_error(KERR_KAFKA_STORAGE_ERROR, "settle a log");
    if (status_failed(e->result))
        storage_dirs_distrust(e->shard->node->dirs, e->dir);
}

void hosting_maybe_emptied(struct shard *s)
{
    if (s->closing && !s->partitions && s->log_jobs == 0 && verify_idle(s->verify) &&
        coordinators_idle(s->coordinators) && !s->emptied_posted) {
        s->emptied_posted = true;
        s->emptied(s);
    }
}

static void log_end_done(struct task *t)
{
    struct log_end_job *e = CONTAINER_OF(t, struct log_end_job, job.done);
    struct shard *s = e->shard;

    if (status_failed(e->result))
        logger_event(
            s->logger, LOGGER_ERROR, e->remove ? "log_deletion_failed" : "log_close_failed",
            "where=\"%s\" errno=%d", e->result.where ? e->result.where : "", e->result.sys_errno);
    if (e->remove) {
        storage_dirs_release(s->node->dirs, str_from(e->topic), e->index);
        atomic_store(&s->node->sweep_wanted, true);
        if (status_failed(e->result)) /* the folder is in the way of a topic of that name */
            node_dir_failed(s->node, e->dir, e->result);
    }
    s->log_jobs--;
    s->close_failed = s->close_failed || (status_failed(e->result) && !e->remove);
    free(e->topic);
    free(e->config);
    free(e);
    hosting_maybe_emptied(s);
}

/* The partition is stopped: frees it and sends its log off. */
static void hosted_end(struct hosted_partition *h)
{
    struct shard *s = h->shard;
    struct log_end_job *e = calloc(1, sizeof *e);
    struct log *log;

    CHECK(e);
    HASH_DEL(s->partitions, h);
    verify_remove(s->verify, &h->verify);
    *e = (struct log_end_job){.shard = s,
                              .index = h->partition->index,
                              .remove = h->removed,
                              .clean = s->closing_clean,
                              .settle = s->closing_many && h->partition->log &&
                                        !log_offline(h->partition->log),
                              .dir = h->partition->log_dir};
    e->config = h->config;
    if (h->removed) {
        e->topic = strndup(h->partition->topic.data, h->partition->topic.size);
        CHECK(e->topic);
    }
    /* A damaged log that was left alone: nobody may believe that all is well in its directory. */
    if (!h->removed && h->partition->log && log_offline(h->partition->log) &&
        storage_dirs_online(s->node->dirs, h->partition->log_dir))
        s->close_failed = true;
    isr_changes_forget(s, h->partition);
    log = e->log = partition_free(h->partition);
    free(h);
    if (!log) {
        if (e->remove)
            storage_dirs_release(s->node->dirs, str_from(e->topic), e->index);
        free(e->topic);
        free(e->config);
        free(e);
        hosting_maybe_emptied(s);
        return;
    }
    e->job.home = s->loop;
    e->job.run = log_end_run;
    e->job.done.run = log_end_done;
    random_fill(s->node->env.random, e->unique.bytes, sizeof e->unique.bytes);
    s->log_jobs++;
    pool_submit(s->node->env.pool, &e->job);
}

/* No more of the leader's records. Not while opening. */
static void hosted_stop(struct hosted_partition *h, enum kerr code)
{
    replica_fetcher_forget(h->shard, h->partition);
    partition_stop(h->partition, code);
}

static void on_partition_stopped(void *arg, struct partition *p)
{
    struct hosted_partition *h = hosting_find(arg, p->topic_id, p->index);

    CHECK(h);
    hosted_end(h);
}

/* The partition outlives its topic for as long as a flush takes, or a lookup. */
static void hosted_keep_config(struct hosted_partition *h)
{
    struct partition *p = h->partition;

    if (!p->config || h->config)
        return;
    h->config = malloc(sizeof *h->config);
    CHECK(h->config);
    *h->config = *p->config;
    partition_keep_config(p, h->config);
}

/* An opening partition waits for its log first; see hosted_opened. */
static void hosted_remove(struct hosted_partition *h, enum kerr code)
{
    h->removed = true;
    coordinators_remove(h->shard, h->partition);
    hosted_keep_config(h);
    if (h->partition->state != PARTITION_OPENING)
        hosted_stop(h, code);
}

/* ---- opening ---- */

struct open_item {
    struct hosted_partition *hosted;
    struct storage_place place;
    const struct log_config *config;
    bool current; /* the metadata is no older than this run of the node */
    bool early;   /* the folder is a later topic's of that name: it was left as it is */
    struct log *log;
    struct log_recovery_report report;
    struct status result;
};

struct open_job {
    struct job job;
    struct shard *shard;
    const struct metadata_image *image; /* holds the settings that the logs are opened with */
    size_t count;
    struct open_item items[OPENS_A_JOB];
};

/* The folder is another topic's of the same name. Of an earlier one, as far as metadata goes that
 * knows of this run of the node; before that it may be of a later one, whose turn is still to
 * come. */
static void item_clear_place(struct shard *s, struct open_item *item)
{
    const struct partition *p = item->hosted->partition;

    item->early = !item->current;
    if (item->current)
        item->result = storage_dirs_set_aside(s->node->dirs, p->topic, p->index, &item->place);
    else
        storage_dirs_put_back(s->node->dirs, p->topic, p->index);
    if (item->early || !status_failed(item->result))
        item->result =
            status_error(KERR_OPERATION_NOT_ATTEMPTED, "another topic's folder was in its place");
}

static void item_open(struct shard *s, struct open_item *item)
{
    const struct partition *p = item->hosted->partition;
    struct log_args args = {
        .files = s->node->env.files,
        .clock = s->node->env.clock,
        .directory = item->place.path,
        .topic_id = p->topic_id,
        .config = item->config,
        .producer_id_expiration_ms = s->node->options->producer_id_expiration_ms,
        .scratch = s->scratch,
        .page_cache_is_enough = !s->node->options->flush_before_ack,
        .logger = s->logger,
        .recovery_point = item->place.recovery_point,
        .high_watermark = item->place.high_watermark,
        .log_start_offset = item->place.log_start_offset,
        .cleaned_offset = item->place.cleaned_offset,
        .trust = item->place.trust,
    };

    item->result = log_open(&args, &item->log, &item->report);
    if (item->result.code == KERR_INCONSISTENT_TOPIC_ID)
        item_clear_place(s, item);
}

static void log_recovery(struct shard *s, const struct open_item *item)
{
    const struct partition *p = item->hosted->partition;

    if (item->report.truncated_bytes > 0 || item->report.damaged)
        logger_event(s->logger, LOGGER_WARN, "log_recovered",
                     "topic=\"%s\" partition=%d truncated_bytes=%lld log_end=%lld damaged=%d",
                     p->topic.data, p->index, (long long)item->report.truncated_bytes,
                     (long long)item->report.truncated_to, item->report.damaged);
}

/* The log was cut below what had been flushed, or its files are no log any more. */
static bool has_lost_something(const struct open_item *item)
{
    if (status_failed(item->result))
        return item->place.exists && item->result.sys_errno == 0;
    return item->report.damaged;
}

static void hosted_serve(struct hosted_partition *h)
{
    hosted_assign(h);
    coordinators_add(h->shard, h->partition);
    verify_add(h->shard->verify, &h->verify, h->partition);
}

static void hosting_topic_changed(struct shard *s, const struct metadata_topic *topic);

/* Whose turn it is at a folder that was put back: the topic that has the name by now. When that is
 * still the one whose it is not, the metadata is waited for that knows of this run. */
static void hosting_look_at_name(struct shard *s, struct uuid topic_id, struct str name)
{
    const struct metadata_topic *topic = metadata_image_topic(s->image, name);

    if (topic && (s->registered || !uuid_equal(topic->id, topic_id)))
        hosting_topic_changed(s, topic);
}

/* It cannot be placed yet: forgotten, and looked at again soon. */
static void hosted_postpone(struct hosted_partition *h, bool early)
{
    struct shard *s = h->shard;
    const struct uuid topic_id = h->key.topic_id;

    HASH_DEL(s->partitions, h);
    isr_changes_forget(s, h->partition);
    if (early && !s->closing)
        hosting_look_at_name(s, topic_id, h->partition->topic);
    (void)partition_free(h->partition); /* there is no log */
    free(h->config);
    free(h);
    if (s->closing)
        hosting_maybe_emptied(s);
    else if (!early)
        hosting_look_again(s, topic_id);
}

static void hosted_opened(struct open_item *item)
{
    struct hosted_partition *h = item->hosted;
    struct shard *s = h->shard;
    struct partition *p = h->partition;

    if (item->result.code == KERR_OPERATION_NOT_ATTEMPTED) {
        hosted_postpone(h, item->early);
        return;
    }
    if (!status_failed(item->result))
        log_recovery(s, item);
    if (has_lost_something(item))
        node_damaged(s->node);
    p->log_dir = item->place.dir;
    partition_opened(p, item->log, item->result, item->place.high_watermark,
                     s->flushers[item->place.dir]);
    if (h->removed || s->closing)
        hosted_stop(h, KERR_UNKNOWN_TOPIC_OR_PARTITION);
    else
        hosted_serve(h);
}

static void open_job_run(struct job *j)
{
    struct open_job *o = (struct open_job *)j;

    for (size_t i = 0; i < o->count; i++)
        item_open(o->shard, &o->items[i]);
}

static void hosting_maybe_opened(struct shard *s)
{
    if (s->opening == 0 && s->opened)
        s->opened(s);
}

static void open_job_submit(struct shard *s);

static void open_job_done(struct task *t)
{
    struct open_job *o = CONTAINER_OF(t, struct open_job, job.done);
    struct shard *s = o->shard;

    for (size_t i = 0; i < o->count; i++)
        hosted_opened(&o->items[i]);
    open_job_submit(s); /* of those that follow whose folder was not theirs */
    s->opening -= o->count;
    metadata_image_release(o->image);
    free(o);
    hosting_maybe_opened(s);
}

static void open_job_submit(struct shard *s)
{
    struct open_job *o = s->open_job;

    if (!o)
        return;
    s->open_job = NULL;
    o->job.home = s->loop;
    o->job.run = open_job_run;
    o->job.done.run = open_job_done;
    o->image = metadata_image_acquire(s->image);
    pool_submit(s->node->env.pool, &o->job);
}

static void hosting_open_later(struct shard *s, const struct open_item *item)
{
    if (!s->open_job) {
        s->open_job = calloc(1, sizeof *s->open_job);
        CHECK(s->open_job);
        s->open_job->shard = s;
    }
    s->open_job->items[s->open_job->count++] = *item;
    s->opening++;
    if (s->open_job->count == OPENS_A_JOB)
        open_job_submit(s);
}

/* Made since clients are served. Once it was there before, it may have been here before. */
static bool is_new(const struct shard *s, const struct metadata_topic *topic, int32_t index)
{
    const struct metadata_topic *before =
        s->served_since ? metadata_image_topic_by_id(s->served_since, topic->id) : NULL;

    return s->served && (!before || (size_t)index >= before->partition_count);
}

static void hosting_add(struct shard *s, const struct metadata_topic *topic, int32_t index)
{
    struct open_item item = {.config = &topic->config->settings.log, .current = s->registered};
    struct hosted_partition *h;
    struct partition *p;

    if (is_new(s, topic, index))
        item.result = storage_dirs_place_new(s->node->dirs, topic->name, index, &item.place);
    else
        item.result = storage_dirs_place(s->node->dirs, topic->name, index, &item.place);
    if (item.result.code == KERR_OPERATION_NOT_ATTEMPTED) {
        hosting_look_again(s, topic->id);
        return;
    }
    h = item.hosted = calloc(1, sizeof *h);
    p = partition_create(&s->partition_env, topic->name, topic->id, index);
    CHECK(h && p);
    h->key.topic_id = topic->id;
    h->key.index = index;
    h->shard = s;
    h->partition = p;
    HASH_ADD(hh, s->partitions, key, sizeof h->key, h);
    if (!status_failed(item.result) && item.place.exists) {
        hosting_open_later(s, &item);
        return;
    }
    if (!status_failed(item.result))
        item_open(s, &item);
    hosted_opened(&item);
}

/* ---- following the metadata ---- */

static void hosting_all_changed(struct shard *s);

static void hosting_topic_changed(struct shard *s, const struct metadata_topic *topic)
{
    for (size_t i = 0; i < topic->partition_count; i++) {
        struct hosted_partition *h;
        bool ours;

        if (node_shard_of(s->node, topic->id, (int32_t)i) != s->index)
            continue;
        h = hosting_find(s, topic->id, (int32_t)i);
        ours = id_list_contains(topic->partitions[i]->replicas, s->node->options->node_id);
        if (!h && ours)
            hosting_add(s, topic, (int32_t)i);
        else if (h && h->removed && ours)
            hosting_look_again(s, topic->id); /* it comes back before it is gone */
        else if (h && !h->removed && !ours && s->served)
            hosted_remove(h, KERR_NOT_LEADER_OR_FOLLOWER);
        else if (h && !h->removed)
            hosted_assign(h);
    }
}

/* The metadata of a node that starts is of the past at first, when partitions may have been
 * others': what it hosts it keeps until it serves, and then looks at once. */
static bool hosting_serves_now(struct shard *s)
{
    if (s->served || !atomic_load(&s->node->serving))
        return false;
    s->served = true;
    if (storage_dirs_unlisted(s->node->dirs))
        s->served_since = metadata_image_acquire(s->image);
    return true;
}

static bool hosting_registered_now(struct shard *s)
{
    if (s->leads || !s->registered)
        return false;
    s->leads = true;
    return true;
}

static void free_awaited(struct awaited_topic *all)
{
    struct awaited_topic *a, *next;

    HASH_ITER(hh, all, a, next)
    {
        HASH_DEL(all, a);
        free(a);
    }
}

/* A topic was made anew, and the name of its folder is not free yet (storage_dirs_release): it is
 * looked at again in a moment, which finds what is not hosted yet. That may go on for as long as
 * the node is kept from serving, so nothing else is. */
static void on_look_again(struct timer *t)
{
    struct shard *s = CONTAINER_OF(t, struct shard, look_again);
    struct awaited_topic *all = s->awaited, *a, *next;

    s->awaited = NULL;
    if (!s->closing) {
        HASH_ITER(hh, all, a, next)
        {
            const struct metadata_topic *topic = metadata_image_topic_by_id(s->image, a->id);

            if (topic)
                hosting_topic_changed(s, topic);
        }
        open_job_submit(s);
    }
    free_awaited(all);
}

void hosting_look_again(struct shard *s, struct uuid topic_id)
{
    struct awaited_topic *a;

    timer_start(s->loop, &s->look_again, LOOK_AGAIN_US);
    control_hurry_checkpoints(s->node->control);
    HASH_FIND(hh, s->awaited, &topic_id, sizeof topic_id, a);
    if (a)
        return;
    a = calloc(1, sizeof *a);
    CHECK(a);
    a->id = topic_id;
    HASH_ADD(hh, s->awaited, id, sizeof a->id, a);
}

void hosting_free(struct shard *s)
{
    free_awaited(s->awaited);
    timer_free(s->loop, &s->look_again);
}

static void hosting_all_changed(struct shard *s)
{
    struct metadata_topic_cursor cursor;
    const struct metadata_topic *topic;
    struct hosted_partition *h, *next;

    HASH_ITER(hh, s->partitions, h, next)
    if (!h->removed && !metadata_image_topic_by_id(s->image, h->key.topic_id))
        hosted_remove(h, KERR_UNKNOWN_TOPIC_OR_PARTITION);
    metadata_topics_begin(&cursor, s->image);
    while ((topic = metadata_topics_next(&cursor)))
        hosting_topic_changed(s, topic);
}

static void hosting_topic_removed(struct shard *s, struct uuid topic_id)
{
    struct hosted_partition *h, *next;

    HASH_ITER(hh, s->partitions, h, next)
    if (uuid_equal(h->key.topic_id, topic_id) && !h->removed)
        hosted_remove(h, KERR_UNKNOWN_TOPIC_OR_PARTITION);
}

void hosting_image_changed(struct shard *s, const struct metadata_delta *delta)
{
    const bool registered_now = hosting_registered_now(s);

    if (hosting_serves_now(s) || registered_now || delta->snapshot) {
        hosting_all_changed(s);
    } else {
        for (size_t i = 0; i < delta->removed_topic_count; i++)
            hosting_topic_removed(s, delta->removed_topics[i].id);
        for (size_t i = 0; i < delta->changed_topic_count; i++)
            hosting_topic_changed(s,
                                  metadata_image_topic_by_id(s->image, delta->changed_topics[i]));
    }
    if (delta->brokers_changed || delta->snapshot)
        hosting_each(s, partition_brokers_changed);
    open_job_submit(s);
    hosting_maybe_opened(s);
}

/* ---- upkeep ---- */

void hosting_each(struct shard *s, void (*visit)(struct partition *p))
{
    struct hosted_partition *h, *next;

    HASH_ITER(hh, s->partitions, h, next)
    visit(h->partition);
}

/* Nothing is let go by settings of the past: a topic may be kept for longer since. */
void hosting_maintain(struct shard *s)
{
    int64_t now_ms = clock_wall_ms(s->node->env.clock);
    struct hosted_partition *h, *next;

    if (!s->registered)
        return;
    HASH_ITER(hh, s->partitions, h, next)
    partition_maintain(h->partition, now_ms);
}

void hosting_checkpoint(struct shard *s, struct offset_map (*maps)[LOG_DIR_CHECKPOINT_COUNT])
{
    struct hosted_partition *h, *next;

    HASH_ITER(hh, s->partitions, h, next)
    {
        const struct partition *p = h->partition;
        struct offset_map *map = maps[p->log_dir];
        struct partition_offsets o;

        if (!p->log || p->state == PARTITION_OFFLINE || h->removed)
            continue;
        o = partition_offsets(p);
        offset_map_set(&map[LOG_DIR_RECOVERY_POINTS], p->topic, p->index, o.recovery_point);
        offset_map_set(&map[LOG_DIR_HIGH_WATERMARKS], p->topic, p->index, o.high_watermark);
        if (o.log_start_offset > 0)
            offset_map_set(&map[LOG_DIR_LOG_STARTS], p->topic, p->index, o.log_start_offset);
        if (o.cleaned_offset > 0)
            offset_map_set(&map[LOG_DIR_CLEANED], p->topic, p->index, o.cleaned_offset);
    }
}

struct partition *hosting_dirtiest(struct shard *s, double *ratio)
{
    struct partition *dirtiest = NULL;
    struct hosted_partition *h, *next;

    if (!s->registered) /* as above: it may be compacted no more */
        return NULL;
    HASH_ITER(hh, s->partitions, h, next)
    {
        struct compaction_range range;

        if (h->removed || !partition_clean_due(h->partition, &range))
            continue;
        if (dirtiest && compaction_dirty_ratio(&range) <= *ratio)
            continue;
        dirtiest = h->partition;
        *ratio = compaction_dirty_ratio(&range);
    }
    return dirtiest;
}

void hosting_fail_dir(struct shard *s, size_t dir, struct status why)
{
    struct hosted_partition *h, *next;

    HASH_ITER(hh, s->partitions, h, next)
    if (h->partition->log && h->partition->log_dir == dir)
        partition_fail(h->partition, why);
}

static void on_storage_failed(void *arg, struct partition *p, struct status why)
{
    struct shard *s = arg;

    replica_fetcher_forget(s, p);
    if (why.sys_errno != 0) /* damaged files, or a directory that was offline already, say
                             * nothing of the disk */
        node_dir_failed(s->node, p->log_dir, why);
    else if (why.code == KERR_CORRUPT_MESSAGE) /* the background check */
        node_damaged(s->node);
}

static void on_partition_flushed(void *arg, struct partition *p)
{
    replica_fetcher_flushed(arg, p);
}

static void on_partition_truncated(void *arg, struct partition *p)
{
    struct shard *s = arg;
    struct hosted_partition *h = hosting_find(s, p->topic_id, p->index);

    CHECK(h);
    replica_fetcher_truncated(s, p);
    hosted_assign(h);
}

static void on_verify_idle(void *arg)
{
    hosting_maybe_emptied(arg);
}

void hosting_init(struct shard *s)
{
    struct verify_args verify = {
        .loop = s->loop,
        .pool = s->node->env.pool,
        .turns = s->node->verify_turns,
        .dir_count = s->node->dir_count,
        .idled = on_verify_idle,
        .arg = s,
    };

    s->verify = verify_create(&verify);
    CHECK(s->verify);
    timer_init(s->loop, &s->look_again, on_look_again);
    s->partition_env.storage_failed = on_storage_failed;
    s->partition_env.stopped = on_partition_stopped;
    s->partition_env.flushed = on_partition_flushed;
    s->partition_env.truncated = on_partition_truncated;
    s->partition_env.arg = s;
    isr_changes_init(s);
}

/* Whether its clean close has something to write. What a log is cut to has; until then it is the
 * pool's. */
static bool is_dirty(const struct partition *p)
{
    return p->log && (p->state == PARTITION_TRUNCATING || !log_settled(p->log));
}

void hosting_close_all(struct shard *s, bool clean)
{
    struct hosted_partition *h, *next;
    size_t dirty = 0;

    HASH_ITER(hh, s->partitions, h, next)
    dirty += is_dirty(h->partition);
    s->closing = true;
    isr_changes_stop(s);
    s->closing_clean = clean;
    s->closing_many = clean && dirty >= SYNC_AT_ONCE_LEAST;
    coordinators_stop(s->coordinators);
    HASH_ITER(hh, s->partitions, h, next)
    {
        coordinators_remove(s, h->partition);
        if (h->partition->state != PARTITION_OPENING && !h->partition->stopping)
            hosted_stop(h, KERR_NOT_LEADER_OR_FOLLOWER);
    }
    hosting_maybe_emptied(s);
}
