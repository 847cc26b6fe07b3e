#ifndef BROKER_COORDINATOR_REGEX_JOB_H
#define BROKER_COORDINATOR_REGEX_JOB_H

/* Subscriptions by regular expression are matched against the topics in the pool, one at a time for
 * each shard: a client's pattern may take a tenth of a second of a thread, and must not take all of
 * them. */

#include <stddef.h>

struct coordinator;
struct coordinators;
struct group_regex_wanted;
struct regex_job;

struct regex_queue {
    struct regex_job *waiting;
    size_t count;
    struct regex_job *running;
};

/* Resolves it for c's core, some time. What is asked for already is not asked for twice. */
void regex_job_start(struct coordinator *c, const struct group_regex_wanted *w);

/* Nothing waits any more. */
void regex_queue_clear(struct regex_queue *q);

#endif
