/* trivetd: reads its settings, runs a server, ends on SIGTERM or SIGINT. */

#include <argp.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "broker/config.h"
#include "broker/server.h"
#include "broker/version.h"
#include "storage/files_real.h"

#define FAREWELL_MS 200 /* what clients are told of a failure is on its way to them */
#define SETS_MAX    256

const char *argp_program_version = "trivetd " TRIVET_VERSION;

static const char doc[] = "A Kafka-protocol broker.\v"
                          "Settings are those of Apache Kafka's server.properties. Without any it "
                          "is a whole single-node cluster on "
                          "127.0.0.1:9092 with its data in ./trivet-data, formatted at the first "
                          "start. CLUSTER_ID in the "
                          "environment names a new cluster. With --env so are settings taken from "
                          "it: KAFKA_LOG_DIRS for log.dirs, __ for _, ___ "
                          "for -; stronger than the file.";

static const struct argp_option options[] = {
    {"config", 'c', "FILE", 0, "Read settings from FILE", 0},
    {"set", 's', "KEY=VALUE", 0, "Set one; stronger than the file, may be repeated", 0},
    {"env", 'e', NULL, 0, "Take KAFKA_* variables of the environment, as Apache Kafka's image does",
     0},
    {"log-level", 'l', "LEVEL", 0, "debug, info (default), warn or error", 0},
    {0},
};

struct arguments {
    const char *path;
    const char *sets[SETS_MAX];
    size_t set_count;
    bool environment;
    enum logger_level level;
};

static enum logger_level parse_level(const char *text, struct argp_state *state)
{
    for (enum logger_level level = LOGGER_DEBUG; level <= LOGGER_ERROR; level++)
        if (strcmp(text, logger_level_name(level)) == 0)
            return level;
    argp_error(state, "unknown log level '%s'", text);
    return LOGGER_INFO;
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct arguments *a = state->input;

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
    case 'e':
        a->environment = true;
        return 0;
    case 'l':
        a->level = parse_level(value, state);
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "unexpected argument '%s'", value);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* ---- the log: one line an event on standard error ---- */

static void stderr_write(struct logger *l, enum logger_level level, const char *line, size_t size)
{
    struct timespec now;
    struct tm parts;
    char stamp[80];
    char out[1200];
    int length;

    (void)l;
    (void)level;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &parts);
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &parts);
    length = snprintf(out, sizeof out, "ts=%s.%03ldZ %.*s\n", stamp, now.tv_nsec / 1000000,
                      (int)size, line);
    if (length > 0) {
        ssize_t written = write(STDERR_FILENO, out, (size_t)length);

        (void)written; /* there is nowhere to complain to */
    }
}

static void say_started(const struct server *s, const struct node_options *o, struct logger *logger)
{
    logger_event(logger, LOGGER_INFO, "broker_started", "node_id=%d port=%u pid=%d version=%s",
                 o->node_id, server_port(s), getpid(), TRIVET_VERSION);
}

/* Until a signal or the node's failure, whether or not it ever serves clients. True: a signal. */
static bool wait_for_end(const struct server *s, const struct node_options *o,
                         struct logger *logger, int signals)
{
    enum { SIGNALS, FAILURE, READY };
    struct pollfd fds[] = {[SIGNALS] = {.fd = signals, .events = POLLIN},
                           [FAILURE] = {.fd = server_failure_fd(s), .events = POLLIN},
                           [READY] = {.fd = server_ready_fd(s), .events = POLLIN}};

    for (;;) {
        if (poll(fds, sizeof fds / sizeof fds[0], -1) < 0) {
            if (errno == EINTR)
                continue;
            return true;
        }
        if (fds[READY].revents & POLLIN) {
            say_started(s, o, logger);
            fds[READY].fd = -1; /* once */
        }
        if (fds[FAILURE].revents & POLLIN)
            return false;
        if (fds[SIGNALS].revents & POLLIN)
            return true;
    }
}

static int run(const struct node_options *o, struct logger *logger, int signals)
{
    struct server *s;
    bool asked;

    if (status_failed(server_start(o, logger, &s)))
        return EXIT_FAILURE;
    asked = wait_for_end(s, o, logger, signals);
    logger_event(logger, LOGGER_INFO, "broker_stopping", "reason=%s", asked ? "signal" : "failure");
    if (!asked || !server_stop(s)) { /* it failed: its threads are still at work */
        poll(NULL, 0, FAREWELL_MS);
        logger_event(logger, LOGGER_INFO, "broker_stopped", "clean=no");
        _exit(EXIT_FAILURE);
    }
    logger_event(logger, LOGGER_INFO, "broker_stopped", "clean=yes");
    return EXIT_SUCCESS;
}

/* Signals are read from a descriptor; threads inherit the mask. */
static int block_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &set, SFD_CLOEXEC);
}

static struct status load(const struct arguments *a, struct logger *logger,
                          struct config_values **config, struct arena *arena,
                          struct node_options *o)
{
    struct config_sources sources = {a->path, a->sets, a->set_count, getenv("CLUSTER_ID"),
                                     a->environment ? (const char *const *)environ : NULL};
    struct config_problem problem = {""};
    struct files *files;
    struct status st = files_real_create(0, &files);

    if (status_failed(st))
        return st;
    st = config_load(&sources, files, logger, config, &problem);
    if (!status_failed(st))
        st = config_node_options(*config, arena, o, &problem);
    if (status_failed(st))
        logger_event(logger, LOGGER_ERROR, "config_refused", "reason=\"%s\"", problem.text);
    files_real_free(files);
    return st;
}

int main(int argc, char **argv)
{
    static const struct argp argp = {options, parse, NULL, doc, NULL, NULL, NULL};
    struct arguments arguments = {.level = LOGGER_INFO};
    struct logger logger = {.write = stderr_write};
    struct config_values *config = NULL;
    struct node_options o;
    struct arena arena;
    int result = EXIT_FAILURE;
    int signals;

    argp_parse(&argp, argc, argv, 0, NULL, &arguments);
    logger.level = arguments.level;
    signals = block_signals();
    arena_init(&arena, (size_t)1 << 20);
    if (!status_failed(load(&arguments, &logger, &config, &arena, &o)))
        result = run(&o, &logger, signals);
    config_values_free(config);
    arena_free(&arena);
    return result;
}
