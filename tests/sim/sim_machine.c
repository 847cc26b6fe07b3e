#include "tests/sim/sim_machine.h"

#include <errno.h>
#include <stdio.h>

#include "storage/files_sim.h"
#include "storage/log_dir.h"
#include "tests/sim/sim_world.h"

#define WALL_JUMP_MS       (10 * 60 * 1000)
#define WALL_OFFSET_MS_MAX (20 * 60 * 1000) /* less than message.timestamp.after.max.ms */
#define BOOTS_OF_A_SEED    1000
#define SEEDS_APART        1000003 /* between the chances of two machines */

static uint64_t seed_of(const struct sim_machine *m)
{
    return m->world->seed + m->index * (uint64_t)SEEDS_APART;
}

void sim_machine_init(struct sim_machine *m, struct sim_world *w, unsigned index)
{
    *m = (struct sim_machine){.world = w, .index = index};
    sim_clock_init(&m->clock, &w->sched);
    sim_drive_init(&m->drive, &m->clock.base, seed_of(m), &w->trace);
}

void sim_machine_free(struct sim_machine *m)
{
    if (m->node) {
        sim_node_died(m->node);
        sim_drive_process_died(&m->drive);
        sim_node_free(m->node);
        m->node = NULL; /* other machines look at it when their turn comes */
    }
    if (m->ghost)
        sim_node_free(m->ghost);
    sim_state_free(&m->state);
    sim_drive_free(&m->drive);
}

struct sim_life sim_machine_next_life(struct sim_machine *m, struct sim_random *random)
{
    return (struct sim_life){
        .shard_count = 1 + sim_random_below(random, SIM_SHARDS_MAX),
        .pool_threads = 1 + sim_random_below(random, SIM_POOL_THREADS_MAX),
        .boot = m->boot,
        .seed = seed_of(m) * BOOTS_OF_A_SEED + ++m->attempts,
    };
}

/* ---- disturbances ---- */

void sim_machine_heal(struct sim_machine *m)
{
    files_sim_heal(m->drive.inner);
    files_sim_set_capacity(m->drive.inner, 0);
    files_sim_set_cold(m->drive.inner, false);
    m->drive.slowness = 1;
    m->drive.dies_after = 0;
    sim_state_heal(&m->state);
    if (m->node && m->node->pool) /* a process that died has none */
        sim_pool_hasten(m->node->pool);
}

static enum sim_harm slow_down(struct sim_machine *m, struct sim_random *random)
{
    m->drive.slowness = sim_random_between(random, 2, 300);
    sim_trace_say(&m->world->trace, "-- disk %u slower by %lld", m->index,
                  (long long)m->drive.slowness);
    return SIM_HARM_SLOW;
}

static enum sim_harm fill_up(struct sim_machine *m, struct sim_random *random)
{
    int64_t room = (int64_t)sim_random_below(random, 60000);

    files_sim_set_capacity(m->drive.inner, files_sim_used_bytes(m->drive.inner) + room);
    sim_trace_say(&m->world->trace, "-- disk %u full after %lld more bytes", m->index,
                  (long long)room);
    return SIM_HARM_FAILS;
}

void sim_machine_fail_calls(struct sim_machine *m, struct sim_random *random)
{
    static const enum files_call calls[] = {
        FILES_CALL_WRITE,          FILES_CALL_WRITE,          FILES_CALL_SYNC,
        FILES_CALL_SYNC,           FILES_CALL_SYNC_DIRECTORY, FILES_CALL_OPEN,
        FILES_CALL_READ,           FILES_CALL_RENAME,         FILES_CALL_REMOVE,
        FILES_CALL_MAKE_DIRECTORY, FILES_CALL_TRUNCATE,       FILES_CALL_ANY};
    char prefix[32];
    struct files_fault f = {
        .call = calls[sim_random_below(random, sizeof calls / sizeof calls[0])],
        .after = sim_random_below(random, 60),
        .times = sim_random_below(random, 4),
        .sys_errno = sim_random_chance(random, 80) ? EIO : ENOSPC,
        .partial = sim_random_chance(random, 50),
    };

    if (sim_random_chance(random, 80)) {
        snprintf(prefix, sizeof prefix, "/d%zu",
                 (size_t)sim_random_below(random, m->world->dir_count));
        f.prefix = prefix;
    }
    files_sim_fail(m->drive.inner, &f);
    sim_trace_say(&m->world->trace,
                  "-- disk %u: calls of kind %d fail below %s: %llu after %llu more", m->index,
                  f.call, f.prefix ? f.prefix : "/", (unsigned long long)f.times,
                  (unsigned long long)f.after);
}

