#ifndef REPLICATION_METADATA_ENCODE_H
#define REPLICATION_METADATA_ENCODE_H

/* Pieces of an image as records, in the versions that a metadata.version allows. */

#include <stdint.h>

#include "protocol/base/arena.h"
#include "replication/metadata_image.h"
#include "replication/metadata_record.h"

#define METADATA_VERSION_FEATURE STR("metadata.version")

/* Levels of metadata.version at which something is new. */
#define METADATA_VERSION_MIN            7  /* 3.3-IV3 */
#define METADATA_VERSION_TRANSACTIONS   13 /* 3.6-IV1 */
#define METADATA_VERSION_CONTROLLERS    15 /* 3.7-IV0 */
#define METADATA_VERSION_DIRECTORIES    17 /* 3.7-IV2 */
#define METADATA_VERSION_ELR            23 /* 4.0-IV1 */
#define METADATA_VERSION_CORDONED_DIRS  30 /* 4.3-IV0 */
#define METADATA_VERSION_CONTROLLERS_GO 33 /* 4.4-IV2 */
#define METADATA_VERSION_LATEST         33 /* 4.4-IV2 */

/* The version to write PartitionRecord and PartitionChangeRecord in. */
int16_t partition_record_version(int16_t metadata_version);
int16_t register_broker_record_version(int16_t metadata_version);

/* Fill *r. It borrows from the piece; arrays come from the arena, which must have room. What the
 * version cannot carry is left out. */
void record_of_partition(struct metadata_record *r, struct uuid topic_id, int32_t index,
                         const struct metadata_partition *p, int16_t metadata_version);
void record_of_broker(struct metadata_record *r, const struct metadata_broker *b,
                      int16_t metadata_version, struct arena *a);
void record_of_controller(struct metadata_record *r, const struct metadata_controller *c,
                          struct arena *a);

#endif
