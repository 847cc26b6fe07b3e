#ifndef BROKER_PARTING_H
#define BROKER_PARTING_H

/* Questions that a broker on its way out had better not answer.
 *
 * While a broker leaves, its partitions are led by others already, and its connections are still
 * open for some tens of milliseconds. Who is told NOT_COORDINATOR in that time asks elsewhere, as
 * he should; but librdkafka (up to 2.9, as of this writing) never asks again for the offsets of
 * partitions that it was just assigned, and these stand still until the group rebalances. A
 * connection that breaks it takes well, as all clients do, and that is what comes anyway.
 *
 * Everything runs on the request's shard. */

#include <stdbool.h>

#include "broker/request.h"

struct shard;

/* True: the broker leaves; the request is kept, and answer(arg) called once its connection is
 * closed, or the shard stops: the answer is thrown away in the first case. False: nothing is done,
 * the answer is to be given now. */
bool parting_hold(struct request *rq, void (*answer)(void *arg), void *arg);

/* All that are kept are answered. */
void parting_stop(struct shard *s);

#endif
