/* controller.quorum.voters: "1@host:port,2@host:port", who votes while the log holds no voters
 * (kraft.version 0); and controller.quorum.bootstrap.servers: "host:port,host:port", who is asked
 * for those that the log holds. */

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/config_listeners.h"
#include "protocol/base/check.h"

__attribute__((format(printf, 2, 3))) static struct status refuse(struct config_problem *problem,
                                                                  const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(problem->text, sizeof problem->text, format, args);
    va_end(args);
    return status_error(KERR_INVALID_CONFIG, "setting");
}

static bool parse_id(struct str digits, int32_t *out)
{
    int64_t id = 0;

    if (digits.size == 0 || digits.size > 10)
        return false;
    for (size_t i = 0; i < digits.size; i++) {
        if (digits.data[i] < '0' || digits.data[i] > '9')
            return false;
        id = id * 10 + (digits.data[i] - '0');
    }
    *out = (int32_t)id;
    return id <= INT32_MAX;
}

/* host:port, an endpoint like those of listeners without a name. */
static bool parse_place(struct str text, struct arena *arena, struct node_voter *out)
{
    struct config_endpoint endpoint;
    char named[512];
    int length = snprintf(named, sizeof named, "V://%.*s", STR_ARG(text));

    if (length < 0 || (size_t)length >= sizeof named ||
        !config_parse_endpoint((struct str){named, (size_t)length}, &endpoint) ||
        endpoint.host.size == 0 || endpoint.port == 0)
        return false;
    out->host = arena_strdup(arena, endpoint.host);
    out->port = endpoint.port;
    CHECK(out->host != NULL);
    return true;
}

static bool parse_voter(struct str text, struct arena *arena, struct node_voter *out)
{
    const char *at = text.size ? memchr(text.data, '@', text.size) : NULL;

    return at && parse_id((struct str){text.data, (size_t)(at - text.data)}, &out->id) &&
           parse_place((struct str){at + 1, text.size - (size_t)(at + 1 - text.data)}, arena, out);
}

struct status config_bootstrap(const struct config_values *config, struct arena *arena,
                               struct node_options *out, struct config_problem *problem)
{
    struct str list = str_from(config_values_text(config, "controller.quorum.bootstrap.servers"));
    struct str item;

    out->bootstrap_count = 0;
    out->auto_join = config_values_boolean(config, "controller.quorum.auto.join.enable");
    while (config_list_next(&list, &item)) {
        if (item.size == 0)
            continue;
        if (out->bootstrap_count == NODE_VOTERS_MAX)
            return refuse(problem, "controller.quorum.bootstrap.servers: more than %d",
                          NODE_VOTERS_MAX);
        if (!parse_place(item, arena, &out->bootstrap[out->bootstrap_count++]))
            return refuse(problem, "controller.quorum.bootstrap.servers: %.*s is not host:port",
                          STR_ARG(item));
    }
    return STATUS_OK;
}

struct status config_voters(const struct config_values *config, struct arena *arena,
                            struct node_options *out, struct config_problem *problem)
{
    struct str list = str_from(config_values_text(config, "controller.quorum.voters"));
    bool self = false;
    struct str item;

    out->voter_count = 0;
    while (config_list_next(&list, &item)) {
        struct node_voter *v = &out->voters[out->voter_count];

        if (item.size == 0) /* an empty setting is none */
            continue;
        if (out->voter_count == NODE_VOTERS_MAX)
            return refuse(problem, "controller.quorum.voters: more than %d", NODE_VOTERS_MAX);
        if (!parse_voter(item, arena, v))
            return refuse(problem, "controller.quorum.voters: %.*s is not id@host:port",
                          STR_ARG(item));
        for (size_t i = 0; i < out->voter_count; i++)
            if (out->voters[i].id == v->id)
                return refuse(problem, "controller.quorum.voters: %d is there twice", v->id);
        self |= v->id == out->node_id;
        out->voter_count++;
    }
    if (out->voter_count > 0 && !self)
        return refuse(problem,
                      "If process.roles contains the \"controller\" role, the node id %d must be "
                      "included in the set "
                      "of voters controller.quorum.voters",
                      out->node_id);
    return STATUS_OK;
}
