//! A payment and the states it goes through. No clock, no I/O.

use localmart_guest::kernel::{Id, Money, Timestamp};

/// Where a payment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Pending,
    Authorized,
    Captured,
    PartiallyRefunded,
    Refunded,
    Voided,
    Failed,
}

impl Status {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Pending, "pending"),
        (Self::Authorized, "authorized"),
        (Self::Captured, "captured"),
        (Self::PartiallyRefunded, "partially_refunded"),
        (Self::Refunded, "refunded"),
        (Self::Voided, "voided"),
        (Self::Failed, "failed"),
    ];

    pub(crate) fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(status, _)| *status == self)
            .map_or("", |(_, name)| name)
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(status, _)| *status)
    }

    /// Whether money was taken and can be given back.
    pub(crate) fn holds_money(self) -> bool {
        matches!(self, Self::Captured | Self::PartiallyRefunded)
    }
}

/// A payment of one order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Payment {
    pub(crate) id: Id,
    pub(crate) order_id: Id,
    pub(crate) customer_id: Option<String>,
    pub(crate) status: Status,
    pub(crate) amount: Money,
    /// Taken, in the currency of the amount.
    pub(crate) captured: u64,
    /// Given back, in the currency of the amount.
    pub(crate) refunded: u64,
    /// What of it the provider surely knows.
    pub(crate) refund_sent: u64,
    /// Why it failed, in words for the shopper.
    pub(crate) reason: Option<String>,
    pub(crate) version: u64,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

impl Payment {
    /// The same payment with so much more given back.
    pub(crate) fn give_back(&mut self, amount: u64) {
        self.refunded += amount;
        self.status = if self.refundable() == 0 {
            Status::Refunded
        } else {
            Status::PartiallyRefunded
        };
    }

    /// What may still be given back.
    pub(crate) fn refundable(&self) -> u64 {
        self.captured.saturating_sub(self.refunded)
    }
}

/// Money given back: how much, and what the payment has become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refund {
    pub(crate) amount: u64,
    pub(crate) payment: Payment,
}

/// What happens if more is asked back than is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Excess {
    /// Nothing: it is refused.
    Refused,
    /// What is left is given back.
    Capped,
}
