"""`tranche run` and `tranche results`: a batch from a file to its results in input order, against our gateway and against a server that
is none (the simulator alone); killed and stopped on the way, nothing is uploaded or made twice."""

import json
import os
import pty
import re
import select
import signal
import subprocess

import pytest
from harness import (GROUP, MASTER_KEY, PATIENCE, PROVIDER_KEYS, Process, Sim, azure_account, azure_deployment, balanced_config, find_binary, free_port,
                     http_request, program_env, sim_config, until)
from kill_proxy import ANSWER, BEFORE, BODY, HALF, KillProxy

QUICK = {"validate_ms": 50, "run_ms": 300, "finalize_ms": 20, "cancel_ms": 50}


@pytest.fixture(scope="module")
def quick_sim(tmp_path_factory):
    """Batches that end by themselves within a second."""
    sim = Sim(tmp_path_factory.mktemp("sim"), sim_config([azure_account("eu"), {
        "name": "oai", "kind": "openai", "port": 0, "key": PROVIDER_KEYS["oai"], "models": [GROUP, "gpt-4o"]}], **QUICK))
    yield sim
    assert sim.stop() == 0, sim.log


class World:
    """A server, and who made what behind it."""

    def __init__(self, sim, account, port, key):
        self.sim, self.account, self.port, self.key = sim, account, port, key
        self.url = f"http://127.0.0.1:{port}/v1"

    def made(self):
        return self.sim.created("files", [self.account]), self.sim.created("batches", [self.account])

    def calls(self, method, path):
        return [r for r in self.sim.requests(self.account) if r["method"] == method and path in r["target"]]

    def env(self, url=None, **more):
        return program_env({"TRANCHE_BASE_URL": url or self.url, "TRANCHE_API_KEY": self.key, **more})

    def run(self, *args, url=None, **more):
        return subprocess.run([find_binary("tranche"), *args], capture_output=True, text=True, timeout=PATIENCE * 6, check=False,
                              stdin=subprocess.DEVNULL, env=self.env(url, **more))

    def begin(self, *args, url=None):
        return subprocess.Popen([find_binary("tranche"), *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                stdin=subprocess.DEVNULL, env=self.env(url))


@pytest.fixture(params=["gateway", "other"])
def world(request, start, quick_sim):
    quick_sim.reset()
    if request.param == "other":
        return World(quick_sim, "oai", quick_sim.ports["oai"], PROVIDER_KEYS["oai"])
    gateway = start(balanced_config(quick_sim, accounts=["eu"]), sim=quick_sim)
    return World(quick_sim, "eu", gateway.port, MASTER_KEY)


@pytest.fixture
def alone(quick_sim):
    """The simulator as any server of the contract."""
    quick_sim.reset()
    return World(quick_sim, "oai", quick_sim.ports["oai"], PROVIDER_KEYS["oai"])


def request_lines(*ids, model=GROUP, url="/v1/chat/completions"):
    return [json.dumps({"custom_id": i, "method": "POST", "url": url, "body": {"model": model, "messages": [{"role": "user", "content": "hi"}]}})
            for i in ids]


def write(path, *ids, **kw):
    path.write_text("".join(line + "\n" for line in request_lines(*ids, **kw)))
    return str(path)


IDS = [f"request-{n}" for n in range(12)]


def ids_of(path):
    return [json.loads(line)["custom_id"] for line in path.read_text().splitlines()]


def statuses_of(path):
    return [(json.loads(line)["response"] or {}).get("status_code") for line in path.read_text().splitlines()]


def state_of(output):
    return json.loads((output.parent / (output.name + ".tranche")).read_text())


def expected(world, output, ids):
    """The provider's own bytes for each line, in input order."""
    answers, batch = {}, batch_of(world, output)
    for name in ("output_file_id", "error_file_id"):
        file = batch[name]
        if file:
            for line in world.run("get", file).stdout.splitlines():
                answers[json.loads(line)["custom_id"]] = line
    return "".join(answers[i] + "\n" for i in ids)


def batch_of(world, output):
    target = f"/v1/batches/{state_of(output)['create']['id']}"
    answer = http_request(world.port, "GET", target, headers={"Authorization": f"Bearer {world.key}"})
    assert answer.status == 200, answer
    return answer.json()


def test_a_run_that_is_killed_at_ten_points_goes_on_and_makes_nothing_twice(world, tmp_path):
    ids = ["fail-429-first", *IDS, "fail-last"]
    source, output = write(tmp_path / "in.jsonl", *ids), tmp_path / "out.jsonl"
    command = ["run", source, "-o", str(output), "--settle", "0", "--poll", "1"]
    proxy = KillProxy(world.port)
    points = [("POST", "/v1/files$", BEFORE), ("POST", "/v1/files$", BODY), ("POST", "/v1/files$", ANSWER),
              ("GET", r"/v1/files\?", ANSWER),                                        # in the midst of looking for it
              ("POST", "/v1/batches$", BEFORE), ("POST", "/v1/batches$", ANSWER), ("GET", r"/v1/batches\?", ANSWER),
              ("GET", "/v1/batches/", BEFORE), ("GET", "/content$", HALF), ("GET", "/content$", ANSWER)]
    for method, pattern, where in points:
        proxy.plan(method, pattern, where)
        process = world.begin(*command, url=proxy.url)
        proxy.watch(process.pid)
        out, err = process.communicate(timeout=PATIENCE * 6)
        assert proxy.killed.is_set() and process.returncode == -signal.SIGKILL, (method, pattern, where, out, err, proxy.seen)
        assert not output.exists()
    done = world.run(*command, url=proxy.url)
    assert done.returncode == 4 and "14 lines, 12 ok, 2 failed" in done.stdout, done
    proxy.close()
    assert output.read_text() == expected(world, output, ids)
    assert ids_of(output) == ids
    assert world.made() == (1, 1), proxy.seen
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith("out")) == ["out.jsonl", "out.jsonl.tranche"]

    # Once more: it has ended. And as if it had been killed between the last two things that it does.
    posts = len(world.calls("POST", "/"))
    before = output.read_text()
    done = world.run(*command, url=proxy.url)
    assert done.returncode == 4 and output.read_text() == before, done
    state = tmp_path / "out.jsonl.tranche"
    state.write_text(state.read_text().replace('"finished"', '"begun"').replace(f":{proxy.port}", f":{world.port}"))
    output.unlink()
    done = world.run(*command)
    assert done.returncode == 4 and output.read_text() == before, done
    assert len(world.calls("POST", "/")) == posts and world.made() == (1, 1)


