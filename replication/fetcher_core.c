#include "replication/fetcher_core.h"

#include <stdlib.h>
#include <utlist.h>

#include "protocol/base/check.h"

/* The first error waits this long, each further one twice as long up to replica.fetch.backoff.ms.
 * Most pass soon: a new leader that has not heard of it yet is behind by a message. */
#define BACKOFF_MS_FIRST 5
/* A partition that failed so often in a row waits for the next fetch, and no longer costs the one
 * in flight. */
#define FAILURES_HURRIED 6

static const bool in_session_states[FETCHER_STATE_COUNT] = {
    [FETCHER_FLUSHING] = true,
    [FETCHER_CHANGED] = true,
    [FETCHER_TOLD] = true,
};

static void fetcher_move(struct fetcher_partition *p, enum fetcher_state state)
{
    struct fetcher *f = p->fetcher;

    DL_DELETE(f->lists[p->state], p);
    p->state = state;
    DL_APPEND(f->lists[state], p);
}

static int64_t backoff_ms(const struct fetcher *f, uint32_t failures)
{
    int64_t ms = BACKOFF_MS_FIRST;

    for (uint32_t i = 1; i < failures && ms < f->backoff_ms_max; i++)
        ms *= 2;
    return ms < f->backoff_ms_max ? ms : f->backoff_ms_max;
}

void fetcher_init(struct fetcher *f, int32_t leader_id, int64_t backoff_ms_max)
{
    *f = (struct fetcher){.leader_id = leader_id, .backoff_ms_max = backoff_ms_max};
}

void fetcher_free(struct fetcher *f)
{
    for (size_t state = 0; state < FETCHER_STATE_COUNT; state++)
        while (f->lists[state])
            fetcher_remove(f->lists[state]);
    free(f->forgotten);
    *f = (struct fetcher){0};
}

/* ---- the session ---- */

/* The next fetch is full: it names every partition, and ends the session that its id names. */
static void session_restart(struct fetcher *f)
{
    struct fetcher_partition *p;

    f->session_epoch = 0;
    f->forgotten_count = 0;
    for (size_t state = 0; state < FETCHER_STATE_COUNT; state++)
        DL_FOREACH(f->lists[state], p)
    p->in_session = false;
    DL_CONCAT(f->lists[FETCHER_CHANGED], f->lists[FETCHER_TOLD]);
    f->lists[FETCHER_TOLD] = NULL;
    DL_FOREACH(f->lists[FETCHER_CHANGED], p)
    p->state = FETCHER_CHANGED;
}

static bool forgotten_reserve(struct fetcher *f)
{
    size_t capacity = f->forgotten_capacity ? 2 * f->forgotten_capacity : 16;
    struct fetcher_forgotten *forgotten;

    if (f->forgotten_count < f->forgotten_capacity)
        return true;
    forgotten = realloc(f->forgotten, capacity * sizeof forgotten[0]);
    if (!forgotten)
        return false;
    f->forgotten = forgotten;
    f->forgotten_capacity = capacity;
    return true;
}

/* False: no memory, the session starts anew. */
static bool session_forget(struct fetcher *f, struct fetcher_partition *p)
{
    if (!p->in_session)
        return true;
    p->in_session = false;
    if (!forgotten_reserve(f)) {
        session_restart(f);
        return false;
    }
    f->forgotten[f->forgotten_count++] = (struct fetcher_forgotten){p->topic_id, p->index};
    return true;
}

/* It comes back before the leader heard that it left: a fetch must not name it twice. */
static void session_remember(struct fetcher *f, struct fetcher_partition *p)
{
    for (size_t i = 0; i < f->forgotten_count; i++)
        if (f->forgotten[i].index == p->index &&
            uuid_equal(f->forgotten[i].topic_id, p->topic_id)) {
            f->forgotten[i] = f->forgotten[--f->forgotten_count];
            p->in_session = true;
            return;
        }
}

/* ---- coming and going ---- */

