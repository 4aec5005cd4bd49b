"""Providers statements 44 to 72: Azure OpenAI's."""

from urllib.parse import quote, urlencode

from check_kit import CHAT, V21, V25, Azure, check, file_part, is_azure_error, jsonl, line, request, text_part


@check
def s44_dated_paths_need_a_known_api_version(sim, o):
    for version in (None, "2199-01-01"):
        is_azure_error(Azure(sim, version).call("GET", "/files"), 404, "404", "Resource not found")
    old = Azure(sim, "2024-02-01")
    is_azure_error(old.upload(), 400, "invalidPayload", "Invalid value for purpose.")
    is_azure_error(old.call("GET", "/batches"), 404, "404")
    is_azure_error(Azure(sim).call("GET", "/deployments/fast/files"), 404, "404")
    is_azure_error(Azure(sim).call("POST", "/deployments/fast/chat/completions", {}), 400, "OperationNotSupported")


@check
def s45_v1_paths_work_with_three_versions(sim, o):
    for version in (None, "v1", "preview"):
        assert Azure(sim, version, v1=True).call("GET", "/files").status == 200
    assert Azure(sim, V21, v1=True).call("GET", "/files").status == 404


@check
def s46_key_and_token_authorise(sim, o):
    def status(headers, **kw):
        z = Azure(sim, **kw)
        z.auth = headers
        return z.call("GET", "/files").status
    bearer = {"Authorization": "Bearer static-token"}
    assert status({"api-key": "azure-key"}) == status(bearer) == 200
    assert status({"Authorization": "Bearer azure-key"}) == 401
    assert status({"Authorization": "Bearer azure-key"}, version=None, v1=True) == 200
    assert status({"api-key": "wrong", **bearer}) == status({"api-key": "azure-key", "Authorization": "Bearer x"}) == 200
    sim.switch("az", both_auth="api-key")
    assert status({"api-key": "wrong", **bearer}) == 401
    assert status({}) == 401


@check
def s47_a_wrong_key_has_a_string_code_and_no_type(sim, o):
    z = Azure(sim)
    z.auth = {"api-key": "wrong"}
    is_azure_error(z.call("GET", "/files"), 401, "401", "Access denied due to invalid subscription key")
    sim.switch("az", auth_code="PermissionDenied")
    is_azure_error(z.call("GET", "/files"), 401, "PermissionDenied")


@check
def s48_a_file_part_needs_a_content_type(sim, o):
    a = Azure(sim).post_parts([text_part("purpose", "batch"), file_part(b"x\n", ctype=None)])
    is_azure_error(a, 400, "invalidPayload", "The file has no or an empty content type specified.")
    assert Azure(sim).post_parts([text_part("purpose", "batch"), file_part(b"x\n", ctype="application/json")]).status == 201


@check
def s49_a_part_with_a_length_is_refused(sim, o):
    parts = [text_part("purpose", "batch"), file_part(b"x\n", extra=[("Content-Length", "2")])]
    is_azure_error(Azure(sim).post_parts(parts), 400, "invalidPayload", "purpose contains an invalid purpose.")
    sim.switch("az", part_length_refused=False)
    assert Azure(sim).post_parts(parts).status == 201
    seen = sim.requests("az")[-1]
    assert [p["name"] for p in seen["parts"]] == ["purpose", "file"] and "Content-Length: 2" in seen["parts"][1]["headers"]


@check
def s50_a_dated_upload_is_201_with_a_location(sim, o):
    a = Azure(sim).upload()
    assert a.status == 201 and f"/openai/files/{a.json()['id']}" in a.headers["location"], a
    assert Azure(sim, None, v1=True).upload().status == 200
    sim.switch("az", time={"pending_ms": 1000}, pending_bytes="absent")
    assert "bytes" not in Azure(sim).upload().json()
    sim.switch("az", pending_bytes="null")
    assert Azure(sim).upload().json()["bytes"] is None


@check
def s51_a_file_is_pending_then_processed_or_broken(sim, o):
    z = Azure(sim)
    sim.switch("az", time={"pending_ms": 60000})
    f = z.uploaded()
    assert f["status"] == "pending"
    sim.advance(61000)
    assert z.call("GET", f"/files/{f['id']}").json()["status"] == "processed"
    sim.switch("az", file_error=True)
    f = z.uploaded()
    sim.advance(61000)
    f = z.call("GET", f"/files/{f['id']}").json()
    assert f["status"] == "error" and f["status_details"]


