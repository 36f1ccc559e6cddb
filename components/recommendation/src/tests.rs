//! The rules and SQL statements of recommendation: which signals count, in any order of arrival, and which products are never
//! recommended.

use crate::domain::{LinkError, Links, Product, Query, Reason, Recommended, ranked};
use crate::events;
use crate::service::Recommendations;
use crate::store::{BOUGHT_TOGETHER, FOR_CUSTOMER, VIEWED, popular_statement};
use localmart_events::{EventData as _, OrderChanged, OrderLine, OrderStatus, ProductViewed};
use localmart_guest::events::{Event, Refusal};
use localmart_guest::kernel::{Currency, Id, Limit, Money};
use localmart_guest::params;
use localmart_guest::wit::{Actor, Context};
use localmart_testkit::{TestDatabase, TestEnvironment, now};
use serde_json::json;

struct FakeLinks {
    unpublished: Option<Id>,
    sold_out: Option<Id>,
    ranking: Option<Result<Vec<u32>, LinkError>>,
}

impl Links for FakeLinks {
    fn rank(&self, found: &[Recommended]) -> Result<Vec<u32>, LinkError> {
        self.ranking
            .clone()
            .unwrap_or_else(|| Ok((0..).take(found.len()).collect()))
    }

    async fn products(&self, _: &Context, ids: &[Id]) -> Result<Vec<Product>, LinkError> {
        let product = |id: &Id| Product {
            id: id.clone(),
            sku: "S".into(),
            name: "N".into(),
            slug: "n".into(),
            category: "c".into(),
            price: Money::new(1, Currency::USD).unwrap(),
            published: self.unpublished.as_ref() != Some(id),
            version: 1,
        };
        Ok(ids.iter().map(product).collect())
    }

    async fn in_stock(&self, _: &Context, ids: &[Id]) -> Result<Vec<Id>, LinkError> {
        Ok(ids
            .iter()
            .filter(|id| self.sold_out.as_ref() != Some(id))
            .cloned()
            .collect())
    }
}

struct Fixture {
    recommendations: Recommendations<TestDatabase, FakeLinks>,
    database: TestDatabase,
    environment: TestEnvironment,
    products: Vec<Id>,
}

fn fixture() -> Fixture {
    fixture_without(None, None)
}

fn fixture_without(unpublished: Option<usize>, sold_out: Option<usize>) -> Fixture {
    let environment = TestEnvironment::new();
    let database = TestDatabase::new(&[include_str!("../migrations/0001_signals.sql")]);
    let products: Vec<Id> = (0..6).map(|_| environment.ports().new_id()).collect();
    let links = FakeLinks {
        unpublished: unpublished.map(|place| products[place].clone()),
        sold_out: sold_out.map(|place| products[place].clone()),
        ranking: None,
    };
    let recommendations = Recommendations::new(database.clone(), links, environment.ports());
    Fixture {
        recommendations,
        database,
        environment,
        products,
    }
}

impl Fixture {
    fn event(
        &self,
        kind: &str,
        order: &str,
        version: u64,
        customer: Option<&str>,
        items: &[(usize, u32)],
    ) -> Event {
        let line = |(place, quantity): &(usize, u32)| OrderLine {
            product_id: self.products[*place].to_string(),
            quantity: *quantity,
            line_total: 1,
        };
        let data = OrderChanged {
            order_id: order.to_owned(),
            number: "1".to_owned(),
            status: OrderStatus::Paid,
            customer_id: customer.map(str::to_owned),
            currency: "USD".to_owned(),
            total: 1,
            items: items.iter().map(line).collect(),
        };
        let event = Event::new(
            &self.environment.ports().new_id(),
            kind,
            "order",
            order,
            version,
            self.environment.now(),
        );
        event.with(data.to_value())
    }

    fn handle_event(&self, event: &Event) {
        now(events::handle(&self.recommendations, event)).unwrap();
    }

    fn buy(&self, order: &str, customer: Option<&str>, items: &[(usize, u32)]) {
        self.handle_event(&self.event("order.paid", order, 2, customer, items));
    }

