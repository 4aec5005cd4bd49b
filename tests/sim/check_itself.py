"""What no provider promises, and tests rely on: the ledger, waits, framing, faults, switches, large files."""

import concurrent.futures
import hashlib
import http.client
import json
import os
import pathlib
import socket
import subprocess
import threading
import time

from check_kit import CHAT, Azure, check, file_part, is_error, jsonl, line, multipart, request, text_part


@check
def x1_the_ledger_tells_what_was_really_created(sim, o):
    content = jsonl(line("a"))
    sim.fault({"close": "answer"}, account="oai", method="POST", path="/v1/files")
    try:
        o.upload(content)
        raise AssertionError("answered")
    except (ConnectionError, http.client.HTTPException):
        pass
    o.created(content, metadata={"k": "v"})
    led = sim.ledger("oai")
    assert led["creates"] == {"files": 2, "batches": 1} and led["batches"][0]["metadata"] == {"k": "v"}
    assert {f["sha256"] for f in led["files"]} == {hashlib.sha256(content).hexdigest()}
    assert led["calls"] == {"POST /v1/files": 2, "POST /v1/batches": 1} and led["connections"] == 3
    seen = sim.requests("oai")
    assert [r["status"] for r in seen] == [0, 200, 200] and seen[0]["headers"]["authorization"] == "Bearer sk-sim"
    assert json.loads(seen[2]["body"])["endpoint"] == CHAT and seen[1]["body_bytes"] > len(content) and seen[0]["http"] == "1.1"
    sim.reset()
    assert sim.ledger("oai")["creates"] == {"files": 0, "batches": 0} and sim.requests("oai") == []


@check
def x2_wait_ends_when_requests_were_seen(sim, o):
    a = sim.control("GET", "wait?account=oai&method=GET&path=/v1/fil*&count=2&timeout_ms=50")
    assert a.status == 408, a
    got = []
    waiter = threading.Thread(target=lambda: got.append(sim.control("GET", "wait?account=oai&method=GET&path=/v1/fil*&count=2&phase=answered&timeout_ms=100000")))
    waiter.start()
    o.call("GET", "/files")
    o.call("GET", "/files/x")
    waiter.join()
    assert got[0].status == 200, got


def raw(port, data, until=None, wait=120):
    with socket.create_connection(("127.0.0.1", port), timeout=wait) as s:
        s.sendall(data)
        out = b""
        while until is None or out.count(until) < 1:
            piece = s.recv(65536)
            if not piece:
                break
            out += piece
        return out


@check
def x3_pipelined_requests_are_answered_in_order(sim, o):
    one = "GET /v1/files/{} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-sim\r\n{}\r\n"
    data = "".join(one.format(n, "Connection: close\r\n" if n == 19 else "") for n in range(20)).encode()
    out = raw(sim.ports["oai"], data)
    assert out.count(b"HTTP/1.1 404") == 20
    assert [out.index(b"object: %d\"" % n) for n in range(20)] == sorted(out.index(b"object: %d\"" % n) for n in range(20))


@check
def x4_expect_100_continue_is_answered_first(sim, o):
    body, ctype = multipart([text_part("purpose", "batch"), file_part(b"x" * 100000)])
    head = f"POST /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-sim\r\nContent-Type: {ctype}\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
    with socket.create_connection(("127.0.0.1", sim.ports["oai"]), timeout=120) as s:
        s.sendall(head.encode())
        assert s.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        s.sendall(body)
        assert s.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")


@check
def x5_nonsense_is_400_and_closed(sim, o):
    for data in (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"GET /v1/files HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                 b"POST /v1/files HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"GET /v1/files HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"):
        out = raw(sim.ports["oai"], data)
        assert out.startswith(b"HTTP/1.1 400") and b"connection: close" in out, (data, out)
    assert o.call("GET", "/files").status == 200


