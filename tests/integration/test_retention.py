"""Files of batches that go so long after their end (`delete_after`): what is deleted at the provider, when, by whom, and what clients and
operators see of it, over both engines. The hours pass in the database."""

import json
import sqlite3
import subprocess
import threading

import pytest
import test_late_moves as late_moves
from harness import MASTER_KEY, PATIENCE, azure_deployment, balanced_config, envelope, find_binary, keeper_of, kill_child, lines, program_env, prober_of, sim_config, until
from postgres import PROGRAMS, Cluster
from test_fleet_creates import kill
from test_moving import limited
from test_tenant_batches import ANN, BEN, create, entry

SEALS = ["sk-0123456789abcdef-seal"]
HOUR_MS = 3_600_000


class Sqlite:
    def __init__(self, path):
        self.path, self.url = path, f"sqlite://{path}"

    def run(self, sql):
        with sqlite3.connect(self.path, timeout=PATIENCE) as db:
            rows = db.execute(sql.replace("@", "")).fetchall()
        db.close()
        return [tuple("" if v is None else str(v) for v in row) for row in rows]


class Postgres:
    def __init__(self, cluster):
        self.cluster, self.url = cluster, cluster.url

    def run(self, sql):
        return [tuple(line.split("|")) for line in self.cluster.psql(sql.replace("@", "tranche.") + ";").stdout.splitlines()]


@pytest.fixture
def two(make_sim):
    """eu is small and gets every upload (its weight), us is large."""
    return make_sim(sim_config([limited("eu", 600), limited("us", 1_000_000)]))


@pytest.fixture(scope="module")
def cluster():
    if not PROGRAMS:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    cluster = Cluster()
    yield cluster
    cluster.close()


@pytest.fixture
def postgres(cluster):
    cluster.psql("drop schema if exists tranche cascade")
    return Postgres(cluster)


@pytest.fixture
def database(tmp_path):
    return Sqlite(tmp_path / "retention.db")


@pytest.fixture(params=["sqlite", "postgresql"])
def either(request, tmp_path):
    return Sqlite(tmp_path / "retention.db") if request.param == "sqlite" else request.getfixturevalue("postgres")


ALL = ["error file", "input file", "output file"]  # of a batch that ran where its file is


def settings(database, **more):
    return {"database": database.url, "seal_keys": SEALS, "timeouts": {"watch_ms": 100}, **more}


def started(start, sim, database, workers=1, **more):
    return start(balanced_config(sim, accounts=["eu"], tranche_settings=settings(database, **more)), sim=sim, workers=workers)


def made(gateway, key=MASTER_KEY, file=None):
    file = file or gateway.uploaded(key=key)["id"]
    answer = create(gateway, file, key)
    assert answer.status == 200, answer
    return answer.json()["id"]


def until_done(gateway, sim, database, batch):
    """It has ended, and all is written of it: what it used, its event, and when its files go if they do."""
    gateway.wait_batch(sim, batch)
    until(lambda: [r for r in usage(gateway) if r["batch_id"] == batch] and database.run(
        f"select 1 from @batch_part where batch_id = '{batch}' and open = 0"), "the end of the batch is written")
    return gateway.get(f"/v1/batches/{batch}").json()


def usage(gateway):
    """A database that a busy machine does not let answer in time is asked again."""
    return until(lambda: (lambda answer: answer.status == 200 and answer)(gateway.get("/usage")), "usage is told").json()["data"]


def pass_time(database):
    database.run("update @deletion set due = 5, next_at = 5 where done is null")


def waiting(database):
    return int(database.run("select count(*) from @deletion where done is null")[0][0])


def until_gone(database):
    """The hours pass until nothing is left that is to be deleted."""
    def gone():
        pass_time(database)
        return waiting(database) == 0

    until(gone, "all is deleted")


def held(sim, account="eu"):
    return sorted(f["id"] for f in sim.ledger(account)["files"] if not f.get("deleted"))


def deletes(sim, account="eu"):
    return [r["target"].split("?")[0].rsplit("/", 1)[1] for r in sim.requests(account, upkeep=True) if r["method"] == "DELETE"]


def events(gateway, batch, key=MASTER_KEY):
    """As of usage."""
    def asked():
        answer = gateway.get(f"/v1/batches/{batch}?expand=events", key=key)
        assert answer.status == 200, answer
        return answer.json().get("events")

    return [(e["type"], e["message"]) for e in until(asked, "its story is told")]


def told(gateway, batch, *types, key=MASTER_KEY):
    return sorted(message for kind, message in events(gateway, batch, key) if kind in (types or ("deleted",)))