void fetcher_add(struct fetcher *f, struct fetcher_partition *p, int32_t leader_epoch,
                 const struct fetcher_position *at, bool flushed)
{
    CHECK(!p->fetcher);
    p->fetcher = f;
    p->in_session = false;
    p->leader_epoch = leader_epoch;
    p->at = *at;
    p->failures = 0;
    p->held = false;
    p->state = flushed ? FETCHER_CHANGED : FETCHER_FLUSHING;
    DL_APPEND(f->lists[p->state], p);
    f->count++;
    session_remember(f, p);
}

void fetcher_remove(struct fetcher_partition *p)
{
    struct fetcher *f = p->fetcher;

    if (!f)
        return;
    (void)session_forget(f, p);
    DL_DELETE(f->lists[p->state], p);
    p->state = FETCHER_NONE;
    p->fetcher = NULL;
    CHECK(f->count > 0);
    f->count--;
}

/* ---- requests ---- */

static void wake_earlier(int64_t *wake_ms, int64_t at_ms)
{
    if (*wake_ms < 0 || at_ms < *wake_ms)
        *wake_ms = at_ms;
}

bool fetcher_due(struct fetcher *f, int64_t now_ms, int64_t *wake_ms)
{
    struct fetcher_partition *p, *next;

    *wake_ms = -1;
    DL_FOREACH_SAFE(f->lists[FETCHER_DELAYED], p, next)
    {
        if (p->retry_ms <= now_ms)
            fetcher_move(p, FETCHER_CHANGED);
        else
            wake_earlier(wake_ms, p->retry_ms);
    }
    if (f->in_flight || f->lists[FETCHER_FLUSHING] ||
        (!f->lists[FETCHER_CHANGED] && !f->lists[FETCHER_TOLD]))
        return false;
    if (now_ms < f->retry_ms) {
        wake_earlier(wake_ms, f->retry_ms);
        return false;
    }
    return true;
}

bool fetcher_hurried(const struct fetcher *f)
{
    const struct fetcher_partition *p;

    if (!f->in_flight || f->lists[FETCHER_FLUSHING])
        return false;
    DL_FOREACH(f->lists[FETCHER_CHANGED], p)
    if (p->failures <= FAILURES_HURRIED && !p->held)
        return true;
    return false;
}

void fetcher_give_up(struct fetcher *f)
{
    CHECK(f->in_flight);
    f->in_flight = false;
    session_restart(f);
}

void fetcher_prepare(struct fetcher *f)
{
    CHECK(!f->in_flight);
    if (f->session_epoch == 0) {
        session_restart(f); /* also where the leader has no room for one: every fetch is full
                             * then */
        return;
    }
    for (size_t state = 0; state < FETCHER_STATE_COUNT; state++) {
        struct fetcher_partition *p;

        if (in_session_states[state])
            continue;
        DL_FOREACH(f->lists[state], p)
        if (!session_forget(f, p))
            return;
    }
}

void fetcher_hold(struct fetcher_partition *p, int64_t until_ms)
{
    CHECK(p->state == FETCHER_CHANGED);
    p->held = true;
    p->retry_ms = until_ms;
    fetcher_move(p, FETCHER_DELAYED);
}

void fetcher_sent(struct fetcher *f)
{
    struct fetcher_partition *p;

    f->in_flight = true;
    f->forgotten_count = 0;
    DL_FOREACH(f->lists[FETCHER_CHANGED], p)
    {
        p->state = FETCHER_TOLD;
        p->in_session = true;
        p->held = false;
    }
    DL_CONCAT(f->lists[FETCHER_TOLD], f->lists[FETCHER_CHANGED]);
    f->lists[FETCHER_CHANGED] = NULL;
}

void fetcher_failed(struct fetcher *f, int64_t now_ms)
{
    f->in_flight = false;
    f->failures++;
    f->retry_ms = now_ms + backoff_ms(f, f->failures);
    session_restart(f);
}

bool fetcher_answered(struct fetcher *f, enum kerr code, int32_t session_id, int64_t now_ms)
{
    CHECK(f->in_flight);
    if (code || (f->session_epoch > 0 && session_id != f->session_id)) {
        fetcher_failed(f, now_ms);
        if (code == KERR_FETCH_SESSION_ID_NOT_FOUND)
            f->session_id = 0;
        return false;
    }
    f->in_flight = false;
    f->failures = 0;
    f->session_id = session_id;
    if (session_id == 0)
        f->session_epoch = 0;
    else
        f->session_epoch = f->session_epoch == INT32_MAX ? 1 : f->session_epoch + 1;
    return true;
}

