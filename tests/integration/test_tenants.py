"""Who may, where tenants have keys: what is refused and in which words, which routes a key may call, what a tenant sees of
the host. Models: test_tenants_models.py."""

import json
import re
import socket

import openai
import pytest
from harness import MASTER_KEY, PATIENCE, PROVIDER_KEYS, balanced_config, envelope, lines
from tenants import CHEAP, DEAR, EXPIRED_AT, KEYS, hash_of, tenant_config, tenants  # noqa: F401
from test_python_sdk import new_batch, run_to_the_end
from test_node_sdk import check_flow, run as node
from test_upload_abuse import Watch

# Every route, with a body where one is needed; ids that name nothing.
ROUTES = [("GET", "/v1/files"), ("POST", "/v1/files"), ("POST", "/v1/files/validate"), ("GET", "/v1/files/file-x"),
          ("DELETE", "/v1/files/file-x"), ("GET", "/v1/files/file-x/content"), ("GET", "/v1/batches"), ("POST", "/v1/batches"),
          ("POST", "/v1/batches/placement"), ("GET", "/v1/batches/batch_x"), ("POST", "/v1/batches/batch_x/cancel"),
          ("GET", "/azure/v1/batches"), ("GET", "/openai/batches?api-version=2024-10-21"),
          ("GET", "/openai/deployments/cheap/files?api-version=2024-10-21"), ("GET", "/v1/models"), ("GET", "/v1/models/cheap"),
          ("GET", "/model/info"), ("GET", "/v1/model/info"), ("GET", "/model_group/info"), ("GET", "/health"), ("GET", "/metrics")]


def refusal(message, kind="auth_error", param="None", status=401):
    return json.dumps({"error": {"message": message, "type": kind, "param": param, "code": str(status)}}, separators=(",", ":"))


def unknown(tail):
    return refusal("Authentication Error, Invalid proxy server token passed. Received API Key = sk-..." + tail +
                   ", Key Hash (Token) =***. Unable to find token in cache or `LiteLLM_VerificationTokenTable`",
                   "token_not_found_in_db", "key")


REFUSALS = {
    "nobody": refusal("Authentication Error, No api key passed in."),
    "odd": refusal("Authentication Error, LiteLLM Virtual Key expected. Received=not-****-key, expected to start with 'sk-'."),
    "unknown": unknown(KEYS["unknown"][-4:]),
    "blocked": refusal("Authentication Error, Key is blocked. Update via `/key/unblock` if you're an admin."),
    "of_blocked": refusal("Authentication Error, Team=team-x is blocked. Update via `/team/unblock` if you're an admin."),
}


@pytest.fixture
def gateway(tenants):  # noqa: F811
    return tenants()


# --- who is refused ---


@pytest.mark.parametrize("name", REFUSALS)
def test_a_key_that_is_not_taken_is_refused_in_litellms_words(gateway, sim, name):
    for method, target in ROUTES:
        answer = gateway.as_(name).request(method, target)
        assert (answer.status, answer.body.decode()) == (401, REFUSALS[name]), (method, target)
        assert "www-authenticate" not in answer.headers and "retry-after" not in answer.headers
        assert answer.headers["x-request-id"]
    assert sim.requests() == []


def test_an_expired_key_is_told_when_it_expired(gateway, sim):
    for method, target in ROUTES:
        answer = gateway.as_("expired").request(method, target)
        error = envelope(answer, 401, type="expired_key", code="401", param="sk-..." + KEYS["expired"][-4:])
        when = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{6})?\+00:00"
        found = re.fullmatch(f"Authentication Error - Expired Key. Key Expiry time ({when}) and current time {when}", error["message"])
        assert found and found.group(1).replace(" ", "T").replace("+00:00", "Z") == EXPIRED_AT
        assert "www-authenticate" not in answer.headers and "retry-after" not in answer.headers
    assert sim.requests() == []


@pytest.mark.parametrize("headers", [
    {"Authorization": "Bearer {}"}, {"authorization": "bearer   {}"}, {"api-key": "{}"}, {"x-api-key": "{}"},
    {"x-litellm-api-key": "{}"}, {"x-goog-api-key": "{}"}, {"Ocp-Apim-Subscription-Key": "{}"}, {"api-key": "Bearer {}"},
    {"Authorization": "Bearer sk-some-other-key-1234", "api-key": "{}"}], ids=lambda h: "+".join(h))
