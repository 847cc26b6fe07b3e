/* The members of a classic group, the ids it handed out, the protocols they offer and the topics
 * they subscribe. */
#include "broker/coordinator/group_classic.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"
#include "protocol/messages/client_records.h"
#include "protocol/reader.h"

enum {
    TOPICS_MAX =
        1000000 /* names in all subscriptions of a group, doubles too; more are not looked into */
};

struct classic_member *classic_group_member(const struct classic_group *cg, struct str id)
{
    struct classic_member *m;

    HASH_FIND(hh, cg->members, id.data, (unsigned)id.size, m);
    return m;
}

struct classic_member *classic_group_static_member(const struct classic_group *cg,
                                                   struct str instance_id)
{
    struct classic_member *m;

    HASH_FIND(by_instance, cg->statics, instance_id.data, (unsigned)instance_id.size, m);
    return m;
}

/* ---- protocols ---- */

size_t classic_protocols_bytes(const struct group_protocol *protocols, size_t count)
{
    size_t bytes = count * sizeof *protocols;

    for (size_t i = 0; i < count; i++)
        bytes += protocols[i].name.size + protocols[i].metadata.size;
    return bytes;
}

static struct group_protocol *copy_protocols(struct group_core *c,
                                             const struct group_protocol *from, size_t count)
{
    struct group_protocol *to = malloc(classic_protocols_bytes(from, count) + 1);
    char *at;

    if (!to) {
        group_fail(c);
        return NULL;
    }
    at = (char *)(to + count);
    for (size_t i = 0; i < count; i++) {
        to[i] = (struct group_protocol){{at, from[i].name.size},
                                        {(uint8_t *)at + from[i].name.size, from[i].metadata.size}};
        if (from[i].name.size)
            memcpy(at, from[i].name.data, from[i].name.size);
        at += from[i].name.size;
        if (from[i].metadata.size)
            memcpy(at, from[i].metadata.data, from[i].metadata.size);
        at += from[i].metadata.size;
    }
    return to;
}

static struct classic_support *find_support(const struct classic_group *cg, struct str name)
{
    struct classic_support *s;

    HASH_FIND(hh, cg->support, name.data, (unsigned)name.size, s);
    return s;
}

static struct classic_support *make_support(struct group_core *c, struct classic_group *cg,
                                            struct str name)
{
    struct classic_support *s = find_support(cg, name);

    if (s)
        return s;
    s = calloc(1, sizeof *s + name.size);
    if (s) {
        if (name.size)
            memcpy(s + 1, name.data, name.size);
        s->name = (struct str){(const char *)(s + 1), name.size};
        HASH_ADD_KEYPTR(hh, cg->support, s->name.data, (unsigned)name.size, s);
    }
    if (!s || !s->hh.tbl) {
        free(s);
        group_fail(c);
        return NULL;
    }
    return s;
}

static void count_support(struct group_core *c, struct classic_group *cg, struct classic_member *m)
{
    for (size_t i = 0; i < m->protocol_count; i++) {
        struct classic_support *s = make_support(c, cg, m->protocols[i].name);

        if (s && s->counted != m) {
            s->counted = m;
            s->count++;
        }
    }
    /* The mark is only for doubles in this list: the next member at this address must count
     * again. */
    for (size_t i = 0; i < m->protocol_count; i++) {
        struct classic_support *s = find_support(cg, m->protocols[i].name);

        if (s)
            s->counted = NULL;
    }
}

static void uncount_support(struct classic_group *cg, struct classic_member *m)
{
    for (size_t i = 0; i < m->protocol_count; i++) {
        struct classic_support *s = find_support(cg, m->protocols[i].name);

        if (s && s->counted != m) {
            s->counted = m;
            s->count--;
        }
    }
    for (size_t i = 0; i < m->protocol_count; i++) {
        struct classic_support *s = find_support(cg, m->protocols[i].name);

        if (!s)
            continue; /* a double, gone already */
        s->counted = NULL;
        if (!s->count) {
            HASH_DEL(cg->support, s);
            free(s);
        }
    }
}

bool classic_member_set_protocols(struct group_core *c, struct classic_group *cg,
                                  struct classic_member *m, const struct group_protocol *protocols,
                                  size_t count)
{
    struct group_protocol *copy = copy_protocols(c, protocols, count);

    if (!copy)
        return false;
    if (m->protocols) {
        uncount_support(cg, m);
        cg->bytes -= classic_protocols_bytes(m->protocols, m->protocol_count);
        free(m->protocols);
    }
    m->protocols = copy;
    m->protocol_count = count;
    cg->bytes += classic_protocols_bytes(copy, count);
    count_support(c, cg, m);
    return true;
}

