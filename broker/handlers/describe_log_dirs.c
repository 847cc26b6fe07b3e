/* DescribeLogDirs: this broker's log directories, how much room they have, and what lies in
 * them. */

#include "protocol/messages/describe_log_dirs.h"

#include <stdlib.h>

#include "broker/request.h"
#include "broker/scatter.h"
#include "broker/shard.h"
#include "broker/storage_dirs.h"

struct replica_entry {
    struct scatter_entry scatter; /* first */
    struct str topic;             /* the very same one for all partitions of a topic */
    bool there;                   /* its log is open */
    size_t dir;
    int64_t size_bytes;
    int64_t lag; /* how far its log end is behind the high watermark */
};

struct log_dir_state {
    struct status result;
    bool cordoned;
    int64_t total_bytes;
    int64_t usable_bytes;
};

struct describe_call {
    struct scatter scatter; /* first */
    struct job job;         /* asks the file systems */
    struct replica_entry *entries;
    struct log_dir_state *dirs;
    const struct metadata_image *image; /* holds the names */
};

/* ---- the answer ---- */

static bool fill_topics(struct describe_log_dirs_response_result *out,
                        const struct describe_call *call, size_t dir)
{
    struct arena *a = &call->scatter.rq->arena;
    struct describe_log_dirs_response_partition *partitions;
    struct describe_log_dirs_response_topic *t;
    size_t count = 0;

    for (size_t i = 0; i < call->scatter.count; i++)
        count += call->entries[i].there && call->entries[i].dir == dir;
    partitions = arena_array(a, struct describe_log_dirs_response_partition, count);
    out->topics = t = arena_array(a, struct describe_log_dirs_response_topic, count);
    if (!partitions || !t)
        return false;
    for (size_t i = 0; i < call->scatter.count; i++) {
        const struct replica_entry *e = &call->entries[i];

        if (!e->there || e->dir != dir)
            continue;
        if (out->topics_count == 0 || t[out->topics_count - 1].name.data != e->topic.data)
            t[out->topics_count++] =
                (struct describe_log_dirs_response_topic){e->topic, partitions, 0};
        t[out->topics_count - 1].partitions_count++;
        *partitions++ = (struct describe_log_dirs_response_partition){e->scatter.index,
                                                                      e->size_bytes, e->lag, false};
    }
    return true;
}

static bool fill_dir(struct describe_log_dirs_response_result *out,
                     const struct describe_call *call, size_t dir)
{
    const struct log_dir_state *state = &call->dirs[dir];

    describe_log_dirs_response_result_init(out);
    out->log_dir = str_from(storage_dirs_path(call->scatter.rq->shard->node->dirs, dir));
    out->error_code =
        (int16_t)(status_failed(state->result) ? KERR_KAFKA_STORAGE_ERROR : KERR_NONE);
    if (status_failed(state->result))
        return true;
    out->total_bytes = state->total_bytes;
    out->usable_bytes = state->usable_bytes;
    out->is_cordoned = state->cordoned;
    return fill_topics(out, call, dir);
}

static void describe_answer(struct describe_call *call)
{
    struct request *rq = call->scatter.rq;
    size_t count = storage_dirs_count(rq->shard->node->dirs);
    struct describe_log_dirs_response response;
    bool filled;

    describe_log_dirs_response_init(&response);
    response.results = arena_array(&rq->arena, struct describe_log_dirs_response_result, count);
    response.results_count = count;
    filled = response.results != NULL;
    for (size_t i = 0; filled && i < count; i++)
        filled = fill_dir(&response.results[i], call, i);
    metadata_image_release(call->image);
    if (filled)
        request_answer(rq, &response);
    else
        request_refuse(rq, REQUEST_OVER_BUDGET);
}

/* ---- the file systems, in the pool ---- */

static void look_run(struct job *j)
{
    struct describe_call *call = CONTAINER_OF(j, struct describe_call, job);
    struct node *n = call->scatter.rq->shard->node;

    for (size_t i = 0; i < storage_dirs_count(n->dirs); i++) {
        struct log_dir_state *d = &call->dirs[i];

        d->result = storage_dirs_online(n->dirs, i)
                        ? n->env.files->ops->space(n->env.files, storage_dirs_path(n->dirs, i),
                                                   &d->total_bytes, &d->usable_bytes)
                        : status_error(KERR_KAFKA_STORAGE_ERROR, "a log directory is offline");
    }
}

static void look_done(struct task *t)
{
    describe_answer(CONTAINER_OF(t, struct describe_call, job.done));
}

/* ---- the partitions, on their shards ---- */

