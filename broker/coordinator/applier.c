#include "broker/coordinator/applier.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"
#include "protocol/group_record.h"
#include "protocol/record_batch.h"
#include "storage/group_state.h"

#define TURN_BYTES (256 * 1024) /* a few milliseconds; then others get theirs */
/* of one decoded record: a group of a hundred thousand members */
#define RECORD_ARENA_BYTES  ((size_t)64 << 20)
#define ABORTED_ARENA_BYTES ((size_t)1 << 20)
#define KEPT_BYTES_MAX      ((size_t)256 * 1024)

enum applier_step { STEP_MARK, STEP_READ, STEP_COMMIT };

/* A batch that we appended ourselves, not applied yet. */
struct kept_batch {
    struct kept_batch *next;
    size_t size;
    uint8_t bytes[];
};

struct applier {
    const struct applier_env *env;
    void *owner;
    struct partition *partition; /* NULL: it went away while a job is in the pool */
    struct state_partition id;
    struct state_store *store; /* NULL: not open, or it failed */
    uint64_t generation;       /* of the store, when we were told that it is ready */
    bool renewed;              /* that was while a job of the generation before was in the pool */
    struct state_batch *batch;
    bool marked;     /* the mark was read and fits the log */
    int64_t applied; /* with marked */
    bool dropping;   /* the batch drops what is stored of the partition; then it is marked */
    struct task turn;
    bool turn_posted;
    /* a job in the pool */
    bool in_pool;
    enum applier_step step;
    struct job job;
    struct status result;
    struct state_mark mark; /* STEP_MARK: what was read; STEP_COMMIT: what the batch carries */
    bool mark_found;
    struct log_slice slice;
    struct bytes_mut records; /* owned: what was read of the log */
    /* what the batch under way comes to */
    int64_t next_applied;
    int64_t open_offset; /* the first batch of a transaction that is still open; INT64_MAX: none */
    int32_t open_epoch;  /* of what lies before it */
    struct arena arena;
    struct kept_batch *kept, *last_kept; /* one after the other in the log */
    size_t kept_bytes;
};

int64_t applier_applied(const struct applier *a)
{
    if (!a->store || !a->marked || state_store_generation(a->store) != a->generation)
        return -1; /* or it was reset, and we are about to be told */
    return a->applied;
}

static void applier_log_partition(const struct applier *a, enum logger_level level,
                                  const char *event, const char *why)
{
    logger_event(a->env->logger, level, event, "topic=\"%s\" partition=%d reason=\"%s\"",
                 a->partition->topic.data, a->partition->index, why);
}

/* ---- jobs ---- */

static void job_run(struct job *j)
{
    struct applier *a = CONTAINER_OF(j, struct applier, job);

    switch (a->step) {
    case STEP_MARK:
        a->result = state_store_get_mark(a->store, a->id, &a->mark, &a->mark_found, NULL);
        break;
    case STEP_READ:
        a->result = a->slice.cold ? log_slice_locate(&a->slice) : STATUS_OK;
        if (status_failed(a->result) || a->slice.size == 0)
            break;
        a->records = (struct bytes_mut){malloc(a->slice.size), a->slice.size};
        a->result = a->records.data
                        ? log_slice_read(&a->slice, 0, a->records.data, a->records.size, NULL)
                        : status_error(KERR_UNKNOWN_SERVER_ERROR, "no memory to read the log");
        break;
    case STEP_COMMIT:
        a->result = state_batch_commit(a->batch, NULL);
        break;
    }
}

static void applier_destroy(struct applier *a);
static void applier_resume(struct applier *a);

static void job_done(struct task *t)
{
    struct applier *a = CONTAINER_OF(t, struct applier, job.done);
    const struct applier_env *env = a->env;

    a->in_pool = false;
    log_slice_release(&a->slice);
    if (a->partition)
        applier_resume(a);
    else
        applier_destroy(a);
    env->job_ended(env->arg);
}

static void applier_submit(struct applier *a, enum applier_step step)
{
    a->in_pool = true;
    a->step = step;
    a->job = (struct job){.home = a->env->loop, .run = job_run, .done = {.run = job_done}};
    a->env->job_started(a->env->arg);
    pool_submit(a->env->pool, &a->job);
}

/* ---- the store fails ---- */

static void applier_let_go(struct applier *a)
{
    free(a->records.data);
    a->records = (struct bytes_mut){0};
    state_batch_free(a->batch);
    a->batch = NULL;
    a->marked = a->dropping = false;
}

static void applier_store_failed(struct applier *a)
{
    applier_let_go(a);
    a->store = NULL;
    a->env->moved(a->owner, a);
    a->env->store_failed(a->env->arg, a->generation);
}

/* A log that is being cut is the pool's. Its end wakes who watches the partition, and with it
 * us. */
