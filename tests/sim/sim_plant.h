#ifndef TESTS_SIM_SIM_PLANT_H
#define TESTS_SIM_SIM_PLANT_H

/* Bugs planted in a node, to see whether the simulator would find them. Functions of the broker are
 * wrapped by the linker (meson.build lists them), in this program only; without a plant they do
 * what they do. */

enum sim_plant {
    SIM_PLANT_NONE,
    SIM_PLANT_TRUNCATION, /* a follower keeps what its leader does not have */
    SIM_PLANT_EARLY_ACK,  /* acks=all is answered before the ISR has it */
    SIM_PLANT_VOTE,       /* votes are not written down: after a restart a voter votes again */
    SIM_PLANT_VOTES,      /* a voter votes for whoever asks first and for whoever asks then, in one
                      * epoch */
    SIM_PLANT_FSYNC,      /* logs of partitions and metadata are written, and not synced */
    SIM_PLANT_ISR,        /* a replica that a reassignment removed stays in the ISR */
    SIM_PLANT_STATE,      /* the coordinators' state goes back in a crash, its marks do not */
    SIM_PLANT_GENERATION, /* a coordinator that takes over a group counts its generations from 0 */
    SIM_PLANT_OWNER,      /* a partition is given to a member while another still has it */
    SIM_PLANT_COUNT,
};

extern const char *const sim_plant_names[SIM_PLANT_COUNT];

void sim_plant(enum sim_plant plant);

#endif
