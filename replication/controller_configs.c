/* Settings of topics, brokers and groups: checked, then written as records. A resource changes as a
 * whole or not at all. */

#include <stdio.h>
#include <stdlib.h>

#include "replication/config_list.h"
#include "replication/controller_core_internal.h"

#define MIN_ISR STR("min.insync.replicas")
#define UNCLEAN STR("unclean.leader.election.enable")

/* Of one request, as in Apache Kafka. */
#define CHANGES_MAX 10000
/* Of one resource: a few times what there is. Every record copies the settings of its resource, so
 * that more would hold up whoever reads the log. */
#define SETTINGS_MAX 1000

static enum config_kind kind_of(int8_t type)
{
    if (type == CONFIG_RESOURCE_TOPIC)
        return CONFIG_OF_TOPIC;
    return type == CONFIG_RESOURCE_GROUP ? CONFIG_OF_GROUP : CONFIG_OF_BROKER;
}

struct controller_result core_check_topic_configs(struct controller_core *c, struct arena *a,
                                                  const struct config_set *set)
{
    struct config_layers layers = metadata_image_layers(c->image, c->node_id, c->given, set);
    struct config_error error;

    for (size_t i = 0; i < set->count; i++) {
        struct str name = set->entries[i].name;
        const struct config_def *def = config_def_find(CONFIG_OF_TOPIC, name);

        if (!def)
            return core_refuse(a, KERR_INVALID_CONFIG, "Unknown topic config name: %.*s",
                               STR_ARG(name));
        if (!config_check(def, set->entries[i].value, &error))
            return core_refuse(a, KERR_INVALID_CONFIG, "%s", error.text);
    }
    if (!config_check_topic(&layers, &error))
        return core_refuse(a, KERR_INVALID_CONFIG, "%s", error.text);
    return CORE_OK;
}

static struct controller_result check_values(struct arena *a, enum config_kind kind,
                                             const struct config_set *set)
{
    struct config_error error;

    for (size_t i = 0; i < set->count; i++) {
        const struct config_def *def = config_def_find(kind, set->entries[i].name);

        /* Brokers may know settings that we do not: plugins, listener prefixes. */
        if (!def && kind == CONFIG_OF_BROKER)
            continue;
        if (!def)
            return core_refuse(a, KERR_INVALID_CONFIG, "Unknown group config name: %.*s",
                               STR_ARG(set->entries[i].name));
        if (!config_check(def, set->entries[i].value, &error))
            return core_refuse(a, KERR_INVALID_CONFIG, "%s", error.text);
    }
    return CORE_OK;
}

static bool is_broker_id(struct str name)
{
    int64_t id;

    return config_parse_integer(name, CONFIG_INT, &id) && id >= 0;
}

/* Whether there is such a resource. */
static struct controller_result check_resource(struct controller_core *c, struct arena *a,
                                               const struct alter_config *q)
{
    switch (q->type) {
    case CONFIG_RESOURCE_TOPIC:
        if (q->name.size == 0)
            return core_refuse(a, KERR_INVALID_REQUEST, "Default topic resources are not allowed.");
        if (!metadata_image_topic(c->image, q->name))
            return core_refuse(a, KERR_UNKNOWN_TOPIC_OR_PARTITION,
                               "The topic '%.*s' does not exist.", STR_ARG(q->name));
        return CORE_OK;
    case CONFIG_RESOURCE_BROKER:
        if (q->name.size > 0 && !is_broker_id(q->name))
            return core_refuse(a, KERR_INVALID_REQUEST,
                               "Unable to parse broker name as a base 10 number.");
        return CORE_OK;
    case CONFIG_RESOURCE_GROUP:
        if (q->name.size == 0)
            return core_refuse(a, KERR_INVALID_REQUEST, "Default group resources are not allowed.");
        return CORE_OK;
    case CONFIG_RESOURCE_CLIENT_METRICS:
        return CORE_OK;
    default: /* BROKER_LOGGER is a matter of that broker alone */
        return core_refuse(a, KERR_INVALID_REQUEST, "Unknown resource type %d", q->type);
    }
}

/* ---- one change ---- */

/* The value that counts for a list before it is changed: what is set, else its default. */
static struct str list_before(const struct config_def *def, struct str set)
{
    if (set.data)
        return set;
    return def->default_value ? str_from(def->default_value) : STR("");
}

/* What a change makes of a setting that was `before`; NULL data: it goes back to its default. */
static struct controller_result value_after(struct arena *a, const struct alter_config *q,
                                            const struct config_change *change, struct str before,
                                            struct arena *scratch, struct str *after)
{
    const struct config_def *def = config_def_find(kind_of(q->type), change->name);

