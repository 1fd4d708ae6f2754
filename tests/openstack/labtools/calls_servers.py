"""The conformance calls, fourth part: servers, their images and a lease."""

from . import calls_nova as nova
from . import calls_placement as placement

GIVE = "application/openstack-images-v2.1-json-patch"


def upload(t):
    """An image to boot from."""
    made = t.must(t.image("glance-image-create", "POST", "/v2/images", {
        "name": "conformance-image", "disk_format": "raw",
        "container_format": "bare", "visibility": "public"}))["id"]
    t.name(made, "<image>")
    t.boot_image = made
    t.must(t.image("glance-image-upload", "PUT", f"/v2/images/{made}/file",
                   b"\0" * 1024,
                   headers={"Content-Type": "application/octet-stream"}))
    t.image("glance-image-show", "GET", f"/v2/images/{made}")
    t.image("glance-image-show-unknown", "GET",
            "/v2/images/00000000-0000-0000-0000-000000000000")


def enable_others(t, enabled):
    """Which of several hosts alike gets a server is chance, so that those
    whose host is looked at find only the first one enabled."""
    for one in t.must(t.nova(None, "GET",
                             "/os-services?binary=nova-compute"))["services"]:
        if one["host"] in t.hosts[1:]:
            at = f"/os-services/{one['id']}"
            t.undo("compute", "PUT", at, {"status": "enabled"})
            t.must(t.nova(None, "PUT", at, {
                "status": "enabled" if enabled else "disabled"}))


def boot(t, label, name, flavor, who=None, **more):
    """The server at rest, whatever came of it; None when refused."""
    hints = more.pop("hints", None)
    body = {"server": {"name": name, "imageRef": t.boot_image,
                       "flavorRef": flavor, "networks": "none", **more}}
    if hints:
        body["os:scheduler_hints"] = hints
    answer = t.nova(label, "POST", "/servers", body, who=who or t.demo)
    if answer.status != 202:
        return None
    made = answer.json["server"]["id"]
    t.name(made, f"<server {name}>")
    t.undo("compute", "DELETE", f"/servers/{made}")
    t.settled(made)
    if label:
        t.nova(label + "-then", "GET", f"/servers/{made}")
        t.place(label + "-allocations", "GET", f"/allocations/{made}")
    return made


def action(t, label, server, body, who=None, **more):
    return t.nova(label, "POST", f"/servers/{server}/action", body, who=who,
                  **more)


def act(t, label, server, body, who=None):
    """An action that must be accepted, and the server at rest after it."""
    answer = action(t, label, server, body, who=who)
    t.must(answer)
    t.settled(server)
    if label:
        t.nova(label + "-then", "GET", f"/servers/{server}")
        t.place(label + "-allocations", "GET", f"/allocations/{server}")
    return answer


def life(t):
    t.must(nova.flavor(t, None, "conformance-small", public=True))
    enable_others(t, False)
    group = t.must(t.nova(None, "POST", "/os-server-groups", {
        "server_group": {"name": "conformance", "policy": "affinity"}}))[
            "server_group"]["id"]
    t.name(group, "<foreign group>")
    t.undo("compute", "DELETE", f"/os-server-groups/{group}")
    boot(t, "nova-server-create-foreign-group", "foreign-group",
         "conformance-small", hints={"group": group})
    server = boot(t, "nova-server-create", "life", "conformance-small")
    at = f"/servers/{server}"
    t.nova("nova-server-show-as-member", "GET", at, who=t.demo)
    t.nova("nova-servers-by-flavor", "GET",
           "/servers/detail?all_tenants=1&flavor=conformance-small")
    t.nova("nova-servers-by-project", "GET",
           f"/servers?all_tenants=1&project_id={t.demo.project_id}"
           "&name=life&status=ACTIVE")
    t.nova("nova-servers-as-member", "GET", "/servers?name=life", who=t.demo)
    t.nova("nova-tag-put", "PUT", at + "/tags/leasehold-conformance")
    t.nova("nova-tag-put-again", "PUT", at + "/tags/leasehold-conformance")
    t.nova("nova-tags", "GET", at + "/tags")
    t.nova("nova-servers-by-tag", "GET",
           "/servers?all_tenants=1&tags=leasehold-conformance")
    t.nova("nova-tag-delete", "DELETE", at + "/tags/leasehold-conformance")
    t.nova("nova-tag-delete-again", "DELETE",
           at + "/tags/leasehold-conformance")
    action(t, "nova-unshelve-active", server, {"unshelve": None})
    action(t, "nova-start-active", server, {"os-start": None})
    action(t, "nova-shelve-offload-active", server, {"shelveOffload": None})
    act(t, "nova-stop", server, {"os-stop": None})
    act(t, "nova-start", server, {"os-start": None})
    act(t, "nova-shelve", server, {"shelve": None})
    action(t, "nova-shelve-offloaded", server, {"shelve": None})
    action(t, "nova-shelve-offload-offloaded", server,
           {"shelveOffload": None})
    action(t, "nova-start-offloaded", server, {"os-start": None})
    act(t, "nova-unshelve", server, {"unshelve": None})
    act(t, None, server, {"shelve": None})
    action(t, "nova-unshelve-unknown-host", server,
           {"unshelve": {"host": "no-such-host"}})
    act(t, "nova-unshelve-empty-object", server, {"unshelve": {}})
    act(t, None, server, {"shelve": None})
    enable_others(t, True)
    act(t, "nova-unshelve-to-host", server, {"unshelve": {"host": t.hosts[1]}})
    actions = t.must(t.nova("nova-actions", "GET",
                            at + "/os-instance-actions"))["instanceActions"]
    last = next(x for x in actions if x["action"] == "unshelve")
    t.nova("nova-action-show", "GET",
           f"{at}/os-instance-actions/{last['request_id']}")
    action(t, "nova-unknown-action", server, {"levitate": None})
    action(t, "nova-lock", server, {"lock": None}, who=t.demo)
    action(t, "nova-stop-locked-as-member", server, {"os-stop": None},
           who=t.demo)
    act(t, "nova-shelve-locked-as-admin", server, {"shelve": None})
    t.nova("nova-server-delete-locked-as-admin", "DELETE", at)
    t.gone(server)
    t.nova("nova-server-show-gone", "GET", at)
    t.nova("nova-server-delete-again", "DELETE", at)
    action(t, "nova-shelve-gone", server, {"shelve": None})
    t.nova("nova-actions-of-gone", "GET", at + "/os-instance-actions")
    t.nova("nova-tag-put-gone", "PUT", at + "/tags/x")
    t.place("placement-allocations-of-gone", "GET", f"/allocations/{server}")


