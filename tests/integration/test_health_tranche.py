"""What /health shows beyond LiteLLM: the block `tranche`, rows of one model, and what is found now."""

import concurrent.futures
import json
import signal

from harness import GROUP, MASTER_KEY, azure_deployment, balanced_config, http_request, until

NODE = {"version", "started_at", "now", "generation", "ready", "draining", "reload", "child_restarts", "log_lines_dropped", "workers",
        "deployments"}
ROW = {"model_id", "model_group", "model", "account", "healthy", "checked_at", "breaker", "quota", "file_slots", "in_flight",
       "latency_ms", "last_error"}
QUOTA = {"enqueued", "elsewhere", "foreign", "expected", "limit", "limit_source", "free", "drain_per_s", "refusing_for_ms", "shared"}


def named_config(sim, accounts=("eu", "us"), **sections):
    """Rows with names of their own, and a limit of the first one."""
    config = balanced_config(sim, accounts=accounts, **sections)
    for account, row in zip(accounts, config["model_list"]):
        row["model_info"] = {**row.get("model_info", {}), "id": f"row-{account}"}
    config["model_list"][0]["model_info"]["enqueued_token_limit"] = 5_000_000
    return config


def block(gateway, query=""):
    return gateway.get("/health" + query).json()["tranche"]


def row(gateway, account):
    return next(r for r in block(gateway)["deployments"] if r["model_id"] == f"row-{account}")


def probes_of(sim, account):
    return len([r for r in sim.requests(account, probes=True) if "limit=1" in r["target"] and r["method"] == "GET"])


def refuse_key(config):
    config["model_list"][1]["litellm_params"]["api_key"] = "azure-key-wrong"
    return config


def test_the_block_tells_of_the_node_its_workers_and_its_deployments(start, sim):
    gateway = start(named_config(sim), sim=sim)
    gateway.created(gateway.uploaded()["id"])
    shown = block(gateway)
    assert set(shown) == NODE and (shown["generation"], shown["ready"], shown["draining"]) == (1, True, False)
    assert shown["reload"] == {"failed": False, "at": None}
    assert shown["log_lines_dropped"] == {"access": 0, "error": 0}
    assert len(shown["workers"]) == 2 and {w["pid"] for w in shown["workers"]} < set(gateway.workers())
    assert all(w["generation"] == 1 and not w["draining"] and 0 < w["started_at"] <= shown["now"] for w in shown["workers"])
    rows = {r["model_id"]: r for r in shown["deployments"]}
    assert set(rows) == {"row-eu", "row-us"} and all(set(r) == ROW and set(r["quota"]) == QUOTA for r in rows.values())
    assert {r["model_group"] for r in rows.values()} == {GROUP}
    for r in rows.values():
        assert {op: b["state"] for op, b in r["breaker"].items()} == {"upload": "closed", "create": "closed", "read": "closed"}
        assert set(r["in_flight"]) == {"upload", "create", "read"} and set(r["file_slots"]) == {"lasting", "expiring"}
    eu = rows["row-eu"]["quota"]
    assert (eu["limit"], eu["limit_source"]) == (5_000_000, "configured")
    assert sum(r["quota"]["enqueued"] for r in rows.values()) > 0
    assert [r["latency_ms"] for r in rows.values()] != [None, None]
    # Breaker and last error.
    for account in ("eu", "us"):
        sim.fault({"status": 503}, account=account, method="POST", path="/openai/files", times=1000)
    until(lambda: (gateway.upload(), row(gateway, "eu")["breaker"]["upload"]["state"] == "open")[1], "an open breaker")
    eu = row(gateway, "eu")
    assert eu["breaker"]["upload"]["reason"] == "server_error" and eu["breaker"]["create"]["state"] == "closed"
    assert (eu["last_error"]["outcome"], eu["last_error"]["status"]) == ("server_error", 503)


