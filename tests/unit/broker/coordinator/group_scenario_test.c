/* Runs a story of groups from a text file and compares what happened with what the file says:
 *
 *     # comment a join; a join; wait 3000; a sync ----
 *          0  a joins
 *          0  a: join MEMBER_ID_REQUIRED as a-1f3c
 *     …
 *
 * What can happen: every answer, record and change of a group's state (milliseconds from the start
 * before it; a star marks a group's leader). A first word that is no command is a client: it is
 * made when it is first named, in group "g", with protocols=range:t, session=10000,
 * rebalance=30000; words with = set what set_client below knows, and stay. A first word with a plus
 * is a member of the new protocol (KIP-848): "+a beats", "leaves" (-1) or "goes" (-2); topics=t,
 * regex=-, instance=-, assignor=-, rebalance=30000, lazy=0 (1: it keeps what it is to give back
 * until "+a gives"). "topic t 4" makes or grows a topic, "topic-gone t" ends it, "resolve" answers
 * the next regular expression, with "real-assignments" classic leaders hand out partitions (round
 * robin) instead of a text. With the environment variable SCENARIO_UPDATE set, the file's
 * expectation is written anew. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/broker/coordinator/group_members.h"

enum { WORDS_MAX = 12 };

struct words {
    char *word[WORDS_MAX];
    size_t count;
};

static const char *word(const struct words *v, size_t i)
{
    return i < v->count ? v->word[i] : "";
}

static int64_t number(const struct words *v, size_t i)
{
    return strtoll(word(v, i), NULL, 10);
}

/* ---- settings ---- */

static bool set_text(char *to, size_t size, const char *value)
{
    snprintf(to, size, "%s", strcmp(value, "-") == 0 ? "" : value);
    return true;
}

static bool set_client(struct group_world *w, struct world_client *c, const char *key,
                       const char *value)
{
    if (strcmp(key, "id") == 0 && value[0] == '@')
        return set_text(c->id, sizeof c->id, world_client(w, value + 1)->id);
    if (strcmp(key, "id") == 0)
        return set_text(c->id, sizeof c->id, value);
    if (strcmp(key, "group") == 0)
        return set_text(c->group, sizeof c->group, value);
    if (strcmp(key, "instance") == 0)
        return set_text(c->instance, sizeof c->instance, value);
    if (strcmp(key, "type") == 0)
        return set_text(c->type, sizeof c->type, value);
    if (strcmp(key, "protocols") == 0)
        return set_text(c->protocols, sizeof c->protocols, value);
    if (strcmp(key, "assign") == 0)
        return set_text(c->assignor, sizeof c->assignor, value);
    if (strcmp(key, "sync-protocol") == 0)
        return set_text(c->sync_protocol, sizeof c->sync_protocol, value);
    if (strcmp(key, "session") == 0)
        c->session_ms = atoi(value);
    else if (strcmp(key, "rebalance") == 0)
        c->rebalance_ms = atoi(value);
    else if (strcmp(key, "generation") == 0)
        c->generation = atoi(value);
    else if (strcmp(key, "old") == 0)
        c->old = atoi(value);
    else if (strcmp(key, "raw") == 0)
        c->raw = atoi(value);
    else if (strcmp(key, "noskip") == 0)
        c->no_skip = atoi(value);
    else
        return false;
    return true;
}

static bool do_set(struct group_world *w, const struct words *v)
{
    const struct {
        const char *name;
        int32_t *setting;
    } settings[] = {
        {"initial-delay", &w->settings.initial_rebalance_delay_ms},
        {"max-size", &w->settings.max_size},
        {"min-session", &w->settings.min_session_timeout_ms},
        {"max-session", &w->settings.max_session_timeout_ms},
        {"metadata-max", &w->settings.offset_metadata_bytes_max},
    };

    if (strcmp(word(v, 1), "retention") == 0) {
        w->settings.offsets_retention_ms = number(v, 2);
        return true;
    }
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        if (strcmp(word(v, 1), settings[i].name) == 0) {
            *settings[i].setting = (int32_t)number(v, 2);
            return true;
        }
    return false;
}

/* ---- commands ---- */

static bool do_wait(struct group_world *w, const struct words *v)
{
    world_wait(w, number(v, 1));
    return true;
}

static bool do_hold(struct group_world *w, const struct words *v)
{
    (void)v;
    w->hold = true;
    return true;
}

static bool do_commit(struct group_world *w, const struct words *v)
{
    fprintf(w->story, "%6lld  what was written is committed%s\n", (long long)w->now_ms - 1000,
            v->count > 1 ? ", in part" : "");
    world_commit(w, number(v, 1));
    w->hold = v->count > 1; /* all: and from now on as usual */
    return true;
}

