//! The commands of `leasehold` that talk to a cluster: leases, hosts, the cluster itself. They go through
//! `leasehold_client`, as every other client does. Must not know: what is inside a node.
//!
//! Exit codes: 0 done · 1 refused, nothing was changed (`doctor`: something failed) · 2 the command or its setting is no good · 3 no server was reached,
//! or the outcome is not known. Read next: `lease.rs`.

mod capacity;
mod cluster;
mod doctor;
mod downtime;
mod host;
mod keystone;
mod lease;
mod listing;
mod offer;
mod output;
mod quota;
mod series;
mod time;
mod upgrade;
mod wait;
mod way;
mod whole_hosts;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use leasehold_client::{Builder, Client, Error, FixedToken, Key, NoRoom, Preempts, RefusalKind, TlsOptions};
use leasehold_ledger::model::{Seconds, Timestamp};

use output::Output;

use crate::config::Secret;

/// For how long the keys made here are valid. Part of what a printed key means ([`made_at`]), so it stays as it is.
const KEY_VALIDITY: Duration = Duration::from_secs(600);

/// Where a member is looked for unless another is named.
const DEFAULT_ENDPOINT: &str = "127.0.0.1:1235";

/// What every command takes.
#[derive(Args, Clone, Debug)]
pub struct Globals {
    /// gRPC address of a member, host:port; any of them will do, several are safer
    #[arg(
        long = "endpoint",
        global = true,
        value_name = "HOST:PORT",
        env = "LEASEHOLD_ENDPOINTS",
        value_delimiter = ',',
        default_value = DEFAULT_ENDPOINT
    )]
    endpoints: Vec<String>,
    /// How to print
    #[arg(long, short, global = true, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// Keystone token. Without one it is got from OS_AUTH_URL with OS_USERNAME and OS_PASSWORD, or with
    /// OS_APPLICATION_CREDENTIAL_ID and OS_APPLICATION_CREDENTIAL_SECRET
    #[arg(long, global = true, env = "OS_TOKEN", hide_env_values = true, value_parser = secret)]
    token: Option<Secret>,
    /// Certificates (PEM) of who signed the members' certificates; with it addresses mean TLS
    #[arg(long, global = true, value_name = "FILE", env = "OS_CACERT")]
    ca_file: Option<PathBuf>,
    /// Do not use TLS towards the members even though --ca-file (which then is for Keystone only) is given
    #[arg(long, global = true)]
    plain: bool,
    /// Give up after so many seconds
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 60)]
    deadline: u64,
    /// Idempotency key of an earlier attempt, to repeat it safely (printed when an outcome is not known)
    #[arg(long, global = true, value_name = "UUID@MS", value_parser = parse_key)]
    key: Option<Key>,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// For programs: one JSON document, or one per line where there is no end.
    Json,
}

