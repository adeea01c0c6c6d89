"""scripts/release, on copies of the project where it writes."""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
# The suite compose builds the image, since it has a Docker engine.
PARTS = ["amd64", "deb", "chart", "npm", "python", "gem", "sbom"]


def release(*arguments, root=ROOT):
    return subprocess.run([root / "scripts" / "release", *arguments], cwd=root, text=True, capture_output=True, check=False)


def copy_of_the_project(folder):
    listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True)
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target)
    return folder


class Version(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.project = copy_of_the_project(pathlib.Path(scratch.name, "project"))

    def test_all_places_name_one_version(self):
        checked = release("check")
        self.assertEqual(checked.returncode, 0, checked.stderr)
        self.assertRegex(checked.stdout, r"^\d+\.\d+\.\d+\n$")

    def test_a_new_version_reaches_every_place(self):
        old = release("check").stdout.strip()
        written = release("version", "7.8.9", root=self.project)
        self.assertEqual(written.returncode, 0, written.stderr)
        self.assertEqual(release("check", root=self.project).stdout, "7.8.9\n")
        self.assertRegex((self.project / "CHANGELOG.md").read_text(), r"(?m)^## 7\.8\.9 - \d{4}-\d\d-\d\d$")
        # Nothing that users read still names the old one.
        pattern = rf"(?<![\d.]){re.escape(old)}(?![\d.])"
        named = subprocess.run(
            ["grep", "-rlP", pattern, "README.md", "Cargo.toml", "docker-compose.yml", "helm", "deploy", "clients", "docs/guide", "docs/operate", "docs/reference"],
            cwd=self.project, text=True, capture_output=True, check=False,
        )
        self.assertEqual(named.stdout, "")

    def test_a_place_that_differs_is_named(self):
        chart = self.project / "helm/pipecast/Chart.yaml"
        chart.write_text(re.sub(r'appVersion: ".*"', 'appVersion: "9.9.9"', chart.read_text()))
        checked = release("check", root=self.project)
        self.assertEqual(checked.returncode, 1)
        self.assertIn("9.9.9  helm/pipecast/Chart.yaml", checked.stderr)

    def test_what_is_no_version_changes_nothing(self):
        before = (self.project / "Cargo.toml").read_text()
        self.assertEqual(release("version", "1.2", root=self.project).returncode, 1)
        self.assertEqual((self.project / "Cargo.toml").read_text(), before)


class Artifacts(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        scratch = tempfile.TemporaryDirectory()
        cls.addClassCleanup(scratch.cleanup)
        cls.folder = pathlib.Path(scratch.name)
        cls.built = release("build", "--profile", "dev", "--only", ",".join(PARTS), cls.folder)

    def test_every_artifact_installs_and_runs(self):
        self.assertEqual(self.built.returncode, 0, self.built.stderr)
        verified = release("verify", self.folder)
        self.assertEqual(verified.returncode, 0, verified.stdout + verified.stderr)
        # Python has two, the wheel and its source.
        self.assertEqual(len(re.findall(r"^ok ", verified.stdout, re.MULTILINE)), len(PARTS) + 1, verified.stdout)

    def test_the_binary_needs_no_library(self):
        (archive,) = self.folder.glob("*-linux-amd64.tar.gz")
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(["tar", "-xzf", archive, "-C", folder], check=True)
            (binary,) = pathlib.Path(folder).glob("*/pipecast")
            dynamic = subprocess.run(["readelf", "--dynamic", "--wide", binary], check=True, text=True, capture_output=True)
        self.assertNotIn("(NEEDED)", dynamic.stdout)

    def test_a_damaged_artifact_is_found(self):
        with tempfile.TemporaryDirectory() as folder:
            copy = shutil.copytree(self.folder, pathlib.Path(folder, "copy"))
            (chart,) = copy.glob("*-chart.tgz")
            chart.write_bytes(chart.read_bytes()[:-1] + b"x")
            verified = release("verify", copy)
        self.assertEqual(verified.returncode, 1)
        self.assertIn(chart.name, verified.stdout + verified.stderr)

    def test_a_missing_tool_says_what_to_do(self):
        with tempfile.TemporaryDirectory() as folder:
            environment = os.environ | {"HELM": "", "PATH": "/usr/bin:/bin:" + str(pathlib.Path(shutil.which("cargo")).parent)}
            built = subprocess.run([ROOT / "scripts/release", "build", "--only", "chart", folder], env=environment, text=True, capture_output=True, check=False)
        self.assertEqual(built.returncode, 1)
        self.assertIn("--without chart", built.stderr)


if __name__ == "__main__":
    unittest.main()
