"""Send events to Pipecast, a broker for Server-Sent Events.

`Send` collects events and sends them together, in as few requests as the node's limits allow; `Publisher` sends them one by one
and waits. Both repeat what was not acknowledged with the same Idempotency-Key, so that nothing is sent twice. Both may be used by
several threads.
"""

from __future__ import annotations

import atexit
import email.utils
import json
import os
import random
import re
import sys
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

__all__ = ["Event", "PublishError", "Publisher", "Send", "SentEvent"]
__version__ = "0.1.0"

DEFAULT_URL = "http://127.0.0.1:8080"

# The node's limits, by its defaults.
_EVENT_BYTES = 256 * 1024
_CHANNEL_BYTES = 255
_DEPTH = 128
_REQUEST_EVENTS = 1000
_REQUEST_BYTES = 4 * 1024 * 1024

# As much is read of an answer: a refusal, or an acknowledgement with so much for each id.
_ANSWER_BYTES = 16 * 1024
_ID_BYTES = 64

# How long nodes know an Idempotency-Key.
_KEY_LIFE = 600.0

# Waiting times double from the first to the last, each drawn from its upper half, so that publishers do not come in step.
_FIRST_DELAY = 0.2
_LAST_DELAY = 5.0


@dataclass(frozen=True)
class Event:
    """What a publisher sends."""

    channel: str
    payload: Any


@dataclass(frozen=True)
class SentEvent(Event):
    """An event that the store has; its id is a resume point for streams."""

    id: str


class PublishError(Exception):
    """Why events were not acknowledged."""

    def __init__(self, message: str, *, status: int | None = None, detail: str | None = None, is_uncertain: bool = False):
        # It is printed, and what is in it of an answer or a certificate is a stranger's.
        super().__init__(_visible(message))
        #: The node's status; None when there was no answer.
        self.status = status
        #: The node's explanation, which says what to do.
        self.detail = detail
        #: Whether the store may have the events nevertheless.
        self.is_uncertain = is_uncertain
        #: The events of the request that failed.
        self.events: list[Event] = []
        #: Whether these are still collected: the next `flush` sends them, with the same key, so never twice.
        self.is_kept = False
        #: What the same `flush` had sent before.
        self.sent: list[SentEvent] = []


class Send:
    """Collects events with `sse` and sends them with `flush`; at the end of the process by itself, or as a context manager.

    `url` is a node or a load balancer; several are tried in turn. By default it is PIPECAST_URL, or http://127.0.0.1:8080, and
    `token` is PIPECAST_TOKEN. `timeout` is how long one try waits, `retry_for` how long one request is tried again, in seconds.
    """

    def __init__(
        self,
        url: str | Sequence[str] | None = None,
        *,
        pipeline: str,
        token: str | None = None,
        timeout: float = 10.0,
        retry_for: float = 60.0,
    ) -> None:
        self._broker = _Broker(url, pipeline, token, timeout, retry_for)
        self._lines: list[_Line] = []
        # The request that failed last. Its events and its key stay together: who knows whether the store has it.
        self._begun: _Request | None = None
        self._flushing = threading.Lock()

    def sse(self, channel: str, payload: Any) -> None:
        """Collects an event, its payload as it is now. Raises TypeError or ValueError for what cannot be sent as it is."""
        line = _Line(channel, payload)
        with _collecting:
            self._lines.append(line)
            _unsent.add(self)

    @property
    def unsent(self) -> int:
        """How many events are collected and not acknowledged."""
        begun = self._begun
        return len(self._lines) + (len(begun.lines) if begun else 0)

    def flush(self) -> list[SentEvent]:
        """Sends what is collected, in order, and gives it with its ids.

        Raises PublishError. After a refusal the refused events are in the error and no longer here; after anything else they
        stay, and the next flush begins with them. Events behind them stay in both cases.
        """
        sent: list[SentEvent] = []
        with self._flushing:
            try:
                while request := self._next_request():
                    sent += self._deliver(request)
            except PublishError as error:
                error.sent = sent
                raise
        return sent

    def __enter__(self) -> Send:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()

    def _next_request(self) -> _Request | None:
        with _collecting:
            if not self._begun and self._lines:
                count = _fitting(self._lines)
                self._begun = _Request(self._lines[:count])
                del self._lines[:count]
            if not self._begun:
                _unsent.discard(self)
            return self._begun

    def _deliver(self, request: _Request) -> list[SentEvent]:
        events = [line.event() for line in request.lines]
        try:
            ids = request.post(self._broker)
        except PublishError as error:
            error.events = events
            if not error.is_kept:
                self._begun = None
            raise
        self._begun = None
        return [SentEvent(event.channel, event.payload, id) for event, id in zip(events, ids)]


