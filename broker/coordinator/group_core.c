/* The table of groups, the step under way, deadlines and dispatch: what both types of group stand
 * on. Contract: group_core.h; for the files beside it: group_core_internal.h. */
#include "broker/coordinator/group_core_internal.h"

#include <stdlib.h>
#include <string.h>

#include "broker/coordinator/group_classic.h"
#include "protocol/base/check.h"
#include "protocol/wire.h"

enum { FIRST_RECORDS = 8, FIRST_REGEXES = 4, FIRST_HEAP = 64 };

struct group_core *group_core_create(const struct group_core_args *args)
{
    struct group_core *c = calloc(1, sizeof *c);

    if (!c)
        return NULL;
    c->args = *args;
    c->image = metadata_image_acquire(args->image);
    c->topics_offset = metadata_image_offset(args->image);
    return c;
}

/* ---- groups ---- */

struct group *group_find(const struct group_core *c, struct str id)
{
    struct group *g;

    HASH_FIND(hh, c->groups, id.data, (unsigned)id.size, g);
    return g;
}

struct group *group_find_loaded(const struct group_core *c, struct str id)
{
    struct group *g = group_find(c, id);

    CHECK(g);
    CHECK(g->loaded);
    return g;
}

static struct group *add_group(struct group_core *c, struct str id)
{
    struct group *g = calloc(1, sizeof *g + id.size);

    if (!g) {
        group_fail(c);
        return NULL;
    }
    if (id.size)
        memcpy(g + 1, id.data, id.size);
    g->id = (struct str){(const char *)(g + 1), id.size};
    g->deadline_ms = INT64_MAX;
    g->heap_index = GROUP_NOT_IN_HEAP;
    HASH_ADD_KEYPTR(hh, c->groups, g->id.data, (unsigned)g->id.size, g);
    if (!g->hh.tbl) {
        free(g);
        group_fail(c);
        return NULL;
    }
    return g;
}

void group_become(struct group_core *c, struct group *g, enum group_type type, void *part)
{
    if (g->type == GROUP_CLASSIC)
        classic_group_free(g->classic);
    if (g->type == GROUP_CONSUMER)
        consumer_group_free(g->consumer);
    group_set_deadline(c, g, INT64_MAX);
    g->type = type;
    g->classic = NULL;
    if (type == GROUP_CLASSIC)
        g->classic = part;
    if (type == GROUP_CONSUMER)
        g->consumer = part;
}

bool group_is_nothing(const struct group *g)
{
    return g->type == GROUP_NONE && !g->has_offsets;
}

static void remove_group(struct group_core *c, struct group *g)
{
    if (c->evict_next == g)
        c->evict_next = g->hh.next;
    group_become(c, g, GROUP_NONE, NULL);
    HASH_DEL(c->groups, g);
    free(g);
}

void group_core_free(struct group_core *c)
{
    struct group *g, *next;

    if (!c)
        return;
    HASH_ITER(hh, c->groups, g, next)
    remove_group(c, g);
    metadata_image_release(c->image);
    free(c->heap);
    free(c);
}

enum group_type group_core_find(const struct group_core *c, struct str group)
{
    const struct group *g = group_find(c, group);

    return g && g->loaded ? g->type : GROUP_UNLOADED;
}

/* ---- the step under way ---- */

void group_fail(struct group_core *c)
{
    c->failed = true;
}

void group_step_begin(struct group_core *c, struct group_effects *fx, int64_t now_ms)
{
    CHECK(!c->fx);
    arena_reset(&fx->arena);
    fx->records = NULL;
    fx->record_count = 0;
    fx->write_id = 0;
    fx->answered = NULL;
    fx->regexes = NULL;
    fx->regex_count = 0;
    fx->overloaded = fx->regex_too_large = false;
    c->fx = fx;
    c->now_ms = now_ms;
    c->on = NULL;
    c->records = NULL;
    c->record_capacity = 0;
    c->regexes = NULL;
    c->regex_capacity = 0;
    c->answered_end = &fx->answered;
}

void group_step_on(struct group_core *c, struct group *g)
{
    c->on = g;
    if (g) {
        g->touched_ms = c->now_ms;
        c->on_id = STR_NULL;
    }
}

void group_step_end(struct group_core *c)
{
    int64_t newest = c->on ? c->on->last_write : 0;

    for (struct group_caller *who = c->fx->answered; who; who = who->next)
        who->after_write = who->after_write && newest > c->committed_write ? newest : 0;
    c->fx->records = c->records;
    c->fx->regexes = c->regexes;
    c->fx->overloaded = c->failed;
    c->fx = NULL;
}