static bool do_crash(struct group_world *w, const struct words *v)
{
    (void)v;
    fprintf(w->story, "%6lld  the coordinator moves\n", (long long)w->now_ms - 1000);
    world_crash(w);
    return true;
}

static bool do_load(struct group_world *w, const struct words *v)
{
    world_need(w, word(v, 1));
    return true;
}

static bool do_evict(struct group_world *w, const struct words *v)
{
    (void)v;
    group_core_evict(w->core, w->now_ms + 1, 100);
    fprintf(w->story, "%6lld  %u groups stay in memory\n", (long long)w->now_ms - 1000,
            HASH_COUNT(w->core->groups));
    return true;
}

static bool do_describe(struct group_world *w, const struct words *v)
{
    world_describe(w, word(v, 1));
    return true;
}

static bool do_delete(struct group_world *w, const struct words *v)
{
    world_delete(w, word(v, 1));
    return true;
}

static bool do_expire(struct group_world *w, const struct words *v)
{
    world_expire(w, word(v, 1));
    return true;
}

static bool do_offset_delete(struct group_world *w, const struct words *v)
{
    world_offset_delete(w, word(v, 1), word(v, 2), (int32_t)number(v, 3));
    return true;
}

static bool do_remove(struct group_world *w, const struct words *v)
{
    const char *id = word(v, 2);

    if (id[0] == '@')
        id = world_client(w, id + 1)->id;
    world_remove(w, word(v, 1), strcmp(id, "-") == 0 ? "" : id, word(v, 3));
    return true;
}

static bool do_offset(struct group_world *w, const struct words *v)
{
    fprintf(w->story, "%6lld  stored: %s %s-%s = %lld\n", (long long)w->now_ms - 1000, word(v, 1),
            word(v, 2), word(v, 3),
            (long long)world_offset(w, word(v, 1), word(v, 2), (int32_t)number(v, 3)));
    return true;
}

static bool do_topic(struct group_world *w, const struct words *v)
{
    if (metadata_image_topic(w->images.image, str_from(word(v, 1))))
        image_world_grow(&w->images, word(v, 1), (int32_t)number(v, 2));
    else
        image_world_topic(&w->images, word(v, 1), (int32_t)number(v, 2));
    world_new_image(w);
    return true;
}

static bool do_topic_gone(struct group_world *w, const struct words *v)
{
    image_world_remove_topic(&w->images, word(v, 1));
    world_new_image(w);
    return true;
}

static bool do_resolve(struct group_world *w, const struct words *v)
{
    (void)v;
    return world_resolve_regex(w->more);
}

static bool do_real_assignments(struct group_world *w, const struct words *v)
{
    (void)v;
    classic_assigns(w->more, (struct classic_assignor){0});
    return true;
}

static bool list_one(void *arg, const struct group_listed *g)
{
    struct group_world *w = arg;

    fprintf(w->story, "%6lld  listed: %.*s type %.*s, %.*s, protocol type '%.*s'\n",
            (long long)w->now_ms - 1000, STR_ARG(g->group), STR_ARG(g->type), STR_ARG(g->state),
            STR_ARG(g->protocol_type));
    return true;
}

static bool do_list(struct group_world *w, const struct words *v)
{
    (void)v;
    group_core_list(w->core, list_one, w);
    return true;
}

static const struct {
    const char *name;
    bool (*run)(struct group_world *w, const struct words *v);
} commands[] = {
    {"set", do_set},         {"wait", do_wait},
    {"hold", do_hold},       {"commit", do_commit},
    {"crash", do_crash},     {"load", do_load},
    {"evict", do_evict},     {"describe", do_describe},
    {"delete", do_delete},   {"expire", do_expire},
    {"remove", do_remove},   {"offset-delete", do_offset_delete},
    {"offset", do_offset},   {"list", do_list},
    {"topic", do_topic},     {"topic-gone", do_topic_gone},
    {"resolve", do_resolve}, {"real-assignments", do_real_assignments},
};

static bool run_client(struct group_world *w, struct words *v)
{
    struct world_client *c = world_client(w, v->word[0]);
    size_t count = 0;

    for (size_t i = 1; i < v->count; i++) {
        char *equals = strchr(v->word[i], '=');

        if (!equals) {
            v->word[++count] = v->word[i];
            continue;
        }
        *equals = '\0';
        if (!set_client(w, c, v->word[i], equals + 1))
            return false;
    }
    v->count = count + 1;
    if (strcmp(word(v, 1), "join") == 0)
        world_join(w, c);
    else if (strcmp(word(v, 1), "sync") == 0)
        world_sync(w, c);
    else if (strcmp(word(v, 1), "heartbeat") == 0)
        world_heartbeat(w, c);
    else if (strcmp(word(v, 1), "leave") == 0)
        world_leave(w, c);
    else if (strcmp(word(v, 1), "commits") == 0)
        world_commit_offset(w, c, word(v, 2), (int32_t)number(v, 3), number(v, 4), word(v, 5));
    else
        return v->count == 1;
    return true;
}

