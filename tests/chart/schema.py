"""Invalid values are rejected with an error that names them."""

import json
import re
import subprocess
import unittest

from chart import BINARY, CHART, HELMS, helm

# The value, and what the error must name.
INVALID = {
    'replicaCount="many"': "replicaCount",
    "replicaCount=-1": "replicaCount",
    "replicas=3": "replicas",
    'image.pullPolicy="Sometimes"': "pullPolicy",
    'image.digest="latest"': "digest",
    'auth.publish=""': "publish",
    'auth.publish="everyone"': "publish",
    'auth.publishKey="short"': "publishKey",
    'auth.jwtSecret="too-short-for-a-secret"': "jwtSecret",
    'auth.keys=[{"name":"backend"}]': "key",
    'redis.external.url="http://redis:6379"': "url",
    'redis.external.host="redis://redis"': "host",
    "redis.external.port=70000": "port",
    'redis.bundled.password="a@b"': "password",
    'settings.stream.max_agee="1h"': "max_agee",
    'settings.stream.keepalive="often"': "keepalive",
    'settings.server.listen="0.0.0.0:80"': "listen",
    'settings.drain.lead="soon"': "lead",
    'settings.log.format="xml"': "format",
    "settings.history.limit=1.5": "limit",
    'service.type="Public"': "type",
    'service.ipFamilyPolicy="Both"': "ipFamilyPolicy",
    'ingress.controller="apache"': "controller",
    'listenAddress="127.0.0.1"': "listenAddress",
    'metricsJob="a\\"b"': "metricsJob",
    'prometheusRule.runbookUrl="docs/operate/runbook.md"': "runbookUrl",
    'dashboard.labels={"grafana_dashboard":1}': "grafana_dashboard",
}
# Values that are invalid only together, and what the error must name.
CONFLICTS = {
    ("redis.bundled.enabled=false",): "redis.external.url",
    ("redis.bundled.enabled=false", "replicaCount=1", "autoscaling.enabled=true"): "autoscaling.enabled=false",
    ('redis.external.url="redis://a"', 'redis.external.host="b"'): "redis.external.host",
    ('redis.external.existingSecret="a"',): "redis.external.existingSecretUrlKey",
    ("auth.generate=false",): "auth.existingSecret",
    ("tls.enabled=true",): "tls.existingSecret",
    ("terminationGracePeriodSeconds=35",): "35",
    ('settings.drain.deadline="2m"', "terminationGracePeriodSeconds=120"): "125",
    ("serviceMonitor.enabled=true", "podMonitor.enabled=true"): "podMonitor",
    ("autoscaling.enabled=true", "autoscaling.targetCPUUtilizationPercentage=null"): "autoscaling.targetStreams",
    ("autoscaling.enabled=true", "autoscaling.minReplicas=20"): "autoscaling.maxReplicas",
    ("httpRoute.enabled=true",): "httpRoute.parentRefs",
}


class Schema(unittest.TestCase):
    def rejection(self, version, sets):
        arguments = ["template", "pipecast", CHART]
        for each in sets:
            arguments += ["--set-json", each]
        status, _, errors = helm(version, *arguments)
        self.assertNotEqual(status, 0, f"{sets} is accepted")
        return errors

    def test_invalid_values_are_rejected_by_name(self):
        for version in HELMS:
            for value, name in INVALID.items():
                with self.subTest(f"{version}, {value}"):
                    errors = self.rejection(version, [value])
                    self.assertIn("values don't meet the specifications of the schema", errors)
                    self.assertIn(name, errors)

    def test_conflicting_values_are_rejected_with_a_fix(self):
        for version in HELMS:
            for conflict, named in CONFLICTS.items():
                with self.subTest(f"{version}, {conflict}"):
                    self.assertIn(named, self.rejection(version, conflict))

    def test_schema_has_every_setting_but_the_charts_own(self):
        table = subprocess.run([BINARY, "config", "--markdown"], env={}, capture_output=True, text=True, check=True).stdout
        settings = set(re.findall(r"^\| `(\w+\.\w+)`", table, re.MULTILINE))
        sections = json.loads((CHART / "values.schema.json").read_text())["properties"]["settings"]["properties"]
        known = {f"{section}.{key}" for section, about in sections.items() for key in about["properties"]}
        own = {f"server.{key}" for key in ("listen", "admin_listen", "tls_cert", "tls_key")}
        own |= {f"auth.{key}" for key in ("publish", "subscribe", "keys", "keys_file", "jwt_secret", "jwt_secret_file", "jwks_url", "issuer", "audience")}
        own |= {f"redis.{key}" for key in ("url", "password_file", "sentinel_user", "sentinel_password_file", "tls_ca", "tls_cert", "tls_key", "prefix")}
        self.assertEqual(settings - own, known)

    def test_readme_and_copies_of_deploy_are_current(self):
        check = subprocess.run([CHART.parent.parent / "scripts" / "chart-readme", "--check"], capture_output=True, text=True)
        self.assertEqual(check.returncode, 0, check.stderr)


if __name__ == "__main__":
    unittest.main()
