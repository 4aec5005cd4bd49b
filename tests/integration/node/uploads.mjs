// Uploads in parts with the official Node SDK; prints what it saw as one line of JSON.
//   node uploads.mjs URL KEY FILE PART_BYTES
import { File as BufferFile } from 'node:buffer';
import { readFileSync } from 'node:fs';

globalThis.File ??= BufferFile; // Node 18 has no global File, the SDK asks for one
const { OpenAI, toFile } = await import('openai');

const [url, apiKey, path, step] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey });
const data = readFileSync(path);
const wanted = { filename: 'requests.jsonl', purpose: 'batch', bytes: data.length, mime_type: 'application/jsonl' };

const created = await client.uploads.create(wanted);
const parts = [];
for (let at = 0; at < data.length; at += Number(step)) {
  const piece = await toFile(data.subarray(at, at + Number(step)), 'upload');
  parts.push((await client.uploads.parts.create(created.id, { data: piece })).id);
}
const completed = await client.uploads.complete(created.id, { part_ids: parts });
const again = await client.uploads.complete(created.id, { part_ids: parts });
const cancelled = await client.uploads.cancel((await client.uploads.create(wanted)).id);
console.log(JSON.stringify({ created, parts, completed, again, cancelled }));
