/* Entries of fixed size, appended in memory and written out in batches. See the header. */
#include "storage/index_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"
#include "storage/segment.h"

#define TAIL_ENTRIES_FIRST 8
#define TAIL_ENTRIES_MAX   256  /* one small write for each MiB of log at the default interval */
#define SEARCH_BLOCK_BYTES 4096 /* a range this small is read at once and searched in memory */

void index_file_init(struct index_file *x, struct files *files, const char *path,
                     const char *suffix, uint8_t entry_bytes, bool fresh)
{
    CHECK(entry_bytes <= INDEX_ENTRY_BYTES_MAX);
    *x = (struct index_file){
        .files = files, .path = path, .suffix = suffix, .entry_bytes = entry_bytes};
    atomic_init(&x->file, NULL);
    atomic_init(&x->file_entries, 0);
    atomic_init(&x->loaded, fresh);
    atomic_init(&x->padded, false);
}

void index_file_close(struct index_file *x)
{
    struct file *f = atomic_load(&x->file);

    if (f)
        x->files->ops->close(x->files, f);
    free(x->tail);
    atomic_store(&x->file, NULL);
    x->tail = NULL;
    x->tail_count = x->tail_capacity = 0;
}

static struct status index_file_open(struct index_file *x, int flags)
{
    char path[SEGMENT_PATH_BYTES];
    struct file *f, *none = NULL;
    struct status st;

    if (atomic_load_explicit(&x->file, memory_order_acquire))
        return STATUS_OK;
    st = segment_path(path, x->path, x->suffix);
    if (status_failed(st))
        return st;
    st = x->files->ops->open(x->files, path, flags, &f);
    if (status_failed(st))
        return st;
    if (!atomic_compare_exchange_strong(&x->file, &none, f)) /* another thread was first */
        x->files->ops->close(x->files, f);
    return STATUS_OK;
}

static struct status read_entries(struct index_file *x, uint32_t first, uint32_t count,
                                  uint8_t *out, bool *cold)
{
    struct file *f = atomic_load_explicit(&x->file, memory_order_acquire);
    const size_t size = (size_t)count * x->entry_bytes;
    const int64_t at = (int64_t)first * x->entry_bytes;
    size_t got = 0;
    struct status st;

    CHECK(f);
    if (cold)
        st = x->files->ops->read_nowait(x->files, f, out, size, at, &got, cold);
    else
        st = x->files->ops->read(x->files, f, out, size, at, &got);
    if (status_failed(st) || (cold && *cold))
        return st;
    if (got != size)
        return status_errno(EIO, "index file is shorter than it was");
    return STATUS_OK;
}

static bool all_zero(const uint8_t *p, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (p[i])
            return false;
    return true;
}

/* Entries before the zero padding that Apache Kafka leaves behind an active index. No real entry
 * after the first is all zeros: positions and timestamps rise. */
static struct status count_before_padding(struct index_file *x, uint32_t *entries)
{
    uint8_t entry[INDEX_ENTRY_BYTES_MAX];
    uint32_t low = 0, high = *entries;
    struct status st;

    if (high < 2)
        return STATUS_OK;
    st = read_entries(x, high - 1, 1, entry, NULL);
    if (status_failed(st) || !all_zero(entry, x->entry_bytes))
        return st;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;

        st = read_entries(x, middle, 1, entry, NULL);
        if (status_failed(st))
            return st;
        if (all_zero(entry, x->entry_bytes))
            high = middle;
        else
            low = middle + 1;
    }
    *entries = low;
    atomic_store(&x->padded, true);
    return STATUS_OK;
}

struct status index_file_load(struct index_file *x)
{
    struct status st;
    uint32_t entries;
    int64_t size;

    if (atomic_load_explicit(&x->loaded, memory_order_acquire))
        return STATUS_OK;
    st = index_file_open(x, FILE_WRITE);
    if (st.sys_errno == ENOENT) {
        atomic_store_explicit(&x->loaded, true, memory_order_release);
        return STATUS_OK;
    }
    if (!status_failed(st))
        st = x->files->ops->size(x->files, atomic_load(&x->file), &size);
    if (status_failed(st))
        return st;
    if (size % x->entry_bytes || size > INT32_MAX)
        return status_error(KERR_CORRUPT_MESSAGE, "index file of odd size");
    entries = (uint32_t)(size / x->entry_bytes);
    st = count_before_padding(x, &entries);
    if (status_failed(st))
        return st;
    atomic_store(&x->file_entries, entries);
    atomic_store_explicit(&x->loaded, true, memory_order_release);
    return STATUS_OK;
}

uint32_t index_file_count(const struct index_file *x)
{
    return atomic_load_explicit(&x->file_entries, memory_order_relaxed) + x->tail_count;
}

struct status index_file_entry(struct index_file *x, uint32_t slot, uint8_t *entry, bool *cold)
{
    const uint32_t in_file = atomic_load_explicit(&x->file_entries, memory_order_relaxed);

    if (cold)
        *cold = false;
    if (slot < in_file)
        return read_entries(x, slot, 1, entry, cold);
    CHECK(slot - in_file < x->tail_count);
    memcpy(entry, x->tail + (size_t)(slot - in_file) * x->entry_bytes, x->entry_bytes);
    return STATUS_OK;
}

