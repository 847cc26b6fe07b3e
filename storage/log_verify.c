/* Checking in the background what a quick open left unchecked: batches between the recovery point
 * and the place where the open began to look. */
#include <errno.h>
#include <stdlib.h>

#include "protocol/base/check.h"
#include "storage/log_internal.h"

struct verify_part {
    struct segment *segment; /* owned reference, counted as a reader */
    int64_t size;
};

struct log_verify {
    struct verify_part *parts;
    size_t count;
    size_t next; /* part */
    int64_t position;
    int64_t from;
    int64_t to;
    int64_t budget; /* bytes left in this step */
};

bool log_unverified(const struct log *l)
{
    return !log_offline(l) && l->segment_count && l->verify_from < l->verify_to;
}

int64_t log_recovery_point(const struct log *l)
{
    const bool less = log_unverified(l) && l->verify_from < l->flushed_end;

    return less ? l->verify_from : l->flushed_end;
}

struct log_verify *log_verify_begin(struct log *l)
{
    struct log_verify *v;
    size_t first, count;

    if (!log_unverified(l))
        return NULL;
    first = log_segment_index(l, l->verify_from);
    count = log_segment_index(l, l->verify_to) - first + 1;
    v = calloc(1, sizeof *v);
    if (v)
        v->parts = calloc(count, sizeof v->parts[0]);
    if (!v || !v->parts) {
        free(v);
        return NULL;
    }
    v->count = count;
    v->from = l->verify_from;
    v->to = l->verify_to;
    for (size_t i = 0; i < count; i++) {
        struct segment *s = segment_retain(l->segments[first + i]);

        atomic_fetch_add(&s->readers, 1);
        v->parts[i] = (struct verify_part){s, s->size};
    }
    return v;
}

static struct status verify_batch(void *arg, struct bytes batch, int64_t position)
{
    struct log_verify *v = arg;
    const int64_t base_offset = record_batch_base_offset(batch.data);

    (void)position;
    if (base_offset >= v->to || v->budget <= 0)
        /* stops the scan; never seen outside */
        return status_errno(EAGAIN, "scan stopped by its reader");
    v->budget -= (int64_t)batch.size;
    return base_offset < v->from ? STATUS_OK : record_batch_check(batch);
}

struct status log_verify_run(struct log_verify *v, int64_t bytes_max, bool *done)
{
    v->budget = bytes_max;
    *done = false;
    while (v->next < v->count && v->budget > 0) {
        struct verify_part *p = &v->parts[v->next];
        int64_t end;
        struct status st =
            log_scan(p->segment, v->position, p->size, INT64_MAX, verify_batch, v, &end);

        v->position = end;
        if (status_failed(st) && st.sys_errno != EAGAIN)
            return st;
        if (v->budget <= 0)
            break;
        v->next++;
        v->position = 0;
    }
    *done = v->next == v->count;
    return STATUS_OK;
}

void log_verify_end(struct log *l, struct log_verify *v, struct status result)
{
    if (l && status_failed(result) && v->next < v->count)
        logger_event(l->logger, LOGGER_ERROR, "log_damaged",
                     "path=\"%s.log\" position=%lld reason=\"%s\" errno=%d",
                     v->parts[v->next].segment->path, (long long)v->position,
                     result.where ? result.where : "", result.sys_errno);
    for (size_t i = 0; i < v->count; i++) {
        atomic_fetch_sub(&v->parts[i].segment->readers, 1);
        segment_release(v->parts[i].segment);
    }
    free(v->parts);
    free(v);
    if (l && status_failed(result))
        (void)log_go_offline(l, result);
    else if (l)
        l->verify_from = l->verify_to;
}
