"""What LiteLLM's operators look at: health, liveness, readiness, models."""

import json
import re
import signal
import subprocess

import hyperframe.frame
import pytest
from harness import GROUP, MASTER_KEY, PATIENCE, azure_deployment, balanced_config, direct_config, free_port, until
from wire import H1, H2Call


def test_liveness_answers_without_a_provider(start, sim):
    gateway = start({**balanced_config(sim), "model_list": [azure_deployment(sim, "eu", api_base=f"http://127.0.0.1:{free_port()}")]})
    for target in ("/health/liveliness", "/health/liveness"):
        answer = gateway.get(target, key=None)
        assert answer.status == 200 and "alive" in answer.body.decode().lower(), answer


def test_health_lists_every_deployment_as_litellm_does(gateway):
    def all_known():
        answer = gateway.get("/health")
        assert answer.status == 200, answer
        health = answer.json()
        return health if health["healthy_count"] == 3 else None

    health = until(all_known, "three healthy deployments")
    assert set(health) >= {"healthy_endpoints", "unhealthy_endpoints", "healthy_count", "unhealthy_count"}
    assert (health["unhealthy_count"], health["unhealthy_endpoints"]) == (0, [])
    assert sorted(e["model"] for e in health["healthy_endpoints"]) == [
        "azure/gpt-4o-batch-eu", "azure/gpt-4o-batch-sw", "azure/gpt-4o-batch-us"]
    assert all("api_key" not in e for e in health["healthy_endpoints"])


def test_a_deployment_with_a_wrong_key_is_unhealthy(start, sim):
    config = balanced_config(sim, accounts=["eu", "us"])
    config["model_list"][1]["litellm_params"]["api_key"] = "azure-key-wrong"
    gateway = start(config, sim=sim)
    gateway.secrets.append("azure-key-wrong")

    def both_known():
        health = gateway.get("/health").json()
        return health if (health["healthy_count"], health["unhealthy_count"]) == (1, 1) else None

    health = until(both_known, "one healthy and one unhealthy deployment")
    assert health["unhealthy_endpoints"][0]["model"] == "azure/gpt-4o-batch-us"
    assert health["unhealthy_endpoints"][0].get("error")


def test_health_asks_upstream_with_one_cheap_list(start, sim):
    # No second round comes in between, however slow the machine is.
    gateway = start(balanced_config(sim, general_settings={"master_key": MASTER_KEY, "health_check_interval": 3600}), sim=sim)
    for account in ("eu", "us", "sw"):
        sim.wait(account, "GET", "/openai/batches")
    for _ in range(20):
        gateway.get("/health")
    seen = sim.requests(probes=True)
    assert len(seen) == 3, "health storms the providers"
    assert all(r["method"] == "GET" and r["target"].startswith("/openai/batches?") and "limit=1" in r["target"] for r in seen)


def test_readiness_is_200_when_something_can_serve(gateway):
    answer = gateway.get("/health/readiness", key=None)
    assert answer.status == 200 and answer.json()["status"], answer


def test_models_lists_the_groups_once(gateway):
    for target in ("/v1/models", "/models", "/v1/models/"):
        answer = gateway.get(target).json()
        assert answer["object"] == "list"
        assert [m["id"] for m in answer["data"]] == [GROUP]
        assert {m["object"] for m in answer["data"]} == {"model"}


def test_the_sdk_lists_models(gateway):
    import openai
    client = openai.OpenAI(base_url=gateway.url + "/v1", api_key=MASTER_KEY)
    assert [m.id for m in client.models.list()] == [GROUP]


def test_model_info_shows_no_secret(gateway):
    answer = gateway.get("/v1/model/info")
    assert answer.status == 200
    rows = answer.json()["data"]
    assert len(rows) == 3 and {r["model_name"] for r in rows} == {GROUP}
    assert "api_key" not in answer.body.decode() and MASTER_KEY not in answer.body.decode()


def test_answers_tell_which_deployment_served(gateway, sim):
    file = gateway.upload()
    assert file.headers.get("x-litellm-model-id"), file
    assert "127.0.0.1" in file.headers.get("x-litellm-model-api-base", ""), file
    assert file.headers.get("x-litellm-call-id"), file


def test_request_ids_are_unique(gateway):
    ids = [gateway.get("/health/liveliness").headers["x-request-id"] for _ in range(20)]
    assert len(set(ids)) == 20


def test_the_access_log_has_one_line_a_request(gateway):
    answer = gateway.get("/v1/batches?limit=1")
    line = json.loads(gateway.wait_line(r'^\{.*"' + answer.headers["x-request-id"] + '".*').group(0))
    assert (line["status"], line["method"], line["route"]) == (200, "GET", "batches.list")


# --- a configuration whose rows do not fit into one turn of the loop ---

ROWS = 600  # of few rows with long names: of many, now and then two have the same fingerprint, which a start refuses
FILLER = "x" * 500
LONG = ("/v1/models", "/v1/model/info", "/health")


