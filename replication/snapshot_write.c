#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base/arena.h"
#include "protocol/record_batch_build.h"
#include "replication/control_records.h"
#include "replication/raft_node.h"
#include "replication/snapshot_file.h"

#define HEAD_BYTES_MAX (1024 * 1024) /* of the header's arena */

struct snapshot_writer {
    struct files *files;
    struct clock *clock;
    char *directory;
    char *path;
    char *part;
    struct file *file;
    int64_t size;        /* written */
    int64_t next_offset; /* inside the snapshot */
    bool batch_open;
    struct record_batch_builder builder;
    struct status status;
};

static void writer_free(struct snapshot_writer *w)
{
    record_batch_builder_free(&w->builder);
    free(w->directory);
    free(w->path);
    free(w->part);
    free(w);
}

/* Snapshots carry leader epoch 0, whatever their own is, as Kafka writes them. */
static void begin_batch(struct snapshot_writer *w, uint16_t attributes)
{
    struct record_batch_head head = RECORD_BATCH_HEAD_PLAIN;

    head.base_offset = w->next_offset;
    head.leader_epoch = 0;
    head.attributes = attributes;
    record_batch_builder_begin(&w->builder, &head);
    w->batch_open = true;
}

static void end_batch(struct snapshot_writer *w)
{
    struct bytes_mut batch;
    struct iovec part;

    if (!w->batch_open || status_failed(w->status))
        return;
    w->batch_open = false;
    w->status = record_batch_builder_finish(&w->builder, NULL, &batch);
    if (status_failed(w->status))
        return;
    w->next_offset = record_batch_last_offset(batch.data) + 1;
    part = (struct iovec){batch.data, batch.size};
    w->status = w->files->ops->write(w->files, w->file, &part, 1, w->size);
    w->size += (int64_t)batch.size;
}

static void append_control(struct snapshot_writer *w, enum control_type type, int64_t now_ms,
                           struct bytes value)
{
    if (!value.data)
        w->status = status_errno(ENOMEM, "snapshot control record");
    else
        record_batch_builder_append_control(&w->builder, type, now_ms, value);
}

static void write_header(struct snapshot_writer *w, const struct snapshot_write_args *args)
{
    int64_t now_ms = clock_wall_ms(w->clock);
    struct arena a;

    arena_init(&a, HEAD_BYTES_MAX);
    begin_batch(w, RECORD_BATCH_CONTROL);
    append_control(w, CONTROL_SNAPSHOT_HEADER, now_ms,
                   control_snapshot_header(&a, args->last_contained_timestamp_ms));
    if (args->voters) {
        append_control(w, CONTROL_KRAFT_VERSION, now_ms, control_kraft_version(&a, 1));
        append_control(w, CONTROL_KRAFT_VOTERS, now_ms, control_voters(&a, args->voters));
    }
    end_batch(w);
    arena_free(&a);
}

static bool make_paths(struct snapshot_writer *w, const struct snapshot_write_args *args)
{
    char name[SNAPSHOT_NAME_BYTES];

    snapshot_name_format(args->id, name);
    w->directory = strdup(args->directory);
    if (asprintf(&w->path, "%s/%s", args->directory, name) < 0)
        w->path = NULL;
    if (asprintf(&w->part, "%s/%s.part", args->directory, name) < 0)
        w->part = NULL;
    return w->directory && w->path && w->part;
}

struct status snapshot_writer_open(const struct snapshot_write_args *args,
                                   struct snapshot_writer **out)
{
    struct snapshot_writer *w = calloc(1, sizeof *w);
    struct status st = status_errno(ENOMEM, "open snapshot");

    if (!w)
        return st;
    record_batch_builder_init(&w->builder);
    w->files = args->files;
    w->clock = args->clock;
    if (make_paths(w, args))
        st = w->files->ops->open(w->files, w->part, FILE_WRITE | FILE_CREATE | FILE_TRUNCATE,
                                 &w->file);
    if (status_failed(st)) {
        writer_free(w);
        return st;
    }
    write_header(w, args);
    *out = w;
    return STATUS_OK;
}

void snapshot_writer_append(struct snapshot_writer *w, const struct bytes *values, size_t count)
{
    int64_t now_ms = clock_wall_ms(w->clock);

    for (size_t i = 0; i < count && !status_failed(w->status); i++) {
        struct record_content r = {.timestamp_ms = now_ms, .value = values[i]};
        size_t room = record_size_bytes_max(&r);

        if (room > RAFT_BATCH_BYTES_MAX - RECORD_BATCH_HEADER_BYTES) {
            w->status = status_error(KERR_RECORD_LIST_TOO_LARGE, "snapshot record");
            return;
        }
        if (w->batch_open && record_batch_builder_size(&w->builder) + room > RAFT_BATCH_BYTES_MAX)
            end_batch(w);
        if (!w->batch_open)
            begin_batch(w, 0);
        record_batch_builder_append(&w->builder, &r);
    }
}

static struct status write_footer(struct snapshot_writer *w)
{
    struct arena a;

    end_batch(w);
    arena_init(&a, 4096);
    begin_batch(w, RECORD_BATCH_CONTROL);
    append_control(w, CONTROL_SNAPSHOT_FOOTER, clock_wall_ms(w->clock),
                   control_snapshot_footer(&a));
    end_batch(w);
    arena_free(&a);
    return w->status;
}

struct status snapshot_writer_finish(struct snapshot_writer *w)
{
    struct status st = write_footer(w);

    if (!status_failed(st))
        st = w->files->ops->sync(w->files, w->file);
    if (status_failed(st)) {
        snapshot_writer_abort(w);
        return st;
    }
    w->files->ops->close(w->files, w->file);
    st = w->files->ops->make_read_only(w->files, w->part);
    if (!status_failed(st))
        st = w->files->ops->rename(w->files, w->part, w->path);
    if (status_failed(st))
        w->files->ops->remove(w->files, w->part);
    else
        st = w->files->ops->sync_directory(w->files, w->directory);
    writer_free(w);
    return st;
}

void snapshot_writer_abort(struct snapshot_writer *w)
{
    w->files->ops->close(w->files, w->file);
    w->files->ops->remove(w->files, w->part); /* else the next start does it */
    writer_free(w);
}
