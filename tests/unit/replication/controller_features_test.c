/* The cluster's feature levels change; controllers go. */
#include "tests/unit/test.h"

#include "replication/feature_levels.h"
#include "tests/unit/replication/controller_world.h"

static int set_up(void **state)
{
    static struct controller_world w;

    world_init(&w);
    world_activate(&w);
    *state = &w;
    return 0;
}

static int tear_down(void **state)
{
    world_free(*state);
    return 0;
}

static struct controller_result update_under(struct controller_world *w, int16_t kraft_version,
                                             const char *name, int16_t level, int8_t type,
                                             bool validate_only)
{
    struct feature_update u = {str_from(name), level, type};
    struct controller_request r = {.operation = CONTROLLER_UPDATE_FEATURES,
                                   .validate_only = validate_only};

    r.features.updates = &u;
    r.features.count = 1;
    r.features.kraft_version = kraft_version;
    return world_step(w, &r);
}

static struct controller_result update(struct controller_world *w, const char *name, int16_t level,
                                       int8_t type, bool validate_only)
{
    return update_under(w, 1, name, level, type, validate_only);
}

static int16_t level(struct controller_world *w, const char *name)
{
    return metadata_image_feature_level(w->image, str_from(name));
}

static void level_goes_down_only_when_that_is_said(void **state)
{
    struct controller_world *w = *state;

    assert_int_equal(update(w, "share.version", 1, FEATURE_UPGRADE, false).code,
                     KERR_INVALID_UPDATE_VERSION);
    assert_int_equal(update(w, "share.version", 1, FEATURE_SAFE_DOWNGRADE, true).code, KERR_NONE);
    assert_int_equal(level(w, "share.version"), 2);
    assert_int_equal(update(w, "share.version", 1, FEATURE_SAFE_DOWNGRADE, false).code, KERR_NONE);
    assert_int_equal(level(w, "share.version"), 1);
    assert_int_equal(update(w, "share.version", 2, FEATURE_SAFE_DOWNGRADE, false).code,
                     KERR_INVALID_UPDATE_VERSION);
    assert_int_equal(update(w, "share.version", 2, FEATURE_UPGRADE, false).code, KERR_NONE);
    assert_int_equal(level(w, "share.version"), 2);
}

static void same_level_again_writes_nothing(void **state)
{
    struct controller_world *w = *state;

    assert_int_equal(update(w, "share.version", 2, FEATURE_UPGRADE, false).code, KERR_NONE);
    assert_int_equal(update(w, "kraft.version", 1, FEATURE_UPGRADE, false).code, KERR_NONE);
    assert_int_equal(w->last_count, 0);
}

/* A quorum whose voters are in the settings has 0, and Raft raises it before the controller is
 * asked. */
static void level_of_the_quorum_is_what_raft_says(void **state)
{
    struct controller_world *w = *state;

    assert_int_equal(update_under(w, 0, "kraft.version", 0, FEATURE_UPGRADE, false).code,
                     KERR_NONE);
    assert_int_equal(update_under(w, 0, "kraft.version", 0, FEATURE_SAFE_DOWNGRADE, false).code,
                     KERR_NONE);
    assert_int_equal(update_under(w, 0, "kraft.version", 1, FEATURE_UPGRADE, true).code, KERR_NONE);
    assert_int_equal(update_under(w, 1, "kraft.version", 0, FEATURE_UPGRADE, false).code,
                     KERR_INVALID_UPDATE_VERSION);
    assert_int_equal(w->last_count, 0);
}

static void levels_that_nobody_speaks_are_refused(void **state)
{
    struct controller_world *w = *state;
    struct controller_result result = update(w, "share.version", 3, FEATURE_UPGRADE, false);

    assert_int_equal(result.code, KERR_INVALID_UPDATE_VERSION);
    assert_string_equal(result.message,
                        "Invalid update version 3 for feature share.version. Local controller 1 "
                        "only supports versions 0-2");
    result = update(w, "fancy.version", 1, FEATURE_UPGRADE, false);
    assert_int_equal(result.code, KERR_INVALID_UPDATE_VERSION);
    assert_non_null(strstr(result.message, "does not support this feature."));
    assert_int_equal(update(w, "share.version", -1, FEATURE_UNSAFE_DOWNGRADE, false).code,
                     KERR_INVALID_UPDATE_VERSION);
    assert_int_equal(update(w, "share.version", 1, 0, false).code, KERR_INVALID_UPDATE_VERSION);
    assert_int_equal(update(w, "metadata.version", 34, FEATURE_UPGRADE, false).code,
                     KERR_INVALID_UPDATE_VERSION);
    assert_int_equal(update(w, "kraft.version", 0, FEATURE_UNSAFE_DOWNGRADE, false).code,
                     KERR_INVALID_UPDATE_VERSION);
}

static void level_that_one_broker_does_not_speak_is_refused(void **state)
{
    struct controller_world *w = *state;
    struct register_broker b = world_broker(5, 1);
    struct metadata_feature_range old[16];
    enum kerr code;

    assert_int_equal(update(w, "share.version", 1, FEATURE_SAFE_DOWNGRADE, false).code, KERR_NONE);
    for (size_t i = 0; i < b.feature_count; i++) {
        old[i] = b.features[i];
        if (str_equal(old[i].name, STR("share.version")))
            old[i].max = 1;
    }
    b.features = old;
    world_register(w, &b, &code);
    assert_int_equal(code, KERR_NONE);
    assert_int_equal(update(w, "share.version", 2, FEATURE_UPGRADE, false).code,
                     KERR_INVALID_UPDATE_VERSION);
}

