"""The descriptions of the API: linted, and compared with real nodes by requests that Schemathesis makes up."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

from support.node import Node

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
OPENAPI = ROOT / "docs" / "reference" / "openapi.yaml"
SEED = os.environ["PIPECAST_API_SEED"]
# A stream ends after a second, so that the run does not wait for events on pipelines without any.
SETTINGS = {"stream__max_age": "1s"}
KEY = "0123456789abcdef"


def schemathesis(node, tokens, *options):
    """Runs all checks and phases, and returns the exit code and the output."""
    environment = os.environ | {"PIPECAST_TOKENS": tokens, "PYTHONPATH": str(HERE)}
    command = [os.environ["SCHEMATHESIS"], "--config-file", HERE / "schemathesis.toml", "run", f"{node.public_url}/openapi.json"]
    command += ["--checks", "all", "--mode", "all", "--seed", SEED, "--max-examples", "30", "--no-color", *options]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(command, env=environment, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout


class Nodes(unittest.TestCase):
    def check(self, node, tokens, *options):
        try:
            status, output = schemathesis(node, tokens, *options)
        finally:
            node.kill()
        print("\n".join(line[:400] for line in output.splitlines()))
        self.assertEqual(status, 0)

    def test_open_node_is_as_described(self):
        self.check(Node(auth__publish="open", auth__subscribe="open", **SETTINGS), "open")

    def test_node_with_tokens_is_as_described(self):
        keys = f'[{{name="all", key="{KEY}", publish=["*"], subscribe=["*"]}}]'
        node = Node(auth__publish="token", auth__subscribe="token", auth__keys=keys, **SETTINGS)
        self.check(node, "token", "--header", f"Authorization: Bearer {KEY}")


if __name__ == "__main__":
    unittest.main(verbosity=2)
