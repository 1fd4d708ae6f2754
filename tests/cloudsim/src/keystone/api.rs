//! Keystone's HTTP interface.

use serde_json::{Value, json};

use super::{AppCredential, Token, User, tokens};
use crate::message::{Request, TOKEN};
use crate::query::Query;
use crate::reply::{Api, Reply, keystone as error, ok};
use crate::world::World;

/// Serves one call; `path` is what follows `/identity`.
pub(crate) fn handle(world: &mut World, request: &Request, path: &str, body: &Value) -> Reply {
    let segments: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let method = request.method.as_str();
    let reply = route(world, request, method, &segments, body).unwrap_or_else(|reply| reply).with("vary", "X-Auth-Token");
    if reply.status == 401 {
        return reply.with("www-authenticate", format!("Keystone uri=\"{}/identity/v3\"", world.base_url()));
    }
    reply
}

fn route(world: &mut World, request: &Request, method: &str, segments: &[&str], body: &Value) -> Api {
    match (method, segments) {
        ("GET" | "HEAD", []) => {
            let location = format!("{}/identity/v3/", world.base_url());
            Ok(Reply::new(300, json!({"versions": {"values": [version(world)]}})).with("location", location))
        }
        ("GET" | "HEAD", ["v3"]) => ok(json!({"version": version(world)})),
        ("POST", ["v3", "auth", "tokens"]) => {
            let (name, token) = tokens::issue(world, body)?;
            let catalog = request.query != "nocatalog";
            Ok(Reply::rendered(201, &world.keystone.token_body(&token, catalog)).with("x-subject-token", name))
        }
        ("GET" | "HEAD", ["v3", "auth", "tokens"]) => {
            let caller = caller(world, request)?;
            let subject = request.get("X-Subject-Token").unwrap_or_default();
            let token = world.keystone.valid(subject, world.now).ok_or_else(|| unknown_token(world, subject))?;
            if token.who.user_id != caller.who.user_id && !caller.who.is_admin() && !caller.who.has_role("service") {
                return Err(denied("identity:validate_token"));
            }
            let query = Query::parse(&request.query);
            Ok(Reply::rendered(200, &world.keystone.token_body(token, !query.has("nocatalog"))).with("x-subject-token", subject))
        }
        ("DELETE", ["v3", "auth", "tokens"]) => {
            caller(world, request)?;
            let subject = request.get("X-Subject-Token").unwrap_or_default();
            let now = world.now;
            let token = world.keystone.tokens.get_mut(subject).filter(|token| now < token.expires_ms);
            match token {
                Some(token) => token.expires_ms = now,
                None => return Err(unknown_token(world, subject)),
            }
            Ok(Reply::empty(204))
        }
        ("GET", ["v3", "auth", "catalog"]) => {
            caller(world, request)?;
            ok(json!({"catalog": world.keystone.catalog(), "links": links(world, "/auth/catalog", "")}))
        }
        _ => directory(world, request, method, segments, body),
    }
}

