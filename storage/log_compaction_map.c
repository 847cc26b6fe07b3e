#include "storage/log_compaction_map.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "protocol/base/byteorder.h"
#include "protocol/base/check.h"

#define HASH_BYTES 16

struct entry {
    uint8_t hash[HASH_BYTES];
    int64_t next_offset; /* offset + 1; 0: empty */
};

struct compaction_map {
    EVP_MD_CTX *digest;
    size_t slots;
    size_t count;
    struct entry entries[];
};

struct compaction_map *compaction_map_create(size_t slots)
{
    struct compaction_map *m;

    CHECK(slots > 0);
    CHECK(sizeof(struct entry) == COMPACTION_MAP_ENTRY_BYTES);
    if (slots > (SIZE_MAX - sizeof *m) / sizeof m->entries[0])
        return NULL;
    m = calloc(1, sizeof *m + slots * sizeof m->entries[0]);
    if (!m)
        return NULL;
    m->slots = slots;
    m->digest = EVP_MD_CTX_new();
    if (!m->digest || EVP_DigestInit_ex(m->digest, EVP_sha256(), NULL) != 1) {
        compaction_map_free(m);
        return NULL;
    }
    return m;
}

void compaction_map_free(struct compaction_map *m)
{
    if (!m)
        return;
    EVP_MD_CTX_free(m->digest);
    free(m);
}

size_t compaction_map_count(const struct compaction_map *m)
{
    return m->count;
}

size_t compaction_map_slots(const struct compaction_map *m)
{
    return m->slots;
}

/* The entry with the key's hash, or the empty one where it belongs; NULL when the map is full and
 * it is not there. */
static struct status find(struct compaction_map *m, struct bytes key, uint8_t hash[HASH_BYTES],
                          struct entry **out)
{
    uint8_t whole[EVP_MAX_MD_SIZE];
    size_t slot;

    if (EVP_DigestInit_ex(m->digest, NULL, NULL) != 1 ||
        EVP_DigestUpdate(m->digest, key.data, key.size) != 1 ||
        EVP_DigestFinal_ex(m->digest, whole, NULL) != 1)
        return status_error(KERR_UNKNOWN_SERVER_ERROR, "hash of a key");
    memcpy(hash, whole, HASH_BYTES);
    *out = NULL;
    slot = (size_t)(load_be64(hash) % m->slots);
    for (size_t i = 0; i < m->slots; i++) {
        struct entry *e = &m->entries[slot];

        if (e->next_offset == 0 || memcmp(e->hash, hash, HASH_BYTES) == 0) {
            *out = e;
            break;
        }
        if (++slot == m->slots)
            slot = 0;
    }
    return STATUS_OK;
}

struct status compaction_map_put(struct compaction_map *m, struct bytes key, int64_t offset)
{
    uint8_t hash[HASH_BYTES];
    struct entry *e;
    struct status st = find(m, key, hash, &e);

    if (status_failed(st))
        return st;
    CHECK(e != NULL);
    CHECK(offset >= 0);
    if (e->next_offset == 0) {
        memcpy(e->hash, hash, HASH_BYTES);
        m->count++;
    }
    e->next_offset = offset + 1;
    return STATUS_OK;
}

struct status compaction_map_get(struct compaction_map *m, struct bytes key, int64_t *offset)
{
    uint8_t hash[HASH_BYTES];
    struct entry *e;
    struct status st = find(m, key, hash, &e);

    if (!status_failed(st))
        *offset = e ? e->next_offset - 1 : -1;
    return st;
}
