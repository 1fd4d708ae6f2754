"""Plays the conformance calls on one cloud and keeps what it answered.

An exchange is kept in a form that two clouds can share: ids, times, tokens and
addresses are replaced by what they stand for. What is named with `name` keeps
its name, so that "the same id as before" is still compared; other ids become
`<uuid>`. `compare.py` says where two runs differ.
"""

import contextlib
import json
import re
import time

from .http import Cloud, HttpError, request
from .settings import LabError

COMPUTE = "2.96"            # one microversion for all calls that name none
PLACEMENT = "1.39"
KEPT_HEADERS = ("content-type", "openstack-api-version",
                "x-openstack-nova-api-version", "x-subject-token", "location",
                "vary", "x-openstack-request-id", "x-compute-request-id",
                "retry-after", "www-authenticate", "cache-control",
                "last-modified")
PATTERNS = (
    (re.compile(r"req-[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"), "<request>"),
    (re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"), "<uuid>"),
    (re.compile(r"\b(?:[0-9a-f]{128}|[0-9a-f]{56})\b"), "<hash>"),
    (re.compile(r"\b[0-9a-f]{32}\b"), "<hex>"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"), "<time.6Z>"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}"), "<time.6>"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"), "<timeZ>"),
    (re.compile(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT"), "<date>"),
    (re.compile(r"\br-[0-9a-z]{8}\b"), "<reservation>"),
    (re.compile(r"\binstance-[0-9a-f]{8}\b"), "<instance name>"),
)
# Values that are chance or history, whatever they look like.
CHANCE_KEYS = {"adminPass": "<password>", "audit_ids": "<audit ids>",
               "traceback": "<traceback>", "generation": "<generation>",
               "resource_provider_generation": "<generation>"}


class Exchange:
    def __init__(self, label, answer, status, headers, body):
        self.label, self.answer = label, answer
        self.status, self.headers, self.body = status, headers, body


class Replay:
    """One run: logs in, makes calls, keeps the exchanges by label."""

    def __init__(self, target, auth_url, users, say=print):
        self.target, self.say = target, say
        self.auth_url = auth_url.rstrip("/")
        self.users = users
        self.exchanges, self.broken = {}, {}
        self._names, self._undo = [], []
        self.control = None         # the host of nova-conductor and its like
        self.admin = self._login("admin")
        self.demo = self._login("demo")
        for name in ("admin", "demo"):
            self.name(getattr(self, name).project_id, f"<project {name}>")
            self.name(getattr(self, name).user_id, f"<user {name}>")
        for kind, url in self.admin.catalog.items():
            self.name(url.removesuffix("/v2.1"), f"<{kind}>")
        # As other services name Keystone: without the version.
        self.name(self.auth_url.removesuffix("/v3"), "<keystone>")

    def _login(self, user):
        cloud = Cloud(self.auth_url, user, *self.users[user])
        cloud.catalog["identity"] = self.auth_url
        return cloud

    # ---------------------------------------------------------------- naming

    def name(self, value, name):
        """From here on `value` reads as `name` wherever it appears."""
        self._names.append((str(value), name))
        self._names.sort(key=lambda pair: -len(pair[0]))

    def normal(self, value, key=None):
        if key in CHANCE_KEYS and value is not None:
            return CHANCE_KEYS[key]
        if key == "id" and isinstance(value, int):
            return "<number>"
        if value == self.control and (key is None or key == "host"):
            return "<control>"
        if isinstance(value, dict):
            return {self.normal(k): self.normal(v, k)
                    for k, v in value.items()}
        if key == "catalog":    # the reservation service is ours, not the cloud's
            value = [x for x in value if x["type"] != "reservation"]
        if isinstance(value, list):
            made = [self.normal(item) for item in value]
            return sorted(made, key=lambda x: json.dumps(x, sort_keys=True))
        if isinstance(value, str):
            if value.startswith("Traceback"):
                return "<traceback>"
            for text, name in self._names:
                value = value.replace(text, name)
            for pattern, name in PATTERNS:
                value = pattern.sub(name, value)
            if key == "message":    # rows are counted through all runs
                value = re.sub(r"\b(aggregate|flavor|for|in aggregate) \d+\b",
                               r"\1 <number>", value, flags=re.IGNORECASE)
        return value

    def _headers(self, headers):
        kept = {}
        for name, value in headers.items():
            name = name.lower()
            if name in KEPT_HEADERS:
                kept[name] = ("<token>" if name == "x-subject-token"
                              else self.normal(value))
        return kept

    # ----------------------------------------------------------------- calls

    def keep(self, label, answer):
        if label in self.exchanges:
            raise LabError(f"two calls are labelled {label}")
        try:
            body = json.loads(answer.text) if answer.text else None
        except ValueError:
            body = answer.text
        self.exchanges[label] = Exchange(
            label, answer, answer.status, self._headers(answer.headers),
            self.normal(body))
        return answer

    def call(self, label, service, method, path, body=None, who=None,
             version=None, headers=None):
        """Any status is an answer; without a label it is not compared."""
        if version is None:
            version = {"compute": COMPUTE, "placement": PLACEMENT}.get(service)
        answer = (who or self.admin).call(
            service, method, path, body, version or None, range(100, 600),
            headers=headers)
        return self.keep(label, answer) if label else answer

    def nova(self, label, method, path, body=None, **more):
        return self.call(label, "compute", method, path, body, **more)

    def place(self, label, method, path, body=None, **more):
        return self.call(label, "placement", method, path, body, **more)

    def image(self, label, method, path, body=None, **more):
        return self.call(label, "image", method, path, body, **more)

    def identity(self, label, method, path, body=None, **more):
        return self.call(label, "identity", method, path, body, **more)

    def bare(self, label, method, url, body=None, headers=None):
        """Without a token."""
        return self.keep(label, request(method, url, body, headers))

    def fact(self, label, value):
        """Something seen across several answers, compared like an answer."""
        self.exchanges[label] = Exchange(label, None, 0, {}, self.normal(value))

    def must(self, answer, *statuses):
        """What the next calls stand on; the part ends here without it."""
        if answer.status not in (statuses or (200, 201, 202, 204)):
            raise HttpError(answer)
        return answer.json

    def undo(self, *call, **more):
        """A call to be made at the end of the run, last one first."""
        self._undo.append(lambda: self.call(None, *call, **more))

    # --------------------------------------------------------------- waiting

    def until(self, what, look, seconds=60):
        """What `look` returns once that is not None."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = look()
            if found is not None:
                return found
            time.sleep(0.1)
        raise LabError(f"{what} did not happen in {seconds} s")

    def settled(self, server):
        """The server when it is at rest in one state or another."""
        def look():
            now = self.must(self.nova(None, "GET", f"/servers/{server}"))["server"]
            rests = (now["OS-EXT-STS:task_state"] is None
                     and now["status"] != "BUILD")
            # The host of an offloaded server goes a moment after its task.
            left = (now["status"] != "SHELVED_OFFLOADED"
                    or now["OS-EXT-SRV-ATTR:host"] is None)
            return now if rests and left else None
        return self.until(f"server {server} coming to rest", look)

    def gone(self, server):
        self.until(f"server {server} going", lambda: True if self.nova(
            None, "GET", f"/servers/{server}").status == 404 else None)

    # ------------------------------------------------------------------ parts

    @contextlib.contextmanager
    def part(self, name):
        """A failure ends the part, not the run; `compare` reports it."""
        before = len(self.exchanges)
        try:
            yield
        except (LabError, HttpError, KeyError, IndexError, TypeError,
                ValueError, OSError) as problem:
            self.broken[name] = f"{type(problem).__name__}: {problem}"
        finally:
            while self._undo:
                try:
                    self._undo.pop()()
                except OSError as problem:
                    self.broken.setdefault(name, f"clean-up: {problem}")
        self.say(f"  {self.target}: {name}: "
                 f"{len(self.exchanges) - before} calls"
                 + (f", stopped: {self.broken[name]}"
                    if name in self.broken else ""))
