#include "broker/handlers/leaders_told.h"

#include "broker/request.h"
#include "broker/shard.h"

static bool is_told(const struct leaders_told *l, const struct metadata_broker *broker)
{
    for (size_t i = 0; i < l->count; i++)
        if (l->all[i].broker == broker)
            return true;
    return false;
}

void leaders_told_add(struct leaders_told *l, struct request *rq, const struct leaders_of *of)
{
    const struct metadata_image *img = rq->shard->image;
    const struct metadata_partition *p =
        metadata_topic_partition(metadata_image_topic_by_id(img, of->topic_id), of->index);
    const struct metadata_listener *listener;
    const struct metadata_broker *broker;

    if (*of->leader_id < 0 && p) {
        *of->leader_id = p->leader;
        *of->leader_epoch = p->leader_epoch;
    }
    broker = metadata_image_broker(img, *of->leader_id);
    listener = broker ? metadata_broker_listener(broker, rq->listener) : NULL;
    if (!listener || is_told(l, broker))
        return;
    if (!l->all)
        l->all = arena_array(&rq->arena, struct leader_told, metadata_image_broker_count(img));
    if (l->all)
        l->all[l->count++] = (struct leader_told){broker, listener};
}
