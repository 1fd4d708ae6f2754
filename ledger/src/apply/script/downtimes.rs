//! Lines of a script about downtimes and upgrades.

use super::words::*;
use super::*;

fn id(words: &[&str]) -> DowntimeId {
    DowntimeId(Uuid::from_u128(u128::from(number(words, "id", 1))))
}

impl World {
    /// `downtime h1 12:00..14:00 id=1 vcpus=2 memory=256 disk=10`; without a start or an amount nothing is said of it. Gives all of
    /// the host's.
    pub(super) fn set_downtime(&mut self, words: &[&str]) -> Result<String, String> {
        let host_id = self.hosts.get(words[0]).copied().unwrap_or(HostId(99));
        let (start, end) = words[1].split_once("..").unwrap();
        let start = match start {
            "" => None,
            "now" => Some(StartWish::Now),
            "any" => Some(StartWish::Earliest { from: None, latest: second(end) }),
            start => Some(StartWish::At(second(start))),
        };
        let amount = |key: &str| option(words, key).map(|amount| amount.parse().unwrap());
        let withheld = Withheld { vcpus: amount("vcpus"), memory_mb: amount("memory"), disk_gb: amount("disk") };
        let command = Command::SetDowntime { host_id, downtime_id: id(words), start, end: second(end), withheld };
        self.tell(key(words), command)?;
        Ok(self.downtimes_text(host_id))
    }

    /// `dropdowntime h1 id=1`
    pub(super) fn drop_downtime(&mut self, words: &[&str]) -> Result<String, String> {
        let host_id = self.hosts.get(words[0]).copied().unwrap_or(HostId(99));
        self.tell(key(words), Command::DropDowntime { host_id, downtime_id: id(words) })?;
        Ok(self.downtimes_text(host_id))
    }

    /// `upgrade h1 12:00 vcpus=8 memory=2000 disk=10`; gives what the host is to have.
    pub(super) fn set_upgrade(&mut self, words: &[&str]) -> Result<String, String> {
        let host_id = self.hosts.get(words[0]).copied().unwrap_or(HostId(99));
        let amount = |key: &str| option(words, key).map(|amount| amount.parse().unwrap());
        let upgrade =
            Upgrade { start: second(words[1]), vcpus: amount("vcpus"), memory_mb: amount("memory"), disk_gb: amount("disk") };
        self.tell(key(words), Command::SetUpgrade { host_id, upgrade })?;
        Ok(self.upgrade_text(host_id))
    }

    /// `dropupgrade h1`
    pub(super) fn drop_upgrade(&mut self, words: &[&str]) -> Result<String, String> {
        let host_id = self.hosts.get(words[0]).copied().unwrap_or(HostId(99));
        self.tell(key(words), Command::DropUpgrade { host_id })?;
        Ok(self.upgrade_text(host_id))
    }

    /// What a host is to have, and whether it has promised too much.
    pub(super) fn upgrade_text(&self, host: HostId) -> String {
        let host = self.state.host(host).unwrap();
        let upgrade = host.upgrade.map_or("none".to_owned(), |one| {
            let amounts = [one.vcpus, one.memory_mb, one.disk_gb];
            let amounts: Vec<String> = amounts.into_iter().flatten().map(|amount| amount.to_string()).collect();
            format!("{}:{}", clock_text(one.start), amounts.join("+"))
        });
        if host.overcommitted { format!("{upgrade} overcommitted") } else { upgrade }
    }

    pub(super) fn downtimes_text(&self, host: HostId) -> String {
        let text = |one: &Downtime| {
            let withheld = [one.withheld.vcpus, one.withheld.memory_mb, one.withheld.disk_gb];
            let amounts: Vec<String> = withheld.into_iter().flatten().map(|amount| amount.to_string()).collect();
            let amounts = if amounts.is_empty() { "all".to_owned() } else { amounts.join("+") };
            let Interval { start, end } = one.interval;
            format!("{}:{}..{}:{amounts}", one.id.0.as_u128(), clock_text(start), clock_text(end))
        };
        let all: Vec<String> = self.state.host(host).unwrap().downtimes.iter().map(text).collect();
        if all.is_empty() { "none".to_owned() } else { all.join(" ") }
    }

    /// `free 12:00..14:00`: what all hosts together have left, have and are to have, and what is withheld of them, in vcpus, piece by piece.
    pub(super) fn free(&self, words: &[&str]) -> String {
        let (start, end) = words[1].split_once("..").unwrap();
        let window = Interval { start: second(start), end: second(end) };
        let found = crate::plan::capacity(&self.state, &Default::default(), window, 100);
        let text = |piece: &crate::plan::Piece| {
            let (free, added, withheld) = (piece.available[0], piece.added[0], piece.withheld[0]);
            let added = if added > 0 { format!("+{added}") } else { String::new() };
            format!("{} {free} of {}{added} but {withheld}", clock_text(piece.start), found.total[0])
        };
        found.pieces.iter().map(text).collect::<Vec<_>>().join(", ")
    }

    fn looked_at(&self) -> BTreeMap<HostId, crate::plan::Looked> {
        self.state.short_hosts().map(|host| (host, crate::plan::Looked::DOWNTIMES)).collect()
    }

    /// Who is to be moved because of downtimes.
    pub(super) fn short(&self) -> String {
        self.ailing_text(&self.looked_at())
    }

    /// Who does not say what downtimes make of it.
    pub(super) fn misjudged(&self) -> String {
        let all = crate::plan::misjudged(&self.state, &self.looked_at());
        let names: Vec<&str> = all.into_iter().map(|id| self.lease_name(id)).collect();
        if names.is_empty() { "nobody".to_owned() } else { names.join(" ") }
    }
}
