/* What time, size and the log start let go: renamed to .deleted at once, removed later. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"
#include "storage/log_internal.h"

static const char *const segment_suffixes[] = {".log", ".index", ".timeindex", ".txnindex"};
#define SEGMENT_SUFFIXES (sizeof segment_suffixes / sizeof segment_suffixes[0])

static struct status rename_doomed(struct files *files, const char *path, const char *suffix)
{
    char from[SEGMENT_PATH_BYTES], to[SEGMENT_PATH_BYTES];
    struct status st = segment_path(from, path, suffix);

    if (!status_failed(st))
        st = segment_path(to, from, ".deleted");
    if (!status_failed(st))
        st = files->ops->rename(files, from, to);
    return st.sys_errno == ENOENT ? STATUS_OK : st;
}

struct status log_rename_doomed(struct files *files, const char *path)
{
    struct status st = STATUS_OK;

    for (size_t i = 0; i < SEGMENT_SUFFIXES && !status_failed(st); i++)
        st = rename_doomed(files, path, segment_suffixes[i]);
    return st;
}

void log_append_doomed(struct log *l, struct log_doomed *d)
{
    struct log_doomed **end = &l->doomed;

    while (*end)
        end = &(*end)->next;
    *end = d;
}

void log_remove_snapshot_of(struct log *l, int64_t base_offset)
{
    char path[SEGMENT_PATH_BYTES];

    if (l->snapshot_offset != base_offset &&
        !status_failed(log_snapshot_path(l->directory, path, base_offset, "")))
        (void)l->files->ops->remove(l->files, path);
}

/* Takes over the log's reference, of a segment that is no longer among the log's. A flush may be
 * about to sync it, and finds the files by name when it is the first to open them: hence by the
 * references, not only by the readers. */
static struct status doom_segment(struct log *l, struct segment *s, int64_t due_ms)
{
    struct log_doomed *d = malloc(sizeof *d);
    struct status st = d ? STATUS_OK : status_errno(ENOMEM, "segment to be deleted");

    if (segment_is_held_by_others(s, 1))
        segment_pin(s);
    if (!status_failed(st))
        st = log_rename_doomed(l->files, s->path);
    if (status_failed(st)) {
        segment_release(s);
        free(d);
        return st;
    }
    *d = (struct log_doomed){NULL, s, s->base_offset, due_ms};
    log_append_doomed(l, d);
    log_remove_snapshot_of(l, s->base_offset);
    return STATUS_OK;
}

/* The log's reference goes over to the caller. */
static struct segment *take_segment(struct log *l, size_t index)
{
    struct segment *s = l->segments[index];

    l->size_bytes -= s->size;
    pthread_mutex_lock(&l->lock);
    for (size_t i = index + 1; i < l->segment_count; i++)
        l->segments[i - 1] = l->segments[i];
    l->segment_count--;
    pthread_mutex_unlock(&l->lock);
    return s;
}

struct status log_drop_oldest(struct log *l, size_t count)
{
    const int64_t due_ms = clock_wall_ms(l->clock) + l->config->file_delete_delay_ms;
    struct status st = STATUS_OK;

    for (; count > 0 && !status_failed(st); count--)
        st = doom_segment(l, take_segment(l, 0), due_ms);
    return st;
}

/* Takes over the log's reference. Readers go on with the files that have lost their names. */
static struct status remove_segment(struct log *l, struct segment *s)
{
    struct status st = STATUS_OK;

    if (segment_is_held_by_others(s, 1))
        segment_pin(s);
    for (size_t i = 0; i < SEGMENT_SUFFIXES && !status_failed(st); i++) {
        char path[SEGMENT_PATH_BYTES];

        st = segment_path(path, s->path, segment_suffixes[i]);
        if (!status_failed(st))
            st = l->files->ops->remove(l->files, path);
        if (st.sys_errno == ENOENT)
            st = STATUS_OK;
    }
    log_remove_snapshot_of(l, s->base_offset);
    segment_release(s);
    return status_failed(st) ? st : l->files->ops->sync_directory(l->files, l->directory);
}

