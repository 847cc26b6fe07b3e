"""Compacted topics as clients see them. Each case starts a broker of its own, of the kind it is given, that
compacts often."""
import os
import tempfile
import time

from harness.brokers import Broker
from harness.wire import Connection, batch, record
from interop.kcat_cases import Skip, kcat  # noqa: F401 (Skip: for who runs the cases)

NONE, INVALID_RECORD, POLICY_VIOLATION = 0, 87, 44
PROPERTIES = {
    "log.cleaner.backoff.ms": "100",
    "log.cleaner.dedupe.buffer.size": "4000000",
    "log.retention.check.interval.ms": "300",
    "log.initial.task.delay.ms": "300",
    "log.segment.delete.delay.ms": "500",
    "replica.high.watermark.checkpoint.interval.ms": "200",
}
COMPACTED = [("cleanup.policy", "compact"), ("segment.ms", "200"), ("min.cleanable.dirty.ratio", "0.01"),
             ("delete.retention.ms", "500")]
WAIT_S = 40
BUG_WORDS = ("Sanitizer", "runtime error:", "CHECK failed")


class Node(Broker):
    def __init__(self, like, **more):
        self.scratch = tempfile.TemporaryDirectory(prefix="trivet-compaction-")
        super().__init__(like.kind, self.scratch.name, like.binary, properties={**PROPERTIES, **more})

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, failed, *ignored):
        if self.process and self.alive():
            self.kill9() if failed else self.stop()
        said = self.log_text()
        self.scratch.cleanup()
        found = [line for line in said.splitlines() if any(word in line for word in BUG_WORDS)]
        assert failed or not found, f"the broker said: {found[:5]}"

    def topic(self, name, configs):
        with Connection(self.port) as c:
            assert c.create_topic(name, 1, configs) == NONE
            wait_for(lambda: c.list_offsets(name, -1)[0] == NONE, "the topic is led")

    def put(self, topic, lines, *more):
        kcat(self, "-P", "-t", topic, "-K:", "-Z", *more, text="".join(f"{k}:{v}\n" for k, v in lines))

    def read(self, topic):
        """(offset, key, value) of every record; value None when it has none."""
        out = kcat(self, "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-f", "%o %k %S %s\\n")
        found = []
        for line in out.splitlines():
            offset, key, size, value = (line + " ").split(" ", 3)
            found.append((int(offset), key, None if size == "-1" else value.rstrip(" ")))
        return found

    def tick(self, topic):
        """A new segment begins."""
        time.sleep(0.25)
        self.put(topic, [("tick", "x")])

    def cleaned_to(self, topic):
        try:
            with open(os.path.join(self.data, "cleaner-offset-checkpoint"), encoding="ascii") as lines:
                rows = [line.split() for line in lines]
        except OSError:
            return -1
        return next((int(row[2]) for row in rows if row[:2] == [topic, "0"]), -1)


def wait_for(condition, what):
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError(f"waited for {WAIT_S} s until {what}")


def wait_until_compacted(node, topic, records_max):
    def compacted():
        node.tick(topic)
        return len([r for r in node.read(topic) if r[1] != "tick"]) <= records_max
    wait_for(compacted, f"{topic} has at most {records_max} records")


def check_newest(node, topic, written):
    """What is left was written just so, and of each key the newest is there."""
    left = [r for r in node.read(topic) if r[1] != "tick"]
    for offset, key, value in left:
        assert written[offset] == (key, value), f"at {offset} is {key}={value}, written was {written[offset]}"
    last = {key: value for key, value in written.values()}
    assert {key: value for _, key, value in left if value is not None} == \
        {key: value for key, value in last.items() if value is not None}, f"{len(left)} records are left"
    return left


def compacted_topic_keeps_the_newest_of_each_key(broker):
    with Node(broker) as node:
        written = {}
        for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
            topic = f"compacted-{codec}"
            node.topic(topic, COMPACTED)
            lines = [(f"key-{i % 50}", f"{codec} value {i}") for i in range(3000)]
            node.put(topic, lines, "-z", codec, "-H", "color=red", "-X", "enable.idempotence=true",
                     "-X", "batch.num.messages=70")
            written[topic] = dict(enumerate(lines))
        for topic, lines in written.items():
            wait_until_compacted(node, topic, 50)
            assert len(check_newest(node, topic, lines)) == 50
        wait_for(lambda: all(node.cleaned_to(topic) >= 3000 for topic in written), "the checkpoint says so")
        assert "uncleanable" not in node.log_text(), node.log_tail()


def tombstones_go_after_their_time(broker):
    with Node(broker) as node:
        node.topic("t", COMPACTED)
        lines = [(f"key-{i % 10}", f"value {i}") for i in range(100)] + [(f"key-{i}", "") for i in range(4)]
        node.put("t", lines)
        wait_until_compacted(node, "t", 6)  # the tombstones of four keys too
        left = [r for r in node.read("t") if r[1] != "tick"]
        assert [r[0] for r in left] == list(range(94, 100)), left


def compacted_topic_outlives_kill_9(broker):
    with Node(broker) as node:
        node.topic("t", COMPACTED)
        written, offset = {}, 0
        for life in range(4):
            lines = [(f"key-{i % (20 + life)}", f"life {life} value {i}") for i in range(400)]
            node.put("t", lines, "-X", "enable.idempotence=true", "-X", "batch.num.messages=30")
            for line in lines:
                written[offset] = line
                offset += 1
            node.tick("t")
            written[offset] = ("tick", "x")
            offset += 1
            time.sleep(0.1 * life)  # before, within or behind a compaction
            node.kill9()
            node.start()
            with Connection(node.port) as c:
                wait_for(lambda: c.list_offsets("t", -1)[0] == NONE, "the topic is led")
            newest = {key: value for key, value in written.values() if key != "tick"}
            left = {key: value for _, key, value in node.read("t") if key != "tick"}
            assert left == newest, f"life {life}: {len(left)} keys are left of {len(newest)}"
        wait_until_compacted(node, "t", 23)


def compact_and_delete_does_both(broker):
    with Node(broker) as node:
        both = [(k, "compact,delete" if k == "cleanup.policy" else v) for k, v in COMPACTED]
        node.topic("t", both + [("retention.ms", "6000")])
        node.put("t", [(f"key-{i % 10}", f"value {i}") for i in range(500)])
        wait_until_compacted(node, "t", 10)
        with Connection(node.port) as c:
            assert c.list_offsets("t", -2)[2] == 0
            # Without further records: a segment is as old as the newest record that was merged into it.
            wait_for(lambda: c.list_offsets("t", -2)[2] >= 500, "the log start has moved")
        assert not [r for r in node.read("t") if r[1] != "tick"]


def records_without_a_key_are_refused(broker):
    with Node(broker) as node:
        node.topic("t", COMPACTED)
        with Connection(node.port) as c:
            assert c.produce("t", batch([record(b"v")]))[0] == INVALID_RECORD
            assert c.produce("t", batch([record(b"v", key=b"k")]))[0] == NONE


def cases():
    return [(case.__name__, case) for case in (
        compacted_topic_keeps_the_newest_of_each_key, tombstones_go_after_their_time, compacted_topic_outlives_kill_9,
        compact_and_delete_does_both, records_without_a_key_are_refused)]
