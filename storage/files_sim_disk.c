/* The simulated disk; see files_sim_disk.h. */

#include "storage/files_sim_disk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "protocol/base/check.h"

#define SECTORS_PER_EXTENT (SIM_EXTENT_BYTES / SIM_SECTOR_BYTES)

/* ---- inodes ---- */

static struct sim_inode *inode_create(bool is_directory)
{
    struct sim_inode *i = calloc(1, sizeof *i);

    CHECK(i != NULL);
    i->is_directory = is_directory;
    return i;
}

static void hold(struct sim_inode *i)
{
    i->references++;
}

static void drop(struct sim_disk *d, struct sim_inode *i);
static void unlink_inode(struct sim_disk *d, struct sim_inode *i);

static void inode_free(struct sim_disk *d, struct sim_inode *i)
{
    struct sim_entry *e, *next;

    HASH_ITER(hh, i->entries, e, next)
    {
        HASH_DEL(i->entries, e);
        if (e->now)
            unlink_inode(d, e->now);
        if (e->disk)
            drop(d, e->disk);
        free(e);
    }
    for (size_t x = 0; x < i->extent_count; x++) {
        free(i->extents[x].now);
        free(i->extents[x].disk);
    }
    free(i->extents);
    free(i);
}

static void drop(struct sim_disk *d, struct sim_inode *i)
{
    CHECK(i->references > 0);
    if (--i->references == 0)
        inode_free(d, i);
}

static int64_t extents_of(const struct sim_inode *i)
{
    int64_t count = 0;

    for (size_t x = 0; x < i->extent_count; x++)
        count += i->extents[x].now != NULL;
    return count;
}

static void link_inode(struct sim_disk *d, struct sim_inode *i)
{
    if (i->links++ == 0)
        d->used_extents += extents_of(i);
    hold(i);
}

static void unlink_inode(struct sim_disk *d, struct sim_inode *i)
{
    CHECK(i->links > 0);
    if (--i->links == 0)
        d->used_extents -= extents_of(i);
    drop(d, i);
}

void sim_hold(struct sim_disk *d, struct sim_inode *i)
{
    link_inode(d, i);
}

void sim_drop(struct sim_disk *d, struct sim_inode *i)
{
    unlink_inode(d, i);
}

/* ---- names ---- */

static struct sim_entry *find_entry(const struct sim_inode *directory, struct str name)
{
    struct sim_entry *e = NULL;

    HASH_FIND(hh, directory->entries, name.data, (unsigned)name.size, e);
    return e;
}

static struct sim_entry *find_or_add_entry(struct sim_inode *directory, struct str name)
{
    struct sim_entry *e = find_entry(directory, name);

    if (e)
        return e;
    e = calloc(1, sizeof *e + name.size + 1);
    CHECK(e != NULL);
    memcpy(e->name, name.data, name.size);
    HASH_ADD(hh, directory->entries, name[0], (unsigned)name.size, e);
    return e;
}

static void forget_entry_if_empty(struct sim_inode *directory, struct sim_entry *e)
{
    if (e->now || e->disk)
        return;
    HASH_DEL(directory->entries, e);
    free(e);
}

struct sim_inode *sim_child(const struct sim_inode *directory, struct str name)
{
    const struct sim_entry *e = find_entry(directory, name);

    return e ? e->now : NULL;
}

static void set_now(struct sim_disk *d, struct sim_inode *directory, struct str name,
                    struct sim_inode *i)
{
    struct sim_entry *e = find_or_add_entry(directory, name);
    struct sim_inode *before = e->now;

    if (i)
        link_inode(d, i);
    e->now = i;
    if (before)
        unlink_inode(d, before);
    forget_entry_if_empty(directory, e);
}

static void set_disk(struct sim_disk *d, struct sim_inode *directory, struct str name,
                     struct sim_inode *i)
{
    struct sim_entry *e = find_or_add_entry(directory, name);
    struct sim_inode *before = e->disk;

    if (i)
        hold(i);
    e->disk = i;
    if (before)
        drop(d, before);
    forget_entry_if_empty(directory, e);
}

static struct str next_component(const char **rest)
{
    struct str name;

    do {
        *rest += strspn(*rest, "/");
        name = (struct str){*rest, strcspn(*rest, "/")};
        *rest += name.size;
    } while (str_equal(name, STR(".")));
    return name;
}

