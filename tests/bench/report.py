"""The tables of the benchmark."""

import statistics


def table(title, rows):
    """Print columns, the first one to the left."""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    print(f"\n{title}")
    for row in rows:
        print("  " + "  ".join(cell.ljust(w) if n == 0 else cell.rjust(w) for n, (cell, w) in enumerate(zip(row, widths))).rstrip())


def ratio(value, base):
    return f"{value / base:.2f}" if base else "-"


def ms(seconds):
    return f"{seconds * 1000:.1f}" if seconds < 0.1 else f"{seconds * 1000:.0f}"


def quantiles(times):
    cuts = statistics.quantiles(times, n=1000, method="inclusive")
    return {"polls": len(times), "p50_ms": cuts[499] * 1000, "p99_ms": cuts[989] * 1000, "max_ms": max(times) * 1000}


def mib(count):
    return f"{count / (1 << 20):.1f}" if count else "-"


def print_machine(machine, no_pin, store):
    pinned = "not pinned" if no_pin or machine["cpus"] < 2 else "server under test on one core, client and simulator on the others"
    print(f"{machine['cpu']}, {machine['cpus']} cores, {pinned}; load before: {machine['load']:.1f}; the simulator stores in {store.rsplit('/', 1)[0]}")
    print("medians; every server has one worker; x is the ratio to nginx (buffering off, else as Debian ships it; nginx-64k: with larger buffers);\n"
          "of times and CPU, below 1 is faster than nginx; of requests per second, above 1")


def print_start(result):
    table("cold start to the first answer (aim: 50 ms)",
          [["server", "ms"]] + [[name, ms(value)] for name, value in result.items()])


def print_small(result):
    rows = [["request", "connections", "server", "per second", "x", "p50 ms", "x", "p99 ms"]]
    for entry in result:
        base = entry["servers"]["nginx"]
        for name, r in entry["servers"].items():
            rows.append([entry["what"], str(entry["connections"]), name, f"{r['per_s']:.0f}", ratio(r["per_s"], base["per_s"]),
                         f"{r['p50_ms']:.3f}", ratio(r["p50_ms"], base["p50_ms"]), f"{r['p99_ms']:.3f}"])
    table("small GET (wrk)", rows)


def print_large(result):
    table("cold start of tranche to the first answer (aim: 30 ms with 10 accounts, 300 ms with 10,000 rows)",
          [["configuration", "ms"]] + [[name, ms(value)] for name, value in result.items()])


def rates(title):
    def show(result):
        rows = [["what", "server", "per second", "x", "CPU us", "x"]]
        for entry in result:
            base = entry["servers"]["nginx"]
            for name, r in entry["servers"].items():
                rows.append([entry["what"], name, f"{r['per_s']:.0f}", ratio(r["per_s"], base["per_s"]), f"{r['cpu_us']:.1f}",
                             ratio(r["cpu_us"], base["cpu_us"])])
        table(title, rows)
    return show


def print_accept(result):
    rows = [["server", "rounds", "most : least, each round"]]
    for name, pairs in result.items():
        rows.append([name, str(len(pairs)), "  ".join(f"{most}:{least}" for most, least in pairs)])
    table("64 connections that come one after the other, shared by two workers (aim: most at most 1.2 x least)", rows)


def print_size(result):
    rows = [["front", "idle, two workers MiB", "connections", "bytes each"]]
    for name, r in result.items():
        rows.append([name, mib(r["idle_bytes"]), str(r["connections"]), f"{r['each_bytes']:.0f}"])
    table("memory of all processes (PSS; the kernel's is not in it), and what each idle connection adds", rows)


def print_checker(lines):
    print("\nline checker, one core")
    for line in lines:
        print("  " + line)


def print_tables(lines):
    print("\nthe balancer's tables, one core")
    for line in lines:
        print("  " + line)


def print_polls(result):
    rows = [["server", "alone p50", "p99", "beside p50", "p99", "max", "polls"]]
    for name, r in result["servers"].items():
        alone, beside = r["alone"], r["beside"]
        rows.append([name, f"{alone['p50_ms']:.2f}", f"{alone['p99_ms']:.2f}", f"{beside['p50_ms']:.2f}", f"{beside['p99_ms']:.2f}",
                     f"{beside['max_ms']:.2f}", str(beside["polls"])])
    table(f"batch status polled, alone and beside two clients that upload {result['mb']} MB each (ms; aim: p99 under 5)", rows)


def print_keys(result):
    rows = [["keys", "CPU us", "x", "p50 us", "x", "polls a round"]]
    base = result["master key alone"]
    for name, r in result.items():
        rows.append([name, f"{r['cpu_us']:.1f}", ratio(r["cpu_us"], base["cpu_us"]), f"{r['p50_us']:.0f}", ratio(r["p50_us"], base["p50_us"]),
                     str(r["polls"])])
    table("a poll with one of 100,000 keys, and with the master key where there is no other (aim: 1.05 x)", rows)


