"""The conformance calls, second part: Placement as the actuator uses it."""

import uuid

CLASS = "CUSTOM_RESERVATION_CONFORMANCE"
HOLD_TYPE = "LEASEHOLD_HOLD"


def provider(t, name):
    found = t.must(t.place(None, "GET", f"/resource_providers?name={name}"))
    return found["resource_providers"][0]["uuid"]


def child(t, host):
    """The permanent child provider of the host, made when it is missing.

    It stays: removing a child of a live compute breaks each boot on that host
    until nova-compute forgets it.
    """
    root = provider(t, host)
    name = f"conformance_{host}"
    found = t.must(t.place(None, "GET", f"/resource_providers?name={name}"))
    if not found["resource_providers"]:
        t.must(t.place(None, "POST", "/resource_providers", {
            "name": name, "parent_provider_uuid": root,
            "uuid": str(uuid.uuid5(uuid.UUID(root), "conformance"))}))
    made = provider(t, name)
    t.name(made, f"<child {host}>")
    return made


def generation(t, at):
    return t.must(t.place(None, "GET", at))["generation"]


def set_inventories(t, label, at, inventories, stale=0):
    return t.place(label, "PUT", at + "/inventories", {
        "resource_provider_generation": generation(t, at) - stale,
        "inventories": inventories})


def tokens(total, closed):
    return {"total": total, "reserved": total if closed else 0, "min_unit": 1,
            "max_unit": 1, "step_size": 1, "allocation_ratio": 1.0}


def providers(t):
    host = t.hosts[0]
    t.place("placement-providers-by-name", "GET",
            f"/resource_providers?name={host}")
    t.place("placement-providers-by-unknown-name", "GET",
            "/resource_providers?name=no-such-host")
    root = provider(t, host)
    at = f"/resource_providers/{root}"
    t.place("placement-provider-show", "GET", at)
    t.place("placement-provider-show-unknown", "GET",
            f"/resource_providers/{uuid.uuid4()}")
    for part in ("inventories", "usages", "traits", "aggregates",
                 "allocations"):
        t.place(f"placement-provider-{part}", "GET", f"{at}/{part}")
    t.place("placement-inventory-of-class", "GET", at + "/inventories/VCPU")
    t.place("placement-inventory-of-class-unknown", "GET",
            at + "/inventories/CUSTOM_NOT_HERE")
    # A provider of its own, which may go again: it is no child of a compute.
    own, name = str(uuid.uuid4()), "conformance-alone"
    t.name(own, "<alone>")
    body = {"name": name, "uuid": own}
    t.undo("placement", "DELETE", f"/resource_providers/{own}")
    t.must(t.place("placement-provider-create", "POST", "/resource_providers",
                   body))
    t.place("placement-provider-create-same-again", "POST",
            "/resource_providers", body)
    t.place("placement-provider-create-same-name", "POST",
            "/resource_providers", {"name": name, "uuid": str(uuid.uuid4())})
    t.place("placement-provider-create-same-uuid", "POST",
            "/resource_providers", {"name": name + "2", "uuid": own})
    t.place("placement-provider-create-unknown-parent", "POST",
            "/resource_providers", {"name": name + "3",
                                    "parent_provider_uuid": str(uuid.uuid4())})
    t.place("placement-provider-create-bad-uuid", "POST",
            "/resource_providers", {"name": name + "4", "uuid": "x"})
    t.must(t.place("placement-provider-delete", "DELETE",
                   f"/resource_providers/{own}"))
    t.place("placement-provider-delete-again", "DELETE",
            f"/resource_providers/{own}")


