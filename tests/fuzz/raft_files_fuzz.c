/* What the Raft node reads from its directory: quorum-state, control records, snapshots.
 *
 * Input: one byte that says which, then the bytes of the file or value. The CRCs and base offsets
 * of a snapshot's batches are put right first, or nothing behind them would ever be reached. */

#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"
#include "protocol/record_batch.h"
#include "replication/control_records.h"
#include "replication/quorum_state.h"
#include "replication/snapshot_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A file system of one read-only file. */
struct one_file {
    struct files files;
    struct bytes content;
};

static struct status open_one(struct files *fs, const char *path, int flags, struct file **out)
{
    (void)path;
    (void)flags;
    *out = (struct file *)(void *)fs;
    return STATUS_OK;
}

static void close_one(struct files *fs, struct file *f)
{
    (void)fs;
    (void)f;
}

static struct status read_one(struct files *fs, struct file *f, void *buffer, size_t size,
                              int64_t at, size_t *got)
{
    const struct one_file *o = (const struct one_file *)(const void *)fs;

    (void)f;
    CHECK(at >= 0);
    if ((uint64_t)at > o->content.size)
        at = (int64_t)o->content.size;
    *got = o->content.size - (size_t)at < size ? o->content.size - (size_t)at : size;
    if (*got)
        memcpy(buffer, o->content.data + at, *got);
    return STATUS_OK;
}

static void put_right(uint8_t *data, size_t size)
{
    int64_t next_offset = 0;

    while (size >= RECORD_BATCH_HEADER_BYTES) {
        int64_t batch = record_batch_size_bytes(data);

        if (batch < RECORD_BATCH_HEADER_BYTES || (uint64_t)batch > size)
            return;
        record_batch_set_base_offset(data, next_offset);
        data[RECORD_BATCH_AT_MAGIC] = RECORD_BATCH_MAGIC;
        record_batch_set_crc((struct bytes_mut){data, (size_t)batch});
        next_offset = record_batch_last_offset(data) + 1;
        data += batch;
        size -= (size_t)batch;
    }
}

static void read_snapshot(uint8_t *data, size_t size)
{
    static const struct files_ops ops = {.open = open_one, .close = close_one, .read = read_one};
    struct one_file fs = {.files = {&ops}, .content = {data, size}};
    struct snapshot_reader *r;
    const struct bytes *values;
    size_t count;

    put_right(data, size);
    if (status_failed(snapshot_reader_open(&fs.files, "", (struct raft_snapshot_id){0, 0}, &r)))
        return;
    while (!status_failed(snapshot_reader_next(r, &values, &count)) && count > 0)
        for (size_t i = 0; i < count; i++)
            for (size_t k = 0; k < values[i].size; k++) { /* so that ASan sees each byte */
                volatile uint8_t byte = values[i].data[k];
                (void)byte;
            }
    snapshot_reader_close(r);
}

static void read_control(struct bytes value)
{
    struct voter_set *voters;
    struct voter_set *again;
    int64_t timestamp;
    int16_t level;

    control_read_kraft_version(value, &level);
    control_read_snapshot_header(value, &timestamp);
    control_read_snapshot_footer(value);
    /* what was read can be written and read */
    if (!status_failed(control_read_voters(value, &voters))) {
        struct arena a;

        arena_init(&a, (size_t)1 << 24);
        CHECK(!status_failed(control_read_voters(control_voters(&a, voters), &again)));
        CHECK(voter_set_count(again) == voter_set_count(voters));
        arena_free(&a);
        voter_set_free(again);
        voter_set_free(voters);
    }
}

static void read_quorum_state(struct bytes text)
{
    struct raft_election e;
    struct raft_election again;
    char written[QUORUM_STATE_BYTES_MAX];

    if (status_failed(quorum_state_parse(text, &e)))
        return;
    text = (struct bytes){(const uint8_t *)written, quorum_state_format(&e, written)};
    CHECK(!status_failed(quorum_state_parse(text, &again)));
    CHECK(again.epoch == e.epoch);
    CHECK(again.voted.id == e.voted.id);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy;

    if (size < 2)
        return 0;
    copy = malloc(size - 1); /* its own block, so that reading past it is seen */
    if (!copy)
        return 0;
    memcpy(copy, data + 1, size - 1);
    switch (data[0] % 3) {
    case 0:
        read_snapshot(copy, size - 1);
        break;
    case 1:
        read_control((struct bytes){copy, size - 1});
        break;
    default:
        read_quorum_state((struct bytes){copy, size - 1});
        break;
    }
    free(copy);
    return 0;
}
