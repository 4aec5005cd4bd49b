"""A host that goes on with LiteLLM: keys that were made there work here. The database is the one that LiteLLM's own package
makes (its migrations, in order); rows stand in it as LiteLLM writes them."""

import glob
import hashlib
import json
import signal
import subprocess

import pytest
from harness import GROUP, ROOT, balanced_config, envelope, find_binary, lines, program_env, until
from postgres import PROGRAMS, Cluster

MIGRATIONS = ROOT / ".venv" / "litellm" / "litellm_proxy_extras" / "migrations"

pytestmark = pytest.mark.skipif(not PROGRAMS or not MIGRATIONS.is_dir(),
                                reason="without PostgreSQL, or LiteLLM's package")


@pytest.fixture(scope="module")
def cluster():
    """With a database `litellm` as LiteLLM makes it, and a role that may only read."""
    server = Cluster()
    try:
        server.psql("create role reader login;\ncreate database litellm")
        steps = [open(path, encoding="utf-8").read() for path in sorted(glob.glob(f"{MIGRATIONS}/*/migration.sql"))]
        assert len(steps) > 200, "the package has its migrations elsewhere"
        server.psql("\n;\n".join(steps), database="litellm")
        server.psql("grant usage on schema public to reader; grant select on \"LiteLLM_VerificationToken\", \"LiteLLM_DeprecatedVerificationToken\", "
                    "\"LiteLLM_TeamTable\", \"LiteLLM_BudgetTable\", \"LiteLLM_ModelTable\" to reader", database="litellm")
        yield server
    finally:
        server.close()


class LiteLLM:
    """One database of it. Rows as its proxy writes them."""

    def __init__(self, server, name):
        self.server, self.name = server, name
        server.psql(f"create database {name} template litellm")

    def sql(self, text):
        return self.server.psql(text, database=self.name)

    def url(self):
        return self.server.url_of(self.name, "reader")

    def add(self, key, **columns):
        values = {"token": hash_of(key), "key_name": f"sk-...{key[-4:]}", "spend": 0.0, "models": [], "metadata": {}, **columns}
        self.insert("LiteLLM_VerificationToken", values)

    def insert(self, table, values):
        names = ", ".join(f'"{name}"' for name in values)
        self.sql(f'insert into "{table}" ({names}) values ({", ".join(literal(v) for v in values.values())});')

    def change(self, table, where, **columns):
        sets = ", ".join(f'"{name}" = {literal(v)}' for name, v in columns.items())
        self.sql(f'update "{table}" set {sets}, updated_at = now() where {where};')

    def add_team(self, team_id, **columns):
        self.insert("LiteLLM_TeamTable", {"team_id": team_id, "team_alias": team_id, "models": [], "admins": [], "members": [],
                                          "members_with_roles": {}, "metadata": {}, **columns})


def hash_of(key):
    return hashlib.sha256(key.encode()).hexdigest()


def literal(value):
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, list):
        return "array[" + ", ".join(literal(v) for v in value) + "]::text[]"
    if isinstance(value, dict):
        return literal(json.dumps(value)) + "::jsonb"
    return "'" + value.replace("'", "''") + "'"


KEY = "sk-made-in-litellms-page-4711"


@pytest.fixture
def litellm(cluster, request):
    name = f"l{abs(hash(request.node.nodeid)) % 10**9}"
    yield LiteLLM(cluster, name)
    cluster.send(signal.SIGCONT)


def config_of(sim, litellm, **settings):
    return balanced_config(sim, tranche_settings={"litellm_database": "os.environ/LITELLM_DATABASE", **settings})


@pytest.fixture
def beside(start, sim, litellm):
    def begin(**settings):
        return start(config_of(sim, litellm, **settings), sim=sim, env={"LITELLM_DATABASE": litellm.url()})
    return begin


def status(gateway, key=KEY):
    return gateway.get("/v1/batches", key=key).status


def create(gateway, file_id, key=KEY):
    return gateway.post("/v1/batches", {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}, key=key)


def test_a_key_that_is_made_in_litellm_works_at_its_first_use(beside, litellm):
    litellm.add("sk-was-there-at-the-start-01")
    gateway = beside()
    assert status(gateway, "sk-was-there-at-the-start-01") == 200
    assert status(gateway) == 401
    later = "sk-made-while-it-was-running"
    litellm.add(later)
    assert status(gateway, later) == 200
    answer = gateway.upload(lines(), key=later)
    assert answer.status == 200, answer
    batch = create(gateway, answer.json()["id"], later)
    assert batch.status == 200, batch
    assert gateway.get(f"/v1/batches/{batch.json()['id']}", key="sk-was-there-at-the-start-01").status == 404


def test_a_key_that_was_refused_works_soon_after_it_was_made(beside, litellm):
    gateway = beside()
    assert status(gateway) == 401
    litellm.add(KEY)
    until(lambda: status(gateway) == 200, "the key that was unknown a moment ago is known")


