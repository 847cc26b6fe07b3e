#ifndef REPLICATION_BROKER_LIFECYCLE_H
#define REPLICATION_BROKER_LIFECYCLE_H

/* A broker's life in the cluster, as told to the active controller by BrokerRegistration and
 * BrokerHeartbeat through the transport (to ourselves too, when we lead the quorum).
 *
 *   STARTING --registered--> CATCHING_UP --image has it, logs ready--> UNFENCING
 *                                                                       ^     |
 *                                                                fenced |     | not fenced
 *                                                                       |     v
 *                                                                       RUNNING
 *   RUNNING --shut down--> LEAVING --should shut down--> GONE
 *
 * Nothing on the way from STARTING to RUNNING waits for a timer: each step is sent when its
 * condition comes true. Timers only repeat what failed, and keep the session alive.
 *
 * Everything runs on the control loop. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/clock.h"
#include "protocol/base/logger.h"
#include "protocol/base/span.h"
#include "protocol/base/status.h"
#include "protocol/base/uuid.h"
#include "replication/feature_levels.h"
#include "replication/lifecycle_core.h"
#include "replication/metadata_image.h"
#include "replication/transport.h"
#include "storage/executor.h"

struct broker_lifecycle;

struct broker_lifecycle_args {
    struct loop *loop;
    struct transport *transport;
    struct logger *logger; /* may be NULL */
    int32_t node_id;
    /* All borrowed for the lifecycle's life. */
    struct str cluster_id;
    struct uuid incarnation; /* random, of this process */
    const struct metadata_listener *listeners;
    size_t listener_count;
    struct str rack; /* NULL data: none */
    const struct uuid *log_dirs;
    size_t log_dir_count;
    int64_t previous_epoch;      /* -1: unknown, or something was lost */
    int64_t heartbeat_us;        /* broker.heartbeat.interval.ms */
    int64_t registration_us_max; /* initial.broker.registration.timeout.ms */
    int64_t shutdown_us_max;     /* leave without the controller's consent after that */
    int64_t session_us;          /* the shortest silence after which a controller fences a broker */
    void *arg;
    /* The controller took us in with this epoch: to be kept beside the logs. */
    void (*on_registered)(void *arg, int64_t epoch);
    void (*on_state)(void *arg, enum lifecycle_state state);
    /* A heartbeat was answered: silence has not fenced us before that time, of the loop's monotonic
     * clock. */
    void (*on_trusted)(void *arg, int64_t until_us);
    /* Refused for good (wrong cluster, invalid registration, unsupported features), or not taken in
     * within registration_us_max. Told once. */
    void (*on_failed)(void *arg, struct status why);
};

struct broker_lifecycle *broker_lifecycle_create(const struct broker_lifecycle_args *args);
/* Cancels what is under way. */
void broker_lifecycle_free(struct broker_lifecycle *l); /* NULL is fine */

/* Where the active controller is; host NULL data: unknown. host is copied. */
void broker_lifecycle_controller(struct broker_lifecycle *l, const struct transport_node *node);
/* This node's shards act on a newer image. */
void broker_lifecycle_image(struct broker_lifecycle *l, const struct metadata_image *image);
/* The logs of the broker's partitions are open and may be served. */
void broker_lifecycle_ready(struct broker_lifecycle *l);
/* A log directory went offline. */
void broker_lifecycle_offline_dir(struct broker_lifecycle *l, struct uuid directory);
/* A log has lost what was flushed: this broker's end of the run before was not a clean one after
 * all. As long as it is not unfenced it registers again to say so, as another process
 * (`incarnation`): what it was in sync with it may not lead before it has caught up. Later on only
 * the next registration tells. */
void broker_lifecycle_damaged(struct broker_lifecycle *l, struct uuid incarnation);
/* Begins to leave; on_state tells GONE. */
void broker_lifecycle_leave(struct broker_lifecycle *l);

enum lifecycle_state broker_lifecycle_state(const struct broker_lifecycle *l);
int64_t broker_lifecycle_epoch(const struct broker_lifecycle *l); /* -1: not registered */

#endif
