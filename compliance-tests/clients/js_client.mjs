// Drives matrix-js-sdk with its Rust cryptography, as the real-network tests ask.
//
// One process is one client. Standard input takes one JSON command a line, {"id": 1, "do": "send", …}; standard output
// gives one JSON answer a line, {"id": 1, "ok": …} or {"id": 1, "error": "…"}. Commands run concurrently. Everything that
// the library logs goes to standard error. nio_client.py speaks the same commands.
//
// Usage: node js_client.mjs FOLDER      (FOLDER: what scripts/prepare-clients.sh printed)
import { createInterface } from "node:readline";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const sdkPath = join(process.argv[2], "node_modules/matrix-js-sdk/lib/index.js");
// The library logs through console; standard output belongs to the protocol.
for (const level of ["log", "info", "debug", "warn", "error", "trace"]) {
  console[level] = (...parts) => process.stderr.write(`${level}: ${parts.map(show).join(" ")}\n`);
}
const sdk = await import(pathToFileURL(sdkPath));
const { logger } = await import(pathToFileURL(join(process.argv[2], "node_modules/matrix-js-sdk/lib/logger.js")));
logger.setLevel?.("warn", false);

const PAGE = 100;
const SYNC_TIMELINE_LIMIT = 100;
const POLL_MS = 100;
const WALK_MS = 5000;

let url;
let client;
/** Progress of `send` commands that have a name, for tests that kill a server in the middle of one. */
const progress = new Map();

function show(part) {
  if (part instanceof Error) return part.stack ?? String(part);
  if (typeof part === "string") return part;
  try {
    return JSON.stringify(part);
  } catch {
    return String(part);
  }
}

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

async function waitFor(what, timeoutSeconds, check) {
  const end = Date.now() + timeoutSeconds * 1000;
  for (;;) {
    const found = await check();
    if (found) return found;
    if (Date.now() > end) throw new Error(`waited ${timeoutSeconds} s for ${what}`);
    await sleep(POLL_MS);
  }
}

async function roomNamed(id) {
  return waitFor(`room ${id} to appear in the client`, 60, () => client.getRoom(id));
}

/** One room's events in the order in which the server gave them to this client, gaps filled by paging back. */
class Timeline {
  order = [];
  known = new Set();
  /** Events that came a second time: a server's mistake. */
  twice = [];

  append(ids) {
    for (const id of ids) {
      if (this.known.has(id)) {
        this.twice.push(id);
        continue;
      }
      this.known.add(id);
      this.order.push(id);
    }
  }
}

/** Room id -> Timeline. */
const timelines = new Map();
/** Event id -> the library's event, decrypted when it can be. */
const events = new Map();
/** Work on the timelines, one step after the other. */
let taking = Promise.resolve();

/** The library keeps no order over the gaps of `limited` syncs, so this looks at the answers that it gets. */
async function watchingFetch(resource, options) {
  const response = await fetch(resource, options);
  const asked = String(resource.url ?? resource);
  if (response.ok && asked.includes("/_matrix/client/v3/sync")) {
    const answer = await response.clone().json();
    taking = taking.then(() => take(answer)).catch((error) => console.error("taking a sync failed:", error));
  }
  return response;
}

async function take(answer) {
  for (const [roomId, { timeline }] of Object.entries(answer.rooms?.join ?? {})) {
    if (!timeline) continue;
    if (!timelines.has(roomId)) timelines.set(roomId, new Timeline());
    const mine = timelines.get(roomId);
    // At first sight of a room its past is fetched, too: the list then begins with the room.
    if ((timeline.limited || mine.order.length === 0) && timeline.prev_batch) {
      const own = new Set((timeline.events ?? []).map((event) => event.event_id));
      mine.append((await gap(roomId, mine, timeline.prev_batch)).filter((id) => !own.has(id)));
    }
    mine.append((timeline.events ?? []).map((event) => event.event_id));
  }
}