def test_what_litellm_changes_is_seen_here(beside, litellm):
    litellm.add(KEY)
    gateway = beside()
    assert status(gateway) == 200
    own = gateway.get("/key/info", key=KEY).json()  # its row, as LiteLLM's own answer has it
    assert own["key"] == hash_of(KEY) and own["info"]["key_name"] == f"sk-...{KEY[-4:]}" and own["info"]["models"] == [], own
    envelope(gateway.get("/key/info?key=" + "0" * 64, key=KEY), 403)
    envelope(gateway.get("/key/info?key=" + "0" * 64), 404)
    litellm.change("LiteLLM_VerificationToken", f"token = '{hash_of(KEY)}'", blocked=True)
    until(lambda: status(gateway) == 401, "the blocked key is refused")
    error = envelope(gateway.get("/v1/batches", key=KEY), 401)
    assert error["message"].startswith("Authentication Error, Key is blocked.") and error["type"] == "auth_error"
    litellm.change("LiteLLM_VerificationToken", f"token = '{hash_of(KEY)}'", blocked=None, models=["no-such-group"])
    until(lambda: status(gateway) == 200, "the key is good again")
    assert gateway.upload(lines(), key=KEY).status == 403
    litellm.sql(f"delete from \"LiteLLM_VerificationToken\" where token = '{hash_of(KEY)}';")
    until(lambda: status(gateway) == 401, "the deleted key is unknown")


def test_a_team_of_litellm_owns_what_its_keys_make(beside, litellm):
    litellm.add_team("team-1", models=[GROUP])
    litellm.add(KEY, team_id="team-1", models=["all-team-models"])
    litellm.add("sk-of-the-same-team-000002", team_id="team-1", models=[])
    litellm.add("sk-of-another-team-0000003", team_id=None)
    gateway = beside()
    file = gateway.uploaded(lines(), key=KEY)
    assert gateway.get(f"/v1/files/{file['id']}", key="sk-of-the-same-team-000002").status == 200
    assert gateway.get(f"/v1/files/{file['id']}", key="sk-of-another-team-0000003").status == 404
    litellm.change("LiteLLM_TeamTable", "team_id = 'team-1'", blocked=True)
    until(lambda: status(gateway) == 401, "the blocked team's key is refused")
    assert "Team=team-1 is blocked" in gateway.get("/v1/batches", key=KEY).body.decode()


def test_the_limit_of_enqueued_tokens_stands_in_the_metadata(beside, litellm):
    litellm.add(KEY, metadata={"batch_enqueued_token_limit": "1"})
    gateway = beside()
    file = gateway.uploaded(lines(), key=KEY)
    error = envelope(create(gateway, file["id"]), 400)  # more than its whole limit: it can never fit
    assert "enqueued" in error["message"]


def test_a_hash_in_its_grace_is_good_until_it_ends(beside, litellm):
    litellm.add(KEY)
    litellm.insert("LiteLLM_DeprecatedVerificationToken",
                   {"id": "d1", "token": hash_of("sk-the-one-before-00000001"), "active_token_id": hash_of(KEY),
                    "revoke_at": "2099-01-01 00:00:00"})
    litellm.insert("LiteLLM_DeprecatedVerificationToken",
                   {"id": "d2", "token": hash_of("sk-long-gone-0000000000001"), "active_token_id": hash_of(KEY),
                    "revoke_at": "2020-01-01 00:00:00"})
    gateway = beside()
    file = gateway.uploaded(lines(), key="sk-the-one-before-00000001")
    assert gateway.get(f"/v1/files/{file['id']}", key=KEY).status == 200  # one key
    assert status(gateway, "sk-long-gone-0000000000001") == 401


def test_an_expired_key_of_litellm_is_refused(beside, litellm):
    litellm.add(KEY, expires="2020-01-01 00:00:00")
    gateway = beside()
    assert envelope(gateway.get("/v1/batches", key=KEY), 401)["type"] == "expired_key"


def test_a_database_that_stands_still_stops_no_known_key(beside, litellm, cluster):
    litellm.add(KEY)
    gateway = beside()
    assert status(gateway) == 200
    cluster.send(signal.SIGSTOP)
    try:
        assert status(gateway) == 200
        answer = gateway.get("/v1/batches", key="sk-nobody-can-say-now-0001")
        assert envelope(answer, 503)["type"] == "no_db_connection"
        assert answer.headers["retry-after"] == "5"
        file = gateway.uploaded(lines(), key=KEY)
        assert gateway.get(f"/v1/files/{file['id']}", key=KEY).status == 200
    finally:
        cluster.send(signal.SIGCONT)
    until(lambda: status(gateway, "sk-nobody-can-say-now-0001") == 401, "unknown keys are known to be wrong again")


def test_an_import_takes_the_keys_over_for_good(start, sim, litellm, tmp_path):
    litellm.add_team("team-1")
    litellm.add(KEY, team_id="team-1", key_alias="nightly", models=[GROUP], metadata={"batch_enqueued_token_limit": 5000000})
    database = f"sqlite:///{tmp_path}/keys.db"

    def take_over():
        return subprocess.run([find_binary("tranche"), "keys", "import", "--from", "os.environ/LITELLM_DATABASE", "--to", database],
                              env=program_env({"LITELLM_DATABASE": litellm.url()}), capture_output=True, text=True, timeout=60)

    first, second = take_over(), take_over()
    assert first.returncode == 0, first.stdout + first.stderr
    assert second.returncode == 0, second.stdout + second.stderr
    assert KEY not in first.stdout + first.stderr and hash_of(KEY) not in first.stdout + first.stderr
    gateway = start(balanced_config(sim, tranche_settings={"database": database}), sim=sim)
    assert status(gateway) == 200
    assert gateway.upload(lines(), key=KEY).status == 200
