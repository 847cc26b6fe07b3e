"""Voters in the log (KIP-853): a quorum of one grows to three, lives without its first member, and shrinks."""
import base64
import shutil
import subprocess
import time
import uuid

from harness import quorum_wire, wire
from harness.brokers import CLUSTER_ID, free_port

PROPERTIES = {"num.partitions": "1", "default.replication.factor": "1"}

ERROR_REQUEST_TIMED_OUT, ERROR_DUPLICATE_VOTER, ERROR_VOTER_NOT_FOUND = 7, 126, 127


def until(what, seconds=20.0):
    started = time.monotonic()
    while not what():
        assert time.monotonic() - started < seconds, f"not within {seconds} s"
        time.sleep(0.02)


def quorum(broker):
    with wire.Connection(broker.port) as c:
        error, found = quorum_wire.describe(c)
    assert error == 0, error
    return found


def voters(broker):
    return sorted(quorum(broker).voters)


def create(broker, topic):
    with wire.Connection(broker.port) as c:
        answer = c.ask(wire.create_topics_request(topic))
    answer.take("ii")
    answer.string()
    error = answer.take("h")
    assert error == 0, error


def remove(connection, node, directory, expected=0):
    """Asks until the change before it is committed: until then the answer is a retriable error, as in Apache Kafka."""
    errors = [ERROR_REQUEST_TIMED_OUT]

    def answered():
        errors.append(quorum_wire.remove_voter(connection, node, directory))
        return errors[-1] != ERROR_REQUEST_TIMED_OUT

    until(answered)
    assert errors[-1] == expected, errors[-1]


def format_one(cluster, tool, node, *how):
    b = cluster.node(node)
    done = subprocess.run([tool, "storage", "format", "-c", b.format(), "-t", CLUSTER_ID, *how], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout


def nodes_are_formatted_for_a_quorum_that_grows(cluster, tool):
    format_one(cluster, tool, 1, "--standalone")
    format_one(cluster, tool, 2, "--no-initial-controllers")
    format_one(cluster, tool, 3, "--no-initial-controllers")


def a_standalone_quorum_takes_observers(cluster, tool):
    until(lambda: sorted(quorum(cluster.node(1)).observers) == [2, 3])
    assert voters(cluster.node(3)) == [1]
    create(cluster.node(3), "while-one-votes")


def observers_become_voters_one_by_one(cluster, tool):
    for node in (2, 3):
        until(lambda node=node: node in quorum(cluster.node(1)).observers)
        directory = quorum(cluster.node(1)).observers[node][0]
        with wire.Connection(cluster.node(node).port) as c:  # any broker takes it
            error = quorum_wire.add_voter(c, node, directory, cluster.node(node).controller_port)
            assert error == 0, error
            again = quorum_wire.add_voter(c, node, directory, cluster.node(node).controller_port)
            assert again == ERROR_DUPLICATE_VOTER, again
    assert voters(cluster.node(2)) == [1, 2, 3]
    assert not quorum(cluster.node(2)).observers


def the_grown_quorum_goes_on_without_its_first_member(cluster, tool):
    cluster.node(1).kill9()
    create(cluster.node(2), "without-the-first")
    assert quorum(cluster.node(2)).leader in (2, 3)
    cluster.start()


def a_voter_that_moved_says_so(cluster, tool):
    """UpdateRaftVoter: it comes back on another port, and the voter set follows."""
    leader = quorum(cluster.node(1)).leader
    moved = next(b for b in cluster.brokers if b.properties["node.id"] != str(leader))
    assert moved.stop() == 0
    sets = cluster.node(leader).log_text().count("event=raft_voters")
    moved.controller_port = free_port()
    moved.start()
    node = int(moved.properties["node.id"])
    leader = cluster.node(leader)
    until(lambda: leader.log_text().count("event=raft_voters") > sets)
    until(lambda: quorum(leader).voters[node][1] >= quorum(leader).high_watermark - 5)
    assert voters(leader) == [1, 2, 3]


def the_leader_is_removed_and_others_lead(cluster, tool):
    before = quorum(cluster.node(1))
    with wire.Connection(cluster.node(1).port) as c:
        remove(c, before.leader, quorum_wire.NO_DIRECTORY, ERROR_VOTER_NOT_FOUND)
        remove(c, before.leader, before.voters[before.leader][0])
    other = cluster.node(1 if before.leader != 1 else 2)

    def settled():
        with wire.Connection(other.port) as c:
            error, found = quorum_wire.describe(c)
        return error == 0 and found.leader not in (-1, before.leader) and before.leader in found.observers

    until(settled)
    assert voters(other) == sorted(n for n in (1, 2, 3) if n != before.leader)
    create(cluster.node(before.leader), "through-the-removed")


def the_quorum_shrinks_to_one(cluster, tool):
    now = quorum(cluster.node(1))
    gone = next(n for n in now.voters if n != now.leader)
    with wire.Connection(cluster.node(now.leader).port) as c:
        remove(c, gone, now.voters[gone][0])
    assert voters(cluster.node(now.leader)) == [now.leader]
    create(cluster.node(gone), "one-votes-again")


BEFORE_THE_START = [nodes_are_formatted_for_a_quorum_that_grows]

# ---- three voters from the beginning ----

def directory_of(node):
    """What is given to each node beforehand, as --initial-controllers wants it."""
    return uuid.UUID(int=0x1234567890ABCDEF1234567890ABCD00 + node)


def text_of(directory):
    return base64.urlsafe_b64encode(directory.bytes).decode().rstrip("=")


def nodes_are_formatted_with_their_initial_voters(cluster, tool):
    initial = ",".join(f"{node}@127.0.0.1:{b.controller_port}:{text_of(directory_of(node))}"
                       for node, b in enumerate(cluster.brokers, 1))
    for node in (1, 2, 3):
        format_one(cluster, tool, node, "--initial-controllers", initial)


def all_of_the_initial_voters_vote(cluster, tool):
    found = quorum(cluster.node(2))
    assert sorted(found.voters) == [1, 2, 3] and not found.observers
    assert all(found.voters[node][0] == directory_of(node) for node in (1, 2, 3)), found.voters
    create(cluster.node(3), "three-vote")


def a_node_with_a_new_disk_joins_by_itself(cluster, tool):
    """controller.quorum.auto.join.enable: its old self goes, then it is added."""
    lost = next(b for b in cluster.brokers if b.properties["node.id"] != str(quorum(cluster.node(1)).leader))
    node = int(lost.properties["node.id"])
    other = next(b for b in cluster.brokers if b is not lost)
    lost.kill9()
    shutil.rmtree(lost.data)
    lost.properties["controller.quorum.auto.join.enable"] = "true"
    format_one(cluster, tool, node, "--no-initial-controllers")
    lost.start()

    def joined():
        found = quorum(other)
        return sorted(found.voters) == [1, 2, 3] and found.voters[node][0] != directory_of(node)

    until(joined)
    create(lost, "with-a-new-disk")


INITIAL_BEFORE_THE_START = [nodes_are_formatted_with_their_initial_voters]
INITIAL_CASES = [all_of_the_initial_voters_vote, a_node_with_a_new_disk_joins_by_itself]

CASES = [a_standalone_quorum_takes_observers, observers_become_voters_one_by_one,
         the_grown_quorum_goes_on_without_its_first_member, a_voter_that_moved_says_so,
         the_leader_is_removed_and_others_lead, the_quorum_shrinks_to_one]
