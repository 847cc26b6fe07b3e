#include "tests/unit/broker/coordinator/group_world.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "broker/coordinator/group_classic.h"
#include "protocol/writer.h"

enum { FX_BYTES = 64 << 20, CALLER_BYTES = 16 << 20, RECORD_BYTES = 32 << 20 };

/* ---- the world ---- */

_Noreturn void world_fail(const struct group_world *w, const char *what)
{
    fprintf(stderr, "at %lld ms, seed %llu: %s\n", (long long)w->now_ms,
            (unsigned long long)w->first_seed, what);
    if (w->core)
        world_print((struct group_world *)(uintptr_t)w, stderr);
    abort();
}

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u;

    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

uint32_t world_random(struct group_world *w, uint32_t below)
{
    return (uint32_t)(next_random(&w->seed) >> 16) % below;
}

static void fill(struct random *r, void *out, size_t size)
{
    struct group_world *w =
        (struct group_world *)((char *)r - offsetof(struct group_world, random));

    for (size_t i = 0; i < size; i++)
        ((uint8_t *)out)[i] = (uint8_t)next_random(&w->seed);
}

static void config_of(void *arg, struct str group, struct group_config *out)
{
    (void)group;
    *out = ((struct group_world *)arg)->config;
}

static struct group_core *make_core(struct group_world *w)
{
    struct group_core *core = group_core_create(&(struct group_core_args){
        .settings = &w->settings,
        .random = &w->random,
        .config = config_of,
        .arg = w,
        .image = w->images.image,
    });

    if (!core)
        world_fail(w, "no core");
    group_core_set_wall_clock(core, w->wall_offset_ms);
    return core;
}

static void start_core(struct group_world *w)
{
    w->core = make_core(w);
    w->appended = w->committed = 0;
}

struct group_world *world_new(uint64_t seed)
{
    static const char *const assignors[] = {"uniform", "range"};
    struct group_world *w = calloc(1, sizeof *w);

    if (!w)
        abort();
    w->settings = (struct group_settings){
        .min_session_timeout_ms = 6000,
        .max_session_timeout_ms = 1800000,
        .initial_rebalance_delay_ms = 3000,
        .max_size = 1000,
        .consumer_max_size = 1000,
        .offset_metadata_bytes_max = 4096,
        .offsets_retention_ms = 7LL * 24 * 3600 * 1000,
        .consumer_assignors = assignors,
        .consumer_assignor_count = 2,
        .upgrade = true,
        .downgrade = true,
        .classic = true,
        .consumer = true,
        .regex_refresh_ms = 600000,
    };
    w->config = (struct group_config){45000, 5000, 0};
    w->first_seed = w->seed = seed;
    w->random.fill = fill;
    w->now_ms = 1000;
    w->wall_offset_ms = 1700000000000;
    image_world_init(&w->images);
    w->arena_bytes = CALLER_BYTES;
    arena_init(&w->fx.arena, FX_BYTES);
    start_core(w);
    return w;
}

static void free_call(struct world_call *call)
{
    arena_free(&call->arena);
    free(call);
}

static void drop_regexes(struct group_world *w)
{
    while (w->regexes) {
        struct world_regex *x = w->regexes;

        w->regexes = x->next;
        free(x);
    }
}

void world_free(struct group_world *w)
{
    struct world_kv *kv, *next;
    struct world_state *s, *next_state;

    w->hold = true;
    group_core_stop(w->core, KERR_NOT_COORDINATOR, &w->fx);
    world_done(w);
    drop_regexes(w);
    group_core_free(w->core);
    arena_free(&w->fx.arena);
    image_world_free(&w->images);
    HASH_ITER(hh, w->store, kv, next)
    {
        HASH_DEL(w->store, kv);
        free(kv);
    }
    HASH_ITER(hh, w->states, s, next_state)
    {
        HASH_DEL(w->states, s);
        free(s);
    }
    for (kv = w->queue; kv; kv = next) {
        next = kv->next;
        free(kv);
    }
    while (w->calls) {
        struct world_call *call = w->calls;

        w->calls = call->next;
        free_call(call);
    }
    while (w->clients) {
        struct world_client *c = w->clients;

        w->clients = c->next;
        if (c->last)
            free_call(c->last);
        free(c);
    }
    free(w);
}

static void enter(struct group_world *w)
{
    if (w->in_core)
        w->in_core(true);
}

/* ---- the log and the store ---- */

static struct world_kv *encode(struct group_world *w, const struct group_record *r)
{
    struct writer key, value;
    struct world_kv *kv;
    struct str group = group_record_group(r);

    writer_init(&key, RECORD_BYTES);
    writer_init(&value, RECORD_BYTES);
    if (!group_record_encode(r, &key, &value))
        world_fail(w, "a record that cannot be encoded");
    kv = calloc(1, sizeof *kv + key.size + value.size);
    if (!kv || group.size >= sizeof kv->group)
        world_fail(w, "no room for a record");
    kv->key_size = key.size;
    kv->value_size = value.size;
    kv->has_value = !r->tombstone;
    kv->value = kv->key + key.size;
    memcpy(kv->key, key.data, key.size);
    if (value.size)
        memcpy(kv->value, value.data, value.size);
    memcpy(kv->group, group.data, group.size);
    writer_free(&key);
    writer_free(&value);
    return kv;
}

