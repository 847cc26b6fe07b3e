/* Consumer groups (KIP-848) are not served yet: their records are skipped as those of other unknown types of group, so
 * that no group is ever of their type. Goes when group_consumer.c comes. */
#include "broker/coordinator/group_core_internal.h"

#include "protocol/base/check.h"

enum kerr consumer_group_load_record(struct group_core *c, struct group *g, const struct group_record *r)
{
    (void)c, (void)g, (void)r;
    return KERR_UNSUPPORTED_VERSION;
}

void consumer_group_heartbeat(struct group_core *c, struct group *g, struct group_caller *who,
                              const struct group_consumer_heartbeat *r)
{
    (void)g, (void)r;
    group_answer(c, who, KERR_UNSUPPORTED_VERSION);
}

#define NEVER(result, name, ...) result name(__VA_ARGS__) { CHECK(false); }

#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wreturn-type"
NEVER(void, consumer_group_loaded, struct group_core *c, struct group *g)
NEVER(void, consumer_group_tick, struct group_core *c, struct group *g)
NEVER(void, consumer_group_stop, struct group_core *c, struct group *g, enum kerr code)
NEVER(void, consumer_group_free, struct consumer_group *cg)
NEVER(bool, consumer_group_is_empty, const struct group *g)
NEVER(struct str, consumer_group_state, const struct group *g)
NEVER(void, consumer_group_tombstones, struct group_core *c, struct group *g)
NEVER(void, consumer_group_describe, struct group_core *c, struct group *g, struct group_caller *who)
NEVER(enum kerr, consumer_group_check_commit, struct group_core *c, struct group *g, const struct group_commit *r)
NEVER(enum kerr, consumer_group_check_offset_fetch, const struct group *g, struct str member_id, int32_t member_epoch)
NEVER(bool, consumer_group_subscribes, const struct group *g, struct str topic)
NEVER(void, consumer_group_regex_resolved, struct group_core *c, struct group *g, const struct group_regex_result *r)
NEVER(void, convert_classic_join, struct group_core *c, struct group *g, struct group_caller *who, const struct group_join *r)
NEVER(void, convert_classic_sync, struct group_core *c, struct group *g, struct group_caller *who, const struct group_sync *r)
NEVER(void, convert_classic_heartbeat, struct group_core *c, struct group *g, struct group_caller *who, const struct group_heartbeat *r)
NEVER(void, convert_classic_leave, struct group_core *c, struct group *g, struct group_caller *who, const struct group_leave *r)
