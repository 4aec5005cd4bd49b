"""Uploads when things go wrong, or big: clients that leave or crawl, a full disk, a hundred at once, memory."""

import hashlib
import json
import os
import pathlib
import random
import resource
import subprocess
import threading
import time

import pytest
from harness import (DEPLOYMENTS, MASTER_KEY, PATIENCE, balanced_config, direct_config, envelope, lines, multipart, renamed, until, worker_pids)
from wire import H1, H2, KINDS, SLICE, H2Call, every_kind, make_door, only_plain, stored, wire_certificate  # noqa: F401

MIB = 1 << 20


def batch_form(count, filename="requests.jsonl", content="x" * 900):
    """About a KiB a line."""
    data = lines(count=count, content=content)
    body, form = multipart([("purpose", "batch"), ("file", None)], data, filename=filename)
    return data, body, form


# --- clients that leave ---

def offsets(size, count=100):
    """Where to stop: all over the body, the first and the last bytes, and the seam between memory and file."""
    edges = [0, 1, 2, 60, 61, size - 1, size - 2, size - 40, 65535, 65536, 65537, 65536 + 300]
    return sorted(set(edges + [size * n // (count - len(edges)) for n in range(1, count - len(edges))]))


@pytest.mark.parametrize("kind, framing, leave", [
    ("h1", "length", "cancel"), ("h1", "length", "close"), ("h1", "chunked", "close"), ("h1_tls", "length", "close"),
    ("h2", "length", "cancel"), ("h2", "chunked", "close"), ("h2_tls", "chunked", "cancel")])
def test_whoever_leaves_in_the_middle_leaves_nothing_behind(make_door, sim, kind, framing, leave):
    """The spool holds one such file and a half: were the space of one upload kept, the next one would not fit."""
    data, body, form = batch_form(700)
    assert MIB * 2 // 3 < len(data) < MIB - 2 * SLICE
    config = balanced_config(sim, tranche_settings={"spool_limit": MIB})
    door = make_door(kind, config)
    cuts = offsets(len(body))
    assert len(cuts) >= 95
    for cut in cuts:
        call = door.call("POST", "/v1/files", {"Content-Type": form}, len(body) if framing == "length" else "chunked")
        call.send(body[:cut])
        getattr(call, leave)()
    for _ in range(2):  # either may be at the worker that is still to see a client leave
        answer = until(lambda: (lambda a: a.status != 507 and a)(door.upload(body, form)), "room for one more upload")
        assert answer.status == 200, answer
    assert [f["bytes"] for _, f in stored(sim)] == [len(renamed(data, DEPLOYMENTS[a])) for a, _ in stored(sim)]
    assert len(stored(sim)) == 2 and len(sim.requests()) == 2, "something of an upload that was broken off went upstream"


def test_streams_that_are_reset_in_the_middle_leave_nothing_behind(make_door, sim):
    data, body, form = batch_form(700)
    door = make_door("h2", balanced_config(sim, tranche_settings={"spool_limit": MIB}), workers=1)
    rng = random.Random(3)
    with H2(door.gateway.port) as conn:
        for _ in range(100):
            stream = conn.request("POST", "/v1/files", {"Content-Type": form}, end=False)
            conn.send(stream, body[:rng.randrange(len(body))])
            conn.reset(stream)
        stream = conn.request("POST", "/v1/files", {"Content-Type": form}, end=False)
        conn.send(stream, body)
        conn.finish(stream)
        assert conn.answer(stream).status == 200  # on the same connection, and with the flow control it needs
    assert len(stored(sim)) == 1 and len(sim.requests()) == 1


def test_a_client_that_leaves_after_the_last_byte_gets_no_second_file(make_door, sim):
    """Whether its file was made or not, it is made at most once and the gateway serves on."""
    door = make_door("h1", workers=1)
    _, body, form = batch_form(100)
    for leave in ("cancel", "close") * 10:
        call = door.call("POST", "/v1/files", {"Content-Type": form}, len(body))
        call.send(body)
        getattr(call, leave)()
    assert door.upload(body, form).status == 200
    assert 1 <= len(stored(sim)) <= 21


# --- clients that crawl ---

def test_a_stalled_body_is_given_up_and_a_slow_one_is_not(make_door, sim):
    """All at once, because the grace is 20 s: bodies that stop get 408 and give their room back; one of 4 kB/s goes on."""
    doors = {kind: make_door(kind, balanced_config(sim, tranche_settings={"spool_limit": 2 * MIB}), workers=1) for kind in KINDS}
    data, body, form = batch_form(300)
    calls = [(door.call("POST", "/v1/files", {"Content-Type": form}, length)) for door in doors.values()
             for length in (len(body), "chunked")]
    for call in calls:
        call.send(body[:100_000])
    began = time.monotonic()
    drips = [door.call("POST", "/v1/files", {"Content-Type": form}, len(body)) for door in doors.values()]
    at = 0
    while time.monotonic() - began < 24:
        for drip in drips:
            drip.send(body[at:at + 1000])
        at += 1000
        for drip in drips:
            assert drip.silent(0.25 / len(drips)), "a slow upload was ended"
    for call in calls:
        answer = call.answer()
        envelope(answer, 408)
        assert int(answer.headers["retry-after"]) >= 1, "a client that may try again is told when"
    for drip in drips:
        drip.send(body[at:])
        drip.finish()
        assert drip.answer().status == 200
    assert len(stored(sim)) == len(drips)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_an_upload_at_20_kilobytes_a_second_takes_as_long_as_it_takes(make_door, sim):
    doors = [make_door(kind, workers=1) for kind in KINDS]
    data, body, form = batch_form(1600)
    calls = [door.call("POST", "/v1/files", {"Content-Type": form}, len(body)) for door in doors]
    for at in range(0, len(body), 5000):  # 90 s, longer than the program's time-outs
        for call in calls:
            call.send(body[at:at + 5000])
        for call in calls if at + 5000 < len(body) else ():
            assert call.silent(0.25 / len(calls)), f"ended after {at} bytes"
    for call in calls:
        call.finish()
        assert call.answer().status == 200
    assert len(stored(sim)) == len(calls)


# --- no room ---

def spools(gateway):
    """Sizes of the unlinked files of all workers."""
    sizes = []
    for pid in gateway.workers():
        for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir():
            try:
                name = os.readlink(fd)  # regions of shared memory are /memfd:... (deleted)
                if name.endswith(" (deleted)") and not name.startswith("/memfd:"):
                    sizes.append(os.stat(fd).st_size)
            except OSError:  # closed meanwhile
                pass
    return sizes


def spooled(gateway):
    return sum(spools(gateway))


def is_507(answer):
    error = envelope(answer, 507)
    assert error["code"] == "insufficient_storage", error
    return True


@every_kind
def test_the_spool_limit_is_for_all_uploads_together(make_door, sim, kind):
    door = make_door(kind, balanced_config(sim, tranche_settings={"spool_limit": MIB}))
    data, body, form = batch_form(600)
    with door.call("POST", "/v1/files", {"Content-Type": form}, len(body)) as first:
        first.send(body[:-100])
        until(lambda: spooled(door.gateway) > 600_000, "the first upload's bytes to arrive")
        assert is_507(door.upload(body, form))
        small = door.upload(*batch_form(5)[1:])
        assert small.status == 200, small
        assert door.gateway.get("/v1/files").status == 200
        first.send(body[-100:])
        first.finish()
        assert first.answer().status == 200
    assert door.upload(body, form).status == 200, "the room was not given back"
    sizes = [f["bytes"] for _, f in stored(sim)]
    assert len(sizes) == 3, sizes


@pytest.mark.parametrize("kind", ["h1", "h2"])
def test_an_upload_above_the_spool_limit_is_507_and_reads_its_answer(make_door, sim, kind):
    door = make_door(kind, balanced_config(sim, tranche_settings={"spool_limit": MIB}), workers=1)
    data, body, form = batch_form(20_000)
    for framing in ("length", "chunked"):
        assert is_507(door.upload(body, form, framing=framing))
    assert sim.requests() == []
    assert door.upload(*batch_form(600)[1:]).status == 200


@pytest.fixture
def tiny_disk(tmp_path):
    where = tmp_path / "spool"
    where.mkdir()
    mounted = os.geteuid() == 0 and subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(where)],
                                                   capture_output=True).returncode == 0
    if not mounted:
        pytest.skip("needs root, for a small file system of its own")
    yield where
    subprocess.run(["umount", "-l", str(where)], check=True)


@pytest.mark.parametrize("kind", ["h1", "h2"])
def test_a_full_disk_is_507_and_harms_nobody_else(make_door, sim, kind, tiny_disk):
    door = make_door(kind, balanced_config(sim, tranche_settings={"spool_dir": str(tiny_disk)}), workers=1)
    data, body, form = batch_form(3000)
    small = batch_form(20)
    for _ in range(3):
        with door.call("POST", "/v1/files", {"Content-Type": small[2]}, len(small[1])) as waiting:
            waiting.send(small[1][:-50])
            assert is_507(door.upload(body, form))
            waiting.send(small[1][-50:])
            waiting.finish()
            assert waiting.answer().status == 200
        assert door.gateway.get("/v1/batches").status == 200
    assert door.upload(*batch_form(700)[1:]).status == 200, "the disk's room was not given back"
    assert list(tiny_disk.iterdir()) == []
    until(lambda: spooled(door.gateway) == 0, "the last file to leave the disk")
    assert len(stored(sim)) == 4


def test_a_file_size_limit_of_the_system_is_507_too(make_door, sim):
    """`ulimit -f`, as service managers set it."""
    door = make_door("h1", workers=1)
    for pid in worker_pids(door.gateway, 1):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (300_000, 300_000))
    assert is_507(door.upload(*batch_form(1000)[1:]))
    assert door.upload(*batch_form(100)[1:]).status == 200


