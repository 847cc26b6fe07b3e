"""How trivetd starts and stops: settings, signals, data directories that are not its own, full disks. Each
case starts brokers of its own, with the binary of the one it is given."""
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

from harness.brokers import CLUSTER_ID, Broker
from harness import group_wire
from harness.wire import Closed, Connection, batch, record

NONE, KAFKA_STORAGE_ERROR = 0, 56
REFUSAL_TIMEOUT_S = 20
SMALL_DISK_MB = 48


class Skip(Exception):
    """The case cannot be run here."""


class Node(Broker):
    """A trivetd in a folder of its own that goes with the case."""

    def __init__(self, like, **properties):
        if like.kind != "trivet":
            raise Skip("about trivetd alone")
        self.scratch = tempfile.TemporaryDirectory(prefix="trivet-start-")
        super().__init__("trivet", self.scratch.name, like.binary,
                         properties={k.replace("_", "."): str(v) for k, v in properties.items()})

    def __enter__(self):
        return self

    def __exit__(self, *ignored):
        if self.process and self.alive():
            self.kill9()
        self.scratch.cleanup()

    def refuses_to_start(self, *words):
        """It ends by itself with an error that has the words; the output."""
        self.start(wait=None)
        try:
            code = self.process.wait(REFUSAL_TIMEOUT_S)
        except subprocess.TimeoutExpired as why:
            raise AssertionError("it started all the same") from why
        said = self.log_text()
        assert code != 0 and code > 0, f"exit code {code}: {said}"
        for word in words:
            assert word in said, f"it did not say '{word}': {said[-500:]}"
        return said

    def line_of(self, key):
        with open(os.path.join(self.folder, "server.properties"), encoding="utf-8") as lines:
            return 1 + [line.split("=")[0] for line in lines].index(key)


def bad_value_is_refused_with_file_line_and_reason(broker):
    for key, value in (("log.retention.ms", "soon"), ("num.partitions", "0"), ("log.segment.bytes", "-4"),
                       ("auto.create.topics.enable", "maybe"), ("compression.type", "rar")):
        with Node(broker) as node:
            node.properties[key] = value
            said = node.refuses_to_start("server.properties", key, value)
            assert str(node.line_of(key)) in said, f"no line number: {said[-300:]}"


def node_that_fails_ends_by_itself_whatever_it_is_at(broker):
    """Its threads are at work: it must not stumble over them on its way out, nor take a signal for an end."""
    for _ in range(5):
        with Node(broker, initial_broker_registration_timeout_ms=1) as node:
            said = node.refuses_to_start("broker_not_registered", "event=broker_stopped clean=no")
            assert "level=fatal" not in said, said


def periods_of_no_time_are_refused(broker):
    for key in ("controller_quorum_election_timeout_ms", "controller_quorum_fetch_timeout_ms", "broker_heartbeat_interval_ms"):
        with Node(broker, **{key: 0}) as node:
            node.refuses_to_start(key.replace("_", "."), "at least 1")


def unknown_key_is_warned_of_with_the_nearest(broker):
    with Node(broker) as node:
        node.properties["log.retention.hour"] = "5"
        node.start()
        said = node.log_text()
        assert "log.retention.hour" in said and "log.retention.hours" in said, said[-500:]


def port_in_use_is_said(broker):
    with Node(broker) as node, socket.socket() as taken:
        taken.bind(("127.0.0.1", node.port))
        taken.listen()
        node.refuses_to_start(str(node.port), "in use")


def data_directory_in_use_is_refused(broker):
    with Node(broker) as first, Node(broker) as second:
        first.start()
        second.data = first.data
        second.refuses_to_start(first.data)
        assert first.alive()
        with Connection(first.port) as c:
            assert c.api_versions()[0] == NONE, "the first one suffered"


