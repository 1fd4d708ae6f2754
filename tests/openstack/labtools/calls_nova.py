"""The conformance calls, third part: flavors, aggregates, groups, hosts."""


def flavor(t, label, name, public=False, specs=None, **more):
    """A flavor of a fixed id, as the actuator makes them."""
    body = {"flavor": {"name": name, "id": name, "vcpus": 1, "ram": 512,
                       "disk": 1, "os-flavor-access:is_public": public, **more}}
    answer = t.nova(label, "POST", "/flavors", body)
    if answer.status == 200:
        t.undo("compute", "DELETE", f"/flavors/{name}")
    if specs:
        t.must(t.nova(label and label + "-specs", "POST",
                      f"/flavors/{name}/os-extra_specs",
                      {"extra_specs": specs}))
    return answer


def flavors(t):
    name = "conformance-flavor"
    t.must(flavor(t, "nova-flavor-create", name,
                  description="leasehold:cluster=conformance"))
    at = f"/flavors/{name}"
    flavor(t, "nova-flavor-create-again", name)
    t.nova("nova-flavor-create-zero-vcpus", "POST", "/flavors", {"flavor": {
        "name": "conformance-bad", "vcpus": 0, "ram": 1, "disk": 1}})
    t.nova("nova-flavor-show", "GET", at)
    t.nova("nova-flavor-show-private-as-member", "GET", at, who=t.demo)
    t.nova("nova-flavor-show-unknown", "GET", "/flavors/conformance-none")
    t.must(t.nova("nova-flavor-specs-create", "POST", at + "/os-extra_specs", {
        "extra_specs": {"resources:VCPU": "0", "hw:cpu_policy": "shared",
                        "leasehold:cluster": "conformance"}}))
    t.nova("nova-flavor-specs-create-more", "POST", at + "/os-extra_specs", {
        "extra_specs": {"resources:DISK_GB": "0", "hw:cpu_policy": "shared"}})
    t.nova("nova-flavor-specs-list", "GET", at + "/os-extra_specs")
    t.nova("nova-flavor-spec-show", "GET",
           at + "/os-extra_specs/hw:cpu_policy")
    t.nova("nova-flavor-spec-delete", "DELETE",
           at + "/os-extra_specs/hw:cpu_policy")
    t.nova("nova-flavor-spec-delete-again", "DELETE",
           at + "/os-extra_specs/hw:cpu_policy")
    t.nova("nova-flavor-specs-bad-value", "POST", at + "/os-extra_specs", {
        "extra_specs": {"resources:CUSTOM_X": "no number"}})
    t.nova("nova-flavor-specs-create-unknown-flavor", "POST",
           "/flavors/conformance-none/os-extra_specs", {"extra_specs": {}})
    tenant = {"tenant": t.demo.project_id}
    t.nova("nova-flavor-access-none", "GET", at + "/os-flavor-access")
    for label in ("", "-again"):
        t.nova("nova-flavor-access-add" + label, "POST", at + "/action",
               {"addTenantAccess": tenant})
    t.nova("nova-flavor-access-list", "GET", at + "/os-flavor-access")
    t.nova("nova-flavor-show-private-with-access", "GET", at, who=t.demo)
    for label in ("", "-again"):
        t.nova("nova-flavor-access-remove" + label, "POST", at + "/action",
               {"removeTenantAccess": tenant})
    t.nova("nova-flavor-access-unknown-project", "POST", at + "/action",
           {"addTenantAccess": {"tenant": "0" * 32}})
    t.fact("nova-flavor-in-list-with-is-public-none", name in [
        x["id"] for x in t.must(t.nova(
            None, "GET", "/flavors?is_public=None"))["flavors"]])
    t.fact("nova-flavor-in-list-without", name in [
        x["id"] for x in t.must(t.nova(None, "GET", "/flavors"))["flavors"]])
    one = [x for x in t.must(t.nova(
        None, "GET", "/flavors/detail?is_public=None"))["flavors"]
        if x["id"] == name]
    t.fact("nova-flavor-detail-in-list", one)
    t.nova("nova-flavor-delete", "DELETE", at)
    t.nova("nova-flavor-delete-again", "DELETE", at)
    t.nova("nova-flavor-access-of-gone", "POST", at + "/action",
           {"removeTenantAccess": tenant})


