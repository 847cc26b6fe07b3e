#ifndef BROKER_EVENT_LOOP_H
#define BROKER_EVENT_LOOP_H

/* A real loop (storage/executor.h): one thread, one libevent base, one mailbox.
 *
 * The mailbox is a wait-free queue that many threads post to and the loop's thread drains; an
 * eventfd wakes the loop when the queue was empty. A task posted by the loop's own thread costs no
 * system call. Tasks run in batches between socket events, so neither starves the other. */

#include "protocol/base/status.h"
#include "storage/executor.h"

struct event_base;
struct event_loop;

/* Makes a loop; its thread starts with event_loop_start. name (<= 15 characters, borrowed) is what
 * `top -H` shows. KAFKA_STORAGE_ERROR-free: failures are UNKNOWN_SERVER_ERROR with errno. */
struct status event_loop_create(const char *name, struct clock *clock, struct event_loop **out);

struct loop *event_loop_base(struct event_loop *el);

/* For sockets: events of this base run on the loop's thread. */
struct event_base *event_loop_events(struct event_loop *el);

struct status event_loop_start(struct event_loop *el);

/* Any thread: the loop ends after the tasks posted before this call. */
void event_loop_stop(struct event_loop *el);

/* Waits for the thread; tasks left in the mailbox are run by the caller. */
void event_loop_join(struct event_loop *el);

/* After join (or when never started). */
void event_loop_free(struct event_loop *el);

#endif
