//! The rules, SQL statements and saga of order, on SQLite and Postgres, with fake services.

mod fixture;

use crate::domain::links::{LinkError, PaymentStatus};
use crate::domain::returns::{Pieces, Return, ReturnError, ReturnStatus, refund_of};
use crate::domain::status::Status;
use crate::domain::{Checkout, Failure, PricingError, number};
use crate::service::OrderError;
use crate::store::{Claim, Store};
use fixture::Fixture;
use localmart_guest::kernel::money::MAX_AMOUNT;
use localmart_guest::kernel::{Asker, Currency, Money, MoneyError};
use localmart_guest::wit::Context;
use localmart_testkit::now;

#[test]
fn a_checkout_captures_the_payment_and_takes_stock_once() {
    let fixture = Fixture::new(1999, 5);
    let order = fixture.checkout("tok_visa").unwrap();
    assert_eq!(
        (order.status, order.totals.total.amount()),
        (Status::Paid, 3998)
    );
    let statuses: Vec<Status> = order.history.iter().map(|step| step.status).collect();
    assert_eq!(statuses, [Status::Pending, Status::Paid]);
    assert_eq!(fixture.totals(), (3, 0, 3998, 0));
    assert_eq!(order.payment_token, None);
    assert_eq!(fixture.read(&order.id).unwrap(), order);
    assert_eq!(fixture.totals(), (3, 0, 3998, 0));
}

#[test]
fn a_checkout_that_dies_at_any_step_is_completed_by_a_retry() {
    for step in 0..12 {
        let fixture = Fixture::new(1999, 5);
        fixture.fail_after(step);
        let id = fixture.environment.ports().new_id();
        if fixture.run(&id, "tok_visa").is_ok() {
            assert!(step >= 5, "a checkout has at least five steps");
            break;
        }
        fixture.recover();
        // A retry with the same key must wait until the lease of the dead request has expired.
        fixture.environment.advance_ms(6_000);
        let order = fixture
            .run(&id, "tok_visa")
            .unwrap_or_else(|error| panic!("step {step}: {error}"));
        assert_eq!(
            (order.status, fixture.totals()),
            (Status::Paid, (3, 0, 3998, 0)),
            "step {step}"
        );
    }
}

#[test]
fn the_sweep_finishes_a_checkout_that_is_not_retried() {
    for step in 0..6 {
        let fixture = Fixture::new(1999, 5);
        fixture.fail_after(step);
        let id = fixture.environment.ports().new_id();
        let written = fixture.run(&id, "tok_visa").is_err();
        fixture.recover();
        fixture.environment.advance_ms(12_000);
        now(fixture.orders.sweep(&Context::system(""))).unwrap();
        let order = now(fixture.orders.get(id.as_str(), &Asker::System, None));
        match order {
            Ok(order) => assert_eq!(
                (order.status, fixture.totals()),
                (Status::Paid, (3, 0, 3998, 0)),
                "step {step}"
            ),
            // The checkout died before anything was written.
            Err(error) => assert_eq!(
                (written, error, fixture.totals()),
                (true, OrderError::NotFound, (5, 0, 0, 0))
            ),
        }
    }
}

#[test]
fn a_refused_card_leaves_only_a_failed_order() {
    let fixture = Fixture::new(1999, 5);
    let declined = Failure::Declined("no".into());
    assert_eq!(
        fixture.checkout("tok_declined"),
        Err(OrderError::Failed(Box::new(declined)))
    );
    assert_eq!(fixture.totals(), (5, 0, 0, 0));
    assert_eq!(fixture.cart_order(), None);
    assert_eq!(fixture.checkout("tok_visa").unwrap().status, Status::Paid);
}

#[test]
fn too_little_stock_charges_nothing() {
    let fixture = Fixture::new(1999, 1);
    let error = fixture.checkout("tok_visa").unwrap_err();
    assert!(
        matches!(error, OrderError::Failed(failure) if matches!(&*failure, Failure::Insufficient(short) if short[0].available == 1))
    );
    assert_eq!(fixture.totals(), (1, 0, 0, 0));
}