def test_a_key_is_taken_from_every_header_that_litellm_takes_it_from(gateway, headers):
    def ask(key):
        return gateway.request("GET", "/v1/models", headers={n: v.format(key) for n, v in headers.items()}, key=None)

    assert ask(KEYS["a1"]).status == 200
    assert ask(KEYS["blocked"]).status == 401
    assert ask(MASTER_KEY).status == 200


def test_a_header_of_the_operators_is_looked_at_too(tenants, sim):  # noqa: F811
    config = tenant_config(sim)
    config["general_settings"]["litellm_key_header_name"] = "X-Our-Key"
    gateway = tenants(config=config)
    assert gateway.request("GET", "/v1/models", headers={"x-our-key": KEYS["a1"]}, key=None).status == 200
    assert gateway.request("GET", "/v1/models", headers={"x-our-key": "Bearer " + KEYS["a1"]}, key=None).status == 200


def test_without_tenants_keys_nothing_has_changed(start, sim):
    gateway = start(balanced_config(sim), sim=sim)
    answer = gateway.get("/v1/files", key=KEYS["a1"])
    envelope(answer, 401, type="invalid_request_error", code="invalid_api_key", param=None, message="Incorrect API key provided.")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert gateway.get("/v1/files").status == 200


def test_the_log_names_the_key_and_its_team_and_no_hash(gateway):
    gateway.as_("a1").get("/v1/models")
    gateway.as_("lone").get("/v1/models")
    gateway.as_("blocked").get("/v1/models")
    gateway.as_("master").get("/v1/models")
    line = json.loads(gateway.wait_line(r'^\{.*"key":"alias-a1".*\}$').string)
    assert (line["team"], line["status"], line["route"]) == ("team-a", 200, "models.list")
    assert "team" not in json.loads(gateway.wait_line(r'^\{.*"key":"alias-lone".*\}$').string)
    assert json.loads(gateway.wait_line(r'^\{.*"key":"alias-blocked".*\}$').string)["status"] == 401


@pytest.mark.parametrize("name", ["unknown", "blocked", "expired"])
def test_a_refused_upload_of_a_gigabyte_costs_nothing(tenants, sim, name):  # noqa: F811
    gateway = tenants(workers=1)
    refuse = ("POST /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: multipart/form-data; boundary=b\r\n"
              "Content-Length: %d\r\n\r\n" % (KEYS[name], 1 << 30)).encode()
    piece = b"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n" + b"x" * (1 << 20)

    def send(megabytes):
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE) as s:
            s.sendall(refuse)
            assert s.recv(64).startswith(b"HTTP/1.1 401")  # before a byte of the body was there
            try:
                for _ in range(megabytes):
                    s.sendall(piece)
            except OSError:
                pass  # the gateway has closed the connection: it takes no more

    send(80)  # what the first connection needs once
    watch = Watch(gateway)
    for _ in range(4):
        send(80)
    assert watch.peak() < 1 << 20
    assert sim.requests() == []


# --- which routes ---

ALLOWED = {
    "files_only": ("'/files'", ["/v1/files"]),
    "reader": ("'info_routes'", ["/model/info", "/v1/model/info", "/model_group/info"]),
    "llm": ("'llm_api_routes'", ["/v1/files", "/v1/batches", "/v1/models", "/v1/models/cheap"]),
    "a1": ("'llm_api_routes', 'info_routes'", ["/v1/files", "/v1/batches", "/v1/models", "/v1/models/cheap", "/model/info",
                                               "/v1/model/info", "/model_group/info"]),
}


@pytest.mark.parametrize("name", ALLOWED)
def test_a_key_calls_what_its_routes_say(gateway, sim, name):
    words, allowed = ALLOWED[name]
    for target in ("/v1/files", "/v1/batches", "/v1/models", "/v1/models/cheap", "/model/info", "/v1/model/info",
                   "/model_group/info", "/health", "/metrics"):
        answer = gateway.as_(name).get(target + "?x=1")
        if target in allowed:
            assert answer.status == 200, answer
        else:
            assert answer.status == 403, answer
            assert answer.body.decode() == refusal(
                "Virtual key is not allowed to call this route. Only allowed to call routes: "
                f"[{words}]. Tried to call route: {target}", status=403)


