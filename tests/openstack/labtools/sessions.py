"""What a user types: `openstack reservation …`, and python-blazarclient.

Both come from the package index into an environment of their own, at the
versions of constraints.txt, and are used unchanged.
"""

import json
import os
import subprocess

from .leases import next_minute, seen, wire
from .settings import HERE, LabError, Settings
from .target import SERVICE_USER, TENANT

REQUIREMENTS = HERE / "requirements-client.txt"

CONNECT = '''
import json, os, sys
from keystoneauth1 import session
from keystoneauth1.identity import v3
from blazarclient import client
env = os.environ
auth = v3.Password(auth_url=env["OS_AUTH_URL"], username=env["OS_USERNAME"],
    password=env["OS_PASSWORD"], project_name=env["OS_PROJECT_NAME"],
    user_domain_id="default", project_domain_id="default")
blazar = client.Client("1", session=session.Session(auth=auth),
    service_type="reservation", interface=env["OS_INTERFACE"],
    region_name=env["OS_REGION_NAME"])
'''

CLIENT = CONNECT + '''
start, end = sys.argv[1:3]
made = blazar.lease.create(name="lt-client", start=start, end=end,
    reservations=[{"resource_type": "virtual:instance", "vcpus": 1,
        "memory_mb": 512, "disk_gb": 1, "amount": 1, "affinity": None,
        "resource_properties": ""}], events=[])
seen = blazar.lease.get(made["id"])
listed = [x["id"] for x in blazar.lease.list()]
longer = blazar.lease.update(made["id"], prolong_for="1h", name="lt-renamed")
after = blazar.lease.get(made["id"])
blazar.lease.delete(made["id"])
left = [x["id"] for x in blazar.lease.list()]
print(json.dumps({"made": made, "seen": seen, "listed": made["id"] in listed,
    "longer": longer, "after": after, "left": made["id"] in left}))
'''

HOSTS = CONNECT + '''
name = sys.argv[1]
host = [x for x in blazar.host.list() if x["hypervisor_hostname"] == name]
number = host[0]["id"] if host else None
got = blazar.host.get(number)
blazar.host.update(number, {"rack": "r3"})
rack = blazar.host.get(number)["rack"]
free = blazar.allocation.get("os-hosts", number)["reservations"] == []
blazar.host.delete(number)
left = [x["hypervisor_hostname"] for x in blazar.host.list()]
print(json.dumps({"listed": bool(host), "got": got["hypervisor_hostname"],
    "rack": rack, "free": free, "left": name in left}))
'''


