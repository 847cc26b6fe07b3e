/* Snapshots of a node: formatting (the 0-0 one), taking new ones, and letting go of what they
 * replace. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"
#include "replication/quorum_state.h"
#include "replication/raft_node_internal.h"

static const struct raft_snapshot_id no_snapshot = {-1, 0};

struct raft_snapshot_id raft_node_oldest_snapshot(const struct raft_node *n)
{
    return n->snapshot_count ? n->snapshots[0].id : no_snapshot;
}

struct raft_snapshot_id raft_node_latest_snapshot(const struct raft_node *n)
{
    return n->snapshot_count ? n->snapshots[n->snapshot_count - 1].id : no_snapshot;
}

static struct status stat_snapshot(const struct raft_node *n, struct raft_snapshot_id id,
                                   struct node_snapshot *out)
{
    char name[SNAPSHOT_NAME_BYTES];
    char *path;
    struct file_stat found;
    struct status st;

    snapshot_name_format(id, name);
    if (asprintf(&path, "%s/%s", n->directory, name) < 0)
        return status_errno(ENOMEM, "stat snapshot");
    st = n->files->ops->stat(n->files, path, &found);
    free(path);
    if (!status_failed(st))
        *out =
            (struct node_snapshot){.id = id, .size_bytes = found.size, .time_ms = found.mtime_ms};
    return st;
}

struct status raft_node_find_snapshots(struct raft_node *n)
{
    struct raft_snapshot_id ids[SNAPSHOTS_MAX];
    size_t count;
    struct status st = snapshot_list(n->files, n->directory, ids, &count);

    for (size_t i = 0; i < count && !status_failed(st); i++)
        st = stat_snapshot(n, ids[i], &n->snapshots[i]);
    n->snapshot_count = count;
    return st;
}

/* Takes the `count` oldest off the list. */
static void forget_oldest(struct raft_node *n, size_t count)
{
    n->snapshot_count -= count;
    memmove(n->snapshots, n->snapshots + count, n->snapshot_count * sizeof n->snapshots[0]);
}

struct status raft_node_drop_stale_snapshots(struct raft_node *n)
{
    struct status st = STATUS_OK;

    while (n->snapshot_count > 1 && n->snapshots[0].id.end_offset < log_start_offset(n->log) &&
           !status_failed(st)) {
        st = snapshot_remove(n->files, n->directory, n->snapshots[0].id);
        forget_oldest(n, 1);
    }
    return st;
}

struct status raft_node_keep_only_snapshot(struct raft_node *n, struct raft_snapshot_id id)
{
    struct status st = raft_node_find_snapshots(n);

    for (size_t i = 0; i < n->snapshot_count && !status_failed(st); i++)
        if (n->snapshots[i].id.end_offset != id.end_offset || n->snapshots[i].id.epoch != id.epoch)
            st = snapshot_remove(n->files, n->directory, n->snapshots[i].id);
    n->snapshot_count = 0;
    if (!status_failed(st))
        st = stat_snapshot(n, id, &n->snapshots[0]);
    if (!status_failed(st))
        n->snapshot_count = 1;
    return st;
}

/* ---- formatting ---- */

static struct status check_empty(const struct raft_format_args *args)
{
    struct raft_snapshot_id ids[SNAPSHOTS_MAX];
    size_t count;
    struct file_stat found;
    struct status st = snapshot_list(args->files, args->directory, ids, &count);
    char *path;

    if (status_failed(st))
        return st;
    if (count > 0)
        return status_errno(EEXIST, "format: there is a checkpoint");
    if (asprintf(&path, "%s/" QUORUM_STATE_FILE, args->directory) < 0)
        return status_errno(ENOMEM, "format");
    st = args->files->ops->stat(args->files, path, &found);
    free(path);
    if (!status_failed(st))
        return status_errno(EEXIST, "format: there is a quorum-state");
    return st.sys_errno == ENOENT ? STATUS_OK : st;
}

