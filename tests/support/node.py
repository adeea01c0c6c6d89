"""A Pipecast node: the real binary, on ports that the system chose."""

import os
import re
import urllib.error
import urllib.request

from support.environment import without_settings
from support.server import Server


class Node(Server):
    """A node that is ready. Its settings are given as `stream__keepalive="1s"`."""

    def __init__(self, **settings):
        binary = os.environ.get("PIPECAST_BIN")
        if not binary:
            raise AssertionError("PIPECAST_BIN is not set: give the path of the pipecast binary")
        environment = without_settings() | {f"PIPECAST_{name.upper()}": value for name, value in settings.items()}
        super().__init__([binary, "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"], env=environment)
        self.await_ready(self._is_ready)

    def _is_ready(self):
        # The node announces the addresses that it got.
        addresses = dict(re.findall(r"^\s*(public|admin)\s+(http\S+)", self.output, re.MULTILINE))
        if len(addresses) < 2:
            return False
        self.public_url = addresses["public"]
        self.admin_url = addresses["admin"]
        try:
            with urllib.request.urlopen(f"{self.admin_url}/readyz") as answer:
                return answer.status == 200
        except urllib.error.URLError:
            return False
