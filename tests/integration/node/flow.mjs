// The whole flow with the official Node SDK; prints what it saw as one line of JSON.
//   node flow.mjs OpenAI|AzureOpenAI URL KEY CONTROL_URL buffer|stream-file-first|stream-purpose-first FILE [DEPLOYMENT]
import fs from 'node:fs';
import { File as BufferFile } from 'node:buffer';

globalThis.File ??= BufferFile; // Node 18 has no global File, the SDK asks for one
const { OpenAI, AzureOpenAI, NotFoundError, AuthenticationError, BadRequestError, toFile } = await import('openai');

const [kind, url, key, control, how, path, deployment] = process.argv.slice(2);
const make = (apiKey) =>
  kind === 'AzureOpenAI'
    ? new AzureOpenAI({ endpoint: url, apiKey, apiVersion: '2024-10-21', deployment, maxRetries: 0 })
    : new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0 });
const client = make(key);

async function upload(name) {
  if (how === 'buffer') {
    return client.files.create({ file: await toFile(fs.readFileSync(name), 'requests.jsonl'), purpose: 'batch' });
  }
  const file = fs.createReadStream(name);
  return client.files.create(how === 'stream-file-first' ? { file, purpose: 'batch' } : { purpose: 'batch', file });
}

async function kindOfError(call) {
  try {
    await call();
  } catch (e) {
    const kinds = { NotFoundError, AuthenticationError, BadRequestError };
    const found = Object.keys(kinds).find((k) => e instanceof kinds[k]);
    return { kind: found ?? e.constructor.name, status: e.status, param: e.param ?? null, requestID: Boolean(e.requestID) };
  }
  return { kind: 'none' };
}

const seen = {};
const file = (seen.file = await upload(path));
seen.retrieved = await client.files.retrieve(file.id);
seen.processed = await client.files.waitForProcessing(file.id, { pollInterval: 10 });
seen.files = [];
for await (const f of client.files.list()) seen.files.push(f.id);
seen.content = await (await client.files.content(file.id)).text();

const batch = (seen.batch = await client.batches.create({
  input_file_id: file.id,
  endpoint: '/v1/chat/completions',
  completion_window: '24h',
  metadata: { team: 'search' },
}));
const others = [];
for (let n = 0; n < 4; n++) {
  others.push(
    await client.batches.create({ input_file_id: file.id, endpoint: '/v1/chat/completions', completion_window: '24h' }),
  );
}
seen.created = [batch.id, ...others.map((b) => b.id)];
seen.listed = [];
for await (const b of client.batches.list({ limit: 2 })) seen.listed.push(b.id);
seen.cancelled = await client.batches.cancel(others[0].id);

for (let n = 0; n < 60; n++) {
  seen.done = await client.batches.retrieve(batch.id);
  if (!['validating', 'in_progress', 'finalizing'].includes(seen.done.status)) break;
  await fetch(`${control}/control/time`, { method: 'POST', body: JSON.stringify({ advance_ms: 60000 }) });
}
seen.output = await (await client.files.content(seen.done.output_file_id)).text();
seen.notFound = await kindOfError(() => client.batches.retrieve('batch_does_not_exist'));
seen.unauthorized = await kindOfError(() => make('sk-wrong').batches.list());
seen.broken = await kindOfError(async () =>
  client.files.create({ file: await toFile(Buffer.from('{"custom_id": \n'), 'broken.jsonl'), purpose: 'batch' }),
);
seen.deleted = await client.files.delete(file.id);
console.log(JSON.stringify(seen));
