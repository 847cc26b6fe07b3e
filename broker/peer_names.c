/* Addresses of peers. libevent's resolver does the asking: it lives on the loop, and reads the
 * machine's resolv.conf and hosts file when the first name has to be looked up. */

#include "broker/peer_names.h"

#include <arpa/inet.h>
#include <event2/dns.h>
#include <event2/util.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>

static void add_address(struct peer_lookup *u, const void *at, size_t size)
{
    struct peer_address *a = &u->addresses[u->count];

    if (u->count == PEER_ADDRESSES_MAX || size > sizeof a->at)
        return;
    memcpy(&a->at, at, size);
    a->size = (socklen_t)size;
    if (a->at.ss_family == AF_INET)
        ((struct sockaddr_in *)(void *)&a->at)->sin_port = htons(u->port);
    else if (a->at.ss_family == AF_INET6)
        ((struct sockaddr_in6 *)(void *)&a->at)->sin6_port = htons(u->port);
    else
        return;
    u->count++;
}

/* A cancelled look-up is not told, and may be gone. */
static void on_resolved(int failed, struct evutil_addrinfo *found, void *arg)
{
    struct peer_lookup *u = arg;

    if (failed == EVUTIL_EAI_CANCEL)
        return;
    u->asked = NULL;
    for (const struct evutil_addrinfo *a = found; !failed && a; a = a->ai_next)
        add_address(u, a->ai_addr, (size_t)a->ai_addrlen);
    if (found)
        evutil_freeaddrinfo(found);
    u->found(u);
}

static struct evdns_base *names_dns(struct peer_names *names)
{
    if (names->dns)
        return names->dns;
    names->dns = evdns_base_new(names->args.events, EVDNS_BASE_INITIALIZE_NAMESERVERS |
                                                        EVDNS_BASE_DISABLE_WHEN_INACTIVE);
    if (names->dns && names->args.hosts_path)
        evdns_base_load_hosts(names->dns, names->args.hosts_path);
    return names->dns;
}

static bool take_literal(struct peer_lookup *u, const char *host)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};

    if (inet_pton(AF_INET, host, &v4.sin_addr) == 1)
        add_address(u, &v4, sizeof v4);
    else if (inet_pton(AF_INET6, host, &v6.sin6_addr) == 1)
        add_address(u, &v6, sizeof v6);
    return u->count > 0;
}

void peer_lookup_start(struct peer_lookup *u, struct peer_names *names, const char *host,
                       uint16_t port)
{
    const struct evutil_addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_protocol = IPPROTO_TCP};
    struct evdns_getaddrinfo_request *asked;

    u->port = port;
    u->count = 0;
    u->asked = NULL;
    if (take_literal(u, host) || !names_dns(names)) {
        u->found(u);
        return;
    }
    /* What the hosts file has is told from within the call, and then the look-up may be gone. */
    asked = evdns_getaddrinfo(names->dns, host, NULL, &hints, on_resolved, u);
    if (asked)
        u->asked = asked;
}

void peer_lookup_cancel(struct peer_lookup *u)
{
    if (u->asked)
        evdns_getaddrinfo_cancel(u->asked);
    u->asked = NULL;
}

void peer_names_end(struct peer_names *names)
{
    if (names->dns)
        evdns_base_free(names->dns, 0);
    names->dns = NULL;
}
