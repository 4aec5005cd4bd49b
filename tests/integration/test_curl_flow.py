"""The curl lines of LiteLLM's batches pages, as written, over HTTP/1.1, HTTP/2 over TLS and HTTP/2 on clear text."""

import json
import re
import subprocess

import pytest
from harness import (DEPLOYMENTS, GROUP, MASTER_KEY, PATIENCE, balanced_config, direct_config, envelope, lines,
                     program_env, renamed, Answer)

REQUESTS = """\
{"custom_id": "request-1", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "gpt-4o-batch", "messages": [{"role": "system", "content": "You are a helpful assistant."},{"role": "user", "content": "Hello world!"}],"max_tokens": 1000}}
{"custom_id": "request-2", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "gpt-4o-batch", "messages": [{"role": "system", "content": "You are an unhelpful assistant."},{"role": "user", "content": "Hello world!"}],"max_tokens": 1000}}
{"custom_id": "request-3", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "gpt-4o-batch", "messages": [{"role": "user", "content": "Bonjour le monde"}],"max_tokens": 1000}}
"""


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    where = tmp_path_factory.mktemp("tls")
    cert, key = where / "cert.pem", where / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-keyout", str(key), "-out", str(cert), "-days", "2", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"], check=True, capture_output=True)
    return cert, key


@pytest.fixture
def protocol(request, certificate):
    return {"http1": ("http", ["--http1.1"], "1.1"), "h2c": ("http", ["--http2-prior-knowledge"], "2"),
            "h1_over_tls": ("https", ["--http1.1", "--cacert", str(certificate[0])], "1.1"),
            "h2_over_tls": ("https", ["--http2", "--cacert", str(certificate[0])], "2")}[request.param]


every_protocol = pytest.mark.parametrize("protocol", ["http1", "h2c", "h1_over_tls", "h2_over_tls"], indirect=True)


class Curl:
    def __init__(self, gateway, protocol, cwd):
        self.scheme, self.options, self.version = protocol
        self.gateway, self.cwd = gateway, cwd

    def __call__(self, path, *args, key=MASTER_KEY):
        argv = ["curl", "-sS", "-i", "--max-time", str(int(PATIENCE * 2)), *self.options,
                f"{self.scheme}://127.0.0.1:{self.gateway.port}{path}", *args]
        if key:
            argv += ["-H", f"Authorization: Bearer {key}"]
        done = subprocess.run(argv, cwd=self.cwd, env=program_env(), stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=PATIENCE * 3)
        assert done.returncode == 0, done.stderr.decode()
        head, body = done.stdout.split(b"\r\n\r\n", 1)
        while re.match(rb"HTTP/[\d.]+ 1\d\d", head):
            head, body = body.split(b"\r\n\r\n", 1)
        first, *fields = head.decode().split("\r\n")
        version, status = re.match(r"HTTP/([\d.]+) (\d+)", first).groups()
        assert version == self.version, first
        answer = Answer(int(status), {n.lower(): v for n, v in (f.split(": ", 1) for f in fields)}, body)
        self.gateway.check(answer)
        return answer


def tls_settings(config, certificate):
    config["tranche_settings"] = {"tls": {"cert_file": str(certificate[0]), "key_file": str(certificate[1])}}
    return config


@pytest.fixture
def make_curl(start, sim, protocol, certificate, tmp_path):
    def make(config):
        if protocol[0] == "https":
            tls_settings(config, certificate)
        return Curl(start(config, sim=sim), protocol, tmp_path)

    return make


