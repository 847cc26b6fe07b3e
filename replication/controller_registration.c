#include "replication/controller_registration.h"

#include <stdlib.h>

#include "protocol/base/check.h"
#include "protocol/messages/controller_registration.h"
#include "replication/memory.h"
#include "replication/metadata_encode.h"

#define VERSION            0
#define RETRY_US           (1000 * 1000)
#define TIMEOUT_US         (10 * 1000 * 1000)
#define REQUEST_BYTES_MAX  (1024 * 1024)
#define ANSWER_ARENA_BYTES (64 * 1024)

struct controller_registration {
    struct controller_registration_args args;
    struct transport_request request;
    struct timer retry;
    int32_t leader_id;      /* -1: unknown */
    struct str leader_host; /* owned */
    uint16_t leader_port;
    bool wanted; /* the newest image lacks us, and may have controllers */
    bool asking;
    bool pausing; /* between an answer and the next try */
};

static struct bytes_mut encode(const struct register_controller *self)
{
    struct controller_registration_request_listener *listeners =
        memory_zalloc(self->listener_count, sizeof *listeners);
    struct controller_registration_request_feature *features =
        memory_zalloc(self->feature_count, sizeof *features);
    struct controller_registration_request m;
    struct writer w;

    for (size_t i = 0; i < self->listener_count; i++)
        listeners[i] = (struct controller_registration_request_listener){
            self->listeners[i].name, self->listeners[i].host, self->listeners[i].port,
            self->listeners[i].security_protocol};
    for (size_t i = 0; i < self->feature_count; i++)
        features[i] = (struct controller_registration_request_feature){
            self->features[i].name, self->features[i].min, self->features[i].max};
    controller_registration_request_init(&m);
    m.controller_id = self->id;
    m.incarnation_id = self->incarnation;
    m.zk_migration_ready = self->zk_migration_ready;
    m.listeners = listeners;
    m.listeners_count = self->listener_count;
    m.features = features;
    m.features_count = self->feature_count;
    writer_init(&w, REQUEST_BYTES_MAX);
    CHECK(controller_registration_request_encode(&m, &w, VERSION));
    free(listeners);
    free(features);
    return writer_take(&w);
}

static void tell(struct controller_registration *r)
{
    struct transport_node node = {r->leader_id, r->leader_host, r->leader_port};

    if (!r->wanted || r->asking || r->pausing || r->leader_id < 0 ||
        r->leader_id == r->args.self.id || !r->leader_host.data)
        return;
    r->asking = true;
    r->request.api_key = CONTROLLER_REGISTRATION_REQUEST_KEY;
    r->request.api_version = VERSION;
    transport_send(r->args.transport, &node, &r->request, encode(&r->args.self), TIMEOUT_US);
}

static enum kerr read_answer(struct bytes body)
{
    struct controller_registration_response m;
    struct reader reader = reader_of(body.data, body.size);
    struct arena a;
    enum kerr code = KERR_NETWORK_EXCEPTION;

    arena_init(&a, ANSWER_ARENA_BYTES);
    if (controller_registration_response_decode(&m, &reader, &a, VERSION))
        code = (enum kerr)m.error_code;
    arena_free(&a);
    return code;
}

/* Taken: the image will say so, or, had it been lost with its leader, will not, and then it is told
 * again. */
static void answered(struct transport_request *request, struct status result, struct bytes body)
{
    struct controller_registration *r =
        CONTAINER_OF(request, struct controller_registration, request);
    enum kerr code = status_failed(result) ? result.code : read_answer(body);

    r->asking = false;
    r->pausing = true;
    if (code != KERR_NONE)
        logger_event(r->args.logger, LOGGER_WARN, "controller_registration_failed",
                     "leader=%d reason=%s", r->leader_id, kerr_name(code));
    timer_start(r->args.loop, &r->retry, RETRY_US);
}

static void retry_fired(struct timer *t)
{
    struct controller_registration *r = CONTAINER_OF(t, struct controller_registration, retry);

    r->pausing = false;
    tell(r);
}

struct controller_registration *
controller_registration_create(const struct controller_registration_args *args)
{
    struct controller_registration *r = memory_zalloc(1, sizeof *r);

    r->args = *args;
    r->leader_id = -1;
    r->request.answered = answered;
    timer_init(args->loop, &r->retry, retry_fired);
    return r;
}

static void cancel(struct controller_registration *r)
{
    if (r->asking)
        transport_cancel(r->args.transport, &r->request);
    r->asking = false;
}

void controller_registration_free(struct controller_registration *r)
{
    if (!r)
        return;
    cancel(r);
    timer_free(r->args.loop, &r->retry);
    free((void *)(uintptr_t)r->leader_host.data);
    free(r);
}

void controller_registration_leader(struct controller_registration *r,
                                    const struct transport_node *node)
{
    struct str host = memory_str(node->host);

    cancel(r);
    free((void *)(uintptr_t)r->leader_host.data);
    r->leader_id = node->id;
    r->leader_host = host;
    r->leader_port = node->port;
    r->pausing = false;
    tell(r);
}

void controller_registration_image(struct controller_registration *r,
                                   const struct metadata_image *image)
{
    const struct metadata_controller *known = metadata_image_controller(image, r->args.self.id);
    int16_t version = metadata_image_feature_level(image, METADATA_VERSION_FEATURE);

    r->wanted = version >= METADATA_VERSION_CONTROLLERS &&
                !(known && uuid_equal(known->incarnation, r->args.self.incarnation));
    tell(r);
}
