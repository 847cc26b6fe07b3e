#ifndef BROKER_REQUEST_H
#define BROKER_REQUEST_H

/* One request from its frame to its answer.
 *
 * It lives on the shard of its connection (its home). A handler may lend it to other threads part
 * by part, and answers at home, once, by one of request_answer, request_answer_nothing,
 * request_refuse. After that the request is gone for the handler. A connection that closes
 * meanwhile only detaches itself: the answer is then thrown away.
 *
 * Nothing here knows sockets: the simulator and the tests hand frames to request_dispatch too. */

#include <stdbool.h>
#include <stdint.h>

#include "broker/frames.h"
#include "protocol/api.h"
#include "protocol/base/arena.h"
#include "protocol/base/span.h"
#include "protocol/reader.h"
#include "protocol/writer.h"

struct shard;
struct api_handler;
struct request;

/* Why a request whose arena is spent is refused. */
#define REQUEST_OVER_BUDGET "request larger than its memory budget"

/* An answer on its way out: the encoded frame, with places where file bytes go in between. */
struct response {
    struct writer writer; /* owns the bytes and the splice list; frame length prefix included */
    /* Frees what the splices point at, once all is sent or dropped; on the home shard. May be
     * NULL. */
    void (*release)(void *owner);
    void *owner;
};

void response_free(struct response *r);

/* Bytes that go over the wire. */
static inline size_t response_size(const struct response *r)
{
    return r->writer.size + r->writer.spliced_bytes;
}

/* Who asked, and where answers go. Embedded in a connection. */
struct client {
    /* The request is answered (rq->response filled unless rq->answered_nothing) or refused
     * (rq->refusal says why: the connection is to be closed). Called on the home shard, maybe
     * within request_dispatch. The client frees it, when its turn comes, with request_free. */
    void (*answered)(struct client *c, struct request *rq);
    struct shard *shard;
    struct str listener;            /* name of the listener it came in by */
    char host[64];                  /* peer address, for log lines and group members */
    enum api_listener api_listener; /* which APIs it may call */
    bool is_node;                   /* it fetches metadata or beats: another node, */
    int32_t node_id;                /* by its own word */
};

/* The client is another node. */
void client_is_node(struct client *c, int32_t node_id); /* c may be NULL: gone already */

/* The connection of c broke off: a hint of its node's end. On the home shard, once. */
void client_lost(const struct client *c);

struct request {
    struct request *next;  /* the client's */
    struct client *client; /* NULL: it closed, throw the answer away; may come true whenever a
                            * handler waits */
    struct str listener;   /* by which it came; these two outlive the client */
    enum api_listener api_listener;
    struct shard *shard;   /* home */
    struct frame *frame;   /* owned */
    struct frames *frames; /* of its shard: takes the frame back. NULL: free() does */
    const struct api_handler *handler;
    int16_t api_key;
    int16_t version;
    int32_t correlation_id;
    struct str client_id; /* in the frame; may be null */
    struct arena arena;
    struct arena *part_arenas; /* of those who build parts of the answer at the same time; NULL:
                                * none */
    size_t part_arena_count;
    void *message; /* the decoded request struct, in the arena */
    int64_t received_us;
    size_t charged_bytes; /* of the node's budget, given back by request_free */
    struct response response;
    /* Ends a wait that only its client had a use for; set while there is one. May answer at
     * once. */
    void (*hurry)(void *arg);
    void *hurry_arg;
    const char *refusal; /* static text: the connection is closed with it as the logged reason */
    bool answered;
    bool answered_nothing;
    bool not_controller;   /* it came to a controller that is not the active one, or not any more */
    bool answer_version_0; /* an ApiVersions of a version we do not know */
};

/* Takes over frame (malloc'd). Reads the header, finds the handler, decodes, calls it. Every way a
 * frame can be wrong ends in a refusal. `rq` may be gone when this returns. */
void request_dispatch(struct request *rq);

/* A request of a client, with its frame taken over. NULL: out of memory, the frame is freed. */
struct request *request_create(struct client *client, struct frame *frame);

/* Key of the API in a frame, -1 when it is too short to say. */
int16_t frame_api_key(const struct frame *f);

void request_free(struct request *rq);

/* The client of a request that is under way is gone: the answer is thrown away when it comes, and
 * does not wait for more than it has to. rq may be gone when this returns. */
void request_abandon(struct request *rq);

/* Gives the request `count` arenas that share what its own may still take, for as many threads that
 * build parts of its answer. Once. False: the arena is spent. */
bool request_split_arena(struct request *rq, size_t count);

/* Encodes message (the generated response struct of this API) and hands it to the client. Splices
 * need rq->response.release set by then. */
void request_answer(struct request *rq, const void *message);

/* The same with an answer that is encoded already: response header and body, without the length
 * prefix. Copied. */
void request_answer_bytes(struct request *rq, struct bytes answer);

/* acks=0: no bytes go back. */
void request_answer_nothing(struct request *rq);

/* Closes the connection; reason is static text for the log line. */
void request_refuse(struct request *rq, const char *reason);

#endif
