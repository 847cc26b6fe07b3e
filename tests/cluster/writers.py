"""Clients that never rest, and when each was answered: writers with acks=all straight to the leader of a partition, groups
that commit, and those who change a setting."""
import struct
import threading
import time

from harness import group_wire, wire

RETRY_S = 0.002
TOPIC_RESOURCE = 2


class Asker(threading.Thread):
    """Asks again and again, on a connection that lasts as long as the answers are good."""

    PAUSE_S = RETRY_S  # after a good answer

    def __init__(self, ports):
        super().__init__(daemon=True)
        self.ports = ports
        self.answered = []  # monotonic seconds
        self.stopping = False
        self.start()

    def find(self):
        """The port of whom to ask; None when nobody knows."""
        raise NotImplementedError

    def ask(self, connection):
        """Whether the answer is good."""
        raise NotImplementedError

    def run(self):
        connection = None
        while not self.stopping:
            good = False
            try:
                if connection is None:
                    port = self.find()
                    connection = wire.Connection(port, timeout=1.0) if port else None
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

    def longest_gap(self, since):
        """The longest time without an answer since then, in seconds."""
        times = [t for t in list(self.answered) if t >= since]
        return max((b - a for a, b in zip(times, times[1:])), default=0.0)

    def ask_anyone(self, question):
        """What the first broker that has an answer, not None, says."""
        for port in self.ports:
            try:
                with wire.Connection(port, timeout=1.0) as c:
                    answer = question(c)
            except (OSError, wire.Closed):
                continue
            if answer is not None:
                return answer
        return None


class Writer(Asker):
    """Writes to one partition."""

    def __init__(self, topic, partition, ports):
        self.topic, self.partition = topic, partition
        super().__init__(ports)

    def find(self):
        return self.ask_anyone(self._leader)

    def _leader(self, connection):
        answer = connection.ask(wire.metadata_request([self.topic]))
        answer.take("i")
        at = {}
        for _ in range(answer.take("i")):
            node = answer.take("i")
            answer.string()
            at[node] = answer.take("i")
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
            if index == self.partition and leader in at:
                return at[leader]
        return None

    def ask(self, connection):
        return connection.produce(self.topic, wire.batch(), partition=self.partition)[0] == 0


class Committer(Asker):
    """Commits an offset for one group, with its coordinator."""

    def __init__(self, group, topic, ports):
        self.group, self.topic, self.offset = group, topic, 0
        super().__init__(ports)

    def find(self):
        return self.ask_anyone(self._coordinator)

    def _coordinator(self, connection):
        error, _, port = group_wire.find_coordinator(connection, self.group)
        return port if error == 0 else None

    def ask(self, connection):
        self.offset += 1
        return group_wire.commit(connection, self.group, self.topic, {0: self.offset})[0] == 0


class Administrator(Asker):
    """Changes a setting of a topic by way of one broker, of the next one when that does not answer."""

    PAUSE_S = 0.01

    def __init__(self, topic, ports):
        self.topic, self.turn, self.value = topic, 0, 1000000
        super().__init__(ports)

    def find(self):
        self.turn += 1
        return self.ports[(self.turn - 1) % len(self.ports)]

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


def longest_gap(askers, since):
    return max(asker.longest_gap(since) for asker in askers)


def stop(askers):
    for asker in askers:
        asker.stopping = True
    for asker in askers:
        asker.join()


def writers(topic, count, ports):
    """One for each of the partitions."""
    return [Writer(topic, partition, ports) for partition in range(count)]
