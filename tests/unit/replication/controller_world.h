#ifndef TESTS_UNIT_REPLICATION_CONTROLLER_WORLD_H
#define TESTS_UNIT_REPLICATION_CONTROLLER_WORLD_H

/* A controller core with a log that commits everything at once, and a loader that follows it: what
 * the controller believes and what the cluster sees are compared after every step. */

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
    struct controller_deposed deposed; /* what the next leader knows of the one before; 0: nobody */
    struct controller_suspect suspects[8]; /* of the last tick that named some */
    size_t suspect_count;
    int64_t next_offset;
    size_t last_count; /* records of the last step */
    bool last_atomic;
    struct bytes *log; /* all values, owned; index is the offset */
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
int64_t world_register(struct controller_world *w, const struct register_broker *b,
                       enum kerr *code);
/* Registers and unfences. */
int64_t world_join(struct controller_world *w, int32_t id);
struct broker_heartbeat_result world_beat(struct controller_world *w, struct broker_heartbeat beat);
/* a plain heartbeat to fill in */
struct broker_heartbeat world_alive(struct controller_world *w, int32_t id);

/* It asks to be fenced, as a crash would have it, but at once. */
void world_fence(struct controller_world *w, int32_t id);
/* Time passes while all brokers that are not fenced beat. */
void world_live(struct controller_world *w, int64_t ms);
/* The leader of a partition says who is in sync. */
struct alter_partition_result world_set_isr(struct controller_world *w, const char *topic,
                                            int32_t index, struct id_list isr);

/* ---- what clients do ---- */

#define IDS(...)                                                                                   \
    ((struct id_list){(const int32_t[]){__VA_ARGS__},                                              \
                      sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t)})
#define assert_ids(list, ...) assert_true(ids_equal(list, IDS(__VA_ARGS__)))
bool ids_equal(struct id_list a, struct id_list b);

struct create_topic_result world_create(struct controller_world *w, const char *name,
                                        int32_t partitions, int16_t replication_factor);
/* One partition, on these brokers. */
void world_create_on(struct controller_world *w, const char *name, struct id_list brokers);
struct create_topic_result world_create_topic(struct controller_world *w, struct create_topic t);
struct controller_result world_set_config(struct controller_world *w, int8_t type,
                                          const char *resource, const char *name, int8_t operation,
                                          const char *value);

const struct metadata_topic *world_topic(struct controller_world *w, const char *name);
const struct metadata_partition *world_partition(struct controller_world *w, const char *name,
                                                 int32_t index);

/* Whether two images hold the same, found out by turning both into records. */
bool images_equal(const struct metadata_image *a, const struct metadata_image *b);

#endif
