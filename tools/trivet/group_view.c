/* A group as its coordinator and the leaders of its partitions see it. */

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "protocol/api.h"
#include "protocol/base/kerr.h"
#include "protocol/messages/client_records.h"
#include "protocol/messages/consumer_group_describe.h"
#include "protocol/messages/describe_groups.h"
#include "protocol/messages/offset_fetch.h"
#include "tools/trivet/group.h"

#define RETRY_US             100000
#define RETRIES_MAX          100
#define OFFSET_FETCH_VERSION 8 /* groups, and topics by name */

bool group_call(struct cluster *c, struct str group, int16_t key, int16_t version_max,
                const void *request, void *response, int16_t (*code)(const void *response))
{
    for (int tried = 0; tried < RETRIES_MAX; tried++) {
        int32_t node;
        struct client *client = cluster_coordinator(c, group, &node);
        int16_t version = client ? client_version(client, key) : -1;

        if (!client)
            return false;
        if (version > version_max)
            version = version_max;
        if (!client_call(client, key, version, request, response))
            return false;
        switch (code(response)) {
        case KERR_COORDINATOR_LOAD_IN_PROGRESS:
        case KERR_COORDINATOR_NOT_AVAILABLE:
        case KERR_NOT_COORDINATOR:
            break;
        default:
            return true;
        }
        usleep(RETRY_US);
    }
    return true;
}

static struct str keep(struct arena *a, struct str s)
{
    char *copy = s.data ? arena_strdup(a, s) : NULL;

    return copy ? (struct str){copy, s.size} : STR_NULL;
}

/* ---- offsets, in a growing list ---- */

struct offset_list {
    struct arena *arena;
    struct group_offset_view *items;
    size_t count, capacity;
    bool failed;
};

static struct group_offset_view *offset_list_at(struct offset_list *l, struct str topic,
                                                int32_t partition)
{
    for (size_t i = 0; i < l->count; i++)
        if (l->items[i].partition == partition && str_equal(l->items[i].topic, topic))
            return &l->items[i];
    if (l->count == l->capacity) {
        size_t capacity = l->capacity ? 2 * l->capacity : 64;
        struct group_offset_view *items = arena_array(l->arena, struct group_offset_view, capacity);

        if (!items) {
            l->failed = true;
            return NULL;
        }
        for (size_t i = 0; i < l->count; i++)
            items[i] = l->items[i];
        l->items = items;
        l->capacity = capacity;
    }
    l->items[l->count] = (struct group_offset_view){.topic = keep(l->arena, topic),
                                                    .partition = partition,
                                                    .committed = -1,
                                                    .start = -1,
                                                    .end = -1};
    return &l->items[l->count++];
}

static void offset_list_own(struct offset_list *l, struct group_member_view *m, struct str topic,
                            const int32_t *partitions, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct group_offset_view *o = offset_list_at(l, topic, partitions[i]);

        if (o)
            o->owner = m;
    }
    m->partition_count += count;
}

/* ---- consumer groups ---- */

static int16_t consumer_code(const void *response)
{
    const struct consumer_group_describe_response *r = response;

    return r->groups_count ? r->groups[0].error_code : KERR_UNKNOWN_SERVER_ERROR;
}

static bool take_consumer(const struct consumer_group_describe_response_described_group *g,
                          struct group_view *out, struct offset_list *l)
{
    out->type = STR("consumer");
    out->state = keep(l->arena, g->group_state);
    out->assignor = keep(l->arena, g->assignor_name);
    out->epoch = g->group_epoch;
    out->members = arena_array(l->arena, struct group_member_view, g->members_count);
    if (!out->members)
        return false;
    out->member_count = g->members_count;
    for (size_t i = 0; i < g->members_count; i++) {
        const struct consumer_group_describe_response_member *m = &g->members[i];
        struct group_member_view *v = &out->members[i];

        *v = (struct group_member_view){keep(l->arena, m->member_id),
                                        keep(l->arena, m->instance_id),
                                        keep(l->arena, m->client_id),
                                        keep(l->arena, m->client_host),
                                        m->member_type == 0 ? STR("classic") : STR("consumer"),
                                        0};
        for (size_t t = 0; t < m->assignment.topic_partitions_count; t++) {
            const struct consumer_group_describe_response_topic_partitions *p =
                &m->assignment.topic_partitions[t];

            offset_list_own(l, v, p->topic_name, p->partitions, p->partitions_count);
        }
    }
    return !l->failed;
}