static void apply(struct world_kv **store, struct world_kv *kv)
{
    struct world_kv *old;

    HASH_FIND(hh, *store, kv->key, kv->key_size, old);
    if (old) {
        HASH_DEL(*store, old);
        free(old);
    }
    if (kv->has_value)
        HASH_ADD(hh, *store, key, (unsigned)kv->key_size, kv);
    else
        free(kv);
}

static struct world_kv *copy_kv(const struct world_kv *kv)
{
    size_t size = sizeof *kv + kv->key_size + kv->value_size;
    struct world_kv *copy = malloc(size);

    if (!copy)
        abort();
    memcpy(copy, kv, size);
    copy->value = copy->key + kv->key_size;
    copy->next = NULL;
    return copy;
}

static enum kerr decode(const struct world_kv *kv, struct group_record *r, struct arena *a)
{
    return group_record_decode(r, (struct bytes){kv->key, kv->key_size},
                               (struct bytes){kv->has_value ? kv->value : NULL, kv->value_size}, a);
}

static bool load_one(struct group_world *w, struct group_core *core, const struct world_kv *kv)
{
    struct group_record r;
    struct arena a;
    bool offset;

    arena_init(&a, RECORD_BYTES);
    if (decode(kv, &r, &a))
        world_fail(w, "a stored record that cannot be decoded");
    if (core == w->core)
        enter(w);
    if (group_core_load_record(core, &r) && !w->may_overload)
        world_fail(w, "a stored record that the core does not take");
    if (w->in_core)
        w->in_core(false);
    offset = group_record_is_offset(&r);
    arena_free(&a);
    return offset;
}

static bool load_group(struct group_world *w, struct group_core *core, const struct world_kv *store,
                       const char *group)
{
    bool has_offsets = false;

    for (const struct world_kv *kv = store; kv; kv = kv->hh.next)
        if (strcmp(kv->group, group) == 0)
            has_offsets |= load_one(w, core, kv);
    return has_offsets;
}

void world_need(struct group_world *w, const char *group)
{
    while (group_core_find(w->core, str_from(group)) == GROUP_UNLOADED) {
        bool has_offsets = load_group(w, w->core, w->store, group);

        enter(w);
        group_core_loaded(w->core, str_from(group), has_offsets, w->now_ms, &w->fx);
        world_done(w);
    }
}

struct group_core *world_reload(struct group_world *w, const char *group)
{
    int32_t max_size = w->settings.max_size;
    struct group_core *core = make_core(w);
    struct world_kv *all = NULL, *kv, *next;
    struct group_effects fx = {0};
    bool has_offsets;

    for (kv = w->store; kv; kv = kv->hh.next)
        if (strcmp(kv->group, group) == 0)
            apply(&all, copy_kv(kv));
    for (kv = w->queue; kv; kv = kv->next)
        if (strcmp(kv->group, group) == 0)
            apply(&all, copy_kv(kv));
    has_offsets = load_group(w, core, all, group);
    HASH_ITER(hh, all, kv, next)
    {
        HASH_DEL(all, kv);
        free(kv);
    }
    arena_init(&fx.arena, 1 << 20);
    w->settings.max_size = INT32_MAX; /* a group over the limit would rebalance at once */
    group_core_loaded(core, str_from(group), has_offsets, w->now_ms, &fx);
    w->settings.max_size = max_size;
    arena_free(&fx.arena);
    return core;
}

int64_t world_offset(struct group_world *w, const char *group, const char *topic, int32_t partition)
{
    for (const struct world_kv *kv = w->store; kv; kv = kv->hh.next) {
        struct group_record r;
        struct arena a;
        int64_t offset = -1;

        if (strcmp(kv->group, group) != 0)
            continue;
        arena_init(&a, RECORD_BYTES);
        if (decode(kv, &r, &a) == KERR_NONE && r.type == GROUP_RECORD_OFFSET_COMMIT &&
            r.key.offset_commit.partition == partition &&
            str_equal(r.key.offset_commit.topic, str_from(topic)))
            offset = r.value.offset_commit.offset;
        arena_free(&a);
        if (offset >= 0)
            return offset;
    }
    return -1;
}

/* ---- telling ---- */

const char *world_name_of(struct str id)
{
    static char text[4][WORLD_ID_BYTES + 16];
    static unsigned turn;
    char *out = text[turn++ % 4];

    /* "a-1f3c…": the client's name is enough to tell members apart in a story, and a new id shows
     * by the digits. */
    snprintf(out, sizeof text[0], "%.*s", STR_ARG(id));
    if (id.size > 37 && id.size < WORLD_ID_BYTES && out[id.size - 37] == '-')
        out[id.size - 37 + 5] = '\0';
    return out;
}

