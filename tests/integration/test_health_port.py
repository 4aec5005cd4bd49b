"""A port for health, metrics and the page alone (tranche_settings.health_port), which operators open to others than clients."""

import http.client
import os
import signal
import socket
import subprocess

from harness import MASTER_KEY, PATIENCE, balanced_config, envelope, find_binary, free_port, http_request, program_env, until


def config(sim, port, **more):
    return balanced_config(sim, accounts=("eu",), tranche_settings={"health_port": port, **more})


def ask(gateway, port, target, method="GET", **kw):
    answer = http_request(port, method, target, headers={"Authorization": f"Bearer {MASTER_KEY}"}, **kw)
    gateway.check(answer, method)
    return answer


def refused(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) != 0


def test_health_metrics_and_the_page_have_a_port_of_their_own_and_nothing_else_has(start, sim):
    port = free_port()
    gateway = start(config(sim, port), sim=sim)
    gateway.wait_line(rf"health, metrics and the page are at 127\.0\.0\.1:{port}, too")
    for target in ("/health/liveliness", "/health/readiness", "/health", "/metrics", "/ui"):
        assert ask(gateway, port, target).status == ask(gateway, gateway.port, target).status == 200, target
    for method, target in (("GET", "/v1/files"), ("GET", "/v1/batches"), ("POST", "/v1/batches"), ("GET", "/v1/models"),
                           ("GET", "/v1/files/file-abc/content"), ("POST", "/key/generate")):
        envelope(ask(gateway, port, target, method), 404, code="unknown_url")
    calls = len(sim.requests())
    envelope(ask(gateway, port, "/v1/files", "POST"), 404)
    assert len(sim.requests()) == calls
    gateway.created(gateway.uploaded()["id"])
    # Who is on it is no stranger: the key is asked for as at the other one
    envelope(http_request(port, "GET", "/metrics"), 401)
    envelope(http_request(port, "GET", "/health"), 401)


def test_a_crowd_of_clients_leaves_the_port_of_health_alone(start, sim):
    port = free_port()
    gateway = start(config(sim, port, limits={"max_connections": 2}), sim=sim, workers=1)
    crowd = [socket.create_connection(("127.0.0.1", gateway.port)) for _ in range(20)]
    try:
        for _ in range(3):
            assert ask(gateway, port, "/health/readiness").status == 200
    finally:
        for client in crowd:
            client.close()


def test_the_port_of_health_moves_and_goes_with_the_configuration(start, sim):
    first, second = free_port(), free_port()
    gateway = start(config(sim, first), sim=sim)
    assert ask(gateway, first, "/health/readiness").status == 200
    gateway.write_config(config(sim, second))
    gateway.send(signal.SIGHUP)
    gateway.wait_line("generation 2 serves")
    assert ask(gateway, second, "/health/readiness").status == 200
    until(lambda: refused(first), "the first port is left")
    gateway.write_config(balanced_config(sim, accounts=("eu",)))
    gateway.send(signal.SIGHUP)
    gateway.wait_line("generation 3 serves")
    until(lambda: refused(second), "the second port is left")
    assert gateway.get("/health/readiness").status == 200


def test_an_upgrade_refuses_nobody_at_the_port_of_health(start, sim):
    port = free_port()
    gateway = start(config(sim, port), sim=sim)
    gateway.wait_line("generation 1 serves")
    gateway.send(signal.SIGUSR2)
    successor = int(gateway.wait_line(r"new program started, pid (\d+)").group(1))
    try:
        def over():
            try:
                answer = ask(gateway, port, "/health/readiness")
                assert answer.status == 200 or answer.json()["error"]["message"] == "The gateway is shutting down.", answer
            except (ConnectionResetError, http.client.RemoteDisconnected):
                pass  # accepted by a worker that ended: it never answered, and the socket was never closed to others
            return gateway.popen.poll() is not None

        until(over, "the old program has ended", PATIENCE * 2)
        assert ask(gateway, port, "/health/readiness").status == 200
    finally:
        os.kill(successor, signal.SIGTERM)
    assert gateway.wait_output_end(PATIENCE * 2)
    assert refused(port)


def test_one_port_cannot_be_both(sim, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("tranche_settings:\n  port: 4100\n  health_port: 4100\ngeneral_settings: {master_key: sk-0123456789abcdef}\n")
    done = subprocess.run([find_binary("tranche"), "check", "--config", str(file)], env={**program_env(), "OPENAI_API_KEY": "sk-x"},
                          capture_output=True, text=True)
    assert done.returncode == 1 and ":3: error: tranche_settings.health_port: 4100 is the port of all routes already" in done.stdout + done.stderr, done