@check
def x6_faults_in_the_middle_of_a_body(sim, o):
    content = b"x" * 500_000
    for action in ({"close": "body"}, {"reset": "body"}, {"close": "head"}):
        sim.fault(action, account="oai", method="POST")
        try:
            o.upload(content)
            raise AssertionError(f"{action} had no effect")
        except (ConnectionError, http.client.HTTPException):
            pass
    sim.fault({"hang": "body", "ms": 60}, account="oai", method="POST")
    start = time.monotonic()
    assert o.upload(content).status == 200 and time.monotonic() - start >= 0.058  # of two clocks
    sim.fault({"hang": "head", "ms": 60}, account="oai", method="POST")
    assert o.upload(content).status == 200
    sim.fault({"status": 401, "early": True}, account="oai", method="POST")
    head = b"POST /v1/files HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
    assert raw(sim.ports["oai"], head, b"\r\n\r\n").startswith(b"HTTP/1.1 401")
    sim.fault({"hang": "answer"}, account="oai", method="GET")
    with socket.create_connection(("127.0.0.1", sim.ports["oai"]), timeout=120) as s:
        s.sendall(b"GET /v1/files HTTP/1.1\r\nHost: x\r\n\r\n")
        assert sim.control("GET", "wait?account=oai&method=GET&path=/v1/files&timeout_ms=100000").status == 200
    assert sim.control("GET", "wait?account=oai&method=GET&path=/v1/files&phase=answered&timeout_ms=100000").status == 200
    assert sim.ledger("oai")["creates"]["files"] == 2


@check
def x6_what_hangs_goes_on_when_it_is_released(sim, o):
    assert sim.control("POST", "release").json() == {"released": 0}
    for held in ({"hang": "head", "ms": 600_000}, {"hang": "body", "ms": 600_000}, {"hang": "answer", "ms": 600_000}, {"delay_ms": 600_000}):
        sim.fault(held, account="oai", method="POST")
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            got = pool.submit(o.upload, b"x" * 500_000)
            while not sim.control("POST", "release").json()["released"]:
                assert not got.done(), got.result()
            assert got.result().status == 200, held
    # What is held when all is forgotten carries nothing out any more.
    sim.fault({"hang": "answer", "ms": 600_000}, account="oai", method="POST")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        got = pool.submit(o.upload, b"x")
        while not sim.control("POST", "release?after_ms=600000").json()["released"]:
            assert not got.done(), got.result()
        sim.reset()
        assert isinstance(got.exception(), (OSError, http.client.HTTPException)), got.exception()
    assert sim.control("POST", "release").json() == {"released": 0}


@check
def x7_switches_behave(sim, o):
    assert sim.control("POST", "switches", {"account": "oai", "set": {"nonsense": 1}}).status == 400
    assert sim.control("POST", "switches", {"account": "oai", "set": {"range": "maybe"}}).status == 400
    f = o.uploaded(b"0123456789")["id"]
    assert o.call("GET", f"/files/{f}/content", headers={"Range": "bytes=2-4"}).status == 200
    sim.switch("oai", range="honour")
    a = o.call("GET", f"/files/{f}/content", headers={"Range": "bytes=2-4"})
    assert a.status == 206 and a.body == b"234" and a.headers["content-range"] == "bytes 2-4/10"
    assert o.call("GET", f"/files/{f}/content", headers={"Range": "bytes=20-"}).status == 416
    a = o.call("HEAD", f"/files/{f}/content")
    assert a.status == 200 and a.headers["content-length"] == "10" and a.body == b""
    sim.switch("oai", head="405", trailing_slash="404", redirect_content="http://elsewhere.example/", batches_per_hour=1)
    assert o.call("HEAD", f"/files/{f}/content").status == 405
    assert o.call("GET", "/files/").status == 404
    a = o.call("GET", f"/files/{f}/content")
    assert a.status == 302 and a.headers["location"] == "http://elsewhere.example/"
    assert [o.create(f).status for _ in range(2)] == [200, 429]
    sim.switch("oai", output_pad_bytes=1000, file_visible_after_ms=600_000)
    g = o.uploaded()["id"]
    assert o.create(g).status == 404
    sim.switch("az", v1_errors="openai", latency_ms=20)
    is_error(Azure(sim, None, v1=True).call("GET", "/files/x"), 404)


