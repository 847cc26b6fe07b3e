/* Subscriptions and assignments as classic consumers put them into bytes: group_embedded.h. */

#include "broker/coordinator/group_embedded.h"

#include <stdlib.h>

enum { PROTOCOL_VERSION_MAX = 3 };

/* Begins reading; -1: no version that could be read. Newer ones are read as the newest known, as
 * Kafka does. */
static int16_t embedded_version(struct reader *r, struct bytes b)
{
    int16_t version;

    *r = reader_of(b.data, b.size);
    version = read_int16(r);
    if (!reader_ok(r) || version < 0)
        return -1;
    return version < PROTOCOL_VERSION_MAX ? version : PROTOCOL_VERSION_MAX;
}

bool embedded_subscription(struct group_core *c, struct bytes metadata,
                           struct consumer_protocol_subscription *out)
{
    struct reader r;
    int16_t version = embedded_version(&r, metadata);

    return version >= 0 && consumer_protocol_subscription_decode(out, &r, &c->fx->arena, version);
}

bool embedded_assignment(struct group_core *c, struct bytes assignment,
                         struct consumer_protocol_assignment *out)
{
    struct reader r;
    int16_t version;

    consumer_protocol_assignment_init(out);
    if (!assignment.size)
        return true;
    version = embedded_version(&r, assignment);
    return version >= 0 && consumer_protocol_assignment_decode(out, &r, &c->fx->arena, version);
}

struct bytes embedded_write_assignment(struct group_core *c, const struct held_set *s,
                                       struct bytes metadata)
{
    struct consumer_protocol_assignment a;
    struct reader r;
    int16_t version = embedded_version(&r, metadata);
    int32_t *partitions = group_fx_array(c, s->count, sizeof *partitions);
    struct bytes_mut bytes;
    struct bytes copy;
    struct writer w;

    consumer_protocol_assignment_init(&a);
    a.assigned_partitions = group_fx_array(c, s->count, sizeof *a.assigned_partitions);
    if (!partitions || !a.assigned_partitions)
        return (struct bytes){(const uint8_t *)"", 0};
    for (size_t i = 0; i < s->count;) {
        const struct metadata_topic *topic =
            metadata_image_topic_by_id(c->image, s->items[i].topic);
        size_t end = i;

        for (; end < s->count && uuid_equal(s->items[end].topic, s->items[i].topic); end++)
            partitions[end] = s->items[end].partition;
        if (topic)
            a.assigned_partitions[a.assigned_partitions_count++] =
                (struct consumer_protocol_assignment_topic_partition){.topic = topic->name,
                                                                      .partitions = partitions + i,
                                                                      .partitions_count = end - i};
        i = end;
    }
    writer_init(&w, SIZE_MAX);
    write_int16(&w, version < 0 ? 0 : version);
    consumer_protocol_assignment_encode(&a, &w, version < 0 ? 0 : version);
    if (!writer_ok(&w))
        group_fail(c);
    bytes = writer_take(&w);
    copy = group_fx_bytes(c, (struct bytes){bytes.data, bytes.size});
    free(bytes.data);
    return copy;
}

bool embedded_assigned_set(struct group_core *c, const struct consumer_protocol_assignment *a,
                           int32_t epoch, struct held_set *out)
{
    size_t total = 0;

    for (size_t t = 0; t < a->assigned_partitions_count; t++)
        total += a->assigned_partitions[t].partitions_count;
    if (!held_room(c, out, total))
        return false;
    for (size_t t = 0; t < a->assigned_partitions_count; t++) {
        const struct metadata_topic *topic =
            metadata_image_topic(c->image, a->assigned_partitions[t].topic);

        for (size_t p = 0; topic && p < a->assigned_partitions[t].partitions_count; p++)
            if (metadata_topic_partition(topic, a->assigned_partitions[t].partitions[p]))
                out->items[out->count++] =
                    (struct held){topic->id, a->assigned_partitions[t].partitions[p], epoch};
    }
    held_sort(out);
    return true;
}

bool embedded_owned_set(struct group_core *c, const struct consumer_protocol_subscription *s,
                        struct held_set *out)
{
    size_t total = 0;

    for (size_t t = 0; t < s->owned_partitions_count; t++)
        total += s->owned_partitions[t].partitions_count;
    if (!held_room(c, out, total))
        return false;
    for (size_t t = 0; t < s->owned_partitions_count; t++) {
        const struct metadata_topic *topic =
            metadata_image_topic(c->image, s->owned_partitions[t].topic);

        for (size_t p = 0; topic && p < s->owned_partitions[t].partitions_count; p++)
            out->items[out->count++] =
                (struct held){topic->id, s->owned_partitions[t].partitions[p], 0};
    }
    held_sort(out);
    return true;
}
