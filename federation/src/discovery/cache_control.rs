//! How long an answer may be kept, by its headers (RFC 9111).

use std::time::Duration;

use http::{HeaderMap, header};
use net::Timestamp;

/// How long the answer is fresh by its headers; nothing if they do not say.
///
/// `Cache-Control` goes before `Expires`; `no-store` and `no-cache` make it zero; what an `Age` says has passed is taken off.
pub(crate) fn freshness(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let directives = headers
        .get_all(header::CACHE_CONTROL)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim);
    let mut max_age = None;
    for directive in directives {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        if name.eq_ignore_ascii_case("no-store") || name.eq_ignore_ascii_case("no-cache") {
            return Some(Duration::ZERO);
        }
        if name.eq_ignore_ascii_case("max-age") {
            // A number too large to read is very long; something that is not a number is stale (RFC 9111, section 4.2.1).
            let value = value.trim().trim_matches('"');
            let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
            max_age = Some(if digits { value.parse().unwrap_or(u64::from(u32::MAX)) } else { 0 });
        }
    }
    if let Some(seconds) = max_age {
        let age = headers.get(header::AGE).and_then(|age| age.to_str().ok()?.trim().parse().ok()).unwrap_or(0);
        return Some(Duration::from_secs(seconds.saturating_sub(age)));
    }
    let expires = headers.get(header::EXPIRES)?;
    // "A cache recipient MUST interpret invalid date formats, especially the value 0, as representing a time in the past."
    let Some(expires) = date(expires) else { return Some(Duration::ZERO) };
    let sent = headers.get(header::DATE).and_then(date).unwrap_or(now);
    Some(expires.since(sent))
}

fn date(value: &http::HeaderValue) -> Option<Timestamp> {
    let date = httpdate::parse_http_date(value.to_str().ok()?).ok()?;
    Some(Timestamp::EPOCH.plus(date.duration_since(std::time::UNIX_EPOCH).ok()?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn seconds(headers: &[(&'static str, &str)]) -> Option<u64> {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        freshness(&headers, Timestamp::from_millis(1_700_000_000_000)).map(|fresh| fresh.as_secs())
    }

    #[test]
    fn headers_say_how_long() {
        assert_eq!(seconds(&[]), None);
        assert_eq!(seconds(&[("cache-control", "public")]), None);
        assert_eq!(seconds(&[("cache-control", "public, Max-Age=3600")]), Some(3600));
        assert_eq!(seconds(&[("cache-control", "max-age=\"60\"")]), Some(60));
        assert_eq!(seconds(&[("cache-control", "max-age=3600"), ("age", "600")]), Some(3000));
        assert_eq!(seconds(&[("cache-control", "max-age=3600, no-store")]), Some(0));
        assert_eq!(seconds(&[("cache-control", "no-cache")]), Some(0));
        assert_eq!(seconds(&[("cache-control", "max-age=x")]), Some(0));
        assert_eq!(seconds(&[("cache-control", "max-age=99999999999999999999999")]), Some(u64::from(u32::MAX)));
        // 1 700 000 000 is Tue, 14 Nov 2023 22:13:20 GMT.
        assert_eq!(seconds(&[("expires", "Tue, 14 Nov 2023 23:13:20 GMT")]), Some(3600));
        assert_eq!(
            seconds(&[("expires", "Tue, 14 Nov 2023 23:13:20 GMT"), ("date", "Tue, 14 Nov 2023 23:03:20 GMT")]),
            Some(600)
        );
        assert_eq!(seconds(&[("expires", "0")]), Some(0));
        assert_eq!(seconds(&[("expires", "Tue, 14 Nov 2023 23:13:20 GMT"), ("cache-control", "max-age=5")]), Some(5));
    }
}