/* ---- classic groups ---- */

static int16_t classic_code(const void *response)
{
    const struct describe_groups_response *r = response;

    return r->groups_count ? r->groups[0].error_code : KERR_UNKNOWN_SERVER_ERROR;
}

/* What a member owns; assignments of other protocol types (Connect) are left alone. */
static void take_classic_assignment(struct bytes data, struct group_member_view *m,
                                    struct offset_list *l)
{
    struct reader r = reader_of(data.data, data.size);
    int16_t version = read_int16(&r);
    struct consumer_protocol_assignment assignment;

    if (!reader_ok(&r) || version < 0)
        return;
    if (version > CONSUMER_PROTOCOL_ASSIGNMENT_VERSION_MAX)
        version = CONSUMER_PROTOCOL_ASSIGNMENT_VERSION_MAX;
    if (!consumer_protocol_assignment_decode(&assignment, &r, l->arena, version))
        return;
    for (size_t i = 0; i < assignment.assigned_partitions_count; i++) {
        const struct consumer_protocol_assignment_topic_partition *p =
            &assignment.assigned_partitions[i];

        offset_list_own(l, m, p->topic, p->partitions, p->partitions_count);
    }
}

static bool take_classic(const struct describe_groups_response_described_group *g,
                         struct group_view *out, struct offset_list *l)
{
    out->type = STR("classic");
    out->state = keep(l->arena, g->group_state);
    out->assignor = keep(l->arena, g->protocol_data);
    out->epoch = -1;
    out->members = arena_array(l->arena, struct group_member_view, g->members_count);
    if (!out->members)
        return false;
    out->member_count = g->members_count;
    for (size_t i = 0; i < g->members_count; i++) {
        const struct describe_groups_response_described_group_member *m = &g->members[i];

        out->members[i] = (struct group_member_view){keep(l->arena, m->member_id),
                                                     keep(l->arena, m->group_instance_id),
                                                     keep(l->arena, m->client_id),
                                                     keep(l->arena, m->client_host),
                                                     STR("classic"),
                                                     0};
        if (str_equal(g->protocol_type, STR("consumer")))
            take_classic_assignment(m->member_assignment, &out->members[i], l);
    }
    return !l->failed;
}

static bool tell(struct str group, int16_t code)
{
    fprintf(stderr, "trivet: %.*s: %s\n", STR_ARG(group), kerr_name((enum kerr)code));
    return false;
}

static bool describe_classic(struct cluster *c, struct str group, bool may_be_new,
                             struct group_view *out, struct offset_list *l)
{
    struct describe_groups_request request;
    struct describe_groups_response response;

    describe_groups_request_init(&request);
    request.groups = &group;
    request.groups_count = 1;
    if (!group_call(c, group, API_DESCRIBE_GROUPS, INT16_MAX, &request, &response, classic_code))
        return false;
    if (classic_code(&response) == KERR_GROUP_ID_NOT_FOUND && may_be_new)
        return true;
    if (classic_code(&response) != KERR_NONE)
        return tell(group, classic_code(&response));
    return take_classic(&response.groups[0], out, l);
}

/* Which kind it is, its coordinator knows best: first asked as one of KIP-848, then as a classic
 * one. */
