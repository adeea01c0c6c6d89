"""The chart as Helm renders it."""

import functools
import json
import os
import pathlib
import subprocess

import yaml

HERE = pathlib.Path(__file__).resolve().parent
CHART = HERE.parent.parent / "helm" / "pipecast"
VALUE_FILES = {path.stem: path for path in sorted((HERE / "values").glob("*.yaml"))}
HELMS = {"Helm 3": os.environ["HELM3"], "Helm 4": os.environ["HELM4"]}
# Kinds of objects that are not Kubernetes' own.
CUSTOM_GROUPS = ("monitoring.coreos.com", "gateway.networking.k8s.io")


def helm(version, *arguments):
    """Runs Helm; gives its exit code and all that it says."""
    return_value = subprocess.run([HELMS[version], *map(str, arguments)], capture_output=True, text=True, timeout=60)
    return return_value.returncode, return_value.stdout, return_value.stderr


@functools.cache
def render_text(version, values, *sets):
    """What `helm template` makes of a file in `values`, with `--set` for each of the rest."""
    arguments = ["template", "pipecast", CHART, "--namespace", "realtime", "--values", VALUE_FILES[values]]
    for one in sets:
        arguments += ["--set-json", one]
    status, output, errors = helm(version, *arguments)
    if status != 0:
        raise AssertionError(f"{version} does not render {values}: {errors}")
    return output


def render(version, values, *sets):
    return [each for each in yaml.safe_load_all(render_text(version, values, *sets)) if each]


def one(objects, kind, suffix=None):
    """The only object of this kind, whose name ends so."""
    found = [each for each in objects if each["kind"] == kind and (suffix is None or each["metadata"]["name"].endswith(suffix))]
    assert len(found) == 1, f"{len(found)} objects {kind} {suffix or ''}"
    return found[0]


def has(objects, kind):
    return any(each["kind"] == kind for each in objects)


def pod_templates(objects):
    """Names and metadata with spec of all that runs as a pod."""
    for each in objects:
        if each["kind"] in ("Deployment", "StatefulSet"):
            yield each["metadata"]["name"], each["spec"]["template"]
        elif each["kind"] == "Pod":
            yield each["metadata"]["name"], each


def faults_of_custom_kinds(objects):
    answer = subprocess.run(["node", HERE / "custom_kinds.mjs"], input=json.dumps(objects), capture_output=True, text=True, timeout=60)
    return answer.stdout + answer.stderr
