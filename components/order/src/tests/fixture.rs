//! Fake services for the tests of orders: one product, one cart, one payment provider. A test can make any call fail.

use crate::domain::links::{
    CartSnapshot, Line, LinkError, LinkResult, Links, Payment, PaymentStatus, Product, Refund,
};
use crate::domain::pricing::{Policies, PricingInput, Tax};
use crate::domain::returns::{Pieces, Return};
use crate::domain::status::Status;
use crate::domain::{Checkout, Order, ShortLine};
use crate::service::{OrderError, Orders, Settings};
use localmart_guest::kernel::{Address, Asker, Currency, Id, Money, Timestamp};
use localmart_guest::wit::Context;
use localmart_testkit::{TestDatabase, TestEnvironment, now};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

#[derive(Clone, Copy, PartialEq, Eq)]
enum FakeReservation {
    Held,
    Sold,
    Returned,
}

struct FakeServices {
    environment: TestEnvironment,
    cart: CartSnapshot,
    changes_once: bool,
    price: u64,
    on_hand: u32,
    reservations: BTreeMap<String, (u32, FakeReservation)>,
    /// Per order: payment id, status, amount, captured, refunded.
    payments: BTreeMap<String, (Id, PaymentStatus, u64, u64, u64)>,
    /// The refunded amounts by name.
    refunds: BTreeMap<String, u64>,
    /// The returns whose pieces are back in stock.
    returned_once: BTreeSet<String>,
    /// How many more calls succeed; `None` for all.
    calls_left: Option<u32>,
}

#[derive(Clone)]
pub(super) struct FakeLinks(Rc<RefCell<FakeServices>>);

pub(super) struct Fixture {
    pub(super) environment: TestEnvironment,
    pub(super) database: TestDatabase,
    pub(super) orders: Orders<TestDatabase, FakeLinks>,
    services: Rc<RefCell<FakeServices>>,
}

impl Fixture {
    /// A cart with two pieces of a product with this price and stock.
    pub(super) fn new(price: u64, stock: u32) -> Self {
        let environment = TestEnvironment::new();
        let product = environment.ports().new_id();
        let cart = CartSnapshot {
            id: environment.ports().new_id(),
            currency: Currency::USD,
            lines: vec![Line {
                product_id: product,
                quantity: 2,
            }],
            order_id: None,
            version: 1,
        };
        let services = Rc::new(RefCell::new(FakeServices {
            environment: environment.clone(),
            cart,
            changes_once: false,
            price,
            on_hand: stock,
            reservations: BTreeMap::new(),
            payments: BTreeMap::new(),
            refunds: BTreeMap::new(),
            returned_once: BTreeSet::new(),
            calls_left: None,
        }));
        let settings = Settings {
            reservation_ttl_ms: 900_000,
            reconcile_after_ms: 60_000,
            idempotency_ttl_ms: 86_400_000,
            order_token_key: "key".into(),
        };
        let database = TestDatabase::new(&[
            include_str!("../../migrations/0001_orders.sql"),
            include_str!("../../migrations/0002_customers.sql"),
            include_str!("../../migrations/0003_returns.sql"),
            include_str!("../../migrations/0004_leases.sql"),
            include_str!("../../migrations/0005_flags.sql"),
        ]);
        let orders = Orders::new(
            database.clone(),
            FakeLinks(services.clone()),
            environment.ports(),
            settings,
        );
        Self {
            environment,
            database,
            orders,
            services,
        }
    }

    pub(super) fn checkout(&self, token: &str) -> Result<Order, OrderError> {
        self.run(&self.environment.ports().new_id(), token)
    }

    pub(super) fn checkout_expecting(&self, total: u64) -> Result<Order, OrderError> {
        let expected_total = Some(Money::new(total, Currency::USD).unwrap());
        let checkout = Checkout {
            expected_total,
            ..self.checkout_form("tok_visa")
        };
        now(self.orders.checkout(
            &Context::system(""),
            &self.environment.ports().new_id(),
            &checkout,
        ))
    }

