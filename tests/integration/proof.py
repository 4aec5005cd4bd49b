"""What the proofs by the ledger share: every fault that the simulator knows, a client that repeats as the SDKs do, and a
world in which many cases run side by side, each with accounts of its own.

What really happened is in the simulator's ledger, whatever the answers say; the proofs compare the two.
"""

import concurrent.futures
import contextlib
import http.client

from harness import Gateway, Sim, azure_account, azure_deployment, balanced_config, lines, sim_config

# balancer/retry.c says why each of them is where it is.
REFUSING = [400, 401, 403, 404, 409, 413, 422, 429, 451, 501, 503, 505, 521, 523, 525, 526]
UNPROVEN = [302, 408, 452, 460, 499, 500, 502, 504, 520, 522, 524, 529, 599]
PHASES = ["accept", "head", "body", "answer"]
CREATES, FILES = "/openai/batches*", "/openai/files*"


def every_fault():
    """name -> action; those that an account meets before any request first, where the prober soon is done."""
    out = {f"{how}-accept": {how: "accept"} for how in ("close", "reset")}
    out["pause-accept"] = {"hang": "accept", "ms": 150}
    out.update({f"{s}": {"status": s} for s in REFUSING + UNPROVEN})
    out.update({f"{s}-early": {"status": s, "early": True} for s in (413, 429, 500, 503)})
    out.update({f"{s}-late": {"status": s, "late": True} for s in UNPROVEN})
    out.update({f"{how}-{phase}": {how: phase} for how in ("close", "reset") for phase in PHASES})
    out.update({f"pause-{phase}": {"hang": phase, "ms": 150} for phase in PHASES})
    out.update({"truncated-head": {"truncate": 0}, "truncated-body": {"truncate": 30},
                "trickle": {"trickle": {"bytes": 60, "interval_ms": 2}},
                "trickle-head": {"trickle": {"bytes": 60, "interval_ms": 2, "head": True}},
                "delay": {"delay_ms": 100}, "gzip": {"gzip": True}, "not-json": {"not_json": True},
                "oversize": {"oversize": 3 << 20}})
    return out


FAULTS = every_fault()
HANGS = {f"hang-{phase}": {"hang": phase} for phase in PHASES}  # for ever: a limit of the gateway's ends them
# One of each kind, for the places where the full list says nothing new about the code under test.
SOME = {name: FAULTS[name] for name in (
    "close-accept", "400", "401", "404", "408", "429", "500", "503", "503-early", "500-late", "close-head", "reset-body",
    "close-answer", "reset-answer", "pause-answer", "truncated-head", "truncated-body", "trickle", "gzip", "not-json",
    "oversize")}


def is_harmless(action):
    """The usual answer comes, only later."""
    return not set(action) & {"status", "close", "reset", "truncate", "not_json", "oversize", "gzip"} and \
        ("hang" not in action or "ms" in action)


def is_refusal(action):
    return action.get("status") in REFUSING


def is_carried_out(action):
    """What the provider does although the answer may be lost."""
    if "status" in action:
        return action.get("late", False)
    how = action.get("close") or action.get("reset") or (action.get("hang") if "ms" not in action else None)
    return how in (None, "answer")


def sdk_repeats(answer):
    """Whether the official SDKs would send it once more (openai-python _base_client.py, _should_retry)."""
    said = answer.headers.get("x-should-retry")
    if said in ("true", "false"):
        return said == "true"
    return answer.status in (408, 409, 429) or answer.status >= 500


def as_sdk(send, tries=3):
    """All answers, in order, of a request that is repeated as the SDKs do; None stands for a connection that broke."""
    answers = []
    for n in range(tries):
        try:
            answers.append(send({"x-stainless-retry-count": str(n)}))
        except (OSError, http.client.HTTPException):
            answers.append(None)
            continue
        if not sdk_repeats(answers[-1]):
            break
    return answers


