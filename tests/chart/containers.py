"""The rendered containers run on a real Redis and do what an operator expects."""

import pathlib
import re
import subprocess
import tempfile
import unittest

from chart import BINARY, HELM, broker, one, render
from client import Stream, payloads, publish, request
from pod import Cluster, Container
from support.deadline import until
from support.environment import without_settings
from support.redis_server import RedisServer
from tls import TlsReader, make_certificates, publish_by_curl, served_certificate

# The image's variables, which override a file of settings.
DOCKERFILE = pathlib.Path(__file__).parents[2].joinpath("deploy/Dockerfile").read_text()
OF_IMAGE = dict(re.findall(r"(PIPECAST_\w+)=(\S+)", DOCKERFILE.split("FROM scratch")[1]))
# Shorter than the default.
SHORT_DRAIN = ('settings.drain={"lead":"1s","window":"2s","deadline":"8s"}',)


class Containers(unittest.TestCase):
    def start(self, cluster, template, program=(), of_image=()):
        container = Container(cluster, template, program, of_image)
        self.addCleanup(container.kill)
        container.await_ready()
        return container

    def start_node(self, cluster, objects):
        return self.start(cluster, broker(objects), [BINARY], OF_IMAGE)

    def start_redis(self, *arguments):
        redis = RedisServer(*arguments, port=6379)
        self.addCleanup(redis.kill)
        return redis

    def test_defaults_publish_and_read_with_bundled_redis(self):
        objects = render(HELM, "bundled-redis", *SHORT_DRAIN)
        cluster = Cluster(objects)
        redis = self.start(cluster, one(objects, "StatefulSet")["spec"]["template"])
        self.assertEqual(redis.status("livenessProbe"), 0)
        node = self.start_node(cluster, objects)
        key = cluster.secrets["pipecast"]["publish-key"].decode()
        publish(key, "Luke")
        self.assertEqual(payloads(key), ["Luke"])
        # Not without a key.
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

    def test_stopped_pod_fails_readiness_ends_streams_and_exits(self):
        objects = render(HELM, "embedded", *SHORT_DRAIN)
        cluster = Cluster(objects)
        node = self.start_node(cluster, objects)
        key = cluster.secrets["pipecast"]["publish-key"].decode()
        stream = Stream(key)
        publish(key, "Luke")
        until("the event arrives", lambda: '"Luke"' in stream.text, 10)
        node.terminate()
        until("readiness fails", lambda: node.status("readinessProbe") == 503 or node.has_ended, 5)
        self.assertFalse(node.has_ended, "it must fail readiness before it ends")
        self.assertEqual(node.status("livenessProbe"), 200)
        self.assertEqual(node.await_end(node.spec["terminationGracePeriodSeconds"]), 0)
        until("the stream ends", lambda: stream.has_ended, 5)
        self.assertGreaterEqual(stream.text.count("retry:"), 2)

    def test_pods_stay_ready_and_streams_wait_without_redis(self):
        rights = ("--user", "pipe-cast", "on", ">p@ss/word:%s3cr3t", "~*", "&*", "+@all")
        redis = self.start_redis(*rights)
        reach = ('redis.external={"host":"127.0.0.1","port":6379,"database":3,"username":"pipe-cast","password":"p@ss/word:%s3cr3t"}',)
        objects = render(HELM, "external-host", *reach, 'settings.redis.probe_interval="200ms"')
        cluster = Cluster(objects)
        node = self.start_node(cluster, objects)
        key = cluster.secrets["pipecast"]["publish-key"].decode()
        publish(key, "Luke")
        redis.kill()
        until("the startup probe's path fails", lambda: node.status("startupProbe") == 503, 20, lambda: node.output)
        self.assertEqual([node.status(probe) for probe in ("readinessProbe", "livenessProbe")], [200, 200])
        # With any status but 200 this would raise, and an `EventSource` would give up.
        stream = Stream(key, "p_opened_meanwhile")
        self.assertEqual(request("/pipelines/p_aBcDeF/events", key, {"channel": "names", "payload": 1})[0], 503)
        self.assertEqual(node.status("readinessProbe"), 200)
        self.start_redis(*rights)
        until("the pod has its Redis again", lambda: node.status("startupProbe") == 200, 20, lambda: node.output)
        publish(key, "Leia", "p_opened_meanwhile")
        until("the event arrives", lambda: '"Leia"' in stream.text, 10)
        self.assertFalse(stream.has_ended)

    def test_startup_probe_passes_only_once_redis_is_there(self):
        objects = render(HELM, "bundled-redis", 'redis.bundled.password="s3cr3t"')
        cluster = Cluster(objects)
        node = Container(cluster, broker(objects), [BINARY], OF_IMAGE)
        self.addCleanup(node.kill)
        until("it serves", lambda: node.status("livenessProbe") == 200, 20, lambda: node.output)
        # Until it passes, the kubelet runs no other probe, and the rollout waits.
        self.assertEqual(node.status("startupProbe"), 503)
        self.start_redis("--requirepass", "s3cr3t")
        until("the startup probe passes", lambda: node.passes("startupProbe"), 20, lambda: node.output)

    def test_wrong_redis_password_ends_the_pod(self):
        self.start_redis("--requirepass", "s3cr3t")
        objects = render(HELM, "bundled-redis", 'redis.bundled.password="an0ther"')
        node = Container(Cluster(objects), broker(objects), [BINARY], OF_IMAGE)
        self.addCleanup(node.kill)
        self.assertEqual(node.await_end(20), 1)
        self.assertIn("WRONGPASS", node.output)
        self.assertNotIn("an0ther", node.output)

    def test_readiness_follows_redis_when_configured(self):
        redis = self.start_redis("--requirepass", "s3cr3t")
        objects = render(HELM, "bundled-redis", 'redis.bundled.password="s3cr3t"', 'settings.redis.probe_interval="200ms"', 'readinessProbe.httpGet.path="/readyz"')
        node = self.start_node(Cluster(objects), objects)
        redis.kill()
        until("readiness fails", lambda: node.status("readinessProbe") == 503, 20, lambda: node.output)
        self.assertEqual(node.status("livenessProbe"), 200)

    def test_tls_secret_is_replaced_under_open_streams(self):
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
            until("streams continue", lambda: 'data: "after"' in stream.text, 10, lambda: stream.text)
        self.assertTrue(node.passes("readinessProbe"))
        node.terminate()
        self.assertEqual(node.await_end(node.spec["terminationGracePeriodSeconds"]), 0)

    def test_redis_over_tls_with_a_client_certificate(self):
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

    def test_keys_and_tokens_grant_only_their_permissions(self):
        self.start_redis("--requirepass", "s3cr3t")
        objects = render(HELM, "tokens", 'redis.bundled.password="s3cr3t"')
        cluster = Cluster(objects)
        self.start_node(cluster, objects)
        publish("s3cr3t-publish-key", "Han")
        self.assertEqual(payloads("s3cr3t-of-the-reader"), ["Han"])
        self.assertEqual(request("/pipelines/p_aBcDeF/events", "s3cr3t-publish-key")[0], 403)
        self.assertEqual(request("/pipelines/p_other/events", "s3cr3t-of-the-reader")[0], 403)
        publish("s3cr3t-of-the-backend", "Obi Wan")
        environment = without_settings() | {"PIPECAST_AUTH__JWT_SECRET": "s3cr3t-s3cr3t-s3cr3t-s3cr3t-s3cr3t", "PIPECAST_AUTH__ISSUER": "https://issuer.example.com", "PIPECAST_AUTH__AUDIENCE": "pipecast"}
        token = subprocess.run([BINARY, "token", "--pipeline", "p_aBcDeF", "--subscribe", "--ttl", "5m"], env=environment, capture_output=True, text=True, check=True).stdout.split()[-1]
        self.assertEqual(payloads(token), ["Han", "Obi Wan"])

    def test_existing_secrets_are_used(self):
        self.start_redis("--requirepass", "from-a-secret")
        keys = b'[[keys]]\nname = "mine"\nkey = "a-key-of-the-operator"\npublish = ["*"]\nsubscribe = ["*"]\n'
        secrets = {"my-access": {"pipecast.keys": keys}, "my-redis": {"url": b"redis://:from-a-secret@127.0.0.1:6379/1"}}
        objects = render(HELM, "existing-secret", 'redis.external={"existingSecret":"my-redis","existingSecretUrlKey":"url"}')
        self.assertNotIn("Secret", [each["kind"] for each in objects])
        cluster = Cluster(objects, secrets)
        self.start_node(cluster, objects)
        publish("a-key-of-the-operator", "Luke")
        self.assertEqual(payloads("a-key-of-the-operator"), ["Luke"])

    def test_node_starts_with_every_setting_of_the_chart(self):
        objects = render(HELM, "everything-on", "tls.enabled=false")
        cluster = Cluster(objects)
        self.start(cluster, one(objects, "StatefulSet")["spec"]["template"])
        node = self.start_node(cluster, objects)
        self.assertEqual(node.environment["PIPECAST_HISTORY__TTL"], "48h")
        publish(cluster.secrets["events"]["publish-key"].decode(), "Luke")

    def test_listen_address_comes_from_the_values(self):
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


if __name__ == "__main__":
    unittest.main()