def test_a_spool_directory_that_disappears_is_500_in_the_envelope(make_door, sim, tmp_path):
    where = tmp_path / "gone"
    where.mkdir()
    door = make_door("h1", balanced_config(sim, tranche_settings={"spool_dir": str(where)}), workers=1)
    where.rmdir()
    answer = door.upload(*batch_form(300)[1:])
    assert answer.status in (500, 507), answer
    envelope(answer)
    assert door.upload(*batch_form(5)[1:]).status == 200  # memory is enough for this one
    assert len(stored(sim)) == 1


# --- many ---

def hundred():
    """100 forms, each of its own content; every seventh has a bad line somewhere."""
    out = []
    for n in range(100):
        rows = lines(count=30 + n, content=f"upload {n} " + "x" * 800).splitlines(keepends=True)
        if n % 7 == 3:
            rows[n % len(rows)] = b'{"custom_id": "broken"}\n'
        body, form = multipart([("purpose", "batch"), ("file", None)], b"".join(rows), filename=f"{n}.jsonl")
        out.append((n, b"".join(rows), body, form))
    return out


def check_hundred(sim, answers, forms):
    wanted = {}
    for n, data, _, _ in forms:
        if n % 7 == 3:
            envelope(answers[n], 400, param="file")
        else:
            assert answers[n].status == 200, (n, answers[n])
            wanted[f"{n}.jsonl"] = data
    files = stored(sim)
    assert sorted(f["filename"] for _, f in files) == sorted(wanted), "made twice, or never, or refused and made"
    for account, file in files:
        assert file["sha256"] == hashlib.sha256(renamed(wanted[file["filename"]], DEPLOYMENTS[account])).hexdigest()


