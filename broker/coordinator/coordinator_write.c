/* Records to batches, batches to the log, answers when they are committed and applied.
 *
 * Steps of one turn of the loop share a batch and one append (group.coordinator.append.linger.ms),
 * and the flusher makes one sync of what all partitions appended meanwhile. */

#include <stdlib.h>
#include <utlist.h>

#include "broker/coordinator/coordinator_internal.h"
#include "broker/shard.h"
#include "protocol/base/check.h"

#define BATCH_BYTES    (512 * 1024) /* steps share a batch up to here */
#define STEP_BYTES_MAX ((size_t)1 << 30)

/* What a client is told of an append that failed. */
static enum kerr append_answer(enum kerr code)
{
    static const struct {
        enum kerr append, answer;
    } answers[] = {
        {KERR_NOT_ENOUGH_REPLICAS, KERR_COORDINATOR_NOT_AVAILABLE},
        {KERR_NOT_LEADER_OR_FOLLOWER, KERR_NOT_COORDINATOR},
        {KERR_KAFKA_STORAGE_ERROR, KERR_NOT_COORDINATOR},
    };

    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++)
        if (answers[i].append == code)
            return answers[i].answer;
    return KERR_UNKNOWN_SERVER_ERROR; /* a batch that no segment can hold, say */
}

static void on_append(struct task *t)
{
    struct coordinator *c = CONTAINER_OF(t, struct coordinator, append_task);

    c->append_posted = false;
    if (coordinator_forgotten(c))
        return;
    coordinator_write_append(c);
}

void coordinator_write_init(struct coordinator *c)
{
    record_batch_builder_init(&c->builder);
    writer_init(&c->keys, STEP_BYTES_MAX);
    writer_init(&c->values, STEP_BYTES_MAX);
    c->append_task.run = on_append;
}

/* ---- building ---- */

static void batch_begin(struct coordinator *c)
{
    struct record_batch_head head = RECORD_BATCH_HEAD_PLAIN;

    head.compression = c->all->options->compression;
    head.compression_level = compression_levels(head.compression).initial;
    record_batch_builder_begin(&c->builder, &head);
}

/* A record of the step, encoded behind the ones before it. */
struct encoded_record {
    size_t key_at, key_size;
    size_t value_at, value_size;
    bool tombstone;
};

static struct record_content content_of(const struct coordinator *c, const struct encoded_record *r)
{
    struct record_content content = {.key = {c->keys.data + r->key_at, r->key_size}};

    if (!r->tombstone)
        content.value = (struct bytes){c->values.data + r->value_at, r->value_size};
    return content;
}

/* Encodes the step's records into c->keys and c->values; *bytes is what they may take in a batch.
 * NULL: it cannot be done. */
static struct encoded_record *step_encode(struct coordinator *c, size_t *bytes)
{
    struct encoded_record *all =
        arena_array(&c->fx.arena, struct encoded_record, c->fx.record_count);

    *bytes = 0;
    writer_reset(&c->keys);
    writer_reset(&c->values);
    for (size_t i = 0; all && i < c->fx.record_count; i++) {
        struct encoded_record *r = &all[i];
        struct record_content content;

        *r =
            (struct encoded_record){c->keys.size, 0, c->values.size, 0, c->fx.records[i].tombstone};
        if (!group_record_encode(&c->fx.records[i], &c->keys, &c->values))
            return NULL;
        r->key_size = c->keys.size - r->key_at;
        r->value_size = c->values.size - r->value_at;
        content = content_of(c, r);
        *bytes += record_size_bytes_max(&content);
    }
    return all;
}

static void batch_add(struct coordinator *c, const struct record_content *content)
{
    if (!c->open) {
        batch_begin(c);
        c->open = true;
    }
    record_batch_builder_append(&c->builder, content);
}

/* False: the core is gone. */
static bool step_add(struct coordinator *c, const struct encoded_record *all, bool may_split)
{
    int64_t now_ms = clock_wall_ms(c->all->loop->clock);

    for (size_t i = 0; i < c->fx.record_count; i++) {
        struct record_content content = content_of(c, &all[i]);

        content.timestamp_ms = now_ms;
        if (may_split && c->open &&
            record_batch_builder_size(&c->builder) + record_size_bytes_max(&content) >
                GROUP_BATCH_BYTES_MAX)
            coordinator_write_append(c);
        if (c->state != COORDINATOR_ACTIVE)
            return false;
        batch_add(c, &content);
    }
    return true;
}

static void step_trim(struct coordinator *c)
{
    if ((int64_t)c->keys.capacity > c->all->options->buffer_bytes_max)
        writer_free(&c->keys);
    if ((int64_t)c->values.capacity > c->all->options->buffer_bytes_max)
        writer_free(&c->values);
}

static void schedule_append(struct coordinator *c)
{
    int32_t linger_ms = c->all->options->append_linger_ms;

    if (linger_ms == 0) {
        coordinator_write_append(c);
    } else if (linger_ms > 0) {
        if (!c->all->lingering)
            timer_start(c->all->loop, &c->all->linger_timer, (int64_t)linger_ms * 1000);
        c->all->lingering = true;
    } else if (!c->append_posted) {
        /* Behind what is queued on the loop already: that may well add to the batch. */
        c->append_posted = true;
        loop_post(c->all->loop, &c->append_task);
    }
}