def hosts(t):
    for version in ("2.53", "2.88"):
        t.nova(f"nova-hypervisors-detail-{version}", "GET",
               "/os-hypervisors/detail", version=version)
    t.nova("nova-hypervisors", "GET", "/os-hypervisors")
    t.nova("nova-hypervisors-with-servers", "GET",
           "/os-hypervisors?with_servers=true"
           f"&hypervisor_hostname_pattern={t.hosts[0]}")
    t.nova("nova-hypervisors-unknown-pattern", "GET",
           "/os-hypervisors?hypervisor_hostname_pattern=no-such-host")
    services = t.must(t.nova("nova-services", "GET",
                             "/os-services?binary=nova-compute"))["services"]
    t.nova("nova-services-of-host", "GET",
           f"/os-services?binary=nova-compute&host={t.hosts[0]}")
    one = next(x["id"] for x in services if x["host"] == t.hosts[1])
    t.undo("compute", "PUT", f"/os-services/{one}", {"status": "enabled"})
    t.nova("nova-service-disable", "PUT", f"/os-services/{one}", {
        "status": "disabled", "disabled_reason": "conformance"})
    t.nova("nova-service-enable", "PUT", f"/os-services/{one}",
           {"status": "enabled"})
    t.nova("nova-zones", "GET", "/os-availability-zone/detail")


def aggregates(t):
    name, host = "conformance-pool", t.hosts[1]
    made = t.must(t.nova("nova-aggregate-create", "POST", "/os-aggregates", {
        "aggregate": {"name": name, "availability_zone": None}}))
    number = made["aggregate"]["id"]
    # Numbers are short: name the path, or every such digit would be replaced.
    at = f"/os-aggregates/{number}"
    t.undo("compute", "DELETE", at)
    t.undo("compute", "POST", at + "/action", {"remove_host": {"host": host}})
    t.nova("nova-aggregate-create-again", "POST", "/os-aggregates", {
        "aggregate": {"name": name, "availability_zone": None}})
    for label in ("", "-again"):
        t.nova("nova-aggregate-add-host" + label, "POST", at + "/action",
               {"add_host": {"host": host}})
    t.nova("nova-aggregate-add-host-unknown", "POST", at + "/action",
           {"add_host": {"host": "no-such-host"}})
    t.nova("nova-aggregate-set-metadata", "POST", at + "/action", {
        "set_metadata": {"metadata": {"reservation": "x",
                                      "leasehold:cluster": "conformance"}}})
    t.nova("nova-aggregate-show", "GET", at)
    t.fact("nova-aggregate-in-list", [x for x in t.must(t.nova(
        None, "GET", "/os-aggregates"))["aggregates"] if x["name"] == name])
    t.nova("nova-aggregate-unset-metadata", "POST", at + "/action", {
        "set_metadata": {"metadata": {"reservation": None}}})
    t.nova("nova-aggregate-delete-with-host", "DELETE", at)
    for label in ("", "-again"):
        t.nova("nova-aggregate-remove-host" + label, "POST", at + "/action",
               {"remove_host": {"host": host}})
    t.nova("nova-aggregate-delete", "DELETE", at)
    t.nova("nova-aggregate-delete-again", "DELETE", at)
    t.nova("nova-aggregate-show-gone", "GET", at)


def groups(t):
    made = t.must(t.nova("nova-group-create", "POST", "/os-server-groups", {
        "server_group": {"name": "conformance", "policy": "anti-affinity"}}))
    at = f"/os-server-groups/{made['server_group']['id']}"
    t.name(made["server_group"]["id"], "<group>")
    t.nova("nova-group-create-bad-policy", "POST", "/os-server-groups", {
        "server_group": {"name": "conformance", "policy": "sideways"}})
    t.nova("nova-group-show", "GET", at)
    t.nova("nova-group-delete", "DELETE", at)
    t.nova("nova-group-delete-again", "DELETE", at)
    t.nova("nova-group-show-gone", "GET", at)
    own = {"server_group": {"name": "conformance-own", "policy": "affinity"}}
    made = t.must(t.nova("nova-group-create-as-member", "POST",
                         "/os-server-groups", own, who=t.demo))
    number = made["server_group"]["id"]
    t.name(number, "<group of the member>")
    t.undo("compute", "DELETE", f"/os-server-groups/{number}")
    for label, query, who in (
            ("own", "", None), ("all", "?all_projects=True", None),
            ("all-as-member", "?all_projects=True", t.demo)):
        found = t.must(t.nova(None, "GET", f"/os-server-groups{query}",
                              who=who))["server_groups"]
        t.fact(f"nova-groups-{label}-has-the-member-s",
               number in [x["id"] for x in found])
    quota = f"/os-quota-sets/{t.demo.project_id}"
    t.must(t.nova(None, "PUT", quota, {"quota_set": {"server_groups": 1,
                                                     "force": True}}))
    t.nova("nova-group-create-over-quota", "POST", "/os-server-groups", own,
           who=t.demo)
    t.nova(None, "DELETE", quota)
    t.nova("nova-group-delete-of-another-project", "DELETE",
           f"/os-server-groups/{number}")
