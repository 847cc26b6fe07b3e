"""`trivet cluster` and `trivet partition` on three brokers in three zones."""
import os
import re
import subprocess
import time

from replication_cases import consume, partitions, produce, until

PROPERTIES = {"leader.imbalance.check.interval.seconds": "3600", "offsets.topic.num.partitions": "1",
              "offsets.topic.replication.factor": "2", "follower.replication.throttled.rate": "1"}
TOPIC = "told"
RECORDS = [f"r-{i}" for i in range(5000)]


def trivet(cluster, tool, *arguments, status=0):
    """All it says; it must end with that status."""
    alive = ",".join(b.bootstrap for b in cluster.brokers if b.alive())
    done = subprocess.run([tool, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60,
                          env={**os.environ, "TRIVET_BOOTSTRAP": alive})
    assert done.returncode == status, (arguments, done.returncode, done.stdout)
    return done.stdout


def nodes_and_zones_are_shown(cluster, tool):
    trivet(cluster, tool, "topic", "create", TOPIC, "--partitions", "3", "--replication-factor", "2")
    produce(cluster.bootstrap, RECORDS, TOPIC)
    said = trivet(cluster, tool, "cluster", "describe")
    assert re.findall(r"^ +(\d)  127\.0\.0\.1:\d+  zone (az-\d)  alive", said, re.MULTILINE) == [
        ("1", "az-1"), ("2", "az-2"), ("3", "az-3")], said
    assert len(re.findall(r"  controller  ", said)) == 1 and "partitions 3  without leader 0  under-replicated 0" in said, said
    assert all(f"  az-{i}  brokers 1  alive 1  leads 1  replicas 2" in said for i in (1, 2, 3)), said
    assert re.search(r"logs [\d.]+ (B|KiB|MiB)  free [\d.]+ .iB", said) and "metadata.version 33 (4.4-IV2)" in said, said


def quorum_is_shown(cluster, tool):
    said = trivet(cluster, tool, "cluster", "quorum")
    assert re.match(r"leader [123]  epoch \d+  high watermark \d+  voters 3  observers 0\n", said), said
    assert len(re.findall(r"^ +\d  (leader|voter) ", said, re.MULTILINE)) == 3, said


def partitions_are_shown_with_zones_and_lag(cluster, tool):
    said = trivet(cluster, tool, "partition", "list", f"{TOPIC}:0,2")
    assert len(re.findall(rf"^{TOPIC}-[02]  leader (\d)/az-\1  epoch 0  replicas (\d)/az-\2,(\d)/az-\3  isr ", said,
                          re.MULTILINE)) == 2 and "bytes " in said, said
    assert trivet(cluster, tool, "partition", "list", "--leaderless") == ""


def replica_that_catches_up_is_shown_with_what_it_lacks(cluster, tool):
    trivet(cluster, tool, "topic", "create", "slow", "--partitions", "1", "--replication-factor", "1", "--config",
           "follower.replication.throttled.replicas=*")
    produce(cluster.bootstrap, [f"{r} {'x' * 1000}" for r in RECORDS], "slow")  # more than one fetch brings
    here = partitions(cluster.bootstrap, "slow")[0][0]
    there = here % 3 + 1
    assert re.search(r"  lag 0  ", trivet(cluster, tool, "partition", "list", "slow"))
    trivet(cluster, tool, "partition", "reassign", "slow", "--to", f"{here},{there}", "--execute")

    def lag():
        found = re.search(rf"  lag {there}:(\d+)", trivet(cluster, tool, "partition", "list", "slow"))
        return int(found.group(1)) if found else 0

    until(lambda: lag() > 0)
    time.sleep(1)
    assert 0 < lag() <= len(RECORDS)
    trivet(cluster, tool, "topic", "delete", "slow")


def moves_are_shown_first_and_done_with_execute(cluster, tool):
    before = partitions(cluster.bootstrap, TOPIC)
    said = trivet(cluster, tool, "partition", "reassign", TOPIC, "--replication-factor", "3")
    assert "3 partition(s) would move; --execute does it" in said, said
    assert partitions(cluster.bootstrap, TOPIC) == before
    trivet(cluster, tool, "partition", "reassign", TOPIC, "--replication-factor", "3", "--execute")
    until(lambda: all(isr == {1, 2, 3} for _, isr in partitions(cluster.bootstrap, TOPIC).values()))
    assert "nothing is being reassigned" in trivet(cluster, tool, "partition", "reassign")
    assert "all is as wanted" in trivet(cluster, tool, "partition", "reassign", TOPIC, "-r", "3")
    trivet(cluster, tool, "partition", "reassign", TOPIC, "-r", "2", "--away-from", "3", "--execute")
    until(lambda: all(isr == {1, 2} for _, isr in partitions(cluster.bootstrap, TOPIC).values()))
    until(lambda: not any(name.startswith(TOPIC + "-") and name[len(TOPIC) + 1:].isdigit()
                          for name in os.listdir(cluster.node(3).data)))
    assert sorted(consume(cluster.bootstrap, TOPIC)) == sorted(RECORDS)


def move_under_way_is_shown_and_taken_back(cluster, tool):
    trivet(cluster, tool, "partition", "reassign", f"{TOPIC}:0", "--to", "1,2", "--execute")
    until(lambda: partitions(cluster.bootstrap, TOPIC)[0][1] == {1, 2})
    cluster.node(3).kill9()
    try:
        trivet(cluster, tool, "partition", "reassign", f"{TOPIC}:0", "--to", "1,3", "--execute")
        said = trivet(cluster, tool, "partition", "reassign")
        assert f"{TOPIC}-0  replicas 1/az-1,3/az-3,2/az-2  adding 3/az-3  removing 2/az-2" in said, said
        said = trivet(cluster, tool, "partition", "reassign", "--cancel")
        assert "this would be taken back; --execute does it" in said, said
        said = trivet(cluster, tool, "partition", "reassign", "--cancel", "--execute")
        assert f"{TOPIC}-0: taken back" in said, said
        assert "nothing is being reassigned" in trivet(cluster, tool, "partition", "reassign")
    finally:
        cluster.start()


def preferred_leaders_are_elected(cluster, tool):
    trivet(cluster, tool, "partition", "reassign", f"{TOPIC}:1", "--to", "2,1,3", "--execute")
    until(lambda: partitions(cluster.bootstrap, TOPIC)[1][1] == {1, 2, 3})
    trivet(cluster, tool, "partition", "elect", f"{TOPIC}:1")
    until(lambda: partitions(cluster.bootstrap, TOPIC)[1][0] == 2)
    cluster.node(2).kill9()
    alive = cluster.node(1).bootstrap
    until(lambda: partitions(alive, TOPIC)[1][0] in (1, 3))
    assert f"{TOPIC}-1  leader " in trivet(cluster, tool, "partition", "list", "--not-preferred", "--under-replicated")
    cluster.start()
    until(lambda: partitions(cluster.bootstrap, TOPIC)[1][1] == {1, 2, 3})
    assert f"{TOPIC}-1: elected" in trivet(cluster, tool, "partition", "elect")
    until(lambda: partitions(cluster.bootstrap, TOPIC)[1][0] == 2)
    assert "no election was needed" in trivet(cluster, tool, "partition", "elect", f"{TOPIC}:1")


def nothing_is_lost_or_doubled_while_partitions_move(cluster, tool):
    """An idempotent producer writes all the time; each broker in turn gives everything away, twice."""
    trivet(cluster, tool, "topic", "create", "moving", "--partitions", "3", "--replication-factor", "2")
    with subprocess.Popen(["kcat", "-P", "-b", cluster.bootstrap, "-t", "moving", "-X", "enable.idempotence=true"],
                          stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as producer:
        written = 0
        for away in (1, 2, 3, 1, 2, 3):
            trivet(cluster, tool, "partition", "reassign", "moving", "--away-from", str(away), "--execute")
            until(lambda away=away: all(away not in isr and len(isr) == 2
                                        for _, isr in partitions(cluster.bootstrap, "moving").values()))
            for _ in range(10):
                producer.stdin.write("".join(f"{n}\n" for n in range(written, written + 1000)))
                producer.stdin.flush()
                written += 1000
                time.sleep(0.02)
        said = producer.communicate(timeout=60)[1]
        assert producer.returncode == 0, said
    assert sorted(int(r) for r in consume(cluster.bootstrap, "moving")) == list(range(written))


def coordinator_of_a_group_moves_with_its_partition(cluster, tool):
    trivet(cluster, tool, "topic", "create", "grouped", "--partitions", "1", "--replication-factor", "3")
    produce(cluster.bootstrap, RECORDS, "grouped")
    subprocess.run(["kcat", "-b", cluster.bootstrap, "-G", "movers", "-o", "beginning", "-c", str(len(RECORDS)), "-q", "grouped"],
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60, check=True)

    def described():
        said = trivet(cluster, tool, "group", "describe", "movers")
        assert re.search(rf"grouped +0 +{len(RECORDS)} +{len(RECORDS)} +0", said), said
        return int(re.search(r"coordinator (\d)", said).group(1))

    before = described()
    trivet(cluster, tool, "partition", "reassign", "__consumer_offsets", "--away-from", str(before), "--execute")
    until(lambda: all(before not in isr and len(isr) == 2
                      for _, isr in partitions(cluster.bootstrap, "__consumer_offsets").values()))
    until(lambda: described() != before)


def what_makes_no_sense_is_refused(cluster, tool):
    assert "there is no broker 9" in trivet(cluster, tool, "partition", "reassign", TOPIC, "--to", "1,9", status=1)
    assert "not enough brokers" in trivet(cluster, tool, "partition", "reassign", TOPIC, "-r", "4", status=1)
    assert "no such topic" in trivet(cluster, tool, "partition", "list", "nothing", status=1)
    assert "which topics?" in trivet(cluster, tool, "partition", "elect", "--unclean", status=2)
    assert "--to says it all" in trivet(cluster, tool, "partition", "reassign", TOPIC, "--to", "1", "-r", "2", status=2)
    assert "BROKER_ID_NOT_REGISTERED" in trivet(cluster, tool, "cluster", "unregister", "7", status=1)
    assert "CONTROLLER_ID_NOT_REGISTERED" in trivet(cluster, tool, "cluster", "unregister", "7", "--controller", status=1)
    assert "which node?" in trivet(cluster, tool, "cluster", "unregister", status=2)


def broker_that_is_gone_is_unregistered(cluster, tool):
    """The last case: one broker is gone for good."""
    leader = re.match(r"leader (\d)", trivet(cluster, tool, "cluster", "quorum")).group(1)
    gone = 3 if leader != "3" else 2
    assert cluster.node(gone).stop() == 0
    assert f"broker {gone}: unregistered" in trivet(cluster, tool, "cluster", "unregister", str(gone))
    time.sleep(0.5)
    assert "brokers 2\n" in trivet(cluster, tool, "cluster", "describe")
    cluster.start()  # it registers anew
    until(lambda: "brokers 3\n" in trivet(cluster, tool, "cluster", "describe"))


CASES = [nodes_and_zones_are_shown, quorum_is_shown, partitions_are_shown_with_zones_and_lag,
         replica_that_catches_up_is_shown_with_what_it_lacks,
         moves_are_shown_first_and_done_with_execute, move_under_way_is_shown_and_taken_back, preferred_leaders_are_elected,
         nothing_is_lost_or_doubled_while_partitions_move, coordinator_of_a_group_moves_with_its_partition,
         what_makes_no_sense_is_refused, broker_that_is_gone_is_unregistered]
