#ifndef BROKER_PEER_TRANSPORT_H
#define BROKER_PEER_TRANSPORT_H

/* Requests to other nodes over sockets (replication/transport.h): one of these a loop.
 *
 *   link:  resolving -> connecting -> greeting (ApiVersions) -> idle <-> busy -> closed, on any
 *          failure
 *
 * A link carries one request at a time, so that a fetch that waits for half a second holds up no
 * vote: a request takes an idle link of its node, or opens another one, or waits its turn when the
 * node has PEER_LINKS_MAX. Patient requests have no more than PEER_PATIENT_LINKS_MAX of them at a
 * time, so that the others find one. The link of a request that was cancelled is closed when
 * another one is opened: links do not become more by that. What a node speaks is asked once and
 * known as long as it has a link. A name with several addresses is tried at one after the other,
 * and looked up anew for each link; sys_errno is ECONNREFUSED when all refused. A request that runs
 * out of time closes its link, for its answer could still come. Idle links are closed after
 * PEER_IDLE_US, and those whose peer's kernel has not been heard of for four seconds.
 *
 * Runs on its loop. */

#include <stddef.h>

#include "protocol/base/logger.h"
#include "replication/transport.h"
#include "storage/executor.h"

struct event_base;
struct peer_transport;

#define PEER_LINKS_MAX         16 /* to one node */
#define PEER_PATIENT_LINKS_MAX 8
#define PEER_IDLE_US           (60 * 1000 * 1000)
/* then it is tried again: a lost SYN is sent ever more rarely */
#define PEER_CONNECT_US (2 * 1000 * 1000)
/* while the node has another address: nodes of one cluster are nearer than that, and the last
 * address has to be reached before the request's time is up */
#define PEER_NEXT_ADDRESS_US (250 * 1000)

struct peer_transport_args {
    struct event_base *events;
    struct loop *loop;
    struct logger *logger;    /* may be NULL */
    struct str client_id;     /* borrowed; how we name ourselves to peers */
    int32_t answer_bytes_max; /* a longer answer closes the link */
    const char *hosts_path;   /* of peer_names.h; borrowed */
};

/* NULL: out of memory. */
struct peer_transport *peer_transport_create(const struct peer_transport_args *args);
struct transport *peer_transport_base(struct peer_transport *t);
/* When the loop has ended, its last tasks too. Requests under way are forgotten. */
void peer_transport_free(struct peer_transport *t); /* NULL is fine */

#endif
