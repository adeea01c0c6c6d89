"""The descriptions of the API, linted and compared with real nodes: Schemathesis generates requests and checks the responses."""

import json
import os
import pathlib
import subprocess
import tempfile
import unittest

from support.node import Node

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
REFERENCE = ROOT / "docs" / "reference"
SEED = os.environ["PIPECAST_API_SEED"]
# A stream ends after a second, so that the run does not wait for events on pipelines without any.
SETTINGS = {"stream__max_age": "1s"}
KEY = "0123456789abcdef"
# It expects a 404 after a DELETE, but a pipeline without a history still exists.
INAPPLICABLE = "use_after_free"


def schemathesis(node, tokens, *options):
    """Runs all checks and phases, and returns the exit code and the output."""
    environment = os.environ | {"PIPECAST_TOKENS": tokens, "PYTHONPATH": str(HERE)}
    command = [os.environ["SCHEMATHESIS"], "--config-file", HERE / "schemathesis.toml", "run", f"{node.public_url}/openapi.json"]
    command += ["--checks", "all", "--exclude-checks", INAPPLICABLE, "--mode", "all", "--seed", SEED, "--max-examples", "30", "--no-color", *options]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(command, env=environment, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout


def program(*command):
    return subprocess.run(command, cwd=HERE, text=True, capture_output=True)


class Descriptions(unittest.TestCase):
    """They follow their formats, and what linters recommend."""

    def test_openapi_passes_the_linter(self):
        lint = program("node_modules/.bin/redocly", "lint", "--config", "redocly.yaml", "--format", "json", REFERENCE / "openapi.yaml")
        report = json.loads(lint.stdout)
        # A warning does not make the linter fail.
        self.assertEqual(report["problems"], [], lint.stderr)
        self.assertEqual(lint.returncode, 0, lint.stderr)

    def test_asyncapi_passes_the_parser(self):
        parse = program("node", "asyncapi.mjs", REFERENCE / "asyncapi.yaml")
        self.assertEqual((parse.returncode, parse.stdout), (0, ""), parse.stderr)


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
