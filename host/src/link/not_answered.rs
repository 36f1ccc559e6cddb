//! Why a call has no answer, and whose fault that is. There is one type for calls over links of every binding, for HTTP
//! requests, messages and timers. It is mapped once to each side: to the text that a caller gets over WIT (`Display`), to HTTP
//! (`HostProblem` in `serve`), and to metrics, circuit breaker and health (`LinkOutcome` and `Outcome` in `serve`).

use crate::guest_error::GuestError;
use std::time::Duration;

/// A value, or the reason why there is none.
pub type Answered<T> = Result<T, NotAnswered>;

/// Why a call has no answer. The text of each reason completes "the callee: …".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnswered {
    /// The application has no such component.
    #[error("there is no such component")]
    Unknown,
    /// The caller's deadline was over before the call began.
    #[error("the deadline has passed")]
    DeadlinePassed,
    /// The arguments or the answer have too many bytes in one list.
    #[error("a list has more bytes than may cross a link (256 KiB)")]
    TooManyBytes,
    /// The circuit breaker of the link is open.
    #[error("it failed too often just now; the circuit breaker is open")]
    BreakerOpen,
    /// The component has reached its limit on this core, or the instance pool is full.
    #[error("it is overloaded")]
    Full,
    /// There was no answer in this time. An instance on this host was retired.
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// The instance ended before it answered.
    #[error("its instance trapped")]
    Trapped,
    /// The guest returned an error instead of an answer.
    #[error("{}", .0.reason)]
    Failed(GuestError),
    /// Another host, or a file of answers, says that the component is unavailable.
    #[error("{0}")]
    Unavailable(String),
    /// The connection to another host could not be made, or was lost.
    #[error("the connection was lost: {reason}")]
    Lost {
        /// Whether the call may have arrived.
        sent: bool,
        /// The reason.
        reason: String,
    },
    /// Two hosts do not understand each other, for example because of different types.
    #[error("{0}")]
    Mismatch(String),
    /// Somebody asked for this failure.
    #[error("{INJECTED}")]
    Injected,
}

/// The text of injected failures.
pub const INJECTED: &str = "injected fault; see localmart fault list";

/// Who can do something about a call without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtFault {
    /// Who called.
    Caller,
    /// The component that was called.
    Callee,
    /// The host or its operator: capacity, links, injected faults.
    Host,
    /// Another host, or the network to it.
    OtherHost,
}

impl AtFault {
    /// As it is written in logs and traces.
    pub fn name(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Callee => "callee",
            Self::Host => "host",
            Self::OtherHost => "other host",
        }
    }
}

impl NotAnswered {
    /// A failure of a guest with this reason and no stack.
    pub fn failed(reason: impl Into<String>) -> Self {
        Self::Failed(GuestError {
            reason: reason.into(),
            stack: None,
        })
    }

    /// Whose fault it is.
    pub fn at_fault(&self) -> AtFault {
        match self {
            Self::DeadlinePassed | Self::TooManyBytes => AtFault::Caller,
            Self::TimedOut(_) | Self::Trapped | Self::Failed(_) | Self::BreakerOpen => {
                AtFault::Callee
            }
            Self::Unknown | Self::Full | Self::Injected => AtFault::Host,
            Self::Unavailable(_) | Self::Lost { .. } | Self::Mismatch(_) => AtFault::OtherHost,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_says_what_happened_and_whose_fault_it_is() {
        let late = NotAnswered::TimedOut(Duration::from_millis(1_500));
        assert_eq!(late.to_string(), "no answer within 1500 ms");
        assert_eq!(late.at_fault().name(), "callee");
        let lost = NotAnswered::Lost {
            sent: false,
            reason: "refused".to_owned(),
        };
        assert_eq!(lost.to_string(), "the connection was lost: refused");
        assert_eq!(lost.at_fault(), AtFault::OtherHost);
        assert_eq!(NotAnswered::failed("no").to_string(), "no");
        assert_eq!(NotAnswered::DeadlinePassed.at_fault(), AtFault::Caller);
        assert_eq!(NotAnswered::Full.at_fault(), AtFault::Host);
    }
}
