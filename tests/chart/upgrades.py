"""Upgrades keep what the chart generated, which Helm looks up in the cluster."""

import pathlib
import tempfile
import unittest

import yaml

from api import SECRET, Api
from chart import CHART, HELMS, helm, one, pod_templates


class Upgrades(unittest.TestCase):
    def setUp(self):
        self.api = Api()
        self.addCleanup(self.api.server_close)
        self.addCleanup(self.api.shutdown)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.kubeconfig = pathlib.Path(folder.name) / "config"
        self.kubeconfig.write_text(yaml.safe_dump(self.api.kubeconfig()))

    def secret(self, version, *sets):
        return self.upgrade(version, *sets)[0]

    def upgrade(self, version, *sets):
        """The Secret, and the annotations of all pods."""
        arguments = ["template", "pipecast", "--is-upgrade", CHART, "--namespace", "realtime", "--dry-run=server", "--disable-openapi-validation", "--kubeconfig", self.kubeconfig]
        for each in sets:
            arguments += ["--set-json", each]
        status, output, errors = helm(version, *arguments)
        self.assertEqual(status, 0, f"{errors} {self.api.asked}")
        self.assertIn(SECRET, self.api.asked)
        objects = [each for each in yaml.safe_load_all(output) if each]
        secret = one(objects, "Secret")
        # As Helm marks what it installs.
        secret["metadata"]["annotations"] |= {"meta.helm.sh/release-name": "pipecast", "meta.helm.sh/release-namespace": "realtime"}
        return secret, {name: template["metadata"]["annotations"] for name, template in pod_templates(objects)}

    def test_pods_restart_only_when_a_secret_changed(self):
        for version in HELMS:
            with self.subTest(version):
                self.api.secret = None
                _, installed = self.upgrade(version, 'redis.bundled.password="hunter2"')
                self.api.secret, _ = self.upgrade(version, 'redis.bundled.password="hunter2"')
                # As if it had been changed in the seventh revision: `helm template` calls each the first.
                self.api.secret["metadata"]["annotations"]["pipecast/changed-in-revision"] = "7"
                _, same = self.upgrade(version, 'redis.bundled.password="hunter2"', 'settings.history.ttl="1h"')
                _, changed = self.upgrade(version, 'redis.bundled.password="hunter3"')
                _, added = self.upgrade(version, 'auth.keys=[{"name":"a","key":"sixteen-and-more-characters","publish":["*"]}]')
                revision = "pipecast/secret-changed-in-revision"
                for name in ("pipecast", "pipecast-redis"):
                    self.assertEqual([each[name][revision] for each in (installed, same, changed, added)], ["1", "7", "1", "1"], name)
                del self.api.secret["metadata"]["annotations"]["pipecast/changed-in-revision"]
                _, unmarked = self.upgrade(version, 'redis.bundled.password="hunter2"')
                self.assertEqual(unmarked["pipecast"][revision], "1")

    def test_upgrade_keeps_generated_secrets(self):
        for version in HELMS:
            with self.subTest(version):
                self.api.secret = None
                installed = self.secret(version)
                self.assertEqual(set(installed["data"]), {"publish-key", "jwt-secret", "redis-password"})
                self.assertNotEqual(self.secret(version)["data"], installed["data"])
                self.api.secret = installed
                self.assertEqual(self.secret(version, "replicaCount=5")["data"], installed["data"])

    def test_given_key_replaces_only_the_generated_one(self):
        for version in HELMS:
            with self.subTest(version):
                self.api.secret = None
                installed = self.api.secret = self.secret(version)
                given = self.secret(version, 'auth.publishKey="sixteen-and-more-characters"')["data"]
                self.assertEqual({key for key in given if given[key] != installed["data"][key]}, {"publish-key"})

    def test_older_secret_gets_its_missing_keys(self):
        for version in HELMS:
            with self.subTest(version):
                self.api.secret = None
                installed = self.secret(version)
                del installed["data"]["jwt-secret"]
                self.api.secret = installed
                upgraded = self.secret(version)["data"]
                self.assertEqual(upgraded["publish-key"], installed["data"]["publish-key"])
                self.assertIn("jwt-secret", upgraded)


if __name__ == "__main__":
    unittest.main()
