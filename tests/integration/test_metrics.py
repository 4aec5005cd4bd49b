"""GET /metrics: what Prometheus reads, and what it says of the ledger and of what was really asked upstream."""

import os
import signal
import socket

import pytest
from harness import GROUP, MASTER_KEY, azure_deployment, balanced_config, envelope, lines, until
from prometheus_client.parser import text_string_to_metric_families


class Page:
    """The page as Prometheus' own parser reads it."""

    def __init__(self, text):
        self.families = list(text_string_to_metric_families(text))
        self.samples = [s for f in self.families for s in f.samples]
        names = [f.name for f in self.families]
        assert len(names) == len(set(names)), "a metric's samples do not stand together"
        keys = [(s.name, tuple(sorted(s.labels.items()))) for s in self.samples]
        assert len(keys) == len(set(keys)), "a series is there twice"

    def all(self, name, **labels):
        return [s for s in self.samples if s.name == name and labels.items() <= s.labels.items()]

    def sum(self, name, **labels):
        return sum(s.value for s in self.all(name, **labels))


def page(gateway, **kw):
    answer = gateway.get("/metrics", **kw)
    assert answer.status == 200 and answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8", answer
    return Page(answer.body.decode())


def test_uploads_creates_and_reads_are_counted_as_they_were_made(gateway, sim):
    before = page(gateway)
    file = gateway.uploaded(lines(count=5))
    batch = gateway.created(file["id"])
    assert gateway.get(f"/v1/batches/{batch['id']}").status == 200
    now = page(gateway)

    def grown(name, **labels):
        return now.sum(name, **labels) - before.sum(name, **labels)

    assert grown("tranche_upstream_requests_total", operation="upload", outcome="ok") == sim.created("files") == 1
    assert grown("tranche_upstream_requests_total", operation="create", outcome="ok") == sim.created("batches") == 1
    assert grown("tranche_upstream_requests_total", operation="read", outcome="ok") >= 1
    assert grown("litellm_deployment_success_responses_total", requested_model=GROUP) >= 3
    assert (grown("tranche_uploaded_files_total"), grown("tranche_uploaded_lines_total")) == (1, 5)
    assert grown("tranche_uploaded_bytes_total") == len(lines(count=5))
    assert grown("tranche_upstream_sent_bytes_total") >= len(lines(count=5))
    until(lambda: page(gateway).sum("tranche_client_requests_total") - before.sum("tranche_client_requests_total") >= 3, "three are counted")
    until(lambda: page(gateway).sum("tranche_upstream_in_flight") == 0, "the prober's first calls have ended too")
    assert now.sum("tranche_workers") == 2 and now.sum("tranche_client_connections") >= 0


def test_what_was_expected_of_a_file_is_no_longer_expected_when_it_is_deleted(start, sim):
    gateway = start(balanced_config(sim, accounts=["eu"]), sim=sim)
    first, other = gateway.uploaded(lines(count=50)), gateway.uploaded(lines(count=100))
    all_of_it = page(gateway).sum("tranche_expected_tokens")
    assert gateway.delete(f"/v1/files/{first['id']}").status == 200
    rest = page(gateway).sum("tranche_expected_tokens")
    assert all_of_it / 2 < rest < all_of_it * 3 / 4
    gateway.created(other["id"])
    assert page(gateway).sum("tranche_expected_tokens") <= 1


def test_a_second_batch_of_a_file_takes_nothing_from_what_is_expected_of_others(start, sim):
    gateway = start(balanced_config(sim, accounts=["eu"]), sim=sim)
    first, _ = gateway.uploaded(lines(count=50)), gateway.uploaded(lines(count=50))
    gateway.created(first["id"])
    rest = page(gateway).sum("tranche_expected_tokens")
    gateway.created(first["id"])
    gateway.created(first["id"])
    assert page(gateway).sum("tranche_expected_tokens") > rest * 3 / 4 > 0


@pytest.fixture
def limited(start, sim):
    rows = [azure_deployment(sim, a) for a in ("eu", "us")]
    for row, name, limit in zip(rows, ("small", "large"), (1_000, 1_000_000)):
        row["model_info"].update(id=name, enqueued_token_limit=limit)
    return start(balanced_config(sim, accounts=(), model_list=rows), sim=sim)


def test_the_ledger_is_shown_and_is_what_the_placement_says(limited, sim):
    batch = limited.created(limited.uploaded()["id"])
    got = page(limited)
    candidates = limited.post("/v1/batches/placement", {"model": GROUP, "tokens": 1}).json()["candidates"]
    for c in candidates:
        shown = {name: got.sum(name, model_id=c["deployment"], model_group=GROUP)
                 for name in ("tranche_enqueued_tokens", "tranche_enqueued_token_limit", "tranche_free_tokens")}
        assert shown == {"tranche_enqueued_tokens": c["enqueued_tokens"], "tranche_enqueued_token_limit": c["limit_tokens"],
                         "tranche_free_tokens": c["free_tokens"]}
    assert got.sum("tranche_enqueued_tokens") > 0 and got.sum("tranche_reservations") == 1
    assert got.sum("tranche_orphaned_reservations") == 0 and got.sum("tranche_oldest_reservation_seconds") < 600
    limited.wait_batch(sim, batch["id"])
    got = page(limited)
    assert got.sum("tranche_enqueued_tokens") == got.sum("tranche_reservations") == 0


