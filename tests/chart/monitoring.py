"""The chart's monitors, rules and dashboard are those of deploy/, for one installation."""

import json
import pathlib
import re
import subprocess
import tempfile
import unittest

import yaml

from chart import CHART, HELMS, helm, one, render

DEPLOY = CHART.parent.parent / "deploy"
SHIPPED = yaml.safe_load((DEPLOY / "prometheus" / "pipecast.rules.yml").read_text())["groups"]
ON = "prometheusRule.enabled=true"


def rules(groups):
    return {rule.get("alert") or rule["record"]: rule for group in groups for rule in group["rules"]}


def promtool(*arguments, cwd=None):
    answer = subprocess.run(["promtool", *arguments], cwd=cwd, capture_output=True, text=True)
    return answer.returncode, answer.stdout + answer.stderr


class Monitoring(unittest.TestCase):
    def groups(self, version, *sets):
        return one(render(version, "bundled-redis", ON, *sets), "PrometheusRule")["spec"]["groups"]

    def run_rule_tests(self, groups, tests):
        """Runs promtool's tests on these rules."""
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "pipecast.rules.yml").write_text(yaml.safe_dump({"groups": groups}))
            pathlib.Path(folder, "test.yml").write_text(tests if isinstance(tests, str) else yaml.safe_dump(tests))
            status, output = promtool("check", "rules", "pipecast.rules.yml", cwd=folder)
            self.assertEqual(status, 0, output)
            self.assertNotRegex(output, "(?i)lint error")
            status, output = promtool("test", "rules", "test.yml", cwd=folder)
            self.assertEqual(status, 0, output)

    def test_monitors_scrape_the_admin_port_as_the_rules_job(self):
        endpoint = {"port": "admin", "path": "/metrics", "interval": "15s", "scrapeTimeout": "5s"}
        for version in HELMS:
            with self.subTest(version):
                objects = render(version, "everything-on")
                [found] = one(objects, "ServiceMonitor")["spec"]["endpoints"]
                job = {"targetLabel": "job", "replacement": "realtime/events"}
                # The operator's own come last and win.
                self.assertEqual(found.pop("relabelings"), [job, {"action": "labeldrop", "regex": "pod_ip"}])
                self.assertEqual({key: found[key] for key in found if key != "metricRelabelings"}, endpoint)
                [port] = one(objects, "Service", "-admin")["spec"]["ports"]
                self.assertEqual((port["name"], port["targetPort"]), ("admin", "admin"))
                job = {"targetLabel": "job", "replacement": "mine"}
                monitor = one(render(version, "pod-monitor", 'metricsJob="mine"'), "PodMonitor")
                self.assertEqual(monitor["spec"]["podMetricsEndpoints"], [endpoint | {"relabelings": [job]}])

    def test_rules_are_those_of_deploy(self):
        for version in HELMS:
            with self.subTest(version):
                groups = self.groups(version, 'metricsJob="pipecast"', "replicaCount=1")
                self.assertEqual([group["name"] for group in groups], [group["name"] for group in SHIPPED])
                found, shipped = rules(groups), rules(SHIPPED)
                self.assertEqual(list(found), list(shipped))
                for name, rule in found.items():
                    self.assertEqual(rule.get("for"), shipped[name].get("for"), name)
                    self.assertEqual(rule.get("labels"), shipped[name].get("labels"), name)
                    # With `{{ $labels.instance }}`, which is not Helm's.
                    self.assertEqual(rule.get("annotations"), shipped[name].get("annotations"), name)
                self.run_rule_tests(groups, (DEPLOY / "prometheus" / "pipecast.test.yml").read_text())

    def test_rules_cover_only_this_installation(self):
        text = (DEPLOY / "prometheus" / "pipecast.test.yml").read_text()
        groups = self.groups("Helm 4", "replicaCount=1")
        self.run_rule_tests(groups, re.sub('job(="|: )pipecast', r"job\1realtime/pipecast", text))
        # Other installations fire nothing here, except the alert that nothing is scraped.
        groups = self.groups("Helm 4", "replicaCount=1", 'prometheusRule.disabled=["PipecastNotScraped"]')
        tests = yaml.safe_load(text)
        for test in tests["tests"]:
            for each in test["promql_expr_test"]:
                each["exp_samples"] = []
            for each in test.get("alert_rule_test", []):
                each["exp_alerts"] = []
        self.run_rule_tests(groups, tests)

    def test_alert_fires_for_pods_that_never_started(self):
        for sets in (("replicaCount=5",), ("autoscaling.enabled=true", "autoscaling.minReplicas=5")):
            for there, samples in {2: [{"labels": '{alertname="PipecastReplicasDown"}', "value": 1}], 3: []}.items():
                series = [{"series": f'up{{job="realtime/pipecast",instance="{number}"}}', "values": "1x40"} for number in range(there)]
                firing = {"expr": 'count by (alertname) (ALERTS{alertstate="firing"})', "eval_time": "5m", "exp_samples": samples}
                test = {"interval": "15s", "input_series": series, "promql_expr_test": [firing]}
                self.run_rule_tests(self.groups("Helm 4", *sets), {"rule_files": ["pipecast.rules.yml"], "evaluation_interval": "15s", "tests": [test]})

    def test_rules_can_be_disabled_added_and_labelled(self):
        for version in HELMS:
            with self.subTest(version):
                rule = one(render(version, "everything-on"), "PrometheusRule")
                self.assertEqual(rule["metadata"]["labels"]["release"], "prometheus")
                *groups, mine = rule["spec"]["groups"]
                self.assertEqual(mine, {"name": "mine", "rules": [{"record": "pipecast:streams", "expr": "sum(pipecast_streams)"}]})
                found = rules(groups)
                self.assertEqual(set(rules(SHIPPED)) - set(found), {"PipecastClientErrors"})
                for name, one_rule in found.items():
                    if "alert" in one_rule:
                        self.assertEqual(one_rule["labels"]["team"], "realtime")
                        self.assertEqual(one_rule["annotations"]["runbook_url"], f"https://docs.example.com/runbook#{name.lower()}")
                        self.assertNotIn("runbook", one_rule["annotations"])

    def test_unknown_rule_cannot_be_disabled(self):
        for version in HELMS:
            status, _, errors = helm(version, "template", "pipecast", CHART, "--set-json", ON, "--set-json", 'prometheusRule.disabled=["PipecastStoreAwy"]')
            self.assertNotEqual(status, 0)
            self.assertRegex(errors, r"\bPipecastStoreAwy\b.*\bPipecastStoreAway\b")

    def test_dashboard_is_that_of_deploy(self):
        shipped = json.loads((DEPLOY / "grafana" / "pipecast.json").read_text())
        for version in HELMS:
            with self.subTest(version):
                plain = one(render(version, "bundled-redis", "dashboard.enabled=true"), "ConfigMap", "-dashboard")
                self.assertEqual(json.loads(plain["data"]["pipecast.json"]), shipped)
                self.assertEqual(plain["metadata"]["labels"]["grafana_dashboard"], "1")
                self.assertEqual({"namespace", "annotations"} & set(plain["metadata"]), set())
                about = one(render(version, "everything-on"), "ConfigMap", "-dashboard")["metadata"]
                self.assertEqual((about["namespace"], about["labels"]["grafana_dashboard"]), ("monitoring", "yes"))
                self.assertEqual(about["annotations"], {"grafana_folder": "Realtime", "example.com/m": "o"})

    def test_packaged_chart_has_rules_and_dashboard(self):
        for version in HELMS:
            with self.subTest(version), tempfile.TemporaryDirectory() as folder:
                status, output, errors = helm(version, "package", CHART, "--destination", folder)
                self.assertEqual(status, 0, output + errors)
                [package] = pathlib.Path(folder).iterdir()
                sets = ("--set-json", "dashboard.enabled=true", "--set-json", ON, "--show-only", "templates/dashboard.yaml", "--show-only", "templates/prometheusrule.yaml")
                rendered = [helm(version, "template", "pipecast", chart, *sets) for chart in (CHART, package)]
                self.assertEqual(rendered[0], rendered[1])
                self.assertEqual(len(re.findall("^kind: ", rendered[0][1], re.MULTILINE)), 2, rendered[0])


if __name__ == "__main__":
    unittest.main()
