#!/usr/bin/env node
// A client of Pipit for Node.js 18 or later, by fetch alone. Copy it: docs/clients.md tells what it does.
const usage = `
    node pipit.mjs publish TOPIC [MIME_TYPE] < PAYLOAD    prints the message's ID
    node pipit.mjs consume TOPIC [COMMAND ...]            runs the command for each message, the payload as its input`;

import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { readFileSync, realpathSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

// Failed is what the server refuses, or what was given up: the message tells which.
export class Failed extends Error {}

export class Client {
  #stopping = new AbortController();

  // lease: seconds, at most the consumer's ack_timeout; patience: after so many seconds a call is given up.
  constructor({ server = "http://127.0.0.1:11223", user, password, subKey = "", lease = 30, patience = 240 }) {
    this.base = server.replace(/\/+$/, "") + "/zato/pubsub/";
    const login = Buffer.from(`${user}:${password}`).toString("base64");
    this.headers = { Authorization: "Basic " + login, "X-Zato-PubSub-Key": subKey };
    Object.assign(this, { lease, patience });
  }

  // publish takes bytes or a text, and returns the ID of the message. Repeated with an ID of the caller's it is stored once.
  async publish(topic, payload, { mimeType = "application/octet-stream", msgID = randomUUID() } = {}) {
    const query = new URLSearchParams({ msg_id: msgID, mime_type: mimeType });
    return (await this.#call(`topic/${encodeURIComponent(topic)}/?${query}`, payload)).msg_id;
  }

  // consume awaits handle(payload, metadata) for each message until stop: what it throws has the message come again.
  // The payload is a Buffer. A handler that blocks the event loop keeps the lease from being extended.
  async consume(topic, handle) {
    while (!this.#stopping.signal.aborted) {
      const path = `msg/${encodeURIComponent(topic)}/?max=10&wait=60`;
      const { results } = await this.#call(path, "", { patience: Infinity, signal: this.#stopping.signal });
      const left = new Set(results.map((m) => m.metadata.msg_id));
      const keeper = setInterval(() => this.#keep(left), (1000 * this.lease) / 3);
      try {
        for (const message of results) {
          if (this.#stopping.signal.aborted) break;
          await this.#settle(await handled(handle, message));
          left.delete(message.metadata.msg_id);
        }
        if (left.size > 0) await this.#settle({ reject: [...left] });
      } finally {
        clearInterval(keeper);
      }
    }
  }

  // stop ends consume after the message in hand; the others are given back.
  stop() {
    this.#stopping.abort();
  }

  #keep(left) {
    const extend = Object.fromEntries([...left].map((id) => [id, this.lease]));
    this.#settle({ extend }, { patience: 0 }).catch((e) => console.error(`extend: ${e.message}`)); // the next time is early enough
  }

  #settle(what, options) {
    return this.#call("ack/", JSON.stringify(what), options);
  }

  // #call posts until it is answered, and returns the answer; none where signal stops it.
  async #call(path, body, { patience = this.patience, signal } = {}) {
    const end = Date.now() + 1000 * patience;
    for (let wait = 1; ; wait = Math.min(2 * wait, 30)) {
      let why, after = 0;
      try {
        // What waits for a signal has the bound of fetch, five minutes.
        const request = { method: "POST", body, headers: this.headers, redirect: "manual", signal: signal ?? AbortSignal.timeout(90_000) };
        const reply = await fetch(this.base + path, request);
        const text = await reply.text();
        if (reply.ok) return JSON.parse(text);
        why = `${reply.status}: ${text}`;
        if (reply.status !== 429 && reply.status < 500) throw new Failed(why);
        after = Number(reply.headers.get("Retry-After")) || 0;
      } catch (e) { // no connection, or half an answer
        if (e instanceof Failed) throw e;
        why = e.cause ?? e;
      }
      const pause = Math.ceil(1000 * Math.max(wait * (0.5 + Math.random() / 2), after));
      if (Date.now() + pause > end) throw new Failed(String(why));
      if (!signal?.aborted) console.error(`again in ${pause / 1000} s: ${why}`);
      await sleep(pause, undefined, { signal }).catch(() => {});
      if (signal?.aborted) return { results: [] };
    }
  }
}

async function handled(handle, { payload, metadata: meta }) {
  try {
    await handle(Buffer.from(payload, meta.encoding ?? "utf8"), meta);
    return { ack: [meta.msg_id] };
  } catch (e) {
    console.error(`${meta.msg_id}: ${e?.message ?? e}`);
    return { reject: [meta.msg_id], delay: Math.min(2 ** Math.min(meta.delivery_count - 1, 5), 30) };
  }
}

function run([program, ...args], payload, meta) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ["pipe", "inherit", "inherit"], env: { ...process.env, PIPIT_MSG_ID: meta.msg_id } });
    child.on("error", reject);
    child.on("close", (code, signal) => (code === 0 ? resolve() : reject(new Error(`${program} ended with ${signal ?? code}`))));
    child.stdin.on("error", () => {}); // it need not read all of it
    child.stdin.end(payload);
  });
}

async function main(action, topic, ...rest) {
  const env = process.env;
  if (!["publish", "consume"].includes(action) || !topic) throw new Failed(usage);
  for (const name of ["PIPIT_USER", "PIPIT_PASSWORD"]) if (env[name] === undefined) throw new Failed(`${name} is not set`);
  const client = new Client({
    server: env.PIPIT_SERVER, user: env.PIPIT_USER, password: env.PIPIT_PASSWORD, subKey: env.PIPIT_SUB_KEY,
    lease: Number(env.PIPIT_LEASE ?? 30), patience: Number(env.PIPIT_PATIENCE ?? 240),
  });
  if (action === "publish") return console.log(await client.publish(topic, readFileSync(0), { mimeType: rest[0] }));
  for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, () => client.stop());
  await client.consume(topic, (payload, meta) => (rest.length > 0 ? run(rest, payload, meta) : void process.stdout.write(Buffer.concat([payload, Buffer.from("\n")]))));
}

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  main(...process.argv.slice(2)).catch((e) => {
    console.error(e instanceof Failed ? e.message : e);
    process.exitCode = 1;
  });
}
