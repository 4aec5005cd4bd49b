// Chromium, told what to do by a line of JSON on standard input each, and answered by a line each: browser.py.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import puppeteer from "puppeteer-core";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const [, , executablePath, userDataDir, patience] = process.argv;
const browser = await puppeteer.launch({
  executablePath, userDataDir, headless: true, protocolTimeout: Number(patience) * 1000,
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking"],
});
const page = await browser.newPage();
const said = [], asked = [];
page.setDefaultTimeout(Number(patience) * 1000);
page.on("console", (m) => said.push(`${m.type()}: ${m.text()}`));
page.on("pageerror", (e) => said.push(`error: ${e}`));
page.on("dialog", (d) => d.accept());
page.on("request", (r) => asked.push(r.url()));

const commands = {
  open: async ({ url, scheme = "light", width = 1280, height = 900 }) => {
    await page.setViewport({ width, height });
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
    await page.goto(url);
  },
  look: async ({ scheme, width, height = 900 }) => {
    await page.setViewport({ width, height });
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
  },
  type: ({ into, text }) => page.locator(into).fill(text),
  press: ({ key }) => page.keyboard.press(key),
  click: ({ on }) => page.locator(on).click(),
  value: ({ of }) => page.evaluate(of),
  until: async ({ is }) => { await page.waitForFunction(is); },
  cookies: () => browser.cookies(),
  said: () => said,
  asked: () => asked,
  picture: async ({ path }) => { await page.screenshot({ path, fullPage: true }); },
  // The page's policy lets no script in but its own; the debugger's own evaluation is not bound by it.
  axe: async () => {
    await page.evaluate(axe);
    const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
    return found.violations.map((v) => `${v.id} (${v.impact}): ${v.nodes.map((n) => n.html + " " + n.failureSummary).join("; ")}`);
  },
};

process.stdout.write("ready\n");
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  try {
    const value = await commands[command.do](command);
    process.stdout.write(JSON.stringify({ value: value === undefined ? null : value }) + "\n");
  } catch (error) {
    process.stdout.write(JSON.stringify({ error: String(error) }) + "\n");
  }
}
await browser.close();