def _refuses_meta_properties(broker, change, *words):
    with Node(broker) as node:
        node.start()
        node.stop()
        path = os.path.join(node.data, "meta.properties")
        with open(path, encoding="utf-8") as file:
            text = file.read()
        changed = change(text)
        assert changed != text, text
        with open(path, "w", encoding="utf-8") as file:
            file.write(changed)
        open(node.log_path, "w", encoding="utf-8").close()
        node.refuses_to_start(*words)
        with open(path, encoding="utf-8") as file:
            assert file.read() == changed, "it wrote into a directory that is not its own"


def directory_of_another_cluster_is_refused(broker):
    _refuses_meta_properties(broker, lambda text: text.replace(CLUSTER_ID, "AAAAAAAAAAAAAAAAAAAAAA"), "cluster")


def directory_of_another_node_is_refused(broker):
    _refuses_meta_properties(broker, lambda text: text.replace("node.id=1", "node.id=7"), "node")


def damaged_meta_properties_are_refused(broker):
    _refuses_meta_properties(broker, lambda text: text.replace("version=1", "version=99"), "version")


def full_directory_of_somebody_else_is_refused(broker):
    with Node(broker) as node:
        os.makedirs(os.path.join(node.data, "photos"))
        with open(os.path.join(node.data, "photos", "1.jpg"), "w", encoding="utf-8") as photo:
            photo.write("x")
        node.refuses_to_start(node.data)


def cluster_id_of_the_environment_is_used(broker):
    with Node(broker) as node:
        node.start()
        with open(os.path.join(node.data, "meta.properties"), encoding="utf-8") as file:
            text = file.read()
        for line in (f"cluster.id={CLUSTER_ID}", "node.id=1", "version=1", "directory.id="):
            assert line in text, text


def both_signals_end_it_cleanly_and_fast(broker):
    for name in (signal.SIGTERM, signal.SIGINT):
        with Node(broker) as node:
            node.start()
            with Connection(node.port) as c:
                assert c.create_topic("stopped", 1) == NONE
                started = time.monotonic()
                node.process.send_signal(name)
                code = node.process.wait(20)
            assert code == 0, f"{name.name}: exit code {code}\n{node.log_tail()}"
            assert time.monotonic() - started < 5, "it took its time"
            assert os.path.exists(os.path.join(node.data, ".kafka_cleanshutdown")), os.listdir(node.data)


def set_on_the_command_line_wins_over_the_file(broker):
    with Node(broker) as node:
        node.properties["num.partitions"] = "3"
        path = node.format()
        with open(node.log_path, "ab") as log:
            node.process = subprocess.Popen([node.binary, "--config", path, "--set", "num.partitions=5"],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=node.folder)
        node.wait_answer(time.monotonic())
        with Connection(node.port) as c:
            assert c.create_topic("by-default", -1) == NONE
            deadline = time.monotonic() + 10
            while c.list_offsets("by-default", -1, partition=4)[0] and time.monotonic() < deadline:
                time.sleep(0.02)
            assert c.list_offsets("by-default", -1, partition=4)[0] == NONE
            assert c.list_offsets("by-default", -1, partition=5)[0] != NONE


