"""Clients of several languages through a rolling restart of three brokers, and through the loss of each zone in turn.

Every client writes to one topic, idempotently, and is a group of its own on it, by each of its ways. With each fault a
member joins every group, or the oldest one leaves it. Settings are the clients' own defaults; in short, sessions end after
15 s: a leaver whose coordinator dies with it is missed that much sooner.
"""
import collections
import concurrent.futures
import os
import shutil
import sys
import tempfile
import threading
import time

from chaos import history as judge
from chaos.segments import read_topic
from chaos.zones import Metadata
from group_history import GroupHistory, now_us
import group_history
from harness import group_wire, wire
from harness.brokers import ROOT, Cluster
from running import Running

sys.path.append(os.path.join(ROOT, "tests/cluster"))
from coordinator_cases import Client as Coordinators  # noqa: E402

TOPIC, PARTITIONS = "zones", 6
PROPERTIES = {"min.insync.replicas": "2", "default.replication.factor": "3", "offsets.topic.replication.factor": "3",
              "offsets.topic.num.partitions": "6", "auto.create.topics.enable": "false"}
# Long enough for librdkafka, which can lose ten seconds when FindCoordinator finds nobody while a commit is on its way (it sends
# that again the moment it knows a coordinator, before it is connected).
SHORT_SESSION_MS = 15000
SHORT_SESSIONS = {"group.consumer.session.timeout.ms": SHORT_SESSION_MS, "group.consumer.min.session.timeout.ms": SHORT_SESSION_MS}
RATE = 60         # records a second of each writer
MEMBERS = 2       # of a group at first
WAIT_S = 90       # for a group to share its partitions: its clients' defaults are slow to notice
END_S = 150
DOWN_S = {True: 3, False: 15}  # how long a lost zone stays away, in short and in full; longer than a session of the consumer protocol
ROUNDS = {True: 1, False: 2}
ASK_EVERY_S = 0.3
SHORT_WAYS = {"librdkafka": ("classic",), "java": ("cooperative", "consumer"), "franz_go": ("cooperative",),
              "confluent_kafka": ("classic", "consumer")}


CLEAN_EXITS = (0, 143)  # 143: a JVM that SIGTERM has ended


class ZonesFailed(Exception):
    """Something that should have happened did not."""


def until(what, condition, seconds=WAIT_S):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise ZonesFailed(f"not within {seconds} s: {what() if callable(what) else what}")
        time.sleep(0.02)


class Writer(Running):
    """A producer, and what it was told of its records."""

    def __init__(self, client, cluster, folder):
        self.case_key = f"{client.name} writes"
        self.acked = []
        self.last_us = {}  # partition: when it was acknowledged last
        self.refused = []
        self.retried = collections.Counter()
        super().__init__(client, "write", folder, f"writer-{client.name}", bootstrap=cluster.bootstrap, topic=TOPIC,
                         partitions=PARTITIONS, who=client.name, rate=RATE)

    def take(self, told):
        if told.get("event") == "acked":
            now = now_us()
            self.last_us[told["p"]] = now
            self.acked.append((now, self.name, told["p"], told["s"], told["o"]))
        elif told.get("retriable"):
            self.retried[told["why"]] += 1
        else:
            self.refused.append(str(told))

    def check(self):
        if self.process.poll() is not None:
            raise ZonesFailed(f"{self.name} ended with {self.process.returncode}: {self.error_text()}")
        if self.refused:
            raise ZonesFailed(f"{self.name} met {len(self.refused)} errors: {self.refused[:3]}")

    def wait_acked_since(self, since_us):
        """A record of each partition, acknowledged after that."""
        def all_are():
            self.check()
            return all(self.last_us.get(p, 0) > since_us for p in range(PARTITIONS))
        until(lambda: f"{self.name} has nothing acknowledged in {[p for p in range(PARTITIONS) if self.last_us.get(p, 0) <= since_us]}",
              all_are)

    def end(self):
        self.ask_to_end()
        if not self.ended(END_S):
            raise ZonesFailed(f"{self.name} has not ended: {self.error_text()}")
        if self.process.returncode != 0 or not self.closed:
            raise ZonesFailed(f"{self.name} ended with {self.process.returncode}: {self.error_text()}")