struct sim_inode *sim_find_parent(struct sim_disk *d, const char *path, struct str *name,
                                  int *error)
{
    struct sim_inode *directory = d->root;
    const char *rest = path;
    struct str next;

    *name = next_component(&rest);
    while ((next = next_component(&rest)).size > 0) {
        directory = sim_child(directory, *name);
        if (!directory || !directory->is_directory) {
            *error = directory ? ENOTDIR : ENOENT;
            return NULL;
        }
        *name = next;
    }
    return directory;
}

struct sim_inode *sim_find(struct sim_disk *d, const char *path, int *error)
{
    struct str name;
    struct sim_inode *directory = sim_find_parent(d, path, &name, error);
    struct sim_inode *found;

    if (!directory || name.size == 0)
        return directory; /* the root has no name */
    found = sim_child(directory, name);
    if (!found)
        *error = ENOENT;
    return found;
}

bool sim_path_is_durable(const struct sim_disk *d, const char *path)
{
    const struct sim_inode *directory = d->root;
    const char *rest = path;
    struct str name;

    while ((name = next_component(&rest)).size > 0) {
        const struct sim_entry *e = directory ? find_entry(directory, name) : NULL;

        if (!e || !e->now || e->now != e->disk)
            return false;
        directory = e->now->is_directory ? e->now : NULL;
    }
    return true;
}

static void remember(struct sim_disk *d, struct sim_inode *i, struct sim_inode *from,
                     struct str from_name, struct sim_inode *to, struct str to_name)
{
    struct sim_operation *o = calloc(1, sizeof *o);

    CHECK(o != NULL);
    o->inode = i;
    hold(i);
    if (from) {
        o->from_directory = from;
        hold(from);
        o->from_name = strndup(from_name.data, from_name.size);
        CHECK(o->from_name != NULL);
    }
    if (to) {
        o->to_directory = to;
        hold(to);
        o->to_name = strndup(to_name.data, to_name.size);
        CHECK(o->to_name != NULL);
    }
    DL_APPEND(d->operations, o);
}

static void forget(struct sim_disk *d, struct sim_operation *o)
{
    DL_DELETE(d->operations, o);
    drop(d, o->inode);
    if (o->from_directory)
        drop(d, o->from_directory);
    if (o->to_directory)
        drop(d, o->to_directory);
    free(o->from_name);
    free(o->to_name);
    free(o);
}

/* The operation reaches the disk. What it takes away may have been replaced there already. */
static void carry_out(struct sim_disk *d, struct sim_operation *o)
{
    if (o->from_directory) {
        const struct sim_entry *e = find_entry(o->from_directory, str_from(o->from_name));

        if (e && e->disk == o->inode)
            set_disk(d, o->from_directory, str_from(o->from_name), NULL);
    }
    if (o->to_directory)
        set_disk(d, o->to_directory, str_from(o->to_name), o->inode);
    forget(d, o);
}

struct sim_inode *sim_make(struct sim_disk *d, struct sim_inode *directory, struct str name,
                           bool is_directory)
{
    struct sim_inode *i = inode_create(is_directory);

    set_now(d, directory, name, i);
    remember(d, i, NULL, STR_NULL, directory, name);
    return i;
}

bool sim_is_empty(const struct sim_inode *directory)
{
    for (const struct sim_entry *e = directory->entries; e; e = e->hh.next)
        if (e->now)
            return false;
    return true;
}

int sim_remove(struct sim_disk *d, const char *path, bool is_directory)
{
    struct str name;
    int error = 0;
    struct sim_inode *directory = sim_find_parent(d, path, &name, &error);
    struct sim_inode *i = directory ? sim_child(directory, name) : NULL;

    if (!directory)
        return error;
    if (!i)
        return ENOENT;
    if (i->is_directory != is_directory)
        return is_directory ? ENOTDIR : EISDIR;
    if (is_directory && !sim_is_empty(i))
        return ENOTEMPTY;
    remember(d, i, directory, name, NULL, STR_NULL);
    set_now(d, directory, name, NULL);
    return 0;
}

int sim_rename(struct sim_disk *d, const char *from, const char *to)
{
    struct str from_name, to_name;
    int error = 0;
    struct sim_inode *source = sim_find_parent(d, from, &from_name, &error);
    struct sim_inode *target = source ? sim_find_parent(d, to, &to_name, &error) : NULL;
    struct sim_inode *i, *replaced;

    if (!target)
        return error;
    i = sim_child(source, from_name);
    if (!i)
        return ENOENT;
    replaced = sim_child(target, to_name);
    if (replaced == i)
        return 0;
    if (replaced && replaced->is_directory != i->is_directory)
        return i->is_directory ? ENOTDIR : EISDIR;
    if (replaced && replaced->is_directory && !sim_is_empty(replaced))
        return ENOTEMPTY;
    remember(d, i, source, from_name, target, to_name);
    set_now(d, target, to_name, i);
    set_now(d, source, from_name, NULL);
    return 0;
}

