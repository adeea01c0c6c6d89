"""The output of every client in Python."""

import json
import sys

url = sys.argv[1] if len(sys.argv) > 1 else None


def message(event_id, channel, data):
    """Prints a message that the client delivered."""
    _print({"id": event_id, "channel": channel, "data": data})


def error(text):
    """Prints a failure that the client reported."""
    _print({"error": str(text)})


def status(number):
    """Prints the status of a publisher's answer."""
    _print({"status": number})


def _print(line):
    print(json.dumps(line, ensure_ascii=False), flush=True)
