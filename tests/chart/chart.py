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
# Where one version is enough.
HELM = "Helm 4"
BINARY = os.environ["PIPECAST_BIN"]
# Groups of custom kinds.
CUSTOM_GROUPS = ("monitoring.coreos.com", "gateway.networking.k8s.io")


def helm(version, *arguments):
    """Runs Helm and returns its exit code, output and errors."""
    return_value = subprocess.run([HELMS[version], *map(str, arguments)], capture_output=True, text=True, timeout=60)
    return return_value.returncode, return_value.stdout, return_value.stderr


@functools.cache
def render_text(version, values, *sets):
    """The output of `helm template` for a file in `values`, with `--set-json` for each of the others."""
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
    """The only object of this kind, or of those whose names end with `suffix`."""
    found = [each for each in objects if each["kind"] == kind and (suffix is None or each["metadata"]["name"].endswith(suffix))]
    assert len(found) == 1, f"{len(found)} objects {kind} {suffix or ''}"
    return found[0]


def has(objects, kind):
    return any(each["kind"] == kind for each in objects)


def pod_templates(objects):
    """The names and templates of everything that runs as a pod."""
    for each in objects:
        if each["kind"] in ("Deployment", "StatefulSet"):
            yield each["metadata"]["name"], each["spec"]["template"]
        elif each["kind"] == "Pod":
            yield each["metadata"]["name"], each


def broker(objects):
    """The template of the nodes' pods."""
    return one(objects, "Deployment")["spec"]["template"]


def custom_kind_errors(objects):
    answer = subprocess.run(["node", HERE / "custom_kinds.mjs"], input=json.dumps(objects), capture_output=True, text=True, timeout=60)
    return answer.stdout + answer.stderr
