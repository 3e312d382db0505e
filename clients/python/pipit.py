#!/usr/bin/env python3
"""A client of Pipit, in the standard library of Python 3.8 or later. Copy it: docs/clients.md tells what it does.

    python3 pipit.py publish TOPIC [MIME_TYPE] < PAYLOAD    prints the message's ID
    python3 pipit.py consume TOPIC [COMMAND ...]            runs the command for each message, the payload as its input
"""
import base64, http.client, json, os, random, signal, socket, subprocess, sys, threading, time, uuid
from urllib.parse import quote, urlencode, urlsplit


class Failed(Exception):
    """What the server refuses, or what was given up: the text tells which."""


class Client:
    def __init__(self, server, user, password, sub_key="", lease=30, patience=240):
        """lease: seconds, at most the consumer's ack_timeout; patience: after so many seconds a call is given up."""
        self.server, self.lease, self.patience = urlsplit(server), lease, patience
        self._base = self.server.path.rstrip("/") + "/zato/pubsub/"
        login = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._headers = {"Authorization": "Basic " + login, "X-Zato-PubSub-Key": sub_key}
        self._stopped, self._poll = False, None

    def publish(self, topic, payload, mime_type="application/octet-stream", msg_id=None):
        """Publishes bytes, and returns the ID of the message. Repeated with an ID of the caller's it is stored once."""
        query = urlencode({"msg_id": msg_id or uuid.uuid4(), "mime_type": mime_type})
        return self._call(f"topic/{quote(topic, safe='')}/?{query}", payload)["msg_id"]

    def consume(self, topic, handle):
        """Calls handle(payload, metadata) for each message until stop: what it raises has the message come again."""
        while not self._stopped:
            path = f"msg/{quote(topic, safe='')}/?max=10&wait=60"
            left = {m["metadata"]["msg_id"]: m for m in self._call(path, b"", receiving=True)["results"]}
            done = threading.Event()
            threading.Thread(target=self._keep, args=(left, done), daemon=True).start()
            try:
                for msg_id, message in list(left.items()):
                    if self._stopped:
                        break
                    self._settle(self._handled(handle, message))
                    del left[msg_id]
                if left:
                    self._settle({"reject": list(left)})
            finally:
                done.set()

    def stop(self, *_):
        """Ends consume after the message in hand; the others are given back. It can handle a signal."""
        self._stopped, poll = True, self._poll
        if poll:
            try:
                poll.shutdown(socket.SHUT_RDWR)  # an answer that is there already is read all the same
            except OSError:
                pass

    def _handled(self, handle, message):
        meta, payload = message["metadata"], message["payload"].encode()
        try:
            handle(base64.b64decode(payload) if meta.get("encoding") == "base64" else payload, meta)
            return {"ack": [meta["msg_id"]]}
        except Exception as e:
            print(f"{meta['msg_id']}: {e}", file=sys.stderr)
            return {"reject": [meta["msg_id"]], "delay": min(2 ** min(meta["delivery_count"] - 1, 5), 30)}

    def _keep(self, left, done):
        while left and not done.wait(self.lease / 3):
            try:
                self._settle({"extend": dict.fromkeys(list(left), self.lease)}, patience=0)
            except Failed as e:  # the next time is early enough
                print(f"extend: {e}", file=sys.stderr)

    def _settle(self, what, patience=None):
        self._call("ack/", json.dumps(what).encode(), patience)

    def _call(self, path, body, patience=None, receiving=False):
        """Posts until it is answered, and returns the answer. To receive, patience has no end but stop."""
        end = float("inf") if receiving else time.monotonic() + (self.patience if patience is None else patience)
        wait = 1
        while not (receiving and self._stopped):
            after = ""
            try:
                status, after, text = self._post(self._base + path, body, receiving)
                if status == 200:
                    return json.loads(text)
                why = f"{status}: {text.decode(errors='replace')}"
                if status != 429 and status < 500:
                    raise Failed(why)
            except (OSError, http.client.HTTPException, ValueError) as e:  # no connection, or half an answer
                why = repr(e)
            again = time.monotonic() + max(wait * random.uniform(0.5, 1), int(after) if after.isdigit() else 0)
            if again > end:
                raise Failed(why)
            if not (receiving and self._stopped):
                print(f"again in {again - time.monotonic():.1f} s: {why}", file=sys.stderr)
            while time.monotonic() < again and not (receiving and self._stopped):
                time.sleep(0.05)
            wait = min(2 * wait, 30)
        return {"results": []}

    def _post(self, path, body, receiving):
        kind = http.client.HTTPSConnection if self.server.scheme == "https" else http.client.HTTPConnection
        connection = kind(self.server.netloc, timeout=90)
        try:
            connection.connect()
            if receiving:
                self._poll = connection.sock
                if self._stopped:
                    raise ConnectionAbortedError("stopped")
            connection.request("POST", path, body, self._headers)
            reply = connection.getresponse()
            return reply.status, reply.headers.get("Retry-After", ""), reply.read()
        finally:
            if receiving:
                self._poll = None
            connection.close()


def main(action="", topic="", *rest):
    env = os.environ
    if action not in ("publish", "consume") or not topic:
        sys.exit(__doc__)
    for name in ("PIPIT_USER", "PIPIT_PASSWORD"):
        if name not in env:
            sys.exit(f"{name} is not set")
    client = Client(env.get("PIPIT_SERVER", "http://127.0.0.1:11223"), env["PIPIT_USER"], env["PIPIT_PASSWORD"], env.get("PIPIT_SUB_KEY", ""),
                    int(env.get("PIPIT_LEASE", 30)), float(env.get("PIPIT_PATIENCE", 240)))
    if action == "publish":
        return print(client.publish(topic, sys.stdin.buffer.read(), *rest[:1]))

    def handle(payload, meta):
        if rest:
            subprocess.run(rest, input=payload, check=True, env={**env, "PIPIT_MSG_ID": meta["msg_id"]})
        else:
            sys.stdout.buffer.write(payload + b"\n")
            sys.stdout.flush()

    signal.signal(signal.SIGTERM, client.stop)
    signal.signal(signal.SIGINT, client.stop)
    client.consume(topic, handle)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Failed as e:
        sys.exit(str(e))