struct status log_cut_newest(struct log *l, size_t count)
{
    struct status st = STATUS_OK;

    for (; count > 0 && !status_failed(st); count--)
        st = remove_segment(l, take_segment(l, l->segment_count - 1));
    return st;
}

void log_free_doomed(struct log *l)
{
    while (l->doomed) {
        struct log_doomed *next = l->doomed->next;

        segment_release(l->doomed->segment);
        free(l->doomed);
        l->doomed = next;
    }
}

/* ---- retention ---- */

static int64_t segment_end(const struct log *l, size_t index)
{
    return index + 1 < l->segment_count ? l->segments[index + 1]->base_offset : l->end_offset;
}

/* What its age is counted from: the largest timestamp; of a segment without any, when its file was
 * last written. False: not known without asking the disk. */
static bool segment_time(const struct segment *s, int64_t *out)
{
    *out = s->largest.timestamp_ms;
    if (!s->largest_known)
        return false;
    if (*out >= 0)
        return true;
    *out = s->mtime_ms;
    return s->mtime_size == s->size;
}

enum expiry {
    EXPIRY_STAYS,
    EXPIRY_GOES,
    EXPIRY_WAITS /* for the names behind it */,
    EXPIRY_UNKNOWN
};

/* By the settings, of the segment at `index`, when all before it go; *excess is by how much the log
 * is over retention.bytes then. */
static enum expiry settled_expiry(const struct log *l, size_t index, int64_t high_watermark,
                                  int64_t now_ms, int64_t *excess)
{
    const struct log_config *config = l->config;
    const struct segment *s = l->segments[index];
    const int64_t end = segment_end(l, index);
    int64_t time_ms;

    /* Only wholly below the high watermark, so that the log start never passes it; never an empty
     * newest one. (Compaction may leave one without batches before it.) */
    if (end > high_watermark || (s->size == 0 && index + 1 == l->segment_count))
        return EXPIRY_STAYS;
    *excess -= s->size;
    if (index + 1 < l->segment_count && end <= l->start_offset)
        return EXPIRY_GOES;
    if (config->cleanup_delete && config->retention_bytes >= 0 && *excess >= 0)
        return EXPIRY_GOES;
    if (!config->cleanup_delete || config->retention_ms < 0)
        return EXPIRY_STAYS;
    if (!segment_time(s, &time_ms))
        return EXPIRY_UNKNOWN;
    return now_ms - time_ms > config->retention_ms ? EXPIRY_GOES : EXPIRY_STAYS;
}

/* A crash may keep the renaming of this one and lose the next one's making, and the log would end
 * where this one began: its offsets would be given out again. And before a flush has come up to the
 * next one this one's batches may be all that tells of an epoch. */
static enum expiry segment_expiry(const struct log *l, size_t index, int64_t high_watermark,
                                  int64_t now_ms, int64_t *excess)
{
    const enum expiry e = settled_expiry(l, index, high_watermark, now_ms, excess);
    const struct segment *next = index + 1 < l->segment_count ? l->segments[index + 1] : NULL;

    if (e != EXPIRY_GOES || !next)
        return e;
    return next->names_new || next->base_offset > l->flushed_end ? EXPIRY_WAITS : EXPIRY_GOES;
}

/* How many of the oldest segments go; *next is what is known of the one behind them. */
static size_t count_expired(const struct log *l, int64_t high_watermark, int64_t now_ms,
                            enum expiry *next)
{
    int64_t excess = l->size_bytes - l->config->retention_bytes;
    size_t count = 0;

    *next = EXPIRY_STAYS;
    while (count < l->segment_count) {
        *next = segment_expiry(l, count, high_watermark, now_ms, &excess);
        if (*next != EXPIRY_GOES)
            break;
        count++;
    }
    return count;
}

