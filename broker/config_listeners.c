#include "broker/config_listeners.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <strings.h>
#include <unistd.h>

#include "protocol/base/check.h"

/* Names mean security protocols by listener.security.protocol.map; a name in
 * controller.listener.names is for controllers; what clients are told is in advertised.listeners,
 * else what is bound. Rules and wording are close to Apache Kafka's, so that a file it takes is
 * taken, and one it refuses is refused. */

#define NAME_CHARS_MAX 249
#define HOST_CHARS_MAX 255

__attribute__((format(printf, 2, 3))) static struct status refuse(struct config_problem *problem,
                                                                  const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(problem->text, sizeof problem->text, format, args);
    va_end(args);
    return status_error(KERR_INVALID_CONFIG, "listeners");
}

static bool is_name(struct str text)
{
    for (size_t i = 0; i < text.size; i++)
        if (!isalnum((unsigned char)text.data[i]) && strchr("_-.", text.data[i]) == NULL)
            return false;
    return text.size > 0 && text.size <= NAME_CHARS_MAX;
}

static bool is_host(struct str text)
{
    for (size_t i = 0; i < text.size; i++)
        if (!isalnum((unsigned char)text.data[i]) && strchr("_-.:%", text.data[i]) == NULL)
            return false;
    return text.size <= HOST_CHARS_MAX;
}

static bool parse_port(struct str text, uint16_t *out)
{
    int64_t port;

    if (text.size == 0 || !isdigit((unsigned char)text.data[0]) ||
        !config_parse_integer(text, CONFIG_INT, &port) || port > UINT16_MAX)
        return false;
    *out = (uint16_t)port;
    return true;
}

bool config_parse_endpoint(struct str text, struct config_endpoint *out)
{
    const char *mark = text.size > 3 ? memmem(text.data, text.size, "://", 3) : NULL;

    if (mark == NULL)
        return false;
    out->name = (struct str){text.data, (size_t)(mark - text.data)};
    struct str rest = {mark + 3, text.size - out->name.size - 3};
    const char *colon = rest.size ? memrchr(rest.data, ':', rest.size) : NULL;
    if (colon == NULL)
        return false;
    out->host = (struct str){rest.data, (size_t)(colon - rest.data)};
    struct str port = {colon + 1, rest.size - out->host.size - 1};
    bool bracketed =
        out->host.size > 2 && out->host.data[0] == '[' && out->host.data[out->host.size - 1] == ']';
    if (bracketed)
        out->host = (struct str){out->host.data + 1, out->host.size - 2};
    else if (out->host.size > 0 && memchr(out->host.data, ':', out->host.size) != NULL)
        return false; /* where would the port begin? */
    return is_name(out->name) && is_host(out->host) && parse_port(port, &out->port);
}

/* ---- one listener ---- */

/* Names are the same in any case: Apache Kafka turns them into capitals. */
static bool same_name(struct str a, const char *b)
{
    return a.size == strlen(b) && strncasecmp(a.data, b, a.size) == 0;
}

static bool list_has(struct str list, const char *name)
{
    struct str item;

    while (config_list_next(&list, &item))
        if (same_name(item, name))
            return true;
    return false;
}

static const char *copy_name(struct arena *arena, struct str name)
{
    char *copy = arena_strdup(arena, name);

    CHECK(copy != NULL);
    for (char *c = copy; *c; c++)
        *c = (char)toupper((unsigned char)*c);
    return copy;
}

static const char *copy_host(struct arena *arena, struct str host)
{
    char *copy = arena_strdup(arena, host);

    CHECK(copy != NULL);
    return copy;
}

/* The protocol that a name stands for; null when the map does not have it. */
static struct str protocol_of(const struct config_values *config, const char *name, bool controller)
{
    struct str map = str_from(config_values_text(config, "listener.security.protocol.map"));
    struct str item;

    while (config_list_next(&map, &item)) {
        const char *colon = item.size ? memchr(item.data, ':', item.size) : NULL;
        if (colon == NULL)
            continue;
        struct str key = {item.data, (size_t)(colon - item.data)};
        if (same_name(key, name))
            return (struct str){colon + 1, item.size - key.size - 1};
    }
    /* While the map is not given, a controller's listener of any name is plain. */
    if (controller && !config_values_given(config, "listener.security.protocol.map"))
        return STR("PLAINTEXT");
    return STR_NULL;
}

static struct status check_protocol(const struct config_values *config,
                                    const struct node_listener *listener,
                                    struct config_problem *problem)
{
    struct str protocol = protocol_of(config, listener->name, listener->controller);

    if (protocol.data == NULL)
        return refuse(
            problem,
            "listeners: no security protocol is defined for %s in listener.security.protocol.map",
            listener->name);
    if (!same_name(protocol, "PLAINTEXT"))
        return refuse(
            problem,
            "listeners: %s has security protocol %.*s, but this version serves PLAINTEXT only",
            listener->name, STR_ARG(protocol));
    return STATUS_OK;
}

static struct status check_unique(const struct node_options *out, const struct node_listener *added,
                                  struct config_problem *problem)
{
    for (size_t i = 0; i < out->listener_count; i++) {
        if (strcmp(out->listeners[i].name, added->name) == 0)
            return refuse(problem,
                          "listeners: each listener must have a different name, %s is there twice",
                          added->name);
        if (added->port != 0 && out->listeners[i].port == added->port &&
            strcmp(out->listeners[i].host, added->host) == 0)
            return refuse(problem,
                          "listeners: each listener must have a different port, %d is there twice",
                          (int)added->port);
    }
    return STATUS_OK;
}

