// Verifies webhooks with the official Node SDK. Standard input: a JSON array of {payload, headers, secret}; prints what became of
// each as one line of JSON.
import { File as BufferFile } from 'node:buffer';

globalThis.File ??= BufferFile; // Node 18 has no global File, the SDK asks for one
const { webcrypto } = await import('node:crypto');
globalThis.crypto ??= webcrypto;
const { OpenAI } = await import('openai');

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const client = new OpenAI({ apiKey: 'none' });
const seen = [];
for (const { payload, headers, secret } of JSON.parse(Buffer.concat(chunks).toString())) {
  try {
    const event = await client.webhooks.unwrap(payload, headers, secret);
    seen.push({ id: event.id, type: event.type, batch: event.data.id });
  } catch (e) {
    seen.push({ error: e.constructor.name });
  }
}
console.log(JSON.stringify(seen));
