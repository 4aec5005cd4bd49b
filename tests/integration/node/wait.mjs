// A batch as anybody waits for it with the official Node SDK, and then one of its lines that have no answer: a line of JSON for what was
// made, ended, made by the retry, ended. Behind each `ended` it waits for a line of input.
//   node wait.mjs URL KEY FILE
import fs from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import { File as BufferFile } from 'node:buffer';

globalThis.File ??= BufferFile; // Node 18 has no global File, the SDK asks for one
const { OpenAI, toFile } = await import('openai');

const [url, apiKey, path] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey });
const say = (what, value) => console.log(JSON.stringify({ [what]: value }));
const asked = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

async function ended(id) {
  const statuses = [];
  let batch;
  do {
    batch = await client.batches.retrieve(id);
    if (statuses.at(-1) !== batch.status) statuses.push(batch.status);
    await pause(50);
  } while (['validating', 'in_progress', 'finalizing', 'cancelling'].includes(batch.status));
  const output = batch.output_file_id ? await (await client.files.content(batch.output_file_id)).text() : '';
  const results = await (await client.get(`/batches/${id}/results`, { __binaryResponse: true })).text();
  say('ended', { batch, statuses, output, results });
  await asked.next();
}

const file = await client.files.create({ file: await toFile(fs.readFileSync(path), 'requests.jsonl'), purpose: 'batch' });
const batch = await client.batches.create({ input_file_id: file.id, endpoint: '/v1/chat/completions', completion_window: '24h' });
say('made', batch);
await ended(batch.id);
const again = await client.post(`/batches/${batch.id}/retry`);
say('made', again);
await ended(again.id);
process.exit(0);
