/* Names of snapshots, and how they come and go in a directory. Content: snapshot_write.c,
 * snapshot_read.c. */

#include "replication/snapshot_file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SUFFIX ".checkpoint"

void snapshot_name_format(struct raft_snapshot_id id, char name[SNAPSHOT_NAME_BYTES])
{
    snprintf(name, SNAPSHOT_NAME_BYTES, "%020" PRId64 "-%010" PRId32 SUFFIX, id.end_offset,
             id.epoch);
}

static bool parse_digits(const char *text, size_t count, int64_t max, int64_t *out)
{
    int64_t v = 0;

    for (size_t i = 0; i < count; i++) {
        int digit = text[i] - '0';

        if (digit < 0 || digit > 9 || v > (max - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    *out = v;
    return true;
}

bool snapshot_name_parse(struct str name, struct raft_snapshot_id *out)
{
    int64_t end_offset;
    int64_t epoch;

    if (name.size != 31 + sizeof SUFFIX - 1 || name.data[20] != '-' ||
        memcmp(name.data + 31, SUFFIX, sizeof SUFFIX - 1) != 0 ||
        !parse_digits(name.data, 20, INT64_MAX, &end_offset) ||
        !parse_digits(name.data + 21, 10, INT32_MAX, &epoch))
        return false;
    *out = (struct raft_snapshot_id){end_offset, (int32_t)epoch};
    return true;
}

#define LEFT_OVER_MAX        64 /* removed at one start; more wait for the next one */
#define LEFT_OVER_NAME_BYTES 128

struct listing {
    struct raft_snapshot_id *ids;
    size_t count;
    char (*left_over)[LEFT_OVER_NAME_BYTES];
    size_t left_over_count;
};

static int by_end(const void *a, const void *b)
{
    const struct raft_snapshot_id *x = a;
    const struct raft_snapshot_id *y = b;

    if (x->end_offset != y->end_offset)
        return x->end_offset < y->end_offset ? -1 : 1;
    return (x->epoch > y->epoch) - (x->epoch < y->epoch);
}

static void add_snapshot(struct listing *l, struct raft_snapshot_id id)
{
    size_t at = l->count;

    if (l->count == SNAPSHOTS_MAX) { /* forget the oldest */
        if (by_end(&id, &l->ids[0]) < 0)
            return;
        memmove(l->ids, l->ids + 1, (SNAPSHOTS_MAX - 1) * sizeof l->ids[0]);
        at = --l->count;
    }
    for (; at > 0 && by_end(&l->ids[at - 1], &id) > 0; at--)
        l->ids[at] = l->ids[at - 1];
    l->ids[at] = id;
    l->count++;
}

static bool ends_with(const char *name, const char *suffix)
{
    size_t size = strlen(name);
    size_t suffix_size = strlen(suffix);

    return size >= suffix_size && strcmp(name + size - suffix_size, suffix) == 0;
}

static void visit(void *arg, const char *name, bool is_directory)
{
    struct listing *l = arg;
    struct raft_snapshot_id id;
    size_t size = strlen(name);

    if (is_directory)
        return;
    if (snapshot_name_parse((struct str){name, size}, &id)) {
        add_snapshot(l, id);
    } else if (size < LEFT_OVER_NAME_BYTES && l->left_over_count < LEFT_OVER_MAX &&
               (ends_with(name, SUFFIX ".part") || ends_with(name, SUFFIX ".deleted"))) {
        memcpy(l->left_over[l->left_over_count++], name, size + 1); /* Kafka's have random names */
    }
}

static char *join(const char *directory, const char *name)
{
    char *path;

    return asprintf(&path, "%s/%s", directory, name) < 0 ? NULL : path;
}

static struct status remove_named(struct files *fs, const char *directory, const char *name)
{
    char *path = join(directory, name);
    struct status st;

    if (!path)
        return status_errno(ENOMEM, "remove snapshot");
    st = fs->ops->remove(fs, path);
    free(path);
    return st.sys_errno == ENOENT ? STATUS_OK : st;
}

struct status snapshot_list(struct files *fs, const char *directory,
                            struct raft_snapshot_id out[SNAPSHOTS_MAX], size_t *count)
{
    char left_over[LEFT_OVER_MAX][LEFT_OVER_NAME_BYTES];
    struct listing l = {.ids = out, .left_over = left_over};
    struct status st = fs->ops->list(fs, directory, visit, &l);

    if (st.sys_errno == ENOENT)
        st = STATUS_OK;
    for (size_t i = 0; i < l.left_over_count && !status_failed(st); i++)
        st = remove_named(fs, directory, left_over[i]);
    *count = l.count;
    return st;
}

struct status snapshot_remove(struct files *fs, const char *directory, struct raft_snapshot_id id)
{
    char name[SNAPSHOT_NAME_BYTES];
    char doomed[SNAPSHOT_NAME_BYTES + sizeof ".deleted"];
    char *from;
    char *to;
    struct status st = status_errno(ENOMEM, "remove snapshot");

    snapshot_name_format(id, name);
    snprintf(doomed, sizeof doomed, "%s.deleted", name);
    from = join(directory, name);
    to = join(directory, doomed);
    if (from && to) {
        st = fs->ops->rename(fs, from, to);
        if (!status_failed(st))
            st = remove_named(fs, directory, doomed);
    }
    free(from);
    free(to);
    return st;
}
