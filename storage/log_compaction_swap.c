/* How the segment that compaction wrote takes the place of those it was made of, so that a crash at
 * any point leaves the old ones or the new one. The names are Apache Kafka's:
 *
 *   1.  X.log.cleaned …  → X.log.swap …       directory synced: from here on a restart carries it
 *       through
 *   2.  Y.log, Z.log …   → Y.log.deleted …    the merged ones; directory synced: none of them comes
 *       back
 *   3.  X.log.swap …     → X.log …            over the old X; directory synced
 *
 * The old files are held open before (segment_pin), so that whoever reads them goes on. All of it
 * runs in the pool under the log's `names`; then the loop adopts the new segment. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"
#include "storage/log_compaction_internal.h"

/* The .log file last: while it has its old name a restart does everything again. */
static const char *const suffixes[] = {".index", ".timeindex", ".txnindex", ".log"};
#define SUFFIXES (sizeof suffixes / sizeof suffixes[0])

void compaction_discard(struct log_compaction *c)
{
    if (!c->cleaned)
        return;
    if (!log_compaction_broke_log(c))
        (void)segment_remove_cleaned(c->cleaned); /* the next open removes what stays */
    segment_release(c->cleaned);
    c->cleaned = NULL;
}

/* X<suffix><from> → X<suffix><to>; there is a .txnindex only when something aborted. */
static struct status rename_file(struct segment *s, const char *suffix, const char *from,
                                 const char *to)
{
    char path[SEGMENT_PATH_BYTES], old[SEGMENT_PATH_BYTES], fresh[SEGMENT_PATH_BYTES];
    struct status st = segment_path(path, s->path, suffix);

    if (!status_failed(st))
        st = segment_path(old, path, from);
    if (!status_failed(st))
        st = segment_path(fresh, path, to);
    if (!status_failed(st))
        st = s->files->ops->rename(s->files, old, fresh);
    return st.sys_errno == ENOENT && strcmp(suffix, ".txnindex") == 0 ? STATUS_OK : st;
}

static struct status rename_files(struct segment *s, const char *from, const char *to)
{
    struct status st = STATUS_OK;

    for (size_t i = 0; i < SUFFIXES && !status_failed(st); i++)
        st = rename_file(s, suffixes[i], from, to);
    return st;
}

/* The old transaction index of X, when the new segment has none to put in its place. */
static struct status remove_txn_index(struct log_compaction *c, bool *removed)
{
    char path[SEGMENT_PATH_BYTES];
    struct status st;

    if (index_file_count(&c->cleaned->txns.file) > 0)
        return STATUS_OK;
    st = segment_path(path, c->cleaned->path, ".txnindex");
    if (!status_failed(st))
        st = c->cleaned->files->ops->remove(c->cleaned->files, path);
    *removed |= !status_failed(st);
    return st.sys_errno == ENOENT ? STATUS_OK : st;
}

static struct status put_old_aside(struct log_compaction *c)
{
    struct files *files = c->cleaned->files;
    bool changed = c->group_count > 1;
    struct status st = remove_txn_index(c, &changed);

    for (size_t i = 1; i < c->group_count && !status_failed(st); i++)
        st = log_rename_doomed(files, c->sources[c->group_first + i].segment->path);
    return changed && !status_failed(st) ? files->ops->sync_directory(files, c->log->directory)
                                         : st;
}

/* The new files under their names, as an object like those of an opened log. */
static struct status make_fresh(struct log_compaction *c)
{
    const struct segment *old = c->cleaned;
    struct segment *s;
    struct status st = segment_new(old->files, c->log->directory, old->base_offset, false, &s);

    if (status_failed(st))
        return st;
    s->size = old->size;
    s->largest = old->largest;
    s->largest_known = true;
    s->first_timestamp_ms = SEGMENT_TIMESTAMP_UNREAD;
    s->created_ms = s->mtime_ms = old->mtime_ms;
    s->mtime_size = old->size;
    atomic_store(&s->txns.file.loaded, index_file_count(&old->txns.file) == 0);
    c->fresh = s;
    return STATUS_OK;
}

static void free_doomed(struct log_compaction *c)
{
    while (c->doomed) {
        struct log_doomed *next = c->doomed->next;

        free(c->doomed);
        c->doomed = next;
    }
}

