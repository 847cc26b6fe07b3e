#include "tests/sim/sim_node.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "broker/config.h"
#include "broker/shard.h"
#include "protocol/base/check.h"
#include "protocol/compression.h"
#include "tests/sim/sim_world.h"

#define LOG_LINE_SHOWN 400

static void write_line(struct logger *l, enum logger_level level, const char *line, size_t size)
{
    struct sim_node *n = CONTAINER_OF(l, struct sim_node, logger);

    sim_trace_mix_bytes(&n->world->trace, line, size);
    sim_trace_say(&n->world->trace, "  %s %.*s", logger_level_name(level),
                  (int)(size < LOG_LINE_SHOWN ? size : LOG_LINE_SHOWN), line);
}

static void fill(struct random *r, void *out, size_t size)
{
    struct sim_node *n = CONTAINER_OF(r, struct sim_node, random);
    uint8_t *at = out;

    while (size-- > 0)
        *at++ = (uint8_t)sim_random_next(&n->chance);
}

static void on_ready(void *arg, struct status result)
{
    struct sim_node *n = arg;

    (void)result;
    n->ready = true;
}

static void on_failed(void *arg, struct status why)
{
    struct sim_node *n = arg;

    (void)why;
    n->failed = true;
}

void sim_boot_id(uint64_t boot, char out[SIM_BOOT_ID_CHARS + 1])
{
    snprintf(out, SIM_BOOT_ID_CHARS + 1, "boot-%llu", (unsigned long long)boot);
}

struct sim_node *sim_node_new(struct sim_machine *m, const struct sim_life *life)
{
    struct sim_world *w = m->world;
    struct clock *clock = &m->clock.base;
    struct sim_node *n = calloc(1, sizeof *n);

    CHECK(n != NULL);
    n->world = w;
    n->machine = m;
    n->logger = (struct logger){.level = LOGGER_DEBUG, .write = write_line};
    n->random = (struct random){fill};
    n->chance = sim_random_split(life->seed, 5);
    sim_boot_id(life->boot, n->boot_id);
    n->shard_count = life->shard_count;
    n->control_loop = sim_loop_create(&w->sched, clock, &n->heap, 1);
    sim_peers_init(&n->peers, &w->net, n, n->control_loop);
    for (size_t i = 0; i < n->shard_count; i++) {
        n->shard_loops[i] = sim_loop_create(&w->sched, clock, &n->heap, (uint32_t)(2 + i));
        n->shard_bases[i] = &n->shard_loops[i]->base;
        sim_peers_init(&n->followers[i], &w->net, n, n->shard_loops[i]);
        n->shard_peers[i] = &n->followers[i].base;
    }
    n->pool = sim_pool_create(&w->sched, &n->heap, &m->drive, life->pool_threads, life->seed);
    return n;
}

static struct status load_options(struct sim_node *n, const struct sim_life *life)
{
    struct config_sources sources = {.sets = life->sets, .set_count = life->set_count};
    struct config_problem problem = {""};
    struct status st =
        config_load(&sources, &n->machine->drive.files, &n->logger, &n->config, &problem);

    arena_init(&n->arena, CONFIG_ARENA_BYTES);
    if (!status_failed(st))
        st = config_node_options(n->config, &n->arena, &n->options, &problem);
    if (status_failed(st))
        sim_world_fail(n->world, "settings refused: %s", problem.text);
    return st;
}

static struct status open_state(struct node *node, const char *dir,
                                struct state_store_report *report, struct state_store **out)
{
    struct sim_node *n = CONTAINER_OF(node->env.logger, struct sim_node, logger);

    (void)dir;
    return sim_state_open(n, report, out);
}

static struct status begin(struct sim_node *n, const struct sim_life *life)
{
    struct node_env env = {
        .files = &n->machine->drive.files,
        .clock = &n->machine->clock.base,
        .random = &n->random,
        .logger = &n->logger,
        .pool = &n->pool->base,
        .control_loop = &n->control_loop->base,
        .shard_loops = n->shard_bases,
        .shard_count = n->shard_count,
        .peers = n->world->machine_count > 1 ? &n->peers.base : NULL,
        .shard_peers = n->world->machine_count > 1 ? n->shard_peers : NULL,
        .boot_id = n->boot_id,
        .open_state = open_state,
    };
    struct status st = load_options(n, life);