#[test]
fn a_cart_is_ordered_once_whatever_the_keys() {
    let fixture = Fixture::new(1999, 5);
    let order = fixture.checkout("tok_visa").unwrap();
    assert_eq!(
        fixture.checkout("tok_visa"),
        Err(OrderError::CartCompleted(order.id.clone()))
    );
    assert_eq!(fixture.totals(), (3, 0, 3998, 0));
}

#[test]
fn a_provider_that_does_not_answer_leaves_the_order_pending_until_it_is_settled() {
    let fixture = Fixture::new(1999, 5);
    let order = fixture.checkout("tok_timeout").unwrap();
    assert_eq!(
        (order.status, fixture.totals()),
        (Status::Pending, (5, 2, 0, 0))
    );
    now(fixture.orders.sweep(&Context::system(""))).unwrap();
    assert_eq!(fixture.read(&order.id).unwrap().status, Status::Pending);
    fixture.environment.advance_ms(61_000);
    now(fixture.orders.sweep(&Context::system(""))).unwrap();
    assert_eq!(
        (fixture.read(&order.id).unwrap().status, fixture.totals()),
        (Status::Paid, (3, 0, 3998, 0))
    );
}

#[test]
fn cancelling_returns_money_and_stock_once() {
    for token in ["tok_visa", "tok_timeout"] {
        let fixture = Fixture::new(1999, 5);
        let order = fixture.checkout(token).unwrap();
        let cancelled =
            now(fixture
                .orders
                .cancel(&Context::system(""), order, Some("too late".into())))
            .unwrap();
        assert_eq!(cancelled.status, Status::Cancelled);
        assert_eq!(
            cancelled.history.last().unwrap().reason.as_deref(),
            Some("too late")
        );
        let (on_hand, reserved, taken, given_back) = fixture.totals();
        assert_eq!((on_hand, reserved, taken), (5, 0, given_back), "{token}");
        let repeated = now(fixture.orders.cancel(&Context::system(""), cancelled, None));
        assert_eq!(
            repeated,
            Err(OrderError::IllegalTransition(
                Status::Cancelled,
                Status::Cancelled
            ))
        );
        fixture.environment.advance_ms(61_000);
        now(fixture.orders.sweep(&Context::system(""))).unwrap();
        assert_eq!(fixture.totals(), (on_hand, reserved, taken, given_back));
    }
}

#[test]
fn the_sweep_finishes_an_interrupted_cancellation() {
    let fixture = Fixture::new(1999, 5);
    let order = fixture.checkout("tok_visa").unwrap();
    let id = order.id.clone();
    fixture.fail_after(1);
    assert!(now(fixture.orders.cancel(&Context::system(""), order, None)).is_err());
    fixture.recover();
    fixture.environment.advance_ms(6_000);
    now(fixture.orders.sweep(&Context::system(""))).unwrap();
    assert_eq!(fixture.read(&id).unwrap().status, Status::Cancelled);
    assert_eq!(fixture.totals(), (5, 0, 3998, 3998));
}

#[test]
fn returned_pieces_are_refunded_piece_by_piece() {
    let fixture = Fixture::new(1999, 5);
    let order = fixture.delivered();
    assert_eq!(
        fixture.request_return(&order, 3),
        Err(OrderError::Return(ReturnError::TooMany {
            index: 0,
            left: 2
        }))
    );
    let first = fixture.request_return(&order, 1).unwrap();
    assert_eq!(
        fixture.request_return(&order, 1),
        Err(OrderError::IllegalTransition(
            Status::ReturnRequested,
            Status::ReturnRequested
        ))
    );
    let after = fixture.approve(&order, &first).unwrap();
    assert_eq!(
        (after.status, after.payment.as_ref().unwrap().1),
        (Status::Delivered, PaymentStatus::PartiallyRefunded)
    );
    assert_eq!(fixture.totals(), (4, 0, 3998, 1999));
    assert!(
        fixture.approve(&order, &first).is_err(),
        "the return is already decided"
    );
    let second = fixture.request_return(&order, 1).unwrap();
    let after = fixture.approve(&order, &second).unwrap();
    assert_eq!(after.status, Status::Returned);
    assert_eq!(fixture.totals(), (5, 0, 3998, 3998));
    assert!(
        fixture.request_return(&order, 1).is_err(),
        "all pieces are returned already"
    );
}