static void replica_run(struct scatter *s, struct scatter_entry *entry, struct partition *p)
{
    struct replica_entry *e = (struct replica_entry *)entry;

    (void)s;
    if (!p || !p->log || log_offline(p->log))
        return;
    e->there = true;
    e->dir = p->log_dir;
    e->size_bytes = log_size_bytes(p->log);
    e->lag = partition_high_watermark(p) - log_end_offset(p->log);
    if (e->lag < 0)
        e->lag = 0;
}

static void replicas_finished(struct scatter *s)
{
    struct describe_call *call = (struct describe_call *)s;

    call->job.home = s->rq->shard->loop;
    call->job.run = look_run;
    call->job.done.run = look_done;
    pool_submit(s->rq->shard->node->env.pool, &call->job);
}

/* ---- which partitions ---- */

/* What the request names, sorted. */
struct asked {
    bool all;
    size_t count;
    struct asked_partition {
        struct str topic;
        int32_t index;
    } * partitions; /* in the arena */
};

static int compare_asked(const void *a, const void *b)
{
    const struct asked_partition *x = a, *y = b;
    int order = str_compare(x->topic, y->topic);

    return order ? order : (x->index > y->index) - (x->index < y->index);
}

/* False: the arena is spent. */
static bool asked_read(struct asked *a, struct request *rq)
{
    const struct describe_log_dirs_request *m = rq->message;
    struct asked_partition *p;
    size_t count = 0;

    for (size_t i = 0; i < m->topics_count; i++)
        count += m->topics[i].partitions_count;
    *a = (struct asked){!m->topics, count, arena_array(&rq->arena, struct asked_partition, count)};
    p = a->partitions;
    if (!p)
        return false;
    for (size_t i = 0; i < m->topics_count; i++)
        for (size_t k = 0; k < m->topics[i].partitions_count; k++)
            *p++ = (struct asked_partition){m->topics[i].topic, m->topics[i].partitions[k]};
    if (count > 1)
        qsort(a->partitions, count, sizeof *a->partitions, compare_asked);
    return true;
}

static bool is_asked(const struct asked *a, struct str topic, int32_t index)
{
    struct asked_partition key = {topic, index};

    return a->all ||
           (a->count > 0 && bsearch(&key, a->partitions, a->count, sizeof key, compare_asked));
}

/* Fills entries, or only counts when there are none. */
static size_t collect(const struct request *rq, const struct metadata_image *image,
                      const struct asked *asked, struct replica_entry *entries)
{
    struct metadata_topic_cursor cursor;
    const struct metadata_topic *t;
    size_t count = 0;

    metadata_topics_begin(&cursor, image);
    while ((t = metadata_topics_next(&cursor))) {
        for (size_t i = 0; i < t->partition_count; i++) {
            if (!id_list_contains(t->partitions[i]->replicas, rq->shard->node->options->node_id) ||
                !is_asked(asked, t->name, (int32_t)i))
                continue;
            if (entries)
                entries[count] = (struct replica_entry){
                    .scatter = {.topic_id = t->id, .index = (int32_t)i}, .topic = t->name};
            count++;
        }
    }
    return count;
}

static bool cordoned(const struct request *rq, const struct metadata_image *image, size_t dir)
{
    const struct metadata_broker *b =
        metadata_image_broker(image, rq->shard->node->options->node_id);
    struct uuid id = storage_dirs_id(rq->shard->node->dirs, dir);

    for (size_t i = 0; b && i < b->cordoned_log_dir_count; i++)
        if (uuid_equal(b->cordoned_log_dirs[i], id))
            return true;
    return false;
}

void handle_describe_log_dirs(struct request *rq)
{
    const struct metadata_image *image = rq->shard->image;
    size_t count, dir_count = storage_dirs_count(rq->shard->node->dirs);
    struct describe_call *call = arena_array(&rq->arena, struct describe_call, 1);
    struct log_dir_state *dirs = arena_array(&rq->arena, struct log_dir_state, dir_count);
    struct replica_entry *entries;
    struct asked asked;

    if (!call || !dirs || !asked_read(&asked, rq)) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    count = collect(rq, image, &asked, NULL);
    entries = arena_array(&rq->arena, struct replica_entry, count);
    if (!entries) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    collect(rq, image, &asked, entries);
    for (size_t i = 0; i < dir_count; i++)
        dirs[i] = (struct log_dir_state){.cordoned = cordoned(rq, image, i)};
    call->entries = entries;
    call->dirs = dirs;
    call->image = metadata_image_acquire(image);
    call->scatter = (struct scatter){.rq = rq,
                                     .entries = entries,
                                     .count = count,
                                     .stride = sizeof *entries,
                                     .run = replica_run,
                                     .finished = replicas_finished};
    if (!scatter_start(&call->scatter)) {
        metadata_image_release(call->image);
        request_refuse(rq, REQUEST_OVER_BUDGET);
    }
}
