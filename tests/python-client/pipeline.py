"""A pipeline that no other test uses, as its node keeps it."""

import json
import secrets
import urllib.request


class Pipeline:
    def __init__(self, node):
        self._node = node
        self.id = f"p_{secrets.token_urlsafe(9)}"

    def history(self):
        """The kept events, oldest first, as dictionaries with `id`, `channel` and `payload`."""
        with urllib.request.urlopen(f"{self._node.public_url}/pipelines/{self.id}/events") as answer:
            return json.load(answer)["events"]