def test_ctrl_c_stops_the_command_and_not_the_batch(world, tmp_path):
    source, output = write(tmp_path / "in.jsonl", *IDS), tmp_path / "out.jsonl"
    world.sim.control("POST", "/control/switches", {"account": world.account, "time": {"run_ms": 3_600_000}})
    process = world.begin("run", source, "-o", str(output), "--poll", "1")
    until(lambda: (tmp_path / "out.jsonl.tranche").exists() and state_of(output)["create"]["id"], "its batch is known")

    # One command at a time works on one output.
    second = world.run("run", source, "-o", str(output))
    assert second.returncode == 2 and "another tranche run" in second.stderr, second
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE * 4)
    batch = state_of(output)["create"]["id"]
    assert process.returncode == 130 and f"tranche cancel {batch}" in err and out == "", (out, err)
    assert "\033" not in err and "in.jsonl: uploading" in err and batch in err, err
    # The batch is cancelled meanwhile: what has not run says so.
    assert world.run("cancel", batch).returncode == 0
    world.sim.advance(1000)
    done = world.run("run", source, "-o", str(output), "--poll", "1", "--json")
    told = json.loads(done.stdout)
    assert done.returncode == 4 and told["exit"] == 4 and told["status"] == "cancelled" and told["batch_id"] == batch, done
    assert told["lines"] == len(IDS) == told["ok"] + told["failed"] and ids_of(output) == IDS
    assert world.made() == (1, 1)


