"""What every client in Python prints."""

import json
import sys

url = sys.argv[1]


def message(event_id, channel, data):
    """Prints a message that the client handed over."""
    _print({"id": event_id, "channel": channel, "data": data})


def error(text):
    """Prints what the client told of a failure."""
    _print({"error": str(text)})


def _print(line):
    print(json.dumps(line, ensure_ascii=False), flush=True)
