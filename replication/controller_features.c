/* UpdateFeatures: the cluster's levels go up, or down where nothing would be lost. */

#include <stdio.h>

#include "replication/controller_core_internal.h"
#include "replication/feature_levels.h"

#define KRAFT_VERSION_FEATURE STR("kraft.version")
#define ELR_FEATURE           STR("eligible.leader.replicas.version")

static struct controller_result invalid(struct arena *a, const struct feature_update *u,
                                        const char *why)
{
    return core_refuse(a, KERR_INVALID_UPDATE_VERSION,
                       "Invalid update version %d for feature %.*s. %s", u->level, STR_ARG(u->name),
                       why);
}

static int16_t current_level(const struct controller_core *c, const struct controller_request *r,
                             struct str name)
{
    return str_equal(name, KRAFT_VERSION_FEATURE) ? r->features.kraft_version
                                                  : metadata_image_feature_level(c->image, name);
}

/* What the cluster would have if all updates came true. */
static int16_t proposed_level(const struct controller_core *c, const struct controller_request *r,
                              struct str name)
{
    for (size_t i = 0; i < r->features.count; i++)
        if (str_equal(r->features.updates[i].name, name))
            return r->features.updates[i].level;
    return current_level(c, r, name);
}

/* A node's word for the levels of one feature that it speaks; NONE when the wanted one is among
 * them. */
static struct controller_result speaks(struct arena *a, const struct feature_update *u,
                                       const char *kind, int32_t id,
                                       const struct metadata_feature_range *ranges, size_t count)
{
    char why[128];

    for (size_t i = 0; i < count; i++)
        if (str_equal(ranges[i].name, u->name) && ranges[i].max > 0) {
            if (u->level >= ranges[i].min && u->level <= ranges[i].max)
                return CORE_OK;
            snprintf(why, sizeof why, "%s %d only supports versions %d-%d", kind, id, ranges[i].min,
                     ranges[i].max);
            return invalid(a, u, why);
        }
    if (u->level == 0)
        return CORE_OK;
    snprintf(why, sizeof why, "%s %d does not support this feature.", kind, id);
    return invalid(a, u, why);
}

/* One that was never here may be of an older version, and vote with it tomorrow. */
static struct controller_result voters_are_known(const struct controller_core *c, struct arena *a,
                                                 const struct feature_update *u,
                                                 const struct voter_set *voters)
{
    char why[128];

    for (size_t i = 0; voters && i < voter_set_count(voters); i++) {
        int32_t id = voter_set_at(voters, i)->key.id;

        if (id == c->node_id || metadata_image_controller(c->image, id))
            continue;
        snprintf(why, sizeof why,
                 "controller %d has not registered, and may not support this feature", id);
        return invalid(a, u, why);
    }
    return CORE_OK;
}

static struct controller_result everybody_speaks(const struct controller_core *c, struct arena *a,
                                                 const struct feature_update *u,
                                                 const struct voter_set *voters)
{
    size_t count;
    const struct metadata_feature_range *ranges = supported_features(&count);
    struct controller_result result = speaks(a, u, "Local controller", c->node_id, ranges, count);

    for (size_t i = 0; result.code == KERR_NONE && i < metadata_image_broker_count(c->image); i++) {
        const struct metadata_broker *b = metadata_image_broker_at(c->image, i);

        result = speaks(a, u, "Broker", b->id, b->features, b->feature_count);
    }
    for (size_t i = 0; result.code == KERR_NONE && i < metadata_image_controller_count(c->image);
         i++) {
        const struct metadata_controller *other = metadata_image_controller_at(c->image, i);

        if (other->id != c->node_id)
            result = speaks(a, u, "Controller", other->id, other->features, other->feature_count);
    }
    if (result.code == KERR_NONE && core_metadata_version(c) >= METADATA_VERSION_CONTROLLERS)
        result = voters_are_known(c, a, u, voters);
    return result;
}

