#ifndef BROKER_COORDINATOR_GROUP_REGEX_H
#define BROKER_COORDINATOR_GROUP_REGEX_H

/* Subscriptions of consumer groups by regular expression (KIP-848).
 *
 * Patterns are those of RE2/J, which Apache Kafka uses: Perl's without what cannot be matched in
 * linear time (back references, look-around, possessive and atomic groups, recursion). Everything
 * else is refused before PCRE2 sees it.
 *
 * Matching runs all alternatives side by side (PCRE2's DFA matcher), so patterns that make a
 * backtracking matcher explode are harmless here as they are in Kafka; and its steps, states and
 * memory are bounded, so that whatever a client sends costs at most some hundred milliseconds of
 * the thread that resolves it. Pure; runs on any thread. */

#include <stddef.h>
#include <stdint.h>

#include "protocol/base/arena.h"
#include "protocol/base/kerr.h"
#include "protocol/base/span.h"
#include "replication/metadata_image.h"

#define GROUP_REGEX_BYTES_MAX   4096
#define GROUP_REGEX_MESSAGE_MAX 256

/* NONE, or INVALID_REGULAR_EXPRESSION with NUL-terminated text of what is wrong with it for the
 * client's eyes. */
enum kerr group_regex_check(struct str pattern, char message[GROUP_REGEX_MESSAGE_MAX]);

struct group_regex_topics {
    struct str *names; /* rising; the array from the arena, the names borrowed from the image */
    size_t count;
};

/* The topics whose whole name matches.
 *
 * INVALID_REGULAR_EXPRESSION  not a pattern, or matching took more than its bounds. No topics.
 * INVALID_REQUEST             The arena is spent. No topics. */
enum kerr group_regex_match(const struct metadata_image *image, struct str pattern, struct arena *a,
                            struct group_regex_topics *out);

#endif
