/* ControllerRegistration, UnregisterBroker, UnregisterController, UpdateFeatures: who belongs to
 * the cluster, and what all of them have agreed to speak. */

#include <stdio.h>

#include "broker/control_calls.h"
#include "broker/request.h"
#include "broker/shard.h"
#include "protocol/messages/controller_registration.h"
#include "protocol/messages/unregister_broker.h"
#include "protocol/messages/unregister_controller.h"
#include "protocol/messages/update_features.h"

/* ---- ControllerRegistration ---- */

static void registered(struct control_call *call)
{
    struct controller_registration_response response;

    controller_registration_response_init(&response);
    response.error_code = (int16_t)call->result.code;
    response.error_message = str_from(call->result.message);
    request_answer(call->rq, &response);
}

void handle_controller_registration(struct request *rq)
{
    const struct controller_registration_request *m = rq->message;
    struct control_call *call = control_call_create(rq, CONTROLLER_REGISTER_CONTROLLER, registered);
    struct metadata_listener *listeners =
        arena_array(&rq->arena, struct metadata_listener, m->listeners_count);
    struct metadata_feature_range *features =
        arena_array(&rq->arena, struct metadata_feature_range, m->features_count);

    if (!call || !listeners || !features) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    for (size_t i = 0; i < m->listeners_count; i++)
        listeners[i] =
            (struct metadata_listener){m->listeners[i].name, m->listeners[i].host,
                                       m->listeners[i].port, m->listeners[i].security_protocol};
    for (size_t i = 0; i < m->features_count; i++)
        features[i] = (struct metadata_feature_range){m->features[i].name,
                                                      m->features[i].min_supported_version,
                                                      m->features[i].max_supported_version};
    call->request.controller = (struct register_controller){
        .id = m->controller_id,
        .incarnation = m->incarnation_id,
        .zk_migration_ready = m->zk_migration_ready,
        .listeners = listeners,
        .listener_count = m->listeners_count,
        .features = features,
        .feature_count = m->features_count,
    };
    control_call(call);
}

/* ---- UnregisterBroker ---- */

static void broker_unregistered(struct control_call *call)
{
    struct unregister_broker_response response;

    unregister_broker_response_init(&response);
    response.error_code = (int16_t)call->result.code;
    response.error_message = str_from(call->result.message);
    request_answer(call->rq, &response);
}

void handle_unregister_broker(struct request *rq)
{
    const struct unregister_broker_request *m = rq->message;
    struct control_call *call =
        control_call_create(rq, CONTROLLER_UNREGISTER_BROKER, broker_unregistered);

    if (!call) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    call->request.unregistration.broker_id = m->broker_id;
    control_call(call);
}

/* ---- UnregisterController ---- */

static void controller_unregistered(struct control_call *call)
{
    struct unregister_controller_response response;

    unregister_controller_response_init(&response);
    response.error_code = (int16_t)call->result.code;
    response.error_message = str_from(call->result.message);
    request_answer(call->rq, &response);
}

void handle_unregister_controller(struct request *rq)
{
    const struct unregister_controller_request *m = rq->message;
    struct control_call *call =
        control_call_create(rq, CONTROLLER_UNREGISTER_CONTROLLER, controller_unregistered);

    if (!call) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    call->request.controller_unregistration.controller_id = m->controller_id;
    control_call(call);
}

/* ---- UpdateFeatures ---- */

#define UPDATE_FAILED                                                                              \
    "The update failed for all features since the following feature had an error: "

static struct str update_message(struct controller_result result, struct arena *a)
{
    char text[sizeof UPDATE_FAILED + 512];

    if (result.code != KERR_INVALID_UPDATE_VERSION || !result.message)
        return str_from(result.message);
    snprintf(text, sizeof text, UPDATE_FAILED "%s", result.message);
    return str_from(arena_strdup(a, str_from(text)));
}

static void features_updated(struct control_call *call)
{
    struct request *rq = call->rq;
    const struct update_features_request *m = rq->message;
    struct update_features_response response;

    update_features_response_init(&response);
    response.error_code = (int16_t)call->result.code;
    response.error_message = update_message(call->result, &rq->arena);
    if (rq->version <= 1 && call->result.code == KERR_NONE) {
        response.results =
            arena_array(&rq->arena, struct update_features_response_updatable_feature_result,
                        m->feature_updates_count);
        if (!response.results) {
            request_refuse(rq, REQUEST_OVER_BUDGET);
            return;
        }
        response.results_count = m->feature_updates_count;
        for (size_t i = 0; i < m->feature_updates_count; i++)
            response.results[i] = (struct update_features_response_updatable_feature_result){
                m->feature_updates[i].feature, KERR_NONE, STR_NULL};
    }
    request_answer(rq, &response);
}

static void update_features(struct request *rq)
{
    const struct update_features_request *m = rq->message;
    struct control_call *call =
        control_call_create(rq, CONTROLLER_UPDATE_FEATURES, features_updated);
    struct feature_update *updates =
        arena_array(&rq->arena, struct feature_update, m->feature_updates_count);

    if (!call || !updates) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    for (size_t i = 0; i < m->feature_updates_count; i++) {
        const struct update_features_request_feature_update_key *u = &m->feature_updates[i];
        int8_t old_type = u->allow_downgrade ? FEATURE_SAFE_DOWNGRADE : FEATURE_UPGRADE;

        updates[i] = (struct feature_update){u->feature, u->max_version_level,
                                             rq->version == 0 ? old_type : u->upgrade_type};
    }
    call->request.validate_only = m->validate_only;
    call->request.features.updates = updates;
    call->request.features.count = m->feature_updates_count;
    control_call(call);
}

/* kraft.version is no record of the metadata: Raft writes it, with the voters. It comes first, for
 * the rest of the request may only then be refused without having changed anything that counts. */
static void quorum_upgraded(struct control_raft_call *call)
{
    const struct raft_request *r = &call->request;
    struct update_features_response response;

    if (r->whole_error == KERR_NONE && r->error == KERR_NONE) {
        update_features(call->rq);
        return;
    }
    update_features_response_init(&response);
    response.error_code =
        (int16_t)(r->error == KERR_NOT_LEADER_OR_FOLLOWER ? KERR_NOT_CONTROLLER : r->error);
    if (r->error == KERR_INVALID_UPDATE_VERSION)
        response.error_message =
            STR(UPDATE_FAILED "Invalid update version 1 for feature kraft.version. The leader does "
                              "not know the directory of every voter yet, or one of them does not "
                              "support it.");
    request_answer(call->rq, &response);
}

static bool wants_kraft_version_1(const struct update_features_request *m)
{
    for (size_t i = 0; i < m->feature_updates_count; i++)
        if (str_equal(m->feature_updates[i].feature, STR("kraft.version")) &&
            m->feature_updates[i].max_version_level == 1)
            return true;
    return false;
}

void handle_update_features(struct request *rq)
{
    const struct update_features_request *m = rq->message;
    struct control_raft_call *call;

    if (control_quorum_version(rq->shard->node->control) > 0 || !wants_kraft_version_1(m)) {
        update_features(rq);
        return;
    }
    call = arena_array(&rq->arena, struct control_raft_call, 1);
    if (!call) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    call->rq = rq;
    call->finished = quorum_upgraded;
    call->request.type = RAFT_ASKED_UPGRADE;
    call->request.validate_only = m->validate_only;
    control_raft_call(call);
}
