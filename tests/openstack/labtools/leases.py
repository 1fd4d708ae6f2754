"""The tenant's calls to `/v1`: what a program against Leasehold would send."""

import calendar
import time

from .http import HttpError

WIRE = "%Y-%m-%d %H:%M"


def wire(seconds):
    """As Blazar's clients send a date."""
    return time.strftime(WIRE, time.gmtime(seconds))


def iso(seconds):
    """As microversion 1.1 takes one, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def next_minute(after_s):
    """The first whole minute at least so many seconds from now."""
    return -int(-(time.time() + after_s) // 60) * 60


def seen(text):
    """A date of an answer, as seconds."""
    return calendar.timegm(time.strptime(text.partition(".")[0],
                                         "%Y-%m-%dT%H:%M:%S"))


class Leases:
    def __init__(self, target, cluster):
        self.t, self.cluster = target, cluster

    def call(self, method, path, body=None, ok=None, who=None, version="1.1",
             headers=None):
        """On the first node that answers; a dead one is passed over."""
        last = None
        for node in self.cluster.alive():
            try:
                answer = (who or self.t.tenant).call(
                    "reservation", method, path, body, version,
                    range(200, 600), base=self.cluster.endpoint(node),
                    headers=headers)
            except OSError as problem:
                last = problem
                continue
            if answer.status == 503:
                last = HttpError(answer)
                continue
            good = answer.status in ok if ok else answer.status < 400
            if not good:
                raise HttpError(answer)
            return answer
        raise last

    def create(self, start, end, amount, vcpus, memory_mb=512, disk_gb=1,
               pool=None, host=None, staging=None, on_end=None, affinity=None,
               ok=None):
        """The lease, or the refusal when `ok` names its status.

        `start` is a moment, or "now".
        """
        reservation = {
            "resource_type": "virtual:instance", "amount": amount,
            "vcpus": vcpus, "memory_mb": memory_mb, "disk_gb": disk_gb,
            "affinity": affinity, "resource_properties":
                f'["==", "$hypervisor_hostname", "{host}"]' if host else ""}
        for key, value in (("pool", pool), ("staging", staging),
                           ("on_end", on_end)):
            if value is not None:
                reservation[key] = value
        answer = self.call("POST", "/leases", {
            "name": self.t.new_name(), "start_date": start if start == "now" else iso(start),
            "end_date": iso(end), "reservations": [reservation]}, ok=ok)
        return answer.json["lease"] if answer.status == 201 else answer.json

    def get(self, lease_id):
        return self.call("GET", f"/leases/{lease_id}").json["lease"]

    def all(self, who=None):
        return self.call("GET", "/leases", who=who).json["leases"]

    def delete(self, lease_id):
        self.call("DELETE", f"/leases/{lease_id}", ok=(204, 404))

    def hosts(self):
        return self.call("GET", "/os-hosts", who=self.t.service).json["hosts"]

    def add_host(self, name, pool):
        return self.ask_for_host(name, pool).json["host"]

    def ask_for_host(self, name, pool, ok=None):
        return self.call("POST", "/os-hosts", {"name": name, "pool": pool}, ok,
                         who=self.t.service)

    def delete_host(self, number):
        self.call("DELETE", f"/os-hosts/{number}", who=self.t.service,
                  ok=(204, 404))


def flavor_of(lease):
    return lease["reservations"][0]["flavor_id"]
