#include "replication/isr_core.h"

#include <stdlib.h>

#include "protocol/base/check.h"

static void isr_check(const struct isr *s)
{
    bool leader_in_isr = false;

    CHECK(s->min_isr >= 1);
    for (size_t i = 0; i < s->replica_count; i++) {
        const struct isr_replica *r = &s->replicas[i];

        if (r->in_isr)
            CHECK(r->in_maximal_isr);
        if (r->id == s->self_id) {
            leader_in_isr = r->in_isr;
            CHECK(r->flushed_end_offset < 0 || s->high_watermark <= r->flushed_end_offset);
        }
    }
    CHECK(leader_in_isr);
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

static bool contains(const int32_t *ids, size_t count, int32_t id)
{
    for (size_t i = 0; i < count; i++)
        if (ids[i] == id)
            return true;
    return false;
}

bool isr_init(struct isr *s, const struct isr_membership *m, int64_t high_watermark)
{
    *s = (struct isr){.high_watermark = high_watermark};
    return isr_set_membership(s, m);
}

void isr_free(struct isr *s)
{
    free(s->replicas);
    *s = (struct isr){0};
}

bool isr_set_membership(struct isr *s, const struct isr_membership *m)
{
    struct isr_replica *replicas = calloc(m->replica_count ? m->replica_count : 1, sizeof *replicas);

    if (!replicas)
        return false;
    for (size_t i = 0; i < m->replica_count; i++) {
        const struct isr_replica *known = isr_find(s, m->replicas[i]);
        bool in_isr = contains(m->isr, m->isr_count, m->replicas[i]);

        replicas[i] = (struct isr_replica){
            .id = m->replicas[i],
            .in_isr = in_isr,
            .in_maximal_isr = in_isr,
            .flushed_end_offset = known ? known->flushed_end_offset : -1,
        };
    }
    free(s->replicas);
    s->replicas = replicas;
    s->replica_count = m->replica_count;
    s->self_id = m->self_id;
    s->min_isr = m->min_insync_replicas;
    if ((size_t)s->min_isr > m->replica_count)
        s->min_isr = (int32_t)m->replica_count;
    isr_check(s);
    return true;
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

static bool isr_advance_high_watermark(struct isr *s)
{
    int64_t lowest = INT64_MAX;

    if (!isr_enough(s)) /* KIP-966: below the minimum the watermark waits */
        return false;
    for (size_t i = 0; i < s->replica_count; i++)
        if (s->replicas[i].in_maximal_isr && s->replicas[i].flushed_end_offset < lowest)
            lowest = s->replicas[i].flushed_end_offset;
    if (lowest == INT64_MAX || lowest <= s->high_watermark) /* never backwards */
        return false;
    s->high_watermark = lowest;
    return true;
}

bool isr_flushed(struct isr *s, int32_t replica_id, int64_t end)
{
    struct isr_replica *r = isr_find(s, replica_id);
    bool moved;

    if (!r || end < r->flushed_end_offset)
        return false;
    r->flushed_end_offset = end;
    moved = isr_advance_high_watermark(s);
    isr_check(s);
    return moved;
}
