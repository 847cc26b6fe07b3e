#ifndef BROKER_CLOSING_H
#define BROKER_CLOSING_H

/* The clean end of many logs at once.
 *
 * Syncing a thousand logs one by one takes a journal commit for each. Instead each is settled (all
 * that a clean close writes is written, nothing synced) and handed in here; then one sync of the
 * file system makes all of a log directory durable, and they are closed. */

#include <stdbool.h>
#include <stddef.h>

struct closing;
struct log;
struct node;

/* NULL: no memory. */
struct closing *closing_create(struct node *n);
/* Closes what was handed in and never finished, not cleanly. */
void closing_free(struct closing *c); /* NULL is fine */

/* [pool] Takes over a log of directory `dir`: settles it and keeps it for closing_finish. False: it
 * could not be settled, and is closed as after a kill. Any thread, several at once. */
bool closing_settle(struct closing *c, struct log *log, size_t dir);

/* Syncs each directory that logs were handed in from, and closes them; done() on the control loop.
 * clean false: a sync failed, which is logged. Once, when no closing_settle is under way. */
void closing_finish(struct closing *c, void (*done)(void *arg, bool clean), void *arg);

#endif
