"""Every error that the group APIs have, provoked on raw sockets: EVERY says what there is, and each case says what it got.

Not here is what a coordinator answers while it moves or starts (NOT_COORDINATOR, COORDINATOR_LOAD_IN_PROGRESS,
COORDINATOR_NOT_AVAILABLE): coordinator_test.c and the stories "the_coordinator_moves" have that."""
import os
import struct
import tempfile
import uuid

from harness import group_wire as g
from harness.brokers import Broker
from harness.wire import array, header, string
from interop.group_cases import connect, needs_consumer_groups, new_group, ready, stable_group
from interop.wire_cases import Skip, new_topic  # noqa: F401 (the runner catches this module's Skip)

NONE = 0
ERRORS = {
    "UNKNOWN_TOPIC_OR_PARTITION": 3, "OFFSET_METADATA_TOO_LARGE": 12, "ILLEGAL_GENERATION": 22,
    "INCONSISTENT_GROUP_PROTOCOL": 23, "INVALID_GROUP_ID": 24, "UNKNOWN_MEMBER_ID": 25, "INVALID_SESSION_TIMEOUT": 26,
    "REBALANCE_IN_PROGRESS": 27, "UNSUPPORTED_VERSION": 35, "INVALID_REQUEST": 42, "NON_EMPTY_GROUP": 68,
    "GROUP_ID_NOT_FOUND": 69, "MEMBER_ID_REQUIRED": 79, "GROUP_MAX_SIZE_REACHED": 81, "FENCED_INSTANCE_ID": 82,
    "GROUP_SUBSCRIBED_TO_TOPIC": 86, "UNKNOWN_TOPIC_ID": 100, "FENCED_MEMBER_EPOCH": 110, "UNRELEASED_INSTANCE_ID": 111,
    "UNSUPPORTED_ASSIGNOR": 112, "STALE_MEMBER_EPOCH": 113, "INVALID_REGULAR_EXPRESSION": 128,
}
EVERY = {
    "FindCoordinator": "INVALID_REQUEST",
    "JoinGroup": "INVALID_GROUP_ID INVALID_SESSION_TIMEOUT UNKNOWN_MEMBER_ID INCONSISTENT_GROUP_PROTOCOL "
                 "MEMBER_ID_REQUIRED FENCED_INSTANCE_ID GROUP_MAX_SIZE_REACHED REBALANCE_IN_PROGRESS",
    "SyncGroup": "INVALID_GROUP_ID UNKNOWN_MEMBER_ID FENCED_INSTANCE_ID ILLEGAL_GENERATION INCONSISTENT_GROUP_PROTOCOL "
                 "REBALANCE_IN_PROGRESS",
    "Heartbeat": "INVALID_GROUP_ID UNKNOWN_MEMBER_ID FENCED_INSTANCE_ID ILLEGAL_GENERATION REBALANCE_IN_PROGRESS",
    "LeaveGroup": "INVALID_GROUP_ID UNKNOWN_MEMBER_ID FENCED_INSTANCE_ID",
    "OffsetCommit": "UNKNOWN_TOPIC_OR_PARTITION OFFSET_METADATA_TOO_LARGE UNKNOWN_MEMBER_ID ILLEGAL_GENERATION "
                    "FENCED_INSTANCE_ID REBALANCE_IN_PROGRESS GROUP_ID_NOT_FOUND STALE_MEMBER_EPOCH UNSUPPORTED_VERSION "
                    "UNKNOWN_TOPIC_ID",
    "OffsetFetch": "UNKNOWN_MEMBER_ID STALE_MEMBER_EPOCH UNKNOWN_TOPIC_ID",
    "OffsetDelete": "INVALID_GROUP_ID GROUP_ID_NOT_FOUND NON_EMPTY_GROUP GROUP_SUBSCRIBED_TO_TOPIC "
                    "UNKNOWN_TOPIC_OR_PARTITION",
    "DescribeGroups": "GROUP_ID_NOT_FOUND",
    "DeleteGroups": "GROUP_ID_NOT_FOUND NON_EMPTY_GROUP",
    "ConsumerGroupHeartbeat": "INVALID_REQUEST UNKNOWN_MEMBER_ID FENCED_MEMBER_EPOCH UNSUPPORTED_ASSIGNOR "
                              "UNRELEASED_INSTANCE_ID FENCED_INSTANCE_ID GROUP_ID_NOT_FOUND INVALID_REGULAR_EXPRESSION "
                              "GROUP_MAX_SIZE_REACHED",
    "ConsumerGroupDescribe": "GROUP_ID_NOT_FOUND",
}
SUBSCRIPTION = b"\0\0" + struct.pack(">i", 0) + struct.pack(">i", -1)  # of no topic, version 0
NO_TOPIC_ID = uuid.UUID(int=12345)


