"""h2spec, the conformance suite of HTTP/2 (RFC 7540 and 7541), strict, against the front door. It is a Go program of others:
tests/h2spec pins it, and here it is built into build/tools. Without Go these tests are skipped."""

import fcntl
import os
import re
import shutil
import subprocess

import pytest
from harness import ROOT, balanced_config
from wire import make_door, wire_certificate  # noqa: F401  (fixtures)

TESTS = 146


@pytest.fixture(scope="session")
def h2spec():
    if shutil.which("go") is None:
        pytest.skip("h2spec is a Go program, and there is no Go here")
    program = ROOT / "build" / "tools" / "h2spec"
    program.parent.mkdir(parents=True, exist_ok=True)
    with open(program.parent / "h2spec.lock", "w") as lock:  # several pytest workers come here at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            built = subprocess.run(["go", "build", "-mod=readonly", "-o", str(program), "github.com/summerwind/h2spec/cmd/h2spec"],
                                   cwd=ROOT / "tests" / "h2spec", capture_output=True, text=True,
                                   env={**os.environ, "GOFLAGS": "", "CGO_ENABLED": "0"})
            if built.returncode != 0 and re.search(r"dial tcp|no such host|connection refused|i/o timeout", built.stderr):
                pytest.skip("h2spec's modules cannot be fetched from here")
            assert built.returncode == 0, built.stderr
    return program


@pytest.mark.parametrize("kind", ["h2", "h2_tls"])
def test_http2_keeps_every_rule_of_h2spec(make_door, h2spec, sim, kind):  # noqa: F811
    """Without a key and on a route that waits for the end of a body: a request that is answered at its head ends with a
    RST_STREAM of its own (RFC 9113, 8.1), which h2spec takes for its answer to what it sends next."""
    config = balanced_config(sim)
    del config["general_settings"]
    door = make_door(kind, config, workers=1)
    tls = ["-t", "-k"] if door.tls else []
    ran = subprocess.run([str(h2spec), "-S", "-h", "127.0.0.1", "-p", str(door.gateway.port), "-P", "/v1/models", "-o", "20", *tls],
                         capture_output=True, text=True)
    assert f"{TESTS} tests, {TESTS} passed, 0 skipped, 0 failed" in ran.stdout, ran.stdout + ran.stderr
