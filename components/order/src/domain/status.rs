//! The status graph: one table with every allowed transition.

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
