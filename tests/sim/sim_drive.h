#ifndef TESTS_SIM_SIM_DRIVE_H
#define TESTS_SIM_SIM_DRIVE_H

/* The disk of one simulated machine, as its processes see it: storage/files_sim with the time that
 * calls take, a place for a process to die in, and, to see whether the simulator would notice,
 * lies. */

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/clock.h"
#include "storage/files.h"
#include "tests/sim/sim_random.h"
#include "tests/sim/sim_trace.h"

/* Bugs of a disk that no broker can stand: each must make the checker speak. */
enum sim_lie {
    SIM_LIE_NONE,
    SIM_LIE_SYNC,       /* a sync of a file does nothing */
    SIM_LIE_NAMES,      /* a sync of a directory does nothing */
    SIM_LIE_FILESYSTEM, /* nor one of the whole file system, nor of anything: a disk that never
                         * syncs */
    SIM_LIE_COUNT,
};

struct sim_drive {
    struct files files; /* what a node is given */
    struct files *inner;
    struct sim_trace *trace;
    struct sim_random random;
    enum sim_lie lie;
    int64_t slowness;   /* 1: as usual; calls take so many times longer */
    int64_t cost_us;    /* of the calls since it was taken */
    struct file **open; /* handles of the process that runs */
    size_t open_count, open_capacity;
    /* The process dies within the call that counts this down to 0: before or after what it does. */
    uint64_t dies_after; /* 0: it does not */
    jmp_buf *dies_to;
    unsigned visiting; /* lists under way: nobody dies within one, which would lose its copy of
                        * the names */
    uint64_t calls;
    bool observed; /* by the simulator: calls take no time, and nobody dies of one */
    bool died;     /* a process did, by dies_after; the world's to clear */
};

void sim_drive_init(struct sim_drive *d, struct clock *clock, uint64_t seed,
                    struct sim_trace *trace);
void sim_drive_free(struct sim_drive *d);

/* What the calls took since the last time it was asked for. */
int64_t sim_drive_take_cost_us(struct sim_drive *d);

/* The process is gone: its handles are closed. With the machine, what was not synced is lost or
 * torn. */
void sim_drive_process_died(struct sim_drive *d);
void sim_drive_machine_died(struct sim_drive *d);

#endif
