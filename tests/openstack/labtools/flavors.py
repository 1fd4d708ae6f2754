"""Reservations by a flavor of the cloud (`flavor:instance`): the tenant's servers
are like it, second disk and extra specs and all, on hosts that have its traits, and
no more of them run than were reserved. A flavor that asks for what is not planned
for is refused by name."""

import time

from .leases import flavor_of, iso
from .observe import until

SPECS = {"hw_rng:allowed": "true", "trait:COMPUTE_NODE": "required"}


class Flavors:
    def __init__(self, target, leases, observer, verdicts):
        self.t, self.leases, self.o, self.v = target, leases, observer, verdicts

    def run(self):
        source = self.made("like", SPECS)
        pinned = self.made("pinned", {"hw:cpu_policy": "dedicated"})
        try:
            self.refused(pinned, 400, "hw:cpu_policy=dedicated")
            self.refused("no-such-flavor", 404, "could not be found")
            self.reserved(source)
        finally:
            for flavor in (source, pinned):
                self.t.nova("DELETE", f"/flavors/{flavor}", ok=(202,))

    def made(self, name, specs):
        """A public flavor; its id."""
        flavor = self.t.nova("POST", "/flavors", {"flavor": {
            "name": f"{self.t.new_name()}-{name}", "vcpus": 1, "ram": 512,
            "disk": 1, "OS-FLV-EXT-DATA:ephemeral": 1}}).json["flavor"]["id"]
        self.t.nova("POST", f"/flavors/{flavor}/os-extra_specs",
                    {"extra_specs": specs})
        return flavor

    def create(self, flavor, ok=None):
        return self.leases.call("POST", "/leases", {
            "name": self.t.new_name(), "start_date": "now",
            "end_date": iso(time.time() + 600), "reservations": [{
                "resource_type": "flavor:instance", "flavor_id": flavor,
                "amount": 1, "affinity": None, "pool": "dedicated"}]}, ok=ok)

    def refused(self, flavor, status, text):
        answer = self.create(flavor, ok=range(400, 500))
        self.v.check("n", f"a lease by {text.partition('=')[0]} is refused",
                     answer.status == status and text in answer.text,
                     f"{answer.status}")

    def reserved(self, source):
        lease = self.create(source).json["lease"]
        reservation, flavor = lease["reservations"][0], flavor_of(lease)
        self.v.check("n", "the answer has the flavor's sizes and names it",
                     (reservation["resource_type"], reservation["vcpus"],
                      reservation["memory_mb"], reservation["disk_gb"],
                      reservation["source_flavor_id"])
                     == ("flavor:instance", 1, 512, 2, source))
        until("the flavor of the lease opening",
              lambda: self.t.nova("GET", f"/flavors/{flavor}", ok=(200, 404),
                                  who=self.t.tenant).status == 200, 20)
        servers = [self.o.boot(flavor) for _ in range(2)]
        ends = [self.o.at_rest(server) for server in servers]
        self.v.check("n", "as many servers run as were reserved, no more",
                     sorted(end["status"] for end in ends)
                     == ["ACTIVE", "ERROR"],
                     " ".join(end["status"] for end in ends))
        runs = next((x for x in ends if x["status"] == "ACTIVE"), None)
        embedded = runs["flavor"] if runs else {}
        self.v.check("n", "and have its second disk and its extra specs",
                     embedded.get("ephemeral") == 1 and SPECS.items()
                     <= embedded.get("extra_specs", {}).items(),
                     f"{embedded.get('ephemeral')} GB")
        self.leases.delete(lease["id"])
        for server in servers:
            until(f"server {server} going",
                  lambda x=server: self.o.server(x) is None)
        until("the flavor going", lambda: self.t.nova(
            "GET", f"/flavors/{flavor}", ok=(200, 404)).status == 404, 30)
        self.v.check("n", "servers and flavor go with the lease", True)
