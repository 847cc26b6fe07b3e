#include "replication/raft_membership.h"

static bool is_up_to_date(const struct raft_member *m, const struct voter_set *voters,
                          const struct raft_voter *v)
{
    return v->kraft_version_min == m->kraft_version_min &&
           v->kraft_version_max == m->kraft_version_max &&
           !voter_set_endpoints_differ(voters, m->key.id, m->endpoints, m->endpoint_count);
}

enum raft_wish raft_member_wish(const struct raft_member *m, const struct voter_set *voters,
                                int16_t kraft_version)
{
    const struct raft_voter *v = voter_set_find(voters, m->key.id);

    if (m->endpoint_count == 0)
        return RAFT_WISH_NOTHING;
    if (kraft_version < 1)
        return v && !m->introduced ? RAFT_WISH_UPDATE : RAFT_WISH_NOTHING;
    if (v && raft_replica_key_equal(v->key, m->key))
        return is_up_to_date(m, voters, v) ? RAFT_WISH_NOTHING : RAFT_WISH_UPDATE;
    if (!m->auto_join)
        return RAFT_WISH_NOTHING;
    return v ? RAFT_WISH_REMOVE_OLD : RAFT_WISH_JOIN;
}
