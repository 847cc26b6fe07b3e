/* Topics and groups as XXH3-64 sees them in Apache Kafka. Its hash library feeds integers
 * little-endian and a string as its UTF-16 units followed by their number. */

#include "broker/coordinator/metadata_hash.h"

#include <endian.h>
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "protocol/base/byteorder.h"

static void put_u8(XXH3_state_t *h, uint8_t v)
{
    XXH3_64bits_update(h, &v, sizeof v);
}

static void put_u16(XXH3_state_t *h, uint16_t v)
{
    v = htole16(v);
    XXH3_64bits_update(h, &v, sizeof v);
}

static void put_u32(XXH3_state_t *h, uint32_t v)
{
    v = htole32(v);
    XXH3_64bits_update(h, &v, sizeof v);
}

static void put_u64(XXH3_state_t *h, uint64_t v)
{
    v = htole64(v);
    XXH3_64bits_update(h, &v, sizeof v);
}

/* One character of UTF-8, whose broken bytes count as characters of their own. */
static uint32_t next_char(struct str *s)
{
    static const uint8_t lead_bits[] = {0x7f, 0x1f, 0x0f, 0x07};
    uint8_t lead = (uint8_t)s->data[0];
    size_t more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : lead >= 0xc0 ? 1 : 0;
    uint32_t c;

    if (more >= s->size)
        more = 0;
    c = more ? lead & lead_bits[more] : lead;
    for (size_t i = 1; i <= more; i++)
        c = c << 6 | ((uint8_t)s->data[i] & 0x3f);
    s->data += more + 1;
    s->size -= more + 1;
    return c;
}

/* As UTF-16 (h NULL: not at all); answers the number of units. */
static uint32_t put_chars(XXH3_state_t *h, struct str s)
{
    uint32_t units = 0;

    while (s.size) {
        uint32_t c = next_char(&s);

        if (h && c < 0x10000)
            put_u16(h, (uint16_t)c);
        else if (h) {
            put_u16(h, (uint16_t)(0xd800 + ((c - 0x10000) >> 10)));
            put_u16(h, (uint16_t)(0xdc00 + ((c - 0x10000) & 0x3ff)));
        }
        units += c < 0x10000 ? 1 : 2;
    }
    return units;
}

static void put_str(XXH3_state_t *h, struct str s)
{
    put_u32(h, put_chars(h, s));
}

static int by_bytes(const void *left, const void *right)
{
    return str_compare(*(const struct str *)left, *(const struct str *)right);
}

/* The racks of the partition's replicas, one for each replica whose broker has one. */
static bool put_racks(XXH3_state_t *h, const struct metadata_image *image,
                      const struct metadata_partition *p)
{
    struct str *racks = calloc(p->replicas.count + 1, sizeof *racks);
    size_t count = 0;

    if (!racks)
        return false;
    for (size_t i = 0; i < p->replicas.count; i++) {
        const struct metadata_broker *b = metadata_image_broker(image, p->replicas.ids[i]);

        if (b && b->rack.data)
            racks[count++] = b->rack;
    }
    qsort(racks, count, sizeof *racks, by_bytes);
    for (size_t i = 0; i < count; i++) {
        put_u32(h, put_chars(NULL, racks[i]));
        put_str(h, racks[i]);
    }
    free(racks);
    return true;
}

uint64_t metadata_hash_topic(const struct metadata_image *image, const struct metadata_topic *topic)
{
    XXH3_state_t h;

    XXH3_64bits_reset(&h);
    put_u8(&h, 0); /* the version of this recipe */
    put_u64(&h, load_be64(topic->id.bytes));
    put_u64(&h, load_be64(topic->id.bytes + 8));
    put_str(&h, topic->name);
    put_u32(&h, (uint32_t)topic->partition_count);
    for (size_t i = 0; i < topic->partition_count; i++) {
        put_u32(&h, (uint32_t)i);
        if (!put_racks(&h, image, topic->partitions[i]))
            return 0;
    }
    return XXH3_64bits_digest(&h);
}

uint64_t metadata_hash_group(const uint64_t *topic_hashes, size_t count)
{
    XXH3_state_t h;

    if (count == 0)
        return 0;
    XXH3_64bits_reset(&h);
    for (size_t i = 0; i < count; i++)
        put_u64(&h, topic_hashes[i]);
    return XXH3_64bits_digest(&h);
}
