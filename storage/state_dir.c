#include "storage/state_dir.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT_FILE      "format"
#define FORMAT_NAME      "trivet-state"
#define FORMAT_BYTES_MAX 64
#define NAME_BYTES       256

void state_report_why(struct state_store_report *report, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(report->why, sizeof report->why, format, args);
    va_end(args);
}

bool state_text_ends_with(const char *text, const char *end)
{
    const size_t text_size = strlen(text);
    const size_t end_size = strlen(end);

    return text_size >= end_size && strcmp(text + text_size - end_size, end) == 0;
}

void state_dir_path(const struct state_dir *d, const char *name, char path[STATE_DIR_PATH_BYTES])
{
    snprintf(path, STATE_DIR_PATH_BYTES, "%s/%s", d->path, name); /* short enough: checked */
}

/* ---- taking it ---- */

struct status state_dir_take(struct state_dir *d, struct files *fs, const char *path,
                             struct state_store_report *report)
{
    char lock[STATE_DIR_PATH_BYTES];
    struct status st;

    *d = (struct state_dir){.files = fs};
    if (strlen(path) > STATE_DIR_PATH_BYTES - sizeof "/" STATE_DIR_DATA) {
        state_report_why(report, "its directory's name is too long");
        return status_errno(ENAMETOOLONG, "state store: open");
    }
    d->path = strdup(path);
    if (!d->path) {
        state_report_why(report, "out of memory");
        return status_errno(ENOMEM, "state store: open");
    }
    st = files_make_directories(fs, path);
    if (status_failed(st)) {
        state_report_why(report, "%.128s cannot be made: %s", path, strerror(st.sys_errno));
        return st;
    }
    state_dir_path(d, "lock", lock);
    st = fs->ops->lock(fs, lock, &d->lock);
    if (status_failed(st))
        state_report_why(report,
                         st.sys_errno == EWOULDBLOCK ? "%.128s is in use by another process"
                                                     : "%.128s cannot be locked",
                         path);
    return st;
}

void state_dir_leave(struct state_dir *d)
{
    if (d->lock)
        d->files->ops->unlock(d->files, d->lock);
    free(d->path);
    *d = (struct state_dir){0};
}

/* ---- what lies there ---- */

static bool is_there(const struct state_dir *d, const char *name)
{
    char path[STATE_DIR_PATH_BYTES];
    struct file_stat found;

    state_dir_path(d, name, path);
    return !status_failed(d->files->ops->stat(d->files, path, &found));
}

bool state_dir_is_begun(const struct state_dir *d)
{
    return is_there(d, STATE_DIR_DATA) || is_there(d, FORMAT_FILE);
}

/* "trivet-state 1\n"; -1: it is no such text. */
static int format_version(struct bytes text)
{
    char copy[FORMAT_BYTES_MAX + 1];
    int version, end = 0;

    memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    if (sscanf(copy, FORMAT_NAME " %9d%n", &version, &end) != 1 || version < 0 ||
        strcmp(copy + end, "\n") != 0)
        return -1;
    return version;
}

enum state_format state_dir_format(const struct state_dir *d, struct state_store_report *report,
                                   struct status *st)
{
    char path[STATE_DIR_PATH_BYTES];
    struct bytes_mut text;
    int version;

    state_dir_path(d, FORMAT_FILE, path);
    *st = files_read_whole(d->files, path, FORMAT_BYTES_MAX, &text);
    if (status_failed(*st)) {
        if (st->sys_errno == ENOENT)
            return STATE_FORMAT_MISSING;
        if (st->sys_errno == EFBIG || st->sys_errno == EISDIR) {
            state_report_why(report, "its format file is none");
            return STATE_FORMAT_UNUSABLE;
        }
        state_report_why(report, "%s cannot be read: %s", path, strerror(st->sys_errno));
        return STATE_FORMAT_UNREADABLE;
    }
    version = format_version((struct bytes){text.data, text.size});
    free(text.data);
    if (version == STATE_STORE_FORMAT_VERSION)
        return STATE_FORMAT_GOOD;
    if (version > STATE_STORE_FORMAT_VERSION) {
        state_report_why(report,
                         "the state store in %.128s has format %d; this program knows formats up "
                         "to %d: use a newer program, or remove the directory",
                         d->path, version, STATE_STORE_FORMAT_VERSION);
        *st = status_error(KERR_UNSUPPORTED_VERSION,
                           "state store: its format is newer than this program's");
        return STATE_FORMAT_TOO_NEW;
    }
    if (version < 0)
        state_report_why(report, "its format file is none");
    else
        state_report_why(report, "its format is %d, this program's %d", version,
                         STATE_STORE_FORMAT_VERSION);
    return STATE_FORMAT_UNUSABLE;
}

/* ---- changing it ---- */

static struct status remove_anything(struct files *fs, const char *path)
{
    struct file_stat found;
    struct status st = fs->ops->stat(fs, path, &found);

    if (!status_failed(st))
        st = found.is_directory ? files_remove_tree(fs, path) : fs->ops->remove(fs, path);
    return status_failed(st) && st.sys_errno == ENOENT ? STATUS_OK : st;
}

/* The format goes first, and durably: what is half removed must not be taken for a store. */
struct status state_dir_wipe(const struct state_dir *d, struct state_store_report *report)
{
    char path[STATE_DIR_PATH_BYTES];
    struct status st;

    state_dir_path(d, FORMAT_FILE, path);
    st = remove_anything(d->files, path);
    if (!status_failed(st))
        st = d->files->ops->sync_directory(d->files, d->path);
    state_dir_path(d, STATE_DIR_DATA, path);
    if (!status_failed(st))
        st = remove_anything(d->files, path);
    if (status_failed(st))
        state_report_why(report, "%.128s cannot be emptied: %s", d->path, strerror(st.sys_errno));
    return st;
}

struct status state_dir_finish(const struct state_dir *d, struct state_store_report *report)
{
    char content[FORMAT_BYTES_MAX], path[STATE_DIR_PATH_BYTES];
    int size = snprintf(content, sizeof content, FORMAT_NAME " %d\n", STATE_STORE_FORMAT_VERSION);
    struct status st;

    state_dir_path(d, FORMAT_FILE, path);
    st = files_replace(d->files, path, (struct bytes){(const uint8_t *)content, (size_t)size});
    if (status_failed(st))
        state_report_why(report, "%s cannot be written: %s", path, strerror(st.sys_errno));
    return st;
}

struct removal {
    struct files *files;
    const char *folder, *ending;
};

static void remove_if_it_ends_so(void *arg, const char *name, bool is_directory)
{
    const struct removal *r = arg;
    char path[STATE_DIR_PATH_BYTES + NAME_BYTES];

    if (is_directory || !state_text_ends_with(name, r->ending))
        return;
    snprintf(path, sizeof path, "%s/%s", r->folder, name);
    r->files->ops->remove(r->files, path);
}

void state_dir_remove_ending(const struct state_dir *d, const char *folder, const char *ending)
{
    char path[STATE_DIR_PATH_BYTES];
    struct removal r = {d->files, path, ending};

    state_dir_path(d, folder, path);
    d->files->ops->list(d->files, path, remove_if_it_ends_so, &r);
}