    if (!status_failed(st))
        st = node_create(&env, &n->options, &n->node);
    if (status_failed(st))
        return st;
    n->node->ready = on_ready;
    n->node->failed = on_failed;
    n->node->arg = n;
    node_start(n->node);
    return STATUS_OK;
}

struct status sim_node_begin(struct sim_node *n, const struct sim_life *life)
{
    struct sim_heap *before = sim_heap_switch(&n->heap);
    struct status st = begin(n, life);

    sim_heap_switch(before);
    return st;
}

void sim_node_look(struct sim_node *n)
{
    struct sim_connection *c;

    for (size_t i = 0; n->node && i < n->shard_count; i++) {
        if (!n->node->shards[i]->closing || n->shard_closed[i])
            continue;
        n->shard_closed[i] = true;
        DL_FOREACH(n->connections, c)
        if (c->client.shard->index == i)
            sim_connection_shard_stopped(c);
        sim_net_shard_stopped(&n->world->net, n, i);
    }
}

void sim_node_pause(struct sim_node *n, int64_t until_us)
{
    n->control_loop->runner.paused_until_us = until_us;
    n->pool->runner.paused_until_us = until_us;
    for (size_t i = 0; i < n->shard_count; i++)
        n->shard_loops[i]->runner.paused_until_us = until_us;
}

bool sim_node_idle(const struct sim_node *n)
{
    if (n->control_loop->post_count > 0 || !sim_pool_idle(n->pool))
        return false;
    for (size_t i = 0; i < n->shard_count; i++)
        if (n->shard_loops[i]->post_count > 0)
            return false;
    return true;
}

static size_t timers_left(const struct sim_node *n)
{
    size_t count = n->control_loop->timer_count;

    for (size_t i = 0; i < n->shard_count; i++)
        count += n->shard_loops[i]->timer_count;
    return count;
}

static void retire_connections(struct sim_node *n)
{
    struct sim_connection *c;

    DL_FOREACH(n->connections, c)
    sim_connection_retire(c);
    DL_CONCAT(n->world->retired, n->connections);
    n->connections = NULL;
}

void sim_node_end(struct sim_node *n)
{
    struct sim_heap *before;

    retire_connections(n);
    sim_net_node_gone(&n->world->net, n);
    before = sim_heap_switch(&n->heap);
    if (n->node)
        node_free(n->node);
    config_values_free(n->config);
    arena_free(&n->arena);
    sim_heap_switch(before);
    n->node = NULL;
    if (n->heap.blocks > 0) {
        sim_world_fail(n->world, "%zu blocks of %zu bytes are left of a node that ended cleanly",
                       n->heap.blocks, n->heap.bytes);
        sim_heap_report(&n->heap);
    }
    if (timers_left(n) > 0)
        sim_world_fail(n->world, "%zu timers are left of a node that ended cleanly",
                       timers_left(n));
    if (n->machine->drive.open_count > 0)
        sim_world_fail(n->world, "%zu files are left open by a node that ended cleanly",
                       n->machine->drive.open_count);
}

/* Codec contexts are the libraries' memory, which no heap of ours sees. */
static void free_codecs(struct sim_node *n)
{
    for (size_t i = 0; n->node && i < n->shard_count; i++)
        compression_scratch_free(n->node->shards[i]->scratch);
}

static void free_threads(struct sim_node *n)
{
    for (size_t i = 0; i < n->shard_count; i++) {
        sim_loop_free(n->shard_loops[i]);
        n->shard_loops[i] = NULL;
    }
    sim_loop_free(n->control_loop);
    n->control_loop = NULL;
    sim_pool_free(n->pool);
    n->pool = NULL;
}

void sim_node_died(struct sim_node *n)
{
    struct sim_connection *c;

    sim_state_died(n);
    DL_FOREACH(n->connections, c)
    sim_connection_process_died(c);
    sim_net_node_gone(&n->world->net, n);
    free_threads(n);
    free_codecs(n);
    n->node = NULL;
    sim_heap_drop(&n->heap);
}

void sim_node_free(struct sim_node *n)
{
    retire_connections(n);
    free_threads(n);
    free(n);
}
