#ifndef STORAGE_LOG_COMPACTION_TXNS_H
#define STORAGE_LOG_COMPACTION_TXNS_H

/* Which transaction a batch belongs to while a log is walked over in order, and whether it, or the
 * marker that ended it, may be dropped. The rules of Apache Kafka's cleaner:
 *
 *  - data of an aborted transaction may go;
 *  - a marker may go when no batch of its transaction was met: the walk before dropped the last of
 *  them;
 *  - the transaction index keeps an aborted transaction as long as batches of it were met.
 *
 * Pure. Memory: one entry for each transaction that is open where the walk is. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/span.h"
#include "protocol/base/status.h"
#include "storage/txn_index.h"

struct compaction_txn;

struct compaction_txns {
    const struct txn_index_entry *aborted; /* ascending by first offset; borrowed */
    size_t aborted_count;
    size_t next;                 /* of them, to be met */
    struct compaction_txn *open; /* uthash by producer id */
};

void compaction_txns_init(struct compaction_txns *t, const struct txn_index_entry *aborted,
                          size_t count);
void compaction_txns_free(struct compaction_txns *t);

/* A data batch, by its header. *discard: it is of an aborted transaction. ENOMEM: nothing
 * changed. */
struct status compaction_txns_data(struct compaction_txns *t, const uint8_t *head, bool *discard);

/* A control batch, whole. *discard: no batch of its transaction was met. *keep_aborted: the index
 * keeps *entry. */
struct status compaction_txns_control(struct compaction_txns *t, struct bytes batch, bool *discard,
                                      bool *keep_aborted, struct txn_index_entry *entry);

#endif
