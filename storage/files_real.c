/* The file interface on Linux; see files_real.h. What a path is enough for: files_real_paths.c.
 *
 * A file's `state` word decides who may use its descriptor:
 *
 *   bits 0-30   users: calls under way and pins
 *   NO_DESCRIPTOR   the descriptor is closed, or being opened or closed under the lock
 *
 * A call adds one user and looks at what was there: without NO_DESCRIPTOR the descriptor is good
 * until it takes its user back. Else it takes the user back and opens the file under the lock.
 * Eviction swaps exactly "no users" for NO_DESCRIPTOR, so it never closes under anyone. */

#include "storage/files_real.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <utlist.h>

#include "protocol/base/check.h"
#include "protocol/base/status.h"
#include "storage/executor.h"
#include "storage/files_names.h"
#include "storage/files_real_internal.h"

#define NO_DESCRIPTOR       0x80000000u
#define DESCRIPTORS_MAX_MIN 4   /* fewer would only thrash */
#define SYNCED_STEPS_MAX    256 /* of the search for a file whose bytes are durable */

struct file {
    struct named_file named;  /* under the lock */
    struct file *prev, *next; /* of the ring of those with a descriptor; under the lock */
    atomic_uint state;
    int descriptor;
    atomic_bool used;              /* since the clock's hand last came by */
    atomic_uint_fast64_t unsynced; /* sync_round of its last write; 0 since its last sync */
    atomic_int failed; /* errno of the sync that failed: those bytes may be gone for good */
    bool writable;
    bool gone; /* removed or replaced: its descriptor is all there is. Under the lock */
    dev_t device;
    ino_t inode;
};

/* One file system that was synced as a whole. The descriptor stays open: the kernel reports a
 * failed write-back to descriptors that were open when it happened. */
struct file_system {
    struct file_system *next;
    dev_t device;
    int descriptor;
    int failed;
    uint64_t synced_round; /* what was written in this round or before is durable; under
                            * files_real's lock */
    pthread_mutex_t lock;  /* one syncfs at a time: an error is reported once per descriptor */
};

struct files_real {
    struct files files;
    pthread_mutex_t lock; /* names, ring, counts; never held over reads, writes and syncs */
    struct names names;
    struct file *ring; /* the clock's hand points at its first */
    struct file_system *file_systems;
    atomic_uint_fast64_t sync_round; /* counts from 1; a new one begins with each sync of a file
                                      * system */
    struct files_real_stats stats;
};

static struct files_real *real(struct files *fs)
{
    return CONTAINER_OF(fs, struct files_real, files);
}

/* ---- descriptors ---- */

static struct file_system *known_file_system(struct files_real *r, dev_t device)
{
    struct file_system *s;

    LL_SEARCH_SCALAR(r->file_systems, s, device, device);
    return s;
}

/* Whether bytes were written that neither a sync of the file nor one of its file system has
 * covered. */
static bool is_unsynced(struct files_real *r, struct file *f)
{
    uint64_t written = atomic_load(&f->unsynced);
    const struct file_system *s = written ? known_file_system(r, f->device) : NULL;

    return written != 0 && (!s || written > s->synced_round);
}

/* Closes a file's descriptor if no one uses it. Under the lock. */
static bool evict(struct files_real *r, struct file *f)
{
    unsigned none = 0;

    if (!atomic_compare_exchange_strong(&f->state, &none, NO_DESCRIPTOR))
        return false;
    DL_DELETE(r->ring, f);
    close(f->descriptor);
    f->descriptor = -1;
    r->stats.descriptors--;
    return true;
}

/* Twice round the clock: the first round takes off the marks of those that were used. A file with
 * unsynced bytes is passed over if that is cheap: should writing them back fail while no descriptor
 * is open, the kernel may forget that it failed. */
static bool evict_one(struct files_real *r, bool unsynced_too)
{
    size_t steps = 2 * r->stats.descriptors;

    if (!unsynced_too && steps > SYNCED_STEPS_MAX)
        steps = SYNCED_STEPS_MAX;
    for (; steps > 0; steps--) {
        struct file *f = r->ring;

        DL_DELETE(r->ring, f); /* the hand moves on: the first becomes the last */
        DL_APPEND(r->ring, f);
        if (f->gone || (!unsynced_too && is_unsynced(r, f)))
            continue;
        if (atomic_exchange(&f->used, false))
            continue;
        if (evict(r, f)) {
            r->stats.evictions++;
            return true;
        }
    }
    return false;
}

