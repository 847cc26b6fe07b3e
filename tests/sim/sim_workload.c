#include "tests/sim/sim_workload.h"

void sim_workload_init(struct sim_workload *l, struct sim_world *w)
{
    for (size_t i = 0; i < SIM_PRODUCERS; i++)
        sim_producer_init(&l->producers[i], w, i);
    for (size_t i = 0; i < SIM_CONSUMERS; i++)
        sim_consumer_init(&l->consumers[i], w, i);
    sim_admin_init(&l->admin, w);
    sim_reader_init(&l->reader, w);
}

void sim_workload_set_mode(struct sim_workload *l, enum sim_mode mode)
{
    for (size_t i = 0; i < SIM_PRODUCERS; i++)
        l->producers[i].mode = mode;
    l->admin.mode = mode;
}

void sim_workload_free(struct sim_workload *l)
{
    for (size_t i = 0; i < SIM_PRODUCERS; i++)
        sim_producer_free(&l->producers[i]);
    for (size_t i = 0; i < SIM_CONSUMERS; i++)
        sim_consumer_free(&l->consumers[i]);
    sim_admin_free(&l->admin);
    sim_reader_free(&l->reader);
}
