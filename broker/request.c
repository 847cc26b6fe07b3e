#include "broker/request.h"

#include <stdlib.h>

#include "broker/control.h"
#include "broker/dispatch.h"
#include "broker/forward.h"
#include "broker/shard.h"
#include "broker/unsure.h"
#include "protocol/base/check.h"
#include "protocol/frame.h"

#define RESPONSE_BYTES_MAX ((size_t)256 << 20) /* of an encoded answer, file ranges not counted */

/* What a decoded request may take beside its frame. The hungriest elements are 19 times what the
 * wire needs for them (a group of OffsetFetch without a name or topics), but those say nothing:
 * names and partitions bring it to five at most. Whoever sends many empty ones is refused. */
#define ARENA_BYTES_MIN    ((size_t)256 << 10)
#define ARENA_FRAME_FACTOR 8

/* Up to here it is not counted: as little as what else a request takes, of which a connection may
 * have CONNECTION_REQUESTS_MAX. */
#define UNCOUNTED_BYTES ((size_t)16 << 10)

/* And what its answer may take on top: a Metadata of half a million partitions fits. */
#define ANSWER_ARENA_BYTES ((size_t)64 << 20)

void response_free(struct response *r)
{
    writer_free(&r->writer);
    if (r->release)
        r->release(r->owner);
    *r = (struct response){0};
}

void client_is_node(struct client *c, int32_t node_id)
{
    if (!c || node_id < 0)
        return;
    c->is_node = true;
    c->node_id = node_id;
}

void client_lost(const struct client *c)
{
    if (!c->is_node)
        return;
    unsure_broker_lost(c->shard, c->node_id);
    control_node_lost(c->shard->node->control, c->node_id);
}

int16_t frame_api_key(const struct frame *f)
{
    return f->size < 2 ? -1 : (int16_t)load_be16(f->data);
}

/* No request takes more than all of them may, however large its frame. */
static size_t decoded_bytes_max(const struct node *n, size_t frame_size)
{
    size_t bytes = frame_size * ARENA_FRAME_FACTOR;

    return ARENA_BYTES_MIN + (bytes < n->request_bytes_max ? bytes : n->request_bytes_max);
}

struct request *request_create(struct client *client, struct frame *frame)
{
    struct request *rq = calloc(1, sizeof *rq);

    if (!rq) {
        free(frame);
        return NULL;
    }
    rq->client = client;
    rq->listener = client->listener;
    rq->api_listener = client->api_listener;
    rq->shard = client->shard;
    rq->frame = frame;
    rq->received_us = clock_monotonic_us(client->shard->loop->clock);
    arena_init(&rq->arena, decoded_bytes_max(client->shard->node, frame->size));
    writer_init(&rq->response.writer, RESPONSE_BYTES_MAX);
    return rq;
}

bool request_split_arena(struct request *rq, size_t count)
{
    struct arena *arenas = arena_array(&rq->arena, struct arena, count);
    size_t left = rq->arena.budget - rq->arena.used;

    if (!arenas)
        return false;
    /* Half is for the answer itself, which home makes of the parts. */
    for (size_t i = 0; i < count; i++)
        arena_init(&arenas[i], left / 2 / count);
    rq->arena.budget -= left / 2;
    rq->part_arenas = arenas;
    rq->part_arena_count = count;
    return true;
}

void request_free(struct request *rq)
{
    response_free(&rq->response);
    for (size_t i = 0; i < rq->part_arena_count; i++)
        arena_free(&rq->part_arenas[i]);
    arena_free(&rq->arena);
    if (rq->frames)
        frames_give(rq->frames, rq->frame);
    else
        free(rq->frame);
    if (rq->charged_bytes)
        shard_release_bytes(rq->shard, rq->charged_bytes);
    free(rq);
}

void request_abandon(struct request *rq)
{
    rq->client = NULL;
    if (rq->hurry)
        rq->hurry(rq->hurry_arg);
}

static void request_finish(struct request *rq)
{
    struct client *client = rq->client;

    CHECK(!rq->answered);
    rq->answered = true;
    if (client)
        client->answered(client, rq);
    else
        request_free(rq);
}

