/* Envelope (KIP-590): a broker brings a client's request to the active controller. */

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "broker/control.h"
#include "broker/dispatch.h"
#include "broker/forward.h"
#include "broker/principal.h"
#include "broker/request.h"
#include "broker/shard.h"
#include "protocol/frame.h"
#include "protocol/messages/envelope.h"

/* The one who asked, for the request inside. In the arena of the request outside. */
struct envelope_client {
    struct client client;
    struct request *outer;
};

static void envelope_fail(struct request *rq, enum kerr code)
{
    struct envelope_response m;

    envelope_response_init(&m);
    m.error_code = (int16_t)code;
    request_answer(rq, &m);
}

static void inner_answered(struct client *client, struct request *inner)
{
    struct envelope_client *e = CONTAINER_OF(client, struct envelope_client, client);
    const struct writer *w = &inner->response.writer;
    struct envelope_response m;

    if (inner->refusal || inner->answered_nothing || w->spliced_bytes) {
        envelope_fail(e->outer, KERR_INVALID_REQUEST);
        /* the broker is to ask the new one; the client need not know */
    } else if (inner->not_controller) {
        envelope_fail(e->outer, KERR_NOT_CONTROLLER);
    } else {
        envelope_response_init(&m);
        m.response_data =
            (struct bytes){w->data + FRAME_LENGTH_BYTES, w->size - FRAME_LENGTH_BYTES};
        request_answer(e->outer, &m);
    }
    request_free(inner);
}

static struct frame *copy_frame(struct bytes bytes)
{
    struct frame *frame = malloc(sizeof *frame + bytes.size);

    if (frame) {
        frame->size = (uint32_t)bytes.size;
        memcpy(frame->data, bytes.data, bytes.size);
    }
    return frame;
}

static bool may_be_inside(const struct node *n, struct bytes request)
{
    const struct api_handler *handler =
        request.size < 2 ? NULL : dispatch_find(n, (int16_t)load_be16(request.data));

    return handler && handler->forwarded;
}

/* The address that the client has for its broker. */
static bool read_host(struct bytes address, char *out, size_t size)
{
    return (address.size == 4 && inet_ntop(AF_INET, address.data, out, (socklen_t)size)) ||
           (address.size == 16 && inet_ntop(AF_INET6, address.data, out, (socklen_t)size));
}

void handle_envelope(struct request *rq)
{
    const struct envelope_request *m = rq->message;
    struct envelope_client *e = arena_array(&rq->arena, struct envelope_client, 1);
    struct principal asker;
    struct request *inner;
    struct frame *frame;

    if (!e) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    if (forward_needed(rq->shard->node)) {
        envelope_fail(rq, KERR_NOT_CONTROLLER);
        return;
    }
    if (!may_be_inside(rq->shard->node, m->request_data)) {
        envelope_fail(rq, KERR_INVALID_REQUEST);
        return;
    }
    if (!principal_read(m->request_principal, &asker)) {
        envelope_fail(rq, KERR_PRINCIPAL_DESERIALIZATION_FAILURE);
        return;
    }
    e->outer = rq;
    e->client = (struct client){.answered = inner_answered,
                                .shard = rq->shard,
                                .listener = rq->listener,
                                .api_listener = API_ON_CONTROLLER};
    if (!read_host(m->client_host_address, e->client.host, sizeof e->client.host)) {
        envelope_fail(rq, KERR_INVALID_REQUEST);
        return;
    }
    frame = copy_frame(m->request_data);
    inner = frame ? request_create(&e->client, frame) : NULL;
    if (inner)
        request_dispatch(inner);
    else
        request_refuse(rq, REQUEST_OVER_BUDGET);
}