static bool describe(struct cluster *c, struct str group, bool may_be_new, struct group_view *out,
                     struct offset_list *l)
{
    struct consumer_group_describe_request request;
    struct consumer_group_describe_response response;
    struct client *client = cluster_coordinator(c, group, &out->coordinator);

    if (!client)
        return false;
    if (client_version(client, API_CONSUMER_GROUP_DESCRIBE) >= 0) {
        consumer_group_describe_request_init(&request);
        request.group_ids = &group;
        request.group_ids_count = 1;
        if (!group_call(c, group, API_CONSUMER_GROUP_DESCRIBE, INT16_MAX, &request, &response,
                        consumer_code))
            return false;
        if (consumer_code(&response) == KERR_NONE)
            return take_consumer(&response.groups[0], out, l);
        if (consumer_code(&response) != KERR_GROUP_ID_NOT_FOUND)
            return tell(group, consumer_code(&response));
    }
    return describe_classic(c, group, may_be_new, out, l);
}

/* ---- what was committed, and where the logs end ---- */

static int16_t fetch_code(const void *response)
{
    const struct offset_fetch_response *r = response;

    return r->groups_count ? r->groups[0].error_code : KERR_UNKNOWN_SERVER_ERROR;
}

static bool fetch_committed(struct cluster *c, struct str group, struct offset_list *l)
{
    struct offset_fetch_request_group asked;
    struct offset_fetch_request request;
    struct offset_fetch_response response;

    offset_fetch_request_group_init(&asked);
    asked.group_id = group;
    asked.topics = NULL; /* all */
    offset_fetch_request_init(&request);
    request.groups = &asked;
    request.groups_count = 1;
    if (!group_call(c, group, API_OFFSET_FETCH, OFFSET_FETCH_VERSION, &request, &response,
                    fetch_code))
        return false;
    if (fetch_code(&response) != KERR_NONE)
        return tell(group, fetch_code(&response));
    for (size_t t = 0; t < response.groups[0].topics_count; t++) {
        const struct offset_fetch_response_topics *topic = &response.groups[0].topics[t];

        for (size_t p = 0; p < topic->partitions_count; p++) {
            struct group_offset_view *o =
                offset_list_at(l, topic->name, topic->partitions[p].partition_index);

            if (!o)
                return false;
            o->committed = topic->partitions[p].committed_offset;
            o->metadata = keep(l->arena, topic->partitions[p].metadata);
        }
    }
    return true;
}

static bool fetch_ends(struct cluster *c, struct offset_list *l)
{
    struct offset_question *q = arena_array(l->arena, struct offset_question, l->count);

    if (!q)
        return false;
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < l->count; i++)
            q[i] = (struct offset_question){l->items[i].topic, l->items[i].partition,
                                            round ? -2 : -1, 0, -1};
        if (!cluster_list_offsets(c, l->arena, q, l->count))
            return false;
        for (size_t i = 0; i < l->count; i++) {
            if (round)
                l->items[i].start = q[i].code == KERR_NONE ? q[i].offset : -1;
            else
                l->items[i].end = q[i].code == KERR_NONE ? q[i].offset : -1;
        }
    }
    return true;
}

static int by_place(const void *a, const void *b)
{
    const struct group_offset_view *x = a, *y = b;
    int order = str_compare(x->topic, y->topic);

    return order ? order : (x->partition > y->partition) - (x->partition < y->partition);
}

bool group_view_load(struct cluster *c, struct str group, struct arena *a, bool may_be_new,
                     struct group_view *out)
{
    struct offset_list l = {.arena = a};

    *out = (struct group_view){.group = group, .epoch = -1};
    if (!describe(c, group, may_be_new, out, &l) || !fetch_committed(c, group, &l) ||
        !fetch_ends(c, &l))
        return false;
    if (l.count)
        qsort(l.items, l.count, sizeof *l.items, by_place);
    out->offsets = l.items;
    out->offset_count = l.count;
    return true;
}
