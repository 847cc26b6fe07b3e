#ifndef TESTS_UNIT_STORAGE_LOG_WORLD_H
#define TESTS_UNIT_STORAGE_LOG_WORLD_H

/* A log on a simulated disk, in words of what a test does with it. */

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/clock.h"
#include "protocol/record_batch_build.h"
#include "storage/files.h"
#include "storage/log.h"
#include "storage/log_config.h"

#define LOG_DIRECTORY "data/orders-0"

struct log_world {
    struct files *files;
    struct clock clock;
    int64_t now_ms;
    struct log_config config;
    struct compression_scratch *scratch;
    struct record_batch_builder builder;
    struct log *log;
    struct log_recovery_report report;
    int64_t recovery_point;
    int64_t high_watermark; /* as checkpointed; all there is, unless a test says otherwise */
    int64_t log_start_offset;
    int64_t cleaned_offset;
    bool page_cache_is_enough;
    uint64_t random;
    int32_t leader_epoch; /* of what is appended */
    int32_t sequence;     /* for tests that append as one producer */
    int16_t epoch;
    int steps;
};

/* A world without a log; small segments and indexes so that a test meets their ends. */
void world_begin(struct log_world *w);
void world_end(struct log_world *w); /* closes the log, not cleanly */

struct status world_try_open(struct log_world *w, enum log_trust trust);
void world_open(struct log_world *w, enum log_trust trust);
void world_close(struct log_world *w, bool clean);

/* A batch of `count` records; the value of each is `size` bytes that depend on its offset to be. */
struct bytes_mut world_batch(struct log_world *w, int count, size_t size, int64_t timestamp_ms);
struct bytes_mut world_producer_batch(struct log_world *w, int64_t producer_id, int16_t epoch,
                                      int32_t sequence, int count, uint16_t attributes);
struct bytes_mut world_marker(struct log_world *w, int64_t producer_id, int16_t epoch, bool abort);

/* Appends as leader. */
struct status world_try_append(struct log_world *w, struct bytes_mut batch,
                               struct log_appended *out);
int64_t world_append(struct log_world *w, int count, size_t size); /* base offset */
struct status world_try_flush(struct log_world *w);
void world_flush(struct log_world *w);

/* Reads [offset, log end) in slices; checks that batches are valid and follow one another from
 * `offset` on, and that each record's value is what world_batch made. Returns the offset behind the
 * last. */
int64_t world_read_all(struct log_world *w, int64_t offset);
/* One slice; asserts success. Located in the pool's way when cold. */
struct log_slice world_read(struct log_world *w, int64_t offset, int64_t end_offset,
                            size_t max_bytes, bool min_one);

/* Whole content of a file of the log's directory; *size -1 when there is none. free() it. */
uint8_t *world_file(struct log_world *w, const char *name, int64_t *size);
uint64_t world_random(struct log_world *w, uint64_t below);

#endif