def test_lines_that_failed_are_sent_once_more(alone, tmp_path):
    ids = ["fail-429-a", "good-1", "fail-b", "good-2", "fail-429-c"]
    source, output = write(tmp_path / "in.jsonl", *ids, model="of-the-file"), tmp_path / "out.jsonl"
    command = ["run", source, "-o", str(output), "--model", "gpt-4o", "--poll", "1"]
    done = alone.run(*command)
    assert done.returncode == 4 and "2 ok, 3 failed (2 can be sent once more: --retry-failed)" in done.stdout, done
    first = output.read_text().splitlines()
    assert statuses_of(output) == [429, 200, 400, 200, 429]
    alone.sim.switch("oai", fail_prefix="never-")
    done = alone.run(*command, "--retry-failed")
    assert done.returncode == 4 and "5 lines, 4 ok, 1 failed" in done.stdout, done
    assert ids_of(output) == ids and statuses_of(output) == [200, 200, 400, 200, 200]
    assert [output.read_text().splitlines()[i] for i in (1, 2, 3)] == [first[i] for i in (1, 2, 3)]  # what was good stays as it was
    assert alone.made() == (2, 2)
    # Nothing is left that another try would help: none is made.
    assert alone.run(*command, "--retry-failed").returncode == 4 and alone.made() == (2, 2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl", "out.jsonl.tranche"]


CONTENT = {"account": "oai", "method": "GET", "path": "/v1/files/*/content"}
# The answer to "b" cannot be read: it may be there, and paid for.
HALF_READ = json.dumps({"custom_id": "a", "response": {"status_code": 200, "body": {}}, "error": None}) + '\n{"custom_id":"b","respon\n'


def half_read(world, tmp_path, *more):
    """A run of three lines, of whose answers one is cut off: the command, its end, its output."""
    source, output = write(tmp_path / "in.jsonl", "a", "b", "fail-429-c"), tmp_path / "out.jsonl"
    command = ["run", source, "-o", str(output), "--poll", "1"]
    world.sim.fault({"status": 200, "body": HALF_READ}, **CONTENT)
    done = world.run(*command, *more)
    assert statuses_of(output) == [200, None, 429], done
    return command, done, output


def refused(world, output, done):
    file = batch_of(world, output)["output_file_id"]
    assert done.returncode == 1 and f"nothing was sent once more: of its answers 1 line of {file} cannot be read or found" in done.stderr, done
    assert world.made() == (1, 1) and state_of(output)["unreadable"] == [{"file": file, "lines": 1}]
    assert statuses_of(output) == [200, None, 429] and not (output.parent / "out.jsonl.tranche.retry").exists()


def test_a_line_whose_answer_cannot_be_read_is_not_paid_for_twice(alone, tmp_path):
    command, done, output = half_read(alone, tmp_path)
    assert done.returncode == 4 and "2 failed (1 of its answers cannot be read or found)" in done.stdout and "--retry-failed" not in done.stdout, done
    # The results alone do not tell it any more: whenever it is asked for.
    for _ in range(2):
        refused(alone, output, alone.run(*command, "--retry-failed"))
    told = json.loads(alone.run(*command, "--retry-failed", "--json").stdout)
    assert (told["retryable"], told["unreadable"], told["exit"], told["output"]) == (0, 1, 1, str(output)), told
    # Without the results that stand there the answers are read anew.
    output.unlink()
    done = alone.run(*command)
    assert done.returncode == 4 and statuses_of(output) == [200, 200, 429] and state_of(output)["unreadable"] == [] and alone.made() == (1, 1), done


def test_a_run_that_retries_at_once_is_refused_where_an_answer_cannot_be_read(alone, tmp_path):
    _, done, output = half_read(alone, tmp_path, "--retry-failed")
    refused(alone, output, done)
    assert "3 lines, 1 ok, 2 failed" in done.stdout, done


def forget(output, **more):
    """As a tranche that did not count has left it."""
    old = {name: value for name, value in state_of(output).items() if name != "unreadable"}
    (output.parent / (output.name + ".tranche")).write_text(json.dumps({**old, **more}))


def test_an_older_state_has_the_answers_read_again_before_lines_are_sent_once_more(alone, tmp_path):
    command, _, output = half_read(alone, tmp_path)
    forget(output)
    alone.sim.fault({"status": 200, "body": HALF_READ}, **CONTENT)
    refused(alone, output, alone.run(*command, "--retry-failed"))
    # Where they can be read now, the line whose answer was lost to us has it.
    forget(output)
    done = alone.run(*command, "--retry-failed")
    assert done.returncode == 4 and statuses_of(output) == [200, 200, 429] and state_of(output)["round"] == 1, done
    assert alone.made() == (2, 2) and state_of(output)["unreadable"] == []
    # Of more rounds than one the answers of the first are not there to be read.
    forget(output)
    done = alone.run(*command, "--retry-failed")
    assert done.returncode == 1 and "an older tranche merged its answers" in done.stderr and alone.made() == (2, 2), done
    forget(output, phase="begun", upload={"id": "", "first_sent_at": 0, "last_sent_at": 0}, create={"id": "", "first_sent_at": 0, "last_sent_at": 0})
    done = alone.run(*command)
    assert done.returncode in (1, 2) and alone.made() == (2, 2), done


HOUR = 3_600_000
LATE = "does not show the files with its answers yet"


def waiting(world, *args):
    """A command that sees a batch which has ended, and no files of it."""
    process = Process([find_binary("tranche"), *args], env=world.env())
    process.wait_line(LATE)
    return process


def late(world, output, done, text=None):
    """A run that ended so: nothing of it was taken for its results."""
    assert done.returncode == 3 and LATE in done.stderr and "Run the same command to go on" in done.stderr and done.stdout == "", done
    assert (output.read_text() if output.exists() else None) == text


def test_a_finished_batch_whose_output_comes_late_is_waited_for(world, tmp_path):
    source, output = write(tmp_path / "in.jsonl", *IDS), tmp_path / "out.jsonl"
    world.sim.switch(world.account, output_late_ms=HOUR)
    process = waiting(world, "run", source, "-o", str(output), "--poll", "1", "--retry-failed")
    assert not output.exists() and state_of(output)["phase"] == "begun"
    world.sim.advance(HOUR)
    assert process.wait() == 0 and "12 lines, 12 ok, 0 failed" in process.log, process.log
    assert world.made() == (1, 1) and output.read_text() == expected(world, output, IDS)


def test_a_finished_batch_whose_output_never_comes_is_not_paid_again(world, tmp_path):
    source, output = write(tmp_path / "in.jsonl", *IDS), tmp_path / "out.jsonl"
    world.sim.switch(world.account, output_late_ms=HOUR)
    command = ["run", source, "-o", str(output), "--poll", "1", "--patience", "0"]
    for more in ([], ["--retry-failed"], ["--retry-failed"]):
        late(world, output, world.run(*command, *more))
        assert world.made() == (1, 1) and state_of(output)["phase"] == "begun"
    told = json.loads(world.run(*command, "--json").stdout)
    assert (told["status"], told["output"], told["exit"]) == ("completed", None, 3) and LATE in told["error"], told
    # Nor does the other command take no answer for an answer.
    batch = state_of(output)["create"]["id"]
    done = world.run("results", batch, "-o", str(output))
    assert done.returncode == 3 and LATE in done.stderr and not output.exists(), done
    world.sim.advance(HOUR)
    done = world.run(*command, "--retry-failed")
    assert done.returncode == 0 and world.made() == (1, 1) and output.read_text() == expected(world, output, IDS), done
    assert world.run("results", batch, "-o", str(tmp_path / "again.jsonl")).returncode == 0


def test_a_second_try_whose_output_comes_late_is_not_merged_as_nothing(alone, tmp_path):
    source, output = write(tmp_path / "in.jsonl", "good", "fail-429-a", "fail-429-b"), tmp_path / "out.jsonl"
    command = ["run", source, "-o", str(output), "--poll", "1", "--patience", "0"]
    assert alone.run(*command).returncode == 4 and statuses_of(output) == [200, 429, 429]
    first = output.read_text()
    alone.sim.switch("oai", fail_prefix="never-", output_late_ms=HOUR)
    alone.sim.advance(HOUR)  # of the first batch all is shown
    for _ in range(2):
        late(alone, output, alone.run(*command, "--retry-failed"), text=first)
        assert alone.made() == (2, 2) and (state_of(output)["round"], state_of(output)["phase"]) == (1, "begun")
    alone.sim.advance(HOUR)
    assert alone.run(*command).returncode == 0 and statuses_of(output) == [200, 200, 200] and alone.made() == (2, 2)


def test_results_of_an_older_state_stand_while_its_batch_shows_no_files(alone, tmp_path):
    source, output = write(tmp_path / "in.jsonl", "good", "fail-429-a", "fail-b"), tmp_path / "out.jsonl"
    command = ["run", source, "-o", str(output), "--poll", "1", "--patience", "0"]
    assert alone.run(*command).returncode == 4 and statuses_of(output) == [200, 429, 400]
    forget(output)
    before = output.read_text()
    alone.sim.switch("oai", output_late_ms=HOUR)
    for _ in range(2):
        late(alone, output, alone.run(*command, "--retry-failed"), text=before)
        assert alone.made() == (1, 1)
    # Where its error file alone is not shown, what was read out of it before stands.
    alone.sim.switch("oai", output_late_ms=0, errors_late_ms=HOUR, fail_prefix="never-")
    assert alone.run(*command, "--retry-failed").returncode == 4 and statuses_of(output) == [200, 200, 400] and alone.made() == (2, 2)


def test_answers_that_a_batch_counts_and_its_output_lacks_are_not_paid_again(alone, tmp_path):
    source, output = write(tmp_path / "in.jsonl", *IDS, "fail-429-a"), tmp_path / "out.jsonl"
    alone.sim.switch("oai", lose_every=4)
    command = ["run", source, "-o", str(output), "--poll", "1"]
    done = alone.run(*command)
    missing = batch_of(alone, output)["request_counts"]["completed"] - statuses_of(output).count(200)
    assert done.returncode == 4 and missing > 0 and f"({missing} of its answers cannot be read or found)" in done.stdout, done
    assert "--retry-failed" not in done.stdout and state_of(output)["unreadable"][0]["lines"] == missing
    for _ in range(2):
        done = alone.run(*command, "--retry-failed")
        assert done.returncode == 1 and "nothing was sent once more: of its answers" in done.stderr and alone.made() == (1, 1), done


@pytest.mark.parametrize("counts", ["null", "zero"])
def test_a_batch_that_counts_nothing_is_waited_for_too(world, tmp_path, counts):
    source, output = write(tmp_path / "in.jsonl", *IDS), tmp_path / "out.jsonl"
    world.sim.switch(world.account, output_late_ms=HOUR, ended_counts=counts)
    command = ["run", source, "-o", str(output), "--poll", "1", "--patience", "0", "--retry-failed"]
    late(world, output, world.run(*command))
    world.sim.advance(HOUR)
    assert world.run(*command).returncode == 0 and world.made() == (1, 1) and output.read_text() == expected(world, output, IDS)


def test_a_batch_of_which_all_failed_has_no_output_to_wait_for(world, tmp_path):
    source, output = write(tmp_path / "in.jsonl", "fail-a", "fail-b"), tmp_path / "out.jsonl"
    done = world.run("run", source, "-o", str(output), "--poll", "1", "--patience", "0", "--retry-failed")
    assert done.returncode == 4 and statuses_of(output) == [400, 400] and world.made() == (1, 1), done


def test_an_error_file_that_comes_late_is_waited_for(alone, tmp_path):
    source, output = write(tmp_path / "in.jsonl", "good", "fail-b"), tmp_path / "out.jsonl"
    alone.sim.switch("oai", errors_late_ms=HOUR)
    process = waiting(alone, "run", source, "-o", str(output), "--poll", "1")
    again = tmp_path / "again.jsonl"
    done = alone.run("results", state_of(output)["create"]["id"], "-o", str(again))
    assert done.returncode == 4 and "shows no error file" in done.stderr and statuses_of(again) == [200, None], done
    alone.sim.advance(HOUR)
    assert process.wait() == 4 and statuses_of(output) == [200, 400], process.log
    # Who has no patience takes what there is.
    other = tmp_path / "other.jsonl"
    alone.sim.switch("oai", errors_late_ms=2 * HOUR)
    assert alone.run("run", source, "-o", str(other), "--poll", "1", "--patience", "0").returncode == 4
    assert statuses_of(other) == [200, None]


def test_several_files_run_at_once_and_a_bad_one_stops_none(alone, tmp_path):
    sources = [write(tmp_path / f"{name}.jsonl", f"{name}-1", f"{name}-2") for name in ("a", "b")]
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"custom_id": "x"}\n')
    where = tmp_path / "results"
    where.mkdir()
    alone.sim.control("POST", "/control/switches", {"account": "oai", "time": {"run_ms": 3_600_000}})
    process = alone.begin("run", *sources, str(bad), "-o", str(where), "--poll", "1", "--json")
    alone.sim.wait("oai", "POST", "/v1/batches", count=2)  # both are under way, and none can have ended
    alone.sim.advance(7_200_000)
    out, err = process.communicate(timeout=PATIENCE * 6)
    told = [json.loads(line) for line in out.splitlines()]
    assert [t["exit"] for t in told] == [0, 0, 1] and process.returncode == 1, (out, err)
    assert "bad.jsonl:1:" in err and "nothing was sent" in told[2]["error"], (out, err)
    assert ids_of(where / "a.results.jsonl") == ["a-1", "a-2"] and ids_of(where / "b.results.jsonl") == ["b-1", "b-2"]
    assert alone.made() == (2, 2)