static enum sim_harm fail_calls(struct sim_machine *m, struct sim_random *random)
{
    sim_machine_fail_calls(m, random);
    return SIM_HARM_FAILS;
}

static enum sim_harm fail_state(struct sim_machine *m, struct sim_random *random)
{
    if (!sim_state_fail(&m->state, random))
        return SIM_HARM_NONE;
    sim_trace_say(&m->world->trace, "-- the state store %u is going to fail", m->index);
    return SIM_HARM_FAILS;
}

static enum sim_harm jump_clock(struct sim_machine *m, struct sim_random *random)
{
    int64_t offset_ms =
        m->clock.offset_ms + sim_random_between(random, -WALL_JUMP_MS, WALL_JUMP_MS);

    if (offset_ms > WALL_OFFSET_MS_MAX || offset_ms < -WALL_OFFSET_MS_MAX)
        offset_ms = 0;
    sim_trace_say(&m->world->trace, "-- the clock %u jumps by %lld ms", m->index,
                  (long long)(offset_ms - m->clock.offset_ms));
    m->clock.offset_ms = offset_ms;
    return SIM_HARM_NONE;
}

static enum sim_harm chill(struct sim_machine *m, struct sim_random *random)
{
    (void)random;
    files_sim_set_cold(m->drive.inner, true);
    sim_trace_say(&m->world->trace, "-- the page cache %u is empty", m->index);
    return SIM_HARM_NONE;
}

static enum sim_harm stumble(struct sim_machine *m, struct sim_random *random)
{
    (void)random;
    m->world->sched.pauses = !m->world->sched.pauses;
    return SIM_HARM_NONE;
}

enum sim_harm sim_machine_disturb(struct sim_machine *m, struct sim_random *random, bool may_fail)
{
    typedef enum sim_harm disturb(struct sim_machine * m, struct sim_random * random);
    static disturb *const mild[] = {slow_down, jump_clock, chill, stumble};
    static disturb *const harsh[] = {fill_up, fail_calls, fail_calls, fail_state};

    if (may_fail && sim_random_chance(random, 50))
        return harsh[sim_random_below(random, sizeof harsh / sizeof harsh[0])](m, random);
    return mild[sim_random_below(random, sizeof mild / sizeof mild[0])](m, random);
}

/* Whether the next start on this boot would take for written what the disk refused: a directory was
 * not marked in time. */
static bool is_deceived(struct sim_machine *m, const char *path)
{
    struct log_dir d = {.files = m->drive.inner, .path = (char *)(uintptr_t)path};
    char boot_id[SIM_BOOT_ID_CHARS + 1];
    struct log_dir_history history;

    sim_boot_id(m->boot, boot_id);
    return status_failed(log_dir_read_history(&d, str_from(boot_id), &history)) ||
           !history.cache_distrusted;
}

bool sim_machine_lose(struct sim_machine *m, bool with_machine)
{
    bool refused = false;
    char path[32];

    for (size_t i = 0; i < m->world->dir_count; i++) {
        snprintf(path, sizeof path, "/d%zu", i);
        if (!files_sim_pretends(m->drive.inner, path))
            continue;
        refused = true; /* the next start lets go of it */
        with_machine = with_machine || is_deceived(m, path);
    }
    if (with_machine) {
        sim_drive_machine_died(&m->drive);
        m->boot++;
    } else {
        sim_drive_process_died(&m->drive);
    }
    m->memory_lost = m->memory_lost || with_machine || refused;
    return with_machine || refused;
}