void sim_sync_names(struct sim_disk *d, struct sim_inode *directory)
{
    struct sim_operation *o, *next;

    DL_FOREACH_SAFE(d->operations, o, next)
    if (!directory || o->from_directory == directory || o->to_directory == directory)
        carry_out(d, o);
}

/* ---- content ---- */

static uint8_t *extent_bytes(void)
{
    uint8_t *bytes = calloc(1, SIM_EXTENT_BYTES);

    CHECK(bytes != NULL);
    return bytes;
}

static bool extent_differs(const struct sim_extent *x)
{
    return x->dirty || x->doomed;
}

static void grow_extents(struct sim_inode *i, size_t count)
{
    size_t capacity = i->extent_count;

    if (count <= capacity)
        return;
    capacity = capacity * 3 / 2 > count ? capacity * 3 / 2 : count;
    i->extents = realloc(i->extents, capacity * sizeof *i->extents);
    CHECK(i->extents != NULL);
    memset(i->extents + i->extent_count, 0, (capacity - i->extent_count) * sizeof *i->extents);
    i->extent_count = capacity;
}

static uint8_t sector_mask(size_t from, size_t end)
{
    size_t first = from / SIM_SECTOR_BYTES, last = (end - 1) / SIM_SECTOR_BYTES;

    return (uint8_t)((0xffu >> (SECTORS_PER_EXTENT - 1 - last)) & (0xffu << first));
}

/* Before bytes from..end of an extent change: keeps what the disk has, marks the sectors. */
static void make_dirty(struct sim_inode *i, size_t index, size_t from, size_t end)
{
    struct sim_extent *x = &i->extents[index];
    uint8_t mask = sector_mask(from, end);

    if (!extent_differs(x) && x->now) {
        x->disk = extent_bytes();
        memcpy(x->disk, x->now, SIM_EXTENT_BYTES);
    }
    x->dirty |= mask;
    x->doomed &= (uint8_t)~mask;
    if (i->dirty_from == i->dirty_end) {
        i->dirty_from = index;
        i->dirty_end = index + 1;
    }
    if (index < i->dirty_from)
        i->dirty_from = index;
    if (index >= i->dirty_end)
        i->dirty_end = index + 1;
}

void sim_read(const struct sim_inode *i, void *buffer, size_t size, int64_t at, size_t *got)
{
    *got = 0;
    if (at >= i->size)
        return;
    if ((uint64_t)size > (uint64_t)(i->size - at))
        size = (size_t)(i->size - at);
    while (*got < size) {
        size_t index = (size_t)at / SIM_EXTENT_BYTES, from = (size_t)at % SIM_EXTENT_BYTES;
        size_t part = SIM_EXTENT_BYTES - from < size - *got ? SIM_EXTENT_BYTES - from : size - *got;
        const uint8_t *bytes = index < i->extent_count ? i->extents[index].now : NULL;

        if (bytes)
            memcpy((uint8_t *)buffer + *got, bytes + from, part);
        else
            memset((uint8_t *)buffer + *got, 0, part);
        *got += part;
        at += (int64_t)part;
    }
}

static bool allocate(struct sim_disk *d, struct sim_inode *i, size_t index)
{
    if (i->extents[index].now)
        return true;
    if (d->extents_max > 0 && d->used_extents >= d->extents_max)
        return false;
    i->extents[index].now = extent_bytes();
    if (i->links > 0)
        d->used_extents++;
    return true;
}

int sim_write(struct sim_disk *d, struct sim_inode *i, const uint8_t *data, size_t size, int64_t at)
{
    while (size > 0) {
        size_t index = (size_t)at / SIM_EXTENT_BYTES, from = (size_t)at % SIM_EXTENT_BYTES;
        size_t part = SIM_EXTENT_BYTES - from < size ? SIM_EXTENT_BYTES - from : size;

        grow_extents(i, index + 1);
        make_dirty(i, index, from, from + part);
        if (!allocate(d, i, index))
            return ENOSPC;
        memcpy(i->extents[index].now + from, data, part);
        data += part;
        at += (int64_t)part;
        size -= part;
        if (at > i->size)
            i->size = at;
    }
    return 0;
}

