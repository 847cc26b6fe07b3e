"""What the members of one group told, in the order it came, and whether the group kept its promises: it read all that is in
the log, each partition in order, and went on where it had committed. The rest is judged by tests/chaos/history.py.

The cases at the end are histories made wrong on purpose; they run before each run.
"""
import collections
import time

from chaos import history as judge


def now_us():
    return time.monotonic_ns() // 1000


class GroupHistory:
    """Times are taken when a line comes here: a moment late. What is held against them allows for that."""

    def __init__(self):
        self.seen = judge.History()
        self.retried = collections.Counter()  # errors that an application may meet, and how often
        self.runs = {}        # (member, partition): how often it was assigned to it
        self.began_from = {}  # (run, partition): what was committed before this assignment was told of
        self.committed_end = collections.Counter()
        self.last_read_us = {}

    def assigned(self, member, partitions):
        for p in partitions:
            self.runs[member, p] = self.runs.get((member, p), 0) + 1
            self.began_from[self._run(member, p), p] = self.committed_end[p]

    def _run(self, member, partition):
        return f"{member}.{self.runs.get((member, partition), 0)}"

    def read(self, member, partition, offset, value):
        writer, sequence, _ = value.split(" ", 2)
        now = now_us()
        self.last_read_us[partition] = now
        self.seen.read.append((now, self._run(member, partition), partition, offset, writer, int(sequence)))

    def committed(self, member, partition, offset):
        now = now_us()
        self.committed_end[partition] = max(self.committed_end[partition], offset)
        self.seen.committed.append((now, now, member, partition, offset))

    def stored(self, asked_us, partition, offset):
        self.seen.stored.append((asked_us, now_us(), "the coordinator", partition, offset))

    def error(self, member, told):
        """One that the application met; `retriable` is what its library says of it."""
        if told.get("retriable"):
            self.retried[told["why"]] += 1
        else:
            self.seen.errors.append(f"{member} {told}")

    def read_twice(self):
        return len(self.seen.read) - len({(r[2], r[3]) for r in self.seen.read})

    def complaints(self, logs):
        return judge.check_clients(self.seen, logs) + self._unread(logs) + self._read_again()

    def _unread(self, logs):
        read = {(r[2], r[3]) for r in self.seen.read}
        found = []
        for partition in next(iter(logs.values())):
            unread = [o for o, _, _ in logs[next(iter(logs))][partition] if (partition, o) not in read]
            if unread:
                found.append(f"unread: partition {partition}: {len(unread)} records were given to nobody, the first at "
                             f"offset {unread[0]}")
        return found

    def _read_again(self):
        found, begun = [], set()
        for _, run, partition, offset, _, _ in self.seen.read:
            if (run, partition) in begun:
                continue
            begun.add((run, partition))
            least = self.began_from.get((run, partition), 0)
            if offset < least:
                found.append(f"went back: {run} began partition {partition} at offset {offset}, where {least} was committed "
                             "before it was assigned")
        return found


# ---- its own cases ----

def _good():
    """Two members; the second takes partition 1 over, having been told of it after the first one's commit."""
    log = {p: [(n, "w", n) for n in range(6)] for p in (0, 1)}
    g = GroupHistory()
    g.assigned("m1", [0, 1])
    for p in (0, 1):
        for n in range(4):
            g.read("m1", p, n, f"w {n} ppp")
    g.committed("m1", 0, 4)
    g.committed("m1", 1, 3)
    g.assigned("m2", [1])
    for n in (3, 4, 5):
        g.read("m2", 1, n, f"w {n} ppp")
    for n in (4, 5):
        g.read("m1", 0, n, f"w {n} ppp")
    g.stored(now_us(), 1, 3)
    return g, {replica: {p: list(records) for p, records in log.items()} for replica in (1, 2, 3)}


def _complains(about, change):
    g, logs = _good()
    change(g, logs)
    found = g.complaints(logs)
    assert any(line.startswith(about) for line in found), f"wanted a complaint of '{about}', got {found}"


def good_group_has_no_complaint():
    g, logs = _good()
    assert g.complaints(logs) == [] and g.read_twice() == 1
    g.error("m1", {"event": "commit_failed", "why": "REBALANCE_IN_PROGRESS", "retriable": True})
    assert g.complaints(logs) == [] and sum(g.retried.values()) == 1


def record_that_nobody_was_given_is_found():
    def drop(g, _):
        g.seen.read = [r for r in g.seen.read if (r[2], r[3]) != (1, 5)]
    _complains("unread: partition 1: 1 ", drop)


def member_that_begins_below_what_was_committed_is_found():
    def begin(g, _):
        g.assigned("m3", [0])
        g.read("m3", 0, 2, "w 2 ppp")
    _complains("went back: m3.1", begin)


def member_that_skips_is_found():
    _complains("reader", lambda g, _: g.seen.read.pop(1))


def coordinator_that_forgot_is_found():
    _complains("committed offset went back", lambda g, _: g.stored(now_us() + 1, 1, -1))


def error_that_is_not_retriable_is_found():
    _complains("refused", lambda g, _: g.error("m1", {"event": "commit_failed", "why": "UNKNOWN_MEMBER_ID", "retriable": False}))


def cases():
    return [good_group_has_no_complaint, record_that_nobody_was_given_is_found,
            member_that_begins_below_what_was_committed_is_found, member_that_skips_is_found, coordinator_that_forgot_is_found,
            error_that_is_not_retriable_is_found]