    *after = change->value;
    switch (change->operation) {
    case CONFIG_SET:
        if (!after->data)
            return core_refuse(a, KERR_INVALID_CONFIG, "Null value not supported for %.*s.",
                               STR_ARG(change->name));
        break;
    case CONFIG_DELETE:
        *after = STR_NULL;
        break;
    case CONFIG_APPEND:
    case CONFIG_SUBTRACT:
        if (!def || def->type != CONFIG_LIST)
            return core_refuse(
                a, KERR_INVALID_CONFIG, "Can't %s to key %.*s because its type is not LIST.",
                change->operation == CONFIG_APPEND ? "APPEND" : "SUBTRACT", STR_ARG(change->name));
        if (!after->data)
            return core_refuse(a, KERR_INVALID_CONFIG, "Null value not supported for %.*s.",
                               STR_ARG(change->name));
        *after = change->operation == CONFIG_APPEND
                     ? config_list_append(scratch, list_before(def, before), *after)
                     : config_list_subtract(scratch, list_before(def, before), *after);
        CHECK(after->data); /* lists are few, and no longer than a string on the wire */
        if (after->size > WIRE_STRING_BYTES_MAX) /* no record could carry it */
            return core_refuse(
                a, KERR_INVALID_CONFIG,
                "The configuration value cannot be added because it exceeds the maximum value size "
                "of %d bytes.",
                WIRE_STRING_BYTES_MAX);
        break;
    default:
        return core_refuse(a, KERR_INVALID_REQUEST, "Unknown operation type %d for config %.*s",
                           change->operation, STR_ARG(change->name));
    }
    return CORE_OK;
}

/* All changes of a resource, each of another name. *after is the caller's when the answer is
 * NONE. */
static struct controller_result change_all(struct arena *a, const struct alter_config *q,
                                           const struct config_set *before, struct arena *scratch,
                                           const struct config_set **after)
{
    size_t kept = before && !q->replace ? before->count : 0;
    struct config_entry *entries = memory_zalloc(kept + q->change_count, sizeof *entries);
    struct controller_result result = CORE_OK;

    if (kept > 0)
        memcpy(entries, before->entries, kept * sizeof *entries);
    for (size_t i = 0; i < q->change_count && result.code == KERR_NONE; i++) {
        const struct config_change *change = &q->changes[i];

        entries[kept + i].name = change->name;
        result =
            value_after(a, q, change, q->replace ? STR_NULL : config_set_find(before, change->name),
                        scratch, &entries[kept + i].value);
    }
    if (result.code == KERR_NONE)
        *after = config_set_create(entries, kept + q->change_count);
    free(entries);
    if (result.code == KERR_NONE && (*after)->count > SETTINGS_MAX && (*after)->count > kept) {
        config_set_release(*after);
        result = core_refuse(a, KERR_INVALID_CONFIG, "A resource may have %d settings at most.",
                             SETTINGS_MAX);
    }
    return result;
}

/* KIP-966: the minimum must be one for all brokers, or replicas would be taken for safe that are
 * not. */
static struct controller_result check_elr(const struct controller_core *c, struct arena *a,
                                          const struct alter_config *q,
                                          const struct config_set *after)
{
    if (!core_elr_enabled(c) || q->type != CONFIG_RESOURCE_BROKER)
        return CORE_OK;
    if (q->name.size > 0 && config_set_find(after, MIN_ISR).data)
        return core_refuse(
            a, KERR_INVALID_CONFIG,
            "Broker-level min.insync.replicas cannot be altered while ELR is enabled.");
    if (q->name.size == 0 && !config_set_find(after, MIN_ISR).data)
        return core_refuse(
            a, KERR_INVALID_CONFIG,
            "Cluster-level min.insync.replicas cannot be removed while ELR is enabled.");
    return CORE_OK;
}

static struct controller_result check_group(const struct controller_core *c, struct arena *a,
                                            const struct config_set *after)
{
    struct config_layers layers = metadata_image_layers(c->image, c->node_id, c->given, after);
    struct config_error error;

    if (!config_check_group(&layers, &error))
        return core_refuse(a, KERR_INVALID_CONFIG, "%s", error.text);
    return CORE_OK;
}

