"""Requests about consumer groups, each at one version, as bytes; answers as tuples. Standard library only."""
import struct
import uuid

from harness.wire import INCREMENTAL_ALTER_CONFIGS, Reader, array, blob, header, string

OFFSET_COMMIT, OFFSET_FETCH, FIND_COORDINATOR, JOIN_GROUP, HEARTBEAT, LEAVE_GROUP, SYNC_GROUP = 8, 9, 10, 11, 12, 13, 14
DESCRIBE_GROUPS, LIST_GROUPS, DELETE_GROUPS, OFFSET_DELETE = 15, 16, 42, 47
CONSUMER_GROUP_HEARTBEAT, CONSUMER_GROUP_DESCRIBE, LIST_CONFIG_RESOURCES = 68, 69, 74


# ---- flexible versions ----

def uvarint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def compact(text):
    if text is None:
        return b"\0"
    raw = text.encode()
    return uvarint(len(raw) + 1) + raw


def compact_array(items):
    return b"\0" if items is None else uvarint(len(items) + 1) + b"".join(items)


class CompactReader(Reader):
    def uvarint(self):
        value = shift = 0
        while True:
            byte = self.take("B")
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def compact(self):
        size = self.uvarint() - 1
        if size < 0:
            return None
        self.at += size
        return self.data[self.at - size:self.at].decode()

    def array(self, element):
        count = self.uvarint() - 1
        return None if count < 0 else [element() for _ in range(count)]

    def tags(self):
        for _ in range(self.uvarint()):
            self.uvarint()
            self.at += self.uvarint()

    def uuid(self):
        self.at += 16
        return uuid.UUID(bytes=bytes(self.data[self.at - 16:self.at]))


def ask_flexible(c, key, version, body, correlation=1):
    """Sends with request header 2; a reader behind response header 1."""
    c.send(header(key, version, correlation) + b"\0" + body + b"\0")
    answer = CompactReader(c.receive())
    assert answer.take("i") == correlation
    answer.tags()
    return answer


# ---- whole exchanges on a Connection ----

def find_coordinator(c, group):
    """FindCoordinator v1: (error, node id, port)."""
    answer = c.ask(header(FIND_COORDINATOR, 1) + string(group) + b"\0")
    answer.take("i")
    error = answer.take("h")
    answer.string()
    node = answer.take("i")
    answer.string()
    return error, node, answer.take("i")


def join(c, group, member="", *, protocol_type="consumer", protocols=(("range", b"x"),), session_ms=10000,
         rebalance_ms=10000, instance=None, version=5):
    """JoinGroup v5: (error, generation, protocol, leader, member id, [(member id, metadata)])."""
    send_join(c, group, member, protocol_type=protocol_type, protocols=protocols, session_ms=session_ms,
              rebalance_ms=rebalance_ms, instance=instance, version=version)
    return joined(c)


def send_join(c, group, member="", *, protocol_type="consumer", protocols=(("range", b"x"),), session_ms=10000,
              rebalance_ms=10000, instance=None, version=5):
    c.send(header(JOIN_GROUP, version) + string(group) + struct.pack(">ii", session_ms, rebalance_ms) +
           string(member) + (string(instance) if version >= 5 else b"") + string(protocol_type) +
           array([string(n) + blob(m) for n, m in protocols]))
    c.join_version = version


def joined(c):
    answer = Reader(c.receive())
    answer.take("i")
    if c.join_version >= 2:
        answer.take("i")
    error, generation = answer.take("hi")
    protocol, leader, member = answer.string(), answer.string(), answer.string()
    members = []
    for _ in range(answer.take("i")):
        name = answer.string()
        if c.join_version >= 5:
            answer.string()
        members.append((name, answer.blob()))
    return error, generation, protocol, leader, member, members


def join_fully(c, group, **more):
    """Joins as a new member: asks for an id first, as clients since v4 do."""
    error, _, _, _, member, _ = join(c, group, **more)
    assert error == 79, f"MEMBER_ID_REQUIRED was due, {error} came"
    return join(c, group, member, **more)


def sync(c, group, generation, member, assignments=(), instance=None):
    """SyncGroup v3: (error, assignment)."""
    answer = c.ask(header(SYNC_GROUP, 3) + string(group) + struct.pack(">i", generation) + string(member) +
                   string(instance) + array([string(m) + blob(a) for m, a in assignments]))
    answer.take("i")
    return answer.take("h"), answer.blob()