bool coordinator_write_records(struct coordinator *c)
{
    struct encoded_record *all;
    size_t bytes;

    if (c->fx.record_count == 0)
        return true;
    all = step_encode(c, &bytes);
    if (!all) {
        coordinator_restart(c, KERR_UNKNOWN_SERVER_ERROR);
        return false;
    }
    if (c->open && record_batch_builder_size(&c->builder) + bytes > BATCH_BYTES)
        coordinator_write_append(c);
    if (c->state != COORDINATOR_ACTIVE)
        return false;
    /* Only tombstones come to so much (group_core.h); each of them counts for itself. */
    if (!step_add(c, all, bytes > GROUP_BATCH_BYTES_MAX))
        return false;
    step_trim(c);
    c->open_write = c->fx.write_id;
    schedule_append(c);
    return c->state == COORDINATOR_ACTIVE;
}

/* ---- appending ---- */

void coordinator_write_append(struct coordinator *c)
{
    struct coordinator_write *w;
    struct log_appended appended;
    struct bytes_mut batch;
    struct status st;

    if (!c->open)
        return;
    w = malloc(sizeof *w);
    st = w ? record_batch_builder_finish(&c->builder, c->all->shard->scratch, &batch)
           : status_error(KERR_UNKNOWN_SERVER_ERROR, "no memory");
    if (!status_failed(st))
        st = partition_append_own(c->partition, batch, &appended);
    if (status_failed(st)) {
        logger_event(c->all->shard->logger, LOGGER_WARN, "coordinator_append_failed",
                     "partition=%d reason=%s where=\"%s\"", c->id.index, kerr_name(st.code),
                     st.where);
        free(w);
        coordinator_restart(c, append_answer(st.code));
        return;
    }
    if (c->open_write > c->appended_write) /* else it holds a part of a write only */
        c->appended_write = c->open_write;
    applier_appended(c->applier, (struct bytes){batch.data, batch.size});
    *w = (struct coordinator_write){.write_id = c->appended_write,
                                    .end_offset = appended.last_offset + 1};
    if (c->last_write)
        c->last_write->next = w;
    else
        c->writes = w;
    c->last_write = w;
    c->open = false;
    if ((int64_t)c->builder.capacity > c->all->options->buffer_bytes_max)
        record_batch_builder_free(&c->builder);
}

/* ---- answers ---- */

void coordinator_write_answers(struct coordinator *c, struct group_caller *answered)
{
    int64_t deadline_us = clock_monotonic_us(c->all->loop->clock) +
                          (int64_t)c->all->options->commit_timeout_ms * 1000;

    while (answered) {
        struct group_entry *e = (struct group_entry *)answered;
        struct group_entry *at;

        answered = answered->next;
        if (e->caller.after_write <= c->committed_write) {
            group_entry_done(e);
            continue;
        }
        e->deadline_us = deadline_us;
        /* In order of their writes, which is nearly always the order of arrival. */
        for (at = c->answers ? c->answers->prev : NULL;
             at && at->caller.after_write > e->caller.after_write;
             at = at == c->answers ? NULL : at->prev)
            ;
        if (at)
            DL_APPEND_ELEM(c->answers, at, e);
        else
            DL_PREPEND(c->answers, e);
    }
}

void coordinator_write_applied(struct coordinator *c, int64_t applied)
{
    int64_t before = c->committed_write;

    while (c->writes && c->writes->end_offset <= applied) {
        struct coordinator_write *w = c->writes;

        c->committed_write = w->write_id;
        c->writes = w->next;
        if (!c->writes)
            c->last_write = NULL;
        free(w);
    }
    if (c->committed_write == before)
        return;
    group_core_committed(c->core, c->committed_write);
    while (c->answers && c->answers->caller.after_write <= c->committed_write) {
        struct group_entry *e = c->answers;

        DL_DELETE(c->answers, e);
        group_entry_done(e);
    }
    coordinator_gate_committed(c);
    if (c->state == COORDINATOR_ACTIVE)
        coordinator_scan_deleted(c);
}

void coordinator_write_expire(struct coordinator *c, int64_t now_us)
{
    struct group_entry *e, *next;

    DL_FOREACH_SAFE(c->answers, e, next)
    {
        if (e->deadline_us > now_us)
            continue;
        DL_DELETE(c->answers, e);
        coordinator_answer(e, KERR_COORDINATOR_NOT_AVAILABLE);
    }
}

void coordinator_write_drop(struct coordinator *c, enum kerr code)
{
    while (c->answers) {
        struct group_entry *e = c->answers;

        DL_DELETE(c->answers, e);
        coordinator_answer(e,
                           e->caller.after_write > c->appended_write ? code : KERR_NOT_COORDINATOR);
    }
    while (c->writes) {
        struct coordinator_write *w = c->writes;

        c->writes = w->next;
        free(w);
    }
    c->last_write = NULL;
    c->open = false;
    c->open_write = c->appended_write = c->committed_write = 0;
}

void coordinator_write_free(struct coordinator *c)
{
    record_batch_builder_free(&c->builder);
    writer_free(&c->keys);
    writer_free(&c->values);
}