@pytest.mark.parametrize("kind", ["h1", "h1_tls"])
def test_a_hundred_uploads_at_once_are_made_once_each(make_door, sim, kind):
    door = make_door(kind)
    forms = hundred()
    calls = [door.call("POST", "/v1/files", {"Content-Type": form}, len(body) if n % 2 else "chunked") for n, _, body, form in forms]
    for share in range(4):
        for call, (_, _, body, _) in zip(calls, forms):
            quarter = len(body) // 4
            call.send(body[share * quarter:(share + 1) * quarter if share < 3 else None])
            if share == 3:
                call.finish()
    answers = [call.answer() for call in calls]
    check_hundred(sim, answers, forms)
    ids = {a.json()["id"] for a in answers if a.status == 200}
    assert len(ids) == len(stored(sim))
    for file_id in list(ids)[:5]:
        assert door.gateway.get(f"/v1/files/{file_id}/content").status == 200


@pytest.mark.parametrize("kind", ["h2", "h2_tls"])
def test_a_hundred_streams_of_one_connection_are_made_once_each(make_door, sim, kind):
    door = make_door(kind)
    forms = hundred()
    with H2(door.gateway.port, door.tls) as conn:
        conn.answer(conn.request("GET", "/health/liveliness"))  # its SETTINGS have come
        assert conn.h2.remote_settings.max_concurrent_streams >= 100
        streams = [conn.request("POST", "/v1/files", {"Content-Type": form}, end=False) for _, _, _, form in forms]
        for share in range(4):
            for stream, (_, _, body, _) in zip(streams, forms):
                quarter = len(body) // 4
                conn.send(stream, body[share * quarter:(share + 1) * quarter if share < 3 else None])
        for stream in streams:
            conn.finish(stream)
        check_hundred(sim, [conn.answer(stream) for stream in streams], forms)


