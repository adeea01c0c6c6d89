"""A rendered pod's container, started as a kubelet and a container runtime would, with its own mounts and user.

Needs root and its own mount namespace; it shares the network of the tests.
"""

import atexit
import base64
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request

from support.server import Server

# In place of the images: this machine's folders. They belong to root, and no container runs as root.
SYSTEM = ["usr", "proc", "dev"]


class Cluster:
    """The ConfigMaps and Secrets of a rendering, and the operator's own Secrets. The names of Services lead to this machine."""

    def __init__(self, objects, secrets=(), names=()):
        self.config_maps = {each["metadata"]["name"]: {key: text.encode() for key, text in each["data"].items()} for each in objects if each["kind"] == "ConfigMap"}
        self.secrets = {
            each["metadata"]["name"]: {key: base64.b64decode(text) for key, text in each["data"].items()} for each in objects if each["kind"] == "Secret"
        }
        self.secrets |= dict(secrets)
        services = [each["metadata"]["name"] for each in objects if each["kind"] == "Service"]
        self.hosts = "".join(f"127.0.0.1 {name}\n" for name in ["localhost", *services, *names])

    def environment(self, container, of_image=()):
        """Its variables, which replace those of its image. `$(NAME)` refers to an earlier one."""
        result = dict(of_image)
        for variable in container.get("env", []):
            if "valueFrom" in variable:
                reference = variable["valueFrom"]["secretKeyRef"]
                value = self.secrets[reference["name"]][reference["key"]].decode()
            else:
                value = expand(variable.get("value", ""), result)
            result[variable["name"]] = value
        return result

    def files(self, volume):
        """The files of a volume by name, and their mode. None for an empty volume."""
        if "configMap" in volume:
            return self.config_maps[volume["configMap"]["name"]], 0o644
        if "secret" not in volume:
            return None, 0o777
        about = volume["secret"]
        held = self.secrets[about["secretName"]]
        if "items" in about:
            held = {item["path"]: held[item["key"]] for item in about["items"]}
        return held, about.get("defaultMode", 0o644)


def expand(text, environment):
    return re.sub(r"\$\((\w+)\)", lambda found: environment.get(found[1], found[0]), text)