#[test]
fn a_rejected_return_leaves_the_order_delivered() {
    let fixture = Fixture::new(1999, 5);
    let order = fixture.delivered();
    let returned = fixture.request_return(&order, 2).unwrap();
    let (context, id) = (Context::system(""), returned.id.as_str());
    let asked = fixture.read(&order.id).unwrap();
    let reject = || {
        let words = Some("worn");
        now(fixture.orders.reject_return(&context, &asked, id, words))
    };
    let (after, rejected) = reject().unwrap();
    assert_eq!(
        (after.status, rejected.status, fixture.totals()),
        (Status::Delivered, ReturnStatus::Rejected, (3, 0, 3998, 0))
    );
    assert_eq!(
        after.history.last().unwrap().reason.as_deref(),
        Some("worn")
    );
    assert!(reject().is_err() && fixture.approve(&order, &returned).is_err());
    fixture.request_return(&order, 2).unwrap();
}

#[test]
fn the_sweep_finishes_a_return_that_died_at_any_step() {
    for step in 0..2 {
        let fixture = Fixture::new(1999, 5);
        let order = fixture.delivered();
        let returned = fixture.request_return(&order, 2).unwrap();
        fixture.fail_after(step);
        assert!(fixture.approve(&order, &returned).is_err());
        fixture.recover();
        fixture.environment.advance_ms(6_000);
        now(fixture.orders.sweep(&Context::system(""))).unwrap();
        assert_eq!(
            (fixture.read(&order.id).unwrap().status, fixture.totals()),
            (Status::Returned, (5, 0, 3998, 3998)),
            "step {step}"
        );
    }
}

#[test]
fn the_refunds_of_all_pieces_add_up_to_the_amount_paid() {
    let fixture = Fixture::new(1999, 9);
    let mut order = fixture.delivered();
    // 7 pieces with a discount and a tax. The last piece also refunds the shipping.
    let usd = |amount| Money::new(amount, Currency::USD).unwrap();
    for (line, discount, tax, shipping) in [(1000, 0, 0, 0), (999, 100, 33, 499), (3, 1, 0, 5)] {
        order.returns.clear();
        let item = &mut order.items[0];
        (item.quantity, item.line_total) = (7, usd(line));
        (item.discount, item.tax) = (usd(discount), usd(tax));
        order.totals.total = usd(line - discount + tax + shipping);
        let product_id = item.product_id.clone();
        let mut sum = 0;
        for quantity in [2, 1, 3, 1] {
            let items = vec![Pieces {
                product_id: product_id.clone(),
                quantity,
            }];
            let refund = refund_of(&order, &items).unwrap();
            sum += refund.amount();
            order.returns.push(Return {
                id: fixture.environment.ports().new_id(),
                name: String::new(),
                status: ReturnStatus::Approved,
                items,
                reason: String::new(),
                refund,
                created_at: fixture.environment.now(),
                updated_at: fixture.environment.now(),
            });
        }
        assert_eq!(usd(sum), order.totals.total);
    }
}

#[test]
fn an_order_is_open_to_its_user_to_the_shop_and_to_whoever_holds_its_token() {
    let fixture = Fixture::new(1999, 5);
    let mut order = fixture.checkout("tok_visa").unwrap();
    let (id, token) = (order.id.clone(), fixture.orders.guest_token(&order));
    let get = |asker: &Asker, token| now(fixture.orders.get(id.as_str(), asker, token)).is_ok();
    let (ada, bob) = (Asker::Customer("ada".into()), Asker::Customer("bob".into()));
    for asker in [&Asker::Guest, &ada] {
        assert!(!get(asker, None) && !get(asker, Some("x")) && get(asker, Some(&token)));
    }
    order.customer_id = Some("ada".to_owned());
    for (asker, open) in [
        (Asker::Guest, false),
        (bob, false),
        (ada, true),
        (Asker::Staff("eve".into()), true),
        (Asker::Admin("eve".into()), true),
        (Asker::System, true),
    ] {
        assert_eq!(order.is_open_to(&asker, false), open, "{asker:?}");
        assert!(order.is_open_to(&asker, true), "{asker:?}");
    }
}

