"""Tenants for tests: the keys of a host that lets strangers in, and how one of them asks.

    def test_x(tenants, sim):
        gateway = tenants()                          # two groups, all the keys below
        batches = gateway.as_("a1").get("/v1/batches")
        gateway.as_("master").get("/health")

The names:

    master, admin            see and may all
    a1, a2                   two keys of team A
    a_narrow                 team A, the model `cheap` only
    b1                       of team B
    lone                     of no team
    narrow                   of no team: `cheap`, `azure-*`, and the alias `fast` for `cheap`
    of_t                     of team T, which may use `cheap` only, while the key says `*`
    blocked, expired         of team A
    of_blocked               of team X, which is blocked
    llm, files_only, reader  llm_api_routes, /files alone, info routes alone
    unknown, odd             in no list; not of a key's kind
"""

import hashlib

import pytest

import harness
from harness import GROUP, MASTER_KEY, azure_deployment, balanced_config, lines

CHEAP, DEAR = "cheap", "dear"

KEYS = {name: f"sk-{name.replace('_', '-')}-0f1e2d3c4b5a{name[-1]}{len(name)}{name[0]}9" for name in (
    "admin", "a1", "a2", "a_narrow", "b1", "lone", "narrow", "of_t", "blocked", "expired", "of_blocked", "llm",
    "files_only", "reader", "unknown")}
KEYS["master"] = MASTER_KEY
KEYS["odd"] = "not-a-litellm-key"
KEYS["nobody"] = None
EXPIRED_AT = "2026-09-21T22:27:58Z"


def hash_of(key):
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()


def entry(name, **more):
    """A key as a file has it: known by its hash alone."""
    values = {"hash": hash_of(KEYS[name]), "key_name": f"sk-...{KEYS[name][-4:]}", "key_alias": f"alias-{name}"}
    if not more.get("admin"):
        values["models"] = ["*"]
    values.update(more)
    return values


def tenant_settings(**more):
    """What tranche_settings says of tenants; `more` replaces entries of keys by name, or other settings."""
    keys = {
        "admin": {"admin": True},
        "a1": {"team_id": "team-a"}, "a2": {"team_id": "team-a"},
        "a_narrow": {"team_id": "team-a", "models": [CHEAP]},
        "b1": {"team_id": "team-b"},
        "lone": {},
        "narrow": {"models": [CHEAP, "azure-*"], "aliases": {"fast": CHEAP}},
        "of_t": {"team_id": "team-t"},
        "blocked": {"team_id": "team-a", "blocked": True},
        "expired": {"team_id": "team-a", "expires": EXPIRED_AT},
        "of_blocked": {"team_id": "team-x"},
        "llm": {"allowed_routes": ["llm_api_routes"]},
        "files_only": {"allowed_routes": ["/files"]},
        "reader": {"key_type": "read_only"},
    }
    for name in [n for n in more if n in keys]:
        keys[name] = {**keys[name], **more.pop(name)}
    settings = {
        "keys": [entry(name, **values) for name, values in keys.items()],
        "teams": [{"team_id": "team-a", "models": ["*"]}, {"team_id": "team-b", "models": ["*"]},
                  {"team_id": "team-t", "models": [CHEAP]}, {"team_id": "team-x", "models": ["*"], "blocked": True}]}
    settings.update(more)
    return settings


def tenant_config(sim, settings=None, **sections):
    """Group `cheap` at eu, `dear` at us, and the usual group at sw; every key above."""
    rows = [azure_deployment(sim, "eu", CHEAP), azure_deployment(sim, "us", DEAR), azure_deployment(sim, "sw", GROUP)]
    config = balanced_config(sim, model_list=rows, tranche_settings=tenant_settings(**(settings or {})))
    config.update(sections)
    return config


class As:
    """A gateway as one caller sees it: get, post, delete, upload, create and so on, with that caller's key."""

    def __init__(self, gateway, name):
        self.gateway = gateway
        self.name = name
        self.key = KEYS[name]

    def request(self, method, target, body=None, **kw):
        kw.setdefault("key", self.key)
        answer = self.gateway.request(method, target, body, **kw)
        if self.key:
            assert self.key not in answer.body.decode("latin-1") + repr(answer.headers), f"a key came back in {answer}"
            digest = hash_of(self.key)[7:]
            assert digest not in answer.body.decode("latin-1") + repr(answer.headers), f"a hash came back in {answer}"
        return answer

    check = harness.Gateway.check
    get = harness.Gateway.get
    post = harness.Gateway.post
    delete = harness.Gateway.delete
    upload = harness.Gateway.upload
    uploaded = harness.Gateway.uploaded
    create = harness.Gateway.create
    created = harness.Gateway.created
    wait_batch = harness.Gateway.wait_batch

    def made(self, model=CHEAP, **kw):
        """A file of that model and its batch."""
        file = self.uploaded(lines(model), **kw)
        return file, self.created(file["id"])


class TenantGateway(harness.Gateway):
    """A gateway whose log must not have a tenant's key, or its hash, either."""

    def as_(self, name):
        return As(self, name)

    def finish(self, sim=None):
        super().finish(sim)
        for name, key in KEYS.items():
            if key is None or name == "odd":
                continue
            assert key not in self.log, f"the key {name} is in the log:\n{self.log}"
            assert hash_of(key)[7:] not in self.log, f"the hash of {name} is in the log:\n{self.log}"


@pytest.fixture
def tenants(tmp_path, sim):
    """tenants(settings={...}, config=None, **sections) -> a running gateway with the keys above."""
    made = []

    def make(settings=None, config=None, workers=2, env=None, **sections):
        config = config if config is not None else tenant_config(sim, settings, **sections)
        made.append(TenantGateway(tmp_path, config, workers=workers, env=env))
        return made[-1]

    yield make
    problems = []
    for gateway in made:
        try:
            gateway.finish(sim)
        except AssertionError as problem:
            problems.append(problem)
    if problems:
        raise problems[0]
