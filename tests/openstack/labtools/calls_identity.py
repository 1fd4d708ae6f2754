"""The conformance calls, first part: Keystone and what every service refuses."""

import copy


def password(user, secret, scope=None):
    auth = {"identity": {"methods": ["password"], "password": {"user": {
        "name": user, "domain": {"id": "default"}, "password": secret}}}}
    if scope:
        auth["scope"] = scope
    return {"auth": auth}


def keystone(t):
    secret, project = t.users["admin"]
    scope = {"project": {"name": project, "domain": {"id": "default"}}}
    login = t.auth_url + "/auth/tokens"
    t.bare("keystone-token-create", "POST", login,
           password("admin", secret, scope))
    t.bare("keystone-token-wrong-password", "POST", login,
           password("admin", "wrong", scope))
    t.bare("keystone-token-unknown-user", "POST", login,
           password("nobody-here", secret, scope))
    t.bare("keystone-token-foreign-project", "POST", login,
           password("demo", t.users["demo"][0], scope))
    t.bare("keystone-token-no-body", "POST", login, {})
    t.bare("keystone-version", "GET", t.auth_url)
    for label, token, path in (
            ("admin", t.admin.token, "/auth/tokens"),
            ("member", t.demo.token, "/auth/tokens"),
            ("nocatalog", t.demo.token, "/auth/tokens?nocatalog"),
            ("bad-token", "not-a-token", "/auth/tokens")):
        t.identity(f"keystone-validate-{label}", "GET", path,
                   headers={"X-Subject-Token": token})
    t.identity("keystone-check", "HEAD", "/auth/tokens",
               headers={"X-Subject-Token": t.demo.token})
    t.identity("keystone-check-bad-token", "HEAD", "/auth/tokens",
               headers={"X-Subject-Token": "not-a-token"})
    t.bare("keystone-validate-without-token", "GET", login, headers={
        "X-Subject-Token": t.demo.token})
    t.bare("keystone-validate-with-bad-token", "GET", login, headers={
        "X-Auth-Token": "not-a-token", "X-Subject-Token": t.demo.token})
    t.identity("keystone-project-by-name", "GET", "/projects?name=demo")
    application_credential(t, login)
    own = copy.copy(t.demo)
    own.authenticate()
    t.identity("keystone-revoke", "DELETE", "/auth/tokens",
               headers={"X-Subject-Token": own.token})
    t.identity("keystone-validate-revoked", "GET", "/auth/tokens",
               headers={"X-Subject-Token": own.token})


def application_credential(t, login):
    at = f"/users/{t.demo.user_id}/application_credentials"
    made = t.must(t.identity("keystone-application-credential", "POST", at, {
        "application_credential": {"name": "conformance", "secret": "s3cret"}},
        who=t.demo))["application_credential"]["id"]
    t.name(made, "<credential>")
    for label, secret in (("", "s3cret"), ("-wrong-secret", "wrong")):
        t.bare("keystone-token-by-credential" + label, "POST", login, {"auth": {
            "identity": {"methods": ["application_credential"],
                         "application_credential": {"id": made,
                                                    "secret": secret}}}})
    t.must(t.identity("keystone-application-credential-delete", "DELETE",
                      f"{at}/{made}", who=t.demo))


def refusals(t):
    """No token, a bad one, no such version, not allowed."""
    compute, placement = (t.admin.catalog[x] for x in ("compute", "placement"))
    image = t.admin.catalog["image"]
    t.bare("nova-versions", "GET", compute.removesuffix("/v2.1") + "/")
    t.bare("placement-version", "GET", placement + "/")
    for label, url in (("nova", compute + "/servers"),
                       ("placement", placement + "/resource_providers"),
                       ("glance", image + "/v2/images")):
        t.bare(label + "-no-token", "GET", url)
        t.bare(label + "-bad-token", "GET", url, headers={
            "X-Auth-Token": "not-a-token"})
    t.nova("nova-unknown-microversion", "GET", "/servers", version="2.999")
    t.place("placement-unknown-microversion", "GET", "/resource_providers",
            version="1.999")
    t.nova("nova-unknown-path", "GET", "/no-such-thing")
    t.place("placement-unknown-path", "GET", "/no-such-thing")
    t.place("placement-as-member", "GET", "/resource_providers", who=t.demo)
    t.nova("nova-flavor-create-as-member", "POST", "/flavors", {"flavor": {
        "name": "conf-x", "vcpus": 1, "ram": 1, "disk": 1}}, who=t.demo)
    t.nova("nova-hypervisors-as-member", "GET", "/os-hypervisors", who=t.demo)
