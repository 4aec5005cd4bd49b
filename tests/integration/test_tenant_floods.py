"""One tenant fills each budget of a worker (server README 6), with as many connections as it likes, while another one polls,
uploads and creates: the other one is served each time."""

import contextlib
import itertools
import json
import os
import re
import select
import signal

import pytest
from harness import MASTER_KEY, azure_deployment, balanced_config, lines, until
from test_budgets import Worker
from test_tenant_limits import ANN, BEN, MIB, entry, form, spooled
from wire import H1, H2, Broken, waiting_at

ANNS, BENS = "anns-batch", "bens-batch"  # each has an account of its own, so that ann's can be made to hang


@pytest.fixture
def world(start, sim):
    """world(limits) -> a gateway of one worker"""
    def make(tranche=None, **limits):
        config = balanced_config(sim, tranche_settings={"keys": [entry(ANN), entry(BEN)], "limits": limits, **(tranche or {})})
        config["model_list"] = [azure_deployment(sim, "eu", group=ANNS), azure_deployment(sim, "us", group=BENS)]
        return start(config, sim=sim, workers=1)

    return make


def created(gateway, key, group):
    file = gateway.uploaded(lines(model=group), key=key)
    batch = gateway.request("POST", "/v1/batches", {"input_file_id": file["id"], "endpoint": "/v1/chat/completions",
                                                    "completion_window": "24h"}, key=key)
    assert batch.status == 200, batch
    return file["id"], batch.json()["id"]


def uploaded(gateway, count):
    """So many files of ann's."""
    return [gateway.uploaded(lines(model=ANNS), key=ANN)["id"] for _ in range(count)]


def native(tagged):
    return re.sub(r"-t[a-z2-7]{32}$", "", tagged)


def works(gateway, rounds=3):
    """Ben uploads, creates, polls, lists and reads."""
    for _ in range(rounds):
        file, batch = created(gateway, BEN, BENS)
        for target in (f"/v1/batches/{batch}", f"/v1/files/{file}", f"/v1/files/{file}/content"):
            answer = gateway.get(target, key=BEN)
            assert answer.status == 200, answer


@contextlib.contextmanager
def crowd():
    """A list of clients that are closed at the end."""
    clients = []
    yield clients
    for client in clients:
        client.close()


def statuses(clients):
    """Of those that are answered by now."""
    found = []
    for client in clients:
        with contextlib.suppress(Broken, OSError):
            if select.select([client.sock], [], [], 0)[0]:
                found.append(client.answer().status)
    return found


def held_up(sim, path, method="GET", action=None):
    sim.fault(action or {"hang": "answer"}, account="eu", method=method, path=path, times=1000)


def test_one_tenant_polls_on_hundreds_of_connections(world, sim):
    gateway = world(max_upstream_calls=40)
    files = uploaded(gateway, 80)
    held_up(sim, "*/files/file-*")
    with crowd() as clients:
        for file in files:  # each its own: who asks for the same shares a call
            clients.append(H1(gateway.port).request("GET", f"/v1/files/{file}", key=ANN))
        sim.wait("eu", "GET", "*/files/file-*", count=30, phase="received")
        works(gateway)
        until(lambda: 503 in statuses(clients), "those without a place are refused")
        works(gateway)


def test_one_tenant_creates_and_leaves_again_and_again(world, sim):
    gateway = world(max_upstream_calls=20)
    file, _ = created(gateway, ANN, ANNS)
    held_up(sim, "*/batches", "POST", {"hang": "answer", "ms": 8000})  # the gateway waits for them when it ends
    body = b'{"input_file_id":"%s","endpoint":"/v1/chat/completions","completion_window":"24h"}' % file.encode()
    before = len(sim.requests("eu"))
    for n in range(40):
        client = H1(gateway.port).request("POST", "/v1/batches", {"Content-Type": "application/json"}, len(body), key=ANN)
        client.send(body)
        until(lambda: statuses([client]) == [503] or len(sim.requests("eu")) > before or n >= 14, "it was sent, or refused")
        client.close()  # what it asked for goes on
        before = len(sim.requests("eu"))
    works(gateway)
    sim.clear_faults()
    sim.control("POST", "/control/reset")


