"""Servers to measure, and `pipecast bench` to measure them with, for bench/run and bench/capacity."""

import base64
import hmac
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

import go_programs

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
SERVER_CPU, LOAD_CPU = "0", "1"

NGINX = """
load_module {module};
worker_processes 1;
worker_rlimit_nofile 20000;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
daemon off;
events {{ worker_connections 19990; }}
http {{
  access_log off;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
  nchan_shared_memory_size 512M;
  keepalive_requests 100000000;
  {upstream}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location ~ ^/sub/([^/]+)$ {{
      nchan_subscriber eventsource; nchan_channel_id $1; nchan_message_buffer_length 100;
      nchan_eventsource_ping_interval {keepalive}; nchan_eventsource_ping_comment keepalive; nchan_eventsource_ping_event ""; {redis}
    }}
    location ~ ^/pub/([^/]+)$ {{ nchan_publisher; nchan_channel_id $1; nchan_message_buffer_length 100; {redis} }}
  }}
}}
"""

# Sides for which the bench has a preset of the same name.
PRESETS = {"nchan", "mercure", "centrifugo"}
# Where each side accepts events.
PUBLISH = {"pipecast": "/pipelines/{pipeline}/events", "nchan": "/pub/{pipeline}", "centrifugo": "/api/publish"}
MERCURE_KEY = "m" * 32


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    sys.exit(f"nothing listens on port {port}")


def mercure_token():
    """A token to publish any topic."""

    def encode(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    content = b".".join(encode(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, {"mercure": {"publish": ["*"]}}))
    return (content + b"." + encode(hmac.digest(MERCURE_KEY.encode(), content, "sha256"))).decode()


class Server:
    """One side, started for one measurement and stopped after it."""

    def __init__(self, side, redis=None, keepalive="15s", threads=None, settings=None):
        self.side, self.port, self.admin = side, free_port(), free_port()
        self.folder = tempfile.TemporaryDirectory()
        self.preset = side if side in PRESETS else "pipecast"
        start = self.pipecast if side == "hyper" else getattr(self, side)
        command = start(redis, keepalive)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PIPECAST_")}
        environment["PIPECAST_STREAM__KEEPALIVE"] = keepalive
        environment["MERCURE_KEY"] = MERCURE_KEY
        # One core, one thread of each kind, as nginx has one worker. Go sees one core too.
        environment["PIPECAST_FANOUT__THREADS"] = "0" if side == "hyper" else "1"
        environment["TOKIO_WORKER_THREADS"] = "1"
        environment.update(settings or {})
        if threads:
            # On all CPUs, as in production.
            environment["PIPECAST_FANOUT__THREADS"] = threads
            del environment["TOKIO_WORKER_THREADS"]
        else:
            command = ["taskset", "-c", SERVER_CPU, *command]
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(self.port)

    def pipecast(self, redis, _keepalive):
        command = [TARGET / "pipecast", "serve", "--listen", f"127.0.0.1:{self.port}", "--admin-listen", f"127.0.0.1:{self.admin}"]
        return [*command, "--redis", redis] if redis else command

    def floor(self, _redis, _keepalive):
        return [TARGET / "examples/floor", f"127.0.0.1:{self.port}"]

    def nchan(self, redis, keepalive):
        module = "/usr/lib/nginx/modules/ngx_nchan_module.so"
        upstream = f"upstream redis {{ nchan_redis_server {redis}; }}" if redis else ""
        text = NGINX.format(
            module=module, folder=self.folder.name, port=self.port, upstream=upstream, keepalive=keepalive,
            redis="nchan_redis_pass redis;" if redis else "",
        )
        config = pathlib.Path(self.folder.name, "nginx.conf")
        config.write_text(text)
        return ["nginx", "-c", config, "-p", self.folder.name]

    def mercure(self, _redis, keepalive):
        return [go_programs.program("mercure"), "-listen", f"127.0.0.1:{self.port}", "-heartbeat", keepalive]

    def centrifugo(self, redis, keepalive):
        settings = {
            "http_server": {"address": "127.0.0.1", "port": self.port},
            "log": {"level": "error"},
            "client": {"insecure": True, "ping_interval": keepalive},
            "uni_sse": {"enabled": True},
            "http_api": {"insecure": True},
            "channel": {"without_namespace": {"history_size": 100, "history_ttl": "24h"}},
        }
        if redis:
            settings["engine"] = {"type": "redis", "redis": {"address": redis}}
        config = pathlib.Path(self.folder.name, "centrifugo.json")
        config.write_text(json.dumps(settings))
        return [go_programs.program("centrifugo"), "-c", config]

    def publish_url(self):
        """Where the bench publishes, if not to the server whose streams it opens."""
        return f"http://127.0.0.1:{self.port}{PUBLISH[self.side]}"

    def pss(self):
        text = pathlib.Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:"))

    def metric(self, name):
        """The value of a metric without labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics") as answer:
            return next(int(line.split()[1]) for line in answer.read().decode().splitlines() if line.startswith(f"{name} "))

    def pids(self):
        children = subprocess.run(["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True).stdout.split()
        return [str(self.process.pid), *children]

    def stop(self):
        self.process.send_signal(signal.SIGKILL if self.side != "nchan" else signal.SIGTERM)
        self.process.wait()
        self.folder.cleanup()


def stolen_seconds():
    """Time for which the hypervisor ran something else than this machine's CPUs."""
    fields = pathlib.Path("/proc/stat").read_text().splitlines()[0].split()
    return int(fields[8]) / os.sysconf("SC_CLK_TCK")


def bench(servers, words, pids=None, pinned=True, token=None):
    mode, *options = words
    if servers[0].preset == "mercure":
        options += ["--publish-header", f"Authorization: Bearer {mercure_token()}"]
    command = ["taskset", "-c", LOAD_CPU] if pinned else []
    command += [TARGET / "pipecast", "bench", mode, "--json", "--preset", servers[0].preset, *options]
    for server in servers:
        command += ["--url", f"http://127.0.0.1:{server.port}"]
    for pid in pids or [pid for server in servers for pid in server.pids()]:
        command += ["--pid", pid]
    environment = {**os.environ, "PIPECAST_TOKEN": token} if token else None
    began, stolen = time.monotonic(), stolen_seconds()
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}:\n{done.stderr}")
    return {**json.loads(done.stdout), "stolen": (stolen_seconds() - stolen) / (time.monotonic() - began) / os.cpu_count()}


