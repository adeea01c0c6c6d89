"""A Pipecast node, a pipeline on it and a TCP proxy that can cut what it carries, for Python's clients."""

import atexit
import json
import os
import re
import secrets
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from urllib.parse import urlsplit

DEADLINE_SECONDS = 20


def until(what, condition, describe=lambda: "nothing more is known"):
    """Gives the first true value of `condition`, or fails when the deadline has passed."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {DEADLINE_SECONDS} s: {what}; {describe()}")
        time.sleep(0.005)
    return value


class Node:
    """The real binary on ports of its own, its settings given as `stream__keepalive="1s"`."""

    def __init__(self, **settings):
        binary = os.environ.get("PIPECAST_BIN")
        if not binary:
            raise AssertionError("PIPECAST_BIN is not set: give the path of the pipecast binary")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PIPECAST_")}
        environment |= {f"PIPECAST_{name.upper()}": value for name, value in settings.items()}
        self._output = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            [binary, "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"],
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env=environment,
        )
        atexit.register(self.kill)
        until("the node is ready", self._is_ready, self._text)

    def kill(self):
        atexit.unregister(self.kill)
        self._process.kill()
        self._process.wait()
        self._output.close()

    def _is_ready(self):
        if self._process.poll() is not None:
            raise AssertionError(f"the node ended: {self._text()}")
        addresses = dict(re.findall(r"^\s*(public|admin)\s+(http\S+)", self._text(), re.MULTILINE))
        if len(addresses) < 2:
            return False
        self.public_url = addresses["public"]
        try:
            return urllib.request.urlopen(f"{addresses['admin']}/readyz").status == 200
        except urllib.error.URLError:
            return False

    def _text(self):
        # The child writes where this file's position stands, so it must stay where it is.
        return os.pread(self._output.fileno(), 1 << 20, 0).decode()


class Pipeline:
    """A pipeline that nobody else uses, as its publisher sees it."""

    def __init__(self, node):
        self._node = node
        self.id = f"p_{secrets.token_urlsafe(9)}"

    def stream_url(self, base, query=""):
        return f"{base}/pipelines/{self.id}/sse{query}"

    def publish(self, channel, payload):
        return self.publish_text(channel, json.dumps(payload, ensure_ascii=False, separators=(",", ":")))

    def publish_text(self, channel, payload):
        """Publishes one event whose payload is this JSON text, byte for byte, and gives its id."""
        request = urllib.request.Request(
            f"{self._node.public_url}/pipelines/{self.id}/events",
            data=f'{{"channel":{json.dumps(channel)},"payload":{payload}}}'.encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 202, answer.status
            return json.load(answer)["id"]

    def publish_numbers(self, channel, first, end):
        """Publishes the events `{"n": first}` up to, not including, `{"n": end}`."""
        return [self.publish(channel, {"n": n, "note": f"number {n}"}) for n in range(first, end)]


class Proxy:
    """A TCP proxy before the node."""

    def __init__(self, node):
        self._target = urlsplit(node.public_url)
        self._cut_text = None
        self._is_refusing = False
        self.connections = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_after(self, text):
        """Cuts the connection that next carries `text` to a client, right behind it."""
        self._cut_text = text.encode()

    def cut(self):
        """Ends every open connection; what was sent before still arrives."""
        for connection in self.connections:
            connection.close()

    def refuse(self):
        """From here on new connections are closed before a byte is read."""
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
    """One connection through the proxy; `request` and `answer` are the bytes that it carried so far."""

    def __init__(self, client, upstream):
        self._client = client
        self._upstream = upstream
        self.request = b""
        self.answer = b""
        self.is_open = True

    @property
    def has_ended(self):
        """Whether the answer came to its end, be it by its last chunk or with the connection."""
        return not self.is_open or self.answer.endswith(b"\r\n0\r\n\r\n")

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
        self.is_open = False
        for side in (self._client, self._upstream):
            try:
                side.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            side.close()
