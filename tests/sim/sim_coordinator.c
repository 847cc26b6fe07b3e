#include "tests/sim/sim_coordinator.h"

#include "broker/internal_topics.h"
#include "replication/metadata_image.h"
#include "tests/sim/sim_world.h"

int32_t sim_coordinator_epoch(const struct sim_world *w, struct str group, int32_t node_id)
{
    const struct metadata_topic *topic = NULL;
    const struct sim_partition_seen *p = NULL;

    for (unsigned i = 0; !topic && i < w->machine_count; i++) {
        const struct metadata_image *image = sim_quorum_image(&w->machines[i]);

        topic = image ? metadata_image_topic(image, TOPIC_CONSUMER_OFFSETS) : NULL;
    }
    if (topic)
        p = sim_quorum_partition(&w->quorum, topic->id,
                                 internal_topic_partition_of(group, topic->partition_count));
    return p && p->leader == node_id ? p->leader_epoch : -1;
}
