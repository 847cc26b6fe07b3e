/* A partition's directory, as bytes from anywhere: opened as after each way a run can end, used,
 * closed, opened again.
 *
 * Input: one byte of how (trust, what is done with the log, whether CRCs of batches and snapshots
 * are put right first), one with the recovery point, then files: one byte that says which, two with
 * its size, its content. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base/byteorder.h"
#include "protocol/base/check.h"
#include "protocol/base/crc32c.h"
#include "protocol/record_batch_build.h"
#include "storage/files_sim.h"
#include "storage/log.h"

#define DIRECTORY   "data/t-0"
#define READS_MAX   2000
#define ARENA_BYTES (1 << 20)

enum {
    SEES_TRUST = 3,
    PUT_RIGHT = 4,
    TRUNCATE = 8,
    RAISE_START = 16,
    RETIRE = 32,
    CLOSE_CLEANLY = 64,
    START_HIGH = 128
};

static const char *const names[] = {
    "00000000000000000000.log",
    "00000000000000000000.index",
    "00000000000000000000.timeindex",
    "00000000000000000000.txnindex",
    "00000000000000000003.log",
    "00000000000000000003.index",
    "00000000000000000003.timeindex",
    "00000000000000000003.txnindex",
    "00000000000000000003.snapshot",
    "00000000000000000006.snapshot",
    "00000000000000000006.log",
    "leader-epoch-checkpoint",
    "partition.metadata",
    "00000000000000000003.log.swap",
    "00000000000000000000.log.cleaned",
    "00000000000000000003.log.deleted",
    "00000000000000000000.index.deleted",
};

struct life {
    struct files *files;
    struct clock clock;
    int64_t now_ms;
    struct log_config config;
    struct compression_scratch *scratch;
    struct log *log;
    uint8_t how;
    bool all_checked; /* by the start: what is read is whole batches */
    int64_t recovery_point;
};

static int64_t wall_ms(struct clock *c)
{
    return ((struct life *)(void *)((char *)c - offsetof(struct life, clock)))->now_ms;
}

static int64_t monotonic_us(struct clock *c)
{
    return wall_ms(c) * 1000;
}

/* ---- the directory ---- */

static void put_batches_right(uint8_t *data, size_t size)
{
    while (size >= RECORD_BATCH_HEADER_BYTES) {
        int64_t batch = record_batch_size_bytes(data);

        if (batch < RECORD_BATCH_HEADER_BYTES || (uint64_t)batch > size)
            return;
        data[RECORD_BATCH_AT_MAGIC] = RECORD_BATCH_MAGIC;
        record_batch_set_crc((struct bytes_mut){data, (size_t)batch});
        data += batch;
        size -= (size_t)batch;
    }
}

static void put_right(const char *name, uint8_t *data, size_t size)
{
    if (strstr(name, ".log"))
        put_batches_right(data, size);
    else if (strstr(name, ".snapshot") && size >= 6)
        store_be32(data + 2, crc32c(data + 6, size - 6));
}

static void write_file(struct life *f, const char *name, const uint8_t *data, size_t size)
{
    char path[128];
    uint8_t *copy = malloc(size + 1);
    struct iovec part = {copy, size};
    struct file *file;

    CHECK(copy);
    memcpy(copy, data, size);
    if (f->how & PUT_RIGHT)
        put_right(name, copy, size);
    snprintf(path, sizeof path, DIRECTORY "/%s", name);
    CHECK(!status_failed(
        f->files->ops->open(f->files, path, FILE_WRITE | FILE_CREATE | FILE_TRUNCATE, &file)));
    CHECK(!status_failed(f->files->ops->write(f->files, file, &part, 1, 0)));
    f->files->ops->close(f->files, file);
    free(copy);
}

static void write_directory(struct life *f, const uint8_t *data, size_t size)
{
    CHECK(!status_failed(files_make_directories(f->files, DIRECTORY)));
    while (size > 3) {
        const char *name = names[data[0] % (sizeof names / sizeof names[0])];
        size_t length = load_be16(data + 1);

        data += 3;
        size -= 3;
        if (length > size)
            length = size;
        write_file(f, name, data, length);
        data += length;
        size -= length;
    }
}

/* ---- the log ---- */