    pub(super) fn run(&self, id: &Id, token: &str) -> Result<Order, OrderError> {
        now(self
            .orders
            .checkout(&Context::system(""), id, &self.checkout_form(token)))
    }

    pub(super) fn read(&self, id: &Id) -> Result<Order, OrderError> {
        now(self.orders.get(id.as_str(), &Asker::System, None))
    }

    /// A delivered order with two pieces.
    pub(super) fn delivered(&self) -> Order {
        let mut order = self.checkout("tok_visa").unwrap();
        for to in [Status::Shipped, Status::Delivered] {
            let staff = Context::system("");
            order = now(self.orders.advance_to(&staff, &order, to)).unwrap();
        }
        order
    }

    /// Requests a return of some pieces.
    pub(super) fn request_return(
        &self,
        order: &Order,
        quantity: u32,
    ) -> Result<Return, OrderError> {
        let product_id = order.items[0].product_id.clone();
        let pieces = vec![Pieces {
            product_id,
            quantity,
        }];
        let order = self.read(&order.id)?;
        let name = format!("{} of {}", quantity, order.version);
        let context = Context::system("");
        let requested = self
            .orders
            .request_return(&context, order, &name, pieces, "no".into());
        now(requested).map(|(_, returned)| returned)
    }

    /// Approves a return.
    pub(super) fn approve(&self, order: &Order, returned: &Return) -> Result<Order, OrderError> {
        let (context, id) = (Context::system(""), returned.id.as_str());
        now(self.orders.approve_return(&context, order, id)).map(|(order, _)| order)
    }

    /// Lets the next calls succeed and all later ones fail, as if the process had died.
    pub(super) fn fail_after(&self, calls: u32) {
        self.services.borrow_mut().calls_left = Some(calls);
    }

    pub(super) fn recover(&self) {
        self.services.borrow_mut().calls_left = None;
    }

    pub(super) fn set_price(&self, price: u64) {
        self.services.borrow_mut().price = price;
    }

    /// Simulates that the cart gets another piece between reading and completing it.
    pub(super) fn change_cart_once(&self) {
        self.services.borrow_mut().changes_once = true;
    }

    pub(super) fn cart_order(&self) -> Option<Id> {
        self.services.borrow().cart.order_id.clone()
    }

    /// The numbers of pieces on hand and reserved, and the captured and refunded amounts.
    pub(super) fn totals(&self) -> (u32, u32, u64, u64) {
        let services = self.services.borrow();
        let reserved = services
            .reservations
            .values()
            .filter(|(_, reservation)| *reservation == FakeReservation::Held)
            .map(|(count, _)| count)
            .sum();
        let captured = services.payments.values().map(|payment| payment.3).sum();
        let refunded = services.payments.values().map(|payment| payment.4).sum();
        (services.on_hand, reserved, captured, refunded)
    }

    pub(super) fn checkout_form(&self, token: &str) -> Checkout {
        let address = Address {
            name: "N".into(),
            line1: "L".into(),
            line2: None,
            city: "C".into(),
            region: None,
            postal_code: "1".into(),
            country: "US".into(),
        };
        Checkout {
            cart_id: self.services.borrow().cart.id.clone(),
            customer_id: None,
            email: Some("a@b.c".into()),
            shipping_address: address.clone(),
            billing_address: address,
            payment_token: token.into(),
            expected_total: None,
        }
    }
}

impl FakeLinks {
    fn call<T>(&self, call: impl FnOnce(&mut FakeServices) -> LinkResult<T>) -> LinkResult<T> {
        let mut services = self.0.borrow_mut();
        match &mut services.calls_left {
            Some(0) => return Err(LinkError::Unavailable("the service is down".into())),
            Some(calls_left) => *calls_left -= 1,
            None => {}
        }
        call(&mut services)
    }
}

impl Policies for FakeLinks {
    fn discount(&self, order: &PricingInput<'_>) -> Result<Vec<u64>, String> {
        Ok(vec![0; order.items.len()])
    }

    fn shipping(&self, _: &PricingInput<'_>) -> Result<u64, String> {
        Ok(0)
    }

