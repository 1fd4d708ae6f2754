"""Leases that expire: what nobody uses a minute after they became active is given
back, and the server that runs stays, with the place that its owner shelved."""

import time

from .leases import flavor_of, iso
from .observe import until

EXPIRY_S = 60


class Expiry:
    def __init__(self, target, leases, observer, verdicts):
        self.t, self.leases, self.o, self.v = target, leases, observer, verdicts

    def run(self):
        unused, used = self.create(1), self.create(3)
        flavor = flavor_of(used)
        until("the flavor of the lease opening",
              lambda: self.t.nova("GET", f"/flavors/{flavor}", ok=(200, 404),
                                  who=self.t.tenant).status == 200, 20)
        servers = [self.o.boot(flavor) for _ in range(2)]
        runs, shelved = [self.o.at_rest(server)["id"] for server in servers]
        self.t.nova("POST", f"/servers/{shelved}/action", {"shelve": None},
                    who=self.t.tenant, ok=(202,))
        until("a server being shelved", lambda: self.o.server(shelved)["status"]
              == "SHELVED_OFFLOADED", 40)
        self.v.check("o", "nothing is given back before its time",
                     self.shown(used)["released"] == 0)
        until("the lease being counted",
              lambda: self.shown(used)["released"] > 0, 2 * EXPIRY_S)
        lease, kept = self.leases.get(used["id"]), self.shown(used)
        self.v.check("o", "what nobody uses is given back, and no more",
                     (lease["status"], kept["amount"], kept["released"])
                     == ("ACTIVE", 2, 1), f"{kept['amount']} kept")
        self.v.check("o", "the server that runs goes on",
                     self.o.server(runs)["status"] == "ACTIVE")
        self.t.nova("POST", f"/servers/{shelved}/action", {"unshelve": None},
                    who=self.t.tenant, ok=(202,))
        until("the shelved server waking", lambda: self.o.server(shelved)["status"]
              == "ACTIVE", 40)
        third = self.o.at_rest(self.o.boot(flavor))
        self.v.check("o", "what was shelved wakes, and nothing else has room",
                     third["status"] == "ERROR", third["status"])
        until("the unused lease ending", lambda: self.leases.get(
            unused["id"])["status"] == "TERMINATED", 2 * EXPIRY_S)
        until("its flavor going", lambda: self.t.nova(
            "GET", f"/flavors/{flavor_of(unused)}", ok=(200, 404)).status
            == 404, 30)
        self.v.check("o", "a lease that nobody uses ends", True)
        for lease in (used, unused):
            self.leases.delete(lease["id"])
        for server in (runs, shelved, third["id"]):
            until(f"server {server} going",
                  lambda x=server: self.o.server(x) is None)

    def create(self, amount):
        return self.leases.call("POST", "/leases", {
            "name": self.t.new_name(), "start_date": "now",
            "end_date": iso(time.time() + 900), "expiry_s": EXPIRY_S,
            "reservations": [{
                "resource_type": "virtual:instance", "amount": amount,
                "vcpus": 1, "memory_mb": 512, "disk_gb": 1, "affinity": None,
                "resource_properties": "", "pool": "dedicated"}]}).json["lease"]

    def shown(self, lease):
        return self.leases.get(lease["id"])["reservations"][0]
