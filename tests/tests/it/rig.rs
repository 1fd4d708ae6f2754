//! What most tests start with.

use std::collections::BTreeMap;
use std::time::Duration;

use leasehold_client::command::{BeforeEndWish, ReservationWish, StartWish};
use leasehold_client::model::{InstanceWish, OnEnd, PoolKind, ResourceWish, Seconds};
use leasehold_client::{Client, NewHost, NewLease};
use leasehold_tests::caller;
use leasehold_tests::cloud::{CloudProcess, CloudSettings};
use leasehold_tests::cluster::Cluster;
use leasehold_tests::settings::{Auth, Settings, Timing};
use leasehold_tests::wait::wall_ms;

/// How long anything in a test may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Three nodes and a simulated cloud with so many dedicated hosts registered; everybody is an admin.
pub struct Rig {
    pub cluster: Cluster,
    pub cloud: CloudProcess,
    pub client: Client,
}

/// See [`Rig`].
pub async fn rig(hosts: u32) -> Rig {
    rig_with(hosts, Auth::Noauth, Timing::default()).await
}

/// As [`rig`], with Keystone and another timing.
pub async fn rig_with(hosts: u32, auth: Auth, timing: Timing) -> Rig {
    // One at least, for tests that register hosts themselves.
    on(CloudSettings { hosts: hosts.max(1), ..CloudSettings::default() }, hosts, auth, timing, "").await
}

/// As [`rig`], with more sections of the configuration, as TOML.
pub async fn rig_set(hosts: u32, more: &str) -> Rig {
    let cloud = CloudSettings { hosts: hosts.max(1), ..CloudSettings::default() };
    on(cloud, hosts, Auth::Noauth, Timing::default(), more).await
}

/// As [`rig_with`], on a cloud that is made as is said, with all of its hosts.
pub async fn rig_on(cloud: CloudSettings, auth: Auth, timing: Timing) -> Rig {
    let hosts = cloud.hosts;
    on(cloud, hosts, auth, timing, "").await
}

async fn on(cloud: CloudSettings, hosts: u32, auth: Auth, timing: Timing, more: &str) -> Rig {
    let cloud = CloudProcess::start(&cloud).await.unwrap();
    let admin = match auth {
        Auth::Noauth => None,
        Auth::Keystone => Some(cloud.tenant("admin").await.unwrap()),
    };
    let token = admin.as_ref().map(|admin| admin.token());
    let settings =
        Settings { auth, auth_url: Some(cloud.auth_url().to_owned()), timing, more: more.to_owned(), ..Settings::default() };
    let cluster = Cluster::start(settings, token).await.unwrap();
    let client = caller::connect(&cluster, token).unwrap();
    for n in 1..=hosts {
        let host = NewHost { name: format!("cmp{n}"), pool: PoolKind::Dedicated, properties: BTreeMap::new() };
        client.register_host(client.new_key(), host).await.unwrap();
    }
    Rig { cluster, cloud, client }
}

/// A cluster without a cloud.
pub async fn bare(timing: Timing) -> (Cluster, Client) {
    let cluster = Cluster::start(Settings { timing, ..Settings::default() }, None).await.unwrap();
    let client = caller::connect(&cluster, None).unwrap();
    (cluster, client)
}

/// A second so many seconds from now.
pub fn from_now(seconds: u64) -> Seconds {
    Seconds::from_unix_s((wall_ms() / 1000 + seconds) as i64).unwrap()
}

/// One small instance from `start` to `end`.
pub fn wish(name: &str, start: Seconds, end: Seconds) -> NewLease {
    let instance = InstanceWish::anywhere(1, 1024, 1, 1);
    NewLease {
        name: name.to_owned(),
        start: StartWish::At(start),
        end,
        before_end: BeforeEndWish::Never,
        offer: None,
        wait: None,
        precedence: Default::default(),
        expiry_s: None,
        ignore_quota: false,
        reservations: vec![ReservationWish {
            resource: ResourceWish::Instance(instance.into()),
            staging: None,
            on_end: OnEnd::Delete,
            servers: Default::default(),
        }],
    }
}

/// A lease of one small instance that starts tomorrow.
pub fn tomorrow(name: &str) -> NewLease {
    wish(name, from_now(86_400), from_now(90_000))
}

/// A lease without reservations that starts tomorrow: needs no hosts.
pub fn empty(name: &str) -> NewLease {
    NewLease { reservations: Vec::new(), ..tomorrow(name) }
}