static bool open_log(struct life *f, enum log_trust trust)
{
    struct log_recovery_report report;
    const struct log_args args = {.files = f->files,
                                  .clock = &f->clock,
                                  .directory = DIRECTORY,
                                  .topic_id = {{1}},
                                  .config = &f->config,
                                  .producer_id_expiration_ms = 86400000,
                                  .scratch = f->scratch,
                                  .recovery_point = f->recovery_point,
                                  .high_watermark = f->recovery_point,
                                  .log_start_offset =
                                      f->how & START_HIGH ? f->recovery_point / 2 : 0,
                                  .trust = trust};

    if (status_failed(log_open(&args, &f->log, &report))) {
        f->log = NULL;
        return false;
    }
    CHECK(log_start_offset(f->log) >= 0);
    CHECK(log_start_offset(f->log) <= log_end_offset(f->log));
    CHECK(log_flushed_end_offset(f->log) <= log_end_offset(f->log));
    CHECK(log_size_bytes(f->log) >= 0);
    return true;
}

/* Where the next read starts; `offset` when these bytes hold nothing further. */
static int64_t next_offset(const struct life *f, const uint8_t *data, size_t size, int64_t offset)
{
    while (size >= RECORD_BATCH_HEADER_BYTES) {
        int64_t batch = record_batch_size_bytes(data);

        if (batch < RECORD_BATCH_HEADER_BYTES || (uint64_t)batch > size)
            break;
        if (record_batch_last_offset(data) >= offset)
            offset = record_batch_last_offset(data) + 1;
        data += batch;
        size -= (size_t)batch;
    }
    CHECK(size == 0 || !f->all_checked);
    return offset;
}

static void read_all(struct life *f)
{
    int64_t offset = log_start_offset(f->log);

    for (int i = 0; i < READS_MAX && offset < log_end_offset(f->log); i++) {
        struct log_read_args args = {offset, log_end_offset(f->log), 300, true};
        struct log_slice slice = {0};
        int64_t next = offset;
        uint8_t *bytes;

        if (status_failed(log_read(f->log, &args, &slice)))
            return;
        if (slice.cold && status_failed(log_slice_locate(&slice)))
            slice.size = 0;
        bytes = malloc(slice.size + 1);
        CHECK(bytes);
        if (slice.size && !status_failed(log_slice_read(&slice, 0, bytes, slice.size, NULL)))
            next = next_offset(f, bytes, slice.size, offset);
        free(bytes);
        log_slice_release(&slice);
        if (next == offset)
            return;
        offset = next;
    }
}

static void run_lookup(struct log_lookup *k)
{
    struct log_time_offset found;
    bool cold;

    CHECK(k);
    (void)log_lookup_run(k, &cold, &found);
    (void)log_lookup_run(k, NULL, &found);
    log_lookup_free(k);
}

static void look_up(struct life *f)
{
    const int64_t end = log_end_offset(f->log);
    struct log_aborted *aborted;
    struct arena arena;
    size_t count;
    int32_t epoch;
    int64_t epoch_end;

    run_lookup(log_lookup_max_timestamp(f->log));
    for (int64_t time = -1; time < 2000; time += 500)
        run_lookup(log_lookup_time(f->log, time, end));
    arena_init(&arena, ARENA_BYTES);
    (void)log_aborted_transactions(f->log, 0, end, &arena, &aborted, &count);
    arena_free(&arena);
    for (int32_t e = -1; e < 5; e++)
        log_end_of_epoch(f->log, e, &epoch, &epoch_end);
    (void)log_epoch_of_offset(f->log, end / 2);
    log_high_watermark_moved(f->log, end);
    CHECK(log_first_unstable_offset(f->log) <= end);
}

static void verify(struct life *f)
{
    struct log_verify *v = log_verify_begin(f->log);
    struct status st = STATUS_OK;
    bool done = false;

    if (!v)
        return;
    while (!done && !status_failed(st))
        st = log_verify_run(v, 500, &done);
    log_verify_end(f->log, v, st);
}

static void append(struct life *f)
{
    struct record_batch_builder b;
    struct bytes_mut batch = {0};
    struct log_appended out;

    record_batch_builder_init(&b);
    record_batch_builder_begin(&b, &RECORD_BATCH_HEAD_PLAIN);
    for (int i = 0; i < 3; i++)
        record_batch_builder_append(
            &b, &(struct record_content){.timestamp_ms = f->now_ms,
                                         .value = {(const uint8_t *)"value", 5}});
    CHECK(!status_failed(record_batch_builder_finish(&b, NULL, &batch)));
    for (int i = 0; i < 10; i++)
        (void)log_append_as_leader(f->log, batch, 1 << 20, LOG_ORIGIN_CLIENT, &out, NULL);
    record_batch_builder_free(&b);
}

