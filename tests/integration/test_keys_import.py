"""`tranche keys import`: LiteLLM's keys taken over, out of files, into a database and into a keys file."""

import hashlib
import json
import re
import sqlite3
import subprocess

import pytest
from harness import MASTER_KEY, PATIENCE, find_binary, program_env

HASHES = [hashlib.sha256(f"sk-imported-key-{n}".encode()).hexdigest() for n in range(4)]
TEAM = {"team_id": "red", "team_alias": "Red", "models": ["gpt-4o"], "metadata": {"batch_enqueued_token_limit": 9000}, "spend": 3.5}
KEYS = [
    {"token": HASHES[0], "key_name": "sk-...ey-0", "key_alias": "one", "models": [], "team_id": "red", "blocked": None, "expires": None, "spend": 0.25,
     "metadata": {"batch_enqueued_token_limit": "5000"}, "aliases": {"mini": "gpt-4o"}, "soft_budget_cooldown": False},
    {"token": HASHES[1], "models": ["gpt-4o"], "blocked": True, "expires": "2099-01-02T03:04:05.678000", "rpm_limit": 60, "metadata": {}},
    {"token": HASHES[2], "team_id": "litellm-dashboard"},
    {"token": "not-a-hash"},
]


def run(*args, given="", env=None):
    return subprocess.run([find_binary("tranche"), "keys", "import", *args], env=program_env(env or {}), input=given, capture_output=True, text=True,
                          timeout=PATIENCE * 4, check=False)


def rows(path, query):
    with sqlite3.connect(path) as db:
        return db.execute(query).fetchall()


def document():
    return json.dumps({"keys": KEYS, "teams": [TEAM], "deprecated": [
        {"token": HASHES[3], "active_token_id": HASHES[0], "revoke_at": "2099-01-01T00:00:00"}]})


def test_a_second_run_changes_nothing(tmp_path):
    database = tmp_path / "keys.db"
    done = run("--from", "-", "--to", f"sqlite://{database}", given=document())
    assert done.returncode == 0, done.stderr
    assert "4 added, 0 already there, 0 refused" in done.stderr
    assert "1 rows left out: their token is no SHA-256" in done.stderr and "1 rows left out: sessions of LiteLLM's own pages" in done.stderr
    assert re.search(r"\d+ values of other columns ignored", done.stderr)
    everything = rows(database, "select * from api_key order by id"), rows(database, "select * from key_alt"), rows(database, "select value from meta")
    assert [row[0] for row in everything[0]] == sorted(HASHES[:2]) and everything[1][0][:2] == (HASHES[3], HASHES[0])
    again = run("--from", "-", "--to", f"sqlite://{database}", given=document())
    assert again.returncode == 0 and "0 added, 4 already there, 0 refused" in again.stderr, again.stderr
    assert everything == (rows(database, "select * from api_key order by id"), rows(database, "select * from key_alt"), rows(database, "select value from meta"))


def test_csv_as_postgres_writes_it_is_taken_by_column_names(tmp_path):
    text = ("key_alias,token,models,blocked,expires,metadata,unknown,team_id\n"
            f'"with, comma and ""quotes""",{HASHES[0]},"{{gpt-4o,""o3 mini""}}",f,,"{{""batch_enqueued_token_limit"": 7}}",x,\n'
            f"two,{HASHES[1]},{{}},t,2099-01-02 03:04:05.678,{{}},y,\r\n")
    (tmp_path / "keys.csv").write_text(text)
    database = tmp_path / "keys.db"
    done = run("--from", str(tmp_path / "keys.csv"), "--to", str(database))
    assert done.returncode == 0 and "2 added" in done.stderr and "2 values of other columns ignored" in done.stderr, done.stderr
    got = {row[0]: row[1:] for row in rows(database, "select hash, alias, models, blocked, expires, metadata from api_key")}
    assert got[HASHES[0]] == ('with, comma and "quotes"', '["gpt-4o","o3 mini"]', 0, None, '{"batch_enqueued_token_limit": 7}')
    assert got[HASHES[1]][2:4] == (1, 4071006245678)


def test_what_is_printed_is_a_keys_file_that_loads(tmp_path):
    done = run("--from", "-", "--to", "keys-file", given=document())
    assert done.returncode == 0 and "2 keys and 1 teams printed" in done.stderr and "1 old hashes" in done.stderr, done.stderr
    (tmp_path / "keys.yaml").write_text(done.stdout)
    config = {"model_list": [{"model_name": "gpt-4o", "litellm_params": {"model": "openai/gpt-4o", "api_key": "os.environ/OPENAI_API_KEY"}}],
              "tranche_settings": {"keys_file": "keys.yaml"}}
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    check = subprocess.run([find_binary("tranche"), "check", "--config", str(tmp_path / "config.yaml")], capture_output=True, text=True, check=False,
                           timeout=PATIENCE * 2, env=program_env({"OPENAI_API_KEY": "sk-proj-0123456789abcdefghij", "LITELLM_MASTER_KEY": MASTER_KEY}))
    assert check.returncode == 0 and "2 keys in 1 team, 1 blocked" in check.stdout, check.stdout


def test_a_key_whose_team_is_not_there_is_refused_and_the_others_taken(tmp_path):
    done = run("--from", "-", "--to", str(tmp_path / "keys.db"), given=json.dumps(KEYS[:2]))
    assert done.returncode == 1, done.stderr
    assert "key one: refused: its team is not in the database" in done.stderr and "1 added, 0 already there, 1 refused" in done.stderr
    assert HASHES[0] not in done.stderr


@pytest.mark.parametrize("text, place", [("a,b\n1,2\n", "line 1: "), (f"token,b\n{HASHES[0]}\n", "line 2: "), ('token\n"abc', "line 2: "), ('{"keys": [1', "line 1, column "),
                                         ("[7]", "row 1: "), ("", "line 1: ")])
def test_a_file_that_is_none_is_told_with_its_place(tmp_path, text, place):
    done = run("--from", "-", "--to", str(tmp_path / "keys.db"), given=text)
    assert done.returncode == 2 and place in done.stderr, done.stderr
    assert not (tmp_path / "keys.db").exists()


def test_a_database_that_is_not_there_is_told_without_its_password(tmp_path):
    env = {"SOURCE": "postgresql://u:geheim77@127.0.0.1:1/x?sslmode=disable", "NONE": ""}
    done = run("--from", "os.environ/SOURCE", "--to", str(tmp_path / "keys.db"), env=env)
    assert done.returncode == 2 and "refused" in done.stderr and "geheim77" not in done.stderr, done.stderr
    assert run("--from", "os.environ/NONE", "--to", "keys-file", env=env).returncode == 2
    assert run("--from", "-").returncode == 2