def unknown_option_and_missing_file_are_refused(broker):
    if broker.kind != "trivet":
        raise Skip("about trivetd alone")
    for arguments in (["--no-such-option"], ["--config", "/no/such/file"], ["--set", "nonsense"]):
        done = subprocess.run([broker.binary, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=20, cwd=tempfile.gettempdir())
        assert done.returncode > 0 and done.stdout, f"{arguments}: {done.returncode} {done.stdout}"


def several_log_directories_share_the_partitions(broker):
    with Node(broker) as node:
        dirs = [os.path.join(node.folder, name) for name in ("one", "two", "three")]
        node.data = ",".join(dirs)
        node.start()
        with Connection(node.port) as c:
            assert c.create_topic("spread", 9) == NONE
            produce_everywhere(c, "spread", 9)
        spread = [len([n for n in os.listdir(d) if n.startswith("spread-")]) for d in dirs]
        assert sum(spread) == 9 and min(spread) >= 1, spread
        node.kill9()
        node.start()
        with Connection(node.port) as c:
            produce_everywhere(c, "spread", 9)
            assert all(c.list_offsets("spread", -1, partition=p)[2] == 2 for p in range(9))


def produce_everywhere(c, topic, partitions):
    """One record to each partition, as soon as it is led; the partitions that refused with a storage error."""
    refused = []
    deadline = time.monotonic() + 20
    for p in range(partitions):
        error = c.produce(topic, batch([record(b"v")]), partition=p)[0]
        while error not in (NONE, KAFKA_STORAGE_ERROR) and time.monotonic() < deadline:
            time.sleep(0.02)
            error = c.produce(topic, batch([record(b"v")]), partition=p)[0]
        assert error in (NONE, KAFKA_STORAGE_ERROR), f"partition {p}: error {error}"
        if error:
            refused.append(p)
    return refused


class SmallDisk:
    """A file system of a few megabytes, where we may mount one."""

    def __init__(self, path):
        self.path = path
        os.makedirs(path)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK_MB}m", "tmpfs", path],
                              stderr=subprocess.DEVNULL)
        if done.returncode:
            shutil.rmtree(path)
            raise Skip("mounting a small file system needs root")

    def __enter__(self):
        return self

    def __exit__(self, *ignored):
        subprocess.run(["umount", "-l", self.path], check=True)


def fill(c, topic, partitions):
    """Produces until a partition refuses; acknowledged values by partition, and the error."""
    kept = [[] for _ in range(partitions)]
    for n in range(3 * SMALL_DISK_MB):
        for p in range(partitions):
            value = b"%d.%d " % (p, n) + os.urandom(900000)
            error = c.produce(topic, batch([record(value)]), partition=p)[0]
            if error:
                return kept, error
            kept[p].append(value)
    raise AssertionError("the disk does not fill up")


def full_disk_is_an_error_and_nothing_acknowledged_is_lost(broker):
    """A full log directory gives KAFKA_STORAGE_ERROR; with room again, a restart has all that was promised."""
    with Node(broker) as node, SmallDisk(os.path.join(node.folder, "small")) as disk:
        keeper = os.path.join(node.folder, "keeper")
        node.properties["metadata.log.dir"] = keeper
        node.data = disk.path
        node.start()
        with Connection(node.port, 30) as c:
            assert c.create_topic("filling", 2) == NONE
            produce_everywhere(c, "filling", 2)
            kept, error = fill(c, "filling", 2)
        assert error == KAFKA_STORAGE_ERROR, f"error {error}"
        if node.alive():  # the only log directory is gone: ending is what Apache Kafka does
            node.kill9()
        subprocess.run(["mount", "-o", f"remount,size={2 * SMALL_DISK_MB}m", disk.path], check=True)
        node.start()
        with Connection(node.port, 30) as c:
            for p, values in enumerate(kept):
                expected = 1 + len(values)
                got = c.list_offsets("filling", -1, partition=p)
                assert got[0] == NONE and got[2] >= expected, f"partition {p}: {got}, {expected} were acknowledged"
                for i, value in enumerate(values):
                    error, _, data = c.fetch("filling", i + 1, partition=p, max_bytes=2 << 20)
                    assert error == NONE and value in data, f"partition {p}, record {i + 1}: error {error}"


