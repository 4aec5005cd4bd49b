"""What LiteLLM's own tests of its batch endpoints assert, written anew for any version of the Python SDK: objects of the right
types, ids that hold through the whole flow, providers by header, by extra body and by target_model_names, both clients.
Prints the SDK's version and the number of assertions. Run by test_litellm_asserts.py.

    python litellm_asserts.py URL KEY CONTROL_URL FILE WAY     WAY: plain | openai | azure | targets
"""

import asyncio
import json
import pathlib
import sys
import urllib.request

import openai
from openai.types import Batch, FileDeleted, FileObject

url, key, control, path, way = sys.argv[1:]
HEADERS = {"openai": {"custom-llm-provider": "openai"}, "azure": {"custom-llm-provider": "azure"}}.get(way, {})
UPLOAD = {"extra_body": {"target_model_names": "gpt-4o-batch"}} if way == "targets" else {"extra_headers": HEADERS}
STATUSES = {"validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"}
held = 0


def holds(condition, what):
    global held
    if not condition:
        raise SystemExit(f"does not hold: {what}")
    held += 1


def check_file(file, wanted=None):
    holds(type(file) is FileObject, "a file is a FileObject")
    holds(isinstance(file.id, str) and file.id and file.object == "file" and file.purpose == "batch", "a file has id, object, purpose")
    holds(isinstance(file.bytes, int) and isinstance(file.created_at, int) and isinstance(file.filename, str), "a file's members have types")
    holds(file.status in ("uploaded", "processed", "pending", "error"), f"a file's status is known: {file.status}")
    holds(wanted is None or file.id == wanted, "a file keeps its id")


def check_batch(batch, file_id, metadata, wanted=None):
    holds(type(batch) is Batch, "a batch is a Batch")
    holds(batch.id and batch.object == "batch" and batch.status in STATUSES, f"a batch has id, object, status: {batch.status}")
    holds(batch.endpoint == "/v1/chat/completions" and batch.completion_window == "24h", "endpoint and window are as asked")
    holds(batch.input_file_id == file_id, "the input file is the one uploaded")
    holds(batch.metadata == metadata, f"metadata is what was given: {batch.metadata}")
    holds(isinstance(batch.created_at, int), "created_at is a number")
    holds(batch.request_counts is None or batch.request_counts.total >= batch.request_counts.completed, "counts fit")
    holds(wanted is None or batch.id == wanted, "a batch keeps its id")
    json.dumps(batch.model_dump())


def advance():
    urllib.request.urlopen(urllib.request.Request(control + "/control/time", b'{"advance_ms": 60000}')).read()


def with_sync_client():
    client = openai.OpenAI(base_url=url + "/v1", api_key=key, max_retries=0)
    metadata = {"key1": "value1", "key2": "value2"}
    file = client.files.create(file=pathlib.Path(path).open("rb"), purpose="batch", **UPLOAD)
    check_file(file)
    check_file(client.files.retrieve(file.id, extra_headers=HEADERS), file.id)
    holds(file.id in [f.id for f in client.files.list(extra_headers=HEADERS)], "the file is listed")
    batch = client.batches.create(completion_window="24h", endpoint="/v1/chat/completions", input_file_id=file.id, metadata=metadata,
                                  extra_headers=HEADERS)
    check_batch(batch, file.id, metadata)
    check_batch(client.batches.retrieve(batch.id, extra_headers=HEADERS), file.id, metadata, batch.id)
    page = client.batches.list(limit=10, extra_headers=HEADERS)
    holds(page.object == "list" and batch.id in [b.id for b in page.data], "the batch is listed")
    for _ in range(100):
        advance()
        done = client.batches.retrieve(batch.id, extra_headers=HEADERS)
        if done.status not in ("validating", "in_progress", "finalizing"):
            break
    check_batch(done, file.id, metadata, batch.id)
    holds(done.status == "completed" and done.output_file_id, "it completes and names its output")
    content = client.files.content(done.output_file_id, extra_headers=HEADERS)
    answers = [json.loads(line) for line in content.text.splitlines()]
    holds({a["custom_id"] for a in answers} == {"request-1", "request-2", "request-3"}, "each request has an answer")
    holds(all(a["response"]["status_code"] == 200 for a in answers), "all answers are good")
    second = client.batches.create(completion_window="24h", endpoint="/v1/chat/completions", input_file_id=file.id, metadata=metadata,
                                   extra_headers=HEADERS)
    holds(client.batches.cancel(second.id, extra_headers=HEADERS).status in ("cancelling", "cancelled"), "a batch is cancelled")
    gone = client.files.delete(file.id, extra_headers=HEADERS)
    holds(type(gone) is FileDeleted and gone.deleted and gone.id == file.id, "the file is deleted under its id")
    try:
        client.files.retrieve(file.id, extra_headers=HEADERS)
        holds(False, "a deleted file is gone")
    except openai.NotFoundError as error:
        holds(error.body is not None, "and told in OpenAI's envelope")


async def with_async_client():
    client = openai.AsyncOpenAI(base_url=url + "/v1", api_key=key, max_retries=0)
    file = await client.files.create(file=pathlib.Path(path).open("rb"), purpose="batch", **UPLOAD)
    check_file(file)
    batch = await client.batches.create(completion_window="24h", endpoint="/v1/chat/completions", input_file_id=file.id,
                                        metadata={"k": "v"}, extra_headers=HEADERS)
    check_batch(batch, file.id, {"k": "v"})
    check_batch(await client.batches.retrieve(batch.id, extra_headers=HEADERS), file.id, {"k": "v"}, batch.id)
    holds(batch.id in [b.id async for b in client.batches.list(extra_headers=HEADERS)], "the batch is listed")
    await client.close()


with_sync_client()
asyncio.run(with_async_client())
print(json.dumps({"version": openai.__version__, "held": held}))
