/* What the state store knows of groups that are not in memory. */

#include <string.h>

#include "broker/coordinator/coordinator_internal.h"

#define OFFSETS_FIRST 16

static struct status spent(void)
{
    return status_error(KERR_INVALID_REQUEST, "a group takes more memory than it may");
}

static struct str copy(struct arena *a, struct str s)
{
    return (struct str){arena_strdup(a, s), s.size};
}

/* ---- offsets ---- */

struct offsets_reader {
    struct arena *arena;
    struct group_stored_offset *offsets;
    size_t count, capacity;
    struct str topic; /* of the offset before: copied once */
    bool spent;
};

static bool offsets_grow(struct offsets_reader *r)
{
    size_t capacity = r->capacity ? r->capacity * 2 : OFFSETS_FIRST;
    struct group_stored_offset *more = arena_array(r->arena, struct group_stored_offset, capacity);

    if (!more)
        return false;
    if (r->count)
        memcpy(more, r->offsets, r->count * sizeof *more);
    r->offsets = more;
    r->capacity = capacity;
    return true;
}

static bool read_offset(void *arg, const struct group_state_offset *o)
{
    struct offsets_reader *r = arg;

    if (!r->topic.data || !str_equal(r->topic, o->topic))
        r->topic = copy(r->arena, o->topic);
    if (!r->topic.data || (r->count == r->capacity && !offsets_grow(r))) {
        r->spent = true;
        return false;
    }
    r->offsets[r->count++] = (struct group_stored_offset){
        .name = {.topic = r->topic, .partition = o->partition},
        .topic_id = o->topic_id,
        .commit_timestamp_ms = o->commit_timestamp,
        .expire_timestamp_ms = o->expire_timestamp,
    };
    return true;
}

struct status coordinator_store_offsets(struct state_store *s, int32_t partition, struct str group,
                                        struct arena *a, struct offset_list *out, bool *would_block)
{
    struct offsets_reader r = {.arena = a};
    struct status st =
        group_state_list_offsets(s, partition, group, STR_NULL, NULL, read_offset, &r, would_block);

    *out = (struct offset_list){r.offsets, r.count};
    return r.spent ? spent() : st;
}

/* ---- names ---- */

struct names_reader {
    struct arena *arena;
    struct str *names;
    bool *has_records; /* of each; NULL: not asked */
    size_t count, max;
    bool records_only;
    bool spent;
};

static bool read_name(void *arg, struct str group, bool has_records)
{
    struct names_reader *r = arg;

    if (r->records_only && !has_records)
        return true;
    r->names[r->count] = copy(r->arena, group);
    if (!r->names[r->count].data) {
        r->spent = true;
        return false;
    }
    if (r->has_records)
        r->has_records[r->count] = has_records;
    return ++r->count < r->max;
}

static struct status read_names(struct state_store *s, int32_t partition,
                                struct state_position *position, struct names_reader *r)
{
    struct status st = group_state_list_groups(s, partition, position, read_name, r, NULL);

    return r->spent ? spent() : st;
}

struct status coordinator_store_members(struct state_store *s, int32_t partition,
                                        struct state_position *position, struct arena *a,
                                        struct str *names, size_t max, size_t *count)
{
    struct names_reader r = {.arena = a, .names = names, .max = max, .records_only = true};
    struct status st = read_names(s, partition, position, &r);

    *count = r.count;
    return st;
}

/* What an offset must be for its group to be looked at. */
struct offset_look {
    int64_t before_ms, now_ms;
    const struct metadata_image *image; /* NULL: it has expired; else: its topic is deleted */
    bool any, found;
};

static bool look_at_offset(void *arg, const struct group_state_offset *o)
{
    struct offset_look *l = arg;

    l->any = true;
    if (l->image)
        l->found = group_topic_is_deleted(l->image, o->topic, o->topic_id);
    else if (o->expire_timestamp >= 0)
        l->found = o->expire_timestamp < l->now_ms;
    else
        l->found = o->commit_timestamp < l->before_ms;
    return !l->found;
}

static struct status look_through(struct state_store *s, int32_t partition,
                                  const struct offset_look *wanted, struct state_position *position,
                                  struct names_reader *r, size_t *count)
{
    struct status st = read_names(s, partition, position, r);

    *count = 0;
    for (size_t i = 0; !status_failed(st) && i < r->count; i++) {
        struct offset_look l = *wanted;

        st = group_state_list_offsets(s, partition, r->names[i], STR_NULL, NULL, look_at_offset, &l,
                                      NULL);
        if (l.found || (!l.any && !l.image))
            r->names[(*count)++] = r->names[i];
    }
    return st;
}

struct status coordinator_store_expired(struct state_store *s, int32_t partition,
                                        int64_t expired_before_ms, int64_t now_ms,
                                        struct state_position *position, struct arena *a,
                                        struct str *names, size_t max, size_t *count)
{
    const struct offset_look expired = {.before_ms = expired_before_ms, .now_ms = now_ms};
    struct names_reader r = {.arena = a, .names = names, .max = max};

    return look_through(s, partition, &expired, position, &r, count);
}

struct status coordinator_store_deleted(struct state_store *s, int32_t partition,
                                        const struct metadata_image *image,
                                        struct state_position *position, struct arena *a,
                                        struct str *names, size_t max, size_t *count)
{
    const struct offset_look deleted = {.image = image};
    struct names_reader r = {.arena = a, .names = names, .max = max};

    return look_through(s, partition, &deleted, position, &r, count);
}

/* ---- listing ---- */

struct group_look {
    struct arena *arena;
    struct group_listed *out;
    bool known; /* its records are of a type that is served */
    bool spent;
};

/* A group that is not in memory has no members, or was not needed yet since we took over. */
static bool look_at_record(void *arg, const struct group_record *r)
{
    struct group_look *l = arg;

    switch (r->type) {
    case GROUP_RECORD_GROUP_METADATA:
        l->known = true;
        l->out->type = STR("classic");
        l->out->protocol_type = copy(l->arena, r->value.group_metadata.protocol_type);
        l->out->state = r->value.group_metadata.members_count ? STR("Stable") : STR("Empty");
        l->spent = !l->out->protocol_type.data;
        return false;
    case GROUP_RECORD_CONSUMER_GROUP_METADATA:
        l->known = true;
        l->out->type = STR("consumer");
        l->out->protocol_type = STR("consumer");
        l->out->state = STR("Empty");
        return true;
    case GROUP_RECORD_CONSUMER_GROUP_MEMBER_METADATA:
        l->out->state = STR("Stable");
        return false;
    default:
        return true;
    }
}

struct status coordinator_store_list(struct state_store *s, int32_t partition,
                                     struct state_position *position, struct arena *a,
                                     struct group_listed *groups, size_t max, size_t *count)
{
    struct names_reader r = {.arena = a, .max = max};
    struct status st;

    r.names = arena_array(a, struct str, max);
    r.has_records = arena_array(a, bool, max);
    *count = 0;
    if (!r.names || !r.has_records)
        return spent();
    st = read_names(s, partition, position, &r);
    for (size_t i = 0; !status_failed(st) && i < r.count; i++) {
        struct group_look look = {.arena = a, .out = &groups[*count], .known = !r.has_records[i]};

        *look.out = (struct group_listed){r.names[i], STR(""), STR("Empty"), STR("classic")};
        if (r.has_records[i])
            st = group_state_load(s, partition, r.names[i], NULL, look_at_record, &look, NULL);
        if (look.spent)
            st = spent();
        *count += look.known;
    }
    return st;
}
