#ifndef STORAGE_LOG_COMPACTION_MAP_H
#define STORAGE_LOG_COMPACTION_MAP_H

/* From keys to the newest offset of each, in 24 bytes a key whatever its size: 16 bytes of hash, 8
 * of offset.
 *
 * The hash is SHA-256, cut to 128 bits: two keys that had the same one would lose the older key's
 * records, and unlike with MD5 (Apache Kafka's) nobody knows how to make such keys. One thread at a
 * time. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/span.h"
#include "protocol/base/status.h"

#define COMPACTION_MAP_ENTRY_BYTES 24

struct compaction_map;

/* Room for `slots` (at least 1) keys, of which the caller fills fewer. NULL: out of memory. */
struct compaction_map *compaction_map_create(size_t slots);
void compaction_map_free(struct compaction_map *m); /* NULL is fine */

/* Keys in the map. */
size_t compaction_map_count(const struct compaction_map *m);
size_t compaction_map_slots(const struct compaction_map *m);

/* offset is not negative, and the key's newest. The map is not full. UNKNOWN_SERVER_ERROR: no
 * memory to hash with. */
struct status compaction_map_put(struct compaction_map *m, struct bytes key, int64_t offset);

/* *offset is -1 when the key is not there. Errors as above. */
struct status compaction_map_get(struct compaction_map *m, struct bytes key, int64_t *offset);

#endif
