#include "broker/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/config_environment.h"
#include "protocol/base/check.h"
#include "storage/properties.h"

/* Reading settings from where they are given. */

#define PROPERTIES_BYTES_MAX                                                                       \
    (1024 * 1024) /* a settings file larger than this is something else   \
                                            */

/* A whole cluster in one process, on loopback. */
static const struct {
    const char *name, *value;
} embedded_defaults[] = {
    {"node.id", "1"},
    {"process.roles", "broker,controller"},
    {"listeners", "PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093"},
    {"controller.listener.names", "CONTROLLER"},
    {"log.dir", "./trivet-data"},
    {"offsets.topic.replication.factor", "1"},
    {"transaction.state.log.replication.factor", "1"},
    {"transaction.state.log.min.isr", "1"},
    {"share.coordinator.state.topic.replication.factor", "1"},
    {"share.coordinator.state.topic.min.isr", "1"},
};

struct loader {
    struct config_values *values;
    struct logger *logger;
    const char *path;
    struct config_problem *problem;
};

/* "where: why" */
static struct status refuse(struct loader *l, const char *where, const char *why)
{
    snprintf(l->problem->text, sizeof l->problem->text, "%.480s: %.520s", where, why);
    return status_error(KERR_INVALID_CONFIG, "setting");
}

static void warn_unknown(struct loader *l, const char *where, struct str name)
{
    const struct config_def *nearest = config_def_nearest(CONFIG_OF_BROKER, name);

    logger_event(l->logger, LOGGER_WARN, "unknown_config", "name=\"%.*s\" at=\"%s\"%s%s%s",
                 STR_ARG(name), where, nearest ? " nearest=\"" : "", nearest ? nearest->name : "",
                 nearest ? "\"" : "");
}

static struct status set(struct loader *l, const char *where, struct str name, struct str value)
{
    struct config_error error;
    struct status st = config_values_set(l->values, name, value, &error);

    if (st.code == KERR_RESOURCE_NOT_FOUND) {
        warn_unknown(l, where, name);
        return STATUS_OK;
    }
    return status_failed(st) ? refuse(l, where, error.text) : STATUS_OK;
}

/* ---- the file ---- */

static bool set_entry(void *arg, struct str name, struct str value, int32_t line)
{
    struct loader *l = arg;
    char where[512];

    snprintf(where, sizeof where, "%s:%d", l->path, (int)line);
    return !status_failed(set(l, where, name, value));
}

static struct status load_file(struct loader *l, struct files *files)
{
    struct properties_error error;
    struct bytes_mut text;
    struct status st = files_read_whole(files, l->path, PROPERTIES_BYTES_MAX, &text);
    char where[512];

    if (status_failed(st)) {
        char why[128];
        refuse(l, l->path, strerror_r(st.sys_errno, why, sizeof why));
        return st;
    }
    bool fine = properties_parse((struct bytes){text.data, text.size}, set_entry, l, &error);
    free(text.data);
    if (fine)
        return STATUS_OK;
    if (error.message == NULL) /* a value was refused, and the problem told */
        return status_error(KERR_INVALID_CONFIG, "setting");
    snprintf(where, sizeof where, "%s:%d", l->path, (int)error.line);
    return refuse(l, where, error.message);
}

/* ---- the environment ---- */

static bool set_variable(void *arg, struct str variable, struct str name, struct str value)
{
    struct loader *l = arg;
    char where[256];

    snprintf(where, sizeof where, "%.*s", STR_ARG(variable));
    return !status_failed(set(l, where, name, value));
}

static struct status load_environment(struct loader *l, const char *const *variables)
{
    struct str variable;
    const char *why = NULL;
    char where[256];

    if (config_environment_each(variables, set_variable, l, &variable, &why))
        return STATUS_OK;
    if (why == NULL) /* a value was refused, and the problem told */
        return status_error(KERR_INVALID_CONFIG, "setting");
    snprintf(where, sizeof where, "%.*s", STR_ARG(variable));
    return refuse(l, where, why);
}

/* ---- the others ---- */

static void set_embedded_defaults(struct config_values *values)
{
    for (size_t i = 0; i < sizeof embedded_defaults / sizeof embedded_defaults[0]; i++) {
        struct status st = config_values_set_default(values, str_from(embedded_defaults[i].name),
                                                     str_from(embedded_defaults[i].value), NULL);
        CHECK(!status_failed(st));
    }
}

/* The value stays out of what is told about it: it may be a secret. */
static struct status load_set(struct loader *l, const char *text)
{
    const char *equals = strchr(text, '=');
    char where[256];

    if (equals == NULL || equals == text)
        return refuse(l, "--set", "expected key=value");
    struct str name = {text, (size_t)(equals - text)};
    snprintf(where, sizeof where, "--set %.*s", STR_ARG(name));
    return set(l, where, name, str_from(equals + 1));
}

static struct status load_all(struct loader *l, const struct config_sources *sources,
                              struct files *files)
{
    struct status st = STATUS_OK;

    if (sources->path == NULL && !config_environment_describes_a_node(sources->environment))
        set_embedded_defaults(l->values);
    if (sources->cluster_id != NULL && sources->cluster_id[0] != '\0')
        st = set(l, "CLUSTER_ID", STR("cluster.id"), str_from(sources->cluster_id));
    if (!status_failed(st) && sources->path != NULL)
        st = load_file(l, files);
    if (!status_failed(st))
        st = load_environment(l, sources->environment);
    for (size_t i = 0; i < sources->set_count && !status_failed(st); i++)
        st = load_set(l, sources->sets[i]);
    return st;
}

struct status config_load(const struct config_sources *sources, struct files *files,
                          struct logger *logger, struct config_values **out,
                          struct config_problem *problem)
{
    struct loader l = {config_values_create(), logger, sources->path, problem};
    struct status st = load_all(&l, sources, files);

    if (status_failed(st))
        config_values_free(l.values);
    else
        *out = l.values;
    return st;
}
