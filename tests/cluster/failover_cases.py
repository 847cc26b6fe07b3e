"""How long nobody is served when a broker goes: acks=all writes on each partition, commits of groups, and answers of the
controller, all of them asked for without a pause."""
import subprocess
import time

from harness import askers, quorum_wire, wire
from harness.askers import Gaps, Goal
import replication_cases
from replication_cases import until

PROPERTIES = {"min.insync.replicas": "2", "offsets.topic.replication.factor": "3", "offsets.topic.num.partitions": "6"}
TOPIC = "failover"
PARTITIONS, GROUPS = 6, 4
BEFORE_S = 0.05
AFTER_S = 0.5  # a second stall would be seen in that time

KILLED = Goal(0.5, 1.0, 8.0)  # beyond the last: somebody waited for a session, or for ever
STOPPED = Goal(0.1, 0.1, 8.0)
ALL_KILLED = Goal(3.0, 3.0, 20.0)
COMES_BACK = Goal(0.5, 1.0, 8.0)


def controller(cluster):
    """As a broker that knows it says."""
    while True:
        for b in cluster.brokers:
            with wire.Connection(b.port) as c:
                error, quorum = quorum_wire.describe(c)
            if error == 0 and quorum.leader > 0:
                return cluster.node(quorum.leader)
        time.sleep(0.01)


def no_controller(cluster, turn):
    active = controller(cluster)
    return [b for b in cluster.brokers if b is not active][turn % 2]


def balance(cluster, tool):
    """All are in sync, and each broker leads its share."""
    until(lambda: replication_cases.in_sync(cluster, TOPIC) and replication_cases.in_sync(cluster, "__consumer_offsets"))
    subprocess.run([tool, "partition", "elect", "-b", cluster.brokers[0].bootstrap], stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL, timeout=30, check=True)


def led_by(cluster, victim):
    node = int(victim.properties["node.id"])
    return {p for p, (leader, _) in replication_cases.partitions(cluster.bootstrap, TOPIC).items() if leader == node}


def start(cluster, victim, back):
    since = time.monotonic()
    victim.start()
    until(lambda: replication_cases.in_sync(cluster, TOPIC))
    back.add("in sync after its start", time.monotonic() - since)


def measure(load, led, gaps, happens):
    since = time.monotonic() - BEFORE_S
    happens()
    load.served(time.monotonic())
    time.sleep(AFTER_S)
    load.served(time.monotonic())
    gaps.add_all(load, led, since)


class Failover:
    def __init__(self, tries):
        self.tries = tries

    def cases(self):
        return [self.topic_and_groups_are_there, self.kill9_of_a_broker_stalls_nobody_for_long,
                self.kill9_of_the_controller_stalls_nobody_for_long, self.sigterm_of_a_broker_is_hardly_noticed,
                self.sigterm_of_the_controller_is_hardly_noticed, self.kill9_of_all_three_is_soon_over]

    @staticmethod
    def _load(cluster):
        return askers.Load(TOPIC, PARTITIONS, GROUPS, replication_cases.nodes(cluster))

    def topic_and_groups_are_there(self, cluster, tool):
        replication_cases.create(cluster, tool, TOPIC, PARTITIONS)
        load = self._load(cluster)
        try:
            load.served(time.monotonic())
        finally:
            load.stop()

    def _each_try(self, cluster, tool, choose, end, goal, name):
        """choose(cluster, try): the victim; end(victim): how it goes."""
        gone, back = Gaps(name, goal), Gaps(f"{name}, when it is back", COMES_BACK)
        load = self._load(cluster)
        try:
            for turn in range(self.tries):
                balance(cluster, tool)
                victim = choose(cluster, turn)
                led = led_by(cluster, victim)
                load.served(time.monotonic())
                measure(load, led, gone, lambda victim=victim: end(victim))
                measure(load, led, back, lambda victim=victim: start(cluster, victim, back))
        finally:
            load.stop()
        gone.report(cluster.brokers[0].memory_factor)
        back.report(cluster.brokers[0].memory_factor)

    def kill9_of_a_broker_stalls_nobody_for_long(self, cluster, tool):
        self._each_try(cluster, tool, no_controller, lambda b: b.kill9(), KILLED, "kill -9 of a broker")

    def kill9_of_the_controller_stalls_nobody_for_long(self, cluster, tool):
        self._each_try(cluster, tool, lambda c, turn: controller(c), lambda b: b.kill9(), KILLED,
                       "kill -9 of the controller")

    def sigterm_of_a_broker_is_hardly_noticed(self, cluster, tool):
        self._each_try(cluster, tool, no_controller, lambda b: b.stop(), STOPPED, "SIGTERM of a broker")

    def sigterm_of_the_controller_is_hardly_noticed(self, cluster, tool):
        self._each_try(cluster, tool, lambda c, turn: controller(c), lambda b: b.stop(), STOPPED,
                       "SIGTERM of the controller")

    def kill9_of_all_three_is_soon_over(self, cluster, tool):
        """From the start of the processes on."""
        gaps = Gaps("kill -9 of all three", ALL_KILLED)
        load = self._load(cluster)
        try:
            for _ in range(self.tries):
                balance(cluster, tool)
                load.served(time.monotonic())
                cluster.kill9()
                since = time.monotonic()
                cluster.start()
                load.served(since)
                for kind, those in load.kinds():
                    gaps.add(kind, askers.all_after(those, since))
        finally:
            load.stop()
        gaps.report(cluster.brokers[0].memory_factor)
