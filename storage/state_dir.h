#ifndef STORAGE_STATE_DIR_H
#define STORAGE_STATE_DIR_H

/* The directory of a state store, whatever it keeps its data in.
 *
 *   <dir>/lock      held while the store is open
 *   <dir>/format    "trivet-state <version>", written last: without it what lies there is not whole
 *   <dir>/rocksdb/  the data; whatever is in it may be thrown away
 *
 * Each failure puts a sentence into report->why. Blocks. */

#include "storage/files.h"
#include "storage/state_store.h"

#define STATE_STORE_FORMAT_VERSION 1

#define STATE_DIR_PATH_BYTES 4096
#define STATE_DIR_DATA       "rocksdb"

/* Zero is a directory that was not taken. */
struct state_dir {
    struct files *files; /* borrowed */
    struct file *lock;
    char *path; /* owned */
};

enum state_format {
    STATE_FORMAT_GOOD,
    STATE_FORMAT_MISSING,
    STATE_FORMAT_UNUSABLE,  /* older, or no format at all: may be thrown away */
    STATE_FORMAT_TOO_NEW,   /* stays: UNSUPPORTED_VERSION */
    STATE_FORMAT_UNREADABLE /* stays: the disk failed, or permission is missing */
};

/* Makes the directory and takes it for this process. sys_errno EWOULDBLOCK: another one has it.
 * state_dir_leave is due whatever comes of it. */
struct status state_dir_take(struct state_dir *d, struct files *fs, const char *path,
                             struct state_store_report *report);
void state_dir_leave(struct state_dir *d);

void state_dir_path(const struct state_dir *d, const char *name, char path[STATE_DIR_PATH_BYTES]);
/* Whether data or a format lie there. */
bool state_dir_is_begun(const struct state_dir *d);
/* *st is the failure when it has to stay. */
enum state_format state_dir_format(const struct state_dir *d, struct state_store_report *report,
                                   struct status *st);
/* Removes format and data. */
struct status state_dir_wipe(const struct state_dir *d, struct state_store_report *report);
/* Writes the format: what lies there is whole. */
struct status state_dir_finish(const struct state_dir *d, struct state_store_report *report);
/* Removes the files of a folder in it whose names end so; those that stay do no harm. */
void state_dir_remove_ending(const struct state_dir *d, const char *folder, const char *ending);

void state_report_why(struct state_store_report *report, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
bool state_text_ends_with(const char *text, const char *end);

#endif
