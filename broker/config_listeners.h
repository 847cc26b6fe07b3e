#ifndef BROKER_CONFIG_LISTENERS_H
#define BROKER_CONFIG_LISTENERS_H

/* listeners, advertised.listeners and the settings that go with them. Only config_options.c uses
 * it. */

#include "broker/config.h"

/* Fills out->listeners; errors as config_node_options. */
struct status config_listeners(const struct config_values *config, struct arena *arena,
                               struct node_options *out, struct config_problem *problem);

/* Fills out->voters from controller.quorum.voters; errors as config_node_options. */
struct status config_voters(const struct config_values *config, struct arena *arena,
                            struct node_options *out, struct config_problem *problem);

/* controller.quorum.bootstrap.servers and controller.quorum.auto.join.enable, in the same way. */
struct status config_bootstrap(const struct config_values *config, struct arena *arena,
                               struct node_options *out, struct config_problem *problem);

/* One "NAME://host:port": a name of letters, digits, '_', '-' and '.'; a host that may be empty or
 * an IPv6 address in brackets (which are taken off); a port up to 65535. False: none. Borrows from
 * text. */
struct config_endpoint {
    struct str name;
    struct str host;
    uint16_t port;
};
bool config_parse_endpoint(struct str text, struct config_endpoint *out);

#endif