def heartbeat(c, group, generation, member, instance=None):
    """Heartbeat v3: error."""
    answer = c.ask(header(HEARTBEAT, 3) + string(group) + struct.pack(">i", generation) + string(member) +
                   string(instance))
    answer.take("i")
    return answer.take("h")


def leave(c, group, *members):
    """LeaveGroup v3: (error, [member's error])."""
    answer = c.ask(header(LEAVE_GROUP, 3) + string(group) + array([string(m) + string(None) for m in members]))
    answer.take("i")
    error = answer.take("h")
    codes = []
    for _ in range(answer.take("i")):
        answer.string()
        answer.string()
        codes.append(answer.take("h"))
    return error, codes


def leave_v0(c, group, member):
    return c.ask(header(LEAVE_GROUP, 0) + string(group) + string(member)).take("h")


def commit(c, group, topic, offsets, **more):
    """OffsetCommit v7 of {partition: offset}: {partition: error}."""
    send_commit(c, group, topic, offsets, **more)
    return committed(c)


def send_commit(c, group, topic, offsets, *, generation=-1, member="", metadata=""):
    partitions = array([struct.pack(">iqi", p, o, -1) + string(metadata) for p, o in offsets.items()])
    c.send(header(OFFSET_COMMIT, 7) + string(group) + struct.pack(">i", generation) + string(member) + string(None) +
           array([string(topic) + partitions]))


def committed(c):
    answer = Reader(c.receive())
    answer.take("ii")
    codes = {}
    for _ in range(answer.take("i")):
        answer.string()
        codes.update(answer.take("ih") for _ in range(answer.take("i")))
    return codes


def fetch_offsets(c, group, topics=None, require_stable=False):
    """OffsetFetch v5 (v7 to wait for what is under way) of {topic: [partition]}, None: all: (error, {(topic, partition):
    (offset, metadata, error)})."""
    asked = struct.pack(">i", -1) if topics is None else array(
        [string(t) + array([struct.pack(">i", p) for p in ps]) for t, ps in topics.items()])
    found = {}
    if require_stable:
        asked = compact_array(None if topics is None else [
            compact(t) + compact_array([struct.pack(">i", p) for p in ps]) + b"\0" for t, ps in topics.items()])
        answer = ask_flexible(c, OFFSET_FETCH, 7, compact(group) + asked + b"\1")
        answer.take("i")

        def partition():
            p, offset, _ = answer.take("iqi")
            metadata = answer.compact()
            error = answer.take("h")
            answer.tags()
            return p, offset, metadata, error

        def topic():
            name = answer.compact()
            for p, offset, metadata, error in answer.array(partition):
                found[name, p] = offset, metadata, error
            answer.tags()

        answer.array(topic)
        return answer.take("h"), found
    answer = c.ask(header(OFFSET_FETCH, 5) + string(group) + asked)
    answer.take("i")
    for _ in range(answer.take("i")):
        name = answer.string()
        for _ in range(answer.take("i")):
            p, offset, _ = answer.take("iqi")
            metadata = answer.string()
            found[name, p] = offset, metadata, answer.take("h")
    return answer.take("h"), found


def delete_offsets(c, group, topic, partitions):
    """OffsetDelete v0: (error, {partition: error})."""
    answer = c.ask(header(OFFSET_DELETE, 0) + string(group) + array(
        [string(topic) + array([struct.pack(">i", p) for p in partitions])]))
    error, _ = answer.take("hi")
    codes = {}
    for _ in range(answer.take("i")):
        answer.string()
        codes.update(answer.take("ih") for _ in range(answer.take("i")))
    return error, codes


def delete_groups(c, *groups):
    """DeleteGroups v1: {group: error}."""
    answer = c.ask(header(DELETE_GROUPS, 1) + array([string(g) for g in groups]))
    answer.take("i")
    codes = {}
    for _ in range(answer.take("i")):
        name = answer.string()
        codes[name] = answer.take("h")
    return codes


