/* trivet group reset-offsets: where the group is to go on, shown first, done with --execute. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/api.h"
#include "protocol/base/kerr.h"
#include "protocol/messages/offset_commit.h"
#include "tools/trivet/command.h"
#include "tools/trivet/group.h"

#define COMMIT_VERSION_MAX 9 /* topics by name */

struct reset_place {
    struct str topic;
    int32_t partition;
    int64_t committed, start, end;
    int64_t target;
};

struct reset_plan {
    struct arena *arena;
    struct reset_place *places;
    size_t count, capacity;
};

static bool plan_add(struct reset_plan *plan, struct str topic, int32_t partition)
{
    if (plan->count == plan->capacity) {
        size_t capacity = plan->capacity ? 2 * plan->capacity : 64;
        struct reset_place *places = arena_array(plan->arena, struct reset_place, capacity);

        if (!places)
            return false;
        for (size_t i = 0; i < plan->count; i++)
            places[i] = plan->places[i];
        plan->places = places;
        plan->capacity = capacity;
    }
    plan->places[plan->count++] = (struct reset_place){topic, partition, -1, -1, -1, -1};
    return true;
}

/* "topic" or "topic:0,2,5". */
static bool plan_add_words(struct reset_plan *plan, const struct cluster *c, const char *words)
{
    const char *colon = strchr(words, ':');
    struct str topic = colon ? (struct str){words, (size_t)(colon - words)} : str_from(words);
    size_t count = cluster_partition_count(c, topic);

    if (count == 0) {
        fprintf(stderr, "trivet: %.*s: no such topic\n", STR_ARG(topic));
        return false;
    }
    if (!colon) {
        for (size_t i = 0; i < count; i++)
            if (!plan_add(plan, topic, (int32_t)i))
                return false;
        return true;
    }
    for (const char *at = colon + 1;; at++) {
        char *end;
        long index = strtol(at, &end, 10);

        if (end == at || (*end && *end != ',') || index < 0 || (size_t)index >= count) {
            fprintf(stderr, "trivet: '%s' names no partition of %.*s\n", at, STR_ARG(topic));
            return false;
        }
        if (!plan_add(plan, topic, (int32_t)index))
            return false;
        if (!*end)
            return true;
        at = end;
    }
}

static bool plan_fill(struct reset_plan *plan, struct cluster *c, const struct group_view *view,
                      const struct reset_arguments *r)
{
    for (size_t i = 0; i < r->topic_count; i++)
        if (!plan_add_words(plan, c, r->topics[i]))
            return false;
    for (size_t i = 0; r->topic_count == 0 && i < view->offset_count; i++)
        if (!plan_add(plan, view->offsets[i].topic, view->offsets[i].partition))
            return false;
    for (size_t i = 0; i < plan->count; i++)
        for (size_t k = 0; k < view->offset_count; k++)
            if (view->offsets[k].partition == plan->places[i].partition &&
                str_equal(view->offsets[k].topic, plan->places[i].topic))
                plan->places[i].committed = view->offsets[k].committed;
    if (plan->count == 0)
        fputs("trivet: the group has committed to nothing: say which topics with --topic\n",
              stderr);
    return plan->count > 0;
}

/* One ListOffsets for all places; *member of each gets the offset. False when a partition has
 * none. */
static bool plan_ask(struct reset_plan *plan, struct cluster *c, int64_t timestamp, size_t member)
{
    struct offset_question *q = arena_array(plan->arena, struct offset_question, plan->count);

    if (!q)
        return false;
    for (size_t i = 0; i < plan->count; i++)
        q[i] = (struct offset_question){plan->places[i].topic, plan->places[i].partition, timestamp,
                                        0, -1};
    if (!cluster_list_offsets(c, plan->arena, q, plan->count))
        return false;
    for (size_t i = 0; i < plan->count; i++) {
        if (q[i].code != KERR_NONE) {
            fprintf(stderr, "trivet: %.*s %d: %s\n", STR_ARG(q[i].topic), q[i].partition,
                    kerr_name((enum kerr)q[i].code));
            return false;
        }
        memcpy((char *)&plan->places[i] + member, &q[i].offset, sizeof q[i].offset);
    }
    return true;
}

