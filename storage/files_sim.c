/* The file interface in memory: calls, handles and faults; the disk is files_sim_disk.c. See
 * files_sim.h. */

#include "storage/files_sim.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "protocol/base/check.h"
#include "storage/executor.h"
#include "storage/files_sim_disk.h"

struct file {
    struct sim_inode *inode;
    uint64_t process;      /* that opened it; only it may use it */
    uint64_t failed_syncs; /* of the inode: what it knows of */
    bool writable;
    char path[]; /* as opened, for faults */
};

struct fault {
    struct fault *prev, *next;
    struct files_fault plan; /* prefix owned */
    uint64_t seen;
};

struct files_sim {
    struct files files;
    pthread_mutex_t lock;
    struct clock *clock;
    struct sim_disk disk;
    struct fault *faults;
    uint64_t process; /* counts from 1; a crash or kill begins a new one */
    uint64_t cold_round;
    bool cold;
    size_t open_files;
    uint64_t calls[FILES_CALL_COUNT];
};

static struct files_sim *sim(struct files *fs)
{
    return CONTAINER_OF(fs, struct files_sim, files);
}

/* ---- entering and leaving a call ---- */

static bool matches(const struct fault *f, enum files_call call, const char *path)
{
    return (f->plan.call == FILES_CALL_ANY || f->plan.call == call) &&
           (!f->plan.prefix || strncmp(path, f->plan.prefix, strlen(f->plan.prefix)) == 0);
}

/* Counts the call, and answers the errno it is to fail with; 0: none. */
static int count_call(struct files_sim *s, enum files_call call, const char *path, bool *partial)
{
    struct fault *f;
    int error = 0;

    s->calls[call]++;
    DL_FOREACH(s->faults, f)
    {
        if (!matches(f, call, path))
            continue;
        f->seen++;
        if (error || f->seen <= f->plan.after ||
            (f->plan.times && f->seen > f->plan.after + f->plan.times))
            continue;
        error = f->plan.sys_errno;
        if (partial)
            *partial = f->plan.partial;
    }
    return error;
}

/* Takes the lock. 0, or the errno to fail with; either way leave() follows. */
static int enter(struct files_sim *s, enum files_call call, const char *path)
{
    pthread_mutex_lock(&s->lock);
    return count_call(s, call, path, NULL);
}

static int enter_with(struct files_sim *s, enum files_call call, const struct file *f)
{
    int error = enter(s, call, f->path);

    return f->process == s->process ? error : EBADF;
}

static struct status leave(struct files_sim *s, int error, const char *where)
{
    pthread_mutex_unlock(&s->lock);
    return error ? status_errno(error, where) : STATUS_OK;
}

static void touch(struct files_sim *s, struct sim_inode *i)
{
    i->mtime_ms = s->clock ? clock_wall_ms(s->clock) : 0;
    i->warm = s->cold_round;
}

/* ---- open and close ---- */

static struct file *handle_create(struct files_sim *s, struct sim_inode *inode, const char *path,
                                  bool writable)
{
    struct file *f = calloc(1, sizeof *f + strlen(path) + 1);

    CHECK(f != NULL);
    f->inode = inode;
    f->process = s->process;
    f->failed_syncs = inode->failed_syncs;
    f->writable = writable;
    strcpy(f->path, path);
    sim_hold(&s->disk, inode);
    s->open_files++;
    return f;
}

/* The inode to open, made when asked for; NULL with *error. */
static struct sim_inode *open_inode(struct files_sim *s, const char *path, int flags, int *error)
{
    struct str name;
    struct sim_inode *directory = sim_find_parent(&s->disk, path, &name, error);
    struct sim_inode *inode = NULL;

    if (!directory)
        return NULL;
    inode = name.size ? sim_child(directory, name) : directory;
    if (!inode && !(flags & FILE_CREATE)) {
        *error = ENOENT;
    } else if (!inode) {
        inode = sim_make(&s->disk, directory, name, false);
        touch(s, inode);
    } else if (flags & FILE_EXCLUSIVE) {
        *error = EEXIST;
    } else if (inode->is_directory) {
        *error = EISDIR;
    } else if (flags & FILE_TRUNCATE) {
        sim_resize(&s->disk, inode, 0);
        touch(s, inode);
    }
    return *error ? NULL : inode;
}

static struct status sim_file_open(struct files *fs, const char *path, int flags, struct file **out)
{
    struct files_sim *s = sim(fs);
    int error = enter(s, FILES_CALL_OPEN, path);
    struct sim_inode *inode = error ? NULL : open_inode(s, path, flags, &error);

