"""The official Python SDK, unchanged, against the gateway: OpenAI and AzureOpenAI, sync and async."""

import asyncio
import json

import openai
import pytest
from harness import GROUP, MASTER_KEY, lines

UPLOAD = ("requests.jsonl", lines())


def openai_client(gateway, **kw):
    return openai.OpenAI(base_url=gateway.url + "/v1", api_key=MASTER_KEY, **{"max_retries": 0, **kw})


def azure_client(gateway, **kw):
    return openai.AzureOpenAI(azure_endpoint=gateway.url, api_key=MASTER_KEY, api_version="2024-10-21",
                              **{"max_retries": 0, **kw})


def azure_ad_client(gateway):
    return openai.AzureOpenAI(azure_endpoint=gateway.url, azure_ad_token=MASTER_KEY, api_version="2024-10-21", max_retries=0)


def azure_v1_client(gateway):
    return openai.OpenAI(base_url=gateway.url + "/openai/v1/", api_key=MASTER_KEY, max_retries=0)


def bare_client(gateway):
    return openai.OpenAI(base_url=gateway.url, api_key=MASTER_KEY, max_retries=0)


CLIENTS = {"OpenAI": openai_client, "AzureOpenAI": azure_client, "AzureOpenAI_with_a_token": azure_ad_client,
           "OpenAI_with_a_bare_origin": bare_client, "OpenAI_with_azures_v1_path": azure_v1_client}


@pytest.fixture(params=CLIENTS.values(), ids=CLIENTS.keys())
def client(request, gateway):
    with request.param(gateway) as client:
        yield client


def new_batch(client, file_id, **kw):
    return client.batches.create(input_file_id=file_id, endpoint="/v1/chat/completions", completion_window="24h", **kw)


def run_to_the_end(client, sim, batch_id):
    for _ in range(60):
        batch = client.batches.retrieve(batch_id)
        if batch.status in ("completed", "failed", "cancelled", "expired"):
            return batch
        sim.advance(60_000)
    raise AssertionError(f"never ended: {batch}")


def test_an_uploaded_file_can_be_retrieved_listed_read_and_deleted(client):
    file = client.files.create(file=UPLOAD, purpose="batch")
    assert (file.object, file.purpose, file.filename) == ("file", "batch", "requests.jsonl")
    again = client.files.retrieve(file.id)
    assert (again.id, again.bytes, again.created_at, again.filename) == (file.id, file.bytes, file.created_at, file.filename)
    assert file.id in [f.id for f in client.files.list()]
    content = client.files.content(file.id).read()
    assert len(content.splitlines()) == 3 and file.bytes == len(content)
    assert client.files.wait_for_processing(file.id, poll_interval=0.01).status == "processed"
    deleted = client.files.delete(file.id)
    assert (deleted.id, deleted.deleted, deleted.object) == (file.id, True, "file")
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)


def test_a_batch_runs_from_upload_to_results(client, sim):
    file = client.files.create(file=UPLOAD, purpose="batch")
    batch = new_batch(client, file.id, metadata={"team": "search", "run": "17"})
    assert (batch.object, batch.status, batch.input_file_id) == ("batch", "validating", file.id)
    assert (batch.endpoint, batch.completion_window) == ("/v1/chat/completions", "24h")
    assert batch.metadata == {"team": "search", "run": "17"}
    done = run_to_the_end(client, sim, batch.id)
    assert (done.status, done.id, done.input_file_id, done.metadata) == ("completed", batch.id, file.id, batch.metadata)
    assert (done.request_counts.total, done.request_counts.completed, done.request_counts.failed) == (3, 3, 0)
    results = [json.loads(l) for l in client.files.content(done.output_file_id).text.splitlines()]
    assert sorted(r["custom_id"] for r in results) == ["request-1", "request-2", "request-3"]
    assert client.files.content(done.error_file_id).read() == b""  # Azure: an empty file when nothing failed
    assert client.files.retrieve(done.output_file_id).purpose == "batch_output"


def test_a_batch_can_be_cancelled(client, sim):
    batch = new_batch(client, client.files.create(file=UPLOAD, purpose="batch").id)
    cancelled = client.batches.cancel(batch.id)
    assert (cancelled.id, cancelled.status) == (batch.id, "cancelling")
    assert run_to_the_end(client, sim, batch.id).status == "cancelled"


def test_listing_batches_pages_by_itself(client):
    file = client.files.create(file=UPLOAD, purpose="batch")
    made = [new_batch(client, file.id).id for _ in range(5)]
    assert sorted(b.id for b in client.batches.list(limit=2)) == sorted(made)
    page = client.batches.list(limit=2)
    assert len(page.data) == 2 and page.has_more
    assert len(client.batches.list(limit=100).data) == 5


def test_errors_become_the_exceptions_of_the_sdk(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.batches.retrieve("batch_does_not_exist")
    assert caught.value.status_code == 404 and caught.value.request_id
    with pytest.raises(openai.NotFoundError):
        client.files.content("file-does-not-exist")
    with pytest.raises(openai.BadRequestError) as caught:
        client.files.create(file=("broken.jsonl", b'{"custom_id": \n'), purpose="batch")
    assert caught.value.param == "file"
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="sk-wrong").batches.list() if not isinstance(client, openai.AzureOpenAI) \
            else openai.AzureOpenAI(azure_endpoint=str(client.base_url).split("/openai")[0], api_key="sk-wrong",
                                    api_version="2024-10-21", max_retries=0).batches.list()


