"""PyPI httpx-sse reads one answer; a loop around it reconnects. AS_IT_COMES=1: with httpx' own timeouts."""

import logging
import os
import time

import httpx
from httpx_sse import connect_sse
from printing import follow


def events(url, timeout=httpx.Timeout(5, read=45)):
    """Yields the events of a stream, which never ends. Raises httpx.HTTPStatusError if the node refuses it."""
    last_event_id, retry_seconds = "", 1.0
    with httpx.Client(timeout=timeout) as client:
        while True:
            headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
            try:
                with connect_sse(client, "GET", url, headers=headers) as source:
                    if source.response.is_client_error:
                        source.response.raise_for_status()
                    for event in source.iter_sse():
                        last_event_id = event.id
                        if event.retry is not None:
                            retry_seconds = event.retry / 1000
                        yield event
            except httpx.TransportError as failure:
                logging.warning("reconnecting: %s", failure)
            time.sleep(retry_seconds)


if os.environ.get("AS_IT_COMES"):
    # httpx gives up after 5 s without a byte by default, and keepalives arrive every 15 s.
    follow(events, timeout=httpx.Timeout(5))
else:
    follow(events)
