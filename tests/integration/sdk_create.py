"""One create with whatever version of the Python SDK is installed, with its own retries; prints what became of it as one line
of JSON. Run by test_sdk_retries.py.

    python sdk_create.py OpenAI|AzureOpenAI URL KEY FILE_ID
"""

import json
import sys

import openai

kind, url, key, file_id = sys.argv[1:]
if kind == "AzureOpenAI":
    client = openai.AzureOpenAI(azure_endpoint=url, api_key=key, api_version="2024-10-21")
else:
    client = openai.OpenAI(base_url=url + "/v1", api_key=key)
try:
    batch = client.batches.create(input_file_id=file_id, endpoint="/v1/chat/completions", completion_window="24h")
    seen = {"id": batch.id, "input_file_id": batch.input_file_id}
except openai.APIStatusError as error:
    seen = {"error": type(error).__name__, "status": error.status_code, "code": error.code}
except openai.APIError as error:
    seen = {"error": type(error).__name__}
print(json.dumps({"version": openai.__version__, **seen}))