class Member(Running):
    def __init__(self, group, number, cluster, folder):
        self.group, self.number = group, number
        self.owned = set()
        super().__init__(group.client, "member", folder, f"member-{group.name}-{number}", bootstrap=cluster.bootstrap,
                         group=group.name, topic=TOPIC, session=group.session, **group.client.options)

    def take(self, told):
        with self.group.lock:
            self._take(f"{self.name}.{self.number}", told)

    def _take(self, who, told):
        history = self.group.history
        event = told.get("event")
        if event is None:
            history.read(who, told["p"], told["o"], told["v"])
        elif event == "assigned":
            self.owned |= set(told["partitions"])
            history.assigned(who, told["partitions"])
        elif event == "revoked":
            self.owned -= set(told["partitions"])
        elif event == "committed":
            history.committed(who, told["p"], told["o"])
        else:
            history.error(who, told)

    def describe(self):
        return f"{self.number} owns {sorted(self.owned)}, exit {self.process.poll()} {self.error_text()[-700:]}"


class Group:
    """One client's group, and those who are in it."""

    def __init__(self, client, cluster, folder, session):
        self.client, self.cluster, self.folder, self.session = client, cluster, folder, session
        self.name = client.name
        self.case_key = f"{client.name} is a group"
        self.lock = threading.Lock()
        self.history = GroupHistory()
        self.members = []
        self.joined = 0
        self.stored = {}  # partition: the offset its coordinator has, as it said last

    def join(self):
        self.joined += 1
        self.members.append(Member(self, self.joined, self.cluster, self.folder))

    def leave(self):
        """The oldest one: of a classic group its leader."""
        member = self.members.pop(0)
        member.ask_to_end()
        if not member.ended(WAIT_S) or member.process.returncode != 0 or not member.closed:
            raise ZonesFailed(f"did not leave: {member.describe()}")

    def check(self):
        for m in self.members:
            if m.process.poll() is not None:
                raise ZonesFailed(f"a member has ended: {m.describe()}")
        if self.history.seen.errors:
            raise ZonesFailed(f"{len(self.history.seen.errors)} errors met: {self.history.seen.errors[:3]}")

    def wait_shared(self):
        """Every partition has one owner, and nobody goes without; since then a record of each was read."""
        def shared():
            self.check()
            owned = [p for m in self.members for p in set(m.owned)]
            return sorted(owned) == list(range(PARTITIONS)) and all(m.owned for m in self.members)

        def describe():
            return f"all shared by {len(self.members)}: " + "; ".join(m.describe() for m in self.members)

        until(describe, shared)
        since_us = now_us()
        until(lambda: f"a record read in each partition: {self.history.last_read_us}, {describe()}",
              lambda: all(self.history.last_read_us.get(p, 0) > since_us for p in range(PARTITIONS)))


