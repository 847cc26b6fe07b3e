#ifndef BROKER_UNSURE_H
#define BROKER_UNSURE_H

/* Who asks where partitions are led while a broker has just gone.
 *
 * A broker whose connection broke off is most likely dead, and the controller is about to say so:
 * its leaders move within tens of milliseconds. A client that asks in between would be sent to the
 * dead, and librdkafka then looks again only after a second. So such questions wait until the
 * brokers of the image change, at most UNSURE_US. A false alarm, which anybody can raise who calls
 * himself a broker, is followed by UNSURE_QUIET_US without any waiting.
 *
 * Everything runs on the shard given, or the request's. */

#include <stdbool.h>
#include <stdint.h>

#include "broker/request.h"

#define UNSURE_US       (300 * 1000)
#define UNSURE_QUIET_US (10 * 1000 * 1000)

void unsure_init(struct shard *s);
/* All are answered, and from now on nobody waits. */
void unsure_stop(struct shard *s);
void unsure_end(struct shard *s); /* before the shard is freed */

/* A connection of that broker broke off. All shards hear of it. */
void unsure_broker_lost(struct shard *s, int32_t broker_id);

/* Calls answer(rq) when the image can be trusted to name the living: mostly from within. */
void unsure_answer(struct request *rq, void (*answer)(struct request *rq));

/* The image has brokers that came, went or were fenced. */
void unsure_brokers_changed(struct shard *s);

#endif
