#ifndef STORAGE_FILES_NAMES_H
#define STORAGE_FILES_NAMES_H

/* A tree of the directories that open files lie in, for files_real.c: it keeps a file's path right
 * while directories above it are renamed, at the cost of one node per rename however many files are
 * open.
 *
 * Not thread-safe: the caller holds its lock. Paths are split at '/'; empty and "." components are
 * ignored; ".." is a name like any other, so two spellings of one directory are two nodes. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uthash.h>

#include "protocol/base/span.h"

struct named_file;

struct directory {
    struct directory *parent;  /* a reference; NULL in the two roots */
    struct directory_key *key; /* parent and name: what the table finds it by; NULL in the roots */
    struct named_file *files;  /* those with a handle; doubly linked */
    uint32_t references;       /* of children and files */
    bool attached;             /* in the table */
    UT_hash_handle hh;
};

/* What a file handle embeds. */
struct named_file {
    struct directory *directory; /* a reference */
    char *name;                  /* owned */
    struct named_file *prev, *next;
};

struct names {
    struct directory *table;
    struct directory absolute; /* "/" */
    struct directory relative; /* the working directory */
};

void names_init(struct names *n);

/* Puts a file into the tree under a path. False when a component is longer than 255 bytes, or there
 * is none. */
bool names_add(struct names *n, struct named_file *f, const char *path);
void names_remove(struct names *n, struct named_file *f);

/* Where the file is now. False when that takes more than `size` bytes. */
bool names_path(const struct names *n, const struct named_file *f, char *out, size_t size);

/* Visits each file with exactly this path; the visitor may remove it from the tree. */
void names_each_at(struct names *n, const char *path,
                   void (*visit)(void *arg, struct named_file *f), void *arg);

/* Visits each file in a directory (not in those below it), likewise. */
void names_each_in(struct names *n, const char *path,
                   void (*visit)(void *arg, struct named_file *f), void *arg);

/* A file or a directory was renamed; what was at `to` has been dealt with by the caller. */
void names_rename(struct names *n, const char *from, const char *to);

#endif
