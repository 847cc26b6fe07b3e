#ifndef REPLICATION_PERSISTENT_MAP_H
#define REPLICATION_PERSISTENT_MAP_H

/* A map whose copies share what they have in common: a trie over 64-bit hashes, 32-way, its nodes
 * reference counted. Copying is free; a change copies only the path to what changes, and not even
 * that while no copy shares it.
 *
 * A map belongs to one thread while it is changed; once shared (map_copy) and no longer changed,
 * any thread may read it. Values are reference counted by their first member and freed by
 * map_type.free. Runs out of memory: the process stops (memory.h). */

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct map_node;

/* The first member of each value. A new one has one reference. */
struct map_value {
    atomic_int references;
};

struct map_type {
    uint64_t (*hash)(const void *key);
    const void *(*key)(const struct map_value *v);
    bool (*equal)(const void *key, const void *other);
    void (*free)(struct map_value *v);
    /* a copy with one reference; for map_edit */
    struct map_value *(*clone)(const struct map_value *v);
};

struct map {
    const struct map_type *type;
    struct map_node *root; /* NULL: empty */
    size_t count;
};

void map_init(struct map *m, const struct map_type *type);
/* out becomes a copy; it need not be initialised. */
void map_copy(struct map *out, const struct map *m);
/* Drops all; the map is empty afterwards. */
void map_clear(struct map *m);

/* NULL when there is none. Borrowed from the map. */
struct map_value *map_find(const struct map *m, const void *key);
/* Adds or replaces; takes over the caller's reference. */
void map_put(struct map *m, struct map_value *v);
/* The value for changing in place: cloned first when a copy of the map shares it. Its key must not
 * change. NULL when there is none. Borrowed until the map is copied. */
struct map_value *map_edit(struct map *m, const void *key);
/* False when there is none. */
bool map_remove(struct map *m, const void *key);

/* Visits all values, in an order that depends on the keys alone. */
#define MAP_DEPTH_MAX 14 /* 13 times five bits of the hash, and a list */
struct map_cursor {
    size_t depth;
    struct {
        const struct map_node *node;
        size_t at;
    } path[MAP_DEPTH_MAX];
};
/* The map must not change while a cursor is used. */
void map_cursor_init(struct map_cursor *c, const struct map *m);
/* NULL at the end. */
struct map_value *map_cursor_next(struct map_cursor *c);

/* How two maps of one type differ, at the cost of what differs: shared parts are not looked at. */
struct map_diff {
    void *arg;
    void (*removed)(void *arg, struct map_value *v); /* its key is not in `after` */
    void (*changed)(void *arg, struct map_value *v); /* of `after`: another value than in
                                                      * `before`, or new */
};
void map_diff(const struct map *before, const struct map *after, const struct map_diff *visit);

/* A good 64-bit hash of any bytes; the same in every process. */
uint64_t map_hash_bytes(const void *data, size_t size);

#endif