bool classic_member_matches(const struct classic_member *m, const struct group_protocol *protocols,
                            size_t count)
{
    if (m->protocol_count != count)
        return false;
    for (size_t i = 0; i < count; i++) {
        struct bytes old = m->protocols[i].metadata, new = protocols[i].metadata;

        if (str_compare(m->protocols[i].name, protocols[i].name) != 0 || old.size != new.size)
            return false;
        if (old.size && memcmp(old.data, new.data, old.size) != 0)
            return false;
    }
    return true;
}

bool classic_group_supports(const struct classic_group *cg, struct str protocol_type,
                            const struct group_protocol *protocols, size_t count)
{
    size_t members = HASH_COUNT(cg->members);

    if (!protocol_type.size || !count)
        return false;
    if (cg->state == CLASSIC_EMPTY)
        return true;
    if (!str_equal(cg->protocol_type, protocol_type))
        return false;
    for (size_t i = 0; i < count; i++) {
        const struct classic_support *s = find_support(cg, protocols[i].name);

        if ((s ? s->count : 0) == members)
            return true;
    }
    return false;
}

struct bytes classic_member_metadata(const struct classic_member *m, struct str protocol)
{
    for (size_t i = 0; i < m->protocol_count; i++)
        if (str_compare(m->protocols[i].name, protocol) == 0)
            return m->protocols[i].metadata;
    return (struct bytes){(const uint8_t *)"", 0};
}

struct str classic_group_vote(const struct classic_group *cg)
{
    size_t members = HASH_COUNT(cg->members);
    const struct classic_support *best = NULL;

    CHECK(members > 0);
    for (struct classic_support *s = cg->support; s; s = s->hh.next)
        s->votes = 0;
    for (const struct classic_member *m = cg->members; m; m = m->hh.next) {
        for (size_t i = 0; i < m->protocol_count; i++) {
            struct classic_support *s = find_support(cg, m->protocols[i].name);

            if (s && s->count == members) {
                s->votes++;
                if (!best || s->votes > best->votes)
                    best = s;
                break;
            }
        }
    }
    return best ? best->name : STR_NULL;
}

/* ---- members ---- */

static size_t member_bytes(const struct classic_member *m)
{
    return sizeof *m + m->id.size + m->instance_id.size + m->client_id.size + m->client_host.size;
}

static void free_member(struct classic_member *m)
{
    group_drop_str(&m->id);
    group_drop_str(&m->instance_id);
    group_drop_str(&m->client_id);
    group_drop_str(&m->client_host);
    group_drop_bytes(&m->assignment);
    free(m->protocols);
    free(m);
}

static struct str or_empty(struct str s)
{
    return s.data ? s : STR("");
}

static bool fill_member(struct group_core *c, struct classic_member *m,
                        const struct classic_member_args *args)
{
    m->session_timeout_ms = args->session_timeout_ms;
    m->rebalance_timeout_ms = args->rebalance_timeout_ms;
    m->deadline_ms = INT64_MAX;
    return group_keep_str(c, &m->id, args->id) &&
           group_keep_str(c, &m->instance_id, args->instance_id) &&
           group_keep_str(c, &m->client_id, or_empty(args->client_id)) &&
           group_keep_str(c, &m->client_host, or_empty(args->client_host)) &&
           group_keep_bytes(c, &m->assignment, args->assignment);
}

/* Into the tables; false: out of memory, in none of them. */
static bool hash_member(struct group_core *c, struct classic_group *cg, struct classic_member *m)
{
    HASH_ADD_KEYPTR(hh, cg->members, m->id.data, (unsigned)m->id.size, m);
    if (m->hh.tbl && m->instance_id.data) {
        HASH_ADD_KEYPTR(by_instance, cg->statics, m->instance_id.data,
                        (unsigned)m->instance_id.size, m);
        if (!m->by_instance.tbl) {
            HASH_DEL(cg->members, m);
            m->hh.tbl = NULL;
        }
    }
    if (m->hh.tbl)
        return true;
    group_fail(c);
    return false;
}

