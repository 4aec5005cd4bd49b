"""Keys of tenants in a database, SQLite or PostgreSQL, and in a LiteLLM's own tables: known at the first use, blocked within moments, and what is served
while the database is away (tenants statements A50, C27, C28)."""

import hashlib
import json
import signal
import sqlite3
import subprocess

import pytest
from harness import MASTER_KEY, PATIENCE, balanced_config, find_binary, http_request, program_env, until
from postgres import empty

A, B, C = (f"sk-{name}-3f7Kq9Zx1Lm5Tr8w" for name in ("alpha", "bravo", "charlie"))


def hash_of(key):
    return hashlib.sha256(key.encode()).hexdigest()


def poll(gateway, key):
    return http_request(gateway.port, "GET", "/v1/models", headers={"Authorization": f"Bearer {key}"})


def status(gateway, key):
    return poll(gateway, key).status


class Sqlite:
    def __init__(self, path):
        self.path, self.url = path, f"sqlite://{path}"

    def run(self, sql):
        with sqlite3.connect(self.path, timeout=PATIENCE) as db:
            for statement in sql.replace("@", "").split(";"):
                db.execute(statement)


class Postgres:
    def __init__(self, cluster):
        self.cluster, self.url = cluster, cluster.url
        empty(cluster).psql("drop schema if exists public cascade; create schema public")

    def run(self, sql):
        self.cluster.psql(sql.replace("@", "tranche."))


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path):
    if request.param == "sqlite":
        return Sqlite(tmp_path / "keys.db")
    return Postgres(request.getfixturevalue("cluster"))


@pytest.fixture
def postgres(cluster):
    return Postgres(cluster)


def add(database, *keys, **more):
    """As an operator does beside a gateway that runs."""
    rows = [{"token": hash_of(key), "key_name": "sk-..." + key[-4:], "models": [], **more} for key in keys]
    done = subprocess.run([find_binary("tranche"), "keys", "import", "--from", "-", "--to", database.url], input=json.dumps(rows), text=True,
                          capture_output=True, env=program_env({}), timeout=PATIENCE * 4, check=False)
    assert done.returncode == 0, done.stderr


BUMP = "; update @meta set value = cast(cast(value as bigint) + 1 as text) where name = 'gen'"


def set_blocked(database, key, blocked=1):
    database.run(f"update @api_key set blocked = {blocked} where hash = '{hash_of(key)}'{BUMP}")


def config(sim, **settings):
    return balanced_config(sim, tranche_settings=settings)


# --- a database of ours ---


def test_a_key_of_the_database_is_known_and_another_one_is_not(start, sim, database):
    add(database, A)
    gateway = start(config(sim, database=database.url), sim=sim)
    assert status(gateway, A) == 200
    assert poll(gateway, C).status == 401 and poll(gateway, C).json()["error"]["type"] == "token_not_found_in_db"
    assert status(gateway, MASTER_KEY) == 200


def test_a_key_works_at_its_first_use_and_is_refused_soon_after_its_block(start, sim, database):
    add(database, A)
    gateway = start(config(sim, database=database.url), sim=sim, workers=2)
    assert status(gateway, A) == 200
    add(database, B)
    assert status(gateway, B) == 200
    set_blocked(database, B)
    until(lambda: status(gateway, B) == 401, "the block is known")
    set_blocked(database, B, 0)
    until(lambda: status(gateway, B) == 200, "its end is known")
    database.run(f"delete from @api_key where hash = '{hash_of(B)}'{BUMP}")
    until(lambda: status(gateway, B) == 401, "the key has gone")
    assert status(gateway, A) == 200


def test_a_reload_takes_no_key_away(start, sim, database):
    add(database, A)
    gateway = start(config(sim, database=database.url), sim=sim)
    assert status(gateway, A) == 200
    for number in (2, 3):
        begin = len(gateway.log)
        gateway.send(signal.SIGHUP)
        seen = []

        def served(number=number, begin=begin, seen=seen):
            seen.append(status(gateway, A))
            return f"generation {number} serves" in str(gateway.log)[begin:]

        until(served, "the next generation serves")
        seen += [status(gateway, A) for _ in range(20)]
        assert set(seen) == {200}, seen
    add(database, B)
    until(lambda: status(gateway, B) == 200, "the new keeper has the database")


def test_keys_of_files_and_of_the_database_are_served_together(start, sim, database):
    add(database, A)
    entry = {"hash": f"sha256:{hash_of(B)}", "key_alias": "b", "models": ["*"]}
    gateway = start(config(sim, database=database.url, keys=[entry]), sim=sim)
    assert status(gateway, A) == 200 and status(gateway, B) == 200 and status(gateway, C) == 401


# --- PostgreSQL away (C28) ---


def is_503(answer):
    return answer.status == 503 and answer.json()["error"]["type"] == "no_db_connection" and "retry-after" in answer.headers


@pytest.mark.parametrize("how", ["stopped", "gone"])
def test_while_the_server_is_away_known_keys_are_served_and_unknown_ones_told_to_come_again(start, sim, postgres, cluster, how):
    add(postgres, A)
    gateway = start(config(sim, database=postgres.url), sim=sim)
    assert status(gateway, A) == 200 and status(gateway, C) == 401
    if how == "stopped":
        cluster.send(signal.SIGSTOP)
    else:
        cluster.stop()
    try:
        gateway.wait_line(r"keys: the database of keys .* is down")
        assert status(gateway, A) == 200
        assert is_503(poll(gateway, B))
        assert status(gateway, MASTER_KEY) == 200
    finally:
        if how == "stopped":
            cluster.send(signal.SIGCONT)
        else:
            cluster.start()
    gateway.wait_line(r"keys: the database of keys .* is up again")
    until(lambda: status(gateway, B) == 401, "what is unknown is known to be")
    assert status(gateway, A) == 200


