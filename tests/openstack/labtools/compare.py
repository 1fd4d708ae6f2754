"""Where two replays differ, and which differences may be.

A place is `CALL:status`, `CALL:header.NAME` or `CALL:body.path.to.value`; list
positions read `[n]`. The committed list of ignored differences names places
with shell patterns, each entry with the reason why it may differ.
"""

import fnmatch
import json
import pathlib

MISSING = "(missing)"


class Difference:
    def __init__(self, call, where, real, sim):
        self.call, self.where, self.real, self.sim = call, where, real, sim

    @property
    def kind(self):
        if self.sim == MISSING:
            return "missing"
        return "extra" if self.real == MISSING else "value"

    def __str__(self):
        def short(value):
            text = value if value == MISSING else json.dumps(value)
            return text if len(text) <= 160 else text[:157] + "..."
        return (f"{self.call}: {self.where}\n      real {short(self.real)}\n"
                f"      sim  {short(self.sim)}")


def _walk(call, where, real, sim, out):
    if isinstance(real, dict) and isinstance(sim, dict):
        for key in sorted(real.keys() | sim.keys()):
            _walk(call, f"{where}.{key}", real.get(key, MISSING),
                  sim.get(key, MISSING), out)
    elif isinstance(real, list) and isinstance(sim, list):
        if len(real) != len(sim):
            out.append(Difference(call, where + ".length", len(real), len(sim)))
        for n, (one, other) in enumerate(zip(real, sim)):
            _walk(call, f"{where}[{n}]", one, other, out)
    elif real != sim or type(real) is not type(sim):
        out.append(Difference(call, where, real, sim))


def differences(real, sim):
    """Every difference between two replays, in the order of the calls."""
    out = []
    for part in sorted(real.broken.keys() | sim.broken.keys()):
        one, other = real.broken.get(part), sim.broken.get(part)
        out.append(Difference(f"part {part}", "outcome", one or "completed",
                              other or "completed"))
    for label in [*real.exchanges, *(x for x in sim.exchanges
                                     if x not in real.exchanges)]:
        one, other = real.exchanges.get(label), sim.exchanges.get(label)
        if one is None or other is None:
            out.append(Difference(label, "call", *(
                MISSING if x is None else "made" for x in (one, other))))
            continue
        if one.status != other.status:
            out.append(Difference(label, "status", one.status, other.status))
        _walk(label, "header", one.headers, other.headers, out)
        _walk(label, "body", one.body, other.body, out)
    return out


class Ignored:
    """The committed list: [{"call", "at", "kind"?, "reason"}, …]."""

    def __init__(self, path):
        self.entries = json.loads(pathlib.Path(path).read_text())
        for entry in self.entries:
            if not entry.get("reason"):
                raise ValueError(f"an entry of {path} has no reason: {entry}")
        self.used = [0] * len(self.entries)

    def covers(self, difference):
        for n, entry in enumerate(self.entries):
            calls = entry["call"] if isinstance(entry["call"], list) else [entry["call"]]
            places = entry["at"] if isinstance(entry["at"], list) else [entry["at"]]
            if (any(fnmatch.fnmatchcase(difference.call, c) for c in calls)
                    and any(_matches(difference.where, a) for a in places)
                    and entry.get("kind", difference.kind) == difference.kind):
                self.used[n] += 1
                return True
        return False

    def unused(self):
        return [e for e, n in zip(self.entries, self.used) if not n]


def _matches(where, pattern):
    # "[" is a shell pattern's own sign; places write list positions with it.
    return fnmatch.fnmatchcase(where, pattern.replace("[", "[[]"))
