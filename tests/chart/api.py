"""The part of a Kubernetes API that Helm and kubectl need for a Secret."""

import http.server
import json
import threading

# The kinds that the chart makes by default: Helm 4 asks whether the API knows them.
KINDS = {"v1": ["ConfigMap", "Pod", "Secret", "Service", "ServiceAccount"], "apps/v1": ["Deployment", "StatefulSet"], "policy/v1": ["PodDisruptionBudget"]}
SECRET = "/api/v1/namespaces/realtime/secrets/pipecast"


class Api(http.server.ThreadingHTTPServer):
    """Answers a `lookup` of the Secret, and keeps the paths of all requests in `asked`."""

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