def output_of(gateway, batch, key=MASTER_KEY):
    return gateway.get(f"/v1/batches/{batch}", key=key).json()["output_file_id"]


def test_files_of_an_owner_who_says_so_go_once_after_the_end_and_others_stay(start, sim, either):
    keys = [entry(ANN, delete_after="1h"), entry(BEN, metadata={"delete_after": "none"})]
    gateway = started(start, sim, either, keys=keys, delete_after="24h", workers=2)
    ann, ben, master = made(gateway, ANN), made(gateway, BEN), made(gateway)
    for batch in (ann, ben, master):
        until_done(gateway, sim, either, batch)
    due = dict(either.run("select b.id, d.due - b.ended from @deletion d join @batch b on b.id = d.batch_id"))
    assert due == {ann: str(HOUR_MS), master: str(24 * HOUR_MS)}
    assert not deletes(sim) and len(held(sim)) == 9
    files = {batch: output_of(gateway, batch) for batch in (ann, ben, master)}
    before = usage(gateway)
    either.run(f"update @deletion set due = 5, next_at = 5 where batch_id = '{ann}'")  # an hour is over
    until(lambda: len(deletes(sim)) == 3, "Ann's files are deleted")
    until(lambda: waiting(either) == 1, "that is written")
    assert told(gateway, ann) == ALL == told(gateway, ann, key=ANN)
    assert len(held(sim)) == 6 and not told(gateway, ben) and not told(gateway, master)
    assert gateway.get(f"/v1/files/{files[ben]}/content", key=BEN).status == 200
    envelope(gateway.get(f"/v1/files/{files[ann]}/content", key=ANN), 404)
    envelope(gateway.get(f"/v1/files/{files[ann]}", key=ANN), 404)
    gone = envelope(gateway.get(f"/v1/batches/{ann}/results", key=ANN), 410, code="file_gone")
    assert files[ann] in gone["message"]
    assert gateway.get(f"/v1/batches/{ann}", key=ANN).json()["status"] == "completed"
    assert gateway.get("/v1/files", key=ANN).json()["data"] == []
    assert usage(gateway) == before and {r["batch_id"] for r in before} == {ann, ben, master}
    until_gone(either)  # the master's day
    assert len(deletes(sim)) == 6 == len(set(deletes(sim)))
    assert gateway.get(f"/v1/files/{files[ben]}/content", key=BEN).status == 200


def test_a_person_sees_what_was_deleted_and_what_is_late(start, sim, database):
    gateway = started(start, sim, database, delete_after="1h")
    batch = made(gateway)
    until_done(gateway, sim, database, batch)
    text = gateway.get("/metrics").body.decode()
    assert "\ntranche_deletions_late_seconds 0\n" in text
    until(lambda: "\ntranche_deletions_waiting 1\n" in gateway.get("/metrics").body.decode(), "one batch with files waits")
    sim.fault({"status": 503}, account="eu", method="DELETE", times=1000)
    pass_time(database)
    until(lambda: [m.split(":")[0] for m in told(gateway, batch, "not_deleted")] == ALL, "it is told")
    failures = told(gateway, batch, "not_deleted")
    assert any(m.endswith(": its provider answered 503") for m in failures), failures
    assert len(held(sim)) == 3 and not told(gateway, batch)
    until(lambda: float(next(line for line in gateway.get("/metrics").body.decode().splitlines()
                             if line.startswith("tranche_deletions_late_seconds ")).split()[1]) > 1e6, "it is late")
    sim.clear_faults()
    until_gone(database)
    assert not held(sim)
    assert told(gateway, batch, "not_deleted") == failures and told(gateway, batch) == ALL
    done = subprocess.run([find_binary("tranche"), "batch", batch], capture_output=True, text=True, timeout=PATIENCE * 4, check=False,
                          env=program_env({"TRANCHE_BASE_URL": f"http://127.0.0.1:{gateway.port}/v1", "TRANCHE_API_KEY": MASTER_KEY}))
    assert done.returncode == 0 and "deleted" in done.stdout and "output file" in done.stdout, done.stdout + done.stderr


def test_a_file_that_somebody_else_deleted_is_gone_already(start, sim, database):
    gateway = started(start, sim, database, delete_after="1h")
    batch = made(gateway)
    until_done(gateway, sim, database, batch)
    assert gateway.delete(f"/v1/files/{output_of(gateway, batch)}").status == 200
    until_gone(database)
    assert told(gateway, batch) == ["error file", "input file", "output file: it was gone already"] and not held(sim)


