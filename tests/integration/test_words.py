"""The words that operators and clients read: each metric and each header has a row in server/README.md, and each row is true.

What every answer of every other test carries is held against the table of headers, too (harness.py: check())."""

import re
import subprocess

from harness import (GROUP, MASTER_KEY, PATIENCE, ROOT, azure_account, azure_deployment, balanced_config, entra_account, entra_client, find_binary,
                     keyless_account, lines, program_env, until)
from words import lacking, names, rows

CLIENTS = [f"server/{room}" for room in "front request once read create upload admin ui worker".split()]  # rooms that hear and answer them
# Words with a hyphen in these rooms that are no headers of a request or an answer.
OTHER_WORDS = {"api-version", "cross-site", "file-id", "ip6-localhost", "ip6-loopback", "metadata-full", "no-referrer", "no-store",
               "no-cache", "quota-aware", "same-origin", "deployment-enqueued-tokens", "deployment-maximum-enqueued-tokens",
               "delete", "get", "head", "patch", "post", "input_blob", "output_folder"}
NO_METRICS = {"litellm_model_name", "litellm_provider"}  # labels


COMMENT = re.compile(r"""("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])+')|/\*.*?\*/""", re.DOTALL)


def sources(*rooms, kinds="[ch]"):
    """Without comments."""
    return {path: COMMENT.sub(lambda m: m.group(1) or "", path.read_text(encoding="utf-8"))
            for room in rooms for path in sorted((ROOT / room).rglob(f"*.{kinds}"))}


def headers_of(code):
    """Names that a source reads or sets: what it asks for or adds by name, members of its lists of names, heads that it writes as
    they are, and whatever else looks like a header."""
    found = set(re.findall(r"\b(?:relay_header|pass_header|relay_request_header|find|find_header|number_in)\(\s*[\w>.-]+,\s*\"([^\"]+)\"", code))
    found |= set(re.findall(r"h2o_memis\((?:h->)?name(?:->|\.)[^;{]*?H2O_STRLIT\(\"([^\"]+)\"\)", code))
    found |= set(re.findall(r"h2o_(?:find|add)_header_by_str\([^;]*?H2O_STRLIT\(\"([^\"]+)\"\)", code))
    found |= {name.replace("_", "-") for name in re.findall(r"H2O_TOKEN_([A-Z_]+)", code)}
    found |= set(re.findall(r"\bsame\(name, \d+, \"([^\"]+)\"", code))
    for members in re.findall(r"static const char \*const names\[\] = \{([^}]*)\}", code):
        found |= set(re.findall(r"\"([^\"]+)\"", members))
    for text in re.findall(r"\"([^\"]*\\r\\n[^\"]*)\"", code):
        found |= set(re.findall(r"(?:^|\\n)([A-Za-z-]+): ", text))
    found |= set(re.findall(r"\"([a-z][a-z0-9]*(?:-[a-z0-9]+)+)\"", code))
    return {name.lower() for name in found} - OTHER_WORDS


def set_by(code):
    return set(re.findall(r"\b(?:relay_header|pass_header)\(\s*[\w>.-]+,\s*\"([^\"]+)\"", code))


def read_by(code):
    return set(re.findall(r"\b(?:relay_request_header|find|find_header|number_in)\(\s*[\w>.-]+,\s*\"([^\"]+)\"", code))


def test_each_header_has_a_row_and_each_row_a_header():
    asked, answered = names("header of a request"), names("header of an answer")
    code = sources(*CLIENTS)
    found = set().union(*map(headers_of, code.values()))
    assert len(found) > 80
    assert lacking(found, asked | answered) == set(), "a header without a row in server README 11"
    assert {name.removesuffix("-*") for name in asked | answered} - found == set(), "a row of server README 11 that no code reads or sets"
    for path, text in code.items():
        assert lacking(set_by(text), answered) == set(), f"{path.name} sets it"
        assert lacking(read_by(text), asked) == set(), f"{path.name} reads it"


# Of the table of answers' headers, what no page of `cors_origins` asks for: what every script may read (Fetch, 2.2.6), what the
# browser itself goes by, and what is the operators' page's.
NO_SCRIPTS = {"cache-control", "content-length", "content-type", "last-modified",
              "accept-encoding", "connection", "content-encoding", "date", "server", "transfer-encoding", "vary", "x-content-type-options",
              "content-security-policy", "cross-origin-opener-policy", "cross-origin-resource-policy", "referrer-policy", "x-frame-options",
              "set-cookie", "x-tranche-csrf", "x-tranche-session-end", "x-tranche-session-of"}