def test_a_reload_that_failed_shows_with_file_and_line_until_one_is_taken(start, sim):
    config = named_config(sim)
    gateway = start(config, sim=sim)
    good = json.dumps(config, indent=1)
    bad = good[:good.rindex("}")].rstrip() + ',\n "tranche_settings": {\n  "log_level": "loud"\n }\n}'
    gateway.write_config(bad)
    gateway.send(signal.SIGHUP)
    shown = until(lambda: (lambda r: r if r["failed"] else None)(block(gateway)["reload"]), "it was refused")
    assert shown["file"] == str(gateway.config_path) and shown["at"] > 0
    assert shown["line"] == next(n for n, line in enumerate(bad.splitlines(), 1) if "loud" in line)
    assert "log_level" in shown["error"] and "loud" in shown["error"]
    gateway.write_config(good)
    gateway.send(signal.SIGHUP)
    shown = until(lambda: (lambda r: None if r["failed"] else r)(block(gateway)["reload"]), "it was taken")
    assert "error" not in shown and "file" not in shown


def test_a_model_or_an_id_narrows_the_answer(start, sim):
    config = named_config(sim)
    config["model_list"].append(azure_deployment(sim, "sw", group="other"))
    gateway = start(config, sim=sim)

    def shown(query):
        answer = gateway.get("/health?" + query).json()
        assert answer["healthy_count"] + answer["unhealthy_count"] == len(answer["tranche"]["deployments"])
        return [r["account"].split(".")[0] for r in answer["tranche"]["deployments"]]

    everybody = shown("")
    assert len(everybody) == 3
    assert shown(f"model={GROUP}") == everybody[:2]
    assert shown("model=other") == everybody[2:]
    assert shown("model=" + config["model_list"][2]["litellm_params"]["model"]) == everybody[2:]
    assert shown("model_id=row-us") == everybody[1:2]
    assert shown(f"model_id=row-us&model={GROUP}") == everybody[1:2]
    for query in ("model=nobody", "model_id=nobody", "model_id=row-us&model=other"):
        answer = gateway.get("/health?" + query)
        assert answer.status == 404 and answer.json()["error"]["code"] == "model_not_found", answer


def test_fresh_asks_now_and_once_for_all_who_ask(start, sim):
    hourly = {"master_key": MASTER_KEY, "health_check_interval": 3600}  # nobody is asked for another reason meanwhile
    gateway = start(named_config(sim, general_settings=hourly), sim=sim, workers=2)
    until(lambda: all(r["checked_at"] for r in block(gateway)["deployments"]), "the first round")
    before = probes_of(sim, "eu"), probes_of(sim, "us")
    sim.fault({"status": 401, "delay_ms": 2000}, account="us", method="GET", path="/openai/batches", times=1000)

    def ask(_):
        return http_request(gateway.port, "GET", "/health?fresh=true&model_id=row-us", headers={"Authorization": f"Bearer {MASTER_KEY}"})

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(ask, range(12)))
    for answer in answers:
        assert (answer.status, answer.json()["healthy_count"], answer.json()["unhealthy_count"]) == (200, 0, 1), answer
    assert probes_of(sim, "eu") == before[0], "an account was asked that nobody wanted"
    assert 1 <= probes_of(sim, "us") - before[1] < 12, "each of them asked the provider"


def test_readiness_is_503_when_nothing_can_serve(start, sim):
    gateway = start(refuse_key(named_config(sim)), sim=sim)
    gateway.secrets.append("azure-key-wrong")
    until(lambda: gateway.get("/health?fresh=true").json()["unhealthy_count"] == 1, "one was found unhealthy")
    assert gateway.get("/health/readiness", key=None).status == 200
    sim.fault({"status": 401}, account="eu", method="GET", path="/openai/batches", times=1000)
    until(lambda: gateway.get("/health?fresh=true").json()["healthy_count"] == 0, "none is healthy")
    answer = gateway.get("/health/readiness", key=None)
    assert answer.status == 503 and answer.json()["error"]["code"] == "not_ready"
