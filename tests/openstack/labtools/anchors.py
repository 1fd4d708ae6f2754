"""What needs other settings of Nova than the time line of scenarios.py, so the
lab alone can show it: hosts with anchors of a class of their own, from a real
provider.yaml; holds that Placement refuses; a tenant at his quota where Nova
counts it from Placement.

    now   two hosts out; provider.yaml and quota settings, Nova started again
          a flavor that leaves no memory for anchors comes and goes
          the leader has just looked at Placement
          A (anchored by the class) and Q (dedicated) booked, booted, parked
          ordinary servers take the room of holds that are being raised
          nova-compute of A's host started again: it re-applies provider.yaml
    S     A starts; Q does not, until the quota is raised
          provider.yaml promises less; then as before
"""

import time

from .leases import flavor_of, iso
from .observe import eventually, until
from .scenarios import ANCHOR
from .settings import LabError

NAMES = {
    "k": "anchors of a class of their own, from a provider.yaml",
    "l": "a hold that Placement refuses is moved, or the lease withdrawn",
    "m": "a tenant at his quota: said, and mended by raising it",
}
BUDGET = 6
STAGING_S = 20
PARK_S = 15
START_S = 60        # room for the restart of one nova-compute before it
MONITOR_S = 30      # default of [leader] monitor_s
TOLD_S = 60         # a compute host reports its inventory each 10 s or so
LATE_S = 2