struct classic_member *classic_group_add(struct group_core *c, struct group *g,
                                         struct str protocol_type,
                                         const struct classic_member_args *args)
{
    struct classic_group *cg = g->classic;
    struct classic_member *m = calloc(1, sizeof *m);
    struct classic_pending *pending = classic_group_find_pending(cg, args->id);

    if (!m) {
        group_fail(c);
        return NULL;
    }
    if (!fill_member(c, m, args))
        goto drop;
    if (!cg->members) {
        group_drop_str(&cg->protocol_type);
        if (!group_keep_str(c, &cg->protocol_type, protocol_type))
            goto drop;
    }
    if (!hash_member(c, cg, m))
        goto drop;
    cg->bytes += member_bytes(m);
    if (!classic_member_set_protocols(c, cg, m, args->protocols, args->protocol_count)) {
        classic_group_remove(g, m);
        return NULL;
    }
    if (!cg->leader)
        cg->leader = m;
    if (pending)
        classic_group_remove_pending(cg, pending);
    return m;

drop:
    free_member(m);
    return NULL;
}

void classic_group_remove(struct group *g, struct classic_member *m)
{
    struct classic_group *cg = g->classic;

    CHECK(!m->joining);
    CHECK(!m->syncing);
    HASH_DEL(cg->members, m);
    if (m->instance_id.data)
        HASH_DELETE(by_instance, cg->statics, m);
    if (m->protocols) {
        uncount_support(cg, m);
        cg->bytes -= classic_protocols_bytes(m->protocols, m->protocol_count);
    }
    cg->bytes -= member_bytes(m);
    if (m->pending_sync)
        cg->pending_sync_count--;
    if (cg->leader == m)
        cg->leader = cg->members;
    free_member(m);
}

bool classic_member_rename(struct group_core *c, struct classic_group *cg, struct classic_member *m,
                           struct str id)
{
    struct str copy, old = m->id;

    if (!group_keep_str(c, &copy, id))
        return false;
    HASH_DEL(cg->members, m);
    m->id = copy;
    HASH_ADD_KEYPTR(hh, cg->members, m->id.data, (unsigned)m->id.size, m);
    if (!m->hh.tbl) {
        group_fail(c);
        if (m->instance_id.data)
            HASH_DELETE(by_instance, cg->statics, m);
        cg->leader = NULL;
        group_drop_str(&old);
        free_member(m);
        return false;
    }
    cg->bytes += copy.size;
    cg->bytes -= old.size;
    group_drop_str(&old);
    return true;
}

/* ---- ids that were handed out ---- */

struct classic_pending *classic_group_find_pending(const struct classic_group *cg, struct str id)
{
    struct classic_pending *p;

    HASH_FIND(hh, cg->pending, id.data, (unsigned)id.size, p);
    return p;
}

bool classic_group_add_pending(struct group_core *c, struct classic_group *cg, struct str id,
                               int64_t deadline_ms)
{
    struct classic_pending *p = calloc(1, sizeof *p + id.size);

    if (p) {
        memcpy(p + 1, id.data, id.size);
        p->id = (struct str){(const char *)(p + 1), id.size};
        p->deadline_ms = deadline_ms;
        HASH_ADD_KEYPTR(hh, cg->pending, p->id.data, (unsigned)p->id.size, p);
    }
    if (p && p->hh.tbl) {
        cg->bytes += sizeof *p + id.size;
        return true;
    }
    free(p);
    group_fail(c);
    return false;
}

void classic_group_remove_pending(struct classic_group *cg, struct classic_pending *p)
{
    HASH_DEL(cg->pending, p);
    cg->bytes -= sizeof *p + p->id.size;
    free(p);
}

/* ---- the group as a value ---- */

struct classic_group *classic_group_create(struct group_core *c)
{
    struct classic_group *cg = calloc(1, sizeof *cg);

    if (!cg) {
        group_fail(c);
        return NULL;
    }
    cg->state_wall_ms = group_wall_ms(c);
    cg->join_deadline_ms = INT64_MAX;
    cg->sync_deadline_ms = INT64_MAX;
    return cg;
}

void classic_group_free(struct classic_group *cg)
{
    struct classic_member *m, *next;
    struct classic_pending *p, *next_pending;
    struct classic_support *s, *next_support;

    if (!cg)
        return;
    HASH_CLEAR(by_instance, cg->statics);
    HASH_ITER(hh, cg->members, m, next)
    {
        CHECK(!m->joining);
        CHECK(!m->syncing);
        HASH_DEL(cg->members, m);
        free_member(m);
    }
    HASH_ITER(hh, cg->pending, p, next_pending)
    classic_group_remove_pending(cg, p);
    HASH_ITER(hh, cg->support, s, next_support)
    {
        HASH_DEL(cg->support, s);
        free(s);
    }
    group_drop_str(&cg->protocol_type);
    group_drop_str(&cg->protocol);
    free(cg->topics);
    free(cg);
}

