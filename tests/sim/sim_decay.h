#ifndef TESTS_SIM_SIM_DECAY_H
#define TESTS_SIM_SIM_DECAY_H

/* Bits that flip on a disk while no process looks: of some partitions, in any of their files. What
 * such a partition then answers may be an error, less than was promised, or bytes whose CRC is
 * wrong; what its CRC covers is never served otherwise than it was sent. All others are as if
 * nothing had happened. */

#include "tests/sim/sim_machine.h"

/* Flips bits, and tells the checker of which partitions. */
void sim_decay(struct sim_machine *m, struct sim_random *random);

#endif
