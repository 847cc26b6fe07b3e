#ifndef TESTS_UNIT_PROTOCOL_RECORD_SAMPLES_H
#define TESTS_UNIT_PROTOCOL_RECORD_SAMPLES_H

/* Batches to test with: bytes that Apache Kafka 4.4 wrote, and a few words to make our own. */

#include <stdlib.h>
#include <string.h>

#include "protocol/record_batch_build.h"

/* A segment's first batch (an idempotent producer's "k0" = "v0") and a COMMIT marker. */
static const char kafka_data_hex[] =
    "00000000000000000000003c000000000201a1b4e0000000000000000001a207907c3c000001a207907c3c"
    "00000000000003e80000000000000000000114000000046b3004763000";
static const char kafka_marker_hex[] = "0000000000000006000000420000000002"
                                       "99bb750d003000000000000001a2079080df000001a2079080df"
                                       "00000000000003e90001ffffffff0000000120000000080000"
                                       "00010c00000000000000";

/* A metadata snapshot: snapshot header, KRaft version and voters; six feature levels; the footer.
 */
static const char kafka_snapshot_hex[] =
    "00000000000000000000009a0000000002ad0d661d002000000002000001a207"
    "8f14d6000001a2078f14d6ffffffffffffffffffffffffffff000000032a0000"
    "000800000003160000000001a2078f14be00001e00000208000000050a000000"
    "010000820100000408000000066e000002000000649e0740c2878843da866a1f"
    "efd2c26250020b434f4e54524f4c4c45520a3132372e302e302e314a95000000"
    "0001000000000000000000000003000000f10000000002394fee3d0000000000"
    "05000001a2078f156b000001a2078f156bffffffffffffffffffffffffffff00"
    "0000063a000000012e010c00116d657461646174612e76657273696f6e002100"
    "005a000002014e010c0021656c696769626c652e6c65616465722e7265706c69"
    "6361732e76657273696f6e00010000340000040128010c000e67726f75702e76"
    "657273696f6e00010000340000060128010c000e73686172652e76657273696f"
    "6e0002000038000008012c010c001073747265616d732e76657273696f6e0001"
    "00004000000a0134010c00147472616e73616374696f6e2e76657273696f6e00"
    "02000000000000000000090000003f0000000002ef7ba4320020000000000000"
    "01a2078f1572000001a2078f1572ffffffffffffffffffffffffffff00000001"
    "1a00000008000000040600000000";

#define SAMPLE_BYTES_MAX 1024

struct sample {
    uint8_t data[SAMPLE_BYTES_MAX];
    size_t size;
};

static inline struct bytes sample_bytes(const struct sample *s)
{
    return (struct bytes){s->data, s->size};
}

static inline struct sample sample_from_hex(const char *hex)
{
    struct sample s = {.size = strlen(hex) / 2};

    for (size_t i = 0; i < s.size; i++) {
        char digits[3] = {hex[2 * i], hex[2 * i + 1], 0};

        s.data[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    return s;
}

static inline struct bytes text(const char *s)
{
    return (struct bytes){(const uint8_t *)s, s ? strlen(s) : 0};
}

/* A copy on the heap of exactly that size, so that ASan sees each byte read past it. */
static inline struct bytes_mut heap_copy(struct bytes b)
{
    struct bytes_mut copy = {malloc(b.size ? b.size : 1), b.size};

    if (b.size)
        memcpy(copy.data, b.data, b.size);
    return copy;
}

static inline struct bytes bytes_of(struct bytes_mut b)
{
    return (struct bytes){b.data, b.size};
}

#endif