def print_logs(result):
    rows = [["the log goes to", "CPU us", "x", "p50 us", "x", "p99 us", "x", "polls a round", "lines lost"]]
    base = result["a file"]
    for name, r in result.items():
        cells = [c for key, form in (("cpu_us", ".1f"), ("p50_us", ".0f"), ("p99_us", ".0f")) for c in (format(r[key], form), ratio(r[key], base[key]))]
        rows.append([name] + cells + [str(r["polls"]), str(r["lost"])])
    table("a poll while its log is written, and while nobody reads it (x: to the first; the second says what the machine does)", rows)


def print_journal(result):
    rows = [["journal", "poll us", "x", "poll CPU us", "x", "polls", "create p50 ms", "x", "p99 ms", "creates"]]
    base = result["none"]
    for name, r in result.items():
        rows.append([name, f"{r['poll_us']:.1f}", ratio(r["poll_us"], base["poll_us"]), f"{r['poll_cpu_us']:.1f}",
                     ratio(r["poll_cpu_us"], base["poll_cpu_us"]), str(r["polls"]), f"{r['create_p50_ms']:.2f}",
                     ratio(r["create_p50_ms"], base["create_p50_ms"]), f"{r['create_p99_ms']:.2f}", str(r["creates"])])
    table("polls and creates without a journal, and with one (x: to none; aim: the poll at most 1.02 x; polls: the fastest tenth of\neach round, and of CPU and rounds the lower quarter, since other programs only add; each commit of a create waits for the disk)", rows)


def print_fleet(result):
    print("\n50 keepers, 100 creates a second, one PostgreSQL (the keepers' clients alone; aim: at most 100 connections)")
    for line in result["lines"]:
        print("  " + line)


def print_tenants(result):
    rows = [["what", "flood", "p50", "x alone", "p99", "x alone", "x elsewhere", "requests", "flood/s", "elsewhere"]]
    alone = result["alone"]
    for what in ("poll", "create"):
        rows.append([what, "none"] + [c for key in ("p50_ms", "p99_ms") for c in (f"{alone[what][key]:.2f}", "1.00")] +
                    ["-", str(round(alone[what]["polls"])), "-", "-"])
        for name, r in result.items():
            kind, _, where = name.partition(" ")
            if where != "here":
                continue
            other = result[f"{kind} elsewhere"]
            cells = [c for key in ("p50_ms", "p99_ms") for c in (f"{r[what][key]:.2f}", ratio(r[what][key], alone[what][key]))]
            rows.append([what, kind] + cells + [ratio(r[what]["p99_ms"], other[what]["p99_ms"]), str(round(r[what]["polls"])),
                                                f"{r['flood']['per_s']:.0f}", f"{other['flood']['per_s']:.0f}"])
    table("one tenant's polls and creates beside another one's flood (ms; x alone: to an idle machine; x elsewhere: to the same flood at another\n"
          "process; aim: p99 at most 3 x; flood/s: what the flood got, here and elsewhere)", rows)


def transfer_printer(title):
    def show(result):
        rows = [["MB", "server", "ms", "x", "MB/s", "CPU ms", "x", "idle MiB", "peak MiB"]]
        for entry in result:
            base = entry["servers"]["nginx"]
            for name, r in entry["servers"].items():
                rows.append([str(entry["mb"]), name, ms(r["seconds"]), ratio(r["seconds"], base["seconds"]),
                             f"{entry['mb'] / r['seconds']:.0f}", ms(r["cpu_s"]) if r["cpu_s"] else "-",
                             ratio(r["cpu_s"], base["cpu_s"]) if r["cpu_s"] else "-", mib(r["idle_bytes"]), mib(r["peak_bytes"])])
        table(title, rows)
    return show


PRINTERS = {
    "start": print_start, "large": print_large, "small": print_small,
    "h2": rates("HTTP/2 in clear text, 8 connections of 32 streams (h2load; aim: 0.9 x the best)"),
    "tls": rates("TLS 1.2 handshakes, P-256, each with one request (openssl s_time, two clients; aim: 0.9 x nginx)"),
    "accept": print_accept, "size": print_size, "checker": print_checker, "tables": print_tables,
    "polls": print_polls, "keys": print_keys, "logs": print_logs, "journal": print_journal, "fleet": print_fleet, "tenants": print_tenants,
    "upload": transfer_printer("upload of a batch file: tranche checks every line and changes the model (aim at 200 MB: at most 1.3 x the time)"),
    "plain": transfer_printer("upload for another purpose: nothing to check"),
    "download": transfer_printer("download (aim: at most 1.1 x the time)"),
}
