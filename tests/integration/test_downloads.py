"""Content flows from the provider to the client, at the client's pace, and stops when the client goes."""

import hashlib
import socket
import subprocess

import pytest
from harness import DEPLOYMENTS, GROUP, MASTER_KEY, PATIENCE, balanced_config, envelope, http_request, lines, renamed, until
from wire import sanitized


@pytest.fixture
def big(start, sim):
    """A gateway over one account, a file of some 24 MB in it, and what its content must be."""
    gateway = start(balanced_config(sim, accounts=["eu"]), sim=sim)
    data = lines(count=6000, content="x" * 4000)
    return gateway, gateway.uploaded(data), renamed(data, DEPLOYMENTS["eu"])


def curl(gateway, target, *options):
    done = subprocess.run(["curl", "-sS", *options, "-H", f"Authorization: Bearer {MASTER_KEY}", gateway.url + target],
                          capture_output=True, timeout=PATIENCE * 4, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("option", ["--http1.1", "--http2-prior-knowledge"])
def test_every_byte_of_a_large_file_arrives(big, option):
    gateway, file, wanted = big
    got = curl(gateway, f"/v1/files/{file['id']}/content", option)
    assert (len(got), hashlib.sha256(got).digest()) == (len(wanted), hashlib.sha256(wanted).digest())


def test_the_headers_of_content_say_what_it_is(big):
    gateway, file, wanted = big
    answer = gateway.get(f"/v1/files/{file['id']}/content", headers={"Accept": "application/binary", "Accept-Encoding": "gzip"})
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-length"] == str(len(wanted))
    assert "content-encoding" not in answer.headers
    if "content-disposition" in answer.headers:
        assert "attachment" in answer.headers["content-disposition"]


@pytest.mark.plain
def test_a_slow_reader_holds_up_nobody_and_costs_no_memory(big):
    gateway, file, wanted = big
    slow = []
    for _ in range(8):
        s = socket.create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE)
        s.sendall(f"GET /v1/files/{file['id']}/content HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {MASTER_KEY}\r\n\r\n".encode())
        assert s.recv(1000).startswith(b"HTTP/1.1 200")
        slow.append(s)
    before = resident_kb(gateway)
    for _ in range(50):
        assert gateway.get(f"/v1/files/{file['id']}").status == 200
    if not sanitized():
        assert before < 8 * 16 * 1024 + 64 * 1024, f"{before} KiB: stalled downloads are held in memory"
    tail = b""
    while tail[-1000:] != wanted[-1000:]:
        got = slow[0].recv(1 << 20)
        assert got, "the transfer broke"
        tail = tail[-1000:] + got
    for s in slow:
        s.close()


def resident_kb(gateway):
    total = 0
    for pid in gateway.workers():
        with open(f"/proc/{pid}/status") as status:
            total += sum(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
    return total


def test_a_client_that_leaves_ends_the_providers_transfer(big, sim):
    gateway, file, _ = big
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE) as s:
        s.sendall(f"GET /v1/files/{file['id']}/content HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {MASTER_KEY}\r\n\r\n".encode())
        assert s.recv(1000).startswith(b"HTTP/1.1 200")
    sim.wait("eu", "GET", "/openai/files/*/content")  # answered: the connection ended or the last byte was written
    assert gateway.get(f"/v1/files/{file['id']}").status == 200


def test_a_part_of_a_file_is_cut_out_when_asked_for(big):
    gateway, file, wanted = big
    answer = gateway.get(f"/v1/files/{file['id']}/content", headers={"Range": "bytes=100-199"})
    assert answer.status in (200, 206), answer.status
    assert answer.body == (wanted[100:200] if answer.status == 206 else wanted)


def test_head_of_content_has_its_length_and_no_body(big):
    gateway, file, wanted = big
    answer = gateway.request("HEAD", f"/v1/files/{file['id']}/content")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers.get("content-length", str(len(wanted))) == str(len(wanted))


def test_content_of_a_file_that_is_gone_is_404(big):
    gateway, file, _ = big
    gateway.delete(f"/v1/files/{file['id']}")
    envelope(gateway.get(f"/v1/files/{file['id']}/content"), 404)


def test_an_error_before_the_content_is_an_envelope(big, sim):
    gateway, file, _ = big
    sim.fault({"status": 500, "body": "<html>broken</html>"}, account="eu", method="GET", path="/openai/files/*/content", times=-1)
    answer = gateway.get(f"/v1/files/{file['id']}/content")
    envelope(answer, 500)
    assert "<html" not in answer.body.decode()


def test_results_of_a_mixed_batch_come_in_two_files(gateway, sim):
    import json
    data = lines(count=4).replace(b'"request-2"', b'"fail-2"')
    batch = gateway.wait_batch(sim, gateway.created(gateway.uploaded(data)["id"])["id"])
    assert batch["request_counts"] == {"total": 4, "completed": 3, "failed": 1}
    good = gateway.get(f"/v1/files/{batch['output_file_id']}/content").body.splitlines()
    bad = gateway.get(f"/v1/files/{batch['error_file_id']}/content").body.splitlines()
    assert sorted(json.loads(line)["custom_id"] for line in good) == ["request-1", "request-3", "request-4"]
    assert [json.loads(line)["custom_id"] for line in bad] == ["fail-2"]
