#ifndef BROKER_PEER_NAMES_H
#define BROKER_PEER_NAMES_H

/* The addresses behind a peer's name: a literal address, a line of the hosts file, or what the name
 * servers say. Nothing is remembered: each look-up asks anew, so that a peer that moved is found.
 *
 * Runs on its loop, which never waits for a name server. */

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct evdns_base;
struct evdns_getaddrinfo_request;
struct event_base;

#define PEER_ADDRESSES_MAX 8 /* of one name; further ones are not tried */

struct peer_names_args {
    struct event_base *events; /* borrowed */
    const char *hosts_path; /* lines as in /etc/hosts, known beside those; borrowed; may be NULL */
};

struct peer_names {
    struct peer_names_args args;
    struct evdns_base *dns; /* made when a name has to be looked up */
};

struct peer_address {
    struct sockaddr_storage at; /* its port set */
    socklen_t size;
};

/* Embedded in its owner, who keeps it alive until found() ran or peer_lookup_cancel returned. */
struct peer_lookup {
    /* Runs once, perhaps from within peer_lookup_start, and may free the look-up. */
    void (*found)(struct peer_lookup *u);
    struct peer_address addresses[PEER_ADDRESSES_MAX];
    size_t count; /* 0: the name is not known, or no name server answered */
    uint16_t port;
    struct evdns_getaddrinfo_request *asked; /* NULL: nothing under way */
};

/* host: until the look-up is over. u->found is set by the caller, the rest from here. */
void peer_lookup_start(struct peer_lookup *u, struct peer_names *names, const char *host,
                       uint16_t port);
void peer_lookup_cancel(struct peer_lookup *u); /* found() will not run any more; else no effect */

/* When all look-ups are over or cancelled. */
void peer_names_end(struct peer_names *names);

#endif