struct status raft_node_format(const struct raft_format_args *args)
{
    struct snapshot_write_args write = {
        .files = args->files,
        .clock = args->clock,
        .directory = args->directory,
        .id = {0, 0},
        .last_contained_timestamp_ms = clock_wall_ms(args->clock),
    };
    struct voter_set *voters =
        args->voter_count ? voter_set_create(args->voters, args->voter_count) : NULL;
    struct snapshot_writer *w;
    struct status st;

    if (args->voter_count && !voters)
        return status_error(KERR_INVALID_REQUEST, "format: voters");
    write.voters = voters;
    st = files_make_directories(args->files, args->directory);
    if (!status_failed(st))
        st = check_empty(args);
    if (!status_failed(st))
        st = snapshot_writer_open(&write, &w);
    if (!status_failed(st)) {
        snapshot_writer_append(w, args->values, args->count);
        st = snapshot_writer_finish(w);
    }
    voter_set_free(voters);
    return st;
}

/* ---- taking ---- */

static struct status write_snapshot(struct raft_node *n)
{
    struct snapshot_write_args args = {
        .files = n->files,
        .clock = n->loop->clock,
        .directory = n->directory,
        .id = n->snapshot_id,
        .last_contained_timestamp_ms = n->snapshot_timestamp_ms,
        .voters = n->snapshot_voters,
    };
    struct snapshot_writer *w;
    struct status st = snapshot_writer_open(&args, &w);
    const struct bytes *values;
    size_t count;

    while (!status_failed(st)) {
        st = n->snapshot_source.next(n->snapshot_source.arg, &values, &count);
        if (status_failed(st)) {
            snapshot_writer_abort(w);
            return st;
        }
        if (count == 0)
            return snapshot_writer_finish(w);
        snapshot_writer_append(w, values, count);
    }
    return st;
}

static void run_snapshot(struct job *j)
{
    struct raft_node *n = CONTAINER_OF(j, struct raft_node, snapshot_job);

    n->snapshot_result = write_snapshot(n);
    if (!status_failed(n->snapshot_result))
        n->snapshot_result = stat_snapshot(n, n->snapshot_id, &n->snapshot_taken);
}

/* ---- letting go ---- */

static void run_removal(struct job *j)
{
    struct raft_node *n = CONTAINER_OF(j, struct raft_node, snapshot_job);
    struct status st = n->garbage ? log_garbage_run(n->garbage) : STATUS_OK;

    n->garbage = NULL;
    for (size_t i = 0; i < n->doomed_count && !status_failed(st); i++)
        st = snapshot_remove(n->files, n->directory, n->doomed[i]);
    n->snapshot_result = st;
}

static void removal_done(struct task *t)
{
    struct raft_node *n =
        CONTAINER_OF(CONTAINER_OF(t, struct job, done), struct raft_node, snapshot_job);

    n->snapshot_busy = false;
    if (status_failed(n->snapshot_result)) /* what is left is found again at the next start */
        logger_event(n->logger, LOGGER_WARN, "snapshot_not_removed", "at=\"%s\" errno=%d",
                     n->snapshot_result.where, n->snapshot_result.sys_errno);
    raft_node_deliver_soon(n); /* a fetched one may have waited for this */
    raft_node_idle(n);
}

/* Dooms the oldest snapshots while all that is kept is larger, or they are older, than retention
 * allows. The newest stays in any case. */
static void choose_doomed(struct raft_node *n)
{
    int64_t now_ms = clock_wall_ms(n->loop->clock);
    int64_t total = log_size_bytes(n->log);

    n->doomed_count = 0;
    for (size_t i = 0; i < n->snapshot_count; i++)
        total += n->snapshots[i].size_bytes;
    while (n->doomed_count + 1 < n->snapshot_count) {
        const struct node_snapshot *oldest = &n->snapshots[n->doomed_count];

        if (!(n->retention_bytes >= 0 && total > n->retention_bytes) &&
            !(n->retention_ms >= 0 && now_ms - oldest->time_ms > n->retention_ms))
            break;
        total -= oldest->size_bytes;
        n->doomed[n->doomed_count++] = oldest->id;
    }
    forget_oldest(n, n->doomed_count);
}

