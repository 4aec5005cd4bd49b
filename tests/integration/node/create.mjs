// One create with the official Node SDK and its own retries; prints what became of it as one line of JSON.
//   node create.mjs OpenAI|AzureOpenAI URL KEY FILE_ID
import { File as BufferFile } from 'node:buffer';

globalThis.File ??= BufferFile; // Node 18 has no global File, the SDK asks for one
const { OpenAI, AzureOpenAI } = await import('openai');

const [kind, url, apiKey, input_file_id] = process.argv.slice(2);
const client =
  kind === 'AzureOpenAI'
    ? new AzureOpenAI({ endpoint: url, apiKey, apiVersion: '2024-10-21' })
    : new OpenAI({ baseURL: `${url}/v1`, apiKey });
let seen;
try {
  const batch = await client.batches.create({ input_file_id, endpoint: '/v1/chat/completions', completion_window: '24h' });
  seen = { id: batch.id, input_file_id: batch.input_file_id };
} catch (e) {
  seen = { error: e.constructor.name, status: e.status, code: e.code };
}
console.log(JSON.stringify(seen));
