/* InitProducerId for idempotent producers, and AllocateProducerIds by which brokers get their
 * blocks. */

#include "broker/producer_ids.h"
#include "broker/control_calls.h"
#include "broker/request.h"
#include "broker/shard.h"
#include "protocol/messages/allocate_producer_ids.h"
#include "protocol/messages/init_producer_id.h"

static void init_fail(struct request *rq, enum kerr code)
{
    struct init_producer_id_response response;

    init_producer_id_response_init(&response);
    response.error_code = (int16_t)code;
    response.producer_epoch = -1;
    request_answer(rq, &response);
}

static void init_finished(struct producer_id_call *call)
{
    struct init_producer_id_response response;

    if (call->code != KERR_NONE) {
        init_fail(call->rq, call->code);
        return;
    }
    init_producer_id_response_init(&response);
    response.producer_id = call->producer_id;
    response.producer_epoch = 0;
    request_answer(call->rq, &response);
}

void handle_init_producer_id(struct request *rq)
{
    const struct init_producer_id_request *m = rq->message;
    struct producer_id_call *call = arena_array(&rq->arena, struct producer_id_call, 1);

    if (!call) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    if (m->transactional_id.data) {
        /* No transaction coordinator runs here. */
        init_fail(rq,
                  m->transactional_id.size ? KERR_COORDINATOR_NOT_AVAILABLE : KERR_INVALID_REQUEST);
        return;
    }
    call->rq = rq;
    call->finished = init_finished;
    producer_id_call(call);
}

static void allocated(struct control_call *call)
{
    struct allocate_producer_ids_response response;

    allocate_producer_ids_response_init(&response);
    response.error_code = (int16_t)call->result.code;
    if (call->result.code == KERR_NONE) {
        response.producer_id_start = call->request.producer_ids.first_id;
        response.producer_id_len = call->request.producer_ids.id_count;
    }
    request_answer(call->rq, &response);
}

void handle_allocate_producer_ids(struct request *rq)
{
    const struct allocate_producer_ids_request *m = rq->message;
    struct control_call *call =
        control_call_create(rq, CONTROLLER_ALLOCATE_PRODUCER_IDS, allocated);

    if (!call) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    call->request.producer_ids.broker_id = m->broker_id;
    call->request.producer_ids.broker_epoch = m->broker_epoch;
    control_call(call);
}
