#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/storage_dirs_internal.h"
#include "protocol/base/check.h"

/* Opening all directories of a node, in steps that each look at all of them: lock and identify,
 * compare, format, read what is there. Only when nothing speaks against the start is anything of
 * the run before touched: the run begins last.
 *
 * A directory whose disk fails on the way goes offline, and takes with it what it holds; the start
 * is refused only when nothing useful is left, or when going on could mix up two nodes' or
 * clusters' data. */

struct opener {
    struct storage_dirs *dirs;
    const struct storage_dirs_args *args;
    struct meta_error *error;
};

__attribute__((format(printf, 2, 3))) static struct status refuse(struct opener *o,
                                                                  const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(o->error->text, sizeof o->error->text, format, args);
    va_end(args);
    return status_error(KERR_KAFKA_STORAGE_ERROR, "log directories");
}

/* Fails the start when the metadata log cannot be kept without the directory. `why` may be
 * o->error's text. */
static struct status take_offline(struct opener *o, size_t dir, struct status st, const char *why)
{
    struct storage_dir *sd = &o->dirs->all[dir];

    sd->online = false;
    o->dirs->unlisted = o->dirs->unlisted || dir < o->dirs->count;
    logger_event(o->args->logger, LOGGER_ERROR, "log_dir_offline", "dir=\"%s\" why=\"%s\"",
                 sd->path, why);
    if (dir != o->dirs->metadata_dir)
        return STATUS_OK;
    if (why != o->error->text)
        snprintf(o->error->text, sizeof o->error->text, "%.600s: %.400s", sd->path, why);
    return st;
}

/* A step on one directory failed on its disk. */
static struct status step_failed(struct opener *o, size_t dir, struct status st)
{
    char why[256];

    snprintf(why, sizeof why, "%.120s: %.100s", st.where ? st.where : "disk",
             st.sys_errno ? strerror(st.sys_errno) : "its content is damaged");
    return take_offline(o, dir, st, why);
}

/* ---- lock and identify ---- */

static struct status open_one(struct opener *o, size_t dir)
{
    struct storage_dir *sd = &o->dirs->all[dir];
    struct status st = log_dir_open(o->args->files, sd->path, &sd->dir, o->error);

    if (!status_failed(st)) {
        sd->online = true;
        return st;
    }
    /* In use, or with a meta.properties that says nothing: no fault of a disk. */
    if (st.sys_errno == EWOULDBLOCK || st.sys_errno == 0)
        return st;
    return take_offline(o, dir, st, o->error->text);
}

static struct status check_identities(struct opener *o)
{
    const struct meta_expectation expected = {o->args->cluster_id, o->args->node_id};
    struct meta_properties *found = calloc(STORAGE_DIRS_MAX, sizeof *found);
    const char *paths[STORAGE_DIRS_MAX];
    struct storage_dirs *d = o->dirs;
    size_t count = 0;

    CHECK(found != NULL);
    for (size_t i = 0; i < d->all_count; i++)
        if (d->all[i].online && d->all[i].dir.formatted) {
            found[count] = d->all[i].dir.meta;
            paths[count++] = d->all[i].path;
        }
    bool agree = meta_properties_agree(found, paths, count, &expected, o->error);
    free(found);
    return agree ? STATUS_OK
                 : status_error(KERR_KAFKA_STORAGE_ERROR, "identity of log directories");
}

/* ---- format ---- */

/* What a directory may hold that was never formatted: our lock, what a format that was cut short
 * left, and what a file system puts into its root. */
static void look_for_strangers(void *arg, const char *name, bool is_directory)
{
    static const char *const harmless[] = {".lock", META_PROPERTIES_NAME ".tmp", "lost+found"};
    char *stranger = arg;

    (void)is_directory;
    for (size_t i = 0; i < sizeof harmless / sizeof harmless[0]; i++)
        if (strcmp(name, harmless[i]) == 0)
            return;
    snprintf(stranger, NAME_MAX + 1, "%s", name);
}

static struct status format_one(struct opener *o, size_t dir)
{
    struct storage_dir *sd = &o->dirs->all[dir];
    char stranger[NAME_MAX + 1] = "";
    struct status st = STATUS_OK;

    if (!sd->dir.formatted)
        st = o->args->files->ops->list(o->args->files, sd->path, look_for_strangers, stranger);
    if (!status_failed(st) && stranger[0] != '\0')
        return refuse(o,
                      "%s: has no " META_PROPERTIES_NAME
                      " but is not empty (there is %s): not a log directory",
                      sd->path, stranger);
    if (!status_failed(st))
        st = log_dir_format(&sd->dir, o->dirs->cluster_id, o->args->node_id, o->args->random);
    return status_failed(st) ? step_failed(o, dir, st) : st;
}

