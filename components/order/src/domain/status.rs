//! The status graph: one table with every allowed transition.

use localmart_events::OrderStatus;

/// The status of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Pending,
    Paid,
    Failed,
    Cancelled,
    Shipped,
    Delivered,
    ReturnRequested,
    Returned,
}

impl From<Status> for OrderStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Pending => Self::Pending,
            Status::Paid => Self::Paid,
            Status::Failed => Self::Failed,
            Status::Cancelled => Self::Cancelled,
            Status::Shipped => Self::Shipped,
            Status::Delivered => Self::Delivered,
            Status::ReturnRequested => Self::ReturnRequested,
            Status::Returned => Self::Returned,
        }
    }
}

/// All statuses with their names.
pub(crate) const ALL: [(Status, &str); 8] = [
    (Status::Pending, "pending"),
    (Status::Paid, "paid"),
    (Status::Failed, "failed"),
    (Status::Cancelled, "cancelled"),
    (Status::Shipped, "shipped"),
    (Status::Delivered, "delivered"),
    (Status::ReturnRequested, "return_requested"),
    (Status::Returned, "returned"),
];

/// All allowed transitions.
const GRAPH: [(Status, Status); 9] = [
    (Status::Pending, Status::Paid),
    (Status::Pending, Status::Failed),
    (Status::Pending, Status::Cancelled),
    (Status::Paid, Status::Shipped),
    (Status::Paid, Status::Cancelled),
    (Status::Shipped, Status::Delivered),
    (Status::Delivered, Status::ReturnRequested),
    (Status::ReturnRequested, Status::Returned),
    (Status::ReturnRequested, Status::Delivered),
];

impl Status {
    pub(crate) fn name(self) -> &'static str {
        ALL.iter()
            .find(|(status, _)| *status == self)
            .map_or("", |(_, name)| name)
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        ALL.iter()
            .find(|(_, known)| *known == name)
            .map(|(status, _)| *status)
    }

    pub(crate) fn may_become(self, next: Self) -> bool {
        GRAPH.contains(&(self, next))
    }
}
