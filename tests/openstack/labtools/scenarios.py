"""The promise, played against real Nova and Placement. One run, one time line:

    now   hosts onboarded; all leases booked; staged servers booted; three leases
          with server groups come and go
    S1    B starts, its leader killed with -9 around that second
    S2    C, D, X and G start while nobody is killed
    E1    B ends (delete)
    E2    C (shelve), D (snapshot), X and G end; Y starts on the host of X
          a lease adopts the server that C parked, and ends
    E3    Y ends; everything is deleted; the cloud is looked at once more
          then, on the lab alone: anchors.py

What is true is read from Nova, Placement and Glance, not from our own words.
"""

import random
import time

from .adoption import Adoption
from .cluster import NODES
from .expiry import Expiry
from .flavors import Flavors
from .groups import Groups
from .leases import flavor_of, iso
from .observe import eventually, until
from .sweep import leftovers

NAMES = {
    "a": "a shared host is held against ordinary servers",
    "b": "staging boots and parks",
    "c": "starts happen once and on time, the leader killed around one",
    "d": "end actions happen, each once",
    "e": "a boot on the host works within 10 s of a lease's end",
    "f": "at rest the cloud holds exactly the desired set",
    "g": "back to back on one host",
    "h": "python-blazarclient and openstack reservation sessions",
    "i": "tenants boot with the server groups of affinity as hints",
    "j": "a parked server is adopted by the next lease",
    "n": "servers like a flavor of the cloud are reserved by it",
    "o": "what nobody uses is given back at the expiry",
}
RECONCILE_S = 75        # a full comparison of the cloud with the ledger, and room
LATE_S = 2              # the bar, beyond Nova's own time
PARK_S = 20             # booked after the staging window; the default is 600
STAGING_S = 75          # what the tenant gets to boot before the first start
ANCHOR = "CUSTOM_LH_ANCHOR"
ANCHOR_BUDGET_MB = 255  # K of a dedicated pool, and of G = 512


