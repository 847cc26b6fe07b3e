"""Consumer groups on raw sockets: what no client library would send, and what it would only send after minutes."""
import struct
import threading
import time
import uuid

from harness import group_wire as g
from harness.group_wire import commit, describe, fetch_offsets, heartbeat, join, join_fully, leave, sync
from harness.wire import Connection, array, batch, header, record, string
from interop.wire_cases import Skip, new_topic

NONE, UNKNOWN_TOPIC_OR_PARTITION, OFFSET_METADATA_TOO_LARGE, COORDINATOR_LOAD_IN_PROGRESS = 0, 3, 12, 14
COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR, INVALID_TOPIC = 15, 16, 17
ILLEGAL_GENERATION, INCONSISTENT_GROUP_PROTOCOL, INVALID_GROUP_ID, UNKNOWN_MEMBER_ID = 22, 23, 24, 25
INVALID_SESSION_TIMEOUT, REBALANCE_IN_PROGRESS, INVALID_REQUEST, NON_EMPTY_GROUP, GROUP_ID_NOT_FOUND = 26, 27, 42, 68, 69
MEMBER_ID_REQUIRED, GROUP_SUBSCRIBED_TO_TOPIC, FENCED_MEMBER_EPOCH, UNSUPPORTED_ASSIGNOR = 79, 86, 110, 112
INVALID_REGULAR_EXPRESSION, UNSUPPORTED_VERSION, INVALID_CONFIG = 128, 35, 40
NOT_READY = {COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR}


def connect(broker, timeout=30.0):
    return Connection(broker.port, timeout)


def ready(broker):
    """Waits until the broker coordinates groups: the first request makes the topic."""
    with connect(broker) as c:
        deadline = time.monotonic() + 30
        while g.find_coordinator(c, "anybody")[0] != NONE:
            assert time.monotonic() < deadline, "no coordinator"
            time.sleep(0.05)
        while fetch_offsets(c, new_group())[0] in NOT_READY or g.list_groups(c)[0] in NOT_READY:
            assert time.monotonic() < deadline, "the coordinator does not get ready"
            time.sleep(0.02)


def new_group():
    return "group-" + uuid.uuid4().hex[:12]


def stable_group(c, group, **more):
    """One member that leads and is assigned; (generation, member id)."""
    error, generation, _, leader, member, _ = join_fully(c, group, **more)
    assert (error, leader) == (NONE, member), (error, leader, member)
    assert sync(c, group, generation, member, [(member, b"all")]) == (NONE, b"all")
    return generation, member


def grow(c, topic, partitions):
    """CreatePartitions v1; waits for the new ones to be led."""
    c.ask(header(37, 1) + array([string(topic) + struct.pack(">ii", partitions, -1)]) + struct.pack(">ib", 10000, 0))
    deadline = time.monotonic() + 10
    while c.list_offsets(topic, -1, partition=partitions - 1)[0] != NONE:
        assert time.monotonic() < deadline, "the topic does not grow"
        time.sleep(0.02)


# ---- offsets ----

def committed_offsets_come_back(broker):
    ready(broker)
    topic, group = new_topic(broker), new_group()
    with connect(broker) as c:
        assert commit(c, group, topic, {0: 42}, metadata="so far") == {0: NONE}
        assert fetch_offsets(c, group, {topic: [0, 7]}) == (
            NONE, {(topic, 0): (42, "so far", NONE), (topic, 7): (-1, "", NONE)})
        assert fetch_offsets(c, group) == (NONE, {(topic, 0): (42, "so far", NONE)})
        assert fetch_offsets(c, group, require_stable=True) == (NONE, {(topic, 0): (42, "so far", NONE)})
        assert commit(c, group, topic, {0: 41}) == {0: NONE}
        assert fetch_offsets(c, group)[1][topic, 0] == (41, "", NONE)


def offsets_of_a_group_that_never_was_are_none(broker):
    ready(broker)
    with connect(broker) as c:
        assert fetch_offsets(c, new_group()) == (NONE, {})
        assert fetch_offsets(c, new_group(), {"nothing": [3]}) == (NONE, {("nothing", 3): (-1, "", NONE)})