/* Where each place goes: never outside of its log. */
static bool plan_aim(struct reset_plan *plan, struct cluster *c, const struct reset_arguments *r)
{
    if (!plan_ask(plan, c, -2, offsetof(struct reset_place, start)) ||
        !plan_ask(plan, c, -1, offsetof(struct reset_place, end)) ||
        (r->to == RESET_TIME && !plan_ask(plan, c, r->value, offsetof(struct reset_place, target))))
        return false;
    for (size_t i = 0; i < plan->count; i++) {
        struct reset_place *p = &plan->places[i];

        switch (r->to) {
        case RESET_EARLIEST:
            p->target = p->start;
            break;
        case RESET_LATEST:
            p->target = p->end;
            break;
        /* nothing that young: the end */
        case RESET_TIME:
            p->target = p->target < 0 ? p->end : p->target;
            break;
        case RESET_OFFSET:
            p->target = r->value;
            break;
        case RESET_SHIFT:
            if (p->committed < 0) {
                fprintf(stderr, "trivet: %.*s %d: nothing committed to shift\n", STR_ARG(p->topic),
                        p->partition);
                return false;
            }
            p->target = p->committed + r->value;
            break;
        case RESET_NOWHERE:
            return false;
        }
        if (p->target < p->start)
            p->target = p->start;
        if (p->target > p->end)
            p->target = p->end;
    }
    return true;
}

static void plan_print(const struct reset_plan *plan)
{
    int width = 5;

    for (size_t i = 0; i < plan->count; i++)
        if ((int)plan->places[i].topic.size > width)
            width = (int)plan->places[i].topic.size;
    printf("%-*s  PARTITION  COMMITTED      TARGET\n", width, "TOPIC");
    for (size_t i = 0; i < plan->count; i++) {
        const struct reset_place *p = &plan->places[i];
        char committed[24] = "-";

        if (p->committed >= 0)
            snprintf(committed, sizeof committed, "%lld", (long long)p->committed);
        printf("%-*.*s  %9d  %9s  %10lld\n", width, STR_ARG(p->topic), p->partition, committed,
               (long long)p->target);
    }
}

/* ---- doing it ---- */

static int16_t commit_code(const void *response)
{
    const struct offset_commit_response *r = response;

    return r->topics_count && r->topics[0].partitions_count ? r->topics[0].partitions[0].error_code
                                                            : KERR_NONE;
}

static int commit_tell(const struct offset_commit_response *response)
{
    int status = EXIT_DONE;

    for (size_t t = 0; t < response->topics_count; t++)
        for (size_t p = 0; p < response->topics[t].partitions_count; p++) {
            const struct offset_commit_response_partition *got = &response->topics[t].partitions[p];

            if (got->error_code == KERR_NONE)
                continue;
            fprintf(stderr, "trivet: %.*s %d: %s\n", STR_ARG(response->topics[t].name),
                    got->partition_index, kerr_name((enum kerr)got->error_code));
            status = EXIT_FAILED;
        }
    return status;
}

static int plan_execute(const struct reset_plan *plan, struct cluster *c, struct str group)
{
    struct offset_commit_request_topic *topics =
        arena_array(plan->arena, struct offset_commit_request_topic, plan->count);
    struct offset_commit_request_partition *partitions =
        arena_array(plan->arena, struct offset_commit_request_partition, plan->count);
    struct offset_commit_request request;
    struct offset_commit_response response;

    if (!topics || !partitions)
        return EXIT_FAILED;
    offset_commit_request_init(&request);
    for (size_t i = 0; i < plan->count; i++) {
        offset_commit_request_partition_init(&partitions[i]);
        partitions[i].partition_index = plan->places[i].partition;
        partitions[i].committed_offset = plan->places[i].target;
        partitions[i].committed_metadata = STR("");
        offset_commit_request_topic_init(&topics[i]);
        topics[i].name = plan->places[i].topic;
        topics[i].partitions = &partitions[i];
        topics[i].partitions_count = 1;
    }
    request.group_id = group;
    request.topics = topics;
    request.topics_count = plan->count;
    if (!group_call(c, group, API_OFFSET_COMMIT, COMMIT_VERSION_MAX, &request, &response,
                    commit_code))
        return EXIT_FAILED;
    return commit_tell(&response);
}

int group_reset(struct cluster *c, struct str group, const struct reset_arguments *r)
{
    struct arena arena;
    struct reset_plan plan = {.arena = &arena};
    struct group_view view;
    int status = EXIT_FAILED;

    arena_init(&arena, (size_t)1 << 30);
    /* A group that is not there yet can be given its offsets all the same, when topics are
     * named. */
    if (!group_view_load(c, group, &arena, r->topic_count > 0, &view))
        goto done;
    if (view.member_count > 0) {
        fprintf(stderr,
                "trivet: %.*s: has %zu members; offsets can be reset only while it has none\n",
                STR_ARG(group), view.member_count);
        goto done;
    }
    if (!plan_fill(&plan, c, &view, r) || !plan_aim(&plan, c, r))
        goto done;
    plan_print(&plan);
    if (r->execute)
        status = plan_execute(&plan, c, group);
    else {
        puts("Nothing was changed: --execute does it.");
        status = EXIT_DONE;
    }
done:
    arena_free(&arena);
    return status;
}
