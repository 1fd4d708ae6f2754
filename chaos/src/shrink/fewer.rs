//! Delta debugging (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002), by complements only.

use anyhow::Result;

/// Those items of which none can be left out alone, in their order. `first_failing` says which of several choices is the first
/// that still fails; all of them together are taken to.
///
/// # Errors
/// Those of `first_failing`.
pub fn fewer<T: Clone>(mut items: Vec<T>, mut first_failing: impl FnMut(&[Vec<T>]) -> Result<Option<usize>>) -> Result<Vec<T>> {
    if !items.is_empty() && first_failing(&[Vec::new()])?.is_some() {
        return Ok(Vec::new());
    }
    let mut parts = 2;
    while items.len() > 1 {
        let size = items.len().div_ceil(parts);
        let without = |from: usize| {
            let rest = items.iter().enumerate().filter(|(at, _)| !(from..from + size).contains(at));
            rest.map(|(_, item)| item.clone()).collect::<Vec<T>>()
        };
        let choices: Vec<Vec<T>> = (0..items.len()).step_by(size).map(without).collect();
        match first_failing(&choices)? {
            Some(at) => {
                items = choices[at].clone();
                parts = (parts - 1).max(2);
            }
            None if size == 1 => break,
            None => parts = (parts * 2).min(items.len()),
        }
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(count: u32, needed: &[u32]) -> (Vec<u32>, usize) {
        let mut trials = 0;
        let fails = |choice: &Vec<u32>| needed.iter().all(|one| choice.contains(one));
        let items = fewer((0..count).collect(), |choices| {
            let first = choices.iter().position(fails);
            trials += first.map_or(choices.len(), |at| at + 1);
            Ok(first)
        });
        (items.expect("nothing goes wrong"), trials)
    }

    #[test]
    fn only_what_is_needed_is_left_in_order() {
        for needed in [&[][..], &[0], &[99], &[3, 50], &[7, 8, 9], &[0, 33, 66, 99]] {
            let (items, trials) = left(100, needed);
            assert_eq!(items, needed);
            assert!(trials < 200, "{trials} trials for {needed:?}");
        }
        assert_eq!(left(0, &[]).0, Vec::<u32>::new());
        assert_eq!(left(1, &[0]).0, [0]);
        let all: Vec<u32> = (0..9).collect();
        assert_eq!(left(9, &all).0, all);
    }
}
