#ifndef BROKER_HANDLERS_OPERATIONS_H
#define BROKER_HANDLERS_OPERATIONS_H

/* What a client is told that it may do, when it asks: as long as there is no authorizer, all that
 * there is. A bit each, numbered as in Apache Kafka:
 *
 *   3 read   4 write   5 create   6 delete   7 alter   8 describe   9 cluster action
 *   10 describe configs   11 alter configs   12 idempotent write */

#define OPERATIONS_OF_GROUP (1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11)
#define OPERATIONS_OF_TOPIC                                                                        \
    (1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 11)
#define OPERATIONS_OF_CLUSTER (1 << 5 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12)

#endif
