"""What NOTES.txt says to type is typed, as far as there is no cluster in it: kubectl asks the part of an API that upgrades.py has, curl a node."""

import base64
import json
import os
import pathlib
import re
import subprocess
import tempfile
import unittest

import yaml

from chart import CHART, VALUE_FILES, helm, render
from containers import BINARY, HELM, broker, make_certificates
from pod import Cluster, Container
from upgrades import Cluster as Api

# For what a person has in a terminal: a stream that is left after a while, and a forwarded port, which the node has here.
TERMINAL = """
kubectl() { case " $* " in *" port-forward "*) ;; *) command "$KUBECTL" "$@" ;; esac; }
curl() { command curl --silent --show-error --max-time 3 "$@"; }
pipecast() { "$BINARY" "$@"; }
"""
KEY = 'auth.publishKey="s3cr3t-publish-key"'


class Notes(unittest.TestCase):
    def notes(self, values, *sets):
        arguments = ["install", "pipecast", CHART, "--namespace", "realtime", "--dry-run=client", "--values", VALUE_FILES[values]]
        for each in sets:
            arguments += ["--set-json", each]
        status, output, errors = helm(HELM, *arguments)
        self.assertEqual(status, 0, errors)
        return output.split("NOTES:")[1]

    def commands(self, notes):
        """The lines that are indented, without those that only a cluster and its Helm understand."""
        lines = re.sub(r"\\\\\n +", "", "".join(line + "\n" for line in notes.splitlines() if line.startswith("  "))).splitlines()
        return [line.strip() for line in lines if not re.search("rollout status|helm .* test", line)]

    def typed(self, values, *sets, secrets=()):
        """What comes back when all commands are typed, one after the other."""
        api = Api()
        self.addCleanup(api.server_close)
        self.addCleanup(api.shutdown)
        objects = render(HELM, values, *sets)
        api.secret = next((each for each in objects if each["kind"] == "Secret"), None)
        node = Container(Cluster(objects, secrets), broker(objects), [BINARY])
        self.addCleanup(node.kill)
        node.await_ready()
        with tempfile.TemporaryDirectory() as folder:
            kubeconfig = pathlib.Path(folder, "config")
            kubeconfig.write_text(yaml.safe_dump(api.kubeconfig()))
            commands = [*self.commands(self.notes(values, *sets)), "wait"]
            script = TERMINAL + "\n".join(commands)
            environment = {"PATH": os.environ["PATH"], "HOME": folder, "KUBECONFIG": str(kubeconfig), "KUBECTL": os.environ["KUBECTL"], "BINARY": BINARY}
            answer = subprocess.run(["bash", "-euc", script], env=environment, capture_output=True, text=True, timeout=60)
        node.kill()
        return answer.stdout, answer.stderr

    def test_their_commands_publish_read_and_make_a_token(self):
        output, errors = self.typed("embedded", KEY, 'auth.jwtSecret="s3cr3t-s3cr3t-s3cr3t-s3cr3t-s3cr3t"')
        self.assertIn('data: {"name":"Luke"}', output, errors)
        self.assertRegex(output, r'\{"id":"\d+-1"\}', errors)
        [claims] = re.findall(r"^ey[\w-]+\.([\w-]+)\.", output, re.MULTILINE)
        self.assertIn("p_aBcDeF", json.dumps(json.loads(base64.urlsafe_b64decode(claims + "=="))))

    def test_their_commands_fit_an_open_broker(self):
        output, errors = self.typed("open", "redis.bundled.enabled=false", "replicaCount=1")
        self.assertIn('data: {"name":"Luke"}', output, errors)

    def test_their_commands_fit_a_certificate_of_the_pods(self):
        with tempfile.TemporaryDirectory() as folder:
            files = make_certificates(pathlib.Path(folder), "events.example.com")
        output, errors = self.typed("tls", KEY, secrets={"events-tls": files})
        self.assertIn('data: {"name":"Luke"}', output, errors)

    def test_who_has_a_secret_of_his_own_is_told_to_put_a_key_in(self):
        notes = self.notes("existing-secret")
        self.assertIn("KEY=<your key or token>", notes)
        self.assertNotIn("get secret", notes)

    def test_an_ingress_comes_with_the_command_that_tries_it(self):
        [command] = [line for line in self.commands(self.notes("ingress-nginx")) if "doctor" in line]
        self.assertEqual(command, "PIPECAST_TOKEN=$KEY pipecast doctor https://events.example.com --idle-for 5m")
        # Nothing listens there, which it says: the words are right.
        there = command.replace("https://events.example.com", "http://127.0.0.1:1").replace("pipecast", BINARY)
        answer = subprocess.run(["bash", "-c", f"KEY=s3cr3t; {there}"], capture_output=True, text=True, timeout=30)
        self.assertRegex(answer.stdout, "FAIL .*Connection refused")
        self.assertEqual(answer.returncode, 1)

    def test_a_key_that_may_not_read_is_not_told_to(self):
        notes = self.notes("tokens")
        self.assertIn("allows you to publish:", notes)
        self.assertNotIn("/sse", notes)
        self.assertIn("PIPECAST_AUTH__ISSUER='https://issuer.example.com' PIPECAST_AUTH__AUDIENCE='pipecast' PIPECAST_AUTH__JWT_SECRET=", notes)


if __name__ == "__main__":
    unittest.main()