/* It may be down, of an older version, and vote again tomorrow. */
static void level_waits_until_all_voters_have_registered(void **state)
{
    struct controller_world *w = *state;
    static struct raft_endpoint endpoint = {{"CONTROLLER", 10}, {"host", 4}, 9093};
    struct raft_voter voters[2] = {{.key = {.id = 1}, .endpoints = &endpoint, .endpoint_count = 1},
                                   {.key = {.id = 2}, .endpoints = &endpoint, .endpoint_count = 1}};
    struct voter_set *set = voter_set_create(voters, 2);
    struct feature_update u = {STR("share.version"), 1, FEATURE_SAFE_DOWNGRADE};
    struct controller_request r = {.operation = CONTROLLER_UPDATE_FEATURES};
    struct controller_request other = {.operation = CONTROLLER_REGISTER_CONTROLLER};
    struct controller_result result;

    assert_non_null(set);
    r.features.updates = &u;
    r.features.count = 1;
    r.features.voters = set;
    result = world_step(w, &r);
    assert_int_equal(result.code, KERR_INVALID_UPDATE_VERSION);
    assert_non_null(strstr(result.message,
                           "controller 2 has not registered, and may not support this feature"));
    other.controller = (struct register_controller){.id = 2, .incarnation = {{7}}};
    other.controller.features = supported_features(&other.controller.feature_count);
    assert_int_equal(world_step(w, &other).code, KERR_NONE);
    assert_int_equal(world_step(w, &r).code, KERR_NONE);
    voter_set_free(set);
}

/* Records of the newer level would be left that the older one cannot tell. */
static void metadata_version_does_not_go_below_a_level_with_records_of_its_own(void **state)
{
    struct controller_world *w = *state;
    struct controller_result result =
        update(w, "metadata.version", 32, FEATURE_SAFE_DOWNGRADE, false);

    assert_int_equal(result.code, KERR_INVALID_UPDATE_VERSION);
    assert_non_null(strstr(result.message, "from 4.4-IV2 to 4.4-IV1. Refusing"));
    result = update(w, "metadata.version", 32, FEATURE_UNSAFE_DOWNGRADE, false);
    assert_non_null(strstr(result.message, "Unsafe metadata downgrade is not supported"));
    assert_int_equal(level(w, "metadata.version"), 33);
}

static void names_of_levels_are_those_of_apache_kafka(void **state)
{
    (void)state;
    assert_string_equal(metadata_version_name(7), "3.3-IV3");
    assert_string_equal(metadata_version_name(23), "4.0-IV1");
    assert_string_equal(metadata_version_name(33), "4.4-IV2");
    assert_string_equal(metadata_version_name(34), "?");
    assert_true(metadata_version_changes_records(23));
    assert_false(metadata_version_changes_records(24));
}

static void one_bad_update_undoes_all(void **state)
{
    struct controller_world *w = *state;
    struct feature_update u[2] = {{STR("share.version"), 1, FEATURE_SAFE_DOWNGRADE},
                                  {STR("group.version"), 9, FEATURE_UPGRADE}};
    struct controller_request r = {.operation = CONTROLLER_UPDATE_FEATURES};

    r.features.updates = u;
    r.features.count = 2;
    assert_int_equal(world_step(w, &r).code, KERR_INVALID_UPDATE_VERSION);
    assert_int_equal(level(w, "share.version"), 2);
    u[1] = u[0];
    assert_int_equal(world_step(w, &r).code, KERR_INVALID_REQUEST);
}

static void elr_can_be_turned_off_and_on(void **state)
{
    struct controller_world *w = *state;

    assert_int_equal(
        update(w, "eligible.leader.replicas.version", 0, FEATURE_SAFE_DOWNGRADE, false).code,
        KERR_NONE);
    assert_int_equal(level(w, "eligible.leader.replicas.version"), 0);
    assert_int_equal(update(w, "eligible.leader.replicas.version", 1, FEATURE_UPGRADE, false).code,
                     KERR_NONE);
    assert_int_equal(level(w, "eligible.leader.replicas.version"), 1);
}

static enum kerr unregister(struct controller_world *w, int32_t id)
{
    struct controller_request r = {.operation = CONTROLLER_UNREGISTER_CONTROLLER};

    r.controller_unregistration.controller_id = id;
    return world_step(w, &r).code;
}

static void controller_that_is_gone_can_be_forgotten(void **state)
{
    struct controller_world *w = *state;
    struct controller_request r = {.operation = CONTROLLER_REGISTER_CONTROLLER};

    r.controller = (struct register_controller){.id = 2, .incarnation = {{7}}};
    assert_int_equal(world_step(w, &r).code, KERR_NONE);
    assert_non_null(metadata_image_controller(w->image, 2));
    assert_int_equal(unregister(w, 1), KERR_INVALID_REQUEST);
    assert_int_equal(unregister(w, 3), KERR_CONTROLLER_ID_NOT_REGISTERED);
    assert_int_equal(unregister(w, 2), KERR_NONE);
    assert_null(metadata_image_controller(w->image, 2));
}

int main(void)
{
#define STORY(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        STORY(level_goes_down_only_when_that_is_said),
        STORY(same_level_again_writes_nothing),
        STORY(level_of_the_quorum_is_what_raft_says),
        STORY(levels_that_nobody_speaks_are_refused),
        STORY(level_that_one_broker_does_not_speak_is_refused),
        STORY(level_waits_until_all_voters_have_registered),
        STORY(metadata_version_does_not_go_below_a_level_with_records_of_its_own),
        STORY(names_of_levels_are_those_of_apache_kafka),
        STORY(one_bad_update_undoes_all),
        STORY(elr_can_be_turned_off_and_on),
        STORY(controller_that_is_gone_can_be_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