class Container:
    """The first container of a pod template, with this machine's programs in place of its image."""

    def __init__(self, cluster, template, program=(), of_image=()):
        spec = template["spec"]
        self.spec = spec
        self._container = spec["containers"][0]
        self.environment = cluster.environment(self._container, of_image)
        self.root = pathlib.Path(tempfile.mkdtemp())
        self._volumes = {}
        user = {**spec["securityContext"], **self._container["securityContext"]}
        self._make_root(cluster, program, user)
        words = [*program, *self._container.get("command", []), *self._container.get("args", [])]
        self._command = ["/usr/sbin/chroot", str(self.root), *as_user(user)]
        command = [*self._command, *(expand(word, self.environment) for word in words)]
        self._server = Server(command, env={"PATH": "/usr/bin:/bin", "HOSTNAME": "pod", **self.environment})
        atexit.register(self.kill)

    def _make_root(self, cluster, program, user):
        root = self.root
        mount("-t", "tmpfs", "tmpfs", root)
        for name in SYSTEM:
            (root / name).mkdir()
            mount("--rbind", f"/{name}", root / name)
        for name in ("bin", "lib", "lib64"):
            (root / name).symlink_to(f"usr/{name}")
        (root / "etc").mkdir()
        (root / "etc/hosts").write_text(cluster.hosts)
        (root / "etc/nsswitch.conf").write_text("hosts: files dns\n")
        for path in program:
            target = root / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
            mount("--bind", path, target)
        # A claim of a StatefulSet is an empty volume.
        volumes = {volume["name"]: volume for volume in self.spec.get("volumes", [])}
        for volume_mount in self._container.get("volumeMounts", []):
            files, mode = cluster.files(volumes.get(volume_mount["name"], {}))
            folder = root / volume_mount["mountPath"].lstrip("/")
            folder.mkdir(parents=True)
            if files is None:
                mount("-t", "tmpfs", "tmpfs", folder)
                os.chown(folder, 0, self.spec["securityContext"]["fsGroup"])
                folder.chmod(0o770)
                continue
            source = pathlib.Path(tempfile.mkdtemp())
            source.chmod(0o755)
            self._volumes[volume_mount["name"]] = source, mode
            self.fill(volume_mount["name"], files)
            mount("--bind", source, folder)
            if volume_mount.get("readOnly"):
                mount("-o", "remount,bind,ro", folder)
        if user["readOnlyRootFilesystem"]:
            mount("-o", "remount,ro", root)

    def fill(self, volume, files):
        """Fills a volume as the kubelet does, at the start and when a Secret changes: names lead through the link `..data` to a folder, and the link changes at once."""
        source, mode = self._volumes[volume]
        folder = pathlib.Path(tempfile.mkdtemp(prefix="..", dir=source))
        folder.chmod(0o755)
        for name, content in files.items():
            (folder / name).write_bytes(content)
            os.chown(folder / name, 0, self.spec["securityContext"]["fsGroup"])
            (folder / name).chmod(mode)
        data, next_data = source / "..data", source / "..data_tmp"
        old = data.resolve() if data.is_symlink() else None
        next_data.symlink_to(folder.name)
        next_data.rename(data)
        for name in files:
            if not (source / name).is_symlink():
                (source / name).symlink_to(f"..data/{name}")
        if old:
            shutil.rmtree(old)

    @property
    def pid(self):
        return self._server.pid

    @property
    def output(self):
        return self._server.output

    @property
    def has_ended(self):
        return self._server.exit_code is not None

    def status(self, probe, host="127.0.0.1"):
        """The result of a probe: a status, or the exit code of a command. None without an answer."""
        about = self._container[probe]
        timeout = about.get("timeoutSeconds", 1)
        if "exec" in about:
            environment = {"PATH": "/usr/bin:/bin", **self.environment}
            return subprocess.run([*self._command, *about["exec"]["command"]], env=environment, capture_output=True, timeout=timeout).returncode
        [port] = [port["containerPort"] for port in self._container["ports"] if port["name"] == about["httpGet"]["port"]]
        request = urllib.request.Request(f"http://{host}:{port}{about['httpGet']['path']}", headers={"User-Agent": "kube-probe/1.34", "Accept": "*/*", "Connection": "close"})
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return None

    def passes(self, probe):
        return self.status(probe) in ({0} if "exec" in self._container[probe] else range(200, 400))

    def await_ready(self):
        """Waits for the startup probe, then for readiness, more often than the kubelet would."""
        for probe in ("startupProbe", "readinessProbe"):
            self._server.await_ready(lambda: self.passes(probe))

    def terminate(self):
        """Stops the pod, as a rollout does."""
        self._server.terminate()

    def await_end(self, seconds):
        return self._server.await_end(seconds)

    def kill(self):
        """Ends it at once. May be called again."""
        atexit.unregister(self.kill)
        if not self.root.exists():
            return
        self._server.kill()
        subprocess.run(["umount", "--recursive", "--lazy", self.root], check=True)
        self.root.rmdir()
        for source, _ in self._volumes.values():
            shutil.rmtree(source)


def as_user(user):
    """The program that drops all rights except those of the container's user."""
    words = ["/usr/bin/setpriv", f"--reuid={user['runAsUser']}", f"--regid={user['runAsGroup']}", f"--groups={user['fsGroup']}"]
    if user["capabilities"] == {"drop": ["ALL"]}:
        words += ["--bounding-set=-all", "--inh-caps=-all"]
    if user["allowPrivilegeEscalation"] is False:
        words += ["--no-new-privs"]
    return words


def mount(*words):
    subprocess.run(["mount", *map(str, words)], check=True)
