#include "replication/broker_lifecycle.h"

#include <stdlib.h>

#include "protocol/messages/broker_heartbeat.h"
#include "protocol/messages/broker_registration.h"
#include "replication/memory.h"

#define REGISTRATION_VERSION 4
#define HEARTBEAT_VERSION    2
#define REQUEST_BYTES_MAX    (1024 * 1024)
#define REQUEST_TIMEOUT_US   (10 * 1000 * 1000)
/* No heartbeat may take so long that the session ends before the next one. */
#define HEARTBEAT_TIMEOUT_US (4500 * 1000)
#define ANSWER_ARENA_BYTES   (64 * 1024)

struct broker_lifecycle {
    struct broker_lifecycle_args args;
    struct lifecycle_core core;
    enum lifecycle_state told; /* the state that on_state was told last */
    struct transport_request request;
    struct timer timer;
    int32_t controller_id;
    struct str controller_host; /* owned */
    uint16_t controller_port;
    int64_t previous_epoch;
    int64_t metadata_offset; /* of the image that the shards act on; -1: none */
    size_t leaving_count;    /* brokers in controlled shutdown there */
    int64_t image_epoch;     /* what our registration has there; -1: we are not in it */
    struct uuid *offline_dirs;
    size_t offline_dir_count;
};

static int64_t now_us(const struct broker_lifecycle *l)
{
    return clock_monotonic_us(l->args.loop->clock);
}

/* ---- requests ---- */

static void send_request(struct broker_lifecycle *l, int16_t key, int16_t version, struct writer *w,
                         int64_t timeout_us)
{
    struct transport_node node = {l->controller_id, l->controller_host, l->controller_port};

    CHECK(writer_ok(w));
    l->request.api_key = key;
    l->request.api_version = version;
    transport_send(l->args.transport, &node, &l->request, writer_take(w), timeout_us);
}

static void send_registration(struct broker_lifecycle *l)
{
    const struct broker_lifecycle_args *a = &l->args;
    size_t feature_count;
    const struct metadata_feature_range *ranges = supported_features(&feature_count);
    struct broker_registration_request_listener *listeners =
        memory_zalloc(a->listener_count, sizeof *listeners);
    struct broker_registration_request_feature *features =
        memory_zalloc(feature_count, sizeof *features);
    struct broker_registration_request m;
    struct writer w;

    for (size_t i = 0; i < a->listener_count; i++)
        listeners[i] = (struct broker_registration_request_listener){
            a->listeners[i].name, a->listeners[i].host, a->listeners[i].port,
            a->listeners[i].security_protocol};
    for (size_t i = 0; i < feature_count; i++)
        features[i] = (struct broker_registration_request_feature){ranges[i].name, ranges[i].min,
                                                                   ranges[i].max};
    broker_registration_request_init(&m);
    m.broker_id = a->node_id;
    m.cluster_id = a->cluster_id;
    m.incarnation_id = a->incarnation;
    m.listeners = listeners;
    m.listeners_count = a->listener_count;
    m.features = features;
    m.features_count = feature_count;
    m.rack = a->rack;
    m.log_dirs = (struct uuid *)(uintptr_t)a->log_dirs;
    m.log_dirs_count = a->log_dir_count;
    m.previous_broker_epoch = l->previous_epoch;
    writer_init(&w, REQUEST_BYTES_MAX);
    broker_registration_request_encode(&m, &w, REGISTRATION_VERSION);
    send_request(l, BROKER_REGISTRATION_REQUEST_KEY, REGISTRATION_VERSION, &w, REQUEST_TIMEOUT_US);
    free(listeners);
    free(features);
}

static void send_heartbeat(struct broker_lifecycle *l)
{
    struct broker_heartbeat_request m;
    struct writer w;

    broker_heartbeat_request_init(&m);
    m.broker_id = l->args.node_id;
    m.broker_epoch = l->core.epoch;
    m.current_metadata_offset = l->metadata_offset;
    m.want_fence = lifecycle_wants_fence(&l->core);
    m.want_shut_down = lifecycle_wants_shutdown(&l->core);
    m.offline_log_dirs = l->offline_dirs;
    m.offline_log_dirs_count = l->offline_dir_count;
    writer_init(&w, REQUEST_BYTES_MAX);
    broker_heartbeat_request_encode(&m, &w, HEARTBEAT_VERSION);
    send_request(l, BROKER_HEARTBEAT_REQUEST_KEY, HEARTBEAT_VERSION, &w, HEARTBEAT_TIMEOUT_US);
}