static void tell(struct group_world *w, const char *format, ...)
{
    va_list args;

    if (!w->story)
        return;
    fprintf(w->story, "%6lld  ", (long long)w->now_ms - 1000);
    va_start(args, format);
    vfprintf(w->story, format, args);
    va_end(args);
    fputc('\n', w->story);
}

static const char *text_of(struct str s)
{
    static char text[4][256];
    static unsigned turn;
    char *out = text[turn++ % 4];

    snprintf(out, sizeof text[0], "%.*s", s.data ? (int)s.size : 1, s.data ? s.data : "-");
    return out;
}

static void tell_metadata_record(struct group_world *w, const struct group_record *r)
{
    const struct group_metadata_value *v = &r->value.group_metadata;
    char members[1024] = "";

    if (r->tombstone) {
        tell(w, "%s: writes a tombstone of the group", text_of(r->key.group_metadata.group));
        return;
    }
    for (size_t i = 0; i < v->members_count; i++) {
        const struct group_metadata_value_member_metadata *m = &v->members[i];
        size_t used = strlen(members);

        snprintf(members + used, sizeof members - used, " %s%s%s=%.*s", world_name_of(m->member_id),
                 m->group_instance_id.data ? "/" : "",
                 m->group_instance_id.data ? text_of(m->group_instance_id) : "",
                 (int)m->assignment.size, (const char *)m->assignment.data);
    }
    tell(w, "%s: writes generation %d type '%s' protocol %s leader %s members%s",
         text_of(r->key.group_metadata.group), v->generation, text_of(v->protocol_type),
         text_of(v->protocol), v->leader.data ? world_name_of(v->leader) : "-",
         members[0] ? members : " none");
}

static void tell_record(struct group_world *w, const struct group_record *r)
{
    if (r->type == GROUP_RECORD_GROUP_METADATA)
        tell_metadata_record(w, r);
    else if (r->type == GROUP_RECORD_OFFSET_COMMIT && r->tombstone)
        tell(w, "%s: writes a tombstone of %s-%d", text_of(r->key.offset_commit.group),
             text_of(r->key.offset_commit.topic), r->key.offset_commit.partition);
    else if (r->type == GROUP_RECORD_OFFSET_COMMIT)
        tell(w, "%s: writes %s-%d = %lld", text_of(r->key.offset_commit.group),
             text_of(r->key.offset_commit.topic), r->key.offset_commit.partition,
             (long long)r->value.offset_commit.offset);
    else
        tell(w, "%s: writes %s%s", text_of(group_record_group(r)),
             r->tombstone ? "a tombstone of " : "", group_record_type_name((int)r->type));
}

static void state_text(const struct group_world *w, const struct group *g, char *out, size_t size)
{
    const struct classic_group *cg = g->type == GROUP_CLASSIC ? g->classic : NULL;
    size_t used;

    if (g->type == GROUP_CONSUMER) {
        if (w->text_more)
            w->text_more(w, g, out, size);
        else
            snprintf(out, size, "consumer %s", text_of(consumer_group_state(g)));
        return;
    }
    if (!cg) {
        snprintf(out, size, "%s", g->has_offsets ? "offsets only" : "nothing");
        return;
    }
    used = (size_t)snprintf(out, size, "%s generation %d protocol %s members",
                            text_of(classic_state_name(cg->state)), cg->generation,
                            text_of(cg->protocol));
    for (const struct classic_member *m = cg->members; m && used < size; m = m->hh.next)
        used += (size_t)snprintf(out + used, size - used, " %s%s%s%s", world_name_of(m->id),
                                 m == cg->leader ? "*" : "", m->joining ? "(joins)" : "",
                                 m->syncing ? "(syncs)" : "");
    if (used < size && !cg->members)
        used += (size_t)snprintf(out + used, size - used, " none");
    if (used < size && cg->pending)
        snprintf(out + used, size - used, ", %u pending", HASH_COUNT(cg->pending));
}

struct world_state *world_state_of(struct group_world *w, struct str group)
{
    struct world_state *s;
    char key[sizeof s->group] = "";

    snprintf(key, sizeof key, "%.*s", STR_ARG(group));
    HASH_FIND_STR(w->states, key, s);
    if (s)
        return s;
    s = calloc(1, sizeof *s);
    if (!s)
        abort();
    memcpy(s->group, key, sizeof key);
    HASH_ADD_STR(w->states, group, s);
    return s;
}

static void tell_states(struct group_world *w)
{
    for (const struct group *g = w->core->groups; g && w->story; g = g->hh.next) {
        struct world_state *s = world_state_of(w, g->id);
        char text[sizeof s->told];

        if (!g->loaded)
            continue;
        state_text(w, g, text, sizeof text);
        if (strcmp(s->told, text) != 0)
            tell(w, "%s is %s", s->group, text);
        memcpy(s->told, text, sizeof text);
    }
}

