"""PyPI sseclient-py on top of requests reads one answer; a loop around it reconnects."""

import logging
import time

import requests
from printing import follow
from sseclient import SSEClient


def events(url):
    """Yields the events of a stream, which never ends. Raises requests.HTTPError if the node refuses it."""
    last_event_id, retry_seconds = None, 1.0
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
                    yield event
        except requests.HTTPError as failure:
            if failure.response.status_code < 500:
                raise
        except requests.RequestException as failure:
            logging.warning("reconnecting: %s", failure)
        time.sleep(retry_seconds)


follow(events)
