#ifndef PROTOCOL_FRAME_H
#define PROTOCOL_FRAME_H

/* A frame on a connection: 4 bytes of length, a request or response header, the message. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/api.h"
#include "protocol/reader.h"
#include "protocol/writer.h"

#define FRAME_LENGTH_BYTES 4

/* What follows the length of a request, whatever its header's version. */
struct request_head {
    int16_t api_key;
    int16_t api_version;
    int32_t correlation_id;
    struct str client_id; /* null, or points into the frame */
};

/* The length a frame announces, which counts what comes after these 4 bytes. It may be anything. */
int32_t frame_length(const uint8_t bytes[FRAME_LENGTH_BYTES]);

/* Reads the header of a request; r is then at the message.
 *
 * UNSUPPORTED_VERSION  The key does not exist, so its header cannot be told. Key, version and
 *                      correlation id are in *out.
 * INVALID_REQUEST      Malformed.
 *
 * A version that the API does not have is no failure: ApiVersions answers those. */
bool frame_read_request_head(struct reader *r, struct request_head *out);

/* Reads the header of the response to a request of that API and version. */
bool frame_read_response_head(struct reader *r, const struct api *api, int16_t version,
                              int32_t *correlation_id);

/* Where a frame being written starts. */
struct frame_start {
    size_t at;            /* of its length in the writer */
    size_t spliced_bytes; /* the writer's, at the start */
};

/* Starts a frame: leaves room for the length and writes the header. The message follows, then
 * frame_end, which fills in the length, spliced bytes included. */
struct frame_start frame_begin_request(struct writer *w, const struct api *api,
                                       const struct request_head *head);
struct frame_start frame_begin_response(struct writer *w, const struct api *api, int16_t version,
                                        int32_t correlation_id);

/* False when writing failed anywhere in between, or the frame is too long for its length
 * (MESSAGE_TOO_LARGE): the writer's content is then of no use. */
bool frame_end(struct writer *w, struct frame_start start);

#endif
