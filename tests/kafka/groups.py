"""Consumer groups on disk: the same story is written by either broker, read by both tools, served by the other."""
import json
import re
import struct
import subprocess
import time
import uuid

from harness import group_wire as g
from harness.wire import Connection, array, blob, string
from interop.group_cases import ready

TOPIC, PARTITIONS, RECORDS = "grouped", 4, 10
NONE, REBALANCE_IN_PROGRESS = 0, 27
SIMPLE, READERS, CLASSIC, MODERN, REGEX, CUT, DELETED = (
    "simple", "readers", "classic", "modern", "by-regex", "offsets-deleted", "deleted")
# Long enough for the members to outlive the change of brokers.
SESSION_MS = 120000


def until(what, ready_now, seconds=60):
    deadline = time.monotonic() + seconds
    while not ready_now():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.1)


# ---- writing ----

def subscription():
    """ConsumerProtocolSubscription v0."""
    return struct.pack(">h", 0) + array([string(TOPIC)]) + blob(b"user data")


def assignment(*partitions):
    """ConsumerProtocolAssignment v0."""
    return struct.pack(">h", 0) + array([string(TOPIC) + array([struct.pack(">i", p) for p in partitions])]) + blob(b"")


def commit_as_consumer(c, group, member, epoch, offsets, metadata):
    """OffsetCommit v9, the first that members of the new protocol may use."""
    partitions = g.compact_array([struct.pack(">iqi", p, o, 0) + g.compact(metadata) + b"\0" for p, o in offsets.items()])
    answer = g.ask_flexible(c, g.OFFSET_COMMIT, 9, g.compact(group) + struct.pack(">i", epoch) + g.compact(member) +
                            g.compact(None) + g.compact_array([g.compact(TOPIC) + partitions + b"\0"]))
    answer.take("i")

    def partition():
        code = answer.take("ih")
        answer.tags()
        return code

    def topic():
        answer.compact()
        codes = dict(answer.array(partition))
        answer.tags()
        return codes

    return answer.array(topic)[0]


def read_as_two(broker):
    """Two members of librdkafka share the topic, commit and leave."""
    command = ["kcat", "-b", broker.bootstrap, "-q", "-X", "auto.offset.reset=earliest", "-X",
               "auto.commit.interval.ms=100", "-G", READERS, TOPIC]
    members = [subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) for _ in range(2)]
    try:
        with Connection(broker.port) as c:
            until("two readers", lambda: g.describe(c, READERS)[READERS][1] == "Stable" and
                  len(g.describe(c, READERS)[READERS][4]) == 2)
            until("all is read", lambda: [o for o, _, _ in g.fetch_offsets(c, READERS)[1].values()] ==
                  [RECORDS] * PARTITIONS)
            for member in members:
                member.terminate()
            until("the readers leave", lambda: g.describe(c, READERS)[READERS][1] == "Empty")
    finally:
        for member in members:
            member.kill()
            member.wait()


def classic_group(broker):
    """Two members in the second generation, that stay: (generation, [member])."""
    how = {"protocols": (("range", subscription()),), "session_ms": SESSION_MS}
    with Connection(broker.port) as one, Connection(broker.port) as two:
        error, generation, _, _, first, _ = g.join_fully(one, CLASSIC, **how)
        assert error == NONE, error
        assert g.sync(one, CLASSIC, generation, first, [(first, assignment(*range(PARTITIONS)))])[0] == NONE
        second = g.join(two, CLASSIC, **how)[4]
        g.send_join(two, CLASSIC, second, **how)
        until("the first is told", lambda: g.heartbeat(one, CLASSIC, generation, first) == REBALANCE_IN_PROGRESS)
        error, generation, _, leader, _, members = g.join(one, CLASSIC, first, **how)
        assert (error, leader, len(members)) == (NONE, first, 2), (error, leader, members)
        assert g.joined(two)[:2] == (NONE, generation)
        shares = [(first, assignment(0, 1)), (second, assignment(2, 3))]
        assert g.sync(one, CLASSIC, generation, first, shares) == (NONE, shares[0][1])
        assert g.sync(two, CLASSIC, generation, second) == (NONE, shares[1][1])
        for c, member, offsets in ((one, first, {0: 1, 1: 2}), (two, second, {2: 3, 3: 4})):
            codes = g.commit(c, CLASSIC, TOPIC, offsets, generation=generation, member=member, metadata=f"at {offsets}")
            assert set(codes.values()) == {NONE}, codes
    return generation, [first, second]