def full_directory_takes_only_its_own_partitions_offline(broker):
    with Node(broker) as node, SmallDisk(os.path.join(node.folder, "small")) as disk:
        roomy = os.path.join(node.folder, "roomy")
        node.data = f"{roomy},{disk.path}"
        node.properties["metadata.log.dir"] = roomy
        node.start()
        with Connection(node.port, 30) as c:
            assert c.create_topic("half", 4) == NONE
            produce_everywhere(c, "half", 4)
            on_small = sorted(int(n.split("-")[1]) for n in os.listdir(disk.path) if n.startswith("half-"))
            assert 0 < len(on_small) < 4, on_small
            error = NONE
            for n in range(3 * SMALL_DISK_MB):
                error = c.produce("half", batch([record(os.urandom(900000))]), partition=on_small[0])[0]
                if error:
                    break
            assert error == KAFKA_STORAGE_ERROR, f"error {error}"
            for p in range(4):
                if p not in on_small:
                    for _ in range(3):
                        error = c.produce("half", batch([record(b"still here")]), partition=p)[0]
                        assert error == NONE, f"partition {p} of the other directory: error {error}"
        assert node.alive()
        assert disk.path in node.log_text(), "the log does not name the directory"


def wait_for_error(c, topic, wanted, wait=20):
    deadline = time.monotonic() + wait
    error = c.list_offsets(topic, -1)[0]
    while error != wanted and time.monotonic() < deadline:
        time.sleep(0.02)
        error = c.list_offsets(topic, -1)[0]
    assert error == wanted, f"{topic}: error {error}, not {wanted}"


def flip_a_bit(node, topic, position):
    path = os.path.join(node.data, f"{topic}-0", "0" * 20 + ".log")
    with open(path, "r+b") as file:
        file.seek(position)
        byte = file.read(1)
        file.seek(position)
        file.write(bytes([byte[0] ^ 1]))


def damage_in_an_old_batch_is_found_after_a_kill(broker):
    """A start after kill -9 checks only the newest batches at once; the rest follow in the background."""
    with Node(broker) as node:
        node.properties["replica.high.watermark.checkpoint.interval.ms"] = "600000"  # recovery point: 0
        node.start()
        with Connection(node.port, 30) as c:
            for topic in ("damaged", "whole"):
                assert c.create_topic(topic, 1, [("segment.bytes", "1048576")]) == NONE
                produce_everywhere(c, topic, 1)
                for _ in range(100):
                    assert c.produce(topic, batch([record(os.urandom(60000))]))[0] == NONE
        node.kill9()
        node.start()
        with Connection(node.port) as c:
            for topic in ("damaged", "whole"):
                wait_for_error(c, topic, NONE)
        time.sleep(1)
        assert "log_damaged" not in node.log_text(), node.log_tail()
        node.kill9()
        flip_a_bit(node, "damaged", 400000)
        # A clean stop does not make it whole: the next start finds it again.
        for end in (node.stop, node.kill9):
            open(node.log_path, "w", encoding="utf-8").close()
            node.start()
            with Connection(node.port) as c:
                wait_for_error(c, "whole", NONE)
                wait_for_error(c, "damaged", KAFKA_STORAGE_ERROR)
                assert c.produce("damaged", batch([record(b"v")]))[0] == KAFKA_STORAGE_ERROR
                assert c.produce("whole", batch([record(b"v")]))[0] == NONE
            said = node.log_text()
            assert "event=log_damaged" in said and "damaged-0" in said and "partition_offline" in said, said[-800:]
            assert "log_dir_offline" not in said, said[-800:]
            end()


def state_folder(node):
    return os.path.join(node.data, "__cluster_metadata-0", "trivet-state")


def commit_everywhere(c, topic, upto):
    """A few groups, so that several partitions of __consumer_offsets have something."""
    deadline = time.monotonic() + 20
    while any(group_wire.find_coordinator(c, f"g{i}")[0] != NONE for i in range(8)):
        assert time.monotonic() < deadline, "no coordinator"
        time.sleep(0.05)
    for i in range(8):
        for offset in range(1, upto + 1):
            codes = group_wire.commit(c, f"g{i}", topic, {0: offset}, metadata=f"of g{i}")
            while codes != {0: NONE}:
                assert time.monotonic() < deadline, f"g{i}: {codes}"
                time.sleep(0.05)
                codes = group_wire.commit(c, f"g{i}", topic, {0: offset}, metadata=f"of g{i}")