class Told:
    """What was asked for, and came."""

    def __init__(self):
        self.seen = set()

    def __call__(self, api, error, code):
        assert code == ERRORS[error], f"{api}: {error} ({ERRORS[error]}) was due, {code} came"
        self.seen.add((api, error))


# ---- exchanges that only this file needs ----

def find_by_type(c, kind):
    """FindCoordinator v1 with a type of key of our choice: error."""
    answer = c.ask(header(g.FIND_COORDINATOR, 1) + string("key") + struct.pack(">b", kind))
    answer.take("i")
    return answer.take("h")


def leave_as(c, group, member, instance):
    """LeaveGroup v3 of one static member: its error."""
    answer = c.ask(header(g.LEAVE_GROUP, 3) + string(group) + array([string(member) + string(instance)]))
    answer.take("ih")
    answer.take("i")
    answer.string()
    answer.string()
    return answer.take("h")


def commit_as(c, group, topic, *, epoch=-1, member="", instance=None, version=9):
    """OffsetCommit v9 or v10 (topic is an id then) of partition 0: error."""
    partition = struct.pack(">iqi", 0, 1, -1) + g.compact("") + b"\0"
    name = topic.bytes if version >= 10 else g.compact(topic)
    answer = g.ask_flexible(c, g.OFFSET_COMMIT, version, g.compact(group) + struct.pack(">i", epoch) + g.compact(member) +
                            g.compact(instance) + g.compact_array([name + g.compact_array([partition]) + b"\0"]))
    answer.take("i")
    codes = []

    def part():
        codes.append(answer.take("ih")[1])
        answer.tags()

    def one():
        if version >= 10:
            answer.uuid()
        else:
            answer.compact()
        answer.array(part)
        answer.tags()

    answer.array(one)
    return codes[0]


def fetch_as(c, group, member, epoch, topic=None):
    """OffsetFetch v9 of all, or v10 of a topic by its id: (the group's error, the partition's or None)."""
    asked = b"\0" if topic is None else g.compact_array([topic.bytes + g.compact_array([struct.pack(">i", 0)]) + b"\0"])
    answer = g.ask_flexible(c, g.OFFSET_FETCH, 10 if topic else 9, g.compact_array(
        [g.compact(group) + g.compact(member) + struct.pack(">i", epoch) + asked + b"\0"]) + b"\0")
    answer.take("i")
    codes = []

    def part():
        answer.take("iqi")
        answer.compact()
        codes.append(answer.take("h"))
        answer.tags()

    def one():
        if topic:
            answer.uuid()
        else:
            answer.compact()
        answer.array(part)
        answer.tags()

    def of_group():
        answer.compact()
        answer.array(one)
        error = answer.take("h")
        answer.tags()
        return error

    return answer.array(of_group)[0], codes[0] if codes else None


def describe_error(c, group):
    """DescribeGroups v6: the group's error."""
    answer = g.ask_flexible(c, g.DESCRIBE_GROUPS, 6, g.compact_array([g.compact(group)]) + b"\0")
    answer.take("i")
    assert answer.uvarint() == 2
    return answer.take("h")


def consumer(c, group, member=None, epoch=0, **more):
    """A member that joins, or beats: the error, or its new epoch behind NONE."""
    if epoch == 0:
        more = {"topics": [], "owned": {}, "rebalance_ms": 10000, **more}
    answer = g.consumer_heartbeat(c, group, member or str(uuid.uuid4()), epoch, **more)
    return answer[0]


# ---- classic groups ----

