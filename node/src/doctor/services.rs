//! Nova and Placement: are they new enough, do they answer, do their clocks agree with ours?

use super::Report;
use crate::openstack::Cloud;
use crate::openstack::keystone::Service;
use crate::seams::Clock;

/// Clocks may differ by so much, ms. Nothing of ours is stamped by the cloud's clock, but operators compare logs, and tenants
/// their own clock with the lease's start.
const APART_MS_MAX: u64 = 5_000;

pub(super) async fn examine(cloud: &Cloud, clock: &dyn Clock, report: &mut Report) {
    for service in [Service::Nova, Service::Placement] {
        let before = clock.wall_ms();
        let offered = cloud.offered(service).await;
        let after = clock.wall_ms();
        let subject = format!("{service}: microversion");
        let offered = match offered {
            Ok(offered) => offered,
            Err(error) => {
                report.no_answer(&subject, &error);
                continue;
            }
        };
        let seen = format!("{} is used, {} to {} are offered", offered.pinned, offered.least, offered.most);
        if offered.suffices() {
            report.ok(&subject, seen);
        } else {
            report.fail(&subject, seen, "this release of the service is not supported: see README.md for those that are");
        }
        let subject = format!("{service}: clock");
        match offered.date_ms {
            None => report.skip(&subject, "its answers carry no Date; Keystone's clock stands for it"),
            Some(date_ms) => compare_clocks(&subject, date_ms, before, after, report),
        }
    }
}

/// Notes how a clock of the cloud, of whole seconds, that was read between two looks at ours agrees with it.
pub(super) fn compare_clocks(subject: &str, shown_ms: u64, before_ms: u64, after_ms: u64, report: &mut Report) {
    match apart_ms(shown_ms, before_ms, after_ms) {
        ..=APART_MS_MAX => report.ok(subject, "agrees with this machine's to a few seconds"),
        apart => report.warn(
            subject,
            format!("{} s away from this machine's", apart / 1000),
            "look at NTP on both sides: starts and ends follow the cluster's clock, not the cloud's",
        ),
    }
}

/// How far a clock that shows whole seconds is away from an interval of ours, at least.
fn apart_ms(date_ms: u64, before_ms: u64, after_ms: u64) -> u64 {
    before_ms.saturating_sub(date_ms + 999).max(date_ms.saturating_sub(after_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_of_whole_seconds_is_apart_only_by_what_is_certain() {
        assert_eq!(apart_ms(10_000, 10_999, 11_200), 0);
        assert_eq!(apart_ms(10_000, 12_999, 13_000), 2_000);
        assert_eq!(apart_ms(15_000, 10_000, 11_000), 4_000);
    }
}
