#include "storage/log_listing.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/segment.h"

#define ANEW_SUFFIX ".anew"

static bool grow(void **array, size_t *capacity, size_t count, size_t element_bytes)
{
    const size_t more = *capacity ? *capacity * 2 : 4;
    void *p;

    if (count < *capacity)
        return true;
    p = realloc(*array, more * element_bytes);
    if (!p)
        return false;
    *array = p;
    *capacity = more;
    return true;
}

/* The number that a file of a segment starts with, and what follows it. */
static bool parse_name(const char *name, int64_t *offset, const char **suffix)
{
    int64_t value = 0;

    for (int i = 0; i < SEGMENT_NAME_DIGITS; i++) {
        if (name[i] < '0' || name[i] > '9' || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, name[i] - '0', &value))
            return false;
    }
    *offset = value;
    *suffix = name + SEGMENT_NAME_DIGITS;
    return true;
}

static bool ends_with(const char *name, const char *end)
{
    const size_t size = strlen(name), end_size = strlen(end);

    return size >= end_size && strcmp(name + size - end_size, end) == 0;
}

static struct log_listing_segment *segment_entry(struct log_listing *l, int64_t base_offset)
{
    for (size_t i = l->segment_count; i-- > 0;)
        if (l->segments[i].base_offset == base_offset)
            return &l->segments[i];
    if (!grow((void **)&l->segments, &l->segment_capacity, l->segment_count,
              sizeof l->segments[0])) {
        l->out_of_memory = true;
        return NULL;
    }
    l->segments[l->segment_count] = (struct log_listing_segment){.base_offset = base_offset};
    return &l->segments[l->segment_count++];
}

static void add_leftover(struct log_listing *l, const char *name)
{
    char *copy = strdup(name);

    if (!copy || !grow((void **)&l->leftovers, &l->leftover_capacity, l->leftover_count,
                       sizeof l->leftovers[0])) {
        free(copy);
        l->out_of_memory = true;
        return;
    }
    l->leftovers[l->leftover_count++] = copy;
}

static void visit(void *arg, const char *name, bool is_directory)
{
    struct log_listing *l = arg;
    struct log_listing_segment *s;
    const char *suffix;
    int64_t offset;

    if (is_directory || !parse_name(name, &offset, &suffix))
        return;
    if (ends_with(name, ".deleted") || ends_with(name, ".cleaned") || ends_with(name, ".swap")) {
        if (!ends_with(name, ".checkpoint.deleted")) /* a snapshot of the metadata log: not ours */
            add_leftover(l, name);
        return;
    }
    if (strcmp(suffix, ANEW_SUFFIX) == 0) {
        if (offset > l->anew)
            l->anew = offset;
        return;
    }
    if (strcmp(suffix, ".snapshot") == 0) {
        if (grow((void **)&l->snapshots, &l->snapshot_capacity, l->snapshot_count,
                 sizeof l->snapshots[0]))
            l->snapshots[l->snapshot_count++] = offset;
        else
            l->out_of_memory = true;
        return;
    }
    if (strcmp(suffix, ".log") && strcmp(suffix, ".index") && strcmp(suffix, ".timeindex") &&
        strcmp(suffix, ".txnindex"))
        return;
    s = segment_entry(l, offset);
    if (!s)
        return;
    s->has_log |= strcmp(suffix, ".log") == 0;
    s->has_index |= strcmp(suffix, ".index") == 0;
    s->has_timeindex |= strcmp(suffix, ".timeindex") == 0;
    s->has_txnindex |= strcmp(suffix, ".txnindex") == 0;
}

static int by_base(const void *a, const void *b)
{
    const int64_t x = ((const struct log_listing_segment *)a)->base_offset;
    const int64_t y = ((const struct log_listing_segment *)b)->base_offset;

    return (x > y) - (x < y);
}