    fn tax(&self, order: &PricingInput<'_>) -> Result<Tax, String> {
        Ok(Tax {
            items: vec![0; order.items.len()],
            shipping: 0,
        })
    }
}

impl Links for FakeLinks {
    async fn products(&self, _: &Context, ids: &[Id]) -> LinkResult<Vec<Product>> {
        self.call(|services| {
            let price = Money::new(services.price, Currency::USD).unwrap();
            let product = |id: &Id| Product {
                id: id.clone(),
                sku: "S".into(),
                name: "N".into(),
                category: String::new(),
                price,
                published: true,
            };
            Ok(ids.iter().map(product).collect())
        })
    }

    async fn cart(&self, _: &Context, _: &Id) -> LinkResult<CartSnapshot> {
        self.call(|services| Ok(services.cart.clone()))
    }

    async fn complete_cart(&self, _: &Context, _: &Id, order: &Id, version: u64) -> LinkResult<()> {
        self.call(|services| {
            if std::mem::take(&mut services.changes_once) {
                services.cart.lines[0].quantity += 1;
                services.cart.version += 1;
            }
            match &services.cart.order_id {
                Some(known) if known == order => Ok(()),
                Some(known) => Err(LinkError::CartCompleted(known.clone())),
                None if services.cart.version != version => Err(LinkError::CartChanged),
                None => {
                    services.cart.order_id = Some(order.clone());
                    services.cart.version += 1;
                    Ok(())
                }
            }
        })
    }

    async fn reopen_cart(&self, _: &Context, _: &Id, order: &Id) -> LinkResult<()> {
        self.call(|services| {
            if services.cart.order_id.as_ref() == Some(order) {
                services.cart.order_id = None;
                services.cart.version += 1;
            }
            Ok(())
        })
    }

    async fn reserve(
        &self,
        _: &Context,
        order: &Id,
        lines: &[Line],
        _: Timestamp,
    ) -> LinkResult<()> {
        self.call(|services| {
            if services.reservations.contains_key(order.as_str()) {
                return Ok(());
            }
            let count = lines[0].quantity;
            let reserved: u32 = services
                .reservations
                .values()
                .filter(|(_, reservation)| *reservation == FakeReservation::Held)
                .map(|(count, _)| count)
                .sum();
            if services.on_hand - reserved < count {
                let available = u64::from(services.on_hand - reserved);
                return Err(LinkError::Insufficient(vec![ShortLine {
                    product_id: lines[0].product_id.clone(),
                    requested: count,
                    available,
                }]));
            }
            services
                .reservations
                .insert(order.to_string(), (count, FakeReservation::Held));
            Ok(())
        })
    }

    async fn confirm(&self, _: &Context, order: &Id) -> LinkResult<()> {
        self.call(
            |services| match services.reservations.get_mut(order.as_str()) {
                Some((_, FakeReservation::Sold)) => Ok(()),
                Some((count, reservation @ FakeReservation::Held)) => {
                    *reservation = FakeReservation::Sold;
                    services.on_hand -= *count;
                    Ok(())
                }
                _ => Err(LinkError::ReservationLost),
            },
        )
    }

    async fn release(&self, _: &Context, order: &Id) -> LinkResult<()> {
        self.call(|services| {
            if let Some((_, reservation @ FakeReservation::Held)) =
                services.reservations.get_mut(order.as_str())
            {
                *reservation = FakeReservation::Returned;
            }
            Ok(())
        })
    }

    async fn restock(&self, _: &Context, order: &Id) -> LinkResult<()> {
        self.call(|services| {
            if let Some((count, reservation @ FakeReservation::Sold)) =
                services.reservations.get_mut(order.as_str())
            {
                *reservation = FakeReservation::Returned;
                services.on_hand += *count;
            }
            Ok(())
        })
    }

    async fn take_back(
        &self,
        _: &Context,
        order: &Id,
        return_id: &Id,
        lines: &[Line],
    ) -> LinkResult<()> {
        self.call(|services| {
            assert!(services.reservations[order.as_str()].1 == FakeReservation::Sold);
            if services.returned_once.insert(return_id.to_string()) {
                services.on_hand += lines.iter().map(|line| line.quantity).sum::<u32>();
            }
            Ok(())
        })
    }

