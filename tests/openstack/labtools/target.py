"""The OpenStack under test: the lab, or the cloud that OS_* variables name.

It also makes what the test needs there: the service user, a tenant, an image,
an ordinary flavor and the catalog entry of the reservation service.
"""

import math
import os
import secrets
import subprocess
import sys
import uuid

from .http import Cloud
from .identity import Identity
from .settings import HERE, PASSWORD, LabError, Settings

COMPUTE = "2.96"
PLACEMENT = "1.39"
SERVICE_USER = "leasehold"
TENANT = "leasehold-test"
HOSTS = 4               # one shared, three dedicated
GRAIN_MB = 512          # memory of the test's ordinary flavor


class Target:
    def __init__(self, say):
        self.say = say
        env = os.environ
        if env.get("OS_AUTH_URL"):
            self.is_lab = False
            self.auth_url = env["OS_AUTH_URL"].rstrip("/")
            if not self.auth_url.endswith("/v3"):
                self.auth_url += "/v3"
            self.region = env.get("OS_REGION_NAME", "RegionOne")
            self.interface = env.get("OS_INTERFACE", "public")
            login = (env.get("OS_USERNAME", ""), env.get("OS_PASSWORD", ""),
                     env.get("OS_PROJECT_NAME", ""))
            domains = (self._domain("OS_USER"), self._domain("OS_PROJECT"))
            self.password = secrets.token_hex(16)
        else:
            self.is_lab = True
            self.lab("up")
            settings = Settings()
            self.auth_url, self.region = settings.auth_url(), "RegionOne"
            self.interface = "internal"
            login, domains = ("admin", PASSWORD, "admin"), None
            self.password = PASSWORD
        self.admin = Cloud(self.auth_url, *login, domains=domains,
                           interface=self.interface)
        self.admin.catalog["identity"] = self.auth_url
        self.hosts = self._hosts()

    @staticmethod
    def _domain(prefix):
        number = os.environ.get(prefix + "_DOMAIN_ID")
        if number:
            return {"id": number}
        return {"name": os.environ.get(prefix + "_DOMAIN_NAME", "Default")}

    def lab(self, *command, **settings):
        """`openstack-lab …`, with these OSLAB_ variables beside the caller's."""
        self.say(" ".join(("openstack-lab", *command, *(
            f"{key}={value}" for key, value in settings.items()))))
        done = subprocess.run(
            [sys.executable, HERE / "openstack-lab", *command],
            stdin=subprocess.DEVNULL, env=dict(os.environ, **settings))
        if done.returncode != 0:
            raise LabError(f"openstack-lab {' '.join(command)} failed")

    def _hosts(self):
        found = sorted(x["hypervisor_hostname"] for x in self.nova(
            "GET", "/os-hypervisors").json["hypervisors"])
        named = os.environ.get("LEASEHOLD_TEST_HOSTS")
        if named:
            hosts = named.split(",")
        elif self.is_lab:
            hosts = found
        else:
            raise LabError(
                "name four hosts without servers that the test may use, as "
                f"LEASEHOLD_TEST_HOSTS=a,b,c,d; there are: {' '.join(found)}")
        if len(hosts) < HOSTS or not set(hosts) <= set(found):
            raise LabError(f"{HOSTS} hosts of {' '.join(found)} are needed, "
                           f"not {' '.join(hosts)}")
        return hosts[:HOSTS]

    # --------------------------------------------------------------- preparing

    def prepare(self, endpoint):
        """Users, catalog entry, image and flavor; safe to run again."""
        identity = Identity(self.auth_url, self.admin)
        # Nova and Placement let an administrator of any project act on all.
        identity.user(SERVICE_USER, "service", ["admin"], self.password)
        identity.user(TENANT, TENANT, ["member"], self.password)
        self._catalog(identity, endpoint)
        self.service = Cloud(self.auth_url, SERVICE_USER, self.password,
                             "service", interface=self.interface)
        self.tenant = Cloud(self.auth_url, TENANT, self.password, TENANT,
                            interface=self.interface)
        # Gone through the catalog, as every client of the tenant will.
        if self.tenant.catalog.get("reservation") != endpoint:
            raise LabError("the catalog names "
                           f"{self.tenant.catalog.get('reservation')} as the "
                           f"reservation service, not {endpoint}")
        self._clear_servers()
        self.nova("DELETE", f"/os-quota-sets/{self.tenant.project_id}",
                  ok=(202,))
        self.image = self._image()
        self.small = self._flavor("small", 1)
        self.wide = self._flavor("wide", 6)
        self.roots = {host: self.provider(host) for host in self.hosts}

    def _catalog(self, identity, endpoint):
        found = self.admin.call(
            "identity", "GET", "/services?type=reservation").json["services"]
        if found and found[0]["name"] != "leasehold" and not self.is_lab:
            raise LabError("this cloud has a reservation service named "
                           f"{found[0]['name']}; the test does not replace it")
        identity.service("leasehold", "reservation", endpoint, self.region)

    def withdraw(self):
        """Takes the catalog entry out of a cloud that is not ours."""
        if self.is_lab:
            return
        for service in self.admin.call(
                "identity", "GET",
                "/services?type=reservation&name=leasehold").json["services"]:
            self.admin.call("identity", "DELETE", f"/services/{service['id']}")

    def _image(self):
        found = self.admin.call(
            "image", "GET", f"/v2/images?name={TENANT}").json["images"]
        if found:
            return found[0]["id"]
        made = self.admin.call("image", "POST", "/v2/images", {
            "name": TENANT, "disk_format": "raw", "container_format": "bare",
            "visibility": "public"}).json["id"]
        self.admin.call("image", "PUT", f"/v2/images/{made}/file", b"\0" * 1024,
                        headers={"Content-Type": "application/octet-stream"})
        return made

    def _flavor(self, suffix, vcpus):
        name = f"{TENANT}-{suffix}"
        self.nova("POST", "/flavors", {"flavor": {
            "name": name, "id": name, "vcpus": vcpus, "ram": GRAIN_MB,
            "disk": 1}}, ok=(200, 409))
        return name

    def _clear_servers(self):
        """The test's servers of an earlier run, and their images."""
        for kept in (f"project_id={self.tenant.project_id}", "name=%5Elt-"):
            for server in self.nova(
                    "GET", "/servers?all_tenants=1&" + kept).json["servers"]:
                self.nova("DELETE", f"/servers/{server['id']}", ok=(204, 404))
        for image in self.tenant.call(
                "image", "GET", "/v2/images?visibility=shared&owner="
                + self.tenant.project_id).json["images"]:
            self.admin.call("image", "DELETE", f"/v2/images/{image['id']}",
                            ok=(204, 404))

    def grain_mb(self):
        """G: the gcd of the memory of all ordinary flavors."""
        flavors = self.nova("GET", "/flavors/detail?is_public=None").json[
            "flavors"]
        return math.gcd(*(x["ram"] for x in flavors if not any(
            name.startswith("resources:") for name in x["extra_specs"])))

    # ----------------------------------------------------------------- calling

    def nova(self, method, path, body=None, ok=None, who=None):
        return (who or self.admin).call("compute", method, path, body, COMPUTE,
                                        ok)

    def place(self, method, path, body=None, ok=None):
        return self.admin.call("placement", method, path, body, PLACEMENT, ok)

    def glance(self, method, path, body=None, ok=None, who=None):
        return (who or self.admin).call("image", method, path, body, ok=ok)

    def provider(self, name):
        found = self.place(
            "GET", f"/resource_providers?name={name}").json[
                "resource_providers"]
        return found[0]["uuid"] if found else None

    def client_env(self, user, project):
        """What the openstack command needs to be that user."""
        return {"OS_AUTH_URL": self.auth_url, "OS_IDENTITY_API_VERSION": "3",
                "OS_USERNAME": user, "OS_PASSWORD": self.password,
                "OS_PROJECT_NAME": project, "OS_USER_DOMAIN_ID": "default",
                "OS_PROJECT_DOMAIN_ID": "default",
                "OS_REGION_NAME": self.region, "OS_INTERFACE": self.interface}

    @staticmethod
    def new_name():
        return "lt-" + uuid.uuid4().hex[:8]
