"""A line between a client and a server that can be cut and restored, whatever the two say to each other."""

import select
import socket
import threading
import time
from contextlib import suppress


class Line:
    """Carries bytes between whoever connects to its port and a server."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: list[socket.socket] = []
        self._is_cut = False
        self.pace: float | None = None  # seconds that a byte of an answer takes, if it is slow
        self.refused = 0  # connections that were tried while it was cut
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End every connection, and every new one at once."""
        self._is_cut = True
        while self._open:
            with suppress(OSError):
                self._open.pop().shutdown(socket.SHUT_RDWR)

    def restore(self) -> None:
        """Carry again what comes."""
        self._is_cut = False

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            if self._is_cut:
                self.refused += 1
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self._target))
            self._open += [client, server]
            threading.Thread(target=self._carry, args=(client, server), daemon=True).start()

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        """Copy bytes in both directions until either side ends."""
        other = {client: server, server: client}
        with suppress(OSError), client, server:
            while True:
                for side in select.select(list(other), [], [])[0]:
                    data = side.recv(1 << 16)
                    if not data:
                        return
                    if side is client or self.pace is None:
                        other[side].sendall(data)
                        continue
                    for byte in data:
                        time.sleep(self.pace)
                        client.sendall(bytes([byte]))
