"""A redis-server that keeps nothing on disk."""

import socket
import tempfile

from support.server import Server


class RedisServer(Server):
    """Accepts connections on a unix socket in its own folder, or on a port of 127.0.0.1. `arguments` are further ones for redis-server."""

    def __init__(self, *arguments, port=None):
        self._folder = tempfile.TemporaryDirectory()
        path = f"{self._folder.name}/redis.sock"
        if port is None:
            self.url = f"redis+unix://{path}"
            self._family, self._address = socket.AF_UNIX, path
            listen = ["--port", "0", "--unixsocket", path]
        else:
            self.url = f"redis://127.0.0.1:{port}"
            self._family, self._address = socket.AF_INET, ("127.0.0.1", port)
            listen = ["--bind", "127.0.0.1", "--port", str(port)]
        super().__init__(["redis-server", *listen, "--dir", self._folder.name, "--save", "", *arguments])
        # With nothing to load it answers as soon as it listens; that holds for TLS and passwords too.
        self.await_ready(self._listens)

    def kill(self):
        super().kill()
        self._folder.cleanup()

    def _listens(self):
        with socket.socket(self._family) as connection:
            return connection.connect_ex(self._address) == 0