static int by_value(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

struct status log_listing_read(struct log_listing *l, struct files *files, const char *directory)
{
    struct status st;

    *l = (struct log_listing){.anew = -1};
    st = files->ops->list(files, directory, visit, l);
    if (!status_failed(st) && l->out_of_memory)
        st = status_errno(ENOMEM, "directory listing");
    if (status_failed(st)) {
        log_listing_free(l);
        return st;
    }
    if (l->segment_count)
        qsort(l->segments, l->segment_count, sizeof l->segments[0], by_base);
    if (l->snapshot_count)
        qsort(l->snapshots, l->snapshot_count, sizeof l->snapshots[0], by_value);
    return STATUS_OK;
}

void log_listing_free(struct log_listing *l)
{
    for (size_t i = 0; i < l->leftover_count; i++)
        free(l->leftovers[i]);
    free(l->leftovers);
    free(l->segments);
    free(l->snapshots);
    *l = (struct log_listing){0};
}

static struct status join(char out[SEGMENT_PATH_BYTES], const char *directory, const char *name)
{
    const int size = snprintf(out, SEGMENT_PATH_BYTES, "%s/%s", directory, name);

    return size < 0 || size >= SEGMENT_PATH_BYTES ? status_errno(ENAMETOOLONG, "path of a log file")
                                                  : STATUS_OK;
}

static struct status remove_name(struct files *files, const char *directory, const char *name)
{
    char path[SEGMENT_PATH_BYTES];
    struct status st = join(path, directory, name);

    if (status_failed(st))
        return st;
    st = files->ops->remove(files, path);
    return st.sys_errno == ENOENT ? STATUS_OK : st;
}

static struct status remove_segment_files(struct files *files, const char *directory,
                                          int64_t base_offset)
{
    static const char *const suffixes[] = {".index", ".timeindex", ".txnindex", ".log"};
    struct status st = STATUS_OK;

    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0] && !status_failed(st); i++) {
        char name[64];

        snprintf(name, sizeof name, "%020" PRId64 "%s", base_offset, suffixes[i]);
        st = remove_name(files, directory, name);
    }
    return st;
}

/* ---- beginning anew ---- */

static struct status make_empty(struct files *files, const char *directory, int64_t offset,
                                const char *suffix)
{
    char name[64], path[SEGMENT_PATH_BYTES];
    struct file *f;
    struct status st;

    snprintf(name, sizeof name, "%020" PRId64 "%s", offset, suffix);
    st = join(path, directory, name);
    if (!status_failed(st))
        st = files->ops->open(files, path, FILE_WRITE | FILE_CREATE | FILE_TRUNCATE, &f);
    if (status_failed(st))
        return st;
    files->ops->close(files, f);
    return files->ops->sync_directory(files, directory);
}

struct status log_listing_announce(struct files *files, const char *directory, int64_t offset)
{
    return make_empty(files, directory, offset, ANEW_SUFFIX);
}

struct status log_listing_withdraw(struct files *files, const char *directory, int64_t offset)
{
    char name[64];
    struct status st;

    snprintf(name, sizeof name, "%020" PRId64 ANEW_SUFFIX, offset);
    st = remove_name(files, directory, name);
    return status_failed(st) ? st : files->ops->sync_directory(files, directory);
}

/* The new beginning may be there already, but nothing in it. A kill may have left the mark in the
 * page cache only: it is made durable before the first file goes, here too. */
static struct status begin_anew(struct log_listing *l, struct files *files, const char *directory)
{
    const int64_t offset = l->anew;
    struct status st = files->ops->sync_directory(files, directory);

    if (!status_failed(st))
        st = remove_name(files, directory, "leader-epoch-checkpoint");
    for (size_t i = 0; i < l->segment_count && !status_failed(st); i++)
        st = remove_segment_files(files, directory, l->segments[i].base_offset);
    for (size_t i = 0; i < l->leftover_count && !status_failed(st); i++)
        st = remove_name(files, directory, l->leftovers[i]);
    for (size_t i = 0; i < l->snapshot_count && !status_failed(st); i++) {
        char name[64];

        snprintf(name, sizeof name, "%020" PRId64 ".snapshot", l->snapshots[i]);
        st = remove_name(files, directory, name);
    }
    log_listing_free(l);
    if (!status_failed(st))
        st = make_empty(files, directory, offset, ".log");
    if (!status_failed(st))
        st = log_listing_withdraw(files, directory, offset);
    if (!status_failed(st))
        st = log_listing_read(l, files, directory);
    while (!status_failed(st) && l->anew >= 0) { /* of whoever put it there: once is enough */
        const int64_t other = l->anew;

        log_listing_free(l);
        st = log_listing_withdraw(files, directory, other);
        if (!status_failed(st))
            st = log_listing_read(l, files, directory);
    }
    return st;
}

