//! Faults of every kind that strike nodes, their links, clocks and disks, and the cloud, drawn one by one.

use super::{CloudFault, Draw, Fault, Planned, Target, Way};

/// Kinds of faults that a simulated run may have; each seed switches some of them on.
pub(super) const KINDS: u64 = 16;

/// Faults one after the other, of kinds among `on`, with pauses within `pauses` (milliseconds). Each is drawn from a stream of its own,
/// its number beyond that of `streams`: one more draw in one does not move the next.
pub(super) fn in_turn(
    draw: &mut Draw,
    (seed, streams): (u64, u64),
    (quickest, slowest): (u64, u64),
    until_ms: u64,
    on: &[u64],
    mut fault: impl FnMut(u64, &mut Draw) -> Fault,
) -> Vec<Planned> {
    let mut faults = Vec::new();
    let mut at_ms = draw.between(quickest, slowest);
    while !on.is_empty() && at_ms < until_ms {
        let mut one = Draw::new(seed, streams + faults.len() as u64 + 1);
        let kind = on[one.below(on.len())];
        faults.push(Planned { at_ms, fault: fault(kind, &mut one) });
        at_ms += draw.between(quickest, slowest);
    }
    faults
}

pub(super) fn target(draw: &mut Draw, nodes: u32) -> Target {
    match draw.below(3) {
        0 => Target::Leader,
        _ => Target::Node(u32::try_from(draw.between(0, u64::from(nodes))).unwrap_or(0)),
    }
}

/// A fault of a kind, its target, length and the rest drawn.
pub(super) fn fault(kind: u64, draw: &mut Draw, nodes: u32, hosts: u32) -> Fault {
    let target = target(draw, nodes);
    let way = [Way::Both, Way::Both, Way::In, Way::Out][draw.below(4)];
    let for_ms = draw.between(500, 20_000);
    match kind {
        0 => Fault::Kill { target, down_ms: draw.between(0, 10_000) },
        1 => Fault::PowerCut { target, down_ms: draw.between(0, 10_000) },
        2 => {
            let behind_ms = for_ms.is_multiple_of(3).then_some(1_000 + for_ms % 9_000);
            Fault::Pause { target, for_ms, behind_ms, deaf_ms: None }
        }
        3 => Fault::Isolate { target, way, for_ms },
        4 => Fault::Cut { links: shape(draw, nodes), period_ms: 0, for_ms },
        5 => Fault::Cut { links: shape(draw, nodes), period_ms: draw.between(100, 3_000), for_ms },
        6 => Fault::CloudCut { target, way, for_ms },
        7 => Fault::Weather {
            loss_permille: draw.between(0, 200),
            delay_ms: draw.between(0, 400),
            twice_permille: draw.between(0, 300),
            for_ms,
        },
        8 => {
            let far = [200, 2_000, 60_000, 86_400_000][draw.below(4)];
            let step = i64::try_from(draw.between(1, far)).unwrap_or(0);
            Fault::ClockStep { target, step_ms: if draw.below(2) == 0 { step } else { -step }, for_ms }
        }
        9 => {
            let ppm = i64::try_from(draw.between(0, 50_000)).unwrap_or(0);
            Fault::ClockDrift { target, ppm: if draw.below(2) == 0 { ppm } else { -ppm }, for_ms }
        }
        10 => Fault::SyncError { target },
        11 => Fault::DiskFull { target, for_ms },
        12 => Fault::DiskHang { target, for_ms },
        13 => Fault::DiskSlow { target, times: u32::try_from(draw.between(5, 200)).unwrap_or(5), for_ms },
        14 => match draw.below(3) {
            0 => Fault::HostDown { host: u32::try_from(draw.between(0, u64::from(hosts))).unwrap_or(0), for_ms: for_ms * 2 },
            1 => Fault::ExpireTokens,
            _ => Fault::Transfer,
        },
        _ => {
            let bodies = ["", "", "", "unshelve", "shelve", "allocations", "createImage"];
            let body = bodies[draw.below(bodies.len())].to_owned();
            Fault::Cloud {
                how: cloud_fault(draw),
                body,
                service: String::new(),
                permille: [50, 300, 1_000][draw.below(3)],
                for_ms,
            }
        }
    }
}

