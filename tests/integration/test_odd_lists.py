"""Lists of servers that have OpenAI's API and a paging of their own: complete, in order, or told to be partial."""

import http.server
import json
import threading
from urllib.parse import parse_qs, urlsplit

import pytest
from harness import MASTER_KEY, envelope

NEWEST = 1_800_000_000


class Server:
    """`num` files, one a second; how it pages is a matter of its switches."""

    def __init__(self, num, prefix="file-", **switches):
        self.files = [{"id": f"{prefix}{n:05d}", "object": "file", "bytes": 1, "created_at": NEWEST - n, "filename": "a.jsonl",
                       "purpose": "batch", "status": "processed"} for n in range(num)]
        self.switches, self.asked = switches, []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                url = urlsplit(self.path)
                query = {k: v[0] for k, v in parse_qs(url.query).items()}
                if "batches" in url.path:
                    body = {"object": "list", "data": [], "has_more": False}
                elif url.path.endswith("/files"):
                    if "(upkeep)" not in self.headers["user-agent"]:
                        server.asked.append(query)
                    body = server.page(query)
                else:
                    found = [f for f in server.files if url.path.endswith(f["id"])]
                    body = found[0] if found else {"error": {"message": "no", "type": "invalid_request_error", "param": None, "code": None}}
                    self.send(200 if found else 404, body)
                    return
                self.send(200, body)

            def send(self, status, body):
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.base = f"http://127.0.0.1:{self.http.server_port}/v1"

    def page(self, query):
        files = self.files[::-1] if self.switches.get("oldest_first") or query.get("order") == "asc" else self.files
        if query.get("after") and not self.switches.get("ignores_after"):
            at = [f["id"] for f in files].index(query["after"])
            files = files[at + 1:]
        limit = min(int(query.get("limit", 20)), self.switches.get("cap", 10_000))
        answer = {"object": "list", "data": files[:limit]}
        if not self.switches.get("silent"):
            answer["has_more"] = len(files) > limit
        return answer


@pytest.fixture
def serve(start):
    servers = []

    def make(*given):
        servers.extend(given)
        rows = [{"model_name": f"m{n}", "litellm_params": {"model": f"openai/m{n}", "api_base": s.base, "api_key": f"key-of-server-{n}"},
                 "model_info": {"mode": "batch"}} for n, s in enumerate(given)]
        return start({"model_list": rows, "litellm_settings": {"enable_loadbalancing_on_batch_endpoints": True},
                      "general_settings": {"master_key": MASTER_KEY}})

    yield make
    for server in servers:
        server.http.shutdown()
        server.http.server_close()


def walk(gateway, limit, query=""):
    """Native ids of all pages, and what told that a page was partial."""
    seen, partial, after = [], [], ""
    for _ in range(200):
        answer = gateway.get(f"/v1/files?limit={limit}{query}{after}")
        assert answer.status == 200, answer
        page = answer.json()
        partial += [answer.headers["x-tranche-partial"]] if "x-tranche-partial" in answer.headers else []
        seen += [f["id"].rsplit("-t", 1)[0] for f in page["data"]]
        if not page["has_more"]:
            return seen, partial
        after = "&after=" + page["last_id"]
    raise AssertionError("it never ends")


ODD = {"ignores after, says nothing of more": {"ignores_after": True, "silent": True},
       "oldest first": {"oldest_first": True}, "oldest first, says nothing": {"oldest_first": True, "silent": True},
       "oldest first, ignores after": {"oldest_first": True, "ignores_after": True, "silent": True},
       "oldest first, small pages": {"oldest_first": True, "cap": 30},
       "says nothing of more": {"silent": True}, "ordinary": {}}


@pytest.mark.parametrize("limit", [1, 7, 40, 200])
@pytest.mark.parametrize("odd", ODD)
def test_a_list_does_not_end_early_without_a_word(serve, odd, limit):
    server = Server(107 if limit > 1 else 12, **ODD[odd])
    gateway = serve(server)
    seen, partial = walk(gateway, limit)
    assert (seen, partial) == ([f["id"] for f in server.files], [])


@pytest.mark.parametrize("odd", ODD)
def test_no_file_is_shown_twice_or_left_out_beside_an_ordinary_account(serve, odd):
    one, two = Server(61, **ODD[odd]), Server(53, prefix="other-")
    gateway = serve(one, two)
    seen, partial = walk(gateway, 10)
    assert partial == [] and len(seen) == len(set(seen)) == 114
    times = {f["id"]: f["created_at"] for f in one.files + two.files}
    assert [times[i] for i in seen] == sorted(times.values(), reverse=True)


def test_an_account_is_read_whole_once_and_known_then(serve):
    server = Server(107, ignores_after=True, silent=True)
    gateway = serve(server)
    walk(gateway, 10)
    assert sum(q.get("limit") != "10000" for q in server.asked) <= 2 * 2, server.asked  # once a worker at most


@pytest.mark.parametrize("cap", [20, 100])
def test_what_a_server_cuts_without_a_word_is_partial_and_strict_is_a_502(serve, cap):
    server = Server(137, ignores_after=True, silent=True, cap=cap)
    gateway = serve(server)
    answer = gateway.get("/v1/files?limit=7")
    while answer.status == 200 and answer.json()["has_more"]:
        answer = gateway.get("/v1/files?limit=7&after=" + answer.json()["last_id"])
    # Behind what the server gives nobody knows anything.
    assert answer.status == 502 or answer.headers.get("x-tranche-partial"), "the list ended early without a word"
    error = envelope(gateway.get("/v1/files?limit=7&strict=true"), 502)
    assert error["code"] == "partial_list", error
