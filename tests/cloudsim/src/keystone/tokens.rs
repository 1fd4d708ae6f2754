//! Making and reading tokens.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::{Keystone, Service, Token, Who};
use crate::message::{Request, TOKEN};
use crate::reply::{Reply, keystone as error};
use crate::rng::Rng;
use crate::time;
use crate::world::World;

const UNAUTHORIZED: &str = "The request you have made requires authentication.";

impl Keystone {
    /// The token if it exists and is valid at `now`.
    pub(crate) fn valid(&self, token: &str, now: u64) -> Option<&Token> {
        self.tokens.get(token).filter(|token| now < token.expires_ms)
    }

    /// The body of a token as Keystone shows it.
    pub(crate) fn token_body<'a>(&'a self, token: &'a Token, with_catalog: bool) -> Body<'a> {
        let who = &token.who;
        let of_project = !who.project_id.is_empty();
        let role = |name: &'a String| Named { id: self.roles.get(name).map(String::as_str), name };
        let credential = token.credential.as_ref().map(|id| Credential {
            id,
            name: self.credentials.get(id).map(|credential| credential.name.as_str()),
            restricted: true,
        });
        let shown = Shown {
            application_credential: credential,
            audit_ids: [&token.audit_id],
            catalog: (of_project && with_catalog).then(|| self.catalog()),
            expires_at: time::keystone(token.expires_ms),
            is_domain: of_project.then_some(false),
            issued_at: time::keystone(token.issued_ms),
            methods: &token.methods,
            project: of_project.then_some(Project { domain: DOMAIN, id: &who.project_id, name: &who.project_name }),
            roles: of_project.then(|| who.roles.iter().map(role).collect()),
            user: User { domain: DOMAIN, id: &who.user_id, name: &who.user_name, password_expires_at: None },
        };
        Body { token: shown }
    }
}

const DOMAIN: Named = Named { id: Some("default"), name: "Default" };

/// A token as it is shown.
#[derive(Serialize)]
pub(crate) struct Body<'a> {
    token: Shown<'a>,
}

#[derive(Serialize)]
struct Shown<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    application_credential: Option<Credential<'a>>,
    audit_ids: [&'a str; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    catalog: Option<&'a [Service]>,
    expires_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_domain: Option<bool>,
    issued_at: String,
    methods: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<Project<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    roles: Option<Vec<Named<'a>>>,
    user: User<'a>,
}

#[derive(Serialize)]
struct Credential<'a> {
    id: &'a str,
    name: Option<&'a str>,
    restricted: bool,
}

#[derive(Serialize)]
struct Project<'a> {
    domain: Named<'static>,
    id: &'a str,
    name: &'a str,
}

#[derive(Serialize)]
struct User<'a> {
    domain: Named<'static>,
    id: &'a str,
    name: &'a str,
    /// Never.
    password_expires_at: Option<u64>,
}

#[derive(Serialize)]
struct Named<'a> {
    id: Option<&'a str>,
    name: &'a str,
}

/// `POST /v3/auth/tokens`: checks who asks and makes the token. Answers its name and itself.
pub(crate) fn issue(world: &mut World, body: &Value) -> Result<(String, Token), Reply> {
    if body.get("auth").is_none() {
        let text = "Expecting to find auth in request body. The server could not comply with the request since it is \
                    either malformed or otherwise incorrect. The client is assumed to be in error.";
        return Err(error(400, text));
    }
    let identity = &body["auth"]["identity"];
    let methods: Vec<String> = identity["methods"]
        .as_array()
        .ok_or_else(|| error(400, "Invalid input for field 'identity/methods': None is not of type 'array'"))?
        .iter()
        .filter_map(|method| method.as_str().map(str::to_owned))
        .collect();
    let scope = &body["auth"]["scope"];
    let keystone = &world.keystone;
    let mut who = match methods.first().map(String::as_str) {
        Some("password") => by_password(keystone, identity)?,
        Some("application_credential") => by_credential(keystone, identity)?,
        Some("token") => by_token(keystone, identity, world.now)?,
        _ => return Err(error(401, UNAUTHORIZED)),
    };
    let credential = identity["application_credential"]["id"].as_str().map(str::to_owned);
    if who.project_id.is_empty() && scope.get("project").is_some() {
        let project = &scope["project"];
        let id = match (project["id"].as_str(), project["name"].as_str()) {
            (Some(id), _) => keystone.projects.contains_key(id).then(|| id.to_owned()),
            (None, Some(name)) => keystone.project_named(name),
            (None, None) => None,
        };
        let id = id.ok_or_else(|| error(401, UNAUTHORIZED))?;
        scope_to(keystone, &mut who, &id);
        if who.roles.is_empty() || !keystone.projects[&id].enabled {
            return Err(error(401, UNAUTHORIZED));
        }
    }
    let now = world.now;
    let rng: &mut Rng = &mut world.rng;
    let name = format!("gAAAAA{}{}", rng.hex_id(), rng.hex_id());
    let token = Token {
        who: Arc::new(who),
        methods,
        // Keystone's tokens carry whole seconds.
        issued_ms: now / 1000 * 1000,
        expires_ms: now / 1000 * 1000 + world.config.token_ttl_s * 1000,
        audit_id: rng.hex_id()[..22].to_owned(),
        credential,
    };
    world.keystone.tokens.retain(|_, known| known.expires_ms + 3_600_000 > now);
    world.keystone.tokens.insert(name.clone(), token.clone());
    Ok((name, token))
}