    fn view(&self, place: usize, customer: Option<&str>, views: u64) {
        let id = self.products[place].as_str();
        let event = Event::new(
            &self.environment.ports().new_id(),
            "product.viewed",
            "catalog",
            id,
            0,
            self.environment.now(),
        );
        let data = ProductViewed {
            product_id: id.to_owned(),
            customer_id: customer.map(str::to_owned),
            views,
        };
        self.handle_event(&event.with(data.to_value()));
    }

    /// The index, score and reason of each recommendation.
    fn ask(
        &self,
        actor: Actor,
        product: Option<usize>,
        customer: Option<&str>,
    ) -> Vec<(usize, u64, &'static str)> {
        let context = Context {
            actor,
            ..Context::system("")
        };
        let query = Query {
            product_id: product.map(|place| self.products[place].clone()),
            customer_id: customer.map(str::to_owned),
        };
        let found = now(self
            .recommendations
            .recommend(&context, &query, Limit::default()))
        .unwrap();
        let place = |id: &Id| self.products.iter().position(|known| known == id).unwrap();
        found
            .iter()
            .map(|one| (place(&one.product.id), one.score, one.reason.name()))
            .collect()
    }

    fn popular(&self) -> Vec<(usize, u64, &'static str)> {
        self.ask(Actor::Anonymous, None, None)
    }
}

#[test]
fn purchases_and_views_raise_popularity() {
    let fixture = fixture();
    assert!(fixture.popular().is_empty());
    fixture.buy("a", None, &[(0, 2)]);
    fixture.view(1, None, 15);
    fixture.view(2, None, 1);
    let popular = Reason::Popular.name();
    assert_eq!(
        fixture.popular(),
        [(0, 20, popular), (1, 15, popular), (2, 1, popular)]
    );
    fixture.buy("b", None, &[(2, 3)]);
    assert_eq!(fixture.popular()[0], (2, 31, popular));
}

#[test]
fn events_in_any_order_and_three_times_have_the_same_result() {
    let outcome = |order: &[usize]| {
        let fixture = fixture();
        let events = [
            fixture.event("order.paid", "a", 2, Some("ada"), &[(0, 2), (1, 1)]),
            fixture.event("order.cancelled", "a", 3, Some("ada"), &[(0, 2), (1, 1)]),
            fixture.event("order.paid", "b", 2, Some("ada"), &[(1, 4), (2, 1)]),
            fixture.event("order.cancelled", "c", 2, None, &[(3, 9)]),
        ];
        for place in order {
            for _ in 0..3 {
                fixture.handle_event(&events[*place]);
            }
        }
        (
            fixture.popular(),
            fixture.ask(Actor::System, Some(1), None),
            fixture.ask(Actor::System, None, Some("ada")),
        )
    };
    let forward = outcome(&[0, 1, 2, 3]);
    assert_eq!(
        forward
            .0
            .iter()
            .map(|(place, score, _)| (*place, *score))
            .collect::<Vec<_>>(),
        [(1, 40), (2, 10)]
    );
    for order in [[3, 2, 1, 0], [1, 0, 3, 2], [2, 1, 0, 3]] {
        assert_eq!(outcome(&order), forward);
    }
}

#[test]
fn products_bought_together_come_first() {
    let fixture = fixture();
    fixture.buy("a", None, &[(0, 1), (1, 1)]);
    fixture.buy("b", None, &[(0, 1), (2, 1)]);
    fixture.buy("c", None, &[(0, 1), (2, 1)]);
    fixture.buy("d", None, &[(3, 9)]);
    let together = Reason::BoughtTogether.name();
    assert_eq!(
        fixture.ask(Actor::Anonymous, Some(0), None),
        [
            (2, 2, together),
            (1, 1, together),
            (3, 90, Reason::Popular.name())
        ]
    );
}