def redis_script(name):
    """A script of the store as a node loads it."""
    return "".join((ROOT / f"src/store/redis/{part}.lua").read_text() for part in ("began", name))


class Redis:
    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.port = str(free_port())
        # On the CPU of the load generator: the server has the other to itself.
        command = ["taskset", "-c", LOAD_CPU, "redis-server", "--port", self.port, "--bind", "127.0.0.1", "--save", "", "--dir", self.folder.name]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        wait_for(int(self.port))
        self.url = f"redis://127.0.0.1:{self.port}"

    def benchmark(self, batch, clients=8, pipelined=4, requests=15_000):
        """What redis-benchmark gets out of Redis with the same script, when Redis has the server's CPU to itself."""
        subprocess.run(["taskset", "-p", "-c", SERVER_CPU, str(self.process.pid)], check=True, stdout=subprocess.DEVNULL)
        script = redis_script("append")
        digest = self.cli("script", "load", script).strip()
        event = 'event: bench\ndata: {"filler":"' + "x" * 115 + '"}\n\n'
        kept = ["100", str(32 << 20), "86400000"]
        call = ["EVALSHA", digest, "2", "pipecast:{p}:events", "pipecast:began", *kept, "pipecast:{p}", "list", "", "600000", *[event] * batch]
        load = ["-n", str(requests), "-c", str(clients), "-P", str(pipelined)]
        command = ["taskset", "-c", LOAD_CPU, "redis-benchmark", "-p", self.port, "--csv", *load, *call]
        report = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        # The last line: the command, which contains line breaks, then numbers in quotes.
        rate = float(report.rstrip().rsplit('\n"', 1)[1].split('"')[1])
        return {"published": {"requests_per_second": rate, "events_per_second": rate * batch}}

    def cli(self, *words):
        return subprocess.run(["redis-cli", "-p", self.port, *words], capture_output=True, text=True, check=True).stdout

    def used_memory(self):
        return next(int(line.split(":")[1]) for line in self.cli("info", "memory").splitlines() if line.startswith("used_memory:"))

    def net_bytes(self):
        """Bytes received and sent since its start."""
        lines = self.cli("info", "stats").splitlines()
        return sum(int(line.split(":")[1]) for line in lines if line.startswith(("total_net_input_bytes:", "total_net_output_bytes:")))

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.folder.cleanup()
