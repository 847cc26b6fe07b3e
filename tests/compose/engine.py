"""A container engine: the one that is there, or one of Debian's packages started for the test.

The test's own engine keeps images (and so the layers of earlier builds) in a cache outside the tree. It has no default
bridge and leaves the machine's packet filter alone; ports are published by its proxy.
"""
import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "trivet-tests/docker")
START_TIMEOUT_S = 60
BASE_TIMEOUT_S = 900


class NoEngine(Exception):
    """None is there and none can be started; says why."""


class Engine:
    def __init__(self):
        self.process = None
        self.folder = None
        self.lock = None
        self.environment = dict(os.environ, DOCKER_BUILDKIT="0", COMPOSE_DOCKER_CLI_BUILD="0")

    def __enter__(self):
        if not self._answers():
            self._start()
        return self

    def __exit__(self, *_):
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.folder:
            # The engine leaves its own network namespace bound there.
            subprocess.run(["umount", os.path.join(self.folder, "exec/netns/default")], stderr=subprocess.DEVNULL)
            shutil.rmtree(self.folder, ignore_errors=True)
        if self.lock:
            self.lock.close()

    def run(self, *command, timeout=60, check=True):
        """Runs a docker or docker-compose command; answers its output."""
        done = subprocess.run(command, env=self.environment, cwd=ROOT, timeout=timeout, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert done.returncode == 0 or not check, f"{' '.join(command[:4])}: {done.stdout[-3000:]}"
        return done.stdout.strip()

    def has_image(self, name):
        return self.run("docker", "images", "-q", name) != ""

    def base_image(self):
        """The name of a Debian 12 image, pulled or made from Debian's packages."""
        if self.has_image("debian:12"):
            return "debian:12"
        if not self.process:  # this machine's own engine may reach a registry
            self.run("docker", "pull", "debian:12", timeout=BASE_TIMEOUT_S, check=False)
            if self.has_image("debian:12"):
                return "debian:12"
        if not self.has_image("trivet-base:12"):
            with tempfile.TemporaryDirectory(prefix="trivet-compose-") as folder:
                archive = os.path.join(folder, "base.tar")
                self.run("mmdebstrap", "--variant=minbase", "bookworm", archive, timeout=BASE_TIMEOUT_S)
                self.run("docker", "import", archive, "trivet-base:12", timeout=BASE_TIMEOUT_S)
        return "trivet-base:12"

    def _answers(self):
        try:
            return subprocess.run(["docker", "info"], env=self.environment, stdin=subprocess.DEVNULL, timeout=30,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
        except (OSError, subprocess.TimeoutExpired):
            return False

    def _start(self):
        if os.geteuid() != 0:
            raise NoEngine("no engine answers, and only root can start one")
        installed = subprocess.run([os.path.join(ROOT, "deploy/install-deps"), "engine"], text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if installed.returncode != 0:
            raise NoEngine(f"its packages cannot be installed: {installed.stdout[-500:]}")
        os.makedirs(CACHE, exist_ok=True)
        self.lock = open(os.path.join(CACHE, "lock"), "w", encoding="ascii")
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        self.folder = tempfile.mkdtemp(prefix="trivet-engine-")
        self.environment["DOCKER_HOST"] = f"unix://{self.folder}/socket"
        log = os.path.join(self.folder, "log")
        with open(log, "wb") as out:
            self.process = subprocess.Popen(
                ["dockerd", "--data-root", os.path.join(CACHE, "data"), "--exec-root", os.path.join(self.folder, "exec"),
                 "--pidfile", os.path.join(self.folder, "pid"), "-H", self.environment["DOCKER_HOST"], "--bridge=none",
                 "--iptables=false", "--ip6tables=false", "--ip-forward=false"],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
        started = time.monotonic()
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() - started > START_TIMEOUT_S:
                with open(log, encoding="utf-8", errors="replace") as text:
                    why = text.readlines()[-1:]
                raise NoEngine(f"dockerd does not start here: {''.join(why).strip()}")
            time.sleep(0.2)
