"""Affinity on the real cloud: the server group that a lease names is the tenant's
own, as Blazar's is, so that he boots with `--hint group=<server_group_id>`. Where
servers land is said by the tokens of each host and by the group alike. Where his
quota lets no group be made, the lease stands with one of the service user's, which
Nova refuses as his hint."""

import time

from .leases import flavor_of
from .observe import until

POLICIES = ((True, "affinity"), (False, "anti-affinity"))


class Groups:
    def __init__(self, target, leases, observer, verdicts):
        self.t, self.leases, self.o, self.v = target, leases, observer, verdicts

    def run(self):
        for affinity, policy in POLICIES:
            self.grouped(affinity, policy)
        self.without_quota()

    def grouped(self, affinity, policy):
        lease, flavor = self.opened(affinity, 2)
        reservation = lease["reservations"][0]
        number = reservation["server_group_id"]
        group = self.group(number) or {}
        self.v.check("i", f"{policy}: the answer names a server group of that "
                     "policy, of the tenant's project",
                     (group.get("policy"), group.get("project_id"))
                     == (policy, self.t.tenant.project_id),
                     f"{group.get('name')}")
        self.v.check("i", f"{policy}: the tenant sees it, and nothing is wrong",
                     self.group(number, self.t.tenant) is not None
                     and reservation["server_group_problem"] is None)
        answers = [self.hinted(flavor, number) for _ in range(2)]
        self.v.check("i", f"{policy}: the tenant boots with it as his hint",
                     [x.status for x in answers] == [202, 202],
                     " ".join(str(x.status) for x in answers))
        servers = [x.json["server"]["id"] for x in answers if x.status == 202]
        ends = [self.o.at_rest(server) for server in servers]
        hosts = {end["OS-EXT-SRV-ATTR:host"] for end in ends}
        self.v.check("i", f"{policy}: the servers run "
                     + ("on one host" if affinity else "on two hosts"),
                     [end["status"] for end in ends] == ["ACTIVE"] * 2
                     and len(hosts) == (1 if affinity else 2),
                     " ".join(map(str, sorted(hosts, key=str))))
        members = set((self.group(number) or {}).get("members", []))
        self.v.check("i", f"{policy}: and are members of the group",
                     members == set(servers), f"{len(members)}")
        third = self.o.boot(flavor)
        self.v.check("i", f"{policy}: no more than were reserved",
                     self.o.at_rest(third)["status"] == "ERROR")
        self.closed(lease, servers + [third], number, policy)

    def without_quota(self):
        """His quota of server groups is used up."""
        at = f"/os-quota-sets/{self.t.tenant.project_id}"
        self.t.nova("PUT", at, {"quota_set": {"server_groups": 0}})
        try:
            lease, flavor = self.opened(True, 1)
        finally:
            self.t.nova("DELETE", at, ok=(202,))
        reservation = lease["reservations"][0]
        number = reservation["server_group_id"]
        group = self.group(number) or {}
        self.v.check("i", "no quota: the lease stands, its group is the service "
                     "user's, and why is told",
                     group.get("project_id") == self.t.service.project_id
                     and "uota" in (reservation["server_group_problem"] or ""),
                     f"{reservation['server_group_problem']}")
        refused = self.hinted(flavor, number)
        self.v.check("i", "no quota: Nova refuses that group as his hint",
                     refused.status == 400
                     and "could not be found" in refused.text)
        server = self.o.boot(flavor)
        self.v.check("i", "no quota: without a hint he boots",
                     self.o.at_rest(server)["status"] == "ACTIVE")
        self.closed(lease, [server], number, "no quota")

    def opened(self, affinity, amount):
        """A lease that starts now, and its flavor, once the tenant has it."""
        lease = self.leases.create(
            "now", time.time() + 600, amount, 1, pool="dedicated",
            affinity=affinity)
        flavor = flavor_of(lease)
        until(f"the flavor of the lease with affinity {affinity} opening",
              lambda: self.t.nova("GET", f"/flavors/{flavor}", ok=(200, 404),
                                  who=self.t.tenant).status == 200, 20)
        return lease, flavor

    def closed(self, lease, servers, number, policy):
        self.leases.delete(lease["id"])
        for server in servers:
            until(f"server {server} going",
                  lambda x=server: self.o.server(x) is None)
        until("the group going", lambda: self.group(number) is None, 30)
        self.v.check("i", f"{policy}: servers and group go with the lease", True)

    def hinted(self, flavor, group):
        """What Nova answers to a boot with the group as a hint."""
        return self.t.nova("POST", "/servers", {
            "server": {"name": self.t.new_name(), "imageRef": self.t.image,
                       "flavorRef": flavor, "networks": "none"},
            "os:scheduler_hints": {"group": group}}, ok=range(200, 500),
            who=self.t.tenant)

    def group(self, number, who=None):
        answer = self.t.nova("GET", f"/os-server-groups/{number}",
                             ok=(200, 404), who=who)
        return answer.json["server_group"] if answer.status == 200 else None
