#ifndef BROKER_SELF_TRANSPORT_H
#define BROKER_SELF_TRANSPORT_H

/* Requests to any node by one interface. To this node itself: the same frames, dispatch and
 * handlers as over a socket, without one. To others: node_env.peers. */

#include "replication/transport.h"

struct node;
struct self_transport;

/* Requests are sent from the control loop and served by the first shard. */
struct self_transport *self_transport_create(struct node *n);
struct transport *self_transport_base(struct self_transport *t);
/* Nothing is under way any more. */
void self_transport_free(struct self_transport *t);

#endif
