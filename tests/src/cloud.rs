//! The simulated cloud as a process, and its tenants: plain HTTP as any client of OpenStack would send it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use leasehold_cloudsim::Record;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::binaries;
use crate::process::Process;

/// Every user's password in the simulated cloud.
pub const PASSWORD: &str = "oslab";

/// What the simulated cloud is made of.
#[derive(Clone, Debug)]
pub struct CloudSettings {
    /// How many compute hosts: `cmp1`, `cmp2`, ...
    pub hosts: u32,
    /// CPUs of each.
    pub vcpus: u32,
    /// MB of each.
    pub memory_mb: u32,
    /// The seed of its ids and delays.
    pub seed: u64,
    /// Whether calls that only read stand in the record.
    pub record_reads: bool,
    /// From the choice of a host to ACTIVE, ms.
    pub spawn_ms: u64,
}

impl Default for CloudSettings {
    fn default() -> Self {
        CloudSettings { hosts: 4, vcpus: 16, memory_mb: 32_768, seed: 1, record_reads: false, spawn_ms: 140 }
    }
}

/// A running simulated cloud. It ends with its owner; its log and record go too, unless they are kept.
#[derive(Debug)]
pub struct CloudProcess {
    process: Process,
    folder: PathBuf,
    temporary: TempDir,
    auth_url: String,
    base: String,
    http: reqwest::Client,
}

/// An HTTP client as the harness uses it: no proxies, generous time.
pub fn http_client() -> Result<reqwest::Client> {
    // An error means that a provider is installed already: it is the same one.
    drop(rustls::crypto::ring::default_provider().install_default());
    Ok(reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build()?)
}

impl CloudProcess {
    /// Starts it on a free port.
    pub async fn start(settings: &CloudSettings) -> Result<CloudProcess> {
        let temporary = tempfile::Builder::new().prefix("leasehold-cloud-").tempdir()?;
        let folder = temporary.path().to_owned();
        let mut command = Command::new(binaries::cloudsim()?);
        command.args(["--listen", "127.0.0.1:0"]);
        for (option, value) in [
            ("--hosts", u64::from(settings.hosts)),
            ("--vcpus", u64::from(settings.vcpus)),
            ("--memory-mb", u64::from(settings.memory_mb)),
            ("--seed", settings.seed),
            ("--spawn-ms", settings.spawn_ms),
        ] {
            command.arg(option).arg(value.to_string());
        }
        command.arg("--record").arg(folder.join("record.jsonl"));
        if !settings.record_reads {
            command.arg("--no-reads");
        }
        let (process, auth_url) = Process::start_and_read_line("cloudsim", command, &folder.join("cloudsim.log"))?;
        let base = auth_url.strip_suffix("/identity/v3").context("the auth URL of the simulated cloud")?.to_owned();
        Ok(CloudProcess { process, folder, temporary, auth_url, base, http: http_client()? })
    }

    /// Keeps log (`cloudsim.log`) and record (`record.jsonl`) when it ends; answers where they are.
    pub fn keep(&mut self) -> &Path {
        self.temporary.disable_cleanup(true);
        &self.folder
    }

    /// `OS_AUTH_URL`.
    pub fn auth_url(&self) -> &str {
        &self.auth_url
    }

    /// Its process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// A user with a fresh token: `admin`, `demo`, `alt_demo` in the project of the same name.
    pub async fn tenant(&self, user: &str) -> Result<Tenant> {
        self.tenant_in(user, user).await
    }

    /// A user with a token for a project.
    pub async fn tenant_in(&self, user: &str, project: &str) -> Result<Tenant> {
        let body = json!({"auth": {
            "identity": {"methods": ["password"], "password": {
                "user": {"name": user, "domain": {"name": "Default"}, "password": PASSWORD}}},
            "scope": {"project": {"name": project, "domain": {"name": "Default"}}},
        }});
        let answer = self.http.post(format!("{}/auth/tokens", self.auth_url)).json(&body).send().await?;
        ensure!(answer.status() == StatusCode::CREATED, "token of {user}: {}", answer.status());
        let token = answer.headers().get("x-subject-token").context("a token")?.to_str()?.to_owned();
        let body: Value = answer.json().await?;
        let project_id = body["token"]["project"]["id"].as_str().context("the token's project")?.to_owned();
        Ok(Tenant { token, project_id, base: self.base.clone(), http: self.http.clone() })
    }

    /// What was asked of the cloud and what changed in it, so far.
    pub async fn record(&self) -> Result<Vec<Record>> {
        let text = self.http.get(format!("{}/_sim/record", self.base)).send().await?.error_for_status()?.text().await?;
        text.lines().map(|line| serde_json::from_str(line).with_context(|| format!("record line {line}"))).collect()
    }

    /// Servers, flavors, providers, images … as they are now.
    pub async fn state(&self) -> Result<Value> {
        Ok(self.http.get(format!("{}/_sim/state", self.base)).send().await?.error_for_status()?.json().await?)
    }

    /// Sets a fault or turns a switch.
    pub async fn set_fault(&self, fault: &Value) -> Result<()> {
        self.http.post(format!("{}/_sim/faults", self.base)).json(fault).send().await?.error_for_status()?;
        Ok(())
    }

    /// Takes all faults away.
    pub async fn clear_faults(&self) -> Result<()> {
        self.http.delete(format!("{}/_sim/faults", self.base)).send().await?.error_for_status()?;
        Ok(())
    }

    /// Names a service in the catalog.
    pub async fn set_endpoint(&self, service_type: &str, name: &str, url: &str) -> Result<()> {
        let body = json!({"service_type": service_type, "name": name, "url": url});
        self.http.post(format!("{}/_sim/endpoints", self.base)).json(&body).send().await?.error_for_status()?;
        Ok(())
    }

