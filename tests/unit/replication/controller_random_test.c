/* Brokers come, go, lie and move their partitions about, in any order, under one controller after
 * the other. Whatever they do, what the metadata says of every partition makes sense after each
 * step. A failure prints its seed. */
#include "tests/unit/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/replication/controller_world.h"

enum { BROKERS = 5, TOPICS = 4, PARTITIONS_MAX = 6, STEPS = 400 };

#define SEEDS 150

struct play {
    struct controller_world w;
    uint64_t seed;
    uint64_t random;
    uint8_t incarnations[BROKERS + 1];
    int32_t leader_epochs[TOPICS][PARTITIONS_MAX];
    int32_t partition_epochs[TOPICS][PARTITIONS_MAX];
    size_t partition_counts[TOPICS];
    struct uuid topic_ids[TOPICS];
    const char *doing;
};

static uint64_t below(struct play *p, uint64_t limit)
{
    uint64_t z = p->random += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (z ^ (z >> 31)) % limit;
}

static bool one_in(struct play *p, uint64_t n)
{
    return below(p, n) == 0;
}

static int32_t any_broker(struct play *p)
{
    return 1 + (int32_t)below(p, BROKERS);
}

static const char *name_of(size_t topic)
{
    static const char *const names[TOPICS] = {"a", "b", "c", "d"};

    return names[topic];
}

/* Distinct brokers, now and then one that is not there, or one twice. */
static struct id_list any_brokers(struct play *p, int32_t out[BROKERS])
{
    size_t count = 1 + (size_t)below(p, 4), n = 0;

    while (n < count) {
        int32_t id = one_in(p, 50) ? 9 : any_broker(p);

        if (one_in(p, 50) || !id_list_contains((struct id_list){out, n}, id))
            out[n++] = id;
    }
    return (struct id_list){out, n};
}

/* ---- what must hold ---- */

#define HOLDS(p, condition)                                                                        \
    do {                                                                                           \
        if (!(condition))                                                                          \
            fail_msg("%s, after '%s', with CONTROLLER_SEED=%llu", #condition, (p)->doing,          \
                     (unsigned long long)(p)->seed);                                               \
    } while (0)

static bool distinct(struct id_list l)
{
    for (size_t i = 0; i < l.count; i++)
        if (id_list_contains((struct id_list){l.ids, i}, l.ids[i]))
            return false;
    return true;
}

static bool within(struct id_list l, struct id_list all)
{
    for (size_t i = 0; i < l.count; i++)
        if (!id_list_contains(all, l.ids[i]))
            return false;
    return distinct(l);
}

static bool apart(struct id_list a, struct id_list b)
{
    for (size_t i = 0; i < a.count; i++)
        if (id_list_contains(b, a.ids[i]))
            return false;
    return true;
}

static bool active(struct play *p, int32_t id)
{
    const struct metadata_broker *b = metadata_image_broker(p->w.image, id);

    return b && !b->fenced && !b->in_controlled_shutdown;
}

static bool directory_is_online(struct play *p, const struct metadata_partition *mp, int32_t id)
{
    const struct metadata_broker *b = metadata_image_broker(p->w.image, id);

    for (size_t i = 0; b && i < mp->replicas.count; i++)
        if (mp->replicas.ids[i] == id)
            for (size_t k = 0; k < b->log_dir_count; k++)
                if (uuid_equal(b->log_dirs[k], mp->directories[i]) ||
                    uuid_is_reserved(mp->directories[i]))
                    return true;
    return false;
}

