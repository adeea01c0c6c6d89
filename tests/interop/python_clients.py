"""PyPI httpx-sse and sseclient-py: both read one stream; reconnecting is a loop around them."""

import json
import pathlib
import signal
import sys
import threading
import unittest

import httpx
import requests
from httpx_sse import connect_sse
from sseclient import SSEClient

from broker import DEADLINE_SECONDS, Node, Pipeline, Proxy, until

PAYLOADS = json.loads((pathlib.Path(__file__).parent / "harness" / "payloads.json").read_text("utf-8"))
LARGE = {"lines": [f"{line} {'lorem ipsum dolor ' * 5}äöü→管🙂" for line in range(1000)]}


class Inbox:
    """What a client under test handed to its application: `messages` of (id, channel, data)."""

    def __init__(self):
        self.messages = []
        self.is_closed = threading.Event()

    def add(self, event_id, channel, data):
        self.messages.append((event_id, channel, data))

    @property
    def without_positions(self):
        """All messages but positions."""
        return [message for message in self.messages if message[1] != "pipecast.position"]

    @property
    def events(self):
        """Those of them that have data."""
        return [message for message in self.without_positions if message[2]]

    def holds(self, count):
        until(f"{count} events are here", lambda: len(self.events) >= count, lambda: f"these are: {self.events}"[:2000])

    def numbers(self):
        return [json.loads(data)["n"] for _, _, data in self.events]


def follow_with_httpx_sse(url, inbox):
    """The loop of httpx-sse's README, "Handling reconnections"."""
    last_event_id = ""
    retry_seconds = 0
    # httpx gives up after 5 s without a byte unless told otherwise, and keepalives come each 15 s.
    timeout = httpx.Timeout(5, read=45)
    while not inbox.is_closed.is_set():
        headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
        try:
            with httpx.Client(timeout=timeout) as client, connect_sse(client, "GET", url, headers=headers) as source:
                for event in source.iter_sse():
                    last_event_id = event.id
                    if event.retry is not None:
                        retry_seconds = event.retry / 1000
                    inbox.add(event.id, event.event, event.data)
        except httpx.TransportError:
            pass
        inbox.is_closed.wait(retry_seconds)


def follow_with_sseclient(url, inbox):
    """sseclient-py on top of requests."""
    last_event_id = None
    retry_seconds = 0
    while not inbox.is_closed.is_set():
        headers = {"Accept": "text/event-stream"}
        if last_event_id:
            headers["Last-Event-ID"] = last_event_id
        try:
            with requests.get(url, headers=headers, stream=True, timeout=(5, 45)) as answer:
                for event in SSEClient(answer).events():
                    last_event_id = event.id
                    if event.retry is not None:
                        retry_seconds = int(event.retry) / 1000
                    inbox.add(event.id, event.event, event.data)
        except requests.RequestException:
            pass
        inbox.is_closed.wait(retry_seconds)


