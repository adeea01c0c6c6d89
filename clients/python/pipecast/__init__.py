"""Send events to Pipecast, a broker for Server-Sent Events.

`Send` collects events and sends them together, in as few requests as the limits of nodes allow. `Publisher` sends them one by
one and waits. Both retry unacknowledged requests with the same Idempotency-Key, so nothing is stored twice. Several threads may
share them.
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

# The default limits of nodes.
_EVENT_BYTES = 256 * 1024
_CHANNEL_BYTES = 255
_DEPTH = 128
_REQUEST_EVENTS = 1000
_REQUEST_BYTES = 4 * 1024 * 1024

# Maximum bytes to read of a response: for any response, and in addition for each id of an acknowledgement.
_ANSWER_BYTES = 16 * 1024
_ID_BYTES = 64

# How long nodes remember an Idempotency-Key, in seconds.
_KEY_LIFE = 600.0

# Delays double from the first to the last. Each is drawn from its upper half, so that publishers do not retry in step.
_FIRST_DELAY = 0.2
_LAST_DELAY = 5.0


@dataclass(frozen=True)
class Event:
    """An event to send."""

    channel: str
    payload: Any


@dataclass(frozen=True)
class SentEvent(Event):
    """A stored event. A stream can resume from its id."""

    id: str


class PublishError(Exception):
    """Why events were not acknowledged."""

    def __init__(self, message: str, *, status: int | None = None, detail: str | None = None, is_uncertain: bool = False):
        # The message gets printed, and parts of it come from a response or a certificate.
        super().__init__(_visible(message))
        #: The HTTP status; None if there was no response.
        self.status = status
        #: The detail of the response, which says what to do.
        self.detail = detail
        #: Whether the events may have been stored despite the error.
        self.is_uncertain = is_uncertain
        #: The events of the request that failed.
        self.events: list[Event] = []
        #: Whether these events are still collected. The next `flush` sends them with the same key, so never twice.
        self.is_kept = False
        #: What the same `flush` sent before the failure.
        self.sent: list[SentEvent] = []


class Send:
    """Collects events with `sse` and sends them with `flush`, or at the end of a `with` block or of the process.

    `url` is a node or a load balancer, or several to try in turn. It defaults to PIPECAST_URL, or http://127.0.0.1:8080, and
    `token` to PIPECAST_TOKEN. `timeout` limits one attempt, `retry_for` is how long one request is retried, both in seconds.
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
        # The request that failed last. It keeps its events and its key, because the store may already have it.
        self._begun: _Request | None = None
        self._flushing = threading.Lock()

    def sse(self, channel: str, payload: Any) -> None:
        """Collects an event with a copy of its payload. Raises TypeError or ValueError if it cannot be sent."""
        line = _Line(channel, payload)
        with _collecting:
            self._lines.append(line)
            _unsent.add(self)

    @property
    def unsent(self) -> int:
        """The number of events that are collected but not acknowledged."""
        begun = self._begun
        return len(self._lines) + (len(begun.lines) if begun else 0)

    def flush(self) -> list[SentEvent]:
        """Sends all collected events in order, and returns them with their ids.

        Raises PublishError. Events that a node rejected are only in the error. After any other failure they stay, and the next
        flush starts with them. Later events stay in both cases.
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
    """Publishes events one after the other, each in its own request. Accepts the same arguments as `Send`."""

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
        """Returns the event's id once it is stored. Raises PublishError, or an error of `Send.sse`."""
        line = _Line(channel, payload)
        try:
            return self._broker.post(line.text, str(uuid.uuid4()), 1)[0]
        except PublishError as error:
            error.events = [line.event()]
            raise


