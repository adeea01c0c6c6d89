"""Everything that the project's pages promise: their code runs, their links lead somewhere, their English is ours."""

import concurrent.futures
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

from blocks import blocks, is_excerpt

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).resolve().parent
AT_ONCE = 3


def pages():
    """Every Markdown page that users read, as paths from the project's folder."""
    listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"], cwd=ROOT, check=True, capture_output=True, text=True)
    return [path for path in listed.stdout.splitlines() if not path.startswith((".github/", "tests/")) and (ROOT / path).exists()]


def namespaces():
    """A network, mounts and processes of its own: all that a page starts ends with it."""
    command = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    return command if os.geteuid() == 0 else [*command, "--map-root-user"]


def run_page(path):
    return subprocess.run([*namespaces(), sys.executable, HERE / "run_page.py", path], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600, check=False)


class CodeBlocks(unittest.TestCase):
    """One test a page, added below."""

    @classmethod
    def setUpClass(cls):
        cls.pool = concurrent.futures.ThreadPoolExecutor(AT_ONCE)
        cls.runs = {path: cls.pool.submit(run_page, path) for path in pages() if any(blocks((ROOT / path).read_text()))}

    @classmethod
    def tearDownClass(cls):
        cls.pool.shutdown(cancel_futures=True)

    def check(self, path):
        run = self.runs[path].result()
        self.assertEqual(run.returncode, 0, f"{path}\n{run.stdout}{run.stderr}")


for _path in pages():
    if any(blocks((ROOT / _path).read_text())):
        setattr(CodeBlocks, f"test_{re.sub(r'[^a-z0-9]+', '_', _path.lower())}", lambda self, path=_path: self.check(path))


class BlockParser(unittest.TestCase):
    """The rules above catch what they are made for."""

    def test_directives_belong_to_the_next_fence_only(self):
        page = "<!-- expect: a -->\n<!-- run: background -->\n```sh\necho a\n```\ntext\n\n```text\nb\n```\n"
        first, second = blocks(page)
        self.assertEqual((first.expect, first.run, first.text, first.line), ("a", "background", "echo a\n", 3))
        self.assertEqual((second.expect, second.run, second.language), (None, None, "text"))

    def test_fences_in_lists_lose_their_indentation(self):
        (block,) = blocks("- item\n\n  <!-- not run: why -->\n  ```sh\n  if a; then\n    b\n  fi\n  ```\n")
        self.assertEqual((block.text, block.not_run), ("if a; then\n  b\nfi\n", "why"))

    def test_excerpts_are_consecutive_lines(self):
        self.assertTrue(is_excerpt("b\nc\n", "a\n  b\n  c\nd\n"))
        self.assertFalse(is_excerpt("b\nd\n", "a\nb\nc\nd\n"))


class Links(unittest.TestCase):
    def test_every_link_inside_the_project_leads_somewhere(self):
        lychee = os.environ["LYCHEE"]
        run = subprocess.run(
            [lychee, "--offline", "--include-fragments", "--no-progress", "--format", "json", "--root-dir", ROOT, *pages()],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )
        report = json.loads(run.stdout)
        broken = [f"{page}: {failure['url']}" for page, failures in report["error_map"].items() for failure in failures]
        self.assertGreater(report["total"], 100, run.stderr)
        self.assertEqual(broken, [])


class Site(unittest.TestCase):
    def test_site_builds_without_a_warning(self):
        with tempfile.TemporaryDirectory() as folder:
            run = subprocess.run([ROOT / "scripts" / "site", folder], capture_output=True, text=True, check=False)
            self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
            home = pathlib.Path(folder, "index.html").read_text()
        self.assertIn("<title>Pipecast</title>", home)
        # A visitor's browser asks no other server for anything.
        self.assertEqual(re.findall(r'(?:src|href)="https?://[^"]*\.(?:js|css|woff2?)"', home), [])


class Reference(unittest.TestCase):
    def test_generated_pages_are_up_to_date(self):
        run = subprocess.run([ROOT / "scripts" / "reference", "--check"], capture_output=True, text=True, check=False)
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)

    def test_numbers_are_those_of_the_last_measurement(self):
        run = subprocess.run([sys.executable, ROOT / "bench" / "tables.py", "--check"], capture_output=True, text=True, check=False)
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)


class English(unittest.TestCase):
    def test_words_are_spelled_right(self):
        run = subprocess.run([os.environ["CODESPELL"], "--config", HERE / "codespell.cfg", *pages(), "src", "helm", "deploy", "clients"], cwd=ROOT, capture_output=True, text=True, check=False)
        self.assertEqual(run.stdout, "")
        self.assertEqual(run.returncode, 0, run.stderr)

    def test_translated_patterns_stay_within_their_budget(self):
        run = subprocess.run([ROOT / "scripts" / "voice", "--check"], capture_output=True, text=True, check=False)
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
