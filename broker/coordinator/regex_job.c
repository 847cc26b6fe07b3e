#include "broker/coordinator/regex_job.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "broker/coordinator/coordinator_internal.h"
#include "broker/coordinator/group_regex.h"
#include "broker/shard.h"

#define QUEUE_MAX        4096 /* past it the members' next heartbeats ask again */
#define TOPICS_BYTES_MAX ((size_t)64 << 20)

struct regex_job {
    struct job job;
    struct regex_job *prev, *next;
    struct coordinators *all;
    struct coordinator_key id;
    const struct metadata_image *image; /* a reference */
    struct arena arena;
    struct str group, regex; /* behind the struct */
    struct group_regex_topics topics;
    enum kerr code;
};

static void regex_job_free(struct regex_job *r)
{
    metadata_image_release(r->image);
    arena_free(&r->arena);
    free(r);
}

static void regex_run(struct job *j)
{
    struct regex_job *r = (struct regex_job *)j;

    r->code = group_regex_match(r->image, r->regex, &r->arena, &r->topics);
}

static void regex_tell(struct regex_job *r)
{
    struct group_regex_result result = {
        .group = r->group,
        .regex = r->regex,
        .topics = r->topics.names,
        .topic_count = r->code == KERR_NONE ? r->topics.count : 0,
        .image_offset = metadata_image_offset(r->image),
        .code = r->code == KERR_NONE ? KERR_NONE : KERR_INVALID_REGULAR_EXPRESSION,
    };
    struct coordinator *c;

    HASH_FIND(hh, r->all->all, &r->id, sizeof r->id, c);
    if (!c || c->state != COORDINATOR_ACTIVE ||
        group_core_find(c->core, r->group) != GROUP_CONSUMER)
        return;
    group_core_regex_resolved(c->core, &result, coordinators_now_ms(r->all), &c->fx);
    if (r->code != KERR_NONE || c->fx.regex_too_large)
        logger_event(r->all->shard->logger, LOGGER_WARN, "regex_without_topics",
                     "group=\"%.*s\" regex=\"%.*s\" reason=\"%s\"", STR_ARG(r->group),
                     STR_ARG(r->regex),
                     r->code != KERR_NONE ? "it took more steps or memory than it may"
                                          : "the group's expressions found too many topics");
    coordinator_carry_out(c);
}

static void regex_next(struct coordinators *all);

static void regex_done(struct task *t)
{
    struct regex_job *r = CONTAINER_OF(t, struct regex_job, job.done);
    struct coordinators *all = r->all;

    all->regexes.running = NULL;
    regex_tell(r);
    regex_job_free(r);
    regex_next(all);
    coordinators_job_ended(all);
}

static void regex_next(struct coordinators *all)
{
    struct regex_job *r = all->regexes.waiting;

    if (!r || all->regexes.running)
        return;
    DL_DELETE(all->regexes.waiting, r);
    all->regexes.count--;
    all->regexes.running = r;
    r->job = (struct job){.home = all->loop, .run = regex_run, .done = {.run = regex_done}};
    coordinators_job_started(all);
    pool_submit(all->shard->node->env.pool, &r->job);
}

static bool regex_asked(const struct coordinator *c, const struct group_regex_wanted *w)
{
    const struct regex_job *r;

    DL_FOREACH(c->all->regexes.waiting, r)
    if (r->id.index == c->id.index && str_equal(r->group, w->group) &&
        str_equal(r->regex, w->regex))
        return true;
    return false;
}

void regex_job_start(struct coordinator *c, const struct group_regex_wanted *w)
{
    struct regex_job *r;
    char *text;

    if (c->all->regexes.count >= QUEUE_MAX || regex_asked(c, w))
        return;
    r = calloc(1, sizeof *r + w->group.size + w->regex.size);
    if (!r)
        return;
    text = (char *)(r + 1);
    memcpy(text, w->group.data, w->group.size);
    memcpy(text + w->group.size, w->regex.data, w->regex.size);
    r->all = c->all;
    r->id = c->id;
    r->image = metadata_image_acquire(c->all->shard->image);
    r->group = (struct str){text, w->group.size};
    r->regex = (struct str){text + w->group.size, w->regex.size};
    arena_init(&r->arena, TOPICS_BYTES_MAX);
    DL_APPEND(c->all->regexes.waiting, r);
    c->all->regexes.count++;
    regex_next(c->all);
}

void regex_queue_clear(struct regex_queue *q)
{
    while (q->waiting) {
        struct regex_job *r = q->waiting;

        DL_DELETE(q->waiting, r);
        regex_job_free(r);
    }
    q->count = 0;
}
