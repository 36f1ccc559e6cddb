//! The rules and SQL statements of payment, on SQLite and Postgres, with the simulated provider.

use crate::domain::{Excess, Status};
use crate::service::{Notice, PaymentError, Payments};
use crate::webhook::is_signed;
use localmart_guest::kernel::{Currency, Id, Money, Timestamp};
use localmart_testkit::{TestDatabase, TestEnvironment, now};

fn payments() -> (Payments<TestDatabase>, Id, TestEnvironment) {
    let environment = TestEnvironment::new();
    let database = TestDatabase::new(&[
        include_str!("../migrations/0001_payments.sql"),
        include_str!("../migrations/0002_owner.sql"),
        include_str!("../migrations/0003_refunds.sql"),
    ]);
    (
        Payments::new(database, environment.ports()),
        environment.ports().new_id(),
        environment,
    )
}

fn usd(amount: u64) -> Money {
    Money::new(amount, Currency::USD).unwrap()
}

#[test]
fn authorize_and_capture_are_idempotent() {
    let (payments, order, _) = payments();
    let held = now(payments.authorize(&order, None, usd(1999), "tok_visa")).unwrap();
    assert_eq!(
        now(payments.authorize(&order, None, usd(1999), "tok_visa")).unwrap(),
        held
    );
    let taken = now(payments.capture(&held.id)).unwrap();
    assert_eq!((taken.status, taken.captured), (Status::Captured, 1999));
    assert_eq!(now(payments.capture(&held.id)).unwrap(), taken);
    assert_eq!(now(payments.find(&order)).unwrap(), taken);
}

#[test]
fn a_refused_card_stays_refused() {
    for (token, words) in [
        ("tok_declined", "The card was declined."),
        ("tok_insufficient_funds", "The card has insufficient funds."),
        ("tok_unknown", "The card was declined."),
    ] {
        let (payments, order, _) = payments();
        for _ in 0..2 {
            assert_eq!(
                now(payments.authorize(&order, None, usd(5), token)),
                Err(PaymentError::Declined(words.into()))
            );
        }
        let failed = now(payments.find(&order)).unwrap();
        assert_eq!(
            now(payments.capture(&failed.id)),
            Err(PaymentError::IllegalState(Status::Failed))
        );
    }
}

#[test]
fn a_failed_call_to_the_provider_is_retried() {
    let (payments, order, _) = payments();
    assert_eq!(
        now(payments.authorize(&order, None, usd(5), "tok_flaky"))
            .unwrap()
            .status,
        Status::Authorized
    );
}

#[test]
fn a_payment_without_an_answer_is_settled_later_with_one_result() {
    let (payments, order, environment) = payments();
    let before = environment.now();
    let Err(PaymentError::NoAnswer(pending)) =
        now(payments.authorize(&order, None, usd(5), "tok_timeout"))
    else {
        panic!("the provider answered")
    };
    assert_eq!(environment.now().ms() - before.ms(), 2000);
    assert_eq!(
        now(payments.settle(&pending.id)).unwrap().status,
        Status::Authorized
    );
    assert_eq!(
        now(payments.settle(&pending.id)).unwrap().status,
        Status::Authorized
    );
    assert_eq!(now(payments.capture(&pending.id)).unwrap().captured, 5);
}

#[test]
fn a_reversed_pending_payment_captures_nothing_afterwards() {
    let (payments, order, _) = payments();
    let Err(PaymentError::NoAnswer(pending)) =
        now(payments.authorize(&order, None, usd(5), "tok_timeout"))
    else {
        panic!("the provider answered")
    };
    assert_eq!(
        now(payments.reverse(&pending.id)).unwrap().status,
        Status::Voided
    );
    assert_eq!(
        now(payments.settle(&pending.id)).unwrap().status,
        Status::Voided
    );
    assert_eq!(
        now(payments.capture(&pending.id)),
        Err(PaymentError::IllegalState(Status::Voided))
    );
}

#[test]
fn a_captured_amount_is_refunded_at_most_once() {
    let (payments, order, _) = payments();
    let held = now(payments.authorize(&order, None, usd(100), "tok_visa")).unwrap();
    let refund = |name: &str, amount| {
        let asked = payments.refund(&held.id, name, amount, Excess::Refused);
        now(asked).map(|refund| refund.payment.status)
    };
    assert_eq!(
        refund("a", usd(1)),
        Err(PaymentError::IllegalState(Status::Authorized))
    );
    now(payments.capture(&held.id)).unwrap();
    for _ in 0..3 {
        assert_eq!(refund("a", usd(60)), Ok(Status::PartiallyRefunded));
    }
    assert_eq!(refund("b", usd(41)), Err(PaymentError::Exceeds(usd(40))));
    assert_eq!(refund("b", usd(0)), Err(PaymentError::Exceeds(usd(40))));
    let eur = Money::new(1, Currency::parse("EUR").unwrap()).unwrap();
    assert_eq!(refund("b", eur), Err(PaymentError::CurrencyMismatch));
    for _ in 0..2 {
        let reversed = now(payments.reverse(&held.id)).unwrap();
        assert_eq!(
            (reversed.status, reversed.refunded),
            (Status::Refunded, 100)
        );
    }
}