def test_a_refused_upload_that_was_tried_elsewhere_is_made_once(make_door, sim):
    """Half of the deployments are sick, each in its own way, and still nothing is made twice."""
    sim.fault({"reset": "body"}, account="eu", method="POST", path="/openai/files*", times=10)
    sim.fault({"status": 500}, account="us", method="POST", path="/openai/files*", times=10)
    # Who fails too often is left alone for the rest of the test, however long it takes.
    door = make_door("h1", balanced_config(sim, router_settings={"cooldown_time": 600}))
    forms = [f for f in hundred() if f[0] % 7 != 3][:30]
    acknowledged = []
    for n, _, body, form in forms:
        answer = door.upload(body, form)
        assert answer.status in (200, 500, 502, 503), answer
        if answer.status == 200:
            acknowledged.append(f"{n}.jsonl")
    assert len(acknowledged) >= 20
    names = [f["filename"] for _, f in stored(sim)]
    assert len(names) == len(set(names)) and set(acknowledged) <= set(names)


# --- memory ---

def memory(pid, what):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(what + ":"):
            return int(line.split()[1]) * 1024
    return 0


class Watch:
    """How far the memory of a gateway's workers grows."""

    def __init__(self, gateway):
        self.before = {}
        assert gateway.get("/health/liveliness").status == 200  # so each has its name by now
        for pid in gateway.workers():
            if "worker" not in pathlib.Path(f"/proc/{pid}/comm").read_text():
                continue  # the prober, which may just be at its first probe
            pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak starts anew (proc_pid_clear_refs(5))
            self.before[pid] = memory(pid, "VmRSS")

    def peak(self):
        return max(memory(pid, "VmHWM") - was for pid, was in self.before.items())

    def now(self):
        return max(memory(pid, "VmRSS") - was for pid, was in self.before.items())


def send_big(door, size, purpose, path="/v1/files"):
    """A form with a file of about `size` bytes, made as it goes. (answer, file's size, sha256 with `model` as it is)"""
    head = (f'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n{purpose}\r\n--b\r\nContent-Disposition: form-data; '
            'name="file"; filename="big.jsonl"\r\nContent-Type: application/jsonl\r\n\r\n').encode()
    row = b'{"custom_id":"row-%08d","method":"POST","url":"/v1/chat/completions","body":{"model":"gpt-4o-batch","messages":' \
          b'[{"role":"user","content":"' + b"x" * 4000 + b'"}]}}\n'
    count = size // len(row % 0)
    total = count * len(row % 0)
    with door.call("POST", path, {"Content-Type": "multipart/form-data; boundary=b"}, len(head) + total + 9) as call:
        call.send(head)
        for first in range(0, count, 32):
            call.send(b"".join(row % n for n in range(first, min(first + 32, count))))
        call.send(b"\r\n--b--\r\n")
        call.finish()
        return call.answer(), total


# An upload's own, all of them full, as a busy machine makes them, with the pages that TLS and the allocator have beside them.
BUFFERS = MIB + MIB // 2

no_sanitizer = only_plain("the memory of a sanitizer is not that of the program")