def modern_group(broker, group, count, **subscribed):
    """Members of the new protocol that stay and own all between them: (epoch, {member: what it owns})."""
    names = [str(uuid.uuid4()) for _ in range(count)]
    epochs, owned = {}, {}
    with Connection(broker.port) as c:
        for name in names:
            error, message, _, epochs[name], _, given = g.consumer_heartbeat(c, group, name, 0, owned={},
                                                                             rebalance_ms=SESSION_MS, **subscribed)
            assert error == NONE, (error, message)
            owned[name] = given or {}

        def shared():
            for name in names:
                error, message, _, epochs[name], _, given = g.consumer_heartbeat(c, group, name, epochs[name],
                                                                                 owned=owned[name])
                assert error == NONE, (error, message)
                owned[name] = owned[name] if given is None else given
            shares = [sum(len(ps) for ps in owned[name].values()) for name in names]
            return shares == [PARTITIONS // count] * count and g.consumer_describe(c, group)[group][1] == "Stable"

        until(f"{group} is shared", shared)
        for name in names:
            offsets = {p: 5 + p for ps in owned[name].values() for p in ps}
            codes = commit_as_consumer(c, group, name, epochs[name], offsets, "by its epoch")
            assert set(codes.values()) == {NONE}, codes
    assert len(set(epochs.values())) == 1, epochs
    return epochs[names[0]], owned


def write_groups(broker):
    """Every kind of group and of record; answers the members that are left, for carry_on."""
    ready(broker)
    with Connection(broker.port) as c:
        assert c.create_topic(TOPIC, PARTITIONS) == NONE
        until("the topic is led", lambda: all(c.list_offsets(TOPIC, -1, partition=p)[0] == NONE
                                              for p in range(PARTITIONS)))
        for p in range(PARTITIONS):
            subprocess.run(["kcat", "-b", broker.bootstrap, "-P", "-t", TOPIC, "-p", str(p)], check=True, timeout=60,
                           input="text\n" * RECORDS, text=True)
        for group, offsets, metadata in ((SIMPLE, {0: 7, 1: 8}, "old"), (SIMPLE, {0: 9}, "ä so far"), (SIMPLE, {2: 3}, None),
                                         (CUT, {0: 1, 1: 2}, ""), (DELETED, {0: 5, 3: 6}, "soon gone")):
            codes = g.commit(c, group, TOPIC, offsets, metadata=metadata)
            assert set(codes.values()) == {NONE}, codes
        assert g.delete_offsets(c, CUT, TOPIC, [1]) == (NONE, {1: NONE})
        assert g.delete_groups(c, DELETED) == {DELETED: NONE}
    read_as_two(broker)
    return {CLASSIC: classic_group(broker), MODERN: modern_group(broker, MODERN, 2, topics=[TOPIC]),
            REGEX: modern_group(broker, REGEX, 1, regex="group[a-z]+")}


# ---- serving ----

def served(broker):
    """Groups, members and offsets as a broker answers them."""
    ready(broker)
    with Connection(broker.port) as c:
        error, listed = g.list_groups(c)
        assert error == NONE, error
        found = {"listed": listed}
        for group, (_, _, kind) in listed.items():
            found["offsets of " + group] = g.fetch_offsets(c, group)
            if kind == "consumer":
                *head, members = g.consumer_describe(c, group)[group]
            else:
                *head, members = g.describe(c, group)[group]
            found["description of " + group] = head, sorted(members)
        found["offsets of " + DELETED] = g.fetch_offsets(c, DELETED)
    return found


def expect_story(seen):
    """What either broker must have made of write_groups."""
    listed = {group: (state, kind) for group, (_, state, kind) in seen["listed"].items()}
    assert listed == {SIMPLE: ("Empty", "classic"), READERS: ("Empty", "classic"), CUT: ("Empty", "classic"),
                      CLASSIC: ("Stable", "classic"), MODERN: ("Stable", "consumer"), REGEX: ("Stable", "consumer")}, listed
    assert seen["offsets of " + SIMPLE] == (NONE, {(TOPIC, 0): (9, "ä so far", NONE), (TOPIC, 1): (8, "old", NONE),
                                                   (TOPIC, 2): (3, "", NONE)}), seen["offsets of " + SIMPLE]
    assert seen["offsets of " + CUT] == (NONE, {(TOPIC, 0): (1, "", NONE)}), seen["offsets of " + CUT]
    assert seen["offsets of " + DELETED] == (NONE, {}), seen["offsets of " + DELETED]


def expect_same(seen, again):
    for what, before in seen.items():
        assert again.get(what) == before, f"{what}: {again.get(what)}, {before} was written"
    assert again.keys() == seen.keys(), sorted(again.keys() ^ seen.keys())


def carry_on(broker, members):
    """The members that the other broker knew go on here as if nothing had been."""
    with Connection(broker.port) as c:
        generation, names = members[CLASSIC]
        for name in names:
            assert g.heartbeat(c, CLASSIC, generation, name) == NONE, "a member of a classic group is not known"
        codes = g.commit(c, CLASSIC, TOPIC, {0: 10}, generation=generation, member=names[0])
        assert codes == {0: NONE}, codes
        for group in (MODERN, REGEX):
            epoch, owned = members[group]
            for name, parts in owned.items():
                error, message, _, now, _, _ = g.consumer_heartbeat(c, group, name, epoch, owned=parts)
                assert (error, now) == (NONE, epoch), f"{group}: {error} {message}, epoch {now} after {epoch}"
            found = g.consumer_describe(c, group)[group]
            assert found[1:4] == ("Stable", epoch, epoch), found
        assert g.commit(c, SIMPLE, TOPIC, {0: 10}) == {0: NONE}
        assert g.fetch_offsets(c, SIMPLE)[1][TOPIC, 0] == (10, "", NONE)
        assert g.leave(c, CLASSIC, *names) == (NONE, [NONE, NONE])


# ---- on disk ----

RECORD = re.compile(r"^\| offset: .* key: (\{.*\}) payload: (\{.*\}|<DELETE>)$")


def records_in(printed):
    """(type, key, value or None) of each record that DumpLogSegments decoded."""
    found = []
    for line in printed.splitlines():
        if not line.startswith("| offset: "):
            continue
        parts = RECORD.match(line)
        assert parts, f"not decoded: {line[:300]}"
        key = json.loads(parts[1])
        found.append((int(key["type"]), key["data"], None if parts[2] == "<DELETE>" else json.loads(parts[2])["data"]))
    return found


def expect_records(printed, members):
    """What DumpLogSegments prints tells the whole story."""
    records = records_in(printed)
    last, ever = {}, set()
    for kind, key, value in records:
        last[kind, json.dumps(key)] = key, value
        ever.add((kind, key.get("group", key.get("groupId"))))
    assert {(1, group) for group in (SIMPLE, READERS, CLASSIC, MODERN, REGEX, CUT, DELETED)} <= ever, ever
    assert {(2, READERS), (2, CLASSIC)} <= ever, ever
    assert {(kind, group) for kind in (3, 5, 6, 7, 8) for group in (MODERN, REGEX)} | {(16, REGEX)} <= ever, ever

    offsets = {(key["group"], key["partition"]): value and (value["offset"], value["metadata"])
               for (kind, _), (key, value) in last.items() if kind == 1}
    expected = {(SIMPLE, 0): (9, "ä so far"), (SIMPLE, 1): (8, "old"), (SIMPLE, 2): (3, ""), (CUT, 0): (1, ""), (CUT, 1): None,
                (DELETED, 0): None, (DELETED, 3): None, (CLASSIC, 3): (4, "at {2: 3, 3: 4}"),
                **{(group, p): (5 + p, "by its epoch") for group in (MODERN, REGEX) for p in range(PARTITIONS)},
                **{(READERS, p): (RECORDS, "") for p in range(PARTITIONS)}}
    for of, value in expected.items():
        assert offsets.get(of) == value, f"{of}: {offsets.get(of)}, {value} was committed"

    generation, names = members[CLASSIC]
    group = next(value for (kind, _), (key, value) in last.items() if kind == 2 and key["group"] == CLASSIC)
    assert (group["generation"], {m["memberId"] for m in group["members"]}) == (generation, set(names)), group
    shares = [p for m in group["members"] for t in m["assignment"]["assignedPartitions"] for p in t["partitions"]]
    assert sorted(shares) == list(range(PARTITIONS)), group
    for group in (MODERN, REGEX):
        ids = {key["memberId"] for (kind, _), (key, value) in last.items()
               if kind == 8 and key["groupId"] == group and value}
        assert ids == set(members[group][1]), (group, ids)
