#ifndef REPLICATION_MEMORY_H
#define REPLICATION_MEMORY_H

/* Memory for the cluster's metadata. A node that cannot hold it can serve nobody, and half an image
 * is worse than none: when the heap is exhausted here, the process stops with a message. */

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"
#include "protocol/base/span.h"

static inline void *memory_alloc(size_t size)
{
    void *p = malloc(size ? size : 1);

    CHECK(p && "out of memory for metadata");
    return p;
}

static inline void *memory_zalloc(size_t count, size_t size)
{
    void *p = calloc(count ? count : 1, size ? size : 1);

    CHECK(p && "out of memory for metadata");
    return p;
}

static inline void *memory_resize(void *old, size_t count, size_t size)
{
    void *p = reallocarray(old, count ? count : 1, size);

    CHECK(p && "out of memory for metadata");
    return p;
}

/* Copies a struct of `size` bytes that begins with its count of references, all but that count:
 * other threads may be at it, and to read it with the rest would be a race. */
static inline void memory_copy_counted(void *to, const void *from, size_t size)
{
    memcpy((char *)to + sizeof(atomic_int), (const char *)from + sizeof(atomic_int),
           size - sizeof(atomic_int));
}

/* A NUL-terminated copy; null stays null. Freed with free((void *)s.data). */
static inline struct str memory_str(struct str s)
{
    char *p;

    if (!s.data)
        return s;
    p = memory_alloc(s.size + 1);
    if (s.size)
        memcpy(p, s.data, s.size);
    p[s.size] = '\0';
    return (struct str){p, s.size};
}

#endif
