"""What the chart generates is kept over upgrades: Helm asks the cluster for it, of which here is only what it asks."""

import http.server
import json
import pathlib
import tempfile
import threading
import unittest

import yaml

from chart import CHART, HELMS, helm, one, pod_templates

# What the chart makes by default; Helm 4 looks whether it is known and there.
KINDS = {"v1": ["ConfigMap", "Pod", "Secret", "Service", "ServiceAccount"], "apps/v1": ["Deployment", "StatefulSet"], "policy/v1": ["PodDisruptionBudget"]}
SECRET = "/api/v1/namespaces/realtime/secrets/pipecast"


class Cluster(http.server.ThreadingHTTPServer):
    """The part of a Kubernetes API that `lookup` of a Secret uses; what was asked is in `asked`."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.secret = None
        self.asked = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def kubeconfig(self):
        name = {"name": "test"}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [name | {"cluster": {"server": f"http://127.0.0.1:{self.server_address[1]}"}}],
            "users": [name | {"user": {}}],
            "contexts": [name | {"context": {"cluster": "test", "user": "test"}}],
            "current-context": "test",
        }


def group(name):
    version = {"groupVersion": name, "version": name.split("/")[1]}
    return {"name": name.split("/")[0], "versions": [version], "preferredVersion": version}


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        path = self.path.split("?")[0]
        self.server.asked.append(path)
        answers = {
            "/version": {"major": "1", "minor": "34", "gitVersion": "v1.34.0"},
            "/api": {"kind": "APIVersions", "versions": ["v1"]},
            "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": [group(name) for name in KINDS if "/" in name]},
            SECRET: self.server.secret,
        }
        for name, kinds in KINDS.items():
            resources = [{"name": f"{kind.lower()}s", "namespaced": True, "kind": kind, "verbs": ["get"]} for kind in kinds]
            answers[f"/apis/{name}" if "/" in name else f"/api/{name}"] = {"kind": "APIResourceList", "groupVersion": name, "resources": resources}
        answer = answers.get(path)
        missing = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
        body = json.dumps(answer or missing).encode()
        self.send_response(200 if answer else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


class Upgrades(unittest.TestCase):
    def setUp(self):
        self.cluster = Cluster()
        self.addCleanup(self.cluster.server_close)
        self.addCleanup(self.cluster.shutdown)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.kubeconfig = pathlib.Path(folder.name) / "config"
        self.kubeconfig.write_text(yaml.safe_dump(self.cluster.kubeconfig()))

    def secret(self, version, *sets):
        return self.upgrade(version, *sets)[0]

    def upgrade(self, version, *sets):
        """The Secret, and the annotations of all pods."""
        arguments = ["template", "pipecast", "--is-upgrade", CHART, "--namespace", "realtime", "--dry-run=server", "--disable-openapi-validation", "--kubeconfig", self.kubeconfig]
        for each in sets:
            arguments += ["--set-json", each]
        status, output, errors = helm(version, *arguments)
        self.assertEqual(status, 0, f"{errors} {self.cluster.asked}")
        self.assertIn(SECRET, self.cluster.asked)
        objects = [each for each in yaml.safe_load_all(output) if each]
        secret = one(objects, "Secret")
        # As Helm marks what it installs.
        secret["metadata"]["annotations"] |= {"meta.helm.sh/release-name": "pipecast", "meta.helm.sh/release-namespace": "realtime"}
        return secret, {name: template["metadata"]["annotations"] for name, template in pod_templates(objects)}

    def test_pods_are_started_anew_when_a_secret_was_changed_and_only_then(self):
        for version in HELMS:
            with self.subTest(version):
                self.cluster.secret = None
                _, installed = self.upgrade(version, 'redis.bundled.password="hunter2"')
                self.cluster.secret, _ = self.upgrade(version, 'redis.bundled.password="hunter2"')
                # As if it had been changed in the seventh revision: `helm template` calls each the first.
                self.cluster.secret["metadata"]["annotations"]["pipecast/changed-in-revision"] = "7"
                _, same = self.upgrade(version, 'redis.bundled.password="hunter2"', 'settings.history.ttl="1h"')
                _, changed = self.upgrade(version, 'redis.bundled.password="hunter3"')
                _, added = self.upgrade(version, 'auth.keys=[{"name":"a","key":"sixteen-and-more-characters","publish":["*"]}]')
                revision = "pipecast/secret-changed-in-revision"
                for name in ("pipecast", "pipecast-redis"):
                    self.assertEqual([each[name][revision] for each in (installed, same, changed, added)], ["1", "7", "1", "1"], name)
                del self.cluster.secret["metadata"]["annotations"]["pipecast/changed-in-revision"]
                _, unmarked = self.upgrade(version, 'redis.bundled.password="hunter2"')
                self.assertEqual(unmarked["pipecast"][revision], "1")

    def test_an_upgrade_keeps_what_was_generated(self):
        for version in HELMS:
            with self.subTest(version):
                self.cluster.secret = None
                installed = self.secret(version)
                self.assertEqual(set(installed["data"]), {"publish-key", "jwt-secret", "redis-password"})
                self.assertNotEqual(self.secret(version)["data"], installed["data"])
                self.cluster.secret = installed
                self.assertEqual(self.secret(version, "replicaCount=5")["data"], installed["data"])

    def test_a_given_key_replaces_the_generated_one_alone(self):
        for version in HELMS:
            with self.subTest(version):
                self.cluster.secret = None
                installed = self.cluster.secret = self.secret(version)
                given = self.secret(version, 'auth.publishKey="sixteen-and-more-characters"')["data"]
                self.assertEqual({key for key in given if given[key] != installed["data"][key]}, {"publish-key"})

    def test_a_secret_of_an_older_chart_gets_what_it_lacks(self):
        for version in HELMS:
            with self.subTest(version):
                self.cluster.secret = None
                installed = self.secret(version)
                del installed["data"]["jwt-secret"]
                self.cluster.secret = installed
                upgraded = self.secret(version)["data"]
                self.assertEqual(upgraded["publish-key"], installed["data"]["publish-key"])
                self.assertIn("jwt-secret", upgraded)


if __name__ == "__main__":
    unittest.main()