@every_protocol
def test_the_load_balanced_page_works_as_written(make_curl, sim, tmp_path):
    curl = make_curl(balanced_config(sim))
    (tmp_path / "request.jsonl").write_text(REQUESTS)
    file = curl("/v1/files", "-F", "purpose=batch", "-F", "file=@request.jsonl")
    assert file.status == 200, file
    file_id = file.json()["id"]
    created = curl("/v1/batches", "-H", "Content-Type: application/json", "-d", json.dumps(
        {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h", "model": GROUP}))
    assert created.status == 200, created
    batch_id = created.json()["id"]
    sim.advance(60_000)
    for _ in range(60):
        batch = curl(f"/v1/batches/{batch_id}", "-H", "Content-Type: application/json")
        assert batch.status == 200, batch
        if batch.json()["status"] == "completed":
            break
        sim.advance(60_000)
    assert batch.json()["status"] == "completed", batch
    listed = curl("/v1/batches?limit=2", "-H", "Content-Type: application/json").json()
    assert [b["id"] for b in listed["data"]] == [batch_id]
    assert (listed["object"], listed["has_more"], listed["first_id"]) == ("list", False, batch_id)
    content = curl(f"/v1/files/{batch.json()['output_file_id']}/content")
    assert content.status == 200 and len(content.body.splitlines()) == 3
    assert int(content.headers["content-length"]) == len(content.body)
    second = curl("/v1/batches", "-H", "Content-Type: application/json", "-d", json.dumps(
        {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h"})).json()
    cancelled = curl(f"/v1/batches/{second['id']}/cancel", "-X", "POST")
    assert cancelled.status == 200 and cancelled.json()["status"] == "cancelling"
    deleted = curl(f"/v1/files/{file_id}", "-X", "DELETE")
    assert deleted.json() == {"id": file_id, "object": "file", "deleted": True}
    assert curl(f"/v1/files/{file_id}").status == 404
    model = json.loads(sim_input(sim).splitlines()[0])["body"]["model"]
    assert model in DEPLOYMENTS.values()


def sim_input(sim):
    """The bytes of the one input file the simulator holds for a batch, read from the provider itself."""
    from harness import PROVIDER_KEYS, http_request
    for account in DEPLOYMENTS:
        for batch in sim.ledger(account)["batches"]:
            answer = http_request(sim.ports[account], "GET",
                                  f"/openai/files/{batch['input_file_id']}/content?api-version=2024-10-21",
                                  headers={"api-key": PROVIDER_KEYS[account]})
            if answer.status == 200:
                return answer.body
            return json.dumps({"body": {"model": batch["model"]}}).encode()
    raise AssertionError("no batch anywhere")


@every_protocol
def test_the_quick_start_page_works_as_written(make_curl, sim, tmp_path):
    curl = make_curl(direct_config(sim))
    (tmp_path / "mydata.jsonl").write_bytes(lines("gpt-4o-mini"))
    file_id = curl("/v1/files", "-F", "purpose=batch", "-F", "file=@mydata.jsonl").json()["id"]
    body = '{\n    "input_file_id": "%s",\n    "endpoint": "/v1/chat/completions",\n    "completion_window": "24h"\n}'
    batch = curl("/v1/batches", "-H", "Content-Type: application/json", "-d", body % file_id)
    assert batch.status == 200, batch
    assert curl(f"/v1/batches/{batch.json()['id']}", "-H", "Content-Type: application/json").status == 200
    assert len(curl("/v1/batches", "-H", "Content-Type: application/json").json()["data"]) == 1


@every_protocol
def test_errors_keep_their_envelope(make_curl, sim):
    curl = make_curl(balanced_config(sim))
    envelope(curl("/v1/batches", key=None), 401)
    envelope(curl("/v1/batches/batch_unknown"), 404)
    envelope(curl("/nowhere"), 404)
    assert "allow" in curl("/v1/batches", "-X", "DELETE").headers
    error = envelope(curl("/v1/batches", "-H", "Content-Type: application/json", "-d", '{\n  "input_file_id": oops\n}'), 400)
    assert re.search(r"line 2\b", error["message"]) and re.search(r"column 20|column 2\d", error["message"]), error


@every_protocol
def test_an_upload_from_a_pipe_with_a_continue_expectation_works(make_curl, sim, tmp_path):
    curl = make_curl(balanced_config(sim))
    (tmp_path / "request.jsonl").write_bytes(lines(count=8000))  # above 1 MiB: curl asks with Expect
    answer = curl("/v1/files", "-F", "purpose=batch", "-F", "file=@request.jsonl")
    assert answer.status == 200
    assert answer.json()["bytes"] in [len(renamed(lines(count=8000), d)) for d in DEPLOYMENTS.values()]


def test_many_streams_of_one_http2_connection_are_served(start, sim):
    gateway = start(balanced_config(sim), sim=sim)
    urls = [f"{gateway.url}/v1/batches?limit={n}" for n in range(1, 21)]
    done = subprocess.run(["nghttp", "-ns", "--no-dep", "-H", f"authorization: Bearer {MASTER_KEY}", *urls],
                          capture_output=True, text=True, timeout=PATIENCE * 3, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^\s*\d+\s+\S+\s+\S+\s+\S+\s+200\s", done.stdout, re.M)) == 20, done.stdout


def test_an_old_tls_version_is_refused(start, sim, certificate):
    gateway = start(tls_settings(balanced_config(sim), certificate), sim=sim)
    for option in ("-tls1", "-tls1_1"):
        done = subprocess.run(["openssl", "s_client", option, "-cipher", "ALL:@SECLEVEL=0", "-connect",
                               f"127.0.0.1:{gateway.port}"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=PATIENCE)
        assert "Cipher is (NONE)" in done.stdout or done.returncode != 0, done.stdout
    done = subprocess.run(["openssl", "s_client", "-tls1_2", "-alpn", "h2,http/1.1", "-connect", f"127.0.0.1:{gateway.port}"],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE)
    assert "ALPN protocol: h2" in done.stdout, done.stdout
