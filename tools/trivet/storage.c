/* trivet storage format|info */

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "broker/config.h"
#include "broker/format.h"
#include "storage/files_real.h"
#include "storage/log_dir.h"
#include "tools/trivet/command.h"

#define SETS_MAX        256
#define METADATA_FOLDER "__cluster_metadata-0"
#define PATH_BYTES      4352

enum quorum_start { QUORUM_OF_SETTINGS, QUORUM_STANDALONE, QUORUM_OF_INITIAL, QUORUM_JOINED };

struct storage_arguments {
    const char *verb;
    const char *path;
    const char *sets[SETS_MAX];
    size_t set_count;
    const char *cluster_id;
    bool ignore_formatted;
    enum quorum_start quorum;
    const char *initial_controllers;
};

enum {
    KEY_IGNORE_FORMATTED = 0x100,
    KEY_STANDALONE,
    KEY_INITIAL_CONTROLLERS,
    KEY_NO_INITIAL_CONTROLLERS
};

static const struct argp_option options[] = {
    {"config", 'c', "FILE", 0, "The broker's settings", 0},
    {"set", 's', "KEY=VALUE", 0, "One setting; stronger than the file, may be repeated", 0},
    {"cluster-id", 't', "ID", 0, "format: the cluster's id (default: a new one)", 0},
    {"ignore-formatted", KEY_IGNORE_FORMATTED, NULL, 0,
     "format: leave directories alone that are formatted", 0},
    {"standalone", KEY_STANDALONE, NULL, 0,
     "format: this node is the quorum; others may be added later", 0},
    {"initial-controllers", KEY_INITIAL_CONTROLLERS, "ID@HOST:PORT:DIRECTORY,...", 0,
     "format: the quorum begins with these nodes, each formatted with this same list", 0},
    {"no-initial-controllers", KEY_NO_INITIAL_CONTROLLERS, NULL, 0,
     "format: this node joins the quorum of controller.quorum.bootstrap.servers later", 0},
    {0},
};

/* One way to begin a quorum, not several. */
static void choose_quorum(struct storage_arguments *a, enum quorum_start quorum,
                          struct argp_state *state)
{
    if (a->quorum != QUORUM_OF_SETTINGS)
        argp_error(state,
                   "only one of --standalone, --initial-controllers and --no-initial-controllers");
    a->quorum = quorum;
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct storage_arguments *a = state->input;

