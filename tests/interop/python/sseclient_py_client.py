"""PyPI sseclient-py on top of requests: it reads one stream, and reconnecting is a loop around it."""

import sys
import time

import requests
from printing import error, message, url
from sseclient import SSEClient

last_event_id = None
retry_seconds = 0
while True:
    headers = {"Accept": "text/event-stream"}
    if last_event_id:
        headers["Last-Event-ID"] = last_event_id
    try:
        with requests.get(url, headers=headers, stream=True, timeout=(5, 45)) as answer:
            answer.raise_for_status()
            for event in SSEClient(answer).events():
                last_event_id = event.id
                if event.retry is not None:
                    retry_seconds = int(event.retry) / 1000
                message(event.id, event.event, event.data)
    except requests.HTTPError as failure:
        error(failure)
        sys.exit(1)
    except requests.RequestException as failure:
        error(failure)
    time.sleep(retry_seconds)
