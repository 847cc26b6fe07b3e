#ifndef PROTOCOL_BASE_ARENA_H
#define PROTOCOL_BASE_ARENA_H

/* Memory that dies together: a decoded request lives in one arena.
 *
 * An arena never gives out more than its budget: past it, arena_alloc answers NULL and the caller
 * answers its client with an error. One owner, one thread at a time. */

#include <stddef.h>
#include <stdint.h>

#include "protocol/base/span.h"

struct arena_chunk;

struct arena {
    uint8_t *next; /* the free part of the newest chunk */
    uint8_t *end;
    struct arena_chunk *chunks; /* newest first */
    size_t used;                /* bytes taken from the budget: chunks, with their heads */
    size_t budget;
};

/* An empty arena that will take at most `budget` bytes from the heap; allocates nothing yet. */
void arena_init(struct arena *a, size_t budget);

/* 16-byte aligned, uninitialised memory, owned by the arena; NULL past the budget or when the heap
 * is exhausted. A size of 0 gives a non-NULL pointer. */
void *arena_alloc(struct arena *a, size_t size);

/* As arena_alloc for count elements of size bytes, zeroed; NULL also when the product overflows. */
void *arena_zalloc(struct arena *a, size_t count, size_t size);

/* A NUL-terminated copy of s (NULL s gives an empty string); NULL past the budget. */
char *arena_strdup(struct arena *a, struct str s);

/* Gives everything back except one small chunk, so that the next request allocates nothing. */
void arena_reset(struct arena *a);

/* Gives everything back. The arena may be used again. */
void arena_free(struct arena *a);

/* A zeroed array of `count` elements; an empty array is not NULL. */
#define arena_array(a, type, count) ((type *)arena_zalloc((a), (count), sizeof(type)))

#endif