def test_an_answer_that_is_lost_is_found_and_not_asked_for_again(alone, tmp_path):
    source, output = write(tmp_path / "in.jsonl", *IDS), tmp_path / "out.jsonl"
    alone.sim.fault({"close": "answer"}, account="oai", method="POST", path="/v1/files")
    alone.sim.fault({"status": 503, "late": True}, account="oai", method="POST", path="/v1/batches")
    alone.sim.fault({"status": 500}, account="oai", method="GET", path="/v1/batches/*")
    done = alone.run("run", source, "-o", str(output), "--poll", "1")
    assert done.returncode == 0 and alone.made() == (1, 1), done
    upload, create = alone.calls("POST", "/v1/")
    assert ids_of(output) == IDS and upload["headers"]["idempotency-key"] != create["headers"]["idempotency-key"]
    assert state_of(output)["nonce"] in create["headers"]["idempotency-key"] and json.loads(create["body"])["metadata"] == {
        "tranche_run": state_of(output)["nonce"]}


def test_what_is_refused_ends_with_what_to_do(alone, tmp_path):
    source, output = write(tmp_path / "in.jsonl", *IDS), tmp_path / "out.jsonl"
    command = ["run", source, "-o", str(output), "--poll", "1"]
    done = alone.run(*command, TRANCHE_API_KEY="sk-wrong-0123456789abcdef")
    assert done.returncode == 1 and "the upload was refused: status 401" in done.stderr and "sk-wrong" not in done.stderr, done
    done = alone.run(*command, url=f"http://127.0.0.1:{free_port()}/v1")
    assert done.returncode == 2 and "another --base-url" in done.stderr and "out.jsonl.tranche" in done.stderr, done
    away = tmp_path / "away.jsonl"
    done = alone.run("run", source, "-o", str(away), url=f"http://127.0.0.1:{free_port()}/v1")
    assert done.returncode == 3 and "--base-url" in done.stderr, done
    # With the right key the same command goes on.
    assert alone.run(*command).returncode == 0 and alone.made() == (1, 1)
    (tmp_path / "in.jsonl").write_text("\n".join(request_lines("other")) + "\n")
    done = alone.run(*command)
    assert done.returncode == 2 and "another input" in done.stderr and ids_of(output) == IDS, done
    # A file that is nobody's is not written over.
    (tmp_path / "mine.jsonl").write_text("mine\n")
    done = alone.run("run", source, "-o", str(tmp_path / "mine.jsonl"))
    assert done.returncode == 2 and "there already" in done.stderr and (tmp_path / "mine.jsonl").read_text() == "mine\n", done
    done = alone.run("run", source, "-o", str(tmp_path / "e.jsonl"), "--endpoint", "/v1/embeddings")
    assert done.returncode == 2 and "--endpoint" in done.stderr, done
    assert alone.made() == (1, 1)
    # A batch that fails as a whole ran nothing: the next command begins anew.
    failing = tmp_path / "failing.jsonl"
    command = ["run", write(tmp_path / "in2.jsonl", "x", model="unknown-model"), "-o", str(failing), "--poll", "1"]
    done = alone.run(*command)
    assert done.returncode == 1 and "failed" in done.stderr and not failing.exists() and alone.made() == (2, 2), done
    assert alone.run(*command).returncode == 1 and alone.made() == (3, 3)
    for args in (["run"], ["run", "--poll", "0", source], ["run", source, source], ["run", str(tmp_path / "none.jsonl")], ["results", "batch_a"]):
        assert alone.run(*args).returncode == 2, args
    for command in ("run", "results"):
        done = alone.run(command, "--help")
        assert done.returncode == 0 and "Example:" in done.stdout and "Exit:" in done.stdout, done


