"""Peers written in Go, for bench/run. Each is built once per version, outside the tree."""

import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

MERCURE = pathlib.Path(__file__).resolve().parent / "peers/mercure"
CENTRIFUGO = "github.com/centrifugal/centrifugo/v6@v6.9.1"
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "pipecast"


def version(side):
    if side == "centrifugo":
        return CENTRIFUGO.rpartition("@v")[2]
    return re.search(r"^require github.com/dunglas/mercure v(\S+)", (MERCURE / "go.mod").read_text(), re.MULTILINE)[1]


def program(side):
    """The path of its program, or None on a machine without a Go that can build it."""
    if not shutil.which("go"):
        return None
    sources = b"".join((MERCURE / name).read_bytes() for name in ("go.mod", "go.sum", "main.go")) if side == "mercure" else CENTRIFUGO.encode()
    compiler = subprocess.run(["go", "version"], capture_output=True, check=True).stdout
    path = CACHE / f"go-program-{hashlib.sha256(sources + compiler).hexdigest()[:16]}" / side
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        # Go must not download another version of itself.
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            environment = {**os.environ, "GOTOOLCHAIN": "local", "GOBIN": folder}
            command = ["go", "install", "-mod=readonly", "."] if side == "mercure" else ["go", "install", CENTRIFUGO]
            done = subprocess.run(command, cwd=MERCURE if side == "mercure" else folder, env=environment)
            if done.returncode != 0:
                return None
            pathlib.Path(folder, side).rename(path)
    return path
