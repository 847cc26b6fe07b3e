#include "protocol/base/arena.h"

#include <stdlib.h>
#include <string.h>

#define ARENA_CHUNK_BYTES 4096 /* the first chunk, and what a reset keeps */
#define ARENA_ALIGN       16

struct arena_chunk {
    struct arena_chunk *older;
    size_t size; /* of the whole chunk, head included */
};

#define ARENA_HEAD ((sizeof(struct arena_chunk) + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN)

void arena_init(struct arena *a, size_t budget)
{
    *a = (struct arena){.budget = budget};
}

static bool arena_grow(struct arena *a, size_t size)
{
    size_t want = ARENA_CHUNK_BYTES;
    struct arena_chunk *chunk;

    if (a->chunks && a->chunks->size < (size_t)1 << 20)
        want = a->chunks->size * 2;
    if (want < size + ARENA_HEAD)
        want = size + ARENA_HEAD;
    if (want > a->budget - a->used)
        want = size + ARENA_HEAD; /* near the end of the budget: exactly what is asked */
    if (want > a->budget - a->used)
        return false;
    chunk = malloc(want);
    if (!chunk)
        return false;
    *chunk = (struct arena_chunk){a->chunks, want};
    a->chunks = chunk;
    a->used += want;
    a->next = (uint8_t *)chunk + ARENA_HEAD;
    a->end = (uint8_t *)chunk + want;
    return true;
}

void *arena_alloc(struct arena *a, size_t size)
{
    void *p;

    if (size > SIZE_MAX / 2)
        return NULL;
    size = (size + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
    if (!a->chunks || size > (size_t)(a->end - a->next))
        if (!arena_grow(a, size))
            return NULL;
    p = a->next;
    a->next += size;
    return p;
}

void *arena_zalloc(struct arena *a, size_t count, size_t size)
{
    size_t total;
    void *p;

    if (__builtin_mul_overflow(count, size, &total))
        return NULL;
    p = arena_alloc(a, total);
    if (p)
        memset(p, 0, total);
    return p;
}

char *arena_strdup(struct arena *a, struct str s)
{
    char *copy = arena_alloc(a, s.size + 1);

    if (!copy)
        return NULL;
    if (s.size)
        memcpy(copy, s.data, s.size);
    copy[s.size] = '\0';
    return copy;
}

static void arena_release(struct arena *a, bool keep_first)
{
    while (a->chunks && !(keep_first && !a->chunks->older)) {
        struct arena_chunk *older = a->chunks->older;

        free(a->chunks);
        a->chunks = older;
    }
}

void arena_reset(struct arena *a)
{
    arena_release(a, true);
    if (!a->chunks || a->chunks->size > ARENA_CHUNK_BYTES) {
        arena_free(a);
        return;
    }
    a->used = a->chunks->size;
    a->next = (uint8_t *)a->chunks + ARENA_HEAD;
    a->end = (uint8_t *)a->chunks + a->chunks->size;
}

void arena_free(struct arena *a)
{
    arena_release(a, false);
    arena_init(a, a->budget);
}
