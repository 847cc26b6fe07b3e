#ifndef TESTS_UNIT_BROKER_COORDINATOR_IMAGE_WORLD_H
#define TESTS_UNIT_BROKER_COORDINATOR_IMAGE_WORLD_H

/* A cluster's metadata, made by hand: each change gives a new image at the next offset. */

#include "replication/metadata_image.h"

struct image_world {
    struct config_values *given;
    const struct metadata_image *image; /* the newest; one reference */
};

void image_world_init(struct image_world *w);
void image_world_free(struct image_world *w);

void image_world_add_broker(struct image_world *w, int32_t id, const char *rack /* NULL: none */);
/* A topic without partitions. */
void image_world_add_topic(struct image_world *w, const char *name, struct uuid id);
/* One more partition. */
void image_world_add_partition(struct image_world *w, struct uuid topic, const int32_t *replicas,
                               size_t count);
/* With that many partitions on broker 1; its id is made of the name and the offset. */
struct uuid image_world_topic(struct image_world *w, const char *name, int32_t partitions);
void image_world_grow(struct image_world *w, const char *name, int32_t partitions);
void image_world_remove_topic(struct image_world *w, const char *name);

#endif
