"""What the members of a group live through: each story a sequence of steps, each step waited for."""
import time

from harness import group_wire
from harness.wire import Connection
from running import Running

WAIT_S = 60
SETTLED_S = 3
JOIN_GROUP = 11
LATE_COMMIT_S = 3  # within the session of a member, six seconds: by the commit's own limit it outlasts the session


class StoryFailed(Exception):
    """Something that should have happened did not, or the other way round."""


class Member(Running):
    """One client program in the role of a group's member, and what it has told so far."""

    def __init__(self, client, broker, group, topic, **options):
        self.owned = set()
        self.assigned_count = 0
        self.records = []  # (partition, offset) in the order they came
        self.committed = {}
        super().__init__(client, "member", broker.folder, f"member-{group}",
                         **{"bootstrap": broker.bootstrap, "group": group, "topic": topic, **client.options, **options})

    def take(self, told):
        event = told.get("event")
        if event is None:
            self.records.append((told["p"], told["o"]))
        elif event == "assigned":
            self.owned |= set(told["partitions"])
            self.assigned_count += 1
        elif event == "revoked":
            self.owned -= set(told["partitions"])
        elif event == "committed":
            self.committed[told["p"]] = told["o"]
        elif event != "commit_sent":
            self.oddities.append(told)

    def describe(self):
        return (f"{self.name}: owns {sorted(self.owned)}, {len(self.records)} records, committed {self.committed}, "
                f"odd {self.oddities[-3:]}, exit {self.process.poll()} {self.error_text()}")

    def close(self):
        """Leaves the group politely."""
        if not self.ask_to_end() or not self.ended(30):
            self.kill9()
            raise StoryFailed(f"did not leave in 30 s: {self.describe()}")

    def kill9(self):
        super().kill9()
        with self.lock:
            self.owned = set()


class Group:
    """The members of one group on one topic, the records in it, and a way to wait for things."""

    def __init__(self, suite, broker, client, name, partitions):
        self.suite, self.broker, self.client = suite, broker, client
        self.name, self.topic, self.partitions = name, "topic-" + name, partitions
        self.members = []
        self.produced = 0
        suite.create_topic(broker, self.topic, partitions)

    def join(self, client=None, **options):
        member = Member(client or self.client, self.broker, self.name, self.topic, **options)
        self.members.append(member)
        return member

    def produce(self, count):
        self.suite.produce(self.broker, self.topic, self.partitions, count)
        self.produced += count

    def wait(self, what, condition):
        deadline = time.monotonic() + WAIT_S
        while not condition():
            if time.monotonic() > deadline:
                raise StoryFailed(f"not within {WAIT_S} s: {what}; " + "; ".join(m.describe() for m in self.members))
            time.sleep(0.02)

    def wait_shared(self, *members):
        """These members own every partition, each one once, and none goes without (if there are enough)."""
        self.wait(f"all partitions shared by {len(members)}", lambda: self.is_shared(*members))

    def is_shared(self, *members):
        owned = [p for m in members for p in m.owned]
        return sorted(owned) == list(range(self.partitions)) and all(m.owned for m in members)

    def wait_settled(self, *members):
        """Shared, and nobody has been told of another round for a while: cooperative members hear of the last one late."""
        self.wait_shared(*members)
        told, since = None, time.monotonic()
        while time.monotonic() - since < SETTLED_S:
            now = [m.assigned_count for m in members]
            if now != told:
                told, since = now, time.monotonic()
            time.sleep(0.05)

    def seen(self):
        return [r for m in self.members for r in m.records]

    def wait_committed(self):
        """All that was produced was seen, and committed."""
        self.wait(f"all {self.produced} records seen", lambda: len(set(self.seen())) == self.produced)
        want = self.suite.log_ends(self.broker, self.topic, self.partitions)
        self.wait(f"committed up to {want}", lambda: self.suite.committed(self.broker, self.name, self.topic,
                                                                       self.partitions) == want)

    def no_duplicates(self, below=None):
        """No record was seen twice; `below`: none that was committed by then."""
        seen = [(p, o) for p, o in self.seen() if below is None or o < below[p]]
        if len(set(seen)) != len(seen):
            twice = sorted({r for r in seen if seen.count(r) > 1})[:5]
            raise StoryFailed(f"records seen twice: {twice}")

    def end(self):
        for m in self.members:
            if m.process.poll() is None:
                m.kill9()
            m.stderr.close()


