#include "broker/config_environment.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"
#include "storage/properties.h"

/* Environment variables as settings. */

#define PREFIX       "KAFKA_"
#define PREFIX_CHARS (sizeof PREFIX - 1)

/* What is no setting: they are for the Java machine, its logging and the scripts of the image. */
static const char *const not_settings[] = {
    "KAFKA_VERSION",
    "KAFKA_HEAP_OPT",
    "KAFKA_HEAP_OPTS",
    "KAFKA_OPTS",
    "KAFKA_JMX_OPTS",
    "KAFKA_JMX_PORT",
    "KAFKA_JMX_HOSTNAME",
    "KAFKA_JVM_PERFORMANCE_OPTS",
    "KAFKA_GC_LOG_OPTS",
    "KAFKA_LOG4J_OPTS",
    "KAFKA_LOG4J_ROOT_LOGLEVEL",
    "KAFKA_LOG4J_LOGGERS",
    "KAFKA_LOG4J_CMD_OPTS",
    "KAFKA_TOOLS_LOG4J_LOGLEVEL",
};

/* The parts of "NAME=value" when it is a setting. */
struct variable {
    struct str name;
    struct str value;
};

static bool same(struct str a, const char *b)
{
    return a.size == strlen(b) && memcmp(a.data, b, a.size) == 0;
}

static bool parse_variable(const char *text, struct variable *out)
{
    const char *equals = strchr(text, '=');

    if (equals == NULL || strncmp(text, PREFIX, PREFIX_CHARS) != 0)
        return false;
    out->name = (struct str){text, (size_t)(equals - text)};
    out->value = str_from(equals + 1);
    if (out->name.size == PREFIX_CHARS)
        return false;
    for (size_t i = 0; i < sizeof not_settings / sizeof not_settings[0]; i++)
        if (same(out->name, not_settings[i]))
            return false;
    return true;
}

/* Dots count as underscores, for Apache Kafka's image turns those into dots first. Returns the
 * size; `out` has room for the variable's name. */
static size_t setting_name(struct str variable, char *out)
{
    size_t size = 0;
    size_t i = PREFIX_CHARS;

    while (i < variable.size) {
        size_t run = 0;

        while (run < 3 && i + run < variable.size && strchr("_.", variable.data[i + run]) != NULL)
            run++;
        out[size++] = run == 0 ? (char)tolower((unsigned char)variable.data[i]) : "._-"[run - 1];
        i += run == 0 ? 1 : run;
    }
    return size;
}

struct entry_visit {
    config_environment_visit *visit;
    void *arg;
    struct str variable;
};

static bool visit_entry(void *arg, struct str key, struct str value, int32_t line)
{
    struct entry_visit *v = arg;

    (void)line;
    return v->visit(v->arg, v->variable, key, value);
}

/* As a line of a properties file, so that escapes and blanks mean what they mean there. */
static bool visit_as_line(struct entry_visit *v, struct str value, const char **why)
{
    char *line = malloc(v->variable.size + value.size + 1);
    struct properties_error error = {0, NULL};
    size_t size;
    bool fine;

    CHECK(line != NULL);
    size = setting_name(v->variable, line);
    line[size++] = '=';
    memcpy(line + size, value.data, value.size);
    size += value.size;
    fine = properties_parse((struct bytes){(const uint8_t *)line, size}, visit_entry, v, &error);
    free(line);
    if (!fine && error.message != NULL)
        *why = error.message;
    return fine;
}

static struct str find(const char *const *variables, const char *name)
{
    struct variable v;

    for (size_t i = 0; variables != NULL && variables[i] != NULL; i++)
        if (parse_variable(variables[i], &v) && same(v.name, name))
            return v.value;
    return STR_NULL;
}

/* The colon before the port of a host that begins at `host`; NULL: none. An IPv6 address has
 * brackets around its own. */
static const char *port_colon(const char *host, const char *end)
{
    const char *from = host;

    if (host < end && *host == '[')
        from = memchr(host, ']', (size_t)(end - host));
    return from ? memchr(from, ':', (size_t)(end - from)) : NULL;
}

#define ANY_HOST     "0.0.0.0"
#define BOUND_GROWTH 4 /* the shortest that is replaced, "://", becomes "://0.0.0.0" */

/* "A://host:1,B://host:2" to "A://0.0.0.0:1,B://0.0.0.0:2". Returns the size; `out` has room for
 * BOUND_GROWTH times the text. */
static size_t bind_anywhere(struct str advertised, char *out)
{
    const char *end = advertised.data + advertised.size;
    const char *from = advertised.data;
    size_t size = 0;

    while (from < end) {
        const char *mark = memmem(from, (size_t)(end - from), "://", 3);
        const char *port = mark ? port_colon(mark + 3, end) : NULL;
        const char *kept_end = port ? mark + 3 : end;

        memcpy(out + size, from, (size_t)(kept_end - from));
        size += (size_t)(kept_end - from);
        if (port) {
            memcpy(out + size, ANY_HOST, sizeof ANY_HOST - 1);
            size += sizeof ANY_HOST - 1;
        }
        from = port ? port : end;
    }
    return size;
}

static bool visit_derived_listeners(const char *const *variables, struct entry_visit *v,
                                    const char **why)
{
    struct str advertised = find(variables, "KAFKA_ADVERTISED_LISTENERS");
    char *bound;
    bool fine;

    if (find(variables, "KAFKA_LISTENERS").size > 0 || advertised.size == 0)
        return true;
    bound = malloc(advertised.size * BOUND_GROWTH);
    CHECK(bound != NULL);
    v->variable = STR("KAFKA_LISTENERS");
    fine = visit_as_line(v, (struct str){bound, bind_anywhere(advertised, bound)}, why);
    free(bound);
    return fine;
}

bool config_environment_each(const char *const *variables, config_environment_visit *visit,
                             void *arg, struct str *bad, const char **why)
{
    struct entry_visit v = {visit, arg, STR_NULL};
    const char *malformed = NULL;
    struct variable variable;
    bool fine = true;

    for (size_t i = 0; fine && variables != NULL && variables[i] != NULL; i++) {
        if (!parse_variable(variables[i], &variable))
            continue;
        v.variable = variable.name;
        fine = visit_as_line(&v, variable.value, &malformed);
    }
    if (fine)
        fine = visit_derived_listeners(variables, &v, &malformed);
    if (malformed != NULL) {
        *bad = v.variable;
        *why = malformed;
    }
    return fine;
}

bool config_environment_describes_a_node(const char *const *variables)
{
    return find(variables, "KAFKA_PROCESS_ROLES").size > 0;
}
