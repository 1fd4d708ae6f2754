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

CLIENT = '''
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


def next_end(lease):
    """An hour after the lease's end, as seconds."""
    return seen(lease["end_date"]) + 3600