@pytest.mark.parametrize("method, path", [("GET", "*/batches/*"), ("DELETE", "*/files/*")], ids=["when_its_files_are_asked_for", "at_a_delete"])
@pytest.mark.parametrize("child", ["prober", "keeper"])
def test_a_child_that_is_killed_leaves_one_outcome(start, sim, database, child, method, path):
    """The provider carries it out, and the answer is on its way."""
    gateway = started(start, sim, database, delete_after="1h")
    batch = made(gateway)
    until_done(gateway, sim, database, batch)
    sim.fault({"hang": "answer", "ms": 3_600_000}, account="eu", method=method, path=path)
    pass_time(database)
    if method == "DELETE":
        until(lambda: len(held(sim)) < 3, "one was deleted, and nobody knows")
    else:
        sim.wait("eu", method, path, phase="received")
        until(lambda: any(is_hung(r) for r in sim.requests("eu", upkeep=True)), "it was asked for")
    gateway.deaths_expected = True
    victim = (prober_of if child == "prober" else keeper_of)(gateway)
    kill_child(victim)
    if child == "keeper":
        keeper_of(gateway, victim)
        sim.release()
    until_gone(database)
    assert not held(sim)
    assert [m.split(":")[0] for m in told(gateway, batch)] == ALL
    assert not told(gateway, batch, "not_deleted", "kept")
    assert len(usage(gateway)) == 1


def is_hung(request):
    return request["method"] == "GET" and "/batches/" in request["target"] and request["status"] == 0


def test_an_input_that_another_batch_still_uses_stays_until_that_has_ended(start, sim, database):
    gateway = started(start, sim, database, delete_after="1h")
    file = gateway.uploaded()["id"]
    first = made(gateway, file=file)
    until_done(gateway, sim, database, first)
    second = made(gateway, file=file)  # it runs for as long as the simulator's clock stands still
    pass_time(database)
    until(lambda: told(gateway, first) == ["error file", "output file"], "the output is gone")
    until(lambda: database.run("select 1 from @deletion where kind = 3 and done is null and next_at > 5"), "the input was looked at")
    pass_time(database)
    until(lambda: database.run("select 1 from @deletion where kind = 3 and done is null and next_at > 5"), "and once more")
    assert gateway.get(f"/v1/files/{file}/content").status == 200 and len(deletes(sim)) == 2
    until_done(gateway, sim, database, second)
    until_gone(database)
    assert not held(sim) and len(deletes(sim)) == 5
    assert told(gateway, first) == ALL and told(gateway, second) == ["error file", "output file"]


def test_nothing_is_deleted_while_a_client_reads_it(start, sim, database):
    gateway = started(start, sim, database, delete_after="1h")
    batch = made(gateway)
    until_done(gateway, sim, database, batch)
    output, answers = output_of(gateway, batch), []
    sim.fault({"delay_ms": 3_600_000}, account="eu", method="GET", path="*/content")
    reader = threading.Thread(target=lambda: answers.append(gateway.get(f"/v1/files/{output}/content")))
    reader.start()
    sim.wait("eu", "GET", "*/content", phase="received")
    pass_time(database)
    until(lambda: told(gateway, batch, "not_deleted") == ["output file: a client is reading it"], "the output has to wait")
    until(lambda: told(gateway, batch) == ["error file", "input file"], "the others are deleted")
    sim.release()
    reader.join()
    assert answers[0].status == 200 and answers[0].body
    until_gone(database)
    assert told(gateway, batch) == ALL and not held(sim)


def test_a_moved_batch_leaves_neither_its_copy_nor_the_clients_file(start, two, database):
    rows = [azure_deployment(two, "eu", weight=1), azure_deployment(two, "us", weight=0)]
    gateway = start(balanced_config(two, accounts=(), model_list=rows, tranche_settings=settings(database, delete_after="1h")), sim=two)
    batch = made(gateway, file=gateway.uploaded(lines(count=20))["id"])
    assert two.created("batches", ["us"]) == 1 and len(held(two, "eu")) == 1
    until_done(gateway, two, database, batch)
    assert len(held(two, "us")) == 3
    until_gone(database)
    assert held(two, "eu") == held(two, "us") == []
    assert told(gateway, batch) == ["copy of the input file", *ALL]


def test_of_a_batch_that_failed_late_nothing_is_left_where_it_was_and_where_it_ran(start, make_sim, database):
    sim = make_sim(sim_config([late_moves.late("eu", late_moves.ROOM), late_moves.late("us", 1_000_000)]))
    gateway = start(late_moves.config(sim, database.url, delete_after="1h"), sim=sim)
    _, batch = late_moves.made(gateway, sim)
    late_moves.refused(sim)
    late_moves.wait_moved(gateway, batch)
    late_moves.wait_completed(gateway, sim, batch)
    until_done(gateway, sim, database, batch)
    assert len(held(sim, "eu")) == 1 and len(held(sim, "us")) == 3  # the client's file; its copy, and what came of it
    output = output_of(gateway, batch)
    until_gone(database)
    assert held(sim, "eu") == held(sim, "us") == []
    assert told(gateway, batch) == ["copy of the input file", *ALL]
    envelope(gateway.get(f"/v1/files/{output}/content"), 404)