def test_expires_after_reaches_the_provider(client):
    file = client.files.create(file=UPLOAD, purpose="batch",
                               expires_after={"anchor": "created_at", "seconds": 1209600})
    assert file.expires_at == file.created_at + 1209600


def test_fields_of_extra_body_are_no_error(client):
    file = client.files.create(file=UPLOAD, purpose="batch", extra_body={"target_model_names": GROUP})
    assert file.id


def test_the_sdk_retries_what_a_provider_throttled(start, sim):
    from harness import balanced_config
    gateway = start(balanced_config(sim, accounts=["eu"]), sim=sim)
    client = openai_client(gateway, max_retries=2)
    batch = new_batch(client, client.files.create(file=UPLOAD, purpose="batch").id)
    sim.fault({"status": 429, "headers": {"retry-after-ms": "5"},
               "body": {"error": {"code": "429", "message": "Requests have exceeded the rate limit."}}},
              account="eu", method="GET", path="/openai/batches/*", times=1)
    assert client.batches.retrieve(batch.id).id == batch.id


@pytest.mark.parametrize("make", [openai_client, azure_v1_client], ids=["v1", "openai_v1"])
def test_without_balancing_ids_are_the_providers_own(direct, sim, make):
    client = make(direct)
    file = client.files.create(file=("requests.jsonl", lines("gpt-4o-mini")), purpose="batch")
    batch = new_batch(client, file.id)
    done = run_to_the_end(client, sim, batch.id)
    assert file.id in [f["id"] for f in sim.ledger("oai")["files"]]
    assert batch.id in [b["id"] for b in sim.ledger("oai")["batches"]]
    assert done.status == "completed" and done.error_file_id is None
    assert len(client.files.content(done.output_file_id).text.splitlines()) == 3


def test_the_azure_class_without_balancing_goes_to_azure(direct, sim):
    client = azure_client(direct)
    file = client.files.create(file=("requests.jsonl", lines("gpt-4o-batch-eu")), purpose="batch")
    batch = new_batch(client, file.id)
    assert batch.id in [b["id"] for b in sim.ledger("eu")["batches"]]
    assert run_to_the_end(client, sim, batch.id).status == "completed"


def test_file_lists_page_by_themselves_on_openai(direct):
    client = openai_client(direct)
    made = [client.files.create(file=("requests.jsonl", lines("gpt-4o-mini")), purpose="batch").id for _ in range(5)]
    assert [f.id for f in client.files.list(limit=2)] == made[::-1]
    assert [f.id for f in client.files.list(purpose="batch", limit=3, order="asc")] == made


ASYNC_CLIENTS = {
    "AsyncOpenAI": lambda g: openai.AsyncOpenAI(base_url=g.url + "/v1", api_key=MASTER_KEY, max_retries=0),
    "AsyncAzureOpenAI": lambda g: openai.AsyncAzureOpenAI(azure_endpoint=g.url, api_key=MASTER_KEY,
                                                          api_version="2024-10-21", max_retries=0),
}


@pytest.mark.parametrize("make", ASYNC_CLIENTS.values(), ids=ASYNC_CLIENTS.keys())
def test_the_async_classes_do_the_whole_flow(gateway, sim, make):
    async def flow():
        async with make(gateway) as client:
            file = await client.files.create(file=UPLOAD, purpose="batch")
            assert (await client.files.retrieve(file.id)).id == file.id
            assert (await client.files.wait_for_processing(file.id, poll_interval=0.01)).status == "processed"
            batches = await asyncio.gather(*[
                client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h",
                                      metadata={"n": str(n)}) for n in range(4)])
            listed = [b.id async for b in client.batches.list(limit=3)]
            assert sorted(listed) == sorted(b.id for b in batches)
            assert (await client.batches.cancel(batches[0].id)).status == "cancelling"
            for _ in range(60):
                done = await client.batches.retrieve(batches[1].id)
                if done.status == "completed":
                    break
                await asyncio.to_thread(sim.advance, 60_000)
            content = await client.files.content(done.output_file_id)
            assert len(content.text.splitlines()) == 3
            with pytest.raises(openai.NotFoundError):
                await client.batches.retrieve("batch_does_not_exist")
            assert (await client.files.delete(file.id)).deleted

    asyncio.run(flow())


def test_content_can_be_streamed_to_a_file(gateway, tmp_path):
    client = openai_client(gateway)
    data = lines(count=2000)
    file = client.files.create(file=("requests.jsonl", data), purpose="batch")
    with client.files.with_streaming_response.content(file.id) as response:
        response.stream_to_file(tmp_path / "out.jsonl")
    assert len((tmp_path / "out.jsonl").read_bytes().splitlines()) == 2000


def test_batches_created_with_the_model_in_the_body_work(gateway):
    client = openai_client(gateway)
    file = client.files.create(file=UPLOAD, purpose="batch")
    batch = new_batch(client, file.id, extra_body={"model": GROUP})
    assert batch.input_file_id == file.id
