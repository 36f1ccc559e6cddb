//! A payment and its status. No clock, no I/O.

use localmart_guest::kernel::{Asker, Id, Money, Timestamp, named};

named! {
    /// The status of a payment.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Status {
        Pending = "pending",
        Authorized = "authorized",
        Captured = "captured",
        PartiallyRefunded = "partially_refunded",
        Refunded = "refunded",
        Voided = "voided",
        Failed = "failed",
    }
}

impl Status {
    /// Whether money was captured that can be refunded.
    pub(crate) fn is_refundable(self) -> bool {
        matches!(self, Self::Captured | Self::PartiallyRefunded)
    }
}

/// The payment of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Payment {
    pub(crate) id: Id,
    pub(crate) order_id: Id,
    pub(crate) customer_id: Option<String>,
    pub(crate) status: Status,
    pub(crate) amount: Money,
    /// The captured amount, in minor units of the payment's currency.
    pub(crate) captured: u64,
    /// The refunded amount, in minor units of the payment's currency.
    pub(crate) refunded: u64,
    /// The part of `refunded` that was certainly sent to the provider.
    pub(crate) refund_sent: u64,
    /// Why the payment failed, for the shopper.
    pub(crate) reason: Option<String>,
    pub(crate) version: u64,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

impl Payment {
    /// Whether somebody may see the payment: those who run the shop, the user who pays, and whoever holds the token of the
    /// order, which the guest got who ordered.
    pub(crate) fn is_open_to(&self, asker: &Asker, holds_token: bool) -> bool {
        let owner = self.customer_id.as_deref();
        asker.runs_the_shop() || holds_token || owner.is_some_and(|owner| asker.is_user(owner))
    }

    /// Adds a refund and updates the status.
    pub(crate) fn add_refund(&mut self, amount: u64) {
        self.refunded += amount;
        self.status = if self.refundable() == 0 {
            Status::Refunded
        } else {
            Status::PartiallyRefunded
        };
    }

    /// The amount that can still be refunded.
    pub(crate) fn refundable(&self) -> u64 {
        self.captured.saturating_sub(self.refunded)
    }
}

/// A refund: the amount, and the payment after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refund {
    pub(crate) amount: u64,
    pub(crate) payment: Payment,
}

/// What to do if a refund is larger than the refundable amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Excess {
    /// Refuse the refund.
    Refused,
    /// Refund the refundable amount.
    Capped,
}
