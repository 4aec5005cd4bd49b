"""The marker in a batch's metadata: by it a create whose answer was lost is found again."""

import concurrent.futures
import contextlib
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import threading

import pytest
from harness import MASTER_KEY, envelope, until, worker_pids

LOST = {"closed": {"close": "answer"}, "reset": {"reset": "answer"}, "truncated_body": {"truncate": 30}, "not_json": {"not_json": True}}


@pytest.mark.parametrize("fault", LOST.values(), ids=LOST.keys())
def test_a_create_whose_answer_is_lost_is_answered_with_the_batch_that_was_made(gateway, sim, fault):
    file = gateway.uploaded()
    sim.fault(fault, method="POST", path="/openai/batches*", times=1)
    answer = gateway.create(file["id"], metadata={"team": "search"})
    assert answer.status == 200, answer
    batch = answer.json()
    assert batch["metadata"] == {"team": "search"} and batch["input_file_id"] == file["id"]
    assert batch["endpoint"] == "/v1/chat/completions"
    assert sim.created("batches") == 1
    assert gateway.get("/v1/batches/" + batch["id"]).json()["id"] == batch["id"]


def test_the_marker_is_upstream_and_in_no_answer(gateway, sim):
    file = gateway.uploaded()
    batch = gateway.created(file["id"], metadata={"team": "search"})
    (stored,) = [b for a in ("eu", "us", "sw") for b in sim.ledger(a)["batches"]]
    assert stored["metadata"]["team"] == "search" and len(stored["metadata"]["tranche"]) <= 512
    assert batch["metadata"] == {"team": "search"}
    assert gateway.get("/v1/batches/" + batch["id"]).json()["metadata"] == {"team": "search"}
    assert gateway.get("/v1/batches").json()["data"][0]["metadata"] == {"team": "search"}


def test_another_clients_identical_create_is_not_taken_for_ours(gateway, sim):
    file = gateway.uploaded()
    first = gateway.created(file["id"])
    sim.fault({"close": "head"}, method="POST", path="/openai/batches*", times=1)  # ends before it is executed
    answer = gateway.create(file["id"])
    if answer.status == 200:
        assert answer.json()["id"] != first["id"] and sim.created("batches") == 2
    else:
        envelope(answer, 502)
        assert answer.headers["x-should-retry"] == "false" and sim.created("batches") == 1


def test_the_tokens_of_a_create_that_nobody_can_tell_of_stay_counted(gateway, sim):
    """The batch may well run there, and then its tokens are enqueued."""
    def enqueued():
        got = gateway.post("/v1/batches/placement", {"input_file_id": file["id"]}).json()
        return sum(c["enqueued_tokens"] for c in got["candidates"]), got["tokens"]

    file = gateway.uploaded()
    sim.fault({"close": "head"}, method="POST", path="/openai/batches*", times=1)
    envelope(gateway.create(file["id"]), 502, code="create_outcome_unknown")
    counted, tokens = enqueued()
    assert counted == tokens > 0


def test_sixteen_pairs_of_the_client_leave_no_room_and_the_answer_says_so(gateway, sim):
    pairs = {f"key{n}": str(n) for n in range(16)}
    file = gateway.uploaded()
    answer = gateway.create(file["id"], metadata=pairs)
    assert answer.status == 200 and answer.headers["x-tranche-unmarked"] == "metadata-full"
    assert answer.json()["metadata"] == pairs
    sim.fault({"close": "answer"}, method="POST", path="/openai/batches*", times=1)
    answer = gateway.create(file["id"], metadata=pairs)
    envelope(answer, 502, code="create_outcome_unknown")
    assert answer.headers["x-should-retry"] == "false"
    assert sim.created("batches") == 2


def test_the_gateways_own_metadata_key_is_refused(gateway, sim):
    file = gateway.uploaded()
    envelope(gateway.create(file["id"], metadata={"tranche": "1.x"}), 400, param="metadata.tranche")
    assert sim.created("batches") == 0


class SlowDoor:
    """An OpenAI-like server that lets nobody in before open(): connections to it stay half made."""

    def __init__(self):
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(0)
        self.port = self.listener.getsockname()[1]
        self.first = socket.create_connection(("127.0.0.1", self.port))  # fills the queue
        self.creates = []
        self.listed = b'{"object":"list","data":[],"has_more":false}'

    def is_waited_for_by(self, pid):
        """Whether that process has a connection to us in SYN_SENT."""
        inodes = set()
        for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                inodes.add(os.readlink(fd).removeprefix("socket:[").removesuffix("]"))
        rows = [row.split() for row in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return any(r[2].endswith(f":{self.port:04X}") and r[3] == "02" and r[9] in inodes for r in rows)

    def open(self):
        threading.Thread(target=self.accept, daemon=True).start()
        self.first.close()

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.converse, args=(sock,), daemon=True).start()

    def converse(self, sock):
        with sock, contextlib.suppress(OSError):
            data = b""
            while (end := data.find(b"\r\n\r\n")) < 0 or len(data) < end + 4 + self.length(data):
                more = sock.recv(65536)
                if not more:
                    return
                data += more
            body = self.listed
            if data.startswith(b"POST"):
                self.creates.append(json.loads(data[end + 4:]))
                body = json.dumps({"id": "batch_1", "object": "batch", "status": "validating",
                                   **self.creates[-1]}).encode()
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"
                         % (len(body), body))

    @staticmethod
    def length(data):
        found = re.search(rb"(?i)content-length: (\d+)", data)
        return int(found.group(1)) if found else 0


def test_a_create_whose_worker_is_killed_while_it_connects_is_made_when_it_is_repeated(start):
    door = SlowDoor()
    gateway = start(None, env={"OPENAI_API_KEY": "sk-door", "OPENAI_API_BASE": f"http://127.0.0.1:{door.port}/v1",
                               "LITELLM_MASTER_KEY": MASTER_KEY}, workers=1)
    gateway.deaths_expected = True
    (worker,) = worker_pids(gateway, 1)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        first = pool.submit(gateway.create, "file-1")
        until(lambda: door.is_waited_for_by(worker), "the create waits for its connection")
        os.kill(worker, signal.SIGKILL)
        assert isinstance(first.exception(60), (OSError, http.client.HTTPException))
    until(lambda: [p for p in worker_pids(gateway) if p != worker], "another worker")
    door.open()
    answer = gateway.create("file-1", headers={"x-stainless-retry-count": "1"})
    assert answer.status == 200 and answer.json()["id"] == "batch_1", answer
    assert len(door.creates) == 1
