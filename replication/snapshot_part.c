/* Snapshots that go from node to node as bytes (FetchSnapshot, KIP-630). */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replication/snapshot_file.h"

struct snapshot_part {
    struct files *files;
    char *directory;
    char *path;
    char *part;
    struct file *file;
    int64_t size;
};

static void part_free(struct snapshot_part *p)
{
    free(p->directory);
    free(p->path);
    free(p->part);
    free(p);
}

struct status snapshot_part_open(struct files *fs, const char *directory,
                                 struct raft_snapshot_id id, struct snapshot_part **out)
{
    struct snapshot_part *p = calloc(1, sizeof *p);
    struct status st = status_errno(ENOMEM, "open snapshot part");
    char name[SNAPSHOT_NAME_BYTES];

    if (!p)
        return st;
    snapshot_name_format(id, name);
    p->files = fs;
    p->directory = strdup(directory);
    if (asprintf(&p->path, "%s/%s", directory, name) < 0)
        p->path = NULL;
    if (asprintf(&p->part, "%s/%s.part", directory, name) < 0)
        p->part = NULL;
    if (p->directory && p->path && p->part)
        st = fs->ops->open(fs, p->part, FILE_WRITE | FILE_CREATE | FILE_TRUNCATE, &p->file);
    if (status_failed(st)) {
        part_free(p);
        return st;
    }
    *out = p;
    return STATUS_OK;
}

struct status snapshot_part_append(struct snapshot_part *p, struct bytes piece)
{
    struct iovec part = {(void *)(uintptr_t)piece.data, piece.size};
    struct status st = p->files->ops->write(p->files, p->file, &part, 1, p->size);

    if (!status_failed(st))
        p->size += (int64_t)piece.size;
    return st;
}

static struct status check_whole(struct snapshot_part *p)
{
    struct snapshot_reader *r;
    struct status st = snapshot_reader_open_path(p->files, p->part, &r);
    const struct bytes *values;
    size_t count = 1;

    if (status_failed(st))
        return st;
    while (!status_failed(st) && count > 0)
        st = snapshot_reader_next(r, &values, &count);
    snapshot_reader_close(r);
    return st;
}

struct status snapshot_part_finish(struct snapshot_part *p)
{
    struct status st = p->files->ops->sync(p->files, p->file);

    if (!status_failed(st))
        st = check_whole(p);
    if (status_failed(st)) {
        snapshot_part_abort(p);
        return st;
    }
    p->files->ops->close(p->files, p->file);
    st = p->files->ops->make_read_only(p->files, p->part);
    if (!status_failed(st))
        st = p->files->ops->rename(p->files, p->part, p->path);
    if (status_failed(st))
        p->files->ops->remove(p->files, p->part);
    else
        st = p->files->ops->sync_directory(p->files, p->directory);
    part_free(p);
    return st;
}

void snapshot_part_abort(struct snapshot_part *p)
{
    if (!p)
        return;
    p->files->ops->close(p->files, p->file);
    p->files->ops->remove(p->files, p->part); /* else the next start does it */
    part_free(p);
}

static struct status read_at(struct files *fs, struct file *f, struct snapshot_piece *piece)
{
    struct status st = fs->ops->size(fs, f, &piece->snapshot_size);
    int64_t left = piece->snapshot_size - piece->position;

    if (status_failed(st))
        return st;
    if (piece->position < 0 || left <= 0)
        return status_error(KERR_POSITION_OUT_OF_RANGE, "read snapshot piece");
    piece->data = malloc((int64_t)piece->size_max < left ? piece->size_max : (size_t)left);
    if (!piece->data)
        return status_errno(ENOMEM, "read snapshot piece");
    st = fs->ops->read(fs, f, piece->data,
                       (int64_t)piece->size_max < left ? piece->size_max : (size_t)left,
                       piece->position, &piece->size);
    if (status_failed(st)) {
        free(piece->data);
        piece->data = NULL;
    }
    return st;
}

struct status snapshot_read_piece(struct files *fs, const char *directory,
                                  struct raft_snapshot_id id, struct snapshot_piece *piece)
{
    char name[SNAPSHOT_NAME_BYTES];
    char *path;
    struct file *file;
    struct status st;

    snapshot_name_format(id, name);
    piece->data = NULL;
    piece->size = 0;
    if (asprintf(&path, "%s/%s", directory, name) < 0)
        return status_errno(ENOMEM, "read snapshot piece");
    st = fs->ops->open(fs, path, FILE_READ_ONLY, &file);
    free(path);
    if (status_failed(st))
        return st;
    st = read_at(fs, file, piece);
    fs->ops->close(fs, file);
    return st;
}
