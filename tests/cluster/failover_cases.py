"""How long nobody is served when a broker goes: acks=all writes on each partition, commits of groups, and answers of the
controller, all of them asked for without a pause. The goals are for a machine that does nothing else."""
import statistics
import subprocess
import time

from harness import quorum_wire, wire
import replication_cases
import writers
from replication_cases import until

PROPERTIES = {"min.insync.replicas": "2", "offsets.topic.replication.factor": "3", "offsets.topic.num.partitions": "6"}
TOPIC = "failover"
PARTITIONS = 6
GROUPS = [f"group-{i}" for i in range(4)]
AFTER_S = 0.5  # a second stall would be seen in that time


class Goal:
    """Seconds. What is past `never` fails the case; the others are told."""

    def __init__(self, median, worst, never):
        self.median, self.worst, self.never = median, worst, never


KILLED = Goal(0.5, 1.0, 2.0)
STOPPED = Goal(0.1, 0.1, 1.0)
ALL_KILLED = Goal(3.0, 3.0, 10.0)
COMES_BACK = Goal(0.1, 0.1, 1.0)


class Load:
    """All who ask; what they ask for by name."""

    def __init__(self, cluster):
        ports = [b.port for b in cluster.brokers]
        self.writers = writers.writers(TOPIC, PARTITIONS, ports)
        self.committers = [writers.Committer(group, TOPIC, ports) for group in GROUPS]
        self.administrators = [writers.Administrator(TOPIC, ports[i:] + ports[:i]) for i in range(len(ports))]
        self.everyone = [*self.writers, *self.committers, *self.administrators]

    def kinds(self, led):
        """led: the partitions whose leader goes."""
        yield "writes it led", [w for w in self.writers if w.partition in led]
        yield "other writes", [w for w in self.writers if w.partition not in led]
        yield "commits", self.committers
        yield "the controller", self.administrators

    def served(self, since):
        return writers.all_after(self.everyone, since)

    def stop(self):
        writers.stop(self.everyone)


class Gaps:
    """Seconds by kind of request, of all tries."""

    def __init__(self, name, goal):
        self.name, self.goal, self.found = name, goal, {}

    def add(self, kind, seconds):
        self.found.setdefault(kind, []).append(seconds)

    def report(self):
        for kind, all_of_them in self.found.items():
            median, worst = statistics.median(all_of_them), max(all_of_them)
            missed = "" if median <= self.goal.median and worst <= self.goal.worst else \
                f"  (goal {self.goal.median * 1000:.0f} / {self.goal.worst * 1000:.0f}: missed)"
            print(f"   {self.name}, {kind}: median {median * 1000:.0f} ms, worst {worst * 1000:.0f} ms of "
                  f"{len(all_of_them)}{missed}")
        worst = max(max(s) for s in self.found.values())
        assert worst <= self.goal.never, f"{self.name}: {worst:.2f} s"


def controller(cluster):
    """As a broker that knows it says."""
    while True:
        for b in cluster.brokers:
            with wire.Connection(b.port) as c:
                error, quorum = quorum_wire.describe(c)
            if error == 0 and quorum.leader > 0:
                return cluster.node(quorum.leader)
        time.sleep(0.01)


def balance(cluster, tool):
    """All are in sync, and each broker leads its share."""
    until(lambda: replication_cases.in_sync(cluster, TOPIC) and replication_cases.in_sync(cluster, "__consumer_offsets"))
    subprocess.run([tool, "partition", "elect", "-b", cluster.brokers[0].bootstrap], stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL, timeout=30, check=True)


class Failover:
    def __init__(self, tries):
        self.tries = tries

    def cases(self):
        return [self.topic_and_groups_are_there, self.kill9_of_a_broker_stalls_nobody_for_long,
                self.kill9_of_the_controller_stalls_nobody_for_long, self.sigterm_of_a_broker_is_hardly_noticed,
                self.sigterm_of_the_controller_is_hardly_noticed, self.kill9_of_all_three_is_soon_over]

    def topic_and_groups_are_there(self, cluster, tool):
        replication_cases.create(cluster, tool, TOPIC, PARTITIONS)
        load = Load(cluster)
        try:
            load.served(time.monotonic())
        finally:
            load.stop()

    def _each_try(self, cluster, tool, choose, end, goal, name):
        """choose(cluster, try): the victim; end(victim): how it goes."""
        gone, back = Gaps(name, goal), Gaps(f"{name}, when it is back", COMES_BACK)
        load = Load(cluster)
        try:
            for turn in range(self.tries):
                balance(cluster, tool)
                victim = choose(cluster, turn)
                node = int(victim.properties["node.id"])
                led = {p for p, (leader, _) in replication_cases.partitions(cluster.bootstrap, TOPIC).items()
                       if leader == node}
                load.served(time.monotonic())
                self._gap(load, led, gone, lambda victim=victim: end(victim))
                self._gap(load, led, back, lambda victim=victim: self._start(cluster, victim))
        finally:
            load.stop()
        gone.report()
        back.report()

    @staticmethod
    def _start(cluster, victim):
        victim.start()
        until(lambda: replication_cases.in_sync(cluster, TOPIC))

    @staticmethod
    def _gap(load, led, gaps, happens):
        since = time.monotonic() - 0.05
        happens()
        load.served(time.monotonic())
        time.sleep(AFTER_S)
        load.served(time.monotonic())
        for kind, askers in load.kinds(led):
            gaps.add(kind, writers.longest_gap(askers, since))

    def kill9_of_a_broker_stalls_nobody_for_long(self, cluster, tool):
        self._each_try(cluster, tool, self._no_controller, lambda b: b.kill9(), KILLED, "kill -9 of a broker")

    def kill9_of_the_controller_stalls_nobody_for_long(self, cluster, tool):
        self._each_try(cluster, tool, lambda c, turn: controller(c), lambda b: b.kill9(), KILLED,
                       "kill -9 of the controller")

    def sigterm_of_a_broker_is_hardly_noticed(self, cluster, tool):
        self._each_try(cluster, tool, self._no_controller, lambda b: b.stop(), STOPPED, "SIGTERM of a broker")

    def sigterm_of_the_controller_is_hardly_noticed(self, cluster, tool):
        self._each_try(cluster, tool, lambda c, turn: controller(c), lambda b: b.stop(), STOPPED,
                       "SIGTERM of the controller")

    @staticmethod
    def _no_controller(cluster, turn):
        active = controller(cluster)
        return [b for b in cluster.brokers if b is not active][turn % 2]

    def kill9_of_all_three_is_soon_over(self, cluster, tool):
        """From the start of the processes on."""
        gaps = Gaps("kill -9 of all three", ALL_KILLED)
        load = Load(cluster)
        try:
            for _ in range(self.tries):
                balance(cluster, tool)
                load.served(time.monotonic())
                cluster.kill9()
                since = time.monotonic()
                cluster.start()
                load.served(since)
                for kind, askers in load.kinds(set(range(PARTITIONS))):
                    if askers:
                        gaps.add(kind, writers.all_after(askers, since))
        finally:
            load.stop()
        gaps.report()
