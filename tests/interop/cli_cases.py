"""The command-line tool against the running broker: what it prints, and its exit status."""
import os
import signal
import subprocess
import tempfile
import time


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


# ---- groups ----

def _kcat(broker, *words, text=None):
    return subprocess.run(["kcat", "-b", broker.bootstrap, *words], input=text, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          text=True, timeout=60, check=True).stdout


def _produced(broker, topic):
    _run(broker, "topic", "create", topic, "--partitions", "2")
    for partition, text in (("0", "a\nb\nc\n"), ("1", "d\ne\n")):
        _kcat(broker, "-P", "-t", topic, "-p", partition, text=text)


def _lines(broker, *words):
    """What is printed, as a set of lines without their spaces' width."""
    return {" ".join(line.split()) for line in _run(broker, *words)[0].splitlines()}


def cli_shows_a_live_group_its_members_and_lag(broker):
    _produced(broker, "cli-live")
    member = subprocess.Popen(["kcat", "-b", broker.bootstrap, "-G", "cli-live-group", "-X", "auto.offset.reset=earliest",
                               "-X", "auto.commit.interval.ms=100", "-q", "cli-live"], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 40
        while "total lag 0" not in (said := " ".join(_run_or_empty(broker, "group", "describe", "cli-live-group").split())) \
                or "Stable" not in said or "cli-live 1 2 2 0" not in said or " - " in said:
            assert time.monotonic() < deadline, said
            time.sleep(0.1)
        said = _run(broker, "group", "describe", "cli-live-group", "--members")[0]
        assert "type classic state Stable" in " ".join(said.split()) and "members 1" in said and "rdkafka" in said, said
        assert "cli-live-group type classic state Stable protocol consumer" in _lines(broker, "group", "list")
        assert "NON_EMPTY_GROUP" in _run(broker, "group", "delete", "cli-live-group", status=1)[1]
        assert "has 1 members" in _run(broker, "group", "reset-offsets", "cli-live-group", "--to-earliest", status=1)[1]
    finally:
        member.terminate()
        member.wait()


def cli_watches_a_group_until_it_is_interrupted(broker):
    _produced(broker, "cli-watched")
    _run(broker, "group", "reset-offsets", "cli-watched-group", "--topic", "cli-watched", "--to-earliest", "--execute")
    # A shell without job control lets what it starts in the background ignore interrupts, and that is inherited.
    watch = subprocess.Popen([_tool(broker), "group", "describe", "cli-watched-group", "--watch", "--interval", "1"],
                             stdout=subprocess.PIPE, text=True, env={**os.environ, "TRIVET_BOOTSTRAP": broker.bootstrap},
                             preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    try:
        totals = []
        for line in watch.stdout:
            if "total lag" in line:
                totals.append(line.split()[-1])
                if len(totals) == 1:
                    _run(broker, "group", "reset-offsets", "cli-watched-group", "--to-latest", "--execute")
            if totals[-1:] == ["0"] or len(totals) == 20:
                break
    finally:
        watch.send_signal(signal.SIGINT)
        watch.communicate(timeout=30)
    assert totals[0] != "0" and totals[-1] == "0", totals


def _run_or_empty(broker, *words):
    done = subprocess.run([_tool(broker), *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=60,
                          env={**os.environ, "TRIVET_BOOTSTRAP": broker.bootstrap})
    return done.stdout


def cli_resets_offsets_only_when_told_to_execute(broker):
    _produced(broker, "cli-reset")
    reset = ("group", "reset-offsets", "cli-reset-group", "--topic", "cli-reset")
    assert "Nothing was changed" in _run(broker, *reset, "--to-latest")[0]
    _run(broker, "group", "describe", "cli-reset-group", status=1)
    assert {"cli-reset 0 - 3", "cli-reset 1 - 2"} <= _lines(broker, *reset, "--to-latest", "--execute")
    assert {"cli-reset 0 3 3 0 -", "cli-reset 1 2 2 0 -", "total lag 0"} <= _lines(broker, "group", "describe", "cli-reset-group")
    _run(broker, "group", "reset-offsets", "cli-reset-group", "--shift-by", "-1", "--topic", "cli-reset:0", "--execute")
    assert {"cli-reset 0 2 3 1 -", "total lag 1"} <= _lines(broker, "group", "describe", "cli-reset-group")
    assert "cli-reset 1 2 1" in _lines(broker, *reset, "--to-offset", "1")
    assert "cli-reset 0 2 3" in _lines(broker, *reset, "--to-offset", "99")  # the nearest there is
    assert "cli-reset 0 2 0" in _lines(broker, *reset, "--to-time", "2020-01-01T00:00:00")
    assert "cli-reset 0 2 3" in _lines(broker, *reset, "--to-time", "2100-01-01T00:00:00Z")


def cli_deletes_groups_and_says_which_are_not_there(broker):
    _produced(broker, "cli-gone")
    _run(broker, "group", "reset-offsets", "cli-gone-group", "--topic", "cli-gone", "--to-earliest", "--execute")
    assert "deleted" in _run(broker, "group", "delete", "cli-gone-group")[0]
    assert "GROUP_ID_NOT_FOUND" in _run(broker, "group", "delete", "cli-gone-group", status=1)[1]
    assert "GROUP_ID_NOT_FOUND" in _run(broker, "group", "describe", "cli-gone-group", status=1)[1]


def cli_refuses_group_commands_that_make_no_sense(broker):
    _run(broker, "group", status=2)
    _run(broker, "group", "describe", status=2)
    _run(broker, "group", "reset-offsets", "g", status=2)
    _run(broker, "group", "reset-offsets", "g", "--to-earliest", "--to-latest", status=2)
    _run(broker, "group", "reset-offsets", "g", "--to-offset", "soon", status=2)
    assert "no such topic" in _run(broker, "group", "reset-offsets", "g", "--to-latest", "--topic", "cli-nowhere", status=1)[1]


def cases():
    return [(name, value) for name, value in globals().items() if name.startswith("cli_")]