static void make_room(struct files_real *r)
{
    while (r->stats.descriptors >= r->stats.descriptors_max)
        if (!evict_one(r, false) && !evict_one(r, true))
            return;
}

/* Under the lock. The file's state keeps NO_DESCRIPTOR; the caller takes it off. */
static int open_descriptor(struct files_real *r, struct file *f, const char *path, int flags)
{
    struct stat st;

    make_room(r);
    f->descriptor = files_open_retrying(path, flags);
    /* The process's limit may be spent by others: give one back and try again. */
    if (f->descriptor < 0 && errno == EMFILE && (evict_one(r, false) || evict_one(r, true)))
        f->descriptor = files_open_retrying(path, flags);
    if (f->descriptor < 0)
        return errno;
    if (fstat(f->descriptor, &st) < 0 || !S_ISREG(st.st_mode)) {
        int error = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;

        close(f->descriptor);
        f->descriptor = -1;
        return error;
    }
    f->device = st.st_dev;
    f->inode = st.st_ino;
    DL_APPEND(r->ring, f);
    r->stats.descriptors++;
    r->stats.opens++;
    /* Not until its second use: those that are used once leave before those that are used often. */
    atomic_store_explicit(&f->used, false, memory_order_relaxed);
    return 0;
}

/* Under the lock: a descriptor for a file that has none. */
static int reopen(struct files_real *r, struct file *f)
{
    char path[PATH_MAX];
    dev_t device = f->device;
    ino_t inode = f->inode;
    int error;

    if (f->gone)
        return ENOENT;
    if (!names_path(&r->names, &f->named, path, sizeof path))
        return ENAMETOOLONG;
    error = open_descriptor(r, f, path, f->writable ? O_RDWR : O_RDONLY);
    if (error)
        return error;
    if (f->device != device || f->inode != inode) { /* someone else put another file there */
        DL_DELETE(r->ring, f);
        r->stats.descriptors--;
        close(f->descriptor);
        f->descriptor = -1;
        f->device = device;
        f->inode = inode;
        return ESTALE;
    }
    return 0;
}

static int acquire_slowly(struct files_real *r, struct file *f)
{
    int error = 0;

    pthread_mutex_lock(&r->lock);
    if (atomic_load(&f->state) & NO_DESCRIPTOR)
        error = reopen(r, f);
    if (!error) {
        /* One user more and the bit off, in this order for those who look without the lock. */
        atomic_fetch_add(&f->state, 1);
        atomic_fetch_and(&f->state, ~NO_DESCRIPTOR);
    }
    pthread_mutex_unlock(&r->lock);
    return error;
}

/* The descriptor is good until release(). Answers 0 or an errno. */
static int acquire(struct files_real *r, struct file *f)
{
    if (!(atomic_fetch_add(&f->state, 1) & NO_DESCRIPTOR)) {
        if (!atomic_load_explicit(&f->used, memory_order_relaxed))
            atomic_store_explicit(&f->used, true, memory_order_relaxed);
        return 0;
    }
    atomic_fetch_sub(&f->state, 1);
    return acquire_slowly(r, f);
}

static void release(struct file *f)
{
    atomic_fetch_sub(&f->state, 1);
}

/* ---- open and close ---- */

static struct file *file_create(bool writable)
{
    struct file *f = calloc(1, sizeof *f);

    CHECK(f != NULL);
    atomic_init(&f->state, NO_DESCRIPTOR);
    f->descriptor = -1;
    f->writable = writable;
    return f;
}

static int open_flags(int flags)
{
    int result = flags & FILE_WRITE ? O_RDWR : O_RDONLY;

    if (flags & FILE_CREATE)
        result |= O_CREAT;
    if (flags & FILE_EXCLUSIVE)
        result |= O_EXCL;
    if (flags & FILE_TRUNCATE)
        result |= O_TRUNC;
    return result;
}

static struct status real_open(struct files *fs, const char *path, int flags, struct file **out)
{
    struct files_real *r = real(fs);
    struct file *f = file_create((flags & FILE_WRITE) != 0);
    int error = 0;

