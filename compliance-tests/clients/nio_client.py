"""Drives matrix-nio with encryption, as the real-network tests ask.

One process is one client. Standard input takes one JSON command a line, {"id": 1, "do": "send", ...}; standard output gives
one JSON answer a line, {"id": 1, "ok": ...} or {"id": 1, "error": "..."}. Commands run concurrently. What the library logs
goes to standard error. js_client.mjs speaks the same commands.

Usage: python nio_client.py STORE      (STORE: an empty folder for the client's keys)
"""

import asyncio
import json
import logging
import sys
import time
import traceback

import nio

PAGE = 100
SYNC_TIMELINE_LIMIT = 30
POLL_SECONDS = 0.1
WALK_SECONDS = 5
SYNC_TIMEOUT_MS = 30_000


def keep_the_better_session(store, session, add=nio.crypto.memorystores.GroupSessionStore.add):
    """Does not let a room key replace one that can decrypt more.

    matrix-js-sdk may share a key again, from a later message on. The library takes whichever came last, and loses the first
    messages with it.
    """
    known = store.get(session.room_id, session.sender_key, session.id)
    if known is not None and known.first_known_index <= session.first_known_index:
        return False
    return add(store, session)


nio.crypto.memorystores.GroupSessionStore.add = keep_the_better_session


class Failed(Exception):
    """A request that the server refused, or a wait that ended in vain."""


def checked(answer):
    """The answer, unless it is one of nio's error answers."""
    if isinstance(answer, nio.ErrorResponse):
        raise Failed(f"{type(answer).__name__}: {answer.status_code} {answer.message}")
    return answer


async def wait_for(what, timeout, check):
    end = time.monotonic() + timeout
    while True:
        found = check()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        if time.monotonic() > end:
            raise Failed(f"waited {timeout} s for {what}")
        await asyncio.sleep(POLL_SECONDS)


class Timeline:
    """One room's events in the order in which this client got them, gaps filled by paging back."""

    def __init__(self):
        self.order = []  # event ids, oldest first
        self.events = {}  # event id -> nio event, decrypted if it could be
        self.reordered = []  # events that came a second time: a server's mistake

    def append(self, events):
        for event in events:
            if event.event_id in self.events:
                self.reordered.append(event.event_id)
                continue
            self.order.append(event.event_id)
            self.events[event.event_id] = event