def large_config(sim, name="row"):
    rows = [azure_deployment(sim, "eu", group=f"{name}-{n}{FILLER}", model=f"azure/{name}-model-{n}{FILLER}")
            for n in range(ROWS)]
    return {**balanced_config(sim), "model_list": rows}


def names(target, body):
    """What the rows of an answer are called, in their order."""
    shown = json.loads(body)
    if target == "/v1/models":
        return [m["id"] for m in shown["data"]]
    if target == "/v1/model/info":
        return [r["model_name"] for r in shown["data"]]
    assert (shown["healthy_count"], shown["unhealthy_count"]) == (ROWS, 0), shown
    return [r["model"].replace("azure/", "").replace("-model", "") for r in shown["healthy_endpoints"]]


def without_times(body):
    """The next round of probes may come in between, and `tranche` tells what moves."""
    return re.sub(rb'"checked_at":\d+', b"", body.partition(b',"tranche":{')[0])


@pytest.fixture
def large(start, sim):
    gateway = start(large_config(sim), sim=sim)
    until(lambda: b'"checked_at":0' not in gateway.get("/health").body, "a probe of every row")
    return gateway


class OverH1:
    def __init__(self, port, method, target, receive_buffer=None):
        self.conn = H1(port, receive_buffer=receive_buffer)
        self.conn.request(method, target)

    def head(self):
        self.status, self.headers = self.conn.head()
        return self.headers

    def body(self):
        return self.conn.body(self.status, self.headers)


class OverH2:
    def __init__(self, port, method, target, receive_buffer=None):
        self.call = H2Call(port, receive_buffer=receive_buffer, window=65535)
        self.call.request(method, target)
        self.conn = self.call.conn
        # A GOAWAY lets the streams that are there end (RFC 9113 section 6.8); the library closes them all.
        self.conn.h2._frame_dispatch_table[hyperframe.frame.GoAwayFrame] = lambda frame: ([], [])

    def head(self):
        return self.conn.wait_head(self.call.stream)

    def body(self):
        return self.call.answer().body


BOTH = pytest.mark.parametrize("over", (OverH1, OverH2))


@BOTH
@pytest.mark.parametrize("target", LONG)
def test_every_row_of_a_large_configuration_is_shown_over_both_versions(large, target, over):
    first = large.get(target)
    assert names(target, first.body) == [f"row-{n}{FILLER}" for n in range(ROWS)]
    for method, wanted in (("GET", first.body), ("HEAD", b"")):
        ask = over(large.port, method, target)
        length = int(ask.head()["content-length"])
        body = ask.body()
        assert length == (len(body) if method == "GET" else length) > 0
        assert without_times(body) == without_times(wanted)
        ask.conn.close()


@BOTH
@pytest.mark.parametrize("target", LONG)
def test_a_client_that_leaves_half_way_through_a_long_answer_harms_nobody(large, target, over):
    whole = without_times(large.get(target).body)
    for _ in range(5):
        ask = over(large.port, "GET", target, receive_buffer=4096)
        request_id = ask.head()["x-request-id"]
        ask.conn.close()
        large.wait_line(r'^\{.*"' + request_id + '".*"status":200')  # it has ended for the gateway too
    assert without_times(large.get(target).body) == whole


@BOTH
@pytest.mark.parametrize("target", LONG)
def test_a_reload_in_the_middle_of_a_long_answer_changes_nothing_in_it(large, sim, target, over):
    ask = over(large.port, "GET", target, receive_buffer=4096)
    ask.head()
    large.write_config(large_config(sim, "new"))
    large.send(signal.SIGHUP)
    large.wait_line(r"generation 2 serves")
    large.wait_line(r"draining")
    assert names(target, ask.body()) == [f"row-{n}{FILLER}" for n in range(ROWS)]
    ask.conn.close()
    wanted = [f"new-{n}{FILLER}" for n in range(ROWS)]
    until(lambda: names("/v1/models", large.get("/v1/models").body) == wanted, "no worker of the old configuration is asked any more")


LONG_PATH = "/v1/files?" + "a" * 9000


@pytest.mark.parametrize("how", [["--http1.1"], ["--http2-prior-knowledge"]], ids=["http1", "http2"])
def test_a_request_that_no_route_sees_has_an_id_and_a_line_too(gateway, how):
    done = subprocess.run(["curl", "-sS", "-i", *how, gateway.url + LONG_PATH], capture_output=True, timeout=PATIENCE)
    head, _, body = done.stdout.decode().partition("\r\n\r\n")
    assert " 414" in head.splitlines()[0] and json.loads(body)["error"]["message"], done
    request = re.search(r"(?im)^x-request-id: (\S+)", head).group(1)
    line = json.loads(gateway.wait_line(r'^\{.*"' + request + '".*').group(0))
    assert (line["status"], line["route"], line["http"]) == (414, "none", "1.1" if how == ["--http1.1"] else "2.0")
