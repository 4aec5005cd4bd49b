"""The whole flow with version 1 of the Python SDK; prints what it saw as one line of JSON. Run by test_python_sdk_1.py.

    python openai_1_flow.py OpenAI|AzureOpenAI URL KEY CONTROL_URL FILE
"""

import json
import pathlib
import sys
import urllib.request

import openai

kind, url, key, control, path = sys.argv[1:]


def make(api_key):
    if kind == "AzureOpenAI":
        return openai.AzureOpenAI(azure_endpoint=url, api_key=api_key, api_version="2024-10-21", max_retries=0)
    return openai.OpenAI(base_url=url + "/v1", api_key=api_key, max_retries=0)


client = make(key)
file = client.files.create(file=pathlib.Path(path), purpose="batch")
client.files.wait_for_processing(file.id, poll_interval=0.01)
batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h",
                              metadata={"team": "search"})
other = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
cancelled = client.batches.cancel(other.id)
listed = [b.id for b in client.batches.list(limit=1)]
for _ in range(60):
    done = client.batches.retrieve(batch.id)
    if done.status not in ("validating", "in_progress", "finalizing"):
        break
    urllib.request.urlopen(urllib.request.Request(control + "/control/time", b'{"advance_ms": 60000}')).read()
output = client.files.content(done.output_file_id).text
errors = []
for call in (lambda: client.batches.retrieve("batch_does_not_exist"), lambda: make("sk-wrong").batches.list()):
    try:
        call()
    except openai.APIStatusError as error:
        errors.append(type(error).__name__)
deleted = client.files.delete(file.id)
print(json.dumps({"version": openai.__version__, "file": file.id, "created": [batch.id, other.id], "listed": listed,
                  "cancelled": cancelled.status, "done": done.status, "metadata": done.metadata, "output": output,
                  "errors": errors, "deleted": deleted.deleted}))
