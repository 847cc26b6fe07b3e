#ifndef STORAGE_FILES_SIM_H
#define STORAGE_FILES_SIM_H

/* The file interface in memory: for tests, and for the simulator.
 *
 * It keeps what the page cache and the disk would hold apart. A write is volatile until its file is
 * synced; a name (made, renamed, removed) is volatile until its directory is. files_sim_crash
 * keeps, drops or tears what is volatile, as a seed says; files_sim_kill keeps all of it. After
 * either, the handles of the dead process may only be closed.
 *
 * Deterministic: no clock but the one given, no randomness but the seed given. A mutex makes it
 * safe for threads that a test starts; a simulation runs it on one. There is one root: "/a", "a"
 * and "./a" are the same. Cheap: an extent of 4 KiB is copied when it is first written after a
 * sync, nothing else is. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/clock.h"
#include "storage/files.h"

/* Kinds of calls, for faults and counts. */
enum files_call {
    FILES_CALL_OPEN,
    FILES_CALL_READ, /* read_nowait too */
    FILES_CALL_WRITE,
    FILES_CALL_SIZE,
    FILES_CALL_TRUNCATE,
    FILES_CALL_SYNC,
    FILES_CALL_RENAME,
    FILES_CALL_REMOVE, /* of a file or a directory */
    FILES_CALL_MAKE_DIRECTORY,
    FILES_CALL_LIST,
    FILES_CALL_STAT, /* make_read_only, set_modified too */
    FILES_CALL_SYNC_DIRECTORY,
    FILES_CALL_SYNC_FILESYSTEM,
    FILES_CALL_LOCK,
    FILES_CALL_COUNT,
    FILES_CALL_ANY = FILES_CALL_COUNT,
};

/* clock may be NULL: modification times are then 0. Borrowed. Aborts when out of memory. */
struct files *files_sim_create(struct clock *clock);
void files_sim_free(struct files *fs); /* every handle closed before */

/* ---- crashes ---- */

/* The process dies, the machine goes on: everything written stays, locks are gone. */
void files_sim_kill(struct files *fs);

/* The machine dies: of what was not synced each 512-byte sector is kept or lost, each size change
 * too (lost sectors in a grown part read as zeros), and each name change is kept or lost whole: a
 * rename is never half done. The seed also says how much is kept: from nothing to everything. */
void files_sim_crash(struct files *fs, uint64_t seed);

/* As files_sim_crash, but everything volatile is lost: the worst that a disk may do. */
void files_sim_crash_losing_all(struct files *fs);

/* ---- faults ---- */

struct files_fault {
    enum files_call call; /* or FILES_CALL_ANY */
    const char *prefix;   /* only paths (as opened) that start with it; NULL: any. Copied. */
    uint64_t after;       /* so many matching calls pass first */
    uint64_t times;       /* then so many fail; 0: all from then on */
    int sys_errno;
    bool partial; /* a failing write writes its first half */
};

/* Faults add up; the first that matches counts. A failed sync leaves its file's dirty bytes dropped
 * or kept by the next crash, and marked clean as Linux does: a later sync does not bring them back,
 * but fails, once for each other handle that was open then. Once a sync of a file system has
 * failed, all further ones of the process do, as those of files_real. */
void files_sim_fail(struct files *fs, const struct files_fault *fault);
void files_sim_heal(struct files *fs); /* no more faults */

/* Bytes that all files together may take, in blocks of 4 KiB; beyond: ENOSPC, after a part of the
 * write was done. 0: no bound. */
void files_sim_set_capacity(struct files *fs, int64_t bytes);

/* Flips one bit, in memory and on the disk. False when there is no such byte. */
bool files_sim_flip_bit(struct files *fs, const char *path, int64_t at, unsigned bit);

/* read_nowait finds nothing in memory (cold) until a read; of every file, from now on or no
 * longer. */
void files_sim_set_cold(struct files *fs, bool cold);

/* ---- looking ---- */

/* Calls of a kind so far (failed ones too); FILES_CALL_ANY: of all kinds. */
uint64_t files_sim_calls(struct files *fs, enum files_call call);
size_t files_sim_open_files(struct files *fs);
int64_t files_sim_used_bytes(struct files *fs);
/* Whether memory holds bytes of a file in or below the directory that a failed sync left marked as
 * written. */
bool files_sim_pretends(struct files *fs, const char *directory);
/* Whether a crash that loses all would leave path with its present content. */
bool files_sim_is_durable(struct files *fs, const char *path);

#endif