def classes(t):
    t.undo("placement", "DELETE", f"/resource_classes/{CLASS}_X")
    t.must(t.place("placement-class-put", "PUT",
                   f"/resource_classes/{CLASS}_X"))
    t.place("placement-class-put-again", "PUT", f"/resource_classes/{CLASS}_X")
    t.place("placement-class-show", "GET", f"/resource_classes/{CLASS}_X")
    t.place("placement-class-bad-name", "PUT", "/resource_classes/BAD_NAME")
    t.place("placement-class-delete", "DELETE", f"/resource_classes/{CLASS}_X")
    t.place("placement-class-delete-again", "DELETE",
            f"/resource_classes/{CLASS}_X")
    t.place("placement-class-show-gone", "GET", f"/resource_classes/{CLASS}_X")
    t.undo("placement", "DELETE", "/traits/CUSTOM_CONFORMANCE")
    t.place("placement-trait-put", "PUT", "/traits/CUSTOM_CONFORMANCE")
    t.place("placement-trait-put-again", "PUT", "/traits/CUSTOM_CONFORMANCE")
    t.place("placement-trait-bad-name", "PUT", "/traits/NOT_CUSTOM")
    t.place("placement-trait-show", "GET", "/traits/CUSTOM_CONFORMANCE")
    at = f"/resource_providers/{child(t, t.hosts[0])}"
    t.place("placement-traits-put", "PUT", at + "/traits", {
        "resource_provider_generation": generation(t, at),
        "traits": ["CUSTOM_CONFORMANCE"]})
    t.place("placement-trait-delete-in-use", "DELETE",
            "/traits/CUSTOM_CONFORMANCE")
    t.place("placement-traits-put-unknown", "PUT", at + "/traits", {
        "resource_provider_generation": generation(t, at),
        "traits": ["CUSTOM_NO_SUCH_TRAIT"]})
    t.place("placement-traits-put-stale", "PUT", at + "/traits", {
        "resource_provider_generation": generation(t, at) - 1, "traits": []})
    t.place("placement-traits-put-none", "PUT", at + "/traits", {
        "resource_provider_generation": generation(t, at), "traits": []})


def inventories(t):
    """The tokens of a reservation: opened, used, closed, taken away."""
    t.must(t.place(None, "PUT", f"/resource_classes/{CLASS}"), 201, 204)
    at = f"/resource_providers/{child(t, t.hosts[0])}"
    t.undo("placement", "DELETE", f"/resource_classes/{CLASS}")
    t.must(set_inventories(t, "placement-inventories-put-closed", at,
                           {CLASS: tokens(2, closed=True)}))
    t.place("placement-inventories-get", "GET", at + "/inventories")
    before = generation(t, at)
    set_inventories(t, "placement-inventories-put-open", at,
                    {CLASS: tokens(2, closed=False)})
    t.fact("placement-inventories-put-adds-to-generation",
           generation(t, at) - before)
    set_inventories(t, "placement-inventories-put-stale", at,
                    {CLASS: tokens(3, closed=False)}, stale=1)
    set_inventories(t, "placement-inventories-put-unknown-class", at,
                    {"CUSTOM_NO_SUCH_CLASS": tokens(1, closed=False)})
    set_inventories(t, "placement-inventories-put-bad-total", at,
                    {CLASS: tokens(-1, closed=False)})
    set_inventories(t, "placement-inventories-put-more-reserved-than-total",
                    at, {CLASS: {**tokens(2, closed=False), "reserved": 3}})
    consumer = str(uuid.uuid4())
    t.name(consumer, "<consumer>")
    t.undo("placement", "DELETE", f"/allocations/{consumer}")
    t.must(t.place("placement-allocation-put", "PUT",
                   f"/allocations/{consumer}", allocation(
                       t, {at.rsplit("/", 1)[1]: {CLASS: 1}}, None)))
    t.place("placement-provider-allocations-one", "GET", at + "/allocations")
    t.place("placement-provider-usages-one", "GET", at + "/usages")
    t.place("placement-inventory-delete-in-use", "DELETE",
            f"{at}/inventories/{CLASS}")
    set_inventories(t, "placement-inventories-empty-in-use", at, {})
    set_inventories(t, "placement-inventories-close-in-use", at,
                    {CLASS: tokens(2, closed=True)})
    set_inventories(t, "placement-inventories-below-usage", at,
                    {CLASS: tokens(1, closed=True)})
    t.place("placement-class-delete-in-use", "DELETE",
            f"/resource_classes/{CLASS}")
    t.place("placement-provider-delete-in-use", "DELETE", at)
    t.must(t.place("placement-allocation-delete", "DELETE",
                   f"/allocations/{consumer}"))
    t.place("placement-allocation-delete-again", "DELETE",
            f"/allocations/{consumer}")
    t.must(set_inventories(t, "placement-inventories-empty", at, {}))
    t.place("placement-provider-usages-none", "GET", at + "/usages")


