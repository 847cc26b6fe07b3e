#ifndef STORAGE_META_PROPERTIES_H
#define STORAGE_META_PROPERTIES_H

/* meta.properties: whose directory this is. Java properties; version 1 has cluster.id, node.id and
 * directory.id; version 0 (or none) has broker.id in place of node.id, and may lack the others. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/span.h"
#include "protocol/base/status.h"
#include "protocol/base/uuid.h"
#include "storage/files.h"

#define META_PROPERTIES_NAME      "meta.properties"
#define META_CLUSTER_ID_CHARS_MAX 255

struct meta_properties {
    int32_t version;                                /* 0 or 1 */
    int32_t node_id;                                /* -1: none (version 0 only) */
    char cluster_id[META_CLUSTER_ID_CHARS_MAX + 1]; /* empty: none (version 0 only) */
    struct uuid directory_id;                       /* zero: none */
};

/* A sentence for the operator, with names and values in it. */
struct meta_error {
    char text[1024];
};

/* KAFKA_STORAGE_ERROR: not a meta.properties; *error says why (NULL is allowed), *out is untouched.
 * Keys that are not known are ignored, as in Apache Kafka. */
struct status meta_properties_parse(struct bytes text, struct meta_properties *out,
                                    struct meta_error *error);

/* The text, always of version 1 unless m->version is 0; the caller frees out->data. */
void meta_properties_format(const struct meta_properties *m, struct bytes_mut *out);

/* Block. `directory` is the log directory; sys_errno ENOENT when it has no meta.properties. Writing
 * replaces the file, atomically and durably. */
struct status meta_properties_read(struct files *fs, const char *directory,
                                   struct meta_properties *out, struct meta_error *error);
struct status meta_properties_write(struct files *fs, const char *directory,
                                    const struct meta_properties *m);

/* What a node's directories must agree on. */
struct meta_expectation {
    const char *cluster_id; /* NULL: the first one found decides */
    int32_t node_id;        /* -1: likewise */
};

/* Whether all of a node's directories belong to it and to one cluster, and none is there twice.
 * False with error->text set. directories[i] is where all[i] was read. */
bool meta_properties_agree(const struct meta_properties *all, const char *const *directories,
                           size_t count, const struct meta_expectation *expected,
                           struct meta_error *error);

#endif