static struct controller_result check_direction(const struct controller_core *c,
                                                const struct controller_request *r,
                                                const struct feature_update *u)
{
    int16_t current = current_level(c, r, u->name);
    struct arena *a = r->arena;

    if (u->upgrade_type < FEATURE_UPGRADE || u->upgrade_type > FEATURE_UNSAFE_DOWNGRADE)
        return invalid(a, u, "The controller does not support the given upgrade type.");
    if (u->level < 0)
        return invalid(a, u, "A feature version cannot be less than 0.");
    if (u->level < current && u->upgrade_type == FEATURE_UPGRADE)
        return invalid(
            a, u,
            "Can't downgrade the version of this feature without setting the upgrade type to "
            "either safe or unsafe downgrade.");
    if (u->level > current && u->upgrade_type != FEATURE_UPGRADE)
        return invalid(a, u, "Can't downgrade to a newer version.");
    return CORE_OK;
}

static struct controller_result check_metadata_version(const struct controller_core *c,
                                                       struct arena *a,
                                                       const struct feature_update *u)
{
    int16_t current = core_metadata_version(c);

    for (int16_t level = current; level > u->level; level--)
        if (metadata_version_changes_records(level))
            return core_refuse(
                a, KERR_INVALID_UPDATE_VERSION,
                "Unsupported metadata.version downgrade from %s to %s. %s",
                metadata_version_name(current), metadata_version_name(u->level),
                u->upgrade_type == FEATURE_UNSAFE_DOWNGRADE
                    ? "Unsafe metadata downgrade is not supported in this version."
                    : "Refusing to perform the requested downgrade because it might delete "
                      "metadata information.");
    return CORE_OK;
}

static struct controller_result check_update(const struct controller_core *c,
                                             const struct controller_request *r,
                                             const struct feature_update *u)
{
    struct arena *a = r->arena;
    struct controller_result result = check_direction(c, r, u);

    if (result.code == KERR_NONE)
        result = everybody_speaks(c, a, u, r->features.voters);
    if (result.code != KERR_NONE)
        return result;
    if (str_equal(u->name, METADATA_VERSION_FEATURE))
        return check_metadata_version(c, a, u);
    if (str_equal(u->name, KRAFT_VERSION_FEATURE) && u->level < r->features.kraft_version)
        return invalid(a, u, "Can't downgrade the version of this feature.");
    if (str_equal(u->name, ELR_FEATURE) && u->level > 0 &&
        proposed_level(c, r, METADATA_VERSION_FEATURE) < METADATA_VERSION_ELR)
        return invalid(
            a, u,
            "eligible.leader.replicas.version could not be set to 1 because it depends on "
            "metadata.version level 23");
    return CORE_OK;
}

/* Whether the ELR would be left without the records that carry it. */
static bool elr_stranded(const struct controller_core *c, const struct controller_request *r)
{
    return proposed_level(c, r, ELR_FEATURE) > 0 &&
           proposed_level(c, r, METADATA_VERSION_FEATURE) < METADATA_VERSION_ELR;
}

static void emit_level(struct controller_core *c, const struct feature_update *u)
{
    struct metadata_record rec;

    metadata_record_init(&rec, FEATURE_LEVEL_RECORD_KEY, 0);
    rec.feature_level.name = u->name;
    rec.feature_level.feature_level = u->level;
    core_emit(c, &rec);
}

struct controller_result core_update_features(struct controller_core *c,
                                              struct controller_request *r)
{
    bool elr_before = core_elr_enabled(c);

    for (size_t i = 0; i < r->features.count; i++) {
        struct controller_result result = check_update(c, r, &r->features.updates[i]);

        if (result.code != KERR_NONE)
            return result;
        for (size_t j = 0; j < i; j++)
            if (str_equal(r->features.updates[j].name, r->features.updates[i].name))
                return core_refuse(r->arena, KERR_INVALID_REQUEST,
                                   "Feature %.*s is there more than once.",
                                   STR_ARG(r->features.updates[i].name));
    }
    if (elr_stranded(c, r))
        return core_refuse(r->arena, KERR_INVALID_UPDATE_VERSION,
                           "eligible.leader.replicas.version depends on metadata.version level 23");
    for (size_t i = 0; !c->dry_run && i < r->features.count; i++) {
        const struct feature_update *u = &r->features.updates[i];

        /* The quorum's own version is Raft's to write, and was written before we are asked. */
        if (!str_equal(u->name, KRAFT_VERSION_FEATURE) && u->level != current_level(c, r, u->name))
            emit_level(c, u);
    }
    if (!c->dry_run && !elr_before && core_elr_enabled(c))
        core_emit_default_min_isr(c);
    return CORE_OK;
}