class Anchors:
    def __init__(self, play):
        self.play, self.t, self.cluster = play, play.t, play.cluster
        self.leases, self.o, self.v = play.leases, play.o, play.v
        self.plain, self.anchored = play.pair_host, play.others[1]
        self.quota_host = play.others[0]

    def run(self):
        with self.v.scenario("k"):
            self.change_nova()
            self.onboard()
            self.just_looked()
            self.book()
        with self.v.scenario("l"):
            self.rebound()
            self.withdrawn()
        with self.v.scenario("m"):
            self.over_quota()
        with self.v.scenario("k"):
            self.compute_starts_again()
        with self.v.scenario("k"):
            self.starts()
        with self.v.scenario("m"):
            self.quota_raised()
        with self.v.scenario("k"):
            self.fewer_anchors()
            self.at_rest()

    # -------------------------------------------------------------- the hosts

    def change_nova(self):
        for host in (self.plain, self.anchored):
            self.leases.delete_host(self.play.numbers.pop(host))
            self.play.pools.pop(host)
        self.play.nova_changed = True
        self.apply_anchors(BUDGET)
        # A compute host says that it is up before it tells Placement.
        want = {host: BUDGET if host in (self.anchored, self.quota_host)
                else None for host in self.t.hosts}
        found = eventually(
            lambda: {host: self.o.capacity(host).get(ANCHOR)
                     for host in self.t.hosts}, want, TOLD_S)
        self.v.check("k", "provider.yaml is in the hosts' inventories, and in "
                     "no others", found == want, found)

    def apply_anchors(self, total):
        self.t.lab("up", OSLAB_QUOTA_USAGE_FROM_PLACEMENT="1", OSLAB_ANCHORS=
                   f"{self.quota_host}={BUDGET},{self.anchored}={total}")

    def onboard(self):
        """With a flavor that leaves ordinary servers any number of megabytes."""
        odd = self.t.small + "-odd"
        self.t.nova("POST", "/flavors", {"flavor": {
            "name": odd, "id": odd, "vcpus": 1, "ram": 513, "disk": 1}},
            ok=(200, 409))
        try:
            refused = self.leases.ask_for_host(
                self.plain, "shared", range(200, 500))
            self.v.check("k", "without them a shared host is refused while a "
                         "flavor leaves no memory", refused.status >= 400 and all(
                             x in refused.text for x in (odd, "provider.yaml",
                                                         ANCHOR)),
                         refused.text[:300])
            self.v.check("k", "nothing is left of the refused host",
                         not [x for x in self.o.children(self.plain)
                              if x.startswith("leasehold_")])
            self.take_in(self.anchored)
            self.v.check("k", "with them it is taken in, and nothing is held "
                         "of it", self.o.held(self.anchored) == {})
            healthy, told = self.cluster.doctor()
            grain = f"flavors: grain on {self.play.shared}"
            self.v.check("k", "the doctor names the flavor, for the host where "
                         "memory is the anchor alone", not healthy
                         and odd in told[grain].get("next", "")
                         and failed(told) == [grain], f"{failed(told)}")
            own = told[f"flavors: grain on {self.anchored}"]["seen"]
            self.v.check("k", "and the number of anchors of the other", own.
                         startswith(f"{BUDGET} anchors of a class of their own"),
                         own)
        finally:
            self.t.nova("DELETE", f"/flavors/{odd}", ok=(202, 204, 404))
        self.take_in(self.plain)
        healthy, told = self.cluster.doctor()
        self.v.check("k", "without that flavor nothing fails, and the host is "
                     "taken in", healthy, f"{failed(told)}")

    def take_in(self, host):
        self.play.pools[host] = "shared"
        self.play.numbers[host] = self.leases.add_host(host, "shared")["id"]

    # ---------------------------------------------------------------- booking

    def just_looked(self):
        """Servers booted in the next MONITOR_S are unseen until asked for."""
        server = self.wide(self.plain)
        until("a look at Placement's usage",
              lambda: self.firm(self.plain) >= 6, MONITOR_S + 15)
        self.o.delete(server)

    def book(self):
        answer = self.leases.create(
            time.time() + 60, time.time() + 120, BUDGET + 1, 1, memory_mb=256,
            pool="shared", host=self.anchored, ok=(201, 409))
        self.v.check("k", "one more than it has anchors is refused, though "
                     "there is room", answer.get("error_code") == 409,
                     str(answer.get("error_message"))[:160])
        now = int(time.time())
        self.S = now + START_S
        staging = {"start_date": "now", "end_date": iso(now + STAGING_S),
                   "park_margin": PARK_S}
        self.A = self.leases.create(self.S, self.S + 600, 3, 1, memory_mb=256,
                                    staging=staging, host=self.anchored)
        self.Q = self.leases.create(self.S, self.S + 600, 1, 2,
                                    staging=staging, host=self.quota_host)
        self.v.check("k", "the hold is what is booked and no more",
                     self.o.held(self.anchored) == {
                         "VCPU": 3, "MEMORY_MB": 768, "DISK_GB": 3},
                     f"{self.o.held(self.anchored)}")
        for lease in (self.A, self.Q):
            until("a flavor opening", lambda x=lease: self.t.nova(
                "GET", f"/flavors/{flavor_of(x)}", ok=(200, 404),
                who=self.t.tenant).status == 200, 15)
        specs = {name: self.specs(lease) for name, lease in (
            ("A", self.A), ("Q", self.Q))}
        self.v.check("k", "the flavor takes an anchor of the class and no "
                     "memory; a dedicated host's a megabyte and no anchor",
                     specs == {"A": ("0", "1"), "Q": ("1", None)}, f"{specs}")
        self.servers = [self.o.boot(flavor_of(self.A)) for _ in range(2)]
        self.poor = self.o.boot(flavor_of(self.Q))
        for server in (*self.servers, self.poor):
            self.v.check("k", "a server boots in the staging window",
                         self.o.at_rest(server)["status"] == "ACTIVE")
        self.v.check("k", "each of A has an anchor",
                     self.o.used(self.anchored).get(ANCHOR) == 2)

    def specs(self, lease):
        found = self.t.nova("GET", f"/flavors/{flavor_of(lease)}").json[
            "flavor"]["extra_specs"]
        return (found.get("resources:MEMORY_MB"),
                found.get("resources:" + ANCHOR))

    # --------------------------------------------------------- holds refused

    def firm(self, host):
        """What the ledger believes that ordinary servers have there."""
        return self.cluster.cli_json(
            "host", "show", self.play.numbers[host])["firm"]["vcpus"]

    def wide(self, host):
        server = self.o.boot(self.t.wide, host=host)
        end = self.o.at_rest(server)
        if end["status"] != "ACTIVE":
            raise LabError(f"an ordinary server did not boot on {host}: "
                           f"{end.get('fault', {}).get('message')}")
        return server

    def ask(self, ok):
        """Three of two vcpus: too much beside a wide server."""
        return self.leases.create("now", time.time() + 300, 3, 2, memory_mb=256,
                                  pool="shared", ok=ok)

    def rebound(self):
        """The host that memory anchors is planned first, and full by then; the
        ledger hears of it by Placement's refusal."""
        self.out_of_the_way()
        self.wide_one = self.wide(self.play.shared)
        knew = self.firm(self.play.shared)
        lease = self.ask(ok=None)
        knows = self.firm(self.play.shared)
        self.v.check("l", "an ordinary server took the room unseen", knew < 6
                     <= knows, f"{knew} vcpus before, {knows} after")
        self.v.check("l", "the lease is moved to the host with room, of the "
                     "other kind of anchor", self.o.held(self.anchored).get(
                         "VCPU") == 9 and not self.o.held(
                             self.play.shared).get("VCPU"),
                     f"{self.o.held(self.anchored)}")
        until("its flavor", lambda: flavor_of(lease) in self.o.our_flavors(), 20)
        self.v.check("l", "and so has its flavor", self.specs(lease) == (
            "0", "1"), f"{self.specs(lease)}")
        self.leases.delete(lease["id"])
        # What the delete waits for is the ledger's; the hold follows at once.
        until("the hold being lowered", lambda: self.o.held(self.anchored).get(
            "VCPU") == 3, 10)

    def out_of_the_way(self):
        """The third shared host would have room for everything."""
        self.leases.delete_host(self.play.numbers.pop(self.plain))
        self.play.pools.pop(self.plain)

    def withdrawn(self):
        held = self.o.held(self.anchored)
        listed = len(self.leases.all())
        other = self.wide(self.anchored)
        knew = self.firm(self.anchored)
        answer = self.ask(ok=(201, 409))
        self.v.check("l", "with no room anywhere the answer is 409 and names "
                     "Placement", knew == 0 and "Placement has no room" in str(
                         answer.get("error_message")),
                     str(answer.get("error_message"))[:200])
        self.v.check("l", "nothing is left of the withdrawn lease",
                     (self.o.held(self.anchored), len(self.leases.all()))
                     == (held, listed), f"{held}")
        answer = self.ask(ok=(201, 409))
        self.v.check("l", "asked again, the ledger knows", "Not enough hosts" in
                     str(answer.get("error_message")),
                     str(answer.get("error_message"))[:120])
        # One stays through the restart of its nova-compute.
        self.o.delete(self.wide_one)
        self.wide_one = other

    # -------------------------------------------------------- provider.yaml

    def seen_of_host(self):
        """All that Placement knows of it but generations."""
        host, children = self.anchored, self.o.children(self.anchored)
        return {"children": {name: {
                    kind: {k: v for k, v in x.items() if k != "generation"}
                    for kind, x in has.items()}
                    for name, has in children.items()},
                "held": self.o.held(host), "used": self.o.used(host),
                "capacity": self.o.capacity(host)}

    def compute_starts_again(self):
        before = self.seen_of_host()
        self.t.lab("restart-computes", self.anchored)
        after = self.seen_of_host()
        differ = [f"{key}: {was}, now {after[key]}" for key, was
                  in before.items() if after[key] != was]
        self.v.check("k", "a restart of nova-compute, which re-applies "
                     "provider.yaml, leaves children, tokens, hold and anchors",
                     not differ and after["held"]["VCPU"] == 3
                     and after["capacity"][ANCHOR] == BUDGET,
                     "; ".join(differ) or f"{after['held']}, "
                     f"{sorted(after['children'])}")
        self.v.check("k", "it was over before the start", time.time() < self.S,
                     f"{self.S - time.time():.0f} s before")
        self.v.check("k", "the ordinary server there ran on", self.o.server(
            self.wide_one)["status"] == "ACTIVE")

    def starts(self):
        for server in self.servers:
            self.o.at_rest(server, "ACTIVE",
                           seconds=max(10, self.S + 60 - time.time()))
            woken = self.o.actions(server, "unshelve")
            late = [at - self.S for at, _, _ in woken]
            self.v.check("k", "A's server wakes once, on its start", len(
                woken) == 1 and not woken[0][1] and 0 <= late[0] <= LATE_S + 3,
                f"{late} s after it")
        self.v.check("k", "on its host, with its anchor", self.o.used(
            self.anchored).get(ANCHOR) == 2 and {self.o.server(x)[
                "OS-EXT-SRV-ATTR:host"] for x in self.servers}
            == {self.anchored})

    def fewer_anchors(self):
        """The file promises less than was promised of it."""
        number = self.play.numbers[self.anchored]

        def overcommitted():
            return self.cluster.cli_json("host", "show", number)["overcommitted"]
        self.apply_anchors(1)
        self.v.check("k", "fewer anchors than are promised are seen",
                     eventually(overcommitted, True, MONITOR_S + 15))
        _, told = self.cluster.doctor()
        wanted = [f"host {self.anchored}: anchors",
                  f"host {self.anchored}: capacity"]
        self.v.check("k", "and told by the doctor", troubled(told, *wanted),
                     " | ".join(told[x]["seen"] for x in wanted if x in told))
        answer = self.leases.create(
            "now", time.time() + 60, 1, 1, memory_mb=256, pool="shared",
            host=self.anchored, ok=(201, 409))
        self.v.check("k", "and not promised again", answer.get("error_code")
                     == 409, str(answer.get("error_message"))[:120])
        self.v.check("k", "A's servers run on", [self.o.server(x)["status"] for
                     x in self.servers] == ["ACTIVE"] * 2)
        self.apply_anchors(BUDGET)
        self.v.check("k", "all are back", not eventually(
            overcommitted, False, MONITOR_S + 15))

    # ------------------------------------------------------------------ quota

    def set_quota(self, cores):
        self.t.nova("PUT", f"/os-quota-sets/{self.t.tenant.project_id}",
                    {"quota_set": {"cores": cores, "force": True}})

    def over_quota(self):
        """Q's server has two cores; A's have one each."""
        for server in (*self.servers, self.poor):
            self.o.at_rest(server, "SHELVED_OFFLOADED", seconds=PARK_S + 20)
        _, told = self.cluster.doctor()
        quota = told["nova: quota"]
        self.v.check("m", "the doctor sees how Nova counts", quota["verdict"]
                     == "warn" and "from Placement" in quota["seen"],
                     quota["seen"])
        self.set_quota(1)

    def quota_raised(self):
        try:
            reason = until("the lease saying why it waits", lambda: (
                lambda x: x if x and x["code"] == "QUOTA" else None)(
                    self.reason()), max(10, self.S + 30 - time.time()))
            self.v.check("m", "a start that the quota refuses says so, in "
                         "Nova's words", "quota" in reason["text"].lower(),
                         reason["text"][:160])
            self.v.check("m", "the server stays parked", self.o.server(
                self.poor)["status"] == "SHELVED_OFFLOADED")
        finally:
            raised = time.time()
            self.t.nova("DELETE", f"/os-quota-sets/{self.t.tenant.project_id}",
                        ok=(202,))
        self.o.at_rest(self.poor, "ACTIVE", seconds=60)
        took = time.time() - raised
        good = self.o.successes(self.poor, "unshelve")
        self.v.check("m", "raising it is enough: woken once", len(good) == 1,
                     f"ACTIVE {took:.1f} s after that")
        until("Q being ACTIVE", lambda: self.leases.get(self.Q["id"])[
            "status"] == "ACTIVE", 20)
        self.v.check("m", "the reason is gone with it", self.reason() is None,
                     f"{self.reason()}")

    def reason(self):
        return self.leases.get(self.Q["id"])["status_reason"]

    # ---------------------------------------------------------------- at rest

    def at_rest(self):
        for lease in (self.A, self.Q):
            self.leases.delete(lease["id"])
        for server in (*self.servers, self.poor):
            until(f"server {server} going",
                  lambda x=server: self.o.server(x) is None)
        self.o.delete(self.wide_one)
        self.play.desired_at_rest("with anchors of their own")
        healthy, told = self.cluster.doctor()
        self.v.check("k", "at rest the doctor finds nothing", healthy and not
                     troubled(told, "leftovers"), f"{failed(told)}")


def failed(told):
    return sorted(name for name, x in told.items() if x["verdict"] == "fail")


def troubled(told, *prefixes):
    """Whether each of these is told, and told as trouble."""
    return all(any(name.startswith(prefix) and x["verdict"] in ("warn", "fail")
                   for name, x in told.items()) for prefix in prefixes)
