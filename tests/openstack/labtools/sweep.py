"""Takes away what an earlier, broken run left in the lab; in a cloud that is
not ours it only tells."""

from .observe import HOLD, Observer
from .settings import LabError


def leftovers(target):
    """Descriptions and calls that remove them, in an order that works."""
    o, found = Observer(target), []
    ours = o.our_flavors()
    for server in target.nova(
            "GET", "/servers/detail?all_tenants=1").json["servers"]:
        if "leasehold:cluster" in server["flavor"].get("extra_specs", {}):
            found.append((f"server {server['id']}",
                          lambda x=server["id"]: o.delete(x)))
    for flavor in sorted(ours):
        found.append((f"flavor {flavor}", lambda x=flavor: target.nova(
            "DELETE", f"/flavors/{x}")))
    for group in o.groups():
        found.append((f"server group {group['name']}", lambda x=group["id"]:
                      target.nova("DELETE", f"/os-server-groups/{x}")))
    for host, root in target.roots.items():
        at = f"/resource_providers/{root}"
        for consumer in target.place("GET", at + "/allocations").json[
                "allocations"]:
            if target.place("GET", f"/allocations/{consumer}").json.get(
                    "consumer_type") == HOLD:
                found.append((f"hold on {host}", lambda x=consumer: (
                    target.place("DELETE", f"/allocations/{x}"))))
        for name in o.children(host):
            if name.startswith("leasehold_"):
                found.append((f"provider {name}", lambda x=name: target.place(
                    "DELETE", f"/resource_providers/{target.provider(x)}")))
    for name in sorted(o.our_classes()):
        found.append((f"class {name}", lambda x=name: target.place(
            "DELETE", f"/resource_classes/{x}")))
    return found


def sweep(target, say):
    found = leftovers(target)
    if not found:
        return
    names = ", ".join(name for name, _ in found)
    if not target.is_lab:
        raise LabError("an earlier run left this in the cloud; remove it: "
                       + names)
    say("removing what an earlier run left: " + names)
    for _, remove in found:
        remove()
    # nova-compute remembers a removed child of its provider for minutes, and
    # until it forgets each boot on its host fails; a new one knows nothing.
    target.lab("restart-computes")
