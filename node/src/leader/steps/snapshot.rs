//! `on_end: snapshot`: image active → given to the tenant's project → seen as his → then the server goes (D25).
//!
//! Every createImage makes another image, so the image carries the reservation's id as a property and is looked for
//! before one is asked for; an ask whose answer was lost is waited for before it is repeated.

use std::collections::BTreeMap;
use std::time::Duration;

use super::sendings::Kind;
use super::{Job, Memory, Setback, end, park, reason_of};
use crate::leader::names::IMAGE_MARK;
use crate::openstack::CloudError;
use crate::openstack::glance::Image;
use crate::openstack::nova::Server;

/// So long an image that was asked for may take to be seen before it is asked for again.
const SEEN_WITHIN: Duration = Duration::from_secs(10);

/// Moves every server one step towards imaged and gone. `Ok` when none is left.
pub async fn snapshot_all(job: &Job<'_>, memory: &mut Memory, servers: &[&Server]) -> Result<(), Setback> {
    // A shelved server is its own image: it stays, and its shelf is given to the tenant, who can do as he likes.
    let shelves = park::give_shelves(job, memory, servers).await;
    let there: Vec<&Server> = servers.iter().copied().filter(|server| !server.is_gone() && !server.is_parked()).collect();
    if there.is_empty() {
        return shelves;
    }
    let images = job.cloud.glance().images_marked(IMAGE_MARK, &job.reservation.id.to_string()).await?;
    let mut done = Vec::new();
    // One server that cannot be imaged must not keep the others.
    let mut result = shelves;
    for server in there {
        let image = image_of(&images, server);
        memory
            .images
            .insert(server.id.clone(), image.map(|image| format!("{}{:?}", image.status, image.owner)).unwrap_or_default());
        let step = match image {
            // Nova shows the upload for a moment after the image is active; the server waits for that.
            Some(image) if is_given(image, server) => {
                if server.task_state.is_none() || server.task_state.as_deref() == Some("deleting") {
                    done.push(server);
                }
                Ok(())
            }
            Some(image) if image.status == "active" => {
                let given = job.cloud.glance().give(&job.errand, &image.id, &server.tenant_id).await;
                given.map(drop).map_err(Setback::from)
            }
            Some(_) => Ok(()),
            None if has_nothing_to_keep(server) => {
                done.push(server);
                Ok(())
            }
            None => ask(job, memory, server).await,
        };
        if let Err(Setback::Cloud(CloudError::Withheld(why))) = step {
            return Err(CloudError::Withheld(why).into());
        }
        result = result.and(step);
    }
    if !done.is_empty() {
        end::delete(job, memory, &done).await?;
    }
    result.and(Err(Setback::poll()))
}

/// The image made of a server at this end: the oldest that is not broken.
fn image_of<'a>(images: &'a [Image], server: &Server) -> Option<&'a Image> {
    images
        .iter()
        .filter(|image| image.instance_uuid.as_deref() == Some(server.id.as_str()))
        .filter(|image| matches!(image.status.as_str(), "active" | "queued" | "saving" | "importing" | "uploading"))
        .min_by(|a, b| (&a.created_at, &a.id).cmp(&(&b.created_at, &b.id)))
}

fn is_given(image: &Image, server: &Server) -> bool {
    image.is_listed_for(&server.tenant_id)
}

/// It never ran, or Nova can make no image of it.
fn has_nothing_to_keep(server: &Server) -> bool {
    server.status == "ERROR" && server.task_state.is_none()
}

/// Asks for an image, if the server is in a state that allows one.
async fn ask(job: &Job<'_>, memory: &mut Memory, server: &Server) -> Result<(), Setback> {
    let imageable = matches!(server.status.as_str(), "ACTIVE" | "SHUTOFF" | "PAUSED" | "SUSPENDED");
    if !imageable || server.task_state.is_some() {
        return Ok(());
    }
    if !memory.sent.may_send(Kind::Image, &server.id, job.work.clock.mono(), SEEN_WITHIN) {
        return Ok(());
    }
    job.unfenced_right().await?;
    let permit = job.unfenced();
    let errand = job.errand.under(&permit);
    let properties = BTreeMap::from([(IMAGE_MARK.to_owned(), job.reservation.id.to_string())]);
    let name = format!("{}-{}", server.name, &job.reservation.id.to_string()[..8]);
    let nova = job.cloud.nova();
    let call = nova.create_image(&errand, &server.id, &name, &properties);
    match memory.sent.send(job, Kind::Image, &server.id, call).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_conflict() || error.is_not_found() => Ok(()),
        // The look tells whether it was made.
        Err(error @ (CloudError::NoAnswer { .. } | CloudError::Decode { .. })) => {
            tracing::warn!(server = server.id, %error, "createImage gave no answer; looking for the image");
            Ok(())
        }
        Err(error) => {
            memory.refusals.insert(server.id.clone(), reason_of(&error));
            Err(error.into())
        }
    }
}