/* Bytes from `size` on become zeros, now; whole extents are given back. */
static void cut_content(struct sim_disk *d, struct sim_inode *i, int64_t size)
{
    size_t index = (size_t)size / SIM_EXTENT_BYTES, from = (size_t)size % SIM_EXTENT_BYTES;

    for (; index < i->extent_count; index++, from = 0) {
        struct sim_extent *x = &i->extents[index];

        if (!x->now)
            continue;
        make_dirty(i, index, from, SIM_EXTENT_BYTES);
        memset(x->now + from, 0, SIM_EXTENT_BYTES - from);
        if (from == 0) {
            free(x->now);
            x->now = NULL;
            if (i->links > 0)
                d->used_extents--;
        }
    }
}

void sim_resize(struct sim_disk *d, struct sim_inode *i, int64_t size)
{
    if (size < i->size)
        cut_content(d, i, size);
    i->size = size;
}

void sim_sync(struct sim_inode *i)
{
    size_t doomed_from = i->dirty_end, doomed_end = i->dirty_end;

    for (size_t index = i->dirty_from; index < i->dirty_end; index++) {
        struct sim_extent *x = &i->extents[index];

        if (x->dirty && x->doomed) /* some sectors reach the disk, others never will */
            for (size_t s = 0; s < SECTORS_PER_EXTENT; s++)
                if (x->dirty & (1u << s)) {
                    if (!x->disk)
                        x->disk = extent_bytes();
                    if (x->now)
                        memcpy(x->disk + s * SIM_SECTOR_BYTES, x->now + s * SIM_SECTOR_BYTES,
                               SIM_SECTOR_BYTES);
                    else
                        memset(x->disk + s * SIM_SECTOR_BYTES, 0, SIM_SECTOR_BYTES);
                }
        x->dirty = 0;
        if (!x->doomed) {
            free(x->disk);
            x->disk = NULL;
            continue;
        }
        doomed_from = index < doomed_from ? index : doomed_from;
        doomed_end = index + 1;
    }
    i->dirty_from = doomed_from;
    i->dirty_end = doomed_end;
    i->disk_size = i->size;
}

static void take_sector_from_disk(struct sim_extent *x, size_t sector)
{
    if (!x->now && x->disk)
        x->now = extent_bytes();
    if (!x->now)
        return;
    if (x->disk)
        memcpy(x->now + sector * SIM_SECTOR_BYTES, x->disk + sector * SIM_SECTOR_BYTES,
               SIM_SECTOR_BYTES);
    else
        memset(x->now + sector * SIM_SECTOR_BYTES, 0, SIM_SECTOR_BYTES);
}

void sim_fail_sync(struct sim_inode *i)
{
    bool failed = false;

    for (size_t index = i->dirty_from; index < i->dirty_end; index++) {
        failed = failed || i->extents[index].dirty;
        i->extents[index].doomed |= i->extents[index].dirty;
        i->extents[index].dirty = 0;
    }
    i->failed_syncs += failed;
}

void sim_drop_cached(struct sim_disk *d, struct sim_inode *i)
{
    const int64_t before = extents_of(i);

    for (size_t index = i->dirty_from; index < i->dirty_end; index++) {
        struct sim_extent *x = &i->extents[index];

        for (size_t s = 0; s < SECTORS_PER_EXTENT; s++)
            if (x->doomed & (1u << s))
                take_sector_from_disk(x, s);
        x->doomed = 0;
        if (!x->dirty) {
            free(x->disk);
            x->disk = NULL;
        }
    }
    if (i->links > 0)
        d->used_extents += extents_of(i) - before;
}

bool sim_pretends(const struct sim_inode *i)
{
    for (size_t index = i->dirty_from; index < i->dirty_end; index++)
        if (i->extents[index].doomed)
            return true;
    return false;
}

bool sim_is_synced(const struct sim_inode *i)
{
    for (size_t index = i->dirty_from; index < i->dirty_end; index++)
        if (extent_differs(&i->extents[index]))
            return false;
    return i->size == i->disk_size;
}

bool sim_flip(struct sim_inode *i, int64_t at, unsigned bit)
{
    struct sim_extent *x;
    size_t from = (size_t)at % SIM_EXTENT_BYTES;

    if (at < 0 || at >= i->size || (size_t)at / SIM_EXTENT_BYTES >= i->extent_count)
        return false;
    x = &i->extents[(size_t)at / SIM_EXTENT_BYTES];
    if (!x->now)
        return false;
    x->now[from] ^= (uint8_t)(1u << bit);
    if (x->disk)
        x->disk[from] ^= (uint8_t)(1u << bit);
    return true;
}

