"""The matrix: each fault does its harm to Zones, keeps it up for a while, and undoes it. Names are what the report says."""
import signal
import time

DOWN_S = 1.5    # before a killed broker is started again
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


FAULTS = [kill9_of_a_leader, kill9_of_the_controller, kill9_of_anyone, kill9_of_all, pause_of_a_leader, zone_cut_off,
          one_way_cut, bridge_cut, rolling_restart]