static void check_partition(struct play *p, const struct metadata_topic *t,
                            const struct metadata_partition *mp)
{
    size_t min_isr = (size_t)t->config->settings.min_insync_replicas;

    HOLDS(p, mp->replicas.count > 0);
    HOLDS(p, distinct(mp->replicas));
    HOLDS(p, within(mp->isr, mp->replicas));
    HOLDS(p, within(mp->elr, mp->replicas));
    HOLDS(p, apart(mp->isr, mp->elr));
    HOLDS(p, within(mp->adding, mp->replicas));
    HOLDS(p, within(mp->removing, mp->replicas));
    HOLDS(p, apart(mp->adding, mp->removing));
    HOLDS(p, mp->last_known_elr.count <= 1);
    HOLDS(p, mp->leader == NO_LEADER || id_list_contains(mp->isr, mp->leader));
    HOLDS(p, mp->leader == NO_LEADER || active(p, mp->leader));
    HOLDS(p, mp->leader == NO_LEADER || mp->last_known_elr.count == 0);
    /* A reassignment taken back, where that loses records, leaves one in the ISR that need not be
     * there. */
    for (size_t i = 0; i < mp->isr.count; i++)
        HOLDS(p, mp->leader == NO_LEADER ||
                     (active(p, mp->isr.ids[i]) && directory_is_online(p, mp, mp->isr.ids[i])));
    HOLDS(p, mp->isr.count > 0 || mp->leader == NO_LEADER);
    if (min_isr > mp->replicas.count)
        min_isr = mp->replicas.count;
    HOLDS(p, mp->leader == NO_LEADER || mp->isr.count < min_isr || mp->elr.count == 0);
    /* Nobody waits for a leader whom anybody could be without losing a record. */
    for (size_t i = 0; mp->leader == NO_LEADER && i < mp->replicas.count; i++)
        HOLDS(p, !id_list_contains(mp->isr.count ? mp->isr : mp->elr, mp->replicas.ids[i]) ||
                     !active(p, mp->replicas.ids[i]) ||
                     !directory_is_online(p, mp, mp->replicas.ids[i]));
}

static void check_topic(struct play *p, size_t at)
{
    const struct metadata_topic *t = world_topic(&p->w, name_of(at));

    if (!t || !uuid_equal(t->id, p->topic_ids[at])) {
        memset(p->leader_epochs[at], 0, sizeof p->leader_epochs[at]);
        memset(p->partition_epochs[at], 0, sizeof p->partition_epochs[at]);
        p->partition_counts[at] = 0;
        p->topic_ids[at] = t ? t->id : UUID_ZERO;
    }
    if (!t)
        return;
    HOLDS(p, t->partition_count >= p->partition_counts[at]);
    p->partition_counts[at] = t->partition_count;
    for (size_t i = 0; i < t->partition_count; i++) {
        const struct metadata_partition *mp = t->partitions[i];

        check_partition(p, t, mp);
        HOLDS(p, mp->leader_epoch >= p->leader_epochs[at][i]);
        HOLDS(p, mp->partition_epoch >= p->partition_epochs[at][i]);
        p->leader_epochs[at][i] = mp->leader_epoch;
        p->partition_epochs[at][i] = mp->partition_epoch;
    }
}

/* ---- what happens ---- */

static void registers(struct play *p)
{
    int32_t id = any_broker(p);
    const struct metadata_broker *before = metadata_image_broker(p->w.image, id);
    struct register_broker b;
    enum kerr code;

    if (one_in(p, 2))
        p->incarnations[id]++;
    b = world_broker(id, p->incarnations[id]);
    if (before && !one_in(p, 3))
        b.previous_epoch = before->epoch;
    world_register(&p->w, &b, &code);
}

/* A process that wants to go does not change its mind. */
static bool wants_to_go(struct play *p, int32_t id)
{
    return metadata_image_broker(p->w.image, id)->in_controlled_shutdown;
}

static void beats(struct play *p)
{
    int32_t id = any_broker(p);
    struct controller_request r = {.operation = CONTROLLER_HEARTBEAT};

    if (!metadata_image_broker(p->w.image, id))
        return;
    r.heartbeat.broker = world_alive(&p->w, id);
    r.heartbeat.broker.want_fence = one_in(p, 12);
    r.heartbeat.broker.want_shutdown = wants_to_go(p, id) || one_in(p, 12);
    if (one_in(p, 10))
        r.heartbeat.broker.metadata_offset = (int64_t)below(p, (uint64_t)p->w.next_offset);
    if (one_in(p, 20))
        r.heartbeat.broker.epoch--;
    world_step(&p->w, &r);
}

static void all_beat(struct play *p)
{
    for (int32_t id = 1; id <= BROKERS; id++)
        if (metadata_image_broker(p->w.image, id)) {
            struct broker_heartbeat beat = world_alive(&p->w, id);

            beat.want_shutdown = wants_to_go(p, id);
            world_beat(&p->w, beat);
        }
}

static void refuses(struct play *p)
{
    const struct metadata_broker *b = metadata_image_broker(p->w.image, any_broker(p));
    struct controller_request r = {.operation = CONTROLLER_BROKER_REFUSES};

    if (!b)
        return;
    r.sighting = (struct controller_sighting){b->id, b->epoch, p->w.now_ms};
    world_step(&p->w, &r);
}