static void flush(struct life *f)
{
    struct log_flush flush = {0};

    if (log_flush_begin(f->log, &flush))
        log_flush_end(f->log, &flush, log_flush_run(&flush));
}

static void shrink(struct life *f)
{
    const int64_t middle = (log_start_offset(f->log) + log_end_offset(f->log)) / 2;
    struct log_ages *ages;
    struct log_garbage *garbage;

    if (f->how & RAISE_START)
        (void)log_raise_start_offset(f->log, middle);
    if (f->how & TRUNCATE)
        (void)log_truncate_to(f->log, middle > log_start_offset(f->log) ? middle
                                                                        : log_start_offset(f->log));
    f->config.retention_ms = f->how & RETIRE ? 1 : -1;
    (void)log_maintain(f->log, log_end_offset(f->log), f->now_ms);
    while ((ages = log_ages_begin(f->log, log_end_offset(f->log), f->now_ms))) {
        struct status st = log_ages_run(ages);

        log_ages_end(f->log, ages, st);
        (void)log_maintain(f->log, log_end_offset(f->log), f->now_ms);
    }
    garbage = log_take_garbage(f->log, INT64_MAX);
    if (garbage)
        (void)log_garbage_run(garbage);
}

static void live(struct life *f)
{
    read_all(f);
    look_up(f);
    verify(f);
    append(f);
    flush(f);
    shrink(f);
    append(f);
    read_all(f);
    look_up(f);
    CHECK(log_start_offset(f->log) <= log_end_offset(f->log));
}

/* What is closed cleanly comes back as it was. */
static void end_and_open_again(struct life *f)
{
    const bool clean = f->how & CLOSE_CLEANLY && !log_offline(f->log);
    const int64_t start = log_start_offset(f->log), end = log_end_offset(f->log);
    const struct status st = log_close(f->log, clean);

    f->log = NULL;
    f->how &= (uint8_t)~START_HIGH;
    f->recovery_point = clean ? end : 0;
    f->all_checked |= !clean;
    if (!open_log(f, clean ? LOG_TRUST_CLEAN : LOG_TRUST_OTHER_BOOT)) {
        CHECK(!clean || status_failed(st) || !f->all_checked); /* else it may hold anything */
        return;
    }
    if (clean && !status_failed(st) && f->all_checked) {
        CHECK(log_end_offset(f->log) == end);
        CHECK(log_start_offset(f->log) <= start); /* the checkpoint has it, and it is not here */
    }
    live(f);
    log_close(f->log, false);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct life f = {.clock = {wall_ms, monotonic_us}, .now_ms = 1000000};

    if (size < 2)
        return 0;
    f.how = data[0];
    f.recovery_point = data[1];
    f.config = (struct log_config){
        .retention_ms = -1,
        .retention_bytes = -1,
        .segment_ms = 1000000,
        .segment_bytes = 1024,
        .segment_index_bytes = 4096,
        .index_interval_bytes = 100,
        .max_message_bytes = 64 * 1024,
        .max_decompressed_message_bytes = 1 << 20,
        .file_delete_delay_ms = 0,
        .flush_messages = INT64_MAX,
        .flush_ms = INT64_MAX,
        .message_timestamp_before_max_ms = INT64_MAX,
        .message_timestamp_after_max_ms = INT64_MAX,
        .cleanup_delete = true,
        .compression_type = LOG_COMPRESSION_PRODUCER,
    };
    f.files = files_sim_create(&f.clock);
    f.scratch = compression_scratch_new();
    CHECK(f.scratch);
    f.all_checked = (f.how & SEES_TRUST) == LOG_TRUST_OTHER_BOOT && f.recovery_point == 0;
    write_directory(&f, data + 2, size - 2);
    if (open_log(&f, (enum log_trust)((f.how & SEES_TRUST) % 3))) {
        live(&f);
        end_and_open_again(&f);
    }
    compression_scratch_free(f.scratch);
    files_sim_free(f.files);
    return 0;
}
