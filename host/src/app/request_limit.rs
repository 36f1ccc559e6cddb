//! The settings of a limit of single requests, such as logins; the counting is in `serve`.

use super::parse_duration;
use super::routes::Pattern;
use crate::manifest::schema::RequestLimitTable;
use http::Method;
use std::time::{Duration, Instant};

/// The limits of some requests, which they share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestLimit {
    /// Methods and routes; `None` for every method.
    requests: Vec<(Option<Method>, Pattern)>,
    pub(crate) per_address: Option<Rate>,
    /// Whether clients on this machine count, whatever the limits for clients say.
    pub(crate) loopback: bool,
    pub(crate) in_all: Option<Rate>,
    /// How many run at once on each core, and how many more may wait.
    pub(crate) at_once: Option<(usize, usize)>,
}

/// So many requests in a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    /// The mean time between two requests.
    interval: Duration,
    period: Duration,
}

impl RequestLimit {
    /// Reads a table, whose templates are already expanded. The error names the key.
    pub fn parse(table: &RequestLimitTable) -> Result<Self, String> {
        let request = |text: &String| {
            let (method, path) = text.split_once(' ')?;
            let method = match method {
                "*" => None,
                method => Some(Method::from_bytes(method.as_bytes()).ok()?),
            };
            Some((method, Pattern::parse(path).ok()?))
        };
        let requests = table.requests.iter().map(|text| {
            request(text)
                .ok_or_else(|| format!("`{text}` is not a request such as POST /api/things"))
        });
        let rate = |key: &str, text: &Option<String>| {
            let text = text.as_deref().filter(|text| *text != "none");
            let read = |text: &str| {
                Rate::parse(text).ok_or_else(|| {
                    format!("{key} = `{text}` is neither a rate such as 60/1m nor none")
                })
            };
            Ok::<_, String>(text.map(read).transpose()?.flatten())
        };
        let number = |key: &str, text: &Option<String>| {
            let read = |text: &String| {
                let number = text.parse::<usize>();
                number.map_err(|_| format!("{key} = `{text}` is not a number of requests"))
            };
            text.as_ref().map(read).transpose()
        };
        let at_once = number("at_once", &table.at_once)?.filter(|most| *most > 0);
        let waiting = number("waiting", &table.waiting)?.unwrap_or_default();
        Ok(Self {
            requests: requests.collect::<Result<_, _>>()?,
            per_address: rate("per_address", &table.per_address)?,
            loopback: table.count_loopback,
            in_all: rate("in_all", &table.in_all)?,
            at_once: at_once.map(|most| (most, waiting)),
        })
    }

    pub(crate) fn covers(&self, method: &Method, path: &str) -> bool {
        self.requests.iter().any(|(known, pattern)| {
            known.as_ref().is_none_or(|known| known == method) && pattern.matches(path).is_some()
        })
    }

    /// Whether it limits anything.
    pub(crate) fn is_on(&self) -> bool {
        self.per_address.is_some() || self.in_all.is_some() || self.at_once.is_some()
    }
}

impl Rate {
    /// Reads `60/1m`; `Some(None)` is `0/1m`, no limit.
    pub(crate) fn parse(text: &str) -> Option<Option<Self>> {
        let (count, period) = text.split_once('/')?;
        let count = count.trim().parse::<u32>().ok()?;
        let period = parse_duration(period.trim()).filter(|period| !period.is_zero())?;
        let interval = period.checked_div(count);
        Some(interval.map(|interval| Self { interval, period }))
    }

    /// Counts a request (the generic cell rate algorithm): all of a period at once, or evenly spaced. `next` is when the
    /// requests so far are worked off at the mean rate. The error is the time after which a request is allowed.
    pub(crate) fn count(self, next: &mut Instant, now: Instant) -> Result<(), Duration> {
        let after = (*next).max(now) + self.interval;
        let ahead = after.saturating_duration_since(now);
        if ahead > self.period {
            return Err(ahead - self.period);
        }
        *next = after;
        Ok(())
    }
}
