/* Group records in the state store: keys, and the walks over them. */

#include "storage/group_state.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/base/byteorder.h"
#include "storage/state_values.h"

#define PARTITION_BYTES   4
#define NAME_LENGTH_BYTES 2
#define TYPE_BYTES        1
#define INDEX_BYTES       4
#define KEY_BYTES_USUAL   512
#define NAME_BYTES_MAX    WIRE_STRING_BYTES_MAX

/* ---- keys ---- */

/* A key being built; its size is known before. */
struct key {
    uint8_t usual[KEY_BYTES_USUAL];
    uint8_t *bytes; /* usual, or owned */
    size_t size;
};

static bool key_init(struct key *k, size_t capacity)
{
    k->bytes = capacity <= sizeof k->usual ? k->usual : malloc(capacity);
    k->size = 0;
    return k->bytes != NULL;
}

static void key_free(struct key *k)
{
    if (k->bytes != k->usual)
        free(k->bytes);
}

static struct bytes key_view(const struct key *k)
{
    return (struct bytes){k->bytes, k->size};
}

static void key_add_int32(struct key *k, int32_t value)
{
    store_be32(k->bytes + k->size, (uint32_t)value);
    k->size += 4;
}

static void key_add_raw(struct key *k, struct str s)
{
    if (s.size)
        memcpy(k->bytes + k->size, s.data, s.size);
    k->size += s.size;
}

static void key_add_name(struct key *k, struct str name)
{
    store_be16(k->bytes + k->size, (uint16_t)name.size);
    k->size += NAME_LENGTH_BYTES;
    key_add_raw(k, name);
}

/* partition, group: what every key of a group begins with; with room for `more` bytes. */
static bool key_of_group(struct key *k, int32_t partition, struct str group, size_t more)
{
    if (group.size > NAME_BYTES_MAX)
        return false;
    if (!key_init(k, PARTITION_BYTES + NAME_LENGTH_BYTES + group.size + more))
        return false;
    key_add_int32(k, partition);
    key_add_name(k, group);
    return true;
}

static bool key_of_topic(struct key *k, int32_t partition, struct str group, struct str topic,
                         size_t more)
{
    if (topic.size > NAME_BYTES_MAX ||
        !key_of_group(k, partition, group, NAME_LENGTH_BYTES + topic.size + more))
        return false;
    key_add_name(k, topic);
    return true;
}

static bool key_of_offset(struct key *k, int32_t partition, struct str group, struct str topic,
                          int32_t index)
{
    if (!key_of_topic(k, partition, group, topic, INDEX_BYTES))
        return false;
    key_add_int32(k, index);
    return true;
}

/* A name and its length from the front of *rest. False: they are not there. */
static bool take_name(struct bytes *rest, struct str *out)
{
    size_t size;

    if (rest->size < NAME_LENGTH_BYTES)
        return false;
    size = load_be16(rest->data);
    if (size > rest->size - NAME_LENGTH_BYTES || size > NAME_BYTES_MAX)
        return false;
    *out = (struct str){(const char *)rest->data + NAME_LENGTH_BYTES, size};
    rest->data += NAME_LENGTH_BYTES + size;
    rest->size -= NAME_LENGTH_BYTES + size;
    return true;
}

/* ---- types of records in a key ---- */

/* The order of replay; within one phase by type. */
enum phase {
    PHASE_NONE,
    PHASE_GROUP,
    PHASE_MEMBERS,
    PHASE_TARGET,
    PHASE_TARGET_MEMBERS,
    PHASE_CURRENT
};

#define TYPE_BITS 5
_Static_assert(GROUP_RECORD_TYPE_COUNT <= 1 << TYPE_BITS, "a type has room in its byte");

#define AT(member, field) offsetof(struct group_record, key.member.field)

/* How a type's key is laid out in struct group_record, and when it is replayed. Offsets are not
 * here. */