static struct controller_result check_after(struct controller_core *c, struct arena *a,
                                            const struct alter_config *q,
                                            const struct config_set *after)
{
    struct controller_result result = check_elr(c, a, q, after);

    if (result.code != KERR_NONE || q->type == CONFIG_RESOURCE_CLIENT_METRICS)
        return result;
    if (q->type == CONFIG_RESOURCE_TOPIC)
        return core_check_topic_configs(c, a, after);
    for (size_t i = 0; q->type == CONFIG_RESOURCE_BROKER && i < q->change_count; i++) {
        const struct config_def *def = config_def_find(CONFIG_OF_BROKER, q->changes[i].name);

        if (def && def->update == CONFIG_READ_ONLY)
            return core_refuse(a, KERR_INVALID_REQUEST,
                               "Cannot update these configs dynamically: Set(%s)", def->name);
        if (def && def->update == CONFIG_PER_BROKER && q->name.size == 0)
            return core_refuse(
                a, KERR_INVALID_REQUEST,
                "Cannot update these configs at default cluster level, broker id must be "
                "specified: Set(%s)",
                def->name);
    }
    result = check_values(a, kind_of(q->type), after);
    if (result.code == KERR_NONE && q->type == CONFIG_RESOURCE_GROUP)
        result = check_group(c, a, after);
    return result;
}

/* ---- records ---- */

static void emit_config(struct controller_core *c, const struct alter_config *q, struct str name,
                        struct str value)
{
    struct metadata_record r;

    metadata_record_init(&r, CONFIG_RECORD_KEY, 0);
    r.config.resource_type = q->type;
    r.config.resource_name = q->name;
    r.config.name = name;
    r.config.value = value;
    core_emit(c, &r);
}

static void emit_claim(struct controller_core *c, struct uuid topic_id,
                       const struct metadata_partition *p, int32_t index)
{
    struct metadata_record r;
    struct partition_change_record *rec = &r.partition_change;

    metadata_record_init(&r, PARTITION_CHANGE_RECORD_KEY,
                         partition_record_version(core_metadata_version(c)));
    rec->topic_id = topic_id;
    rec->partition_id = index;
    rec->eligible_leader_replicas = (int32_t *)(uintptr_t)(p->elr.count ? p->elr.ids : NULL);
    rec->eligible_leader_replicas_count = p->elr.count;
    rec->last_known_elr =
        (int32_t *)(uintptr_t)(p->last_known_elr.count ? p->last_known_elr.ids : NULL);
    rec->last_known_elr_count = p->last_known_elr.count;
    core_emit(c, &r);
}

/* Where nobody is in sync, nothing has been committed since: whoever was eligible still is, and
 * without a name to go by the partition would never have a leader again (Apache Kafka lets it come
 * to that). */
static void emit_claims_again(struct controller_core *c, const struct alter_config *q,
                              const struct metadata_image *before)
{
    struct metadata_topic_cursor cursor;
    const struct metadata_topic *t;

    metadata_topics_begin(&cursor, before);
    while ((t = metadata_topics_next(&cursor))) {
        if (q->type == CONFIG_RESOURCE_TOPIC && !str_equal(t->name, q->name))
            continue;
        for (size_t i = 0; i < t->partition_count; i++)
            if (t->partitions[i]->isr.count == 0 &&
                t->partitions[i]->elr.count + t->partitions[i]->last_known_elr.count > 0)
                emit_claim(c, t->id, t->partitions[i], (int32_t)i);
    }
}

/* Replicas count as eligible by the minimum that was in force: with another one, nobody knows. */
static void emit_clear_elr(struct controller_core *c, const struct alter_config *q)
{
    const struct metadata_image *before;
    struct metadata_record r;

    if (!core_elr_enabled(c) || (q->type == CONFIG_RESOURCE_BROKER && q->name.size > 0))
        return;
    before = metadata_image_acquire(c->image);
    metadata_record_init(&r, CLEAR_ELR_RECORD_KEY, 0);
    r.clear_elr.topic_name = q->type == CONFIG_RESOURCE_TOPIC ? q->name : STR("");
    core_emit(c, &r);
    emit_claims_again(c, q, before);
    metadata_image_release(before);
}

static bool names(const struct alter_config *q, struct str name)
{
    for (size_t i = 0; i < q->change_count; i++)
        if (str_equal(q->changes[i].name, name))
            return true;
    return false;
}

/* What an AlterConfigs of old does not name. */
static void emit_implied_deletions(struct controller_core *c, const struct alter_config *q,
                                   const struct config_set *before)
{
    for (size_t i = 0; q->replace && before && i < before->count; i++)
        if (!names(q, before->entries[i].name))
            emit_config(c, q, before->entries[i].name, STR_NULL);
}

/* Brokers reload a setting (certificates, say) when it is set again to what it was: those always
 * get a record. */