def test_health_and_metrics_are_for_the_master_and_admins(gateway):
    for target in ("/health", "/metrics"):
        for name in ("a1", "lone", "llm", "of_t"):
            assert gateway.as_(name).get(target).status == 403
        for name in ("master", "admin"):
            assert gateway.as_(name).get(target).status == 200
    for name in ("nobody", "a1", "blocked", "unknown"):
        assert gateway.as_(name).get("/health/liveliness").status == 200
        answer = gateway.as_(name).get("/health/readiness")
        assert answer.status == 200 and "version" not in answer.body.decode() + repr(answer.headers)


# --- what a tenant sees of the host ---


def ids(answer):
    assert answer.status == 200, answer
    return [m["id"] for m in answer.json()["data"]]


def test_lists_of_models_have_what_the_key_may_use(gateway):
    all_models = ids(gateway.as_("master").get("/v1/models"))
    assert {CHEAP, DEAR} < set(all_models)
    for name in ("admin", "a1", "lone", "llm"):
        assert ids(gateway.as_(name).get("/v1/models")) == all_models
    for name in ("narrow", "a_narrow", "of_t"):
        who = gateway.as_(name)
        wanted = [CHEAP, "fast"] if name == "narrow" else [CHEAP]  # with its own alias
        assert ids(who.get("/v1/models")) == ids(who.get("/models")) == wanted
        assert who.get("/v1/models/" + CHEAP).json()["id"] == CHEAP
        hidden, none = who.get("/v1/models/" + DEAR), who.get("/v1/models/none")
        assert hidden.status == none.status == 404
        assert hidden.body.replace(b"dear", b"none") == none.body
    assert gateway.as_("narrow").get("/v1/models/fast").json()["id"] == "fast"
    assert gateway.as_("a1").get("/v1/models/fast").status == 404  # nobody else's


def test_tenants_see_groups_and_nothing_of_the_hosts_deployments(gateway, sim):
    for name in ("a1", "narrow"):
        for target in ("/model/info", "/v1/model/info", "/model_group/info"):
            answer = gateway.as_(name).get(target)
            groups = [row.get("model_name") or row["model_group"] for row in answer.json()["data"]]
            assert groups == ([CHEAP] if name == "narrow" else [CHEAP, DEAR, "gpt-4o-batch"])
            text = answer.body.decode()
            for word in ("127.0.0.1", "api_base", "gpt-4o-batch-eu", "num_deployments", '"id"', "api_version", "account"):
                assert word not in text, (target, word, text)
    admin = gateway.as_("admin").get("/model/info").json()
    assert admin["data"][0]["litellm_params"]["api_base"] == sim.base("eu")


def test_answers_to_tenants_name_no_deployment(gateway):
    def seen(who):
        file, batch = who.made()
        answers = [who.get("/v1/files/" + file["id"]), who.get("/v1/batches/" + batch["id"]),
                   who.get(f"/v1/files/{file['id']}/content"), who.post(f"/v1/batches/{batch['id']}/cancel")]
        return [n for a in answers for n in a.headers if n.startswith("x-litellm-model")]

    assert seen(gateway.as_("a1")) == []
    assert set(seen(gateway.as_("admin"))) == {"x-litellm-model-id", "x-litellm-model-api-base"}


def test_a_placement_tells_tenants_whether_there_is_room_and_no_more(gateway):
    other = gateway.as_("b1")
    other.made()
    question = {"model": CHEAP, "tokens": 1000}
    answer = gateway.as_("a1").post("/v1/batches/placement", question)
    plan = answer.json()
    assert answer.status == 200 and plan["fits"] == "now" and plan["tokens"] == 1000
    assert plan["deployment"] is None and plan["candidates"] == []
    text = answer.body.decode()
    assert "eu" not in text and "enqueued" not in text and "limit_tokens" not in text
    file = gateway.as_("a1").uploaded(lines(CHEAP))
    plan = gateway.as_("a1").post("/v1/batches/placement", {"input_file_id": file["id"]}).json()
    assert plan["deployment"] is None and plan["candidates"] == []
    assert gateway.as_("master").post("/v1/batches/placement", question).json()["candidates"] != []
    refused = gateway.as_("narrow").post("/v1/batches/placement", {"model": DEAR, "tokens": 1})
    envelope(refused, 403, type="key_model_access_denied", param="model", code="403")
    assert gateway.as_("narrow").post("/v1/batches/placement", {"model": "fast", "tokens": 1}).status == 200


# --- official clients as tenants ---


def openai_as(gateway, name):
    return openai.OpenAI(base_url=gateway.url + "/v1", api_key=KEYS[name], max_retries=0)


