/* BrokerRegistration and BrokerHeartbeat: brokers as the controller hears them. */

#include "broker/control_calls.h"
#include "broker/request.h"
#include "broker/shard.h"
#include "protocol/messages/broker_heartbeat.h"
#include "protocol/messages/broker_registration.h"

static void registered(struct control_call *call)
{
    struct broker_registration_response response;

    broker_registration_response_init(&response);
    response.error_code = (int16_t)call->result.code;
    if (call->result.code == KERR_NONE)
        response.broker_epoch = call->request.registration.epoch;
    request_answer(call->rq, &response);
}

void handle_broker_registration(struct request *rq)
{
    const struct broker_registration_request *m = rq->message;
    struct control_call *call = control_call_create(rq, CONTROLLER_REGISTER_BROKER, registered);
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
    call->request.registration.broker = (struct register_broker){
        .id = m->broker_id,
        .cluster_id = m->cluster_id,
        .incarnation = m->incarnation_id,
        .listeners = listeners,
        .listener_count = m->listeners_count,
        .features = features,
        .feature_count = m->features_count,
        .rack = m->rack,
        .zk_migrating = m->is_migrating_zk_broker,
        .log_dirs = m->log_dirs,
        .log_dir_count = m->log_dirs_count,
        .previous_epoch = m->previous_broker_epoch,
    };
    control_call(call);
}

static void heard(struct control_call *call)
{
    const struct broker_heartbeat_result *r = &call->request.heartbeat.result;
    struct broker_heartbeat_response response;

    broker_heartbeat_response_init(&response);
    response.error_code = (int16_t)call->result.code;
    if (call->result.code == KERR_NONE) {
        response.is_caught_up = r->caught_up;
        response.is_fenced = r->fenced;
        response.should_shut_down = r->should_shut_down;
    }
    request_answer(call->rq, &response);
}

void handle_broker_heartbeat(struct request *rq)
{
    const struct broker_heartbeat_request *m = rq->message;
    struct control_call *call = control_call_create(rq, CONTROLLER_HEARTBEAT, heard);

    if (!call) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    client_is_node(rq->client, m->broker_id);
    call->request.heartbeat.broker = (struct broker_heartbeat){
        .id = m->broker_id,
        .epoch = m->broker_epoch,
        .metadata_offset = m->current_metadata_offset,
        .want_fence = m->want_fence,
        .want_shutdown = m->want_shut_down,
        .offline_log_dirs = m->offline_log_dirs,
        .offline_log_dir_count = m->offline_log_dirs_count,
        .cordoned_log_dirs = m->cordoned_log_dirs,
        .cordoned_log_dir_count = m->cordoned_log_dirs_count,
        .cordoned_known = m->cordoned_log_dirs != NULL,
    };
    control_call(call);
}
