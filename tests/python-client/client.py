"""The Python package: what it collects, and what it does when nodes crash, answer late or reject."""

import json
import signal
import subprocess
import sys
import threading
import unittest

from pipecast import Event, Publisher, PublishError, Send
from pipeline import Pipeline
from proxy import Proxy
from support.deadline import until
from support.environment import without_settings
from support.node import Node
from support.redis_server import RedisServer
from web_server import Answers, Endless

# Nothing listens there.
REFUSED = "http://127.0.0.1:1025"
SECRET = "hunter2-hunter2-hunter2"


def as_json(sent):
    return [{"id": event.id, "channel": event.channel, "payload": event.payload} for event in sent]


def run(source):
    """Runs a program that imports the package, to its end."""
    program = f"from pipecast import *\n{source}"
    return subprocess.run([sys.executable, "-c", program], env=without_settings(), capture_output=True, text=True, timeout=30)


ACCEPTED = (202, {}, b'{"ids":["1-1"]}')


class OnNode(unittest.TestCase):
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

    def test_events_arrive_in_order_and_only_after_the_flush(self):
        send = self.send()
        payload = {"name": "Luke", "friends": ["Han"]}
        send.sse("names", payload)
        payload["name"] = "Darth"
        for n in range(20):
            send.sse(channel="→ 🙂", payload={"n": n, "text": "\u2028\0</script>", "big": 12345678901234567890})
        self.assertEqual(send.unsent, 21)
        self.assertEqual(self.pipeline.history(), [])
        sent = send.flush()
        self.assertEqual(send.unsent, 0)
        self.assertEqual(sent[0].payload, {"name": "Luke", "friends": ["Han"]})
        self.assertEqual(self.pipeline.history(), as_json(sent))
        self.assertEqual([event.payload["n"] for event in sent[1:]], list(range(20)))

    def test_events_go_out_in_as_few_requests_as_the_limits_allow(self):
        proxy = self.proxy()
        send = self.send(proxy.url)
        for n in range(2001):
            send.sse("names", n)
        self.assertEqual([event.payload for event in send.flush()], list(range(2001)))
        # Each event has a little more than 256 KiB, so that 15 of them fit into 4 MiB.
        for _ in range(16):
            send.sse("names", "x" * (256 * 1024 - 7))
        self.assertEqual(len(send.flush()), 16)
        self.assertEqual(sum(connection.request.count(b"POST /") for connection in proxy.connections), 5)

    def test_invalid_events_raise_at_the_call(self):
        send = self.send()
        circular = []
        circular.append(circular)
        nested = 1
        for _ in range(129):
            nested = [nested]
        table = [
            (("names",), TypeError, "payload"),
            ((), TypeError, "channel"),
            ((7, 1), TypeError, "channel"),
            (("", 1), ValueError, "channel is empty"),
            (("é" * 128, 1), ValueError, "channel.* 255"),
            (("a\nb", 1), ValueError, "channel"),
            *(((f"a{control}[2J", 1), ValueError, "channel.*U\\+00") for control in "\t\x1b\x7f\x80\x9b\x9f"),
            (("pipecast.gap", 1), ValueError, "pipecast."),
            (("error", 1), ValueError, "EventSource"),
            (("open", 1), ValueError, "EventSource"),
            (("c", {1, 2}), TypeError, "set"),
            (("c", circular), ValueError, "[Cc]ircular"),
            (("c", float("nan")), ValueError, "JSON"),
            (("c", nested), ValueError, "128"),
            (("c", "x" * 262144), ValueError, "262147"),
        ]
        for arguments, error, named in table:
            with self.subTest(named), self.assertRaisesRegex(error, named):
                send.sse(*arguments)
        self.assertEqual(send.unsent, 0)

    def test_cut_answer_is_retried_without_a_duplicate(self):
        proxy = self.proxy()
        proxy.cut_after("HTTP/1.1 202")
        publish = Publisher(proxy.url, pipeline=self.pipeline.id).publish
        first = publish("names", 1)
        self.assertEqual(len(proxy.connections), 2)
        self.assertEqual([event["id"] for event in self.pipeline.history()], [first])

    def test_one_reachable_node_of_several_is_enough(self):
        Publisher([REFUSED, self.node.public_url], pipeline=self.pipeline.id).publish("names", 1)
        Publisher(f"{REFUSED}, {self.node.public_url}/", pipeline=self.pipeline.id).publish("names", None)
        self.assertEqual([event["payload"] for event in self.pipeline.history()], [1, None])

    def test_rejection_hands_the_events_back(self):
        strict = Node(limits__max_event_size="100B")
        self.addCleanup(strict.kill)
        send = self.send(strict.public_url)
        send.sse("names", "x" * 200)
        with self.assertRaises(PublishError) as caught:
            send.flush()
        error = caught.exception
        self.assertEqual((error.status, error.is_kept, error.is_uncertain), (413, False, False))
        self.assertEqual(error.events, [Event("names", "x" * 200)])
        self.assertEqual(send.unsent, 0)

    def test_failed_flush_keeps_events_for_the_next_one(self):
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

    def test_process_end_sends_events_or_reports_them(self):
        ended = run(f"Send('{self.node.public_url}', pipeline='{self.pipeline.id}').sse('names', 1)")
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        self.assertEqual(len(self.pipeline.history()), 1)
        ended = run(f"Send('{REFUSED}', pipeline='p', retry_for=0.2).sse('names', 1)")
        self.assertRegex(ended.stderr, r"\b1\b.*\bp\b.*127\.0\.0\.1:1025")

    def test_threads_collect_concurrently_without_loss(self):
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
        newest = self.pipeline.history()[-1]["id"]
        self.assertEqual(int(newest.split("-")[1]), 2000)