    pthread_mutex_lock(&r->lock);
    if (!names_add(&r->names, &f->named, path))
        error = ENAMETOOLONG;
    if (!error) {
        error = open_descriptor(r, f, path, open_flags(flags));
        if (error)
            names_remove(&r->names, &f->named);
    }
    if (!error) {
        r->stats.files++;
        atomic_fetch_and(&f->state, ~NO_DESCRIPTOR);
    }
    pthread_mutex_unlock(&r->lock);
    if (error) {
        free(f);
        return status_errno(error, "open a file");
    }
    *out = f;
    return STATUS_OK;
}

static void real_close(struct files *fs, struct file *f)
{
    struct files_real *r = real(fs);

    pthread_mutex_lock(&r->lock);
    if (!(atomic_load(&f->state) & NO_DESCRIPTOR))
        CHECK(evict(r, f)); /* no call or pin may outlive the handle */
    names_remove(&r->names, &f->named);
    r->stats.files--;
    pthread_mutex_unlock(&r->lock);
    free(f);
}

/* ---- bytes ---- */

static struct status real_read(struct files *fs, struct file *f, void *buffer, size_t size,
                               int64_t at, size_t *got)
{
    int error = acquire(real(fs), f);

    if (error)
        return status_errno(error, "read a file");
    *got = 0;
    while (*got < size) {
        ssize_t n = pread(f->descriptor, (char *)buffer + *got, size - *got, at + (off_t)*got);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            error = errno;
        if (n <= 0)
            break;
        *got += (size_t)n;
    }
    release(f);
    return error ? status_errno(error, "read a file") : STATUS_OK;
}

static struct status real_read_nowait(struct files *fs, struct file *f, void *buffer, size_t size,
                                      int64_t at, size_t *got, bool *cold)
{
    int error = acquire(real(fs), f);

    if (error)
        return status_errno(error, "read a file");
    *got = 0;
    *cold = false;
    while (*got < size) {
        struct iovec part = {(char *)buffer + *got, size - *got};
        ssize_t n = preadv2(f->descriptor, &part, 1, at + (off_t)*got, RWF_NOWAIT);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            /* A file system that cannot tell is one that may wait. */
            *cold = errno == EAGAIN || errno == EOPNOTSUPP || errno == ENOSYS;
            error = *cold ? 0 : errno;
        }
        if (n <= 0)
            break;
        *got += (size_t)n;
    }
    release(f);
    if (*cold)
        *got = 0;
    return error ? status_errno(error, "read a file") : STATUS_OK;
}