class Client:
    def __init__(self, store):
        self.store = store
        self.client = None
        self.timelines = {}
        self.invited = set()
        self.sent = {}
        self.syncing = None
        self.first_sync = asyncio.Event()

    # Signing in.

    def _make(self, args):
        # Encryption is on by itself where the library finds its cryptography; without it the tests would prove nothing.
        config = nio.AsyncClientConfig(
            encryption_enabled=True,
            store_sync_tokens=False,
            # A server that is away is this file's business: the library would wait up to a minute between tries.
            max_timeouts=0,
            request_timeout=60,
        )
        self.client = nio.AsyncClient(args["url"], args["user"], store_path=self.store, config=config)

    def _account(self):
        return {
            "user_id": self.client.user_id,
            "device_id": self.client.device_id,
            "access_token": self.client.access_token,
        }

    async def register(self, args):
        self._make(args)
        checked(await self.client.register(args["user"], args["password"], device_name="matrix-nio"))
        return self._account()

    async def login(self, args):
        self._make(args)
        checked(await self.client.login(args["password"], device_name="matrix-nio"))
        return self._account()

    # Syncing.

    async def start(self, args):
        self.syncing = asyncio.create_task(self._sync_forever())
        await asyncio.wait_for(self.first_sync.wait(), 60)
        return {}

    async def _sync_forever(self):
        first = True
        while True:
            try:
                await self._sync_once(first)
                first = False
                self.first_sync.set()
            except Exception:
                logging.warning("sync failed, again soon:\n%s", traceback.format_exc())
                await asyncio.sleep(0.5)

    async def _sync_once(self, first):
        answer = checked(
            await self.client.sync(
                timeout=0 if first else SYNC_TIMEOUT_MS,
                sync_filter={"room": {"timeline": {"limit": SYNC_TIMELINE_LIMIT}, "state": {"lazy_load_members": True}}},
                full_state=first,
            )
        )
        for room_id, room in answer.rooms.join.items():
            await self._take(room_id, room.timeline)
        for room_id in answer.rooms.invite:
            self.invited.add(room_id)
        self._decrypt_late()
        # What the library's own loop does between two syncs.
        await self.client.send_to_device_messages()
        if self.client.should_upload_keys:
            checked(await self.client.keys_upload())
        if self.client.should_query_keys:
            checked(await self.client.keys_query())
        if self.client.should_claim_keys:
            checked(await self.client.keys_claim(self.client.get_users_for_key_claiming()))

    async def _take(self, room_id, timeline):
        mine = self.timelines.setdefault(room_id, Timeline())
        # At first sight of a room its past is fetched, too: the list then begins with the room.
        if (timeline.limited or not mine.order) and timeline.prev_batch:
            own = {event.event_id for event in timeline.events}
            missing = await self._gap(room_id, mine, timeline.prev_batch)
            mine.append([event for event in missing if event.event_id not in own])
        mine.append(timeline.events)

    async def _gap(self, room_id, mine, token):
        """The events that a `limited` timeline left out, oldest first.

        A server's history may be in another order than its syncs (Synapse's is), so neither a known event nor a page of them
        is the end of the gap: the room's beginning is.
        """
        missing = []
        while token:
            page = await self._page(room_id, token, PAGE)
            missing.extend(event for event in page.chunk if event.event_id not in mine.events)
            token = page.end
        return missing[::-1]

    async def _page(self, room_id, token, limit):
        while True:
            try:
                return checked(
                    await self.client.room_messages(room_id, token, direction=nio.MessageDirection.back, limit=limit)
                )
            except Failed:
                raise
            except Exception:
                logging.warning("paging failed, again soon:\n%s", traceback.format_exc())
                await asyncio.sleep(0.5)

    def _decrypt(self, event):
        if not isinstance(event, nio.MegolmEvent):
            return event
        try:
            return self.client.decrypt_event(event)
        except Exception:
            return event

    def _decrypt_late(self):
        """A message may overtake its key; the library tries only once."""
        for room_id, timeline in self.timelines.items():
            for event_id, event in timeline.events.items():
                if isinstance(event, nio.MegolmEvent):
                    event.room_id = event.room_id or room_id
                    timeline.events[event_id] = self._decrypt(event)

    # Rooms.

    async def create_room(self, args):
        initial_state = []
        if args.get("encrypted"):
            initial_state.append(
                {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}
            )
        presets = {
            "private_chat": nio.RoomPreset.private_chat,
            "public_chat": nio.RoomPreset.public_chat,
        }
        answer = checked(
            await self.client.room_create(
                room_version=args.get("version"),
                name=args.get("name"),
                alias=args.get("alias"),
                invite=args.get("invite") or (),
                preset=presets[args.get("preset") or "private_chat"],
                initial_state=initial_state,
            )
        )
        await self._synced_room(answer.room_id)
        return {"room_id": answer.room_id}

    async def _synced_room(self, room_id):
        await wait_for(
            f"room {room_id} to be synced", 60, lambda: room_id in self.timelines and room_id in self.client.rooms
        )

    async def invite(self, args):
        checked(await self.client.room_invite(args["room"], args["user"]))
        return {}

    async def wait_invite(self, args):
        await wait_for(f"an invite to {args['room']}", 60, lambda: args["room"] in self.invited)
        return {}

    async def join(self, args):
        if args.get("via"):
            # The library has no parameter for the servers to join through.
            raise Failed("nio cannot join via named servers")
        answer = checked(await self.client.join(args["target"]))
        await self._synced_room(answer.room_id)
        return {"room_id": answer.room_id}

    async def know(self, args):
        """Waits until all of `users` are members of the room and this client knows a device of each."""
        room_id, users = args["room"], args["users"]
        await self._synced_room(room_id)

        async def known():
            checked(await self.client.joined_members(room_id))
            if not all(user in self.client.rooms[room_id].users for user in users):
                return False
            # The library's device store leaves out the device that it runs as.
            others = [user for user in users if user != self.client.user_id]
            missing = [user for user in others if not list(self.client.device_store.active_user_devices(user))]
            if missing:
                self.client.olm.users_for_key_query.update(missing)
                checked(await self.client.keys_query())
            return not missing

        await wait_for(f"members and devices of {users}", 60, known)
        return {}

    # Messages.

    async def _send_until_answered(self, room_id, kind, content, transaction, retry):
        while True:
            try:
                answer = await self.client.room_send(
                    room_id, kind, content, tx_id=transaction, ignore_unverified_devices=True
                )
                if isinstance(answer, nio.ErrorResponse):
                    http = getattr(answer.transport_response, "status", 0)
                    if not retry or 400 <= http < 500:
                        checked(answer)
                else:
                    return answer.event_id
            except Failed:
                raise
            except Exception:
                if not retry:
                    raise
                logging.warning("send failed, again with the same transaction id:\n%s", traceback.format_exc())
            await asyncio.sleep(0.5)
            await self._server_is_back()

    async def _server_is_back(self):
        """Waits for the server before the library is asked again.

        The library encrypts anew on each try, changes its key after a hundred times, and takes the new key for shared even
        where no request got through: nobody could read what follows.
        """
        while True:
            try:
                answer = await self.client.send("GET", "/_matrix/client/versions", timeout=5)
                if answer.status == 200:
                    return
            except Exception:
                pass
            await asyncio.sleep(0.3)

    async def send(self, args):
        """Sends `count` messages `PREFIX 0`, `PREFIX 1`, ... one after the other; answers their event ids."""
        ids = self.sent[args["prefix"]] = []
        for number in range(args["count"]):
            content = {"msgtype": "m.text", "body": f"{args['prefix']} {number}"}
            transaction = f"{args['prefix']}-{number}-{time.time_ns()}"
            ids.append(
                await self._send_until_answered(
                    args["room"], "m.room.message", content, transaction, args.get("retry", False)
                )
            )
            if args.get("pause"):
                await asyncio.sleep(args["pause"])
        return {"event_ids": ids}

    async def progress(self, args):
        return {"event_ids": self.sent.get(args["prefix"], [])}

    async def _send(self, args, kind, content):
        event_id = await self._send_until_answered(args["room"], kind, content, None, False)
        return {"event_id": event_id}

    async def react(self, args):
        relation = {"rel_type": "m.annotation", "event_id": args["event"], "key": args["key"]}
        return await self._send(args, "m.reaction", {"m.relates_to": relation})

    async def edit(self, args):
        return await self._send(
            args,
            "m.room.message",
            {
                "msgtype": "m.text",
                "body": f"* {args['body']}",
                "m.new_content": {"msgtype": "m.text", "body": args["body"]},
                "m.relates_to": {"rel_type": "m.replace", "event_id": args["event"]},
            },
        )

    async def redact(self, args):
        answer = checked(await self.client.room_redact(args["room"], args["event"], args.get("reason")))
        return {"event_id": answer.event_id}

    # Looking.

    def _events(self, room_id):
        timeline = self.timelines.get(room_id)
        return [timeline.events[event_id] for event_id in timeline.order] if timeline else []

    async def wait_messages(self, args):
        """Waits until `count` messages whose body starts with `prefix` are there and decrypted.

        With `walk`, looks through the room's history as well now and then, as a person scrolls who misses something.
        """
        walk = time.monotonic() + WALK_SECONDS

        def found():
            return [
                event
                for event in self._events(args["room"])
                if isinstance(event, nio.RoomMessageText) and event.body.startswith(args["prefix"])
            ]

        async def enough():
            nonlocal walk
            if args.get("walk") and time.monotonic() > walk:
                mine = self.timelines.setdefault(args["room"], Timeline())
                missing = await self._gap(args["room"], mine, self.client.next_batch)
                mine.append([event for event in missing if event.event_id not in mine.events])
                self._decrypt_late()
                walk = time.monotonic() + WALK_SECONDS
            return len(found()) >= args["count"]

        try:
            await wait_for("messages", args["timeout"], enough)
        except Failed as error:
            locked = sum(isinstance(event, nio.MegolmEvent) for event in self._events(args["room"]))
            raise Failed(
                f"{len(found())} of {args['count']} messages \"{args['prefix']}\", {locked} undecryptable: {error}"
            )
        return {"messages": [describe(event) for event in found()]}

    async def effective(self, args):
        """What a person sees of one event after edits, reactions and redactions."""
        events = self._events(args["room"])
        redacted = {redacts(event) for event in events if event.source.get("type") == "m.room.redaction"}
        by_id = {event.event_id: event for event in events}
        event = by_id.get(args["event"])
        if event is None:
            raise Failed(f"the client does not have {args['event']}")
        body = event.source.get("content", {}).get("body")
        reactions = []
        for other in events:
            content = other.source.get("content", {})
            relation = content.get("m.relates_to") or {}
            if relation.get("event_id") != args["event"] or other.event_id in redacted:
                continue
            if other.source.get("type") == "m.reaction":
                reactions.append(f"{other.sender} {relation['key']}")
            if relation.get("rel_type") == "m.replace" and other.sender == event.sender:
                body = content.get("m.new_content", {}).get("body", body)
        gone = args["event"] in redacted or isinstance(event, nio.RedactedEvent)
        return {"body": None if gone else body, "redacted": gone, "reactions": reactions}

    async def timeline(self, args):
        """All events from the room's beginning to now, and those that the server gave twice."""
        mine = self.timelines[args["room"]]
        self._decrypt_late()
        return {"events": [describe(event) for event in self._events(args["room"])], "twice": mine.reordered}

    async def page_back(self, args):
        """Pages back from the end to the start, `limit` events a page, outside the client's timeline; oldest first."""
        found, pages, token = [], 0, self.client.next_batch
        while token:
            page = await self._page(args["room"], token, args["limit"])
            for event in page.chunk:
                if isinstance(event, nio.MegolmEvent):
                    event.room_id = event.room_id or args["room"]
                found.append(self._decrypt(event))
            token = page.end
            pages += 1
        return {"events": [describe(event) for event in reversed(found)], "pages": pages}

    async def stop(self, args):
        if self.syncing:
            self.syncing.cancel()
        if self.client:
            await self.client.close()
        asyncio.get_running_loop().call_later(0.05, sys.exit, 0)
        return {}


