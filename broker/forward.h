#ifndef BROKER_FORWARD_H
#define BROKER_FORWARD_H

/* A client's request that only the active controller can answer, sent on to it in an Envelope
 * (KIP-590). While nobody leads the quorum, or its leader moves, it is tried again until its time
 * is over; the new leader is asked as soon as it is known, without waiting for the old one's
 * answer. */

#include "broker/request.h"
#include "replication/transport.h"
#include "storage/executor.h"

struct node;

#define FORWARD_ADDRESS_BYTES_MAX 16 /* IPv6 */

/* One request on its way. In the arena of rq. */
struct forward {
    struct task task;
    struct forward *prev, *next; /* of the node's; control loop */
    struct request *rq;
    struct bytes frame; /* the request with its header, without length prefix; lives as long as
                         * rq */
    int64_t time_us;    /* how long it may take */
    /* At home. answer NULL: there is none, because the controller is this node by now, or none was
     * found in time. */
    void (*finished)(struct forward *f);
    struct bytes_mut answer; /* malloc'd, finished() frees it: response header and body */
    /* its own */
    uint8_t client_address[FORWARD_ADDRESS_BYTES_MAX];
    size_t client_address_bytes;
    struct transport_request request;
    struct timer retry;
    int64_t give_up_us;
    bool asking;
};

/* Whether requests for the controller are to be forwarded from here: it is another node, or nobody.
 * Any thread. */
bool forward_needed(const struct node *n);
/* The caller fills rq, frame, time_us and finished. At home. */
void forward_send(struct forward *f);
/* A whole request of a client: sent on, and its answer given to the client as it comes; handled
 * here when no controller was found, which says so in its own words. */
void forward_request(struct request *rq);
/* The controller is another node now, or known at all. Control loop. */
void forward_controller_changed(struct node *n);
/* Nothing is tried any more: all under way go home. Control loop. */
void forward_stop(struct node *n);

#endif