fn scope_to(keystone: &Keystone, who: &mut Who, project_id: &str) {
    who.project_id = project_id.to_owned();
    who.project_name = keystone.projects[project_id].name.clone();
    who.roles = keystone.roles_of(&who.user_id, project_id);
}

fn by_password(keystone: &Keystone, identity: &Value) -> Result<Who, Reply> {
    let user = &identity["password"]["user"];
    let id = match (user["id"].as_str(), user["name"].as_str()) {
        (Some(id), _) => Some(id.to_owned()),
        (None, Some(name)) => keystone.user_named(name),
        (None, None) => None,
    };
    let refused = || error(401, UNAUTHORIZED);
    let id = id.ok_or_else(refused)?;
    let known = keystone.users.get(&id).filter(|known| known.enabled).ok_or_else(refused)?;
    if user["password"].as_str() != Some(known.password.as_str()) {
        return Err(refused());
    }
    Ok(Who { user_id: id, user_name: known.name.clone(), ..Who::default() })
}

fn by_credential(keystone: &Keystone, identity: &Value) -> Result<Who, Reply> {
    let given = &identity["application_credential"];
    let refused = || error(401, UNAUTHORIZED);
    let credential = match given["id"].as_str() {
        Some(id) => keystone.credentials.get(id),
        None => {
            let user = &given["user"];
            let user_id = user["id"]
                .as_str()
                .map(str::to_owned)
                .or_else(|| user["name"].as_str().and_then(|name| keystone.user_named(name)));
            keystone
                .credentials
                .values()
                .find(|known| Some(known.name.as_str()) == given["name"].as_str() && Some(&known.user_id) == user_id.as_ref())
        }
    };
    let credential = credential.ok_or_else(refused)?;
    let user = keystone.users.get(&credential.user_id).filter(|known| known.enabled).ok_or_else(refused)?;
    if given["secret"].as_str() != Some(credential.secret.as_str()) {
        return Err(refused());
    }
    let mut who = Who { user_id: credential.user_id.clone(), user_name: user.name.clone(), ..Who::default() };
    scope_to(keystone, &mut who, &credential.project_id);
    // A credential never gives more than its user still has.
    who.roles.retain(|role| credential.roles.contains(role));
    Ok(who)
}

fn by_token(keystone: &Keystone, identity: &Value, now: u64) -> Result<Who, Reply> {
    let given = identity["token"]["id"].as_str().unwrap_or_default();
    let token = keystone.valid(given, now).ok_or_else(|| error(401, UNAUTHORIZED))?;
    Ok(Who { user_id: token.who.user_id.clone(), user_name: token.who.user_name.clone(), ..Who::default() })
}

/// The token of a call to any service but Keystone itself; 401 in the words of the middleware.
pub(crate) fn authenticate(world: &World, request: &Request) -> Result<Arc<Who>, Reply> {
    request
        .get(&TOKEN)
        .and_then(|token| world.keystone.valid(token, world.now))
        .filter(|token| !token.who.project_id.is_empty())
        .map(|token| token.who.clone())
        .ok_or_else(|| {
            error(401, UNAUTHORIZED).with("www-authenticate", format!("Keystone uri=\"{}/identity\"", world.base_url()))
        })
}