def commit_of_an_unknown_topic_or_partition_is_refused_alone(broker):
    ready(broker)
    topic, group = new_topic(broker), new_group()
    with connect(broker) as c:
        assert commit(c, group, "no-such-topic", {0: 1}) == {0: UNKNOWN_TOPIC_OR_PARTITION}
        assert commit(c, group, topic, {0: 5, 9: 5}) == {0: NONE, 9: UNKNOWN_TOPIC_OR_PARTITION}
        assert fetch_offsets(c, group)[1] == {(topic, 0): (5, "", NONE)}


def metadata_too_large_is_refused_alone(broker):
    ready(broker)
    topic, group = new_topic(broker), new_group()
    with connect(broker) as c:
        assert commit(c, group, topic, {0: 5}, metadata="m" * 4096) == {0: NONE}
        assert commit(c, group, topic, {0: 6}, metadata="m" * 4097) == {0: OFFSET_METADATA_TOO_LARGE}
        assert fetch_offsets(c, group)[1][topic, 0][0] == 5


def commits_of_strangers_and_old_generations_are_refused(broker):
    ready(broker)
    topic, group = new_topic(broker), new_group()
    with connect(broker) as c:
        assert commit(c, group, topic, {0: 1}, generation=3, member="nobody") == {0: ILLEGAL_GENERATION}
        generation, member = stable_group(c, group)
        assert commit(c, group, topic, {0: 1}, generation=generation, member="nobody") == {0: UNKNOWN_MEMBER_ID}
        assert commit(c, group, topic, {0: 1}, generation=generation - 1, member=member) == {0: ILLEGAL_GENERATION}
        assert commit(c, group, topic, {0: 1}) == {0: UNKNOWN_MEMBER_ID}, "a simple commit into a group with members"
        assert commit(c, group, topic, {0: 1}, generation=generation, member=member) == {0: NONE}
        assert leave(c, group, member) == (NONE, [NONE])


def deleted_offsets_are_gone(broker):
    ready(broker)
    topic, group = new_topic(broker), new_group()
    with connect(broker) as c:
        assert g.delete_offsets(c, group, topic, [0]) == (GROUP_ID_NOT_FOUND, {})
        assert g.delete_offsets(c, "", topic, [0]) == (INVALID_GROUP_ID, {})
        commit(c, group, topic, {0: 7})
        assert g.delete_offsets(c, group, "no-such-topic", [0]) == (NONE, {0: UNKNOWN_TOPIC_OR_PARTITION})
        assert g.delete_offsets(c, group, topic, [0, 9]) == (NONE, {0: NONE, 9: UNKNOWN_TOPIC_OR_PARTITION})
        assert fetch_offsets(c, group) == (NONE, {})


def clients_may_not_write_or_cut_the_offsets_topic(broker):
    ready(broker)
    with connect(broker) as c:
        error, _, _ = c.produce("__consumer_offsets", batch([record(b"mine")]))
        assert error == INVALID_TOPIC, error


# ---- members ----

def unknown_members_and_old_generations_are_told(broker):
    ready(broker)
    group = new_group()
    with connect(broker) as c:
        assert heartbeat(c, group, 1, "nobody") == UNKNOWN_MEMBER_ID
        assert sync(c, group, 1, "nobody") == (UNKNOWN_MEMBER_ID, b"")
        assert join(c, group, "nobody")[0] == UNKNOWN_MEMBER_ID
        generation, member = stable_group(c, group)
        assert heartbeat(c, group, generation, member) == NONE
        assert heartbeat(c, group, generation - 1, member) == ILLEGAL_GENERATION
        assert heartbeat(c, group, generation, "nobody") == UNKNOWN_MEMBER_ID
        assert sync(c, group, generation + 1, member)[0] == ILLEGAL_GENERATION
        assert leave(c, group, "nobody", member) == (NONE, [UNKNOWN_MEMBER_ID, NONE])
        assert g.leave_v0(c, group, member) == UNKNOWN_MEMBER_ID