#[test]
fn other_services_read_an_order_with_the_authority_of_their_caller() {
    use crate::contract::get;
    let fixture = Fixture::new(1999, 5);
    let id = fixture.environment.ports().new_id();
    let checkout = Checkout {
        customer_id: Some("ada".into()),
        ..fixture.checkout_form("tok_visa")
    };
    now(fixture
        .orders
        .checkout(&Context::system(""), &id, &checkout))
    .unwrap();
    let store = Store::new(fixture.database.clone(), fixture.environment.ports());
    let read = |asker: Asker| now(get(&store, &asker, id.as_str())).is_ok();
    assert!(read(Asker::Customer("ada".into())), "her own order");
    assert!(read(Asker::Staff("eve".into())) && read(Asker::System));
    assert!(!read(Asker::Customer("bob".into())) && !read(Asker::Guest));
}

#[test]
fn an_order_whose_amounts_contradict_each_other_has_no_refund() {
    let fixture = Fixture::new(1999, 5);
    let order = fixture.checkout("tok_visa").unwrap();
    let usd = |amount| Money::new(amount, Currency::USD).unwrap();
    let pieces = |quantity| {
        [Pieces {
            product_id: order.items[0].product_id.clone(),
            quantity,
        }]
    };
    let negative = Err(ReturnError::Amounts(MoneyError::Negative));
    let mut discounted = order.clone();
    discounted.items[0].discount = usd(order.items[0].line_total.amount() + 1);
    assert_eq!(refund_of(&discounted, &pieces(1)), negative);
    // One piece was returned for more than the whole order cost.
    let mut generous = order.clone();
    generous.returns.push(Return {
        id: fixture.environment.ports().new_id(),
        name: String::new(),
        status: ReturnStatus::Approved,
        items: pieces(1).to_vec(),
        reason: String::new(),
        refund: usd(order.totals.total.amount() + 1),
        created_at: fixture.environment.now(),
        updated_at: fixture.environment.now(),
    });
    assert_eq!(refund_of(&generous, &pieces(1)), negative);
}

#[test]
fn prices_come_from_the_catalog_and_a_changed_total_is_an_error() {
    let fixture = Fixture::new(1999, 5);
    fixture.set_price(2499);
    assert!(matches!(
        fixture.checkout_expecting(3998),
        Err(OrderError::PriceChanged { .. })
    ));
    assert_eq!(
        fixture
            .checkout_expecting(4998)
            .unwrap()
            .totals
            .total
            .amount(),
        4998
    );
    let fixture = Fixture::new(MAX_AMOUNT, 5);
    assert_eq!(
        fixture.checkout("tok_visa"),
        Err(OrderError::Pricing(PricingError::Overflow))
    );
}

#[test]
fn a_cart_that_changes_during_checkout_is_read_again() {
    let fixture = Fixture::new(1999, 5);
    fixture.change_cart_once();
    let order = fixture.checkout("tok_visa").unwrap();
    assert_eq!(order.items[0].quantity, 3);
    assert_eq!(fixture.totals(), (2, 0, 5997, 0));
}

#[test]
fn a_cart_that_changed_after_its_checkout_died_can_be_ordered_again() {
    let fixture = Fixture::new(1999, 5);
    let id = fixture.environment.ports().new_id();
    fixture.fail_after(2);
    assert!(fixture.run(&id, "tok_visa").is_err());
    fixture.recover();
    fixture.change_cart_once();
    fixture.environment.advance_ms(12_000);
    now(fixture.orders.sweep(&Context::system(""))).unwrap();
    let order = fixture.read(&id).unwrap();
    assert_eq!(
        (order.status, order.failure),
        (Status::Failed, Some(Failure::CartChanged))
    );
    assert_eq!(
        (fixture.cart_order(), fixture.totals()),
        (None, (5, 0, 0, 0))
    );
    assert_eq!(fixture.checkout("tok_visa").unwrap().items[0].quantity, 3);
}

