"""Hosts of the test's own: network namespaces behind one bridge, which lives in a namespace too.

      switch:  bridge 10.77.0.254
         |          |          |          |
      node 1     node 2     node 3     clients        10.77.0.1, .2, .3 and .100, each with eth0

Nothing is set up outside them, so that runs beside each other, and the machine, are left alone. What is cut is cut by the
receiver's packet filter, silently, as a network does it. Needs root.
"""
import ctypes
import os
import subprocess

CLIENTS = 100
CLONE_NEWNET = 0x40000000


class NoNamespaces(Exception):
    """This machine lets nobody make hosts of its own; says why."""


def _run(*command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise OSError(f"{' '.join(command)}: {done.stdout.strip()}")


class Network:
    def __init__(self, nodes):
        self.prefix = f"trivet-{os.getpid()}"
        self.hosts = [*range(1, nodes + 1), CLIENTS]
        self.blocked = set()
        self.made = []

    def namespace(self, host):
        return f"{self.prefix}-{host}"

    @staticmethod
    def address(host):
        return f"10.77.0.{host}"

    def _inside(self, host, *command):
        """nsenter rather than `ip netns exec`: the same mounts, and the same process."""
        _run("nsenter", f"--net=/run/netns/{self.namespace(host)}", *command)

    def command(self, host, *command):
        """A command line that runs as one process in that host."""
        return ["nsenter", f"--net=/run/netns/{self.namespace(host)}", *command]

    def _add(self, host):
        _run("ip", "netns", "add", self.namespace(host))
        self.made.append(host)
        self._inside(host, "ip", "link", "set", "lo", "up")

    def set_up(self):
        try:
            self._set_up()
        except OSError as why:
            raise NoNamespaces(str(why)) from why

    def _set_up(self):
        self._add("switch")
        self._inside("switch", "ip", "link", "add", "br0", "type", "bridge")
        self._inside("switch", "ip", "link", "set", "br0", "up")
        for host in self.hosts:
            self._add(host)
            self._inside("switch", "ip", "link", "add", f"port{host}", "type", "veth", "peer", "name", "eth0", "netns",
                         self.namespace(host))
            self._inside("switch", "ip", "link", "set", f"port{host}", "master", "br0", "up")
            self._inside(host, "ip", "address", "add", f"{self.address(host)}/24", "dev", "eth0")
            self._inside(host, "ip", "link", "set", "eth0", "up")
            self._inside(host, "iptables", "-L", "INPUT")  # what cuts: better to know now

    def enter(self, host):
        """This process, and those it starts from now on, are in that host."""
        fd = os.open(f"/run/netns/{self.namespace(host)}", os.O_RDONLY)
        try:
            if ctypes.CDLL(None, use_errno=True).setns(fd, CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
        finally:
            os.close(fd)

    def block(self, source, target):
        """What source sends to target is lost from now on."""
        if (source, target) not in self.blocked:
            self._inside(target, "iptables", "-A", "INPUT", "-s", self.address(source), "-j", "DROP")
            self.blocked.add((source, target))

    def cut_off(self, host):
        """From all others, clients too."""
        for other in self.hosts:
            if other != host:
                self.block(other, host)
                self.block(host, other)

    def heal(self):
        for target in {target for _, target in self.blocked}:
            self._inside(target, "iptables", "-F", "INPUT")
        self.blocked.clear()

    def tear_down(self):
        for host in reversed(self.made):
            subprocess.run(["ip", "netns", "del", self.namespace(host)], stderr=subprocess.DEVNULL)
        self.made.clear()