def joins_that_make_no_sense_are_refused(broker):
    ready(broker)
    group = new_group()
    with connect(broker) as c:
        assert join(c, "")[0] == INVALID_GROUP_ID
        assert join(c, group, session_ms=10)[0] == INVALID_SESSION_TIMEOUT
        assert join(c, group, session_ms=2 ** 31 - 1)[0] == INVALID_SESSION_TIMEOUT
        assert join(c, group, protocols=())[0] == INCONSISTENT_GROUP_PROTOCOL
        assert join(c, group, protocol_type="")[0] == INCONSISTENT_GROUP_PROTOCOL
        generation, member = stable_group(c, group)
        assert join(c, group, protocols=(("other", b""),))[0] == INCONSISTENT_GROUP_PROTOCOL
        assert join(c, group, protocol_type="connect")[0] == INCONSISTENT_GROUP_PROTOCOL
        assert heartbeat(c, group, generation, member) == NONE, "the group suffered"
        leave(c, group, member)


def second_member_makes_the_first_rejoin(broker):
    ready(broker)
    group = new_group()
    with connect(broker) as one, connect(broker) as two:
        generation, first = stable_group(one, group)
        error, _, _, _, second, _ = join(two, group)
        assert error == MEMBER_ID_REQUIRED
        g.send_join(two, group, second)
        deadline = time.monotonic() + 10
        while heartbeat(one, group, generation, first) != REBALANCE_IN_PROGRESS:
            assert time.monotonic() < deadline, "the first member is not told"
        error, again, _, leader, _, members = join(one, group, first)
        assert error == NONE and again == generation + 1 and leader == first, (error, again, leader)
        assert {m for m, _ in members} == {first, second}
        assert g.joined(two)[:2] == (NONE, again)
        assert sync(one, group, again, first, [(first, b"a"), (second, b"b")]) == (NONE, b"a")
        assert sync(two, group, again, second) == (NONE, b"b")
        assert leave(one, group, first, second) == (NONE, [NONE, NONE])


def silent_member_is_removed_when_its_session_ends(broker):
    ready(broker)
    group = new_group()
    with connect(broker) as c:
        generation, member = stable_group(c, group, session_ms=6000)
        time.sleep(6.5)
        assert heartbeat(c, group, generation, member) == UNKNOWN_MEMBER_ID
        assert describe(c, group)[group][:2] == (NONE, "Empty")


# ---- groups as administrators see them ----

def groups_are_described_listed_and_deleted(broker):
    ready(broker)
    topic, group, simple = new_topic(broker), new_group(), new_group()
    with connect(broker) as c:
        generation, member = stable_group(c, group)
        commit(c, group, topic, {0: 9}, generation=generation, member=member)
        commit(c, simple, topic, {0: 1})
        assert describe(c, group, simple, "no-such-group") == {
            group: (NONE, "Stable", "consumer", "range", [member]),
            simple: (NONE, "Empty", "", "", []),
            "no-such-group": (NONE, "Dead", "", "", [])}
        error, found = g.list_groups(c)
        assert error == NONE
        assert found[group] == ("consumer", "Stable", "classic") and found[simple] == ("", "Empty", "classic"), found
        assert group not in g.list_groups(c, states=["Empty"])[1]
        assert set(g.list_groups(c, states=["STABLE"])[1]) >= {group}
        assert simple not in g.list_groups(c, types=["consumer"])[1]
        assert simple in g.list_groups(c, types=["classic"])[1]
        assert g.delete_groups(c, group, simple, "no-such-group") == {
            group: NON_EMPTY_GROUP, simple: NONE, "no-such-group": GROUP_ID_NOT_FOUND}
        assert fetch_offsets(c, simple) == (NONE, {})
        assert simple not in g.list_groups(c)[1]
        leave(c, group, member)
        assert g.delete_groups(c, group) == {group: NONE}
        assert fetch_offsets(c, group) == (NONE, {})
        assert describe(c, group)[group][1] == "Dead"