static void emit_changes(struct controller_core *c, const struct alter_config *q,
                         const struct config_set *before, const struct config_set *after)
{
    bool min_isr_changed =
        !str_equal(config_set_find(before, MIN_ISR), config_set_find(after, MIN_ISR));

    for (size_t i = 0; i < q->change_count; i++) {
        struct str name = q->changes[i].name;
        struct str value = config_set_find(after, name);

        if (!str_equal(config_set_find(before, name), value) || q->type == CONFIG_RESOURCE_BROKER)
            emit_config(c, q, name, value);
    }
    emit_implied_deletions(c, q, before);
    if (min_isr_changed && q->type != CONFIG_RESOURCE_GROUP)
        emit_clear_elr(c, q);
    if (!str_equal(config_set_find(before, UNCLEAN), config_set_find(after, UNCLEAN)))
        core_elections_hurry(c);
}

/* The names whose value is null, which AlterConfigs of old cannot mean; NULL: none. */
static const char *null_names(const struct alter_config *q, struct arena *a)
{
    size_t size = 1, used = 0;
    char *text;

    for (size_t i = 0; i < q->change_count; i++)
        size += q->changes[i].value.data ? 0 : q->changes[i].name.size + 2;
    if (size == 1)
        return NULL;
    text = arena_alloc(a, size);
    for (size_t i = 0; text && i < q->change_count; i++)
        if (!q->changes[i].value.data)
            used += (size_t)sprintf(text + used, "%s%.*s", used ? ", " : "",
                                    STR_ARG(q->changes[i].name));
    return text ? text : "";
}

static bool named_twice(const struct alter_config *q)
{
    struct core_key *keys = memory_zalloc(q->change_count, sizeof *keys);
    bool *twice = memory_zalloc(q->change_count, sizeof *twice);
    bool any = false;

    for (size_t i = 0; i < q->change_count; i++)
        keys[i] = (struct core_key){.name = q->changes[i].name, .index = i};
    core_find_duplicates(keys, q->change_count, twice);
    for (size_t i = 0; i < q->change_count; i++)
        any = any || twice[i];
    free(keys);
    free(twice);
    return any;
}

static struct controller_result alter_one(struct controller_core *c, struct arena *a,
                                          const struct alter_config *q)
{
    const struct config_set *before, *after;
    const char *nulls;
    struct controller_result result = check_resource(c, a, q);

    if (result.code != KERR_NONE)
        return result;
    if (named_twice(q))
        return core_refuse(a, KERR_INVALID_REQUEST, "Error due to duplicate config keys");
    nulls = q->replace ? null_names(q, a) : NULL;
    if (nulls)
        return core_refuse(a, KERR_INVALID_REQUEST, "Null value not supported for : %s", nulls);
    before = config_set_acquire(
        metadata_image_configs(c->image, (enum config_resource)q->type, q->name));
    arena_reset(&c->scratch);
    result = change_all(a, q, before, &c->scratch, &after);
    if (result.code == KERR_NONE) {
        result = check_after(c, a, q, after);
        if (result.code == KERR_NONE && !c->dry_run)
            emit_changes(c, q, before, after);
        config_set_release(after);
    }
    config_set_release(before);
    return result;
}

static size_t count_changes(const struct controller_request *r)
{
    size_t count = 0;

    for (size_t i = 0; i < r->alter.count; i++)
        count += r->alter.resources[i].change_count;
    return count;
}

struct controller_result core_alter_configs(struct controller_core *c, struct controller_request *r)
{
    size_t count = r->alter.count;
    struct core_key *keys;
    bool *twice;

    if (count_changes(r) > CHANGES_MAX)
        return (struct controller_result){KERR_POLICY_VIOLATION,
                                          "Unable to perform excessively large batch operation."};
    r->alter.results = arena_array(r->arena, struct controller_result, count);
    if (!r->alter.results)
        return (struct controller_result){KERR_POLICY_VIOLATION, "The request is too large."};
    keys = memory_zalloc(count, sizeof *keys);
    twice = memory_zalloc(count, sizeof *twice);
    for (size_t i = 0; i < count; i++)
        keys[i] = (struct core_key){
            .name = r->alter.resources[i].name, .type = r->alter.resources[i].type, .index = i};
    core_find_duplicates(keys, count, twice);
    for (size_t i = 0; i < count; i++)
        r->alter.results[i] = twice[i] ? core_refuse(r->arena, KERR_INVALID_REQUEST,
                                                     "Each resource must appear at most once.")
                                       : alter_one(c, r->arena, &r->alter.resources[i]);
    free(keys);
    free(twice);
    return CORE_OK;
}

void core_emit_default_min_isr(struct controller_core *c)
{
    struct alter_config q = {.type = CONFIG_RESOURCE_BROKER, .name = STR("")};
    const struct config_set *set = metadata_image_configs(c->image, CONFIG_RESOURCE_BROKER, q.name);

    if (!core_elr_enabled(c) || config_set_find(set, MIN_ISR).data)
        return;
    emit_config(c, &q, MIN_ISR, str_from(config_values_text(c->given, "min.insync.replicas")));
}