    if (inode)
        *out = handle_create(s, inode, path, (flags & FILE_WRITE) != 0);
    return leave(s, error, "open a file");
}

static void sim_file_close(struct files *fs, struct file *f)
{
    struct files_sim *s = sim(fs);

    pthread_mutex_lock(&s->lock);
    sim_drop(&s->disk, f->inode);
    s->open_files--;
    pthread_mutex_unlock(&s->lock);
    free(f);
}

/* ---- bytes ---- */

static struct status sim_file_read(struct files *fs, struct file *f, void *buffer, size_t size,
                                   int64_t at, size_t *got)
{
    struct files_sim *s = sim(fs);
    int error = enter_with(s, FILES_CALL_READ, f);

    if (!error) {
        sim_read(f->inode, buffer, size, at, got);
        f->inode->warm = s->cold_round;
    }
    return leave(s, error, "read a file");
}

static struct status sim_file_read_nowait(struct files *fs, struct file *f, void *buffer,
                                          size_t size, int64_t at, size_t *got, bool *cold)
{
    struct files_sim *s = sim(fs);
    int error = enter_with(s, FILES_CALL_READ, f);

    *got = 0;
    *cold = s->cold && f->inode->warm != s->cold_round;
    if (!error && !*cold)
        sim_read(f->inode, buffer, size, at, got);
    return leave(s, error, "read a file");
}

static size_t parts_size(const struct iovec *parts, int part_count)
{
    size_t size = 0;

    for (int i = 0; i < part_count; i++)
        size += parts[i].iov_len;
    return size;
}

/* Writes at most `limit` bytes. */
static int write_parts(struct files_sim *s, struct file *f, const struct iovec *parts, int64_t at,
                       size_t limit)
{
    for (int i = 0; limit > 0; i++) {
        size_t size = parts[i].iov_len < limit ? parts[i].iov_len : limit;
        int error = size ? sim_write(&s->disk, f->inode, parts[i].iov_base, size, at) : 0;

        if (error)
            return error;
        at += (int64_t)size;
        limit -= size;
    }
    return 0;
}

static struct status sim_file_write(struct files *fs, struct file *f, const struct iovec *parts,
                                    int part_count, int64_t at)
{
    struct files_sim *s = sim(fs);
    size_t size = parts_size(parts, part_count);
    bool partial = false;
    int error;

    pthread_mutex_lock(&s->lock);
    error = count_call(s, FILES_CALL_WRITE, f->path, &partial);
    if (f->process != s->process || !f->writable)
        error = EBADF;
    if (!error)
        error = write_parts(s, f, parts, at, size);
    else if (partial && f->process == s->process)
        (void)write_parts(s, f, parts, at, size / 2);
    touch(s, f->inode);
    return leave(s, error, "write a file");
}

static struct status sim_file_size(struct files *fs, struct file *f, int64_t *out)
{
    struct files_sim *s = sim(fs);
    int error = enter_with(s, FILES_CALL_SIZE, f);

    if (!error)
        *out = f->inode->size;
    return leave(s, error, "take a file's size");
}

static struct status sim_file_truncate(struct files *fs, struct file *f, int64_t size)
{
    struct files_sim *s = sim(fs);
    int error = enter_with(s, FILES_CALL_TRUNCATE, f);

    if (!error && (!f->writable || size < 0))
        error = f->writable ? EINVAL : EBADF;
    if (!error) {
        sim_resize(&s->disk, f->inode, size);
        touch(s, f->inode);
    }
    return leave(s, error, "truncate a file");
}

/* Of bytes that another one's sync failed to write, Linux tells each handle once that was open
 * then. */
static struct status sim_file_sync(struct files *fs, struct file *f)
{
    struct files_sim *s = sim(fs);
    int error = enter_with(s, FILES_CALL_SYNC, f);

    if (!error) {
        sim_sync(f->inode);
        error = f->failed_syncs != f->inode->failed_syncs ? EIO : 0;
    } else if (f->process == s->process) {
        sim_fail_sync(f->inode);
    }
    f->failed_syncs = f->inode->failed_syncs;
    return leave(s, error, "sync a file");
}

static void sim_file_sync_start(struct files *fs, struct file *f, int64_t at, int64_t size)
{
    (void)fs;
    (void)f;
    (void)at;
    (void)size;
}

static struct status sim_file_drop_cached(struct files *fs, const char *path)
{
    struct files_sim *s = sim(fs);
    int error = enter(s, FILES_CALL_OPEN, path);
    struct sim_inode *i = error ? NULL : sim_find(&s->disk, path, &error);

