/* The simulator: runs seeds, and tells the first that breaks a promise. `node_sim --help`. */

#include <argp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/sim/sim_plant.h"
#include "tests/sim/sim_world.h"

#define SEEDS_DEFAULT         200
#define CLUSTER_SEEDS_DEFAULT 1000

static const char doc[] = "Runs a whole node, or a cluster, on one thread in virtual time, with "
                          "clients and failing disks, all from a seed.\v"
                          "A failure prints the seed that replays it. TRIVET_SIM_SEEDS is the "
                          "number of seeds when --seeds is not given.";

static const struct argp_option options[] = {
    {"seed", 's', "N", 0, "Run this seed only", 0},
    {"first", 'f', "N", 0, "First seed (default 1)", 0},
    {"seeds", 'n', "N", 0,
     "How many seeds (default: TRIVET_SIM_SEEDS, else 200, of a cluster 1000)", 0},
    {"step", 't', "N", 0, "Run every Nth seed only, for runs in parallel (default 1)", 0},
    {"verbose", 'v', 0, 0, "Print what happens", 0},
    {"twice", '2', 0, 0, "Run each seed twice: the traces must be the same", 0},
    {"machines", 'm', "N", 0, "A cluster of N nodes (default 1: a node by itself)", 0},
    {"seconds", 'T', "N", 0, "How long a cluster is disturbed, in virtual time", 0},
    {"plant", 'p', "BUG", 0,
     "A bug planted in the nodes of a cluster: truncation, early-ack, second-vote, double-vote, "
     "fsync, removed-in-isr, torn-state, generation, two-owners. The seeds must find it",
     0},
    {"lie", 'l', "KIND", 0, "A disk that lies about: sync, names, all. The seeds must find out", 0},
    {0},
};

struct arguments {
    struct sim_options sim;
    uint64_t first, count, step;
    bool twice;
    enum sim_plant plant;
};

