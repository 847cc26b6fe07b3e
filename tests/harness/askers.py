"""Clients that never rest, and when each was answered: writers with acks=all straight to the leader of a partition, groups
that commit, and those who change a setting. What they tell is how long nobody was served, by kind of request."""
import statistics
import struct
import threading
import time

from harness import group_wire, wire

RETRY_S = 0.002
TOPIC_RESOURCE = 2


class Asker(threading.Thread):
    """Asks again and again, on a connection that lasts as long as the answers are good."""

    PAUSE_S = RETRY_S  # after a good answer

    def __init__(self, nodes, timeout):
        """nodes: {id: (host, port)}. timeout: seconds after which an answer is not waited for any more."""
        super().__init__(daemon=True)
        self.nodes, self.timeout = nodes, timeout
        self.turn = 0
        self.answered = []  # monotonic seconds
        self.stopping = False
        self.start()

    def find(self, connection):
        """The id of whom to ask, as that broker says; None when it does not know."""
        raise NotImplementedError

    def ask(self, connection):
        """Whether the answer is good."""
        raise NotImplementedError

    def _connect(self, node):
        host, port = self.nodes[node]
        return wire.Connection(port, timeout=self.timeout, host=host)

    def _next_node(self):
        self.turn += 1
        return sorted(self.nodes)[self.turn % len(self.nodes)]

    def open(self):
        """A connection to whom to ask. Asks another broker each time: one may be wrong for long."""
        with self._connect(self._next_node()) as c:
            node = self.find(c)
        return self._connect(node) if node in self.nodes else None

    def run(self):
        connection = None
        while not self.stopping:
            good = False
            try:
                if connection is None:
                    connection = self.open()
                good = connection is not None and self.ask(connection)
            except (OSError, wire.Closed):
                pass
            if good:
                self.answered.append(time.monotonic())
            elif connection is not None:
                connection.socket.close()
                connection = None
            time.sleep(self.PAUSE_S if good else RETRY_S)

    def first_after(self, moment):
        """The first answer after the moment; None when there is none yet."""
        if not self.answered or self.answered[-1] <= moment:
            return None
        return next(t for t in self.answered if t > moment)

    def longest_gap(self, since, until):
        """The longest time without an answer between the two, in seconds."""
        times = [since, *(t for t in list(self.answered) if since < t < until), until]
        return max(b - a for a, b in zip(times, times[1:]))


class Writer(Asker):
    """Writes to one partition."""

    def __init__(self, topic, partition, nodes, timeout):
        self.topic, self.partition = topic, partition
        super().__init__(nodes, timeout)

    def find(self, connection):
        answer = connection.ask(wire.metadata_request([self.topic]))
        answer.take("i")
        for _ in range(answer.take("i")):
            answer.take("i")
            answer.string()
            answer.take("i")
            answer.string()
        answer.string()
        answer.take("i")
        answer.take("i")
        answer.take("h")
        answer.string()
        answer.take("b")
        for _ in range(answer.take("i")):
            _, index, leader = answer.take("hii")
            for _ in range(2):
                for _ in range(answer.take("i")):
                    answer.take("i")
            if index == self.partition:
                return leader
        return None

    def ask(self, connection):
        return connection.produce(self.topic, wire.batch(), partition=self.partition)[0] == 0


class Committer(Asker):
    """Commits an offset for one group, with its coordinator."""

    def __init__(self, group, topic, nodes, timeout):
        self.group, self.topic, self.offset = group, topic, 0
        super().__init__(nodes, timeout)

    def find(self, connection):
        error, node, _ = group_wire.find_coordinator(connection, self.group)
        return node if error == 0 else None

    def ask(self, connection):
        self.offset += 1
        return group_wire.commit(connection, self.group, self.topic, {0: self.offset})[0] == 0


class Administrator(Asker):
    """Changes a setting of a topic by way of any broker, of the next one when that does not answer."""

    PAUSE_S = 0.01

    def __init__(self, topic, first, nodes, timeout):
        self.topic, self.value = topic, 1000000
        super().__init__(nodes, timeout)
        self.turn = first

    def open(self):
        return self._connect(self._next_node())

    def ask(self, connection):
        self.value += 1
        setting = wire.string("max.message.bytes") + b"\0" + wire.string(str(self.value))
        answer = connection.ask(wire.header(wire.INCREMENTAL_ALTER_CONFIGS, 0) + wire.array(
            [struct.pack(">b", TOPIC_RESOURCE) + wire.string(self.topic) + wire.array([setting])]) + b"\0")
        answer.take("ii")
        return answer.take("h") == 0


def all_after(askers, moment, seconds=30.0):
    """How long after the moment the last of them was answered again; waits for it."""
    deadline = time.monotonic() + seconds
    while True:
        first = [asker.first_after(moment) for asker in askers]
        if None not in first:
            return max(first) - moment
        assert time.monotonic() < deadline, f"{first.count(None)} of {len(first)} had no answer for {seconds} s"
        time.sleep(RETRY_S)


def longest_gap(askers, since, until=None):
    until = until or time.monotonic()
    return max(asker.longest_gap(since, until) for asker in askers)


def stop(askers):
    for asker in askers:
        asker.stopping = True
    for asker in askers:
        asker.join()


def writers(topic, count, nodes, timeout=1.0):
    """One for each of the partitions."""
    return [Writer(topic, partition, nodes, timeout) for partition in range(count)]


class Load:
    """Writers, groups and administrators at once."""

    def __init__(self, topic, partitions, groups, nodes, timeout=1.0):
        self.writers = writers(topic, partitions, nodes, timeout)
        self.committers = [Committer(f"group-{i}", topic, nodes, timeout) for i in range(groups)]
        self.administrators = [Administrator(topic, first, nodes, timeout) for first in range(len(nodes))]
        self.everyone = [*self.writers, *self.committers, *self.administrators]

    def kinds(self, led=None):
        """(kind, askers); led: the partitions whose leader is what the fault is about."""
        if led is None:
            yield "writes", self.writers
        else:
            yield "writes it led", [w for w in self.writers if w.partition in led]
            yield "other writes", [w for w in self.writers if w.partition not in led]
        yield "commits", self.committers
        yield "the controller", self.administrators

    def served(self, since):
        """Waits until each was answered after that."""
        return all_after(self.everyone, since)

    def stop(self):
        stop(self.everyone)


class Goal:
    """Seconds. What is past `never` fails the case; the others are only told: they are for a machine that has nothing else
    to do."""

    def __init__(self, median, worst, never):
        self.median, self.worst, self.never = median, worst, never


class Gaps:
    """How long each kind of request was not answered, over all tries of one fault."""

    def __init__(self, name, goal):
        self.name, self.goal, self.found = name, goal, {}

    def add(self, kind, seconds):
        self.found.setdefault(kind, []).append(seconds)

    def add_all(self, load, led, since, until=None):
        for kind, askers in load.kinds(led):
            if askers:
                self.add(kind, longest_gap(askers, since, until))

    def report(self, slower=1):
        """slower: how many times so slow this build is."""
        for kind, found in self.found.items():
            median, worst = statistics.median(found), max(found)
            missed = "" if median <= self.goal.median and worst <= self.goal.worst else \
                f"  (goal {self.goal.median * 1000:.0f} / {self.goal.worst * 1000:.0f}: missed)"
            print(f"   {self.name}, {kind}: median {median * 1000:.0f} ms, worst {worst * 1000:.0f} ms of {len(found)}{missed}",
                  flush=True)
        worst = max(max(found) for found in self.found.values())
        assert worst <= self.goal.never * slower, f"{self.name}: {worst:.2f} s"
