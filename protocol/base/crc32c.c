#include "protocol/base/crc32c.h"

#include <isa-l/crc.h>

uint32_t crc32c(const void *data, size_t size)
{
    return crc32c_extend(0, data, size);
}

/* isa-l takes a non-const pointer it only reads, an int length, and leaves the inversions to us. */
uint32_t crc32c_extend(uint32_t crc, const void *data, size_t size)
{
    const uint8_t *at = data;

    crc = ~crc;
    while (size > 0) {
        int part = size > (1 << 30) ? 1 << 30 : (int)size;

        crc = crc32_iscsi((unsigned char *)(uintptr_t)at, part, crc);
        at += part;
        size -= (size_t)part;
    }
    return ~crc;
}
