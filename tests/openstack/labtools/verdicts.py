"""What was checked and how it came out; the exit status is the worst of it."""

import contextlib
import subprocess
import time

from .http import HttpError
from .settings import LabError


class Verdicts:
    def __init__(self, say):
        self.say = say
        self.rows = []
        self.begun = time.monotonic()

    def check(self, scenario, what, good, detail=""):
        """One fact. Nothing here is optional."""
        self.rows.append((scenario, what, bool(good), detail))
        self.say(f"{'ok  ' if good else 'FAIL'} ({scenario}) {what}"
                 + (f": {detail}" if detail else ""))
        return good

    @contextlib.contextmanager
    def scenario(self, name):
        """An error inside is a failed check, and the other scenarios go on."""
        try:
            yield
        except (LabError, HttpError, OSError, KeyError, IndexError, TypeError,
                ValueError, subprocess.SubprocessError) as problem:
            self.check(name, "ran to its end", False,
                       f"{type(problem).__name__}: {problem}")

    def table(self, names):
        """The verdict line of each scenario; true when all hold."""
        self.say("")
        fine = True
        for key, title in names.items():
            mine = [row for row in self.rows if row[0] == key]
            bad = [row for row in mine if not row[2]]
            fine &= bool(mine) and not bad
            verdict = "FAIL" if bad else "pass" if mine else "NOT RUN"
            self.say(f"{verdict:8} ({key}) {title}: "
                     f"{len(mine) - len(bad)} of {len(mine)} checks"
                     + "".join(f"\n           {row[1]}: {row[3]}"
                               for row in bad))
        self.say(f"{'GREEN' if fine else 'RED'} after "
                 f"{time.monotonic() - self.begun:.0f} s")
        return fine
