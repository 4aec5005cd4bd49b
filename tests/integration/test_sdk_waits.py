"""The wait loop of each official SDK, and of LiteLLM's, over a batch that failed late and ran elsewhere, and over the one that is made of
its lines without an answer. Each client is a program that says what it made and what it saw at the end, and knows nothing of either."""

import json
import pathlib
import subprocess
import sys

import pytest
from harness import MASTER_KEY, PATIENCE, ROOT, program_env, until
from test_journal_people import types_of
from test_late_moves import LINES, RANKS, config, events, refused, two, wait_moved  # noqa: F401 (a fixture)

LITELLM = ROOT / ".venv" / "litellm"

# What both Python clients share: `create`, `retrieve`, `content`, `results` and `retry` are theirs.
WAIT = """
import time

def say(what, value):
    print(json.dumps({what: value}), flush=True)

def ended(id):
    statuses = []
    while True:
        batch = retrieve(id)
        if statuses[-1:] != [batch.status]:
            statuses.append(batch.status)
        if batch.status not in ("validating", "in_progress", "finalizing", "cancelling"):
            break
        time.sleep(0.05)
    output = content(batch.output_file_id).decode() if batch.output_file_id else ""
    say("ended", {"batch": batch.model_dump(), "statuses": statuses, "output": output, "results": results(id).decode()})
    sys.stdin.readline()

batch = create(path)
say("made", batch.model_dump())
ended(batch.id)
again = retry(batch.id)
say("made", again)
ended(again["id"])
"""

PYTHON = """
import json, sys
import openai
url, key, path = sys.argv[1:]
client = openai.OpenAI(base_url=url + "/v1", api_key=key)

def create(path):
    with open(path, "rb") as data:
        file = client.files.create(file=data, purpose="batch")
    return client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")

retrieve = client.batches.retrieve
content = lambda id: client.files.content(id).read()
results = lambda id: client.get(f"/batches/{id}/results", cast_to=openai.HttpxBinaryResponseContent).read()
retry = lambda id: client.post(f"/batches/{id}/retry", cast_to=openai.types.Batch).model_dump()
"""

# It has no function for what OpenAI has none for: whoever uses it asks by HTTP.
OF_LITELLM = """
import json, sys
import httpx, litellm
url, key, path = sys.argv[1:]
ask = dict(custom_llm_provider="openai", api_base=url + "/v1", api_key=key)

def create(path):
    with open(path, "rb") as data:
        file = litellm.create_file(file=("requests.jsonl", data), purpose="batch", **ask)
    return litellm.create_batch(completion_window="24h", endpoint="/v1/chat/completions", input_file_id=file.id, **ask)

def http(method, id, what):
    answer = httpx.request(method, f"{url}/v1/batches/{id}/{what}", headers={"Authorization": f"Bearer {key}"}, timeout=300)
    assert answer.status_code == 200, answer.text
    return answer

retrieve = lambda id: litellm.retrieve_batch(batch_id=id, **ask)
content = lambda id: litellm.file_content(file_id=id, **ask).content
results = lambda id: http("GET", id, "results").content
retry = lambda id: http("POST", id, "retry").json()
"""

CLIENTS = {"Python": [sys.executable, "-c", PYTHON + WAIT], "Node": ["node", "wait.mjs"], "LiteLLM": [sys.executable, "-c", OF_LITELLM + WAIT]}


class Client:
    """The program, and what it said so far."""

    def __init__(self, name, gateway, tmp_path):
        path, self.said = tmp_path / "requests.jsonl", tmp_path / "said"
        path.write_bytes(LINES)
        more = {"PYTHONPATH": str(LITELLM), "LITELLM_LOCAL_MODEL_COST_MAP": "True"} if name == "LiteLLM" else {}
        with open(self.said, "wb") as out, open(tmp_path / "problems", "wb") as problems:
            self.popen = subprocess.Popen([*CLIENTS[name], gateway.url, MASTER_KEY, str(path)], stdin=subprocess.PIPE, stdout=out, stderr=problems,
                                          env=program_env(more), cwd=pathlib.Path(__file__).parent / "node")
        self.problems, self.count = tmp_path / "problems", 0

    def next(self, what, meanwhile=lambda: None):
        """The next thing that it says. @param meanwhile  what happens in the world until then"""
        def look():
            said = self.said.read_bytes().split(b"\n")[:-1]
            if len(said) > self.count:
                return json.loads(said[self.count])
            assert self.popen.poll() is None, self.problems.read_text()[-3000:]
            return meanwhile()

        found = until(look, f"it says what it {what}", timeout=PATIENCE * 8)
        self.count += 1
        return found[what]

    def go_on(self):
        self.popen.stdin.write(b"\n")
        self.popen.stdin.flush()

    def end(self):
        self.popen.kill()
        self.popen.wait()
        self.popen.stdin.close()


@pytest.fixture
def client(tmp_path):
    made = []

    def make(name, gateway):
        made.append(Client(name, gateway, tmp_path))
        return made[0]

    yield make
    for one in made:
        one.end()


def ids_of(text):
    return [json.loads(line)["custom_id"] for line in text.splitlines()]


def is_forward(statuses):
    return statuses == sorted(statuses, key=RANKS.index) and statuses[-1] == "completed"


@pytest.mark.parametrize("name", CLIENTS)
def test_a_batch_that_failed_late_and_the_retry_of_its_lost_lines_are_waited_for_as_ever(start, two, client, tmp_path, name):  # noqa: F811
    if name == "LiteLLM" and not (LITELLM / "litellm").is_dir():
        pytest.skip("without LiteLLM's package")
    gateway = start(config(two, f"sqlite://{tmp_path}/j.db"), sim=two)
    two.switch("us", lose_every=4, seed=3)
    program = client(name, gateway)
    made = program.next("made")
    until(lambda: "created" in types_of(events(gateway, made["id"])), "the journal knows it", timeout=PATIENCE * 4)
    refused(two)
    wait_moved(gateway, made["id"])  # the providers' clocks stand still meanwhile
    seen = program.next("ended", meanwhile=lambda: two.advance(30_000))
    # One batch, which nobody would take for two: it waited, and ran.
    assert seen["batch"]["id"] == made["id"] and is_forward(seen["statuses"]) and seen["batch"]["errors"] is None, seen
    assert [two.created("batches", [account]) for account in ("eu", "us")] == [1, 1]
    assert [e["type"] for e in events(gateway, made["id"])].count("moved") == 1
    asked = ids_of(LINES)
    answered = set(ids_of(seen["output"]))
    assert len(answered) == 15 == len(ids_of(seen["output"])) and ids_of(seen["results"]) == asked, seen
    # What has no answer is asked again, by one call, and waited for in the same way.
    two.switch("us", lose_every=0)
    program.go_on()
    again = program.next("made")
    assert again["id"] != made["id"] and again["status"] == "validating" and again["metadata"] == {"retry_of": made["id"]}, again
    until(lambda: "created" in types_of(events(gateway, again["id"])), "the journal knows it", timeout=PATIENCE * 4)
    seen = program.next("ended", meanwhile=lambda: two.advance(30_000))
    assert seen["batch"]["id"] == again["id"] and is_forward(seen["statuses"]), seen
    lost = [one for one in asked if one not in answered]
    assert sorted(ids_of(seen["output"])) == sorted(ids_of(seen["results"])) == sorted(lost), seen
    assert ids_of(seen["results"]) == lost
    program.go_on()
    assert program.popen.wait(timeout=PATIENCE * 4) == 0, program.problems.read_text()[-3000:]
