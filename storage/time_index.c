#include "storage/time_index.h"

#include "protocol/base/byteorder.h"
#include "protocol/base/check.h"

static int64_t key_timestamp(const uint8_t *entry)
{
    return (int64_t)load_be64(entry);
}

static int64_t key_offset(const uint8_t *entry)
{
    return (int32_t)load_be32(entry + 8);
}

static struct time_offset entry_parse(const struct time_index *x, const uint8_t *entry)
{
    return (struct time_offset){key_timestamp(entry), x->base_offset + key_offset(entry)};
}

void time_index_init(struct time_index *x, struct files *files, const char *path,
                     int64_t base_offset, bool fresh)
{
    index_file_init(&x->file, files, path, ".timeindex", TIME_INDEX_ENTRY_BYTES, fresh);
    x->base_offset = base_offset;
    x->last_timestamp_ms = -1;
}

struct status time_index_last(struct time_index *x, struct time_offset *out, bool *cold)
{
    uint8_t entry[TIME_INDEX_ENTRY_BYTES];
    const uint32_t count = index_file_count(&x->file);
    struct status st;

    if (cold)
        *cold = false;
    *out = (struct time_offset){-1, x->base_offset};
    if (count) {
        st = index_file_entry(&x->file, count - 1, entry, cold);
        if (status_failed(st) || (cold && *cold))
            return st;
        *out = entry_parse(x, entry);
    }
    x->last_timestamp_ms = out->timestamp_ms;
    return STATUS_OK;
}

struct status time_index_maybe_append(struct time_index *x, struct time_offset e)
{
    uint8_t entry[TIME_INDEX_ENTRY_BYTES];
    const int64_t relative = e.offset - x->base_offset;
    struct status st;

    if (e.timestamp_ms <= x->last_timestamp_ms)
        return STATUS_OK;
    CHECK(relative >= 0);
    CHECK(relative <= INT32_MAX);
    store_be64(entry, (uint64_t)e.timestamp_ms);
    store_be32(entry + 8, (uint32_t)relative);
    st = index_file_append(&x->file, entry);
    if (!status_failed(st))
        x->last_timestamp_ms = e.timestamp_ms;
    return st;
}

struct status time_index_lookup(struct time_index *x, uint32_t limit, int64_t timestamp_ms,
                                struct time_offset *out, bool *cold)
{
    uint8_t entry[TIME_INDEX_ENTRY_BYTES];
    int64_t slot = -1;
    struct status st =
        index_file_floor(&x->file, limit, key_timestamp, timestamp_ms, &slot, entry, cold);

    *out = (struct time_offset){-1, x->base_offset};
    if (!status_failed(st) && slot >= 0 && !(cold && *cold))
        *out = entry_parse(x, entry);
    return st;
}

struct status time_index_truncate(struct time_index *x, int64_t offset)
{
    uint8_t entry[TIME_INDEX_ENTRY_BYTES];
    struct time_offset last;
    int64_t slot = -1;
    struct status st = index_file_floor(&x->file, index_file_count(&x->file), key_offset,
                                        offset - 1 - x->base_offset, &slot, entry, NULL);

    if (!status_failed(st))
        st = index_file_truncate(&x->file, (uint32_t)(slot + 1));
    if (!status_failed(st))
        st = time_index_last(x, &last, NULL);
    return st;
}

struct status time_index_check(struct time_index *x)
{
    uint8_t entry[TIME_INDEX_ENTRY_BYTES];
    struct time_offset last;
    struct status st = time_index_last(x, &last, NULL);

    if (status_failed(st) || index_file_count(&x->file) == 0)
        return st;
    st = index_file_entry(&x->file, 0, entry, NULL);
    if (status_failed(st))
        return st;
    if (last.timestamp_ms < key_timestamp(entry) || last.offset < x->base_offset)
        return status_error(KERR_CORRUPT_MESSAGE, "time index entries out of order");
    return STATUS_OK;
}