void world_print(struct group_world *w, FILE *out)
{
    for (const struct group *g = w->core->groups; g; g = g->hh.next) {
        char text[2048];

        state_text(w, g, text, sizeof text);
        fprintf(out, "%.*s: %s\n", STR_ARG(g->id), text);
    }
}

/* ---- effects ---- */

static void append(struct group_world *w, const struct group_record *r)
{
    struct world_kv *kv = encode(w, r);

    kv->write_id = w->fx.write_id;
    if (w->queue)
        w->queue_end->next = kv;
    else
        w->queue = kv;
    w->queue_end = kv;
    w->record_count++;
    tell_record(w, r);
    if ((r->type == GROUP_RECORD_GROUP_METADATA ||
         r->type == GROUP_RECORD_CONSUMER_GROUP_METADATA) &&
        r->tombstone)
        world_state_of(w, group_record_group(r))->generation = 0;
    if (w->on_record)
        w->on_record(w, r);
}

static void copy_id(char out[WORLD_ID_BYTES], struct str id)
{
    snprintf(out, WORLD_ID_BYTES, "%.*s", STR_ARG(id));
}

static void learn_join(struct world_client *c, const struct world_call *call)
{
    const struct group_join_answer *a = &call->caller.join;

    if (call->caller.code == KERR_MEMBER_ID_REQUIRED || call->caller.code == KERR_NONE)
        copy_id(c->id, a->member_id);
    if (call->caller.code == KERR_UNKNOWN_MEMBER_ID)
        c->id[0] = '\0';
    if (call->caller.code != KERR_NONE)
        return;
    c->generation = a->generation;
    c->leader = str_equal(a->leader, a->member_id);
    c->member_count = 0;
    for (size_t i = 0; i < a->member_count && i < WORLD_MEMBERS_MAX; i++)
        copy_id(c->members[c->member_count++], a->members[i].member_id);
}

static void learn(struct world_client *c, struct world_call *call)
{
    if (call->caller.call == GROUP_JOIN)
        learn_join(c, call);
    if (call->caller.call == GROUP_SYNC && !call->caller.code)
        snprintf(c->assignment, sizeof c->assignment, "%.*s",
                 (int)call->caller.sync.assignment.size,
                 (const char *)call->caller.sync.assignment.data);
    if (c->waiting == call)
        c->waiting = NULL;
    if (c->last)
        free_call(c->last);
    c->last = call;
}

static void tell_join(struct group_world *w, const struct world_call *call, const char *who)
{
    const struct group_join_answer *a = &call->caller.join;
    char members[512] = "";

    for (size_t i = 0; i < a->member_count; i++) {
        size_t used = strlen(members);

        snprintf(members + used, sizeof members - used, " %s",
                 world_name_of(a->members[i].member_id));
    }
    if (call->caller.code)
        tell(w, "%s: join %s%s%s", who, kerr_name(call->caller.code),
             a->member_id.size ? " as " : "", world_name_of(a->member_id));
    else
        tell(w, "%s: join generation %d as %s, protocol %s of %s, leader %s%s%s%s", who,
             a->generation, world_name_of(a->member_id), text_of(a->protocol),
             text_of(a->protocol_type), world_name_of(a->leader), members[0] ? ", members" : "",
             members, a->skip_assignment ? ", skip assignment" : "");
}

static void tell_leave(struct group_world *w, const struct world_call *call, const char *who)
{
    const struct group_leave_answer *a = &call->caller.leave;

    if (!a->member_count || call->caller.code)
        tell(w, "%s: leave %s", who, kerr_name(call->caller.code));
    for (size_t i = 0; i < a->member_count && !call->caller.code; i++)
        tell(w, "%s: leave of %s%s%s %s", who, world_name_of(a->members[i].member_id),
             a->members[i].instance_id.data ? "/" : "",
             a->members[i].instance_id.data ? text_of(a->members[i].instance_id) : "",
             kerr_name(a->members[i].code));
}

static void tell_describe(struct group_world *w, const struct world_call *call)
{
    const struct group_describe_answer *a = &call->caller.describe;

    tell(w, "describe %s: %s state %s type '%s' protocol '%s'%s%s", call->group,
         kerr_name(call->caller.code), text_of(a->state), text_of(a->protocol_type),
         text_of(a->protocol), a->message.data ? ": " : "",
         a->message.data ? text_of(a->message) : "");
    for (size_t i = 0; i < a->member_count; i++)
        tell(w, "  %s%s%s of %s at %s, metadata %zu bytes, assignment '%.*s'",
             world_name_of(a->members[i].member_id), a->members[i].instance_id.data ? "/" : "",
             a->members[i].instance_id.data ? text_of(a->members[i].instance_id) : "",
             text_of(a->members[i].client_id), text_of(a->members[i].client_host),
             a->members[i].metadata.size, (int)a->members[i].assignment.size,
             (const char *)a->members[i].assignment.data);
}

