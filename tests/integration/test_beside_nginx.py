"""The nginx of server/store/README.md, as it stands there, in front of a LiteLLM and a tranche."""

import http.server
import json
import os
import re
import shutil
import socket
import subprocess
import threading

import openai
import pytest
from harness import GROUP, ROOT, free_port, lines, until
from tenants import KEYS, tenants  # noqa: F401 (a fixture)

NGINX = os.environ.get("TRANCHE_TEST_NGINX") or shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin:/sbin")

pytestmark = pytest.mark.skipif(NGINX is None, reason="without nginx")


class LiteLLM(http.server.BaseHTTPRequestHandler):
    """Says what it was asked."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = json.dumps({"id": "c", "object": "chat.completion", "created": 1, "model": "litellm:" + self.path, "choices": []}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST

    def log_message(self, *args):
        pass


@pytest.fixture
def litellm_port():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), LiteLLM)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()


def snippet(ports):
    text = (ROOT / "server/store/README.md").read_text(encoding="utf-8")
    found = re.search(r"```nginx\n(.*?)```", text, re.S).group(1)
    for number, port in ports.items():
        assert str(number) in found
        found = re.sub(rf"\b{number}\b", str(port), found)
    return found


@pytest.fixture
def nginx(tmp_path, litellm_port):
    """Start it before a gateway; the port where it listens."""
    started = []

    def begin(gateway):
        port = free_port()
        places = "".join(f"{name}_temp_path {tmp_path}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        conf = tmp_path / "nginx.conf"
        conf.write_text(f"daemon off; master_process off; pid {tmp_path}/pid; error_log {tmp_path}/error.log; events {{}}\n"
                        f"http {{ access_log off; {places}\n{snippet({4000: litellm_port, 4001: gateway.port, 8080: f'127.0.0.1:{port}'})}}}\n")
        process = subprocess.Popen([NGINX, "-c", str(conf), "-p", str(tmp_path), "-e", str(tmp_path / "error.log")])
        started.append(process)
        until(lambda: process.poll() is not None or socket.socket().connect_ex(("127.0.0.1", port)) == 0, "nginx listens")
        assert process.poll() is None, (tmp_path / "error.log").read_text()
        return port
    yield begin
    for process in started:
        process.terminate()
        process.wait(20)


def test_files_and_batches_go_here_and_all_else_to_litellm(tenants, nginx):
    port = nginx(tenants())
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=KEYS["a1"], max_retries=0)
    file = client.files.create(file=("in.jsonl", lines()), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    assert client.batches.retrieve(batch.id).input_file_id == file.id
    assert [b.id for b in client.batches.list()] == [batch.id]
    assert client.files.content(file.id).read() != b""
    answer = client.chat.completions.create(model=GROUP, messages=[{"role": "user", "content": "hi"}])
    assert answer.model == "litellm:/v1/chat/completions"


@pytest.mark.parametrize("path", ["/files", "/v1/files", "/openai/v1/files", "/azure/v1/batches", "/batches/batch_1/cancel",
                                  "/openai/deployments/d/files", "/openai/files?api-version=2024-10-21"])
def test_each_form_of_a_path_comes_here(tenants, nginx, path):
    gateway = tenants()
    port = nginx(gateway)
    method = "POST" if path.endswith("cancel") else "GET"
    with socket.create_connection(("127.0.0.1", port)) as s:
        s.sendall(f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode())
        answer = b"".join(iter(lambda: s.recv(65536), b""))
    assert b"No api key passed in" in answer, answer


def test_an_upload_that_is_refused_is_told_which_limit_it_was(tenants, nginx, tmp_path):
    gateway = tenants(settings={"a1": {"max_batch_file_size_mb": 1}})
    port = nginx(gateway)
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=KEYS["a1"], max_retries=0)
    with pytest.raises(openai.APIStatusError) as refused:
        client.files.create(file=("in.jsonl", b"x" * (3 << 20)), purpose="batch")
    assert refused.value.status_code == 413
    assert "max_batch_file_size_mb" in str(refused.value)
    assert not any((tmp_path / "client_body").iterdir())
