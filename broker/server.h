#ifndef BROKER_SERVER_H
#define BROKER_SERVER_H

/* A node with threads and sockets around it: what trivetd runs, and what a test can run several
 * of. */

#include <stdint.h>

#include "broker/node_options.h"
#include "protocol/base/logger.h"
#include "protocol/base/status.h"

struct server;

/* Opens everything, takes the ports, and starts: without waiting for the quorum or for clients to
 * be served, which server_ready_fd tells of. Errors are logged with their reason; nothing is left
 * running. */
struct status server_start(const struct node_options *options, struct logger *logger,
                           struct server **out);

/* The port that the first client listener has. */
uint16_t server_port(const struct server *s);

/* Becomes readable when the node serves clients. */
int server_ready_fd(const struct server *s);

/* Becomes readable when the node cannot go on and the process should end. */
int server_failure_fd(const struct server *s);

/* Leaves the cluster politely, closes everything, frees the server, also before it was ready.
 * Blocks. False: the node failed, before or meanwhile. Then nothing is freed, and threads are still
 * at what they were doing, the pool perhaps for long, with a disk that does not answer: the process
 * is to end at once, without what exit() does. */
bool server_stop(struct server *s);

#endif
