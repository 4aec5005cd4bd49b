"""Limits of keys and teams that protect the gateway: rates, requests and uploads in flight, bytes in the spool, the size of
files, and expiries that an operator enforces (tenants statements A30, A33, A43). What is refused costs no body byte and
nothing upstream, and what a killed worker held is free again."""

import hashlib
import json
import os
import re
import signal

import pytest
from harness import MASTER_KEY, balanced_config, direct_config, http_request, lines, multipart, until
from wire import H1

ANN, AMY, BEN = "sk-ann-000011112222aaaa", "sk-amy-000011112222cccc", "sk-ben-000011112222bbbb"
MIB = 1 << 20
RESET = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"


def entry(key, **fields):
    alias = {ANN: "ann", AMY: "amy", BEN: "ben"}[key]
    return {"hash": "sha256:" + hashlib.sha256(key.encode()).hexdigest(), "key_alias": alias, "models": ["*"], **fields}


@pytest.fixture
def tenants(start, sim):
    """tenants([entries], [teams]) -> a gateway that knows them"""
    def make(keys, teams=(), workers=1, make_config=balanced_config, **sections):
        settings = {"keys": keys, "teams": list(teams), **sections.pop("tranche_settings", {})}
        config = make_config(sim, tranche_settings={k: v for k, v in settings.items() if v}, **sections)
        return start(config, sim=sim, workers=workers)

    return make


def refused(answer, who, kind, limit, remaining=0):
    """LiteLLM's text and headers, without the key's hash."""
    error = answer.json()["error"]
    assert (answer.status, error["code"], error["param"]) == (429, "429", None), answer
    pattern = (f"Rate limit exceeded for {re.escape(who)}. Limit type: {kind}. Current limit: {limit}, "
               f"Remaining: {remaining}. Limit resets at: {RESET}")
    assert re.fullmatch(pattern, error["message"]), error
    assert answer.headers["rate_limit_type"] == kind
    assert re.fullmatch(RESET, answer.headers["reset_at"])
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    for key in (ANN, AMY, BEN):
        assert hashlib.sha256(key.encode()).hexdigest() not in repr(answer)
        assert key not in repr(answer)
    return answer


