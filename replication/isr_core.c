#include "replication/isr_core.h"

#include <stdlib.h>

#include "protocol/base/check.h"

static void isr_check(const struct isr *s)
{
    CHECK(s->min_isr >= 1);
    for (size_t i = 0; i < s->replica_count; i++) {
        const struct isr_replica *r = &s->replicas[i];

        if (r->id == s->self_id)
            CHECK(r->flushed_end_offset < 0 || s->high_watermark <= r->flushed_end_offset);
        if (r->in_isr)
            CHECK(r->in_maximal_isr);
        else
            CHECK(!r->in_maximal_isr || s->proposed);
    }
}

static struct isr_replica *isr_find(const struct isr *s, int32_t id)
{
    for (size_t i = 0; i < s->replica_count; i++)
        if (s->replicas[i].id == id)
            return &s->replicas[i];
    return NULL;
}

bool isr_has_replica(const struct isr *s, int32_t replica_id)
{
    return isr_find(s, replica_id) != NULL;
}

bool isr_contains(const struct isr *s, int32_t replica_id)
{
    const struct isr_replica *r = isr_find(s, replica_id);

    return r && r->in_isr;
}

size_t isr_size(const struct isr *s)
{
    size_t count = 0;

    for (size_t i = 0; i < s->replica_count; i++)
        count += s->replicas[i].in_isr;
    return count;
}

bool isr_enough(const struct isr *s)
{
    return isr_size(s) >= (size_t)s->min_isr;
}

int64_t isr_low_watermark(const struct isr *s, int64_t own_start,
                          bool (*alive)(void *arg, int32_t id), void *arg)
{
    int64_t lowest = own_start;

    for (size_t i = 0; i < s->replica_count; i++) {
        const struct isr_replica *r = &s->replicas[i];

        if (r->id != s->self_id && r->log_start_offset < lowest && alive(arg, r->id))
            lowest = r->log_start_offset;
    }
    return lowest;
}

static bool contains(const int32_t *ids, size_t count, int32_t id)
{
    for (size_t i = 0; i < count; i++)
        if (ids[i] == id)
            return true;
    return false;
}

/* ---- the high watermark ---- */

static bool counts(const struct isr *s, const struct isr_replica *r, int64_t now_ms)
{
    return r->in_maximal_isr || r->id == s->self_id || r->hold_until_ms > now_ms;
}

static void advance_high_watermark(struct isr *s, int64_t now_ms, struct isr_effects *fx)
{
    int64_t lowest = INT64_MAX;

    if (!isr_enough(s)) /* KIP-966: below the minimum the watermark waits */
        return;
    for (size_t i = 0; i < s->replica_count; i++)
        if (counts(s, &s->replicas[i], now_ms) && s->replicas[i].flushed_end_offset < lowest)
            lowest = s->replicas[i].flushed_end_offset;
    if (lowest == INT64_MAX || lowest <= s->high_watermark) /* never backwards */
        return;
    s->high_watermark = lowest;
    fx->high_watermark_moved = true;
}

/* ---- proposals ---- */

static bool has_all(const struct isr *s, const struct isr_replica *r)
{
    return r->flushed_end_offset >= s->high_watermark &&
           r->flushed_end_offset >= s->epoch_start_offset;
}

static bool may_join(const struct isr *s, const struct isr_replica *r, int64_t now_ms)
{
    return !r->in_isr && r->id != s->self_id && r->eligible && r->leader_end_offset >= 0 &&
           now_ms - r->fetched_ms <= ISR_FRESH_MS && has_all(s, r);
}

static bool fell_behind(const struct isr *s, const struct isr_replica *r, int64_t leader_end_offset,
                        int64_t now_ms)
{
    return r->in_isr && r->id != s->self_id && r->flushed_end_offset != leader_end_offset &&
           now_ms - r->caught_up_ms > s->lag_ms_max;
}