def expect_commits(c, topic, upto):
    deadline = time.monotonic() + 20
    for i in range(8):
        found = group_wire.fetch_offsets(c, f"g{i}")
        while found[0] != NONE and time.monotonic() < deadline:
            time.sleep(0.02)
            found = group_wire.fetch_offsets(c, f"g{i}")
        assert found == (NONE, {(topic, 0): (upto, f"of g{i}", NONE)}), f"g{i}: {found}"


def scribble(folder):
    for where, _, files in os.walk(folder):
        for name in files:
            with open(os.path.join(where, name), "r+b") as file:
                size = os.path.getsize(file.name)
                file.write(os.urandom(max(size, 100)))


def lost_or_damaged_coordinator_state_is_made_anew(broker):
    with Node(broker) as node:
        node.start()
        with Connection(node.port, 30) as c:
            assert c.create_topic("t", 1) == NONE
            commit_everywhere(c, "t", 3)
        for end in (node.stop, node.kill9):
            for harm in (lambda f: None, shutil.rmtree, scribble):
                end()
                harm(state_folder(node))
                node.start()
                with Connection(node.port, 30) as c:
                    expect_commits(c, "t", 3)
        with Connection(node.port, 30) as c:
            commit_everywhere(c, "t", 5)
            expect_commits(c, "t", 5)


def coordinator_state_lies_where_state_dir_says(broker):
    with Node(broker) as node:
        where = node.properties["state.dir"] = os.path.join(node.folder, "elsewhere")
        node.start()
        with Connection(node.port, 30) as c:
            assert c.create_topic("t", 1) == NONE
            commit_everywhere(c, "t", 1)
        assert os.path.isdir(where) and not os.path.exists(state_folder(node))
        node.kill9()
        node.start()
        with Connection(node.port, 30) as c:
            expect_commits(c, "t", 1)


def no_coordinator_state_is_made_as_long_as_nobody_wants_it(broker):
    with Node(broker) as node:
        node.start()
        with Connection(node.port, 30) as c:
            assert c.create_topic("t", 1) == NONE
            produce_everywhere(c, "t", 1)
        assert not os.path.exists(state_folder(node))


def kill_at_any_moment_loses_no_commit(broker):
    """Each round: commits until the broker is killed; what was answered must be there afterwards."""
    with Node(broker) as node:
        node.start()
        with Connection(node.port, 30) as c:
            assert c.create_topic("t", 1) == NONE
            commit_everywhere(c, "t", 1)
        offset = 1
        for round_ in range(5):
            answered = offset
            killer = threading.Timer(0.2 + 0.1 * round_, node.process.kill)
            killer.start()
            try:
                with Connection(node.port, 30) as c:
                    while True:
                        assert group_wire.commit(c, "g0", "t", {0: offset + 1}) == {0: NONE}
                        offset += 1
                        answered = offset
            except (Closed, OSError):
                pass
            killer.join()
            node.process.wait()
            node.start()
            with Connection(node.port, 30) as c:
                deadline = time.monotonic() + 20
                error, found = group_wire.fetch_offsets(c, "g0")
                while error != NONE and time.monotonic() < deadline:
                    time.sleep(0.02)
                    error, found = group_wire.fetch_offsets(c, "g0")
                assert found["t", 0][0] in (answered, answered + 1), f"{found} of {answered}"
                offset = found["t", 0][0]
        assert offset > 20, "it was killed before it did anything"


def cases():
    helpers = {"wait_for_error", "flip_a_bit", "produce_everywhere", "fill", "cases", "state_folder", "commit_everywhere",
               "expect_commits", "scribble"}
    found = [(name, value) for name, value in globals().items()
             if callable(value) and getattr(value, "__module__", "") == __name__ and not isinstance(value, type)]
    return [(name, case) for name, case in found if name not in helpers and not name.startswith("_")]