class Zones:
    """The cluster, its clients, and the faults."""

    def __init__(self, suite, folder):
        self.suite, self.args, self.folder = suite, suite.args, folder
        self.cluster = Cluster(folder, os.path.join(self.args.build, "broker/trivetd"), kind=self.args.broker,
                               properties={**PROPERTIES, **(SHORT_SESSIONS if self.args.short else {})})
        self.writers, self.groups = [], []
        self.trouble = {}  # what failed first: {writer or group: why}
        self.asking = True
        self.pool = concurrent.futures.ThreadPoolExecutor(32)

    # ---- the cluster ----

    def whole(self):
        for b in self.cluster.brokers:
            try:
                with wire.Connection(b.port, timeout=2) as c:
                    if not Metadata(c.ask(wire.metadata_request())).whole(3):
                        return False
            except (OSError, wire.Closed):
                return False
        return True

    def make_topic(self):
        def made():
            with wire.Connection(self.cluster.brokers[0].port) as c:
                return c.create_topic(TOPIC, PARTITIONS, replicas=3) in (0, 36)  # 36: it is there
        until("the topic", made, 30)
        until("every broker in every ISR", self.whole, 30)

    def ask_what_is_stored(self):
        """What each group's coordinator says is committed, again and again."""
        coordinators = Coordinators(self.cluster)
        question = {TOPIC: list(range(PARTITIONS))}
        while self.asking:
            for group in self.groups:
                asked_us = now_us()
                try:
                    _, found = coordinators.ask(group.name, lambda c, g=group: group_wire.fetch_offsets(c, g.name, question), WAIT_S)
                except AssertionError as why:
                    with group.lock:
                        group.history.seen.errors.append(f"OffsetFetch: {why}")
                    continue
                with group.lock:
                    for (_, p), (offset, _, error) in found.items():
                        if error == 0:
                            group.history.stored(asked_us, p, offset)
                    group.stored = {p: offset for (_, p), (offset, _, _) in found.items()}
            time.sleep(ASK_EVERY_S)

    # ---- faults ----

    def each(self, whom, what, *arguments):
        """Calls what(one) for all who have had no trouble, at once; the futures."""
        return [(one, self.pool.submit(what, one, *arguments)) for one in whom if one.case_key not in self.trouble]

    def settle(self, futures):
        for one, future in futures:
            try:
                future.result()
            except Exception as why:  # the case of this one tells it
                self.trouble.setdefault(one.case_key, f"{type(why).__name__}: {why}")

    def restart_all(self, change):
        changes = self.each(self.groups, change)
        for b in self.cluster.brokers:
            since_us = now_us()
            code = b.stop()
            if code not in CLEAN_EXITS:
                raise ZonesFailed(f"node {b.properties['node.id']} ended with {code} after SIGTERM")
            b.start()
            until("every broker in every ISR", self.whole, 60)
            # A writer that has not come through yet may try a batch again that is not its last: of those a broker that was
            # restarted since knows no more, as with Apache Kafka, and franz-go then goes on under a new epoch, with duplicates.
            self.settle(self.each(self.writers, Writer.wait_acked_since, since_us))
        self.settle(changes)
        self.go_on()

    def lose(self, broker, change):
        broker.kill9()
        killed = time.monotonic()
        changes = self.each(self.groups, change)
        self.settle(changes)
        self.go_on()
        time.sleep(max(0.0, killed + DOWN_S[self.args.short] - time.monotonic()))
        broker.start()
        until("every broker in every ISR", self.whole, 60)

    def go_on(self):
        """All writers get on in all partitions, and all groups share and read them."""
        since_us = now_us()
        took = {}

        def timed(one, wait, *arguments):
            wait(one, *arguments)
            took[one.name] = (now_us() - since_us) / 1e6

        self.settle(self.each(self.writers, timed, Writer.wait_acked_since, since_us) +
                    self.each(self.groups, timed, Group.wait_shared))
        print("   all go on after " + ", ".join(f"{name} {seconds:.1f}" for name, seconds in took.items()) + " s", flush=True)

    # ---- the run ----

    def set_up(self):
        self.cluster.start()
        self.make_topic()
        for client in self.suite.clients_of(SHORT_WAYS):
            self.writers.append(Writer(client, self.cluster, self.folder))
            for way in SHORT_WAYS[client.name] if self.args.short else client.ways:
                group = Group(client.way(way), self.cluster, self.folder, SHORT_SESSION_MS if self.args.short else "default")
                self.groups.append(group)
                for _ in range(MEMBERS):
                    group.join()
        self.asker = threading.Thread(target=self.ask_what_is_stored, daemon=True)
        self.asker.start()
        self.go_on()

    def phase(self, name, steps):
        """Each who had no trouble before has a case of it."""
        whole = [one for one in (*self.writers, *self.groups) if one.case_key not in self.trouble]
        since_us, started = now_us(), time.monotonic()
        failed = None
        try:
            for step, *arguments in steps:
                step(*arguments)
        except Exception as why:  # the cluster's own trouble is everybody's
            failed = f"{type(why).__name__}: {why}"
        print(f"   {name} took {time.monotonic() - started:.0f} s", flush=True)
        for one in whole:
            what = "writes" if isinstance(one, Writer) else "shares_and_commits"
            self.suite.told(one.name, f"{what}_{name}", self.trouble.get(one.case_key) or failed)
        for w in self.writers:
            silence, partition = judge.longest_silence(list(w.acked), since_us, now_us())
            print(f"   {w.name}: longest without an acknowledged write {silence / 1e6:.2f} s (partition {partition})")
        return failed is None

    def go(self):
        self.set_up()
        restarts = [(self.restart_all, change) for change in (Group.join, Group.leave)]
        losses, joins = [], True
        for _ in range(ROUNDS[self.args.short]):
            for b in self.cluster.brokers:
                losses.append((self.lose, b, Group.join if joins else Group.leave))
                joins = not joins
        if self.phase("through_a_rolling_restart", restarts):
            self.phase("through_the_loss_of_each_zone", losses)
        self.end()

    def end(self):
        self.settle(self.each(self.writers, Writer.end))
        wanted = collections.Counter(p for w in self.writers for _, _, p, _, _ in w.acked)

        def wait_committed(group):
            until(lambda: f"committed up to {dict(wanted)}: {group.stored}",
                  lambda: all(group.stored.get(p, -1) >= wanted[p] for p in range(PARTITIONS)))

        def leave_all(group):
            while group.members:
                group.leave()

        self.settle(self.each(self.groups, wait_committed))
        self.settle(self.each(self.groups, leave_all))
        self.asking = False
        self.asker.join()
        codes = self.cluster.stop()
        self.judge(codes)

    def judge(self, codes):
        logs = {b.properties["node.id"]: read_topic(b.data, TOPIC) for b in self.cluster.brokers}
        reports = "\n".join(b.reports() for b in self.cluster.brokers if b.reports())
        complaints = judge.check_logs(logs)
        self.suite.told("zones", "keep_every_record_once_and_in_order", "; ".join(complaints[:3]) or None)
        self.suite.told("zones", "end_cleanly", None if set(codes) <= set(CLEAN_EXITS) and not reports else
                        f"exit codes {codes}\n{reports}")
        for w in self.writers:
            seen = judge.History()
            seen.acked, seen.errors = w.acked, w.refused
            self.tell(w, "finds_every_acknowledged_record", judge.check_clients(seen, logs))
            print(f"   {w.name}: {len(w.acked)} records acknowledged, retriable errors met {dict(w.retried)}")
        for g in self.groups:
            self.tell(g, "reads_all_and_never_goes_back", g.history.complaints(logs))
            print(f"   {g.name}: {len(g.history.seen.read)} records read, {g.history.read_twice()} of them twice, "
                  f"{len(g.history.seen.committed)} offsets committed, {len(g.history.seen.stored)} answers of what is stored, "
                  f"retriable errors met {dict(g.history.retried)}", flush=True)

    def tell(self, one, case, complaints):
        trouble = [self.trouble[one.case_key]] if one.case_key in self.trouble else []
        self.suite.told(one.name, case, "; ".join(trouble + complaints[:3]) or None)

    def tear_down(self):
        self.asking = False
        for one in [*self.writers, *(m for g in self.groups for m in g.members)]:
            if one.process.poll() is None:
                one.kill9()
            one.stderr.close()
        self.pool.shutdown()
        self.cluster.stop()


def run(suite):
    """All of it, after the judge's own cases; a run that failed keeps its folder."""
    for case in (*judge.cases(), *group_history.cases()):
        suite.case("zones_judge", case.__name__, case)
    folder = tempfile.mkdtemp(prefix="trivet-clients-zones-")
    zones = Zones(suite, folder)
    failed_before = suite.results.failed
    try:
        zones.go()
    except Exception as why:  # the cluster, or the harness itself
        suite.told("zones", "run_to_the_end", f"{type(why).__name__}: {why}")
    finally:
        zones.tear_down()
        if suite.args.keep or suite.results.failed != failed_before:
            print(f"the folder of the three brokers is kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
