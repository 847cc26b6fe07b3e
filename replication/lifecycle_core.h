#ifndef REPLICATION_LIFECYCLE_CORE_H
#define REPLICATION_LIFECYCLE_CORE_H

/* What a broker is to tell the controller next, and when. Pure; broker_lifecycle.h has the states,
 * and does what this decides.
 *
 * Whoever changes a field (an answer, an image, a wish) calls lifecycle_next until it says NOTHING,
 * and again at wake_us at the latest. One request is under way at a time. */

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/kerr.h"

enum lifecycle_state {
    LIFECYCLE_STARTING,
    LIFECYCLE_CATCHING_UP,
    LIFECYCLE_UNFENCING,
    LIFECYCLE_RUNNING,
    LIFECYCLE_LEAVING,
    LIFECYCLE_GONE,
};

struct lifecycle_core {
    /* set once */
    int64_t heartbeat_us;
    int64_t registration_us_max;
    int64_t shutdown_us_max;
    int64_t session_us; /* the shortest silence after which a controller fences us */
    /* state */
    enum lifecycle_state state;
    int64_t epoch;            /* -1: not registered */
    int64_t started_us;       /* when STARTING was entered */
    int64_t leave_us;         /* when LEAVING was entered */
    int64_t lost_us;          /* since when no controller is known */
    int64_t next_us;          /* not before that, unless `now` */
    bool now;                 /* something changed that the controller should hear of at once */
    int64_t asked_us;         /* when the heartbeat under way, or the last one, was sent */
    int64_t trusted_until_us; /* silence has not fenced us before that: a session from the last
                               * heartbeat that was heard */
    bool in_flight;
    bool failed;
    /* what is known */
    bool controller_known;
    bool logs_ready;
    bool image_has_us; /* the image that the shards act on has our registration */
};

enum lifecycle_action {
    LIFECYCLE_NOTHING,
    LIFECYCLE_REGISTER,  /* send BrokerRegistration; in_flight is set */
    LIFECYCLE_HEARTBEAT, /* send BrokerHeartbeat; in_flight is set */
    LIFECYCLE_GIVE_UP,   /* not taken in within registration_us_max */
};

void lifecycle_init(struct lifecycle_core *c, int64_t now_us);

/* The next thing to do; with NOTHING, *wake_us is when to ask again (INT64_MAX: only after an
 * event). */
enum lifecycle_action lifecycle_next(struct lifecycle_core *c, int64_t now_us, int64_t *wake_us);

/* What the next heartbeat says. */
bool lifecycle_wants_fence(const struct lifecycle_core *c);
bool lifecycle_wants_shutdown(const struct lifecycle_core *c);

/* Answers. A request that failed on its way has NETWORK_EXCEPTION or the like. False: refused for
 * good. */
bool lifecycle_registered(struct lifecycle_core *c, enum kerr code, int64_t epoch, int64_t now_us);
void lifecycle_beaten(struct lifecycle_core *c, enum kerr code, bool fenced, bool may_go,
                      int64_t now_us);

/* Wishes and news. */
void lifecycle_leave(struct lifecycle_core *c, int64_t now_us);
void lifecycle_controller(struct lifecycle_core *c, bool known, int64_t now_us);
/* What the registration said, or is saying, of the run before is not true: it is made again. A
 * request under way was taken back. No more than that once it may serve. */
void lifecycle_start_over(struct lifecycle_core *c, int64_t now_us);
/* The controller is to hear of our newest image without waiting for the next heartbeat's time. */
void lifecycle_hurry(struct lifecycle_core *c);
/* The image shows us fenced although we run. */
void lifecycle_seen_fenced(struct lifecycle_core *c);

#endif
