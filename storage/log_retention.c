/* What time, size and the log start let go: renamed to .deleted at once, removed later. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

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

static struct status doom_segment(struct log *l, struct segment *s, int64_t due_ms)
{
    struct log_doomed *d = malloc(sizeof *d);
    struct log_doomed **end = &l->doomed;
    char path[SEGMENT_PATH_BYTES];
    struct status st = STATUS_OK;

    if (!d)
        return status_errno(ENOMEM, "segment to be deleted");
    if (atomic_load(&s->readers) > 0)
        segment_pin(s);
    for (size_t i = 0; i < SEGMENT_SUFFIXES && !status_failed(st); i++)
        st = rename_doomed(l->files, s->path, segment_suffixes[i]);
    if (status_failed(st)) {
        free(d);
        return st;
    }
    *d = (struct log_doomed){NULL, s, s->base_offset, due_ms};
    while (*end)
        end = &(*end)->next;
    *end = d;
    /* Its snapshot goes with it, unless it is the one in use. */
    if (l->snapshot_offset != s->base_offset &&
        !status_failed(log_snapshot_path(l->directory, path, s->base_offset, "")))
        (void)l->files->ops->remove(l->files, path);
    return STATUS_OK;
}

struct status log_drop_segments(struct log *l, size_t first, size_t count)
{
    const int64_t due_ms = clock_wall_ms(l->clock) + l->config->file_delete_delay_ms;

    const bool tail = first + count == l->segment_count;

    /* A crash in between must not leave a gap: the newest goes first at the end, the oldest at the start. */
    for (; count > 0; count--) {
        const size_t i = tail ? l->segment_count - 1 : first;
        struct segment *s = l->segments[i];
        struct status st = doom_segment(l, s, due_ms);

        if (status_failed(st))
            return st;
        l->size_bytes -= s->size;
        pthread_mutex_lock(&l->lock);
        for (size_t j = i + 1; j < l->segment_count; j++)
            l->segments[j - 1] = l->segments[j];
        l->segment_count--;
        pthread_mutex_unlock(&l->lock);
    }
    return STATUS_OK;
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

/* The largest timestamp; of a segment without any, when its file was last written. */
static struct status largest_timestamp(struct log *l, struct segment *s, int64_t *out)
{
    char path[SEGMENT_PATH_BYTES];
    struct file_stat info;
    struct status st;

    pthread_mutex_lock(&l->lock);
    st = segment_load_largest(s);
    pthread_mutex_unlock(&l->lock);
    *out = s->largest.timestamp_ms;
    if (status_failed(st) || *out >= 0)
        return st;
    st = segment_path(path, s->path, ".log");
    if (!status_failed(st))
        st = s->files->ops->stat(s->files, path, &info);
    if (!status_failed(st))
        *out = info.mtime_ms;
    return st;
}

/* How many of the oldest segments go. Only wholly below the high watermark, so that the log start never
 * passes it; never an empty newest one. */
static struct status count_expired(struct log *l, int64_t high_watermark, int64_t now_ms, size_t *out)
{
    const struct log_config *config = l->config;
    int64_t excess = l->size_bytes - config->retention_bytes;

    *out = 0;
    for (size_t i = 0; i < l->segment_count; i++) {
        struct segment *s = l->segments[i];
        const int64_t end = segment_end(l, i);
        bool expired = i + 1 < l->segment_count && end <= l->start_offset;
        int64_t timestamp_ms;
        struct status st;

        if (end > high_watermark || s->size == 0)
            break;
        if (!expired && config->cleanup_delete && config->retention_bytes >= 0)
            expired = excess - s->size >= 0;
        if (!expired && config->cleanup_delete && config->retention_ms >= 0) {
            st = largest_timestamp(l, s, &timestamp_ms);
            if (status_failed(st))
                return st;
            expired = now_ms - timestamp_ms > config->retention_ms;
        }
        if (!expired)
            break;
        excess -= s->size;
        *out = i + 1;
    }
    return STATUS_OK;
}

/* Removes the oldest `count` segments; when that is all of them, an empty one takes over at the log end. */
static struct status expire_segments(struct log *l, size_t count)
{
    struct status st = STATUS_OK;
    int64_t start;

    if (count == l->segment_count) {
        l->unsettled = true;
        st = log_roll(l, l->end_offset);
        if (!status_failed(st))
            st = segment_write(log_active_segment(l), (struct bytes){(const uint8_t *)"", 0});
    }
    if (!status_failed(st)) {
        start = l->segments[count]->base_offset;
        st = log_drop_segments(l, 0, count);
    }
    if (status_failed(st))
        return st;
    if (start > l->start_offset) {
        log_set_start_offset(l, start);
        epoch_cache_truncate_from_start(&l->epochs, start);
        producer_state_raise_start(&l->producers, start);
    }
    return STATUS_OK;
}

bool log_maintain(struct log *l, int64_t high_watermark, int64_t now_ms)
{
    size_t expired;
    struct status st;

    if (log_offline(l))
        return false;
    producer_state_expire(&l->producers, now_ms, l->producer_id_expiration_ms);
    st = count_expired(l, high_watermark, now_ms, &expired);
    if (!status_failed(st) && expired)
        st = expire_segments(l, expired);
    if (status_failed(st)) {
        (void)log_go_offline(l, st);
        return true;
    }
    return expired > 0;
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

struct status log_garbage_run(struct log_garbage *g)
{
    struct status result = STATUS_OK;

    while (g->doomed) {
        struct log_doomed *d = g->doomed;
        struct status st;

        if (atomic_load(&d->segment->readers) > 0)
            segment_pin(d->segment);
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
