"""Three brokers, each a process on a host of its own (network.py), as one cluster."""
import os
import signal
import subprocess
import time

from harness import wire
from harness.brokers import CLUSTER_ID

PORT, CONTROLLER_PORT = 9092, 9093
TOPIC, PARTITIONS = "chaos", 6
SETTINGS = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "offsets.topic.num.partitions": "3",
    "group.initial.rebalance.delay.ms": "0",
    "auto.create.topics.enable": "false",
    "replica.selector.class": "org.apache.kafka.common.replica.RackAwareReplicaSelector",
}


class Node:
    def __init__(self, node_id, network, folder, binary, voters):
        self.id = node_id
        self.network = network
        self.address = network.address(node_id)
        self.folder = os.path.join(folder, f"node-{node_id}")
        self.data = os.path.join(self.folder, "data")
        self.log_path = os.path.join(self.folder, "broker.log")
        self.binary = binary
        self.process = None
        os.makedirs(self.folder)
        settings = {**SETTINGS, "node.id": node_id, "broker.rack": f"az-{node_id}", "controller.quorum.voters": voters,
                    "log.dirs": self.data,
                    "listeners": f"PLAINTEXT://{self.address}:{PORT},CONTROLLER://{self.address}:{CONTROLLER_PORT}"}
        with open(os.path.join(self.folder, "server.properties"), "w", encoding="ascii") as out:
            out.writelines(f"{key}={value}\n" for key, value in settings.items())

    def start(self):
        if self.process and self.process.poll() is None:
            return
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                self.network.command(self.id, self.binary, "--config", os.path.join(self.folder, "server.properties")),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=dict(os.environ, CLUSTER_ID=CLUSTER_ID),
                cwd=self.folder, start_new_session=True)

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def signal(self, what):
        self.process.send_signal(what)

    def kill9(self):
        self.process.kill()
        self.process.wait()

    def stop(self, wait=30):
        """SIGTERM; the exit code, or -9 when it had to be killed."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(wait)
        except subprocess.TimeoutExpired:
            self.kill9()
            return -9

    def connect(self, timeout=2.0):
        return wire.Connection(PORT, timeout=timeout, host=self.address)

    def log_text(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()


class Metadata:
    """One broker's view: who is alive and the controller, and of each partition of the topic leader and ISR."""

    def __init__(self, answer):
        answer.take("i")  # throttled
        self.brokers = set()
        for _ in range(answer.take("i")):
            self.brokers.add(answer.take("i"))
            answer.string()
            answer.take("i")
            answer.string()
        answer.string()
        self.controller = answer.take("i")
        self.partitions = {}  # (topic, partition): (leader, ISR)
        for _ in range(answer.take("i")):
            answer.take("h")
            topic = answer.string()
            answer.take("b")
            for _ in range(answer.take("i")):
                _, index, leader = answer.take("hii")
                for _ in range(answer.take("i")):
                    answer.take("i")
                isr = [answer.take("i") for _ in range(answer.take("i"))]
                self.partitions[topic, index] = (leader, isr)

    def whole(self, nodes):
        """Every broker is there, and in every ISR."""
        return len(self.brokers) == nodes and len(self.partitions) >= PARTITIONS and all(
            leader >= 0 and len(isr) == nodes for leader, isr in self.partitions.values())


class Zones:
    def __init__(self, network, folder, build, count=3):
        self.network = network
        self.build = build
        voters = ",".join(f"{n}@{network.address(n)}:{CONTROLLER_PORT}" for n in range(1, count + 1))
        binary = os.path.abspath(os.path.join(build, "broker/trivetd"))
        self.nodes = [Node(n, network, folder, binary, voters) for n in range(1, count + 1)]
        self.bootstrap = ",".join(f"{n.address}:{PORT}" for n in self.nodes)

    def node(self, node_id):
        return self.nodes[node_id - 1]

    def start(self):
        for n in self.nodes:
            n.start()

    def metadata(self, node):
        """What that node says; None when it says nothing."""
        try:
            with node.connect() as c:
                return Metadata(c.ask(wire.metadata_request()))
        except (OSError, wire.Closed, AssertionError):
            return None

    def any_metadata(self, wait=20.0):
        """What the first node that answers says."""
        end = time.monotonic() + wait
        while time.monotonic() < end:
            for n in self.nodes:
                found = self.metadata(n) if n.alive() else None
                if found and found.controller >= 0:
                    return found
            time.sleep(0.02)
        raise AssertionError(f"no broker answers within {wait} s")

    def make_topic(self):
        end = time.monotonic() + 30
        while len(self.any_metadata().brokers) < len(self.nodes):
            assert time.monotonic() < end, "the brokers do not find one another"
            time.sleep(0.05)
        done = subprocess.run([os.path.join(self.build, "tools/trivet"), "topic", "create", TOPIC, "--partitions",
                               str(PARTITIONS), "--bootstrap-server", self.bootstrap], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=60)
        assert done.returncode == 0, done.stdout

    def wait_whole(self, wait):
        """Seconds until every node sees every broker in every ISR."""
        started = time.monotonic()
        while True:
            seen = [self.metadata(n) for n in self.nodes]
            if all(m and m.whole(len(self.nodes)) for m in seen):
                return time.monotonic() - started
            if time.monotonic() - started > wait:
                told = [(sorted(m.brokers), {f"{t}-{p}": s for (t, p), s in m.partitions.items()
                                             if len(s[1]) < len(self.nodes) or s[0] < 0}) if m else None for m in seen]
                raise AssertionError(f"not whole again after {wait} s: {told}")
            time.sleep(0.05)

    def leader_of_first(self):
        return self.any_metadata().partitions[TOPIC, 0][0]

    def stop(self):
        """SIGTERM to all at once; the exit codes."""
        for n in self.nodes:
            if n.alive():
                n.signal(signal.SIGTERM)
        return [n.stop() if n.process else None for n in self.nodes]

    def kill_what_is_left(self):
        for n in self.nodes:
            if n.alive():
                n.signal(signal.SIGCONT)
                n.kill9()