#[test]
fn only_the_customer_and_staff_get_personal_recommendations() {
    let fixture = fixture();
    fixture.buy("a", None, &[(0, 1), (1, 1)]);
    fixture.buy("b", Some("ada"), &[(0, 1)]);
    fixture.view(2, Some("ada"), 1);
    let (mine, seen) = (Reason::ForYou.name(), Reason::Viewed.name());
    let own = fixture.ask(Actor::Customer("ada".into()), None, Some("ada"));
    assert_eq!(own[..2], [(1, 1, mine), (2, 1, seen)]);
    assert_eq!(
        fixture.ask(Actor::Staff("x".into()), None, Some("ada")),
        own
    );
    for other in [Actor::Anonymous, Actor::Customer("bob".into())] {
        assert_eq!(fixture.ask(other, None, Some("ada")), fixture.popular());
    }
}

#[test]
fn a_product_that_cannot_be_bought_is_never_recommended() {
    let fixture = fixture_without(Some(0), Some(1));
    fixture.buy("a", Some("ada"), &[(0, 9), (1, 9), (2, 1)]);
    fixture.buy("b", Some("ada"), &[(0, 9), (1, 9), (3, 1)]);
    for answer in [
        fixture.popular(),
        fixture.ask(Actor::System, Some(2), None),
        fixture.ask(Actor::System, None, Some("ada")),
    ] {
        assert!(
            !answer.is_empty() && answer.iter().all(|(place, _, _)| *place > 1),
            "{answer:?}"
        );
    }
}

#[test]
fn an_event_that_does_not_match_its_schema_is_refused_permanently() {
    let fixture = fixture();
    for data in [
        json!(null),
        json!({ "items": 1 }),
        json!({ "items": [{ "product_id": "x", "quantity": 1 }] }),
        json!({ "items": [{ "product_id": fixture.products[0].as_str(), "quantity": -1 }] }),
    ] {
        let event = Event {
            data,
            ..fixture.event("order.paid", "a", 2, None, &[])
        };
        assert!(
            matches!(
                now(events::handle(&fixture.recommendations, &event)),
                Err(Refusal::Permanent(_))
            ),
            "{event:?}"
        );
    }
    let unknown = Event {
        kind: "order.sung".into(),
        ..fixture.event("order.paid", "a", 2, None, &[])
    };
    assert_eq!(
        now(events::handle(&fixture.recommendations, &unknown)),
        Ok(()),
        "an event of an unknown kind is ignored"
    );
}

#[test]
fn every_query_uses_an_index() {
    let fixture = fixture();
    let place = (5, fixture.products[0].clone());
    let (first, first_params) = popular_statement(None, 10);
    let (next, next_params) = popular_statement(Some(&place), 10);
    let id = &fixture.products[0];
    for (sql, params) in [
        (first, first_params),
        (next, next_params),
        (BOUGHT_TOGETHER, params![id, 5_i64].to_vec()),
        (FOR_CUSTOMER, params!["ada", 5_i64, 5_i64].to_vec()),
        (VIEWED, params!["ada", 5_i64].to_vec()),
    ] {
        let plan = fixture.database.plan(sql, &params).join("\n");
        assert!(
            !plan.contains("SCAN popularity\n")
                && !plan.contains("SCAN pairs")
                && !plan.contains("SCAN tastes"),
            "{sql}\n{plan}"
        );
    }
}

#[test]
fn an_invalid_ranking_is_rejected() {
    let product = |number: u32| Recommended {
        product: Product {
            id: Id::parse(&format!("01920000-0000-7000-8000-00000000000{number}")).unwrap(),
            sku: "S".into(),
            name: "N".into(),
            slug: "n".into(),
            category: "c".into(),
            price: Money::new(1, Currency::USD).unwrap(),
            published: true,
            version: 1,
        },
        score: 1,
        reason: Reason::Popular,
    };
    let found = [product(0), product(1), product(2)];
    let order = |places: &[u32]| {
        let ranked = ranked(&found, places)?;
        let place = |one: &Recommended| found.iter().position(|other| other == one).unwrap();
        Some(ranked.iter().map(place).collect::<Vec<_>>())
    };
    assert_eq!(order(&[2, 0, 1]), Some(vec![2, 0, 1]));
    assert_eq!(order(&[1]), Some(vec![1]));
    assert_eq!(order(&[0, 0]), None);
    assert_eq!(order(&[0, 3]), None);
}