/* An array of the arena that doubles; what it outgrew stays behind until the step is over. */
static void *grown(struct group_core *c, void *old, size_t count, size_t *capacity, size_t size,
                   size_t first)
{
    size_t room = *capacity ? *capacity * 2 : first;
    void *array;

    if (count < *capacity)
        return old;
    array = arena_zalloc(&c->fx->arena, room, size);
    if (!array) {
        group_fail(c);
        return NULL;
    }
    if (count)
        memcpy(array, old, count * size);
    *capacity = room;
    return array;
}

static struct group_record *next_record(struct group_core *c)
{
    struct group_effects *fx = c->fx;
    struct group_record *records =
        grown(c, c->records, fx->record_count, &c->record_capacity, sizeof *records, FIRST_RECORDS);

    CHECK(c->on);
    if (!records)
        return &c->unseen;
    c->records = records;
    if (!fx->write_id)
        fx->write_id = c->on->last_write = ++c->last_write;
    return &records[fx->record_count++];
}

void group_emit(struct group_core *c, const struct group_record *r)
{
    *next_record(c) = *r;
}

struct group_record *group_emit_new(struct group_core *c, enum group_record_type type)
{
    struct group_record *r = next_record(c);

    if (!c->on_id.data)
        c->on_id = group_fx_str(c, c->on->id);
    group_record_init(r, type);
    /* Every key starts with the group. */
    r->key.group_metadata.group = c->on_id;
    return r;
}

struct bytes group_fx_bytes(struct group_core *c, struct bytes b)
{
    uint8_t *copy;

    if (!b.data)
        return b;
    copy = arena_alloc(&c->fx->arena, b.size);
    if (!copy) {
        group_fail(c);
        return (struct bytes){(const uint8_t *)"", 0};
    }
    memcpy(copy, b.data, b.size);
    return (struct bytes){copy, b.size};
}

struct str group_fx_str(struct group_core *c, struct str s)
{
    struct bytes copy = group_fx_bytes(c, (struct bytes){(const uint8_t *)s.data, s.size});

    return (struct str){(const char *)copy.data, copy.size};
}

void *group_fx_array(struct group_core *c, size_t count, size_t size)
{
    void *array = arena_zalloc(&c->fx->arena, count, size);

    if (!array)
        group_fail(c);
    return array;
}

struct group_protocol *group_fx_protocols(struct group_core *c,
                                          const struct group_protocol *protocols, size_t count)
{
    struct group_protocol *copies = group_fx_array(c, count, sizeof *copies);

    for (size_t i = 0; copies && i < count; i++)
        copies[i] = (struct group_protocol){group_fx_str(c, protocols[i].name),
                                            group_fx_bytes(c, protocols[i].metadata)};
    return copies;
}

void group_want_regex(struct group_core *c, struct str group, struct str regex)
{
    struct group_regex_wanted *all =
        grown(c, c->regexes, c->fx->regex_count, &c->regex_capacity, sizeof *all, FIRST_REGEXES);

    if (!all)
        return;
    c->regexes = all;
    all[c->fx->regex_count++] =
        (struct group_regex_wanted){group_fx_str(c, group), group_fx_str(c, regex)};
}

/* ---- answers ---- */

/* A caller whose arena is spent carries this mark until it is answered. */
static const enum kerr SPENT = KERR_INVALID_REQUEST;

void group_answer(struct group_core *c, struct group_caller *who, enum kerr code)
{
    group_answer_now(c, who, code);
    who->after_write = 1; /* which one is known at the end of the step */
}

void group_answer_now(struct group_core *c, struct group_caller *who, enum kerr code)
{
    if (who->code != SPENT)
        who->code = code;
    who->after_write = 0;
    who->next = NULL;
    *c->answered_end = who;
    c->answered_end = &who->next;
}

struct bytes group_answer_bytes(struct group_caller *who, struct bytes b)
{
    uint8_t *copy;

    if (!b.data)
        return b;
    copy = arena_alloc(who->arena, b.size);
    if (!copy) {
        who->code = SPENT;
        return (struct bytes){(const uint8_t *)"", 0};
    }
    memcpy(copy, b.data, b.size);
    return (struct bytes){copy, b.size};
}

struct str group_answer_str(struct group_caller *who, struct str s)
{
    struct bytes copy = group_answer_bytes(who, (struct bytes){(const uint8_t *)s.data, s.size});

    return (struct str){(const char *)copy.data, copy.size};
}

void *group_answer_array(struct group_caller *who, size_t count, size_t size)
{
    void *array = arena_zalloc(who->arena, count, size);

    if (!array)
        who->code = SPENT;
    return array;
}

