"""Creates at several gateways over one database: they count together, an Idempotency-Key is one for all of them, and each says what
it does while the database is away (journal statements C24, C28, C29 and C32)."""

import concurrent.futures
import hashlib
import http.client
import itertools
import json
import os
import signal
import socket
import subprocess

import pytest
from harness import GROUP, MASTER_KEY, PATIENCE, alive, balanced_config, envelope, keeper_of, lines, until, worker_pids
from postgres import PROGRAMS
from test_tenant_batches import AMY, ANN, BEN, DATA, create, entry, refused, size_of, tokens_text

SEAL = "sk-0123456789abcdef-seal"


IMPATIENT = {"watch_ms": 200, "database_ms": "2s"}  # where the database stands still


@pytest.fixture
def node(start, sim, tmp_path):
    """node(url, keys=[...], ...) -> one gateway more over that database"""
    numbers = itertools.count()

    def make(url, keys=(), teams=(), accounts=("eu", "us", "sw"), workers=1, **settings):
        state = tmp_path / f"state-{next(numbers)}"
        state.mkdir()
        given = {"database": url, "seal_keys": [SEAL], "keys": list(keys), "teams": list(teams), "timeouts": {"watch_ms": 200},
                 "state_dir": str(state), **settings}
        config = balanced_config(sim, accounts=accounts, tranche_settings={k: v for k, v in given.items() if v})
        return start(config, sim=sim, workers=workers)

    return make


def counted(gateway, file, key, **more):
    """A create that was counted: a database that a busy machine does not let answer in time refuses it, and then it is asked again."""
    return until(lambda: (lambda answer: answer.status != 503 and answer)(create(gateway, file, key, **more)), "the database answers")


def keyed(gateway, file, name="key-1", key=MASTER_KEY, **more):
    return create(gateway, file, key, headers={"Idempotency-Key": name}, **more)


def at_once(calls):
    with concurrent.futures.ThreadPoolExecutor(max_workers=len(calls)) as pool:
        return [f.result() for f in [pool.submit(call) for call in calls]]


def same(a, b):
    assert a.status == b.status == 200 and a.body == b.body, (a, b)
    assert b.headers["idempotent-replayed"] == "true" and "idempotency" not in b.headers, b


def kill(gateway):
    gateway.deaths_expected = True
    os.killpg(gateway.pid, signal.SIGKILL)
    gateway.wait()


# --- Idempotency-Key ---


def test_a_key_is_one_for_all_nodes(node, sim, database):
    one, two = node(database.url), node(database.url)
    file = one.uploaded(headers={"Idempotency-Key": "file-1"})
    assert two.uploaded(headers={"Idempotency-Key": "file-1"}) == file and sim.created("files") == 1
    envelope(two.upload(lines(count=2), headers={"Idempotency-Key": "file-1"}), 409, code="idempotency_key_reused")
    first = keyed(one, file["id"])
    same(first, keyed(two, file["id"]))
    same(first, keyed(one, file["id"]))
    answer = keyed(two, file["id"], metadata={"a": "b"})
    envelope(answer, 409, code="idempotency_key_reused")
    assert answer.headers["x-should-retry"] == "false"
    # A refusal leaves it free for whoever asks next
    sim.fault({"status": 400, "body": {"error": {"code": "invalidPayload", "message": "no"}}}, method="POST", path="/openai/batches*", times=2)
    envelope(keyed(one, file["id"], "key-2"), 400)
    until(lambda: keyed(two, file["id"], "key-2").status == 200, "the other node takes the key")
    assert sim.created("batches") == 2