def test_two_rows_of_one_deployment_show_one_ledger(start, sim):
    rows = [azure_deployment(sim, "eu"), azure_deployment(sim, "eu", group="other")]
    gateway = start(balanced_config(sim, accounts=(), model_list=rows), sim=sim)
    gateway.created(gateway.uploaded()["id"])
    got = page(gateway)
    assert len(got.all("tranche_enqueued_tokens")) == len(got.all("tranche_reservations", model_group=GROUP)) == 1
    assert got.sum("tranche_reservations") == 1
    assert len(got.all("litellm_deployment_state")) == 2


def test_a_failure_a_rest_and_a_recovery_are_seen(start, sim):
    config = balanced_config(sim, accounts=["eu", "us"], router_settings={"allowed_fails": 0, "cooldown_time": 300})
    gateway = start(config, sim=sim)
    sim.fault({"status": 500}, account="eu", method="POST", path="/openai/files", times=1000)
    sim.fault({"status": 500}, account="us", method="POST", path="/openai/files", times=1)
    gateway.upload()
    got = page(gateway)
    (eu,) = got.all("litellm_deployment_state", api_base=sim.base("eu"))
    failed = got.sum("litellm_deployment_failure_responses_total", exception_class="server_error")
    assert failed == len([r for r in sim.requests() if r["status"] == 500]) >= 1
    resting = [s.labels for s in got.all("tranche_deployment_in_cooldown", operation="upload") if s.value == 1]
    assert len(resting) == got.sum("litellm_deployment_cooled_down_total") >= 1
    if eu.labels["model_id"] in [r["model_id"] for r in resting]:
        assert eu.value == 1, "uploads rest, creates and reads do not"


def test_a_dead_worker_is_counted_and_takes_no_count_with_it(gateway, sim):
    gateway.deaths_expected = True
    gateway.wait_line("generation 1 serves")  # all were started
    gateway.uploaded()
    before = page(gateway)
    for pid in gateway.workers():  # the prober too
        os.kill(pid, signal.SIGKILL)
    until(lambda: page(gateway).sum("tranche_child_restarts_total") >= 3, "all deaths are counted")
    now = page(gateway)
    assert now.sum("tranche_uploaded_files_total") == before.sum("tranche_uploaded_files_total") == 1
    assert now.sum("tranche_client_requests_total") >= before.sum("tranche_client_requests_total")
    assert now.sum("tranche_upstream_requests_total", operation="upload") == 1


def test_metrics_want_the_master_key_unless_the_operator_opens_them(start, sim):
    gateway = start(balanced_config(sim), sim=sim)
    envelope(gateway.get("/metrics", key=None), 401)
    envelope(gateway.get("/metrics", key="sk-wrong"), 401)
    assert gateway.get("/metrics/", key=MASTER_KEY).status == 200
    config = balanced_config(sim)
    config["litellm_settings"]["require_auth_for_metrics_endpoint"] = False
    opened = start(config, sim=sim)
    assert page(opened, key=None).sum("tranche_build_info") == 1
    envelope(opened.get("/health", key=None), 401)


def test_a_head_has_the_same_head_and_other_methods_are_refused(gateway):
    answer = gateway.request("HEAD", "/metrics")
    assert answer.status == 200 and answer.body == b"" and int(answer.headers["content-length"]) > 1000
    refused = gateway.post("/metrics", {})
    envelope(refused, 405)
    assert refused.headers["allow"] == "GET, HEAD"


def test_a_reload_changes_the_rows_and_keeps_the_counts(gateway, sim):
    gateway.uploaded()
    gateway.write_config(balanced_config(sim, accounts=["eu", "us", "sw"],
                                         model_list=[azure_deployment(sim, a, group="renamed") for a in ("eu", "us", "sw")]))
    generation = page(gateway).sum("tranche_config_generation")
    gateway.send(signal.SIGHUP)
    until(lambda: page(gateway).sum("tranche_config_generation") == generation + 1 and page(gateway).sum("tranche_workers") == 2,
          "the new workers serve alone")
    got = page(gateway)
    assert got.all("tranche_enqueued_tokens", model_group="renamed") and not got.all("tranche_enqueued_tokens", model_group=GROUP)
    assert got.sum("tranche_uploaded_files_total") == 1


def test_ten_thousand_rows_are_shown_whole(start, sim):
    rows = [azure_deployment(sim, "eu", group=f"group-{n}", model=f"azure/deployment-{n}") for n in range(10_000)]
    gateway = start(balanced_config(sim, accounts=(), model_list=rows), sim=sim)
    answer = gateway.get("/metrics")
    assert answer.status == 200
    text = answer.body.decode()
    assert text.count("\nlitellm_deployment_state{") == text.count("\ntranche_reservations{") == 10_000
    assert text.endswith("\n")
    for n in range(10):  # a client that leaves half way
        with socket.create_connection(("127.0.0.1", gateway.port)) as s:
            s.sendall(f"GET /metrics HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {MASTER_KEY}\r\n\r\n".encode())
            if n % 2:
                s.recv(1)
    assert gateway.get("/metrics").body.count(b"\nlitellm_deployment_state{") == 10_000