def test_a_gateway_starts_without_its_database_and_finds_it_later(start, sim, postgres, cluster):
    add(postgres, A)
    cluster.stop()
    try:
        gateway = start(config(sim, database=postgres.url), sim=sim)
        assert is_503(poll(gateway, A))
        assert status(gateway, MASTER_KEY) == 200
    finally:
        cluster.start()
    until(lambda: status(gateway, A) == 200, "the database is read")


# --- beside a LiteLLM ---

TABLES = """
create table "LiteLLM_VerificationToken"(token text primary key, key_name text, key_alias text, spend double precision not null default 0.0,
    expires timestamp(3), models text[], aliases jsonb not null default '{}', team_id text, user_id text, metadata jsonb not null default '{}',
    blocked boolean, rpm_limit bigint, max_parallel_requests integer, max_budget double precision, allowed_routes text[] default array[]::text[]);
create table "LiteLLM_TeamTable"(team_id text primary key, team_alias text, models text[], metadata jsonb not null default '{}', blocked boolean not null default false)
"""


def test_each_key_that_litellm_makes_works_here_at_once(start, sim, postgres, cluster):
    cluster.psql(TABLES)
    cluster.psql(f"""insert into "LiteLLM_VerificationToken"(token, models) values('{hash_of(A)}', '{{}}')""")
    gateway = start(config(sim, litellm_database=postgres.url), sim=sim)
    assert status(gateway, A) == 200 and status(gateway, C) == 401
    cluster.psql(f"""insert into "LiteLLM_VerificationToken"(token, models) values('{hash_of(B)}', '{{}}')""")
    assert status(gateway, B) == 200
    cluster.psql(f"""update "LiteLLM_VerificationToken" set blocked = true where token = '{hash_of(B)}'""")
    until(lambda: status(gateway, B) == 401, "the block is known")
    cluster.psql(f"""delete from "LiteLLM_VerificationToken" where token = '{hash_of(A)}'""")
    until(lambda: status(gateway, A) == 401, "the key has gone")
    assert cluster.psql("select count(*) from pg_namespace where nspname = 'tranche'").stdout == "0\n"  # nothing is made in it


def test_litellms_database_and_ours_may_be_one(start, sim, postgres, cluster):
    cluster.psql(TABLES)
    cluster.psql(f"""insert into "LiteLLM_VerificationToken"(token, models) values('{hash_of(A)}', '{{}}')""")
    add(postgres, B)
    gateway = start(config(sim, litellm_database=postgres.url, database=postgres.url), sim=sim)
    assert status(gateway, A) == 200 and status(gateway, B) == 200 and status(gateway, C) == 401
    assert cluster.psql("select count(*) from pg_tables where schemaname = 'public'").stdout == "2\n"


# --- what is shown of a place ---


def test_no_password_is_shown(start, sim):
    url = "postgresql://tranche:geheim77-sehr@127.0.0.1:1/keys?sslmode=disable"
    gateway = start(config(sim, database="os.environ/KEYS_URL"), sim=sim, env={"KEYS_URL": url})
    gateway.wait_line(r"keys: the database of keys \(postgresql://127.0.0.1:1/keys\) is down")
    assert is_503(poll(gateway, A))
    assert "geheim77" not in str(gateway.log)


def test_a_database_url_of_litellm_alone_changes_nothing(start, sim):
    more = config(sim)
    more.setdefault("general_settings", {})["database_url"] = "postgresql://litellm:geheim77-sehr@127.0.0.1:1/litellm"
    gateway = start(more, sim=sim)
    answer = poll(gateway, A)
    assert answer.status == 401 and answer.json()["error"]["type"] != "token_not_found_in_db"
    log = str(gateway.log)
    assert "general_settings.database_url" in log and "geheim77" not in log


# --- the management API, over the database ---


def manage(gateway, path, body):
    answer = http_request(gateway.port, "POST", path, json.dumps(body).encode(), {"Authorization": f"Bearer {MASTER_KEY}", "Content-Type": "application/json"})
    assert answer.status == 200, answer.body
    return answer.json()


def test_a_key_that_the_api_makes_works_and_one_that_it_blocks_does_not(start, sim, database):
    gateway = start(config(sim, database=database.url), sim=sim, workers=2)
    key = manage(gateway, "/key/generate", {"key_alias": "made"})["key"]
    assert [status(gateway, key) for _ in range(8)] == 8 * [200]
    manage(gateway, "/key/block", {"key": key})
    assert [status(gateway, key) for _ in range(8)] == 8 * [401]
    manage(gateway, "/key/unblock", {"key": key})
    assert [status(gateway, key) for _ in range(8)] == 8 * [200]
    manage(gateway, "/key/delete", {"keys": [key]})
    assert [status(gateway, key) for _ in range(8)] == 8 * [401]


def test_a_block_on_one_node_is_known_on_another(start, sim, postgres):
    one, other = (start(config(sim, database=postgres.url), sim=sim) for _ in range(2))
    key = manage(one, "/key/generate", {})["key"]
    assert status(other, key) == 200
    manage(one, "/key/block", {"key": key})
    assert status(one, key) == 401
    until(lambda: status(other, key) == 401, "the other node knows of the block")
