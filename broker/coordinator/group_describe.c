/* What is shown of groups: DescribeGroups, ConsumerGroupDescribe, ListGroups. */
#include "broker/coordinator/group_classic.h"

#include <stdarg.h>
#include <stdio.h>

#include "protocol/wire.h"

static struct str message_of(struct group_caller *who, const char *format, ...)
{
    char text[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return group_answer_str(who, str_from(text));
}

static void describe_member(struct group_caller *who, const struct classic_group *cg,
                            const struct classic_member *m, struct group_described_member *out)
{
    /* Before a group is stable neither is settled. */
    bool stable = cg->state == CLASSIC_STABLE;

    *out = (struct group_described_member){
        .member_id = group_answer_str(who, m->id),
        .instance_id = group_answer_str(who, m->instance_id),
        .client_id = group_answer_str(who, m->client_id),
        .client_host = group_answer_str(who, m->client_host),
        .metadata = stable ? group_answer_bytes(who, classic_member_metadata(m, cg->protocol))
                           : WIRE_EMPTY_BYTES,
        .assignment =
            m->assignment.data ? group_answer_bytes(who, m->assignment) : WIRE_EMPTY_BYTES,
    };
}

static void describe_classic(struct group_caller *who, const struct classic_group *cg)
{
    struct group_describe_answer *a = &who->describe;
    struct group_described_member *out;

    a->state = classic_state_name(cg->state);
    if (cg->protocol_type.data)
        a->protocol_type = group_answer_str(who, cg->protocol_type);
    if (cg->state == CLASSIC_STABLE)
        a->protocol = group_answer_str(who, cg->protocol);
    out = a->members = group_answer_array(who, HASH_COUNT(cg->members), sizeof *out);
    a->member_count = out ? HASH_COUNT(cg->members) : 0;
    for (const struct classic_member *m = cg->members; m && out; m = m->hh.next)
        describe_member(who, cg, m, out++);
}

void group_core_describe(struct group_core *c, struct group_caller *who, struct str group,
                         struct group_effects *fx)
{
    const struct group *g = group_find_loaded(c, group);
    enum kerr code = KERR_NONE;

    group_step_begin(c, fx, c->now_ms);
    who->code = KERR_NONE;
    who->describe = (struct group_describe_answer){
        .state = STR("Empty"), .protocol_type = STR(""), .protocol = STR("")};
    if (g->type == GROUP_CLASSIC) {
        describe_classic(who, g->classic);
    } else if (g->type == GROUP_CONSUMER || group_is_nothing(g)) {
        code = KERR_GROUP_ID_NOT_FOUND;
        who->describe.state = STR("Dead");
        who->describe.message =
            message_of(who,
                       g->type == GROUP_CONSUMER ? "Group %.*s is not a classic group."
                                                 : "Group %.*s not found.",
                       STR_ARG(group));
    }
    group_answer_now(c, who, code);
    group_step_end(c);
}

void group_core_consumer_describe(struct group_core *c, struct group_caller *who, struct str group,
                                  struct group_effects *fx)
{
    struct group *g = group_find_loaded(c, group);
    enum kerr code = KERR_NONE;

    group_step_begin(c, fx, c->now_ms);
    who->code = KERR_NONE;
    who->consumer_describe =
        (struct group_consumer_describe_answer){.state = STR(""), .assignor = STR("")};
    if (g->type == GROUP_CONSUMER) {
        consumer_group_describe(c, g, who);
    } else {
        code = KERR_GROUP_ID_NOT_FOUND;
        who->consumer_describe.message = message_of(
            who,
            group_is_nothing(g) ? "Group %.*s not found." : "Group %.*s is not a consumer group.",
            STR_ARG(group));
    }
    group_answer_now(c, who, code);
    group_step_end(c);
}

static struct group_listed listed(const struct group *g)
{
    if (g->type == GROUP_CONSUMER)
        return (struct group_listed){g->id, STR("consumer"), consumer_group_state(g),
                                     STR("consumer")};
    if (g->type == GROUP_CLASSIC)
        return (struct group_listed){
            g->id, g->classic->protocol_type.data ? g->classic->protocol_type : STR(""),
            classic_state_name(g->classic->state), STR("classic")};
    return (struct group_listed){g->id, STR(""), STR("Empty"), STR("classic")};
}

void group_core_list(const struct group_core *c,
                     bool (*visit)(void *arg, const struct group_listed *g), void *arg)
{
    for (const struct group *g = c->groups; g; g = g->hh.next) {
        struct group_listed l;

        if (!g->loaded || group_is_nothing(g))
            continue;
        l = listed(g);
        if (!visit(arg, &l))
            return;
    }
}
