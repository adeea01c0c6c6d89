"""What the chart renders is started as it stands, on a real Redis, and does what an operator expects."""

import json
import os
import pathlib
import re
import ssl
import subprocess
import tempfile
import threading
import unittest
import urllib.error
import urllib.request

from chart import one, render
from pod import Cluster, Container, until

BINARY = os.environ["PIPECAST_BIN"]
# What the image brings along: variables, which are stronger than a file of settings.
DOCKERFILE = pathlib.Path(__file__).parents[2].joinpath("deploy/Dockerfile").read_text()
OF_IMAGE = dict(re.findall(r"(PIPECAST_\w+)=(\S+)", DOCKERFILE.split("FROM scratch")[1]))
HELM = "Helm 4"
PUBLIC = "http://127.0.0.1:8080"
# Shorter than by default, by the settings that are for it.
SHORT_DRAIN = ('settings.drain={"lead":"1s","window":"2s","deadline":"8s"}',)


def broker(objects):
    return one(objects, "Deployment")["spec"]["template"]


def request(path, key=None, data=None, url=PUBLIC):
    """A status and an answer."""
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
    """A reader as a browser is one, which keeps what it gets."""

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


class Containers(unittest.TestCase):
    def start(self, cluster, template, program=(), of_image=()):
        container = Container(cluster, template, program, of_image)
        self.addCleanup(container.kill)
        container.await_ready()
        return container

    def start_node(self, cluster, objects):
        return self.start(cluster, broker(objects), [BINARY], OF_IMAGE)

    def start_redis(self, *arguments):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        process = subprocess.Popen(
            ["redis-server", "--bind", "127.0.0.1", "--dir", folder.name, "--save", "", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        for line in process.stdout:
            if "Ready to accept connections" in line:
                break
        else:
            self.fail("redis-server does not start")
        return process

    def test_the_defaults_with_their_redis_publish_and_read(self):
        objects = render(HELM, "bundled-redis", *SHORT_DRAIN)
        cluster = Cluster(objects)
        redis = self.start(cluster, one(objects, "StatefulSet")["spec"]["template"])
        self.assertEqual(redis.status("livenessProbe"), 0)
        node = self.start_node(cluster, objects)
        key = cluster.secrets["pipecast"]["publish-key"].decode()
        publish(key, "Luke")
        self.assertEqual(payloads(key), ["Luke"])
        # Nobody gets in without.
        self.assertEqual(request("/pipelines/p_aBcDeF/events", None, {"channel": "names", "payload": 1})[0], 401)
        self.assertEqual(request("/pipelines/p_aBcDeF/events")[0], 401)
        self.assert_restricted(node, 65532)
        self.assert_restricted(redis, 999)

    def assert_restricted(self, container, user):
        status = pathlib.Path(f"/proc/{container.pid}/status").read_text()
        about = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        self.assertEqual(about["Uid"].split(), [str(user)] * 4)
        self.assertEqual([about["CapEff"], about["CapBnd"], about["NoNewPrivs"]], ["0" * 16, "0" * 16, "1"])
        # Not even root could.
        with self.assertRaises(OSError):
            (container.root / "written").write_text("")

    def test_a_rollout_fails_readiness_ends_streams_and_exits_in_time(self):
        objects = render(HELM, "embedded", *SHORT_DRAIN)
        cluster = Cluster(objects)
        node = self.start_node(cluster, objects)
        key = cluster.secrets["pipecast"]["publish-key"].decode()
        stream = Stream(key)
        publish(key, "Luke")
        until("the event arrives", lambda: '"Luke"' in stream.text, 10)
        node.terminate()
        until("readiness fails", lambda: node.status("readinessProbe") == 503 or node.has_ended, 5)
        self.assertFalse(node.has_ended, "it ends without a lead")
        self.assertEqual(node.status("livenessProbe"), 200)
        self.assertEqual(node.await_end(node.spec["terminationGracePeriodSeconds"]), 0)
        until("the stream ends", lambda: stream.has_ended, 5)
        self.assertGreaterEqual(stream.text.count("retry:"), 2)

    def test_while_redis_is_away_pods_stay_ready_and_keep_new_streams_waiting(self):
        rights = ("--user", "pipe-cast", "on", ">p@ss/word:%s3cr3t", "~*", "&*", "+@all")
        redis = self.start_redis(*rights)
        reach = ('redis.external={"host":"127.0.0.1","port":6379,"database":3,"username":"pipe-cast","password":"p@ss/word:%s3cr3t"}',)
        objects = render(HELM, "external-host", *reach, 'settings.redis.probe_interval="200ms"')
        cluster = Cluster(objects)
        node = self.start_node(cluster, objects)
        key = cluster.secrets["pipecast"]["publish-key"].decode()
        publish(key, "Luke")
        redis.kill()
        redis.wait()
        until("the startup probe's path fails", lambda: node.status("startupProbe") == 503, 20, lambda: node.output)
        self.assertEqual([node.status(probe) for probe in ("readinessProbe", "livenessProbe")], [200, 200])
        # It has the status 200, or this would raise: an `EventSource` stays.
        stream = Stream(key, "p_opened_meanwhile")
        self.assertEqual(request("/pipelines/p_aBcDeF/events", key, {"channel": "names", "payload": 1})[0], 503)
        self.assertEqual(node.status("readinessProbe"), 200)
        self.start_redis(*rights)
        until("the pod's Redis is back", lambda: node.status("startupProbe") == 200, 20, lambda: node.output)
        publish(key, "Leia", "p_opened_meanwhile")
        until("the event arrives", lambda: '"Leia"' in stream.text, 10)
        self.assertFalse(stream.has_ended)

    def test_a_pod_that_never_had_its_redis_does_not_get_past_its_startup_probe(self):
        objects = render(HELM, "bundled-redis", 'redis.bundled.password="s3cr3t"')
        cluster = Cluster(objects)
        node = Container(cluster, broker(objects), [BINARY], OF_IMAGE)
        self.addCleanup(node.kill)
        until("it serves", lambda: node.status("livenessProbe") == 200, 20, lambda: node.output)
        # Before it has passed, the kubelet asks no other probe, and the rollout goes no further.
        self.assertEqual(node.status("startupProbe"), 503)
        self.start_redis("--requirepass", "s3cr3t")
        until("the startup probe passes", lambda: node.passes("startupProbe"), 20, lambda: node.output)

    def test_a_pod_with_a_wrong_password_ends_and_says_why(self):
        self.start_redis("--requirepass", "s3cr3t")
        objects = render(HELM, "bundled-redis", 'redis.bundled.password="an0ther"')
        node = Container(Cluster(objects), broker(objects), [BINARY], OF_IMAGE)
        self.addCleanup(node.kill)
        self.assertEqual(node.await_end(20), 1)
        self.assertIn("check the user, the password", node.output)
        self.assertNotIn("an0ther", node.output)

    def test_who_asks_for_the_store_too_has_pods_that_follow_redis(self):
        redis = self.start_redis("--requirepass", "s3cr3t")
        objects = render(HELM, "bundled-redis", 'redis.bundled.password="s3cr3t"', 'settings.redis.probe_interval="200ms"', 'readinessProbe.httpGet.path="/readyz"')
        node = self.start_node(Cluster(objects), objects)
        redis.kill()
        until("readiness fails", lambda: node.status("readinessProbe") == 503, 20, lambda: node.output)
        self.assertEqual(node.status("livenessProbe"), 200)

    def test_tls_by_a_secret_which_is_replaced_under_open_streams(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        first, second = (make_certificates(pathlib.Path(folder.name), "events.example.com") for _ in range(2))
        objects = render(HELM, "tls", "service.port=8080", *SHORT_DRAIN)
        cluster = Cluster(objects, {"events-tls": first}, ["events.example.com"])
        node = self.start_node(cluster, objects)
        self.assertEqual(node.status("livenessProbe"), 200)
        key = cluster.secrets["pipecast"]["publish-key"].decode()
        versions = {"2": "--http2", "1.1": "--http1.1"}
        streams = [TlsReader(key, option, folder.name) for option in versions.values()]
        for stream in streams:
            self.addCleanup(stream.stop)
        for version, option in versions.items():
            self.assertEqual(publish_by_curl(key, version, option, folder.name), f"202 {version}")
        for stream in streams:
            until("both events arrive", lambda: {'data: "2"', 'data: "1.1"'} <= set(stream.text.splitlines()), 10, lambda: stream.text)
        self.assertEqual(self.run_helm_test(cluster, objects)[0], 0)

        self.assertEqual(served_certificate(), first["tls.crt"].decode())
        node.fill("tls", second)
        until("the new certificate is served", lambda: served_certificate() == second["tls.crt"].decode(), 20, lambda: node.output)
        self.assertEqual(publish_by_curl(key, "after", "--http2", folder.name), "202 2")
        for stream in streams:
            until("streams go on", lambda: 'data: "after"' in stream.text, 10, lambda: stream.text)
        self.assertTrue(node.passes("readinessProbe"))
        node.terminate()
        self.assertEqual(node.await_end(node.spec["terminationGracePeriodSeconds"]), 0)

    def test_redis_by_tls_with_an_authority_and_a_certificate_of_ones_own(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        make_certificates(pathlib.Path(folder.name), "redis.example.com")
        file = {name: f"{folder.name}/{name}" for name in ("ca.crt", "tls.crt", "tls.key")}
        self.start_redis(
            "--port", "0", "--tls-port", "6379", "--tls-cert-file", file["tls.crt"], "--tls-key-file", file["tls.key"], "--tls-ca-cert-file", file["ca.crt"], "--requirepass", "secret"
        )  # fmt: skip
        held = {name: pathlib.Path(path).read_bytes() for name, path in file.items()}
        secrets = {"my-redis": {"redis-password": b"secret"}, "my-ca": {"root.pem": held["ca.crt"]}, "my-client": {"tls.crt": held["tls.crt"], "tls.key": held["tls.key"]}}
        objects = render(HELM, "external-tls")
        cluster = Cluster(objects, secrets, ["redis.example.com"])
        self.start_node(cluster, objects)
        key = cluster.secrets["pipecast"]["publish-key"].decode()
        publish(key, "Leia")
        self.assertEqual(payloads(key), ["Leia"])

    def test_given_keys_and_tokens_open_what_they_should(self):
        self.start_redis("--requirepass", "s3cr3t")
        objects = render(HELM, "tokens", 'redis.bundled.password="s3cr3t"')
        cluster = Cluster(objects)
        self.start_node(cluster, objects)
        publish("s3cr3t-publish-key", "Han")
        self.assertEqual(payloads("s3cr3t-of-the-reader"), ["Han"])
        self.assertEqual(request("/pipelines/p_aBcDeF/events", "s3cr3t-publish-key")[0], 403)
        self.assertEqual(request("/pipelines/p_other/events", "s3cr3t-of-the-reader")[0], 403)
        publish("s3cr3t-of-the-backend", "Obi Wan")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PIPECAST_")}
        environment |= {"PIPECAST_AUTH__JWT_SECRET": "s3cr3t-s3cr3t-s3cr3t-s3cr3t-s3cr3t", "PIPECAST_AUTH__ISSUER": "https://issuer.example.com", "PIPECAST_AUTH__AUDIENCE": "pipecast"}
        token = subprocess.run([BINARY, "token", "--pipeline", "p_aBcDeF", "--subscribe", "--ttl", "5m"], env=environment, capture_output=True, text=True, check=True).stdout.split()[-1]
        self.assertEqual(payloads(token), ["Han", "Obi Wan"])

    def test_an_operators_own_secrets_are_used(self):
        self.start_redis("--requirepass", "from-a-secret")
        keys = b'[[keys]]\nname = "mine"\nkey = "a-key-of-the-operator"\npublish = ["*"]\nsubscribe = ["*"]\n'
        secrets = {"my-access": {"pipecast.keys": keys}, "my-redis": {"url": b"redis://:from-a-secret@127.0.0.1:6379/1"}}
        objects = render(HELM, "existing-secret", 'redis.external={"existingSecret":"my-redis","existingSecretUrlKey":"url"}')
        self.assertNotIn("Secret", [each["kind"] for each in objects])
        cluster = Cluster(objects, secrets)
        self.start_node(cluster, objects)
        publish("a-key-of-the-operator", "Luke")
        self.assertEqual(payloads("a-key-of-the-operator"), ["Luke"])

    def test_all_settings_of_a_full_file_are_taken(self):
        objects = render(HELM, "everything-on", "tls.enabled=false")
        cluster = Cluster(objects)
        self.start(cluster, one(objects, "StatefulSet")["spec"]["template"])
        node = self.start_node(cluster, objects)
        self.assertEqual(node.environment["PIPECAST_HISTORY__TTL"], "48h")
        publish(cluster.secrets["events"]["publish-key"].decode(), "Luke")

    def test_where_pods_listen_the_values_say_and_not_the_image(self):
        self.assertEqual(set(OF_IMAGE), {"PIPECAST_SERVER__LISTEN", "PIPECAST_SERVER__ADMIN_LISTEN"})
        objects = render(HELM, "embedded", 'listenAddress="[::]"')
        node = self.start_node(Cluster(objects), objects)
        self.assertEqual(node.status("readinessProbe", host="[::1]"), 200, node.output)
        self.assertEqual(request("/", url="http://[::1]:8080")[0], 200)

    def test_helm_test_publishes_and_reads(self):
        for name, sets in {"embedded": (), "open": ("redis.bundled.enabled=false", "replicaCount=1")}.items():
            with self.subTest(name):
                objects = render(HELM, name, "service.port=8080", *sets)
                cluster = Cluster(objects)
                node = self.start_node(cluster, objects)
                status, output = self.run_helm_test(cluster, objects)
                self.assertEqual(status, 0, output)
                self.assertIn("received the event", output)
                # Without the node it fails.
                node.kill()
                self.assertNotEqual(self.run_helm_test(cluster, objects)[0], 0)

    def run_helm_test(self, cluster, objects):
        pod = one(objects, "Pod")
        container = Container(cluster, {"spec": pod["spec"] | {"securityContext": pod["spec"]["securityContext"] | {"fsGroup": 65532}}})
        try:
            return container.await_end(30), container.output
        finally:
            container.kill()


class TlsReader:
    """A stream by curl, in the version of HTTP that the option says; the certificate has to be right."""

    def __init__(self, key, option, folder):
        self.text = ""
        self._process = curl(key, option, folder, "--no-buffer", "https://events.example.com:8080/pipelines/p_aBcDeF/sse")
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        with self._process.stdout:
            for line in self._process.stdout:
                self.text += line

    def stop(self):
        self._process.kill()
        self._process.wait()
        self._reader.join()


def curl(key, option, folder, *words):
    hosts = ["--resolve", "events.example.com:8080:127.0.0.1", "--cacert", f"{folder}/ca.crt"]
    return subprocess.Popen(["curl", "-sS", option, *hosts, "-H", f"Authorization: Bearer {key}", *words], stdout=subprocess.PIPE, text=True)


def publish_by_curl(key, payload, option, folder):
    """Status and version of HTTP."""
    event = json.dumps({"channel": "names", "payload": payload})
    words = ["--max-time", "10", "-o", "/dev/null", "-w", "%{http_code} %{http_version}", "-H", "Content-Type: application/json", "-d", event]
    return curl(key, option, folder, *words, "https://events.example.com:8080/pipelines/p_aBcDeF/events").communicate()[0]


def served_certificate():
    return ssl.get_server_certificate(("127.0.0.1", 8080))


def make_certificates(folder, name):
    """A certificate of this name by an authority in the folder, which stays the same; and the files of its Secret."""

    def openssl(*words):
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    if not (folder / "ca.crt").exists():
        openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.crt", "-days", "2", "-subj", "/CN=Authority of a test")
    openssl("req", *key, "-keyout", "tls.key", "-out", "tls.csr", "-subj", f"/CN={name}")
    (folder / "extensions").write_text(f"subjectAltName=DNS:{name}\n")
    openssl("x509", "-req", "-in", "tls.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "extensions", "-out", "tls.crt")
    return {file: (folder / file).read_bytes() for file in ("tls.crt", "tls.key")}


if __name__ == "__main__":
    unittest.main()