def test_a_page_may_read_each_header_that_clients_go_by(start, sim):
    """A script in a browser sees of other headers nothing."""
    page = "https://app.example"
    gateway = start(balanced_config(sim, tranche_settings={"cors_origins": [page]}))
    exposed = gateway.get("/v1/models", headers={"Origin": page}).headers["access-control-expose-headers"].split(", ")
    answered = {name for name in names("header of an answer") if not name.startswith("access-control-")}
    assert NO_SCRIPTS < answered
    assert sorted(exposed) == sorted(answered - NO_SCRIPTS)


def test_each_metric_of_the_code_has_a_row_and_each_row_a_metric():
    found = {name for text in sources("server/admin").values() for name in re.findall(r"\"((?:tranche|litellm)_[a-z_]+)\"", text)} - NO_METRICS
    assert len(found) > 60
    assert found - names("metric") == set(), "a metric without a row in server README 10"
    assert names("metric") - found == set(), "a row of server README 10 that no code writes"


def bare(sample):
    return re.sub(r"_(bucket|sum|count)$", "", sample)


def test_each_metric_is_what_its_row_says(start, make_sim, tmp_path):
    """Type, words and labels, on a page that has all of them: deployments, a credential of Entra ID, a database with a journal."""
    sim = make_sim({"control_port": 0, "accounts": [keyless_account("eu", max_files=0), azure_account("us"), entra_account()]})
    rows_of_group = [azure_deployment(sim, "us"), azure_deployment(sim, "eu", api_key=None, tenant_id="contoso", client_id="app-1",
                                                                   client_secret=entra_client()["secrets"][0])]
    gateway = start({"model_list": rows_of_group, "general_settings": {"master_key": MASTER_KEY},
                     "litellm_settings": {"enable_loadbalancing_on_batch_endpoints": True},
                     "tranche_settings": {"database": f"sqlite://{tmp_path}/db"}}, sim=sim, env={"AZURE_AUTHORITY_HOST": sim.base("entra")})
    gateway.created(gateway.uploaded(lines(GROUP))["id"])

    def page():
        return gateway.get("/metrics").body.decode()

    until(lambda: all(name in page() for name in ("tranche_journal_batches", "tranche_entra_token_end", "tranche_database_lag")), "all is told")
    text = page()
    told = {name: help for name, help in re.findall(r"^# HELP (\w+) (.*)\.$", text, re.MULTILINE)}
    types = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE))
    labels = {}
    for name, of in re.findall(r"^(\w+)\{(.*)\} \S+$", text, re.MULTILINE):
        name = name if name in types else bare(name)
        labels.setdefault(name, set()).update(re.findall(r"(?:^|,)(\w+)=\"", of))
    table = {cells[0].strip("`"): cells[1:] for cells in rows("metric")}
    assert told == {name: cells[2] for name, cells in table.items()}
    assert types == {name: cells[0] for name, cells in table.items()}
    assert len(labels) > 30
    for name, seen in labels.items():
        assert seen == set(re.findall(r"`(\w+)`", table[name][1])), name


def test_each_symptom_is_a_code_or_a_line_that_the_program_has():
    code = sources("server", "common", "balancer", "config") | sources("server/request", kinds="def")
    text = "\n".join(re.sub(r"\"\s*\"", "", source.replace("UPSTREAM_CODES", '"upstream_"')).replace('\\"', '"') for source in code.values())
    seen = names("seen")
    assert len(seen) > 40
    assert {words for words in seen if words not in text} == set(), "symptoms of server README 13 that nothing says"


def test_the_sample_of_requests_is_a_good_batch_file():
    sample = ROOT / "config" / "samples" / "requests.jsonl"
    done = subprocess.run([find_binary("tranche"), "check-file", sample], env=program_env(), capture_output=True, text=True, check=False,
                          timeout=PATIENCE)
    assert done.returncode == 0 and "valid, 3 requests" in done.stdout + done.stderr, done


def anchors(page):
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_each_link_of_a_page_leads_somewhere():
    missing = []
    pages = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    for room in ("balancer", "common", "config", "scripts", "server", "tests"):
        pages += [page for page in (ROOT / room).rglob("*.md") if "node_modules" not in page.parts]
    for page in pages:
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            path, _, anchor = link.partition("#")
            target = (page.parent / path) if path else page
            if "://" not in link and (not target.exists() or (anchor and anchor not in anchors(target))):
                missing.append(f"{page.relative_to(ROOT)}: {link}")
    assert missing == []