    if (i && i->is_directory)
        error = EISDIR;
    else if (i)
        sim_drop_cached(&s->disk, i);
    return leave(s, error, "drop a file from memory");
}

static int sim_file_pin(struct files *fs, struct file *f)
{
    (void)fs;
    (void)f;
    return -1;
}

static void sim_file_unpin(struct files *fs, struct file *f)
{
    (void)fs;
    (void)f;
}

/* ---- names ---- */

static struct status sim_file_rename(struct files *fs, const char *from, const char *to)
{
    struct files_sim *s = sim(fs);
    int error = enter(s, FILES_CALL_RENAME, from);

    if (!error)
        error = sim_rename(&s->disk, from, to);
    return leave(s, error, "rename");
}

static struct status sim_file_remove(struct files *fs, const char *path)
{
    struct files_sim *s = sim(fs);
    int error = enter(s, FILES_CALL_REMOVE, path);

    if (!error)
        error = sim_remove(&s->disk, path, false);
    return leave(s, error, "remove a file");
}

/* Permissions are not simulated. */
static struct status sim_file_make_read_only(struct files *fs, const char *path)
{
    struct files_sim *s = sim(fs);
    int error = enter(s, FILES_CALL_STAT, path);

    if (!error)
        sim_find(&s->disk, path, &error);
    return leave(s, error, "make a file read-only");
}

static struct status sim_file_set_modified(struct files *fs, const char *path, int64_t mtime_ms)
{
    struct files_sim *s = sim(fs);
    int error = enter(s, FILES_CALL_STAT, path);
    struct sim_inode *inode = error ? NULL : sim_find(&s->disk, path, &error);

    if (inode)
        inode->mtime_ms = mtime_ms;
    return leave(s, error, "set a modification time");
}

static struct status sim_file_make_directory(struct files *fs, const char *path)
{
    struct files_sim *s = sim(fs);
    int error = enter(s, FILES_CALL_MAKE_DIRECTORY, path);
    struct str name;
    struct sim_inode *parent = error ? NULL : sim_find_parent(&s->disk, path, &name, &error);

    if (parent && (name.size == 0 || sim_child(parent, name)))
        error = EEXIST;
    else if (parent)
        touch(s, sim_make(&s->disk, parent, name, true));
    return leave(s, error, "make a directory");
}

static struct status sim_file_remove_directory(struct files *fs, const char *path)
{
    struct files_sim *s = sim(fs);
    int error = enter(s, FILES_CALL_REMOVE, path);

    if (!error)
        error = sim_remove(&s->disk, path, true);
    return leave(s, error, "remove a directory");
}

/* The visitor runs without the lock, and may change the directory: it sees the names of when it was
 * called. */
struct listed {
    struct listed *next;
    bool is_directory;
    char name[];
};

static struct listed *copy_names(const struct sim_inode *directory)
{
    struct listed *first = NULL, **last = &first;

    for (const struct sim_entry *e = directory->entries; e; e = e->hh.next) {
        size_t size = strlen(e->name) + 1;

        if (!e->now)
            continue;
        *last = calloc(1, sizeof **last + size);
        CHECK(*last != NULL);
        memcpy((*last)->name, e->name, size);
        (*last)->is_directory = e->now->is_directory;
        last = &(*last)->next;
    }
    return first;
}

static struct status sim_file_list(struct files *fs, const char *path, files_visit *visit,
                                   void *arg)
{
    struct files_sim *s = sim(fs);
    int error = enter(s, FILES_CALL_LIST, path);
    const struct sim_inode *directory = error ? NULL : sim_find(&s->disk, path, &error);
    struct listed *names = NULL, *next;
    struct status st;

    if (directory && !directory->is_directory)
        error = ENOTDIR;
    else if (directory)
        names = copy_names(directory);
    st = leave(s, error, "list a directory");
    for (; names; names = next) {
        next = names->next;
        visit(arg, names->name, names->is_directory);
        free(names);
    }
    return st;
}

static struct status sim_file_stat(struct files *fs, const char *path, struct file_stat *out)
{
    struct files_sim *s = sim(fs);
    int error = enter(s, FILES_CALL_STAT, path);
    const struct sim_inode *inode = error ? NULL : sim_find(&s->disk, path, &error);

    if (inode)
        *out = (struct file_stat){inode->size, inode->mtime_ms, inode->is_directory};
    return leave(s, error, "stat");
}

/* A disk is full when a fault says so; its size is only for show. */
static struct status sim_file_space(struct files *fs, const char *path, int64_t *total_bytes,
                                    int64_t *usable_bytes)
{
    struct files_sim *s = sim(fs);
    int error = enter(s, FILES_CALL_STAT, path);

    if (!error && sim_find(&s->disk, path, &error)) {
        *total_bytes = INT64_C(1) << 40;
        *usable_bytes = INT64_C(1) << 39;
    }
    return leave(s, error, "look how much room there is");
}

