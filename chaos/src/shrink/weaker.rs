//! Weaker forms of a fault, of whatever kind it is: its figures halved, its links one fewer. A fault is read as the JSON that
//! plans are kept in, so that a new kind needs nothing here.

use serde_json::Value;

use crate::plan::Fault;

/// Figures that say which and not how much.
const NAMES: [&str; 3] = ["node", "host", "status"];

/// The forms, each one step weaker.
#[must_use]
pub fn weaker(fault: &Fault) -> Vec<Fault> {
    let whole = json(fault);
    let mut steps = Vec::new();
    walk(&whole, &mut Vec::new(), &mut |path, value| {
        let pointer = path.iter().map(|part| format!("/{part}")).collect::<String>();
        let mut put = |value: Value| {
            let mut changed = whole.clone();
            if let Some(place) = changed.pointer_mut(&pointer) {
                *place = value;
                steps.push(changed);
            }
        };
        let named = path.last().is_some_and(|name| NAMES.contains(&name.as_str()));
        match value {
            _ if named => {}
            Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(figure), _) if figure > 1 => put((figure / 2).into()),
                (None, Some(figure)) if figure < -1 => put((figure / 2).into()),
                _ => {}
            },
            Value::Array(items) if items.len() > 1 => {
                for left_out in 0..items.len() {
                    let rest = items.iter().enumerate().filter(|(at, _)| *at != left_out);
                    put(rest.map(|(_, item)| item.clone()).collect());
                }
            }
            _ => {}
        }
    });
    // A kind may forbid a figure: then there is no such form.
    steps.into_iter().filter_map(|value| serde_json::from_value(value).ok()).collect()
}

/// The highest index of a node that a fault names; 0 if none.
#[must_use]
pub fn highest_node(fault: &Fault) -> u32 {
    let mut highest = 0;
    walk(&json(fault), &mut Vec::new(), &mut |path, value| {
        let named = match (path.last().map(String::as_str), value) {
            (Some("links"), Value::Array(links)) => links.iter().filter_map(Value::as_array).flatten().collect(),
            (Some("node" | "nodes"), Value::Array(nodes)) => nodes.iter().collect(),
            (Some("node"), value) => vec![value],
            _ => Vec::new(),
        };
        highest = named.into_iter().filter_map(index).fold(highest, u32::max);
    });
    highest
}

/// The highest index of a compute host that a fault names; 0 if none.
#[must_use]
pub fn highest_host(fault: &Fault) -> u32 {
    json(fault).get("host").and_then(index).unwrap_or(0)
}

fn index(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|index| u32::try_from(index).ok())
}

fn json(fault: &Fault) -> Value {
    serde_json::to_value(fault).expect("a fault encodes as JSON")
}

/// Every member of an object and of the objects in it, with the names that lead to it.
fn walk(value: &Value, path: &mut Vec<String>, tell: &mut dyn FnMut(&[String], &Value)) {
    let Value::Object(members) = value else { return };
    for (name, value) in members {
        path.push(name.clone());
        tell(path, value);
        walk(value, path, tell);
        path.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{CloudFault, Target, Way};

    #[test]
    fn figures_are_halved_one_by_one_and_names_stay() {
        let fault = Fault::Isolate { target: Target::Node(4), way: Way::In, for_ms: 900 };
        assert_eq!(weaker(&fault), [Fault::Isolate { target: Target::Node(4), way: Way::In, for_ms: 450 }]);
        let step = Fault::ClockStep { target: Target::Leader, step_ms: -7, for_ms: 1 };
        assert_eq!(weaker(&step), [Fault::ClockStep { target: Target::Leader, step_ms: -3, for_ms: 1 }]);
        let how = CloudFault::Error { status: 503, retry_after_s: Some(4) };
        let fault = Fault::Cloud { how, body: String::new(), service: String::new(), permille: 1_000, for_ms: 10 };
        let forms = weaker(&fault);
        assert_eq!(forms.len(), 3);
        assert!(forms.iter().all(|form| matches!(form, Fault::Cloud { how: CloudFault::Error { status: 503, .. }, .. })));
        assert!(weaker(&Fault::Transfer).is_empty());
    }

    #[test]
    fn links_go_one_by_one_and_name_their_nodes() {
        let fault = Fault::Cut { links: vec![(0, 4), (2, 0)], period_ms: 0, for_ms: 1 };
        let kept: Vec<_> = weaker(&fault)
            .into_iter()
            .map(|form| match form {
                Fault::Cut { links, .. } => links,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(kept, [vec![(2, 0)], vec![(0, 4)]]);
        assert_eq!(highest_node(&fault), 4);
        assert_eq!(highest_node(&Fault::Kill { target: Target::Node(3), down_ms: 9 }), 3);
        assert_eq!(highest_node(&Fault::Kill { target: Target::Leader, down_ms: 9 }), 0);
        assert_eq!(highest_host(&Fault::HostDown { host: 2, for_ms: 9 }), 2);
    }
}
