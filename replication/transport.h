#ifndef REPLICATION_TRANSPORT_H
#define REPLICATION_TRANSPORT_H

/* A request to another node: body bytes out, body bytes or a failure back. Headers, correlation
 * ids, connections, TLS, ApiVersions and retries of the connection are the implementation's. A
 * request to our own node id is delivered by the same path, without a socket. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/span.h"
#include "protocol/base/status.h"

struct transport;

/* Where a node listens. Borrowed for the call. */
struct transport_node {
    int32_t id;
    struct str host;
    uint16_t port;
};

/* Embedded in its owner, who keeps it alive until answered() ran or transport_cancel returned. */
struct transport_request {
    void *link; /* the transport's */
    /* Runs once, on the loop that sent it, never from within transport_send. body: the answer
     * without its header; borrowed for the call; NULL data when failed. A failure is
     * NETWORK_EXCEPTION (refused, closed; sys_errno says which), REQUEST_TIMED_OUT,
     * UNSUPPORTED_VERSION (the node does not speak api_version) or an authentication error. The
     * node may have acted on the request all the same. */
    void (*answered)(struct transport_request *r, struct status result, struct bytes body);
    int16_t api_key;
    int16_t api_version;
    bool patient; /* one of any number, that the node may take long to answer: others do not wait
                   * for it */
};

struct transport_ops {
    /* body: encoded request without its header. Owned by the transport from here on (it calls
     * free). */
    void (*send)(struct transport *t, const struct transport_node *node,
                 struct transport_request *r, struct bytes_mut body, int64_t timeout_us);
    /* Forgets a request: answered() will not run any more. */
    void (*cancel)(struct transport *t, struct transport_request *r);
};

struct transport {
    const struct transport_ops *ops;
};

static inline void transport_send(struct transport *t, const struct transport_node *node,
                                  struct transport_request *r, struct bytes_mut body,
                                  int64_t timeout_us)
{
    t->ops->send(t, node, r, body, timeout_us);
}

static inline void transport_cancel(struct transport *t, struct transport_request *r)
{
    t->ops->cancel(t, r);
}

#endif
