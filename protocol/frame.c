#include "protocol/frame.h"

int32_t frame_length(const uint8_t bytes[FRAME_LENGTH_BYTES])
{
    return (int32_t)load_be32(bytes);
}

bool frame_read_request_head(struct reader *r, struct request_head *out)
{
    const struct api *api;

    *out = (struct request_head){.client_id = STR_NULL};
    out->api_key = read_int16(r);
    out->api_version = read_int16(r);
    out->correlation_id = read_int32(r);
    if (!reader_ok(r))
        return false;
    api = api_find(out->api_key);
    if (!api)
        return reader_fail(r, KERR_UNSUPPORTED_VERSION);
    /* Not compact in version 2 either: the client id was kept where old brokers look for it. */
    out->client_id = read_string(r, WIRE_NULLABLE);
    if (api_request_header_version(api, out->api_version) >= 2)
        read_skip_tagged_fields(r);
    return reader_ok(r);
}

bool frame_read_response_head(struct reader *r, const struct api *api, int16_t version,
                              int32_t *correlation_id)
{
    *correlation_id = read_int32(r);
    if (api_response_header_version(api, version) >= 1)
        read_skip_tagged_fields(r);
    return reader_ok(r);
}

static struct frame_start frame_begin(struct writer *w)
{
    struct frame_start start = {w->size, w->spliced_bytes};

    write_int32(w, 0);
    return start;
}

struct frame_start frame_begin_request(struct writer *w, const struct api *api,
                                       const struct request_head *head)
{
    struct frame_start start = frame_begin(w);

    write_int16(w, head->api_key);
    write_int16(w, head->api_version);
    write_int32(w, head->correlation_id);
    write_string(w, WIRE_NULLABLE, head->client_id);
    if (api_request_header_version(api, head->api_version) >= 2)
        write_unsigned_varint(w, 0);
    return start;
}

struct frame_start frame_begin_response(struct writer *w, const struct api *api, int16_t version,
                                        int32_t correlation_id)
{
    struct frame_start start = frame_begin(w);

    write_int32(w, correlation_id);
    if (api_response_header_version(api, version) >= 1)
        write_unsigned_varint(w, 0);
    return start;
}

bool frame_end(struct writer *w, struct frame_start start)
{
    size_t length;

    if (!writer_ok(w))
        return false;
    length = w->size - start.at - FRAME_LENGTH_BYTES + w->spliced_bytes - start.spliced_bytes;
    if (length > INT32_MAX)
        return writer_fail(w, KERR_MESSAGE_TOO_LARGE);
    store_be32(w->data + start.at, (uint32_t)length);
    return true;
}
