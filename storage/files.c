/* What is the same for every file system: whole files, atomic replacement, trees. */

#include "storage/files.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"

static struct status read_all(struct files *fs, struct file *f, size_t size_max,
                              struct bytes_mut *out)
{
    int64_t size;
    struct status st = fs->ops->size(fs, f, &size);
    uint8_t *data;
    size_t got;

    if (status_failed(st))
        return st;
    if ((uint64_t)size > size_max)
        return status_errno(EFBIG, "read a small file");
    data = malloc((size_t)size + 1);
    if (!data)
        return status_errno(ENOMEM, "read a small file");
    st = fs->ops->read(fs, f, data, (size_t)size, 0, &got);
    if (status_failed(st)) {
        free(data);
        return st;
    }
    *out = (struct bytes_mut){data, got};
    return STATUS_OK;
}

struct status files_read_whole(struct files *fs, const char *path, size_t size_max,
                               struct bytes_mut *out)
{
    struct file *f;
    struct status st = fs->ops->open(fs, path, FILE_READ_ONLY, &f);

    if (status_failed(st))
        return st;
    st = read_all(fs, f, size_max, out);
    fs->ops->close(fs, f);
    return st;
}

/* The directory part of a path, into a buffer of PATH_MAX bytes. */
static void parent_of(const char *path, char out[PATH_MAX])
{
    const char *slash = strrchr(path, '/');
    size_t size;

    if (!slash) {
        strcpy(out, ".");
        return;
    }
    size = slash == path ? 1 : (size_t)(slash - path);
    CHECK(size < PATH_MAX);
    memcpy(out, path, size);
    out[size] = '\0';
}

static struct status write_new(struct files *fs, const char *path, struct bytes content)
{
    const struct iovec part = {(void *)(uintptr_t)content.data, content.size};
    struct file *f;
    struct status st = fs->ops->open(fs, path, FILE_WRITE | FILE_CREATE | FILE_TRUNCATE, &f);

    if (status_failed(st))
        return st;
    if (content.size > 0)
        st = fs->ops->write(fs, f, &part, 1, 0);
    if (!status_failed(st))
        st = fs->ops->sync(fs, f);
    fs->ops->close(fs, f);
    return st;
}

struct status files_replace(struct files *fs, const char *path, struct bytes content)
{
    char temporary[PATH_MAX], directory[PATH_MAX];
    struct status st;
    int size = snprintf(temporary, sizeof temporary, "%s.tmp", path);

    if (size < 0 || (size_t)size >= sizeof temporary)
        return status_errno(ENAMETOOLONG, "replace a file");
    st = write_new(fs, temporary, content);
    if (status_failed(st))
        return st;
    st = fs->ops->rename(fs, temporary, path);
    if (status_failed(st))
        return st;
    parent_of(path, directory);
    return fs->ops->sync_directory(fs, directory);
}

/* Makes one directory; its entry in the parent becomes durable. */
static struct status make_one(struct files *fs, const char *path)
{
    char parent[PATH_MAX];
    struct file_stat stat;
    struct status st = fs->ops->make_directory(fs, path);

    if (status_failed(st)) {
        if (st.sys_errno != EEXIST)
            return st;
        st = fs->ops->stat(fs, path, &stat);
        if (!status_failed(st) && !stat.is_directory)
            return status_errno(ENOTDIR, "make a directory");
        return st;
    }
    parent_of(path, parent);
    return fs->ops->sync_directory(fs, parent);
}

struct status files_make_directories(struct files *fs, const char *path)
{
    char prefix[PATH_MAX];
    size_t size = strlen(path);
    struct status st;

    if (size >= sizeof prefix)
        return status_errno(ENAMETOOLONG, "make a directory");
    while (size > 1 && path[size - 1] == '/')
        size--;
    memcpy(prefix, path, size);
    prefix[size] = '\0';
    for (size_t i = 1; i < size; i++) {
        if (prefix[i] != '/' || prefix[i - 1] == '/')
            continue;
        prefix[i] = '\0';
        st = make_one(fs, prefix);
        if (status_failed(st))
            return st;
        prefix[i] = '/';
    }
    return make_one(fs, prefix);
}

struct child {
    struct child *next;
    bool is_directory;
    char name[];
};

struct children {
    struct child *first;
    bool out_of_memory;
};

static void note_child(void *arg, const char *name, bool is_directory)
{
    struct children *all = arg;
    size_t size = strlen(name) + 1;
    struct child *c = malloc(sizeof *c + size);

    if (!c) {
        all->out_of_memory = true;
        return;
    }
    memcpy(c->name, name, size);
    c->is_directory = is_directory;
    c->next = all->first;
    all->first = c;
}

/* What is done to each entry of a directory; what is gone already is fine. */
typedef struct status entry_act(struct files *fs, const char *path, bool is_directory);

static struct status remove_entry(struct files *fs, const char *path, bool is_directory)
{
    return is_directory ? files_remove_tree(fs, path) : fs->ops->remove(fs, path);
}

static struct status drop_entry(struct files *fs, const char *path, bool is_directory)
{
    return is_directory ? files_drop_cached_tree(fs, path) : fs->ops->drop_cached(fs, path);
}

/* Takes the list with it. Goes on after a failure, so that as much as can be is done; answers the
 * first. */
static struct status each_child(struct files *fs, const char *path, struct children *all,
                                entry_act *act)
{
    struct status result = STATUS_OK;
    char below[PATH_MAX];

    if (all->out_of_memory)
        result = status_errno(ENOMEM, "list a directory");
    while (all->first) {
        struct child *c = all->first;
        struct status st;
        int size = snprintf(below, sizeof below, "%s/%s", path, c->name);

        if (size < 0 || (size_t)size >= sizeof below)
            st = status_errno(ENAMETOOLONG, "path below a directory");
        else
            st = act(fs, below, c->is_directory);
        if (status_failed(st) && st.sys_errno != ENOENT && !status_failed(result))
            result = st;
        all->first = c->next;
        free(c);
    }
    return result;
}

struct status files_remove_tree(struct files *fs, const char *path)
{
    struct children all = {0};
    struct status listed = fs->ops->list(fs, path, note_child, &all);
    struct status st = each_child(fs, path, &all, remove_entry);

    if (status_failed(listed))
        return listed.sys_errno == ENOENT ? STATUS_OK : listed;
    if (status_failed(st))
        return st;
    st = fs->ops->remove_directory(fs, path);
    return status_failed(st) && st.sys_errno == ENOENT ? STATUS_OK : st;
}

struct status files_drop_cached_tree(struct files *fs, const char *path)
{
    struct children all = {0};
    struct status listed = fs->ops->list(fs, path, note_child, &all);
    struct status st = each_child(fs, path, &all, drop_entry);

    return status_failed(listed) ? listed : st;
}
