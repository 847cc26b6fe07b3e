/* Runs a story of Raft from a text file and compares where each node ended with what the file says:
 *
 *     # comment
 *     nodes 3; elect 1; append 1 a; settle
 *     ----
 *     1: leader   epoch 1  hw 2  log L@1 a@1
 *
 * With the environment variable SCENARIO_UPDATE set, the file's expectation is written anew. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/replication/raft_world.h"

struct story {
    struct world *world;
    const char *command; /* for error messages */
};

static bool do_nodes(struct story *s, int id, const char *word)
{
    s->world = world_new_with_observers(id, word ? atoi(word) : id, 1);
    return true;
}

static bool do_elect(struct story *s, int id, const char *word)
{
    (void)word;
    return world_elect(s->world, id);
}

static bool do_append(struct story *s, int id, const char *word)
{
    return word && world_append(s->world, id, word);
}

static bool do_settle(struct story *s, int id, const char *word)
{
    (void)id;
    (void)word;
    world_run(s->world, 400);
    return true;
}

static bool do_wait(struct story *s, int id, const char *word)
{
    (void)word;
    world_run(s->world, id);
    return true;
}

static bool do_cut(struct story *s, int id, const char *word)
{
    world_cut(s->world, id, word ? atoi(word) : 0);
    return true;
}

static bool do_heal(struct story *s, int id, const char *word)
{
    (void)word;
    world_heal(s->world, id);
    return true;
}

static bool do_crash(struct story *s, int id, const char *word)
{
    world_crash(s->world, id, word && strcmp(word, "losing") == 0);
    return true;
}

static bool do_start(struct story *s, int id, const char *word)
{
    (void)word;
    world_start(s->world, id);
    return true;
}

static bool do_stick(struct story *s, int id, const char *word)
{
    (void)word;
    world_stick_disk(s->world, id, true);
    return true;
}

static bool do_unstick(struct story *s, int id, const char *word)
{
    (void)word;
    world_stick_disk(s->world, id, false);
    return true;
}

static bool do_resign(struct story *s, int id, const char *word)
{
    (void)word;
    world_step(s->world, id, &(struct raft_event){.type = RAFT_RESIGN});
    return true;
}

static bool do_lose_leader(struct story *s, int id, const char *word)
{
    (void)word;
    world_step(s->world, id, &(struct raft_event){.type = RAFT_LEADER_LOST});
    return true;
}

static bool do_add(struct story *s, int id, const char *word)
{
    return word && world_change_voters(s->world, id, RAFT_ADD_VOTER, atoi(word)) == KERR_NONE;
}

static bool do_remove(struct story *s, int id, const char *word)
{
    return word && world_change_voters(s->world, id, RAFT_REMOVE_VOTER, atoi(word)) == KERR_NONE;
}

static bool do_add_too_early(struct story *s, int id, const char *word)
{
    return word &&
           world_change_voters(s->world, id, RAFT_ADD_VOTER, atoi(word)) == KERR_REQUEST_TIMED_OUT;
}

static const struct {
    const char *name;
    bool (*run)(struct story *s, int id, const char *word);
} commands[] = {
    {"nodes", do_nodes},
    {"elect", do_elect},
    {"append", do_append},
    {"settle", do_settle},
    {"wait", do_wait},
    {"cut", do_cut},
    {"heal", do_heal},
    {"crash", do_crash},
    {"start", do_start},
    {"stick", do_stick},
    {"unstick", do_unstick},
    {"resign", do_resign},
    {"lose-leader", do_lose_leader},
    {"add", do_add},
    {"remove", do_remove},
    {"add-too-early", do_add_too_early},
};

static bool run_command(struct story *s, char *text)
{
    char *rest = NULL;
    char *name = strtok_r(text, " \t", &rest);
    char *number = strtok_r(NULL, " \t", &rest);
    char *word = strtok_r(NULL, " \t", &rest);

    if (!name)
        return true;
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        if (strcmp(commands[i].name, name) == 0 && (s->world || commands[i].run == do_nodes)) {
            if (commands[i].run(s, number ? atoi(number) : 0, word))
                return true;
            fprintf(stderr, "'%s %s %s' did not work out; the world:\n", name, number ? number : "",
                    word ? word : "");
            world_print(s->world, stderr);
            return false;
        }
    fprintf(stderr, "unknown command '%s'\n", name);
    return false;
}

static bool run_line(struct story *s, char *line)
{
    char *rest = NULL;
    char *comment = strchr(line, '#');

    if (comment)
        *comment = '\0';
    for (char *c = strtok_r(line, ";\n", &rest); c; c = strtok_r(NULL, ";\n", &rest))
        if (!run_command(s, c))
            return false;
    return true;
}

static char *read_all(FILE *f)
{
    char *text = calloc(1, 64 * 1024);

    if (text)
        text[fread(text, 1, 64 * 1024 - 1, f)] = '\0';
    return text;
}

static int compare(const char *path, const char *script, const char *expected, const char *got)
{
    if (strcmp(expected, got) == 0)
        return 0;
    if (getenv("SCENARIO_UPDATE")) {
        FILE *f = fopen(path, "w");

        if (!f)
            return 1;
        fprintf(f, "%s----\n%s", script, got);
        fclose(f);
        return 0;
    }
    fprintf(stderr, "%s\nexpected:\n%sgot:\n%s", path, expected, got);
    return 1;
}

int main(int argc, char **argv)
{
    struct story s = {0};
    FILE *f = argc == 2 ? fopen(argv[1], "r") : NULL;
    char *text = f ? read_all(f) : NULL;
    char *separator = text ? strstr(text, "----\n") : NULL;
    char *got = NULL;
    size_t got_size = 0;
    FILE *out = open_memstream(&got, &got_size);
    char *script;
    int result = 1;

    if (!separator || !out) {
        fprintf(stderr, "usage: raft_scenario_test FILE, with a line ---- in it\n");
        return 2;
    }
    fclose(f);
    *separator = '\0';
    script = strdup(text);
    if (script && run_line(&s, (char[]){""})) {
        char *rest = NULL;
        bool good = true;

        for (char *line = strtok_r(text, "\n", &rest); line && good;
             line = strtok_r(NULL, "\n", &rest))
            good = run_line(&s, line);
        if (good && s.world) {
            world_print(s.world, out);
            fflush(out);
            result = compare(argv[1], script, separator + 5, got);
        }
    }
    fclose(out);
    free(got);
    free(script);
    free(text);
    if (s.world)
        world_free(s.world);
    return result;
}