static void keeps_silent(struct play *p)
{
    const struct metadata_broker *b = metadata_image_broker(p->w.image, any_broker(p));
    struct controller_request r = {.operation = CONTROLLER_BROKER_SILENT};

    if (!b)
        return;
    r.sighting = (struct controller_sighting){b->id, b->epoch, p->w.now_ms};
    world_step(&p->w, &r);
}

static void creates(struct play *p)
{
    int32_t ids[2][BROKERS];
    struct controller_assignment assignments[2];
    const char *name = name_of(below(p, TOPICS));

    if (one_in(p, 2)) {
        world_create(&p->w, name, (int32_t)below(p, 4), (int16_t)below(p, 5));
        return;
    }
    for (int32_t i = 0; i < 2; i++)
        assignments[i] = (struct controller_assignment){i, any_brokers(p, ids[i])};
    world_create_topic(&p->w, (struct create_topic){.name = str_from(name),
                                                    .partition_count = -1,
                                                    .replication_factor = -1,
                                                    .assignments = assignments,
                                                    .assignment_count = 2});
}

static void deletes(struct play *p)
{
    struct delete_topic q = {.name = str_from(name_of(below(p, TOPICS)))};
    struct controller_request r = {.operation = CONTROLLER_DELETE_TOPICS};

    r.remove.topics = &q;
    r.remove.count = 1;
    world_step(&p->w, &r);
}

static void grows(struct play *p)
{
    struct grow_topic q = {.name = str_from(name_of(below(p, TOPICS))),
                           .partition_count = (int32_t)below(p, PARTITIONS_MAX + 1)};
    struct controller_request r = {.operation = CONTROLLER_GROW_TOPICS};

    r.grow.topics = &q;
    r.grow.count = 1;
    world_step(&p->w, &r);
}

static void is_set(struct play *p)
{
    static const char *const minimums[] = {"1", "2", "3"};
    const char *name = name_of(below(p, TOPICS));

    if (one_in(p, 2))
        world_set_config(&p->w, CONFIG_RESOURCE_TOPIC, name, "min.insync.replicas", CONFIG_SET,
                         minimums[below(p, 3)]);
    else
        world_set_config(&p->w, CONFIG_RESOURCE_TOPIC, name, "unclean.leader.election.enable",
                         CONFIG_SET, one_in(p, 3) ? "true" : "false");
}

static const struct metadata_partition *any_partition(struct play *p, size_t *topic, int32_t *index)
{
    const struct metadata_topic *t;

    *topic = (size_t)below(p, TOPICS);
    t = world_topic(&p->w, name_of(*topic));
    if (!t)
        return NULL;
    *index = (int32_t)below(p, t->partition_count);
    return t->partitions[*index];
}

/* Mostly what a leader would say: itself, and some who fetch from it, or did a moment ago. */
static void leader_changes_isr(struct play *p)
{
    size_t topic;
    int32_t index;
    const struct metadata_partition *mp = any_partition(p, &topic, &index);
    struct isr_member members[BROKERS + 4];
    struct alter_partition q = {.isr = members};
    struct controller_request r = {.operation = CONTROLLER_ALTER_PARTITIONS};

    if (!mp || mp->leader == NO_LEADER)
        return;
    for (size_t i = 0; i < mp->replicas.count; i++)
        if (mp->replicas.ids[i] == mp->leader
                ? !one_in(p, 30)
                : metadata_image_broker(p->w.image, mp->replicas.ids[i]) && !one_in(p, 3))
            members[q.isr_count++] = (struct isr_member){
                mp->replicas.ids[i],
                one_in(p, 30) ? 0 : metadata_image_broker(p->w.image, mp->replicas.ids[i])->epoch};
    if (one_in(p, 30))
        members[q.isr_count++] = (struct isr_member){any_broker(p), -1};
    q.topic_id = world_topic(&p->w, name_of(topic))->id;
    q.partition = index;
    q.leader_epoch = mp->leader_epoch - one_in(p, 30);
    q.partition_epoch = mp->partition_epoch - one_in(p, 30);
    q.leader_recovery_state = mp->leader_recovery_state == LEADER_RECOVERING && one_in(p, 2)
                                  ? LEADER_RECOVERING
                                  : LEADER_RECOVERED;
    r.isr.broker_id = mp->leader;
    r.isr.broker_epoch = metadata_image_broker(p->w.image, mp->leader)->epoch;
    r.isr.partitions = &q;
    r.isr.count = 1;
    world_step(&p->w, &r);
}

