//! The status graph: one table with every allowed transition.

use localmart_events::OrderStatus;
use localmart_guest::kernel::named;

named! {
    /// The status of an order.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Status {
        Pending = "pending",
        Paid = "paid",
        Failed = "failed",
        Cancelled = "cancelled",
        Shipped = "shipped",
        Delivered = "delivered",
        ReturnRequested = "return_requested",
        Returned = "returned",
    }
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
    pub(crate) fn may_become(self, next: Self) -> bool {
        GRAPH.contains(&(self, next))
    }
}