class Publisher:
    """Publishes one event after the other, each in a request of its own. Takes what `Send` takes."""

    def __init__(
        self,
        url: str | Sequence[str] | None = None,
        *,
        pipeline: str,
        token: str | None = None,
        timeout: float = 10.0,
        retry_for: float = 60.0,
    ) -> None:
        self._broker = _Broker(url, pipeline, token, timeout, retry_for)

    def publish(self, channel: str, payload: Any) -> str:
        """Gives the event's id once the store has it. Raises PublishError, and what `Send.sse` raises."""
        line = _Line(channel, payload)
        try:
            return self._broker.post(line.text, str(uuid.uuid4()), 1)[0]
        except PublishError as error:
            error.events = [line.event()]
            raise


class _Line:
    """An event as a line of NDJSON, checked when it is handed over: one that is refused takes its whole request along."""

    def __init__(self, channel: str, payload: Any) -> None:
        _check_channel(channel)
        try:
            # NaN is not JSON, and half a character is not UTF-8.
            json_text = json.dumps(payload, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
        except RecursionError:
            raise ValueError(f"payload is nested deeper than {_DEPTH} levels") from None
        except TypeError as error:
            raise TypeError(f"payload cannot be sent as JSON: {error}") from None
        except ValueError as error:
            raise ValueError(f"payload cannot be sent as JSON: {error}") from None
        _check_depth(json_text)
        size = len(channel.encode()) + len(json_text)
        if size > _EVENT_BYTES:
            raise ValueError(f"the event has {size} bytes, more than {_EVENT_BYTES}; send a reference to the data instead")
        self.text = b'{"channel":%s,"payload":%s}\n' % (json.dumps(channel).encode(), json_text)

    def event(self) -> Event:
        return Event(**json.loads(self.text))


def _check_channel(channel: str) -> None:
    if not isinstance(channel, str):
        raise TypeError(f"channel must be a string, not {type(channel).__name__}")
    try:
        size = len(channel.encode())
    except UnicodeEncodeError:
        raise ValueError("channel contains half a character") from None
    if not 1 <= size <= _CHANNEL_BYTES:
        raise ValueError(f"channel has {size} bytes; give it a name of 1-{_CHANNEL_BYTES}")
    if re.search("[\r\n\0]", channel):
        raise ValueError("channel contains a line break or NUL, which no event name can carry")
    if control := re.search("[\x00-\x1f\x7f-\x9f]", channel):
        raise ValueError(f"channel contains the control character U+{ord(control[0]):04X}, which a terminal would obey; leave it out")
    if channel.startswith("pipecast."):
        raise ValueError('channel begins with "pipecast.", which is kept for the broker\'s own events')
    if channel in ("error", "open"):
        raise ValueError(f'channel is "{channel}", which EventSource uses for an event of its own; choose another name')


def _check_depth(json_text: bytes) -> None:
    if json_text.count(b"[") + json_text.count(b"{") <= _DEPTH:
        return
    depth = 0
    for token in re.finditer(rb'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', json_text):
        first = token.group()[:1]
        depth += (first in b"[{") - (first in b"]}")
        if depth > _DEPTH:
            raise ValueError(f"payload is nested deeper than {_DEPTH} levels; flatten it or send it as a string")


def _fitting(lines: list[_Line]) -> int:
    """How many lines, from the first on, fit into one request; an event always does."""
    size = 0
    for count, line in enumerate(lines[:_REQUEST_EVENTS]):
        size += len(line.text)
        if size > _REQUEST_BYTES:
            return count
    return min(len(lines), _REQUEST_EVENTS)


class _Request:
    """Lines that are sent together, and the key by which nodes know them."""

    def __init__(self, lines: list[_Line]) -> None:
        self.lines = lines
        self._body = b"".join(line.text for line in lines)
        self._key = str(uuid.uuid4())
        self._began: float | None = None
        self._is_uncertain = False

    def post(self, broker: _Broker) -> list[str]:
        self._began = self._began or time.time()
        if time.time() - self._began > broker.safe_to_repeat:
            message = f"{_count(len(self.lines))} may or may not have been stored some minutes ago; sending again could double"
            raise PublishError(message, is_uncertain=True)
        try:
            return broker.post(self._body, self._key, len(self.lines))
        except PublishError as error:
            error.is_kept = error.status is None or not _is_refusal(error.status)
            error.is_uncertain = self._is_uncertain = self._is_uncertain or error.is_uncertain
            if not self._is_uncertain:
                # What has certainly reached nobody may be sent at any time.
                self._began = None
            raise


class _Broker:
    """Where requests go: one node or several, tried until one acknowledges, each time with the same Idempotency-Key."""

    def __init__(
        self, url: str | Sequence[str] | None, pipeline: str, token: str | None, timeout: float, retry_for: float
    ) -> None:
        if not re.fullmatch(r"[A-Za-z0-9._~-]{1,128}", pipeline) or pipeline in (".", ".."):
            raise ValueError(f"the pipeline {pipeline!r} is none: 1-128 characters of A-Z a-z 0-9 . _ ~ -")
        if not (0 < timeout <= 60 and 0 < retry_for <= 400):
            raise ValueError("timeout must be 0-60 seconds, retry_for 0-400")
        self.pipeline = pipeline
        # How long after its first try a request may be sent again without the danger of a double.
        self.safe_to_repeat = _KEY_LIFE - retry_for - timeout
        self._retry_for = retry_for
        url = url or os.environ.get("PIPECAST_URL") or DEFAULT_URL
        texts = url.split(",") if isinstance(url, str) else url
        self._urls = [_events_url(text.strip(), pipeline) for text in texts]
        self._current = 0
        headers = {"Content-Type": "application/x-ndjson", "User-Agent": f"pipecast-python/{__version__}"}
        if token := token or os.environ.get("PIPECAST_TOKEN"):
            headers["Authorization"] = f"Bearer {_checked_token(token)}"
        # As it is: what is unpacked could be any size.
        headers["Accept-Encoding"] = "identity"
        self._timeout = timeout
        self._client = httpx.Client(headers=headers, timeout=timeout)

    def post(self, body: bytes, key: str, count: int) -> list[str]:
        """Sends so many lines of NDJSON until they are acknowledged, and gives their ids. Raises PublishError."""
        end = time.monotonic() + self._retry_for
        step = _FIRST_DELAY
        asked = 0.0
        tries = 0
        is_uncertain = False
        while True:
            tries += 1
            answer = self._try(self._urls[self._current], body, key, count)
            if isinstance(answer, list):
                return answer
            # What an earlier try left open, a later refusal does not close.
            answer.error.is_uncertain = is_uncertain = is_uncertain or answer.error.is_uncertain
            if not answer.is_passing:
                raise answer.error
            self._current = (self._current + 1) % len(self._urls)
            asked = max(asked, answer.retry_after)
            # Other nodes are asked at once; all of them again only after a while.
            if tries % len(self._urls):
                continue
            delay = asked + step * random.uniform(0.5, 1)
            if time.monotonic() + delay > end:
                raise answer.error
            time.sleep(delay)
            step = min(step * 2, _LAST_DELAY)
            asked = 0.0

    def _try(self, url: str, body: bytes, key: str, count: int) -> list[str] | _Failure:
        try:
            response, text = self._ask(url, body, key, count)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            return _Failure(PublishError(f"{url} cannot be reached: {error}"))
        except httpx.TimeoutException:
            return _Failure(PublishError(f"{url} did not answer in time", is_uncertain=True))
        except httpx.RequestError as error:
            return _Failure(PublishError(f"{url} cannot be reached: {error}", is_uncertain=True))
        status = response.status_code
        if status == 202:
            if ids := _ids(text, count):
                return ids
            return _Failure(PublishError(f"{url} gave an acknowledgement that cannot be read", is_uncertain=True))
        detail = _member(text, "detail")
        detail = detail if isinstance(detail, str) else None
        target = _redirect_target(response) or "answered what no Pipecast node does"
        message = f"{status}: {detail or f'{url} {target}'}"
        refusal = PublishError(message, status=status, detail=detail, is_uncertain=status >= 500)
        return _Failure(refusal, _is_passing(status), _retry_after(response.headers.get("Retry-After", "")))

    def _ask(self, url: str, body: bytes, key: str, count: int) -> tuple[httpx.Response, bytes]:
        """Sends a request, and gives its answer with the beginning of the answer's body: as much as a node's could have."""
        end = time.monotonic() + self._timeout
        most = _ANSWER_BYTES + count * _ID_BYTES
        text = b""
        with self._client.stream("POST", url, content=body, headers={"Idempotency-Key": key}) as response:
            for part in response.iter_raw():
                text += part[: most - len(text)]
                if len(text) == most:
                    break
                # The client's own time-out begins anew with each byte.
                if time.monotonic() > end:
                    raise httpx.ReadTimeout("the answer has no end")
        return response, text


@dataclass(frozen=True)
class _Failure:
    error: PublishError
    is_passing: bool = True
    retry_after: float = 0.0


def _is_passing(status: int) -> bool:
    # A time-out is not the request's fault, and load balancers answer 502 and 504. A node's 500 would come again.
    return status in (408, 429) or status > 500


def _is_refusal(status: int) -> bool:
    # Neither a page in a node's place, with 200, nor what passes.
    return status >= 300 and not _is_passing(status)


def _ids(text: bytes, count: int) -> list[str] | None:
    """One for each event, or whatever answered is no node."""
    ids = _member(text, "ids")
    if not isinstance(ids, list) or len(ids) != count:
        return None
    return ids if all(isinstance(id, str) and re.fullmatch("[0-9]+-[0-9]+", id) for id in ids) else None


def _redirect_target(response: httpx.Response) -> str | None:
    """Its origin alone: there may be a secret in the rest."""
    if not response.has_redirect_location:
        return None
    try:
        target = response.url.join(response.headers["Location"])
    except httpx.InvalidURL:
        return None
    port = f":{target.port}" if target.port else ""
    return f"redirects to {target.scheme}://{target.host}{port}, which is not followed; give that as url"


# Controls of C0 and C1, DEL, and characters of Unicode without a shape. Joiners stay: scripts and emoji need them.
_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
)


