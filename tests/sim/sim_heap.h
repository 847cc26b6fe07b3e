#ifndef TESTS_SIM_SIM_HEAP_H
#define TESTS_SIM_SIM_HEAP_H

/* The memory of a simulated process.
 *
 * A process that dies takes all of its memory with it, at any moment, in the middle of a function.
 * So the simulator is linked with --wrap for malloc and its kin (meson.build lists them): while a
 * heap is current, what is allocated belongs to it, and sim_heap_drop frees all of that at once. It
 * also tells what a node that ended cleanly forgot to free.
 *
 * One thread. What libraries allocate for themselves (codec contexts) is not seen. */

#include <stddef.h>

struct sim_heap {
    size_t blocks;
    size_t bytes;
};

/* Makes a heap the current one (NULL: none, memory is the simulator's own) and gives back the one
 * before. */
struct sim_heap *sim_heap_switch(struct sim_heap *h);

/* Frees all that the heap holds. */
void sim_heap_drop(struct sim_heap *h);

/* Prints what it holds: size, and where in the program it was allocated. */
void sim_heap_report(const struct sim_heap *h);

/* When no heap is left: gives back the table. */
void sim_heap_end(void);

#endif
