//! Who is in the cluster, who votes, and whom a fault may therefore hit so that all that is promised stays promised.

use leasehold_node::operations::MemberStatus;

use super::node::Life;
use super::roster::Standing;
use super::world::World;

impl World {
    /// The `n`th machine of the cluster, counted round.
    pub fn member(&self, n: usize) -> usize {
        let mut members = self.roster.all(Standing::Member);
        members.extend(self.roster.all(Standing::Lost));
        members.sort_unstable();
        members.get(n % members.len().max(1)).copied().unwrap_or(0)
    }

    /// How many machines the cluster has, lost ones included.
    pub fn size(&self) -> usize {
        self.roster.all(Standing::Member).len() + self.roster.all(Standing::Lost).len()
    }

    /// The members as each running node knows them.
    fn views(&self) -> Vec<View> {
        let lives = self.machines.iter().filter_map(|machine| machine.life());
        lives.map(|life| View::of(&life)).filter(|view| !view.members.is_empty()).collect()
    }

    /// Voters and all members of the cluster, as the leader has them, or else whoever has the longest log. While nobody runs
    /// the voters are those that were seen last: a learner does not vote because nobody is there to ask, and a voter that
    /// lost what it kept is one until it is removed (found by the simulation).
    pub fn cluster(&self) -> (Vec<usize>, Vec<usize>) {
        let of_leader = self.leader().map(|(_, life)| View::of(&life));
        let longest = || self.views().into_iter().max_by_key(|view| view.last);
        let seen = of_leader.or_else(longest).map(|view| (view.voters, view.members));
        seen.unwrap_or_else(|| (self.roster.voters(), self.roster.all(Standing::Member)))
    }

    /// The voters, if they can be no others: all had the same when everybody was last seen, and nobody who runs has others
    /// since. A node that was long in learning is made a voter after the operator gave it up.
    pub fn voters(&self) -> Option<Vec<usize>> {
        let voters = self.roster.voters();
        let same = self.views().iter().all(|view| view.voters == voters && !view.changing);
        (self.roster.is_settled() && same).then_some(voters)
    }

    /// Which machines may be left to carry the cluster on by themselves, and how many of them it takes: the voters that have
    /// all they ever promised. Where the members changed and not everybody is known to have them, it takes all.
    pub fn electorate(&self) -> (Vec<usize>, usize) {
        let Some(voters) = self.voters() else {
            let all: Vec<usize> = (0..self.machines.len()).filter(|index| self.roster.is_intact(*index)).collect();
            let many = all.len();
            return (all, many);
        };
        let quorum = voters.len() / 2 + 1;
        (voters.into_iter().filter(|index| self.roster.is_intact(*index)).collect(), quorum)
    }

    /// Whether a machine may lose what it keeps, so that all that is promised stays promised.
    pub fn may_lose(&self, index: usize) -> bool {
        self.voters().is_some_and(|voters| self.roster.may_lose(index, &voters))
    }

    /// Sees whether everybody has the same members by now, and nothing that is still open can bring others back.
    pub(super) fn settle(&self) {
        if self.roster.operator.try_lock().is_err() {
            return;
        }
        let views = self.views();
        let Some(first) = views.first() else { return };
        let up = |index: &usize| self.machines[*index].life().is_some();
        let all_up = self.roster.all(Standing::Member).iter().all(up) && first.members.iter().all(up);
        let same = views.iter().all(|view| (&view.voters, &view.members) == (&first.voters, &first.members));
        let committed = views.iter().map(|view| view.committed).max() >= views.iter().map(|view| view.last).max();
        if all_up && same && committed && !views.iter().any(|view| view.changing) {
            self.roster.settle(first.voters.clone());
        }
    }

    /// Whether a node's clock may be made wrong: the promise holds while those of a majority are right (architecture D4).
    pub fn may_be_wrong(&self, node: u64) -> bool {
        if self.clocks_err_alike() {
            return true;
        }
        let (voters, _) = self.cluster();
        let others = voters.iter().filter_map(|index| self.machines.get(*index)).filter(|machine| machine.id != node);
        let wrong = others.filter(|machine| !machine.wall.is_right()).count();
        2 * (wrong + 1) < voters.len()
    }
}

/// The members as one node knows them, as indices.
struct View {
    voters: Vec<usize>,
    members: Vec<usize>,
    /// Between the two steps of a change.
    changing: bool,
    /// The last log index, and what is committed as far as it knows.
    last: Option<u64>,
    committed: Option<u64>,
}

impl View {
    fn of(life: &Life) -> View {
        let status = life.raft.status_of_raft();
        let at = |member: &MemberStatus| usize::try_from(member.node_id - 1).unwrap_or(usize::MAX);
        View {
            voters: status.members.iter().filter(|member| member.voter).map(at).collect(),
            members: status.members.iter().map(at).collect(),
            changing: status.members_changing,
            last: status.last_log_index,
            committed: status.committed_index,
        }
    }
}
