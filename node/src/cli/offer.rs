//! `leasehold offer …`: capacity that is held until it is claimed.

use clap::{Args, Subcommand};
use leasehold_client::{Error, LeaseFilter, NewLease, RefusalKind};
use leasehold_ledger::command::{OfferWish, StartWish};
use leasehold_ledger::model::{Lease, LeaseId, Seconds};
use serde_json::json;

use super::lease::args::wish;
use super::lease::{Create, repeated};
use super::listing::{Leases, more};
use super::output::{lease_details, lease_json, offer_table};
use super::time::{self, When};
use super::wait::with_progress;
use super::{Failure, Session};

pub(super) const EXAMPLES: &str = "\
An offer holds capacity for you while you make up your mind: nobody else gets it, nothing is made in the cloud, and it goes
by itself if you do nothing. Claim it and it is a lease.

Examples:
  Hold twenty servers for Friday; decide within two hours:
    leasehold offer create exam --valid +2h --start '2026-11-27 08:00' --end +4h --vcpus 4 --memory-mb 8192 --amount 20
  What is held, and until when:
    leasehold offer list
  The ten that begin next, from tomorrow on:
    leasehold offer list --from +1d --sort start --limit 10
  Take it:
    leasehold offer claim exam
  Or give it back before its time:
    leasehold offer drop exam";

/// Offers.
#[derive(Subcommand, Clone, Debug)]
pub enum OfferCommand {
    /// Hold capacity until it is claimed; takes all that `lease create` takes
    Create(Box<CreateOffer>),
    /// Offers that were not claimed, filtered, sorted, page by page (an admin sees those of all projects)
    List(Box<Leases>),
    /// Show one offer
    Show {
        /// UUID or name
        offer: String,
    },
    /// Make an offer a lease; harmless when repeated by its UUID
    Claim {
        /// UUID or name
        offer: String,
    },
    /// Give an offer's capacity back before it expires
    Drop {
        /// UUID or name
        offer: String,
    },
}

/// `offer create`
#[derive(Args, Clone, Debug)]
pub struct CreateOffer {
    /// How long it stands: +2h (from now) or a UTC date, by its start at the latest
    #[arg(long, value_name = "UNTIL", value_parser = time::parse)]
    valid: When,
    #[command(flatten)]
    lease: Create,
}

pub(super) async fn run(command: OfferCommand, session: &Session) -> Result<(), Failure> {
    let (client, output) = (&session.client, session.output);
    match command {
        OfferCommand::Create(create) => {
            let (key, now) = session.key_and_now();
            let wish = wish_of(*create, now)?;
            let lease = with_progress("the offer to be booked", client.create_lease(key, wish)).await?.value;
            output.print(lease_json(&lease), || lease_details(&lease))?;
        }
        OfferCommand::List(asked) => {
            let filter = listed(*asked, session.key_and_now().1)?;
            let limit = filter.limit;
            let offers = with_progress("the list", client.list_leases(filter)).await?.value;
            let more = || more(limit, offers.len(), offers.last().map(|offer| offer.id.to_string()));
            output.print(offers.iter().map(lease_json).collect(), || offer_table(&offers) + &more())?;
        }
        OfferCommand::Show { offer } => {
            let lease = find(session, &offer).await?;
            output.print(lease_json(&lease), || lease_details(&lease))?;
        }
        OfferCommand::Claim { offer } => {
            let id = named(session, &offer).await?;
            let lease = with_progress("the claim", client.claim_offer(session.key(), id)).await?.value;
            output.print(lease_json(&lease), || lease_details(&lease))?;
        }
        OfferCommand::Drop { offer } => {
            let id = to_drop(session, &offer).await?;
            let answer = with_progress("the capacity to be free", client.delete_lease(session.key(), id)).await?;
            let dropped = json!({ "dropped": id.to_string(), "ledger_index": answer.ledger_index });
            output.print(dropped, || format!("Offer {id} is dropped."))?;
        }
    }
    Ok(())
}

/// Which offers `offer list` asks for.
pub(super) fn listed(asked: Leases, now: Seconds) -> Result<LeaseFilter, Failure> {
    Ok(LeaseFilter { offers: true, ..asked.filter(now)? })
}

/// What `offer create` asks for.
pub(super) fn wish_of(create: CreateOffer, now: Seconds) -> Result<NewLease, Failure> {
    let CreateOffer { valid, lease } = create;
    if lease.what_if {
        let text = "--what-if: an offer is booked; ask with leasehold lease create --what-if";
        return Err(Failure::Usage(text.to_owned()));
    }
    if lease.hosts.is_some() {
        let text = "--hosts: whole hosts cannot be offered yet; ask whether there would be any with leasehold lease create --hosts … --what-if";
        return Err(Failure::Usage(text.to_owned()));
    }
    if lease.repeat.recurrence().is_some() {
        return Err(Failure::Usage("--repeat: a series cannot be an offer; book it with leasehold lease create".to_owned()));
    }
    let wish = wish(lease, now)?;
    if wish.start == StartWish::Now {
        let text = "--start: an offer stands until its start at most, so that it cannot start now; say a later start, or leave it open with --earliest";
        return Err(Failure::Usage(text.to_owned()));
    }
    Ok(NewLease { offer: Some(OfferWish::Until(until(valid, now)?)), ..wish })
}

/// A date, from now on: the same one when the command is repeated under its key.
fn until(valid: When, now: Seconds) -> Result<Seconds, Failure> {
    match valid {
        When::After(seconds) => Ok(now.plus(seconds)),
        When::At(second) => Ok(second),
        When::Now | When::Never => {
            Err(Failure::Usage("--valid: say how long the offer is to stand, as in +2h, or until when: a date".to_owned()))
        }
    }
}

/// The id that is meant, also by a name that the command had removed before it was repeated.
async fn named(session: &Session, offer: &str) -> Result<LeaseId, Failure> {
    match offer.parse() {
        Ok(id) => Ok(id),
        Err(_) => Ok(repeated(session, find(session, offer).await).await?.id()),
    }
}

/// The id of what is to be dropped: a lease, claimed or never offered, is not deleted by this name.
async fn to_drop(session: &Session, offer: &str) -> Result<LeaseId, Failure> {
    let id = named(session, offer).await?;
    match session.client.get_lease(id).await {
        Ok(found) if found.value.unclaimed_until().is_none() => {
            Err(Failure::Name(format!("{id} is a lease and no offer any more; to delete it: leasehold lease delete {id}")))
        }
        Ok(_) => Ok(id),
        // The deletion tells it, or what it did when this command was given before.
        Err(Error::Refused(refusal)) if refusal.kind == RefusalKind::NotFound => Ok(id),
        Err(error) => Err(error.into()),
    }
}

/// By UUID, or by name among the offers.
async fn find(session: &Session, offer: &str) -> Result<Lease, Failure> {
    if let Ok(id) = offer.parse() {
        return Ok(session.client.get_lease(id).await?.value);
    }
    let filter = LeaseFilter { offers: true, ..LeaseFilter::default() };
    let mut found = session.client.list_leases(filter).await?.value;
    found.retain(|known| known.name == offer);
    match found.len() {
        0 => Err(Failure::Name(format!("no offer is called '{offer}'; see: leasehold offer list"))),
        1 => Ok(found.swap_remove(0)),
        _ => {
            let ids: Vec<String> = found.iter().map(|lease| lease.id.to_string()).collect();
            Err(Failure::Name(format!("several offers are called '{offer}'; name one by its id: {}", ids.join(", "))))
        }
    }
}