/* ---- interrupted swaps ----
 *
 * Compaction writes X.cleaned, renames it to X.swap, then removes what it replaces and renames it
 * to X, the .log file last. From X.log.swap on the step is carried through; before, it is undone.
 * An index.swap without it may be of either: the disk can have lost names before and after. It is
 * removed, and X gets its indexes made anew. */

static int64_t least_cleaned(const struct log_listing *l)
{
    int64_t least = INT64_MAX, offset;
    const char *suffix;

    for (size_t i = 0; i < l->leftover_count; i++)
        if (ends_with(l->leftovers[i], ".cleaned") &&
            parse_name(l->leftovers[i], &offset, &suffix) && offset < least)
            least = offset;
    return least;
}

/* The offset behind the last batch of a .log.swap file. */
static struct status swap_end(struct files *files, const char *directory, const char *name,
                              int64_t base, int64_t *end)
{
    uint8_t head[RECORD_BATCH_HEADER_BYTES];
    char path[SEGMENT_PATH_BYTES];
    struct file *f;
    size_t got = 0;
    int64_t at = 0;
    struct status st = join(path, directory, name);

    *end = base;
    if (!status_failed(st))
        st = files->ops->open(files, path, FILE_READ_ONLY, &f);
    if (status_failed(st))
        return st;
    for (;;) {
        st = files->ops->read(files, f, head, sizeof head, at, &got);
        if (status_failed(st) || got < sizeof head ||
            record_batch_size_bytes(head) < RECORD_BATCH_HEADER_BYTES)
            break;
        *end = record_batch_last_offset(head) + 1;
        at += record_batch_size_bytes(head);
    }
    files->ops->close(files, f);
    return st;
}

static bool has_leftover(const struct log_listing *l, int64_t base_offset, const char *suffix)
{
    char name[64];

    snprintf(name, sizeof name, "%020" PRId64 "%s", base_offset, suffix);
    for (size_t i = 0; i < l->leftover_count; i++)
        if (strcmp(l->leftovers[i], name) == 0)
            return true;
    return false;
}

static struct status finish_swaps(struct log_listing *l, struct files *files, const char *directory)
{
    const int64_t cleaned = least_cleaned(l);
    int64_t low = INT64_MAX, high = INT64_MIN, offset, end;
    const char *suffix;
    bool swapped = false;
    struct status st = STATUS_OK;

    for (size_t i = 0; i < l->leftover_count; i++) {
        if (!ends_with(l->leftovers[i], ".log.swap") ||
            !parse_name(l->leftovers[i], &offset, &suffix) || offset >= cleaned)
            continue;
        st = swap_end(files, directory, l->leftovers[i], offset, &end);
        if (status_failed(st))
            return st;
        low = offset < low ? offset : low;
        high = end > high ? end : high;
    }
    for (size_t i = 0; i < l->segment_count && !status_failed(st); i++)
        if (l->segments[i].base_offset == low ||
            (l->segments[i].base_offset > low && l->segments[i].base_offset < high))
            st = remove_segment_files(files, directory, l->segments[i].base_offset);
    /* A segment of the old ones must not come back once the new one has its name. */
    if (low <= high && !status_failed(st))
        st = files->ops->sync_directory(files, directory);
    for (size_t i = 0; i < l->leftover_count && !status_failed(st); i++) {
        char from[SEGMENT_PATH_BYTES], to[SEGMENT_PATH_BYTES];
        const char *name = l->leftovers[i];

        if (!ends_with(name, ".swap") || !parse_name(name, &offset, &suffix) || offset >= cleaned ||
            !has_leftover(l, offset, ".log.swap"))
            continue;
        swapped = true;
        st = join(from, directory, name);
        if (status_failed(st))
            break;
        snprintf(to, sizeof to, "%.*s", (int)(strlen(from) - strlen(".swap")), from);
        st = files->ops->rename(files, from, to);
    }
    return swapped && !status_failed(st) ? files->ops->sync_directory(files, directory) : st;
}

static bool is_segment_base(const struct log_listing *l, int64_t offset)
{
    for (size_t i = 0; i < l->segment_count; i++)
        if (l->segments[i].base_offset == offset)
            return true;
    return false;
}

static bool has_segment(const struct log_listing *l, int64_t base_offset)
{
    for (size_t i = 0; i < l->segment_count; i++)
        if (l->segments[i].base_offset == base_offset)
            return l->segments[i].has_log;
    return false;
}