    /// What each host has to give, as Placement counts it.
    pub async fn capacities(&self) -> Result<BTreeMap<String, Capacity>> {
        let state = self.state().await?;
        let providers = state["placement"]["providers"].as_object().context("the providers")?;
        let mut capacities = BTreeMap::new();
        for provider in providers.values().filter(|provider| provider["parent"].is_null()) {
            let amount = |class: &str| {
                let inventory = &provider["inventories"][class];
                let free = inventory["total"].as_u64().unwrap_or(0).saturating_sub(inventory["reserved"].as_u64().unwrap_or(0));
                (free as f64 * inventory["allocation_ratio"].as_f64().unwrap_or(1.0)) as u64
            };
            let name = provider["name"].as_str().context("a provider's name")?.to_owned();
            capacities
                .insert(name, Capacity { vcpus: amount("VCPU"), memory_mb: amount("MEMORY_MB"), disk_gb: amount("DISK_GB") });
        }
        Ok(capacities)
    }
}

/// Amounts of the three classes that servers take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// Virtual CPUs.
    pub vcpus: u64,
    /// MiB.
    pub memory_mb: u64,
    /// GiB.
    pub disk_gb: u64,
}

impl Capacity {
    /// So many times as much.
    pub fn times(self, many: u64) -> Capacity {
        Capacity { vcpus: self.vcpus * many, memory_mb: self.memory_mb * many, disk_gb: self.disk_gb * many }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Capacity) -> Capacity {
        Capacity {
            vcpus: self.vcpus + other.vcpus,
            memory_mb: self.memory_mb + other.memory_mb,
            disk_gb: self.disk_gb + other.disk_gb,
        }
    }

    /// What is left without `other`.
    #[must_use]
    pub fn minus(self, other: Capacity) -> Capacity {
        Capacity {
            vcpus: self.vcpus.saturating_sub(other.vcpus),
            memory_mb: self.memory_mb.saturating_sub(other.memory_mb),
            disk_gb: self.disk_gb.saturating_sub(other.disk_gb),
        }
    }

    /// Whether this fits into `room`.
    pub fn fits(self, room: Capacity) -> bool {
        self.vcpus <= room.vcpus && self.memory_mb <= room.memory_mb && self.disk_gb <= room.disk_gb
    }
}

/// A user of the cloud with a token.
#[derive(Clone, Debug)]
pub struct Tenant {
    token: String,
    project_id: String,
    base: String,
    http: reqwest::Client,
}

impl Tenant {
    /// The token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The project it is scoped to.
    pub fn project_id(&self) -> &str {
        &self.project_id
    }

    /// One call below `/compute/v2.1`; answers status and body.
    pub async fn compute(&self, method: Method, path: &str, body: Option<&Value>) -> Result<(StatusCode, Value)> {
        self.call(method, &format!("/compute/v2.1{path}"), "compute 2.96", body).await
    }

    /// One call below `/placement` (admins); answers status and body.
    pub async fn placement(&self, method: Method, path: &str, body: Option<&Value>) -> Result<(StatusCode, Value)> {
        self.call(method, &format!("/placement{path}"), "placement 1.39", body).await
    }

    async fn call(&self, method: Method, path: &str, version: &str, body: Option<&Value>) -> Result<(StatusCode, Value)> {
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.base))
            .header("X-Auth-Token", &self.token)
            .header("OpenStack-API-Version", version);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        // Empty answers and those of proxies are no JSON; the status says it all then.
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::Null)))
    }

    /// Makes a public flavor (admins).
    pub async fn create_flavor(&self, name: &str, vcpus: u64, memory_mb: u64, disk_gb: u64) -> Result<String> {
        let body = json!({"flavor": {"name": name, "vcpus": vcpus, "ram": memory_mb, "disk": disk_gb}});
        let (status, body) = self.compute(Method::POST, "/flavors", Some(&body)).await?;
        ensure!(status.is_success(), "flavor {name}: {status} {body}");
        Ok(body["flavor"]["id"].as_str().context("the flavor's id")?.to_owned())
    }

    /// The id of the image every simulated cloud has.
    pub async fn image(&self) -> Result<String> {
        let answer = self.http.get(format!("{}/image/v2/images", self.base)).header("X-Auth-Token", &self.token).send().await?;
        let body: Value = answer.error_for_status()?.json().await?;
        Ok(body["images"][0]["id"].as_str().context("an image")?.to_owned())
    }

    /// Asks for a server; `Err` inside: refused, with status and text.
    pub async fn boot(&self, name: &str, flavor: &str, image: &str) -> Result<Result<String, String>> {
        let body = json!({"server": {"name": name, "flavorRef": flavor, "imageRef": image, "networks": "none"}});
        let (status, body) = self.compute(Method::POST, "/servers", Some(&body)).await?;
        Ok(if status == StatusCode::ACCEPTED {
            Ok(body["server"]["id"].as_str().context("the server's id")?.to_owned())
        } else {
            Err(format!("{status} {body}"))
        })
    }

    /// One server, if it is there.
    pub async fn server(&self, id: &str) -> Result<Option<Value>> {
        let (status, mut body) = self.compute(Method::GET, &format!("/servers/{id}"), None).await?;
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        ensure!(status.is_success(), "server {id}: {status} {body}");
        Ok(Some(body["server"].take()))
    }

    /// Deletes a server.
    pub async fn delete_server(&self, id: &str) -> Result<()> {
        let (status, body) = self.compute(Method::DELETE, &format!("/servers/{id}"), None).await?;
        ensure!(status.is_success() || status == StatusCode::NOT_FOUND, "delete of server {id}: {status} {body}");
        Ok(())
    }
}
