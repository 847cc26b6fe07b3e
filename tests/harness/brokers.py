"""Starts, watches and ends one broker: trivetd, or Apache Kafka beside it. Python standard library only.

Both read the same server.properties, so that a test or a measurement differs only in the program.
A Broker owns a folder: <folder>/server.properties, <folder>/broker.log and its data in <folder>/data.
"""
import os
import shutil
import signal
import socket
import struct
import subprocess
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CLUSTER_ID = "5L6g3nShT-eMCtK--X86sw"
API_VERSIONS_V0 = struct.pack(">ihhih", 10, 18, 0, 7, -1)

# What Apache Kafka's own start script gives the server.
KAFKA_JVM = ["-Xms1G", "-Xmx1G", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20",
             "-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent",
             "-Djava.awt.headless=true"]


# What a sanitizer, or a broken promise of ours, leaves in the log.
REPORT_WORDS = ("AddressSanitizer", "LeakSanitizer", "ThreadSanitizer", "runtime error:", "CHECK failed")
START_WAIT_S = 240.0  # a JVM on a busy machine takes minutes


class BrokerFailed(Exception):
    """The broker did not start, or ended by itself."""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def kafka_libs(which="server"):
    """The folder of Apache Kafka's jars: of the server, or of the tools."""
    return subprocess.run([os.path.join(ROOT, "tests/kafka/setup"), which], check=True,
                          stdout=subprocess.PIPE, text=True).stdout.strip()