def test_of_many_at_once_at_three_nodes_one_is_made_and_a_killed_one_waited_in_vain(node, sim, database):
    """200 identical creates, while a node is killed that waits for the first one. Strict: a database that a busy machine does not let
    answer in time costs another try, and no second batch."""
    nodes = [node(database.url, accounts=("eu",), idempotency_when_down="strict") for _ in range(3)]
    file = nodes[0].uploaded()
    sim.fault({"delay_ms": 1500}, method="POST", path="/openai/batches*", times=1)
    turn = itertools.count()

    def ask(gateway):
        def once():
            nonlocal gateway
            try:
                answer = keyed(gateway, file["id"])
            except (OSError, http.client.HTTPException):  # it was killed: the load balancer takes another one
                gateway = nodes[next(turn) % 2]
                return None
            return answer.status not in (409, 503) and answer

        return until(once, "it is answered", timeout=5 * PATIENCE)

    with concurrent.futures.ThreadPoolExecutor(max_workers=40) as pool:
        calls = [pool.submit(ask, nodes[0])]
        sim.wait("eu", "POST", "/openai/batches*", phase="received")  # the first node has it
        calls += [pool.submit(ask, nodes[1 + i % 2]) for i in range(199)]
        until(lambda: calls[-1].running() or sum(c.running() for c in calls) > 20, "they ask")
        kill(nodes[2])
        answers = [call.result() for call in calls]
    assert {a.status for a in answers} == {200} and len({a.json()["id"] for a in answers}) == 1
    assert sim.created("batches") == 1


@pytest.mark.long
def test_a_node_that_is_killed_with_its_create_leaves_one_batch_that_is_found(node, sim, database):
    """As above, but the node is killed that has sent the create. After a minute it is dead for the others, and one of them finds it."""
    nodes = [node(database.url, accounts=("eu",)) for _ in range(3)]
    file = nodes[0].uploaded()
    sim.fault({"delay_ms": 3000}, method="POST", path="/openai/batches*", times=1)
    with concurrent.futures.ThreadPoolExecutor(max_workers=40) as pool:
        lost = pool.submit(lambda: keyed(nodes[0], file["id"]))
        sim.wait("eu", "POST", "/openai/batches*", phase="received")

        def ask(gateway):
            return until(lambda: (lambda answer: answer.status not in (409, 503) and answer)(keyed(gateway, file["id"])), "it is answered",
                         timeout=5 * PATIENCE)

        calls = [pool.submit(ask, nodes[1 + i % 2]) for i in range(39)]
        kill(nodes[0])
        answers = [call.result() for call in calls]
        with pytest.raises((OSError, http.client.HTTPException)):
            lost.result()
    assert {a.status for a in answers} == {200} and len({a.json()["id"] for a in answers}) == 1
    assert sim.created("batches") == 1


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_a_key_is_remembered_by_the_database_when_the_gateway_is_gone(node, sim, tmp_path, request, engine):
    url = f"sqlite://{tmp_path}/keys.db" if engine == "sqlite" else request.getfixturevalue("database").url
    gateway = node(url)
    file = gateway.uploaded()
    first = keyed(gateway, file["id"])
    assert first.status == 200
    assert gateway.stop() == 0
    gateway = node(url)
    for account in ("eu", "us", "sw"):  # nobody need ask them
        sim.fault({"status": 500}, account=account, method="GET", path="/openai/batches*", times=1000)
    same(first, keyed(gateway, file["id"]))
    assert sim.created("batches") == 1