static struct status add_listener(const struct config_values *config, struct str text,
                                  struct arena *arena, struct node_options *out,
                                  struct config_problem *problem)
{
    struct config_endpoint endpoint;
    struct node_listener *listener = &out->listeners[out->listener_count];
    struct status st;

    if (!config_parse_endpoint(text, &endpoint))
        return refuse(problem, "listeners: %.*s is not NAME://host:port", STR_ARG(text));
    if (out->listener_count == NODE_LISTENERS_MAX)
        return refuse(problem, "listeners: more than %d", NODE_LISTENERS_MAX);
    listener->name = copy_name(arena, endpoint.name);
    listener->host = copy_host(arena, endpoint.host);
    listener->port = endpoint.port;
    listener->controller =
        list_has(str_from(config_values_text(config, "controller.listener.names")), listener->name);
    listener->advertised_host = listener->host;
    listener->advertised_port = endpoint.port;
    st = check_unique(out, listener, problem);
    if (!status_failed(st))
        st = check_protocol(config, listener, problem);
    if (!status_failed(st))
        out->listener_count++;
    return st;
}

/* ---- what clients are told ---- */

static struct status advertise(struct str text, bool seen[NODE_LISTENERS_MAX], struct arena *arena,
                               struct node_options *out, struct config_problem *problem)
{
    struct config_endpoint endpoint;

    if (!config_parse_endpoint(text, &endpoint))
        return refuse(problem, "advertised.listeners: %.*s is not NAME://host:port", STR_ARG(text));
    for (size_t i = 0; i < out->listener_count; i++)
        if (same_name(endpoint.name, out->listeners[i].name)) {
            if (seen[i])
                return refuse(problem, "advertised.listeners: %s is there twice",
                              out->listeners[i].name);
            seen[i] = true;
            out->listeners[i].advertised_host = copy_host(arena, endpoint.host);
            out->listeners[i].advertised_port = endpoint.port;
            return STATUS_OK;
        }
    return refuse(problem, "advertised.listeners: %.*s is not one of listeners",
                  STR_ARG(endpoint.name));
}

/* An empty host means this machine's name, as it does in Apache Kafka; an address that only means
 * "any" is no use to clients. */
static struct status finish_advertised(struct arena *arena, struct node_listener *listener,
                                       struct config_problem *problem)
{
    char name[HOST_CHARS_MAX + 1] = "";

    if (strcmp(listener->advertised_host, "0.0.0.0") == 0 ||
        strcmp(listener->advertised_host, "::") == 0)
        return refuse(
            problem,
            "advertised.listeners cannot use the nonroutable meta-address %s of listener %s; "
            "use a routable address or a name",
            listener->advertised_host, listener->name);
    if (listener->advertised_host[0] != '\0')
        return STATUS_OK;
    if (gethostname(name, sizeof name - 1) != 0 || name[0] == '\0')
        strcpy(name, "localhost");
    listener->advertised_host = copy_host(arena, str_from(name));
    return STATUS_OK;
}

/* ---- all of them ---- */

static struct status check_controller_names(const struct config_values *config,
                                            const struct node_options *out,
                                            struct config_problem *problem)
{
    struct str names = str_from(config_values_text(config, "controller.listener.names"));
    struct str name;

    if (names.size == 0)
        return refuse(problem, "controller.listener.names must contain at least one value");
    while (config_list_next(&names, &name)) {
        bool found = false;
        for (size_t i = 0; i < out->listener_count; i++)
            found = found || same_name(name, out->listeners[i].name);
        if (!found)
            return refuse(problem, "controller.listener.names: %.*s is not one of listeners",
                          STR_ARG(name));
    }
    for (size_t i = 0; i < out->listener_count; i++)
        if (!out->listeners[i].controller)
            return STATUS_OK;
    return refuse(
        problem, "listeners: all of them are in controller.listener.names, so none is for clients");
}

static struct status set_inter_broker(const struct config_values *config, struct node_options *out,
                                      struct config_problem *problem)
{
    const char *name = config_values_text(config, "inter.broker.listener.name");

    out->inter_broker_listener =
        name ? name : config_values_text(config, "security.inter.broker.protocol");
    if (name == NULL)
        return STATUS_OK;
    for (size_t i = 0; i < out->listener_count; i++)
        if (!out->listeners[i].controller && same_name(str_from(name), out->listeners[i].name))
            return STATUS_OK;
    return refuse(problem, "inter.broker.listener.name: %s is not one of the listeners for clients",
                  name);
}

struct status config_listeners(const struct config_values *config, struct arena *arena,
                               struct node_options *out, struct config_problem *problem)
{
    struct str bound = str_from(config_values_text(config, "listeners"));
    struct str advertised = str_from(config_values_text(config, "advertised.listeners"));
    bool seen[NODE_LISTENERS_MAX] = {false};
    struct status st = STATUS_OK;
    struct str text;

    out->listener_count = 0;
    while (!status_failed(st) && config_list_next(&bound, &text))
        st = add_listener(config, text, arena, out, problem);
    if (!status_failed(st))
        st = check_controller_names(config, out, problem);
    while (!status_failed(st) && advertised.size > 0 && config_list_next(&advertised, &text))
        st = advertise(text, seen, arena, out, problem);
    for (size_t i = 0; i < out->listener_count && !status_failed(st); i++)
        st = finish_advertised(arena, &out->listeners[i], problem);
    return status_failed(st) ? st : set_inter_broker(config, out, problem);
}