class OnAnswers(unittest.TestCase):
    def publish(self, *answers, **options):
        self.answers = Answers(*answers)
        self.addCleanup(self.answers.stop)
        return Publisher(self.answers.url, pipeline="p", **options).publish("names", 1)

    def test_temporary_failures_are_retried_with_the_same_key(self):
        for status in (408, 429, 502, 503, 504):
            with self.subTest(status):
                self.assertEqual(self.publish((status, {}, b""), ACCEPTED), "1-1")
                self.assertEqual(len(self.answers.keys), 2)
                self.assertEqual(len(set(self.answers.keys)), 1)

    def test_rejections_are_errors_at_once(self):
        for status in (200, 301, 307, 400, 401, 403, 404, 413, 422, 500):
            with self.subTest(status), self.assertRaises(PublishError) as caught:
                self.publish((status, {"Location": "/x"}, b'{"detail":"do something else"}'), ACCEPTED)
            self.assertEqual((caught.exception.status, caught.exception.detail), (status, "do something else"))
            self.assertEqual(len(self.answers.keys), 1)

    def test_only_ids_are_an_acknowledgement_and_redirects_are_named(self):
        page = b"<html>Back soon</html>"
        for answer, named in (
            ((200, {"Content-Type": "text/html"}, page), "200"),
            ((302, {"Location": "https://me:hunter2@other.example/x?token=hunter2"}, b""), "https://other.example"),
            ((307, {"Location": "/elsewhere"}, page), "http://127.0.0.1:[0-9]+"),
        ):
            with self.subTest(named), self.assertRaisesRegex(PublishError, named) as caught:
                self.publish(answer, ACCEPTED)
            self.assertEqual(caught.exception.status, answer[0])
            self.assertNotIn("hunter2", str(caught.exception))
            self.assertEqual(len(self.answers.keys), 1)
        for body in (page, b"{}", b'{"ids":[]}', b'{"ids":["queued"]}', b'{"ids":["1-1","1-2"]}', b'{"ids":[11]}', b'{"id":"1-1"}'):
            with self.subTest(body):
                self.assertEqual(self.publish((202, {}, body), ACCEPTED), "1-1")
                self.assertEqual(len(set(self.answers.keys)), 1)

    def test_text_from_an_answer_is_inert_in_a_terminal(self):
        hostile = "\x1b]0;title\x07\x9b2J\x7f\r\npipecast: all is well\u202e\u2066"
        body = json.dumps({"detail": hostile}).encode()
        with self.assertRaises(PublishError) as caught:
            self.publish((400, {}, body))
        self.assertEqual(caught.exception.detail, hostile)
        self.assertTrue(str(caught.exception).endswith(r"\u001b]0;title\u0007\u009b2J\u007f\u000d\u000apipecast: all is well\u202e\u2066"), caught.exception)
        answers = Answers((400, {}, body))
        self.addCleanup(answers.stop)
        ended = run(f"Send('{answers.url}', pipeline='p').sse('names', 1)")
        self.assertRegex(ended.stderr, r"^[^\x00-\x1f]*\b400\b.*\\u001b\]0;title[^\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]*\n$")
        self.assertEqual(ended.stderr.count("\n"), 1)

    def test_only_the_beginning_of_an_endless_answer_is_read(self):
        most = 256 * 1024 * 1024
        for status in (202, 400, 503):
            endless = Endless(status, b"x" * 64 * 1024, most)
            self.addCleanup(endless.stop)
            with self.subTest(status), self.assertRaises(PublishError) as caught:
                Publisher(endless.url, pipeline="p", retry_for=0.001).publish("names", 1)
            self.assertEqual(caught.exception.is_uncertain, status != 400)
            self.assertLess(endless.sent, most / 4)

    def test_dripping_answer_times_out(self):
        most = 500
        # A slow answer: it would need ten seconds in all, and the timeout is half a second.
        endless = Endless(202, b"x", most, pause=0.02)
        self.addCleanup(endless.stop)
        with self.assertRaises(PublishError) as caught:
            Publisher(endless.url, pipeline="p", timeout=0.5, retry_for=0.001).publish("names", 1)
        self.assertTrue(caught.exception.is_uncertain)
        self.assertLess(endless.sent, most)

    def test_every_broken_answer_raises_publish_error(self):
        for status in (202, 400):
            for headers, body in (({"Content-Encoding": "gzip"}, b"no gzip"), ({}, b"[" * 10_000), ({}, b"\xff\xfe"), ({"Location": "http://[x"}, b"")):
                with self.subTest((status, headers, body[:9])), self.assertRaises(PublishError):
                    self.publish((status, headers, body), retry_for=0.001)

    def test_web_page_in_place_of_a_node_costs_no_event(self):
        answers = Answers((200, {}, b"<html>"), ACCEPTED)
        self.addCleanup(answers.stop)
        send = Send(answers.url, pipeline="p")
        send.sse("names", 1)
        with self.assertRaises(PublishError) as caught:
            send.flush()
        self.assertTrue(caught.exception.is_kept)
        self.assertEqual([event.payload for event in send.flush()], [1])

    def test_retry_after_beyond_the_retry_time_is_an_error_at_once(self):
        with self.assertRaises(PublishError) as caught:
            self.publish((429, {"Retry-After": "3600"}, b""), ACCEPTED)
        self.assertEqual(caught.exception.status, 429)

    def test_token_goes_into_the_header_and_no_message(self):
        with self.assertRaises(PublishError) as caught:
            self.publish((401, {}, b""), token=SECRET)
        self.assertEqual(self.answers.tokens, [f"Bearer {SECRET}"])
        self.assertNotIn("hunter2", str(caught.exception) + repr(vars(caught.exception)))
        for url, token in ((f"{REFUSED}/?", None), (f"{REFUSED}/#", None), (f"{REFUSED}/?token={SECRET}", None), (REFUSED, f"{SECRET}\n"), (f"http://me:{SECRET}@x", None), ("nowhere", SECRET)):
            with self.assertRaises(ValueError) as refused:
                Send(url, pipeline="p", token=token)
            self.assertNotIn("hunter2", str(refused.exception))