static bool log_is_ours(const struct applier *a)
{
    return a->partition->state != PARTITION_TRUNCATING;
}

/* ---- the mark ---- */

/* Why the mark cannot be of this log; NULL: it can. */
static const char *mark_fault(const struct applier *a)
{
    const struct log *l = a->partition->log;
    int32_t epoch;
    int64_t end;

    if (!uuid_equal(a->mark.topic_id, a->partition->topic_id))
        return "state of another topic";
    if (a->mark.offset > log_end_offset(l))
        return "state beyond the end of the log";
    if (a->mark.offset < log_start_offset(l))
        return "state from before the start of the log";
    (void)log_end_of_past_epoch(l, a->mark.leader_epoch, &epoch, &end);
    if (epoch != a->mark.leader_epoch || a->mark.offset > end)
        return "state of a branch that the log does not have";
    return NULL;
}

static void applier_write(struct applier *a);

static void applier_begin(struct applier *a, int64_t applied)
{
    a->marked = true;
    a->open_offset = INT64_MAX;
    a->applied = applied;
    a->env->moved(a->owner, a);
    applier_poke(a);
}

static void applier_begin_anew(struct applier *a)
{
    a->mark = (struct state_mark){.topic_id = a->partition->topic_id, .leader_epoch = -1};
    applier_begin(a, log_start_offset(a->partition->log));
}

/* All that is stored of the partition goes, before anybody takes it for what the log says. */
static void applier_start_over(struct applier *a, const char *why)
{
    applier_log_partition(a, LOGGER_WARN, "coordinator_state_dropped", why);
    a->marked = false;
    a->dropping = true;
    state_batch_clear(a->batch);
    state_batch_drop_partition(a->batch, a->id);
    applier_write(a);
}

static void applier_take_mark(struct applier *a)
{
    const char *fault = a->mark_found && log_is_ours(a) ? mark_fault(a) : NULL;

    if (!log_is_ours(a))
        return; /* it is read again */
    if (fault)
        applier_start_over(a, fault);
    else if (a->mark_found)
        applier_begin(a, a->mark.offset);
    else /* then nothing is stored either */
        applier_begin_anew(a);
}

static void applier_read_mark(struct applier *a)
{
    bool would_block = false;
    struct status st;

    if (!a->batch)
        a->batch = state_batch_new(a->store);
    if (!a->batch)
        return; /* no memory now: the next poke tries again */
    st = state_store_get_mark(a->store, a->id, &a->mark, &a->mark_found, &would_block);
    if (status_failed(st))
        applier_store_failed(a);
    else if (would_block)
        applier_submit(a, STEP_MARK);
    else
        applier_take_mark(a);
}

/* ---- records ---- */

static void apply_record(struct applier *a, const struct record *r)
{
    struct group_record decoded;
    enum kerr code;

    arena_reset(&a->arena);
    code = group_record_decode(&decoded, r->key, r->value, &a->arena);
    if (code == KERR_NONE)
        code = group_state_apply(a->batch, a->id.partition, &decoded, &a->arena);
    if (code != KERR_NONE)
        logger_event(a->env->logger, code == KERR_UNSUPPORTED_VERSION ? LOGGER_WARN : LOGGER_ERROR,
                     "coordinator_record_ignored",
                     "topic=\"%s\" partition=%d offset=%lld reason=%s", a->partition->topic.data,
                     a->partition->index, (long long)r->offset, kerr_name(code));
}

static bool transaction_aborted(struct applier *a, const uint8_t *batch)
{
    struct log_aborted *aborted = NULL;
    size_t count = 0;
    struct arena arena;
    bool found = false;
    struct status st;

    arena_init(&arena, ABORTED_ARENA_BYTES);
    st = log_aborted_transactions(a->partition->log, record_batch_base_offset(batch),
                                  record_batch_last_offset(batch) + 1, &arena, &aborted, &count);
    if (status_failed(st))
        applier_log_partition(a, LOGGER_ERROR, "aborted_transactions_unknown", kerr_name(st.code));
    for (size_t i = 0; !found && i < count; i++)
        found = aborted[i].producer_id == record_batch_producer_id(batch) &&
                aborted[i].first_offset <= record_batch_base_offset(batch);
    arena_free(&arena);
    return found;
}

/* Whether the batch says something that holds. */
static bool batch_counts(struct applier *a, const uint8_t *batch)
{
    if (record_batch_is_control(batch))
        return false;
    if (!record_batch_is_transactional(batch))
        return true;
    if (record_batch_base_offset(batch) < partition_last_stable_offset(a->partition))
        return !transaction_aborted(a, batch);
    if (a->open_offset == INT64_MAX) {
        a->open_offset = record_batch_base_offset(batch);
        a->open_epoch = a->mark.leader_epoch;
    }
    return false;
}

