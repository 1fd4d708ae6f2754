//! Images: finding what Nova made for us, and giving it to the tenant (architecture D25).

use http::Method;
use serde::Deserialize;
use serde_json::json;

use super::keystone::Service;
use super::session::{Call, Session};
use super::{CloudError, Errand};

/// An image, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Image {
    /// Identity.
    pub id: String,
    /// Not unique.
    #[serde(default)]
    pub name: Option<String>,
    /// `queued`, `saving`, `active`, `killed`, `deleted`, `pending_delete`, `deactivated`.
    pub status: String,
    /// The project it belongs to.
    #[serde(default)]
    pub owner: Option<String>,
    /// The server it was made of, for snapshots and shelved servers.
    #[serde(default)]
    pub instance_uuid: Option<String>,
    /// When it was made; sorts as text.
    #[serde(default)]
    pub created_at: String,
    /// Left out of everybody's list, its owner's too.
    #[serde(default)]
    pub os_hidden: bool,
    /// Our mark (`leader::names::IMAGE_MARK`): the reservation whose end made it.
    #[serde(rename = "leasehold_end_of", default)]
    pub end_of: Option<String>,
}

impl Image {
    /// Whether a member of the project finds it in his list and can boot from it (architecture D25).
    ///
    /// The service user cannot list as somebody else. What decides is in the image: Glance lists to a project what it *owns*,
    /// whatever the visibility, unless it is hidden; an image of another project is listed by accepted membership only, and
    /// Nova leaves it pending (recorded exchanges 101 to 111: found by id but not listed before the owner changed, listed
    /// after, with its visibility still `shared` and without a member). So visibility and membership are not asked: they
    /// never suffice here, and an owner needs neither.
    #[must_use]
    pub fn is_listed_for(&self, project_id: &str) -> bool {
        self.status == "active" && self.owner.as_deref() == Some(project_id) && !self.os_hidden
    }
}

/// Calls to Glance.
#[derive(Clone, Copy)]
pub struct Glance<'a> {
    session: &'a Session,
}

impl<'a> Glance<'a> {
    pub(super) fn new(session: &'a Session) -> Self {
        Self { session }
    }

    /// Images made of this server, snapshots and shelves alike.
    ///
    /// # Errors
    /// See [`CloudError`].
    pub async fn images_of_server(&self, server_id: &str) -> Result<Vec<Image>, CloudError> {
        self.list(&format!("/v2/images?instance_uuid={server_id}")).await
    }

    /// Images with this value of one of our properties.
    ///
    /// # Errors
    /// See [`CloudError`].
    pub async fn images_marked(&self, property: &str, value: &str) -> Result<Vec<Image>, CloudError> {
        self.list(&format!("/v2/images?{property}={value}")).await
    }

    /// Images that a project owns.
    ///
    /// # Errors
    /// See [`CloudError`].
    pub async fn images_of_project(&self, project_id: &str) -> Result<Vec<Image>, CloudError> {
        self.list(&format!("/v2/images?owner={project_id}")).await
    }

    async fn list(&self, path: &str) -> Result<Vec<Image>, CloudError> {
        #[derive(Deserialize)]
        struct Page {
            images: Vec<Image>,
            next: Option<String>,
        }
        let mut images = Vec::new();
        let mut path = Some(path.to_owned());
        while let Some(at) = path.take() {
            let page: Page = self.session.read(Call::new(Service::Glance, Method::GET, at).slow()).await?.json()?;
            images.extend(page.images);
            path = page.next;
        }
        Ok(images)
    }

    /// One image; `None` when it is not there.
    ///
    /// # Errors
    /// See [`CloudError`].
    pub async fn image(&self, id: &str) -> Result<Option<Image>, CloudError> {
        let call = Call::new(Service::Glance, Method::GET, format!("/v2/images/{id}"));
        match self.session.read(call).await {
            Ok(answer) => answer.json().map(Some),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Gives an image to a project. Safe to repeat.
    ///
    /// # Errors
    /// See [`CloudError`].
    pub async fn give(&self, errand: &Errand<'_>, id: &str, project_id: &str) -> Result<Image, CloudError> {
        let call = Call::new(Service::Glance, Method::PATCH, format!("/v2/images/{id}"))
            .content_type("application/openstack-images-v2.1-json-patch")
            .body(json!([{"op": "replace", "path": "/owner", "value": project_id}]));
        self.session.write(errand, call).await?.json()
    }

    /// Deletes an image; one that is not there is done.
    ///
    /// # Errors
    /// See [`CloudError`].
    pub async fn delete(&self, errand: &Errand<'_>, id: &str) -> Result<(), CloudError> {
        let call = Call::new(Service::Glance, Method::DELETE, format!("/v2/images/{id}"));
        match self.session.write(errand, call).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::Value;

    use super::*;

    fn image(changes: Value) -> Image {
        let mut body = json!({"id": "i", "status": "active", "owner": "tenant", "visibility": "shared", "os_hidden": false});
        body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        serde_json::from_value(body).unwrap()
    }

    #[test]
    fn an_image_is_in_the_tenants_list_when_it_is_his_active_and_not_hidden() {
        assert!(image(json!({})).is_listed_for("tenant"));
        assert!(image(json!({"visibility": "private"})).is_listed_for("tenant"));
        assert!(!image(json!({"owner": "service"})).is_listed_for("tenant"));
        assert!(!image(json!({"status": "saving"})).is_listed_for("tenant"));
        assert!(!image(json!({"os_hidden": true})).is_listed_for("tenant"));
    }
}
