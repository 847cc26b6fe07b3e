#include <stdio.h>
#include <stdlib.h>

#include "protocol/base/check.h"
#include "replication/config_internal.h"

/* The settings that a process was started with: one slot a row of the broker's table. */

struct config_value {
    char *given;         /* owned, trimmed; NULL: not given */
    char *default_value; /* owned, in place of the table's; NULL: the table's counts */
};

struct config_values {
    size_t count;
    struct config_value values[];
};

struct config_values *config_values_create(void)
{
    size_t count;

    config_defs(CONFIG_OF_BROKER, &count);
    struct config_values *v = calloc(1, sizeof *v + count * sizeof v->values[0]);
    CHECK(v != NULL);
    v->count = count;
    return v;
}

void config_values_free(struct config_values *v)
{
    if (v == NULL)
        return;
    for (size_t i = 0; i < v->count; i++) {
        free(v->values[i].given);
        free(v->values[i].default_value);
    }
    free(v);
}

static size_t row_of(const struct config_def *def)
{
    size_t count;

    return (size_t)(def - config_defs(CONFIG_OF_BROKER, &count));
}

static struct status unknown(struct str name, struct config_error *error)
{
    const struct config_def *nearest = config_def_nearest(CONFIG_OF_BROKER, name);

    if (name.size > 200)
        name.size = 200;
    if (error != NULL && nearest != NULL)
        snprintf(error->text, sizeof error->text, "Unknown configuration %.*s: did you mean %s?",
                 STR_ARG(name), nearest->name);
    else if (error != NULL)
        snprintf(error->text, sizeof error->text, "Unknown configuration %.*s", STR_ARG(name));
    return status_error(KERR_RESOURCE_NOT_FOUND, "setting");
}

static struct status checked_copy(struct str name, struct str value, struct config_error *error,
                                  const struct config_def **def, char **copy)
{
    *def = config_def_find(CONFIG_OF_BROKER, name);
    if (*def == NULL)
        return unknown(name, error);
    if (!config_check(*def, value, error))
        return status_error(KERR_INVALID_CONFIG, "setting");
    value = config_trim(value);
    *copy = value.data ? strndup(value.data, value.size) : strdup("");
    CHECK(*copy != NULL);
    return STATUS_OK;
}

struct status config_values_set(struct config_values *v, struct str name, struct str value,
                                struct config_error *error)
{
    const struct config_def *def;
    char *copy;
    struct status st = checked_copy(name, value, error, &def, &copy);

    if (status_failed(st))
        return st;
    free(v->values[row_of(def)].given);
    v->values[row_of(def)].given = copy;
    return STATUS_OK;
}

struct status config_values_set_default(struct config_values *v, struct str name, struct str value,
                                        struct config_error *error)
{
    const struct config_def *def;
    char *copy;
    struct status st = checked_copy(name, value, error, &def, &copy);

    if (status_failed(st))
        return st;
    free(v->values[row_of(def)].default_value);
    v->values[row_of(def)].default_value = copy;
    return STATUS_OK;
}

const char *config_values_default(const struct config_values *v, const struct config_def *def)
{
    if (v != NULL && v->values[row_of(def)].default_value != NULL)
        return v->values[row_of(def)].default_value;
    return def->default_value;
}

const char *config_values_given_text(const struct config_values *v, const struct config_def *def)
{
    return v != NULL ? v->values[row_of(def)].given : NULL;
}

/* Asking for a name that is not in the table is a slip of ours. */
static const struct config_def *known(const char *name)
{
    const struct config_def *def = config_def_find(CONFIG_OF_BROKER, str_from(name));

    CHECK(def != NULL);
    return def;
}

static const char *text_of(const struct config_values *v, const struct config_def *def)
{
    const char *given = config_values_given_text(v, def);

    return given != NULL ? given : config_values_default(v, def);
}

const char *config_values_text(const struct config_values *v, const char *name)
{
    return text_of(v, known(name));
}

bool config_values_given(const struct config_values *v, const char *name)
{
    return config_values_given_text(v, known(name)) != NULL;
}

int64_t config_values_integer_or(const struct config_values *v, const char *name, int64_t if_null)
{
    const struct config_def *def = known(name);
    const char *text = text_of(v, def);
    int64_t value = if_null;

    CHECK(def->type == CONFIG_INT || def->type == CONFIG_SHORT || def->type == CONFIG_LONG);
    if (text != NULL)
        CHECK(config_parse_integer(str_from(text), def->type, &value));
    return value;
}

int64_t config_values_integer(const struct config_values *v, const char *name)
{
    CHECK(config_values_text(v, name) != NULL);
    return config_values_integer_or(v, name, 0);
}

#define PERIOD_MS_MAX (INT64_MAX / 2000)

int64_t config_values_period_ms(const struct config_values *v, const char *name)
{
    int64_t ms = config_values_integer(v, name);

    if (ms < 0)
        return -1;
    return ms < PERIOD_MS_MAX ? ms : PERIOD_MS_MAX;
}

bool config_values_boolean(const struct config_values *v, const char *name)
{
    const struct config_def *def = known(name);
    const char *text = text_of(v, def);
    bool value = false;

    CHECK(def->type == CONFIG_BOOLEAN);
    CHECK(text != NULL && config_parse_boolean(str_from(text), &value));
    return value;
}

double config_values_double(const struct config_values *v, const char *name)
{
    const struct config_def *def = known(name);
    const char *text = text_of(v, def);
    double value = 0;

    CHECK(def->type == CONFIG_DOUBLE);
    CHECK(text != NULL && config_parse_double(str_from(text), &value));
    return value;
}