/* An empty segment that takes over at the log end when all others go, once its names are
 * durable. */
static struct status begin_successor(struct log *l)
{
    struct status st;

    l->unsettled = true;
    st = log_roll(l, l->end_offset);
    return status_failed(st)
               ? st
               : segment_write(log_active_segment(l), (struct bytes){(const uint8_t *)"", 0});
}

/* Removes the oldest `count` segments. */
static struct status expire_segments(struct log *l, size_t count)
{
    const int64_t start = l->segments[count]->base_offset;
    struct status st = log_drop_oldest(l, count);

    if (status_failed(st))
        return st;
    if (start > l->start_offset) {
        log_set_start_offset(l, start);
        epoch_cache_raise_start(&l->epochs, start);
        producer_state_raise_start(&l->producers, start);
    }
    return STATUS_OK;
}

bool log_maintain(struct log *l, int64_t high_watermark, int64_t now_ms)
{
    struct status st = STATUS_OK;
    enum expiry next;
    size_t expired;

    if (log_offline(l))
        return false;
    producer_state_expire(&l->producers, now_ms, l->producer_id_expiration_ms);
    if (l->compaction)
        return false; /* it counts on the segments that it reads */
    expired = count_expired(l, high_watermark, now_ms, &next);
    if (expired && expired == l->segment_count) {
        expired--;
        /* A damaged one may have bytes and no offset: a successor would have its files. */
        if (log_active_segment(l)->base_offset < l->end_offset) {
            next = EXPIRY_WAITS;
            st = begin_successor(l);
        }
    }
    l->names_wanted = next == EXPIRY_WAITS;
    if (expired && !status_failed(st))
        st = expire_segments(l, expired);
    if (status_failed(st)) {
        (void)log_go_offline(l, st);
        return true;
    }
    return expired > 0 || l->names_wanted;
}

bool log_names_wanted(const struct log *l)
{
    return l->names_wanted;
}

/* ---- ages that the disk knows ---- */

#define AGES_MAX 64 /* segments a round; most often the first says that it stays */

struct segment_age {
    struct segment *segment; /* owned reference, counted as a reader */
    int64_t size;
    bool largest_known;
    bool asked;
    struct time_offset largest;
    int64_t mtime_ms;
};

struct log_ages {
    int64_t expires_below_ms; /* one that is younger stays, and all behind it */
    size_t count;
    struct segment_age items[AGES_MAX];
};

struct log_ages *log_ages_begin(struct log *l, int64_t high_watermark, int64_t now_ms)
{
    struct log_ages *a;
    enum expiry next;
    size_t first;

    if (log_offline(l))
        return NULL;
    first = count_expired(l, high_watermark, now_ms, &next);
    if (next != EXPIRY_UNKNOWN)
        return NULL;
    a = calloc(1, sizeof *a);
    if (!a)
        return NULL;
    a->expires_below_ms = now_ms - l->config->retention_ms;
    for (size_t i = first; i < l->segment_count && a->count < AGES_MAX; i++) {
        struct segment *s = segment_retain(l->segments[i]);

        atomic_fetch_add(&s->readers, 1);
        a->items[a->count++] = (struct segment_age){.segment = s,
                                                    .size = s->size,
                                                    .largest_known = s->largest_known,
                                                    .largest = s->largest};
    }
    return a;
}

static struct status ask_age(struct segment_age *age)
{
    struct segment *s = age->segment;
    char path[SEGMENT_PATH_BYTES];
    struct file_stat info;
    struct status st = STATUS_OK;

    if (!age->largest_known)
        st = segment_sealed_largest(s, &age->largest, NULL);
    if (!status_failed(st) && age->largest.timestamp_ms < 0) {
        st = segment_path(path, s->path, ".log");
        if (!status_failed(st))
            st = s->files->ops->stat(s->files, path, &info);
        if (st.sys_errno == ENOENT)
            return STATUS_OK; /* let go meanwhile */
        age->mtime_ms = info.mtime_ms;
    }
    age->asked = !status_failed(st);
    return st;
}

