#ifndef TOOLS_TRIVET_DUMP_H
#define TOOLS_TRIVET_DUMP_H

/* What the parts of dump-log share. Each thing that is dumped is one line: a JSON object, or its
 * fields as Apache Kafka's kafka-dump-log prints them ("offset: 5 position: 120"), so that the two
 * can be compared. */

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "protocol/message_type.h"
#include "protocol/record_batch.h"

struct dump {
    FILE *out;
    FILE *err;
    bool json;
    bool deep;     /* records too */
    bool metadata; /* values of records are metadata records */
    bool offsets;  /* records are those of __consumer_offsets */
    bool failed;   /* something was damaged or could not be read */
};

/* ---- lines (dump_line.c) ---- */

/* Takes the line, an object whose fields are in the order they are to be printed in, and writes it.
 * `type` names it in JSON and is `prefix`ed in text. */
void dump_line(struct dump *d, const char *type, const char *prefix, json_t *line);

/* A line of text; nothing in JSON. */
void dump_text(struct dump *d, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Tells of damage, on err, and remembers it. */
void dump_problem(struct dump *d, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Bytes as JSON: a string when they are UTF-8, else {"base64": …}; null for null. Owned by the
 * caller. */
json_t *dump_bytes(struct bytes b);

/* ---- files ---- */

/* One file of whatever kind its name says. False: no file of a log; nothing was printed. */
bool dump_file(struct dump *d, const char *path);
/* All that dump_file knows in a directory, by name. */
void dump_directory(struct dump *d, const char *path);

/* `fd` is open for reading, `size` its size; `path` is for messages and for the files beside it. */
struct dump_input {
    const char *path;
    const char *name; /* the last part of path */
    int fd;
    int64_t size;
};

/* Opens path. False after telling of the problem; else to be closed by dump_input_close. */
bool dump_input_open(struct dump *d, const char *path, struct dump_input *in);
void dump_input_close(struct dump_input *in);
/* Reads exactly size bytes. False after telling of the problem. */
bool dump_input_read(struct dump *d, const struct dump_input *in, void *buffer, size_t size,
                     int64_t at);

void dump_segment(struct dump *d, const struct dump_input *in);           /* .log, .checkpoint */
void dump_offset_index(struct dump *d, const struct dump_input *in);      /* .index */
void dump_time_index(struct dump *d, const struct dump_input *in);        /* .timeindex */
void dump_transaction_index(struct dump *d, const struct dump_input *in); /* .txnindex */
void dump_producer_snapshot(struct dump *d, const struct dump_input *in); /* .snapshot */

/* ---- records of the metadata log (dump_metadata.c) ---- */

#define DUMP_ARENA_BYTES_MAX ((size_t)256 << 20) /* of one decoded record */

/* One message that fills `body`, as JSON; NULL: it is none, or not of this version. Owned by the
 * caller. */
json_t *dump_message(const struct message_type *type, struct bytes body, int16_t version);

/* A metadata record as {"type", "version", "data"}, or NULL: it is none. Owned by the caller. */
json_t *dump_metadata_record(struct bytes value);
/* Adds what a control record says to its line. False: it is of no known type, or damaged. */
bool dump_control_record(json_t *line, const struct record *r);

/* ---- records of __consumer_offsets (dump_offsets.c) ---- */

/* Adds key and payload to the record's line. False, nothing added: it is damaged. */
bool dump_offsets_record(json_t *line, const struct record *r);

#endif