def refused(t):
    """Servers that Nova refuses at once, or that find no host."""
    t.must(nova.flavor(t, None, "conformance-private"))
    boot(t, "nova-server-create-private-flavor", "x", "conformance-private")
    boot(t, "nova-server-create-unknown-flavor", "x", "no-such-flavor")
    boot(t, "nova-server-create-unknown-image", "x", "conformance-private",
         imageRef="00000000-0000-0000-0000-000000000000")
    t.must(nova.flavor(t, None, "conformance-huge", public=True, vcpus=9999))
    boot(t, "nova-server-create-impossible", "huge", "conformance-huge")
    t.must(nova.flavor(t, None, "conformance-small", public=True))
    group = t.must(t.nova(None, "POST", "/os-server-groups", {"server_group": {
        "name": "conformance", "policy": "anti-affinity"}},
        who=t.demo))["server_group"]["id"]
    t.name(group, "<group of servers>")
    t.undo("compute", "DELETE", f"/os-server-groups/{group}")
    made = [boot(t, None, f"apart{n}", "conformance-small",
                 hints={"group": group}) for n in (1, 2)]
    seen = {t.must(t.nova(None, "GET", f"/servers/{x}"))["server"][
        "OS-EXT-SRV-ATTR:host"] for x in made}
    t.fact("nova-anti-affinity-hosts", len(seen))
    t.nova("nova-group-with-members", "GET", f"/os-server-groups/{group}")
    for server in made:
        t.must(t.nova(None, "DELETE", f"/servers/{server}"))
        t.gone(server)


def held(t):
    """A reservation's whole life on one host, tokens opened and closed."""
    resource, host = placement.CLASS + "_HELD", t.hosts[2]
    at = f"/resource_providers/{placement.child(t, host)}"

    def tokens(closed, label=None):
        t.must(placement.set_inventories(
            t, label, at, {resource: placement.tokens(1, closed)}))

    t.must(t.place(None, "PUT", f"/resource_classes/{resource}"), 201, 204)
    t.undo("placement", "DELETE", f"/resource_classes/{resource}")
    tokens(closed=True)
    name = "conformance-held"
    t.must(nova.flavor(t, "nova-held-flavor", name, vcpus=2, specs={
        "resources:VCPU": "0", "resources:MEMORY_MB": "1",
        "resources:DISK_GB": "0", f"resources:{resource}": "1",
        "hw:cpu_policy": "shared"}))
    t.must(t.nova(None, "POST", f"/flavors/{name}/action", {
        "addTenantAccess": {"tenant": t.demo.project_id}}))
    early = boot(t, "nova-held-boot-closed", "early", name)
    t.must(t.nova(None, "DELETE", f"/servers/{early}"))
    t.gone(early)
    tokens(closed=False)
    server = boot(t, "nova-held-boot", "held", name)
    second = boot(t, "nova-held-boot-second", "second", name)
    t.must(t.nova(None, "DELETE", f"/servers/{second}"))
    t.gone(second)
    tokens(True, "placement-held-close-in-use")
    act(t, "nova-held-shelve", server, {"shelve": None})
    t.place("placement-held-usages-parked", "GET", at + "/usages")
    answer = act(t, "nova-held-unshelve-closed", server, {"unshelve": None})
    request = {k.lower(): v for k, v in answer.headers.items()}[
        "x-openstack-request-id"]
    t.nova("nova-held-unshelve-closed-action", "GET",
           f"/servers/{server}/os-instance-actions/{request}")
    tokens(closed=False)
    act(t, "nova-held-unshelve-open", server, {"unshelve": None})
    t.nova("nova-held-delete-flavor-in-use", "DELETE", f"/flavors/{name}")
    t.nova("nova-held-delete", "DELETE", f"/servers/{server}")
    t.gone(server)
    t.place("placement-held-usages-end", "GET", at + "/usages")
    t.must(placement.set_inventories(t, "placement-held-emptied", at, {}))
    t.place("placement-held-class-delete", "DELETE",
            f"/resource_classes/{resource}")