@check
def s52_a_batch_on_a_pending_file_fails(sim, o):
    z = Azure(sim)
    sim.switch("az", time={"pending_ms": 60000})
    f = z.uploaded()["id"]
    is_azure_error(z.create(f), 400, "invalidPayload", "pending")
    sim.switch("az", pending_create="async")
    b = z.create(f)
    assert b.status == 200
    sim.advance(2000)
    assert z.batch(b.json())["status"] == "failed"
    sim.advance(60000)
    assert z.create(f).status == 200


@check
def s53_expires_after_takes_both_spellings(sim, o):
    z = Azure(sim)
    def expiry(seconds, brackets=True):
        names = ("expires_after[anchor]", "expires_after[seconds]") if brackets else ("expires_after.anchor", "expires_after.seconds")
        return z.upload(fields=[(names[0], "created_at"), (names[1], str(seconds))])
    for brackets in (True, False):
        f = expiry(1209600, brackets).json()
        assert f["expires_at"] == f["created_at"] + 1209600
    is_azure_error(expiry(1209599), 400, "invalidPayload")
    is_azure_error(expiry(2592001), 400, "invalidPayload")
    sim.switch("az", enforce_expires=False)
    assert expiry(3600).status == 201
    assert z.uploaded()["expires_at"] is None


@check
def s54_the_501st_file_is_over_quota(sim, o):
    z = Azure(sim)
    sim.switch("az", max_files=3, max_files_expiring=1)
    for _ in range(3):
        z.uploaded()
    is_azure_error(z.upload(), 400, "quotaExceeded", "The quota for files without expiry is reached. The maximum is 3.")
    fields = [("expires_after[anchor]", "created_at"), ("expires_after[seconds]", "1209600")]
    assert z.upload(fields=fields).status == 201
    is_azure_error(z.upload(fields=fields), 400, "quotaExceeded")
    first = z.call("GET", "/files").json()["data"][-1]["id"]
    z.call("DELETE", f"/files/{first}")


@check
def s55_only_v1_lists_have_pages(sim, o):
    assert set(Azure(sim).call("GET", "/files").json()) == {"object", "data"}
    assert set(Azure(sim, None, v1=True).call("GET", "/files").json()) == {"object", "data", "first_id", "last_id", "has_more"}


@check
def s56_delete_is_204_on_the_first_preview(sim, o):
    z = Azure(sim, "2024-07-01-preview")
    a = z.call("DELETE", f"/files/{z.uploaded()['id']}")
    assert a.status == 204 and a.body == b"" and "content-length" not in a.headers
    z = Azure(sim)
    f = z.uploaded()["id"]
    assert z.call("DELETE", f"/files/{f}").json() == {"id": f, "object": "file", "deleted": True}
    sim.switch("az", deleted_lingers=True)
    assert z.call("GET", f"/files/{f}").json()["status"] == "deleted"


@check
def s57_batch_create_is_200_or_201_with_token_headers(sim, o):
    for z in (Azure(sim), Azure(sim, None, v1=True)):
        a = z.create(z.uploaded()["id"])
        assert a.status == 200 and "deployment-enqueued-tokens" not in a.headers
    z = Azure(sim, V25)
    a = z.create(z.uploaded()["id"])
    assert a.status == 201 and int(a.headers["deployment-enqueued-tokens"]) > 0
    assert a.headers["deployment-maximum-enqueued-tokens"] == "100000"


@check
def s58_the_endpoint_is_echoed_bare(sim, o):
    assert Azure(sim).created()["endpoint"] == "/chat/completions"
    sim.switch("az", echo_bare_endpoint=False)
    assert Azure(sim).created()["endpoint"] == CHAT
    assert Azure(sim).finished(jsonl(line("a", "fast", url="/chat/completions")), endpoint=CHAT)["status"] == "completed"


@check
def s59_the_model_must_be_a_batch_deployment(sim, o):
    def code(*lines):
        b = Azure(sim).finished(jsonl(*lines))
        assert b["status"] == "failed"
        return b["errors"]["data"][0]["code"]
    assert code(line("a", "unknown")) == "model_not_found"
    assert code(line("a", "fast"), line("b", "slow")) == "model_mismatch"
    assert code(line("a", "online")) == "invalid_request"


