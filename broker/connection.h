#ifndef BROKER_CONNECTION_H
#define BROKER_CONNECTION_H

/* One client's TCP connection: bytes in, frames out to request_dispatch; answers in, bytes out.
 *
 *   length prefix -> frame -> request -> answered, in order -> sent
 *
 * A request starts when the one before it is answered, except Produce after Produce. Reading stops
 * while CONNECTION_REQUESTS_MAX requests or CONNECTION_OUTPUT_BYTES_MAX of answers are under way,
 * or the node has too many request bytes in memory. An idle connection holds no buffer.
 *
 * Belongs to its shard; everything runs there. */

#include <netinet/in.h>
#include <sys/socket.h>

#include "broker/request.h"

struct connection;
struct listener;

#define CONNECTION_REQUESTS_MAX 64
/* more than this unsent: no further request starts */
#define CONNECTION_OUTPUT_BYTES_MAX ((size_t)4 << 20)

/* Takes over fd (non-blocking) and starts reading. Closes it and logs when there is no memory. */
void connection_open(struct shard *shard, const struct listener *listener, int fd,
                     const struct sockaddr_storage *peer);

/* Closes with a logged reason (static text); NULL: the peer went, nothing is logged above debug. */
void connection_close(struct connection *c, const char *reason);

/* The shard's list of connections. */
void connection_link(struct shard *shard, struct connection *c);
void connection_unlink(struct shard *shard, struct connection *c);

/* Reading goes on for connections that stopped because of the node's budget. */
void connections_resume(struct shard *shard);

/* Closes all of a shard's connections: the end of the shard. */
void connections_close_all(struct shard *shard, const char *reason);

/* Once a second: closes idle connections past connections.max.idle.ms, and when the node's budget
 * is used up the frame that has waited longest for its rest. */
void connections_tick(struct shard *shard, int64_t now_us);

#endif
