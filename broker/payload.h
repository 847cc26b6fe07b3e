#ifndef BROKER_PAYLOAD_H
#define BROKER_PAYLOAD_H

/* Bytes that an answer carries without copying them into itself: what a splice of the writer points
 * at. */

#include <stdint.h>

#include "storage/log.h"

struct payload {
    struct log_slice slice; /* sent from its file … */
    uint8_t *memory;        /* … unless it was read into memory (owned), because it was cold */
};

#endif