ROOM = 300  # tokens, fewer than the lines of IDS have


def late_account(name, tokens):
    return azure_account(name, deployments=[{"name": f"gpt-4o-batch-{name}", "model": "gpt-4o", "sku": "GlobalBatch",
                                             "enqueued_token_limit": tokens, "refusal": "slow"}])


@pytest.fixture
def full_sim(make_sim):
    """Providers that say only after the create that they have no room."""
    return make_sim(sim_config([late_account("eu", ROOM), late_account("us", 1_000_000), {
        "name": "oai", "kind": "openai", "port": 0, "key": PROVIDER_KEYS["oai"], "models": [GROUP], "enqueued_token_limit": ROOM}], **QUICK))


@pytest.fixture
def full(full_sim):
    """A server of the contract that has no room until it is given some."""
    return World(full_sim, "oai", full_sim.ports["oai"], PROVIDER_KEYS["oai"])


def killed_at(world, command, points):
    """@return the server's address for another try, whose proxy kills nobody any more"""
    proxy = KillProxy(world.port)
    for method, pattern, where in points:
        proxy.plan(method, pattern, where)
        process = world.begin(*command, url=proxy.url)
        proxy.watch(process.pid)
        out, err = process.communicate(timeout=PATIENCE * 6)
        assert proxy.killed.is_set() and process.returncode == -signal.SIGKILL, (method, pattern, where, out, err, proxy.seen)
    return proxy


