"""A planned upgrade on the real cloud: what a shared host is to have is leased
before it is there, held as soon as Placement has it, and booted on. The upgrade is
another `cpu_allocation_ratio` of nova-compute, which doubles what the host has."""

import time

from .leases import flavor_of, iso
from .observe import eventually, until

NAMES = {"p": "what a host is to have is leased before it is there"}
COMES_S = 90        # room for another start of the computes
MONITOR_S = 30      # default of [leader] monitor_s
TOLD_S = 60         # a compute host reports its inventory each 10 s or so
LATE_S = 2
SIZE = 2            # vCPUs of a server


class Upgrades:
    def __init__(self, play):
        self.play, self.t = play, play.t
        self.leases, self.o, self.v = play.leases, play.o, play.v
        self.host = play.shared

    def run(self):
        with self.v.scenario("p"):
            self.planned()

    def planned(self):
        had = self.vcpus()
        amount = had // SIZE + 1
        start = int(time.time()) + COMES_S
        shown = self.upgrade("PUT", {"start_date": iso(start),
                                     "vcpus": 2 * had}).json["host"]
        self.v.check("p", "the host shows what it is to have",
                     (shown["upgrade"] or {}).get("vcpus") == 2 * had,
                     f"{shown['upgrade']}")
        early = self.lease(start - 1, amount)
        told = early.get("offer") or {}
        self.v.check("p", "a lease of it that begins a second early is refused, and "
                     "told when there is room", told.get("next_start") == start
                     and told.get("largest_amount") == amount - 1,
                     f"{early.get('error_message')}")
        lease = self.lease(start, amount)
        status = lambda: self.leases.get(lease["id"])["status"]
        self.v.check("p", "one that begins with it is promised",
                     eventually(status, "PENDING", 10) == "PENDING")
        held = lambda: self.o.held(self.host).get("VCPU", 0)
        self.v.check("p", "all that there is already is held for it",
                     eventually(held, had, TOLD_S) == had, held())
        self.play.nova_changed = True
        self.t.lab("up", OSLAB_CPU_RATIO="2.0")
        self.v.check("p", "Placement has it", eventually(
            self.vcpus, 2 * had, TOLD_S) == 2 * had, self.vcpus())
        self.v.check("p", "and all of it is held, before the lease begins",
                     eventually(held, amount * SIZE, MONITOR_S + 15)
                     == amount * SIZE and time.time() < start, held())
        until("the start", lambda: status() == "ACTIVE", COMES_S)
        late = time.time() - start
        self.v.check("p", "the lease begins on time", late < LATE_S + 1, f"{late:.1f} s")
        servers = [self.o.boot(flavor_of(lease)) for _ in range(amount)]
        ends = [self.o.at_rest(server) for server in servers]
        self.v.check("p", "more servers run than there was room for before",
                     [end["status"] for end in ends] == ["ACTIVE"] * amount
                     and {end["OS-EXT-SRV-ATTR:host"] for end in ends} == {self.host},
                     f"{amount} of {SIZE} vCPUs, {had} before")
        now = self.leases.call("GET", f"/os-hosts/{self.play.numbers[self.host]}",
                               who=self.t.service).json["host"]
        self.v.check("p", "nothing is to come any more, and the host is well",
                     (now["upgrade"], now["overcommitted"]) == (None, False))
        self.leases.delete(lease["id"])
        for server in servers:
            until(f"server {server} going",
                  lambda x=server: self.o.server(x) is None)
        self.t.lab("up")
        self.v.check("p", "as before", eventually(self.vcpus, had, TOLD_S) == had,
                     self.vcpus())

    def lease(self, start, amount):
        return self.leases.create(start, start + 300, amount, SIZE, memory_mb=256,
                                  pool="shared", host=self.host, ok=(201, 409))

    def upgrade(self, method, body):
        return self.leases.call(
            method, f"/os-hosts/{self.play.numbers[self.host]}/upgrade", body,
            who=self.t.service)

    def vcpus(self):
        return self.o.capacity(self.host).get("VCPU")