static struct status sim_file_sync_directory(struct files *fs, const char *path)
{
    struct files_sim *s = sim(fs);
    int error = enter(s, FILES_CALL_SYNC_DIRECTORY, path);
    struct sim_inode *directory = error ? NULL : sim_find(&s->disk, path, &error);

    if (directory && !directory->is_directory)
        error = ENOTDIR;
    else if (directory)
        sim_sync_names(&s->disk, directory);
    return leave(s, error, "sync a directory");
}

static void sync_one(void *arg, struct sim_inode *i)
{
    (void)arg;
    sim_sync(i);
}

static void fail_one(void *arg, struct sim_inode *i)
{
    (void)arg;
    sim_fail_sync(i);
}

static struct status sim_file_sync_filesystem(struct files *fs, const char *path)
{
    struct files_sim *s = sim(fs);
    int error = enter(s, FILES_CALL_SYNC_FILESYSTEM, path);
    int missing = 0;
    struct sim_inode *directory = sim_find(&s->disk, path, &missing);

    if (!error)
        error = missing;
    if (!error && directory->sync_failed_by == s->process)
        error = EIO; /* as files_real: what it failed to write is not known */
    if (!error) {
        sim_sync_names(&s->disk, NULL);
        sim_each_file(s->disk.root, sync_one, NULL);
    } else if (directory) {
        directory->sync_failed_by = s->process;
        sim_each_file(directory, fail_one, NULL);
    }
    return leave(s, error, "sync a file system");
}

/* ---- locks ---- */

static struct status sim_file_lock(struct files *fs, const char *path, struct file **out)
{
    struct files_sim *s = sim(fs);
    int error = enter(s, FILES_CALL_LOCK, path);
    struct sim_inode *inode = error ? NULL : open_inode(s, path, FILE_WRITE | FILE_CREATE, &error);

    if (inode && inode->locked_by == s->process) {
        error = EWOULDBLOCK;
    } else if (inode) {
        inode->locked_by = s->process;
        *out = handle_create(s, inode, path, true);
    }
    return leave(s, error, "lock a file");
}

static void sim_file_unlock(struct files *fs, struct file *f)
{
    if (f->inode->locked_by == f->process)
        f->inode->locked_by = 0;
    sim_file_close(fs, f);
}

static const struct files_ops sim_ops = {
    .open = sim_file_open,
    .close = sim_file_close,
    .read = sim_file_read,
    .read_nowait = sim_file_read_nowait,
    .write = sim_file_write,
    .size = sim_file_size,
    .truncate = sim_file_truncate,
    .sync = sim_file_sync,
    .sync_start = sim_file_sync_start,
    .drop_cached = sim_file_drop_cached,
    .pin = sim_file_pin,
    .unpin = sim_file_unpin,
    .rename = sim_file_rename,
    .remove = sim_file_remove,
    .make_read_only = sim_file_make_read_only,
    .set_modified = sim_file_set_modified,
    .make_directory = sim_file_make_directory,
    .remove_directory = sim_file_remove_directory,
    .list = sim_file_list,
    .stat = sim_file_stat,
    .space = sim_file_space,
    .sync_directory = sim_file_sync_directory,
    .sync_filesystem = sim_file_sync_filesystem,
    .lock = sim_file_lock,
    .unlock = sim_file_unlock,
};

/* ---- for tests and the simulator ---- */

struct files *files_sim_create(struct clock *clock)
{
    struct files_sim *s = calloc(1, sizeof *s);

    CHECK(s != NULL);
    s->files.ops = &sim_ops;
    s->clock = clock;
    s->process = 1;
    pthread_mutex_init(&s->lock, NULL);
    sim_disk_init(&s->disk);
    return &s->files;
}