class _Line:
    """An event as a line of NDJSON, checked when it is passed in: one invalid event makes nodes reject its whole request."""

    def __init__(self, channel: str, payload: Any) -> None:
        _check_channel(channel)
        try:
            # NaN is not JSON, and an unpaired surrogate is not UTF-8.
            json_text = json.dumps(payload, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
        except RecursionError:
            raise ValueError(f"the payload is nested deeper than {_DEPTH} levels; flatten it or send it as a string") from None
        except TypeError as error:
            raise TypeError(f"the payload cannot be sent as JSON: {error}") from None
        except ValueError as error:
            raise ValueError(f"the payload cannot be sent as JSON: {error}") from None
        _check_depth(json_text)
        size = len(channel.encode()) + len(json_text)
        if size > _EVENT_BYTES:
            raise ValueError(f"the event has {size} bytes, more than the {_EVENT_BYTES} that nodes accept by default; send a reference to the data instead")
        self.text = b'{"channel":%s,"payload":%s}\n' % (json.dumps(channel).encode(), json_text)

    def event(self) -> Event:
        return Event(**json.loads(self.text))


def _check_channel(channel: str) -> None:
    if not isinstance(channel, str):
        raise TypeError(f"the channel must be a string, not {type(channel).__name__}")
    try:
        size = len(channel.encode())
    except UnicodeEncodeError:
        raise ValueError("the channel contains an unpaired surrogate, which UTF-8 cannot carry") from None
    if size == 0:
        raise ValueError(f"the channel is empty; give it a name of 1-{_CHANNEL_BYTES} bytes")
    if size > _CHANNEL_BYTES:
        raise ValueError(f"the channel is longer than {_CHANNEL_BYTES} bytes")
    if re.search("[\r\n\0]", channel):
        raise ValueError("the channel contains a line break or NUL, which no event name can carry")
    if control := re.search("[\x00-\x1f\x7f-\x9f]", channel):
        raise ValueError(f"the channel contains the control character U+{ord(control[0]):04X}, which a terminal would execute; remove it")
    if channel.startswith("pipecast."):
        raise ValueError("the channel begins with `pipecast.`, which is reserved for the broker's own events")
    if channel in ("error", "open"):
        raise ValueError(
            f"the channel is `{channel}`, which `EventSource` uses for its own events, so the page would mistake it for one of those; "
            "choose another name"
        )


def _check_depth(json_text: bytes) -> None:
    if json_text.count(b"[") + json_text.count(b"{") <= _DEPTH:
        return
    depth = 0
    for token in re.finditer(rb'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', json_text):
        first = token.group()[:1]
        depth += (first in b"[{") - (first in b"]}")
        if depth > _DEPTH:
            raise ValueError(f"the payload is nested deeper than {_DEPTH} levels; flatten it or send it as a string")


def _fitting(lines: list[_Line]) -> int:
    """How many lines fit into one request. One always does."""
    size = 0
    for count, line in enumerate(lines[:_REQUEST_EVENTS]):
        size += len(line.text)
        if size > _REQUEST_BYTES:
            return count
    return min(len(lines), _REQUEST_EVENTS)


class _Request:
    """Lines that are sent together, with their Idempotency-Key."""

    def __init__(self, lines: list[_Line]) -> None:
        self.lines = lines
        self._body = b"".join(line.text for line in lines)
        self._key = str(uuid.uuid4())
        self._began: float | None = None
        self._is_uncertain = False

    def post(self, broker: _Broker) -> list[str]:
        self._began = self._began or time.time()
        if time.time() - self._began > broker.safe_to_repeat:
            message = f"{_count(len(self.lines))} may or may not have been stored some minutes ago; sending them again could duplicate them"
            raise PublishError(message, is_uncertain=True)
        try:
            return broker.post(self._body, self._key, len(self.lines))
        except PublishError as error:
            error.is_kept = error.status is None or not _is_rejection(error.status)
            error.is_uncertain = self._is_uncertain = self._is_uncertain or error.is_uncertain
            if not self._is_uncertain:
                # If no node received it, it can be sent at any later time.
                self._began = None
            raise


class _Broker:
    """Sends requests to one node or several until one acknowledges, each time with the same Idempotency-Key."""

    def __init__(
        self, url: str | Sequence[str] | None, pipeline: str, token: str | None, timeout: float, retry_for: float
    ) -> None:
        if not re.fullmatch(r"[A-Za-z0-9._~-]{1,128}", pipeline) or pipeline in (".", ".."):
            raise ValueError(f"{pipeline!r}: a pipeline id is 1-128 characters of A-Z a-z 0-9 . _ ~ -, and neither `.` nor `..`")
        if not (0 < timeout <= 60 and 0 < retry_for <= 400):
            raise ValueError("timeout must be up to 60 seconds and retry_for up to 400, both above 0")
        self.pipeline = pipeline
        # How long after its first attempt a request may be retried without the risk of a duplicate.
        self.safe_to_repeat = _KEY_LIFE - retry_for - timeout
        self._retry_for = retry_for
        url = url or os.environ.get("PIPECAST_URL") or DEFAULT_URL
        texts = url.split(",") if isinstance(url, str) else url
        self._urls = [_events_url(text.strip(), pipeline) for text in texts]
        self._current = 0
        headers = {"Content-Type": "application/x-ndjson", "User-Agent": f"pipecast-python/{__version__}"}
        if token := token or os.environ.get("PIPECAST_TOKEN"):
            headers["Authorization"] = f"Bearer {_checked_token(token)}"
        # Uncompressed: a response that is unpacked could be any size.
        headers["Accept-Encoding"] = "identity"
        self._timeout = timeout
        self._client = httpx.Client(headers=headers, timeout=timeout)

    def post(self, body: bytes, key: str, count: int) -> list[str]:
        """Sends `count` lines of NDJSON until they are acknowledged. Returns their ids. Raises PublishError."""
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
            # A later rejection does not tell what became of an earlier attempt.
            answer.error.is_uncertain = is_uncertain = is_uncertain or answer.error.is_uncertain
            if not answer.is_temporary:
                raise answer.error
            self._current = (self._current + 1) % len(self._urls)
            asked = max(asked, answer.retry_after)
            # The next node is tried at once; a delay comes only after all of them.
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
            return _Failure(PublishError(f"cannot reach {url}: {error}"))
        except httpx.TimeoutException:
            return _Failure(PublishError(f"{url} did not respond in time", is_uncertain=True))
        except httpx.RequestError as error:
            return _Failure(PublishError(f"cannot reach {url}: {error}", is_uncertain=True))
        status = response.status_code
        if status == 202:
            if ids := _ids(text, count):
                return ids
            return _Failure(PublishError(f"{url} sent an invalid acknowledgement", is_uncertain=True))
        detail = _member(text, "detail")
        detail = detail if isinstance(detail, str) else None
        target = _redirect_target(response) or "sent a response that is not from a Pipecast node"
        message = f"{status}: {detail or f'{url} {target}'}"
        rejection = PublishError(message, status=status, detail=detail, is_uncertain=status >= 500)
        return _Failure(rejection, _is_temporary(status), _retry_after(response.headers.get("Retry-After", "")))

    def _ask(self, url: str, body: bytes, key: str, count: int) -> tuple[httpx.Response, bytes]:
        """Sends a request. Returns the response with the beginning of its body, up to the size of any response of a node."""
        end = time.monotonic() + self._timeout
        most = _ANSWER_BYTES + count * _ID_BYTES
        text = b""
        with self._client.stream("POST", url, content=body, headers={"Idempotency-Key": key}) as response:
            for part in response.iter_raw():
                text += part[: most - len(text)]
                if len(text) == most:
                    break
                # The timeout of httpx starts again with each byte.
                if time.monotonic() > end:
                    raise httpx.ReadTimeout("the response does not end")
        return response, text


@dataclass(frozen=True)
class _Failure:
    error: PublishError
    is_temporary: bool = True
    retry_after: float = 0.0


def _is_temporary(status: int) -> bool:
    # A timeout is not the request's fault, and load balancers send 502 and 504. A node would repeat its 500.
    return status in (408, 429) or status > 500


def _is_rejection(status: int) -> bool:
    # Neither a page from another server, with 200, nor a temporary failure.
    return status >= 300 and not _is_temporary(status)


def _ids(text: bytes, count: int) -> list[str] | None:
    """One id per event, or None: then the response is not from a node."""
    ids = _member(text, "ids")
    if not isinstance(ids, list) or len(ids) != count:
        return None
    return ids if all(isinstance(id, str) and re.fullmatch("[0-9]+-[0-9]+", id) for id in ids) else None


def _redirect_target(response: httpx.Response) -> str | None:
    """Only the origin: the rest may hold a secret."""
    if not response.has_redirect_location:
        return None
    try:
        target = response.url.join(response.headers["Location"])
    except httpx.InvalidURL:
        return None
    port = f":{target.port}" if target.port else ""
    return f"redirects to {target.scheme}://{target.host}{port}, which is not followed; use that as the url"


# C0 and C1 controls, DEL, and invisible Unicode characters. Joiners stay, because scripts and emoji need them.
_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
)


def _visible(text: str) -> str:
    """Text from outside on one line, safe to print: what a terminal would act on becomes an escape."""
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
        raise ValueError(f"url is not valid: use that of a node or a load balancer, such as {DEFAULT_URL}") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError("url must begin with http:// or https://")
    # Errors do not repeat it: it may hold a secret.
    if url.userinfo or "?" in text or "#" in text:
        raise ValueError("url must not contain a user, a password, ? or #; pass a token instead")
    return f"{text.rstrip('/')}/pipelines/{pipeline}/events"


def _checked_token(token: str) -> str:
    # Errors never contain the token.
    if not re.fullmatch("[\x21-\x7e]+", token):
        raise ValueError("invalid token: a token is visible ASCII without spaces")
    return token


def _count(events: int) -> str:
    return "1 event" if events == 1 else f"{events} events"


# No event is lost silently: these have unsent events, and are flushed when the process ends.
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
    # The parent process sends what was collected before the fork.
    os.register_at_fork(after_in_child=_unsent.clear)
