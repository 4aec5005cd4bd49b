"""Whatever a provider says, and wherever it says it, no client and no log learns a key: not whole, not twelve bytes of it,
in no encoding. The judge below searches by itself, from the keys to the texts."""

import base64
import html
import json
import re
import urllib.parse

import pytest
from harness import azure_account, azure_deployment, envelope, multipart, lines, sim_config

AZURE_KEY = "9Fq2LxV7cRt0Jw5HkZ8nBd3MsY6aUe1G4oPiXhTvWyQrNbEjCl"
OPENAI_KEY = "sk-proj-h7TzKq4Wm1Vx9Rc2Yd5Ng8Bf3La6Us0Pe-Jo_XiQkHtGw"
MASTER = "a-master-key-of-2026/with+odd~signs"
KEYS = [AZURE_KEY, OPENAI_KEY, MASTER]
PIECE = 12


def b64(before, alphabet=base64.b64encode):
    return lambda key: alphabet((before + key).encode()).decode()


ENCODINGS = {
    "plain": lambda key: key,
    "piece": lambda key: "..." + key[9:9 + PIECE] + "...",
    "upper": lambda key: key.upper(),
    "percent": lambda key: "".join(f"%{c:02x}" for c in key.encode()),
    "PERCENT": lambda key: "".join(f"%{c:02X}" for c in key.encode()),
    "percent of what must be": lambda key: urllib.parse.quote(key, safe=""),
    "json": lambda key: "".join(f"\\u{c:04x}" for c in key.encode()),
    "base64 at 0": b64(""),
    "base64 at 1": b64("x"),
    "base64 at 2": b64("Bearer: "),
    "base64url": b64("xy", base64.urlsafe_b64encode),
    "hex": lambda key: key.encode().hex(),
    "HEX": lambda key: key.encode().hex().upper(),
}