static const struct layout {
    enum phase phase;
    size_t group_at;
    size_t subkey_at; /* 0: the group is all there is to the key */
} layouts[GROUP_RECORD_TYPE_COUNT] = {
    [GROUP_RECORD_GROUP_METADATA] = {PHASE_GROUP, AT(group_metadata, group), 0},
#define OF_GROUP(NAME, member, phase) [GROUP_RECORD_##NAME] = {phase, AT(member, group_id), 0}
#define OF_MEMBER(NAME, member, phase)                                                             \
    [GROUP_RECORD_##NAME] = {phase, AT(member, group_id), AT(member, member_id)}
    OF_GROUP(CONSUMER_GROUP_METADATA, consumer_group_metadata, PHASE_GROUP),
    OF_GROUP(CONSUMER_GROUP_PARTITION_METADATA, consumer_group_partition_metadata, PHASE_MEMBERS),
    OF_MEMBER(CONSUMER_GROUP_MEMBER_METADATA, consumer_group_member_metadata, PHASE_MEMBERS),
    OF_GROUP(CONSUMER_GROUP_TARGET_ASSIGNMENT_METADATA, consumer_group_target_assignment_metadata,
             PHASE_TARGET),
    OF_MEMBER(CONSUMER_GROUP_TARGET_ASSIGNMENT_MEMBER, consumer_group_target_assignment_member,
              PHASE_TARGET_MEMBERS),
    OF_MEMBER(CONSUMER_GROUP_CURRENT_MEMBER_ASSIGNMENT, consumer_group_current_member_assignment,
              PHASE_CURRENT),
    [GROUP_RECORD_CONSUMER_GROUP_REGULAR_EXPRESSION] =
        {PHASE_MEMBERS, AT(consumer_group_regular_expression, group_id),
         AT(consumer_group_regular_expression, regular_expression)},
    OF_GROUP(SHARE_GROUP_METADATA, share_group_metadata, PHASE_GROUP),
    OF_MEMBER(SHARE_GROUP_MEMBER_METADATA, share_group_member_metadata, PHASE_MEMBERS),
    OF_GROUP(SHARE_GROUP_STATE_PARTITION_METADATA, share_group_state_partition_metadata,
             PHASE_MEMBERS),
    OF_GROUP(SHARE_GROUP_TARGET_ASSIGNMENT_METADATA, share_group_target_assignment_metadata,
             PHASE_TARGET),
    OF_MEMBER(SHARE_GROUP_TARGET_ASSIGNMENT_MEMBER, share_group_target_assignment_member,
              PHASE_TARGET_MEMBERS),
    OF_MEMBER(SHARE_GROUP_CURRENT_MEMBER_ASSIGNMENT, share_group_current_member_assignment,
              PHASE_CURRENT),
    OF_GROUP(STREAMS_GROUP_METADATA, streams_group_metadata, PHASE_GROUP),
    OF_GROUP(STREAMS_GROUP_TOPOLOGY, streams_group_topology, PHASE_MEMBERS),
    OF_MEMBER(STREAMS_GROUP_MEMBER_METADATA, streams_group_member_metadata, PHASE_MEMBERS),
    OF_GROUP(STREAMS_GROUP_TARGET_ASSIGNMENT_METADATA, streams_group_target_assignment_metadata,
             PHASE_TARGET),
    OF_MEMBER(STREAMS_GROUP_TARGET_ASSIGNMENT_MEMBER, streams_group_target_assignment_member,
              PHASE_TARGET_MEMBERS),
    OF_MEMBER(STREAMS_GROUP_CURRENT_MEMBER_ASSIGNMENT, streams_group_current_member_assignment,
              PHASE_CURRENT),
};

static struct str *key_field(struct group_record *r, size_t at)
{
    return (struct str *)(void *)((char *)r + at);
}

static struct str subkey_of(const struct group_record *r)
{
    size_t at = layouts[r->type].subkey_at;

    return at ? *(const struct str *)(const void *)((const char *)r + at) : STR_NULL;
}

static uint8_t type_byte(enum group_record_type type)
{
    return (uint8_t)((unsigned)layouts[type].phase << TYPE_BITS | (unsigned)type);
}

/* What follows the group in a key of STATE_GROUPS. False: it is not what was written. */
static bool take_type_and_subkey(struct bytes rest, struct str group, struct group_record *r)
{
    enum group_record_type type;

    if (rest.size < TYPE_BYTES)
        return false;
    type = rest.data[0] & ((1 << TYPE_BITS) - 1);
    if (type >= GROUP_RECORD_TYPE_COUNT || layouts[type].phase == PHASE_NONE ||
        type_byte(type) != rest.data[0])
        return false;
    if (!layouts[type].subkey_at && rest.size != TYPE_BYTES)
        return false;
    if (rest.size - TYPE_BYTES > NAME_BYTES_MAX)
        return false;
    group_record_init(r, type);
    *key_field(r, layouts[type].group_at) = group;
    if (layouts[type].subkey_at)
        *key_field(r, layouts[type].subkey_at) =
            (struct str){(const char *)rest.data + TYPE_BYTES, rest.size - TYPE_BYTES};
    return true;
}

/* ---- applying ---- */

static bool key_of_record(struct key *k, int32_t partition, const struct group_record *r)
{
    const struct offset_commit_key *o = &r->key.offset_commit;
    struct str subkey;

    if (group_record_is_offset(r))
        return key_of_offset(k, partition, o->group, o->topic, o->partition);
    subkey = subkey_of(r);
    if (subkey.size > NAME_BYTES_MAX ||
        !key_of_group(k, partition, group_record_group(r), TYPE_BYTES + subkey.size))
        return false;
    k->bytes[k->size++] = type_byte(r->type);
    key_add_raw(k, subkey);
    return true;
}

enum kerr group_state_apply(struct state_batch *b, int32_t partition, const struct group_record *r,
                            struct arena *scratch)
{
    enum state_family family = group_record_is_offset(r) ? STATE_OFFSETS : STATE_GROUPS;
    enum kerr code = KERR_NONE;
    struct bytes value;
    struct key key;

    if (!key_of_record(&key, partition, r))
        return KERR_INVALID_REQUEST;
    if (r->tombstone) {
        state_batch_delete(b, family, key_view(&key));
    } else {
        value = state_value_pack(r, scratch);
        if (value.data)
            state_batch_put(b, family, key_view(&key), value);
        else
            code = KERR_INVALID_REQUEST;
    }
    key_free(&key);
    return code;
}

/* ---- one group's records ---- */

static struct status name_too_long(void)
{
    return status_error(KERR_INVALID_REQUEST,
                        "group state: a name is too long, or there is no memory for it");
}

static struct status damaged(struct state_store *s)
{
    return state_store_condemn(s, "a key or value in the state store is none of ours");
}

struct loading {
    size_t prefix_size;
    struct str group;
    struct arena arena; /* of one record */
    bool (*visit)(void *arg, const struct group_record *r);
    void *arg;
    bool bad;
};

static enum state_next load_record(void *arg, struct bytes key, struct bytes value,
                                   struct bytes *seek)
{
    struct loading *l = arg;
    struct bytes rest = {key.data + l->prefix_size, key.size - l->prefix_size};
    struct group_record r;

    (void)seek;
    arena_reset(&l->arena);
    if (!take_type_and_subkey(rest, l->group, &r) || !state_value_unpack(&r, value, &l->arena)) {
        l->bad = true;
        return STATE_STOP;
    }
    return l->visit(l->arg, &r) ? STATE_NEXT : STATE_STOP;
}

struct status group_state_load(struct state_store *s, int32_t partition, struct str group,
                               struct state_position *position,
                               bool (*visit)(void *arg, const struct group_record *r), void *arg,
                               bool *would_block)
{
    struct loading loading = {.group = group, .visit = visit, .arg = arg};
    struct status st;
    struct key key;

    if (!key_of_group(&key, partition, group, 0))
        return name_too_long();
    loading.prefix_size = key.size;
    arena_init(&loading.arena, GROUP_STATE_RECORD_BYTES_MAX);
    st = state_store_scan(s, STATE_GROUPS, key_view(&key), position, load_record, &loading,
                          would_block);
    if (loading.bad)
        st = damaged(s);
    arena_free(&loading.arena);
    key_free(&key);
    return st;
}

/* ---- offsets ---- */

static bool unpack_offset(struct bytes value, struct arena *a, struct group_state_offset *out)
{
    struct group_record r;

    group_record_init(&r, GROUP_RECORD_OFFSET_COMMIT);
    if (!state_value_unpack(&r, value, a))
        return false;
    out->offset = r.value.offset_commit.offset;
    out->leader_epoch = r.value.offset_commit.leader_epoch;
    out->metadata = r.value.offset_commit.metadata;
    out->commit_timestamp = r.value.offset_commit.commit_timestamp;
    out->expire_timestamp = r.value.offset_commit.expire_timestamp;
    out->topic_id = r.value.offset_commit.topic_id;
    return true;
}

struct status group_state_get_offset(struct state_store *s, int32_t partition, struct str group,
                                     struct str topic, int32_t index, struct arena *a,
                                     struct group_state_offset *out, bool *found, bool *would_block)
{
    struct bytes value;
    struct status st;
    struct key key;

    *found = false;
    if (!key_of_offset(&key, partition, group, topic, index))
        return name_too_long();
    st = state_store_get(s, STATE_OFFSETS, key_view(&key), a, &value, would_block);
    key_free(&key);
    if (status_failed(st) || !value.data)
        return st;
    if (!unpack_offset(value, a, out))
        return damaged(s);
    out->topic = topic;
    out->partition = index;
    *found = true;
    return STATUS_OK;
}

struct offset_listing {
    size_t group_size;  /* of the part of a key that is the same in all */
    struct arena arena; /* of one offset */
    bool (*visit)(void *arg, const struct group_state_offset *o);
    void *arg;
    bool bad;
};

static enum state_next list_offset(void *arg, struct bytes key, struct bytes value,
                                   struct bytes *seek)
{
    struct offset_listing *l = arg;
    struct bytes rest = {key.data + l->group_size, key.size - l->group_size};
    struct group_state_offset o;

    (void)seek;
    arena_reset(&l->arena);
    if (!take_name(&rest, &o.topic) || rest.size != INDEX_BYTES ||
        !unpack_offset(value, &l->arena, &o)) {
        l->bad = true;
        return STATE_STOP;
    }
    o.partition = (int32_t)load_be32(rest.data);
    return l->visit(l->arg, &o) ? STATE_NEXT : STATE_STOP;
}

struct status group_state_list_offsets(struct state_store *s, int32_t partition, struct str group,
                                       struct str topic, struct state_position *position,
                                       bool (*visit)(void *arg, const struct group_state_offset *o),
                                       void *arg, bool *would_block)
{
    struct offset_listing listing = {.visit = visit, .arg = arg};
    struct status st;
    struct key key;

    if (topic.data ? !key_of_topic(&key, partition, group, topic, 0)
                   : !key_of_group(&key, partition, group, 0))
        return name_too_long();
    listing.group_size = PARTITION_BYTES + NAME_LENGTH_BYTES + group.size;
    arena_init(&listing.arena, GROUP_STATE_RECORD_BYTES_MAX);
    st = state_store_scan(s, STATE_OFFSETS, key_view(&key), position, list_offset, &listing,
                          would_block);
    if (listing.bad)
        st = damaged(s);
    arena_free(&listing.arena);
    key_free(&key);
    return st;
}

static enum state_next note_one(void *arg, struct bytes key, struct bytes value, struct bytes *seek)
{
    (void)key;
    (void)value;
    (void)seek;
    *(bool *)arg = true;
    return STATE_STOP;
}

struct status group_state_has_offsets(struct state_store *s, int32_t partition, struct str group,
                                      bool *has, bool *would_block)
{
    struct status st;
    struct key key;

    *has = false;
    if (!key_of_group(&key, partition, group, 0))
        return name_too_long();
    st = state_store_scan(s, STATE_OFFSETS, key_view(&key), NULL, note_one, has, would_block);
    key_free(&key);
    return st;
}

/* ---- groups: two families walked side by side, some names of each at a time ---- */

#define NAMES_MAX       64
#define NAMES_BYTES_MAX (8 << 20) /* 64 of the longest, three times */

struct names {
    enum state_family family;
    struct state_position position; /* of the next name to read */
    struct bytes keys[NAMES_MAX];   /* partition and group, in the arena; in order */
    size_t count;
    size_t next;
    struct bytes after; /* the first key after those of the last name; in the arena */
    struct arena arena;
    bool bad;
    bool out_of_memory;
};

/* The name at the front, NULL when all that were read are used up. */
static const struct bytes *names_front(const struct names *n)
{
    return n->next < n->count ? &n->keys[n->next] : NULL;
}

/* Keeps the part of the key that every key of its group has, and skips to the next group. */
static enum state_next note_name(void *arg, struct bytes key, struct bytes value,
                                 struct bytes *seek)
{
    struct names *n = arg;
    struct bytes rest = {key.data + PARTITION_BYTES, key.size - PARTITION_BYTES};
    struct bytes *kept = &n->keys[n->count];
    struct str group;
    uint8_t *copy, *end;

    (void)value;
    n->bad = !take_name(&rest, &group);
    if (n->bad)
        return STATE_STOP;
    copy = arena_alloc(&n->arena, key.size - rest.size);
    end = arena_alloc(&n->arena, key.size - rest.size);
    n->out_of_memory = !copy || !end;
    if (n->out_of_memory)
        return STATE_STOP;
    memcpy(copy, key.data, key.size - rest.size);
    *kept = (struct bytes){copy, key.size - rest.size};
    n->count++;
    n->after = (struct bytes){end, state_prefix_end(*kept, end)};
    *seek = n->after;
    return n->count < NAMES_MAX ? STATE_SEEK : STATE_STOP;
}

/* Reads on when the names are used up. */
static struct status names_fill(struct names *n, struct state_store *s, struct bytes prefix,
                                bool *would_block)
{
    struct status st;

    if (n->next < n->count || n->position.done)
        return STATUS_OK;
    arena_reset(&n->arena);
    n->count = n->next = 0;
    st = state_store_scan(s, n->family, prefix, &n->position, note_name, n, would_block);
    if (n->bad)
        return damaged(s);
    if (n->count == NAMES_MAX) /* it stopped after the last one's first key: go on after all of
                                * them */
        n->out_of_memory |= !state_position_set(&n->position, n->after);
    return n->out_of_memory ? status_error(KERR_UNKNOWN_SERVER_ERROR, "group state: out of memory")
                            : st;
}

static bool names_init(struct names *n, enum state_family family, const struct state_position *from)
{
    memset(n, 0, sizeof *n);
    n->family = family;
    arena_init(&n->arena, NAMES_BYTES_MAX);
    return !from || from->size == 0 ||
           state_position_set(&n->position, (struct bytes){from->key, from->size});
}

static void names_free(struct names *n)
{
    state_position_free(&n->position);
    arena_free(&n->arena);
}

struct group_listing {
    struct names records;
    struct names offsets;
    struct state_position *position; /* the caller's, may be NULL */
    bool (*visit)(void *arg, struct str group, bool has_records);
    void *arg;
};

/* Visits the lesser of the two names in front, one of which there is, and moves past it. */
static enum state_next visit_group(struct group_listing *l, struct status *st)
{
    const struct bytes *a = names_front(&l->records);
    const struct bytes *b = names_front(&l->offsets);
    struct bytes key, rest;
    uint8_t *end;
    struct str group;
    int order;

    order = !a   ? 1
            : !b ? -1
                 : str_compare((struct str){(const char *)a->data, a->size},
                               (struct str){(const char *)b->data, b->size});
    key = order <= 0 ? *a : *b;
    l->records.next += order <= 0;
    l->offsets.next += order >= 0;
    rest = (struct bytes){key.data + PARTITION_BYTES, key.size - PARTITION_BYTES};
    take_name(&rest, &group);
    if (l->position) {
        end = arena_alloc(order <= 0 ? &l->records.arena : &l->offsets.arena, key.size);
        if (!end ||
            !state_position_set(l->position, (struct bytes){end, state_prefix_end(key, end)})) {
            *st = status_error(KERR_UNKNOWN_SERVER_ERROR, "group state: out of memory");
            return STATE_STOP;
        }
    }
    return l->visit(l->arg, group, order <= 0) ? STATE_NEXT : STATE_STOP;
}

static struct status list_groups(struct group_listing *l, struct state_store *s,
                                 struct bytes prefix, bool *would_block)
{
    struct status st;

    for (;;) {
        st = names_fill(&l->records, s, prefix, would_block);
        if (status_failed(st) || (would_block && *would_block))
            return st;
        st = names_fill(&l->offsets, s, prefix, would_block);
        if (status_failed(st) || (would_block && *would_block))
            return st;
        if (!names_front(&l->records) && !names_front(&l->offsets)) {
            if (l->position)
                l->position->done = true;
            return STATUS_OK;
        }
        if (visit_group(l, &st) == STATE_STOP)
            return st;
    }
}

struct status group_state_list_groups(struct state_store *s, int32_t partition,
                                      struct state_position *position,
                                      bool (*visit)(void *arg, struct str group, bool has_records),
                                      void *arg, bool *would_block)
{
    struct group_listing listing = {.position = position, .visit = visit, .arg = arg};
    struct status st = status_error(KERR_UNKNOWN_SERVER_ERROR, "group state: out of memory");
    uint8_t prefix[PARTITION_BYTES];

    store_be32(prefix, (uint32_t)partition);
    if (would_block)
        *would_block = false;
    if (names_init(&listing.records, STATE_GROUPS, position) &&
        names_init(&listing.offsets, STATE_OFFSETS, position))
        st = list_groups(&listing, s, (struct bytes){prefix, sizeof prefix}, would_block);
    names_free(&listing.records);
    names_free(&listing.offsets);
    return st;
}
