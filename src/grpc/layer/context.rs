//! What a call says of itself in its metadata, and what goes back behind its reply.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tonic::Extensions;
use tonic::codegen::http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

use crate::engine::Route;
use crate::error::Error;

/// One call of any service. Among a request's extensions; copies of it are about the same call.
#[derive(Debug, Clone, Default)]
pub struct CallContext(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    request_id: HeaderValue,
    route: Route,
    came: Instant,
    deadline: Option<Instant>,
    trailing: Mutex<HeaderMap>,
}

/// The metadata that names a call, and comes back.
const REQUEST_ID: &str = "request_id";
const APPLICATION: &str = "application";
const MODEL_ID: &str = "multiplexed_model_id";

/// Bytes of the longest value of these: what stands in every log line should not fill it, and a model's name has no more.
const LONGEST: usize = 255;

/// Bytes of all trailing metadata of a call. Clients take 8 KB by default, and a status has a text too.
const MOST_TRAILING: usize = 2 << 10;

impl CallContext {
    /// The call that a request with these extensions belongs to; where it came through no server, one that knows
    /// nothing but an id of its own.
    pub fn of(extensions: &Extensions) -> Self {
        extensions.get::<CallContext>().cloned().unwrap_or_default()
    }

    /// Reads the metadata of a call. It has an id even if that is an error.
    pub(super) fn read(headers: &HeaderMap) -> (Self, Result<(), Error>) {
        let (request_id, route) = (text(headers, REQUEST_ID), Route::read(headers));
        let came = Instant::now();
        let timeout = headers.get("grpc-timeout").and_then(|value| timeout(value.to_str().ok()?));
        let deadline = timeout.and_then(|timeout| came.checked_add(timeout));
        let (given, request_id) = match request_id {
            Ok(given) => (Ok(()), given.cloned()),
            Err(error) => (Err(error), None),
        };
        let (routed, route) = match route {
            Ok(route) => (Ok(()), route),
            Err(error) => (Err(error), Route::default()),
        };
        let mut request_id = request_id.unwrap_or_else(made);
        // No two calls have the same: HPACK, which compresses headers, is not to remember it in place of others.
        request_id.set_sensitive(true);
        let trailing = Mutex::default();
        let context = CallContext(Arc::new(Inner { request_id, route, came, deadline, trailing }));
        (context, given.and(routed))
    }

    /// Its id: that of the metadata `request_id`, or one that was made for it. It stands in every line that is logged
    /// for the call, and comes back in the trailing metadata.
    pub fn request_id(&self) -> &str {
        self.0.request_id.to_str().unwrap_or_default()
    }

    /// Where the metadata want it to be answered.
    pub fn route(&self) -> &Route {
        &self.0.route
    }

    /// The metadata `application`.
    pub fn application(&self) -> Option<&str> {
        self.0.route.application.as_deref()
    }

    /// The metadata `multiplexed_model_id`.
    pub fn multiplexed_model_id(&self) -> Option<&str> {
        self.0.route.model_id.as_deref()
    }

    /// When its headers came.
    pub fn came(&self) -> Instant {
        self.0.came
    }

    /// Until when its client waits.
    pub fn deadline(&self) -> Option<Instant> {
        self.0.deadline
    }

    /// Adds metadata that follow the reply, or the error; a key that was set before gets another value. Keys have lower
    /// case and do not end with `-bin`, those of gRPC and `request_id` are taken, and values are printable ASCII.
    pub fn set_trailing(&self, key: &str, value: &str) -> Result<(), Error> {
        let taken = key == REQUEST_ID || key.starts_with("grpc-") || key.ends_with("-bin");
        let range = "lower case, no key of gRPC or `request_id`, and not for binary values";
        let name = HeaderName::from_lowercase(key.as_bytes()).ok().filter(|_| !taken);
        let name = name.ok_or_else(|| wrong("the key of trailing metadata", key, range))?;
        let known = |value: &HeaderValue| value.to_str().is_ok();
        let value = HeaderValue::from_str(value).ok().filter(known);
        let value = value.ok_or_else(|| wrong("the value of trailing metadata", key, "printable ASCII"))?;
        let mut trailing = self.0.trailing.lock().unwrap_or_else(PoisonError::into_inner);
        let others = trailing.iter().filter(|(other, _)| **other != name);
        let bytes: usize = others.map(|(name, value)| name.as_str().len() + value.len()).sum();
        if bytes + key.len() + value.len() > MOST_TRAILING {
            let range = format!("{MOST_TRAILING} bytes with those that were set before");
            return Err(wrong("trailing metadata", key, &range));
        }
        trailing.insert(name, value);
        Ok(())
    }

    /// How long its client waits from when it came.
    pub fn patience(&self) -> Option<Duration> {
        self.0.deadline.map(|deadline| deadline - self.0.came)
    }

    /// The span in which it is worked on. It is one of errors, so that it is there whatever is logged.
    pub(super) fn span(&self) -> tracing::Span {
        tracing::error_span!("call", request_id = self.request_id())
    }

