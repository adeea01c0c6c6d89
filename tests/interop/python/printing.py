"""The output of every client in Python."""

import json
import logging
import sys

url = sys.argv[1] if len(sys.argv) > 1 else None


def follow(events, **options):
    """Prints what a generator yields for `url`, what it logs, and why it ends."""
    logging.basicConfig(handlers=[_Failures()])
    try:
        for event in events(url, **options):
            message(event.id, event.event, event.data)
    except Exception as failure:
        error(failure)
        sys.exit(1)


def message(event_id, channel, data):
    """Prints a message that the client delivered."""
    _print({"id": event_id, "channel": channel, "data": data})


def error(text):
    """Prints a failure that the client reported."""
    _print({"error": str(text)})


def status(number):
    """Prints the status of a publisher's answer."""
    _print({"status": number})


class _Failures(logging.Handler):
    def emit(self, record):
        error(record.getMessage())


def _print(line):
    print(json.dumps(line, ensure_ascii=False), flush=True)
