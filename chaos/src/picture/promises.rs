//! What each checker guards, in one sentence for a reader who was not there (chaos-design §7).

/// Every checker of a promise. `goals` judges the run and not the product.
pub const PROMISED: [&str; 36] = [
    "witness", "search", "watch", "follow", "L1", "S1", "O1", "S2", "H1", "M1", "B1", "R1", "A1", "A2", "A3", "A4", "A5", "A6",
    "A7", "A8", "A9", "A10", "V1", "V2", "V3", "V4", "V5", "reasons", "R42", "signed", "quota", "series", "W1", "Y1", "Z1", "J1",
];

/// The promise; empty for a checker that is not known here.
#[must_use]
pub fn promise(check: &str) -> &'static str {
    match check {
        "witness" => "every answer fits one order of all operations, and that order agrees with real time",
        "search" => "there is an order of all operations that explains every answer",
        "watch" => "subscriptions tell every change, once and in order",
        "follow" => "the client library's watch gives every change once, whatever node serves it",
        "reasons" => "a refusal names a reason that is true",
        "R42" => "nothing is booked on a host that is down, and a lease says that it lacks a host only while it does",
        "signed" => "every changing call to the cloud says whose work it is, and says so truly",
        "quota" => "no project gets beyond its quota, and none is refused for one that it does not reach",
        "series" => "a series is what its rule says, as a whole, and is deleted as a whole",
        "L1" => "no host is booked for more than it has, at any instant",
        "S1" => "what was acknowledged is kept through every fault",
        "O1" => "an offer stands until it is claimed, deleted or over, and no longer",
        "W1" => "what waits for room books nothing, is booked when there is some, and goes when its time is over",
        "Y1" => "a lease gives way only if it allowed that, to one of a higher priority, before it begins, and not for nothing",
        "Z1" => "what expires is counted in time, with its tokens closed, and nothing that is in use is given back",
        "J1" => {
            "a lease leaves hosts that serve it well only for hosts that others have in use anyway, and sets its own free by that"
        }
        "S2" => "beyond what can be survived, a node refuses to serve and invents nothing",
        "H1" => "nodes at the same index have the same state",
        "M1" => "terms, votes, committed and applied indices and ledger time never go back",
        "B1" => "memory, logs and queues stay bounded",
        "R1" => "no node panics or answers with an internal error",
        "A1" => "nothing is opened in the cloud before its time",
        "A2" => "what is due in the cloud is done in time",
        "A3" => "what was cancelled is never opened",
        "A4" => "after a new leader has called the cloud, no older one calls it any more",
        "A5" => "every step owed to the cloud is done, and done once",
        "A6" => "a call leaves only after what it is for was committed",
        "A7" => "what is opened is held first: tokens never exceed the hold",
        "A8" => "at rest the cloud holds what is booked, and nothing else of ours",
        "A9" => "the cloud is called gently, and looked at before a call is made again",
        "A10" => "every change of a lease is told, in order",
        "V1" => "a whole majority commits soon, whatever became of the others",
        "V2" => "once everything is healed there is soon one leader and one state",
        "V3" => "one slow node does not slow the others down",
        "V4" => "too much load is refused clearly, and passes",
        "goals" => "the run got to what each run must get to",
        "V5" => "a node whose state is damaged rebuilds it, and one whose log is damaged stops",
        _ => "",
    }
}
