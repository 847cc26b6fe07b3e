#ifndef REPLICATION_CONFIG_INTERNAL_H
#define REPLICATION_CONFIG_INTERNAL_H

/* What the files behind config_defs.h share. */

#include "replication/config_defs.h"

/* The text without the blanks around it, which Apache Kafka ignores too. */
struct str config_trim(struct str text);

/* Milliseconds in the unit that a setting's name ends on (.hours, .minutes); 1 for any other
 * name. */
int64_t config_unit_ms(const char *name);

/* What was given for a broker setting (NULL: nothing), and what counts when nothing was. `v` may be
 * NULL. */
const char *config_values_given_text(const struct config_values *v, const struct config_def *def);
const char *config_values_default(const struct config_values *v, const struct config_def *def);

/* A value that config_check accepts, as Apache Kafka prints it once parsed: numbers and booleans in
 * their usual form, lists without blanks. Borrows from `value` where nothing changes, else from the
 * arena. False: the arena is spent. */
bool config_print(const struct config_def *def, struct str value, struct arena *arena,
                  struct str *out);

/* Java's Double.toString into a buffer of at least 32 characters; returns the length. */
size_t config_format_double(double value, char *out, size_t size);

#endif