/* ---- doing what the core decides ---- */

static void give_up(struct broker_lifecycle *l, enum kerr code, const char *why)
{
    logger_event(l->args.logger, LOGGER_ERROR, "broker_not_registered", "reason=%s",
                 kerr_name(code));
    l->args.on_failed(l->args.arg, status_error(code, why));
}

static void tell_state(struct broker_lifecycle *l)
{
    if (l->told == l->core.state)
        return;
    l->told = l->core.state;
    l->args.on_state(l->args.arg, l->told);
}

/* After every event. The last thing a caller does: on_state may end everything. */
static void advance(struct broker_lifecycle *l)
{
    int64_t wake_us;

    switch (lifecycle_next(&l->core, now_us(l), &wake_us)) {
    case LIFECYCLE_REGISTER:
        send_registration(l);
        break;
    case LIFECYCLE_HEARTBEAT:
        send_heartbeat(l);
        break;
    case LIFECYCLE_GIVE_UP:
        give_up(l, KERR_REQUEST_TIMED_OUT,
                "no controller took this broker in within "
                "initial.broker.registration.timeout.ms");
        return;
    case LIFECYCLE_NOTHING:
        break;
    }
    if (wake_us == INT64_MAX) {
        timer_stop(l->args.loop, &l->timer);
    } else {
        int64_t delay_us = wake_us - now_us(l);

        timer_start(l->args.loop, &l->timer, delay_us > 0 ? delay_us : 0);
    }
    tell_state(l);
}

static void timer_fired(struct timer *t)
{
    advance(CONTAINER_OF(t, struct broker_lifecycle, timer));
}

/* The image with our registration may come before the answer that tells our epoch. */
static void note_image(struct broker_lifecycle *l)
{
    l->core.image_has_us = l->core.epoch >= 0 && l->image_epoch == l->core.epoch;
}

/* ---- answers ---- */

static void on_registration(struct broker_lifecycle *l, struct status result, struct bytes body)
{
    struct broker_registration_response m = {.error_code = (int16_t)result.code,
                                             .broker_epoch = -1};
    struct reader r = reader_of(body.data, body.size);
    struct arena a;

    arena_init(&a, ANSWER_ARENA_BYTES);
    if (!status_failed(result) &&
        !broker_registration_response_decode(&m, &r, &a, REGISTRATION_VERSION))
        m.error_code = KERR_NETWORK_EXCEPTION;
    arena_free(&a);
    /* The transport's UNSUPPORTED_VERSION is of the request, not of our features: an old controller
     * may go. */
    if (status_failed(result))
        m.error_code = KERR_NETWORK_EXCEPTION;
    if (!lifecycle_registered(&l->core, (enum kerr)m.error_code, m.broker_epoch, now_us(l))) {
        give_up(l, (enum kerr)m.error_code, "the controller refused this broker's registration");
        return;
    }
    if (m.error_code == KERR_NONE) {
        l->previous_epoch = m.broker_epoch;
        note_image(l);
        l->args.on_registered(l->args.arg, m.broker_epoch);
    } else {
        logger_event(l->args.logger, LOGGER_WARN, "broker_registration_failed", "reason=%s",
                     kerr_name((enum kerr)m.error_code));
    }
    advance(l);
}

static void on_heartbeat(struct broker_lifecycle *l, struct status result, struct bytes body)
{
    struct broker_heartbeat_response m;
    struct reader r = reader_of(body.data, body.size);
    struct arena a;

    broker_heartbeat_response_init(&m);
    arena_init(&a, ANSWER_ARENA_BYTES);
    if (status_failed(result) || !broker_heartbeat_response_decode(&m, &r, &a, HEARTBEAT_VERSION))
        m.error_code = KERR_NETWORK_EXCEPTION;
    arena_free(&a);
    lifecycle_beaten(&l->core, (enum kerr)m.error_code, m.is_fenced, m.should_shut_down, now_us(l));
    l->args.on_trusted(l->args.arg, l->core.trusted_until_us);
    advance(l);
}

