#include "storage/offset_index.h"

#include "protocol/base/byteorder.h"
#include "protocol/base/check.h"

static int64_t key_offset(const uint8_t *entry)
{
    return (int32_t)load_be32(entry);
}

static int64_t key_position(const uint8_t *entry)
{
    return (int32_t)load_be32(entry + 4);
}

static struct offset_position entry_parse(const struct offset_index *x, const uint8_t *entry)
{
    return (struct offset_position){x->base_offset + key_offset(entry), key_position(entry)};
}

void offset_index_init(struct offset_index *x, struct files *files, const char *path,
                       int64_t base_offset, bool fresh)
{
    index_file_init(&x->file, files, path, ".index", OFFSET_INDEX_ENTRY_BYTES, fresh);
    x->base_offset = base_offset;
}

struct status offset_index_last(struct offset_index *x, struct offset_position *out, bool *cold)
{
    uint8_t entry[OFFSET_INDEX_ENTRY_BYTES];
    const uint32_t count = index_file_count(&x->file);
    struct status st;

    if (cold)
        *cold = false;
    *out = (struct offset_position){x->base_offset, 0};
    if (count == 0)
        return STATUS_OK;
    st = index_file_entry(&x->file, count - 1, entry, cold);
    if (!status_failed(st) && !(cold && *cold))
        *out = entry_parse(x, entry);
    return st;
}

struct status offset_index_append(struct offset_index *x, struct offset_position e)
{
    uint8_t entry[OFFSET_INDEX_ENTRY_BYTES];
    const int64_t relative = e.offset - x->base_offset;

    CHECK(relative >= 0);
    CHECK(relative <= INT32_MAX);
    CHECK(e.position <= INT32_MAX);
    store_be32(entry, (uint32_t)relative);
    store_be32(entry + 4, (uint32_t)e.position);
    return index_file_append(&x->file, entry);
}

static struct status lookup(struct offset_index *x, uint32_t limit, index_key *key, int64_t target,
                            struct offset_position *out, bool *cold)
{
    uint8_t entry[OFFSET_INDEX_ENTRY_BYTES];
    int64_t slot = -1;
    struct status st = index_file_floor(&x->file, limit, key, target, &slot, entry, cold);

    *out = (struct offset_position){x->base_offset, 0};
    if (!status_failed(st) && slot >= 0 && !(cold && *cold))
        *out = entry_parse(x, entry);
    return st;
}

struct status offset_index_lookup(struct offset_index *x, uint32_t limit, int64_t offset,
                                  struct offset_position *out, bool *cold)
{
    return lookup(x, limit, key_offset, offset - x->base_offset, out, cold);
}

struct status offset_index_lookup_position(struct offset_index *x, uint32_t limit, int64_t position,
                                           struct offset_position *out, bool *cold)
{
    return lookup(x, limit, key_position, position, out, cold);
}

struct status offset_index_truncate(struct offset_index *x, int64_t offset)
{
    uint8_t entry[OFFSET_INDEX_ENTRY_BYTES];
    int64_t slot = -1;
    struct status st = index_file_floor(&x->file, index_file_count(&x->file), key_offset,
                                        offset - 1 - x->base_offset, &slot, entry, NULL);

    if (status_failed(st))
        return st;
    return index_file_truncate(&x->file, (uint32_t)(slot + 1));
}

struct status offset_index_check(struct offset_index *x, int64_t log_size)
{
    struct offset_position last;
    struct status st = offset_index_last(x, &last, NULL);

    if (status_failed(st))
        return st;
    if (last.offset < x->base_offset)
        return status_error(KERR_CORRUPT_MESSAGE, "offset index entry below its base offset");
    if (last.position < 0 || (last.position > 0 && last.position >= log_size))
        return status_error(KERR_CORRUPT_MESSAGE,
                            "offset index points past the end of its segment");
    return STATUS_OK;
}
