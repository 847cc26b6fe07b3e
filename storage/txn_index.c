#include "storage/txn_index.h"

#include "protocol/base/byteorder.h"

void txn_index_init(struct txn_index *x, struct files *files, const char *path, bool fresh)
{
    index_file_init(&x->file, files, path, ".txnindex", TXN_INDEX_ENTRY_BYTES, fresh);
}

static int64_t key_last_offset(const uint8_t *entry)
{
    return (int64_t)load_be64(entry + 18);
}

struct status txn_index_append(struct txn_index *x, const struct txn_index_entry *e)
{
    uint8_t entry[TXN_INDEX_ENTRY_BYTES];

    store_be16(entry, 0);
    store_be64(entry + 2, (uint64_t)e->producer_id);
    store_be64(entry + 10, (uint64_t)e->first_offset);
    store_be64(entry + 18, (uint64_t)e->last_offset);
    store_be64(entry + 26, (uint64_t)e->last_stable_offset);
    return index_file_append(&x->file, entry);
}

struct status txn_index_get(struct txn_index *x, uint32_t slot, struct txn_index_entry *out)
{
    uint8_t entry[TXN_INDEX_ENTRY_BYTES];
    struct status st = index_file_entry(&x->file, slot, entry, NULL);

    if (status_failed(st))
        return st;
    if (load_be16(entry) != 0)
        return status_error(KERR_CORRUPT_MESSAGE, "transaction index entry of an unknown version");
    *out = (struct txn_index_entry){
        .producer_id = (int64_t)load_be64(entry + 2),
        .first_offset = (int64_t)load_be64(entry + 10),
        .last_offset = key_last_offset(entry),
        .last_stable_offset = (int64_t)load_be64(entry + 26),
    };
    return STATUS_OK;
}

struct status txn_index_truncate(struct txn_index *x, int64_t offset)
{
    uint8_t entry[TXN_INDEX_ENTRY_BYTES];
    int64_t slot = -1;
    struct status st = index_file_floor(&x->file, index_file_count(&x->file), key_last_offset,
                                        offset - 1, &slot, entry, NULL);

    if (status_failed(st))
        return st;
    return index_file_truncate(&x->file, (uint32_t)(slot + 1));
}

struct status txn_index_check(struct txn_index *x, int64_t base_offset)
{
    const uint32_t count = index_file_count(&x->file);
    int64_t above = base_offset - 1;

    for (uint32_t slot = 0; slot < count; slot++) {
        struct txn_index_entry e;
        struct status st = txn_index_get(x, slot, &e);

        if (status_failed(st))
            return st;
        if (e.last_offset <= above)
            return status_error(KERR_CORRUPT_MESSAGE, "transaction index entries out of order");
        above = e.last_offset;
    }
    return STATUS_OK;
}