static void tell_consumer_heartbeat(struct group_world *w, const struct world_call *call,
                                    const char *who)
{
    const struct group_consumer_heartbeat_answer *a = &call->caller.consumer_heartbeat;
    char assigned[1024] = "";
    size_t used = 0;

    if (call->caller.code) {
        tell(w, "%s: %s %s", who, call->what, kerr_name(call->caller.code));
        return;
    }
    for (size_t t = 0; a->assignment && t < a->assignment->topic_count; t++)
        for (size_t p = 0; p < a->assignment->topics[t].partition_count && used < sizeof assigned;
             p++)
            used += (size_t)snprintf(assigned + used, sizeof assigned - used, " %.*s-%d",
                                     STR_ARG(a->assignment->topics[t].topic),
                                     a->assignment->topics[t].partitions[p]);
    tell(w, "%s: %s as %s epoch %d%s%s", who, call->what, world_name_of(a->member_id),
         a->member_epoch, a->assignment ? ", assigned" : "",
         a->assignment && !used ? " nothing" : assigned);
}

static void tell_answer(struct group_world *w, const struct world_call *call)
{
    const char *who = text_of(call->caller.client_id);

    if (call->caller.call == GROUP_JOIN)
        tell_join(w, call, who);
    else if (call->caller.call == GROUP_LEAVE)
        tell_leave(w, call, who);
    else if (call->caller.call == GROUP_DESCRIBE)
        tell_describe(w, call);
    else if (call->caller.call == GROUP_CONSUMER_HEARTBEAT)
        tell_consumer_heartbeat(w, call, who);
    else if (call->caller.call == GROUP_SYNC && !call->caller.code)
        tell(w, "%s: sync '%.*s', protocol %s of %s", who, (int)call->caller.sync.assignment.size,
             (const char *)call->caller.sync.assignment.data, text_of(call->caller.sync.protocol),
             text_of(call->caller.sync.protocol_type));
    else if ((call->caller.call == GROUP_COMMIT || call->caller.call == GROUP_OFFSET_DELETE) &&
             !call->caller.code)
        tell(w, "%s: %s %s", who, call->what, kerr_name(call->partitions[0].code));
    else
        tell(w, "%s: %s %s", who, call->what, kerr_name(call->caller.code));
}

static void deliver(struct group_world *w, struct world_call *call)
{
    enum kerr code = call->caller.code ? call->caller.code : call->partitions[0].code;

    call->delivered = true;
    w->answers[call->caller.call][(uint8_t)code]++;
    tell_answer(w, call);
    if (w->on_answer)
        w->on_answer(w, call);
    if (call->client)
        learn(call->client, call);
}

/* Those whose write is committed, in the order they asked. */
static void deliver_committed(struct group_world *w)
{
    struct world_call **at = &w->calls;

    while (*at) {
        struct world_call *call = *at;

        if (!call->answered || call->caller.after_write > w->committed ||
            (!call->client && call->delivered)) {
            at = &call->next;
            continue;
        }
        if (call->client)
            *at = call->next;
        else
            at = &call->next; /* whoever asked looks at it; it goes with the world's next step */
        deliver(w, call);
    }
}

static void drop_seen(struct group_world *w)
{
    for (struct world_call **at = &w->calls; *at;) {
        struct world_call *call = *at;

        if (call->delivered) {
            *at = call->next;
            free_call(call);
        } else {
            at = &call->next;
        }
    }
}

void world_commit(struct group_world *w, int64_t writes)
{
    int64_t to =
        writes && w->committed + writes < w->appended ? w->committed + writes : w->appended;

    while (w->queue && w->queue->write_id <= to) {
        struct world_kv *kv = w->queue;

        w->queue = kv->next;
        apply(&w->store, kv);
    }
    w->committed = to;
    group_core_committed(w->core, to);
    deliver_committed(w);
}

static void want_regex(struct group_world *w, const struct group_regex_wanted *wanted)
{
    struct world_regex *x = calloc(1, sizeof *x), **at = &w->regexes;

    if (!x)
        abort();
    snprintf(x->group, sizeof x->group, "%.*s", STR_ARG(wanted->group));
    snprintf(x->regex, sizeof x->regex, "%.*s", STR_ARG(wanted->regex));
    while (*at)
        at = &(*at)->next;
    *at = x;
}

/* The step is as if it had not been; the core goes, and with it everybody in it. */
static void overload(struct group_world *w)
{
    if (!w->may_overload)
        world_fail(w, "overloaded");
    w->overloads++;
    for (struct group_caller *who = w->fx.answered, *next; who; who = next) {
        next = who->next;
        if (((struct world_call *)who)->answered)
            world_fail(w, "a caller is answered twice");
        ((struct world_call *)who)->answered = true;
        who->after_write = INT64_MAX;
    }
    world_crash(w);
}