def pieces_in_base64(piece):
    """The characters that the piece alone decides, at each of the three alignments."""
    for before in range(3):
        coded = base64.b64encode(b"\0" * before + piece + b"\0\0\0").decode()
        first = -(-8 * before // 6)
        yield coded[first:8 * (before + len(piece)) // 6]


def leaks(text):
    """The first piece of a key in a text, as an explanation; None."""
    text = text if isinstance(text, str) else text.decode("utf-8", "replace")
    plain = text
    for _ in range(3):
        plain = html.unescape(urllib.parse.unquote(plain, "latin-1"))
        plain = plain.replace("\\/", "/").replace("\\\\", "\\")
        plain = re.sub(r"\\u00([2-7][0-9a-f])", lambda found: chr(int(found.group(1), 16)), plain)
    folded = (text + plain).lower()
    same = (text + plain).replace("-", "+").replace("_", "/")
    for key in KEYS:
        for at in range(len(key) - PIECE + 1):
            piece = key[at:at + PIECE]
            if piece.lower() in folded or piece.encode().hex() in folded:
                return f"{piece} in {text}"
            for coded in pieces_in_base64(piece.encode()):
                if coded in same:
                    return f"{piece} as {coded} in {text}"
    return None


def test_the_judge_sees_every_encoding():
    for key in KEYS:
        for name, encode in ENCODINGS.items():
            assert leaks(json.dumps({"m": f"a key: {encode(key)}!"})), name
    assert leaks("nothing of theirs: file-9Fq2LxV7cRt sk-proj-h7T") is None


@pytest.fixture
def world(make_sim):
    return make_sim(sim_config([azure_account("eu", key=AZURE_KEY),
                                {"name": "oai", "kind": "openai", "port": 0, "key": OPENAI_KEY, "models": ["gpt-4o"]}]))


def config(sim):
    return {"model_list": [azure_deployment(sim, "eu", api_key=AZURE_KEY)],
            "files_settings": [{"custom_llm_provider": "openai", "api_base": sim.base("oai") + "/v1", "api_key": OPENAI_KEY}],
            "litellm_settings": {"enable_loadbalancing_on_batch_endpoints": True},
            "router_settings": {"num_retries": 0},
            "general_settings": {"master_key": MASTER},
            "tranche_settings": {"log_level": "debug", "timeouts": {"watch_ms": 1000}}}


class Client:
    """Every answer is judged."""

    def __init__(self, gateway):
        self.gateway = gateway

    def ask(self, method, target, body=None, **headers):
        answer = self.gateway.request(method, target, body, headers={k.replace("_", "-"): v for k, v in headers.items()},
                                      key=MASTER)
        assert leaks(repr(answer.headers)) is None
        assert leaks(answer.body) is None
        return answer

    def upload(self, **more):
        body, kind = multipart([*{"purpose": "batch", **more}.items(), ("file", None)], file=lines())
        return self.ask("POST", "/v1/files", body, content_type=kind)

    def create(self, file_id, **more):
        body = {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h", **more}
        return self.ask("POST", "/v1/batches", json.dumps(body), content_type="application/json")


@pytest.fixture
def client(start, world):
    return Client(start(config(world), sim=None))


def all_at_once(key, **more):
    """One text with the key in all encodings."""
    return " | ".join(encode(key) for encode in ENCODINGS.values())


@pytest.mark.parametrize("name", ENCODINGS)
def test_an_error_that_quotes_the_key_reaches_no_client_and_no_log(client, world, name):
    said = ENCODINGS[name](AZURE_KEY)
    file = client.upload().json()["id"]
    batch = client.create(file).json()["id"]
    error = {"error": {"message": f"The value {said} is wrong; {ENCODINGS[name](MASTER)}", "type": f"t {said}",
                       "code": said, "param": said}}
    for method, path, target in (("GET", "/openai/batches/*", f"/v1/batches/{batch}"),
                                 ("POST", "/openai/batches/*/cancel*", f"/v1/batches/{batch}/cancel"),
                                 ("GET", "/openai/files/*", f"/v1/files/{file}"),
                                 ("DELETE", "/openai/files/*", f"/v1/files/{file}"),
                                 ("GET", "/openai/files/*/content*", f"/v1/files/{file}/content")):
        for status in (400, 429, 503):
            world.fault({"status": status, "body": error, "headers": {"apim-request-id": said[:60]}}, account="eu",
                        method=method, path=path, times=-1)  # the watch may ask, too
            answer = client.ask(method, target)
            assert "***" in envelope(answer, status)["message"], answer
            world.clear_faults()
    assert leaks(client.gateway.log) is None


def test_a_refused_create_and_upload_quote_no_key(client, world):
    file = client.upload().json()["id"]
    error = {"error": {"message": all_at_once(AZURE_KEY)[:8000], "code": AZURE_KEY}}
    for status in (400, 429):
        world.fault({"status": status, "body": error}, account="eu", method="POST", path="/openai/batches*", times=3)
        assert "***" in envelope(client.create(file), status)["message"]
        world.clear_faults()
        world.fault({"status": status, "body": error}, account="eu", method="POST", path="/openai/files*", times=8)
        assert "***" in envelope(client.upload(), status)["message"]
        world.clear_faults()
    assert leaks(client.gateway.log) is None


@pytest.mark.parametrize("name", ENCODINGS)
def test_a_200_that_quotes_the_key_in_its_errors_is_shown_without_it(client, world, name):
    said = ENCODINGS[name](AZURE_KEY)
    batch = client.create(client.upload().json()["id"]).json()["id"]
    body = {"id": "batch_5d9e0c", "object": "batch", "status": "failed", "input_file_id": "file-1", "model": said,
            "errors": {"object": "list", "data": [{"code": said, "message": f"upstream said {said}", "param": said, "line": 1},
                                                  {"message": "and not ours: sk-other-key-0123456789"}]},
            "metadata": {"a": said, said: "b"}, "debug": [[{"request": said}]]}
    world.fault({"status": 200, "body": body}, account="eu", method="GET", path="/openai/batches/*", times=-1)
    answer = client.ask("GET", f"/v1/batches/{batch}")
    assert answer.status == 200
    shown = answer.json()
    assert "***" in shown["errors"]["data"][0]["message"] and shown["errors"]["data"][0]["line"] == 1
    assert shown["errors"]["data"][1]["message"] == "and not ours: ***"
    assert shown["id"].startswith("batch_5d9e0c")
    world.clear_faults()
    world.fault({"status": 200, "body": {"data": [body], "object": "list", "has_more": False}}, account="eu", method="GET",
                path="/openai/batches", times=-1)
    assert client.ask("GET", "/v1/batches?provider=azure").json()["data"][0]["errors"]["data"][0]["line"] == 1
    file = {"id": "file-5d9e0c", "object": "file", "status": "error", "status_details": f"it says {said}", "filename": said}
    world.clear_faults()
    world.fault({"status": 200, "body": file}, account="eu", method="GET", path="/openai/files/*")
    world.fault({"status": 200, "body": {"id": "file-5d9e0c", "deleted": True, "note": said}}, account="eu", method="DELETE",
                path="/openai/files/*")
    world.fault({"status": 201, "body": file}, account="eu", method="POST", path="/openai/files*")
    world.fault({"status": 201, "body": body}, account="eu", method="POST", path="/openai/batches*")
    made = client.upload()
    assert "***" in made.json()["status_details"]
    assert client.ask("GET", f"/v1/files/{made.json()['id']}").status == 200
    assert client.create(made.json()["id"]).status == 200
    assert client.ask("DELETE", f"/v1/files/{made.json()['id']}").json()["deleted"] is True
    assert leaks(client.gateway.log) is None


def test_headers_of_content_quote_no_key_and_its_bytes_are_left_alone(client, world):
    file = client.upload().json()["id"]
    content = f"a file may hold anything: {AZURE_KEY} {base64.b64encode(AZURE_KEY.encode()).decode()}\n"
    headers = {"content-type": f"text/plain; x={AZURE_KEY}", "etag": f'"{AZURE_KEY}"', "x-ms-error": AZURE_KEY,
               "content-disposition": f"attachment; filename={urllib.parse.quote(AZURE_KEY)}"}
    world.fault({"status": 200, "headers": headers, "body": content}, account="eu", method="GET", path="/openai/files/*/content*")
    answer = client.gateway.request("GET", f"/v1/files/{file}/content", key=MASTER)
    assert answer.status == 200
    assert answer.body.decode() == content
    assert leaks(repr(answer.headers)) is None
    assert answer.headers["content-disposition"] == "attachment; filename=***"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_prober_and_the_watch_quote_no_key_in_the_log(start, world):
    error = {"error": {"message": all_at_once(OPENAI_KEY)[:12000], "code": OPENAI_KEY}}
    world.fault({"status": 503, "body": error}, account="oai", method="GET", path="*", times=-1)
    world.fault({"status": 503, "body": error}, account="eu", method="GET", path="/openai/files", times=-1)
    client = Client(start(config(world), sim=None))
    client.gateway.wait_line(r"account .*unhealthy.*\*\*\*")
    client.gateway.wait_line(r"account .*cannot count its files.*\*\*\*")
    client.create(client.upload().json()["id"])  # the watch follows it, as no client polls
    world.fault({"status": 500, "body": {"error": all_at_once(AZURE_KEY)[:12000]}}, account="eu", method="GET", path="*", times=-1)
    world.wait("eu", "GET", "/openai/batches*", count=5)
    assert leaks(client.ask("GET", "/health").body) is None
    assert leaks(client.ask("GET", "/metrics").body) is None
    assert leaks(client.gateway.log) is None


def test_an_openai_key_in_the_answer_of_another_account_is_hidden_too(client, world):
    file = client.upload().json()["id"]
    world.fault({"status": 400, "body": {"error": {"message": f"not {OPENAI_KEY} nor {MASTER}"}}}, account="eu", method="GET",
                path="/openai/files/*")
    assert envelope(client.ask("GET", f"/v1/files/{file}"), 400)["message"] == "not *** nor ***"


def test_a_key_in_a_path_is_in_no_answer_and_not_in_the_access_log(client):
    for target in (f"/v1/files/{AZURE_KEY}", f"/v1/{OPENAI_KEY}", f"/v1/batches/{MASTER}"):
        envelope(client.ask("GET", target), 404)
    own = "sk-a-key-of-a-client-that-strayed-0123"
    answer = client.gateway.request("GET", f"/{own}", key=own)
    assert envelope(answer, 404)["message"] == "Invalid URL (GET /***)"
    client.gateway.stop()
    assert leaks(client.gateway.log) is None


def test_a_400_about_our_key_is_a_502_for_the_client(client, world):
    file = client.upload().json()["id"]
    wrong = {"error": {"message": f"Incorrect API key provided: {AZURE_KEY}.", "type": "invalid_request_error", "param": None,
                       "code": "invalid_api_key"}}
    world.fault({"status": 400, "body": wrong}, account="eu", times=-1)
    for answer in (client.ask("GET", f"/v1/files/{file}"), client.create(file), client.upload()):
        assert "credential" in envelope(answer, 502, code="upstream_auth")["message"]
        assert answer.headers["x-should-retry"] == "false"
    client.gateway.wait_line(r"failed: auth, status 400")


def test_members_for_litellms_own_client_never_go_upstream(client, world):
    file = client.upload(api_key="sk-client-own", api_base="https://evil.example", extra_headers='{"x-evil":"1"}',
                         base_url="https://evil.example", extra_body="{}", extra_query="{}").json()["id"]
    own = {"api_key": "sk-client-own", "api_base": "https://evil.example", "base_url": "https://evil.example",
           "extra_headers": {"x-evil": "1"}, "extra_body": {"evil": 1}, "extra_query": {"evil": "1"}}
    assert client.create(file, **own, metadata={"kept": "yes"}).status == 200
    sent = json.dumps([r for r in world.requests("eu", probes=True, upkeep=True)])
    assert "kept" in sent
    for word in ("sk-client-own", "evil", *own):
        assert f'"{word}' not in sent.replace("\\", "") and "evil.example" not in sent, word


@pytest.mark.parametrize("name", ["pur%0Apose", "pur%0D%0Apose", "purpose%0D"])
def test_a_part_whose_name_has_a_line_end_is_refused(client, name):
    body = (f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\nbatch\r\n'
            '--b\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n').encode() + lines() + b"\r\n--b--\r\n"
    envelope(client.ask("POST", "/v1/files", body, content_type="multipart/form-data; boundary=b"), 400, code="invalid_multipart")


@pytest.mark.parametrize("value", ["batch\0x", "batch\r\n", "batch\nassistants"])
def test_a_field_with_a_nul_or_a_line_end_is_refused(client, value):
    body, kind = multipart([("purpose", value), ("file", None)], file=lines())
    envelope(client.ask("POST", "/v1/files", body, content_type=kind), 400)


@pytest.mark.parametrize("name", ["model\0x", "met\nadata", "x\r"])
def test_a_member_whose_name_has_a_nul_or_a_line_end_is_refused(client, world, name):
    file = client.upload().json()["id"]
    envelope(client.create(file, **{name: "1"}), 400)
    assert world.created("batches") == 0