class Case:
    """One fault in one place, on accounts that nobody else uses."""

    def __init__(self, name, action, number, size):
        self.name, self.action = name, action
        self.group = f"group-{number}"
        self.accounts = [f"c{number}{letter}" for letter in "abcd"[:size]]
        self.file, self.answers, self.problem = None, [], None

    def __repr__(self):
        return f"{self.name}: {self.answers}"

    @property
    def last(self):
        return self.answers[-1]

    def look(self, ledger):
        """Keep what the simulator knows of our accounts."""
        self.ledgers = [ledger[a] for a in self.accounts]
        self.batches = [b for one in self.ledgers for b in one["batches"]]
        self.made = [one["creates"]["batches"] for one in self.ledgers]
        self.stored = [one["creates"]["files"] for one in self.ledgers]


class World:
    """The simulator and the gateway, with `size` accounts for each case: the first one gets the work, the others what it
    refuses, in that order."""

    def __init__(self, directory, faults, size, limit=0, **sections):
        self.cases = [Case(name, action, n, size) for n, (name, action) in enumerate(faults.items())]
        accounts = [azure_account(a, deployments=[{
            "name": f"gpt-4o-batch-{a}", "model": "gpt-4o", "sku": "GlobalBatch", "refusal": "fast",
            "enqueued_token_limit": limit if i == 0 else 0}]) for c in self.cases for i, a in enumerate(c.accounts)]
        self.sim = Sim(directory, sim_config(accounts))
        rows = [azure_deployment(self.sim, a, group=c.group, order=i + 1, api_version="2025-04-01-preview")
                for c in self.cases for i, a in enumerate(c.accounts)]
        self.gateway = Gateway(directory, balanced_config(self.sim, accounts=(), model_list=rows, **sections))

    def probed(self):
        """The prober has asked once, and for the next minute takes no fault of those that wait for any connection."""
        for case in self.cases:
            for account in case.accounts if "accept" in case.name else []:
                self.sim.wait(account, "GET", CREATES)

    def run(self, work):
        """work(world, case) for all cases, many at once; then what the ledger says is put beside the answers."""
        def one(case):
            try:
                work(self, case)
            except Exception as problem:  # told by the test that is named after the case
                case.problem = problem

        with concurrent.futures.ThreadPoolExecutor(24) as pool:
            list(pool.map(one, self.cases))
        ledger = self.sim.control("GET", "/control/ledger").json()["accounts"]
        for case in self.cases:
            case.look(ledger)
            case.requests = {a: self.sim.requests(a) for a in case.accounts}
        return {case.name: case for case in self.cases}

    def end(self):
        self.gateway.finish(self.sim)
        self.sim.stop()

    # --- what the work is made of ---

    def fault(self, case, method, path, at=0, action=None, times=1):
        if path == CREATES and (action or case.action).get("status") == 400:
            times *= 2  # of a file that new the gateway asks once more: it may have been pending a moment ago
        self.sim.fault(case.action if action is None else action, account=case.accounts[at], method=method, path=path, times=times)

    def upload(self, case, count=20):
        case.data = lines(model=case.group, count=count)
        return self.gateway.upload(case.data)

    def create(self, case):
        """As an SDK does it, with what it repeats."""
        case.answers = as_sdk(lambda headers: self.gateway.create(case.file["id"], headers=headers))


@contextlib.contextmanager
def outcomes(directory, faults, size, work, **more):
    world = World(directory, faults, size, **more)
    try:
        world.probed()
        found = world.run(work)
        found["world"] = world
        yield found
    finally:
        world.end()


def judge_create(case):
    """What holds of every create, whatever happened to it."""
    if case.problem is not None:
        raise case.problem
    assert sum(case.made) <= 1, f"made twice: {case}"
    assert None not in case.answers, case
    good = [a for a in case.answers if a.status == 200]
    if good:
        assert sum(case.made) == 1, f"acknowledged, and not there: {case}"
    elif sum(case.made) == 1:
        assert case.last.json()["error"]["code"] == "create_outcome_unknown", f"made, and denied: {case}"
    if not good:
        assert not sdk_repeats(case.last), f"left to a client that has given up: {case}"
    for answer in good:
        assert answer.json()["input_file_id"] == case.file["id"], case