def images(t):
    """Who owns the images of a snapshot and of a shelve by the admin."""
    t.must(nova.flavor(t, None, "conformance-small", public=True))
    enable_others(t, False)
    server = boot(t, None, "pictured", "conformance-small")
    answer = action(t, "nova-create-image", server, {
        "createImage": {"name": "conformance-snapshot"}})
    image = t.must(answer)["image_id"]
    t.name(image, "<snapshot>")
    at = f"/v2/images/{image}"
    t.undo("image", "DELETE", at)
    t.until("the snapshot", lambda: True if t.must(t.image(
        None, "GET", at))["status"] == "active" else None)
    t.settled(server)
    t.image("glance-snapshot-show", "GET", at)
    t.image("glance-snapshot-members", "GET", at + "/members")
    t.image("glance-snapshot-listed-as-member", "GET",
            "/v2/images?name=conformance-snapshot", who=t.demo)
    give = [{"op": "replace", "path": "/owner", "value": t.demo.project_id}]
    t.image("glance-give-as-member", "PATCH", at, give, who=t.demo,
            headers={"Content-Type": GIVE})
    t.image("glance-give-wrong-type", "PATCH", at, give)
    t.image("glance-give", "PATCH", at, give, headers={"Content-Type": GIVE})
    t.image("glance-give-again", "PATCH", at, give,
            headers={"Content-Type": GIVE})
    t.image("glance-given-listed-as-member", "GET",
            "/v2/images?name=conformance-snapshot", who=t.demo)
    t.image("glance-give-unknown", "PATCH", "/v2/images/00000000-0000-0000"
            "-0000-000000000000", give, headers={"Content-Type": GIVE})
    act(t, None, server, {"shelve": None})
    shelf = t.must(t.image("glance-shelf-list", "GET",
                           "/v2/images?name=pictured-shelved"))["images"][0]
    t.name(shelf["id"], "<shelf>")
    t.must(t.image("glance-shelf-give", "PATCH", f"/v2/images/{shelf['id']}",
                   give, headers={"Content-Type": GIVE}))
    act(t, "nova-unshelve-given-shelf-as-member", server, {"unshelve": None},
        who=t.demo)
    t.image("glance-shelf-list-after-unshelve", "GET",
            "/v2/images?name=pictured-shelved")
    enable_others(t, True)
    act(t, None, server, {"shelve": None})
    t.must(t.nova(None, "DELETE", f"/servers/{server}"))
    t.gone(server)
    left = t.must(t.image("glance-shelf-list-after-delete", "GET",
                          "/v2/images?name=pictured-shelved"))["images"]
    for image in left:
        t.image(None, "DELETE", f"/v2/images/{image['id']}")
    t.image("glance-snapshot-delete-as-member", "DELETE", at, who=t.demo)
    t.image("glance-snapshot-delete-again", "DELETE", at)


def rescued(t):
    """A server that will not be shelved, and the way back."""
    t.must(nova.flavor(t, None, "conformance-small", public=True))
    enable_others(t, False)
    server = boot(t, None, "rescued", "conformance-small")
    enable_others(t, True)
    act(t, "nova-rescue", server, {"rescue": None})
    t.nova("nova-show-rescued", "GET", f"/servers/{server}")
    for verb in ("shelve", "rescue", "unshelve"):
        action(t, f"nova-{verb}-rescued", server, {verb: None})
    act(t, "nova-unrescue", server, {"unrescue": None})
    t.nova("nova-show-unrescued", "GET", f"/servers/{server}")
    action(t, "nova-unrescue-again", server, {"unrescue": None})
    t.must(t.nova(None, "DELETE", f"/servers/{server}"))
    t.gone(server)


def quotas(t):
    at = f"/os-quota-sets/{t.demo.project_id}"
    t.nova("nova-quotas", "GET", at)
    t.nova("nova-limits-as-member", "GET", "/limits", who=t.demo)
    t.nova("nova-limits-of-another-project", "GET",
           f"/limits?tenant_id={t.demo.project_id}")