def provoke_classic(c, other, told, topic):
    group = new_group()
    told("FindCoordinator", "INVALID_REQUEST", find_by_type(c, 99))
    told("JoinGroup", "INVALID_GROUP_ID", g.join(c, "")[0])
    told("JoinGroup", "INVALID_SESSION_TIMEOUT", g.join(c, group, session_ms=1)[0])
    told("JoinGroup", "UNKNOWN_MEMBER_ID", g.join(c, group, "nobody")[0])
    told("JoinGroup", "MEMBER_ID_REQUIRED", g.join(c, group)[0])
    generation, member = stable_group(c, group)
    told("JoinGroup", "INCONSISTENT_GROUP_PROTOCOL", g.join(other, group, protocols=(("other", b"x"),), version=3)[0])
    told("SyncGroup", "INVALID_GROUP_ID", g.sync(c, "", generation, member)[0])
    told("SyncGroup", "UNKNOWN_MEMBER_ID", g.sync(c, group, generation, "nobody")[0])
    told("SyncGroup", "ILLEGAL_GENERATION", g.sync(c, group, generation + 1, member)[0])
    told("SyncGroup", "INCONSISTENT_GROUP_PROTOCOL", sync_as(c, group, generation, member, "another"))
    told("Heartbeat", "INVALID_GROUP_ID", g.heartbeat(c, "", generation, member))
    told("Heartbeat", "UNKNOWN_MEMBER_ID", g.heartbeat(c, group, generation, "nobody"))
    told("Heartbeat", "ILLEGAL_GENERATION", g.heartbeat(c, group, generation + 1, member))
    told("LeaveGroup", "INVALID_GROUP_ID", g.leave(c, "", member)[0])
    told("LeaveGroup", "UNKNOWN_MEMBER_ID", g.leave(c, group, "nobody")[1][0])
    told("OffsetCommit", "UNKNOWN_MEMBER_ID", g.commit(c, group, topic, {0: 1})[0])
    told("OffsetCommit", "ILLEGAL_GENERATION", g.commit(c, group, topic, {0: 1}, generation=generation + 1, member=member)[0])
    told("OffsetDelete", "NON_EMPTY_GROUP", g.delete_offsets(c, stable_other_type(c), topic, [0])[0])
    told("DeleteGroups", "NON_EMPTY_GROUP", g.delete_groups(c, group)[group])
    # Somebody else joins: all are to come again.
    g.send_join(other, group, version=3)
    while g.heartbeat(c, group, generation, member) == NONE:
        pass
    told("Heartbeat", "REBALANCE_IN_PROGRESS", g.heartbeat(c, group, generation, member))
    told("SyncGroup", "REBALANCE_IN_PROGRESS", g.sync(c, group, generation, member)[0])
    g.leave(c, group, member)
    generation, member = (g.joined(other))[1::3][:2]
    told("OffsetCommit", "REBALANCE_IN_PROGRESS",
         g.commit(other, group, topic, {0: 1}, generation=generation, member=member)[0])  # nothing is assigned yet
    g.leave(other, group, member)


def sync_as(c, group, generation, member, protocol):
    """SyncGroup v5, which names the protocol: error."""
    answer = g.ask_flexible(c, g.SYNC_GROUP, 5, g.compact(group) + struct.pack(">i", generation) + g.compact(member) +
                            g.compact(None) + g.compact("consumer") + g.compact(protocol) + g.compact_array([]))
    answer.take("i")
    return answer.take("h")


def stable_other_type(c):
    """A group with a member that is no consumer: what it reads is not known."""
    group = new_group()
    stable_group(c, group, protocol_type="connect")
    return group


def provoke_static(c, told, topic):
    group = new_group()
    error, generation, _, _, member, _ = g.join(c, group, instance="one")
    assert error == NONE, error
    assert g.sync(c, group, generation, member, [(member, b"all")])[0] == NONE
    told("JoinGroup", "FENCED_INSTANCE_ID", g.join(c, group, "another", instance="one")[0])
    told("SyncGroup", "FENCED_INSTANCE_ID", g.sync(c, group, generation, "another", instance="one")[0])
    told("Heartbeat", "FENCED_INSTANCE_ID", g.heartbeat(c, group, generation, "another", instance="one"))
    told("LeaveGroup", "FENCED_INSTANCE_ID", leave_as(c, group, "another", "one"))
    told("OffsetCommit", "FENCED_INSTANCE_ID", commit_as(c, group, topic, epoch=generation, member="another", instance="one"))
    leave_as(c, group, member, "one")


def provoke_of_offsets(c, told, topic):
    group, nobody = new_group(), new_group()
    told("OffsetCommit", "UNKNOWN_TOPIC_OR_PARTITION", g.commit(c, group, "no-such-topic", {0: 1})[0])
    told("OffsetCommit", "OFFSET_METADATA_TOO_LARGE", g.commit(c, group, topic, {0: 1}, metadata="x" * 5000)[0])
    told("OffsetCommit", "UNKNOWN_TOPIC_ID", commit_as(c, group, NO_TOPIC_ID, version=10))
    told("OffsetCommit", "GROUP_ID_NOT_FOUND", commit_as(c, nobody, topic, epoch=1, member="somebody"))
    told("OffsetFetch", "UNKNOWN_TOPIC_ID", fetch_as(c, group, None, -1, NO_TOPIC_ID)[1])
    told("OffsetDelete", "INVALID_GROUP_ID", g.delete_offsets(c, "", topic, [0])[0])
    told("OffsetDelete", "GROUP_ID_NOT_FOUND", g.delete_offsets(c, nobody, topic, [0])[0])
    assert g.commit(c, group, topic, {0: 1})[0] == NONE
    told("OffsetDelete", "UNKNOWN_TOPIC_OR_PARTITION", g.delete_offsets(c, group, "no-such-topic", [0])[1][0])
    told("DescribeGroups", "GROUP_ID_NOT_FOUND", describe_error(c, nobody))
    told("DeleteGroups", "GROUP_ID_NOT_FOUND", g.delete_groups(c, nobody)[nobody])
    told("ConsumerGroupDescribe", "GROUP_ID_NOT_FOUND", g.consumer_describe(c, nobody)[nobody][0])


