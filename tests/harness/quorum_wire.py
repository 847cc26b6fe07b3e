"""The metadata quorum on the wire: DescribeQuorum, AddRaftVoter, RemoveRaftVoter."""
import struct
import uuid

from harness.group_wire import ask_flexible, compact, compact_array

DESCRIBE_QUORUM, UPDATE_FEATURES, ADD_RAFT_VOTER, REMOVE_RAFT_VOTER = 55, 57, 80, 81


class Quorum:
    def __init__(self, leader, epoch, high_watermark, voters, observers, nodes):
        self.leader, self.epoch, self.high_watermark = leader, epoch, high_watermark
        self.voters, self.observers = voters, observers  # id: (directory id, log end, last fetch, last caught up)
        self.nodes = nodes  # ids


def describe(c):
    """(error, Quorum or None), by DescribeQuorum v2."""
    topic = compact("__cluster_metadata") + compact_array([struct.pack(">i", 0) + b"\0"]) + b"\0"
    r = ask_flexible(c, DESCRIBE_QUORUM, 2, compact_array([topic]))
    error = r.take("h")
    r.compact()

    def replica():
        replica_id = r.take("i")
        state = (r.uuid(), *r.take("qqq"))
        r.tags()
        return replica_id, state

    def partition():
        r.take("i")
        code = r.take("h")
        r.compact()
        leader, epoch, high_watermark = r.take("iiq")
        voters, observers = dict(r.array(replica)), dict(r.array(replica))
        r.tags()
        return code, Quorum(leader, epoch, high_watermark, voters, observers, [])

    def one_topic():
        r.compact()
        found = r.array(partition)
        r.tags()
        return found

    def listener():
        r.compact(), r.compact(), r.take("H"), r.tags()

    def node():
        node_id = r.take("i")
        r.array(listener)
        r.tags()
        return node_id

    topics = r.array(one_topic)
    if error or not topics:
        return error, None
    code, quorum = topics[0][0]
    quorum.nodes = r.array(node)
    return code, quorum


def add_voter(c, node_id, directory, port, timeout_ms=10000):
    """The error, by AddRaftVoter v1."""
    listener = compact("CONTROLLER") + compact("127.0.0.1") + struct.pack(">H", port) + b"\0"
    r = ask_flexible(c, ADD_RAFT_VOTER, 1, compact(None) + struct.pack(">ii", timeout_ms, node_id) + directory.bytes +
                     compact_array([listener]) + b"\1")
    r.take("i")
    return r.take("h")


def remove_voter(c, node_id, directory):
    """The error, by RemoveRaftVoter v0."""
    r = ask_flexible(c, REMOVE_RAFT_VOTER, 0, compact(None) + struct.pack(">i", node_id) + directory.bytes)
    r.take("i")
    return r.take("h")


def update_feature(c, feature, level, validate_only=False):
    """The error, by UpdateFeatures v1."""
    update = compact(feature) + struct.pack(">hb", level, 1) + b"\0"
    r = ask_flexible(c, UPDATE_FEATURES, 1, struct.pack(">i", 10000) + compact_array([update]) +
                     struct.pack(">b", validate_only))
    r.take("i")
    return r.take("h")


NO_DIRECTORY = uuid.UUID(int=0)