void world_done(struct group_world *w)
{
    const struct group_effects *fx = &w->fx;

    if (w->in_core)
        w->in_core(false);
    if (fx->overloaded) {
        overload(w);
        return;
    }
    if ((fx->record_count != 0) != (fx->write_id != 0))
        world_fail(w, "records without a write id, or a write id without records");
    if (fx->write_id && fx->write_id != ++w->appended)
        world_fail(w, "write ids do not rise by one");
    for (size_t i = 0; i < fx->record_count; i++)
        append(w, &fx->records[i]);
    for (size_t i = 0; i < fx->regex_count; i++)
        want_regex(w, &fx->regexes[i]);
    for (struct group_caller *who = fx->answered, *next; who; who = next) {
        struct world_call *call = (struct world_call *)who;

        next = who->next;
        if (call->answered)
            world_fail(w, "a caller is answered twice");
        if (who->after_write > w->appended)
            world_fail(w, "an answer waits for a write of a later step");
        call->answered = true;
    }
    deliver_committed(w);
    if (!w->hold)
        world_commit(w, 0);
    tell_states(w);
    world_check(w);
}

void world_crash(struct group_world *w)
{
    group_core_stop(w->core, KERR_NOT_COORDINATOR, &w->fx);
    if (w->fx.record_count)
        world_fail(w, "a core that stops writes");
    for (struct group_caller *who = w->fx.answered, *next; who; who = next) {
        next = who->next;
        if (((struct world_call *)who)->answered)
            world_fail(w, "a caller is answered twice");
        ((struct world_call *)who)->answered = true;
    }
    for (struct world_call *call = w->calls; call; call = call->next) {
        if (!call->answered)
            world_fail(w, "somebody still waits in a core that was stopped");
        if (call->caller.after_write > w->committed)
            call->caller.code = KERR_NOT_COORDINATOR;
        call->caller.after_write = 0;
    }
    deliver_committed(w);
    group_core_free(w->core);
    drop_regexes(w);
    while (w->queue) {
        struct world_kv *kv = w->queue;

        w->queue = kv->next;
        free(kv);
    }
    for (struct world_state *s = w->states; s; s = s->hh.next)
        s->generation = 0;
    start_core(w);
}

void world_wait(struct group_world *w, int64_t ms)
{
    int64_t until = w->now_ms + ms;

    for (;;) {
        int64_t due = group_core_next_deadline(w->core);

        if (due > until)
            break;
        if (due > w->now_ms)
            w->now_ms = due;
        enter(w);
        group_core_tick(w->core, w->now_ms, &w->fx);
        world_done(w);
    }
    w->now_ms = until;
    if (group_core_next_deadline(w->core) <= w->now_ms)
        world_fail(w, "something is due and was not done");
}

/* ---- clients ---- */

struct world_client *world_client(struct group_world *w, const char *name)
{
    struct world_client **at = &w->clients;

    for (; *at; at = &(*at)->next)
        if (strcmp((*at)->name, name) == 0)
            return *at;
    *at = calloc(1, sizeof **at);
    if (!*at)
        abort();
    **at = (struct world_client){.session_ms = 10000,
                                 .rebalance_ms = 30000,
                                 .generation = -1,
                                 .group = "g",
                                 .type = "consumer",
                                 .protocols = "range:t"};
    snprintf((*at)->name, sizeof(*at)->name, "%s", name);
    return *at;
}

struct world_call *world_call(struct group_world *w, const char *group, enum group_call kind,
                              const char *what)
{
    struct world_call *call = calloc(1, sizeof *call);
    struct world_call **at;

    if (!call)
        abort();
    drop_seen(w);
    snprintf(call->group, sizeof call->group, "%s", group);
    world_need(w, group);
    call->what = what;
    call->asked_ms = w->now_ms;
    arena_init(&call->arena, w->arena_bytes);
    call->caller = (struct group_caller){.call = kind,
                                         .arena = &call->arena,
                                         .client_id = STR("operator"),
                                         .client_host = STR("/127.0.0.1"),
                                         .after_write = -1};
    for (at = &w->calls; *at; at = &(*at)->next)
        ;
    *at = call;
    return call;
}

static struct world_call *client_call(struct group_world *w, struct world_client *c,
                                      enum group_call kind, const char *what)
{
    struct world_call *call = world_call(w, c->group, kind, what);

    call->client = c;
    call->caller.client_id = str_from(c->name);
    c->waiting = call;
    return call;
}

static struct str instance_of(const struct world_client *c)
{
    return c->instance[0] ? str_from(c->instance) : STR_NULL;
}

static void put(uint8_t **at, const void *data, size_t size)
{
    memcpy(*at, data, size);
    *at += size;
}

/* What a consumer says for a protocol: version 0, its topics, no user data. */
static struct bytes subscription(struct arena *a, const char *topics)
{
    uint8_t *data = arena_alloc(a, strlen(topics) * 3 + 32), *at = data;
    char copy[256], *rest = NULL;
    uint8_t count = 0;
    uint8_t *count_at;

