"""The package for Python: what it collects, and what it does when nodes die, answer late or send away."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from broker import Node, Pipeline, Proxy, until
from pipecast import Event, Publisher, PublishError, Send

# Nobody listens there.
REFUSED = "http://127.0.0.1:1025"
SECRET = "hunter2-hunter2-hunter2"


def history(node, pipeline):
    with urllib.request.urlopen(f"{node.public_url}/pipelines/{pipeline.id}/events") as answer:
        return json.load(answer)["events"]


def as_json(sent):
    return [{"id": event.id, "channel": event.channel, "payload": event.payload} for event in sent]


def run(source):
    """Runs a program that has the package, to its end."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIPECAST_")}
    program = f"from pipecast import *\n{source}"
    return subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=30)


class Answers:
    """A web server that answers each request with the next of `answers`, and the last one for ever."""

    def __init__(self, *answers):
        self.keys = []
        self.tokens = []
        remaining = list(answers)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                outer.keys.append(self.headers["Idempotency-Key"])
                outer.tokens.append(self.headers["Authorization"])
                status, headers, body = remaining.pop(0) if len(remaining) > 1 else remaining[0]
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()


ACCEPTED = (202, {}, b'{"ids":["1-1"]}')


class OnANode(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.node = Node()

    @classmethod
    def tearDownClass(cls):
        cls.node.kill()

    def setUp(self):
        self.pipeline = Pipeline(self.node)

    def proxy(self):
        proxy = Proxy(self.node)
        self.addCleanup(proxy.stop)
        return proxy

    def send(self, url=None, **options):
        return Send(url or self.node.public_url, pipeline=self.pipeline.id, **options)

    def test_events_arrive_in_order_as_they_were_and_nothing_before_the_flush(self):
        send = self.send()
        payload = {"name": "Luke", "friends": ["Han"]}
        send.sse("names", payload)
        payload["name"] = "Darth"
        for n in range(20):
            send.sse(channel="→ 🙂", payload={"n": n, "text": "\u2028\0</script>", "big": 12345678901234567890})
        self.assertEqual(send.unsent, 21)
        self.assertEqual(history(self.node, self.pipeline), [])
        sent = send.flush()
        self.assertEqual(send.unsent, 0)
        self.assertEqual(sent[0].payload, {"name": "Luke", "friends": ["Han"]})
        self.assertEqual(history(self.node, self.pipeline), as_json(sent))
        self.assertEqual([event.payload["n"] for event in sent[1:]], list(range(20)))

    def test_events_go_in_as_few_requests_as_the_limits_allow(self):
        proxy = self.proxy()
        send = self.send(proxy.url)
        for n in range(2001):
            send.sse("names", n)
        self.assertEqual([event.payload for event in send.flush()], list(range(2001)))
        # Each line has 256 KiB and a little, so that 15 of them fit into 4 MiB.
        for _ in range(16):
            send.sse("names", "x" * (256 * 1024 - 7))
        self.assertEqual(len(send.flush()), 16)
        self.assertEqual(sum(connection.request.count(b"POST /") for connection in proxy.connections), 5)

    def test_what_cannot_be_sent_raises_at_the_call(self):
        send = self.send()
        circular = []
        circular.append(circular)
        nested = 1
        for _ in range(129):
            nested = [nested]
        table = [
            (("names",), TypeError, "payload"),
            ((), TypeError, "channel"),
            ((7, 1), TypeError, "channel must be a string"),
            (("", 1), ValueError, "channel has 0 bytes"),
            (("a\nb", 1), ValueError, "line break"),
            *(((f"a{control}[2J", 1), ValueError, "control character U\\+00") for control in "\t\x1b\x7f\x80\x9b\x9f"),
            (("pipecast.gap", 1), ValueError, "pipecast."),
            (("error", 1), ValueError, "EventSource"),
            (("open", 1), ValueError, "EventSource"),
            (("c", {1, 2}), TypeError, "set"),
            (("c", circular), ValueError, "[Cc]ircular"),
            (("c", float("nan")), ValueError, "JSON"),
            (("c", nested), ValueError, "nested deeper"),
            (("c", "x" * 262144), ValueError, "262147 bytes"),
        ]
        for arguments, error, message in table:
            with self.subTest(message), self.assertRaisesRegex(error, message):
                send.sse(*arguments)
        self.assertEqual(send.unsent, 0)

    def test_an_answer_that_breaks_off_is_asked_for_again_and_nothing_doubles(self):
        proxy = self.proxy()
        proxy.cut_after("HTTP/1.1 202")
        publish = Publisher(proxy.url, pipeline=self.pipeline.id).publish
        first = publish("names", 1)
        self.assertEqual(len(proxy.connections), 2)
        self.assertEqual([event["id"] for event in history(self.node, self.pipeline)], [first])

    def test_of_several_nodes_one_has_to_be_there(self):
        Publisher([REFUSED, self.node.public_url], pipeline=self.pipeline.id).publish("names", 1)
        Publisher(f"{REFUSED}, {self.node.public_url}/", pipeline=self.pipeline.id).publish("names", None)
        self.assertEqual([event["payload"] for event in history(self.node, self.pipeline)], [1, None])

    def test_a_refusal_hands_the_events_back(self):
        strict = Node(limits__event="100B")
        self.addCleanup(strict.kill)
        send = self.send(strict.public_url)
        send.sse("names", "x" * 200)
        with self.assertRaises(PublishError) as caught:
            send.flush()
        error = caught.exception
        self.assertEqual((error.status, error.is_kept, error.is_uncertain), (413, False, False))
        self.assertEqual(error.events, [Event("names", "x" * 200)])
        self.assertEqual(send.unsent, 0)

    def test_a_node_that_dies_in_between_leaves_the_events_for_the_next_flush(self):
        proxy = self.proxy()
        proxy.refuse()
        send = self.send(proxy.url, retry_for=0.3)
        send.sse("names", 1)
        with self.assertRaises(PublishError) as caught:
            send.flush()
        self.assertTrue(caught.exception.is_kept)
        proxy.accept()
        send.sse("names", 2)
        self.assertEqual([event.payload for event in send.flush()], [1, 2])

    def test_the_end_of_the_process_sends_and_complains_about_what_it_cannot(self):
        ended = run(f"Send('{self.node.public_url}', pipeline='{self.pipeline.id}').sse('names', 1)")
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        self.assertEqual(len(history(self.node, self.pipeline)), 1)
        ended = run(f"Send('{REFUSED}', pipeline='p', retry_for=0.2).sse('names', 1)")
        self.assertRegex(ended.stderr, "^pipecast: 1 event for pipeline p not sent: .*cannot be reached")

    def test_threads_collect_at_the_same_time_and_lose_nothing(self):
        send = self.send()

        def collect():
            for n in range(500):
                send.sse("names", n)
                if n % 100 == 0:
                    send.flush()

        threads = [threading.Thread(target=collect) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        send.flush()
        self.assertEqual(send.unsent, 0)
        newest = history(self.node, self.pipeline)[-1]["id"]
        self.assertEqual(int(newest.split("-")[1]), 2000)


class Endless:
    """A web server whose answers go on, to so many bytes at most."""

    def __init__(self, status, piece, most, pause=0.0):
        self.sent = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(status)
                self.end_headers()
                try:
                    while outer.sent < most:
                        self.wfile.write(piece)
                        outer.sent += len(piece)
                        time.sleep(pause)
                except OSError:
                    # Whoever asked has left.
                    pass

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


class OnAnswers(unittest.TestCase):
    def publish(self, *answers, **options):
        self.answers = Answers(*answers)
        self.addCleanup(self.answers.stop)
        return Publisher(self.answers.url, pipeline="p", **options).publish("names", 1)

    def test_passing_failures_are_repeated_with_the_same_key(self):
        for status in (408, 429, 502, 503, 504):
            with self.subTest(status):
                self.assertEqual(self.publish((status, {}, b""), ACCEPTED), "1-1")
                self.assertEqual(len(self.answers.keys), 2)
                self.assertEqual(len(set(self.answers.keys)), 1)

    def test_refusals_are_errors_at_once(self):
        for status in (200, 301, 307, 400, 401, 403, 404, 413, 422, 500):
            with self.subTest(status), self.assertRaisesRegex(PublishError, f"^{status}: do something else$"):
                self.publish((status, {"Location": "/x"}, b'{"detail":"do something else"}'), ACCEPTED)
            self.assertEqual(len(self.answers.keys), 1)

    def test_only_ids_are_an_acknowledgement_and_a_redirect_is_named(self):
        page = b"<html>Back soon</html>"
        for answer, message in (
            ((200, {"Content-Type": "text/html"}, page), "^200: .* answered what no Pipecast node does"),
            ((302, {"Location": "https://me:hunter2@other.example/x?token=hunter2"}, b""), "^302: .* redirects to https://other.example,"),
            ((307, {"Location": "/elsewhere"}, page), "^307: .* redirects to http://127.0.0.1:[0-9]+, which is not followed"),
        ):
            with self.subTest(message), self.assertRaisesRegex(PublishError, message) as caught:
                self.publish(answer, ACCEPTED)
            self.assertNotIn("hunter2", str(caught.exception))
            self.assertEqual(len(self.answers.keys), 1)
        for body in (page, b"{}", b'{"ids":[]}', b'{"ids":["queued"]}', b'{"ids":["1-1","1-2"]}', b'{"ids":[11]}', b'{"id":"1-1"}'):
            with self.subTest(body):
                self.assertEqual(self.publish((202, {}, body), ACCEPTED), "1-1")
                self.assertEqual(len(set(self.answers.keys)), 1)

    def test_what_an_answer_says_does_nothing_to_a_terminal(self):
        hostile = "\x1b]0;title\x07\x9b2J\x7f\r\npipecast: all is well\u202e\u2066"
        body = json.dumps({"detail": hostile}).encode()
        with self.assertRaises(PublishError) as caught:
            self.publish((400, {}, body))
        self.assertEqual(caught.exception.detail, hostile)
        self.assertEqual(str(caught.exception), r"400: \u001b]0;title\u0007\u009b2J\u007f\u000d\u000apipecast: all is well\u202e\u2066")
        answers = Answers((400, {}, body))
        self.addCleanup(answers.stop)
        ended = run(f"Send('{answers.url}', pipeline='p').sse('names', 1)")
        self.assertRegex(ended.stderr, r"^pipecast: 1 event for pipeline p not sent: 400: \\u001b\]0;title[^\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]*\n$")
        self.assertEqual(ended.stderr.count("\n"), 1)

    def test_of_an_answer_without_an_end_a_beginning_is_read(self):
        most = 256 * 1024 * 1024
        for status in (202, 400, 503):
            endless = Endless(status, b"x" * 64 * 1024, most)
            self.addCleanup(endless.stop)
            message = "an acknowledgement that cannot be read$" if status == 202 else f"^{status}: "
            with self.subTest(status), self.assertRaisesRegex(PublishError, message):
                Publisher(endless.url, pipeline="p", retry_for=0.001).publish("names", 1)
            self.assertLess(endless.sent, most / 4)

    def test_an_answer_that_drips_is_too_late(self):
        most = 500
        endless = Endless(202, b"x", most, pause=0.02)
        self.addCleanup(endless.stop)
        with self.assertRaisesRegex(PublishError, "did not answer in time$") as caught:
            Publisher(endless.url, pipeline="p", timeout=0.5, retry_for=0.001).publish("names", 1)
        self.assertTrue(caught.exception.is_uncertain)
        self.assertLess(endless.sent, most)

    def test_whatever_an_answer_is_the_error_is_ours(self):
        for status in (202, 400):
            for headers, body in (({"Content-Encoding": "gzip"}, b"no gzip"), ({}, b"[" * 10_000), ({}, b"\xff\xfe"), ({"Location": "http://[x"}, b"")):
                with self.subTest((status, headers, body[:9])), self.assertRaises(PublishError):
                    self.publish((status, headers, body), retry_for=0.001)

    def test_a_page_in_a_nodes_place_costs_no_event(self):
        answers = Answers((200, {}, b"<html>"), ACCEPTED)
        self.addCleanup(answers.stop)
        send = Send(answers.url, pipeline="p")
        send.sse("names", 1)
        with self.assertRaises(PublishError) as caught:
            send.flush()
        self.assertTrue(caught.exception.is_kept)
        self.assertEqual([event.payload for event in send.flush()], [1])

    def test_a_retry_after_beyond_the_time_for_retries_is_an_error_at_once(self):
        with self.assertRaisesRegex(PublishError, "^429"):
            self.publish((429, {"Retry-After": "3600"}, b""), ACCEPTED)

    def test_the_token_goes_into_the_header_and_into_no_message(self):
        with self.assertRaises(PublishError) as caught:
            self.publish((401, {}, b""), token=SECRET)
        self.assertEqual(self.answers.tokens, [f"Bearer {SECRET}"])
        self.assertNotIn("hunter2", str(caught.exception) + repr(vars(caught.exception)))
        for url, token in ((f"{REFUSED}/?", None), (f"{REFUSED}/#", None), (f"{REFUSED}/?token={SECRET}", None), (REFUSED, f"{SECRET}\n"), (f"http://me:{SECRET}@x", None), ("nowhere", SECRET)):
            with self.assertRaises(ValueError) as refused:
                Send(url, pipeline="p", token=token)
            self.assertNotIn("hunter2", str(refused.exception))


class TwoNodes(unittest.TestCase):
    def test_a_node_killed_in_the_middle_of_a_flush_costs_nothing_and_doubles_nothing(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        socket = f"{folder.name}/redis.sock"
        redis = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", socket, "--dir", folder.name, "--save", ""],
            stdout=subprocess.DEVNULL,
        )
        self.addCleanup(redis.wait)
        self.addCleanup(redis.kill)
        until("redis-server listens", lambda: os.path.exists(socket))
        victim, survivor = (Node(redis__url=f"redis+unix://{socket}") for _ in range(2))
        self.addCleanup(survivor.kill)
        pipeline = Pipeline(survivor)
        total = 20_000
        send = Send([victim.public_url, survivor.public_url], pipeline=pipeline.id)
        for n in range(total):
            send.sse("names", n)
        sent = []
        flushing = threading.Thread(target=lambda: sent.extend(send.flush()))
        flushing.start()
        until("the flush is under way", lambda: len(history(survivor, pipeline)) > 0)
        victim.kill()
        self.assertTrue(flushing.is_alive(), "the node was killed before the end")
        flushing.join()
        self.assertEqual([event.payload for event in sent], list(range(total)))
        # A counter without holes: each event was stored once, and nothing else.
        seqs = [int(event.id.split("-")[1]) for event in sent]
        self.assertEqual(seqs, list(range(seqs[0], seqs[0] + total)))
        self.assertEqual(history(survivor, pipeline), as_json(sent[-100:]))


if __name__ == "__main__":
    # Whichever way this process is ended, it takes its nodes along.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    outcome = unittest.main(verbosity=2, exit=False, warnings="ignore").result
    is_complete = outcome.testsRun > 0 and not outcome.skipped
    sys.exit(0 if outcome.wasSuccessful() and is_complete else 1)
