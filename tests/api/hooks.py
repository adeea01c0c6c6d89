"""What Schemathesis has to know beyond the description."""

import json
import os

import schemathesis

MAX_CHANNEL_BYTES = 255


@schemathesis.serializer("application/x-ndjson")
def lines(_, value):
    """One event per line. A value that is no array is one line."""
    events = value if isinstance(value, list) else [value]
    return "".join(json.dumps(event) + "\n" for event in events).encode()


@schemathesis.hook
def before_load_schema(_, schema):
    """A node with tokens requires one: there, the alternative without one does not apply."""
    if os.environ["PIPECAST_TOKENS"] == "open":
        return
    for path in schema["paths"].values():
        for operation in path.values():
            if isinstance(operation, dict) and {} in operation.get("security", []):
                operation["security"].remove({})


def channels(body):
    """The channels of a body, as far as it has events."""
    for event in body if isinstance(body, list) else [body]:
        if isinstance(event, dict) and isinstance(event.get("channel"), str):
            yield event["channel"]


@schemathesis.hook
def filter_body(_, body):
    """JSON Schema counts characters. The limit is in bytes, so a name of 255 other characters may be too long."""
    return all(len(channel.encode()) <= MAX_CHANNEL_BYTES or len(channel) > MAX_CHANNEL_BYTES for channel in channels(body))


@schemathesis.hook
def filter_query(_, query):
    """The same for channels in a query."""
    names = (query or {}).get("channel")
    names = names if isinstance(names, list) else [names]
    return all(len(str(name).encode()) <= MAX_CHANNEL_BYTES or len(str(name)) > MAX_CHANNEL_BYTES for name in names)