    put(&at, (uint8_t[]){0, 0, 0, 0, 0, 0}, 6);
    count_at = at - 1;
    snprintf(copy, sizeof copy, "%s", topics);
    for (char *t = strtok_r(copy, "+", &rest); t; t = strtok_r(NULL, "+", &rest)) {
        put(&at, (uint8_t[]){0, (uint8_t)strlen(t)}, 2);
        put(&at, t, strlen(t));
        count++;
    }
    *count_at = count;
    put(&at, (uint8_t[]){255, 255, 255, 255}, 4);
    return (struct bytes){data, (size_t)(at - data)};
}

static size_t protocols_of(const struct world_client *c, struct arena *a,
                           struct group_protocol *out, size_t max)
{
    char *copy = arena_strdup(a, str_from(c->protocols)), *rest = NULL;
    size_t count = 0;

    for (char *p = strtok_r(copy, ",", &rest); p && count < max; p = strtok_r(NULL, ",", &rest)) {
        char *colon = strchr(p, ':');
        const char *text = colon ? colon + 1 : "";

        if (colon)
            *colon = '\0';
        out[count++] = (struct group_protocol){
            str_from(p), strcmp(c->type, "consumer") == 0 && !c->raw
                             ? subscription(a, text)
                             : (struct bytes){(const uint8_t *)text, strlen(text)}};
    }
    return count;
}

struct world_call *world_join(struct group_world *w, struct world_client *c)
{
    struct world_call *call = client_call(w, c, GROUP_JOIN, "join");
    struct group_protocol protocols[16];
    struct arena a;
    struct group_join r = {
        .group = str_from(c->group),
        .member_id = str_from(c->id),
        .instance_id = instance_of(c),
        .protocol_type = str_from(c->type),
        .session_timeout_ms = c->session_ms,
        .rebalance_timeout_ms = c->rebalance_ms,
        .protocols = protocols,
        .require_known_member_id = !c->old,
        .supports_skip_assignment = !c->no_skip,
    };

    arena_init(&a, 1 << 20);
    r.protocol_count = protocols_of(c, &a, protocols, 16);
    tell(w, "%s joins%s%s%s%s", c->name, c->id[0] ? " as " : "", world_name_of(r.member_id),
         c->instance[0] ? "/" : "", c->instance);
    enter(w);
    group_core_join(w->core, &call->caller, &r, w->now_ms, &w->fx);
    arena_free(&a);
    world_done(w);
    return call;
}

struct world_call *world_sync(struct group_world *w, struct world_client *c)
{
    struct world_call *call = client_call(w, c, GROUP_SYNC, "sync");
    struct group_sync_assignment assignments[WORLD_MEMBERS_MAX];
    char texts[WORLD_MEMBERS_MAX][128];
    struct arena given_arena;
    struct group_sync r = {
        .group = str_from(c->group),
        .member_id = str_from(c->id),
        .instance_id = instance_of(c),
        .protocol_type = str_from(c->type),
        .protocol = c->sync_protocol[0] ? str_from(c->sync_protocol) : STR_NULL,
        .generation = c->generation,
        .assignments = assignments,
    };

    arena_init(&given_arena, 1 << 20);
    for (size_t i = 0; c->leader && i < c->member_count; i++) {
        struct bytes given;

        if (c->assignor[0])
            snprintf(texts[i], sizeof texts[i], "%s", c->assignor);
        else
            snprintf(texts[i], sizeof texts[i], "%d:%s", c->generation,
                     world_name_of(str_from(c->members[i])));
        given = w->assign ? w->assign(w, c, i, &given_arena)
                          : (struct bytes){(const uint8_t *)texts[i], strlen(texts[i])};
        assignments[r.assignment_count++] =
            (struct group_sync_assignment){str_from(c->members[i]), given};
    }
    tell(w, "%s syncs generation %d", c->name, c->generation);
    enter(w);
    group_core_sync(w->core, &call->caller, &r, w->now_ms, &w->fx);
    arena_free(&given_arena);
    world_done(w);
    return call;
}

struct world_call *world_heartbeat(struct group_world *w, struct world_client *c)
{
    struct world_call *call = client_call(w, c, GROUP_HEARTBEAT, "heartbeat");

    enter(w);
    group_core_heartbeat(w->core, &call->caller,
                         &(struct group_heartbeat){str_from(c->group), str_from(c->id),
                                                   instance_of(c), c->generation},
                         w->now_ms, &w->fx);
    world_done(w);
    return call;
}

static void leave(struct group_world *w, struct world_call *call, const char *id,
                  struct str instance)
{
    struct group_leave_member member = {.member_id = str_from(id), .instance_id = instance};

    enter(w);
    group_core_leave(w->core, &call->caller,
                     &(struct group_leave){
                         .group = str_from(call->group), .members = &member, .member_count = 1},
                     w->now_ms, &w->fx);
    world_done(w);
}

struct world_call *world_leave(struct group_world *w, struct world_client *c)
{
    struct world_call *call = client_call(w, c, GROUP_LEAVE, "leave");

    tell(w, "%s leaves", c->name);
    leave(w, call, c->id, instance_of(c));
    return call;
}

