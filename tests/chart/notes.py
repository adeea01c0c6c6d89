"""The commands in NOTES.txt work, as far as they need no cluster: kubectl asks the API in api.py, and curl a node."""

import base64
import json
import os
import pathlib
import re
import subprocess
import tempfile
import unittest

import yaml

from api import Api
from chart import BINARY, CHART, HELM, VALUE_FILES, broker, helm, render
from pod import Cluster, Container
from tls import make_certificates

# A user's terminal: the user leaves a stream after a while, and the node already has the forwarded port.
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
        """The indented lines, without those that need a whole cluster."""
        lines = re.sub(r"\\\\\n +", "", "".join(line + "\n" for line in notes.splitlines() if line.startswith("  "))).splitlines()
        return [line.strip() for line in lines if not re.search("rollout status|helm .* test", line)]

    def typed(self, values, *sets, secrets=()):
        """The output and errors of all commands, run one after the other."""
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

    def test_commands_publish_read_and_make_a_token(self):
        output, errors = self.typed("embedded", KEY, 'auth.jwtSecret="s3cr3t-s3cr3t-s3cr3t-s3cr3t-s3cr3t"')
        self.assertIn('data: {"name":"Luke"}', output, errors)
        self.assertRegex(output, r'\{"id":"\d+-1"\}', errors)
        [claims] = re.findall(r"^ey[\w-]+\.([\w-]+)\.", output, re.MULTILINE)
        self.assertIn("p_aBcDeF", json.dumps(json.loads(base64.urlsafe_b64decode(claims + "=="))))

    def test_commands_work_with_an_open_broker(self):
        output, errors = self.typed("open", "redis.bundled.enabled=false", "replicaCount=1")
        self.assertIn('data: {"name":"Luke"}', output, errors)

    def test_commands_work_with_tls(self):
        with tempfile.TemporaryDirectory() as folder:
            files = make_certificates(pathlib.Path(folder), "events.example.com")
        output, errors = self.typed("tls", KEY, secrets={"events-tls": files})
        self.assertIn('data: {"name":"Luke"}', output, errors)

    def test_existing_secret_needs_a_key_from_the_user(self):
        notes = self.notes("existing-secret")
        self.assertIn("KEY=<", notes)
        self.assertNotIn("get secret", notes)

    def test_ingress_comes_with_a_doctor_command(self):
        [command] = [line for line in self.commands(self.notes("ingress-nginx")) if "doctor" in line]
        self.assertEqual(command, "PIPECAST_TOKEN=$KEY pipecast doctor https://events.example.com --idle-for 5m")
        # Nothing listens at this address, so the doctor fails, but it accepts the command.
        there = command.replace("https://events.example.com", "http://127.0.0.1:1").replace("pipecast", BINARY)
        answer = subprocess.run(["bash", "-c", f"KEY=s3cr3t; {there}"], capture_output=True, text=True, timeout=30)
        self.assertIn("Connection refused", answer.stdout, answer.stderr)
        self.assertEqual(answer.returncode, 1)

    def test_publish_only_key_gets_no_command_to_read(self):
        notes = self.notes("tokens")
        self.assertIn("get secret", notes)
        self.assertNotIn("/sse", notes)
        self.assertIn("PIPECAST_AUTH__ISSUER='https://issuer.example.com' PIPECAST_AUTH__AUDIENCE='pipecast' PIPECAST_AUTH__JWT_SECRET=", notes)


if __name__ == "__main__":
    unittest.main()
