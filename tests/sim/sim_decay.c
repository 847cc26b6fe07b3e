#include "tests/sim/sim_decay.h"

#include <stdio.h>
#include <string.h>

#include "storage/files_sim.h"
#include "storage/log_dir.h"
#include "tests/sim/sim_world.h"

#define VICTIMS_MAX 3
#define FLIPS_MAX   20

/* One of many, each as likely as the others, without a list of them. */
struct choice {
    struct sim_random *random;
    size_t seen;
    bool folders; /* of partitions; else files */
    char name[LOG_DIR_FOLDER_CHARS_MAX + 1];
};

static void consider(void *arg, const char *name, bool is_directory)
{
    struct choice *c = arg;

    if (is_directory != c->folders)
        return;
    if (is_directory) {
        const struct log_dir_entry entry = log_dir_parse_name(str_from(name));

        if (entry.kind != LOG_DIR_LOG || str_equal(entry.topic, STR("__cluster_metadata")))
            return;
    }
    if (sim_random_below(c->random, ++c->seen) == 0)
        snprintf(c->name, sizeof c->name, "%s", name);
}

/* False: there is none. */
static bool choose(struct sim_machine *m, struct sim_random *random, const char *path, bool folders,
                   struct choice *out)
{
    *out = (struct choice){.random = random, .folders = folders};
    (void)m->drive.inner->ops->list(m->drive.inner, path, consider, out);
    return out->seen > 0;
}

static void flip(struct sim_machine *m, struct sim_random *random, const char *folder)
{
    char path[600];
    struct file_stat info;
    struct choice file;

    if (!choose(m, random, folder, false, &file))
        return;
    snprintf(path, sizeof path, "%s/%s", folder, file.name);
    if (status_failed(m->drive.inner->ops->stat(m->drive.inner, path, &info)) || info.size == 0)
        return;
    (void)files_sim_flip_bit(m->drive.inner, path,
                             (int64_t)sim_random_below(random, (uint64_t)info.size),
                             (unsigned)sim_random_below(random, 8));
}

static void tell_checker(struct sim_world *w, const char *folder)
{
    const struct log_dir_entry entry = log_dir_parse_name(str_from(folder));
    char name[SIM_TOPIC_CHARS];
    struct sim_topic *t;

    if (entry.topic.size >= sizeof name)
        return;
    memcpy(name, entry.topic.data, entry.topic.size);
    name[entry.topic.size] = '\0';
    t = sim_checker_topic_named(&w->checker, str_from(name));
    if (t && entry.partition < SIM_PARTITIONS_MAX)
        t->partitions[entry.partition].damaged = true;
}

void sim_decay(struct sim_machine *m, struct sim_random *random)
{
    size_t victims = 1 + sim_random_below(random, VICTIMS_MAX);

    while (victims-- > 0) {
        size_t flips = 1 + sim_random_below(random, FLIPS_MAX);
        char directory[32], path[320];
        struct choice folder;

        snprintf(directory, sizeof directory, "/d%zu",
                 (size_t)sim_random_below(random, m->world->dir_count));
        if (!choose(m, random, directory, true, &folder))
            continue;
        snprintf(path, sizeof path, "%s/%s", directory, folder.name);
        sim_trace_say(&m->world->trace, "-- %zu bits flip in %s", flips, path);
        tell_checker(m->world, folder.name);
        while (flips-- > 0)
            flip(m, random, path);
    }
}
