"""A TCP proxy that can cut and refuse the connections that it carries."""

import socket
import threading
from urllib.parse import urlsplit


class Proxy:
    """A TCP proxy in front of the node."""

    def __init__(self, node):
        self._target = urlsplit(node.public_url)
        self._cut_text = None
        self._is_refusing = False
        self.connections = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_after(self, text):
        """Cuts the next connection that carries `text` to a client, right after it."""
        self._cut_text = text.encode()

    def cut(self):
        """Ends every open connection; bytes sent before still arrive."""
        for connection in self.connections:
            connection.close()

    def refuse(self):
        """Closes new connections before a byte is read."""
        self._is_refusing = True

    def accept(self):
        self._is_refusing = False

    def stop(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._is_refusing:
                client.close()
                continue
            upstream = socket.create_connection((self._target.hostname, self._target.port))
            connection = Connection(client, upstream)
            self.connections.append(connection)
            threading.Thread(target=connection.carry_request, daemon=True).start()
            threading.Thread(target=self._carry_answer, args=(connection,), daemon=True).start()

    def _carry_answer(self, connection):
        for data in connection.answer_parts():
            end = -1
            if self._cut_text:
                end = (connection.answer + data).find(self._cut_text, max(0, len(connection.answer) - len(self._cut_text)))
            if end == -1:
                connection.forward(data)
                continue
            end += len(self._cut_text) - len(connection.answer)
            self._cut_text = None
            connection.forward(data[:end])
            break
        connection.close()


class Connection:
    """One connection through the proxy; `request` and `answer` are its bytes so far."""

    def __init__(self, client, upstream):
        self._client = client
        self._upstream = upstream
        self.request = b""
        self.answer = b""

    def carry_request(self):
        try:
            while data := self._client.recv(65536):
                self.request += data
                self._upstream.sendall(data)
        except OSError:
            pass
        self.close()

    def answer_parts(self):
        try:
            while data := self._upstream.recv(65536):
                yield data
        except OSError:
            pass

    def forward(self, data):
        self.answer += data
        try:
            self._client.sendall(data)
        except OSError:
            self.close()

    def close(self):
        for side in (self._client, self._upstream):
            try:
                side.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            side.close()