static void elects(struct play *p)
{
    struct controller_request r = {.operation = CONTROLLER_ELECT_LEADERS};
    struct topic_partition q;
    size_t topic;

    if (!any_partition(p, &topic, &q.partition))
        return;
    q.topic = str_from(name_of(topic));
    r.election.type = one_in(p, 3) ? ELECT_UNCLEAN : ELECT_PREFERRED;
    r.election.all = one_in(p, 3);
    r.election.partitions = &q;
    r.election.count = 1;
    world_step(&p->w, &r);
}

static void moves(struct play *p)
{
    struct controller_request r = {.operation = CONTROLLER_ALTER_REASSIGNMENTS};
    struct reassign_partition q = {{0}, 0, {0}};
    int32_t ids[BROKERS];
    size_t topic;

    if (!any_partition(p, &topic, &q.partition))
        return;
    q.topic = str_from(name_of(topic));
    if (!one_in(p, 3))
        q.replicas = any_brokers(p, ids);
    r.reassign.partitions = &q;
    r.reassign.count = 1;
    world_step(&p->w, &r);
}

static void says_where(struct play *p)
{
    struct assign_replica q;
    struct controller_request r = {.operation = CONTROLLER_ASSIGN_REPLICAS};
    const struct metadata_broker *b;
    size_t topic;
    const struct metadata_partition *mp = any_partition(p, &topic, &q.partition);

    b = mp ? metadata_image_broker(p->w.image, mp->replicas.ids[below(p, mp->replicas.count)])
           : NULL;
    if (!b)
        return;
    q.topic_id = world_topic(&p->w, name_of(topic))->id;
    q.directory = one_in(p, 3) ? (struct uuid){{0xee}} : b->log_dirs[0]; /* one that is offline */
    r.directories.broker_id = b->id;
    r.directories.broker_epoch = b->epoch;
    r.directories.replicas = &q;
    r.directories.count = 1;
    world_step(&p->w, &r);
}

static void is_unregistered(struct play *p)
{
    struct controller_request r = {.operation = CONTROLLER_UNREGISTER_BROKER};

    if (!one_in(p, 4))
        return;
    r.unregistration.broker_id = any_broker(p);
    world_step(&p->w, &r);
}

static void time_passes(struct play *p)
{
    world_pass(&p->w, (int64_t)below(p, one_in(p, 10) ? 10000 : 300));
}

static void controller_fails(struct play *p)
{
    if (one_in(p, 2))
        world_fail_over(&p->w);
}

static const struct {
    const char *what;
    void (*happens)(struct play *p);
    int weight;
} deeds[] = {
    {"a broker registers", registers, 4},
    {"a broker beats", beats, 8},
    {"all beat", all_beat, 6},
    {"a broker refuses", refuses, 3},
    {"a broker does not answer", keeps_silent, 3},
    {"a topic is created", creates, 4},
    {"a topic is deleted", deletes, 1},
    {"a topic grows", grows, 2},
    {"a topic is set", is_set, 3},
    {"a leader changes its ISR", leader_changes_isr, 16},
    {"leaders are elected", elects, 4},
    {"a partition moves", moves, 5},
    {"a broker says where a replica is", says_where, 2},
    {"a broker is unregistered", is_unregistered, 1},
    {"time passes", time_passes, 4},
    {"the controller fails", controller_fails, 1},
};

static void do_anything(struct play *p)
{
    int total = 0, at;
    size_t i = 0;

    for (size_t k = 0; k < sizeof deeds / sizeof deeds[0]; k++)
        total += deeds[k].weight;
    for (at = (int)below(p, (uint64_t)total); at >= deeds[i].weight; i++)
        at -= deeds[i].weight;
    p->doing = deeds[i].what;
    deeds[i].happens(p);
}

static void play_with(uint64_t seed)
{
    static struct play p;

    p = (struct play){.seed = seed, .random = seed, .doing = "the start"};
    world_init(&p.w);
    world_activate(&p.w);
    for (int32_t id = 1; id <= BROKERS; id++) {
        p.incarnations[id] = 1;
        world_join(&p.w, id);
    }
    for (int step = 0; step < STEPS; step++) {
        arena_reset(&p.w.arena);
        do_anything(&p);
        for (size_t t = 0; t < TOPICS; t++)
            check_topic(&p, t);
    }
    world_free(&p.w);
}

static void metadata_of_every_partition_makes_sense_whatever_happens(void **state)
{
    const char *only = getenv("CONTROLLER_SEED");

    (void)state;
    if (only) {
        play_with(strtoull(only, NULL, 10));
        return;
    }
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        play_with(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metadata_of_every_partition_makes_sense_whatever_happens)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
