#ifndef BROKER_PRODUCER_IDS_H
#define BROKER_PRODUCER_IDS_H

/* Producer ids for clients out of this broker's block, which the controller hands out a thousand at
 * a time (AllocateProducerIds). An id is never given twice, also not after a crash: what is left of
 * a block is lost. */

#include <stdint.h>

#include "broker/request.h"
#include "replication/transport.h"
#include "storage/executor.h"

struct node;
struct producer_ids;

/* On the control loop. */
struct producer_ids *producer_ids_create(struct node *n, struct transport *transport);
/* The end: whoever waits for a block, or asks from now on, is told that none can be had. */
void producer_ids_stop(struct producer_ids *p);
void producer_ids_free(struct producer_ids *p);

/* One id for a request. In its arena. */
struct producer_id_call {
    struct task task;
    struct producer_id_call *next;
    struct request *rq;
    enum kerr code; /* NONE, COORDINATOR_LOAD_IN_PROGRESS while no block can be had */
    int64_t producer_id;
    void (*finished)(struct producer_id_call *call); /* at home */
};

/* At home; finished() follows. */
void producer_id_call(struct producer_id_call *call);

#endif
