//! `leasehold doctor`: reads the server's configuration, asks cloud and cluster, prints how it all stands.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use async_trait::async_trait;
use clap::Args;
use leasehold_client::{Client, Error, FixedToken, LeaseFilter};
use leasehold_ledger::model::{Lease, Timestamp};
use serde_json::json;
use uuid::Uuid;

use super::output::{Output, table};
use super::wait::with_progress;
use super::{Failure, Format, Globals, builder, read_ca_file, way, with_tokens};
use crate::config::{AuthMode, Config};
use crate::doctor::{self, Ledger, Report};
use crate::openstack::keystone::{KeystoneOptions, TokenSource};
use crate::openstack::{Cloud, Session};
use crate::seams::{Clock, HttpOptions, Seams};

pub(super) const EXAMPLES: &str = "\
It changes nothing. Run it where a server runs, with the server's configuration:
  leasehold doctor --config /etc/leasehold/leasehold.toml
  leasehold doctor --config /etc/leasehold/leasehold.toml --output json | jq '.checks[] | select(.verdict != \"ok\")'
Exit codes: 0 nothing failed · 1 something failed.";

/// A doctor does not wait as long for the cluster as who wants something of it.
const CLUSTER_DEADLINE_S: u64 = 10;

/// `doctor`
#[derive(Args, Clone, Debug)]
pub struct Doctor {
    /// The server's TOML file; LEASEHOLD_… variables win over it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) async fn run(command: Doctor, globals: &Globals) -> Result<ExitCode, Failure> {
    let mut report = Report::default();
    examine(&command, globals, &mut report).await;
    let output = Output { json: globals.output == Format::Json };
    let healthy = report.nothing_failed();
    output.print(json!({ "healthy": healthy, "checks": report.checks }), || as_table(&report))?;
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn examine(command: &Doctor, globals: &Globals, report: &mut Report) {
    let config = match Config::load(command.config.as_deref()) {
        Ok(config) => config,
        Err(error) => {
            return report.fail("configuration", error.to_string(), "mend it: docs/configuration.md; --config names the file");
        }
    };
    let Some(section) = &config.cloud else {
        return report.fail(
            "configuration",
            "there is no [cloud]",
            "give cloud.auth_url and the service user: docs/configuration.md",
        );
    };
    let built = config.extra_ca_pem().and_then(|extra_ca_pem| Ok((extra_ca_pem, KeystoneOptions::from_config(section)?)));
    let (extra_ca_pem, options) = match built {
        Ok(built) => built,
        Err(error) => return report.fail("configuration", error.to_string(), "mend it: docs/configuration.md"),
    };
    let seams = match Seams::system(&HttpOptions { extra_ca_pem }) {
        Ok(seams) => seams,
        Err(error) => return report.fail("configuration", error.to_string(), "check cloud.ca_file: PEM, and readable"),
    };
    report.ok("configuration", command.config.as_ref().map_or("from variables".to_owned(), |file| file.display().to_string()));
    let begun_ms = seams.clock.wall_ms();
    let timeout = options.timeout;
    let tokens = Arc::new(TokenSource::new(options, seams.http.clone(), seams.clock.clone()));
    let session = Session::new(seams.http.clone(), tokens.clone(), seams.clock.clone(), config.node.id);
    let cloud = Cloud::new(session.with_timeout(timeout));
    let rows = with_progress("the cluster", cluster(globals, &config, &tokens, &seams, report)).await;
    let rows = rows.as_ref().map(|rows| rows as &dyn doctor::Rows);
    with_progress("the cloud", doctor::examine(&cloud, seams.clock.as_ref(), begun_ms, rows, report)).await;
}

const REACH: &str = "is a majority of the nodes up? --endpoint HOST:PORT names a member; with TLS its certificate must name that host, \
                     and --ca-file who signed it; without, --plain";

/// What the cluster says of itself, if a member answers.
async fn cluster(globals: &Globals, config: &Config, tokens: &TokenSource, seams: &Seams, report: &mut Report) -> Option<Rows> {
    let client = match client(globals, config, tokens).await {
        Ok(client) => client,
        Err((failure, next)) => {
            report.fail("cluster", failure, next);
            return None;
        }
    };
    let status = match client.cluster_status().await {
        Ok(status) => status,
        Err(error) => {
            report.fail("cluster", error.to_string(), REACH);
            return None;
        }
    };
    let members = status.members.len();
    match (&status.leader, &status.clock_problem) {
        (_, Some(problem)) => {
            report.fail("cluster", problem.clone(), "look at the nodes' clocks, then: leasehold cluster status")
        }
        (None, None) => report.fail("cluster", format!("{members} members, and no leader"), "leasehold cluster status"),
        (Some(leader), None) => report.ok("cluster", format!("{members} members, node {leader} leads, clocks agree")),
    }
    let Some(Ok(cluster_id)) = status.cluster_id.as_deref().map(str::parse) else {
        report.fail("cluster", "it is not initialised", "leasehold cluster init");
        return None;
    };
    Some(Rows { client, cluster_id, clock: seams.clock.clone() })
}

/// A client of the cluster with a token; otherwise what is in the way, and the next step.
async fn client(globals: &Globals, config: &Config, tokens: &TokenSource) -> Result<Client, (String, &'static str)> {
    let globals = Globals { deadline: globals.deadline.min(CLUSTER_DEADLINE_S), ..globals.clone() };
    let told = |failure: Failure| (failure.to_string(), REACH);
    let trusted = way::trusted(&globals, config).map_err(told)?;
    let tls = trusted.is_some();
    let endpoints = way::endpoints(&globals, config, tls);
    let builder = builder(&globals, &endpoints, trusted);
    let own = globals.token.is_some() || std::env::var_os("OS_AUTH_URL").is_some_and(|url| !url.is_empty());
    let builder = if own || config.auth.mode == AuthMode::Noauth {
        with_tokens(builder, &globals, read_ca_file(&globals).map_err(told)?).map_err(told)?
    } else {
        // The doctor comes as the service user, who is an admin and whose token nobody else must see.
        if let Some(address) = way::in_clear_text(&endpoints, tls) {
            let seen = format!("not asked: the service user's token is not sent to {address} in clear text");
            return Err((seen, "give --token or --ca-file"));
        }
        let no_token = |_| ("not asked: the service user has no token".to_owned(), "see keystone: token, or give --token");
        let token = tokens.token().await.map_err(no_token)?;
        builder.tokens(FixedToken(token.token.reveal().to_owned())).only_named()
    };
    builder.build().map_err(|error| told(error.into()))
}

/// Leases that are asked for at a time.
const PAGE: u32 = 1_000;

/// The cluster's rows, by its public contract.
struct Rows {
    client: Client,
    cluster_id: Uuid,
    clock: Arc<dyn Clock>,
}

#[async_trait]
impl doctor::Rows for Rows {
    async fn read(&self) -> Result<Ledger, String> {
        let read = async {
            let hosts = self.client.list_hosts(Default::default()).await?.value;
            // Page by page, as all that ever ended are among them. By id, so that what goes meanwhile leaves no gap.
            let mut leases = Vec::new();
            loop {
                let after = leases.last().map(|lease: &Lease| lease.id);
                let page = LeaseFilter { after, limit: Some(PAGE), ..LeaseFilter::default() };
                let page = self.client.list_leases(page).await?.value;
                let is_last = page.len() < PAGE as usize;
                leases.extend(page);
                if is_last {
                    return Ok((hosts, leases));
                }
            }
        };
        let (hosts, leases) = read.await.map_err(|error: Error| error.to_string())?;
        let now = Timestamp(self.clock.wall_ms()).floor_to_second();
        Ok(Ledger { cluster_id: self.cluster_id, hosts, leases, now })
    }
}

fn as_table(report: &Report) -> String {
    let row = |check: &doctor::Check| vec![check.verdict.as_str().to_owned(), check.subject.clone(), check.seen.clone()];
    let mut text = table(&["", "check", "seen"], report.checks.iter().map(row).collect(), "Nothing was checked.");
    let mut steps = report.checks.iter().filter_map(|check| Some((check, check.next.as_ref()?))).peekable();
    if steps.peek().is_some() {
        text.push_str("\n\nNext steps:");
        for (check, next) in steps {
            text.push_str(&format!("\n  {} {}: {next}", check.verdict.as_str(), check.subject));
        }
    }
    text
}
