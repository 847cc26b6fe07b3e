#ifndef TESTS_SIM_SIM_OPERATOR_H
#define TESTS_SIM_SIM_OPERATOR_H

/* The operator of a cluster: makes, grows, changes and deletes topics through any node, one thing
 * at a time, and at the end asks each node what there is. Names are used once, so that what was
 * acknowledged, asked for or refused decides what may be there, however late a request was carried
 * out. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/uuid.h"
#include "storage/executor.h"
#include "tests/sim/sim_connection.h"
#include "tests/sim/sim_random.h"

struct sim_world;

#define SIM_OPERATED_MAX 40

enum sim_sure { SIM_NOT_ASKED, SIM_ASKED, SIM_DONE };

struct sim_operated {
    char name[16];
    struct uuid id; /* once its creation was acknowledged */
    enum sim_sure created, deleted;
    int32_t partitions; /* acknowledged */
    int32_t partitions_max;
    int16_t replicas;
};

enum sim_task {
    SIM_TASK_REST,
    SIM_TASK_WORK,
    SIM_TASK_PROVE, /* one topic through each node, then what each node knows */
};

struct sim_operator {
    struct sim_world *world;
    struct sim_random random;
    struct timer timer;
    struct sim_connection *connection;
    int64_t asked_us;
    bool waiting;
    enum sim_task task;
    unsigned machine; /* of SIM_TASK_PROVE: the next to be proved; those before are */
    bool made;        /* likewise: the topic through it */
    struct sim_operated topics[SIM_OPERATED_MAX];
    size_t topic_count;
    size_t at;     /* the topic that the request is about */
    int32_t count; /* or a partition of it */
    int64_t offset;
    uint64_t done; /* requests that were carried out */
};

void sim_operator_init(struct sim_operator *o, struct sim_world *w);
void sim_operator_set(struct sim_operator *o, enum sim_task task);
bool sim_operator_proved(const struct sim_operator *o);
void sim_operator_free(struct sim_operator *o);

#endif
