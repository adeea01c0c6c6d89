"""PyPI httpx-sse: the loop of its README, "Handling reconnections". AS_IT_COMES=1: with httpx' own time-outs."""

import os
import sys
import time

import httpx
from httpx_sse import connect_sse
from printing import error, message, url

# httpx gives up after 5 s without a byte by default, and keepalives arrive every 15 s.
timeout = httpx.Timeout(5) if os.environ.get("AS_IT_COMES") else httpx.Timeout(5, read=45)
last_event_id = ""
retry_seconds = 0
while True:
    headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
    try:
        with httpx.Client(timeout=timeout) as client, connect_sse(client, "GET", url, headers=headers) as source:
            source.response.raise_for_status()
            for event in source.iter_sse():
                last_event_id = event.id
                if event.retry is not None:
                    retry_seconds = event.retry / 1000
                message(event.id, event.event, event.data)
    except httpx.HTTPStatusError as failure:
        error(failure)
        sys.exit(1)
    except httpx.TransportError as failure:
        error(failure)
    time.sleep(retry_seconds)