static int write_all(int descriptor, const char *data, size_t size, int64_t at)
{
    while (size > 0) {
        ssize_t n = pwrite(descriptor, data, size, at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno;
        if (n == 0)
            return EIO;
        data += n;
        at += n;
        size -= (size_t)n;
    }
    return 0;
}

/* What a short gathered write left over: rare, so part by part. */
static int write_rest(int descriptor, const struct iovec *parts, int part_count, int64_t at,
                      size_t done)
{
    for (int i = 0; i < part_count; i++) {
        size_t skip = done < parts[i].iov_len ? done : parts[i].iov_len;
        int error = write_all(descriptor, (const char *)parts[i].iov_base + skip,
                              parts[i].iov_len - skip, at + (int64_t)skip);

        if (error)
            return error;
        done -= skip;
        at += (int64_t)parts[i].iov_len;
    }
    return 0;
}

static int write_parts(int descriptor, const struct iovec *parts, int part_count, int64_t at)
{
    size_t size = 0;
    ssize_t n;

    for (int i = 0; i < part_count; i++)
        size += parts[i].iov_len;
    if (part_count > IOV_MAX)
        return write_rest(descriptor, parts, part_count, at, 0);
    do
        n = pwritev(descriptor, parts, part_count, at);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno;
    return (size_t)n == size ? 0 : write_rest(descriptor, parts, part_count, at, (size_t)n);
}

/* After a write, while the file is still in use. */
static void mark_unsynced(struct files_real *r, struct file *f)
{
    uint64_t round = atomic_load(&r->sync_round);

    if (atomic_load_explicit(&f->unsynced, memory_order_relaxed) != round)
        atomic_store(&f->unsynced, round);
}

static struct status real_write(struct files *fs, struct file *f, const struct iovec *parts,
                                int part_count, int64_t at)
{
    int error = acquire(real(fs), f);

    if (!error) {
        error = write_parts(f->descriptor, parts, part_count, at);
        mark_unsynced(real(fs), f);
        release(f);
    }
    return error ? status_errno(error, "write a file") : STATUS_OK;
}

static struct status real_size(struct files *fs, struct file *f, int64_t *out)
{
    struct stat st;
    int error = acquire(real(fs), f);

    if (!error) {
        error = fstat(f->descriptor, &st) < 0 ? errno : 0;
        release(f);
    }
    if (error)
        return status_errno(error, "take a file's size");
    *out = st.st_size;
    return STATUS_OK;
}

static struct status real_truncate(struct files *fs, struct file *f, int64_t size)
{
    int error = acquire(real(fs), f);

    if (!error) {
        while (ftruncate(f->descriptor, size) < 0) {
            error = errno;
            if (error != EINTR)
                break;
            error = 0;
        }
        mark_unsynced(real(fs), f);
        release(f);
    }
    return error ? status_errno(error, "truncate a file") : STATUS_OK;
}

static struct status real_sync(struct files *fs, struct file *f)
{
    int error = atomic_load(&f->failed);

    if (error)
        return status_errno(error, "sync a file whose sync failed before");
    error = acquire(real(fs), f);
    if (error)
        return status_errno(error, "sync a file");
    atomic_store(&f->unsynced, 0); /* before: what is written meanwhile counts as unsynced */
    while (fdatasync(f->descriptor) < 0) {
        if (errno == EINTR)
            continue;
        error = errno;
        atomic_store(&f->failed, error);
        break;
    }
    release(f);
    return error ? status_errno(error, "sync a file") : STATUS_OK;
}

static void real_sync_start(struct files *fs, struct file *f, int64_t at, int64_t size)
{
    if (acquire(real(fs), f))
        return;
    sync_file_range(f->descriptor, at, size, SYNC_FILE_RANGE_WRITE);
    release(f);
}

static int real_pin(struct files *fs, struct file *f)
{
    return acquire(real(fs), f) ? -1 : f->descriptor;
}

static void real_unpin(struct files *fs, struct file *f)
{
    (void)fs;
    release(f);
}

/* ---- names ---- */

/* The name is about to be taken away: the handle lives on by its descriptor, as Linux has it. Under
 * the lock. */
static void hold_by_descriptor(void *arg, struct named_file *named)
{
    struct files_real *r = arg;
    struct file *f = CONTAINER_OF(named, struct file, named);

    if (!f->gone && (atomic_load(&f->state) & NO_DESCRIPTOR) && reopen(r, f) == 0)
        atomic_fetch_and(&f->state, ~NO_DESCRIPTOR);
}

static void mark_gone(void *arg, struct named_file *named)
{
    (void)arg;
    CONTAINER_OF(named, struct file, named)->gone = true;
}

static struct status real_rename(struct files *fs, const char *from, const char *to)
{
    struct files_real *r = real(fs);
    int error = 0;

    if (strcmp(from, to) == 0)
        return STATUS_OK;
    pthread_mutex_lock(&r->lock);
    names_each_at(&r->names, to, hold_by_descriptor, r);
    if (rename(from, to) < 0) {
        error = errno;
    } else {
        names_each_at(&r->names, to, mark_gone, NULL);
        names_each_in(&r->names, to, mark_gone, NULL);
        names_rename(&r->names, from, to);
    }
    pthread_mutex_unlock(&r->lock);
    return error ? status_errno(error, "rename") : STATUS_OK;
}

static struct status real_remove(struct files *fs, const char *path)
{
    struct files_real *r = real(fs);
    int error = 0;

    pthread_mutex_lock(&r->lock);
    names_each_at(&r->names, path, hold_by_descriptor, r);
    if (unlink(path) < 0)
        error = errno;
    else
        names_each_at(&r->names, path, mark_gone, NULL);
    pthread_mutex_unlock(&r->lock);
    return error ? status_errno(error, "remove a file") : STATUS_OK;
}

static struct file_system *file_system_create(dev_t device, int descriptor)
{
    struct file_system *s = calloc(1, sizeof *s);

    CHECK(s != NULL);
    s->device = device;
    s->descriptor = descriptor;
    pthread_mutex_init(&s->lock, NULL);
    return s;
}

/* The file system that holds a path; NULL with errno set. */
static struct file_system *find_file_system(struct files_real *r, const char *path)
{
    struct file_system *s;
    struct stat st;
    int fd;

    if (stat(path, &st) < 0)
        return NULL;
    pthread_mutex_lock(&r->lock);
    s = known_file_system(r, st.st_dev);
    if (!s) {
        fd = files_open_retrying(path, O_RDONLY);
        if (fd >= 0) {
            s = file_system_create(st.st_dev, fd);
            LL_PREPEND(r->file_systems, s);
        }
    }
    pthread_mutex_unlock(&r->lock);
    return s;
}

static struct status real_sync_filesystem(struct files *fs, const char *path)
{
    struct files_real *r = real(fs);
    struct file_system *s = find_file_system(r, path);
    uint64_t round;
    int error;

    if (!s)
        return status_errno(errno, "sync a file system");
    pthread_mutex_lock(&s->lock);
    round = atomic_fetch_add(&r->sync_round, 1);
    while (!s->failed && syncfs(s->descriptor) < 0)
        if (errno != EINTR)
            s->failed = errno;
    error = s->failed;
    if (!error) {
        pthread_mutex_lock(&r->lock);
        s->synced_round = round;
        pthread_mutex_unlock(&r->lock);
    }
    pthread_mutex_unlock(&s->lock);
    return error ? status_errno(error, "sync a file system") : STATUS_OK;
}

/* ---- locks ---- */

/* An open-file-description lock: it conflicts with the record locks that Apache Kafka takes, and
 * with a second one of this process. Linux answers EAGAIN, which is EWOULDBLOCK. */
static struct status real_lock(struct files *fs, const char *path, struct file **out)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    struct file *f;
    int fd = files_open_retrying(path, O_RDWR | O_CREAT);

    (void)fs;
    if (fd < 0)
        return status_errno(errno, "open a lock file");
    if (fcntl(fd, F_OFD_SETLK, &whole) < 0) {
        int error = errno == EACCES ? EWOULDBLOCK : errno;

        close(fd);
        return status_errno(error, "lock a file");
    }
    f = file_create(true);
    f->descriptor = fd;
    *out = f;
    return STATUS_OK;
}

