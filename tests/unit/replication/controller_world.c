#include "tests/unit/replication/controller_world.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"
#include "replication/feature_levels.h"

static void fill(struct random *r, void *out, size_t size)
{
    struct controller_world *w = (struct controller_world *)r;
    uint8_t *p = out;

    for (size_t i = 0; i < size; i++) {
        w->random_state = w->random_state * 6364136223846793005u + 1442695040888963407u;
        p[i] = (uint8_t)(w->random_state >> 56);
    }
}

static struct controller_moment moment(const struct controller_world *w)
{
    return (struct controller_moment){w->now_ms, w->next_offset};
}

void world_init(struct controller_world *w)
{
    *w = (struct controller_world){.random = {fill}, .random_state = 1, .now_ms = 1000};
    w->given = config_values_create();
    w->loader = metadata_loader_create(1, w->given);
    arena_init(&w->arena, 64 * 1024 * 1024);
    metadata_loader_begin_snapshot(w->loader);
    CHECK(!status_failed(
        metadata_loader_end_snapshot(w->loader, (struct snapshot_position){-1, 0, -1})));
    CHECK(metadata_loader_publish(w->loader, &w->image, &w->delta));
}

void world_free(struct controller_world *w)
{
    controller_core_free(w->core);
    metadata_image_release(w->image);
    metadata_delta_release(w->delta);
    metadata_loader_free(w->loader);
    config_values_free(w->given);
    arena_free(&w->arena);
    for (size_t i = 0; i < (size_t)w->next_offset; i++)
        free((void *)(uintptr_t)w->log[i].data);
    free(w->log);
}

static void keep(struct controller_world *w, struct bytes value)
{
    uint8_t *copy = malloc(value.size);

    CHECK(copy);
    memcpy(copy, value.data, value.size);
    if ((size_t)w->next_offset == w->log_room) {
        w->log_room = w->log_room ? w->log_room * 2 : 64;
        w->log = realloc(w->log, w->log_room * sizeof *w->log);
        CHECK(w->log);
    }
    w->log[w->next_offset++] = (struct bytes){copy, value.size};
}

/* Commits the output; the loader's image must be what the core believes. */
static void commit(struct controller_world *w, const struct controller_output *out)
{
    struct metadata_batch batch = {w->next_offset, 1, w->now_ms, out->values, out->count};
    const struct metadata_image *image;
    const struct metadata_delta *delta;

    w->last_count = out->count;
    w->last_atomic = out->atomic;
    if (out->count == 0)
        return;
    CHECK(!status_failed(metadata_loader_apply(w->loader, &batch)));
    for (size_t i = 0; i < out->count; i++)
        keep(w, out->values[i]);
    CHECK(metadata_loader_publish(w->loader, &image, &delta));
    metadata_image_release(w->image);
    metadata_delta_release(w->delta);
    w->image = image;
    w->delta = delta;
    CHECK(metadata_image_offset(image) == w->next_offset - 1);
    CHECK(metadata_image_offset(controller_core_image(w->core)) == w->next_offset - 1);
    if (metadata_image_partition_count(image) < 1000)
        CHECK(images_equal(image, controller_core_image(w->core)));
    if (w->next_offset % 2) /* both ways are taken in life */
        controller_core_rebase(w->core, image);
}

void world_activate(struct controller_world *w)
{
    static const struct metadata_listener listener = {
        {"CONTROLLER", 10}, {"127.0.0.1", 9}, 9093, 0};
    struct controller_core_args args = {
        .node_id = 1,
        .cluster_id = STR("cluster"),
        .given = w->given,
        .random = &w->random,
        .deposed =
            w->deposed.last_contact_ms > 0 ? w->deposed : (struct controller_deposed){NO_LEADER, 0},
        .transaction_open = metadata_loader_in_transaction(w->loader),
    };
    struct register_controller self = {
        .id = 1, .incarnation = {{9}}, .listeners = &listener, .listener_count = 1};
    struct controller_output out;

    self.features = supported_features(&self.feature_count);
    w->core = controller_core_create(&args, w->image, w->now_ms);
    controller_core_activate(w->core, &self, moment(w), &out);
    commit(w, &out);
}

void world_fail_over(struct controller_world *w)
{
    controller_core_free(w->core);
    world_activate(w);
}

struct controller_result world_step(struct controller_world *w, struct controller_request *r)
{
    struct controller_output out;
    struct controller_result result;