#[test]
fn a_capped_refund_is_at_most_the_refundable_amount() {
    let (payments, order, _) = payments();
    let held = now(payments.authorize(&order, None, usd(100), "tok_visa")).unwrap();
    now(payments.capture(&held.id)).unwrap();
    let give = |name: &str, amount| {
        let given = now(payments.refund(&held.id, name, usd(amount), Excess::Capped)).unwrap();
        (given.amount, given.payment.refunded, given.payment.status)
    };
    assert_eq!(give("a", 60), (60, 60, Status::PartiallyRefunded));
    assert_eq!(give("b", 60), (40, 100, Status::Refunded));
    assert_eq!(give("c", 60), (0, 100, Status::Refunded));
    // A repeated refund with the same name gives the same answer.
    assert_eq!(give("b", 60), (40, 100, Status::Refunded));
    assert_eq!(
        now(payments.sweep()).unwrap(),
        0,
        "the provider has all refunds"
    );
}

fn pending(payments: &Payments<TestDatabase>, order: &Id) -> Id {
    let Err(PaymentError::NoAnswer(pending)) =
        now(payments.authorize(order, None, usd(100), "tok_timeout"))
    else {
        panic!("the provider answered")
    };
    pending.id
}

#[test]
fn notices_may_be_repeated_and_in_any_order() {
    use Notice::{Failed, Refunded, Succeeded};
    let taken = (Status::Captured, 100, 0);
    let some = (Status::PartiallyRefunded, 100, 40);
    let all = (Status::Refunded, 100, 100);
    let none = (Status::Failed, 0, 0);
    for (notices, expected) in [
        (vec![Succeeded(usd(100)); 5], taken),
        (vec![Succeeded(usd(100)), Failed], taken),
        (vec![Failed, Succeeded(usd(100)), Failed], none),
        (vec![Failed, Refunded(usd(40))], none),
        (
            vec![Succeeded(usd(100)), Refunded(usd(40)), Refunded(usd(40))],
            some,
        ),
        (vec![Refunded(usd(40)), Succeeded(usd(100))], some),
        (
            vec![Refunded(usd(100)), Refunded(usd(40)), Succeeded(usd(100))],
            all,
        ),
    ] {
        let (payments, order, _) = payments();
        let id = pending(&payments, &order);
        for (number, notice) in notices.iter().enumerate() {
            let name = number.to_string();
            now(payments.notice(&id, &name, *notice)).unwrap();
            now(payments.notice(&id, &name, *notice)).unwrap();
        }
        let payment = now(payments.get(&id)).unwrap();
        let seen = (payment.status, payment.captured, payment.refunded);
        assert_eq!(seen, expected, "{notices:?}");
    }
}

#[test]
fn a_notice_of_another_amount_has_no_effect() {
    let (payments, order, _) = payments();
    let id = pending(&payments, &order);
    for notice in [Notice::Succeeded(usd(99)), Notice::Refunded(usd(101))] {
        let refused = now(payments.notice(&id, "a", notice));
        assert_eq!(refused, Err(PaymentError::Exceeds(usd(100))));
    }
    assert_eq!(now(payments.get(&id)).unwrap().status, Status::Pending);
    let unknown = now(payments.notice(&order, "a", Notice::Failed));
    assert_eq!(unknown, Err(PaymentError::NotFound));
}

#[test]
fn no_notice_changes_a_reversed_payment() {
    let (payments, order, _) = payments();
    let id = pending(&payments, &order);
    now(payments.reverse(&id)).unwrap();
    let told = now(payments.notice(&id, "a", Notice::Succeeded(usd(100)))).unwrap();
    assert_eq!((told.status, told.captured), (Status::Voided, 0));
}

#[test]
fn a_signature_covers_body_time_and_secret() {
    // RFC 4231 has no test vector with a time prefix; this one comes from the openssl command line:
    // printf '%s' '1700000000.{"a":1}' | openssl dgst -sha256 -hmac secret
    let at = |seconds: i64| Timestamp::from_ms(seconds * 1000);
    let good = "49f24e537407743fa4a0242bb63b94b9a47ee99cbbe071ccd8a22550ae411686";
    let signed = |header: &str, body: &str, seconds| is_signed("secret", header, body, at(seconds));
    let header = format!("t=1700000000,v1={good}");
    assert!(signed(&header, "{\"a\":1}", 1_700_000_000));
    assert!(signed(&header, "{\"a\":1}", 1_700_000_300));
    assert!(signed(&header, "{\"a\":1}", 1_699_999_700));
    assert!(signed(
        &format!("t=1700000000, v1=00, v1={}", good.to_uppercase()),
        "{\"a\":1}",
        1_700_000_000
    ));
    assert!(!signed(&header, "{\"a\":1}", 1_700_000_301), "too old");
    assert!(
        !signed(&header, "{\"a\":1}", 1_699_999_699),
        "from the future"
    );
    assert!(!signed(&header, "{\"a\":2}", 1_700_000_000), "another body");
    let another_time = format!("t=1700000001,v1={good}");
    assert!(!signed(&another_time, "{\"a\":1}", 1_700_000_000));
    for header in [
        "",
        "t=,v1=",
        "v1",
        &format!("v1={good}"),
        "t=1700000000",
        &format!("t=1700000000,t=1700000000,v1={good}"),
    ] {
        assert!(!signed(header, "{\"a\":1}", 1_700_000_000), "{header}");
    }
    assert!(!is_signed("other", &header, "{\"a\":1}", at(1_700_000_000)));
}

#[test]
fn a_voided_authorisation_cannot_be_captured() {
    let (payments, order, _) = payments();
    let held = now(payments.authorize(&order, None, usd(5), "tok_visa")).unwrap();
    assert_eq!(
        now(payments.reverse(&held.id)).unwrap().status,
        Status::Voided
    );
    assert_eq!(
        now(payments.capture(&held.id)),
        Err(PaymentError::IllegalState(Status::Voided))
    );
    assert_eq!(
        now(payments.authorize(&order, None, usd(5), "tok_visa")),
        Err(PaymentError::IllegalState(Status::Voided))
    );
}
