"""A server that one lease parked at its end is taken over by the next one, as
a tenant types it: `leasehold lease create … --server UUID`."""

import time
import uuid

from .leases import flavor_of, seen
from .observe import until
from .target import TENANT

SIZE = ("--vcpus", 2, "--memory-mb", 512, "--disk-gb", 1)
LATE_S = 2


class Adoption:
    """`parked` is C's server, `running` one of a reservation that is active,
    `foreign` one of another project."""

    def __init__(self, play, parked, running, foreign):
        self.t, self.cluster, self.leases = play.t, play.cluster, play.leases
        self.o, self.v = play.o, play.v
        self.server, self.running, self.foreign = parked, running, foreign

    def run(self, first):
        """The lease that adopted the server; `first` is the one that left it."""
        self.wrong_inputs()
        before = len(self.o.successes(self.server, "unshelve"))
        lease = self.create("--server", self.server, "--start", "+12s", "--end",
                            "+12s", "--on-end", "shelve", "--pool", "dedicated")
        number = lease["id"]
        shown = self.leases.get(number)
        self.v.check("j", "it is booked with the flavor that the server keeps",
                     flavor_of(shown) == flavor_of(first)
                     and shown["reservations"][0]["servers"] == [self.server],
                     flavor_of(shown))
        self.refused("one that is adopted already", "which is not over",
                     "--server", self.server)
        start, end = seen(shown["start_date"]), seen(shown["end_date"])
        self.v.check("j", "until the start it stays parked", time.time() < start
                     and self.o.server(self.server)["status"]
                     == "SHELVED_OFFLOADED")
        self.wakes(before, start)
        self.ends(number, end)
        return shown

    def wakes(self, before, start):
        own = self.o.cloud_time(self.server, self.t.hosts[-1])
        self.o.at_rest(self.server, "ACTIVE", seconds=start + 60 - time.time())
        woken = self.o.actions(self.server, "unshelve")[before:]
        late = [at - start for at, _, _ in woken]
        self.v.check("j", "it wakes once at the second lease's start, none "
                     "failed", len(woken) == 1 and not woken[0][1], f"{woken}")
        self.v.check("j", "on time", all(0 <= x <= LATE_S + own for x in late),
                     f"{late} s after the start, the cloud's own {own:.1f} s")

    def ends(self, number, end):
        self.o.at_rest(self.server, "SHELVED_OFFLOADED",
                       seconds=end + 60 - time.time())
        shelved = self.o.successes(self.server, "shelve")
        self.v.check("j", "and is parked once at its end",
                     len([x for x in shelved if x >= end]) == 1, f"{shelved}")
        until("the adopting lease being TERMINATED", lambda: self.leases.get(
            number)["status"] == "TERMINATED", 30)
        woken = self.o.actions(self.server, "unshelve")
        self.v.check("j", "woken once by each of its leases, and never more",
                     len(woken) == 2, f"{woken}")

    # ------------------------------------------------------------ what is wrong

    def wrong_inputs(self):
        ordinary = self.o.boot(self.t.small)
        self.refused("a server of another project", "the project has no server "
                     + self.foreign, "--server", self.foreign)
        self.refused("a server that nobody has", "the project has no server",
                     "--server", uuid.uuid4())
        self.refused("one that runs", "is ACTIVE and cannot be adopted; it must "
                     "be SHELVED_OFFLOADED", "--server", self.running)
        self.refused("one of another size", "has 2 vcpus, 512 MB of memory and "
                     "1 GB of disk", "--server", self.server,
                     size=("--vcpus", 3, *SIZE[2:]))
        self.o.at_rest(ordinary, "ACTIVE")
        self.refused("one of an ordinary flavor", "was not booted with the "
                     "flavor of a reservation", "--server", ordinary,
                     size=("--vcpus", 1, *SIZE[2:]))
        self.o.delete(ordinary)

    def refused(self, what, text, *args, size=SIZE):
        done = self.cluster.run_cli(
            "lease", "create", self.t.new_name(), *size, "--start", "+1h",
            "--end", "+1h", *args, user=TENANT, project=TENANT)
        told = done.stderr.strip()
        self.v.check("j", f"refused: {what}", done.returncode != 0 and text in
                     told, told[-160:])

    def create(self, *args):
        return self.cluster.cli_json(
            "lease", "create", self.t.new_name(), *SIZE, *args, user=TENANT,
            project=TENANT)