/* ---- members of the new protocol ---- */

static bool set_member(struct group_member *m, const char *key, const char *value)
{
    if (strcmp(key, "id") == 0)
        return set_text(m->id, sizeof m->id, value);
    if (strcmp(key, "group") == 0)
        return set_text(m->group, sizeof m->group, value);
    if (strcmp(key, "instance") == 0)
        return set_text(m->instance, sizeof m->instance, value);
    if (strcmp(key, "assignor") == 0)
        return set_text(m->assignor, sizeof m->assignor, value);
    if (strcmp(key, "lazy") == 0)
        m->lazy = atoi(value);
    else if (strcmp(key, "rebalance") == 0)
        m->rebalance_ms = atoi(value);
    else if (strcmp(key, "epoch") == 0)
        m->epoch = atoi(value);
    else if (strcmp(key, "topics") == 0)
        snprintf(m->topics, sizeof m->topics, "%s", value);
    else if (strcmp(key, "regex") == 0)
        snprintf(m->regex, sizeof m->regex, "%s", value);
    else
        return false;
    m->full |= strcmp(key, "topics") == 0 || strcmp(key, "regex") == 0;
    return true;
}

static bool run_member(struct group_world *w, struct words *v)
{
    struct group_members *all = w->more;
    struct group_member *m = group_member(all, v->word[0] + 1);

    for (size_t i = 1; i < v->count; i++) {
        char *equals = strchr(v->word[i], '=');

        if (equals) {
            *equals = '\0';
            if (!set_member(m, v->word[i], equals + 1))
                return false;
        } else if (strcmp(v->word[i], "beats") == 0) {
            member_heartbeat(all, m);
        } else if (strcmp(v->word[i], "leaves") == 0) {
            member_leaves(all, m, -1);
        } else if (strcmp(v->word[i], "goes") == 0) {
            member_leaves(all, m, -2);
        } else if (strcmp(v->word[i], "gives") == 0) {
            member_gives_back(m);
        } else {
            return false;
        }
    }
    return true;
}

static bool run_command(struct group_world *w, char *text)
{
    char *copy = strdup(text), *rest = NULL;
    struct words v = {0};
    bool good = true, found = false;

    for (char *t = strtok_r(text, " \t", &rest); t && v.count < WORDS_MAX;
         t = strtok_r(NULL, " \t", &rest))
        v.word[v.count++] = t;
    for (size_t i = 0; v.count && i < sizeof commands / sizeof *commands; i++)
        if (strcmp(commands[i].name, v.word[0]) == 0) {
            found = true;
            good = commands[i].run(w, &v);
        }
    if (v.count && !found)
        good = v.word[0][0] == '+' ? run_member(w, &v) : run_client(w, &v);
    if (!good)
        fprintf(stderr, "'%s' makes no sense\n", copy);
    for (struct world_state *s = w->states; s; s = s->hh.next)
        world_check_reload(w, s->group);
    free(copy);
    return good;
}

static bool run_story(struct group_world *w, char *text)
{
    char *lines = NULL, *rest = NULL;

    for (char *line = strtok_r(text, "\n", &lines); line; line = strtok_r(NULL, "\n", &lines)) {
        char *comment = strchr(line, '#');

        if (comment)
            *comment = '\0';
        for (char *c = strtok_r(line, ";", &rest); c; c = strtok_r(NULL, ";", &rest))
            if (!run_command(w, c))
                return false;
    }
    return true;
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
    static char text[256 * 1024];
    FILE *f = argc == 2 ? fopen(argv[1], "r") : NULL;
    char *separator, *got = NULL, *script;
    size_t got_size = 0;
    static struct group_members members;
    struct group_world *w;
    int result = 1;

    if (f)
        text[fread(text, 1, sizeof text - 1, f)] = '\0';
    separator = strstr(text, "----\n");
    if (!separator) {
        fprintf(stderr, "usage: group_scenario_test FILE, with a line ---- in it\n");
        return 2;
    }
    fclose(f);
    *separator = '\0';
    script = strdup(text);
    w = world_new(1);
    group_members_init(&members, w);
    w->story = open_memstream(&got, &got_size);
    if (script && w->story && run_story(w, text)) {
        fflush(w->story);
        result = compare(argv[1], script, separator + 5, got);
    }
    fclose(w->story);
    w->story = NULL;
    world_free(w);
    free(got);
    free(script);
    return result;
}