static const char *const lies[SIM_LIE_COUNT] = {[SIM_LIE_NONE] = "none",
                                                [SIM_LIE_SYNC] = "sync",
                                                [SIM_LIE_NAMES] = "names",
                                                [SIM_LIE_FILESYSTEM] = "all"};

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct arguments *a = state->input;

    switch (key) {
    case 's':
        a->first = strtoull(value, NULL, 10);
        a->count = 1;
        return 0;
    case 'f':
        a->first = strtoull(value, NULL, 10);
        return 0;
    case 'n':
        a->count = strtoull(value, NULL, 10);
        return 0;
    case 't':
        a->step = strtoull(value, NULL, 10);
        return a->step > 0 ? 0 : EINVAL;
    case 'v':
        a->sim.verbose = true;
        return 0;
    case '2':
        a->twice = true;
        return 0;
    case 'm':
        a->sim.machines = (unsigned)strtoul(value, NULL, 10);
        return a->sim.machines >= 1 && a->sim.machines <= SIM_MACHINES_MAX ? 0 : EINVAL;
    case 'T':
        a->sim.seconds = (unsigned)strtoul(value, NULL, 10);
        return 0;
    case 'p':
        for (int i = 0; i < SIM_PLANT_COUNT; i++)
            if (strcmp(value, sim_plant_names[i]) == 0)
                a->plant = (enum sim_plant)i;
        return a->plant ? 0 : EINVAL;
    case 'l':
        for (int i = 0; i < SIM_LIE_COUNT; i++)
            if (strcmp(value, lies[i]) == 0)
                a->sim.lie = (enum sim_lie)i;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* ---- a broken CHECK, or a sanitizer's report: which seed it was ---- */

static char running[64];

static void tell_seed(void)
{
    ssize_t written = write(STDERR_FILENO, running, strlen(running));

    (void)written;
}

static void on_signal(int number)
{
    tell_seed();
    signal(number, SIG_DFL);
    raise(number);
}

void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static void watch_for_death(void)
{
    if (__sanitizer_set_death_callback) {
        __sanitizer_set_death_callback(tell_seed);
        signal(SIGABRT, on_signal);
        return;
    }
    signal(SIGABRT, on_signal);
    signal(SIGSEGV, on_signal);
}

/* ---- seeds ---- */

static bool run_seed(const struct arguments *a, struct sim_result *r)
{
    struct sim_result again;

    snprintf(running, sizeof running, "\nnode_sim: this was --seed %llu\n",
             (unsigned long long)a->sim.seed);
    (a->sim.machines > 1 ? sim_cluster_run : sim_world_run)(&a->sim, r);
    if (!r->failed && a->twice) {
        (a->sim.machines > 1 ? sim_cluster_run : sim_world_run)(&a->sim, &again);
        if (again.trace_hash != r->trace_hash) {
            r->failed = true;
            snprintf(r->failure, sizeof r->failure,
                     "two runs differ: trace %016llx after %llu steps, %016llx after %llu",
                     (unsigned long long)r->trace_hash, (unsigned long long)r->steps,
                     (unsigned long long)again.trace_hash, (unsigned long long)again.steps);
        }
    }
    return !r->failed;
}

static void tell_failure(const struct arguments *a, const char *program, const struct sim_result *r)
{
    printf("seed %llu, life %u, at %.6f s: %s\nreplay: %s --seed %llu",
           (unsigned long long)a->sim.seed, r->lives + 1, (double)r->virtual_us / 1e6, r->failure,
           program, (unsigned long long)a->sim.seed);
    if (a->sim.machines > 1)
        printf(" --machines %u", a->sim.machines);
    if (a->sim.seconds)
        printf(" --seconds %u", a->sim.seconds);
    if (a->plant)
        printf(" --plant %s", sim_plant_names[a->plant]);
    printf("%s%s --verbose\n", a->sim.lie ? " --lie " : "", a->sim.lie ? lies[a->sim.lie] : "");
}

static void add(struct sim_result *total, const struct sim_result *r)
{
    total->acknowledged += r->acknowledged;
    total->read_batches += r->read_batches;
    total->steps += r->steps;
    total->virtual_us += r->virtual_us;
    total->operations += r->operations;
    total->committed += r->committed;
    total->elections += r->elections;
    total->messages += r->messages;
    total->replicated += r->replicated;
    total->reforms += r->reforms;
    total->commits += r->commits;
    total->assignments += r->assignments;
}

static void tell_total(const struct sim_result *t, uint64_t seeds, unsigned machines)
{
    printf("%llu seeds: %.0f s of virtual time, %llu steps, %llu batches acknowledged, %llu read\n",
           (unsigned long long)seeds, (double)t->virtual_us / 1e6, (unsigned long long)t->steps,
           (unsigned long long)t->acknowledged, (unsigned long long)t->read_batches);
    if (machines > 1)
        printf("%u nodes each: %llu leaders elected, %llu metadata records, %llu batches "
               "committed, %llu messages, "
               "%llu requests of the operator carried out, %llu changes of voters, %llu commits of "
               "groups, %llu assignments of members\n",
               machines, (unsigned long long)t->elections, (unsigned long long)t->committed,
               (unsigned long long)t->replicated, (unsigned long long)t->messages,
               (unsigned long long)t->operations, (unsigned long long)t->reforms,
               (unsigned long long)t->commits, (unsigned long long)t->assignments);
}

int main(int argc, char **argv)
{
    static const struct argp argp = {options, parse, NULL, doc, NULL, NULL, NULL};
    const char *given = getenv("TRIVET_SIM_SEEDS");
    struct arguments a = {.first = 1, .step = 1};
    struct sim_result total = {0};
    uint64_t seeds = 0;
    bool fine = true;

    argp_parse(&argp, argc, argv, 0, NULL, &a);
    if (a.count == 0)
        a.count = given                ? strtoull(given, NULL, 10)
                  : a.sim.machines > 1 ? CLUSTER_SEEDS_DEFAULT
                                       : SEEDS_DEFAULT;
    setvbuf(stdout, NULL, _IOLBF, 0);
    watch_for_death();
    sim_plant(a.plant);
    for (a.sim.seed = a.first; a.sim.seed < a.first + a.count && fine; a.sim.seed += a.step) {
        struct sim_result r;

        fine = run_seed(&a, &r);
        if (!fine)
            tell_failure(&a, argv[0], &r);
        seeds++;
        add(&total, &r);
    }
    tell_total(&total, seeds, a.sim.machines);
    if (a.plant != SIM_PLANT_NONE) {
        printf("the planted bug was %s\n", fine ? "not found" : "found");
        return fine ? EXIT_FAILURE : EXIT_SUCCESS;
    }
    if (a.sim.lie != SIM_LIE_NONE) {
        printf("the disk's lie was %s\n", fine ? "not found" : "found");
        return fine ? EXIT_FAILURE : EXIT_SUCCESS;
    }
    return fine ? EXIT_SUCCESS : EXIT_FAILURE;
}