static int64_t latest(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static bool is_silent(const struct isr *s, const struct isr_replica *r, int64_t leader_end_offset,
                      int64_t now_ms)
{
    int64_t since_ms = latest(s->attentive_ms, latest(r->fetched_ms, r->joined_ms));
    int64_t limit_ms = now_ms - r->joined_ms < ISR_PATIENT_MS ? r->patience_ms : s->silence_ms_max;

    return r->in_isr && r->id != s->self_id && r->flushed_end_offset != leader_end_offset &&
           now_ms - since_ms >= latest(limit_ms, r->wait_ms + ISR_ROUND_MS);
}

/* Whoever may join is in the maximal ISR from here on: the controller may accept it before we hear
 * of it. */
static void maybe_expand(struct isr *s, int64_t now_ms, struct isr_effects *fx)
{
    if (s->proposed || now_ms < s->propose_from_ms)
        return;
    for (size_t i = 0; i < s->replica_count; i++) {
        struct isr_replica *r = &s->replicas[i];

        if (!may_join(s, r, now_ms))
            continue;
        r->in_maximal_isr = true;
        r->hold_until_ms = 0;
        s->proposed = fx->propose = true;
    }
    for (size_t i = 0; s->proposed && i < s->replica_count; i++)
        s->replicas[i].in_proposal = s->replicas[i].in_maximal_isr;
}

/* Who fell behind stays in the maximal ISR until the controller has taken it out. */
static void maybe_shrink(struct isr *s, int64_t leader_end_offset, int64_t now_ms,
                         struct isr_effects *fx)
{
    size_t left = 0;

    if (s->proposed || now_ms < s->propose_from_ms)
        return;
    for (size_t i = 0; i < s->replica_count; i++) {
        struct isr_replica *r = &s->replicas[i];

        r->in_proposal = r->in_isr && !fell_behind(s, r, leader_end_offset, now_ms);
        left += r->in_proposal && !is_silent(s, r, leader_end_offset, now_ms);
    }
    for (size_t i = 0; i < s->replica_count; i++) {
        struct isr_replica *r = &s->replicas[i];

        if (left >= (size_t)s->min_isr && is_silent(s, r, leader_end_offset, now_ms))
            r->in_proposal = false;
        fx->propose = fx->propose || (r->in_isr && !r->in_proposal);
    }
    s->proposed = fx->propose;
}

size_t isr_proposal(const struct isr *s, struct isr_proposed *out)
{
    size_t count = 0;

    CHECK(s->proposed);
    for (size_t i = 0; i < s->replica_count; i++)
        if (s->replicas[i].in_proposal || s->replicas[i].id == s->self_id)
            out[count++] = (struct isr_proposed){s->replicas[i].id, s->replicas[i].broker_epoch};
    return count;
}

/* Every event ends here. */
static void settle(struct isr *s, int64_t now_ms, struct isr_effects *fx)
{
    advance_high_watermark(s, now_ms, fx);
    maybe_expand(s, now_ms, fx);
    for (size_t i = 0; i < s->replica_count; i++)
        fx->tick_soon = fx->tick_soon || s->replicas[i].hold_until_ms > now_ms;
    isr_check(s);
}

/* ---- members ---- */

static struct isr_replica replica_of(const struct isr *s, int32_t id, bool in_isr, int64_t now_ms)
{
    const struct isr_replica *known = isr_find(s, id);
    struct isr_replica r = {.id = id,
                            .flushed_end_offset = -1,
                            .log_start_offset = -1,
                            .broker_epoch = -1,
                            .leader_end_offset = -1,
                            .caught_up_ms = now_ms,
                            .joined_ms = now_ms,
                            .patience_ms = s->silence_ms_max};

    if (known)
        r = *known;
    if (in_isr && !r.in_isr) {
        r.caught_up_ms = now_ms; /* it has as long as anybody to show it */
        r.joined_ms = now_ms;
    }
    if (!in_isr && r.in_isr)
        r.patience_ms =
            r.fetched_ms - r.joined_ms < ISR_SETTLE_MS ? 2 * r.patience_ms : s->silence_ms_max;
    r.in_isr = r.in_maximal_isr = in_isr;
    r.in_proposal = false;
    return r;
}

static bool set_members(struct isr *s, const struct isr_membership *m, int64_t now_ms)
{
    struct isr_replica *replicas =
        calloc(m->replica_count ? m->replica_count : 1, sizeof *replicas);

    if (!replicas)
        return false;
    for (size_t i = 0; i < m->replica_count; i++)
        replicas[i] =
            replica_of(s, m->replicas[i], contains(m->isr, m->isr_count, m->replicas[i]), now_ms);
    free(s->replicas);
    s->replicas = replicas;
    s->replica_count = m->replica_count;
    s->partition_epoch = m->partition_epoch;
    s->proposed = false;
    return true;
}

static void set_minimum(struct isr *s, int32_t min_insync_replicas)
{
    s->min_isr = min_insync_replicas;
    if ((size_t)s->min_isr > s->replica_count)
        s->min_isr = (int32_t)s->replica_count;
    if (s->min_isr < 1)
        s->min_isr = 1;
}

bool isr_init(struct isr *s, const struct isr_membership *m, const struct isr_start *at)
{
    *s = (struct isr){.self_id = m->self_id,
                      .high_watermark = at->high_watermark,
                      .epoch_start_offset = at->end_offset,
                      .lag_ms_max = at->lag_ms_max,
                      .silence_ms_max = at->silence_ms_max,
                      .ticked_ms = at->now_ms,
                      .attentive_ms = at->now_ms};
    if (!set_members(s, m, at->now_ms))
        return false;
    for (size_t i = 0; i < s->replica_count; i++)
        s->replicas[i].joined_ms -= ISR_PATIENT_MS; /* before our time: it is not this that makes
                                                     * them come and go */
    set_minimum(s, m->min_insync_replicas);
    isr_check(s);
    return true;
}

void isr_free(struct isr *s)
{
    free(s->replicas);
    *s = (struct isr){0};
}

bool isr_set_membership(struct isr *s, const struct isr_membership *m, int64_t now_ms,
                        struct isr_effects *fx)
{
    *fx = (struct isr_effects){0};
    /* The same epoch again says nothing new of the members, and an open proposal stays open. */
    if (m->partition_epoch > s->partition_epoch && !set_members(s, m, now_ms))
        return false;
    set_minimum(s, m->min_insync_replicas);
    settle(s, now_ms, fx);
    return true;
}

/* ---- events ---- */

void isr_flushed(struct isr *s, int64_t end, int64_t now_ms, struct isr_effects *fx)
{
    struct isr_replica *r = isr_find(s, s->self_id);

    *fx = (struct isr_effects){0};
    if (!r || end < r->flushed_end_offset)
        return;
    r->flushed_end_offset = end;
    settle(s, now_ms, fx);
}

/* Whether it has all that we had at its fetch before: it is no more than one fetch behind, however
 * much comes in. */
static bool keeps_up(const struct isr_replica *r, const struct isr_fetch *f)
{
    return r->leader_end_offset >= 0 && f->offset >= r->leader_end_offset;
}

void isr_fetched(struct isr *s, const struct isr_fetch *f, int64_t now_ms, struct isr_effects *fx)
{
    struct isr_replica *r = isr_find(s, f->replica_id);

    *fx = (struct isr_effects){0};
    if (!r || r->id == s->self_id)
        return;
    if (f->offset >= f->leader_end_offset)
        r->caught_up_ms = now_ms;
    else if (keeps_up(r, f) && r->fetched_ms > r->caught_up_ms)
        r->caught_up_ms = r->fetched_ms;
    r->hold_until_ms = !r->in_isr && f->eligible && keeps_up(r, f) ? now_ms + ISR_HOLD_MS : 0;
    r->eligible = f->eligible;
    r->flushed_end_offset = f->offset;
    r->log_start_offset = f->log_start_offset;
    r->broker_epoch = f->broker_epoch;
    r->wait_ms = f->wait_ms;
    r->fetched_ms = now_ms;
    if (f->leader_end_offset > r->leader_end_offset)
        r->leader_end_offset = f->leader_end_offset;
    settle(s, now_ms, fx);
}

void isr_note_eligible(struct isr *s, int32_t replica_id, bool eligible)
{
    struct isr_replica *r = isr_find(s, replica_id);

    if (!r)
        return;
    r->eligible = eligible;
    if (!eligible)
        r->hold_until_ms = 0;
}

void isr_set_eligible(struct isr *s, int32_t replica_id, bool eligible, int64_t now_ms,
                      struct isr_effects *fx)
{
    *fx = (struct isr_effects){0};
    isr_note_eligible(s, replica_id, eligible);
    settle(s, now_ms, fx);
}

void isr_tick(struct isr *s, int64_t leader_end_offset, int64_t now_ms, struct isr_effects *fx)
{
    *fx = (struct isr_effects){0};
    if (now_ms - s->ticked_ms >= ISR_AWAY_MS)
        s->attentive_ms = now_ms;
    s->ticked_ms = now_ms;
    settle(s, now_ms, fx);
    maybe_shrink(s, leader_end_offset, now_ms, fx);
    isr_check(s);
}

/* ---- answers ---- */

bool isr_answer_is_final(enum kerr code)
{
    switch (code) {
    case KERR_NONE:
    case KERR_INELIGIBLE_REPLICA:
    case KERR_OPERATION_NOT_ATTEMPTED:
    case KERR_UNKNOWN_TOPIC_OR_PARTITION:
    case KERR_UNKNOWN_TOPIC_ID:
    case KERR_FENCED_LEADER_EPOCH:
    case KERR_INVALID_UPDATE_VERSION:
    case KERR_INVALID_REQUEST:
    case KERR_NEW_LEADER_ELECTED:
        return true;
    default:
        return false;
    }
}

/* The controller knows our partition epoch and did not do it: no controller can have. */
static void withdraw(struct isr *s, int64_t now_ms)
{
    s->proposed = false;
    s->propose_from_ms = now_ms + ISR_RETRY_MS;
    for (size_t i = 0; i < s->replica_count; i++)
        s->replicas[i].in_maximal_isr = s->replicas[i].in_isr;
}

void isr_answered(struct isr *s, enum kerr code, int32_t sent_epoch, int64_t now_ms,
                  struct isr_effects *fx)
{
    *fx = (struct isr_effects){0};
    if (!s->proposed || sent_epoch != s->partition_epoch)
        return; /* the metadata was faster */
    if (code == KERR_INELIGIBLE_REPLICA || code == KERR_OPERATION_NOT_ATTEMPTED)
        withdraw(s, now_ms);
    settle(s, now_ms, fx);
}
