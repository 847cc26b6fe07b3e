#ifndef BROKER_IO_POOL_H
#define BROKER_IO_POOL_H

/* The real pool (storage/executor.h): a few threads for what may block on a disk. Jobs start in the
 * order they were submitted; several run at once. */

#include <stddef.h>

#include "protocol/base/status.h"
#include "storage/executor.h"

struct io_pool;

struct status io_pool_create(size_t thread_count, struct io_pool **out);
struct pool *io_pool_base(struct io_pool *p);

/* Runs what was submitted, then ends the threads and frees the pool. The loops that jobs report to
 * must still be there. */
void io_pool_free(struct io_pool *p);

#endif
