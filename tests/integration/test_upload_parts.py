"""Files of batches that come in parts: /v1/uploads, its parts, complete and cancel."""

import concurrent.futures
import contextlib
import hashlib
import json
import os
import select
import signal

import openai
import pytest
from harness import DEPLOYMENTS, MASTER_KEY, PATIENCE, balanced_config, envelope, http_request, lines, multipart, renamed, until
from sealed_ids import UPLOAD, mint, native_of, tag_bytes
from tenants import tenant_settings, tenants  # noqa: F401
from test_node_sdk import run
from wire import H1, make_door, stored, wire_certificate  # noqa: F401

SEAL = "seal-of-uploads-sixteen-bytes"
KIB = 1 << 10
MIB = 1 << 20


def config_of(sim, spool, **settings):
    return balanced_config(sim, tranche_settings={"spool_dir": str(spool), **settings})


@pytest.fixture
def spool(tmp_path):
    path = tmp_path / "spool"
    path.mkdir()
    return path


def begin(gateway, data, target="/v1/uploads", **more):
    body = {"filename": "requests.jsonl", "purpose": "batch", "bytes": len(data), "mime_type": "application/jsonl", **more}
    return gateway.post(target, {k: v for k, v in body.items() if v is not None})


def begun(gateway, data, **more):
    answer = begin(gateway, data, **more)
    assert answer.status == 200, answer
    return answer.json()


def put(gateway, upload, piece, field="data"):
    body, form = multipart([(field, None)], piece, filename="upload")
    return gateway.post(f"/v1/uploads/{upload['id']}/parts", body, headers={"Content-Type": form})


def kept(gateway, upload, piece):
    answer = put(gateway, upload, piece)
    assert answer.status == 200, answer
    return answer.json()["id"]


def complete(gateway, upload, ids, **more):
    return gateway.post(f"/v1/uploads/{upload['id']}/complete", {"part_ids": ids, **more})


def cancel(gateway, upload):
    return gateway.post(f"/v1/uploads/{upload['id']}/cancel")