class Scenarios:
    def __init__(self, target, cluster, leases, observer, verdicts, seed):
        self.t, self.cluster, self.leases = target, cluster, leases
        self.o, self.v = observer, verdicts
        self.random = random.Random(seed)
        self.shared, self.pair_host, *self.others = target.hosts
        self.pools = {host: "shared" if host == self.shared else "dedicated"
                      for host in target.hosts}
        self.lease, self.servers, self.numbers = {}, {}, {}
        self.nova_changed = False

    def run(self):
        with self.v.scenario("f"):
            self.onboard()
        with self.v.scenario("a"):
            self.ordinary_beside_a_hold()
        with self.v.scenario("b"):
            self.book_and_stage()
        with self.v.scenario("i"):
            Groups(self.t, self.leases, self.o, self.v).run()
        with self.v.scenario("c"):
            self.start_with_a_kill()
            self.starts_undisturbed()
        with self.v.scenario("d"):
            self.end_by_deleting()
        with self.v.scenario("e"):
            self.boot_after_the_end()
        with self.v.scenario("d"):
            self.end_by_shelving()
            self.end_by_snapshot()
        with self.v.scenario("g"):
            self.pair_meets()
        with self.v.scenario("j"):
            self.lease["N"] = Adoption(
                self, self.servers["C"][0], self.servers["Y"][0],
                self.servers["neighbour"]).run(self.lease["C"])
        with self.v.scenario("g"):
            self.pair_ends()
        with self.v.scenario("n"):
            Flavors(self.t, self.leases, self.o, self.v).run()
        with self.v.scenario("o"):
            Expiry(self.t, self.leases, self.o, self.v).run()
        with self.v.scenario("f"):
            self.at_rest()

    def groups_alone(self):
        with self.v.scenario("f"):
            self.onboard()
        with self.v.scenario("i"):
            Groups(self.t, self.leases, self.o, self.v).run()
        with self.v.scenario("n"):
            Flavors(self.t, self.leases, self.o, self.v).run()
        with self.v.scenario("o"):
            Expiry(self.t, self.leases, self.o, self.v).run()
        with self.v.scenario("f"):
            self.desired_at_rest("at rest")

    # ------------------------------------------------------------------- hosts

    def onboard(self):
        self.foreign = self.o.foreign()
        for host, pool in self.pools.items():
            self.numbers[host] = self.leases.add_host(host, pool)["id"]
        self.desired_at_rest("after onboarding")

    def desired_at_rest(self, when, flavors=frozenset()):
        """Chaos-design A8: children, holds, flavors, classes; no more, no less."""
        def same(what, look, want):
            found = eventually(look, want, RECONCILE_S)
            self.v.check("f", f"{when}: {what}", found == want,
                         f"{found}" + (f", not {want}" if found != want else ""))
        for host, pool in self.pools.items():
            same(f"children of {host}", lambda h=host: sorted(
                x for x in self.o.children(h) if x.startswith("leasehold_")),
                [f"leasehold_{host}", f"leasehold_loan_{host}"])
            same(f"inventories of the children of {host}", lambda h=host: {
                name: sorted(has) for name, has in self.o.children(h).items()
                if name.startswith("leasehold_")},
                {f"leasehold_{host}": [], f"leasehold_loan_{host}": []})
            same(f"hold of {host} ({pool})", lambda h=host: self.o.held(h),
                 self.hold_at_rest(host, pool))
        same("flavors", self.o.our_flavors, set(flavors))
        same("aggregates", self.o.our_aggregates, set())
        same("server groups", self.o.our_groups, set())
        same("classes", self.o.our_classes, {class_of(x) for x in flavors})

    def hold_at_rest(self, host, pool):
        """Dedicated: all but the anchors. Shared: what keeps memory in whole
        grains, so that no ordinary server can enter the anchors' last K MB;
        nothing where the anchors have a class of their own."""
        capacity = self.o.capacity(host)
        if pool == "shared" and ANCHOR in capacity:
            return {}
        room = capacity["MEMORY_MB"] - ANCHOR_BUDGET_MB
        if pool == "dedicated":
            return {"VCPU": capacity["VCPU"], "MEMORY_MB": room,
                    "DISK_GB": capacity["DISK_GB"]}
        grain = self.t.grain_mb()
        return {"MEMORY_MB": room % grain} if room % grain else {}

    # ----------------------------------------------------------------- booking

    def ordinary_beside_a_hold(self):
        """(a), and G, whose end (e) looks at."""
        host, o = self.shared, self.o
        neighbour = o.boot(self.t.small, host=host)
        o.at_rest(neighbour, "ACTIVE")
        self.servers["neighbour"] = neighbour
        free = o.capacity(host)["VCPU"] - o.used(host)["VCPU"]
        before = o.held(host).get("VCPU", 0)
        self.plan_times()
        self.lease["G"] = self.leases.create(
            self.S2, self.E2, 1, free, memory_mb=256, pool="shared", host=host)
        held = o.held(host).get("VCPU", 0) - before
        self.v.check("a", "the hold stands when create answers", held == free,
                     f"{held} of {free} VCPU on {host}")
        refused = o.boot(self.t.small, host=host)
        end = o.at_rest(refused)
        self.v.check("a", "an ordinary server gets no held room",
                     end["status"] == "ERROR" and "No valid host" in
                     end.get("fault", {}).get("message", ""), end["status"])
        o.delete(refused)
        self.v.check("a", "the neighbour runs on", o.at_rest(
            neighbour)["status"] == "ACTIVE")
        answer = self.leases.create(self.S2, self.E2, 1, 1, pool="shared",
                                    host=host, ok=(201, 409))
        self.v.check("a", "one more is refused with 409",
                     answer.get("error_code") == 409,
                     str(answer.get("error_message"))[:120])

    def plan_times(self):
        self.S1 = int(time.time()) + STAGING_S + PARK_S
        self.S2 = self.S1 + 60
        self.E1, self.E2, self.E3 = self.S1 + 120, self.S1 + 180, self.S1 + 240
        self.v.say(f"S1 {iso(self.S1)}, E3 {iso(self.E3)}")

    def book_and_stage(self):
        def book(name, start, end, amount, **more):
            self.lease[name] = self.leases.create(
                start, end, amount, 2, pool="dedicated", **more)
        book("B", self.S1, self.E1, 2, staging={"park_margin": PARK_S}, host=self.others[0])
        book("C", self.S2, self.E2, 1, staging={"park_margin": PARK_S}, on_end="shelve",
             host=self.others[1])
        book("D", self.S2, self.E2, 1, staging={"park_margin": PARK_S}, on_end="snapshot",
             host=self.others[1])
        book("X", self.S2, self.E2, 5, host=self.pair_host)
        book("Y", self.E2, self.E3, 5, host=self.pair_host, staging={
            "start_date": "now", "end_date": iso(self.S1),
            "park_margin": PARK_S})
        for name, amount in (("B", 2), ("C", 1), ("D", 1), ("Y", 1)):
            flavor = flavor_of(self.lease[name])
            until(f"the flavor of {name} opening", lambda f=flavor: self.t.nova(
                "GET", f"/flavors/{f}", ok=(200, 404),
                who=self.t.tenant).status == 200, 20)
            self.servers[name] = [self.o.boot(flavor) for _ in range(amount)]
        for name in ("B", "C", "D", "Y"):
            ends = [self.o.at_rest(s)["status"] for s in self.servers[name]]
            self.v.check("b", f"{name} boots in its staging window",
                         set(ends) <= {"ACTIVE", "SHELVED_OFFLOADED"},
                         " ".join(ends))

    def parked(self, name, deadline):
        """Shelved and offloaded by its start, by one shelve."""
        for server in self.servers[name]:
            self.o.at_rest(server, "SHELVED_OFFLOADED",
                           seconds=max(5, deadline - time.time()))
            shelved = self.o.successes(server, "shelve")
            self.v.check("b", f"{name} is parked once, before its start",
                         len(shelved) == 1 and shelved[0] <= deadline,
                         f"{[int(deadline - x) for x in shelved]} s before")

    # ------------------------------------------------------------------ starts

    def start_with_a_kill(self):
        """B starts; its leader is killed within a second of that."""
        with self.v.scenario("b"):
            self.parked("B", self.S1)
        offset = self.random.uniform(-1.0, 1.0)
        # Every node has seen the token: the failover is Raft's, not Keystone's.
        self.cluster.warm()
        wait_for(self.S1 + offset - 3)
        leader = until("a leader", self.cluster.leader, 3)
        wait_for(self.S1 + offset)
        failover = self.cluster.kill_leader(leader)
        late = time.time() - failover - self.S1 - offset
        self.v.say(f"killed leader {leader} at S1 {offset:+.2f} s; "
                   f"a new one leads after {failover:.2f} s")
        self.v.check("c", "the kill fell within a second of the start",
                     late < 0.3, f"{late:.2f} s after its time")
        self.v.check("c", "who led was killed: another leads",
                     self.cluster.leader() not in (None, leader))
        self.started("B", self.S1, failover + LATE_S, 0)
        self.cluster.launch(leader)
        self.cluster.await_ready()
        self.v.check("c", "the killed node is back",
                     len(self.cluster.alive()) == len(NODES))

    def starts_undisturbed(self):
        with self.v.scenario("b"):
            for name in ("Y", "C", "D"):
                self.parked(name, self.S2)
        own = self.o.cloud_time(self.servers["C"][0], self.others[1])
        wait_for(self.S2)
        for name in ("C", "D"):
            self.started(name, self.S2, LATE_S, own)
        for name in ("X", "G"):
            self.active(name, self.S2)
        self.servers["X"] = [self.o.boot(flavor_of(self.lease["X"]))]
        self.v.check("c", "a server boots in a started lease", self.o.at_rest(
            self.servers["X"][0])["status"] == "ACTIVE")
        live = {flavor_of(x) for x in self.lease.values()}
        found = self.o.our_flavors()
        self.v.check("f", "while leases run: their flavors and no other",
                     found == live, f"{len(found)} of {len(live)}")

    def started(self, name, start, bar, own):
        """One successful unshelve per server, not early, not late; ACTIVE.

        `own` is the cloud's part, measured just before.
        """
        for server in self.servers[name]:
            self.o.at_rest(server, "ACTIVE", seconds=start + 60 - time.time())
            woken = self.o.actions(server, "unshelve")
            good = [at for at, failed, _ in woken if not failed]
            late = [at - start for at in good]
            self.v.check("c", f"{name}: exactly one unshelve, none failed",
                         len(good) == 1 and len(woken) == 1, f"{woken}")
            self.v.check(
                "c", f"{name}: on time", all(0 <= x <= bar + own for x in late),
                f"{late} s after the start; {bar:.1f} s and the cloud's own "
                f"{own:.1f} s allowed")
        self.active(name, start)

    def active(self, name, start):
        lease = until(f"lease {name} being ACTIVE", lambda: (
            lambda x: x if x["status"] == "ACTIVE" else None)(
                self.leases.get(self.lease[name]["id"])),
            start + 60 - time.time())
        self.v.check("c", f"{name} is ACTIVE", lease["reservations"][0][
            "status"] == "active", lease["reservations"][0]["status"])

    # -------------------------------------------------------------------- ends

    def end_by_deleting(self):
        wait_for(self.E1)
        for server in self.servers["B"]:
            self.gone_once(server, self.E1)
        self.terminated("B", self.E1)

    def gone_once(self, server, end):
        until(f"server {server} going", lambda: self.o.server(server) is None,
              end + 60 - time.time())
        deleted = self.o.successes(server, "delete")
        self.v.check("d", "deleted once, not before the end", len(
            deleted) == 1 and deleted[0] >= end, f"{deleted}, end {end}")

    def terminated(self, name, end):
        lease = until(f"lease {name} being TERMINATED", lambda: (
            lambda x: x if x["status"] == "TERMINATED" else None)(
                self.leases.get(self.lease[name]["id"])),
            end + 60 - time.time())
        self.v.check("d", f"{name} is TERMINATED", lease["reservations"][0][
            "status"] == "deleted", lease["reservations"][0]["status"])

    def boot_after_the_end(self):
        """On the shared host, where G held all that was free."""
        wait_for(self.E2)
        tries = 0
        while True:
            tries += 1
            server = self.o.boot(self.t.small, host=self.shared)
            end = self.o.at_rest(server, "ACTIVE", "ERROR")
            took = time.time() - self.E2
            self.o.delete(server)
            if end["status"] == "ACTIVE" or took > 30:
                break
        self.v.check("e", "a boot on the host of G works within 10 s",
                     end["status"] == "ACTIVE" and took <= 10,
                     f"ACTIVE {took:.1f} s after the end, try {tries}")

    def end_by_shelving(self):
        server = self.servers["C"][0]
        self.o.at_rest(server, "SHELVED_OFFLOADED")
        shelved = self.o.successes(server, "shelve")
        self.v.check("d", "C is shelved once more, at its end", len(
            shelved) == 2 and shelved[1] >= self.E2, f"{shelved}")
        self.terminated("C", self.E2)
        owners = {x["owner"] for x in self.o.images_of(server)}
        self.v.check("d", "the image of the shelve is the tenant's",
                     owners == {self.t.tenant.project_id}, f"{len(owners)}")

    def end_by_snapshot(self):
        server = self.servers["D"][0]
        self.gone_once(server, self.E2)
        self.terminated("D", self.E2)
        made = self.o.successes(server, "createImage")
        images = self.o.images_of(server)
        self.v.check("d", "one snapshot of D, active and the tenant's", len(
            made) == 1 and [(x["status"], x["owner"]) for x in images] == [
                ("active", self.t.tenant.project_id)],
            f"{len(made)} made, {[x['status'] for x in images]}")
        self.v.check("d", "the tenant lists it", all(
            self.o.tenant_lists(x["id"]) for x in images))

    def pair_meets(self):
        """Y starts where X ends, on the same host, at the same second."""
        old, new = self.servers["X"][0], self.servers["Y"][0]
        own = self.o.cloud_time(new, self.pair_host)
        until("the server of X going", lambda: self.o.server(old) is None,
              self.E2 + 60 - time.time())
        deleted = self.o.actions(old, "delete")
        self.v.check("g", "X's server is deleted once",
                     len(deleted) == 1, f"{deleted}")
        self.o.at_rest(new, "ACTIVE", seconds=self.E2 + 60 - time.time())
        woken = self.o.actions(new, "unshelve")
        # From when Nova had done the deletion.
        late = woken[0][0] - max(self.E2, deleted[0][2])
        self.v.check("g", "Y's server is woken once, none failed",
                     len(woken) == 1 and not woken[0][1], f"{woken}")
        self.v.check("g", "Y starts within 2 s of the end before it",
                     # Whole seconds; Nova frees the room a moment before it
                     # says that the deletion is over.
                     -1 <= late <= LATE_S + own, f"{late} s, the cloud's own "
                     f"{own:.1f} s")
        host = self.o.server(new)["OS-EXT-SRV-ATTR:host"]
        self.v.check("g", "on the same host", host == self.pair_host, host)
        self.active("Y", self.E2)

    def pair_ends(self):
        wait_for(self.E3)
        self.gone_once(self.servers["Y"][0], self.E3)
        self.terminated("Y", self.E3)

    # ----------------------------------------------------------------- at rest

    def at_rest(self):
        """Ended leases leave nothing but what a parked server needs; deleted
        leases leave nothing."""
        self.v.check("f", "the ordinary neighbour ran on all the time",
                     self.o.at_rest(self.servers["neighbour"])["status"]
                     == "ACTIVE")
        self.o.delete(self.servers["neighbour"])
        now = self.o.foreign()
        self.v.check("f", "what is not ours is as it was before", now
                     == self.foreign, " and ".join(
                         f"{kind}: {sorted(now[kind] ^ was)}" for kind, was in
                         self.foreign.items() if now[kind] != was) or
                     f"{sum(map(len, now.values()))} objects")
        parked = flavor_of(self.lease["C"])
        self.desired_at_rest("with one parked server", {parked})
        healthy, told = self.cluster.doctor()
        self.v.check("f", "the doctor finds nothing wrong, and by the parked "
                     "server how Nova counts quota", healthy and "count in full"
                     in told["nova: quota"]["seen"], told["nova: quota"]["seen"])
        self.v.check("f", "the ended leases are still listed", len([
            x for x in self.leases.all() if x["id"] in {
                y["id"] for y in self.lease.values()}]) == len(self.lease))
        self.o.delete(self.servers["C"][0])
        for lease in self.lease.values():
            self.leases.delete(lease["id"])
        self.desired_at_rest("after deleting all leases")

    def leave(self):
        """The hosts are given back: nothing of ours stays in the cloud."""
        for number in self.numbers.values():
            self.leases.delete_host(number)
        left = leftovers(self.t)
        self.v.check("f", "after removing the hosts nothing of ours is left",
                     not left, ", ".join(name for name, _ in left))
        if self.t.is_lab:
            self.t.lab("up" if self.nova_changed else "restart-computes")


def class_of(flavor):
    return "CUSTOM_RESERVATION_" + flavor.upper().replace("-", "_")


def wait_for(moment):
    """Until that wall-clock time: leases start by the clock."""
    while (left := moment - time.time()) > 0:
        time.sleep(min(left, 0.5))