def test_a_batch_that_failed_late_for_want_of_room_runs_elsewhere(start, full_sim, tmp_path):
    """Its deployment said so after the create: the command makes it again, and the gateway elsewhere; killed on the way it makes no third."""
    rows = [azure_deployment(full_sim, "eu", weight=1), azure_deployment(full_sim, "us", weight=0)]
    world = World(full_sim, "eu", start(balanced_config(full_sim, accounts=(), model_list=rows), sim=full_sim).port, MASTER_KEY)
    source, output = write(tmp_path / "in.jsonl", *IDS), tmp_path / "out.jsonl"
    command = ["run", source, "-o", str(output), "--poll", "1"]
    proxy = killed_at(world, command, [("GET", "/v1/batches/", ANSWER), ("POST", "/v1/batches$", BEFORE), ("POST", "/v1/batches$", ANSWER)])
    done = world.run(*command, "--json", url=proxy.url)
    proxy.close()
    told = json.loads(done.stdout)
    assert done.returncode == 0 and (told["status"], told["ok"], told["remade"]) == ("completed", 12, 1), (done, proxy.seen)
    assert ids_of(output) == IDS and full_sim.created("batches", ["eu"]) == 1 and full_sim.created("batches", ["us"]) == 1
    marks = {b["metadata"]["tranche_run"] for b in http_request(world.port, "GET", "/v1/batches", headers={
        "Authorization": f"Bearer {MASTER_KEY}"}).json()["data"]}
    assert marks == {state_of(output)["nonce"], state_of(output)["nonce"] + ".1"}


