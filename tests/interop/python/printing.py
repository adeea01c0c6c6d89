"""What every client in Python prints."""

import json
import sys

url = sys.argv[1] if len(sys.argv) > 1 else None


def message(event_id, channel, data):
    """Prints a message that the client handed over."""
    _print({"id": event_id, "channel": channel, "data": data})


def error(text):
    """Prints what the client told of a failure."""
    _print({"error": str(text)})


def status(number):
    """Prints what a publisher was answered."""
    _print({"status": number})


def _print(line):
    print(json.dumps(line, ensure_ascii=False), flush=True)