def _visible(text: str) -> str:
    """A stranger's text on one line, as people can be shown it: what a terminal would obey stands there as an escape."""
    return _HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _member(text: bytes, name: str) -> Any:
    try:
        return json.loads(text)[name]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _retry_after(header: str) -> float:
    """Seconds or a date (RFC 9110, 10.2.3)."""
    if re.fullmatch("[0-9]+", header):
        return float(header)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except (TypeError, ValueError):
        return 0.0


def _events_url(text: str, pipeline: str) -> str:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        raise ValueError(f"url must be that of a node or a load balancer, such as {DEFAULT_URL}") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError("url must begin with http:// or https://")
    # Not shown: it may hold a secret.
    if url.userinfo or "?" in text or "#" in text:
        raise ValueError("url must have no user, password, ? and #; give a token")
    return f"{text.rstrip('/')}/pipelines/{pipeline}/events"


def _checked_token(token: str) -> str:
    # The token itself is in no message.
    if not re.fullmatch("[\x21-\x7e]+", token):
        raise ValueError("the token is none: a token is visible ASCII without blanks")
    return token


def _count(events: int) -> str:
    return "1 event" if events == 1 else f"{events} events"


# Nothing collected is lost silently: these have unsent events, and are flushed when the process ends.
_unsent: set[Send] = set()
_collecting = threading.Lock()


def _flush_unsent() -> None:
    for send in list(_unsent):
        _flush_out(send)


def _flush_out(send: Send) -> None:
    while True:
        try:
            send.flush()
            return
        except PublishError as error:
            lost = send.unsent if error.is_kept else len(error.events)
            what = f"{_count(lost)} for pipeline {send._broker.pipeline} not sent: {error}"
            print(f"pipecast: {what}", file=sys.stderr)
            if error.is_kept:
                return


atexit.register(_flush_unsent)
if hasattr(os, "register_at_fork"):
    # What was collected before is the parent's to send.
    os.register_at_fork(after_in_child=_unsent.clear)
