"""Accounts of every kind that lists (Azure's dated files come whole, the others in pages), filled at the providers themselves."""

import base64
import itertools

from harness import (GROUP, MASTER_KEY, PROVIDER_KEYS, azure_account, azure_deployment, http_request, is_probe, lines, multipart, sim_config,
                     until)

ACCOUNTS = ("eu", "us", "oai")
BODY, FORM = multipart([("purpose", "batch"), ("file", None)], lines(count=1))
OTHER_BODY, OTHER_FORM = multipart([("purpose", "assistants"), ("file", None)], b"x\n", filename="notes.txt")
PATHS = {"eu": "/openai/{}?api-version=2024-10-21", "us": "/openai/v1/{}", "sw": "/openai/{}?api-version=2024-10-21", "oai": "/v1/{}"}


def mixed_sim_config():
    """`eu` is asked in Azure's dated way, `us` in its v1 way, `oai` is OpenAI."""
    return sim_config([azure_account("eu", switches={"max_files": 0}), azure_account("us", switches={"max_files": 0}),
                       {"name": "oai", "kind": "openai", "port": 0, "key": PROVIDER_KEYS["oai"], "models": ["gpt-4o"],
                        "switches": {"batches_per_hour": 0}}])


def mixed_config(sim, **sections):
    rows = [azure_deployment(sim, "eu"),
            azure_deployment(sim, "us", api_version=None, api_base=sim.base("us") + "/openai/v1"),
            {"model_name": GROUP, "litellm_params": {"model": "openai/gpt-4o", "api_base": sim.base("oai") + "/v1",
                                                     "api_key": PROVIDER_KEYS["oai"]}, "model_info": {"mode": "batch"}}]
    config = {"model_list": rows, "litellm_settings": {"enable_loadbalancing_on_batch_endpoints": True},
              "general_settings": {"master_key": MASTER_KEY}}
    config.update(sections)
    return config


class Provider:
    """One account, spoken to directly."""

    def __init__(self, sim, name):
        self.sim, self.name = sim, name
        self.auth = {"Authorization": f"Bearer {PROVIDER_KEYS[name]}"} if name == "oai" else {"api-key": PROVIDER_KEYS[name]}
        self.input = None

    def call(self, method, what, body=None, headers=None):
        answer = http_request(self.sim.ports[self.name], method, PATHS[self.name].format(what), body, {**self.auth, **(headers or {})})
        assert answer.status in (200, 201, 204), answer
        return answer.json() if answer.body else None

    def new_file(self, purpose="batch"):
        body, form = (BODY, FORM) if purpose == "batch" else (OTHER_BODY, OTHER_FORM)
        return self.call("POST", "files", body, {"Content-Type": form})

    def new_batch(self):
        if self.input is None:
            self.input = self.new_file()["id"]
        return self.call("POST", "batches", {"input_file_id": self.input, "endpoint": "/v1/chat/completions", "completion_window": "24h"})

    def delete_file(self, native):
        self.call("DELETE", f"files/{native}")


def probed(sim, gateway, accounts=ACCOUNTS):
    """The gateway, once its health probes are over for the next minutes: they list batches too, and would take faults meant for lists."""
    for name in accounts:
        until(lambda: any(is_probe(r) and r["status"] for r in sim.requests(name, probes=True)), f"a probe of {name}")
    return gateway


def native(client_id):
    return client_id.rsplit("-t", 1)[0]


def rank(client_id):
    """What orders accounts among objects of one second: the fingerprint that their ids carry."""
    return base64.b32decode(client_id.rsplit("-t", 1)[1].upper())[:4]


def walk(gateway, target, limit, on_page=None):
    """All ids, page by page. `on_page(number, page)` is called after each."""
    seen, after = [], ""
    for number in itertools.count(1):
        page = gateway.get(f"{target}{'&' if '?' in target else '?'}limit={limit}{after}")
        assert page.status == 200 and "x-tranche-partial" not in page.headers, page
        page = page.json()
        ids = [o["id"] for o in page["data"]]
        assert 0 < len(ids) <= limit or not page["has_more"], page
        seen += ids
        if on_page is not None:
            on_page(number, page)
        if not page["has_more"]:
            return seen
        assert number < 1000, "the pages never end"
        after = f"&after={ids[-1]}"


def lists_asked(sim, account):
    """Queries of the lists that this account was asked for."""
    return [r["target"] for r in sim.requests(account) if r["method"] == "GET" and r["target"].partition("?")[0].rsplit("/", 1)[-1]
            in ("files", "batches")]


def objects_asked(sim, account):
    """Single objects that this account was asked for."""
    return [r["target"] for r in sim.requests(account) if r["method"] == "GET"
            and r["target"].partition("?")[0].rsplit("/", 2)[-2] in ("files", "batches")]