#[test]
fn a_checkout_that_met_an_unavailable_service_is_completed_by_a_retry() {
    let fixture = Fixture::new(1999, 5);
    fixture.fail_after(2);
    let id = fixture.environment.ports().new_id();
    assert!(matches!(
        fixture.run(&id, "tok_visa"),
        Err(OrderError::Link(LinkError::Unavailable(_)))
    ));
    fixture.recover();
    assert_eq!(fixture.run(&id, "tok_visa").unwrap().status, Status::Paid);
    assert_eq!(fixture.totals(), (3, 0, 3998, 0));
}

#[test]
fn a_key_belongs_to_one_body_and_one_order() {
    let fixture = Fixture::new(1999, 5);
    let claim = |fingerprint: &str| now(fixture.orders.claim("key", fingerprint)).unwrap();
    let Claim::Run(id) = claim("a") else {
        panic!("the key was not claimed")
    };
    assert_eq!(claim("a"), Claim::InFlight);
    assert_eq!(claim("b"), Claim::Reused);
    fixture.environment.advance_ms(5_001);
    assert_eq!(claim("a"), Claim::Run(id.clone()));
    now(fixture.orders.conclude("key", &id, Some("answer".into()))).unwrap();
    assert_eq!(claim("a"), Claim::Answered("answer".into()));
    assert_eq!(claim("b"), Claim::Reused);
    fixture.environment.advance_ms(24 * 3_600_000);
    assert!(matches!(claim("b"), Claim::Run(other) if other != id));
}

#[test]
fn the_status_graph_has_nine_edges() {
    let after = |from: Status| {
        Status::ALL
            .into_iter()
            .filter(move |to| from.may_become(*to))
    };
    let edge = |from: Status| after(from).map(move |to| format!("{}>{}", from.name(), to.name()));
    let legal: Vec<String> = Status::ALL.into_iter().flat_map(edge).collect();
    assert_eq!(
        legal,
        [
            "pending>paid",
            "pending>failed",
            "pending>cancelled",
            "paid>cancelled",
            "paid>shipped",
            "shipped>delivered",
            "delivered>return_requested",
            "return_requested>delivered",
            "return_requested>returned"
        ]
    );
}

#[test]
fn numbers_are_readable_and_differ() {
    let fixture = Fixture::new(1, 1);
    let (a, b) = (
        number(&fixture.environment.ports().new_id()),
        number(&fixture.environment.ports().new_id()),
    );
    assert!(a.starts_with("LM-") && a.len() == 13 && a != b);
}

#[test]
fn lists_are_read_by_index() {
    use crate::domain::status::Status;
    use crate::store::{Scope, list_statement};
    use localmart_guest::kernel::{Cursor, Limit};
    let database = localmart_testkit::TestDatabase::new(&[
        include_str!("../migrations/0001_orders.sql"),
        include_str!("../migrations/0002_customers.sql"),
        include_str!("../migrations/0003_returns.sql"),
        include_str!("../migrations/0004_leases.sql"),
        include_str!("../migrations/0005_flags.sql"),
    ]);
    let cursor = Cursor {
        order: "newest".into(),
        key: "5".into(),
        id: "x".into(),
    };
    for customer_id in [None, Some("ada".to_owned())] {
        for status in [None, Some(Status::Paid)] {
            for after in [None, Some(&cursor)] {
                let customer_id = customer_id.clone();
                let scope = Scope {
                    customer_id,
                    status,
                };
                let (sql, params) = list_statement(&scope, Limit::default(), after);
                let plan = database.plan(&sql, &params).join("; ");
                assert!(
                    plan.contains("USING INDEX") && !plan.contains("TEMP B-TREE"),
                    "{plan}"
                );
            }
        }
    }
}
