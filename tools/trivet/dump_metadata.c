/* Records of the metadata log, and control records, as JSON. */

#include <string.h>

#include "protocol/varint.h"
#include "tools/trivet/dump.h"

json_t *dump_metadata_record(struct bytes value)
{
    const uint8_t *p = value.data;
    const uint8_t *end = p + value.size;
    uint32_t frame_version;
    uint32_t type;
    uint32_t version;

    if (!p)
        return NULL;
    p = varint_read_u32(p, end, &frame_version);
    if (p)
        p = varint_read_u32(p, end, &type);
    if (p)
        p = varint_read_u32(p, end, &version);
    if (!p || frame_version != 1)
        return NULL;
    return json_pack("{sIsIso}", "type", (json_int_t)type, "version", (json_int_t)version, "data",
                     dump_bytes((struct bytes){p, (size_t)(end - p)}));
}

void dump_control_record(json_t *line, const struct record *r)
{
    int type = control_record_type(r);

    if ((type == CONTROL_ABORT || type == CONTROL_COMMIT) && r->value.size >= 6) {
        json_object_set_new(line, "endTxnMarker",
                            json_string(type == CONTROL_COMMIT ? "COMMIT" : "ABORT"));
        json_object_set_new(line, "coordinatorEpoch",
                            json_integer((int32_t)load_be32(r->value.data + 2)));
        return;
    }
    json_object_set_new(line, "controlType", json_integer(type));
}
