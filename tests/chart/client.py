"""A publisher and a subscriber of the node in a pod."""

import json
import threading
import urllib.error
import urllib.request

PUBLIC = "http://127.0.0.1:8080"


def request(path, key=None, data=None, url=PUBLIC):
    """The status and the body of the answer."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    body = None if data is None else json.dumps(data).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url + path, data=body, headers=headers), timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def publish(key, payload, pipeline="p_aBcDeF"):
    status, answer = request(f"/pipelines/{pipeline}/events", key, {"channel": "names", "payload": payload})
    assert status == 202, f"{status} {answer}"
    return json.loads(answer)["id"]


def payloads(key, pipeline="p_aBcDeF"):
    status, answer = request(f"/pipelines/{pipeline}/events", key)
    assert status == 200, f"{status} {answer}"
    return [event["payload"] for event in json.loads(answer)["events"]]


class Stream:
    """A subscriber, which keeps everything that it receives in `text`."""

    def __init__(self, key, pipeline="p_aBcDeF"):
        self.text = ""
        self.has_ended = False
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._answer = urllib.request.urlopen(urllib.request.Request(f"{PUBLIC}/pipelines/{pipeline}/sse", headers=headers), timeout=60)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        while line := self._answer.readline():
            self.text += line.decode()
        self.has_ended = True