def pieces(data, num):
    step = -(-len(data) // num)
    return [data[at:at + step] for at in range(0, len(data), step)]


def folders(spool):
    return [p for root in spool.glob("tranche-*.uploads") for p in root.iterdir()]


def parts_on_disk(spool):
    found = []
    for folder in folders(spool):
        with contextlib.suppress(FileNotFoundError):  # swept meanwhile
            found += [p for p in folder.iterdir() if p.name.startswith(("part_", "tmp-"))]
    return found


def sent(sim, data, num=1):
    files = [(account, file) for account, file in stored(sim) if file["purpose"] == "batch"]
    assert [f["bytes"] for _, f in files] == [len(renamed(data, DEPLOYMENTS[a])) for a, _ in files]
    assert len(files) == num


# --- the flow ---

def test_an_upload_in_parts_becomes_the_file_that_one_upload_would_be(start, sim, spool):
    gateway = start(config_of(sim, spool))
    data = lines(count=300)
    upload = begun(gateway, data)
    assert upload["id"].startswith("upload_") and len(upload["id"].split("-t")[1]) == 32, upload
    assert {k: upload[k] for k in ("object", "bytes", "filename", "purpose", "status", "file")} == {
        "object": "upload", "bytes": len(data), "filename": "requests.jsonl", "purpose": "batch", "status": "pending", "file": None}
    assert upload["expires_at"] == upload["created_at"] + 3600
    ids = []
    for piece in pieces(data, 4):  # in the middle of lines
        part = put(gateway, upload, piece).json()
        assert part["object"] == "upload.part" and part["upload_id"] == upload["id"] and part["created_at"] >= upload["created_at"]
        ids.append(part["id"])
    md5 = hashlib.md5(data).hexdigest()
    done = complete(gateway, upload, ids, md5=md5.upper())
    assert done.status == 200, done
    whole = done.json()
    assert whole["status"] == "completed" and whole["id"] == upload["id"]
    assert whole["file"]["object"] == "file" and whole["file"]["purpose"] == "batch" and whole["file"]["filename"] == "requests.jsonl"
    sent(sim, data)
    until(lambda: parts_on_disk(spool) == [], "the parts are gone")
    batch = gateway.created(whole["file"]["id"])
    assert gateway.wait_batch(sim, batch["id"])["request_counts"]["completed"] == 300
    # Again, as an SDK does whose answer was lost: the same bytes of answer, and no second file.
    assert complete(gateway, upload, ids).body == done.body
    envelope(complete(gateway, upload, ids[:-1]), 400, param="part_ids", code="upload_not_pending")
    envelope(put(gateway, upload, b"x"), 400, code="upload_not_pending")
    envelope(cancel(gateway, upload), 400, code="upload_not_pending")
    sent(sim, data)


def test_the_python_sdks_upload_file_chunked(start, sim, spool, tmp_path):
    gateway = start(config_of(sim, spool))
    data = lines(count=400)
    path = tmp_path / "requests.jsonl"
    path.write_bytes(data)
    with openai.OpenAI(base_url=gateway.url + "/v1", api_key=MASTER_KEY, max_retries=2) as client:
        upload = client.uploads.upload_file_chunked(file=path, mime_type="application/jsonl", purpose="batch",
                                                    part_size=20_000, md5=hashlib.md5(data).hexdigest())
        assert upload.status == "completed" and upload.file.purpose == "batch"
        again = client.uploads.upload_file_chunked(file=data, filename="more.jsonl", bytes=len(data), mime_type="application/jsonl",
                                                   purpose="batch")
        assert again.file.filename == "more.jsonl" and again.file.id != upload.file.id
        batch = client.batches.create(input_file_id=upload.file.id, endpoint="/v1/chat/completions", completion_window="24h")
        assert batch.status == "validating"
        with pytest.raises(openai.BadRequestError) as refused:
            client.uploads.create(filename="a.jsonl", bytes=5, mime_type="text/plain", purpose="fine-tune")
        assert refused.value.param == "purpose" and "/v1/files" in refused.value.message
    sent(sim, data, 2)


def test_the_node_sdks_calls(start, sim, spool, tmp_path):
    gateway = start(config_of(sim, spool))
    path = tmp_path / "requests.jsonl"
    path.write_bytes(lines(count=40))
    seen = run("uploads.mjs", gateway.url, MASTER_KEY, str(path), "3000")
    assert seen["created"]["status"] == "pending" and seen["cancelled"]["status"] == "cancelled"
    assert len(set(seen["parts"])) == len(seen["parts"]) > 2
    assert seen["completed"]["status"] == "completed" and seen["completed"]["file"]["bytes"] > 0
    assert seen["again"] == seen["completed"]
    sent(sim, path.read_bytes())


@pytest.mark.parametrize("kind", ["h1", "h2", "h2_tls"])
def test_parts_over_every_kind_of_connection(make_door, sim, spool, kind):
    door = make_door(kind, config_of(sim, spool), workers=2)
    data = lines(count=200)
    body = json.dumps({"filename": "r.jsonl", "purpose": "batch", "bytes": len(data), "mime_type": "text/plain"}).encode()
    upload = door.upload(body, "application/json", "/v1/uploads").json()
    ids = []
    for framing, piece in zip(("length", "chunked"), pieces(data, 2)):
        form_body, form = multipart([("data", None)], piece, filename="upload")
        answer = door.upload(form_body, form, f"/v1/uploads/{upload['id']}/parts", framing=framing, pieces=[7000])
        assert answer.status == 200, answer
        ids.append(answer.json()["id"])
    answer = door.upload(json.dumps({"part_ids": ids}).encode(), "application/json", f"/v1/uploads/{upload['id']}/complete")
    assert answer.status == 200 and answer.json()["file"]["filename"] == "r.jsonl", answer
    sent(sim, data)


# --- parts that come twice, or not ---

def test_parts_that_are_sent_again_cost_no_room_and_their_order_is_the_lists(start, sim, spool):
    gateway = start(config_of(sim, spool, spool_limit=MIB))
    data = lines(count=1500)
    assert MIB // 3 < len(data) < MIB // 2
    upload = begun(gateway, data)
    halves = pieces(data, 2)
    lost = [kept(gateway, upload, halves[1]) for _ in range(6)]  # an SDK that never hears
    first = kept(gateway, upload, halves[0])
    assert len({p.stat().st_ino for p in parts_on_disk(spool)}) == 2
    envelope(put(gateway, upload, b"z" * 100), 400, param="data")  # more than was announced
    envelope(complete(gateway, upload, [first]), 400, param="part_ids")
    envelope(complete(gateway, upload, [first, first]), 400, param="part_ids")
    wrong = complete(gateway, upload, [first, "part_" + "0" * 32])
    assert "part_ids[1]" in envelope(wrong, 400, param="part_ids")["message"]
    envelope(complete(gateway, upload, [lost[3], first]), 400, param="file")  # the halves the wrong way round: bad lines
    envelope(complete(gateway, upload, [first, lost[3]], md5="0" * 32), 400, param="md5", code="md5_mismatch")
    assert stored(sim) == []
    assert complete(gateway, upload, [first, lost[3]]).status == 200
    sent(sim, data)


def test_parts_that_come_at_once_reach_any_worker(start, sim, spool):
    gateway = start(config_of(sim, spool), workers=3)
    data = lines(count=2000)
    upload = begun(gateway, data)
    cut = pieces(data, 12)
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        ids = list(pool.map(lambda piece: kept(gateway, upload, piece), cut))
    assert len(set(ids)) == 12
    assert complete(gateway, upload, ids).status == 200
    sent(sim, data)


def test_bad_lines_are_told_with_their_place_in_the_whole_and_may_be_mended(start, sim, spool):
    gateway = start(config_of(sim, spool))
    data = lines(count=30)
    bad = data.replace(b'"custom_id": "request-20"', b'"custom_id": "request-19"')
    upload = begun(gateway, bad)
    ids = [kept(gateway, upload, piece) for piece in pieces(bad, 3)]
    error = envelope(complete(gateway, upload, ids), 400, param="file")
    assert error["message"].startswith("Line 20, column ")
    all_of_them = http_request(gateway.port, "POST", f"/v1/uploads/{upload['id']}/complete?validate=all", {"part_ids": ids},
                               {"Authorization": f"Bearer {MASTER_KEY}"})
    assert all_of_them.status == 400 and all_of_them.json()["error"]["errors"][0]["line"] == 20
    assert stored(sim) == []
    assert cancel(gateway, upload).json()["status"] == "cancelled"


# --- what is wrong with a create ---

def test_what_a_create_must_say(start, sim, spool):
    gateway = start(config_of(sim, spool, limits={"max_file_bytes": {"openai": "1MiB", "azure": "2MiB"}}))
    data = lines()
    for name in ("filename", "purpose", "bytes", "mime_type"):
        envelope(begin(gateway, data, **{name: None}), 400, param=name, code="missing_required_parameter")
    for more, param in (({"filename": "requests.txt"}, "filename"), ({"filename": 7}, "filename"), ({"filename": "a\r\nb.jsonl"}, "filename"),
                        ({"purpose": "vision"}, "purpose"), ({"bytes": 0}, "bytes"), ({"bytes": "12"}, "bytes"), ({"bytes": 1.5}, "bytes"),
                        ({"bytes": 2 * MIB + 1}, "bytes"), ({"mime_type": ""}, "mime_type"),
                        ({"expires_after": {"anchor": "created_at"}}, "expires_after"),
                        ({"expires_after": {"anchor": "now", "seconds": 5000}}, "expires_after.anchor"),
                        ({"expires_after": {"anchor": "created_at", "seconds": "5000"}}, "expires_after.seconds")):
        envelope(begin(gateway, data, **more), 400, param=param)
    envelope(gateway.get("/v1/uploads"), 405)
    assert folders(spool) == []
    upload = begun(gateway, data, expires_after={"anchor": "created_at", "seconds": 1209600})
    envelope(put(gateway, upload, data, field="file"), 400, param="data", code="missing_required_parameter")
    envelope(put(gateway, upload, b""), 400, param="data")
    for body in ({}, {"part_ids": []}, {"part_ids": "x"}, {"part_ids": [1]}, {"part_ids": ["../head"]}):
        envelope(gateway.post(f"/v1/uploads/{upload['id']}/complete", body), 400, param="part_ids")
    envelope(complete(gateway, upload, ["part_" + "0" * 32], md5="no"), 400, param="md5")
    done = complete(gateway, upload, [kept(gateway, upload, data)])
    assert done.json()["file"]["expires_at"] == done.json()["file"]["created_at"] + 1209600
    for id in ("upload_x", "upload_" + "0" * 42, upload["id"][:-1] + ("a" if upload["id"][-1] != "a" else "b"), "../../etc"):
        for call in ("parts", "complete", "cancel"):
            answer = gateway.post(f"/v1/uploads/{id}/{call}", b"", headers={"Content-Type": "multipart/form-data; boundary=x"}) \
                if call == "parts" else gateway.post(f"/v1/uploads/{id}/{call}", {"part_ids": ["x"]})
            assert answer.status in (400, 404), answer
            if call != "parts" and "/" not in id:
                envelope(answer, 404)


def test_a_part_has_64_mib_and_no_more(start, sim, spool):
    gateway = start(config_of(sim, spool), workers=1)
    upload = begun(gateway, b"x" * (70 * MIB))
    envelope(put(gateway, upload, b"x" * (64 * MIB + 1)), 413, param="data")
    assert put(gateway, upload, b"x" * (64 * MIB)).status == 200
    assert cancel(gateway, upload).status == 200
    until(lambda: parts_on_disk(spool) == [], "a large part leaves the disk in slices")


# --- room ---

def test_room_is_reserved_by_the_create_and_free_after_the_end(start, sim, spool):
    gateway = start(config_of(sim, spool, spool_limit=MIB, limits={"max_open_uploads": 3}))
    data = lines(count=1500)
    first, second = begun(gateway, data), begun(gateway, data)
    envelope(begin(gateway, data), 507, code="insufficient_storage")
    envelope(gateway.upload(lines(count=1500)), 507, code="insufficient_storage")  # it has nothing left, either
    ids = [kept(gateway, second, piece) for piece in pieces(data, 2)]  # what was reserved can be used
    assert cancel(gateway, first).json()["status"] == "cancelled"
    assert cancel(gateway, first).json()["status"] == "cancelled", "again, as an SDK does"
    envelope(complete(gateway, first, ids), 400, code="upload_not_pending")
    third = begun(gateway, data)
    assert complete(gateway, second, ids).status == 200
    many = [begun(gateway, b"x") for _ in range(2)]
    full = begin(gateway, b"x")
    envelope(full, 503, code="too_many_open_uploads")
    assert int(full.headers["retry-after"]) >= 1
    for upload in many + [third]:
        assert cancel(gateway, upload).status == 200
    assert gateway.upload(data).status == 200
    sent(sim, data, 2)


def test_the_largest_upload_is_one_that_an_id_can_tell(start, sim, spool):
    gateway = start(config_of(sim, spool, limits={"max_file_bytes": {"openai": "1TiB", "azure": "1TiB"}}))
    envelope(begin(gateway, b"", bytes=1 << 40), 400, param="bytes")
    envelope(begin(gateway, b"", bytes=(1 << 40) - 1), 507, code="insufficient_storage")


def test_a_part_is_refused_as_soon_as_it_has_more_bytes_than_its_upload(start, sim, spool):
    gateway = start(config_of(sim, spool), workers=1)
    upload = begun(gateway, b"x")
    body, form = multipart([("data", None)], b"x" * 200_000, filename="upload")
    client = H1(gateway.port).request("POST", f"/v1/uploads/{upload['id']}/parts", {"Content-Type": form}, 64 * MIB)
    client.send(body[:100_000])
    envelope(client.answer(), 400, param="data")
    client.close()
    until(lambda: parts_on_disk(spool) == [], "nothing of it is left")


def test_one_tenants_parts_leave_room_to_others(tenants, sim, spool):
    gateway = tenants(settings={"spool_dir": str(spool), "spool_limit": "2MiB"}, workers=1)
    a1, b1 = gateway.as_("a1"), gateway.as_("b1")
    upload = begun(a1, b"x" * 400_000)
    body, form = multipart([("data", None)], b"x" * 400_000, filename="upload")
    clients = []
    for _ in range(8):
        client = H1(gateway.port).request("POST", f"/v1/uploads/{upload['id']}/parts", {"Content-Type": form}, len(body), key=a1.key)
        with contextlib.suppress(OSError):
            client.send(body[:-10])
        clients.append(client)
    refused = until(lambda: [c for c in clients if select.select([c.sock], [], [], 0)[0]], "its share of the spool is full")
    envelope(refused[0].answer(), 507, code="insufficient_storage")
    assert b1.upload(lines("dear", count=800)).status == 200
    for client in clients:
        client.close()
    until(lambda: put(a1, upload, b"x" * 400_000).status == 200, "what it has reserved is its own, once the others are gone")


def test_a_keys_max_spool_bytes_bounds_all_its_open_uploads_in_a_team_too(tenants, sim, spool):
    gateway = tenants({"spool_dir": str(spool), "a1": {"max_spool_bytes": 1000}, "lone": {"max_spool_bytes": 1000}})
    a1, a2, lone = (gateway.as_(name) for name in ("a1", "a2", "lone"))
    begun(a2, b"x" * 900)  # a team mate's are its own
    for caller in (a1, lone):
        first = begun(caller, b"x" * 600)
        begun(caller, b"x" * 300)
        answer = begin(caller, b"x" * 200)
        error = envelope(answer, 429)
        assert f"api_key: alias-{caller.name}" in error["message"] and "max_spool_bytes" in error["message"], answer
        assert "Current limit: 1000, Remaining: 100" in error["message"] and answer.headers["rate_limit_type"] == "max_spool_bytes", answer
        assert envelope(begin(caller, b"x" * 1001), 413, param="file")["message"].count("max_spool_bytes is 1000") == 1
        begun(caller, b"x" * 100)  # what is left
        assert cancel(caller, first).status == 200
        begun(caller, b"x" * 600)
    begun(a2, b"x" * 900)


@pytest.mark.parametrize("team", [{}, {"team_id": "team-a"}], ids=["of_no_team", "of_a_team"])
def test_an_admin_keys_max_spool_bytes_is_not_used_up_by_what_others_upload(tenants, sim, spool, team):
    """Neither by the master key, whose uploads have no owner either, nor by its team's keys."""
    gateway = tenants({"spool_dir": str(spool), "admin": {"max_spool_bytes": 1000, **team}, "lone": {"admin": True, "max_spool_bytes": 1000},
                       "teams": [{"team_id": name, "models": ["*"], "max_spool_bytes": 1000} for name in ("team-a", "team-b", "team-t", "team-x")]})
    admin = gateway.as_("admin")
    for other in ("master", "lone", "a1"):
        begun(gateway.as_(other), b"x" * 900)
    first = begun(admin, b"x" * 900)
    answer = begin(admin, b"x" * 200)
    message = envelope(answer, 429)["message"]
    assert "api_key: alias-admin" in message and "Current limit: 1000, Remaining: 100" in message, answer
    begun(admin, b"x" * 100)
    assert cancel(admin, first).status == 200
    begun(admin, b"x" * 900)


# --- whose it is ---

def test_an_upload_is_its_owners(tenants, sim, spool):
    gateway = tenants(settings={"spool_dir": str(spool), "limits": {"max_open_uploads": 5}})
    a1, a2, b1, master = (gateway.as_(name) for name in ("a1", "a2", "b1", "master"))
    data = lines("cheap", count=30)
    upload = begun(a1, data)
    for stranger in (b1, gateway.as_("lone")):
        envelope(put(stranger, upload, data), 404)
        envelope(complete(stranger, upload, ["part_" + "0" * 32]), 404)
        envelope(cancel(stranger, upload), 404)
    part = kept(a2, upload, data)  # of the same team
    done = complete(master, upload, [part])
    assert done.status == 200, done
    assert a1.get(f"/v1/files/{done.json()['file']['id']}").status == 200
    assert b1.get(f"/v1/files/{done.json()['file']['id']}").status == 404
    narrow = gateway.as_("narrow")
    dear = begun(narrow, lines("dear"))
    envelope(complete(narrow, dear, [kept(narrow, dear, lines("dear"))]), 403)
    # One tenant leaves places to the others.
    mine = [begun(b1, b"x") for _ in range(3)]
    envelope(begin(b1, b"x"), 503, code="too_many_open_uploads")
    assert begin(gateway.as_("lone"), b"x").status == 200
    assert len(mine) == 3


def test_another_nodes_upload_is_told_apart_from_none(start, sim, spool, tmp_path):
    seals = {"seal_keys": ["one key for both nodes, long enough"]}
    here = start(config_of(sim, spool, **seals))
    there = start(config_of(sim, tmp_path, **seals), host="0.0.0.0")
    upload = begun(here, lines())
    error = envelope(put(there, upload, lines()), 404, code="upload_elsewhere")
    assert "another node" in error["message"]
    envelope(complete(there, upload, ["part_" + "0" * 32]), 404, code="upload_elsewhere")
    assert kept(here, upload, lines())


# --- when something dies ---

def test_parts_outlive_their_worker_and_a_half_one_goes(make_door, sim, spool):
    door = make_door("h1", config_of(sim, spool), workers=1)
    gateway = door.gateway
    gateway.deaths_expected = True
    data = lines(count=1000)
    upload = begun(gateway, data)
    first, second = pieces(data, 2)
    ids = [kept(gateway, upload, first)]
    body, form = multipart([("data", None)], second, filename="upload")
    call = door.call("POST", f"/v1/uploads/{upload['id']}/parts", {"Content-Type": form}, len(body))
    call.send(body[:100_000])
    half = until(lambda: [p for p in parts_on_disk(spool) if p.name.startswith("tmp-")], "half a part is on the disk")
    os.utime(half[0], (1, 1))  # as if it had been there for a while; who writes it has it locked
    for pid in gateway.workers():
        os.kill(pid, signal.SIGKILL)  # the prober, too: a new one looks at once
    ids.append(kept(gateway, upload, second))
    until(lambda: not half[0].exists(), "the sweeper takes what nobody writes", timeout=PATIENCE * 3)
    assert complete(gateway, upload, ids).status == 200
    sent(sim, data)


def test_uploads_go_on_after_the_gateway_was_killed_and_old_ones_are_swept(start, sim, spool):
    config = config_of(sim, spool)
    gateway = start(config)
    gateway.deaths_expected = True
    data = lines(count=100)
    upload, forgotten = begun(gateway, data), begun(gateway, data)
    first, second = pieces(data, 2)
    ids = [kept(gateway, upload, first)]
    kept(gateway, forgotten, first)
    old = [p for p in folders(spool) if forgotten["id"][7:49] in p.name][0]
    older = old.rename(old.parent / ("%08x" % (forgotten["created_at"] - 3601) + old.name[8:]))
    os.killpg(gateway.pid, signal.SIGKILL)
    gateway = start(config)
    until(lambda: not older.exists(), "the sweeper takes what is older than an hour", timeout=PATIENCE * 3)
    ids.append(kept(gateway, upload, second))
    assert complete(gateway, upload, ids).status == 200
    sent(sim, data)


def test_open_uploads_go_on_in_the_program_that_follows_at_an_upgrade(start, sim, spool):
    """Parts of before and after it, one upload begun in each program, and a complete of before that is sent again."""
    gateway = start(config_of(sim, spool))
    gateway.wait_line("generation 1 serves")
    data = lines(count=300)
    early, late = begun(gateway, data), begun(gateway, data)
    first, second, third = pieces(data, 3)
    early_ids = [kept(gateway, early, data)]
    done = complete(gateway, early, early_ids)
    assert done.status == 200, done
    ids = [kept(gateway, late, first)]
    gateway.send(signal.SIGUSR2)
    pid = int(gateway.wait_line(r"new program started, pid (\d+)").group(1))
    gateway.wait_line(rf"master\[{pid}\]: upgrade: took over from the previous program")
    ids.append(kept(gateway, late, second))  # at whichever accepts it
    assert gateway.wait() == 0
    until(lambda: "all processes of the previous program have ended" in gateway.log, "the old program has ended")
    ids.append(kept(gateway, late, third))
    assert complete(gateway, early, early_ids).body == done.body
    answer = complete(gateway, late, ids)
    assert answer.status == 200 and answer.json()["status"] == "completed", answer
    sent(sim, data, 2)
    newer = begun(gateway, data)
    assert cancel(gateway, newer).status == 200
    os.kill(pid, signal.SIGTERM)
    assert gateway.wait_output_end()


def test_an_upload_whose_hour_is_over_is_told_so_by_each_call(start, sim, spool):
    """Also once the sweeper has taken its parts: its id tells."""
    gateway = start(config_of(sim, spool, seal_keys=[SEAL]))
    data = lines(count=30)
    upload = begun(gateway, data)
    part = kept(gateway, upload, data)
    native, place, owner = native_of(upload["id"]), tag_bytes(upload["id"])[:4], tag_bytes(upload["id"])[4:12]

    def aged(seconds):
        older = "upload_%08x%s" % (upload["created_at"] - seconds, native[len("upload_") + 8:])
        return {"id": mint(SEAL, UPLOAD, older, place, owner)}

    (folder,) = folders(spool)
    old = folder.rename(folder.parent / ("%08x" % (upload["created_at"] - 3601) + folder.name[8:]))
    for _ in range(2):
        for answer in (put(gateway, aged(3601), data), complete(gateway, aged(3601), [part]), cancel(gateway, aged(3601))):
            error = envelope(answer, 400, param="upload_id", code="upload_expired")
            assert "hour" in error["message"]
        until(lambda: not old.exists(), "the sweeper takes it", timeout=PATIENCE * 3)
    envelope(cancel(gateway, aged(3000)), 404)  # not over, and never begun
    assert stored(sim) == []


def test_a_part_that_a_power_loss_has_cut_off_may_be_sent_again(start, sim, spool):
    gateway = start(config_of(sim, spool))
    data = lines(count=300)
    upload = begun(gateway, data)
    ids = [kept(gateway, upload, piece) for piece in pieces(data, 3)]
    on_disk = {p.name[:37]: p for p in parts_on_disk(spool)}
    os.truncate(on_disk[ids[0]], 0)
    os.truncate(on_disk[ids[1]], 1000)
    envelope(complete(gateway, upload, ids), 400, param="part_ids")
    ids[:2] = [kept(gateway, upload, piece) for piece in pieces(data, 3)[:2]]
    assert complete(gateway, upload, ids).status == 200
    sent(sim, data)


# --- answers that are lost ---

def test_a_lost_answer_of_the_provider_leaves_the_parts_and_complete_can_be_sent_again(start, sim, spool):
    gateway = start(config_of(sim, spool))
    data = lines(count=50)
    upload = begun(gateway, data)
    ids = [kept(gateway, upload, piece) for piece in pieces(data, 3)]
    sim.fault({"close": "answer"}, method="POST", path="*/files")
    envelope(complete(gateway, upload, ids), 502)
    assert complete(gateway, upload, ids).status == 200  # on purpose


def test_a_second_complete_waits_for_the_first_and_has_its_answer(start, sim, spool):
    gateway = start(config_of(sim, spool), workers=2)
    data = lines(count=50)
    upload = begun(gateway, data)
    ids = [kept(gateway, upload, piece) for piece in pieces(data, 3)]
    for account in DEPLOYMENTS:
        sim.fault({"delay_ms": 1500}, account=account, method="POST", path="*/files", times=10)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: complete(gateway, upload, ids), range(4)))
    assert {a.status for a in answers} == {200} and len({a.body for a in answers}) == 1
    sent(sim, data)


def test_a_complete_whose_client_has_left_goes_on(make_door, sim, spool):
    door = make_door("h1", config_of(sim, spool), workers=2)
    gateway = door.gateway
    data = lines(count=50)
    upload = begun(gateway, data)
    ids = [kept(gateway, upload, piece) for piece in pieces(data, 3)]
    for account in DEPLOYMENTS:
        sim.fault({"delay_ms": 1500}, account=account, method="POST", path="*/files", times=10)
    body = json.dumps({"part_ids": ids}).encode()
    call = door.call("POST", f"/v1/uploads/{upload['id']}/complete", {"Content-Type": "application/json"}, len(body))
    call.send(body)
    until(lambda: [r for r in sim.requests() if r["method"] == "POST"], "the file is on its way")
    call.close()
    done = complete(gateway, upload, ids)
    assert done.status == 200 and done.json()["status"] == "completed", done
    sent(sim, data)
    assert complete(gateway, upload, ids).body == done.body
