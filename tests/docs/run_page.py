"""Runs the code blocks of one page, in namespaces of its own: `unshare --net --mount --pid ... run_page.py PAGE`.

The page's shell commands find the ports of the machine free, the repository's files in their folder, `pipecast` on the PATH, and two secrets
under /run/secrets. All blocks run in order, and those of the shell share their variables and folder, as in a reader's terminal.
"""

import json
import os
import pathlib
import secrets
import subprocess
import sys
import tempfile

import yaml

from blocks import blocks, is_excerpt, servers
from support.deadline import until
from support.redis_server import RedisServer
from support.server import Server

ROOT = pathlib.Path(__file__).resolve().parents[2]
SECONDS = 60
# What these blocks show is no program: samples of what is on the wire, output, logs.
SAMPLES = {"text", "http"}


class PageError(Exception):
    """What is wrong with a block, and what to change."""


class Page:
    def __init__(self, path, folder):
        self.text = path.read_text()
        self.folder = folder
        self.environment = folder.parent / "environment"
        self.background = []

    def run(self):
        self.prepare()
        for block in blocks(self.text):
            try:
                self.run_block(block)
            except (PageError, AssertionError, ValueError, yaml.YAMLError, subprocess.SubprocessError) as error:
                raise PageError(f"block at line {block.line}: {error}\n{block.text}") from error
        for block, server in self.background:
            if block.expect:
                until(f"the output at line {block.line} has {block.expect!r}", lambda s=server, b=block: b.expect in s.output, describe=lambda s=server: s.output)

    def prepare(self):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        # Only this page sees these mounts.
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
        pathlib.Path("/run/secrets").mkdir()
        for name in ("jwt", "backend"):
            pathlib.Path("/run/secrets", name).write_text(secrets.token_hex(20))
        for entry in ROOT.iterdir():
            if entry.name not in {".git", "target", "node_modules"}:
                (self.folder / entry.name).symlink_to(entry)
        (self.folder / "node_modules").mkdir()
        (self.folder / "node_modules" / "pipecast").symlink_to(ROOT / "clients" / "node")
        self.environment.write_text("")
        os.chdir(self.folder)
        for server in servers(self.text):
            if server == "redis":
                self.redis = RedisServer(port=6379)
            elif server == "node":
                self.node = Server(["pipecast"])
                self.node.await_ready(lambda: "Publish" in self.node.output)
            else:
                raise PageError(f"`with: {server}`: it can be node or redis")

    def run_block(self, block):
        if block.not_run is not None:
            return
        if block.source:
            source = ROOT / block.source
            if not source.is_file() or not is_excerpt(block.text, source.read_text()):
                raise PageError(f"{block.source} has no such lines")
        elif block.file:
            # A name in the page's folder: what is there already belongs to the repository.
            path = self.folder / block.file
            if path.is_symlink():
                path.unlink()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
        elif block.language in SAMPLES:
            return
        elif block.language == "json":
            self.check_json(block.text)
        elif block.language == "yaml":
            list(yaml.safe_load_all(block.text))
        elif block.language == "toml":
            pathlib.Path("block.toml").write_text(block.text)
            self.finish(["pipecast", "config", "--config", "block.toml"])
        elif block.run and block.run.startswith("background"):
            self.start(block)
        elif block.run:
            raise PageError(f"`run: {block.run}`: it can be `background`, or `background, port N` if it prints nothing")
        else:
            output = self.finish(self.command(block))
            if block.expect and block.expect not in output:
                raise PageError(f"its output lacks {block.expect!r}:\n{output}")

    @staticmethod
    def check_json(text):
        try:
            json.loads(text)
        except ValueError:
            for line in text.splitlines():  # or one value a line
                json.loads(line)

    def command(self, block):
        """How a reader would run it."""
        if block.language == "sh":
            keep = f"export -p >'{self.environment}'; echo \"cd '$PWD'\" >>'{self.environment}'"
            return ["bash", "-euo", "pipefail", "-c", f"source '{self.environment}'\n{block.text}\n{keep}"]
        programs = {
            "js": ("block.mjs", ["node"]),
            "python": ("block.py", [sys.executable]),
            "ruby": ("block.rb", ["ruby", "-w", f"-I{ROOT}/clients/ruby/lib"]),
            "php": ("block.php", ["php"]),
        }
        if block.language not in programs:
            raise PageError(f"blocks of {block.language or 'no language'} need `from: FILE`, `file: NAME` or `not run: REASON` in a comment before them")
        name, program = programs[block.language]
        name = f"{block.line}-{name}"
        pathlib.Path(name).write_text(block.text)
        return [*program, name]

    def finish(self, command):
        # Into a file: what a block leaves running in the background would keep a pipe open.
        with tempfile.TemporaryFile("w+") as output:
            ended = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, timeout=SECONDS, check=False)
            output.seek(0)
            text = output.read()
        if ended.returncode != 0:
            raise PageError(f"it ends with {ended.returncode}:\n{text}")
        return text

    def start(self, block):
        port = block.run.removeprefix("background").removeprefix(", port ").strip()
        server = Server(["bash", "-euo", "pipefail", "-c", f"source '{self.environment}'\n{block.text}"] if block.language == "sh" else self.command(block))
        self.background.append((block, server))
        server.await_ready(lambda: self.listens(int(port)) if port else server.output, seconds=SECONDS)

    @staticmethod
    def listens(port):
        return subprocess.run(["bash", "-c", f": </dev/tcp/127.0.0.1/{port}"], stderr=subprocess.DEVNULL, check=False).returncode == 0


def main():
    # The settings of whoever runs the tests are not the reader's.
    for name in [name for name in os.environ if name.startswith("PIPECAST_")]:
        del os.environ[name]
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary, "page")
        folder.mkdir()
        page = Page(ROOT / sys.argv[1], folder)
        try:
            page.run()
        except PageError as error:
            sys.exit(f"{sys.argv[1]}: {error}")


main()