void files_sim_free(struct files *fs)
{
    struct files_sim *s = sim(fs);

    CHECK(s->open_files == 0);
    files_sim_heal(fs);
    sim_disk_free(&s->disk);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

void files_sim_kill(struct files *fs)
{
    struct files_sim *s = sim(fs);

    pthread_mutex_lock(&s->lock);
    s->process++;
    pthread_mutex_unlock(&s->lock);
}

static void crash(struct files_sim *s, struct sim_crash *c)
{
    pthread_mutex_lock(&s->lock);
    s->process++;
    s->cold_round++; /* an empty page cache */
    sim_disk_crash(&s->disk, c);
    pthread_mutex_unlock(&s->lock);
}

void files_sim_crash(struct files *fs, uint64_t seed)
{
    static const unsigned odds[] = {0, 128, 512, 896, 1024};
    struct sim_crash c = {
        .random = seed,
        .keep_names_1024 = odds[seed % 5],
        .keep_sectors_1024 = odds[seed / 5 % 5],
    };

    crash(sim(fs), &c);
}

void files_sim_crash_losing_all(struct files *fs)
{
    struct sim_crash c = {0};

    crash(sim(fs), &c);
}

void files_sim_fail(struct files *fs, const struct files_fault *fault)
{
    struct files_sim *s = sim(fs);
    struct fault *f = calloc(1, sizeof *f);

    CHECK(f != NULL);
    CHECK(fault->sys_errno != 0);
    f->plan = *fault;
    if (fault->prefix) {
        f->plan.prefix = strdup(fault->prefix);
        CHECK(f->plan.prefix != NULL);
    }
    pthread_mutex_lock(&s->lock);
    DL_APPEND(s->faults, f);
    pthread_mutex_unlock(&s->lock);
}

void files_sim_heal(struct files *fs)
{
    struct files_sim *s = sim(fs);
    struct fault *f, *next;

    pthread_mutex_lock(&s->lock);
    DL_FOREACH_SAFE(s->faults, f, next)
    {
        free((void *)(uintptr_t)f->plan.prefix);
        free(f);
    }
    s->faults = NULL;
    pthread_mutex_unlock(&s->lock);
}

void files_sim_set_capacity(struct files *fs, int64_t bytes)
{
    struct files_sim *s = sim(fs);

    pthread_mutex_lock(&s->lock);
    s->disk.extents_max = (bytes + SIM_EXTENT_BYTES - 1) / SIM_EXTENT_BYTES;
    pthread_mutex_unlock(&s->lock);
}

bool files_sim_flip_bit(struct files *fs, const char *path, int64_t at, unsigned bit)
{
    struct files_sim *s = sim(fs);
    struct sim_inode *i;
    bool flipped;
    int error;

    CHECK(bit < 8);
    pthread_mutex_lock(&s->lock);
    i = sim_find(&s->disk, path, &error);
    flipped = i && !i->is_directory && sim_flip(i, at, bit);
    pthread_mutex_unlock(&s->lock);
    return flipped;
}

void files_sim_set_cold(struct files *fs, bool cold)
{
    struct files_sim *s = sim(fs);

    pthread_mutex_lock(&s->lock);
    s->cold = cold;
    s->cold_round++;
    pthread_mutex_unlock(&s->lock);
}

uint64_t files_sim_calls(struct files *fs, enum files_call call)
{
    struct files_sim *s = sim(fs);
    uint64_t count = 0;

    pthread_mutex_lock(&s->lock);
    for (int i = 0; i < FILES_CALL_COUNT; i++)
        if (call == FILES_CALL_ANY || (int)call == i)
            count += s->calls[i];
    pthread_mutex_unlock(&s->lock);
    return count;
}

size_t files_sim_open_files(struct files *fs)
{
    struct files_sim *s = sim(fs);
    size_t count;

    pthread_mutex_lock(&s->lock);
    count = s->open_files;
    pthread_mutex_unlock(&s->lock);
    return count;
}

int64_t files_sim_used_bytes(struct files *fs)
{
    struct files_sim *s = sim(fs);
    int64_t bytes;

    pthread_mutex_lock(&s->lock);
    bytes = s->disk.used_extents * SIM_EXTENT_BYTES;
    pthread_mutex_unlock(&s->lock);
    return bytes;
}

static void look_for_pretence(void *arg, struct sim_inode *i)
{
    bool *found = arg;

    *found = *found || sim_pretends(i);
}

bool files_sim_pretends(struct files *fs, const char *directory)
{
    struct files_sim *s = sim(fs);
    struct sim_inode *i;
    bool found = false;
    int missing;

    pthread_mutex_lock(&s->lock);
    i = sim_find(&s->disk, directory, &missing);
    if (i)
        sim_each_file(i, look_for_pretence, &found);
    pthread_mutex_unlock(&s->lock);
    return found;
}

bool files_sim_is_durable(struct files *fs, const char *path)
{
    struct files_sim *s = sim(fs);
    struct sim_inode *i;
    bool durable;
    int error;

    pthread_mutex_lock(&s->lock);
    i = sim_find(&s->disk, path, &error);
    durable = i && sim_path_is_durable(&s->disk, path) && (i->is_directory || sim_is_synced(i));
    pthread_mutex_unlock(&s->lock);
    return durable;
}
