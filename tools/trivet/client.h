#ifndef TOOLS_TRIVET_CLIENT_H
#define TOOLS_TRIVET_CLIENT_H

/* A blocking client for the tool's commands: one connection, one request at a time, over the
 * generated codecs. Test clients are others' (librdkafka and its like): this one only carries the
 * commands. */

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/arena.h"
#include "protocol/base/span.h"

struct client;

#define BOOTSTRAP_DEFAULT "127.0.0.1:9092"

/* Connects to the first of `bootstrap` ("host:port,host:port") that answers, and asks what it
 * speaks. NULL, with a sentence on stderr. */
struct client *client_connect(const char *bootstrap);
/* The same to one address. NULL, with a sentence on stderr. */
struct client *client_connect_to(struct str host, uint16_t port);
void client_close(struct client *c); /* NULL is fine */

/* The newest version that both sides have of an API; -1: the broker does not offer it. */
int16_t client_version(const struct client *c, int16_t key);

/* Sends `request` (the generated struct of that API, for `version`) and decodes the answer into
 * `response`, whose strings live in the client until the next call. False, with a sentence on
 * stderr. */
bool client_call(struct client *c, int16_t key, int16_t version, const void *request,
                 void *response);

#endif