void sim_each_file(struct sim_inode *directory, void (*visit)(void *arg, struct sim_inode *i),
                   void *arg)
{
    for (struct sim_entry *e = directory->entries; e; e = e->hh.next) {
        if (!e->now)
            continue;
        if (e->now->is_directory)
            sim_each_file(e->now, visit, arg);
        else
            visit(arg, e->now);
    }
}

/* ---- crashes ---- */

/* splitmix64 */
static uint64_t next_random(struct sim_crash *c)
{
    uint64_t z = c->random += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static bool keeps(struct sim_crash *c, unsigned of_1024)
{
    return next_random(c) % 1024 < of_1024;
}

static int64_t crash_size(const struct sim_inode *i, struct sim_crash *c)
{
    if (i->size == i->disk_size || keeps(c, c->keep_sectors_1024))
        return i->size;
    /* A file that grew by several writes may have any size between. */
    if (i->size > i->disk_size && keeps(c, c->keep_sectors_1024))
        return i->disk_size + (int64_t)(next_random(c) % (uint64_t)(i->size - i->disk_size));
    return i->disk_size;
}

static void crash_extent(struct sim_extent *x, struct sim_crash *c)
{
    uint8_t differs = x->dirty | x->doomed;

    for (size_t s = 0; s < SECTORS_PER_EXTENT; s++)
        if ((differs & (1u << s)) && !keeps(c, c->keep_sectors_1024))
            take_sector_from_disk(x, s);
    free(x->disk);
    x->disk = NULL;
    x->dirty = 0;
    x->doomed = 0;
}

static void crash_file(struct sim_disk *d, struct sim_inode *i, struct sim_crash *c)
{
    int64_t size = crash_size(i, c);
    int64_t before = extents_of(i);

    for (size_t index = i->dirty_from; index < i->dirty_end; index++)
        crash_extent(&i->extents[index], c);
    if (i->links > 0)
        d->used_extents += extents_of(i) - before;
    cut_content(d, i, size);
    i->size = size;
    sim_sync(i);
}

static void crash_directory(struct sim_disk *d, struct sim_inode *directory, struct sim_crash *c)
{
    struct sim_entry *e, *next;

    HASH_ITER(hh, directory->entries, e, next)
    {
        struct sim_inode *now = e->now, *disk = e->disk;

        if (now != disk) {
            e->now = disk;
            if (disk)
                link_inode(d, disk);
            if (now)
                unlink_inode(d, now);
        }
        if (disk && disk->is_directory)
            crash_directory(d, disk, c);
        else if (disk)
            crash_file(d, disk, c);
        forget_entry_if_empty(directory, e);
    }
}

static bool same_name(const struct sim_inode *a, const char *a_name, const struct sim_inode *b,
                      const char *b_name)
{
    return a && a == b && strcmp(a_name, b_name) == 0;
}

/* Whether o could only have come after p: it concerns the same inode, or one of its names. */
static bool comes_after(const struct sim_operation *o, const struct sim_operation *p)
{
    return o->inode == p->inode ||
           same_name(o->from_directory, o->from_name, p->from_directory, p->from_name) ||
           same_name(o->from_directory, o->from_name, p->to_directory, p->to_name) ||
           same_name(o->to_directory, o->to_name, p->from_directory, p->from_name) ||
           same_name(o->to_directory, o->to_name, p->to_directory, p->to_name);
}

static bool comes_after_any(const struct sim_operation *o, const struct sim_operation *lost)
{
    const struct sim_operation *p;

    DL_FOREACH(lost, p)
    if (comes_after(o, p))
        return true;
    return false;
}

/* Each change of names is kept or lost, but none is kept that came after a lost one of the same
 * file or name: no journal reorders those. */
static void crash_names(struct sim_disk *d, struct sim_crash *c)
{
    struct sim_operation *lost = NULL, *o, *next;

    DL_FOREACH_SAFE(d->operations, o, next)
    {
        if (keeps(c, c->keep_names_1024) && !comes_after_any(o, lost)) {
            carry_out(d, o);
        } else {
            DL_DELETE(d->operations, o);
            DL_APPEND(lost, o);
        }
    }
    d->operations = lost;
    DL_FOREACH_SAFE(d->operations, o, next)
    forget(d, o);
}

void sim_disk_crash(struct sim_disk *d, struct sim_crash *c)
{
    crash_names(d, c);
    crash_directory(d, d->root, c);
}

void sim_disk_init(struct sim_disk *d)
{
    *d = (struct sim_disk){.root = inode_create(true)};
    link_inode(d, d->root);
}

void sim_disk_free(struct sim_disk *d)
{
    sim_sync_names(d, NULL);
    unlink_inode(d, d->root);
    d->root = NULL;
}