/// The commands.
#[derive(Subcommand, Clone, Debug)]
pub enum ClientCommand {
    /// Reserve servers for a time, see and change reservations
    #[command(subcommand, after_help = lease::EXAMPLES)]
    Lease(lease::LeaseCommand),
    /// Hold servers for a time before you decide: claim them, drop them, or let them go
    #[command(subcommand, after_help = offer::EXAMPLES)]
    Offer(offer::OfferCommand),
    /// What is free, when, and how many fit
    #[command(subcommand, after_help = capacity::EXAMPLES)]
    Capacity(capacity::CapacityCommand),
    /// What a project may have in time, and what it has
    #[command(subcommand, after_help = quota::EXAMPLES)]
    Quota(quota::QuotaCommand),
    /// Compute hosts that reservations may use (admins)
    #[command(subcommand, after_help = host::EXAMPLES)]
    Host(host::HostCommand),
    /// The cluster of nodes itself (admins)
    #[command(subcommand, after_help = cluster::EXAMPLES)]
    Cluster(cluster::ClusterCommand),
    /// Check what the promise stands on: configuration, cloud, hosts; says what to do next (operators)
    #[command(after_help = doctor::EXAMPLES)]
    Doctor(doctor::Doctor),
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The call failed.
    #[error("{0}")]
    Call(#[from] Error),
    /// The command is no good; says what would be.
    #[error("{0}")]
    Usage(String),
    /// Nothing of this name, or several.
    #[error("{0}")]
    Name(String),
    /// The answer cannot be printed.
    #[error("cannot print: {0}")]
    Print(#[from] std::io::Error),
}

/// Runs a command and says on standard error what went wrong and what to do next.
pub async fn run(command: ClientCommand, globals: Globals) -> ExitCode {
    let ended = async {
        let session = || Session::new(&globals);
        match command {
            ClientCommand::Lease(command) => return lease::run(command, &session()?).await,
            ClientCommand::Offer(command) => offer::run(command, &session()?).await?,
            ClientCommand::Capacity(command) => capacity::run(command, &session()?).await?,
            ClientCommand::Quota(command) => quota::run(command, &session()?).await?,
            ClientCommand::Host(command) => host::run(command, &session()?).await?,
            ClientCommand::Cluster(command) => cluster::run(command, &session()?).await?,
            ClientCommand::Doctor(command) => return doctor::run(command, &globals).await,
        }
        Ok(ExitCode::SUCCESS)
    };
    match ended.await {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("leasehold: {failure}");
            if let Some(next) = next_step(&failure) {
                eprintln!("{next}");
            }
            ExitCode::from(exit_code(&failure))
        }
    }
}

fn exit_code(failure: &Failure) -> u8 {
    match failure {
        Failure::Call(Error::Refused(_) | Error::BadAnswer(_)) | Failure::Name(_) => 1,
        Failure::Usage(_) | Failure::Call(Error::Setup(_)) => 2,
        Failure::Call(Error::Unavailable { .. } | Error::OutcomeUnknown { .. } | Error::Token(_)) | Failure::Print(_) => 3,
    }
}

fn next_step(failure: &Failure) -> Option<String> {
    match failure {
        Failure::Call(Error::Refused(refusal)) => match (refusal.kind, &refusal.offer) {
            (_, Some(offer)) => {
                let no_room = NoRoom {
                    largest_amount: offer.largest_amount,
                    next_start: offer.next_start(),
                    next_end: offer.next_end(),
                    latest_end: offer.latest_end(),
                    preempts: Preempts { count: offer.preempts, ..Preempts::default() },
                    staging: offer.staging,
                    ..NoRoom::default()
                };
                what_to_try("--amount", &no_room)
            }
            (RefusalKind::Unauthenticated, None) => Some(
                "Give --token (OS_TOKEN), or OS_AUTH_URL with OS_USERNAME, OS_PASSWORD and OS_PROJECT_NAME, as in an openrc file."
                    .to_owned(),
            ),
            (RefusalKind::Forbidden, None) => {
                Some("The token's user lacks the role, or the lease belongs to another project.".to_owned())
            }
            (
                RefusalKind::Invalid
                | RefusalKind::NotFound
                | RefusalKind::AlreadyExists
                | RefusalKind::Conflict
                | RefusalKind::TooMany
                | RefusalKind::Unimplemented
                | RefusalKind::Internal,
                None,
            ) => None,
        },
        Failure::Call(Error::Unavailable { .. }) => Some(
            "Nothing was done. Does a majority of the nodes run? Name more members: --endpoint HOST:PORT (LEASEHOLD_ENDPOINTS)."
                .to_owned(),
        ),
        Failure::Call(Error::OutcomeUnknown { key: Some(key), .. }) => Some(format!(
            "Repeat the same command with --key {}, which cannot do it twice; or: leasehold lease outcome --key {}",
            show_key(*key),
            show_key(*key)
        )),
        Failure::Call(Error::OutcomeUnknown { key: None, .. }) => Some("See: leasehold cluster status".to_owned()),
        Failure::Call(Error::Token(_)) => Some("Check the OS_* variables: openstack token issue".to_owned()),
        Failure::Call(Error::BadAnswer(_) | Error::Setup(_)) | Failure::Usage(_) | Failure::Name(_) | Failure::Print(_) => None,
    }
}

/// What would fit, as options of `lease create` or `lease update`; `amount` is that of how many.
fn what_to_try(amount: &str, no_room: &NoRoom) -> Option<String> {
    let fewer = (no_room.largest_amount > 0).then(|| format!("{amount} {}", no_room.largest_amount));
    let start = if no_room.staging { "--staging" } else { "--start" };
    let until = |end| format!("--end '{}'", time::utc(end));
    let its_end = no_room.next_end.map(|end| format!(" {}", until(end))).unwrap_or_default();
    let later = no_room.next_start.map(|at| format!("{start} '{}'{its_end}", time::utc(at)));
    let preempt = (no_room.preempts.count > 0).then(|| "--preempt".to_owned());
    let ways: Vec<String> = [fewer, later, no_room.latest_end.map(until), preempt].into_iter().flatten().collect();
    (!ways.is_empty()).then(|| format!("Try: {}", ways.join("   or: ")))
}

/// What a command works with.
struct Session {
    client: Client,
    globals: Globals,
    output: Output,
}

impl Session {
    fn new(globals: &Globals) -> Result<Session, Failure> {
        let client = connect(globals, &globals.endpoints)?;
        Ok(Session { client, globals: globals.clone(), output: Output { json: globals.output == Format::Json } })
    }