struct world_call *world_remove(struct group_world *w, const char *group, const char *id,
                                const char *instance)
{
    struct world_call *call = world_call(w, group, GROUP_LEAVE, "leave");

    leave(w, call, id, instance[0] ? str_from(instance) : STR_NULL);
    return call;
}

struct world_call *world_commit_offset(struct group_world *w, struct world_client *c,
                                       const char *topic, int32_t partition, int64_t offset,
                                       const char *metadata)
{
    struct world_call *call = client_call(w, c, GROUP_COMMIT, "commit");

    call->partitions[0] = (struct group_commit_partition){.topic = str_from(topic),
                                                          .partition = partition,
                                                          .offset = offset,
                                                          .leader_epoch = -1,
                                                          .metadata = str_from(metadata)};
    call->partition_count = 1;
    enter(w);
    group_core_commit(w->core, &call->caller,
                      &(struct group_commit){
                          .group = str_from(c->group),
                          .member_id = str_from(c->id),
                          .instance_id = instance_of(c),
                          .generation_or_epoch = c->id[0] ? c->generation : -1,
                          .retention_ms = -1,
                          .timestamp_ms = w->now_ms + w->wall_offset_ms,
                          .partitions = call->partitions,
                          .partition_count = 1,
                          .version = 9,
                          .image_offset = metadata_image_offset(w->images.image),
                      },
                      w->now_ms, &w->fx);
    world_done(w);
    return call;
}

/* ---- operators ---- */

struct world_call *world_describe(struct group_world *w, const char *group)
{
    struct world_call *call = world_call(w, group, GROUP_DESCRIBE, "describe");

    enter(w);
    group_core_describe(w->core, &call->caller, str_from(group), &w->fx);
    world_done(w);
    return call;
}

/* The offsets that the store holds of a group; the names point into the store. */
static size_t stored_offsets(struct group_world *w, const char *group, struct arena *a,
                             struct group_stored_offset *out, size_t max)
{
    size_t count = 0;

    for (const struct world_kv *kv = w->store; kv && count < max; kv = kv->hh.next) {
        struct group_record r;

        if (strcmp(kv->group, group) != 0 || decode(kv, &r, a) || !group_record_is_offset(&r))
            continue;
        out[count++] = (struct group_stored_offset){
            .name = {r.key.offset_commit.topic, r.key.offset_commit.partition, KERR_NONE},
            .topic_id = r.value.offset_commit.topic_id,
            .commit_timestamp_ms = r.value.offset_commit.commit_timestamp,
            .expire_timestamp_ms = r.value.offset_commit.expire_timestamp,
        };
    }
    return count;
}

enum { OFFSETS_MAX = 256 };

struct world_call *world_delete(struct group_world *w, const char *group)
{
    struct world_call *call = world_call(w, group, GROUP_DELETE, "delete");
    struct group_stored_offset offsets[OFFSETS_MAX];
    struct group_offset_name names[OFFSETS_MAX];
    struct arena a;
    size_t count;

    world_commit(w, 0); /* it must be settled */
    arena_init(&a, RECORD_BYTES);
    count = stored_offsets(w, group, &a, offsets, OFFSETS_MAX);
    for (size_t i = 0; i < count; i++)
        names[i] = offsets[i].name;
    enter(w);
    group_core_delete(w->core, &call->caller, str_from(group), names, count, &w->fx);
    arena_free(&a);
    world_done(w);
    return call;
}

struct world_call *world_offset_delete(struct group_world *w, const char *group, const char *topic,
                                       int32_t partition)
{
    struct world_call *call = world_call(w, group, GROUP_OFFSET_DELETE, "offset delete");
    struct group_offset_name name = {.topic = str_from(topic), .partition = partition};

    enter(w);
    group_core_offset_delete(w->core, &call->caller, str_from(group), &name, 1, &w->fx);
    call->partitions[0].code = name.code;
    world_done(w);
    return call;
}

void world_expire(struct group_world *w, const char *group)
{
    struct group_stored_offset offsets[OFFSETS_MAX];
    struct arena a;
    size_t count;

    world_need(w, group);
    world_commit(w, 0);
    arena_init(&a, RECORD_BYTES);
    count = stored_offsets(w, group, &a, offsets, OFFSETS_MAX);
    enter(w);
    group_core_expire(w->core, str_from(group), offsets, count, w->now_ms + w->wall_offset_ms,
                      &w->fx);
    arena_free(&a);
    world_done(w);
}

bool world_topics_deleted(struct group_world *w, const char *group)
{
    struct group_stored_offset offsets[OFFSETS_MAX];
    struct arena a;
    size_t count;
    bool done;

    world_need(w, group);
    world_commit(w, 0);
    arena_init(&a, RECORD_BYTES);
    count = stored_offsets(w, group, &a, offsets, OFFSETS_MAX);
    enter(w);
    done = group_core_topics_deleted(w->core, str_from(group), offsets, count, &w->fx);
    arena_free(&a);
    world_done(w);
    return done;
}