def answers(port, timeout=1.0):
    """Whether a broker on the port answers ApiVersions."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=timeout) as s:
            s.sendall(API_VERSIONS_V0)
            head = s.recv(10)
            return len(head) == 10 and struct.unpack(">ih", head[4:])[0] == 7
    except OSError:
        return False


class Broker:
    """One node, controller and broker in one process, on 127.0.0.1."""

    def __init__(self, kind, folder, binary=None, port=None, properties=None, dynamic_voters=False):
        """dynamic_voters: the metadata quorum is in the log (KIP-853), not in the settings."""
        self.kind = kind  # "trivet" or "kafka"
        self.folder = os.path.abspath(folder)
        self.data = os.path.join(self.folder, "data")
        self.log_path = os.path.join(self.folder, "broker.log")
        self.binary = binary and os.path.abspath(binary)
        self.port = port or free_port()
        self.controller_port = free_port()
        self.properties = dict(properties or {})
        self.dynamic_voters = dynamic_voters
        # Under a sanitizer each byte has its shadow, and each step takes about as much longer.
        self.memory_factor = 5 if binary and "san" in os.path.basename(os.path.dirname(os.path.dirname(self.binary))) else 1
        self.process = None
        os.makedirs(self.folder, exist_ok=True)

    @property
    def bootstrap(self):
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self):
        return self.process.pid

    def _write_properties(self):
        settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self.controller_port}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self.port}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "log.dirs": self.data,
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            **self.properties,
        }
        if self.dynamic_voters:
            settings["controller.quorum.bootstrap.servers"] = f"127.0.0.1:{self.controller_port}"
        elif "controller.quorum.voters" not in settings:
            settings["controller.quorum.voters"] = f"1@127.0.0.1:{self.controller_port}"
        path = os.path.join(self.folder, "server.properties")
        with open(path, "w", encoding="utf-8") as out:
            for key, value in settings.items():
                out.write(f"{key}={value}\n")
        return path

    def _java(self, *arguments, jvm=()):
        here = os.path.join(ROOT, "tests/kafka")
        return ["java", *jvm, "-cp", f"{here}:{kafka_libs()}/*",
                f"-Dlog4j2.configurationFile={here}/log4j2.xml", *arguments]

    def format(self):
        """Formats the data folder for Apache Kafka; trivetd does so itself at its first start."""
        path = self._write_properties()
        if self.kind == "kafka" and not os.path.exists(os.path.join(self.data, "meta.properties")):
            subprocess.run(self._java("kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", path,
                                      *(["--standalone"] if self.dynamic_voters else []),
                                      jvm=("-Dtests.log.level=WARN",)),
                           check=True, stdout=subprocess.DEVNULL)
        return path

    def start(self, wait=START_WAIT_S):
        """Starts it on its folder; answers the seconds from exec to its first answer. wait=None does not wait for that."""
        path = self.format()
        if self.kind == "kafka":
            command = self._java("kafka.Kafka", path, jvm=KAFKA_JVM)
        else:
            command = [self.binary, "--config", path]
        environment = dict(os.environ, CLUSTER_ID=CLUSTER_ID)
        with open(self.log_path, "ab") as log:
            started = time.monotonic()
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, env=environment, cwd=self.folder,
                                            start_new_session=True)
        if wait:
            self.wait_answer(started, wait)
        return time.monotonic() - started

    def wait_answer(self, started, wait=START_WAIT_S):
        while not answers(self.port):
            if self.process.poll() is not None:
                raise BrokerFailed(f"{self.kind} ended with {self.process.returncode} at its start\n{self.log_tail()}")
            if time.monotonic() - started > wait:
                raise BrokerFailed(f"{self.kind} did not answer in {wait} s\n{self.log_tail()}")
            # Asking costs a busy machine something as well; a JVM takes seconds in any case.
            time.sleep(0.001 if self.kind == "trivet" else 0.01)

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def kill9(self):
        """Also of one that has ended."""
        if self.process:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def stop(self, wait=60.0):
        """Ends it with SIGTERM; kills it when that takes too long, and answers the exit code."""
        if not self.alive():
            return self.process and self.process.returncode
        self.process.terminate()
        try:
            self.process.wait(wait)
        except subprocess.TimeoutExpired:
            self.kill9()
        return self.process.returncode

    def remove(self):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log_tail(self, lines=30):
        try:
            with open(self.log_path, encoding="utf-8", errors="replace") as log:
                return "".join(log.readlines()[-lines:])
        except OSError:
            return ""

    def log_text(self):
        try:
            with open(self.log_path, encoding="utf-8", errors="replace") as log:
                return log.read()
        except OSError:
            return ""

    def reports(self):
        """The lines around each report of a sanitizer, of all its lives: one that ended by a report was perhaps only
        started again."""
        lines = self.log_text().splitlines()
        found = []
        for i, line in enumerate(lines):
            if any(word in line for word in REPORT_WORDS):
                found += [part for part in lines[i:i + 30] if " level=" not in part and part not in found]
        return "\n".join(found[:90])

    def rss_bytes(self):
        with open(f"/proc/{self.pid}/status", encoding="ascii") as status:
            for line in status:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
        return 0

    def cpu_seconds(self):
        """User and system time of the process so far."""
        with open(f"/proc/{self.pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Cluster:
    """Several nodes on 127.0.0.1, controller and broker each, one zone each.

    dynamic_voters: the voters are in the log, and the nodes know one another as bootstrap servers; each is to be
    formatted by `trivet storage format`.
    """

    def __init__(self, folder, binary, nodes=3, properties=None, dynamic_voters=False, kind="trivet"):
        self.folder = os.path.abspath(folder)
        self.brokers = [Broker(kind, os.path.join(self.folder, str(node)), binary) for node in range(1, nodes + 1)]
        voters = ",".join(f"{node}@127.0.0.1:{b.controller_port}" for node, b in enumerate(self.brokers, 1))
        for node, b in enumerate(self.brokers, 1):
            b.properties = {"node.id": str(node), "broker.rack": f"az-{node}",
                            "controller.quorum.voters": "" if dynamic_voters else voters, **(properties or {})}
            if dynamic_voters:
                b.properties["controller.quorum.bootstrap.servers"] = ",".join(
                    f"127.0.0.1:{other.controller_port}" for other in self.brokers)

    @property
    def bootstrap(self):
        return ",".join(b.bootstrap for b in self.brokers)

    def node(self, node_id):
        return self.brokers[node_id - 1]

    def format(self):
        for b in self.brokers:
            b.format()

    def start(self, wait=60.0):
        """Starts all that do not run; answers the seconds until all of them serve clients."""
        fresh = [b for b in self.brokers if not b.alive()]
        started = time.monotonic()
        for b in fresh:
            b.start(wait=None)
        for b in fresh:
            b.wait_answer(started, wait)
        return time.monotonic() - started

    def kill9(self):
        for b in self.brokers:
            if b.alive():
                b.kill9()

    def alive(self):
        return all(b.alive() for b in self.brokers)

    def cpu_seconds(self):
        return sum(b.cpu_seconds() for b in self.brokers)

    def rss_bytes(self):
        return sum(b.rss_bytes() for b in self.brokers)

    def log_tail(self, lines=30):
        return "".join(b.log_tail(lines) for b in self.brokers)

    def stop(self):
        """SIGTERM to all at once; answers their exit codes."""
        for b in self.brokers:
            if b.alive():
                b.process.terminate()
        return [b.stop() for b in self.brokers]

    def remove(self):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