/**
 * The events that a `limited` timeline left out, oldest first. A server's history may be in another order than its syncs
 * (Synapse's is), so neither a known event nor a page of them is the end of the gap: the room's beginning is.
 */
async function gap(roomId, mine, token) {
  const missing = [];
  while (token) {
    const page = await pageBefore(roomId, token, PAGE);
    missing.push(...page.ids.filter((id) => !mine.known.has(id)));
    token = page.end;
  }
  return missing.reverse();
}

async function pageBefore(roomId, token, limit) {
  for (;;) {
    try {
      const page = await client.createMessagesRequest(roomId, token, limit, sdk.Direction.Backward);
      const ids = [];
      for (const raw of page.chunk ?? []) {
        ids.push(raw.event_id);
        if (!events.has(raw.event_id)) {
          const event = client.getEventMapper()(raw);
          await client.decryptEventIfNeeded(event);
          events.set(raw.event_id, event);
        }
      }
      return { ids, start: page.start, end: page.end };
    } catch (error) {
      if (error.httpStatus >= 400 && error.httpStatus < 500) throw error;
      console.warn("paging failed, again soon:", error);
      await sleep(500);
    }
  }
}

/** What is known of a room's events, oldest first. */
async function seen(roomId) {
  await taking;
  const order = timelines.get(roomId)?.order ?? [];
  return order.map((id) => events.get(id)).filter((event) => event);
}

/** As it was sent: edits are events of their own. */
function body(event) {
  return event.isRedacted() ? undefined : event.getOriginalContent()?.body;
}

function describe(event) {
  return {
    event_id: event.getId(),
    type: event.getType(),
    sender: event.getSender(),
    state_key: event.getStateKey(),
    body: body(event),
    encrypted: event.isEncrypted(),
    undecryptable: event.isDecryptionFailure() || event.getType() === "m.room.encrypted",
    redacted: event.isRedacted(),
  };
}

/** Sends with one transaction id until the server has answered: what a client does when its server goes away. */
async function sendUntilAnswered(room, type, content, retry) {
  const txn = client.makeTxnId();
  let failed;
  for (;;) {
    try {
      const sending = failed ? client.resendEvent(failed, room) : client.sendEvent(room.roomId, type, content, txn);
      return (await sending).event_id;
    } catch (error) {
      if (!retry) throw error;
      // 4xx is the server's word; anything else is a server that is away.
      if (error.httpStatus >= 400 && error.httpStatus < 500 && error.httpStatus !== 429) throw error;
      console.warn("send failed, again with the same transaction id:", error.message);
      await sleep(500);
      failed = room.getPendingEvents().find((event) => event.getTxnId() === txn);
      // The server had taken it before it went, and a sync has brought it.
      const echo = [...events.values()].find((event) => event.getUnsigned().transaction_id === txn);
      if (echo) return echo.getId();
      if (!failed) throw error;
    }
  }
}

function adopt(answer, deviceId) {
  client = sdk.createClient({
    baseUrl: url,
    userId: answer.user_id,
    deviceId: answer.device_id ?? deviceId,
    accessToken: answer.access_token,
    localTimeoutMs: 60_000,
    fetchFn: watchingFetch,
  });
  client.on(sdk.RoomEvent.Timeline, (event) => {
    if (event.getId()?.startsWith("$")) events.set(event.getId(), event);
  });
  return { user_id: answer.user_id, device_id: answer.device_id, access_token: answer.access_token };
}

