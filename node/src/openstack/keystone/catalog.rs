//! Which URL a service is called at.

use super::documents::CatalogService;
use super::{Error, KeystoneOptions, Service};

/// The endpoint of `service`: the configured one, else the catalog's for region and interface. No slash at its end.
pub(super) fn endpoint(options: &KeystoneOptions, catalog: &[CatalogService], service: Service) -> Result<String, Error> {
    if let Some(configured) = options.endpoints.get(&service) {
        return Ok(configured.trim_end_matches('/').to_owned());
    }
    catalog
        .iter()
        .filter(|entry| entry.service_type == service.catalog_type())
        .flat_map(|entry| &entry.endpoints)
        .find(|endpoint| {
            endpoint.interface == options.interface.as_str() && (options.region.is_none() || options.region == endpoint.region_id)
        })
        .map(|endpoint| endpoint.url.trim_end_matches('/').to_owned())
        .ok_or_else(|| Error::NoEndpoint {
            service_type: service.catalog_type(),
            interface: options.interface.as_str(),
            region: options.region.clone().unwrap_or_else(|| "any region".to_owned()),
        })
}