def ten_thousand_groups_of_one_client_do_no_harm(broker):
    ready(broker)
    topic, prefix = new_topic(broker), new_group()
    connections = [connect(broker) for _ in range(50)]
    try:
        for at in range(0, 10000, 50):
            for i, c in enumerate(connections):
                g.send_commit(c, f"{prefix}-{at + i}", topic, {0: at + i})
            assert all(g.committed(c) == {0: NONE} for c in connections)
        c = connections[0]
        for i in (0, 4999, 9999):
            assert fetch_offsets(c, f"{prefix}-{i}")[1] == {(topic, 0): (i, "", NONE)}
        error, found = g.list_groups(c)
        assert error == NONE and sum(name.startswith(prefix) for name in found) == 10000
        names = [f"{prefix}-{i}" for i in range(10000)]
        for at in range(0, 10000, 1000):
            assert set(g.delete_groups(c, *names[at:at + 1000]).values()) == {NONE}
        assert not any(name.startswith(prefix) for name in g.list_groups(c)[1])
    finally:
        for c in connections:
            c.socket.close()


def settings_of_groups_stay_within_what_the_broker_allows(broker):
    group = new_group()
    with connect(broker) as c:
        assert g.alter_group(c, group, consumer_session_timeout_ms="10000") == (
            INVALID_CONFIG, "consumer.session.timeout.ms must be in the range 45000 to 60000 inclusive.")
        assert g.alter_group(c, group, consumer_heartbeat_interval_ms="1000") == (
            INVALID_CONFIG, "consumer.heartbeat.interval.ms must be in the range 5000 to 15000 inclusive.")
        assert g.alter_group(c, group, consumer_color="red") == (
            INVALID_CONFIG, "Unknown group config name: consumer.color")
        assert g.alter_group(c, group, consumer_session_timeout_ms="50000") == (NONE, None)


def resources_that_can_have_settings_are_listed(broker):
    topic, group = new_topic(broker), new_group()
    with connect(broker) as c:
        assert g.alter_group(c, group, consumer_session_timeout_ms="50000") == (NONE, None)
        deadline = time.monotonic() + 10
        while (group, 32) not in g.list_config_resources(c, 32)[1]:
            assert time.monotonic() < deadline, "the group is not listed"
        error, found = g.list_config_resources(c)
        assert error == NONE and {(topic, 2), ("1", 4), ("1", 8), (group, 32)} <= found, found
        assert g.list_config_resources(c, 4) == (NONE, {("1", 4)})
        assert g.list_config_resources(c, 64) == (UNSUPPORTED_VERSION, set())


# ---- KIP-848 ----

def needs_consumer_groups(broker):
    with connect(broker) as c:
        if g.CONSUMER_GROUP_HEARTBEAT not in c.api_versions(0)[1]:
            raise Skip("consumer groups are not offered")
    ready(broker)


def consumer_heartbeat_assigns_and_asks_for_a_short_interval(broker):
    needs_consumer_groups(broker)
    topic, group, member = new_topic(broker), new_group(), str(uuid.uuid4())
    with connect(broker) as c:
        error, message, name, epoch, interval, assignment = g.consumer_heartbeat(
            c, group, member, 0, topics=[topic], owned={}, rebalance_ms=10000)
        assert error == NONE and name == member and epoch > 0, (error, message, name, epoch)
        if broker.kind == "trivet":
            assert interval == 200, interval
        assert list(assignment.values()) == [[0]], assignment
        assert g.consumer_heartbeat(c, group, member, epoch, owned=assignment)[0] == NONE
        found = g.consumer_describe(c, group)[group]
        assert found[:2] == (NONE, "Stable") and [m[3] for m in found[5]] == [{topic: [0]}], found
        assert g.list_groups(c, types=["consumer"])[1][group] == ("consumer", "Stable", "consumer")
        assert g.consumer_heartbeat(c, group, member, -1)[:1] == (NONE,)
        assert g.consumer_describe(c, group)[group][1] == "Empty"