def form_data(size):
    """Good lines, of about that many bytes."""
    one = lines(count=1)
    return lines(count=size // len(one) + 1)


def form(size):
    return multipart([("purpose", "batch"), ("file", None)], form_data(size))


def head_of_upload(gateway, key, length, content_type="multipart/form-data; boundary=x"):
    """A client that has sent the head of an upload and nothing else."""
    return H1(gateway.port).request("POST", "/v1/files", {"Content-Type": content_type}, length, key=key)


def spooled(gateway):
    text = gateway.get("/metrics").body.decode()
    return int(re.search(r"^tranche_spool_bytes (\d+)$", text, re.MULTILINE).group(1))


# --- rates ---

def test_more_requests_than_a_minute_has_are_refused_before_their_body_for_all_workers_together(tenants, sim):
    gateway = tenants([entry(ANN, rpm_limit=2), entry(BEN)], workers=2)
    assert [gateway.get("/v1/models", key=ANN).status for _ in range(2)] == [200, 200]
    refused(gateway.get("/v1/models", key=ANN), "api_key: ann", "requests", 2)
    client = head_of_upload(gateway, ANN, 100 * MIB)  # not a byte of the body comes
    refused(client.answer(), "api_key: ann", "requests", 2)
    assert sim.created("files") == 0
    assert gateway.get("/v1/models", key=BEN).status == 200
    assert gateway.get("/v1/models").status == 200  # the master key


def test_what_was_counted_is_known_after_a_reload(tenants):
    gateway = tenants([entry(ANN, rpm_limit=1)])
    assert gateway.get("/v1/models", key=ANN).status == 200
    gateway.send(signal.SIGHUP)
    gateway.wait_line("generation 2.*serv|reload")
    refused(gateway.get("/v1/models", key=ANN), "api_key: ann", "requests", 1)


def test_a_teams_keys_share_its_rate(tenants):
    gateway = tenants([entry(ANN, team_id="t1"), entry(AMY, team_id="t1"), entry(BEN, team_id="t2")],
                      [{"team_id": "t1", "models": ["*"], "rpm_limit": 2}, {"team_id": "t2", "models": ["*"]}])
    assert [gateway.get("/v1/models", key=k).status for k in (ANN, AMY)] == [200, 200]
    refused(gateway.get("/v1/models", key=ANN), "team: t1", "requests", 2)
    refused(gateway.get("/v1/models", key=AMY), "team: t1", "requests", 2)
    assert gateway.get("/v1/models", key=BEN).status == 200


def test_a_burst_of_a_rate_per_second(tenants):
    gateway = tenants([entry(ANN, max_requests_per_second=1, request_burst=3)])
    got = [gateway.get("/v1/models", key=ANN) for _ in range(40)]
    assert [a.status for a in got[:3]] == [200, 200, 200]
    assert any(a.status == 429 for a in got)
    refused(next(a for a in got if a.status == 429), "api_key: ann", "requests", 1)


# --- in flight ---

def test_requests_in_flight_are_bounded_until_they_end(tenants, sim):
    gateway = tenants([entry(ANN, max_parallel_requests=1), entry(BEN)])
    client = head_of_upload(gateway, ANN, 1000)
    until(lambda: gateway.get("/v1/models", key=ANN).status == 429, "the upload in flight")
    refused(gateway.get("/v1/models", key=ANN), "api_key: ann", "max_parallel_requests", 1)
    assert gateway.get("/v1/models", key=BEN).status == 200
    client.close()
    until(lambda: gateway.get("/v1/models", key=ANN).status == 200, "it has left")


def test_what_a_killed_worker_held_is_free_again(tenants, sim):
    gateway = tenants([entry(ANN, max_parallel_requests=1, max_concurrent_uploads=1, max_spool_bytes="1MiB")])
    gateway.deaths_expected = True
    client = head_of_upload(gateway, ANN, 1000 * 1000)
    until(lambda: gateway.get("/v1/models", key=ANN).status == 429, "the upload in flight")
    for pid in gateway.workers():
        os.kill(pid, signal.SIGKILL)
    until(lambda: ask(gateway, ANN) == 200, "a new worker, which finds nothing held")
    client.close()
    client = head_of_upload(gateway, ANN, 1000 * 1000)
    until(lambda: gateway.get("/v1/models", key=ANN).status == 429, "the next upload, which found room")
    client.close()


def ask(gateway, key):
    try:
        return http_request(gateway.port, "GET", "/v1/models", headers={"Authorization": f"Bearer {key}"}).status
    except OSError:
        return None


def test_uploads_in_flight_are_bounded_before_their_bodies(tenants, sim):
    gateway = tenants([entry(ANN, max_concurrent_uploads=1)])
    body, content_type = form(200_000)
    first = head_of_upload(gateway, ANN, len(body), content_type)
    first.send(body[:-10])
    until(lambda: spooled(gateway) > 0, "the first upload's bytes")
    refused(head_of_upload(gateway, ANN, 100 * MIB).answer(), "api_key: ann", "max_concurrent_uploads", 1)
    assert gateway.get("/v1/files", key=ANN).status == 200  # other requests are not uploads
    first.send(body[-10:])
    assert first.answer().status == 200
    assert gateway.upload(key=ANN).status == 200
    assert sim.created("files") == 2


def test_bytes_in_the_spool_are_bounded_by_what_is_announced(tenants, sim):
    gateway = tenants([entry(ANN, team_id="t1"), entry(BEN)], [{"team_id": "t1", "models": ["*"], "max_spool_bytes": 300_000}])
    body, content_type = form(200_000)
    first = head_of_upload(gateway, ANN, len(body), content_type)
    first.send(body[:1000])
    until(lambda: spooled(gateway) > 0, "the first upload's bytes")
    answer = head_of_upload(gateway, ANN, len(body), content_type).answer()
    refused(answer, "team: t1", "max_spool_bytes", 300_000, 300_000 - len(body))
    never = head_of_upload(gateway, ANN, 300_001).answer()
    assert (never.status, never.json()["error"]["param"], never.json()["error"]["code"]) == (413, "file", "413"), never
    assert "max_spool_bytes is 300000" in never.json()["error"]["message"]
    first.send(body[1000:])
    assert first.answer().status == 200
    assert gateway.upload(form_data(200_000), key=ANN).status == 200
    assert sim.created("files") == 2


def chunked(gateway, key, body, content_type):
    client = H1(gateway.port).request("POST", "/v1/files", {"Content-Type": content_type}, "chunked", key=key)
    try:
        for at in range(0, len(body), 65536):
            client.send(body[at:at + 65536])
        client.finish()
    except OSError:
        pass  # it was answered already
    return client.answer()


def test_a_body_without_a_length_is_bounded_as_it_comes(tenants, sim):
    gateway = tenants([entry(ANN, max_spool_bytes=300_000)])
    body, content_type = form(400_000)
    answer = chunked(gateway, ANN, body, content_type)
    assert answer.status == 413 and "max_spool_bytes is 300000" in answer.json()["error"]["message"], answer
    first = head_of_upload(gateway, ANN, 200_000, content_type)
    first.send(body[:1000])
    until(lambda: spooled(gateway) > 0, "the first upload's bytes")
    body, content_type = form(200_000)
    assert chunked(gateway, ANN, body, content_type).status == 429
    first.close()
    until(lambda: spooled(gateway) == 0, "nothing is left in the spool")
    assert sim.created("files") == 0
    assert chunked(gateway, ANN, body, content_type).status == 200


# --- the size of files ---

def too_large(answer, size, limit):
    error = answer.json()["error"]
    assert (answer.status, error["type"], error["param"], error["code"]) == (413, "invalid_request_error", "file", "413")
    assert error["message"] == (f"Batch input file is {size} MB, which exceeds the configured max_batch_file_size_mb of {limit} "
                                "MB. The file was not forwarded to the provider.")


@pytest.mark.parametrize("whose", ["key", "team", "all"])
def test_a_file_that_is_too_large_is_refused_at_its_head_and_as_it_comes(tenants, sim, whose):
    size = {"max_batch_file_size_mb": 1}
    gateway = tenants([entry(ANN, team_id="t1", **(size if whose == "key" else {}))],
                      [{"team_id": "t1", "models": ["*"], **(size if whose == "team" else {})}],
                      general_settings={"master_key": MASTER_KEY, **(size if whose == "all" else {})})
    too_large(head_of_upload(gateway, ANN, 12 * MIB).answer(), "12.0", 1)  # not a byte of it came
    body, content_type = form(MIB + 100)
    too_large(chunked(gateway, ANN, body, content_type), "1.1", 1)
    body, content_type = form(12 * MIB)
    assert chunked(gateway, ANN, body, content_type).status == 413
    until(lambda: spooled(gateway) == 0, "nothing is left in the spool")
    if whose == "all":
        too_large(head_of_upload(gateway, MASTER_KEY, 12 * MIB).answer(), "12.0", 1)
    else:
        assert gateway.upload(form_data(MIB + 100)).status == 200
    assert len([r for r in sim.requests() if r["method"] == "POST"]) == (whose != "all")
    data = form_data(MIB - 400)[:MIB - 400].rsplit(b"\n", 1)[0] + b"\n"
    data += b" " * (MIB - len(data))  # its form makes the body larger than the limit
    assert gateway.upload(data, key=ANN).status == 200


def test_files_of_any_purpose_and_of_any_name_are_bounded_for_all_callers(tenants, sim):
    """(tenants statement A34)"""
    gateway = tenants([entry(ANN)], general_settings={"master_key": MASTER_KEY, "max_file_size_mb": 1,
                                                      "blocked_file_extensions": [".exe", "DLL"]})

    def says(answer, status, message):
        error = answer.json()["error"]
        assert (answer.status, error["type"], error["param"], error["code"]) == (status, "invalid_request_error", "file", str(status))
        assert error["message"] == f"{message} The file was not forwarded to the provider."

    def above(read):
        return f"Uploaded file exceeds the configured max_file_size_mb of 1 MB (read stopped at {read} MB)."

    def says_where_it_stopped(answer):
        """As far as it was read when the last byte arrived: one byte above or all of them."""
        says(answer, 413, above("1.0" if "1.0 MB)" in answer.json()["error"]["message"] else "1.1"))

    def named(name, key=ANN):
        return gateway.upload(form_data(2000), filename=name, key=key)

    for key in ANN, MASTER_KEY:
        says(head_of_upload(gateway, key, 12 * MIB).answer(), 413, above("0.0"))
        says(named("setup.EXE", key), 400, "File extension '.exe' is blocked by this proxy's blocked_file_extensions setting.")
    body, content_type = form(MIB + 100_000)
    says_where_it_stopped(chunked(gateway, ANN, body, content_type))
    says(gateway.upload(b"x" * (MIB + 100_000), fields={"purpose": "user_data"}, key=ANN), 413, above("0.0"))
    says(named("..\\a.b.dll"), 400, "File extension '.dll' is blocked by this proxy's blocked_file_extensions setting.")
    until(lambda: spooled(gateway) == 0, "nothing is left in the spool")
    assert sim.created("files") == 0
    for name in "lines.exe.jsonl", "exe", ".exe", "lines.jsonl":
        assert named(name).status == 200


# --- enforced expiries ---

ENFORCED = {"enforced_file_expires_after": {"anchor": "created_at", "seconds": 1_209_600},
            "enforced_batch_output_expires_after": {"anchor": "created_at", "seconds": 1_300_000}}
OTHER = {"enforced_file_expires_after": {"seconds": 2_000_000}, "enforced_batch_output_expires_after": {"seconds": 2_100_000}}


def expiry_sent(sim):
    """What went upstream of the last upload and the last create."""
    posts = [r for r in sim.requests() if r["method"] == "POST"]
    create = json.loads(next(r["body"] for r in reversed(posts) if "batches" in r["target"]))
    return create.get("output_expires_after")


@pytest.mark.parametrize("whose, seconds, output", [
    ("key", 1_209_600, 1_300_000), ("team", 1_209_600, 1_300_000), ("all", 1_209_600, 1_300_000), ("key over all", 1_209_600, 1_300_000)])
@pytest.mark.parametrize("asked", [None, 2_400_000])
def test_an_enforced_expiry_goes_before_what_the_client_says(tenants, sim, whose, seconds, output, asked):
    gateway = tenants([entry(ANN, team_id="t1", **(ENFORCED if whose.startswith("key") else {}))],
                      [{"team_id": "t1", "models": ["*"], **(ENFORCED if whose == "team" else {}),
                        **(OTHER if whose == "key over all" else {})}],
                      litellm_settings={"enable_loadbalancing_on_batch_endpoints": True,
                                        **(ENFORCED if whose == "all" else OTHER if whose == "key over all" else {})})
    fields = {"purpose": "batch"}
    if asked:
        fields.update({"expires_after[anchor]": "created_at", "expires_after[seconds]": str(asked)})
    file = gateway.uploaded(fields=fields, key=ANN)
    assert file["expires_at"] - file["created_at"] == seconds
    more = {"output_expires_after": {"anchor": "created_at", "seconds": asked}} if asked else {}
    batch = gateway.request("POST", "/v1/batches", {"input_file_id": file["id"], "endpoint": "/v1/chat/completions",
                                                    "completion_window": "24h", **more}, key=ANN)
    assert batch.status == 200, batch
    assert expiry_sent(sim) == {"anchor": "created_at", "seconds": output}


def test_what_the_master_key_uploads_expires_as_the_client_says(tenants):
    gateway = tenants([entry(ANN, **ENFORCED)])
    file = gateway.uploaded(fields={"purpose": "batch", "expires_after[anchor]": "created_at",
                                    "expires_after[seconds]": "2400000"})
    assert file["expires_at"] - file["created_at"] == 2_400_000
