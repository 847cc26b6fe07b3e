"""The matrix: each fault does its harm to Zones, keeps it up for a while, and undoes it. Names are what the report says."""
import os
import signal
import subprocess
import time

from chaos.zones import PARTITIONS, TOPIC

DOWN_S = 1.5    # before a killed broker is started again
MOVES = 12
MOVE_S = 0.3    # between two moves: many are replaced before they are done
TAKEN_S = 20
PAUSE_S = 4.0   # longer than a session, so that the paused broker is fenced
CUT_S = 6.0


def _kill9(zones, victims):
    for node in victims:
        node.kill9()
    time.sleep(DOWN_S)
    zones.start()


def kill9_of_a_leader(zones, chance):
    _kill9(zones, [zones.node(zones.leader_of_first())])


def kill9_of_the_controller(zones, chance):
    _kill9(zones, [zones.node(zones.any_metadata().controller)])


def kill9_of_anyone(zones, chance):
    _kill9(zones, [chance.choice(zones.nodes)])


def kill9_of_all(zones, chance):
    _kill9(zones, zones.nodes)


def pause_of_a_leader(zones, chance):
    node = zones.node(zones.leader_of_first())
    node.signal(signal.SIGSTOP)
    time.sleep(PAUSE_S)
    node.signal(signal.SIGCONT)


def zone_cut_off(zones, chance):
    zones.network.cut_off(zones.leader_of_first())
    time.sleep(CUT_S)
    zones.network.heal()


def one_way_cut(zones, chance):
    """What a leader sends to other brokers is lost; it hears them, and its clients."""
    leader = zones.leader_of_first()
    for node in zones.nodes:
        if node.id != leader:
            zones.network.block(leader, node.id)
    time.sleep(CUT_S)
    zones.network.heal()


def bridge_cut(zones, chance):
    """Two brokers cannot see one another; the third, and clients, see both."""
    a, b = chance.sample(zones.nodes, 2)
    zones.network.block(a.id, b.id)
    zones.network.block(b.id, a.id)
    time.sleep(CUT_S)
    zones.network.heal()


def rolling_restart(zones, chance):
    for node in zones.nodes:
        code = node.stop()
        assert code == 0, f"node {node.id} ended with {code} after SIGTERM"
        node.start()
        zones.wait_whole(30)


def _move(zones, partition, brokers):
    """Begins to; false when nobody takes it, as with a controller that just died."""
    alive = ",".join(f"{n.address}:9092" for n in zones.nodes if n.alive())
    done = subprocess.run([os.path.abspath(os.path.join(zones.build, "tools/trivet")), "partition", "reassign",
                           f"{TOPIC}:{partition}", "--to", ",".join(str(b) for b in brokers), "--execute", "-b", alive],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60, check=False)
    return done.returncode == 0


def _moves(zones, chance, between):
    """Partitions go to two or three of the brokers, in any order; at the end all of them are everywhere again."""
    ids = [node.id for node in zones.nodes]
    for step in range(MOVES):
        _move(zones, chance.randrange(PARTITIONS), chance.sample(ids, chance.choice((2, 3))))
        between(step)
        time.sleep(MOVE_S)
    for partition in range(PARTITIONS):
        end = time.monotonic() + TAKEN_S
        while not _move(zones, partition, ids[partition % 3:] + ids[:partition % 3]):
            assert time.monotonic() < end, f"nobody takes the last move of partition {partition} for {TAKEN_S} s"
            time.sleep(MOVE_S)


def partitions_move(zones, chance):
    _moves(zones, chance, lambda step: None)


def partitions_move_while_brokers_die(zones, chance):
    def between(step):
        if step % 4 == 1:
            _kill9(zones, [chance.choice(zones.nodes)])

    _moves(zones, chance, between)
    zones.start()


FAULTS = [kill9_of_a_leader, kill9_of_the_controller, kill9_of_anyone, kill9_of_all, pause_of_a_leader, zone_cut_off,
          one_way_cut, bridge_cut, rolling_restart, partitions_move, partitions_move_while_brokers_die]