def test_a_batch_that_found_no_room_is_made_again_at_any_server_and_once(full, tmp_path):
    source, output = write(tmp_path / "in.jsonl", *IDS), tmp_path / "out.jsonl"
    command = ["run", source, "-o", str(output), "--poll", "1", "--settle", "0", "--room-wait", "0"]
    killed_at(full, command, [("GET", "/v1/batches/", ANSWER), ("POST", "/v1/batches$", BEFORE)]).close()
    full.sim.switch("oai", bytes_per_token=1000)  # its other batches have ended: there is room now
    state = output.parent / "out.jsonl.tranche"
    state.write_text(state.read_text().replace(state_of(output)["base_url"], f"http://127.0.0.1:{full.port}"))
    full.sim.fault({"close": "answer"}, account="oai", method="POST", path="/v1/batches")
    done = full.run(*command)
    assert done.returncode == 0 and "12 lines, 12 ok, 0 failed" in done.stdout, done
    assert full.made() == (1, 2) and state_of(output)["remade"] == 1 and ids_of(output) == IDS


def test_a_batch_that_finds_no_room_again_and_again_has_failed(full, tmp_path):
    source, output = write(tmp_path / "in.jsonl", *IDS), tmp_path / "out.jsonl"
    command = ["run", source, "-o", str(output), "--poll", "1", "--room-wait", "0"]
    done = full.run(*command, "--room-tries", "2")
    assert done.returncode == 1 and "failed: token_limit_exceeded: " in done.stderr and "made 3 times" in done.stderr, done
    assert "there was no room for batch" in done.stderr and full.made() == (1, 3) and not output.exists()
    # Who waits for this code by himself has it at once.
    done = full.run(*command, "--room-tries", "0")
    assert done.returncode == 1 and "failed: token_limit_exceeded: " in done.stderr and "made" not in done.stderr, done
    assert full.made() == (2, 4) and not output.exists()


