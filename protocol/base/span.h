#ifndef PROTOCOL_BASE_SPAN_H
#define PROTOCOL_BASE_SPAN_H

/* Borrowed views of memory: a pointer and a size, owning nothing.
 *
 * data == NULL means null on the wire (a nullable field that is absent); an empty value has a
 * non-NULL data. Strings are UTF-8 and not NUL-terminated. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes {
    const uint8_t *data;
    size_t size;
};

struct bytes_mut {
    uint8_t *data;
    size_t size;
};

struct str {
    const char *data;
    size_t size;
};

/* A string literal as a struct str initialiser. */
#define STR(literal) ((struct str){(literal), sizeof(literal) - 1})
#define STR_NULL     ((struct str){NULL, 0})
/* For printf: printf("%.*s", STR_ARG(s)). */
#define STR_ARG(s) (int)(s).size, (s).data ? (s).data : ""

static inline struct str str_from(const char *text)
{
    return (struct str){text, text ? strlen(text) : 0};
}

/* Same bytes, and both or neither null. */
static inline bool str_equal(struct str a, struct str b)
{
    return (a.data == NULL) == (b.data == NULL) && a.size == b.size &&
           (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* Byte order: negative, 0 or positive, as memcmp; a prefix sorts first. */
static inline int str_compare(struct str a, struct str b)
{
    size_t common = a.size < b.size ? a.size : b.size;
    int order = common ? memcmp(a.data, b.data, common) : 0;

    return order ? order : (a.size > b.size) - (a.size < b.size);
}

#endif
