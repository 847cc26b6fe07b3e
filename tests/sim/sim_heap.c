#include "tests/sim/sim_heap.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"

/* of a fresh block that are filled: whoever reads them before writing is found out */
#define JUNK_BYTES_MAX 1024
#define REPORTED_MAX   20

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *p, size_t size);
void __real_free(void *p);
FILE *__real_open_memstream(char **text, size_t *size);
int __real_fclose(FILE *f);
char *__real_json_dumps(const json_t *value, size_t flags);

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_reallocarray(void *p, size_t count, size_t size);
void __wrap_free(void *p);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t size);
int __wrap_asprintf(char **out, const char *format, ...) __attribute__((format(printf, 2, 3)));
FILE *__wrap_open_memstream(char **text, size_t *size);
int __wrap_fclose(FILE *f);
char *__wrap_json_dumps(const json_t *value, size_t flags);

extern const char __executable_start;

/* ---- which block is whose: a hash table with linear probing ---- */

struct block {
    void *at; /* NULL: a free slot */
    struct sim_heap *heap;
    size_t size;
    const void *caller;
};

static struct {
    struct block *slots;
    size_t capacity; /* a power of two */
    size_t used;
} table;

static struct sim_heap *current;

/* A memory stream whose text becomes the heap's when it is closed. One at a time. */
static struct {
    FILE *file;
    char **text;
    size_t *size;
} stream;

static size_t slot_of(const void *p)
{
    return (size_t)(((uintptr_t)p >> 4) * 0x9e3779b97f4a7c15u) & (table.capacity - 1);
}

static void put(struct block b)
{
    size_t i = slot_of(b.at);

    while (table.slots[i].at)
        i = (i + 1) & (table.capacity - 1);
    table.slots[i] = b;
}

static void grow(void)
{
    struct block *old = table.slots;
    size_t old_capacity = table.capacity;

    table.capacity = old_capacity ? 2 * old_capacity : 4096;
    table.slots = __real_calloc(table.capacity, sizeof table.slots[0]);
    CHECK(table.slots != NULL);
    for (size_t i = 0; i < old_capacity; i++)
        if (old[i].at)
            put(old[i]);
    __real_free(old);
}

static void *own(void *p, size_t size, const void *caller)
{
    if (!current || !p)
        return p;
    if (2 * table.used >= table.capacity)
        grow();
    put((struct block){p, current, size, caller});
    table.used++;
    current->blocks++;
    current->bytes += size;
    return p;
}

/* Fills the hole with what would not be found behind it any more. */
static void close_hole(size_t hole)
{
    for (size_t i = (hole + 1) & (table.capacity - 1); table.slots[i].at;
         i = (i + 1) & (table.capacity - 1)) {
        size_t home = slot_of(table.slots[i].at);

        if (((i - home) & (table.capacity - 1)) < ((i - hole) & (table.capacity - 1)))
            continue;
        table.slots[hole] = table.slots[i];
        table.slots[i].at = NULL;
        hole = i;
    }
}

static void disown(const void *p)
{
    size_t i;

    if (!table.used || !p)
        return;
    for (i = slot_of(p); table.slots[i].at != p; i = (i + 1) & (table.capacity - 1))
        if (!table.slots[i].at)
            return; /* not of any heap */
    table.slots[i].heap->blocks--;
    table.slots[i].heap->bytes -= table.slots[i].size;
    table.slots[i].at = NULL;
    table.used--;
    close_hole(i);
}

struct sim_heap *sim_heap_switch(struct sim_heap *h)
{
    struct sim_heap *before = current;

    current = h;
    return before;
}

void sim_heap_drop(struct sim_heap *h)
{
    struct block *old = table.slots;
    size_t old_capacity = table.capacity;

    if (h->blocks == 0)
        return;
    table.slots = __real_calloc(table.capacity, sizeof table.slots[0]);
    CHECK(table.slots != NULL);
    table.used = 0;
    for (size_t i = 0; i < old_capacity; i++) {
        if (!old[i].at)
            continue;
        if (old[i].heap == h) {
            __real_free(old[i].at);
            continue;
        }
        put(old[i]);
        table.used++;
    }
    __real_free(old);
    *h = (struct sim_heap){0};
}

void sim_heap_report(const struct sim_heap *h)
{
    size_t told = 0;

    for (size_t i = 0; i < table.capacity && told < REPORTED_MAX; i++) {
        const struct block *b = &table.slots[i];

        if (!b->at || b->heap != h)
            continue;
        printf("  %zu bytes allocated at 0x%zx (addr2line -e <this program>)\n", b->size,
               (size_t)((const char *)b->caller - &__executable_start));
        told++;
    }
    if (h->blocks > told)
        printf("  … of %zu blocks, %zu bytes\n", h->blocks, h->bytes);
}

void sim_heap_end(void)
{
    __real_free(table.slots);
    table.slots = NULL;
    table.capacity = table.used = 0;
}

/* ---- what the program is linked to ---- */

void *__wrap_malloc(size_t size)
{
    void *p = __real_malloc(size);

    if (current && p)
        memset(p, 0xa5, size < JUNK_BYTES_MAX ? size : JUNK_BYTES_MAX);
    return own(p, size, __builtin_return_address(0));
}

void *__wrap_calloc(size_t count, size_t size)
{
    return own(__real_calloc(count, size), count * size, __builtin_return_address(0));
}

void *__wrap_realloc(void *p, size_t size)
{
    /* Disowned first: afterwards the address may be somebody else's. This process never runs out of
     * memory. */
    disown(p);
    p = __real_realloc(p, size);
    CHECK(p || size == 0);
    return own(p, size, __builtin_return_address(0));
}

void *__wrap_reallocarray(void *p, size_t count, size_t size)
{
    size_t total;

    if (__builtin_mul_overflow(count, size, &total))
        return NULL;
    disown(p);
    p = __real_realloc(p, total);
    CHECK(p || total == 0);
    return own(p, total, __builtin_return_address(0));
}

void __wrap_free(void *p)
{
    disown(p);
    __real_free(p);
}

static char *copy(const char *text, size_t size, const void *caller)
{
    char *p = __real_malloc(size + 1);

    CHECK(p != NULL);
    memcpy(p, text, size);
    p[size] = '\0';
    return own(p, size + 1, caller);
}

char *__wrap_strdup(const char *text)
{
    return copy(text, strlen(text), __builtin_return_address(0));
}

char *__wrap_strndup(const char *text, size_t size)
{
    return copy(text, strnlen(text, size), __builtin_return_address(0));
}

int __wrap_asprintf(char **out, const char *format, ...)
{
    va_list args;
    int size;

    va_start(args, format);
    size = vasprintf(out, format, args);
    va_end(args);
    if (size >= 0)
        own(*out, (size_t)size + 1, __builtin_return_address(0));
    return size;
}

FILE *__wrap_open_memstream(char **text, size_t *size)
{
    FILE *f = __real_open_memstream(text, size);

    if (f && current) {
        CHECK(!stream.file);
        stream.file = f;
        stream.text = text;
        stream.size = size;
    }
    return f;
}

int __wrap_fclose(FILE *f)
{
    int result = __real_fclose(f);

    if (f == stream.file) {
        stream.file = NULL;
        own(*stream.text, *stream.size + 1, __builtin_return_address(0));
    }
    return result;
}

char *__wrap_json_dumps(const json_t *value, size_t flags)
{
    char *text = __real_json_dumps(value, flags);

    return own(text, text ? strlen(text) + 1 : 0, __builtin_return_address(0));
}