# ---- consumer groups ----

def provoke_consumer(c, told, topic):
    group, member, beat = new_group(), str(uuid.uuid4()), "ConsumerGroupHeartbeat"
    told(beat, "GROUP_ID_NOT_FOUND", consumer(c, group, member, 5))
    told(beat, "INVALID_REQUEST", consumer(c, "", member))
    told(beat, "UNSUPPORTED_ASSIGNOR", consumer(c, group, member, assignor="no-such-assignor"))
    told(beat, "INVALID_REGULAR_EXPRESSION", consumer(c, group, member, topics=None, regex="("))
    error, _, _, epoch, _, _ = g.consumer_heartbeat(c, group, member, 0, topics=[topic], owned={}, rebalance_ms=10000)
    assert error == NONE, error
    told(beat, "UNKNOWN_MEMBER_ID", consumer(c, group, "nobody", epoch))
    told(beat, "FENCED_MEMBER_EPOCH", consumer(c, group, member, epoch + 7))
    told("OffsetCommit", "STALE_MEMBER_EPOCH", commit_as(c, group, topic, epoch=epoch + 7, member=member))
    told("OffsetCommit", "UNSUPPORTED_VERSION", g.commit(c, group, topic, {0: 1}, generation=epoch + 7, member=member)[0])
    told("OffsetFetch", "STALE_MEMBER_EPOCH", fetch_as(c, group, member, epoch + 7)[0])
    told("OffsetFetch", "UNKNOWN_MEMBER_ID", fetch_as(c, group, "nobody", epoch)[0])
    told("OffsetDelete", "GROUP_SUBSCRIBED_TO_TOPIC", g.delete_offsets(c, group, topic, [0])[1][0])
    assert consumer(c, group, member, -1) == NONE
    group, one, two = new_group(), str(uuid.uuid4()), str(uuid.uuid4())
    error, _, _, epoch, _, _ = g.consumer_heartbeat(c, group, one, 0, topics=[topic], owned={}, rebalance_ms=10000,
                                                    instance="one")
    assert error == NONE, error
    told(beat, "UNRELEASED_INSTANCE_ID", consumer(c, group, two, instance="one"))
    told(beat, "FENCED_INSTANCE_ID", consumer(c, group, two, epoch, instance="one"))
    assert consumer(c, group, one, -1, instance="one") == NONE


def provoke_conversion(c, other, told):
    """A classic member waits in its join while the group becomes a consumer group."""
    group = new_group()
    protocols = (("range", SUBSCRIPTION),)
    error, generation, _, _, member, _ = g.join_fully(c, group, protocols=protocols)
    assert error == NONE, error
    assert g.sync(c, group, generation, member, [(member, b"")])[0] == NONE
    g.send_join(other, group, protocols=protocols, version=3)
    while g.heartbeat(c, group, generation, member) == NONE:
        pass
    assert consumer(c, group) == NONE
    told("JoinGroup", "REBALANCE_IN_PROGRESS", g.joined(other)[0])


def provoke_full(broker, told):
    """A broker of its own, where groups have one member."""
    with tempfile.TemporaryDirectory(prefix="trivet-full-") as folder:
        small = Broker(broker.kind, os.path.join(folder, "node"), broker.binary, properties={
            "group.max.size": "1", "group.consumer.max.size": "1", "group.initial.rebalance.delay.ms": "0",
            "offsets.topic.num.partitions": "1"})
        try:
            small.start()
            ready(small)
            with connect(small) as c:
                group = new_group()
                stable_group(c, group)
                told("JoinGroup", "GROUP_MAX_SIZE_REACHED", g.join(c, group, version=3)[0])
                group = new_group()
                assert consumer(c, group) == NONE
                told("ConsumerGroupHeartbeat", "GROUP_MAX_SIZE_REACHED", consumer(c, group))
        finally:
            small.stop()


def every_error_of_the_group_apis_is_provoked(broker):
    needs_consumer_groups(broker)
    topic, told = new_topic(broker), Told()
    with connect(broker) as c, connect(broker) as other:
        provoke_classic(c, other, told, topic)
        provoke_static(c, told, topic)
        provoke_of_offsets(c, told, topic)
        provoke_consumer(c, told, topic)
        provoke_conversion(c, other, told)
    provoke_full(broker, told)
    missing = {(api, error) for api, errors in EVERY.items() for error in errors.split()} - told.seen
    assert not missing, f"never provoked: {sorted(missing)}"


def cases():
    return [("every_error_of_the_group_apis_is_provoked", every_error_of_the_group_apis_is_provoked)]