def allocation(t, wanted, consumer_generation):
    """The body of one consumer of ours."""
    return {"allocations": {where: {"resources": what}
                            for where, what in wanted.items()},
            "project_id": t.admin.project_id, "user_id": t.admin.user_id,
            "consumer_generation": consumer_generation,
            "consumer_type": HOLD_TYPE}


def holds(t):
    """What keeps reserved room from ordinary servers: POST /allocations."""
    host = t.hosts[0]
    root = provider(t, host)
    one, two = str(uuid.uuid4()), str(uuid.uuid4())
    for name, value in (("<hold 1>", one), ("<hold 2>", two)):
        t.name(value, name)
        t.undo("placement", "DELETE", f"/allocations/{value}")

    def post(label, **amounts):
        body = {}
        for consumer, (vcpus, generation) in amounts.items():
            body[{"one": one, "two": two}[consumer]] = allocation(
                t, {root: {"VCPU": vcpus, "MEMORY_MB": 512 * vcpus}}
                if vcpus else {}, generation)
        return t.place(label, "POST", "/allocations", body)

    before = generation(t, f"/resource_providers/{root}")
    t.must(post("placement-hold-two", one=(2, None), two=(1, None)))
    t.fact("placement-hold-raises-provider-generation",
           generation(t, f"/resource_providers/{root}") > before)
    t.place("placement-hold-show", "GET", f"/allocations/{one}")
    post("placement-hold-again-null-generation", one=(2, None), two=(1, None))
    post("placement-hold-stale-generation", one=(2, 0), two=(1, 1))
    t.place("placement-hold-show-unchanged", "GET", f"/allocations/{one}")
    post("placement-hold-move", one=(1, 1), two=(2, 1))
    t.place("placement-hold-show-moved", "GET", f"/allocations/{one}")
    post("placement-hold-no-room", one=(1, 2), two=(99999, 2))
    t.place("placement-hold-show-after-no-room", "GET", f"/allocations/{two}")
    t.place("placement-hold-unknown-provider", "POST", "/allocations", {
        one: allocation(t, {str(uuid.uuid4()): {"VCPU": 1}}, 2)})
    t.place("placement-hold-unknown-class", "POST", "/allocations", {
        one: allocation(t, {root: {"CUSTOM_NO_SUCH_CLASS": 1}}, 2)})
    t.place("placement-hold-class-not-there", "POST", "/allocations", {
        one: allocation(t, {root: {"PCPU": 1}}, 2)})
    t.place("placement-hold-no-consumer-type", "POST", "/allocations", {
        one: {k: v for k, v in allocation(t, {root: {"VCPU": 1}}, 2).items()
              if k != "consumer_type"}})
    t.place("placement-hold-provider-allocations", "GET",
            f"/resource_providers/{root}/allocations")
    post("placement-hold-give-back", one=(0, 2), two=(0, 2))
    t.place("placement-hold-show-given-back", "GET", f"/allocations/{one}")
    t.place("placement-allocations-of-nobody", "GET",
            f"/allocations/{uuid.uuid4()}")
    t.place("placement-candidates-none", "GET",
            "/allocation_candidates?resources=VCPU:99999")
