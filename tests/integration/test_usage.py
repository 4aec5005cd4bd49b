"""What batches use and cost, once and exactly: GET /usage, `tranche usage`, the metrics, and budgets of keys and teams (journal
statements B1 to B13, tenants statement A27), over both engines."""

import collections
import concurrent.futures
import csv
import http.server
import io
import json
import subprocess
import threading

import pytest
from harness import GROUP, MASTER_KEY, PATIENCE, azure_deployment, balanced_config, envelope, find_binary, lines, program_env, until
from prometheus_client.parser import text_string_to_metric_families
from test_tenant_batches import ANN, BEN, DATA, create, entry, placement

SEALS = ["sk-0123456789abcdef-seal"]
PRICES = {"input_cost_per_token_batches": 1.25e-06, "cache_read_input_token_cost_batches": 1e-07, "output_cost_per_token_batches": 5e-06}
IN, OUT = 1250, 5000  # nano-dollars a token
GENERATE = {"Content-Type": "application/json"}


@pytest.fixture
def gateway_of(start, sim):
    def make(database, info=None, keys=(), teams=(), workers=2, **settings):
        row = azure_deployment(sim, "eu")
        row["model_info"].update(PRICES if info is None else info)
        given = {"database": database, "seal_keys": SEALS, "keys": list(keys), "teams": list(teams), "timeouts": {"watch_ms": 100}, **settings}
        config = {"model_list": [row], "litellm_settings": {"enable_loadbalancing_on_batch_endpoints": True},
                  "general_settings": {"master_key": MASTER_KEY}, "tranche_settings": {k: v for k, v in given.items() if v}}
        return start(config, sim=sim, workers=workers)

    return make


def generated(gateway, path="/key/generate", **fields):
    answer = gateway.post(path, json.dumps(fields).encode(), headers=GENERATE)
    assert answer.status == 200, answer
    return answer.json()


def usage(gateway, query="", key=MASTER_KEY):
    answer = gateway.get(f"/usage{query}", key=key)
    assert answer.status == 200, answer
    return answer.json()


def rows(gateway, key=MASTER_KEY):
    return usage(gateway, key=key)["data"]


def used(gateway, batch):
    """What its output file adds up to."""
    output = gateway.get(f"/v1/batches/{batch}").json()["output_file_id"]
    text = gateway.get(f"/v1/files/{output}/content").body.decode()
    bodies = [json.loads(line)["response"]["body"] for line in text.splitlines()]
    return sum(b["usage"]["prompt_tokens"] for b in bodies), sum(b["usage"]["completion_tokens"] for b in bodies), len(bodies)


def tranche(*args, port):
    return subprocess.run([find_binary("tranche"), "usage", *args], capture_output=True, text=True, timeout=PATIENCE * 4, check=False,
                          env=program_env({"TRANCHE_BASE_URL": f"http://127.0.0.1:{port}", "TRANCHE_API_KEY": MASTER_KEY}))


def samples(gateway):
    families = text_string_to_metric_families(gateway.get("/metrics").body.decode())
    return {(s.name, *(s.labels.get(k) for k in ("api_key_alias", "team", "result"))): s.value for f in families for s in f.samples}