/* The log starts where the oldest snapshot ends: whole segments below go. True when a job was
 * started. */
static bool let_go(struct raft_node *n)
{
    int64_t start;

    choose_doomed(n);
    start = raft_node_oldest_snapshot(n).end_offset;
    if (start > log_start_offset(n->log)) {
        struct status st = log_raise_start_offset(n->log, start);

        if (status_failed(st)) {
            raft_node_fail(n, st);
            return false;
        }
    }
    log_maintain(n->log, n->core.high_watermark, clock_wall_ms(n->loop->clock));
    n->garbage = log_take_garbage(n->log, clock_wall_ms(n->loop->clock));
    if (!n->garbage && n->doomed_count == 0)
        return false;
    raft_node_submit(n, &n->snapshot_job, run_removal, removal_done);
    return true;
}

static void snapshot_done(struct task *t)
{
    struct raft_node *n =
        CONTAINER_OF(CONTAINER_OF(t, struct job, done), struct raft_node, snapshot_job);
    struct status result = n->snapshot_result; /* let_go uses the job again */

    n->snapshot_busy = false;
    voter_set_free(n->snapshot_voters);
    n->snapshot_voters = NULL;
    if (status_failed(result)) {
        logger_event(n->logger, LOGGER_ERROR, "snapshot_not_taken", "at=\"%s\" errno=%d",
                     result.where ? result.where : "", result.sys_errno);
    } else if (n->state == NODE_RUNNING) {
        n->snapshots[n->snapshot_count++] = n->snapshot_taken;
        n->snapshot_busy = let_go(n);
    }
    if (n->state == NODE_RUNNING && !status_failed(result)) {
        struct raft_event ev = {.type = RAFT_SNAPSHOT,
                                .snapshot = {.log_start_offset = log_start_offset(n->log),
                                             .oldest = raft_node_oldest_snapshot(n),
                                             .latest = raft_node_latest_snapshot(n)}};

        raft_node_step(n, &ev);
    }
    n->snapshot_source.done(n->snapshot_source.arg, result);
    raft_node_deliver_soon(n);
    raft_node_idle(n);
}

/* The voters that held below an offset. */
static const struct voters_at *voters_below(const struct raft_node *n, int64_t end_offset)
{
    const struct voters_at *found = NULL;

    for (size_t i = 0; i < n->voter_history_count; i++)
        if (n->voter_history[i].offset < end_offset)
            found = &n->voter_history[i];
    return found;
}

struct status raft_node_take_snapshot(struct raft_node *n, int64_t end_offset,
                                      int64_t last_timestamp_ms,
                                      const struct raft_snapshot_source *source)
{
    const struct voters_at *voters = voters_below(n, end_offset);

    if (n->state != NODE_RUNNING || n->snapshot_busy || end_offset > n->next_offset || !voters ||
        end_offset <= raft_node_latest_snapshot(n).end_offset || n->snapshot_count == SNAPSHOTS_MAX)
        return status_error(KERR_INVALID_REQUEST, "take snapshot");
    n->snapshot_voters = voters->kraft_version >= 1 ? voter_set_copy(voters->voters) : NULL;
    if (voters->kraft_version >= 1 && !n->snapshot_voters)
        return status_errno(ENOMEM, "take snapshot");
    n->snapshot_id =
        (struct raft_snapshot_id){end_offset, log_epoch_of_offset(n->log, end_offset - 1)};
    n->snapshot_timestamp_ms = last_timestamp_ms;
    n->snapshot_source = *source;
    n->snapshot_busy = true;
    raft_node_submit(n, &n->snapshot_job, run_snapshot, snapshot_done);
    return STATUS_OK;
}
