#ifndef REPLICATION_CONTROLLER_REGISTRATION_H
#define REPLICATION_CONTROLLER_REGISTRATION_H

/* A voter that does not lead tells the active controller that it is there, and what it speaks
 * (KIP-919): once for each life, until the metadata has it. The leader itself does so when it takes
 * over (controller_core_activate).
 *
 *   nothing to say <--image has this incarnation-- to be told --ControllerRegistration--> asked
 *                                                      ^----- refused, lost: a moment later --+
 *
 * Everything runs on the control loop. */

#include <stdint.h>

#include "protocol/base/logger.h"
#include "replication/controller_core.h"
#include "replication/metadata_image.h"
#include "replication/transport.h"
#include "storage/executor.h"

struct controller_registration;

struct controller_registration_args {
    struct loop *loop;
    struct transport *transport;
    struct logger *logger;           /* may be NULL */
    struct register_controller self; /* borrowed with all it points to, for the registration's
                                      * life */
};

struct controller_registration *
controller_registration_create(const struct controller_registration_args *args);
/* Cancels what is under way. */
void controller_registration_free(struct controller_registration *r); /* NULL is fine */

/* Where the active controller is; host NULL data: unknown. host is copied. */
void controller_registration_leader(struct controller_registration *r,
                                    const struct transport_node *node);
/* A newer image. */
void controller_registration_image(struct controller_registration *r,
                                   const struct metadata_image *image);

#endif