def test_one_tenant_takes_all_downloads(world, sim):
    gateway = world(max_downloads=8)
    file, _ = created(gateway, ANN, ANNS)
    held_up(sim, f"*/files/{native(file)}/content", action={"hang": "body"})
    with crowd() as clients:
        for _ in range(40):
            clients.append(H1(gateway.port).request("GET", f"/v1/files/{file}/content", key=ANN))
        sim.wait("eu", "GET", f"*/files/{native(file)}/content", count=6, phase="received")
        works(gateway)
        until(lambda: 503 in statuses(clients[6:]), "those without a place are refused")
        works(gateway)


def test_one_tenants_json_bodies_stop_short(world):
    gateway = world(json_memory_bytes="1MiB", max_json_bytes="128KiB")
    part = b'{"input_file_id":"' + b"a" * 15_000
    with crowd() as clients:
        for _ in range(100):
            client = H1(gateway.port).request("POST", "/v1/batches", {"Content-Type": "application/json"}, len(part) + 10, key=ANN)
            client.send(part)
            clients.append(client)
        until(lambda: 503 in statuses(clients[60:]), "the budget is full")
        works(gateway)


def test_one_tenants_uploads_stop_in_the_midst_of_lines(world):
    gateway = world(max_line_bytes="1MiB", upload_memory_bytes="4MiB")
    body, content_type = form(1000)
    part = body[:body.index(b'{"custom_id"')] + b'{"custom_id":"'
    with crowd() as clients:
        for size in [150_000] * 40 + [20_000] * 20 + [100] * 20:  # the last ones fit where the others do not
            client = H1(gateway.port).request("POST", "/v1/files", {"Content-Type": content_type}, 2 * MIB, key=ANN)
            with contextlib.suppress(OSError):
                client.send(part + b" " * size)
            clients.append(client)
        until(lambda: 503 in statuses(clients[20:]), "the budget is full")
        works(gateway)


def test_one_tenant_opens_all_connections(world):
    gateway = world(max_connections=40)
    with crowd() as clients:
        answers = []
        for _ in range(40):
            client = H1(gateway.port).request("GET", "/v1/models", key=ANN)
            answers.append(client.answer().status)
            clients.append(client)
        assert answers[:30] == [200] * 30
        assert set(answers[31:]) == {503}
        works(gateway)
        assert gateway.get("/v1/models", key=MASTER_KEY).status == 200


def test_one_tenants_uploads_fill_the_spool(world):
    gateway = world({"spool_limit": "2MiB"})
    body, content_type = form(400_000)
    with crowd() as clients:
        for _ in range(8):
            client = H1(gateway.port).request("POST", "/v1/files", {"Content-Type": content_type}, len(body), key=ANN)
            with contextlib.suppress(OSError):
                client.send(body[:-10])
            clients.append(client)
        until(lambda: 507 in statuses(clients[3:]), "its share of the spool is full")
        assert spooled(gateway) > 0
        works(gateway)
        assert gateway.upload(lines(model=BENS, count=800), key=BEN).status == 200


def all_at_once(gateway, worker, order):
    """One request of each of `order`, all there when the worker looks. @return who was served, in order"""
    with crowd() as clients:
        for key in order:
            client = H1(gateway.port).request("GET", "/v1/models", key=key)
            assert client.answer().status == 200
            clients.append(client)
        with worker.asleep():
            begun = len(gateway.lines)
            for client, key in zip(clients, order):
                client.request("GET", "/v1/models", key=key)
        assert [client.answer().status for client in clients] == [200] * len(order)
        until(lambda: len(served(gateway, begun)) >= len(order), "all lines of the access log")
    return served(gateway, begun)