/* Given, or found, or new. */
static void choose_cluster_id(struct opener *o)
{
    struct storage_dirs *d = o->dirs;
    const char *id = o->args->cluster_id;
    char text[UUID_TEXT_CHARS + 1];
    uint8_t bytes[16];

    for (size_t i = 0; i < d->all_count && id == NULL; i++)
        if (d->all[i].online && d->all[i].dir.formatted && d->all[i].dir.meta.cluster_id[0] != '\0')
            id = d->all[i].dir.meta.cluster_id;
    while (id == NULL) {
        random_fill(o->args->random, bytes, sizeof bytes);
        struct uuid made = uuid_from_random(bytes);
        if (uuid_is_unsafe(made))
            continue;
        uuid_format(made, text);
        id = text;
    }
    snprintf(d->cluster_id, sizeof d->cluster_id, "%s", id);
}

/* ---- what the run before left ---- */

static struct status read_checkpoints(struct opener *o, size_t dir)
{
    struct storage_dir *sd = &o->dirs->all[dir];

    for (int which = 0; which < LOG_DIR_CHECKPOINT_COUNT; which++) {
        struct checkpoint_error error = {0, NULL};
        struct status st = log_dir_read_checkpoint(&sd->dir, (enum log_dir_checkpoint)which,
                                                   &sd->checkpoints[which], &error);

        sd->has_cleaned |=
            which == LOG_DIR_CLEANED && offset_map_count(&sd->checkpoints[which]) > 0;
        if (status_failed(st) && st.sys_errno != 0)
            return st;
        if (status_failed(st)) /* costs a longer recovery, nothing else */
            logger_event(o->args->logger, LOGGER_WARN, "checkpoint_damaged",
                         "dir=\"%s\" checkpoint=%d line=%d why=\"%s\"", sd->path, which,
                         (int)error.line, error.message ? error.message : "");
    }
    return STATUS_OK;
}

struct listing {
    struct opener *opener;
    size_t dir;
    struct status result;
};

static void note_folder(void *arg, const struct log_dir_entry *entry, const char *name)
{
    struct listing *listing = arg;
    struct opener *o = listing->opener;
    struct storage_dirs *d = o->dirs;

    if (entry->kind == LOG_DIR_FOREIGN || entry->kind == LOG_DIR_FUTURE)
        logger_event(o->args->logger, LOGGER_WARN, "log_dir_folder_ignored",
                     "dir=\"%s\" folder=\"%s\"", d->all[listing->dir].path, name);
    if (entry->kind != LOG_DIR_LOG || str_equal(entry->topic, STR("__cluster_metadata")) ||
        status_failed(listing->result))
        return;
    struct storage_entry *other = storage_dirs_find(d, name);
    if (other != NULL) {
        listing->result = refuse(o, "%s and %s both hold %s: one of the two folders has to go",
                                 d->all[other->dir].path, d->all[listing->dir].path, name);
        return;
    }
    struct storage_entry *added = storage_dirs_add(d, name, listing->dir);
    added->exists = true;
}

static struct status read_one(struct opener *o, size_t dir)
{
    struct storage_dir *sd = &o->dirs->all[dir];
    struct listing listing = {o, dir, STATUS_OK};
    struct status st = log_dir_read_history(&sd->dir, str_from(o->dirs->boot_id), &sd->history);

    if (!status_failed(st) && sd->history.cache_distrusted)
        st = files_drop_cached_tree(o->args->files, sd->path);
    if (!status_failed(st))
        st = read_checkpoints(o, dir);
    if (!status_failed(st) && dir < o->dirs->count)
        st = log_dir_list(&sd->dir, note_folder, &listing);
    if (status_failed(listing.result))
        return listing.result;
    return status_failed(st) ? step_failed(o, dir, st) : st;
}

static void look_for_metadata(void *arg, const char *name, bool is_directory)
{
    bool *empty = arg;
    const char *dot = strrchr(name, '.');

    if (!is_directory && (strcmp(name, "quorum-state") == 0 ||
                          (dot && (strcmp(dot, ".log") == 0 || strcmp(dot, ".checkpoint") == 0))))
        *empty = false;
}

static struct status read_metadata(struct opener *o)
{
    struct storage_dirs *d = o->dirs;
    size_t size = strlen(d->all[d->metadata_dir].path) + sizeof "/__cluster_metadata-0";

    d->metadata_path = malloc(size);
    CHECK(d->metadata_path != NULL);
    snprintf(d->metadata_path, size, "%s/__cluster_metadata-0", d->all[d->metadata_dir].path);
    d->metadata_empty = true;
    struct status st = o->args->files->ops->list(o->args->files, d->metadata_path,
                                                 look_for_metadata, &d->metadata_empty);
    if (status_failed(st) && st.sys_errno == ENOENT)
        return STATUS_OK;
    return status_failed(st) ? step_failed(o, d->metadata_dir, st) : st;
}

