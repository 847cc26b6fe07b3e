#include "broker/unsure.h"

#include <utlist.h>

#include "broker/shard.h"

struct unsure_question {
    struct unsure_question *prev, *next;
    struct request *rq;
    void (*answer)(struct request *rq);
};

static int64_t now_us(const struct shard *s)
{
    return clock_monotonic_us(s->loop->clock);
}

static void answer_all(struct shard *s)
{
    struct unsure_question *q;

    timer_stop(s->loop, &s->unsure_timer);
    while ((q = s->unsure)) {
        DL_DELETE(s->unsure, q);
        q->answer(q->rq);
    }
}

static void on_time_over(struct timer *t)
{
    struct shard *s = CONTAINER_OF(t, struct shard, unsure_timer);

    s->sure_until_us = now_us(s) + UNSURE_QUIET_US;
    answer_all(s);
}

void unsure_init(struct shard *s)
{
    timer_init(s->loop, &s->unsure_timer, on_time_over);
}

void unsure_stop(struct shard *s)
{
    s->sure_until_us = INT64_MAX;
    answer_all(s);
}

void unsure_end(struct shard *s)
{
    timer_free(s->loop, &s->unsure_timer);
}

void unsure_broker_lost(struct shard *s, int32_t broker_id)
{
    const struct metadata_broker *b = s->image ? metadata_image_broker(s->image, broker_id) : NULL;

    if (b && !b->fenced && !b->in_controlled_shutdown && broker_id != s->node->options->node_id)
        atomic_store_explicit(&s->node->broker_lost_us, now_us(s), memory_order_relaxed);
}

/* When the waiting ends at the latest; 0: there is none. */
static int64_t unsure_until_us(const struct shard *s)
{
    int64_t lost_us = atomic_load_explicit(&s->node->broker_lost_us, memory_order_relaxed);

    if (lost_us <= s->brokers_changed_us || now_us(s) < s->sure_until_us)
        return 0;
    return lost_us + UNSURE_US;
}

void unsure_answer(struct request *rq, void (*answer)(struct request *rq))
{
    struct shard *s = rq->shard;
    int64_t wait_us = unsure_until_us(s) - now_us(s);
    struct unsure_question *q =
        wait_us > 0 ? arena_array(&rq->arena, struct unsure_question, 1) : NULL;

    if (!q) {
        answer(rq);
        return;
    }
    q->rq = rq;
    q->answer = answer;
    if (!s->unsure)
        timer_start(s->loop, &s->unsure_timer, wait_us);
    DL_APPEND(s->unsure, q);
}

void unsure_brokers_changed(struct shard *s)
{
    s->brokers_changed_us = now_us(s);
    answer_all(s);
}
