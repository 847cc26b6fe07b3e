"""Coordinators of a replicated __consumer_offsets move with the leadership of its partitions: nothing that was
acknowledged is lost, and groups go on."""
import os
import subprocess
import threading
import time

from harness import group_wire, wire
import replication_cases
from replication_cases import until

PROPERTIES = {"offsets.topic.replication.factor": "3", "offsets.topic.num.partitions": "12",
              "group.initial.rebalance.delay.ms": "0"}
TOPIC = "work"
PARTITIONS = 6
GROUPS = [f"group-{i}" for i in range(24)]
NOT_AVAILABLE, LOAD_IN_PROGRESS, NOT_COORDINATOR = 15, 14, 16


class Client:
    """Asks a group's coordinator, wherever it is, again and again until there is an answer."""

    def __init__(self, cluster):
        self.cluster, self.codes = cluster, set()

    def coordinator(self, group):
        """The node id of the group's coordinator, as any live broker says; None when none is led yet."""
        for b in self.cluster.brokers:
            if not b.alive():
                continue
            try:
                with wire.Connection(b.port, timeout=5) as c:
                    error, node, _ = group_wire.find_coordinator(c, group)
            except (OSError, wire.Closed):
                continue
            if error == 0 and self.cluster.node(node).alive():
                return node
        return None

    def ask(self, group, question, seconds=20):
        """question(connection): (error, answer)."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            node = self.coordinator(group)
            if node is not None:
                try:
                    with wire.Connection(self.cluster.node(node).port, timeout=5) as c:
                        error, answer = question(c)
                except (OSError, wire.Closed):
                    continue
                self.codes.add(error)
                if error not in (NOT_AVAILABLE, LOAD_IN_PROGRESS, NOT_COORDINATOR):
                    return error, answer
            time.sleep(0.01)
        raise AssertionError(f"{group}: no answer within {seconds} s, only {self.codes}")

    def commit(self, group, offset, topic=TOPIC):
        def question(c):
            return group_wire.commit(c, group, topic, {0: offset})[0], None
        error, _ = self.ask(group, question)
        assert error == 0, (group, error)

    def committed(self, group, topic=TOPIC):
        def question(c):
            error, found = group_wire.fetch_offsets(c, group, {topic: [0]})
            return error, found.get((topic, 0), (None,))[0]
        error, offset = self.ask(group, question)
        assert error == 0, (group, error)
        return offset


def kill_coordinator(cluster, group):
    node = Client(cluster).coordinator(group)
    cluster.node(node).kill9()
    return node


def commit_all(client, offset):
    for group in GROUPS:
        client.commit(group, offset)


def all_kept(client, offset):
    for group in GROUPS:
        found = client.committed(group)
        assert found == offset, f"{group}: {found}, not {offset}"


def offsets_topic_has_three_replicas(cluster, tool):
    replication_cases.create(cluster, tool, TOPIC, PARTITIONS)
    commit_all(Client(cluster), 1)
    found = replication_cases.partitions(cluster.bootstrap, "__consumer_offsets")
    assert len(found) == 12 and len({leader for leader, _ in found.values()}) == 3, found
    until(lambda: all(isr == {1, 2, 3} for _, isr in
                      replication_cases.partitions(cluster.bootstrap, "__consumer_offsets").values()))


def offsets_are_kept_when_their_coordinators_broker_is_killed(cluster, tool):
    """Each node in turn dies right after a commit; another one leads its groups, and has all of them."""
    for round_ in range(3):
        client = Client(cluster)
        commit_all(client, 100 + round_)
        dead = kill_coordinator(cluster, GROUPS[round_])
        killed = time.monotonic()
        assert client.committed(GROUPS[round_]) == 100 + round_
        print(f"node {dead}'s groups answered {(time.monotonic() - killed) * 1000:.0f} ms after the kill")
        all_kept(client, 100 + round_)
        commit_all(client, 200 + round_)
        cluster.start()
        all_kept(client, 200 + round_)


def commits_go_on_while_brokers_are_killed(cluster, tool):
    """Six rounds of kill -9 under a load of commits: what was acknowledged last, or what was sent after it, is told."""
    acknowledged, sent, count, failures, stop = {}, {}, [0] * 4, [], threading.Event()

    def commits(i):
        groups, client = GROUPS[i::4], Client(cluster)
        n = 1000
        while not stop.is_set():
            for group in groups:
                n += 1
                sent[group] = n
                try:
                    client.commit(group, n)
                except AssertionError as why:
                    failures.append(str(why))
                    return
                acknowledged[group] = n
                count[i] += 1

    threads = [threading.Thread(target=commits, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    try:
        for round_ in range(6):
            time.sleep(0.5)
            cluster.node(round_ % 3 + 1).kill9()
            time.sleep(1.0)
            cluster.start()
            until(lambda: all(isr == {1, 2, 3} for _, isr in
                              replication_cases.partitions(cluster.bootstrap, "__consumer_offsets").values()))
    finally:
        stop.set()
        for t in threads:
            t.join()
    assert not failures, failures[0]
    client = Client(cluster)
    for group in GROUPS:
        found = client.committed(group)
        assert acknowledged[group] <= found <= sent[group], (group, acknowledged[group], found, sent[group])
    print(f"{sum(count)} commits acknowledged, none lost")


class Member:
    """kcat in a group: what it read, and what it complained of, in files."""

    def __init__(self, cluster, group, number):
        self.path = os.path.join(cluster.folder, f"member-{number}")
        with open(self.path, "w", encoding="utf-8") as out, open(self.path + ".err", "w", encoding="utf-8") as err:
            self.process = subprocess.Popen(
                ["kcat", "-E", "-b", cluster.bootstrap, "-G", group, "-X", "auto.offset.reset=earliest",
                 "-X", "session.timeout.ms=6000", "-X", "heartbeat.interval.ms=500",
                 "-X", "auto.commit.interval.ms=200", "-u", TOPIC], stdout=out, stderr=err)

    def lines(self):
        if self.process.poll() is not None:
            with open(self.path + ".err", encoding="utf-8") as err:
                raise AssertionError(f"a member ended with {self.process.returncode}: {err.read()[-1000:]}")
        with open(self.path, encoding="utf-8") as out:
            return out.read().splitlines()

    def stop(self):
        self.process.terminate()
        self.process.wait()


def offsets_of_a_deleted_topic_go_from_every_coordinator(cluster, tool):
    """On all three brokers, and for those who take over as well."""
    client = Client(cluster)
    replication_cases.create(cluster, tool, "gone", 1)
    for group in GROUPS:
        client.commit(group, 7, "gone")
    done = subprocess.run([tool, "topic", "delete", "gone", "--bootstrap-server", cluster.brokers[0].bootstrap],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30)
    assert done.returncode == 0, done.stdout
    until(lambda: all(client.committed(group, "gone") == -1 for group in GROUPS))
    kill_coordinator(cluster, GROUPS[0])
    until(lambda: all(client.committed(group, "gone") == -1 for group in GROUPS))
    cluster.start()


def group_goes_on_when_its_coordinators_broker_is_killed(cluster, tool):
    """Two members of librdkafka share the work; nothing is missed, and little comes twice."""
    group = "workers"
    members = [Member(cluster, group, i) for i in range(2)]

    def got():
        return [line for m in members for line in m.lines()]

    def alive():
        return ",".join(b.bootstrap for b in cluster.brokers if b.alive())

    expected = set()
    try:
        for round_ in range(3):
            records = [f"{round_}-{i}" for i in range(600)]
            replication_cases.produce(alive(), records, TOPIC)
            expected.update(records)
            until(lambda: expected <= set(got()), 60)
            kill_coordinator(cluster, group)
            records = [f"{round_}-dead-{i}" for i in range(600)]
            replication_cases.produce(alive(), records, TOPIC)
            expected.update(records)
            until(lambda: expected <= set(got()), 60)
            cluster.start()
        assert len(got()) < 2 * len(expected), (len(got()), len(expected))
    finally:
        for m in members:
            m.stop()


def broker_that_leaves_sends_nobody_elsewhere_for_offsets(cluster, tool):
    """librdkafka asks no more where a partition goes on once it was told NOT_COORDINATOR: that answer never comes while a
    broker hands over, only the end of the connection."""
    client = Client(cluster)
    commit_all(client, 6000)
    until(lambda: client.coordinator(GROUPS[0]) is not None)
    for _ in range(3):
        node = client.coordinator(GROUPS[0])
        codes, ready, broke = [], threading.Barrier(5), []

        def ask():
            with wire.Connection(cluster.node(node).port, timeout=20) as c:
                codes.append(group_wire.fetch_offsets(c, GROUPS[0], {TOPIC: [0]})[0])
                ready.wait()
                try:
                    while True:
                        codes.append(group_wire.fetch_offsets(c, GROUPS[0], {TOPIC: [0]})[0])
                except (OSError, wire.Closed) as why:
                    broke.append(why)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for t in threads:
            t.start()
        ready.wait()
        assert cluster.node(node).stop() == 0
        for t in threads:
            t.join()
        assert len(broke) == 4 and not any(isinstance(why, TimeoutError) for why in broke), broke
        assert set(codes) == {0}, f"{len(codes)} answers: {set(codes)}"
        assert client.committed(GROUPS[0]) == 6000
        cluster.start()
        until(lambda: all(isr == {1, 2, 3} for _, isr in
                          replication_cases.partitions(cluster.bootstrap, "__consumer_offsets").values()))


def offsets_are_kept_when_all_brokers_are_killed(cluster, tool):
    client = Client(cluster)
    commit_all(client, 5000)
    for b in cluster.brokers:
        b.kill9()
    cluster.start()
    all_kept(client, 5000)


CASES = [offsets_topic_has_three_replicas, offsets_are_kept_when_their_coordinators_broker_is_killed,
         commits_go_on_while_brokers_are_killed, offsets_of_a_deleted_topic_go_from_every_coordinator,
         group_goes_on_when_its_coordinators_broker_is_killed, broker_that_leaves_sends_nobody_elsewhere_for_offsets,
         offsets_are_kept_when_all_brokers_are_killed]
