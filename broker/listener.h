#ifndef BROKER_LISTENER_H
#define BROKER_LISTENER_H

/* One listening socket. Accepted connections are dealt to the shard with the fewest.
 *
 * No SO_REUSEPORT: a second broker on the port must fail to start. */

#include <stdbool.h>
#include <stddef.h>

#include "protocol/api.h"
#include "protocol/base/logger.h"
#include "protocol/base/span.h"
#include "protocol/base/status.h"

struct event_base;
struct listener;
struct shard;
struct sockaddr_storage;

struct listener_args {
    struct event_base *events; /* whose loop accepts */
    struct loop *loop;
    struct logger *logger;
    struct shard **shards;
    size_t shard_count;
    const char *name; /* "PLAINTEXT", "CONTROLLER"; borrowed */
    const char *host; /* empty: every address */
    uint16_t port;    /* 0: any free one */
    enum api_listener apis;
};

/* Binds and listens; nothing is accepted before listener_accept, but the port is taken.
 * UNKNOWN_SERVER_ERROR: resolving, EADDRINUSE …; `where` names the step. */
struct status listener_open(const struct listener_args *args, struct listener **out);

/* Begins to accept. On the loop. */
void listener_accept(struct listener *l);

uint16_t listener_port(const struct listener *l);
struct str listener_name(const struct listener *l);
enum api_listener listener_apis(const struct listener *l);

/* The port is free again; who was accepted may still be on the way to a shard, and names this
 * listener there. On the loop. */
void listener_stop(struct listener *l);
/* When no loop runs any more. */
void listener_close(struct listener *l);

/* Whether a connection between the two addresses stays within this machine: the kernel gives both
 * ends the same one, as long as the client asks for none. Ports do not matter. */
bool listener_is_local(const struct sockaddr_storage *own, const struct sockaddr_storage *peer);

#endif