def test_what_batches_used_is_a_row_once_and_exported_without_gap_or_repeat(gateway_of, sim, url):
    gateway = gateway_of(url, usage_tags=["project"])
    generated(gateway, "/team/new", team_id="research")
    alice = generated(gateway, team_id="research", key_alias="=alice", metadata={"tags": ["a"]})["key"]
    bob = generated(gateway, key_alias="bob")["key"]
    made = [create(gateway, gateway.uploaded(lines(count=n), key=key)["id"], key, metadata={"project": "x", "other": "y"}).json()["id"]
            for n, key in ((3, alice), (5, bob), (2, MASTER_KEY))]
    nodes = [gateway, *(gateway_of(url, usage_tags=["project"]) for _ in range(3 if "postgresql" in url else 0))]
    sim.advance(3_600_000)
    with concurrent.futures.ThreadPoolExecutor(max_workers=20) as pool:  # the watch and all who poll find their ends at once
        assert {a.status for a in pool.map(lambda i: nodes[i % len(nodes)].get(f"/v1/batches/{made[i % 3]}"), range(100))} == {200}
    until(lambda: len(rows(gateway)) == 3, "what they used is known")

    # To the token and to the nano-dollar
    by_batch = {row["batch_id"]: row for row in rows(gateway)}
    for batch in made:
        row, (tokens_in, tokens_out, ok) = by_batch[batch], used(gateway, batch)
        assert (row["input_tokens"], row["output_tokens"], row["ok_requests"], row["failed_requests"]) == (tokens_in, tokens_out, ok, 0), row
        assert row["cost_nano"] == tokens_in * IN + tokens_out * OUT and row["cost_usd"] == f"{row['cost_nano'] / 1e9:.9f}", row
        assert (row["source"], row["price"], row["unpriced_requests"], row["model_group"]) == ("output", "deployment", 0, GROUP), row
    row = by_batch[made[0]]
    assert (row["key_alias"], row["team_id"], row["tags"]) == ("=alice", "research", ["a", "project:x"]) and row["deployment"], row
    assert by_batch[made[2]]["tags"] == ["project:x"]
    assert by_batch[made[1]]["team_id"] is None and by_batch[made[2]]["key_alias"] is None

    # However often it is asked for, and at every node the same
    with concurrent.futures.ThreadPoolExecutor(max_workers=20) as pool:
        assert {a.status for a in pool.map(lambda i: nodes[i % len(nodes)].get(f"/v1/batches/{made[i % 3]}"), range(100))} == {200}
    assert all([row["batch_id"] for row in rows(node)] == list(by_batch) for node in nodes)

    # A tenant sees its own, and nothing of where it ran
    assert [row["batch_id"] for row in rows(gateway, alice)] == [made[0]] and rows(gateway, alice)[0]["deployment"] is None
    assert [row["batch_id"] for row in rows(gateway, bob)] == [made[1]] and rows(gateway, bob)[0]["price"] is None
    assert gateway.get("/usage", key=None).status == 401

    # The cursor: each row once
    walked, since = [], 0
    while True:
        page = usage(gateway, f"?limit=1&since_seq={since}")
        walked += page["data"]
        since = page["next_since_seq"]
        if not page["has_more"]:
            break
    assert walked == rows(gateway) and [r["seq"] for r in walked] == sorted({r["seq"] for r in walked})
    assert usage(gateway, f"?since_seq={since}") == {"object": "list", "data": [], "has_more": False, "next_since_seq": since}
    envelope(gateway.get("/usage?format=xml"), 422)
    envelope(gateway.get("/usage?limit=1001"), 422)
    envelope(gateway.get("/usage?since_seq=x"), 422)
    assert "GET /usage" in envelope(gateway.get("/spend/logs"), 404)["message"]

    # As CSV, and by the command
    answer = gateway.get("/usage?format=csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    table = list(csv.DictReader(io.StringIO(answer.body.decode(), newline="")))
    assert [(r["seq"], r["batch_id"], r["cost_nano"]) for r in table] == [(str(r["seq"]), r["batch_id"], str(r["cost_nano"])) for r in walked]
    assert {r["key_alias"] for r in table} == {"'=alice", "bob", ""}, "no spreadsheet takes a name for a formula"
    done = tranche("--csv", port=gateway.port)
    assert (done.returncode, done.stdout) == (0, answer.body.decode().replace("\r\n", "\n")), done
    done = tranche("--json", "--since-seq", str(walked[0]["seq"]), port=gateway.port)
    assert [r for line in done.stdout.splitlines() for r in json.loads(line)["data"]] == walked[1:], done
    done = tranche("--limit", "2", port=gateway.port)
    head, *shown = done.stdout.splitlines()
    assert head.split()[:4] == ["SEQ", "BATCH", "OWNER", "MODEL"] and walked[1]["batch_id"] in shown[1], done
    assert shown[-1].startswith("2 rows, ") and done.stderr == f"More: tranche usage --since-seq {walked[1]['seq']}\n", done
    assert tranche("--csv", "--json", port=gateway.port).returncode == 2

    # LiteLLM's metrics
    def told():
        metrics = collections.Counter()
        for node in nodes:  # each tells what it has written itself
            metrics.update(samples(node))
        return (metrics["litellm_managed_batch_created_total", "=alice", "research", None],
                metrics["litellm_managed_file_created_total", "bob", "", None],
                metrics["litellm_check_batch_cost_jobs_processed_total", None, None, None],
                metrics["litellm_spend_metric_total", "bob", "", None])

    until(lambda: told() == (1, 1, 3, pytest.approx(by_batch[made[1]]["cost_nano"] / 1e9)), "the metrics tell of them once")
    assert gateway.delete(f"/v1/files/{gateway.uploaded()['id']}").status == 200
    until(lambda: samples(gateway).get(("litellm_managed_file_deleted_total", None, None, "success")) == 1, "and of the deleted one")


def test_what_has_no_price_is_counted_all_the_same(gateway_of, sim, tmp_path):
    gateway = gateway_of(f"sqlite://{tmp_path}/usage.db", info={})
    batch = gateway.created(gateway.uploaded(lines(count=2))["id"])["id"]
    sim.advance(3_600_000)
    row = until(lambda: rows(gateway), "it has ended")[0]
    assert (row["batch_id"], row["cost_nano"], row["unpriced_requests"], row["price"], row["output_tokens"]) == (batch, 0, 2, None, 16), row
    gateway.wait_line(r"usage: no price for model .* at deployment")


def test_without_a_journal_there_is_no_usage(start, sim):
    gateway = start(balanced_config(sim), sim=sim)
    envelope(gateway.get("/usage"), 404)
    assert "litellm_managed" not in gateway.get("/metrics").body.decode()


# --- budgets ---


def many(gateway, key, file, count=200):
    with concurrent.futures.ThreadPoolExecutor(max_workers=40) as pool:
        return list(pool.map(lambda _: create(gateway, file, key), range(count)))


def test_a_budget_holds_under_200_parallel_creates_and_is_settled_at_their_end(gateway_of, sim, url):
    """Of the input alone, so that what a batch may cost is known: what the gateway counts the file for."""
    info = {"input_cost_per_token_batches": 1e-06, "output_cost_per_token_batches": 0}
    gateway = gateway_of(url, info=info)
    key = generated(gateway, key_alias="bob")["key"]
    file = gateway.uploaded(DATA, key=key)["id"]
    held = placement(gateway, key, input_file_id=file)["tokens"] * 1000
    budget = 5 * held + held // 2
    generated(gateway, "/key/update", key=key, max_budget=budget / 1e9, budget_duration="30d")
    statuses = collections.Counter(a.status for a in many(gateway, key, file))
    assert statuses == {200: 5, 422: 195}, statuses
    assert sim.created("batches") == 5
    answer = many(gateway, key, file, 1)[0]
    error = envelope(answer, 422, type="budget_exceeded", code="422", param=None)
    assert error["message"].startswith(f"Budget has been exceeded! Key=bob Current cost: {5 * held / 1e9:.9f}".rstrip("0")), error
    assert answer.headers["x-should-retry"] == "false" and "retry-after" not in answer.headers
    assert key not in repr(answer)

    # What they really cost is less than what was held, or more: the rest is free again
    sim.advance(3_600_000)
    until(lambda: len(rows(gateway)) == 5, "all have ended")
    spent = sum(row["cost_nano"] for row in rows(gateway))
    room = max(budget - spent, 0) // held
    statuses = collections.Counter(a.status for a in many(gateway, key, file, 20))
    assert statuses == collections.Counter({200: room, 422: 20 - room}), (statuses, spent, budget, held)


def test_a_team_of_the_file_has_one_budget_for_its_keys(gateway_of, sim, tmp_path):
    info = {"input_cost_per_token_batches": 1e-06, "output_cost_per_token_batches": 0}
    gateway = gateway_of(f"sqlite://{tmp_path}/usage.db", info=info, keys=[entry(ANN, team_id="red"), entry(BEN, team_id="blue")],
                         teams=[{"team_id": "red", "max_budget": 0.0000001, "budget_duration": "1d"}, {"team_id": "blue", "max_budget": 5}],
                         budget_exceeded_status=429)
    file = gateway.uploaded(DATA, key=ANN)["id"]
    error = envelope(many(gateway, ANN, file, 1)[0], 429, type="budget_exceeded", code="429")
    assert error["message"].startswith("Budget has been exceeded! Team=red Current cost: 0.0, Max budget: 0.0000001."), error
    assert many(gateway, BEN, gateway.uploaded(DATA, key=BEN)["id"], 1)[0].status == 200
    assert sim.created("batches") == 1
    left = until(lambda: samples(gateway).get(("litellm_remaining_team_budget_metric", None, "blue", None)), "what its team has left is shown")
    assert 4.9 < left < 5


@pytest.mark.parametrize("args", [["--csv"], ["--json"], ["--limit", "1000"]])
def test_an_export_ends_where_rows_come_again(args):
    """Another server, that has the same row behind each row."""
    class SameAgain(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = (b"seq,batch_id\r\n7,batch_a\r\n" if "format=csv" in self.path
                    else json.dumps({"data": [{"seq": 7, "batch_id": "batch_a"}], "has_more": True}).encode())
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), SameAgain) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            done = subprocess.run([find_binary("tranche"), "usage", *args, "--base-url", f"http://127.0.0.1:{server.server_port}"],
                                  capture_output=True, text=True, timeout=PATIENCE, check=False, stdin=subprocess.DEVNULL, env=program_env())
        finally:
            server.shutdown()
    assert done.returncode == 3 and "behind row 7" in done.stderr and done.stdout.count("batch_a") == 2, done