def test_a_node_that_is_ending_makes_no_batch_that_another_node_makes_again(node, sim, database):
    """A rolling restart: the create reaches the worker when its keeper has left, and is repeated at another node."""
    nodes = [node(database.url, accounts=("eu",)) for _ in range(2)]
    file = nodes[0].uploaded()
    keeper = keeper_of(nodes[0])
    body = json.dumps({"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}).encode()
    with socket.create_connection(("127.0.0.1", nodes[0].port), timeout=PATIENCE * 3) as client:
        client.sendall(b"POST /v1/batches HTTP/1.1\r\nHost: tranche\r\nContent-Type: application/json\r\nIdempotency-Key: key-1\r\n"
                       + f"Authorization: Bearer {MASTER_KEY}\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n".encode())
        assert b" 100 " in client.recv(1024)  # it has the request's head
        nodes[0].send(signal.SIGTERM)
        nodes[0].wait_line("worker 0.*draining")
        nodes[0].deaths_expected = True  # it has shut its door by now, or will; this way it is known to
        os.kill(keeper, signal.SIGKILL)
        until(lambda: not alive(keeper), "the keeper has left")
        client.sendall(body)
        answer = b""
        while piece := client.recv(65536):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 503 ") and b"idempotency_unavailable" in answer and b"retry-after" in answer.lower(), answer
    assert keyed(nodes[1], file["id"]).status == 200
    assert sim.created("batches") == 1


# --- limits ---


def test_two_nodes_never_take_more_than_a_key_or_a_team_may(node, start, sim, database):
    size = size_of(sim, start)
    keys = [entry(ANN, team_id="red", batch_enqueued_token_limit=2 * size), entry(AMY, team_id="red"), entry(BEN, max_open_batches=2)]
    teams = [{"team_id": "red", "models": ["*"], "batch_enqueued_token_limit": 3 * size}]
    nodes = [node(database.url, keys, teams) for _ in range(2)]
    files = {key: nodes[0].uploaded(DATA, key=key)["id"] for key in (ANN, AMY, BEN)}

    def ask(key, count):
        return [answer.status for answer in at_once(
            [lambda n=n: counted(nodes[n % 2], files[key], key, metadata={"n": str(n)}) for n in range(count)])]

    assert sorted(ask(ANN, 8)) == [200] * 2 + [429] * 6
    assert sorted(ask(AMY, 8)) == [200] + [429] * 7
    assert sorted(ask(BEN, 8)) == [200] * 2 + [429] * 6
    assert sim.created("batches") == 5
    for gateway in nodes:  # in LiteLLM's words, whichever node has them
        refused(counted(gateway, files[ANN], ANN), tokens_text("api_key: ann", size, 0, 2 * size), "tokens")
        refused(counted(gateway, files[AMY], AMY), tokens_text("team: red", size, 0, 3 * size), "tokens")


def test_two_nodes_never_enqueue_more_than_a_deployment_takes(node, start, sim, database):
    size = size_of(sim, start)
    quotas = [{"model_name": GROUP, "enqueued_tokens": 2 * size + size // 2}]
    nodes = [node(database.url, [entry(ANN)], accounts=("eu", "us"), quotas=quotas) for _ in range(2)]
    file = nodes[0].uploaded(DATA, key=ANN)["id"]
    answers = at_once([lambda n=n: counted(nodes[n % 2], file, ANN, metadata={"n": str(n)}) for n in range(10)])
    assert sorted(a.status for a in answers) == [200] * 4 + [429] * 6, answers
    assert all(len(sim.ledger(account)["batches"]) == 2 for account in ("eu", "us"))
    for answer in answers:
        if answer.status == 429:
            assert envelope(answer, 429)["code"] == "token_limit_exceeded" and int(answer.headers["retry-after"]) >= 1


@pytest.mark.long
def test_a_create_whose_answer_was_lost_counts_until_its_marker_tells(node, sim, database):
    """It is carried out, and nobody can see that: its key's room is kept. When the list can be read it is the batch that it is."""
    gateway = node(database.url, [entry(ANN, max_open_batches=1)], accounts=("eu",))
    file = gateway.uploaded(DATA, key=ANN)["id"]
    sim.fault({"close": "answer"}, method="POST", path="/openai/batches*", times=1)
    sim.fault({"status": 500}, account="eu", method="GET", path="/openai/batches*", times=100_000)
    envelope(create(gateway, file, ANN), 502, code="create_outcome_unknown")

    def states():
        return database.psql("select state from tranche.reservation").stdout.split()

    until(lambda: states() == ["3"], "it is in doubt")
    envelope(create(gateway, file, ANN), 429)
    sim.clear_faults()
    until(lambda: states() == ["1"], "it is live", timeout=PATIENCE * 10)
    (batch,) = sim.ledger("eu")["batches"]
    until(lambda: database.psql("select native from tranche.batch_part").stdout.split() == [batch["id"]], "it is in the registry")
    assert sim.created("batches") == 1


def test_creates_of_a_node_that_died_are_found_or_known_not_to_be(node, sim, database):
    """One was carried out, one was not, and nobody heard of either. Both count until another node has looked for their markers."""
    nodes = [node(database.url, [entry(ANN, max_open_batches=2)], accounts=("eu",)) for _ in range(2)]
    file = nodes[0].uploaded(DATA, key=ANN)["id"]

    def read(what):
        return database.psql(f"select {what}").stdout.split()

    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        sim.fault({"hang": "answer"}, method="POST", path="/openai/batches*", times=1)
        calls = [pool.submit(lambda: create(nodes[0], file, ANN))]
        until(lambda: len(sim.ledger("eu")["batches"]) == 1, "it is carried out")
        sim.fault({"hang": "head"}, method="POST", path="/openai/batches*", times=1)
        calls.append(pool.submit(lambda: create(nodes[0], file, ANN, metadata={"n": "2"})))
        sim.wait("eu", "POST", "/openai/batches*", count=2, phase="received")
        kill(nodes[0])
        for call in calls:
            with pytest.raises((OSError, http.client.HTTPException)):
                call.result()
    envelope(create(nodes[1], file, ANN), 429)
    # A quarter of an hour goes by, in which they were looked for once and no list could be read
    database.psql("update tranche.reservation set created = created - 900000, tries = 1")
    until(lambda: read("count(*) from tranche.reservation where state in (0, 3)") == ["0"], "another node has looked for them",
          timeout=PATIENCE * 4)  # one look that fails is followed by the next a minute later
    (batch,) = sim.ledger("eu")["batches"]
    assert read("native from tranche.reservation where native is not null") == [batch["id"]]
    until(lambda: read("native from tranche.batch_part") == [batch["id"]], "it is in the registry")
    until(lambda: create(nodes[1], file, ANN).status == 200, "this node has heard that one is free")
    assert sim.created("batches") == 2


# --- a worker dies ---

WAITS = """
begin; lock table tranche.reservation in share row exclusive mode; select 'held';
do $$ begin
  for i in 1 .. 3000 loop
    exit when exists(select 1 from pg_locks l join pg_stat_activity a using (pid) where not l.granted and a.query ~ 'insert into [^ ]*reservation');
    perform pg_sleep(0.01), pg_stat_clear_snapshot();
  end loop;
end $$;
select 'over';
"""


def granted_to_one_that_stands_still(database, worker, ask):
    """A create whose question is in the database when its worker stops, and which is granted then. @return whether it was: a database that
    a busy machine does not let answer in time grants nothing, and then the worker goes on"""

    def read(what):
        return database.psql(f"select count(*) from {what}").stdout.strip()

    before = read("tranche.reservation")
    with subprocess.Popen([f"{PROGRAMS[0]}/psql", "-X", "-q", "-At", database.url, "-f", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as psql:
        psql.stdin.write(WAITS)
        psql.stdin.flush()
        assert psql.stdout.readline() == "held\n"
        ask()
        assert psql.stdout.readline() == "over\n"
        os.kill(worker, signal.SIGSTOP)
        psql.stdin.write("rollback;\n")

    def is_there():
        return read("tranche.reservation") != before

    def is_quiet():
        return read("pg_stat_activity where backend_type = 'client backend' and state <> 'idle' and pid <> pg_backend_pid()") == "0"

    until(lambda: is_there() or is_quiet(), "the keeper has an answer")
    if not is_there():
        os.kill(worker, signal.SIGCONT)
    return is_there()


def test_a_worker_that_is_killed_between_a_grant_and_its_send_leaves_its_keys_room_free(node, sim, database):
    """Ten minutes of 429 it was, for a create that nobody had sent. What was sent by the same worker stays counted: it may run."""
    keys = [f"sk-0123456789abcdef-unsent-{n}" for n in range(5)]
    entries = [{"hash": "sha256:" + hashlib.sha256(key.encode()).hexdigest(), "key_alias": key[-8:], "models": ["*"], "max_open_batches": 1}
               for key in keys]
    gateway = node(database.url, [entry(ANN, max_open_batches=1), *entries], accounts=("eu",))
    files = {key: gateway.uploaded(DATA, key=key)["id"] for key in (ANN, *keys)}
    (worker,) = worker_pids(gateway, 1)
    gateway.deaths_expected = True
    sim.fault({"status": 500}, account="eu", method="GET", path="/openai/batches*", times=100_000)  # nobody finds out what was made
    with concurrent.futures.ThreadPoolExecutor(max_workers=8) as pool:
        sim.fault({"hang": "head"}, method="POST", path="/openai/batches*", times=1)
        calls = [pool.submit(lambda: create(gateway, files[ANN], ANN))]
        sim.wait("eu", "POST", "/openai/batches*", phase="received")
        key = next(key for key in keys if granted_to_one_that_stands_still(
            database, worker, lambda key=key: calls.append(pool.submit(lambda: create(gateway, files[key], key)))))
        os.kill(worker, signal.SIGKILL)
        for call in (calls[0], calls[-1]):
            with pytest.raises((OSError, http.client.HTTPException)):
                call.result()
    until(lambda: counted(gateway, files[key], key).status == 200, "its room is free")
    envelope(counted(gateway, files[ANN], ANN), 429)
    assert database.psql("select state from tranche.reservation order by created limit 1").stdout.strip() == "0"


# --- the database is away ---


def test_what_each_create_gets_while_the_database_is_away(node, sim, database):
    """The table of C28, with its three settings, and what the database hears when it is back."""
    keys = [entry(ANN, max_open_batches=50), entry(AMY), entry(BEN, max_open_batches=50)]
    plain = node(database.url, keys, timeouts=IMPATIENT)
    other = node(database.url, keys, limits_when_down="open", idempotency_when_down="strict", timeouts=IMPATIENT)
    files = {key: plain.uploaded(DATA, key=key)["id"] for key in (ANN, AMY, BEN, MASTER_KEY)}
    before = keyed(plain, files[AMY], "before", AMY)
    batch = create(plain, files[MASTER_KEY], MASTER_KEY).json()["id"]
    database.send(signal.SIGSTOP)

    # No limits: it goes through. Its key is this node's alone.
    assert create(plain, files[AMY], AMY).status == create(plain, files[MASTER_KEY], MASTER_KEY).status == 200
    first = keyed(plain, files[AMY], "local", AMY)
    assert first.status == 200 and first.headers["idempotency"] == "local", first
    again = keyed(plain, files[AMY], "local", AMY)
    assert again.body == first.body and again.headers["idempotent-replayed"] == "true"
    same(before, keyed(plain, files[AMY], "before", AMY))  # known answers come from memory
    uploaded = plain.upload(DATA, key=AMY, headers={"Idempotency-Key": "file"})
    assert uploaded.status == 200 and uploaded.headers["idempotency"] == "local"

    # Limits: as far as this node's share goes, of which a key that made nothing here has none.
    answer = create(plain, files[ANN], ANN)
    envelope(answer, 503, code="limits_unavailable")
    assert answer.headers["x-should-retry"] == "true" and int(answer.headers["retry-after"]) >= 1
    made = sim.created("batches")
    envelope(keyed(plain, files[BEN], "limited", BEN), 503, code="limits_unavailable")
    assert sim.created("batches") == made

    # The other settings.
    assert create(other, files[BEN], BEN).status == 200
    answer = keyed(other, files[AMY], "strict", AMY)
    envelope(answer, 503, code="idempotency_unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    assert sim.created("batches") == made + 1

    # What never needed it is as ever.
    assert plain.get(f"/v1/batches/{batch}").status == plain.get("/v1/batches").status == 200
    assert plain.get(f"/v1/files/{files[MASTER_KEY]}/content").status == 200
    assert plain.post(f"/v1/batches/{batch}/cancel").status == 200

    database.send(signal.SIGCONT)
    until(lambda: create(plain, files[ANN], ANN).status == 200, "limits are counted again")
    answer = keyed(plain, files[AMY], "after", AMY)
    assert answer.status == 200 and "idempotency" not in answer.headers
    # The other node hears of the key that was taken meanwhile
    until(lambda: database.psql("select count(*) from tranche.idempotency where state = 1").stdout.strip() == "4", "the local keys arrived")
    until(lambda: keyed(other, files[AMY], "local", AMY).status != 503, "the other node uses the database again, too")
    again = keyed(other, files[AMY], "local", AMY)
    assert again.body == first.body and again.headers["idempotent-replayed"] == "true"


def test_a_share_of_an_outage_is_good_for_as_long_as_the_operator_says(node, sim, database):
    gateways = [node(database.url, [entry(ANN, max_open_batches=9)], outage_window=window, timeouts=IMPATIENT) for window in (None, "2h")]
    file = gateways[0].uploaded(DATA, key=ANN)["id"]
    for gateway in gateways:
        assert counted(gateway, file, ANN).status == 200

    def minutes_left():
        """Of each gateway's share, by the database's clock."""
        return sorted(int(n) for n in database.psql("select (until / 1000 - extract(epoch from now())::bigint) / 60 from tranche.lease"
                                                    " where scope like 'k:%'").stdout.split())

    # Renewed each 20 s, by each gateway
    found = until(lambda: len(left := minutes_left()) == 2 and left, "both have a share")
    assert found[0] <= 10 < 60 < found[1] <= 120, found
    database.send(signal.SIGSTOP)
    until(lambda: create(gateways[1], file, ANN).status == 200, "it goes on within its share")


def test_a_database_that_is_gone_is_as_one_that_does_not_answer(node, sim, database):
    gateway = node(database.url, [entry(ANN, max_open_batches=50), entry(AMY)])
    files = {key: gateway.uploaded(DATA, key=key)["id"] for key in (ANN, AMY)}
    database.stop()
    try:
        assert create(gateway, files[AMY], AMY).status == 200
        assert keyed(gateway, files[AMY], key=AMY).headers["idempotency"] == "local"
        envelope(create(gateway, files[ANN], ANN), 503, code="limits_unavailable")
    finally:
        database.start()
    until(lambda: create(gateway, files[ANN], ANN).status == 200, "it is back")


def test_a_keeper_that_is_stopped_or_killed_costs_creates_no_more_than_its_deadline(node, sim, database):
    gateway = node(database.url, [entry(ANN, max_open_batches=50), entry(AMY)], timeouts=IMPATIENT)
    files = {key: gateway.uploaded(DATA, key=key)["id"] for key in (ANN, AMY)}
    keeper = keeper_of(gateway)
    os.kill(keeper, signal.SIGSTOP)
    assert create(gateway, files[AMY], AMY).status == 200
    envelope(create(gateway, files[ANN], ANN), 503, code="limits_unavailable")
    gateway.deaths_expected = True
    os.kill(keeper, signal.SIGKILL)
    until(lambda: create(gateway, files[ANN], ANN).status == 200, "the next keeper counts")


# --- without a database ---


def shape(requests):
    """What providers see of requests, but for what is drawn anew each time."""
    return [(r["method"], r["target"].split("?")[0].rsplit("/", 1)[0], sorted(h.lower() for h in dict(r["headers"]))) for r in requests]


def test_the_journal_changes_no_byte_for_clients_and_providers(start, sim, tmp_path):
    """The same steps without a database and with a journal: the same calls upstream, the same headers and members for the client."""
    seen = []
    for settings in ({}, {"database": f"sqlite://{tmp_path}/keys.db"}):
        sim.reset()
        gateway = start(balanced_config(sim, accounts=("eu",), tranche_settings={"seal_keys": [SEAL], **settings}), sim=sim, workers=1)
        file = gateway.uploaded(DATA)
        answers = [create(gateway, file["id"], MASTER_KEY), gateway.get("/v1/batches"), gateway.get(f"/v1/files/{file['id']}")]
        answers.append(gateway.get(f"/v1/batches/{answers[0].json()['id']}"))
        seen.append(([(a.status, sorted(h.lower() for h in a.headers), sorted(a.json())) for a in answers], shape(sim.requests())))
        assert gateway.stop() == 0
    assert seen[0] == seen[1]