static void apply_batch(struct applier *a, struct bytes batch)
{
    struct record_iter it;
    struct record r;
    struct status st;

    if (batch_counts(a, batch.data)) {
        st = record_iter_open(&it, batch, a->env->scratch,
                              (size_t)a->partition->config->max_decompressed_message_bytes);
        while (!status_failed(st) && record_iter_next(&it, &r))
            if (r.offset >= a->next_applied)
                apply_record(a, &r);
        if (!status_failed(st))
            st = it.status;
        compression_scratch_trim(a->env->scratch);
        if (status_failed(st))
            logger_event(a->env->logger, LOGGER_ERROR, "coordinator_batch_damaged",
                         "topic=\"%s\" partition=%d offset=%lld where=\"%s\"",
                         a->partition->topic.data, a->partition->index,
                         (long long)record_batch_base_offset(batch.data), st.where);
    }
    a->mark.leader_epoch = record_batch_leader_epoch(batch.data);
    if (record_batch_last_offset(batch.data) >= a->next_applied)
        a->next_applied = record_batch_last_offset(batch.data) + 1;
}

/* ---- turns ---- */

static void applier_committed(struct applier *a)
{
    a->env->wrote(a->env->arg, state_batch_bytes(a->batch));
    state_batch_clear(a->batch);
    if (a->dropping) {
        a->dropping = false;
        if (log_is_ours(a))
            applier_begin_anew(a);
        return; /* else the mark is looked for again, and not found */
    }
    a->applied = a->next_applied;
    a->env->moved(a->owner, a);
    applier_poke(a);
}

/* Hands the batch to the store. */
static void applier_write(struct applier *a)
{
    bool would_block = false;
    struct status st = state_batch_commit(a->batch, &would_block);

    if (status_failed(st))
        applier_store_failed(a);
    else if (would_block)
        applier_submit(a, STEP_COMMIT);
    else
        applier_committed(a);
}

static void applier_commit(struct applier *a)
{
    struct state_mark mark = a->mark;

    mark.offset = a->next_applied;
    if (a->open_offset < mark.offset) {
        mark.offset = a->open_offset;
        mark.leader_epoch = a->open_epoch;
    }
    state_batch_set_mark(a->batch, a->id, &mark);
    applier_write(a);
}

static void applier_apply(struct applier *a)
{
    struct record_batches it = record_batches((struct bytes){a->records.data, a->records.size});
    struct bytes batch;

    a->next_applied = a->applied;
    while (record_batches_next(&it, &batch))
        apply_batch(a, batch);
    free(a->records.data);
    a->records = (struct bytes_mut){0};
    if (a->next_applied == a->applied) {
        /* The log was checked when it was written or opened; there is nothing to be done with it
         * here. */
        applier_log_partition(a, LOGGER_ERROR, "coordinator_log_unreadable",
                              it.status.where ? it.status.where : "");
        return;
    }
    applier_commit(a);
}

/* ---- what we appended ourselves ---- */

static int64_t batch_end(const struct kept_batch *k)
{
    return record_batch_last_offset(k->bytes) + 1;
}

static void kept_drop_first(struct applier *a)
{
    struct kept_batch *k = a->kept;

    a->kept = k->next;
    a->kept_bytes -= k->size;
    if (!a->kept)
        a->last_kept = NULL;
    free(k);
}

static void kept_drop_all(struct applier *a)
{
    while (a->kept)
        kept_drop_first(a);
}

void applier_appended(struct applier *a, struct bytes batch)
{
    struct kept_batch *k;

    if (a->last_kept && batch_end(a->last_kept) != record_batch_base_offset(batch.data))
        kept_drop_all(a);
    k = a->kept_bytes + batch.size <= KEPT_BYTES_MAX ? malloc(sizeof *k + batch.size) : NULL;
    if (!k) {
        kept_drop_all(a); /* what comes later does not begin where we read on */
        return;
    }
    k->next = NULL;
    k->size = batch.size;
    memcpy(k->bytes, batch.data, batch.size);
    if (a->last_kept)
        a->last_kept->next = k;
    else
        a->kept = k;
    a->last_kept = k;
    a->kept_bytes += batch.size;
}

/* Whether the first one is what the log has next. Of an epoch before, it may have been cut off
 * since. */
static bool kept_is_next(struct applier *a)
{
    const struct partition *p = a->partition;

    while (a->kept && (batch_end(a->kept) <= a->applied ||
                       record_batch_leader_epoch(a->kept->bytes) != p->leader_epoch))
        kept_drop_first(a);
    return a->kept && p->state == PARTITION_LEADING &&
           record_batch_base_offset(a->kept->bytes) == a->applied &&
           batch_end(a->kept) <= partition_high_watermark(p);
}