/* ---- deadlines: a binary heap of groups ---- */

static void heap_put(struct group_core *c, size_t at, struct group *g)
{
    c->heap[at] = g;
    g->heap_index = at;
}

/* Moves g, at `at`, to where its deadline belongs. */
static void heap_settle(struct group_core *c, size_t at, struct group *g)
{
    while (at > 0 && c->heap[(at - 1) / 2]->deadline_ms > g->deadline_ms) {
        heap_put(c, at, c->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    for (;;) {
        size_t child = 2 * at + 1;

        if (child + 1 < c->heap_count &&
            c->heap[child + 1]->deadline_ms < c->heap[child]->deadline_ms)
            child++;
        if (child >= c->heap_count || c->heap[child]->deadline_ms >= g->deadline_ms)
            break;
        heap_put(c, at, c->heap[child]);
        at = child;
    }
    heap_put(c, at, g);
}

static bool heap_make_room(struct group_core *c)
{
    size_t capacity = c->heap_capacity ? c->heap_capacity * 2 : FIRST_HEAP;
    struct group **heap;

    if (c->heap_count < c->heap_capacity)
        return true;
    heap = realloc(c->heap, capacity * sizeof(struct group *));
    if (!heap)
        return false;
    c->heap = heap;
    c->heap_capacity = capacity;
    return true;
}

void group_set_deadline(struct group_core *c, struct group *g, int64_t at_ms)
{
    g->deadline_ms = at_ms;
    if (at_ms == INT64_MAX) {
        struct group *last;
        size_t hole = g->heap_index;

        if (hole == GROUP_NOT_IN_HEAP)
            return;
        last = c->heap[--c->heap_count];
        g->heap_index = GROUP_NOT_IN_HEAP;
        if (last != g)
            heap_settle(c, hole, last);
        return;
    }
    if (g->heap_index != GROUP_NOT_IN_HEAP) {
        heap_settle(c, g->heap_index, g);
        return;
    }
    if (!heap_make_room(c)) {
        g->deadline_ms = INT64_MAX;
        group_fail(c);
        return;
    }
    heap_settle(c, c->heap_count++, g);
}

void group_due_at(struct group_core *c, struct group *g, int64_t at_ms)
{
    if (at_ms < g->deadline_ms)
        group_set_deadline(c, g, at_ms);
}

int64_t group_core_next_deadline(const struct group_core *c)
{
    return c->heap_count ? c->heap[0]->deadline_ms : INT64_MAX;
}

void group_core_tick(struct group_core *c, int64_t now_ms, struct group_effects *fx)
{
    group_step_begin(c, fx, now_ms);
    if (c->heap_count && c->heap[0]->deadline_ms <= now_ms) {
        struct group *g = c->heap[0];
        int64_t touched_ms = g->touched_ms;

        group_step_on(c, g);
        g->touched_ms = touched_ms; /* time is nobody who asks */
        if (g->type == GROUP_CLASSIC)
            classic_group_tick(c, g);
        else
            consumer_group_tick(c, g);
        CHECK(g->deadline_ms > now_ms || c->failed);
    }
    group_step_end(c);
}

/* ---- memory that outlives steps ---- */

bool group_keep_bytes(struct group_core *c, struct bytes *to, struct bytes from)
{
    uint8_t *copy;

    *to = (struct bytes){NULL, 0};
    if (!from.data)
        return true;
    copy = malloc(from.size ? from.size : 1);
    if (!copy) {
        group_fail(c);
        return false;
    }
    memcpy(copy, from.data, from.size);
    *to = (struct bytes){copy, from.size};
    return true;
}

bool group_keep_str(struct group_core *c, struct str *to, struct str from)
{
    struct bytes copy;
    bool kept = group_keep_bytes(c, &copy, (struct bytes){(const uint8_t *)from.data, from.size});

    *to = (struct str){(const char *)copy.data, copy.size};
    return kept;
}

void group_drop_bytes(struct bytes *b)
{
    free((void *)(uintptr_t)b->data);
    *b = (struct bytes){NULL, 0};
}

void group_drop_str(struct str *s)
{
    free((void *)(uintptr_t)s->data);
    *s = STR_NULL;
}

int64_t group_wall_ms(const struct group_core *c)
{
    return c->wall_known ? c->now_ms + c->wall_offset_ms : -1;
}

struct uuid group_random_uuid(struct group_core *c)
{
    uint8_t random[16];
    struct uuid id;

    do {
        random_fill(c->args.random, random, sizeof random);
        id = uuid_from_random(random);
    } while (uuid_is_unsafe(id));
    return id;
}

/* ---- loading and letting go ---- */

static bool is_offset_record(enum group_record_type type)
{
    return type == GROUP_RECORD_LEGACY_OFFSET_COMMIT || type == GROUP_RECORD_OFFSET_COMMIT;
}

static bool is_consumer_record(enum group_record_type type)
{
    return (type >= GROUP_RECORD_CONSUMER_GROUP_METADATA &&
            type <= GROUP_RECORD_CONSUMER_GROUP_CURRENT_MEMBER_ASSIGNMENT) ||
           type == GROUP_RECORD_CONSUMER_GROUP_REGULAR_EXPRESSION;
}

enum kerr group_core_load_record(struct group_core *c, const struct group_record *r)
{
    struct str id = group_record_group(r);
    struct group *g = group_find(c, id);

    if (is_offset_record(r->type))
        return KERR_NONE; /* offsets stay in the store; group_core_loaded is told whether there
                           * are any */
    if (r->type != GROUP_RECORD_GROUP_METADATA && !is_consumer_record(r->type))
        return KERR_UNSUPPORTED_VERSION;
    if (!g)
        g = add_group(c, id);
    if (!g)
        return KERR_UNKNOWN_SERVER_ERROR;
    CHECK(!g->loaded);
    if (r->type == GROUP_RECORD_GROUP_METADATA)
        return classic_group_load_record(c, g, r);
    return consumer_group_load_record(c, g, r);
}

void group_core_loaded(struct group_core *c, struct str group, bool has_offsets, int64_t now_ms,
                       struct group_effects *fx)
{
    struct group *g = group_find(c, group);

    group_step_begin(c, fx, now_ms);
    if (!g)
        g = add_group(c, group);
    if (g) {
        CHECK(!g->loaded);
        g->loaded = true;
        g->has_offsets = has_offsets;
        if (g->type == GROUP_UNLOADED)
            g->type = GROUP_NONE;
        group_step_on(c, g);
        if (g->type == GROUP_CLASSIC)
            classic_group_loaded(c, g);
        if (g->type == GROUP_CONSUMER)
            consumer_group_loaded(c, g);
    }
    group_step_end(c);
}

void group_core_committed(struct group_core *c, int64_t write_id)
{
    if (write_id > c->committed_write)
        c->committed_write = write_id;
}

static bool settled(const struct group_core *c, const struct group *g)
{
    return g->last_write <= c->committed_write;
}

bool group_core_settled(const struct group_core *c, struct str group)
{
    const struct group *g = group_find(c, group);

    return !g || settled(c, g);
}

static bool may_go(const struct group_core *c, const struct group *g, int64_t before_ms)
{
    if (!g->loaded || !settled(c, g) || g->touched_ms >= before_ms)
        return false;
    /* A deadline says that something is still to happen, if only a member id that was given out and
     * expires. */
    if (g->heap_index != GROUP_NOT_IN_HEAP)
        return false;
    if (g->type == GROUP_CLASSIC)
        return classic_group_is_empty(g->classic);
    return g->type == GROUP_NONE || consumer_group_is_empty(g);
}

void group_core_evict(struct group_core *c, int64_t before_ms, size_t max)
{
    for (size_t i = 0; i < max; i++) {
        struct group *g = c->evict_next ? c->evict_next : c->groups;

        if (!g)
            return;
        c->evict_next = g->hh.next;
        if (may_go(c, g, before_ms))
            remove_group(c, g);
    }
}

void group_core_stop(struct group_core *c, enum kerr code, struct group_effects *fx)
{
    group_step_begin(c, fx, c->now_ms);
    for (struct group *g = c->groups; g; g = g->hh.next) {
        if (g->type == GROUP_CLASSIC)
            classic_group_stop(c, g, code);
        if (g->type == GROUP_CONSUMER)
            consumer_group_stop(c, g, code);
    }
    group_step_end(c);
}

/* ---- metadata ---- */

void group_core_set_image(struct group_core *c, const struct metadata_image *image)
{
    const struct metadata_image *old = c->image;

    c->image = metadata_image_acquire(image);
    if (!metadata_image_same_topics(image, old))
        c->topics_offset = metadata_image_offset(image);
    metadata_image_release(old);
}

void group_core_set_wall_clock(struct group_core *c, int64_t wall_offset_ms)
{
    c->wall_offset_ms = wall_offset_ms;
    c->wall_known = true;
}

void group_core_set_heartbeat_interval(struct group_core *c, int32_t interval_ms)
{
    c->heartbeat_interval_ms = interval_ms;
}

void group_core_regex_resolved(struct group_core *c, const struct group_regex_result *r,
                               int64_t now_ms, struct group_effects *fx)
{
    struct group *g = group_find(c, r->group);

    group_step_begin(c, fx, now_ms);
    /* The group may have changed its mind, or be gone, since it asked. */
    if (g && g->loaded && g->type == GROUP_CONSUMER) {
        group_step_on(c, g);
        consumer_group_regex_resolved(c, g, r);
    }
    group_step_end(c);
}

/* ---- requests, by the type of the group ---- */

/* An empty consumer group meets classic requests as no group at all, and makes way for a classic
 * one. */
static bool is_live_consumer_group(const struct group *g)
{
    return g->type == GROUP_CONSUMER && !consumer_group_is_empty(g);
}

static enum kerr check_join(const struct group_core *c, const struct group_join *r)
{
    const struct group_settings *s = c->args.settings;

    if (!r->group.size)
        return KERR_INVALID_GROUP_ID;
    if (r->session_timeout_ms < s->min_session_timeout_ms ||
        r->session_timeout_ms > s->max_session_timeout_ms)
        return KERR_INVALID_SESSION_TIMEOUT;
    return KERR_NONE;
}

void group_core_join(struct group_core *c, struct group_caller *who, const struct group_join *r,
                     int64_t now_ms, struct group_effects *fx)
{
    struct group *g = group_find_loaded(c, r->group);
    enum kerr code = check_join(c, r);

    group_step_begin(c, fx, now_ms);
    group_step_on(c, g);
    who->code = KERR_NONE;
    who->join =
        (struct group_join_answer){.generation = -1, .leader = STR(""), .member_id = STR("")};
    if (code) {
        who->join.member_id = group_answer_str(who, r->member_id);
        group_answer_now(c, who, code);
    } else if (is_live_consumer_group(g))
        convert_classic_join(c, g, who, r);
    else
        classic_group_join(c, g, who, r);
    group_step_end(c);
}

void group_core_sync(struct group_core *c, struct group_caller *who, const struct group_sync *r,
                     int64_t now_ms, struct group_effects *fx)
{
    struct group *g = group_find_loaded(c, r->group);

    group_step_begin(c, fx, now_ms);
    group_step_on(c, g);
    who->code = KERR_NONE;
    who->sync = (struct group_sync_answer){.assignment = WIRE_EMPTY_BYTES};
    if (!r->group.size)
        group_answer_now(c, who, KERR_INVALID_GROUP_ID);
    else if (is_live_consumer_group(g))
        convert_classic_sync(c, g, who, r);
    else if (g->type == GROUP_CLASSIC)
        classic_group_sync(c, g, who, r);
    else
        group_answer(c, who, KERR_UNKNOWN_MEMBER_ID);
    group_step_end(c);
}

void group_core_heartbeat(struct group_core *c, struct group_caller *who,
                          const struct group_heartbeat *r, int64_t now_ms, struct group_effects *fx)
{
    struct group *g = group_find_loaded(c, r->group);

    group_step_begin(c, fx, now_ms);
    group_step_on(c, g);
    who->code = KERR_NONE;
    who->heartbeat_message = STR_NULL;
    if (!r->group.size)
        group_answer_now(c, who, KERR_INVALID_GROUP_ID);
    else if (is_live_consumer_group(g))
        convert_classic_heartbeat(c, g, who, r);
    else if (g->type == GROUP_CLASSIC)
        classic_group_heartbeat(c, g, who, r);
    else
        group_answer(c, who, KERR_UNKNOWN_MEMBER_ID);
    group_step_end(c);
}

void group_core_leave(struct group_core *c, struct group_caller *who, const struct group_leave *r,
                      int64_t now_ms, struct group_effects *fx)
{
    struct group *g = group_find_loaded(c, r->group);

    group_step_begin(c, fx, now_ms);
    group_step_on(c, g);
    who->code = KERR_NONE;
    who->leave = (struct group_leave_answer){0};
    if (!r->group.size)
        group_answer_now(c, who, KERR_INVALID_GROUP_ID);
    else if (g->type == GROUP_CONSUMER)
        convert_classic_leave(c, g, who, r);
    else
        classic_group_leave(c, g, who, r);
    group_step_end(c);
}

void group_core_consumer_heartbeat(struct group_core *c, struct group_caller *who,
                                   const struct group_consumer_heartbeat *r, int64_t now_ms,
                                   struct group_effects *fx)
{
    struct group *g = group_find_loaded(c, r->group);

    group_step_begin(c, fx, now_ms);
    group_step_on(c, g);
    who->code = KERR_NONE;
    who->consumer_heartbeat = (struct group_consumer_heartbeat_answer){0};
    consumer_group_heartbeat(c, g, who, r);
    group_step_end(c);
}