static void answered(struct transport_request *r, struct status result, struct bytes body)
{
    struct broker_lifecycle *l = CONTAINER_OF(r, struct broker_lifecycle, request);

    if (r->api_key == BROKER_REGISTRATION_REQUEST_KEY)
        on_registration(l, result, body);
    else
        on_heartbeat(l, result, body);
}

/* ---- life and events ---- */

struct broker_lifecycle *broker_lifecycle_create(const struct broker_lifecycle_args *args)
{
    struct broker_lifecycle *l = memory_zalloc(1, sizeof *l);

    l->args = *args;
    l->core.heartbeat_us = args->heartbeat_us;
    l->core.registration_us_max = args->registration_us_max;
    l->core.shutdown_us_max = args->shutdown_us_max;
    l->core.session_us = args->session_us;
    l->previous_epoch = args->previous_epoch;
    l->metadata_offset = -1;
    l->image_epoch = -1;
    l->request.answered = answered;
    timer_init(args->loop, &l->timer, timer_fired);
    lifecycle_init(&l->core, now_us(l));
    return l;
}

void broker_lifecycle_free(struct broker_lifecycle *l)
{
    if (!l)
        return;
    if (l->core.in_flight)
        transport_cancel(l->args.transport, &l->request);
    timer_free(l->args.loop, &l->timer);
    free((void *)(uintptr_t)l->controller_host.data);
    free(l->offline_dirs);
    free(l);
}

void broker_lifecycle_controller(struct broker_lifecycle *l, const struct transport_node *node)
{
    struct str host = memory_str(node->host);

    if (l->core.in_flight) { /* whoever it went to, the answer would not be the new leader's */
        transport_cancel(l->args.transport, &l->request);
        l->core.in_flight = false;
    }
    free((void *)(uintptr_t)l->controller_host.data);
    l->controller_host = host;
    l->controller_id = node->id;
    l->controller_port = node->port;
    lifecycle_controller(&l->core, node->host.data != NULL, now_us(l));
    advance(l);
}

static size_t count_leaving(const struct metadata_image *image)
{
    size_t count = 0;

    for (size_t i = 0; i < metadata_image_broker_count(image); i++)
        count += metadata_image_broker_at(image, i)->in_controlled_shutdown;
    return count;
}

void broker_lifecycle_image(struct broker_lifecycle *l, const struct metadata_image *image)
{
    const struct metadata_broker *self = metadata_image_broker(image, l->args.node_id);

    l->metadata_offset = metadata_image_offset(image);
    l->image_epoch = self ? self->epoch : -1;
    note_image(l);
    if (l->core.image_has_us && self->fenced)
        lifecycle_seen_fenced(&l->core);
    if (count_leaving(image) > l->leaving_count) /* it may go once all others have seen that it
                                                  * does */
        lifecycle_hurry(&l->core);
    l->leaving_count = count_leaving(image);
    advance(l);
}

void broker_lifecycle_ready(struct broker_lifecycle *l)
{
    l->core.logs_ready = true;
    advance(l);
}

void broker_lifecycle_offline_dir(struct broker_lifecycle *l, struct uuid directory)
{
    l->offline_dirs =
        memory_resize(l->offline_dirs, l->offline_dir_count + 1, sizeof *l->offline_dirs);
    l->offline_dirs[l->offline_dir_count++] = directory;
    l->core.now = true;
    advance(l);
}

void broker_lifecycle_damaged(struct broker_lifecycle *l, struct uuid incarnation)
{
    l->previous_epoch = -1;
    if (l->core.state != LIFECYCLE_STARTING && l->core.state != LIFECYCLE_CATCHING_UP)
        return;
    if (l->core.in_flight)
        transport_cancel(l->args.transport, &l->request);
    l->args.incarnation = incarnation;
    lifecycle_start_over(&l->core, now_us(l));
    advance(l);
}

void broker_lifecycle_leave(struct broker_lifecycle *l)
{
    lifecycle_leave(&l->core, now_us(l));
    /* who is gone wants no epoch any more */
    if (l->core.state == LIFECYCLE_GONE && l->core.in_flight) {
        transport_cancel(l->args.transport, &l->request);
        l->core.in_flight = false;
    }
    advance(l);
}

enum lifecycle_state broker_lifecycle_state(const struct broker_lifecycle *l)
{
    return l->core.state;
}

int64_t broker_lifecycle_epoch(const struct broker_lifecycle *l)
{
    return l->core.epoch;
}
