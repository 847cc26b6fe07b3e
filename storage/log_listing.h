#ifndef STORAGE_LOG_LISTING_H
#define STORAGE_LOG_LISTING_H

/* What the names in a partition's directory say, before any file is opened. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/status.h"
#include "storage/files.h"

struct log_listing_segment {
    int64_t base_offset;
    bool has_log;
    bool has_index;
    bool has_timeindex;
    bool has_txnindex;
    bool indexes_doubtful; /* one of them had been renamed to .deleted, or its renaming from
                            * .swap was lost */
};

struct log_listing {
    struct log_listing_segment *segments; /* ascending; after log_listing_tidy all have a .log
                                           * file */
    size_t segment_count;
    size_t segment_capacity;
    int64_t *snapshots; /* offsets of producer snapshots, ascending */
    size_t snapshot_count;
    size_t snapshot_capacity;
    int64_t anew;     /* the log was to be emptied, and begin here: log_listing_announce; -1: no */
    char **leftovers; /* names ending in .deleted, .cleaned or .swap */
    size_t leftover_count;
    size_t leftover_capacity;
    bool out_of_memory;
};

/* A log that is emptied loses its files one by one, and what a kill leaves of them must not be
 * taken for the log. An empty file <offset>.anew says so from before the first of them goes until
 * the new beginning is on the disk, both durably. */
struct status log_listing_announce(struct files *files, const char *directory, int64_t offset);
struct status log_listing_withdraw(struct files *files, const char *directory, int64_t offset);

/* ENOENT when there is no such directory. */
struct status log_listing_read(struct log_listing *l, struct files *files, const char *directory);
void log_listing_free(struct log_listing *l);

/* Finishes or undoes what a crash interrupted: empties a log that was to begin anew, which then has
 * an empty segment and neither epochs nor producers; removes .deleted and .cleaned files, puts
 * .swap files in place of the segments they replace, removes indexes without a segment. A crash of
 * the machine may have undone some of the renames to .deleted and not others, so that a segment is
 * back without an index; or one is back and a later one is not. What shows that,
 * log_listing_deleted_amid, stays until log_listing_forget_deleted. */
struct status log_listing_tidy(struct log_listing *l, struct files *files, const char *directory);

/* Goes through the deleted segments that lay between two that are there: *offset is where one
 * began. *at starts at 0. */
bool log_listing_deleted_amid(const struct log_listing *l, size_t *at, int64_t *offset);
struct status log_listing_forget_deleted(const struct log_listing *l, struct files *files,
                                         const char *directory);

/* Removes snapshots past the log end, and those that are neither at a segment's base nor the one in
 * use. */
void log_listing_remove_stray_snapshots(const struct log_listing *l, struct files *files,
                                        const char *directory, int64_t in_use, int64_t end_offset);

#endif