    r->arena = &w->arena;
    result = controller_core_step(w->core, r, moment(w), &out);
    commit(w, &out);
    return result;
}

static void note_suspects(struct controller_world *w)
{
    struct controller_suspect suspects[8];
    size_t count = controller_core_suspects(w->core, w->now_ms, suspects, 8);

    if (count == 0)
        return;
    memcpy(w->suspects, suspects, sizeof suspects);
    w->suspect_count = count;
}

void world_pass(struct controller_world *w, int64_t ms)
{
    int64_t end_ms = w->now_ms + ms;
    struct controller_output out;

    while (controller_core_next_tick_ms(w->core) <= end_ms) {
        w->now_ms = controller_core_next_tick_ms(w->core);
        controller_core_tick(w->core, moment(w), &out);
        commit(w, &out);
        note_suspects(w);
    }
    w->now_ms = end_ms;
}

/* ---- brokers ---- */

struct register_broker world_broker(int32_t id, uint8_t incarnation)
{
    static const struct metadata_listener listener = {{"PLAINTEXT", 9}, {"localhost", 9}, 9092, 0};
    static struct uuid dirs[128];
    struct register_broker b = {.id = id,
                                .cluster_id = STR("cluster"),
                                .listeners = &listener,
                                .listener_count = 1,
                                .previous_epoch = -1};

    CHECK(id >= 0 && id < 128);
    dirs[id].bytes[0] = 0xd1;
    dirs[id].bytes[15] = (uint8_t)id;
    b.incarnation.bytes[0] = incarnation;
    b.incarnation.bytes[1] = (uint8_t)id;
    b.log_dirs = &dirs[id];
    b.log_dir_count = 1;
    b.features = supported_features(&b.feature_count);
    return b;
}

int64_t world_register(struct controller_world *w, const struct register_broker *b, enum kerr *code)
{
    struct controller_request r = {.operation = CONTROLLER_REGISTER_BROKER};
    struct controller_result result;

    r.registration.broker = *b;
    result = world_step(w, &r);
    *code = result.code;
    return result.code == KERR_NONE ? r.registration.epoch : -1;
}

struct broker_heartbeat world_alive(struct controller_world *w, int32_t id)
{
    const struct metadata_broker *b = metadata_image_broker(w->image, id);

    CHECK(b);
    return (struct broker_heartbeat){
        .id = id, .epoch = b->epoch, .metadata_offset = w->next_offset - 1};
}

struct broker_heartbeat_result world_beat(struct controller_world *w, struct broker_heartbeat beat)
{
    struct controller_request r = {.operation = CONTROLLER_HEARTBEAT};

    r.heartbeat.broker = beat;
    CHECK(world_step(w, &r).code == KERR_NONE);
    return r.heartbeat.result;
}

int64_t world_join(struct controller_world *w, int32_t id)
{
    struct register_broker b = world_broker(id, 1);
    enum kerr code;
    int64_t epoch = world_register(w, &b, &code);

    CHECK(code == KERR_NONE);
    CHECK(!world_beat(w, world_alive(w, id)).fenced);
    return epoch;
}

void world_fence(struct controller_world *w, int32_t id)
{
    struct broker_heartbeat beat = world_alive(w, id);

    beat.want_fence = true;
    CHECK(world_beat(w, beat).fenced);
}

void world_live(struct controller_world *w, int64_t ms)
{
    for (int64_t end_ms = w->now_ms + ms; w->now_ms < end_ms;) {
        world_pass(w, end_ms - w->now_ms < 1000 ? end_ms - w->now_ms : 1000);
        for (size_t i = 0; i < metadata_image_broker_count(w->image); i++) {
            const struct metadata_broker *b = metadata_image_broker_at(w->image, i);

            if (!b->fenced)
                world_beat(w, world_alive(w, b->id));
        }
    }
}

struct alter_partition_result world_set_isr(struct controller_world *w, const char *topic,
                                            int32_t index, struct id_list isr)
{
    const struct metadata_partition *p = world_partition(w, topic, index);
    struct isr_member members[16];
    struct alter_partition q = {
        world_topic(w, topic)->id, index,   p->leader_epoch, p->partition_epoch,
        LEADER_RECOVERED,          members, isr.count};
    struct controller_request r = {.operation = CONTROLLER_ALTER_PARTITIONS};

    CHECK(isr.count <= 16);
    for (size_t i = 0; i < isr.count; i++)
        members[i] = (struct isr_member){isr.ids[i], -1};
    r.isr.broker_id = p->leader;
    r.isr.broker_epoch = metadata_image_broker(w->image, p->leader)->epoch;
    r.isr.partitions = &q;
    r.isr.count = 1;
    CHECK(world_step(w, &r).code == KERR_NONE);
    return r.isr.results[0];
}