    async fn refund(&self, _: &Context, id: &Id, name: &str, at_most: Money) -> LinkResult<Refund> {
        self.call(|services| {
            let mut payments = services.payments.values_mut();
            let payment = payments.find(|payment| payment.0 == *id).unwrap();
            let left = payment.3 - payment.4;
            let given = services.refunds.get(name).copied();
            let amount = given.unwrap_or_else(|| {
                let amount = at_most.amount().min(left);
                payment.4 += amount;
                amount
            });
            services.refunds.insert(name.to_owned(), amount);
            payment.1 = if payment.4 == payment.3 {
                PaymentStatus::Refunded
            } else {
                PaymentStatus::PartiallyRefunded
            };
            Ok(Refund {
                amount: Money::new(amount, at_most.currency()).unwrap(),
                payment: Payment {
                    id: id.clone(),
                    status: payment.1,
                    version: 3 + services.refunds.len() as u64,
                },
            })
        })
    }

    async fn email(&self, _: &Context, user: &str) -> LinkResult<String> {
        Ok(format!("{user}@b.c"))
    }

    async fn authorize(
        &self,
        _: &Context,
        order: &Id,
        _: Option<&str>,
        amount: Money,
        token: &str,
    ) -> LinkResult<Payment> {
        self.call(|services| {
            let fresh = (
                services.environment.ports().new_id(),
                PaymentStatus::Pending,
                amount.amount(),
                0,
                0,
            );
            let payment = services.payments.entry(order.to_string()).or_insert(fresh);
            if payment.1 == PaymentStatus::Pending {
                payment.1 = match token {
                    "tok_declined" => PaymentStatus::Failed,
                    "tok_timeout" => {
                        return Err(LinkError::NoAnswer(Payment {
                            id: payment.0.clone(),
                            status: PaymentStatus::Pending,
                            version: 1,
                        }));
                    }
                    _ => PaymentStatus::Authorized,
                };
            }
            match payment.1 {
                PaymentStatus::Failed => Err(LinkError::Declined("no".into())),
                PaymentStatus::Voided | PaymentStatus::Refunded => Err(LinkError::PaymentEnded),
                status => Ok(Payment {
                    id: payment.0.clone(),
                    status,
                    version: 2,
                }),
            }
        })
    }

    async fn capture(&self, _: &Context, id: &Id) -> LinkResult<Payment> {
        self.call(|services| {
            let payment = services
                .payments
                .values_mut()
                .find(|payment| payment.0 == *id)
                .unwrap();
            if payment.1 == PaymentStatus::Authorized {
                payment.1 = PaymentStatus::Captured;
                payment.3 = payment.2;
            }
            Ok(Payment {
                id: id.clone(),
                status: payment.1,
                version: 3,
            })
        })
    }

    async fn settle(&self, _: &Context, id: &Id) -> LinkResult<Payment> {
        self.call(|services| {
            let payment = services
                .payments
                .values_mut()
                .find(|payment| payment.0 == *id)
                .unwrap();
            if payment.1 == PaymentStatus::Pending {
                payment.1 = PaymentStatus::Authorized;
            }
            Ok(Payment {
                id: id.clone(),
                status: payment.1,
                version: 3,
            })
        })
    }

    async fn reverse(&self, _: &Context, order: &Id) -> LinkResult<Option<Payment>> {
        self.call(|services| {
            Ok(services.payments.get_mut(order.as_str()).map(|payment| {
                match payment.1 {
                    PaymentStatus::Pending | PaymentStatus::Authorized => {
                        payment.1 = PaymentStatus::Voided
                    }
                    PaymentStatus::Captured => {
                        payment.1 = PaymentStatus::Refunded;
                        payment.4 = payment.3;
                    }
                    _ => {}
                }
                Payment {
                    id: payment.0.clone(),
                    status: payment.1,
                    version: 4,
                }
            }))
        })
    }
}