def azure_as(gateway, name):
    return openai.AzureOpenAI(azure_endpoint=gateway.url, api_key=KEYS[name], api_version="2024-10-21", max_retries=0)


@pytest.mark.parametrize("make", [openai_as, azure_as], ids=["OpenAI", "AzureOpenAI"])
@pytest.mark.parametrize("name", ["a1", "lone", "narrow"])
def test_an_official_client_does_the_whole_flow_as_a_tenant(gateway, sim, make, name):
    with make(gateway, name) as client:
        assert CHEAP in [m.id for m in client.models.list()]
        file = client.files.create(file=("requests.jsonl", lines(CHEAP)), purpose="batch")
        assert client.files.retrieve(file.id).id == file.id
        batch = new_batch(client, file.id)
        done = run_to_the_end(client, sim, batch.id)
        assert done.status == "completed" and done.input_file_id == file.id
        assert len(client.files.content(done.output_file_id).text.splitlines()) == 3
        assert batch.id in [b.id for b in client.batches.list()]


@pytest.mark.parametrize("make", [openai_as, azure_as], ids=["OpenAI", "AzureOpenAI"])
def test_an_official_client_knows_what_it_was_refused(gateway, make):
    for name in ("blocked", "expired", "unknown", "of_blocked"):
        with make(gateway, name) as client, pytest.raises(openai.AuthenticationError) as refused:
            client.files.create(file=("requests.jsonl", lines(CHEAP)), purpose="batch")
        assert refused.value.code == "401"
    with make(gateway, "narrow") as client, pytest.raises(openai.PermissionDeniedError) as denied:
        client.files.create(file=("requests.jsonl", lines(DEAR)), purpose="batch")
    assert denied.value.type == "key_model_access_denied"
    with make(gateway, "files_only") as client, pytest.raises(openai.PermissionDeniedError):
        client.batches.list()


def test_no_providers_key_and_no_tenants_goes_across(gateway, sim):
    gateway.as_("a1").made()
    for request in sim.requests():
        text = json.dumps(request)
        assert KEYS["a1"] not in text and hash_of(KEYS["a1"])[7:] not in text
    assert PROVIDER_KEYS["eu"] not in gateway.log


@pytest.mark.parametrize("kind", ["OpenAI", "AzureOpenAI"])
@pytest.mark.parametrize("name", ["a1", "narrow"])
def test_the_node_client_does_the_whole_flow_as_a_tenant(gateway, sim, tmp_path, kind, name):
    path = tmp_path / "requests.jsonl"
    path.write_bytes(lines(CHEAP))
    check_flow(node("flow.mjs", kind, gateway.url, KEYS[name], f"http://127.0.0.1:{sim.control_port}", "buffer", str(path)))


def test_a_providers_words_name_nothing_of_the_host(gateway, sim):
    """Its address, its organisation, its deployment; the master key hears all of it."""
    _, batch = gateway.as_("a1").made()
    where = sim.base("eu").replace("http://", "")
    said = f"gpt-4o-batch-eu at {where} (org-AbCdEf0123456789) has no cheap batch"
    heard = f"*** at ***{where[where.index(':'):]} (***) has no cheap batch"
    error = {"message": said, "code": "odd", "param": "gpt-4o-batch-eu"}
    sim.fault({"status": 400, "body": {"error": error}}, account="eu", method="GET", path="/openai/batches/*", times=2)
    for who, message, param in ("a1", heard, "***"), ("master", said, "gpt-4o-batch-eu"):
        told = envelope(gateway.as_(who).get(f"/v1/batches/{batch['id']}"), 400, code="odd")
        assert (told["message"], told["param"]) == (message, param)
    failed = {"id": "batch_1", "object": "batch", "status": "failed", "input_file_id": "file-1",
              "errors": {"object": "list", "data": [{"code": "odd", "message": said, "line": 1}]}}
    sim.fault({"status": 200, "body": failed}, account="eu", method="GET", path="/openai/batches/*", times=2)
    for who, message in ("a1", heard), ("master", said):
        shown = gateway.as_(who).get(f"/v1/batches/{batch['id']}").json()
        assert shown["errors"]["data"] == [{"code": "odd", "message": message, "line": 1, "param": None}]
    # what a tenant guesses is repeated to it: no answer tells that a deployment is called so
    for guess in "gpt-4o-batch-eu", "gpt-4o-batch-xy":
        assert guess in envelope(gateway.as_("a1").upload(lines(guess)), 400)["message"]
