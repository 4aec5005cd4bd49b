"""What stands between a node and the database, and can be cut: a proxy of TCP connections with a state of its own."""

import contextlib
import socket
import threading


class Proxy:
    """Passes bytes from a port of the loopback to wherever `connect()` leads, which may change."""

    def __init__(self, connect):
        self.connect = connect
        self.refuses = False
        self.flows = threading.Event()
        self.flows.set()
        self.lock = threading.Lock()
        self.sockets = set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return  # closed
            try:
                server = None if self.refuses else self.connect()
            except OSError:
                server = None
            if server is None:
                client.close()
                continue
            with self.lock:
                self.sockets |= {client, server}
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pass, args=(source, sink), daemon=True).start()

    def _pass(self, source, sink):
        with contextlib.suppress(OSError):
            while True:
                data = source.recv(1 << 16)
                self.flows.wait()
                if not data:
                    break
                sink.sendall(data)
        self._end({source, sink})

    def _end(self, sockets):
        with self.lock:
            self.sockets -= sockets
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)  # whoever reads from it wakes up
            one.close()

    def cut(self):
        """All connections end; new ones are taken, unless refused."""
        with self.lock:
            sockets = set(self.sockets)
        self._end(sockets)

    def refuse(self):
        self.refuses = True
        self.cut()

    def hold(self):
        """As a cable that was pulled: nothing passes, and nobody is told."""
        self.flows.clear()

    def heal(self):
        self.refuses = False
        self.flows.set()

    def close(self):
        self.listener.close()
        self.heal()
        self.cut()
