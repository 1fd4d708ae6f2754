//! A cloud in memory with a clock that only tests move, and the calls they make most.

use http::Method;
use leasehold_cloudsim::{Answer, Cloud, CloudConfig, Request, Response};
use serde_json::{Value, json};

/// 2026-11-22T12:00:00Z.
pub const START_MS: u64 = 1_795_348_800_000;

pub struct Lab {
    pub cloud: Cloud,
    pub now: u64,
    pub admin: String,
    pub demo: String,
}

impl Lab {
    pub fn new() -> Self {
        Self::with(CloudConfig::default())
    }

    pub fn with(config: CloudConfig) -> Self {
        let cloud = Cloud::new(CloudConfig { created_at_ms: START_MS, ..config });
        let mut lab = Self { cloud, now: START_MS, admin: String::new(), demo: String::new() };
        lab.admin = lab.login("leasehold", "service");
        lab.demo = lab.login("demo", "demo");
        lab
    }

    pub fn login(&mut self, user: &str, project: &str) -> String {
        let answer = self.answer(Request::new(Method::POST, "/identity/v3/auth/tokens").json(&password(user, project)));
        assert_eq!(answer.status, 201, "{}", answer.json());
        answer.header("X-Subject-Token").unwrap().to_owned()
    }

    pub fn send(&mut self, request: Request) -> Response {
        self.now += 1;
        self.cloud.handle(self.now, request)
    }

    pub fn answer(&mut self, request: Request) -> Answer {
        self.send(request).answer().expect("an answer at once")
    }

    pub fn request(&self, token: &str, method: &str, target: &str, body: &Value) -> Request {
        let request = Request::new(Method::from_bytes(method.as_bytes()).unwrap(), target)
            .token(token)
            .caller("test")
            .header("OpenStack-API-Version", if target.starts_with("/placement") { "placement 1.39" } else { "compute 2.96" });
        if body.is_null() { request } else { request.json(body) }
    }

    /// A call by the admin; answers status and body.
    pub fn admin(&mut self, method: &str, target: &str, body: Value) -> (u16, Value) {
        let token = self.admin.clone();
        self.call(&token, method, target, body)
    }

    /// A call by an ordinary tenant.
    pub fn demo(&mut self, method: &str, target: &str, body: Value) -> (u16, Value) {
        let token = self.demo.clone();
        self.call(&token, method, target, body)
    }

    pub fn call(&mut self, token: &str, method: &str, target: &str, body: Value) -> (u16, Value) {
        let request = self.request(token, method, target, &body);
        let answer = self.answer(request);
        (answer.status, answer.json())
    }

    /// Lets time pass.
    pub fn pass(&mut self, ms: u64) {
        self.now += ms;
        self.cloud.advance(self.now);
    }

    pub fn image(&mut self) -> String {
        let (_, body) = self.demo("GET", "/image/v2/images?name=cirros", Value::Null);
        body["images"][0]["id"].as_str().unwrap().to_owned()
    }

    /// A flavor with extra specs; public unless `id` is given.
    pub fn flavor(&mut self, name: &str, vcpus: u64, ram: u64, specs: &Value) -> String {
        let body = json!({"flavor": {"name": name, "vcpus": vcpus, "ram": ram, "disk": 1}});
        let (status, body) = self.admin("POST", "/compute/v2.1/flavors", body);
        assert_eq!(status, 200, "{body}");
        let id = body["flavor"]["id"].as_str().unwrap().to_owned();
        if specs.as_object().is_some_and(|specs| !specs.is_empty()) {
            let target = format!("/compute/v2.1/flavors/{id}/os-extra_specs");
            assert_eq!(self.admin("POST", &target, json!({"extra_specs": specs})).0, 200);
        }
        id
    }

    /// Asks for a server as the tenant; answers its id. It is not built before time passes.
    pub fn boot(&mut self, flavor: &str) -> String {
        self.boot_with(flavor, json!({}), json!({}))
    }

    pub fn boot_with(&mut self, flavor: &str, more: Value, hints: Value) -> String {
        let image = self.image();
        let mut server = json!({"name": "vm", "imageRef": image, "flavorRef": flavor, "networks": "none"});
        for (key, value) in more.as_object().unwrap() {
            server[key] = value.clone();
        }
        let (status, body) = self.demo("POST", "/compute/v2.1/servers", json!({"server": server, "os:scheduler_hints": hints}));
        assert_eq!(status, 202, "{body}");
        body["server"]["id"].as_str().unwrap().to_owned()
    }

    pub fn act(&mut self, server: &str, action: Value) -> (u16, Value) {
        self.admin("POST", &format!("/compute/v2.1/servers/{server}/action"), action)
    }

    pub fn server(&mut self, id: &str) -> Value {
        let (status, body) = self.admin("GET", &format!("/compute/v2.1/servers/{id}"), Value::Null);
        assert_eq!(status, 200, "{body}");
        body["server"].clone()
    }

    /// Lets time pass until the server has no task, at most a minute; answers its status.
    pub fn settle(&mut self, id: &str) -> String {
        for _ in 0..600 {
            self.pass(100);
            let server = self.server(id);
            if server["OS-EXT-STS:task_state"].is_null() {
                return server["status"].as_str().unwrap().to_owned();
            }
        }
        panic!("server {id} never settled: {}", self.server(id));
    }

    pub fn provider(&mut self, name: &str) -> String {
        let (_, body) = self.admin("GET", &format!("/placement/resource_providers?name={name}"), Value::Null);
        body["resource_providers"][0]["uuid"].as_str().unwrap().to_owned()
    }

    pub fn generation(&mut self, provider: &str) -> u64 {
        let (_, body) = self.admin("GET", &format!("/placement/resource_providers/{provider}"), Value::Null);
        body["generation"].as_u64().unwrap_or_else(|| panic!("provider {provider}: {body}"))
    }

    /// Makes a child provider of a host with tokens of a class, all of them open or all closed.
    pub fn tokens(&mut self, host: &str, class: &str, total: u64, open: bool) -> String {
        let parent = self.provider(host);
        assert!(self.admin("PUT", &format!("/placement/resource_classes/{class}"), Value::Null).0 < 300);
        let body = json!({"name": format!("child_{host}"), "parent_provider_uuid": parent});
        let (status, body) = self.admin("POST", "/placement/resource_providers", body);
        assert_eq!(status, 200, "{body}");
        let child = body["uuid"].as_str().unwrap().to_owned();
        self.set_tokens(&child, class, total, open);
        child
    }

    pub fn set_tokens(&mut self, child: &str, class: &str, total: u64, open: bool) {
        let generation = self.generation(child);
        let reserved = if open { 0 } else { total };
        let body = json!({"resource_provider_generation": generation, "inventories": {
            class: {"total": total, "reserved": reserved, "min_unit": 1, "max_unit": 1},
        }});
        let (status, body) = self.admin("PUT", &format!("/placement/resource_providers/{child}/inventories"), body);
        assert_eq!(status, 200, "{body}");
    }
}

pub fn password(user: &str, project: &str) -> Value {
    json!({"auth": {
        "identity": {"methods": ["password"], "password": {"user": {
            "name": user, "domain": {"id": "default"}, "password": "oslab",
        }}},
        "scope": {"project": {"name": project, "domain": {"id": "default"}}},
    }})
}