class Sessions:
    def __init__(self, target, verdicts, hosts):
        self.t, self.v, self.hosts = target, verdicts, hosts
        self.venv = Settings().root / "client-venv"

    def install(self):
        """Once; the mark tells which requirements it was made from."""
        mark = self.venv / "made-from"
        wanted = (REQUIREMENTS.read_text()
                  + (HERE / "constraints.txt").read_text())
        if mark.exists() and mark.read_text() == wanted:
            return
        self.v.say("installing python-blazarclient and the openstack command "
                   "with pip (about a minute, once)")
        for argv in ([Settings().python(), "-m", "venv", self.venv],
                     [self.venv / "bin" / "python", "-m", "pip", "install",
                      "--quiet", "--disable-pip-version-check", "--no-compile",
                      "-c", HERE / "constraints.txt", "-r", REQUIREMENTS]):
            done = subprocess.run(argv, stdin=subprocess.DEVNULL,
                                  capture_output=True, text=True)
            if done.returncode != 0:
                raise LabError(f"{argv[0]} failed:\n{done.stderr[-2000:]}")
        mark.write_text(wanted)

    # --------------------------------------------------------------- the session

    def _run(self, argv, user, project):
        env = {k: v for k, v in os.environ.items() if not k.startswith("OS_")}
        env.update(self.t.client_env(user, project))
        return subprocess.run(list(map(str, argv)), env=env, timeout=120,
                              stdin=subprocess.DEVNULL, capture_output=True,
                              text=True)

    def openstack(self, *args, user=TENANT, project=TENANT, ok=True, js=True):
        """`openstack reservation …`; its JSON answer, or its error text."""
        done = self._run([self.venv / "bin" / "openstack", "reservation", *args,
                          *(["-f", "json"] if js else [])], user, project)
        if ok != (done.returncode == 0):
            raise LabError(f"openstack reservation {' '.join(map(str, args))}: "
                           f"exit status {done.returncode}: "
                           f"{done.stderr.strip()[-500:]}")
        if not ok:
            return done.stderr
        if not js:
            return None
        # `lease create` says "Created a new lease:" before the table.
        return json.loads(done.stdout[min(
            i for i in (done.stdout.find("{"), done.stdout.find("["))
            if i >= 0):])

    def admin(self, *args, **more):
        return self.openstack(*args, user=SERVICE_USER, project="service",
                              **more)

    def run(self):
        self.install()
        self.host_session()
        self.lease_session()
        self.client_session()

    def host_session(self):
        listed = self.admin("host", "list")
        names = {x["hypervisor_hostname"] for x in listed}
        self.v.check("h", "openstack reservation host list",
                     set(self.hosts) <= names, " ".join(sorted(names)))
        host = self.hosts[-1]
        shown = self.admin("host", "show", host)
        self.v.check("h", "host show by name", shown[
            "hypervisor_hostname"] == host and int(shown["vcpus"]) > 0)
        self.admin("host", "set", "--extra", "rack=r1", host, js=False)
        shown = self.admin("host", "show", host)
        self.v.check("h", "host set --extra", shown.get("rack") == "r1",
                     str(shown.get("rack")))
        refused = self.openstack("host", "list", ok=False)
        self.v.check("h", "a member may not list hosts",
                     "Policy doesn't allow" in refused, refused.strip()[-80:])

    def lease_session(self):
        start, end = next_minute(3600), next_minute(7200)
        name = self.t.new_name()
        made = self.openstack(
            "lease", "create", "--start-date", wire(start), "--end-date",
            wire(end), "--reservation", "resource_type=virtual:instance,"
            "vcpus=1,memory_mb=512,disk_gb=1,amount=2,affinity=None", name)
        self.v.check("h", "openstack reservation lease create",
                     made["status"] == "PENDING" and made["name"] == name,
                     made["status"])
        listed = self.openstack("lease", "list")
        self.v.check("h", "lease list", made["id"] in [x["id"] for x in listed])
        shown = self.openstack("lease", "show", name)
        self.v.check("h", "lease show by name", shown["id"] == made["id"])
        self.openstack("lease", "set", "--prolong-for", "1h", name, js=False)
        longer = self.openstack("lease", "show", made["id"])
        self.v.check("h", "lease set --prolong-for 1h", longer[
            "end_date"].startswith(wire(next_end(shown)).replace(" ", "T")),
            longer["end_date"])
        self.changes(name, made["id"], longer)
        self.allocations(made["id"])
        self.openstack("lease", "delete", name, js=False)
        text = self.openstack("lease", "show", made["id"], ok=False)
        self.v.check("h", "lease delete, then 404", "not found" in text,
                     text.strip()[-80:])
        text = self.openstack(
            "lease", "create", "--start-date", wire(start), "--end-date",
            wire(end), "--reservation", "resource_type=virtual:instance,"
            "vcpus=1,memory_mb=512,disk_gb=1,amount=1000,affinity=None",
            name, ok=False)
        self.v.check("h", "too much is refused with Blazar's words",
                     "Not enough hosts available" in text, text.strip()[-80:])

    def changes(self, name, lease_id, before):
        """The other ways in which `lease set` says what is to change."""
        def becomes(what, wanted, *options):
            self.openstack("lease", "set", *options, name, js=False)
            after = self.openstack("lease", "show", lease_id)
            self.v.check("h", f"lease set {what}", wanted(after),
                         f"{after['start_date']} to {after['end_date']}")

        start, end = seen(before["start_date"]), seen(before["end_date"])
        becomes("--reduce-by 30m", lambda x: seen(x["end_date"]) == end - 1800,
                "--reduce-by", "30m")
        becomes("--defer-by 10m", lambda x: seen(x["start_date"]) == start + 600,
                "--defer-by", "10m")
        reservation = reservations(before)[0]["id"]
        becomes("--reservation amount=3",
                lambda x: int(reservations(x)[0]["amount"]) == 3,
                "--reservation", f"id={reservation},amount=3")

    def allocations(self, lease_id):
        listed = self.admin("allocation", "list", "host")
        holding = [x["resource_id"] for x in listed
                   if lease_id in json.dumps(x["reservations"])]
        self.v.check("h", "allocation list host: every host, and where the "
                     "lease is", len(listed) >= len(self.hosts) and holding,
                     f"{len(listed)} hosts, the lease on {holding}")
        shown = self.admin("allocation", "show", "host", holding[0],
                           "--lease-id", lease_id)
        self.v.check("h", "allocation show host", str(shown["resource_id"])
                     == str(holding[0]) and lease_id in
                     json.dumps(shown["reservations"]))
        refused = self.openstack("allocation", "list", "host", ok=False)
        self.v.check("h", "a member may not list allocations",
                     "Policy doesn't allow" in refused, refused.strip()[-80:])

    def host_life(self, numbers, pools):
        """A host without servers goes, comes back, and goes again.

        At the very end: what was made for a host is removed with it, and Nova
        boots nothing there for minutes (docs/operations.md).
        """
        host = next(x for x in numbers if pools[x] == "dedicated")
        self.admin("host", "delete", host, js=False)
        del numbers[host]
        listed = self.admin("host", "list")
        self.v.check("h", "host delete by name", host not in
                     [x["hypervisor_hostname"] for x in listed])
        made = self.admin("host", "create", "--extra", "rack=r2", host)
        numbers[host] = int(made["id"])
        self.v.check("h", "host create --extra", made["hypervisor_hostname"]
                     == host and made.get("rack") == "r2", str(made["id"]))
        done = self._run([self.venv / "bin" / "python", "-c", HOSTS, host],
                         SERVICE_USER, "service")
        if done.returncode != 0:
            raise LabError(f"python-blazarclient: {done.stderr[-500:]}")
        told = json.loads(done.stdout)
        del numbers[host]
        self.v.check("h", "client: host list, get, update", told["listed"] and
                     told["got"] == host and told["rack"] == "r3", str(told))
        self.v.check("h", "client: allocations of the host", told["free"])
        self.v.check("h", "client: host delete", not told["left"])

    def client_session(self):
        start, end = next_minute(3600), next_minute(7200)
        done = self._run([self.venv / "bin" / "python", "-c", CLIENT,
                          wire(start), wire(end)], TENANT, TENANT)
        if done.returncode != 0:
            raise LabError(f"python-blazarclient: {done.stderr[-500:]}")
        told = json.loads(done.stdout)
        self.v.check("h", "client: create, get, list", told["listed"] and
                     told["made"]["id"] == told["seen"]["id"])
        self.v.check("h", "client: update", told["after"][
            "name"] == "lt-renamed" and told["after"]["end_date"]
            > told["seen"]["end_date"], told["after"]["end_date"])
        self.v.check("h", "client: delete", not told["left"])


def reservations(lease):
    """The command shows them as text, with a line for each."""
    found = lease["reservations"]
    if isinstance(found, str):
        decoder, found, text = json.JSONDecoder(), [], found.strip()
        while text:
            one, end = decoder.raw_decode(text)
            found += one if isinstance(one, list) else [one]
            text = text[end:].strip()
    return found


def next_end(lease):
    """An hour after the lease's end, as seconds."""
    return seen(lease["end_date"]) + 3600
