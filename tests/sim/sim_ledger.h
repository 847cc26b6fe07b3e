#ifndef TESTS_SIM_SIM_LEDGER_H
#define TESTS_SIM_SIM_LEDGER_H

/* What is committed in one replicated log, whoever has it: from then on it is neither lost nor
 * changed, and every replica has the same below its high watermark. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "storage/log.h"
#include "tests/sim/sim_drive.h"

struct sim_committed {
    int64_t base_offset, last_offset;
    int32_t epoch;
    uint32_t crc;
};

struct sim_ledger {
    struct sim_committed *batches; /* by offset; gaps where nobody looked before a log start
                                    * moved */
    size_t count, capacity;
};

void sim_ledger_free(struct sim_ledger *l);

/* Exclusive. */
int64_t sim_ledger_end(const struct sim_ledger *l);

/* A replica's log, in which process, on which disk. */
struct sim_place {
    struct sim_drive *drive;
    struct sim_heap *heap;
    struct log *log;
};

enum sim_verdict { SIM_SAME, SIM_OTHER, SIM_UNREADABLE };

/* A replica holds [from, to) to be committed. OTHER: something else is known to be there. `why`
 * tells. */
enum sim_verdict sim_ledger_compare(struct sim_ledger *l, const struct sim_place *at, int64_t from,
                                    int64_t to, char *why, size_t why_size);

#endif
