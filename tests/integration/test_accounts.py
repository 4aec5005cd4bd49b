"""Several credentials at one address: at OpenAI each is a project of its own, at Azure all are keys of one resource."""

import http.server
import itertools
import signal
import threading

import pytest

from harness import (MASTER_KEY, PROVIDER_KEYS, azure_deployment, balanced_config, http_request, lines, sim_config, until)

SECOND_KEY = "sk-second-project-5678"


def key_of(request):
    return request["headers"].get("authorization", "").removeprefix("Bearer ") or request["headers"].get("api-key")


def test_an_object_of_one_openai_project_is_never_looked_for_with_the_key_of_another(make_sim, start):
    own = make_sim(sim_config([{"name": "oai", "kind": "openai", "port": 0, "key": None,  # whoever comes
                                "models": ["gpt-4o-mini"]}]))
    rows = [{"model_name": "mini", "litellm_params": {"model": "openai/gpt-4o-mini", "api_base": own.base("oai") + "/v1", "api_key": key},
             "model_info": {"mode": "batch", "id": name}} for name, key in (("one", PROVIDER_KEYS["oai"]), ("two", SECOND_KEY))]
    gateway = start({"model_list": rows, "litellm_settings": {"enable_loadbalancing_on_batch_endpoints": True},
                     "general_settings": {"master_key": MASTER_KEY}}, sim=own)
    used = set()
    for _ in itertools.takewhile(lambda n: n < 16 or len(used) < 2, range(200)):  # chance decides which of the two is next
        file = gateway.uploaded(lines("mini"))
        batch = gateway.created(file["id"])
        assert gateway.get("/v1/files/" + file["id"]).json()["id"] == file["id"]
        assert gateway.get("/v1/batches/" + batch["id"]).json()["input_file_id"] == file["id"]
        native = file["id"].rsplit("-t", 1)[0]
        made = [r for r in own.requests("oai") if r["method"] == "POST"][-2:]
        assert key_of(made[0]) == key_of(made[1])
        used.add(key_of(made[0]))
        asked = [r for r in own.requests("oai") if native in r["target"]]
        assert asked and {key_of(r) for r in asked} == {key_of(made[0])}
    assert used == {PROVIDER_KEYS["oai"], SECOND_KEY}


def test_two_keys_of_one_azure_resource_are_one_list(make_sim, start):
    own = make_sim(sim_config([{"name": "eu", "kind": "azure", "port": 0, "key": PROVIDER_KEYS["eu"], "tokens": [SECOND_KEY],
                                "deployments": [{"name": "one", "model": "gpt-4o", "sku": "GlobalBatch"},
                                                {"name": "two", "model": "gpt-4o", "sku": "GlobalBatch"}]}]))
    config = balanced_config(own, accounts=[])
    config["model_list"] = [azure_deployment(own, "eu", model="azure/one"),
                            azure_deployment(own, "eu", model="azure/two", api_key=None, azure_ad_token=SECOND_KEY)]
    gateway = start(config, sim=own)
    made = [gateway.created(gateway.uploaded()["id"])["id"] for _ in range(12)]
    listed = [b["id"] for b in gateway.get("/v1/batches?limit=50").json()["data"]]
    assert sorted(listed) == sorted(made)
    for batch_id in made:
        assert gateway.get("/v1/batches/" + batch_id).json()["id"] == batch_id


