#ifndef REPLICATION_CONTROLLER_H
#define REPLICATION_CONTROLLER_H

/* Connects the metadata log (raft_node) with the controller's decisions (controller_core) and the
 * images that shards act on (metadata_loader). Every node that has the metadata log has one of
 * these, whether it leads the quorum, follows or observes: all of them publish images; the leader's
 * answers requests.
 *
 *   raft_node --commits--> loader --image, delta--> on_publish
 *       ^                                              |
 *       +--records-- controller_core <--controller_submit-- handlers
 *
 * Everything runs on the control loop. */

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/clock.h"
#include "protocol/base/logger.h"
#include "protocol/base/span.h"
#include "protocol/base/status.h"
#include "replication/config_defs.h"
#include "replication/controller_core.h"
#include "replication/metadata_image.h"
#include "replication/raft_node.h"
#include "storage/executor.h"

struct controller;

struct controller_args {
    struct loop *loop;
    struct clock *clock;
    struct random *random;
    struct logger *logger;       /* may be NULL */
    struct transport *transport; /* to the brokers, to look whether they are there. NULL: nobody
                                  * looks */
    int32_t node_id;
    struct str cluster_id;             /* copied */
    const struct config_values *given; /* borrowed */
    bool may_lead;                     /* process.roles has controller */
    /* What this node registers as when it leads; borrowed with all it points to, for the
     * controller's life. */
    struct register_controller self;
    void *arg;
    /* A newer image, with what changed since the one before. Borrowed; acquire to keep. The first
     * call may bring an image without any broker. Told before the requests that it commits are
     * answered. */
    void (*on_publish)(void *arg, const struct metadata_image *image,
                       const struct metadata_delta *delta);
    /* leader_id -1: unknown. */
    void (*on_leader)(void *arg, int32_t leader_id, int32_t epoch);
    /* The metadata log cannot be used or understood any more; the node must stop. Told once. */
    void (*on_failed)(void *arg, struct status why);
};

struct controller *controller_create(const struct controller_args *args);

/* What the node's raft_node is to be opened with. */
struct raft_listener controller_raft_listener(struct controller *c);
/* The opened node; before raft_node_start. Borrowed until controller_stop. */
void controller_set_raft(struct controller *c, struct raft_node *raft);

/* Hands in a request; r->done tells when it is decided and committed (or not). The request belongs
 * to the controller until then. */
void controller_submit(struct controller *c, struct controller_request *r);

/* Takes no more requests (NOT_CONTROLLER, and nothing has happened), so that leadership can be
 * given up without a doubt about any. retired() runs once, when all that were taken are answered;
 * maybe at once. */
void controller_retire(struct controller *c, void (*retired)(void *arg), void *arg);

/* A connection from that node broke off. The active controller looks whether it is still there. */
void controller_node_lost(struct controller *c, int32_t id);

/* Whether this node is the active controller. */
bool controller_active(const struct controller *c);
/* The newest published image; NULL before the first. Borrowed until the loop runs on. */
const struct metadata_image *controller_image(const struct controller *c);

/* Answers what waits with NOT_CONTROLLER at once and does nothing any more. raft_node_stop comes
 * after it; controller_free when no snapshot is being written any more (raft_node_stop's `stopped`
 * says so). */
void controller_stop(struct controller *c);
void controller_free(struct controller *c); /* NULL is fine */

#endif
