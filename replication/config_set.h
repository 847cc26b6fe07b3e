#ifndef REPLICATION_CONFIG_SET_H
#define REPLICATION_CONFIG_SET_H

/* The settings stored for one resource (a topic, a broker, a group): name and value as text, in
 * name order. Immutable and shared by reference count: any thread may read, acquire and release. */

#include <stdatomic.h>
#include <stddef.h>

#include "protocol/base/span.h"

struct config_entry {
    struct str name;  /* NUL-terminated as well */
    struct str value; /* likewise */
};

struct config_set {
    atomic_int references;
    size_t count;
    struct config_entry entries[]; /* in name order; the text follows them */
};

/* A set of `count` entries in any order; of equal names the last counts, and entries whose value is
 * NULL are left out. Owned by the caller. An empty set is a set like others. */
struct config_set *config_set_create(const struct config_entry *entries, size_t count);

/* `set` (NULL: empty) with one entry set, or without it when value is NULL. Owned by the caller. */
struct config_set *config_set_with(const struct config_set *set, struct str name, struct str value);

/* NULL data when the set (may be NULL) has no such name. Borrowed from the set. */
struct str config_set_find(const struct config_set *set, struct str name);

const struct config_set *config_set_acquire(const struct config_set *set); /* NULL is fine */
void config_set_release(const struct config_set *set);                     /* NULL is fine */

#endif