@check
def s60_line_limits_and_boms(sim, o):
    def code(content):
        return Azure(sim).finished(content)["errors"]["data"][0]["code"]
    sim.switch("az", max_lines=3)
    assert code(jsonl(*[line(str(n), "fast") for n in range(4)])) == "too_many_tasks"
    assert code(b"") == code(b"\n\n") == "empty_file"
    b = Azure(sim).finished(b"\xef\xbb\xbf" + jsonl(line("a", "fast")))
    assert b["status"] == "failed" and "valid model deployment name couldn't be extracted" in b["errors"]["data"][0]["message"]


@check
def s61_the_quota_refuses_fast_or_slowly(sim, o):
    def big(model):
        return jsonl(*[line(f"r{n}", model, pad="x" * 900) for n in range(250)])
    z = Azure(sim)
    first = z.created(big("fast"))
    f = z.uploaded(big("fast"))["id"]
    a = z.create(f)
    assert a.status == 400 and b"token_limit_exceeded" in a.body, a
    assert sim.ledger("az")["creates"]["batches"] == 1
    z.created(big("slow"))
    late = z.created(big("slow"))
    sim.advance(2000)
    e = z.batch(late)["errors"]["data"][0]
    assert e["code"] == "token_limit_exceeded" and "limit of 100K for the deployment 'slow'" in e["message"] and e["line"] is None
    sim.advance(20000)
    assert z.batch(first)["status"] == "completed" and z.create(f).status == 200


@check
def s62_a_clean_batch_has_an_empty_error_file(sim, o):
    b = Azure(sim).finished()
    assert b["status"] == "completed" and b["error_file_id"] and b["output_file_id"]
    a = Azure(sim).call("GET", f"/files/{b['error_file_id']}/content")
    assert a.status == 200 and a.headers["content-length"] == "0" and a.body == b""


@check
def s63_ids_and_counts_may_be_empty_at_first(sim, o):
    z = Azure(sim)
    b = z.created()
    assert b["output_file_id"] == "" and b["error_file_id"] == ""
    sim.switch("az", empty_ids=False, null_counts=True)
    b = z.batch(b)
    assert b["output_file_id"] is None and b["request_counts"] == {"total": None, "completed": None, "failed": None}


@check
def s64_output_lines_lack_ids_and_carry_filters(sim, o):
    z = Azure(sim)
    b = z.finished(jsonl(line("a", "fast"), line("fail-b", "fast")))
    x = z.lines(b["output_file_id"])[0]
    assert set(x) == {"custom_id", "response", "error"} and set(x["response"]) == {"body", "request_id", "status_code"}
    assert x["response"]["body"]["prompt_filter_results"] and x["response"]["body"]["choices"][0]["content_filter_results"]
    assert "id" not in z.lines(b["error_file_id"])[0]


@check
def s65_a_failed_job_may_lack_failed_at(sim, o):
    z = Azure(sim)
    b = z.finished(b"{\n")
    assert b["failed_at"]
    sim.switch("az", failed_at_null=True, line_as_string=True, capital_status=True, iso_times=True)
    b = z.batch(b)
    assert b["failed_at"] is None and b["completed_at"].endswith("Z") and b["errors"]["data"][0]["line"] == "1"
    assert b["status"] == "Failed"


@check
def s66_lists_take_odata_on_previews_only(sim, o):
    z = Azure(sim, "2025-03-01-preview")
    a, b = z.created(), z.created()
    sim.advance(20000)
    c = z.created()
    def ids(**query):
        return [x["id"] for x in z.call("GET", "/batches", query={k.replace("_", "$", 1): v for k, v in query.items()}).json()["data"]]
    assert ids() == [c["id"], b["id"], a["id"]]
    assert ids(**{"_filter": "status eq 'Completed'"}) == [b["id"], a["id"]]
    assert ids(**{"_filter": f"created_at gt {a['created_at'] + 10} and status eq 'validating'"}) == [c["id"]]
    assert ids(**{"_orderby": "created_at asc", "limit": 2}) == [a["id"], b["id"]]
    assert ids(after=b["id"]) == [a["id"]]
    assert z.call("GET", "/batches", query={"$top": 1}).status == 400
    assert z.call("GET", "/batches", query={"$filter": "nonsense"}).status == 400
    assert Azure(sim).call("GET", "/batches", query={"$filter": "status eq 'Completed'"}).status == 400