def shares_commits_and_resumes(g):
    """A second member takes its share; a leaver's work moves; who comes back goes on where the group stopped."""
    g.produce(400)
    first = g.join()
    g.wait_shared(first)
    g.wait_committed()
    second = g.join()
    g.wait_shared(first, second)
    g.produce(400)
    g.wait_committed()
    second.close()
    g.wait_shared(first)
    first.close()
    g.no_duplicates()
    again = g.join()
    g.produce(40)
    g.wait_shared(again)
    g.wait_committed()
    g.no_duplicates()
    again.close()


def survives_kill9_of_a_member(g):
    """The partitions of a member that died move once its session is over, and nothing committed is read again."""
    g.produce(200)
    first, second = g.join(), g.join()
    g.wait_shared(first, second)
    g.wait_committed()
    second.kill9()
    g.wait_shared(first)
    g.produce(200)
    g.wait_committed()
    g.no_duplicates()
    first.close()


def static_member_restarts_without_a_rebalance(g):
    """A member with an instance id ends and is back before its session is over: the other one notices nothing.

    By the classic protocol it may have died; KIP-848 lets an instance id go only when it said that it will be back.
    Sessions are long: a JVM takes its time to be back on a busy machine.
    """
    g.produce(100)
    with Connection(g.broker.port) as c:
        error, message = group_wire.alter_group(c, g.name, consumer_session_timeout_ms="30000")
        assert error == 0, message
    first, second = (g.join(instance=name, session="45000") for name in ("first", "second"))
    g.wait_settled(first, second)
    g.wait_committed()
    had, rounds = set(second.owned), first.assigned_count
    if g.client.options.get("protocol") == "consumer":
        second.close()
    else:
        second.kill9()
    back = g.join(instance="second", session="45000")
    g.wait("the same partitions after the restart", lambda: back.owned == had)
    g.produce(100)
    g.wait_committed()
    if first.assigned_count != rounds:
        raise StoryFailed(f"the restart made {first.assigned_count - rounds} rebalances; {first.describe()}")
    for member in (back, first):
        member.close()


def late_member_commits_over_nobody(g):
    """A member whose JoinGroup is held up until the group has gone on without it wants to commit all the while: it does not do so
    under the membership that it gets then, over what the new owners of its partitions have committed."""
    road = g.suite.road
    g.produce(40)
    first, late = g.join(), g.join(bootstrap=road.bootstrap)
    g.wait_settled(first, late)
    g.wait_committed()
    road.hold(JOIN_GROUP)
    try:
        third = g.join()
        g.wait("the late member's JoinGroup", lambda: road.waiting_for(JOIN_GROUP))
        time.sleep(LATE_COMMIT_S)
        g.produce(40)
        g.wait_shared(first, third)
        g.produce(400)
        g.wait_committed()
    finally:
        road.let_go(JOIN_GROUP)
    ends = g.suite.log_ends(g.broker, g.topic, g.partitions)
    rounds = late.assigned_count

    def is_back():
        seen = g.suite.committed(g.broker, g.name, g.topic, g.partitions)
        if seen != ends:
            raise StoryFailed(f"committed offsets went back from {ends} to {seen}; {late.describe()}")
        return late.assigned_count > rounds and g.is_shared(first, third, late)

    g.wait("the late member is back", is_back)
    for member in (late, third, first):
        member.close()


def survives_kill9_of_the_broker(g):
    """Committed offsets outlive the broker; its members come back by themselves."""
    g.produce(200)
    first, second = g.join(), g.join()
    g.wait_shared(first, second)
    g.wait_committed()
    before = g.suite.committed(g.broker, g.name, g.topic, g.partitions)
    g.suite.kill_broker_once(g.broker)
    after = g.suite.committed(g.broker, g.name, g.topic, g.partitions)
    if any(after[p] < before[p] for p in before):
        raise StoryFailed(f"committed offsets went back: {before}, then {after}")
    g.produce(200)
    g.wait_committed()
    g.no_duplicates(below=before)
    for member in (first, second):
        member.close()