@no_sanitizer
@every_kind
def test_an_upload_takes_no_more_memory_than_its_buffers(make_door, sim, kind):
    door = make_door(kind, workers=1)
    assert door.upload(*batch_form(300)[1:]).status == 200  # what is made once is made
    watch = Watch(door.gateway)
    answer, size = send_big(door, 40_000_000, "batch")
    assert answer.status == 200, answer
    (account, file), = [f for f in stored(sim) if f[1]["bytes"] > 30_000_000]
    assert watch.peak() <= BUFFERS, f"grew by {watch.peak() >> 10} KiB for a file of {size >> 20} MiB"


@no_sanitizer
@pytest.mark.parametrize("kind", ["h1", "h1_tls", "h2"])
def test_each_further_upload_takes_a_mebibyte_at_most(make_door, sim, kind):
    """Sixteen uploads that have all sent 3 MB, compared with none."""
    door = make_door(kind, workers=1)
    data, body, form = batch_form(4000)
    assert door.upload(body, form).status == 200
    watch = Watch(door.gateway)
    calls = [door.call("POST", "/v1/files", {"Content-Type": form}, len(body)) for _ in range(16)]
    for at in range(0, 3_000_000, 250_000):
        for call in calls:
            call.send(body[at:at + 250_000])
    grown = watch.now()
    for call in calls:
        call.send(body[3_000_000:])
        call.finish()
    assert [call.answer().status for call in calls] == [200] * 16
    assert grown <= 16 * MIB, f"{grown >> 10} KiB: more than 1 MiB for each"
    assert len(stored(sim)) == 17


@no_sanitizer
def test_a_slow_provider_does_not_make_an_upload_grow(make_door, sim):
    door = make_door("h1", direct_config(sim), workers=1)
    data, body, form = multipart_of_mini(20)
    assert door.upload(body, form).status == 200
    watch = Watch(door.gateway)
    sim.fault({"hang": "body", "ms": 1500}, account="oai", method="POST", path="/v1/files*")
    data, body, form = multipart_of_mini(20_000)
    assert door.upload(body, form).status == 200
    assert watch.peak() <= BUFFERS, watch.peak()


def multipart_of_mini(count):
    data = lines("gpt-4o-mini", count=count, content="x" * 900)
    return data, *multipart([("purpose", "batch"), ("file", None)], data)


@pytest.mark.long
@no_sanitizer
@pytest.mark.parametrize("kind", ["h1", "h2"])
@pytest.mark.parametrize("size, purpose", [(199_000_000, "batch"), (1_000_000_000, "user_data")], ids=["200MB", "1GB"])
def test_a_big_file_takes_no_more_memory_than_a_small_one(make_door, sim, kind, size, purpose):
    limits = {"max_other_file_bytes": 1_100_000_000}
    config = (balanced_config if purpose == "batch" else direct_config)(
        sim, tranche_settings={"limits": limits, "spool_limit": 3_000_000_000})
    sim.control("POST", "/control/switches", {"account": "oai", "set": {"max_file_bytes": 1_100_000_000}})
    door = make_door(kind, config, workers=1)
    answer, _ = send_big(door, 300_000, purpose)
    assert answer.status == 200, answer
    watch = Watch(door.gateway)
    answer, sent = send_big(door, size, purpose)
    assert answer.status == 200, answer
    assert watch.peak() <= MIB, f"grew by {watch.peak() >> 10} KiB"
    assert max(f["bytes"] for _, f in stored(sim)) >= sent


# --- whoever uploads harms nobody ---

def test_small_requests_are_served_while_big_files_are_checked(make_door, sim):
    door = make_door("h1", workers=1)
    file = json.loads(door.upload(*batch_form(5)[1:]).body)
    done = threading.Event()
    answers = []

    def upload():
        answers.append(send_big(door, 60_000_000, "batch")[0])
        done.set()

    thread = threading.Thread(target=upload)
    thread.start()
    polls = 0
    with H1(door.gateway.port) as conn:
        while not done.is_set():
            conn.request("GET", f"/v1/files/{file['id']}")
            assert conn.answer().status == 200
            polls += 1
    thread.join(PATIENCE)
    assert answers[0].status == 200
    assert polls > 10, "they waited for the upload"