def test_a_batch_that_failed_loses_its_input(start, sim, database):
    gateway = started(start, sim, database, delete_after="1h")
    batch = made(gateway)
    assert gateway.post(f"/v1/batches/{batch}/cancel").status == 200
    gateway.wait_batch(sim, batch, "cancelled")
    until(lambda: waiting(database) == 1, "its end is written")
    until_gone(database)
    assert not held(sim) and "input file" in told(gateway, batch)


def test_two_gateways_delete_a_file_once(start, sim, tmp_path, postgres):
    nodes = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        nodes.append(started(start, sim, postgres, delete_after="1h", state_dir=str(tmp_path / name)))
    batches = [made(nodes[n % 2]) for n in range(6)]
    for n, batch in enumerate(batches):
        until_done(nodes[n % 2], sim, postgres, batch)
    assert len(held(sim)) == 18
    until_gone(postgres)
    assert not held(sim) and len(deletes(sim)) == 18 == len(set(deletes(sim)))
    for batch in batches:
        assert told(nodes[0], batch) == ALL


def test_another_gateway_goes_on_where_one_was_killed(start, sim, tmp_path, postgres):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    gateway = started(start, sim, postgres, delete_after="1h", state_dir=str(tmp_path / "one"))
    batch = made(gateway)
    until_done(gateway, sim, postgres, batch)
    sim.fault({"hang": "answer", "ms": 3_600_000}, account="eu", method="DELETE")
    until(lambda: pass_time(postgres) or len(held(sim)) < 3, "one was deleted, and its node does not know")
    kill(gateway)
    other = started(start, sim, postgres, delete_after="1h", state_dir=str(tmp_path / "two"))
    postgres.run("update @deletion set claim_until = 2 where done is null")  # a minute is over
    until_gone(postgres)
    assert not held(sim)
    assert [m.split(":")[0] for m in told(other, batch)] == ALL


def test_a_key_of_the_database_may_say_it_and_what_cannot_be_meant_is_refused(start, sim, database):
    gateway = started(start, sim, database)
    headers = {"Content-Type": "application/json"}
    for fields, place in (({"delete_after": 24}, "delete_after"), ({"delete_after": "24"}, "delete_after"), ({"metadata": {"delete_after": "1s"}}, "metadata")):
        answer = gateway.post("/key/generate", json.dumps(fields).encode(), headers=headers)
        assert answer.status in (400, 422) and place in answer.body.decode() and "1h, 30d, 2w" in answer.body.decode(), answer
    team = gateway.post("/team/new", json.dumps({"team_id": "a", "delete_after": "2h"}).encode(), headers=headers)
    assert team.status == 200, team
    keys = {}
    for name, fields in (("own", {"metadata": {"delete_after": "1d"}}), ("teams", {"team_id": "a"}), ("nobodys", {})):
        answer = gateway.post("/key/generate", json.dumps(fields).encode(), headers=headers)
        assert answer.status == 200, answer
        keys[name] = answer.json()["key"]
    batches = {name: made(gateway, key) for name, key in keys.items()}
    for batch in batches.values():
        until_done(gateway, sim, database, batch)
    due = dict(database.run("select b.id, d.due - b.ended from @deletion d join @batch b on b.id = d.batch_id"))
    assert due == {batches["own"]: str(24 * HOUR_MS), batches["teams"]: str(2 * HOUR_MS)}


def test_without_a_database_the_setting_stops_the_start_and_names_what_brings_it(tmp_path, sim):
    path = tmp_path / "config.json"
    for more in ({"delete_after": "1h"}, {"keys": [entry(ANN, delete_after="1h")]}, {"keys": [entry(ANN, metadata={"delete_after": "1h"})]}):
        path.write_text(json.dumps(balanced_config(sim, tranche_settings={"seal_keys": SEALS, **more})))
        done = subprocess.run([find_binary("tranche"), "check", "--config", str(path)], capture_output=True, text=True, timeout=PATIENCE,
                              env=program_env(), check=False)
        assert done.returncode != 0, done.stdout
        (line,) = [text for text in (done.stdout + done.stderr).splitlines() if "delete_after" in text and "tranche_settings.database" in text]
        assert "error" in line, line
