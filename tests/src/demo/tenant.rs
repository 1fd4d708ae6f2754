//! What a tenant does with one lease: book it, boot early or after the start, and leave the rest to the promise.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use leasehold_client::{Client, NewLease};
use leasehold_ledger::command::{BeforeEndWish, ReservationWish, StagingWish, StartWish};
use leasehold_ledger::model::{InstanceWish, Lease, OnEnd, ResourceWish, Seconds, Stage};

use super::scenario::{LeasePlan, PARK_MARGIN_S, STAGING_END_S};
use crate::audit::{End, Promise};
use crate::cloud::Tenant;
use crate::wait::{until_ms, wall_ms};

/// How often a tenant tries again.
const TRY_AGAIN: Duration = Duration::from_millis(250);

/// The wish of a planned lease; `zero_s` is the second of the first booking.
pub fn wish(plan: &LeasePlan, zero_s: u64) -> Result<NewLease> {
    let second = |after: u64| Seconds::from_unix_s((zero_s + after) as i64).context("a second of the calendar");
    let instance = InstanceWish { pool: Some(plan.pool), ..InstanceWish::anywhere(plan.vcpus, plan.memory_mb, 1, plan.amount) };
    let staging = plan
        .staged
        .then(|| second(STAGING_END_S).map(|end| StagingWish { start: None, end: Some(end), park_margin_s: PARK_MARGIN_S }))
        .transpose()?;
    let on_end = match plan.on_end {
        End::Delete => OnEnd::Delete,
        End::Shelve => OnEnd::Shelve,
        End::Snapshot => OnEnd::Snapshot,
    };
    Ok(NewLease {
        name: plan.name.clone(),
        start: StartWish::At(second(plan.start_s)?),
        end: second(plan.end_s)?,
        before_end: BeforeEndWish::Never,
        offer: None,
        wait: None,
        precedence: Default::default(),
        expiry_s: None,
        ignore_quota: false,
        reservations: vec![ReservationWish {
            resource: ResourceWish::Instance(instance.into()),
            staging,
            on_end,
            servers: Default::default(),
        }],
    })
}

/// The promise that an acknowledgement is.
pub fn promise(plan: &LeasePlan, lease: &Lease) -> Result<Promise> {
    let reservation = lease.reservations.first().context("the reservation")?;
    Ok(Promise {
        name: plan.name.clone(),
        reservation_id: reservation.id.to_string(),
        amount: u64::from(plan.amount),
        start_ms: lease.start.unix_s() * 1000,
        end_ms: lease.end.unix_s() * 1000,
        on_end: plan.on_end,
        staged: Vec::new(),
        booted: Vec::new(),
    })
}

/// Lives with the lease until its servers are booted; answers the promise with their ids.
pub async fn live(client: Client, cloud: Tenant, image: String, plan: LeasePlan, lease: Lease) -> Result<Promise> {
    let mut promise = promise(&plan, &lease)?;
    if plan.staged {
        let window_end = lease.reservations.first().and_then(|known| known.staging).context("the staging window")?.window.end;
        let deadline = window_end.unix_s() * 1000;
        loop {
            let now = client.get_lease(lease.id).await.with_context(|| format!("reading {}", plan.name))?.value;
            if now.reservations.first().is_some_and(|reservation| reservation.stage == Stage::Staging) {
                break;
            }
            if wall_ms() >= deadline {
                bail!("{}: the staging window did not open", plan.name);
            }
            tokio::time::sleep(TRY_AGAIN).await;
        }
        for n in 1..=plan.amount {
            let name = format!("{}-{n}", plan.name);
            promise.staged.push(boot(&cloud, &name, &promise.reservation_id, &image, deadline).await?);
        }
    } else {
        until_ms(promise.start_ms).await;
        let name = format!("{}-1", plan.name);
        promise.booted.push(boot(&cloud, &name, &promise.reservation_id, &image, promise.end_ms - 2_000).await?);
    }
    Ok(promise)
}

/// Boots as soon as the flavor may be used.
async fn boot(cloud: &Tenant, name: &str, flavor: &str, image: &str, deadline_ms: u64) -> Result<String> {
    loop {
        match cloud.boot(name, flavor, image).await? {
            Ok(id) => return Ok(id),
            Err(refusal) if wall_ms() >= deadline_ms => bail!("{name} could not be booted: {refusal}"),
            Err(_) => tokio::time::sleep(TRY_AGAIN).await,
        }
    }
}