class Contract:
    """What every client must get from a node, whoever wrote it. A subclass says who reads."""

    # Whether each blank line after an id is a message to it, data or not.
    counts_blank_lines = False

    @classmethod
    def setUpClass(cls):
        cls.node = Node(stream__keepalive="1s")
        cls.addClassCleanup(cls.node.kill)
        cls.ending_node = Node(stream__max_age="1s")
        cls.addClassCleanup(cls.ending_node.kill)

    def setUp(self):
        self.inbox = Inbox()
        self.use(self.node)

    def use(self, node):
        self.pipeline = Pipeline(node)
        self.proxy = Proxy(node)
        self.addCleanup(self.proxy.stop)

    def open(self, query=""):
        url = self.pipeline.stream_url(self.proxy.url, query)
        reader = threading.Thread(target=type(self).follow, args=(url, self.inbox), daemon=True)
        reader.start()
        self.addCleanup(self.end, reader)

    def answer(self, connection):
        """What the proxy carried to the client on its first, second, ... connection so far."""
        return self.proxy.connections[connection].answer if connection < len(self.proxy.connections) else b""

    def end(self, reader):
        self.inbox.is_closed.set()
        self.proxy.refuse()
        self.proxy.cut()
        reader.join(DEADLINE_SECONDS)
        self.assertFalse(reader.is_alive(), "the client does not end")

    def test_earlier_events_come_first_then_the_live_ones_in_order_and_once(self):
        ids = self.pipeline.publish_numbers("names", 0, 20)
        self.open()
        ids += self.pipeline.publish_numbers("names", 20, 40)
        self.inbox.holds(40)
        ids += self.pipeline.publish_numbers("names", 40, 60)
        self.inbox.holds(60)
        self.assertEqual(self.inbox.numbers(), list(range(60)))
        self.assertEqual([event_id for event_id, _, _ in self.inbox.events], ids)

    def test_events_arrive_under_their_channel(self):
        channels = ["cron_test", "order:paid", "prices.eur/usd", "message", "größe ☃"]
        self.pipeline.publish("first", 1)
        self.open()
        for channel in channels:
            self.pipeline.publish(channel, {"from": channel})
        self.inbox.holds(1 + len(channels))
        self.assertEqual([channel for _, channel, _ in self.inbox.events], ["first", *channels])

    def test_connections_that_are_cut_lose_nothing_and_double_nothing(self):
        self.pipeline.publish_numbers("names", 0, 10)
        self.open()
        self.inbox.holds(10)

        # In the middle of an event, with more of them published while the client is away.
        self.proxy.cut_after('{"n":23,')
        self.pipeline.publish_numbers("names", 10, 35)
        self.inbox.holds(35)

        self.proxy.cut()
        self.pipeline.publish_numbers("names", 35, 50)
        self.inbox.holds(50)
        self.pipeline.publish_numbers("names", 50, 60)
        self.inbox.holds(60)

        self.assertEqual(self.inbox.numbers(), list(range(60)))
        self.assertEqual(len(self.proxy.connections), 3)
        for reconnect in self.proxy.connections[1:]:
            self.assertRegex(reconnect.request.decode(), r"(?im)^last-event-id: \d+-\d+\r$")

    def test_a_stream_that_the_node_ends_is_continued(self):
        self.use(self.ending_node)
        self.pipeline.publish_numbers("names", 0, 5)
        self.open()
        self.inbox.holds(5)
        until("the node ended the stream", lambda: self.proxy.connections[0].has_ended)
        self.pipeline.publish_numbers("names", 5, 10)
        self.inbox.holds(10)
        self.pipeline.publish_numbers("names", 10, 15)
        self.inbox.holds(15)
        self.assertEqual(self.inbox.numbers(), list(range(15)))

    def test_an_event_of_100_kb_arrives_whole_replayed_and_live(self):
        self.pipeline.publish("names", LARGE)
        self.open()
        self.inbox.holds(1)
        self.pipeline.publish("names", LARGE)
        self.inbox.holds(2)
        self.assertEqual([json.loads(data) for _, _, data in self.inbox.events], [LARGE, LARGE])

    def test_texts_of_every_kind_arrive_as_they_were_sent(self):
        texts = PAYLOADS["texts"]
        for name, text in texts.items():
            self.pipeline.publish("names", {"name": name, "text": text})
        self.open()
        self.inbox.holds(len(texts))
        for text in texts.values():
            self.pipeline.publish("names", text)
        self.inbox.holds(2 * len(texts))
        self.assertEqual(
            [json.loads(data) for _, _, data in self.inbox.events],
            [{"name": name, "text": text} for name, text in texts.items()] + list(texts.values()),
        )

    def test_numbers_keep_every_digit(self):
        numbers = PAYLOADS["numbers"]
        self.open()
        for number in numbers:
            self.pipeline.publish_text("names", number)
        self.inbox.holds(len(numbers))
        self.assertEqual([data for _, _, data in self.inbox.events], numbers)

    def test_there_are_no_messages_but_events_and_what_the_client_makes_of_blank_lines(self):
        self.pipeline.publish_numbers("names", 0, 2)
        self.open("?replay=0")
        until("two keepalives", lambda: self.answer(0).count(b":keepalive\n\n") >= 2)
        self.pipeline.publish_numbers("names", 2, 4)
        self.inbox.holds(2)
        self.assertEqual(self.inbox.numbers(), [2, 3])
        # One for each keepalive before the events.
        before_events = self.answer(0).partition(b"event: names")[0]
        blank_lines = before_events.count(b":keepalive\n\n")
        empty = [bool(data) for _, _, data in self.inbox.without_positions].index(True)
        self.assertEqual(empty, blank_lines if self.counts_blank_lines else 0)

    def test_a_live_only_stream_that_is_cut_before_its_first_event_resumes_where_it_began(self):
        self.pipeline.publish_numbers("names", 0, 3)
        self.open("?replay=0")
        until("the position is sent", lambda: b"data: {}\n\n" in self.answer(0))
        self.proxy.refuse()
        self.proxy.cut()
        self.pipeline.publish_numbers("names", 3, 6)
        self.proxy.accept()
        until("the client is back", lambda: b"retry: " in self.answer(1))
        self.pipeline.publish_numbers("names", 6, 8)
        expected = list(range(3, 8))
        self.inbox.holds(len(expected))
        self.assertEqual(self.inbox.numbers(), expected)


class HttpxSse(Contract, unittest.TestCase):
    follow = staticmethod(follow_with_httpx_sse)
    counts_blank_lines = True


class SseclientPy(Contract, unittest.TestCase):
    follow = staticmethod(follow_with_sseclient)


class Compressed(unittest.TestCase):
    """Both ask for gzip by themselves, and get it where the node gives it."""

    @classmethod
    def setUpClass(cls):
        cls.node = Node(stream__compression="true", stream__max_age="2s")
        cls.addClassCleanup(cls.node.kill)

    def check_each_event_arrives_before_the_next(self, follow):
        pipeline, inbox, proxy = Pipeline(self.node), Inbox(), Proxy(self.node)
        self.addCleanup(proxy.stop)
        pipeline.publish_numbers("names", 0, 5)
        reader = threading.Thread(target=follow, args=(pipeline.stream_url(proxy.url), inbox), daemon=True)
        reader.start()
        for n in range(5, 25):
            pipeline.publish_numbers("names", n, n + 1)
            inbox.holds(n + 1)
        # Over the end of a stream too.
        until("the client has come again", lambda: len(proxy.connections) >= 2)
        pipeline.publish("names", LARGE | {"n": 25})
        inbox.holds(26)
        self.assertEqual(inbox.numbers(), list(range(26)))
        self.assertRegex(proxy.connections[0].answer, rb"(?i)\r\ncontent-encoding: gzip\r\n")
        inbox.is_closed.set()
        proxy.refuse()
        proxy.cut()
        reader.join(DEADLINE_SECONDS)
        self.assertFalse(reader.is_alive(), "the client does not end")

    def test_httpx_sse(self):
        self.check_each_event_arrives_before_the_next(follow_with_httpx_sse)

    def test_sseclient_py(self):
        self.check_each_event_arrives_before_the_next(follow_with_sseclient)


if __name__ == "__main__":
    # Whichever way this process is ended, it takes its nodes along.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    outcome = unittest.main(verbosity=2, exit=False).result
    is_complete = outcome.testsRun > 0 and not outcome.skipped
    sys.exit(0 if outcome.wasSuccessful() and is_complete else 1)
