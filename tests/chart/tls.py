"""Certificates, and clients that check them."""

import json
import ssl
import subprocess
import threading


class TlsReader:
    """A stream read by curl, whose option selects the HTTP version. It checks the certificate."""

    def __init__(self, key, option, folder):
        self.text = ""
        self._process = curl(key, option, folder, "--no-buffer", "https://events.example.com:8080/pipelines/p_aBcDeF/sse")
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        with self._process.stdout:
            for line in self._process.stdout:
                self.text += line

    def stop(self):
        self._process.kill()
        self._process.wait()
        self._reader.join()


def curl(key, option, folder, *words):
    hosts = ["--resolve", "events.example.com:8080:127.0.0.1", "--cacert", f"{folder}/ca.crt"]
    return subprocess.Popen(["curl", "-sS", option, *hosts, "-H", f"Authorization: Bearer {key}", *words], stdout=subprocess.PIPE, text=True)


def publish_by_curl(key, payload, option, folder):
    """Publishes with curl, and returns the status and the HTTP version."""
    event = json.dumps({"channel": "names", "payload": payload})
    words = ["--max-time", "10", "-o", "/dev/null", "-w", "%{http_code} %{http_version}", "-H", "Content-Type: application/json", "-d", event]
    return curl(key, option, folder, *words, "https://events.example.com:8080/pipelines/p_aBcDeF/events").communicate()[0]


def served_certificate():
    return ssl.get_server_certificate(("127.0.0.1", 8080))


def make_certificates(folder, name):
    """Makes a certificate for this name, signed by the folder's authority, and returns the files of its Secret."""

    def openssl(*words):
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    if not (folder / "ca.crt").exists():
        openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.crt", "-days", "2", "-subj", "/CN=Authority of a test")
    openssl("req", *key, "-keyout", "tls.key", "-out", "tls.csr", "-subj", f"/CN={name}")
    (folder / "extensions").write_text(f"subjectAltName=DNS:{name}\n")
    openssl("x509", "-req", "-in", "tls.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "extensions", "-out", "tls.crt")
    return {file: (folder / file).read_bytes() for file in ("tls.crt", "tls.key")}