@check
def s67_answers_carry_azures_headers(sim, o):
    z = Azure(sim)
    for a in (z.call("GET", "/files"), z.call("GET", "/files/x"), z.call("GET", "/nowhere")):
        assert len(a.headers["apim-request-id"]) == 36 and a.headers["x-ms-region"] == "swedencentral"
    sim.fault({"status": 429}, account="az", times=3)
    a = z.call("GET", "/files")
    is_azure_error(a, 429, "429", "Please retry after 2 seconds")
    assert a.headers["retry-after-ms"] == "2000" and a.headers["retry-after"] == "2"
    sim.switch("az", retry_after=False)
    assert "retry-after" not in z.call("GET", "/files").headers
    sim.switch("az", retry_after_ms=False, retry_after=True)
    a = z.call("GET", "/files")
    assert "retry-after-ms" not in a.headers and "retry-after" in a.headers


@check
def s68_more_than_ten_custom_headers_are_431(sim, o):
    z = Azure(sim)
    ten = {f"x-custom-{n}": "v" for n in range(10)}
    assert z.call("GET", "/files", headers=ten).status == 200
    assert z.call("GET", "/files", headers={**ten, "x-stainless-os": "Linux"}).status == 431
    sim.switch("az", max_custom_headers=0)
    assert z.call("GET", "/files", headers={**ten, "x-stainless-os": "Linux"}).status == 200


@check
def s69_own_storage_is_echoed(sim, o):
    z = Azure(sim, V25)
    folder = {"url": "https://acc.blob.example/out", "delimiter": "/"}
    a = z.create(..., input_blob="https://acc.blob.example/in.jsonl", output_folder=folder)
    b = a.json()
    assert a.status == 201 and b["input_file_id"] is None and b["input_blob"] == "https://acc.blob.example/in.jsonl", b
    assert b["output_folder"] == folder and b["output_blob"] == ""
    sim.advance(20000)
    b = z.batch(b)
    assert b["status"] == "completed" and b["output_blob"].startswith("https://")


def token(sim, **form):
    form = {"grant_type": "client_credentials", "client_id": "app", "client_secret": "s3cret",
            "scope": "https://cognitiveservices.azure.com/.default", **form}
    return request(sim.ports["entra"], "POST", "/tenant/oauth2/v2.0/token", urlencode({k: v for k, v in form.items() if v}),
                   {"Content-Type": "application/x-www-form-urlencoded"})


@check
def s70_the_token_endpoint_checks_its_form(sim, o):
    a = token(sim).json()
    assert a["token_type"] == "Bearer" and a["expires_in"] == 3599 and a["access_token"]
    a = token(sim, client_secret="wrong")
    e = a.json()
    assert a.status == 401 and e["error"] == "invalid_client" and e["error_description"].startswith("AADSTS7000215")
    assert set(e) == {"error", "error_description", "error_codes", "timestamp", "trace_id", "correlation_id"} and e["error_codes"] == [7000215]
    assert [token(sim, **{k: None}).status for k in ("grant_type", "client_id", "scope")] == [400] * 3
    assertion = {"client_secret": None, "client_assertion": "jwt", "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}
    assert token(sim, **assertion).status == 200
    z = Azure(sim)
    z.auth = {"Authorization": "Bearer " + token(sim).json()["access_token"]}
    assert z.call("GET", "/files").status == 200
    sim.switch("az", token_scope="ai")
    assert z.call("GET", "/files").status == 401


@check
def s71_the_metadata_service_wants_its_header(sim, o):
    target = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=" + quote("https://cognitiveservices.azure.com", safe="")
    def get(**headers):
        return request(sim.ports["entra"], "GET", target, headers=headers)
    a = get()
    assert a.status == 400 and b"bad_request_102" in a.body
    t = get(Metadata="true").json()
    assert t["expires_in"] == "3599" and isinstance(t["expires_on"], str) and isinstance(t["not_before"], str) and t["resource"]
    z = Azure(sim)
    z.auth = {"Authorization": f"Bearer {t['access_token']}"}
    assert z.call("GET", "/files").status == 200
    for status in (404, 410, 429, 500):
        sim.fault({"status": status}, account="entra", path="/metadata/*")
        assert get(Metadata="true").status == status
    assert get(Metadata="true").status == 200


@check
def s72_an_expired_token_is_401(sim, o):
    z = Azure(sim)
    z.auth = {"Authorization": "Bearer " + token(sim).json()["access_token"]}
    assert z.call("GET", "/files").status == 200
    sim.advance(3600_000)
    is_azure_error(z.call("GET", "/files"), 401, "401")