const commands = {
  async register(args) {
    url = args.url;
    const anonymous = sdk.createClient({ baseUrl: url });
    return adopt(await anonymous.registerRequest({
      username: args.user,
      password: args.password,
      auth: { type: "m.login.dummy" },
      initial_device_display_name: "matrix-js-sdk",
    }));
  },

  async login(args) {
    url = args.url;
    const anonymous = sdk.createClient({ baseUrl: url });
    return adopt(await anonymous.loginRequest({
      type: "m.login.password",
      identifier: { type: "m.id.user", user: args.user },
      password: args.password,
      initial_device_display_name: "matrix-js-sdk",
    }));
  },

  async start() {
    await client.initRustCrypto({ useIndexedDB: false });
    // Devices that nobody has verified get keys too: the test is about servers, not about trust between people.
    client.getCrypto().globalBlacklistUnverifiedDevices = false;
    await client.startClient({
      initialSyncLimit: SYNC_TIMELINE_LIMIT,
      lazyLoadMembers: true,
      // Own messages enter the timeline where the server puts them, not where they were typed.
      pendingEventOrdering: sdk.PendingEventOrdering.Detached,
    });
    await waitFor("the first sync", 60, () => client.isInitialSyncComplete());
    return {};
  },

  async create_room(args) {
    const initial_state = [];
    if (args.encrypted) {
      initial_state.push({
        type: "m.room.encryption",
        state_key: "",
        content: { algorithm: "m.megolm.v1.aes-sha2" },
      });
    }
    const { room_id } = await client.createRoom({
      room_version: args.version,
      name: args.name,
      room_alias_name: args.alias,
      invite: args.invite ?? [],
      preset: args.preset ?? "private_chat",
      initial_state,
    });
    await roomNamed(room_id);
    return { room_id };
  },

  async invite(args) {
    await client.invite(args.room, args.user);
    return {};
  },

  async wait_invite(args) {
    await waitFor(`an invite to ${args.room}`, 60, () => client.getRoom(args.room)?.getMyMembership() === "invite");
    return {};
  },

  async join(args) {
    const joined = await client.joinRoom(args.target, { viaServers: args.via });
    await waitFor(
      `the join of ${joined.roomId} to be synced`, 60,
      () => client.getRoom(joined.roomId)?.getMyMembership() === "join",
    );
    return { room_id: joined.roomId };
  },

  /** Waits until this client knows that the room is encrypted, that all of `users` are in it, and a device of each. */
  async know(args) {
    const room = await roomNamed(args.room);
    await room.loadMembersIfNeeded();
    await waitFor(`${args.users} to be members of ${args.room}`, 60, () =>
      args.users.every((user) => room.getMember(user)?.membership === "join"));
    // The library calls a room joined before the sync has brought its state.
    await waitFor(`${args.room} to be encrypted`, 60, () => client.getCrypto().isEncryptionEnabledInRoom(args.room));
    await waitFor(`devices of ${args.users}`, 60, async () => {
      const devices = await client.getCrypto().getUserDeviceInfo(args.users, true);
      return args.users.every((user) => devices.get(user)?.size > 0);
    });
    return {};
  },

  /** Sends `count` messages `PREFIX 0`, `PREFIX 1`, … one after the other; answers their event ids. */
  async send(args) {
    const room = await roomNamed(args.room);
    const ids = [];
    progress.set(args.prefix, ids);
    for (let n = 0; n < args.count; n++) {
      const content = { msgtype: "m.text", body: `${args.prefix} ${n}` };
      ids.push(await sendUntilAnswered(room, "m.room.message", content, args.retry));
      if (args.pause) await sleep(args.pause * 1000);
    }
    return { event_ids: ids };
  },

  /** How many messages of the `send` with that prefix the server has answered. */
  async progress(args) {
    return { event_ids: progress.get(args.prefix) ?? [] };
  },

  async react(args) {
    const content = { "m.relates_to": { rel_type: "m.annotation", event_id: args.event, key: args.key } };
    return await client.sendEvent(args.room, "m.reaction", content);
  },

  async edit(args) {
    return await client.sendEvent(args.room, "m.room.message", {
      msgtype: "m.text",
      body: `* ${args.body}`,
      "m.new_content": { msgtype: "m.text", body: args.body },
      "m.relates_to": { rel_type: "m.replace", event_id: args.event },
    });
  },

  async redact(args) {
    return await client.redactEvent(args.room, args.event, undefined, { reason: args.reason });
  },

  /**
   * Waits until `count` messages whose body starts with `prefix` are there and decrypted. With `walk`, looks through the
   * room's history as well now and then, as a person scrolls who misses something.
   */
  async wait_messages(args) {
    let found = [];
    let locked = 0;
    let walk = Date.now() + WALK_MS;
    try {
      await waitFor("messages", args.timeout, async () => {
        if (args.walk && Date.now() > walk) {
          taking = taking.then(async () => {
            const mine = timelines.get(args.room);
            mine?.append(await gap(args.room, mine, (await pageBefore(args.room, null, 1)).start));
          }).catch((error) => console.error("walking failed:", error));
          await taking;
          walk = Date.now() + WALK_MS;
        }
        const all = await seen(args.room);
        locked = all.filter((event) => event.isDecryptionFailure()).length;
        found = all.filter((event) => body(event)?.startsWith(args.prefix));
        return found.length >= args.count;
      });
    } catch (error) {
      const order = timelines.get(args.room)?.order ?? [];
      const absent = order.filter((id) => !events.has(id)).length;
      const closed = (await seen(args.room)).filter((event) => event.getType() === "m.room.encrypted").length;
      throw new Error(
        `${found.length} of ${args.count} messages "${args.prefix}", ${locked} undecryptable; ` +
          `${order.length} events known, ${absent} of them not in the library, ${closed} still encrypted: ${error.message}`,
      );
    }
    return { messages: found.map(describe) };
  },

  /** What a person sees of one event after edits, reactions and redactions. */
  async effective(args) {
    const all = await seen(args.room);
    const event = all.find((event) => event.getId() === args.event);
    if (!event) throw new Error(`the client does not have ${args.event}`);
    const redactions = all.filter((other) => other.getType() === "m.room.redaction");
    const gone = new Set(redactions.map((other) => other.event.redacts ?? other.getContent().redacts));
    let text = body(event) ?? null;
    const reactions = [];
    for (const other of all) {
      const relation = other.getOriginalContent()?.["m.relates_to"] ?? other.getWireContent()?.["m.relates_to"];
      if (relation?.event_id !== args.event || gone.has(other.getId())) continue;
      if (other.getType() === "m.reaction") reactions.push(`${other.getSender()} ${relation.key}`);
      if (relation.rel_type === "m.replace" && other.getSender() === event.getSender()) {
        text = other.getOriginalContent()["m.new_content"]?.body ?? text;
      }
    }
    const redacted = gone.has(args.event) || event.isRedacted();
    return { body: redacted ? null : text, redacted, reactions };
  },

  /** All events from the start of the room's history to now, and those that the server gave twice. */
  async timeline(args) {
    await taking;
    const mine = timelines.get(args.room);
    return { events: (await seen(args.room)).map(describe), twice: mine.twice };
  },

  /** Pages back from the end to the start, `limit` events a page, outside the client's timeline; oldest first. */
  async page_back(args) {
    const found = [];
    let pages = 0;
    for (let from = null; ; pages++) {
      const page = await client.createMessagesRequest(args.room, from, args.limit, sdk.Direction.Backward);
      const chunk = (page.chunk ?? []).map(client.getEventMapper());
      for (const event of chunk) await client.decryptEventIfNeeded(event);
      found.unshift(...chunk.reverse());
      if (!page.end) break;
      from = page.end;
    }
    return { events: found.map(describe), pages };
  },

  async stop() {
    client?.stopClient();
    setTimeout(() => process.exit(0), 50);
    return {};
  },
};

function answer(message) {
  process.stdout.write(`${JSON.stringify(message)}\n`);
}

process.on("unhandledRejection", (reason) => console.error("unhandled rejection:", reason));
createInterface({ input: process.stdin })
  .on("line", (line) => {
    const command = JSON.parse(line);
    const run = commands[command.do];
    const done = run ? run(command) : Promise.reject(new Error(`no command ${command.do}`));
    done.then(
      (ok) => answer({ id: command.id, ok: ok ?? {} }),
      (error) => answer({ id: command.id, error: error.stack ?? String(error) }),
    );
  })
  // The test that started this client is gone.
  .on("close", () => process.exit(0));