static void applier_apply_kept(struct applier *a)
{
    int64_t watermark = partition_high_watermark(a->partition);

    a->next_applied = a->applied;
    do {
        apply_batch(a, (struct bytes){a->kept->bytes, a->kept->size});
        kept_drop_first(a);
    } while (a->kept && batch_end(a->kept) <= watermark);
    applier_commit(a);
}

/* The next piece of the log. */
static void applier_read(struct applier *a)
{
    const struct log_read_args args = {.offset = a->applied,
                                       .end_offset = partition_high_watermark(a->partition),
                                       .max_bytes = TURN_BYTES,
                                       .min_one = true};
    bool cold = false;
    struct status st = log_read(a->partition->log, &args, &a->slice);

    if (status_failed(st) || !a->slice.segment)
        return; /* offline, or nothing is there yet */
    if (a->slice.cold || !log_slice_is_warm(&a->slice)) {
        applier_submit(a, STEP_READ);
        return;
    }
    a->records = (struct bytes_mut){malloc(a->slice.size), a->slice.size};
    if (a->records.data)
        st = log_slice_read(&a->slice, 0, a->records.data, a->records.size, &cold);
    /* lost from memory just now, or no memory: the pool waits */
    if (!a->records.data || status_failed(st) || cold) {
        free(a->records.data);
        a->records = (struct bytes_mut){0};
        applier_submit(a, STEP_READ);
        return;
    }
    log_slice_release(&a->slice);
    applier_apply(a);
}

static void applier_go(struct applier *a)
{
    struct log *l = a->partition->log;

    if (!log_is_ours(a))
        return;
    if (!a->marked) {
        applier_read_mark(a);
        return;
    }
    /* A follower's log may lose its tail to a new leader; it keeps what is below the high
     * watermark, so that this happens only when the cluster lost data itself. Retention may
     * overtake us as well. */
    if (a->applied > log_end_offset(l) || a->applied < log_start_offset(l)) {
        applier_start_over(a, "the log was cut below what was applied");
        if (!a->marked)
            a->env->moved(a->owner, a);
        return;
    }
    if (kept_is_next(a))
        applier_apply_kept(a);
    else if (a->applied < partition_high_watermark(a->partition))
        applier_read(a);
}

static void on_turn(struct task *t)
{
    struct applier *a = CONTAINER_OF(t, struct applier, turn);

    a->turn_posted = false;
    if (!a->partition)
        applier_destroy(a);
    else if (a->store && !a->in_pool)
        applier_go(a);
}

/* A job came back. */
static void applier_resume(struct applier *a)
{
    if (a->renewed) { /* what it did was for a store that is no more */
        a->renewed = false;
        applier_let_go(a);
        applier_poke(a);
        return;
    }
    if (a->step == STEP_READ) {
        if (!status_failed(a->result) && a->records.size > 0 && log_is_ours(a)) {
            applier_apply(a);
            return;
        }
        /* The partition goes offline when its disk failed; else the next look finds what it needs,
         * and reads again what is still there then. */
        if (status_failed(a->result))
            applier_log_partition(a, LOGGER_ERROR, "coordinator_log_unreadable",
                                  a->result.where ? a->result.where : "");
        free(a->records.data);
        a->records = (struct bytes_mut){0};
        return;
    }
    if (status_failed(a->result)) {
        applier_store_failed(a);
        return;
    }
    if (a->step == STEP_COMMIT) {
        applier_committed(a);
        return;
    }
    applier_take_mark(a);
}

/* ---- life ---- */

void applier_poke(struct applier *a)
{
    if (a->turn_posted)
        return;
    a->turn_posted = true;
    loop_post(a->env->loop, &a->turn);
}

void applier_store_ready(struct applier *a, struct state_store *store)
{
    a->store = store;
    a->generation = state_store_generation(store);
    a->marked = false;
    a->renewed = a->in_pool;
    if (a->in_pool)
        return;
    applier_let_go(a);
    applier_poke(a);
}

struct applier *applier_create(const struct applier_env *env, struct partition *p,
                               enum state_topic topic, void *owner)
{
    struct applier *a = calloc(1, sizeof *a);

    if (!a)
        return NULL;
    a->env = env;
    a->owner = owner;
    a->partition = p;
    a->id = (struct state_partition){topic, p->index};
    a->turn.run = on_turn;
    arena_init(&a->arena, RECORD_ARENA_BYTES);
    return a;
}

static void applier_destroy(struct applier *a)
{
    if (a->in_pool || a->turn_posted)
        return; /* whichever comes back last does it */
    applier_let_go(a);
    kept_drop_all(a);
    arena_free(&a->arena);
    free(a);
}

void applier_free(struct applier *a)
{
    a->partition = NULL;
    applier_destroy(a);
}