/* Memory for what the loop will have to remember, so that it cannot fail there. */
static struct status make_doomed(struct log_compaction *c)
{
    for (size_t i = 1; i < c->group_count; i++) {
        struct log_doomed *d = calloc(1, sizeof *d);

        if (!d)
            return status_errno(ENOMEM, "segment to be deleted");
        d->next = c->doomed;
        c->doomed = d;
    }
    return STATUS_OK;
}

static struct status change_names(struct log_compaction *c)
{
    struct files *files = c->cleaned->files;
    const char *directory = c->log->directory;
    struct status st = rename_files(c->cleaned, ".cleaned", ".swap");

    if (!status_failed(st))
        st = files->ops->sync_directory(files, directory);
    if (!status_failed(st))
        st = put_old_aside(c);
    if (!status_failed(st))
        st = rename_files(c->cleaned, ".swap", "");
    if (!status_failed(st))
        st = files->ops->sync_directory(files, directory);
    return st;
}

struct status compaction_swap(struct log_compaction *c)
{
    struct status st = make_doomed(c);

    if (!status_failed(st))
        st = make_fresh(c);
    if (status_failed(st)) {
        free_doomed(c);
        return st;
    }
    for (size_t i = 0; i < c->group_count; i++)
        segment_pin(c->sources[c->group_first + i].segment);
    st = change_names(c);
    if (status_failed(st)) {
        atomic_store(&c->broke_log, true);
        free_doomed(c);
        segment_release(c->fresh);
        c->fresh = NULL;
        return st;
    }
    segment_release(c->cleaned);
    c->cleaned = NULL;
    c->phase = COMPACTION_ADOPT;
    return STATUS_OK;
}

/* ---- the loop's part ---- */

static void replace_segments(struct log_compaction *c, struct log *l, size_t first)
{
    const size_t count = c->group_count;

    for (size_t i = first; i < first + count; i++)
        l->size_bytes -= l->segments[i]->size;
    l->size_bytes += c->fresh->size;
    pthread_mutex_lock(&l->lock);
    l->segments[first] = c->fresh;
    for (size_t i = first + count; i < l->segment_count; i++)
        l->segments[i - count + 1] = l->segments[i];
    l->segment_count -= count - 1;
    pthread_mutex_unlock(&l->lock);
    log_clear_hints(l);
}

/* The log's reference on a merged segment goes to the list of files that are to be removed. */
static void doom(struct log_compaction *c, struct log *l, struct segment *s)
{
    struct log_doomed *d = c->doomed;

    c->doomed = d->next;
    *d = (struct log_doomed){NULL, s, s->base_offset,
                             clock_wall_ms(l->clock) + l->config->file_delete_delay_ms};
    log_append_doomed(l, d);
    log_remove_snapshot_of(l, s->base_offset);
}

static void let_go(struct compaction_source *source)
{
    if (!segment_is_held_by_others(source->segment, 2)) /* the log's and ours */
        segment_unpin(source->segment);
}

/* Nobody but this compaction changes the sources while it is not aborted: retention waits, and
 * cutting adopts first. */
static void adopt(struct log_compaction *c)
{
    struct log *l = c->log;
    const size_t first = log_segment_index(l, c->fresh->base_offset);

    CHECK(first + c->group_count < l->segment_count);
    for (size_t i = 0; i < c->group_count; i++)
        CHECK(l->segments[first + i] == c->sources[c->group_first + i].segment);
    replace_segments(c, l, first);
    c->fresh = NULL;
    for (size_t i = 0; i < c->group_count; i++) {
        struct compaction_source *source = &c->sources[c->group_first + i];

        let_go(source);
        if (i > 0)
            doom(c, l, source->segment);
        else
            segment_release(source->segment); /* the log's reference; ours keeps it */
    }
    c->phase = COMPACTION_GROUP;
}

void log_compaction_adopt(struct log_compaction *c)
{
    pthread_mutex_lock(&c->log->names);
    if (c->phase == COMPACTION_ADOPT)
        adopt(c);
    pthread_mutex_unlock(&c->log->names);
}

struct status log_compaction_interrupt(struct log *l)
{
    struct log_compaction *c = l->compaction;

    if (!c)
        return STATUS_OK;
    if (log_compaction_broke_log(c))
        return log_go_offline(
            l, status_error(KERR_KAFKA_STORAGE_ERROR, "names of segments are half changed"));
    if (c->phase == COMPACTION_ADOPT)
        adopt(c);
    log_compaction_abort(c);
    return STATUS_OK;
}
