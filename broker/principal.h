#ifndef BROKER_PRINCIPAL_H
#define BROKER_PRINCIPAL_H

/* Who a request is from, as brokers tell it to one another in an Envelope: the bytes of Apache
 * Kafka's DefaultKafkaPrincipalBuilder, that is DefaultPrincipalData behind its version. Pure. */

#include <stdbool.h>

#include "protocol/base/arena.h"
#include "protocol/base/span.h"
#include "protocol/writer.h"

struct principal {
    struct str type; /* "User" */
    struct str name;
    bool token_authenticated; /* by a delegation token */
};

/* Who did not say who they are. */
#define PRINCIPAL_ANONYMOUS ((struct principal){STR("User"), STR("ANONYMOUS"), false})

void principal_write(struct writer *w, const struct principal *p);

/* False: the bytes are of no principal, or of a later version. Strings point into them. */
bool principal_read(struct bytes data, struct principal *out);

#endif
