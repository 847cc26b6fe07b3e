#ifndef REPLICATION_PARTITION_INTERNAL_H
#define REPLICATION_PARTITION_INTERNAL_H

/* What the files of the partition share: partition.c, partition_clean.c. */

#include "replication/partition.h"

/* One of the things that a stopping partition waited for is over. */
void partition_maybe_stopped(struct partition *p);

#endif