/// Users, projects, roles and application credentials.
fn directory(world: &mut World, request: &Request, method: &str, segments: &[&str], body: &Value) -> Api {
    let caller = caller(world, request)?;
    let query = Query::parse(&request.query);
    let self_or_admin = |id: &str| caller.who.is_admin() || caller.who.user_id == id;
    match (method, segments) {
        ("GET", ["v3", "projects"]) => {
            let projects: Vec<Value> = world
                .keystone
                .projects
                .keys()
                .filter_map(|id| project(world, id))
                .filter(|found| query.get("name").is_none_or(|name| found["name"] == name))
                .collect();
            admin(&caller, "identity:list_projects")?;
            ok(json!({"projects": projects, "links": links(world, "/projects", &request.query)}))
        }
        ("GET", ["v3", "auth", "projects"]) => {
            let projects: Vec<Value> = world
                .keystone
                .assignments
                .keys()
                .filter(|(user, _)| *user == caller.who.user_id)
                .filter_map(|(_, id)| project(world, id))
                .collect();
            ok(json!({"projects": projects, "links": links(world, "/auth/projects", &request.query)}))
        }
        ("GET", ["v3", "projects", id]) => {
            if caller.who.project_id != *id {
                admin(&caller, "identity:get_project")?;
            }
            let found = project(world, id).ok_or_else(|| error(404, format!("Could not find project: {id}.")))?;
            ok(json!({"project": found}))
        }
        ("GET", ["v3", "users"]) => {
            admin(&caller, "identity:list_users")?;
            let users: Vec<Value> = world
                .keystone
                .users
                .iter()
                .filter(|(_, user)| query.get("name").is_none_or(|name| user.name == name))
                .map(|(id, found)| user(world, id, found))
                .collect();
            ok(json!({"users": users, "links": links(world, "/users", &request.query)}))
        }
        ("GET", ["v3", "users", id]) => {
            if !self_or_admin(id) {
                return Err(denied("identity:get_user"));
            }
            let found = world.keystone.users.get(*id).ok_or_else(|| error(404, format!("Could not find user: {id}.")))?;
            ok(json!({"user": user(world, id, found)}))
        }
        ("GET", ["v3", "roles"]) => {
            let roles: Vec<Value> = world
                .keystone
                .roles
                .iter()
                .filter(|(name, _)| query.get("name").is_none_or(|wanted| wanted == name.as_str()))
                .map(|(name, id)| json!({"id": id, "name": name, "domain_id": null, "description": null, "options": {}}))
                .collect();
            ok(json!({"roles": roles, "links": links(world, "/roles", &request.query)}))
        }
        ("GET", ["v3", "domains"]) => ok(json!({
            "domains": [{"id": "default", "name": "Default", "enabled": true, "description": "The default domain"}],
            "links": links(world, "/domains", &request.query),
        })),
        ("POST", ["v3", "users", id, "application_credentials"]) => {
            if caller.who.user_id != *id {
                return Err(denied("identity:create_application_credential"));
            }
            let given = &body["application_credential"];
            let name = given["name"].as_str().ok_or_else(|| error(400, "'name' is a required property"))?.to_owned();
            let secret = given["secret"].as_str().map_or_else(|| world.rng.hex_id(), str::to_owned);
            let credential = AppCredential {
                name: name.clone(),
                secret: secret.clone(),
                user_id: caller.who.user_id.clone(),
                project_id: caller.who.project_id.clone(),
                roles: caller.who.roles.clone(),
            };
            let made = world.rng.hex_id();
            let reply = json!({"application_credential": {
                "id": made, "name": name, "secret": secret, "description": given["description"],
                "project_id": credential.project_id, "roles": roles(world, &credential.roles),
                "expires_at": null, "unrestricted": null, "system": null, "user_id": credential.user_id,
                "links": {"self": format!("{}/identity/v3/application_credentials/{made}", world.base_url())},
            }});
            world.keystone.credentials.insert(made, credential);
            Ok(Reply::new(201, reply))
        }
        ("DELETE", ["v3", "users", user, "application_credentials", id]) => {
            if !self_or_admin(user) {
                return Err(denied("identity:delete_application_credential"));
            }
            world
                .keystone
                .credentials
                .remove(*id)
                .ok_or_else(|| error(404, format!("Could not find Application Credential: {id}.")))?;
            Ok(Reply::empty(204))
        }
        _ => Err(error(404, "The resource could not be found.")),
    }
}

/// The token in `X-Auth-Token`; 401 when it is missing, unknown or expired.
fn caller(world: &World, request: &Request) -> Result<Token, Reply> {
    request
        .get(&TOKEN)
        .and_then(|token| world.keystone.valid(token, world.now))
        .cloned()
        .ok_or_else(|| error(401, "The request you have made requires authentication."))
}

/// 404 for a token that is not valid: one that once was is known as such.
fn unknown_token(world: &World, token: &str) -> Reply {
    let was_valid = world.keystone.tokens.contains_key(token);
    error(404, if was_valid { "Failed to validate token" } else { "Could not recognize Fernet token" })
}

fn admin(token: &Token, action: &str) -> Result<(), Reply> {
    if token.who.is_admin() || token.who.has_role("service") { Ok(()) } else { Err(denied(action)) }
}

fn denied(action: &str) -> Reply {
    error(403, format!("You are not authorized to perform the requested action: {action}."))
}

fn version(world: &World) -> Value {
    json!({
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [{"rel": "self", "href": format!("{}/identity/v3/", world.base_url())}],
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}],
    })
}

fn links(world: &World, path: &str, query: &str) -> Value {
    let query = if query.is_empty() { String::new() } else { format!("?{query}") };
    json!({"next": null, "self": format!("{}/identity/v3{path}{query}", world.base_url()), "previous": null})
}

fn project(world: &World, id: &str) -> Option<Value> {
    let found = world.keystone.projects.get(id)?;
    Some(json!({
        "id": id, "name": found.name, "domain_id": "default", "description": "", "enabled": found.enabled,
        "parent_id": "default", "is_domain": false, "tags": [], "options": {},
        "links": {"self": format!("{}/identity/v3/projects/{id}", world.base_url())},
    }))
}

fn user(world: &World, id: &str, found: &User) -> Value {
    json!({
        "id": id, "name": found.name, "domain_id": "default", "enabled": found.enabled,
        "password_expires_at": null, "options": {},
        "links": {"self": format!("{}/identity/v3/users/{id}", world.base_url())},
    })
}

fn roles(world: &World, names: &[String]) -> Vec<Value> {
    names
        .iter()
        .map(|name| {
            json!({
                "id": world.keystone.roles.get(name), "name": name, "domain_id": null, "description": null,
                "options": {"immutable": true},
            })
        })
        .collect()
}
