"""The rendered objects are valid and correct, with Helm 3 and Helm 4."""

import base64
import pathlib
import re
import subprocess
import tempfile
import unittest

import kubernetes_validate
import yaml

from chart import BINARY, CHART, CUSTOM_GROUPS, HELM, HELMS, VALUE_FILES, custom_kind_errors, has, helm, one, pod_templates, render
from support.environment import without_settings

# Value files without a secret that is generated at every rendering.
SETTLED = ["tokens", "open", "everything-off"]
KUBERNETES = ["1.27", "1.34"]


class Manifests(unittest.TestCase):
    def setUp(self):
        self.case = ""

    def _formatMessage(self, message, standard):
        return f"{self.case}: {super()._formatMessage(message, standard)}"

    def each(self, values=None):
        """The objects of these value files, or of all, with both versions of Helm. Failures name the case."""
        for version in HELMS:
            for name in values or VALUE_FILES:
                self.case = f"{version}, {name}"
                yield render(version, name)

    def broker(self, objects):
        return one([each for each in objects if each["kind"] == "Deployment"], "Deployment")["spec"]["template"]["spec"]

    def container(self, objects):
        return self.broker(objects)["containers"][0]

    def test_lint_passes(self):
        for version in HELMS:
            for name, path in VALUE_FILES.items():
                with self.subTest(f"{version}, {name}"):
                    status, output, errors = helm(version, "lint", "--strict", CHART, "--values", path)
                    self.assertEqual(status, 0, output + errors)

    def test_kubernetes_schemas_accept_all_objects(self):
        for objects in self.each():
            for object in objects:
                if object["apiVersion"].split("/")[0] in CUSTOM_GROUPS:
                    continue
                for kubernetes in KUBERNETES:
                    try:
                        kubernetes_validate.validate(object, kubernetes, strict=True)
                    except kubernetes_validate.ValidationError as error:
                        self.fail(f"{object['kind']} {object['metadata']['name']}, {kubernetes}: {error.message}")

    def test_custom_schemas_accept_custom_objects(self):
        found = []
        for objects in self.each():
            found += [object for object in objects if object["apiVersion"].split("/")[0] in CUSTOM_GROUPS]
        self.assertEqual({object["kind"] for object in found}, {"HTTPRoute", "PodMonitor", "PrometheusRule", "ServiceMonitor"})
        self.assertEqual(custom_kind_errors(found), "")

    def test_schemas_reject_invalid_objects(self):
        objects = render("Helm 3", "everything-on")
        deployment = one(objects, "Deployment")
        deployment["spec"]["template"]["spec"]["terminationGrace"] = 1
        with self.assertRaises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(deployment, KUBERNETES[0], strict=True)
        monitor = one(objects, "ServiceMonitor")
        monitor["spec"]["endpoints"] = "all"
        self.assertIn("endpoints", custom_kind_errors([monitor]))

    def test_both_helm_versions_render_the_same(self):
        for name in SETTLED:
            with self.subTest(name):
                sets = ['redis.bundled.password="s3cr3t"'] if name == "tokens" or name == "open" else []
                self.assertEqual(render("Helm 3", name, *sets), render("Helm 4", name, *sets))

    def test_object_names_are_unique(self):
        for objects in self.each():
            names = [(each["kind"], each["metadata"]["name"]) for each in objects]
            self.assertEqual(len(names), len(set(names)), names)

    def test_pod_has_more_time_to_stop_than_its_drain_needs(self):
        for objects in self.each():
            config = one(objects, "ConfigMap", None if not has_more(objects) else "events")["data"]["pipecast.toml"]
            lead, deadline = (seconds(re.search(rf'^{key} = "(.*)"', config, re.MULTILINE)[1]) for key in ("lead", "deadline"))
            self.assertGreater(self.broker(objects)["terminationGracePeriodSeconds"], lead + deadline)

    def test_probes_ask_the_admin_port(self):
        for objects in self.each():
            container = self.container(objects)
            ports = {port["name"]: port["containerPort"] for port in container["ports"]}
            self.assertEqual(ports, {"public": 8080, "admin": 8081})
            for probe, path in (("livenessProbe", "/livez"), ("readinessProbe", "/readyz?exclude=store"), ("startupProbe", "/readyz")):
                self.assertEqual(container[probe]["httpGet"], {"path": path, "port": "admin"})

    def test_load_balancer_checks_the_readiness_path(self):
        for version in HELMS:
            objects = render(version, "ingress-alb", 'readinessProbe.httpGet.path="/readyz"')
            self.assertEqual(self.container(objects)["readinessProbe"], {"httpGet": {"path": "/readyz", "port": "admin"}, "periodSeconds": 2, "timeoutSeconds": 2, "failureThreshold": 2})
            self.assertEqual(one(objects, "Ingress")["metadata"]["annotations"]["alb.ingress.kubernetes.io/healthcheck-path"], "/readyz")

    def test_pod_waits_for_redis_until_the_rollout_deadline(self):
        for objects in self.each():
            probe = self.container(objects)["startupProbe"]
            # The default progressDeadlineSeconds of a Deployment.
            self.assertGreaterEqual(probe["periodSeconds"] * probe["failureThreshold"], 600)

    def test_secret_values_are_only_in_secrets(self):
        for objects in self.each():
            secrets = [each for each in objects if each["kind"] == "Secret"]
            held = [value for secret in secrets for value in decoded(secret).values()]
            rest = yaml.safe_dump([each for each in objects if each["kind"] != "Secret"], width=10**6)
            for value in held:
                self.assertNotIn(value.strip(), rest)
            # The value files' own secrets contain this mark.
            self.assertNotIn("s3cr3t", rest)

    def test_selectors_match_only_their_pods(self):
        for objects in self.each():
            labels = {name: template["metadata"]["labels"] for name, template in pod_templates(objects)}
            redis = {name for name in labels if name.endswith("-redis")}
            broker = {name for name in labels if not name.endswith(("-redis", "-test"))}
            for each in objects:
                kind, spec = each["kind"], each.get("spec", {})
                selector = {"Service": lambda: spec["selector"], "NetworkPolicy": lambda: spec["podSelector"]["matchLabels"]}.get(
                    kind, lambda: spec["selector"]["matchLabels"]
                )
                if kind in ("Service", "NetworkPolicy", "Deployment", "StatefulSet", "PodDisruptionBudget", "PodMonitor"):
                    found = {name for name, has in labels.items() if selector().items() <= has.items()}
                    self.assertEqual(found, redis if each["metadata"]["name"].endswith("-redis") else broker, kind)
                elif kind == "ServiceMonitor":
                    services = [one["metadata"]["name"] for one in objects if one["kind"] == "Service" and selector().items() <= one["metadata"]["labels"].items()]
                    self.assertEqual(services, [next(iter(broker)) + "-admin"])

    def test_routes_lead_only_to_the_public_port(self):
        for objects in self.each():
            container_ports = {port["name"]: port["containerPort"] for port in self.container(objects)["ports"]}
            services = {each["metadata"]["name"]: each["spec"] for each in objects if each["kind"] == "Service"}
            for each in objects:
                if each["kind"] == "Ingress":
                    for rule in each["spec"]["rules"]:
                        backend = rule["http"]["paths"][0]["backend"]["service"]
                        [port] = [port for port in services[backend["name"]]["ports"] if port["name"] == backend["port"]["name"]]
                        self.assertEqual(container_ports[port["targetPort"]], 8080)
                elif each["kind"] == "HTTPRoute":
                    [rule] = each["spec"]["rules"]
                    [backend] = rule["backendRefs"]
                    self.assertEqual(rule["timeouts"], {"request": "0s", "backendRequest": "0s"})
                    [port] = services[backend["name"]]["ports"]
                    self.assertEqual((port["port"], container_ports[port["targetPort"]]), (backend["port"], 8080))
            for name, service in services.items():
                targets = {port["targetPort"] for port in service["ports"]}
                self.assertEqual(targets, {"admin"} if name.endswith("-admin") else {"redis"} if name.endswith("-redis") else {"public"})
                if name.endswith("-admin"):
                    self.assertEqual(service["type"], "ClusterIP")

    def test_pods_are_restricted(self):
        for objects in self.each([name for name in VALUE_FILES if name != "everything-off"]):
            for name, template in pod_templates(objects):
                spec = template["spec"]
                self.assertIs(spec["automountServiceAccountToken"], False, name)
                self.assertIs(spec["enableServiceLinks"], False, name)
                self.assertIs(spec["securityContext"]["runAsNonRoot"], True, name)
                self.assertGreater(spec["securityContext"]["runAsUser"], 0, name)
                self.assertEqual(spec["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"}, name)
                context = spec["containers"][0]["securityContext"]
                self.assertEqual(
                    context, {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}, name
                )

    def test_rollout_never_has_fewer_nodes(self):
        for objects in self.each():
            spec = one(objects, "Deployment")["spec"]
            self.assertEqual(spec["strategy"], {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}})
            self.assertGreater(spec["minReadySeconds"], 0)
            self.assertEqual("replicas" in spec, not has(objects, "HorizontalPodAutoscaler"))

    def test_mounts_have_volumes_and_volumes_have_mounts(self):
        for objects in self.each():
            for name, template in pod_templates(objects):
                mounts = {mount["name"] for mount in template["spec"]["containers"][0].get("volumeMounts", [])}
                volumes = {volume["name"] for volume in template["spec"].get("volumes", [])}
                claims = {"data"} if name.endswith("-redis") and not volumes else set()
                self.assertEqual(mounts, volumes | claims, name)

    def test_default_access_needs_tokens(self):
        for objects in self.each(["bundled-redis", "embedded", "external-url"]):
            config = one(objects, "ConfigMap")["data"]["pipecast.toml"]
            self.assertIn('publish = "token"', config)
            self.assertIn('subscribe = "token"', config)
            self.assertGreaterEqual(len(decoded(one(objects, "Secret"))["publish-key"]), 32)
        first, second = (decoded(one(objects, "Secret"))["publish-key"] for objects in self.each(["bundled-redis"]))
        self.assertNotEqual(first, second)

    def test_generated_secret_restarts_nothing(self):
        for version in HELMS:
            first, second = (one(render(version, "bundled-redis", f"replicaCount={count}"), "Deployment") for count in (2, 3))
            self.assertEqual(first["spec"]["template"], second["spec"]["template"])

    def test_changed_settings_restart_pods(self):
        for version in HELMS:
            before = one(render(version, "tokens"), "Deployment")["spec"]["template"]["metadata"]["annotations"]
            config = one(render(version, "tokens", 'settings.log.filter="debug"'), "Deployment")["spec"]["template"]["metadata"]["annotations"]
            self.assertEqual([key for key in before if before[key] != config[key]], ["checksum/config"])

    def test_only_the_secret_depends_on_secret_values(self):
        # Not even as a hash, which is enough to guess a password.
        long = "hunter{0}-hunter{0}-hunter{0}-hunter{0}-hunter{0}"
        given = {
            "tokens": [f'auth.publishKey="{long}"', f'auth.jwtSecret="{long}"', f'auth.keys=[{{"name":"a","key":"{long}","publish":["*"]}}]'],
            "bundled-redis": [f'auth.publishKey="{long}"', 'redis.bundled.password="hunter{0}"'],
            "external-host": ['redis.external.password="hunter{0}"'],
            "external-url": ['redis.external.url="redis://:hunter{0}@redis.example.com"'],
        }
        for version in HELMS:
            for name, sets in given.items():
                first, second = (render(version, name, *(each.replace("{0}", str(n)) for each in sets)) for n in (2, 3))
                changed = [each["kind"] for each, other in zip(first, second, strict=True) if each != other and each["kind"] != "Secret"]
                self.assertEqual(changed, [], name)
                # Generated values too: only the data may differ.
                for objects in (first, second):
                    one(objects, "Secret").pop("data")
                self.assertEqual(one(first, "Secret"), one(second, "Secret"), name)
                self.assertNotIn("hunter", yaml.safe_dump_all(first + second), name)

    def test_redis_address_comes_from_the_values(self):
        for name, (url, secret, key) in {
            "external-host": ("redis://pipe%20cast@redis.example.com:6390/3", "pipecast", "redis-password"),
            "external-existing-secret": ("redis://pipecast@redis.example.com:6379/0", "my-redis", "pass"),
            "external-tls": ("rediss://redis.example.com:6379/0", "my-redis", "redis-password"),
            "bundled-redis": ("redis://pipecast-redis:6379/0", "pipecast", "redis-password"),
        }.items():
            for objects in self.each([name]):
                # The password is in a file: it need not fit into a URL, and is not in the environment.
                self.assertEqual(self.variables_of_redis(objects), [])
                config = one(objects, "ConfigMap")["data"]["pipecast.toml"].splitlines()
                self.assertIn(f'url = "{url}"', config)
                self.assertIn('password_file = "/etc/pipecast/redis/password"', config)
                [volume] = [volume["secret"] for volume in self.broker(objects)["volumes"] if volume["name"] == "redis"]
                self.assertEqual((volume["secretName"], volume["items"]), (secret, [{"key": key, "path": "password"}]))
        for objects in self.each(["external-host"]):
            self.assertEqual(decoded(one(objects, "Secret"))["redis-password"], "p@ss/word: s3cr3t")
        for name, secret in {"external-url": ("pipecast", "redis-url"), "external-existing-url": ("my-redis", "url")}.items():
            for objects in self.each([name]):
                [variable] = self.variables_of_redis(objects)
                self.assertEqual(variable, {"name": "PIPECAST_REDIS__URL", "valueFrom": {"secretKeyRef": dict(zip(("name", "key"), secret))}})
                self.assertNotIn("url =", one(objects, "ConfigMap")["data"]["pipecast.toml"])
        for objects in self.each(["external-url"]):
            self.assertEqual(decoded(one(objects, "Secret"))["redis-url"], "redis://pipecast:s3cr3t-in-a-url@redis.example.com:6390/2")
        for objects in self.each(["embedded", "everything-off"]):
            self.assertEqual(self.variables_of_redis(objects), [])
            self.assertFalse(has(objects, "StatefulSet"))

    def variables_of_redis(self, objects):
        return [each for each in self.container(objects)["env"] if each["name"].startswith("PIPECAST_REDIS__")]

    def test_network_policy_allows_the_ports_of_redis_and_jwks(self):
        for name, ports in {"external-url": {53, 6390}, "jwks": {53, 6379, 443}, "everything-on": {53, 6379, 443}}.items():
            for objects in self.each([name]):
                rules = one([each for each in objects if not each["metadata"]["name"].endswith("-redis")], "NetworkPolicy")["spec"]["egress"]
                self.assertEqual({port["port"] for rule in rules for port in rule["ports"]}, ports)
        for version in HELMS:
            objects = render(version, "jwks", 'auth.jwksUrl="https://issuer.example.com:8443/jwks.json"', "redis.bundled.enabled=false", "replicaCount=1")
            ports = [port["port"] for rule in one(objects, "NetworkPolicy")["spec"]["egress"] for port in rule["ports"]]
            self.assertEqual(ports, [53, 53, 8443])

    def test_network_policy_admits_the_helm_test_pod(self):
        for objects in self.each(["everything-on"]):
            rules = one([each for each in objects if not each["metadata"]["name"].endswith("-redis")], "NetworkPolicy")["spec"]["ingress"]
            [public] = [rule["from"] for rule in rules if rule["ports"][0]["port"] == "public"]
            self.assertEqual(public[0], {"podSelector": {}})
            self.assertLessEqual(public[1]["podSelector"]["matchLabels"].items(), one(objects, "Pod")["metadata"]["labels"].items())

    def test_ingress_annotations_suit_their_controllers(self):
        needed = {
            "nginx": {"nginx.ingress.kubernetes.io/proxy-buffering": "off", "nginx.ingress.kubernetes.io/enable-access-log": "false", "nginx.ingress.kubernetes.io/proxy-read-timeout": "3600"},
            "haproxy": {"haproxy.org/timeout-server": "3600s", "haproxy-ingress.github.io/timeout-server": "3600s"},
            "traefik": {"traefik.ingress.kubernetes.io/router.entrypoints": "websecure"},
            "alb": {"alb.ingress.kubernetes.io/healthcheck-path": "/readyz?exclude=store", "alb.ingress.kubernetes.io/healthcheck-port": "8081"},
        }
        for controller, annotations in needed.items():
            for objects in self.each([f"ingress-{controller}"]):
                ingress = one(objects, "Ingress")
                self.assertLessEqual((annotations | {"example.com/mine": "yes"}).items(), ingress["metadata"]["annotations"].items())
                self.assertEqual(ingress["spec"]["ingressClassName"], controller)

    def test_autoscaler_removes_nodes_slowly(self):
        for objects in self.each(["everything-on"]):
            spec = one(objects, "HorizontalPodAutoscaler")["spec"]
            self.assertEqual([metric["type"] for metric in spec["metrics"]], ["Resource", "Resource", "Pods"])
            self.assertEqual(spec["metrics"][2]["pods"]["target"]["averageValue"], "10000")
            self.assertGreaterEqual(spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"], 300)

    def test_streams_last_an_hour_by_default(self):
        for objects in self.each(["bundled-redis"]):
            self.assertIn('max_age = "1h"', one(objects, "ConfigMap")["data"]["pipecast.toml"])

    def test_node_accepts_every_configuration(self):
        key = "a-key-of-enough-characters-for-anything"
        with tempfile.TemporaryDirectory() as folder:
            for objects in self.each():
                config = one(objects, "ConfigMap", "events" if has_more(objects) else None)["data"]["pipecast.toml"]
                for path in re.findall(r'"/etc/pipecast/([^"]+)"', config):
                    file = pathlib.Path(folder, path)
                    file.parent.mkdir(exist_ok=True)
                    file.write_text(f'[[keys]]\nname = "a"\nkey = "{key}"\n' if path.endswith(".toml") else key)
                file = pathlib.Path(folder, "pipecast.toml")
                file.write_text(config.replace("/etc/pipecast", folder))
                answer = subprocess.run([BINARY, "config", "--config", file], env=without_settings(), capture_output=True, text=True)
                self.assertEqual(answer.returncode, 0, answer.stderr)

    def test_config_keeps_integers_and_lists(self):
        for objects in self.each(["everything-on"]):
            config = one(objects, "ConfigMap", "events")["data"]["pipecast.toml"]
            for line in ("streams = 5000", 'cors_origins = ["https://a.example.com", "https://b.example.com"]', "compression = true", 'keepalive = "10s"'):
                self.assertIn(line, config.splitlines())

    def test_notes_show_commands_and_warnings(self):
        # What the notes contain and do not, and how many warnings: of a Redis without a replica, of events in memory, of open access.
        for name, (there, absent, warnings) in {
            "bundled-redis": (["get secret pipecast ", "redis.external", 'Bearer $KEY"'], [], 1),
            "open": ([], ["get secret"], 2),
            "ingress-nginx": (["https://events.example.com/"], [], 1),
            "embedded": (["redis.external"], [], 1),
            "external-url": ([], ["redis.external"], 0),
        }.items():
            # Helm 3 would ask a cluster even here.
            status, output, errors = helm(HELM, "install", "pipecast", CHART, "--dry-run=client", "--values", VALUE_FILES[name])
            self.assertEqual(status, 0, errors)
            notes = output.split("NOTES:")[1]
            self.assertIn("helm -n default test pipecast", notes)
            for text in there:
                self.assertIn(text, notes)
            for text in absent:
                self.assertNotIn(text, notes)
            self.assertEqual(notes.count("NOTE:"), warnings, name)

    def test_chart_can_be_packaged(self):
        for version in HELMS:
            with tempfile.TemporaryDirectory() as folder:
                status, output, errors = helm(version, "package", CHART, "--destination", folder)
                self.assertEqual(status, 0, output + errors)


def has_more(objects):
    return sum(each["kind"] == "ConfigMap" for each in objects) > 1


def seconds(duration):
    number, unit = re.fullmatch(r"(\d+)(s|m)", duration).groups()
    return int(number) * {"s": 1, "m": 60}[unit]


def decoded(secret):
    return {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}


if __name__ == "__main__":
    unittest.main()
