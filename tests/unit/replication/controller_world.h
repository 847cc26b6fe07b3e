#ifndef TESTS_UNIT_REPLICATION_CONTROLLER_WORLD_H
#define TESTS_UNIT_REPLICATION_CONTROLLER_WORLD_H

/* A controller core with a log that commits everything at once, and a loader that follows it: what the
 * controller believes and what the cluster sees are compared after every step. */

#include "replication/controller_core.h"
#include "replication/metadata_loader.h"

struct controller_world {
    struct random random;
    uint64_t random_state;
    struct config_values *given;
    struct metadata_loader *loader;
    struct controller_core *core;
    const struct metadata_image *image; /* committed */
    const struct metadata_delta *delta; /* of the last step that published; NULL: none yet */
    struct arena arena;
    int64_t now_ms;
    int64_t next_offset;
    size_t last_count;  /* records of the last step */
    bool last_atomic;
    struct bytes *log;  /* all values, owned; index is the offset */
    size_t log_room;
};

void world_init(struct controller_world *w);
void world_free(struct controller_world *w);

/* Starts an active controller: bootstrap records when the log is empty. */
void world_activate(struct controller_world *w);
/* The leader goes; its successor starts from what is committed. */
void world_fail_over(struct controller_world *w);

struct controller_result world_step(struct controller_world *w, struct controller_request *r);
/* Time passes, with all ticks that fall due. */
void world_pass(struct controller_world *w, int64_t ms);

/* ---- what brokers do ---- */

/* Registers broker `id` with one log directory of that number; rack may be NULL. */
struct register_broker world_broker(int32_t id, uint8_t incarnation);
/* The epoch, or -1 with *code set. */
int64_t world_register(struct controller_world *w, const struct register_broker *b, enum kerr *code);
/* Registers and unfences. */
int64_t world_join(struct controller_world *w, int32_t id);
struct broker_heartbeat_result world_beat(struct controller_world *w, struct broker_heartbeat beat);
struct broker_heartbeat world_alive(struct controller_world *w, int32_t id); /* a plain heartbeat to fill in */

/* ---- what clients do ---- */

struct create_topic_result world_create(struct controller_world *w, const char *name, int32_t partitions,
                                        int16_t replication_factor);
struct create_topic_result world_create_topic(struct controller_world *w, struct create_topic t);
struct controller_result world_set_config(struct controller_world *w, int8_t type, const char *resource,
                                          const char *name, int8_t operation, const char *value);

const struct metadata_topic *world_topic(struct controller_world *w, const char *name);
const struct metadata_partition *world_partition(struct controller_world *w, const char *name, int32_t index);

/* Whether two images hold the same, found out by turning both into records. */
bool images_equal(const struct metadata_image *a, const struct metadata_image *b);

#endif