    /// Puts its metadata where those stand that follow a reply.
    pub(super) fn finish(&self, trailers: &mut HeaderMap) {
        trailers.insert(HeaderName::from_static(REQUEST_ID), self.0.request_id.clone());
        let trailing = self.0.trailing.lock().unwrap_or_else(PoisonError::into_inner);
        trailers.extend(trailing.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
}

impl Default for Inner {
    fn default() -> Self {
        Inner {
            request_id: made(),
            route: Route::default(),
            came: Instant::now(),
            deadline: None,
            trailing: Mutex::default(),
        }
    }
}

impl Route {
    fn read(headers: &HeaderMap) -> Result<Self, Error> {
        let owned =
            |value: Option<&HeaderValue>| value.and_then(|value| value.to_str().ok()).map(String::from);
        Ok(Route {
            application: owned(text(headers, APPLICATION)?),
            model_id: owned(text(headers, MODEL_ID)?),
        })
    }
}

/// A value that is text and not too long; what is empty is not given.
fn text<'a>(headers: &'a HeaderMap, key: &'static str) -> Result<Option<&'a HeaderValue>, Error> {
    let Some(value) = headers.get(key).filter(|value| !value.is_empty()) else { return Ok(None) };
    if value.len() > LONGEST || value.to_str().is_err() {
        let begin: String = String::from_utf8_lossy(value.as_bytes()).chars().take(64).collect();
        let value = format!("`{}` of {} bytes", begin.escape_debug(), value.len());
        let range = format!("at most {LONGEST} printable ASCII characters");
        return Err(Error::Range { what: key, value, range });
    }
    Ok(Some(value))
}

fn made() -> HeaderValue {
    let mut text = Uuid::encode_buffer();
    let text: &str = Uuid::new_v4().hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(text).expect("hexadecimal digits and hyphens are printable")
}

fn wrong(what: &'static str, key: &str, range: &str) -> Error {
    Error::Range { what, value: format!("`{}`", key.escape_debug()), range: range.into() }
}

/// Reads at most eight digits and a unit, as gRPC over HTTP/2 has it.
fn timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    Some(match unit {
        "H" => Duration::from_secs(3600 * number),
        "M" => Duration::from_secs(60 * number),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(of: &[(&'static str, &str)]) -> HeaderMap {
        let header = |(key, value): &(&'static str, &str)| {
            (HeaderName::from_static(key), HeaderValue::from_bytes(value.as_bytes()).unwrap())
        };
        of.iter().map(header).collect()
    }

    #[test]
    fn timeouts_are_read_in_every_unit() {
        assert_eq!(timeout("250m"), Some(Duration::from_millis(250)));
        assert_eq!(timeout("99999999H"), Some(Duration::from_secs(3600 * 99_999_999)));
        for wrong in ["", "m", "999999999S", "5x", "-1S", "5é"] {
            assert_eq!(timeout(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn metadata_are_read_or_refused_by_name() {
        let given = [("request_id", "an id"), ("application", "shop"), ("multiplexed_model_id", "m")];
        let (call, read) = CallContext::read(&headers(&given));
        assert_eq!((call.request_id(), read), ("an id", Ok(())));
        assert_eq!((call.application(), call.multiplexed_model_id()), (Some("shop"), Some("m")));
        let (call, read) = CallContext::read(&headers(&[("request_id", ""), ("grpc-timeout", "250m")]));
        assert!(read.is_ok() && Uuid::try_parse(call.request_id()).unwrap().get_version_num() == 4);
        assert_eq!((call.patience(), call.route()), (Some(Duration::from_millis(250)), &Route::default()));
        let long = "x".repeat(LONGEST + 1);
        for (key, value) in
            [("request_id", &*long), ("application", "\u{fe}"), ("multiplexed_model_id", &*long)]
        {
            let (call, read) = CallContext::read(&headers(&[(key, value)]));
            let error = read.unwrap_err().to_string();
            assert!(error.contains(key) && error.contains("255"), "{error}");
            assert_eq!(call.request_id().len(), 36, "an id was made");
        }
        let (call, read) = CallContext::read(&headers(&[("request_id", "kept"), ("application", &long)]));
        assert!(read.is_err() && call.request_id() == "kept");
    }

    #[test]
    fn trailing_metadata_are_bounded_and_keep_clear_of_grpcs() {
        let call = CallContext::default();
        call.set_trailing("model", "first").unwrap();
        call.clone().set_trailing("model", "second").unwrap();
        for (key, value) in [
            ("grpc-status", "0"),
            ("request_id", "x"),
            ("x-bin", "x"),
            ("Upper", "x"),
            ("", "x"),
            ("k", "\n"),
        ] {
            assert!(call.set_trailing(key, value).is_err(), "{key}");
        }
        let error = call.set_trailing("large", &"x".repeat(MOST_TRAILING)).unwrap_err().to_string();
        assert!(error.contains("`large`") && error.contains("2048"), "{error}");
        let mut trailers = HeaderMap::new();
        call.finish(&mut trailers);
        assert_eq!((trailers.len(), trailers["model"].as_bytes()), (2, &b"second"[..]));
        assert_eq!(trailers["request_id"], call.request_id());
    }
}