fn cloud_fault(draw: &mut Draw) -> CloudFault {
    let after_ms = draw.between(100, 60_000);
    match draw.below(11) {
        0 => CloudFault::Error { status: 500, retry_after_s: None },
        1 => CloudFault::Error { status: 503, retry_after_s: Some(draw.between(1, 10)) },
        2 => CloudFault::Error { status: 429, retry_after_s: Some(draw.between(1, 5)) },
        3 => CloudFault::Conflict,
        4 => CloudFault::LostAnswer { after_ms: after_ms / 20 },
        5 => CloudFault::Late { after_ms },
        6 => CloudFault::Slow { after_ms: after_ms / 4 },
        7 => CloudFault::Hang { applied: draw.below(2) == 0 },
        8 => CloudFault::Duplicate,
        9 => CloudFault::Garbage,
        _ => CloudFault::AsyncFailure,
    }
}

/// A topology: halves, a bridge, a ring, or one way.
fn shape(draw: &mut Draw, nodes: u32) -> Vec<(u32, u32)> {
    let pairs = (0..nodes).flat_map(|from| (0..nodes).map(move |to| (from, to))).filter(|(from, to)| from != to);
    let shift = u32::try_from(draw.between(0, u64::from(nodes))).unwrap_or(0);
    // Places on a circle, turned by a drawn amount.
    let place = |node: u32| (node + shift) % nodes;
    let half = nodes.div_ceil(2);
    let kind = draw.below(4);
    let cut = |&(from, to): &(u32, u32)| {
        let (from, to) = (place(from), place(to));
        match kind {
            0 => (from < half) != (to < half),
            // Only the first sees everybody.
            1 => from != 0 && to != 0,
            // Each sees its neighbours on the circle.
            2 => (from + 1) % nodes != to && (to + 1) % nodes != from,
            _ => from < half && to >= half,
        }
    };
    let links: Vec<_> = pairs.clone().filter(cut).collect();
    // A ring of three cuts nothing, and what cuts nothing is no fault.
    if links.is_empty() { pairs.filter(|(from, to)| (place(*from) < half) != (place(*to) < half)).collect() } else { links }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;

    #[test]
    fn cuts_come_in_every_shape_of_the_design_and_flap() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let (mut draw, nodes) = (Draw::new(seed, 99), 5);
            let links: std::collections::BTreeSet<(u32, u32)> = shape(&mut draw, nodes).into_iter().collect();
            let both_ways = links.iter().all(|(from, to)| links.contains(&(*to, *from)));
            // How many others each still hears.
            let mut heard: Vec<usize> =
                (0..nodes).map(|to| (0..nodes).filter(|from| *from != to && !links.contains(&(*from, to))).count()).collect();
            heard.sort_unstable();
            seen.insert(match (both_ways, &heard[..]) {
                (true, [1, 1, 2, 2, 2]) => "halves",
                (true, [1, 1, 1, 1, 4]) => "bridge",
                (true, [2, 2, 2, 2, 2]) => "ring",
                (false, _) => "one way",
                other => panic!("seed {seed}: {links:?}, {other:?}"),
            });
        }
        assert_eq!(seen, ["bridge", "halves", "one way", "ring"].into());
        let cuts = |plan: Plan| {
            plan.faults
                .into_iter()
                .filter_map(|one| if let Fault::Cut { period_ms, .. } = one.fault { Some(period_ms) } else { None })
        };
        let periods: Vec<u64> = (0..200).flat_map(|seed| cuts(Plan::simulated(seed, 600))).collect();
        assert!(periods.contains(&0) && periods.iter().any(|period_ms| *period_ms > 0), "some flap, some do not");
    }
}
