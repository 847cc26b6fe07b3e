#include "tests/sim/sim_drive.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"
#include "storage/executor.h"
#include "storage/files_sim.h"
#include "tests/sim/sim_heap.h"

#define CALL_US     1
#define SYNC_US_MIN 100
#define SYNC_US_MAX 900

static struct sim_drive *of(struct files *fs)
{
    return CONTAINER_OF(fs, struct sim_drive, files);
}

/* ---- around every call ---- */

struct call {
    struct sim_drive *disk;
    struct files *inner;
    struct sim_heap *caller;
    bool dies; /* when the call is over */
};

static void die(struct sim_drive *d)
{
    sim_heap_switch(NULL);
    d->died = true;
    longjmp(*d->dies_to, 1);
}

static struct call enter(struct files *fs, enum files_call kind, int64_t cost_us)
{
    struct sim_drive *d = of(fs);
    struct call c = {d, d->inner, sim_heap_switch(NULL), false};

    if (d->observed)
        return c;
    d->calls++;
    d->cost_us += cost_us * d->slowness;
    sim_trace_mix(d->trace, 0x1000 | kind);
    if (d->dies_after > 0 && d->visiting == 0 && --d->dies_after == 0) {
        if (sim_random_chance(&d->random, 50))
            die(d);
        c.dies = true;
    }
    return c;
}

static void leave(const struct call *c)
{
    if (c->dies)
        die(c->disk);
    sim_heap_switch(c->caller);
}

static struct status leave_with(const struct call *c, struct status st)
{
    if (!c->disk->observed)
        sim_trace_mix(c->disk->trace, (uint64_t)st.sys_errno);
    leave(c);
    return st;
}

static int64_t sync_us(struct files *fs)
{
    return sim_random_between(&of(fs)->random, SYNC_US_MIN, SYNC_US_MAX);
}

/* ---- handles ---- */

static void remember(struct sim_drive *d, struct file *f)
{
    if (d->open_count == d->open_capacity) {
        d->open_capacity = d->open_capacity ? 2 * d->open_capacity : 64;
        d->open = realloc(d->open, d->open_capacity * sizeof d->open[0]);
        CHECK(d->open != NULL);
    }
    d->open[d->open_count++] = f;
}

static void forget(struct sim_drive *d, const struct file *f)
{
    size_t i = d->open_count;

    do
        CHECK(i > 0);
    while (d->open[--i] != f);
    d->open[i] = d->open[--d->open_count];
}

static struct status disk_open(struct files *fs, const char *path, int flags, struct file **out)
{
    struct call c = enter(fs, FILES_CALL_OPEN, CALL_US);
    struct status st = c.inner->ops->open(c.inner, path, flags, out);

    if (!status_failed(st))
        remember(c.disk, *out);
    return leave_with(&c, st);
}

/* Not counted: a process may die anywhere, but closing changes nothing that outlives it. */
static void disk_close(struct files *fs, struct file *f)
{
    struct sim_heap *caller = sim_heap_switch(NULL);
    struct sim_drive *d = of(fs);

    forget(d, f);
    d->inner->ops->close(d->inner, f);
    sim_heap_switch(caller);
}

static struct status disk_lock(struct files *fs, const char *path, struct file **out)
{
    struct call c = enter(fs, FILES_CALL_LOCK, CALL_US);
    struct status st = c.inner->ops->lock(c.inner, path, out);

    if (!status_failed(st))
        remember(c.disk, *out);
    return leave_with(&c, st);
}

static void disk_unlock(struct files *fs, struct file *f)
{
    struct sim_heap *caller = sim_heap_switch(NULL);
    struct sim_drive *d = of(fs);

    forget(d, f);
    d->inner->ops->unlock(d->inner, f);
    sim_heap_switch(caller);
}

/* ---- bytes ---- */

static struct status disk_read(struct files *fs, struct file *f, void *buffer, size_t size,
                               int64_t at, size_t *got)
{
    struct call c = enter(fs, FILES_CALL_READ, CALL_US);

    return leave_with(&c, c.inner->ops->read(c.inner, f, buffer, size, at, got));
}

