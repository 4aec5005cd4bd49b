"""What a log that nobody reads costs: polls of gateways that write to a file and to a pipe whose reader has stopped, in turns of one run."""

import contextlib
import os
import re
import statistics
import threading

import client
import programs


class Unread(programs.Tranche):
    """Its log goes to a pipe that is read until the gateway has started, and then no more."""

    def output(self):
        self.read_fd, write_fd = os.pipe()
        self.started = threading.Event()
        threading.Thread(target=self.read_until_started, daemon=True).start()
        return os.fdopen(write_fd, "wb")

    def read_until_started(self):
        with open(self.log_path, "wb", buffering=0) as log:
            while not self.started.is_set():
                log.write(os.read(self.read_fd, 65536))

    def lost(self):
        """Lines of the access log that found no room."""
        page = client.request(self.port, "GET", "/metrics", self.headers).decode()
        return int(re.search(r'^tranche_log_lines_dropped_total\{stream="access"\} (\d+)$', page, re.M).group(1))

    def stop_reading(self, poller):
        self.started.set()
        while not self.lost():
            for _ in range(100):
                poller.poll()

    def stop(self):
        super().stop()
        with contextlib.suppress(OSError):
            os.close(self.read_fd)


def measure(bench, sim, polls, make_batch, poll_for):
    """Rounds in turn; two gateways write to files: what their ratio differs from 1 is the machine."""
    seconds, rounds = (0.25, 8) if bench.args.quick else (0.5, 40)
    rest = bench.binary("server", "tranche"), bench.directory, sim, polls, bench.proxy_cpus
    with contextlib.ExitStack() as more:
        runs, targets, servers = {}, {}, []
        for name, kind in (("a file", programs.Tranche), ("a file, again", programs.Tranche), ("a pipe that nobody reads", Unread)):
            servers.append(kind(*rest, name=name))
            more.callback(servers[-1].stop)
            targets[name] = servers[-1].poll_target(*make_batch(servers[-1]))
        unread = servers[-1]
        with contextlib.closing(client.Poller(unread.port, targets[unread.name], unread.headers)) as poller:
            unread.stop_reading(poller)
        before = unread.lost()
        for n in range(rounds):
            at = n % len(servers)
            for server in servers[at:] + servers[:at]:
                runs.setdefault(server.name, []).append(poll_for(server, targets[server.name], seconds))
        result = {name: {key: statistics.median(r[key] for r in rs) for key in rs[0]} for name, rs in runs.items()}
        for name, r in result.items():
            r["lost"] = unread.lost() - before if name == unread.name else 0
        return result
