"""requests and aiohttp as publishers on one connection, see publishers.mjs: publisher.py requests."""

import asyncio
import json
import sys

import aiohttp
import requests
from printing import error, status


def asked():
    """The requests: (url, headers, body)."""
    for line in sys.stdin:
        request = json.loads(line)
        yield request["url"], request["headers"], request["before"] + "x" * request["fill"] + request["after"]


def with_requests():
    with requests.Session() as session:
        for url, headers, body in asked():
            try:
                status(session.post(url, headers=headers, data=body.encode()).status_code)
            except requests.RequestException as failure:
                error(repr(failure))


async def with_aiohttp():
    connector = aiohttp.TCPConnector(limit=1)
    async with aiohttp.ClientSession(connector=connector) as session:
        for url, headers, body in asked():
            try:
                async with session.post(url, headers=headers, data=body.encode()) as answer:
                    await answer.read()
                    status(answer.status)
            except aiohttp.ClientError as failure:
                error(repr(failure))


if sys.argv[1] == "requests":
    with_requests()
else:
    asyncio.run(with_aiohttp())