class TwoNodes(unittest.TestCase):
    def test_node_killed_during_a_flush_loses_and_duplicates_nothing(self):
        redis = RedisServer()
        self.addCleanup(redis.kill)
        victim, survivor = (Node(redis__url=redis.url) for _ in range(2))
        self.addCleanup(survivor.kill)
        pipeline = Pipeline(survivor)
        total = 20_000
        send = Send([victim.public_url, survivor.public_url], pipeline=pipeline.id)
        for n in range(total):
            send.sse("names", n)
        sent = []
        flushing = threading.Thread(target=lambda: sent.extend(send.flush()))
        flushing.start()
        until("the flush is under way", lambda: len(pipeline.history()) > 0)
        victim.kill()
        self.assertTrue(flushing.is_alive(), "the node must be killed before the end")
        flushing.join()
        self.assertEqual([event.payload for event in sent], list(range(total)))
        # Without a gap in the numbers: each event was stored once, and nothing else.
        seqs = [int(event.id.split("-")[1]) for event in sent]
        self.assertEqual(seqs, list(range(seqs[0], seqs[0] + total)))
        self.assertEqual(pipeline.history(), as_json(sent[-100:]))


if __name__ == "__main__":
    # However this process is ended, its nodes end with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    outcome = unittest.main(verbosity=2, exit=False, warnings="ignore").result
    is_complete = outcome.testsRun > 0 and not outcome.skipped
    sys.exit(0 if outcome.wasSuccessful() and is_complete else 1)