class KeyRouter:
    """One address with several OpenAI projects behind it: the key says whose objects a caller sees, as at OpenAI."""

    def __init__(self, ports_by_key):
        routes, self.seen = ports_by_key, []
        router = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do(self):
                key = self.headers.get("authorization", "").removeprefix("Bearer ")
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                router.seen.append((key, self.command, self.path, self.headers.get("user-agent", "")))
                answer = http_request(routes[key], self.command, self.path, body or None,
                                      {k: v for k, v in self.headers.items() if k.lower() not in ("host", "content-length", "expect")})
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    if name not in ("content-length", "connection", "date", "server", "transfer-encoding"):
                        self.send_header(name, value)
                self.send_header("content-length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            do_GET = do_POST = do_DELETE = do

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.base = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def keys_asked(self, native, *methods):
        return {key for key, method, path, agent in self.seen if native in path and method in methods and "(upkeep)" not in agent}

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def projects(make_sim):
    """A simulator with two OpenAI projects, and the one address where both are."""
    own = make_sim(sim_config([{"name": name, "kind": "openai", "port": 0, "key": key, "models": ["gpt-4o-mini"]}
                               for name, key in (("first", PROVIDER_KEYS["oai"]), ("second", SECOND_KEY))]))
    router = KeyRouter({PROVIDER_KEYS["oai"]: own.ports["first"], SECOND_KEY: own.ports["second"]})
    yield own, router
    router.close()


def openai_row(router, key, group="mini", info=None, **params):
    return {"model_name": group, "litellm_params": {"model": "openai/gpt-4o-mini", "api_base": router.base, "api_key": key, **params},
            "model_info": {"mode": "batch", **(info or {})}}


def balanced(rows, **sections):
    return {"model_list": rows, "litellm_settings": {"enable_loadbalancing_on_batch_endpoints": True},
            "general_settings": {"master_key": MASTER_KEY}, **sections}


def reload(gateway, config):
    start = len(gateway.lines)
    gateway.write_config(config)
    gateway.send(signal.SIGHUP)
    gateway.wait_line(r"generation \d+ serves", start=start)
    return start


NAMES = {"nothing": ({}, {}), "model_info.id": ({"info": {"id": "one"}}, {"info": {"id": "two"}}),
         "organization": ({"organization": "org-1"}, {"organization": "org-2"}),
         "project": ({"organization": "org-1", "project": "p1"}, {"organization": "org-1", "project": "p2"})}


@pytest.mark.parametrize("named_by", NAMES)
def test_a_second_key_in_a_row_above_does_not_send_old_ids_to_the_other_account(projects, start, named_by):
    sim, router = projects
    one, two = NAMES[named_by]
    first = openai_row(router, PROVIDER_KEYS["oai"], **one)
    gateway = start(balanced([first]), sim=sim)
    file = gateway.uploaded(lines("mini"))
    batch = gateway.created(file["id"])
    native = batch["id"].rsplit("-t", 1)[0]
    gateway.finish(sim)

    gateway = start(balanced([openai_row(router, SECOND_KEY, **two), first]), sim=sim)
    shown = gateway.get("/v1/batches/" + batch["id"])
    assert shown.status == 200 and shown.json()["id"] == batch["id"], shown
    assert gateway.get("/v1/files/" + file["id"]).json()["id"] == file["id"]
    cancelled = gateway.post(f"/v1/batches/{batch['id']}/cancel")
    assert cancelled.status == 200 and cancelled.json()["id"] == batch["id"], cancelled
    assert router.keys_asked(native, "POST") == {PROVIDER_KEYS["oai"]}
    other = gateway.uploaded(lines("mini"))
    gateway.created(file["id"])
    gateway.created(other["id"])
    assert gateway.delete("/v1/files/" + file["id"]).status == 200


@pytest.mark.parametrize("named_by", NAMES)
def test_swapped_and_removed_rows_leave_no_batch_that_nobody_can_cancel(projects, start, named_by):
    sim, router = projects
    one, two = NAMES[named_by]
    rows = [openai_row(router, PROVIDER_KEYS["oai"], **one), openai_row(router, SECOND_KEY, **two)]
    gateway = start(balanced(rows), sim=sim)
    made = {}
    for _ in range(40):
        file = gateway.uploaded(lines("mini"))
        batch = gateway.created(file["id"])
        key = next(k for k, method, path, _ in reversed(router.seen) if method == "POST" and path.endswith("/batches"))
        made.setdefault(key, []).append(batch["id"])
        if len(made) == 2:
            break
    assert set(made) == {PROVIDER_KEYS["oai"], SECOND_KEY}, "both rows are used"
    gateway.finish(sim)

    gateway = start(balanced(rows[::-1]), sim=sim)
    for batch_id in made[PROVIDER_KEYS["oai"]] + made[SECOND_KEY]:
        assert gateway.get("/v1/batches/" + batch_id).json()["id"] == batch_id
    listed = [b["id"] for b in gateway.get("/v1/batches?limit=100").json()["data"]]
    assert sorted(listed) == sorted(sum(made.values(), []))

    start_line = reload(gateway, balanced([rows[1]]))
    victim = made[SECOND_KEY][0]
    answer = gateway.post(f"/v1/batches/{victim}/cancel")
    assert answer.status == 200, answer
    assert router.keys_asked(victim.rsplit("-t", 1)[0], "POST") == {SECOND_KEY}
    until(lambda: gateway.get("/v1/batches/" + made[PROVIDER_KEYS["oai"]][0]).status == 404, "the new workers answer")
    if named_by != "nothing":
        gateway.wait_line(r"account 127\.0\.0\.1:\d+\S* \(openai, .*\) is not configured any more, and \d+ of its batches", start=start_line)


def test_a_removed_azure_resource_is_named_with_the_batches_it_left(sim, start):
    config = balanced_config(sim, accounts=["eu", "us"])
    gateway = start(config, sim=sim)
    batch = gateway.created(gateway.uploaded()["id"])
    home = "eu" if sim.created("batches", ["eu"]) else "us"
    left = dict(config, model_list=[azure_deployment(sim, "us" if home == "eu" else "eu")])
    start_line = reload(gateway, left)
    gateway.wait_line(rf"account 127\.0\.0\.1:{sim.ports[home]} \(azure, .*\) is not configured any more, and 1 of its batches had not ended: "
                      r"ids that name it are answered 404", start=start_line)
    assert until(lambda: gateway.get("/v1/batches/" + batch["id"]).status == 404, "the new workers answer")
    reload(gateway, config)
    assert until(lambda: gateway.get("/v1/batches/" + batch["id"]).status == 200, "it is found again")


def test_two_openai_keys_behind_one_name_are_two_deployments_and_both_are_used(projects, start):
    sim, router = projects
    rows = [{"model_name": "mini", "litellm_params": {"model": "openai/gpt-4o-mini", "api_base": router.base, "api_key": PROVIDER_KEYS["oai"]}},
            {"model_name": "mini", "litellm_params": {"model": "openai/gpt-4o-mini", "api_base": router.base, "api_key": SECOND_KEY,
                                                      "organization": "org-2"}}]
    gateway = start(balanced(rows), sim=sim)
    for _ in range(40):
        gateway.created(gateway.uploaded(lines("mini"))["id"])
        if sim.created("batches", ["first"]) and sim.created("batches", ["second"]):
            break
    assert sim.created("batches", ["first"]) and sim.created("batches", ["second"])
    ids = [m["model_info"]["id"] for m in gateway.get("/v1/model/info").json()["data"]]
    assert len(set(ids)) == 2, ids