/* A deleted segment from amid those that are there: its offset. */
static bool is_amid(const struct log_listing *l, const char *name, int64_t *offset)
{
    const char *suffix;

    return l->segment_count > 1 && ends_with(name, ".log.deleted") &&
           parse_name(name, offset, &suffix) && *offset > l->segments[0].base_offset &&
           *offset < l->segments[l->segment_count - 1].base_offset && !has_segment(l, *offset);
}

static struct status remove_leftovers(struct log_listing *l, struct files *files,
                                      const char *directory)
{
    struct status st = STATUS_OK;
    int64_t offset;

    for (size_t i = 0; i < l->leftover_count && !status_failed(st); i++)
        if (!is_amid(l, l->leftovers[i], &offset))
            st = remove_name(files, directory, l->leftovers[i]);
    return st;
}

bool log_listing_deleted_amid(const struct log_listing *l, size_t *at, int64_t *offset)
{
    while (*at < l->leftover_count)
        if (is_amid(l, l->leftovers[(*at)++], offset))
            return true;
    return false;
}

struct status log_listing_forget_deleted(const struct log_listing *l, struct files *files,
                                         const char *directory)
{
    struct status st = STATUS_OK;

    for (size_t i = 0; i < l->leftover_count && !status_failed(st); i++)
        st = remove_name(files, directory, l->leftovers[i]);
    return st;
}

/* Whether the name says that the indexes of its segment may be of another .log file. */
static bool casts_doubt(const struct log_listing *l, const char *name, int64_t base_offset)
{
    if (ends_with(name, "index.deleted"))
        return true;
    return ends_with(name, "index.swap") && !has_leftover(l, base_offset, ".log.swap") &&
           !has_leftover(l, base_offset, ".log.cleaned"); /* not yet renamed: all is as it was */
}

static void mark_doubtful_indexes(struct log_listing *l, const struct log_listing *before)
{
    for (size_t i = 0; i < before->leftover_count; i++) {
        const char *suffix;
        int64_t offset;

        if (!parse_name(before->leftovers[i], &offset, &suffix) ||
            !casts_doubt(before, before->leftovers[i], offset))
            continue;
        for (size_t j = 0; j < l->segment_count; j++)
            if (l->segments[j].base_offset == offset)
                l->segments[j].indexes_doubtful = true;
    }
}

static struct status tidy_leftovers(struct log_listing *l, struct files *files,
                                    const char *directory)
{
    struct log_listing before = *l;
    /* A kill may have left names that a crash would take back: of older .deleted segments and not
     * of younger ones, or of a .swap file whose segments have gone. */
    struct status st = files->ops->sync_directory(files, directory);

    if (!status_failed(st))
        st = finish_swaps(&before, files, directory);
    *l = (struct log_listing){0};
    if (!status_failed(st))
        st = remove_leftovers(&before, files, directory); /* a renamed .swap is gone already */
    if (!status_failed(st))
        st = log_listing_read(l, files, directory);
    if (!status_failed(st))
        mark_doubtful_indexes(l, &before);
    log_listing_free(&before);
    return st;
}

struct status log_listing_tidy(struct log_listing *l, struct files *files, const char *directory)
{
    struct status st;
    size_t kept = 0;

    if (l->anew >= 0) {
        st = begin_anew(l, files, directory);
        if (status_failed(st))
            return st;
    }
    if (l->leftover_count) {
        st = tidy_leftovers(l, files, directory);
        if (status_failed(st))
            return st;
    }
    for (size_t i = 0; i < l->segment_count; i++) {
        if (l->segments[i].has_log) {
            l->segments[kept++] = l->segments[i];
            continue;
        }
        st = remove_segment_files(files, directory, l->segments[i].base_offset);
        if (status_failed(st))
            return st;
    }
    l->segment_count = kept;
    return STATUS_OK;
}

void log_listing_remove_stray_snapshots(const struct log_listing *l, struct files *files,
                                        const char *directory, int64_t in_use, int64_t end_offset)
{
    for (size_t i = 0; i < l->snapshot_count; i++) {
        const int64_t offset = l->snapshots[i];
        char name[64];

        if (offset == in_use || (offset <= end_offset && is_segment_base(l, offset)))
            continue;
        snprintf(name, sizeof name, "%020" PRId64 ".snapshot", offset);
        (void)remove_name(files, directory, name);
    }
}
