"""A way to a broker on which requests of a kind can be held up: a listener of its own leads back to here, so that who begins
here stays here. Python standard library only."""
import collections
import socket
import struct
import threading

LISTENER = "ROAD"


class Road:
    """Call lead_to(broker) before the broker starts; `bootstrap` is for those who shall come this way."""

    def __init__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.bootstrap = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._changed = threading.Condition()
        self._held = set()  # api keys
        self._waiting = collections.Counter()  # api key: requests that are held up now
        self._sockets = []
        self._target = None

    def lead_to(self, broker, port):
        """The broker gets a listener on that port, which it tells clients to be here."""
        self._target = ("127.0.0.1", port)
        broker.properties.update({
            "listeners": f"PLAINTEXT://127.0.0.1:{broker.port},{LISTENER}://127.0.0.1:{port},"
                         f"CONTROLLER://127.0.0.1:{broker.controller_port}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{broker.port},{LISTENER}://{self.bootstrap}",
            "listener.security.protocol.map": f"CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,{LISTENER}:PLAINTEXT",
            "inter.broker.listener.name": "PLAINTEXT"})
        threading.Thread(target=self._accept, daemon=True).start()

    def hold(self, api_key):
        with self._changed:
            self._held.add(api_key)

    def let_go(self, api_key):
        with self._changed:
            self._held.discard(api_key)
            self._changed.notify_all()

    def waiting_for(self, api_key):
        """How many requests of that kind are held up."""
        return self._waiting[api_key]

    def close(self):
        with self._changed:
            self._held.clear()
            self._changed.notify_all()
            sockets = [self._listener, *self._sockets]
        for s in sockets:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it has ended
            s.close()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                broker = socket.create_connection(self._target)
            except OSError:
                client.close()
                continue
            with self._changed:
                self._sockets += [client, broker]
            for pump in ((self._requests, client, broker), (self._answers, broker, client)):
                threading.Thread(target=self._pump, args=pump, daemon=True).start()

    @staticmethod
    def _pump(pump, source, sink):
        try:
            pump(source, sink)
        except OSError:
            pass  # one end is gone, and now so is the other
        for s in (source, sink):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _requests(self, client, broker):
        stream = client.makefile("rb")
        while True:
            size = stream.read(4)
            if len(size) < 4:
                return
            request = stream.read(struct.unpack(">i", size)[0])
            self._wait(struct.unpack_from(">h", request)[0])
            broker.sendall(size + request)

    def _wait(self, api_key):
        with self._changed:
            self._waiting[api_key] += 1
            self._changed.wait_for(lambda: api_key not in self._held)
            self._waiting[api_key] -= 1

    @staticmethod
    def _answers(broker, client):
        while data := broker.recv(65536):
            client.sendall(data)
