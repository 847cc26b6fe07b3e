#ifndef STORAGE_PROPERTIES_H
#define STORAGE_PROPERTIES_H

/* Java properties, the format of server.properties and meta.properties:
 *
 *   # a comment, as is a line that starts with !
 *   key=value      key:value      key value
 *   list=a,\
 *        b                      goes on after a backslash; blanks before b do not count
 *   path=C:\\dir\u00e9          \t \n \r \f \uXXXX; any other escaped character is itself
 *
 * Text is UTF-8 (java.util.Properties: ISO 8859-1 from a stream, which agrees on ASCII). Pure. */

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/span.h"

struct properties_error {
    int32_t line;        /* from 1 */
    const char *message; /* static */
};

/* Both borrowed for the call; not NUL-terminated. line: where the entry starts. False ends the
 * parse. */
typedef bool properties_visit(void *arg, struct str key, struct str value, int32_t line);

/* Visits every entry in order; a key may come several times. False: malformed, with *error set
 * (NULL is allowed; entries before have been visited), or visit said so (error->message is then
 * NULL). */
bool properties_parse(struct bytes text, properties_visit *visit, void *arg,
                      struct properties_error *error);

#endif
