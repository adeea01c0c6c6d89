"""PyPI aiohttp reads one answer line by line; its events, and reconnecting, are up to a loop around it.

AS_IT_COMES=1: with a hundredth of aiohttp's own time-out for the whole answer.
"""

import asyncio
import os
import sys

import aiohttp
from aiohttp.client import DEFAULT_TIMEOUT
from printing import error, message, url

if os.environ.get("AS_IT_COMES"):
    timeout = aiohttp.ClientTimeout(total=DEFAULT_TIMEOUT.total / 100)
else:
    timeout = aiohttp.ClientTimeout(total=None, sock_read=45)


class Stream:
    last_event_id = None
    retry_seconds = 1

    async def follow(self):
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                try:
                    await self.read(session)
                except aiohttp.ClientResponseError as failure:
                    error(repr(failure))
                    sys.exit(1)
                except (aiohttp.ClientError, TimeoutError) as failure:
                    error(repr(failure))
                await asyncio.sleep(self.retry_seconds)

    async def read(self, session):
        """Reads one answer to its end."""
        headers = {"Accept": "text/event-stream"}
        if self.last_event_id:
            headers["Last-Event-ID"] = self.last_event_id
        async with session.get(url, headers=headers, raise_for_status=True) as answer:
            fields = {}
            async for line in answer.content:
                name, _, value = line.decode().removesuffix("\n").partition(":")
                if name:
                    fields[name] = value.removeprefix(" ")
                elif line == b"\n":
                    self.take(fields)
                    fields = {}

    def take(self, fields):
        if "retry" in fields:
            self.retry_seconds = int(fields["retry"]) / 1000
        if "id" in fields:
            self.last_event_id = fields["id"]
        if "data" in fields:
            message(self.last_event_id, fields["event"], fields["data"])


asyncio.run(Stream().follow())
