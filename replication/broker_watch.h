#ifndef REPLICATION_BROKER_WATCH_H
#define REPLICATION_BROKER_WATCH_H

/* Looks whether somebody listens where a broker is registered: a hint of its end is not enough to
 * fence it, a refused connection is. Whoever drops it lives, even when it is too slow to say a
 * word. No answer in time is no reason either: the broker's session decides.
 *
 * On the control loop. */

#include <stdint.h>

#include "protocol/base/logger.h"
#include "replication/metadata_image.h"
#include "replication/transport.h"
#include "storage/executor.h"

struct broker_watch;

struct broker_watch_args {
    struct loop *loop;
    struct transport *transport;
    struct logger *logger; /* may be NULL */
    void *arg;
    /* Nobody listens there. asked_ms: monotonic. */
    void (*on_refused)(void *arg, int32_t id, int64_t epoch, int64_t asked_ms);
    /* No answer came in time. */
    void (*on_silent)(void *arg, int32_t id, int64_t epoch, int64_t asked_ms);
};

struct broker_watch *broker_watch_create(const struct broker_watch_args *args);
/* Asks the broker's first listener; not again while an answer is awaited. */
void broker_watch_look(struct broker_watch *w, const struct metadata_broker *b);
/* Forgets all that are under way. */
void broker_watch_stop(struct broker_watch *w);
void broker_watch_free(struct broker_watch *w); /* NULL is fine */

#endif