struct status log_ages_run(struct log_ages *a)
{
    for (size_t i = 0; i < a->count; i++) {
        struct segment_age *age = &a->items[i];
        struct status st = ask_age(age);

        if (status_failed(st))
            return st;
        if ((age->largest.timestamp_ms >= 0 ? age->largest.timestamp_ms : age->mtime_ms) >=
            a->expires_below_ms)
            break;
    }
    return STATUS_OK;
}

static void learn_age(struct log *l, const struct segment_age *age)
{
    struct segment *s = age->segment;

    if (!age->asked)
        return;
    pthread_mutex_lock(&l->lock);
    if (!s->largest_known)
        s->largest = age->largest;
    s->largest_known = true;
    pthread_mutex_unlock(&l->lock);
    if (age->largest.timestamp_ms < 0) {
        s->mtime_ms = age->mtime_ms;
        s->mtime_size = age->size;
    }
}

void log_ages_end(struct log *l, struct log_ages *a, struct status result)
{
    if (l && status_failed(result))
        (void)log_go_offline(l, result);
    for (size_t i = 0; i < a->count; i++) {
        if (l)
            learn_age(l, &a->items[i]);
        atomic_fetch_sub(&a->items[i].segment->readers, 1);
        segment_release(a->items[i].segment);
    }
    free(a);
}

/* ---- what waits for file.delete.delay.ms ---- */

struct log_garbage {
    struct files *files;
    struct log_doomed *doomed;
};

struct log_garbage *log_take_garbage(struct log *l, int64_t now_ms)
{
    struct log_garbage *g;
    struct log_doomed **end = &l->doomed;

    if (!l->doomed || l->doomed->due_ms > now_ms)
        return NULL;
    g = malloc(sizeof *g);
    if (!g)
        return NULL; /* later, then */
    while (*end && (*end)->due_ms <= now_ms)
        end = &(*end)->next;
    *g = (struct log_garbage){l->files, l->doomed};
    l->doomed = *end;
    *end = NULL;
    return g;
}

static struct status remove_doomed(struct files *files, const struct segment *s)
{
    struct status result = STATUS_OK;

    for (size_t i = 0; i < SEGMENT_SUFFIXES; i++) {
        char name[SEGMENT_PATH_BYTES], path[SEGMENT_PATH_BYTES];
        struct status st = segment_path(name, s->path, segment_suffixes[i]);

        if (!status_failed(st))
            st = segment_path(path, name, ".deleted");
        if (!status_failed(st))
            st = files->ops->remove(files, path);
        if (status_failed(st) && st.sys_errno != ENOENT)
            result = st;
    }
    return result;
}

/* The renames are made durable first: after a crash that undid some, the .deleted files tell which
 * segments went (log_open.c). */
static struct status sync_renames(const struct log_garbage *g)
{
    const char *path = g->doomed->segment->path;
    char directory[SEGMENT_PATH_BYTES];
    const char *slash = strrchr(path, '/');
    struct status st;

    snprintf(directory, sizeof directory, "%.*s", slash ? (int)(slash - path) : 1,
             slash ? path : ".");
    st = g->files->ops->sync_directory(g->files, directory);
    return st.sys_errno == ENOENT ? STATUS_OK : st; /* the whole log was deleted meanwhile */
}

struct status log_garbage_run(struct log_garbage *g)
{
    struct status result = sync_renames(g);
    const bool synced = !status_failed(result);

    while (g->doomed) {
        struct log_doomed *d = g->doomed;
        struct status st = STATUS_OK;

        if (synced)
            st = remove_doomed(g->files, d->segment);
        if (status_failed(st))
            result = st;
        g->doomed = d->next;
        segment_release(d->segment);
        free(d);
    }
    free(g);
    return result;
}