static struct status disk_read_nowait(struct files *fs, struct file *f, void *buffer, size_t size,
                                      int64_t at, size_t *got, bool *cold)
{
    struct call c = enter(fs, FILES_CALL_READ, 0);

    return leave_with(&c, c.inner->ops->read_nowait(c.inner, f, buffer, size, at, got, cold));
}

static struct status disk_write(struct files *fs, struct file *f, const struct iovec *parts,
                                int part_count, int64_t at)
{
    struct call c = enter(fs, FILES_CALL_WRITE, CALL_US);

    return leave_with(&c, c.inner->ops->write(c.inner, f, parts, part_count, at));
}

static struct status disk_size(struct files *fs, struct file *f, int64_t *out)
{
    struct call c = enter(fs, FILES_CALL_SIZE, CALL_US);

    return leave_with(&c, c.inner->ops->size(c.inner, f, out));
}

static struct status disk_truncate(struct files *fs, struct file *f, int64_t size)
{
    struct call c = enter(fs, FILES_CALL_TRUNCATE, CALL_US);

    return leave_with(&c, c.inner->ops->truncate(c.inner, f, size));
}

static struct status disk_sync(struct files *fs, struct file *f)
{
    struct call c = enter(fs, FILES_CALL_SYNC, sync_us(fs));

    if (c.disk->lie == SIM_LIE_SYNC || c.disk->lie == SIM_LIE_FILESYSTEM)
        return leave_with(&c, STATUS_OK);
    return leave_with(&c, c.inner->ops->sync(c.inner, f));
}

static void disk_sync_start(struct files *fs, struct file *f, int64_t at, int64_t size)
{
    (void)fs;
    (void)f;
    (void)at;
    (void)size;
}

static struct status disk_drop_cached(struct files *fs, const char *path)
{
    struct call c = enter(fs, FILES_CALL_OPEN, CALL_US);

    return leave_with(&c, c.inner->ops->drop_cached(c.inner, path));
}

static int disk_pin(struct files *fs, struct file *f)
{
    (void)fs;
    (void)f;
    return -1;
}

static void disk_unpin(struct files *fs, struct file *f)
{
    (void)fs;
    (void)f;
}

/* ---- names ---- */

static struct status disk_rename(struct files *fs, const char *from, const char *to)
{
    struct call c = enter(fs, FILES_CALL_RENAME, CALL_US);

    return leave_with(&c, c.inner->ops->rename(c.inner, from, to));
}

static struct status disk_remove(struct files *fs, const char *path)
{
    struct call c = enter(fs, FILES_CALL_REMOVE, CALL_US);

    return leave_with(&c, c.inner->ops->remove(c.inner, path));
}

static struct status disk_make_read_only(struct files *fs, const char *path)
{
    struct call c = enter(fs, FILES_CALL_STAT, CALL_US);

    return leave_with(&c, c.inner->ops->make_read_only(c.inner, path));
}

static struct status disk_set_modified(struct files *fs, const char *path, int64_t mtime_ms)
{
    struct call c = enter(fs, FILES_CALL_STAT, CALL_US);

    return leave_with(&c, c.inner->ops->set_modified(c.inner, path, mtime_ms));
}

static struct status disk_make_directory(struct files *fs, const char *path)
{
    struct call c = enter(fs, FILES_CALL_MAKE_DIRECTORY, CALL_US);

    return leave_with(&c, c.inner->ops->make_directory(c.inner, path));
}

static struct status disk_remove_directory(struct files *fs, const char *path)
{
    struct call c = enter(fs, FILES_CALL_REMOVE, CALL_US);

    return leave_with(&c, c.inner->ops->remove_directory(c.inner, path));
}

/* The visitor is the node's code again. */
struct visit {
    files_visit *visit;
    void *arg;
    struct sim_heap *caller;
};

static void visit_name(void *arg, const char *name, bool is_directory)
{
    struct visit *v = arg;

    sim_heap_switch(v->caller);
    v->visit(v->arg, name, is_directory);
    sim_heap_switch(NULL);
}

