//! Answers while they are made: a status, headers and a JSON body; and the errors in the words of each service.

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};

use crate::message::Answer;

/// Most answers are shorter.
const ROOM: usize = 1024;

/// The result of a handler: both sides are answers, `Err` only ends the handler early.
pub(crate) type Api = Result<Reply, Reply>;

/// An answer in the making.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Option<Value>,
    /// The body as it is sent, where that is made at once.
    text: Option<Bytes>,
    /// Made before the service looked at its microversion, so without the headers that name it.
    pub(crate) plain: bool,
    /// Made by a part in front of the service that does not name the call.
    pub(crate) unnamed: bool,
}

impl Reply {
    pub(crate) fn new(status: u16, body: Value) -> Self {
        let headers = vec![("content-type", "application/json".to_owned())];
        Self { status, headers, body: Some(body), text: None, plain: false, unnamed: false }
    }

    /// A long answer that nobody changes on its way.
    pub(crate) fn rendered(status: u16, body: &impl Serialize) -> Self {
        Self::written(status, bytes_of(body, ROOM))
    }

    /// An answer that is JSON already.
    pub(crate) fn written(status: u16, text: Bytes) -> Self {
        Self { body: None, text: Some(text), ..Self::new(status, Value::Null) }
    }

    /// An answer without body. Nova and Keystone still name JSON as its type, Placement and Glance do not.
    pub(crate) fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: None, text: None, plain: false, unnamed: false }
    }

    #[must_use]
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.headers.push((name, value.into()));
        self
    }

    #[must_use]
    pub(crate) fn plain(mut self) -> Self {
        self.plain = true;
        self
    }

    #[must_use]
    pub(crate) fn unnamed(mut self) -> Self {
        self.unnamed = true;
        self
    }

    pub(crate) fn finish(self) -> Answer {
        Answer {
            status: self.status,
            headers: self.headers,
            body: self.text.unwrap_or_else(|| self.body.map_or_else(Bytes::new, |body| bytes_of(&body, ROOM))),
        }
    }
}

/// JSON as it is sent, of about `room` bytes: a text that outgrows its memory is copied, and memory that is new to the process
/// is dear. Not by `to_string`, which goes through a formatter piece by piece.
pub(crate) fn bytes_of(body: &impl Serialize, room: usize) -> Bytes {
    let mut text = Vec::with_capacity(room);
    serde_json::to_writer(&mut text, body).expect("an answer is plain data, and a Vec takes every write");
    Bytes::from(text)
}

pub(crate) fn ok(body: Value) -> Api {
    Ok(Reply::new(200, body))
}

/// Nova's empty answers name JSON as their type.
pub(crate) fn nova_empty(status: u16) -> Api {
    Ok(Reply::empty(status).with("content-type", "application/json"))
}

/// An error of Nova: `{"itemNotFound": {"code": 404, "message": …}}`.
pub(crate) fn nova(status: u16, message: impl Into<String>) -> Reply {
    let name = match status {
        400 => "badRequest",
        401 => "unauthorized",
        403 => "forbidden",
        404 => "itemNotFound",
        405 => "badMethod",
        409 => "conflictingRequest",
        413 => "overLimit",
        429 => "overLimit",
        501 => "notImplemented",
        503 => "serviceUnavailable",
        _ => "computeFault",
    };
    Reply::new(status, json!({ name: {"code": status, "message": message.into()} }))
        .with("content-type", "application/json; charset=UTF-8")
}

/// An error of Keystone: `{"error": {"code": 404, "message": …, "title": "Not Found"}}`.
pub(crate) fn keystone(status: u16, message: impl Into<String>) -> Reply {
    Reply::new(status, json!({"error": {"code": status, "message": message.into(), "title": title(status)}}))
}

/// An error of Placement, with the code that tells one 409 from another.
pub(crate) fn placement(status: u16, detail: impl Into<String>, code: &str) -> Reply {
    let lead = match status {
        400 => "The server could not comply with the request since it is either malformed or otherwise incorrect.",
        403 => "Access was denied to this resource.",
        404 => "The resource could not be found.",
        405 => "The method specified is not allowed for this resource.",
        409 => "There was a conflict when trying to complete your request.",
        _ => "The server has either erred or is incapable of performing the requested operation.",
    };
    Reply::new(
        status,
        json!({"errors": [{
            "status": status,
            "title": title(status),
            "detail": format!("{lead}\n\n {}  ", detail.into()),
            "code": code,
        }]}),
    )
}

/// An error of Glance: `{"message": …, "code": "403 Forbidden", "title": "Forbidden"}`.
pub(crate) fn glance(status: u16, message: impl Into<String>) -> Reply {
    let name = title(status);
    let message = message.into();
    let lead = match status {
        // A refusal by policy comes without the lead.
        403 if message.starts_with("You are not authorized") => "",
        403 => "Access was denied to this resource.<br /><br />\n",
        409 => "There was a conflict when trying to complete your request.<br /><br />\n",
        _ => "",
    };
    // What is not found is named first.
    let message = if matches!(status, 401 | 404) { format!("{message}<br /><br />\n") } else { message };
    Reply::new(status, json!({"message": format!("{lead}{message}\n\n"), "code": format!("{status} {name}"), "title": name}))
}

/// The reason phrase of a status.
pub(crate) fn title(status: u16) -> &'static str {
    http::StatusCode::from_u16(status).ok().and_then(|code| code.canonical_reason()).unwrap_or("Error")
}