/* ---- what members subscribe ---- */

struct name_list {
    struct str *names;
    size_t count, capacity;
};

static bool add_name(struct name_list *list, struct str name)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 64;
        struct str *names =
            capacity > TOPICS_MAX ? NULL : realloc(list->names, capacity * sizeof *names);

        if (!names)
            return false;
        list->names = names;
        list->capacity = capacity;
    }
    list->names[list->count++] = name;
    return true;
}

/* The topics in a ConsumerProtocolSubscription of any version: versions only ever add at the
 * end. */
static bool add_subscription(struct name_list *list, struct bytes metadata)
{
    struct reader r = reader_of(metadata.data, metadata.size);
    int16_t version = read_int16(&r);
    int32_t count = read_int32(&r);

    if (version < CONSUMER_PROTOCOL_SUBSCRIPTION_VERSION_MIN || count < 0)
        return false;
    for (int32_t i = 0; i < count && reader_ok(&r); i++) {
        struct str name = read_string(&r, 0);

        if (reader_ok(&r) && !add_name(list, name))
            return false;
    }
    read_bytes(&r, WIRE_NULLABLE); /* user data */
    return reader_ok(&r);
}

static bool gather_topics(const struct classic_group *cg, struct str protocol,
                          struct name_list *list)
{
    struct bytes last = {NULL, 0};

    for (const struct classic_member *m = cg->members; m; m = m->hh.next) {
        struct bytes metadata = classic_member_metadata(m, protocol);
        bool same = last.data && last.size == metadata.size &&
                    memcmp(last.data, metadata.data, last.size) == 0;

        if (!same && !add_subscription(list, metadata)) /* most groups' members all say the same */
            return false;
        last = metadata;
    }
    return true;
}

static int compare_names(const void *a, const void *b)
{
    return str_compare(*(const struct str *)a, *(const struct str *)b);
}

/* Sorted, without doubles, in one block; NULL: out of memory. */
static struct str *keep_names(struct name_list *list)
{
    size_t count = 0, bytes = 0;
    struct str *block;
    char *at;

    if (list->count)
        qsort(list->names, list->count, sizeof *list->names, compare_names);
    for (size_t i = 0; i < list->count; i++) {
        if (count && str_equal(list->names[count - 1], list->names[i]))
            continue;
        list->names[count++] = list->names[i];
        bytes += list->names[i].size;
    }
    list->count = count;
    block = malloc(count * sizeof *block + bytes + 1);
    if (!block)
        return NULL;
    at = (char *)(block + count);
    for (size_t i = 0; i < count; i++) {
        block[i] = (struct str){at, list->names[i].size};
        if (block[i].size)
            memcpy(at, list->names[i].data, block[i].size);
        at += block[i].size;
    }
    return block;
}

static void learn_topics(struct classic_group *cg)
{
    struct name_list list = {0};

    free(cg->topics);
    cg->topics = NULL;
    cg->topic_count = 0;
    cg->topics_known = false;
    if (classic_group_is_consumer_protocol(cg) && (cg->protocol.data || !cg->members) &&
        gather_topics(cg, cg->protocol, &list)) {
        /* Without memory they are not known, which only keeps offsets longer. */
        cg->topics = keep_names(&list);
        cg->topics_known = cg->topics != NULL;
        cg->topic_count = cg->topics ? list.count : 0;
    }
    free(list.names);
}

void classic_group_set_protocol(struct group_core *c, struct classic_group *cg, struct str protocol)
{
    struct str copy;

    if (!group_keep_str(c, &copy, protocol))
        return;
    group_drop_str(&cg->protocol);
    cg->protocol = copy;
    learn_topics(cg);
}

bool classic_group_is_consumer_protocol(const struct classic_group *cg)
{
    return str_equal(cg->protocol_type, STR("consumer"));
}

bool classic_group_subscribes(const struct classic_group *cg, struct str topic)
{
    size_t low = 0, high = cg->topic_count;

    if (!cg->topics_known)
        return classic_group_is_consumer_protocol(cg);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = str_compare(cg->topics[middle], topic);

        if (!order)
            return true;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}
