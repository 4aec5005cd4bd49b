"""What a person sees of the journal: GET /journal/batches, ?expand=events, /health and /metrics, and the commands `tranche batches` and
`tranche batch ID` (journal statements C33, C36, D5), over both engines."""

import json
import os
import pty
import socket
import subprocess

import pytest
from harness import GROUP, MASTER_KEY, PATIENCE, balanced_config, envelope, find_binary, lines, program_env, until
from prometheus_client.parser import text_string_to_metric_families

SEALS = ["sk-0123456789abcdef-seal"]


def start_with(start, sim, url, **settings):
    return start(balanced_config(sim, accounts=["eu"], tranche_settings={"database": url, "seal_keys": SEALS, **settings}), sim=sim)


def make_key(gateway, **fields):
    answer = gateway.post("/key/generate", json.dumps(fields).encode(), headers={"Content-Type": "application/json"})
    assert answer.status == 200, answer
    return answer.json()["key"]


def make_team(gateway, name):
    answer = gateway.post("/team/new", json.dumps({"team_id": name}).encode(), headers={"Content-Type": "application/json"})
    assert answer.status == 200, answer


def created_by(gateway, key):
    body = {"input_file_id": gateway.uploaded(key=key)["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    answer = gateway.post("/v1/batches", json.dumps(body).encode(), headers={"Content-Type": "application/json"}, key=key)
    assert answer.status == 200, answer
    return answer.json()["id"]


def tranche(*args, key=MASTER_KEY, port=None, env=None):
    """A command as a person runs it."""
    base = {"TRANCHE_BASE_URL": f"http://127.0.0.1:{port}/v1"} if port else {}
    return subprocess.run([find_binary("tranche"), *args], capture_output=True, text=True, timeout=PATIENCE * 4, check=False,
                          env=program_env({**base, **({"TRANCHE_API_KEY": key} if key else {}), **(env or {})}))


def journal(gateway, query="", key=MASTER_KEY):
    answer = gateway.get(f"/journal/batches{query}", key=key)
    assert answer.status == 200, answer
    return answer.json()


def ids_of(page):
    return [row["id"] for row in page["data"]]


def types_of(events):
    return [event["type"] for event in events]


def samples(gateway):
    families = text_string_to_metric_families(gateway.get("/metrics").body.decode())
    return {(s.name, s.labels.get("state")): s.value for family in families for s in family.samples}


def on_a_terminal(args, port, env=None):
    """What a command prints where its standard output is a terminal."""
    ours, theirs = pty.openpty()
    done = subprocess.Popen([find_binary("tranche"), *args], stdout=theirs, stderr=subprocess.DEVNULL,
                            env=program_env({"TRANCHE_BASE_URL": f"http://127.0.0.1:{port}", "TRANCHE_API_KEY": MASTER_KEY, "TERM": "xterm", **(env or {})}))
    os.close(theirs)
    text = b""
    try:
        while piece := os.read(ours, 65536):
            text += piece
    except OSError:  # the other end was closed
        pass
    os.close(ours)
    assert done.wait(PATIENCE * 4) == 0
    return text.decode()


def test_batches_are_listed_and_told_of_by_who_made_them(start, sim, url):
    gateway = start_with(start, sim, url)
    make_team(gateway, "research")
    alice, bob = make_key(gateway, team_id="research", key_alias="alice"), make_key(gateway, key_alias="bob")
    first, second = created_by(gateway, alice), created_by(gateway, bob)
    third = gateway.created(gateway.uploaded()["id"])["id"]
    until(lambda: sorted(ids_of(journal(gateway))) == sorted([first, second, third]), "all three are known")
    order = ids_of(journal(gateway))  # of those of one second any

    # Who sees what
    row = journal(gateway)["data"][order.index(first)]
    assert (row["owner"], row["key_alias"], row["model"]) == ("team:research", "alice", GROUP), row
    assert row["deployment"] and row["request_counts"]["failed"] == 0, row
    assert ids_of(journal(gateway, key=alice)) == [first] and "deployment" not in journal(gateway, key=alice)["data"][0]
    envelope(gateway.get(f"/journal/batches/{second}", key=alice), 404)
    assert gateway.get(f"/journal/batches/{first}", key=alice).json()["id"] == first
    assert gateway.get("/journal/batches", key=None).status == 401
    assert gateway.get("/journal/batches?limit=0").status == 422

    # Pages and filters
    page = journal(gateway, "?limit=2")
    assert ids_of(page) == order[:2] and page["has_more"]
    page = journal(gateway, f"?limit=2&after={page['last_id']}")
    assert ids_of(page) == order[2:] and not page["has_more"]
    assert ids_of(journal(gateway, "?team_id=research")) == [first]

    # A poll is what it was, and one that asks for it has the story
    plain = gateway.get(f"/v1/batches/{first}", key=alice)
    assert "events" not in plain.json() and "x-tranche-partial" not in plain.headers
    told = gateway.get(f"/v1/batches/{first}?expand=events", key=alice).json()
    assert types_of(told.pop("events"))[0] == "created"
    assert told.keys() == plain.json().keys()
    assert "node" in gateway.get(f"/v1/batches/{first}?expand=events").json()["events"][0]

    # The same for people
    done = tranche("batches", port=gateway.port)
    assert done.returncode == 0 and "\033" not in done.stdout, done
    head, *rows = done.stdout.splitlines()
    assert head.split() == ["ID", "OWNER", "STATE", "WHERE", "PROGRESS", "EXPECTED", "END"]
    assert [r.split()[0] for r in rows] == order and "team:research" in rows[order.index(first)], done.stdout
    assert "\033[" in on_a_terminal(["batches"], gateway.port)
    assert "\033[" not in on_a_terminal(["batches"], gateway.port, {"NO_COLOR": "1"})
    done = tranche("batches", "--limit", "1", port=gateway.port)
    assert f"--after {order[0]}" in done.stderr and len(done.stdout.splitlines()) == 2, done
    assert ids_of(json.loads(tranche("batches", "--json", "--team", "research", port=gateway.port).stdout)) == [first]
    done = tranche("batch", first, key=alice, port=gateway.port)
    assert done.returncode == 0 and "created" in done.stdout and "alice" in done.stdout, done
    done = tranche("batch", second, key=alice, port=gateway.port)
    assert done.returncode == 1 and "No batch found" in done.stderr, done
    done = tranche("batches", key="sk-wrong-0123456789abcdef", port=gateway.port)
    assert done.returncode == 1 and "TRANCHE_API_KEY" in done.stderr and "sk-wrong" not in done.stderr, done


def test_a_batch_that_has_ended_is_shown_so(start, sim, url):
    gateway = start_with(start, sim, url)
    batch = gateway.created(gateway.uploaded(lines(count=4))["id"])["id"]
    until(lambda: ids_of(journal(gateway)) == [batch], "it is known")
    gateway.wait_batch(sim, batch)
    until(lambda: journal(gateway)["data"][0]["status"] == "completed", "the journal knows its end")
    row = journal(gateway)["data"][0]
    assert row["finished_at"] and row["expected_at"] is None and row["request_counts"]["completed"] == 4, row
    until(lambda: "ended" in types_of(gateway.get(f"/journal/batches/{batch}").json()["events"]), "the story tells")
    done = tranche("batches", "--status", "completed", port=gateway.port)
    assert "4/4 100%" in done.stdout and "ended 20" in done.stdout, done
    assert tranche("batches", "--open", port=gateway.port).stdout.count("\n") == 1


def test_health_and_metrics_tell_of_the_database_and_the_fleet(start, sim, url):
    gateway = start_with(start, sim, url)
    batch = gateway.created(gateway.uploaded()["id"])["id"]
    until(lambda: ids_of(journal(gateway)) == [batch], "it is known")
    until(lambda: gateway.get("/health").json()["database"].get("batches", {}).get("open") == 1, "one is open", timeout=PATIENCE * 2)
    health = gateway.get("/health").json()["database"]
    assert health["up"] and health["journal"] and health["lag_s"] < PATIENCE, health
    assert health["nodes_live"] == 1 and [node["live"] for node in health["nodes"]] == [True], health
    assert gateway.get("/health/readiness").json()["db"] == "connected"
    page = samples(gateway)
    assert page["tranche_database_up", None] == 1 and page["tranche_database_nodes", "live"] == 1
    assert page["tranche_journal_batches", "open"] == 1
    assert page["tranche_database_reserve_seconds_count", None] >= 1
    for name in ("lag_seconds", "keys_generation", "spool_bytes", "claims_expired_total", "outage_grants_total", "allowance_drift_tokens"):
        assert (f"tranche_database_{name}", None) in page


def test_a_poll_does_not_wait_for_a_database_that_is_down(start, sim, own_cluster):
    gateway = start_with(start, sim, own_cluster.url)
    batch = gateway.created(gateway.uploaded()["id"])["id"]
    until(lambda: ids_of(journal(gateway)) == [batch], "it is known")
    own_cluster.stop()
    plain = gateway.get(f"/v1/batches/{batch}")
    assert plain.status == 200 and "x-tranche-partial" not in plain.headers
    answer = gateway.get(f"/v1/batches/{batch}?expand=events")
    assert answer.status == 200 and answer.json()["events"] is None and answer.json()["id"] == batch, answer
    assert "tranche_settings.database" in answer.headers["x-tranche-partial"]
    assert "tranche_settings.database" in envelope(gateway.get(f"/v1/batches/{batch}?expand=events&strict=true"), 503)["message"]
    until(lambda: not gateway.get("/health").json()["database"]["up"], "it is seen to be down")
    assert "problem" in gateway.get("/health").json()["database"]
    done = tranche("batches", port=gateway.port)
    assert done.returncode == 3 and "Try again later" in done.stderr, done


def test_without_a_database_nothing_is_told(start, sim):
    gateway = start(balanced_config(sim, accounts=["eu"], tranche_settings={"database": "none"}), sim=sim)
    batch = gateway.created(gateway.uploaded()["id"])["id"]
    assert envelope(gateway.get("/journal/batches"), 404)["code"] == "no_journal"
    assert "database" not in gateway.get("/health").json() and gateway.get("/health/readiness").json()["db"] == "Not connected"
    assert b"tranche_database" not in gateway.get("/metrics").body
    assert "no journal is kept" in gateway.get(f"/v1/batches/{batch}?expand=events").headers["x-tranche-partial"]
    done = tranche("batches", port=gateway.port)
    assert done.returncode == 1 and "tranche_settings.database" in done.stderr, done


def test_a_command_says_what_to_do_when_it_reaches_nobody():
    with socket.socket() as held:  # and nobody listens there
        held.bind(("127.0.0.1", 0))
        done = tranche("batches", port=held.getsockname()[1])
    assert done.returncode == 3 and "--base-url" in done.stderr, done
    for url in ("ftp://host", "https://api.openai.com/v1", "https://API.openai.com./v1", "https://x.openai.azure.com", "https://x.openai.azure.us",
                "https://x.openai.azure.cn/", "http://user@host", "nonsense"):
        done = tranche("batches", "--base-url", url)
        assert done.returncode == 2 and "TRANCHE_BASE_URL" in done.stderr, done
    for args in (["batches", "--limit", "0"], ["batches", "--since", "yesterday"], ["batches", "more"], ["batch"], ["batch", "a", "b"], ["batches", "--statu", "x"]):
        done = tranche(*args)
        assert done.returncode == 2 and done.stderr.startswith("tranche: "), done
    for command in ("batches", "batch"):
        done = tranche(command, "--help")
        assert done.returncode == 0 and "Example:" in done.stdout and "Exit:" in done.stdout, done


def test_a_command_sends_its_key_to_its_gateway_alone():
    key = "sk-person-0123456789abcdef"
    with socket.create_server(("127.0.0.1", 0)) as gateway, socket.create_server(("127.0.0.1", 0)) as elsewhere:
        elsewhere.settimeout(0)
        address = f"http://127.0.0.1:{gateway.getsockname()[1]}"
        for given, head, body in (([key], "200 OK", b'{"object":"list","data":[],"has_more":false}'),
                                  (["os.environ/A_KEY"], f"302 Found\r\nLocation: http://127.0.0.1:{elsewhere.getsockname()[1]}/", b"")):
            process = subprocess.Popen([find_binary("tranche"), "batches", "--base-url", address, "--key", *given], stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE, env=program_env({"A_KEY": key}))
            sock, _ = gateway.accept()
            with sock:
                asked = b""
                while b"\r\n\r\n" not in asked:
                    asked += sock.recv(65536)
                assert f"Bearer {key}\r\n".encode() in asked, asked
                with open(f"/proc/{process.pid}/cmdline", "rb") as line:
                    assert key.encode() not in line.read()  # it was wiped before anybody could be asked
                sock.sendall(f"HTTP/1.1 {head}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            out, err = process.communicate(timeout=PATIENCE * 4)
            assert process.returncode == (0 if body else 1) and key.encode() not in out + err, (out, err)
        with pytest.raises(BlockingIOError):
            elsewhere.accept()
        # A provider's own key is for whom OPENAI_BASE_URL names, and no other.
        for wanted, options, env in ((True, [], {"OPENAI_BASE_URL": address + "/v1"}), (False, ["--base-url", address], {}),
                                     (False, [], {"TRANCHE_BASE_URL": address, "OPENAI_BASE_URL": address})):
            process = subprocess.Popen([find_binary("tranche"), "batches", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                       env=program_env({"OPENAI_API_KEY": key, **env}))
            sock, _ = gateway.accept()
            with sock:
                asked = b""
                while b"\r\n\r\n" not in asked:
                    asked += sock.recv(65536)
                assert (key.encode() in asked) == wanted, asked
                sock.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
            process.communicate(timeout=PATIENCE * 4)