/* ---- clients ---- */

bool ids_equal(struct id_list a, struct id_list b)
{
    return a.count == b.count &&
           (a.count == 0 || memcmp(a.ids, b.ids, a.count * sizeof *a.ids) == 0);
}

void world_create_on(struct controller_world *w, const char *name, struct id_list brokers)
{
    struct controller_assignment assignment = {0, brokers};

    CHECK(world_create_topic(w, (struct create_topic){.name = str_from(name),
                                                      .partition_count = -1,
                                                      .replication_factor = -1,
                                                      .assignments = &assignment,
                                                      .assignment_count = 1})
              .result.code == KERR_NONE);
}

struct create_topic_result world_create_topic(struct controller_world *w, struct create_topic t)
{
    struct controller_request r = {.operation = CONTROLLER_CREATE_TOPICS};
    struct create_topic_result result;

    r.create.topics = &t;
    r.create.count = 1;
    CHECK(world_step(w, &r).code == KERR_NONE);
    result = r.create.results[0];
    config_set_release(result.configs);
    result.configs = NULL;
    return result;
}

struct create_topic_result world_create(struct controller_world *w, const char *name,
                                        int32_t partitions, int16_t replication_factor)
{
    return world_create_topic(w, (struct create_topic){.name = str_from(name),
                                                       .partition_count = partitions,
                                                       .replication_factor = replication_factor});
}

struct controller_result world_set_config(struct controller_world *w, int8_t type,
                                          const char *resource, const char *name, int8_t operation,
                                          const char *value)
{
    struct config_change change = {str_from(name), operation, str_from(value)};
    struct alter_config alter = {type, str_from(resource), &change, 1};
    struct controller_request r = {.operation = CONTROLLER_ALTER_CONFIGS};

    r.alter.resources = &alter;
    r.alter.count = 1;
    CHECK(world_step(w, &r).code == KERR_NONE);
    return r.alter.results[0];
}

const struct metadata_topic *world_topic(struct controller_world *w, const char *name)
{
    return metadata_image_topic(w->image, str_from(name));
}

const struct metadata_partition *world_partition(struct controller_world *w, const char *name,
                                                 int32_t index)
{
    return metadata_topic_partition(world_topic(w, name), index);
}

/* ---- equality ---- */

static int compare_bytes(const void *a, const void *b)
{
    const struct bytes *x = a, *y = b;
    size_t common = x->size < y->size ? x->size : y->size;
    int order = memcmp(x->data, y->data, common);

    return order ? order : (x->size > y->size) - (x->size < y->size);
}

static struct bytes *dump_sorted(const struct metadata_image *img, size_t *total)
{
    struct metadata_dump *d = metadata_dump_create(img);
    struct bytes *all = NULL;
    const struct bytes *values;
    size_t count;

    *total = 0;
    for (metadata_dump_next(d, &values, &count); count > 0;
         metadata_dump_next(d, &values, &count)) {
        all = realloc(all, (*total + count) * sizeof *all);
        CHECK(all);
        for (size_t i = 0; i < count; i++) {
            uint8_t *copy = malloc(values[i].size);

            CHECK(copy);
            memcpy(copy, values[i].data, values[i].size);
            all[(*total)++] = (struct bytes){copy, values[i].size};
        }
    }
    metadata_dump_free(d);
    if (*total > 1)
        qsort(all, *total, sizeof *all, compare_bytes);
    return all;
}

bool images_equal(const struct metadata_image *a, const struct metadata_image *b)
{
    size_t a_count, b_count;
    struct bytes *x = dump_sorted(a, &a_count), *y = dump_sorted(b, &b_count);
    bool equal = a_count == b_count;

    for (size_t i = 0; i < a_count && i < b_count; i++)
        equal = equal && compare_bytes(&x[i], &y[i]) == 0;
    for (size_t i = 0; i < a_count; i++)
        free((void *)(uintptr_t)x[i].data);
    for (size_t i = 0; i < b_count; i++)
        free((void *)(uintptr_t)y[i].data);
    free(x);
    free(y);
    return equal;
}