def consumer_heartbeats_that_make_no_sense_are_refused(broker):
    needs_consumer_groups(broker)
    topic, group, member = new_topic(broker), new_group(), str(uuid.uuid4())
    with connect(broker) as c:
        assert g.consumer_heartbeat(c, "", member, 0, topics=[topic], owned={}, rebalance_ms=1000)[0] == INVALID_REQUEST
        assert g.consumer_heartbeat(c, group, member, 0, owned={}, rebalance_ms=1000)[0] == INVALID_REQUEST
        assert g.consumer_heartbeat(c, group, member, 5)[0] == GROUP_ID_NOT_FOUND
        assert g.consumer_heartbeat(c, group, member, 0, topics=[topic], owned={}, rebalance_ms=1000,
                                    assignor="magic")[0] == UNSUPPORTED_ASSIGNOR
        assert g.consumer_heartbeat(c, group, member, 0, regex="(", owned={}, rebalance_ms=1000)[0] == \
            INVALID_REGULAR_EXPRESSION
        epoch = g.consumer_heartbeat(c, group, member, 0, topics=[topic], owned={}, rebalance_ms=1000)[3]
        assert g.consumer_heartbeat(c, group, "nobody", epoch)[0] == UNKNOWN_MEMBER_ID
        assert g.consumer_heartbeat(c, group, member, epoch + 7)[0] == FENCED_MEMBER_EPOCH
        assert g.consumer_heartbeat(c, group, member, -1)[0] == NONE


def second_consumer_owns_its_share_within_a_second(broker):
    """The acceptance figure is 700 ms; the rest is for machines under a sanitizer."""
    needs_consumer_groups(broker)
    topic, group = new_topic(broker), new_group()
    with connect(broker) as c:
        grow(c, topic, 2)
    stop = threading.Event()
    owned = {}

    def member(name):
        with connect(broker) as c:
            _, _, _, epoch, interval, assignment = g.consumer_heartbeat(
                c, group, name, 0, topics=[topic], owned={}, rebalance_ms=10000)
            owned[name] = assignment or {}
            while not stop.wait(interval / 1000):
                error, _, _, epoch, interval, assignment = g.consumer_heartbeat(c, group, name, epoch, owned=owned[name])
                assert error == NONE, error
                while assignment is not None:
                    owned[name] = assignment
                    _, _, _, epoch, interval, assignment = g.consumer_heartbeat(c, group, name, epoch, owned=assignment)
            g.consumer_heartbeat(c, group, name, -1)

    one = threading.Thread(target=member, args=(str(uuid.uuid4()),))
    one.start()
    time.sleep(1.2)
    started = time.monotonic()
    name = str(uuid.uuid4())
    two = threading.Thread(target=member, args=(name,))
    two.start()
    limit = 2 if broker.kind == "trivet" else 20
    while not any(owned.get(name, {}).values()) and time.monotonic() - started < limit:
        time.sleep(0.01)
    took = time.monotonic() - started
    stop.set()
    one.join()
    two.join()
    assert took < limit, f"it waits still: {owned}"


def hostile_regular_expressions_cost_only_their_sender(broker):
    needs_consumer_groups(broker)
    topic, group = new_topic(broker), new_group()
    with connect(broker) as c, connect(broker) as other:
        commit(other, group, topic, {0: 1})
        started = time.monotonic()
        for pattern in ("(a+)+$", "(" * 200 + "a" + ")" * 200, "(x+x+)+y" * 50, "a{1,1000}{1,1000}", "(?=a)b", "\\1"):
            g.consumer_heartbeat(c, new_group(), str(uuid.uuid4()), 0, regex=pattern, owned={}, rebalance_ms=1000)
            assert fetch_offsets(other, group)[0] == NONE
        assert time.monotonic() - started < 15, "others waited"


def cases():
    """All of the above, in the order of the file."""
    helpers = {"connect", "ready", "new_group", "stable_group", "grow", "needs_consumer_groups", "cases"}
    found = [(name, value) for name, value in globals().items()
             if callable(value) and getattr(value, "__module__", "") == __name__ and not isinstance(value, type)]
    return [(name, case) for name, case in found if name not in helpers]
