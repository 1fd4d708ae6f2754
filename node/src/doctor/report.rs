//! What was looked at and how it stands.

use serde::Serialize;

use crate::openstack::CloudError;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Could not be looked at, for a reason that another check names or that harms nothing.
    Skipped,
    /// The cloud does not show it; the next step says what to look for.
    Unknown,
    /// The promise holds, and somebody should look.
    Warn,
    /// Reservations cannot be kept, or not be made, as it is.
    Fail,
}

impl Verdict {
    /// As it is printed.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Unknown => "unknown",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub subject: String,
    /// How it ended.
    pub verdict: Verdict,
    /// What was seen.
    pub seen: String,
    /// What to do about it; `None` where there is nothing to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// All checks, in the order they were made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// See [`Check`].
    pub checks: Vec<Check>,
}

impl Report {
    /// Whether nothing failed. Warnings and unknown things do not count.
    #[must_use]
    pub fn nothing_failed(&self) -> bool {
        self.checks.iter().all(|check| check.verdict != Verdict::Fail)
    }

    /// Whether everything is as it should be.
    pub(super) fn is_all_ok(&self) -> bool {
        self.checks.iter().all(|check| check.verdict == Verdict::Ok)
    }

    /// Notes that something is as it should be.
    pub fn ok(&mut self, subject: &str, seen: impl Into<String>) {
        self.note(subject, Verdict::Ok, seen, None);
    }

    /// Notes that something was not looked at.
    pub fn skip(&mut self, subject: &str, why: &str) {
        self.note(subject, Verdict::Skipped, why, None);
    }

    /// Notes that the cloud does not show something, and what to look for.
    pub fn unknown(&mut self, subject: &str, seen: impl Into<String>, next: impl Into<String>) {
        self.note(subject, Verdict::Unknown, seen, Some(next.into()));
    }

    /// Notes what somebody should look at.
    pub fn warn(&mut self, subject: &str, seen: impl Into<String>, next: impl Into<String>) {
        self.note(subject, Verdict::Warn, seen, Some(next.into()));
    }

    /// Notes what must be mended.
    pub fn fail(&mut self, subject: &str, seen: impl Into<String>, next: impl Into<String>) {
        self.note(subject, Verdict::Fail, seen, Some(next.into()));
    }

    /// Notes a call that gave no answer: what it was to show cannot be shown, and the leader's own calls fare no better.
    pub(super) fn no_answer(&mut self, subject: &str, error: &CloudError) {
        let next = match error.status() {
            Some(403) => "give the service user the role that the policy of the service asks for; by default that is admin",
            Some(404) => "is the endpoint in the catalog the service's own? A path may be missing",
            _ => "look at the service and its log, and at the endpoint in the catalog",
        };
        self.fail(subject, error.to_string(), next);
    }

    fn note(&mut self, subject: &str, verdict: Verdict, seen: impl Into<String>, next: Option<String>) {
        self.checks.push(Check { subject: subject.to_owned(), verdict, seen: seen.into(), next });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_failure_fails_the_report() {
        let mut report = Report::default();
        report.ok("a", "fine");
        report.skip("b", "elsewhere");
        report.unknown("c", "not shown", "look");
        report.warn("d", "odd", "look");
        assert!(report.nothing_failed());
        report.fail("e", "wrong", "mend");
        assert!(!report.nothing_failed());
    }
}