@check
def x7_ids_of_files_come_late_and_counts_never_by_switches(sim, o):
    sim.switch("oai", output_late_ms=100_000, errors_late_ms=200_000)
    b = o.finished(jsonl(line("a"), line("fail-b")))
    assert b["status"] == "completed" and b["output_file_id"] is None and b["error_file_id"] is None, b
    assert b["request_counts"] == {"total": 2, "completed": 1, "failed": 1}
    sim.advance(100_000)
    b = o.batch(b)
    assert b["output_file_id"] and b["error_file_id"] is None, b
    sim.advance(100_000)
    assert o.batch(b)["error_file_id"]
    sim.switch("oai", ended_counts="null")
    assert o.batch(b)["request_counts"] is None
    sim.switch("oai", ended_counts="zero")
    assert o.batch(b)["request_counts"] == {"total": 0, "completed": 0, "failed": 0}


@check
def x8_large_files_stay_on_disk(sim, o):
    size = int(os.environ.get("CHECK_LARGE_MB", "48")) << 20
    sim.switch("oai", max_file_bytes=size * 2)
    one = line("@", "big", pad="x" * 4000).encode().split(b"@")
    n = size // (len(b"@".join(one)) + 9)
    def content():
        for i in range(n):
            yield one[0] + b"%08d" % i + one[1] + b"\n"
    prefix, ctype = multipart([text_part("purpose", "batch"), file_part(b"@@")])
    head, tail = prefix.split(b"@@")
    length = len(head) + len(tail) + sum(map(len, [one[0], one[1], b"00000000\n"])) * n
    digest = hashlib.sha256()
    def body():
        yield head
        buf = []
        for x in content():
            digest.update(x)
            buf.append(x)
            if len(buf) == 256:
                yield b"".join(buf)
                buf = []
        yield b"".join(buf) + tail
    sim.switch("oai", check_models=False, max_lines=10_000_000)
    a = request(sim.ports["oai"], "POST", "/v1/files", body(), {**o.auth, "Content-Type": ctype, "Content-Length": str(length)})
    assert a.status == 200, a
    sim.switch("oai", output_pad_bytes=500)
    b = o.create(a.json()["id"]).json()
    sim.advance(20000)
    b = o.batch(b)
    assert b["status"] == "completed" and b["request_counts"]["completed"] == n, b
    assert o.content(b["output_file_id"]).count(b"\n") == n
    got = hashlib.sha256()
    c = http.client.HTTPConnection("127.0.0.1", sim.ports["oai"], timeout=120)
    c.request("GET", f"/v1/files/{a.json()['id']}/content", headers=o.auth)
    r = c.getresponse()
    while True:
        piece = r.read(1 << 20)
        if not piece:
            break
        got.update(piece)
    c.close()
    assert got.hexdigest() == digest.hexdigest() == sim.ledger("oai")["files"][0]["sha256"]
    status = pathlib.Path(f"/proc/{sim.process.pid}/status").read_text()
    rss = int([x for x in status.splitlines() if x.startswith("VmHWM")][0].split()[1]) >> 10
    maps = pathlib.Path(f"/proc/{sim.process.pid}/maps").read_text()
    if "libasan" not in maps:
        assert rss < 64 + (n >> 13), f"{rss} MiB resident at the most"


@check
def x9_the_readme_has_the_table_of_switches(sim, o):
    table = subprocess.run([sim.process.args[0], "--switches"], capture_output=True, text=True, check=True).stdout
    assert table in (pathlib.Path(__file__).parent / "README.md").read_text(), "put the output of --switches into README.md"
