#ifndef PROTOCOL_BASE_CRC32C_H
#define PROTOCOL_BASE_CRC32C_H

/* CRC-32C (Castagnoli) as record batches and producer snapshots carry it, by isa-l. */

#include <stddef.h>
#include <stdint.h>

/* The checksum of size bytes at data. */
uint32_t crc32c(const void *data, size_t size);

/* Goes on from the checksum of what came before; start with 0. */
uint32_t crc32c_extend(uint32_t crc, const void *data, size_t size);

#endif