    switch (key) {
    case 'c':
        a->path = value;
        return 0;
    case 's':
        if (a->set_count == SETS_MAX)
            argp_error(state, "more than %d settings: use a file", SETS_MAX);
        else
            a->sets[a->set_count++] = value;
        return 0;
    case 't':
        a->cluster_id = value;
        return 0;
    case KEY_IGNORE_FORMATTED:
        a->ignore_formatted = true;
        return 0;
    case KEY_STANDALONE:
        choose_quorum(a, QUORUM_STANDALONE, state);
        return 0;
    case KEY_INITIAL_CONTROLLERS:
        choose_quorum(a, QUORUM_OF_INITIAL, state);
        a->initial_controllers = value;
        return 0;
    case KEY_NO_INITIAL_CONTROLLERS:
        choose_quorum(a, QUORUM_JOINED, state);
        return 0;
    case ARGP_KEY_ARG:
        if (a->verb)
            argp_error(state, "unexpected argument '%s'", value);
        a->verb = value;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* One of --initial-controllers. */
struct initial_controller {
    struct raft_replica_key key;
    struct raft_endpoint endpoint;
};

/* What both verbs work on. */
struct storage_tool {
    struct files *files;
    struct config_values *config;
    struct arena arena;
    struct node_options options;
    struct clock clock;
    struct random random;
    struct initial_controller initial[RAFT_VOTERS_MAX];
    size_t initial_count;
    struct uuid own_directory; /* of the metadata, as --initial-controllers says; zero: a new one */
};

static void tool_random(struct random *r, void *out, size_t size)
{
    (void)r;
    if (getrandom(out, size, 0) != (ssize_t)size)
        abort(); /* small requests are never cut short */
}

static int64_t tool_wall_ms(struct clock *c)
{
    (void)c;
    return (int64_t)time(NULL) * 1000;
}

static int complain(const char *where, const char *what)
{
    fprintf(stderr, "trivet: %s: %s\n", where, what);
    return EXIT_FAILED;
}

/* ---- format ---- */

static void name_cluster(struct storage_tool *t, const struct storage_arguments *a,
                         char out[META_CLUSTER_ID_CHARS_MAX + 1])
{
    const char *given = a->cluster_id ? a->cluster_id : t->options.cluster_id;
    struct uuid id;

    if (given) {
        snprintf(out, META_CLUSTER_ID_CHARS_MAX + 1, "%s", given);
        return;
    }
    do {
        tool_random(&t->random, id.bytes, sizeof id.bytes);
        id = uuid_from_random(id.bytes);
    } while (uuid_is_unsafe(id));
    uuid_format(id, out);
}

static const struct node_listener *controller_listener(const struct storage_tool *t)
{
    for (size_t i = 0; i < t->options.listener_count; i++)
        if (t->options.listeners[i].controller)
            return &t->options.listeners[i];
    return NULL;
}

/* ID@HOST:PORT:DIRECTORY; an IPv6 address in brackets. */
static bool parse_initial(struct storage_tool *t, struct str text, struct initial_controller *out)
{
    char *copy = arena_strdup(&t->arena, text);
    char *at = copy ? strchr(copy, '@') : NULL;
    char *directory = at ? strrchr(at, ':') : NULL;
    char *port, *host, *end;
    long number;

    if (!directory)
        return false;
    *directory++ = '\0';
    port = strrchr(at, ':');
    if (!port)
        return false;
    *port++ = '\0';
    *at = '\0';
    host = at + 1;
    if (host[0] == '[' && host[strlen(host) - 1] == ']') {
        host[strlen(host) - 1] = '\0';
        host++;
    }
    number = strtol(copy, &end, 10);
    if (end == copy || *end || number < 0 || number > INT32_MAX)
        return false;
    out->key.id = (int32_t)number;
    number = strtol(port, &end, 10);
    if (end == port || *end || number <= 0 || number > UINT16_MAX || host[0] == '\0')
        return false;
    out->endpoint = (struct raft_endpoint){str_from(controller_listener(t)->name), str_from(host),
                                           (uint16_t)number};
    return uuid_parse(str_from(directory), &out->key.directory_id) &&
           !uuid_is_reserved(out->key.directory_id);
}

static int parse_initials(struct storage_tool *t, const struct storage_arguments *a)
{
    struct str list = str_from(a->initial_controllers);
    struct str item;

    while (config_list_next(&list, &item)) {
        if (t->initial_count == RAFT_VOTERS_MAX)
            return complain("--initial-controllers", "too many");
        if (!parse_initial(t, item, &t->initial[t->initial_count]))
            return complain("--initial-controllers", "an entry is not ID@HOST:PORT:DIRECTORY");
        for (size_t i = 0; i < t->initial_count; i++)
            if (t->initial[i].key.id == t->initial[t->initial_count].key.id)
                return complain("--initial-controllers", "a node is there twice");
        if (t->initial[t->initial_count].key.id == t->options.node_id)
            t->own_directory = t->initial[t->initial_count].key.directory_id;
        t->initial_count++;
    }
    return uuid_is_zero(t->own_directory)
               ? complain("--initial-controllers", "this node is not among them")
               : EXIT_DONE;
}

static int check_quorum(struct storage_tool *t, const struct storage_arguments *a)
{
    bool dynamic = a->quorum != QUORUM_OF_SETTINGS;

    if (dynamic && t->options.voter_count > 0)
        return complain("settings",
                        "controller.quorum.voters makes the voters static: leave it out, and set "
                        "controller.quorum.bootstrap.servers");
    if (dynamic && !controller_listener(t))
        return complain("settings", "this node has no controller listener");
    return a->quorum == QUORUM_OF_INITIAL ? parse_initials(t, a) : EXIT_DONE;
}

static int format_metadata_dir(struct storage_tool *t, const struct storage_arguments *a,
                               const struct log_dir *d)
{
    const struct node_listener *l = controller_listener(t);
    struct raft_endpoint endpoint = {str_from(l ? l->name : NULL),
                                     str_from(l ? l->advertised_host : NULL),
                                     l ? l->advertised_port : 0};
    struct raft_voter voters[RAFT_VOTERS_MAX];
    size_t count = t->initial_count;
    char path[PATH_BYTES];
    struct status st;

    if (a->quorum == QUORUM_JOINED)
        return EXIT_DONE; /* what the cluster begins with is in the leader's log */
    for (size_t i = 0; i < count; i++)
        voters[i] = format_voter(t->initial[i].key, &t->initial[i].endpoint);
    if (count == 0 && t->options.voter_count <= 1)
        voters[count++] = format_voter(
            (struct raft_replica_key){t->options.node_id, d->meta.directory_id}, &endpoint);
    snprintf(path, sizeof path, "%s/%s", d->path, METADATA_FOLDER);
    st = format_metadata(t->files, &t->clock, path, voters, count);
    return status_failed(st) ? complain(path, st.where ? st.where : "cannot be formatted")
                             : EXIT_DONE;
}

static int format_one(struct storage_tool *t, const struct storage_arguments *a, const char *path,
                      const char *cluster_id)
{
    struct meta_error error = {""};
    struct log_dir d;
    struct status st = log_dir_open(t->files, path, &d, &error);
    int status = EXIT_DONE;

    if (status_failed(st))
        return complain(path, error.text);
    if (d.formatted && a->ignore_formatted) {
        printf("%s: is formatted already\n", path);
    } else if (d.formatted) {
        status = complain(path, "is formatted already; --ignore-formatted leaves it alone");
    } else {
        if (strcmp(path, t->options.metadata_log_dir) == 0)
            d.meta.directory_id = t->own_directory;
        st = log_dir_format(&d, cluster_id, t->options.node_id, &t->random);
        if (status_failed(st))
            status = complain(path, st.where ? st.where : "cannot be formatted");
        else if (strcmp(path, t->options.metadata_log_dir) == 0)
            status = format_metadata_dir(t, a, &d);
        if (status == EXIT_DONE)
            printf("%s: formatted, cluster %s, node %d\n", path, cluster_id, t->options.node_id);
    }
    log_dir_close(&d);
    return status;
}

static int storage_format(struct storage_tool *t, const struct storage_arguments *a)
{
    char cluster_id[META_CLUSTER_ID_CHARS_MAX + 1];
    bool metadata_apart = true;
    int status = EXIT_DONE;

    status = check_quorum(t, a);
    if (status != EXIT_DONE)
        return status;
    name_cluster(t, a, cluster_id);
    for (size_t i = 0; i < t->options.log_dir_count; i++) {
        status |= format_one(t, a, t->options.log_dirs[i], cluster_id);
        metadata_apart =
            metadata_apart && strcmp(t->options.log_dirs[i], t->options.metadata_log_dir) != 0;
    }
    if (metadata_apart)
        status |= format_one(t, a, t->options.metadata_log_dir, cluster_id);
    return status;
}

/* ---- info: looks only, takes no lock ---- */

struct contents {
    size_t logs;
    size_t deleted;
    size_t strays;
    bool metadata;
};

static void count_folder(void *arg, const struct log_dir_entry *entry, const char *name)
{
    struct contents *c = arg;

    if (strcmp(name, METADATA_FOLDER) == 0)
        c->metadata = true;
    else if (entry->kind == LOG_DIR_LOG)
        c->logs++;
    else if (entry->kind == LOG_DIR_DELETED)
        c->deleted++;
    else if (entry->kind == LOG_DIR_STRAY)
        c->strays++;
}

static int info_one(struct storage_tool *t, const char *path)
{
    struct log_dir looked = {.files = t->files, .path = (char *)(uintptr_t)path};
    struct meta_properties meta;
    struct meta_error error = {""};
    struct contents contents = {0};
    struct file_stat clean;
    char id[UUID_TEXT_CHARS + 1];
    char file[PATH_BYTES];
    struct status st = meta_properties_read(t->files, path, &meta, &error);

    if (status_failed(st))
        return complain(path, error.text[0] ? error.text : "is not formatted");
    st = log_dir_list(&looked, count_folder, &contents);
    if (status_failed(st))
        return complain(path, "cannot be listed");
    snprintf(file, sizeof file, "%s/.kafka_cleanshutdown", path);
    uuid_format(meta.directory_id, id);
    printf("%s\n  cluster %s\n  node %d\n  directory %s\n  partitions %zu, being deleted %zu, "
           "stray %zu\n",
           path, meta.cluster_id, meta.node_id, id, contents.logs, contents.deleted,
           contents.strays);
    printf("  metadata log %s\n  %s\n", contents.metadata ? "here" : "not here",
           status_failed(t->files->ops->stat(t->files, file, &clean))
               ? "running, or not stopped cleanly"
               : "stopped cleanly");
    return EXIT_DONE;
}

static int storage_info(struct storage_tool *t, const struct storage_arguments *a)
{
    int status = EXIT_DONE;

    (void)a;
    for (size_t i = 0; i < t->options.log_dir_count; i++)
        status |= info_one(t, t->options.log_dirs[i]);
    return status;
}

/* ---- the table ---- */

static const struct verb {
    const char *name;
    int (*run)(struct storage_tool *t, const struct storage_arguments *a);
} verbs[] = {{"format", storage_format}, {"info", storage_info}};

static int run_verb(const struct verb *v, const struct storage_arguments *a)
{
    struct storage_tool t = {.clock = {.wall_ms = tool_wall_ms}, .random = {tool_random}};
    struct config_sources sources = {a->path, a->sets, a->set_count, getenv("CLUSTER_ID")};
    struct config_problem problem = {"cannot use files"};
    struct status st = files_real_create(0, &t.files);
    int status;

    if (status_failed(st))
        return complain("files", problem.text);
    arena_init(&t.arena, (size_t)1 << 20);
    st = config_load(&sources, t.files, NULL, &t.config, &problem);
    if (!status_failed(st))
        st = config_node_options(t.config, &t.arena, &t.options, &problem);
    status = status_failed(st) ? complain("settings", problem.text) : v->run(&t, a);
    config_values_free(t.config);
    arena_free(&t.arena);
    files_real_free(t.files);
    return status;
}

int command_storage(int argc, char **argv)
{
    static const struct argp argp = {
        options,
        parse,
        "format|info",
        "Formats the log directories that the settings name, or says whose they are.",
        NULL,
        NULL,
        NULL};
    struct storage_arguments a = {0};

    argp_parse(&argp, argc, argv, 0, NULL, &a);
    for (size_t i = 0; a.verb && i < sizeof verbs / sizeof verbs[0]; i++)
        if (strcmp(a.verb, verbs[i].name) == 0)
            return run_verb(&verbs[i], &a);
    fprintf(stderr, "trivet storage: %s\nTry `trivet storage --help'.\n",
            a.verb ? "no such verb" : "what is to be done?");
    return EXIT_USAGE;
}
