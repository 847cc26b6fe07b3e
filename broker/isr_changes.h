#ifndef BROKER_ISR_CHANGES_H
#define BROKER_ISR_CHANGES_H

/* Changes of ISRs, from the leaders of partitions on all shards to the controller and back.
 *
 *   shard: isr_core proposes -> control loop: one AlterPartition for all that wait, one under way
 *   at a time, tried again until each has a final answer or a newer proposal of its partition takes
 *   its place -> shard: isr_core is told
 *
 * The shard's part also calls the cores back by time: every ISR_TICK_MS, and soon where one
 * asked. */

#include "broker/shard.h"
#include "replication/transport.h"

struct isr_changes;

/* ---- on a shard ---- */

/* Its timers, and what partition_env needs. */
void isr_changes_init(struct shard *s);
void isr_changes_start(struct shard *s);
/* The partition is about to be freed. */
void isr_changes_forget(struct shard *s, struct partition *p);
/* Partitions are gone or going: no more calls. */
void isr_changes_stop(struct shard *s);
void isr_changes_end(struct shard *s); /* before the shard is freed */

/* ---- on the control loop ---- */

/* NULL: out of memory. */
struct isr_changes *isr_changes_create(struct node *n, struct transport *transport);
/* Another controller, or none: what was under way goes to the new one. */
void isr_changes_controller(struct isr_changes *c);
/* The node leaves: nothing is asked any more, what waits is forgotten. */
void isr_changes_quit(struct isr_changes *c);
void isr_changes_free(struct isr_changes *c);

#endif