void fetcher_restart(struct fetcher *f)
{
    f->in_flight = false;
    f->failures = 0;
    f->retry_ms = 0;
    session_restart(f);
}

/* ---- answers ---- */

static bool epoch_is_over(enum kerr code)
{
    return code == KERR_FENCED_LEADER_EPOCH;
}

enum fetcher_verdict fetcher_partition_answered(struct fetcher_partition *p, enum kerr code,
                                                bool diverging, int64_t now_ms)
{
    if (p->state != FETCHER_TOLD)
        return FETCHER_IGNORE;
    if (epoch_is_over(code)) {
        fetcher_move(p, FETCHER_PARKED);
        return FETCHER_REFUSED;
    }
    if (code == KERR_OFFSET_OUT_OF_RANGE) {
        fetcher_move(p, FETCHER_ASKING);
        return FETCHER_ASK;
    }
    if (code) {
        fetcher_delay(p, now_ms);
        return FETCHER_REFUSED;
    }
    if (diverging) {
        fetcher_move(p, FETCHER_TRUNCATING);
        return FETCHER_TRUNCATE;
    }
    return FETCHER_TAKE;
}

static bool position_equal(const struct fetcher_position *a, const struct fetcher_position *b)
{
    return a->last_epoch == b->last_epoch && a->end_offset == b->end_offset &&
           a->start_offset == b->start_offset;
}

void fetcher_appended(struct fetcher_partition *p, const struct fetcher_position *at, bool flushed)
{
    CHECK(p->state == FETCHER_TOLD);
    p->failures = 0;
    if (position_equal(&p->at, at))
        return;
    p->at = *at;
    fetcher_move(p, flushed ? FETCHER_CHANGED : FETCHER_FLUSHING);
}

void fetcher_flushed(struct fetcher_partition *p)
{
    if (p->state == FETCHER_FLUSHING)
        fetcher_move(p, FETCHER_CHANGED);
}

void fetcher_cut_first(struct fetcher_partition *p)
{
    fetcher_move(p, FETCHER_TRUNCATING);
}

void fetcher_truncated(struct fetcher_partition *p, const struct fetcher_position *at, bool flushed,
                       int64_t now_ms)
{
    CHECK(p->state == FETCHER_TRUNCATING || p->state == FETCHER_ASKING);
    if (position_equal(&p->at, at)) {
        fetcher_delay(p, now_ms);
        return;
    }
    p->at = *at;
    fetcher_move(p, flushed ? FETCHER_CHANGED : FETCHER_FLUSHING);
}

void fetcher_delay(struct fetcher_partition *p, int64_t now_ms)
{
    p->failures++;
    p->retry_ms = now_ms + backoff_ms(p->fetcher, p->failures);
    fetcher_move(p, FETCHER_DELAYED);
}

/* ---- where to cut ---- */

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int64_t fetcher_truncation(const struct fetcher_divergence *d)
{
    if (d->leader_epoch < 0 || d->leader_end_offset < 0)
        return -1;
    if (d->own_epoch < 0) /* we know no epoch as old as that */
        return least(d->leader_end_offset, d->own_end_offset);
    if (d->own_epoch != d->leader_epoch) /* the leader never had what follows the end of ours */
        return least(d->own_epoch_end, d->own_end_offset);
    return least(least(d->own_epoch_end, d->leader_end_offset), d->own_end_offset);
}

struct fetcher_cut fetcher_out_of_range(const struct fetcher_range *r)
{
    if (r->leader_end_offset < r->own_end_offset)
        return (struct fetcher_cut){.offset = r->leader_end_offset};
    if (r->leader_start_offset >= r->own_end_offset)
        return (struct fetcher_cut){.fully = true, .offset = r->leader_start_offset};
    return (struct fetcher_cut){.offset = r->own_end_offset};
}