/* ---- begin ---- */

static struct status begin_one(struct opener *o, size_t dir)
{
    struct storage_dir *sd = &o->dirs->all[dir];
    sd->recovered = sd->history.trust != LOG_TRUST_OTHER_BOOT;
    struct status st =
        log_dir_begin_run(&sd->dir, storage_dirs_boot(o->dirs, dir), sd->history.broker_epoch);

    return status_failed(st) ? step_failed(o, dir, st) : st;
}

static void agree_on_epoch(struct storage_dirs *d)
{
    d->previous_epoch = d->all[0].history.broker_epoch;
    for (size_t i = 0; i < d->all_count; i++)
        if (!d->all[i].online || d->all[i].history.broker_epoch != d->previous_epoch)
            d->previous_epoch = -1;
}

typedef struct status step(struct opener *o, size_t dir);

/* A step on every directory that is (still) online. */
static struct status each(struct opener *o, step *take, bool all)
{
    struct status st = STATUS_OK;

    for (size_t i = 0; i < o->dirs->all_count && !status_failed(st); i++)
        if (all || o->dirs->all[i].online)
            st = take(o, i);
    return st;
}

static struct status check_any_online(struct opener *o)
{
    for (size_t i = 0; i < o->dirs->count; i++)
        if (o->dirs->all[i].online)
            return STATUS_OK;
    return refuse(o, "none of the log directories can be used; the log has a reason for each");
}

static struct status open_all(struct opener *o)
{
    struct status st = each(o, open_one, true);

    if (!status_failed(st))
        st = check_identities(o);
    if (status_failed(st))
        return st;
    choose_cluster_id(o);
    st = each(o, format_one, false);
    if (!status_failed(st))
        st = each(o, read_one, false);
    if (!status_failed(st))
        st = read_metadata(o);
    if (!status_failed(st))
        st = check_any_online(o);
    if (!status_failed(st))
        st = each(o, begin_one, false);
    if (!status_failed(st))
        st = check_any_online(o);
    agree_on_epoch(o->dirs);
    return st;
}

/* ---- the list of directories ---- */

static struct status add_dir(struct opener *o, const char *path)
{
    struct storage_dirs *d = o->dirs;

    /* With a partition's folder and a file's name behind it, it has to fit. */
    if (strlen(path) + LOG_DIR_FOLDER_CHARS_MAX + 40 > STORAGE_PATH_MAX)
        return refuse(o, "a log directory's path has more than %d characters",
                      STORAGE_PATH_MAX - LOG_DIR_FOLDER_CHARS_MAX - 40);
    CHECK(d->all_count < STORAGE_DIRS_MAX);
    d->all[d->all_count].path = strdup(path);
    CHECK(d->all[d->all_count].path != NULL);
    d->all[d->all_count].history.broker_epoch = -1;
    d->all_count++;
    return STATUS_OK;
}

static struct status add_dirs(struct opener *o)
{
    struct storage_dirs *d = o->dirs;
    const char *metadata = o->args->metadata_path;
    struct status st = STATUS_OK;

    CHECK(o->args->path_count > 0);
    for (size_t i = 0; i < o->args->path_count && !status_failed(st); i++) {
        st = add_dir(o, o->args->paths[i]);
        if (metadata != NULL && strcmp(metadata, o->args->paths[i]) == 0) {
            d->metadata_dir = i;
            metadata = NULL;
        }
    }
    d->count = d->all_count;
    if (metadata != NULL && !status_failed(st)) {
        d->metadata_dir = d->all_count;
        st = add_dir(o, metadata);
    }
    return st;
}

struct status storage_dirs_open(const struct storage_dirs_args *args, struct storage_dirs **out,
                                struct meta_error *error)
{
    struct storage_dirs *d = calloc(1, sizeof *d);
    struct opener o = {d, args, error};

    CHECK(d != NULL);
    CHECK(args->boot_id.size <= LOG_DIR_BOOT_ID_CHARS);
    CHECK(pthread_mutex_init(&d->mutex, NULL) == 0);
    CHECK(pthread_mutex_init(&d->run, NULL) == 0);
    d->files = args->files;
    d->random = args->random;
    if (args->boot_id.size > 0)
        memcpy(d->boot_id, args->boot_id.data, args->boot_id.size);
    struct status st = add_dirs(&o);
    if (!status_failed(st))
        st = open_all(&o);
    if (status_failed(st))
        storage_dirs_close(d);
    else
        *out = d;
    return st;
}