    /// A client of one member alone.
    fn member(&self, address: &str) -> Result<Client, Failure> {
        connect(&self.globals, &[address.to_owned()])
    }

    /// The key to send: the one given, or a new one.
    fn key(&self) -> Key {
        self.globals.key.unwrap_or_else(|| self.client.new_key())
    }

    /// The key to send, and what `now` and `+1h` count from.
    ///
    /// That is when the key was made, in its first command as in every repetition: a command that is repeated must ask
    /// for the same times, or it is another request under the same key.
    fn key_and_now(&self) -> (Key, Seconds) {
        let key = self.key();
        (key, made_at(key))
    }
}

fn connect(globals: &Globals, endpoints: &[String]) -> Result<Client, Failure> {
    let ca_pem = read_ca_file(globals)?;
    let builder = builder(globals, endpoints, ca_pem.clone().filter(|_| !globals.plain));
    Ok(with_tokens(builder, globals, ca_pem)?.build()?)
}

#[allow(clippy::disallowed_methods, reason = "a command, not the server")]
fn read_ca_file(globals: &Globals) -> Result<Option<Vec<u8>>, Failure> {
    let Some(path) = &globals.ca_file else { return Ok(None) };
    let pem = std::fs::read(path).map_err(|error| Failure::Usage(format!("--ca-file {}: {error}", path.display())))?;
    Ok(Some(pem))
}

/// A client of these members; with TLS if it is said whom to trust.
fn builder(globals: &Globals, endpoints: &[String], trusted: Option<Vec<u8>>) -> Builder {
    let builder =
        Client::builder(endpoints.iter().cloned()).deadline(Duration::from_secs(globals.deadline)).key_validity(KEY_VALIDITY);
    match trusted {
        Some(ca_pem) => builder.tls(TlsOptions { ca_pem, ..TlsOptions::default() }),
        None => builder,
    }
}

/// With the caller's own token, as the command line or the `OS_*` variables have it.
fn with_tokens(builder: Builder, globals: &Globals, ca_pem: Option<Vec<u8>>) -> Result<Builder, Failure> {
    Ok(match (&globals.token, keystone::from_environment(ca_pem)?) {
        (Some(token), _) => builder.tokens(FixedToken(token.reveal().to_owned())),
        (None, Some(keystone)) => builder.tokens(keystone),
        (None, None) => builder,
    })
}

/// A text that `Debug` must not show.
fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text))
}

/// When a key was made that this command line made, in whole seconds.
fn made_at(key: Key) -> Seconds {
    let validity_ms = u64::try_from(KEY_VALIDITY.as_millis()).unwrap_or(u64::MAX);
    Timestamp(key.valid_until.0.saturating_sub(validity_ms)).floor_to_second()
}

fn show_key(key: Key) -> String {
    format!("{}@{}", key.id, key.valid_until.0)
}

fn parse_key(text: &str) -> Result<Key, String> {
    let wrong = "write it as it was printed: a UUID, @, and milliseconds since 1970";
    let (id, valid_until) = text.split_once('@').ok_or(wrong)?;
    let id = id.parse().map_err(|_| wrong)?;
    Ok(Key { id, valid_until: Timestamp(valid_until.parse().map_err(|_| wrong)?) })
}

#[cfg(test)]
mod tests;