def describe(c, *groups):
    """DescribeGroups v4: {group: (error, state, protocol type, protocol, [member id])}."""
    answer = c.ask(header(DESCRIBE_GROUPS, 4) + array([string(g) for g in groups]) + b"\0")
    answer.take("i")
    found = {}
    for _ in range(answer.take("i")):
        error = answer.take("h")
        name, state, type_, protocol = (answer.string() for _ in range(4))
        members = []
        for _ in range(answer.take("i")):
            members.append(answer.string())
            for _ in range(3):
                answer.string()
            answer.blob()
            answer.blob()
        answer.take("i")
        found[name] = error, state, type_, protocol, members
    return found


def list_groups(c, states=(), types=()):
    """ListGroups v5: (error, {group: (protocol type, state, type)})."""
    answer = ask_flexible(c, LIST_GROUPS, 5, compact_array([compact(s) for s in states]) +
                          compact_array([compact(t) for t in types]))
    _, error = answer.take("ih")
    found = {}

    def group():
        name, type_, state, kind = (answer.compact() for _ in range(4))
        answer.tags()
        found[name] = type_, state, kind

    answer.array(group)
    return error, found


def alter_group(c, group, **settings):
    """IncrementalAlterConfigs v0: (error, message)."""
    answer = c.ask(header(INCREMENTAL_ALTER_CONFIGS, 0) + array(
        [struct.pack(">b", 32) + string(group) + array(
            [string(k.replace("_", ".")) + b"\0" + string(v) for k, v in settings.items()])]) + b"\0")
    answer.take("ii")
    return answer.take("h"), answer.string()


def list_config_resources(c, *types):
    """ListConfigResources v1: (error, {(name, type)})."""
    answer = ask_flexible(c, LIST_CONFIG_RESOURCES, 1, compact_array([struct.pack(">b", t) for t in types]))
    _, error = answer.take("ih")
    found = set()

    def resource():
        name, type_ = answer.compact(), answer.take("b")
        answer.tags()
        found.add((name, type_))

    answer.array(resource)
    return error, found


def consumer_heartbeat(c, group, member, epoch, *, topics=None, regex=None, owned=None, instance=None, assignor=None,
                       rebalance_ms=-1):
    """ConsumerGroupHeartbeat v1: (error, message, member id, epoch, interval, {topic id: [partition]} or None)."""
    names = compact_array(None if topics is None else [compact(t) for t in topics])
    partitions = compact_array(None if owned is None else [
        t.bytes + compact_array([struct.pack(">i", p) for p in ps]) + b"\0" for t, ps in owned.items()])
    answer = ask_flexible(c, CONSUMER_GROUP_HEARTBEAT, 1, compact(group) + compact(member) + struct.pack(">i", epoch) +
                          compact(instance) + compact(None) + struct.pack(">i", rebalance_ms) + names +
                          compact(regex) + compact(assignor) + partitions)
    _, error = answer.take("ih")
    message, name = answer.compact(), answer.compact()
    new_epoch, interval = answer.take("ii")
    assignment = None
    if answer.take("b") >= 0:
        assignment = {}

        def topic():
            id_ = answer.uuid()
            assignment[id_] = answer.array(lambda: answer.take("i"))
            answer.tags()

        answer.array(topic)
    return error, message, name, new_epoch, interval, assignment


def consumer_describe(c, *groups):
    """ConsumerGroupDescribe v1: {group: (error, state, group epoch, assignment epoch, assignor, members)}; a member is
    (id, epoch, subscribed topics, {topic: [partition]}, type)."""
    answer = ask_flexible(c, CONSUMER_GROUP_DESCRIBE, 1, compact_array([compact(g) for g in groups]) + b"\0")
    answer.take("i")
    found = {}

    def assignment():
        parts = {}

        def topic():
            answer.uuid()
            name = answer.compact()
            parts[name] = answer.array(lambda: answer.take("i"))
            answer.tags()

        answer.array(topic)
        answer.tags()
        return parts

    def member():
        name = answer.compact()
        answer.compact()
        answer.compact()
        epoch = answer.take("i")
        answer.compact()
        answer.compact()
        topics = answer.array(answer.compact)
        answer.compact()
        owns = assignment()
        assignment()
        kind = answer.take("b")
        answer.tags()
        return name, epoch, topics, owns, kind

    def group():
        error = answer.take("h")
        answer.compact()
        name, state = answer.compact(), answer.compact()
        epoch, target = answer.take("ii")
        assignor = answer.compact()
        members = answer.array(member)
        answer.take("i")
        answer.tags()
        found[name] = error, state, epoch, target, assignor, members

    answer.array(group)
    return found