/* Entries of `block` whose key is at most target; keys do not fall, so they come first. */
static uint32_t floor_in_memory(const uint8_t *block, uint32_t count, uint8_t entry_bytes,
                                index_key *key, int64_t target)
{
    uint32_t low = 0, high = count;

    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;

        if (key(block + (size_t)middle * entry_bytes) <= target)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct status floor_in_file(struct index_file *x, uint32_t limit, index_key *key,
                                   int64_t target, int64_t *slot, uint8_t *entry, bool *cold)
{
    uint8_t block[SEARCH_BLOCK_BYTES];
    const uint32_t block_entries = (uint32_t)SEARCH_BLOCK_BYTES / x->entry_bytes;
    uint32_t low = 0, high = limit; /* the answer is in [low - 1, high - 1] */
    uint32_t below;
    struct status st;

    while (high - low > block_entries) {
        const uint32_t middle = low + (high - low) / 2;

        st = read_entries(x, middle, 1, block, cold);
        if (status_failed(st) || (cold && *cold))
            return st;
        if (key(block) <= target)
            low = middle; /* may be the answer itself: stays in the range */
        else
            high = middle;
    }
    *slot = -1;
    if (high == low)
        return STATUS_OK;
    st = read_entries(x, low, high - low, block, cold);
    if (status_failed(st) || (cold && *cold))
        return st;
    below = floor_in_memory(block, high - low, x->entry_bytes, key, target);
    if (below) {
        *slot = (int64_t)low + below - 1;
        memcpy(entry, block + (size_t)(below - 1) * x->entry_bytes, x->entry_bytes);
    }
    return STATUS_OK;
}

struct status index_file_floor(struct index_file *x, uint32_t limit, index_key *key, int64_t target,
                               int64_t *slot, uint8_t *entry, bool *cold)
{
    const uint32_t in_file = atomic_load_explicit(&x->file_entries, memory_order_acquire);

    if (cold)
        *cold = false;
    if (limit > in_file) {
        const uint32_t below =
            floor_in_memory(x->tail, limit - in_file, x->entry_bytes, key, target);

        if (below) {
            *slot = (int64_t)in_file + below - 1;
            memcpy(entry, x->tail + (size_t)(below - 1) * x->entry_bytes, x->entry_bytes);
            return STATUS_OK;
        }
        limit = in_file;
    }
    return floor_in_file(x, limit, key, target, slot, entry, cold);
}

static struct status tail_reserve(struct index_file *x)
{
    uint32_t capacity = x->tail_capacity ? x->tail_capacity * 2 : TAIL_ENTRIES_FIRST;
    uint8_t *tail;

    if (x->tail_count < x->tail_capacity)
        return STATUS_OK;
    if (x->tail_capacity >= TAIL_ENTRIES_MAX)
        return index_file_write_out(x);
    tail = realloc(x->tail, (size_t)capacity * x->entry_bytes);
    if (!tail)
        return status_errno(ENOMEM, "index tail");
    x->tail = tail;
    x->tail_capacity = capacity;
    return STATUS_OK;
}

struct status index_file_append(struct index_file *x, const uint8_t *entry)
{
    struct status st = tail_reserve(x);

    if (status_failed(st))
        return st;
    memcpy(x->tail + (size_t)x->tail_count * x->entry_bytes, entry, x->entry_bytes);
    x->tail_count++;
    return STATUS_OK;
}

struct status index_file_write_out(struct index_file *x)
{
    const uint32_t in_file = atomic_load_explicit(&x->file_entries, memory_order_relaxed);
    const int64_t at = (int64_t)in_file * x->entry_bytes;
    struct iovec part = {x->tail, (size_t)x->tail_count * x->entry_bytes};
    struct status st;

    if (x->tail_count == 0)
        return STATUS_OK;
    st = index_file_open(x, FILE_WRITE | FILE_CREATE);
    if (!status_failed(st) && atomic_load(&x->padded)) {
        st = x->files->ops->truncate(x->files, atomic_load(&x->file), at);
        if (!status_failed(st))
            atomic_store(&x->padded, false);
    }
    if (!status_failed(st))
        st = x->files->ops->write(x->files, atomic_load(&x->file), &part, 1, at);
    if (status_failed(st))
        return st;
    atomic_store_explicit(&x->file_entries, in_file + x->tail_count, memory_order_release);
    x->tail_count = 0;
    return STATUS_OK;
}

struct status index_file_truncate(struct index_file *x, uint32_t count)
{
    const uint32_t in_file = atomic_load_explicit(&x->file_entries, memory_order_relaxed);
    struct file *f = atomic_load(&x->file);
    struct status st;

    if (count >= in_file && !atomic_load(&x->padded)) {
        CHECK(count - in_file <= x->tail_count);
        x->tail_count = count - in_file;
        return STATUS_OK;
    }
    if (count > in_file)
        count = in_file; /* padded: there is no tail yet */
    CHECK(f);
    st = x->files->ops->truncate(x->files, f, (int64_t)count * x->entry_bytes);
    if (status_failed(st))
        return st;
    atomic_store(&x->padded, false);
    atomic_store_explicit(&x->file_entries, count, memory_order_release);
    x->tail_count = 0;
    return STATUS_OK;
}
