#include "replication/lifecycle_core.h"

/* Before a question is asked again: short, since most answers change with the next commit. */
#define RETRY_US (20 * 1000)
/* After a failure on the way, or a refusal that only time can mend. */
#define BACKOFF_US (100 * 1000)

/* How long who leaves waits for a controller to be found: elections take less, and the last of a
 * quorum that goes all at once finds none any more. */
#define ORPHAN_US (1000 * 1000)

void lifecycle_init(struct lifecycle_core *c, int64_t now_us)
{
    c->state = LIFECYCLE_STARTING;
    c->epoch = -1;
    c->started_us = now_us;
    c->now = true;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static bool registration_overdue(const struct lifecycle_core *c, int64_t now_us)
{
    return c->state == LIFECYCLE_STARTING && c->epoch < 0 &&
           now_us - c->started_us >= c->registration_us_max;
}

/* Who leaves waits no longer. */
static int64_t leave_limit_us(const struct lifecycle_core *c)
{
    int64_t limit_us = c->leave_us + c->shutdown_us_max;
    int64_t alone_us = c->lost_us > c->leave_us ? c->lost_us : c->leave_us;

    return c->controller_known ? limit_us : earlier(limit_us, alone_us + ORPHAN_US);
}

/* Changes that need nobody's answer. */
static void move_on(struct lifecycle_core *c, int64_t now_us)
{
    if (c->state == LIFECYCLE_CATCHING_UP && c->logs_ready && c->image_has_us) {
        c->state = LIFECYCLE_UNFENCING;
        c->now = true;
    }
    if (c->state == LIFECYCLE_LEAVING && now_us >= leave_limit_us(c))
        c->state = LIFECYCLE_GONE;
}

static int64_t next_limit_us(const struct lifecycle_core *c)
{
    if (c->state == LIFECYCLE_STARTING && c->epoch < 0)
        return c->started_us + c->registration_us_max;
    return c->state == LIFECYCLE_LEAVING ? leave_limit_us(c) : INT64_MAX;
}

enum lifecycle_action lifecycle_next(struct lifecycle_core *c, int64_t now_us, int64_t *wake_us)
{
    *wake_us = INT64_MAX;
    if (c->failed)
        return LIFECYCLE_NOTHING;
    if (registration_overdue(c, now_us)) {
        c->failed = true;
        return LIFECYCLE_GIVE_UP;
    }
    move_on(c, now_us);
    *wake_us = next_limit_us(c);
    if (c->state == LIFECYCLE_GONE || c->in_flight || !c->controller_known)
        return LIFECYCLE_NOTHING;
    if (!c->now && now_us < c->next_us) {
        *wake_us = earlier(*wake_us, c->next_us);
        return LIFECYCLE_NOTHING;
    }
    c->now = false;
    c->in_flight = true;
    c->asked_us = now_us;
    return c->state == LIFECYCLE_STARTING ? LIFECYCLE_REGISTER : LIFECYCLE_HEARTBEAT;
}

bool lifecycle_wants_fence(const struct lifecycle_core *c)
{
    return c->state == LIFECYCLE_CATCHING_UP;
}

bool lifecycle_wants_shutdown(const struct lifecycle_core *c)
{
    return c->state == LIFECYCLE_LEAVING;
}

/* Refusals that asking again cannot change. */
static bool refused_for_good(enum kerr code)
{
    return code == KERR_INCONSISTENT_CLUSTER_ID || code == KERR_INVALID_REGISTRATION ||
           code == KERR_UNSUPPORTED_VERSION || code == KERR_CLUSTER_AUTHORIZATION_FAILED;
}

bool lifecycle_registered(struct lifecycle_core *c, enum kerr code, int64_t epoch, int64_t now_us)
{
    c->in_flight = false;
    if (refused_for_good(code)) {
        c->failed = true;
        return false;
    }
    if (c->state != LIFECYCLE_STARTING)
        return true;
    if (code != KERR_NONE) {
        c->next_us = now_us + BACKOFF_US;
        return true;
    }
    c->epoch = epoch;
    c->image_has_us = false;
    c->state = LIFECYCLE_CATCHING_UP;
    c->next_us = now_us + c->heartbeat_us;
    return true;
}

/* Our registration is not the one that counts: register anew. Who leaves has nothing to leave any
 * more. */
static void lose_registration(struct lifecycle_core *c, int64_t now_us)
{
    c->state = c->state == LIFECYCLE_LEAVING ? LIFECYCLE_GONE : LIFECYCLE_STARTING;
    c->next_us = now_us + BACKOFF_US;
}

void lifecycle_beaten(struct lifecycle_core *c, enum kerr code, bool fenced, bool may_go,
                      int64_t now_us)
{
    c->in_flight = false;
    if (code == KERR_STALE_BROKER_EPOCH || code == KERR_BROKER_ID_NOT_REGISTERED) {
        lose_registration(c, now_us);
        return;
    }
    if (code != KERR_NONE) {
        c->next_us = now_us + earlier(BACKOFF_US, c->heartbeat_us);
        return;
    }
    if (!fenced) /* it was heard no earlier than it was sent */
        c->trusted_until_us = c->asked_us + c->session_us;
    c->next_us = now_us + c->heartbeat_us;
    if (c->state == LIFECYCLE_LEAVING) {
        if (may_go)
            c->state = LIFECYCLE_GONE;
        else
            c->next_us = now_us + RETRY_US;
    } else if (c->state == LIFECYCLE_UNFENCING) {
        if (!fenced)
            c->state = LIFECYCLE_RUNNING;
        else
            c->next_us = now_us + RETRY_US;
    } else if (c->state == LIFECYCLE_RUNNING && fenced) {
        c->state = LIFECYCLE_UNFENCING;
        c->now = true;
    }
}

void lifecycle_leave(struct lifecycle_core *c, int64_t now_us)
{
    if (c->state == LIFECYCLE_LEAVING || c->state == LIFECYCLE_GONE)
        return;
    if (c->epoch < 0 || c->state == LIFECYCLE_STARTING) {
        c->state = LIFECYCLE_GONE; /* nobody knows us */
        return;
    }
    c->state = LIFECYCLE_LEAVING;
    c->leave_us = now_us;
    c->now = true;
}

void lifecycle_controller(struct lifecycle_core *c, bool known, int64_t now_us)
{
    if (c->controller_known && !known)
        c->lost_us = now_us;
    c->controller_known = known;
    c->now = c->now || known;
}

void lifecycle_seen_fenced(struct lifecycle_core *c)
{
    if (c->state != LIFECYCLE_RUNNING)
        return;
    c->state = LIFECYCLE_UNFENCING;
    c->now = true;
}

void lifecycle_start_over(struct lifecycle_core *c, int64_t now_us)
{
    if (c->state != LIFECYCLE_STARTING && c->state != LIFECYCLE_CATCHING_UP)
        return;
    c->state = LIFECYCLE_STARTING;
    c->started_us = now_us;
    c->in_flight = false;
    c->image_has_us = false;
    c->now = true;
}

void lifecycle_hurry(struct lifecycle_core *c)
{
    if (c->state == LIFECYCLE_RUNNING)
        c->now = true;
}
