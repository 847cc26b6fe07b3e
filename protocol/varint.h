#ifndef PROTOCOL_VARINT_H
#define PROTOCOL_VARINT_H

/* Variable-length integers: seven bits a byte, least significant first, the high bit says that more
 * follow. Unsigned ones carry compact lengths and tags; signed ones (zigzag: 0, -1, 1, -2 …) carry
 * the fields of records.
 *
 * Reading: from p, never touching `end` or beyond. Answers the byte after the number, or NULL, *out
 * untouched, when the bytes run out or the number does not fit its type. Longer forms than needed
 * are accepted, as Kafka does. Writing: to p, which must have room (VARINT32_BYTES_MAX,
 * VARINT64_BYTES_MAX or the exact size). Answers the byte after the number. */

#include <stddef.h>
#include <stdint.h>

#define VARINT32_BYTES_MAX 5
#define VARINT64_BYTES_MAX 10

static inline uint32_t zigzag32(int32_t v)
{
    return ((uint32_t)v << 1) ^ (uint32_t)(v >> 31);
}

static inline int32_t unzigzag32(uint32_t v)
{
    return (int32_t)((v >> 1) ^ (0u - (v & 1)));
}

static inline uint64_t zigzag64(int64_t v)
{
    return ((uint64_t)v << 1) ^ (uint64_t)(v >> 63);
}

static inline int64_t unzigzag64(uint64_t v)
{
    return (int64_t)((v >> 1) ^ (0u - (v & 1)));
}

/* ---- reading ---- */

/* The general case, kept out of line so that the common one stays small where it is inlined. */
static __attribute__((noinline, unused)) const uint8_t *
varint_read_u32_long(const uint8_t *p, const uint8_t *end, uint32_t *out)
{
    uint32_t value = 0;

    for (unsigned shift = 0; shift < 35; shift += 7) {
        uint32_t byte;

        if (p >= end)
            return NULL;
        byte = *p++;
        if (shift == 28 && byte > 0x0f)
            return NULL;
        value |= (byte & 0x7f) << shift;
        if (byte < 0x80) {
            *out = value;
            return p;
        }
    }
    return NULL;
}

static __attribute__((noinline, unused)) const uint8_t *
varint_read_u64_long(const uint8_t *p, const uint8_t *end, uint64_t *out)
{
    uint64_t value = 0;

    for (unsigned shift = 0; shift < 70; shift += 7) {
        uint64_t byte;

        if (p >= end)
            return NULL;
        byte = *p++;
        if (shift == 63 && byte > 0x01)
            return NULL;
        value |= (byte & 0x7f) << shift;
        if (byte < 0x80) {
            *out = value;
            return p;
        }
    }
    return NULL;
}

static inline const uint8_t *varint_read_u32(const uint8_t *p, const uint8_t *end, uint32_t *out)
{
    uint32_t value; /* so that *out can stay in a register */

    if (__builtin_expect(end - p >= 2, 1)) { /* nearly every length is below 2^14 */
        if (p[0] < 0x80) {
            *out = p[0];
            return p + 1;
        }
        if (p[1] < 0x80) {
            *out = (p[0] & 0x7fu) | (uint32_t)p[1] << 7;
            return p + 2;
        }
    }
    p = varint_read_u32_long(p, end, &value);
    if (p)
        *out = value;
    return p;
}

static inline const uint8_t *varint_read_u64(const uint8_t *p, const uint8_t *end, uint64_t *out)
{
    uint64_t value; /* so that *out can stay in a register */

    if (__builtin_expect(end - p >= 2, 1)) {
        if (p[0] < 0x80) {
            *out = p[0];
            return p + 1;
        }
        if (p[1] < 0x80) {
            *out = (p[0] & 0x7fu) | (uint64_t)p[1] << 7;
            return p + 2;
        }
    }
    p = varint_read_u64_long(p, end, &value);
    if (p)
        *out = value;
    return p;
}

static inline const uint8_t *varint_read_i32(const uint8_t *p, const uint8_t *end, int32_t *out)
{
    uint32_t value;

    p = varint_read_u32(p, end, &value);
    if (p)
        *out = unzigzag32(value);
    return p;
}

static inline const uint8_t *varint_read_i64(const uint8_t *p, const uint8_t *end, int64_t *out)
{
    uint64_t value;

    p = varint_read_u64(p, end, &value);
    if (p)
        *out = unzigzag64(value);
    return p;
}

/* ---- writing ---- */

static inline uint8_t *varint_write_u64(uint8_t *p, uint64_t v)
{
    while (v >= 0x80) {
        *p++ = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    *p++ = (uint8_t)v;
    return p;
}

static inline uint8_t *varint_write_u32(uint8_t *p, uint32_t v)
{
    return varint_write_u64(p, v);
}

static inline uint8_t *varint_write_i32(uint8_t *p, int32_t v)
{
    return varint_write_u64(p, zigzag32(v));
}

static inline uint8_t *varint_write_i64(uint8_t *p, int64_t v)
{
    return varint_write_u64(p, zigzag64(v));
}

/* ---- sizes in bytes ---- */

static inline size_t varint_size_u64(uint64_t v)
{
    /* ceil(bits / 7), one bit at least */
    return ((size_t)(64 - __builtin_clzll(v | 1)) + 6) / 7;
}

static inline size_t varint_size_u32(uint32_t v)
{
    return varint_size_u64(v);
}

static inline size_t varint_size_i32(int32_t v)
{
    return varint_size_u64(zigzag32(v));
}

static inline size_t varint_size_i64(int64_t v)
{
    return varint_size_u64(zigzag64(v));
}

#endif
