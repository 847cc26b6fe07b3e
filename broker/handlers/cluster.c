/* DescribeCluster. */

#include "broker/control.h"
#include "broker/handlers/operations.h"
#include "broker/request.h"
#include "broker/shard.h"
#include "broker/storage_dirs.h"
#include "protocol/messages/describe_cluster.h"

enum endpoint_type { ENDPOINT_BROKERS = 1, ENDPOINT_CONTROLLERS = 2 };

static bool fill_brokers(struct request *rq, const struct describe_cluster_request *m,
                         struct describe_cluster_response *out)
{
    const struct metadata_image *img = rq->shard->image;
    size_t count = metadata_image_broker_count(img);
    struct describe_cluster_response_broker *b =
        arena_array(&rq->arena, struct describe_cluster_response_broker, count);

    if (!b)
        return false;
    out->brokers = b;
    for (size_t i = 0; i < count; i++) {
        const struct metadata_broker *broker = metadata_image_broker_at(img, i);
        const struct metadata_listener *l = metadata_broker_listener(broker, rq->listener);

        if ((broker->fenced && !m->include_fenced_brokers) || !l)
            continue;
        *b++ = (struct describe_cluster_response_broker){broker->id, l->host, l->port, broker->rack,
                                                         broker->fenced};
        out->brokers_count++;
    }
    return true;
}

static bool fill_controllers(struct request *rq, struct describe_cluster_response *out)
{
    const struct metadata_image *img = rq->shard->image;
    size_t count = metadata_image_controller_count(img);
    struct describe_cluster_response_broker *b =
        arena_array(&rq->arena, struct describe_cluster_response_broker, count);

    if (!b)
        return false;
    out->brokers = b;
    for (size_t i = 0; i < count; i++) {
        const struct metadata_controller *c = metadata_image_controller_at(img, i);

        if (c->listener_count == 0)
            continue;
        *b++ = (struct describe_cluster_response_broker){c->id, c->listeners[0].host,
                                                         c->listeners[0].port, STR_NULL, false};
        out->brokers_count++;
    }
    return true;
}

void handle_describe_cluster(struct request *rq)
{
    const struct describe_cluster_request *m = rq->message;
    bool on_controller = rq->api_listener == API_ON_CONTROLLER;
    struct describe_cluster_response response;
    bool filled;

    describe_cluster_response_init(&response);
    response.endpoint_type = m->endpoint_type;
    response.cluster_id = str_from(storage_dirs_cluster_id(rq->shard->node->dirs));
    if (m->endpoint_type != (on_controller ? ENDPOINT_CONTROLLERS : ENDPOINT_BROKERS)) {
        bool known =
            m->endpoint_type == ENDPOINT_BROKERS || m->endpoint_type == ENDPOINT_CONTROLLERS;

        response.error_code =
            known ? KERR_MISMATCHED_ENDPOINT_TYPE : KERR_UNSUPPORTED_ENDPOINT_TYPE;
        response.error_message = STR("This listener does not serve that type of endpoint.");
        request_answer(rq, &response);
        return;
    }
    response.controller_id = on_controller ? control_leader_id(rq->shard->node->control)
                                           : rq->shard->node->options->node_id;
    if (m->include_cluster_authorized_operations)
        response.cluster_authorized_operations = OPERATIONS_OF_CLUSTER;
    filled = on_controller ? fill_controllers(rq, &response) : fill_brokers(rq, m, &response);
    if (filled)
        request_answer(rq, &response);
    else
        request_refuse(rq, REQUEST_OVER_BUDGET);
}
