"""Web servers in place of a node."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class WebServer:
    """Answers POST requests with `answer`, once it has read their bodies."""

    def __init__(self):
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                outer.answer(self)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()


class Answers(WebServer):
    """Answers each request with the next of `answers`, and repeats the last one. Keeps the keys and tokens of the requests."""

    def __init__(self, *answers):
        self.keys = []
        self.tokens = []
        self._remaining = list(answers)
        super().__init__()

    def answer(self, request):
        self.keys.append(request.headers["Idempotency-Key"])
        self.tokens.append(request.headers["Authorization"])
        status, headers, body = self._remaining.pop(0) if len(self._remaining) > 1 else self._remaining[0]
        request.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)


class Endless(WebServer):
    """Answers with one piece after the other until it has sent `most` bytes; `pause` is the time between pieces."""

    def __init__(self, status, piece, most, pause=0.0):
        self.sent = 0
        self._status, self._piece, self._most, self._pause = status, piece, most, pause
        super().__init__()

    def answer(self, request):
        request.send_response(self._status)
        request.end_headers()
        try:
            while self.sent < self._most:
                request.wfile.write(self._piece)
                self.sent += len(self._piece)
                # A slow server: the time is what makes it one.
                time.sleep(self._pause)
        except OSError:
            # The client has left.
            pass