class Terminal:
    """A command whose outputs are a terminal."""

    def __init__(self, world, args, **env):
        self.ours, theirs = pty.openpty()
        self.text = ""
        self.process = subprocess.Popen([find_binary("tranche"), *args], stdout=theirs, stderr=theirs, stdin=subprocess.DEVNULL,
                                        env=world.env(TERM="xterm", **env))
        os.close(theirs)

    def read(self):
        """@return whether there may be more"""
        assert select.select([self.ours], [], [], PATIENCE * 2)[0], f"nothing comes any more: {self.text!r}"
        try:
            piece = os.read(self.ours, 65536)
        except OSError:  # the other end was closed
            piece = b""
        self.text += piece.decode()
        return bool(piece)

    def wait_for(self, pattern):
        while not re.search(pattern, self.text):
            assert self.read(), f"no {pattern!r} in {self.text!r}"

    def wait(self):
        while self.read():
            pass
        os.close(self.ours)
        return self.process.wait(PATIENCE * 4)


def test_a_terminal_shows_bars_rates_and_colours_and_no_color_takes_the_colours(alone, tmp_path):
    source = write(tmp_path / "in.jsonl", *IDS)
    alone.sim.control("POST", "/control/switches", {"account": "oai", "time": {"run_ms": 3_600_000}})
    shown = Terminal(alone, ["run", source, "-o", str(tmp_path / "a.jsonl"), "--poll", "1", "--base-url", alone.url, "--key", "os.environ/THE_KEY"],
                     TRANCHE_BASE_URL="http://127.0.0.1:1", TRANCHE_API_KEY="sk-another-0123456789abcdef", THE_KEY=alone.key)
    shown.wait_for(r"in_progress  0/12 0%")
    alone.sim.advance(1_800_000)
    shown.wait_for(r"in_progress  6/12 50%, \d+/min, ends in \d+")
    alone.sim.advance(3_600_000)
    code, text = shown.wait(), shown.text
    assert code == 0 and "uploading [" in text and "reading results" in text and "\033[1A" in text and "\033[32mcompleted" in text, text
    alone.sim.control("POST", "/control/switches", {"account": "oai", "time": QUICK})
    shown = Terminal(alone, ["run", source, "-o", str(tmp_path / "b.jsonl"), "--poll", "1"], NO_COLOR="1")
    code, text = shown.wait(), shown.text
    assert code == 0 and "uploading [" in text and "\033[32m" not in text and "completed" in text, text


def test_results_of_any_batch_come_in_input_order(world, tmp_path):
    ids = ["fail-429-first", *IDS]
    source, output = write(tmp_path / "in.jsonl", *ids), tmp_path / "out.jsonl"
    assert world.run("run", source, "-o", str(output), "--poll", "1").returncode == 4
    batch = state_of(output)["create"]["id"]
    again = tmp_path / "again.jsonl"
    done = world.run("results", batch, "-o", str(again))
    assert done.returncode == 4 and "13 lines, 12 ok, 1 failed" in done.stdout and again.read_text() == output.read_text(), done
    told = json.loads(world.run("results", batch, "-o", str(again), "--json").stdout)
    assert (told["lines"], told["ok"], told["failed"], told["status"]) == (13, 12, 1, "completed")
    done = world.run("results", "batch_unknown", "-o", str(again))
    assert done.returncode == 1 and "404" in done.stderr and again.read_text() == output.read_text(), done
    assert sorted(p.name for p in tmp_path.glob("*.jsonl*")) == ["again.jsonl", "in.jsonl", "out.jsonl", "out.jsonl.tranche"]