void request_answer(struct request *rq, const void *message)
{
    struct writer *w = &rq->response.writer;
    int16_t version = rq->answer_version_0 ? 0 : rq->version;
    struct frame_start start;

    start = frame_begin_response(w, rq->handler->api, version, rq->correlation_id);
    rq->handler->response->encode(message, w, version);
    if (!frame_end(w, start)) {
        logger_event(rq->shard->logger, LOGGER_ERROR, "response_not_encodable",
                     "api=%s version=%d reason=%s", rq->handler->api->name, version,
                     kerr_name(w->failure));
        rq->refusal = "the answer could not be encoded";
    }
    request_finish(rq);
}

void request_answer_bytes(struct request *rq, struct bytes answer)
{
    struct writer *w = &rq->response.writer;

    write_int32(w, (int32_t)answer.size);
    write_raw(w, answer.data, answer.size);
    if (!writer_ok(w))
        rq->refusal = "the answer could not be encoded";
    request_finish(rq);
}

void request_answer_nothing(struct request *rq)
{
    rq->answered_nothing = true;
    request_finish(rq);
}

void request_refuse(struct request *rq, const char *reason)
{
    rq->refusal = reason;
    request_finish(rq);
}

/* The head of the frame and who handles it. NULL, or why the connection is to be closed. */
static const char *request_identify(struct request *rq, struct reader *r)
{
    struct request_head head;

    if (!frame_read_request_head(r, &head))
        return r->failure == KERR_UNSUPPORTED_VERSION ? "unknown api key"
                                                      : "malformed request header";
    rq->api_key = head.api_key;
    rq->version = head.api_version;
    rq->correlation_id = head.correlation_id;
    rq->client_id = head.client_id;
    rq->handler = dispatch_find(rq->shard->node, rq->api_key);
    if (!rq->handler)
        return "api not served";
    if (!(rq->handler->api->listeners & rq->api_listener))
        return "api not served on this listener";
    if (rq->version >= rq->handler->api->version_min &&
        rq->version <= rq->handler->api->version_max)
        return NULL;
    if (rq->api_key != API_API_VERSIONS)
        return "unsupported version of an api";
    /* KIP-511: a newer client than we are learns what we speak from a version 0 answer. */
    rq->answer_version_0 = true;
    return NULL;
}

/* Decoded, it is held as long as its frame, and counts towards the same budget. */
static void request_charge_decoded(struct request *rq)
{
    if (rq->arena.used <= UNCOUNTED_BYTES)
        return;
    shard_charge_bytes(rq->shard, rq->arena.used);
    rq->charged_bytes += rq->arena.used;
}

static const char *request_decode(struct request *rq, struct reader *r)
{
    const struct message_type *type = rq->handler->request;

    rq->message = arena_alloc(&rq->arena, type->size);
    if (!rq->message)
        return REQUEST_OVER_BUDGET;
    type->init(rq->message);
    if (rq->answer_version_0)
        return NULL;
    if (!type->decode(rq->message, r, &rq->arena, rq->version))
        return "malformed request";
    return reader_left(r) ? "bytes after the end of a request" : NULL;
}

void request_dispatch(struct request *rq)
{
    struct reader r;
    const char *refusal;

    r = reader_of(rq->frame->data, rq->frame->size);
    refusal = request_identify(rq, &r);
    if (!refusal)
        refusal = request_decode(rq, &r);
    if (!refusal) {
        request_charge_decoded(rq);
        rq->arena.budget += ANSWER_ARENA_BYTES;
        if (rq->handler->forwarded && rq->api_listener == API_ON_BROKER &&
            forward_needed(rq->shard->node))
            forward_request(rq);
        else
            rq->handler->handle(rq);
        return;
    }
    logger_event(rq->shard->logger, LOGGER_WARN, "request_refused",
                 "peer=%s api_key=%d version=%d reason=\"%s\"", rq->client->host, rq->api_key,
                 rq->version, refusal);
    request_refuse(rq, refusal);
}
