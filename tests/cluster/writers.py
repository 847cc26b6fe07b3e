"""Writers that never rest: one to each partition with acks=all, straight to its leader, and when each was answered."""
import threading
import time

from harness import wire

RETRY_S = 0.002


class Writers:
    """Writes to `count` partitions of a topic, by way of whichever of the ports answers."""

    def __init__(self, topic, count, ports):
        self.topic, self.count, self.ports = topic, count, ports
        self.acknowledged = [[] for _ in range(count)]  # monotonic seconds
        self.stopping = False
        self.threads = [threading.Thread(target=self._write, args=(p,), daemon=True) for p in range(count)]
        for thread in self.threads:
            thread.start()

    def _leader(self, partition):
        """The port of the leader; None when nobody knows it."""
        for port in self.ports:
            try:
                with wire.Connection(port, timeout=1.0) as c:
                    answer = c.ask(wire.metadata_request([self.topic]))
            except (OSError, wire.Closed):
                continue
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
                if index == partition and leader in at:
                    return at[leader]
        return None

    def _write(self, partition):
        connection, port = None, None
        while not self.stopping:
            try:
                if connection is None:
                    port = self._leader(partition)
                    if port is None:
                        time.sleep(RETRY_S)
                        continue
                    connection = wire.Connection(port, timeout=1.0)
                error, _, _ = connection.produce(self.topic, wire.batch(), partition=partition)
                if error == 0:
                    self.acknowledged[partition].append(time.monotonic())
                    time.sleep(RETRY_S)
                    continue
            except (OSError, wire.Closed):
                pass
            if connection is not None:
                connection.socket.close()
            connection = None
            time.sleep(RETRY_S)

    def all_after(self, moment, seconds=30.0):
        """How long after the moment the last partition was acknowledged again, and which; waits for it."""
        deadline = time.monotonic() + seconds
        first = {}
        while len(first) < self.count:
            assert time.monotonic() < deadline, f"{self.count - len(first)} partitions took no write for {seconds} s"
            time.sleep(0.002)
            for p in range(self.count):
                if p not in first and self.acknowledged[p] and self.acknowledged[p][-1] > moment:
                    first[p] = next(t for t in self.acknowledged[p] if t > moment) - moment
        return max(first.values())

    def longest_gap(self, since):
        """The longest time without an acknowledgement on any partition since then, in seconds."""
        longest = 0.0
        for times in self.acknowledged:
            times = [t for t in list(times) if t >= since]
            longest = max([longest] + [b - a for a, b in zip(times, times[1:])])
        return longest

    def stop(self):
        self.stopping = True
        for thread in self.threads:
            thread.join()
