"""The command-line tool against the running broker: what it prints, and its exit status."""
import os
import subprocess
import tempfile


class Skip(Exception):
    pass


def _tool(broker):
    path = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(broker.binary or ""))), "tools/trivet")
    if broker.kind != "trivet" or not os.path.exists(path):
        raise Skip("the tool is built beside trivetd")
    return path


def _run(broker, *words, status=0):
    done = subprocess.run([_tool(broker), *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60,
                          env={**os.environ, "TRIVET_BOOTSTRAP": broker.bootstrap})
    assert done.returncode == status, f"exit status {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout, done.stderr


def cli_creates_lists_describes_and_deletes_a_topic(broker):
    _run(broker, "topic", "create", "cli-one", "--partitions", "3")
    assert "cli-one" in _run(broker, "topic", "list")[0].split()
    said = _run(broker, "topic", "describe", "cli-one")[0]
    assert "partitions 3" in said and said.count("leader") == 3, said
    _run(broker, "topic", "delete", "cli-one")
    assert "cli-one" not in _run(broker, "topic", "list")[0].split()


def cli_grows_a_topic_and_does_not_shrink_it(broker):
    _run(broker, "topic", "create", "cli-two", "--partitions", "2")
    _run(broker, "topic", "grow", "cli-two", "--partitions", "5")
    assert "INVALID_PARTITIONS" in _run(broker, "topic", "grow", "cli-two", "--partitions", "4", status=1)[1]
    assert "partitions 5" in _run(broker, "topic", "describe", "cli-two")[0]


def cli_tells_what_the_broker_refused(broker):
    _run(broker, "topic", "create", "cli-three")
    assert "TOPIC_ALREADY_EXISTS" in _run(broker, "topic", "create", "cli-three", status=1)[1]
    _run(broker, "topic", "create", "cli-three", "--if-not-exists")
    assert "INVALID_TOPIC_EXCEPTION" in _run(broker, "topic", "create", "no/good", status=1)[1]
    assert "INVALID_CONFIG" in _run(broker, "topic", "create", "cli-x", "--config", "retention.ms=soon", status=1)[1]
    assert "UNKNOWN_TOPIC" in _run(broker, "topic", "delete", "cli-none", status=1)[1]


def cli_refuses_a_command_line_that_makes_no_sense(broker):
    _run(broker, "topic", status=2)
    _run(broker, "topic", "create", status=2)
    _run(broker, "topic", "grow", "cli-two", status=2)
    _run(broker, "topic", "create", "t", "--partitions", "none", status=2)
    _run(broker, "nonsense", status=2)
    _run(broker, "topic", "list", "--bootstrap-server", "127.0.0.1:1", status=1)


def cli_formats_storage_once_and_says_whose_it_is(broker):
    with tempfile.TemporaryDirectory(prefix="trivet-cli-") as folder:
        here = ("--set", f"log.dirs={folder}/data")
        _run(broker, "storage", "format", *here, "--cluster-id", "cli-cluster")
        said = _run(broker, "storage", "info", *here)[0]
        assert "cluster cli-cluster" in said and "metadata log here" in said, said
        _run(broker, "storage", "format", *here, status=1)
        _run(broker, "storage", "format", *here, "--ignore-formatted")
        assert os.path.exists(f"{folder}/data/__cluster_metadata-0/00000000000000000000-0000000000.checkpoint")


def cases():
    return [(name, value) for name, value in globals().items() if name.startswith("cli_")]
