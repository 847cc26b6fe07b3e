#include "broker/closest_replica.h"

#include "replication/isr_core.h"

static bool in_rack(const struct metadata_broker *b, struct str rack)
{
    return b && b->rack.data && str_equal(b->rack, rack);
}

static bool serves(const struct shard *s, const struct isr_replica *r, int64_t offset,
                   struct str rack, struct str listener)
{
    const struct metadata_broker *b = metadata_image_broker(s->image, r->id);

    return r->in_isr && r->log_start_offset >= 0 && r->log_start_offset <= offset &&
           r->flushed_end_offset >= offset && in_rack(b, rack) && !b->fenced &&
           metadata_broker_listener(b, listener);
}

/* Further on; of two equally far ones who was there later; else the larger id, so that all
 * consumers get one. */
static bool better(const struct isr_replica *a, const struct isr_replica *b)
{
    if (a->flushed_end_offset != b->flushed_end_offset)
        return a->flushed_end_offset > b->flushed_end_offset;
    if (a->caught_up_ms != b->caught_up_ms)
        return a->caught_up_ms > b->caught_up_ms;
    return a->id > b->id;
}

int32_t closest_replica(const struct shard *s, const struct partition *p, int64_t offset,
                        struct str rack, struct str listener)
{
    const struct isr_replica *best = NULL;
    int32_t self = s->node->options->node_id;

    if (rack.size == 0 || in_rack(metadata_image_broker(s->image, self), rack))
        return -1;
    for (size_t i = 0; i < p->isr.replica_count; i++) {
        const struct isr_replica *r = &p->isr.replicas[i];

        if (r->id != self && serves(s, r, offset, rack, listener) && (!best || better(r, best)))
            best = r;
    }
    return best ? best->id : -1;
}
