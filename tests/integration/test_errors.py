"""Every shape of failure that a provider knows becomes one envelope with a fitting status."""

import pytest
from harness import azure_deployment, balanced_config, direct_config, envelope, lines, until

# What providers answer (providers 1.7 and 2.8) -> what a client gets: status, and members of the envelope.
SHAPES = {
    "edge_401": (401, {"error": {"code": "401", "message": "Access denied due to invalid subscription key."}}, 502,
                 {"code": "upstream_auth"}),
    "edge_403": (403, {"error": {"code": "PermissionDenied", "message": "Access denied by network rules."}}, 502,
                 {"code": "upstream_auth"}),
    "edge_404": (404, {"error": {"code": "404", "message": "Resource not found"}}, 404,
                 {"param": None}),
    "authoring": (400, {"error": {"code": "invalidPayload", "message": "Something is off.", "target": "x", "details": [],
                                  "innererror": {"code": "y"}}}, 400,
                  {"code": "invalidPayload", "message": "Something is off.", "param": "x"}),
    "v1_older": (400, {"error": {"code": "badRequest", "message": "No.", "param": "limit", "type": "error", "inner_error": {}}},
                 400, {"code": "badRequest", "param": "limit", "message": "No."}),
    "openai": (400, {"error": {"message": "Missing required parameter: 'x'.", "type": "invalid_request_error", "param": "x",
                               "code": "missing_required_parameter"}}, 400,
               {"type": "invalid_request_error", "code": "missing_required_parameter", "param": "x",
                "message": "Missing required parameter: 'x'."}),
    "openai_with_detail": (400, {"error": {"message": "m", "type": "invalid_request_error", "param": None, "code": None},
                                 "detail": {"a": 1}}, 400, {"message": "m", "code": None}),
    "throttled": (429, {"error": {"code": "429", "message": "Please retry after 7 seconds."}}, 429,
                  {"code": "rate_limit_exceeded"}),
    "rate_limit": (429, {"error": {"message": "Rate limit reached", "type": "requests", "param": None,
                                   "code": "rate_limit_exceeded"}}, 429, {"code": "rate_limit_exceeded", "type": "requests"}),
    "out_of_credit": (429, {"error": {"message": "You exceeded your current quota", "type": "insufficient_quota",
                                      "param": None, "code": "insufficient_quota"}}, 429, {"code": "insufficient_quota"}),
    "numeric_code": (400, {"error": {"code": 4711, "message": "numbers"}}, 400, {"code": 4711, "message": "numbers"}),
    "error_is_text": (400, {"error": "just text"}, 400, {"message": "just text"}),
    "message_at_the_top": (400, {"message": "at the top"}, 400, {"message": "at the top"}),
    "conflict": (409, {"error": {"code": "conflict", "message": "Cannot cancel a batch with status 'completed'."}}, 409,
                 {"code": "conflict"}),
    "too_large_html": (413, "<html><body>413 Request Entity Too Large</body></html>", 413, {}),
    "many_headers": (431, {"error": {"code": "431", "message": "too many headers"}}, 431, {}),
    "fault_500": (500, {"error": {"message": "The server had an error", "type": "server_error", "param": None, "code": None}},
                  500, {"type": "server_error"}),
    "html_502": (502, "<html><head><title>502 Bad Gateway</title></head></html>", 502, {}),
    "unavailable": (503, {"error": {"code": "serviceUnavailable", "message": "busy"}}, 503, {"code": "serviceUnavailable"}),
    "edge_520": (520, "", 520, {}),
    "empty_400": (400, "", 400, {}),
    "redirect": (302, "", 502, {}),
    "array": (400, [1, 2, 3], 400, {}),
    "deep": (400, "[" * 5000, 400, {}),
    "bad_utf8_as_latin": (400, "{\"error\": \"caf\\ud83d\"}", 400, {}),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_refused_read(start, sim, name):
    status, body, wanted, members = SHAPES[name]
    gateway = start(balanced_config(sim, accounts=["eu"], router_settings={"num_retries": 0}), sim=sim)
    batch = gateway.created(gateway.uploaded()["id"])
    headers = {"location": "http://127.0.0.1:1/elsewhere"} if status == 302 else {}
    sim.fault({"status": status, "headers": headers, "body": body}, account="eu", method="GET", path="/openai/batches/*",
              times=-1)
    answer = gateway.get(f"/v1/batches/{batch['id']}")
    envelope(answer, wanted, **members)
    assert "<html" not in answer.body.decode()


@pytest.mark.parametrize("name", SHAPES)
def test_a_refused_create_is_made_once_at_most(start, sim, name):
    status, body, wanted, members = SHAPES[name]
    gateway = start(balanced_config(sim, accounts=["eu"], router_settings={"num_retries": 0}), sim=sim)
    file = gateway.uploaded()
    sim.fault({"status": status, "body": body}, account="eu", method="POST", path="/openai/batches*", times=-1)
    answer = gateway.create(file["id"])
    if status in (500, 520):  # nobody knows what a provider did before it fell over
        envelope(answer, 502, code="create_outcome_unknown")
        assert answer.headers["x-should-retry"] == "false"
    else:
        envelope(answer, wanted, **members)
    assert sim.created("batches") == 0
    assert len([r for r in sim.requests("eu") if r["method"] == "POST" and "/batches" in r["target"]]) <= 3


@pytest.mark.parametrize("headers, seconds", [
    ({"retry-after": "7"}, 7), ({"retry-after-ms": "7000"}, 7), ({"retry-after": "99", "retry-after-ms": "3000"}, 3)])
def test_a_throttled_call_says_when_to_come_back(start, sim, headers, seconds):
    gateway = start(balanced_config(sim, accounts=["eu"], router_settings={"num_retries": 0}), sim=sim)
    batch = gateway.created(gateway.uploaded()["id"])
    sim.fault({"status": 429, "headers": headers, "body": {"error": {"code": "429", "message": "slow down"}}},
              account="eu", method="GET", path="/openai/batches/*", times=-1)
    answer = gateway.get(f"/v1/batches/{batch['id']}")
    envelope(answer, 429)
    assert int(answer.headers["retry-after"]) in (seconds, seconds + 1), answer
    assert int(answer.headers["retry-after-ms"]) <= seconds * 1000 + 1000


def test_a_conflict_tells_the_sdk_not_to_retry(start, sim):
    gateway = start(balanced_config(sim, accounts=["eu"]), sim=sim)
    batch = gateway.created(gateway.uploaded()["id"])
    gateway.wait_batch(sim, batch["id"])
    answer = gateway.post(f"/v1/batches/{batch['id']}/cancel")
    envelope(answer, 409)
    assert answer.headers["x-should-retry"] == "false"


BROKEN = {
    "closed_at_accept": {"close": "accept"}, "closed_after_the_head": {"close": "head"}, "closed_instead_of_an_answer":
    {"close": "answer"}, "reset_at_accept": {"reset": "accept"}, "reset_instead_of_an_answer": {"reset": "answer"},
    "truncated": {"truncate": 20}, "not_json": {"not_json": True}, "oversize": {"oversize": 200_000_000},
    "gzip_unasked": {"gzip": True},
}


@pytest.mark.parametrize("fault", BROKEN.values(), ids=BROKEN.keys())
def test_an_unusable_answer_is_502_and_the_next_one_is_fine(start, sim, fault):
    gateway = start(balanced_config(sim, accounts=["eu"], router_settings={"num_retries": 0}), sim=sim)
    batch = gateway.created(gateway.uploaded()["id"])
    sim.fault(fault, account="eu", method="GET", path="/openai/batches/*", times=-1)
    envelope(gateway.get(f"/v1/batches/{batch['id']}"), 502)
    sim.clear_faults()
    # A connection that was refused at its very beginning may still be in the other worker's hands.
    until(lambda: gateway.get(f"/v1/batches/{batch['id']}").status == 200, "the next one is fine")


@pytest.mark.parametrize("fault", [{"trickle": {"bytes": 50, "interval_ms": 5}}, {"delay_ms": 50}], ids=["trickle", "delay"])
def test_a_strange_but_whole_answer_is_understood(start, sim, fault):
    gateway = start(balanced_config(sim, accounts=["eu"]), sim=sim)
    batch = gateway.created(gateway.uploaded()["id"])
    sim.fault(fault, account="eu", method="GET", path="/openai/batches/*", times=1)
    answer = gateway.get(f"/v1/batches/{batch['id']}")
    assert answer.status == 200 and answer.json()["id"] == batch["id"], answer


def test_a_provider_that_hangs_is_504(start, sim):
    config = balanced_config(sim, accounts=["eu"], router_settings={"num_retries": 0})
    patient = start(config, sim=sim)
    batch = patient.created(patient.uploaded()["id"])  # with all the time that a busy machine may need
    config["tranche_settings"] = {"timeouts": {"json_total_ms": 1000}}
    gateway = start(config, sim=sim)
    sim.fault({"hang": "answer"}, account="eu", method="GET", path="/openai/batches/*", times=-1)
    envelope(gateway.get(f"/v1/batches/{batch['id']}"), 504)
    sim.clear_faults()
    until(lambda: gateway.get(f"/v1/batches/{batch['id']}").status == 200, "the next one is answered")


def test_a_provider_that_is_not_there_is_502(start, sim):
    from harness import free_port
    deployment = azure_deployment(sim, "eu", api_base=f"http://127.0.0.1:{free_port()}")
    gateway = start({**balanced_config(sim), "model_list": [deployment]}, sim=sim)
    envelope(gateway.upload(), 502)
    envelope(gateway.get("/v1/batches"), 502)


def test_truncated_content_is_a_visibly_broken_transfer(start, sim):
    import http.client
    gateway = start(balanced_config(sim, accounts=["eu"]), sim=sim)
    file = gateway.uploaded(lines(count=5000))
    sim.fault({"truncate": 100_000}, account="eu", method="GET", path="/openai/files/*/content", times=1)
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        gateway.get(f"/v1/files/{file['id']}/content")
    assert len(gateway.get(f"/v1/files/{file['id']}/content").body.splitlines()) == 5000


@pytest.mark.parametrize("body, line, column", [
    ('{"input_file_id": oops}', 1, 19), ('{\n  "input_file_id": "file-x",\n  "endpoint": }', 3, 15), ('{"a": 1', 1, 8),
    ('{"a": "b",}', 1, 11), ("", None, None), ('{"a": "\x01"}', 1, None), ("nonsense", 1, None), ('{"a": 1} x', 1, 10),
    (b'{"a": "\xff\xfe"}'.decode("latin-1"), 1, None), ("[" * 100_000, 1, None)],
    ids=["bare_word", "third_line", "cut", "trailing_comma", "empty", "control_byte", "nonsense", "rest", "latin1", "deep"])
def test_invalid_json_in_a_create_is_400_with_line_and_column(gateway, sim, body, line, column):
    answer = gateway.post("/v1/batches", body.encode("latin-1"), headers={"Content-Type": "application/json"})
    error = envelope(answer, 400, type="invalid_request_error")
    assert not error["message"].endswith(".."), error
    if line:
        assert f"line {line}" in error["message"] and "column" in error["message"], error
    if column:
        assert any(f"column {c}" in error["message"] for c in (column - 1, column, column + 1)), error
    assert sim.created("batches") == 0


@pytest.mark.parametrize("body", ["[]", "1", "null", '"text"', "true"])
def test_a_create_body_that_is_no_object_is_400(gateway, sim, body):
    envelope(gateway.post("/v1/batches", body, headers={"Content-Type": "application/json"}), 400)
    assert sim.created("batches") == 0


@pytest.mark.parametrize("missing", ["input_file_id", "endpoint", "completion_window"])
def test_a_create_without_a_required_member_names_it(direct, missing):
    body = {"input_file_id": "file-x", "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    del body[missing]
    envelope(direct.post("/v1/batches", body), 400, param=missing)


@pytest.mark.parametrize("member, value", [("input_file_id", 7), ("input_file_id", None), ("endpoint", 7), ("metadata", "text"),
                                           ("metadata", {"a": 1}), ("completion_window", 24)])
def test_a_member_of_the_wrong_type_is_400_and_never_5xx(direct, member, value):
    body = {"input_file_id": "file-x", "endpoint": "/v1/chat/completions", "completion_window": "24h", member: value}
    assert envelope(direct.post("/v1/batches", body), 400)["param"].startswith(member)


def test_a_json_body_above_the_cap_is_413(gateway):
    envelope(gateway.post("/v1/batches", b'{"a": "' + b"x" * (3 << 20) + b'"}', headers={"Content-Type": "application/json"}), 413)


def test_token_limit_exceeded_everywhere_is_told_as_it_is(start, sim):
    gateway = start(balanced_config(sim, accounts=["eu"]), sim=sim)
    file = gateway.uploaded()
    sim.fault({"status": 400, "body": {"error": {"code": "token_limit_exceeded", "message": "The number of enqueued tokens ..."}}},
              account="eu", method="POST", path="/openai/batches*", times=-1)
    answer = gateway.create(file["id"])
    assert answer.status in (400, 429), answer
    assert "token" in envelope(answer)["message"]


METADATA = {"text": ("x", "metadata", "invalid_type"), "list": ([1], "metadata", "invalid_type"),
            "number": ({"a": 1}, "metadata.a", "invalid_type"), "null": ({"a": None}, "metadata.a", "invalid_type"),
            "object": ({"ok": "x", "a": {"b": "c"}}, "metadata.a", "invalid_type"),
            "17_pairs": ({f"k{n}": "v" for n in range(17)}, "metadata", "object_above_max_properties"),
            "long_key": ({"k" * 65: "v"}, "metadata", "string_above_max_length"),
            "long_value": ({"k": "\u00fc" * 513}, "metadata.k", "string_above_max_length")}


@pytest.mark.parametrize("name", METADATA)
def test_metadata_that_no_provider_takes_is_told_with_its_place_whoever_would_get_it(gateway, sim, name):
    """Azure's own answer names no parameter, and OpenAI's code is not Azure's."""
    metadata, param, code = METADATA[name]
    file = gateway.uploaded()["id"]
    envelope(gateway.create(file, metadata=metadata), 400, type="invalid_request_error", param=param, code=code)
    assert not [r for r in sim.requests() if r["method"] == "POST" and r["target"].startswith("/openai/batches")]


def test_metadata_at_its_limits_is_taken(gateway):
    """Characters are counted, not bytes."""
    file = gateway.uploaded()["id"]
    for metadata in ({f"{n:02d}" + "\u00e9" * 62: "\u65e5" * 512 for n in range(16)}, {"": ""}, {"k": "\U0001f600" * 256}):
        assert gateway.created(file, metadata=metadata)["metadata"] == metadata
    assert gateway.created(file, metadata=None)["metadata"] is None


FAILING = {"upload": ("POST", "/openai/files", lambda g, f, b: g.upload()),
           "create": ("POST", "/openai/batches", lambda g, f, b: g.create(f)),
           "poll": ("GET", "/openai/batches/*", lambda g, f, b: g.get(f"/v1/batches/{b}")),
           "content": ("GET", "/openai/files/*/content", lambda g, f, b: g.get(f"/v1/files/{f}/content")),
           "list": ("GET", "/openai/files", lambda g, f, b: g.get("/v1/files"))}


@pytest.mark.parametrize("call", FAILING)
def test_the_log_of_a_failed_call_names_the_clients_request_and_the_providers(start, sim, call):
    """Who reports an x-request-id is told why it failed; the provider's support asks for theirs."""
    gateway = start(balanced_config(sim, accounts=["eu"]), sim=sim)
    file = gateway.uploaded()["id"]
    batch = gateway.created(file)["id"]
    method, path, ask = FAILING[call]
    sim.fault({"status": 501, "headers": {"apim-request-id": "theirs-17"}}, account="eu", method=method, path=path, times=1000)
    request = ask(gateway, file, batch).headers["x-request-id"]
    gateway.wait_line(rf"warn .* deployment \S+ \(127\.0\.0\.1:\d+\): \w+ failed: server_error, status 501, request {request}, the provider's theirs-17$")
