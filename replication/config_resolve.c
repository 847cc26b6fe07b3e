#include <inttypes.h>
#include <stdio.h>

#include "protocol/base/check.h"
#include "replication/config_internal.h"

/* Which value counts: layers over layers, synonyms over synonyms. */

#define CONVERTED_CHARS sizeof(((struct config_resolved *)0)->text)

struct source_walk {
    struct config_synonym *out;
    size_t count;
    bool all; /* else stop at the first */
    const struct config_def
        *purpose; /* of a topic or group: what the values are for; NULL: a broker */
};

static void add(struct source_walk *w, const char *name, struct str value,
                enum config_source source)
{
    if (w->count > 0 && !w->all)
        return;
    CHECK(w->count < CONFIG_SYNONYMS_MAX);
    w->out[w->count++] = (struct config_synonym){name, value, source};
}

/* The value of a broker setting in the unit of topics and groups; `room` holds it when it had to be
 * converted. */
static struct str in_own_unit(const char *name, struct str value, char room[CONVERTED_CHARS])
{
    int64_t unit_ms = config_unit_ms(name);
    int64_t number;

    if (unit_ms == 1)
        return value;
    CHECK(config_parse_integer(value, CONFIG_INT, &number));
    /* A negative time is "never" in any unit. */
    int used = snprintf(room, CONVERTED_CHARS, "%" PRId64, number < 0 ? -1 : number * unit_ms);
    return (struct str){room, (size_t)used};
}

/* Records were checked when they were written; by an older or newer version, perhaps, with other
 * rules. And a broker setting may take what the topic's does not. */
static void add_from_set(struct source_walk *w, const struct config_def *def,
                         const struct config_set *set, enum config_source source)
{
    struct str value = config_set_find(set, str_from(def->name));
    char room[CONVERTED_CHARS];

    if (value.data == NULL || !config_check(def, value, NULL))
        return;
    if (w->purpose == NULL || config_check(w->purpose, in_own_unit(def->name, value, room), NULL))
        add(w, def->name, value, source);
}

/* One broker setting, through its layers. */
static void add_broker_layers(struct source_walk *w, const struct config_def *def,
                              const struct config_layers *layers)
{
    const char *given = config_values_given_text(layers->given, def);
    const char *fallback = config_values_default(layers->given, def);

    add_from_set(w, def, layers->broker, CONFIG_SOURCE_BROKER);
    add_from_set(w, def, layers->all_brokers, CONFIG_SOURCE_DEFAULT_BROKER);
    if (given != NULL)
        add(w, def->name, str_from(given), CONFIG_SOURCE_STATIC);
    if (fallback != NULL)
        add(w, def->name, str_from(fallback), CONFIG_SOURCE_DEFAULT);
}

static void add_synonyms(struct source_walk *w, const struct config_def *def,
                         const struct config_layers *layers)
{
    struct str names = str_from(def->synonyms);
    struct str name;

    while (config_list_next(&names, &name)) {
        const struct config_def *synonym = config_def_find(CONFIG_OF_BROKER, name);

        CHECK(synonym != NULL);
        add_broker_layers(w, synonym, layers);
    }
}

static void walk(struct source_walk *w, enum config_kind kind, const struct config_def *def,
                 const struct config_layers *layers)
{
    w->purpose = kind == CONFIG_OF_BROKER ? NULL : def;
    if (kind == CONFIG_OF_TOPIC)
        add_from_set(w, def, layers->resource, CONFIG_SOURCE_TOPIC);
    else if (kind == CONFIG_OF_GROUP)
        add_from_set(w, def, layers->resource, CONFIG_SOURCE_GROUP);
    if (kind == CONFIG_OF_BROKER && (def->synonyms == NULL || !w->all))
        add_broker_layers(w, def, layers);
    else if (def->synonyms != NULL)
        add_synonyms(w, def, layers);
}

size_t config_synonyms(enum config_kind kind, const struct config_def *def,
                       const struct config_layers *layers,
                       struct config_synonym out[CONFIG_SYNONYMS_MAX])
{
    struct source_walk w = {.out = out, .all = true};

    walk(&w, kind, def, layers);
    return w.count;
}

void config_resolve(enum config_kind kind, const struct config_def *def,
                    const struct config_layers *layers, struct config_resolved *out)
{
    struct config_synonym strongest;
    struct source_walk w = {.out = &strongest, .all = false};

    walk(&w, kind, def, layers);
    if (w.count == 0) {
        out->value = str_from(def->default_value);
        out->source = CONFIG_SOURCE_DEFAULT;
        return;
    }
    out->source = strongest.source;
    out->value = kind == CONFIG_OF_BROKER ? strongest.value
                                          : in_own_unit(strongest.name, strongest.value, out->text);
}

/* ---- DescribeConfigs ---- */

/* Which of the synonyms are shown. A broker's setting shows those from its own name on. A topic's
 * or group's begins with a default only under its first synonym: Apache Kafka shows "retention.ms"
 * as a plain default while nothing was set, though log.retention.hours is where the number comes
 * from. */
static size_t hidden_synonyms(enum config_kind kind, const struct config_def *def,
                              const struct config_synonym *synonyms, size_t count)
{
    size_t hidden = 0;

    if (kind == CONFIG_OF_BROKER) {
        while (hidden < count && strcmp(synonyms[hidden].name, def->name) != 0)
            hidden++;
        return hidden;
    }
    struct str names = str_from(def->synonyms);
    struct str first;
    if (config_list_next(&names, &first))
        while (hidden < count && synonyms[hidden].source == CONFIG_SOURCE_DEFAULT &&
               !str_equal(str_from(synonyms[hidden].name), first))
            hidden++;
    return hidden;
}

static bool describe_value(enum config_kind kind, const struct config_def *def,
                           const struct config_layers *layers, struct arena *arena,
                           struct config_described *out)
{
    struct config_resolved resolved;

    config_resolve(kind, def, layers, &resolved);
    out->source = resolved.source;
    if (out->sensitive)
        return true;
    if (!config_print(def, resolved.value, arena, &out->value))
        return false;
    if (out->value.data == resolved.text) { /* printed as it was; it must outlive `resolved` */
        char *copy = arena_strdup(arena, out->value);
        if (copy == NULL)
            return false;
        out->value.data = copy;
    }
    return true;
}

bool config_describe(enum config_kind kind, const struct config_def *def,
                     const struct config_layers *layers, struct arena *arena,
                     struct config_described *out)
{
    struct config_synonym all[CONFIG_SYNONYMS_MAX];
    size_t count = config_synonyms(kind, def, layers, all);
    size_t hidden = hidden_synonyms(kind, def, all, count);

    *out = (struct config_described){
        .value = STR_NULL,
        .sensitive = def->type == CONFIG_PASSWORD,
        .read_only = kind == CONFIG_OF_BROKER && def->update == CONFIG_READ_ONLY,
        .synonym_count = count - hidden,
    };
    struct config_synonym *shown = arena_array(arena, struct config_synonym, count - hidden);
    if (shown == NULL)
        return false;
    for (size_t i = 0; i < count - hidden; i++) {
        shown[i] = all[hidden + i];
        if (out->sensitive)
            shown[i].value = STR_NULL;
    }
    out->synonyms = shown;
    return describe_value(kind, def, layers, arena, out);
}
