#include "broker/topic_creation.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "broker/shard.h"
#include "protocol/frame.h"
#include "protocol/messages/create_topics.h"

/* What else the client asked for should not wait long for a topic. */
#define TIME_US (1000 * 1000)

#define CREATE_VERSION  7
#define FRAME_BYTES_MAX ((size_t)16 << 20)

static void tell(struct topic_creation *t)
{
    if (t->waiting) {
        DL_DELETE(t->rq->shard->topic_creations, t);
        timer_free(t->rq->shard->loop, &t->give_up);
    }
    t->waiting = false;
    t->finished(t);
}

/* ---- by ourselves ---- */

/* The new image came before this answer. */
static void created_here(struct control_call *call)
{
    struct topic_creation *t = CONTAINER_OF(call, struct topic_creation, control);
    const struct controller_request *r = &call->request;

    t->code = call->result.code;
    for (size_t i = 0; call->result.code == KERR_NONE && i < r->create.count; i++) {
        config_set_release(r->create.results[i].configs);
        if (t->code == KERR_NONE && r->create.results[i].result.code != KERR_TOPIC_ALREADY_EXISTS)
            t->code = r->create.results[i].result.code;
    }
    tell(t);
}

static void create_here(struct topic_creation *t)
{
    t->control = (struct control_call){.rq = t->rq, .finished = created_here};
    t->control.request.operation = CONTROLLER_CREATE_TOPICS;
    t->control.request.create.topics = t->topics;
    t->control.request.create.count = t->count;
    control_call(&t->control);
}

/* ---- by the controller ---- */

static bool fill(struct topic_creation *t, struct create_topics_request *m)
{
    struct arena *a = &t->rq->arena;

    create_topics_request_init(m);
    m->timeout_ms = TIME_US / 1000;
    m->topics = arena_array(a, struct create_topics_request_creatable_topic, t->count);
    m->topics_count = t->count;
    for (size_t i = 0; m->topics && i < t->count; i++) {
        const struct create_topic *from = &t->topics[i];
        struct create_topics_request_creatable_topic *to = &m->topics[i];

        create_topics_request_creatable_topic_init(to);
        to->name = from->name;
        to->num_partitions = from->partition_count;
        to->replication_factor = from->replication_factor;
        to->configs_count = from->config_count;
        to->configs =
            arena_array(a, struct create_topics_request_creatable_topic_config, from->config_count);
        if (!to->configs)
            return false;
        for (size_t k = 0; k < from->config_count; k++)
            to->configs[k] = (struct create_topics_request_creatable_topic_config){
                from->configs[k].name, from->configs[k].value};
    }
    return m->topics != NULL;
}

static bool make_frame(struct topic_creation *t)
{
    const struct request_head head = {API_CREATE_TOPICS, CREATE_VERSION, t->rq->correlation_id,
                                      t->rq->client_id};
    struct create_topics_request m;
    struct frame_start start;
    struct writer w;
    uint8_t *kept = NULL;

    if (!fill(t, &m))
        return false;
    writer_init(&w, FRAME_BYTES_MAX);
    start = frame_begin_request(&w, api_find(API_CREATE_TOPICS), &head);
    create_topics_request_encode(&m, &w, CREATE_VERSION);
    if (frame_end(&w, start))
        kept = arena_alloc(&t->rq->arena, w.size - FRAME_LENGTH_BYTES);
    if (kept) {
        memcpy(kept, w.data + FRAME_LENGTH_BYTES, w.size - FRAME_LENGTH_BYTES);
        t->forward.frame = (struct bytes){kept, w.size - FRAME_LENGTH_BYTES};
    }
    writer_free(&w);
    return kept != NULL;
}

static enum kerr read_answer(struct topic_creation *t)
{
    struct reader r = reader_of(t->forward.answer.data, t->forward.answer.size);
    struct create_topics_response m;
    int32_t correlation_id;

    if (!frame_read_response_head(&r, api_find(API_CREATE_TOPICS), CREATE_VERSION,
                                  &correlation_id) ||
        !create_topics_response_decode(&m, &r, &t->rq->arena, CREATE_VERSION))
        return KERR_UNKNOWN_SERVER_ERROR;
    for (size_t i = 0; i < m.topics_count; i++)
        if (m.topics[i].error_code != KERR_NONE &&
            m.topics[i].error_code != KERR_TOPIC_ALREADY_EXISTS)
            return (enum kerr)m.topics[i].error_code;
    return KERR_NONE;
}

static bool all_there(const struct topic_creation *t)
{
    for (size_t i = 0; i < t->count; i++)
        if (!metadata_image_topic(t->rq->shard->image, t->topics[i].name))
            return false;
    return true;
}

static void waited_long(struct timer *timer)
{
    tell(CONTAINER_OF(timer, struct topic_creation, give_up));
}

static void forwarded(struct forward *f)
{
    struct topic_creation *t = CONTAINER_OF(f, struct topic_creation, forward);
    struct shard *s = t->rq->shard;

    if (!f->answer.data) {
        /* The controller is this node by now, or nobody was found in time. */
        if (!forward_needed(s->node)) {
            create_here(t);
            return;
        }
        t->code = KERR_REQUEST_TIMED_OUT;
        tell(t);
        return;
    }
    t->code = read_answer(t);
    free(f->answer.data);
    if (t->code != KERR_NONE || all_there(t) || s->closing) {
        tell(t);
        return;
    }
    t->waiting = true;
    timer_init(s->loop, &t->give_up, waited_long);
    timer_start(s->loop, &t->give_up, TIME_US);
    DL_APPEND(s->topic_creations, t);
}

bool topic_creation_start(struct topic_creation *t)
{
    t->forward = (struct forward){.rq = t->rq, .time_us = TIME_US, .finished = forwarded};
    t->waiting = false;
    t->code = KERR_NONE;
    if (!forward_needed(t->rq->shard->node)) {
        create_here(t);
        return true;
    }
    if (!make_frame(t))
        return false;
    forward_send(&t->forward);
    return true;
}

void topic_creation_image_changed(struct shard *s)
{
    struct topic_creation *t, *next;

    DL_FOREACH_SAFE(s->topic_creations, t, next)
    if (all_there(t))
        tell(t);
}

void topic_creation_stop(struct shard *s)
{
    while (s->topic_creations)
        tell(s->topic_creations);
}