def redacts(event):
    """Top level up to room version 10, in the content since."""
    return event.source.get("redacts") or event.source.get("content", {}).get("redacts")


def describe(event):
    source = event.source
    return {
        "event_id": event.event_id,
        "type": source.get("type"),
        "sender": event.sender,
        "state_key": source.get("state_key"),
        "body": source.get("content", {}).get("body"),
        "encrypted": bool(getattr(event, "decrypted", False)) or isinstance(event, nio.MegolmEvent),
        "undecryptable": isinstance(event, nio.MegolmEvent),
        "redacted": isinstance(event, nio.RedactedEvent),
    }


COMMANDS = {
    "register", "login", "start", "create_room", "invite", "wait_invite", "join", "know", "send", "progress", "react",
    "edit", "redact", "wait_messages", "effective", "timeline", "page_back", "stop",
}  # fmt: skip


async def run(client, command):
    try:
        if command["do"] not in COMMANDS:
            raise Failed(f"no command {command['do']}")
        answer = {"id": command["id"], "ok": await getattr(client, command["do"])(command)}
    except Exception:
        answer = {"id": command["id"], "error": traceback.format_exc()}
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


async def main():
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    client = Client(sys.argv[1])
    reader = asyncio.StreamReader(limit=1 << 24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    running = set()
    while line := await reader.readline():
        task = asyncio.create_task(run(client, json.loads(line)))
        running.add(task)
        task.add_done_callback(running.discard)


asyncio.run(main())