static struct status disk_list(struct files *fs, const char *path, files_visit *visit, void *arg)
{
    struct call c = enter(fs, FILES_CALL_LIST, CALL_US);
    struct visit v = {visit, arg, c.caller};
    struct status st;

    c.disk->visiting++;
    st = c.inner->ops->list(c.inner, path, visit_name, &v);
    c.disk->visiting--;
    return leave_with(&c, st);
}

static struct status disk_stat(struct files *fs, const char *path, struct file_stat *out)
{
    struct call c = enter(fs, FILES_CALL_STAT, CALL_US);

    return leave_with(&c, c.inner->ops->stat(c.inner, path, out));
}

static struct status disk_space(struct files *fs, const char *path, int64_t *total_bytes,
                                int64_t *usable_bytes)
{
    struct call c = enter(fs, FILES_CALL_STAT, CALL_US);

    return leave_with(&c, c.inner->ops->space(c.inner, path, total_bytes, usable_bytes));
}

static struct status disk_sync_directory(struct files *fs, const char *path)
{
    struct call c = enter(fs, FILES_CALL_SYNC_DIRECTORY, sync_us(fs));

    if (c.disk->lie == SIM_LIE_NAMES || c.disk->lie == SIM_LIE_FILESYSTEM)
        return leave_with(&c, STATUS_OK);
    return leave_with(&c, c.inner->ops->sync_directory(c.inner, path));
}

static struct status disk_sync_filesystem(struct files *fs, const char *path)
{
    struct call c = enter(fs, FILES_CALL_SYNC_FILESYSTEM, sync_us(fs));

    if (c.disk->lie == SIM_LIE_FILESYSTEM)
        return leave_with(&c, STATUS_OK);
    return leave_with(&c, c.inner->ops->sync_filesystem(c.inner, path));
}

/* ---- life ---- */

void sim_drive_init(struct sim_drive *d, struct clock *clock, uint64_t seed,
                    struct sim_trace *trace)
{
    static const struct files_ops ops = {
        .open = disk_open,
        .close = disk_close,
        .read = disk_read,
        .read_nowait = disk_read_nowait,
        .write = disk_write,
        .size = disk_size,
        .truncate = disk_truncate,
        .sync = disk_sync,
        .sync_start = disk_sync_start,
        .drop_cached = disk_drop_cached,
        .pin = disk_pin,
        .unpin = disk_unpin,
        .rename = disk_rename,
        .remove = disk_remove,
        .make_read_only = disk_make_read_only,
        .set_modified = disk_set_modified,
        .make_directory = disk_make_directory,
        .remove_directory = disk_remove_directory,
        .list = disk_list,
        .stat = disk_stat,
        .space = disk_space,
        .sync_directory = disk_sync_directory,
        .sync_filesystem = disk_sync_filesystem,
        .lock = disk_lock,
        .unlock = disk_unlock,
    };

    *d = (struct sim_drive){
        .files = {&ops},
        .inner = files_sim_create(clock),
        .trace = trace,
        .random = sim_random_split(seed, 3),
        .slowness = 1,
    };
}

void sim_drive_free(struct sim_drive *d)
{
    files_sim_free(d->inner);
    free(d->open);
}

int64_t sim_drive_take_cost_us(struct sim_drive *d)
{
    int64_t cost_us = d->cost_us;

    d->cost_us = 0;
    return cost_us;
}

static void close_all(struct sim_drive *d)
{
    while (d->open_count > 0)
        d->inner->ops->close(d->inner, d->open[--d->open_count]);
    d->dies_after = 0;
    d->cost_us = 0;
}

void sim_drive_process_died(struct sim_drive *d)
{
    files_sim_kill(d->inner);
    close_all(d);
}

void sim_drive_machine_died(struct sim_drive *d)
{
    if (sim_random_chance(&d->random, 30))
        files_sim_crash_losing_all(d->inner);
    else
        files_sim_crash(d->inner, sim_random_next(&d->random));
    close_all(d);
}