def test_what_one_tenant_asks_at_once_begins_after_another_ones_first_request(world):
    """All requests are there when the worker looks: ben's one amidst ann's hundred is served among the first.

    Where other programs take the processor between two heads, a turn of the loop is over after each of them, and ann's next
    one begins with it; so he has as many rounds as it takes. Without turns he is the fifty-first in each of them."""
    gateway = world()
    worker = Worker(gateway)
    order = [ANN] * 50 + [BEN] + [ANN] * 50  # from whichever end the worker begins
    until(lambda: all_at_once(gateway, worker, order).index("ben") < 20, "ben is among the first")


@contextlib.contextmanager
def stopped(sim):
    """What is sent to it meanwhile waits in the kernel."""
    os.kill(sim.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(sim.pid, signal.SIGCONT)


def answers_at_once(gateway, sim, worker, files, batch, rounds):
    """Sixty answers to ann and then ben's are there when the worker looks. @return his place among those that are passed on"""
    begun = len(gateway.lines)
    pid = int(worker.proc.name)
    sim.fault({"hang": "answer", "ms": 200}, account="us", path=f"*/batches/{native(batch)}")  # the last one of all
    with crowd() as clients:
        with stopped(sim):
            for target, key in [(f"/v1/files/{file}", ANN) for file in files] + [(f"/v1/batches/{batch}", BEN)]:
                clients.append(H1(gateway.port).request("GET", target, key=key))
            until(lambda: sum(waiting_at(sim.ports[name], pid) for name in ("eu", "us")) >= 61, "all requests were sent")
            os.kill(pid, signal.SIGSTOP)
        try:
            sim.wait("eu", "GET", "*/files/file-*", count=60 * rounds)
            sim.wait("us", "GET", f"*/batches/{native(batch)}", count=rounds)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert [client.answer().status for client in clients] == [200] * 61
        until(lambda: len(served(gateway, begun, "files.get", "batches.get")) >= 61, "all lines of the access log")
    return served(gateway, begun, "files.get", "batches.get").index("ben")


def test_one_tenants_answers_wait_for_few_of_another_ones(world, sim):
    """All answers of the provider are there when the worker looks: ben's one amidst ann's sixty is passed on among the first.

    Where other programs take the processor a turn may be over after each of hers, so he has as many rounds as it takes; without
    turns he is the last one in each of them."""
    gateway = world()
    worker = Worker(gateway)
    files, batch = uploaded(gateway, 60), created(gateway, BEN, BENS)[1]
    rounds = itertools.count(1)
    # Lines of one turn are written in any order.
    until(lambda: answers_at_once(gateway, sim, worker, files, batch, next(rounds)) < 30, "ben is among the first")


def test_no_more_than_so_many_requests_of_one_tenant_wait_for_their_turn(world):
    gateway = world()
    worker = Worker(gateway)
    with contextlib.ExitStack() as stack:
        conns = [stack.enter_context(H2(gateway.port)) for _ in range(12)]
        for conn in conns:
            conn.answer(conn.request("GET", "/v1/models", key=ANN))
        with worker.asleep():
            asked = [(conn, conn.request("GET", "/v1/models", key=ANN)) for _ in range(95) for conn in conns]
        answers = [conn.answer(stream) for conn, stream in asked]
        refused = [answer for answer in answers if answer.status != 200]
        assert 0 < len(refused) < 600
        for answer in refused:
            assert (answer.status, answer.json()["error"]["code"]) == (503, "too_many_requests_waiting"), answer
            assert answer.headers["retry-after"] == "1"
        works(gateway)


def served(gateway, begun, *routes):
    """Whose requests were answered, in order."""
    served = [json.loads(line) for line in gateway.lines[begun:] if line.startswith("{")]
    return [line["key"] for line in served if line["route"] in (routes or ("models.list",))]


def test_a_proxys_connection_counts_for_no_tenant(world):
    gateway = world(max_connections=12)
    client = H1(gateway.port)
    for _ in range(20):
        for key in (ANN, BEN):
            assert client.request("GET", "/v1/models", key=key).answer().status == 200
    with crowd() as clients:
        clients.append(client)
        for key in (ANN, BEN):
            clients.append(H1(gateway.port).request("GET", "/v1/models", key=key))
            assert clients[-1].answer().status == 200
