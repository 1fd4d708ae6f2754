"""What Nova, Placement and Glance themselves say: the test believes no one else."""

import calendar
import time

from .settings import LabError

HOLD = "LEASEHOLD_HOLD"
CLASS = "CUSTOM_RESERVATION_"
POLL_S = 0.1


def until(what, look, seconds=60):
    """What `look` returns once that is true; polls, never sleeps blindly."""
    end = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > end:
            raise LabError(f"{what} did not happen in {seconds} s")
        time.sleep(POLL_S)


def eventually(look, want, seconds):
    """What `look` returns when that is `want`, or the last it returned."""
    end = time.monotonic() + seconds
    while (found := look()) != want and time.monotonic() < end:
        time.sleep(POLL_S)
    return found


class Observer:
    def __init__(self, target):
        self.t = target

    # ----------------------------------------------------------------- servers

    def server(self, server_id):
        """The server, or None when it is gone or going."""
        answer = self.t.nova("GET", f"/servers/{server_id}", ok=(200, 404))
        if answer.status == 404:
            return None
        found = answer.json["server"]
        return None if found["status"] == "DELETED" else found

    def at_rest(self, server_id, *statuses, seconds=60):
        def look():
            found = self.server(server_id)
            if found is None:
                raise LabError(f"server {server_id} is gone")
            rests = (found["OS-EXT-STS:task_state"] is None
                     and found["status"] != "BUILD")
            return found if rests and (
                not statuses or found["status"] in statuses) else None
        return until(f"server {server_id} resting as {' or '.join(statuses)}",
                     look, seconds)

    def boot(self, flavor, who=None, host=None, name=None):
        """Asks for a server; its id."""
        t = self.t
        body = {"name": name or t.new_name(), "imageRef": t.image,
                "flavorRef": flavor, "networks": "none"}
        if host:
            body["host"] = host
            who = t.admin       # naming a host is the administrator's
        return t.nova("POST", "/servers", {"server": body},
                      who=who or t.tenant).json["server"]["id"]

    def delete(self, server_id):
        self.t.nova("DELETE", f"/servers/{server_id}", ok=(204, 404))
        until(f"server {server_id} going",
              lambda: self.server(server_id) is None)

    def actions(self, server_id, name):
        """(start, failed, end) of each such action, oldest first; whole seconds."""
        found = self.t.nova(
            "GET", f"/servers/{server_id}/os-instance-actions").json[
                "instanceActions"]
        return sorted((epoch(x["start_time"]), x["message"] is not None,
                       epoch(x["updated_at"]))
                      for x in found if x["action"] == name)

    def successes(self, server_id, name):
        return [start for start, failed, _ in self.actions(server_id, name)
                if not failed]

    def cloud_time(self, server_id, host):
        """Nova's and Placement's own part of a start, in seconds: how long the
        reads take that stand before each of its calls. The slowest of three."""
        def once():
            begun = time.monotonic()
            self.children(host)
            self.server(server_id)
            self.t.nova("GET", "/flavors")
            return time.monotonic() - begun
        return max(once() for _ in range(3))

    # --------------------------------------------------------------- placement

    def held(self, host):
        """What Leasehold's holds occupy on the host, by class."""
        root = self.t.roots[host]
        total = {}
        for consumer, entry in self.t.place(
                "GET", f"/resource_providers/{root}/allocations").json[
                    "allocations"].items():
            kind = self.t.place("GET", f"/allocations/{consumer}").json.get(
                "consumer_type")
            if kind == HOLD:
                for name, amount in entry["resources"].items():
                    total[name] = total.get(name, 0) + amount
        return total

    def capacity(self, host):
        found = self.t.place(
            "GET", f"/resource_providers/{self.t.roots[host]}/inventories"
        ).json["inventories"]
        return {name: int((x["total"] - x["reserved"]) * x["allocation_ratio"])
                for name, x in found.items()}

    def used(self, host):
        return self.t.place(
            "GET", f"/resource_providers/{self.t.roots[host]}/usages").json[
                "usages"]

    def children(self, host):
        """Name -> inventories of the providers below the host's root."""
        root = self.t.roots[host]
        found = self.t.place(
            "GET", f"/resource_providers?in_tree={root}").json[
                "resource_providers"]
        return {x["name"]: self.t.place(
            "GET", f"/resource_providers/{x['uuid']}/inventories").json[
                "inventories"] for x in found if x["uuid"] != root}

    # ------------------------------------------------------------ what is ours

    def our_classes(self):
        return {x["name"] for x in self.t.place(
            "GET", "/resource_classes").json["resource_classes"]
            if x["name"].startswith(CLASS)}

    def our_flavors(self):
        found = self.t.nova("GET", "/flavors/detail?is_public=None").json[
            "flavors"]
        return {x["id"] for x in found
                if "leasehold:cluster" in x.get("extra_specs", {})}

    def our_aggregates(self):
        return {x["name"] for x in self.t.nova("GET", "/os-aggregates").json[
            "aggregates"] if "leasehold:cluster" in x["metadata"]}

    def groups(self):
        """Server groups of ours, whole."""
        return [x for x in self.t.nova(
            "GET", "/os-server-groups?all_projects=True").json["server_groups"]
            if x["name"].startswith("leasehold")]

    def our_groups(self):
        return {x["name"] for x in self.groups()}

    def foreign(self):
        """What is not ours and must stay as it is: name and content, by kind."""
        def of(items, ours, *keys):
            return {"|".join(str(x.get(key)) for key in keys)
                    for x in items if not ours(x)}
        t = self.t
        return {
            "flavors": of(
                t.nova("GET", "/flavors/detail?is_public=None").json["flavors"],
                lambda x: "leasehold:cluster" in x.get("extra_specs", {}),
                "id", "ram", "vcpus", "extra_specs"),
            "aggregates": of(
                t.nova("GET", "/os-aggregates").json["aggregates"],
                lambda x: "leasehold:cluster" in x["metadata"],
                "uuid", "hosts", "metadata"),
            "server groups": of(
                t.nova("GET", "/os-server-groups?all_projects=True").json[
                    "server_groups"],
                lambda x: x["name"].startswith("leasehold"), "id", "name"),
            "classes": of(
                t.place("GET", "/resource_classes").json["resource_classes"],
                lambda x: x["name"].startswith(CLASS), "name"),
            "providers": of(
                t.place("GET", "/resource_providers").json[
                    "resource_providers"],
                lambda x: x["name"].startswith("leasehold_"), "uuid", "name")}

    # ------------------------------------------------------------------ images

    def images_of(self, server_id):
        """All images made from the server, whoever owns them."""
        found = self.t.glance("GET", "/v2/images?visibility=all&limit=1000"
                              ).json["images"]
        return [x for x in found if x.get("instance_uuid") == server_id]

    def tenant_lists(self, image_id):
        return image_id in [x["id"] for x in self.t.glance(
            "GET", "/v2/images?limit=1000", who=self.t.tenant).json["images"]]


def epoch(text):
    """A time of Nova's actions, UTC, as seconds; they count whole ones."""
    whole = text.rstrip("Z").partition(".")[0]
    return calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S"))