static void real_unlock(struct files *fs, struct file *f)
{
    (void)fs;
    close(f->descriptor);
    free(f);
}

/* ---- the whole ---- */

static const struct files_ops real_ops = {
    .open = real_open,
    .close = real_close,
    .read = real_read,
    .read_nowait = real_read_nowait,
    .write = real_write,
    .size = real_size,
    .truncate = real_truncate,
    .sync = real_sync,
    .sync_start = real_sync_start,
    .drop_cached = real_drop_cached,
    .pin = real_pin,
    .unpin = real_unpin,
    .rename = real_rename,
    .remove = real_remove,
    .make_read_only = real_make_read_only,
    .set_modified = real_set_modified,
    .make_directory = real_make_directory,
    .remove_directory = real_remove_directory,
    .list = real_list,
    .stat = real_stat,
    .space = real_space,
    .sync_directory = real_sync_directory,
    .sync_filesystem = real_sync_filesystem,
    .lock = real_lock,
    .unlock = real_unlock,
};

static size_t default_descriptors_max(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
        return 65536;
    return (size_t)limit.rlim_cur / 2;
}

struct status files_real_create(size_t descriptors_max, struct files **out)
{
    struct files_real *r = calloc(1, sizeof *r);

    if (!r)
        return status_errno(ENOMEM, "make a file system");
    if (descriptors_max == 0)
        descriptors_max = default_descriptors_max();
    if (descriptors_max < DESCRIPTORS_MAX_MIN)
        descriptors_max = DESCRIPTORS_MAX_MIN;
    r->files.ops = &real_ops;
    r->stats.descriptors_max = descriptors_max;
    atomic_init(&r->sync_round, 1);
    names_init(&r->names);
    pthread_mutex_init(&r->lock, NULL);
    *out = &r->files;
    return STATUS_OK;
}

void files_real_free(struct files *fs)
{
    struct files_real *r = real(fs);

    CHECK(r->stats.files == 0);
    while (r->file_systems) {
        struct file_system *s = r->file_systems;

        LL_DELETE(r->file_systems, s);
        close(s->descriptor);
        pthread_mutex_destroy(&s->lock);
        free(s);
    }
    pthread_mutex_destroy(&r->lock);
    free(r);
}

void files_real_stats(struct files *fs, struct files_real_stats *out)
{
    struct files_real *r = real(fs);

    pthread_mutex_lock(&r->lock);
    *out = r->stats;
    pthread_mutex_unlock(&r->lock);
}
